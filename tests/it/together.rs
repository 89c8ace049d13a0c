//! Many invalidations at once: they go together, and each has its own outcome.
#![forbid(unsafe_code)]
#![expect(clippy::panic, reason = "what fails here is a test that has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cachetier::testing::Group;
use cachetier::{Call, CallKind, Delivery, InProcess, Plan, Policy, TieredCache, Token};
use cachetier_tests::{Gate, Reach as _, RedisServer};
use tokio::task::JoinSet;

const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
/// How many go each for itself.
const ALONE: usize = 16;

/// Holds every bump at a gate, and counts them.
fn held(tier: &InProcess, gate: &Gate) -> Arc<AtomicUsize> {
    let (gate, bumps) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&bumps);
    tier.script_calls(move |call: &Call<'_>| match call.kind {
        CallKind::Bump => {
            counted.fetch_add(1, Ordering::SeqCst);
            let gate = gate.clone();
            Plan::go().after(async move { gate.wait().await })
        }
        _ => Plan::go(),
    });
    bumps
}

/// Invalidates the keys `k0` to `k` and so on, all at once.
fn invalidate_all(cache: &TieredCache, keys: usize) -> JoinSet<Delivery> {
    let mut calls = JoinSet::new();
    for key in 0..keys {
        let cache = cache.clone();
        calls.spawn(async move { cache.invalidate(&format!("k{key}")).await.unwrap_or(Delivery::Pending) });
    }
    calls
}

async fn warm(cache: &TieredCache, keys: usize) {
    for key in 0..keys {
        cache.set(&format!("k{key}"), key, POLICY).await.unwrap_or_else(|error| panic!("{error}"));
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_come_while_many_are_under_way_go_in_one_command() {
    let group = Group::new(2).await;
    let (here, there) = (&group.instance(0), &group.instance(1));
    warm(here, 100).await;
    for key in 0..100 {
        assert_eq!(there.get::<usize>(&format!("k{key}")).await, Some(key));
    }
    let gate = Gate::new();
    let bumps = held(group.tier(), &gate);
    let mut calls = invalidate_all(here, 100);
    gate.arrived(ALONE).await;
    tokio::task::yield_now().await;
    assert_eq!(bumps.load(Ordering::SeqCst), ALONE, "the others wait");
    gate.open();
    while let Some(delivery) = calls.join_next().await {
        assert!(matches!(delivery, Ok(Delivery::Applied(_))), "{delivery:?}");
    }
    assert_eq!(bumps.load(Ordering::SeqCst), ALONE + 1);
    assert_eq!(here.stats().invalidations_together, 84);
    group.settle().await;
    for cache in [here, there] {
        for key in 0..100 {
            assert_eq!(cache.get::<usize>(&format!("k{key}")).await, None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn callers_that_are_dropped_take_nobody_with_them() {
    let group = Group::new(1).await;
    let cache = &group.instance(0);
    warm(cache, 100).await;
    let gate = Gate::new();
    held(group.tier(), &gate);
    let first = invalidate_all(cache, ALONE);
    gate.arrived(ALONE).await;
    let mut others = invalidate_all(cache, 100);
    tokio::task::yield_now().await;
    // And some that wait for them, then all that are under way for themselves.
    let waiting = invalidate_all(cache, 50);
    tokio::task::yield_now().await;
    drop(waiting);
    drop(first);
    gate.open();
    while let Some(delivery) = others.join_next().await {
        assert!(matches!(delivery, Ok(Delivery::Applied(_))), "{delivery:?}");
    }
    cache.flush(LONG).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(cache.stats().pending, 0);
    let again = tokio::time::timeout(LONG, cache.invalidate("k0")).await;
    assert!(matches!(again, Ok(Ok(Delivery::Applied(_)))), "there is room again: {again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_fails_is_pending_for_each_of_its_callers() {
    let group = Group::new(1).await;
    let cache = &group.instance(0);
    let gate = Gate::new();
    held(group.tier(), &gate);
    let mut calls = invalidate_all(cache, 100);
    gate.arrived(ALONE).await;
    tokio::task::yield_now().await;
    // What is under way has been planned; what comes next is not answered.
    group.tier().script_calls(|call: &Call<'_>| if call.kind == CallKind::Bump { Plan::lost_reply() } else { Plan::go() });
    gate.open();
    let (mut applied, mut pending) = (0, 0);
    while let Some(delivery) = calls.join_next().await {
        match delivery {
            Ok(Delivery::Applied(_)) => applied += 1,
            _ => pending += 1,
        }
    }
    assert_eq!((applied, pending), (ALONE, 100 - ALONE));
    assert!(cache.stats().pending > 0);
    group.tier().clear_script();
    cache.flush(LONG).await.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_server_is_sent_far_fewer_commands_than_there_are_calls() {
    const CALLS: usize = 5_000;
    let server = RedisServer::start();
    let builder = || TieredCache::builder("shop").reach(server.url()).tag_cells(4_096).command_limit(LONG);
    let [here, there] = [builder().build().await, builder().build().await].map(|cache| cache.unwrap_or_else(|e| panic!("{e}")));
    for key in (0..CALLS).step_by(50) {
        let key = format!("k{key}");
        here.set(&key, 1_u64, POLICY).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(there.get::<u64>(&key).await, Some(1));
    }
    let mut calls = invalidate_all(&here, CALLS);
    let mut all: Option<Token> = None;
    while let Some(delivery) = calls.join_next().await {
        let Ok(Delivery::Applied(token)) = delivery else { panic!("{delivery:?}") };
        all = Some(all.map_or(token, |all| all.and(token)));
    }
    let told = here.invalidate("behind").await;
    let Ok(Delivery::Applied(token)) = told else { panic!("{told:?}") };
    let all = all.expect("some").and(token);
    assert!(all >= token, "it came last of its part");
    assert_eq!(there.wait_for(all, LONG).await, Ok(()));
    for key in (0..CALLS).step_by(50) {
        assert_eq!(there.get::<u64>(&format!("k{key}")).await, None);
    }
    let together = here.stats().invalidations_together;
    assert!(together > 1_000, "{together} of {CALLS} went together");
}
