//! Runs every test of the workspace with a Redis server at hand, and with a client of it for Python where that can be had.

use crate::run::{Outcome, cargo, run};
use crate::{examples, python, redis};

/// What the checks build the workspace with. The same everywhere, so that nothing is built twice.
pub(crate) const WHOLE: [&str; 2] = ["--workspace", "--all-features"];

/// Tells the tests of the adapter that the server is one before 7.0, which is asked otherwise.
pub(crate) fn older_redis() -> Outcome {
    let server = redis::older_server()?;
    let tests = ["--lib", "redis::"];
    run(cargo().arg("test").args(WHOLE).args(tests).env(redis::VARIABLE, &server).env("CACHETIER_OLDER_REDIS", "1"))
}

/// Runs the crate's own tests as it is built by default: all features together turn `chaos` on, and its pauses, for every test.
pub(crate) fn default_features() -> Outcome {
    let server = redis::server()?;
    run(cargo().args(["test", "-p", "cachetier", "--lib"]).env(redis::VARIABLE, &server))
}

/// Runs the tests, doc tests included, then the examples. With `arguments` for `cargo test`, the tests alone.
pub(crate) fn test(arguments: &[&str]) -> Outcome {
    let server = redis::server()?;
    eprintln!("redis-server: {}", server.display());
    let python = python::redis_py().map(|folder| (python::VARIABLE, folder));
    run(cargo().arg("test").args(WHOLE).args(arguments).env(redis::VARIABLE, &server).envs(python))?;
    if arguments.is_empty() { examples::examples(&server) } else { Ok(()) }
}

/// Runs each bench as a test, which is short, and judges no time; with what the tests have built.
pub(crate) fn benches() -> Outcome {
    let server = redis::server()?;
    run(cargo().arg("test").args(WHOLE).args(["--bench", "*"]).env(redis::VARIABLE, &server))
}
