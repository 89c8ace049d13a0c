//! A copy that answers while something newer is looked for: before its life is over, as its policy says, or for a while behind that. One caller looks;
//! all others are answered with the copy, and so is he, unless he has brought something newer.

use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use super::ask::{Asked, Flight, Keep, Look};
use super::call::CallOptions;
use super::fetch::{Found, plan};
use super::open::Opened;
use super::served::{Answered, Origin};
use super::{Key, Part};
use crate::flight::outcome::{Begun, Outcome};
use crate::flight::{Entered, Purpose};
use crate::l1::{Due, Entry};
use crate::l2::Leased;
use crate::rule::policy::Policy;
use crate::wire::slot::Slot;

/// How long a copy answers before something newer is looked for again, at least: where another instance is at it, or a load has failed.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A copy that answers, and the right to look for something newer, if the caller is to.
pub(super) struct Standing {
    pub(super) copy: Arc<Entry>,
    pub(super) due: Option<Due>,
}

impl Part {
    /// The copy of a key that is due, or answers although its life is over; the caller may be the one who looks for something newer.
    pub(super) fn standing<A: Answer>(&self, key: Key<'_>, policy: &Policy, options: CallOptions) -> Option<Standing> {
        if !options.looks_here() || options.fresh {
            return None;
        }
        let (now, copy) = (self.now(), self.instance().l1.peek(key.hash)?);
        // One of another type is not refreshed by who wants this one.
        A::of(&copy)?;
        let looks = copy.is_stale(now) || now >= copy.facts.early.from;
        if !looks || !self.may_answer(&copy, policy) || policy.check().is_err() {
            return None;
        }
        let due = Due::begin(&copy, now);
        if due.is_none() {
            copy.read_meanwhile();
        }
        Some(Standing { copy, due })
    }

    /// Whether a copy answers now: fresh, or in the time behind that in which the policy lets it.
    fn may_answer(&self, copy: &Entry, policy: &Policy) -> bool {
        copy.would_serve(self.now(), &self.instance().view) || self.revalidates(copy, policy)
    }

    /// Whether a copy whose life is over answers while a newer one is loaded.
    pub(super) fn revalidates(&self, copy: &Entry, policy: &Policy) -> bool {
        let window = policy.revalidates_for();
        !window.is_zero() && self.now() < copy.stale_since().after(window) && self.answers_stale(copy)
    }

    /// Whether what is stale may answer, where the policy lets it: nothing speaks against it but its age.
    pub(super) fn answers_stale(&self, copy: &Entry) -> bool {
        let (now, view) = (self.now(), &self.instance().view);
        copy.is_fallback(now, view) && copy.needs_nobody(now, view)
    }

    /// Whether this very copy is what the instance holds of the key: what invalidates the key takes it out.
    fn is_held(&self, key: Key<'_>, copy: &Arc<Entry>) -> bool {
        self.instance().l1.peek(key.hash).is_some_and(|present| Arc::ptr_eq(&present, copy))
    }

    /// The answer that a copy is, if it may be served now: judged when it is served, for what was looked for meanwhile took its time.
    pub(super) fn answer_of_copy<A: Answer>(&self, key: Key<'_>, copy: &Arc<Entry>, policy: &Policy) -> Option<Answered<A>> {
        if !self.may_answer(copy, policy) || !self.is_held(key, copy) {
            return None;
        }
        self.served(Arc::clone(copy))
    }

    /// The answer that this copy is, counted as what it is.
    pub(super) fn served<A: Answer>(&self, copy: Arc<Entry>) -> Option<Answered<A>> {
        let (answer, counters, now) = (A::of(&copy)?, &self.instance().counters, self.now());
        if copy.is_stale(now) {
            counters.served_revalidating.one();
        }
        if copy.lacks_proof(now, &self.instance().view) {
            self.instance().view.count_unproven();
        }
        Some(Answered::new(answer, Origin::L1, copy))
    }

    /// A copy that answers a call which has come to its end, if there is one.
    pub(super) fn copy_at_hand<A: Answer>(&self, key: Key<'_>, policy: &Policy, options: CallOptions) -> Option<Answered<A>> {
        let copy = self.instance().l1.peek(key.hash).filter(|_| options.looks_here() && !options.fresh)?;
        self.answer_of_copy(key, &copy, policy)
    }

    /// Looks for something newer than a copy: in the shared tier, else by the caller's loader, if it is his to load. `None`: somebody else is at
    /// it, or nothing can be stored.
    pub(super) async fn find_newer<A: Answer>(
        &self,
        key: Key<'_>,
        policy: &Policy,
        options: CallOptions,
        due: &mut Due,
    ) -> Option<Found<A>> {
        let counters = &self.instance().counters;
        counters.refreshes.one();
        // Whatever becomes of it: another look, should nothing newer be there, has time.
        due.later(self.now().after(due.entry().cost().clamp(PAUSE.0, PAUSE.1)));
        let begun = self.begin(key);
        let Entered::Lead(flight) = self.instance().flights.enter(key.hash, plan::<A>(Purpose::Load, begun)) else {
            counters.refreshes_left.one();
            return None;
        };
        let copy = Arc::clone(due.entry());
        // Whoever had the flight before may have brought it; and what has invalidated the copy before this flight began has not detached it. What was
        // never admitted here, or displaced, the shared tier knows by its stamp.
        let present = self.instance().l1.peek(key.hash);
        let known = copy.facts.stamp.is_some() && self.shared.tier.is_some();
        if present.map_or(known, |present| Arc::ptr_eq(&present, &copy)) {
            let asked = self.ask_ahead::<A>(&flight, key, policy, options, (&begun, &copy)).await;
            // By an epoch that has ended nothing can be judged.
            match asked.filter(|_| self.instance().view.epoch() == begun.noted.epoch) {
                Some(Asked::Answer(entry, answer)) => {
                    counters.refreshes_found.one();
                    self.land(flight, key, Arc::clone(&entry), options.writes.l1());
                    return Some(Found::Answer(Answered::new(answer, Origin::L2, entry)));
                }
                Some(Asked::Load(keep, stale)) => return Some(Found::Nothing(flight, begun, keep, stale)),
                Some(Asked::Revalidated(..) | Asked::Failed(_)) | None => {}
            }
        }
        counters.refreshes_left.one();
        drop(flight.unstow());
        flight.finish(Outcome::Nothing, || {});
        None
    }

    /// One look at the shared tier, which has the caller load if nobody else does: under the lease of the value, so that it stays where it is.
    async fn ask_ahead<A: Answer>(
        &self,
        flight: &Flight,
        key: Key<'_>,
        policy: &Policy,
        options: CallOptions,
        (begun, copy): (&Begun, &Arc<Entry>),
    ) -> Option<Asked<A>> {
        let load = |keep| Some(Asked::Load(keep, Some(Arc::clone(copy))));
        let tier = match self.unasked(flight, key, begun, self.now()) {
            Ok(tier) => tier,
            Err(keep @ (Keep::Shared | Keep::Local)) => return load(keep),
            Err(Keep::Briefly | Keep::Nothing) => return None,
        };
        if options.unshared {
            return match self.keep_unshared(tier, key).await {
                Keep::Local => load(Keep::Local),
                _ => None,
            };
        }
        if !options.writes.l2() || !options.reads.l2() {
            return None;
        }
        if let Some(seen) = copy.facts.stamp {
            // A lease for as long as the value will be there: it fences nothing behind that.
            let left = copy.facts.end.max(copy.facts.stale_from);
            match self.take_lease_within(tier, key, seen, self.now().until(left).mul_f64(0.9), flight).await {
                Ok(Leased::Yes) => return load(Keep::Shared),
                // Something newer is there, or nothing.
                Ok(Leased::Moved) => {}
                Ok(Leased::Not | Leased::Ending) | Err(_) => return None,
            }
        }
        match self.probe(tier, key, flight).await {
            Look::Load(Keep::Shared) => Some(Asked::Load(Keep::Shared, None)),
            Look::Load(_) | Look::Absent => None,
            Look::Held(held) => match Slot::of(&held) {
                Slot::Value { stamp, bytes } => match self.open::<A>(key, bytes, Some(policy), begun, self.moment()) {
                    Opened::Usable(entry, answer) => Some(Asked::Answer(entry, answer)),
                    Opened::Stale(stale) => match self.take_lease(tier, key, stamp, flight).await {
                        Ok(Leased::Yes) => Some(Asked::Load(Keep::Shared, stale)),
                        _ => None,
                    },
                    _ => None,
                },
                _ => None,
            },
        }
    }

    /// What follows a load that was to bring something newer and has brought nothing.
    pub(super) fn note_failed_refresh(&self, key: Key<'_>, policy: &Policy, due: &mut Due) {
        let counters = &self.instance().counters;
        counters.refreshes_failed.one();
        due.later(self.now().after(policy.retry_after().unwrap_or(PAUSE.1)));
        if counters.told.refresh_failed.first() {
            tracing::warn!(
                key = key.text,
                "what was to be refreshed could not be loaded: the present value answers to its end; further ones are only counted"
            );
        }
    }
}
