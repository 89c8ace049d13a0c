//! Tries many interleavings of the flight registry, others each time. The tests, and the few fixed interleavings that every test run
//! tries, are those of `tests/flights`.

use std::hash::{BuildHasher, RandomState};

use crate::run::{Outcome, cargo, run};

/// Some minutes.
const ITERATIONS: u64 = 200_000;

/// Read by the scheduler itself.
const SEED: &str = "SHUTTLE_RANDOM_SEED";

/// Runs the tests with so many iterations, from a seed that is printed; from the one in the environment if there is one.
pub(crate) fn shuttle(iterations: Option<&str>) -> Outcome {
    let iterations = match iterations {
        Some(text) => text.parse().map_err(|_| format!("expected a number of iterations, found `{text}`"))?,
        None => ITERATIONS,
    };
    // The standard library's only source of randomness.
    let seed = std::env::var(SEED).unwrap_or_else(|_| RandomState::new().hash_one(iterations).to_string());
    eprintln!("{iterations} iterations a test; {SEED}={seed} tries the same ones again");
    let mut command = cargo();
    command.args(["test", "-p", "cachetier-flights"]).env("CACHETIER_SHUTTLE_ITERATIONS", iterations.to_string());
    run(command.env(SEED, seed))
}
