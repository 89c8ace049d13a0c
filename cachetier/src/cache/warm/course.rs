//! The course of a warming: which batch is begun when, and what has come of all so far. Where the keys come from and what is done with them, its caller says.
//!
//! One task polls all of it. So there is no lock: the keys, the loads and the progress are the user's, and whichever of them panics or is dropped leaves
//! nobody behind.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::sleep;

use super::{Progress, Source, WarmCounts, Warmed};
use crate::clock::Stopwatch;
use crate::error::LoadError;

/// What a warming keeps to.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// Keys of a batch.
    pub(super) batch: usize,
    /// Batches under way.
    pub(super) at_once: usize,
    /// Keys.
    pub(super) per_second: Option<u32>,
    /// Batches that fail one after the other.
    pub(super) give_up_after: usize,
}

/// What became of one batch.
pub(super) enum Batch<E> {
    Done(WarmCounts),
    Failed(u64, LoadError<E>),
}

pub(super) struct Course<'a, S, E> {
    pace: Pace,
    /// None when they have ended, or it was given up.
    keys: Option<S>,
    /// What is to be the next batch.
    next: Vec<String>,
    /// When it is due, from the begin on.
    due: Duration,
    counts: WarmCounts,
    /// Batches that have failed one after the other.
    in_a_row: usize,
    gave_up: bool,
    error: Option<LoadError<E>>,
    progress: Option<Progress<'a>>,
}

impl<'a, S: Source, E> Course<'a, S, E> {
    pub(super) fn new(keys: S, pace: Pace, progress: Option<Progress<'a>>) -> Self {
        let (next, due, counts) = (Vec::new(), Duration::ZERO, WarmCounts::default());
        Self { pace, keys: Some(keys), next, due, counts, in_a_row: 0, gave_up: false, error: None, progress }
    }

    /// Begins a batch whenever there is room for it, until there are no more.
    ///
    /// Cancel safety: dropped, it drops the keys and what is under way.
    pub(super) async fn run<F: Future<Output = Batch<E>>>(mut self, work: impl Fn(Vec<String>) -> F) -> Warmed<E> {
        let (work, watch) = (&work, &Stopwatch::start());
        let begin = |keys: Vec<String>, due: Duration| async move {
            if !due.is_zero() {
                sleep(due.saturating_sub(watch.elapsed())).await;
            }
            work(keys).await
        };
        let mut running = Vec::new();
        poll_fn(|context| self.turn(&mut running, (begin, watch), context)).await;
        let Self { counts, gave_up, error, .. } = self;
        Warmed { counts, took: watch.elapsed(), gave_up, error }
    }

    fn turn<F: Future<Output = Batch<E>>>(
        &mut self,
        running: &mut Vec<Pin<Box<F>>>,
        (begin, watch): (impl Fn(Vec<String>, Duration) -> F, &Stopwatch),
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let mut moved = false;
        running.retain_mut(|batch| match batch.as_mut().poll(context) {
            Poll::Ready(done) => {
                self.note(done);
                moved = true;
                false
            }
            Poll::Pending => true,
        });
        while running.len() < self.pace.at_once
            && let Poll::Ready(Some((keys, due))) = self.batch(watch, context)
        {
            running.push(Box::pin(begin(keys, due)));
            moved = true;
        }
        if running.is_empty() && self.keys.is_none() {
            return Poll::Ready(());
        }
        if moved {
            // In a turn of its own: keys that are all at hand may not keep the thread to themselves.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// The next batch, if there is one, and when it is due after the first.
    fn batch(&mut self, watch: &Stopwatch, context: &mut Context<'_>) -> Poll<Option<(Vec<String>, Duration)>> {
        while self.next.len() < self.pace.batch
            && let Some(keys) = &mut self.keys
        {
            match ready!(keys(context)) {
                Some(key) => self.next.push(key),
                // Not asked again: an iterator that has ended may begin anew.
                None => self.keys = None,
            }
        }
        if self.next.is_empty() {
            return Poll::Ready(None);
        }
        let keys = std::mem::take(&mut self.next);
        let Some(rate) = self.pace.per_second else { return Poll::Ready(Some((keys, Duration::ZERO))) };
        // What came late is not made up for: that would be a burst.
        let due = self.due.max(watch.elapsed());
        self.due = due + Duration::from_secs(count(keys.len())) / rate;
        Poll::Ready(Some((keys, due)))
    }

    fn note(&mut self, batch: Batch<E>) {
        let counts = &mut self.counts;
        match batch {
            Batch::Done(done) => {
                counts.keys += done.keys;
                counts.found += done.found;
                counts.loaded += done.loaded;
                counts.absent += done.absent;
                self.in_a_row = 0;
            }
            Batch::Failed(keys, error) => {
                counts.keys += keys;
                counts.failed += keys;
                self.error.get_or_insert(error);
                self.in_a_row += 1;
                if self.in_a_row >= self.pace.give_up_after && self.keys.take().is_some() {
                    self.next.clear();
                    self.gave_up = true;
                }
            }
        }
        if let Some(tell) = &mut self.progress {
            tell(self.counts);
        }
    }
}

pub(super) fn count(keys: usize) -> u64 {
    u64::try_from(keys).unwrap_or(u64::MAX)
}
