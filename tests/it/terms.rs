//! What rules, or a loader, say of one value: its life, its tags, that it is not stored. Over every kind of cache, and by every verb that stores.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::time::Duration;

use cachetier::testing::{Group, assert_loads};
use cachetier::{CacheError, Delivery, LoadContext, LoadError, Loaded, Policy, Rules, Terms, TieredCache};
use cachetier_tests::{Gate, Log, Oops, eventually_async, over_each};
use serde::{Deserialize, Serialize};

const SECOND: Duration = Duration::from_secs(1);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600)).jitter(0);

/// What decides by itself how it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Token {
    text: String,
    seconds: u64,
    scopes: Vec<String>,
}

fn token(text: &str, seconds: u64, scopes: &[&str]) -> Token {
    Token { text: text.to_owned(), seconds, scopes: scopes.iter().map(|&scope| scope.to_owned()).collect() }
}

fn rules() -> impl Rules<Token> {
    let living = POLICY.tags(["tokens"]).ttl_with(|token: &Token| Duration::from_secs(token.seconds));
    living.tags_with(|token: &Token| token.scopes.clone()).cache_if(|token: &Token| !token.text.is_empty())
}

async fn load(cache: &TieredCache, key: &str, token: Token) -> Token {
    cache.get_or_load(key, rules(), || async { Ok::<_, Oops>(token) }).await.expect("loaded")
}

async fn has(cache: &TieredCache, key: &str) -> bool {
    cache.get::<Token>(key).await.is_some()
}

#[tokio::test(start_paused = true)]
async fn a_value_lives_for_as_long_as_it_says_in_both_tiers() {
    let group = Group::new(2).await;
    let (a, b) = (group.instance(0), group.instance(1));
    load(&a, "short", token("a", 5, &[])).await;
    load(&a, "long", token("b", 50, &[])).await;
    load(&a, "over", token("c", 0, &[])).await;
    // A life beyond the longest is that one.
    load(&a, "ever", token("d", u64::MAX, &[])).await;
    assert!(!has(&a, "over").await && !has(&b, "over").await);
    assert!(!group.tier().holds_ticket("ct:test:v:over"), "the right to load it is given back");
    group.jump(4 * SECOND).await;
    assert!(has(&a, "short").await && has(&b, "short").await);
    group.jump(SECOND).await;
    for cache in [&a, &b] {
        assert!(!has(cache, "short").await && has(cache, "long").await && has(cache, "ever").await);
    }
    // What is kept here is kept no longer than the policy says.
    let bounded = POLICY.l1_ttl(10 * SECOND).ttl_with(|token: &Token| Duration::from_secs(token.seconds));
    a.set("bounded", token("e", 60, &[]), &bounded).await.expect("put");
    a.set("shorter", token("f", 3, &[]), &bounded).await.expect("put");
    let hits = a.stats().l2_hits;
    group.jump(3 * SECOND).await;
    assert!(!has(&a, "shorter").await && has(&a, "bounded").await);
    assert_eq!(a.stats().l2_hits, hits);
    group.jump(7 * SECOND).await;
    assert!(has(&a, "bounded").await);
    assert_eq!(a.stats().l2_hits, hits + 1);
}

#[tokio::test]
async fn a_value_carries_the_tags_that_it_names_beside_the_others() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        for tag in ["tokens", "read", "write"] {
            load(&a, "k", token("a", 60, &["read", "write", "read"])).await;
            assert!(has(&b, "k").await);
            b.invalidate_tag("admin").await.expect("told");
            assert!(has(&b, "k").await);
            b.invalidate_tag(tag).await.expect("told");
            assert!(!has(&b, "k").await, "{tag}");
            a.invalidate("k").await.expect("told");
        }
        // More of them than an entry can carry.
        let many: Vec<String> = (0..33).map(|number| format!("scope:{number}")).collect();
        let log = Log::default();
        let _listening = log.listen();
        for _ in 0..2 {
            load(&a, "many", Token { scopes: many.clone(), ..token("a", 60, &[]) }).await;
        }
        assert_eq!((a.stats().not_stored, log.with("is returned and not stored").len()), (2, 1));
        assert!(!has(&a, "many").await);
        let put = a.set("many", Token { scopes: many.clone(), ..token("a", 60, &[]) }, rules()).await;
        assert_eq!(put, Err(CacheError::TooManyTags { tags: 34, limit: 32 }));
    })
    .await;
}

#[tokio::test]
async fn a_value_that_is_not_to_be_stored_is_returned_and_kept_nowhere() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        for _ in 0..2 {
            assert_eq!(load(&a, "k", token("", 60, &[])).await, token("", 60, &[]));
        }
        assert_eq!((a.stats().loads, a.stats().fills, a.stats().not_stored), (2, 0, 0), "it is no fault");
        assert!(!has(&a, "k").await && !has(&b, "k").await && !tier.holds_value("k"));

        // Put, it says that what is there is outdated.
        load(&a, "k", token("old", 60, &[])).await;
        assert!(has(&b, "k").await);
        let put = b.set("k", token("", 60, &[]), rules()).await;
        assert!(matches!(put, Ok(Delivery::Applied(_))), "{put:?}");
        assert!(!has(&b, "k").await && !tier.holds_value("k"));
        let bad = b.set("", token("", 60, &[]), rules()).await;
        assert!(matches!(bad, Err(CacheError::Key(_))), "{bad:?}");

        let puts = a.set_many([("m:1", token("x", 60, &[])), ("m:2", token("", 60, &[]))], rules()).await;
        assert!(puts.iter().all(Result::is_ok), "{puts:?}");
        assert!(has(&a, "m:1").await && !has(&a, "m:2").await);

        let found = [("l:1", token("x", 60, &["read"])), ("l:2", token("", 60, &[])), ("l:3", token("z", 0, &[]))];
        let bring_them = |_| async { Ok::<_, Oops>(found.clone()) };
        let loaded = a.get_or_load_many(["l:1", "l:2", "l:3"], rules(), bring_them).await.expect("loaded");
        assert_eq!(loaded, found.clone().map(|(_, token)| Some(token)));
        assert!(has(&a, "l:1").await && !has(&a, "l:2").await && !has(&a, "l:3").await);
        a.invalidate_tag("read").await.expect("told");
        assert!(!has(&a, "l:1").await);
    })
    .await;
}

#[tokio::test]
async fn a_guards_value_that_is_not_to_be_stored_leaves_the_key_held() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        load(&a, "k", token("old", 60, &[])).await;
        let mut guard = a.guard(["k"]).await.expect("held");
        guard.set("k", token("", 60, &[]), rules()).await.expect("nothing to store");
        load(&b, "k", token("meanwhile", 60, &[])).await;
        assert!(!has(&b, "k").await, "it is held");
        guard.set("k", token("new", 60, &[]), rules()).await.expect("put");
        assert_eq!(b.get("k").await, Some(token("new", 60, &[])));
    })
    .await;
}

/// What a loader of the tests below is told, and brings.
type Brought = Result<Loaded<Token>, Oops>;

async fn bring(cache: &TieredCache, key: &str, loaded: Loaded<Token>) -> Option<Token> {
    let load = |context: LoadContext<'_, Token>| {
        assert_eq!(context.key(), key);
        async { Brought::Ok(loaded) }
    };
    cache.get_or_load_with(key, POLICY.tags(["all"]), load).await.expect("loaded")
}

#[tokio::test(start_paused = true)]
async fn a_loader_says_how_long_what_it_brings_lives() {
    let group = Group::new(2).await;
    let (a, b) = (group.instance(0), group.instance(1));
    let value = token("a", 0, &[]);
    bring(&a, "short", Loaded::new(value.clone()).ttl(5 * SECOND)).await;
    bring(&a, "long", value.clone().into()).await;
    assert_eq!(bring(&a, "none", Loaded::nothing().ttl(5 * SECOND)).await, None);
    assert_eq!(bring(&a, "unknown", None.into()).await, None);
    assert_eq!(bring(&a, "not", Loaded::new(value.clone()).ttl(Duration::ZERO)).await, Some(value.clone()));
    group.jump(4 * SECOND).await;
    assert_loads!(group, 0, {
        for cache in [&a, &b] {
            assert!(bring(cache, "short", Loaded::nothing()).await.is_some());
            assert_eq!(bring(cache, "none", value.clone().into()).await, None);
        }
    });
    group.jump(SECOND).await;
    assert_loads!(group, 2, {
        assert!(bring(&b, "short", Loaded::nothing()).await.is_none());
        assert_eq!(bring(&b, "none", value.clone().into()).await, Some(value.clone()));
        assert!(bring(&b, "long", Loaded::nothing()).await.is_some());
    });
    // The policy remembers no absence, and nobody said so.
    assert_loads!(group, 2, {
        bring(&b, "unknown", Loaded::nothing()).await;
        bring(&b, "not", Loaded::nothing().ttl(Duration::ZERO)).await;
    });
}

#[tokio::test]
async fn a_loader_names_tags_and_says_that_nothing_is_kept() {
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        for tag in ["all", "mine"] {
            let loaded = Loaded::new(token("a", 0, &[])).tags(["mine"]);
            assert_eq!(bring(&a, "k", loaded).await, Some(token("a", 0, &[])));
            assert!(has(&b, "k").await);
            b.invalidate_tag(tag).await.expect("told");
            assert!(!has(&b, "k").await, "{tag}");
            a.invalidate("k").await.expect("told");
        }
        for number in 1..=2 {
            let unfinished = Loaded::new(token("part", 0, &[])).not_stored();
            assert_eq!(bring(&a, "part", unfinished).await, Some(token("part", 0, &[])));
            assert_eq!(a.stats().fills, if tier.is_shared() { 2 } else { 0 });
            assert!(!has(&b, "part").await, "{number}");
        }
        let failed = a.get_or_load_with("bad", POLICY, |_| async { Brought::Err(Oops("no")) }).await;
        assert!(matches!(failed, Err(LoadError::Loader(why)) if *why == Oops("no")));
    })
    .await;
}

#[tokio::test]
async fn one_loads_with_a_context_and_those_without_get_the_same() {
    over_each(async |tier| {
        let (a, gate) = (tier.cache().await, Gate::new());
        let leader = async {
            let load = async |_: LoadContext<'_, Token>| {
                gate.wait().await;
                Brought::Ok(Loaded::new(token("a", 0, &[])).ttl(60 * SECOND))
            };
            a.get_or_load_with("k", POLICY, load).await.expect("loaded")
        };
        let others = async {
            gate.arrived(1).await;
            let other = load(&a, "k", token("b", 60, &[]));
            let third = bring(&a, "k", Loaded::nothing());
            let opening = async {
                eventually_async(20 * SECOND, "they wait", async || a.stats().l1_misses == 3).await;
                gate.open();
            };
            let (other, third, ()) = tokio::join!(other, third, opening);
            (other, third)
        };
        let (first, (second, third)) = tokio::join!(leader, others);
        let a_token = token("a", 0, &[]);
        assert_eq!((first, second, third), (Some(a_token.clone()), a_token.clone(), Some(a_token)));
        assert_eq!((a.stats().loads, a.stats().coalesced), (1, 2));
    })
    .await;
}

/// Rules of one's own that look at the value.
struct ByText;

impl Rules<Token> for ByText {
    fn policy(&self) -> &Policy {
        &POLICY
    }

    fn adapt(&self, value: Option<&Token>, terms: &mut Terms<'_>) {
        match value {
            Some(token) => terms.tag(&token.text[..1]),
            None => terms.ttl(60 * SECOND),
        }
    }
}

#[tokio::test]
async fn rules_of_ones_own_see_the_value_and_that_there_is_none() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        for _ in 0..2 {
            let none = cache.get_or_load_optional("none", ByText, || async { Ok::<Option<Token>, Oops>(None) }).await;
            assert_eq!(none.expect("loaded"), None);
        }
        assert_eq!(cache.stats().loads, 1);
        cache.set("k", token("xyz", 0, &[]), ByText).await.expect("put");
        cache.invalidate_tag("y").await.expect("told");
        assert!(has(&cache, "k").await);
        cache.invalidate_tag("x").await.expect("told");
        assert!(!has(&cache, "k").await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_several_lives_the_last_one_counts() {
    let group = Group::new(1).await;
    let cache = group.instance(0);
    let policy = POLICY.l1_ttl(30 * SECOND);
    let twice = policy.ttl_with(|_: &u64| 5 * SECOND).ttl_with(|_: &u64| 60 * SECOND);
    cache.set("k", 1_u64, &twice).await.expect("put");
    let life = async |key| cache.inspect(key).await.expect("a key").here.map(|copy| copy.entry.life);
    assert_eq!(life("k").await, Some(30 * SECOND));
    let after_none = policy.ttl_with(|_: &u64| Duration::ZERO).ttl_with(|_: &u64| 10 * SECOND);
    cache.set("k", 1_u64, &after_none).await.expect("put");
    assert_eq!(life("k").await, Some(10 * SECOND));
    let none = policy.ttl_with(|_: &u64| Duration::ZERO);
    cache.get_or_load_with("said", &none, async |_| Ok::<_, Oops>(Loaded::new(1_u64).ttl(20 * SECOND))).await.expect("loaded");
    assert_eq!(life("said").await, Some(20 * SECOND));
    cache.get_or_load_with("unsaid", &none, async |_| Ok::<_, Oops>(Loaded::new(1_u64))).await.expect("loaded");
    assert_eq!(life("unsaid").await, None);
}

#[tokio::test]
async fn rules_of_every_kind_are_given_by_reference() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        let (hidden, dynamic): (_, &dyn Rules<Token>) = (rules(), &ByText);
        cache.set("hidden", token("x", 60, &[]), &hidden).await.expect("put");
        cache.set("again", token("x", 60, &[]), &&hidden).await.expect("put");
        cache.set("own", token("x", 60, &[]), &ByText).await.expect("put");
        cache.set("dynamic", token("x", 60, &[]), dynamic).await.expect("put");
        cache.set("tagged", token("x", 60, &[]), &POLICY.tags(["t"])).await.expect("put");
        for key in ["hidden", "again", "own", "dynamic", "tagged"] {
            assert!(has(&cache, key).await, "{key}");
        }
    })
    .await;
}

/// Rules that do not bear a value.
fn fussy() -> impl Rules<u64> {
    POLICY.tags_with(|number: &u64| [format!("digits:{}", number.ilog10())])
}

#[tokio::test]
async fn rules_that_panic_are_a_load_that_panics_and_leave_nothing_behind() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        let zero = || async { Ok::<_, Oops>(0_u64) };
        assert!(matches!(cache.get_or_load("k", fussy(), zero).await, Err(LoadError::Panicked(why)) if why.contains("logarithm")));
        let many = cache.get_or_load_many(["k", "l"], fussy(), |_| async { Ok::<_, Oops>([("k", 0_u64), ("l", 1)]) }).await;
        assert!(matches!(many, Err(LoadError::Panicked(_))));
        assert_eq!((cache.stats().load_panics, cache.stats().flights), (2, 0));
        eventually_async(Duration::from_secs(20), "tickets are given back", async || {
            !tier.holds_ticket("k") && !tier.holds_ticket("l")
        })
        .await;
        // What is said not to be stored is not asked for what it cannot say.
        let careful = POLICY.cache_if(|number: &u64| *number > 0).tags_with(|number: &u64| [number.ilog10().to_string()]);
        assert_eq!(cache.get_or_load("k", careful, zero).await.expect("loaded"), 0);

        let mut guard = cache.guard(["held"]).await.expect("held");
        let put = std::panic::AssertUnwindSafe(guard.set("held", 0_u64, fussy()));
        assert!(futures_catch(put).await.is_err());
        assert!(format!("{guard:?}").contains("keys: 1"), "{guard:?}");
        guard.release().await.expect("told");
        assert_eq!(cache.get_or_load("held", POLICY, || async { Ok::<_, Oops>(7_u64) }).await.expect("loaded"), 7);
        assert_eq!(cache.get("held").await, Some(7_u64));
    })
    .await;
}

/// Awaits what may panic.
async fn futures_catch<T>(future: std::panic::AssertUnwindSafe<impl Future<Output = T>>) -> std::thread::Result<T> {
    let mut future = std::pin::pin!(future.0);
    std::future::poll_fn(move |context| {
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| future.as_mut().poll(context)));
        match polled {
            Ok(std::task::Poll::Pending) => std::task::Poll::Pending,
            Ok(std::task::Poll::Ready(done)) => std::task::Poll::Ready(Ok(done)),
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        }
    })
    .await
}
