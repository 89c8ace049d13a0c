//! Running a loader: in the caller's task, so it may borrow; up to a limit, at which somebody else decides; its panics caught; and not
//! inside of itself.

use std::cell::RefCell;
use std::collections::HashSet;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::timeout;

use super::places::Refused;
use super::telling::Failed;
use crate::bulkhead::{Places, Regaining};
use crate::key::KeyHash;
use crate::unhashed::BuildUnhashed;

/// A load, by the cache it is for and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoadId {
    pub(super) cache: usize,
    pub(super) key: KeyHash,
}

/// The keys that a load is for.
#[derive(Clone, Debug)]
pub(super) enum For {
    One(LoadId),
    /// Those of one cache.
    Many(usize, Arc<HashSet<KeyHash, BuildUnhashed>>),
}

impl For {
    fn is(&self, id: LoadId) -> bool {
        match self {
            Self::One(one) => *one == id,
            Self::Many(cache, keys) => *cache == id.cache && keys.contains(&id.key),
        }
    }
}

/// A load: what it is for, and the places that it has among those that run at once.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) keys: For,
    pub(super) places: Option<Arc<Places>>,
}

thread_local! {
    /// The loads that are being polled on this thread, outermost first.
    static RUNNING: RefCell<Vec<Running>> = const { RefCell::new(Vec::new()) };
}

/// Whether the caller is inside of this very load: it would wait for itself.
pub(super) fn is_running(id: LoadId) -> bool {
    RUNNING.with_borrow(|running| running.iter().any(|load| load.keys.is(id)))
}

/// Whether the caller is inside of any load.
pub(super) fn is_within() -> bool {
    RUNNING.with_borrow(|running| !running.is_empty())
}

/// The places of the load that the caller is inside of.
pub(super) fn places() -> Option<Arc<Places>> {
    RUNNING.with_borrow(|running| running.iter().rev().find_map(|load| load.places.clone()))
}

/// What goes on beside a load. `T` is what the caller is told if it is stopped.
pub(super) trait Beside<T> {
    /// Called each time a `pace` has gone by: a load that lasts keeps what it holds alive.
    fn beat(&self);

    /// Called once, when the load has come to its limit. With `None` it goes on.
    fn over_limit(&mut self) -> Option<T>;
}

/// How long a load may take, and how often it beats meanwhile.
pub(super) struct Limits {
    pub(super) limit: Duration,
    pub(super) pace: Duration,
}

/// How a load ended that brought nothing.
pub(super) enum Lost<E, T> {
    Failed(Failed<E>),
    /// At its limit, for which its caller is told this.
    Stopped(T),
    /// It was not begun.
    Refused(Refused<T>),
}

/// Runs the loader to its end, or to the limit if it is to stop there.
pub(super) async fn run<V, E, T, F, Fut>(
    running: Running,
    limits: Limits,
    beside: &mut impl Beside<T>,
    load: F,
) -> Result<V, Lost<E, T>>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<V, E>>,
{
    // The closure runs within the guarded poll, too: what it does before its first await is part of the load.
    let load = Guarded { running, regaining: None, load: async move { load().await } };
    tokio::pin!(load);
    let Limits { limit, pace } = limits;
    let mut left = limit;
    while !left.is_zero() {
        let step = pace.min(left).max(Duration::from_millis(1));
        match timeout(step, load.as_mut()).await {
            Ok(loaded) => return loaded.map_err(Lost::Failed),
            Err(_) => beside.beat(),
        }
        left = left.saturating_sub(step);
    }
    if let Some(told) = beside.over_limit() {
        return Err(Lost::Stopped(told));
    }
    load.await.map_err(Lost::Failed)
}

pin_project_lite::pin_project! {
    struct Guarded<Fut> {
        running: Running,
        regaining: Option<Regaining>,
        #[pin]
        load: Fut,
    }
}

impl<T, E, Fut: Future<Output = Result<T, E>>> Future for Guarded<Fut> {
    type Output = Result<T, Failed<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(places) = &this.running.places {
            ready!(places.poll_ready(this.regaining, context));
        }
        RUNNING.with_borrow_mut(|running| running.push(this.running.clone()));
        let load = this.load;
        // A loader that has panicked is dropped and not polled again, so nothing it left broken is seen.
        let polled = catch_unwind(AssertUnwindSafe(|| load.poll(context)));
        drop(RUNNING.with_borrow_mut(Vec::pop));
        match polled {
            Ok(poll) => poll.map_err(Failed::Loader),
            Err(panic) => Poll::Ready(Err(Failed::Panicked(panic))),
        }
    }
}
