//! The database is away: what is stale answers in its place, for as long as it is kept, and says so. What was invalidated does not. Needs no
//! server: `cargo run --example fail_safe`.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cachetier::{Clock, Policy, Stale, TieredCache};

#[derive(Debug)]
struct Away;

impl std::fmt::Display for Away {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the database is away")
    }
}

impl Error for Away {}

/// A database that can be switched off, and counts its queries.
#[derive(Default)]
struct Prices {
    away: AtomicBool,
    queries: AtomicU64,
}

impl Prices {
    async fn query(&self) -> Result<u64, Away> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.queries.fetch_add(1, Ordering::Relaxed);
        if self.away.load(Ordering::Relaxed) { Err(Away) } else { Ok(42) }
    }
}

/// Fresh for a minute; for an hour behind that better than nothing, with a query every five seconds.
const POLICY: Policy =
    Policy::ttl(Duration::from_secs(60)).stale_for(Duration::from_secs(3_600)).stale_if_error(Duration::from_secs(5));

async fn show(cache: &TieredCache, prices: &Prices) {
    match cache.get_or_load_traced("price:9", POLICY, || prices.query()).await {
        Ok(price) if price.stale == Some(Stale::LoadFailed) => println!("{} (it was that {:?} ago)", price.value, price.age),
        Ok(price) => println!("{}", price.value),
        Err(error) => println!("no price: {error}"),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A clock that is turned by hand, so that nobody has to wait for a minute.
    let (clock, hand) = Clock::manual();
    let cache = TieredCache::builder("fail-safe-example").clock(clock).build().await?;
    let prices = Prices::default();
    show(&cache, &prices).await;

    println!("a minute later the database is away");
    prices.away.store(true, Ordering::Relaxed);
    hand.advance(Duration::from_secs(60));
    for _ in 0..100 {
        cache.get_or_load("price:9", POLICY, || prices.query()).await?;
    }
    show(&cache, &prices).await;
    println!("{} queries for all of these", prices.queries.load(Ordering::Relaxed));

    println!("and now the price is changed, by whom the database still answers");
    cache.invalidate("price:9").await?;
    show(&cache, &prices).await;

    println!("{} loads failed, {} were answered for", cache.stats().load_errors, cache.stats().served_stale);
    cache.close(Duration::from_secs(1)).await?;
    Ok(())
}
