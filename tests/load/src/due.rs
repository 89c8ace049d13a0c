//! Many values that are due within a minute, and are read all the time: what refreshing them costs the process. There is no timer for any of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cachetier::{EarlyRefresh, Policy, TieredCache};
use cachetier_tests::RedisServer;
use tokio::runtime::Handle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::figures::Wrong;
use crate::soak::resident;

/// How many there are.
const ENTRIES: u64 = 100_000;
/// How many are stored at once.
const BATCH: u64 = 1_000;
/// How long a load takes.
const LOADER: Duration = Duration::from_millis(5);
/// How many are refreshed at once.
const AT_ONCE: usize = 16;
/// Reads in one go, and between two of them.
const READS: u64 = 100;
const PAUSE: Duration = Duration::from_millis(5);

async fn load(loads: Arc<AtomicU64>) -> Result<String, std::io::Error> {
    loads.fetch_add(1, Ordering::Relaxed);
    sleep(LOADER).await;
    Ok("refreshed".to_owned())
}

/// Processor time of this process, of all its threads.
fn processor() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Stores all of them so that they are due over so many seconds, and reads them meanwhile.
pub(crate) async fn run(seconds: u64) -> Result<(), String> {
    let server = RedisServer::builder().try_start()?;
    let builder = TieredCache::builder("load").redis(server.url()).refreshes_at_once(AT_ONCE);
    let cache = builder.build().await.map_err(|error| error.to_string())?;
    // Each lives for twice as long and is due in the middle: the last one when the time is over.
    let whole = Duration::from_secs(seconds * 4);
    let policy = Policy::ttl(whole).jitter(50).early_refresh(EarlyRefresh::after_percent(50));
    println!("{ENTRIES} values due over {seconds} s, read 20,000 times a second, loader {LOADER:?}, {AT_ONCE} refreshed at once");
    let before = resident()?;
    for first in (0..ENTRIES).step_by(usize::try_from(BATCH).unwrap_or(1)) {
        let values = (first..first + BATCH).map(|nth| (format!("key:{nth}"), "stored".to_owned()));
        if cache.set_many(values, policy).await.iter().any(Result::is_err) {
            return Err("a value was not stored".to_owned());
        }
    }
    println!("{:>8} KiB before they are there, {:>8} KiB with them", before, resident()?);
    let loads = Arc::new(AtomicU64::new(0));
    let (tasks_before, mut most_tasks, mut most_open) = (Handle::current().metrics().num_alive_tasks(), 0, 0);
    // What reading alone costs, while nothing is due.
    let (quiet, mut reads) = (processor(), 0_u64);
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (begun, mut told) = (Instant::now(), 0);
    // The first is due when a quarter of the whole is over, the last at its half.
    let (from, until) = (whole / 4, whole / 2 + Duration::from_secs(2));
    let mut at_first_due = None;
    println!("{:>6} {:>10} {:>8} {:>8} {:>6} {:>10} {:>8}", "s", "refreshes", "open", "dropped", "tasks", "KiB", "cpu");
    while begun.elapsed() < until {
        ticks.tick().await;
        if begun.elapsed() >= from {
            at_first_due.get_or_insert_with(|| (processor(), reads));
        }
        for _ in 0..READS {
            let key = format!("key:{}", fastrand::u64(..ENTRIES));
            if cache.get_or_refresh(&key, policy, || load(Arc::clone(&loads))).await.is_err() {
                return Err("a read has failed".to_owned());
            }
            reads += 1;
        }
        most_tasks = most_tasks.max(Handle::current().metrics().num_alive_tasks());
        let seconds_gone = begun.elapsed().as_secs();
        if seconds_gone >= told + (seconds / 6).max(1) {
            told = seconds_gone;
            let stats = cache.stats();
            most_open = most_open.max(stats.refreshing);
            let tasks = Handle::current().metrics().num_alive_tasks();
            let cpu = processor().saturating_sub(quiet).as_secs_f64();
            println!(
                "{told:>6} {:>10} {:>8} {:>8} {tasks:>6} {:>10} {cpu:>7.2}s",
                stats.refreshes,
                stats.refreshing,
                stats.refreshes_dropped,
                resident()?
            );
        }
    }
    let stats = cache.stats();
    let (at_due, reads_before) = at_first_due.unwrap_or_default();
    let each = |time: Duration, reads: u64| time.as_secs_f64() * 1e6 / u32::try_from(reads).map_or(f64::INFINITY, f64::from);
    println!(
        "processor time for a read: {:.2} us while nothing is due, {:.2} us while they are refreshed",
        each(at_due.saturating_sub(quiet), reads_before),
        each(processor().saturating_sub(at_due), reads - reads_before)
    );
    let mut wrong = Wrong::default();
    wrong.must(stats.refreshes >= ENTRIES * 9 / 10, format!("{} refreshes, expected about {ENTRIES}", stats.refreshes));
    wrong.must(
        stats.l1_misses <= ENTRIES / 1_000,
        format!("{} reads had to wait, expected at most one in a thousand values", stats.l1_misses),
    );
    let most = tasks_before + AT_ONCE + 8;
    wrong.must(most_tasks <= most, format!("{most_tasks} tasks at most, {tasks_before} before; expected at most {most}"));
    wrong.must(stats.refreshes_failed == 0, format!("{} refreshes failed", stats.refreshes_failed));
    wrong.outcome()
}
