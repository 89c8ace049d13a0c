//! What is added to a miss at worst, with a wait budget of 50 ms: of a cold key, of one whose load died with its instance, and without an answer from the
//! server; and how many loads more that made.

use std::time::Duration;

use cachetier::{Breaker, CacheBuilder, Policy, TieredCache};
use cachetier_tests::{Flow, Flows, Owned, Proxy, RedisServer, Reply, Which};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::figures::{Sorted, Wrong, ms};
use crate::service::{LOADER, Sample, request_of};

/// How many misses of each kind.
const MISSES: usize = 1_000;
/// How many at a time.
const AT_ONCE: usize = 8;
const BUDGET: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_millis(100);

fn builder(url: String) -> CacheBuilder {
    TieredCache::builder("load").redis(url).wait_budget(BUDGET).lease(Duration::from_secs(60))
}

async fn built(builder: CacheBuilder) -> Result<TieredCache, String> {
    builder.build().await.map_err(|error| error.to_string())
}

/// Begins to load every key, and never ends: another instance, which is killed in the middle.
pub(crate) async fn hold(url: &str) -> Result<(), String> {
    let cache = built(builder(url.to_owned()).load_limit(Duration::from_secs(60))).await?;
    let mut loads = JoinSet::new();
    for key in 0..MISSES {
        let cache = cache.clone();
        loads.spawn(async move {
            let never = async || std::future::pending::<String>().await;
            let _ = cache.get_or_compute(&format!("product:{key}"), Policy::ttl(Duration::from_secs(60)), never).await;
        });
    }
    // Bounded, should nobody end it.
    sleep(Duration::from_secs(60)).await;
    Ok(())
}

pub(crate) async fn run() -> Result<(), String> {
    println!(
        "{MISSES} misses of each kind, {AT_ONCE} at a time, loader {LOADER:?}, wait budget {BUDGET:?}; ms beyond the loader: p50, p99, p99.9"
    );
    let mut wrong = Wrong::default();

    let server = RedisServer::builder().try_start()?;
    let cache = built(builder(server.url())).await?;
    tell(&mut wrong, "cold", &misses(&cache).await, &cache);

    let server = RedisServer::builder().try_start()?;
    let cache = built(builder(server.url())).await?;
    let program = std::env::current_exe().map_err(|error| format!("no name of this program: {error}"))?;
    let mut holder =
        Owned::spawn(&program, vec!["holder".to_owned(), server.url()], server.folder()).map_err(|error| error.to_string())?;
    let begun = Instant::now();
    while !matches!(server.command(&["DBSIZE"]), Reply::Int(keys) if keys >= i64::try_from(MISSES).unwrap_or(i64::MAX)) {
        if begun.elapsed() > Duration::from_secs(20) {
            return Err("the other instance did not begin its loads".to_owned());
        }
        sleep(Duration::from_millis(10)).await;
    }
    holder.kill();
    tell(&mut wrong, "holder killed", &misses(&cache).await, &cache);

    for (name, breaker) in [("black-holed", Breaker::new()), ("black-holed, no breaker", Breaker::off())] {
        let server = RedisServer::builder().try_start()?;
        let proxy = Proxy::on_socket(&server);
        let cache = built(builder(proxy.url()).breaker(breaker)).await?;
        proxy.order(Which::All, Flows::both(Flow::Swallow));
        tell(&mut wrong, name, &misses(&cache).await, &cache);
    }
    wrong.outcome()
}

/// Asks for keys that no copy is there of, some at a time.
async fn misses(cache: &TieredCache) -> Vec<Sample> {
    let (mut reads, mut samples) = (JoinSet::new(), Vec::new());
    for key in 0..MISSES {
        if reads.len() == AT_ONCE {
            samples.extend(reads.join_next().await.and_then(Result::ok));
        }
        let cache = cache.clone();
        reads.spawn(async move { request_of(&cache, key).await });
    }
    samples.extend(reads.join_all().await);
    samples
}

fn tell(wrong: &mut Wrong, name: &str, samples: &[Sample], cache: &TieredCache) {
    let added = Sorted::of(samples.iter().map(Sample::added));
    let figures = [500, 990, 999].map(|share| ms(added.permille(share))).join("  ");
    let (loads, failed) = (cache.stats().loads, samples.iter().filter(|sample| sample.failed.is_some()).count());
    let more = loads.saturating_sub(u64::try_from(MISSES).unwrap_or_default());
    println!("{name:<24} {figures}   {more} loads more than keys, {} waits for another instance", cache.stats().ticket_waits);
    wrong.must(failed == 0 && samples.len() == MISSES, format!("{name}: {failed} of {} failed, expected none", samples.len()));
    let p99 = added.permille(990);
    wrong.must(p99 <= MOST, format!("{name}: p99 {} ms, expected at most {} ms", ms(p99), ms(MOST)));
}
