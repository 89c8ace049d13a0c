//! What a loader may be and do: borrow, fail with any error, find nothing, ask the cache itself.
#![forbid(unsafe_code)]

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cachetier::{LoadError, Policy, TieredCache};
use cachetier_tests::{Gate, Oops, Origin, Tier, eventually_async, over_each, over_shared};

const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

#[tokio::test]
async fn a_lone_callers_error_is_its_own() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        let error = cache.get_or_load::<u64, _, _, _>("k", POLICY, || async { Err(Oops("gone")) }).await.expect_err("it failed");
        assert_eq!(error.to_string(), "the loader failed: gone");
        assert_eq!(std::error::Error::source(&error).expect("a source").to_string(), "gone");
        assert_eq!(error.into_unshared_loader().expect("nobody else waited"), Oops("gone"));
    })
    .await;
}

#[tokio::test]
async fn after_a_failure_the_next_read_finds_the_key_free() {
    over_shared(async |tier| {
        let cache = tier.cache().await;
        let fail = async || assert!(cache.get_or_load::<u64, _, _, _>("k", POLICY, async || Err(Oops("gone"))).await.is_err());
        fail().await;
        // The first time a server is told what to run, which takes it one more turn.
        eventually_async(LONG, "the ticket is given back", async || !tier.holds_ticket("k")).await;
        for _ in 0..10 {
            fail().await;
        }
        // The ticket is given back before anything else is asked: no read finds that of the one before it.
        assert_eq!((cache.stats().loads, cache.stats().ticket_polls), (11, 0));
    })
    .await;
}

#[tokio::test]
async fn a_shared_error_is_cloned_where_it_can_be() {
    let (cache, gate) = (Tier::alone().cache().await, Gate::new());
    let call = || {
        let (cache, gate) = (cache.clone(), gate.clone());
        let load = async move {
            gate.wait().await;
            Err::<u64, _>("gone".to_owned())
        };
        tokio::spawn(async move { cache.get_or_load("k", POLICY, || load).await })
    };
    let (one, other) = (call(), call());
    eventually_async(LONG, "both wait", async || cache.stats().l1_misses == 2).await;
    gate.open();
    let one = one.await.expect("no panic").expect_err("it failed");
    let other = other.await.expect("no panic").expect_err("it failed");
    let still_shared = one.clone().into_unshared_loader().expect_err("the other holds it, too");
    assert!(matches!(&still_shared, LoadError::Loader(error) if **error == "gone"));
    assert_eq!(one.into_loader().ok(), Some("gone".to_owned()));
    drop(still_shared);
    assert_eq!(other.into_unshared_loader().ok(), Some("gone".to_owned()), "nobody else holds it any more");
}

#[tokio::test]
async fn what_is_not_the_loaders_error_stays_what_it_is() {
    let cache = Tier::alone().cache().await;
    let panicked = async || -> Result<u64, String> { std::panic::panic_any("a bug".to_owned()) };
    let error = cache.get_or_load("k", POLICY, panicked).await.expect_err("it panicked");
    assert!(error.clone().into_loader().expect_err("not the loader's").is_panic());
    assert!(error.into_unshared_loader().expect_err("not the loader's").is_panic());
}

#[tokio::test]
async fn a_loader_may_borrow_from_its_caller() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        let (text, mut runs) = (String::from("borrowed"), 0_u32);
        let (slice, counted) = (text.as_str(), &mut runs);
        let load = move || async move {
            *counted += 1;
            tokio::task::yield_now().await;
            Ok::<_, Oops>(slice.len())
        };
        assert_eq!(cache.get_or_load("k", POLICY, load).await.ok(), Some(8));
        assert_eq!(runs, 1);
    })
    .await;
}

#[tokio::test]
async fn a_loader_that_asks_for_its_own_key_is_told_so() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        let inner = async || cache.get_or_load::<u64, Oops, _, _>("k", POLICY, async || Ok(1)).await;
        let error = cache.get_or_load::<u64, _, _, _>("k", POLICY, inner).await.expect_err("it is recursive");
        let inner = error.into_unshared_loader().expect("the loader's");
        assert!(inner.is_recursive());
        assert_eq!(inner.to_string(), "the loader of \"k\" asked for \"k\" itself; load it without the cache there");
        assert_eq!(cache.get_or_load("k", POLICY, async || Ok::<_, Oops>(2_u64)).await.ok(), Some(2));
    })
    .await;
}

type Loaded<'a> = Pin<Box<dyn Future<Output = Result<u64, Arc<LoadError<Oops>>>> + 'a>>;

/// Loads each key by asking for the next one, and the last by asking for the first.
fn in_a_ring<'a>(cache: &'a TieredCache, keys: &'a [&'a str], at: usize) -> Loaded<'a> {
    Box::pin(async move {
        let load = async || match in_a_ring(cache, keys, at + 1).await {
            Ok(value) => Ok(value),
            Err(error) => Err(Oops(if error.is_recursive() { "recursive" } else { "passed on" })),
        };
        let key = keys.iter().cycle().nth(at).copied().unwrap_or_default();
        cache.get_or_load(key, POLICY, load).await.map_err(Arc::new)
    })
}

#[tokio::test]
async fn a_loader_that_asks_for_its_own_key_through_others_is_told_so() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        for keys in [&["a", "b"][..], &["c", "d", "e"]] {
            let error = tokio::time::timeout(LONG, in_a_ring(&cache, keys, 0)).await.expect("no deadlock").expect_err("a ring");
            assert!(matches!(&*error, LoadError::Loader(error) if error.0 == "passed on"));
        }
        // The innermost of the two was the one that was told.
        let (inner, outer) = (cache.stats().load_errors, cache.stats().loads);
        assert_eq!((inner, outer), (5, 5));
    })
    .await;
}

#[tokio::test]
async fn a_loader_that_asks_for_its_own_key_is_told_so_also_where_nothing_is_kept() {
    let cache = Tier::alone().cache().await;
    let told = async |key: &'static str| {
        let error = in_a_ring(&cache, &[key], 0).await.expect_err("a ring");
        assert!(matches!(&*error, LoadError::Loader(error) if error.0 == "recursive"), "{error:?}");
    };
    told("").await;
    cache.close(LONG).await.expect("closed");
    told("k").await;
}

#[tokio::test]
async fn a_loader_may_ask_for_other_keys() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        let load = async || {
            let one = cache.get_or_compute("one", POLICY, async || 1_u64).await.map_err(|_| Oops("one"))?;
            let own = cache.get::<u64>("sum").await.unwrap_or(1);
            Ok::<_, Oops>(one + own)
        };
        assert_eq!(cache.get_or_load("sum", POLICY, load).await.ok(), Some(2));
        assert_eq!(cache.get("one").await, Some(1_u64));
    })
    .await;
}

#[tokio::test]
async fn two_loads_that_wait_for_each_other_end_at_the_load_limit() {
    let cache = Tier::alone().builder().load_limit(Duration::from_millis(50)).build().await.expect("built");
    let both = Gate::new();
    let call = |own: &'static str, other: &'static str| {
        let (cache, both) = (cache.clone(), both.clone());
        tokio::spawn(async move {
            let load = async || {
                both.wait().await;
                cache.get_or_compute(other, POLICY, async || 1_u64).await
            };
            cache.get_or_load(own, POLICY, load).await.is_ok()
        })
    };
    let (one, other) = (call("one", "other"), call("other", "one"));
    both.arrived(2).await;
    both.open();
    for call in [one, other] {
        // What each answers depends on whose limit ends first: that it answers is what counts.
        let _ = tokio::time::timeout(LONG, call).await.expect("no deadlock").expect("no panic");
    }
    assert_eq!(cache.stats().flights, 0);
}

#[tokio::test]
async fn a_computed_value_is_kept_like_a_loaded_one() {
    over_each(async |tier| {
        let (cache, origin) = (tier.cache().await, Origin::at(1));
        for _ in 0..2 {
            assert_eq!(cache.get_or_compute("k", POLICY, async || origin.load().await.expect("1")).await.ok(), Some(1));
        }
        assert_eq!(origin.loads(), 1);
        let error = cache.get_or_compute::<u64, _, _>("other", POLICY, async || panic!("a bug")).await;
        assert!(error.expect_err("it panicked").is_panic());
    })
    .await;
}

#[tokio::test]
async fn that_there_is_nothing_is_remembered_only_where_the_policy_says_so() {
    over_each(async |tier| {
        let (cache, origin) = (tier.cache().await, Origin::default());
        let nothing = async || origin.load().await.map(|_| None::<u64>);
        for _ in 0..3 {
            assert_eq!(cache.get_or_load_optional("forgotten", POLICY, nothing).await.ok(), Some(None));
        }
        assert_eq!(origin.loads(), 3);
        assert!(!tier.holds_value("forgotten"));
        eventually_async(LONG, "the ticket is given back", async || !tier.holds_ticket("forgotten")).await;

        let remembered = POLICY.negative_ttl(Duration::from_secs(60));
        for _ in 0..3 {
            assert_eq!(cache.get_or_load_optional("remembered", remembered, nothing).await.ok(), Some(None));
        }
        assert_eq!(origin.loads(), 4);
        assert_eq!(tier.holds_value("remembered"), tier.is_shared());
        if tier.is_shared() {
            let other = tier.cache().await;
            assert_eq!(other.get_or_load_optional("remembered", remembered, nothing).await.ok(), Some(None));
            assert_eq!(origin.loads(), 4, "another instance was told by the shared tier");
        }
        // Who cannot be answered with nothing gets a value, and that is what is kept then.
        assert_eq!(cache.get::<u64>("remembered").await, None);
        assert_eq!(cache.get_or_load("remembered", remembered, async || Ok::<_, Oops>(5_u64)).await.ok(), Some(5));
        assert_eq!(cache.get_or_load_optional("remembered", remembered, nothing).await.ok(), Some(Some(5)));
        assert_eq!(origin.loads(), 4);
    })
    .await;
}

#[tokio::test]
async fn that_there_is_nothing_is_no_value_whatever_its_type() {
    over_each(async |tier| {
        let (cache, policy) = (tier.cache().await, POLICY.negative_ttl(LONG));
        assert_eq!(cache.get_or_load_optional("k", policy, async || Ok::<Option<()>, Oops>(None)).await.ok(), Some(None));
        assert_eq!(cache.get::<()>("k").await, None);
        assert!(cache.get_or_load("k", policy, async || Err::<(), _>(Oops("still nothing"))).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_found_optional_value_is_kept_like_any_other() {
    over_each(async |tier| {
        let (cache, origin) = (tier.cache().await, Origin::at(3));
        for _ in 0..2 {
            let found = cache.get_or_load_optional("k", POLICY, async || origin.load().await.map(Some)).await;
            assert_eq!(found.ok(), Some(Some(3)));
        }
        assert_eq!(cache.get("k").await, Some(3_u64));
        assert_eq!(origin.loads(), 1);
    })
    .await;
}

/// A loader whose future holds `N` bytes across an await.
async fn holding<const N: usize>(bytes: [u8; N]) -> Result<u64, Oops> {
    tokio::task::yield_now().await;
    Ok(bytes.iter().map(|byte| u64::from(*byte)).sum())
}

#[tokio::test]
async fn the_future_of_a_read_is_small_beside_its_loaders() {
    async fn check<const N: usize>(cache: &TieredCache) {
        let bytes = [1; N];
        let loader = size_of_val(&holding(bytes));
        let read = cache.get_or_load("k", POLICY, move || holding(bytes));
        let size = size_of_val(&read);
        assert!(size <= 1_024 + loader, "{size} bytes for a loader of {loader}");
        assert!(read.await.is_ok());
    }
    let cache = Tier::alone().cache().await;
    check::<0>(&cache).await;
    check::<1_000>(&cache).await;
    check::<5_000>(&cache).await;
}
