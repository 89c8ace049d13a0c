//! What an own bump does where nothing is cached: it is counted, and waits to be told again if it has to.

use std::sync::Arc;

use super::stats::InvalidatorStats;
use crate::clock::Clock;
use crate::coherence::journal::Journal;
use crate::coherence::outbox::Outbox;
use crate::coherence::own::{Mark, Teller};
use crate::coherence::together::Together;
use crate::observe::stats::Counters;
use crate::rule::seq::{Tick, Token};
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
    /// The highest point that an own bump was told to stand at.
    known: Mutex<Token>,
}

impl Messenger {
    pub(super) fn new(outbox: Outbox, journal: Journal, counters: Arc<Counters>) -> Self {
        Self { outbox, together: Together::default(), journal, clock: Clock::system(), counters, known: Mutex::default() }
    }

    pub(super) fn known(&self) -> Token {
        *lock(&self.known)
    }

    pub(super) fn stats(&self) -> InvalidatorStats {
        let counted = self.counters.snapshot();
        InvalidatorStats {
            invalidations: counted.invalidations,
            faults: counted.l2_faults,
            pending: u64::try_from(self.outbox.len()).unwrap_or(u64::MAX),
            retold: counted.retold,
        }
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
    fn floor(&self) -> Token {
        self.known()
    }

    /// Nothing here is judged by ticks.
    fn mark(&self) -> Mark {
        Mark { tick: Tick::default(), life: self.journal.lives() }
    }

    fn begin_own(&self, targets: &Targets, _: Option<Stamp>) -> Mark {
        self.counters.invalidations.add(u64::try_from(targets.len()).unwrap_or(u64::MAX));
        self.mark()
    }

    fn end_own(&self, targets: &Targets, upto: Mark, at: Token, _: Option<Stamp>) {
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
        let messenger = Messenger::new(Outbox::new(10), Journal::new(10, Duration::from_secs(60)), Arc::default());
        for ((era, seq), expected) in [((1, 50), 50), ((1, 40), 50), ((2, 7), 7), ((2, 9), 9)] {
            messenger.end_own(&Targets::everything(), Mark::default(), Token { era: Era(era), seq: Seq(seq) }, None);
            assert_eq!(messenger.floor().seq, Seq(expected), "after {seq} of era {era}");
        }
    }
}
