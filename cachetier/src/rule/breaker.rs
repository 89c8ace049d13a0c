//! When a server that is silent or slow is asked no longer for what can be done without: as it is told, and as it is shown. What goes by it is `circuit`'s.

use std::time::Duration;

use crate::error::ConfigError;

/// When a server that is silent or slow is asked no longer: [`CacheBuilder::breaker`](crate::CacheBuilder::breaker).
///
/// What counts is silence, a command without an answer in its time, and an answer that came later than a read would have waited for it; not of calls for many
/// keys, whose answers may be large. What the
/// server refuses does not count: it has answered. Nor does a connection that breaks: until there is another one, nothing is asked anyway.
///
/// While it is open, reads and fills fail at once and the loader answers. Invalidations and `set` are sent in any case, and wait for their own limit. One
/// call after each pause is let through, and with its answer all are; an answer over the connection of the subscription ends a pause early.
///
/// ```
/// use std::time::Duration;
/// use cachetier::{Breaker, TieredCache};
///
/// let patient = Breaker::new().in_a_row(20).share(80, 100).pause(Duration::from_millis(100), Duration::from_secs(1));
/// let builder = TieredCache::builder("shop").breaker(patient);
///
/// // Each read waits for the server, up to the read limit.
/// let builder = builder.breaker(Breaker::off());
/// # drop(builder);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it does nothing until it is given to a builder"]
pub struct Breaker {
    pub(super) on: bool,
    pub(super) in_a_row: u32,
    pub(super) percent: u32,
    pub(super) of: u32,
    pub(super) first: Duration,
    pub(super) longest: Duration,
}

const LONGEST: Duration = Duration::from_secs(3_600);

impl Default for Breaker {
    fn default() -> Self {
        Self::new()
    }
}

impl Breaker {
    /// Opens after 5 failures in a row, or if half of 20 calls or more fail within 10 s; for half a second at first, and for 2 s at most.
    ///
    /// ```
    /// assert_eq!(cachetier::Breaker::new(), cachetier::Breaker::default());
    /// ```
    pub const fn new() -> Self {
        Self { on: true, in_a_row: 5, percent: 50, of: 20, first: Duration::from_millis(500), longest: Duration::from_secs(2) }
    }

    /// Never opens.
    ///
    /// ```
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").breaker(Breaker::off());
    /// ```
    pub const fn off() -> Self {
        Self { on: false, ..Self::new() }
    }

    /// Opens after so many failures in a row.
    ///
    /// ```
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").breaker(Breaker::new().in_a_row(10));
    /// ```
    pub const fn in_a_row(mut self, failures: u32) -> Self {
        self.in_a_row = failures;
        self
    }

    /// Opens if so many of a hundred calls fail, of at least `of` within 10 s.
    ///
    /// ```
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").breaker(Breaker::new().share(20, 100));
    /// ```
    pub const fn share(mut self, percent: u32, of: u32) -> Self {
        self.percent = percent;
        self.of = of;
        self
    }

    /// How long nothing is asked: for `first` when it opens, twice as long after each call in vain, and for `longest` at most.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let short = Breaker::new().pause(Duration::from_millis(50), Duration::from_millis(500));
    /// let builder = TieredCache::builder("shop").breaker(short);
    /// ```
    pub const fn pause(mut self, first: Duration, longest: Duration) -> Self {
        self.first = first;
        self.longest = longest;
        self
    }

    /// Says what is wrong, if anything is.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let bad = |found: String, expected| Err(ConfigError::new("breaker", &found, expected));
        match self {
            Self { in_a_row: 0, .. } => bad("0 failures in a row".to_owned(), "1 or more"),
            Self { percent, .. } if !(1..=100).contains(percent) => bad(format!("{percent} % of calls"), "1 to 100"),
            Self { of: 0, .. } => bad("a share of 0 calls".to_owned(), "1 or more"),
            Self { first, .. } if *first < Duration::from_millis(1) => bad(format!("a pause of {first:?}"), "1 ms or more"),
            Self { first, longest, .. } if longest < first => {
                bad(format!("a longest pause of {longest:?}"), "no less than the first")
            }
            Self { longest, .. } if *longest > LONGEST => bad(format!("a longest pause of {longest:?}"), "at most an hour"),
            _ => Ok(()),
        }
    }
}

/// Whether the shared tier is asked: [`Stats::breaker`](crate::Stats::breaker).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), cachetier::ConfigError> {
/// use cachetier::{BreakerState, TieredCache};
///
/// let cache = TieredCache::builder("shop").build().await?;
/// assert_eq!(cache.stats().breaker, BreakerState::Closed);
/// assert_eq!(BreakerState::HalfOpen.to_string(), "half open");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BreakerState {
    /// It is.
    #[default]
    Closed,
    /// One call is under way, on whose answer it depends.
    HalfOpen,
    /// It is not, but for invalidations.
    Open,
}

impl std::fmt::Display for BreakerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half open",
            Self::Open => "open",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_cannot_be_used_says_why() {
        let check = |rule: Breaker| rule.check().map_err(|error| error.to_string());
        let expect = |text: &str| Err(format!("breaker is {text}"));
        assert_eq!(check(Breaker::new()), Ok(()));
        assert_eq!(check(Breaker::new().in_a_row(0)), expect("0 failures in a row, expected 1 or more"));
        assert_eq!(check(Breaker::new().share(0, 20)), expect("0 % of calls, expected 1 to 100"));
        assert_eq!(check(Breaker::new().share(101, 20)), expect("101 % of calls, expected 1 to 100"));
        assert_eq!(check(Breaker::new().share(50, 0)), expect("a share of 0 calls, expected 1 or more"));
        let (none, second) = (Duration::ZERO, Duration::from_secs(1));
        assert_eq!(check(Breaker::new().pause(none, second)), expect("a pause of 0ns, expected 1 ms or more"));
        let day = Duration::from_secs(24 * 3_600);
        assert_eq!(check(Breaker::new().pause(second, day)), expect("a longest pause of 86400s, expected at most an hour"));
        assert_eq!(check(Breaker::new().pause(second, none)), expect("a longest pause of 0ns, expected no less than the first"));
    }
}
