//! Builds the programs of the workspace, and finds one among them. Starting it is the caller's.

use std::path::PathBuf;

use serde_json::Value;

use crate::run::{Outcome, cargo, output};
use crate::test::WHOLE;

/// What was built, in cargo's messages.
pub(crate) struct Programs(String);

impl Programs {
    /// Builds all of them with the whole workspace, to be started directly: `cargo run` would build the dependencies again, with fewer
    /// features, and could not be ended together with what it runs.
    pub(crate) fn build() -> Outcome<Self> {
        // With the examples, for theirs are the dependencies of the tests.
        let targets = ["--bins", "--examples", "--message-format=json-render-diagnostics"];
        output(cargo().arg("build").args(WHOLE).args(targets)).map(Self)
    }

    /// The program of the target of this kind and name.
    pub(crate) fn path(&self, kind: &str, name: &str) -> Outcome<PathBuf> {
        let built = self.0.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
            let target = message.get("target")?;
            let is_kind = target.get("kind")?.as_array()?.iter().any(|of| of.as_str() == Some(kind));
            (is_kind && target.get("name")?.as_str() == Some(name)).then_some(())?;
            message.get("executable")?.as_str().map(PathBuf::from)
        });
        built.ok_or_else(|| format!("expected cargo to build the {kind} `{name}`"))
    }
}
