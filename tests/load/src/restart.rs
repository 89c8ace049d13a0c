//! A rolling restart under load, with instances that copy what is hot before they take requests, and with instances that do not: what the database and
//! the readers feel of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cachetier::{Policy, TieredCache};
use cachetier_tests::RedisServer;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::figures::{Sorted, Wrong, ms, ratio};
use crate::service::{INSTANCES, Keys};

const KEYS: usize = 100_000;
/// Requests a second, all instances together.
const RATE: u64 = 1_000;
const LOADER: Duration = Duration::from_millis(5);
/// So that loads go on all the time: a key lives for a while and is then loaded by whoever asks.
const POLICY: Policy = Policy::ttl(Duration::from_secs(20));
/// How many of the hottest an instance copies.
const HOT: usize = 5_000;

/// The database.
#[derive(Clone, Default)]
struct Database(Arc<AtomicU64>);

impl Database {
    fn loads(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    async fn load(&self, key: usize) -> String {
        self.0.fetch_add(1, Ordering::Relaxed);
        sleep(LOADER).await;
        format!("row {key}")
    }
}

type Fleet = Arc<Mutex<Vec<Option<TieredCache>>>>;

fn at(fleet: &Fleet, nth: usize) -> Option<TieredCache> {
    fleet.lock().unwrap_or_else(PoisonError::into_inner).get(nth).cloned().flatten()
}

fn put(fleet: &Fleet, nth: usize, cache: Option<TieredCache>) {
    if let Some(place) = fleet.lock().unwrap_or_else(PoisonError::into_inner).get_mut(nth) {
        *place = cache;
    }
}

async fn built(server: &RedisServer) -> Result<TieredCache, String> {
    TieredCache::builder("load").redis(server.url()).build().await.map_err(|error| error.to_string())
}

/// A phase: loads and L1 misses a second, and how long requests took.
struct Phase {
    loads: f64,
    misses: f64,
    took: Sorted,
}

/// Requests for so long, each to an instance that takes some.
async fn requests(fleet: Fleet, keys: Arc<Keys>, database: Database, seconds: u64) -> Vec<Duration> {
    let (mut ticks, mut open, mut took) =
        (interval(Duration::from_secs(1) / u32::try_from(RATE).unwrap_or(1)), JoinSet::new(), Vec::new());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for nth in 0..RATE * seconds {
        ticks.tick().await;
        let first = usize::try_from(nth).unwrap_or_default();
        let Some(cache) = (0..INSTANCES).find_map(|more| at(&fleet, (first + more) % INSTANCES)) else { continue };
        let (key, database) = (keys.draw(), database.clone());
        open.spawn(async move {
            let begun = Instant::now();
            let _ = cache.get_or_compute(&format!("row:{key}"), POLICY, || database.load(key)).await;
            begun.elapsed()
        });
        while let Some(done) = open.try_join_next() {
            took.extend(done);
        }
    }
    took.extend(open.join_all().await);
    took
}

fn misses(fleet: &Fleet) -> u64 {
    (0..INSTANCES).filter_map(|nth| at(fleet, nth)).map(|cache| cache.stats().l1_misses).sum()
}

/// Steady, then with each instance restarted in turn.
async fn phases(warms: bool, seconds: u64) -> Result<[Phase; 2], String> {
    let server = RedisServer::builder().try_start()?;
    let (database, keys) = (Database::default(), Arc::new(Keys::of(KEYS, 1.0)));
    let fleet = Fleet::default();
    for _ in 0..INSTANCES {
        let cache = built(&server).await?;
        fleet.lock().unwrap_or_else(PoisonError::into_inner).push(Some(cache));
    }
    // Until the tiers hold what they will.
    requests(Arc::clone(&fleet), Arc::clone(&keys), database.clone(), seconds).await;
    let per_second =
        |count: u64, of: u64| ratio(usize::try_from(count).unwrap_or_default(), usize::try_from(of).unwrap_or_default());
    let (loads, missed) = (database.loads(), misses(&fleet));
    let took = requests(Arc::clone(&fleet), Arc::clone(&keys), database.clone(), seconds).await;
    let steady = Phase {
        loads: per_second(database.loads() - loads, seconds),
        misses: per_second(misses(&fleet) - missed, seconds),
        took: Sorted::of(took),
    };
    let (loads, mut missed, mut before) = (database.loads(), 0, misses(&fleet));
    let running = tokio::spawn(requests(Arc::clone(&fleet), Arc::clone(&keys), database.clone(), seconds));
    let each = Duration::from_secs(seconds) / u32::try_from(INSTANCES).unwrap_or(1);
    for nth in 0..INSTANCES {
        let begun = Instant::now();
        let old = at(&fleet, nth);
        put(&fleet, nth, None);
        missed += misses(&fleet).saturating_sub(before.saturating_sub(old.as_ref().map_or(0, |old| old.stats().l1_misses)));
        if let Some(old) = old {
            // An error says what is lost: nothing here.
            let _ = old.close(Duration::from_secs(5)).await;
        }
        let new = built(&server).await?;
        if warms {
            let hot = (0..HOT).map(|key| format!("row:{key}"));
            new.warming().batch(500).copy::<String>(hot).await;
        }
        put(&fleet, nth, Some(new));
        before = misses(&fleet);
        sleep(each.saturating_sub(begun.elapsed())).await;
    }
    let took = running.await.map_err(|error| error.to_string())?;
    missed += misses(&fleet).saturating_sub(before);
    let restarting =
        Phase { loads: per_second(database.loads() - loads, seconds), misses: per_second(missed, seconds), took: Sorted::of(took) };
    Ok([steady, restarting])
}

pub(crate) async fn run(seconds: u64) -> Result<(), String> {
    println!(
        "{INSTANCES} instances, {RATE} requests/s, Zipf 1.0 over {KEYS} keys, loader {LOADER:?}, {seconds} s a phase; each instance is restarted once"
    );
    println!("{:<36}{:>10}{:>14}{:>9}{:>9}{:>9}", "", "loads/s", "L1 misses/s", "p50 ms", "p99 ms", "p99.9 ms");
    let mut wrong = Wrong::default();
    for warms in [true, false] {
        let how = if warms { "with warming" } else { "without" };
        let [steady, restarting] = phases(warms, seconds).await?;
        for (name, phase) in [("before", &steady), ("during the restart", &restarting)] {
            let figures = [500, 990, 999].map(|share| format!("{:>9}", ms(phase.took.permille(share)))).concat();
            println!("{:<36}{:>10.1}{:>14.1}{figures}", format!("{name}, {how}"), phase.loads, phase.misses);
        }
        if warms {
            let most = steady.loads * 1.1;
            wrong.must(
                restarting.loads <= most,
                format!("{:.1} loads/s during the restart, expected at most {most:.1}", restarting.loads),
            );
        }
    }
    wrong.outcome()
}
