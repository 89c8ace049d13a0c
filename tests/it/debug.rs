//! What `{:?}` and `{}` show of every public type: no user, no password and no cached value, whatever it holds; and a key only where it is
//! what the type is about.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test fails the test")]

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cachetier::testing::{Counted, Group, Loads as _, Source};
use cachetier::{
    AtWork, Breaker, Bulkhead, CacheError, Call, CallKind, CallOptions, Clock, Coalesce, Codec, Compression, Connected, Delivery,
    EarlyRefresh, Endpoint, Eviction, InProcess, Invalidator, KeyText, Lag, LearnedTtl, LoadContext, LoadError, Loaded, OnRestart,
    OnUnreachable, Plan, Policy, Purge, PurgeError, PurgeProgress, Rules, SharedError, Stale, Terms, TieredCache, Tiers, Token,
    TokenError, WaitError,
};

/// Every public item: what can be shown is read from it.
const ITEMS: &str = include_str!("../../docs/api.txt");

/// What is shown of nothing.
const SECRETS: [&str; 3] = ["adalovelace", "hunter2", "cached-value"];

/// As keys often are: about a person.
const KEY: &str = "mail:ada@example.org:";

/// Nobody listens there, and the address holds a secret.
const URL: &str = "redis://adalovelace:hunter2@127.0.0.1:1/";

/// What is about a key, a tag or a prefix, and so shows it: its user has put it there, or must know which it was.
const ABOUT_KEYS: [&str; 10] =
    ["CacheError", "Call", "KeyError", "KeyText", "LoadContext", "LoadError", "Purge", "PurgeError", "Tagged", "testing::Event"];

/// What has been shown, by the name of the type.
#[derive(Debug, Default)]
struct Shown(BTreeMap<&'static str, String>);

impl Shown {
    fn debug(&mut self, name: &'static str, value: &impl Debug) {
        self.0.entry(name).or_default().extend([format!("{value:?}\n"), format!("{value:#?}\n")]);
    }

    fn both(&mut self, name: &'static str, value: &(impl Debug + Display)) {
        self.debug(name, value);
        self.0.entry(name).or_default().extend([format!("{value}\n")]);
    }
}

/// The types of which the list says that they can be shown.
fn listed() -> Vec<&'static str> {
    let shown = ITEMS.lines().filter(|line| line.contains(" Debug for ")).filter_map(|line| line.split_once(": "));
    let mut names: Vec<&str> = shown.map(|(path, _)| path).collect();
    names.sort_unstable();
    names
}

/// Rules that have their terms shown.
struct Showing<'a>(Policy, Mutex<&'a mut Shown>);

impl<V> Rules<V> for Showing<'_> {
    fn policy(&self) -> &Policy {
        &self.0
    }

    fn adapt(&self, _: Option<&V>, terms: &mut Terms<'_>) {
        terms.tag(KEY);
        self.1.lock().unwrap().debug("Terms", terms);
    }
}

#[tokio::test]
async fn nothing_that_is_shown_holds_a_secret_or_a_value() {
    let mut shown = Shown::default();
    handles(&mut shown).await;
    answers(&mut shown).await;
    errors(&mut shown).await;
    settings(&mut shown);
    testing(&mut shown).await;

    let names: Vec<&str> = shown.0.keys().copied().collect();
    assert_eq!(names, listed(), "each type of docs/api.txt that can be shown is shown here, holding a secret if it can");
    for (name, text) in &shown.0 {
        for secret in SECRETS {
            assert!(!text.contains(secret), "{name} shows {secret:?}: {text}");
        }
        if ABOUT_KEYS.contains(name) {
            assert!(text.contains("ada@example.org"), "{name} is about a key: {text}");
        } else {
            assert!(!text.contains("ada@example.org"), "{name} shows a key: {text}");
        }
    }
}

/// What holds connections, copies and keys.
async fn handles(shown: &mut Shown) {
    let tier = InProcess::new();
    let cache = TieredCache::builder("debug").in_process(&tier).build().await.unwrap();
    let policy = Policy::ttl(Duration::from_secs(60));
    cache.set(KEY, "cached-value".to_owned(), Showing(policy, Mutex::new(shown))).await.unwrap();
    let guard = cache.guard([KEY]).await.unwrap();
    shown.debug("WriteGuard", &guard);
    guard.release().await.unwrap();
    let (at_work, inspected) = (Mutex::new(None), cache.clone());
    let load = |context: LoadContext<'_, String>| {
        shown.debug("LoadContext", &context);
        shown.debug("StaleValue", context.stale().unwrap());
        let loaded = Loaded::new("cached-value".to_owned()).tags([KEY]);
        shown.debug("Loaded", &loaded);
        let at_work = &at_work;
        async move {
            *at_work.lock().unwrap() = inspected.inspect(KEY).await.unwrap().under_way;
            Ok::<_, PurgeError>(loaded)
        }
    };
    cache.set(KEY, "cached-value".to_owned(), policy.tags([KEY])).await.unwrap();
    cache.expire(KEY).await.unwrap();
    assert!(cache.get_or_load_with(KEY, policy, load).await.unwrap().is_some());
    shown.debug("UnderWay", &at_work.into_inner().unwrap().unwrap());
    let options = CallOptions::new();
    shown.debug("CallOptions", &options);
    shown.debug("Tiers", &Tiers::Both);
    shown.debug("Verbs", &cache.with(options));
    shown.debug("Warming", &cache.warming().progress(|_| ()));
    let warmed = cache.warming().copy::<String>([SECRETS[0]]).await;
    shown.debug("WarmCounts", &warmed.counts);
    shown.debug("Warmed", &warmed);
    shown.debug("Local", &cache.local());
    cache.set(KEY, "cached-value".to_owned(), policy.tags([KEY])).await.unwrap();
    assert!(tier.holds_value(&format!("ct:debug:v:{KEY}")));
    let served = cache.with(CallOptions::new()).get::<String>(KEY).await.unwrap();
    shown.debug("Served", &served);
    shown.debug("Origin", &served.origin);
    shown.debug("Stale", &Stale::Unproven);
    let inspection = cache.inspect(KEY).await.unwrap();
    shown.debug("Inspection", &inspection);
    shown.debug("InSharedTier", &inspection.shared);
    shown.debug("AtWork", &AtWork::Loads);
    let copy = inspection.here.unwrap();
    shown.debug("EntryFacts", &copy.entry);
    shown.debug("CopyHere", &copy);
    shown.debug("InProcess", &tier);
    shown.debug("Saved", &tier.save());
    shown.debug("TieredCache", &cache);
    shown.both("Stats", &cache.stats());
    shown.both("BreakerState", &cache.stats().breaker);
    shown.debug("Bulkhead", &Bulkhead::new(1).unwrap());
    shown.debug("Breaker", &Breaker::new());
    shown.both("Lag", &Lag::Proven(Duration::from_millis(340)));

    let limit = Duration::from_millis(10);
    let builder = TieredCache::builder("debug").redis(URL).connect_limit(limit).command_limit(limit);
    shown.debug("CacheBuilder", &builder);
    let away = builder.build().await.unwrap();
    shown.debug("TieredCache", &away);
    shown.debug("CacheError", &away.guard([KEY]).await.unwrap_err());
    let purge = away.purge(Purge::everything()).await.unwrap_err();
    assert!(matches!(purge, PurgeError::Stopped { .. }));
    shown.both("PurgeError", &purge);
    let builder = Invalidator::builder("debug").redis(URL).connect_limit(limit).command_limit(limit);
    shown.debug("InvalidatorBuilder", &builder);
    let worker = builder.build().await.unwrap();
    assert_eq!(worker.invalidate(KEY).await, Ok(Delivery::Pending));
    shown.debug("Invalidator", &worker);
    shown.both("InvalidatorStats", &worker.stats());
}

/// What is told of calls.
async fn answers(shown: &mut Shown) {
    let tier = InProcess::new();
    let seen = Arc::new(Mutex::new(String::new()));
    let told = Arc::clone(&seen);
    tier.script_calls(move |call: &Call<'_>| {
        told.lock().unwrap().extend([format!("{call:?}")]);
        Plan::go()
    });
    let cache = TieredCache::builder("debug").in_process(&tier).build().await.unwrap();
    let policy = Policy::ttl(Duration::from_secs(60));
    let delivery = cache.set(KEY, "cached-value".to_owned(), policy).await.unwrap();
    let calls = seen.lock().unwrap().clone();
    shown.both("Call", &calls);
    shown.debug("Delivery", &delivery);
    let token = delivery.confirmed().unwrap();
    shown.both("Token", &token);
    shown.debug("Removed", &cache.remove(KEY).await.unwrap());
    let progress = PurgeProgress::default();
    let purge = Purge::prefix(KEY).watched_by(&progress);
    shown.debug("Purge", &purge);
    let purged = cache.purge(purge).await.unwrap();
    shown.debug("Purged", &purged);
    shown.debug("PurgeCounts", &purged.counts);
    shown.debug("PurgeProgress", &progress);
}

/// Everything that can go wrong with a key or an address at hand.
async fn errors(shown: &mut Shown) {
    let cache = TieredCache::builder("debug").build().await.unwrap();
    let inside = format!("{KEY}7");
    let error = cache.invalidate_prefix(&inside).await.unwrap_err();
    shown.both("CacheError", &error);
    shown.both("PurgeError", &PurgeError::from(error.clone()));
    let CacheError::Key(error) = error else { panic!("expected a fault of the key, found {error:?}") };
    shown.both("KeyError", &error);
    let mut guard = cache.guard(["another"]).await.unwrap();
    let policy = Policy::ttl(Duration::from_secs(60));
    shown.both("CacheError", &guard.set(KEY, "cached-value".to_owned(), policy).await.unwrap_err());
    guard.release().await.unwrap();
    shown.both("LoadError", &LoadError::<std::io::Error>::Recursive(KEY.into()));
    shown.both("LoadError", &LoadError::Loader(Arc::new(std::io::Error::other("no such table"))));
    for url in ["http://adalovelace:hunter2@host/", "redis://adalovelace:hunter2@host:port/", "redis://adalovelace:hunter2@host/x"]
    {
        let error = TieredCache::builder("debug").redis(url).build().await.unwrap_err();
        shown.both("ConfigError", &error);
    }
    let (stream, _) = tokio::io::duplex(1);
    shown.debug("Connected", &Connected::over(stream).login("adalovelace", "hunter2"));
    shown.both("Endpoint", &Endpoint::Unix("/run/redis.sock".into()));
    let token: Token = "1-1".parse().unwrap();
    shown.both("WaitError", &WaitError::Closed);
    shown.both("TokenError", &"adalovelace".parse::<Token>().unwrap_err());
    shown.both("TokenError", &TokenError::Era);
    shown.both("Token", &token);
    cachetier::install(cache.clone()).unwrap();
    shown.both("AlreadyInstalled", &cachetier::install(cache).unwrap_err());
    shared_errors(shown).await;
}

/// An error that two callers have got: it shows itself as the one that it shares.
async fn shared_errors(shown: &mut Shown) {
    #[cachetier::cached(key = "{key}", ttl = "1m", cache = cache)]
    async fn fails(cache: &TieredCache, key: &str) -> Result<String, anyhow::Error> {
        tokio::task::yield_now().await;
        Err(anyhow::anyhow!("no such table"))
    }
    let cache = TieredCache::builder("debug").build().await.unwrap();
    let (first, second) = tokio::join!(fails(&cache, KEY), fails(&cache, KEY));
    let errors = [first.unwrap_err(), second.unwrap_err()];
    let shared: Vec<_> = errors.iter().filter_map(|error| error.downcast_ref::<SharedError<anyhow::Error>>()).collect();
    assert!(!shared.is_empty());
    for error in shared {
        shown.both("SharedError", error);
    }
}

/// What tests of a service hold.
async fn testing(shown: &mut Shown) {
    let builder = Group::builder().instances(1).configure(|builder| builder.redis(URL));
    shown.debug("testing::GroupBuilder", &builder);
    let (group, source) = (Group::new(1).await, Source::from([(KEY, "cached-value".to_owned())]));
    let policy = Policy::ttl(Duration::from_secs(60));
    let counted = Counted::begin(&source);
    assert_eq!(group.instance(0).get_or_load(KEY, policy, || source.load(KEY)).await.unwrap(), "cached-value");
    shown.debug("testing::Counted", &counted);
    shown.debug("testing::Source", &source);
    shown.debug("testing::Tally", &source.tally());
    shown.debug("testing::Group", &group);
    for event in group.events() {
        shown.both("testing::Event", &event);
        shown.both("testing::What", &event.what);
    }
    source.fail_next();
    shown.both("testing::SourceError", &source.load(KEY).await.unwrap_err());
}

/// What is said to a cache, and what it is made of.
fn settings(shown: &mut Shown) {
    let (clock, hand) = Clock::manual();
    shown.debug("Clock", &clock);
    shown.debug("ManualClock", &hand);
    shown.debug("Codec", &Codec::Postcard);
    shown.debug("Compression", &Compression::Lz4);
    shown.debug("Eviction", &Eviction::Lru);
    shown.debug("OnRestart", &OnRestart::Trust);
    shown.debug("OnUnreachable", &OnUnreachable::Fail);
    shown.debug("Coalesce", &Coalesce::Process);
    shown.debug("EarlyRefresh", &EarlyRefresh::xfetch());
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(2));
    shown.debug("LearnedTtl", &LearnedTtl::between(least, most));
    let policy = Policy::ttl(Duration::from_secs(60));
    shown.debug("Policy", &policy);
    shown.debug("Tagged", &policy.tags([KEY]));
    shown.debug("ByValue", &policy.cache_if(|_: &u8| true));
    shown.debug("Plan", &Plan::error("BUSY").after(async {}));
    shown.debug("CallKind", &CallKind::Fill);
    let mut key = KeyText::new();
    key.literal(KEY);
    shown.both("KeyText", &key);
}
