//! Warming: many keys brought into the tiers before anybody asks for them, batch by batch, at a pace that the source can bear.

use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use super::{Rules, TieredCache, Value};
use crate::all::all;
use crate::clock::Stopwatch;
use crate::error::LoadError;
use crate::sync::{Mutex, lock};

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
    batch: usize,
    at_once: usize,
    per_second: Option<u32>,
    give_up_after: usize,
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

/// What became of one batch.
enum Batch<E> {
    Done(WarmCounts),
    Failed(u64, LoadError<E>),
}

/// What all lanes share.
struct Course<'a, I, E> {
    keys: Mutex<Option<I>>,
    /// How many keys were taken.
    taken: AtomicU64,
    watch: Stopwatch,
    state: Mutex<State<'a, E>>,
}

struct State<'a, E> {
    counts: WarmCounts,
    /// Batches that have failed one after the other.
    in_a_row: usize,
    gave_up: bool,
    error: Option<LoadError<E>>,
    progress: Option<Progress<'a>>,
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
        Warming { cache: self, batch: 100, at_once: 4, per_second: None, give_up_after: 3, progress: None }
    }
}

impl<'a> Warming<'a> {
    /// How many keys the loader is asked for at once. Defaults to 100; zero counts as one.
    pub const fn batch(mut self, keys: usize) -> Self {
        self.batch = if keys == 0 { 1 } else { keys };
        self
    }

    /// How many batches are under way at once. Defaults to 4; zero counts as one, and more than 64 as 64.
    pub const fn at_once(mut self, batches: usize) -> Self {
        self.at_once = match batches {
            0 => 1,
            1..=64 => batches,
            _ => 64,
        };
        self
    }

    /// How many keys are asked for in a second at most. Defaults to as many as it takes; zero counts as that.
    pub const fn per_second(mut self, keys: u32) -> Self {
        self.per_second = if keys == 0 { None } else { Some(keys) };
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
        self.give_up_after = if batches == 0 { 1 } else { batches };
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
        let (cache, rules, load) = (self.cache, &rules, &load);
        self.run(keys.into_iter(), |keys: Vec<String>| async move {
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
        let cache = self.cache;
        self.run(keys.into_iter(), |keys: Vec<String>| async move {
            let values = cache.get_many::<V>(&keys).await;
            let found = count(values.iter().flatten().count());
            let keys = count(keys.len());
            Batch::Done(WarmCounts { keys, found, absent: keys - found, ..WarmCounts::default() })
        })
        .await
    }

    /// Some lanes, each of which takes one batch after the other.
    async fn run<I, E, W, Fut>(self, keys: I, work: W) -> Warmed<E>
    where
        I: Iterator<Item: Into<String>>,
        W: Fn(Vec<String>) -> Fut,
        Fut: Future<Output = Batch<E>>,
    {
        let Self { batch, at_once, per_second, give_up_after, progress, .. } = self;
        let state = State { counts: WarmCounts::default(), in_a_row: 0, gave_up: false, error: None, progress };
        let course =
            Course { keys: Mutex::new(Some(keys)), taken: AtomicU64::new(0), watch: Stopwatch::start(), state: Mutex::new(state) };
        let lane = || async {
            while let Some((keys, before)) = course.take(batch) {
                if let Some(rate) = per_second {
                    let due = Duration::from_secs(before) / rate;
                    sleep(due.saturating_sub(course.watch.elapsed())).await;
                }
                let done = work(keys).await;
                course.note(done, give_up_after);
            }
        };
        all((0..at_once).map(|_| lane())).await;
        let took = course.watch.elapsed();
        let State { counts, gave_up, error, .. } = course.state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Warmed { counts, took, gave_up, error }
    }
}

impl<I: Iterator<Item: Into<String>>, E> Course<'_, I, E> {
    /// The next batch, if there is one, and how many keys were taken before it.
    fn take(&self, batch: usize) -> Option<(Vec<String>, u64)> {
        let mut keys = lock(&self.keys);
        let next: Vec<String> = keys.as_mut()?.by_ref().take(batch).map(Into::into).collect();
        if next.len() < batch {
            // Not asked again: an iterator that has ended may begin anew.
            *keys = None;
        }
        let before = self.taken.fetch_add(count(next.len()), Ordering::Relaxed);
        (!next.is_empty()).then_some((next, before))
    }

    fn note(&self, batch: Batch<E>, give_up_after: usize) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let counts = &mut state.counts;
        match batch {
            Batch::Done(done) => {
                counts.keys += done.keys;
                counts.found += done.found;
                counts.loaded += done.loaded;
                counts.absent += done.absent;
                state.in_a_row = 0;
            }
            Batch::Failed(keys, error) => {
                counts.keys += keys;
                counts.failed += keys;
                state.error.get_or_insert(error);
                state.in_a_row += 1;
                if state.in_a_row >= give_up_after && lock(&self.keys).take().is_some() {
                    state.gave_up = true;
                }
            }
        }
        if let Some(tell) = &mut state.progress {
            tell(state.counts);
        }
    }
}

fn count(keys: usize) -> u64 {
    u64::try_from(keys).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Warming<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { batch, at_once, per_second, give_up_after, .. } = self;
        let shown = &mut f.debug_struct("Warming");
        let shown = shown.field("batch", batch).field("at_once", at_once).field("per_second", per_second);
        shown.field("give_up_after", give_up_after).finish_non_exhaustive()
    }
}
