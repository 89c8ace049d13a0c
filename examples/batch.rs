//! A page of products: one call, one look at the shared tier, one query for what it does not have.
//!
//! ```text
//! cargo run --example batch                                    # needs nothing: the shared tier is inside the process
//! REDIS_URL=redis://127.0.0.1/ cargo run --example batch       # the same over a server
//! ```
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use cachetier::{CacheBuilder, CallOptions, InProcess, Policy, TieredCache, Tiers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Product {
    id: u64,
    price: u64,
}

/// Stands for a database.
struct Db;

impl Db {
    /// `SELECT .. WHERE id IN (..)`: there are ten products.
    async fn products(&self, ids: &[u64]) -> Result<Vec<Product>, std::io::Error> {
        println!("  one query for {ids:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(ids.iter().filter(|id| **id < 10).map(|id| Product { id: *id, price: 100 + id }).collect())
    }
}

fn key(id: u64) -> String {
    format!("product:{id}")
}

/// What is on a page: a product that there is not is `None`, and that is remembered for a while.
async fn page(cache: &TieredCache, db: &Db, ids: &[u64]) -> Result<Vec<Option<Product>>, Box<dyn Error>> {
    let by_key: BTreeMap<String, u64> = ids.iter().map(|id| (key(*id), *id)).collect();
    let policy = Policy::ttl(Duration::from_secs(300)).negative_ttl(Duration::from_secs(30));
    let load = async |missing: Vec<String>| {
        let ids: Vec<u64> = missing.iter().filter_map(|key| by_key.get(key).copied()).collect();
        let found = db.products(&ids).await?;
        Ok::<_, std::io::Error>(found.into_iter().map(|product| (key(product.id), product)))
    };
    Ok(cache.get_or_load_many(ids.iter().map(|id| key(*id)), policy.tags(["products"]), load).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let inside = InProcess::new();
    let instance = || -> CacheBuilder {
        let builder = TieredCache::builder("batch-example");
        match std::env::var("REDIS_URL") {
            Ok(url) => builder.redis(url),
            Err(_) => builder.in_process(&inside),
        }
    };
    let (here, there) = (instance().build().await?, instance().build().await?);
    // What an earlier run has left on the server.
    let token = here.invalidate_tag("products").await?.confirmed()?;
    there.wait_for(token, Duration::from_secs(1)).await?;

    println!("the first page:");
    let first = page(&here, &Db, &[1, 2, 3, 99]).await?;
    println!("another instance, a page that shares some of it:");
    let second = page(&there, &Db, &[3, 4, 99, 2]).await?;
    println!("the same again, which nobody is asked for:");
    page(&there, &Db, &[2, 3, 4, 99]).await?;
    if first.last() != Some(&None) || second.iter().flatten().map(|product| product.id).ne([3, 4, 2]) {
        return Err("the answers are not in the order of the keys".into());
    }
    if (here.stats().loads, there.stats().loads, there.stats().batched) != (1, 1, 1) {
        return Err("more was loaded than was missing".into());
    }

    // Each stands for itself: what cannot be stored keeps no other from it.
    let raised = [4, 5].map(|id| (key(id), Product { id, price: 200 }));
    for delivery in there.set_many(raised, Policy::ttl(Duration::from_secs(300)).tags(["products"])).await {
        println!("set: {:?}", delivery?);
    }
    println!("{:?}", there.get_many::<Product>([key(4), key(5), key(6)]).await);

    // An export of all there is reads what the shared tier has, and drives nothing out of this instance.
    let export = CallOptions::new().reads(Tiers::L2).writes(Tiers::Neither);
    let before = there.stats().l1_entries;
    let all = there.with(export).get_many::<Product>((0..10).map(key)).await;
    println!("an export: {} of them are cached", all.iter().flatten().count());
    if all.iter().flatten().count() != 5 || there.stats().l1_entries != before {
        return Err("an export is to read what is shared, and to keep nothing".into());
    }
    Ok(())
}
