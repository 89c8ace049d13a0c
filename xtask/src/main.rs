//! The project's checks as commands. This file reads the command line; each command is a file of its own.
#![forbid(unsafe_code)]

mod api;
mod chaos;
mod ci;
mod coverage;
mod cut;
mod debs;
mod deny;
mod examples;
mod faketime;
mod fuzz;
mod imports;
mod msrv;
mod package;
mod program;
mod python;
mod redis;
mod run;
mod shuttle;
mod source;
mod tee;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use crate::run::Outcome;

const HELP: &str = "\
cargo xtask COMMAND

  ci [STEPS]              every check, or those named, each timed; what a change must pass
  test [ARGS]             every test of the workspace, doc tests and examples, with a Redis server found or fetched;
                          ARGS go to `cargo test`, and then the examples are left out
  redis                   finds or fetches that server and prints its path
  api [--check|--write]   prints every public item, a line each; compares them with docs/api.txt, and looks for what has no
                          example; writes docs/api.txt anew
  imports                 checks that imports point down the layers
  coverage                line coverage of the crate by the tests of the workspace
  fuzz SECONDS [TARGET]   runs each fuzz target, or that one, for so long
  chaos --seconds N --seed S [--scenario NAME] [--one-process]
                          instances as processes over a server and a network that fail, and a checker of what they saw;
                          --seeds A..B runs one after the other, a line each, and sums them up;
                          scenarios: calm, restarts, network, pubsub, memory, pauses, trust, everything, failover, cluster;
                          see docs/chaos.md;
                          and outage, which is measured: [--seconds N] for each phase
  load soak [--seconds N] | misses | stampede | hot [--seconds N] | due [--seconds N] | restart [--seconds N]
                          a server killed every ten seconds, and what the process holds; what is added to a miss at worst;
                          a cold key that processes want; a hot one, kept fresh by one way and another; many that are due;
                          a rolling restart, with warming and without
  cut SECONDS             an instance that is cut off for so long while others invalidate, and what it keeps
  shuttle [ITERATIONS]    tries so many interleavings of the flight registry for each of its tests, others each time;
                          `test` and `ci` try a few, always the same
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["ci", steps @ ..] => ci::ci(steps),
        ["test", rest @ ..] => test::test(rest),
        ["redis"] => redis::server().map(|path| println!("{}", path.display())),
        ["imports"] => imports::imports(),
        ["api"] => api::print(),
        ["api", "--check"] => api::check(),
        ["api", "--write"] => api::write(),
        ["coverage"] => coverage::coverage(),
        ["fuzz", seconds] => fuzz::fuzz(seconds, None),
        ["fuzz", seconds, target] => fuzz::fuzz(seconds, Some(target)),
        ["cut", seconds] => cut::cut(seconds),
        ["chaos", rest @ ..] => chaos::chaos(rest),
        ["load", rest @ ..] => chaos::load(rest),
        ["shuttle"] => shuttle::shuttle(None),
        ["shuttle", iterations] => shuttle::shuttle(Some(iterations)),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => usage(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> Outcome {
    Err(format!("no such command\n\n{HELP}"))
}
