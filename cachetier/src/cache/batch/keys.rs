//! The keys of a batch, each once however often it was given, by the part that they belong to; and the answers, in the order in which they were given.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::super::answer::Maybe;
use super::super::call::CallOptions;
use super::super::{Key, Part, TieredCache, Value};
use crate::clock::Millis;
use crate::unhashed::BuildUnhashed;

/// What a call for many keys was given.
pub(super) struct Given {
    /// For each key, which of the different ones it is.
    places: Vec<usize>,
    /// How many different ones there are.
    different: usize,
}

/// The different keys that were given and belong to one part.
pub(super) struct Batch<'a, V> {
    pub(super) part: &'a Part,
    pub(super) options: CallOptions,
    answers: Vec<(usize, Maybe<V>)>,
    /// Those that L1 has not answered, until they are taken up.
    pub(super) open: Vec<Asked<'a>>,
}

/// One key of a batch, without an answer so far.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Which of the different keys it is.
    pub(super) place: usize,
    pub(super) key: Key<'a>,
    /// How often it has waited for its turn.
    pub(super) turns: u32,
}

impl Given {
    /// Each key once, by the part that it belongs to, in the order of first appearance; with what L1 has of them, if it may answer.
    pub(super) fn to<'a, K: AsRef<str>, V: Value>(
        cache: &'a TieredCache,
        keys: &'a [K],
        options: CallOptions,
    ) -> (Self, Vec<Batch<'a, V>>) {
        let parts = cache.parts.all();
        let batch = |part| Batch { part, options, answers: Vec::with_capacity(keys.len() / parts.len()), open: Vec::new() };
        let mut batches: Vec<Batch<'a, V>> = parts.iter().map(batch).collect();
        let mut seen = HashMap::with_capacity_and_hasher(keys.len(), BuildUnhashed::default());
        let mut given = Self { places: Vec::with_capacity(keys.len()), different: 0 };
        let now = cache.parts.first().now();
        for key in keys {
            let (number, key) = (cache.parts.number_of(key.as_ref().as_bytes()), cache.parts.first().key(key.as_ref()));
            let place = match seen.entry(key.hash) {
                Entry::Occupied(place) => *place.get(),
                Entry::Vacant(vacant) => {
                    let place = given.different;
                    given.different += 1;
                    if let Some(batch) = batches.get_mut(number) {
                        match batch.hit(key, now) {
                            Some(answer) => batch.answer(place, answer),
                            None => batch.open.push(Asked { place, key, turns: 0 }),
                        }
                    }
                    *vacant.insert(place)
                }
            };
            given.places.push(place);
        }
        (given, batches)
    }

    /// One answer for each key that was given.
    pub(super) fn answers<V: Value>(self, batches: Vec<Batch<'_, V>>) -> Vec<Option<V>> {
        let mut answers: Vec<Option<V>> = (0..self.different).map(|_| None).collect();
        for (place, Maybe(value)) in batches.into_iter().flat_map(|batch| batch.answers) {
            if let Some(answer) = answers.get_mut(place) {
                *answer = value;
            }
        }
        if self.places.len() == self.different {
            // Nothing was given twice, so nothing is cloned.
            return answers;
        }
        self.places.iter().map(|place| answers.get(*place).cloned().flatten()).collect()
    }
}

impl<V: Value> Batch<'_, V> {
    /// How many keys L1 was asked for and does not have.
    pub(super) fn missed_here(&self) -> usize {
        if self.options.looks_here() { self.open.len() } else { 0 }
    }

    /// Answers those that L1 has.
    pub(super) fn look_at_l1(&mut self) {
        if !self.options.looks_here() {
            return;
        }
        let (mut open, now) = (std::mem::take(&mut self.open), self.part.now());
        open.retain(|asked| match self.hit(asked.key, now) {
            Some(answer) => {
                self.answer(asked.place, answer);
                false
            }
            None => true,
        });
        self.open = open;
    }

    fn hit(&self, key: Key<'_>, now: Millis) -> Option<Maybe<V>> {
        if self.options.looks_here() { self.part.hit_at(key, now) } else { None }
    }

    pub(super) fn answer(&mut self, place: usize, answer: Maybe<V>) {
        self.answers.push((place, answer));
    }
}
