//! A breaker at work: what was asked and came to what, and whether the next call may be made.

use std::time::Duration;

use crate::clock::{Millis, millis};

use super::breaker::{Breaker, BreakerState};

/// Over how many seconds the share of failures is counted.
const WINDOW: usize = 10;

/// How long it must have been closed for the next pause to be as short as the first.
const STEADY: Duration = Duration::from_secs(10);

/// A breaker at work.
#[derive(Debug)]
pub(crate) struct Circuit {
    rule: Breaker,
    state: State,
    /// Failures in a row.
    row: u32,
    seconds: [Second; WINDOW],
    /// How many pauses there were since it was closed for long.
    pauses: u32,
    opened: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        since: Millis,
    },
    Open {
        since: Millis,
        /// When the next call is let through.
        until: Millis,
        /// One was, and its answer is out.
        trying: bool,
    },
}

/// What was counted in one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    /// Which one.
    number: u64,
    calls: u32,
    failures: u32,
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    Open,
    /// After so long.
    Closed(Duration),
}

impl Circuit {
    pub(crate) fn new(rule: Breaker, now: Millis) -> Self {
        Self { rule, state: State::Closed { since: now }, row: 0, seconds: [Second::default(); WINDOW], pauses: 0, opened: 0 }
    }

    pub(crate) fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { trying: true, .. } => BreakerState::HalfOpen,
            State::Open { .. } => BreakerState::Open,
        }
    }

    /// How often it has opened.
    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }

    /// Whether a call that can be done without may be made now. Open, one is let through after each pause; the next pause begins with it, so
    /// one whose outcome nobody tells is followed by another. `die` is 0 to 1: those who lost a server together do not try it together.
    pub(crate) fn admits(&mut self, now: Millis, die: f64) -> bool {
        let State::Open { since, until, .. } = self.state else { return true };
        if now < until {
            return false;
        }
        self.state = State::Open { since, until: now.after(self.next_pause(die)), trying: true };
        true
    }

    /// A call that was sent at `asked` was answered in time, or was not.
    pub(crate) fn note(&mut self, asked: Millis, now: Millis, well: bool, die: f64) -> Option<Turned> {
        if !self.rule.on {
            return None;
        }
        match (self.state, well) {
            // What was sent before it opened, or closed, tells nothing of what has been since.
            (State::Open { since, .. } | State::Closed { since }, _) if asked < since => None,
            (State::Closed { since }, true) => {
                self.row = 0;
                self.count(now, 0);
                if since.until(now) >= STEADY {
                    self.pauses = 0;
                }
                None
            }
            (State::Closed { .. }, false) => {
                self.row = self.row.saturating_add(1);
                self.count(now, 1);
                let (calls, failures) = self.counted(now);
                let many = calls >= self.rule.of && u64::from(failures) * 100 >= u64::from(calls) * u64::from(self.rule.percent);
                if self.row < self.rule.in_a_row && !many {
                    return None;
                }
                self.state = State::Open { since: now, until: now.after(self.next_pause(die)), trying: false };
                self.opened = self.opened.saturating_add(1);
                Some(Turned::Open)
            }
            (State::Open { since, .. }, true) => {
                self.state = State::Closed { since: now };
                self.row = 0;
                self.seconds = [Second::default(); WINDOW];
                Some(Turned::Closed(since.until(now)))
            }
            (State::Open { since, until, .. }, false) => {
                self.state = State::Open { since, until, trying: false };
                None
            }
        }
    }

    /// The server has answered in time in another way, asked at `asked`: a pause is over, but for the first.
    pub(crate) fn hint(&mut self, asked: Millis, now: Millis) {
        if let State::Open { since, until, trying: false } = self.state
            && asked >= since
        {
            self.state = State::Open { since, until: until.min(now.max(since.after(self.rule.first))), trying: false };
        }
    }

    fn next_pause(&mut self, die: f64) -> Duration {
        let doubled = self.rule.first.saturating_mul(1_u32.checked_shl(self.pauses).unwrap_or(u32::MAX));
        self.pauses = self.pauses.saturating_add(1);
        doubled.min(self.rule.longest).mul_f64(0.75 + die.clamp(0.0, 1.0) / 4.0)
    }

    fn count(&mut self, now: Millis, failures: u32) {
        let number = millis_to_second(now);
        let place = usize::try_from(number % WINDOW as u64).unwrap_or_default();
        if let Some(second) = self.seconds.get_mut(place) {
            if second.number != number {
                *second = Second { number, ..Second::default() };
            }
            second.calls = second.calls.saturating_add(1);
            second.failures = second.failures.saturating_add(failures);
        }
    }

    fn counted(&self, now: Millis) -> (u32, u32) {
        let number = millis_to_second(now);
        let young = self.seconds.iter().filter(|second| number.saturating_sub(second.number) < WINDOW as u64);
        young.fold((0, 0), |(calls, failures), second| {
            (calls.saturating_add(second.calls), failures.saturating_add(second.failures))
        })
    }
}

fn millis_to_second(now: Millis) -> u64 {
    now.0 / millis(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZERO: Millis = Millis(1_000_000);

    fn at(ms: u64) -> Millis {
        Millis(ZERO.0 + ms)
    }

    /// With failures in a row until it opens, at that time.
    fn opened(rule: Breaker, ms: u64) -> Circuit {
        let mut circuit = Circuit::new(rule, ZERO);
        for failure in 1..=rule.in_a_row {
            let turned = circuit.note(at(ms), at(ms), false, 1.0);
            assert_eq!(turned, (failure == rule.in_a_row).then_some(Turned::Open), "failure {failure}");
        }
        circuit
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let mut circuit = Circuit::new(Breaker::new(), ZERO);
        for _ in 0..4 {
            assert_eq!(circuit.note(at(0), at(0), false, 1.0), None);
        }
        assert_eq!(circuit.note(at(0), at(0), true, 1.0), None);
        for _ in 0..4 {
            assert_eq!(circuit.note(at(0), at(0), false, 1.0), None);
        }
        assert!(circuit.admits(at(0), 1.0));
        assert_eq!(circuit.note(at(0), at(0), false, 1.0), Some(Turned::Open));
        assert!(!circuit.admits(at(0), 1.0));
        assert_eq!((circuit.state(), circuit.opened()), (BreakerState::Open, 1));
    }

    #[test]
    fn half_of_twenty_within_ten_seconds_open_it_and_what_is_older_is_forgotten() {
        let run = |apart: u64| {
            let mut circuit = Circuit::new(Breaker::new(), ZERO);
            let calls = (0..100_u64).map(|call| circuit.note(at(call * apart), at(call * apart), call.is_multiple_of(2), 1.0));
            calls.take_while(Option::is_none).count()
        };
        assert_eq!(run(100), 19, "the twentieth");
        assert_eq!(run(1_000), 100, "ten at a time");
    }

    #[test]
    fn open_it_lets_one_through_after_each_pause_and_the_pauses_grow_up_to_the_longest() {
        let mut circuit = opened(Breaker::new(), 0);
        let mut tries = Vec::new();
        for ms in 0..10_000 {
            if circuit.admits(at(ms), 1.0) {
                tries.push(ms);
                assert_eq!(circuit.state(), BreakerState::HalfOpen);
                assert!(!circuit.admits(at(ms), 1.0), "one");
                assert_eq!(circuit.note(at(ms), at(ms + 50), false, 1.0), None);
                assert_eq!(circuit.state(), BreakerState::Open);
            }
        }
        assert_eq!(tries, [500, 1_500, 3_500, 5_500, 7_500, 9_500]);
    }

    #[test]
    fn one_that_is_let_through_and_never_heard_of_is_followed_by_another() {
        let mut circuit = opened(Breaker::new(), 0);
        assert!(circuit.admits(at(500), 1.0));
        assert!(!circuit.admits(at(1_499), 1.0) && circuit.admits(at(1_500), 1.0));
    }

    #[test]
    fn what_was_sent_before_it_opened_does_not_close_it_and_what_was_sent_before_it_closed_does_not_open_it() {
        let mut circuit = opened(Breaker::new(), 100);
        assert_eq!(circuit.note(at(99), at(110), true, 1.0), None);
        assert_eq!(circuit.state(), BreakerState::Open);
        assert_eq!(circuit.note(at(600), at(610), true, 1.0), Some(Turned::Closed(Duration::from_millis(510))));
        for _ in 0..10 {
            assert_eq!(circuit.note(at(609), at(700), false, 1.0), None);
        }
        assert!(circuit.admits(at(700), 1.0));
    }

    #[test]
    fn a_hint_ends_a_pause_beyond_the_first_unless_one_is_trying_or_it_is_older_than_the_pause() {
        let mut circuit = opened(Breaker::new(), 100);
        circuit.hint(at(105), at(110));
        assert!(!circuit.admits(at(599), 1.0) && circuit.admits(at(600), 1.0), "the first");
        circuit.hint(at(610), at(620));
        assert!(!circuit.admits(at(620), 1.0), "one is trying");
        assert_eq!(circuit.note(at(600), at(650), false, 1.0), None);
        circuit.hint(at(99), at(660));
        assert!(!circuit.admits(at(660), 1.0), "asked before it opened");
        circuit.hint(at(655), at(660));
        assert!(circuit.admits(at(660), 1.0));
    }

    #[test]
    fn the_pauses_begin_anew_once_it_was_closed_for_long() {
        let reopened = |steady: u64| {
            let mut circuit = opened(Breaker::new(), 0);
            assert!(circuit.admits(at(500), 1.0));
            assert!(circuit.note(at(500), at(500), true, 1.0).is_some());
            let _ = circuit.note(at(500 + steady), at(500 + steady), true, 1.0);
            for _ in 0..5 {
                let _ = circuit.note(at(600 + steady), at(600 + steady), false, 1.0);
            }
            (0..10_000).find(|ms| circuit.admits(at(600 + steady + ms), 1.0))
        };
        assert_eq!((reopened(9_999), reopened(10_000)), (Some(2_000), Some(500)));
    }

    #[test]
    fn off_it_never_opens() {
        let mut circuit = Circuit::new(Breaker::off(), ZERO);
        for _ in 0..1_000 {
            assert_eq!(circuit.note(at(0), at(0), false, 1.0), None);
        }
        assert!(circuit.admits(at(0), 1.0));
    }

    proptest! {
        /// Whatever happens: nothing is let through more often than the shortest pause allows while it is open, and a server that is well from some
        /// time on is asked again within the longest.
        #[test]
        fn it_never_hammers_and_always_comes_back(
            steps in proptest::collection::vec((0_u64..400, any::<bool>(), 0.0_f64..=1.0), 0..200),
        ) {
            let mut circuit = Circuit::new(Breaker::new(), ZERO);
            let (mut now, mut last_try) = (0, None::<u64>);
            for (pass, well, die) in steps {
                now += pass;
                let was = circuit.state();
                if circuit.admits(at(now), die) {
                    if was != BreakerState::Closed {
                        prop_assert!(last_try.is_none_or(|last| now - last >= 375), "{now} after {last_try:?}");
                        last_try = Some(now);
                    }
                    if circuit.note(at(now), at(now), well, die) == Some(Turned::Open) {
                        last_try = Some(now);
                    }
                }
            }
            now += 2_000;
            prop_assert!(circuit.admits(at(now), 1.0));
            let _ = circuit.note(at(now), at(now), true, 1.0);
            prop_assert_eq!(circuit.state(), BreakerState::Closed);
        }
    }
}
