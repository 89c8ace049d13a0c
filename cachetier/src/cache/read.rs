//! The way of a read, top to bottom: L1, the flight, the shared tier, the loader, the fill.

use std::any::TypeId;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::answer::{Answer, Just, Maybe};
use super::ask::{Asked, Flight, Opened};
use super::load::{Beat, LoadId, is_running, run};
use super::{Key, Rules, TieredCache, Value};
use crate::error::{CacheError, LoadError};
use crate::flight::outcome::{Begun, Failure, Outcome};
use crate::flight::{Entered, Landed, Plan, Purpose};
use crate::key::check_key;
use crate::l1::Entry;
use crate::lease::Ticket;
use crate::view::Noted;
use crate::wire::slot::Slot;

/// How often a caller waits for flights whose outcome it cannot use before it loads for itself.
const MAX_WAITS: u32 = 16;

/// What was known when a call began to wait for a flight.
struct Called {
    noted: Noted,
    /// That nothing had been missed by then.
    proven: bool,
}

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
        let key = self.key(key);
        if let Some(Just(value)) = self.hit(key) {
            return Some(value);
        }
        Box::pin(self.look_up::<Just<V>>(key)).await.map(|Just(value)| value)
    }

    /// Returns the value of `key`: from this instance, else from the shared tier, else from `load`, which runs once however many
    /// callers ask at the same time. What it brings is stored as `rules` say: a [`Policy`](crate::Policy), with
    /// [tags](crate::Policy::tags) if wanted.
    ///
    /// A fault of the shared tier never fails the call: the loader answers.
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
    /// Cancel safety: dropped while it waits, it leaves no trace; dropped while it loads, somebody who waits takes over.
    ///
    /// # Errors
    ///
    /// [`LoadError::Loader`] if the loader fails: the same error for all who waited, and nothing is stored. Otherwise the loader
    /// panicked, took longer than the load limit, or asked for its own key.
    pub async fn get_or_load<V, E, F, Fut>(&self, key: &str, rules: impl Rules, load: F) -> Result<V, LoadError<E>>
    where
        V: Value,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
    {
        let key = self.key(key);
        if let Some(Just(value)) = self.hit(key) {
            return Ok(value);
        }
        // Boxed: a hit does not carry the state of a miss, and callers' futures stay small.
        Box::pin(self.fetch(key, rules, async move || load().await.map(Just))).await.map(|Just(value)| value)
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
    /// # Errors
    ///
    /// Still: a panic, the load limit, or a loader that asked for its own key.
    pub async fn get_or_compute<V, F, Fut>(&self, key: &str, rules: impl Rules, load: F) -> Result<V, LoadError<Infallible>>
    where
        V: Value,
        F: FnOnce() -> Fut,
        Fut: Future<Output = V>,
    {
        let key = self.key(key);
        if let Some(Just(value)) = self.hit(key) {
            return Ok(value);
        }
        Box::pin(self.fetch(key, rules, async move || infallible(load()).await)).await.map(|Just(value)| value)
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
    /// # Errors
    ///
    /// As [`TieredCache::get_or_load`].
    pub async fn get_or_load_optional<V, E, F, Fut>(&self, key: &str, rules: impl Rules, load: F) -> Result<Option<V>, LoadError<E>>
    where
        V: Value,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Option<V>, E>>,
    {
        let key = self.key(key);
        if let Some(Maybe(value)) = self.hit(key) {
            return Ok(value);
        }
        Box::pin(self.fetch(key, rules, async move || load().await.map(Maybe))).await.map(|Maybe(value)| value)
    }

    pub(super) fn key<'a>(&self, text: &'a str) -> Key<'a> {
        Key { text, hash: self.instance().hash(text) }
    }

    /// The hit: no allocation, no lock, nothing decoded.
    fn hit<A: Answer>(&self, key: Key<'_>) -> Option<A> {
        let instance = self.instance();
        let answer = instance.l1.probe(key.hash, instance.now(), &instance.view).and_then(|entry| A::of(&entry));
        if answer.is_some() {
            instance.counters.l1_hits.one();
        }
        answer
    }

    /// What follows a miss in L1.
    async fn fetch<A, E, F, Fut>(&self, key: Key<'_>, rules: impl Rules, load: F) -> Result<A, LoadError<E>>
    where
        A: Answer,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<A, E>>,
    {
        self.instance().counters.l1_misses.one();
        if let Err(error) = check_key(key.text) {
            self.tell_not_stored(key, &CacheError::Key(error));
            return self.load(key, load).await;
        }
        if self.closed() {
            return self.load(key, load).await;
        }
        if is_running(self.load_id(key)) {
            return Err(LoadError::Recursive(key.text.into()));
        }
        for _ in 0..MAX_WAITS {
            let begun = self.begin(key);
            let called = self.called(&begun);
            match self.instance().flights.enter(key.hash, plan::<A>(Purpose::Load, begun)) {
                Entered::Lead(flight) => return self.lead(flight, key, rules, load).await,
                Entered::Apart => break,
                Entered::Join(flight) => match flight.await {
                    Landed::Lead(flight) if flight.purpose() == Some(Purpose::Load) => {
                        return self.lead(flight, key, rules, load).await;
                    }
                    // It only read, and found nothing, or was left: the next one is for loading.
                    Landed::Lead(flight) => flight.finish(Outcome::Nothing, || {}),
                    Landed::Outcome(Outcome::Entry(entry), flight) => {
                        if let Some(answer) = self.take(&entry, flight.noted(), &called) {
                            return Ok(answer);
                        }
                    }
                    Landed::Outcome(Outcome::Failed(failure), _) => {
                        if let Some(error) = failure.of_type() {
                            self.instance().counters.coalesced.one();
                            return Err(error);
                        }
                    }
                    Landed::Outcome(Outcome::Nothing, _) | Landed::Anew => {}
                },
            }
            if let Some(answer) = self.hit(key) {
                return Ok(answer);
            }
        }
        // A value of another type is under way, or one invalidation chases the other: answered, and kept nowhere.
        self.load(key, load).await
    }

    /// Leads a flight to its end.
    async fn lead<A, E, F, Fut>(&self, flight: Flight, key: Key<'_>, rules: impl Rules, load: F) -> Result<A, LoadError<E>>
    where
        A: Answer,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<A, E>>,
    {
        let Some(begun) = flight.noted().copied() else { return self.load(key, load).await };
        // Another flight may have landed between our look at L1 and our registration.
        if let Some(entry) = self.landed(key) {
            if let Some(answer) = A::of(&entry) {
                self.instance().counters.l1_hits.one();
                flight.finish(Outcome::Entry(entry), || {});
                return Ok(answer);
            }
            self.tell_other_type::<A>(key, &entry);
        }
        let keep = match self.ask::<A>(&flight, key, rules.policy(), &begun).await {
            Asked::Answer(entry, answer) => {
                self.land(flight, key, entry, true);
                return Ok(answer);
            }
            Asked::Load(keep) => keep,
        };
        let asked = self.now();
        let pace = self.shared.config.lease / 3;
        let beat = Beat { pace, call: || flight.with_stowed(Ticket::extend) };
        match self.load_with(key, beat, load).await {
            Ok(answer) => {
                let cost = asked.until(self.now());
                let filling = self.fill(&flight, key, &rules, &begun, keep, (&answer, cost)).await;
                self.land(flight, key, filling.entry, filling.keep);
                Ok(answer)
            }
            Err(error) => {
                drop(flight.unstow());
                flight.finish(Outcome::Failed(failure(&error)), || {});
                Err(error)
            }
        }
    }

    /// Ends a flight with an entry, which enters L1 if the flight is still attached.
    pub(super) fn land(&self, flight: Flight, key: Key<'_>, entry: Arc<Entry>, keep: bool) {
        let kept = Arc::clone(&entry);
        flight.finish(Outcome::Entry(entry), || {
            if keep && !self.instance().l1.insert(key.hash, kept) {
                self.instance().counters.not_stored.one();
            }
        });
    }

    /// Runs the loader for this caller alone.
    async fn load<A, E, F, Fut>(&self, key: Key<'_>, load: F) -> Result<A, LoadError<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<A, E>>,
    {
        self.load_with(key, Beat { pace: Duration::MAX, call: || {} }, load).await
    }

    /// Runs the loader.
    async fn load_with<A, E, F, Fut>(&self, key: Key<'_>, beat: Beat<impl Fn()>, load: F) -> Result<A, LoadError<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<A, E>>,
    {
        let counters = &self.instance().counters;
        counters.loads.one();
        let loaded = run(self.load_id(key), self.shared.config.load_limit, beat, load).await;
        match &loaded {
            Ok(_) => {}
            Err(LoadError::Panicked(_)) => counters.load_panics.one(),
            Err(LoadError::TimedOut(_)) => counters.load_timeouts.one(),
            Err(_) => counters.load_errors.one(),
        }
        loaded
    }

    /// An entry that entered L1 just now, of whatever type.
    fn landed(&self, key: Key<'_>) -> Option<Arc<Entry>> {
        let instance = self.instance();
        instance.l1.probe_again(key.hash, instance.now(), &instance.view)
    }

    /// What is known here before a caller begins to wait.
    fn called(&self, begun: &Begun) -> Called {
        let noted = begun.noted;
        // The proof after the epoch: an epoch that ended in between has taken the proof with it.
        Called { noted, proven: self.instance().view.proven(noted.at) }
    }

    /// Takes what a flight ended with: only if none of its tags has moved since the flight began, or if nothing had been told between
    /// the flight's begin and the call; and only if the caller knew then that it had missed nothing that would have detached the flight,
    /// or if the flight began so shortly before that it cannot matter.
    fn take<A: Answer>(&self, entry: &Entry, begun: &Begun, called: &Called) -> Option<A> {
        let noted = &begun.noted;
        let proven = called.proven && called.noted.epoch == noted.epoch;
        let bounded = proven || called.noted.at < noted.at.after(self.shared.config.max_staleness);
        let as_late = (called.noted.born, called.noted.tick) == (noted.born, noted.tick);
        let taken = if bounded && (as_late || entry.facts.unmoved(&self.instance().view)) { A::of(entry) } else { None };
        if taken.is_some() {
            self.instance().counters.coalesced.one();
        }
        taken
    }

    /// `get` after a miss in L1: reads the shared tier.
    async fn look_up<A: Answer>(&self, key: Key<'_>) -> Option<A> {
        self.instance().counters.l1_misses.one();
        if check_key(key.text).is_err() || self.closed() || self.shared.tier.is_none() {
            return None;
        }
        for _ in 0..MAX_WAITS {
            let begun = self.begin(key);
            let called = self.called(&begun);
            let flight = match self.instance().flights.enter(key.hash, plan::<A>(Purpose::Read, begun)) {
                Entered::Lead(flight) => flight,
                // A load is under way: this call does not wait for it, and what it reads enters nothing.
                Entered::Apart => {
                    return self.read::<A>(key, &begun).await.map(|(_, answer)| answer);
                }
                Entered::Join(flight) => match flight.await {
                    Landed::Lead(flight) => flight,
                    Landed::Outcome(Outcome::Entry(entry), flight) => match self.take(&entry, flight.noted(), &called) {
                        Some(answer) => return Some(answer),
                        None => continue,
                    },
                    Landed::Outcome(..) => return None,
                    Landed::Anew => continue,
                },
            };
            let begun = flight.noted().copied()?;
            match self.read::<A>(key, &begun).await {
                Some((entry, answer)) => {
                    self.land(flight, key, entry, true);
                    return Some(answer);
                }
                None => flight.finish(Outcome::Nothing, || {}),
            }
            return None;
        }
        None
    }

    /// Reads the shared tier and plants nothing.
    async fn read<A: Answer>(&self, key: Key<'_>, begun: &Begun) -> Option<(Arc<Entry>, A)> {
        let tier = self.readable_tier(key, begun)?;
        let counters = &self.instance().counters;
        let held = tier.read(&tier.name(key.text)).await.ok()?;
        let Some(held) = held else {
            counters.l2_misses.one();
            return None;
        };
        match Slot::of(&held) {
            Slot::Value { bytes, .. } => match self.open(key, bytes, self.shared.config.policy.as_ref(), begun) {
                Opened::Usable(entry, answer) => {
                    counters.l2_hits.one();
                    Some((entry, answer))
                }
                Opened::Unusable | Opened::LeftAlone => None,
            },
            Slot::Foreign => {
                self.tell_foreign(key);
                None
            }
            Slot::Ticket(_) | Slot::Hold => {
                counters.l2_misses.one();
                None
            }
        }
    }

    /// What a read notes before it reads anything.
    pub(super) fn begin(&self, key: Key<'_>) -> Begun {
        let instance = self.instance();
        Begun { noted: instance.view.note(instance.now()), prefixes: instance.prefixes(key.text), writes: None }
    }

    fn load_id(&self, key: Key<'_>) -> LoadId {
        LoadId { cache: Arc::as_ptr(&self.shared).addr(), key: key.hash }
    }

    fn tell_other_type<A: Answer>(&self, key: Key<'_>, entry: &Entry) {
        if entry.facts.type_name != std::any::type_name::<A::Value>() {
            self.tell_wrong_type::<A::Value>(key, "this instance");
        }
    }
}

/// A flight to be.
fn plan<A: Answer>(purpose: Purpose, noted: Begun) -> Plan<Begun> {
    Plan { purpose, kind: TypeId::of::<A::Value>(), noted }
}

/// What those who wait are told.
fn failure<E: Send + Sync + 'static>(error: &LoadError<E>) -> Failure {
    match error {
        LoadError::Loader(error) => Failure::Loader(Arc::clone(error) as Arc<dyn std::any::Any + Send + Sync>),
        LoadError::Panicked(message) => Failure::Panicked(Arc::clone(message)),
        LoadError::TimedOut(limit) => Failure::TimedOut(*limit),
        LoadError::Recursive(key) => Failure::Panicked(Arc::clone(key)),
    }
}
