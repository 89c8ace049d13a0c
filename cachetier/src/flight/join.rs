//! Waiting for a flight that somebody else leads, and taking over when its leader is gone.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{Flight, Lead, Phase, Shard, Shared, State, shard};
use crate::sync::lock;

/// How waiting ended.
pub(crate) enum Landed<O: Clone, B, N> {
    /// The flight ended; with what was noted at its begin.
    Outcome(O, Shared<O, B, N>),
    /// Its leader is gone, and the caller leads now.
    Lead(Lead<O, B, N>),
    /// Its leader is gone and an invalidation came: the caller begins anew.
    Anew,
}

/// As [`Landed`], under the flight's lock.
enum Taken<O> {
    Outcome(O),
    Lead,
    Anew,
}

impl<O: Clone, B> State<O, B> {
    /// Takes what there is to take; `None` while somebody leads.
    fn take(&mut self) -> Option<Taken<O>> {
        match &self.phase {
            Phase::Done(outcome) => Some(Taken::Outcome(outcome.clone())),
            Phase::Vacant if self.detached => Some(Taken::Anew),
            Phase::Vacant => {
                self.phase = Phase::Led;
                self.signs += 1;
                Some(Taken::Lead)
            }
            Phase::Led => None,
        }
    }
}

/// A caller that waits. Cancel safety: dropped at any time, it leaves no trace, and passes on a turn to lead it had not taken.
pub(crate) struct Join<O: Clone, B, N> {
    shards: Arc<[Shard<O, B, N>]>,
    flight: Shared<O, B, N>,
    place: Option<u64>,
}

impl<O: Clone, B, N> Join<O, B, N> {
    /// The caller has been counted in `joined`.
    pub(super) fn new(shards: Arc<[Shard<O, B, N>]>, flight: Shared<O, B, N>) -> Self {
        Self { shards, flight, place: None }
    }

    /// What the flight has come to by now; a flight that nobody leads is the caller's to lead. Nobody is woken for who only looks, so a
    /// caller that is busy with something else takes no turn from one that waits.
    pub(crate) fn look(&self) -> Option<Landed<O, B, N>> {
        let taken = lock(&self.flight.state).take();
        taken.map(|taken| self.landed(taken))
    }

    fn landed(&self, taken: Taken<O>) -> Landed<O, B, N> {
        let flight = Arc::clone(&self.flight);
        match taken {
            Taken::Outcome(outcome) => Landed::Outcome(outcome, flight),
            Taken::Lead => Landed::Lead(Lead::new(Arc::clone(&self.shards), flight)),
            Taken::Anew => Landed::Anew,
        }
    }

    /// How often somebody who leads the flight was seen to live: as long as it grows, somebody polls who leads.
    pub(crate) fn signs(&self) -> u64 {
        lock(&self.flight.state).signs
    }
}

impl<O: Clone, B, N> Flight<O, B, N> {
    /// What was noted at the flight's begin.
    pub(crate) fn noted(&self) -> &N {
        &self.plan.noted
    }
}

impl<O: Clone, B, N> Future for Join<O, B, N> {
    type Output = Landed<O, B, N>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let flight = Arc::clone(&self.flight);
        let mut state = lock(&flight.state);
        if let Some(taken) = state.take() {
            drop(state);
            return Poll::Ready(self.landed(taken));
        }
        let next = state.next;
        let place = *self.place.get_or_insert(next);
        if place == next {
            state.next += 1;
        }
        let old = state.waiting.insert(place, context.waker().clone());
        drop(state);
        // Possibly the last hold on a task that waits here as well.
        drop(old);
        Poll::Pending
    }
}

impl<O: Clone, B, N> Drop for Join<O, B, N> {
    fn drop(&mut self) {
        let Some(shard) = shard(&self.shards, self.flight.key) else { return };
        let mut flights = lock(shard);
        let mut state = lock(&self.flight.state);
        state.joined = state.joined.saturating_sub(1);
        let own = self.place.and_then(|place| state.waiting.remove(&place));
        let vacant = matches!(state.phase, Phase::Vacant);
        let nobody = vacant && state.joined == 0;
        // The turn to lead may have been ours: whoever is woken in vain just waits on.
        let heir = if vacant { state.waiting.pop_first().map(|(_, waker)| waker) } else { None };
        let stowed = if nobody { state.stowed.take() } else { None };
        drop(state);
        if nobody {
            self.flight.leave(&mut flights, || {});
        }
        drop(flights);
        drop(own);
        drop(stowed);
        heir.into_iter().for_each(Waker::wake);
    }
}
