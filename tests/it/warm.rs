//! Keys are brought into the tiers before anybody asks for them, at the pace that was asked for, whatever becomes of some of them.
#![forbid(unsafe_code)]

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use cachetier::{InProcess, LoadError, Policy, TieredCache, WarmCounts};
use cachetier_tests::{Gate, Oops, Tier, over_each, over_shared, under_way};
use futures_util::stream::{self, Stream};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::time::{Instant, timeout};

const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

fn keys(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|nth| format!("key:{nth}"))
}

/// Keys as they are sent; the sender knows whether anybody listens.
fn sent() -> (UnboundedSender<String>, impl Stream<Item = String>) {
    let (sender, mut keys) = mpsc::unbounded_channel();
    (sender, stream::poll_fn(move |context| keys.poll_recv(context)))
}

async fn length(keys: Vec<String>) -> Result<Vec<(String, usize)>, Oops> {
    Ok(keys.into_iter().map(|key| (key.clone(), key.len())).collect())
}

#[tokio::test]
async fn what_no_tier_has_is_loaded_and_the_rest_is_found() {
    over_each(async |tier| {
        let (cache, other) = tier.pair().await;
        for key in keys(50) {
            other.set(&key, key.len(), POLICY).await.expect("stored");
        }
        // Odd ones have nothing.
        let load = async |keys: Vec<String>| {
            Ok::<_, Oops>(keys.into_iter().filter(|key| !key.ends_with('9')).map(|key| (key, 1)).collect::<Vec<(String, usize)>>())
        };
        let warmed = cache.warming().batch(30).load(keys(250), POLICY, load).await;
        let counts = warmed.counts;
        assert_eq!((counts.keys, counts.found, counts.loaded, counts.absent, counts.failed), (250, 50, 180, 20, 0));
        assert!(warmed.is_complete() && warmed.error.is_none());
        // Once more there is nothing to load but what is nowhere.
        let again = cache.warming().load(keys(250), POLICY, load).await.counts;
        assert_eq!((again.found, again.loaded, again.absent), (230, 0, 20));
    })
    .await;
}

#[tokio::test]
async fn a_new_instance_copies_what_the_shared_tier_has() {
    over_shared(async |tier| {
        let old = tier.cache().await;
        old.warming().load(keys(300), POLICY, length).await;
        let new = tier.cache().await;
        let warmed = new.warming().copy::<usize>(keys(400)).await;
        assert_eq!((warmed.counts.keys, warmed.counts.found, warmed.counts.absent), (400, 300, 100));
        let hits = new.stats().l1_hits;
        for key in keys(300) {
            assert_eq!(new.get::<usize>(&key).await, Some(key.len()));
        }
        assert_eq!((new.stats().l1_hits - hits, new.stats().loads), (300, 0));
    })
    .await;
}

#[tokio::test]
async fn so_many_batches_are_under_way_and_no_more_keys_are_taken_than_these_need() {
    let cache = TieredCache::builder("test").build().await.expect("built");
    let (gate, taken, running) = (Gate::new(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let warming = tokio::spawn({
        let (cache, gate, taken, running) = (cache.clone(), gate.clone(), Arc::clone(&taken), Arc::clone(&running));
        async move {
            let keys = keys(1_000).inspect(|_| _ = taken.fetch_add(1, Ordering::SeqCst));
            let load = async |keys: Vec<String>| {
                running.fetch_max(keys.len(), Ordering::SeqCst);
                gate.wait().await;
                length(keys).await
            };
            cache.warming().batch(10).at_once(3).load(keys, POLICY, load).await.counts
        }
    });
    gate.arrived(3).await;
    tokio::task::yield_now().await;
    assert_eq!((taken.load(Ordering::SeqCst), running.load(Ordering::SeqCst), cache.stats().loads), (30, 10, 3));
    gate.open();
    assert_eq!(warming.await.expect("no panic").loaded, 1_000);
}

#[tokio::test(start_paused = true)]
async fn the_pace_is_kept() {
    let cache = TieredCache::builder("test").build().await.expect("built");
    let begun = Instant::now();
    let warmed = cache.warming().batch(10).at_once(8).per_second(100).load(keys(500), POLICY, length).await;
    // The first batch goes at once.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(4_900) && took < Duration::from_millis(5_100), "{took:?}");
    assert_eq!((warmed.counts.loaded, warmed.took), (500, took));
}

#[tokio::test(start_paused = true)]
async fn what_a_stream_brings_late_is_not_made_up_for() {
    let cache = TieredCache::builder("test").build().await.expect("built");
    let rows = stream::iter(keys(50).zip(0..)).then(async |(key, row)| {
        if row == 10 {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        key
    });
    let (begun, times) = (Instant::now(), std::sync::Mutex::new(Vec::new()));
    let load = async |keys: Vec<String>| {
        times.lock().expect("not poisoned").push(begun.elapsed().as_millis());
        length(keys).await
    };
    cache.warming().batch(5).at_once(8).per_second(10).load_stream(rows, POLICY, load).await;
    let times = times.into_inner().expect("not poisoned");
    assert_eq!(times.len(), 10);
    assert!(times.windows(2).all(|two| two[1] - two[0] >= 500), "{times:?}");
}

#[tokio::test]
async fn one_that_is_dropped_stops_and_keeps_what_it_has() {
    let memory = InProcess::new();
    let cache = Tier::in_process(&memory).cache().await;
    let (gate, batches) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
    let warming = tokio::spawn({
        let (cache, gate, batches) = (cache.clone(), gate.clone(), Arc::clone(&batches));
        async move {
            let load = async |keys: Vec<String>| {
                if batches.fetch_add(1, Ordering::SeqCst) == 2 {
                    gate.wait().await;
                }
                length(keys).await
            };
            cache.warming().batch(10).at_once(1).load(keys(1_000), POLICY, load).await.counts
        }
    });
    gate.arrived(1).await;
    warming.abort();
    assert!(warming.await.expect_err("dropped").is_cancelled());
    cache.flush(Duration::from_secs(20)).await.expect("tickets are given back");
    assert_eq!((batches.load(Ordering::SeqCst), memory.len()), (3, 20));
}

#[tokio::test]
async fn what_fails_is_counted_and_is_given_up_only_when_it_goes_on() {
    let cache = TieredCache::builder("test").build().await.expect("built");
    let told = Mutex::new(Vec::new());
    let load = async |keys: Vec<String>| if keys[0] == "key:10" { Err(Oops("no")) } else { length(keys).await };
    let progress = |counts: WarmCounts| told.lock().expect("not poisoned").push((counts.keys, counts.failed));
    let warmed = cache.warming().batch(10).at_once(1).progress(progress).load(keys(40), POLICY, load).await;
    assert_eq!((warmed.counts.loaded, warmed.counts.failed, warmed.gave_up), (30, 10, false));
    assert!(!warmed.is_complete() && matches!(warmed.error, Some(LoadError::Loader(why)) if *why == Oops("no")));
    assert_eq!(*told.lock().expect("not poisoned"), [(10, 0), (20, 10), (30, 10), (40, 10)]);

    let fails = async |_: Vec<String>| Err::<Vec<(String, usize)>, _>(Oops("no"));
    let warmed = cache.warming().batch(10).at_once(1).give_up_after(2).load(keys(1_000).map(|key| key + "!"), POLICY, fails).await;
    assert_eq!((warmed.counts.failed, warmed.counts.keys, warmed.gave_up), (20, 20, true));
    // At the end there is nothing to give up.
    let warmed = cache.warming().batch(10).give_up_after(1).load(keys(5).map(|key| key + "?"), POLICY, fails).await;
    assert_eq!((warmed.counts.failed, warmed.gave_up), (5, false));
}

#[tokio::test]
async fn nothing_to_warm_is_nothing_done_and_odd_settings_count_as_the_nearest() {
    let cache = TieredCache::builder("test").build().await.expect("built");
    let none = cache.warming().batch(0).at_once(0).per_second(0).give_up_after(0).load(Vec::<String>::new(), POLICY, length).await;
    assert_eq!(none.counts, WarmCounts::default());
    let some = cache.warming().batch(0).at_once(1_000).load(["a", "b", "a"], POLICY, length).await;
    assert_eq!((some.counts.keys, some.counts.loaded + some.counts.found), (3, 3));
}

#[tokio::test]
async fn a_stream_is_as_good_as_an_iterator() {
    over_shared(async |tier| {
        let old = tier.cache().await;
        // A row every now and then.
        let rows = stream::iter(keys(250)).then(async |key| {
            tokio::task::yield_now().await;
            key
        });
        let warmed = old.warming().batch(30).load_stream(rows, POLICY, length).await;
        assert_eq!((warmed.counts.keys, warmed.counts.loaded), (250, 250));
        let new = tier.cache().await;
        let copied = new.warming().copy_stream::<usize>(stream::iter(keys(300))).await;
        assert_eq!((copied.counts.found, copied.counts.absent), (250, 50));
        assert!(warmed.is_complete() && copied.is_complete());
    })
    .await;
}

#[tokio::test]
async fn a_batch_goes_when_it_is_full_and_the_rest_when_the_stream_ends() {
    let cache = TieredCache::builder("test").build().await.expect("built");
    let (sender, stream) = sent();
    let told = Mutex::new(Vec::new());
    let progress = |counts: WarmCounts| told.lock().expect("not poisoned").push(counts.keys);
    let mut warming = pin!(cache.warming().batch(10).progress(progress).load_stream(stream, POLICY, length));
    let told = || told.lock().expect("not poisoned").clone();
    for key in keys(15) {
        sender.send(key).expect("listened for");
    }
    under_way(Duration::from_secs(20), "the first batch", warming.as_mut(), async || told() == [10]).await;
    for _ in 0..10 {
        assert!(warming.as_mut().now_or_never().is_none());
    }
    assert_eq!((told(), cache.stats().loads), (vec![10], 1));
    drop(sender);
    assert_eq!((warming.await.counts.loaded, told()), (15, vec![10, 15]));
}

#[tokio::test]
async fn keys_of_a_stream_are_taken_only_when_there_is_room() {
    let cache = TieredCache::builder("test").build().await.expect("built");
    let (gate, taken) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
    let warming = tokio::spawn({
        let (cache, gate, taken) = (cache.clone(), gate.clone(), Arc::clone(&taken));
        async move {
            let keys = stream::iter(keys(100)).inspect(|_| _ = taken.fetch_add(1, Ordering::SeqCst));
            let load = async |keys: Vec<String>| {
                gate.wait().await;
                length(keys).await
            };
            cache.warming().batch(10).at_once(3).load_stream(keys, POLICY, load).await.counts
        }
    });
    gate.arrived(3).await;
    tokio::task::yield_now().await;
    assert_eq!(taken.load(Ordering::SeqCst), 30);
    gate.open();
    assert_eq!(warming.await.expect("no panic").loaded, 100);
}

#[tokio::test]
async fn a_stream_that_is_silent_does_not_keep_it_from_giving_up() {
    let cache = TieredCache::builder("test").build().await.expect("built");
    let (sender, stream) = sent();
    for key in keys(25) {
        sender.send(key).expect("listened for");
    }
    let fails = async |_: Vec<String>| {
        // Behind the moment at which the stream is waited for.
        tokio::task::yield_now().await;
        Err::<Vec<(String, usize)>, _>(Oops("no"))
    };
    let warming = cache.warming().batch(10).at_once(4).give_up_after(2).load_stream(stream, POLICY, fails);
    let warmed = timeout(Duration::from_secs(20), warming).await.expect("ends");
    // Five were taken and not asked for.
    assert_eq!((warmed.counts.keys, warmed.counts.failed, warmed.gave_up), (20, 20, true));
    assert!(sender.is_closed());
}

#[tokio::test]
async fn one_that_is_dropped_drops_its_stream() {
    let cache = TieredCache::builder("test").build().await.expect("built");
    let (sender, stream) = sent();
    sender.send("key:0".to_owned()).expect("listened for");
    let mut warming = Box::pin(cache.warming().copy_stream::<usize>(stream));
    assert!(warming.as_mut().now_or_never().is_none() && !sender.is_closed());
    drop(warming);
    assert!(sender.is_closed());
}

#[tokio::test]
async fn a_panic_of_the_users_is_his_callers_and_leaves_nobody_waiting() {
    let cache = TieredCache::builder("test").build().await.expect("built");
    let bad_rows = || {
        let mut rows = 0;
        stream::poll_fn(move |_| {
            rows += 1;
            assert!(rows < 25, "a bad row");
            Poll::Ready(Some(format!("key:{rows}")))
        })
    };
    let warming = cache.warming().batch(10).load_stream(bad_rows(), POLICY, length);
    let panicked = timeout(Duration::from_secs(20), AssertUnwindSafe(warming).catch_unwind()).await.expect("ends");
    assert!(panicked.is_err());

    let bad_bar = |counts: WarmCounts| assert!(counts.keys < 20, "a bad bar");
    let warming = cache.warming().batch(10).progress(bad_bar).load(keys(100), POLICY, length);
    let panicked = timeout(Duration::from_secs(20), AssertUnwindSafe(warming).catch_unwind()).await.expect("ends");
    assert!(panicked.is_err());
    // What was under way meanwhile holds nothing.
    assert_eq!(cache.warming().load(keys(100), POLICY, length).await.counts.failed, 0);
}

#[tokio::test]
async fn keys_that_are_all_at_hand_leave_the_thread_to_others() {
    let cache = TieredCache::builder("test").build().await.expect("built");
    cache.warming().load(keys(50), POLICY, length).await;
    let turns = Arc::new(AtomicUsize::new(0));
    let other = tokio::spawn({
        let turns = Arc::clone(&turns);
        async move {
            loop {
                turns.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        }
    });
    cache.warming().batch(1).at_once(1).copy::<usize>(keys(50)).await;
    assert!(turns.load(Ordering::SeqCst) > 25, "{turns:?}");
    other.abort();
}
