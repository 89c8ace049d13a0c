//! Running a loader: in the caller's task, so it may borrow; within a limit; its panics caught; and not inside of itself.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::timeout;

use crate::error::LoadError;
use crate::key::KeyHash;

/// A load, by the cache it is for and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoadId {
    pub(super) cache: usize,
    pub(super) key: KeyHash,
}

thread_local! {
    /// The loads that are being polled on this thread, outermost first.
    static RUNNING: RefCell<Vec<LoadId>> = const { RefCell::new(Vec::new()) };
}

/// Whether the caller is inside of this very load: it would wait for itself.
pub(super) fn is_running(id: LoadId) -> bool {
    RUNNING.with_borrow(|running| running.contains(&id))
}

/// Runs the loader to its end or to the limit.
///
/// `beat` is called each time a `pace` has gone by: a load that lasts keeps what it holds alive.
pub(super) async fn run<T, E, F, Fut>(id: LoadId, limit: Duration, beat: Beat<impl Fn()>, load: F) -> Result<T, LoadError<E>>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    // The closure runs within the guarded poll, too: what it does before its first await is part of the load.
    let load = Guarded { id, load: async move { load().await } };
    tokio::pin!(load);
    let mut left = limit;
    while !left.is_zero() {
        let step = beat.pace.min(left).max(Duration::from_millis(1));
        match timeout(step, load.as_mut()).await {
            Ok(Ok(Ok(value))) => return Ok(value),
            Ok(Ok(Err(error))) => return Err(LoadError::Loader(Arc::new(error))),
            Ok(Err(message)) => return Err(LoadError::Panicked(message)),
            Err(_) => (beat.call)(),
        }
        left = left.saturating_sub(step);
    }
    Err(LoadError::TimedOut(limit))
}

/// What is done while a load lasts, and how often.
pub(super) struct Beat<C> {
    pub(super) pace: Duration,
    pub(super) call: C,
}

pin_project_lite::pin_project! {
    struct Guarded<Fut> {
        id: LoadId,
        #[pin]
        load: Fut,
    }
}

impl<Fut: Future> Future for Guarded<Fut> {
    type Output = Result<Fut::Output, Arc<str>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        RUNNING.with_borrow_mut(|running| running.push(*this.id));
        let load = this.load;
        // A loader that has panicked is dropped and not polled again, so nothing it left broken is seen.
        let polled = catch_unwind(AssertUnwindSafe(|| load.poll(context)));
        RUNNING.with_borrow_mut(Vec::pop);
        match polled {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(message(&*panic))),
        }
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> Arc<str> {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").into()
}
