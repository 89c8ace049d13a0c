//! What an own bump does where nothing is cached: it is counted, and waits to be told again if it has to.

use std::sync::Arc;

use crate::clock::Clock;
use crate::coherence::journal::Journal;
use crate::coherence::outbox::Outbox;
use crate::coherence::own::{Mark, Teller};
use crate::coherence::together::Together;
use crate::observe::stats::Counters;
use crate::rule::seq::{Point, Tick};
use crate::rule::stamp::Stamp;
use crate::sync::{Mutex, lock};
use crate::wire::message::Targets;

/// The side of a lane that only tells.
#[derive(Debug)]
pub(super) struct Messenger {
    pub(super) outbox: Outbox,
    together: Together,
    journal: Journal,
    clock: Clock,
    counters: Arc<Counters>,
    /// Which part of a namespace it tells, if there are several.
    pub(super) part: Option<usize>,
    /// The highest point that an own bump was told to stand at.
    known: Mutex<Point>,
}

impl Messenger {
    pub(super) fn new(outbox: Outbox, journal: Journal, counters: Arc<Counters>, part: Option<usize>) -> Self {
        let (together, known) = (Together::default(), Mutex::default());
        Self { outbox, together, journal, clock: Clock::system(), counters, part, known }
    }

    pub(super) fn known(&self) -> Point {
        *lock(&self.known)
    }

    /// The lane may have forgotten these.
    fn tell_again(&self, targets: Targets) {
        self.counters.retold.add(u64::try_from(targets.len()).unwrap_or(u64::MAX));
        self.give_up_own(targets);
    }
}

impl Teller for Messenger {
    fn together(&self) -> &Together {
        &self.together
    }

    fn went_together(&self, bumps: usize) {
        self.counters.invalidations_together.add(u64::try_from(bumps).unwrap_or(u64::MAX));
    }

    fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// So that a lane which has gone back does not number a bump below one that was acknowledged here.
    fn floor(&self) -> Point {
        self.known()
    }

    /// Nothing here is judged by ticks.
    fn mark(&self) -> Mark {
        Mark { tick: Tick::default(), life: self.journal.lives() }
    }

    fn begin_own(&self, targets: &Targets, _: Option<Stamp>) -> Mark {
        self.counters.invalidations.add(targets.counted_in(self.part));
        self.mark()
    }

    fn end_own(&self, targets: &Targets, upto: Mark, at: Point, _: Option<Stamp>) {
        let now = self.clock.now();
        // Nobody follows the lane here: that it has begun another era is learnt from the answer to the next bump.
        self.journal.met(at.era, 0, now, |forgotten| self.tell_again(forgotten));
        if self.journal.note(targets, (upto.life, at), now) {
            self.tell_again(targets.clone());
        }
        let mut known = lock(&self.known);
        // Seqs of two eras do not compare.
        if known.era != at.era || known.seq < at.seq {
            *known = at;
        }
    }

    fn give_up_own(&self, targets: Targets) {
        self.outbox.add(targets);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rule::seq::{Era, Seq};

    #[test]
    fn the_floor_is_the_highest_point_of_the_latest_era() {
        let messenger = Messenger::new(Outbox::new(10), Journal::new(10, Duration::from_secs(60)), Arc::default(), None);
        for ((era, seq), expected) in [((1, 50), 50), ((1, 40), 50), ((2, 7), 7), ((2, 9), 9)] {
            messenger.end_own(&Targets::everything(), Mark::default(), Point { era: Era(era), seq: Seq(seq) }, None);
            assert_eq!(messenger.floor().seq, Seq(expected), "after {seq} of era {era}");
        }
    }
}
