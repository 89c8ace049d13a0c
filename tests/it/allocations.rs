//! What a read allocates: nothing where it is a hit in L1, a bounded number where it is not. Counted on the calling thread, so the
//! cache's own tasks do not count and the tests may run side by side.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use cachetier::{InProcess, Policy, TieredCache};
use cachetier_tests::RedisServer;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct User {
    name: String,
    mail: String,
}

const KEY: &str = "user:42";
const POLICY: Policy = Policy::ttl(Duration::from_secs(300));

const HITS: u64 = 12_800;

/// What a read that misses everywhere, loads and keeps may allocate at most; a little above what it does.
const MISS_ALONE: u64 = 26;
const MISS_SHARED: u64 = 48;
/// What a hit in L2 may.
const L2_HIT: u64 = 40;

fn user() -> Arc<User> {
    Arc::new(User { name: "Ada".to_owned(), mail: "ada@example.org".to_owned() })
}

/// The cache's own tasks run on the worker, the measured calls on the thread of the test.
fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// Polls a call once, which must end it, and counts.
fn at_once<T>(call: impl Future<Output = T>) -> (T, AllocationInfo) {
    let mut call = pin!(call);
    let mut polled = Poll::Pending;
    let info = measure(|| polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    match polled {
        Poll::Ready(answer) => (answer, info),
        Poll::Pending => unreachable!("a hit waits for nothing"),
    }
}

/// Loads the key, then reads it by both verbs.
fn check_hits(cache: &TieredCache, runtime: &Runtime) {
    let tags = vec!["users".to_owned(), "org:7".to_owned()];
    let rules = POLICY.tags(&tags);
    let load = async || Ok::<_, Infallible>(user());
    runtime.block_on(cache.get_or_load(KEY, rules, load)).expect("a load");
    let _in_runtime = runtime.enter();
    // What an insertion leaves to be done, the store does within some later read; and a thread sets up what it counts with. These
    // reads take that on them.
    for _ in 0..1_000 {
        at_once(cache.get::<Arc<User>>(KEY)).0.expect("a hit");
    }

    let (mut by_get, mut by_load) = (0, 0);
    for _ in 0..HITS {
        let (found, info) = at_once(cache.get::<Arc<User>>(KEY));
        assert_eq!(found, Some(user()));
        by_get += info.count_total;
    }
    for _ in 0..HITS {
        let (found, info) = at_once(cache.get_or_load(KEY, rules, async || Err::<Arc<User>, _>(std::fmt::Error)));
        assert_eq!(found.ok(), Some(user()));
        by_load += info.count_total;
    }
    assert!(cache.stats().l1_hits >= 1_000 + 2 * HITS, "{}", cache.stats());
    println!("{by_get} and {by_load} allocations in {HITS} hits each");
    assert_eq!((by_get, by_load), (0, 0), "allocations in {HITS} hits each, by `get` and by `get_or_load`");
}

/// What the attribute makes of a function, with a key as it is at hand.
#[expect(clippy::needless_borrow, reason = "how many are needed depends on the type")]
async fn cached(cache: &TieredCache, runs: &mut u32) -> Result<Arc<User>, Infallible> {
    use cachetier::attribute::probes::*;
    use cachetier::attribute::{ErrorProbe, Probe, given, rules};
    let handle = given(cache);
    let shape = (&&(&&&&Probe::<Result<Arc<User>, Infallible>>::new()).shape()).checked();
    if let Some(answer) = shape.hit(&handle, KEY) {
        return answer;
    }
    let sharing = (&&&ErrorProbe::of(&shape)).sharing();
    let handle = handle.into_owned();
    let body = async move {
        *runs += 1;
        Ok(user())
    };
    shape.load(handle, KEY, rules(POLICY, vec!["users".to_owned()]), sharing, body).await
}

#[test]
fn a_hit_of_a_cached_function_allocates_nothing_of_its_own() {
    let runtime = runtime();
    let cache = runtime.block_on(TieredCache::builder("attribute").build()).expect("a cache");
    let (mut runs, mut allocations) = (0, 0);
    for call in 0..1_000 + HITS {
        let _in_runtime = runtime.enter();
        let (found, info) = at_once(cached(&cache, &mut runs));
        assert_eq!(found.ok(), Some(user()));
        allocations += if call < 1_000 { 0 } else { info.count_total };
    }
    assert_eq!(runs, 1);
    assert!(allocations <= HITS / UPKEEP, "{allocations} allocations in {HITS} hits, more than the store's own");
}

#[test]
fn a_hit_over_nothing_allocates_nothing() {
    let runtime = runtime();
    let cache = runtime.block_on(TieredCache::builder("alone").build()).expect("a cache");
    check_hits(&cache, &runtime);
}

#[test]
fn a_hit_over_a_tier_in_the_process_allocates_nothing() {
    let runtime = runtime();
    let tier = InProcess::new();
    let cache = runtime.block_on(TieredCache::builder("near").in_process(&tier).build()).expect("a cache");
    check_hits(&cache, &runtime);
}

#[test]
fn a_hit_over_a_server_allocates_nothing() {
    let (runtime, server) = (runtime(), RedisServer::start());
    let cache = runtime.block_on(TieredCache::builder("far").redis(server.url()).build()).expect("a cache");
    check_hits(&cache, &runtime);
}

/// Counts what each of a hundred misses allocates on the thread that asks, and returns the middle one: now and then one also pays
/// for a table that grows.
fn misses(cache: &TieredCache, runtime: &Runtime) -> u64 {
    let user = user();
    let keys: Vec<String> = (0..101).map(|index| format!("user:{index}")).collect();
    middle(keys.iter().map(|key| {
        let load = async || Ok::<_, Infallible>(Arc::clone(&user));
        let mut loaded = None;
        let info = measure(|| loaded = runtime.block_on(cache.get_or_load(key, POLICY.tags(["users"]), load)).ok());
        assert_eq!(loaded.as_ref(), Some(&user));
        info.count_total
    }))
}

fn middle(counts: impl Iterator<Item = u64>) -> u64 {
    let mut counts: Vec<u64> = counts.collect();
    counts.sort_unstable();
    counts.get(counts.len() / 2).copied().expect("a count")
}

#[track_caller]
fn check_bound(what: &str, count: u64, bound: u64) {
    println!("{what}: {count} allocations, at most {bound}");
    assert!(count > 0, "{what}: nothing was counted");
    assert!(count <= bound, "{what}: {count} allocations, expected at most {bound}");
}

#[test]
fn a_miss_over_nothing_allocates_a_bounded_number() {
    let runtime = runtime();
    let cache = runtime.block_on(TieredCache::builder("alone").build()).expect("a cache");
    check_bound("miss, L1 alone", misses(&cache, &runtime), MISS_ALONE);
}

#[test]
fn a_miss_and_a_hit_in_the_shared_tier_allocate_a_bounded_number() {
    // On one thread: what the connection's task does for the call is counted, too.
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let server = RedisServer::start();
    let build = || runtime.block_on(TieredCache::builder("far").redis(server.url()).build()).expect("a cache");
    let (one, two) = (build(), build());
    check_bound("miss and fill, a server", misses(&one, &runtime), MISS_SHARED);

    let hits = middle((0..101).map(|index| {
        let key = format!("user:{index}");
        let mut found = None;
        let info =
            measure(|| found = runtime.block_on(two.get_or_load(&key, POLICY, async || Err::<Arc<User>, _>(std::fmt::Error))).ok());
        assert_eq!(found, Some(user()));
        info.count_total
    }));
    assert_eq!(two.stats().l2_hits, 101, "{}", two.stats());
    check_bound("hit in L2, a server", hits, L2_HIT);
}
