//! What guards do to the hold of one key: who stands in it, until when, and whether anybody else has bumped the key meanwhile.
//! Takes the time as an argument; where a hold stands, and in which bytes, is others'.

use crate::clock::Millis;
use crate::rule::stamp::Stamp;

/// The most guards that hold one key at a time.
pub(crate) const MOST: usize = 64;

/// One guard's part of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) guard: Stamp,
    /// The first moment at which it counts no longer.
    pub(crate) until: Millis,
}

impl Record {
    pub(crate) fn new(guard: Stamp, millis: u64) -> Self {
        Self { guard, until: Millis(millis) }
    }
}

/// A key's hold: while it has a record nobody may fill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hold {
    /// Whether anybody but its one guard has bumped the key since that one began: then it puts no value any more.
    pub(crate) touched: bool,
    pub(crate) records: Vec<Record>,
}

impl Hold {
    /// Forgets the records that have ended.
    pub(crate) fn lapse(&mut self, now: Millis) {
        self.records.retain(|record| record.until > now);
    }

    /// When the last record ends, if there is one.
    pub(crate) fn end(&self) -> Option<Millis> {
        self.records.iter().map(|record| record.until).max()
    }

    /// Whether the guard may hold the key, too.
    pub(crate) fn has_room_for(&self, guard: Stamp, now: Millis) -> bool {
        self.records.iter().filter(|record| record.guard != guard && record.until > now).count() < MOST
    }

    /// Adds a guard, or lets one that stands there stand until then.
    pub(crate) fn plant(&mut self, guard: Stamp, until: Millis, now: Millis) {
        self.lapse(now);
        let before = self.records.len();
        self.records.retain(|record| record.guard != guard);
        let again = self.records.len() < before;
        self.touched = (again && self.touched) || !self.records.is_empty();
        self.records.push(Record { guard, until });
    }

    /// Takes a guard out, or lets it stand until `lag_end`. Says whether it still stood.
    pub(crate) fn release(&mut self, guard: Stamp, lag_end: Option<Millis>, now: Millis) -> bool {
        self.lapse(now);
        let before = self.records.len();
        self.records.retain(|record| record.guard != guard);
        let stood = self.records.len() < before;
        self.touched = true;
        self.records.extend(lag_end.map(|until| Record { guard, until }));
        stood
    }

    /// Whether the guard has been alone on the key all the time: what it has committed is then the newest.
    pub(crate) fn is_only(&self, guard: Stamp, now: Millis) -> bool {
        let mut standing = self.records.iter().filter(|record| record.until > now);
        !self.touched && standing.next().is_some_and(|record| record.guard == guard) && standing.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_000);
    const LATER: Millis = Millis(2_000);
    const ONE: Stamp = Stamp([1; 16]);
    const TWO: Stamp = Stamp([2; 16]);

    fn held() -> Hold {
        let mut hold = Hold::default();
        hold.plant(ONE, LATER, NOW);
        hold
    }

    #[test]
    fn a_guard_is_alone_until_its_end() {
        assert!(held().is_only(ONE, NOW));
        assert!(!held().is_only(TWO, NOW));
        assert!(!held().is_only(ONE, LATER));
        assert_eq!(held().end(), Some(LATER));
    }

    #[test]
    fn a_guard_that_had_company_is_not_alone_when_the_other_has_gone() {
        let mut hold = held();
        hold.plant(TWO, LATER, NOW);
        assert!(hold.release(TWO, None, NOW));
        assert!(!hold.is_only(ONE, NOW));
        assert_eq!(hold.records, [Record { guard: ONE, until: LATER }]);
    }

    #[test]
    fn a_guard_that_follows_one_that_has_ended_is_alone() {
        let mut hold = held();
        hold.plant(TWO, Millis(3_000), LATER);
        assert!(hold.is_only(TWO, LATER));
        // The late release of the one that ended is an invalidation.
        assert!(!hold.release(ONE, None, LATER));
        assert!(!hold.is_only(TWO, LATER));
    }

    #[test]
    fn a_hold_ends_with_the_last_of_its_guards() {
        let mut hold = held();
        hold.plant(TWO, Millis(1_500), NOW);
        assert_eq!(hold.end(), Some(LATER));
        hold.release(TWO, Some(Millis(1_200)), NOW);
        assert_eq!(hold.end(), Some(LATER));
    }

    #[test]
    fn a_guard_that_is_planted_again_stays_touched() {
        let mut hold = held();
        hold.touched = true;
        hold.plant(ONE, Millis(3_000), NOW);
        assert!(!hold.is_only(ONE, NOW));
        assert_eq!(hold.end(), Some(Millis(3_000)));
    }

    #[test]
    fn a_lag_stands_alone_and_lets_nobody_put() {
        let mut hold = held();
        assert!(hold.release(ONE, Some(Millis(5_000)), NOW));
        assert_eq!(hold.end(), Some(Millis(5_000)));
        assert!(!hold.is_only(ONE, NOW));
    }

    #[test]
    fn there_is_room_for_so_many_that_have_not_ended() {
        let mut hold = Hold::default();
        for name in 0..64 {
            assert!(hold.has_room_for(Stamp([99; 16]), NOW));
            hold.plant(Stamp([name; 16]), LATER, NOW);
        }
        assert!(!hold.has_room_for(Stamp([99; 16]), NOW));
        assert!(hold.has_room_for(ONE, NOW), "it stands there already");
        assert!(hold.has_room_for(Stamp([99; 16]), LATER));
    }
}
