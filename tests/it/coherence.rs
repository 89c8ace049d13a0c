//! What one instance invalidates, no other serves: also when messages are lost, and without loading anew what nobody touched.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cachetier::{Call, CallKind, Delivery, InProcess, Plan, Policy, TieredCache};
use cachetier_tests::{Origin, Tier, eventually_async};

const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

async fn read(cache: &TieredCache, key: &str, origin: &Origin) -> u64 {
    cache.get_or_load(key, POLICY.tags(["all"]), || origin.load()).await.expect("loaded")
}

/// A tier of which the second instance misses each message for as long as this says so.
fn deaf() -> (InProcess, Arc<AtomicBool>) {
    let (tier, deaf) = (InProcess::new(), Arc::new(AtomicBool::new(false)));
    let is_deaf = Arc::clone(&deaf);
    tier.script(move |call: &Call<'_>| match call.kind {
        CallKind::Deliver if call.instance == 1 && is_deaf.load(Ordering::SeqCst) => Plan::lost(),
        _ => Plan::go(),
    });
    (tier, deaf)
}

#[tokio::test]
async fn a_missed_message_is_noticed_with_the_next_and_the_subscription_goes_on() {
    let (tier, deaf) = deaf();
    let (a, b) = Tier::in_process(&tier).pair().await;
    let origin = Origin::at(1);
    for way in ["key", "tag", "everything"] {
        let before = origin.load().await.expect("a version");
        assert_eq!((read(&a, "k", &origin).await, read(&b, "k", &origin).await), (before, before));
        origin.commit(before + 1);
        deaf.store(true, Ordering::SeqCst);
        let delivery = match way {
            "key" => a.invalidate("k").await,
            "tag" => a.invalidate_tag("all").await,
            _ => a.clear().await,
        };
        assert!(matches!(delivery, Ok(Delivery::Applied(_))), "{way}: {delivery:?}");
        assert_eq!(read(&b, "k", &origin).await, before, "{way}: nothing has told it, and the proof has not run out");
        deaf.store(false, Ordering::SeqCst);
        a.invalidate("another").await.expect("told");
        let seen = async || read(&b, "k", &origin).await == before + 1;
        eventually_async(LONG, "the second instance has noticed", seen).await;
        // A subscription that fails again and again without a check in between is given up.
        let missed = b.stats();
        assert_eq!(missed.lane_gaps + missed.lane_lost, before, "{missed}");
        assert!(missed.lane_gaps > 0);
    }
    let (told, missed) = (a.stats(), b.stats());
    assert_eq!((told.lane_gaps, told.lane_lost), (0, 0));
    // It goes on hearing.
    a.invalidate("k").await.expect("told");
    let applied = async || b.stats().invalidations_applied > missed.invalidations_applied;
    eventually_async(LONG, "a later message is applied", applied).await;
}

#[tokio::test]
async fn a_missed_message_is_noticed_with_the_next_check() {
    let (tier, deaf) = deaf();
    let (a, b) = Tier::in_process(&tier).pair().await;
    let origin = Origin::at(1);
    assert_eq!((read(&a, "k", &origin).await, read(&b, "k", &origin).await), (1, 1));
    origin.commit(2);
    deaf.store(true, Ordering::SeqCst);
    a.invalidate_tag("all").await.expect("told");
    eventually_async(LONG, "the check shows it", async || read(&b, "k", &origin).await == 2).await;
    assert_eq!((b.stats().lane_gaps, b.stats().lane_lost), (1, 0));
}
