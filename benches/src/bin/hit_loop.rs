//! One kind of read, over and over: to look at with a profiler what it costs and where.
//!
//! ```text
//! cargo build --profile bench -p cachetier-benches --bin hit_loop          # lands in target/release, with line numbers
//! valgrind --tool=callgrind target/release/hit_loop l2 4000                # less the same with 1000, divided by 3000
//! perf stat -e instructions:u,cycles:u target/release/hit_loop l2 40000    # less the same with 10000, divided by 30000
//! perf record --call-graph dwarf target/release/hit_loop l2 100000
//! ```
//!
//! It prints the time of one read, without what is done before the first. Kinds, each as in the bench `ratios`, at 1 KiB:
//! `l1`, `moka`; `cached`, `ready` (few keys, through `#[cached]` and by `get`); `l2`, `get` (a hit in L2 by `get_or_load`, by `get`), `raw` (`GET` and decoding); `fill`, `raw-fill`.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use cachetier_benches::{
    Body as _, Ground, Outcome, Page, fill, fill_raw, get_each, get_raw_each, moka_future_each, page_each, page_key, prefill,
    prefill_raw, read_each, zipf,
};

use tokio::runtime::Builder;

const USAGE: &str = "usage: hit_loop l1|cached|ready|moka|l2|get|raw|fill|raw-fill COUNT";
const L1_KEYS: u32 = 10_000;
const L2_KEYS: u32 = 1_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [kind, count] => count.parse().map_err(|_| USAGE.into()).and_then(|count| run(kind, count)),
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hit_loop: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(kind: &str, count: u32) -> Outcome {
    let ground = Ground::start()?;
    // A hit in L1 never waits, and what proves it to be current must run beside it; all else is to be on one thread.
    let runtime = match kind {
        "l1" | "moka" | "cached" | "ready" => Builder::new_multi_thread().worker_threads(1).enable_all().build()?,
        _ => Builder::new_current_thread().enable_all().build()?,
    };
    let time = runtime.block_on(read(&ground, kind, count))?;
    println!("{kind}: {:.1} ns", time.as_secs_f64() * 1e9 / f64::from(count.max(1)));
    Ok(())
}

async fn read(ground: &Ground, kind: &str, count: u32) -> Outcome<Duration> {
    let namespace = ground.namespace();
    let value = Page::of(1_024);
    let names = |prefix: &str, count: u32| -> Vec<String> { (0..count).map(|index| format!("{prefix}:{index}")).collect() };
    let (few, many) = (names("user", L2_KEYS), names("user", L1_KEYS));
    let count = usize::try_from(count)?;
    let in_turn = || few.iter().cycle().take(count).map(String::as_str);
    let order = zipf(L1_KEYS, 0.99, count);
    let popular = || order.iter().filter_map(|index| many.get(*index)).map(String::as_str);
    match kind {
        "l1" => {
            let cache = ground.instance(&namespace).await?;
            prefill(&cache, &many, &value).await?;
            read_each::<Page>(&cache, popular()).await
        }
        // Few keys: what is looked at is instructions.
        "cached" | "ready" => {
            let cache = ground.instance(&namespace).await?;
            cachetier::install(cache.clone())?;
            let ids: Vec<u64> = (1_000_000..1_000_064).collect();
            let keys: Vec<String> = ids.iter().map(|id| page_key(*id)).collect();
            prefill(&cache, &keys, &value).await?;
            if kind == "cached" {
                page_each(ids.iter().cycle().take(count)).await
            } else {
                get_each::<Page>(&cache, keys.iter().cycle().take(count).map(String::as_str)).await
            }
        }
        "moka" => {
            let cache = moka::future::Cache::new(u64::from(L1_KEYS) * 2);
            for key in &many {
                cache.insert(key.clone(), Arc::clone(&value)).await;
            }
            moka_future_each::<Page>(&cache, popular()).await
        }
        "l2" | "get" => {
            prefill(&ground.instance(&namespace).await?, &few, &value).await?;
            let cache = ground.forgetful(&namespace).await?;
            if kind == "l2" { read_each::<Page>(&cache, in_turn()).await } else { get_each::<Page>(&cache, in_turn()).await }
        }
        "raw" => {
            let mut raw = ground.raw().await?;
            prefill_raw(&mut raw, &few, &value).await?;
            get_raw_each::<Page>(&mut raw, in_turn()).await
        }
        "fill" => fill(&ground.forgetful(&namespace).await?, &names("user", u32::try_from(count)?), &value).await,
        "raw-fill" => fill_raw(&mut ground.raw().await?, &names("user", u32::try_from(count)?), &value).await,
        _ => Err(USAGE.into()),
    }
}
