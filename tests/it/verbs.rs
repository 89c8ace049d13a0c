//! What each verb of the handle does and says, over every kind of cache, and what is left of a cache that is closed or dropped.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;
use std::time::Duration;

use cachetier::{
    CacheBuilder, CacheError, Call, CallKind, Clock, Codec, ConfigError, Delivery, Eviction, InProcess, KeyError, LoadError,
    ManualClock, Plan, Policy, Removed, Stats, Tagged, TieredCache, Token,
};
use cachetier_tests::{Gate, Oops, Origin, RedisServer, Tier, eventually_async, over_each, over_shared};
use tokio::runtime::Handle;

const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

async fn read(cache: &TieredCache, key: &str, origin: &Origin) -> u64 {
    cache.get_or_load(key, POLICY, || origin.load()).await.expect("loaded")
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "it takes what a verb returns")]
fn applied(delivery: Result<Delivery, CacheError>) {
    assert!(matches!(delivery, Ok(Delivery::Applied(_))), "{delivery:?}");
}

#[tokio::test]
async fn a_get_finds_what_was_loaded_or_put_and_loads_nothing() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        assert_eq!(a.get::<u64>("k").await, None);
        assert!(!tier.holds_ticket("k"));
        assert_eq!(read(&a, "k", &Origin::at(1)).await, 1);
        assert_eq!((a.get("k").await, b.get("k").await), (Some(1_u64), Some(1_u64)));
        applied(a.set("put", 2_u64, POLICY).await);
        assert_eq!((a.get("put").await, b.get("put").await), (Some(2_u64), Some(2_u64)));
        assert_eq!(a.stats().loads + b.stats().loads, 1 + u64::from(!tier.is_shared()));
    })
    .await;
}

#[tokio::test]
async fn a_put_value_takes_the_place_of_the_old_one_in_every_instance() {
    over_each(async |tier| {
        let ((a, b), origin) = (tier.pair().await, Origin::at(1));
        assert_eq!((read(&a, "k", &origin).await, read(&b, "k", &origin).await), (1, 1));
        applied(a.set("k", 2_u64, POLICY).await);
        assert_eq!(a.get("k").await, Some(2_u64));
        eventually_async(LONG, "the other instance serves it", async || b.get("k").await == Some(2_u64)).await;
        applied(b.set("k", 3_u64, POLICY).await);
        assert_eq!(b.get("k").await, Some(3_u64));
        eventually_async(LONG, "and the other way round", async || a.get("k").await == Some(3_u64)).await;
        assert_eq!(origin.loads(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_removal_says_whether_something_was_held() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        let held = async || {
            let removed = cache.remove("k").await;
            applied(removed.clone().map(|removed| removed.delivery));
            removed.expect("removed").held
        };
        assert!(!held().await);
        applied(cache.set("k", 1_u64, POLICY).await);
        assert!(held().await);
        assert!(!held().await);
        assert_eq!(cache.get::<u64>("k").await, None);
    })
    .await;
}

#[tokio::test]
async fn every_invalidation_reaches_every_instance() {
    over_each(async |tier| {
        let ((a, b), origin) = (tier.pair().await, Origin::at(0));
        for (round, way) in (1..).zip(["key", "many", "tag", "tags", "prefix", "clear", "remove"]) {
            let rules = || POLICY.tags(["one", "two"]);
            let read = async |cache: &TieredCache| cache.get_or_load("x:y", rules(), || origin.load()).await.expect("loaded");
            let (was, _) = (read(&a).await, read(&b).await);
            assert_eq!(was + 1, round);
            origin.commit(round);
            applied(match way {
                "key" => a.invalidate("x:y").await,
                "many" => a.invalidate_many(["other", "x:y"]).await,
                "tag" => a.invalidate_tag("one").await,
                "tags" => a.invalidate_tags(["none", "two"]).await,
                "prefix" => a.invalidate_prefix("x:").await,
                "clear" => a.clear().await,
                _ => a.remove("x:y").await.map(|removed| removed.delivery),
            });
            assert_eq!(read(&a).await, round, "{way}");
            eventually_async(LONG, way, async || read(&b).await == round).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_meant_is_not_invalidated() {
    over_each(async |tier| {
        let ((a, b), origin) = (tier.pair().await, Origin::at(1));
        let read = async |cache: &TieredCache| {
            let rules = POLICY.tags(["kept"]);
            cache.get_or_load("x:y", rules, || origin.load()).await.expect("loaded")
        };
        assert_eq!((read(&a).await, read(&b).await), (1, 1));
        let heard = b.stats().invalidations_applied;
        applied(a.invalidate("x").await);
        applied(a.invalidate_many(["x:", "y"]).await);
        applied(a.invalidate_many(Vec::<String>::new()).await);
        applied(a.invalidate_tags(["x:y", "x", "x:"]).await);
        applied(a.invalidate_tag("other").await);
        applied(a.invalidate_prefix("x:y:").await);
        if tier.is_shared() {
            eventually_async(LONG, "the other has heard", async || b.stats().invalidations_applied >= heard + 8).await;
        }
        let hits = (a.stats().l1_hits, b.stats().l1_hits);
        assert_eq!((read(&a).await, read(&b).await), (1, 1));
        assert!(a.stats().l1_hits > hits.0 && b.stats().l1_hits > hits.1);
        assert_eq!(origin.loads(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_unusable_key_is_an_error_before_anything_is_done() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        applied(cache.set("k", 1_u64, POLICY).await);
        let long = "k".repeat(4_097);
        let (empty, too_long) = (CacheError::Key(KeyError::Empty), KeyError::TooLong { length: 4_097, limit: 4_096 });
        assert_eq!(cache.invalidate("").await, Err(empty.clone()));
        assert_eq!(cache.remove(&long).await.map(|_| ()), Err(CacheError::Key(too_long.clone())));
        assert_eq!(cache.invalidate_many(["k", &long]).await, Err(CacheError::Key(too_long.clone())));
        assert_eq!(cache.set(&long, 1_u64, POLICY).await, Err(CacheError::Key(too_long)));
        assert_eq!(cache.set("", 1_u64, POLICY).await, Err(empty.clone()));
        assert_eq!(cache.invalidate_tag("").await, Err(empty.clone()));
        assert_eq!(cache.invalidate_prefix("").await, Err(empty));
        assert!(matches!(
            cache.invalidate_prefix("k").await,
            Err(CacheError::Key(KeyError::PrefixInsideSegment { prefix })) if prefix == "k"
        ));
        assert!(matches!(
            cache.invalidate_prefix("a:b:c:d:e:").await,
            Err(CacheError::Key(KeyError::PrefixTooDeep { depth: 5, limit: 4 }))
        ));
        assert_eq!(cache.get("k").await, Some(1_u64), "nothing was invalidated");
    })
    .await;
}

#[tokio::test]
async fn the_counters_tell_the_way_of_each_read() {
    over_shared(async |tier| {
        let ((a, b), origin) = (tier.pair().await, Origin::at(1));
        for cache in [&a, &a, &b, &b, &b] {
            assert_eq!(read(cache, "k", &origin).await, 1);
        }
        let (a, b) = (a.stats(), b.stats());
        assert_eq!((a.l1_misses, a.l2_misses, a.loads, a.fills, a.l2_hits, a.l1_hits), (1, 1, 1, 1, 0, 1));
        assert_eq!((b.l1_misses, b.l2_misses, b.loads, b.fills, b.l2_hits, b.l1_hits), (1, 0, 0, 0, 1, 2));
        let table = b.to_string();
        assert!(table.lines().any(|row| row.starts_with("L1 hits ") && row.ends_with(" 2")), "{table}");
    })
    .await;
}

// Once it counted as a miss as soon as it found the ticket, again if it then planted its own, and never if it did not wait.
#[tokio::test]
async fn a_read_that_finds_another_instances_ticket_counts_once_by_what_comes_of_it() {
    #[derive(Clone, Copy, PartialEq)]
    enum Other {
        Fills,
        GivesUp,
        IsNotWaitedFor,
    }
    over_shared(async |tier| {
        for (other, hits_and_misses) in [(Other::Fills, (1, 0)), (Other::GivesUp, (0, 1)), (Other::IsNotWaitedFor, (0, 1))] {
            let (a, mut b, gate) = (tier.cache().await, tier.builder(), Gate::new());
            if other == Other::IsNotWaitedFor {
                b = b.wait_budget(Duration::ZERO);
            }
            let b = b.build().await.expect("built");
            let load = |cache: &TieredCache, gate: Gate| {
                let cache = cache.clone();
                tokio::spawn(async move { cache.get_or_compute("k", POLICY, async || gate.wait().await).await })
            };
            let first = load(&a, gate.clone());
            gate.arrived(1).await;
            let second = load(&b, gate.clone());
            match other {
                Other::IsNotWaitedFor => gate.arrived(2).await,
                _ => eventually_async(LONG, "the ticket is found", async || b.stats().ticket_polls > 0).await,
            }
            if other == Other::GivesUp {
                first.abort();
                eventually_async(LONG, "the load is dropped", async || a.stats().flights == 0).await;
            }
            gate.open();
            second.await.expect("no panic").expect("an answer");
            let stats = b.stats();
            assert_eq!((stats.l2_hits, stats.l2_misses), hits_and_misses);
            drop(first.await);
            applied(a.invalidate("k").await);
        }
    })
    .await;
}

// Once it counted as a miss for a `get` alone.
#[tokio::test]
async fn a_read_that_finds_a_hold_counts_as_a_miss_and_keeps_nothing() {
    over_shared(async |tier| {
        let (cache, origin) = (tier.cache().await, Origin::at(1));
        tier.put("k", b"\xf7 a write guard's");
        assert_eq!((cache.get::<u64>("k").await, cache.stats().l2_misses), (None, 1));
        assert_eq!((read(&cache, "k", &origin).await, cache.stats().l2_misses), (1, 2));
        assert_eq!((read(&cache, "k", &origin).await, cache.stats().l2_misses), (1, 3));
        assert_eq!((origin.loads(), cache.stats().fills), (2, 0));
    })
    .await;
}

// Once it counted as a hit as well.
#[tokio::test]
async fn a_read_that_finds_what_has_landed_since_it_missed_counts_as_one_that_waited() {
    let (cache, gate) = (Tier::alone().cache().await, Gate::new());
    let first = {
        let (cache, gate) = (cache.clone(), gate.clone());
        tokio::spawn(async move {
            let load = async || {
                gate.wait().await;
                1_u64
            };
            cache.get_or_compute("k", POLICY.tags(["tag"]), load).await.expect("loaded");
            // Before the one that waits is polled: the load it waits for is of no use to it, and this one lands.
            cache.get_or_compute("k", POLICY, async || 2_u64).await.expect("loaded")
        })
    };
    gate.arrived(1).await;
    applied(cache.invalidate_tag("tag").await);
    let waiting = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get_or_compute("k", POLICY, async || 3_u64).await.expect("loaded") }
    });
    eventually_async(LONG, "it waits", async || cache.stats().l1_misses == 2).await;
    gate.open();
    assert_eq!((first.await.expect("no panic"), waiting.await.expect("no panic")), (2, 2));
    let stats = cache.stats();
    assert_eq!((stats.l1_hits, stats.l1_misses, stats.coalesced, stats.loads), (0, 3, 1, 2));
}

#[tokio::test]
async fn a_flush_waits_for_writes_under_way() {
    let (memory, answer) = (InProcess::new(), Gate::new());
    memory.script_calls({
        let answer = answer.clone();
        move |call: &Call<'_>| {
            let answer = answer.clone();
            if call.kind == CallKind::Fill { Plan::go().reply_after(async move { answer.wait().await }) } else { Plan::go() }
        }
    });
    let cache = Tier::in_process(&memory).cache().await;
    assert_eq!(cache.flush(LONG).await, Ok(()));
    let call = tokio::spawn({
        let cache = cache.clone();
        async move { read(&cache, "k", &Origin::at(1)).await }
    });
    answer.arrived(1).await;
    let unfinished = CacheError::Unfinished { writes: 1, invalidations: 0 };
    assert_eq!(cache.flush(Duration::from_millis(10)).await, Err(unfinished.clone()));
    assert_eq!(unfinished.to_string(), "1 writes and 0 invalidations are still under way");
    answer.open();
    assert_eq!(cache.flush(LONG).await, Ok(()));
    assert_eq!(call.await.expect("no panic"), 1);
}

#[tokio::test]
async fn a_flush_waits_for_invalidations_to_be_confirmed() {
    let memory = InProcess::new();
    let (a, b) = Tier::in_process(&memory).pair().await;
    applied(a.set("k", 1_u64, POLICY).await);
    assert_eq!(b.get("k").await, Some(1_u64));
    memory.script_calls(|call: &Call<'_>| if call.kind == CallKind::Bump { Plan::away() } else { Plan::go() });
    assert_eq!(a.invalidate("k").await, Ok(Delivery::Pending));
    assert_eq!(a.get::<u64>("k").await, None, "what waits to be told is not read");
    assert_eq!(a.flush(Duration::from_millis(10)).await, Err(CacheError::Unfinished { writes: 0, invalidations: 1 }));
    assert_eq!(a.stats().pending, 1);
    memory.clear_script();
    assert_eq!(a.flush(LONG).await, Ok(()));
    assert_eq!(a.stats().pending, 0);
    eventually_async(LONG, "the other instance was told", async || b.get::<u64>("k").await.is_none()).await;
}

#[tokio::test]
async fn a_cancelled_invalidation_is_carried_out_all_the_same() {
    let (memory, gate) = (InProcess::new(), Gate::new());
    let (a, b) = Tier::in_process(&memory).pair().await;
    applied(a.set("k", 1_u64, POLICY).await);
    assert_eq!(b.get("k").await, Some(1_u64));
    memory.script_calls({
        let gate = gate.clone();
        move |call: &Call<'_>| {
            let gate = gate.clone();
            if call.kind == CallKind::Bump { Plan::go().after(async move { gate.wait().await }) } else { Plan::go() }
        }
    });
    let call = tokio::spawn({
        let a = a.clone();
        async move { a.invalidate("k").await }
    });
    gate.arrived(1).await;
    call.abort();
    assert!(call.await.expect_err("it was aborted").is_cancelled());
    assert_eq!(a.get::<u64>("k").await, None);
    assert_eq!(a.stats().pending, 1);
    gate.open();
    assert_eq!(a.flush(LONG).await, Ok(()));
    eventually_async(LONG, "the other instance was told", async || b.get::<u64>("k").await.is_none()).await;
}

#[tokio::test]
async fn a_cancelled_put_counts_as_an_invalidation() {
    let (memory, gate) = (InProcess::new(), Gate::new());
    let (a, b) = Tier::in_process(&memory).pair().await;
    applied(a.set("k", 1_u64, POLICY).await);
    assert_eq!(b.get("k").await, Some(1_u64));
    memory.script_calls({
        let gate = gate.clone();
        move |call: &Call<'_>| {
            let gate = gate.clone();
            if call.kind == CallKind::Seize { Plan::go().after(async move { gate.wait().await }) } else { Plan::go() }
        }
    });
    let call = tokio::spawn({
        let a = a.clone();
        async move { a.set("k", 2_u64, POLICY).await }
    });
    gate.arrived(1).await;
    call.abort();
    assert!(call.await.expect_err("it was aborted").is_cancelled());
    assert_eq!(a.flush(LONG).await, Ok(()));
    assert_eq!(a.get::<u64>("k").await, None);
    eventually_async(LONG, "the other instance was told", async || b.get::<u64>("k").await.is_none()).await;
    gate.open();
}

#[tokio::test]
async fn a_put_that_an_invalidation_overtakes_between_its_halves_is_kept_by_nobody() {
    let (memory, gate) = (InProcess::new(), Gate::new());
    let (a, b) = Tier::in_process(&memory).pair().await;
    memory.script_calls({
        let gate = gate.clone();
        move |call: &Call<'_>| {
            let gate = gate.clone();
            if call.kind == CallKind::Fill { Plan::go().after(async move { gate.wait().await }) } else { Plan::go() }
        }
    });
    let put = tokio::spawn({
        let a = a.clone();
        async move { a.set("k", 1_u64, POLICY).await }
    });
    gate.arrived(1).await;
    applied(b.invalidate("k").await);
    gate.open();
    applied(put.await.expect("it ends"));
    for cache in [&a, &b] {
        assert_eq!(cache.get::<u64>("k").await, None);
    }
}

#[tokio::test]
async fn a_closed_cache_runs_loaders_and_keeps_nothing() {
    over_each(async |tier| {
        let (cache, origin) = (tier.cache().await, Origin::at(1));
        let clone = cache.clone();
        assert_eq!(read(&cache, "k", &origin).await, 1);
        assert_eq!(cache.close(LONG).await, Ok(()));
        for (handle, loads) in [(&cache, 2), (&cache, 3), (&clone, 4)] {
            assert_eq!(read(handle, "k", &origin).await, 1);
            assert_eq!(origin.loads(), loads);
            assert_eq!(handle.get::<u64>("k").await, None);
        }
        let found = cache.get_or_load_optional("k", POLICY, async || Ok::<_, Oops>(Some(9_u64))).await;
        assert_eq!(found.ok(), Some(Some(9)));
        assert_eq!(cache.close(LONG).await, Ok(()), "closing again is nothing");
    })
    .await;
}

#[tokio::test]
async fn a_mutation_of_a_closed_cache_is_an_error_and_reaches_nobody() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        applied(b.set("k", 1_u64, POLICY).await);
        assert_eq!(a.close(LONG).await, Ok(()));
        assert_eq!(a.invalidate("k").await, Err(CacheError::Closed));
        assert_eq!(a.invalidate_many(["k"]).await, Err(CacheError::Closed));
        assert_eq!(a.invalidate_tag("t").await, Err(CacheError::Closed));
        assert_eq!(a.invalidate_prefix("p:").await, Err(CacheError::Closed));
        assert_eq!(a.remove("k").await.map(|_| ()), Err(CacheError::Closed));
        assert_eq!(a.clear().await, Err(CacheError::Closed));
        assert_eq!(a.set("k", 2_u64, POLICY).await, Err(CacheError::Closed));
        assert_eq!(a.get::<u64>("k").await, None);
        assert_eq!(b.get("k").await, tier.is_shared().then_some(1_u64));
    })
    .await;
}

#[tokio::test]
async fn the_last_handles_drop_ends_connections_and_tasks() {
    let tier = Tier::over(RedisServer::start());
    let (server, tasks) = (tier.server().expect("a server"), Handle::current().metrics());
    let before = tasks.num_alive_tasks();
    let (cache, other) = tier.pair().await;
    let clone = cache.clone();
    assert_eq!(read(&cache, "k", &Origin::at(1)).await, 1);
    assert!(server.connections() >= 5, "two for each cache, and ours");
    assert!(tasks.num_alive_tasks() >= before + 4);
    drop((cache, other));
    assert_eq!(clone.get("k").await, Some(1_u64), "the other handle keeps it going");
    drop(clone);
    eventually_async(LONG, "only our own connection is left", async || server.connections() == 1).await;
    eventually_async(LONG, "its tasks are gone", async || tasks.num_alive_tasks() <= before).await;
}

#[tokio::test]
async fn a_closed_cache_has_neither_connections_nor_tasks() {
    let tier = Tier::over(RedisServer::start());
    let (server, tasks) = (tier.server().expect("a server"), Handle::current().metrics());
    let before = tasks.num_alive_tasks();
    let cache = tier.cache().await;
    assert_eq!(read(&cache, "k", &Origin::at(1)).await, 1);
    assert_eq!(cache.close(LONG).await, Ok(()));
    eventually_async(LONG, "only our own connection is left", async || server.connections() == 1).await;
    eventually_async(LONG, "its tasks are gone", async || tasks.num_alive_tasks() <= before).await;
    assert_eq!(read(&cache, "k", &Origin::at(2)).await, 2);
}

#[tokio::test]
async fn a_load_under_way_survives_the_end_of_its_cache() {
    over_each(async |tier| {
        let (cache, origin, gate) = (tier.cache().await, Arc::new(Origin::at(1)), Gate::new());
        let call = tokio::spawn({
            let (cache, origin, gate) = (cache.clone(), Arc::clone(&origin), gate.clone());
            async move { cache.get_or_load("k", POLICY, || origin.load_slowly(&gate)).await.expect("loaded") }
        });
        gate.arrived(1).await;
        assert_eq!(cache.close(LONG).await, Ok(()));
        gate.open();
        assert_eq!(call.await.expect("no panic"), 1);
        assert_eq!(cache.get::<u64>("k").await, None);
    })
    .await;
}

/// Compiles or not: there is nothing to run.
#[test]
fn what_is_public_goes_from_thread_to_thread_and_so_does_every_call() {
    fn both<T: Send + Sync + 'static>() {}
    fn sent<F: Future + Send>(_: impl FnOnce(&'static TieredCache) -> F) {}
    both::<(TieredCache, CacheBuilder, Policy, Tagged<Vec<String>>, Codec, Eviction, Stats)>();
    both::<(CacheError, ConfigError, KeyError, LoadError<Oops>)>();
    both::<(Delivery, Removed, Token)>();
    both::<(Clock, ManualClock, InProcess, CallKind, Call<'static>)>();
    sent(|_| TieredCache::builder("n").build());
    sent(|cache| cache.get::<u64>("k"));
    sent(|cache| cache.get_or_load("k", POLICY.tags(["t"]), || async { Ok::<_, Oops>(1_u64) }));
    sent(|cache| cache.get_or_load_optional("k", POLICY, || async { Ok::<_, Oops>(Some(1_u64)) }));
    sent(|cache| cache.get_or_compute("k", POLICY, || async { 1_u64 }));
    sent(|cache| cache.set("k", 1_u64, POLICY));
    sent(|cache| cache.remove("k"));
    sent(|cache| cache.invalidate("k"));
    sent(|cache| cache.invalidate_many(["k"]));
    sent(|cache| cache.invalidate_tag("t"));
    sent(|cache| cache.invalidate_tags(["t"]));
    sent(|cache| cache.invalidate_prefix("p:"));
    sent(TieredCache::clear);
    sent(|cache| cache.flush(LONG));
    sent(|cache| cache.close(LONG));
}

#[tokio::test]
async fn where_nearly_every_look_finds_a_value_a_plain_read_goes_first_and_a_miss_is_still_filled() {
    let memory = InProcess::new();
    let calls = Arc::new(std::sync::Mutex::new(Vec::new()));
    memory.script_calls({
        let calls = Arc::clone(&calls);
        move |call: &Call<'_>| {
            if call.instance == 1 && matches!(call.kind, CallKind::Probe | CallKind::Read | CallKind::Fill) {
                calls.lock().expect("no panic").push(call.kind);
            }
            Plan::go()
        }
    });
    let taken = || std::mem::take(&mut *calls.lock().expect("no panic"));
    let tier = Tier::in_process(&memory);
    let (a, b) = tier.pair().await;
    let origin = Origin::at(1);
    for each in 0..65 {
        let key = format!("k{each}");
        assert_eq!((read(&a, &key, &origin).await, read(&b, &key, &origin).await), (1, 1));
    }
    assert_eq!(taken(), [vec![CallKind::Probe; 61], vec![CallKind::Read; 4]].concat());

    // Absent: the read plants nothing, so the probe goes behind it, and the fill has a ticket.
    assert_eq!(read(&b, "cold", &origin).await, 1);
    assert_eq!(taken(), [CallKind::Read, CallKind::Probe, CallKind::Fill]);
    assert!(tier.holds_value("cold"));

    // A caller that is dropped in the middle of the plain read leaves nothing behind.
    memory.hang(CallKind::Read);
    assert!(tokio::time::timeout(Duration::from_millis(20), read(&b, "dropped", &origin)).await.is_err());
    memory.clear_script();
    assert!(!tier.holds_ticket("dropped"));
    assert_eq!(read(&b, "dropped", &origin).await, 1);
}
