//! Refreshing behind callers' backs: a bounded queue of what is due, worked off by a few tasks that are there only as long as there is something to do,
//! what is read most often first. No timer for any key: what is due is found by who reads it.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::ahead::Standing;
use super::answer::{Answer, Just};
use super::bring::{Ahead, Led};
use super::call::CallOptions;
use super::fetch::Found;
use super::part::{Key, Shared};
use super::places::turn_back;
use super::telling::{AsLoadError, Telling};
use super::{Part, Rules, TieredCache, Value};
use crate::error::LoadError;
use crate::l1::Due;
use crate::sync::{Mutex, lock};

/// How long what found no place in the queue goes on without another try.
const LATER: Duration = Duration::from_secs(1);

/// What is due, and who works on it: of all parts of a cache.
#[derive(Clone, Debug)]
pub(super) struct Refreshes(Arc<State>);

#[derive(Debug)]
struct State {
    runtime: Handle,
    /// How many wait at most.
    room: usize,
    /// How many are worked on at once.
    at_once: usize,
    open: Mutex<Open>,
    /// Is told of the end.
    ends: Notify,
}

#[derive(Debug, Default)]
struct Open {
    /// Oldest first.
    waiting: Vec<Refresh>,
    /// Tasks that will look once more before they end: who has found nothing is none of them any more, in the same step.
    workers: usize,
    /// Those of them that are at a refresh.
    working: usize,
    handles: Vec<AbortHandle>,
    closed: bool,
}

/// A task that works off the queue.
struct Worker {
    state: Arc<State>,
    working: bool,
    ended: bool,
}

impl Worker {
    /// What was read most often since it became due, and of those the oldest; `None` ends the worker.
    fn next(&mut self) -> Option<Refresh> {
        let mut open = lock(&self.state.open);
        rest(&mut self.working, &mut open);
        let hottest = open.waiting.iter().enumerate().rev().max_by_key(|(_, refresh)| refresh.due.entry().heat());
        let Some(at) = hottest.map(|(at, _)| at) else {
            self.ended = true;
            open.workers -= 1;
            return None;
        };
        self.working = true;
        open.working += 1;
        Some(open.waiting.remove(at))
    }
}

/// Whoever was at a refresh is so no longer.
fn rest(working: &mut bool, open: &mut Open) {
    if std::mem::take(working) {
        open.working -= 1;
    }
}

impl Drop for Worker {
    /// Also where it was aborted, or has panicked.
    fn drop(&mut self) {
        if !self.ended {
            let mut open = lock(&self.state.open);
            rest(&mut self.working, &mut open);
            open.workers -= 1;
        }
    }
}

/// One refresh to be made.
struct Refresh {
    due: Due,
    work: Work,
}

type Work = Box<dyn FnOnce(Due) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl std::fmt::Debug for Refresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refresh").field("heat", &self.due.entry().heat()).finish_non_exhaustive()
    }
}

impl Refreshes {
    pub(super) fn new(runtime: Handle, room: usize, at_once: usize) -> Self {
        Self(Arc::new(State { runtime, room, at_once, open: Mutex::default(), ends: Notify::new() }))
    }

    /// Takes a refresh in; what finds no room is handed back.
    fn push(&self, refresh: Refresh) -> Result<(), Refresh> {
        let mut open = lock(&self.0.open);
        if open.closed || open.waiting.len() >= self.0.room {
            return Err(refresh);
        }
        open.waiting.push(refresh);
        if open.workers < self.0.at_once {
            open.workers += 1;
            let mut worker = Worker { state: Arc::clone(&self.0), working: false, ended: false };
            let task = self.0.runtime.spawn(async move {
                while let Some(Refresh { due, work }) = worker.next() {
                    work(due).await;
                }
            });
            open.handles.retain(|handle| !handle.is_finished());
            open.handles.push(task.abort_handle());
        }
        Ok(())
    }

    /// How many wait or are worked on.
    pub(super) fn len(&self) -> usize {
        let open = lock(&self.0.open);
        open.waiting.len() + open.working
    }

    /// Ends all of them, for good.
    pub(super) fn close(&self) {
        let mut open = lock(&self.0.open);
        open.closed = true;
        let (waiting, handles) = (std::mem::take(&mut open.waiting), std::mem::take(&mut open.handles));
        drop(open);
        // What callers have left there is theirs: not dropped under the lock.
        drop(waiting);
        handles.iter().for_each(AbortHandle::abort);
        self.0.ends.notify_waiters();
    }

    /// Returns once they have ended.
    pub(super) async fn closed(&self) {
        let ends = self.0.ends.notified();
        let mut ends = pin!(ends);
        // Registered before it is looked whether they have: no end in between is missed.
        ends.as_mut().enable();
        if !lock(&self.0.open).closed {
            ends.await;
        }
    }
}

impl TieredCache {
    /// [`TieredCache::get_or_load`] with a loader that may be kept: what is [due](crate::Policy::early_refresh), or
    /// [stale and still answers](crate::Policy::stale_while_revalidate), is answered at once, and loaded behind the caller's back. Only a key without any
    /// value that answers has its callers wait.
    ///
    /// What is due waits in a [queue](crate::CacheBuilder::refresh_queue), what is read most often first, and a
    /// [few](crate::CacheBuilder::refreshes_at_once) are loaded at once. Where the queue is full the value is refreshed by a later read. Loads of refreshes
    /// count among those of the [bulkhead](crate::CacheBuilder::bulkhead). What they come to is nobody's answer: a failure is counted
    /// ([`refreshes_failed`](crate::Stats::refreshes_failed)), logged once, and tried again after a second, or the policy's
    /// [`stale_if_error`](crate::Policy::stale_if_error).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[derive(Clone)] struct Db;
    /// # impl Db { async fn rate(&self, _: &str) -> Result<f64, std::io::Error> { Ok(1.07) } }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let db = Db;
    /// const RATES: Policy = Policy::ttl(Duration::from_secs(60)).early_refresh(EarlyRefresh::xfetch());
    ///
    /// let rate = cache.get_or_refresh("rate:eur", RATES, || {
    ///     let db = db.clone();
    ///     async move { db.rate("eur").await }
    /// });
    /// assert_eq!(rate.await?, 1.07);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The closure runs at once where its future is to be kept, and the future later, so that the closure may borrow.
    ///
    /// Cancel safety as for [`TieredCache::get_or_load`]. A refresh goes on when its caller is dropped, and ends with the cache; one that is under way keeps
    /// a cache whose last handle is dropped until its load has ended.
    ///
    /// # Errors
    ///
    /// As [`TieredCache::get_or_load`], where it had to wait.
    pub async fn get_or_refresh<V, E, R, F, Fut>(&self, key: &str, rules: R, load: F) -> Result<V, LoadError<E>>
    where
        V: Value,
        E: Send + Sync + 'static,
        R: Rules<V> + Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        let (part, key) = self.at(key);
        if let Some(Just(value)) = part.hit_unless_due(key) {
            return Ok(value);
        }
        let load = || {
            let load = load();
            async move { load.await.map(Just) }
        };
        let found = Box::pin(part.find_or_refresh::<Just<V>, _, _, _, _, _>(AsLoadError, key, rules, load)).await;
        found.map(|Just(value)| value)
    }
}

impl Part {
    /// [`TieredCache::get_or_refresh`], where no copy answers that is neither due nor stale.
    pub(super) async fn find_or_refresh<A, E, T, R, F, Fut>(
        &self,
        telling: impl Telling<E, T> + Send + Sync + 'static,
        key: Key<'_>,
        rules: R,
        load: F,
    ) -> Result<A, T>
    where
        A: Answer + Send + Sync + 'static,
        E: Send + Sync + 'static,
        T: Send + 'static,
        R: Rules<A::Value> + Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<A, E>> + Send + 'static,
    {
        if let Some(Standing { copy, due }) = self.standing::<A>(key, rules.policy(), CallOptions::BEHIND)
            && let Some(found) = self.answer_of_copy(key, &copy, rules.policy())
        {
            if let Some(due) = due {
                self.refresh_behind(key, due, rules, load());
            }
            return Ok(self.counted_hit(found).answer);
        }
        if self.may_leave::<A>(key, rules.policy()) {
            return self.fetch_apart(telling, key, rules, load()).await;
        }
        let mut unused = Some(load);
        let load = |_| {
            let load = unused.take().map(|load| load());
            async move {
                match load {
                    Some(load) => load.await,
                    // It is called once.
                    None => std::future::pending().await,
                }
            }
        };
        let found = self.fetch_as(telling, CallOptions::BEHIND, key, &rules, load).await;
        turn_back().await;
        let found = found?;
        // The shared tier has answered with what is stale.
        if let Some(due) = found.entry().filter(|entry| entry.is_stale(self.now())).and_then(|entry| Due::begin(entry, self.now()))
            && let Some(load) = unused
        {
            self.refresh_behind(key, due, rules, load());
        }
        Ok(found.answer)
    }

    /// Leaves a refresh to the background.
    fn refresh_behind<A, E, R, Fut>(&self, key: Key<'_>, due: Due, rules: R, load: Fut)
    where
        A: Answer + Send + Sync + 'static,
        E: Send + Sync + 'static,
        R: Rules<A::Value> + Send + Sync + 'static,
        Fut: Future<Output = Result<A, E>> + Send + 'static,
    {
        // What waits keeps no cache that everybody else has let go.
        let (shared, group, text) = (Arc::downgrade(&self.shared), self.group.clone(), key.text.to_owned());
        let work: Work = Box::new(move |due| {
            Box::pin(async move {
                let Some(shared) = Weak::<Shared>::upgrade(&shared) else { return };
                Part { shared, group }.make(&text, due, rules, load).await;
            })
        });
        if let Err(mut refused) = self.shared.refreshes.push(Refresh { due, work }) {
            refused.due.later(self.now().after(LATER));
            self.instance().counters.refreshes_dropped.one();
        }
    }

    /// One refresh.
    async fn make<A, E, R, Fut>(&self, text: &str, mut due: Due, rules: R, load: Fut)
    where
        A: Answer + Send + Sync + 'static,
        E: Send + Sync + 'static,
        R: Rules<A::Value> + Send + Sync + 'static,
        Fut: Future<Output = Result<A, E>> + Send + 'static,
    {
        let (key, options) = (self.key(text), CallOptions::BEHIND);
        let Some(Found::Nothing(flight, begun, keep, stale)) = self.find_newer::<A>(key, rules.policy(), options, &mut due).await
        else {
            return;
        };
        let led = Led { flight, begun, keep, stale, ahead: Ahead::Behind };
        let brought = self.bring(&AsLoadError, options, key, &rules, led, async move |_| load.await).await;
        if brought.is_err() {
            self.note_failed_refresh(key, rules.policy(), &mut due);
        }
    }
}
