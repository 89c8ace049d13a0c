//! Values that only this instance can hold: what cannot be written, or is not worth it.

use std::convert::Infallible;
use std::future::Future;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::TieredCache;
use super::answer::{Answer, Just};
use super::call::CallOptions;
use super::places::turn_back;
use super::rules::Rules;
use super::telling::AsLoadError;
use super::terms::Terms;
use crate::error::LoadError;
use crate::l1::Entry;
use crate::rule::policy::Policy;

/// The verbs of reading for values that are kept in this instance alone: see [`TieredCache::local`].
///
/// ```
/// # use std::time::Duration;
/// # use cachetier::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache = TieredCache::builder("shop").build().await?;
/// # let policy = Policy::ttl(Duration::from_secs(60));
/// use std::sync::Arc;
///
/// type Discount = Arc<dyn Fn(u64) -> u64 + Send + Sync>;
///
/// let half: Discount = cache.local().get_or_compute("discount:7", policy, || async { Arc::new(|price: u64| price / 2) as Discount }).await?;
/// assert_eq!(half(8), 4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Local<'a> {
    cache: &'a TieredCache,
    /// What one value is taken to have, in bytes, beside what it is in place.
    bytes: usize,
}

/// A value that is not written. It only looks as if it could be, for the way of a read is one for all.
#[derive(Clone)]
struct Unshared<V>(V);

const UNSHARED: &str = "it is kept in this instance alone";

impl<V> Serialize for Unshared<V> {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom(UNSHARED))
    }
}

impl<'de, V> Deserialize<'de> for Unshared<V> {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom(UNSHARED))
    }
}

/// Such a value on its way, with what it counts as.
struct Kept<V> {
    value: Unshared<V>,
    bytes: usize,
}

/// The name of a type for people: of a value that is kept here, and not of what is around it.
pub(super) fn shown(type_name: &'static str) -> &'static str {
    let within = type_name.strip_prefix(concat!(module_path!(), "::Unshared<"));
    within.and_then(|within| within.strip_suffix('>')).unwrap_or(type_name)
}

impl<V: Clone + Send + Sync + 'static> Answer for Kept<V> {
    type Value = Unshared<V>;

    fn of(entry: &Entry) -> Option<Self> {
        Just::of(entry).map(|Just(value)| Self { value, bytes: 0 })
    }

    fn from(value: Option<Unshared<V>>) -> Option<Self> {
        value.map(|value| Self { value, bytes: 0 })
    }

    fn value(&self) -> Option<&Unshared<V>> {
        Some(&self.value)
    }

    fn bytes(&self) -> Option<usize> {
        Some(size_of::<V>().saturating_add(self.bytes))
    }
}

/// What rules say of the value within.
struct Within<R>(R);

impl<V, R: Rules<V>> Rules<Unshared<V>> for Within<R> {
    fn policy(&self) -> &Policy {
        self.0.policy()
    }

    fn adapt(&self, value: Option<&Unshared<V>>, terms: &mut Terms<'_>) {
        self.0.adapt(value.map(|Unshared(value)| value), terms);
    }
}

impl TieredCache {
    /// The verbs of reading for values that need not be written: compiled expressions, connections, `Arc<dyn ..>`. They are kept in this instance
    /// and nowhere else, bounded, loaded once however many ask, and invalidated like all others, from any instance: by key, tag, prefix,
    /// pattern and everything. Each instance loads its own; where it has missed something it loads again.
    ///
    /// A load looks at the key in the shared tier, for a [guard](TieredCache::guard) may hold it; it reads and stores nothing there. A key holds one
    /// type, here as well: use keys of their own for these values.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// /// Neither serde's traits nor a copy of what is in it.
    /// struct Compiled(Vec<String>);
    ///
    /// let compile = || async { std::sync::Arc::new(Compiled("a|b".split('|').map(str::to_owned).collect())) };
    /// let local = cache.local();
    /// local.get_or_compute("pattern:7", policy.tags(["patterns"]), compile).await?;
    /// assert!(local.get::<std::sync::Arc<Compiled>>("pattern:7").is_some_and(|compiled| compiled.0.len() == 2));
    ///
    /// cache.invalidate_tag("patterns").await?;
    /// assert!(local.get::<std::sync::Arc<Compiled>>("pattern:7").is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "it is what the verbs are called on"]
    pub const fn local(&self) -> Local<'_> {
        Local { cache: self, bytes: 0 }
    }
}

impl Local<'_> {
    /// What a value that is loaded counts as where [capacity is in bytes](crate::CacheBuilder::l1_max_bytes), beside its own size in place: what stands
    /// behind its pointers cannot be known. Without it that counts for nothing.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let tables = cache.local().counted_as(1 << 20);
    /// tables.get_or_compute("table:7", policy, || async { std::sync::Arc::new(vec![0_u8; 1 << 20]) }).await?;
    /// assert!(cache.stats().l1_weight > 1 << 20);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "it is what the verbs are called on"]
    pub const fn counted_as(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Returns this instance's copy, if it has one that may be served now.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// assert!(cache.local().get::<std::sync::Weak<u8>>("none").is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn get<V: Clone + Send + Sync + 'static>(self, key: &str) -> Option<V> {
        let (part, key) = self.cache.at(key);
        part.hit(key).map(|Kept { value: Unshared(value), .. }| value)
    }

    /// [`TieredCache::get_or_load`], for a value that is kept in this instance alone.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// struct Template(String);
    ///
    /// let load = || async { Ok::<_, std::io::Error>(std::sync::Arc::new(Template("Dear {name}".to_owned()))) };
    /// let template = cache.local().get_or_load("template:welcome", policy, load).await?;
    /// assert!(template.0.starts_with("Dear"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::get_or_load`].
    ///
    /// # Errors
    ///
    /// As [`TieredCache::get_or_load`].
    pub async fn get_or_load<V, E, F, Fut>(self, key: &str, rules: impl Rules<V>, load: F) -> Result<V, LoadError<E>>
    where
        V: Clone + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
    {
        let (part, key) = self.cache.at(key);
        if let Some(Kept { value: Unshared(value), .. }) = part.hit_unless_due(key) {
            return Ok(value);
        }
        let bytes = self.bytes;
        let load = async move |_| load().await.map(|value| Kept { value: Unshared(value), bytes });
        let found = Box::pin(part.fetch_as(AsLoadError, CallOptions::LOCAL, key, Within(rules), load)).await;
        turn_back().await;
        Ok(found?.answer.value.0)
    }

    /// [`Local::get_or_load`] for a loader that cannot fail.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let shared = cache.local().get_or_compute("lock:7", policy, || async { std::sync::Arc::new(std::sync::Mutex::new(7)) }).await?;
    /// assert_eq!(*shared.lock().unwrap(), 7);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::get_or_load`].
    ///
    /// # Errors
    ///
    /// As [`TieredCache::get_or_compute`].
    pub async fn get_or_compute<V, F, Fut>(self, key: &str, rules: impl Rules<V>, load: F) -> Result<V, LoadError<Infallible>>
    where
        V: Clone + Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = V>,
    {
        self.get_or_load(key, rules, async move || Ok(load().await)).await
    }
}

impl std::fmt::Debug for Local<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").field("cache", self.cache).field("bytes", &self.bytes).finish()
    }
}
