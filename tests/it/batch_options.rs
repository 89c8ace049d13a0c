//! Many keys in one call with options: each as a call of its own with the same options treats it.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::time::Duration;

use cachetier::testing::Group;
use cachetier::{Call, CallKind, CallOptions, InProcess, InSharedTier, LoadError, Plan, Policy, Stats, TieredCache, Tiers};
use cachetier_tests::{Gate, Oops, RedisServer, Tier, eventually_async, over_each, over_shared, parts, under_way};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600)).jitter(0);
const USUAL: CallOptions = CallOptions::new();
const TIERS: [Tiers; 4] = [Tiers::Both, Tiers::L1, Tiers::L2, Tiers::Neither];

type Loaded = Result<Option<u64>, Oops>;

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
    Broken,
    Held,
}

/// What a call came to: what it was told, whether copies are to be had here and there, what kind of thing the tier holds, and what was counted.
type After = (Result<Option<u64>, String>, [Option<u64>; 2], std::mem::Discriminant<InSharedTier>, Vec<u64>);

impl Before {
    const ALL: [Self; 9] = [
        Self::Nothing,
        Self::Shared,
        Self::Both,
        Self::Here,
        Self::Expired,
        Self::ExpiredThere,
        Self::OtherType,
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
            let loaded = cache.with(options).get_or_load(key, policy, || async { Ok::<u64, Oops>(1) }).await;
            assert_eq!(loaded.expect("loaded").value, 1);
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
    call: impl AsyncFn(&TieredCache) -> Result<Option<u64>, String>,
) -> After {
    let (a, b) = (&group.instance(0), &group.instance(1));
    before.make(group, key).await;
    let guard = if before == Before::Held { Some(b.guard([key]).await.expect("held")) } else { None };
    let counted_before = counted(&a.stats());
    let told = call(a).await;
    let counts = counted(&a.stats());
    group.settle().await;
    let holds = std::mem::discriminant(&a.inspect(key).await.expect("a key").shared);
    let here = a.with(USUAL.reads(Tiers::L1)).get::<u64>(key).await.map(|served| served.value);
    let there = b.with(USUAL.reads(Tiers::L2).writes(Tiers::Neither)).get::<u64>(key).await.map(|served| served.value);
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
    let outcomes: [fn() -> Loaded; 3] = [|| Ok(Some(7)), || Ok(None), || Err(Oops("no"))];
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
        let single =
            came_to(&group, before, &one, async |cache| Ok(cache.with(options).get::<u64>(&one).await.map(|served| served.value)));
        let single = single.await;
        let batch = came_to(&group, before, &many, async |cache| Ok(cache.with(options).get_many::<u64>([&many]).await[0]));
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
