//! Loading the keys of a batch with one call of its loader, and keeping what that brings.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::answer::{Answer as _, Maybe};
use super::super::ask::Keep;
use super::super::fill::{Filling, Ready};
use super::super::load::{Beside, For, Limits, Lost, Running, run};
use super::super::places::Refused;
use super::super::telling::{AsLoadError, Failed, Telling};
use super::super::terms::Terms;
use super::super::{Part, Rules, TieredCache, Value};
use super::fetch::{Led, Side, ToLoad};
use super::keys::{Asked, Batch};
use crate::all::all;
use crate::coherence::own;
use crate::error::LoadError;
use crate::flight::outcome::{Failure, Outcome};
use crate::key::KeyHash;
use crate::l1::Entry;
use crate::l2::Loading;
use crate::l2::many::{Fill, MOST, MOST_BYTES, fill_up, is_silent};
use crate::lease::{Ticket, extend_all};
use crate::rule::policy::Policy;
use crate::unhashed::BuildUnhashed;
use crate::wire::message::Targets;

/// What a loader has brought, by key: nothing where it has named none.
type Brought<V> = HashMap<KeyHash, Option<V>, BuildUnhashed>;

/// The same as answers, with what the rules say of each.
type Ruled<'c, V> = HashMap<KeyHash, (Maybe<V>, Terms<'c>), BuildUnhashed>;

/// One that was loaded in any case and is not stored: what was there is not served again, by anybody.
struct Outdated<'a> {
    led: Led<'a>,
    entry: Arc<Entry>,
}

/// One that is to be stored, and its answer.
struct Stored<'a, 'c, V> {
    one: ToLoad<'a>,
    answer: Maybe<V>,
    terms: Terms<'c>,
    ready: Ready,
}

impl TieredCache {
    /// Loads what is to be loaded in all parts, and what this caller loads alone, by one call; keeps what may be kept, and answers all of it.
    pub(super) async fn load_many<V, E, L, N, F, Fut>(
        &self,
        sides: &mut [Side<'_, '_, V>],
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
        let mut wanted: Vec<(&Part, Asked<'_>)> = Vec::new();
        let mut running: HashSet<_, BuildUnhashed> = HashSet::default();
        let mut loads_alone = false;
        for side in &mut *sides {
            side.to_load.sort_unstable_by_key(|one| one.led.asked.place);
            loads_alone |= !side.open.alone.is_empty();
            let asked = side.to_load.iter().map(|one| one.led.asked).chain(side.open.alone.iter().copied());
            wanted.extend(asked.map(|asked| (side.batch.part, asked)));
            // Those as well that wait for another instance: asked for by the loader they would wait for this very call.
            running.extend(side.open.led.iter().map(|led| led.asked.key.hash));
        }
        wanted.sort_unstable_by_key(|(_, asked)| asked.place);
        running.extend(wanted.iter().map(|(_, asked)| asked.key.hash));

        let (first, counters, config) = (self.parts.first(), self.counters(), self.config());
        let to_load = sides.iter().flat_map(|side| &side.to_load);
        let before = to_load.filter_map(|one| Some((one.led.asked.key.hash, Arc::clone(one.led.stale.as_ref()?))));
        let before: HashMap<KeyHash, Arc<Entry>, BuildUnhashed> = before.collect();
        let limits = Limits { limit: config.load_limit, pace: config.lease / 3 };
        let keys = For::Many(first.load_cache(), Arc::new(running));
        let asked = first.now();
        let names = wanted.iter().map(|(_, asked)| asked.key.text.to_owned()).collect();
        let empty: Brought<V> = wanted.iter().map(|(_, asked)| (asked.key.hash, None)).collect();
        // What it returns is taken apart within the guarded load: to iterate over it may run the caller's code, too, and so do the rules.
        let with_terms = |(key, value)| {
            let answer = Maybe(value);
            let terms = first.terms(rules, &answer).following(&answer, before.get(&key).map(|entry| &**entry), config.codec);
            (key, (answer, terms))
        };
        let load = async || {
            load(names).await.map(|loaded| first.sorted(loaded, empty).into_iter().map(with_terms).collect::<Ruled<'_, V>>())
        };
        let overloaded = |running, waiting| Telling::<E, _>::overloaded(&AsLoadError, running, waiting);
        let mut watch = Watch { cache: first, sides: &*sides };
        let loaded = match first.places(&limits, overloaded, || Beside::<LoadError<E>>::beat(&watch)).await {
            Ok(places) => {
                counters.loads.one();
                counters.batched.add(u64::try_from(wanted.len()).unwrap_or_default());
                if loads_alone {
                    counters.loads_alone.one();
                }
                let note = |loading| wanted.iter().for_each(|(part, asked)| part.note_load(asked.key, loading));
                note(Loading::Begun);
                let loaded = run(Running { keys, places }, limits, &mut watch, load).await;
                note(if loaded.is_ok() { Loading::Ended } else { Loading::Failed });
                loaded
            }
            Err(refused) => Err(Lost::Refused(refused)),
        };
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
                let mut left = Vec::new();
                for Side { batch, to_load, .. } in &mut *sides {
                    left.extend(batch.part.stand_in_many(batch, std::mem::take(to_load), rules.policy()));
                }
                if left.is_empty() && !loads_alone {
                    return Ok(());
                }
                return Err(match lost {
                    Lost::Stopped(told) => {
                        fail_many(left, &Failure::TimedOut(config.load_limit));
                        told
                    }
                    Lost::Refused(Refused { told, running, waiting }) => {
                        fail_many(left, &Failure::Overloaded(running, waiting));
                        told
                    }
                    Lost::Failed(failed) => AsLoadError.failed(failed, |failure| {
                        if let Some(failure) = failure {
                            fail_many(left, &failure);
                        }
                    }),
                });
            }
        };
        let cost = asked.until(first.now());
        let mut keeps = Vec::with_capacity(sides.len());
        for Side { batch, open, to_load } in sides {
            for asked in open.alone.drain(..) {
                let answer = brought.remove(&asked.key.hash).map_or(Maybe(None), |(answer, _)| answer);
                batch.answer(asked.place, answer);
            }
            // Each key is led once, so it is there.
            let loaded = to_load.drain(..).filter_map(|one| brought.remove(&one.led.asked.key.hash).map(|answer| (one, answer)));
            let loaded: Vec<_> = loaded.collect();
            keeps.push(batch.part.keep_many(batch, loaded, cost));
        }
        all(keeps).await;
        Ok(())
    }
}

impl Part {
    /// Answers with what is stale, where the policy says so and it may be served; returns the others, for which the call fails.
    fn stand_in_many<'a, V: Value>(&self, batch: &mut Batch<'a, V>, to_load: Vec<ToLoad<'a>>, policy: &Policy) -> Vec<ToLoad<'a>> {
        let mut left = Vec::new();
        for mut one in to_load {
            let key = one.led.asked.key;
            let Some(spare) = self.spare::<Maybe<V>>(key, policy, batch.options, one.led.stale.as_ref()) else {
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
        loaded: Vec<(ToLoad<'a>, (Maybe<V>, Terms<'_>))>,
        cost: Duration,
    ) {
        let (mut step, mut bytes, mut silent) = (Vec::new(), 0_usize, false);
        let (mut given_back, mut unkept, mut outdated, mut begun) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let goes_everywhere = batch.options.fresh && batch.options.writes.l2();
        let mut loaded = loaded.into_iter().peekable();
        while let Some((one, (answer, terms))) = loaded.next() {
            let key = one.led.asked.key;
            match self.ready(&one.led.flight, key, &terms, one.led.begun(), one.keep, (&answer, cost)) {
                Ok(ready) => {
                    bytes = bytes.saturating_add(ready.parcel.bytes.len());
                    step.push(Stored { one, answer, terms, ready });
                }
                Err(ticket) => {
                    given_back.extend(ticket);
                    unkept.push((one, answer, terms));
                }
            }
            if step.len() < MOST && bytes < MOST_BYTES && loaded.peek().is_some() {
                continue;
            }
            // First: who comes next finds the keys free.
            Ticket::give_back(std::mem::take(&mut given_back));
            let mut gone = Vec::new();
            for (one, answer, terms) in unkept.drain(..) {
                let filling = self.unkept(one.led.begun(), &terms, &answer);
                if goes_everywhere {
                    gone.push(one.led.asked.key.text.to_owned());
                    batch.answer(one.led.asked.place, answer);
                    outdated.push(Outdated { led: one.led, entry: filling.entry });
                } else {
                    self.answer_with(batch, one, (answer, &terms), filling);
                }
            }
            begun.extend(self.outdate_everywhere(gone));
            bytes = 0;
            silent = self.store_step(batch, std::mem::take(&mut step), silent).await;
        }
        // What is stored does not wait for it.
        all(begun).await;
        for Outdated { led, entry } in outdated {
            self.land(led.flight, led.asked.key, entry, false);
        }
    }

    /// Has everybody told, beside whatever the call does next and also if it is dropped, that these keys are outdated: here they are at once.
    /// Returns what ends with that; what nobody confirms is told again.
    fn outdate_everywhere(&self, mut keys: Vec<String>) -> Vec<oneshot::Receiver<()>> {
        let mut begun = Vec::new();
        while !keys.is_empty() && !self.closed() {
            let later = keys.split_off(keys.len().min(MOST));
            let targets = Targets { keys: std::mem::replace(&mut keys, later), ..Targets::default() };
            let Some(tier) = self.shared.tier.clone() else {
                self.bump_alone(&targets);
                continue;
            };
            let (instance, (ended, told)) = (Arc::clone(self.instance()), oneshot::channel());
            tier.clone().tasks().begin(async move {
                let _ = own::bump(&instance, &tier, targets).await;
                let _ = ended.send(());
            });
            begun.push(told);
        }
        begun
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
            let filling = self.filled(ready, filled, &terms, one.led.begun(), &answer);
            self.answer_with(batch, one, (answer, &terms), filling);
        }
        silent
    }

    /// Answers with what was loaded, and keeps it here if it is to be kept. If not, what was there is not served again.
    fn answer_with<'a, V: Value>(
        &self,
        batch: &mut Batch<'a, V>,
        ToLoad { led, keep }: ToLoad<'a>,
        (answer, terms): (Maybe<V>, &Terms<'_>),
        filling: Filling,
    ) {
        let (key, options) = (led.asked.key, batch.options);
        // As for one key, from here on: elsewhere what it takes the place of may answer.
        let answers = led.stale.is_some() && !terms.policy.revalidates_for().is_zero();
        let announces = answers && terms.changed && terms.policy.announces();
        let stored = filling.entry.facts.stamp.filter(|_| announces && filling.keep);
        batch.answer(led.asked.place, answer);
        let keeps = filling.keep && options.writes.l1();
        if options.fresh && !keeps {
            self.outdate_here(key, options);
        }
        self.land(led.flight, key, filling.entry, keeps && !(keep == Keep::Briefly && self.has_better(key, options)));
        // Behind its entering L1: a flight that is under way is detached by what is told of its key.
        if let Some(stamp) = stored {
            self.announce(key, stamp);
        }
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
struct Watch<'s, 'b, 'a, V> {
    cache: &'s Part,
    sides: &'s [Side<'b, 'a, V>],
}

impl<E, V: Value> Beside<LoadError<E>> for Watch<'_, '_, '_, V> {
    fn beat(&self) {
        for Side { batch, to_load, .. } in self.sides {
            for one in to_load {
                one.led.flight.live();
            }
            if let Some(tier) = &batch.part.shared.tier {
                let named = to_load.iter().filter_map(|one| one.led.flight.with_stowed(Ticket::lasting).flatten());
                extend_all(tier, named.collect());
            }
        }
    }

    fn over_limit(&mut self) -> Option<LoadError<E>> {
        self.cache.instance().counters.load_timeouts.one();
        // A loader that stops is dropped first, and then its flights end.
        Some(LoadError::TimedOut(self.cache.shared.config.load_limit))
    }
}
