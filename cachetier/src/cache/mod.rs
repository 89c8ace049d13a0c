//! The handle and its verbs. `read.rs` holds the verbs of reading and the hit, `fetch.rs` the story of a miss, `write.rs` that of an
//! invalidation.

mod ahead;
mod answer;
mod ask;
mod attributed;
mod batch;
mod behind;
mod bring;
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
mod open;
mod over;
mod part;
mod places;
mod purge;
mod put;
mod read;
mod refresh;
mod remembered;
mod rules;
mod served;
mod slow;
mod spare;
mod start;
mod sweep;
mod telling;
mod terms;
mod wait;
mod walk;
mod warm;
mod watched;
mod write;

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
pub use warm::{WarmCounts, Warmed, Warming};
pub use write::{Delivery, Removed};

pub(crate) use answer::{Answer, Maybe};
#[cfg(all(test, feature = "redis"))]
pub(crate) use over::Ends;
pub(crate) use over::{Over, begin_without};
pub(crate) use telling::{Failed, Heard, Telling};

// What answers are made of, and failures told with.
pub(crate) use crate::flight::outcome::Failure;
pub(crate) use crate::l1::Entry;

use self::part::{Key, Part};
use crate::coherence::courier::delivered;
use crate::config::Config;
use crate::error::CacheError;
use crate::observe::stats::{Counters, Lag, Stats};
use crate::parts::Parts;
use crate::rule::policy::Policy;

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
    parts: Parts<Part>,
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
        self.config().policy
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
        let mut stats = Stats { lag: Lag::Alone, ..self.counters().snapshot() };
        self.parts.all().iter().for_each(|part| part.add_to(&mut stats));
        // One queue for all of them.
        stats.refreshing = u64::try_from(self.parts.first().shared.refreshes.len()).unwrap_or(u64::MAX);
        stats
    }

    /// Returns the keys that were read most in this instance of late, the hottest first: at most as many as [`CacheBuilder::hot_keys`] says, which by default
    /// is none. For an instance that ends, to leave to those that begin: these [copy](Warming::copy) them out of the shared tier before they report ready.
    ///
    /// About one read in 64 is counted, whatever came of it, and counts are halved now and then: what was hot yesterday gives way. Not counted are keys of
    /// more than 512 bytes, and calls that [pass this instance by](CallOptions::reads). The keys are those of values of all types; which is of which, their
    /// names must say.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tier = InProcess::new();
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let old = TieredCache::builder("shop").in_process(&tier).hot_keys(100).build().await?;
    /// old.set("price:9", 42_u64, policy).await?;
    /// for _ in 0..1_000 {
    ///     old.get::<u64>("price:9").await;
    /// }
    /// assert_eq!(old.hot_keys(), ["price:9"]);
    ///
    /// let new = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// let prices = old.hot_keys().into_iter().filter(|key| key.starts_with("price:"));
    /// assert_eq!(new.warming().copy::<u64>(prices).await.counts.found, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn hot_keys(&self) -> Vec<String> {
        self.parts.first().shared.hot.as_ref().map(|hot| hot.hottest()).unwrap_or_default()
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
        let parts: Vec<_> = self.parts.all().iter().map(|part| (&part.shared.tasks, &part.instance().outbox)).collect();
        delivered(&parts, limit).await
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
        self.parts.all().iter().for_each(Part::end);
        flushed
    }

    /// The part of a key, and the key as it is called there.
    fn at<'a>(&self, text: &'a str) -> (&Part, Key<'a>) {
        let part = self.parts.of(text.as_bytes());
        (part, part.key(text))
    }

    /// What is the same in all parts.
    fn config(&self) -> &Config {
        &self.parts.first().shared.config
    }

    fn counters(&self) -> &Counters {
        &self.parts.first().instance().counters
    }

    fn check_open(&self) -> Result<(), CacheError> {
        self.parts.first().check_open()
    }

    pub(crate) fn closed(&self) -> bool {
        self.parts.first().closed()
    }
}

impl std::fmt::Debug for TieredCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TieredCache").field("namespace", &self.config().namespace).finish_non_exhaustive()
    }
}
