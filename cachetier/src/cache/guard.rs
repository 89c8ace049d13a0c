//! Write guards: keys held from before a write is committed until after it, so that nobody keeps what was loaded in between, even if
//! the process dies. What stands in the shared tier meanwhile is told in `docs/protocol.md`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::answer::Just;
use super::put::Putter;
use super::write::Delivery;
use super::{Part, Rules, TieredCache, Value};
use crate::all::all;
use crate::clock::{Millis, millis};
use crate::coherence::own::{OwnBump, Teller};
use crate::config::{LONGEST_GUARD, check_guard_time};
use crate::error::{CacheError, Fault};
use crate::key::{KeyHash, check_key};
use crate::l2::lane::Planted;
use crate::l2::tier::Tier;
use crate::rule::hold::MOST;
use crate::rule::stamp::Stamp;
use crate::view::Noted;
use crate::wire::message::Targets;

/// Keys held for one write: begun by [`TieredCache::guard`] before the write is committed, ended by [`WriteGuard::release`] after it.
///
/// While it holds them the keys have no value in any tier of any instance: reads ask their loader, and nothing of what it brings is
/// kept. So a value that was loaded before the commit cannot come back after it, and none is left behind if the process dies in
/// between: then the keys are held until the guard's limit is over.
///
/// Dropped without a release it does the same, is counted and logged: nobody knows whether the write was committed.
///
/// ```
/// # use std::time::Duration;
/// # use cachetier::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache = TieredCache::builder("shop").build().await?;
/// # let policy = Policy::ttl(Duration::from_secs(60));
/// # async fn commit() -> Result<(), std::io::Error> { Ok(()) }
/// cache.set("user:42", "Ada".to_owned(), policy).await?;
///
/// let guard = cache.guard(["user:42", "user:43"]).await?;
/// commit().await?; // your transaction
/// guard.release().await?;
///
/// assert_eq!(cache.get::<String>("user:42").await, None);
/// # Ok(())
/// # }
/// ```
#[must_use = "a guard that is not released holds its keys until its limit is over"]
pub struct WriteGuard {
    cache: TieredCache,
    /// What it holds in each part.
    holds: Vec<Hold>,
}

/// What a guard holds in one part.
struct Hold {
    part: Part,
    /// The guard's name in the holds.
    name: Stamp,
    /// Those that it holds still.
    keys: Vec<String>,
    /// What was known when all of them were held: before anything was committed under the guard.
    noted: Noted,
}

/// A hold of a guard that does not stand yet. Cancel safety: dropped, nobody has committed under it, and what it may have planted is taken away.
struct Planting {
    part: Part,
    /// The tier in which it may have been planted.
    tier: Option<Arc<Tier>>,
    name: Stamp,
    hashes: Vec<KeyHash>,
    keys: Vec<String>,
}

impl Planting {
    /// The guard stands.
    fn stands(mut self) -> Hold {
        self.tier = None;
        self.hashes.clear();
        let instance = self.part.instance();
        let noted = instance.view.note(instance.now());
        Hold { part: self.part.clone(), name: self.name, keys: std::mem::take(&mut self.keys), noted }
    }

    /// It was planted nowhere but here.
    fn never_sent(mut self) {
        self.tier = None;
    }
}

impl Drop for Planting {
    fn drop(&mut self) {
        let instance = self.part.instance();
        instance.holds.release(&self.hashes, self.name, None, instance.now());
        let floor = instance.view.floor();
        let Some(tier) = self.tier.take() else { return };
        let (keys, name) = (std::mem::take(&mut self.keys), self.name);
        tier.tasks().clone().begin(async move {
            // Without an answer its limit ends it.
            let _ = tier.release(&keys, name, Duration::ZERO, floor).await;
        });
    }
}

impl TieredCache {
    /// Holds keys for a write that is about to be committed, for at most the [limit](crate::CacheBuilder::guard_limit) that the cache was
    /// built with: 30 s unless set otherwise. See [`WriteGuard`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let guard = cache.guard(["user:42"]).await?;
    /// let loaded = cache.get_or_compute("user:42", policy, || async { 1 }).await?;
    /// assert_eq!((loaded, cache.get::<i32>("user:42").await), (1, None), "loaded, and not kept");
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: dropped, it holds nothing, or soon no longer.
    ///
    /// # Errors
    ///
    /// Unlike a read, a guard fails where the shared tier does: [`CacheError::NotGuarded`] says before the write is committed that it
    /// would not be guarded. [`CacheError::Key`], [`CacheError::TooManyKeys`] (1,000), [`CacheError::TooManyGuards`] (64 hold one of the
    /// keys), [`CacheError::Closed`].
    pub async fn guard<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> Result<WriteGuard, CacheError> {
        self.guard_for(keys, self.config().guard_limit).await
    }

    /// [`TieredCache::guard`] with a limit of its own, from 1 ms to an hour. It must be longer than the transaction takes: for what is
    /// committed after it, a guard that is released is no more than an invalidation, and one that is lost is nothing.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// let guard = cache.guard_for(["report:2026"], Duration::from_secs(600)).await?;
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::guard`].
    ///
    /// # Errors
    ///
    /// As [`TieredCache::guard`]; [`CacheError::GuardTime`] if the limit cannot be used.
    pub async fn guard_for<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        limit: Duration,
    ) -> Result<WriteGuard, CacheError> {
        check_guard_time("limit", limit).map_err(CacheError::GuardTime)?;
        let mut seen = BTreeSet::new();
        for key in keys {
            check_key(key.as_ref())?;
            seen.insert(key.as_ref().to_owned());
        }
        let most = self.config().max_guarded;
        if seen.len() > most {
            return Err(CacheError::TooManyKeys { keys: seen.len(), limit: most });
        }
        self.check_open()?;
        let keys = Targets { keys: seen.into_iter().collect(), ..Targets::default() };
        let holds = if keys.keys.is_empty() { Vec::new() } else { self.parts.share(keys) };
        // Those of other parts are taken away should one of them fail.
        let held = all(holds.into_iter().map(|(part, Targets { keys, .. })| part.hold(keys, limit))).await;
        let held = held.into_iter().collect::<Result<Vec<Planting>, CacheError>>()?;
        self.counters().guards.one();
        Ok(WriteGuard { cache: self.clone(), holds: held.into_iter().map(Planting::stands).collect() })
    }
}

impl Part {
    async fn hold(&self, keys: Vec<String>, limit: Duration) -> Result<Planting, CacheError> {
        let instance = self.instance();
        let name = self.shared.stamps.next();
        let hashes: Vec<KeyHash> = keys.iter().map(|key| instance.hash(key)).collect();
        let held_here = || instance.holds.plant(&hashes, name, instance.now().after(limit), instance.now());
        if !held_here() {
            return Err(CacheError::TooManyGuards { limit: MOST });
        }
        let targets = Targets { keys: keys.clone(), ..Targets::default() };
        let tier = self.shared.tier.clone();
        let planting = Planting { part: self.clone(), tier: tier.clone(), name, hashes: hashes.clone(), keys };
        let tick = instance.begin_own(&targets, None);
        let Some(tier) = tier else {
            instance.end_own(&targets, tick, instance.view.next_alone(), None);
            return Ok(planting);
        };
        match tier.hold(&targets.keys, name, limit, instance.view.floor()).await {
            Ok(Planted::Yes(point)) => {
                // Again: it began there later than here, and ends later.
                held_here();
                instance.end_own(&targets, tick, point, None);
                Ok(planting)
            }
            Ok(Planted::Crowded) => Err(CacheError::TooManyGuards { limit: MOST }),
            Err(Fault::Away(why)) => {
                planting.never_sent();
                Err(CacheError::NotGuarded(why))
            }
            // Also where it was refused: a script may end at its last step.
            Err(Fault::Unanswered(why)) => Err(CacheError::NotGuarded(why)),
            Err(fault) => Err(CacheError::NotGuarded(fault.to_string().into())),
        }
    }
}

impl WriteGuard {
    /// Ends the guard after its write has been committed, or rolled back: an invalidation of its keys, which may be kept again by
    /// whoever loads from now on.
    ///
    /// With [`Delivery::Pending`] it holds in this instance that they are invalidated, and is told to the others as soon as they can be
    /// reached; until the guard's limit is over the keys may go on being held.
    ///
    /// Cancel safety: dropped, it counts as pending.
    ///
    /// # Errors
    ///
    /// [`CacheError::Closed`] alone: then the keys are held until the guard's limit is over.
    pub async fn release(self) -> Result<Delivery, CacheError> {
        self.release_after(Duration::ZERO).await
    }

    /// [`WriteGuard::release`] for loaders that read from a replica: the keys stay held for `lag` more, so that a row which the replica
    /// has not got yet is not kept. At most an hour; more counts as one.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (clock, hand) = Clock::manual();
    /// # let cache = TieredCache::builder("shop").clock(clock).build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let guard = cache.guard(["user:42"]).await?;
    /// guard.release_after(Duration::from_secs(5)).await?;
    ///
    /// cache.get_or_compute("user:42", policy, || async { 1 }).await?; // from the replica, which may lag behind
    /// assert_eq!(cache.get::<i32>("user:42").await, None);
    /// # hand.advance(Duration::from_secs(5));
    /// // Five seconds later:
    /// cache.get_or_compute("user:42", policy, || async { 2 }).await?;
    /// assert_eq!(cache.get::<i32>("user:42").await, Some(2));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// With [`Delivery::Pending`] only this instance is sure to wait for the lag.
    ///
    /// Cancel safety and errors as for [`WriteGuard::release`].
    pub async fn release_after(mut self, lag: Duration) -> Result<Delivery, CacheError> {
        self.cache.check_open()?;
        // Whole milliseconds, as every tier counts them.
        let lag = Duration::from_millis(millis(lag.min(LONGEST_GUARD)));
        let holds = std::mem::take(&mut self.holds);
        let released = all(holds.into_iter().filter(|hold| !hold.keys.is_empty()).map(|hold| hold.release_after(lag))).await;
        match released.into_iter().reduce(Delivery::and) {
            Some(delivery) => Ok(delivery),
            None => self.cache.bump(Targets::default()).await,
        }
    }

    /// Puts the value that was committed under the guard in the place of its hold, and ends the guard for this key: like
    /// [`TieredCache::set`], and without its race. It is stored only if nobody else has invalidated the key, or held it, since the guard
    /// began; otherwise it counts as an invalidation.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let mut guard = cache.guard(["rate:eur", "rates"]).await?;
    /// let rate = 1.07_f64; // and your transaction
    /// guard.set("rate:eur", rate, policy).await?;
    /// guard.release().await?; // the other key
    /// assert_eq!(cache.get::<f64>("rate:eur").await, Some(1.07));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A value that its rules would [not have stored](crate::Policy::cache_if) leaves the key held until the guard is released.
    ///
    /// A tag of the value that is invalidated while the guard stands invalidates the value, too.
    ///
    /// With [`Delivery::Pending`] nobody knows whether the hold is gone, and [`WriteGuard::release`] no longer covers this key: it is
    /// invalidated, and may go on being held, so kept nowhere, until the guard's limit is over.
    ///
    /// Cancel safety: dropped, it counts as pending.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotHeld`] for a key that the guard does not hold, or no longer; else as [`TieredCache::set`], before anything is
    /// done: the key then stays held.
    pub async fn set<V: Value>(&mut self, key: &str, value: V, rules: impl Rules<V>) -> Result<Delivery, CacheError> {
        let place = |hold: &mut Hold| hold.keys.iter().position(|held| held == key);
        let Some((Hold { part, name, keys, noted }, at)) = self.holds.iter_mut().find_map(|hold| place(hold).map(|at| (hold, at)))
        else {
            return Err(CacheError::NotHeld { key: key.to_owned() });
        };
        let value = Just(value);
        let terms = part.terms(&rules, &value);
        // Cancel safety: from its first await on, the put answers for the key.
        let taken = Taken { key: keys.swap_remove(at), from: keys };
        let putter = Putter::Guard(*name, *noted);
        let put = Box::pin(part.put(part.key(&taken.key), value, &terms, putter)).await;
        if !matches!(put, Ok(Some(_))) {
            taken.put_back();
        }
        // What is held is served by nobody.
        Ok(put?.unwrap_or(part.applied(noted.born)))
    }
}

impl Hold {
    /// Ends the hold after the write, but for the lag.
    async fn release_after(self, lag: Duration) -> Delivery {
        let Self { part, name, keys, .. } = self;
        let instance = part.instance();
        let hashes: Vec<KeyHash> = keys.iter().map(|key| instance.hash(key)).collect();
        let targets = Targets { keys, ..Targets::default() };
        let let_go = || {
            let now = instance.now();
            let lag_end: Option<Millis> = (!lag.is_zero()).then(|| now.after(lag));
            instance.holds.release(&hashes, name, lag_end, now);
        };
        let Some(tier) = &part.shared.tier else {
            let_go();
            return part.applied(part.bump_alone(&targets).0);
        };
        // Cancel safety: from here on, a drop counts as an invalidation that nobody has confirmed.
        let own = OwnBump::begin(instance, targets, None);
        // Before it is sent: who loads from now on asks the tier, which holds the keys until the release runs there.
        let_go();
        match tier.release(own.keys(), name, lag, instance.view.floor()).await {
            Ok(released) => {
                let lost = u64::try_from(hashes.len()).unwrap_or(u64::MAX).saturating_sub(released.stood);
                instance.counters.holds_lost.add(lost);
                own.settle(released.point, None);
                part.applied(released.point)
            }
            Err(_) => Delivery::Pending,
        }
    }
}

/// A key that is about to be put, and goes back to those that are held should that panic: what writes a value is the caller's code.
struct Taken<'a> {
    key: String,
    from: &'a mut Vec<String>,
}

impl Taken<'_> {
    fn put_back(mut self) {
        let key = std::mem::take(&mut self.key);
        self.from.push(key);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.from.push(std::mem::take(&mut self.key));
        }
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        let mut keys = self.holds.iter().flat_map(|hold| &hold.keys);
        let Some(key) = keys.next() else { return };
        let counters = self.cache.counters();
        counters.guards_dropped.one();
        if counters.told.guard_dropped.first() {
            tracing::warn!(
                key,
                keys = keys.count().saturating_add(1),
                "a write guard was dropped before it was released: its keys stay held until its limit is over; further ones are only counted"
            );
        }
    }
}

impl std::fmt::Debug for WriteGuard {
    /// How many keys, and not which: keys are often about persons, and whatever holds a guard is shown without a thought of them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: usize = self.holds.iter().map(|hold| hold.keys.len()).sum();
        f.debug_struct("WriteGuard").field("keys", &keys).finish_non_exhaustive()
    }
}
