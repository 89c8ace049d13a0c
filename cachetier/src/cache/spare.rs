//! What answers in the place of a load that has failed: what is stale, where the policy says so, as long as nothing has invalidated it.

use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use super::ask::Flight;
use super::call::CallOptions;
use super::served::Origin;
use super::{Key, Part};
use crate::clock::Millis;
use crate::l1::Entry;
use crate::rule::policy::Policy;

/// What may be served if the load fails.
pub(super) struct Spare {
    stale: Arc<Entry>,
    /// For how long, before the next load.
    retry: Duration,
    options: CallOptions,
    pub(super) origin: Origin,
    again: fn(&Entry, Millis, Duration) -> Option<Arc<Entry>>,
}

impl Part {
    /// What may answer if the load of the key fails. Nothing for a call that wants a load in any case, which is to be told that there was none; nor for
    /// values that are held here alone.
    pub(super) fn spare<A: Answer>(
        &self,
        key: Key<'_>,
        policy: &Policy,
        options: CallOptions,
        stale: Option<&Arc<Entry>>,
    ) -> Option<Spare> {
        let (stale, retry) = (stale.filter(|_| !options.fresh && !options.unshared)?, policy.retry_after()?);
        policy.check().ok()?;
        A::of(stale)?;
        let here = self.instance().l1.peek(key.hash).is_some_and(|entry| Arc::ptr_eq(&entry, stale));
        let origin = if here { Origin::L1 } else { Origin::L2 };
        Some(Spare { stale: Arc::clone(stale), retry, options, origin, again: Entry::standing_in::<A::Value> })
    }

    /// Ends the flight of a load that has failed with what is stale, if that may be served now: judged anew, for the load took its time. Else
    /// the flight is handed back.
    ///
    /// No proof is sought for it: the error may not go from thread to thread, so nothing can be waited for while it is there.
    pub(super) fn stand_in(&self, key: Key<'_>, flight: Flight, spare: &Spare) -> Result<Arc<Entry>, Flight> {
        let (now, instance) = (self.now(), self.instance());
        let view = &instance.view;
        // What invalidates the key detaches the flight, and so does the end of an epoch, after which nobody knows.
        let answers = flight.is_attached() && spare.stale.is_fallback(now, view) && spare.stale.needs_nobody(now, view);
        let Some(entry) = answers.then(|| (spare.again)(&spare.stale, now, spare.retry)).flatten() else { return Err(flight) };
        // First: who comes next in another instance finds the key free.
        drop(flight.unstow());
        // A copy that the call has not looked at may be newer.
        let serves = || instance.l1.peek(key.hash).is_some_and(|present| present.would_serve(now, view));
        let keeps = spare.options.writes.l1() && (spare.options.looks_here() || !serves());
        self.land(flight, key, Arc::clone(&entry), keeps);
        let counters = &instance.counters;
        counters.served_stale.one();
        if entry.lacks_proof(now, view) {
            view.count_unproven();
        }
        if counters.told.served_stale.first() {
            tracing::warn!(
                key = key.text,
                "a load has failed, and what is stale is served in its place; further ones are only counted"
            );
        }
        Ok(entry)
    }
}
