//! A key that everybody reads, whose source takes its time: kept fresh before its life ends, and answering for a while behind that. Nobody waits but the
//! first. Needs no server: `cargo run --example hot_key`.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cachetier::{EarlyRefresh, Policy, TieredCache};
use tokio::time::{Instant, sleep};

/// Exchange rates, from a service that takes a fifth of a second.
#[derive(Clone, Default)]
struct Rates(Arc<AtomicU32>);

impl Rates {
    async fn today(self) -> Result<u32, std::io::Error> {
        sleep(Duration::from_millis(200)).await;
        Ok(self.0.fetch_add(1, Ordering::SeqCst) + 1)
    }
}

const TTL: Duration = Duration::from_secs(1);

/// Reads two hundred times a second for four seconds; returns the longest wait but the first, and how often the source was asked.
async fn read(name: &str, policy: Policy) -> Result<(Duration, u32), Box<dyn Error>> {
    let (cache, rates) = (TieredCache::builder("hot-key-example").build().await?, Rates::default());
    cache.get_or_refresh(name, policy, || rates.clone().today()).await?;
    let mut longest = Duration::ZERO;
    for _ in 0..800 {
        let begun = Instant::now();
        cache.get_or_refresh(name, policy, || rates.clone().today()).await?;
        longest = longest.max(begun.elapsed());
        sleep(Duration::from_millis(5)).await;
    }
    Ok((longest, rates.0.load(Ordering::SeqCst)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let plain = Policy::ttl(TTL).jitter(0);
    for (name, policy) in [
        ("loaded when it has ended", plain),
        ("from 70 % of its life on", plain.early_refresh(EarlyRefresh::after_percent(70))),
        ("by chance, the dearer the sooner", plain.early_refresh(EarlyRefresh::xfetch_percent(50))),
        ("stale while it is loaded", plain.stale_while_revalidate(Duration::from_secs(10))),
    ] {
        let (longest, loads) = read(name, policy).await?;
        println!("{name:<34} longest wait {:>6.2} ms, source asked {loads} times", longest.as_secs_f64() * 1e3);
        if name != "loaded when it has ended" && longest > Duration::from_millis(100) {
            return Err(format!("{name}: a reader waited for {longest:?}").into());
        }
    }
    Ok(())
}
