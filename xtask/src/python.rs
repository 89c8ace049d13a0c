//! Fetches redis-py, with which an example in Python is run against a cache, and runs its tests. Where it cannot be had, that is said.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::redis;
use crate::run::{Outcome, cargo, output, run, run_within, works};
use crate::test::WHOLE;
use crate::workspace::Workspace;

/// Names the folder that holds redis-py to the tests.
pub(crate) const VARIABLE: &str = "REDIS_PY";

/// It runs with any Python that is still alive.
const PACKAGE: &str = "redis==5.2.1";

/// A registry that cannot be reached is found out by then.
const LIMIT: Duration = Duration::from_secs(120);

/// Makes the tests that need redis-py fail without it.
const REQUIRED: &str = "CACHETIER_PYTHON";

/// Returns the folder of redis-py, fetched if need be; none where Python finds it by itself, or where it cannot be had.
pub(crate) fn redis_py() -> Option<PathBuf> {
    redis_or_why().unwrap_or_else(|why| {
        eprintln!("NOT RUN: the test of examples/python/invalidate.py, for want of redis-py: {why}");
        None
    })
}

/// Runs the tests of the program in Python, or says why they cannot be run here: among all tests that is a line that nobody sees.
pub(crate) fn tests() -> Outcome<Option<String>> {
    let folder = match redis_or_why() {
        Ok(folder) => folder.map(|folder| (VARIABLE, folder)),
        Err(why) => return Ok(Some(format!("no redis-py: {why}"))),
    };
    let server = redis::server()?;
    let mut command = cargo();
    command.arg("test").args(WHOLE).args(["--test", "python"]);
    run(command.env(redis::VARIABLE, &server).env(REQUIRED, "1").envs(folder)).map(|()| None)
}

fn redis_or_why() -> Outcome<Option<PathBuf>> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        return Ok(Some(PathBuf::from(named)));
    }
    if !works("python3", "--version") {
        return Err("there is no python3".to_owned());
    }
    let import = ["-c", "import redis"];
    if output(Command::new("python3").args(import)).is_ok() {
        return Ok(None);
    }
    let folder = Workspace::load()?.target()?.join("python");
    if output(Command::new("python3").args(import).env("PYTHONPATH", &folder)).is_ok() {
        return Ok(Some(folder));
    }
    eprintln!("no redis-py at hand: fetching it into {}", folder.display());
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--timeout", "15", "--retries", "1"]);
    run_within(pip.args([PACKAGE, "--target"]).arg(&folder), LIMIT)?;
    output(Command::new("python3").args(import).env("PYTHONPATH", &folder)).map(|_| Some(folder))
}
