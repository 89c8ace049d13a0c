//! A load fails, and what is stale answers in its place: only what has come to its end, never what was invalidated, and not for ever.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, clippy::panic, reason = "a helper of a test fails the test, and a load panics")]

use std::time::Duration;

use cachetier::testing::{Group, assert_loads};
use cachetier::{
    Call, CallKind, CallOptions, Clock, LoadError, OnUnreachable, Origin, Plan, Policy, Stale, TieredCache, Tiers, cached,
};
use cachetier_tests::{Gate, Log, Oops, World, eventually_async};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_secs(5);
/// A minute, an hour behind that, and every five seconds another try.
const POLICY: Policy = Policy::ttl(MINUTE).stale_for(Duration::from_secs(3_600)).stale_if_error(RETRY).jitter(0);

/// How a load ends that brings nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Error,
    Panic,
    Limit,
}

async fn fail(how: Ends) -> Result<u64, Oops> {
    match how {
        Ends::Error => Err(Oops("the database is away")),
        Ends::Panic => panic!("a bug"),
        Ends::Limit => std::future::pending().await,
    }
}

/// What a read comes to whose load fails.
async fn failing(cache: &TieredCache, key: &str, how: Ends) -> Result<u64, LoadError<Oops>> {
    cache.get_or_load(key, POLICY.tags(["t"]), || fail(how)).await
}

async fn load(cache: &TieredCache, key: &str, number: u64) -> u64 {
    cache.get_or_load(key, POLICY.tags(["t"]), || async move { Ok::<_, Oops>(number) }).await.expect("loaded")
}

async fn group(instances: usize) -> Group {
    Group::builder().instances(instances).configure(|builder| builder.load_limit(SECOND)).build().await
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_answers_until_a_load_succeeds_and_loads_are_tried_now_and_then() {
    for reader in [0, 1] {
        for how in [Ends::Error, Ends::Panic, Ends::Limit] {
            let log = Log::default();
            let _listening = log.listen();
            let group = group(2).await;
            let (a, b) = (group.instance(0), group.instance(reader));
            load(&a, "k", 1).await;
            group.jump(MINUTE).await;
            for round in 1..=3_u64 {
                // One load in each retry, however many ask.
                for _ in 0..3 {
                    assert_eq!(failing(&b, "k", how).await.ok(), Some(1), "{how:?}");
                    assert_eq!(b.get("k").await, Some(1_u64));
                }
                let failed = b.stats().load_errors + b.stats().load_panics + b.stats().load_timeouts;
                assert_eq!((failed, b.stats().served_stale), (round, round), "{how:?}");
                group.jump(RETRY).await;
                assert_eq!(b.get::<u64>("k").await, None, "a `get` does not load");
            }
            assert_eq!(log.with("what is stale is served").len(), 1);
            assert_eq!(load(&b, "k", 2).await, 2);
            assert_eq!((a.get("k").await, b.get("k").await), (Some(2_u64), Some(2_u64)), "{how:?}");
            group.jump(MINUTE + Duration::from_secs(3_600)).await;
            assert!(failing(&b, "k", how).await.is_err(), "it is kept no longer");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_answers_for_as_long_as_it_is_kept_and_no_longer() {
    let group = group(1).await;
    let a = group.instance(0);
    load(&a, "k", 1).await;
    group.jump(MINUTE + Duration::from_secs(3_598)).await;
    assert_eq!(failing(&a, "k", Ends::Error).await.ok(), Some(1));
    group.jump(2 * SECOND).await;
    assert!(failing(&a, "k", Ends::Error).await.is_err(), "before the retry is over");
}

#[tokio::test(start_paused = true)]
async fn what_was_invalidated_answers_nobody() {
    for by_tag in [false, true] {
        let group = group(2).await;
        let (a, b) = (group.instance(0), group.instance(1));
        let invalidate = async || {
            let told = if by_tag { b.invalidate_tag("t").await } else { b.invalidate("k").await };
            a.wait_for(told.expect("told").confirmed().expect("applied"), LONG).await.expect("heard");
        };
        // Before the load.
        load(&a, "k", 1).await;
        group.jump(MINUTE).await;
        invalidate().await;
        assert!(failing(&a, "k", Ends::Error).await.is_err(), "{by_tag}");
        // While it runs.
        load(&a, "k", 2).await;
        group.jump(MINUTE).await;
        let gate = Gate::new();
        let leader = a.get_or_load("k", POLICY.tags(["t"]), async || {
            gate.wait().await;
            Err::<u64, _>(Oops("no"))
        });
        let meanwhile = async {
            gate.arrived(1).await;
            invalidate().await;
            gate.open();
        };
        assert!(tokio::join!(leader, meanwhile).0.is_err(), "{by_tag}");
        // While it answers in the place of another.
        load(&a, "k", 3).await;
        group.jump(MINUTE).await;
        assert_eq!(failing(&a, "k", Ends::Error).await.ok(), Some(3));
        invalidate().await;
        assert!(a.get::<u64>("k").await.is_none() && failing(&a, "k", Ends::Error).await.is_err(), "{by_tag}");
        assert_eq!(a.stats().served_stale, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_made_stale_by_hand_answers_too() {
    let group = group(2).await;
    let (a, b) = (group.instance(0), group.instance(1));
    for (key, reader) in [("here", &a), ("there", &b)] {
        load(&a, key, 1).await;
        load(&b, key, 1).await;
        let token = a.expire(key).await.expect("told").confirmed().expect("applied");
        b.wait_for(token, LONG).await.expect("heard");
        for _ in 0..2 {
            assert_eq!(failing(reader, key, Ends::Error).await.ok(), Some(1), "{key}");
            group.jump(RETRY).await;
        }
        assert_eq!(load(reader, key, 2).await, 2);
        assert_eq!((a.get(key).await, b.get(key).await), (Some(2_u64), Some(2_u64)));
    }
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_get_it_and_the_next_instance_need_not_wait() {
    let group = group(2).await;
    let (a, b) = (group.instance(0), group.instance(1));
    load(&a, "k", 1).await;
    group.jump(MINUTE).await;
    let gate = Gate::new();
    let read = || {
        a.get_or_load("k", POLICY, async || {
            gate.wait().await;
            Err::<u64, _>(Oops("no"))
        })
    };
    let opens = async {
        gate.arrived(1).await;
        eventually_async(LONG, "two wait", async || {
            a.inspect("k").await.is_ok_and(|k| k.under_way.is_some_and(|way| way.waiting == 2))
        })
        .await;
        gate.open();
    };
    let (first, second, third, ()) = assert_loads!(group, 1, { tokio::join!(read(), read(), read(), opens) });
    assert_eq!([first.ok(), second.ok(), third.ok()], [Some(1); 3]);
    group.settle().await;
    assert_eq!((load(&b, "k", 2).await, b.stats().ticket_waits), (2, 0), "the lease was given back");
}

#[tokio::test(start_paused = true)]
async fn an_answer_says_that_it_stands_in_and_a_fresh_call_is_told_the_error() {
    let group = group(1).await;
    let a = group.instance(0);
    load(&a, "k", 1).await;
    group.jump(MINUTE).await;
    let failing = || async { Err::<u64, _>(Oops("no")) };
    let fresh = a.with(CallOptions::new().fresh());
    assert!(fresh.get_or_load("k", POLICY, failing).await.is_err());
    for _ in 0..2 {
        let served = a.get_or_load_traced("k", POLICY, failing).await.expect("answered");
        assert_eq!((served.value, served.stale, served.origin), (1, Some(Stale::LoadFailed), Origin::L1));
        assert_eq!(served.age, MINUTE);
    }
    let optional = a.get_or_load_optional("k", POLICY, || async { Err::<Option<u64>, _>(Oops("no")) }).await;
    assert_eq!(optional.ok(), Some(Some(1)));
    // Without the policy it is as ever.
    group.jump(RETRY).await;
    assert!(a.get_or_load("k", Policy::ttl(MINUTE), failing).await.is_err());
}

/// While nobody can be asked it answers as any copy would.
#[tokio::test(start_paused = true)]
async fn without_a_proof_the_policy_decides() {
    for (what, expected) in [(OnUnreachable::Serve, Some(1)), (OnUnreachable::Bypass, None)] {
        let group = group(2).await;
        let a = group.instance(0);
        let policy = POLICY.on_unreachable(what);
        a.get_or_load("k", policy, || async { Ok::<_, Oops>(1_u64) }).await.expect("loaded");
        group.jump(MINUTE).await;
        group.partition(0).await;
        group.jump(10 * SECOND).await;
        let answer = a.get_or_load("k", policy, || async { Err::<u64, _>(Oops("no")) }).await;
        assert_eq!(answer.ok(), expected, "{what:?}");
    }
}

/// A batch whose load fails is answered where every key of it is, and fails otherwise.
#[tokio::test(start_paused = true)]
async fn a_batch_is_answered_where_every_key_of_it_is() {
    for reader in [0, 1] {
        let group = group(2).await;
        let (a, b) = (group.instance(0), group.instance(reader));
        for (key, number) in [("x", 1), ("y", 2)] {
            load(&a, key, number).await;
        }
        group.jump(MINUTE).await;
        let failing = async |keys: &[&str]| {
            let load = async |_: Vec<String>| Err::<Vec<(String, u64)>, _>(Oops("no"));
            b.get_or_load_many(keys.iter().copied(), POLICY, load).await.ok()
        };
        assert_eq!(failing(&["x", "absent"]).await, None);
        // It has answered for x, for a while.
        assert_eq!((b.get("x").await, b.stats().served_stale, b.stats().load_errors), (Some(1_u64), 1, 1));
        group.jump(RETRY).await;
        for _ in 0..2 {
            assert_eq!(failing(&["y", "x"]).await, Some(vec![Some(2), Some(1)]));
        }
        assert_eq!((b.stats().served_stale, b.stats().load_errors), (3, 2));
        group.jump(RETRY).await;
        group.settle().await;
        a.invalidate("x").await.expect("told").confirmed().expect("applied");
        group.settle().await;
        assert_eq!(failing(&["y", "x"]).await, None, "one of them was invalidated");
        // Nobody can be asked.
        group.jump(RETRY).await;
        group.partition(reader).await;
        group.jump(10 * SECOND).await;
        assert_eq!(failing(&["y"]).await, Some(vec![Some(2)]));
    }
}

#[cached(key = "user:{id}", policy = POLICY, cache = cache)]
async fn user(cache: &TieredCache, id: u64, how: Option<Ends>) -> Result<u64, Oops> {
    match how {
        None => Ok(id),
        Some(how) => fail(how).await,
    }
}

#[cached(key = "post:{id}", ttl = "1m", stale_for = "1h", stale_if_error = "5s", cache = cache)]
async fn post(cache: &TieredCache, id: u64, how: Option<Ends>) -> Option<u64> {
    match how {
        None => Some(id),
        Some(how) => fail(how).await.ok(),
    }
}

/// A function without errors fails by panics alone; that it finds nothing is no failure.
#[tokio::test(start_paused = true)]
async fn the_options_of_the_attribute_say_the_same() {
    let group = group(1).await;
    let a = group.instance(0);
    assert_eq!(post(&a, 7, None).await, Some(7));
    group.jump(MINUTE).await;
    assert_eq!(post(&a, 7, Some(Ends::Panic)).await, Some(7));
    group.jump(RETRY).await;
    assert_eq!((post(&a, 7, Some(Ends::Error)).await, a.stats().served_stale), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn a_function_with_the_attribute_is_answered_for_as_well() {
    for how in [Ends::Error, Ends::Panic] {
        let group = group(1).await;
        let a = group.instance(0);
        assert_eq!(user(&a, 7, None).await.ok(), Some(7));
        group.jump(MINUTE).await;
        assert_eq!(user(&a, 7, Some(how)).await.ok(), Some(7), "{how:?}");
        assert_eq!(a.stats().served_stale, 1);
        group.jump(RETRY).await;
        a.invalidate("user:7").await.expect("told");
        assert!(how == Ends::Panic || user(&a, 7, Some(how)).await.is_err());
    }
}

/// Judged when it is served, and not when the load began.
#[tokio::test(start_paused = true)]
async fn a_proof_that_runs_out_while_the_load_runs_is_none() {
    for (what, expected) in [(OnUnreachable::Serve, Some(1)), (OnUnreachable::Bypass, None)] {
        let mut world = World::new();
        world.tier().prove_for(2 * SECOND);
        let a = world.add(|builder| builder.load_limit(MINUTE).command_limit(MINUTE)).await;
        let policy = POLICY.on_unreachable(what);
        a.get_or_load("k", policy, || async { Ok::<_, Oops>(1_u64) }).await.expect("loaded");
        a.expire("k").await.expect("told").confirmed().expect("applied");
        let gate = Gate::new();
        let leader = a.get_or_load("k", policy, async || {
            gate.wait().await;
            Err::<u64, _>(Oops("no"))
        });
        let meanwhile = async {
            gate.arrived(1).await;
            // Checks are under way, and have no answer yet: nothing is lost so far.
            let hangs = |call: &Call<'_>| matches!(call.kind, CallKind::Check | CallKind::Stand);
            world.tier().script_calls(move |call: &Call<'_>| if hangs(call) { Plan::hang() } else { Plan::go() });
            world.clock().advance(5 * SECOND);
            gate.open();
        };
        // Nobody has looked for another one, so it may be that something was missed.
        let (answer, ()) = tokio::join!(leader, meanwhile);
        assert_eq!((answer.ok(), a.stats().lane_lost), (None, 0), "{what:?}");
        // The next call does, in vain.
        let next = a.get_or_load("k", policy, || async { Err::<u64, _>(Oops("no")) }).await;
        assert_eq!(next.ok(), expected, "{what:?}");
    }
}

/// It is of an epoch that is over, and what the shared tier holds all the same.
#[tokio::test(start_paused = true)]
async fn what_the_shared_tier_still_holds_answers_after_an_outage() {
    let group = group(2).await;
    let a = group.instance(0);
    let policy = POLICY.strict();
    a.get_or_load("k", policy, || async { Ok::<_, Oops>(1_u64) }).await.expect("loaded");
    group.jump(MINUTE).await;
    group.partition(0).await;
    group.jump(10 * SECOND).await;
    group.heal(0).await;
    group.settle().await;
    assert_eq!(a.get_or_load("k", policy, || async { Err::<u64, _>(Oops("no")) }).await.ok(), Some(1));
}

/// The lease is given back, so others try as well; each has its own answer.
#[tokio::test(start_paused = true)]
async fn who_waits_for_another_instances_load_after_an_outage_is_answered_too() {
    let group = group(2).await;
    let (a, b) = (group.instance(0), group.instance(1));
    let policy = POLICY.strict();
    a.get_or_load("k", policy, || async { Ok::<_, Oops>(1_u64) }).await.expect("loaded");
    assert_eq!(b.get("k").await, Some(1_u64));
    group.jump(MINUTE).await;
    group.partition(0).await;
    group.jump(10 * SECOND).await;
    group.heal(0).await;
    group.settle().await;
    let gate = Gate::new();
    let first = b.get_or_load("k", policy, async || {
        gate.wait().await;
        Err::<u64, _>(Oops("no"))
    });
    let second = async {
        gate.arrived(1).await;
        let read = a.get_or_load("k", policy, || async { Err::<u64, _>(Oops("no")) });
        let opens = async {
            group.pass(Duration::from_millis(100)).await;
            gate.open();
            group.pass(SECOND).await;
        };
        tokio::join!(read, opens).0
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.ok(), second.ok(), a.stats().ticket_waits), (Some(1), Some(1), 1));
}

/// In the first moments of an outage the proof still holds, and calls fail.
#[tokio::test(start_paused = true)]
async fn it_answers_from_the_first_moment_of_an_outage_on() {
    let group = group(1).await;
    let a = group.instance(0);
    for key in ["one", "many"] {
        load(&a, key, 1).await;
        a.expire(key).await.expect("told").confirmed().expect("applied");
    }
    group.settle().await;
    group.tier().script_calls(|call: &Call<'_>| if call.key.is_some() { Plan::error("BUSY") } else { Plan::go() });
    assert_eq!(failing(&a, "one", Ends::Error).await.ok(), Some(1));
    let many = a.get_or_load_many(["many"], POLICY, async |_: Vec<String>| Err::<Vec<(String, u64)>, _>(Oops("no"))).await;
    assert_eq!(many.ok(), Some(vec![Some(1)]));
}

/// Invalidated elsewhere, and not heard of yet: the shared tier knows.
#[tokio::test(start_paused = true)]
async fn what_the_shared_tier_no_longer_holds_does_not_answer() {
    for many in [false, true] {
        let group = group(2).await;
        let (a, b) = (group.instance(0), group.instance(1));
        load(&a, "k", 1).await;
        group.jump(MINUTE).await;
        let gate = Gate::new();
        let late = gate.clone();
        group.tier().script_calls(move |call: &Call<'_>| {
            let late = late.clone();
            let late = async move { late.wait().await };
            if call.kind == CallKind::Deliver && call.instance == 0 { Plan::go().after(late) } else { Plan::go() }
        });
        b.invalidate("k").await.expect("told").confirmed().expect("applied");
        let answered = if many {
            let load = async |_: Vec<String>| Err::<Vec<(String, u64)>, _>(Oops("no"));
            a.get_or_load_many(["k"], POLICY, load).await.is_ok()
        } else {
            failing(&a, "k", Ends::Error).await.is_ok()
        };
        assert!(!answered, "{many}");
        gate.open();
    }
}

/// By a call that has not looked at it.
#[tokio::test(start_paused = true)]
async fn it_does_not_take_the_place_of_a_newer_copy() {
    let group = group(2).await;
    let (a, b) = (group.instance(0), group.instance(1));
    load(&b, "k", 1).await;
    group.jump(MINUTE).await;
    // It is kept here, and not there.
    let here = a.with(CallOptions::new().writes(Tiers::L1));
    assert_eq!(here.get_or_load("k", POLICY, || async { Ok::<_, Oops>(2_u64) }).await.expect("loaded").value, 2);
    let there = a.with(CallOptions::new().reads(Tiers::L2));
    let served = there.get_or_load("k", POLICY, || async { Err::<u64, _>(Oops("no")) }).await.expect("answered");
    assert_eq!((served.value, served.stale, served.origin), (1, Some(Stale::LoadFailed), Origin::L2));
    assert_eq!(a.get("k").await, Some(2_u64));
}

#[tokio::test(start_paused = true)]
async fn a_shorter_life_here_bounds_it() {
    let group = group(2).await;
    let (a, b) = (group.instance(0), group.instance(1));
    let policy = POLICY.l1_ttl(2 * SECOND);
    a.get_or_load("k", policy, || async { Ok::<_, Oops>(1_u64) }).await.expect("loaded");
    group.jump(MINUTE).await;
    let failing = || async { Err::<u64, _>(Oops("no")) };
    assert_eq!(a.get_or_load("k", policy, failing).await.ok(), Some(1));
    assert_eq!(b.get_or_load("k", policy, || async { Ok::<_, Oops>(2_u64) }).await.ok(), Some(2));
    group.jump(2 * SECOND).await;
    assert_eq!(a.get_or_load("k", policy, failing).await.ok(), Some(2), "what another instance has loaded");
}

#[tokio::test]
async fn one_tier_alone_does_the_same() {
    let (clock, hand) = Clock::manual();
    let cache = TieredCache::builder("alone").clock(clock).build().await.expect("built");
    load(&cache, "k", 1).await;
    cache.expire("k").await.expect("made stale");
    for _ in 0..3 {
        assert_eq!(failing(&cache, "k", Ends::Error).await.ok(), Some(1));
        hand.advance(RETRY);
    }
    assert_eq!(load(&cache, "k", 2).await, 2);
}
