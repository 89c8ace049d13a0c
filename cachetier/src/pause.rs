//! Pauses at named points, so that the chaos test meets the moments between two steps more often than they last. Compiled for it alone, and
//! idle until a seed is given.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::sync::{Mutex, lock};

/// One in so many times a point is passed, somebody pauses there.
const SELDOM: u32 = 24;
/// The longest pause, in microseconds; most are far shorter.
const LONGEST: u64 = 40_000;

static ON: AtomicBool = AtomicBool::new(false);
static DICE: Mutex<Option<fastrand::Rng>> = Mutex::new(None);

/// Where a pause may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// The shared tier has answered a read.
    AfterReply,
    /// The shared tier has not answered a probe.
    AfterSilence,
    /// A value is about to enter L1.
    BeforeInsertion,
    /// An own invalidation holds here and is about to be sent.
    BeforeSending,
    /// An own invalidation is answered and has not been applied again.
    BeforeSecondDrop,
}

/// From now on this process pauses.
pub fn begin(seed: u64) {
    *lock(&DICE) = Some(fastrand::Rng::with_seed(seed));
    ON.store(true, Ordering::Release);
}

/// Pauses here, seldom.
pub(crate) async fn at(point: Point) {
    if !ON.load(Ordering::Acquire) {
        return;
    }
    let drawn = lock(&DICE).as_mut().and_then(|dice| drawn(dice, point));
    if let Some(pause) = drawn {
        tokio::time::sleep(pause).await;
    }
}

fn drawn(dice: &mut fastrand::Rng, point: Point) -> Option<Duration> {
    // A silence is rare: each is worth a pause.
    let seldom = if point == Point::AfterSilence { 2 } else { SELDOM };
    let share = dice.f64().powi(4);
    (dice.u32(0..seldom) == 0).then(|| Duration::from_micros(LONGEST).mul_f64(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_seldom_mostly_short_and_never_too_long() {
        let mut dice = fastrand::Rng::with_seed(1);
        let pauses: Vec<Duration> = (0..100_000).filter_map(|_| drawn(&mut dice, Point::AfterReply)).collect();
        assert!((3_000..6_000).contains(&pauses.len()), "{}", pauses.len());
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_micros(LONGEST)));
        let short = pauses.iter().filter(|pause| **pause < Duration::from_millis(3)).count();
        assert!(short * 10 > pauses.len() * 4 && short < pauses.len(), "{short} of {}", pauses.len());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_pauses_before_a_seed_is_given() {
        let begin = tokio::time::Instant::now();
        for _ in 0..1_000 {
            at(Point::AfterSilence).await;
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
