//! Many callers, one load: whatever becomes of it, and whoever is left to do it, over every kind of cache.
//!
//! The runtime has one thread here: a caller that was counted as a miss has then also found the load it waits for.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, clippy::panic, reason = "a helper of a test fails the test")]

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use cachetier::{Call, CallKind, InProcess, LoadError, Plan, Policy, TieredCache};
use cachetier_tests::{Gate, Oops, Origin, Tier, eventually_async, over_each, over_shared};
use tokio::task::JoinHandle;

const CALLERS: u64 = 1_000;
const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
const KEY: &str = "user:7";

type Answer = Result<u64, LoadError<Oops>>;
type Caller = JoinHandle<(Answer, tokio::time::Instant)>;

/// What the next loader that runs does, once the gate is open.
#[derive(Clone, Copy)]
enum Then {
    Succeed,
    Fail,
    Panic,
    Hang,
}

/// Loaders that count themselves and wait at one gate.
#[derive(Clone)]
struct Loads {
    origin: Arc<Origin>,
    gate: Gate,
    then: Then,
}

impl Loads {
    fn that(then: Then) -> Self {
        Self { origin: Arc::new(Origin::at(1)), gate: Gate::new(), then }
    }

    async fn run(self) -> Result<u64, Oops> {
        let read = self.origin.load_slowly(&self.gate).await;
        match self.then {
            Then::Succeed => read,
            Then::Fail => Err(Oops("no such user")),
            Then::Panic => panic!("a loader's bug"),
            Then::Hang => std::future::pending().await,
        }
    }

    /// One caller, as a task, with the moment at which it had its answer.
    fn call(&self, cache: &TieredCache) -> Caller {
        let (loads, cache) = (self.clone(), cache.clone());
        tokio::spawn(async move {
            let answer = cache.get_or_load(KEY, POLICY, || loads.run()).await;
            (answer, tokio::time::Instant::now())
        })
    }

    /// A caller whose loader stands at the gate, then all the others, who wait for it.
    async fn herd(&self, cache: &TieredCache) -> (Caller, Vec<Caller>) {
        let leader = self.call(cache);
        self.gate.arrived(1).await;
        let others = (1..CALLERS).map(|_| self.call(cache)).collect();
        eventually_async(LONG, "all wait for the load", async || cache.stats().l1_misses == CALLERS).await;
        (leader, others)
    }
}

async fn answers(callers: Vec<Caller>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for caller in callers {
        let answer = tokio::time::timeout(LONG, caller).await.expect("a caller was forgotten");
        answers.push(answer.expect("no panic").0);
    }
    answers
}

/// A later call, with a loader that succeeds.
async fn next_call(cache: &TieredCache, origin: &Origin) -> u64 {
    cache.get_or_load(KEY, POLICY, || origin.load()).await.expect("loaded")
}

#[tokio::test]
async fn a_thousand_callers_of_a_cold_key_get_the_value_of_one_load() {
    over_each(async |tier| {
        let (cache, loads) = (tier.cache().await, Loads::that(Then::Succeed));
        let (leader, others) = loads.herd(&cache).await;
        loads.gate.open();
        assert_eq!(answers(vec![leader]).await[0].as_ref().ok(), Some(&1));
        assert!(answers(others).await.iter().all(|answer| matches!(answer, Ok(1))));
        assert_eq!(loads.origin.loads(), 1);
        let stats = cache.stats();
        assert_eq!((stats.loads, stats.coalesced, stats.flights), (1, CALLERS - 1, 0));
        assert_eq!(tier.holds_value(KEY), tier.is_shared());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_callers_on_several_threads_get_the_value_of_one_load() {
    over_each(async |tier| {
        let (cache, loads) = (tier.cache().await, Loads::that(Then::Succeed));
        loads.gate.open();
        let callers = (0..CALLERS).map(|_| loads.call(&cache)).collect();
        assert!(answers(callers).await.iter().all(|answer| matches!(answer, Ok(1))));
        assert_eq!(loads.origin.loads(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_long_load_is_joined_and_kept_while_the_lane_is_tried_again_and_again() {
    let (tier, loads) = (InProcess::new(), Loads::that(Then::Succeed));
    let cache = Tier::in_process(&tier).cache().await;
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    tier.script_calls(move |call: &Call<'_>| match call.kind {
        CallKind::Subscribe => {
            counted.fetch_add(1, Ordering::SeqCst);
            Plan::away()
        }
        _ => Plan::go(),
    });
    tier.break_subscriptions();
    eventually_async(LONG, "the loss is noticed", async || cache.stats().lane_lost == 1).await;
    let leader = loads.call(&cache);
    loads.gate.arrived(1).await;
    let before = tries.load(Ordering::SeqCst);
    eventually_async(LONG, "several tries fail", async || tries.load(Ordering::SeqCst) >= before + 5).await;
    let other = loads.call(&cache);
    eventually_async(LONG, "the other one has missed", async || cache.stats().l1_misses == 2).await;
    loads.gate.open();
    assert!(answers(vec![leader, other]).await.iter().all(|answer| matches!(answer, Ok(1))));
    assert_eq!(cache.get::<u64>(KEY).await, Some(1), "kept, for it was loaded just now");
    assert_eq!(loads.origin.loads(), 1);
}

#[tokio::test]
async fn when_the_leader_is_dropped_one_of_those_who_wait_loads_for_all() {
    over_each(async |tier| {
        let (cache, loads) = (tier.cache().await, Loads::that(Then::Succeed));
        let (leader, others) = loads.herd(&cache).await;
        leader.abort();
        assert!(leader.await.expect_err("it was aborted").is_cancelled());
        loads.gate.open();
        assert!(answers(others).await.iter().all(|answer| matches!(answer, Ok(1))));
        assert_eq!(loads.origin.loads(), 2, "the load that was dropped, and one more");
        // The right to fill was handed on with the flight.
        assert_eq!(tier.holds_value(KEY), tier.is_shared());
        assert_eq!(next_call(&cache, &loads.origin).await, 1);
        assert_eq!(loads.origin.loads(), 2);
    })
    .await;
}

#[tokio::test]
async fn when_all_callers_are_dropped_nothing_is_left_behind() {
    over_each(async |tier| {
        let (cache, loads) = (tier.cache().await, Loads::that(Then::Succeed));
        let (leader, others) = loads.herd(&cache).await;
        assert_eq!(tier.holds_ticket(KEY), tier.is_shared());
        for caller in others.into_iter().chain([leader]) {
            caller.abort();
            assert!(caller.await.expect_err("it was aborted").is_cancelled());
        }
        assert_eq!(loads.origin.loads(), 1, "aborted before it could take over");
        assert_eq!(cache.stats().flights, 0);
        eventually_async(LONG, "the ticket is given back", async || !tier.holds_ticket(KEY)).await;
        assert_eq!(next_call(&cache, &loads.origin).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_panic_of_the_loader_is_an_error_for_all_and_the_next_call_is_clean() {
    over_each(async |tier| {
        let (cache, loads) = (tier.cache().await, Loads::that(Then::Panic));
        let (leader, others) = loads.herd(&cache).await;
        loads.gate.open();
        let answers = answers(others.into_iter().chain([leader]).collect()).await;
        for answer in answers {
            let error = answer.expect_err("it panicked");
            assert!(error.is_panic());
            assert_eq!(error.to_string(), "the loader panicked: a loader's bug");
        }
        assert_eq!(loads.origin.loads(), 1);
        assert_eq!(cache.stats().load_panics, 1);
        assert_eq!(next_call(&cache, &loads.origin).await, 1);
        assert_eq!(loads.origin.loads(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_failure_of_the_loader_is_the_same_error_for_all_at_once_and_the_next_call_loads_again() {
    over_each(async |tier| {
        let (cache, loads) = (tier.cache().await, Loads::that(Then::Fail));
        let (leader, others) = loads.herd(&cache).await;
        // Time stands still while anybody can run: what passes until all are answered is what somebody slept.
        tokio::time::pause();
        loads.gate.open();
        let (answer, answered_at) = leader.await.expect("no panic");
        let Err(LoadError::Loader(first)) = answer else { panic!("expected the loader's error, found {answer:?}") };
        for other in others {
            let (answer, at) = other.await.expect("no panic");
            let Err(LoadError::Loader(error)) = answer else { panic!("expected the loader's error, found {answer:?}") };
            assert!(Arc::ptr_eq(&first, &error));
            assert!(at.duration_since(answered_at) <= Duration::from_millis(10));
        }
        tokio::time::resume();
        assert_eq!(loads.origin.loads(), 1);
        assert_eq!(cache.stats().load_errors, 1);
        assert_eq!(next_call(&cache, &loads.origin).await, 1);
        assert_eq!(loads.origin.loads(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_loader_that_hangs_is_ended_by_the_load_limit_and_the_key_is_usable_again() {
    const LIMIT: Duration = Duration::from_millis(300);
    over_each(async |tier| {
        let cache = tier.builder().load_limit(LIMIT).build().await.expect("built");
        let loads = Loads::that(Then::Hang);
        let began = tokio::time::Instant::now();
        let leader = loads.call(&cache);
        loads.gate.arrived(1).await;
        let others: Vec<_> = (1..CALLERS).map(|_| loads.call(&cache)).collect();
        loads.gate.open();
        for caller in others.into_iter().chain([leader]) {
            let (answer, at) = caller.await.expect("no panic");
            let error = answer.expect_err("it hangs");
            assert!(error.is_timeout(), "{error}");
            assert_eq!(error.to_string(), "the loader took longer than 300ms");
            assert!(at.duration_since(began) >= LIMIT);
        }
        assert_eq!(loads.origin.loads(), 1);
        assert_eq!(cache.stats().load_timeouts, 1);
        assert_eq!(next_call(&cache, &loads.origin).await, 1);
        assert_eq!(loads.origin.loads(), 2);
    })
    .await;
}

#[tokio::test]
async fn two_instances_load_a_cold_key_once() {
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        let loads = Loads::that(Then::Succeed);
        let leader = loads.call(&a);
        loads.gate.arrived(1).await;
        let others: Vec<_> = (0..CALLERS).map(|_| loads.call(&b)).collect();
        eventually_async(LONG, "the other instance waits", async || b.stats().ticket_waits == 1).await;
        assert_eq!((a.stats().ticket_waits, b.stats().ticket_waits), (0, 1), "one waits for all of its callers");
        loads.gate.open();
        assert!(answers(others.into_iter().chain([leader]).collect()).await.iter().all(|answer| matches!(answer, Ok(1))));
        assert_eq!(loads.origin.loads(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_load_that_outlasts_its_lease_keeps_the_right_to_fill() {
    let (memory, extended) = (InProcess::new(), Arc::new(AtomicUsize::new(0)));
    let tier = Tier::in_process(&memory);
    let lease = Duration::from_millis(90);
    let (a, b) = (tier.builder().lease(lease).build().await.expect("built"), tier.cache().await);
    memory.script_calls({
        let (extended, a) = (Arc::clone(&extended), a.clone());
        move |call: &Call<'_>| {
            if call.kind == CallKind::Extend {
                extended.fetch_add(1, Ordering::SeqCst);
                // No lock is held here: whoever carries a call out may use the cache, the same key included.
                let another = pin!(a.get_or_load(KEY, POLICY, async || Err::<u64, _>(Oops("it waits"))));
                assert!(another.poll(&mut Context::from_waker(Waker::noop())).is_pending());
            }
            Plan::go()
        }
    });
    let loads = Loads::that(Then::Succeed);
    let leader = loads.call(&a);
    loads.gate.arrived(1).await;
    let other = loads.call(&b);
    // A third of the lease apart each.
    eventually_async(LONG, "twice the lease has gone by", async || extended.load(Ordering::SeqCst) >= 7).await;
    loads.gate.open();
    assert!(answers(vec![leader, other]).await.iter().all(|answer| matches!(answer, Ok(1))));
    assert_eq!((loads.origin.loads(), a.stats().fills), (1, 1));
    // The script holds the cache, which holds the tier.
    memory.clear_script();
}

#[tokio::test]
async fn who_waits_for_a_load_that_nobody_polls_any_more_loads_for_itself_in_the_end() {
    over_each(async |tier| {
        let limit = Duration::from_millis(100);
        let builder = tier.builder().load_limit(limit).wait_budget(Duration::ZERO).command_limit(limit).read_limit(limit);
        let (cache, loads) = (builder.build().await.expect("built"), Loads::that(Then::Succeed));
        let mut left = Box::pin(cache.get_or_load(KEY, POLICY, || loads.clone().run()));
        tokio::select! {
            _ = &mut left => panic!("the gate is shut"),
            () = loads.gate.arrived(1) => {}
        }
        let other = tokio::time::timeout(LONG, next_call(&cache, &loads.origin)).await;
        assert_eq!(other.expect("it does not wait for ever"), 1);
        drop(left);
    })
    .await;
}

#[tokio::test]
async fn a_get_that_waits_for_one_that_nobody_polls_any_more_ends_without_an_answer() {
    let tier = InProcess::new();
    let cache = Tier::in_process(&tier).builder().read_limit(Duration::from_millis(100)).build().await.expect("built");
    tier.hang(CallKind::Read);
    let mut left = Box::pin(cache.get::<u64>(KEY));
    let polled = tokio::time::timeout(Duration::from_millis(1), &mut left).await;
    assert!(polled.is_err() && cache.stats().flights == 1);
    assert_eq!(tokio::time::timeout(LONG, cache.get::<u64>(KEY)).await, Ok(None));
    drop(left);
}

#[tokio::test]
async fn a_ticket_is_extended_while_others_come_to_wait() {
    let (tier, loads) = (InProcess::new(), Loads::that(Then::Succeed));
    let cache = Tier::in_process(&tier).builder().lease(Duration::from_millis(30)).build().await.expect("built");
    let (done, joined) = std::sync::mpsc::channel();
    let (other, runtime, joined) = (cache.clone(), tokio::runtime::Handle::current(), std::sync::Mutex::new(joined));
    let (came, extensions) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&came);
    tier.script_calls(move |call: &Call<'_>| {
        if call.kind == CallKind::Extend && extensions.fetch_add(1, Ordering::SeqCst) == 0 {
            let (other, runtime, done) = (other.clone(), runtime.clone(), done.clone());
            std::thread::spawn(move || {
                let _inside = runtime.enter();
                let mut waiting = Box::pin(other.get_or_load(KEY, POLICY, async || Ok::<u64, Oops>(2)));
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                let _ = done.send(Future::poll(waiting.as_mut(), &mut context).is_pending());
            });
            // It comes to wait for the very load whose ticket is being extended.
            let waits = joined.lock().expect("no panic").recv_timeout(Duration::from_secs(5));
            counted.store(usize::from(waits == Ok(true)) + 1, Ordering::SeqCst);
        }
        Plan::go()
    });
    let leader = loads.call(&cache);
    loads.gate.arrived(1).await;
    eventually_async(LONG, "the ticket is extended", async || came.load(Ordering::SeqCst) > 0).await;
    loads.gate.open();
    assert!(matches!(answers(vec![leader]).await[0], Ok(1)));
    assert_eq!(came.load(Ordering::SeqCst), 2, "nobody could come to wait meanwhile");
    tier.clear_script();
}
