//! What follows a miss in L1, up to the load: a turn to load, the shared tier. The load and the fill are told in `bring`.

use std::any::TypeId;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::ahead::Standing;
use super::answer::Answer;
use super::ask::{Asked, Flight, Keep};
use super::bring::{AfterFailure, Ahead, Led, Missed};
use super::call::CallOptions;
use super::load::{LoadId, is_running};
use super::places::{lend, turn_back};
use super::rules::Rules;
use super::served::{Answered, Origin};
use super::telling::{AsLoadError, Heard, Telling};
use super::{Key, Part};
use crate::bulkhead::Lent;
use crate::clock::Millis;
use crate::error::{CacheError, LoadError};
use crate::flight::outcome::{Begun, Failure, Outcome};
use crate::flight::{Entered, Join, Landed, Plan, Purpose};
use crate::key::check_key;
use crate::l1::Entry;
use crate::lease::Ticket;
use crate::rule::policy::{Content, Policy};
use crate::view::Noted;

/// How often a caller waits for flights whose outcome it cannot use before it loads for itself.
pub(super) const MAX_WAITS: u32 = 16;

/// How often a look for a value begins anew because an epoch has ended meanwhile.
pub(super) const MAX_ANEW: u32 = 2;

/// What was known when a call began to wait for a flight.
pub(super) struct Called {
    noted: Noted,
    /// That nothing had been missed by then.
    proven: bool,
}

/// A caller that waits for somebody else's load.
pub(super) type Waiting = Join<Outcome, Ticket, Begun>;

/// What a caller's wait for its turn came to.
enum Turn<A> {
    /// Somebody else's load, or L1, has the answer.
    Answer(Answered<A>),
    /// The caller loads, for all who wait.
    Lead(Flight),
    /// The caller loads for itself, and keeps nothing.
    Alone,
}

/// What looking for a value came to.
pub(super) enum Found<A> {
    Answer(Answered<A>),
    /// There is none: the caller loads, for all who wait, and this much may be kept. Its loader may be shown what is stale.
    Nothing(Flight, Begun, Keep, Option<Arc<Entry>>),
    /// The caller loads for itself, and keeps nothing.
    Alone,
}

impl Part {
    /// [`Part::fetch_as`], with failures told as the verbs tell them.
    pub(super) fn fetch<A, E, F, Fut>(
        &self,
        key: Key<'_>,
        rules: impl Rules<A::Value>,
        load: F,
    ) -> impl Future<Output = Result<A, LoadError<E>>>
    where
        A: Answer,
        E: Send + Sync + 'static,
        F: FnOnce(Option<Arc<Entry>>) -> Fut,
        Fut: Future<Output = Result<A, E>>,
    {
        let found = self.fetch_as(AsLoadError, CallOptions::new(), key, rules, load);
        async move {
            let found = found.await;
            turn_back().await;
            found.map(|found| found.answer)
        }
    }

    /// The way of a read from a miss in L1 on, with failures told as `telling` says.
    pub(super) async fn fetch_as<A, E, T, F, Fut>(
        &self,
        telling: impl Telling<E, T>,
        options: CallOptions,
        key: Key<'_>,
        rules: impl Rules<A::Value>,
        load: F,
    ) -> Result<Answered<A>, T>
    where
        A: Answer,
        F: FnOnce(Option<Arc<Entry>>) -> Fut,
        Fut: Future<Output = Result<A, E>>,
    {
        let policy = rules.policy();
        if let Some(told) = self.remembered(key, policy, options, &telling) {
            return Err(told);
        }
        // A copy that is due, or stale and answers all the same.
        let mut newer = None;
        let mut due = match self.standing::<A>(key, policy, options) {
            Some(Standing { copy, due: None }) => match self.answer_of_copy(key, &copy, policy) {
                Some(answer) => return Ok(self.counted_hit(answer)),
                None => None,
            },
            Some(Standing { due, .. }) => due,
            None => None,
        };
        if let Some(looks) = &mut due {
            newer = self.find_newer::<A>(key, policy, options, looks).await;
            if let Some(found) = &newer {
                self.count_newer(found);
            } else if let Some(answer) = self.answer_of_copy(key, looks.entry(), policy) {
                return Ok(self.counted_hit(answer));
            } else {
                // It is a miss as any other.
                due = None;
            }
        }
        let ahead = if due.is_some() { Ahead::ForCaller } else { Ahead::No };
        // In a statement of its own: what is told may not go from thread to thread, and would otherwise live through the load.
        let found = match newer {
            Some(found) => found,
            None => self.find(key, policy, options, &telling).await?,
        };
        let mut given_away = None;
        let led = match found {
            Found::Answer(answer) => return Ok(answer),
            Found::Alone => {
                self.instance().counters.loads_alone.one();
                lend(&mut given_away);
                return match self.load(key, &telling, None, (None, AfterFailure::default()), || load(None)).await {
                    Ok((answer, _)) => Ok(Answered::loaded(answer)),
                    Err(missed) => missed.told(),
                };
            }
            Found::Nothing(flight, begun, keep, stale) => Led { flight, begun, keep, stale, ahead },
        };
        lend(&mut given_away);
        match self.bring(&telling, options, key, &rules, led, load).await {
            Ok(answer) => Ok(answer),
            Err(missed) => {
                let answer = due.as_mut().and_then(|due| {
                    self.note_failed_refresh(key, policy, due);
                    // What has stood in says so.
                    let stood_in = matches!(missed, Missed::StoodIn(_));
                    if stood_in { None } else { self.answer_of_copy(key, due.entry(), policy) }
                });
                answer.map_or_else(|| missed.told(), Ok)
            }
        }
    }

    /// Counts what a read has found that looked for something newer than its copy: it has waited.
    fn count_newer<A>(&self, found: &Found<A>) {
        let counters = &self.instance().counters;
        counters.l1_misses.one();
        match found {
            _ if self.shared.tier.is_none() => {}
            Found::Answer(_) => counters.l2_hits.one(),
            Found::Nothing(..) | Found::Alone => counters.l2_misses.one(),
        }
    }

    /// Looks for the value, in both tiers and in the loads of others.
    async fn find<A: Answer, E, T>(
        &self,
        key: Key<'_>,
        policy: &Policy,
        options: CallOptions,
        telling: &impl Telling<E, T>,
    ) -> Result<Found<A>, T> {
        if let Some(found) = self.prove(key, options).await {
            return Ok(Found::Answer(found));
        }
        if options.looks_here() {
            self.instance().counters.l1_misses.one();
        }
        let (mut anew, mut given_away, hears_others) = (0, None, policy.shares_errors() && telling.hears_others());
        loop {
            if self.fails(policy)
                && let Some(told) = telling.unproven()
            {
                return Err(told);
            }
            let flight = match self.turn(key, policy, options, telling, &mut given_away).await? {
                Turn::Answer(found) => return Ok(Found::Answer(found)),
                Turn::Lead(flight) => flight,
                Turn::Alone => return Ok(Found::Alone),
            };
            let begun = *flight.noted();
            if options.looks_here() {
                // Another flight may have landed between our look at L1 and our registration.
                if let Some(entry) = self.landed(key, self.now()) {
                    if let Some(answer) = self.coalesced(&entry) {
                        flight.finish(Outcome::Entry(Arc::clone(&entry)), || {});
                        return Ok(Found::Answer(Answered::brought(answer, entry)));
                    }
                    self.tell_other_type::<A>(key, &entry);
                }
                if options.reads.l2()
                    && let Some((entry, answer)) = self.still_held(key, &begun).await
                {
                    flight.finish(Outcome::Entry(Arc::clone(&entry)), || entry.clear(begun.noted.epoch));
                    return Ok(Found::Answer(Answered::new(answer, Origin::L1, entry)));
                }
            }
            // By an epoch that has ended nothing can be judged, and nothing that is loaded is kept: not a reason to load.
            let over = || anew < MAX_ANEW && self.instance().view.epoch() != begun.noted.epoch;
            if !over() {
                match self.ask::<A>(&flight, key, (policy, hears_others), options, &begun).await {
                    Asked::Failed(failure) => {
                        let heard = telling.heard(&failure);
                        flight.finish(Outcome::Failed(failure), || {});
                        return match heard {
                            Heard::Told(told) => Err(told),
                            Heard::Again | Heard::Alone => Ok(Found::Alone),
                        };
                    }
                    Asked::Answer(entry, answer) => {
                        #[cfg(feature = "chaos")]
                        crate::pause::at(crate::pause::Point::BeforeInsertion).await;
                        self.land(flight, key, Arc::clone(&entry), options.writes.l1());
                        return Ok(Found::Answer(Answered::new(answer, Origin::L2, entry)));
                    }
                    Asked::Revalidated(entry, answer) => {
                        // Who waits looks for himself: not every policy would be answered with it.
                        self.land_stale(flight, key, &entry, options.writes.l1());
                        self.instance().counters.l2_hits.one();
                        self.instance().counters.served_revalidating.one();
                        return Ok(Found::Answer(Answered::new(answer, Origin::L2, entry)));
                    }
                    Asked::Load(keep, stale) if !over() => return Ok(Found::Nothing(flight, begun, keep, stale)),
                    Asked::Load(..) => {}
                }
            }
            anew += 1;
            drop(flight.unstow());
            flight.finish(Outcome::Nothing, || {});
            if let Some(found) = self.prove(key, options).await {
                return Ok(Found::Answer(found));
            }
        }
    }

    /// Waits for the answer of somebody else's load, or for the turn to load.
    async fn turn<A: Answer, E, T>(
        &self,
        key: Key<'_>,
        policy: &Policy,
        options: CallOptions,
        telling: &impl Telling<E, T>,
        given_away: &mut Option<Lent>,
    ) -> Result<Turn<A>, T> {
        // First: who loads for itself alone would otherwise do so within itself, again and again, until the stack ends.
        if is_running(self.load_id(key)) {
            self.instance().counters.recursions.one();
            if let Some(told) = telling.recursive(key.text) {
                return Err(told);
            }
            self.tell_recursive(key);
            return Ok(Turn::Alone);
        }
        if let Err(error) = check_key(key.text) {
            self.tell_not_stored::<A::Value>(key, &CacheError::Key(error));
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
                // What it brings may have been read before this call began.
                Entered::Join(_) if options.fresh => match self.instance().flights.seen(key.hash) {
                    // Who only reads has nothing to store; those who wait for him wait for this load then.
                    Some((Purpose::Read, _)) => {
                        return Ok(Turn::Lead(self.instance().flights.supersede(key.hash, plan::<A>(Purpose::Load, begun), || {})));
                    }
                    _ => break,
                },
                Entered::Join(flight) => {
                    lend(given_away);
                    let landed = match self.or_stale(key, policy, options, self.landing_of(flight)).await {
                        Ok(Some(landed)) => landed,
                        Ok(None) => break,
                        Err(stale) => {
                            self.instance().counters.coalesced.one();
                            return Ok(Turn::Answer(stale));
                        }
                    };
                    match landed {
                        Landed::Lead(flight) => {
                            if let Some(flight) = self.to_load::<A>(flight, key) {
                                return Ok(Turn::Lead(flight));
                            }
                        }
                        Landed::Outcome(Outcome::Entry(entry), flight) => {
                            if let Some(answer) = self.take(&entry, flight.noted(), &called) {
                                return Ok(Turn::Answer(Answered::brought(answer, entry)));
                            }
                        }
                        // Whose policy says nothing of failures of other instances looks for himself.
                        Landed::Outcome(Outcome::Failed(Failure::Elsewhere(_)), _) if !policy.shares_errors() => {}
                        Landed::Outcome(Outcome::Failed(failure), _) => match telling.heard(&failure) {
                            Heard::Told(told) => {
                                self.instance().counters.coalesced.one();
                                return Err(told);
                            }
                            Heard::Again => {}
                            Heard::Alone => break,
                        },
                        Landed::Outcome(Outcome::Nothing, _) | Landed::Anew => {}
                    }
                }
            }
            if let Some(entry) = self.landed(key, self.now()).filter(|_| options.looks_here())
                && let Some(answer) = self.coalesced(&entry)
            {
                return Ok(Turn::Answer(Answered::brought(answer, entry)));
            }
            if let Some(Standing { copy, .. }) = self.standing::<A>(key, policy, options)
                && let Some(answer) = self.answer_of_copy(key, &copy, policy)
            {
                self.instance().counters.coalesced.one();
                return Ok(Turn::Answer(answer));
            }
        }
        // A value of another type is under way, or any and the caller wants one of its own, one invalidation chases the other, or nobody polls who leads.
        Ok(Turn::Alone)
    }

    /// A flight that was left, for who loads: where it was only to read, another takes its place, and who waits for it begins anew, for what is
    /// there is not known. `None`: it was detached, and the key is to be entered again.
    pub(super) fn to_load<A: Answer>(&self, left: Flight, key: Key<'_>) -> Option<Flight> {
        if left.purpose() == Purpose::Load {
            return Some(left);
        }
        // In the place of one that was detached another may be under way.
        let plan = left.is_attached().then(|| plan::<A>(Purpose::Load, self.begin(key)))?;
        let flight = self.instance().flights.supersede(key.hash, plan, || {});
        // Only now: it would pass to the next of them.
        drop(left);
        Some(flight)
    }

    /// Waits for somebody else's load, whoever leads it; `None` once the patience there is for one leader is used up. Each
    /// new leader renews it, and each beat of one whose load runs, or waits for a place.
    ///
    /// Cancel safety: the wait is dropped with this future, and passes on the turn to lead.
    pub(super) async fn landing_of(&self, mut flight: Waiting) -> Option<Landed<Outcome, Ticket, Begun>> {
        loop {
            let signs = flight.signs();
            if let Ok(landed) = timeout(self.patience(), &mut flight).await {
                return Some(landed);
            }
            // Who waits is not told of a sign of life, and so may give the last leader up to twice the patience.
            if flight.signs() == signs {
                return None;
            }
        }
    }

    /// For how long one leader is waited for: twice what its load can take, for a leader that is neither dropped nor polled comes to no
    /// limit of its own.
    fn patience(&self) -> Duration {
        let config = &self.shared.config;
        let limits = [config.wait_budget, config.load_limit, config.command_limit, config.read_limit];
        limits.iter().fold(Duration::ZERO, |sum, limit| sum.saturating_add(*limit)).saturating_mul(2)
    }

    /// An entry that entered L1 just now, of whatever type.
    pub(super) fn landed(&self, key: Key<'_>, now: Millis) -> Option<Arc<Entry>> {
        let instance = self.instance();
        instance.l1.probe_again(key.hash, now, &instance.view)
    }

    /// What is known here before a caller begins to wait.
    pub(super) fn called(&self, begun: &Begun) -> Called {
        let noted = begun.noted;
        let view = &self.instance().view;
        // The proof before the epoch: had another one begun since it was noted, the proof may be that one's.
        Called { noted, proven: view.proven(noted.at) && view.epoch() == noted.epoch }
    }

    /// Takes what a flight ended with: only if none of its tags has moved since the flight began, or if nothing had been told between
    /// the flight's begin and the call; and only if the caller knew then that it had missed nothing that would have detached the flight,
    /// or if the flight began so shortly before that it cannot matter.
    pub(super) fn take<A: Answer>(&self, entry: &Entry, begun: &Begun, called: &Called) -> Option<A> {
        let noted = &begun.noted;
        let proven = called.proven && called.noted.epoch == noted.epoch;
        let bounded = proven || called.noted.at < noted.at.after(self.shared.config.max_staleness);
        let as_late = (called.noted.born, called.noted.tick) == (noted.born, noted.tick);
        if bounded && (as_late || entry.facts.unmoved(&self.instance().view)) { self.coalesced(entry) } else { None }
    }

    /// What another call has brought, as the answer to one that has missed: counted as that, for it was counted as a miss.
    pub(super) fn coalesced<A: Answer>(&self, entry: &Entry) -> Option<A> {
        let answer = A::of(entry)?;
        self.instance().counters.coalesced.one();
        Some(answer)
    }

    /// What a read notes before it reads anything.
    pub(super) fn begin(&self, key: Key<'_>) -> Begun {
        let instance = self.instance();
        Begun { noted: instance.view.note(instance.now()), prefixes: instance.prefixes(key.text), writes: None }
    }

    pub(super) fn load_id(&self, key: Key<'_>) -> LoadId {
        LoadId { cache: self.load_cache(), key: key.hash }
    }

    /// What the loads of one cache are known by to belong to it: of whichever part they are.
    pub(super) fn load_cache(&self) -> usize {
        Arc::as_ptr(&self.instance().counters).addr()
    }

    fn tell_recursive(&self, key: Key<'_>) {
        if self.instance().counters.told.recursive.first() {
            tracing::warn!(key = key.text, "the load of a key asks for the key itself: load it without the cache there");
        }
    }

    pub(super) fn tell_other_type<A: Answer>(&self, key: Key<'_>, entry: &Entry) {
        if entry.facts.content != Content::Failure && entry.facts.type_name != std::any::type_name::<A::Value>() {
            self.tell_wrong_type::<A::Value>(key, "this instance");
        }
    }
}

/// A flight to be.
pub(super) fn plan<A: Answer>(purpose: Purpose, noted: Begun) -> Plan<Begun> {
    Plan { purpose, kind: TypeId::of::<A::Value>(), noted }
}
