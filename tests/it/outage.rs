//! A server that dies, comes back or stalls under real caches: every call ends in time, and what it missed it is told.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::time::Duration;

use cachetier::{CallKind, Delivery, InProcess, Policy, TieredCache};
use cachetier_tests::{Flow, Flows, Log, Origin, Proxy, Reach as _, RedisServer, Which, eventually_async};
use tokio::time::{Instant, sleep};

const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
const READ_LIMIT: Duration = Duration::from_millis(50);
const COMMAND_LIMIT: Duration = Duration::from_millis(200);
const LOADER: Duration = Duration::from_millis(20);
/// What a busy machine adds; far below the limits that a call without one of its own would run into.
const SLACK: Duration = Duration::from_millis(700);

async fn cache(server: &RedisServer) -> TieredCache {
    let builder = TieredCache::builder("outage").reach(server.url());
    builder.read_limit(READ_LIMIT).command_limit(COMMAND_LIMIT).load_limit(LONG).build().await.expect("built")
}

/// A read whose loader takes its time.
async fn read(cache: &TieredCache, key: &str, origin: &Origin) -> u64 {
    let load = async || {
        sleep(LOADER).await;
        origin.load().await
    };
    cache.get_or_load(key, POLICY, load).await.expect("loaded")
}

/// The answer of a call that must have ended by then.
#[track_caller]
fn within<T>(limit: Duration, call: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let began = Instant::now();
        let answer = call.await;
        let took = began.elapsed();
        assert!(took <= limit + SLACK, "it took {took:?}, expected {limit:?} at most, and {SLACK:?} (asked at {caller})");
        answer
    }
}

/// Every verb, with a server that does not answer.
async fn end_in_time(cache: &TieredCache, origin: &Origin) {
    for key in ["cold:1", "cold:2", "cold:3"] {
        let loads = origin.loads();
        assert_eq!(within(READ_LIMIT + LOADER, read(cache, key, origin)).await, 2);
        assert_eq!(origin.loads(), loads + 1, "the loader answers");
    }
    assert_eq!(within(READ_LIMIT, cache.get::<u64>("cold:4")).await, None);
    for delivery in [
        within(COMMAND_LIMIT, cache.invalidate("k")).await,
        within(COMMAND_LIMIT, cache.invalidate_many(["k", "l"])).await,
        within(COMMAND_LIMIT, cache.invalidate_tag("t")).await,
        within(COMMAND_LIMIT, cache.invalidate_prefix("p:")).await,
        within(COMMAND_LIMIT, cache.remove("k")).await.map(|removed| removed.delivery),
        within(COMMAND_LIMIT, cache.set("put", 9_u64, POLICY)).await,
    ] {
        assert_eq!(delivery, Ok(Delivery::Pending));
    }
    assert!(cache.stats().pending > 0);
    assert_eq!(within(READ_LIMIT, cache.get::<u64>("put")).await, None, "what may not have been stored is not kept");
}

/// Both are in step again: what one does the other sees, and what they hold are hits.
async fn recover(a: &TieredCache, b: &TieredCache, origin: &Origin) {
    eventually_async(LONG, "the pending ones are told", async || a.stats().pending == 0).await;
    eventually_async(LONG, "the other instance stops serving the old value", async || read(b, "k", origin).await == 2).await;
    assert_eq!(read(a, "k", origin).await, 2);
    let heard = async || {
        let delivery = a.set("again", 7_u64, POLICY).await;
        matches!(delivery, Ok(Delivery::Applied(_))) && b.get("again").await == Some(7_u64)
    };
    eventually_async(LONG, "the lane carries again", heard).await;
}

#[tokio::test]
async fn a_killed_server_slows_no_call_down_and_is_told_everything_when_it_is_back() {
    let (mut server, origin) = (RedisServer::start(), Origin::at(1));
    let (a, b) = (cache(&server).await, cache(&server).await);
    assert_eq!((read(&a, "k", &origin).await, read(&b, "k", &origin).await), (1, 1));
    server.kill();
    origin.commit(2);
    assert_eq!(within(COMMAND_LIMIT, a.invalidate("k")).await, Ok(Delivery::Pending));
    assert_eq!(within(READ_LIMIT + LOADER, read(&a, "k", &origin)).await, 2, "who invalidated it sees it");
    end_in_time(&a, &origin).await;
    assert_eq!(within(COMMAND_LIMIT, a.clear()).await, Ok(Delivery::Pending));
    server.restart();
    recover(&a, &b, &origin).await;
}

#[tokio::test]
async fn a_stopped_server_delays_no_call_beyond_its_limit_and_is_told_everything_when_it_goes_on() {
    let (mut server, origin) = (RedisServer::start(), Origin::at(1));
    let (a, b) = (cache(&server).await, cache(&server).await);
    assert_eq!((read(&a, "k", &origin).await, read(&b, "k", &origin).await), (1, 1));
    server.stop();
    origin.commit(2);
    assert_eq!(within(COMMAND_LIMIT, a.invalidate("k")).await, Ok(Delivery::Pending));
    assert_eq!(within(READ_LIMIT + LOADER, read(&a, "k", &origin)).await, 2, "who invalidated it sees it");
    end_in_time(&a, &origin).await;
    server.resume();
    recover(&a, &b, &origin).await;
}

#[tokio::test]
async fn a_cache_begins_without_its_server_and_finds_it_later() {
    let (mut server, origin) = (RedisServer::start(), Origin::at(2));
    server.kill();
    let cache = within(Duration::from_secs(1) + COMMAND_LIMIT, cache(&server)).await;
    end_in_time(&cache, &origin).await;
    server.restart();
    eventually_async(LONG, "the pending ones are told", async || cache.stats().pending == 0).await;
    let kept = async || {
        let fills = cache.stats().fills;
        let _ = cache.invalidate("late").await;
        assert_eq!(read(&cache, "late", &origin).await, 2);
        cache.stats().fills > fills
    };
    eventually_async(LONG, "the shared tier keeps what is loaded", kept).await;
}

#[tokio::test]
async fn a_cache_is_closed_in_time_while_its_server_is_stopped() {
    let (mut server, origin) = (RedisServer::start(), Origin::at(2));
    let cache = cache(&server).await;
    server.stop();
    assert_eq!(cache.invalidate("k").await, Ok(Delivery::Pending));
    let closed = within(Duration::from_millis(100), cache.close(Duration::from_millis(100))).await;
    assert!(matches!(closed, Err(cachetier::CacheError::Unfinished { invalidations: 1, .. })), "{closed:?}");
    assert_eq!(within(LOADER, read(&cache, "k", &origin)).await, 2);
    server.resume();
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_confirmed_is_told_in_the_log_when_the_last_handle_is_dropped() {
    for close in [false, true] {
        let log = Log::default();
        let _listening = log.listen();
        let tier = InProcess::new();
        let cache = TieredCache::builder("outage").in_process(&tier).build().await.expect("built");
        tier.hang(CallKind::Bump);
        assert_eq!(cache.invalidate_many(["a", "b"]).await, Ok(Delivery::Pending));
        if close {
            assert!(cache.close(Duration::from_secs(1)).await.is_err());
        } else {
            let another = cache.clone();
            drop(another);
        }
        assert_eq!(log.with("is lost"), Vec::<String>::new());
        drop(cache);
        let lost = async || log.with("is lost").len() == 1;
        eventually_async(LONG, "the log says so", lost).await;
        assert!(log.with("is lost")[0].contains("invalidations=2"), "{:?}", log.with("is lost"));
    }
}

/// With a proof and nobody to ask for their stamps, suspect copies would all be loaded.
#[tokio::test]
async fn copies_are_checked_when_the_subscription_is_back_though_the_commands_were_in_a_black_hole() {
    const COPIES: usize = 20;
    // What a busy machine leaves unanswered for a moment is loaded, too.
    const PATIENT: Duration = Duration::from_secs(2);
    let (server, origin) = (RedisServer::start(), Origin::at(1));
    let proxy = Proxy::on_socket(&server);
    let builder = TieredCache::builder("outage").reach(proxy.url()).read_limit(PATIENT).command_limit(PATIENT);
    let cache = builder.build().await.expect("built");
    let read_all = async || {
        for copy in 0..COPIES {
            assert_eq!(read(&cache, &format!("k{copy}"), &origin).await, 1);
        }
    };
    read_all().await;
    proxy.now(Which::Plain, Flows::both(Flow::Swallow));
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let count = u64::try_from(COPIES).expect("few");
    let checked = async || {
        read_all().await;
        cache.stats().suspects_same >= count
    };
    eventually_async(LONG, "all are checked", checked).await;
    assert_eq!(origin.loads(), COPIES, "{}", cache.stats());
}

/// Who speaks to it next says how far the lane had come, by which the server finds out that it has forgotten something.
#[tokio::test]
async fn a_server_that_comes_back_with_an_old_copy_begins_another_era_in_which_nothing_of_the_one_before_is_usable() {
    let (mut server, origin) = (RedisServer::start(), Origin::at(1));
    let (a, b) = (cache(&server).await, cache(&server).await);
    assert_eq!(read(&b, "k", &origin).await, 1);
    server.save();
    origin.commit(2);
    let Ok(Delivery::Applied(forgotten)) = a.invalidate("k").await else { panic!("it is there") };
    server.kill();
    server.restart_from_saved();
    let mut told = None;
    eventually_async(LONG, "it is told again", async || {
        if let Ok(Delivery::Applied(token)) = a.invalidate("another").await {
            told = Some(token);
        }
        told.is_some()
    })
    .await;
    let told = told.expect("a token");
    assert_eq!(told.partial_cmp(&forgotten), None, "another era");
    for cache in [&a, &b] {
        cache.wait_for(told, LONG).await.expect("in step");
        assert_eq!(read(cache, "k", &origin).await, 2);
    }
}
