//! How long entries live, by a clock that the tests turn: in an instance, in the shared tier, as the knowledge that there is none.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::time::Duration;

use cachetier::testing::{Group, Source, assert_loads};
use cachetier::{Clock, Policy, TieredCache};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// The last moment before `life` is over.
fn just_before(life: Duration) -> Duration {
    life.saturating_sub(MILLI)
}

/// Two instances, and what they load from.
struct World {
    group: Group,
    a: TieredCache,
    b: TieredCache,
    origin: Source<u64>,
}

impl World {
    async fn new() -> Self {
        let group = Group::new(2).await;
        Self { a: group.instance(0), b: group.instance(1), group, origin: Source::from([("k", 1)]) }
    }

    async fn read(&self, cache: &TieredCache, policy: Policy) -> u64 {
        cache.get_or_load("k", policy, || self.origin.load("k")).await.expect("loaded")
    }

    async fn read_optional(&self, cache: &TieredCache, policy: Policy) -> Option<u64> {
        cache.get_or_load_optional("k", policy, || self.origin.find("k")).await.expect("loaded")
    }

    fn holds_value(&self) -> bool {
        self.group.tier().holds_value("ct:test:v:k")
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_served_until_its_ttl_and_not_after() {
    let world = World::new().await;
    let policy = Policy::ttl(60 * SECOND).jitter(0);
    world.read(&world.a, policy).await;
    world.origin.set("k", 2);
    world.group.jump(just_before(60 * SECOND)).await;
    assert_eq!((world.read(&world.a, policy).await, world.read(&world.b, policy).await), (1, 1));
    world.group.jump(MILLI).await;
    assert!(!world.holds_value());
    assert_eq!((world.read(&world.b, policy).await, world.read(&world.a, policy).await), (2, 2));
    assert_eq!(world.origin.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_copy_found_in_the_shared_tier_lives_no_longer_than_the_original() {
    let world = World::new().await;
    let policy = Policy::ttl(60 * SECOND).jitter(0);
    world.read(&world.a, policy).await;
    world.group.jump(59 * SECOND).await;
    assert_eq!(world.read(&world.b, policy).await, 1);
    assert_eq!(world.origin.loads(), 1);
    world.group.jump(SECOND).await;
    world.origin.set("k", 2);
    assert_eq!(world.read(&world.b, policy).await, 2);
}

#[tokio::test(start_paused = true)]
async fn after_its_l1_ttl_a_copy_is_asked_for_again_and_not_loaded() {
    let world = World::new().await;
    let policy = Policy::ttl(60 * SECOND).l1_ttl(10 * SECOND).jitter(0);
    world.read(&world.a, policy).await;
    world.group.jump(just_before(10 * SECOND)).await;
    world.read(&world.a, policy).await;
    assert_eq!((world.a.stats().l1_hits, world.a.stats().l2_hits), (1, 0));
    world.group.jump(MILLI).await;
    world.read(&world.a, policy).await;
    assert_eq!((world.a.stats().l1_hits, world.a.stats().l2_hits), (1, 1));
    // So what somebody else put silently in its place is found.
    world.group.tier().evict("ct:test:v:k");
    world.origin.set("k", 2);
    world.read(&world.b, policy).await;
    world.group.jump(10 * SECOND).await;
    assert_eq!(world.read(&world.a, policy).await, 2);
    assert_eq!(world.origin.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_get_goes_by_the_caches_own_policy() {
    let policy = Policy::ttl(60 * SECOND).l1_ttl(10 * SECOND).jitter(0);
    let group = Group::builder().instances(2).configure(move |builder| builder.policy(policy)).build().await;
    let (a, b) = (group.instance(0), group.instance(1));
    a.set("k", 1_u64, policy).await.expect("put");
    for _ in 0..2 {
        assert_eq!(b.get("k").await, Some(1_u64));
    }
    assert_eq!((b.stats().l1_hits, b.stats().l2_hits), (1, 1));
    group.jump(10 * SECOND).await;
    assert_eq!(b.get("k").await, Some(1_u64));
    assert_eq!((b.stats().l1_hits, b.stats().l2_hits), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn that_there_is_nothing_is_known_for_the_negative_ttl() {
    let world = World::new().await;
    let policy = Policy::ttl(60 * SECOND).negative_ttl(5 * SECOND).jitter(0);
    world.origin.remove("k");
    assert_eq!(world.read_optional(&world.a, policy).await, None);
    world.group.jump(just_before(5 * SECOND)).await;
    assert_eq!(world.read_optional(&world.a, policy).await, None);
    assert_eq!(world.read_optional(&world.b, policy).await, None);
    assert_eq!(world.origin.loads(), 1);
    world.group.jump(MILLI).await;
    assert_eq!(world.read_optional(&world.b, policy).await, None);
    assert_eq!(world.origin.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_comes_into_being_is_seen_when_its_absence_is_invalidated() {
    let world = World::new().await;
    let policy = Policy::ttl(60 * SECOND).negative_ttl(50 * SECOND);
    world.origin.remove("k");
    assert_eq!((world.read_optional(&world.a, policy).await, world.read_optional(&world.b, policy).await), (None, None));
    world.origin.set("k", 7);
    world.a.invalidate("k").await.expect("invalidated");
    world.group.settle().await;
    for cache in [&world.a, &world.b] {
        assert_eq!(world.read_optional(cache, policy).await, Some(7));
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_nobody_reads_is_forgotten_and_one_that_is_read_stays() {
    let world = World::new().await;
    let policy = Policy::ttl(3_600 * SECOND).time_to_idle(10 * SECOND).jitter(0);
    world.read(&world.a, policy).await;
    for _ in 0..5 {
        world.group.jump(just_before(10 * SECOND)).await;
        world.read(&world.a, policy).await;
    }
    assert_eq!((world.a.stats().l1_hits, world.a.stats().l2_hits), (5, 0));
    world.group.jump(10 * SECOND).await;
    world.read(&world.a, policy).await;
    assert_eq!((world.a.stats().l1_hits, world.a.stats().l2_hits), (5, 1), "the shared tier keeps it for its ttl");
    assert_eq!(world.origin.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn reading_does_not_lengthen_the_ttl() {
    let world = World::new().await;
    let policy = Policy::ttl(30 * SECOND).time_to_idle(10 * SECOND).jitter(0);
    world.read(&world.a, policy).await;
    for _ in 0..5 {
        world.group.jump(6 * SECOND).await;
        world.read(&world.a, policy).await;
    }
    assert_eq!(world.origin.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn jitter_shortens_and_never_lengthens() {
    let world = World::new().await;
    let policy = Policy::ttl(100 * SECOND).jitter(50);
    let load_all = async || {
        for key in 0..200 {
            world.a.get_or_load(&key.to_string(), policy, || world.origin.load("k")).await.expect("loaded");
        }
    };
    assert_loads!(world.a, 200, { load_all().await });
    world.group.jump(just_before(50 * SECOND)).await;
    // At most half of it is taken.
    assert_loads!(world.a, 0, { load_all().await });
    // Between half and whole: some have ended, and some have not, but for one chance in 2^199 each.
    world.group.jump(25 * SECOND).await;
    let mut gone = 0;
    for key in 0..200 {
        gone += usize::from(world.a.get::<u64>(&key.to_string()).await.is_none());
    }
    assert!(gone > 0 && gone < 200, "{gone} of 200");
    world.group.jump(25 * SECOND + MILLI).await;
    for key in 0..200 {
        assert_eq!(world.a.get::<u64>(&key.to_string()).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_value_lives_like_a_loaded_one() {
    let world = World::new().await;
    let policy = Policy::ttl(60 * SECOND).jitter(0);
    world.a.set("k", 5_u64, policy).await.expect("put");
    world.group.jump(just_before(60 * SECOND)).await;
    assert_eq!((world.a.get("k").await, world.b.get("k").await), (Some(5_u64), Some(5_u64)));
    world.group.jump(MILLI).await;
    assert_eq!((world.a.get::<u64>("k").await, world.b.get::<u64>("k").await), (None, None));
}

#[tokio::test(start_paused = true)]
async fn the_longest_life_of_the_cache_bounds_every_policy() {
    let (clock, hand) = Clock::manual();
    let cache = TieredCache::builder("expiry").clock(clock).max_life(10 * SECOND).build().await.expect("built");
    for (key, policy) in [("a", Policy::ttl(Duration::MAX)), ("b", Policy::ttl(11 * SECOND).l1_ttl(11 * SECOND))] {
        cache.set(key, 1_u64, policy.jitter(0)).await.expect("put");
    }
    hand.advance(just_before(10 * SECOND));
    assert_eq!((cache.get("a").await, cache.get("b").await), (Some(1_u64), Some(1_u64)));
    hand.advance(MILLI);
    assert_eq!((cache.get::<u64>("a").await, cache.get::<u64>("b").await), (None, None));
}
