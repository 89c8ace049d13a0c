//! How many loads run at once, and who waits for a place among them.
//!
//! A load that waits for another load gives its places away meanwhile, and has them again before it goes on. So nobody has a place while he waits for
//! a load, and however loads ask for each other, some load runs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ConfigError;
use crate::sync::{Mutex, lock};

/// So many loads run at once, and the others wait: what keeps the source alive when a shared tier that is away no longer does. Cheap to clone; all
/// clones are one.
///
/// One for [a whole cache](crate::CacheBuilder::bulkhead), or for [a group of calls](crate::TieredCache::bulkhead), of one cache or of several: those that
/// ask the same database, for instance. A load of a batch has one place. What has come together in one load waits once.
///
/// Who waits waits in turn, for the [load limit](crate::CacheBuilder::load_limit) at most, and is then told [`Overloaded`]; so is at once who finds
/// [the queue](Bulkhead::queue) full. Where [`stale_if_error`] is set, what is stale answers instead. A `#[cached]` function cannot be told, and waits
/// for as long as it takes.
///
/// A load that asks the cache for something else that must be loaded gives its place away meanwhile, and waits for one again before it goes on, in turn and
/// within its own limit; what else it does beside that call it does without. That is seen where the call is made in the task of the load: one that spawns
/// a task and waits for it keeps its place, and with a single place may wait for itself.
///
/// Who joins a load is told what it comes to, also where that is that there was no place for it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use cachetier::{Bulkhead, Policy, TieredCache};
///
/// // Fifty loads at once in this instance, ten of reports among them.
/// let cache = TieredCache::builder("shop").bulkhead(Bulkhead::new(50)?.queue(1_000)).build().await?;
/// let reports = cache.bulkhead(&Bulkhead::new(10)?);
///
/// let policy = Policy::ttl(Duration::from_secs(60));
/// let report = reports.get_or_compute("report:7", policy, || async { "all is well".to_owned() }).await?;
/// assert_eq!(cache.get("report:7").await, Some(report), "it is the same cache");
/// # Ok(())
/// # }
/// ```
///
/// [`Overloaded`]: crate::LoadError::Overloaded
/// [`stale_if_error`]: crate::Policy::stale_if_error
#[derive(Clone)]
pub struct Bulkhead(Arc<Inner>);

struct Inner {
    /// Whoever needs places of several takes them in this order: else two would wait for each other.
    number: u64,
    places: Arc<Semaphore>,
    loads: usize,
    queue: usize,
    waiting: AtomicUsize,
}

impl Bulkhead {
    /// One for so many loads at once, and as many waiting as may come.
    ///
    /// ```
    /// # use cachetier::Bulkhead;
    /// assert_eq!(Bulkhead::new(0).unwrap_err().to_string(), "bulkhead is 0 loads, expected 1 or more");
    /// # assert!(Bulkhead::new(usize::MAX).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// For no loads, and for more than can be counted.
    pub fn new(loads: usize) -> Result<Self, ConfigError> {
        if loads == 0 {
            return Err(ConfigError::new("bulkhead", "0 loads", "1 or more"));
        }
        if loads > Semaphore::MAX_PERMITS {
            return Err(ConfigError::new("bulkhead", &format!("{loads} loads"), &format!("at most {}", Semaphore::MAX_PERMITS)));
        }
        Ok(Self::of(loads, usize::MAX))
    }

    fn of(loads: usize, queue: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Inner { number, places: Arc::new(Semaphore::new(loads)), loads, queue, waiting: AtomicUsize::new(0) }))
    }

    /// Another one of as many loads, in which so many calls wait at most; with zero none does.
    ///
    /// ```
    /// # fn main() -> Result<(), cachetier::ConfigError> {
    /// use cachetier::Bulkhead;
    /// let database = Bulkhead::new(50)?.queue(500);
    /// # assert_eq!((database.running(), database.waiting()), (0, 0));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "the one that it is called on stays as it is"]
    pub fn queue(&self, waiting: usize) -> Self {
        Self::of(self.0.loads, waiting)
    }

    /// How many loads run now.
    ///
    /// ```
    /// # fn main() -> Result<(), cachetier::ConfigError> {
    /// let database = cachetier::Bulkhead::new(50)?;
    /// println!("{} loads run, {} wait", database.running(), database.waiting());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.loads.saturating_sub(self.0.places.available_permits())
    }

    /// How many calls wait now to run theirs.
    ///
    /// ```
    /// # fn main() -> Result<(), cachetier::ConfigError> {
    /// let database = cachetier::Bulkhead::new(50)?;
    /// assert_eq!(database.waiting(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.number
    }

    pub(crate) fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.places).try_acquire_owned().ok()
    }

    /// Waits for a place. The semaphore is never closed.
    pub(crate) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.places).acquire_owned().await.ok()
    }

    /// Whether as many wait as may. Of several that come at once a few more may enter than that.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting() >= self.0.queue
    }

    pub(crate) fn enter(&self) -> Waiting<'_> {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(&self.0.waiting)
    }
}

impl std::fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (loads, running, waiting) = (self.0.loads, self.running(), self.waiting());
        f.debug_struct("Bulkhead").field("loads", &loads).field("running", &running).field("waiting", &waiting).finish()
    }
}

/// A call in a queue; dropped, it has left it.
pub(crate) struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The places of one load. It runs on only while it has them, or while a call of it is under way for which it has given them away.
#[derive(Debug)]
pub(crate) struct Places {
    of: Vec<Bulkhead>,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    permits: Vec<OwnedSemaphorePermit>,
    /// How many calls of the load they are given away for.
    calls: usize,
}

/// The wait of a load for the places that it has given away.
pub(crate) type Regaining = Pin<Box<dyn Future<Output = Vec<OwnedSemaphorePermit>> + Send>>;

/// The places of a load are given away, for as long as this is there.
pub(crate) struct Lent(Arc<Places>);

impl Places {
    pub(crate) fn new(of: Vec<Bulkhead>, permits: Vec<OwnedSemaphorePermit>) -> Self {
        Self { of, held: Mutex::new(Held { permits, calls: 0 }) }
    }

    /// Gives them away for a call of the load.
    pub(crate) fn lend(self: Arc<Self>) -> Lent {
        let given_away = {
            let mut held = lock(&self.held);
            held.calls = held.calls.saturating_add(1);
            std::mem::take(&mut held.permits)
        };
        // Outside of the lock: it wakes who waits.
        drop(given_away);
        Lent(self)
    }

    /// Whether the load has its places, or a call of it has them given away.
    pub(crate) fn runs(&self) -> bool {
        let held = lock(&self.held);
        held.calls > 0 || held.permits.len() == self.of.len()
    }

    /// Whether the load may run on. If it may not, it waits in `regaining` for the places that it has given away: one wait, however many calls of it
    /// have ended.
    pub(crate) fn poll_ready(&self, regaining: &mut Option<Regaining>, context: &mut Context<'_>) -> Poll<()> {
        if self.runs() {
            *regaining = None;
            return Poll::Ready(());
        }
        let waiting = regaining.get_or_insert_with(|| {
            let of = self.of.clone();
            Box::pin(async move {
                let mut permits = Vec::with_capacity(of.len());
                for bulkhead in &of {
                    permits.extend(bulkhead.take().await);
                }
                permits
            })
        });
        let permits = ready!(waiting.as_mut().poll(context));
        *regaining = None;
        lock(&self.held).permits = permits;
        Poll::Ready(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut held = lock(&self.0.held);
        held.calls = held.calls.saturating_sub(1);
    }
}
