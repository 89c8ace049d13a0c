//! Runs every example to its end. What an example needs, it starts itself.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::program::Programs;
use crate::redis;
use crate::run::{Outcome, run_within};
use crate::workspace::Workspace;

const PACKAGE: &str = "cachetier-examples";

/// An example shows something within seconds; one that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs each example of the package of examples, if the workspace has one.
pub(crate) fn examples(server: &Path) -> Outcome {
    let workspace = Workspace::load()?;
    let Ok(package) = workspace.member(PACKAGE) else {
        eprintln!("skipped: the workspace has no package `{PACKAGE}`");
        return Ok(());
    };
    let names: BTreeSet<&str> = package.targets("example").collect();
    if names.is_empty() {
        return Err(format!("expected an example in `{PACKAGE}`, found none"));
    }
    let built = Programs::build()?;
    let mut failed = Vec::new();
    for name in &names {
        let mut command = Command::new(built.path("example", name)?);
        command.current_dir(workspace.root()?).env(redis::VARIABLE, server);
        if let Err(why) = run_within(&mut command, LIMIT) {
            failed.push(why);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}
