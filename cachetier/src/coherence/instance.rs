//! What invalidations act on in this instance: its copies, its loads, its view of the lane.

use std::sync::Arc;

use crate::clock::{Clock, Millis};
use crate::coherence::holds::Holds;
use crate::coherence::journal::Journal;
use crate::coherence::outbox::Outbox;
use crate::coherence::own::{Mark, Teller};
use crate::coherence::together::Together;
use crate::coherence::waits::{Told, Waits};
use crate::flight::Flights;
use crate::flight::outcome::{Begun, Outcome};
use crate::key::{KeyHash, KeyHasher, PrefixHasher, Prefixes};
use crate::l1::{Facts, L1};
use crate::l2::lane::LaneState;
use crate::lease::Ticket;
use crate::observe::counters::Gauge;
use crate::observe::stats::Counters;
use crate::rule::seq::{Epoch, Point};
use crate::rule::stamp::Stamp;
use crate::rule::table::TableCopy;
use crate::view::View;
use crate::wire::message::{Message, Targets};
use crate::wire::wake::Wake;

/// This instance's side of a cache.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) namespace: String,
    pub(crate) hasher: KeyHasher,
    pub(crate) prefix_hasher: PrefixHasher,
    pub(crate) clock: Clock,
    pub(crate) l1: L1,
    pub(crate) flights: Flights<Outcome, Ticket, Begun>,
    pub(crate) view: View,
    pub(crate) together: Together,
    pub(crate) outbox: Outbox,
    pub(crate) journal: Journal,
    pub(crate) holds: Holds,
    pub(crate) waits: Waits,
    /// Of a million copies, how many are missed needlessly.
    pub(crate) needless: Gauge,
    /// Which part of a namespace it is, if there are several.
    pub(crate) part: Option<usize>,
    pub(crate) counters: Arc<Counters>,
}

impl Instance {
    pub(crate) fn now(&self) -> Millis {
        self.clock.now()
    }

    pub(crate) fn hash(&self, key: impl AsRef<[u8]>) -> KeyHash {
        self.hasher.hash(key)
    }

    /// The implicit tags of a key.
    pub(crate) fn prefixes(&self, key: &str) -> Prefixes {
        self.prefix_hasher.hash(key)
    }

    // --- what others did

    /// Applies a bump heard on the lane: one's own like anybody's.
    pub(crate) fn apply(&self, message: &Message) {
        let at = Point { era: message.era, seq: message.seq };
        self.drop_targets(&message.targets, message.coming, Some(at));
        // Last: whoever is told this point finds all of it applied.
        self.view.apply(&message.targets, at);
        self.counters.invalidations_applied.add(message.targets.counted_in(self.part));
    }

    /// Tells who waits for a key that its ticket is gone.
    pub(crate) fn wake(&self, wake: &Wake<'_>) {
        if let Some(key) = self.waits.key_of(wake.name) {
            let told = match (wake.why(), wake.held) {
                (Some(why), _) => Told::Failed(why.into()),
                (None, Some(held)) => Told::Held(held.to_vec()),
                (None, None) => Told::Look,
            };
            self.waits.tell(self.hash(key), &told);
        }
    }

    /// Nothing here is proven any more: an epoch ends, and no later caller joins a load that began in it.
    pub(crate) fn lose(&self) {
        self.view.lose(self.now());
        self.flights.detach(|_| true);
        self.waits.tell_all();
    }

    /// Begins an epoch with what the lane has told: its point and its table. Also when the point is the one known: messages may have come
    /// and gone unseen. Not proven yet. Nothing is done if it is no longer `present`, where that is asked for.
    /// What this instance has told and the lane may have forgotten, waits to be told again then.
    pub(crate) fn begin_epoch(&self, lane: LaneState, table: &TableCopy, present: Option<Epoch>) -> Option<Epoch> {
        let begun = self.view.meet(lane.point, present, self.now())?;
        self.flights.detach(|_| true);
        self.view.take_over(begun, lane.point, table, (self.now(), lane.server_millis));
        self.journal.met(lane.point.era, lane.run, self.now(), |forgotten| self.tell_again(forgotten));
        Some(begun)
    }

    /// The lane may have forgotten these.
    fn tell_again(&self, targets: Targets) {
        self.counters.retold.add(u64::try_from(targets.len()).unwrap_or(u64::MAX));
        self.give_up_own(targets);
    }

    /// What a bump does to copies and loads. An entry that is the announced value, and the flight that puts it, stay; and so does what was
    /// loaded by whom the lane had told `at`, the point of the bump, before: it is newer. One's own messages come when the loads that follow
    /// have begun, and would waste each first one.
    fn drop_targets(&self, targets: &Targets, coming: Option<Stamp>, at: Option<Point>) {
        let newer = |born: Point| at.is_some_and(|at| born.era == at.era && born.seq >= at.seq);
        let comes = |stamp: Option<Stamp>| coming.is_some() && stamp == coming;
        for key in &targets.keys {
            let hash = self.hash(key);
            let spare = |entry: &Facts| comes(entry.stamp) || newer(entry.born);
            let drop_entry =
                || if targets.stale { self.l1.expire_entry(hash, self.now(), spare) } else { self.l1.drop_entry(hash, spare) };
            self.flights.invalidate(hash, |begun| comes(begun.writes) || newer(begun.noted.born), drop_entry);
            // The ticket is gone with what the key held.
            self.waits.tell(hash, &Told::Look);
        }
        if !targets.prefixes.is_empty() {
            let below = |begun: &Begun| begun.prefixes.iter().any(|prefix| targets.prefixes.contains(prefix));
            self.flights.detach(|begun| below(begun) && !newer(begun.noted.born));
        }
        if targets.doubt || targets.all {
            self.waits.tell_all();
        }
        if targets.doubt {
            // Also when it is one's own that is heard again: that a later point was told proves nothing of this one.
            self.view.doubt(self.now());
            self.flights.detach(|_| true);
        }
        if targets.all {
            self.flights.detach(|begun| !newer(begun.noted.born));
            // For the memory alone. What the lane had told before is heard once more: its memory has been given back then.
            if !newer(self.view.floor()) {
                self.l1.drop_all();
            }
        }
    }
}

/// What this instance does: locally before it is sent, and again at every outcome.
impl Teller for Instance {
    fn together(&self) -> &Together {
        &self.together
    }

    fn went_together(&self, bumps: usize) {
        self.counters.invalidations_together.add(u64::try_from(bumps).unwrap_or(u64::MAX));
    }

    fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    fn floor(&self) -> Point {
        self.view.floor()
    }

    fn mark(&self) -> Mark {
        Mark { tick: self.view.tick(), life: self.journal.lives() }
    }

    fn begin_own(&self, targets: &Targets, coming: Option<Stamp>) -> Mark {
        let life = self.journal.lives();
        self.counters.invalidations.add(targets.counted_in(self.part));
        let tick = self.view.begin_own(targets);
        self.drop_targets(targets, coming, None);
        Mark { tick, life }
    }

    /// Between the first drop and now its old value may have been read again.
    fn end_own(&self, targets: &Targets, upto: Mark, at: Point, coming: Option<Stamp>) {
        self.view.end_own(targets, upto.tick, at);
        self.drop_targets(targets, coming, Some(at));
        if self.journal.note(targets, (upto.life, at), self.now()) {
            self.tell_again(targets.clone());
        }
    }

    /// First it is made unreadable, then dropped: in this order nothing old is read in between.
    fn give_up_own(&self, targets: Targets) {
        let waiting = self.outbox.add(targets);
        self.view.begin_own(&waiting);
        self.drop_targets(&waiting, None, None);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;
    use crate::config::Config;
    use crate::rule::seq::{Era, Seq};

    pub(in crate::coherence) fn instance() -> Instance {
        let (config, counters) = (Config::new("shop"), Arc::new(Counters::default()));
        Instance {
            hasher: KeyHasher::new([0; 16]),
            prefix_hasher: PrefixHasher::new(&config.namespace),
            namespace: config.namespace,
            clock: Clock::system(),
            l1: L1::new(config.capacity, config.eviction, Arc::clone(&counters)),
            flights: Flights::new(config.shards),
            view: View::new(config.cells, Clock::system().now()),
            together: Together::default(),
            outbox: Outbox::new(config.outbox),
            journal: Journal::new(config.outbox, config.journal),
            holds: Holds::new(),
            waits: Waits::new("ct:shop:v:".to_owned()),
            needless: Gauge::default(),
            part: None,
            counters,
        }
    }

    #[test]
    fn who_finds_a_life_met_finds_unreadable_what_it_may_have_forgotten() {
        const LIVES: u64 = 2_000;
        let (instance, life) = (instance(), AtomicU64::new(1));
        let point = Point { era: Era(1), seq: Seq(1) };
        let told = Targets { keys: vec!["a".to_owned()], ..Targets::default() };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for run in 1..=LIVES {
                    if let Some(batch) = instance.outbox.batch() {
                        instance.outbox.told(&batch);
                    }
                    instance.end_own(&told, instance.mark(), point, None);
                    instance.begin_epoch(LaneState { point, server_millis: 0, cells: 256, run }, &TableCopy::default(), None);
                    life.store(run + 1, Ordering::Release);
                }
            });
            loop {
                let run = life.load(Ordering::Acquire);
                if run > LIVES {
                    break;
                }
                let (met, unreadable) = (instance.journal.has_met(run), instance.outbox.covers("a", &[]));
                if life.load(Ordering::Acquire) == run {
                    assert!(!met || unreadable, "life {run}");
                }
            }
        });
    }

    #[test]
    fn who_notes_an_epoch_has_met_its_era() {
        const ERAS: u32 = 200;
        let (instance, over) = (instance(), AtomicBool::new(false));
        let Epoch(first) = instance.view.epoch();
        let table = TableCopy::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for era in 1..=ERAS {
                    let point = Point { era: Era(era), seq: Seq(1) };
                    instance.begin_epoch(LaneState { point, server_millis: 0, cells: 256, run: 1 }, &table, None);
                }
                over.store(true, Ordering::Release);
            });
            while !over.load(Ordering::Acquire) {
                let noted = instance.view.note(instance.now());
                let Epoch(epoch) = noted.epoch;
                let Era(era) = noted.born.era;
                assert!(u64::from(era) >= epoch - first, "epoch {epoch} began with era {}, noted with {era}", epoch - first);
            }
        });
    }
}
