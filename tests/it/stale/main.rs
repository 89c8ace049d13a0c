//! What is kept when its life is over, for the loader that brings something newer: shown to it, found to be current and renewed, or replaced;
//! by one instance, with the old value in its place until then.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

mod batch;

use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use cachetier::testing::{Group, assert_loads};
use cachetier::{
    CacheError, Call, CallKind, CallOptions, Clock, Delivery, InProcess, LoadContext, LoadError, Loaded, Plan, Policy, TieredCache,
    Tiers,
};
use cachetier_tests::{Gate, Log, Oops, Tier, eventually_async, over_each, over_shared, under_way};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);
const MINUTE: Duration = Duration::from_secs(60);
/// A minute, and for an hour behind that.
const POLICY: Policy = Policy::ttl(MINUTE).stale_for(Duration::from_secs(3_600)).jitter(0);

/// What a loader is shown: the value and its validator.
type Shown = Option<(u64, Option<String>)>;

fn shown(context: &LoadContext<'_, u64>) -> Shown {
    context.stale().map(|stale| (*stale.value(), stale.validator().map(str::to_owned)))
}

/// What a read is answered with, and what its loader was shown if it ran.
async fn read(
    cache: &TieredCache,
    key: &str,
    loaded: impl FnOnce(&LoadContext<'_, u64>) -> Loaded<u64>,
) -> (Option<u64>, Option<Shown>) {
    let seen = Mutex::new(None);
    let load = async |context: LoadContext<'_, u64>| {
        *seen.lock().expect("alone") = Some(shown(&context));
        Ok::<_, Oops>(loaded(&context))
    };
    let answer = cache.get_or_load_with(key, POLICY.tags(["all"]), load).await.expect("loaded");
    (answer, seen.into_inner().expect("alone"))
}

fn not_modified(context: &LoadContext<'_, u64>) -> Loaded<u64> {
    context.stale().expect("something is stale").not_modified()
}

fn version(number: u64) -> impl FnOnce(&LoadContext<'_, u64>) -> Loaded<u64> {
    move |_| Loaded::new(number).validator(format!("v{number}"))
}

fn stale(number: u64) -> (u64, Option<String>) {
    (number, Some(format!("v{number}")))
}

const NAME: &str = "ct:test:v:k";

/// Returns when the life of what was put there is over.
async fn over(cache: &TieredCache, key: &str) {
    eventually_async(LONG, "its life is over", async || cache.get::<u64>(key).await.is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_loader_is_shown_what_is_stale_by_who_has_a_copy_and_by_who_has_none() {
    for reader in [0, 1] {
        let group = Group::new(2).await;
        let (a, b) = (group.instance(0), group.instance(reader));
        assert_eq!(read(&a, "k", version(1)).await, (Some(1), Some(None)));
        group.jump(59 * SECOND).await;
        assert_eq!(a.get::<u64>("k").await, Some(1));
        group.jump(SECOND).await;
        assert_eq!((a.get::<u64>("k").await, b.get::<u64>("k").await), (None, None), "it is served to nobody");
        assert_eq!(b.get_many::<u64>(["k"]).await, [None]);
        assert_eq!(read(&b, "k", version(2)).await, (Some(2), Some(Some(stale(1)))));
        assert_eq!((a.get("k").await, b.get("k").await), (Some(2_u64), Some(2_u64)));
        // Until it is kept no longer.
        group.jump(MINUTE + Duration::from_secs(3_600)).await;
        assert!(!group.tier().holds_value(NAME));
        assert_eq!(read(&b, "k", version(3)).await, (Some(3), Some(None)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_found_to_be_current_is_renewed_where_it_stands() {
    for reader in [0, 1] {
        let group = Group::new(2).await;
        let (a, b) = (group.instance(0), group.instance(reader));
        read(&a, "k", version(1)).await;
        for _ in 0..3 {
            group.jump(MINUTE).await;
            assert_eq!(read(&b, "k", not_modified).await, (Some(1), Some(Some(stale(1)))));
            group.jump(30 * SECOND).await;
            assert_loads!(group, 0, {
                for cache in [&a, &b] {
                    assert_eq!(read(cache, "k", version(9)).await, (Some(1), None));
                }
            });
            group.jump(30 * SECOND).await;
            assert_eq!(b.get::<u64>("k").await, None, "a minute after it was renewed");
            assert_eq!(read(&b, "k", not_modified).await, (Some(1), Some(Some(stale(1)))));
        }
        assert_eq!(b.stats().fills, if reader == 0 { 7 } else { 6 });
        // By another life, and with a tag more, which the value has from then on.
        group.jump(MINUTE).await;
        read(&b, "k", |context| not_modified(context).ttl(10 * SECOND).tags(["more"])).await;
        group.jump(9 * SECOND).await;
        assert_eq!(a.get::<u64>("k").await, Some(1));
        a.invalidate_tag("more").await.expect("told");
        group.settle().await;
        assert_eq!((a.get::<u64>("k").await, b.get::<u64>("k").await), (None, None));
        assert_eq!(read(&b, "k", version(2)).await, (Some(2), Some(None)), "what was invalidated is not shown");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_renewed_value_is_sent() {
    let (clock, hand) = Clock::manual();
    let inside = InProcess::with_clock(clock.clone());
    let tier = Tier::in_process(&inside);
    let (a, b) = (
        tier.builder().clock(clock.clone()).build().await.expect("built"),
        tier.builder().clock(clock).build().await.expect("built"),
    );
    let calls = std::sync::Arc::new(Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&calls);
    inside.script_calls(move |call: &Call<'_>| {
        if call.key.is_some() {
            seen.lock().expect("alone").push(call.kind);
        }
        Plan::go()
    });
    let said = || std::mem::take(&mut *calls.lock().expect("alone"));
    read(&a, "k", version(1)).await;
    assert_eq!(said(), [CallKind::Probe, CallKind::Fill]);
    hand.advance(MINUTE);
    read(&a, "k", not_modified).await;
    assert_eq!(said(), [CallKind::Lease, CallKind::Renew], "its copy is what is there");
    hand.advance(MINUTE);
    read(&a, "k", version(2)).await;
    assert_eq!(said(), [CallKind::Lease, CallKind::Refill]);
    hand.advance(MINUTE);
    read(&b, "k", not_modified).await;
    assert_eq!(said().len(), 3, "who has no copy reads it first");
}

#[tokio::test]
async fn while_one_loads_the_others_wait_for_it_and_the_old_value_stands() {
    over_shared(async |tier| {
        let short = Policy::ttl(Duration::from_millis(1)).stale_for(3_600 * SECOND);
        let (a, b) = tier.pair().await;
        a.set("k", 1_u64, short).await.expect("put");
        over(&a, "k").await;
        let gate = Gate::new();
        let leader = a.get_or_load("k", POLICY, async || {
            gate.wait().await;
            Ok::<_, Oops>(2_u64)
        });
        let others = async {
            gate.arrived(1).await;
            assert!(tier.holds_value("k"), "it stays");
            assert_eq!(b.get::<u64>("k").await, None);
            let (single, many) = tokio::join!(b.get_or_load("k", POLICY, || async { Ok::<_, Oops>(3_u64) }), async {
                eventually_async(LONG, "it waits", async || b.stats().ticket_waits == 1).await;
                gate.open();
                a.get_or_load_many(["k"], POLICY, |_| async { Ok::<_, Oops>([("k", 4_u64)]) }).await
            });
            (single.expect("loaded"), many.expect("loaded"))
        };
        let (leader, others) = tokio::join!(leader, others);
        assert_eq!((leader.expect("loaded"), others), (2, (2, vec![Some(2)])));
        assert_eq!((a.stats().loads, b.stats().loads), (1, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_brings_nothing_leaves_it_to_the_next_one() {
    let group = Group::new(2).await;
    let (a, b) = (group.instance(0), group.instance(1));
    read(&a, "k", version(1)).await;
    group.jump(MINUTE).await;
    let fail = async |_: LoadContext<'_, u64>| Err::<Loaded<u64>, _>(Oops("no"));
    for cache in [&a, &b, &a] {
        let failed = cache.get_or_load_with("k", POLICY, fail).await;
        assert!(matches!(failed, Err(LoadError::Loader(_))));
        group.settle().await;
        assert!(group.tier().holds_value(NAME), "the old value stays");
    }
    // Dropped while it loads.
    let mut dropped = Box::pin(a.get_or_load("k", POLICY, std::future::pending::<Result<u64, Oops>>));
    under_way(LONG, "it loads", dropped.as_mut(), async || a.stats().loads == 4).await;
    drop(dropped);
    group.settle().await;
    assert_eq!(read(&b, "k", |_| Loaded::new(2).not_stored()).await, (Some(2), Some(Some(stale(1)))));
    group.settle().await;
    assert_eq!(read(&a, "k", version(3)).await, (Some(3), Some(Some(stale(1)))));
    assert_eq!(b.stats().ticket_waits, 0, "nobody had to wait for a lease to run out");
}

#[tokio::test(start_paused = true)]
async fn who_holds_the_lease_keeps_it_while_it_loads_and_a_dead_one_loses_it() {
    let group = Group::builder().instances(2).configure(|builder| builder.lease(3 * SECOND).load_limit(MINUTE)).build().await;
    let (a, b) = (group.instance(0), group.instance(1));
    read(&a, "k", version(1)).await;
    group.jump(MINUTE).await;
    let gate = Gate::new();
    let leader = a.get_or_load("k", POLICY, async || {
        gate.wait().await;
        Ok::<_, Oops>(2_u64)
    });
    let other = async {
        gate.arrived(1).await;
        let waits = tokio::time::timeout(9 * SECOND, read(&b, "k", version(9)));
        let (waits, ()) = tokio::join!(waits, group.pass(9 * SECOND));
        assert!(waits.is_err(), "three leases later it still waits: {waits:?}");
        gate.open();
    };
    let (leader, ()) = tokio::join!(leader, other);
    assert_eq!((leader.expect("loaded"), b.get::<u64>("k").await), (2, Some(2)));

    group.jump(MINUTE).await;
    let mut lost = Box::pin(a.get_or_load("k", POLICY, std::future::pending::<Result<u64, Oops>>));
    under_way(LONG, "it loads", lost.as_mut(), async || a.stats().loads == 3).await;
    // Kept, and polled by nobody: its watch does not beat either. The lease ends at a multiple of 256 ms after the value was created.
    group.jump(3 * SECOND + Duration::from_millis(256)).await;
    assert_eq!(read(&b, "k", version(3)).await, (Some(3), Some(Some((2, None)))));
    assert_eq!(b.get::<u64>("k").await, Some(3));
}

#[tokio::test]
async fn what_is_invalidated_meanwhile_is_not_stored_and_what_was_invalidated_is_not_shown() {
    over_shared(async |tier| {
        let short = Policy::ttl(Duration::from_millis(1)).stale_for(3_600 * SECOND);
        let (a, b) = tier.pair().await;
        for by_tag in [false, true] {
            a.set("k", 1_u64, short.tags(["t"])).await.expect("put");
            over(&a, "k").await;
            let (gate, invalidation) =
                (Gate::new(), async || if by_tag { b.invalidate_tag("t").await } else { b.invalidate("k").await });
            let leader = a.get_or_load_with("k", POLICY.tags(["t"]), async |context: LoadContext<'_, u64>| {
                gate.wait().await;
                Ok::<_, Oops>(not_modified(&context))
            });
            let meanwhile = async {
                gate.arrived(1).await;
                let token = invalidation().await.expect("told").confirmed().expect("applied");
                a.wait_for(token, LONG).await.expect("heard");
                gate.open();
            };
            let (answer, ()) = tokio::join!(leader, meanwhile);
            assert_eq!(answer.expect("loaded"), Some(1), "who asked before gets it");
            assert_eq!((a.get::<u64>("k").await, b.get::<u64>("k").await), (None, None), "{by_tag}");
            assert_eq!(read(&b, "k", version(2)).await, (Some(2), Some(None)));
            a.invalidate("k").await.expect("told");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_or_a_renewal_without_an_answer_stores_nothing_for_long() {
    for (kind, plan) in [
        (CallKind::Lease, Plan::lost as fn() -> Plan),
        (CallKind::Lease, Plan::lost_reply),
        (CallKind::Renew, Plan::lost),
        (CallKind::Renew, Plan::lost_reply),
        (CallKind::Refill, Plan::lost),
        (CallKind::Refill, Plan::lost_reply),
    ] {
        let group = Group::new(2).await;
        let (a, b) = (group.instance(0), group.instance(1));
        read(&a, "k", version(1)).await;
        group.jump(MINUTE).await;
        group.tier().script_calls(move |call: &Call<'_>| if call.kind == kind { plan() } else { Plan::go() });
        let answer = if kind == CallKind::Refill { read(&a, "k", version(2)).await.0 } else { read(&a, "k", not_modified).await.0 };
        assert_eq!(answer, Some(if kind == CallKind::Refill { 2 } else { 1 }), "{kind:?}");
        group.tier().script_calls(|_: &Call<'_>| Plan::go());
        // What may stay without a stamp stays for as long as copies may be old, and what others find is one of the two.
        let found = b.get::<u64>("k").await;
        assert!(found.is_none() || found == answer, "{kind:?}: {found:?}");
        let token = b.invalidate("k").await.expect("told").confirmed().expect("applied");
        a.wait_for(token, LONG).await.expect("heard");
        assert_eq!((a.get::<u64>("k").await, b.get::<u64>("k").await), (None, None), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn alone_it_is_shown_and_renewed_as_well() {
    let (clock, hand) = Clock::manual();
    let cache = TieredCache::builder("alone").clock(clock).build().await.expect("built");
    read(&cache, "k", version(1)).await;
    hand.advance(MINUTE);
    assert_eq!(cache.get::<u64>("k").await, None);
    assert_eq!(read(&cache, "k", not_modified).await, (Some(1), Some(Some(stale(1)))));
    hand.advance(59 * SECOND);
    assert_eq!(cache.get::<u64>("k").await, Some(1));
    hand.advance(SECOND);
    cache.invalidate_tag("all").await.expect("told");
    assert_eq!(read(&cache, "k", version(2)).await, (Some(2), Some(None)));
    hand.advance(MINUTE + 3_600 * SECOND);
    assert_eq!(read(&cache, "k", version(3)).await, (Some(3), Some(None)));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_asks_again_before_its_time_does_not_refresh() {
    let group = Group::new(2).await;
    let (a, b) = (group.instance(0), group.instance(1));
    let policy = POLICY.l1_ttl(10 * SECOND);
    let load = |value| move || async move { Ok::<_, Oops>(value) };
    a.get_or_load("k", policy, load(1_u64)).await.expect("loaded");
    b.get_or_load("k", policy, load(2)).await.expect("found");
    for _ in 0..4 {
        group.jump(10 * SECOND).await;
        assert_eq!(
            (a.get_or_load("k", policy, load(2)).await.ok(), b.get_or_load("k", policy, load(3)).await.ok()),
            (Some(1), Some(1))
        );
    }
    assert_eq!((a.stats().loads, b.stats().loads), (1, 0));
}

#[tokio::test]
async fn of_another_type_of_no_value_and_by_other_verbs_it_is_as_ever() {
    over_each(async |tier| {
        let short = Policy::ttl(Duration::from_millis(1)).stale_for(3_600 * SECOND).negative_ttl(Duration::from_millis(1));
        let cache = tier.cache().await;
        cache.set("typed", "text".to_owned(), short).await.expect("put");
        cache.get_or_load_optional("none", short, || async { Ok::<Option<u64>, Oops>(None) }).await.expect("loaded");
        cache.set("plain", 1_u64, short).await.expect("put");
        // The last of them to be put.
        over(&cache, "plain").await;
        assert_eq!(read(&cache, "typed", version(2)).await, (Some(2), Some(None)));
        assert_eq!(read(&cache, "none", version(2)).await, (Some(2), Some(None)));
        assert_eq!(cache.get_or_compute("plain", POLICY, || async { 2_u64 }).await.expect("loaded"), 2);
        assert_eq!(cache.get::<u64>("plain").await, Some(2));
    })
    .await;
}

#[tokio::test]
async fn a_fresh_call_shows_what_is_there_and_leaves_it_to_others_until_it_has_something_newer() {
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        read(&a, "k", version(1)).await;
        let fresh = CallOptions::new().fresh();
        let (gate, seen) = (Gate::new(), Mutex::new(None));
        let leader = a.with(fresh).get_or_load_with("k", POLICY, async |context: LoadContext<'_, u64>| {
            *seen.lock().expect("alone") = shown(&context);
            gate.wait().await;
            Ok::<_, Oops>(Loaded::new(2))
        });
        let others = async {
            gate.arrived(1).await;
            let served = b.get_or_load("k", POLICY, || async { Ok::<_, Oops>(9_u64) }).await.expect("found");
            gate.open();
            served
        };
        let (answer, served) = tokio::join!(leader, others);
        assert_eq!((answer.expect("loaded").value, served), (Some(2), 1));
        assert_eq!(*seen.lock().expect("alone"), Some((1, Some("v1".to_owned()))));
        assert_eq!((a.get("k").await, tier.cache().await.get("k").await), (Some(2_u64), Some(2_u64)));
        // It fails, and what was there is there still.
        let failed = a.with(fresh).get_or_load("k", POLICY, || async { Err::<u64, _>(Oops("no")) }).await;
        assert!(matches!(failed, Err(LoadError::Loader(_))));
        assert_eq!(tier.cache().await.get("k").await, Some(2_u64));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_found_to_be_current_is_not_renewed_with_a_tag_that_cannot_be_used() {
    let group = Group::new(1).await;
    let a = group.instance(0);
    read(&a, "k", version(1)).await;
    group.jump(MINUTE).await;
    let (answer, _) = read(&a, "k", |context| not_modified(context).tags([""])).await;
    assert_eq!((answer, a.stats().not_stored, a.stats().renewals, a.get::<u64>("k").await), (Some(1), 1, 0, None));
}

#[tokio::test]
async fn a_validator_that_is_too_long_is_a_counted_fault_of_the_loader() {
    over_shared(async |tier| {
        let cache = tier.cache().await;
        let log = Log::default();
        let _listening = log.listen();
        for _ in 0..2 {
            let too_much = |_: &LoadContext<'_, u64>| Loaded::new(1).validator("v".repeat(256));
            assert_eq!(read(&cache, "k", too_much).await.0, Some(1));
        }
        assert_eq!((cache.stats().not_stored, log.with("longer than 255 bytes").len()), (2, 1));
        read(&cache, "k", |_| Loaded::new(1).validator("v".repeat(255))).await;
        assert_eq!(tier.cache().await.get::<u64>("k").await, Some(1));
    })
    .await;
}

#[tokio::test]
async fn what_is_expired_is_served_to_nobody_and_shown_to_the_next_loader() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        for policy in [POLICY, Policy::ttl(MINUTE)] {
            for reader in [&a, &b] {
                let token = a.set("k", 1_u64, policy).await.expect("put").confirmed().expect("applied");
                b.wait_for(token, LONG).await.expect("heard");
                assert_eq!(b.get("k").await, Some(1_u64));
                let token = a.expire("k").await.expect("told").confirmed().expect("applied");
                b.wait_for(token, LONG).await.expect("heard");
                assert_eq!((a.get::<u64>("k").await, b.get::<u64>("k").await), (None, None));
                assert!(!tier.is_shared() || tier.holds_value("k"));
                assert_eq!(read(reader, "k", not_modified).await, (Some(1), Some(Some((1, None)))));
                assert_eq!((a.get("k").await, b.get("k").await), (Some(1_u64), Some(1_u64)));
                // Hard is hard, also behind it.
                a.expire("k").await.expect("told");
                let token = a.invalidate("k").await.expect("told").confirmed().expect("applied");
                b.wait_for(token, LONG).await.expect("heard");
                assert_eq!(read(reader, "k", version(2)).await, (Some(2), Some(None)));
                a.invalidate("k").await.expect("told");
            }
        }
        assert!(matches!(a.expire("").await, Err(CacheError::Key(_))));
        a.close(SECOND).await.expect("closed");
        assert_eq!(a.expire("k").await, Err(CacheError::Closed));
    })
    .await;
}

#[tokio::test]
async fn a_load_that_began_before_the_key_was_expired_is_not_stored() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        for with_a_value in [false, true] {
            if with_a_value {
                a.set("k", 1_u64, POLICY).await.expect("put");
                a.expire("k").await.expect("told");
            }
            let gate = Gate::new();
            let leader = a.get_or_load("k", POLICY, async || {
                gate.wait().await;
                Ok::<_, Oops>(2_u64)
            });
            let meanwhile = async {
                gate.arrived(1).await;
                let token = b.expire("k").await.expect("told").confirmed().expect("applied");
                a.wait_for(token, LONG).await.expect("heard");
                gate.open();
            };
            let (answer, ()) = tokio::join!(leader, meanwhile);
            assert_eq!(answer.expect("loaded"), 2);
            assert_eq!((a.get::<u64>("k").await, b.get::<u64>("k").await), (None, None), "{with_a_value}");
            a.invalidate("k").await.expect("told");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_is_pending_is_an_invalidation_and_told_again_as_one() {
    for plan in [Plan::lost as fn() -> Plan, Plan::lost_reply, Plan::away] {
        let group = Group::new(2).await;
        let (a, b) = (group.instance(0), group.instance(1));
        read(&a, "k", version(1)).await;
        assert_eq!(b.get("k").await, Some(1_u64));
        let fault = move |call: &Call<'_>| if call.kind == CallKind::Expire { plan() } else { Plan::go() };
        group.tier().script_calls(fault);
        assert_eq!(a.expire("k").await, Ok(Delivery::Pending));
        assert_eq!(a.get::<u64>("k").await, None);
        group.settle().await;
        assert!(!group.tier().holds_value(NAME), "told again, it goes");
        assert_eq!(b.get::<u64>("k").await, None);
        assert_eq!(read(&b, "k", version(2)).await, (Some(2), Some(None)));
    }
}

/// A lease on it would end with it, in the middle of the load: its place is taken instead.
#[tokio::test(start_paused = true)]
async fn what_is_refreshed_in_its_last_seconds_is_loaded_once_and_stored() {
    for (copied, batch) in [(true, false), (false, false), (false, true)] {
        let group = Group::builder().instances(3).configure(|builder| builder.lease(3 * SECOND).load_limit(MINUTE)).build().await;
        let (a, b, c) = (group.instance(0), group.instance(1), group.instance(2));
        let short = Policy::ttl(MINUTE).stale_for(10 * SECOND).jitter(0);
        a.set("k", 1_u64, short).await.expect("put");
        group.jump(MINUTE + 9 * SECOND).await;
        let leader = if copied { &a } else { &b };
        let (gate, seen) = (Gate::new(), Mutex::new(None));
        let refresh = async {
            if batch {
                let load = async |keys: Vec<String>| {
                    gate.wait().await;
                    Ok::<_, Oops>(keys.into_iter().map(|key| (key, 2_u64)).collect::<Vec<_>>())
                };
                return leader.get_or_load_many(["k"], short, load).await.expect("loaded").remove(0);
            }
            let load = async |context: LoadContext<'_, u64>| {
                *seen.lock().expect("alone") = context.stale().map(|stale| *stale.value());
                gate.wait().await;
                Ok::<_, Oops>(Loaded::new(2))
            };
            leader.get_or_load_with("k", short, load).await.expect("loaded")
        };
        let other = async {
            gate.arrived(1).await;
            let waits = tokio::time::timeout(5 * SECOND, c.get_or_load("k", short, || async { Ok::<_, Oops>(9_u64) }));
            let (waits, ()) = tokio::join!(waits, group.pass(5 * SECOND));
            assert!(waits.is_err(), "it waits, although the value is over: {waits:?}");
            gate.open();
        };
        let (answer, ()) = tokio::join!(refresh, other);
        assert_eq!((answer, c.get("k").await, c.stats().loads), (Some(2), Some(2_u64), 0));
        assert_eq!(leader.stats().fills_refused, 0);
        assert!(batch || *seen.lock().expect("alone") == Some(1), "it is shown all the same");
    }
}

#[tokio::test]
async fn a_lease_that_is_given_back_while_it_is_lengthened_is_free() {
    over_shared(async |tier| {
        let short = Policy::ttl(Duration::from_millis(1)).stale_for(3_600 * SECOND);
        let (a, b) = tier.pair().await;
        a.set("k", 1_u64, short).await.expect("put");
        over(&a, "k").await;
        let misses = a.stats().l1_misses;
        // A leader that goes; who takes over has it lengthened, and fails at once.
        let mut leader = Box::pin(a.get_or_load("k", POLICY, std::future::pending::<Result<u64, Oops>>));
        let mut heir = Box::pin(a.get_or_load("k", POLICY, || async { Err::<u64, _>(Oops("no")) }));
        under_way(LONG, "it loads", leader.as_mut(), async || a.stats().loads == 1).await;
        under_way(LONG, "it waits", heir.as_mut(), async || a.stats().l1_misses == misses + 2).await;
        drop(leader);
        assert!(matches!(heir.await, Err(LoadError::Loader(_))));
        // The lease is half a minute.
        let next = tokio::time::timeout(5 * SECOND, b.get_or_load("k", POLICY, || async { Ok::<_, Oops>(2_u64) }));
        assert_eq!(next.await.expect("at once").expect("loaded"), 2);
        assert_eq!(a.get("k").await, Some(2_u64));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_answer_is_lost_is_given_back() {
    for plan in [Plan::lost_reply as fn() -> Plan, Plan::late] {
        let group = Group::new(2).await;
        let (a, b) = (group.instance(0), group.instance(1));
        read(&a, "k", version(1)).await;
        group.jump(MINUTE).await;
        let asked = std::sync::atomic::AtomicU64::new(0);
        group.tier().script_calls(move |call: &Call<'_>| {
            let first = call.kind == CallKind::Lease && asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
            if first { plan() } else { Plan::go() }
        });
        let failed = a.get_or_load("k", POLICY, || async { Err::<u64, _>(Oops("no")) }).await;
        assert!(matches!(failed, Err(LoadError::Loader(_))));
        group.settle().await;
        assert_eq!(read(&b, "k", version(2)).await, (Some(2), Some(Some(stale(1)))));
        assert_eq!(b.stats().ticket_waits, 0);
    }
}

#[tokio::test]
async fn who_waits_for_a_refresh_does_not_have_the_old_value_sent_again() {
    let inside = InProcess::new();
    let (a, b) = Tier::in_process(&inside).pair().await;
    a.set("k", 1_u64, Policy::ttl(Duration::from_millis(1)).stale_for(3_600 * SECOND)).await.expect("put");
    over(&a, "k").await;
    let (gate, kinds) = (Gate::new(), std::sync::Arc::new(Mutex::new(Vec::new())));
    let leader = a.get_or_load("k", POLICY, async || {
        gate.wait().await;
        Ok::<_, Oops>(2_u64)
    });
    let waiter = async {
        gate.arrived(1).await;
        let seen = std::sync::Arc::clone(&kinds);
        inside.script_calls(move |call: &Call<'_>| {
            if call.key.is_some() && call.instance == 1 {
                seen.lock().expect("alone").push(call.kind);
            }
            Plan::go()
        });
        let opening = async {
            eventually_async(LONG, "it has looked some times", async || b.stats().ticket_polls >= 4).await;
            gate.open();
        };
        let (found, ()) = tokio::join!(b.get_or_load("k", POLICY, || async { Ok::<_, Oops>(9_u64) }), opening);
        found.expect("found")
    };
    let (leader, found) = tokio::join!(leader, waiter);
    assert_eq!((leader.expect("loaded"), found), (2, 2));
    let kinds = kinds.lock().expect("alone");
    let reads = kinds.iter().filter(|kind| matches!(kind, CallKind::Probe | CallKind::Read)).count();
    assert!(reads == 2 && kinds.len() >= 6, "once before and once behind it: {kinds:?}");
}

#[tokio::test]
async fn a_call_that_does_not_read_copies_is_not_shown_one_and_an_expired_one_is_not_asked_for_by_its_old_name() {
    let inside = InProcess::new();
    let cache = Tier::in_process(&inside).cache().await;
    read(&cache, "k", version(1)).await;
    cache.expire("k").await.expect("told");
    let seen = Mutex::new(Vec::new());
    for tiers in [Tiers::Neither, Tiers::L1] {
        let load = async |context: LoadContext<'_, u64>| {
            seen.lock().expect("alone").push(shown(&context));
            Ok::<_, Oops>(Loaded::new(2).not_stored())
        };
        cache.with(CallOptions::new().reads(tiers)).get_or_load_with("k", POLICY, load).await.expect("loaded");
    }
    assert_eq!(*seen.lock().expect("alone"), [None, Some(stale(1))]);
    let kinds = std::sync::Arc::new(Mutex::new(Vec::new()));
    let calls = std::sync::Arc::clone(&kinds);
    inside.script_calls(move |call: &Call<'_>| {
        if call.key.is_some() {
            calls.lock().expect("alone").push(call.kind);
        }
        Plan::go()
    });
    read(&cache, "k", not_modified).await;
    assert_eq!(*kinds.lock().expect("alone"), [CallKind::Probe, CallKind::Lease, CallKind::Renew]);
}

#[tokio::test]
async fn what_is_said_of_a_current_value_is_stored_with_it_and_what_is_not_to_be_stored_is_not() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        read(&a, "k", version(1)).await;
        a.expire("k").await.expect("told");
        read(&a, "k", |context| not_modified(context).validator("v2")).await;
        let token = a.expire("k").await.expect("told").confirmed().expect("applied");
        b.wait_for(token, LONG).await.expect("heard");
        assert_eq!(
            read(&b, "k", |context| not_modified(context).not_stored()).await,
            (Some(1), Some(Some((1, Some("v2".to_owned())))))
        );
        assert_eq!((a.get::<u64>("k").await, b.get::<u64>("k").await), (None, None));
        assert_eq!(read(&a, "k", |context| not_modified(context).ttl(Duration::ZERO)).await.0, Some(1));
        assert_eq!((a.get::<u64>("k").await, b.get::<u64>("k").await), (None, None));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn that_there_is_nothing_is_not_kept_and_what_is_kept_briefly_is_not_kept_behind_that() {
    let group = Group::new(1).await;
    let cache = group.instance(0);
    let none = || async { Ok::<Option<u64>, Oops>(None) };
    cache.get_or_load_optional("none", POLICY.negative_ttl(MINUTE), none).await.expect("loaded");
    group.jump(MINUTE).await;
    assert!(!group.tier().holds_value("ct:test:v:none"));

    group.outage().await;
    group.jump(10 * SECOND).await;
    read(&cache, "k", version(1)).await;
    group.jump(2 * SECOND).await;
    assert_eq!(read(&cache, "k", version(2)).await, (Some(2), Some(None)));
}

#[tokio::test]
async fn without_a_shared_tier_a_validator_has_its_bound_as_well() {
    let cache = Tier::alone().cache().await;
    read(&cache, "k", |_| Loaded::new(1).validator("v".repeat(256))).await;
    assert_eq!((cache.stats().not_stored, cache.get::<u64>("k").await), (1, None));
}

/// What the calls of this kind come to, each held until the gate is open.
fn held(kind: CallKind, gate: &Gate, reply: bool) -> impl Fn(&Call<'_>) -> Plan + Send + Sync + 'static {
    let shut = gate.clone();
    move |call: &Call<'_>| {
        let gate = shut.clone();
        let wait = async move { gate.wait().await };
        match (call.kind == kind, reply) {
            (true, true) => Plan::go().reply_after(wait),
            (true, false) => Plan::go().after(wait),
            (false, _) => Plan::go(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_dropped_while_it_takes_a_lease_or_stores_leaves_nobody_waiting() {
    for (kind, reply) in
        [CallKind::Lease, CallKind::Renew, CallKind::Refill].into_iter().flat_map(|kind| [(kind, false), (kind, true)])
    {
        let group = Group::new(2).await;
        let (a, b) = (group.instance(0), group.instance(1));
        read(&a, "k", version(1)).await;
        group.jump(MINUTE).await;
        let gate = Gate::new();
        group.tier().script_calls(held(kind, &gate, reply));
        let mut dropped =
            Box::pin(read(
                &a,
                "k",
                move |context| {
                    if kind == CallKind::Renew { not_modified(context) } else { Loaded::new(2).validator("v2") }
                },
            ));
        tokio::select! {
            _ = &mut dropped => panic!("it is held"),
            () = gate.arrived(1) => {}
        }
        drop(dropped);
        group.tier().script_calls(|_: &Call<'_>| Plan::go());
        gate.open();
        group.settle().await;
        let (answer, _) = read(&b, "k", version(3)).await;
        assert!(answer == Some(3) || reply && kind != CallKind::Lease, "{kind:?} {reply} {answer:?}");
        assert_eq!((b.stats().ticket_waits, a.stats().flights), (0, 0), "{kind:?} {reply}");
        // And whatever it was, an invalidation ends it.
        let token = b.invalidate("k").await.expect("told").confirmed().expect("applied");
        a.wait_for(token, LONG).await.expect("heard");
        assert_eq!((a.get::<u64>("k").await, b.get::<u64>("k").await), (None, None));
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_and_a_fresh_call_that_are_dropped_are_carried_out() {
    for (kind, reply) in [CallKind::Expire, CallKind::Bump].into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let group = Group::new(2).await;
        let (a, b) = (group.instance(0), group.instance(1));
        read(&a, "k", version(1)).await;
        assert_eq!(b.get("k").await, Some(1_u64));
        let gate = Gate::new();
        group.tier().script_calls(held(kind, &gate, reply));
        let fresh = a.with(CallOptions::new().fresh());
        let mut dropped: Pin<Box<dyn Future<Output = ()>>> = if kind == CallKind::Expire {
            Box::pin(async { drop(a.expire("k").await) })
        } else {
            // What it brings is not to be stored, so it invalidates the key.
            let unstored = POLICY.cache_if(|_: &u64| false);
            Box::pin(async move { drop(fresh.get_or_load("k", unstored, || async { Ok::<_, Oops>(2_u64) }).await) })
        };
        tokio::select! {
            () = &mut dropped => panic!("it is held"),
            () = gate.arrived(1) => {}
        }
        drop(dropped);
        assert_eq!(a.get::<u64>("k").await, None, "{kind:?}: here at once");
        group.tier().script_calls(|_: &Call<'_>| Plan::go());
        gate.open();
        group.settle().await;
        assert!(b.get::<u64>("k").await.is_none() && !group.tier().holds_value(NAME), "{kind:?} {reply}");
        assert_eq!((a.stats().pending, a.stats().flights), (0, 0));
    }
}

/// What another instance has invalidated, before this one has heard of it.
#[tokio::test(start_paused = true)]
async fn who_takes_over_a_load_is_shown_nothing_that_the_shared_tier_does_not_hold() {
    let group = Group::new(2).await;
    let (a, b) = (group.instance(0), group.instance(1));
    read(&a, "k", version(1)).await;
    group.jump(MINUTE).await;
    let gate = Gate::new();
    let late = gate.clone();
    group.tier().script_calls(move |call: &Call<'_>| {
        let late = late.clone();
        let late = async move { late.wait().await };
        if call.kind == CallKind::Deliver && call.instance == 0 { Plan::go().after(late) } else { Plan::go() }
    });
    b.invalidate("k").await.expect("told").confirmed().expect("applied");
    let (under_way, seen) = (Gate::new(), Mutex::new(Vec::new()));
    let load = |leads: bool| {
        let (under_way, seen, a) = (&under_way, &seen, &a);
        async move {
            let load = async |context: LoadContext<'_, u64>| {
                seen.lock().expect("alone").push(shown(&context));
                if leads {
                    under_way.wait().await;
                }
                Ok::<_, Oops>(Loaded::new(2))
            };
            a.get_or_load_with("k", POLICY, load).await.expect("loaded")
        }
    };
    let mut leader = Box::pin(load(true));
    let mut heir = Box::pin(load(false));
    tokio::select! {
        biased;
        _ = &mut leader => panic!("it is held"),
        _ = &mut heir => panic!("it waits"),
        () = under_way.arrived(1) => {}
    }
    drop(leader);
    assert_eq!(heir.await, Some(2));
    assert_eq!(*seen.lock().expect("alone"), [None, None], "it was invalidated");
    gate.open();
}

/// While nobody can be asked it is shown as it would be served; afterwards only what the shared tier still holds is.
#[tokio::test(start_paused = true)]
async fn what_may_have_been_invalidated_unheard_is_shown_where_it_would_be_served() {
    let here = CallOptions::new().reads(Tiers::L1);
    for (strict, expected) in [(false, Some((1, None))), (true, None)] {
        let policy = if strict { POLICY.strict() } else { POLICY };
        let group = Group::new(2).await;
        let (a, b) = (group.instance(0), group.instance(1));
        for key in ["gone", "kept"] {
            assert_eq!(a.get_or_compute(key, policy, || async { 1_u64 }).await.expect("loaded"), 1);
        }
        group.jump(MINUTE).await;
        group.partition(0).await;
        group.jump(10 * SECOND).await;
        b.invalidate("gone").await.expect("told").confirmed().expect("applied");
        let seen = Mutex::new(None);
        let load = async |context: LoadContext<'_, u64>| {
            *seen.lock().expect("alone") = Some(shown(&context));
            Err::<Loaded<u64>, _>(Oops("the source is away"))
        };
        let _ = a.get_or_load_with("gone", policy, load).await;
        assert_eq!(seen.lock().expect("alone").take(), Some(expected.clone()), "cut off, strict: {strict}");
        group.heal(0).await;
        group.settle().await;
        let _ = a.with(here).get_or_load_with("gone", policy, load).await;
        assert_eq!(seen.lock().expect("alone").take(), Some(None), "nobody was asked, strict: {strict}");
        let _ = a.get_or_load_with("gone", policy, load).await;
        assert_eq!(seen.lock().expect("alone").take(), Some(None), "it is not there, strict: {strict}");
        let _ = a.get_or_load_with("kept", policy, load).await;
        assert_eq!(seen.lock().expect("alone").take(), Some(Some((1, None))), "it is, strict: {strict}");
    }
}
