//! What a large value costs those who read small ones meanwhile: `cargo bench --bench large`, with `-- --check` against the limit below,
//! `-- --quick` to see that it runs.
//!
//! One instance reads a value of 7 MiB from the server over and over, and small ones in between, each from the server, for nothing fits into L1 here; beside it the same
//! `GET`s over one shared connection of redis-rs. Two threads run the tasks. One of them decodes the large value, which `GET` does not: what
//! waits for that thread meanwhile stands in the 99th percentile, so the middle is what is compared.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cachetier::TieredCache;
use cachetier_benches::{Call, Ground, Outcome, POLICY, Report, median, percentile};
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use tokio::runtime::{Builder, Runtime};

/// The middle one of small reads beside large ones, against the same over a shared connection.
const LIMIT: f64 = 0.2;

const LARGE: usize = 7 << 20;
const SMALL: usize = 100;
/// How many small keys are read in turn.
const KEYS: usize = 500;

/// How many small reads a round has, and how many rounds there are of each way.
struct Size {
    rounds: usize,
    reads: usize,
}

fn main() -> ExitCode {
    let call = Call::read();
    let size = if call.measure { Size { rounds: 4, reads: 400 } } else { Size { rounds: 1, reads: 50 } };
    call.run("large", |report| run(&size, report))
}

fn run(size: &Size, report: &mut Report) -> Outcome {
    let ground = Ground::start_tcp()?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let namespace = ground.namespace();
    let ways = runtime.block_on(async {
        let cache = ground.keepless(&namespace).await?;
        let connection = ground.raw().await?;
        for key in (0..KEYS).map(small) {
            cache.set(&key, "s".repeat(SMALL), POLICY).await?;
        }
        cache.set("large", "x".repeat(LARGE), POLICY).await?;
        let () = connection.clone().set("raw:large", "x".repeat(LARGE)).await?;
        let () = connection.clone().set("raw:small", "s".repeat(SMALL)).await?;
        Outcome::Ok([Way::Shared(connection), Way::Ours(cache)])
    })?;
    let mut times: [[Vec<f64>; 2]; 2] = Default::default();
    let larges = [0, 1].map(|_| AtomicU32::new(0));
    for _ in 0..size.rounds {
        for ((way, times), larges) in ways.iter().zip(&mut times).zip(&larges) {
            for (beside, times) in [false, true].into_iter().zip(times) {
                times.extend(round(&runtime, way, beside, size.reads, larges)?);
            }
        }
    }
    report.line(format!("a read of {SMALL} bytes, by itself and beside one of {} MiB", LARGE >> 20));
    for ((way, [alone, beside]), larges) in ways.iter().zip(&times).zip(&larges) {
        let micros = |times: &[f64], share| percentile(times, share) / 1e3;
        report.line(format!(
            "  {:<34} p50 {:>6.0} us  p99 {:>6.0} us alone; p50 {:>6.0} us  p99 {:>6.0} us beside {} large ones",
            way.name(),
            median(alone) / 1e3,
            micros(alone, 99),
            median(beside) / 1e3,
            micros(beside, 99),
            larges.load(Ordering::Relaxed)
        ));
    }
    let [[_, shared], [_, ours]] = &times;
    report.at_most("p50 beside large ones, against a shared connection", median(ours) / median(shared), LIMIT, "");
    Ok(())
}

fn small(index: usize) -> String {
    format!("small:{index}")
}

#[derive(Clone)]
enum Way {
    Shared(MultiplexedConnection),
    Ours(TieredCache),
}

impl Way {
    fn name(&self) -> &'static str {
        match self {
            Self::Shared(_) => "`GET` over one shared connection",
            Self::Ours(_) => "`get`",
        }
    }

    async fn small(&self, index: usize) -> Result<usize, String> {
        match self {
            Self::Shared(connection) => {
                let value: String = connection.clone().get("raw:small").await.map_err(|error| error.to_string())?;
                Ok(value.len())
            }
            Self::Ours(cache) => Ok(cache.get::<String>(&small(index % KEYS)).await.unwrap_or_default().len()),
        }
    }

    async fn large(&self) -> Result<usize, String> {
        match self {
            Self::Shared(connection) => {
                let value: String = connection.clone().get("raw:large").await.map_err(|error| error.to_string())?;
                Ok(value.len())
            }
            Self::Ours(cache) => Ok(cache.get::<String>("large").await.unwrap_or_default().len()),
        }
    }
}

/// Small reads, one after the other with a rest in between; beside them large ones, if wanted.
fn round(runtime: &Runtime, way: &Way, beside: bool, reads: usize, larges: &AtomicU32) -> Outcome<Vec<f64>> {
    let over = Arc::new(AtomicBool::new(!beside));
    let reader = runtime.spawn({
        let (way, over) = (way.clone(), Arc::clone(&over));
        async move {
            let mut read = 0;
            while !over.load(Ordering::Acquire) {
                if way.large().await? != LARGE {
                    return Err("expected the large value".to_owned());
                }
                read += 1;
            }
            Ok(read)
        }
    });
    let small = runtime.spawn({
        let way = way.clone();
        async move {
            let mut times = Vec::with_capacity(reads);
            for index in 0..reads {
                let begun = now();
                if way.small(index).await? != SMALL {
                    return Err("expected the small value".to_owned());
                }
                times.push(begun.elapsed().as_secs_f64() * 1e9);
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            Ok(times)
        }
    });
    let times = runtime.block_on(small)?;
    over.store(true, Ordering::Release);
    larges.fetch_add(runtime.block_on(reader)??, Ordering::Relaxed);
    Ok(times?)
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
fn now() -> Instant {
    Instant::now()
}
