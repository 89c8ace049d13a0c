//! The verbs for many keys at once. What L1 lacks is told in `fetch`, for `get_many` in `look_up`; `set_many` sets each for itself.

mod ask;
mod fetch;
mod keys;
mod load;
mod look_up;

use std::collections::HashSet;
use std::future::Future;

use self::keys::{Batch, Given};
use super::call::CallOptions;
use super::places::turn_back;
use super::write::Delivery;
use super::{Rules, TieredCache, Value, Verbs};
use crate::all::all;
use crate::error::{CacheError, LoadError};
use crate::key::KeyHash;
use crate::unhashed::BuildUnhashed;

/// How many entries of a batch are set at a time.
const AT_A_TIME: usize = 64;

impl TieredCache {
    /// [`TieredCache::get`] for many keys: one answer for each, in their order. What this instance has no copy of is asked for in one round
    /// trip for each thousand keys, or 4 MiB of them. Where another call's load or look of a key ends without a value for this one, that key is
    /// asked for by itself. A key that is given twice is asked for once; one that no entry can have is answered with `None`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.set("price:9", 42_u64, policy).await?;
    /// assert_eq!(cache.get_many::<u64>(["price:8", "price:9", "price:8"]).await, [None, Some(42), None]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: a dropped call leaves no trace.
    pub async fn get_many<V: Value>(&self, keys: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<Option<V>> {
        let keys: Vec<_> = keys.into_iter().collect();
        let (given, mut batches) = Given::to(self, &keys, CallOptions::new());
        look_up_all(&mut batches).await;
        given.answers(batches)
    }

    /// [`TieredCache::get_or_load`] for many keys: one answer for each, in their order. What this instance lacks is asked of the shared tier
    /// in one round trip. For what that lacks the right to load is taken in a second one, `load` is called once, and a third one stores what
    /// it brings. Of more than a thousand keys, or 4 MiB of names and values, each trip is made once for each thousand or 4 MiB, and the load is one
    /// all the same. What is found and cannot be used is taken over in one trip more.
    ///
    /// `load` is given the keys to load, each once, in the order of their first appearance, and returns pairs of a key and its value: a
    /// `HashMap<String, V>`, a `Vec<(&str, V)>`. The last one counts if it names a key twice. A key that it does not name has nothing:
    /// `None`, remembered for the policy's [`negative_ttl`](crate::Policy::negative_ttl) if it has one. One that it was not asked for is
    /// ignored, and counted as [`not_asked_for`](crate::Stats::not_asked_for). It counts as one load.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// async fn fetch(keys: Vec<String>) -> Result<Vec<(String, usize)>, std::io::Error> {
    ///     // One query for all of them.
    ///     Ok(keys.into_iter().filter(|key| key != "word:").map(|key| (key.clone(), key.len())).collect())
    /// }
    ///
    /// let keys = ["word:one", "word:", "word:three"];
    /// assert_eq!(cache.get_or_load_many(keys, policy, fetch).await?, [Some(8), None, Some(10)]);
    /// assert_eq!(cache.get::<usize>("word:three").await, Some(10));
    /// assert_eq!(cache.stats().loads, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Keys that somebody else loads, in this instance or another, are not loaded again: they are waited for, after what this call loads
    /// itself is stored, so two calls for the same keys in another order never wait for each other. Should such a load be given up by then,
    /// `load` is called once more, with those keys.
    ///
    /// Cancel safety: as [`TieredCache::get_or_load`], for each of its keys.
    ///
    /// # Errors
    ///
    /// The first failure, for the call as a whole: of `load`, as it is told to all who waited for one of its keys; or of another caller's
    /// load of a key that was waited for. What was found or loaded by then stays cached: [`TieredCache::get_many`] returns it, and a second
    /// try asks only for the rest. [`LoadError::TimedOut`] and [`LoadError::Panicked`] as of one key, [`LoadError::Unproven`] where the policy
    /// would rather fail, [`LoadError::Recursive`] if `load` asks for a key of its own call.
    pub async fn get_or_load_many<V, E, L, N, F, Fut>(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<str>>,
        rules: impl Rules<V>,
        load: F,
    ) -> Result<Vec<Option<V>>, LoadError<E>>
    where
        V: Value,
        E: Send + Sync + 'static,
        L: IntoIterator<Item = (N, V)>,
        N: AsRef<str>,
        F: FnMut(Vec<String>) -> Fut,
        Fut: Future<Output = Result<L, E>>,
    {
        let keys: Vec<_> = keys.into_iter().collect();
        let (given, mut batches) = Given::to(self, &keys, CallOptions::new());
        if batches.iter().any(|batch| !batch.open.is_empty()) {
            let fetched = Box::pin(self.fetch_many(&mut batches, &rules, load)).await;
            turn_back().await;
            fetched?;
        }
        Ok(given.answers(batches))
    }

    /// [`TieredCache::set`] for many entries, up to 64 at a time: what each came to, in their order. Each stands for itself: what cannot be
    /// stored keeps no other from it. Of a key that is given twice the last value stays.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// for delivery in cache.set_many([("rate:eur", 1.07), ("rate:gbp", 1.26)], policy.tags(["rates"])).await {
    ///     assert!(matches!(delivery?, Delivery::Applied(_)));
    /// }
    /// assert_eq!(cache.get_many(["rate:gbp", "rate:eur"]).await, [Some(1.26), Some(1.07)]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: dropped, those that are under way count as invalidations of their keys; those behind them are not begun.
    ///
    /// # Errors
    ///
    /// Of each as of [`TieredCache::set`].
    pub async fn set_many<K: AsRef<str>, V: Value>(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
        rules: impl Rules<V>,
    ) -> Vec<Result<Delivery, CacheError>> {
        let entries: Vec<(K, V)> = entries.into_iter().collect();
        let mut deliveries = Vec::with_capacity(entries.len());
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            let (mut keys, mut step) = (HashSet::with_hasher(BuildUnhashed::default()), Vec::new());
            // Two of one key do not run beside each other: the later one is to stay.
            let mut is_next = |key: KeyHash| keys.len() < AT_A_TIME && keys.insert(key);
            while let Some(entry) = entries.next_if(|(key, _)| is_next(self.at(key.as_ref()).1.hash)) {
                step.push(entry);
            }
            let rules = &rules;
            let set = |(key, value): (K, V)| async move {
                let (part, key) = self.at(key.as_ref());
                part.put_or_drop(key, value, rules).await
            };
            deliveries.extend(Box::pin(all(step.into_iter().map(set))).await);
        }
        deliveries
    }
}

/// Looks for what is open, in all parts beside each other.
async fn look_up_all<V: Value>(batches: &mut [Batch<'_, V>]) {
    let open = batches.iter_mut().filter(|batch| !batch.open.is_empty());
    all(open.map(|batch| batch.part.look_up_many(batch))).await;
}

impl Verbs<'_> {
    /// [`TieredCache::get_many`]: the values alone, without where they came from.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.set("price:9", 42_u64, policy).await?;
    /// // What this instance has copies of.
    /// let here = cache.with(CallOptions::new().reads(Tiers::L1));
    /// assert_eq!(here.get_many::<u64>(["price:8", "price:9"]).await, [None, Some(42)]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// At the deadline, what this instance has no copy of is `None`, also where only a part of it has not been found by then.
    ///
    /// Cancel safety as for [`TieredCache::get_many`].
    pub async fn get_many<V: Value>(self, keys: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<Option<V>> {
        let keys: Vec<_> = keys.into_iter().collect();
        let (given, mut batches) = Given::to(self.cache, &keys, self.options);
        // What was found by the deadline stands in the batches.
        let _ = self.in_time(look_up_all(&mut batches)).await;
        given.answers(batches)
    }

    /// [`TieredCache::get_or_load_many`]: the values alone, without where they came from.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// # async fn fetch(keys: Vec<String>) -> Result<Vec<(String, usize)>, std::io::Error> {
    /// #     Ok(keys.into_iter().map(|key| (key.clone(), key.len())).collect())
    /// # }
    /// // An export: what it reads drives nothing out of this instance.
    /// let export = cache.with(CallOptions::new().writes(Tiers::Neither));
    /// assert_eq!(export.get_or_load_many(["word:one", "word:three"], policy, fetch).await?, [Some(8), Some(10)]);
    /// assert_eq!(cache.get::<usize>("word:one").await, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::get_or_load_many`].
    ///
    /// # Errors
    ///
    /// As [`TieredCache::get_or_load_many`]; [`LoadError::Deadline`] at the deadline, also where all that is missing is stale and a call for that
    /// key alone would be answered with it.
    pub async fn get_or_load_many<V, E, L, N, F, Fut>(
        self,
        keys: impl IntoIterator<Item = impl AsRef<str>>,
        rules: impl Rules<V>,
        load: F,
    ) -> Result<Vec<Option<V>>, LoadError<E>>
    where
        V: Value,
        E: Send + Sync + 'static,
        L: IntoIterator<Item = (N, V)>,
        N: AsRef<str>,
        F: FnMut(Vec<String>) -> Fut,
        Fut: Future<Output = Result<L, E>>,
    {
        let keys: Vec<_> = keys.into_iter().collect();
        let (given, mut batches) = Given::to(self.cache, &keys, self.options);
        if batches.iter().any(|batch| !batch.open.is_empty()) {
            let fetched = self.in_time(Box::pin(self.cache.fetch_many(&mut batches, &rules, load))).await;
            turn_back().await;
            fetched.map_err(LoadError::Deadline)??;
        }
        Ok(given.answers(batches))
    }
}
