//! The front: what this thread reads again and again, found without the store's bookkeeping.
//!
//! A front is not coherent by itself: what the store has let go can no longer be found there when it is invalidated, and a thread may
//! still see it. So each key has a *cell*, a count that moves whenever its entry does. The orders that matter:
//! - who changes the store changes it *first*, moves the key's cell *then*, and acknowledges the change after both;
//! - who reads loads the cell *before* it asks the store, and puts what it found into its front under the count that it loaded.
//!
//! So a place in the front counts only while the cell reads as it did before the entry was looked up. The front owns nothing: what the
//! store has let go is gone here too, as soon as the store has given its memory back, which may be a moment later.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError, Weak};

use super::Entry;
use crate::key::KeyHash;

/// Places a thread has, for all caches of the process. A key has one; of two that share it, the one read later is kept.
const PLACES: usize = 4_096;

/// Cells a cache has. Keys that share one cost each other a look at the store, no more.
const CELLS: usize = 8_192;

/// The largest entry that has a place, its value in line: a place keeps the memory of the entry itself, though not of what the value
/// points at, until another takes it.
const LARGEST: usize = 1_024;

/// How many reads of others it takes at most to lose a place: what is read often is not displaced by what is read once.
const DEAREST: u8 = 8;

/// Of how many hits the store is told at most before it takes the next entry in.
const UNTOLD: usize = 128;

thread_local! {
    /// This thread's places. Made when the first is taken.
    static PLACES_HERE: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
}

/// An entry's place in the front of a thread.
struct Place {
    /// Whose entry it is. Zero: nobody's.
    cache: u64,
    key: KeyHash,
    /// What the key's cell read before the entry was looked up.
    cell: Count,
    /// Grows with each hit, and shrinks when another entry would have the place.
    worth: u8,
    /// The round in which the store saw, or will be told of, the latest hit.
    round: u64,
    entry: Weak<Entry>,
}

impl Place {
    fn empty() -> Self {
        Self { cache: 0, key: KeyHash(0), cell: Count(0), worth: 0, round: 0, entry: Weak::<Entry<()>>::new() }
    }

    fn is_of(&self, front: &Front, key: KeyHash) -> bool {
        self.key == key && self.cache == front.cache
    }
}

/// Moves a cell when it is dropped.
struct Moved<'a>(&'a AtomicU64);

impl Drop for Moved<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// What a key's cell read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count(u64);

/// What stands before the store of one cache: its cells, and the hits that the store was not told of yet.
pub(super) struct Front {
    /// Tells this cache from all others of the process.
    cache: u64,
    cells: Box<[AtomicU64]>,
    /// Hits that the store is to be told of, each key once in a round.
    untold: Mutex<Vec<KeyHash>>,
    /// Counts how often the store was told.
    round: AtomicU64,
    /// How many keys were hit in this round.
    hit: AtomicUsize,
    /// How many there were in the round before.
    hit_before: AtomicUsize,
    /// With which of them the store begins to be told: what is read in the same order again and again is told from another place each
    /// time.
    first: AtomicUsize,
}

impl Front {
    pub(super) fn new() -> Self {
        static CACHES: AtomicU64 = AtomicU64::new(1);
        Self {
            cache: CACHES.fetch_add(1, Ordering::Relaxed),
            cells: (0..CELLS).map(|_| AtomicU64::new(0)).collect(),
            untold: Mutex::new(Vec::with_capacity(UNTOLD)),
            round: AtomicU64::new(1),
            hit: AtomicUsize::new(0),
            hit_before: AtomicUsize::new(1),
            first: AtomicUsize::new(0),
        }
    }

    /// Looks for the entry of `key`, and says what the key's cell read before that. What is found is not judged.
    #[inline]
    pub(super) fn look(&self, key: KeyHash) -> (Count, Option<Arc<Entry>>) {
        let cell = Count(self.cell(key).load(Ordering::Acquire));
        let found = PLACES_HERE
            .try_with(|places| {
                let mut places = places.try_borrow_mut().ok()?;
                let place = places.get_mut(place_of(key)).filter(|place| place.is_of(self, key) && place.cell == cell)?;
                let found = place.entry.upgrade()?;
                place.worth = place.worth.saturating_add(1).min(DEAREST);
                let round = self.round.load(Ordering::Relaxed);
                if place.round != round {
                    place.round = round;
                    self.remember(key);
                }
                Some(found)
            })
            .ok()
            .flatten();
        (cell, found)
    }

    /// Puts what the store had into this thread's front, `cell` being what [`Front::look`] said before the store was asked.
    pub(super) fn keep(&self, key: KeyHash, cell: Count, entry: &Arc<Entry>) {
        if size_of_val(&**entry) > LARGEST {
            return;
        }
        // A thread that ends has no front any more.
        let _ = PLACES_HERE.try_with(|places| {
            let Ok(mut places) = places.try_borrow_mut() else { return };
            if places.is_empty() {
                places.resize_with(PLACES, Place::empty);
            }
            let Some(place) = places.get_mut(place_of(key)) else { return };
            let own = place.is_of(self, key);
            if !own && place.worth > 0 && place.entry.strong_count() > 0 {
                place.worth -= 1;
                return;
            }
            let worth = if own { place.worth } else { 0 }.saturating_add(1).min(DEAREST);
            let round = self.round.load(Ordering::Relaxed);
            *place = Place { cache: self.cache, key, cell, worth, round, entry: Arc::downgrade(entry) };
        });
    }

    /// Runs `change`, which changes the entry of `key` in the store; after it, what any front holds of the key counts no longer. Also if it
    /// panics: the store drops values, and their `Drop` is not ours.
    pub(super) fn moving<T>(&self, key: KeyHash, change: impl FnOnce() -> T) -> T {
        let _moved = Moved(self.cell(key));
        change()
    }

    /// All entries have.
    pub(super) fn all_moved(&self) {
        for cell in &self.cells {
            cell.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Tells the store of hits that it has not seen, so that what it admits and evicts next follows what is really read.
    pub(super) fn tell(&self, hit: impl FnMut(KeyHash)) {
        self.round.fetch_add(1, Ordering::Relaxed);
        let hits = self.hit.swap(0, Ordering::Relaxed);
        if hits == 0 {
            return;
        }
        self.hit_before.store(hits, Ordering::Relaxed);
        self.first.store(fastrand::usize(..hits), Ordering::Relaxed);
        if let Some(mut untold) = self.try_untold() {
            untold.drain(..).for_each(hit);
        }
    }

    /// Keeps a key's first hit of a round for [`Front::tell`], if it is one of those to be told and nobody else is at it: it is a sample.
    fn remember(&self, key: KeyHash) {
        let nth = self.hit.fetch_add(1, Ordering::Relaxed);
        let (of, first) = (self.hit_before.load(Ordering::Relaxed).max(1), self.first.load(Ordering::Relaxed));
        // Counted around: those at the ends are told as often as those in the middle.
        if nth.saturating_add(of).saturating_sub(first) % of < UNTOLD
            && let Some(mut untold) = self.try_untold().filter(|untold| untold.len() < UNTOLD)
        {
            untold.push(key);
        }
    }

    /// Never waits: a hit has better things to do.
    fn try_untold(&self) -> Option<MutexGuard<'_, Vec<KeyHash>>> {
        match self.untold.try_lock() {
            Ok(untold) => Some(untold),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder of the length")]
    fn cell(&self, key: KeyHash) -> &AtomicU64 {
        &self.cells[bits(key.0 >> 64) % CELLS]
    }
}

fn place_of(key: KeyHash) -> usize {
    bits(key.0) % PLACES
}

/// The lowest bits of a part of the hash.
fn bits(hash: u128) -> usize {
    usize::try_from(hash & 0xffff).unwrap_or_default()
}
