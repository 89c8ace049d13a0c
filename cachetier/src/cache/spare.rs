//! What answers in the place of a load that has failed: what is stale, where the policy says so, as long as nothing has invalidated it.

use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use super::ask::Flight;
use super::call::CallOptions;
use super::served::Origin;
use super::{Key, TieredCache};
use crate::clock::Millis;
use crate::l1::Entry;
use crate::rule::policy::Policy;

/// What may be served if the load fails.
pub(super) struct Spare {
    stale: Arc<Entry>,
    /// For how long, before the next load.
    retry: Duration,
    /// Whether it is kept here for that long.
    keeps: bool,
    pub(super) origin: Origin,
    again: fn(&Entry, Millis, Duration) -> Option<Arc<Entry>>,
}

impl Spare {
    /// None for a call that wants a load in any case: it is to be told that there was none.
    pub(super) fn of<A: Answer>(policy: &Policy, options: CallOptions, stale: Option<&Arc<Entry>>) -> Option<Self> {
        let (stale, retry) = (stale.filter(|_| !options.fresh)?, policy.retry_after()?);
        A::of(stale)?;
        let origin = if stale.facts.is_loaded_here() { Origin::L1 } else { Origin::L2 };
        let keeps = options.writes.l1();
        Some(Self { stale: Arc::clone(stale), retry, keeps, origin, again: Entry::standing_in::<A::Value> })
    }
}

impl TieredCache {
    /// Ends the flight of a load that has failed with what is stale, if that may be served now: judged anew, for the load took its time. Else
    /// the flight is handed back.
    pub(super) fn stand_in(&self, key: Key<'_>, flight: Flight, spare: &Spare) -> Result<Arc<Entry>, Flight> {
        let (now, view) = (self.now(), &self.instance().view);
        // What invalidates the key detaches the flight, and so does the end of an epoch, after which nobody knows.
        let served = flight.is_attached() && spare.stale.may_stand_in(now, view);
        let Some(entry) = served.then(|| (spare.again)(&spare.stale, now, spare.retry)).flatten() else { return Err(flight) };
        // First: who comes next in another instance finds the key free.
        drop(flight.unstow());
        self.land(flight, key, Arc::clone(&entry), spare.keeps);
        let counters = &self.instance().counters;
        counters.served_stale.one();
        if counters.told.served_stale.first() {
            tracing::warn!(
                key = key.text,
                "a load has failed, and what is stale is served in its place; further ones are only counted"
            );
        }
        Ok(entry)
    }
}
