//! Calls that differ from the others: a user who presses reload, an export that leaves no trace, a reader in a hurry; and what a page for
//! operators shows of a key.
//!
//! ```text
//! cargo run --example options                                    # needs nothing: the shared tier is inside the process
//! REDIS_URL=redis://127.0.0.1/ cargo run --example options       # the same over a server
//! ```
#![forbid(unsafe_code)]

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cachetier::{CallOptions, InProcess, Origin, Policy, TieredCache, Tiers};

const POLICY: Policy = Policy::ttl(Duration::from_secs(300));
/// What a user means who presses reload.
const RELOAD: CallOptions = CallOptions::new().fresh();
/// What is read once drives out nothing that is read often.
const EXPORT: CallOptions = CallOptions::new().writes(Tiers::Neither);
const HURRIED: CallOptions = CallOptions::new().deadline(Duration::from_millis(20));

/// Stands for a database: each query finds another price.
#[derive(Default)]
struct Db(AtomicU64);

impl Db {
    async fn price(&self) -> Result<u64, std::io::Error> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(100 + self.0.fetch_add(1, Ordering::SeqCst))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let builder = TieredCache::builder("options-example");
    let cache = match std::env::var("REDIS_URL") {
        Ok(url) => builder.redis(url).build().await?,
        Err(_) => builder.in_process(&InProcess::new()).build().await?,
    };
    cache.clear().await?;
    let db = Db::default();

    for expected in [Origin::Loader, Origin::L1] {
        let served = cache.get_or_load_traced("price:9", POLICY.tags(["prices"]), || db.price()).await?;
        println!("{} from {:?}, {:?} old", served.value, served.origin, served.age);
        assert_eq!((served.value, served.origin), (100, expected));
    }

    let reloaded = cache.with(RELOAD).get_or_load("price:9", POLICY.tags(["prices"]), || db.price()).await?;
    assert_eq!((reloaded.value, cache.get::<u64>("price:9").await), (101, Some(101)));
    println!("reloaded: {}", reloaded.value);

    let exported = cache.with(EXPORT).get_or_load("price:10", POLICY, || db.price()).await?;
    assert_eq!((exported.value, cache.get::<u64>("price:10").await), (102, None));
    println!("exported, and not kept: {}", exported.value);

    let slow = || async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        db.price().await
    };
    let late = cache.with(HURRIED).get_or_load("price:11", POLICY, slow).await;
    match late {
        Ok(price) => println!("in a hurry: {}", price.value),
        Err(late) => println!("in a hurry: {late}"),
    }

    let found = cache.inspect("price:9").await?;
    println!("{found:#?}");
    assert!(found.here.is_some_and(|copy| copy.serves && copy.entry.carries("prices")));
    Ok(cache.close(Duration::from_secs(1)).await?)
}
