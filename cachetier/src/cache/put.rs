//! Putting a value that no loader brought: the bump that announces it, then an ordinary fill. By anybody, or by the write guard that
//! holds the key.

use std::any::TypeId;
use std::time::Duration;

use super::answer::Just;
use super::ask::Flight;
use super::fill::Parcel;
use super::open::entry;
use super::rules::Rules;
use super::terms::Terms;
use super::write::Delivery;
use super::{Key, Part, Value};
use crate::coherence::own::OwnBump;
use crate::error::CacheError;
use crate::flight::outcome::{Begun, Outcome};
use crate::flight::{Plan, Purpose};
use crate::l2::Filled;
use crate::l2::lane::Seized;
use crate::l2::tier::Tier;
use crate::lease::Ticket;
use crate::rule::stamp::Stamp;
use crate::view::Noted;
use crate::wire::message::Targets;

/// Who puts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Putter {
    /// Whoever calls `set`: what the key holds goes, unless a guard holds it.
    Anybody,
    /// The guard of this name, which holds the key since it noted this: its hold becomes the value if it was alone all the time.
    Guard(Stamp, Noted),
}

impl Part {
    /// `set`: a value that its rules would not have stored still says that what is there is outdated.
    pub(super) async fn put_or_drop<V: Value>(
        &self,
        key: Key<'_>,
        value: V,
        rules: &impl Rules<V>,
    ) -> Result<Delivery, CacheError> {
        let value = Just(value);
        let terms = self.terms(rules, &value);
        match self.put(key, value, &terms, Putter::Anybody).await? {
            Some(delivery) => Ok(delivery),
            None => self.bump(Targets::of_keys([key.text])?).await,
        }
    }

    /// Puts the value. `None` if its rules would not have it stored: then nothing has been done.
    pub(super) async fn put<V: Value>(
        &self,
        key: Key<'_>,
        value: Just<V>,
        terms: &Terms<'_>,
        putter: Putter,
    ) -> Result<Option<Delivery>, CacheError> {
        self.check_open()?;
        let stamp = self.shared.stamps.next();
        let mut begun = Begun { writes: Some(stamp), ..self.begin(key) };
        if let Putter::Guard(_, noted) = putter {
            // What is bumped under the guard is bumped after what it has committed was read, for all one knows.
            begun.noted = noted;
        }
        let tier = self.shared.tier.as_ref();
        let parcel = self.pack(key, terms, &begun, &value, tier.map(|_| stamp), Duration::ZERO)?;
        let Some(parcel) = parcel else { return Ok(None) };

        let plan = Plan { purpose: Purpose::Write, kind: TypeId::of::<V>(), noted: begun };
        let instance = self.instance();
        // Whoever asks from now on waits for this flight; what invalidates the key detaches it, except the bump that announces it.
        let flight = instance.flights.supersede(key.hash, plan, || instance.l1.drop_entry(key.hash, |_| false));
        // After the flight is registered: a guard that comes later detaches it.
        let free = match putter {
            Putter::Anybody => !instance.holds.touch(key.hash, self.now()),
            Putter::Guard(guard, _) => instance.holds.trade(key.hash, guard, self.now()),
        };
        let Some(tier) = tier else {
            instance.counters.invalidations.one();
            if !free {
                flight.finish(Outcome::Nothing, || {});
                return Ok(Some(self.applied(instance.view.next_alone())));
            }
            self.settle(flight, key, terms, &begun, (value, parcel), None);
            return Ok(Some(self.applied(instance.view.known().0)));
        };

        let targets = Targets { keys: vec![key.text.to_owned()], ..Targets::default() };
        // Cancel safety: from here on, a drop counts as an invalidation that nobody has confirmed.
        let own = OwnBump::begin(instance, targets, Some(stamp));
        let floor = instance.view.floor();
        // Given back unless it has an answer, like any that is planted.
        let ticket = Ticket::new(tier, key.text, stamp);
        let seized = match putter {
            Putter::Anybody => tier.seize(key.text, stamp, floor).await,
            Putter::Guard(guard, _) => tier.trade(key.text, guard, stamp, floor).await,
        };
        let point = match seized {
            Ok(Seized::Planted(point)) => point,
            Ok(Seized::Held(point)) => {
                ticket.spend();
                own.settle(point, None);
                flight.finish(Outcome::Nothing, || {});
                return Ok(Some(self.applied(point)));
            }
            Err(_) => {
                drop(own);
                flight.finish(Outcome::Nothing, || {});
                return Ok(Some(Delivery::Pending));
            }
        };
        match second_half(tier, ticket, &parcel).await {
            Some(Filled::Stored) => {
                own.settle(point, Some(stamp));
                self.settle(flight, key, terms, &begun, (value, parcel), Some(stamp));
                instance.counters.fills.one();
                Ok(Some(self.applied(point)))
            }
            // Something newer came: this one counts as an invalidation.
            Some(Filled::Refused) => {
                own.settle(point, None);
                flight.finish(Outcome::Nothing, || {});
                instance.counters.fills_refused.one();
                Ok(Some(self.applied(point)))
            }
            None => {
                drop(own);
                flight.finish(Outcome::Nothing, || {});
                instance.counters.fills_unanswered.one();
                Ok(Some(Delivery::Pending))
            }
        }
    }

    /// Ends the flight of a `set` with its value.
    fn settle<V: Value>(
        &self,
        flight: Flight,
        key: Key<'_>,
        terms: &Terms<'_>,
        begun: &Begun,
        (value, parcel): (Just<V>, Parcel),
        stamp: Option<Stamp>,
    ) {
        let facts = self.facts(begun, terms, &value, stamp, (parcel.life, parcel.size, parcel.cost));
        let entry = entry(facts, self.now(), Some(value.0));
        self.land(flight, key, entry, true);
    }
}

/// Stores the value where the first half has planted the ticket. `None`: nobody knows.
async fn second_half(tier: &Tier, ticket: Ticket, parcel: &Parcel) -> Option<Filled> {
    let fill = tier.put(ticket.name(), ticket.stamp(), &parcel.bytes, parcel.kept());
    let filled = tier.tasks().counted(fill).await.ok()?;
    ticket.spend();
    Some(filled)
}
