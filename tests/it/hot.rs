//! An instance knows which keys were read most, by whatever verb, and one that begins has their values before anybody asks.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::time::Duration;

use cachetier::{CallOptions, Loaded, Policy, TieredCache, Tiers, cached};
use cachetier_tests::over_shared;

const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

/// Far more than are read between two that are counted.
const READS: usize = 2_000;

async fn one() -> Result<u32, Infallible> {
    Ok(1)
}

#[cached(key = "cached:{id}", ttl = "5m", cache = cache)]
async fn cached_one(cache: &TieredCache, id: u32) -> Result<u32, Infallible> {
    let _ = (cache, id);
    Ok(1)
}

#[tokio::test]
async fn a_new_instance_answers_what_the_old_one_was_asked_for_most() {
    over_shared(async |tier| {
        let old = tier.builder().hot_keys(20).build().await.expect("built");
        let hot: Vec<String> = (0..20).map(|nth| format!("hot:{nth}")).collect();
        for key in &hot {
            old.get_or_load(key, POLICY, one).await.expect("loaded");
        }
        for nth in 0..500 {
            old.get_or_load(&format!("cold:{nth}"), POLICY, one).await.expect("loaded");
        }
        for read in 0..20 * READS {
            assert_eq!(old.get::<u32>(&hot[read % 20]).await, Some(1));
        }
        let mut listed = old.hot_keys();
        listed.sort();
        let mut expected = hot.clone();
        expected.sort();
        assert_eq!(listed, expected);

        let new = tier.cache().await;
        let copied = new.warming().copy::<u32>(old.hot_keys()).await;
        assert_eq!((copied.counts.keys, copied.counts.found), (20, 20));
        let hits = new.stats().l1_hits;
        for key in &hot {
            assert_eq!(new.get::<u32>(key).await, Some(1));
        }
        assert_eq!(new.stats().l1_hits - hits, 20);
        // It was not told to.
        assert!(new.hot_keys().is_empty());
    })
    .await;
}

#[tokio::test]
async fn reads_of_every_kind_count_whatever_comes_of_them() {
    let cache = TieredCache::builder("test").hot_keys(20).build().await.expect("built");
    let (plain, traced) = (CallOptions::new(), cache.with(CallOptions::new()));
    for _ in 0..READS {
        assert_eq!(cache.get::<u32>("nothing").await, None);
        cache.get_or_load("load", POLICY, one).await.expect("loaded");
        cache.get_or_compute("compute", POLICY, async || 1).await.expect("loaded");
        cache.get_or_load_optional("optional", POLICY, async || Ok::<_, Infallible>(Some(1))).await.expect("loaded");
        cache.get_or_load_with("with", POLICY, async |_| Ok::<_, Infallible>(Loaded::new(1))).await.expect("loaded");
        cache.get_or_refresh("refresh", POLICY, one).await.expect("loaded");
        cache.get_many::<u32>(&["many", "many"]).await;
        assert_eq!(cache.local().get::<u32>("local"), None);
        traced.get::<u32>("call").await;
        traced.get_or_load("call:load", POLICY, one).await.expect("loaded");
        cached_one(&cache, 7).await.expect("loaded");
        // None of this instance's business.
        cache.with(plain.reads(Tiers::L2)).get::<u32>("shared").await;
        cache.set("set", 1, POLICY).await.expect("set");
    }
    let mut listed = cache.hot_keys();
    listed.sort();
    let expected = ["cached:7", "call", "call:load", "compute", "load", "local", "many", "nothing", "optional", "refresh", "with"];
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn clones_have_one_list_and_it_is_no_longer_than_was_asked_for() {
    let cache = TieredCache::builder("test").hot_keys(3).build().await.expect("built");
    let clone = cache.clone();
    for read in 0..10 * READS {
        clone.get::<u32>(&format!("key:{}", read % 10)).await;
    }
    assert_eq!(cache.hot_keys().len(), 3);
    let error = TieredCache::builder("test").hot_keys(10_001).build().await.expect_err("too many");
    assert_eq!((error.field(), error.to_string().as_str()), ("hot_keys", "hot_keys is 10001, expected at most 10000"));
}
