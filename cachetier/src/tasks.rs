//! What goes on in the background: for a short while, such as tickets given back after their holder was dropped, counted, so that a
//! flush can wait for it; and for as long as the cache does.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// The background work of one cache.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    /// The runtime that the cache was built on: work may be given from a drop on any thread.
    runtime: Handle,
    open: Arc<Open>,
}

#[derive(Debug, Default)]
struct Open {
    count: AtomicUsize,
    done: Notify,
}

/// One piece of work, counted until it is dropped, finished or not.
struct Counted(Arc<Open>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.done.notify_waiters();
    }
}

impl Tasks {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { runtime, open: Arc::default() }
    }

    /// Begins `work` at once, so that it is sent before whatever the caller does next, and leaves the rest to the runtime.
    pub(crate) fn begin(&self, work: impl Future<Output = ()> + Send + 'static) {
        let counted = self.count();
        let mut work = Box::pin(async move {
            let _counted = counted;
            work.await;
        });
        // Timers and tasks of the work are the runtime's, whatever thread drops the ticket.
        let _inside = self.runtime.enter();
        if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.runtime.spawn(work);
        }
    }

    /// Counts something that its owner does itself.
    fn count(&self) -> Counted {
        self.open.count.fetch_add(1, Ordering::AcqRel);
        Counted(Arc::clone(&self.open))
    }

    /// Runs `work` and counts it while it runs.
    pub(crate) async fn counted<T>(&self, work: impl Future<Output = T>) -> T {
        let _counted = self.count();
        work.await
    }

    pub(crate) fn open(&self) -> usize {
        self.open.count.load(Ordering::Acquire)
    }

    /// Returns once nothing is open.
    pub(crate) async fn idle(&self) {
        loop {
            let done = self.open.done.notified();
            tokio::pin!(done);
            // Registered before the count is read: what ends in between is not missed.
            done.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            done.await;
        }
    }
}

/// Tasks that go on for as long as the cache does, and end with this.
#[derive(Debug, Default)]
pub(crate) struct Background(Vec<AbortHandle>);

impl Background {
    pub(crate) fn spawn(&mut self, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        self.0.push(runtime.spawn(task).abort_handle());
    }

    pub(crate) fn end(&self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.end();
    }
}
