//! Many keys in one call: one look, one load, one fill for all of them, and each key as a single read treats it.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use cachetier::{Call, CallKind, Delivery, InProcess, LoadError, Plan, Policy, TieredCache};
use cachetier_tests::{Gate, Oops, RedisServer, Tier, eventually_async, over_each, over_shared, parts};
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

/// A loader of many keys that remembers what it was asked for: the number at the end of a key is its value.
#[derive(Clone, Debug, Default)]
struct Numbers {
    asked: Arc<Mutex<Vec<Vec<String>>>>,
    gate: Option<Gate>,
}

impl Numbers {
    fn gated(gate: &Gate) -> Self {
        Self { gate: Some(gate.clone()), ..Self::default() }
    }

    async fn load(&self, keys: Vec<String>) -> Result<HashMap<String, u64>, Oops> {
        self.asked.lock().expect("no panic").push(keys.clone());
        if let Some(gate) = &self.gate {
            gate.wait().await;
        }
        Ok(keys.into_iter().map(|key| (key.clone(), number(&key))).collect())
    }

    /// What it was asked for, call by call.
    fn asked(&self) -> Vec<Vec<String>> {
        self.asked.lock().expect("no panic").clone()
    }

    async fn read(&self, cache: &TieredCache, keys: &[&str]) -> Result<Vec<Option<u64>>, LoadError<Oops>> {
        let read = cache.get_or_load_many(keys, POLICY, |missing| self.load(missing));
        tokio::time::timeout(LONG, read).await.expect("no deadlock")
    }

    /// The same as a task.
    fn call(&self, cache: &TieredCache, keys: &'static [&'static str]) -> tokio::task::JoinHandle<Vec<Option<u64>>> {
        let (numbers, cache) = (self.clone(), cache.clone());
        tokio::spawn(async move { numbers.read(&cache, keys).await.expect("loaded") })
    }
}

fn number(key: &str) -> u64 {
    key.rsplit(':').next().and_then(|end| end.parse().ok()).unwrap_or(0)
}

fn owned(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// Waits until none of the keys holds a ticket.
async fn given_back(tier: &Tier, keys: &[&str]) {
    eventually_async(LONG, "the tickets are given back", async || !keys.iter().any(|key| tier.holds_ticket(key))).await;
}

async fn set(cache: &TieredCache, key: &str) {
    assert!(matches!(cache.set(key, number(key), POLICY).await, Ok(Delivery::Applied(_))));
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_keys_and_a_key_given_twice_is_asked_for_once() {
    over_each(async |tier| {
        let (cache, numbers) = (tier.cache().await, Numbers::default());
        set(&cache, "n:2").await;
        let keys = ["n:1", "n:2", "n:3", "n:1", "n:2"];
        assert_eq!(cache.get_many::<u64>(keys).await, [None, Some(2), None, None, Some(2)]);
        let all = [Some(1), Some(2), Some(3), Some(1), Some(2)];
        assert_eq!(numbers.read(&cache, &keys).await.ok().as_deref(), Some(&all[..]));
        assert_eq!(numbers.asked(), [owned(&["n:1", "n:3"])]);
        assert_eq!(cache.get_many::<u64>(keys).await, all);
        assert_eq!(cache.get::<u64>("n:3").await, Some(3));
        let stats = cache.stats();
        assert_eq!((stats.loads, stats.batched, stats.flights), (1, 2, 0));
        if tier.is_shared() {
            let other = tier.cache().await;
            assert_eq!(other.get_many::<u64>(keys.map(str::to_owned)).await, all);
            assert_eq!(other.get_many::<u64>(keys).await, all);
            // Each key counts once.
            assert_eq!((other.stats().l1_misses, other.stats().l1_hits, other.stats().l2_hits), (3, 3, 3));
            assert_eq!(numbers.read(&tier.cache().await, &keys).await.ok().as_deref(), Some(&all[..]));
            assert_eq!(numbers.asked().len(), 1);
        }
    })
    .await;
}

#[tokio::test]
async fn a_batch_may_be_spawned() {
    let cache = Tier::alone().cache().await;
    let keys = vec!["n:1".to_owned()];
    let call = async move {
        let set = cache.set_many(keys.iter().map(|key| (key, 1_u64)), POLICY.tags(keys.clone())).await;
        let loaded = cache.get_or_load_many(&keys, &POLICY, async |_| Ok::<_, Oops>(HashMap::<String, u64>::new())).await;
        (set.len(), loaded.ok(), cache.get_many::<u64>(keys).await)
    };
    assert_eq!(tokio::spawn(call).await.expect("no panic"), (1, Some(vec![Some(1)]), vec![Some(1)]));
}

#[tokio::test]
async fn a_batch_of_no_keys_costs_nothing() {
    over_each(async |tier| {
        let (cache, numbers) = (tier.cache().await, Numbers::default());
        let before = cache.stats();
        assert_eq!(cache.get_many::<u64>([""; 0]).await, []);
        assert_eq!(numbers.read(&cache, &[]).await.ok(), Some(Vec::new()));
        assert_eq!(cache.set_many([("", 1_u64); 0], POLICY).await, []);
        assert!(matches!(cache.invalidate_many([""; 0]).await, Ok(Delivery::Applied(_))));
        let after = cache.stats();
        assert_eq!((after.loads, after.l1_misses, after.invalidations), (0, 0, before.invalidations));
    })
    .await;
}

#[tokio::test]
async fn what_a_loader_does_not_return_is_none_and_its_key_is_free_again() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        let load = async |_| Ok::<_, Oops>([("n:2".to_owned(), 2_u64)]);
        let read = async |policy| cache.get_or_load_many(["n:1", "n:2"], policy, load).await.expect("loaded");
        assert_eq!(read(POLICY).await, [None, Some(2)]);
        assert!(!tier.holds_value("n:1"));
        given_back(tier, &["n:1"]).await;
        assert_eq!(read(POLICY).await, [None, Some(2)]);
        assert_eq!(cache.stats().loads, 2, "it was not remembered");
        let remembered = POLICY.negative_ttl(LONG);
        for _ in 0..2 {
            assert_eq!(read(remembered).await, [None, Some(2)]);
        }
        assert_eq!(cache.stats().loads, 3);
        assert_eq!(tier.holds_value("n:1"), tier.is_shared());
        assert_eq!(cache.get_many::<u64>(["n:1"]).await, [None]);
    })
    .await;
}

#[tokio::test]
async fn what_a_loader_was_not_asked_for_is_ignored_and_the_last_of_two_values_counts() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        let load = async |_| Ok::<_, Oops>(vec![("n:1", 5_u64), ("other", 7), ("n:1", 1), ("", 9)]);
        assert_eq!(cache.get_or_load_many(["n:1"], POLICY, load).await.ok(), Some(vec![Some(1)]));
        assert_eq!(cache.get_many::<u64>(["n:1", "other"]).await, [Some(1), None]);
        assert_eq!(cache.stats().not_asked_for, 2);
    })
    .await;
}

#[tokio::test]
async fn a_key_that_no_entry_can_have_keeps_no_other_from_its_answer() {
    over_each(async |tier| {
        let (cache, numbers) = (tier.cache().await, Numbers::default());
        let long = format!("{}:4", "x".repeat(10_240));
        let keys = ["n:1", "", &long, "n:2"];
        for _ in 0..2 {
            assert_eq!(numbers.read(&cache, &keys).await.ok(), Some(vec![Some(1), Some(0), Some(4), Some(2)]));
        }
        assert_eq!(numbers.asked(), [owned(&keys), owned(&["", &long])]);
        assert_eq!(cache.get_many::<u64>(keys).await, [Some(1), None, None, Some(2)]);
        assert_eq!((cache.stats().not_stored, cache.stats().loads_alone), (4, 2));
        let set = cache.set_many(keys.map(|key| (key, 9_u64)), POLICY).await;
        assert_eq!(set.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true]);
        assert!(cache.invalidate_many(keys).await.is_err());
        assert_eq!(cache.get_many::<u64>(keys).await, [Some(9), None, None, Some(9)], "none was invalidated");
    })
    .await;
}

#[tokio::test]
async fn a_value_too_large_is_returned_and_keeps_no_other_from_being_stored() {
    over_each(async |tier| {
        let cache = tier.builder().max_value_bytes(1_000).build().await.expect("built");
        let of = |bytes: usize| "x".repeat(bytes);
        let load = async |keys: Vec<String>| {
            Ok::<_, Oops>(
                keys.into_iter().map(|key| (key.clone(), of(usize::try_from(number(&key)).expect("small")))).collect::<Vec<_>>(),
            )
        };
        let keys = ["n:10", "n:5000", "n:20"];
        let read = async || cache.get_or_load_many(keys, POLICY, load).await.expect("loaded");
        assert_eq!(read().await, [Some(of(10)), Some(of(5_000)), Some(of(20))]);
        assert_eq!(cache.get_many::<String>(keys).await, [Some(of(10)), None, Some(of(20))]);
        given_back(tier, &["n:5000"]).await;
        let set = cache.set_many([("a", of(1)), ("b", of(5_000)), ("c", of(3))], POLICY).await;
        assert_eq!(set.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(cache.get_many::<String>(["a", "b", "c"]).await, [Some(of(1)), None, Some(of(3))]);
    })
    .await;
}

#[tokio::test]
async fn values_of_every_size_are_stored_and_read_together() {
    over_shared(async |tier| {
        let (one, other) = tier.pair().await;
        let keys: Vec<String> = [1, 100, 2_040, 2_100, 50_000, 3_000_000, 2_000_000].map(|bytes| format!("n:{bytes}")).into();
        let load = async |keys: Vec<String>| {
            let value = |key: &str| "x".repeat(usize::try_from(number(key)).expect("small"));
            Ok::<_, Oops>(keys.into_iter().map(|key| (key.clone(), value(&key))).collect::<Vec<_>>())
        };
        let loaded = one.get_or_load_many(&keys, POLICY, load).await.expect("loaded");
        assert_eq!(one.stats().fills, 7);
        assert_eq!(other.get_many::<String>(&keys).await, loaded);
        assert!(loaded.iter().all(Option::is_some));
    })
    .await;
}

#[tokio::test]
async fn two_thousand_keys_are_read_loaded_and_set() {
    over_each(async |tier| {
        let (cache, numbers) = (tier.cache().await, Numbers::default());
        let keys: Vec<String> = (0..2_345).map(|at| format!("n:{at}")).collect();
        let texts: Vec<&str> = keys.iter().map(String::as_str).collect();
        let expected: Vec<Option<u64>> = (0..2_345).map(Some).collect();
        assert_eq!(numbers.read(&cache, &texts).await.ok(), Some(expected.clone()));
        assert_eq!(numbers.asked(), std::slice::from_ref(&keys));
        assert_eq!(tier.cache().await.get_many::<u64>(&keys).await.iter().all(Option::is_some), tier.is_shared());
        let set = cache.set_many(keys.iter().zip(1_u64..), POLICY).await;
        assert!(set.iter().all(|set| matches!(set, Ok(Delivery::Applied(_)))));
        assert_eq!(cache.get_many::<u64>(&keys).await, (1..=2_345).map(Some).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn of_a_key_set_twice_the_last_value_stays() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        let set = cache.set_many([("a", 1_u64), ("b", 2), ("a", 3), ("a", 4)], POLICY).await;
        assert!(set.len() == 4 && set.iter().all(|set| matches!(set, Ok(Delivery::Applied(_)))), "{set:?}");
        assert_eq!(cache.get_many::<u64>(["a", "b"]).await, [Some(4), Some(2)]);
        assert!(matches!(cache.invalidate_many(["a", "b", "a"]).await, Ok(Delivery::Applied(_))));
        assert_eq!(cache.get_many::<u64>(["a", "b"]).await, [None, None]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_last_value_of_a_key_stays_also_where_the_first_takes_longer() {
    let inside = InProcess::new();
    let cache = Tier::in_process(&inside).cache().await;
    let seized = Mutex::new(0_u32);
    inside.script_calls(move |call: &Call<'_>| {
        let mut seized = seized.lock().expect("no panic");
        *seized += u32::from(call.kind == CallKind::Seize);
        if call.kind == CallKind::Seize && *seized == 1 { Plan::delay(Duration::from_secs(1)) } else { Plan::go() }
    });
    assert!(cache.set_many([("a", 1_u64), ("a", 2)], POLICY).await.iter().all(Result::is_ok));
    assert_eq!(cache.get::<u64>("a").await, Some(2));
}

#[tokio::test]
async fn a_failure_is_told_to_all_who_wait_for_a_key_and_leaves_the_keys_free() {
    over_each(async |tier| {
        let (cache, gate) = (tier.cache().await, Gate::new());
        set(&cache, "n:9").await;
        let batch = tokio::spawn({
            let (cache, gate) = (cache.clone(), gate.clone());
            async move {
                let load = async |_| {
                    gate.wait().await;
                    Err::<HashMap<String, u64>, _>(Oops("gone"))
                };
                cache.get_or_load_many(["n:1", "n:9", "n:2"], POLICY, load).await
            }
        });
        gate.arrived(1).await;
        let single = tokio::spawn({
            let cache = cache.clone();
            async move { cache.get_or_load("n:2", POLICY, async || Ok::<_, Oops>(7_u64)).await }
        });
        eventually_async(LONG, "it waits", async || cache.stats().l1_misses >= 3).await;
        gate.open();
        for error in
            [batch.await.expect("no panic").expect_err("it failed"), single.await.expect("no panic").expect_err("it failed")]
        {
            assert!(matches!(error, LoadError::Loader(why) if *why == Oops("gone")));
        }
        assert_eq!(cache.get_many::<u64>(["n:1", "n:9", "n:2"]).await, [None, Some(9), None]);
        given_back(tier, &["n:1", "n:2"]).await;
        let numbers = Numbers::default();
        assert_eq!(numbers.read(&cache, &["n:1", "n:2"]).await.ok(), Some(vec![Some(1), Some(2)]));
        assert_eq!((cache.stats().ticket_waits, cache.stats().load_errors, cache.stats().flights), (0, 1, 0));
    })
    .await;
}

#[tokio::test]
async fn a_panic_and_a_limit_are_told_as_for_a_single_key() {
    over_each(async |tier| {
        let cache = tier.builder().load_limit(Duration::from_millis(50)).build().await.expect("built");
        let free = async || given_back(tier, &["n:1", "n:2"]).await;
        let panics = async |_| -> Result<HashMap<String, u64>, Oops> { std::panic::panic_any("a bug") };
        assert!(cache.get_or_load_many(["n:1", "n:2"], POLICY, panics).await.expect_err("it panicked").is_panic());
        free().await;
        // What it returns may panic, too.
        let lazily = async |keys: Vec<String>| Ok::<_, Oops>(keys.into_iter().map(|key| -> (String, u64) { panic!("{key}") }));
        assert!(cache.get_or_load_many(["n:1", "n:2"], POLICY, lazily).await.expect_err("it panicked").is_panic());
        free().await;
        let hangs = async |_| std::future::pending::<Result<HashMap<String, u64>, Oops>>().await;
        let limited = cache.get_or_load_many(["n:1", "n:2"], POLICY, hangs).await.expect_err("it hung");
        assert!(matches!(limited, LoadError::TimedOut(limit) if limit == Duration::from_millis(50)));
        free().await;
        assert_eq!(Numbers::default().read(&cache, &["n:2", "n:1"]).await.ok(), Some(vec![Some(2), Some(1)]));
        let stats = cache.stats();
        assert_eq!((stats.load_panics, stats.load_timeouts, stats.flights, stats.ticket_waits), (2, 1, 0, 0));
    })
    .await;
}

#[tokio::test]
async fn a_loader_that_asks_for_a_key_of_its_own_batch_is_told_so() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        let load = async |_| match cache.get_or_load("n:2", POLICY, async || Ok::<_, Oops>(1_u64)).await {
            Err(error) if error.is_recursive() => Err::<HashMap<String, u64>, _>(Oops("recursive")),
            _ => Err(Oops("not told")),
        };
        let told = cache.get_or_load_many(["n:1", "n:2"], POLICY, load).await.expect_err("it failed");
        assert!(matches!(told, LoadError::Loader(why) if *why == Oops("recursive")));
        // A batch within the load of one of its keys.
        let inner = async || match Numbers::default().read(&cache, &["n:3", "n:4"]).await {
            Err(error) if error.is_recursive() => Ok::<_, Oops>(4_u64),
            _ => Err(Oops("not told")),
        };
        assert_eq!(cache.get_or_load("n:4", POLICY, inner).await.ok(), Some(4));
        // Other keys may be asked for.
        let other = async |_| Ok::<_, Oops>([("n:5", cache.get_many::<u64>(["n:4"]).await.len() as u64)]);
        assert_eq!(cache.get_or_load_many(["n:5"], POLICY, other).await.ok(), Some(vec![Some(1)]));
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_pending_elsewhere_is_recursive_too() {
    // The other instance holds the ticket of n:1: this batch leads its flight, and would wait for itself.
    let tier = Tier::in_process(&InProcess::new());
    let (one, other) = tier.pair().await;
    let (gate, slow) = (Gate::new(), Gate::new());
    let theirs = Numbers::gated(&gate).call(&one, &["n:1"]);
    gate.arrived(1).await;
    let load = async |_| {
        let inner = other.get_or_load("n:1", POLICY, async || Ok::<_, Oops>(1_u64)).await;
        slow.open();
        Ok::<_, Oops>([("n:2", u64::from(inner.is_err_and(|error| error.is_recursive())))])
    };
    let read = other.get_or_load_many(["n:1", "n:2"], POLICY, load);
    let (read, _) = tokio::join!(
        tokio::time::timeout(LONG, read),
        tokio::time::timeout(LONG, async {
            slow.wait().await;
            gate.open();
        })
    );
    assert_eq!(read.expect("no deadlock").ok(), Some(vec![Some(1), Some(1)]));
    assert_eq!(theirs.await.expect("no panic"), [Some(1)]);
}

#[tokio::test]
async fn batches_over_the_same_keys_in_opposite_order_load_each_once() {
    over_each(async |tier| {
        let (one, other) = tier.pair().await;
        let (gate, numbers) = (Gate::new(), Numbers::default());
        let gated = Numbers { gate: Some(gate.clone()), ..numbers.clone() };
        let a = gated.call(&one, &["n:1", "n:2"]);
        gate.arrived(1).await;
        let b = gated.call(&other, &["n:3", "n:2", "n:1"]);
        gate.arrived(2).await;
        let c = gated.call(&one, &["n:4", "n:3", "n:2", "n:1"]);
        gate.arrived(3).await;
        gate.open();
        assert_eq!(a.await.expect("no panic"), [1, 2].map(Some));
        assert_eq!(b.await.expect("no panic"), [3, 2, 1].map(Some));
        assert_eq!(c.await.expect("no panic"), [4, 3, 2, 1].map(Some));
        assert_eq!(numbers.asked(), [owned(&["n:1", "n:2"]), owned(&["n:3"]), owned(&["n:4"])]);
    })
    .await;
}

#[tokio::test]
async fn a_batch_and_single_reads_share_their_loads() {
    over_each(async |tier| {
        let (cache, gate, numbers) = (tier.cache().await, Gate::new(), Numbers::default());
        let single = |key: &'static str, gate: &Gate| {
            let (cache, gate) = (cache.clone(), gate.clone());
            tokio::spawn(async move {
                let load = async || {
                    gate.wait().await;
                    Ok::<_, Oops>(number(key))
                };
                cache.get_or_load(key, POLICY, load).await.expect("loaded")
            })
        };
        let leads = single("n:1", &gate);
        gate.arrived(1).await;
        let batch = Numbers { gate: Some(gate.clone()), ..numbers.clone() }.call(&cache, &["n:1", "n:2"]);
        gate.arrived(2).await;
        let waits = single("n:2", &Gate::new());
        eventually_async(LONG, "it waits", async || cache.stats().l1_misses == 4).await;
        gate.open();
        assert_eq!((leads.await.expect("no panic"), waits.await.expect("no panic")), (1, 2));
        assert_eq!(batch.await.expect("no panic"), [Some(1), Some(2)]);
        assert_eq!(numbers.asked(), [owned(&["n:2"])]);
        assert_eq!((cache.stats().loads, cache.stats().coalesced), (2, 2));
    })
    .await;
}

#[tokio::test]
async fn what_a_dropped_batch_led_is_loaded_by_one_call_of_a_batch_that_waits() {
    over_each(async |tier| {
        let (cache, gate, numbers) = (tier.cache().await, Gate::new(), Numbers::default());
        let dropped = Numbers::gated(&gate).call(&cache, &["n:1", "n:2", "n:3"]);
        gate.arrived(1).await;
        let heir = numbers.call(&cache, &["n:0", "n:3", "n:2", "n:1"]);
        eventually_async(LONG, "it has loaded its own", async || numbers.asked().len() == 1 && cache.stats().flights == 3).await;
        dropped.abort();
        assert_eq!(tokio::time::timeout(LONG, heir).await.expect("in time").expect("no panic"), [0, 3, 2, 1].map(Some));
        assert_eq!(numbers.asked(), [owned(&["n:0"]), owned(&["n:3", "n:2", "n:1"])]);
        assert_eq!(["n:1", "n:2", "n:3"].map(|key| tier.holds_value(key)), [tier.is_shared(); 3]);
        assert_eq!(cache.stats().flights, 0);
    })
    .await;
}

/// Polls a call once: it is under way, and nobody polls it any more.
async fn left<F: Future>(call: F) -> Pin<Box<F>> {
    let mut call = Box::pin(call);
    assert!(poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending())).await, "it waits");
    call
}

const FIVE: [&str; 5] = ["n:1", "n:2", "n:3", "n:4", "n:5"];

#[tokio::test(start_paused = true)]
async fn keys_whose_leaders_nobody_polls_cost_one_patience_and_one_load() {
    let limit = Duration::from_secs(1);
    let builder = Tier::alone().builder().load_limit(limit).wait_budget(limit).command_limit(limit).read_limit(limit);
    let cache = builder.build().await.expect("built");
    let mut leaders = Vec::new();
    for key in FIVE {
        leaders.push(left(cache.get_or_load(key, POLICY, std::future::pending::<Result<u64, Oops>>)).await);
    }
    let (numbers, begun) = (Numbers::default(), Instant::now());
    let read = cache.get_or_load_many(FIVE, POLICY, |missing| numbers.load(missing)).await.expect("loaded");
    assert_eq!(read, [1, 2, 3, 4, 5].map(Some));
    assert_eq!(numbers.asked(), [owned(&FIVE)]);
    // Twice what a load may take, with what goes before it and after it.
    assert!((8 * limit..9 * limit).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn keys_whose_readers_nobody_polls_cost_a_read_of_many_one_limit() {
    let inside = InProcess::new();
    let tier = Tier::in_process(&inside);
    let limit = Duration::from_millis(50);
    let cache = tier.builder().read_limit(limit).build().await.expect("built");
    inside.hang(CallKind::Read);
    let mut readers = Vec::new();
    for key in FIVE {
        readers.push(left(cache.get::<u64>(key)).await);
    }
    let begun = Instant::now();
    assert_eq!(cache.get_many::<u64>(FIVE).await, [None; 5]);
    assert!((2 * limit..3 * limit).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_a_dropped_read_of_many_was_reading_is_read_by_who_waits() {
    let inside = InProcess::new();
    let tier = Tier::in_process(&inside);
    let (one, other) = tier.pair().await;
    for key in ["n:1", "n:2"] {
        set(&one, key).await;
    }
    let gate = Gate::new();
    let shut = gate.clone();
    inside.script_calls(move |call: &Call<'_>| {
        let gate = shut.clone();
        if call.kind == CallKind::Read { Plan::go().after(async move { gate.wait().await }) } else { Plan::go() }
    });
    let read = |keys: &'static [&'static str]| {
        let cache = other.clone();
        tokio::spawn(async move { cache.get_many::<u64>(keys).await })
    };
    let dropped = read(&["n:1", "n:2"]);
    gate.arrived(1).await;
    let waits = read(&["n:2", "n:1"]);
    eventually_async(LONG, "it waits", async || other.stats().l1_misses == 4).await;
    dropped.abort();
    gate.open();
    assert_eq!(tokio::time::timeout(LONG, waits).await.expect("in time").expect("no panic"), [Some(2), Some(1)]);
    assert_eq!(other.stats().flights, 0);
}

#[tokio::test]
async fn sets_of_many_that_are_dropped_invalidate_what_they_had_begun() {
    let inside = InProcess::new();
    let tier = Tier::in_process(&inside);
    let (one, other) = tier.pair().await;
    for key in ["n:1", "n:2"] {
        set(&other, key).await;
    }
    let gate = Gate::new();
    let shut = gate.clone();
    inside.script_calls(move |call: &Call<'_>| {
        let gate = shut.clone();
        if call.kind == CallKind::Fill { Plan::go().after(async move { gate.wait().await }) } else { Plan::go() }
    });
    let cache = one.clone();
    let dropped = tokio::spawn(async move { cache.set_many([("n:1", 7_u64), ("n:2", 8)], POLICY).await });
    gate.arrived(2).await;
    dropped.abort();
    assert!(dropped.await.is_err_and(|error| error.is_cancelled()));
    gate.open();
    one.flush(LONG).await.expect("told");
    inside.clear_script();
    for cache in [&one, &other] {
        eventually_async(LONG, "nothing old is left", async || {
            cache.get_many::<u64>(["n:1", "n:2"]).await.into_iter().flatten().all(|value| value > 2)
        })
        .await;
    }
}

#[tokio::test]
async fn a_dropped_batch_leaves_its_keys_free() {
    over_shared(async |tier| {
        let (one, other) = tier.pair().await;
        let gate = Gate::new();
        let dropped = Numbers::gated(&gate).call(&one, &["n:1", "n:2"]);
        gate.arrived(1).await;
        assert!(tier.holds_ticket("n:1") && tier.holds_ticket("n:2"));
        dropped.abort();
        given_back(tier, &["n:1", "n:2"]).await;
        assert_eq!(Numbers::default().read(&other, &["n:1", "n:2"]).await.ok(), Some(vec![Some(1), Some(2)]));
        assert_eq!((one.stats().flights, other.stats().ticket_waits), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn what_is_invalidated_while_it_is_loaded_is_answered_and_kept_nowhere() {
    over_each(async |tier| {
        let (cache, other) = tier.pair().await;
        let gate = Gate::new();
        let batch = Numbers::gated(&gate).call(&cache, &["n:1", "n:2", "n:3"]);
        gate.arrived(1).await;
        let token = other.invalidate("n:2").await.expect("told").confirmed().expect("applied");
        cache.wait_for(token, LONG).await.expect("heard");
        gate.open();
        assert_eq!(batch.await.expect("no panic"), [Some(1), Some(2), Some(3)]);
        for cache in [&cache, &other] {
            let kept = cache.get_many::<u64>(["n:1", "n:2", "n:3"]).await;
            assert_eq!(kept, [Some(1), None, Some(3)]);
        }
        if tier.is_shared() {
            // Told of it, the batch has given the ticket back and sent no fill.
            assert_eq!((cache.stats().fills, cache.stats().fills_refused), (2, 0));
        }
    })
    .await;
}

#[tokio::test]
async fn a_tag_invalidated_while_a_batch_loads_hides_what_it_stores() {
    over_each(async |tier| {
        let (cache, other) = tier.pair().await;
        let gate = Gate::new();
        let batch = tokio::spawn({
            let (cache, numbers) = (cache.clone(), Numbers::gated(&gate));
            async move { cache.get_or_load_many(["n:1", "n:2"], POLICY.tags(["t"]), |missing| numbers.load(missing)).await.is_ok() }
        });
        gate.arrived(1).await;
        let token = other.invalidate_tag("t").await.expect("told").confirmed().expect("applied");
        cache.wait_for(token, LONG).await.expect("heard");
        gate.open();
        assert!(batch.await.expect("no panic"));
        for cache in [&cache, &other] {
            assert_eq!(cache.get_many::<u64>(["n:1", "n:2"]).await, [None, None]);
        }
    })
    .await;
}

#[tokio::test]
async fn values_hidden_by_a_tag_are_claimed_together_and_loaded_once() {
    over_shared(async |tier| {
        let (one, other) = tier.pair().await;
        let numbers = Numbers::default();
        let keys = ["n:1", "n:2", "n:3"];
        let tagged = POLICY.tags(["t"]);
        for key in ["n:1", "n:3"] {
            one.set(key, 7_u64, tagged).await.expect("set");
        }
        set(&one, "n:2").await;
        let token = one.invalidate_tag("t").await.expect("told").confirmed().expect("applied");
        other.wait_for(token, LONG).await.expect("heard");
        assert_eq!(other.get_many::<u64>(keys).await, [None, Some(2), None]);
        assert_eq!(numbers.read(&other, &keys).await.ok(), Some(vec![Some(1), Some(2), Some(3)]));
        assert_eq!(numbers.asked(), [owned(&["n:1", "n:3"])]);
        assert_eq!((other.stats().fills, other.stats().l2_unusable), (2, 4));
        assert_eq!(one.get_many::<u64>(keys).await, [Some(1), Some(2), Some(3)]);
    })
    .await;
}

#[tokio::test]
async fn foreign_bytes_are_left_alone_and_their_keys_loaded() {
    over_shared(async |tier| {
        let (cache, numbers) = (tier.cache().await, Numbers::default());
        tier.put("n:1", b"somebody else's");
        tier.put_list("n:2");
        set(&cache, "n:3").await;
        cache.set("n:4", "text".to_owned(), POLICY).await.expect("set");
        let keys = ["n:1", "n:2", "n:3", "n:4"];
        let other = tier.cache().await;
        assert_eq!(other.get_many::<u64>(keys).await, [None, None, Some(3), None]);
        assert_eq!(numbers.read(&other, &keys).await.ok(), Some([1, 2, 3, 4].map(Some).to_vec()));
        assert_eq!(numbers.asked(), [owned(&["n:1", "n:2", "n:4"])]);
        assert!(other.stats().l2_foreign >= 2 && other.stats().fills == 0, "{}", other.stats());
        assert_eq!(cache.get::<String>("n:4").await.as_deref(), Some("text"));
    })
    .await;
}

#[tokio::test]
async fn a_held_key_is_loaded_and_not_kept() {
    over_each(async |tier| {
        let (cache, other) = tier.pair().await;
        let guard = other.guard(["n:1"]).await.expect("held");
        assert_eq!(Numbers::default().read(&cache, &["n:1", "n:2"]).await.ok(), Some(vec![Some(1), Some(2)]));
        assert_eq!(cache.get_many::<u64>(["n:1", "n:2"]).await, [None, Some(2)]);
        guard.release().await.expect("released");
    })
    .await;
}

#[tokio::test]
async fn a_probe_without_an_answer_forfeits_the_fill_of_its_key_alone() {
    let inside = InProcess::new();
    let tier = Tier::in_process(&inside);
    let cache = tier.cache().await;
    let silent = tier.name("n:2");
    inside.script_calls(move |call: &Call<'_>| match call.kind {
        CallKind::Probe if call.key == Some(&silent) => Plan::late(),
        _ => Plan::go(),
    });
    let gate = Gate::new();
    let batch = Numbers::gated(&gate).call(&cache, &["n:1", "n:2"]);
    gate.arrived(1).await;
    // It comes while the load is under way, for all one knows behind an invalidation: its ticket must not be filled.
    assert!(inside.land(0) && tier.holds_ticket("n:2"));
    gate.open();
    assert_eq!(batch.await.expect("no panic"), [Some(1), Some(2)]);
    assert_eq!((tier.holds_value("n:1"), tier.holds_value("n:2")), (true, false));
    assert_eq!((cache.stats().fills, cache.stats().l2_misses), (1, 1));
}

#[tokio::test]
async fn a_silent_tier_fails_no_batch() {
    for kind in [CallKind::Read, CallKind::Probe, CallKind::Fill] {
        let inside = InProcess::new();
        let tier = Tier::in_process(&inside);
        let cache = tier
            .builder()
            .read_limit(Duration::from_millis(50))
            .command_limit(Duration::from_millis(50))
            .build()
            .await
            .expect("built");
        inside.script_calls(move |call: &Call<'_>| if call.kind == kind { Plan::hang() } else { Plan::go() });
        assert_eq!(Numbers::default().read(&cache, &["n:1", "n:2"]).await.ok(), Some(vec![Some(1), Some(2)]), "{kind:?}");
        assert_eq!(cache.get_many::<u64>(["n:1", "n:2"]).await, [Some(1), Some(2)], "{kind:?}");
        assert_eq!(cache.stats().l2_faults, 1, "{kind:?}");
    }
}

/// How often the server has run a command.
fn calls(server: &RedisServer, command: &str) -> u64 {
    let stats = server.command(&["INFO", "commandstats"]).text().expect("text");
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_hundred_keys_of_which_ten_are_missing_cost_one_look_one_load_and_ten_fills() {
    let tier = Tier::over(RedisServer::start());
    let server = tier.server().expect("a server");
    let (one, other) = tier.pair().await;
    let keys: Vec<String> = (0..100).map(|at| format!("n:{at}")).collect();
    let is_missing = |at: usize| at % 10 == 3;
    let present = keys.iter().enumerate().filter(|(at, _)| !is_missing(*at)).map(|(_, key)| (key, number(key)));
    assert!(one.set_many(present, POLICY).await.iter().all(Result::is_ok));
    let numbers = Numbers::default();
    // So that the server knows the scripts.
    numbers.read(&one, &["warm:1"]).await.expect("loaded");

    let words = ["mget", "get", "set", "evalsha", "eval"];
    let before = words.map(|word| calls(server, word));
    let texts: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(numbers.read(&other, &texts).await.ok(), Some((0..100).map(Some).collect()));
    let after = words.map(|word| calls(server, word));
    let missing: Vec<String> = keys.iter().enumerate().filter(|(at, _)| is_missing(*at)).map(|(_, key)| key.clone()).collect();
    assert_eq!(numbers.asked().last(), Some(&missing));
    // A `SET` plants each ticket, and each fill's script runs another. Scripts of checks run meanwhile are no part of it.
    let [mget, _, set, evalsha, eval] = [0, 1, 2, 3, 4].map(|at: usize| after[at] - before[at]);
    assert_eq!((mget, set, eval), (parts() as u64, 20, 0));
    assert!((10..=10 + 4 * parts() as u64).contains(&evalsha), "{evalsha} scripts");
    assert_eq!(other.stats().fills, 10);
}

#[tokio::test]
async fn scripts_that_the_server_has_forgotten_are_told_once_for_all_keys() {
    let tier = Tier::over(RedisServer::start());
    let server = tier.server().expect("a server");
    let cache = tier.cache().await;
    server.command(&["SCRIPT", "FLUSH"]);
    let before = calls(server, "eval");
    let keys: Vec<String> = (0..30).map(|at| format!("n:{at}")).collect();
    let load = async |keys: Vec<String>| {
        // Two kinds: large ones are moved into place.
        let value = |key: &str| "x".repeat(if number(key) < 15 { 10 } else { 5_000 });
        Ok::<_, Oops>(keys.into_iter().map(|key| (key.clone(), value(&key))).collect::<Vec<_>>())
    };
    cache.get_or_load_many(&keys, POLICY, load).await.expect("loaded");
    assert_eq!((cache.stats().fills, cache.stats().l2_faults), (30, 0));
    assert!(calls(server, "eval") - before <= 4 * parts() as u64, "one for each script, and one of a check");
    assert!(tier.cache().await.get_many::<String>(&keys).await.iter().all(Option::is_some));
}
