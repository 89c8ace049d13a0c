//! `#[invalidates]`.

use std::error::Error;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;

use cachetier::{InProcess, Policy, TieredCache, invalidates};

use crate::{LONG, scoped};

const POLICY: Policy = Policy::ttl(LONG);

#[invalidates(key = "user:{id}", tags = ["org:{org}"])]
async fn fallible(org: u64, id: u64, outcome: Result<u8, &'static str>) -> Result<u8, &'static str> {
    let _ = (org, id);
    outcome
}

#[invalidates(key = "user:{id}")]
async fn optional(id: u64, outcome: Option<u8>) -> Option<u8> {
    let _ = id;
    outcome
}

#[invalidates(keys = ["user:{id}", format!("mail:{id}")], prefix = "page:{id}:")]
async fn always(id: u64) {
    let _ = id;
}

#[invalidates(key = "user:{id}")]
async fn panicking(id: u64) {
    panic!("a bug of {id}")
}

type Aliased = Result<(), String>;

/// The body takes what the key is made of.
#[invalidates(key = "user:{names.0}:{names.1}")]
async fn consuming(names: (String, String)) -> Aliased {
    drop(names);
    Ok(())
}

/// Which of the keys are there still.
async fn held(cache: &TieredCache, keys: &[&str]) -> Vec<bool> {
    let mut held = Vec::new();
    for key in keys {
        held.push(cache.get::<u8>(key).await.is_some());
    }
    held
}

async fn fill(cache: &TieredCache, keys: &[&str]) {
    for key in keys {
        cache.set(key, 1_u8, POLICY.tags(["org:7"])).await.expect("stored");
    }
}

#[tokio::test]
async fn what_is_named_is_invalidated_once_the_work_is_done_and_not_if_it_is_not() {
    scoped(async |cache: TieredCache| {
        let keys = ["user:42", "user:43"];
        fill(&cache, &keys).await;
        assert_eq!(fallible(7, 42, Err("no")).await, Err("no"));
        assert_eq!(held(&cache, &keys).await, [true, true], "it failed");
        assert_eq!(optional(42, None).await, None);
        assert_eq!(held(&cache, &keys).await, [true, true], "there was nothing to do");
        let call = futures_panic(AssertUnwindSafe(panicking(42))).await;
        assert!(call.is_err());
        assert_eq!(held(&cache, &keys).await, [true, true], "it panicked");
        assert_eq!(optional(42, Some(1)).await, Some(1));
        assert_eq!(held(&cache, &keys).await, [false, true]);
        fill(&cache, &keys).await;
        assert_eq!(fallible(8, 43, Ok(1)).await, Ok(1));
        assert_eq!(held(&cache, &keys).await, [true, false], "a key, and a tag that none carries");
        fill(&cache, &keys).await;
        assert_eq!(fallible(7, 99, Ok(1)).await, Ok(1));
        assert_eq!(held(&cache, &keys).await, [false, false], "all that carry the tag");
    })
    .await;
}

/// Polls a future to its end as a task of its own thread would, and catches its panic.
async fn futures_panic<F: Future>(future: AssertUnwindSafe<F>) -> std::thread::Result<F::Output> {
    let mut future = Box::pin(future.0);
    std::future::poll_fn(|context| match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => std::task::Poll::Ready(Err(panic)),
    })
    .await
}

#[tokio::test]
async fn keys_tags_and_prefixes_go_in_one_step() {
    scoped(async |cache: TieredCache| {
        let keys = ["user:42", "mail:42", "page:42:a", "page:42:b:c", "page:43:a", "user:43"];
        fill(&cache, &keys).await;
        always(42).await;
        assert_eq!(held(&cache, &keys).await, [false, false, false, false, true, true]);
        fill(&cache, &["user:a%3Ab:c"]).await;
        consuming(("a:b".to_owned(), "c".to_owned())).await.expect("done");
        assert_eq!(held(&cache, &["user:a%3Ab:c"]).await, [false]);
    })
    .await;
}

#[tokio::test]
async fn what_the_cache_cannot_do_is_not_the_functions_failure() {
    #[invalidates(keys = [key], tags = [key])]
    async fn named(key: &str) -> Result<(), std::fmt::Error> {
        let _ = key;
        Ok(())
    }
    // Without a cache.
    assert_eq!(named("user:42").await, Ok(()));
    scoped(async |cache: TieredCache| {
        assert_eq!(named("").await, Ok(()), "a key that there cannot be");
        assert_eq!(cache.stats().invalidations_refused, 2);
        cache.close(LONG).await.expect("closed");
        assert_eq!(named("user:42").await, Ok(()), "a cache that is closed");
        assert_eq!(cache.stats().invalidations_refused, 4);
    })
    .await;
}

#[tokio::test]
async fn the_other_instance_hears_of_it_before_the_call_returns_or_soon_after() {
    let tier = InProcess::new();
    let build = async || TieredCache::builder("cached").in_process(&tier).build().await.expect("a cache");
    let (here, there) = (build().await, build().await);
    fill(&here, &["user:42"]).await;
    assert_eq!(held(&there, &["user:42"]).await, [true]);
    cachetier::scope(here, optional(42, Some(1))).await;
    cachetier_tests::eventually_async(LONG, "the other instance", async || held(&there, &["user:42"]).await == [false]).await;
}

#[invalidates(key = "user:{id}")]
async fn partly_named(id: u64, done: bool) -> Result<impl Display, String> {
    if id == 0 {
        return Err("nobody".to_owned());
    }
    done.then_some(id).ok_or_else(|| "not done".into())
}

#[invalidates(key = "user:{id}")]
async fn nameless(id: u64) -> impl Display {
    id
}

#[tokio::test]
async fn what_is_returned_needs_no_name() {
    scoped(async |cache: TieredCache| {
        fill(&cache, &["user:42"]).await;
        assert_eq!(partly_named(0, true).await.err().as_deref(), Some("nobody"));
        assert_eq!(partly_named(42, false).await.err().as_deref(), Some("not done"));
        assert_eq!(held(&cache, &["user:42"]).await, [true]);
        assert_eq!(partly_named(42, true).await.map(|done| done.to_string()), Ok("42".to_owned()));
        assert_eq!(held(&cache, &["user:42"]).await, [false]);
        fill(&cache, &["user:42"]).await;
        assert_eq!(nameless(42).await.to_string(), "42");
        assert_eq!(held(&cache, &["user:42"]).await, [false]);
    })
    .await;
}

/// Its error cannot be sent to another thread.
#[invalidates(key = "user:{id}")]
async fn failing_at_home(id: u64) -> Result<u8, Box<dyn Error>> {
    tokio::task::yield_now().await;
    Ok(u8::try_from(id)?)
}

#[tokio::test]
async fn an_error_that_cannot_be_sent_does_not_keep_the_call_from_it() {
    scoped(async |cache: TieredCache| {
        fill(&cache, &["user:42", "user:1000"]).await;
        let sent = tokio::spawn(cachetier::scope(cache.clone(), async {
            (failing_at_home(42).await.ok(), failing_at_home(1_000).await.is_err())
        }));
        assert_eq!(sent.await.expect("no panic"), (Some(42), true));
        assert_eq!(held(&cache, &["user:42", "user:1000"]).await, [false, true]);
    })
    .await;
}
