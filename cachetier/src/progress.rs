//! How far the lane is applied here in one unbroken line, and who waits for a point of it. What applying means is `coherence`'s; the
//! highest point *known* is `view`'s, and may lie beyond: an own bump is known before those of others that came before it are heard.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::rule::seq::Point;

/// A check of the lane, numbered from one in the order in which they are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Check(u64);

/// The cache has been closed: nothing more is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// How far this instance has come.
#[derive(Debug)]
pub(crate) struct Progress {
    reached: watch::Sender<Reached>,
    asked: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    /// Everything on the lane up to here is applied: copies dropped, table written.
    applied: Point,
    /// The latest check that found the lane in that era.
    confirmed: Check,
    closed: bool,
}

impl Reached {
    fn go_on_to(&mut self, applied: Point) {
        if applied.era == self.applied.era {
            self.applied.seq = self.applied.seq.max(applied.seq);
        }
    }

    /// Whether `token` lies behind this, for a call that began when `asked` was the latest check asked.
    ///
    /// Seqs of two eras do not compare. But a lane that is in an era *after* somebody was given a point of another one has left that
    /// other one behind: whatever it held was over before the epoch began here that met the present one.
    fn covers(&self, point: Point, asked: Check) -> bool {
        if self.applied.era == point.era { self.applied.seq >= point.seq } else { self.confirmed > asked }
    }
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { reached: watch::Sender::new(Reached::default()), asked: AtomicU64::new(0) }
    }

    /// Numbers a check, before it is sent.
    pub(crate) fn ask(&self) -> Check {
        Check(self.asked.fetch_add(1, Ordering::AcqRel).saturating_add(1))
    }

    /// The lane is applied up to here, in the era that a check has found. Last of all that applying is.
    pub(crate) fn apply(&self, applied: Point) {
        self.reached.send_if_modified(|reached| {
            reached.go_on_to(applied);
            // Nobody is told where nobody waits, which costs more than all else here: who comes next looks first.
            self.reached.receiver_count() > 0
        });
    }

    /// The lane is applied up to here, and `check` has found it in that era. Of two that end out of order the later asked tells the era.
    pub(crate) fn confirm(&self, applied: Point, check: Check) {
        self.reached.send_modify(|reached| {
            if check > reached.confirmed {
                reached.confirmed = check;
                if reached.applied.era != applied.era {
                    reached.applied = applied;
                }
            }
            reached.go_on_to(applied);
        });
    }

    /// Ends every wait.
    pub(crate) fn close(&self) {
        self.reached.send_modify(|reached| reached.closed = true);
    }

    /// The point up to which the lane is applied.
    pub(crate) fn applied(&self) -> Point {
        self.reached.borrow().applied
    }

    /// Returns when the lane is applied up to `token`.
    pub(crate) async fn wait(&self, point: Point) -> Result<(), Closed> {
        // Noted before anything is looked at: a check that is numbered later is sent after this call, so after `point` was given.
        let asked = Check(self.asked.load(Ordering::Acquire));
        let mut reached = self.reached.subscribe();
        // The sender lives as long as `self`.
        let reached = reached.wait_for(|reached| reached.closed || reached.covers(point, asked)).await.map_err(|_| Closed)?;
        if reached.closed { Err(Closed) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::rule::seq::{Era, Seq};

    fn at(era: u32, seq: u64) -> Point {
        Point { era: Era(era), seq: Seq(seq) }
    }

    /// A wait, looked at when the test says so.
    struct Wait<'a>(std::pin::Pin<Box<dyn Future<Output = Result<(), Closed>> + 'a>>);

    impl<'a> Wait<'a> {
        /// Begins it.
        fn for_token(progress: &'a Progress, point: Point) -> Self {
            let mut wait = Self(Box::pin(progress.wait(point)));
            assert_eq!(wait.look(), Poll::Pending, "{point} was reached at once");
            wait
        }

        fn look(&mut self) -> Poll<Result<(), Closed>> {
            self.0.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        }
    }

    #[test]
    fn a_point_is_reached_once_all_up_to_it_is_applied() {
        let progress = Progress::new();
        let mut wait = Wait::for_token(&progress, at(7, 10));
        progress.confirm(at(7, 8), progress.ask());
        assert_eq!(wait.look(), Poll::Pending);
        progress.apply(at(7, 9));
        assert_eq!(wait.look(), Poll::Pending);
        progress.apply(at(7, 10));
        assert_eq!(wait.look(), Poll::Ready(Ok(())));
    }

    #[test]
    fn a_point_of_an_era_that_is_left_is_reached_by_a_check_asked_after_the_wait_began() {
        let progress = Progress::new();
        progress.confirm(at(7, 8), progress.ask());
        let before = progress.ask();
        let mut wait = Wait::for_token(&progress, at(3, 900));
        // Asked before: the lane may have begun era 3 since.
        progress.confirm(at(7, 9), before);
        assert_eq!(wait.look(), Poll::Pending);
        progress.apply(at(7, 1_000));
        assert_eq!(wait.look(), Poll::Pending);
        progress.confirm(at(7, 1_000), progress.ask());
        assert_eq!(wait.look(), Poll::Ready(Ok(())));
    }

    #[test]
    fn a_point_of_an_era_that_is_not_met_yet_is_waited_for() {
        let progress = Progress::new();
        progress.confirm(at(7, 8), progress.ask());
        let mut wait = Wait::for_token(&progress, at(9, 5));
        progress.apply(at(7, 50));
        assert_eq!(wait.look(), Poll::Pending);
        progress.confirm(at(9, 4), progress.ask());
        assert_eq!(wait.look(), Poll::Pending);
        progress.apply(at(9, 5));
        assert_eq!(wait.look(), Poll::Ready(Ok(())));
    }

    #[test]
    fn a_close_ends_every_wait() {
        let progress = Progress::new();
        let mut wait = Wait::for_token(&progress, at(7, 10));
        progress.close();
        assert_eq!(wait.look(), Poll::Ready(Err(Closed)));
        progress.apply(at(7, 10));
        assert_eq!(Wait(Box::pin(progress.wait(at(7, 10)))).look(), Poll::Ready(Err(Closed)));
    }
}
