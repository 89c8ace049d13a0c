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
use cachetier::{InProcess, Policy, TieredCache, cached, scope};
use cachetier_tests::{Reach as _, RedisServer};
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

#[cached(key = "user:{id}", ttl = "5m", tags = ["users"], cache = cache)]
async fn by_id(cache: &TieredCache, id: u64, runs: &mut u32) -> Result<Arc<User>, Infallible> {
    let _ = (cache, id);
    *runs += 1;
    Ok(user())
}

#[cached(key = "org:{org}:user:{id}", ttl = "5m", tags = ["users", "org:{org}"], cache = cache)]
async fn by_org(cache: &TieredCache, org: &str, id: u64, runs: &mut u32) -> Result<Arc<User>, Infallible> {
    let _ = (cache, org, id);
    *runs += 1;
    Ok(user())
}

/// The form without a key, in the cache of a scope.
#[cached(ttl = "5m", skip(runs))]
async fn by_all(id: u64, scope: &str, runs: &mut u32) -> Option<Arc<User>> {
    let _ = (id, scope);
    *runs += 1;
    Some(user())
}

#[test]
fn a_hit_of_a_cached_function_allocates_nothing() {
    let (runtime, server) = (runtime(), RedisServer::start());
    let cache = runtime.block_on(TieredCache::builder("attribute").reach(server.url()).build()).expect("a cache");
    let (mut runs, mut counts) = ([0; 3], [0; 3]);
    {
        let [one, two, three] = &mut runs;
        runtime.block_on(async {
            by_id(&cache, 42, one).await.expect("a user");
            by_org(&cache, "north:west", 42, two).await.expect("a user");
            scope(cache.clone(), by_all(42, "north:west", three)).await.expect("a user");
        });
        let _in_runtime = runtime.enter();
        for call in 0..1_000 + HITS {
            let counted = [
                at_once(by_id(&cache, 42, one)).1.count_total,
                at_once(by_org(&cache, "north:west", 42, two)).1.count_total,
                at_once(scope(cache.clone(), by_all(42, "north:west", three))).1.count_total,
            ];
            if call >= 1_000 {
                counts.iter_mut().zip(counted).for_each(|(sum, count)| *sum += count);
            }
        }
    }
    println!("{counts:?} allocations in {HITS} hits each");
    assert_eq!((runs, counts), ([1; 3], [0; 3]), "runs of the bodies, allocations of {HITS} hits each");
}

#[test]
fn a_hit_over_nothing_allocates_nothing() {
    let runtime = runtime();
    let cache = runtime.block_on(TieredCache::builder("alone").build()).expect("a cache");
    check_hits(&cache, &runtime);
}

#[test]
fn a_hit_of_a_key_that_is_known_to_be_hot_allocates_nothing() {
    let runtime = runtime();
    let cache = runtime.block_on(TieredCache::builder("hot").hot_keys(10).build()).expect("a cache");
    check_hits(&cache, &runtime);
    assert_eq!(cache.hot_keys(), [KEY]);
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
    let cache = runtime.block_on(TieredCache::builder("far").reach(server.url()).build()).expect("a cache");
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
    let build = || runtime.block_on(TieredCache::builder("far").reach(server.url()).build()).expect("a cache");
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
