//! What an instance keeps when it cannot keep everything.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::time::Duration;

use cachetier::{Clock, Eviction, Policy, TieredCache};
use cachetier_tests::{Oops, Tier, eventually_async, over_each};

const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

/// Loads a text of that many bytes.
async fn load(cache: &TieredCache, key: &str, bytes: usize) -> String {
    cache.get_or_load(key, POLICY, async || Ok::<_, Oops>("x".repeat(bytes))).await.expect("loaded")
}

/// Which of these keys the store of the instance still holds. Reading them would not tell: a front finds what the store has let go until
/// its memory is given back.
async fn held(cache: &TieredCache, keys: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut held = Vec::new();
    for key in keys {
        if cache.inspect(&key).await.expect("a key that can be used").here.is_some() {
            held.push(key);
        }
    }
    held
}

#[tokio::test]
async fn a_value_above_the_whole_capacity_is_returned_counted_and_not_kept_here() {
    over_each(async |tier| {
        let cache = tier.builder().l1_max_bytes(10_000).build().await.expect("built");
        for times in 1..=2 {
            assert_eq!(load(&cache, "large", 20_000).await.len(), 20_000);
            let stats = cache.stats();
            assert_eq!((stats.not_stored, stats.l1_hits, stats.l1_entries), (times, 0, 0));
        }
        // It is what this instance can keep that is small.
        assert_eq!(tier.holds_value("large"), tier.is_shared());
        assert_eq!(cache.stats().loads, if tier.is_shared() { 1 } else { 2 });
        assert_eq!(load(&cache, "small", 1_000).await, load(&cache, "small", 1_000).await);
        assert_eq!(cache.stats().l1_hits, 1);
    })
    .await;
}

#[tokio::test]
async fn a_value_that_has_become_too_large_takes_its_old_copy_with_it() {
    let cache = Tier::alone().builder().l1_max_bytes(10_000).build().await.expect("built");
    cache.set("k", "small".to_owned(), POLICY).await.expect("put");
    assert_eq!(cache.get("k").await, Some("small".to_owned()));
    cache.set("k", "x".repeat(20_000), POLICY).await.expect("put");
    assert_eq!(cache.get::<String>("k").await, None);
    assert_eq!(cache.stats().not_stored, 1);
}

#[tokio::test]
async fn what_is_evicted_is_counted_and_the_bound_holds() {
    for eviction in [Eviction::TinyLfu, Eviction::Lru] {
        let bytes = Tier::alone().builder().eviction(eviction).l1_max_bytes(20_000).build().await.expect("built");
        let entries = Tier::alone().builder().eviction(eviction).l1_max_entries(50).build().await.expect("built");
        for cache in [&bytes, &entries] {
            for key in 0..500 {
                load(cache, &key.to_string(), 200).await;
            }
        }
        for (cache, bound) in [(&bytes, 20_000), (&entries, 50)] {
            // The store does its housekeeping in passing: a read now and then lets it.
            let settled = async || {
                let _ = cache.get::<String>("none").await;
                let stats = cache.stats();
                stats.evicted_by_size > 0 && stats.l1_weight <= bound && stats.l1_entries > 0
            };
            eventually_async(LONG, "the bound holds", settled).await;
            let stats = cache.stats();
            assert_eq!((stats.evicted_by_age, stats.evicted_by_invalidation), (0, 0), "{eviction:?}");
        }
        assert!(bytes.stats().l1_weight > 10_000 && entries.stats().l1_entries > 25, "{eviction:?}: it is used");
    }
}

/// Reads two keys again and again among others, then only others, each once, and says how many of the two are left.
async fn left_after_a_scan(eviction: Eviction) -> usize {
    let cache = Tier::alone().builder().eviction(eviction).l1_max_entries(64).build().await.expect("built");
    let favourites = ["favourite:1", "favourite:2"].map(str::to_owned);
    for key in 0..600 {
        load(&cache, &format!("once:{key}"), 10).await;
        if key < 300 {
            for favourite in &favourites {
                load(&cache, favourite, 10).await;
            }
        }
    }
    let settled = async || {
        let _ = cache.get::<String>("none").await;
        cache.stats().l1_entries <= 64
    };
    eventually_async(LONG, "the bound holds", settled).await;
    held(&cache, favourites).await.len()
}

#[tokio::test]
async fn tiny_lfu_keeps_what_is_asked_for_often_and_lru_what_was_asked_for_last() {
    assert_eq!(left_after_a_scan(Eviction::TinyLfu).await, 2);
    assert_eq!(left_after_a_scan(Eviction::Lru).await, 0);
}

#[tokio::test]
async fn what_was_evicted_here_is_found_in_the_shared_tier() {
    cachetier_tests::over_shared(async |tier| {
        let cache = tier.builder().l1_max_entries(10).build().await.expect("built");
        for round in 0..2 {
            for key in 0..100 {
                assert_eq!(load(&cache, &key.to_string(), 10).await.len(), 10);
            }
            assert_eq!(cache.stats().loads, 100, "in round {round}");
        }
        assert!(cache.stats().l2_hits >= 80);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_past_its_end_is_swept_and_counted_though_nobody_asks_for_it() {
    let (clock, hand) = Clock::manual();
    let cache = Tier::alone().builder().clock(clock).build().await.expect("built");
    for key in 0..1_000 {
        let life = Duration::from_secs(if key < 10 { 3_600 } else { 1 });
        cache.set(&key.to_string(), key, Policy::ttl(life)).await.expect("put");
    }
    hand.advance(Duration::from_secs(2));
    let counts = || (cache.stats().l1_entries, cache.stats().evicted_by_age);
    assert_eq!(counts(), (1_000, 0));
    // The sweep begins to wait when it is first polled.
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_secs(60)).await;
    eventually_async(LONG, "the sweep has gone by", async || counts() == (10, 990)).await;
    assert_eq!((cache.get("9").await, cache.get::<i32>("10").await), (Some(9), None));
    let stats = cache.stats();
    assert_eq!((stats.evicted_by_size, stats.evicted_by_invalidation), (0, 0));
}

#[tokio::test]
async fn what_is_displaced_is_counted_once_each() {
    let cache = Tier::alone().builder().l1_max_entries(50).build().await.expect("built");
    for key in 0..500 {
        cache.set(&key.to_string(), key, POLICY).await.expect("put");
        if key % 7 == 0 {
            cache.invalidate(&key.to_string()).await.expect("invalidated");
        }
    }
    let settled = async || {
        let stats = cache.stats();
        stats.l1_entries + stats.evicted_by_size + stats.evicted_by_invalidation == 500
    };
    eventually_async(LONG, "every entry is somewhere", settled).await;
    assert!(cache.stats().l1_entries <= 50 && cache.stats().evicted_by_size >= 350, "{}", cache.stats());
}

/// How many keys there are: a power of two.
const KEYS: u32 = 1 << LAW;
const LAW: u32 = 14;

/// Which keys are asked for, one after the other: the key of rank r about as often as 1 / r, and after `drift` reads all ranks move on
/// by one.
fn traffic(seed: u64, drift: u32) -> impl Iterator<Item = u32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..).map(move |at: u32| {
        let least = 1 << random.u32(0..LAW);
        (random.u32(least..2 * least) + at.checked_div(drift).unwrap_or_default()) % KEYS
    })
}

/// How many of the reads found their key: by the cache, and by its store used alone.
fn found(eviction: Eviction, capacity: u64, reads: usize, keys: impl Iterator<Item = u32>) -> (u64, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let cache = TieredCache::builder("shop").l1_max_entries(capacity).eviction(eviction).build().await.expect("a cache");
        let policy = match eviction {
            Eviction::Lru => moka::policy::EvictionPolicy::lru(),
            _ => moka::policy::EvictionPolicy::tiny_lfu(),
        };
        let alone = moka::sync::Cache::builder().max_capacity(capacity).eviction_policy(policy).build();
        let mut found = 0;
        for key in keys.take(reads) {
            let text = format!("k:{key}");
            cache.get_or_compute(&text, POLICY, async || key).await.expect("a load");
            match alone.get(&text) {
                Some(_) => found += 1,
                None => alone.insert(text, key),
            }
        }
        (cache.stats().l1_hits, found)
    })
}

/// What is read again and again is found without the store, which is told of it late and in part: this must not cost hits.
#[test]
fn what_the_store_does_not_see_of_the_hits_costs_hardly_any() {
    const READS: usize = 60_000;
    for eviction in [Eviction::TinyLfu, Eviction::Lru] {
        for capacity in [200, 2_000] {
            for (name, drift) in [("steady", 0), ("drifting", 10)] {
                let (ours, alone) = found(eviction, capacity, READS, traffic(7, drift));
                println!("{eviction:?}, {capacity} of {KEYS} keys, {name}: {ours} hits of {READS}, the store alone {alone}");
                assert!(
                    ours * 100 >= alone * 99,
                    "{eviction:?}, {capacity} entries, {name}: {ours} hits, the store alone has {alone}"
                );
                assert!(alone > 5_000, "nothing is shown by so few hits: {alone}");
            }
        }
    }
}

/// The same keys in the same order, again and again, with a new key after each turn: of each of them the store hears in time.
#[test]
fn what_is_read_in_a_fixed_order_is_not_forgotten() {
    const HOT: u32 = 1_000;
    const TURNS: u32 = 500;
    let turns = (0..TURNS).flat_map(|turn| (0..HOT).chain([1_000_000 + turn]));
    let (ours, alone) = found(Eviction::Lru, u64::from(HOT) + 100, usize::MAX, turns);
    println!("{ours} hits, the store alone {alone}");
    assert!(alone >= u64::from(HOT * (TURNS - 2)), "{alone}");
    assert!(ours + 20 >= alone, "{ours} hits, the store alone has {alone}");
}
