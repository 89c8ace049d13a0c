//! Asking the shared tier for a key: it answers with a usable value, or says what may be kept of a load.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::answer::Answer;
use super::call::CallOptions;
use super::open::Opened;
use super::places::lend;
use super::{Key, Part};
use crate::bulkhead::Lent;
use crate::clock::{Millis, Stopwatch};
use crate::coherence::waits::Told;
use crate::error::Fault;
use crate::flight::Lead;
use crate::flight::outcome::{Begun, Failure, Outcome};
use crate::l1::Entry;
use crate::l2::tier::Tier;
use crate::l2::{Claimed, Leased, Prospect};
use crate::lease::Ticket;
use crate::rule::policy::Policy;
use crate::rule::stamp::Stamp;
use crate::wire::slot::Slot;

/// A flight of the cache, led.
pub(super) type Flight = Lead<Outcome, Ticket, Begun>;

/// What the shared tier came to.
pub(super) enum Asked<A> {
    /// A usable value, not yet in L1.
    Answer(Arc<Entry>, A),
    /// One whose life is over, and which the policy lets answer while a newer one is loaded.
    Revalidated(Arc<Entry>, A),
    /// No value: load, and keep of it what may be kept. The loader may be shown what is stale.
    Load(Keep, Option<Arc<Entry>>),
    /// Another instance's load has failed, which was waited for.
    Failed(Failure),
}

/// What may be kept of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Our ticket stands in the key, stowed in the flight: fill it, and L1 with it.
    Shared,
    /// Nothing may be stored in the shared tier, but nothing speaks against a copy here.
    Local,
    /// A copy here, for no longer than the bound on staleness: what stands in the shared tier is not known, and may be a hold.
    Briefly,
    /// Nothing: another instance holds the right to fill, or a write guard forbids it.
    Nothing,
}

/// What one look at a key came to.
pub(super) enum Look {
    Held(Vec<u8>),
    Absent,
    Load(Keep),
}

/// What one call has spent on a key that others are at.
struct Patience<'a> {
    /// How often it came too late.
    looks: u32,
    policy: &'a Policy,
    waited: Duration,
    /// The next wait.
    pause: Duration,
    /// The value that another instance refreshes, and what of it may be shown.
    refreshed: Option<(Stamp, Option<Arc<Entry>>)>,
    /// What the key was told to hold.
    told: Option<Vec<u8>>,
    /// What the load that the call comes from does without meanwhile.
    given_away: Option<Lent>,
}

/// How often a claim that came too late is followed by another look.
pub(super) const MAX_LOOKS: u32 = 8;
/// How long after the end of a ticket the last one looks.
const LATE: Duration = Duration::from_millis(25);
/// The first and the longest wait before another look at a key at which another instance is, where nobody tells what becomes of it.
pub(super) const POLL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// A little after the end of a ticket that lasts for so long: not all who wait look at once.
pub(super) fn past(left: Duration) -> Duration {
    left.saturating_add(LATE.mul_f64(fastrand::f64()))
}

/// A pause before another look, and the next one.
pub(super) fn jittered(pause: &mut Duration) -> Duration {
    let jittered = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
    *pause = pause.saturating_mul(2).min(POLL.1);
    jittered
}

impl<'a> Patience<'a> {
    fn of(policy: &'a Policy) -> Self {
        Self { looks: 0, policy, waited: Duration::ZERO, pause: POLL.0, refreshed: None, told: None, given_away: None }
    }

    fn next_pause(&mut self) -> Duration {
        jittered(&mut self.pause)
    }
}

/// The shared tier holds the very value that this is a copy of, as a command has found that was sent after the flight had begun.
fn found_there(flight: &Flight, copy: &Entry) {
    copy.clear(flight.noted().noted.epoch);
}

/// The key has moved on: it is looked at again, if it has not been too often.
fn come_too_late<A>(patience: &mut Patience<'_>) -> Option<Asked<A>> {
    patience.looks += 1;
    (patience.looks >= MAX_LOOKS).then_some(Asked::Load(Keep::Nothing, None))
}

/// Whether the right that a flight has is to put something in the place of what this is a copy of.
pub(super) fn is_stowed_for(flight: &Flight, copy: &Entry) -> bool {
    let seen = flight.with_stowed(Ticket::seen).flatten();
    seen.is_some() && seen == copy.facts.stamp
}

impl Part {
    /// Probes the shared tier, which plants our ticket where it holds nothing. While another instance holds the ticket, waits: first
    /// for its value, at the end of the budget no longer. That its load has failed is an answer for who `hears_others`.
    pub(super) async fn ask<A: Answer>(
        &self,
        flight: &Flight,
        key: Key<'_>,
        (policy, hears_others): (&Policy, bool),
        options: CallOptions,
        begun: &Begun,
    ) -> Asked<A> {
        if options.fresh {
            // What this instance has loaded before would else take the place of what is loaded now.
            self.shared.behind.arrived(key.hash).await;
        }
        if !options.writes.l2() {
            // A leader before us may have planted it.
            drop(flight.unstow());
        }
        let here = if options.reads.l1() { self.fallback::<A>(key) } else { None };
        let tier = match self.unasked(flight, key, begun, self.now()) {
            Ok(tier) if options.unshared => return Asked::Load(self.keep_unshared(tier, key).await, None),
            Ok(tier) if options.asks() => tier,
            // As where it cannot be asked.
            Ok(_) => return Asked::Load(Keep::Briefly, self.shown_unasked(here)),
            // A leader before us has asked: only where it has the lease of this very value is nothing newer there.
            Err(Keep::Shared) => return Asked::Load(Keep::Shared, here.filter(|here| is_stowed_for(flight, here))),
            Err(keep) => return Asked::Load(keep, self.shown_unasked(here)),
        };
        let mut patience = Patience::of(policy);
        // What is stale here: if the same is there, nothing of it needs to be sent. What was made stale here has another stamp there.
        let here = here.filter(|here| options.writes.l2() && !here.is_expired());
        if let Some(seen) = here.as_ref().and_then(|here| here.facts.stamp)
            && let Some(asked) = self.refresh(tier, key, (seen, here), (flight, options), &mut patience).await
        {
            return asked;
        }
        let mut plainly = !options.writes.l2() || (self.shared.habit.expects_a_value() && !options.fresh);
        loop {
            // What another instance refreshes is not sent again at each look.
            if let Some(refreshed) = patience.refreshed.take() {
                if let Some(asked) = self.refresh(tier, key, refreshed, (flight, options), &mut patience).await {
                    return asked;
                }
                if patience.refreshed.is_some() {
                    continue;
                }
            }
            let held = match self.look(tier, key, (flight, plainly), patience.told.take()).await {
                Look::Held(held) => held,
                Look::Absent if !options.writes.l2() => {
                    self.instance().counters.l2_misses.one();
                    return Asked::Load(Keep::Local, None);
                }
                // Only absent: it takes a probe to plant a ticket.
                Look::Absent => {
                    plainly = false;
                    continue;
                }
                Look::Load(keep) => {
                    // Only where nothing is known: who has looked has found that it is not there.
                    let unknown = keep == Keep::Briefly && options.reads.l1();
                    let here = if unknown { self.fallback::<A>(key) } else { None };
                    return Asked::Load(keep, self.shown_unasked(here));
                }
            };
            match Slot::of(&held) {
                Slot::Foreign => {
                    self.tell_foreign(key);
                    return Asked::Load(Keep::Local, None);
                }
                Slot::Ticket(ticket) if self.waits(&patience, options) => {
                    // One of this instance is on its way back: of that load all have been told who waited.
                    let hears = |_: &_| hears_others && !self.shared.stamps.made(ticket);
                    if let Some(why) = self.wait_for_another(tier, key, &mut patience).await.filter(hears) {
                        return self.failed_elsewhere(why);
                    }
                    // It takes a probe to plant a ticket where that one is gone.
                    plainly = !options.writes.l2();
                }
                // Counted at the end of the wait: what comes of it may still be a hit.
                Slot::Ticket(_) | Slot::Hold => {
                    self.instance().counters.l2_misses.one();
                    return Asked::Load(Keep::Nothing, None);
                }
                Slot::Value { stamp, bytes } => match self.open::<A>(key, bytes, Some(policy), begun, self.moment()) {
                    Opened::Usable(entry, answer) if !options.fresh => {
                        self.instance().counters.l2_hits.one();
                        self.shared.habit.note(true);
                        return Asked::Answer(entry, answer);
                    }
                    Opened::OtherShape if options.fresh && options.writes.l2() => {
                        if let Some(asked) = self.refresh(tier, key, (stamp, None), (flight, options), &mut patience).await {
                            return asked;
                        }
                    }
                    Opened::LeftAlone | Opened::OtherShape => return Asked::Load(Keep::Local, None),
                    Opened::Stale(stale) if !options.writes.l2() => return Asked::Load(Keep::Local, stale),
                    Opened::Usable(..) | Opened::Unusable if !options.writes.l2() => return Asked::Load(Keep::Local, None),
                    Opened::Usable(entry, _) => {
                        if let Some(asked) = self.refresh(tier, key, (stamp, Some(entry)), (flight, options), &mut patience).await {
                            return asked;
                        }
                    }
                    Opened::Stale(stale) => {
                        if let Some(asked) = self.refresh(tier, key, (stamp, stale), (flight, options), &mut patience).await {
                            return asked;
                        }
                    }
                    Opened::Unusable => {
                        patience.looks += 1;
                        match self.claim(tier, key, stamp, flight).await {
                            Some(keep) => return Asked::Load(keep, None),
                            None if patience.looks >= MAX_LOOKS => return Asked::Load(Keep::Nothing, None),
                            None => {}
                        }
                    }
                },
            }
        }
    }

    fn failed_elsewhere<A>(&self, why: Arc<str>) -> Asked<A> {
        self.instance().counters.l2_misses.one();
        Asked::Failed(Failure::Elsewhere(why))
    }

    /// What may be kept of a value that the shared tier has no part in: nothing while a guard holds its key.
    pub(super) async fn keep_unshared(&self, tier: &Arc<Tier>, key: Key<'_>) -> Keep {
        match self.read_first(tier, key).await {
            Look::Held(held) if Slot::of(&held) == Slot::Hold => Keep::Nothing,
            Look::Held(_) | Look::Absent => Keep::Local,
            Look::Load(keep) => keep,
        }
    }

    /// Takes the lease of a value that is stale, or to be refreshed before it is: it stays until something newer takes its place. `None`: the
    /// key is to be looked at again.
    async fn refresh<A: Answer>(
        &self,
        tier: &Arc<Tier>,
        key: Key<'_>,
        (seen, stale): (Stamp, Option<Arc<Entry>>),
        (flight, options): (&Flight, CallOptions),
        patience: &mut Patience<'_>,
    ) -> Option<Asked<A>> {
        let is_slow = patience.policy.slow_after().is_some_and(|after| patience.waited >= after);
        let may_answer = |stale: &Entry| self.revalidates(stale, patience.policy) || (is_slow && self.answers_stale(stale));
        let answers = stale.as_ref().filter(|stale| !options.fresh && may_answer(stale));
        let answers = answers.and_then(|stale| A::of(stale).map(|answer| Asked::Revalidated(Arc::clone(stale), answer)));
        // It is refreshed behind the caller's back.
        if options.behind && answers.is_some() {
            return answers;
        }
        let keep = match self.take_lease(tier, key, seen, flight).await {
            Ok(Leased::Yes) => Keep::Shared,
            // Another instance refreshes it, and it answers meanwhile.
            Ok(Leased::Not) if answers.is_some() => return answers,
            // Another instance refreshes it.
            Ok(Leased::Not) if self.waits(patience, options) => {
                self.pause_for_another(patience).await;
                patience.refreshed = Some((seen, stale));
                return None;
            }
            Ok(Leased::Not) => Keep::Nothing,
            // Too late for that: its place is taken, before it is nobody's.
            Ok(Leased::Ending) => match self.claim(tier, key, seen, flight).await {
                Some(keep) => keep,
                None => return come_too_late(patience),
            },
            Ok(Leased::Moved) => return come_too_late(patience),
            // Nothing is known of the key now, so a guard may hold it.
            Err(_) => {
                self.instance().counters.l2_misses.one();
                return Some(Asked::Load(Keep::Briefly, self.shown_unasked(stale)));
            }
        };
        self.instance().counters.l2_misses.one();
        if let Some(stale) = &stale {
            found_there(flight, stale);
        }
        Some(Asked::Load(keep, stale))
    }

    /// Whether another instance that has the right to load is waited for still.
    fn waits(&self, patience: &Patience<'_>, options: CallOptions) -> bool {
        patience.policy.waits_for_others() && patience.waited < self.shared.config.wait_budget && !options.fresh
    }

    /// Waits until there is word of another instance's ticket, or its time is over: then the key is to be looked at, unless it is known what it
    /// holds. Returns why the load has failed, if that is told.
    ///
    /// Cancel safety: who waits no longer is told nothing; its mailbox goes with the ticket.
    async fn wait_for_another(&self, tier: &Tier, key: Key<'_>, patience: &mut Patience<'_>) -> Option<Arc<str>> {
        self.count_wait(patience.waited);
        let (watch, waits) = (Stopwatch::start(), &self.instance().waits);
        let mut wait = waits.wait([key.hash]);
        lend(&mut patience.given_away);
        let longest = match tier.wait(&tier.name(key.text)).await {
            Ok(Prospect::Not(held)) => {
                patience.told = held;
                // It was a wait, however short, and counts as one.
                patience.waited = patience.waited.saturating_add(watch.elapsed().max(Duration::from_millis(1)));
                return None;
            }
            Ok(Prospect::Told(left)) if waits.is_listening() => past(left),
            // Nobody tells: it is looked at now and then.
            Ok(Prospect::Told(_) | Prospect::Untold) | Err(_) => patience.next_pause(),
        };
        let left = self.shared.config.wait_budget.saturating_sub(patience.waited);
        let told = timeout(longest.min(left), wait.told()).await.ok();
        patience.waited = patience.waited.saturating_add(watch.elapsed());
        if told.is_some() {
            self.instance().counters.ticket_wakes.one();
        }
        match told {
            Some(Told::Failed(why)) => return Some(why),
            Some(Told::Held(held)) => patience.told = Some(held),
            Some(Told::Look) | None => {}
        }
        None
    }

    /// Waits a little for another instance that refreshes a value.
    async fn pause_for_another(&self, patience: &mut Patience<'_>) {
        self.count_wait(patience.waited);
        let left = self.shared.config.wait_budget.saturating_sub(patience.waited);
        // What is stale answers then.
        let slow = patience.policy.slow_after().map(|after| after.saturating_sub(patience.waited)).filter(|slow| !slow.is_zero());
        let jittered = patience.next_pause().min(left).min(slow.unwrap_or(left));
        lend(&mut patience.given_away);
        sleep(jittered).await;
        patience.waited = patience.waited.saturating_add(jittered);
    }

    /// Counts a wait for another instance, and who has not waited before.
    pub(super) fn count_wait(&self, waited: Duration) {
        let counters = &self.instance().counters;
        if waited.is_zero() {
            counters.ticket_waits.one();
        }
        counters.ticket_polls.one();
    }

    /// What is stale here and may be shown to the caller's loader, or stands in the way of nothing but a newer one.
    pub(super) fn fallback<A: Answer>(&self, key: Key<'_>) -> Option<Arc<Entry>> {
        let instance = self.instance();
        let entry = instance.l1.peek(key.hash)?;
        (entry.is_fallback(self.now(), &instance.view) && entry.value::<A::Value>().is_some()).then_some(entry)
    }

    /// What is stale here and may be shown though nobody was asked whether it is what the shared tier holds: as it would be served if it were
    /// not stale.
    pub(super) fn shown_unasked(&self, here: Option<Arc<Entry>>) -> Option<Arc<Entry>> {
        here.filter(|here| here.needs_nobody(self.now(), &self.instance().view))
    }

    /// The shared tier, if it is to be asked; else what may be kept of a load without that.
    pub(super) fn unasked(&self, flight: &Flight, key: Key<'_>, begun: &Begun, now: Millis) -> Result<&Arc<Tier>, Keep> {
        // After the flight is registered: a guard that comes later detaches it.
        if self.instance().holds.covers(key.hash, now) {
            return Err(Keep::Nothing);
        }
        let Some(tier) = self.readable_tier(key, begun, now) else {
            // Who does not look may overlook a guard, of which nobody tells any more if it is lost.
            return Err(if self.shared.tier.is_some() { Keep::Briefly } else { Keep::Local });
        };
        if let Some(ticket) = flight.unstow() {
            // The leader before us planted it, and it fences our load as well as its own. However many have had it, it lives for ours.
            ticket.extension()();
            flight.stow(ticket);
            return Err(Keep::Shared);
        }
        Ok(tier)
    }

    /// One look at the key, unless this instance was told what it holds: `plainly` where nothing is to be planted.
    async fn look(&self, tier: &Arc<Tier>, key: Key<'_>, (flight, plainly): (&Flight, bool), told: Option<Vec<u8>>) -> Look {
        let look = match told {
            Some(held) => Look::Held(held),
            None if plainly => self.read_first(tier, key).await,
            None => self.probe(tier, key, flight).await,
        };
        #[cfg(feature = "chaos")]
        crate::pause::at(crate::pause::Point::AfterReply).await;
        look
    }

    /// Reads the key, and plants our ticket where it holds nothing.
    pub(super) async fn probe(&self, tier: &Arc<Tier>, key: Key<'_>, flight: &Flight) -> Look {
        // A new one each time: a token is sent once. Whatever the way out of here, it is given back unless it is spent.
        let ticket = self.ticket(tier, key);
        match tier.probe(ticket.name(), ticket.stamp()).await {
            Ok(None) => {
                self.instance().counters.l2_misses.one();
                self.shared.habit.note(false);
                flight.stow(ticket);
                Look::Load(Keep::Shared)
            }
            // The probe may still arrive: it must not count as seen, so the fill is forfeited.
            Err(Fault::Unanswered(_)) => {
                #[cfg(feature = "chaos")]
                crate::pause::at(crate::pause::Point::AfterSilence).await;
                Look::Load(Keep::Briefly)
            }
            answer => {
                ticket.spend();
                self.looked(key, answer)
            }
        }
    }

    /// Reads the key and plants nothing: the cheaper way where it most likely holds a value.
    async fn read_first(&self, tier: &Arc<Tier>, key: Key<'_>) -> Look {
        let answer = tier.read(&tier.name(key.text)).await;
        self.looked(key, answer)
    }

    /// What an answer that planted nothing comes to.
    pub(super) fn looked(&self, key: Key<'_>, answer: Result<Option<Vec<u8>>, Fault>) -> Look {
        match answer {
            Ok(Some(held)) => Look::Held(held),
            Ok(None) => Look::Absent,
            // Nothing is known of the key, so a guard may hold it.
            Err(Fault::Unanswered(_) | Fault::Away(_) | Fault::Refused(_)) => Look::Load(Keep::Briefly),
            Err(Fault::Foreign) => {
                self.tell_foreign(key);
                Look::Load(Keep::Local)
            }
            Err(Fault::Full(_)) => Look::Load(Keep::Local),
        }
    }

    /// Takes the right to put a newer value in the place of this one, which stays until then. Whatever the way out of here, it is given back
    /// unless it was taken and stowed, or is not ours.
    pub(super) async fn take_lease(&self, tier: &Arc<Tier>, key: Key<'_>, seen: Stamp, flight: &Flight) -> Result<Leased, Fault> {
        self.take_lease_within(tier, key, seen, Duration::MAX, flight).await
    }

    /// The same, for no longer than `longest`.
    pub(super) async fn take_lease_within(
        &self,
        tier: &Arc<Tier>,
        key: Key<'_>,
        seen: Stamp,
        longest: Duration,
        flight: &Flight,
    ) -> Result<Leased, Fault> {
        let ticket = Ticket::on(tier, key.text, self.shared.stamps.next(), seen);
        let leased = ticket.take(longest).await;
        match &leased {
            Ok(Leased::Yes) => flight.stow(ticket),
            // It may have been taken.
            Err(Fault::Unanswered(_)) => drop(ticket),
            Ok(Leased::Not | Leased::Moved | Leased::Ending) | Err(_) => ticket.spend(),
        }
        leased
    }

    /// Swaps an unusable value for our ticket, so that one instance loads and not all. `None` if the key has moved on.
    async fn claim(&self, tier: &Arc<Tier>, key: Key<'_>, seen: Stamp, flight: &Flight) -> Option<Keep> {
        let ticket = self.ticket(tier, key);
        match tier.claim(ticket.name(), seen, ticket.stamp()).await {
            Ok(Claimed::Yes) => {
                flight.stow(ticket);
                Some(Keep::Shared)
            }
            Ok(Claimed::No) => {
                ticket.spend();
                None
            }
            Err(Fault::Unanswered(_)) => Some(Keep::Briefly),
            Err(_) => {
                ticket.spend();
                Some(Keep::Local)
            }
        }
    }

    /// The shared tier, if what it says of the key can be believed now: the table that judges its values is proven to be whole, and no
    /// invalidation of the key waits to be told.
    pub(super) fn readable_tier(&self, key: Key<'_>, begun: &Begun, now: Millis) -> Option<&Arc<Tier>> {
        let instance = self.instance();
        let tier = self.shared.tier.as_ref()?;
        (self.proven_of(tier, now) && !instance.outbox.covers(key.text, &begun.prefixes)).then_some(tier)
    }

    /// Whether it is proven of the very process that answers now that nothing it was told is missing here: one that came back with what it
    /// had saved answers before it is checked.
    pub(super) fn proven_of(&self, tier: &Tier, now: Millis) -> bool {
        self.instance().view.proven_of(tier.line(), now)
    }

    pub(super) fn ticket(&self, tier: &Arc<Tier>, key: Key<'_>) -> Ticket {
        Ticket::new(tier, key.text, self.shared.stamps.next())
    }
}
