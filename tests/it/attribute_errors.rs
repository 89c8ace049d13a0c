//! What a cached function does with failures: its own error for all who can share it, one after the other where nobody can, panics that go
//! on, and a load limit that cuts nothing off. Written the way the attribute expands.
//!
//! The runtime has one thread here: a caller that was counted as a miss has then also found the load it waits for.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, clippy::panic, reason = "a helper of a test fails the test")]

use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cachetier::attribute::{ErrorProbe, Probe, given, rules, share_by};
use cachetier::{Policy, SharedError, TieredCache};
use cachetier_tests::{Gate, Oops, Tier, eventually_async, over_each};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const CALLERS: usize = 100;
const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
const KEY: &str = "user:7";

type BoxError = Box<dyn Error + Send + Sync>;

/// What the attribute makes of a function's body.
macro_rules! cached {
    ($cache:expr, $returns:ty, $body:expr $(, $share:expr)?) => {{
        use cachetier::attribute::probes::*;
        let handle = given($cache);
        let shape = (&&(&&&&Probe::<$returns>::new()).shape()).checked();
        if let Some(answer) = shape.hit(&handle, KEY) {
            return answer;
        }
        let sharing = (&&&ErrorProbe::of(&shape)).sharing();
        $(
            let _ = sharing;
            let sharing = share_by($share);
        )?
        let handle = handle.into_owned();
        shape.load(handle, KEY.to_owned(), rules(POLICY, Vec::new()), sharing, async move { $body }).await
    }};
}

/// A body that waits at a gate, fails a given number of times and then brings its number, and counts how many of it run.
#[derive(Default)]
struct Body {
    gate: Gate,
    failures: usize,
    runs: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Body {
    fn failing(failures: usize) -> Arc<Self> {
        Arc::new(Self { failures, ..Self::default() })
    }

    async fn run(&self) -> Result<u64, Oops> {
        let run = self.runs.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.gate.wait().await;
        // Whoever else would run beside it has its turn now.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.now.fetch_sub(1, Ordering::SeqCst);
        if run < self.failures { Err(Oops("gone")) } else { Ok(run as u64) }
    }

    /// How often it ran, and how many of it at a time.
    fn ran(&self) -> (usize, usize) {
        (self.runs.load(Ordering::SeqCst), self.most.load(Ordering::SeqCst))
    }
}

/// One caller whose body stands at the gate, then all the others, who wait for it; then their answers, the first one's first.
async fn herd<T, F>(cache: &TieredCache, body: &Body, call: impl Fn() -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut callers: Vec<JoinHandle<T>> = vec![tokio::spawn(call())];
    body.gate.arrived(1).await;
    callers.extend((1..CALLERS).map(|_| tokio::spawn(call())));
    eventually_async(LONG, "all wait for the load", async || cache.stats().l1_misses == CALLERS as u64).await;
    body.gate.open();
    let mut answers = Vec::new();
    for caller in callers {
        answers.push(timeout(LONG, caller).await.expect("a caller was forgotten").expect("no panic"));
    }
    answers
}

/// An error that can be cloned, and counts its clones.
#[derive(Debug)]
struct Cloned(Arc<AtomicUsize>);

impl Clone for Cloned {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(&self.0))
    }
}

async fn by_clone(cache: TieredCache, body: Arc<Body>, clones: Arc<AtomicUsize>) -> Result<u64, Cloned> {
    cached!(&cache, Result<u64, Cloned>, body.run().await.map_err(|_| Cloned(clones)))
}

async fn by_anyhow(cache: TieredCache, body: Arc<Body>) -> anyhow::Result<u64> {
    cached!(&cache, anyhow::Result<u64>, Ok(body.run().await?))
}

async fn by_box(cache: TieredCache, body: Arc<Body>) -> Result<u64, BoxError> {
    cached!(&cache, Result<u64, BoxError>, Ok(body.run().await?))
}

async fn by_path(cache: TieredCache, body: Arc<Body>) -> Result<u64, Oops> {
    fn copy(error: &Oops) -> Oops {
        Oops(error.0)
    }
    cached!(&cache, Result<u64, Oops>, body.run().await, copy)
}

async fn by_nobody(cache: TieredCache, body: Arc<Body>) -> Result<u64, Oops> {
    cached!(&cache, Result<u64, Oops>, body.run().await)
}

/// Neither `Clone` nor `Send`, and it may borrow.
#[derive(Debug)]
struct Local<'a>(Rc<(&'a str,)>);

async fn by_nobody_and_local<'a>(cache: &TieredCache, body: &Body, text: &'a str) -> Result<u64, Local<'a>> {
    cached!(cache, Result<u64, Local<'a>>, body.run().await.map_err(|_| Local(Rc::new((text,)))))
}

/// Has nothing left behind: no flight, no ticket, no value.
async fn check_free(cache: &TieredCache, tier: &Tier) {
    assert_eq!(cache.stats().flights, 0);
    assert!(!tier.holds_value(KEY));
    eventually_async(LONG, "the ticket is given back", async || !tier.holds_ticket(KEY)).await;
}

#[tokio::test]
async fn an_error_that_can_be_cloned_is_that_of_one_load_for_all() {
    over_each(async |tier| {
        let (cache, body, clones) = (tier.cache().await, Body::failing(usize::MAX), Arc::new(AtomicUsize::new(0)));
        let answers = herd(&cache, &body, || by_clone(cache.clone(), body.clone(), clones.clone())).await;
        assert!(answers.iter().all(Result::is_err));
        assert_eq!(body.ran(), (1, 1));
        assert_eq!((cache.stats().coalesced, cache.stats().failures_unshared), (CALLERS as u64 - 1, 0));
        check_free(&cache, tier).await;
    })
    .await;
}

#[tokio::test]
async fn an_error_that_can_hold_any_error_is_shared_within_itself() {
    over_each(async |tier| {
        let (cache, body) = (tier.cache().await, Body::failing(usize::MAX));
        for answer in herd(&cache, &body, || by_anyhow(cache.clone(), body.clone())).await {
            let error = answer.expect_err("it failed");
            assert_eq!(error.to_string(), "gone");
            let shared = error.downcast_ref::<SharedError<anyhow::Error>>().expect("shared");
            assert_eq!(shared.get().downcast_ref::<Oops>(), Some(&Oops("gone")));
        }
        assert_eq!(body.ran(), (1, 1));
        check_free(&cache, tier).await;

        let (cache, body) = (tier.cache().await, Body::failing(usize::MAX));
        for answer in herd(&cache, &body, || by_box(cache.clone(), body.clone())).await {
            assert_eq!(answer.expect_err("it failed").to_string(), "gone");
        }
        assert_eq!(body.ran(), (1, 1));
    })
    .await;
}

async fn by_path_of_any(cache: TieredCache, body: Arc<Body>) -> Result<u64, BoxError> {
    fn copy(error: &BoxError) -> BoxError {
        error.to_string().into()
    }
    cached!(&cache, Result<u64, BoxError>, Ok(body.run().await?), copy)
}

#[tokio::test]
async fn an_error_is_shared_by_the_function_that_is_named() {
    over_each(async |tier| {
        let (cache, body) = (tier.cache().await, Body::failing(usize::MAX));
        let answers = herd(&cache, &body, || by_path(cache.clone(), body.clone())).await;
        assert!(answers.into_iter().all(|answer| answer == Err(Oops("gone"))));
        assert_eq!(body.ran(), (1, 1));
        check_free(&cache, tier).await;

        let (cache, body) = (tier.cache().await, Body::failing(usize::MAX));
        let answers = herd(&cache, &body, || by_path_of_any(cache.clone(), body.clone())).await;
        assert!(answers.iter().all(|answer| answer.as_ref().is_err_and(|error| !error.is::<SharedError<BoxError>>())));
        assert_eq!(body.ran(), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_lone_callers_error_is_moved_and_neither_cloned_nor_shared() {
    over_each(async |tier| {
        let (cache, body, clones) = (tier.cache().await, Body::failing(usize::MAX), Arc::new(AtomicUsize::new(0)));
        body.gate.open();
        assert!(by_clone(cache.clone(), body.clone(), clones.clone()).await.is_err());
        assert_eq!(clones.load(Ordering::SeqCst), 0);
        let error = by_anyhow(cache.clone(), body.clone()).await.expect_err("it failed");
        assert_eq!(error.downcast_ref::<Oops>(), Some(&Oops("gone")));
        let error = by_box(cache.clone(), body.clone()).await.expect_err("it failed");
        assert_eq!(error.downcast_ref::<Oops>(), Some(&Oops("gone")));
        assert_eq!(by_nobody(cache.clone(), body.clone()).await, Err(Oops("gone")));
        assert_eq!((body.ran(), cache.stats().failures_unshared), ((4, 1), 0));
        check_free(&cache, tier).await;
    })
    .await;
}

#[tokio::test]
async fn an_error_that_cannot_be_shared_lets_each_who_waits_load_for_himself_one_at_a_time() {
    over_each(async |tier| {
        let (cache, body) = (tier.cache().await, Body::failing(usize::MAX));
        let answers = herd(&cache, &body, || by_nobody(cache.clone(), body.clone())).await;
        assert!(answers.into_iter().all(|answer| answer == Err(Oops("gone"))));
        assert_eq!(body.ran(), (CALLERS, 1));
        // All but the last had somebody who waited.
        assert_eq!((cache.stats().failures_unshared, cache.stats().loads_alone), (CALLERS as u64 - 1, 0));
        check_free(&cache, tier).await;
    })
    .await;
}

#[tokio::test]
async fn the_first_to_succeed_after_errors_that_cannot_be_shared_does_so_for_all_and_fills() {
    over_each(async |tier| {
        let (cache, body) = (tier.cache().await, Body::failing(3));
        let answers = herd(&cache, &body, || by_nobody(cache.clone(), body.clone())).await;
        assert_eq!(answers.iter().filter(|answer| **answer == Ok(3)).count(), CALLERS - 3);
        assert_eq!((body.ran(), cache.stats().failures_unshared), ((4, 1), 3));
        // The right to fill was handed on with the flight: the shared tier was asked once.
        assert_eq!((tier.holds_value(KEY), cache.stats().l2_misses), (tier.is_shared(), u64::from(tier.is_shared())));
        assert_eq!(cache.get(KEY).await, Some(3_u64));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_error_that_cannot_be_shared_lets_one_load_at_a_time_also_on_several_threads() {
    over_each(async |tier| {
        let (cache, body) = (tier.cache().await, Body::failing(usize::MAX));
        body.gate.open();
        let callers: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(by_nobody(cache.clone(), body.clone()))).collect();
        for caller in callers {
            assert_eq!(timeout(LONG, caller).await.expect("a caller was forgotten").expect("no panic"), Err(Oops("gone")));
        }
        assert_eq!(body.ran(), (CALLERS, 1));
        check_free(&cache, tier).await;
    })
    .await;
}

/// Settings of which only the time counts: what one leader is waited for is short beside what all who wait take one after the other.
async fn impatient() -> TieredCache {
    let limit = Duration::from_secs(2);
    let builder = Tier::alone().builder().load_limit(limit).wait_budget(limit).command_limit(limit).read_limit(limit);
    builder.build().await.expect("built")
}

/// Fails or panics after a second.
async fn slow_to_fail(cache: TieredCache, body: Arc<Body>, panics: bool) -> Result<u64, Oops> {
    cached!(&cache, Result<u64, Oops>, {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let brought = body.run().await;
        assert!(brought.is_ok() || !panics, "it panics");
        brought
    })
}

// Once who waits lost patience with the load and not with its leader: after 16 seconds all who were left loaded at once.
#[tokio::test(start_paused = true)]
async fn who_waits_behind_many_whose_failures_cannot_be_shared_still_waits_for_its_turn() {
    for panics in [false, true] {
        let (cache, body) = (impatient().await, Body::failing(CALLERS - 1));
        body.gate.open();
        let callers: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(slow_to_fail(cache.clone(), body.clone(), panics))).collect();
        let mut brought = Vec::new();
        for caller in callers {
            brought.extend(caller.await.ok().and_then(Result::ok));
        }
        assert_eq!((body.ran(), cache.stats().loads_alone), ((CALLERS, 1), 0));
        assert_eq!((brought, cache.get(KEY).await), (vec![CALLERS as u64 - 1], Some(CALLERS as u64 - 1)), "the last one's is kept");
    }
}

/// Fails at once if it is the first to run, and never ends if it is the second.
async fn stuck_when_it_takes_over(cache: TieredCache, body: Arc<Body>) -> Result<u64, Oops> {
    cached!(&cache, Result<u64, Oops>, {
        let run = body.run().await?;
        if run == 1 { std::future::pending().await } else { Ok(run) }
    })
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_one_that_took_over_and_is_not_polled_any_more_loads_for_itself_in_the_end() {
    let (cache, body) = (impatient().await, Body::failing(1));
    let leader = tokio::spawn(stuck_when_it_takes_over(cache.clone(), body.clone()));
    body.gate.arrived(1).await;
    let mut heir = Box::pin(stuck_when_it_takes_over(cache.clone(), body.clone()));
    assert!(timeout(Duration::from_secs(1), &mut heir).await.is_err());
    let other = tokio::spawn(stuck_when_it_takes_over(cache.clone(), body.clone()));
    eventually_async(LONG, "all wait for the load", async || cache.stats().l1_misses == 3).await;
    body.gate.open();
    assert_eq!(leader.await.expect("no panic"), Err(Oops("gone")));
    assert!(timeout(Duration::from_millis(1), &mut heir).await.is_err(), "it leads, and is not polled from here on");
    // Twice the patience.
    assert_eq!(timeout(Duration::from_secs(32), other).await.expect("it does not wait for ever").expect("no panic"), Ok(2));
    assert_eq!((body.ran(), cache.stats().loads_alone), ((3, 1), 1));
    drop(heir);
}

/// Fails ten times, each time after a while.
async fn slow_to_succeed(cache: TieredCache, body: Arc<Body>) -> Result<u64, Oops> {
    cached!(&cache, Result<u64, Oops>, {
        tokio::time::sleep(Duration::from_millis(140)).await;
        body.run().await
    })
}

#[tokio::test]
async fn the_right_to_fill_lives_for_each_who_inherits_it() {
    over_each(async |tier| {
        // None of the loads lasts for a third of the lease, all of them together outlast it.
        let cache = tier.builder().lease(Duration::from_secs(1)).build().await.expect("built");
        let body = Body::failing(10);
        body.gate.open();
        let callers: Vec<_> = (0..=10).map(|_| tokio::spawn(slow_to_succeed(cache.clone(), body.clone()))).collect();
        for caller in callers {
            let _ = timeout(LONG, caller).await.expect("a caller was forgotten").expect("no panic");
        }
        assert_eq!((body.ran(), cache.get(KEY).await), ((11, 1), Some(10_u64)));
        assert_eq!(tier.holds_value(KEY), tier.is_shared());
    })
    .await;
}

#[tokio::test]
async fn an_error_may_be_of_any_type() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let (cache, body, text) = (Tier::alone().cache().await, Body::failing(1), String::from("borrowed"));
    body.gate.open();
    let error = is_send(by_nobody_and_local(&cache, &body, &text)).await.expect_err("it failed");
    assert_eq!(*error.0, ("borrowed",));
    assert_eq!(by_nobody_and_local(&cache, &body, &text).await.ok(), Some(1));
}

#[tokio::test]
async fn waiters_of_a_verb_and_of_a_function_share_one_load_and_its_error() {
    let (cache, body) = (Tier::alone().cache().await, Body::failing(usize::MAX));
    let by_verb = {
        let (cache, body) = (cache.clone(), body.clone());
        tokio::spawn(async move { cache.get_or_load(KEY, POLICY, async || body.run().await).await })
    };
    body.gate.arrived(1).await;
    let by_function = tokio::spawn(by_path(cache.clone(), body.clone()));
    eventually_async(LONG, "both wait", async || cache.stats().l1_misses == 2).await;
    body.gate.open();
    assert!(by_verb.await.expect("no panic").is_err());
    assert_eq!(by_function.await.expect("no panic"), Err(Oops("gone")));
    assert_eq!(body.ran(), (1, 1));
}

/// Panics with a number if it is the first to run.
async fn panicking(cache: TieredCache, body: Arc<Body>) -> Result<u64, Oops> {
    cached!(&cache, Result<u64, Oops>, match body.run().await {
        Err(_) => std::panic::panic_any(7_u32),
        brought => brought,
    })
}

#[tokio::test]
async fn a_panic_goes_on_in_its_caller_and_the_next_who_waits_loads() {
    over_each(async |tier| {
        let (cache, body) = (tier.cache().await, Body::failing(1));
        let leader = tokio::spawn(panicking(cache.clone(), body.clone()));
        body.gate.arrived(1).await;
        let others: Vec<_> = (1..CALLERS).map(|_| tokio::spawn(panicking(cache.clone(), body.clone()))).collect();
        eventually_async(LONG, "all wait for the load", async || cache.stats().l1_misses == CALLERS as u64).await;
        body.gate.open();
        let panic = leader.await.expect_err("it panicked").into_panic();
        assert_eq!(panic.downcast_ref(), Some(&7_u32), "the payload is the body's");
        for other in others {
            assert_eq!(timeout(LONG, other).await.expect("a caller was forgotten").expect("no panic"), Ok(1));
        }
        let stats = cache.stats();
        assert_eq!((body.ran(), stats.load_panics, stats.failures_unshared, stats.flights), ((2, 1), 1, 1, 0));
    })
    .await;
}

#[tokio::test]
async fn a_lone_panic_leaves_nothing_behind() {
    over_each(async |tier| {
        let (cache, body) = (tier.cache().await, Body::failing(1));
        body.gate.open();
        assert!(tokio::spawn(panicking(cache.clone(), body.clone())).await.expect_err("it panicked").is_panic());
        check_free(&cache, tier).await;
        assert_eq!(panicking(cache.clone(), body.clone()).await, Ok(1));
        assert_eq!(cache.get(KEY).await, Some(1_u64));
    })
    .await;
}

/// Holds the first to run at the gate, past the load limit.
async fn slow_at_first(cache: TieredCache, body: Arc<Body>) -> Result<u64, Oops> {
    cached!(&cache, Result<u64, Oops>, {
        let run = body.runs.fetch_add(1, Ordering::SeqCst) as u64;
        if run == 0 {
            body.gate.wait().await;
        }
        if body.failures > 0 && run == 0 { Err(Oops("gone")) } else { Ok(run) }
    })
}

#[tokio::test]
async fn a_body_over_the_load_limit_goes_on_for_its_caller_alone() {
    for failures in [0, 1] {
        over_each(async |tier| {
            let cache = tier.builder().load_limit(Duration::from_millis(100)).build().await.expect("built");
            let body = Body::failing(failures);
            let leader = tokio::spawn(slow_at_first(cache.clone(), body.clone()));
            body.gate.arrived(1).await;
            let others: Vec<_> = (0..9).map(|_| tokio::spawn(slow_at_first(cache.clone(), body.clone()))).collect();
            // Who waits runs its own body at once, while the first one's still stands at the gate.
            for other in others {
                assert!(timeout(LONG, other).await.expect("nobody waits any longer").expect("no panic").is_ok());
            }
            let stats = cache.stats();
            assert_eq!((stats.load_timeouts, stats.loads_alone, stats.loads), (1, 9, 10));
            assert_eq!(cache.get::<u64>(KEY).await, None);
            check_free(&cache, tier).await;

            // Whoever comes now loads and keeps, and what the first one brings at last does not take its place.
            assert_eq!(slow_at_first(cache.clone(), body.clone()).await, Ok(10));
            assert!(!leader.is_finished());
            body.gate.open();
            let own = if failures == 0 { Ok(0) } else { Err(Oops("gone")) };
            assert_eq!(leader.await.expect("no panic"), own);
            assert_eq!(cache.get(KEY).await, Some(10_u64));
            assert_eq!(tier.holds_value(KEY), tier.is_shared());
        })
        .await;
    }
}

#[tokio::test]
async fn a_body_over_the_load_limit_that_is_dropped_leaves_nothing_behind() {
    let cache = Tier::alone().builder().load_limit(Duration::from_millis(1)).build().await.expect("built");
    let body = Body::failing(0);
    let leader = tokio::spawn(slow_at_first(cache.clone(), body.clone()));
    eventually_async(LONG, "the limit is over", async || cache.stats().load_timeouts == 1).await;
    leader.abort();
    assert!(leader.await.expect_err("it was aborted").is_cancelled());
    assert_eq!(cache.stats().flights, 0);
    assert_eq!(slow_at_first(cache.clone(), body).await, Ok(1));
}

/// Asks for its own key until `left` is zero.
fn recursive(cache: &TieredCache, left: u64) -> Pin<Box<dyn Future<Output = u64> + Send + '_>> {
    Box::pin(async move { cached!(cache, u64, if left == 0 { 0 } else { recursive(cache, left - 1).await + 1 }) })
}

#[tokio::test]
async fn a_body_that_asks_for_its_own_key_just_runs() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        assert_eq!(timeout(LONG, recursive(&cache, 2)).await.expect("no deadlock"), 2);
        let stats = cache.stats();
        assert_eq!((stats.recursions, stats.loads, stats.loads_alone, stats.flights), (2, 3, 2, 0));
        assert_eq!(cache.get(KEY).await, Some(2_u64), "the outermost is kept");
    })
    .await;
}

/// Asks for its own key in another task, and waits for that.
fn through_a_task(cache: TieredCache, left: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        cached!(&cache, u64, {
            if left == 0 { 0 } else { tokio::spawn(through_a_task(cache.clone(), left - 1)).await.expect("no panic") + 1 }
        })
    })
}

#[tokio::test(start_paused = true)]
async fn a_body_that_waits_for_its_own_key_in_another_task_does_so_to_the_load_limit() {
    let cache = impatient().await;
    let began = tokio::time::Instant::now();
    assert_eq!(timeout(LONG, through_a_task(cache.clone(), 1)).await.expect("no deadlock"), 1);
    assert_eq!(began.elapsed().as_secs(), 2);
    let stats = cache.stats();
    assert_eq!((stats.recursions, stats.load_timeouts, stats.loads_alone, stats.flights), (0, 1, 1, 0));
}
