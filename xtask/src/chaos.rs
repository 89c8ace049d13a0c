//! Runs the chaos test with a server at hand. What it does and how it is read: `docs/chaos.md`.

use crate::redis;
use crate::run::{Outcome, cargo, run};

/// What `ci` runs: every kind of fault for a short while, always drawn from the same seed.
pub(crate) const SHORT: [&str; 6] = ["--seconds", "20", "--seed", "1", "--scenario", "everything"];

/// Runs it with these arguments, which are its own.
pub(crate) fn chaos(arguments: &[&str]) -> Outcome {
    let server = redis::server()?;
    let mut command = cargo();
    command.args(["run", "--quiet", "-p", "cachetier-chaos", "--bin", "chaos", "--"]).args(arguments);
    run(command.env(redis::VARIABLE, &server))
}
