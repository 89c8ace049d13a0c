//! Licenses, sources, banned crates and known vulnerabilities of the dependencies, by cargo-deny. The rules are in `deny.toml`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::run::{Outcome, run, run_within};
use crate::tools;
use crate::workspace::Workspace;

/// A version known to build with the toolchains this project is checked with.
const VERSION: &str = "0.20.2";

/// The database of advisories is a few megabytes; where it does not come within this time it does not come.
const DATABASE_WITHIN: Duration = Duration::from_secs(90);

/// Checks what can be checked without the network.
pub(crate) fn rules() -> Outcome {
    let deny = tools::subcommand("cargo-deny", VERSION)?;
    run(deny_command(&deny)?.args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))
}

/// Checks the advisories; `Ok` with the reason when their database cannot be had.
pub(crate) fn advisories() -> Outcome<Option<String>> {
    let deny = tools::subcommand("cargo-deny", VERSION)?;
    if let Err(why) = run_within(deny_command(&deny)?.args(["fetch", "db"]), DATABASE_WITHIN) {
        return Ok(Some(format!("the advisory database cannot be had: {why}")));
    }
    run(deny_command(&deny)?.args(["check", "--disable-fetch", "advisories"])).map(|()| None)
}

fn deny_command(deny: &Path) -> Outcome<Command> {
    let mut command = Command::new(deny);
    command.arg("--workspace").current_dir(Workspace::load()?.root()?);
    Ok(command)
}
