//! L1: this instance's own copies, typed, bounded, by hashed key. moka stores, admits and evicts; whether an entry may be
//! *served* is decided here, by our clock and the lane's view. moka is told of no expiry, which would cost each hit a tenth: what is
//! past its end goes when it is asked for, when it is in the way, or with the next [sweep](L1::sweep).

mod entry;
mod front;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::policy::EvictionPolicy;

use crate::clock::Millis;
use crate::config::{Capacity, Eviction};
use crate::key::KeyHash;
use crate::observe::stats::Counters;
use crate::rule::policy::Freshness;
use crate::unhashed::BuildUnhashed;
use crate::view::View;

pub(crate) use entry::{Due, Entry, Facts};
use front::Front;

/// After how many entries a sweep lets others run.
const SWEEP_STEP: u32 = 256;

/// This instance's copies.
pub(crate) struct L1 {
    front: Front,
    store: moka::sync::Cache<KeyHash, Arc<Entry>, BuildUnhashed>,
    capacity: Capacity,
    counters: Arc<Counters>,
    /// Entries that were put in, less those taken out or overwritten: what is not there of them was displaced. Counted in this way
    /// because a listener would take a lock of the key at each insertion.
    held: AtomicU64,
}

impl L1 {
    pub(crate) fn new(capacity: Capacity, eviction: Eviction, counters: Arc<Counters>) -> Self {
        let policy = match eviction {
            Eviction::TinyLfu => EvictionPolicy::tiny_lfu(),
            Eviction::Lru => EvictionPolicy::lru(),
        };
        let builder = moka::sync::Cache::builder().eviction_policy(policy);
        let builder = match capacity {
            Capacity::Entries(entries) => builder.max_capacity(entries),
            Capacity::Bytes(bytes) => builder.max_capacity(bytes).weigher(|_, entry: &Arc<Entry>| entry.weight()),
        };
        let store = builder.build_with_hasher(BuildUnhashed::default());
        Self { front: Front::new(), store, capacity, counters, held: AtomicU64::new(0) }
    }

    /// Whether capacity is counted in bytes, so that a value's size must be known.
    pub(crate) fn weighs(&self) -> bool {
        matches!(self.capacity, Capacity::Bytes(_))
    }

    /// Returns the entry if it may be served now.
    pub(crate) fn probe(&self, key: KeyHash, now: Millis, view: &View) -> Option<Arc<Entry>> {
        let (cell, found) = self.front.look(key);
        if let Some(entry) = found.filter(|entry| entry.serves(now, view)) {
            return Some(entry);
        }
        let entry = self.store.get(&key).filter(|entry| entry.serves(now, view))?;
        self.front.keep(key, cell, &entry);
        Some(entry)
    }

    /// [`L1::probe`] for a key that has just been missed: most likely it is missing still, and finding that out should cost little.
    pub(crate) fn probe_again(&self, key: KeyHash, now: Millis, view: &View) -> Option<Arc<Entry>> {
        if self.store.contains_key(&key) { self.probe(key, now, view) } else { None }
    }

    /// Returns what there is, whether it may be served or not. A key that is not there does not count as asked for once more: it has been
    /// missed already, and counted twice it would be admitted too soon.
    pub(crate) fn peek(&self, key: KeyHash) -> Option<Arc<Entry>> {
        if self.store.contains_key(&key) { self.store.get(&key) } else { None }
    }

    /// Keeps the entry; `false` if it alone is larger than everything that may be kept.
    pub(crate) fn insert(&self, key: KeyHash, entry: Arc<Entry>) -> bool {
        let fits = match self.capacity {
            Capacity::Entries(_) => true,
            Capacity::Bytes(bytes) => u64::from(entry.weight()) <= bytes,
        };
        if fits {
            // First: what it is told of may displace what it has.
            self.front.tell(|hit| drop(self.store.get(&hit)));
            if !self.store.contains_key(&key) {
                self.held.fetch_add(1, Ordering::Relaxed);
            }
            self.front.moving(key, || self.store.insert(key, entry));
        } else {
            self.take_out(key);
        }
        fits
    }

    /// Drops the entry unless `spare` says otherwise.
    pub(crate) fn drop_entry(&self, key: KeyHash, spare: impl FnOnce(&Facts) -> bool) {
        if self.store.contains_key(&key) && self.store.get(&key).is_some_and(|entry| spare(&entry.facts)) {
            return;
        }
        if self.take_out(key) {
            self.counters.evicted_by_invalidation.one();
        }
    }

    /// Makes the entry stale unless `spare` says otherwise.
    pub(crate) fn expire_entry(&self, key: KeyHash, now: Millis, spare: impl FnOnce(&Facts) -> bool) {
        let entry = if self.store.contains_key(&key) { self.store.get(&key) } else { None };
        if let Some(entry) = entry.filter(|entry| !spare(&entry.facts)) {
            // The fronts have this very entry, or an older one.
            self.front.moving(key, || entry.expire(now));
        } else {
            self.front.moving(key, || ());
        }
    }

    fn take_out(&self, key: KeyHash) -> bool {
        // Also if there was nothing: what the store had let go before may be in a front still.
        let taken = self.front.moving(key, || self.store.remove(&key).is_some());
        if taken {
            // Not below zero: what is taken out may have been counted as displaced a moment before.
            let _ = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| held.checked_sub(1));
        }
        taken
    }

    /// Gives the memory of all entries back that are past their end, and of those others that `look` wants gone: a little at a time, so that
    /// nobody waits for it.
    pub(crate) async fn sweep(&self, now: impl Fn() -> Millis, mut look: impl FnMut(&Facts) -> bool) {
        let past = |entry: &Arc<Entry>| entry.freshness(now()) == Freshness::Gone;
        let mut seen = 0_u32;
        let mut keys = Vec::new();
        for (key, entry) in &self.store {
            if past(&entry) || look(&entry.facts) {
                keys.push(*key);
            }
            seen = seen.wrapping_add(1);
            if seen.is_multiple_of(SWEEP_STEP) {
                tokio::task::yield_now().await;
            }
        }
        for key in keys {
            // Looked at again: a fresh one may have taken its place.
            let Some(entry) = self.store.get(&key) else { continue };
            let past = past(&entry);
            if (past || look(&entry.facts)) && self.take_out(key) {
                let counter = if past { &self.counters.evicted_by_age } else { &self.counters.evicted_by_invalidation };
                counter.one();
            }
        }
        // What it has let go is given back also where nobody but the fronts is asked for long.
        self.store.run_pending_tasks();
    }

    /// Gives the memory of everything back. What makes the entries unusable is the view's table.
    pub(crate) fn drop_all(&self) {
        self.settle();
        self.counters.evicted_by_invalidation.add(self.store.entry_count());
        self.store.invalidate_all();
        self.front.all_moved();
        self.store.run_pending_tasks();
        self.held.store(self.store.entry_count(), Ordering::Relaxed);
    }

    /// Lets the store catch up with itself, and counts what it has displaced. Never on the way of a read: done at each, it costs hits.
    fn settle(&self) {
        self.store.run_pending_tasks();
        let present = self.store.entry_count();
        // Insertions that run meanwhile may be in one number and not in the other: they even out with the next look.
        // In one step: of two that look at once, one counts.
        let held = self.held.fetch_min(present, Ordering::Relaxed);
        let displaced = held.saturating_sub(present);
        self.counters.evicted_by_size.add(displaced);
    }

    /// How many entries there are. Counts also what has been displaced up to now.
    pub(crate) fn entries(&self) -> u64 {
        self.settle();
        self.store.entry_count()
    }

    pub(crate) fn weight(&self) -> u64 {
        self.store.weighted_size()
    }
}

impl std::fmt::Debug for L1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("L1").field("capacity", &self.capacity).field("entries", &self.store.entry_count()).finish_non_exhaustive()
    }
}
