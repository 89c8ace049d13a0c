//! A worker of service B writes what service A has cached, and invalidates it there without a cache of its own.
//! `cargo run --example worker`; with `REDIS_URL=redis://127.0.0.1/` it is over Redis.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cachetier::{Call, CallKind, Delivery, InProcess, Invalidator, LoadError, Plan, Policy, TieredCache};

/// The namespace of service A: who invalidates its copies uses the same.
const NAMESPACE: &str = "worker-example";

/// What A reads and B writes.
#[derive(Default)]
struct Database {
    price: AtomicU32,
    queries: AtomicU32,
}

/// Service A: reads prices through its cache.
async fn price(cache: &TieredCache, database: &Database, id: u32) -> Result<u32, LoadError<Infallible>> {
    let rules = Policy::ttl(Duration::from_secs(3_600)).tags(["prices"]);
    let load = || async {
        database.queries.fetch_add(1, Ordering::Relaxed);
        Ok(database.price.load(Ordering::Relaxed) + id)
    };
    cache.get_or_load(&format!("price:{id}"), rules, load).await
}

/// Service B: one round of its worker. Commits first, invalidates then.
async fn work(database: &Database, worker: &Invalidator, price: u32) -> Result<Delivery, cachetier::CacheError> {
    database.price.store(price, Ordering::Relaxed);
    worker.invalidate_tag("prices").await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (tier, database) = (InProcess::new(), Arc::new(Database::default()));
    let url = std::env::var("REDIS_URL").ok();
    let (cache, worker) = match &url {
        Some(url) => (TieredCache::builder(NAMESPACE).redis(url).build().await?, Invalidator::connect(url, NAMESPACE).await?),
        None => (
            TieredCache::builder(NAMESPACE).in_process(&tier).build().await?,
            Invalidator::builder(NAMESPACE).in_process(&tier).build().await?,
        ),
    };
    // What an earlier run may have left on a server.
    worker.clear().await?.confirmed()?;

    for round in 1..=3 {
        // Who must know that all instances are going to hear of it asks for the point at which it stands.
        let token = work(&database, &worker, round * 100).await?.confirmed()?;
        cache.wait_for(token, Duration::from_secs(1)).await?;
        let prices = [price(&cache, &database, 1).await?, price(&cache, &database, 2).await?];
        let again = [price(&cache, &database, 1).await?, price(&cache, &database, 2).await?];
        println!(
            "round {round}: A reads {prices:?}, then {again:?} from memory ({} queries)",
            database.queries.load(Ordering::Relaxed)
        );
    }

    if url.is_none() {
        // B cannot reach the server. Nothing is lost: it is told again until it is confirmed.
        tier.script(|call: &Call<'_>| if call.kind == CallKind::Bump { Plan::away() } else { Plan::go() });
        println!("B, without its server: {:?} ({})", work(&database, &worker, 400).await?, worker.stats());
        println!("A goes on with {}", price(&cache, &database, 1).await?);
        tier.clear_script();
        worker.flush(Duration::from_secs(5)).await?;
        // With nothing to invalidate it says at which point the last one stands.
        if let Delivery::Applied(token) = worker.invalidate_many::<&str>([]).await? {
            cache.wait_for(token, Duration::from_secs(1)).await?;
        }
        println!("A has heard of it: {}", price(&cache, &database, 1).await?);
    }
    println!("B: {}", worker.stats());
    // A worker that ends with invalidations pending would lose them.
    worker.close(Duration::from_secs(5)).await?;
    cache.close(Duration::from_secs(1)).await?;
    Ok(())
}
