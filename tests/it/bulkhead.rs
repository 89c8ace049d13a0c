//! So many loads at once and no more, whoever asks; and nobody waits for ever, however loads ask for each other.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cachetier::{Bulkhead, CacheBuilder, CallOptions, InProcess, LoadError, Policy, TieredCache, cached};
use cachetier_tests::{Oops, Reach as _, RedisServer, eventually_async};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
const LOADER: Duration = Duration::from_millis(100);

/// The loads that run, and the most that ever did.
#[derive(Clone, Debug, Default)]
struct Crowd(Arc<(AtomicUsize, AtomicUsize, AtomicUsize)>);

impl Crowd {
    /// A load that takes its time.
    async fn load(&self) -> u32 {
        let (now, most, all) = &*self.0;
        let running = Running(now, now.fetch_add(1, Ordering::SeqCst) + 1);
        most.fetch_max(running.1, Ordering::SeqCst);
        all.fetch_add(1, Ordering::SeqCst);
        sleep(LOADER).await;
        7
    }

    fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }

    fn all(&self) -> usize {
        self.0.2.load(Ordering::SeqCst)
    }
}

struct Running<'a>(&'a AtomicUsize, usize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn bulkhead(loads: usize) -> Bulkhead {
    Bulkhead::new(loads).expect("some loads")
}

async fn built(builder: CacheBuilder) -> TieredCache {
    builder.build().await.expect("built")
}

async fn of(loads: usize) -> TieredCache {
    built(TieredCache::builder("bulkhead").bulkhead(bulkhead(loads))).await
}

/// Reads those keys at once, and returns what each came to.
async fn read_all(cache: &TieredCache, crowd: &Crowd, keys: impl Iterator<Item = String>) -> Vec<Result<u32, LoadError<Oops>>> {
    let mut reads = JoinSet::new();
    for key in keys {
        let (cache, crowd) = (cache.clone(), crowd.clone());
        reads.spawn(async move { cache.get_or_load(&key, POLICY, async || Ok::<_, Oops>(crowd.load().await)).await });
    }
    reads.join_all().await
}

fn keys(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|key| format!("k:{key}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_copy_expired_and_redis_gone_one_key_is_loaded_once_and_never_more_than_fifty_at_a_time() {
    let mut server = RedisServer::start();
    let builder = TieredCache::builder("bulkhead").reach(server.url()).bulkhead(bulkhead(50)).load_limit(LONG);
    let cache = built(builder.read_limit(LONG).command_limit(LONG)).await;
    let short = Policy::ttl(Duration::from_millis(500)).jitter(0);
    for key in keys(1_000).chain(["one".to_owned()]) {
        cache.set(&key, 1_u32, short).await.expect("a key");
    }
    server.kill();
    sleep(Duration::from_millis(600)).await;

    let crowd = Crowd::default();
    let answers = read_all(&cache, &crowd, std::iter::repeat_n("one".to_owned(), 1_000)).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(7))));
    assert_eq!((crowd.all(), crowd.most()), (1, 1));

    let answers = read_all(&cache, &crowd, keys(1_000)).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(7))));
    println!("1,000 callers of one key: 1 load; 1,000 keys: {} loads, {} at once", crowd.all() - 1, crowd.most());
    assert_eq!((crowd.all(), crowd.most()), (1_001, 50));
    assert_eq!(cache.stats().loads_queued, 950, "{}", cache.stats());
}

#[tokio::test(start_paused = true)]
async fn who_finds_the_queue_full_is_told_at_once_and_who_waits_too_long_then() {
    let bound = bulkhead(1).queue(2);
    let cache = built(TieredCache::builder("bulkhead").bulkhead(bound.clone()).load_limit(LOADER * 3 / 2)).await;
    let (crowd, begun) = (Crowd::default(), Instant::now());
    let answers = read_all(&cache, &crowd, keys(5)).await;
    let refused = |answer: &&Result<u32, LoadError<Oops>>| matches!(answer, Err(error) if error.is_overloaded());
    // One runs, one waits for it, one more than the limit; two find the queue full.
    assert_eq!((answers.iter().filter(refused).count(), crowd.all(), crowd.most()), (3, 2, 1), "{answers:?}");
    assert_eq!(begun.elapsed(), LOADER * 2);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.loads_queued, stats.loads_refused), (2, 2, 3), "{stats}");
    assert_eq!((bound.running(), bound.waiting()), (0, 0));
    let full = cache.bulkhead(&bulkhead(1).queue(0));
    let held = full.get_or_load("a", POLICY, async || {
        let error = full.clone().with(CallOptions::new()).get_or_load("never", POLICY, async || Ok::<_, Oops>(1)).await;
        Ok::<_, Oops>(error.expect("the place is free meanwhile").value)
    });
    assert_eq!(held.await.expect("loaded"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_waits_with_it_is_told_as_well_and_what_is_stale_answers_where_the_policy_says_so() {
    let tier = InProcess::new();
    let cache = built(TieredCache::builder("bulkhead").in_process(&tier).bulkhead(bulkhead(1).queue(0))).await;
    let crowd = Crowd::default();
    let stale = POLICY.stale_for(LONG).stale_if_error(Duration::from_secs(1));
    cache.set("stale", 1_u32, stale).await.expect("a key");
    cache.expire("stale").await.expect("a key");
    let (busy, at_work) = (cache.clone(), crowd.clone());
    let busy = tokio::spawn(async move { busy.get_or_compute("busy", POLICY, async || at_work.load().await).await });
    eventually_async(LONG, "it runs", async || crowd.all() == 1).await;
    let answers = read_all(&cache, &crowd, std::iter::repeat_n("same".to_owned(), 3)).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(LoadError::Overloaded { running: 1, waiting: 0 }))), "{answers:?}");
    assert_eq!(cache.get_or_load("stale", stale, async || Ok::<_, Oops>(crowd.load().await)).await.expect("stale"), 1);
    assert!(busy.await.expect("no panic").is_ok());
    assert_eq!((crowd.all(), cache.stats().served_stale), (1, 1), "{}", cache.stats());
    // The key is free: whoever comes next loads.
    assert_eq!(cache.get_or_load("same", POLICY, async || Ok::<_, Oops>(2_u32)).await.expect("loaded"), 2);
    assert_eq!(cache.stats().fills_refused, 0, "{}", cache.stats());
}

/// Each asks for the next three keys: those within are loaded by others that wait for the very place, too.
async fn nested(cache: &TieredCache, crowd: &Crowd, key: u32) -> u32 {
    let load = async || {
        let own = crowd.load().await;
        if key < 6 {
            let next = [key + 1, key + 2, key + 3].map(|next| Box::pin(nested(cache, crowd, next)));
            for next in next {
                next.await;
            }
            let many = async |keys: Vec<String>| {
                crowd.load().await;
                Ok::<_, Oops>(keys.into_iter().map(|key| (key, 1_u32)).collect::<Vec<_>>())
            };
            cache.get_or_load_many([format!("m:{key}"), "m:all".to_owned()], POLICY, many).await.expect("loaded");
            // It has its place again.
            crowd.load().await;
        }
        own
    };
    cache.get_or_compute(&format!("n:{key}"), POLICY, load).await.expect("loaded")
}

#[tokio::test(start_paused = true)]
async fn loads_that_ask_for_each_other_all_end_with_a_single_place() {
    let cache = of(1).await;
    let crowd = Crowd::default();
    let mut calls = JoinSet::new();
    for key in (0..6).rev() {
        let (cache, crowd) = (cache.clone(), crowd.clone());
        calls.spawn(async move { nested(&cache, &crowd, key).await });
    }
    timeout(LONG, calls.join_all()).await.expect("nobody waits for ever");
    assert_eq!(crowd.most(), 1, "one at a time");
    assert_eq!(cache.stats().loads_refused, 0, "{}", cache.stats());
}

#[tokio::test(start_paused = true)]
async fn a_load_that_gives_up_a_call_goes_on_and_no_place_is_lost() {
    let bound = bulkhead(1);
    let cache = built(TieredCache::builder("bulkhead").bulkhead(bound.clone())).await;
    let outer = cache.get_or_compute("outer", POLICY, async || {
        let never = cache.get_or_compute("never", POLICY, async || std::future::pending::<u32>().await);
        assert!(timeout(LOADER, never).await.is_err());
        tokio::task::yield_now().await;
        assert_eq!(bound.running(), 1, "its own place");
        3
    });
    assert_eq!(outer.await.expect("loaded"), 3);
    assert_eq!(bound.running(), 0);

    // Dropped in the queue, dropped while it loads, and with a panic.
    let holds = cache.get_or_compute("holds", POLICY, async || std::future::pending::<u32>().await);
    let mut holds = Box::pin(holds);
    assert!(timeout(LOADER, holds.as_mut()).await.is_err());
    assert!(timeout(LOADER, cache.get_or_compute("waits", POLICY, async || 1_u32)).await.is_err());
    assert_eq!((bound.running(), bound.waiting()), (1, 0));
    drop(holds);
    assert_eq!(bound.running(), 0);
    assert!(cache.get_or_compute("panics", POLICY, async || -> u32 { panic!("a bug") }).await.expect_err("it").is_panic());
    assert_eq!((bound.running(), bound.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_group_has_a_bound_of_its_own_and_is_the_same_cache() {
    let (whole, group) = (bulkhead(3), bulkhead(2));
    let cache = built(TieredCache::builder("bulkhead").bulkhead(whole.clone())).await;
    let few = cache.bulkhead(&group);
    let (mut crowd, all) = (JoinSet::new(), Crowd::default());
    for (nth, key) in keys(12).enumerate() {
        let (cache, all) = (if nth < 6 { few.clone() } else { cache.clone() }, all.clone());
        crowd.spawn(async move { cache.get_or_compute(&key, POLICY, async || all.load().await).await.expect("loaded") });
    }
    let mut most = 0;
    while !crowd.is_empty() {
        most = most.max(group.running());
        assert!(whole.running() <= 3);
        sleep(LOADER / 4).await;
        while crowd.try_join_next().is_some() {}
    }
    assert_eq!((most, all.most(), all.all()), (2, 3, 12));
    assert_eq!(few.get::<u32>("k:11").await, Some(7));
    // Given for both, it is one.
    let both = cache.bulkhead(&whole);
    assert_eq!(read_all(&both, &all, (20..26).map(|key| format!("k:{key}"))).await.len(), 6);
    assert_eq!(whole.running(), 0);
}

#[tokio::test]
async fn a_ticket_is_kept_alive_while_its_load_waits_for_a_place() {
    let tier = InProcess::new();
    let builder = || TieredCache::builder("bulkhead").in_process(&tier).lease(LOADER * 3);
    let (cache, other) = (built(builder().bulkhead(bulkhead(1))).await, built(builder()).await);
    let crowd = Crowd::default();
    let first = cache.clone();
    let first = tokio::spawn(async move {
        first.get_or_compute("slow", POLICY, async || sleep(LOADER * 15).await).await.expect("loaded");
    });
    sleep(LOADER).await;
    let waits = read_all(&cache, &crowd, ["k".to_owned()].into_iter());
    let asks = async {
        sleep(LOADER * 10).await;
        // Leases later it is still the other's to load.
        other.get_or_compute("k", POLICY, async || crowd.load().await).await.expect("loaded")
    };
    let (waited, asked) = tokio::join!(waits, asks);
    assert!(matches!(waited.as_slice(), [Ok(7)]) && asked == 7, "{waited:?}");
    first.await.expect("no panic");
    assert_eq!((crowd.all(), cache.stats().fills_refused), (1, 0));
}

#[cached(ttl = "1h", key = "cached:{id}", cache = cache)]
async fn of_function(cache: &TieredCache, crowd: &Crowd, id: u32) -> u32 {
    crowd.load().await + id
}

#[tokio::test(start_paused = true)]
async fn a_cached_function_waits_for_as_long_as_it_takes() {
    let cache = built(TieredCache::builder("bulkhead").bulkhead(bulkhead(1).queue(1)).load_limit(LOADER)).await;
    let (mut calls, crowd) = (JoinSet::new(), Crowd::default());
    for id in 0..20 {
        let (cache, crowd) = (cache.clone(), crowd.clone());
        calls.spawn(async move { assert_eq!(of_function(&cache, &crowd, id % 10).await, 7 + id % 10) });
    }
    calls.join_all().await;
    assert_eq!((crowd.most(), crowd.all(), cache.stats().loads_refused), (1, 10, 0), "{}", cache.stats());
}

/// Two branches of one load end their calls one after the other, while somebody else has the place.
#[tokio::test(start_paused = true)]
async fn a_load_waits_once_for_its_place_however_many_calls_of_it_have_ended() {
    let (cache, plain) = (of(1).await, built(TieredCache::builder("plain")).await);
    let takes = |millis: u64| async move || sleep(Duration::from_millis(millis)).await;
    let busy = cache.clone();
    let busy = tokio::spawn(async move {
        sleep(Duration::from_millis(5)).await;
        busy.get_or_compute("busy", POLICY, takes(100)).await.expect("loaded");
    });
    let outer = cache.get_or_compute("outer", POLICY, async || {
        let one = async {
            plain.get_or_compute("a", POLICY, takes(10)).await.expect("a");
            sleep(Duration::from_millis(10)).await;
            plain.get_or_compute("c", POLICY, takes(10)).await.expect("c");
        };
        let two = async { plain.get_or_compute("b", POLICY, takes(15)).await.expect("b") };
        tokio::join!(one, two);
        7_u32
    });
    assert_eq!(timeout(LONG, outer).await.expect("not for ever").expect("loaded"), 7);
    busy.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn a_load_whose_call_fails_has_its_place_again_before_it_goes_on() {
    let cache = of(1).await;
    let (mut calls, crowd) = (JoinSet::new(), Crowd::default());
    for key in 0..10 {
        let (cache, crowd) = (cache.clone(), crowd.clone());
        calls.spawn(async move {
            let load = async || {
                let name = format!("n:{key}");
                let nested = cache.get_or_load(&name, POLICY, async || {
                    sleep(LOADER).await;
                    Err::<u32, _>(Oops)
                });
                assert!(nested.await.is_err());
                crowd.load().await
            };
            cache.get_or_compute(&format!("o:{key}"), POLICY, load).await.expect("loaded")
        });
    }
    calls.join_all().await;
    assert_eq!((crowd.most(), crowd.all()), (1, 10));
}

#[tokio::test(start_paused = true)]
async fn two_bulkheads_are_taken_in_one_order_whoever_names_them_how() {
    let (x, y) = (bulkhead(1), bulkhead(1));
    let a = built(TieredCache::builder("a").bulkhead(x.clone())).await;
    let b = built(TieredCache::builder("b").bulkhead(y.clone())).await;
    let (mut calls, crowd) = (JoinSet::new(), Crowd::default());
    // At first each place is somebody's who wants no other, and comes free at the same time.
    for (id, cache) in [(1, a.clone()), (2, b.clone()), (3, a.bulkhead(&y)), (4, b.bulkhead(&x))] {
        let crowd = crowd.clone();
        calls.spawn(async move { of_function(&cache, &crowd, id).await });
    }
    timeout(LONG, calls.join_all()).await.expect("not for ever");
    assert_eq!(crowd.all(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_has_come_together_waits_once_however_long_that_is() {
    let cache = of(1).await;
    let (mut calls, crowd) = (JoinSet::new(), Crowd::default());
    let holds = cached_slowly(&cache, Duration::from_secs(100));
    let asks = async {
        sleep(LOADER * 2).await;
        for _ in 0..50 {
            let (cache, crowd) = (cache.clone(), crowd.clone());
            calls.spawn(async move { of_function(&cache, &crowd, 1).await });
        }
        std::mem::take(&mut calls).join_all().await
    };
    tokio::join!(holds, asks);
    assert_eq!(crowd.all(), 1, "one load for fifty callers");
}

#[cached(ttl = "1h", key = "slowly", cache = cache)]
async fn cached_slowly(cache: &TieredCache, takes: Duration) -> u32 {
    sleep(takes).await;
    1
}

#[tokio::test(start_paused = true)]
async fn a_load_that_finds_what_it_asks_for_keeps_its_place() {
    let tier = InProcess::new();
    let filler = built(TieredCache::builder("bulkhead").in_process(&tier)).await;
    filler.set("there", 1_u32, POLICY).await.expect("a key");
    let cache = built(TieredCache::builder("bulkhead").in_process(&tier).bulkhead(bulkhead(1))).await;
    let (begun, crowd) = (Instant::now(), Crowd::default());
    let outer = cache.get_or_compute("outer", POLICY, async || {
        sleep(LOADER).await;
        cache.get_or_compute("there", POLICY, async || 2_u32).await.expect("found")
    });
    let queue = read_all(&cache, &crowd, keys(50));
    let (outer, _) = tokio::join!(async { (outer.await, begun.elapsed()) }, queue);
    assert_eq!((outer.0.expect("loaded"), outer.1), (1, LOADER), "{}", cache.stats());
}

/// Who has loaded for others hands that on, and waits for its own place then.
#[tokio::test(start_paused = true)]
async fn what_a_load_has_loaded_on_its_way_is_there_before_it_has_its_place_again() {
    let tier = InProcess::new();
    let cache = built(TieredCache::builder("bulkhead").in_process(&tier).bulkhead(bulkhead(1))).await;
    let (begun, crowd) = (Instant::now(), Crowd::default());
    let outer = async {
        let load = async || cache.get_or_compute("nested", POLICY, async || crowd.load().await).await.expect("loaded");
        (cache.get_or_compute("outer", POLICY, load).await.expect("loaded"), begun.elapsed())
    };
    let others = async {
        // The nested one runs: from here on there is a queue.
        eventually_async(LONG, "it runs", async || crowd.all() == 1).await;
        let joins = async { (cache.get_or_compute("nested", POLICY, async || 0_u32).await.expect("joined"), begun.elapsed()) };
        tokio::join!(joins, read_all(&cache, &crowd, keys(5))).0
    };
    let (outer, joined) = tokio::join!(outer, others);
    assert_eq!(joined, (7, LOADER), "not behind the queue");
    assert_eq!(outer, (7, LOADER * 6), "behind the queue");
}
