//! How old an instance's proof is, and how long it had none, by a clock that is moved by hand.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::time::Duration;

use cachetier::{CallKind, Clock, InProcess, Lag, ManualClock, TieredCache};
use cachetier_tests::eventually_async;

const LONG: Duration = Duration::from_secs(20);
const BOUND: Duration = Duration::from_secs(2);

/// Time passes for the checks, not by the clock.
const CHECKED: Duration = Duration::from_millis(600);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

async fn built(tier: &InProcess) -> (TieredCache, ManualClock) {
    tier.prove_for(BOUND);
    let (clock, hand) = Clock::manual();
    let cache = TieredCache::builder("lag").in_process(tier).clock(clock).max_staleness(BOUND).build().await.expect("built");
    (cache, hand)
}

fn seen(cache: &TieredCache) -> (Lag, Duration) {
    let stats = cache.stats();
    (stats.lag, stats.time_unproven)
}

#[tokio::test]
async fn a_cache_without_a_shared_tier_has_nothing_to_prove() {
    let (clock, hand) = Clock::manual();
    let cache = TieredCache::builder("lag").clock(clock).build().await.expect("built");
    hand.advance(LONG);
    assert_eq!(seen(&cache), (Lag::Alone, Duration::ZERO));
    assert!(cache.stats().to_string().ends_with("alone"));
}

#[tokio::test(start_paused = true)]
async fn the_lag_is_the_age_of_the_proof_and_begins_anew_with_each_check() {
    let (cache, hand) = built(&InProcess::new()).await;
    assert_eq!(seen(&cache), (Lag::Proven(Duration::ZERO), Duration::ZERO));
    hand.advance(millis(300));
    assert_eq!(seen(&cache), (Lag::Proven(millis(300)), Duration::ZERO));
    assert!(cache.stats().to_string().ends_with("300 ms"));
    tokio::time::sleep(CHECKED).await;
    assert_eq!(seen(&cache), (Lag::Proven(Duration::ZERO), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_proof_that_has_run_out_is_none_until_the_next() {
    let (cache, hand) = built(&InProcess::new()).await;
    hand.advance(millis(1_999));
    assert_eq!(seen(&cache), (Lag::Proven(millis(1_999)), Duration::ZERO));
    hand.advance(millis(501));
    assert_eq!(seen(&cache), (Lag::Unproven, millis(500)));
    tokio::time::sleep(CHECKED).await;
    assert_eq!(seen(&cache), (Lag::Proven(Duration::ZERO), millis(500)));
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_is_lost_is_time_without_proof_until_it_is_back() {
    let tier = InProcess::new();
    let (cache, hand) = built(&tier).await;
    hand.advance(millis(100));
    tier.hang(CallKind::Subscribe);
    tier.break_subscriptions();
    eventually_async(LONG, "the loss is seen", async || cache.stats().lag == Lag::Unproven).await;
    assert_eq!(seen(&cache), (Lag::Unproven, Duration::ZERO), "by the clock no time has passed");
    hand.advance(millis(700));
    assert_eq!(seen(&cache), (Lag::Unproven, millis(700)));
    tier.clear_script();
    tier.prove_for(BOUND);
    eventually_async(LONG, "the lane is back", async || cache.stats().lag == Lag::Proven(Duration::ZERO)).await;
    hand.advance(millis(50));
    assert_eq!(seen(&cache), (Lag::Proven(millis(50)), millis(700)));
}

#[tokio::test(start_paused = true)]
async fn what_is_built_without_its_tier_has_never_proven_anything() {
    let tier = InProcess::new();
    tier.hang(CallKind::Subscribe);
    let (cache, hand) = built(&tier).await;
    hand.advance(millis(250));
    assert_eq!(seen(&cache), (Lag::Unproven, millis(250)));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_proves_beside_the_subscription_ends_the_time_without() {
    let tier = InProcess::new();
    tier.hang(CallKind::Subscribe);
    let (cache, hand) = built(&tier).await;
    hand.advance(millis(250));
    assert_eq!(cache.get::<u64>("k").await, None);
    assert_eq!(seen(&cache), (Lag::Proven(Duration::ZERO), millis(250)));
}
