//! A failure is remembered for as long as the policy says, and never by accident.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cachetier::{Bulkhead, CallOptions, Clock, InProcess, LoadError, Policy, TieredCache};
use cachetier_tests::{Gate, Oops, eventually_async};

const LONG: Duration = Duration::from_secs(20);
const TTL: Duration = Duration::from_secs(60);
const FORGETS: Policy = Policy::ttl(TTL).jitter(0);
const REMEMBERS: Policy = FORGETS.error_ttl(Duration::from_secs(5));
const KEY: &str = "user:7";

#[derive(Clone, Default)]
struct Loads(Arc<AtomicU64>);

impl Loads {
    fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    async fn fail(&self, cache: &TieredCache, policy: Policy) -> Result<u64, LoadError<Oops>> {
        let load = || async {
            self.0.fetch_add(1, Ordering::SeqCst);
            Err(Oops("no"))
        };
        cache.get_or_load(KEY, policy, load).await
    }
}

async fn alone() -> (TieredCache, cachetier::ManualClock) {
    let (clock, hand) = Clock::manual();
    (TieredCache::builder("test").clock(clock).build().await.expect("built"), hand)
}

async fn succeeds(cache: &TieredCache) -> u64 {
    cache.get_or_load(KEY, REMEMBERS, || async { Ok::<_, Oops>(1) }).await.expect("loaded")
}

#[tokio::test]
async fn it_is_told_again_until_its_time_is_over_and_not_at_all_unless_the_policy_says_so() {
    let ((cache, hand), loads) = (alone().await, Loads::default());
    for _ in 0..3 {
        assert!(loads.fail(&cache, FORGETS).await.is_err());
    }
    assert_eq!(loads.count(), 3);
    for _ in 0..3 {
        let error = loads.fail(&cache, REMEMBERS).await.expect_err("it fails");
        assert!(matches!(error, LoadError::Loader(why) if *why == Oops("no")));
    }
    assert_eq!((loads.count(), cache.stats().errors_remembered, cache.stats().load_errors), (4, 2, 4));
    assert_eq!(cache.get::<u64>(KEY).await, None);
    // Who does not want to be told loads.
    assert!(loads.fail(&cache, FORGETS).await.is_err());
    assert_eq!(loads.count(), 5);
    hand.advance(Duration::from_secs(5));
    assert_eq!((succeeds(&cache).await, succeeds(&cache).await), (1, 1));
    assert_eq!(cache.stats().errors_remembered, 2);
}

#[tokio::test]
async fn what_invalidates_the_key_ends_it_and_so_does_whatever_may() {
    let memory = InProcess::new();
    let build = || TieredCache::builder("test").in_process(&memory).tag_cells(256).build();
    let (a, b, loads) = (build().await.expect("built"), build().await.expect("built"), Loads::default());
    for (what, before) in ["key", "tag", "prefix", "all", "set"].into_iter().zip(0..) {
        assert!(loads.fail(&a, REMEMBERS).await.is_err() && loads.fail(&a, REMEMBERS).await.is_err());
        assert_eq!(loads.count(), before + 1, "{what}");
        let delivery = match what {
            "key" => b.invalidate(KEY).await,
            "tag" => b.invalidate_tag("users").await,
            "prefix" => b.invalidate_prefix("user:").await,
            "all" => b.clear().await,
            _ => b.set(KEY, 2_u64, FORGETS).await,
        };
        a.wait_for(delivery.expect("told").confirmed().expect("applied"), LONG).await.expect("heard");
        if what == "set" {
            assert_eq!(loads.fail(&a, REMEMBERS).await.ok(), Some(2));
        }
    }
    assert_eq!(loads.count(), 5);
}

#[tokio::test]
async fn it_is_told_to_who_could_have_got_it_and_to_nobody_else() {
    let ((cache, _hand), loads) = (alone().await, Loads::default());
    assert!(loads.fail(&cache, REMEMBERS).await.is_err());
    // Another type of error, of value, a fresh call, a batch.
    let other = cache.get_or_load(KEY, REMEMBERS, || async { Err::<u64, _>("another") }).await.expect_err("it fails");
    assert!(matches!(other, LoadError::Loader(why) if *why == "another"));
    assert!(loads.fail(&cache, REMEMBERS).await.is_err());
    assert_eq!(loads.count(), 2, "the other one was remembered in its place");
    let fresh = cache.with(CallOptions::new().fresh()).get_or_load(KEY, REMEMBERS, || async { Ok::<_, Oops>(3_u64) }).await;
    assert_eq!(fresh.expect("loaded").value, 3);
    cache.invalidate(KEY).await.expect("told");
    assert!(loads.fail(&cache, REMEMBERS).await.is_err());
    let batch = cache.get_or_load_many([KEY], REMEMBERS, async |_: Vec<String>| Ok::<_, Oops>([(KEY, 4_u64)])).await;
    assert_eq!(batch.expect("loaded"), [Some(4)]);
    assert_eq!(succeeds(&cache).await, 4);
}

#[tokio::test]
async fn what_is_stale_and_answers_is_better_than_an_error() {
    let ((cache, hand), loads) = (alone().await, Loads::default());
    let policy = REMEMBERS.stale_for(TTL).stale_if_error(Duration::from_millis(100));
    cache.set(KEY, 1_u64, policy).await.expect("stored");
    hand.advance(TTL);
    for count in 1..4 {
        assert_eq!(loads.fail(&cache, policy).await.ok(), Some(1));
        assert_eq!(loads.count(), count, "it is tried again as the policy says");
        hand.advance(Duration::from_millis(100));
    }
    // Kept, and not to be served: what brings a newer one may still look at it.
    let shown = REMEMBERS.stale_for(TTL);
    assert!(loads.fail(&cache, shown).await.is_err() && loads.fail(&cache, shown).await.is_err());
    assert_eq!((loads.count(), cache.stats().errors_remembered), (5, 0));
}

#[tokio::test]
async fn a_load_that_took_too_long_is_remembered_and_one_that_was_not_begun_is_not() {
    let bulkhead = Bulkhead::new(1).expect("one").queue(0);
    let builder = TieredCache::builder("test").load_limit(Duration::from_millis(20)).bulkhead(bulkhead);
    let cache = builder.build().await.expect("built");
    let hangs = async || cache.get_or_load(KEY, REMEMBERS, std::future::pending::<Result<u64, Oops>>).await;
    for _ in 0..2 {
        assert!(hangs().await.expect_err("too long").is_timeout());
    }
    assert_eq!((cache.stats().loads, cache.stats().errors_remembered), (1, 1));
    let gate = Gate::new();
    let running = tokio::spawn({
        let (cache, gate) = (cache.clone(), gate.clone());
        async move { cache.get_or_compute("another", FORGETS, || gate.wait()).await }
    });
    gate.arrived(1).await;
    let refused = async || cache.get_or_load("third", REMEMBERS, || async { Ok::<_, Oops>(1) }).await;
    assert!(refused().await.expect_err("no place").is_overloaded());
    gate.open();
    running.await.expect("no panic").expect("loaded");
    assert_eq!(refused().await.expect("loaded"), 1);
}

#[tokio::test]
async fn those_who_wait_are_told_and_what_is_invalidated_meanwhile_is_not_remembered() {
    // The value would have had tags that nobody knows: any of them ends it.
    for what in ["key", "tag"] {
        let ((cache, _hand), gate) = (alone().await, Gate::new());
        let call = || {
            let (cache, gate) = (cache.clone(), gate.clone());
            tokio::spawn(async move {
                let load = || async {
                    gate.wait().await;
                    Err::<u64, _>(Oops("no"))
                };
                cache.get_or_load(KEY, REMEMBERS, load).await
            })
        };
        let calls = [call(), call()];
        gate.arrived(1).await;
        eventually_async(LONG, "one waits", async || cache.stats().l1_misses == 2).await;
        match what {
            "key" => cache.invalidate(KEY).await.expect("told"),
            _ => cache.invalidate_tag("users").await.expect("told"),
        };
        gate.open();
        for call in calls {
            assert!(call.await.expect("no panic").is_err());
        }
        assert_eq!(cache.get_or_load(KEY, REMEMBERS, || async { Ok::<_, Oops>(1) }).await.ok(), Some(1), "{what}");
    }
}
