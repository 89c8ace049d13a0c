//! What must hold: who was promised what, and when. Times are the clock's, in milliseconds since the history began.

use std::collections::HashMap;

use cachetier::{Delivery, LoadError};
use cachetier_tests::{End, Failed, PANIC};

use crate::step::{CACHES, KEYS, KeySet, Mutation};
use crate::wire::Op;

/// How old an unheard-of invalidation may be: the bound that every cache is built with.
const MAX_STALENESS: u64 = 2_000;

/// A version for each key that is covered.
type Versions = [Option<u64>; KEYS.len()];

/// The books of one history.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) now: u64,
    /// The newest version that the shared tier may not fall behind: acknowledged, or followed by a foreign deletion.
    fenced: [u64; KEYS.len()],
    /// What was acknowledged as applied, and when.
    acknowledged: [Vec<(u64, u64)>; KEYS.len()],
    /// What each cache invalidated itself, and has been answered.
    own: [[u64; KEYS.len()]; CACHES],
    /// What each cache has heard of, or was waited for there.
    heard: [[u64; KEYS.len()]; CACHES],
    /// What everybody must have heard of when all is quiet.
    due: [u64; KEYS.len()],
    mutations: HashMap<Op, Mutating>,
    /// The ends that loaders of each cache and key were told to come to.
    ends: Vec<(usize, usize, End)>,
    pub(crate) violation: Option<String>,
    pub(crate) counts: Counts,
}

/// How often what came of an operation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) elsewhere: u64,
    pub(crate) applied: u64,
    pub(crate) pending: u64,
    /// Waits for the token of an applied mutation, one in each cache.
    pub(crate) awaited: u64,
    /// Those that have ended.
    pub(crate) reached: u64,
    /// Reads for which something newer than nothing was promised.
    pub(crate) bound: u64,
    /// Looks at the shared tier that found a value for which something was promised.
    pub(crate) fenced: u64,
}

/// A mutation that has begun.
struct Mutating {
    cache: usize,
    what: Mutation,
    versions: Versions,
    running: bool,
}

/// A read that has begun, and the least that it may return.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    cache: usize,
    key: usize,
    own: u64,
    heard: u64,
    bounded: u64,
    due: u64,
}

impl Ledger {
    fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    // --- mutations

    /// Whether the mutation may begin now: of a `set` and whatever else races with it for a key, the last acknowledged wins, however
    /// old its value. So neither begins on top of the other.
    pub(crate) fn may_begin(&self, what: Mutation) -> bool {
        let covers = what.covers();
        let running = self.mutations.values().filter(|other| other.running && matches!(other.what, Mutation::Set(_)));
        let mut meets = running.filter(|set| set.what.covers().iter().zip(covers).any(|(set, covered)| *set && covered));
        !what.by_key() || meets.next().is_none()
    }

    /// Whether a `set` of the key is under way.
    pub(crate) fn is_being_set(&self, key: usize) -> bool {
        self.mutations.values().any(|other| other.running && other.what == Mutation::Set(key))
    }

    /// A mutation begins, and covers these versions.
    pub(crate) fn mutation_begins(&mut self, op: Op, cache: usize, what: Mutation, present: [u64; KEYS.len()]) {
        let covers: KeySet = what.covers();
        // Of what may answer although it was made stale nothing is promised by that.
        let promised = |key: usize| covers[key] && !(KEYS[key].stands_in && what == Mutation::Expire(key));
        let versions: Versions = std::array::from_fn(|key| promised(key).then_some(present[key]));
        raise(&mut self.due, &versions);
        self.mutations.insert(op, Mutating { cache, what, versions, running: true });
    }

    pub(crate) fn mutation_ends(&mut self, op: Op, delivery: Delivery) {
        let now = self.now;
        let Some(mutation) = self.mutations.get_mut(&op) else { return };
        mutation.running = false;
        raise(&mut self.own[mutation.cache], &mutation.versions);
        if !matches!(delivery, Delivery::Applied(_)) {
            self.counts.pending += 1;
            return;
        }
        self.counts.applied += 1;
        raise(&mut self.fenced, &mutation.versions);
        for (acknowledged, version) in self.acknowledged.iter_mut().zip(mutation.versions) {
            acknowledged.extend(version.map(|version| (now, version)));
        }
    }

    /// A call was dropped: nobody was told anything.
    pub(crate) fn dropped(&mut self, op: Op) {
        if let Some(mutation) = self.mutations.get_mut(&op) {
            mutation.running = false;
        }
    }

    /// A cache has applied the news of a mutation.
    pub(crate) fn hears(&mut self, cache: usize, op: Op) {
        if let Some(mutation) = self.mutations.get(&op) {
            raise(&mut self.heard[cache], &mutation.versions);
        }
    }

    /// Somebody who tells nobody has committed a version and deleted the key in the tier.
    pub(crate) fn foreign(&mut self, key: usize, version: u64) {
        self.fenced[key] = self.fenced[key].max(version);
    }

    // --- reads

    pub(crate) fn loader(&mut self, cache: usize, key: usize, end: End) {
        self.ends.push((cache, key, end));
    }

    pub(crate) fn read_begins(&mut self, cache: usize, key: usize, quiet: bool) -> Reading {
        let old = self.acknowledged[key].iter().filter(|(at, _)| at + MAX_STALENESS <= self.now);
        let bounded = old.map(|(_, version)| *version).max().unwrap_or_default();
        let due = if quiet { self.due[key] } else { 0 };
        let reading = Reading { cache, key, own: self.own[cache][key], heard: self.heard[cache][key], bounded, due };
        if reading.own.max(reading.heard).max(bounded) > 0 {
            self.counts.bound += 1;
        }
        reading
    }

    pub(crate) fn read_ends(&mut self, reading: Reading, result: Result<Option<u64>, LoadError<Failed>>, present: u64) {
        let Reading { cache, key, own, heard, bounded, due } = reading;
        let name = KEYS[key].name;
        let told = |end| self.ends.contains(&(cache, key, end));
        match result {
            Ok(Some(got)) => {
                self.counts.answered += 1;
                let rules = [
                    (own, "which it had invalidated itself, and was answered"),
                    (heard, "whose invalidation it had heard of"),
                    (bounded, "whose invalidation was acknowledged longer ago than the bound on staleness"),
                    (due, "and all is quiet"),
                ];
                if let Some((least, why)) = rules.into_iter().find(|(least, _)| got < *least) {
                    self.violated(format!("cache {cache} read version {got} of {name}, older than version {least}, {why}"));
                }
                if got > present {
                    self.violated(format!("cache {cache} read version {got} of {name}, which does not exist"));
                }
            }
            Ok(None) => {}
            Err(LoadError::Loader(_)) if told(End::Fails) => self.counts.failed += 1,
            Err(LoadError::Panicked(message)) if told(End::Panics) && &*message == PANIC => self.counts.failed += 1,
            Err(LoadError::Elsewhere(_)) if self.ends.iter().any(|(of, failed, _)| *of != cache && *failed == key) => {
                self.counts.failed += 1;
                self.counts.elsewhere += 1;
            }
            Err(error) => self.violated(format!("cache {cache} failed to read {name}, and no loader did: {error}")),
        }
    }

    /// What one who hears of everything at once finds in the shared tier.
    pub(crate) fn tier_holds(&mut self, key: usize, version: Option<u64>) {
        let least = self.fenced[key];
        let Some(version) = version else { return };
        if least > 0 {
            self.counts.fenced += 1;
        }
        if version < least {
            let name = KEYS[key].name;
            self.violated(format!("the shared tier holds version {version} of {name}, and version {least} was acknowledged there"));
        }
    }
}

fn raise(floors: &mut [u64; KEYS.len()], versions: &Versions) {
    for (floor, version) in floors.iter_mut().zip(versions) {
        *floor = version.map_or(*floor, |version| version.max(*floor));
    }
}
