//! Calls that differ from the others: which tiers they use, whether they load in any case, how long they may take, and where their answers
//! came from.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::answer::{Answer, Just, Maybe};
use super::loaded::{LoadContext, Loaded};
use super::places::turn_back;
use super::rules::Rules;
use super::served::{Answered, Served};
use super::telling::AsLoadError;
use super::{Key, Part, TieredCache, Value};
use crate::error::LoadError;
use crate::l1::Entry;

/// Which of the two tiers.
///
/// ```
/// use cachetier::{CallOptions, Tiers};
///
/// const PAST_THE_COPIES: CallOptions = CallOptions::new().reads(Tiers::L2);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tiers {
    /// This instance's copies and the shared tier.
    #[default]
    Both,
    /// This instance's copies alone.
    L1,
    /// The shared tier alone.
    L2,
    /// None of them.
    Neither,
}

impl Tiers {
    pub(super) const fn l1(self) -> bool {
        matches!(self, Self::Both | Self::L1)
    }

    pub(super) const fn l2(self) -> bool {
        matches!(self, Self::Both | Self::L2)
    }
}

/// How one call differs from the others: see [`TieredCache::with`].
///
/// ```
/// use std::time::Duration;
/// use cachetier::{CallOptions, Tiers};
///
/// // A user who has pressed reload.
/// const RELOAD: CallOptions = CallOptions::new().fresh();
/// // A large export: what it reads is of no use to others, and drives nothing out.
/// const EXPORT: CallOptions = CallOptions::new().writes(Tiers::Neither);
/// // Rather an error than a late answer.
/// const HURRIED: CallOptions = CallOptions::new().deadline(Duration::from_millis(200));
/// # let _ = (RELOAD, EXPORT, HURRIED);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "options do nothing by themselves"]
pub struct CallOptions {
    pub(super) reads: Tiers,
    pub(super) writes: Tiers,
    pub(super) fresh: bool,
    pub(super) deadline: Option<Duration>,
    /// Whether the values are such that only this instance can hold them.
    pub(super) unshared: bool,
    /// Whether what is stale and answers is refreshed behind the caller's back.
    pub(super) behind: bool,
}

impl CallOptions {
    /// Those of every other call.
    pub const fn new() -> Self {
        Self { reads: Tiers::Both, writes: Tiers::Both, fresh: false, deadline: None, unshared: false, behind: false }
    }

    /// Where the call looks before it loads. Who reads or loads the key already is waited for in any case.
    ///
    /// A load without a look at the shared tier stores nothing there; and as a [guard](TieredCache::guard) may hold the key there, what it brings
    /// is kept here for no longer than [`max_staleness`](crate::CacheBuilder::max_staleness).
    ///
    /// ```
    /// # use cachetier::*;
    /// // What the other instances would find.
    /// const SHARED: CallOptions = CallOptions::new().reads(Tiers::L2);
    /// ```
    pub const fn reads(mut self, tiers: Tiers) -> Self {
        self.reads = tiers;
        self
    }

    /// Where what is found or loaded is kept.
    ///
    /// Who waits for this call's load gets its answer, and keeps it nowhere else.
    ///
    /// ```
    /// # use cachetier::*;
    /// // For the other instances, and not for this one: a job that fills the shared tier.
    /// const FOR_OTHERS: CallOptions = CallOptions::new().writes(Tiers::L2);
    /// ```
    pub const fn writes(mut self, tiers: Tiers) -> Self {
        self.writes = tiers;
        self
    }

    /// Loads in any case, by a load that begins after the call, and stores what that brings in the place of what is there. A `get` finds
    /// nothing then.
    ///
    /// Meanwhile what is there is served, and if the load fails it stays; but the place of what would end within a
    /// [lease](crate::CacheBuilder::lease) (3 s by default) is taken, and others wait for the load. Other instances go on serving their own copies
    /// until their life is over: where they are wrong, [invalidate](TieredCache::invalidate) the key. What is [not to be stored](crate::Policy::cache_if) invalidates it.
    /// If somebody loads the key already, what this call loads is returned and not stored; so it is where another program's bytes, or a value of
    /// another type, stand in the key.
    ///
    /// ```
    /// # use cachetier::*;
    /// const RELOAD: CallOptions = CallOptions::new().fresh();
    /// ```
    pub const fn fresh(mut self) -> Self {
        self.fresh = true;
        self
    }

    /// Those of a call for a value that only this instance can hold.
    pub(super) const LOCAL: Self = Self { unshared: true, ..Self::new().reads(Tiers::L1).writes(Tiers::L1) };

    /// Those of a call whose loader may be kept.
    pub(super) const BEHIND: Self = Self { behind: true, ..Self::new() };

    /// Whether this instance's copies may answer.
    pub(super) const fn looks_here(self) -> bool {
        self.reads.l1() && !self.fresh
    }

    /// Whether the shared tier is asked, be it for the right to fill it.
    pub(super) const fn asks(self) -> bool {
        self.reads.l2() || (self.fresh && self.writes.l2())
    }

    /// How long the call may take. At the end a read finds nothing or fails with [`LoadError::Deadline`], and its loader, if it runs by then,
    /// is dropped as if the caller had gone: somebody who waits takes over.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// const HURRIED: CallOptions = CallOptions::new().deadline(Duration::from_millis(200));
    /// ```
    pub const fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }
}

/// The verbs of reading, with options, and those of a single key told where answers came from: see [`TieredCache::with`].
///
/// ```
/// # use std::time::Duration;
/// # use cachetier::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache = TieredCache::builder("shop").build().await?;
/// # let policy = Policy::ttl(Duration::from_secs(60));
/// let call = cache.with(CallOptions::new().deadline(Duration::from_secs(1)));
/// let served = call.get_or_load("price:9", policy, || async { Ok::<_, std::io::Error>(42) }).await?;
/// assert_eq!((served.value, served.origin), (42, Origin::Loader));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Verbs<'a> {
    pub(super) cache: &'a TieredCache,
    pub(super) options: CallOptions,
}

impl TieredCache {
    /// The verbs of reading, with options: skip a tier, load in any case, end at a deadline. What those of a single key return says where it
    /// came from.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let load = |n: u64| move || async move { Ok::<_, std::io::Error>(n) };
    /// cache.get_or_load("price:9", policy, load(42)).await?;
    ///
    /// let reload = CallOptions::new().fresh();
    /// let served = cache.with(reload).get_or_load("price:9", policy, load(43)).await?;
    /// assert_eq!(served.value, 43);
    /// assert_eq!(cache.get::<u64>("price:9").await, Some(43));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "it is what the verbs are called on"]
    pub const fn with(&self, options: CallOptions) -> Verbs<'_> {
        Verbs { cache: self, options }
    }

    /// [`TieredCache::get_or_load`] that also says where the value came from, how old it is, and whether it is known to be current.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let load = || async { Ok::<_, std::io::Error>(42) };
    /// assert_eq!(cache.get_or_load_traced("price:9", policy, load).await?.origin, Origin::Loader);
    /// let served = cache.get_or_load_traced("price:9", policy, load).await?;
    /// assert_eq!((served.value, served.origin, served.stale), (42, Origin::L1, None));
    /// assert!(served.age < Duration::from_secs(60));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::get_or_load`].
    ///
    /// # Errors
    ///
    /// As [`TieredCache::get_or_load`].
    pub async fn get_or_load_traced<V, E, F, Fut>(
        &self,
        key: &str,
        rules: impl Rules<V>,
        load: F,
    ) -> Result<Served<V>, LoadError<E>>
    where
        V: Value,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
    {
        self.with(CallOptions::new()).get_or_load(key, rules, load).await
    }
}

impl Verbs<'_> {
    /// [`TieredCache::get`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.set("price:9", 42_u64, policy).await?;
    /// let served = cache.with(CallOptions::new()).get::<u64>("price:9").await;
    /// assert!(served.is_some_and(|served| served.value == 42 && served.origin == Origin::L1));
    /// // Without a shared tier there is nothing behind this instance.
    /// assert!(cache.with(CallOptions::new().reads(Tiers::L2)).get::<u64>("price:9").await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::get`].
    pub async fn get<V: Value>(self, key: &str) -> Option<Served<V>> {
        let (part, key) = self.cache.at(key);
        let found = match self.hit(part, key) {
            Some(found) => found,
            None => self.in_time(Box::pin(part.look_up::<Just<V>>(key, self.options))).await.ok()??,
        };
        Some(found.served(part.now(), &part.instance().view, |Just(value)| value))
    }

    /// [`TieredCache::get_or_load`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let call = cache.with(CallOptions::new().writes(Tiers::Neither));
    /// let served = call.get_or_load("price:9", policy, || async { Ok::<_, std::io::Error>(42) }).await?;
    /// assert_eq!((served.value, cache.get::<u64>("price:9").await), (42, None));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::get_or_load`].
    ///
    /// # Errors
    ///
    /// As [`TieredCache::get_or_load`]; [`LoadError::Deadline`] at the deadline.
    pub async fn get_or_load<V, E, F, Fut>(self, key: &str, rules: impl Rules<V>, load: F) -> Result<Served<V>, LoadError<E>>
    where
        V: Value,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
    {
        self.answer(key, rules, async move |_| load().await.map(Just), |Just(value)| value).await
    }

    /// [`TieredCache::get_or_compute`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let served = cache.with(CallOptions::new()).get_or_compute("primes", policy, || async { vec![2, 3, 5] }).await?;
    /// assert_eq!(served.into_value(), [2, 3, 5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::get_or_load`].
    ///
    /// # Errors
    ///
    /// As [`Verbs::get_or_load`], but for an error of the loader.
    pub async fn get_or_compute<V, F, Fut>(
        self,
        key: &str,
        rules: impl Rules<V>,
        load: F,
    ) -> Result<Served<V>, LoadError<Infallible>>
    where
        V: Value,
        F: FnOnce() -> Fut,
        Fut: Future<Output = V>,
    {
        self.answer(key, rules, async move |_| Ok(Just(load().await)), |Just(value)| value).await
    }

    /// [`TieredCache::get_or_load_optional`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// let policy = Policy::ttl(Duration::from_secs(60)).negative_ttl(Duration::from_secs(5));
    /// let nobody = || async { Ok::<Option<String>, std::io::Error>(None) };
    /// let call = cache.with(CallOptions::new());
    /// assert_eq!(call.get_or_load_optional("user:0", policy, nobody).await?.origin, Origin::Loader);
    /// let served = call.get_or_load_optional("user:0", policy, nobody).await?;
    /// assert_eq!((served.value, served.origin), (None, Origin::L1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::get_or_load`].
    ///
    /// # Errors
    ///
    /// As [`Verbs::get_or_load`].
    pub async fn get_or_load_optional<V, E, F, Fut>(
        self,
        key: &str,
        rules: impl Rules<V>,
        load: F,
    ) -> Result<Served<Option<V>>, LoadError<E>>
    where
        V: Value,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Option<V>, E>>,
    {
        self.answer(key, rules, async move |_| load().await.map(Maybe), |Maybe(value)| value).await
    }

    /// [`TieredCache::get_or_load_with`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let load = async |context: LoadContext<'_, usize>| Ok::<_, std::io::Error>(Loaded::new(context.key().len()));
    /// let served = cache.with(CallOptions::new()).get_or_load_with("four", policy, load).await?;
    /// assert_eq!(served.value, Some(4));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::get_or_load`].
    ///
    /// # Errors
    ///
    /// As [`Verbs::get_or_load`].
    pub async fn get_or_load_with<'k, V, E, F, Fut>(
        self,
        key: &'k str,
        rules: impl Rules<V>,
        load: F,
    ) -> Result<Served<Option<V>>, LoadError<E>>
    where
        V: Value,
        E: Send + Sync + 'static,
        F: FnOnce(LoadContext<'k, V>) -> Fut,
        Fut: Future<Output = Result<Loaded<V>, E>>,
    {
        self.answer(key, rules, |stale| load(LoadContext::of(key, stale)), Loaded::into_value).await
    }

    fn hit<A: Answer>(self, part: &Part, key: Key<'_>) -> Option<Answered<A>> {
        if self.options.looks_here() { part.hit_here(key) } else { None }
    }

    async fn answer<A, V, E, F, Fut>(
        self,
        key: &str,
        rules: impl Rules<A::Value>,
        load: F,
        value: impl FnOnce(A) -> V,
    ) -> Result<Served<V>, LoadError<E>>
    where
        A: Answer,
        E: Send + Sync + 'static,
        F: FnOnce(Option<Arc<Entry>>) -> Fut,
        Fut: Future<Output = Result<A, E>>,
    {
        let (part, key) = self.cache.at(key);
        let hit = if self.options.looks_here() { part.hit_here_unless_due(key) } else { None };
        let found = if let Some(found) = hit {
            found
        } else {
            let found = self.in_time(part.fetch_as(AsLoadError, self.options, key, &rules, load)).await;
            turn_back().await;
            match found {
                Ok(found) => found?,
                Err(limit) => part.copy_at_hand(key, rules.policy(), self.options).ok_or(LoadError::Deadline(limit))?,
            }
        };
        Ok(found.served(part.now(), &part.instance().view, value))
    }

    /// Up to the deadline, if there is one; an error names it.
    pub(super) async fn in_time<T>(self, call: impl Future<Output = T>) -> Result<T, Duration> {
        match self.options.deadline {
            Some(limit) => timeout(limit, call).await.map_err(|_| limit),
            None => Ok(call.await),
        }
    }
}

impl std::fmt::Debug for Verbs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verbs").field("cache", self.cache).field("options", &self.options).finish()
    }
}
