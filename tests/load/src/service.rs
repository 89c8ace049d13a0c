//! A service under load: instances of a cache behind one proxy each, requests at a fixed rate whatever becomes of them, and what came of each.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cachetier::{CacheBuilder, Policy, TieredCache};
use cachetier_tests::{Proxy, RedisServer};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// How many keys there are, and how many of them an instance keeps.
pub(crate) const KEYS: usize = 10_000;
pub(crate) const KEPT: u64 = 1_000;
/// Requests a second, all instances together.
pub(crate) const RATE: u64 = 2_000;
/// How long the loader takes.
pub(crate) const LOADER: Duration = Duration::from_millis(5);
pub(crate) const POLICY: Policy = Policy::ttl(Duration::from_secs(5));
pub(crate) const INSTANCES: usize = 4;

/// What one request came to.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) took: Duration,
    /// How long its own loader took; nothing if it ran none.
    pub(crate) loader: Duration,
    pub(crate) key: usize,
    pub(crate) failed: Option<String>,
}

impl Sample {
    pub(crate) fn loaded(&self) -> bool {
        !self.loader.is_zero()
    }

    /// What the cache has added to the loader.
    pub(crate) fn added(&self) -> Duration {
        self.took.saturating_sub(self.loader)
    }
}

/// Keys by Zipf's law, as many as there are.
#[derive(Debug)]
pub(crate) struct Keys(Vec<f64>);

impl Keys {
    pub(crate) fn new(exponent: f64) -> Self {
        Self::of(KEYS, exponent)
    }

    /// So many of them.
    pub(crate) fn of(keys: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let weight = |rank: usize| u32::try_from(rank + 1).map_or(0.0, |rank| f64::from(rank).powf(-exponent));
        let summed = (0..keys).map(|rank| {
            sum += weight(rank);
            sum
        });
        Self(summed.collect())
    }

    pub(crate) fn draw(&self) -> usize {
        let at = fastrand::f64() * self.0.last().copied().unwrap_or_default();
        self.0.partition_point(|sum| *sum < at).min(self.0.len().saturating_sub(1))
    }
}

/// Instances over one server, each behind a proxy.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) caches: Vec<TieredCache>,
    pub(crate) proxies: Vec<Proxy>,
}

impl Service {
    /// Starts the instances, with what `settings` changes.
    pub(crate) async fn start(server: &RedisServer, settings: impl Fn(CacheBuilder) -> CacheBuilder) -> Result<Self, String> {
        let (mut caches, mut proxies) = (Vec::new(), Vec::new());
        for _ in 0..INSTANCES {
            let proxy = Proxy::on_socket(server);
            let builder = TieredCache::builder("load").redis(proxy.url()).l1_max_entries(KEPT);
            caches.push(settings(builder).build().await.map_err(|error| error.to_string())?);
            proxies.push(proxy);
        }
        Ok(Self { caches, proxies })
    }

    /// The same without a shared tier: what the loader alone makes possible.
    pub(crate) async fn without() -> Result<Self, String> {
        let mut caches = Vec::new();
        for _ in 0..INSTANCES {
            let builder = TieredCache::builder("load").l1_max_entries(KEPT);
            caches.push(builder.build().await.map_err(|error| error.to_string())?);
        }
        Ok(Self { caches, proxies: Vec::new() })
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> u64 {
        self.proxies.iter().map(Proxy::taken).sum()
    }

    pub(crate) fn stat(&self, count: impl Fn(&cachetier::Stats) -> u64) -> u64 {
        self.caches.iter().map(|cache| count(&cache.stats())).sum()
    }

    /// Sends requests at the rate for so long, and returns what came of them once all have ended.
    pub(crate) async fn serve(&self, keys: &Arc<Keys>, length: Duration) -> Vec<Sample> {
        let samples = Arc::<Mutex<Vec<Sample>>>::default();
        let (open, sent) = (Arc::<AtomicUsize>::default(), AtomicU64::new(0));
        let begun = Instant::now();
        let mut ticks = interval(Duration::from_millis(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while begun.elapsed() < length {
            ticks.tick().await;
            let due = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX) * RATE / 1_000_000;
            for request in sent.load(Ordering::Relaxed)..due {
                sent.fetch_add(1, Ordering::Relaxed);
                let nth = usize::try_from(request).unwrap_or_default() % INSTANCES;
                let Some(cache) = self.caches.get(nth).cloned() else { continue };
                let (keys, samples, open) = (Arc::clone(keys), Arc::clone(&samples), Arc::clone(&open));
                open.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let sample = request_of(&cache, keys.draw()).await;
                    samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        }
        // Each ends by its own limits; more than these is a hang, which shows as requests that have no sample.
        let last = Instant::now();
        while open.load(Ordering::Relaxed) > 0 && last.elapsed() < Duration::from_secs(30) {
            sleep(Duration::from_millis(10)).await;
        }
        let unanswered = open.load(Ordering::Relaxed);
        let mut samples = std::mem::take(&mut *samples.lock().unwrap_or_else(PoisonError::into_inner));
        let hung = Sample { at: last, took: last.elapsed(), loader: Duration::ZERO, key: 0, failed: Some("no answer".to_owned()) };
        samples.extend(std::iter::repeat_n(hung, unanswered));
        samples
    }
}

/// One request, from its arrival to its answer.
pub(crate) async fn request_of(cache: &TieredCache, key: usize) -> Sample {
    let loader = Mutex::new(Duration::ZERO);
    let at = Instant::now();
    let load = async || {
        let begun = Instant::now();
        sleep(LOADER).await;
        *loader.lock().unwrap_or_else(PoisonError::into_inner) = begun.elapsed();
        Ok::<_, std::convert::Infallible>(value(key))
    };
    let answer = cache.get_or_load(&format!("product:{key}"), POLICY, load).await;
    let failed = match answer {
        Ok(found) if found == value(key) => None,
        Ok(found) => Some(format!("another key's value: {found}")),
        Err(error) => Some(error.to_string()),
    };
    let loader = *loader.lock().unwrap_or_else(PoisonError::into_inner);
    Sample { at, took: at.elapsed(), loader, key, failed }
}

fn value(key: usize) -> String {
    format!("{key}: {}", "x".repeat(300))
}
