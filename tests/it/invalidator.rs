//! An invalidator beside the caches of a service: what it says reaches them, now or as soon as their tier can be reached.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, clippy::panic, reason = "what fails here is a test that has failed")]

use std::time::Duration;

use cachetier::{CacheError, Call, CallKind, Delivery, InProcess, Invalidator, KeyError, Plan, Policy, TieredCache, Token};
use cachetier_tests::{Gate, Origin, Over, Reach as _, RedisServer, Tier, eventually_async, over_shared};
use tokio::runtime::Handle;

const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

async fn read(cache: &TieredCache, key: &str, origin: &Origin) -> u64 {
    cache.get_or_load(key, POLICY.tags(["users"]), || origin.load()).await.expect("loaded")
}

#[track_caller]
fn token(delivery: Result<Delivery, CacheError>) -> Token {
    match delivery {
        Ok(Delivery::Applied(token)) => token,
        other => panic!("expected it applied, found {other:?}"),
    }
}

/// Finds the tier away whenever something is to be invalidated.
fn unreachable(tier: &InProcess) {
    tier.script_calls(|call: &Call<'_>| if call.kind == CallKind::Bump { Plan::away() } else { Plan::go() });
}

#[tokio::test]
async fn what_it_invalidates_no_instance_serves_any_more() {
    over_shared(async |tier| {
        let ((a, b), worker, origin) = (tier.pair().await, tier.invalidator().await, Origin::at(0));
        for version in 1..=60 {
            for cache in [&a, &b] {
                assert_eq!(read(cache, "user:7", &origin).await, version - 1);
            }
            origin.commit(version);
            let told = token(match version % 6 {
                0 => worker.invalidate("user:7").await,
                1 => worker.invalidate_many(["user:8", "user:7"]).await,
                2 => worker.invalidate_tag("users").await,
                3 => worker.invalidate_tags(["orgs", "users"]).await,
                4 => worker.invalidate_prefix("user:").await,
                _ => worker.clear().await,
            });
            for cache in [&a, &b] {
                assert_eq!(cache.wait_for(told, LONG).await, Ok(()));
                assert_eq!(read(cache, "user:7", &origin).await, version, "{told}");
            }
        }
        assert_eq!((a.stats().lane_lost, b.stats().lane_lost), (0, 0), "its messages continue the line");
        let stats = worker.stats();
        assert_eq!((stats.invalidations, stats.faults, stats.pending), (80, 0, 0));
        assert_eq!(stats.to_string(), "invalidations: 80, faults: 0, pending: 0, told again: 0");
    })
    .await;
}

#[tokio::test]
async fn a_load_that_began_before_is_not_stored_after_it() {
    over_shared(async |tier| {
        let (cache, worker, origin, gate) = (tier.cache().await, tier.invalidator().await, Origin::at(1), Gate::new());
        let load = cache.get_or_load("k", POLICY, || origin.load_slowly(&gate));
        let overtake = async {
            gate.arrived(1).await;
            origin.commit(2);
            let told = token(worker.invalidate("k").await);
            assert_eq!(cache.wait_for(told, LONG).await, Ok(()));
            gate.open();
        };
        assert_eq!(tokio::join!(load, overtake).0.expect("loaded"), 1);
        assert_eq!(read(&cache, "k", &origin).await, 2);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_confirmed_waits_and_is_told_when_the_tier_is_back() {
    let memory = InProcess::new();
    let tier = Tier::in_process(&memory);
    let (cache, worker, origin) = (tier.cache().await, tier.invalidator().await, Origin::at(1));
    read(&cache, "k", &origin).await;
    origin.commit(2);
    unreachable(&memory);
    assert_eq!(worker.invalidate("k").await, Ok(Delivery::Pending));
    assert_eq!(worker.invalidate("k").await, Ok(Delivery::Pending));
    assert_eq!(worker.invalidate_tag("t").await.and_then(Delivery::confirmed), Err(CacheError::Unconfirmed));
    assert_eq!(worker.stats().pending, 2, "merged");
    let unfinished = CacheError::Unfinished { writes: 0, invalidations: 2 };
    assert_eq!(worker.flush(Duration::from_millis(10)).await, Err(unfinished));
    assert_eq!(read(&cache, "k", &origin).await, 1, "nobody could tell it");
    memory.clear_script();
    assert_eq!(worker.flush(LONG).await, Ok(()));
    assert_eq!(worker.stats().pending, 0);
    eventually_async(LONG, "the cache is told", async || read(&cache, "k", &origin).await == 2).await;
}

#[tokio::test]
async fn what_is_refused_to_a_strict_caller_is_told_all_the_same() {
    let memory = InProcess::new();
    let (a, b) = Tier::in_process(&memory).pair().await;
    let origin = Origin::at(1);
    assert_eq!((read(&a, "k", &origin).await, read(&b, "k", &origin).await), (1, 1));
    let applied = a.invalidate("other").await.and_then(Delivery::confirmed);
    assert!(applied.is_ok());
    origin.commit(2);
    unreachable(&memory);
    assert_eq!(a.invalidate("k").await.and_then(Delivery::confirmed), Err(CacheError::Unconfirmed));
    assert_eq!(read(&a, "k", &origin).await, 2, "it holds where it was asked for");
    memory.clear_script();
    assert_eq!(a.flush(LONG).await, Ok(()));
    eventually_async(LONG, "the other one is told", async || read(&b, "k", &origin).await == 2).await;
}

#[tokio::test]
async fn a_cancelled_invalidation_is_carried_out_all_the_same() {
    let (memory, gate) = (InProcess::new(), Gate::new());
    let tier = Tier::in_process(&memory);
    let (cache, worker, origin) = (tier.cache().await, tier.invalidator().await, Origin::at(1));
    read(&cache, "k", &origin).await;
    origin.commit(2);
    let held = gate.clone();
    memory.script_calls(move |call: &Call<'_>| {
        let held = held.clone();
        if call.kind == CallKind::Bump { Plan::go().after(async move { held.wait().await }) } else { Plan::go() }
    });
    let call = tokio::spawn({
        let worker = worker.clone();
        async move { worker.invalidate("k").await }
    });
    gate.arrived(1).await;
    memory.clear_script();
    call.abort();
    assert!(call.await.expect_err("it was aborted").is_cancelled());
    assert_eq!(worker.flush(LONG).await, Ok(()));
    eventually_async(LONG, "the cache is told", async || read(&cache, "k", &origin).await == 2).await;
    gate.open();
}

#[tokio::test]
async fn it_can_be_used_as_soon_as_it_is_connected() {
    if !Over::is_none_of(&[Over::Sentinel, Over::Cluster], "that takes the address of one server") {
        return;
    }
    let server = RedisServer::start();
    for _ in 0..20 {
        let worker = Invalidator::connect(server.url(), "shop").await.expect("connected");
        token(worker.invalidate("k").await);
    }
}

#[tokio::test]
async fn it_begins_without_its_server_and_tells_it_later() {
    let mut server = RedisServer::start();
    let cache = TieredCache::builder("shop").reach(server.url()).build().await.expect("built");
    let origin = Origin::at(1);
    read(&cache, "k", &origin).await;
    server.kill();
    let builder = Invalidator::builder("shop").reach(server.url()).connect_limit(Duration::from_millis(100));
    let worker = builder.build().await.expect("built");
    origin.commit(2);
    assert_eq!(worker.invalidate("k").await, Ok(Delivery::Pending));
    server.restart();
    assert_eq!(worker.flush(LONG).await, Ok(()));
    eventually_async(LONG, "the cache is told", async || read(&cache, "k", &origin).await == 2).await;
    assert!(worker.stats().faults > 0);
}

#[tokio::test]
async fn it_acts_on_the_database_of_its_address_alone() {
    if !Over::is_none_of(&[Over::Cluster], "it has one database") {
        return;
    }
    let server = RedisServer::start();
    let third = server.url_of(3);
    let mut caches = Vec::new();
    for url in [server.url(), third.clone()] {
        caches.push(TieredCache::builder("shop").reach(url).build().await.expect("built"));
    }
    let origin = Origin::at(1);
    for cache in &caches {
        read(cache, "k", &origin).await;
    }
    origin.commit(2);
    let worker = Invalidator::builder("shop").reach(third).build().await.expect("connected");
    let told = token(worker.clear().await);
    assert_eq!(caches[1].wait_for(told, LONG).await, Ok(()));
    assert_eq!((read(&caches[0], "k", &origin).await, read(&caches[1], "k", &origin).await), (1, 2));
}

#[tokio::test]
async fn what_cannot_be_used_is_told_in_the_words_of_the_cache() {
    let secret = "s3cr3t";
    for (url, namespace) in [
        ("redis://127.0.0.1/", "sh{op}"),
        ("redis://127.0.0.1/", ""),
        ("http://127.0.0.1/", "shop"),
        ("redis://user:s3cr3t@127.0.0.1/first", "shop"),
        ("redis://user:s3cr3t@127.0.0.1/-1", "shop"),
        ("rediss://:s3cr3t@127.0.0.1/?cert=s3cr3t", "shop"),
    ] {
        let theirs = TieredCache::builder(namespace).redis(url).build().await.expect_err("unusable");
        let ours = Invalidator::connect(url, namespace).await.expect_err("unusable");
        assert_eq!(ours, theirs);
        let shown = format!("{ours:?} {ours} {:?}", Invalidator::builder(namespace).redis(url));
        assert!(!shown.contains(secret), "{shown}");
    }
    let alone = Invalidator::builder("shop").build().await.expect_err("nobody to tell");
    assert_eq!(alone.to_string(), "redis is missing, expected the address of the server that the caches are over");

    let tier = InProcess::new();
    let worker = Invalidator::builder("shop").in_process(&tier).build().await.expect("built");
    assert_eq!(format!("{worker:?}"), "Invalidator { namespace: \"shop\", .. }");
    let bad = |error| Err(CacheError::Key(error));
    let long = "k".repeat(4_097);
    assert_eq!(worker.invalidate("").await, bad(KeyError::Empty));
    assert_eq!(worker.invalidate_many(["k", &long]).await, bad(KeyError::TooLong { length: 4_097, limit: 4_096 }));
    assert_eq!(worker.invalidate_tag("").await, bad(KeyError::Empty));
    let inside = KeyError::PrefixInsideSegment { prefix: "user".to_owned() };
    assert_eq!(worker.invalidate_prefix("user").await, bad(inside));
    assert_eq!(worker.stats().invalidations, 0, "none of a call is sent whose key is unusable");
    assert!(matches!(worker.invalidate_many::<&str>([]).await, Ok(Delivery::Applied(_))), "nothing to do");
}

#[tokio::test]
async fn a_closed_one_says_so_to_all_its_handles() {
    over_shared(async |tier| {
        let (cache, worker, origin) = (tier.cache().await, tier.invalidator().await, Origin::at(1));
        read(&cache, "k", &origin).await;
        assert_eq!(worker.clone().close(LONG).await, Ok(()));
        assert_eq!(worker.invalidate("k").await, Err(CacheError::Closed));
        assert_eq!(worker.invalidate_many(["k"]).await, Err(CacheError::Closed));
        assert_eq!(worker.invalidate_tags(["t"]).await, Err(CacheError::Closed));
        assert_eq!(worker.invalidate_prefix("p:").await, Err(CacheError::Closed));
        assert_eq!(worker.clear().await, Err(CacheError::Closed));
        assert_eq!(worker.close(LONG).await, Ok(()), "closing again is nothing");
        assert_eq!(read(&cache, "k", &origin).await, 1);
    })
    .await;
}

#[tokio::test]
async fn it_has_one_connection_and_leaves_nothing_behind() {
    if !Over::is_none_of(&[Over::Cluster], "its nodes are asked over one more") {
        return;
    }
    let server = RedisServer::start();
    let tasks = Handle::current().metrics();
    let before = tasks.num_alive_tasks();
    for close in [true, false] {
        let worker = Invalidator::builder("shop").reach(server.url()).build().await.expect("built");
        token(worker.invalidate("k").await);
        assert_eq!(server.connections(), 2, "its own, and ours");
        if close {
            assert_eq!(worker.close(LONG).await, Ok(()));
        } else {
            drop(worker);
        }
        eventually_async(LONG, "only our own connection is left", async || server.connections() == 1).await;
        eventually_async(LONG, "its tasks are gone", async || tasks.num_alive_tasks() <= before).await;
    }
}

#[test]
fn every_call_goes_from_thread_to_thread() {
    fn both<T: Send + Sync>() {}
    fn sent<T: Send>(_: T) {}
    both::<Invalidator>();
    let _ = |worker: Invalidator| {
        sent(worker.invalidate("k"));
        sent(worker.invalidate_many(["k"]));
        sent(worker.invalidate_tags(["t"]));
        sent(worker.invalidate_prefix("p:"));
        sent(worker.clear());
        sent(worker.flush(LONG));
        sent(worker.close(LONG));
    };
    let _ = |cache: TieredCache, token: Token| sent(async move { cache.wait_for(token, LONG).await });
}
