//! Asking the shared tier for a key: it answers with a usable value, or says what may be kept of a load.

use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::answer::Answer;
use super::call::CallOptions;
use super::local::shown;
use super::places::lend;
use super::{Key, Part, Value};
use crate::bulkhead::Lent;
use crate::clock::{Millis, Stopwatch};
use crate::coherence::waits::Told;
use crate::error::Fault;
use crate::flight::Lead;
use crate::flight::outcome::{Begun, Outcome};
use crate::key::TagHash;
use crate::l1::{Entry, Facts};
use crate::l2::tier::Tier;
use crate::l2::{Claimed, Leased, Prospect};
use crate::lease::Ticket;
use crate::rule::policy::{Content, OnUnreachable, Policy, left};
use crate::rule::stamp::Stamp;
use crate::wire::codec::Codec;
use crate::wire::compress::{self, Payload};
use crate::wire::envelope::{self, Fingerprint, Unreadable};
use crate::wire::slot::Slot;

/// A flight of the cache, led.
pub(super) type Flight = Lead<Outcome, Ticket, Begun>;

/// What the shared tier came to.
pub(super) enum Asked<A> {
    /// A usable value, not yet in L1.
    Answer(Arc<Entry>, A),
    /// No value: load, and keep of it what may be kept. The loader may be shown what is stale.
    Load(Keep, Option<Arc<Entry>>),
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

/// What bytes in the shared tier are to a caller.
pub(super) enum Opened<A> {
    Usable(Arc<Entry>, A),
    /// Its life is over, and it is kept for who brings a newer one; decoded for a caller whose loader may be shown it.
    Stale(Option<Arc<Entry>>),
    /// Ours, and of no use to anybody: its place may be claimed.
    Unusable,
    /// Somebody else's, a newer release's or of another type: it stays.
    LeftAlone,
    /// Of this type with other fields: it stays, unless somebody wants it refreshed.
    OtherShape,
}

/// What one call has spent on a key that others are at.
struct Patience {
    /// How often it came too late.
    looks: u32,
    /// Whether it waits at all.
    shares: bool,
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

impl Patience {
    fn of(policy: &Policy) -> Self {
        Self {
            looks: 0,
            shares: policy.waits_for_others(),
            waited: Duration::ZERO,
            pause: POLL.0,
            refreshed: None,
            told: None,
            given_away: None,
        }
    }

    fn next_pause(&mut self) -> Duration {
        jittered(&mut self.pause)
    }
}

/// The shared tier holds the very value that this is a copy of, as a command has found that was sent after the flight had begun.
fn found_there(flight: &Flight, copy: &Entry) {
    if let Some(begun) = flight.noted() {
        copy.clear(begun.noted.epoch);
    }
}

/// The key has moved on: it is looked at again, if it has not been too often.
fn come_too_late<A>(patience: &mut Patience) -> Option<Asked<A>> {
    patience.looks += 1;
    (patience.looks >= MAX_LOOKS).then_some(Asked::Load(Keep::Nothing, None))
}

/// Whether the right that a flight has is to put something in the place of what this is a copy of.
fn is_stowed_for(flight: &Flight, copy: &Entry) -> bool {
    let seen = flight.with_stowed(Ticket::seen).flatten();
    seen.is_some() && seen == copy.facts.stamp
}

impl Part {
    /// Probes the shared tier, which plants our ticket where it holds nothing. While another instance holds the ticket, waits: first
    /// for its value, at the end of the budget no longer.
    pub(super) async fn ask<A: Answer>(
        &self,
        flight: &Flight,
        key: Key<'_>,
        policy: &Policy,
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
        let tier = match self.unasked(flight, key, begun) {
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
                Slot::Ticket(_) if self.waits(&patience, options) => {
                    self.wait_for_another(tier, key, &mut patience).await;
                    // It takes a probe to plant a ticket where that one is gone.
                    plainly = !options.writes.l2();
                }
                // Counted at the end of the wait: what comes of it may still be a hit.
                Slot::Ticket(_) | Slot::Hold => {
                    self.instance().counters.l2_misses.one();
                    return Asked::Load(Keep::Nothing, None);
                }
                Slot::Value { stamp, bytes } => match self.open::<A>(key, bytes, Some(policy), begun) {
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

    /// What may be kept of a value that the shared tier has no part in: nothing while a guard holds its key.
    async fn keep_unshared(&self, tier: &Arc<Tier>, key: Key<'_>) -> Keep {
        match self.read_first(tier, key).await {
            Look::Held(held) if Slot::of(&held) == Slot::Hold => Keep::Nothing,
            Look::Held(_) | Look::Absent => Keep::Local,
            Look::Load(keep) => keep,
        }
    }

    /// Takes the lease of a value that is stale, or to be refreshed before it is: it stays until something newer takes its place. `None`: the
    /// key is to be looked at again.
    async fn refresh<A>(
        &self,
        tier: &Arc<Tier>,
        key: Key<'_>,
        (seen, stale): (Stamp, Option<Arc<Entry>>),
        (flight, options): (&Flight, CallOptions),
        patience: &mut Patience,
    ) -> Option<Asked<A>> {
        let keep = match self.take_lease(tier, key, seen, flight).await {
            Ok(Leased::Yes) => Keep::Shared,
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
    fn waits(&self, patience: &Patience, options: CallOptions) -> bool {
        patience.shares && patience.waited < self.shared.config.wait_budget && !options.fresh
    }

    /// Waits until there is word of another instance's ticket, or its time is over: then the key is to be looked at, unless it is known what it
    /// holds.
    ///
    /// Cancel safety: who waits no longer is told nothing; its mailbox goes with the ticket.
    async fn wait_for_another(&self, tier: &Tier, key: Key<'_>, patience: &mut Patience) {
        self.count_wait(patience.waited);
        let (watch, waits) = (Stopwatch::start(), &self.instance().waits);
        let mut wait = waits.wait([key.hash]);
        lend(&mut patience.given_away);
        let longest = match tier.wait(&tier.name(key.text)).await {
            Ok(Prospect::Not(held)) => {
                patience.told = held;
                return;
            }
            Ok(Prospect::Told(left)) if waits.is_listening() => past(left),
            // Nobody tells: it is looked at now and then.
            Ok(Prospect::Told(_) | Prospect::Untold) | Err(_) => patience.next_pause(),
        };
        let left = self.shared.config.wait_budget.saturating_sub(patience.waited);
        if let Ok(told) = timeout(longest.min(left), wait.told()).await {
            self.instance().counters.ticket_wakes.one();
            if let Told::Held(held) = told {
                patience.told = Some(held);
            }
        }
        patience.waited = patience.waited.saturating_add(watch.elapsed());
    }

    /// Waits a little for another instance that refreshes a value.
    async fn pause_for_another(&self, patience: &mut Patience) {
        self.count_wait(patience.waited);
        let left = self.shared.config.wait_budget.saturating_sub(patience.waited);
        let jittered = patience.next_pause().min(left);
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
    pub(super) fn unasked(&self, flight: &Flight, key: Key<'_>, begun: &Begun) -> Result<&Arc<Tier>, Keep> {
        // After the flight is registered: a guard that comes later detaches it.
        if self.instance().holds.covers(key.hash, self.now()) {
            return Err(Keep::Nothing);
        }
        let Some(tier) = self.readable_tier(key, begun) else {
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
    async fn probe(&self, tier: &Arc<Tier>, key: Key<'_>, flight: &Flight) -> Look {
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
        let ticket = Ticket::on(tier, key.text, self.shared.stamps.next(), seen);
        let leased = ticket.take().await;
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
    pub(super) fn readable_tier(&self, key: Key<'_>, begun: &Begun) -> Option<&Arc<Tier>> {
        let instance = self.instance();
        let tier = self.shared.tier.as_ref()?;
        (self.proven_of(tier) && !instance.outbox.covers(key.text, &begun.prefixes)).then_some(tier)
    }

    /// Whether it is proven of the very process that answers now that nothing it was told is missing here: one that came back with what it
    /// had saved answers before it is checked.
    pub(super) fn proven_of(&self, tier: &Tier) -> bool {
        self.instance().view.proven_of(tier.line(), self.now())
    }

    pub(super) fn ticket(&self, tier: &Arc<Tier>, key: Key<'_>) -> Ticket {
        Ticket::new(tier, key.text, self.shared.stamps.next())
    }

    /// Judges a value of the shared tier and decodes it.
    pub(super) fn open<A: Answer>(&self, key: Key<'_>, bytes: &[u8], policy: Option<&Policy>, begun: &Begun) -> Opened<A> {
        let instance = self.instance();
        let counters = &instance.counters;
        let opened = match envelope::open(bytes) {
            Ok(opened) => opened,
            Err(Unreadable::Corrupt(_)) => {
                counters.l2_unusable.one();
                return Opened::Unusable;
            }
            Err(_) => {
                self.tell_foreign(key);
                return Opened::LeftAlone;
            }
        };
        let head = &opened.head;
        if !head.negative && head.fingerprint != Fingerprint::of::<A::Value>() {
            self.tell_wrong_type::<A::Value>(key, "the shared tier");
            return Opened::LeftAlone;
        }
        let Some(codec) = Codec::of_id(head.codec) else {
            self.tell_foreign(key);
            return Opened::LeftAlone;
        };
        let payload = match Payload::of(&opened) {
            Ok(payload) => payload,
            Err(compress::Unreadable::Corrupt(_)) => {
                counters.l2_unusable.one();
                return Opened::Unusable;
            }
            Err(compress::Unreadable::Unknown) => {
                self.tell_foreign(key);
                return Opened::LeftAlone;
            }
        };
        // What its elements become in memory may be many times what it claims, so no more is taken apart than this instance would store.
        if head.compressed && payload.len() > self.shared.config.max_value {
            self.tell_foreign(key);
            return Opened::LeftAlone;
        }
        let now = self.now();
        let tags: Box<[TagHash]> = opened.tags.collect();
        if instance.outbox.covers_tags(&tags) {
            return Opened::LeftAlone;
        }
        let view = &instance.view;
        let server_now = view.server_millis(now);
        let life = left(head.created, head.soft, server_now).filter(|_| !head.expired);
        let kept = left(head.created, head.hard, server_now).unwrap_or_default();
        let local = life.map_or(Duration::ZERO, |left| policy.map_or(left, |policy| policy.local_part(left, fastrand::u32(..))));
        let facts = Facts {
            content: if head.negative { Content::Nothing } else { Content::Value },
            epoch: begun.noted.epoch,
            born: head.born,
            tick: begun.noted.tick,
            tags,
            validator: opened.validator.map(Box::from),
            prefixes: begun.prefixes,
            stamp: Some(opened.stamp),
            deadline: now.after(local),
            stale_from: now.after(life.unwrap_or_default()),
            end: now.after(if head.hard > head.soft || head.expired { kept } else { local }),
            loaded_at: Millis(now.0.saturating_sub(server_now.saturating_sub(head.created))),
            self_evident_until: Millis::default(),
            // Who reads without a policy does not know whether the one that it was stored with allows it.
            excusable: policy.is_some_and(|policy| self.when_unreachable(policy) == OnUnreachable::Serve),
            idle_limit: policy.and_then(Policy::idle_limit),
            size: payload.len(),
            stands_in: false,
            type_name: std::any::type_name::<A::Value>(),
        };
        let unmoved = head.born.era == view.era() && facts.unmoved(view);
        // Last: had an epoch ended while the table was read, the table may have been another era's.
        let current = self.shared.tier.as_ref().is_some_and(|tier| self.proven_of(tier)) && view.epoch() == begun.noted.epoch;
        if !current {
            return Opened::LeftAlone;
        }
        let stale = life.is_none() && !kept.is_zero() && unmoved && !head.negative;
        // For a loader that is shown it, and for who gets it should that fail.
        if stale && !A::SEES_STALE && policy.and_then(Policy::retry_after).is_none() {
            return Opened::Stale(None);
        }
        // Nothing is taken apart that could not be served, or shown.
        let usable = (life.is_some() || stale) && unmoved;
        let Some(plain) = usable.then(|| payload.plain().ok()).flatten() else {
            counters.l2_unusable.one();
            return Opened::Unusable;
        };
        let decoded = if head.negative { Ok(None) } else { codec.decode(&plain).map(Some) };
        let value = match decoded {
            Ok(value) => value,
            // Written as it stands there, by the checksum: another release has the same type with other fields. What two of them put in
            // each other's place would be replaced for ever.
            Err(error) => {
                self.tell_other_shape::<A::Value>(key, codec, &error);
                // Its time is over for whoever understands it, too.
                return if stale { Opened::Stale(None) } else { Opened::OtherShape };
            }
        };
        let answer = A::from(value.clone());
        let entry = entry(facts, now, value);
        match answer {
            _ if stale => Opened::Stale(Some(entry)),
            Some(answer) => Opened::Usable(entry, answer),
            // It says that there is none, which this caller cannot be answered with: the loader decides.
            None => Opened::Unusable,
        }
    }

    pub(super) fn tell_foreign(&self, key: Key<'_>) {
        let counters = &self.instance().counters;
        counters.l2_foreign.one();
        if counters.told.foreign.first() {
            tracing::warn!(
                key = key.text,
                "the shared tier holds something under this key that this release did not write: left alone"
            );
        }
    }

    fn tell_other_shape<V: Value>(&self, key: Key<'_>, codec: Codec, error: &dyn std::error::Error) {
        let counters = &self.instance().counters;
        counters.wrong_type.one();
        if counters.told.other_shape.first(TypeId::of::<V>()) {
            tracing::warn!(
                key = key.text,
                value = std::any::type_name::<V>(),
                ?codec,
                %error,
                "the shared tier holds a value of this type that cannot be decoded, as another release may have written it: left alone; \
                 further ones of the type are only counted"
            );
        }
    }

    pub(super) fn tell_wrong_type<V>(&self, key: Key<'_>, tier: &str) {
        let counters = &self.instance().counters;
        counters.wrong_type.one();
        if counters.told.wrong_type.first() {
            let asked = shown(std::any::type_name::<V>());
            tracing::error!(key = key.text, asked, tier, "a key holds values of two types: use another key for one of them");
        }
    }
}

/// An entry of a value, or of the knowledge that there is none.
pub(super) fn entry<V: Value>(facts: Facts, now: Millis, value: Option<V>) -> Arc<Entry> {
    match value {
        Some(value) => Entry::new(facts, now, value),
        None => Entry::new(facts, now, ()),
    }
}
