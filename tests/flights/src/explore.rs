//! How interleavings are chosen, and how many. The seeds are fixed, so that the same ones are tried again;
//! `SHUTTLE_RANDOM_SEED` chooses others, `CACHETIER_SHUTTLE_ITERATIONS` how many.

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

/// Enough for each fault that was put in on purpose to be found, in a second or two a test.
const ITERATIONS: usize = 2_000;

/// The scheduler that prefers one task over others finds what needs few changes of mind at the right places: this many.
const CHANGES: usize = 3;

/// Tries interleavings chosen at random, by two schedulers that find different things.
pub(crate) fn explore(what: impl Fn() + Copy + Send + Sync + 'static) {
    let iterations = match std::env::var("CACHETIER_SHUTTLE_ITERATIONS") {
        Ok(text) => text.parse().expect("a number of iterations"),
        Err(_) => ITERATIONS,
    };
    run(RandomScheduler::new_from_seed(1, iterations), what);
    run(PctScheduler::new_from_seed(1, CHANGES, iterations), what);
}

/// Tries every interleaving, and returns how many there are.
pub(crate) fn explore_all(what: impl Fn() + Send + Sync + 'static) -> usize {
    run(DfsScheduler::new(None, false), what)
}

fn run(scheduler: impl Scheduler + 'static, what: impl Fn() + Send + Sync + 'static) -> usize {
    Runner::new(scheduler, Config::new()).run(what)
}
