//! The race that fills a cache with what was just invalidated: a load reads, somebody commits and invalidates, the load lands.
//! What it brings may answer those who asked before; nobody else ever sees it. Gates say what happens when.
//!
//! The runtime has one thread here: a caller that was counted as a miss has then also found the load it waits for.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cachetier::{Call, CallKind, Clock, Delivery, InProcess, ManualClock, Plan, Policy, TieredCache};
use cachetier_tests::{Gate, Origin, Reply, Tier, eventually_async, over_each, over_shared};
use tokio::task::JoinHandle;

const LONG: Duration = Duration::from_secs(20);
const L1_LIFE: Duration = Duration::from_secs(10);
/// How long a copy is trusted without proof, where it is to end.
const BOUND: Duration = Duration::from_secs(2);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600)).l1_ttl(L1_LIFE).jitter(0);
const KEY: &str = "user:7:name";

/// The ways of invalidating the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Key,
    Many,
    Tag,
    Prefix,
    Clear,
    Set,
}

const ALL: [Way; 6] = [Way::Key, Way::Many, Way::Tag, Way::Prefix, Way::Clear, Way::Set];

impl Way {
    async fn invalidate(self, cache: &TieredCache, key: &str, origin: &Origin) {
        let delivery = match self {
            Self::Key => cache.invalidate(key).await,
            Self::Many => cache.invalidate_many(["another", key]).await,
            Self::Tag => cache.invalidate_tag(&tag(key)).await,
            Self::Prefix => cache.invalidate_prefix(key.strip_suffix("name").expect("a name")).await,
            Self::Clear => cache.clear().await,
            Self::Set => cache.set(key, origin.load().await.expect("a version"), POLICY.tags([tag(key)])).await,
        };
        assert!(matches!(delivery, Ok(Delivery::Applied(_))), "{self:?}: {delivery:?}");
    }
}

/// The tag that the value of a key carries.
fn tag(key: &str) -> String {
    format!("of {key}")
}

/// Reads a key.
async fn read(cache: &TieredCache, key: &str, origin: &Origin) -> u64 {
    cache.get_or_load(key, POLICY.tags([tag(key)]), || origin.load()).await.expect("loaded")
}

/// A call whose loader stands at the gate, with the old version in its hands.
async fn old_load(cache: &TieredCache, key: &str, origin: &Arc<Origin>, gate: &Gate) -> JoinHandle<u64> {
    let (cache, key, origin, held) = (cache.clone(), key.to_owned(), Arc::clone(origin), gate.clone());
    let call = tokio::spawn(async move {
        cache.get_or_load(&key, POLICY.tags([tag(&key)]), || origin.load_slowly(&held)).await.expect("loaded")
    });
    gate.arrived(1).await;
    call
}

/// Returns when `cache` has applied more invalidations than `before`, if it hears of any.
async fn heard(tier: &Tier, cache: &TieredCache, before: u64) {
    if tier.is_shared() {
        eventually_async(LONG, "the other instance has heard", async || cache.stats().invalidations_applied > before).await;
    }
}

/// The next read of either loads what is true now, unless that was put; the one after it, and the other's, load nothing.
async fn serve_the_new_version(key: &str, first: &TieredCache, second: &TieredCache, origin: &Origin, way: Option<Way>) {
    let loads = origin.loads();
    let once = usize::from(way != Some(Way::Set));
    assert_eq!(read(first, key, origin).await, 2, "{way:?}");
    assert_eq!(origin.loads(), loads + once, "{way:?}: the old value was kept");
    assert_eq!(read(second, key, origin).await, 2, "{way:?}");
    let (hits, other_hits) = (first.stats().l1_hits, second.stats().l1_hits);
    assert_eq!(read(first, key, origin).await, 2, "{way:?}");
    assert_eq!(read(second, key, origin).await, 2, "{way:?}");
    assert!(first.stats().l1_hits > hits && second.stats().l1_hits > other_hits, "{way:?}: not a hit");
    assert_eq!(origin.loads(), loads + once, "{way:?}");
}

/// Two instances: the first one's clock is moved by hand, so that it can lose a copy which the second keeps.
async fn pair(tier: &Tier) -> (TieredCache, TieredCache, ManualClock) {
    let (clock, hand) = Clock::manual();
    let first = tier.builder().clock(clock).build().await.expect("built");
    let second = if tier.is_shared() { tier.cache().await } else { first.clone() };
    (first, second, hand)
}

#[tokio::test]
async fn an_old_load_that_lands_after_an_invalidation_is_kept_by_nobody() {
    over_each(async |tier| {
        let (a, b, hand) = pair(tier).await;
        for way in ALL {
            for (warm, other_first) in [(false, false), (false, true), (true, false), (true, true)] {
                let key = &*format!("user:{way:?}-{warm}-{other_first}:name");
                let (origin, gate) = (Arc::new(Origin::at(0)), Gate::new());
                if warm {
                    assert_eq!((read(&a, key, &origin).await, read(&b, key, &origin).await), (0, 0));
                    hand.advance(L1_LIFE);
                    tier.evict(key);
                }
                origin.commit(1);
                let old = old_load(&a, key, &origin, &gate).await;
                if warm && tier.is_shared() {
                    assert_eq!(read(&b, key, &origin).await, 0, "the other still has its copy");
                }
                origin.commit(2);
                let before = a.stats().invalidations_applied;
                way.invalidate(&b, key, &origin).await;
                heard(tier, &a, before).await;
                gate.open();
                assert_eq!(old.await.expect("no panic"), 1, "who asked before may get it");
                let (first, second) = if other_first { (&b, &a) } else { (&a, &b) };
                serve_the_new_version(key, first, second, &origin, Some(way)).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_that_begins_after_an_invalidation_never_gets_the_old_loads_value() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        for way in ALL {
            for by_another in [false, true] {
                let key = &*format!("user:{way:?}-{by_another}:name");
                let (origin, gate) = (Arc::new(Origin::at(1)), Gate::new());
                let old = old_load(&a, key, &origin, &gate).await;
                origin.commit(2);
                let before = a.stats().invalidations_applied;
                way.invalidate(if by_another { &b } else { &a }, key, &origin).await;
                heard(tier, &a, before).await;

                let reads = || a.stats().l1_misses + a.stats().l1_hits;
                let before = reads();
                let call = tokio::spawn({
                    let (a, key, origin) = (a.clone(), key.to_owned(), Arc::clone(&origin));
                    async move { read(&a, &key, &origin).await }
                });
                eventually_async(LONG, "the call has begun", async || reads() > before).await;
                // Nobody waits for the old load, unless it holds the key's ticket still, or may be found good enough at its end.
                let waits = way == Way::Tag || (tier.is_shared() && matches!(way, Way::Prefix | Way::Clear));
                if waits {
                    gate.open();
                }
                assert_eq!(call.await.expect("no panic"), 2, "{way:?}");
                gate.open();
                assert_eq!(old.await.expect("no panic"), 1, "who asked before may get it");
                assert_eq!((read(&a, key, &origin).await, read(&b, key, &origin).await), (2, 2), "{way:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_plain_delete_by_anybody_refuses_the_old_loads_fill() {
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        for (first, second, key) in [(&a, &b, "user:1:name"), (&b, &a, "user:2:name")] {
            let (origin, gate) = (Arc::new(Origin::at(1)), Gate::new());
            let old = old_load(&a, key, &origin, &gate).await;
            assert!(tier.holds_ticket(key));
            origin.commit(2);
            assert!(tier.evict(key));
            let refused = a.stats().fills_refused;
            gate.open();
            assert_eq!(old.await.expect("no panic"), 1);
            assert!(!tier.holds_value(key));
            assert_eq!(a.stats().fills_refused, refused + 1);
            serve_the_new_version(key, first, second, &origin, None).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_delete_after_which_somebody_else_has_loaded_refuses_the_old_loads_fill() {
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        let (origin, gate) = (Arc::new(Origin::at(1)), Gate::new());
        let old = old_load(&a, KEY, &origin, &gate).await;
        origin.commit(2);
        assert!(tier.evict(KEY));
        assert_eq!(read(&b, KEY, &origin).await, 2);
        assert!(tier.holds_value(KEY));
        gate.open();
        assert_eq!(old.await.expect("no panic"), 1);
        let loads = origin.loads();
        assert_eq!((read(&a, KEY, &origin).await, read(&b, KEY, &origin).await), (2, 2));
        assert_eq!(origin.loads(), loads, "what the other loaded was replaced");
    })
    .await;
}

#[tokio::test]
async fn a_ticket_that_expired_during_the_load_refuses_its_fill() {
    let memory = InProcess::new();
    // Nobody extends it, as when its holder is stalled.
    memory.script_calls(|call: &Call<'_>| if call.kind == CallKind::Extend { Plan::lost() } else { Plan::go() });
    for tier in [Tier::in_process(&memory), Tier::redis()] {
        let lease = if tier.server().is_some() { LONG } else { Duration::from_millis(50) };
        let a = tier.builder().lease(lease).build().await.expect("built");
        let b = tier.cache().await;
        let (origin, gate) = (Arc::new(Origin::at(1)), Gate::new());
        let old = old_load(&a, KEY, &origin, &gate).await;
        if let Some(server) = tier.server() {
            assert_eq!(server.command(&["PEXPIRE", &tier.name(KEY), "1"]), Reply::Int(1));
        }
        eventually_async(LONG, "the lease has ended", async || !tier.holds_ticket(KEY)).await;
        origin.commit(2);
        gate.open();
        assert_eq!(old.await.expect("no panic"), 1);
        assert!(!tier.holds_value(KEY));
        serve_the_new_version(KEY, &a, &b, &origin, None).await;
    }
}

#[tokio::test]
async fn a_flush_of_the_whole_server_refuses_the_old_loads_fill() {
    for mine in [false, true] {
        let in_process = InProcess::new();
        let server = cachetier_tests::RedisServer::start();
        let tier = if mine { Tier::in_process(&in_process) } else { Tier::over(server) };
        let (a, b) = tier.pair().await;
        let (origin, gate) = (Arc::new(Origin::at(1)), Gate::new());
        let old = old_load(&a, KEY, &origin, &gate).await;
        match tier.server() {
            Some(server) => drop(server.command(&["FLUSHALL"])),
            None => in_process.flush_all(),
        }
        origin.commit(2);
        gate.open();
        assert_eq!(old.await.expect("no panic"), 1);
        assert!(!tier.holds_value(KEY));
        assert_eq!(a.stats().fills_refused, 1);
        let loads = origin.loads();
        assert_eq!(read(&a, KEY, &origin).await, 2);
        assert_eq!(origin.loads(), loads + 1);
        assert_eq!(read(&b, KEY, &origin).await, 2);
        let lost = async || [&a, &b].iter().all(|cache| cache.stats().lane_gaps + cache.stats().lane_lost > 0);
        eventually_async(LONG, "both have seen the new era", lost).await;
        for cache in [&a, &b] {
            let hit = async || {
                let hits = cache.stats().l1_hits;
                assert_eq!(read(cache, KEY, &origin).await, 2);
                cache.stats().l1_hits > hits
            };
            eventually_async(LONG, "a hit in the new era", hit).await;
        }
    }
}

#[tokio::test]
async fn a_value_whose_lane_was_lost_is_not_believed() {
    let tier = Tier::redis();
    let server = tier.server().expect("a server");
    let (a, origin) = (tier.cache().await, Origin::at(1));
    assert_eq!(read(&a, KEY, &origin).await, 1);
    origin.commit(2);
    Way::Tag.invalidate(&a, KEY, &origin).await;
    // With the lane goes the memory of what was invalidated; the value is still there.
    for name in tier.lanes() {
        assert_eq!(server.command(&["DEL", &name]), Reply::Int(1));
    }
    assert!(tier.holds_value(KEY));
    assert_eq!(read(&tier.cache().await, KEY, &origin).await, 2);
}

/// Does `plan` to the first probe of the first instance.
fn first_probe(tier: &InProcess, plan: impl Fn() -> Plan + Send + Sync + 'static) {
    let first = AtomicBool::new(true);
    tier.script_calls(move |call: &Call<'_>| {
        let its = call.kind == CallKind::Probe && call.instance == 0 && first.swap(false, Ordering::SeqCst);
        if its { plan() } else { Plan::go() }
    });
}

#[tokio::test]
async fn a_probe_that_runs_after_the_invalidation_forfeits_the_fill() {
    let memory = InProcess::new();
    first_probe(&memory, Plan::late);
    let tier = Tier::in_process(&memory);
    let a = tier.builder().lease(Duration::from_millis(100)).build().await.expect("built");
    let b = tier.cache().await;
    let (origin, gate) = (Arc::new(Origin::at(1)), Gate::new());
    let old = old_load(&a, KEY, &origin, &gate).await;
    eventually_async(LONG, "the ticket was given back in vain", async || a.flush(LONG).await.is_ok()).await;
    origin.commit(2);
    let before = a.stats().invalidations_applied;
    Way::Key.invalidate(&b, KEY, &origin).await;
    heard(&tier, &a, before).await;
    assert!(memory.land(0));
    assert!(tier.holds_ticket(KEY), "the late probe has planted its ticket after the invalidation");
    gate.open();
    assert_eq!(old.await.expect("no panic"), 1);
    assert!(!tier.holds_value(KEY), "the ticket of a probe without a reply was used");
    serve_the_new_version(KEY, &a, &b, &origin, None).await;
}

#[tokio::test]
async fn a_probe_whose_answer_came_too_late_forfeits_the_fill() {
    let (memory, answer) = (InProcess::new(), Gate::new());
    first_probe(&memory, {
        let answer = answer.clone();
        move || {
            let answer = answer.clone();
            Plan::go().after(async move { answer.wait().await })
        }
    });
    let tier = Tier::in_process(&memory);
    let a = tier.builder().read_limit(Duration::from_millis(20)).build().await.expect("built");
    let b = tier.cache().await;
    let (origin, gate) = (Arc::new(Origin::at(1)), Gate::new());
    let old = old_load(&a, KEY, &origin, &gate).await;
    origin.commit(2);
    let before = a.stats().invalidations_applied;
    Way::Key.invalidate(&b, KEY, &origin).await;
    heard(&tier, &a, before).await;
    answer.open();
    gate.open();
    assert_eq!(old.await.expect("no panic"), 1);
    assert!(!tier.holds_value(KEY));
    serve_the_new_version(KEY, &b, &b, &origin, None).await;
}

#[tokio::test]
async fn what_may_not_have_been_stored_is_served_no_longer_than_the_bound() {
    for kind in [CallKind::Probe, CallKind::Fill] {
        let (memory, first) = (InProcess::new(), AtomicBool::new(true));
        memory.script_calls(move |call: &Call<'_>| {
            let lost = call.kind == kind && first.swap(false, Ordering::SeqCst);
            if lost { Plan::lost_reply() } else { Plan::go() }
        });
        let (tier, (clock, hand)) = (Tier::in_process(&memory), Clock::manual());
        let a = tier.builder().clock(clock).max_staleness(BOUND).build().await.expect("built");
        let (origin, gate) = (Arc::new(Origin::at(1)), Gate::new());
        let old = old_load(&a, KEY, &origin, &gate).await;
        // Nobody is told of this one, and the answer that would have told of it is lost.
        origin.commit(2);
        tier.evict(KEY);
        gate.open();
        assert_eq!(old.await.expect("no panic"), 1);
        assert!(!tier.holds_value(KEY));
        hand.advance(BOUND.saturating_sub(Duration::from_millis(1)));
        assert_eq!(read(&a, KEY, &origin).await, 1, "{kind:?}: within the bound it is as good as any");
        hand.advance(Duration::from_millis(1));
        assert_eq!(read(&a, KEY, &origin).await, 2, "{kind:?}");
    }
}

#[tokio::test]
async fn a_fill_is_refused_although_its_instance_has_not_heard_of_the_invalidation() {
    let (memory, delivered) = (InProcess::new(), Gate::new());
    memory.script({
        let delivered = delivered.clone();
        move |call: &Call<'_>| {
            let delivered = delivered.clone();
            let held = call.kind == CallKind::Deliver && call.instance == 0;
            if held { Plan::go().after(async move { delivered.wait().await }) } else { Plan::go() }
        }
    });
    memory.prove_for(2 * LONG);
    let tier = Tier::in_process(&memory);
    let (a, b) = tier.pair().await;
    let (origin, gate) = (Arc::new(Origin::at(1)), Gate::new());
    let old = old_load(&a, KEY, &origin, &gate).await;
    origin.commit(2);
    Way::Key.invalidate(&b, KEY, &origin).await;
    gate.open();
    assert_eq!(old.await.expect("no panic"), 1);
    assert_eq!(a.stats().fills_refused, 1);
    assert_eq!(a.stats().invalidations_applied, 0, "it has not heard");
    serve_the_new_version(KEY, &a, &b, &origin, None).await;
    delivered.open();
}

#[tokio::test]
async fn a_fill_without_an_answer_is_not_kept_once_its_instance_has_heard_of_the_invalidation() {
    let memory = InProcess::new();
    let answered = Gate::new();
    memory.script_calls({
        let answered = answered.clone();
        move |call: &Call<'_>| {
            let answered = answered.clone();
            let fill = call.kind == CallKind::Fill && call.instance == 0;
            if fill { Plan::lost_reply().reply_after(async move { answered.wait().await }) } else { Plan::go() }
        }
    });
    let tier = Tier::in_process(&memory);
    let (a, b) = tier.pair().await;
    let (origin, gate) = (Arc::new(Origin::at(1)), Gate::new());
    let old = old_load(&a, KEY, &origin, &gate).await;
    gate.open();
    answered.arrived(1).await;
    origin.commit(2);
    let before = a.stats().invalidations_applied;
    Way::Key.invalidate(&b, KEY, &origin).await;
    heard(&tier, &a, before).await;
    answered.open();
    assert_eq!(old.await.expect("no panic"), 1);
    assert_eq!(a.stats().fills_unanswered, 1);
    serve_the_new_version(KEY, &a, &b, &origin, None).await;
}

#[tokio::test]
async fn a_probe_that_ran_twice_before_the_invalidation_plants_one_ticket() {
    let memory = InProcess::new();
    first_probe(&memory, Plan::twice);
    let tier = Tier::in_process(&memory);
    let (a, b) = tier.pair().await;
    let (origin, gate) = (Arc::new(Origin::at(1)), Gate::new());
    let old = old_load(&a, KEY, &origin, &gate).await;
    assert!(memory.land(0));
    origin.commit(2);
    let before = a.stats().invalidations_applied;
    Way::Key.invalidate(&b, KEY, &origin).await;
    heard(&tier, &a, before).await;
    gate.open();
    assert_eq!(old.await.expect("no panic"), 1);
    assert!(!tier.holds_value(KEY));
    serve_the_new_version(KEY, &a, &b, &origin, None).await;
}
