//! Values that only one instance can hold: neither written nor read, kept and invalidated like all others.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cachetier::testing::Group;
use cachetier::{Call, CallKind, InProcess, LoadError, Plan, Policy, TieredCache};
use cachetier_tests::{Gate, Oops, Tier, eventually_async, over_each};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600)).jitter(0);

/// What nobody can write: it borrows no data, and has none either.
trait Rate: Send + Sync {
    fn of(&self, price: u64) -> u64;
}

struct Off(u64);

impl Rate for Off {
    fn of(&self, price: u64) -> u64 {
        price.saturating_sub(self.0)
    }
}

/// Where rates come from; counts.
#[derive(Default)]
struct Rates(AtomicU64);

impl Rates {
    async fn load(&self) -> Result<Arc<dyn Rate>, Oops> {
        let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::task::yield_now().await;
        Ok(Arc::new(Off(number)))
    }

    fn loads(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

async fn off(cache: &TieredCache, key: &str, rates: &Rates) -> u64 {
    let rate = cache.local().get_or_load(key, POLICY.tags(["rates"]), || rates.load()).await.expect("loaded");
    100 - rate.of(100)
}

fn held(cache: &TieredCache, key: &str) -> bool {
    cache.local().get::<Arc<dyn Rate>>(key).is_some()
}

#[tokio::test]
async fn it_is_loaded_once_in_each_instance_and_stored_nowhere_else() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        let rates = Rates::default();
        let reads = [off(&a, "r:1", &rates), off(&a, "r:1", &rates), off(&a, "r:1", &rates)];
        let [first, second, third] = reads;
        assert_eq!(tokio::join!(first, second, third), (1, 1, 1));
        assert_eq!((off(&b, "r:1", &rates).await, rates.loads()), if tier.is_shared() { (2, 2) } else { (1, 1) });
        assert!(!tier.holds_value("r:1") && !tier.holds_ticket("r:1"));
        assert_eq!((a.stats().not_stored, a.stats().fills, a.stats().l2_faults), (0, 0, 0));
        // What failed is not remembered, and told to all.
        let failed = a.local().get_or_load("bad", POLICY, || async { Err::<Arc<dyn Rate>, _>(Oops("no")) }).await;
        assert!(matches!(failed, Err(LoadError::Loader(why)) if *why == Oops("no")));
        assert!(!held(&a, "bad"));
    })
    .await;
}

#[tokio::test]
async fn it_goes_by_each_kind_of_invalidation_from_any_instance() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        let rates = Rates::default();
        for kind in 0..6 {
            off(&a, "r:1", &rates).await;
            assert!(held(&a, "r:1"));
            let token = match kind {
                0 => b.invalidate("r:1").await,
                1 => b.invalidate_tag("rates").await,
                2 => b.invalidate_prefix("r:").await,
                3 => b.clear().await,
                4 => b.expire("r:1").await,
                _ => Ok(b.remove("r:1").await.expect("told").delivery),
            };
            let token = token.expect("told").confirmed().expect("applied");
            a.wait_for(token, LONG).await.expect("heard");
            assert!(!held(&a, "r:1"), "{kind}");
        }
        // One that is overtaken is not kept.
        let (gate, load) = (Gate::new(), Rates::default());
        let leader = a.local().get_or_load("r:2", POLICY, async || {
            gate.wait().await;
            load.load().await
        });
        let meanwhile = async {
            gate.arrived(1).await;
            let token = b.invalidate("r:2").await.expect("told").confirmed().expect("applied");
            a.wait_for(token, LONG).await.expect("heard");
            gate.open();
        };
        let (rate, ()) = tokio::join!(leader, meanwhile);
        assert!(rate.is_ok() && !held(&a, "r:2"));
    })
    .await;
}

#[tokio::test]
async fn while_a_guard_holds_its_key_it_is_not_kept() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        let rates = Rates::default();
        off(&a, "r:1", &rates).await;
        let guard = b.guard(["r:1"]).await.expect("held");
        eventually_async(LONG, "it is heard", async || !held(&a, "r:1")).await;
        for _ in 0..2 {
            off(&a, "r:1", &rates).await;
            assert!(!held(&a, "r:1"));
        }
        let token = guard.release().await.expect("told").confirmed().expect("applied");
        a.wait_for(token, LONG).await.expect("heard");
        off(&a, "r:1", &rates).await;
        assert!(held(&a, "r:1"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn it_lives_as_its_policy_says_and_without_proof_no_longer_than_others() {
    let group = Group::new(1).await;
    let cache = group.instance(0);
    let rates = Rates::default();
    off(&cache, "r:1", &rates).await;
    group.jump(3_599 * SECOND).await;
    assert!(held(&cache, "r:1"));
    group.jump(SECOND).await;
    assert!(!held(&cache, "r:1"));
    let by_value = POLICY.cache_if(|rate: &Arc<dyn Rate>| rate.of(1) == 7);
    cache.local().get_or_load("r:2", by_value, || rates.load()).await.expect("loaded");
    assert!(!held(&cache, "r:2"));
    // What was missed may have been about it, and nothing tells.
    off(&cache, "r:1", &rates).await;
    group.tier().break_subscriptions();
    group.jump(10 * SECOND).await;
    group.settle().await;
    let loads = rates.loads();
    off(&cache, "r:1", &rates).await;
    assert_eq!(rates.loads(), loads + 1);
    // Away, it is loaded and kept for as long as copies may be old.
    group.outage().await;
    off(&cache, "r:3", &rates).await;
    assert!(held(&cache, "r:3"));
    group.jump(3 * SECOND).await;
    assert!(!held(&cache, "r:3"));
}

#[tokio::test]
async fn it_is_counted_and_what_is_too_large_for_all_is_not_kept() {
    let cache = TieredCache::builder("local").l1_max_bytes(10_000).build().await.expect("built");
    let local = cache.local().counted_as(4_000);
    for number in 0..10_u64 {
        local.get_or_compute(&format!("n:{number}"), POLICY, || async move { Arc::new(number) }).await.expect("loaded");
    }
    let stats = cache.stats();
    assert!(stats.l1_entries <= 2 && stats.l1_weight <= 10_000, "{stats}");
    cache.local().counted_as(20_000).get_or_compute("large", POLICY, || async { Arc::new(7_u64) }).await.expect("loaded");
    assert!(cache.local().get::<Arc<u64>>("large").is_none());
    assert_eq!(cache.stats().not_stored, 1);
}

#[tokio::test]
async fn a_key_holds_one_type_and_a_load_asks_once() {
    let inside = InProcess::new();
    let cache = Tier::in_process(&inside).cache().await;
    let rates = Rates::default();
    off(&cache, "r:1", &rates).await;
    // As it is, and as what could be written.
    assert!(cache.local().get::<Arc<u64>>("r:1").is_none());
    assert_eq!(cache.get::<u64>("r:1").await, None);
    let calls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&calls);
    inside.script_calls(move |call: &Call<'_>| {
        if call.key.is_some() {
            assert_eq!(call.kind, CallKind::Read);
            count.fetch_add(1, Ordering::SeqCst);
        }
        Plan::go()
    });
    off(&cache, "r:2", &rates).await;
    off(&cache, "r:2", &rates).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    for key in [String::new(), "k".repeat(10 << 10)] {
        off(&cache, &key, &rates).await;
        assert!(!held(&cache, &key));
    }
    cache.close(SECOND).await.expect("closed");
    off(&cache, "r:2", &rates).await;
    assert!(!held(&cache, "r:2"));
}

/// No loader is shown it, so it would be held for nothing; and a page that shows it names the type that somebody has written.
#[tokio::test(start_paused = true)]
async fn it_is_held_no_longer_than_it_lives_and_shown_by_its_own_name() {
    let group = Group::new(1).await;
    let a = group.instance(0);
    let kept = Policy::ttl(SECOND).stale_for(3_600 * SECOND).jitter(0);
    let value = Arc::new(7_u64);
    a.local().get_or_load("k", kept, || async { Ok::<_, Oops>(Arc::clone(&value)) }).await.expect("loaded");
    let here = a.inspect("k").await.expect("a key").here.expect("a copy");
    assert_eq!(here.type_name, "alloc::sync::Arc<u64>");
    assert_eq!(Arc::strong_count(&value), 2);
    // The memory of what is over is given back once a minute.
    group.pass(130 * SECOND).await;
    assert!(a.inspect("k").await.expect("a key").here.is_none() && Arc::strong_count(&value) == 1);
}
