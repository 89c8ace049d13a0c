//! A rolling deployment: the instance that ends leaves the keys that it was asked for most, as a value in the shared tier, and the one that begins has their
//! values before it reports ready. `cargo run --example warm_start`: needs no server; with `REDIS_URL=redis://127.0.0.1/` it is over Redis.

use std::error::Error;
use std::time::Duration;

use cachetier::{CacheBuilder, InProcess, Policy, TieredCache};

const PRODUCTS: f64 = 3_000.0;
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

/// How many keys are left: those that a reader would notice.
const HOT: usize = 200;

/// Where the list lies: an ordinary value, which outlives a deployment.
const LIST: &str = "hot-keys";
const LIST_POLICY: Policy = Policy::ttl(Duration::from_secs(24 * 3_600));

/// Your database.
async fn product(key: String) -> Result<String, std::io::Error> {
    tokio::task::yield_now().await;
    Ok(format!("all about {key}"))
}

/// Some products are asked for all the time and most of them hardly ever.
async fn serve(cache: &TieredCache, requests: std::ops::Range<u32>) -> Result<(), Box<dyn Error>> {
    for request in requests {
        let drawn = (f64::from(request) * 0.618_034).fract().powi(2);
        let key = format!("product:{:.0}", PRODUCTS.powf(drawn));
        cache.get_or_load(&key, POLICY, || product(key.clone())).await?;
    }
    Ok(())
}

/// At the end of an instance. Also every few minutes, where instances may end without a word: the last list counts.
async fn leave(cache: &TieredCache) -> Result<(), Box<dyn Error>> {
    let keys = cache.hot_keys();
    // Who has lived for a moment has little to say: the list before his is the better one.
    if keys.len() >= HOT / 2 {
        cache.set(LIST, keys, LIST_POLICY).await?;
    }
    Ok(cache.close(Duration::from_secs(10)).await?)
}

/// At the beginning of one. There may be no list, and what it names may have gone: then it begins colder, and no worse.
async fn begin(cache: &TieredCache) {
    let keys = cache.get::<Vec<String>>(LIST).await.unwrap_or_default();
    // Values of each type are copied as what they are.
    let products = keys.into_iter().filter(|key| key.starts_with("product:"));
    let copied = cache.warming().copy::<String>(products).await;
    println!("ready, with {} copies after {:.1?}", copied.counts.found, copied.took);
}

/// How many of its first requests an instance cannot answer by itself.
async fn first_requests(cache: &TieredCache) -> Result<u64, Box<dyn Error>> {
    let before = cache.stats().l1_misses;
    serve(cache, 50_000..50_100).await?;
    Ok(cache.stats().l1_misses - before)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let memory = InProcess::new();
    let builder = || -> CacheBuilder {
        match std::env::var("REDIS_URL") {
            Ok(url) => TieredCache::builder("warm-start-example").redis(url).require_redis(),
            Err(_) => TieredCache::builder("warm-start-example").in_process(&memory),
        }
    };
    let old = builder().hot_keys(HOT).build().await?;
    serve(&old, 0..50_000).await?;
    leave(&old).await?;

    let cold = first_requests(&builder().build().await?).await?;
    let new = builder().hot_keys(HOT).build().await?;
    begin(&new).await;
    let warm = first_requests(&new).await?;
    println!("of the first 100 requests {cold} had to go beyond a cold instance, and {warm} beyond a warm one");
    if warm < cold { Ok(()) } else { Err("it did not help".into()) }
}
