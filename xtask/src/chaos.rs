//! Runs the chaos test with a server at hand. What it does and how it is read: `docs/chaos.md`.

use std::process::Command;

use crate::program::Programs;
use crate::run::{Outcome, cargo, run};
use crate::{faketime, redis};

/// Every kind of fault for a short while, and what no other scenario has; always drawn from the same seed.
const SHORT: [[&str; 6]; 2] =
    [["--seconds", "20", "--seed", "1", "--scenario", "everything"], ["--seconds", "10", "--seed", "1", "--scenario", "trust"]];

/// Runs it with these arguments, which are its own.
pub(crate) fn chaos(arguments: &[&str]) -> Outcome {
    let server = redis::server()?;
    let mut command = cargo();
    command.args(["run", "--quiet", "-p", "cachetier-chaos", "--bin", "chaos", "--"]).args(arguments);
    run(with_faketime(&mut command).env(redis::VARIABLE, &server))
}

/// Runs it for a short while, as `ci` does: out of what the other checks have built, and with the machine's clock, so that it makes the same
/// faults everywhere.
pub(crate) fn short() -> Outcome {
    let server = redis::server()?;
    let program = Programs::build()?.path("bin", "chaos")?;
    SHORT.iter().try_for_each(|arguments| run(Command::new(&program).args(arguments).env(redis::VARIABLE, &server)))
}

/// Without it the server's clock is not stepped.
fn with_faketime(command: &mut Command) -> &mut Command {
    match faketime::library() {
        Ok(library) => command.env(faketime::VARIABLE, library),
        Err(why) => {
            eprintln!("NOT MADE: steps of the server's clock, for want of libfaketime: {why}");
            command.env_remove(faketime::VARIABLE)
        }
    }
}
