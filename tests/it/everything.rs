//! Whatever a cache asks of its server, for the tests of rights and of ways to reach it.

use std::time::Duration;

use cachetier::{
    CallOptions, Delivery, InSharedTier, Invalidator, LoadContext, Loaded, Origin, Policy, Purge, StaleValue, TieredCache,
};
use cachetier_tests::{Reach as _, eventually_async};

const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

#[track_caller]
fn applied(delivery: &Result<Delivery, impl std::fmt::Debug>) {
    assert!(matches!(delivery, Ok(Delivery::Applied(_))), "{delivery:?}");
}

/// Whatever two caches and an invalidator do.
pub(crate) async fn everything(url: &str) {
    let build = || TieredCache::builder("shop").reach(url).connect_limit(LONG).command_limit(LONG).read_limit(LONG).build();
    let (a, b) = (build().await.expect("built"), build().await.expect("built"));
    let large = "x".repeat(10_000);
    let tagged = POLICY.tags(["users"]);
    let read =
        async |cache: &TieredCache, key: &str| cache.get_or_compute(key, tagged, async || large.clone()).await.expect("loaded");
    for cache in [&a, &b] {
        for key in ["user:1", "user:2"] {
            read(cache, key).await;
        }
        assert_eq!(cache.get_or_compute("small", POLICY, async || 1_u8).await.expect("loaded"), 1);
    }
    for cache in [&a, &b] {
        let load = async |keys: Vec<String>| Ok::<_, &str>(keys.into_iter().map(|key| (key, large.clone())).collect::<Vec<_>>());
        assert_eq!(cache.get_or_load_many(["many:1", "many:2"], tagged, load).await.expect("loaded").len(), 2);
    }
    assert!(a.get_or_load("fails", POLICY, async || Err::<u8, _>("no")).await.is_err());
    // Made stale, found to be current, and replaced in its place.
    for cache in [&a, &b] {
        applied(&a.expire("user:2").await);
        let current = async |context: LoadContext<'_, String>| {
            Ok::<_, &str>(context.stale().map_or_else(|| Loaded::new(large.clone()), StaleValue::not_modified))
        };
        assert!(cache.get_or_load_with("user:2", tagged, current).await.expect("loaded").is_some());
    }
    let fresh = a.with(CallOptions::new().fresh()).get_or_compute("user:1", tagged, async || large.clone()).await;
    assert_eq!(fresh.expect("loaded").origin, Origin::Loader);
    assert!(a.stats().renewals > 0, "{}", a.stats());
    let token = a.invalidate_tag("users").await.expect("told").confirmed().expect("applied");
    b.wait_for(token, LONG).await.expect("heard");
    read(&b, "user:1").await;
    applied(&a.invalidate_prefix("user:").await);
    applied(&a.set("user:1", large.clone(), tagged).await);
    applied(&a.guard(["user:2"]).await.expect("held").release().await);
    applied(&a.guard(["user:3"]).await.expect("held").set("user:3", 1_u8, POLICY).await);
    a.remove("user:3").await.expect("removed");
    read(&b, "user:2").await;
    a.invalidate_pattern("user:*:mail").await.expect("walked");
    assert!(a.purge(Purge::tag("users")).await.expect("purged").counts.removed > 0);
    // One waits for what the other loads, and is told.
    let begun = tokio::sync::Notify::new();
    let slowly = a.get_or_compute("slow", POLICY, async || {
        begun.notify_one();
        eventually_async(LONG, "the other one waits", async || {
            matches!(a.inspect("slow").await.expect("looked at").shared, InSharedTier::Ticket { waiting: 1, .. })
        })
        .await;
        1_u8
    });
    let waiting = async {
        begun.notified().await;
        b.get_or_compute("slow", POLICY, async || 2_u8).await
    };
    let (loaded, told) = tokio::join!(slowly, waiting);
    assert_eq!((loaded.expect("loaded"), told.expect("told")), (1, 1));
    assert_eq!(b.stats().ticket_wakes, 1, "{}", b.stats());
    let worker = Invalidator::builder("shop").reach(url).connect_limit(LONG).command_limit(LONG).build().await.expect("built");
    applied(&worker.invalidate("small").await);
    applied(&b.clear().await);
    for cache in [a, b] {
        let stats = cache.stats();
        assert_eq!((stats.l2_faults, stats.pending, stats.lane_lost), (0, 0, 0), "{stats}");
        cache.close(LONG).await.expect("closed");
    }
}
