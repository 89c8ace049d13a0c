//! How long entries live, by a clock that the tests turn: in an instance, in the shared tier, as the knowledge that there is none.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::time::Duration;

use cachetier::{Clock, InProcess, ManualClock, Policy, TieredCache};
use cachetier_tests::{Oops, Origin, Tier, eventually_async};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(20);

/// The last moment before `life` is over.
fn just_before(life: Duration) -> Duration {
    life.saturating_sub(MILLI)
}

/// Two instances over one tier, all on one clock.
struct World {
    a: TieredCache,
    b: TieredCache,
    tier: Tier,
    clock: ManualClock,
    origin: Origin,
}

impl World {
    async fn new() -> Self {
        let (clock, hand) = Clock::manual();
        let tier = Tier::in_process(&InProcess::with_clock(clock.clone()));
        let cache = async || tier.builder().clock(clock.clone()).build().await.expect("built");
        Self { a: cache().await, b: cache().await, tier: tier.clone(), clock: hand, origin: Origin::at(1) }
    }

    async fn read(&self, cache: &TieredCache, policy: Policy) -> u64 {
        cache.get_or_load("k", policy, || self.origin.load()).await.expect("loaded")
    }

    async fn read_optional(&self, cache: &TieredCache, policy: Policy) -> Option<u64> {
        let nothing = async || self.origin.load().await.map(|_| None);
        cache.get_or_load_optional("k", policy, nothing).await.expect("loaded")
    }
}

#[tokio::test]
async fn an_entry_is_served_until_its_ttl_and_not_after() {
    let world = World::new().await;
    let policy = Policy::ttl(60 * SECOND).jitter(0);
    world.read(&world.a, policy).await;
    world.origin.commit(2);
    world.clock.advance(just_before(60 * SECOND));
    assert_eq!((world.read(&world.a, policy).await, world.read(&world.b, policy).await), (1, 1));
    world.clock.advance(MILLI);
    assert!(!world.tier.holds_value("k"));
    assert_eq!((world.read(&world.b, policy).await, world.read(&world.a, policy).await), (2, 2));
    assert_eq!(world.origin.loads(), 2);
}

#[tokio::test]
async fn a_copy_found_in_the_shared_tier_lives_no_longer_than_the_original() {
    let world = World::new().await;
    let policy = Policy::ttl(60 * SECOND).jitter(0);
    world.read(&world.a, policy).await;
    world.clock.advance(59 * SECOND);
    assert_eq!(world.read(&world.b, policy).await, 1);
    assert_eq!(world.origin.loads(), 1);
    world.clock.advance(SECOND);
    world.origin.commit(2);
    assert_eq!(world.read(&world.b, policy).await, 2);
}

#[tokio::test]
async fn after_its_l1_ttl_a_copy_is_asked_for_again_and_not_loaded() {
    let world = World::new().await;
    let policy = Policy::ttl(60 * SECOND).l1_ttl(10 * SECOND).jitter(0);
    world.read(&world.a, policy).await;
    world.clock.advance(just_before(10 * SECOND));
    world.read(&world.a, policy).await;
    assert_eq!((world.a.stats().l1_hits, world.a.stats().l2_hits), (1, 0));
    world.clock.advance(MILLI);
    world.read(&world.a, policy).await;
    assert_eq!((world.a.stats().l1_hits, world.a.stats().l2_hits), (1, 1));
    // So what somebody else put silently in its place is found.
    world.tier.evict("k");
    world.origin.commit(2);
    world.read(&world.b, policy).await;
    world.clock.advance(10 * SECOND);
    assert_eq!(world.read(&world.a, policy).await, 2);
    assert_eq!(world.origin.loads(), 2);
}

#[tokio::test]
async fn a_get_goes_by_the_caches_own_policy() {
    let (clock, hand) = Clock::manual();
    let tier = Tier::in_process(&InProcess::with_clock(clock.clone()));
    let policy = Policy::ttl(60 * SECOND).l1_ttl(10 * SECOND).jitter(0);
    let a = tier.builder().clock(clock.clone()).policy(policy).build().await.expect("built");
    let b = tier.builder().clock(clock).policy(policy).build().await.expect("built");
    a.set("k", 1_u64, policy).await.expect("put");
    for _ in 0..2 {
        assert_eq!(b.get("k").await, Some(1_u64));
    }
    assert_eq!((b.stats().l1_hits, b.stats().l2_hits), (1, 1));
    hand.advance(10 * SECOND);
    assert_eq!(b.get("k").await, Some(1_u64));
    assert_eq!((b.stats().l1_hits, b.stats().l2_hits), (1, 2));
}

#[tokio::test]
async fn that_there_is_nothing_is_known_for_the_negative_ttl() {
    let world = World::new().await;
    let policy = Policy::ttl(60 * SECOND).negative_ttl(5 * SECOND).jitter(0);
    assert_eq!(world.read_optional(&world.a, policy).await, None);
    world.clock.advance(just_before(5 * SECOND));
    assert_eq!(world.read_optional(&world.a, policy).await, None);
    assert_eq!(world.read_optional(&world.b, policy).await, None);
    assert_eq!(world.origin.loads(), 1);
    world.clock.advance(MILLI);
    assert_eq!(world.read_optional(&world.b, policy).await, None);
    assert_eq!(world.origin.loads(), 2);
}

#[tokio::test]
async fn a_value_that_comes_into_being_is_seen_when_its_absence_is_invalidated() {
    let world = World::new().await;
    let policy = Policy::ttl(60 * SECOND).negative_ttl(50 * SECOND);
    assert_eq!(world.read_optional(&world.a, policy).await, None);
    assert_eq!(world.read_optional(&world.b, policy).await, None);
    world.a.invalidate("k").await.expect("invalidated");
    let found = async |cache: &TieredCache| {
        let loaded = cache.get_or_load_optional("k", policy, async || Ok::<_, Oops>(Some(7_u64))).await;
        loaded.expect("loaded")
    };
    assert_eq!(found(&world.a).await, Some(7));
    eventually_async(LONG, "the other instance sees it", async || found(&world.b).await == Some(7)).await;
}

#[tokio::test]
async fn a_copy_that_nobody_reads_is_forgotten_and_one_that_is_read_stays() {
    let world = World::new().await;
    let policy = Policy::ttl(3_600 * SECOND).time_to_idle(10 * SECOND).jitter(0);
    world.read(&world.a, policy).await;
    for _ in 0..5 {
        world.clock.advance(just_before(10 * SECOND));
        world.read(&world.a, policy).await;
    }
    assert_eq!((world.a.stats().l1_hits, world.a.stats().l2_hits), (5, 0));
    world.clock.advance(10 * SECOND);
    world.read(&world.a, policy).await;
    assert_eq!((world.a.stats().l1_hits, world.a.stats().l2_hits), (5, 1), "the shared tier keeps it for its ttl");
    assert_eq!(world.origin.loads(), 1);
}

#[tokio::test]
async fn reading_does_not_lengthen_the_ttl() {
    let world = World::new().await;
    let policy = Policy::ttl(30 * SECOND).time_to_idle(10 * SECOND).jitter(0);
    world.read(&world.a, policy).await;
    for _ in 0..5 {
        world.clock.advance(6 * SECOND);
        world.read(&world.a, policy).await;
    }
    assert_eq!(world.origin.loads(), 2);
}

#[tokio::test]
async fn jitter_shortens_and_never_lengthens() {
    let world = World::new().await;
    let policy = Policy::ttl(100 * SECOND).jitter(50);
    let load = async |key: usize| world.a.get_or_load(&key.to_string(), policy, || world.origin.load()).await.expect("loaded");
    for key in 0..200 {
        load(key).await;
    }
    assert_eq!(world.origin.loads(), 200);
    world.clock.advance(just_before(50 * SECOND));
    for key in 0..200 {
        load(key).await;
    }
    assert_eq!(world.origin.loads(), 200, "at most half of it is taken");
    // Between half and whole: some have ended, and some have not, but for one chance in 2^199 each.
    world.clock.advance(25 * SECOND);
    let mut gone = 0;
    for key in 0..200 {
        gone += usize::from(world.a.get::<u64>(&key.to_string()).await.is_none());
    }
    assert!(gone > 0 && gone < 200, "{gone} of 200");
    world.clock.advance(25 * SECOND + MILLI);
    for key in 0..200 {
        assert_eq!(world.a.get::<u64>(&key.to_string()).await, None);
    }
}

#[tokio::test]
async fn a_put_value_lives_like_a_loaded_one() {
    let world = World::new().await;
    let policy = Policy::ttl(60 * SECOND).jitter(0);
    world.a.set("k", 5_u64, policy).await.expect("put");
    world.clock.advance(just_before(60 * SECOND));
    assert_eq!((world.a.get("k").await, world.b.get("k").await), (Some(5_u64), Some(5_u64)));
    world.clock.advance(MILLI);
    assert_eq!((world.a.get::<u64>("k").await, world.b.get::<u64>("k").await), (None, None));
}

#[tokio::test]
async fn the_longest_life_of_the_cache_bounds_every_policy() {
    let (clock, hand) = Clock::manual();
    let cache = Tier::alone().builder().clock(clock).max_life(10 * SECOND).build().await.expect("built");
    for (key, policy) in [("a", Policy::ttl(Duration::MAX)), ("b", Policy::ttl(11 * SECOND).l1_ttl(11 * SECOND))] {
        cache.set(key, 1_u64, policy.jitter(0)).await.expect("put");
    }
    hand.advance(just_before(10 * SECOND));
    assert_eq!((cache.get("a").await, cache.get("b").await), (Some(1_u64), Some(1_u64)));
    hand.advance(MILLI);
    assert_eq!((cache.get::<u64>("a").await, cache.get::<u64>("b").await), (None, None));
}
