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
pub(super) async fn run<T, E, F, Fut>(id: LoadId, limit: Duration, load: F) -> Result<T, LoadError<E>>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    // The closure runs within the guarded poll, too: what it does before its first await is part of the load.
    let load = Guarded { id, load: async move { load().await } };
    match timeout(limit, load).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(LoadError::Loader(Arc::new(error))),
        Ok(Err(message)) => Err(LoadError::Panicked(message)),
        Err(_) => Err(LoadError::TimedOut(limit)),
    }
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
        RUNNING.with_borrow_mut(|running| running.pop());
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
