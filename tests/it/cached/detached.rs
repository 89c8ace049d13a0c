//! Bodies that may outlive their call: what is due is refreshed behind the caller's back, by what the function was given, whatever of it is borrowed.

use std::sync::Arc;
use std::time::Duration;

use cachetier::{Clock, EarlyRefresh, ManualClock, Policy, TieredCache, cached};
use cachetier_tests::{Gate, Oops, eventually_async};

use crate::{Db, LONG};

const EARLY: Policy = Policy::ttl(Duration::from_secs(60)).jitter(0).early_refresh(EarlyRefresh::after_percent(80));

/// A source behind a gate, as a pool of connections is: its clones are the same one.
#[derive(Clone, Debug)]
struct Source {
    db: Arc<Db>,
    gate: Gate,
}

impl Source {
    async fn query<T>(&self, answer: T) -> T {
        self.gate.wait().await;
        self.db.query(answer)
    }

    #[cached(key = "method:{id}", policy = EARLY, detached)]
    async fn method(&self, id: u64) -> usize {
        let read = async { self.query(id).await };
        assert_eq!(read.await, id, "{self:?} {}", self.db.queries());
        self.db.queries()
    }

    #[cached(key = "owned:{id}", policy = EARLY, detached, companions = owned_cache)]
    async fn owned(self: Arc<Self>, id: u64) -> Option<usize> {
        self.query(id).await;
        Some(self.db.queries())
    }
}

#[cached(key = "function:{name}", policy = EARLY, tags = ["names"], detached)]
async fn function(source: &Source, name: &str, ids: &[u64], mut more: Vec<u64>) -> Result<(String, Vec<u64>, usize), Oops> {
    more.extend_from_slice(ids);
    if source.query(name.is_empty()).await {
        return Err(Oops("no name"));
    }
    Ok((name.to_owned(), more, source.db.queries()))
}

#[cached(policy = EARLY, detached, skip(source))]
async fn generic<S: AsRef<Source> + Clone + Send + Sync + 'static>(source: &S, id: u64) -> usize {
    source.as_ref().query(id).await;
    source.as_ref().db.queries()
}

/// What its arguments are is odd.
#[cached(key = "odd:{of}:{kind}", policy = EARLY, detached)]
async fn odd(source: &Source, mut name: &str, of: &u64, kind: &'static str) -> (String, String, usize) {
    name = name.trim();
    source.query(()).await;
    (format!("{name:?}"), kind_of(kind).to_owned(), source.db.queries())
}

fn kind_of(kind: &'static str) -> &'static str {
    kind
}

/// Calls another one.
#[cached(key = "outer", policy = EARLY, detached)]
async fn outer(source: &Source) -> usize {
    source.query(()).await;
    inner(source).await
}

#[cached(key = "inner", ttl = "1h")]
async fn inner(source: &Source) -> usize {
    source.db.query(source.db.queries())
}

impl AsRef<Source> for Source {
    fn as_ref(&self) -> &Source {
        self
    }
}

/// Asks for what is due while its source stands still, and then for what that has brought.
async fn refreshed_behind(read: impl AsyncFn(&Source) -> usize) {
    let (clock, hand): (Clock, ManualClock) = Clock::manual();
    let cache = TieredCache::builder("detached").clock(clock).build().await.expect("a cache");
    let (first, again) = (Source { db: Arc::default(), gate: Gate::new() }, Gate::new());
    first.gate.open();
    cachetier::scope(cache.clone(), async {
        assert_eq!(read(&first).await, 1);
        hand.advance(Duration::from_secs(50));
        {
            // Gone before its refresh is.
            let second = Source { db: Arc::clone(&first.db), gate: again.clone() };
            assert_eq!(read(&second).await, 1, "at once");
        }
        again.arrived(1).await;
        assert_eq!((read(&first).await, first.db.queries()), (1, 1));
        again.open();
        eventually_async(LONG, "it is refreshed", async || cache.stats().refreshing == 0).await;
        assert_eq!((read(&first).await, first.db.queries()), (2, 2));
        assert_eq!((cache.stats().refreshes, cache.stats().refreshes_failed), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn what_is_due_is_refreshed_behind_whatever_the_function_borrows() {
    refreshed_behind(async |source| source.method(7).await).await;
    refreshed_behind(async |source| Arc::new(source.clone()).owned(7).await.expect("some")).await;
    refreshed_behind(async |source| {
        let (name, ids, count) = function(source, &String::from("Ada"), &[3, 4], vec![1, 2]).await.expect("loaded");
        assert_eq!((name.as_str(), ids), ("Ada", vec![1, 2, 3, 4]));
        count
    })
    .await;
    refreshed_behind(async |source| generic(source, 7).await).await;
    refreshed_behind(async |source| {
        let (name, kind, count) = odd(source, " Ada ", &7, "person").await;
        assert_eq!((name.as_str(), kind.as_str()), ("\"Ada\"", "person"));
        count
    })
    .await;
}

#[tokio::test]
async fn what_goes_on_behind_uses_the_cache_of_its_call() {
    let (clock, hand) = Clock::manual();
    let cache = TieredCache::builder("detached").clock(clock).build().await.expect("a cache");
    let source = Source { db: Arc::default(), gate: Gate::new() };
    source.gate.open();
    cachetier::scope(cache.clone(), async {
        assert_eq!((outer(&source).await, source.db.queries()), (1, 2));
        hand.advance(Duration::from_secs(50));
        assert_eq!(outer(&source).await, 1);
        eventually_async(LONG, "it is refreshed", async || cache.stats().refreshing == 0 && cache.stats().refreshes == 1).await;
        assert_eq!((outer(&source).await, source.db.queries()), (1, 3), "the inner one is cached");
    })
    .await;
}

#[tokio::test]
async fn a_body_that_was_left_ends_with_the_limit_and_with_the_cache() {
    const SLOW: Policy =
        Policy::ttl(Duration::from_secs(60)).stale_for(Duration::from_secs(3_600)).stale_if_slow(Duration::from_millis(10));

    #[cached(key = "hangs", policy = SLOW, detached, companions = none)]
    async fn hangs(alive: &Arc<()>) -> u64 {
        std::future::pending::<()>().await;
        u64::try_from(Arc::strong_count(alive)).unwrap_or(0)
    }

    for closes in [false, true] {
        let (clock, hand) = Clock::manual();
        let limit = if closes { LONG } else { Duration::from_millis(50) };
        let cache = TieredCache::builder("detached").clock(clock).load_limit(limit).build().await.expect("a cache");
        cache.set("hangs", 7_u64, SLOW).await.expect("stored");
        hand.advance(Duration::from_secs(61));
        let alive = Arc::new(());
        cachetier::scope(cache.clone(), async {
            // The first is dropped while he waits for it.
            assert!(tokio::time::timeout(Duration::from_millis(1), hangs(&alive)).await.is_err());
            for _ in 0..3 {
                assert_eq!(hangs(&alive).await, 7);
            }
        })
        .await;
        if closes {
            assert_eq!(Arc::strong_count(&alive), 2, "one is made, however many ask");
            cache.close(LONG).await.expect("closed");
        }
        eventually_async(LONG, "nothing of them is left", async || Arc::strong_count(&alive) == 1).await;
    }
}

#[tokio::test]
async fn without_anything_that_is_due_it_is_as_any_other() {
    let source = Source { db: Arc::default(), gate: Gate::new() };
    source.gate.open();
    assert_eq!((source.method(1).await, source.method(1).await), (1, 2), "without a cache it just runs");
    let cache = TieredCache::builder("detached").build().await.expect("a cache");
    cachetier::scope(cache.clone(), async {
        assert_eq!(function(&source, "", &[], Vec::new()).await, Err(Oops("no name")));
        let (one, other) = tokio::join!(function(&source, "x", &[], Vec::new()), function(&source, "x", &[], Vec::new()));
        assert_eq!(one, other);
        assert_eq!(cache.stats().loads, 2, "a failure is not kept, a value is");
        function::invalidate("x").await.expect("told");
        assert_eq!(function(&source, "x", &[], Vec::new()).await.map(|(.., count)| count), Ok(5));
    })
    .await;
}
