//! A write guard around a transaction: a process that dies between its commit and its invalidation leaves nothing old behind.
//!
//! ```text
//! cargo run --example guard                                    # needs nothing: the shared tier is inside the process
//! REDIS_URL=redis://127.0.0.1/ cargo run --example guard       # the same over a server
//! ```
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cachetier::{CacheBuilder, CacheError, InProcess, LoadError, Policy, TieredCache};

/// How long a guard holds its keys at most: longer than any transaction here takes.
const LIMIT: Duration = Duration::from_millis(500);

/// How long the database takes to answer.
const ANSWER: Duration = Duration::from_millis(2);

/// Stands for a database with transactions.
#[derive(Default)]
struct Database {
    balances: Mutex<HashMap<String, i64>>,
}

/// Changes that nobody sees before they are committed.
struct Transaction<'a> {
    database: &'a Database,
    changes: Vec<(String, i64)>,
}

impl Database {
    fn begin(&self) -> Transaction<'_> {
        Transaction { database: self, changes: Vec::new() }
    }

    async fn balance(&self, account: &str) -> Result<i64, Infallible> {
        tokio::time::sleep(ANSWER).await;
        Ok(self.balances.lock().unwrap_or_else(PoisonError::into_inner).get(account).copied().unwrap_or_default())
    }
}

impl Transaction<'_> {
    fn add(&mut self, account: &str, amount: i64) {
        self.changes.push((account.to_owned(), amount));
    }

    async fn commit(self) -> Result<(), Infallible> {
        tokio::time::sleep(ANSWER).await;
        let mut balances = self.database.balances.lock().unwrap_or_else(PoisonError::into_inner);
        for (account, amount) in self.changes {
            *balances.entry(account).or_default() += amount;
        }
        Ok(())
    }
}

async fn balance(cache: &TieredCache, database: &Database, account: &str) -> Result<i64, LoadError<Infallible>> {
    let policy = Policy::ttl(Duration::from_secs(300));
    cache.get_or_load(account, policy, || database.balance(account)).await
}

/// What happens to the process that transfers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Well,
    DiesAfterTheCommit,
}

/// Moves money from one account to another.
async fn transfer(cache: &TieredCache, database: &Database, [from, to]: [&str; 2], end: End) -> Result<(), Box<dyn Error>> {
    let mut transaction = database.begin();
    transaction.add(from, -10);
    transaction.add(to, 10);
    // Before the commit. If the keys cannot be held, nothing has been written yet, and the caller is told so.
    let guard = cache.guard([from, to]).await?;
    transaction.commit().await?;
    if end == End::DiesAfterTheCommit {
        // As a process does that is killed: nothing is sent any more.
        drop(guard);
        return Ok(());
    }
    guard.release().await?;
    Ok(())
}

/// An instance of the service: over the server that `REDIS_URL` names, else over a tier inside this process.
fn instance(inside: &InProcess) -> CacheBuilder {
    let builder = TieredCache::builder("guard-example").guard_limit(LIMIT);
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
    let database = Database::default();
    let accounts = ["account:1", "account:2"];
    // What an earlier run may have left on a server.
    cache.invalidate_many(accounts).await?;

    for account in accounts {
        println!("{account} has {} (both instances keep it)", balance(&cache, &database, account).await?);
        balance(&other, &database, account).await?;
    }

    transfer(&cache, &database, accounts, End::Well).await?;
    println!("\nafter a transfer under a guard, for who made it:");
    for account in accounts {
        println!("{account} has {}", balance(&cache, &database, account).await?);
    }

    transfer(&cache, &database, accounts, End::DiesAfterTheCommit).await?;
    println!("\nafter one whose process died after the commit:");
    for account in accounts {
        let shown = balance(&cache, &database, account).await?;
        let kept = cache.get::<i64>(account).await.is_some();
        println!("{account} has {shown} (kept: {kept}, as long as the guard's limit)");
    }
    tokio::time::sleep(LIMIT).await;
    for account in accounts {
        let shown = balance(&other, &database, account).await?;
        let kept = other.get::<i64>(account).await.is_some();
        println!("{account} has {shown} (kept: {kept}, now that it is over; the other instance)");
        if shown != database.balance(account).await? {
            return Err("an old balance was shown".into());
        }
    }

    // Without an answer there is no guard, and the caller knows it before it commits.
    cache.close(Duration::from_secs(1)).await?;
    if cache.guard(accounts).await.map(drop) == Err(CacheError::Closed) {
        println!("\na closed cache guards nothing, and says so");
    }
    println!("\nguards: {}, dropped: {}", cache.stats().guards, cache.stats().guards_dropped);
    other.clear().await?;
    Ok(())
}
