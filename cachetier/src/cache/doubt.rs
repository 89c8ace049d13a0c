//! Copies that are here and cannot be served as they are: no proof covers them, or an epoch has ended since one did.

use std::sync::Arc;

use super::answer::Answer;
use super::call::CallOptions;
use super::served::Answered;
use super::{Key, Part};
use crate::flight::outcome::Begun;
use crate::l1::Entry;
use crate::rule::policy::{OnUnreachable, Policy};

impl Part {
    /// Where there is no proof, looks for one. Returns what L1 then has: by a new proof, or without one if none is to be had.
    pub(super) async fn prove<A: Answer>(&self, key: Key<'_>, options: CallOptions) -> Option<Answered<A>> {
        if self.seek_proof().await && options.looks_here() { self.hit_here(key) } else { None }
    }

    /// Where there is no proof, looks for one. Says whether it did: then L1 is worth another look.
    pub(crate) async fn seek_proof(&self) -> bool {
        let Some(tier) = self.shared.tier.as_ref() else { return false };
        if self.proven_of(tier, self.now()) || self.closed() {
            return false;
        }
        self.shared.renewal.seek(self.instance(), tier).await;
        true
    }

    /// Says whether a call is to fail now rather than load.
    pub(super) fn fails(&self, policy: &Policy) -> bool {
        self.shared.tier.is_some()
            && self.when_unreachable(policy) == OnUnreachable::Fail
            && !self.closed()
            && !self.instance().view.proven(self.now())
    }

    pub(super) fn when_unreachable(&self, policy: &Policy) -> OnUnreachable {
        policy.when_unreachable().unwrap_or(self.shared.config.on_unreachable)
    }

    /// A suspect copy that is still what the shared tier holds: its stamp says so, and rule T on a table taken over since the epoch began.
    /// Nothing is loaded or transferred for it. It is for the flight to clear it, if nothing has detached that by then.
    pub(super) async fn still_held<A: Answer>(&self, key: Key<'_>, begun: &Begun) -> Option<(Arc<Entry>, A)> {
        let instance = self.instance();
        let tier = self.readable_tier(key, begun, self.now())?;
        let entry = instance.l1.peek(key.hash)?;
        let stamp = entry.facts.stamp?;
        let answer = A::of(&entry)?;
        if !entry.is_suspect(self.now(), &instance.view) {
            return None;
        }
        // After this reply everything is looked at again: what was invalidated while it was under way may have come too late for it.
        let same = tier.stamp(&tier.name(key.text)).await.ok()? == Some(stamp);
        if !self.proven_of(tier, self.now()) || instance.view.epoch() != begun.noted.epoch {
            return None;
        }
        let held = same && entry.is_suspect(self.now(), &instance.view);
        let counter = if held { &instance.counters.suspects_same } else { &instance.counters.suspects_changed };
        counter.one();
        held.then_some((entry, answer))
    }
}
