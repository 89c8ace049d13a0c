//! Calls with options: which tiers they read and write, loads in any case, deadlines, and what they say of where answers came from.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::time::Duration;

use cachetier::testing::Group;
use cachetier::{
    Call, CallKind, CallOptions, InProcess, LoadError, OnUnreachable, Origin, Plan, Policy, Served, Stale, TieredCache, Tiers,
    Verbs,
};
use cachetier_tests::{Gate, Oops, Tier, eventually_async, over_each, over_shared, under_way};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600)).jitter(0);
const USUAL: CallOptions = CallOptions::new();

async fn load(call: Verbs<'_>, key: &str, value: u64) -> Served<u64> {
    call.get_or_load(key, POLICY, || async { Ok::<_, Oops>(value) }).await.expect("loaded")
}

/// A value, and where it was found.
async fn read(cache: &TieredCache, options: CallOptions, key: &str) -> Option<(u64, Origin)> {
    cache.with(options).get::<u64>(key).await.map(|served| (served.value, served.origin))
}

#[tokio::test]
async fn an_answer_says_where_it_came_from() {
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        let origin = async |cache: &TieredCache| load(cache.with(USUAL), "k", 1).await.origin;
        assert_eq!([origin(&a).await, origin(&a).await], [Origin::Loader, Origin::L1]);
        assert_eq!([origin(&b).await, origin(&b).await], [Origin::L2, Origin::L1]);
        let traced = b.get_or_load_traced("k", POLICY, || async { Ok::<_, Oops>(2_u64) }).await.expect("found");
        assert_eq!((traced.value, traced.origin, traced.stale), (1, Origin::L1, None));

        let none = || async { Ok::<Option<u64>, Oops>(None) };
        let policy = POLICY.negative_ttl(60 * SECOND);
        for (cache, expected) in [(&a, Origin::Loader), (&a, Origin::L1), (&b, Origin::L2)] {
            let served = cache.with(USUAL).get_or_load_optional("none", policy, none).await.expect("loaded");
            assert_eq!((served.value, served.origin), (None, expected));
        }
        let computed = a.with(USUAL).get_or_compute("c", POLICY, || async { 3_u64 }).await.expect("loaded");
        assert_eq!((computed.origin, computed.into_value()), (Origin::Loader, 3));
    })
    .await;
}

#[tokio::test]
async fn who_waited_is_told_of_the_load_and_not_of_a_copy() {
    over_each(async |tier| {
        let (cache, gate) = (tier.cache().await, Gate::new());
        let leader = cache.with(USUAL).get_or_load("k", POLICY, async || {
            gate.wait().await;
            Ok::<_, Oops>(1_u64)
        });
        let waiter = async {
            gate.arrived(1).await;
            load(cache.with(USUAL), "k", 2).await
        };
        let opening = async {
            eventually_async(LONG, "it waits", async || cache.stats().l1_misses == 2).await;
            gate.open();
        };
        let (led, joined, ()) = tokio::join!(leader, waiter, opening);
        let led = led.expect("loaded");
        assert_eq!([(led.value, led.origin), (joined.value, joined.origin)], [(1, Origin::Loader); 2]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_age_is_that_of_the_load_wherever_that_was() {
    let group = Group::new(2).await;
    let (a, b) = (group.instance(0), group.instance(1));
    assert_eq!(load(a.with(USUAL), "k", 1).await.age, Duration::ZERO);
    group.jump(10 * SECOND).await;
    let ages = [load(b.with(USUAL), "k", 1).await, load(b.with(USUAL), "k", 1).await, load(a.with(USUAL), "k", 1).await];
    for served in ages {
        // By the server's clock, of which an instance knows about what it was.
        assert!((9 * SECOND..=11 * SECOND).contains(&served.age), "{served:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_nobody_can_vouch_for_is_said_to_be_one() {
    let group = Group::builder().instances(1).configure(|builder| builder.on_unreachable(OnUnreachable::Serve)).build().await;
    let cache = group.instance(0);
    load(cache.with(USUAL), "k", 1).await;
    assert_eq!(load(cache.with(USUAL), "k", 1).await.stale, None);
    group.outage().await;
    group.jump(60 * SECOND).await;
    let served = load(cache.with(USUAL), "k", 2).await;
    assert_eq!((served.value, served.origin, served.stale), (1, Origin::L1, Some(Stale::Unproven)));
}

#[tokio::test]
async fn a_tier_that_is_not_read_does_not_answer() {
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        load(a.with(USUAL), "k", 1).await;
        let reads = |tiers| USUAL.reads(tiers);
        assert_eq!(read(&b, reads(Tiers::L1), "k").await, None);
        assert_eq!(read(&b, reads(Tiers::Neither), "k").await, None);
        assert_eq!(b.stats().l1_hits + b.stats().l2_hits, 0);
        assert_eq!(read(&b, reads(Tiers::L2), "k").await, Some((1, Origin::L2)));
        assert_eq!(read(&b, reads(Tiers::L1), "k").await, Some((1, Origin::L1)), "kept by the one before");
        assert_eq!(read(&b, reads(Tiers::L2), "k").await, Some((1, Origin::L2)));
        assert_eq!(read(&b, reads(Tiers::Neither), "k").await, None);

        // What is in the shared tier is not looked at, and not touched.
        let own = load(tier.cache().await.with(reads(Tiers::L1)), "k", 2).await;
        assert_eq!((own.value, own.origin), (2, Origin::Loader));
        assert_eq!(read(&a, reads(Tiers::L2), "k").await, Some((1, Origin::L2)));
        // Nor is a right to load planted.
        load(a.with(reads(Tiers::L1)), "other", 3).await;
        assert!(!tier.holds_ticket("other") && !tier.holds_value("other"));
        assert_eq!(read(&a, reads(Tiers::L1), "other").await, Some((3, Origin::L1)));
    })
    .await;
}

#[tokio::test]
async fn a_tier_that_is_not_written_keeps_nothing() {
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        let writes = |tiers| USUAL.writes(tiers);
        for (tiers, here, there) in
            [(Tiers::Both, true, true), (Tiers::L1, true, false), (Tiers::L2, false, true), (Tiers::Neither, false, false)]
        {
            assert_eq!(load(a.with(writes(tiers)), "k", 1).await.value, 1);
            assert!(!tier.holds_ticket("k"));
            assert_eq!(tier.holds_value("k"), there, "{tiers:?}");
            assert_eq!(read(&a, USUAL.reads(Tiers::L1), "k").await.is_some(), here, "{tiers:?}");
            // What is found in the shared tier is kept as little.
            load(a.with(USUAL), "k", 1).await;
            load(b.with(writes(tiers)), "k", 1).await;
            assert_eq!(read(&b, USUAL.reads(Tiers::L1), "k").await.is_some(), here, "{tiers:?}");
            a.invalidate("k").await.expect("told");
            b.wait_for(b.invalidate("k").await.expect("told").confirmed().expect("told"), LONG).await.expect("heard");
        }
        // Of no use, it stays where nothing may be put in its place.
        let token = a.set("typed", "text".to_owned(), POLICY).await.expect("put").confirmed().expect("told");
        b.wait_for(token, LONG).await.expect("heard");
        tier.put("broken", b"\xf6sixteen bytes ..\x01");
        for key in ["typed", "broken"] {
            assert_eq!(load(b.with(writes(Tiers::L1)), key, 5).await.origin, Origin::Loader);
            assert_eq!(read(&b, USUAL.reads(Tiers::L1), key).await, Some((5, Origin::L1)));
            assert!(tier.holds_value(key) && a.get::<u64>(key).await.is_none());
        }
    })
    .await;
}

#[tokio::test]
async fn who_takes_over_a_load_and_does_not_write_gives_the_ticket_back() {
    over_shared(async |tier| {
        let cache = tier.cache().await;
        let mut first = Box::pin(cache.get_or_load("k", POLICY, std::future::pending::<Result<u64, Oops>>));
        let mut second = Box::pin(load(cache.with(USUAL.writes(Tiers::L1)), "k", 2));
        under_way(LONG, "it loads", first.as_mut(), async || tier.holds_ticket("k") && cache.stats().loads == 1).await;
        under_way(LONG, "it waits", second.as_mut(), async || cache.stats().l1_misses == 2).await;
        drop(first);
        assert_eq!(second.await.value, 2);
        eventually_async(LONG, "the ticket is given back", async || !tier.holds_ticket("k")).await;
        assert!(!tier.holds_value("k"));
    })
    .await;
}

#[tokio::test]
async fn a_fresh_call_loads_and_puts_what_it_brings_in_the_place_of_what_is_there() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        load(a.with(USUAL), "k", 1).await;
        let fresh = load(a.with(USUAL.fresh()), "k", 2).await;
        assert_eq!((fresh.value, fresh.origin, a.stats().loads), (2, Origin::Loader, 2));
        assert_eq!((a.get("k").await, b.get("k").await), (Some(2_u64), Some(2_u64)));
        assert!(a.with(USUAL.fresh()).get::<u64>("k").await.is_none());
        // Of a key that nobody has.
        assert_eq!(load(a.with(USUAL.fresh()), "new", 3).await.value, 3);
        assert_eq!(b.get("new").await, Some(3_u64));
        // It fails, and what was there is at most gone, and nothing is left in the way.
        let failed = a.with(USUAL.fresh()).get_or_load("k", POLICY, || async { Err::<u64, _>(Oops("no")) }).await;
        assert!(matches!(failed, Err(LoadError::Loader(_))));
        assert_eq!(a.get("k").await, Some(2_u64), "here it is still");
        eventually_async(LONG, "the ticket is given back", async || !tier.holds_ticket("k")).await;
    })
    .await;
}

#[tokio::test]
async fn what_a_fresh_call_does_not_keep_here_is_not_served_here_again() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        let fresh = USUAL.fresh();
        let unstored = POLICY.cache_if(|_: &u64| false);
        for _ in 0..2 {
            load(a.with(USUAL), "k", 1).await;
            load(b.with(USUAL), "k", 1).await;
            let served = a.with(fresh).get_or_load("k", &unstored, || async { Ok::<_, Oops>(2_u64) }).await.expect("loaded");
            assert_eq!((served.value, a.get::<u64>("k").await, tier.holds_value("k")), (2, None, false));
            eventually_async(LONG, "the others hear of it", async || b.get::<u64>("k").await.is_none()).await;
        }
        // It is gone there.
        load(a.with(USUAL), "none", 1).await;
        let none = a.with(fresh).get_or_load_optional("none", POLICY, || async { Ok::<Option<u64>, Oops>(None) }).await;
        assert_eq!((none.expect("loaded").value, a.get::<u64>("none").await), (None, None));
        if tier.is_shared() {
            load(a.with(USUAL), "there", 1).await;
            load(a.with(fresh.writes(Tiers::L2)), "there", 2).await;
            assert_eq!(read(&a, USUAL.reads(Tiers::L1), "there").await, None);
            assert_eq!(read(&a, USUAL, "there").await, Some((2, Origin::L2)));
        }
        // Who writes nothing changes nothing.
        load(a.with(USUAL), "left", 1).await;
        assert_eq!(load(a.with(fresh.writes(Tiers::Neither)), "left", 2).await.value, 2);
        assert_eq!(a.get("left").await, Some(1_u64));
    })
    .await;
}

#[tokio::test]
async fn a_fresh_call_is_stored_also_beside_one_that_only_reads() {
    let inside = InProcess::new();
    let tier = Tier::in_process(&inside);
    let (a, b) = tier.pair().await;
    load(b.with(USUAL), "k", 1).await;
    let gate = Gate::new();
    let shut = gate.clone();
    inside.script_calls(move |call: &Call<'_>| {
        let gate = shut.clone();
        if call.kind == CallKind::Read { Plan::go().reply_after(async move { gate.wait().await }) } else { Plan::go() }
    });
    let reader = a.get::<u64>("k");
    let reload = async {
        gate.arrived(1).await;
        let value = load(a.with(USUAL.fresh()), "k", 2).await.value;
        gate.open();
        value
    };
    let (found, loaded) = tokio::join!(reader, reload);
    assert_eq!((found, loaded, a.stats().loads_alone), (Some(1), 2, 0));
    assert_eq!((a.get("k").await, tier.cache().await.get("k").await), (Some(2_u64), Some(2_u64)));
}

#[tokio::test(start_paused = true)]
async fn what_is_loaded_without_a_look_at_the_shared_tier_is_kept_briefly_and_in_the_place_of_nothing_better() {
    let group = Group::new(1).await;
    let cache = group.instance(0);
    for tiers in [Tiers::L1, Tiers::Neither] {
        load(cache.with(USUAL.reads(tiers)), "new", 1).await;
        let life = cache.inspect("new").await.expect("a key").here.expect("a copy").entry.life;
        assert!(life <= 2 * SECOND && life > SECOND, "{tiers:?} {life:?}");
        cache.invalidate("new").await.expect("told");
    }
    load(cache.with(USUAL), "k", 1).await;
    assert_eq!(load(cache.with(USUAL.reads(Tiers::Neither)), "k", 2).await.value, 2);
    let copy = cache.inspect("k").await.expect("a key").here.expect("a copy");
    assert!(copy.entry.life > 3_000 * SECOND && cache.get("k").await == Some(1_u64));
}

#[tokio::test(start_paused = true)]
async fn a_suspect_copy_is_not_asked_about_by_who_does_not_read_the_shared_tier() {
    let group = Group::new(1).await;
    let cache = group.instance(0);
    load(cache.with(USUAL), "k", 1).await;
    group.tier().break_subscriptions();
    group.jump(10 * SECOND).await;
    group.settle().await;
    assert!(!cache.inspect("k").await.expect("a key").here.expect("a copy").serves);
    group.tier().script_calls(|call: &Call<'_>| {
        assert_ne!(call.kind, CallKind::Stamp);
        Plan::go()
    });
    assert!(cache.with(USUAL.reads(Tiers::L1)).get::<u64>("k").await.is_none());
    assert_eq!(load(cache.with(USUAL.reads(Tiers::L1)), "k", 2).await.value, 2);
}

#[tokio::test]
async fn a_fresh_call_leaves_to_others_what_they_have_written() {
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        a.set("typed", "text".to_owned(), POLICY).await.expect("put");
        assert_eq!(load(b.with(USUAL.fresh()), "typed", 2).await.value, 2);
        assert_eq!(a.get("typed").await, Some("text".to_owned()));
        assert_eq!(tier.cache().await.get("typed").await, Some("text".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn a_fresh_call_does_not_take_what_a_load_under_way_brings() {
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        let gate = Gate::new();
        let early = a.with(USUAL).get_or_load("k", POLICY, async || {
            gate.wait().await;
            Ok::<_, Oops>(1_u64)
        });
        let later = async {
            gate.arrived(1).await;
            let values = [load(a.with(USUAL.fresh()), "k", 2).await.value, load(b.with(USUAL.fresh()), "k", 3).await.value];
            gate.open();
            values
        };
        let (early, later) = tokio::join!(early, later);
        assert_eq!((early.expect("loaded").value, later), (1, [2, 3]));
        // Who was first has the right to store.
        assert_eq!((a.get("k").await, b.get("k").await), (Some(1_u64), Some(1_u64)));
    })
    .await;
}

#[tokio::test]
async fn a_held_key_is_not_stored_by_a_fresh_call_either() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        load(a.with(USUAL), "k", 1).await;
        let guard = a.guard(["k"]).await.expect("held");
        for cache in [&a, &b] {
            assert_eq!(load(cache.with(USUAL.fresh()), "k", 2).await.value, 2);
            assert_eq!(cache.get::<u64>("k").await, None);
        }
        guard.release().await.expect("told");
        assert_eq!(b.get::<u64>("k").await, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_call_and_passes_the_load_on() {
    let cache = Tier::in_process(&InProcess::new()).cache().await;
    let never = std::future::pending::<Result<u64, Oops>>;
    let begun = tokio::time::Instant::now();
    let hurried = cache.with(USUAL.deadline(SECOND)).get_or_load("k", POLICY, never);
    let patient = async {
        eventually_async(LONG, "it loads", async || cache.stats().loads == 1).await;
        load(cache.with(USUAL), "k", 2).await.value
    };
    let (hurried, patient) = tokio::join!(hurried, patient);
    assert!(matches!(hurried, Err(LoadError::Deadline(limit)) if limit == SECOND), "{hurried:?}");
    assert_eq!((patient, cache.get("k").await), (2, Some(2_u64)));
    assert!(begun.elapsed() < 2 * SECOND, "{:?}", begun.elapsed());
    // Who waits is not waited for either.
    let led = cache.get_or_load("led", POLICY, never);
    let waits = async {
        eventually_async(LONG, "it loads", async || cache.stats().loads == 3).await;
        cache.with(USUAL.deadline(SECOND)).get_or_load("led", POLICY, never).await
    };
    tokio::select! {
        _ = led => panic!("it never ends"),
        waited = waits => assert!(matches!(waited, Err(LoadError::Deadline(_))), "{waited:?}"),
    }
    // A copy is in time in any case.
    assert_eq!(load(cache.with(USUAL.deadline(Duration::ZERO)), "k", 3).await.value, 2);
    assert_eq!(read(&cache, USUAL.reads(Tiers::L2).deadline(SECOND), "k").await, Some((2, Origin::L2)));
}

#[tokio::test]
async fn bad_keys_policies_and_values_are_treated_as_by_every_other_call() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        for options in [USUAL, USUAL.fresh(), USUAL.reads(Tiers::L2), USUAL.writes(Tiers::Neither), USUAL.deadline(LONG)] {
            let call = cache.with(options);
            for key in [String::new(), "k".repeat(10 << 10), "a\0b".to_owned()] {
                assert_eq!(load(call, &key, 1).await.value, 1, "{options:?}");
            }
            let wrong = call.get_or_load("policy", Policy::ttl(Duration::ZERO), || async { Ok::<_, Oops>(1_u64) }).await;
            assert_eq!(wrong.expect("loaded").value, 1);
            assert_eq!(cache.get::<u64>("policy").await, None);
            let panicked =
                call.get_or_compute("panic", POLICY, || async { if cache.stats().loads > 0 { panic!("no") } else { 1_u64 } });
            assert!(matches!(panicked.await, Err(LoadError::Panicked(_))));
        }
        cache.close(SECOND).await.expect("closed");
        assert_eq!(load(cache.with(USUAL.fresh()), "k", 1).await.value, 1);
        assert!(cache.with(USUAL).get::<u64>("k").await.is_none());
    })
    .await;
}
