//! What one instance invalidates, no other serves: also when messages are lost, and without loading anew what nobody touched.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cachetier::{Call, CallKind, Clock, Delivery, InProcess, LoadError, OnUnreachable, Plan, Policy, TieredCache};
use cachetier_tests::{Gate, Oops, Origin, Reach as _, RedisServer, Tier, eventually_async, one_of_each_part, over_shared};
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(20);
/// How long a copy is trusted without proof.
const BOUND: Duration = Duration::from_secs(2);
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

/// The message of one's own invalidation comes when the load that follows has begun: it says nothing of that.
#[tokio::test]
async fn ones_own_message_does_not_waste_the_load_that_follows() {
    for way in ["key", "prefix", "everything"] {
        let (tier, letters) = (InProcess::new(), Gate::new());
        let gate = letters.clone();
        tier.script(move |call: &Call<'_>| match call.kind {
            CallKind::Deliver => {
                let gate = gate.clone();
                Plan::go().after(async move { gate.wait().await })
            }
            _ => Plan::go(),
        });
        let cache = Tier::in_process(&tier).cache().await;
        let origin = Origin::at(1);
        let delivery = match way {
            "key" => cache.invalidate("a:k").await,
            "prefix" => cache.invalidate_prefix("a:").await,
            _ => cache.clear().await,
        };
        assert!(matches!(delivery, Ok(Delivery::Applied(_))));
        let slow = cache.get_or_load("a:k", POLICY, async || {
            letters.open();
            eventually_async(LONG, "the message has come", async || cache.stats().invalidations_applied > 0).await;
            origin.load().await
        });
        assert_eq!(slow.await.ok(), Some(1), "{way}");
        let stats = cache.stats();
        assert_eq!((stats.fills, stats.l1_entries), (1, 1), "{way}: {stats}");
    }
}

/// Ends every subscription to the tier, as a server does that is restarted.
fn cut(tier: &Tier, in_process: &InProcess) {
    match tier.server() {
        Some(server) => drop(server.command(&["CLIENT", "KILL", "TYPE", "pubsub"])),
        None => in_process.break_subscriptions(),
    }
}

/// Returns when the second one has a subscription again, and is in step by it.
async fn hears_again(a: &TieredCache, b: &TieredCache) {
    for another in one_of_each_part() {
        let heard = b.stats().invalidations_applied;
        eventually_async(LONG, "it hears again", async || {
            a.invalidate(&another).await.expect("told");
            b.stats().invalidations_applied > heard
        })
        .await;
    }
}

#[tokio::test]
async fn what_nobody_touched_during_a_cut_is_kept_without_a_load_or_a_transfer() {
    const KEYS: u64 = 50;
    let in_process = InProcess::new();
    for tier in [Tier::in_process(&in_process), Tier::redis()] {
        let (clock, hand) = Clock::manual();
        let a = tier.cache().await;
        let b = tier.builder().max_staleness(BOUND).clock(clock).build().await.expect("built");
        let origin = Origin::at(1);
        for key in 0..KEYS {
            assert_eq!(read(&b, &key.to_string(), &origin).await, 1);
        }
        let before = b.stats();
        // Or they would be served for having been loaded just now.
        hand.advance(BOUND);
        cut(&tier, &in_process);
        eventually_async(LONG, "the cut is noticed", async || b.stats().lane_lost > before.lane_lost).await;
        // By its key, by another tag than theirs, and one that is only gone.
        origin.commit(2);
        a.invalidate("0").await.expect("told");
        a.invalidate_tag("others").await.expect("told");
        assert!(tier.evict("1"));
        hears_again(&a, &b).await;
        for key in 2..KEYS {
            assert_eq!(read(&b, &key.to_string(), &origin).await, 1, "{key}");
        }
        assert_eq!((read(&b, "0", &origin).await, read(&b, "1", &origin).await), (2, 2));
        let after = b.stats();
        assert_eq!(after.suspects_same - before.suspects_same, KEYS - 2, "{after}");
        assert_eq!((after.loads - before.loads, after.l2_hits - before.l2_hits), (2, 0), "{after}");
        assert!(after.suspects_changed - before.suspects_changed <= 2);
        // Once found to be the same they are hits again.
        for key in 2..KEYS {
            assert_eq!(read(&b, &key.to_string(), &origin).await, 1);
        }
        assert_eq!(b.stats().suspects_same, after.suspects_same, "{}", b.stats());
        // And a tag that was bumped while nobody heard makes all of them unusable, though no stamp has changed.
        let lost = b.stats().lane_lost;
        cut(&tier, &in_process);
        a.invalidate_tag("all").await.expect("told");
        eventually_async(LONG, "the cut is noticed", async || b.stats().lane_lost > lost).await;
        hand.advance(BOUND);
        for key in 2..KEYS {
            assert_eq!(read(&b, &key.to_string(), &origin).await, 2, "{key}");
        }
    }
}

#[tokio::test]
async fn who_has_no_subscription_proves_its_copies_beside_it() {
    let tier = InProcess::new();
    let deaf = Arc::new(AtomicBool::new(false));
    let is_deaf = Arc::clone(&deaf);
    tier.script(move |call: &Call<'_>| match call.kind {
        CallKind::Subscribe if call.instance == 1 && is_deaf.load(Ordering::SeqCst) => Plan::away(),
        _ => Plan::go(),
    });
    let shared = Tier::in_process(&tier);
    let a = shared.cache().await;
    let b = shared.builder().max_staleness(BOUND).build().await.expect("built");
    let origin = Origin::at(1);
    assert_eq!(read(&b, "k", &origin).await, 1);
    deaf.store(true, Ordering::SeqCst);
    tier.break_subscriptions();
    eventually_async(LONG, "the cut is noticed", async || b.stats().lane_lost == 1).await;
    let loads = b.stats().loads;
    for (version, way) in [(2, "key"), (3, "tag"), (4, "everything")] {
        let hit = async || {
            let hits = b.stats().l1_hits;
            assert_eq!(read(&b, "k", &origin).await, version - 1);
            b.stats().l1_hits > hits
        };
        eventually_async(LONG, "it is a hit by its own proof", hit).await;
        origin.commit(version);
        let delivery = match way {
            "key" => a.invalidate("k").await,
            "tag" => a.invalidate_tag("all").await,
            _ => a.clear().await,
        };
        assert!(matches!(delivery, Ok(Delivery::Applied(_))));
        let told = Instant::now();
        eventually_async(LONG, "the proof runs out, and the next one shows it", async || read(&b, "k", &origin).await == version)
            .await;
        assert!(told.elapsed() < 5 * BOUND, "{way}: {:?}", told.elapsed());
    }
    assert_eq!(b.stats().loads - loads, 3, "{}", b.stats());
    assert_eq!((b.stats().lane_lost, b.stats().served_unproven), (1, 0));
}

#[tokio::test]
async fn without_a_server_a_copy_is_served_loaded_anew_or_refused_as_its_policy_says() {
    over_shared(async |tier| {
        let Some(_) = tier.server() else { return };
        let mut server = RedisServer::start();
        let cache = TieredCache::builder("shop").reach(server.url()).build().await.expect("built");
        let origin = Origin::at(1);
        let policies = [("serve", POLICY), ("bypass", POLICY.strict()), ("fail", POLICY.on_unreachable(OnUnreachable::Fail))];
        for (key, policy) in policies {
            assert_eq!(cache.get_or_load(key, policy, || origin.load()).await.ok(), Some(1));
        }
        server.stop();
        origin.commit(2);
        eventually_async(LONG, "the proof has run out", async || {
            cache.stats().served_unproven > 0 || {
                let _ = cache.get::<u64>("serve").await;
                false
            }
        })
        .await;
        let loads = origin.loads();
        for _ in 0..3 {
            assert_eq!(cache.get_or_load("serve", POLICY, || origin.load()).await.ok(), Some(1));
            assert_eq!(cache.get_or_load("bypass", POLICY.strict(), || origin.load()).await.ok(), Some(2));
            let failed = cache.get_or_load("fail", policies[2].1, || origin.load()).await;
            assert!(matches!(failed, Err(LoadError::Unproven)), "{failed:?}");
            assert_eq!(cache.get::<u64>("fail").await, None);
        }
        assert!(origin.loads() > loads && cache.stats().served_unproven >= 3);
        // What it has invalidated itself is not served in any case.
        assert_eq!(cache.invalidate("serve").await, Ok(Delivery::Pending));
        assert_eq!(cache.get_or_load("serve", POLICY, || origin.load()).await.ok(), Some(2));
        server.resume();
        eventually_async(LONG, "it can be proven again", async || {
            cache.get_or_load("fail", policies[2].1, || origin.load()).await.is_ok()
        })
        .await;
    })
    .await;
}

/// Found by the chaos test: a `get` knows no policy, and took the cache's own for that of the key.
#[tokio::test]
async fn what_a_get_has_found_is_not_served_without_proof_to_who_is_strict() {
    let (mut server, origin) = (RedisServer::start(), Origin::at(1));
    let cache = async || TieredCache::builder("shop").reach(server.url()).build().await.expect("built");
    let (a, b) = (cache().await, cache().await);
    let strict = POLICY.strict();
    assert_eq!(a.get_or_load("price", strict, || origin.load()).await.ok(), Some(1));
    assert_eq!(b.get_or_load("profile", POLICY, || origin.load()).await.ok(), Some(1));
    assert_eq!(b.get::<u64>("price").await, Some(1));
    server.stop();
    origin.commit(2);
    eventually_async(LONG, "the proof has run out", async || {
        let _ = b.get::<u64>("profile").await;
        b.stats().served_unproven > 0
    })
    .await;
    assert_eq!(b.get_or_load("price", strict, || origin.load()).await.ok(), Some(2));
    server.resume();
}

/// One cache for profiles and for prices: Redis falls silent, and only what may be late is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_keeps_profiles_answered_and_no_price_old() {
    const SILENCE: Duration = Duration::from_secs(10);
    let mut server = RedisServer::start();
    let cache = TieredCache::builder("shop").reach(server.url()).max_staleness(BOUND).build().await.expect("built");
    let prices = POLICY.strict();
    let began = Instant::now();
    let price = async || Ok::<_, Oops>(u64::try_from(began.elapsed().as_millis()).unwrap_or_default());
    assert_eq!(cache.get_or_compute("profile", POLICY, async || 7).await.ok(), Some(7));
    let _ = cache.get_or_load("price", prices, price).await;
    server.stop();
    let (silent, mut reads, mut slowest) = (Instant::now(), 0_u64, Duration::ZERO);
    while silent.elapsed() < SILENCE {
        let asked = Instant::now();
        assert_eq!(cache.get_or_compute("profile", POLICY, async || 8).await.ok(), Some(7), "the profile is there");
        slowest = slowest.max(asked.elapsed());
        let loaded = Duration::from_millis(cache.get_or_load("price", prices, price).await.expect("a price"));
        let age = asked.duration_since(began).saturating_sub(loaded);
        assert!(age <= BOUND, "a price of {age:?} ago");
        reads += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stats = cache.stats();
    println!(
        "{reads} reads of each in {SILENCE:?}: profiles {} unproven, the slowest {slowest:?}; prices loaded {} times",
        stats.served_unproven, stats.loads
    );
    assert!(stats.served_unproven > reads / 2 && reads > 100, "{stats}");
    server.resume();
}
