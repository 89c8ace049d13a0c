//! Who waits for what another instance loads is told of its outcome, whatever that is; and where nobody can tell it, finds out.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use cachetier::{Call, CallKind, Coalesce, InProcess, InSharedTier, LoadError, Plan, Policy, TieredCache};
use cachetier_tests::{Gate, Oops, Origin, Tier, eventually_async, over_shared};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

const LONG: Duration = Duration::from_secs(20);
/// Longer than any test: who waits for the end of a ticket waits too long.
const LEASE: Duration = Duration::from_secs(3_600);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
const KEY: &str = "user:7";

type Answer = Result<String, LoadError<Oops>>;

async fn built(tier: &Tier, lease: Duration) -> TieredCache {
    tier.builder().lease(lease).wait_budget(LEASE).build().await.expect("built")
}

async fn pair(tier: &Tier) -> (TieredCache, TieredCache) {
    (built(tier, LEASE).await, built(tier, LEASE).await)
}

/// A call whose loader stands at a gate.
fn held(cache: &TieredCache, gate: &Gate, brings: Result<String, Oops>) -> JoinHandle<Answer> {
    let (cache, gate) = (cache.clone(), gate.clone());
    tokio::spawn(async move {
        let load = || async {
            gate.wait().await;
            brings
        };
        cache.get_or_load(KEY, POLICY, load).await
    })
}

/// A call whose loader fails like that behind a gate.
fn fails_at(
    cache: &TieredCache,
    gate: &Gate,
    policy: Policy,
    fails: fn() -> Result<String, &'static str>,
) -> JoinHandle<Result<String, LoadError<&'static str>>> {
    let (cache, gate) = (cache.clone(), gate.clone());
    tokio::spawn(async move {
        let load = || async {
            gate.wait().await;
            fails()
        };
        cache.get_or_load(KEY, policy, load).await
    })
}

/// A call whose loader brings this at once.
fn called(cache: &TieredCache, brings: &str) -> JoinHandle<Answer> {
    let (cache, brings) = (cache.clone(), brings.to_owned());
    tokio::spawn(async move { cache.get_or_load(KEY, POLICY, || async { Ok(brings) }).await })
}

async fn answer(call: JoinHandle<Answer>) -> Answer {
    timeout(LONG, call).await.expect("it was forgotten").expect("no panic")
}

/// Returns when so many instances stand behind the ticket.
async fn waiting(cache: &TieredCache, so_many: usize) {
    eventually_async(LONG, "they wait", async || {
        matches!(cache.inspect(KEY).await.expect("looked at").shared, InSharedTier::Ticket { waiting, .. } if waiting == so_many)
    })
    .await;
}

/// `a` loads, `b` waits for it; what becomes of the load, and what `b` then gets.
async fn one_waits(tier: &Tier, end: impl AsyncFn(&Gate, JoinHandle<Answer>)) -> (Answer, TieredCache) {
    let (a, b) = pair(tier).await;
    a.invalidate(KEY).await.expect("told");
    let gate = Gate::new();
    let loading = held(&a, &gate, Err(Oops("no")));
    gate.arrived(1).await;
    let waits = called(&b, "its own");
    waiting(&b, 1).await;
    end(&gate, loading).await;
    (answer(waits).await, b)
}

#[tokio::test]
async fn who_waits_is_told_of_the_value_and_reads_only_one_that_is_large() {
    over_shared(async |tier| {
        for (value, reads) in [("seven".to_owned(), 0), ("seven".repeat(1_000), 1)] {
            let (a, b) = pair(tier).await;
            let gate = Gate::new();
            let loading = held(&a, &gate, Ok(value.clone()));
            gate.arrived(1).await;
            let waits: Vec<_> = (0..100).map(|_| called(&b, "its own")).collect();
            waiting(&b, 1).await;
            gate.open();
            assert_eq!(answer(loading).await.as_ref().ok(), Some(&value));
            for call in waits {
                assert_eq!(answer(call).await.as_ref().ok(), Some(&value));
            }
            let stats = b.stats();
            assert_eq!((stats.loads, stats.l2_hits, stats.ticket_waits), (0, 1, 1), "{stats}");
            assert_eq!((stats.ticket_polls, stats.ticket_wakes), (1, 1), "it has looked {reads} times more: {stats}");
            assert_eq!(b.get::<String>(KEY).await.as_ref(), Some(&value), "kept");
            a.invalidate(KEY).await.expect("told");
        }
    })
    .await;
}

#[tokio::test]
async fn a_load_that_comes_to_nothing_leaves_the_key_to_who_waits() {
    over_shared(async |tier| {
        let (brought, b) = one_waits(tier, async |gate, loading| {
            gate.open();
            assert!(answer(loading).await.is_err());
        })
        .await;
        assert_eq!((brought.as_deref().ok(), b.stats().ticket_wakes), (Some("its own"), 1), "failed");
        let (brought, b) = one_waits(tier, async |_, loading| {
            loading.abort();
            assert!(loading.await.expect_err("dropped").is_cancelled());
        })
        .await;
        assert_eq!((brought.as_deref().ok(), b.stats().ticket_wakes), (Some("its own"), 1), "dropped");
    })
    .await;
}

#[tokio::test]
async fn a_failure_is_told_to_who_waits_where_the_policies_say_so() {
    let shares = POLICY.share_errors();
    // The holder's policy, that of who waits, and what he gets.
    let cases = [(shares, shares, Err("the database is away")), (shares, POLICY, Ok("its own")), (POLICY, shares, Ok("its own"))];
    over_shared(async |tier| {
        for (holds, waits, expected) in cases {
            let (a, b) = pair(tier).await;
            let gate = Gate::new();
            let loading = fails_at(&a, &gate, holds, || Err("the database is away"));
            gate.arrived(1).await;
            let calls: Vec<JoinHandle<Answer>> = (0..10)
                .map(|_| {
                    let b = b.clone();
                    tokio::spawn(async move { b.get_or_load(KEY, waits, || async { Ok("its own".to_owned()) }).await })
                })
                .collect();
            waiting(&b, 1).await;
            eventually_async(LONG, "all of them wait", async || b.stats().l1_misses == 10).await;
            gate.open();
            assert!(loading.await.expect("no panic").is_err());
            for call in calls {
                match (answer(call).await, expected) {
                    (Ok(value), Ok(own)) => assert_eq!(value, own),
                    (Err(LoadError::Elsewhere(why)), Err(expected)) => assert_eq!(&*why, expected),
                    (answer, _) => panic!("{answer:?} in the place of {expected:?}"),
                }
            }
            assert_eq!((b.stats().loads, b.stats().load_errors), (u64::from(expected.is_ok()), 0));
            // Who comes later loads.
            let own = b.get_or_load(KEY, waits, || async { Ok::<_, Oops>("its own".to_owned()) }).await;
            assert_eq!(own.expect("loaded"), "its own");
            a.invalidate(KEY).await.expect("told");
        }
    })
    .await;
}

#[tokio::test]
async fn what_another_instance_says_of_its_failure_is_told_to_nobody_else() {
    over_shared(async |tier| {
        let (a, b) = pair(tier).await;
        let (gate, shares) = (Gate::new(), POLICY.share_errors());
        let loading = fails_at(&a, &gate, shares, || panic!("as it was told"));
        gate.arrived(1).await;
        let batch = || {
            let b = b.clone();
            tokio::spawn(async move {
                let load = async |_: Vec<String>| Ok::<_, Oops>([(KEY, "its own".to_owned())]);
                b.get_or_load_many([KEY], shares, load).await
            })
        };
        // By itself, or with one of this instance that hears of it; and so one whose policy shares nothing.
        let heard = tokio::spawn({
            let b = b.clone();
            async move { b.get_or_load(KEY, shares, || async { Ok::<_, Oops>("its own".to_owned()) }).await }
        });
        waiting(&b, 1).await;
        let (batches, other) = ([batch(), batch()], called(&b, "its own"));
        eventually_async(LONG, "all wait", async || b.stats().l1_misses == 4).await;
        gate.open();
        assert!(loading.await.expect("no panic").expect_err("it panics").is_panic());
        assert!(heard.await.expect("no panic").expect_err("it is told").is_elsewhere());
        for batch in batches {
            assert_eq!(batch.await.expect("no panic").expect("loaded"), [Some("its own".to_owned())]);
        }
        assert_eq!(answer(other).await.as_deref().ok(), Some("its own"));
        a.invalidate(KEY).await.expect("told");
    })
    .await;
}

#[tokio::test]
async fn what_takes_the_ticket_away_has_those_who_wait_look() {
    over_shared(async |tier| {
        for what in ["invalidate", "set", "expire", "hold", "clear"] {
            let (a, b) = pair(tier).await;
            let gate = Gate::new();
            let loading = held(&a, &gate, Ok("old".to_owned()));
            gate.arrived(1).await;
            let waits = called(&b, "its own");
            waiting(&b, 1).await;
            let other = tier.cache().await;
            let expected = match what {
                "invalidate" => other.invalidate(KEY).await.map(|_| "its own"),
                "set" => other.set(KEY, "new".to_owned(), POLICY).await.map(|_| "new"),
                "expire" => other.expire(KEY).await.map(|_| "its own"),
                "clear" => other.clear().await.map(|_| "old"),
                _ => {
                    // Held for the rest of the test.
                    std::mem::forget(other.guard([KEY]).await.expect("held"));
                    Ok("its own")
                }
            };
            if what == "clear" {
                // The ticket stands, and its load goes on.
                gate.open();
            }
            assert_eq!(answer(waits).await.as_deref().ok(), expected.ok(), "{what}");
            gate.open();
            assert_eq!(answer(loading).await.as_deref().ok(), Some("old"), "{what}: his answer");
            if what != "clear" {
                assert_ne!(b.get::<String>(KEY).await.as_deref(), Some("old"), "{what}");
            }
            tier.cache().await.invalidate(KEY).await.expect("told");
            // Under another name: a guard holds that one.
            if what == "hold" {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_ticket_that_is_extended_keeps_those_who_wait() {
    over_shared(async |tier| {
        let lease = Duration::from_millis(300);
        let (a, b) = (built(tier, lease).await, built(tier, lease).await);
        let gate = Gate::new();
        let loading = held(&a, &gate, Ok("late".to_owned()));
        gate.arrived(1).await;
        let waits = called(&b, "its own");
        eventually_async(LONG, "it has looked at the end of each", async || b.stats().ticket_polls == 4).await;
        waiting(&b, 1).await;
        gate.open();
        assert_eq!(answer(loading).await.as_deref().ok(), Some("late"));
        assert_eq!((answer(waits).await.as_deref().ok(), b.stats().loads, b.stats().ticket_wakes), (Some("late"), 0, 1));
    })
    .await;
}

#[tokio::test]
async fn a_ticket_whose_holder_is_gone_is_taken_over_when_it_ends() {
    let (memory, lease) = (InProcess::new(), Duration::from_millis(400));
    let tier = Tier::in_process(&memory);
    let (a, b) = (built(&tier, lease).await, built(&tier, lease).await);
    memory.script_calls(|call: &Call<'_>| match call.kind {
        // It is not heard of again.
        CallKind::Extend | CallKind::Abandon | CallKind::Fill if call.instance == 0 => Plan::lost(),
        _ => Plan::go(),
    });
    let (gate, begun) = (Gate::new(), Instant::now());
    let loading = held(&a, &gate, Ok("never".to_owned()));
    gate.arrived(1).await;
    let waits = called(&b, "its own");
    waiting(&b, 1).await;
    loading.abort();
    assert_eq!(answer(waits).await.as_deref().ok(), Some("its own"));
    let took = begun.elapsed();
    assert!(took >= lease * 3 / 4 && took < lease + Duration::from_secs(5), "{took:?}");
    assert_eq!((b.stats().ticket_polls, b.stats().ticket_wakes), (1, 0), "{}", b.stats());
}

#[tokio::test]
async fn a_ticket_is_not_extended_over_another_connection_than_it_was_planted_over() {
    let (memory, extended) = (InProcess::new(), Arc::new(AtomicUsize::new(0)));
    let tier = Tier::in_process(&memory);
    let lease = Duration::from_millis(90);
    let a = built(&tier, lease).await;
    let counted = Arc::clone(&extended);
    memory.script_calls(move |call: &Call<'_>| {
        if call.kind == CallKind::Extend {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Plan::go()
    });
    let gate = Gate::new();
    let loading = held(&a, &gate, Ok("late".to_owned()));
    eventually_async(LONG, "it lasts", async || extended.load(Ordering::SeqCst) >= 3).await;
    // Another life of the server.
    memory.restore(&memory.save());
    let before = extended.load(Ordering::SeqCst);
    eventually_async(LONG, "the ticket ends", async || !tier.holds_ticket(KEY)).await;
    assert!(extended.load(Ordering::SeqCst) <= before + 1, "one was on its way");
    gate.open();
    assert_eq!(answer(loading).await.as_deref().ok(), Some("late"));
    assert!(!tier.holds_value(KEY), "what was loaded before is not stored");
}

#[tokio::test]
async fn word_that_is_lost_costs_no_more_than_the_ticket_lasts_and_one_that_cannot_come_a_look_now_and_then() {
    for deaf in [false, true] {
        let (memory, lease) = (InProcess::new(), Duration::from_millis(500));
        let tier = Tier::in_process(&memory);
        let (a, b) = (built(&tier, lease).await, built(&tier, lease).await);
        let gate = Gate::new();
        let loading = held(&a, &gate, Ok("seven".to_owned()));
        gate.arrived(1).await;
        let waits = called(&b, "its own");
        waiting(&b, 1).await;
        if deaf {
            // Its subscription ends, and no other one begins.
            memory.script(|call: &Call<'_>| match call.kind {
                CallKind::Deliver | CallKind::Subscribe if call.instance == 1 => Plan::away(),
                _ => Plan::go(),
            });
            a.invalidate("another").await.expect("told");
            eventually_async(LONG, "it looks now and then", async || b.stats().ticket_polls >= 4).await;
            assert_eq!(b.stats().lane_lost, 1);
        } else {
            memory.lose_next(CallKind::Wake);
        }
        gate.open();
        assert_eq!(answer(loading).await.as_deref().ok(), Some("seven"));
        assert_eq!(answer(waits).await.as_deref().ok(), Some("seven"), "{}", b.stats());
        let stats = b.stats();
        assert_eq!((stats.loads, stats.ticket_wakes > 0), (0, deaf), "its end is word, too: {stats}");
    }
}

#[tokio::test]
async fn a_batch_is_told_as_well_and_looks_at_what_was_stored_together_in_one_go() {
    over_shared(async |tier| {
        let (a, b) = pair(tier).await;
        let gate = Gate::new();
        let keys: Vec<String> = (0..50).map(|n| format!("key:{n}")).collect();
        let load = |cache: &TieredCache, brings: &'static str| {
            let (cache, keys, gate) = (cache.clone(), keys.clone(), gate.clone());
            tokio::spawn(async move {
                let load = |keys: Vec<String>| async {
                    gate.wait().await;
                    Ok::<_, Oops>(keys.into_iter().map(|key| (key, brings.to_owned())).collect::<Vec<_>>())
                };
                cache.get_or_load_many(&keys, POLICY, load).await
            })
        };
        let loading = load(&a, "a's");
        gate.arrived(1).await;
        let waits = load(&b, "b's");
        eventually_async(LONG, "it waits for all of them", async || {
            let waits = async |key: &String| {
                matches!(b.inspect(key).await.expect("looked at").shared, InSharedTier::Ticket { waiting: 1, .. })
            };
            let mut all = true;
            for key in &keys {
                all &= waits(key).await;
            }
            all
        })
        .await;
        gate.open();
        for (call, by) in [(loading, &a), (waits, &b)] {
            let values = timeout(LONG, call).await.expect("it was forgotten").expect("no panic").expect("loaded");
            assert!(values.iter().all(|value| value.as_deref() == Some("a's")), "{}", by.stats());
        }
        let stats = b.stats();
        assert_eq!((stats.loads, stats.ticket_waits), (0, 50), "{stats}");
        assert!(stats.ticket_wakes >= 1 && stats.ticket_polls <= 200, "{stats}");
    })
    .await;
}

#[tokio::test]
async fn who_shares_no_loads_with_other_instances_does_not_wait_for_them() {
    over_shared(async |tier| {
        let (a, b) = pair(tier).await;
        let (gate, alone) = (Gate::new(), POLICY.coalesce(Coalesce::Process));
        let loading = held(&a, &gate, Ok("a's".to_owned()));
        gate.arrived(1).await;
        let own = async |_: Vec<String>| Ok::<_, Oops>([(KEY, "b's".to_owned())]);
        assert_eq!(b.get_or_load(KEY, alone, || async { Ok::<_, Oops>("b's".to_owned()) }).await.as_deref().ok(), Some("b's"));
        assert_eq!(b.get_or_load_many([KEY], alone, own).await.expect("loaded"), [Some("b's".to_owned())]);
        gate.open();
        assert_eq!(answer(loading).await.as_deref().ok(), Some("a's"));
        assert_eq!(b.get::<String>(KEY).await.as_deref(), Some("a's"), "its own was kept nowhere");
        assert_eq!((b.stats().ticket_waits, b.stats().loads), (0, 2));
    })
    .await;
}

#[tokio::test]
async fn those_for_whom_there_is_no_place_behind_the_ticket_look_for_themselves() {
    over_shared(async |tier| {
        let a = built(tier, LEASE).await;
        let gate = Gate::new();
        let origin = Arc::new(Origin::at(1));
        let loading = held(&a, &gate, Ok("seven".to_owned()));
        gate.arrived(1).await;
        let mut others = Vec::new();
        for _ in 0..66 {
            let other = tier.builder().lease(LEASE).wait_budget(LEASE).tag_cells(256).build().await.expect("built");
            others.push((called(&other, "its own"), other));
        }
        eventually_async(LONG, "all wait", async || others.iter().all(|(_, other)| other.stats().ticket_waits == 1)).await;
        waiting(&a, 64).await;
        gate.open();
        assert_eq!(answer(loading).await.as_deref().ok(), Some("seven"));
        let (mut told, mut polled) = (0, 0);
        for (call, other) in others {
            assert_eq!(answer(call).await.as_deref().ok(), Some("seven"));
            told += other.stats().ticket_wakes;
            polled += u64::from(other.stats().ticket_wakes == 0);
        }
        assert_eq!((told, polled, origin.loads()), (64, 2, 0));
    })
    .await;
}

/// Drops what it wakes.
struct DropsIt(Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>);

impl Wake for DropsIt {
    fn wake(self: Arc<Self>) {
        // None while it is polled.
        let woken = self.0.try_lock().ok().and_then(|mut held| held.take());
        drop(woken);
    }
}

#[tokio::test]
async fn who_is_told_may_drop_what_waits() {
    let tier = Tier::in_process(&InProcess::new());
    let (a, b) = pair(&tier).await;
    let gate = Gate::new();
    let loading = held(&a, &gate, Ok("seven".to_owned()));
    gate.arrived(1).await;
    let mut waits: Pin<Box<dyn Future<Output = ()> + Send>> = {
        let b = b.clone();
        Box::pin(async move { drop(b.get_or_load(KEY, POLICY, || async { Ok::<_, Oops>("its own".to_owned()) }).await) })
    };
    let drops = Arc::new(DropsIt(Mutex::new(None)));
    let waker = Waker::from(Arc::clone(&drops));
    while b.stats().ticket_waits == 0 {
        assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        tokio::task::yield_now().await;
    }
    *drops.0.lock().expect("not poisoned") = Some(waits);
    gate.open();
    assert_eq!(answer(loading).await.as_deref().ok(), Some("seven"));
    eventually_async(LONG, "it was dropped", async || drops.0.try_lock().is_ok_and(|held| held.is_none())).await;
    assert_eq!(called(&b, "its own").await.expect("no panic").as_deref().ok(), Some("seven"));
}
