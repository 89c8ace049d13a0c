//! The load of a key that nobody has: the loader runs, its flight ends with what it has brought, or with why it has brought nothing.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use super::answer::Answer;
use super::ask::{Flight, Keep};
use super::call::{CallOptions, Tiers};
use super::load::{Beside, For, Limits, Lost, Running, run};
use super::places::Refused;
use super::remembered::Memory;
use super::rules::Rules;
use super::served::Answered;
use super::spare::Spare;
use super::telling::{Failed, Telling};
use super::{Key, Part};
use crate::coherence::own;
use crate::flight::outcome::{Begun, Failure, Outcome};
use crate::l1::Entry;
use crate::l2::Loading;
use crate::lease::Ticket;
use crate::rule::stamp::Stamp;
use crate::wire::message::Targets;

/// A load that the caller is to make: the flight that it leads, and what was found out before it.
pub(super) struct Led {
    pub(super) flight: Flight,
    pub(super) begun: Begun,
    pub(super) keep: Keep,
    /// What is stale, or due.
    pub(super) stale: Option<Arc<Entry>>,
    /// Whether a copy answers meanwhile.
    pub(super) ahead: Ahead,
}

/// What follows where a load fails, beside what its callers are told.
#[derive(Clone, Copy, Default)]
pub(super) struct AfterFailure {
    /// Who waits in other instances is told.
    shared: bool,
    memory: Option<Memory>,
}

/// Whether a load is made while a copy answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    /// There is none, or none that answers.
    No,
    /// And a caller waits for it.
    ForCaller,
    /// And nobody does.
    Behind,
}

/// What a call comes to whose load has brought nothing.
pub(super) enum Missed<A, T> {
    /// What its caller is told.
    Told(T),
    /// What is stale has answered, by the policy.
    StoodIn(Answered<A>),
}

impl<A, T> Missed<A, T> {
    pub(super) fn told(self) -> Result<Answered<A>, T> {
        match self {
            Self::Told(told) => Err(told),
            Self::StoodIn(answer) => Ok(answer),
        }
    }
}

impl Part {
    /// Loads, and keeps what comes of it.
    pub(super) async fn bring<A, E, T, F, Fut>(
        &self,
        telling: &impl Telling<E, T>,
        options: CallOptions,
        key: Key<'_>,
        rules: &impl Rules<A::Value>,
        Led { flight, begun, keep, stale, ahead }: Led,
        load: F,
    ) -> Result<Answered<A>, Missed<A, T>>
    where
        A: Answer,
        F: FnOnce(Option<Arc<Entry>>) -> Fut,
        Fut: Future<Output = Result<A, E>>,
    {
        // Nobody is answered by what would stand in for a load that nobody waits for.
        let stands_in = stale.as_ref().filter(|_| ahead != Ahead::Behind);
        let (asked, spare) = (self.now(), self.spare::<A>(key, rules.policy(), options, stands_in));
        let after = AfterFailure { shared: rules.policy().shares_errors(), memory: self.memory(rules.policy(), options) };
        // What its rules say of it is part of the load: theirs is the caller's code, too.
        let before = stale.clone();
        let load = async || {
            let answer = load(stale).await?;
            Ok((self.terms(rules, &answer).following(&answer, before.as_deref(), self.shared.config.codec), answer))
        };
        let ((terms, answer), flight) = self.load(key, telling, Some(flight), (spare, after), load).await?;
        // Ended at the limit, it has had its outcome: what came since then is the caller's alone, and kept nowhere.
        let Some(flight) = flight else { return Ok(Answered::loaded(answer)) };
        let cost = asked.until(self.now());
        // Elsewhere it may answer meanwhile, whether it does here or not.
        let answers = ahead != Ahead::No || (before.is_some() && !terms.policy.revalidates_for().is_zero());
        let announces = answers && terms.changed && terms.policy.announces();
        let filling = match self.ready(&flight, key, &terms, &begun, keep, (&answer, cost)) {
            Ok(ready) => {
                if let Some(room) = self.room_behind(key, &ready).filter(|_| !options.fresh && !announces) {
                    self.fill_behind(room, (flight, key), (ready, &terms), &begun, (&answer, options.writes.l1()));
                    return Ok(Answered::loaded(answer));
                }
                self.fill(ready, &terms, &begun, &answer).await
            }
            // Not remembered by policy, or not storable.
            Err(ticket) => {
                drop(ticket);
                self.unkept(&begun, &terms, &answer)
            }
        };
        // What answered meanwhile is not current either.
        if (options.fresh || ahead != Ahead::No) && !(filling.keep && options.writes.l1()) {
            self.outdate(key, filling.storable, options).await;
        }
        #[cfg(feature = "chaos")]
        crate::pause::at(crate::pause::Point::BeforeInsertion).await;
        let keeps = filling.keep && options.writes.l1() && !(keep == Keep::Briefly && self.has_better(key, options));
        let stored = filling.entry.facts.stamp.filter(|_| announces && filling.keep);
        self.land(flight, key, filling.entry, keeps);
        if let Some(stamp) = stored {
            self.announce(key, stamp);
        }
        Ok(Answered::loaded(answer))
    }

    /// Tells the other instances that the key holds another value than their copies. Where that fails they find it when these are due.
    pub(super) fn announce(&self, key: Key<'_>, stamp: Stamp) {
        let Some(tier) = self.shared.tier.clone() else { return };
        let (instance, text) = (Arc::clone(self.instance()), key.text.to_owned());
        tier.clone().tasks().begin(async move {
            if own::announce(&*instance, &tier, &text, stamp).await.is_ok() {
                instance.counters.refreshes_announced.one();
            }
        });
    }

    /// Whether a copy that the call has not looked at serves on, for longer than what may be kept only briefly.
    pub(super) fn has_better(&self, key: Key<'_>, options: CallOptions) -> bool {
        let instance = self.instance();
        let serves = || instance.l1.peek(key.hash).is_some_and(|entry| entry.would_serve(self.now(), &instance.view));
        !options.looks_here() && !options.fresh && serves()
    }

    /// What was there has been found to be outdated, and nothing takes its place here: it is not served again. Where that is because the new
    /// value cannot be stored, or is not to be, it goes everywhere.
    async fn outdate(&self, key: Key<'_>, storable: bool, options: CallOptions) {
        if storable || !options.writes.l2() {
            return self.outdate_here(key, options);
        }
        // What nobody confirms is told again.
        let _ = self.bump(Targets { keys: vec![key.text.to_owned()], ..Targets::default() }).await;
    }

    /// A copy that was found to be outdated is not served again by this instance.
    pub(super) fn outdate_here(&self, key: Key<'_>, options: CallOptions) {
        if options.writes != Tiers::Neither {
            let instance = self.instance();
            instance.flights.invalidate(key.hash, |_| true, || instance.l1.drop_entry(key.hash, |_| false));
        }
    }

    /// Runs the loader, and returns what it brought with the flight that leads it, unless the load limit has ended that one. Where it
    /// brings nothing, the spare answers, if there is one; else those who wait are told, and what the caller is told is returned.
    pub(super) async fn load<A: Answer, L, E, T, F, Fut>(
        &self,
        key: Key<'_>,
        telling: &impl Telling<E, T>,
        flight: Option<Flight>,
        (spare, after): (Option<Spare>, AfterFailure),
        load: F,
    ) -> Result<(L, Option<Flight>), Missed<A, T>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<L, E>>,
    {
        let counters = &self.instance().counters;
        let config = &self.shared.config;
        let limits = Limits { limit: config.load_limit, pace: config.lease / 3 };
        let mut watch = Watch { cache: self, key, telling, flight, spare, after, of: PhantomData };
        let overloaded = |running, waiting| telling.overloaded(running, waiting);
        // In a statement of its own, as where it is looked for: what is told may not go from thread to thread.
        let places = match self.places(&limits, overloaded, || Beside::<T>::beat(&watch)).await {
            Ok(places) => places,
            Err(refused) => return Err(watch.lost(Lost::Refused(refused))),
        };
        counters.loads.one();
        self.note_load(key, Loading::Begun);
        let running = Running { keys: For::One(self.load_id(key)), places };
        let loaded = run(running, limits, &mut watch, load).await;
        self.note_load(key, if loaded.is_ok() { Loading::Ended } else { Loading::Failed });
        match loaded {
            Ok(answer) => Ok((answer, watch.flight)),
            Err(lost) => Err(watch.lost(lost)),
        }
    }

    /// Ends a flight without a value, if there still is one: with a failure for those who wait, or by leaving it to the first of them.
    fn fail(&self, flight: Option<Flight>, failure: Option<Failure>, (key, after): (Key<'_>, AfterFailure)) {
        let Some(flight) = flight else { return };
        if let Some(failure) = failure {
            // First: who comes next finds the key free.
            match (flight.unstow(), if after.shared { failure.why() } else { None }) {
                (Some(ticket), Some(why)) => ticket.fail(why),
                (ticket, _) => drop(ticket),
            }
            let entry = after.memory.map(|memory| self.failure(&failure, flight.noted(), memory));
            flight.finish(Outcome::Failed(failure), || self.remember(key, entry));
        } else {
            if flight.is_awaited() {
                self.instance().counters.failures_unshared.one();
            }
            // With the ticket, if somebody takes over; given back, if nobody does.
            drop(flight);
        }
    }

    /// Ends a flight with an entry, which enters L1 if the flight is still attached.
    pub(super) fn land(&self, flight: Flight, key: Key<'_>, entry: Arc<Entry>, keep: bool) {
        let kept = keep.then(|| Arc::clone(&entry));
        flight.finish(Outcome::Entry(entry), || {
            // Closed is looked at here, with the registry locked: a flight begun too late for the end of the cache to detach it sees it.
            if let Some(kept) = kept.filter(|_| !self.closed())
                && !self.instance().l1.insert(key.hash, kept)
            {
                self.instance().counters.not_stored.one();
            }
        });
    }

    /// Ends a flight with nothing for those who wait, and keeps what is stale, unless something better is there.
    pub(super) fn land_stale(&self, flight: Flight, key: Key<'_>, entry: &Arc<Entry>, keep: bool) {
        let kept = Arc::clone(entry);
        flight.finish(Outcome::Nothing, || {
            let instance = self.instance();
            let present = instance.l1.peek(key.hash).is_some_and(|present| present.would_serve(self.now(), &instance.view));
            if keep && !present && !self.closed() && !instance.l1.insert(key.hash, kept) {
                instance.counters.not_stored.one();
            }
        });
    }
}

/// What a load does beside loading: it keeps the ticket of its flight alive, if it has one, and minds the limit.
struct Watch<'a, E, W> {
    cache: &'a Part,
    key: Key<'a>,
    telling: &'a W,
    /// Gone once the limit has ended it.
    flight: Option<Flight>,
    spare: Option<Spare>,
    after: AfterFailure,
    of: PhantomData<fn() -> E>,
}

impl<E, W> Watch<'_, E, W> {
    /// What follows a load that has brought nothing.
    fn lost<A: Answer, T>(self, lost: Lost<E, T>) -> Missed<A, T>
    where
        W: Telling<E, T>,
    {
        let Self { cache, key, telling, flight, spare, after, .. } = self;
        let counters = &cache.instance().counters;
        match &lost {
            Lost::Failed(Failed::Loader(_)) => counters.load_errors.one(),
            Lost::Failed(Failed::Panicked(_)) => counters.load_panics.one(),
            Lost::Refused(_) => counters.loads_refused.one(),
            // Counted when it was stopped.
            Lost::Stopped(_) => {}
        }
        let flight = match (flight, spare) {
            (Some(flight), Some(spare)) => match cache.stand_in(key, flight, &spare) {
                Ok(entry) => match A::of(&entry) {
                    Some(answer) => return Missed::StoodIn(Answered::new(answer, spare.origin, entry)),
                    None => None,
                },
                Err(flight) => Some(flight),
            },
            (flight, _) => flight,
        };
        Missed::Told(match lost {
            Lost::Stopped(told) => {
                cache.fail(flight, Some(Failure::TimedOut(cache.shared.config.load_limit)), (key, after));
                told
            }
            Lost::Failed(failed) => telling.failed(failed, |failure| cache.fail(flight, failure, (key, after))),
            Lost::Refused(Refused { told, running, waiting }) => {
                cache.fail(flight, Some(Failure::Overloaded(running, waiting)), (key, AfterFailure::default()));
                told
            }
        })
    }
}

impl<E, T, W: Telling<E, T>> Beside<T> for Watch<'_, E, W> {
    fn beat(&self) {
        if let Some(flight) = &self.flight {
            flight.live();
        }
        if let Some(extension) = self.flight.as_ref().and_then(|flight| flight.with_stowed(Ticket::extension)) {
            extension();
        }
    }

    fn over_limit(&mut self) -> Option<T> {
        self.cache.instance().counters.load_timeouts.one();
        let limit = self.cache.shared.config.load_limit;
        let told = self.telling.stopped(limit);
        // A loader that stops is dropped first, and then its flight ends.
        if told.is_none()
            && let Some(flight) = self.flight.take()
        {
            let stood_in = match &self.spare {
                Some(spare) => self.cache.stand_in(self.key, flight, spare).err(),
                None => Some(flight),
            };
            self.cache.fail(stood_in, Some(Failure::TimedOut(limit)), (self.key, self.after));
        }
        told
    }
}
