//! A ttl that is learned from how often a value is found to have changed. Numbers in, numbers out; its state is the ttl itself.

use std::time::Duration;

use crate::error::ConfigError;

/// A ttl that is learned: see [`Policy::learned_ttl`](crate::Policy::learned_ttl).
///
/// Each time that a value is loaded anew while the one before it is at hand, its ttl grows a little if it is the same, and is halved if it is not: by so
/// much that in the long run it has changed in the chosen share of loads. What changes every hour is then asked for more seldom than what changes every
/// minute, without anybody having said which is which.
///
/// ```
/// use std::time::Duration;
/// use cachetier::{LearnedTtl, Policy};
///
/// // In one load out of five something new is found.
/// let learned = LearnedTtl::between(Duration::from_secs(5), Duration::from_secs(3_600)).changed_percent(20);
/// let policy = Policy::ttl(Duration::from_secs(60)).stale_for(Duration::from_secs(3_600)).learned_ttl(learned);
/// assert!(policy.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnedTtl {
    least: Duration,
    most: Duration,
    changed: u8,
}

impl LearnedTtl {
    /// Within these bounds. In a tenth of the loads something is to have changed, unless told [otherwise](LearnedTtl::changed_percent).
    #[must_use]
    pub const fn between(least: Duration, most: Duration) -> Self {
        Self { least, most, changed: 10 }
    }

    /// In what share of loads the value is to have changed, in percent: less for fresher values and more loads. Defaults to 10; 1 to 50.
    #[must_use]
    pub const fn changed_percent(mut self, percent: u8) -> Self {
        self.changed = percent;
        self
    }

    pub(super) fn check(self) -> Result<(), ConfigError> {
        if self.least.is_zero() || self.least > self.most {
            let found = format!("{:?} to {:?}", self.least, self.most);
            return Err(ConfigError::new("learned_ttl", &found, "a least above 0 and at most the most"));
        }
        if !(1..=50).contains(&self.changed) {
            return Err(ConfigError::new("learned_ttl", &format!("{} % changed", self.changed), "1 to 50 %"));
        }
        Ok(())
    }

    /// The ttl of a value that nothing is known of.
    pub(crate) fn first(self, ttl: Duration) -> Duration {
        ttl.clamp(self.least, self.most)
    }

    /// The ttl of a value that takes the place of one with this ttl: of the same, or of another.
    ///
    /// Its logarithm goes up by a step in each load that finds no change, and down by one in each that does. It stands still where both even out: so the
    /// step up is to the step down, ln 2, as the chosen share of changes is to the rest.
    pub(crate) fn next(self, ttl: Duration, changed: bool) -> Duration {
        let share = f64::from(self.changed) / 100.0;
        let factor = if changed { 0.5 } else { (share / (1.0 - share) * std::f64::consts::LN_2).exp() };
        // Far below what a duration holds: the bounds are, and the factor is at most 2.
        let next = ttl.clamp(self.least, self.most).as_secs_f64() * factor;
        Duration::try_from_secs_f64(next).unwrap_or(self.most).clamp(self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEARNED: LearnedTtl = LearnedTtl::between(Duration::from_millis(10), Duration::from_secs(100_000));

    /// The share of loads that find a change, and the mean ttl, of a value that changes at random so often.
    fn simulated(learned: LearnedTtl, mean_between_changes: f64) -> (f64, f64) {
        let (mut rng, mut ttl) = (fastrand::Rng::with_seed(7), Duration::from_secs(60));
        let (mut found, mut sum, loads) = (0_u32, 0.0, 200_000_u32);
        for _ in 0..loads {
            let changed = rng.f64() < 1.0 - (-ttl.as_secs_f64() / mean_between_changes).exp();
            found += u32::from(changed);
            sum += ttl.as_secs_f64();
            ttl = learned.next(ttl, changed);
        }
        (f64::from(found) / f64::from(loads), sum / f64::from(loads))
    }

    #[test]
    fn it_finds_a_change_as_often_as_it_is_to_and_lives_nearly_as_long_as_is_best_for_that() {
        for mean in [30.0, 300.0, 3_000.0] {
            for percent in [5, 10, 30] {
                let share = f64::from(percent) / 100.0;
                let (found, ttl) = simulated(LEARNED.changed_percent(percent), mean);
                let best = -(1.0 - share).ln() * mean;
                println!("changes each {mean} s, {percent} %: found in {:.1} %, ttl {ttl:.1} s, best {best:.1} s", found * 100.0);
                assert!((found / share - 1.0).abs() < 0.1, "{found} of the loads, expected {share}");
                assert!((ttl / best - 1.0).abs() < 0.1, "{ttl} s, best would be {best} s");
            }
        }
    }

    #[test]
    fn it_stays_within_its_bounds_and_follows_soon() {
        let learned = LearnedTtl::between(Duration::from_secs(10), Duration::from_secs(1_000));
        assert_eq!(learned.next(Duration::from_secs(11), true), Duration::from_secs(10));
        assert_eq!(learned.next(Duration::from_secs(999), false), Duration::from_secs(1_000));
        assert_eq!(
            (learned.first(Duration::MAX), learned.first(Duration::ZERO)),
            (Duration::from_secs(1_000), Duration::from_secs(10))
        );
        assert_eq!(learned.next(Duration::MAX, false), Duration::from_secs(1_000));
        // A hundred times as many changes: seven halvings.
        let halved = (0..7).fold(Duration::from_secs(1_000), |ttl, _| learned.next(ttl, true));
        assert_eq!(halved, Duration::from_secs(10));
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let second = Duration::from_secs(1);
        for bad in [
            LearnedTtl::between(Duration::ZERO, second),
            LearnedTtl::between(2 * second, second),
            LEARNED.changed_percent(0),
            LEARNED.changed_percent(51),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        assert_eq!(LearnedTtl::between(second, second).check(), Ok(()));
    }
}
