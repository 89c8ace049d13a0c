//! Asking the shared tier for all keys that a batch leads: one look at all of them, one probe of those that were not there, and one claim of
//! those whose value is of no use.

use std::sync::Arc;

use super::super::answer::Maybe;
use super::super::ask::{Keep, Look, MAX_LOOKS, is_stowed_for};
use super::super::call::CallOptions;
use super::super::open::Opened;
use super::super::{Key, Part, Value};
use super::fetch::{Led, Open, ToLoad};
use super::keys::Batch;
use crate::clock::Millis;
use crate::error::Fault;
use crate::flight::outcome::Outcome;
use crate::l1::Entry;
use crate::l2::many::{Answers, Claim, Standing};
use crate::l2::tier::Tier;
use crate::l2::{Claimed, Leased};
use crate::lease::Ticket;
use crate::rule::policy::Policy;
use crate::rule::stamp::Stamp;
use crate::view::Moment;
use crate::wire::slot::Slot;

/// What is known of a key without a look at the shared tier.
enum Known<V> {
    /// An entry has entered L1 just now.
    Landed(Arc<Entry>, Maybe<V>),
    /// A value stands there that another instance refreshed when it was last looked at.
    Refreshed(Stamp),
    /// It is not to be asked.
    Load(Keep),
}

/// One whose place may be claimed.
struct Unusable<'a> {
    led: Led<'a>,
    seen: Stamp,
    /// It was of use until now, so it counts as a miss if it is gone, and not as unusable.
    was_usable: bool,
}

/// What one look at the keys of a batch came to, beside the answers.
#[derive(Default)]
struct Looked<'a> {
    to_load: Vec<ToLoad<'a>>,
    /// Not there.
    absent: Vec<Led<'a>>,
    /// There, and of no use to anybody.
    unusable: Vec<Unusable<'a>>,
    /// There, and to be refreshed.
    stale: Vec<(Led<'a>, Stamp)>,
    /// To be looked at again.
    later: Vec<Led<'a>>,
}

impl<'a> Looked<'a> {
    fn load(&mut self, led: Led<'a>, keep: Keep) {
        self.to_load.push(ToLoad { led, keep });
    }

    /// At once, if it has not been too often.
    fn look_again(&mut self, mut led: Led<'a>) {
        led.awaits = false;
        if led.looks >= MAX_LOOKS { self.load(led, Keep::Nothing) } else { self.later.push(led) }
    }
}

impl Part {
    /// Asks for what this call leads. Answers what was found, leaves those for another look that other instances load, and returns the rest.
    ///
    /// What is suspect here is read like what is missing: the value comes with the same trip as its stamp would.
    pub(super) async fn ask_many<'a, V: Value>(
        &self,
        batch: &mut Batch<'a, V>,
        open: &mut Open<'a>,
        policy: &Policy,
    ) -> Vec<ToLoad<'a>> {
        if batch.options.fresh {
            for led in &open.led {
                self.shared.behind.arrived(led.asked.key.hash).await;
            }
        }
        let mut looked = Looked::default();
        let asked = self.to_ask(batch, open, policy, &mut looked);
        let asks = !asked.is_empty() || !looked.stale.is_empty();
        let Some(tier) = self.shared.tier.as_ref().filter(|_| asks) else { return looked.to_load };
        let names = tier.names(asked.iter().map(|led| led.asked.key.text));
        let answers = tier.read_many(&names.all()).await;
        #[cfg(feature = "chaos")]
        crate::pause::at(crate::pause::Point::AfterReply).await;
        self.judge_all(batch, asked, answers, policy, &mut looked);
        self.plant_many(tier, batch, policy, &mut looked).await;
        self.lease_many(tier, batch.options, policy, &mut looked).await;
        self.claim_many(tier, &mut looked).await;
        open.led = looked.later;
        looked.to_load
    }

    /// Those for which the shared tier is to be asked. What is to be done with the others is known.
    fn to_ask<'a, V: Value>(
        &self,
        batch: &mut Batch<'a, V>,
        open: &mut Open<'a>,
        policy: &Policy,
        looked: &mut Looked<'a>,
    ) -> Vec<Led<'a>> {
        let (now, options) = (self.now(), batch.options);
        let (mut asked, mut unasked) = (std::mem::take(&mut open.led), Vec::new());
        if !options.writes.l2() {
            // Leaders before us may have planted them.
            Ticket::give_back(asked.iter().filter_map(|led| led.flight.unstow()).collect());
        }
        // Nearly always all of them are asked for, and stay where they are.
        let others = asked.extract_if(.., |led| {
            let known = self.known_unasked(led, options, now);
            let is_known = known.is_some();
            unasked.extend(known);
            is_known
        });
        let others: Vec<Led<'a>> = others.collect();
        for (mut led, known) in others.into_iter().zip(unasked) {
            match known {
                Known::Landed(entry, answer) => {
                    batch.answer(led.asked.place, answer);
                    led.flight.finish(Outcome::Entry(entry), || {});
                }
                Known::Refreshed(seen) => looked.stale.push((led, seen)),
                Known::Load(keep) => {
                    let here = self.spare_here::<V>(led.asked.key, options, policy);
                    // A leader before us has asked: only where it has the lease of this very value is nothing newer there.
                    led.stale = match keep {
                        Keep::Shared => here.filter(|here| is_stowed_for(&led.flight, here)),
                        _ => self.shown_unasked(here),
                    };
                    looked.load(led, keep);
                }
            }
        }
        asked
    }

    /// What is known of a key without a look at the shared tier.
    fn known_unasked<V: Value>(&self, led: &mut Led<'_>, options: CallOptions, now: Millis) -> Option<Known<V>> {
        // Another flight may have landed between our look at L1 and our registration.
        if options.looks_here()
            && let Some((entry, answer)) = self.landed_meanwhile(led, now)
        {
            return Some(Known::Landed(entry, answer));
        }
        match (self.unasked(&led.flight, led.asked.key, led.begun(), now), led.refreshed.take()) {
            // As where it cannot be asked.
            (Ok(_), _) if !options.asks() => Some(Known::Load(Keep::Briefly)),
            (Ok(_), Some(seen)) => Some(Known::Refreshed(seen)),
            (Ok(_), None) => {
                led.stale = None;
                None
            }
            (Err(keep), _) => Some(Known::Load(keep)),
        }
    }

    /// What the keys that were asked for were found to hold.
    fn judge_all<'a, V: Value>(
        &self,
        batch: &mut Batch<'a, V>,
        asked: Vec<Led<'a>>,
        answers: Answers<Option<Vec<u8>>>,
        policy: &Policy,
        looked: &mut Looked<'a>,
    ) {
        let at = self.moment();
        for (led, answer) in asked.into_iter().zip(answers) {
            let look = self.looked(led.asked.key, answer);
            self.judge(batch, led, (look, at), policy, looked);
        }
    }

    /// What one key was found to hold.
    fn judge<'a, V: Value>(
        &self,
        batch: &mut Batch<'a, V>,
        mut led: Led<'a>,
        (look, at): (Look, Moment),
        policy: &Policy,
        looked: &mut Looked<'a>,
    ) {
        let (key, counters, options) = (led.asked.key, &self.instance().counters, batch.options);
        let held = match look {
            Look::Held(held) => held,
            Look::Absent if options.writes.l2() => return looked.absent.push(led),
            Look::Absent => {
                counters.l2_misses.one();
                return looked.load(led, Keep::Local);
            }
            Look::Load(keep) => {
                // As for one key.
                let here = if keep == Keep::Briefly { self.spare_here::<V>(led.asked.key, options, policy) } else { None };
                led.stale = self.shown_unasked(here);
                return looked.load(led, keep);
            }
        };
        match Slot::of(&held) {
            Slot::Foreign => {
                self.tell_foreign(key);
                looked.load(led, Keep::Local);
            }
            Slot::Ticket(_) if self.waits_on(&led, options, policy) => self.leave_to_another(led, looked),
            // Counted at the end of the wait: what comes of it may still be a hit.
            Slot::Ticket(_) | Slot::Hold => {
                counters.l2_misses.one();
                looked.load(led, Keep::Nothing);
            }
            Slot::Value { stamp, bytes } => match self.open::<Maybe<V>>(key, bytes, Some(policy), led.begun(), at) {
                Opened::Usable(entry, answer) if !options.fresh => {
                    counters.l2_hits.one();
                    self.shared.habit.note(true);
                    batch.answer(led.asked.place, answer);
                    self.land(led.flight, key, entry, options.writes.l1());
                }
                Opened::OtherShape if options.fresh && options.writes.l2() => looked.stale.push((led, stamp)),
                Opened::LeftAlone | Opened::OtherShape => looked.load(led, Keep::Local),
                Opened::Stale(stale) => {
                    led.stale = stale;
                    if options.writes.l2() { looked.stale.push((led, stamp)) } else { looked.load(led, Keep::Local) }
                }
                Opened::Usable(..) | Opened::Unusable if !options.writes.l2() => looked.load(led, Keep::Local),
                Opened::Usable(entry, _) => {
                    led.stale = Some(entry);
                    looked.stale.push((led, stamp));
                }
                Opened::Unusable => looked.unusable.push(Unusable { led, seen: stamp, was_usable: false }),
            },
        }
    }

    /// What is stale here and of use beside a load: to answer should that fail, or to be compared with what it brings.
    fn spare_here<V: Value>(&self, key: Key<'_>, options: CallOptions, policy: &Policy) -> Option<Arc<Entry>> {
        if options.reads.l1() && policy.uses_stale() { self.fallback::<Maybe<V>>(key) } else { None }
    }

    /// Whether another instance that has the right to load this one is waited for still.
    fn waits_on(&self, led: &Led<'_>, options: CallOptions, policy: &Policy) -> bool {
        policy.waits_for_others() && !options.fresh && led.waited < self.shared.config.wait_budget
    }

    /// Another instance has the right to load this one: it is looked at again.
    fn leave_to_another<'a>(&self, mut led: Led<'a>, looked: &mut Looked<'a>) {
        // Once for each wait, however often it is looked at before that begins.
        if !std::mem::replace(&mut led.awaits, true) {
            self.count_wait(led.waited);
        }
        looked.later.push(led);
    }

    /// Takes the leases of values that are stale, in one go.
    async fn lease_many(&self, tier: &Arc<Tier>, options: CallOptions, policy: &Policy, looked: &mut Looked<'_>) {
        let stale = std::mem::take(&mut looked.stale);
        if stale.is_empty() {
            return;
        }
        let lease = |(led, seen): &(Led<'_>, Stamp)| Ticket::on(tier, led.asked.key.text, self.shared.stamps.next(), *seen);
        let tickets: Vec<Ticket> = stale.iter().map(lease).collect();
        let answers = Ticket::take_all(tier, &tickets).await;
        let mut silent = Vec::new();
        for (((mut led, seen), ticket), leased) in stale.into_iter().zip(tickets).zip(answers) {
            match leased {
                Ok(Leased::Yes) => {
                    self.instance().counters.l2_misses.one();
                    led.flight.stow(ticket);
                    looked.load(led, Keep::Shared);
                    continue;
                }
                Ok(Leased::Not) if self.waits_on(&led, options, policy) => {
                    // It is not sent again at each look.
                    led.refreshed = Some(seen);
                    self.leave_to_another(led, looked);
                }
                Ok(Leased::Not) => {
                    self.instance().counters.l2_misses.one();
                    looked.load(led, Keep::Nothing);
                }
                // Too late for that: its place is taken.
                Ok(Leased::Ending) => looked.unusable.push(Unusable { led, seen, was_usable: true }),
                Ok(Leased::Moved) => {
                    led.looks += 1;
                    // It is not there any more.
                    led.stale = None;
                    looked.look_again(led);
                }
                Err(Fault::Unanswered(_)) => {
                    self.instance().counters.l2_misses.one();
                    looked.load(led, Keep::Briefly);
                    // It may have been taken.
                    silent.push(ticket);
                    continue;
                }
                Err(_) => {
                    self.instance().counters.l2_misses.one();
                    looked.load(led, Keep::Briefly);
                }
            }
            ticket.spend();
        }
        Ticket::give_back(silent);
    }

    /// Plants a ticket in each key that held nothing, unless another instance has come before.
    async fn plant_many<'a, V: Value>(&self, tier: &Arc<Tier>, batch: &mut Batch<'a, V>, policy: &Policy, looked: &mut Looked<'a>) {
        let absent = std::mem::take(&mut looked.absent);
        if absent.is_empty() {
            return;
        }
        // New ones each time: a token is sent once. Whatever the way out of here, each is given back unless it is spent.
        let tickets: Vec<Ticket> = absent.iter().map(|led| self.ticket(tier, led.asked.key)).collect();
        let answers = tier.probe_many(&planted(&tickets)).await;
        let (mut silent, at) = (Vec::new(), self.moment());
        for ((led, ticket), answer) in absent.into_iter().zip(tickets).zip(answers) {
            match answer {
                Ok(None) => {
                    self.instance().counters.l2_misses.one();
                    self.shared.habit.note(false);
                    led.flight.stow(ticket);
                    looked.load(led, Keep::Shared);
                }
                // The probe may still arrive: it must not count as seen, so the fill is forfeited.
                Err(Fault::Unanswered(_)) => {
                    silent.push(ticket);
                    looked.load(led, Keep::Briefly);
                }
                answer => {
                    ticket.spend();
                    let look = self.looked(led.asked.key, answer);
                    self.judge(batch, led, (look, at), policy, looked);
                }
            }
        }
        Ticket::give_back(silent);
    }

    /// Swaps unusable values for our tickets, so that one instance loads each and not all.
    async fn claim_many(&self, tier: &Arc<Tier>, looked: &mut Looked<'_>) {
        let unusable = std::mem::take(&mut looked.unusable);
        if unusable.is_empty() {
            return;
        }
        let tickets: Vec<Ticket> = unusable.iter().map(|one| self.ticket(tier, one.led.asked.key)).collect();
        let each = tickets.iter().zip(&unusable);
        let claims: Vec<Claim<'_>> =
            each.map(|(ticket, one)| Claim { name: ticket.name(), seen: one.seen, ticket: ticket.stamp() }).collect();
        let answers = tier.claim_many(&claims).await;
        let mut silent = Vec::new();
        for ((Unusable { mut led, was_usable, .. }, ticket), answer) in unusable.into_iter().zip(tickets).zip(answers) {
            if was_usable && !matches!(answer, Ok(Claimed::No)) {
                self.instance().counters.l2_misses.one();
            }
            match answer {
                Ok(Claimed::Yes) => {
                    led.flight.stow(ticket);
                    looked.load(led, Keep::Shared);
                }
                Ok(Claimed::No) => {
                    ticket.spend();
                    led.looks += 1;
                    // It is not there any more.
                    led.stale = None;
                    looked.look_again(led);
                }
                Err(Fault::Unanswered(_)) => {
                    silent.push(ticket);
                    looked.load(led, Keep::Briefly);
                }
                Err(_) => {
                    ticket.spend();
                    looked.load(led, Keep::Local);
                }
            }
        }
        Ticket::give_back(silent);
    }
}

fn planted(tickets: &[Ticket]) -> Vec<Standing<'_>> {
    tickets.iter().map(|ticket| Standing { name: ticket.name(), ticket: ticket.stamp() }).collect()
}
