//! What a run was worth, as a table, and what it should have been worth at least.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{History, Staleness, Verdict};
use crate::clock::Nanos;
use crate::event::{Counts, Fault, Got, Told};
use crate::limits::{AFTERMATH, ALL_KINDS_WITHIN, L1_SHARE, MOST_READS, READS_A_SECOND};
use crate::plan::{Kind, Scenario, ServerClock};

/// A run in numbers.
#[derive(Clone, Debug)]
pub struct Summary<'a> {
    history: &'a History,
    verdict: &'a Verdict,
    scenario: Scenario,
    clock: ServerClock,
}

/// What a kind of fault did.
#[derive(Clone, Debug, Default)]
struct Effects {
    count: u64,
    seen: Counts,
    last: String,
}

impl<'a> Summary<'a> {
    /// Sums a run up.
    #[must_use]
    pub fn of(history: &'a History, verdict: &'a Verdict, scenario: Scenario, clock: ServerClock) -> Self {
        Self { history, verdict, scenario, clock }
    }

    /// What all instances counted in the end.
    #[must_use]
    pub fn totals(&self) -> Counts {
        (0..self.history.instances()).fold(Counts::default(), |sum, instance| sum.plus(self.counted(instance, Nanos::NEVER)))
    }

    /// What an instance had counted at the last look before a time.
    fn counted(&self, instance: u16, by: Nanos) -> Counts {
        let before = self.history.counts.partition_point(|(_, at, _)| *at <= by);
        let theirs = self.history.counts.get(..before).unwrap_or_default().iter().rev().find(|(whose, _, _)| *whose == instance);
        theirs.map_or(Counts::default(), |(_, _, counts)| *counts)
    }

    /// The verdict that it sums up.
    pub(super) fn verdict(&self) -> &'a Verdict {
        self.verdict
    }

    /// The scenario of the run.
    pub(super) fn scenario(&self) -> Scenario {
        self.scenario
    }

    /// Whether the server's clock could be stepped.
    pub(super) fn clock(&self) -> ServerClock {
        self.clock
    }

    /// How often each kind of fault was made.
    pub(super) fn made(&self) -> BTreeMap<Kind, u64> {
        let mut made = BTreeMap::new();
        self.history.faults.iter().for_each(|fault| *made.entry(fault.kind).or_default() += 1);
        made
    }

    fn effects(&self) -> BTreeMap<Kind, Effects> {
        let kinds = self.scenario.made(self.clock);
        let mut effects: BTreeMap<Kind, Effects> = kinds.into_iter().map(|kind| (kind, Effects::default())).collect();
        for fault in &self.history.faults {
            let effect = effects.entry(fault.kind).or_default();
            effect.count += 1;
            effect.seen = effect.seen.plus(self.seen_of(fault));
            effect.last.clone_from(&fault.effect);
        }
        effects
    }

    /// What those whom it met counted from its begin until they were in step again. What else was broken then is in it as well.
    fn seen_of(&self, fault: &Fault) -> Counts {
        let met = (0..self.history.instances()).filter(|instance| fault.instance.is_none_or(|whose| whose == *instance));
        met.fold(Counts::default(), |sum, instance| {
            let after = self.counted(instance, fault.span.end.plus(AFTERMATH));
            sum.plus(after.less(self.counted(instance, fault.span.start)))
        })
    }
}

/// What a run must have seen and has not.
#[must_use]
pub fn unmet(summary: &Summary<'_>, length: Duration) -> Vec<String> {
    let mut unmet = Vec::new();
    let reads = (length.as_secs() * READS_A_SECOND).min(MOST_READS);
    if summary.verdict.reads < reads {
        unmet.push(format!("expected {reads} reads or more, found {}", summary.verdict.reads));
    }
    let totals = summary.totals();
    let looks = totals.l1_hits + totals.l1_misses;
    if totals.l1_hits * 100 < looks * L1_SHARE || looks == 0 {
        unmet.push(format!("expected L1 to answer {L1_SHARE} % of the reads or more, found {}", share(totals.l1_hits, looks)));
    }
    if summary.made().contains_key(&Kind::RestartTrusted) && totals.retold == 0 {
        unmet.push("expected invalidations to be told again to a server that has forgotten them, found none".to_owned());
    }
    let effects = summary.effects();
    let kinds = u64::try_from(effects.len()).unwrap_or_default();
    let expected = (kinds * length.as_secs() / ALL_KINDS_WITHIN).min(kinds);
    let made = u64::try_from(effects.values().filter(|effect| effect.count > 0).count()).unwrap_or_default();
    if made < expected {
        let missing: Vec<String> = effects.iter().filter(|(_, e)| e.count == 0).map(|(kind, _)| format!("{kind:?}")).collect();
        unmet.push(format!("expected {expected} kinds of faults or more, found {made}; missing: {}", missing.join(", ")));
    }
    unmet
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (history, verdict, totals) = (self.history, self.verdict, self.totals());
        let looks = totals.l1_hits + totals.l1_misses;
        let got = |wanted: Got| history.reads.iter().filter(|read| read.got == wanted).count();
        let told = |wanted: Told| history.mutations.iter().filter(|made| made.told == wanted).count();
        writeln!(f, "reads judged        {:>10}  of {}", verdict.reads, history.reads.len())?;
        writeln!(f, "  answered by L1    {:>10}", share(totals.l1_hits, looks))?;
        writeln!(f, "  answered by L2    {:>10}", share(totals.l2_hits, looks))?;
        writeln!(f, "  dropped, failed   {:>10}  {}", got(Got::Dropped), got(Got::Failed))?;
        writeln!(f, "loads               {:>10}", totals.loads)?;
        writeln!(f, "  waited for        {:>10}", totals.coalesced)?;
        writeln!(f, "  at once, sound    {:>10}", verdict.doubled)?;
        writeln!(f, "fills               {:>10}", totals.fills)?;
        writeln!(f, "  refused           {:>10}", totals.fills_refused)?;
        writeln!(f, "  unanswered        {:>10}", totals.fills_unanswered)?;
        writeln!(f, "mutations           {:>10}", history.mutations.len())?;
        let mutations = [Told::Applied, Told::Pending, Told::Dropped].map(told);
        writeln!(f, "  applied           {:>10}  pending {}, dropped {}", mutations[0], mutations[1], mutations[2])?;
        writeln!(f, "  told again        {:>10}", totals.retold)?;
        writeln!(f, "L2 faults           {:>10}", totals.l2_faults)?;
        writeln!(f, "lane lost           {:>10}", totals.lane_lost)?;
        writeln!(f, "  gaps seen         {:>10}  suspects kept {}", totals.lane_gaps, totals.suspects_same)?;
        writeln!(f, "served unproven     {:>10}", totals.served_unproven)?;
        writeln!(f, "  reads beside it   {:>10}  in sound time {}", verdict.unproven, verdict.unproven_in_sound)?;
        writeln!(f, "  refused instead   {:>10}", verdict.refused)?;
        writeln!(f, "points reached      {:>10}  not in time {}", verdict.waits, verdict.waits_in_vain)?;
        writeln!(f, "keys held           {:>10}  judged {}, lost {}", history.held.len(), verdict.holds, totals.holds_lost)?;
        writeln!(f, "behind lost guards  {:>10}", verdict.unguarded)?;
        writeln!(f, "of replaced primary {:>10}", verdict.replaced)?;
        writeln!(f, "violations          {:>10}", verdict.violated)?;
        writeln!(f, "staleness           {:>12} {:>12} {:>12} {:>12}", "reads", "stale", "p99.9", "worst")?;
        for (name, staleness) in [("sound", &verdict.sound), ("disturbed", &verdict.disturbed)] {
            writeln!(f, "  {name:<16}  {staleness}")?;
        }
        let heads = ["lane lost", "gaps seen", "unproven", "L2 faults", "refused"].map(|head| format!("{head:>9}")).join(" ");
        write!(f, "faults              {:>5} {heads}  last effect", "count")?;
        for (kind, Effects { count, seen, last }) in self.effects() {
            let name = format!("{kind:?}");
            let seen = [seen.lane_lost, seen.lane_gaps, seen.served_unproven, seen.l2_faults, seen.fills_refused];
            let seen = seen.map(|seen| format!("{seen:>9}")).join(" ");
            write!(f, "\n  {name:<17} {count:>5} {seen}  {last}")?;
        }
        if self.scenario.kinds().iter().any(|kind| !self.clock.allows(*kind)) {
            write!(f, "\n  ClockStepped          -  not on this machine: it needs libfaketime")?;
        }
        Ok(())
    }
}

impl fmt::Display for Staleness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1_000.0);
        let worst = self.stale.last().copied().unwrap_or_default();
        write!(f, "{:>12} {:>12} {:>12} {:>12}", self.reads(), self.stale.len(), shown(self.high()), shown(worst))
    }
}

pub(super) fn share(part: u64, whole: u64) -> String {
    let tenths = (part * 1_000).checked_div(whole).unwrap_or_default();
    format!("{}.{} %", tenths / 10, tenths % 10)
}

macro_rules! each_count {
    ($($name:ident),+) => {
        impl Counts {
            pub(super) fn plus(self, other: Self) -> Self {
                Self { $($name: self.$name + other.$name),+ }
            }

            fn less(self, other: Self) -> Self {
                Self { $($name: self.$name.saturating_sub(other.$name)),+ }
            }
        }
    };
}

each_count!(
    l1_hits,
    l1_misses,
    l2_hits,
    l2_misses,
    l2_faults,
    loads,
    coalesced,
    fills,
    fills_refused,
    fills_unanswered,
    lane_lost,
    lane_gaps,
    served_unproven,
    suspects_same,
    holds_lost,
    retold
);
