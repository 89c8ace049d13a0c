//! A customer asks to be forgotten: what carries the tag is invalidated at once, and then its bytes are deleted from the shared tier.
//!
//! ```text
//! cargo run --example purge                                    # needs nothing: the shared tier is inside the process
//! REDIS_URL=redis://127.0.0.1/ cargo run --example purge       # the same over a server
//! ```
#![forbid(unsafe_code)]

use std::error::Error;
use std::time::Duration;

use cachetier::{CacheBuilder, InProcess, Policy, Purge, PurgeError, PurgeProgress, TieredCache};

const ORDERS: u32 = 3_000;
const CUSTOMERS: u32 = 10;

/// Over the server that `REDIS_URL` names, else over a tier inside this process.
fn instance(inside: &InProcess) -> CacheBuilder {
    let builder = TieredCache::builder("purge-example");
    match std::env::var("REDIS_URL") {
        Ok(url) => builder.redis(url),
        Err(_) => builder.in_process(inside),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cache = instance(&InProcess::new()).build().await?;
    let policy = Policy::ttl(Duration::from_secs(300));
    for order in 0..ORDERS {
        let tags = ["orders".to_owned(), format!("customer:{}", order % CUSTOMERS)];
        cache.set(&format!("order:{order}:total"), order, policy.tags(tags)).await?;
        cache.set(&format!("order:{order}:address"), "Mill Lane 3".to_owned(), policy.tags(["orders"])).await?;
    }

    // In a task of its own, and looked at meanwhile. Aborted, it would have invalidated all the same, and deleted no more.
    let progress = PurgeProgress::default();
    let purge = tokio::spawn({
        let (cache, progress) = (cache.clone(), progress.clone());
        async move { cache.purge(Purge::tag("customer:7").watched_by(&progress)).await }
    });
    while !purge.is_finished() {
        println!("looked at {} entries, deleted {}", progress.counts().scanned, progress.counts().removed);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    match purge.await? {
        Ok(purged) => println!("customer 7: {:?}\n", purged.counts),
        Err(PurgeError::Stopped { why, done }) => println!("stopped after {:?}: {why}; call again\n", done.counts),
        Err(error) => return Err(error.into()),
    }
    if cache.get::<u32>("order:7:total").await.is_some() || cache.get::<u32>("order:8:total").await.is_none() {
        return Err("too little was purged, or too much".into());
    }

    // No tag was foreseen for these: a look at every key finds them.
    let purged = cache.invalidate_pattern("order:*:address").await?;
    println!("addresses: {:?}", purged.counts);
    println!("everything that is left: {:?}", cache.purge(Purge::everything()).await?.counts);
    Ok(())
}
