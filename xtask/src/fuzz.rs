//! Runs the fuzz targets of `fuzz/` for a while. The targets and what they assert are theirs.

use std::path::Path;
use std::process::Command;

use crate::run::{Outcome, output, run};
use crate::tools;
use crate::workspace::Workspace;

/// A version known to build with the toolchains this project is checked with.
const VERSION: &str = "0.13.2";

/// What one input may take, in seconds: far more than any decoder needs.
const INPUT_WITHIN: u32 = 10;

/// Runs each target, or the one named, for `seconds`.
pub(crate) fn fuzz(seconds: &str, target: Option<&str>) -> Outcome {
    let seconds: u32 = seconds.parse().map_err(|_| format!("expected a number of seconds, found `{seconds}`"))?;
    let workspace = Workspace::load()?;
    let folder = workspace.root()?.join("fuzz");
    let manifest = folder.join("Cargo.toml");
    if !manifest.is_file() {
        return Err("expected fuzz targets in fuzz/, found none".to_owned());
    }
    let targets = targets(&manifest)?;
    let chosen: Vec<&String> = targets.iter().filter(|name| target.is_none_or(|wanted| wanted == *name)).collect();
    if chosen.is_empty() {
        return Err(format!("expected one of the targets {}, found `{}`", targets.join(", "), target.unwrap_or_default()));
    }
    if output(Command::new("rustup").args(["run", "nightly", "cargo", "--version"])).is_err() {
        return Err("fuzzing needs a nightly toolchain: `rustup toolchain install nightly`".to_owned());
    }
    let fuzzer = tools::subcommand("cargo-fuzz", VERSION)?;
    let build = workspace.target()?.join("fuzz");
    for name in chosen {
        eprintln!("fuzzing {name} for {seconds} s");
        let mut command = Command::new("rustup");
        command.args(["run", "nightly"]).arg(&fuzzer).args(["run", name, "--target-dir"]).arg(&build);
        command.args(["--", &format!("-max_total_time={seconds}"), &format!("-timeout={INPUT_WITHIN}")]);
        // Set by the cargo that runs this program, for its own toolchain.
        for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "CARGO_TARGET_DIR"] {
            command.env_remove(variable);
        }
        run(command.current_dir(&folder))?;
    }
    Ok(())
}

fn targets(manifest: &Path) -> Outcome<Vec<String>> {
    let fuzz = Workspace::read(&["--no-deps", "--manifest-path", &manifest.to_string_lossy()])?;
    Ok(fuzz.members().flat_map(|package| package.targets("bin").map(str::to_owned).collect::<Vec<_>>()).collect())
}
