//! Warming: many keys brought into the tiers before anybody asks for them, batch by batch, at a pace that the source can bear. How the batches follow
//! each other is told in `course`.

mod course;

use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use self::course::{Batch, Course, Pace, count};
use super::{Rules, TieredCache, Value};
use crate::error::LoadError;

/// How keys are warmed: see [`TieredCache::warming`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::time::Duration;
/// # use cachetier::*;
/// # let cache = TieredCache::builder("shop").build().await?;
/// # let policy = Policy::ttl(Duration::from_secs(60));
/// # async fn query(ids: Vec<String>) -> Result<Vec<(String, u64)>, std::io::Error> { Ok(ids.into_iter().map(|id| (id, 1)).collect()) }
/// let warmed = cache
///     .warming()
///     .batch(200)
///     .at_once(2)
///     .per_second(5_000)
///     .progress(|so_far| println!("{} keys", so_far.keys))
///     .load((0..1_000).map(|id| format!("price:{id}")), policy, query)
///     .await;
/// assert_eq!((warmed.counts.loaded, warmed.counts.failed), (1_000, 0));
/// # Ok(())
/// # }
/// ```
#[must_use = "it is what `load` or `copy` is called on"]
pub struct Warming<'a> {
    cache: &'a TieredCache,
    pace: Pace,
    progress: Option<Progress<'a>>,
}

type Progress<'a> = Box<dyn FnMut(WarmCounts) + Send + 'a>;

/// What a warming has come to so far.
///
/// ```
/// let counts = cachetier::WarmCounts::default();
/// // What a progress bar shows.
/// println!("{} keys: {} were there, {} loaded, {} have nothing, {} failed", counts.keys, counts.found, counts.loaded, counts.absent, counts.failed);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmCounts {
    /// Keys that were asked for: the sum of the others.
    pub keys: u64,
    /// Those whose value was there, in this instance, in the shared tier, or by another's load.
    pub found: u64,
    /// Those whose value was loaded.
    pub loaded: u64,
    /// Those that have none.
    pub absent: u64,
    /// Those of batches whose load has failed.
    pub failed: u64,
}

/// What a warming came to.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use cachetier::*;
/// # let cache = TieredCache::builder("shop").build().await?;
/// let warmed = cache.warming().copy::<u64>(["price:9"]).await;
/// assert!(warmed.is_complete());
/// println!("{} of {} in {:?}", warmed.counts.found, warmed.counts.keys, warmed.took);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Warmed<E> {
    /// What became of the keys.
    pub counts: WarmCounts,
    /// How long it took.
    pub took: Duration,
    /// Whether it has [given up](Warming::give_up_after): there are keys that were not asked for.
    pub gave_up: bool,
    /// The first failure of a load.
    pub error: Option<LoadError<E>>,
}

impl<E> Warmed<E> {
    /// Says whether every key was asked for and no load has failed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let fails = async |_: Vec<String>| Err::<Vec<(String, u64)>, _>("no");
    /// let warmed = cache.warming().load(["price:9"], policy, fails).await;
    /// assert!(!warmed.is_complete() && warmed.error.is_some());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.gave_up && self.counts.failed == 0
    }
}

impl TieredCache {
    /// Begins to say how many keys are brought into the tiers before anybody asks for them: into the shared tier, and this instance, by
    /// [`Warming::load`]; into this instance, out of the shared tier, by [`Warming::copy`]. For a job before a deployment, and for an instance that is to
    /// report ready when it has its copies.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let query = async |keys: Vec<String>| Ok::<_, std::io::Error>(keys.into_iter().map(|key| (key, 1_u32)).collect::<Vec<_>>());
    /// let warmed = cache.warming().load(["price:8", "price:9"], policy, query).await;
    /// assert_eq!((warmed.counts.loaded, cache.get::<u32>("price:9").await), (2, Some(1)));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "it is what `load` or `copy` is called on"]
    pub const fn warming(&self) -> Warming<'_> {
        Warming { cache: self, pace: Pace { batch: 100, at_once: 4, per_second: None, give_up_after: 3 }, progress: None }
    }
}

impl<'a> Warming<'a> {
    /// How many keys the loader is asked for at once. Defaults to 100; zero counts as one.
    pub const fn batch(mut self, keys: usize) -> Self {
        self.pace.batch = if keys == 0 { 1 } else { keys };
        self
    }

    /// How many batches are under way at once. Defaults to 4; zero counts as one, and more than 64 as 64.
    pub const fn at_once(mut self, batches: usize) -> Self {
        self.pace.at_once = match batches {
            0 => 1,
            1..=64 => batches,
            _ => 64,
        };
        self
    }

    /// How many keys are asked for in a second at most. Defaults to as many as it takes; zero counts as that.
    pub const fn per_second(mut self, keys: u32) -> Self {
        self.pace.per_second = if keys == 0 { None } else { Some(keys) };
        self
    }

    /// After how many batches that fail one after the other it is given up. Defaults to 3; zero counts as one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let keys = (0..10_000).map(|id| format!("price:{id}"));
    /// let away = async |_: Vec<String>| Err::<Vec<(String, u32)>, _>("the database is away");
    /// let warmed = cache.warming().at_once(1).give_up_after(2).load(keys, policy, away).await;
    /// assert!(warmed.gave_up && warmed.counts.keys == 200);
    /// # Ok(())
    /// # }
    /// ```
    pub const fn give_up_after(mut self, batches: usize) -> Self {
        self.pace.give_up_after = if batches == 0 { 1 } else { batches };
        self
    }

    /// Is told of what it has come to whenever a batch has ended.
    pub fn progress(mut self, tell: impl FnMut(WarmCounts) + Send + 'a) -> Self {
        self.progress = Some(Box::new(tell));
        self
    }

    /// Loads what no tier has, by [`get_or_load_many`](TieredCache::get_or_load_many), a batch at a time. A key that is given twice is asked for twice.
    ///
    /// The keys may be made while it goes on: no more of them are taken than are about to be asked for. A batch that fails is counted, and the others go
    /// on.
    ///
    /// Cancel safety: dropped, it stops; what was loaded by then is stored.
    pub async fn load<K, V, E, R, L, N, F, Fut>(self, keys: K, rules: R, load: F) -> Warmed<E>
    where
        K: IntoIterator,
        K::Item: Into<String>,
        V: Value,
        E: Send + Sync + 'static,
        R: Rules<V>,
        L: IntoIterator<Item = (N, V)>,
        N: AsRef<str>,
        F: Fn(Vec<String>) -> Fut,
        Fut: Future<Output = Result<L, E>>,
    {
        self.load_from(iterated(keys), rules, load).await
    }

    /// [`Warming::load`], of the keys of a stream: of a query that is read row by row, of a file. A batch is asked for when it is full or the stream has
    /// ended, so that what comes slowly waits until then. The stream is read while there is room for another batch under way, and dropped at its end or
    /// when it is given up. One whose items may be errors is mapped first: to end at the first, say.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// # let query = async |keys: Vec<String>| Ok::<_, std::io::Error>(keys.into_iter().map(|key| (key, 1_u32)).collect::<Vec<_>>());
    /// use std::future::ready;
    /// use futures_util::stream::{self, StreamExt};
    ///
    /// let (rows, mut failed) = (stream::iter([Ok("price:8"), Ok("price:9"), Err("the connection is lost")]), None);
    /// let keys = rows.scan(&mut failed, |failed, row| ready(row.map_err(|error| **failed = Some(error)).ok()));
    /// let warmed = cache.warming().load_stream(keys, policy, query).await;
    /// assert_eq!((warmed.counts.loaded, failed), (2, Some("the connection is lost")));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: as of [`Warming::load`]; the stream is dropped with it.
    pub async fn load_stream<K, V, E, R, L, N, F, Fut>(self, keys: K, rules: R, load: F) -> Warmed<E>
    where
        K: Stream,
        K::Item: Into<String>,
        V: Value,
        E: Send + Sync + 'static,
        R: Rules<V>,
        L: IntoIterator<Item = (N, V)>,
        N: AsRef<str>,
        F: Fn(Vec<String>) -> Fut,
        Fut: Future<Output = Result<L, E>>,
    {
        self.load_from(streamed(keys), rules, load).await
    }

    /// Brings copies of what the shared tier has into this instance, by [`get_many`](TieredCache::get_many), and loads nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # let tier = InProcess::new();
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// # let old = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// # old.set("price:9", 42_u64, policy).await?;
    /// let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// let warmed = cache.warming().copy::<u64>(["price:9", "price:10"]).await;
    /// assert_eq!((warmed.counts.found, warmed.counts.absent), (1, 1));
    /// // Ready: the first reader has a hit.
    /// assert_eq!(cache.get::<u64>("price:9").await, Some(42));
    /// assert_eq!(cache.stats().l1_hits, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Such copies were brought by nobody's policy, as those of [`get`](TieredCache::get): without a proof that nothing was missed they are served to nobody.
    ///
    /// Cancel safety: dropped, it stops; what was copied by then stays.
    pub async fn copy<V: Value>(self, keys: impl IntoIterator<Item: Into<String>>) -> Warmed<Infallible> {
        self.copy_from::<V>(iterated(keys)).await
    }

    /// [`Warming::copy`], of the keys of a stream, as [`Warming::load_stream`] takes them.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.set("price:9", 42_u64, policy).await?;
    /// let warmed = cache.warming().copy_stream::<u64>(futures_util::stream::iter(["price:9", "price:10"])).await;
    /// assert_eq!((warmed.counts.found, warmed.counts.absent), (1, 1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: as of [`Warming::copy`]; the stream is dropped with it.
    pub async fn copy_stream<V: Value>(self, keys: impl Stream<Item: Into<String>>) -> Warmed<Infallible> {
        self.copy_from::<V>(streamed(keys)).await
    }

    async fn load_from<V, E, R, L, N, F, Fut>(self, keys: impl Source, rules: R, load: F) -> Warmed<E>
    where
        V: Value,
        E: Send + Sync + 'static,
        R: Rules<V>,
        L: IntoIterator<Item = (N, V)>,
        N: AsRef<str>,
        F: Fn(Vec<String>) -> Fut,
        Fut: Future<Output = Result<L, E>>,
    {
        let (cache, rules, load) = (self.cache, &rules, &load);
        self.run(keys, |keys: Vec<String>| async move {
            let (asked, brought) = (AtomicU64::new(0), AtomicU64::new(0));
            let counted = |keys: Vec<String>| {
                asked.fetch_add(count(keys.len()), Ordering::Relaxed);
                let (brought, loading) = (&brought, load(keys));
                async move {
                    let values: Vec<(N, V)> = loading.await?.into_iter().collect();
                    brought.fetch_add(count(values.len()), Ordering::Relaxed);
                    Ok(values)
                }
            };
            match cache.get_or_load_many(&keys, rules, counted).await {
                Ok(values) => {
                    let absent = count(values.iter().filter(|value| value.is_none()).count());
                    let there = count(values.len()) - absent;
                    // What was brought and not asked for is not there.
                    let loaded = brought.into_inner().min(asked.into_inner()).min(there);
                    Batch::Done(WarmCounts { keys: there + absent, found: there - loaded, loaded, absent, failed: 0 })
                }
                Err(error) => Batch::Failed(count(keys.len()), error),
            }
        })
        .await
    }

    async fn copy_from<V: Value>(self, keys: impl Source) -> Warmed<Infallible> {
        let cache = self.cache;
        self.run(keys, |keys: Vec<String>| async move {
            let values = cache.get_many::<V>(&keys).await;
            let found = count(values.iter().flatten().count());
            let keys = count(keys.len());
            Batch::Done(WarmCounts { keys, found, absent: keys - found, ..WarmCounts::default() })
        })
        .await
    }

    async fn run<E, Fut: Future<Output = Batch<E>>>(self, keys: impl Source, work: impl Fn(Vec<String>) -> Fut) -> Warmed<E> {
        Course::new(keys, self.pace, self.progress).run(work).await
    }
}

/// Where keys come from: what a stream is polled by.
trait Source: FnMut(&mut Context<'_>) -> Poll<Option<String>> {}

impl<F: FnMut(&mut Context<'_>) -> Poll<Option<String>>> Source for F {}

/// An iterator is a stream that is always ready.
fn iterated(keys: impl IntoIterator<Item: Into<String>>) -> impl Source {
    let mut keys = keys.into_iter();
    move |_: &mut Context<'_>| Poll::Ready(keys.next().map(Into::into))
}

fn streamed(keys: impl Stream<Item: Into<String>>) -> impl Source {
    let mut keys = Box::pin(keys);
    move |context: &mut Context<'_>| keys.as_mut().poll_next(context).map(|key| key.map(Into::into))
}

impl std::fmt::Debug for Warming<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Pace { batch, at_once, per_second, give_up_after } = &self.pace;
        let shown = &mut f.debug_struct("Warming");
        let shown = shown.field("batch", batch).field("at_once", at_once).field("per_second", per_second);
        shown.field("give_up_after", give_up_after).finish_non_exhaustive()
    }
}
