//! Finds programs, and installs cargo's own below the target folder. What they are used for is the caller's.

use std::path::{Path, PathBuf};

use crate::run::{Outcome, cargo, output, run, works};
use crate::workspace::Workspace;

/// Returns the program: at its path if it has one, else in `PATH`.
pub(crate) fn in_path(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Returns a subcommand of cargo, such as `cargo-deny`: one in `PATH`, else one installed earlier, else installs it.
pub(crate) fn subcommand(name: &str, version: &str) -> Outcome<PathBuf> {
    if let Some(path) = in_path(Path::new(name)) {
        return Ok(path);
    }
    let root = Workspace::load()?.target()?.join("tools");
    let installed = root.join("bin").join(name);
    if works(&installed, "--version") {
        return Ok(installed);
    }
    eprintln!("{name} is not installed: building it into {}, which takes minutes, once", root.display());
    let mut command = cargo();
    command.args(["install", name, "--locked", "--debug", "--version", version, "--root"]).arg(&root);
    // Its own folder: what it is built from is not what the workspace is built from. Built quickly: it runs for a second.
    run(command.env("CARGO_TARGET_DIR", root.join("build")).env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
    // Several hundred megabytes that nothing needs again.
    let _ = std::fs::remove_dir_all(root.join("build"));
    Ok(installed)
}

/// Returns the field of `rustc -vV` of this name, such as `host` or `LLVM version`.
pub(crate) fn rustc_field(field: &str) -> Outcome<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = output(std::process::Command::new(rustc).arg("-vV"))?;
    let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
    found.map(str::to_owned).ok_or_else(|| format!("expected `{field}` in `rustc -vV`, found none"))
}
