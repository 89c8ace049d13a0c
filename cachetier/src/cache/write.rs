//! Mutations: invalidations of every kind, and `set`, whose story is in `put.rs`. How a bump comes to its outcome, also when its caller is
//! dropped, is `coherence/own.rs`'s.

use super::{Part, Rules, TieredCache, Value};
use crate::all::all;
use crate::coherence::own::{self, Teller, bump, bump_counting};
use crate::error::CacheError;
use crate::parts::Parts;
use crate::rule::seq::Point;
use crate::rule::token::Token;
use crate::wire::message::Targets;

/// How far a mutation has come. It may be left aside: what is pending is told until it is confirmed. Who must know asks
/// [`confirmed`](Delivery::confirmed).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use cachetier::{CallKind, Delivery, InProcess, TieredCache};
///
/// let tier = InProcess::new();
/// let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
/// assert!(matches!(cache.invalidate("k").await?, Delivery::Applied(_)));
/// tier.lose_next(CallKind::Bump);
/// assert_eq!(cache.invalidate("k").await?, Delivery::Pending);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// It stands on the lane, at this point. Of a key: no load begun before it can be stored any more. Of a tag, a prefix or everything: what
    /// such a load stores is served to nobody.
    Applied(Token),
    /// The shared tier has not confirmed it. It holds in this instance, and is told to the others as soon as they can be reached, if this
    /// instance lives so long: what is pending is lost with the process and with the last handle, which [`close`](TieredCache::close) waits for.
    Pending,
}

impl Delivery {
    /// The point at which it stands on the lane, or an error: for who must know that every instance is going to hear of it, before he goes
    /// on. For every verb that returns a [`Delivery`].
    ///
    /// The error takes nothing back. Nobody knows whether the shared tier has carried it out; it holds in the instance that asked for it,
    /// and is told until it is confirmed, which [`flush`](TieredCache::flush) waits for.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use cachetier::{CacheError, CallKind, InProcess, TieredCache};
    ///
    /// let tier = InProcess::new();
    /// let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// let token = cache.invalidate("k").await?.confirmed()?;
    /// println!("it stands at {token}");
    ///
    /// tier.lose_next(CallKind::Bump);
    /// assert_eq!(cache.invalidate_tag("t").await?.confirmed(), Err(CacheError::Unconfirmed));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CacheError::Unconfirmed`] if it is pending.
    pub fn confirmed(self) -> Result<Token, CacheError> {
        match self {
            Self::Applied(token) => Ok(token),
            Self::Pending => Err(CacheError::Unconfirmed),
        }
    }

    /// What a mutation came to that came to this in one part and to that in another.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Applied(one), Self::Applied(other)) => Self::Applied(one.and(other)),
            _ => Self::Pending,
        }
    }
}

/// What a removal came to: see [`TieredCache::remove`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use cachetier::*;
/// let cache = TieredCache::builder("shop").build().await?;
/// let removed = cache.remove("cart:1").await?;
/// assert!(matches!(removed.delivery, Delivery::Applied(_)) && !removed.held);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// How far it has come.
    pub delivery: Delivery,
    /// Whether the key held something: a value, the mark of a load under way, what another program had put there. Unknown, and `false`, while the
    /// delivery is pending.
    pub held: bool,
}

impl TieredCache {
    /// Invalidates a key in both tiers of every instance: no value loaded before this call is served after it has returned, by this
    /// instance; by the others as soon as they have heard of it. Call it after the write has been committed.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.set("user:42", "Ada".to_owned(), policy).await?;
    /// let delivery = cache.invalidate("user:42").await?;
    /// assert!(matches!(delivery, Delivery::Applied(_)));
    /// assert_eq!(cache.get::<String>("user:42").await, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: a dropped call is carried out all the same.
    ///
    /// # Errors
    ///
    /// [`CacheError::Key`] if no entry can have this key, [`CacheError::Closed`] after a close. A shared tier that cannot be reached is no
    /// error: see [`Delivery`].
    pub async fn invalidate(&self, key: &str) -> Result<Delivery, CacheError> {
        self.bump(Targets::of_keys([key])?).await
    }

    /// [`TieredCache::invalidate`] for many keys, in one step for each thousand of them.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.invalidate_many(["user:42", "user:43"]).await?;
    /// cache.invalidate_many((0..3).map(|id| format!("user:{id}"))).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::invalidate`], for all of them.
    ///
    /// # Errors
    ///
    /// As [`TieredCache::invalidate`], before any of them is invalidated.
    pub async fn invalidate_many<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Delivery, CacheError> {
        self.bump(Targets::of_keys(keys)?).await
    }

    /// [`TieredCache::invalidate`] that also says whether the shared tier held something; without one, whether this instance did.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.set("cart:1", 3_u32, policy).await?;
    /// assert!(cache.remove("cart:1").await?.held);
    /// assert!(!cache.remove("cart:1").await?.held);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::invalidate`].
    ///
    /// # Errors
    ///
    /// As [`TieredCache::invalidate`].
    pub async fn remove(&self, key: &str) -> Result<Removed, CacheError> {
        let targets = Targets::of_keys([key])?;
        self.check_open()?;
        let (part, _) = self.at(key);
        let Some(tier) = &part.shared.tier else {
            let (point, held) = part.bump_alone(&targets);
            return Ok(Removed { delivery: part.applied(point), held });
        };
        let (delivery, held) = match bump_counting(part.instance(), tier, targets).await {
            Ok(bumped) => (part.applied(bumped.point), bumped.held > 0),
            Err(_) => (Delivery::Pending, false),
        };
        Ok(Removed { delivery, held })
    }

    /// Makes a key stale in every instance: it is served no more, but what it held stays, where it is, for the loader that brings something
    /// newer ([`LoadContext::stale`](crate::LoadContext::stale)), as long as it would have been kept anyway. For what may have changed, or will
    /// soon be asked for again, where the source can say whether it has; what must not come back in any form is
    /// [invalidated](TieredCache::invalidate).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.set("page:7", "<html>..".to_owned(), policy).await?;
    /// cache.expire("page:7").await?;
    /// assert_eq!(cache.get::<String>("page:7").await, None);
    ///
    /// let unchanged = async |context: LoadContext<'_, String>| match context.stale() {
    ///     Some(stale) => Ok(stale.not_modified()),
    ///     None => Err(std::io::Error::other("it was kept")),
    /// };
    /// assert_eq!(cache.get_or_load_with("page:7", policy, unchanged).await?, Some("<html>..".to_owned()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// It is a mutation like others: no load that began before it is stored. While it is [`Delivery::Pending`] it is an invalidation, and told
    /// again as one.
    ///
    /// Cancel safety: a dropped call is carried out all the same, as an invalidation.
    ///
    /// # Errors
    ///
    /// As [`TieredCache::invalidate`].
    pub async fn expire(&self, key: &str) -> Result<Delivery, CacheError> {
        let targets = Targets { stale: true, ..Targets::of_keys([key])? };
        self.check_open()?;
        let (part, _) = self.at(key);
        let Some(tier) = &part.shared.tier else { return Ok(part.applied(part.bump_alone(&targets).0)) };
        let expired = own::expire(part.instance(), tier, key, part.shared.stamps.next()).await;
        Ok(expired.map_or(Delivery::Pending, |point| part.applied(point)))
    }

    /// Invalidates every entry that carries the tag, however many there are, in one step.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.set("user:42", 1_u32, policy.tags(["org:7"])).await?;
    /// cache.set("user:43", 2_u32, policy.tags(["org:8"])).await?;
    /// cache.invalidate_tag("org:7").await?;
    /// assert_eq!(cache.get::<u32>("user:42").await, None);
    /// assert_eq!(cache.get::<u32>("user:43").await, Some(2));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::invalidate`].
    ///
    /// # Errors
    ///
    /// [`CacheError::Key`] if the tag is empty or too long, [`CacheError::Closed`] after a close.
    pub async fn invalidate_tag(&self, tag: &str) -> Result<Delivery, CacheError> {
        self.invalidate_tags([tag]).await
    }

    /// [`TieredCache::invalidate_tag`] for many tags, in one step for each thousand of them.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.invalidate_tags(["org:7", "prices"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::invalidate`], for all of them.
    ///
    /// # Errors
    ///
    /// As [`TieredCache::invalidate_tag`].
    pub async fn invalidate_tags<T: AsRef<str>>(&self, tags: impl IntoIterator<Item = T>) -> Result<Delivery, CacheError> {
        self.bump(Targets::of_tags(&self.config().namespace, tags)?).await
    }

    /// Invalidates every key below a prefix of whole segments: `"user:7:"` covers `user:7:name` and `user:7:mail:2`. The first four
    /// segments of a key can be used; it costs the same however many keys there are.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.set("user:7:name", "Ada".to_owned(), policy).await?;
    /// cache.invalidate_prefix("user:7:").await?;
    /// assert_eq!(cache.get::<String>("user:7:name").await, None);
    ///
    /// // Whole segments only.
    /// assert!(cache.invalidate_prefix("user:7").await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::invalidate`].
    ///
    /// # Errors
    ///
    /// [`CacheError::Key`] if the prefix is empty, too long or too deep, or does not end with `:`; [`CacheError::Closed`] after a close.
    pub async fn invalidate_prefix(&self, prefix: &str) -> Result<Delivery, CacheError> {
        self.bump(Targets::of_prefix(&self.config().namespace, prefix)?).await
    }

    /// Invalidates everything in the namespace, in one step.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.set("a", 1_u32, policy).await?;
    /// cache.clear().await?;
    /// assert_eq!(cache.get::<u32>("a").await, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::invalidate`].
    ///
    /// # Errors
    ///
    /// [`CacheError::Closed`] alone.
    pub async fn clear(&self) -> Result<Delivery, CacheError> {
        self.bump(Targets::everything()).await
    }

    /// Puts a value: what the others hold of the key is invalidated, and the value is stored in its place. Of two that race the one
    /// acknowledged last stays. [`Delivery::Applied`] means that nothing older is served any more; should something newer have come in
    /// between, this value is not stored either.
    ///
    /// A value that its rules would [not have stored](crate::Policy::cache_if) invalidates the key and nothing else.
    ///
    /// Prefer [`TieredCache::invalidate`] after a write, and let the next read load what is true then.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.set("rate:eur", 1.07_f64, policy.tags(["rates"])).await?;
    /// assert_eq!(cache.get::<f64>("rate:eur").await, Some(1.07));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: dropped, it counts as an invalidation of the key.
    ///
    /// # Errors
    ///
    /// Before anything is done: an unusable key or policy, too many tags, a value too large or one that the codec cannot carry,
    /// [`CacheError::Closed`] after a close.
    pub async fn set<V: Value>(&self, key: &str, value: V, rules: impl Rules<V>) -> Result<Delivery, CacheError> {
        let (part, key) = self.at(key);
        Box::pin(part.put_or_drop(key, value, &rules)).await
    }

    /// One bump, in all parts that it concerns.
    ///
    /// Cancel safety: dropped, it is carried out in each of them all the same.
    pub(super) async fn bump(&self, targets: Targets) -> Result<Delivery, CacheError> {
        let Parts::Several(_) = self.parts else { return self.parts.first().bump(targets).await };
        let bumps = self.parts.share(targets).into_iter().map(|(part, targets)| part.bump(targets));
        let deliveries = all(bumps).await.into_iter().collect::<Result<Vec<Delivery>, CacheError>>()?;
        Ok(deliveries.into_iter().reduce(Delivery::and).unwrap_or(Delivery::Pending))
    }
}

impl Part {
    pub(super) async fn bump(&self, targets: Targets) -> Result<Delivery, CacheError> {
        Ok(self.bump_to(targets).await?.map_or(Delivery::Pending, |point| self.applied(point)))
    }

    /// One bump, from its begin to its outcome: its point, if it is confirmed.
    pub(super) async fn bump_to(&self, targets: Targets) -> Result<Option<Point>, CacheError> {
        self.check_open()?;
        let instance = self.instance();
        if targets.len() == 0 {
            return Ok(Some(instance.view.known().0));
        }
        match &self.shared.tier {
            Some(tier) => Ok(bump(instance, tier, targets).await.ok()),
            None => Ok(Some(self.bump_alone(&targets).0)),
        }
    }

    /// A bump of a cache without a shared tier: its point, and whether one of the keys was held here.
    pub(super) fn bump_alone(&self, targets: &Targets) -> (Point, bool) {
        let instance = self.instance();
        let now = instance.now();
        let held = targets.keys.iter().any(|key| instance.l1.probe(instance.hash(key), now, &instance.view).is_some());
        for key in &targets.keys {
            instance.holds.touch(instance.hash(key), now);
        }
        let tick = instance.begin_own(targets, None);
        let point = instance.view.next_alone();
        instance.end_own(targets, tick, point, None);
        (point, held)
    }
}
