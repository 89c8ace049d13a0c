//! What users may do with the public types, as the compiler says it: send, share and clone them, hold them across a panic, and send what
//! their async functions return. What there is to name stands in `docs/api.txt`.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use cachetier::testing::{Event, Group, GroupBuilder, Source, SourceError, Tally, What};
use cachetier::{
    AlreadyInstalled, AtWork, CacheBuilder, CacheError, Call, CallKind, CallOptions, Clock, Codec, Compression, ConfigError,
    CopyHere, Delivery, Endpoint, EntryFacts, Eviction, InProcess, InSharedTier, Inspection, Invalidator, InvalidatorBuilder,
    InvalidatorStats, KeyError, KeyText, Lag, LoadContext, LoadError, Loaded, Local, ManualClock, OnRestart, OnUnreachable, Origin,
    Plan, Policy, Purge, PurgeCounts, PurgeError, PurgeProgress, Purged, Removed, Saved, Served, SharedError, Stale, StaleValue,
    Stats, Tagged, Terms, TieredCache, Tiers, Token, TokenError, UnderWay, Verbs, WaitError, WarmCounts, Warmed, WriteGuard,
};
use futures_util::stream;

/// Goes to any thread, and is used by several at once.
fn shared<T: Send + Sync + Unpin + 'static>() {}

/// A handle: also, there can be two of it. Not that it is whole after a panic in the middle of a call: a panic of a loader is caught by the
/// call itself.
fn handle<T: Clone + Send + Sync + Unpin + 'static>() {}

/// A piece of data: also, it is whole whatever panics.
fn data<T: Clone + Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + 'static>() {}

/// Data that is an error, which whatever holds any error can hold.
fn error<E: std::error::Error + Clone + Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + 'static>() {}

/// An error around one that need not be whole after a panic, nor be cloned.
fn around<E: std::error::Error + Clone + Send + Sync + Unpin + 'static>() {}

#[test]
fn public_types_are_sent_shared_and_cloned() {
    handle::<TieredCache>();
    handle::<CacheBuilder>();
    handle::<Invalidator>();
    handle::<InvalidatorBuilder>();
    handle::<InProcess>();
    handle::<Saved>();
    data::<Clock>();
    data::<ManualClock>();
    data::<Codec>();
    data::<Compression>();
    shared::<Group>();
    shared::<GroupBuilder>();
    handle::<Source<String>>();
    data::<Event>();
    data::<What>();
    data::<Tally>();
    data::<Eviction>();
    data::<Endpoint>();
    data::<OnRestart>();
    data::<OnUnreachable>();
    data::<Policy>();
    data::<Tagged<[&'static str; 2]>>();
    data::<Tagged<Vec<String>>>();
    handle::<Loaded<String>>();
    handle::<StaleValue<String>>();
    data::<CallOptions>();
    data::<Tiers>();
    data::<Served<String>>();
    data::<Origin>();
    data::<Stale>();
    handle::<Verbs<'static>>();
    handle::<Local<'static>>();
    data::<Inspection>();
    data::<CopyHere>();
    data::<EntryFacts>();
    data::<InSharedTier>();
    data::<UnderWay>();
    data::<AtWork>();
    handle::<LoadContext<'static, u32>>();
    shared::<Terms<'static>>();
    handle::<Purge<'static>>();
    handle::<PurgeProgress>();
    data::<PurgeCounts>();
    data::<Purged>();
    data::<Removed>();
    data::<WarmCounts>();
    shared::<Warmed<Infallible>>();
    data::<Delivery>();
    data::<Token>();
    data::<Stats>();
    data::<Lag>();
    data::<InvalidatorStats>();
    data::<KeyText>();
    data::<Call<'static>>();
    data::<CallKind>();
    // Two guards of one hold would release it twice.
    shared::<WriteGuard>();
}

#[test]
fn errors_go_into_whatever_holds_any_error() {
    error::<CacheError>();
    error::<ConfigError>();
    error::<KeyError>();
    error::<LoadError<Infallible>>();
    error::<PurgeError>();
    error::<TokenError>();
    error::<SourceError>();
    error::<WaitError>();
    error::<AlreadyInstalled>();
    around::<SharedError<Box<dyn std::error::Error + Send + Sync>>>();
}

#[test]
fn a_plan_is_sent_and_holds_the_futures_it_was_given() {
    fn sent<T: Send + Unpin + 'static>() {}
    sent::<Plan>();
}

/// What async functions return goes to any thread, so that it can be spawned.
fn sent<F: Future + Send>(future: F) -> F {
    future
}

#[tokio::test(start_paused = true)]
async fn what_async_functions_return_can_be_spawned() {
    const LIMIT: Duration = Duration::from_secs(1);
    let policy = Policy::ttl(Duration::from_secs(60));
    let tier = InProcess::new();
    let cache = sent(TieredCache::builder("api").in_process(&tier).build()).await.unwrap();
    assert_eq!(sent(cache.get::<u32>("a")).await, None);
    assert_eq!(sent(cache.get_or_load("a", policy.tags(["t"]), || async { Ok::<_, Infallible>(1_u32) })).await.unwrap(), 1);
    assert_eq!(sent(cache.get_or_load_optional("b", policy, || async { Ok::<_, Infallible>(None::<u32>) })).await.unwrap(), None);
    assert_eq!(sent(cache.get_or_compute("c", policy, || async { 2_u32 })).await.unwrap(), 2);
    let verbs = cache.with(CallOptions::new().deadline(LIMIT));
    assert!(sent(verbs.get::<u32>("a")).await.is_some());
    assert_eq!(sent(verbs.get_or_load("a", policy, || async { Ok::<_, Infallible>(1_u32) })).await.unwrap().origin, Origin::L1);
    assert_eq!(sent(verbs.get_or_compute("c", policy, || async { 2_u32 })).await.unwrap().value, 2);
    sent(verbs.get_or_load_optional("b", policy, || async { Ok::<_, Infallible>(None::<u32>) })).await.unwrap();
    sent(verbs.get_or_load_with("a", policy, async |_| Ok::<_, Infallible>(Loaded::new(1_u32)))).await.unwrap();
    sent(cache.get_or_load_traced("a", policy, || async { Ok::<_, Infallible>(1_u32) })).await.unwrap();
    sent(cache.local().get_or_load("l", policy, || async { Ok::<_, Infallible>(std::sync::Weak::<u8>::new()) })).await.unwrap();
    sent(cache.local().get_or_compute("l", policy, || async { std::sync::Weak::<u8>::new() })).await.unwrap();
    assert!(sent(cache.inspect("a")).await.unwrap().here.is_some());
    let rules = policy.tags(["t"]).ttl_with(|_: &u32| LIMIT).tags_with(|_: &u32| ["u"]).cache_if(|_: &u32| true);
    let loaded = async |_: LoadContext<'_, u32>| Ok::<_, Infallible>(Loaded::new(6_u32));
    assert_eq!(sent(cache.get_or_load_with("e", rules, loaded)).await.unwrap(), Some(6));
    let many = sent(cache.get_or_load_many(["a", "c"], policy, async |keys: Vec<String>| {
        Ok::<_, Infallible>(keys.into_iter().map(|key| (key, 2_u32)).collect::<Vec<_>>())
    }));
    assert_eq!(many.await.unwrap(), [Some(1), Some(2)]);
    assert_eq!(sent(cache.get_many::<u32>(["a", "none"])).await, [Some(1), None]);
    assert!(sent(cache.set_many([("d", 5_u32)], policy)).await.iter().all(Result::is_ok));
    let load = async |keys: Vec<String>| Ok::<_, Infallible>(keys.into_iter().map(|key| (key, 7_u32)).collect::<Vec<_>>());
    assert_eq!(sent(cache.warming().progress(|_| ()).load(["f"], policy, load)).await.counts.loaded, 1);
    assert_eq!(sent(cache.warming().load_stream(stream::iter(["g"]), policy, load)).await.counts.loaded, 1);
    assert_eq!(sent(cache.warming().copy::<u32>(["f"])).await.counts.found, 1);
    assert_eq!(sent(cache.warming().copy_stream::<u32>(stream::iter(["g"]))).await.counts.found, 1);
    let token = sent(cache.set("a", 3_u32, policy)).await.unwrap().confirmed().unwrap();
    sent(cache.wait_for(token, LIMIT)).await.unwrap();
    assert!(sent(cache.remove("a")).await.unwrap().held);
    for delivery in [
        sent(cache.invalidate("a")).await,
        sent(cache.invalidate_many(["a", "b"])).await,
        sent(cache.invalidate_tag("t")).await,
        sent(cache.invalidate_tags(["t", "u"])).await,
        sent(cache.invalidate_prefix("a:")).await,
        sent(cache.clear()).await,
    ] {
        assert!(matches!(delivery, Ok(Delivery::Applied(_))));
    }
    sent(cache.invalidate_pattern("a:*:b")).await.unwrap();
    sent(cache.purge(Purge::everything())).await.unwrap();
    let mut guard = sent(cache.guard(["a", "b"])).await.unwrap();
    sent(guard.set("a", 4_u32, policy)).await.unwrap();
    sent(guard.release()).await.unwrap();
    let guard = sent(cache.guard_for(["a"], LIMIT)).await.unwrap();
    sent(guard.release_after(Duration::ZERO)).await.unwrap();
    sent(cachetier::scope(cache.clone(), async {})).await;

    let worker = sent(Invalidator::builder("api").in_process(&tier).build()).await.unwrap();
    drop(sent(Invalidator::connect("redis://127.0.0.1:1/", "api")));
    for delivery in [
        sent(worker.invalidate("a")).await,
        sent(worker.invalidate_many(["a", "b"])).await,
        sent(worker.invalidate_tag("t")).await,
        sent(worker.invalidate_tags(["t", "u"])).await,
        sent(worker.invalidate_prefix("a:")).await,
        sent(worker.clear()).await,
    ] {
        assert!(matches!(delivery, Ok(Delivery::Applied(_))));
    }
    sent(worker.flush(LIMIT)).await.unwrap();
    sent(worker.close(LIMIT)).await.unwrap();
    sent(cache.flush(LIMIT)).await.unwrap();
    sent(cache.close(LIMIT)).await.unwrap();
}
