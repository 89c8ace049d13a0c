//! The handle and its verbs. `read.rs` holds the verbs of reading and the hit, `fetch.rs` the story of a miss, `write.rs` that of an
//! invalidation.

mod answer;
mod ask;
mod attributed;
mod batch;
mod behind;
mod builder;
pub(crate) mod by_value;
mod call;
mod doubt;
mod fetch;
mod fill;
mod guard;
mod inspect;
mod load;
mod loaded;
mod local;
mod look_up;
mod over;
mod places;
mod purge;
mod put;
mod read;
mod rules;
mod served;
mod spare;
mod sweep;
mod telling;
mod terms;
mod wait;
mod walk;
mod watched;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use answer::Value;
pub use builder::CacheBuilder;
pub use by_value::ByValue;
pub use call::{CallOptions, Tiers, Verbs};
pub use guard::WriteGuard;
pub use inspect::{AtWork, CopyHere, EntryFacts, InSharedTier, Inspection, UnderWay};
pub use loaded::{LoadContext, Loaded, StaleValue};
pub use local::Local;
pub use purge::{Purge, PurgeCounts, PurgeError, PurgeProgress, Purged};
pub use rules::{Rules, Tagged, Tags};
pub use served::{Origin, Served, Stale};
pub use terms::Terms;
pub use wait::WaitError;
pub use write::{Delivery, Removed};

pub(crate) use answer::{Answer, Maybe};
#[cfg(all(test, feature = "redis"))]
pub(crate) use over::Ends;
pub(crate) use over::{Over, begin_without};
pub(crate) use telling::{Failed, Heard, Telling};

// What answers are made of, and failures told with.
pub(crate) use crate::flight::outcome::Failure;
pub(crate) use crate::l1::Entry;

use self::behind::Behind;
use crate::bulkhead::Bulkhead;
use crate::clock::Millis;
use crate::coherence::courier::delivered;
use crate::coherence::instance::Instance;
use crate::coherence::renewal::Renewal;
use crate::config::Config;
use crate::error::CacheError;
use crate::key::KeyHash;
use crate::l2::tier::Tier;
use crate::observe::once::OnceByType;
use crate::observe::stats::{Lag, Stats};
use crate::rule::habit::Habit;
use crate::rule::policy::Policy;
use crate::rule::stamp::Stamps;
use crate::tasks::{Background, Tasks};

/// A cache of two tiers: this process's own copies over a shared one. Cheap to clone; all clones are one cache. One handle holds
/// values of any type.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use cachetier::{Policy, TieredCache};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = TieredCache::builder("shop").build().await?;
/// let policy = Policy::ttl(Duration::from_secs(60));
///
/// let price: u64 = cache.get_or_load("price:9", policy, || async { Ok::<_, std::io::Error>(42) }).await?;
/// assert_eq!(price, 42);
/// assert_eq!(cache.get::<u64>("price:9").await, Some(42));
///
/// cache.invalidate("price:9").await?;
/// assert_eq!(cache.get::<u64>("price:9").await, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TieredCache {
    shared: Arc<Shared>,
    /// What bounds the loads of calls of this handle beside what bounds those of the cache.
    group: Option<Bulkhead>,
}

/// What all clones of a handle share.
struct Shared {
    config: Config,
    instance: Arc<Instance>,
    /// The shared tier, if there is one.
    tier: Option<Arc<Tier>>,
    stamps: Stamps,
    /// Whether the shared tier mostly has what it is asked for.
    habit: Habit,
    /// What is on its way to the shared tier behind callers' backs.
    behind: Behind,
    /// Of which types a value has been read back as it was written: the codec carries these.
    read_back: OnceByType,
    tasks: Tasks,
    renewal: Renewal,
    /// The tasks that end with the cache.
    background: Background,
    closed: AtomicBool,
}

/// A key on its way through a call: checked, hashed once.
#[derive(Clone, Copy)]
struct Key<'a> {
    text: &'a str,
    hash: KeyHash,
}

impl TieredCache {
    /// Begins a cache of this namespace: every instance of a service uses the same, and sees what the others invalidate.
    pub fn builder(namespace: &str) -> CacheBuilder {
        CacheBuilder::new(namespace)
    }

    /// Returns the policy the cache was built with, if it was given one.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let cache = TieredCache::builder("shop").policy(policy).build().await?;
    /// assert_eq!(cache.policy(), Some(policy));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn policy(&self) -> Option<Policy> {
        self.shared.config.policy
    }

    /// Returns what the cache has done so far, and what it holds now. It makes the store of this instance catch up with itself: for now
    /// and then, not for each read.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.get_or_compute("k", policy, || async { 1 }).await?;
    /// cache.get_or_compute("k", policy, || async { 1 }).await?;
    /// let stats = cache.stats();
    /// assert_eq!((stats.l1_hits, stats.l1_misses, stats.loads), (1, 1, 1));
    /// println!("{stats}");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        let instance = self.instance();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let (age, time_unproven) = instance.view.proofs(instance.now());
        let lag = match (age, &self.shared.tier) {
            (_, None) => Lag::Alone,
            (Some(age), _) => Lag::Proven(age),
            (None, _) => Lag::Unproven,
        };
        let (breaker, breaker_opened) = self.shared.tier.as_ref().map(|tier| tier.breaker()).unwrap_or_default();
        Stats {
            lag,
            breaker,
            breaker_opened,
            time_unproven,
            l1_entries: instance.l1.entries(),
            l1_weight: instance.l1.weight(),
            flights: count(instance.flights.len()),
            pending: count(instance.outbox.len()),
            served_unproven: instance.view.served_unproven(),
            ..instance.counters.snapshot()
        }
    }

    /// Waits until every write under way has had its answer and every invalidation is confirmed, for at most `limit`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.invalidate("user:42").await?;
    /// cache.flush(Duration::from_secs(1)).await?;
    /// assert_eq!(cache.stats().pending, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: a dropped flush leaves everything under way as it was.
    ///
    /// # Errors
    ///
    /// [`CacheError::Unfinished`] says what is still open at the end of the limit.
    pub async fn flush(&self, limit: Duration) -> Result<(), CacheError> {
        delivered(&self.shared.tasks, &self.instance().outbox, limit).await
    }

    /// Flushes for at most `limit`, then ends the cache for all its handles: its connections and tasks are gone, and from then on
    /// every read runs its loader and stores nothing. Loads under way are not waited for; what they bring is returned to their callers.
    ///
    /// Dropping the last handle ends the cache, too, and waits for nothing: what was pending is lost, which the log says.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.close(Duration::from_secs(1)).await?;
    /// assert_eq!(cache.get_or_compute("k", policy, || async { 1 }).await?, 1);
    /// assert_eq!(cache.invalidate("k").await, Err(CacheError::Closed));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: dropped while it flushes, it leaves the cache open. Behind the flush there is nothing that it waits for.
    ///
    /// # Errors
    ///
    /// [`CacheError::Unfinished`] as from [`TieredCache::flush`]; the cache is closed all the same, and what was unfinished is lost.
    pub async fn close(&self, limit: Duration) -> Result<(), CacheError> {
        let flushed = self.flush(limit).await;
        self.end();
        flushed
    }

    /// Ends the cache, whatever is under way.
    fn end(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.background.end();
        self.instance().view.progress.close();
        if let Some(tier) = &self.shared.tier {
            tier.close();
        }
        self.instance().lose();
        self.instance().l1.drop_all();
    }

    fn instance(&self) -> &Arc<Instance> {
        &self.shared.instance
    }

    fn now(&self) -> Millis {
        self.instance().now()
    }

    /// What rules say of an answer.
    fn terms<A: Answer>(&self, rules: &impl Rules<A::Value>, answer: &A) -> Terms<'_> {
        let mut terms = Terms::of(&self.shared.config.namespace, rules, answer.value());
        answer.adapt(&mut terms);
        terms.settled()
    }

    fn check_open(&self) -> Result<(), CacheError> {
        if self.closed() { Err(CacheError::Closed) } else { Ok(()) }
    }

    pub(crate) fn closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }
}

impl std::fmt::Debug for TieredCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TieredCache").field("namespace", &self.shared.config.namespace).finish_non_exhaustive()
    }
}
