//! The only reader of time. Life and proof are judged by a coarse monotonic clock, and by how long the machine slept; tests turn a manual one
//! by hand.

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

/// Whether tokio's time stands still here but for its sleepers.
#[cfg(feature = "testing")]
#[expect(clippy::disallowed_methods, reason = "the machine's time is what tokio's is compared with")]
pub(crate) fn is_paused() -> bool {
    let (before, machine) = (tokio::time::Instant::now(), std::time::Instant::now());
    // Until the machine's time has moved on for sure.
    while std::time::Instant::now() == machine {
        std::hint::spin_loop();
    }
    tokio::time::Instant::now() == before
}

/// How long something takes, on tokio's clock: exact, and too dear for a hit.
#[derive(Debug)]
pub(crate) struct Stopwatch(tokio::time::Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(tokio::time::Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Where a cache reads the time.
///
/// ```
/// use cachetier::{Clock, InProcess, TieredCache};
///
/// // A cache and its tier by one clock.
/// let (clock, hand) = Clock::manual();
/// let tier = InProcess::with_clock(clock.clone());
/// let builder = TieredCache::builder("test").in_process(&tier).clock(clock);
///
/// // What is used unless told otherwise.
/// let builder = builder.clock(Clock::system());
/// # drop((builder, hand));
/// ```
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

    /// By how much the clock may be behind: what two readings are apart may be more, by that much.
    pub(crate) fn grain(&self) -> Duration {
        match &self.0 {
            // A tick of 10 ms at the most, and what is cut off below a millisecond.
            Source::System => Duration::from_millis(11),
            Source::Manual(_) => Duration::ZERO,
        }
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
///
/// ```
/// use std::time::Duration;
/// use cachetier::{Clock, InProcess};
///
/// let (clock, hand) = Clock::manual();
/// let tier = InProcess::with_clock(clock);
/// tier.put_for("k", b"v", Duration::from_secs(60));
/// hand.advance(Duration::from_secs(59));
/// assert_eq!(tier.len(), 1);
/// hand.advance(Duration::from_secs(1));
/// assert_eq!(tier.len(), 0);
/// ```
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

/// The coarse clocks are read on every hit: they cost a few nanoseconds each where an exact one costs forty.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn system_millis() -> u64 {
    use rustix::time::ClockId;

    static AWAKE: Awake = Awake::new();
    let read = |clock| {
        let now = rustix::time::clock_gettime(clock);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
        seconds.saturating_mul(1_000).saturating_add(nanos / 1_000_000)
    };
    AWAKE.now(read(ClockId::MonotonicCoarse), read(ClockId::RealtimeCoarse), || read(ClockId::Boottime))
}

/// Adds to a clock that stands still while the machine is suspended the time that this took: a proof must not look fresh because of it.
///
/// The one clock that goes on is too dear for a hit. The calendar's is not, and when the two drift apart something has happened: the machine
/// slept, or somebody has set the calendar. Only then the dear one is asked which of the two.
#[cfg(any(target_os = "linux", target_os = "android", test))]
struct Awake {
    /// The calendar's time less that of the clock that may stand still, when they were last compared. Zero: never.
    apart: AtomicU64,
    /// How long the machine has been suspended since it was started.
    slept: AtomicU64,
}

#[cfg(any(target_os = "linux", target_os = "android", test))]
impl Awake {
    /// How far the two may drift apart unnoticed, in milliseconds: far more than they are ticked, far less than any proof lasts.
    const DRIFT: u64 = 100;

    const fn new() -> Self {
        Self { apart: AtomicU64::new(0), slept: AtomicU64::new(0) }
    }

    fn now(&self, monotonic: u64, calendar: u64, since_start: impl FnOnce() -> u64) -> u64 {
        let apart = calendar.wrapping_sub(monotonic);
        if self.apart.load(Ordering::Acquire).abs_diff(apart) > Self::DRIFT {
            // Before the mark: who sees the mark sees how long it was. Never less than before, for no time may be seen to go back.
            self.slept.fetch_max(since_start().saturating_sub(monotonic), Ordering::AcqRel);
            self.apart.store(apart, Ordering::Release);
        }
        monotonic.saturating_add(self.slept.load(Ordering::Acquire))
    }
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
    fn time_that_the_machine_slept_has_passed() {
        let (awake, calendar) = (Awake::new(), 1_700_000_000_000);
        assert_eq!(awake.now(1_000, calendar, || 1_000), 1_000);
        assert_eq!(awake.now(1_500, calendar + 500, || panic!("nothing has happened")), 1_500);
        // An hour of sleep, of which only the calendar and the clock that goes on know.
        assert_eq!(awake.now(1_501, calendar + 3_600_501, || 3_601_501), 3_601_501);
        assert_eq!(awake.now(1_600, calendar + 3_600_600, || panic!("it has been asked")), 3_601_600);
        // The calendar is set back, and set forward: that is no sleep.
        assert_eq!(awake.now(1_700, calendar - 9_000, || 3_601_700), 3_601_700);
        assert_eq!(awake.now(1_800, calendar + 9_000_000, || 3_601_800), 3_601_800);
        // Two coarse clocks do not agree to the millisecond.
        assert_eq!(awake.now(1_900, calendar + 9_000_104, || panic!("no more than ticks")), 3_601_900);
        assert_eq!(awake.now(1_900, calendar + 9_000_500, || 3_601_895), 3_601_900, "and it never goes back");
    }

    #[test]
    fn the_machines_clock_agrees_with_the_one_that_goes_on_when_it_sleeps() {
        let clock = Clock::system();
        let before = clock.now();
        #[cfg(target_os = "linux")]
        {
            let since_start = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
            let millis =
                u64::try_from(since_start.tv_sec).unwrap() * 1_000 + u64::try_from(since_start.tv_nsec).unwrap() / 1_000_000;
            assert!(before.0.abs_diff(millis) < 1_000, "{before:?}, and {millis} since the machine was started");
        }
        assert!(clock.now() >= before);
    }

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
