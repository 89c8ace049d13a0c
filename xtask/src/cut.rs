//! Cuts an instance off for a while, and shows what it keeps: the test of that name, with as long a cut as is asked for.

use crate::redis;
use crate::run::{Outcome, cargo, run};

pub(crate) fn cut(seconds: &str) -> Outcome {
    let server = redis::server()?;
    let mut command = cargo();
    command.args(["test", "--quiet", "-p", "cachetier-tests", "--test", "cut", "--", "--nocapture"]);
    run(command.env("CUT_SECONDS", seconds).env(redis::VARIABLE, &server))
}
