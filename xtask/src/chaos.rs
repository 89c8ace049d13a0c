//! Runs the chaos test with a server at hand. What it does and how it is read: `docs/chaos.md`.

use std::process::Command;

use crate::program::Programs;
use crate::run::{Outcome, cargo, run};
use crate::{faketime, redis};

/// Every kind of fault for a short while, and what no other scenario has; always drawn from the same seed.
const SHORT: [[&str; 6]; 4] = [
    ["--seconds", "20", "--seed", "1", "--scenario", "everything"],
    ["--seconds", "10", "--seed", "1", "--scenario", "trust"],
    ["--seconds", "20", "--seed", "3", "--scenario", "failover"],
    ["--seconds", "20", "--seed", "1", "--scenario", "cluster"],
];

/// An outage of each kind, a soak, the worst misses, and a stampede.
const SHORT_LOAD: [&[&str]; 4] = [&["outage", "--seconds", "5"], &["soak", "--seconds", "20"], &["misses"], &["stampede"]];

/// Runs it with these arguments, which are its own. An outage is measured, not checked: another program does that.
pub(crate) fn chaos(arguments: &[&str]) -> Outcome {
    if let Some(at) = arguments.windows(2).position(|pair| pair == ["--scenario", "outage"]) {
        let rest = arguments.iter().take(at).chain(arguments.iter().skip(at + 2)).copied();
        return load(&std::iter::once("outage").chain(rest).collect::<Vec<_>>());
    }
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

/// Runs what measures under load, as fast as it can be built.
pub(crate) fn load(arguments: &[&str]) -> Outcome {
    let server = redis::server()?;
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "-p", "cachetier-load", "--bin", "load", "--"]).args(arguments);
    run(command.env(redis::VARIABLE, &server))
}

/// What that finds in a short while, out of what the other checks have built.
pub(crate) fn short_load() -> Outcome {
    let server = redis::server()?;
    let program = Programs::build()?.path("bin", "load")?;
    SHORT_LOAD.iter().try_for_each(|arguments| run(Command::new(&program).args(*arguments).env(redis::VARIABLE, &server)))
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
