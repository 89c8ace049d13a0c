//! A server that is silent or slow: asked until that is clear, then left alone, and found again.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::time::Duration;

use cachetier::{Breaker, BreakerState, CacheBuilder, Delivery, Policy, TieredCache};
use cachetier_tests::{Flow, Flows, Log, Proxy, Reach as _, RedisServer, Reply, Which, beside_k, eventually_async};
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
const READ_LIMIT: Duration = Duration::from_millis(100);

fn builder(proxy: &Proxy) -> CacheBuilder {
    let builder = TieredCache::builder("breaker").reach(proxy.url());
    builder.read_limit(READ_LIMIT).command_limit(LONG).load_limit(LONG)
}

/// Asks for keys that are nowhere, one after the other, and returns how long each took.
async fn misses(cache: &TieredCache, from: usize, count: usize) -> Vec<Duration> {
    let mut took = Vec::new();
    // Each part of a namespace has a breaker of its own.
    for key in beside_k("cold:").skip(from).take(count) {
        let begun = Instant::now();
        assert_eq!(cache.get_or_compute(&key, POLICY, async || 1_u32).await.expect("loaded"), 1);
        took.push(begun.elapsed());
    }
    took
}

#[tokio::test]
async fn a_slow_server_is_left_alone_after_five_calls_and_asked_again_when_it_is_well() {
    let log = Log::default();
    let _listening = log.listen();
    let server = RedisServer::start();
    let proxy = Proxy::on_socket(&server);
    let cache = builder(&proxy).build().await.expect("built");
    assert!(cache.set("k", 7_u32, POLICY).await.expect("a key").confirmed().is_ok());
    assert_eq!(cache.stats().breaker, BreakerState::Closed);

    // Longer than a read waits, and far shorter than a command may take: the connection stays.
    proxy.now(Which::Plain, Flows { down: Flow::Delay(READ_LIMIT * 2), up: Flow::Pass });
    let took = misses(&cache, 0, 5).await;
    assert!(took.iter().all(|took| *took >= READ_LIMIT), "{took:?}");
    eventually_async(LONG, "it is open", async || cache.stats().breaker == BreakerState::Open).await;

    // Nobody waits for it any more, but for whom it is tried with: the pauses last a second and more by now.
    let (before, begun) = (cache.stats(), Instant::now());
    let waited = misses(&cache, 100, 50).await.iter().filter(|took| **took >= READ_LIMIT).count();
    let pauses = begun.elapsed().as_millis() / 375;
    assert!(waited as u128 <= pauses + 1, "{waited} have waited in {:?}", begun.elapsed());
    let after = cache.stats();
    assert!(after.l2_away - before.l2_away >= 40, "{after}");
    assert_eq!((after.breaker_opened, after.loads - before.loads), (1, 50), "{after}");

    // What must be told is told in any case.
    assert!(matches!(cache.invalidate("k").await, Ok(Delivery::Applied(_))));

    proxy.restore();
    eventually_async(Duration::from_secs(5), "it is closed again", async || {
        misses(&cache, 200, 1).await;
        let _ = cache.invalidate("k").await;
        cache.stats().breaker == BreakerState::Closed
    })
    .await;
    let fills = cache.stats().fills;
    misses(&cache, 300, 1).await;
    assert_eq!(cache.stats().fills, fills + 1, "values are stored again");
    assert_eq!(log.with("silent or slow").len(), 1, "{:?}", log.with(""));
}

#[tokio::test]
async fn without_a_breaker_each_miss_waits_for_the_slow_server() {
    let server = RedisServer::start();
    let proxy = Proxy::on_socket(&server);
    let cache = builder(&proxy).breaker(Breaker::off()).build().await.expect("built");
    proxy.now(Which::Plain, Flows { down: Flow::Delay(READ_LIMIT * 2), up: Flow::Pass });
    let took = misses(&cache, 0, 10).await;
    assert!(took.iter().all(|took| *took >= READ_LIMIT), "{took:?}");
    assert_eq!(cache.stats().breaker_opened, 0);
}

#[tokio::test]
async fn what_a_server_refuses_does_not_open_it() {
    let server = RedisServer::start();
    let cache = TieredCache::builder("breaker").reach(server.url()).read_limit(LONG).build().await.expect("built");
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    misses(&cache, 0, 50).await;
    let stats = cache.stats();
    assert_eq!((stats.breaker_opened, stats.breaker), (0, BreakerState::Closed), "{stats}");
    assert!(stats.l2_full >= 50, "{stats}");
    assert!(matches!(cache.invalidate("cold:1").await, Ok(Delivery::Applied(_))), "what must be told is told on a full server");
}

#[tokio::test]
async fn a_rule_that_cannot_be_used_is_an_error_of_the_builder() {
    let error = TieredCache::builder("breaker").breaker(Breaker::new().in_a_row(0)).build().await.unwrap_err();
    assert_eq!((error.field(), error.to_string().as_str()), ("breaker", "breaker is 0 failures in a row, expected 1 or more"));
}

#[tokio::test]
async fn what_is_set_over_a_slow_server_is_stored_all_the_same() {
    let server = RedisServer::start();
    let proxy = Proxy::on_socket(&server);
    let cache = builder(&proxy).build().await.expect("built");
    proxy.now(Which::Plain, Flows { down: Flow::Delay(READ_LIMIT * 2), up: Flow::Pass });
    misses(&cache, 0, 6).await;
    assert_ne!(cache.stats().breaker, BreakerState::Closed);
    for (key, bytes) in [("small", 10), ("medium", 10_000)] {
        assert!(matches!(cache.set(key, "x".repeat(bytes), POLICY).await, Ok(Delivery::Applied(_))), "{key}");
        assert_eq!(server.command(&["EXISTS", &format!("ct:breaker:v:{key}")]), Reply::Int(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_take_long_for_their_size_open_nothing() {
    let server = RedisServer::start();
    let build = || TieredCache::builder("breaker").reach(server.url()).command_limit(LONG);
    let filler = build().read_limit(LONG).build().await.expect("built");
    let (text, keys) = ("x".repeat(60 << 10), (0..1_000).map(|key| format!("k:{key}")).collect::<Vec<_>>());
    for key in &keys {
        assert!(matches!(filler.set(key, text.clone(), POLICY).await, Ok(Delivery::Applied(_))));
    }
    let reader = build().read_limit(Duration::from_millis(5)).l1_max_bytes(1 << 10).build().await.expect("built");
    for _ in 0..10 {
        let _ = reader.get_many::<String>(keys.iter()).await;
    }
    assert_eq!(reader.stats().breaker_opened, 0, "{}", reader.stats());
}
