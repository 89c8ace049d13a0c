//! What each tier costs a reader: `cargo bench --bench tiers`. The server is the bench's own; the last line says it all.
//!
//! Times of a machine: for what holds on any, see the bench `ratios`.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cachetier::TieredCache;
use cachetier_benches::{Body as _, Ground, Missing, Outcome, POLICY, Page, SIZES, median, page_of_cache, prefill, slow_page};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion};
use tokio::runtime::{Builder, Runtime};

/// How long a loader takes: a query of a database nearby.
const QUERY: Duration = Duration::from_millis(1);
/// How many keys are read in turn in L2: far more than the instance that reads them keeps.
const KEYS: usize = 2_000;
/// The size whose numbers are the last line's.
const SHOWN: usize = 1_024;

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            if let Some(line) = line {
                println!("{line}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tiers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<Option<String>> {
    let ground = Ground::start()?;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let mut shown = Shown::default();
    let mut group = criterion.benchmark_group("tiers");
    for (size, bytes) in SIZES {
        let keys: Vec<String> = (0..KEYS).map(|index| format!("page:{index}")).collect();
        let namespace = ground.namespace();
        let (warm, cold) = runtime.block_on(prepare(&ground, &namespace, &keys, bytes))?;

        let mut rows = Rows { group: &mut group, runtime: &runtime, size, latest: 0 };
        let times = rows.l1("L1 hit", async || read(&warm, "page:0").await);
        shown.take(bytes, |shown| &mut shown.l1, &times);
        rows.l1("L1 hit, #[cached]", async || page_of_cache(&warm, 0).await.map(drop).map_err(Into::into));

        let times = rows.l2("L2 hit", &cold, async |next| read(&cold, keys.get(next).ok_or(Missing)?).await);
        shown.take(bytes, |shown| &mut shown.l2, &times);
        rows.l2("L2 hit, #[cached]", &cold, async |next| page_of_cache(&cold, next).await.map(drop).map_err(Into::into));

        let value = Page::of(bytes);
        rows.loader("loader of 1 ms", async |fresh| {
            let load = async || {
                tokio::time::sleep(QUERY).await;
                Ok::<_, std::convert::Infallible>(Arc::clone(&value))
            };
            cold.get_or_load(&format!("fresh:{fresh}"), POLICY, load).await?;
            Ok(())
        });
        rows.loader("loader of 1 ms, #[cached]", async |fresh| {
            slow_page(&cold, fresh, QUERY, &value).await;
            Ok(())
        });
    }
    group.finish();
    criterion.final_summary();
    Ok(shown.line())
}

/// The rows of one size.
struct Rows<'a, 'b> {
    group: &'a mut BenchmarkGroup<'b, WallTime>,
    runtime: &'a Runtime,
    size: &'a str,
    /// The key that was read last.
    latest: usize,
}

impl Rows<'_, '_> {
    /// A read that this instance answers. Returns the nanoseconds of one read, sample by sample.
    fn l1(&mut self, name: &str, read: impl AsyncFn() -> Outcome) -> Vec<f64> {
        let (runtime, mut times) = (self.runtime, Vec::new());
        self.group.bench_function(BenchmarkId::new(name, self.size), |bencher| {
            bencher.iter_custom(|count| {
                let time = timed(runtime, async {
                    for _ in 0..count {
                        read().await?;
                    }
                    Ok(())
                });
                note(&mut times, time, count)
            });
        });
        times
    }

    /// A read of the key with the number given, which the shared tier answers.
    fn l2(&mut self, name: &str, cold: &TieredCache, read: impl AsyncFn(usize) -> Outcome) -> Vec<f64> {
        let (runtime, mut times, latest) = (self.runtime, Vec::new(), &mut self.latest);
        self.group.bench_function(BenchmarkId::new(name, self.size), |bencher| {
            // The instance keeps the latest few dozen entries and the keys are read in turn, so none of them is found in L1, and a
            // read still pays for keeping what it brings. Fresh keys for every read would be millions; an instance that keeps
            // nothing would be spared the insertion.
            bencher.iter_custom(|count| {
                let before = cold.stats();
                let time = timed(runtime, async {
                    for _ in 0..count {
                        *latest = (*latest + 1) % KEYS;
                        read(*latest).await?;
                    }
                    Ok(())
                });
                let after = cold.stats();
                assert_eq!((after.l2_hits - before.l2_hits, after.l1_hits), (count, before.l1_hits), "these were no hits in L2");
                note(&mut times, time, count)
            });
        });
        times
    }

    /// A read of a key that is nowhere yet: another number each time.
    fn loader(&mut self, name: &str, read: impl AsyncFn(u64) -> Outcome) {
        let (runtime, mut fresh) = (self.runtime, 0);
        self.group.bench_function(BenchmarkId::new(name, self.size), |bencher| {
            bencher.iter_custom(|count| {
                let time = timed(runtime, async {
                    for _ in 0..count {
                        fresh += 1;
                        read(fresh).await?;
                    }
                    Ok(())
                });
                note(&mut Vec::new(), time, count)
            });
        });
    }
}

/// Fills the shared tier; returns an instance that holds the first key, and one that holds none of them for long.
async fn prepare(ground: &Ground, namespace: &str, keys: &[String], bytes: usize) -> Outcome<(TieredCache, TieredCache)> {
    let warm = ground.instance(namespace).await?;
    prefill(&warm, keys, &Page::of(bytes)).await?;
    Ok((warm, ground.forgetful(namespace).await?))
}

/// Reads a key that some tier holds.
async fn read(cache: &TieredCache, key: &str) -> Outcome {
    std::hint::black_box(cache.get_or_load(key, POLICY, async || Err::<Arc<Page>, _>(Missing)).await?);
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
fn timed(runtime: &Runtime, call: impl Future<Output = Outcome>) -> Outcome<Duration> {
    let begun = Instant::now();
    runtime.block_on(call)?;
    Ok(begun.elapsed())
}

/// Notes the nanoseconds of one read, for the last line, and hands the time on to criterion.
#[expect(clippy::panic, reason = "criterion takes no errors")]
fn note(times: &mut Vec<f64>, time: Outcome<Duration>, count: u64) -> Duration {
    let time = time.unwrap_or_else(|error| panic!("{error}"));
    #[expect(clippy::cast_precision_loss, reason = "for display")]
    times.push(time.as_secs_f64() * 1e9 / count.max(1) as f64);
    time
}

/// The nanoseconds of the last line.
#[derive(Default)]
struct Shown {
    l1: f64,
    l2: f64,
}

impl Shown {
    fn take(&mut self, bytes: usize, which: impl FnOnce(&mut Self) -> &mut f64, times: &[f64]) {
        if bytes == SHOWN {
            *which(self) = median(times);
        }
    }

    /// The last line; none if a filter on the command line has left one of the two out.
    fn line(&self) -> Option<String> {
        let (l1, l2) = (self.l1, self.l2);
        (l1 > 0.0 && l2 > 0.0).then(|| format!("L1 {l1:.0} ns, L2 {:.1} us, ratio {:.1}", l2 / 1e3, l2 / l1))
    }
}
