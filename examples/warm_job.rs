//! The job before a deployment: it fills the shared tier for the version that is about to be rolled out, at a pace that the database can bear, and ends
//! with a code that tells the pipeline whether to go on. Then an instance of that version copies what it is asked for most before it reports ready.
//! `cargo run --example warm_job [VERSION]`: needs no server; with `REDIS_URL=redis://127.0.0.1/` it is over Redis.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use cachetier::{CacheBuilder, InProcess, Policy, TieredCache, WarmCounts};
use tokio::time::sleep;

const PRODUCTS: u64 = 5_000;
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

/// Your database: one query for many products.
async fn products(keys: Vec<String>) -> Result<Vec<(String, String)>, std::io::Error> {
    sleep(Duration::from_millis(10)).await;
    Ok(keys.into_iter().map(|key| (key.clone(), format!("all about {key}"))).collect())
}

/// A line that grows, where somebody looks at it.
fn bar(so_far: WarmCounts) {
    let twentieths = usize::try_from(so_far.keys * 20 / PRODUCTS).unwrap_or(20);
    if std::io::stderr().is_terminal() {
        eprint!("\r[{:<20}] {} of {PRODUCTS}, {} failed", "#".repeat(twentieths), so_far.keys, so_far.failed);
        // It is a nicety.
        let _ = std::io::stderr().flush();
    }
}

async fn job(cache: &TieredCache) -> bool {
    let keys = (0..PRODUCTS).map(|id| format!("product:{id}"));
    let warming = cache.warming().batch(250).at_once(4).per_second(20_000).progress(bar);
    let warmed = warming.load(keys, POLICY, products).await;
    let counts = warmed.counts;
    eprintln!();
    println!(
        "{} keys in {:.1?}: {} were there, {} loaded, {} have nothing, {} failed",
        counts.keys, warmed.took, counts.found, counts.loaded, counts.absent, counts.failed
    );
    if let Some(error) = &warmed.error {
        eprintln!("the first failure: {error}");
    }
    // Told, and not lost with the process.
    warmed.is_complete() && cache.close(Duration::from_secs(10)).await.is_ok()
}

#[tokio::main]
async fn main() -> ExitCode {
    let version = std::env::args().nth(1).unwrap_or_else(|| "2".to_owned());
    // Each version of the service has a namespace of its own, so that what is stored for the next one is none of the present one's business.
    let namespace = format!("warm-job-example-{version}");
    let memory = InProcess::new();
    let builder = || -> CacheBuilder {
        match std::env::var("REDIS_URL") {
            Ok(url) => TieredCache::builder(&namespace).redis(&url).require_redis(),
            Err(_) => TieredCache::builder(&namespace).in_process(&memory),
        }
    };
    let built = async || {
        let built = builder().build().await;
        built.inspect_err(|error| eprintln!("{error}")).ok()
    };
    let Some(cache) = built().await else { return ExitCode::FAILURE };
    if !job(&cache).await {
        eprintln!("not all is there: the deployment is better not begun");
        return ExitCode::FAILURE;
    }

    // And this is what an instance does when it starts.
    let Some(instance) = built().await else { return ExitCode::FAILURE };
    let hot = (0..500).map(|id| format!("product:{id}"));
    let copied = instance.warming().copy::<String>(hot).await.counts;
    println!("ready, with {} copies", copied.found);
    if copied.found == 500 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
