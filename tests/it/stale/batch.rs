//! Batches of what is stale: refreshed in its place, each key under a lease of its own.

use std::sync::Mutex;
use std::time::Duration;

use cachetier::testing::Group;
use cachetier::{Call, CallKind, Plan, Policy, TieredCache};
use cachetier_tests::{Gate, Oops, over_shared};

use super::{MINUTE, POLICY, SECOND, held, over, read, version};

#[tokio::test]
async fn a_batch_refreshes_what_is_stale_in_its_place() {
    over_shared(async |tier| {
        let short = Policy::ttl(Duration::from_millis(1)).stale_for(3_600 * SECOND);
        let (a, b) = tier.pair().await;
        for (key, value) in [("k:1", 1_u64), ("k:2", 2)] {
            a.set(key, value, short).await.expect("put");
            over(&a, key).await;
        }
        let load = |keys: Vec<String>| async move { Ok::<_, Oops>(keys.into_iter().map(|key| (key, 7_u64)).collect::<Vec<_>>()) };
        let read = b.get_or_load_many(["k:1", "k:2", "k:3"], POLICY, load).await.expect("loaded");
        assert_eq!((read, b.stats().loads, b.stats().fills), (vec![Some(7); 3], 1, 3));
        assert_eq!(a.get_many(["k:1", "k:2", "k:3"]).await, [Some(7_u64); 3]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_keeps_its_leases_while_it_loads() {
    let group = Group::builder().instances(2).configure(|builder| builder.lease(3 * SECOND).load_limit(MINUTE)).build().await;
    let (a, b) = (group.instance(0), group.instance(1));
    read(&a, "k", version(1)).await;
    group.jump(MINUTE).await;
    let gate = Gate::new();
    let batch = a.get_or_load_many(["k", "absent"], POLICY, async |keys: Vec<String>| {
        gate.wait().await;
        Ok::<_, Oops>(keys.into_iter().map(|key| (key, 2_u64)).collect::<Vec<_>>())
    });
    let other = async {
        gate.arrived(1).await;
        let waits = tokio::time::timeout(9 * SECOND, read(&b, "k", version(9)));
        let (waits, ()) = tokio::join!(waits, group.pass(9 * SECOND));
        assert!(waits.is_err(), "three leases later it still waits: {waits:?}");
        gate.open();
    };
    let (batch, ()) = tokio::join!(batch, other);
    assert_eq!((batch.expect("loaded"), b.get("k").await), (vec![Some(2), Some(2)], Some(2_u64)));
    assert_eq!((a.stats().fills, a.stats().fills_refused, b.stats().loads), (3, 0, 0));
}

/// Loads every key of a batch anew.
async fn read_many(cache: &TieredCache, keys: &[String], number: u64) -> Vec<Option<u64>> {
    let load = async |keys: Vec<String>| Ok::<_, Oops>(keys.into_iter().map(|key| (key, number)).collect::<Vec<_>>());
    cache.get_or_load_many(keys.iter().map(String::as_str), POLICY, load).await.expect("loaded")
}

#[tokio::test]
async fn a_batch_refreshes_thousands_of_values_and_stores_them_all() {
    const KEYS: usize = 2_500;
    over_shared(async |tier| {
        let builder = || tier.builder().read_limit(5 * SECOND).command_limit(5 * SECOND);
        let (a, b) = (builder().build().await.expect("built"), builder().build().await.expect("built"));
        let keys: Vec<String> = (0..KEYS).map(|at| format!("n:{at}")).collect();
        let short = Policy::ttl(Duration::from_millis(1)).stale_for(3_600 * SECOND);
        assert!(a.set_many(keys.iter().map(|key| (key.as_str(), 1_u64)), short).await.iter().all(Result::is_ok));
        over(&b, &keys[KEYS - 1]).await;
        assert_eq!(read_many(&b, &keys, 2).await, vec![Some(2); KEYS]);
        assert_eq!((b.stats().fills, b.stats().l2_faults), (2_500, 0));
        let newcomer = tier.cache().await;
        assert_eq!(newcomer.get_many::<u64>(keys.iter().map(String::as_str)).await, vec![Some(2); KEYS]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_sends_no_further_step_of_refreshes_to_a_silent_tier() {
    for kind in [CallKind::Lease, CallKind::Refill] {
        let group = Group::new(1).await;
        let a = group.instance(0);
        let keys: Vec<String> = (0..2_500).map(|at| format!("n:{at}")).collect();
        assert_eq!(read_many(&a, &keys, 1).await.len(), keys.len());
        group.jump(MINUTE).await;
        let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&sent);
        group.tier().script_calls(move |call: &Call<'_>| {
            if call.kind == kind {
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                return Plan::hang();
            }
            Plan::go()
        });
        assert_eq!(read_many(&a, &keys, 2).await, vec![Some(2); keys.len()], "{kind:?}");
        // What may have been taken is given back, in one step as well.
        group.settle().await;
        let sent = sent.load(std::sync::atomic::Ordering::SeqCst);
        assert!(sent == 1_000 || kind == CallKind::Lease && sent == 2_000, "{kind:?}: {sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_waits_for_a_refresh_does_not_have_the_old_value_sent_again() {
    let group = Group::new(2).await;
    let (a, b) = (group.instance(0), group.instance(1));
    read(&a, "k", version(1)).await;
    group.jump(MINUTE).await;
    let gate = Gate::new();
    let kinds = std::sync::Arc::new(Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&kinds);
    let refresh = a.get_or_load("k", POLICY, || async {
        gate.wait().await;
        Ok::<_, Oops>(2_u64)
    });
    let waits = async {
        gate.arrived(1).await;
        group.tier().script_calls(move |call: &Call<'_>| {
            if call.instance == 1 && call.key.is_some() {
                seen.lock().expect("alone").push(call.kind);
            }
            Plan::go()
        });
        let keys = ["k".to_owned()];
        let batch = read_many(&b, &keys, 9);
        let open = async {
            group.pass(2 * SECOND).await;
            gate.open();
            group.pass(SECOND).await;
        };
        tokio::join!(batch, open).0
    };
    let (refreshed, waited) = tokio::join!(refresh, waits);
    assert_eq!((refreshed.ok(), waited), (Some(2), vec![Some(2)]));
    let kinds = kinds.lock().expect("alone");
    let reads = kinds.iter().filter(|kind| matches!(kind, CallKind::Read | CallKind::Probe)).count();
    assert!(reads <= 2 && kinds.iter().filter(|kind| **kind == CallKind::Lease).count() > 3, "{kinds:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_dropped_while_it_takes_leases_or_stores_leaves_nobody_waiting() {
    for (kind, reply) in [CallKind::Lease, CallKind::Refill].into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let group = Group::new(2).await;
        let (a, b) = (group.instance(0), group.instance(1));
        let keys = ["x".to_owned(), "y".to_owned()];
        read_many(&a, &keys, 1).await;
        group.jump(MINUTE).await;
        let gate = Gate::new();
        group.tier().script_calls(held(kind, &gate, reply));
        let mut dropped = Box::pin(read_many(&a, &keys, 2));
        tokio::select! {
            _ = &mut dropped => panic!("it is held"),
            () = gate.arrived(1) => {}
        }
        drop(dropped);
        group.tier().script_calls(|_: &Call<'_>| Plan::go());
        gate.open();
        group.settle().await;
        let answers = read_many(&b, &keys, 3).await;
        let stored = reply && kind == CallKind::Refill;
        assert!(answers.iter().all(|answer| *answer == Some(3) || stored && *answer == Some(2)), "{kind:?} {reply} {answers:?}");
        assert_eq!((b.stats().ticket_waits, a.stats().flights), (0, 0), "{kind:?} {reply}");
    }
}
