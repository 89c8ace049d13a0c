//! What a test of a service can do: several instances, an outage, a jump of the clock, an instance that is killed.
//! `cargo run --example testing_a_service`; in a project of your own this stands in a `#[tokio::test(start_paused = true)]`.
#![forbid(unsafe_code)]

use std::error::Error;
use std::time::Duration;

use cachetier::testing::{Group, Source, assert_loads};
use cachetier::{LoadError, Policy, TieredCache};

/// The service: reads a price through its cache, and changes it.
struct Prices {
    database: Source<u32>,
}

impl Prices {
    async fn price(&self, cache: &TieredCache, id: u32) -> Result<u32, LoadError<impl Error + use<>>> {
        let key = format!("price:{id}");
        cache.get_or_load(&key, Policy::ttl(Duration::from_secs(300)).tags(["prices"]), || self.database.load(&key)).await
    }

    async fn change(&self, cache: &TieredCache, id: u32, price: u32) -> Result<(), cachetier::CacheError> {
        let key = format!("price:{id}");
        self.database.set(&key, price);
        cache.invalidate(&key).await.map(drop)
    }
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    let prices = Prices { database: Source::from([("price:9", 100)]) };
    let group = Group::new(3).await;
    let all = async || {
        let mut seen = Vec::new();
        for cache in group.instances() {
            seen.push(prices.price(&cache, 9).await.ok());
        }
        seen
    };

    println!("three instances, one load:      {:?}", assert_loads!(group, 1, { all().await }));

    prices.change(&group.instance(0), 9, 200).await?;
    group.settle().await;
    println!("changed, and everybody knows:   {:?}", assert_loads!(group, 1, { all().await }));

    group.outage().await;
    prices.change(&group.instance(0), 9, 300).await?;
    println!("in an outage who changed knows: {:?}", all().await);
    group.recover().await;
    println!("afterwards all do:              {:?}", all().await);

    group.kill(2).await;
    group.start(2).await;
    println!("one was killed, none loads:     {:?}", assert_loads!(group, 0, { all().await }));

    group.jump(Duration::from_secs(301)).await;
    println!("five minutes later, one load:   {:?}", assert_loads!(group, 1, { all().await }));

    println!("\nthe last that happened:");
    let events = group.events();
    for event in events.iter().rev().take(4).rev() {
        println!("  {event}");
    }
    Ok(())
}
