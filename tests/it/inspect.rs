//! What `inspect` says of a key in every state it can be in, and that it moves nothing.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, clippy::panic, reason = "a helper of a test fails the test")]

use std::time::Duration;

use cachetier::testing::Group;
use cachetier::{
    AtWork, CacheError, Call, CallKind, Codec, Compression, CopyHere, Delivery, EntryFacts, InProcess, InSharedTier, Inspection,
    Plan, Policy, TieredCache,
};
use cachetier_tests::{Gate, Oops, Tier, eventually_async, over_each, over_shared};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600)).jitter(0);

async fn inspect(cache: &TieredCache, key: &str) -> Inspection {
    cache.inspect(key).await.expect("a key that can be used")
}

async fn here(cache: &TieredCache, key: &str) -> CopyHere {
    inspect(cache, key).await.here.expect("a copy")
}

/// The value that the shared tier holds, and whether it is unmoved.
async fn value(cache: &TieredCache, key: &str) -> (EntryFacts, bool) {
    match inspect(cache, key).await.shared {
        InSharedTier::Value { entry, unmoved, codec, compressed, .. } => {
            assert_eq!((codec, compressed), (Some(Codec::Postcard), false));
            (entry, unmoved)
        }
        other => panic!("no value: {other:?}"),
    }
}

#[tokio::test]
async fn both_tiers_say_what_they_hold_of_an_entry() {
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        let empty = inspect(&a, "k").await;
        assert!(empty.here.is_none() && empty.under_way.is_none() && !empty.guarded);
        assert_eq!(empty.shared, InSharedTier::Nothing);

        a.set("k", "four".to_owned(), POLICY.tags(["t", "u"])).await.expect("put");
        let (copy, (there, unmoved)) = (here(&a, "k").await, value(&a, "k").await);
        assert!(copy.serves && unmoved && copy.type_name.ends_with("String"));
        assert_eq!((copy.entry.stamp, copy.entry.bytes, copy.entry.born), (there.stamp, 5, there.born));
        for entry in [&copy.entry, &there] {
            assert!(!entry.negative && entry.carries("t") && entry.carries("u") && !entry.carries("v"));
            assert_eq!((entry.tags(), entry.bytes), (2, 5));
            assert!(entry.age < LONG && entry.life > 3_500 * SECOND && entry.life <= 3_600 * SECOND, "{entry:?}");
        }
        assert!(inspect(&b, "k").await.here.is_none(), "nothing was brought");
        assert_eq!(value(&b, "k").await.0.stamp, there.stamp);

        let token = b.invalidate_tag("u").await.expect("told").confirmed().expect("told");
        a.wait_for(token, LONG).await.expect("heard");
        assert!(!here(&a, "k").await.serves && !value(&a, "k").await.1 && !value(&b, "k").await.1);

        let none = || async { Ok::<Option<u64>, Oops>(None) };
        a.get_or_load_optional("none", POLICY.negative_ttl(60 * SECOND), none).await.expect("loaded");
        assert!(here(&a, "none").await.entry.negative && value(&a, "none").await.0.negative);
    })
    .await;
}

#[tokio::test]
async fn who_is_at_work_on_a_key_is_told() {
    over_each(async |tier| {
        let (cache, gate) = (tier.cache().await, Gate::new());
        let load = || async {
            gate.wait().await;
            Ok::<_, Oops>(1_u64)
        };
        let reader = || cache.get_or_load("k", POLICY, load);
        let look = async {
            gate.arrived(1).await;
            eventually_async(LONG, "two wait", async || {
                inspect(&cache, "k").await.under_way.is_some_and(|at_work| at_work.what == AtWork::Loads && at_work.waiting == 2)
            })
            .await;
            let shared = inspect(&cache, "k").await.shared;
            gate.open();
            shared
        };
        let (_, _, _, shared) = tokio::join!(reader(), reader(), reader(), look);
        match shared {
            InSharedTier::Ticket { stamp, .. } => assert_eq!(here(&cache, "k").await.entry.stamp, Some(stamp)),
            other => assert!(other == InSharedTier::Alone && !tier.is_shared(), "{other:?}"),
        }
        assert_eq!(inspect(&cache, "k").await.under_way, None);
    })
    .await;
}

#[tokio::test]
async fn that_a_stale_value_is_being_refreshed_is_told_everywhere() {
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        let kept = POLICY.stale_for(60 * SECOND);
        let refreshed = async |cache: &TieredCache| match inspect(cache, "k").await.shared {
            InSharedTier::Value { refreshed, .. } => refreshed,
            other => panic!("{other:?}"),
        };
        a.set("k", 1_u64, kept).await.expect("put");
        a.expire("k").await.expect("expired");
        assert!(!refreshed(&b).await);
        let gate = Gate::new();
        let load = || async {
            gate.wait().await;
            Ok::<_, Oops>(2_u64)
        };
        let look = async {
            gate.arrived(1).await;
            assert!(refreshed(&a).await && refreshed(&b).await);
            gate.open();
        };
        let (value, ()) = tokio::join!(a.get_or_load("k", kept, load), look);
        assert_eq!(value.ok(), Some(2));
        assert!(!refreshed(&b).await);
    })
    .await;
}

#[tokio::test]
async fn a_hold_foreign_bytes_and_silence_are_told() {
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        let guard = a.guard(["held"]).await.expect("held");
        for cache in [&a, &b] {
            assert_eq!(inspect(cache, "held").await.shared, InSharedTier::Hold);
        }
        assert!(inspect(&a, "held").await.guarded);
        guard.release().await.expect("told");

        tier.put("text", b"somebody else's");
        tier.put("cut", b"\xf6sixteen bytes ..\x01");
        tier.put_list("list");
        for (key, expected) in [("text", "not a value of this cache"), ("cut", "corrupt"), ("list", "not a string")] {
            match inspect(&a, key).await.shared {
                InSharedTier::Unreadable(why) => assert!(why.contains(expected), "{key}: {why}"),
                other => panic!("{key}: {other:?}"),
            }
        }
        assert_eq!(a.stats().l2_foreign, 0, "it is looked at, and not met");
    })
    .await;
    let inside = InProcess::new();
    let cache = Tier::in_process(&inside).cache().await;
    inside.lose_next(CallKind::Read);
    assert!(matches!(inspect(&cache, "k").await.shared, InSharedTier::Unknown(_)));
    // What this instance has invalidated is so, whoever knows.
    cache.set("k", 1_u64, POLICY.tags(["t"])).await.expect("put");
    assert!(value(&cache, "k").await.1);
    inside.script_calls(|call: &Call<'_>| if call.kind == CallKind::Bump { Plan::lost() } else { Plan::go() });
    assert_eq!(cache.invalidate_tag("t").await, Ok(Delivery::Pending));
    assert!(!value(&cache, "k").await.1);
    for (key, by) in [("p:a", "p:"), ("all", "")] {
        inside.script_calls(|_: &Call<'_>| Plan::go());
        let cache = Tier::in_process(&inside).cache().await;
        cache.set(key, 1_u64, POLICY).await.expect("put");
        assert!(value(&cache, key).await.1);
        inside.script_calls(|call: &Call<'_>| if call.kind == CallKind::Bump { Plan::lost() } else { Plan::go() });
        let told = if by.is_empty() { cache.clear().await } else { cache.invalidate_prefix(by).await };
        assert_eq!(told, Ok(Delivery::Pending));
        assert!(!value(&cache, key).await.1, "{key}");
    }
}

#[tokio::test]
async fn bytes_are_those_of_the_value_however_it_stands_there_and_an_expired_one_has_no_life() {
    let tier = Tier::redis();
    let cache = tier.builder().compression(Compression::Lz4).build().await.expect("built");
    cache.set("k", "page".repeat(2_500), POLICY).await.expect("put");
    let copy = here(&cache, "k").await;
    match inspect(&cache, "k").await.shared {
        InSharedTier::Value { entry, compressed: true, .. } => assert_eq!((entry.bytes, copy.entry.bytes), (10_002, 10_002)),
        other => panic!("not compressed: {other:?}"),
    }
    cache.expire("k").await.expect("told");
    let copy = here(&cache, "k").await;
    assert!(!copy.serves && copy.entry.life.is_zero());
}

#[tokio::test(start_paused = true)]
async fn it_moves_nothing() {
    let group = Group::new(1).await;
    let cache = group.instance(0);
    cache.set("k", 1_u64, POLICY.time_to_idle(10 * SECOND)).await.expect("put");
    let before = cache.stats();
    for _ in 0..9 {
        group.jump(SECOND).await;
        assert!(here(&cache, "k").await.serves);
    }
    group.jump(SECOND).await;
    let copy = here(&cache, "k").await;
    assert!(!copy.serves, "nobody has read it for ten seconds");
    assert!((9 * SECOND..=11 * SECOND).contains(&copy.entry.age), "{copy:?}");
    let (there, after) = (value(&cache, "k").await.0, cache.stats());
    assert!((3_589 * SECOND..=3_591 * SECOND).contains(&there.life), "{there:?}");
    assert_eq!((after.l1_hits, after.l1_misses, after.l2_hits), (before.l1_hits, before.l1_misses, before.l2_hits));
    group.jump(3_590 * SECOND).await;
    assert_eq!(here(&cache, "k").await.entry.life, Duration::ZERO);
}

#[tokio::test]
async fn a_key_that_no_entry_can_have_is_an_error() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        for key in [String::new(), "k".repeat(10 << 10)] {
            assert!(matches!(cache.inspect(&key).await, Err(CacheError::Key(_))));
        }
        cache.set("k", 1_u64, POLICY).await.expect("put");
        cache.close(SECOND).await.expect("closed");
        assert_eq!(cache.inspect("k").await, Err(CacheError::Closed));
    })
    .await;
}
