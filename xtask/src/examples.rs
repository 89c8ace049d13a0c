//! Runs every example to its end. What an example needs, it starts itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::redis;
use crate::run::{Outcome, cargo, output, run_within};
use crate::test::WHOLE;
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
    // Built with the whole workspace and started directly: `cargo run` would build the dependencies again, with fewer features,
    // and could not be ended together with what it runs.
    let built = output(cargo().arg("build").args(WHOLE).args(["--examples", "--message-format=json-render-diagnostics"]))?;
    let mut failed = Vec::new();
    for name in &names {
        let path = executable(&built, name).ok_or_else(|| format!("expected cargo to build the example `{name}`"))?;
        let mut command = Command::new(path);
        command.current_dir(workspace.root()?).env(redis::VARIABLE, server);
        if let Err(why) = run_within(&mut command, LIMIT) {
            failed.push(why);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// The program of the example of this name, from cargo's messages.
fn executable(messages: &str, example: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
        let target = message.get("target")?;
        let is_example = target.get("kind")?.as_array()?.iter().any(|kind| kind.as_str() == Some("example"));
        (is_example && target.get("name")?.as_str() == Some(example)).then_some(())?;
        message.get("executable")?.as_str().map(PathBuf::from)
    })
}
