//! Invalidating a cache without being one: for workers and other services. Holds no values and hears nothing; how a bump comes to its
//! outcome is `coherence/own.rs`'s.

mod builder;
mod messenger;
mod stats;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use builder::InvalidatorBuilder;
pub use stats::InvalidatorStats;

use crate::all::all;
use crate::cache::Delivery;
use crate::coherence::courier::delivered;
use crate::coherence::own::bump;
use crate::error::CacheError;
#[cfg(feature = "redis")]
use crate::error::ConfigError;
use crate::l2::tier::Tier;
use crate::observe::stats::Counters;
use crate::parts::Parts;
use crate::rule::token::Token;
use crate::tasks::{Background, Tasks};
use crate::wire::message::Targets;
use messenger::Messenger;

/// Invalidates what the instances of a service have cached, and caches nothing itself: no memory for copies, no subscription, one
/// connection. For workers, for other services, for whoever writes what a service caches. Cheap to clone; all clones are one.
///
/// What it invalidates holds in every instance as if one of them had done it: the same keys, tags and prefixes, the same
/// [`Delivery`]. What the shared tier has not confirmed waits here, bounded and merged, and is told again until it is:
/// [close](Invalidator::close) it before the process ends.
///
/// # Example
///
/// Over a tier in this process; [`Invalidator::connect`] is for a server.
///
/// ```
/// use std::time::Duration;
/// use cachetier::{Delivery, InProcess, Invalidator, Policy, TieredCache};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tier = InProcess::new();
/// let service = TieredCache::builder("shop").in_process(&tier).build().await?;
/// let policy = Policy::ttl(Duration::from_secs(60));
/// assert_eq!(service.get_or_compute("price:9", policy.tags(["prices"]), || async { 42 }).await?, 42);
///
/// let worker = Invalidator::builder("shop").in_process(&tier).build().await?;
/// // After the new prices have been committed.
/// if let Delivery::Applied(token) = worker.invalidate_tag("prices").await? {
///     service.wait_for(token, Duration::from_secs(1)).await?;
///     assert_eq!(service.get::<i32>("price:9").await, None);
/// }
/// worker.close(Duration::from_secs(1)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Invalidator {
    shared: Arc<Shared>,
}

/// What all clones share.
struct Shared {
    namespace: String,
    parts: Parts<Part>,
    counters: Arc<Counters>,
    /// The couriers.
    background: Background,
    closed: AtomicBool,
}

/// What tells the lane of one part.
struct Part {
    messenger: Arc<Messenger>,
    tier: Arc<Tier>,
    tasks: Tasks,
}

impl Part {
    async fn bump(&self, targets: Targets) -> Delivery {
        let point = if targets.len() == 0 {
            Some(self.messenger.known())
        } else {
            // Cancel safety: dropped, it goes to the outbox.
            bump(&self.messenger, &self.tier, targets).await.ok()
        };
        point.map_or(Delivery::Pending, |point| Delivery::Applied(Token::at(self.messenger.part, point)))
    }
}

impl Invalidator {
    /// Connects to the server that a service's caches are over, with the limits that they have by default; the namespace is theirs.
    /// [`Invalidator::builder`] is for other limits.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use cachetier::Invalidator;
    ///
    /// let worker = Invalidator::connect("redis://127.0.0.1/", "shop").await?;
    /// worker.invalidate("user:42").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety, and a server that cannot be reached: see [`InvalidatorBuilder::build`].
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the address or the namespace cannot be used, the same as for a cache.
    #[cfg(feature = "redis")]
    pub async fn connect(url: impl Into<String>, namespace: &str) -> Result<Self, ConfigError> {
        Self::builder(namespace).redis(url).build().await
    }

    /// Begins an invalidator of this namespace: that of the service whose copies it invalidates.
    pub fn builder(namespace: &str) -> InvalidatorBuilder {
        InvalidatorBuilder::new(namespace)
    }

    /// Invalidates a key: see [`TieredCache::invalidate`](crate::TieredCache::invalidate). Call it after the write has been committed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use cachetier::*;
    /// # let tier = InProcess::new();
    /// # let worker = Invalidator::builder("shop").in_process(&tier).build().await?;
    /// assert!(matches!(worker.invalidate("user:42").await?, Delivery::Applied(_)));
    ///
    /// // The server does not answer: it is told again as soon as it does.
    /// tier.lose_next(CallKind::Bump);
    /// assert_eq!(worker.invalidate("user:42").await?, Delivery::Pending);
    /// worker.flush(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: a dropped call is carried out all the same.
    ///
    /// # Errors
    ///
    /// [`CacheError::Key`] if no entry can have this key, [`CacheError::Closed`] after a close. A server that cannot be reached is no
    /// error: see [`Delivery`], and [`Delivery::confirmed`] for who wants one.
    pub async fn invalidate(&self, key: &str) -> Result<Delivery, CacheError> {
        self.bump(Targets::of_keys([key])?).await
    }

    /// [`Invalidator::invalidate`] for many keys, in one step for each thousand of them.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use cachetier::*;
    /// # let worker = Invalidator::builder("shop").in_process(&InProcess::new()).build().await?;
    /// worker.invalidate_many((0..3).map(|id| format!("user:{id}"))).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`Invalidator::invalidate`], for all of them.
    ///
    /// # Errors
    ///
    /// As [`Invalidator::invalidate`], before any of them is invalidated.
    pub async fn invalidate_many<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Delivery, CacheError> {
        self.bump(Targets::of_keys(keys)?).await
    }

    /// Invalidates every entry that carries the tag, however many there are, in one step.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use cachetier::*;
    /// # let worker = Invalidator::builder("shop").in_process(&InProcess::new()).build().await?;
    /// worker.invalidate_tag("org:7").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`Invalidator::invalidate`].
    ///
    /// # Errors
    ///
    /// As [`Invalidator::invalidate`], of the tag.
    pub async fn invalidate_tag(&self, tag: &str) -> Result<Delivery, CacheError> {
        self.invalidate_tags([tag]).await
    }

    /// [`Invalidator::invalidate_tag`] for many tags, in one step for each thousand of them.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use cachetier::*;
    /// # let worker = Invalidator::builder("shop").in_process(&InProcess::new()).build().await?;
    /// worker.invalidate_tags(["org:7", "prices"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`Invalidator::invalidate`], for all of them.
    ///
    /// # Errors
    ///
    /// As [`Invalidator::invalidate_tag`].
    pub async fn invalidate_tags<T: AsRef<str>>(&self, tags: impl IntoIterator<Item = T>) -> Result<Delivery, CacheError> {
        self.bump(Targets::of_tags(&self.shared.namespace, tags)?).await
    }

    /// Invalidates every key below a prefix of whole segments: see
    /// [`TieredCache::invalidate_prefix`](crate::TieredCache::invalidate_prefix).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use cachetier::*;
    /// # let worker = Invalidator::builder("shop").in_process(&InProcess::new()).build().await?;
    /// worker.invalidate_prefix("user:7:").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`Invalidator::invalidate`].
    ///
    /// # Errors
    ///
    /// [`CacheError::Key`] if the prefix is empty, too long or too deep, or does not end with `:`; [`CacheError::Closed`] after a close.
    pub async fn invalidate_prefix(&self, prefix: &str) -> Result<Delivery, CacheError> {
        self.bump(Targets::of_prefix(&self.shared.namespace, prefix)?).await
    }

    /// Invalidates everything in the namespace, in one step.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use cachetier::*;
    /// # let worker = Invalidator::builder("shop").in_process(&InProcess::new()).build().await?;
    /// worker.clear().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`Invalidator::invalidate`].
    ///
    /// # Errors
    ///
    /// [`CacheError::Closed`] alone.
    pub async fn clear(&self) -> Result<Delivery, CacheError> {
        self.bump(Targets::everything()).await
    }

    /// Returns what it has done so far, and what waits here.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use cachetier::*;
    /// # let worker = Invalidator::builder("shop").in_process(&InProcess::new()).build().await?;
    /// worker.invalidate_many(["a", "b"]).await?;
    /// assert_eq!((worker.stats().invalidations, worker.stats().pending), (2, 0));
    /// println!("{}", worker.stats());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stats(&self) -> InvalidatorStats {
        let counted = self.shared.counters.snapshot();
        let pending: usize = self.shared.parts.all().iter().map(|part| part.messenger.outbox.len()).sum();
        InvalidatorStats {
            invalidations: counted.invalidations,
            faults: counted.l2_faults,
            pending: u64::try_from(pending).unwrap_or(u64::MAX),
            retold: counted.retold,
        }
    }

    /// Waits until every invalidation is confirmed, for at most `limit`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use cachetier::*;
    /// # let worker = Invalidator::builder("shop").in_process(&InProcess::new()).build().await?;
    /// worker.invalidate("user:42").await?;
    /// worker.flush(std::time::Duration::from_secs(1)).await?;
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
        let parts: Vec<_> = self.shared.parts.all().iter().map(|part| (&part.tasks, &part.messenger.outbox)).collect();
        delivered(&parts, limit).await
    }

    /// Flushes for at most `limit`, then ends it for all its handles: its connection and its task are gone.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use cachetier::*;
    /// # let worker = Invalidator::builder("shop").in_process(&InProcess::new()).build().await?;
    /// worker.close(std::time::Duration::from_secs(1)).await?;
    /// assert_eq!(worker.invalidate("user:42").await, Err(CacheError::Closed));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: dropped while it flushes, it leaves it open.
    ///
    /// # Errors
    ///
    /// [`CacheError::Unfinished`] as from [`Invalidator::flush`]: those are lost. It is closed all the same.
    pub async fn close(&self, limit: Duration) -> Result<(), CacheError> {
        let flushed = self.flush(limit).await;
        self.shared.closed.store(true, Ordering::Release);
        self.shared.background.end();
        self.shared.parts.all().iter().for_each(|part| part.tier.close());
        flushed
    }

    async fn bump(&self, targets: Targets) -> Result<Delivery, CacheError> {
        let Shared { parts, closed, .. } = &*self.shared;
        if closed.load(Ordering::Acquire) {
            return Err(CacheError::Closed);
        }
        let bumps = parts.share(targets).into_iter().map(|(part, targets)| part.bump(targets));
        Ok(all(bumps).await.into_iter().reduce(Delivery::and).unwrap_or(Delivery::Pending))
    }
}

impl std::fmt::Debug for Invalidator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invalidator").field("namespace", &self.shared.namespace).finish_non_exhaustive()
    }
}
