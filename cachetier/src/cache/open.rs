//! Reading a value of the shared tier: whether it is one for this caller, and what of its life is left.

use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use super::local::shown;
use super::{Key, Part, Value};
use crate::clock::Millis;
use crate::flight::outcome::Begun;
use crate::key::TagHash;
use crate::l1::{Entry, Facts};
use crate::rule::early::Early;
use crate::rule::policy::{Content, OnUnreachable, Policy, left};
use crate::view::Moment;
use crate::wire::codec::Codec;
use crate::wire::compress::{self, Payload};
use crate::wire::envelope::{self, Envelope, Fingerprint, Unreadable};

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

/// What of a value's life is left.
#[derive(Clone, Copy)]
struct Left {
    now: Millis,
    /// By the server's clock.
    server_now: u64,
    /// In which it is fresh, if it is.
    life: Option<Duration>,
    /// In which it is kept, stale if need be.
    kept: Duration,
}

impl Part {
    /// Judges a value of the shared tier, by a moment after its reply, and decodes it.
    pub(super) fn open<A: Answer>(
        &self,
        key: Key<'_>,
        bytes: &[u8],
        policy: Option<&Policy>,
        begun: &Begun,
        Moment { now, era }: Moment,
    ) -> Opened<A> {
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
        let tags: Box<[TagHash]> = opened.tags.clone().collect();
        if instance.outbox.covers_tags(&tags) {
            return Opened::LeftAlone;
        }
        let view = &instance.view;
        let server_now = view.server_millis(now);
        let life = left(head.created, head.soft, server_now).filter(|_| !head.expired);
        let kept = left(head.created, head.hard, server_now).unwrap_or_default();
        let facts = Facts {
            tags,
            size: payload.len(),
            type_name: std::any::type_name::<A::Value>(),
            ..self.facts_of(&opened, Left { now, server_now, life, kept }, policy, begun)
        };
        let unmoved = head.born.era == era && facts.unmoved(view);
        // Last: had an epoch ended while the table was read, the table may have been another era's.
        let current = self.shared.tier.as_ref().is_some_and(|tier| self.proven_of(tier, now)) && view.epoch() == begun.noted.epoch;
        if !current {
            return Opened::LeftAlone;
        }
        let stale = life.is_none() && !kept.is_zero() && unmoved && !head.negative;
        // For a loader that is shown it, and for who may get it in the place of what that brings.
        if stale && !A::SEES_STALE && !policy.is_some_and(Policy::uses_stale) {
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

    /// What its header says of a value, for who reads it by this policy.
    fn facts_of(&self, opened: &Envelope<'_>, left: Left, policy: Option<&Policy>, begun: &Begun) -> Facts {
        let (head, Left { now, server_now, life, kept }) = (&opened.head, left);
        let cost = Duration::from_millis(u64::from(head.cost));
        let local = life.map_or(Duration::ZERO, |left| policy.map_or(left, |policy| policy.local_part(left, fastrand::u32(..))));
        // When its life was over, if it is.
        let over = server_now.saturating_sub(head.created.saturating_add(u64::from(head.soft)));
        Facts {
            content: if head.negative { Content::Nothing } else { Content::Value },
            epoch: begun.noted.epoch,
            born: head.born,
            tick: begun.noted.tick,
            tags: Box::default(),
            validator: opened.validator.map(Box::from),
            prefixes: begun.prefixes,
            stamp: Some(opened.stamp),
            deadline: now.after(local),
            stale_from: life.map_or(Millis(now.0.saturating_sub(over)), |life| now.after(life)),
            end: now.after(if head.hard > head.soft || head.expired { kept } else { local }),
            loaded_at: Millis(now.0.saturating_sub(server_now.saturating_sub(head.created))),
            early: life.zip(policy).map_or(Early::NEVER, |(life, policy)| {
                policy.early(Duration::from_millis(u64::from(head.soft)), now.after(life), cost)
            }),
            cost,
            self_evident_until: Millis::default(),
            // Who reads without a policy does not know whether the one that it was stored with allows it.
            excusable: policy.is_some_and(|policy| self.when_unreachable(policy) == OnUnreachable::Serve),
            idle_limit: policy.and_then(Policy::idle_limit),
            size: 0,
            stands_in: false,
            type_name: "",
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
