//! Tokens: what is read in one instance after another's invalidation has been waited for there is not older than that invalidation,
//! whatever became of the messages.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, clippy::panic, reason = "what fails here is a test that has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cachetier::testing::Group;
use cachetier::{Call, CallKind, Delivery, InProcess, Plan, Policy, TieredCache, Token, WaitError};
use cachetier_tests::{Gate, Origin, Tier, World, over_shared};

const LONG: Duration = Duration::from_secs(20);
/// In a world of paused time: far longer than anything takes that is ever going to happen.
const NEVER: Duration = Duration::from_secs(3_600);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

#[track_caller]
fn token(delivery: Result<Delivery, cachetier::CacheError>) -> Token {
    match delivery {
        Ok(Delivery::Applied(token)) => token,
        other => panic!("expected it applied, found {other:?}"),
    }
}

async fn read(cache: &TieredCache, key: &str, origin: &Origin) -> u64 {
    cache.get_or_load(key, POLICY.tags(["users"]), || origin.load()).await.expect("loaded")
}

/// Loses what is told to `instance` while it is set.
fn deaf(tier: &InProcess, instance: usize) -> Arc<AtomicBool> {
    let deaf = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&deaf);
    tier.script(move |call: &Call<'_>| match call.kind {
        CallKind::Deliver if call.instance == instance && asked.load(Ordering::SeqCst) => Plan::lost(),
        _ => Plan::go(),
    });
    deaf
}

#[tokio::test]
async fn what_is_read_after_the_wait_is_what_was_committed_before_the_invalidation() {
    over_shared(async |tier| {
        let (here, there) = tier.pair().await;
        let origin = Origin::at(0);
        for version in 1..=100 {
            read(&there, "user:7", &origin).await;
            origin.commit(version);
            let told = token(match version % 5 {
                0 => here.invalidate("user:7").await,
                1 => here.invalidate_prefix("user:").await,
                2 => here.clear().await,
                3 => here.invalidate_tag("users").await,
                _ => here.invalidate_many(["user:7", "user:8"]).await,
            });
            // As a text, for that is how it travels.
            let told = told.to_string().parse().expect("a token");
            assert_eq!(there.wait_for(told, LONG).await, Ok(()));
            assert_eq!(read(&there, "user:7", &origin).await, version);
            assert_eq!(here.wait_for(told, LONG).await, Ok(()), "one's own");
        }
    })
    .await;
}

#[tokio::test]
async fn a_cache_without_a_shared_tier_has_applied_everything() {
    let cache = Tier::alone().cache().await;
    let own = token(cache.invalidate("k").await);
    assert_eq!(cache.wait_for(own, Duration::ZERO).await, Ok(()));
    assert_eq!(cache.wait_for("7-ffff".parse().expect("a token"), Duration::ZERO).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_own_later_invalidation_does_not_stand_for_one_that_is_not_heard_yet() {
    let world = World::of(2).await;
    let [here, there] = world.caches() else { panic!("two") };
    let (gate, origin) = (Gate::new(), Origin::at(0));
    read(there, "k", &origin).await;
    let held = gate.clone();
    world.tier().script(move |call: &Call<'_>| {
        let held = held.clone();
        match call.kind {
            CallKind::Deliver if call.instance == 1 => Plan::go().after(async move { held.wait().await }),
            _ => Plan::go(),
        }
    });
    origin.commit(1);
    let first = token(here.invalidate("k").await);
    let own = token(there.invalidate("other").await);
    assert!(own > first);
    assert!(there.wait_for(first, Duration::from_millis(100)).await.is_err_and(|error| error.is_timeout()));
    gate.open();
    assert_eq!(there.wait_for(first, NEVER).await, Ok(()));
    assert_eq!(read(there, "k", &origin).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_moment_ago_is_not_served_for_an_invalidation_whose_message_was_lost() {
    let world = World::of(2).await;
    let [here, there] = world.caches() else { panic!("two") };
    let (deaf, origin) = (deaf(world.tier(), 1), Origin::at(0));
    read(there, "k", &origin).await;
    deaf.store(true, Ordering::SeqCst);
    origin.commit(1);
    let told = token(here.invalidate("k").await);
    deaf.store(false, Ordering::SeqCst);
    // The clock of the caches stands still: what was loaded is as young as it can be.
    assert_eq!(there.wait_for(told, NEVER).await, Ok(()));
    assert_eq!(read(there, "k", &origin).await, 1);
}

/// By default copies are served while nobody can prove anything: but none of those that were waited for.
#[tokio::test(start_paused = true)]
async fn what_was_promised_holds_in_an_outage() {
    let world = World::of(2).await;
    let [here, there] = world.caches() else { panic!("two") };
    let (deaf, away) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (lost, gone) = (Arc::clone(&deaf), Arc::clone(&away));
    world.tier().script(move |call: &Call<'_>| match call.kind {
        _ if call.instance != 1 => Plan::go(),
        CallKind::Deliver if lost.load(Ordering::SeqCst) => Plan::lost(),
        _ if gone.load(Ordering::SeqCst) => Plan::away(),
        _ => Plan::go(),
    });
    world.tier().prove_for(Duration::from_secs(2));
    let (key, other) = (Origin::at(0), Origin::at(0));
    assert_eq!((read(there, "k", &key).await, read(there, "other", &other).await), (0, 0));
    deaf.store(true, Ordering::SeqCst);
    key.commit(1);
    let told = token(here.invalidate("k").await);
    deaf.store(false, Ordering::SeqCst);
    assert_eq!(there.wait_for(told, NEVER).await, Ok(()));
    assert_eq!(read(there, "other", &other).await, 0, "looked at, and found to be what the shared tier holds");
    away.store(true, Ordering::SeqCst);
    world.clock().advance(Duration::from_secs(10));
    assert_eq!((read(there, "k", &key).await, read(there, "other", &other).await), (1, 0));
    assert_eq!((key.loads(), other.loads(), there.stats().served_unproven), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_an_era_that_is_left_is_reached_and_nothing_older_is_served() {
    let world = World::of(2).await;
    let [here, there] = world.caches() else { panic!("two") };
    let (deaf, origin) = (deaf(world.tier(), 1), Origin::at(0));
    read(there, "k", &origin).await;
    deaf.store(true, Ordering::SeqCst);
    origin.commit(1);
    let before = token(here.invalidate("k").await);
    world.tier().flush_all();
    deaf.store(false, Ordering::SeqCst);
    assert_eq!(there.wait_for(before, NEVER).await, Ok(()));
    assert_eq!(read(there, "k", &origin).await, 1);
    origin.commit(2);
    let after = token(here.invalidate("k").await);
    assert_eq!(after.partial_cmp(&before), None, "another era");
    assert_eq!(there.wait_for(after, NEVER).await, Ok(()));
    assert_eq!(read(there, "k", &origin).await, 2);
    // Who begins only now has never met the era.
    let mut world = world;
    let late = world.add(|builder| builder).await;
    assert_eq!(late.wait_for(before, NEVER).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_an_era_not_met_yet_is_waited_for() {
    let world = World::of(2).await;
    let [here, there] = world.caches() else { panic!("two") };
    let (deaf, origin) = (deaf(world.tier(), 1), Origin::at(0));
    read(there, "k", &origin).await;
    deaf.store(true, Ordering::SeqCst);
    world.tier().flush_all();
    origin.commit(1);
    let told = token(here.invalidate("k").await);
    assert!(there.wait_for(told, Duration::ZERO).await.is_err(), "it cannot know yet");
    assert_eq!(there.wait_for(told, NEVER).await, Ok(()));
    assert_eq!(read(there, "k", &origin).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_over_says_how_far_the_instance_has_come() {
    let group = Group::new(2).await;
    let (here, there) = (group.instance(0), group.instance(1));
    let first = token(here.invalidate("k").await);
    there.wait_for(first, NEVER).await.expect("reached");
    group.partition(1).await;
    let second = token(here.invalidate("k").await);
    let limit = Duration::from_secs(7);
    let error = there.wait_for(second, limit).await.expect_err("it cannot hear");
    assert_eq!(error, WaitError::NotReached { token: second, applied: first, limit });
    let text = format!("this instance has come to {first}, expected {second} within 7s; read from the source instead");
    assert_eq!(error.to_string(), text);
    assert_eq!(there.wait_for(first, Duration::ZERO).await, Ok(()), "what was reached stays reached");
    group.heal(1).await;
    assert_eq!(there.wait_for(second, Duration::ZERO).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_close_ends_a_wait_and_those_to_come() {
    let world = World::of(1).await;
    let cache = world.caches()[0].clone();
    let told = token(cache.invalidate("k").await);
    let far: Token = format!("{}-1fffffffffffff", told.to_string().split('-').next().expect("an era")).parse().expect("a token");
    let waits = tokio::spawn({
        let cache = cache.clone();
        async move { cache.wait_for(far, NEVER).await }
    });
    tokio::task::yield_now().await;
    cache.close(LONG).await.expect("closed");
    assert_eq!(waits.await.expect("it ends"), Err(WaitError::Closed));
    assert_eq!(cache.wait_for(told, NEVER).await, Err(WaitError::Closed));
}
