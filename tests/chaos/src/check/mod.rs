//! The checker: reads everything that happened and says which promise was broken, by what, and what the run was worth. It knows nothing of
//! how a history comes about.

mod floors;
mod history;
mod holds;
mod loads;
mod sound;
mod story;
mod summary;
mod sums;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

pub use history::History;
pub use story::story;
pub use summary::{Summary, unmet};
pub use sums::Sums;

use crate::clock::Nanos;
use crate::event::{Got, Mutation, Read, Row, Span, Told, Verb};
use crate::layout::Key;
use crate::limits::{LEFT, LONGEST_LIFE, MAX_STALENESS, MUTATION_DEADLINE, READ_DEADLINE, REPLACED, SLACK, TOLD_AGAIN};
use crate::plan::Kind;
use floors::{Floor, Floors};
use holds::Holds;
use sound::Sound;

/// How many violations are kept; all are counted.
const KEPT: usize = 20;

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A value is of the key that was asked for, and of a version that was committed.
    Sane,
    /// I1: no read is older than what was acknowledged more than the bound before it.
    Bound,
    /// I2: when all is quiet, every copy equals the database.
    Settled,
    /// I3: no read is older than what its own instance invalidated before it, confirmed or not.
    Own,
    /// I6: what was loaded before an invalidation is hidden by it, whether the row has changed or not.
    Hidden,
    /// I8: no read is older than a point of the lane that its instance has waited for, in an outage or not.
    Promised,
    /// W: what was loaded while a guard held the key is kept nowhere.
    Held,
    /// No value is served longer than it lives.
    Lives,
    /// I7: every call ends by its deadline, no process hangs, and nothing panics that was not told to.
    Ends,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sane => "a value that nobody committed",
            Self::Bound => "I1, a read older than what was acknowledged in time",
            Self::Settled => "I2, a copy that is not the database's when all is quiet",
            Self::Own => "I3, a read older than the instance's own invalidation",
            Self::Hidden => "I6, a value loaded before an invalidation that hides it",
            Self::Promised => "I8, a read older than a point that was waited for",
            Self::Held => "W, a value that was loaded under a guard's hold and kept",
            Self::Lives => "a value served after its life",
            Self::Ends => "I7, a call that does not end",
        })
    }
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// Where.
    pub instance: u16,
    /// Of which key, if of one.
    pub key: Option<Key>,
    /// What must be looked at to understand it: from the load of the old value, or what it should have seen, to the read.
    pub from: Nanos,
    /// Its end.
    pub to: Nanos,
    /// In words.
    pub text: String,
}

/// How old reads were, in time without and with faults: of those that were stale at all, by how much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Staleness {
    /// Reads that were not older than anything acknowledged.
    pub fresh: u64,
    /// The others: since when something newer had been acknowledged.
    pub stale: Vec<Duration>,
}

impl Staleness {
    /// How many reads there were.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.fresh + u64::try_from(self.stale.len()).unwrap_or_default()
    }

    /// How old the one read in a thousand was that only one in a thousand exceeds. The stale ones are sorted.
    #[must_use]
    pub fn high(&self) -> Duration {
        let at = self.reads() * 999 / 1_000;
        // Fresh reads stand before the stale ones.
        let behind = at.checked_sub(self.fresh).and_then(|at| usize::try_from(at).ok());
        behind.and_then(|at| self.stale.get(at)).copied().unwrap_or_default()
    }

    fn and(&mut self, other: &Self) {
        self.fresh += other.fresh;
        self.stale.extend(&other.stale);
        self.stale.sort_unstable();
    }
}

/// What the checker has found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The first violations.
    pub violations: Vec<Violation>,
    /// All of them.
    pub violated: u64,
    /// Reads that were judged.
    pub reads: u64,
    /// Copies that are old at the end because a guard was dropped whose hold the server had lost, which is a known limit.
    pub unguarded: u64,
    /// How many were read from a primary that did not know yet that it was replaced.
    pub replaced: u64,
    /// Reads that came while something was served without proof, by policy: for these the bound is not promised.
    pub unproven: u64,
    /// Those of them in time in which nothing was disturbed.
    pub unproven_in_sound: u64,
    /// Reads that failed by policy, for nothing could be proven.
    pub refused: u64,
    /// Waits for a point of the lane that were in time.
    pub waits: u64,
    /// And those that were not.
    pub waits_in_vain: u64,
    /// Times in which a key was held, and the server did not forget it.
    pub holds: u64,
    /// While nothing was disturbed.
    pub sound: Staleness,
    /// While something was.
    pub disturbed: Staleness,
    /// Pairs of loads of one key at the same time that nothing explains (I5).
    pub doubled: u64,
}

/// Judges a history.
#[must_use]
pub fn check(history: &History) -> Verdict {
    let (floors, sound, holds) = (Floors::of(history), Sound::of(history), Holds::of(history));
    let mut judge = Judge { history, floors, sound, holds, verdict: Verdict::default() };
    history.reads.iter().for_each(|read| judge.read(read));
    history.mutations.iter().for_each(|made| judge.ends_in_time(made));
    for (instance, text) in &history.complaints {
        judge.violated(Violation {
            rule: Rule::Ends,
            instance: *instance,
            key: None,
            from: history.end,
            to: history.end,
            text: text.clone(),
        });
    }
    judge.verdict.holds = judge.holds.kept;
    for waited in &history.waited {
        *if waited.reached { &mut judge.verdict.waits } else { &mut judge.verdict.waits_in_vain } += 1;
    }
    judge.verdict.doubled = loads::doubled(history, &judge.sound);
    judge.verdict.sound.stale.sort_unstable();
    judge.verdict.disturbed.stale.sort_unstable();
    judge.verdict
}

struct Judge<'a> {
    history: &'a History,
    floors: Floors,
    sound: Sound,
    holds: Holds,
    verdict: Verdict,
}

impl Judge<'_> {
    fn violated(&mut self, violation: Violation) {
        self.verdict.violated += 1;
        if self.verdict.violations.len() < KEPT {
            self.verdict.violations.push(violation);
        }
    }

    fn read(&mut self, read: &Read) {
        let took = self.sound.awake(read.instance, read.span);
        if read.got == Got::Overdue || took > READ_DEADLINE {
            self.violated(of(read, Rule::Ends, read.span.start, &format!("it took {took:?}")));
        }
        if read.got == Got::Unproven {
            self.verdict.refused += 1;
            if read.last {
                self.violated(of(read, Rule::Settled, read.span.start, "nothing can be proven"));
            }
        }
        let Got::Row(row) = read.got else { return };
        self.verdict.reads += 1;
        if read.unproven {
            self.verdict.unproven += 1;
            self.verdict.unproven_in_sound += u64::from(!self.sound.disturbed(read.instance, read.span));
        }
        if row.key != read.key || row.version > self.history.version(read.key, read.span.end) {
            let text = format!("{row:?} of {}", row.key.text());
            self.violated(of(read, Rule::Sane, read.span.start, &text));
            return;
        }
        if let Some(held) = self.holds.broken(self.history, read, row) {
            let age = read.span.start.since(row.begun).as_secs_f64();
            let text = format!("loaded {age:.3} s before, under a guard of {}", held.instance);
            let from = held.span.start;
            self.violated(of(read, Rule::Held, from, &text));
        }
        if read.span.start > row.begun.plus(LONGEST_LIFE)
            && !self.sound.anybody_frozen(Span { start: row.begun, end: read.span.end })
        {
            let age = read.span.start.since(row.begun).as_secs_f64();
            self.violated(of(read, Rule::Lives, row.begun, &format!("begun {age:.3} s before")));
        }
        let present = self.history.version(read.key, Nanos::NEVER);
        if read.last && row.version != present {
            if holds::was_lost(self.history, read.key, read.span.start.minus(LONGEST_LIFE)) {
                self.verdict.unguarded += 1;
            } else {
                let text = format!("version {}, the database has {present}", row.version);
                self.violated(of(read, Rule::Settled, row.begun, &text));
            }
        }
        self.judge_age(read, row);
        self.measure(read, row);
    }

    /// Whatever the bound, it is asked of the read's begin: a call that took long may bring what was true when it began.
    fn judge_age(&mut self, read: &Read, row: Row) {
        let kept = self.kept_until(read.span);
        let Some((rule, floor, text)) = self.broken_by(read, row, kept) else { return };
        let replaced = self.replaced_from(read);
        if replaced < kept && self.broken_by(read, row, replaced).is_none() {
            self.verdict.replaced += 1;
        } else {
            self.violated(of(read, rule, row.begun.min(floor.since), &text));
        }
    }

    /// What it breaks of the promises that were acknowledged up to then.
    fn broken_by(&self, read: &Read, row: Row, kept: Nanos) -> Option<(Rule, Floor, String)> {
        let bound = read.span.start.minus(MAX_STALENESS + SLACK);
        let all = self.floors.of_all(read.key, bound.min(kept));
        // The instance could prove nothing, and its policy would rather have what there is.
        let all = all.filter(|_| !read.unproven);
        let own = self.floors.of_own(read.instance, read.key, read.span.start);
        let promised = self.floors.of_promised(read.instance, read.key, read.span.start.min(kept));
        let floors = [(Rule::Bound, all), (Rule::Own, own), (Rule::Promised, promised)];
        floors.into_iter().find_map(|(rule, floor)| self.broken(floor?, row, rule))
    }

    /// From when on another primary may have acknowledged what this instance cannot have heard of, for it had not left the old one yet: which does not
    /// know that it was replaced. A known limit, with a bound.
    fn replaced_from(&self, read: &Read) -> Nanos {
        let faults = &self.history.faults;
        let replaced = faults.iter().filter(|fault| fault.kind.fails_over() && fault.span.start <= read.span.end);
        let near = replaced.filter(|fault| {
            let frozen = faults.iter().filter(|other| other.kind == Kind::InstanceFrozen && other.span.end >= fault.span.start);
            let woke = frozen.filter(|frozen| frozen.instance.is_none_or(|whose| whose == read.instance)).map(|frozen| frozen.span);
            let out = std::iter::once(fault.span.start.plus(REPLACED))
                .chain(woke.filter(|woke| woke.start <= fault.span.start.plus(REPLACED)).map(|woke| woke.end.plus(LEFT)));
            out.max().is_some_and(|until| read.span.start <= until)
        });
        near.map(|fault| fault.span.start).min().unwrap_or(Nanos::NEVER)
    }

    /// Up to when the server has kept what it acknowledged, as far as a read can know: a trusted one is told again what it has forgotten, and
    /// until then only who had told it knows.
    fn kept_until(&self, read: Span) -> Nanos {
        let trusted = self.history.faults.iter().filter(|fault| fault.kind == Kind::RestartTrusted);
        let near = trusted.filter(|fault| read.end >= fault.span.start && read.start <= fault.span.end.plus(TOLD_AGAIN));
        near.map(|fault| fault.span.start).min().unwrap_or(Nanos::NEVER)
    }

    /// Which promise a row breaks that should have seen all that the floor stands for.
    fn broken(&self, floor: Floor, row: Row, rule: Rule) -> Option<(Rule, Floor, String)> {
        if row.version < floor.version {
            let text = format!("version {}, expected {} or newer", row.version, floor.version);
            return Some((rule, floor, text));
        }
        let ended = if row.put { self.history.put_until(row.key, row.begun) } else { row.begun };
        // One that was put is as old as the end of its call: it may have come after what began later.
        (ended < floor.since).then(|| {
            let age = floor.since.since(row.begun).as_secs_f64() * 1_000.0;
            (Rule::Hidden, floor, format!("begun {age:.3} ms before an invalidation that hides it"))
        })
    }

    fn measure(&mut self, read: &Read, row: Row) {
        let disturbed = self.sound.disturbed(read.instance, read.span) || self.kept_until(read.span) != Nanos::NEVER;
        let staleness = if disturbed { &mut self.verdict.disturbed } else { &mut self.verdict.sound };
        match self.floors.overtaken(read.key, row.version) {
            Some(at) if at <= read.span.start => staleness.stale.push(read.span.start.since(at)),
            _ => staleness.fresh += 1,
        }
    }

    fn ends_in_time(&mut self, made: &Mutation) {
        let took = self.sound.awake(made.instance, made.span);
        if made.told == Told::Overdue || took > MUTATION_DEADLINE {
            let text = format!("{:?} of {:?} took {took:?}", made.verb, made.target);
            self.violated(Violation {
                rule: Rule::Ends,
                instance: made.instance,
                key: None,
                from: made.span.start,
                to: made.span.end,
                text,
            });
        }
    }
}

fn of(read: &Read, rule: Rule, from: Nanos, text: &str) -> Violation {
    let text = format!("{} read by {}: {text}", read.key.text(), read.instance);
    Violation { rule, instance: read.instance, key: Some(read.key), from: from.min(read.span.start), to: read.span.end, text }
}

/// Whether what it came to holds for the instance that made it. A call that was dropped is carried out all the same.
fn holds_for_own(made: &Mutation) -> bool {
    match made.verb {
        // It is told by somebody who has no copies.
        Verb::Outside => false,
        // An error before anything is committed, and nothing more.
        Verb::Hold => made.told == Told::Applied,
        _ => matches!(made.told, Told::Applied | Told::Pending | Told::Dropped),
    }
}

/// Whether a value was put by it.
fn puts(made: &Mutation) -> bool {
    matches!(made.verb, Verb::Set | Verb::SetHeld(_))
}
