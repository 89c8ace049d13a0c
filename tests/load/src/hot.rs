//! One hot key whose life is short and whose load is long, over instances of one server: how its readers fare by one way of keeping it fresh and
//! by another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cachetier::{EarlyRefresh, Policy, TieredCache};
use cachetier_tests::RedisServer;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::figures::{Sorted, Wrong, ms, ratio};
use crate::service::INSTANCES;

const KEY: &str = "hot";
const TTL: Duration = Duration::from_secs(2);
const LOADER: Duration = Duration::from_millis(200);
/// Requests a second of one instance.
const RATE: u64 = 500;
/// What a reader of a hot key waits for at most, but for one in a thousand.
const SOON: Duration = Duration::from_millis(2);

/// One way of keeping the key fresh.
struct Way {
    name: &'static str,
    policy: Option<Policy>,
    /// Whether its readers are never to wait, and its loads to be hardly more than they must.
    must: bool,
}

fn ways() -> [Way; 6] {
    let plain = Policy::ttl(TTL).jitter(0);
    let way = |name, policy, must| Way { name, policy: Some(policy), must };
    [
        Way { name: "no protection", policy: None, must: false },
        way("lease only", plain, false),
        way("fraction, 80 %", plain.early_refresh(EarlyRefresh::after_percent(80)), true),
        way("XFetch, beta 1", plain.early_refresh(EarlyRefresh::xfetch()), false),
        way("XFetch, beta 0.5", plain.early_refresh(EarlyRefresh::xfetch_percent(50)), true),
        way("stale while revalidate", plain.stale_while_revalidate(Duration::from_secs(10)), false),
    ]
}

/// Where values are asked for.
#[derive(Clone)]
enum Asked {
    Cache(TieredCache, Box<Policy>),
    /// A value and its end, and whoever finds it over loads.
    Map(Arc<Mutex<Option<Instant>>>),
}

/// One request: when it was made, and how long it took.
type Sample = (Instant, Duration);

async fn load(loads: Arc<AtomicU64>) -> Result<u64, std::io::Error> {
    loads.fetch_add(1, Ordering::Relaxed);
    sleep(LOADER).await;
    Ok(1)
}

async fn ask(asked: Asked, loads: Arc<AtomicU64>, at: Instant) -> Sample {
    match asked {
        Asked::Cache(cache, policy) => {
            let _ = cache.get_or_refresh(KEY, *policy, || load(loads)).await;
        }
        Asked::Map(value) => {
            let end = *value.lock().unwrap_or_else(PoisonError::into_inner);
            if end.is_none_or(|end| end <= Instant::now()) {
                let _ = load(loads).await;
                *value.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + TTL);
            }
        }
    }
    (at, at.elapsed())
}

/// Requests of one instance at their rate, whatever becomes of them.
async fn requests(asked: Asked, loads: Arc<AtomicU64>, seconds: u64) -> Vec<Sample> {
    let (mut ticks, mut open, mut samples) =
        (interval(Duration::from_secs(1) / u32::try_from(RATE).unwrap_or(1)), JoinSet::new(), Vec::new());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..RATE * seconds {
        ticks.tick().await;
        open.spawn(ask(asked.clone(), Arc::clone(&loads), Instant::now()));
        while let Some(sample) = open.try_join_next() {
            samples.extend(sample);
        }
    }
    samples.extend(open.join_all().await);
    samples
}

pub(crate) async fn run(seconds: u64) -> Result<(), String> {
    let ideal = Duration::from_secs(seconds).as_secs_f64() / TTL.as_secs_f64();
    println!(
        "one key, ttl {TTL:?}, loader {LOADER:?}, {RATE} requests/s on each of {INSTANCES} instances, {seconds} s each; at least {ideal} loads"
    );
    println!("{:<24}{:>7}{:>9}{:>9}{:>9}{:>9}{:>10}", "", "loads", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "stale");
    let (mut wrong, mut plots) = (Wrong::default(), Vec::new());
    let mut checks = Vec::new();
    for Way { name, policy, must } in ways() {
        let server = RedisServer::builder().try_start()?;
        let loads = Arc::new(AtomicU64::new(0));
        let mut instances = Vec::new();
        for _ in 0..INSTANCES {
            instances.push(match policy {
                Some(policy) => {
                    let builder = TieredCache::builder("load").redis(server.url());
                    Asked::Cache(builder.build().await.map_err(|error| error.to_string())?, Box::new(policy))
                }
                None => Asked::Map(Arc::default()),
            });
        }
        // What follows the first load is measured.
        for asked in &instances {
            ask(asked.clone(), Arc::clone(&loads), Instant::now()).await;
        }
        loads.store(0, Ordering::Relaxed);
        let begun = Instant::now();
        let all: JoinSet<Vec<Sample>> =
            instances.iter().map(|asked| requests(asked.clone(), Arc::clone(&loads), seconds)).collect();
        let samples: Vec<Sample> = all.join_all().await.into_iter().flatten().collect();
        let took = Sorted::of(samples.iter().map(|(_, took)| *took));
        let stale: u64 = instances
            .iter()
            .map(|asked| if let Asked::Cache(cache, _) = asked { cache.stats().served_revalidating } else { 0 })
            .sum();
        let share = ratio(usize::try_from(stale).unwrap_or_default(), samples.len()) * 100.0;
        let figures = [500, 990, 999, 1_000].map(|share| format!("{:>9}", ms(took.permille(share)))).concat();
        let loads = loads.load(Ordering::Relaxed);
        println!("{name:<24}{loads:>7}{figures}{share:>8.2} %");
        plots.push((name, plot(&samples, begun, seconds)));
        if must {
            let number = u32::try_from(loads).map_or(f64::INFINITY, f64::from);
            checks.push((
                took.permille(999) <= SOON,
                format!("{name}: p99.9 {} ms, expected at most {} ms", ms(took.permille(999)), ms(SOON)),
            ));
            checks.push((
                number <= ideal.mul_add(1.3, 1.0),
                format!("{name}: {loads} loads, expected at most 1.3 times {ideal}, and the one at the end"),
            ));
        }
    }
    println!("\nthe longest wait in each second, from below 1 ms (.) by fours up to 256 ms and more (#)");
    for (name, plot) in plots {
        println!("{name:<24}{plot}");
    }
    for (holds, what) in checks {
        wrong.must(holds, what);
    }
    wrong.outcome()
}

/// A sign for the longest wait of each second.
fn plot(samples: &[Sample], begun: Instant, seconds: u64) -> String {
    const SIGNS: [char; 6] = ['.', ':', '-', '=', '+', '#'];
    let mut longest = vec![Duration::ZERO; usize::try_from(seconds).unwrap_or_default()];
    for (at, took) in samples {
        let second = usize::try_from(at.saturating_duration_since(begun).as_secs()).unwrap_or_default();
        if let Some(place) = longest.get_mut(second) {
            *place = (*place).max(*took);
        }
    }
    let sign = |took: &Duration| {
        let steps = [1, 4, 16, 64, 256].iter().filter(|limit| took.as_millis() >= **limit).count();
        SIGNS.get(steps).copied().unwrap_or('#')
    };
    longest.iter().map(sign).collect()
}
