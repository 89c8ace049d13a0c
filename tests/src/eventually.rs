//! The only helper that polls: a condition, a deadline, a text for the failure. A test that waits otherwise waits at a gate.

use std::future::poll_fn;
use std::panic::Location;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Between two looks: short beside any deadline, long beside what a look costs.
const PAUSE: Duration = Duration::from_millis(5);

/// Returns once `condition` holds.
///
/// # Panics
/// When it does not hold `within` the time given; `what` then says what did not come about.
#[track_caller]
pub fn eventually(within: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Deadline::after(within);
    while !condition() {
        assert!(!deadline.passed(), "not within {within:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Returns once `condition` holds. The time is the machine's also where the runtime's is paused, and a condition that hangs is
/// given up at the deadline.
///
/// # Panics
/// When it does not hold `within` the time given; `what` then says what did not come about.
#[track_caller]
pub fn eventually_async(within: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let deadline = Deadline::after(within);
        let polling = async {
            while !condition().await {
                if deadline.passed() {
                    return false;
                }
                tokio::time::sleep(PAUSE).await;
            }
            true
        };
        let held = tokio::time::timeout(within + PAUSE, polling).await.unwrap_or(false);
        assert!(held, "not within {within:?}: {what} (asked at {caller})");
    }
}

/// Polls `call` until `condition` holds, and no more: then it is under way, to be dropped or to be gone on with.
///
/// # Panics
/// When the call ends before, or the condition does not hold `within` the time given.
#[track_caller]
pub fn under_way<F: Future>(
    within: Duration,
    what: &str,
    mut call: Pin<&mut F>,
    mut condition: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    eventually_async(within, what, async move || {
        let pending = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending())).await;
        assert!(pending, "the call has ended");
        condition().await
    })
}

/// A point of the machine's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    #[expect(clippy::disallowed_methods, reason = "a real server keeps the machine's time, not an injected one")]
    pub(crate) fn after(within: Duration) -> Self {
        Self(Instant::now() + within)
    }

    #[expect(clippy::disallowed_methods, reason = "a real server keeps the machine's time, not an injected one")]
    pub(crate) fn passed(self) -> bool {
        Instant::now() >= self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    #[test]
    fn a_condition_that_comes_true_ends_the_wait() {
        let mut looks = 0;
        eventually(Duration::from_secs(10), "the third look", || {
            looks += 1;
            looks == 3
        });
        assert_eq!(looks, 3);
    }

    #[test]
    #[should_panic(expected = "not within 50ms: the impossible")]
    fn a_condition_that_stays_false_is_named_at_the_deadline() {
        eventually(SOON, "the impossible", || false);
    }

    #[tokio::test]
    async fn an_async_condition_that_comes_true_ends_the_wait() {
        let mut looks = 0;
        eventually_async(Duration::from_secs(10), "the third look", async || {
            looks += 1;
            looks == 3
        })
        .await;
        assert_eq!(looks, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "not within 50ms: the impossible (asked at ")]
    async fn an_async_condition_that_stays_false_is_named_at_the_deadline() {
        eventually_async(SOON, "the impossible", async || false).await;
    }

    #[tokio::test]
    #[should_panic(expected = "not within 50ms: an answer")]
    async fn an_async_condition_that_hangs_is_given_up_at_the_deadline() {
        eventually_async(SOON, "an answer", async || std::future::pending().await).await;
    }
}
