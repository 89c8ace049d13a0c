//! Failures that are remembered: in the place of a copy, for as long as the policy says, so that what invalidates a copy ends them as well.

use std::sync::Arc;
use std::time::Duration;

use super::call::CallOptions;
use super::telling::{Heard, Telling};
use super::{Key, Part};
use crate::flight::outcome::{Begun, Failure};
use crate::l1::{Entry, Facts};
use crate::rule::early::Early;
use crate::rule::policy::{Content, OnUnreachable, Policy};
use crate::rule::seq::Generation;

/// How a load that is to begin is remembered, should it fail.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    life: Duration,
    /// Up to where tags are bumped: nobody knows which ones its value would have had.
    generation: Generation,
    excusable: bool,
}

struct Remembered {
    failure: Failure,
    generation: Generation,
}

impl Part {
    /// What a caller is told of a load that has failed before.
    pub(super) fn remembered<E, T>(
        &self,
        key: Key<'_>,
        policy: &Policy,
        options: CallOptions,
        telling: &impl Telling<E, T>,
    ) -> Option<T> {
        if !options.looks_here() || options.fresh || policy.error_life(Duration::MAX).is_none() {
            return None;
        }
        let instance = self.instance();
        let entry = instance.l1.peek(key.hash).filter(|entry| entry.facts.content == Content::Failure)?;
        let remembered = entry.value::<Remembered>()?;
        if !entry.would_serve(self.now(), &instance.view) || remembered.generation != instance.view.generation() {
            return None;
        }
        let Heard::Told(told) = telling.heard(&remembered.failure) else { return None };
        instance.counters.errors_remembered.one();
        Some(told)
    }

    /// To be asked before the load begins: what is bumped from then on ends what is remembered. `None` where nothing is.
    pub(super) fn memory(&self, policy: &Policy, options: CallOptions) -> Option<Memory> {
        let life = policy.error_life(self.shared.config.max_life).filter(|_| options.writes.l1())?;
        let excusable = self.when_unreachable(policy) == OnUnreachable::Serve;
        Some(Memory { life, generation: self.instance().view.generation(), excusable })
    }

    /// An entry that says that a load has failed which began so.
    pub(super) fn failure(&self, failure: &Failure, begun: &Begun, memory: Memory) -> Arc<Entry> {
        let now = self.now();
        let end = now.after(memory.life);
        let facts = Facts {
            content: Content::Failure,
            epoch: begun.noted.epoch,
            born: begun.noted.born,
            tick: begun.noted.tick,
            tags: Box::default(),
            validator: None,
            prefixes: begun.prefixes,
            stamp: None,
            deadline: end,
            stale_from: end,
            end,
            loaded_at: now,
            early: Early::NEVER,
            cost: Duration::ZERO,
            self_evident_until: begun.noted.at.after(self.shared.config.max_staleness),
            excusable: memory.excusable,
            idle_limit: None,
            stands_in: false,
            size: 0,
            type_name: "a failure",
        };
        Entry::new(facts, now, Remembered { failure: failure.clone(), generation: memory.generation })
    }

    /// Keeps it, unless there is a value that is of more use.
    pub(super) fn remember(&self, key: Key<'_>, entry: Option<Arc<Entry>>) {
        let instance = self.instance();
        let Some(entry) = entry.filter(|_| !self.closed()) else { return };
        let is_value = |present: Arc<Entry>| present.facts.content != Content::Failure && self.now() < present.facts.end;
        if !instance.l1.peek(key.hash).is_some_and(is_value) {
            instance.l1.insert(key.hash, entry);
        }
    }
}
