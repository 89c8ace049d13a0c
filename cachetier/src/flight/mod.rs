//! Flights: the one load of a key that runs in this process while others wait for it.
//!
//! A flight is registered before its first byte goes out, and is *attached* while it stands in the registry. An invalidation
//! detaches it: from then on it enters no tier and no later caller joins it, but those who wait for it still get its outcome.
//! This file owns who leads, who waits and who is woken; it does not know what is loaded, from where, or what L1 is.
//!
//! States of one flight, all changes under its lock:
//!
//! ```text
//!   Led --finish--> Done(outcome)            everybody is woken
//!   Led --leader dropped--> Vacant           one waiter is woken; the first to poll leads
//!   Vacant --waiter polls--> Led             or, if detached meanwhile: all are woken and begin anew
//!   Vacant, Led --nobody left--> removed     what the leader had stowed is dropped with it, also where all begin anew
//! ```
//!
//! Lock order: a shard, then a flight's state. Wakers are woken, and what was stowed is dropped, outside of both.

mod join;
// What this cache's flights end with is not the registry's: where its interleavings are tried, they end with something else.
#[cfg(not(cachetier_shuttle))]
pub(crate) mod outcome;
#[cfg(test)]
#[cfg(not(cachetier_shuttle))]
mod tests;

use std::any::TypeId;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::Waker;

pub(crate) use join::{Join, Landed};

use crate::key::KeyHash;
use crate::sync::{Mutex, lock};
use crate::unhashed::BuildUnhashed;

/// What a flight is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Reads the shared tier and loads nothing.
    Read,
    /// Loads what the shared tier does not have.
    Load,
    /// Puts a value given by the caller.
    Write,
}

/// What stays the same for a flight's whole life.
#[derive(Debug)]
pub(crate) struct Plan<N> {
    pub(crate) purpose: Purpose,
    /// The type of the values that can come of it.
    pub(crate) kind: TypeId,
    /// What was noted before anything was read.
    pub(crate) noted: N,
}

/// One flight. `O` is what it ends with, `B` what its leader hands on to a successor, `N` what was noted at its begin.
pub(crate) struct Flight<O, B, N> {
    key: KeyHash,
    plan: Plan<N>,
    state: Mutex<State<O, B>>,
}

struct State<O, B> {
    phase: Phase<O>,
    /// Callers that wait or are about to: counted from the moment they found the flight.
    joined: usize,
    /// Those of them that have polled, by the order in which they came.
    waiting: BTreeMap<u64, Waker>,
    next: u64,
    /// How often somebody who leads it was seen to live: at its begin, and at each beat.
    signs: u64,
    detached: bool,
    /// Boxed: most flights end without, and every one of them would have the room for it.
    stowed: Option<Box<B>>,
}

enum Phase<O> {
    Led,
    Vacant,
    Done(O),
}

type Shared<O, B, N> = Arc<Flight<O, B, N>>;
type Shard<O, B, N> = Mutex<HashMap<KeyHash, Shared<O, B, N>, BuildUnhashed>>;

/// All flights of one cache, by key.
pub(crate) struct Flights<O, B, N> {
    shards: Arc<[Shard<O, B, N>]>,
}

/// What a caller finds.
pub(crate) enum Entered<O: Clone, B, N> {
    /// No flight was there: the caller leads one.
    Lead(Lead<O, B, N>),
    /// One was there that the caller can wait for.
    Join(Join<O, B, N>),
    /// One was there that cannot end with what the caller wants.
    Apart,
}

impl<O: Clone, B, N> Flights<O, B, N> {
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards: (0..shards.max(1)).map(|_| Mutex::new(HashMap::default())).collect() }
    }

    fn shard(&self, key: KeyHash) -> Option<&Shard<O, B, N>> {
        shard(&self.shards, key)
    }

    /// Joins the attached flight of `key`, or registers the one that `plan` describes and leads it.
    pub(crate) fn enter(&self, key: KeyHash, plan: Plan<N>) -> Entered<O, B, N> {
        let Some(shard) = self.shard(key) else { return Entered::Apart };
        let mut flights = lock(shard);
        if let Some(flight) = flights.get(&key) {
            if flight.plan.kind != plan.kind || (plan.purpose == Purpose::Read && flight.plan.purpose != Purpose::Read) {
                return Entered::Apart;
            }
            lock(&flight.state).joined += 1;
            return Entered::Join(Join::new(Arc::clone(&self.shards), Arc::clone(flight)));
        }
        let flight = Arc::new(Flight::led(key, plan));
        flights.insert(key, Arc::clone(&flight));
        Entered::Lead(Lead::new(Arc::clone(&self.shards), flight))
    }

    /// What the key's flight is for, and how many wait for it, if there is one.
    pub(crate) fn seen(&self, key: KeyHash) -> Option<(Purpose, usize)> {
        let flights = lock(self.shard(key)?);
        flights.get(&key).map(|flight| (flight.plan.purpose, lock(&flight.state).joined))
    }

    /// Registers a flight in the place of whatever flight the key has, which is detached; `with` runs in the same step.
    pub(crate) fn supersede(&self, key: KeyHash, plan: Plan<N>, with: impl FnOnce()) -> Lead<O, B, N> {
        let flight = Arc::new(Flight::led(key, plan));
        // Made first: should `with` panic, the flight does not stand there without a leader.
        let lead = Lead::new(Arc::clone(&self.shards), Arc::clone(&flight));
        let old = self.shard(key).and_then(|shard| {
            let mut flights = lock(shard);
            let old = flights.insert(key, flight);
            with();
            old
        });
        old.iter().for_each(Flight::detach);
        lead
    }

    /// Detaches the key's flight unless `spare` says otherwise; `with` runs in the same step, so that no flight can enter L1
    /// between the two.
    pub(crate) fn invalidate(&self, key: KeyHash, spare: impl FnOnce(&N) -> bool, with: impl FnOnce()) {
        let old = self.shard(key).and_then(|shard| {
            let mut flights = lock(shard);
            let doomed = flights.get(&key).is_some_and(|flight| !spare(&flight.plan.noted));
            let old = if doomed { flights.remove(&key) } else { None };
            with();
            old
        });
        old.iter().for_each(Flight::detach);
    }

    /// Detaches every flight for which `which` holds.
    pub(crate) fn detach(&self, mut which: impl FnMut(&N) -> bool) {
        for shard in self.shards.iter() {
            let gone: Vec<_> = lock(shard).extract_if(|_, flight| which(&flight.plan.noted)).map(|(_, flight)| flight).collect();
            gone.iter().for_each(Flight::detach);
        }
    }

    /// How many flights are attached.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}

fn shard<O, B, N>(shards: &[Shard<O, B, N>], key: KeyHash) -> Option<&Shard<O, B, N>> {
    // The upper half: the lower one places the key within the shard's map.
    let upper = usize::try_from((key.0 >> 64) & 0xffff_ffff).unwrap_or_default();
    shards.get(upper % shards.len().max(1))
}

impl<O: Clone, B, N> Flight<O, B, N> {
    fn led(key: KeyHash, plan: Plan<N>) -> Self {
        let state =
            State { phase: Phase::Led, joined: 0, waiting: BTreeMap::new(), next: 0, signs: 1, detached: false, stowed: None };
        Self { key, plan, state: Mutex::new(state) }
    }

    /// After the flight has left the registry. Who leads it goes on, without what was stowed; if nobody does, those who wait begin anew.
    fn detach(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        state.detached = true;
        let vacant = matches!(state.phase, Phase::Vacant);
        let woken = if vacant { std::mem::take(&mut state.waiting) } else { BTreeMap::new() };
        let stowed = state.stowed.take();
        drop(state);
        drop(stowed);
        woken.into_values().for_each(Waker::wake);
    }

    /// Removes the flight from the registry if it still stands there, after `last`. Called with the shard locked.
    fn leave(self: &Arc<Self>, flights: &mut HashMap<KeyHash, Arc<Self>, BuildUnhashed>, last: impl FnOnce()) {
        if flights.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, self)) {
            last();
            flights.remove(&self.key);
        }
    }
}

/// The right and the duty to end a flight. Dropped without [`Lead::finish`], it passes to somebody who waits.
#[must_use = "a flight that is not finished is loaded again by somebody who waits"]
pub(crate) struct Lead<O: Clone, B, N> {
    shards: Arc<[Shard<O, B, N>]>,
    flight: Shared<O, B, N>,
    finished: bool,
}

impl<O: Clone, B, N> Lead<O, B, N> {
    fn new(shards: Arc<[Shard<O, B, N>]>, flight: Shared<O, B, N>) -> Self {
        Self { shards, flight, finished: false }
    }

    /// What was noted at the flight's begin, by its first leader.
    pub(crate) fn noted(&self) -> &N {
        &self.flight.plan.noted
    }

    /// Its leader lives, and is at work on it.
    pub(crate) fn live(&self) {
        let mut state = lock(&self.flight.state);
        state.signs = state.signs.saturating_add(1);
    }

    /// What the flight is for, as its first leader said.
    pub(crate) fn purpose(&self) -> Purpose {
        self.flight.plan.purpose
    }

    /// Whether nothing has detached it by now.
    pub(crate) fn is_attached(&self) -> bool {
        !lock(&self.flight.state).detached
    }

    /// Whether somebody waits for the flight just now.
    pub(crate) fn is_awaited(&self) -> bool {
        lock(&self.flight.state).joined > 0
    }

    /// Keeps `baggage` for whoever leads next. It is dropped as soon as nobody can take it any more: with the flight, and when the
    /// flight is detached, for then whoever comes next begins anew.
    pub(crate) fn stow(&self, baggage: B) {
        let baggage = Box::new(baggage);
        let mut state = lock(&self.flight.state);
        let dropped = if state.detached { Some(baggage) } else { state.stowed.replace(baggage) };
        drop(state);
        drop(dropped);
    }

    /// Looks at what is stowed, under the flight's lock: what follows from it is for the caller to do.
    pub(crate) fn with_stowed<R>(&self, look: impl FnOnce(&B) -> R) -> Option<R> {
        lock(&self.flight.state).stowed.as_deref().map(look)
    }

    /// Takes what was stowed, by this leader or the one before.
    pub(crate) fn unstow(&self) -> Option<B> {
        lock(&self.flight.state).stowed.take().map(|baggage| *baggage)
    }

    /// Ends the flight: `enter` runs if it is still attached, in one step with its leaving the registry; then all are woken.
    pub(crate) fn finish(mut self, outcome: O, enter: impl FnOnce()) {
        if let Some(shard) = shard(&self.shards, self.flight.key) {
            self.flight.leave(&mut lock(shard), enter);
        }
        // Only now: had `enter` panicked, the lead would have passed on as if it had been dropped.
        self.finished = true;
        let mut state = lock(&self.flight.state);
        let woken = std::mem::take(&mut state.waiting);
        let stowed = state.stowed.take();
        // Without anybody to take it, the outcome is not kept: so a lone caller's error stays unshared.
        state.phase = if state.joined == 0 { Phase::Vacant } else { Phase::Done(outcome) };
        drop(state);
        drop(stowed);
        woken.into_values().for_each(Waker::wake);
    }
}

impl<O: Clone, B, N> Drop for Lead<O, B, N> {
    fn drop(&mut self) {
        let Some(shard) = shard(&self.shards, self.flight.key).filter(|_| !self.finished) else { return };
        let mut flights = lock(shard);
        let mut state = lock(&self.flight.state);
        state.phase = Phase::Vacant;
        let nobody = state.joined == 0;
        // A detached flight is not handed on: those who wait begin anew, with what is true now.
        let woken: Vec<Waker> = if state.detached {
            std::mem::take(&mut state.waiting).into_values().collect()
        } else {
            state.waiting.pop_first().map(|(_, waker)| waker).into_iter().collect()
        };
        let stowed = if nobody || state.detached { state.stowed.take() } else { None };
        drop(state);
        if nobody {
            self.flight.leave(&mut flights, || {});
        }
        drop(flights);
        drop(stowed);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl<O, B, N> std::fmt::Debug for Flights<O, B, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flights").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}
