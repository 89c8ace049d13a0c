//! The main job in a few lines: two instances of a service share what either has loaded, and what one invalidates, both forget.
//!
//! ```text
//! cargo run --example quickstart                                    # needs nothing: the shared tier is inside the process
//! REDIS_URL=redis://127.0.0.1/ cargo run --example quickstart       # the same over a server
//! ```
#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "an example shows how long things take")]

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cachetier::{CacheBuilder, InProcess, LoadError, Policy, TieredCache};
use serde::{Deserialize, Serialize};

/// How many hits are timed, for one alone is mostly what its first time costs.
const HITS: u32 = 10_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
}

/// Stands for a database that takes 20 ms to answer.
#[derive(Default)]
struct Database {
    queries: AtomicU32,
}

impl Database {
    async fn user(&self, id: u64) -> Result<Arc<User>, Infallible> {
        let query = self.queries.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Arc::new(User { id, name: format!("Ada, as of query {query}") }))
    }
}

/// How a service reads through the cache: the key, how long and under which tags it is kept, and where it comes from.
async fn load_user(cache: &TieredCache, database: &Database, id: u64) -> Result<Arc<User>, LoadError<Infallible>> {
    let rules = Policy::ttl(Duration::from_secs(300)).tags(["users"]);
    cache.get_or_load(&format!("user:{id}"), rules, || database.user(id)).await
}

/// An instance of the service: over the server that `REDIS_URL` names, else over a tier inside this process.
fn instance(inside: &InProcess) -> CacheBuilder {
    let builder = TieredCache::builder("quickstart");
    match std::env::var("REDIS_URL") {
        Ok(url) => builder.redis(url),
        Err(_) => builder.in_process(inside),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let inside = InProcess::new();
    let cache = instance(&inside).build().await?;
    let other = instance(&inside).build().await?;
    let database = Arc::new(Database::default());
    // What an earlier run may have left on a server.
    cache.clear().await?;

    let begun = Instant::now();
    let user = load_user(&cache, &database, 42).await?;
    println!("a miss:           {:>10.1?}  {} (the loader ran)", begun.elapsed(), user.name);

    let begun = Instant::now();
    let mut user = user;
    for _ in 0..HITS {
        user = load_user(&cache, &database, 42).await?;
    }
    println!("an L1 hit:        {:>10.1?}  {} (of {HITS}, unoptimised without --release)", begun.elapsed() / HITS, user.name);

    let begun = Instant::now();
    let user = load_user(&other, &database, 42).await?;
    let time = begun.elapsed();
    if other.stats().l2_hits == 1 {
        println!("an L2 hit:        {time:>10.1?}  {} (by the other instance)", user.name);
    } else {
        println!("no shared tier:   {time:>10.1?}  {} (the other instance had to load: is there a server?)", user.name);
    }

    let before = database.queries.load(Ordering::Relaxed);
    let begun = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let (cache, database) = (cache.clone(), Arc::clone(&database));
        callers.spawn(async move { load_user(&cache, &database, 7).await });
    }
    for answer in callers.join_all().await {
        answer?;
    }
    let queries = database.queries.load(Ordering::Relaxed) - before;
    println!("1,000 at once:    {:>10.1?}  queries of the database: {queries}", begun.elapsed());

    let begun = Instant::now();
    cache.invalidate_tag("users").await?;
    while other.get::<Arc<User>>("user:42").await.is_some() {
        if begun.elapsed() > Duration::from_secs(5) {
            return Err("the invalidation did not reach the other instance within 5 s".into());
        }
        tokio::time::sleep(Duration::from_micros(50)).await;
    }
    println!("an invalidation:  {:>10.1?}  until the other instance had forgotten", begun.elapsed());

    let user = load_user(&other, &database, 42).await?;
    println!("                              {} (loaded again: user {})", user.name, user.id);

    println!("\nwhat the first instance did:\n{}", cache.stats());
    cache.clear().await?;
    Ok(())
}
