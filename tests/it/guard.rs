//! Write guards: what is loaded while keys are held is kept by nobody, in no tier of no instance, whatever becomes of the guard.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cachetier::testing::Group;
use cachetier::{CacheError, CallKind, Delivery, InProcess, Plan, Policy, TieredCache};
use cachetier_tests::{Gate, Origin, PARTS, RedisServer, Tier, World, eventually_async, over_each, over_shared, part_of};
use tokio::task::JoinHandle;

const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600)).jitter(0);
const KEY: &str = "user:7";
const LIMIT: Duration = Duration::from_secs(30);

async fn read(cache: &TieredCache, key: &str, origin: &Origin) -> u64 {
    cache.get_or_load(key, POLICY, || origin.load()).await.expect("loaded")
}

/// A read whose loader stands at the gate, with the present version in its hands.
async fn slow_read(cache: &TieredCache, key: &str, origin: &Arc<Origin>, gate: &Gate) -> JoinHandle<u64> {
    let (cache, key, origin, held) = (cache.clone(), key.to_owned(), Arc::clone(origin), gate.clone());
    let call = tokio::spawn(async move { cache.get_or_load(&key, POLICY, || origin.load_slowly(&held)).await.expect("loaded") });
    gate.arrived(1).await;
    call
}

/// Two instances on a clock that is moved by hand; without a shared tier the same one.
async fn instances(shared: bool) -> (World, TieredCache, TieredCache) {
    let mut world = World::new();
    let (a, b) = if shared {
        (world.add(|builder| builder).await, world.add(|builder| builder).await)
    } else {
        let alone = TieredCache::builder("alone").clock(world.time()).build().await.expect("built");
        (alone.clone(), alone)
    };
    (world, a, b)
}

/// Nobody keeps what is loaded now.
async fn nothing_is_kept(caches: [&TieredCache; 2], key: &str, origin: &Origin) {
    for cache in caches {
        let loads = origin.loads();
        read(cache, key, origin).await;
        assert_eq!(cache.get::<u64>(key).await, None, "kept in a tier");
        read(cache, key, origin).await;
        assert_eq!(origin.loads(), loads + 2, "kept");
    }
}

/// What is loaded now is `version`, and both keep it.
async fn kept_as(version: u64, [a, b]: [&TieredCache; 2], key: &str, origin: &Origin) {
    assert_eq!((read(a, key, origin).await, read(b, key, origin).await), (version, version));
    let loads = origin.loads();
    assert_eq!((read(a, key, origin).await, read(b, key, origin).await), (version, version));
    assert_eq!(origin.loads(), loads, "not kept");
}

/// Returns when `cache` has applied more invalidations than `before`, if it hears of any.
async fn heard(tier: &Tier, cache: &TieredCache, before: u64) {
    if tier.is_shared() {
        eventually_async(LONG, "the other instance has heard", async || cache.stats().invalidations_applied > before).await;
    }
}

#[track_caller]
fn applied(delivery: Result<Delivery, CacheError>) {
    let delivery = delivery.expect("no error");
    assert!(matches!(delivery, Delivery::Applied(_)), "{delivery:?}");
}

#[tokio::test]
async fn what_is_loaded_under_a_guard_is_kept_by_nobody_and_what_comes_after_it_is() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        let origin = Origin::at(1);
        kept_as(1, [&a, &b], KEY, &origin).await;
        let before = b.stats().invalidations_applied;
        let guard = a.guard([KEY, KEY, "another"]).await.expect("held");
        heard(tier, &b, before).await;
        nothing_is_kept([&a, &b], KEY, &origin).await;
        origin.commit(2);
        nothing_is_kept([&a, &b], KEY, &origin).await;
        applied(guard.release().await);
        kept_as(2, [&a, &b], KEY, &origin).await;
        assert_eq!((a.stats().guards, a.stats().guards_dropped, a.stats().holds_lost), (1, 0, 0));
    })
    .await;
}

#[tokio::test]
async fn a_load_from_before_the_guard_or_from_under_it_is_refused_however_late_it_lands() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        for (key, before_the_guard, by_the_other) in
            [("user:1", true, false), ("user:2", true, true), ("user:3", false, false), ("user:4", false, true)]
        {
            let (origin, gate) = (Arc::new(Origin::at(1)), Gate::new());
            let loader = if by_the_other { &b } else { &a };
            let mut old = None;
            if before_the_guard {
                old = Some(slow_read(loader, key, &origin, &gate).await);
            }
            let heard_before = b.stats().invalidations_applied;
            let guard = a.guard([key]).await.expect("held");
            heard(tier, &b, heard_before).await;
            let old = match old {
                Some(old) => old,
                None => slow_read(loader, key, &origin, &gate).await,
            };
            origin.commit(2);
            let heard_before = b.stats().invalidations_applied;
            applied(guard.release().await);
            heard(tier, &b, heard_before).await;
            gate.open();
            assert_eq!(old.await.expect("no panic"), 1, "who asked before the commit may get it");
            kept_as(2, [&a, &b], key, &origin).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_guard_that_is_dropped_after_the_commit_leaves_nothing_old_behind() {
    for shared in [true, false] {
        let (world, a, b) = instances(shared).await;
        let (origin, gate) = (Arc::new(Origin::at(1)), Gate::new());
        kept_as(1, [&a, &b], KEY, &origin).await;
        let before = b.stats().invalidations_applied;
        let guard = a.guard([KEY]).await.expect("held");
        if shared {
            eventually_async(LONG, "the other has heard", async || b.stats().invalidations_applied > before).await;
        }
        let old = slow_read(&b, KEY, &origin, &gate).await;
        origin.commit(2);
        drop(guard);
        assert_eq!(a.stats().guards_dropped, 1);
        world.clock().advance(Duration::from_millis(29_999));
        gate.open();
        assert_eq!(old.await.expect("no panic"), 1);
        nothing_is_kept([&a, &b], KEY, &origin).await;
        world.clock().advance(Duration::from_millis(1));
        kept_as(2, [&a, &b], KEY, &origin).await;
    }
}

#[tokio::test]
async fn a_load_from_under_a_lost_guard_is_not_kept_when_it_lands_after_the_hold() {
    for shared in [true, false] {
        let (world, a, _) = instances(shared).await;
        let (origin, gate) = (Arc::new(Origin::at(1)), Gate::new());
        let guard = a.guard([KEY]).await.expect("held");
        let old = slow_read(&a, KEY, &origin, &gate).await;
        origin.commit(2);
        drop(guard);
        world.clock().advance(LIMIT);
        gate.open();
        assert_eq!(old.await.expect("no panic"), 1);
        kept_as(2, [&a, &a], KEY, &origin).await;
    }
}

#[tokio::test]
async fn a_process_that_dies_between_commit_and_release_leaves_a_hold_and_nothing_old() {
    let server = RedisServer::start();
    let url = server.url();
    let tier = Tier::over(server);
    let (a, b) = tier.pair().await;
    let origin = Origin::at(1);
    kept_as(1, [&a, &b], KEY, &origin).await;
    let before = [&a, &b].map(|cache| cache.stats().invalidations_applied);
    let process = Command::new(env!("CARGO_BIN_EXE_dying_process")).args([&*url, tier.namespace(), KEY, "3000"]).output();
    assert!(process.expect("it starts").status.success());
    heard(&tier, &a, before[0]).await;
    heard(&tier, &b, before[1]).await;
    let held = || tier.bytes(KEY).is_some_and(|bytes| bytes.first() == Some(&0xf7));
    assert!(held());
    for cache in [&a, &b] {
        assert_eq!(read(cache, KEY, &origin).await, 1);
    }
    origin.commit(2);
    while held() {
        for cache in [&a, &b] {
            assert_eq!(read(cache, KEY, &origin).await, 2, "what was loaded before the commit was kept");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    kept_as(2, [&a, &b], KEY, &origin).await;
}

#[tokio::test]
async fn two_guards_hold_one_key_until_both_are_released() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        let origin = Origin::at(1);
        let first = a.guard([KEY]).await.expect("held");
        let second = b.guard([KEY]).await.expect("held, too");
        origin.commit(2);
        applied(first.release().await);
        nothing_is_kept([&a, &b], KEY, &origin).await;
        origin.commit(3);
        applied(second.release().await);
        kept_as(3, [&a, &b], KEY, &origin).await;
    })
    .await;
}

#[tokio::test]
async fn an_invalidation_and_a_set_leave_what_a_guard_holds() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        let origin = Origin::at(1);
        let guard = a.guard([KEY]).await.expect("held");
        applied(b.invalidate(KEY).await);
        nothing_is_kept([&a, &b], KEY, &origin).await;
        applied(b.set(KEY, 9_u64, POLICY).await);
        applied(a.set(KEY, 9_u64, POLICY).await);
        nothing_is_kept([&a, &b], KEY, &origin).await;
        applied(a.clear().await);
        nothing_is_kept([&a, &b], KEY, &origin).await;
        origin.commit(2);
        applied(guard.release().await);
        kept_as(2, [&a, &b], KEY, &origin).await;
    })
    .await;
}

#[tokio::test]
async fn a_guard_puts_what_it_has_committed() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        let origin = Origin::at(1);
        kept_as(1, [&a, &b], KEY, &origin).await;
        let mut guard = a.guard([KEY, "another"]).await.expect("held");
        origin.commit(2);
        let before = b.stats().invalidations_applied;
        applied(guard.set(KEY, 2_u64, POLICY.tags(["t"])).await);
        heard(tier, &b, before).await;
        let loads = origin.loads();
        assert_eq!((a.get::<u64>(KEY).await, b.get::<u64>(KEY).await), (Some(2), Some(2)));
        assert_eq!(origin.loads(), loads);
        let again = guard.set(KEY, 3_u64, POLICY).await;
        assert_eq!(again, Err(CacheError::NotHeld { key: KEY.to_owned() }), "the guard is over for this key");
        nothing_is_kept([&a, &b], "another", &origin).await;
        applied(guard.release().await);
        assert_eq!(a.get::<u64>(KEY).await, Some(2), "the release is of the other key");
        kept_as(2, [&a, &b], "another", &origin).await;
        applied(b.invalidate_tag("t").await);
        eventually_async(LONG, "the tag has gone", async || a.get::<u64>(KEY).await.is_none()).await;
    })
    .await;
}

#[tokio::test]
async fn what_a_guard_puts_after_anybody_else_has_changed_the_key_counts_as_an_invalidation() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        for disturbance in 0..5 {
            let key = &*format!("user:{disturbance}");
            let origin = Origin::at(1);
            let mut guard = a.guard([key]).await.expect("held");
            origin.commit(2);
            let mut other = None;
            match disturbance {
                0 => applied(b.invalidate(key).await),
                1 => applied(b.set(key, 3_u64, POLICY).await),
                2 => other = Some(b.guard([key]).await.expect("held")),
                3 => applied(b.guard([key]).await.expect("held").release().await),
                _ if tier.is_shared() => assert!(tier.evict(key)),
                _ => continue,
            }
            origin.commit(3);
            applied(guard.set(key, 2_u64, POLICY).await);
            if let Some(other) = other {
                nothing_is_kept([&a, &b], key, &origin).await;
                applied(other.release().await);
            }
            kept_as(3, [&a, &b], key, &origin).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_guard_that_was_lost_beside_another_may_have_committed_something_newer() {
    for shared in [true, false] {
        let (world, a, b) = instances(shared).await;
        let origin = Origin::at(1);
        let mut guard = a.guard([KEY]).await.expect("held");
        let other = b.guard_for([KEY], Duration::from_secs(1)).await.expect("held");
        origin.commit(2);
        origin.commit(3);
        drop(other);
        world.clock().advance(Duration::from_secs(1));
        applied(guard.set(KEY, 2_u64, POLICY).await);
        kept_as(3, [&a, &b], KEY, &origin).await;
    }
}

#[tokio::test]
async fn what_is_read_again_while_a_guard_is_planted_goes_with_it() {
    let memory = InProcess::new();
    let tier = Tier::in_process(&memory);
    let (a, b) = tier.pair().await;
    let (origin, gate) = (Origin::at(1), Gate::new());
    kept_as(1, [&b, &b], KEY, &origin).await;
    let held = gate.clone();
    memory.script_calls(move |call: &cachetier::Call<'_>| {
        let held = held.clone();
        if call.kind == CallKind::Hold { Plan::go().after(async move { held.wait().await }) } else { Plan::go() }
    });
    let mut guarding = std::pin::pin!(a.guard([KEY]));
    assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(guarding.as_mut().poll(cx).is_pending())).await);
    assert_eq!(a.get::<u64>(KEY).await, Some(1), "read from the tier before it is held there");
    gate.open();
    // Nothing else has run since: no message has come.
    let guard = guarding.await.expect("held");
    assert_eq!(a.stats().invalidations_applied, 0);
    assert_eq!(a.get::<u64>(KEY).await, None);
    applied(guard.release().await);
}

#[tokio::test]
async fn a_tag_that_is_invalidated_under_a_guard_invalidates_what_the_guard_puts() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        let mut guard = a.guard([KEY]).await.expect("held");
        let before = a.stats().invalidations_applied;
        applied(b.invalidate_tag("t").await);
        heard(tier, &a, before).await;
        applied(guard.set(KEY, 2_u64, POLICY.tags(["t"])).await);
        assert_eq!((a.get::<u64>(KEY).await, b.get::<u64>(KEY).await), (None, None));
    })
    .await;
}

#[tokio::test]
async fn after_a_release_with_a_lag_nothing_is_kept_until_the_lag_is_over() {
    for shared in [true, false] {
        let (world, a, b) = instances(shared).await;
        let origin = Origin::at(1);
        let guard = a.guard([KEY]).await.expect("held");
        applied(guard.release_after(2 * LIMIT).await);
        // The replica still shows the old row.
        world.clock().advance(Duration::from_millis(59_999));
        nothing_is_kept([&a, &b], KEY, &origin).await;
        origin.commit(2);
        world.clock().advance(Duration::from_millis(1));
        kept_as(2, [&a, &b], KEY, &origin).await;
    }
}

#[tokio::test]
async fn a_release_drops_what_was_filled_after_the_hold_was_lost() {
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        for late in [Duration::ZERO, LIMIT] {
            let key = &*format!("user:{}", late.as_secs());
            let origin = Origin::at(1);
            let before = b.stats().invalidations_applied;
            let guard = a.guard([key]).await.expect("held");
            heard(tier, &b, before).await;
            assert!(tier.evict(key));
            assert_eq!(read(&b, key, &origin).await, 1);
            assert!(tier.holds_value(key), "an old value was filled");
            origin.commit(2);
            let (lost, before) = (a.stats().holds_lost, b.stats().invalidations_applied);
            applied(guard.release_after(late).await);
            heard(tier, &b, before).await;
            assert_eq!(a.stats().holds_lost, lost + 1);
            if late.is_zero() {
                kept_as(2, [&a, &b], key, &origin).await;
            } else {
                nothing_is_kept([&a, &b], key, &origin).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_guard_over_its_limit_is_an_invalidation() {
    let group = Group::new(2).await;
    let (a, b) = (&group.instance(0), &group.instance(1));
    let origin = Origin::at(1);
    let guard = a.guard_for([KEY], Duration::from_secs(1)).await.expect("held");
    group.jump(Duration::from_secs(1)).await;
    kept_as(1, [a, b], KEY, &origin).await;
    origin.commit(2);
    applied(guard.release().await);
    group.settle().await;
    kept_as(2, [a, b], KEY, &origin).await;
    assert_eq!(a.stats().holds_lost, 1);
}

#[tokio::test]
async fn a_full_server_holds_and_releases() {
    let tier = Tier::over(RedisServer::start());
    let (a, b) = tier.pair().await;
    let origin = Origin::at(1);
    kept_as(1, [&a, &b], KEY, &origin).await;
    let server = tier.server().expect("a server");
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let before = b.stats().invalidations_applied;
    let guard = a.guard([KEY]).await.expect("held");
    heard(&tier, &b, before).await;
    nothing_is_kept([&a, &b], KEY, &origin).await;
    origin.commit(2);
    let before = b.stats().invalidations_applied;
    applied(guard.release().await);
    heard(&tier, &b, before).await;
    assert_eq!((read(&a, KEY, &origin).await, read(&b, KEY, &origin).await), (2, 2));
    let loads = origin.loads();
    assert_eq!((read(&a, KEY, &origin).await, read(&b, KEY, &origin).await), (2, 2));
    assert_eq!(origin.loads(), loads, "what a full server has looked for and not found is kept here");
}

#[tokio::test]
async fn a_guard_that_nobody_confirms_is_an_error_and_leaves_no_hold() {
    let memory = InProcess::new();
    let tier = Tier::in_process(&memory);
    let (a, b) = tier.pair().await;
    let origin = Origin::at(1);
    memory.lose_reply_next(CallKind::Hold);
    assert!(matches!(a.guard([KEY]).await, Err(CacheError::NotGuarded(_))));
    assert!(memory.is_empty(), "it is taken away again");
    memory.fail_next(CallKind::Hold);
    assert!(matches!(a.guard([KEY]).await, Err(CacheError::NotGuarded(_))));
    kept_as(1, [&a, &b], KEY, &origin).await;
    assert_eq!((a.stats().guards, a.stats().guards_dropped), (0, 0));
}

#[tokio::test]
async fn a_call_for_a_guard_that_is_dropped_leaves_no_hold() {
    let memory = InProcess::new();
    let tier = Tier::in_process(&memory);
    let (a, b) = tier.pair().await;
    let (origin, gate) = (Origin::at(1), Gate::new());
    let held = gate.clone();
    memory.script_calls(move |call: &cachetier::Call<'_>| {
        let held = held.clone();
        if call.kind == CallKind::Hold { Plan::go().reply_after(async move { held.wait().await }) } else { Plan::go() }
    });
    let calling = tokio::spawn({
        let a = a.clone();
        async move { a.guard([KEY]).await.map(drop) }
    });
    gate.arrived(1).await;
    assert_eq!(memory.len(), 1, "it stands already");
    calling.abort();
    assert!(calling.await.expect_err("dropped").is_cancelled());
    a.flush(LONG).await.expect("nothing is open");
    assert!(memory.is_empty());
    kept_as(1, [&a, &b], KEY, &origin).await;
}

/// In a namespace that is divided a guard holds the keys of all parts, or none: also where it comes to its end in the middle of them.
#[tokio::test]
async fn a_guard_of_several_parts_that_comes_to_nothing_or_is_dropped_leaves_no_hold_in_any() {
    let keys: Vec<String> =
        (0..PARTS).filter_map(|part| (0..1_000).map(|n| format!("key:{n}")).find(|key| part_of(key) == part)).collect();
    for kind in [CallKind::Hold, CallKind::Release] {
        for end in ["fails", "dropped"] {
            let memory = InProcess::new().spread();
            let tier = Tier::in_process(&memory);
            let (a, b) = tier.pair().await;
            let (gate, calls) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
            let (held, seen) = (gate.clone(), Arc::clone(&calls));
            memory.script_calls(move |call: &cachetier::Call<'_>| {
                let (held, third) = (held.clone(), call.kind == kind && seen.fetch_add(1, Ordering::SeqCst) == 2);
                match end {
                    "fails" if third => Plan::error("unlucky"),
                    _ if third => Plan::go().reply_after(async move { held.wait().await }),
                    _ => Plan::go(),
                }
            });
            let calling = tokio::spawn({
                let (a, keys) = (a.clone(), keys.clone());
                async move { a.guard(&keys).await?.release().await }
            });
            if end == "dropped" {
                gate.arrived(1).await;
                calling.abort();
                assert!(calling.await.expect_err("dropped").is_cancelled());
            } else {
                let came_to = calling.await.expect("it ends");
                let expected = if kind == CallKind::Hold {
                    matches!(came_to, Err(CacheError::NotGuarded(_)))
                } else {
                    came_to == Ok(Delivery::Pending)
                };
                assert!(expected, "{kind:?}: {came_to:?}");
            }
            a.flush(LONG).await.expect("nothing is open");
            assert!(calls.load(Ordering::SeqCst) >= PARTS, "{kind:?} {end}: each part was asked");
            // Only what was refused to be released goes on being held, until the limit of the guard is over.
            let refused = usize::from(kind == CallKind::Release && end == "fails");
            assert_eq!(memory.len(), refused, "{kind:?} {end}: held still");
            for key in keys.iter().filter(|_| refused == 0) {
                kept_as(1, [&a, &b], key, &Arc::new(Origin::at(1))).await;
            }
        }
    }
}

#[tokio::test]
async fn a_release_without_an_answer_is_pending_and_told_later() {
    for dropped in [false, true] {
        let memory = InProcess::new();
        let tier = Tier::in_process(&memory);
        let (a, b) = tier.pair().await;
        let origin = Origin::at(1);
        let guard = a.guard([KEY]).await.expect("held");
        // The hold is lost, and the old value stored: nothing but the invalidation can mend it.
        memory.evict(&tier.name(KEY));
        eventually_async(LONG, "an old value is kept", async || {
            read(&b, KEY, &origin).await;
            tier.holds_value(KEY) && b.get::<u64>(KEY).await.is_some()
        })
        .await;
        origin.commit(2);
        if dropped {
            memory.hang(CallKind::Release);
            let releasing = tokio::spawn(guard.release());
            eventually_async(LONG, "it is under way", async || a.stats().invalidations > 1).await;
            releasing.abort();
            assert!(releasing.await.expect_err("dropped").is_cancelled());
        } else {
            memory.lose_next(CallKind::Release);
            assert_eq!(guard.release().await, Ok(Delivery::Pending));
        }
        assert_eq!(a.stats().guards_dropped, 0);
        assert_eq!(read(&a, KEY, &origin).await, 2, "here it holds at once");
        a.flush(LONG).await.expect("told");
        eventually_async(LONG, "the other is told", async || read(&b, KEY, &origin).await == 2).await;
    }
}

#[tokio::test]
async fn an_instance_that_cannot_ask_the_tier_keeps_what_it_loads_for_the_bound_alone() {
    let mut world = World::new();
    let bound = |builder: cachetier::CacheBuilder| builder.max_staleness(Duration::from_secs(10));
    let (a, b) = (world.add(bound).await, world.add(bound).await);
    let origin = Origin::at(1);
    let before = b.stats().invalidations_applied;
    let guard = a.guard([KEY]).await.expect("held");
    eventually_async(LONG, "the other has heard", async || b.stats().invalidations_applied > before).await;
    world.tier().script_calls(|call: &cachetier::Call<'_>| match call.kind {
        CallKind::Probe | CallKind::Read => Plan::away(),
        _ => Plan::go(),
    });
    assert_eq!((read(&a, KEY, &origin).await, read(&b, KEY, &origin).await), (1, 1));
    origin.commit(2);
    drop(guard);
    assert_eq!(read(&a, KEY, &origin).await, 2, "the guard's own instance knows of the hold");
    world.clock().advance(Duration::from_secs(10));
    assert_eq!(read(&b, KEY, &origin).await, 2, "the other may not have known of one");
}

#[tokio::test]
async fn what_cannot_be_held_has_a_name() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        let many = (0..1_001).map(|id| format!("user:{id}"));
        assert!(matches!(cache.guard(many).await, Err(CacheError::TooManyKeys { keys: 1_001, limit: 1_000 })));
        assert!(matches!(cache.guard([""]).await, Err(CacheError::Key(_))));
        assert!(matches!(cache.guard_for(["k"], Duration::ZERO).await, Err(CacheError::GuardTime(_))));
        assert!(matches!(cache.guard_for(["k"], Duration::from_secs(3_601)).await, Err(CacheError::GuardTime(_))));
        let mut guards = Vec::new();
        for _ in 0..64 {
            guards.push(cache.guard(["k"]).await.expect("held"));
        }
        assert!(matches!(cache.guard(["k"]).await, Err(CacheError::TooManyGuards { limit: 64 })));
        for guard in guards {
            applied(guard.release().await);
        }
        let mut guard = cache.guard(["k"]).await.expect("held");
        assert!(matches!(guard.set("other", 1_u64, POLICY).await, Err(CacheError::NotHeld { .. })));
        assert!(matches!(guard.set("k", 1_u64, Policy::ttl(Duration::ZERO)).await, Err(CacheError::Policy(_))));
        applied(guard.set("k", 1_u64, POLICY).await);
        applied(guard.release().await);
        applied(cache.guard([""; 0]).await.expect("of nothing").release().await);
        let guard = cache.guard(["k"]).await.expect("held");
        cache.close(LONG).await.expect("closed");
        assert_eq!(guard.release().await, Err(CacheError::Closed));
        assert!(matches!(cache.guard(["k"]).await, Err(CacheError::Closed)));
    })
    .await;
}
