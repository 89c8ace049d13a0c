//! How the shared tier is asked: with a ticket in hand, which finds or plants in one trip, or by a plain read first, which is cheaper
//! for the server where nearly every look finds a value, and costs a trip more where it does not.

use std::sync::atomic::{AtomicU64, Ordering};

/// So many of the last 64 looks must have found a value for the next one to count on it.
const MOSTLY: u32 = 61;

/// What the last 64 looks came to, the latest in the lowest bit.
#[derive(Debug, Default)]
pub(crate) struct Habit(AtomicU64);

impl Habit {
    /// Takes note of a look. Two that race may lose one: it is a habit and no account.
    pub(crate) fn note(&self, found: bool) {
        let before = self.0.load(Ordering::Relaxed);
        self.0.store((before << 1) | u64::from(found), Ordering::Relaxed);
    }

    /// Whether the next look will most likely find a value.
    pub(crate) fn expects_a_value(&self) -> bool {
        self.0.load(Ordering::Relaxed).count_ones() >= MOSTLY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_expected_after_a_long_run_and_no_longer_after_a_few_misses() {
        let habit = Habit::default();
        for _ in 0..60 {
            habit.note(true);
        }
        assert!(!habit.expects_a_value());
        habit.note(true);
        assert!(habit.expects_a_value());
        for _ in 0..64 {
            habit.note(true);
        }
        for _ in 0..3 {
            habit.note(false);
        }
        assert!(habit.expects_a_value());
        habit.note(false);
        assert!(!habit.expects_a_value());
    }
}
