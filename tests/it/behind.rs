//! Fills behind the caller's back: who loads is answered before the shared tier has stored it, and nothing that is refused there stays here.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::time::Duration;

use cachetier::testing::Group;
use cachetier::{CacheError, Call, CallKind, CallOptions, InProcess, Plan, Policy, TieredCache};
use cachetier_tests::{Gate, Oops, Tier, eventually_async, over_shared};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600)).jitter(0);

async fn load(cache: &TieredCache, key: &str, value: u64) -> u64 {
    cache.get_or_load(key, POLICY.tags(["t"]), || async { Ok::<_, Oops>(value) }).await.expect("loaded")
}

async fn life(cache: &TieredCache, key: &str) -> Option<Duration> {
    cache.inspect(key).await.expect("a key").here.map(|copy| copy.entry.life)
}

/// Two instances over a tier whose fills wait at the gate, before they run.
async fn gated(bytes: usize) -> (Tier, Gate, TieredCache, TieredCache) {
    let inside = InProcess::new();
    let tier = Tier::in_process(&inside);
    let gate = Gate::new();
    let shut = gate.clone();
    inside.script_calls(move |call: &Call<'_>| {
        let gate = shut.clone();
        let fills = matches!(call.kind, CallKind::Fill | CallKind::Refill | CallKind::Renew);
        if fills { Plan::go().after(async move { gate.wait().await }) } else { Plan::go() }
    });
    let built = async || tier.builder().write_behind(bytes).max_staleness(2 * SECOND).build().await.expect("built");
    let (a, b) = (built().await, built().await);
    (tier, gate, a, b)
}

#[tokio::test]
async fn who_loads_is_answered_at_once_and_the_copy_becomes_a_whole_one() {
    let (tier, gate, a, b) = gated(1 << 20).await;
    assert_eq!(load(&a, "k", 1).await, 1);
    gate.arrived(1).await;
    assert!(a.get("k").await == Some(1_u64) && load(&a, "k", 2).await == 1, "it is served here");
    assert!(life(&a, "k").await.is_some_and(|life| life <= 2 * SECOND));
    assert!(tier.holds_ticket("k") && b.get::<u64>("k").await.is_none());
    gate.open();
    a.flush(LONG).await.expect("flushed");
    assert_eq!((a.get("k").await, b.get("k").await), (Some(1_u64), Some(1_u64)));
    assert!(life(&a, "k").await.is_some_and(|life| life > 3_000 * SECOND));
    assert_eq!((a.stats().fills, a.stats().loads, a.stats().flights), (1, 1, 0));
}

#[tokio::test]
async fn what_is_refused_or_invalidated_meanwhile_does_not_stay() {
    for by in [None, Some("key"), Some("tag"), Some("expire")] {
        let (tier, gate, a, b) = gated(1 << 20).await;
        load(&a, "k", 1).await;
        gate.arrived(1).await;
        let token = match by {
            // Nobody tells of it, and the tier refuses the fill all the same.
            None => {
                assert!(tier.evict("k"));
                None
            }
            Some("key") => Some(b.invalidate("k").await),
            Some("tag") => Some(b.invalidate_tag("t").await),
            Some(_) => Some(b.expire("k").await),
        };
        if let Some(token) = token {
            a.wait_for(token.expect("told").confirmed().expect("applied"), LONG).await.expect("heard");
            assert_eq!(a.get::<u64>("k").await, None, "{by:?}");
        }
        gate.open();
        a.flush(LONG).await.expect("flushed");
        assert_eq!((a.get::<u64>("k").await, b.get::<u64>("k").await), (None, None), "{by:?}");
        assert_eq!(load(&b, "k", 2).await, 2);
    }
}

#[tokio::test]
async fn what_has_no_room_is_waited_for() {
    let (_tier, gate, a, _b) = gated(200).await;
    load(&a, "first", 1).await;
    let text = "x".repeat(200);
    let second = a.get_or_load("second", POLICY, || async { Ok::<_, Oops>(text) });
    let look = async {
        gate.arrived(2).await;
        assert_eq!(a.get::<String>("second").await, None, "it is not answered yet");
        gate.open();
    };
    let (second, ()) = tokio::join!(second, look);
    assert_eq!(second.expect("loaded").len(), 200);
    a.flush(LONG).await.expect("flushed");
    // What has arrived leaves its room to others; and a fresh call waits in any case.
    load(&a, "third", 3).await;
    a.flush(LONG).await.expect("flushed");
    assert!(a.with(CallOptions::new().fresh()).get_or_load("third", POLICY, || async { Ok::<_, Oops>(4_u64) }).await.is_ok());
    assert_eq!((a.stats().fills, a.get("third").await), (4, Some(4_u64)));
}

#[tokio::test(start_paused = true)]
async fn what_gets_no_answer_is_kept_briefly() {
    let group = Group::builder().instances(2).configure(|builder| builder.write_behind(1 << 20)).build().await;
    let (a, b) = (group.instance(0), group.instance(1));
    for plan in [Plan::lost as fn() -> Plan, Plan::lost_reply] {
        group.tier().script_calls(move |call: &Call<'_>| if call.kind == CallKind::Fill { plan() } else { Plan::go() });
        load(&a, "k", 1).await;
        group.settle().await;
        assert_eq!(a.get("k").await, Some(1_u64));
        group.tier().script_calls(|_: &Call<'_>| Plan::go());
        group.jump(2 * SECOND).await;
        assert_eq!(life(&a, "k").await, Some(Duration::ZERO));
        b.invalidate("k").await.expect("told");
        group.settle().await;
        assert_eq!(a.get::<u64>("k").await, None);
    }
}

#[tokio::test]
async fn over_a_server_many_loads_are_all_stored() {
    over_shared(async |tier| {
        let a = tier.builder().write_behind(1 << 10).build().await.expect("built");
        for number in 0..200_u64 {
            assert_eq!(load(&a, &format!("k:{number}"), number).await, number);
        }
        a.flush(LONG).await.expect("flushed");
        eventually_async(LONG, "all are stored", async || a.stats().fills == 200).await;
        let b = tier.cache().await;
        for number in 0..200_u64 {
            assert_eq!(b.get(&format!("k:{number}")).await, Some(number));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_made_stale_meanwhile_is_not_brought_back_by_a_fill_without_an_answer() {
    let group = Group::builder().instances(1).configure(|builder| builder.write_behind(1 << 20)).build().await;
    let cache = group.instance(0);
    let gate = Gate::new();
    let shut = gate.clone();
    group.tier().script_calls(move |call: &Call<'_>| {
        let gate = shut.clone();
        if call.kind == CallKind::Fill { Plan::lost().after(async move { gate.wait().await }) } else { Plan::go() }
    });
    load(&cache, "k", 1).await;
    gate.arrived(1).await;
    // Heard as well: what comes after it is on its own.
    let token = cache.expire("k").await.expect("told").confirmed().expect("applied");
    cache.wait_for(token, LONG).await.expect("heard");
    gate.open();
    cache.flush(LONG).await.expect("flushed");
    assert_eq!(cache.get::<u64>("k").await, None);
}

/// What it brings would else be lost, and the older value served everywhere: found on a server with large values, whose fills a probe overtakes.
#[tokio::test]
async fn a_fresh_call_is_not_undone_by_a_fill_that_was_on_its_way() {
    let fresh = async |cache: &TieredCache| {
        let fresh = cache.with(CallOptions::new().fresh());
        fresh.get_or_load("k", POLICY, || async { Ok::<_, Oops>(2_u64) }).await.expect("loaded").value
    };
    is_not_undone(fresh).await;
    let batch = async |cache: &TieredCache| {
        let fresh = cache.with(CallOptions::new().fresh());
        fresh.get_or_load_many(["k"], POLICY, async |_| Ok::<_, Oops>([("k", 2_u64)])).await.expect("loaded")[0].unwrap_or(0)
    };
    is_not_undone(batch).await;
}

async fn is_not_undone(fresh: impl AsyncFn(&TieredCache) -> u64) {
    let (tier, gate, a, b) = gated(1 << 20).await;
    assert_eq!(load(&a, "k", 1).await, 1);
    gate.arrived(1).await;
    let opened = async {
        tokio::task::yield_now().await;
        gate.open();
    };
    assert_eq!(tokio::join!(fresh(&a), opened).0, 2);
    a.flush(LONG).await.expect("flushed");
    assert_eq!((a.get("k").await, b.get("k").await, tier.cache().await.get("k").await), (Some(2_u64), Some(2_u64), Some(2_u64)));
}

#[tokio::test]
async fn a_fresh_call_that_is_dropped_while_it_waits_for_a_fill_leaves_no_trace() {
    let (_tier, gate, a, b) = gated(1 << 20).await;
    assert_eq!(load(&a, "k", 1).await, 1);
    gate.arrived(1).await;
    let fresh = a.with(CallOptions::new().fresh());
    let fresh = fresh.get_or_load("k", POLICY, || async { Ok::<_, Oops>(2_u64) });
    assert!(tokio::time::timeout(Duration::from_millis(20), fresh).await.is_err());
    assert_eq!((a.stats().loads, a.stats().flights), (1, 0));
    gate.open();
    a.flush(LONG).await.expect("flushed");
    assert_eq!((a.get("k").await, b.get("k").await), (Some(1_u64), Some(1_u64)));
}

#[tokio::test]
async fn what_is_on_its_way_counts_by_what_is_held_and_as_one_write() {
    let (_tier, gate, a, _) = gated(200_000).await;
    // Compressed it is a few bytes; the value itself is held.
    let text = "x".repeat(150_000);
    let load = async |key: &str| a.get_or_compute(key, POLICY, || async { text.clone() }).await.expect("loaded");
    load("a").await;
    gate.arrived(1).await;
    assert!(matches!(a.flush(Duration::from_millis(20)).await, Err(CacheError::Unfinished { writes: 1, invalidations: 0 })));
    let waits = tokio::time::timeout(Duration::from_millis(50), load("b")).await;
    assert!(waits.is_err(), "there is no room for another one");
    gate.open();
    a.flush(LONG).await.expect("flushed");
}
