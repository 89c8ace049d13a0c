//! One part of a cache: its copies, the loads under way, its lane, its values in the shared tier. Most caches have one; in a Cluster a cache has
//! several, each in a slot of its own, and every key belongs to one of them. What is told below of reads and mutations happens within one part;
//! which one a key belongs to, and what concerns all of them, is the handle's to say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::answer::Answer;
use super::behind::Behind;
use super::refresh::Refreshes;
use super::{Delivery, Rules, Terms};
use crate::bulkhead::Bulkhead;
use crate::clock::Millis;
use crate::coherence::instance::Instance;
use crate::coherence::renewal::Renewal;
use crate::config::Config;
use crate::error::CacheError;
use crate::key::KeyHash;
use crate::l2::tier::Tier;
use crate::observe::hot::HotKeys;
use crate::observe::once::OnceByType;
use crate::observe::stats::{Lag, Stats};
use crate::rule::habit::Habit;
use crate::rule::seq::Point;
use crate::rule::stamp::Stamps;
use crate::rule::token::Token;
use crate::tasks::{Background, Tasks};
use crate::view::Moment;

/// A part, as one handle uses it.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) shared: Arc<Shared>,
    /// What bounds the loads of calls of this handle beside what bounds those of the cache.
    pub(super) group: Option<Bulkhead>,
}

/// What all clones of a part share.
pub(super) struct Shared {
    /// Which of several it is.
    pub(super) number: Option<usize>,
    pub(super) config: Config,
    pub(super) instance: Arc<Instance>,
    /// The shared tier, if there is one.
    pub(super) tier: Option<Arc<Tier>>,
    pub(super) stamps: Stamps,
    /// Whether the shared tier mostly has what it is asked for.
    pub(super) habit: Habit,
    /// What is on its way to the shared tier behind callers' backs: of all parts.
    pub(super) behind: Behind,
    /// What is refreshed behind callers' backs: of all parts.
    pub(super) refreshes: Refreshes,
    /// Which keys are read most, if that is asked for: of all parts.
    pub(super) hot: Option<Arc<HotKeys>>,
    /// Of which types a value has been read back as it was written: the codec carries these.
    pub(super) read_back: OnceByType,
    pub(super) tasks: Tasks,
    pub(super) renewal: Renewal,
    /// The tasks that end with the cache.
    pub(super) background: Background,
    pub(super) closed: AtomicBool,
}

/// A key on its way through a call: checked, hashed once.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) text: &'a str,
    pub(super) hash: KeyHash,
}

impl Part {
    pub(super) fn instance(&self) -> &Arc<Instance> {
        &self.shared.instance
    }

    pub(super) fn now(&self) -> Millis {
        self.instance().now()
    }

    pub(super) fn moment(&self) -> Moment {
        self.instance().view.moment(self.now())
    }

    pub(super) fn key<'a>(&self, text: &'a str) -> Key<'a> {
        Key { text, hash: self.instance().hash(text) }
    }

    /// What rules say of an answer.
    pub(super) fn terms<A: Answer>(&self, rules: &impl Rules<A::Value>, answer: &A) -> Terms<'_> {
        let mut terms = Terms::of(&self.shared.config.namespace, rules, answer.value());
        answer.adapt(&mut terms);
        terms.settled()
    }

    /// A point of this part's lane, as callers are told it.
    pub(super) fn token(&self, point: Point) -> Token {
        Token::at(self.shared.number, point)
    }

    pub(super) fn applied(&self, point: Point) -> Delivery {
        Delivery::Applied(self.token(point))
    }

    /// Adds what this part holds to what has been counted of all of them: sums, and of what is the better or the worse the worst.
    pub(super) fn add_to(&self, stats: &mut Stats) {
        let instance = self.instance();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let (age, unproven) = instance.view.proofs(instance.now());
        let lag = match (age, &self.shared.tier) {
            (_, None) => Lag::Alone,
            (Some(age), _) => Lag::Proven(age),
            (None, _) => Lag::Unproven,
        };
        let (breaker, opened) = self.shared.tier.as_ref().map(|tier| tier.breaker()).unwrap_or_default();
        stats.lag = stats.lag.or_worse(lag);
        stats.breaker = stats.breaker.max(breaker);
        stats.time_unproven = stats.time_unproven.max(unproven);
        stats.table_needless_ppm = stats.table_needless_ppm.max(instance.needless.get());
        for (sum, more) in [
            (&mut stats.breaker_opened, opened),
            (&mut stats.l1_entries, instance.l1.entries()),
            (&mut stats.l1_weight, instance.l1.weight()),
            (&mut stats.flights, count(instance.flights.len())),
            (&mut stats.pending, count(instance.outbox.len())),
            (&mut stats.served_unproven, instance.view.served_unproven()),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    /// Ends the part, whatever is under way.
    pub(super) fn end(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.background.end();
        self.shared.refreshes.close();
        self.instance().view.progress.close();
        if let Some(tier) = &self.shared.tier {
            tier.close();
        }
        self.instance().lose();
        self.instance().l1.drop_all();
    }

    pub(super) fn check_open(&self) -> Result<(), CacheError> {
        if self.closed() { Err(CacheError::Closed) } else { Ok(()) }
    }

    pub(super) fn closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }
}
