//! The keys of a batch, each once however often it was given, and the answers, in the order in which they were.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::super::answer::{Answer as _, Maybe};
use super::super::{Key, TieredCache, Value};
use crate::unhashed::BuildUnhashed;

/// What a batch was asked for.
pub(super) struct Batch<'a, V> {
    /// For each key that was given, which of the different ones it is.
    given: Vec<usize>,
    /// By key, in the order of first appearance; none yet where it is open.
    answers: Vec<Option<Maybe<V>>>,
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

impl<'a, V: Value> Batch<'a, V> {
    /// A batch of keys, with what L1 has of them.
    pub(super) fn of<K: AsRef<str>>(cache: &TieredCache, keys: &'a [K]) -> Self {
        let mut places = HashMap::with_capacity_and_hasher(keys.len(), BuildUnhashed::default());
        let mut batch = Self { given: Vec::with_capacity(keys.len()), answers: Vec::with_capacity(keys.len()), open: Vec::new() };
        for key in keys {
            let key = cache.key(key.as_ref());
            let next = batch.answers.len();
            let place = match places.entry(key.hash) {
                Entry::Occupied(place) => *place.get(),
                Entry::Vacant(vacant) => {
                    batch.answers.push(None);
                    batch.open.push(Asked { place: next, key, turns: 0 });
                    *vacant.insert(next)
                }
            };
            batch.given.push(place);
        }
        batch.look_at_l1(cache);
        batch
    }

    /// Answers those that L1 has.
    pub(super) fn look_at_l1(&mut self, cache: &TieredCache) {
        let mut open = std::mem::take(&mut self.open);
        open.retain(|asked| match cache.hit(asked.key.hash) {
            Some(answer) => {
                self.answer(asked.place, answer);
                false
            }
            None => true,
        });
        self.open = open;
    }

    pub(super) fn answer(&mut self, place: usize, answer: Maybe<V>) {
        if let Some(slot) = self.answers.get_mut(place) {
            *slot = Some(answer);
        }
    }

    /// One answer for each key that was given.
    pub(super) fn into_answers(self) -> Vec<Option<V>> {
        let Self { given, mut answers, .. } = self;
        if given.len() == answers.len() {
            // Nothing was given twice, so nothing is cloned.
            return answers.into_iter().map(|answer| answer.and_then(|Maybe(value)| value)).collect();
        }
        let value = |place: &usize| answers.get_mut(*place).and_then(|answer| answer.as_ref()?.value().cloned());
        given.iter().map(value).collect()
    }
}
