//! Many keys in one call with options: each as a call of its own with the same options treats it.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cachetier::testing::Group;
use cachetier::{
    Call, CallKind, CallOptions, InProcess, InSharedTier, LearnedTtl, LoadError, Plan, Policy, Stats, TieredCache, Tiers,
};
use cachetier_tests::{Gate, Oops, RedisServer, Tier, eventually_async, over_each, over_shared, parts, under_way};
use serde::{Deserialize, Serialize};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600)).jitter(0);
const USUAL: CallOptions = CallOptions::new();
const TIERS: [Tiers; 4] = [Tiers::Both, Tiers::L1, Tiers::L2, Tiers::Neither];

/// A number of which one is of another release: it is written, and not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
struct Number(u64);

const OF_ANOTHER_RELEASE: Number = Number(9);

impl From<Number> for u64 {
    fn from(number: Number) -> Self {
        number.0
    }
}

impl TryFrom<u64> for Number {
    type Error = &'static str;

    fn try_from(number: u64) -> Result<Self, &'static str> {
        if number == OF_ANOTHER_RELEASE.0 { Err("of another release") } else { Ok(Self(number)) }
    }
}

type Loaded = Result<Option<Number>, Oops>;

/// What stands in a key before a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// Another instance has loaded it.
    Shared,
    /// So has this one read it.
    Both,
    Here,
    /// Its life is over, and it may stand in for what a load does not bring.
    Expired,
    /// The same, and this instance has no copy.
    ExpiredThere,
    OtherType,
    OtherShape,
    Broken,
    Held,
}

/// What a call came to: what it was told, whether copies are to be had here and there, what kind of thing the tier holds, and what was counted.
type After = (Result<Option<Number>, String>, [Option<Number>; 2], std::mem::Discriminant<InSharedTier>, Vec<u64>);

impl Before {
    const ALL: [Self; 10] = [
        Self::Nothing,
        Self::Shared,
        Self::Both,
        Self::Here,
        Self::Expired,
        Self::ExpiredThere,
        Self::OtherType,
        Self::OtherShape,
        Self::Broken,
        Self::Held,
    ];

    const fn policy(self) -> Policy {
        match self {
            Self::Expired | Self::ExpiredThere => {
                POLICY.stale_for(Duration::from_secs(3_600)).stale_if_error(Duration::from_secs(600))
            }
            _ => POLICY,
        }
    }

    async fn make(self, group: &Group, key: &str) {
        let (a, b, policy) = (&group.instance(0), &group.instance(1), self.policy());
        let set = async |cache: &TieredCache, options: CallOptions| {
            let loaded = cache.with(options).get_or_load(key, policy, || async { Ok::<_, Oops>(Number(1)) }).await;
            assert_eq!(loaded.expect("loaded").value, Number(1));
        };
        match self {
            Self::Nothing | Self::Held => {}
            Self::Shared | Self::ExpiredThere => set(b, USUAL).await,
            Self::Both | Self::Expired => {
                set(b, USUAL).await;
                set(a, USUAL).await;
            }
            Self::Here => set(a, USUAL.writes(Tiers::L1)).await,
            Self::OtherType => drop(b.set(key, "text".to_owned(), policy).await.expect("put")),
            Self::OtherShape => drop(b.set(key, OF_ANOTHER_RELEASE, policy).await.expect("put")),
            Self::Broken => group.tier().put(&format!("ct:test:v:{key}"), b"\xf6sixteen bytes ..\x01"),
        }
        if matches!(self, Self::Expired | Self::ExpiredThere) {
            let _ = b.expire(key).await.expect("told");
        }
        group.settle().await;
    }
}

fn counted(stats: &Stats) -> [u64; 7] {
    [stats.loads, stats.fills, stats.l1_hits, stats.l1_misses, stats.l2_hits, stats.l2_misses, stats.load_errors]
}

/// What `call` comes to.
async fn came_to(
    group: &Group,
    before: Before,
    key: &str,
    call: impl AsyncFn(&TieredCache) -> Result<Option<Number>, String>,
) -> After {
    let (a, b) = (&group.instance(0), &group.instance(1));
    before.make(group, key).await;
    let guard = if before == Before::Held { Some(b.guard([key]).await.expect("held")) } else { None };
    let counted_before = counted(&a.stats());
    let told = call(a).await;
    let counts = counted(&a.stats());
    group.settle().await;
    let holds = std::mem::discriminant(&a.inspect(key).await.expect("a key").shared);
    let here = a.with(USUAL.reads(Tiers::L1)).get::<Number>(key).await.map(|served| served.value);
    let there = b.with(USUAL.reads(Tiers::L2).writes(Tiers::Neither)).get::<Number>(key).await.map(|served| served.value);
    if let Some(guard) = guard {
        let _ = guard.release().await.expect("told");
    }
    (told, [here, there], holds, counts.iter().zip(counted_before).map(|(after, before)| after - before).collect())
}

/// All ways to call.
fn all_options() -> impl Iterator<Item = CallOptions> {
    let both = TIERS.into_iter().flat_map(|reads| TIERS.map(|writes| USUAL.reads(reads).writes(writes)));
    both.flat_map(|options| [options, options.fresh()])
}

#[tokio::test(start_paused = true)]
async fn each_key_of_a_batch_is_loaded_as_a_call_of_its_own_would_load_it() {
    let group = Group::new(2).await;
    let outcomes: [fn() -> Loaded; 3] = [|| Ok(Some(Number(7))), || Ok(None), || Err(Oops("no"))];
    let mut number = 0;
    for (before, options) in Before::ALL.into_iter().flat_map(|before| all_options().map(move |options| (before, options))) {
        for outcome in outcomes {
            number += 1;
            let (one, many) = (format!("one:{number}"), format!("many:{number}"));
            let single = came_to(&group, before, &one, async |cache| {
                let called = cache.with(options).get_or_load_optional(&one, before.policy(), async || outcome()).await;
                called.map(|served| served.value).map_err(|error| error.to_string())
            });
            let single = single.await;
            let batch = came_to(&group, before, &many, async |cache| {
                let load = async |keys: Vec<String>| {
                    assert_eq!(keys, std::slice::from_ref(&many));
                    outcome().map(|value| value.map(|value| (many.clone(), value)))
                };
                let called = cache.with(options).get_or_load_many([&many], before.policy(), load).await;
                called.map(|values| values[0]).map_err(|error| error.to_string())
            });
            assert_eq!(batch.await, single, "{before:?} {options:?} {:?}", outcome());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_key_of_a_batch_is_read_as_a_call_of_its_own_would_read_it() {
    let group = Group::new(2).await;
    for (number, (before, options)) in
        Before::ALL.into_iter().flat_map(|before| all_options().map(move |options| (before, options))).enumerate()
    {
        let (one, many) = (format!("one:{number}"), format!("many:{number}"));
        let single = came_to(&group, before, &one, async |cache| {
            Ok(cache.with(options).get::<Number>(&one).await.map(|served| served.value))
        });
        let single = single.await;
        let batch = came_to(&group, before, &many, async |cache| Ok(cache.with(options).get_many::<Number>([&many]).await[0]));
        assert_eq!(batch.await, single, "{before:?} {options:?}");
    }
}

/// How often the tier's server has run a command.
fn calls(tier: &Tier, command: &str) -> u64 {
    let stats = tier.server().expect("over one").command(&["INFO", "commandstats"]).text().expect("text");
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn what_reads_past_the_copies_and_keeps_nothing_is_one_command_and_leaves_nothing() {
    let tier = Tier::over(RedisServer::start());
    let (a, b) = tier.pair().await;
    let keys: Vec<String> = (0..100).map(|at| format!("user:{at}")).collect();
    let load = async |keys: Vec<String>| Ok::<_, Oops>(keys.into_iter().map(|key| (key, 1_u64)).collect::<Vec<_>>());
    b.get_or_load_many(&keys, POLICY, load).await.expect("loaded");
    let words = ["mget", "get", "set"];
    let before = words.map(|word| calls(&tier, word));
    let export = a.with(USUAL.reads(Tiers::L2).writes(Tiers::Neither));
    let none = async |_: Vec<String>| Err::<Vec<(String, u64)>, _>(Oops("nothing is to be loaded"));
    assert_eq!(export.get_or_load_many(&keys, POLICY, none).await.expect("found"), vec![Some(1); 100]);
    assert_eq!(export.get_many::<u64>(&keys).await, vec![Some(1); 100]);
    let after = words.map(|word| calls(&tier, word));
    assert_eq!([0, 1, 2].map(|at: usize| after[at] - before[at]), [2 * parts() as u64, 0, 0]);
    assert_eq!((a.stats().l1_entries, a.stats().l1_misses, a.stats().l2_hits), (0, 0, 200));
}

#[tokio::test]
async fn a_batch_ends_at_its_deadline_and_leaves_its_keys_to_who_comes_next() {
    over_each(async |tier| {
        let (cache, gate) = (tier.cache().await, Gate::new());
        cache.set("here", 1_u64, POLICY).await.expect("put");
        let hurried = cache.with(USUAL.deadline(SECOND / 20));
        let shut = gate.clone();
        let stuck = async |keys: Vec<String>| {
            shut.wait().await;
            Ok::<_, Oops>(keys.into_iter().map(|key| (key, 2_u64)).collect::<Vec<_>>())
        };
        let failed = hurried.get_or_load_many(["here", "new"], POLICY, stuck).await;
        assert!(matches!(failed, Err(LoadError::Deadline(limit)) if limit == SECOND / 20), "{failed:?}");
        gate.open();
        let again = cache.get_or_load_many(["here", "new"], POLICY, stuck).await.expect("loaded");
        assert_eq!((again, cache.stats().loads), (vec![Some(1), Some(2)], 2));
        eventually_async(LONG, "no ticket is left", async || !tier.holds_ticket("new")).await;
    })
    .await;
}

#[tokio::test]
async fn at_its_deadline_a_batch_that_only_reads_has_what_was_found_by_then() {
    let (inside, gate) = (InProcess::new(), Gate::new());
    let (a, b) = Tier::in_process(&inside).pair().await;
    a.set("here", 1_u64, POLICY).await.expect("put");
    b.set("there", 2_u64, POLICY).await.expect("put");
    let shut = gate.clone();
    inside.script_calls(move |call: &Call<'_>| {
        let gate = shut.clone();
        if call.kind == CallKind::Read { Plan::go().reply_after(async move { gate.wait().await }) } else { Plan::go() }
    });
    assert_eq!(a.with(USUAL.deadline(SECOND / 50)).get_many::<u64>(["there", "here"]).await, [None, Some(1)]);
    gate.open();
    assert_eq!(a.get_many::<u64>(["there", "here"]).await, [Some(2), Some(1)]);
}

#[tokio::test]
async fn a_fresh_batch_does_not_take_what_a_load_under_way_brings() {
    over_each(async |tier| {
        let (cache, gate) = (tier.cache().await, Gate::new());
        let early = cache.get_or_load("a", POLICY, async || {
            gate.wait().await;
            Ok::<_, Oops>(1_u64)
        });
        let later = async {
            gate.arrived(1).await;
            let load = async |keys: Vec<String>| Ok::<_, Oops>(keys.into_iter().map(|key| (key, 2_u64)).collect::<Vec<_>>());
            let loaded = cache.with(USUAL.fresh()).get_or_load_many(["a", "b"], POLICY, load).await.expect("loaded");
            gate.open();
            loaded
        };
        let (early, later) = tokio::join!(early, later);
        assert_eq!((early.expect("loaded"), later), (1, vec![Some(2), Some(2)]));
        assert_eq!(cache.get_many::<u64>(["a", "b"]).await, [Some(1), Some(2)], "who was first has the right to store");
    })
    .await;
}

#[tokio::test]
async fn who_takes_over_loads_and_does_not_write_gives_the_tickets_back() {
    over_shared(async |tier| {
        let cache = tier.cache().await;
        let stuck = async |_: Vec<String>| std::future::pending::<Result<Vec<(String, u64)>, Oops>>().await;
        let load = async |keys: Vec<String>| Ok::<_, Oops>(keys.into_iter().map(|key| (key, 2_u64)).collect::<Vec<_>>());
        let mut first = Box::pin(cache.get_or_load_many(["a", "b"], POLICY, stuck));
        let mut second = Box::pin(cache.with(USUAL.writes(Tiers::L1)).get_or_load_many(["a", "b"], POLICY, load));
        under_way(LONG, "it loads", first.as_mut(), async || tier.holds_ticket("b") && cache.stats().loads == 1).await;
        under_way(LONG, "it waits", second.as_mut(), async || cache.stats().l1_misses == 4).await;
        drop(first);
        assert_eq!(second.await.expect("loaded"), [Some(2), Some(2)]);
        eventually_async(LONG, "they are given back", async || !tier.holds_ticket("a") && !tier.holds_ticket("b")).await;
        assert!(!tier.holds_value("a") && !tier.holds_value("b"));
    })
    .await;
}

async fn twos(keys: Vec<String>) -> Result<Vec<(String, u64)>, Oops> {
    Ok(keys.into_iter().map(|key| (key, 2)).collect())
}

/// The same of a source that has no others.
async fn sevens(keys: Vec<String>) -> Result<Vec<(String, u64)>, Oops> {
    twos(keys.into_iter().filter(|key| key.ends_with('7')).collect()).await
}

/// What cannot be stored is told to the others at once, and what can is not lost meanwhile.
#[tokio::test(start_paused = true)]
async fn what_a_fresh_batch_finds_gone_is_told_in_one_go_beside_what_it_stores() {
    for answers in [true, false] {
        let group = Group::builder().instances(2).configure(|builder| builder.lease(SECOND)).build().await;
        let (a, b) = (group.instance(0), group.instance(1));
        let keys: Vec<String> = (0..400).map(|at| format!("k:{at}")).collect();
        assert!(b.set_many(keys.iter().map(|key| (key, 1_u64)), POLICY).await.iter().all(Result::is_ok));
        assert_eq!(a.get_many::<u64>(&keys).await, vec![Some(1); 400]);
        let bumps = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&bumps);
        group.tier().script_calls(move |call: &Call<'_>| {
            if call.kind != CallKind::Bump {
                return Plan::go();
            }
            counted.fetch_add(1, Ordering::Relaxed);
            if answers { Plan::delay(SECOND / 100) } else { Plan::hang() }
        });
        let begun = tokio::time::Instant::now();
        let loaded = a.with(USUAL.fresh()).get_or_load_many(&keys, POLICY, sevens).await.expect("loaded");
        assert_eq!(loaded.iter().flatten().count(), 40);
        let stats = a.stats();
        assert_eq!((stats.fills, stats.fills_refused), (40, 0));
        // What nobody confirms is told again soon.
        let told = bumps.load(Ordering::Relaxed);
        assert!(told == 1 || (!answers && told == 2), "{told}");
        assert!(begun.elapsed() <= SECOND / 2, "{:?}", begun.elapsed());
        assert_eq!(a.get_many::<u64>(["k:7", "k:8"]).await, [Some(2), None]);
        group.tier().script_calls(|_: &Call<'_>| Plan::go());
        group.pass(10 * SECOND).await;
        group.settle().await;
        assert_eq!(b.get_many::<u64>(["k:17", "k:18"]).await.last(), Some(&None), "the others have heard of it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fresh_batch_that_is_dropped_while_it_tells_keeps_what_it_has_stored_and_leaves_its_keys_free() {
    let group = Group::new(2).await;
    let (a, b) = (group.instance(0), group.instance(1));
    let keys = ["k:7", "k:8"];
    group.tier().script_calls(|call: &Call<'_>| if call.kind == CallKind::Bump { Plan::hang() } else { Plan::go() });
    let hurried = a.with(USUAL.fresh().deadline(SECOND / 10));
    let dropped = hurried.get_or_load_many(keys, POLICY, sevens).await;
    assert!(matches!(dropped, Err(LoadError::Deadline(_))), "{dropped:?}");
    assert_eq!((a.stats().fills, a.stats().flights), (1, 0));
    group.tier().script_calls(|_: &Call<'_>| Plan::go());
    assert_eq!(b.get_many::<u64>(keys).await, [Some(2), None]);
    assert_eq!(b.get_or_load_many(["k:8"], POLICY, twos).await.expect("it is free"), [Some(2)]);
    assert_eq!(b.stats().ticket_waits, 0);
}

/// The first thousand are stored when the call ends, and no message says so to this instance.
#[tokio::test(start_paused = true)]
async fn a_fresh_batch_that_is_dropped_between_two_steps_leaves_no_copy_of_what_it_has_replaced() {
    let group = Group::new(2).await;
    let (a, b) = (group.instance(0), group.instance(1));
    let keys: Vec<String> = (0..1_001).map(|at| format!("k:{at}")).collect();
    assert!(b.set_many(keys.iter().map(|key| (key, 1_u64)), POLICY).await.iter().all(Result::is_ok));
    assert_eq!(a.get_many::<u64>(&keys).await, vec![Some(1); 1_001]);
    let fills = AtomicUsize::new(0);
    group.tier().script_calls(move |call: &Call<'_>| {
        let is_silent = call.kind == CallKind::Refill && fills.fetch_add(1, Ordering::Relaxed) >= 1_000;
        if is_silent { Plan::hang() } else { Plan::go() }
    });
    let hurried = a.with(USUAL.fresh().writes(Tiers::L2).deadline(SECOND / 10));
    let dropped = hurried.get_or_load_many(&keys, POLICY, twos).await;
    assert!(matches!(dropped, Err(LoadError::Deadline(_))), "{dropped:?}");
    assert_eq!(a.stats().fills, 1_000);
    group.tier().script_calls(|_: &Call<'_>| Plan::go());
    assert_eq!(a.get_many::<u64>(keys.get(..1_000).expect("they are more")).await, vec![Some(2); 1_000]);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_batch_that_is_dropped_while_it_stores_has_what_it_has_found_gone_told() {
    let group = Group::new(2).await;
    let (a, b) = (group.instance(0), group.instance(1));
    let keys = ["k:7", "k:8"];
    b.get_or_load_many(keys, POLICY, twos).await.expect("loaded");
    assert_eq!(a.get_many::<u64>(keys).await, [Some(2); 2]);
    group.tier().script_calls(|call: &Call<'_>| if call.kind == CallKind::Refill { Plan::hang() } else { Plan::go() });
    let dropped = a.with(USUAL.fresh().deadline(SECOND / 10)).get_or_load_many(keys, POLICY, sevens).await;
    assert!(matches!(dropped, Err(LoadError::Deadline(_))), "{dropped:?}");
    assert_eq!(a.get::<u64>("k:8").await, None, "here at once");
    group.tier().script_calls(|_: &Call<'_>| Plan::go());
    group.pass(10 * SECOND).await;
    group.settle().await;
    assert_eq!(b.get::<u64>("k:8").await, None, "and there as soon as it can be told");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_what_a_fresh_batch_has_stored_does_not_wait_for_what_it_tells() {
    let group = Group::new(1).await;
    let (a, gate) = (group.instance(0), Gate::new());
    group.tier().script_calls(|call: &Call<'_>| if call.kind == CallKind::Bump { Plan::delay(SECOND / 5) } else { Plan::go() });
    let shut = gate.clone();
    let load = async |keys: Vec<String>| {
        shut.wait().await;
        sevens(keys).await
    };
    let mut batch = Box::pin(a.with(USUAL.fresh().writes(Tiers::L2)).get_or_load_many(["k:7", "k:8"], POLICY, load));
    under_way(LONG, "it loads", batch.as_mut(), async || a.stats().loads == 1).await;
    let mut waits = Box::pin(a.get_or_load("k:7", POLICY, async || Ok::<_, Oops>(3_u64)));
    under_way(LONG, "it waits", waits.as_mut(), async || a.stats().l1_misses == 1).await;
    gate.open();
    let begun = tokio::time::Instant::now();
    let waited = async { (waits.await.expect("loaded"), begun.elapsed()) };
    let ((value, waited), loaded) = tokio::join!(waited, batch);
    assert_eq!((value, loaded.expect("loaded")), (2, vec![Some(2), None]));
    assert!(waited < SECOND / 10 && begun.elapsed() >= SECOND / 5, "{waited:?}");
}

/// Another instance takes the place of the value between the look and the lease, or has the right to load from the begin on.
#[tokio::test(start_paused = true)]
async fn a_fresh_batch_waits_for_no_other_instance() {
    for moves in [true, false] {
        let group = Group::new(2).await;
        let (a, b) = (group.instance(0), group.instance(1));
        b.set("k", 1_u64, POLICY).await.expect("put");
        let seize = async move |b: TieredCache| {
            b.invalidate("k").await.expect("told");
            // It is never opened.
            let gate = Gate::new();
            let shut = gate.clone();
            tokio::spawn(async move {
                let stuck = async || {
                    shut.wait().await;
                    Ok::<_, Oops>(5_u64)
                };
                b.get_or_load("k", POLICY, stuck).await
            });
            gate.arrived(1).await;
        };
        if moves {
            let once = AtomicUsize::new(0);
            group.tier().script_calls(move |call: &Call<'_>| {
                let first = call.kind == CallKind::Lease && call.instance == 0 && once.fetch_add(1, Ordering::Relaxed) == 0;
                if first { Plan::go().after(seize(b.clone())) } else { Plan::go() }
            });
        } else {
            seize(b).await;
        }
        let begun = tokio::time::Instant::now();
        let loaded = a.with(USUAL.fresh()).get_or_load_many(["k"], POLICY, twos).await.expect("loaded");
        assert_eq!((loaded, a.stats().ticket_waits), (vec![Some(2)], 0));
        assert!(begun.elapsed() < SECOND / 10, "moves: {moves}, it took {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_fresh_batch_brings_is_announced_and_learned_from_as_that_of_a_single_call() {
    let group = Group::new(2).await;
    let (a, b) = (group.instance(0), group.instance(1));
    let announced = POLICY.stale_while_revalidate(600 * SECOND).announce_changes();
    let keys = ["k:1", "k:2"];
    for cache in [&b, &a] {
        let ones = async |keys: Vec<String>| Ok::<_, Oops>(keys.into_iter().map(|key| (key, 1_u64)).collect::<Vec<_>>());
        cache.get_or_load_many(keys, announced, ones).await.expect("loaded");
    }
    a.with(USUAL.fresh()).get_or_load_many(keys, announced, twos).await.expect("loaded");
    group.settle().await;
    assert_eq!((a.stats().refreshes_announced, b.get_many::<u64>(keys).await), (2, vec![Some(2), Some(2)]));

    let learned = LearnedTtl::between(10 * SECOND, 6_000 * SECOND).changed_percent(50);
    let policy = Policy::ttl(60 * SECOND).jitter(0).stale_for(600 * SECOND).learned_ttl(learned);
    b.get_or_load_many(["l:1"], policy, twos).await.expect("loaded");
    a.with(USUAL.fresh()).get_or_load_many(["l:1"], policy, twos).await.expect("loaded");
    let copy = a.inspect("l:1").await.expect("a key").here.expect("a copy");
    assert_eq!(copy.entry.life, 120 * SECOND, "it has not changed");
}

/// A tier, two instances over it, and what opens the reads of the first.
async fn reads_shut() -> (Tier, [TieredCache; 2], Gate) {
    let (inside, gate) = (InProcess::new(), Gate::new());
    let tier = Tier::in_process(&inside);
    let (a, b) = tier.pair().await;
    let shut = gate.clone();
    inside.script_calls(move |call: &Call<'_>| {
        let gate = shut.clone();
        let is_shut = call.kind == CallKind::Read && call.instance == 0;
        if is_shut { Plan::go().reply_after(async move { gate.wait().await }) } else { Plan::go() }
    });
    (tier, [a, b], gate)
}

#[tokio::test]
async fn a_fresh_batch_is_stored_also_beside_a_call_that_only_reads() {
    let (tier, [a, b], gate) = reads_shut().await;
    b.get_or_load("k", POLICY, async || Ok::<_, Oops>(1_u64)).await.expect("loaded");
    let reader = a.get::<u64>("k");
    let reload = async {
        gate.arrived(1).await;
        // Its own look comes behind the reader's.
        let reload = a.with(USUAL.fresh()).get_or_load_many(["k"], POLICY, twos);
        let opened = async {
            gate.arrived(2).await;
            gate.open();
        };
        tokio::join!(reload, opened).0.expect("loaded")
    };
    let both = async { tokio::join!(reader, reload) };
    let (found, loaded) = tokio::time::timeout(LONG, both).await.expect("it looks for itself");
    assert_eq!((found, loaded, a.stats().loads_alone), (Some(1), vec![Some(2)], 0));
    assert_eq!((a.get("k").await, tier.cache().await.get("k").await), (Some(2_u64), Some(2_u64)));
}

#[tokio::test]
async fn who_takes_over_a_read_and_does_not_keep_what_it_brings_keeps_nothing() {
    let (_tier, [a, b], gate) = reads_shut().await;
    b.set("k", 1_u64, POLICY).await.expect("put");
    let mut first = Box::pin(a.get::<u64>("k"));
    under_way(LONG, "it reads", first.as_mut(), async || a.stats().flights == 1).await;
    gate.arrived(1).await;
    let mut second = Box::pin(a.with(USUAL.writes(Tiers::Neither)).get_many::<u64>(["k"]));
    under_way(LONG, "it waits", second.as_mut(), async || a.stats().l1_misses == 2).await;
    drop(first);
    gate.open();
    assert_eq!((second.await, a.stats().l1_entries), (vec![Some(1)], 0));
}

/// Who reads, who loads and who reads again, one behind the other, each by a call of its own or by a batch.
#[tokio::test]
async fn who_waits_for_a_read_that_is_left_and_becomes_a_load_looks_for_himself() {
    for (many_load, many_read) in [(false, false), (true, false), (false, true), (true, true)] {
        let (_tier, [a, b], gate) = reads_shut().await;
        b.set("k", 1_u64, POLICY).await.expect("put");
        let mut first = Box::pin(a.get::<u64>("k"));
        under_way(LONG, "it reads", first.as_mut(), async || a.stats().flights == 1).await;
        gate.arrived(1).await;
        let mut second = Box::pin(async {
            if many_load {
                return a.get_or_load_many(["k"], POLICY, twos).await.expect("found")[0];
            }
            Some(a.get_or_load("k", POLICY, async || Ok::<_, Oops>(2_u64)).await.expect("found"))
        });
        under_way(LONG, "it waits", second.as_mut(), async || a.stats().l1_misses == 2).await;
        let mut third = Box::pin(async { if many_read { a.get_many::<u64>(["k"]).await[0] } else { a.get::<u64>("k").await } });
        under_way(LONG, "it waits, too", third.as_mut(), async || a.stats().l1_misses == 3).await;
        drop(first);
        gate.open();
        let both = tokio::time::timeout(LONG, async { tokio::join!(second, third) }).await.expect("neither waits for ever");
        assert_eq!(both, (Some(1), Some(1)), "{many_load} {many_read}");
    }
}

#[tokio::test]
async fn who_puts_a_load_in_the_place_of_a_read_that_was_left_and_is_dropped_leaves_the_key_free() {
    let (_tier, [a, b], gate) = reads_shut().await;
    b.set("k", 1_u64, POLICY).await.expect("put");
    let mut first = Box::pin(a.get::<u64>("k"));
    under_way(LONG, "it reads", first.as_mut(), async || a.stats().flights == 1).await;
    gate.arrived(1).await;
    let mut second = Box::pin(a.get_or_load_many(["k"], POLICY, twos));
    under_way(LONG, "it waits", second.as_mut(), async || a.stats().l1_misses == 2).await;
    let mut third = Box::pin(a.get::<u64>("k"));
    under_way(LONG, "it waits, too", third.as_mut(), async || a.stats().l1_misses == 3).await;
    drop(first);
    tokio::select! {
        found = second.as_mut() => panic!("its read is shut, and it has ended: {found:?}"),
        () = gate.arrived(1) => {}
    }
    drop(second);
    gate.open();
    let found = tokio::time::timeout(LONG, third).await.expect("it does not wait for ever");
    assert_eq!((found, a.stats().flights), (Some(1), 0));
}
