//! Mutations: invalidations of every kind, and `set`. Each is applied here before it is sent and again at its outcome, and reaches an
//! outcome also when its caller is dropped.

use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use super::answer::Just;
use super::ask::{Flight, entry};
use super::fill::Parcel;
use super::{Key, Rules, TieredCache, Value};
use crate::coherence::instance::Instance;
use crate::error::CacheError;
use crate::flight::outcome::{Begun, Outcome};
use crate::flight::{Plan, Purpose};
use crate::key::{TagHash, check_key, check_prefix};
use crate::l2::Filled;
use crate::l2::lane::Seized;
use crate::l2::tier::Tier;
use crate::lease::Ticket;
use crate::rule::seq::{Tick, Token};
use crate::rule::stamp::Stamp;
use crate::wire::message::Targets;

/// How far a mutation has come.
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
    /// It stands on the lane, at this point: no load begun before it can be stored any more.
    Applied(Token),
    /// The shared tier has not confirmed it. It holds in this instance, and is told to the others as soon as they can be reached.
    Pending,
}

/// What a removal came to: see [`TieredCache::remove`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// How far it has come.
    pub delivery: Delivery,
    /// Whether the key held something: a value, or the mark of a load under way. Unknown, and `false`, while the delivery is pending.
    pub held: bool,
}

/// An own bump between its begin and its outcome. Cancel safety: dropped in between, nobody knows whether it stands on the lane, so it
/// is given up: it goes to the outbox and is told again.
struct OwnBump {
    instance: Arc<Instance>,
    targets: Targets,
    settled: bool,
}

impl OwnBump {
    fn new(instance: &Arc<Instance>, targets: Targets) -> Self {
        Self { instance: Arc::clone(instance), targets, settled: false }
    }

    /// It stands on the lane at `at`.
    fn settle(mut self, upto: Tick, at: Token, coming: Option<Stamp>) {
        self.instance.end_own(&self.targets, upto, at, coming);
        self.settled = true;
    }
}

impl Drop for OwnBump {
    fn drop(&mut self) {
        if !self.settled {
            self.instance.give_up_own(std::mem::take(&mut self.targets));
        }
    }
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
    /// [`CacheError::Key`] if no entry can have this key. A shared tier that cannot be reached is no error: see [`Delivery`].
    pub async fn invalidate(&self, key: &str) -> Result<Delivery, CacheError> {
        Ok(self.remove(key).await?.delivery)
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
    /// # Errors
    ///
    /// As [`TieredCache::invalidate`], before any of them is invalidated.
    pub async fn invalidate_many<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Delivery, CacheError> {
        let mut targets = Targets::default();
        for key in keys {
            check_key(key.as_ref())?;
            targets.keys.push(key.as_ref().to_owned());
        }
        Ok(self.bump(targets).await?.delivery)
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
    /// # Errors
    ///
    /// As [`TieredCache::invalidate`].
    pub async fn remove(&self, key: &str) -> Result<Removed, CacheError> {
        check_key(key)?;
        self.bump(Targets { keys: vec![key.to_owned()], ..Targets::default() }).await
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
    /// Cancel safety and errors as for [`TieredCache::invalidate`].
    ///
    /// # Errors
    ///
    /// [`CacheError::Key`] if the tag is empty or too long.
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
    /// # Errors
    ///
    /// As [`TieredCache::invalidate_tag`].
    pub async fn invalidate_tags<T: AsRef<str>>(&self, tags: impl IntoIterator<Item = T>) -> Result<Delivery, CacheError> {
        let mut targets = Targets::default();
        for tag in tags {
            check_key(tag.as_ref())?;
            targets.tags.push(TagHash::of(&self.shared.config.namespace, tag.as_ref()));
        }
        Ok(self.bump(targets).await?.delivery)
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
    /// [`CacheError::Key`] if the prefix is empty, too long or too deep, or does not end with `:`.
    pub async fn invalidate_prefix(&self, prefix: &str) -> Result<Delivery, CacheError> {
        check_prefix(prefix)?;
        let prefixes = vec![TagHash::of_prefix(&self.shared.config.namespace, prefix)];
        Ok(self.bump(Targets { prefixes, ..Targets::default() }).await?.delivery)
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
        Ok(self.bump(Targets { all: true, ..Targets::default() }).await?.delivery)
    }

    /// Puts a value: what the others hold of the key is invalidated, and the value is stored in its place. Of two that race the one
    /// acknowledged last stays. [`Delivery::Applied`] means that nothing older is served any more; should something newer have come in
    /// between, this value is not stored either.
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
    /// Before anything is done: an unusable key or policy, too many tags, a value too large or one that the codec cannot carry.
    pub async fn set<V: Value>(&self, key: &str, value: V, rules: impl Rules) -> Result<Delivery, CacheError> {
        Box::pin(self.put(self.key(key), Just(value), rules)).await
    }

    async fn put<V: Value>(&self, key: Key<'_>, value: Just<V>, rules: impl Rules) -> Result<Delivery, CacheError> {
        self.check_open()?;
        let stamp = self.shared.stamps.next();
        let begun = Begun { writes: Some(stamp), ..self.begin(key) };
        let tier = self.shared.tier.as_ref();
        let parcel = self.pack(key, &rules, &begun, &value, tier.map(|_| stamp), Duration::ZERO)?;
        // A value always lives: only the knowledge that there is none may not be remembered.
        let Some(parcel) = parcel else { return Ok(Delivery::Pending) };

        let plan = Plan { purpose: Purpose::Write, kind: TypeId::of::<V>(), noted: begun };
        let instance = self.instance();
        // Whoever asks from now on waits for this flight; what invalidates the key detaches it, except the bump that announces it.
        let flight = instance.flights.supersede(key.hash, plan, || instance.l1.drop_entry(key.hash, None));
        let Some(tier) = tier else {
            instance.counters.invalidations.one();
            self.settle(flight, key, &rules, &begun, (value, parcel), None);
            return Ok(Delivery::Applied(instance.view.known().0));
        };

        let targets = Targets { keys: vec![key.text.to_owned()], ..Targets::default() };
        let tick = instance.begin_own(&targets, Some(stamp));
        // Cancel safety: from here on, a drop counts as an invalidation that nobody has confirmed.
        let own = OwnBump::new(instance, targets);
        let floor = instance.view.floor();
        let token = match tier.seize(key.text, stamp, floor).await {
            Ok(Seized::Planted(token)) => token,
            Ok(Seized::Held(token)) => {
                own.settle(tick, token, None);
                flight.finish(Outcome::Nothing, || {});
                return Ok(Delivery::Applied(token));
            }
            Err(_) => {
                drop(own);
                flight.finish(Outcome::Nothing, || {});
                return Ok(Delivery::Pending);
            }
        };
        match self.second_half(tier, key, stamp, &parcel).await {
            Some(Filled::Stored) => {
                own.settle(tick, token, Some(stamp));
                self.settle(flight, key, &rules, &begun, (value, parcel), Some(stamp));
                instance.counters.fills.one();
                Ok(Delivery::Applied(token))
            }
            // Something newer came: this one counts as an invalidation.
            Some(Filled::Refused) => {
                own.settle(tick, token, None);
                flight.finish(Outcome::Nothing, || {});
                instance.counters.fills_refused.one();
                Ok(Delivery::Applied(token))
            }
            None => {
                drop(own);
                flight.finish(Outcome::Nothing, || {});
                instance.counters.fills_unanswered.one();
                Ok(Delivery::Pending)
            }
        }
    }

    /// Stores the value where the first half has planted the ticket. `None`: nobody knows.
    async fn second_half(&self, tier: &Arc<Tier>, key: Key<'_>, stamp: Stamp, parcel: &Parcel) -> Option<Filled> {
        // Given back unless the fill has an answer.
        let ticket = Ticket::new(tier, key.text, stamp);
        let filled = tier.fill(ticket.name(), stamp, &parcel.bytes, parcel.life.shared).await.ok()?;
        ticket.spend();
        Some(filled)
    }

    /// Ends the flight of a `set` with its value.
    fn settle<V: Value>(
        &self,
        flight: Flight,
        key: Key<'_>,
        rules: &impl Rules,
        begun: &Begun,
        (value, parcel): (Just<V>, Parcel),
        stamp: Option<Stamp>,
    ) {
        let facts = self.facts(begun, rules, &parcel.tags, &value, stamp, (parcel.life.local, parcel.size));
        let entry = entry(facts, self.now(), Some(value.0));
        self.land(flight, key, entry, true);
    }

    /// One bump, from its begin to its outcome.
    pub(super) async fn bump(&self, targets: Targets) -> Result<Removed, CacheError> {
        self.check_open()?;
        let instance = self.instance();
        if targets.len() == 0 {
            return Ok(Removed { delivery: Delivery::Applied(instance.view.known().0), held: false });
        }
        let Some(tier) = &self.shared.tier else { return Ok(self.bump_alone(&targets)) };
        let tick = instance.begin_own(&targets, None);
        let floor = instance.view.floor();
        // Cancel safety: from here on, a drop gives the bump up.
        let own = OwnBump::new(instance, targets);
        #[cfg(feature = "chaos")]
        crate::pause::at(crate::pause::Point::BeforeSending).await;
        match tier.bump(&own.targets, floor).await {
            Ok(bumped) => {
                #[cfg(feature = "chaos")]
                crate::pause::at(crate::pause::Point::BeforeSecondDrop).await;
                own.settle(tick, bumped.token, None);
                Ok(Removed { delivery: Delivery::Applied(bumped.token), held: bumped.held > 0 })
            }
            Err(_) => Ok(Removed { delivery: Delivery::Pending, held: false }),
        }
    }

    /// A bump of a cache without a shared tier.
    fn bump_alone(&self, targets: &Targets) -> Removed {
        let instance = self.instance();
        let now = instance.now();
        let held = targets.keys.iter().any(|key| instance.l1.probe(instance.hash(key), now, &instance.view).is_some());
        let tick = instance.begin_own(targets, None);
        let token = instance.view.next_alone();
        instance.end_own(targets, tick, token, None);
        Removed { delivery: Delivery::Applied(token), held }
    }
}
