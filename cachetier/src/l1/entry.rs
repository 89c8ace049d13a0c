//! One entry, and whether it may be served: everything that the rules need stands beside the value.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Millis;
use crate::key::{Prefixes, TagHash};
use crate::rule::early::Early;
use crate::rule::policy::{Content, Freshness, judge};
use crate::rule::seq::{Epoch, Point, Tick};
use crate::rule::stamp::Stamp;
use crate::view::View;

/// What an entry costs beside its value, about: the entry, its tags and its place in the store.
const OVERHEAD: usize = 192;

/// One entry: what the rules need to judge it, then the value, all behind one `Arc`.
#[derive(Debug)]
pub(crate) struct Entry<V: ?Sized = dyn Any + Send + Sync> {
    pub(crate) facts: Facts,
    /// The epoch in which it was last known to be what the shared tier holds.
    epoch: AtomicU64,
    /// The table's generation at which the tags were last found unmoved.
    unmoved_at: AtomicU64,
    /// When it was last read, if it has an idle limit.
    read_at: AtomicU64,
    /// When it was made stale before its time; 0 if it was not.
    expired: AtomicU64,
    /// From when on something newer may be looked for; never while it is.
    ask_from: AtomicU64,
    /// How often it was read since that has begun.
    heat: AtomicU32,
    pub(crate) value: V,
}

/// The right to look for something newer than an entry that answers meanwhile: of one at a time. Dropped, it is given back.
#[must_use = "nobody else looks meanwhile"]
#[derive(Debug)]
pub(crate) struct Due {
    entry: Arc<Entry>,
    /// Before when nobody else is to look.
    again: Millis,
}

impl Due {
    /// The right, if nobody has it and it is time to.
    pub(crate) fn begin(entry: &Arc<Entry>, now: Millis) -> Option<Self> {
        let from = entry.ask_from.load(Ordering::Acquire);
        let begins =
            now.0 >= from && entry.ask_from.compare_exchange(from, Millis::NEVER.0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        begins.then(|| Self { entry: Arc::clone(entry), again: Millis::default() })
    }

    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Nobody is to look before that.
    pub(crate) fn later(&mut self, again: Millis) {
        self.again = again;
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        self.entry.heat.store(0, Ordering::Relaxed);
        self.entry.ask_from.store(self.again.0.min(Millis::NEVER.0 - 1), Ordering::Release);
    }
}

/// What is true of an entry from its begin to its end.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) content: Content,
    /// The epoch noted when its load, or the read that found it, began; where another one has ended since, it is suspect.
    pub(crate) epoch: Epoch,
    /// The highest point told when its *load* began, wherever that was.
    pub(crate) born: Point,
    pub(crate) tick: Tick,
    pub(crate) tags: Box<[TagHash]>,
    /// What its source knows this version by.
    pub(crate) validator: Option<Box<str>>,
    /// The implicit tags of its key.
    pub(crate) prefixes: Prefixes,
    /// The state of the key in the shared tier that it is a copy of, if there is one.
    pub(crate) stamp: Option<Stamp>,
    pub(crate) deadline: Millis,
    /// From when on it is stale wherever it is held: after the deadline of a copy that asks again before.
    pub(crate) stale_from: Millis,
    /// Until when it is kept, stale if need be.
    pub(crate) end: Millis,
    /// When its load ended, wherever that was.
    pub(crate) loaded_at: Millis,
    /// When something newer is looked for before its life is over.
    pub(crate) early: Early,
    /// How long its load took.
    pub(crate) cost: Duration,
    /// Until when no proof is needed: it was loaded here so lately that it cannot be older than the bound allows.
    pub(crate) self_evident_until: Millis,
    /// Whether it may be served while nobody can prove anything.
    pub(crate) excusable: bool,
    pub(crate) idle_limit: Option<Duration>,
    /// Whether its life is over, and it is served because a load has failed.
    pub(crate) stands_in: bool,
    /// Bytes of the encoded value.
    pub(crate) size: usize,
    pub(crate) type_name: &'static str,
}

impl Facts {
    /// Whether this instance has loaded it, and not found it in the shared tier.
    pub(crate) fn is_loaded_here(&self) -> bool {
        self.self_evident_until != Millis::default()
    }

    /// Rule T: neither its tags nor its prefixes have been bumped since its load began.
    pub(crate) fn unmoved(&self, view: &View) -> bool {
        view.unmoved_since(self.born.seq, self.tick, &self.tags) && view.unmoved_since(self.born.seq, self.tick, &self.prefixes)
    }
}

impl<V: Any + Send + Sync> Entry<V> {
    pub(crate) fn new(facts: Facts, now: Millis, value: V) -> Arc<Entry> {
        let epoch = AtomicU64::new(facts.epoch.0);
        Arc::new(Self {
            facts,
            epoch,
            unmoved_at: AtomicU64::new(0),
            read_at: AtomicU64::new(now.0),
            expired: AtomicU64::new(0),
            ask_from: AtomicU64::new(0),
            heat: AtomicU32::new(0),
            value,
        })
    }
}

impl Entry {
    /// Says what [`Entry::serves`] would, and leaves no trace of it.
    pub(crate) fn would_serve(&self, now: Millis, view: &View) -> bool {
        self.freshness(now) == Freshness::Fresh && self.needs_nobody(now, view) && self.facts.unmoved(view)
    }

    /// Says whether the entry may be served now. Everything is a comparison with one number, unless the table has moved since the
    /// entry was last looked at.
    pub(crate) fn serves(&self, now: Millis, view: &View) -> bool {
        if self.freshness(now) != Freshness::Fresh {
            return false;
        }
        let excused = self.lacks_proof(now, view);
        if excused && !self.is_excused(now, view) {
            return false;
        }
        // The generation before the cells: a bump between the two is then seen at the next look.
        let generation = view.generation();
        if self.unmoved_at.load(Ordering::Relaxed) != generation.0 {
            if !self.facts.unmoved(view) {
                return false;
            }
            self.unmoved_at.store(generation.0, Ordering::Relaxed);
        }
        if self.facts.idle_limit.is_some() {
            self.read_at.store(now.0, Ordering::Relaxed);
        }
        if excused {
            view.count_unproven();
        }
        true
    }

    /// Whether its reader is to look for something newer now, though it serves: nobody does, and it is time to.
    pub(crate) fn is_due(&self, now: Millis) -> bool {
        if now < self.facts.early.from {
            return false;
        }
        let from = self.ask_from.load(Ordering::Acquire);
        if from == Millis::NEVER.0 {
            self.read_meanwhile();
        }
        now.0 >= from && self.facts.early.is_due(now, fastrand::f64())
    }

    /// Whether its life is over.
    pub(crate) fn is_stale(&self, now: Millis) -> bool {
        now >= self.facts.stale_from || self.is_expired()
    }

    /// How long its load took.
    pub(crate) fn cost(&self) -> Duration {
        self.facts.cost
    }

    /// It was read while something newer is looked for.
    pub(crate) fn read_meanwhile(&self) {
        self.heat.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was read since something newer is looked for.
    pub(crate) fn heat(&self) -> u32 {
        self.heat.load(Ordering::Relaxed)
    }

    /// Whether it was made stale before its time.
    pub(crate) fn is_expired(&self) -> bool {
        self.expired.load(Ordering::Acquire) != 0
    }

    /// Since when it is stale, or from when on.
    pub(crate) fn stale_since(&self) -> Millis {
        match self.expired.load(Ordering::Acquire) {
            0 => self.facts.stale_from,
            at => self.facts.stale_from.min(Millis(at)),
        }
    }

    /// For how long it may still be served.
    pub(crate) fn life(&self, now: Millis) -> Duration {
        if self.is_expired() { Duration::ZERO } else { now.until(self.facts.deadline) }
    }

    pub(super) fn freshness(&self, now: Millis) -> Freshness {
        let idle = self.facts.idle_limit.map(|limit| (Millis(self.read_at.load(Ordering::Relaxed)), limit));
        judge(now, (if self.is_expired() { now } else { self.facts.deadline }, self.facts.end), idle)
    }

    /// Whether it is served, if it is, without a proof that nothing was missed.
    pub(crate) fn lacks_proof(&self, now: Millis, view: &View) -> bool {
        // The proof before the epoch: had another one begun in between, the proof may be that one's.
        let proven = view.proven(now) && self.epoch.load(Ordering::Acquire) == view.epoch().0;
        !proven && !self.is_self_evident(now, view)
    }

    /// Loaded here so lately that it cannot be older than the bound on staleness allows. Its seq says so only within its era.
    fn is_self_evident(&self, now: Millis, view: &View) -> bool {
        now < self.facts.self_evident_until && self.may_lack_proof(view)
    }

    /// Nobody can prove anything now, and its policy would rather have it served.
    fn is_excused(&self, now: Millis, view: &View) -> bool {
        self.facts.excusable && view.excuses(now) && self.may_lack_proof(view)
    }

    /// Whether nobody was promised that nothing older is served, or has doubted the copies, since it was last known to be right.
    fn may_lack_proof(&self, view: &View) -> bool {
        self.facts.born.era == view.era() && view.vouches_for(Epoch(self.epoch.load(Ordering::Acquire)))
    }

    /// Whether it is shown or served without a look at the shared tier: proven, self-evident, or excused.
    pub(crate) fn needs_nobody(&self, now: Millis, view: &View) -> bool {
        !self.lacks_proof(now, view) || self.is_excused(now, view)
    }

    /// Says whether all that speaks against serving it is that an epoch has ended: then its stamp tells whether it is what the shared
    /// tier holds.
    pub(crate) fn is_suspect(&self, now: Millis, view: &View) -> bool {
        self.freshness(now) == Freshness::Fresh
            && self.epoch.load(Ordering::Acquire) != view.epoch().0
            && self.facts.born.era == view.era()
            && self.facts.unmoved(view)
    }

    /// Says whether a loader may be shown it: its life is over in both tiers, nothing it depends on has been invalidated for all that is
    /// known, and it is a value.
    pub(crate) fn is_fallback(&self, now: Millis, view: &View) -> bool {
        self.freshness(now) == Freshness::Stale
            && (now >= self.facts.stale_from || self.is_expired())
            && self.facts.content == Content::Value
            && self.facts.born.era == view.era()
            && self.facts.unmoved(view)
    }

    /// The same, to be served for a while in the place of what a load that has failed did not bring, but not for longer than it is kept.
    pub(crate) fn standing_in<V: Any + Clone + Send + Sync>(&self, now: Millis, so_long: Duration) -> Option<Arc<Entry>> {
        let value = self.value::<V>()?.clone();
        let facts = Facts {
            epoch: Epoch(self.epoch.load(Ordering::Acquire)),
            deadline: now.after(so_long).min(self.facts.end),
            early: Early::NEVER,
            // One that was made stale before its time, too.
            stale_from: self.facts.stale_from.min(now),
            stands_in: true,
            ..self.facts.clone()
        };
        Some(Entry::new(facts, now, value))
    }

    /// It is stale from now on, as long as it would have been kept.
    pub(super) fn expire(&self, now: Millis) {
        // The first time counts.
        let _ = self.expired.compare_exchange(0, now.0.max(1), Ordering::AcqRel, Ordering::Relaxed);
    }

    /// It was found to be what the shared tier held after `epoch` had begun.
    pub(crate) fn clear(&self, epoch: Epoch) {
        self.epoch.fetch_max(epoch.0, Ordering::AcqRel);
    }

    /// The value, if it is a `V`.
    pub(crate) fn value<V: Any>(&self) -> Option<&V> {
        self.value.downcast_ref()
    }

    pub(super) fn weight(&self) -> u32 {
        let tags = self.facts.tags.len().saturating_mul(size_of::<TagHash>());
        let validator = self.facts.validator.as_ref().map_or(0, |validator| validator.len());
        u32::try_from(self.facts.size.saturating_add(tags).saturating_add(validator).saturating_add(OVERHEAD)).unwrap_or(u32::MAX)
    }
}
