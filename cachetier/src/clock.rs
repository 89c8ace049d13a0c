//! The only reader of time. Life and proof are judged by a coarse monotonic clock; tests turn a manual one by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Milliseconds on one process's own clock. Its zero means nothing: only differences do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Millis(pub(crate) u64);

impl Millis {
    /// Later than every time a clock will show.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// This time moved on by `by`, at most to [`Millis::NEVER`].
    pub(crate) fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// What is left from this time until `later`; zero when it has passed.
    pub(crate) fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }
}

/// Whole milliseconds of a duration, saturating.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Ends when `by` has passed from *now*, whenever it is awaited: the timer is made only then, so this may be called outside of a
/// runtime.
pub(crate) fn pause(by: Duration) -> impl Future<Output = ()> + Send + 'static {
    let until = tokio::time::Instant::now().checked_add(by);
    async move {
        match until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }
}

/// Where a cache reads the time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// Returns the machine's monotonic clock: what a cache uses unless told otherwise.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Returns a clock that stands still, and the hand that moves it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cachetier::Clock;
    ///
    /// let (clock, hand) = Clock::manual();
    /// // `clock` goes into a builder; `hand` stays with the test.
    /// hand.advance(Duration::from_secs(60));
    /// # drop(clock);
    /// ```
    #[must_use]
    pub fn manual() -> (Self, ManualClock) {
        // Not zero: a time of zero would hide a deadline that was never set.
        let millis = Arc::new(AtomicU64::new(1_000_000));
        (Self(Source::Manual(Arc::clone(&millis))), ManualClock { millis })
    }

    pub(crate) fn now(&self) -> Millis {
        match &self.0 {
            Source::System => Millis(system_millis()),
            Source::Manual(millis) => Millis(millis.load(Ordering::Acquire)),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

/// Moves the [`Clock`] it was made with.
#[derive(Clone, Debug)]
pub struct ManualClock {
    millis: Arc<AtomicU64>,
}

impl ManualClock {
    /// Moves the clock forward, at most to the end of its time.
    pub fn advance(&self, by: Duration) {
        let last = Millis::NEVER.0 - 1;
        let moved = |now: u64| Some(now.saturating_add(millis(by)).min(last));
        // It always moves.
        let _ = self.millis.fetch_update(Ordering::AcqRel, Ordering::Acquire, moved);
    }
}

/// The coarse clock is read on every hit: it costs a few nanoseconds where the exact one costs forty.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn system_millis() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(1_000).saturating_add(nanos / 1_000_000)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
fn system_millis() -> u64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    millis(START.get_or_init(std::time::Instant::now).elapsed()).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_never_goes_back() {
        let (clock, hand) = Clock::manual();
        hand.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Millis(1_001_000));
        for _ in 0..2 {
            hand.advance(Duration::MAX);
            assert_eq!(clock.now(), Millis(u64::MAX - 1));
        }
    }
}
