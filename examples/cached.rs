//! A service's functions with attributes: one that reads is cached, one that writes invalidates. Needs no server:
//! `cargo run --example cached`; with `REDIS_URL=redis://127.0.0.1/` it is over Redis.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cachetier::{InProcess, KeyPart, TieredCache, cached, invalidates};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    org: u64,
    name: String,
}

#[derive(Clone, Debug)]
struct DbError;

impl std::fmt::Display for DbError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no such user")
    }
}

impl Error for DbError {}

/// A database that counts its queries.
#[derive(Default)]
struct Db {
    queries: AtomicU64,
    renamed: std::sync::Mutex<Option<String>>,
}

impl Db {
    async fn query(&self) {
        self.queries.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    fn name(&self) -> String {
        self.renamed.lock().ok().and_then(|name| name.clone()).unwrap_or_else(|| "Ada".to_owned())
    }
}

// A template names what identifies the user; the database is no part of it.
#[cached(key = "user:{id}", ttl = "5m", tags = ["users", "org:{org}"])]
async fn load_user(db: &Db, org: u64, id: u64) -> Result<User, DbError> {
    db.query().await;
    if id == 0 { Err(DbError) } else { Ok(User { org, name: db.name() }) }
}

#[invalidates(key = "user:{id}", tags = ["org:{org}"])]
async fn rename(db: &Db, org: u64, id: u64, name: &str) -> Result<(), DbError> {
    db.query().await;
    let _ = (org, id);
    if let Ok(mut renamed) = db.renamed.lock() {
        *renamed = Some(name.to_owned());
    }
    Ok(())
}

/// What a search is for: a part of a key like a number or a text.
#[derive(KeyPart)]
enum Scope {
    Everybody,
    Org(u64),
}

// Without a key: the function's path and all arguments but those that are skipped. That there is nobody is remembered, too.
#[cached(ttl = "1m", negative_ttl = "10s", tags = ["users"], skip(db))]
async fn find(db: &Db, scope: Scope, name: &str) -> Option<User> {
    db.query().await;
    match scope {
        Scope::Everybody if name == db.name() => Some(User { org: 7, name: name.to_owned() }),
        Scope::Everybody => None,
        Scope::Org(org) => Some(User { org, name: name.to_owned() }),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let builder = TieredCache::builder("cached-example");
    let builder = match std::env::var("REDIS_URL") {
        Ok(url) => builder.redis(url),
        Err(_) => builder.in_process(&InProcess::new()),
    };
    let cache = builder.build().await?;
    cachetier::install(cache.clone())?;
    let db = Db::default();
    let queries = || db.queries.load(Ordering::Relaxed);

    let user = load_user(&db, 7, 42).await?;
    load_user(&db, 7, 42).await?;
    println!("{} of org {}: {} query for two calls, cached as {}", user.name, user.org, queries(), load_user::key(7, 42));

    rename(&db, 7, 42, "Grace").await?;
    println!("renamed, and read anew: {}", load_user(&db, 7, 42).await?.name);

    let before = queries();
    let nobody = [find(&db, Scope::Everybody, "Eve").await, find(&db, Scope::Everybody, "Eve").await];
    println!("found twice that there is nobody ({}), by {} query", nobody.iter().all(Option::is_none), queries() - before);
    println!("a search of an org is cached as {}", find::key(Scope::Org(7), "a:b"));
    find(&db, Scope::Org(7), "a:b").await;

    match load_user(&db, 7, 0).await {
        Ok(user) => println!("found {user:?}"),
        Err(error) => println!("an error stays the function's own: {error}"),
    }
    println!("\n{}", cache.stats());
    cache.clear().await?;
    cache.close(Duration::from_secs(1)).await?;
    Ok(())
}
