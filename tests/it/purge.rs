//! What is found by a look at every key: purges, which delete bytes, and invalidations by pattern.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cachetier::{Call, CallKind, Delivery, InProcess, Plan, Policy, Purge, PurgeCounts, PurgeError, PurgeProgress, TieredCache};
use cachetier_tests::{Gate, Origin, Reply, Tier, eventually_async, over_each, over_shared};

const LONG: Duration = Duration::from_secs(20);
/// How many keys a walk asks for at once.
const BATCH: u64 = 16;
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600)).jitter(0);

/// Stores the key with its own name as the value.
async fn put(cache: &TieredCache, key: &str, tags: &[&str]) {
    let set = cache.set(key, key.to_owned(), POLICY.tags(tags)).await;
    assert!(matches!(set, Ok(Delivery::Applied(_))), "{key}: {set:?}");
}

async fn kept(cache: &TieredCache, key: &str) -> bool {
    cache.get::<String>(key).await.is_some()
}

#[track_caller]
fn applied(purged: Result<cachetier::Purged, PurgeError>) -> PurgeCounts {
    let purged = purged.expect("no error");
    assert!(matches!(purged.delivery, Delivery::Applied(_)), "{purged:?}");
    purged.counts
}

/// Returns when `cache` has applied as many invalidations as there were after `before`, if it hears of any.
async fn heard(tier: &Tier, cache: &TieredCache, before: u64) {
    if tier.is_shared() {
        eventually_async(LONG, "the other instance has heard", async || cache.stats().invalidations_applied > before).await;
    }
}

/// A tier within the process, and how often it is asked for names.
fn counting() -> (InProcess, Arc<AtomicUsize>) {
    let (tier, scans) = (InProcess::new(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&scans);
    tier.script_calls(move |call: &Call<'_>| {
        count.fetch_add(usize::from(call.kind == CallKind::Scan), Ordering::Relaxed);
        Plan::go()
    });
    (tier, scans)
}

/// A tier within the process where the `nth` call of a kind waits at the gate before it runs.
fn held_at(kind: CallKind, nth: usize, gate: &Gate) -> InProcess {
    let (tier, calls, gate) = (InProcess::new(), AtomicUsize::new(0), gate.clone());
    tier.script_calls(move |call: &Call<'_>| {
        if call.kind == kind && calls.fetch_add(1, Ordering::Relaxed) + 1 == nth {
            let gate = gate.clone();
            return Plan::go().after(async move { gate.wait().await });
        }
        Plan::go()
    });
    tier
}

#[tokio::test]
async fn a_purge_by_tag_deletes_what_carries_it_among_others_and_nothing_else() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        for number in 0..150 {
            let tags: &[&str] = match number % 3 {
                0 => &["gone"],
                1 => &["first", "gone", "last"],
                _ => &["first", "last"],
            };
            put(&a, &format!("k:{number}"), tags).await;
        }
        put(&a, "untagged", &[]).await;
        for key in ["k:0", "k:1", "k:2"] {
            assert!(kept(&b, key).await);
        }
        let before = b.stats().invalidations_applied;
        let counts = applied(a.purge(Purge::tag("gone")).await);
        heard(tier, &b, before).await;
        if tier.is_shared() {
            assert_eq!((counts.scanned, counts.removed), (151, 100));
            assert!(counts.bytes >= 100 * 70 && counts.bytes < 100 * 200, "{} bytes", counts.bytes);
            assert_eq!((counts.newer, counts.under_way, counts.held, counts.unread, counts.foreign), (0, 0, 0, 0, 0));
        } else {
            assert_eq!(counts, PurgeCounts::default());
        }
        for number in 0..150 {
            let key = format!("k:{number}");
            if tier.is_shared() {
                assert_eq!(tier.holds_value(&key), number % 3 == 2, "{key}");
            }
            for cache in [&a, &b] {
                assert_eq!(kept(cache, &key).await, number % 3 == 2, "{key}");
            }
        }
        assert!(kept(&a, "untagged").await);
        assert_eq!(a.stats().l1_entries, 51, "the copies of this instance are given back as well");
    })
    .await;
}

#[tokio::test]
async fn a_purge_by_prefix_takes_what_stands_in_it_for_itself() {
    over_shared(async |tier| {
        let cache = tier.cache().await;
        let (below, beside) =
            (["a*[x]?\\:1", "a*[x]?\\:b:2", "a*[x]?\\:"], ["ab[x]?\\:1", "a*xq:1", "a*[x]?\\", "a*[x]?\\1", "a*x?:1"]);
        for key in below.iter().chain(&beside) {
            put(&cache, key, &[]).await;
        }
        let counts = applied(cache.purge(Purge::prefix("a*[x]?\\:")).await);
        assert_eq!((counts.scanned, counts.removed), (3, 3));
        for key in below {
            assert!(!tier.holds_value(key) && !kept(&cache, key).await, "{key}");
        }
        for key in beside {
            assert!(tier.holds_value(key) && kept(&cache, key).await, "{key}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_purge_of_everything_leaves_tickets_holds_and_other_namespaces() {
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        for number in 0..100 {
            put(&a, &format!("k:{number}"), &[]).await;
        }
        tier.put("foreign", b"not ours");
        tier.put_list("list");
        tier.put("newer", b"\xf6sixteen bytes ..\x02 of a newer release");
        tier.put("ticket", b"\xf5sixteen bytes ..");
        let guard = b.guard(["held"]).await.expect("held");
        let counts = applied(a.purge(Purge::everything()).await);
        // What a newer release has written has the name, and goes.
        assert_eq!((counts.scanned, counts.removed, counts.foreign), (105, 101, 2));
        assert_eq!((counts.held, counts.under_way, counts.newer, counts.unread), (1, 1, 0, 0));
        assert!(!tier.holds_value("k:7") && tier.holds_ticket("ticket"));
        assert!(matches!(guard.release().await, Ok(Delivery::Applied(_))));
        assert_eq!(b.stats().holds_lost, 0);
        if let Some(server) = tier.server() {
            for name in tier.lanes().iter().filter(|name| name.ends_with(":lane")) {
                assert_eq!(server.command(&["EXISTS", name]), Reply::Int(1));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_purge_by_tag_cannot_read_stays() {
    over_shared(async |tier| {
        let cache = tier.cache().await;
        put(&cache, "k", &["t"]).await;
        tier.put("newer", b"\xf6sixteen bytes ..\x02 of a newer release");
        let counts = applied(cache.purge(Purge::tag("t")).await);
        assert_eq!((counts.scanned, counts.removed, counts.unread), (2, 1, 1));
        assert!(tier.holds_value("newer"));
    })
    .await;
}

#[tokio::test]
async fn what_is_loaded_after_the_bump_stays() {
    let gate = Gate::new();
    let tier = Tier::in_process(&held_at(CallKind::Scan, 1, &gate));
    let (a, b) = tier.pair().await;
    for key in ["old", "again"] {
        put(&a, key, &["t"]).await;
        assert!(kept(&b, key).await);
    }
    let before = b.stats().invalidations_applied;
    let purge = tokio::spawn({
        let a = a.clone();
        async move { a.purge(Purge::tag("t")).await }
    });
    gate.arrived(1).await;
    heard(&tier, &b, before).await;
    let loaded = b.get_or_compute("again", POLICY.tags(["t"]), || async { "new".to_owned() }).await;
    assert_eq!(loaded.expect("loaded"), "new");
    gate.open();
    let counts = applied(purge.await.expect("no panic"));
    assert_eq!((counts.scanned, counts.removed, counts.newer), (2, 1, 1));
    for cache in [&a, &b] {
        assert_eq!(cache.get::<String>("again").await.as_deref(), Some("new"));
    }
    assert!(!tier.holds_value("old"));
}

#[tokio::test]
async fn a_load_from_before_the_purge_is_not_served_whenever_it_lands() {
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        let (origin, gate) = (Arc::new(Origin::at(1)), Gate::new());
        let slow = tokio::spawn({
            let (b, origin, gate) = (b.clone(), Arc::clone(&origin), gate.clone());
            async move { b.get_or_load("k", POLICY.tags(["t"]), || origin.load_slowly(&gate)).await.expect("loaded") }
        });
        gate.arrived(1).await;
        origin.commit(2);
        let before = b.stats().invalidations_applied;
        let counts = applied(a.purge(Purge::tag("t")).await);
        heard(tier, &b, before).await;
        assert_eq!((counts.scanned, counts.under_way, counts.removed), (1, 1, 0));
        gate.open();
        assert_eq!(slow.await.expect("no panic"), 1);
        for cache in [&a, &b] {
            assert_eq!(cache.get::<u64>("k").await, None, "it carries a tag that was bumped");
        }
        applied(a.purge(Purge::tag("t")).await);
        assert!(!tier.holds_value("k"), "the next purge deletes what landed late");
    })
    .await;
}

#[tokio::test]
async fn a_pattern_invalidates_the_keys_it_matches_in_every_instance() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        let (matching, others) = (["user:1:mail", "user:2:mail", "user:*:mail"], ["user:1:name", "users:1:mail", "user:1:mails"]);
        for key in matching.iter().chain(&others) {
            put(&a, key, &[]).await;
            assert!(kept(&b, key).await);
        }
        let before = b.stats().invalidations_applied;
        let counts = applied(a.invalidate_pattern("user:*:mail").await);
        heard(tier, &b, before).await;
        for cache in [&a, &b] {
            for key in matching {
                assert!(!kept(cache, key).await, "{key}");
            }
            for key in others {
                assert_eq!(kept(cache, key).await, tier.is_shared(), "{key}");
            }
        }
        if tier.is_shared() {
            assert_eq!((counts.scanned, counts.removed), (3, 3));
        }
    })
    .await;
}

#[tokio::test]
async fn a_pattern_takes_what_is_escaped_for_itself() {
    over_shared(async |tier| {
        let cache = tier.cache().await;
        let (matching, others) = (["a*b?[c]\\d:x", "a*b?[c]\\d:"], ["aXb?[c]\\d:x", "a*bX[c]\\d:x", "a*b?c\\d:x", "a*b?[c]d:x"]);
        for key in matching.iter().chain(&others) {
            put(&cache, key, &[]).await;
        }
        applied(cache.purge(Purge::pattern(r"a\*b\?\[c\]\\d:*[^y]")).await);
        assert!(!tier.holds_value(matching[0]));
        applied(cache.purge(Purge::pattern(r"a\*b\?\[c\]\\d[:]")).await);
        for key in matching {
            assert!(!tier.holds_value(key) && !kept(&cache, key).await, "{key}");
        }
        for key in others {
            assert!(tier.holds_value(key) && kept(&cache, key).await, "{key}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_pattern_reaches_copies_whose_keys_the_shared_tier_has_lost() {
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        for key in ["user:1:mail", "user:1:name"] {
            put(&a, key, &[]).await;
            assert!(kept(&b, key).await);
        }
        assert!(tier.evict("user:1:mail"));
        assert!(kept(&a, "user:1:mail").await && kept(&b, "user:1:mail").await, "copies");
        let (before, same) = (b.stats().invalidations_applied, b.stats().suspects_same);
        let counts = applied(a.invalidate_pattern("user:?:mail").await);
        assert_eq!(counts.scanned, 0);
        heard(tier, &b, before).await;
        for cache in [&a, &b] {
            assert!(!kept(cache, "user:1:mail").await, "a copy of what nobody can find");
            let policy = POLICY.tags([""; 0]);
            let read = cache.get_or_compute("user:1:name", policy, || async { "loaded".to_owned() }).await;
            assert_eq!(read.expect("read"), "user:1:name", "what it does not match is not loaded again");
        }
        assert_eq!(b.stats().suspects_same, same + 1, "its stamp was looked at");
    })
    .await;
}

#[tokio::test]
async fn a_load_under_way_of_a_key_that_a_pattern_matches_is_kept_nowhere() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        let (origin, gate) = (Arc::new(Origin::at(1)), Gate::new());
        let slow = tokio::spawn({
            let (b, origin, gate) = (b.clone(), Arc::clone(&origin), gate.clone());
            async move { b.get_or_load("user:1:mail", POLICY, || origin.load_slowly(&gate)).await.expect("loaded") }
        });
        gate.arrived(1).await;
        origin.commit(2);
        let before = b.stats().invalidations_applied;
        let counts = applied(a.invalidate_pattern("*:mail").await);
        heard(tier, &b, before).await;
        assert_eq!(counts.under_way, u64::from(tier.is_shared()));
        gate.open();
        assert_eq!(slow.await.expect("no panic"), 1);
        for cache in [&a, &b] {
            assert_eq!(cache.get_or_load("user:1:mail", POLICY, || origin.load()).await.expect("loaded"), 2);
        }
    })
    .await;
}

#[tokio::test]
async fn a_pattern_marks_the_holds_of_the_keys_that_it_matches() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        let mut guard = b.guard(["user:1:mail", "user:1:name"]).await.expect("held");
        let counts = applied(a.invalidate_pattern("*:mail").await);
        assert_eq!(counts.held, u64::from(tier.is_shared()));
        for key in ["user:1:mail", "user:1:name"] {
            guard.set(key, key.to_owned(), POLICY).await.expect("no error");
        }
        assert!(!kept(&b, "user:1:mail").await, "something newer than what the guard has committed may have come");
        assert_eq!(kept(&b, "user:1:name").await, tier.is_shared());
    })
    .await;
}

#[tokio::test]
async fn a_pattern_that_one_bump_says_needs_no_walk() {
    let (inside, scans) = counting();
    let tier = Tier::in_process(&inside);
    let cache = tier.cache().await;
    for (pattern, gone, stays) in [
        ("user:7:*", "user:7:name", "user:8:name"),
        (r"a\*b", "a*b", "aXb"),
        ("**", "anything", ""),
        ("user:7:[n]ame", "user:7:name", "user:7:n"),
    ] {
        put(&cache, gone, &[]).await;
        if !stays.is_empty() {
            put(&cache, stays, &[]).await;
        }
        let before = scans.load(Ordering::Relaxed);
        applied(cache.invalidate_pattern(pattern).await);
        assert!(!kept(&cache, gone).await, "{pattern}");
        assert_eq!(kept(&cache, stays).await, !stays.is_empty(), "{pattern}");
        assert_eq!(scans.load(Ordering::Relaxed) > before, pattern.contains('['), "{pattern}");
    }
}

#[tokio::test]
async fn a_purge_that_is_dropped_has_invalidated_and_says_how_far_it_came() {
    let gate = Gate::new();
    let tier = Tier::in_process(&held_at(CallKind::Scan, 2, &gate));
    let (a, b) = tier.pair().await;
    for number in 0..200 {
        put(&a, &format!("k:{number}"), &["t"]).await;
    }
    assert!(kept(&b, "k:0").await);
    let (progress, before) = (PurgeProgress::default(), b.stats().invalidations_applied);
    {
        let purge = a.purge(Purge::tag("t").watched_by(&progress));
        let mut purge = std::pin::pin!(purge);
        tokio::select! {
            ended = &mut purge => panic!("{ended:?}"),
            () = gate.arrived(1) => {}
        }
    }
    let counts = progress.counts();
    assert!(counts.removed > 0 && counts.removed < 200 && counts.scanned == counts.removed, "{counts:?}");
    heard(&tier, &b, before).await;
    let left = (0..200).filter(|number| tier.holds_value(&format!("k:{number}"))).count();
    assert_eq!(u64::try_from(left).expect("few"), 200 - counts.removed);
    for number in 0..200 {
        assert!(!kept(&b, &format!("k:{number}")).await, "it was invalidated before the walk");
    }
    let counts = applied(a.purge(Purge::tag("t").watched_by(&progress)).await);
    let (second, removed_before) = (counts, 200 - u64::try_from(left).expect("few"));
    assert_eq!((second.scanned, second.removed), (200 - removed_before, 200 - removed_before), "each begins at zero");
    assert_eq!(progress.counts(), second);
    assert!((0..200).all(|number| !tier.holds_value(&format!("k:{number}"))));
}

/// A value may be gone of whose key nobody was told: the next call would not find it any more.
#[tokio::test]
async fn an_invalidation_by_pattern_that_is_dropped_leaves_no_copy_of_what_it_has_deleted() {
    let gate = Gate::new();
    let inside = InProcess::new();
    let held = gate.clone();
    inside.script_calls(move |call: &Call<'_>| {
        let held = held.clone();
        if call.kind == CallKind::Purge { Plan::go().reply_after(async move { held.wait().await }) } else { Plan::go() }
    });
    let tier = Tier::in_process(&inside);
    let (a, b) = tier.pair().await;
    put(&a, "user:1:mail", &[]).await;
    assert!(kept(&b, "user:1:mail").await);
    {
        let mut call = std::pin::pin!(a.invalidate_pattern("*:mail"));
        tokio::select! {
            ended = &mut call => panic!("{ended:?}"),
            () = gate.arrived(1) => {}
        }
    }
    assert!(!tier.holds_value("user:1:mail"));
    eventually_async(LONG, "the other instance doubts its copy", async || !kept(&b, "user:1:mail").await).await;
    assert!(!kept(&a, "user:1:mail").await);
}

#[tokio::test]
async fn a_purge_that_is_stopped_tells_what_it_has_done() {
    for kind in [CallKind::Scan, CallKind::Purge] {
        let (inside, calls) = (InProcess::new(), AtomicUsize::new(0));
        inside.script_calls(move |call: &Call<'_>| {
            let fails = call.kind == kind && calls.fetch_add(1, Ordering::Relaxed) == 2;
            if fails { Plan::away() } else { Plan::go() }
        });
        let tier = Tier::in_process(&inside);
        let cache = tier.cache().await;
        for number in 0..300 {
            put(&cache, &format!("k:{number}"), &["t"]).await;
        }
        let stopped = cache.purge(Purge::tag("t")).await;
        let Err(PurgeError::Stopped { why, done }) = stopped else { panic!("{stopped:?}") };
        assert!(why.contains("away"), "{why}");
        assert!(matches!(done.delivery, Delivery::Applied(_)));
        assert_eq!((done.counts.scanned, done.counts.removed), (2 * BATCH, 2 * BATCH));
        assert!(!kept(&cache, "k:299").await, "it is invalidated all the same");
        assert_eq!(applied(cache.purge(Purge::tag("t")).await).removed, 300 - 2 * BATCH);
    }
}

#[tokio::test]
async fn a_pattern_whose_walk_is_stopped_says_so_and_what_it_found_is_served_by_nobody() {
    let inside = InProcess::new();
    let tier = Tier::in_process(&inside);
    let (a, b) = tier.pair().await;
    for number in 0..100 {
        let key = format!("user:{number}:mail");
        put(&a, &key, &[]).await;
        assert!(kept(&b, &key).await);
    }
    inside.lose_reply_next(CallKind::Purge);
    let stopped = a.invalidate_pattern("*:mail").await;
    let Err(PurgeError::Stopped { done, .. }) = stopped else { panic!("{stopped:?}") };
    assert_eq!((done.delivery, done.counts.removed), (Delivery::Pending, 0), "nobody knows what has become of the batch");
    for number in 0..100 {
        let key = format!("user:{number}:mail");
        if !tier.holds_value(&key) {
            eventually_async(LONG, "a copy of what is deleted is not served", async || !kept(&b, &key).await).await;
        }
    }
}

#[tokio::test]
async fn a_copy_that_is_doubted_is_not_served_because_nobody_can_be_asked() {
    let inside = InProcess::new();
    let tier = Tier::in_process(&inside);
    let cache = tier.cache().await;
    put(&cache, "user:1:mail", &[]).await;
    assert!(tier.evict("user:1:mail") && kept(&cache, "user:1:mail").await);
    inside.script_calls(|call: &Call<'_>| match call.kind {
        CallKind::Scan => Plan::go(),
        _ => Plan::away(),
    });
    let purged = cache.invalidate_pattern("*:mail").await.expect("walked");
    assert_eq!((purged.delivery, purged.counts.scanned), (Delivery::Pending, 0));
    for _ in 0..3 {
        assert!(!kept(&cache, "user:1:mail").await, "served without proof");
    }
    assert_eq!(cache.stats().served_unproven, 0);
}

#[tokio::test]
async fn a_purge_whose_bump_is_not_confirmed_deletes_nothing_yet() {
    let (inside, scans) = counting();
    let tier = Tier::in_process(&inside);
    let cache = tier.cache().await;
    put(&cache, "k", &["t"]).await;
    inside.lose_next(CallKind::Bump);
    let stopped = cache.purge(Purge::tag("t")).await;
    let Err(PurgeError::Stopped { done, .. }) = stopped else { panic!("{stopped:?}") };
    assert_eq!((done.delivery, done.counts), (Delivery::Pending, PurgeCounts::default()));
    assert_eq!(scans.load(Ordering::Relaxed), 0);
    assert!(!kept(&cache, "k").await);
    cache.flush(LONG).await.expect("told");
    assert_eq!(applied(cache.purge(Purge::tag("t")).await).removed, 1);
}

#[tokio::test]
async fn what_cannot_be_purged_is_named_before_anything_is_done() {
    let cache = Tier::alone().cache().await;
    for purge in [Purge::tag(""), Purge::prefix("user"), Purge::pattern("[a"), Purge::pattern("")] {
        let named = cache.purge(purge).await;
        assert!(matches!(named, Err(PurgeError::NotBegun(cachetier::CacheError::Key(_)))), "{named:?}");
    }
    assert_eq!(cache.stats().invalidations, 0);
    cache.close(LONG).await.expect("closed");
    assert_eq!(cache.purge(Purge::everything()).await, Err(PurgeError::NotBegun(cachetier::CacheError::Closed)));
}
