//! `#[cached]` and `#[invalidates]`, used as a service does. No cache is ever installed in this program: each test has a scope of its own, and one
//! shows what happens without any.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, clippy::panic, reason = "a helper of a test fails the test")]

mod companions;
mod detached;
mod errors;
mod expressions;
mod herd;
mod invalidating;
mod options;
mod processes;
mod shapes;
mod told_apart;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cachetier::TieredCache;

const LONG: Duration = Duration::from_secs(20);

/// A source that counts how often it is asked.
#[derive(Debug, Default)]
struct Db {
    queries: AtomicUsize,
}

impl Db {
    fn query<T>(&self, answer: T) -> T {
        self.queries.fetch_add(1, Ordering::SeqCst);
        answer
    }

    fn queries(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }
}

async fn cache() -> TieredCache {
    TieredCache::builder("cached").build().await.expect("a cache")
}

/// Runs a test in a scope with a cache of its own.
async fn scoped<T>(body: impl AsyncFnOnce(TieredCache) -> T) -> T {
    let cache = cache().await;
    cachetier::scope(cache.clone(), body(cache)).await
}
