//! The verbs of reading, and the hit. What follows a miss is told in `fetch`, for `get` in `look_up`.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use super::answer::{Answer, Just, Maybe};
use super::call::CallOptions;
use super::served::{Answered, Origin};
use super::{Key, Part, Rules, TieredCache, Value};
use crate::clock::Millis;
use crate::error::LoadError;
use crate::key::KeyHash;
use crate::l1::Entry;

/// Builds a value from what a loader that cannot fail returned.
async fn infallible<V>(load: impl Future<Output = V>) -> Result<Just<V>, Infallible> {
    Ok(Just(load.await))
}

impl TieredCache {
    /// Returns the value of `key` from this instance or the shared tier, and loads nothing. A fault of the shared tier is a miss.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// assert_eq!(cache.get::<u64>("price:9").await, None);
    /// cache.set("price:9", 42_u64, policy).await?;
    /// assert_eq!(cache.get::<u64>("price:9").await, Some(42));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: a dropped call leaves no trace.
    pub async fn get<V: Value>(&self, key: &str) -> Option<V> {
        let (part, key) = self.at(key);
        if let Some(Just(value)) = part.hit(key) {
            return Some(value);
        }
        Box::pin(part.look_up::<Just<V>>(key, CallOptions::new())).await.map(|found| found.answer.0)
    }

    /// Returns the value of `key`: from this instance, else from the shared tier, else from `load`, which runs once however many
    /// callers ask at the same time. What it brings is stored as `rules` say: a [`Policy`](crate::Policy), with
    /// [tags](crate::Policy::tags) if wanted.
    ///
    /// A fault of the shared tier does not fail the call: a copy or the loader answers. The one exception is a policy that asks for it,
    /// [`OnUnreachable::Fail`](crate::OnUnreachable::Fail). Nor does a key, a policy, a tag or a value that cannot be stored: what was loaded is
    /// returned, and not kept ([`Stats::not_stored`](crate::Stats::not_stored)).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// async fn fetch(id: u64) -> Result<String, std::io::Error> {
    ///     Ok(format!("user {id}"))
    /// }
    ///
    /// let user = cache.get_or_load("user:42", policy.tags(["users"]), || fetch(42)).await?;
    /// assert_eq!(user, "user 42");
    ///
    /// // A failure is the caller's to see, and is not remembered.
    /// let failed = cache.get_or_load("user:7", policy, || async { Err::<String, _>("no such table") }).await;
    /// assert!(matches!(failed, Err(LoadError::Loader(why)) if *why == "no such table"));
    /// assert_eq!(cache.get_or_load("user:7", policy, || fetch(7)).await?, "user 7");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: dropped while it waits, it leaves no trace; dropped while it loads, somebody who waits takes over. Kept and no
    /// longer polled while it loads, it holds up who waits: they load for themselves, and keep nothing, after twice the limits of a load.
    ///
    /// # Errors
    ///
    /// [`LoadError::Loader`] if the loader fails: the same error for all who waited, and nothing is stored. Otherwise the loader
    /// panicked, took longer than the [load limit](crate::CacheBuilder::load_limit), 10 s by default, and was dropped, or asked for its own key.
    /// [`LoadError::Unproven`] with
    /// [`OnUnreachable::Fail`](crate::OnUnreachable::Fail) alone: then it did not run.
    pub async fn get_or_load<V, E, F, Fut>(&self, key: &str, rules: impl Rules<V>, load: F) -> Result<V, LoadError<E>>
    where
        V: Value,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
    {
        let (part, key) = self.at(key);
        if let Some(Just(value)) = part.hit_unless_due(key) {
            return Ok(value);
        }
        // Boxed: a hit does not carry the state of a miss, and callers' futures stay small.
        Box::pin(part.fetch(key, rules, async move |_| load().await.map(Just))).await.map(|Just(value)| value)
    }

    /// [`TieredCache::get_or_load`] for a loader that cannot fail.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let primes: Vec<u32> = cache.get_or_compute("primes", policy, || async { vec![2, 3, 5, 7] }).await?;
    /// assert_eq!(primes, [2, 3, 5, 7]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::get_or_load`].
    ///
    /// # Errors
    ///
    /// Still: a panic, the load limit, a loader that asked for its own key, or [`LoadError::Unproven`].
    pub async fn get_or_compute<V, F, Fut>(&self, key: &str, rules: impl Rules<V>, load: F) -> Result<V, LoadError<Infallible>>
    where
        V: Value,
        F: FnOnce() -> Fut,
        Fut: Future<Output = V>,
    {
        let (part, key) = self.at(key);
        if let Some(Just(value)) = part.hit_unless_due(key) {
            return Ok(value);
        }
        Box::pin(part.fetch(key, rules, async move |_| infallible(load()).await)).await.map(|Just(value)| value)
    }

    /// [`TieredCache::get_or_load`] for a loader that may find nothing. That there is none is remembered for the policy's
    /// [`negative_ttl`](crate::Policy::negative_ttl), if it has one.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let policy = policy.negative_ttl(Duration::from_secs(5));
    /// let nobody = || async { Ok::<Option<String>, std::io::Error>(None) };
    /// assert_eq!(cache.get_or_load_optional("user:0", policy, nobody).await?, None);
    /// assert_eq!(cache.get_or_load_optional("user:0", policy, nobody).await?, None);
    /// assert_eq!(cache.stats().loads, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::get_or_load`].
    ///
    /// # Errors
    ///
    /// As [`TieredCache::get_or_load`].
    pub async fn get_or_load_optional<V, E, F, Fut>(
        &self,
        key: &str,
        rules: impl Rules<V>,
        load: F,
    ) -> Result<Option<V>, LoadError<E>>
    where
        V: Value,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Option<V>, E>>,
    {
        let (part, key) = self.at(key);
        if let Some(Maybe(value)) = part.hit_unless_due(key) {
            return Ok(value);
        }
        Box::pin(part.fetch(key, rules, async move |_| load().await.map(Maybe))).await.map(|Maybe(value)| value)
    }
}

impl Part {
    /// The hit: nothing decoded, no lock that is waited for, and no allocation once the thread has its front, but for those reads that are counted for
    /// [`TieredCache::hot_keys`].
    pub(super) fn hit<A: Answer>(&self, key: Key<'_>) -> Option<A> {
        self.hit_at(key, self.now())
    }

    /// [`Part::hit`], for who reads many at a time and the clock once.
    pub(super) fn hit_at<A: Answer>(&self, key: Key<'_>, now: Millis) -> Option<A> {
        self.hit_unless(key.text.as_bytes(), key.hash, now, |_, _| false).map(|(answer, _)| answer)
    }

    /// The hit of a call that may load: none where the copy is due, and the caller may be the one who looks for something newer.
    pub(super) fn hit_unless_due<A: Answer>(&self, key: Key<'_>) -> Option<A> {
        self.hit_unless(key.text.as_bytes(), key.hash, self.now(), Entry::is_due).map(|(answer, _)| answer)
    }

    /// [`Part::hit_unless_due`], for who has not looked whether the key is text.
    pub(super) fn hit_of_unless_due<A: Answer>(&self, key: &[u8]) -> Option<A> {
        self.hit_unless(key, self.instance().hash(key), self.now(), Entry::is_due).map(|(answer, _)| answer)
    }

    /// [`Part::hit`], for who wants to know what he is given.
    pub(super) fn hit_here<A: Answer>(&self, key: Key<'_>) -> Option<Answered<A>> {
        let found = self.hit_unless(key.text.as_bytes(), key.hash, self.now(), |_, _| false);
        found.map(|(answer, entry)| Answered::new(answer, Origin::L1, entry))
    }

    /// [`Part::hit_unless_due`], for who wants to know what he is given.
    pub(super) fn hit_here_unless_due<A: Answer>(&self, key: Key<'_>) -> Option<Answered<A>> {
        let found = self.hit_unless(key.text.as_bytes(), key.hash, self.now(), Entry::is_due);
        found.map(|(answer, entry)| Answered::new(answer, Origin::L1, entry))
    }

    fn hit_unless<A: Answer>(
        &self,
        text: &[u8],
        key: KeyHash,
        now: Millis,
        passed_by: impl FnOnce(&Entry, Millis) -> bool,
    ) -> Option<(A, Arc<Entry>)> {
        if let Some(hot) = &self.shared.hot {
            // Whatever comes of it. A read that looks a second time is noted a second time: few do, and for a sample that is near enough.
            hot.note(text);
        }
        let instance = self.instance();
        let entry = instance.l1.probe(key, now, &instance.view).filter(|entry| !passed_by(entry, now))?;
        let answer = A::of(&entry)?;
        instance.counters.l1_hits.one();
        Some((answer, entry))
    }

    /// An answer of this instance's own copy, which was not counted yet.
    pub(super) fn counted_hit<A: Answer>(&self, answer: Answered<A>) -> Answered<A> {
        self.instance().counters.l1_hits.one();
        answer
    }
}
