//! What those who wait get of an error, by what its type can do, and how often the body runs for it.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cachetier::{TieredCache, cached, scope};
use cachetier_tests::{Gate, eventually_async};

use crate::LONG;

const CALLERS: usize = 100;

/// Counts bodies: how many there were, and how many at a time.
#[derive(Debug, Default)]
struct Bodies {
    runs: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Bodies {
    /// The body of every function here: it fails, once the gate is open.
    async fn run<E>(&self, gate: &Gate, error: impl FnOnce() -> E) -> Result<u64, E> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        gate.wait().await;
        tokio::task::yield_now().await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        Err(error())
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Cloned;

#[derive(Debug, PartialEq)]
struct Alone;

#[derive(Debug, PartialEq)]
struct Told;

fn again(_: &Told) -> Told {
    Told
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[cached(key = "cloned", ttl = "5m")]
async fn cloned(bodies: &Bodies, gate: &Gate) -> Result<u64, Cloned> {
    bodies.run(gate, || Cloned).await
}

#[cached(key = "boxed", ttl = "5m")]
async fn boxed(bodies: &Bodies, gate: &Gate) -> Result<u64, BoxError> {
    bodies.run(gate, || "failed".into()).await
}

#[cached(key = "anyhow", ttl = "5m")]
async fn any(bodies: &Bodies, gate: &Gate) -> anyhow::Result<u64> {
    bodies.run(gate, || anyhow::anyhow!("failed")).await
}

#[cached(key = "told", ttl = "5m", share_error = again)]
async fn told(bodies: &Bodies, gate: &Gate) -> Result<u64, Told> {
    bodies.run(gate, || Told).await
}

fn any_again<E: Clone>(error: &E) -> E {
    error.clone()
}

#[cached(key = "told in general", ttl = "5m", share_error = any_again)]
async fn told_in_general(bodies: &Bodies, gate: &Gate) -> Result<u64, Cloned> {
    bodies.run(gate, || Cloned).await
}

#[cached(key = "alone", ttl = "5m")]
async fn alone(bodies: &Bodies, gate: &Gate) -> Result<u64, Alone> {
    bodies.run(gate, || Alone).await
}

/// Can be cloned, but for as long as it borrows only.
#[cached(key = "borrowed", ttl = "5m", share_error = none)]
async fn borrowed<'a>(bodies: &Bodies, gate: &Gate, text: &'a str) -> Result<u64, &'a str> {
    bodies.run(gate, || text).await
}

/// Could be shared by `Clone`, and is not to be.
#[cached(key = "kept", ttl = "5m", share_error = none)]
async fn kept(bodies: &Bodies, gate: &Gate) -> Result<u64, Cloned> {
    bodies.run(gate, || Cloned).await
}

/// Calls as often at once; returns how often the body ran, and how often at a time.
async fn run<E: Debug + 'static>(
    callers: usize,
    call: impl AsyncFn(Arc<Bodies>, Gate) -> Result<u64, E> + Clone + 'static,
) -> (usize, usize) {
    let (bodies, gate, local) = (Arc::new(Bodies::default()), Gate::new(), tokio::task::LocalSet::new());
    let cache = TieredCache::builder("errors").build().await.expect("a cache");
    local
        .run_until(async {
            let begin = |_| {
                let (bodies, gate, call) = (Arc::clone(&bodies), gate.clone(), call.clone());
                tokio::task::spawn_local(scope(cache.clone(), async move { call(bodies, gate).await }))
            };
            let callers: Vec<_> = (0..callers).map(begin).collect();
            eventually_async(LONG, "all call", async || cache.stats().l1_misses == callers.len() as u64).await;
            gate.open();
            for caller in callers {
                let answer = tokio::time::timeout(LONG, caller).await.expect("a caller was forgotten").expect("no panic");
                answer.expect_err("the function's own error");
            }
        })
        .await;
    (bodies.runs.load(Ordering::SeqCst), bodies.most.load(Ordering::SeqCst))
}

#[tokio::test]
async fn the_body_runs_once_for_all_who_can_share_its_error() {
    let table = [
        ("alone with it: moved out", run(1, async |bodies: Arc<Bodies>, gate: Gate| alone(&bodies, &gate).await).await, (1, 1)),
        ("Clone", run(CALLERS, async |bodies: Arc<Bodies>, gate: Gate| cloned(&bodies, &gate).await).await, (1, 1)),
        ("a boxed error", run(CALLERS, async |bodies: Arc<Bodies>, gate: Gate| boxed(&bodies, &gate).await).await, (1, 1)),
        ("anyhow::Error", run(CALLERS, async |bodies: Arc<Bodies>, gate: Gate| any(&bodies, &gate).await).await, (1, 1)),
        ("share_error", run(CALLERS, async |bodies: Arc<Bodies>, gate: Gate| told(&bodies, &gate).await).await, (1, 1)),
        (
            "share_error, a generic one",
            run(CALLERS, async |bodies: Arc<Bodies>, gate: Gate| told_in_general(&bodies, &gate).await).await,
            (1, 1),
        ),
        (
            "share_error = none",
            run(CALLERS, async |bodies: Arc<Bodies>, gate: Gate| kept(&bodies, &gate).await).await,
            (CALLERS, 1),
        ),
        (
            "share_error = none, borrowed",
            run(CALLERS, async |bodies: Arc<Bodies>, gate: Gate| {
                let text = "failed".to_owned();
                borrowed(&bodies, &gate, &text).await.map_err(str::to_owned)
            })
            .await,
            (CALLERS, 1),
        ),
        ("none of these", run(CALLERS, async |bodies: Arc<Bodies>, gate: Gate| alone(&bodies, &gate).await).await, (CALLERS, 1)),
    ];
    println!("{:<28} {:>8} {:>10}", "100 callers, the error is", "runs", "at a time");
    for (name, (runs, most), _) in &table {
        println!("{name:<28} {runs:>8} {most:>10}");
    }
    for (name, found, expected) in table {
        assert_eq!(found, expected, "{name}");
    }
}
