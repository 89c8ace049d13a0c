//! What a cached function recognises, which cache it uses, and what an invalidating one does afterwards. Written the way the attributes
//! expand.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::error::Error;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::task::{Context, Waker};
use std::time::Duration;

use cachetier::attribute::{self, AsCache, DoneProbe, ErrorProbe, Handle, Probe, Targets, given};
use cachetier::{CacheError, Delivery, InProcess, Policy, TieredCache, Value, scope};
use cachetier_tests::{Gate, Log, Oops, Tier, eventually_async, over_each};
use serde::{Deserialize, Serialize};

const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
const NEGATIVE: Policy = POLICY.negative_ttl(Duration::from_secs(60));

/// What the attribute makes of a function's body.
macro_rules! cached {
    ($handle:expr, $key:expr, $policy:expr, $returns:ty, $body:expr) => {{
        use cachetier::attribute::probes::*;
        let (handle, key): (_, String) = ($handle, $key.into());
        let shape = (&&(&&&&Probe::<$returns>::new()).shape()).checked();
        if let Some(answer) = shape.hit(&handle, &key) {
            return answer;
        }
        let rules = attribute::rules($policy, vec!["tag".to_owned()]);
        let sharing = (&&&ErrorProbe::of(&shape)).sharing();
        let handle = handle.into_owned();
        shape.load(handle, key, rules, sharing, async move { $body }).await
    }};
}

type DbResult<T> = Result<T, Oops>;
type Perhaps<T> = Option<T>;
type BoxError = Box<dyn Error + Send + Sync>;

/// What is loaded, and how often.
struct Table<T> {
    row: T,
    reads: AtomicUsize,
}

impl<T: Clone> Table<T> {
    fn of(row: T) -> Self {
        Self { row, reads: AtomicUsize::new(0) }
    }

    fn read(&self) -> T {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.row.clone()
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }
}

async fn plain(cache: &TieredCache, table: &Table<u64>) -> u64 {
    cached!(given(cache), "plain", POLICY, u64, table.read())
}

async fn result(cache: &TieredCache, table: &Table<Option<u64>>) -> DbResult<u64> {
    cached!(given(cache), "result", POLICY, DbResult<u64>, table.read().ok_or(Oops("no row")))
}

async fn option(cache: &TieredCache, key: &str, policy: Policy, table: &Table<Option<u64>>) -> Perhaps<u64> {
    cached!(given(cache), key, policy, Perhaps<u64>, table.read())
}

async fn result_option(cache: &TieredCache, policy: Policy, table: &Table<Option<u64>>) -> DbResult<Perhaps<u64>> {
    cached!(given(cache), "result option", policy, DbResult<Perhaps<u64>>, Ok(table.read()))
}

async fn generic<T: Value>(cache: &TieredCache, key: &str, table: &Table<Option<T>>) -> DbResult<T> {
    cached!(given(cache), key, POLICY, DbResult<T>, table.read().ok_or(Oops("no row")))
}

/// Calls twice, and returns how often the table was read.
async fn reads_of_two<T: Clone, R: PartialEq + std::fmt::Debug>(
    table: &Table<T>,
    expected: R,
    call: impl AsyncFn(&Table<T>) -> R,
) -> usize {
    for _ in 0..2 {
        assert_eq!(call(table).await, expected);
    }
    table.reads()
}

#[tokio::test]
async fn what_is_returned_is_recognised_through_aliases_and_in_generic_functions() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        // Kept: values, and that there is none where the policy says so. Not kept: errors.
        assert_eq!(reads_of_two(&Table::of(1), 1, async |table| plain(&cache, table).await).await, 1);
        assert_eq!(reads_of_two(&Table::of(None), Err(Oops("no row")), async |table| result(&cache, table).await).await, 2);
        assert_eq!(reads_of_two(&Table::of(Some(2)), Ok(2), async |table| result(&cache, table).await).await, 1);

        assert_eq!(reads_of_two(&Table::of(None), None, async |table| option(&cache, "none", POLICY, table).await).await, 2);
        assert_eq!(reads_of_two(&Table::of(None), None, async |table| option(&cache, "none", NEGATIVE, table).await).await, 1);
        assert_eq!(reads_of_two(&Table::of(Some(3)), Some(3), async |table| option(&cache, "some", POLICY, table).await).await, 1);

        assert_eq!(reads_of_two(&Table::of(None), Ok(None), async |table| result_option(&cache, POLICY, table).await).await, 2);
        assert_eq!(reads_of_two(&Table::of(None), Ok(None), async |table| result_option(&cache, NEGATIVE, table).await).await, 1);

        let text: Table<Option<Cow<'static, str>>> = Table::of(Some("text".into()));
        assert_eq!(reads_of_two(&text, Ok("text".into()), async |table| generic(&cache, "text", table).await).await, 1);
        let nothing: Table<Option<u8>> = Table::of(None);
        assert_eq!(reads_of_two(&nothing, Err(Oops("no row")), async |table| generic(&cache, "nothing", table).await).await, 2);

        // They are values like those of the verbs, under the tags they were given.
        assert_eq!(cache.get::<u64>("plain").await, Some(1));
        assert_eq!(cache.get::<u64>("result").await, Some(2));
        cache.invalidate_tag("tag").await.expect("invalidated");
        assert_eq!(cache.get::<u64>("plain").await, None);
    })
    .await;
}

#[tokio::test]
async fn that_there_is_nothing_is_told_by_the_shared_tier_as_well() {
    let (one, two) = Tier::in_process(&InProcess::new()).pair().await;
    let table = Table::of(None);
    for cache in [&one, &two] {
        assert_eq!(result_option(cache, NEGATIVE, &table).await, Ok(None));
    }
    assert_eq!(table.reads(), 1);
}

/// A value whose type names a lifetime, and an error that does: futures over both can still be sent.
async fn text_or_any(cache: TieredCache) -> Result<Cow<'static, str>, BoxError> {
    cached!(given(&cache), "text", POLICY, Result<Cow<'static, str>, BoxError>, {
        tokio::task::yield_now().await;
        Ok("text".into())
    })
}

#[tokio::test]
async fn a_future_over_types_that_name_lifetimes_can_be_spawned() {
    let cache = Tier::alone().cache().await;
    assert_eq!(tokio::spawn(text_or_any(cache.clone())).await.expect("no panic").expect("loaded"), "text");
    let by_verb = tokio::spawn(async move {
        let load = async || Err::<Cow<'static, str>, BoxError>(Oops("gone").into());
        cache.get_or_load("other", POLICY, load).await.is_err()
    });
    assert!(by_verb.await.expect("no panic"));
}

async fn with_bytes<const N: usize>(cache: &TieredCache, bytes: [u8; N]) -> u64 {
    cached!(given(cache), "k", POLICY, u64, {
        tokio::task::yield_now().await;
        bytes.iter().map(|byte| u64::from(*byte)).sum()
    })
}

#[tokio::test]
async fn the_future_of_a_cached_function_is_small_beside_its_arguments() {
    async fn check<const N: usize>(cache: &TieredCache) {
        let call = with_bytes(cache, [1; N]);
        let size = size_of_val(&call);
        // Once as an argument, once on its way into the body's box.
        assert!(size <= 512 + 2 * N, "{size} bytes for {N} of an argument");
        assert_eq!(call.await, 1_000);
    }
    let cache = Tier::alone().cache().await;
    check::<1_000>(&cache).await;
    check::<5_000>(&cache).await;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
}

async fn user(handle: Handle<'_>, table: &Table<Arc<User>>) -> Arc<User> {
    cached!(handle, "user:7", POLICY, Arc<User>, table.read())
}

/// The cache that a static names, once it is there.
static NAMED: OnceLock<TieredCache> = OnceLock::new();
static NONE: LazyLock<Option<TieredCache>> = LazyLock::new(|| None);

#[tokio::test]
async fn a_cache_is_named_directly_or_through_what_points_to_one() {
    fn check(cache: &impl AsCache, expected: bool) {
        assert_eq!(cache.as_cache().is_some(), expected);
    }
    let cache = Tier::alone().cache().await;
    check(&cache, true);
    check(&&cache, true);
    check(&Arc::new(cache.clone()), true);
    check(&Rc::new(cache.clone()), true);
    check(&Box::new(cache.clone()), true);
    check(&Some(&cache), true);
    check(&None::<TieredCache>, false);
    check(&*NONE, false);
    check(&NONE, false);
    assert!(NAMED.set(cache.clone()).is_ok());
    check(&NAMED, true);
    check(&tokio::sync::OnceCell::new_with(Some(cache.clone())), true);

    let table = Table::of(Arc::new(User { name: "Ada".to_owned() }));
    for _ in 0..2 {
        user(given(&NAMED), &table).await;
        user(given(&Some(&cache)), &table).await;
    }
    assert_eq!(table.reads(), 1);
    user(given(&NONE), &table).await;
    assert_eq!(table.reads(), 2, "without a cache it just runs");
}

static NOT_YET: OnceLock<TieredCache> = OnceLock::new();

// The one test here that calls without a cache: what is said once in a process is said here.
#[tokio::test]
async fn without_a_cache_a_function_just_runs_and_one_warning_says_so() {
    let log = Log::default();
    let _listening = log.listen();
    let warnings = || log.with("no cache is installed").len();
    let table = Table::of(Arc::new(User { name: "Ada".to_owned() }));
    for _ in 0..3 {
        assert_eq!(user(attribute::installed(), &table).await.name, "Ada");
        assert_eq!(user(given(&NOT_YET), &table).await.name, "Ada");
    }
    assert_eq!((table.reads(), warnings()), (6, 1));
    assert!(cachetier::installed().is_none());

    assert_eq!(attribute::invalidate(&attribute::installed(), "user:7").await, Err(CacheError::NoCache));
    attribute::invalidate_after(attribute::installed(), Targets { keys: vec!["user:7".to_owned()], ..Targets::default() }).await;
    assert_eq!(warnings(), 1);
}

#[tokio::test]
async fn a_scope_has_its_own_cache_and_two_of_them_do_not_meet() {
    let (one, two) = (Tier::alone().cache().await, Tier::alone().cache().await);
    let table = Table::of(Arc::new(User { name: "Ada".to_owned() }));
    let twice = async || {
        user(attribute::installed(), &table).await;
        user(attribute::installed(), &table).await;
    };
    tokio::join!(scope(one.clone(), twice()), scope(two.clone(), twice()));
    assert_eq!(table.reads(), 2, "one load in each");
    // The innermost counts, and a cache that is named counts before any scope.
    scope(one.clone(), scope(two.clone(), twice())).await;
    scope(one.clone(), async { user(given(&two), &table).await }).await;
    assert_eq!((one.stats().l1_hits, two.stats().l1_hits), (1, 4));
}

#[tokio::test]
async fn a_scope_ends_at_a_spawn_and_is_taken_along_by_another() {
    let cache = Tier::alone().cache().await;
    scope(cache.clone(), async {
        let here = cachetier::installed().expect("within the scope");
        assert!(tokio::spawn(async { cachetier::installed().is_none() }).await.expect("no panic"));
        let within = async { user(attribute::installed(), &Table::of(Arc::new(User { name: "Ada".to_owned() }))).await };
        tokio::spawn(scope(here, within)).await.expect("no panic");
    })
    .await;
    assert_eq!(cache.stats().loads, 1);
}

#[tokio::test]
async fn a_companion_invalidates_in_every_instance() {
    over_each(async |tier| {
        let (one, two) = tier.pair().await;
        let table = Table::of(1);
        plain(&one, &table).await;
        plain(&two, &table).await;
        let delivery = attribute::invalidate(&given(&one), "plain").await;
        assert!(matches!(delivery, Ok(Delivery::Applied(_))));
        eventually_async(LONG, "the other one hears of it", async || two.get::<u64>("plain").await.is_none()).await;
        assert!(attribute::invalidate(&given(&one), "").await.is_err());
    })
    .await;
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

#[tokio::test]
async fn an_invalidating_function_invalidates_all_it_can_in_one_step() {
    over_each(async |tier| {
        let (one, two) = tier.pair().await;
        for (key, tag) in [("a", "x"), ("b", "y"), ("c:1", "z"), ("d", "z")] {
            two.set(key, 1_u64, POLICY.tags([tag])).await.expect("set");
        }
        let targets = Targets { keys: texts(["a", ""]), tags: texts(["y", ""]), prefixes: texts(["c:", "no end"]) };
        let before = one.stats();
        attribute::invalidate_after(given(&one), targets).await;
        for key in ["a", "b", "c:1"] {
            eventually_async(LONG, "the other one hears of it", async || two.get::<u64>(key).await.is_none()).await;
        }
        assert_eq!(two.get("d").await, Some(1_u64));
        let after = one.stats();
        assert_eq!(
            (after.invalidations_refused - before.invalidations_refused, after.invalidations - before.invalidations),
            (3, 3)
        );

        one.close(LONG).await.expect("closed");
        attribute::invalidate_after(given(&one), Targets { tags: texts(["z"]), ..Targets::default() }).await;
        assert_eq!(one.stats().invalidations_refused, 4);
    })
    .await;
}

// Once a closed cache counted one for all that were usable, and one more where none was.
#[tokio::test]
async fn on_a_closed_cache_each_target_is_refused_once() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        cache.close(LONG).await.expect("closed");
        let usable = || Targets { keys: texts(["a", "b"]), tags: texts(["x"]), prefixes: texts(["c:"]) };
        let unusable = || Targets { keys: texts(["", ""]), tags: texts([""]), prefixes: texts(["no end"]) };
        let mixed = Targets { keys: texts(["a", ""]), tags: texts(["x", ""]), prefixes: texts(["c:", "no end"]) };
        for (targets, count) in [(usable(), 4), (unusable(), 4), (mixed, 6), (Targets::default(), 0)] {
            let (before, shown) = (cache.stats().invalidations_refused, format!("{targets:?}"));
            attribute::invalidate_after(given(&cache), targets).await;
            assert_eq!(cache.stats().invalidations_refused - before, count, "{shown}");
        }
    })
    .await;
}

// Once the call counted as a hit as well.
#[tokio::test]
async fn a_call_that_finds_what_has_landed_since_it_missed_counts_as_one_that_waited() {
    over_each(async |tier| {
        use cachetier::attribute::probes::*;
        let (cache, table) = (tier.cache().await, Table::of(1));
        let shape = (&&Probe::<u64>::new().shape()).checked();
        assert_eq!(shape.hit(&given(&cache), "plain"), None);
        plain(&cache, &table).await;
        let before = cache.stats();
        let sharing = (&&&ErrorProbe::of(&shape)).sharing();
        let rules = attribute::rules(POLICY, Vec::new());
        let answer = shape.load(given(&cache).into_owned(), "plain".to_owned(), rules, sharing, async { 2 }).await;
        let after = cache.stats();
        assert_eq!((answer, after.loads - before.loads, after.flights), (1, 0, 0));
        let moved = [after.l1_misses - before.l1_misses, after.l1_hits - before.l1_hits, after.coalesced - before.coalesced];
        assert_eq!(moved, [1, 0, 1]);
    })
    .await;
}

#[tokio::test]
async fn an_invalidation_that_is_dropped_after_its_first_poll_is_carried_out() {
    // Held: the server ends with it.
    let tier = Tier::redis();
    let (one, two) = tier.pair().await;
    two.set("a", 1_u64, POLICY).await.expect("set");
    {
        let after = attribute::invalidate_after(given(&one), Targets { keys: texts(["a"]), ..Targets::default() });
        assert!(pin!(after).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    eventually_async(LONG, "the other one hears of it", async || two.get::<u64>("a").await.is_none()).await;
    assert!(!tier.holds_value("a"));
    assert_eq!(two.stats().lane_lost, 0, "{}", two.stats());
}

#[test]
fn done_is_ok_or_some_or_anything_else() {
    use cachetier::attribute::probes::*;
    macro_rules! done {
        ($of:ty, $returned:expr) => {{
            let returned: $of = $returned;
            (&&&DoneProbe::of(&returned)).done(returned).map(|done| done.returned())
        }};
    }
    assert_eq!(done!(DbResult<Option<u8>>, Ok(None)), Ok(Ok(None)));
    assert_eq!(done!(DbResult<()>, Err(Oops("gone"))), Err(Err(Oops("gone"))));
    assert_eq!(done!(Perhaps<u8>, Some(1)), Ok(Some(1)));
    assert_eq!(done!(Perhaps<u8>, None), Err(None));
    assert_eq!(done!(bool, false), Ok(false));
    assert_eq!(done!((), ()), Ok(()));
}

#[tokio::test]
async fn a_cached_function_that_is_dropped_while_it_loads_hands_on_its_turn() {
    over_each(async |tier| {
        let (cache, gate) = (tier.cache().await, Gate::new());
        let call = || {
            let (cache, gate) = (cache.clone(), gate.clone());
            tokio::spawn(async move {
                cached!(given(&cache), "k", POLICY, u64, {
                    gate.wait().await;
                    1
                })
            })
        };
        let leader = call();
        gate.arrived(1).await;
        let other = call();
        eventually_async(LONG, "both have missed", async || cache.stats().l1_misses == 2).await;
        leader.abort();
        assert!(leader.await.expect_err("it was aborted").is_cancelled());
        gate.open();
        assert_eq!(other.await.expect("no panic"), 1);
        assert_eq!(cache.get("k").await, Some(1_u64));
    })
    .await;
}
