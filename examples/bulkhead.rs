//! A cold cache and a database with ten connections: a bulkhead lets ten loads run, five hundred wait, and tells the others at once. Needs no server:
//! `cargo run --example bulkhead`.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cachetier::{Bulkhead, LoadError, Policy, TieredCache};
use tokio::task::JoinSet;

/// A database that falls over when more than ten ask it at once.
#[derive(Clone, Default)]
struct Database {
    busy: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Database {
    async fn product(&self, id: u32) -> Result<String, std::io::Error> {
        let busy = self.busy.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(busy, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.busy.fetch_sub(1, Ordering::SeqCst);
        if busy > 10 { Err(std::io::Error::other("no connection left")) } else { Ok(format!("product {id}")) }
    }
}

/// Asks for a thousand products at once, and counts those who got one, and those who were told to come back.
async fn rush(cache: &TieredCache, database: &Database) -> (usize, usize, usize) {
    let mut callers = JoinSet::new();
    for id in 0..1_000_u32 {
        let (cache, database) = (cache.clone(), database.clone());
        callers.spawn(async move {
            let policy = Policy::ttl(Duration::from_secs(60));
            cache.get_or_load(&format!("product:{id}"), policy, || database.product(id)).await
        });
    }
    let (mut served, mut later, mut failed) = (0, 0, 0);
    while let Some(answer) = callers.join_next().await {
        match answer {
            Ok(Ok(_)) => served += 1,
            Ok(Err(LoadError::Overloaded { .. })) => later += 1,
            _ => failed += 1,
        }
    }
    (served, later, failed)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = Database::default();
    let open = TieredCache::builder("bulkhead-example-open").build().await?;
    let (served, later, failed) = rush(&open, &database).await;
    println!(
        "without: {served} served, {later} told to come back, {failed} failed, {} at once",
        database.most.load(Ordering::SeqCst)
    );

    let database = Database::default();
    let bound = Bulkhead::new(10)?.queue(500);
    let cache = TieredCache::builder("bulkhead-example").bulkhead(bound.clone()).build().await?;
    let (served, later, failed) = rush(&cache, &database).await;
    println!("with: {served} served, {later} told to come back, {failed} failed, {} at once", database.most.load(Ordering::SeqCst));

    // For what is dear, less: a group within the whole.
    let reports = cache.bulkhead(&Bulkhead::new(2)?);
    let policy = Policy::ttl(Duration::from_secs(60));
    let report = reports.get_or_load("report:1", policy, || database.product(1)).await?;
    println!("{report}; {} loads run now, {} have waited", bound.running(), cache.stats().loads_queued);
    Ok(())
}
