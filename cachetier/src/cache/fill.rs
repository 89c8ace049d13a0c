//! Keeping what was loaded: in the shared tier where our ticket still stands, and here with it.

use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use super::ask::{Flight, Keep, entry};
use super::terms::Terms;
use super::{Key, TieredCache, Value};
use crate::clock::millis;
use crate::error::{CacheError, Fault};
use crate::flight::outcome::Begun;
use crate::key::check_key;
use crate::l1::{Entry, Facts};
use crate::l2::Filled;
use crate::l2::many::Fill;
use crate::lease::Ticket;
use crate::rule::policy::{Content, Life, OnUnreachable};
use crate::rule::stamp::Stamp;
use crate::wire::codec::Codec;
use crate::wire::envelope::{Fingerprint, Head, Writer};

/// An entry made of what was loaded.
pub(super) struct Filling {
    pub(super) entry: Arc<Entry>,
    /// Whether it may enter L1.
    pub(super) keep: bool,
}

/// What can be stored: looked at before anything is, so that a mutation errs before it has done half.
pub(super) struct Parcel {
    pub(super) life: Life,
    pub(super) size: usize,
    /// The whole envelope, where the shared tier is to have it.
    pub(super) bytes: Vec<u8>,
}

/// What is ready to be stored.
pub(super) struct Ready {
    pub(super) parcel: Parcel,
    keep: Keep,
    ticket: Option<Ticket>,
}

impl Ready {
    /// What the shared tier is to be told, if anything.
    pub(super) fn fill(&self) -> Option<Fill<'_>> {
        let ticket = self.ticket.as_ref().filter(|_| self.keep == Keep::Shared)?;
        Some(Fill { name: ticket.name(), seen: ticket.stamp(), value: &self.parcel.bytes, life: self.parcel.life.shared })
    }
}

impl TieredCache {
    /// Stores what the loader brought, as far as `keep` allows, and returns the entry for those who wait.
    pub(super) async fn fill<A: Answer>(
        &self,
        flight: &Flight,
        key: Key<'_>,
        terms: &Terms<'_>,
        begun: &Begun,
        keep: Keep,
        (answer, cost): (&A, Duration),
    ) -> Filling {
        let ready = match self.ready(flight, key, terms, begun, keep, (answer, cost)) {
            Ok(ready) => ready,
            Err(ticket) => {
                drop(ticket);
                return self.unkept(begun, terms, answer);
            }
        };
        let filled = match (self.shared.tier.as_ref(), ready.fill()) {
            (Some(tier), Some(fill)) => Some(tier.fill(fill.name, fill.seen, fill.value, fill.life).await),
            _ => None,
        };
        self.filled(ready, filled, terms, begun, answer)
    }

    /// What there is to store of what the loader brought, by `keep`. If there is nothing, the ticket, to be given back.
    pub(super) fn ready<A: Answer>(
        &self,
        flight: &Flight,
        key: Key<'_>,
        terms: &Terms<'_>,
        begun: &Begun,
        keep: Keep,
        (answer, cost): (&A, Duration),
    ) -> Result<Ready, Option<Ticket>> {
        // Taken out of the flight: dropped on any way out that does not spend it, it is given back.
        let ticket = if keep == Keep::Shared { flight.unstow() } else { None };
        let stamp = ticket.as_ref().map(Ticket::stamp);
        let parcel = match self.pack(key, terms, begun, answer, stamp, cost) {
            Ok(Some(parcel)) => parcel,
            // Not remembered by policy, or not storable.
            Ok(None) => return Err(ticket),
            Err(error) => {
                self.tell_not_stored::<A::Value>(key, &error);
                return Err(ticket);
            }
        };
        let keep = if keep == Keep::Shared && self.instance().outbox.covers_tags(&terms.tags) { Keep::Local } else { keep };
        Ok(Ready { parcel, keep, ticket })
    }

    /// The entry of what was ready, by what its fill came to, if it was sent.
    pub(super) fn filled<A: Answer>(
        &self,
        ready: Ready,
        filled: Option<Result<Filled, Fault>>,
        terms: &Terms<'_>,
        begun: &Begun,
        answer: &A,
    ) -> Filling {
        let Ready { parcel, keep, ticket } = ready;
        let briefly = || Some(begun.noted.at.after(self.shared.config.max_staleness));
        let counters = &self.instance().counters;
        let (keep, stamp, end) = match (keep, filled, ticket) {
            (Keep::Shared, Some(filled), Some(ticket)) => match filled {
                Ok(Filled::Stored) => {
                    counters.fills.one();
                    let stamp = ticket.stamp();
                    ticket.spend();
                    (true, Some(stamp), None)
                }
                // Something newer came: what was refused is kept nowhere.
                Ok(Filled::Refused) => {
                    counters.fills_refused.one();
                    ticket.spend();
                    (false, None, None)
                }
                // The lost answer may have been a refusal, which no message will repeat.
                Err(Fault::Unanswered(_)) => {
                    counters.fills_unanswered.one();
                    (true, None, briefly())
                }
                Err(_) => (true, None, None),
            },
            (Keep::Local, ..) => (true, None, None),
            (Keep::Briefly, ..) => (true, None, briefly()),
            (Keep::Shared | Keep::Nothing, ..) => (false, None, None),
        };
        let local = end.map_or(parcel.life.local, |end| parcel.life.local.min(self.now().until(end)));
        let facts = self.facts(begun, terms, answer, stamp, (local, parcel.size));
        Filling { entry: entry(facts, self.now(), answer.value().cloned()), keep }
    }

    /// Encodes a value and says how long it lives; `Ok(None)` if it is not to be stored at all.
    pub(super) fn pack<A: Answer>(
        &self,
        key: Key<'_>,
        terms: &Terms<'_>,
        begun: &Begun,
        answer: &A,
        stamp: Option<Stamp>,
        cost: Duration,
    ) -> Result<Option<Parcel>, CacheError> {
        let config = &self.shared.config;
        check_key(key.text)?;
        if !terms.stored {
            return Ok(None);
        }
        terms.policy.check().map_err(CacheError::Policy)?;
        let Some(life) = terms.policy.life(answer.content(), config.max_life, fastrand::u32(..)) else { return Ok(None) };
        if terms.tags.len() > config.max_tags {
            return Err(CacheError::TooManyTags { tags: terms.tags.len(), limit: config.max_tags });
        }
        let mut parcel = Parcel { life, size: 0, bytes: Vec::new() };
        let Some(codec) = config.codec else { return Ok(Some(parcel)) };
        let unencodable = |error: &dyn std::fmt::Display| CacheError::Encode(error.to_string().into());
        let too_large =
            |bytes| if bytes > config.max_value { Err(CacheError::TooLarge { bytes, limit: config.max_value }) } else { Ok(()) };
        if let Some(stamp) = stamp {
            let created = self.instance().view.server_millis(self.now());
            let whole = u32::try_from(millis(life.shared)).unwrap_or(u32::MAX);
            let head = Head {
                codec: codec.id(),
                negative: answer.content() == Content::Nothing,
                compressed: false,
                expired: false,
                created,
                soft: whole,
                hard: whole,
                refresh: 0,
                born: begun.noted.born,
                cost: u16::try_from(millis(cost)).unwrap_or(u16::MAX),
                fingerprint: Fingerprint::of::<A::Value>(),
            };
            let mut writer = Writer::begin(stamp, &head, &terms.tags).map_err(|error| unencodable(&error))?;
            let before = writer.payload().len();
            if let Some(value) = answer.value() {
                codec.encode(value, writer.payload()).map_err(|error| unencodable(&error))?;
            }
            let encoded = writer.payload().get(before..).unwrap_or_default();
            parcel.size = encoded.len();
            too_large(parcel.size)?;
            if answer.value().is_some() {
                self.check_read_back::<A::Value>(codec, encoded)?;
            }
            writer.compress(config.compression, config.compress_above);
            parcel.bytes = writer.finish();
        } else if let (Some(value), true) = (answer.value(), self.instance().l1.weighs()) {
            parcel.size = codec.measure(value).map_err(|error| unencodable(&error))?;
            too_large(parcel.size)?;
        }
        Ok(Some(parcel))
    }

    /// Reads back what was encoded, until that has worked once for the type: one that the codec writes and does not read would be found
    /// unusable by every instance, loaded and stored again, for ever.
    fn check_read_back<V: Value>(&self, codec: Codec, encoded: &[u8]) -> Result<(), CacheError> {
        if !self.shared.read_back.has(TypeId::of::<V>()) {
            codec
                .decode::<V>(encoded)
                .map_err(|error| CacheError::Encode(format!("it is written, and not to be read again: {error}").into()))?;
            self.shared.read_back.first(TypeId::of::<V>());
        }
        Ok(())
    }

    /// The entry of a value that is kept nowhere: those who wait still judge it by its tags.
    pub(super) fn unkept<A: Answer>(&self, begun: &Begun, terms: &Terms<'_>, answer: &A) -> Filling {
        let facts = self.facts(begun, terms, answer, None, (Duration::ZERO, 0));
        Filling { entry: entry(facts, self.now(), answer.value().cloned()), keep: false }
    }

    pub(super) fn facts<A: Answer>(
        &self,
        begun: &Begun,
        terms: &Terms<'_>,
        answer: &A,
        stamp: Option<Stamp>,
        (life, size): (Duration, usize),
    ) -> Facts {
        Facts {
            content: answer.content(),
            epoch: begun.noted.epoch,
            born: begun.noted.born,
            tick: begun.noted.tick,
            tags: terms.tags.as_slice().into(),
            prefixes: begun.prefixes,
            stamp,
            deadline: self.now().after(life),
            loaded_at: self.now(),
            self_evident_until: begun.noted.at.after(self.shared.config.max_staleness),
            excusable: self.when_unreachable(&terms.policy) == OnUnreachable::Serve,
            idle_limit: terms.policy.idle_limit(),
            size,
            type_name: std::any::type_name::<A::Value>(),
        }
    }

    pub(super) fn tell_not_stored<V: Value>(&self, key: Key<'_>, error: &CacheError) {
        let counters = &self.instance().counters;
        counters.not_stored.one();
        let told = &counters.told;
        let once = match error {
            CacheError::Key(_) => &told.bad_key,
            CacheError::Policy(_) => &told.bad_policy,
            CacheError::TooManyTags { .. } => &told.too_many_tags,
            CacheError::TooLarge { .. } => &told.too_large,
            _ => return self.tell_not_carried::<V>(key, error),
        };
        if once.first() {
            tracing::warn!(
                key = start(key),
                %error,
                "a loaded value is returned and not stored; further ones are only counted"
            );
        }
    }

    /// Says it of each type once, for it is the type that is to be changed, or the codec.
    fn tell_not_carried<V: Value>(&self, key: Key<'_>, error: &CacheError) {
        if self.instance().counters.told.not_encodable.first(TypeId::of::<V>()) {
            tracing::warn!(
                key = start(key),
                value = std::any::type_name::<V>(),
                codec = ?self.shared.config.codec,
                %error,
                "a loaded value is returned and not stored; further ones of its type are only counted"
            );
        }
    }
}

/// As much of a key as is logged.
fn start(key: Key<'_>) -> String {
    key.text.chars().take(64).collect()
}
