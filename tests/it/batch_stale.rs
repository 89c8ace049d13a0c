//! Keys of a batch whose value is stale, or which another instance is at: each as a call of its own would find it.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cachetier::testing::Group;
use cachetier::{Call, CallKind, Clock, LearnedTtl, LoadError, Plan, Policy, Rules, TieredCache};
use cachetier_tests::{Gate, Oops, under_way};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(60)).jitter(0);
const KEPT: Policy = POLICY.stale_for(Duration::from_secs(3_600));

type Loaded = Result<u64, &'static str>;

/// One key, by a call of its own or by a batch.
async fn load(
    batch: bool,
    cache: &TieredCache,
    key: &str,
    policy: impl Rules<u64>,
    loaded: Loaded,
) -> Result<u64, LoadError<Oops>> {
    if !batch {
        return cache.get_or_load(key, policy, async || loaded.map_err(Oops)).await;
    }
    let load =
        async |keys: Vec<String>| loaded.map_err(Oops).map(|value| keys.into_iter().map(|key| (key, value)).collect::<Vec<_>>());
    Ok(cache.get_or_load_many([key], policy, load).await?.into_iter().flatten().next().expect("an answer"))
}

/// Who loads what is stale under its lease, and is dropped. What the next one comes to, who has waited for it, with the instance's counts.
async fn taken_over(batch: bool, policy: Policy, next: Loaded) -> (Result<u64, String>, [u64; 4]) {
    let group = Group::new(2).await;
    let (a, b) = (group.instance(0), group.instance(1));
    b.get_or_load("k", policy, async || Ok::<_, Oops>(1_u64)).await.expect("loaded");
    assert_eq!(load(false, &a, "k", policy, Ok(3)).await.expect("found"), 1);
    group.pass(62 * SECOND).await;
    let mut first = Box::pin(a.get_or_load("k", policy, async || std::future::pending::<Result<u64, Oops>>().await));
    under_way(LONG, "it loads", first.as_mut(), async || a.stats().loads == 1).await;
    let missed = a.stats().l1_misses;
    let mut second = Box::pin(load(batch, &a, "k", policy, next));
    under_way(LONG, "it waits", second.as_mut(), async || a.stats().l1_misses == missed + 1).await;
    drop(first);
    let told = tokio::time::timeout(LONG, second).await.expect("it loads").map_err(|error| error.to_string());
    group.settle().await;
    let stats = a.stats();
    (told, [stats.served_stale, stats.refreshes_announced, stats.fills, stats.loads])
}

#[tokio::test(start_paused = true)]
async fn who_takes_over_a_lease_has_what_it_is_of() {
    for (policy, next, expected) in [
        (KEPT.stale_if_error(5 * SECOND), Err("away"), (Ok(1), [1, 0, 0, 2])),
        (KEPT.stale_while_revalidate(SECOND).announce_changes(), Ok(2), (Ok(2), [0, 1, 1, 2])),
    ] {
        for batch in [false, true] {
            assert_eq!(taken_over(batch, policy, next).await, expected, "{batch}");
        }
    }
}

#[tokio::test]
async fn a_ttl_is_learned_without_a_shared_tier() {
    for batch in [false, true] {
        let (clock, hand) = Clock::manual();
        let cache = TieredCache::builder("shop").clock(clock).build().await.expect("built");
        let policy = KEPT.learned_ttl(LearnedTtl::between(10 * SECOND, 600 * SECOND).changed_percent(50));
        let mut lives = Vec::new();
        for _ in 0..3 {
            load(batch, &cache, "k", policy, Ok(1)).await.expect("loaded");
            let life = cache.inspect("k").await.expect("a key").here.expect("a copy").entry.life;
            lives.push(life.as_secs());
            hand.advance(life);
        }
        assert_eq!(lives, [60, 120, 240], "{batch}");
    }
}

/// Another instance puts a value where the first claim of `a` is to be taken.
fn moves_at_a_claim(group: &Group, key: &'static str) {
    let (b, claims) = (group.instance(1), AtomicUsize::new(0));
    group.tier().script_calls(move |call: &Call<'_>| {
        if call.kind != CallKind::Claim || call.instance != 0 || claims.fetch_add(1, Ordering::Relaxed) > 0 {
            return Plan::go();
        }
        let b = b.clone();
        Plan::go().after(async move {
            let _ = b.set(key, 7_u64, POLICY).await.expect("put");
        })
    });
}

#[tokio::test(start_paused = true)]
async fn a_wait_counts_once_however_often_its_batch_looks_before_it() {
    for moves in [false, true] {
        let group = Group::new(2).await;
        let (a, b) = (group.instance(0), group.instance(1));
        let gate = Gate::new();
        let mut elsewhere = Box::pin(b.get_or_load("held", POLICY, async || {
            gate.wait().await;
            Ok::<_, Oops>(5_u64)
        }));
        under_way(LONG, "it loads", elsewhere.as_mut(), async || b.stats().loads == 1).await;
        // Of no use: it is claimed.
        group.tier().put("ct:test:v:k", b"\xf6sixteen bytes ..\x01");
        if moves {
            moves_at_a_claim(&group, "k");
        }
        let twos = async |keys: Vec<String>| Ok::<_, Oops>(keys.into_iter().map(|key| (key, 2_u64)).collect::<Vec<_>>());
        let mut batch = Box::pin(a.get_or_load_many(["held", "k"], POLICY, twos));
        // The other key has been loaded, or found at the second look: it waits next.
        under_way(LONG, "it waits", batch.as_mut(), async || a.stats().loads + a.stats().l2_hits == 1).await;
        gate.open();
        let (loaded, found) = tokio::join!(elsewhere, batch);
        loaded.expect("loaded");
        assert_eq!(found.expect("loaded"), [Some(5), Some(if moves { 7 } else { 2 })]);
        assert_eq!((a.stats().ticket_waits, a.stats().ticket_polls), (1, 1), "{moves}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_comes_too_late_is_no_miss_where_something_newer_is_found() {
    for (batch, moves) in [(false, false), (true, false), (false, true), (true, true)] {
        let group = Group::new(2).await;
        let (a, b) = (group.instance(0), group.instance(1));
        let policy = POLICY.stale_for(SECOND).stale_if_error(SECOND);
        b.get_or_load("k", policy, async || Ok::<_, Oops>(1_u64)).await.expect("loaded");
        group.pass(60 * SECOND + SECOND / 2).await;
        if moves {
            moves_at_a_claim(&group, "k");
        }
        let told = load(batch, &a, "k", policy, Ok(2)).await.expect("loaded");
        let (stats, expected) = (a.stats(), if moves { (7, 1, 0) } else { (2, 0, 1) });
        assert_eq!((told, stats.l2_hits, stats.l2_misses), expected, "{batch}");
    }
}
