//! When a value is asked for anew before its life is over. Times and dice in, verdicts out.

use std::time::Duration;

use crate::clock::{Millis, millis};
use crate::error::ConfigError;

/// When a value is asked for anew before its life is over, so that nobody has to wait for it: see
/// [`Policy::early_refresh`](crate::Policy::early_refresh). It is when *a read* finds it due: what nobody reads is not refreshed.
///
/// ```
/// use std::time::Duration;
/// use cachetier::{EarlyRefresh, Policy};
///
/// // From the 48th second on.
/// const BY_AGE: Policy = Policy::ttl(Duration::from_secs(60)).early_refresh(EarlyRefresh::after_percent(80));
/// // The sooner, the longer its load takes and the more often it is read.
/// const BY_CHANCE: Policy = Policy::ttl(Duration::from_secs(60)).early_refresh(EarlyRefresh::xfetch());
/// # assert!(BY_AGE.check().is_ok() && BY_CHANCE.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlyRefresh(When);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// From this share of its life on, in percent.
    After(u8),
    /// By chance, with so many percent of the time that its load took as the mean.
    Chance(u16),
}

/// So many times the mean is as far as chance is looked at: one read in nine million goes further.
const FARTHEST: u64 = 16;

impl EarlyRefresh {
    /// From this share of its life on, in percent: 1 to 99.
    #[must_use]
    pub const fn after_percent(percent: u8) -> Self {
        Self(When::After(percent))
    }

    /// By chance: each read refreshes with a probability that grows as the end of the life comes nearer, by how long the load has taken. A value that
    /// takes long to load and is read often is refreshed early, one that is read seldom hardly at all. This is `XFetch`, of "Optimal Probabilistic
    /// Cache Stampede Prevention" by Vattani, Chierichetti and Lowenstein (2015), with β = 1; the [lease](crate::CacheBuilder::lease) of the value then has
    /// one instance load it, and not the few that chance would choose.
    #[must_use]
    pub const fn xfetch() -> Self {
        Self::xfetch_percent(100)
    }

    /// [`EarlyRefresh::xfetch`] with another β, in percent: above 100 earlier, below later. 1 to 1,000.
    ///
    /// Read r times a second, a value whose load takes d is refreshed about `β · d · (ln(r · β · d) + 0.58)` before its end: with 2,000 reads a second
    /// and 200 ms, 1.3 s for 100 and 0.3 s for 25.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// const SHORT: Policy = Policy::ttl(Duration::from_secs(2)).early_refresh(EarlyRefresh::xfetch_percent(50));
    /// # assert!(SHORT.check().is_ok());
    /// ```
    #[must_use]
    pub const fn xfetch_percent(beta: u16) -> Self {
        Self(When::Chance(beta))
    }

    pub(super) fn check(self) -> Result<(), ConfigError> {
        match self.0 {
            When::After(percent) if !(1..100).contains(&percent) => {
                Err(ConfigError::new("early_refresh", &format!("{percent} %"), "1 to 99 % of the life"))
            }
            When::Chance(beta) if !(1..=1_000).contains(&beta) => {
                Err(ConfigError::new("early_refresh", &format!("{beta} %"), "1 to 1000 % of the time that a load takes"))
            }
            _ => Ok(()),
        }
    }

    /// The same for a value that lives for `whole`, until `end`, and took so long to load.
    pub(crate) fn of(self, whole: Duration, end: Millis, cost: Duration) -> Early {
        match self.0 {
            When::After(percent) => {
                let left = whole.mul_f64(f64::from(100_u8.saturating_sub(percent)) / 100.0);
                Early { from: Millis(end.0.saturating_sub(millis(left))), end, mean: 0 }
            }
            When::Chance(beta) => {
                let mean = millis(cost).max(1).saturating_mul(u64::from(beta)).div_ceil(100);
                let farthest = mean.saturating_mul(FARTHEST).min(millis(whole));
                Early { from: Millis(end.0.saturating_sub(farthest)), end, mean: u32::try_from(mean).unwrap_or(u32::MAX) }
            }
        }
    }
}

/// When an entry is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Early {
    /// Never before.
    pub(crate) from: Millis,
    end: Millis,
    /// How long before the end on average, if it is by chance.
    mean: u32,
}

impl Early {
    /// Not before its end.
    pub(crate) const NEVER: Self = Self { from: Millis::NEVER, end: Millis::NEVER, mean: 0 };

    /// Whether a read at `now` finds it due. Of the dice, all values from 0 to 1 are as likely.
    pub(crate) fn is_due(&self, now: Millis, dice: f64) -> bool {
        if now < self.from {
            return false;
        }
        let before = -f64::from(self.mean) / 1e3 * dice.max(f64::MIN_POSITIVE).ln();
        self.mean == 0 || Duration::from_secs_f64(before) >= now.until(self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const END: Millis = Millis(1_060_000);

    #[test]
    fn by_age_it_is_due_from_its_share_of_the_life_on() {
        let early = EarlyRefresh::after_percent(80).of(MINUTE, END, Duration::ZERO);
        for dice in [0.0, 0.5, 1.0] {
            assert!(!early.is_due(Millis(1_047_999), dice));
            assert!(early.is_due(Millis(1_048_000), dice) && early.is_due(END, dice));
        }
    }

    #[test]
    fn by_chance_it_is_due_as_often_as_was_proven_best() {
        let early = EarlyRefresh::xfetch().of(MINUTE, END, Duration::from_secs(1));
        // One mean before the end it is one read in e, at the end every one.
        let share = |before: u64| {
            let mut rng = fastrand::Rng::with_seed(7);
            let due = (0..100_000).filter(|_| early.is_due(Millis(END.0 - before), rng.f64())).count();
            f64::from(u32::try_from(due).unwrap()) / 100_000.0
        };
        for (before, expected) in [(0, 1.0), (1_000, (-1.0_f64).exp()), (3_000, (-3.0_f64).exp()), (30_000, 0.0)] {
            assert!((share(before) - expected).abs() < 0.01, "{before} ms before: {}, expected {expected}", share(before));
        }
    }

    #[test]
    fn it_is_never_due_before_it_was_stored_nor_at_no_cost_for_ever() {
        let early = EarlyRefresh::xfetch_percent(1_000).of(MINUTE, END, Duration::from_secs(3_600));
        assert!(!early.is_due(Millis(END.0 - 60_001), 0.0) && early.is_due(Millis(END.0 - 60_000), 0.0));
        let early = EarlyRefresh::xfetch().of(MINUTE, END, Duration::ZERO);
        assert!(early.is_due(END, 1.0) && !early.is_due(Millis(END.0 - 20), 0.5));
        assert!(!Early::NEVER.is_due(Millis(u64::MAX - 1), 0.0));
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let check = |early: EarlyRefresh| early.check().err().map(|error| error.to_string());
        assert_eq!(check(EarlyRefresh::after_percent(0)).as_deref(), Some("early_refresh is 0 %, expected 1 to 99 % of the life"));
        assert!(check(EarlyRefresh::after_percent(100)).is_some() && check(EarlyRefresh::xfetch_percent(0)).is_some());
        assert!(check(EarlyRefresh::xfetch_percent(1_001)).is_some());
        for fine in [EarlyRefresh::after_percent(1), EarlyRefresh::after_percent(99), EarlyRefresh::xfetch()] {
            assert_eq!(fine.check(), Ok(()));
        }
    }
}
