//! What a purge costs those who read meanwhile: `cargo bench --bench purge`. A million entries, a tenth of which carry the tag that is
//! purged; the server is the bench's own. Ends with an error if any of them is left, or if reads wait too long.
//!
//! `cargo bench --bench purge -- 100000` for another number of entries. As a test (`cargo test --bench purge`) there are few, and no time is judged.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cachetier::{Purge, PurgeProgress, TieredCache};
use cachetier_benches::{Ground, Missing, Outcome, POLICY};
use redis::aio::MultiplexedConnection;
use tokio::runtime::{Builder, Runtime};

const ENTRIES: usize = 1_000_000;
const ENTRIES_OF_A_TEST: usize = 10_000;
/// One entry in so many carries the tag.
const SHARE: usize = 10;
const TAG: &str = "customer:7";
/// How much longer than without it 99 of 100 reads may take meanwhile.
const BOUND: f64 = 1.5;
/// How long reads are measured before the purge, and after it.
const ALONE: Duration = Duration::from_secs(10);
const ALONE_IN_A_TEST: Duration = Duration::from_secs(2);
/// How long the purge may take.
const LIMIT: Duration = Duration::from_secs(300);
/// How many entries are written, or names read, in one go.
const BATCH: usize = 1_000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("purge: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome {
    let judges = std::env::args().any(|word| word == "--bench");
    let (usual, alone_for) = if judges { (ENTRIES, ALONE) } else { (ENTRIES_OF_A_TEST, ALONE_IN_A_TEST) };
    let entries = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(usual);
    let ground = Ground::start()?;
    let namespace = ground.namespace();
    let runtime = runtime()?;
    runtime.block_on(prepare(&ground, &namespace, entries))?;
    let tagged = entries.div_ceil(SHARE);
    let before = runtime.block_on(left(&ground, &namespace))?;
    println!("{} entries, of which {} carry the tag", before.0, before.1);
    if before != (entries, tagged) {
        return Err("the entries are not there".into());
    }

    // Who purges is another instance than who reads, on a runtime of its own.
    let purging = self::runtime()?;
    let reader = runtime.block_on(ground.forgetful(&namespace))?;
    let deleter = purging.block_on(ground.instance(&namespace))?;
    let alone = measure(&runtime, &reader, entries, &Until::passed(alone_for))?;
    let spent_before = spent(&ground)?;
    let (over, begun) = (Arc::new(AtomicBool::new(false)), now());
    let purge = purging.spawn({
        let (deleter, over) = (deleter.clone(), Arc::clone(&over));
        async move {
            let progress = PurgeProgress::default();
            let ended = tokio::time::timeout(LIMIT, deleter.purge(Purge::tag(TAG).watched_by(&progress))).await;
            over.store(true, Ordering::Release);
            (ended, progress.counts())
        }
    });
    let meanwhile = measure(&runtime, &reader, entries, &Until::Told(Arc::clone(&over)))?;
    let took = begun.elapsed();
    let (ended, counts) = runtime.block_on(purge)?;
    let spent_after = spent(&ground)?;
    let after = measure(&runtime, &reader, entries, &Until::passed(alone_for))?;
    println!("{counts:?} in {took:.1?}");
    let (calls, busy) = (spent_after.0 - spent_before.0, spent_after.1.saturating_sub(spent_before.1));
    let (each, share) =
        (busy.as_secs_f64() * 1e6 / f64::from(u32::try_from(calls.max(1))?), busy.as_secs_f64() / took.as_secs_f64());
    println!("the server ran {calls} commands for it, {each:.0} us each: {:.1} % of its time", share * 100.0);
    ended.map_err(|_| format!("the purge took more than {LIMIT:?}"))??;

    let (rest, tagged_left) = runtime.block_on(left(&ground, &namespace))?;
    for (when, times) in [("before", &alone), ("meanwhile", &meanwhile), ("after", &after)] {
        println!(
            "{when:>9}: {:>7} reads, p50 {:>6.1?}, p99 {:>6.1?}, p99.9 {:>6.1?}",
            times.len(),
            at(times, 500),
            at(times, 990),
            at(times, 999)
        );
    }
    // The better of the two: what else the machine does must not excuse the purge.
    let quiet = at(&alone, 990).min(at(&after, 990));
    let ratio = at(&meanwhile, 990).as_secs_f64() / quiet.as_secs_f64();
    println!("left by SCAN: {rest} entries, {tagged_left} of them tagged; p99 of reads meanwhile: {ratio:.2} of that without");
    if (rest, tagged_left) != (entries - tagged, 0) {
        return Err("the purge has deleted too little, or too much".into());
    }
    if judges && ratio > BOUND {
        return Err(format!("reads wait too long: {ratio:.2} of what they did, expected at most {BOUND}").into());
    }
    Ok(())
}

fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// Until when is read.
enum Until {
    Passed(Instant),
    Told(Arc<AtomicBool>),
}

impl Until {
    fn passed(time: Duration) -> Self {
        Self::Passed(now() + time)
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Passed(end) => now() >= *end,
            Self::Told(over) => over.load(Ordering::Acquire),
        }
    }
}

/// Reads entries without the tag, one after the other, each from the server, and returns how long each took, the shortest first.
fn measure(runtime: &Runtime, cache: &TieredCache, entries: usize, until: &Until) -> Outcome<Vec<Duration>> {
    let (before, mut times) = (cache.stats().l2_hits, Vec::new());
    runtime.block_on(async {
        while !until.is_over() {
            let number = fastrand::usize(0..entries / SHARE) * SHARE + 1;
            let begun = now();
            cache.get::<String>(&key(number)).await.ok_or(Missing)?;
            times.push(begun.elapsed());
        }
        Outcome::Ok(())
    })?;
    let hits = usize::try_from(cache.stats().l2_hits - before)?;
    // Of few entries the reader holds some.
    let least = if entries <= ENTRIES_OF_A_TEST { 50 } else { 99 };
    if times.len() < 1_000 || hits < times.len() / 100 * least {
        return Err(format!("{} reads, {hits} of them from the server: not what was to be measured", times.len()).into());
    }
    times.sort_unstable();
    Ok(times)
}

#[expect(clippy::disallowed_methods, reason = "what is measured is the machine's time")]
fn now() -> Instant {
    Instant::now()
}

/// The time that so many of a thousand reads do not exceed.
fn at(times: &[Duration], thousandth: usize) -> Duration {
    times.get(times.len() * thousandth / 1_000).copied().unwrap_or_default()
}

fn key(number: usize) -> String {
    format!("entry:{number}")
}

/// Fills the server: a cache stores one entry with the tag and one without, and what it wrote is copied under all other names.
async fn prepare(ground: &Ground, namespace: &str, entries: usize) -> Outcome {
    let cache = ground.instance(namespace).await?;
    cache.set("with", "x".repeat(100), POLICY.tags(["orders", TAG])).await?;
    cache.set("without", "x".repeat(100), POLICY.tags(["orders", "customer:8"])).await?;
    let mut raw = ground.raw().await?;
    let mut slots: Vec<Vec<u8>> = Vec::new();
    for key in ["with", "without"] {
        slots.push(redis::cmd("GETDEL").arg(name(namespace, key)).query_async(&mut raw).await?);
    }
    let [with, without] = slots.try_into().map_err(|_| "two entries")?;
    for first in (0..entries).step_by(BATCH) {
        let mut pipeline = redis::pipe();
        for number in first..entries.min(first + BATCH) {
            let slot = if number % SHARE == 0 { &with } else { &without };
            pipeline.set(name(namespace, &key(number)), slot).ignore();
        }
        let () = pipeline.query_async(&mut raw).await?;
    }
    Ok(())
}

fn name(namespace: &str, key: &str) -> String {
    format!("ct:{namespace}:v:{key}")
}

/// How many commands of a walk the server has run, and the time that they took it.
fn spent(ground: &Ground) -> Outcome<(u64, Duration)> {
    let text = ground.client().command(&["INFO", "commandstats"])?.text().ok_or("commandstats are no text")?;
    let field = |line: &str, name: &str| line.split([':', ',']).find_map(|part| part.strip_prefix(name)?.parse::<u64>().ok());
    let walk = |line: &&str| ["cmdstat_scan:", "cmdstat_evalsha:"].iter().any(|command| line.starts_with(command));
    let lines = text.lines().filter(walk);
    let (calls, micros) = lines.fold((0, 0), |(calls, micros), line| {
        (calls + field(line, "calls=").unwrap_or_default(), micros + field(line, "usec=").unwrap_or_default())
    });
    Ok((calls, Duration::from_micros(micros)))
}

/// How many entries SCAN finds, and how many of them were stored with the tag.
async fn left(ground: &Ground, namespace: &str) -> Outcome<(usize, usize)> {
    let mut raw: MultiplexedConnection = ground.raw().await?;
    let head = name(namespace, "entry:");
    let (mut cursor, mut names) = (0_u64, Vec::new());
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{head}*")).arg("COUNT").arg(BATCH);
        let (next, found): (u64, Vec<String>) = scan.query_async(&mut raw).await?;
        names.extend(found);
        if next == 0 {
            break;
        }
        cursor = next;
    }
    names.sort_unstable();
    names.dedup();
    let tagged = |name: &&String| {
        name.strip_prefix(&head).and_then(|number| number.parse::<usize>().ok()).is_some_and(|number| number % SHARE == 0)
    };
    Ok((names.len(), names.iter().filter(tagged).count()))
}
