//! Keeping what was loaded: in the shared tier where our ticket still stands, and here with it.

use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use super::ask::{Flight, Keep};
use super::open::entry;
use super::terms::Terms;
use super::{Key, Part, Value};
use crate::clock::millis;
use crate::error::{CacheError, Fault};
use crate::flight::outcome::Begun;
use crate::key::check_key;
use crate::l1::{Entry, Facts};
use crate::l2::Filled;
use crate::l2::many::{Fill, Seen};
use crate::l2::tier::Tier;
use crate::lease::Ticket;
use crate::rule::early::Early;
use crate::rule::policy::{Content, Life, OnUnreachable};
use crate::rule::stamp::Stamp;
use crate::wire::codec::Codec;
use crate::wire::envelope::{Fingerprint, Head, MAX_VALIDATOR, Writer, mutable};

/// An entry made of what was loaded.
pub(super) struct Filling {
    pub(super) entry: Arc<Entry>,
    /// Whether it may enter L1.
    pub(super) keep: bool,
    /// Whether it is of a kind that could be stored at all.
    pub(super) storable: bool,
}

/// What can be stored: looked at before anything is, so that a mutation errs before it has done half.
pub(super) struct Parcel {
    pub(super) life: Life,
    pub(super) size: usize,
    /// The whole envelope, where the shared tier is to have it.
    pub(super) bytes: Vec<u8>,
    /// It stands there already: of it, what may change of its header is sent.
    again: bool,
    /// How long its load took.
    pub(super) cost: Duration,
}

/// What is ready to be stored.
pub(super) struct Ready {
    pub(super) parcel: Parcel,
    keep: Keep,
    ticket: Option<Ticket>,
}

impl Parcel {
    /// For how long the shared tier keeps it.
    pub(super) fn kept(&self) -> Duration {
        self.life.shared.saturating_add(self.life.stale)
    }
}

impl Ready {
    /// What takes the place of a ticket or of an older value, if that is what the shared tier is to be told.
    pub(super) fn fill(&self) -> Option<Fill<'_>> {
        let ticket = self.ticket().filter(|_| !self.parcel.again)?;
        let seen = ticket.seen().map_or(Seen::Ticket(ticket.stamp()), Seen::Value);
        Some(Fill { name: ticket.name(), seen, value: &self.parcel.bytes, life: self.parcel.kept() })
    }

    /// Says whether the shared tier is to be told anything.
    pub(super) fn is_sent(&self) -> bool {
        self.ticket().is_some()
    }

    /// Tells the shared tier, if it is to be told anything.
    pub(super) async fn send(&self, tier: &Tier) -> Option<Result<Filled, Fault>> {
        if let Some(Fill { name, seen, value, life }) = self.fill() {
            return Some(match seen {
                Seen::Ticket(ticket) => tier.fill(name, ticket, value, life).await,
                Seen::Value(seen) => tier.refill(name, seen, value, life).await,
            });
        }
        let ticket = self.ticket()?;
        Some(tier.renew(ticket.name(), ticket.seen()?, ticket.stamp(), &self.parcel.bytes, self.parcel.kept()).await)
    }

    fn ticket(&self) -> Option<&Ticket> {
        self.ticket.as_ref().filter(|_| self.keep == Keep::Shared)
    }
}

impl Part {
    /// Stores what is ready, and returns the entry for those who wait.
    pub(super) async fn fill<A: Answer>(&self, ready: Ready, terms: &Terms<'_>, begun: &Begun, answer: &A) -> Filling {
        let filled = match &self.shared.tier {
            Some(tier) => tier.tasks().counted(ready.send(tier)).await,
            None => None,
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
        let packed = match answer.unmodified().filter(|entry| stands_as(entry, ticket.as_ref(), terms)) {
            Some(entry) => self.pack_again::<A>(terms, begun, entry, cost),
            None => self.pack(key, terms, begun, answer, stamp, cost),
        };
        let parcel = match packed {
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
                    if parcel.again {
                        counters.renewals.one();
                    }
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
        let within = |life: Duration| end.map_or(life, |end| life.min(self.now().until(end)));
        let Life { shared, local, stale } = parcel.life;
        // What may not be kept for long is not kept behind that.
        let life = Life { shared: within(shared), local: within(local), stale: if end.is_some() { Duration::ZERO } else { stale } };
        let facts = self.facts(begun, terms, answer, stamp, (life, parcel.size, parcel.cost));
        Filling { entry: entry(facts, self.now(), answer.value().cloned()), keep, storable: true }
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
        let life = terms.policy.outlasting(answer.content(), life, cost, config.max_life);
        if let Some(error) = &terms.unusable {
            return Err(CacheError::Tag(error.clone()));
        }
        if terms.tags.len() > config.max_tags {
            return Err(CacheError::TooManyTags { tags: terms.tags.len(), limit: config.max_tags });
        }
        if terms.validator.as_ref().is_some_and(|validator| validator.len() > MAX_VALIDATOR) {
            return Err(CacheError::Encode("the validator is longer than 255 bytes".into()));
        }
        let mut parcel = Parcel { life, size: 0, bytes: Vec::new(), again: false, cost };
        if let Some(bytes) = answer.bytes() {
            parcel.size = bytes;
            // No loader is shown it.
            parcel.life.stale = Duration::ZERO;
            return Ok(Some(parcel));
        }
        let Some(codec) = config.codec else { return Ok(Some(parcel)) };
        let unencodable = |error: &dyn std::fmt::Display| CacheError::Encode(error.to_string().into());
        let too_large =
            |bytes| if bytes > config.max_value { Err(CacheError::TooLarge { bytes, limit: config.max_value }) } else { Ok(()) };
        if let Some(stamp) = stamp {
            let head = Head { codec: codec.id(), ..self.head::<A>(life, answer.content(), begun, cost) };
            let mut writer =
                Writer::begin(stamp, &head, &terms.tags, terms.validator.as_deref()).map_err(|error| unencodable(&error))?;
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

    /// What is sent of a value that the shared tier has already.
    fn pack_again<A: Answer>(
        &self,
        terms: &Terms<'_>,
        begun: &Begun,
        entry: &Entry,
        cost: Duration,
    ) -> Result<Option<Parcel>, CacheError> {
        if !terms.stored {
            return Ok(None);
        }
        if let Some(error) = &terms.unusable {
            return Err(CacheError::Tag(error.clone()));
        }
        terms.policy.check().map_err(CacheError::Policy)?;
        let longest = self.shared.config.max_life;
        let Some(life) = terms.policy.life(Content::Value, longest, fastrand::u32(..)) else { return Ok(None) };
        let life = terms.policy.outlasting(Content::Value, life, cost, longest);
        let head = self.head::<A>(life, Content::Value, begun, cost);
        let bytes = mutable(&head).map_err(|error| CacheError::Encode(error.to_string().into()))?;
        Ok(Some(Parcel { life, size: entry.facts.size, bytes, again: true, cost }))
    }

    fn head<A: Answer>(&self, life: Life, content: Content, begun: &Begun, cost: Duration) -> Head {
        let whole = |life| u32::try_from(millis(life)).unwrap_or(u32::MAX);
        Head {
            negative: content == Content::Nothing,
            created: self.instance().view.server_millis(self.now()),
            soft: whole(life.shared),
            hard: whole(life.shared.saturating_add(life.stale)),
            born: begun.noted.born,
            cost: u16::try_from(millis(cost)).unwrap_or(u16::MAX),
            fingerprint: Fingerprint::of::<A::Value>(),
            ..Head::default()
        }
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
        let none = Life { shared: Duration::ZERO, local: Duration::ZERO, stale: Duration::ZERO };
        let facts = self.facts(begun, terms, answer, None, (none, 0, Duration::ZERO));
        Filling { entry: entry(facts, self.now(), answer.value().cloned()), keep: false, storable: false }
    }

    pub(super) fn facts<A: Answer>(
        &self,
        begun: &Begun,
        terms: &Terms<'_>,
        answer: &A,
        stamp: Option<Stamp>,
        (life, size, cost): (Life, usize, Duration),
    ) -> Facts {
        let now = self.now();
        Facts {
            content: answer.content(),
            epoch: begun.noted.epoch,
            born: begun.noted.born,
            tick: begun.noted.tick,
            tags: terms.tags.as_slice().into(),
            validator: terms.validator.as_deref().map(Box::from),
            prefixes: begun.prefixes,
            stamp,
            deadline: now.after(life.local),
            stale_from: now.after(life.shared),
            end: now.after(if life.stale.is_zero() { life.local } else { life.shared.saturating_add(life.stale) }),
            loaded_at: now,
            // Of what is not there in the shared tier nobody could take the lease.
            early: if stamp.is_some() || self.shared.tier.is_none() || answer.bytes().is_some() {
                terms.policy.early(life.shared, now.after(life.shared), cost)
            } else {
                Early::NEVER
            },
            cost,
            self_evident_until: begun.noted.at.after(self.shared.config.max_staleness),
            excusable: self.when_unreachable(&terms.policy) == OnUnreachable::Serve,
            idle_limit: terms.policy.idle_limit(),
            stands_in: false,
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
            CacheError::Tag(_) => &told.bad_tag,
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

/// Whether the value that is to be stored stands in the shared tier as this entry does, under the lease that is held: then nothing of it needs
/// to be sent.
fn stands_as(entry: &Entry, ticket: Option<&Ticket>, terms: &Terms<'_>) -> bool {
    let same = entry.facts.tags.as_ref() == terms.tags.as_slice() && entry.facts.validator.as_deref() == terms.validator.as_deref();
    same && ticket.and_then(Ticket::seen).is_some_and(|seen| entry.facts.stamp == Some(seen))
}

/// As much of a key as is logged.
fn start(key: Key<'_>) -> String {
    key.text.chars().take(64).collect()
}
