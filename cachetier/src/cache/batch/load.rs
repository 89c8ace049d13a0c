//! Loading the keys of a batch with one call of its loader, and keeping what that brings.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::super::answer::{Answer as _, Maybe};
use super::super::call::CallOptions;
use super::super::fill::{Filling, Ready};
use super::super::load::{Beside, For, Limits, Lost, Running, run};
use super::super::places::Refused;
use super::super::telling::{AsLoadError, Failed, Telling};
use super::super::terms::Terms;
use super::super::{Rules, TieredCache, Value};
use super::fetch::{Open, ToLoad};
use super::keys::{Asked, Batch};
use crate::error::LoadError;
use crate::flight::outcome::{Failure, Outcome};
use crate::key::KeyHash;
use crate::l2::Loading;
use crate::l2::many::{Fill, MOST, MOST_BYTES, fill_up, is_silent};
use crate::lease::{Ticket, extend_all};
use crate::rule::policy::Policy;
use crate::unhashed::BuildUnhashed;

/// What a loader has brought, by key: nothing where it has named none.
type Brought<V> = HashMap<KeyHash, Option<V>, BuildUnhashed>;

/// The same as answers, with what the rules say of each.
type Ruled<'c, V> = HashMap<KeyHash, (Maybe<V>, Terms<'c>), BuildUnhashed>;

/// One that is to be stored, and its answer.
struct Stored<'a, 'c, V> {
    one: ToLoad<'a>,
    answer: Maybe<V>,
    terms: Terms<'c>,
    ready: Ready,
}

impl TieredCache {
    /// Loads those keys, and those that this caller loads alone, by one call; keeps what may be kept, and answers all of them.
    pub(super) async fn load_many<'a, V, E, L, N, F, Fut>(
        &self,
        batch: &mut Batch<'a, V>,
        open: &mut Open<'a>,
        mut to_load: Vec<ToLoad<'a>>,
        rules: &impl Rules<V>,
        load: &mut F,
    ) -> Result<(), LoadError<E>>
    where
        V: Value,
        E: Send + Sync + 'static,
        L: IntoIterator<Item = (N, V)>,
        N: AsRef<str>,
        F: FnMut(Vec<String>) -> Fut,
        Fut: Future<Output = Result<L, E>>,
    {
        let alone = std::mem::take(&mut open.alone);
        to_load.sort_unstable_by_key(|one| one.led.asked.place);
        let mut wanted: Vec<Asked<'a>> = to_load.iter().map(|one| one.led.asked).chain(alone.iter().copied()).collect();
        wanted.sort_unstable_by_key(|asked| asked.place);

        let counters = &self.instance().counters;
        let config = &self.shared.config;
        let limits = Limits { limit: config.load_limit, pace: config.lease / 3 };
        // Those as well that wait for another instance: asked for by the loader they would wait for this very call.
        let led = open.led.iter().map(|led| led.asked.key.hash);
        let running: HashSet<_, BuildUnhashed> = wanted.iter().map(|asked| asked.key.hash).chain(led).collect();
        let keys = For::Many(Arc::as_ptr(&self.shared).addr(), Arc::new(running));
        let asked = self.now();
        let mut watch = Watch { cache: self, to_load };
        let names = wanted.iter().map(|asked| asked.key.text.to_owned()).collect();
        let empty: Brought<V> = wanted.iter().map(|asked| (asked.key.hash, None)).collect();
        // What it returns is taken apart within the guarded load: to iterate over it may run the caller's code, too, and so do the rules.
        let with_terms = |(key, value)| {
            let answer = Maybe(value);
            let terms = self.terms(rules, &answer);
            (key, (answer, terms))
        };
        let load = async || {
            load(names).await.map(|loaded| self.sorted(loaded, empty).into_iter().map(with_terms).collect::<Ruled<'_, V>>())
        };
        let overloaded = |running, waiting| Telling::<E, _>::overloaded(&AsLoadError, running, waiting);
        let loaded = match self.places(&limits, overloaded, || Beside::<LoadError<E>>::beat(&watch)).await {
            Ok(places) => {
                counters.loads.one();
                counters.batched.add(u64::try_from(wanted.len()).unwrap_or_default());
                if !alone.is_empty() {
                    counters.loads_alone.one();
                }
                let note = |loading| wanted.iter().for_each(|asked| self.note_load(asked.key, loading));
                note(Loading::Begun);
                let loaded = run(Running { keys, places }, limits, &mut watch, load).await;
                note(if loaded.is_ok() { Loading::Ended } else { Loading::Failed });
                loaded
            }
            Err(refused) => Err(Lost::Refused(refused)),
        };
        let to_load = watch.to_load;
        let mut brought = match loaded {
            Ok(brought) => brought,
            Err(lost) => {
                match &lost {
                    Lost::Failed(Failed::Loader(_)) => counters.load_errors.one(),
                    Lost::Failed(Failed::Panicked(_)) => counters.load_panics.one(),
                    Lost::Refused(_) => counters.loads_refused.one(),
                    // Counted when it was stopped.
                    Lost::Stopped(_) => {}
                }
                let to_load = self.stand_in_many(batch, to_load, rules.policy());
                if to_load.is_empty() && alone.is_empty() {
                    return Ok(());
                }
                return Err(match lost {
                    Lost::Stopped(told) => {
                        fail_many(to_load, &Failure::TimedOut(config.load_limit));
                        told
                    }
                    Lost::Refused(Refused { told, running, waiting }) => {
                        fail_many(to_load, &Failure::Overloaded(running, waiting));
                        told
                    }
                    Lost::Failed(failed) => AsLoadError.failed(failed, |failure| {
                        if let Some(failure) = failure {
                            fail_many(to_load, &failure);
                        }
                    }),
                });
            }
        };
        for asked in alone {
            let answer = brought.remove(&asked.key.hash).map_or(Maybe(None), |(answer, _)| answer);
            batch.answer(asked.place, answer);
        }
        self.keep_many(batch, to_load, &mut brought, asked.until(self.now())).await;
        Ok(())
    }

    /// Answers with what is stale, where the policy says so and it may be served; returns the others, for which the call fails.
    fn stand_in_many<'a, V: Value>(&self, batch: &mut Batch<'a, V>, to_load: Vec<ToLoad<'a>>, policy: &Policy) -> Vec<ToLoad<'a>> {
        let mut left = Vec::new();
        for mut one in to_load {
            let key = one.led.asked.key;
            let Some(spare) = self.spare::<Maybe<V>>(key, policy, CallOptions::new(), one.led.stale.as_ref()) else {
                left.push(one);
                continue;
            };
            match self.stand_in(key, one.led.flight, &spare) {
                Ok(entry) => batch.answer(one.led.asked.place, Maybe::of(&entry).unwrap_or(Maybe(None))),
                Err(flight) => {
                    one.led.flight = flight;
                    left.push(one);
                }
            }
        }
        left
    }

    /// What a loader returned, by the keys it was asked for.
    fn sorted<V, N: AsRef<str>>(&self, loaded: impl IntoIterator<Item = (N, V)>, mut brought: Brought<V>) -> Brought<V> {
        for (name, value) in loaded {
            match brought.get_mut(&self.instance().hash(name.as_ref())) {
                Some(place) => *place = Some(value),
                None => self.tell_not_asked_for(name.as_ref()),
            }
        }
        brought
    }

    /// Keeps what was loaded, as much in one step as goes in one, and answers with it.
    async fn keep_many<'a, V: Value>(
        &self,
        batch: &mut Batch<'a, V>,
        to_load: Vec<ToLoad<'a>>,
        brought: &mut Ruled<'_, V>,
        cost: Duration,
    ) {
        let (mut step, mut bytes, mut silent) = (Vec::new(), 0_usize, false);
        let (mut given_back, mut unkept) = (Vec::new(), Vec::new());
        let mut to_load = to_load.into_iter().peekable();
        while let Some(one) = to_load.next() {
            let key = one.led.asked.key;
            // Each key is led once, so it is there.
            let Some((answer, terms)) = brought.remove(&key.hash) else { continue };
            match self.ready(&one.led.flight, key, &terms, &one.led.begun, one.keep, (&answer, cost)) {
                Ok(ready) => {
                    bytes = bytes.saturating_add(ready.parcel.bytes.len());
                    step.push(Stored { one, answer, terms, ready });
                }
                Err(ticket) => {
                    given_back.extend(ticket);
                    unkept.push((one, answer, terms));
                }
            }
            if step.len() < MOST && bytes < MOST_BYTES && to_load.peek().is_some() {
                continue;
            }
            // First: who comes next finds the keys free.
            Ticket::give_back(std::mem::take(&mut given_back));
            for (one, answer, terms) in unkept.drain(..) {
                let filling = self.unkept(&one.led.begun, &terms, &answer);
                self.answer_with(batch, one, answer, filling);
            }
            bytes = 0;
            silent = self.store_step(batch, std::mem::take(&mut step), silent).await;
        }
    }

    /// Stores one step of what was loaded. Says whether the shared tier is silent: then nothing more is sent.
    async fn store_step<'a, V: Value>(&self, batch: &mut Batch<'a, V>, step: Vec<Stored<'a, '_, V>>, silent: bool) -> bool {
        let fills: Vec<Fill<'_>> = step.iter().filter_map(|stored| stored.ready.fill()).collect();
        let count = fills.len();
        let mut answers = match self.shared.tier.as_ref() {
            Some(tier) if count > 0 && !silent => tier.fill_many(&fills).await,
            _ => Vec::new(),
        };
        let silent = silent || (count > 0 && is_silent(&answers));
        fill_up(&mut answers, count);
        #[cfg(feature = "chaos")]
        crate::pause::at(crate::pause::Point::BeforeInsertion).await;
        let mut answers = answers.into_iter();
        for Stored { one, answer, terms, ready } in step {
            let filled = if ready.fill().is_some() { answers.next() } else { None };
            let filling = self.filled(ready, filled, &terms, &one.led.begun, &answer);
            self.answer_with(batch, one, answer, filling);
        }
        silent
    }

    fn answer_with<'a, V: Value>(&self, batch: &mut Batch<'a, V>, one: ToLoad<'a>, answer: Maybe<V>, filling: Filling) {
        batch.answer(one.led.asked.place, answer);
        self.land(one.led.flight, one.led.asked.key, filling.entry, filling.keep);
    }

    fn tell_not_asked_for(&self, name: &str) {
        let counters = &self.instance().counters;
        counters.not_asked_for.one();
        if counters.told.not_asked_for.first() {
            let start: String = name.chars().take(64).collect();
            tracing::warn!(
                key = start,
                "a loader of many keys returned one that it was not asked for: ignored; further ones are only counted"
            );
        }
    }
}

/// Ends the flights of a load that failed.
fn fail_many(to_load: Vec<ToLoad<'_>>, failure: &Failure) {
    // First: who comes next finds the keys free.
    Ticket::give_back(to_load.iter().filter_map(|one| one.led.flight.unstow()).collect());
    for one in to_load {
        one.led.flight.finish(Outcome::Failed(failure.clone()), || {});
    }
}

/// What a load does beside loading: it keeps the tickets of its flights alive, and minds the limit.
struct Watch<'a, 'k> {
    cache: &'a TieredCache,
    to_load: Vec<ToLoad<'k>>,
}

impl<E> Beside<LoadError<E>> for Watch<'_, '_> {
    fn beat(&self) {
        for one in &self.to_load {
            one.led.flight.live();
        }
        if let Some(tier) = &self.cache.shared.tier {
            let named = self.to_load.iter().filter_map(|one| one.led.flight.with_stowed(Ticket::named));
            extend_all(tier, named.collect());
        }
    }

    fn over_limit(&mut self) -> Option<LoadError<E>> {
        self.cache.instance().counters.load_timeouts.one();
        // A loader that stops is dropped first, and then its flights end.
        Some(LoadError::TimedOut(self.cache.shared.config.load_limit))
    }
}
