//! What follows a miss in L1, top to bottom: a turn to load, the shared tier, the loader, the fill.

use std::any::{Any, TypeId};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::answer::Answer;
use super::ask::{Asked, Flight};
use super::load::{Beat, LoadId, is_running, run};
use super::{Key, Rules, TieredCache};
use crate::error::{CacheError, LoadError};
use crate::flight::outcome::{Begun, Failure, Outcome};
use crate::flight::{Entered, Landed, Plan, Purpose};
use crate::key::check_key;
use crate::l1::Entry;
use crate::lease::Ticket;
use crate::view::Noted;

/// How often a caller waits for flights whose outcome it cannot use before it loads for itself.
pub(super) const MAX_WAITS: u32 = 16;

/// What was known when a call began to wait for a flight.
pub(super) struct Called {
    noted: Noted,
    /// That nothing had been missed by then.
    proven: bool,
}

/// What a caller's wait for its turn came to.
enum Turn<A> {
    /// Somebody else's load, or L1, has the answer.
    Answer(A),
    /// The caller loads, for all who wait.
    Lead(Flight),
    /// The caller loads for itself, and keeps nothing.
    Alone,
}

impl TieredCache {
    /// The way of a read from a miss in L1 on.
    pub(super) async fn fetch<A, E, F, Fut>(&self, key: Key<'_>, rules: impl Rules, load: F) -> Result<A, LoadError<E>>
    where
        A: Answer,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<A, E>>,
    {
        self.instance().counters.l1_misses.one();
        let flight = match self.turn(key).await? {
            Turn::Answer(answer) => return Ok(answer),
            Turn::Lead(flight) => Some(flight),
            Turn::Alone => None,
        };
        let Some((flight, begun)) = flight.and_then(|flight| flight.noted().copied().map(|begun| (flight, begun))) else {
            return self.load(key, None, load).await;
        };
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
        match self.load(key, Some(&flight), load).await {
            Ok(answer) => {
                let cost = asked.until(self.now());
                let filling = self.fill(&flight, key, &rules, &begun, keep, (&answer, cost)).await;
                self.land(flight, key, filling.entry, filling.keep);
                Ok(answer)
            }
            Err(error) => {
                // First: who comes next finds the key free.
                drop(flight.unstow());
                flight.finish(Outcome::Failed(failure(&error)), || {});
                Err(error)
            }
        }
    }

    /// Waits for the answer of somebody else's load, or for the turn to load.
    async fn turn<A: Answer, E: Send + Sync + 'static>(&self, key: Key<'_>) -> Result<Turn<A>, LoadError<E>> {
        // First: who loads for itself alone would otherwise do so within itself, again and again, until the stack ends.
        if is_running(self.load_id(key)) {
            return Err(LoadError::Recursive(key.text.into()));
        }
        if let Err(error) = check_key(key.text) {
            self.tell_not_stored(key, &CacheError::Key(error));
            return Ok(Turn::Alone);
        }
        if self.closed() {
            return Ok(Turn::Alone);
        }
        for _ in 0..MAX_WAITS {
            let begun = self.begin(key);
            let called = self.called(&begun);
            match self.instance().flights.enter(key.hash, plan::<A>(Purpose::Load, begun)) {
                Entered::Lead(flight) => return Ok(Turn::Lead(flight)),
                Entered::Apart => break,
                Entered::Join(flight) => {
                    let Ok(landed) = timeout(self.patience(), flight).await else { break };
                    match landed {
                        Landed::Lead(flight) if flight.purpose() == Some(Purpose::Load) => return Ok(Turn::Lead(flight)),
                        // It only read, and found nothing, or was left: the next one is for loading.
                        Landed::Lead(flight) => flight.finish(Outcome::Nothing, || {}),
                        Landed::Outcome(Outcome::Entry(entry), flight) => {
                            if let Some(answer) = self.take(&entry, flight.noted(), &called) {
                                return Ok(Turn::Answer(answer));
                            }
                        }
                        Landed::Outcome(Outcome::Failed(failure), _) => {
                            if let Some(error) = failure.of_type() {
                                self.instance().counters.coalesced.one();
                                return Err(error);
                            }
                        }
                        Landed::Outcome(Outcome::Nothing, _) | Landed::Anew => {}
                    }
                }
            }
            if let Some(answer) = self.hit(key) {
                return Ok(Turn::Answer(answer));
            }
        }
        // A value of another type is under way, one invalidation chases the other, or nobody polls who leads.
        Ok(Turn::Alone)
    }

    /// For how long somebody else's load is waited for: twice what it can take, for a leader that is neither dropped nor polled comes
    /// to no limit of its own.
    fn patience(&self) -> Duration {
        let config = &self.shared.config;
        let limits = [config.wait_budget, config.load_limit, config.command_limit, config.read_limit];
        limits.iter().fold(Duration::ZERO, |sum, limit| sum.saturating_add(*limit)).saturating_mul(2)
    }

    /// Runs the loader. While it lasts it keeps the ticket of its flight alive, if it has one.
    async fn load<A, E, F, Fut>(&self, key: Key<'_>, flight: Option<&Flight>, load: F) -> Result<A, LoadError<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<A, E>>,
    {
        let counters = &self.instance().counters;
        counters.loads.one();
        let config = &self.shared.config;
        let extend = || {
            if let Some(extension) = flight.and_then(|flight| flight.with_stowed(Ticket::extension)) {
                extension();
            }
        };
        let beat = Beat { pace: config.lease / 3, call: extend };
        let loaded = run(self.load_id(key), config.load_limit, beat, load).await;
        match &loaded {
            Ok(_) => {}
            Err(LoadError::Panicked(_)) => counters.load_panics.one(),
            Err(LoadError::TimedOut(_)) => counters.load_timeouts.one(),
            Err(_) => counters.load_errors.one(),
        }
        loaded
    }

    /// Ends a flight with an entry, which enters L1 if the flight is still attached.
    pub(super) fn land(&self, flight: Flight, key: Key<'_>, entry: Arc<Entry>, keep: bool) {
        let kept = Arc::clone(&entry);
        flight.finish(Outcome::Entry(entry), || {
            // Closed is looked at here, with the registry locked: a flight begun too late for the end of the cache to detach it sees it.
            if keep && !self.closed() && !self.instance().l1.insert(key.hash, kept) {
                self.instance().counters.not_stored.one();
            }
        });
    }

    /// An entry that entered L1 just now, of whatever type.
    fn landed(&self, key: Key<'_>) -> Option<Arc<Entry>> {
        let instance = self.instance();
        instance.l1.probe_again(key.hash, instance.now(), &instance.view)
    }

    /// What is known here before a caller begins to wait.
    pub(super) fn called(&self, begun: &Begun) -> Called {
        let noted = begun.noted;
        // The proof after the epoch: an epoch that ended in between has taken the proof with it.
        Called { noted, proven: self.instance().view.proven(noted.at) }
    }

    /// Takes what a flight ended with: only if none of its tags has moved since the flight began, or if nothing had been told between
    /// the flight's begin and the call; and only if the caller knew then that it had missed nothing that would have detached the flight,
    /// or if the flight began so shortly before that it cannot matter.
    pub(super) fn take<A: Answer>(&self, entry: &Entry, begun: &Begun, called: &Called) -> Option<A> {
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
pub(super) fn plan<A: Answer>(purpose: Purpose, noted: Begun) -> Plan<Begun> {
    Plan { purpose, kind: TypeId::of::<A::Value>(), noted }
}

/// What those who wait are told.
fn failure<E: Send + Sync + 'static>(error: &LoadError<E>) -> Failure {
    match error {
        LoadError::Loader(error) => Failure::Loader(Arc::clone(error) as Arc<dyn Any + Send + Sync>),
        LoadError::Panicked(message) => Failure::Panicked(Arc::clone(message)),
        LoadError::TimedOut(limit) => Failure::TimedOut(*limit),
        LoadError::Recursive(key) => Failure::Panicked(Arc::clone(key)),
    }
}
