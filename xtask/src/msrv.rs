//! The oldest compiler the crate promises: as old as its dependencies allow, and no older.

use std::collections::BTreeSet;
use std::process::Command;

use crate::run::{Outcome, cargo, output, run};
use crate::tools;
use crate::workspace::{Package, Workspace};

const CRATE: &str = "cachetier";

/// A compiler's version, as far as a promise names it.
type Version = (u32, u32, u32);

/// Checks that the promised version is the highest that a default dependency asks for, on any platform.
pub(crate) fn declared() -> Outcome {
    let workspace = Workspace::load()?;
    let declared = workspace.member(CRATE)?.rust_version().ok_or_else(|| format!("`{CRATE}` declares no rust-version"))?;
    // The resolved graph in the metadata joins the features that all members ask for; the tree has those of this crate alone.
    let tree = output(cargo().args(["tree", "-p", CRATE, "-e", "no-dev", "--target", "all", "--prefix", "none", "-f", "{p}"]))?;
    let tree: BTreeSet<(&str, &str)> = tree.lines().filter_map(package).collect();
    // Not its own macros: they promise what it promises.
    let own: BTreeSet<&str> = workspace.members().map(Package::name).collect();
    let dependencies = workspace.packages().filter(|package| !own.contains(package.name()));
    let asked = dependencies.filter(|package| tree.contains(&(package.name(), package.version())));
    let asked = asked.filter_map(|package| Some((parse(package.rust_version()?)?, package.name(), package.version())));
    let (highest, name, version) = asked.max().ok_or_else(|| "no dependency names a rust-version".to_owned())?;
    eprintln!("declared: {declared}; highest among the dependencies: {}.{}, by {name} {version}", highest.0, highest.1);
    if parse(declared) == Some(highest) {
        Ok(())
    } else {
        Err(format!(
            "rust-version is {declared}, expected {}.{}.{}, which {name} {version} asks for",
            highest.0, highest.1, highest.2
        ))
    }
}

/// Compiles the crate with the promised toolchain; `Ok` with the reason when that toolchain is not installed.
pub(crate) fn compiles() -> Outcome<Option<String>> {
    let declared = Workspace::load()?.member(CRATE)?.rust_version().unwrap_or_default();
    let installed = |toolchain: &&String| output(Command::new("rustup").args(["run", toolchain, "cargo", "--version"])).is_ok();
    let Some(toolchain) = [declared.to_owned(), format!("{declared}.0")].iter().find(installed).cloned() else {
        return Ok(Some(format!("the toolchain {declared} is not installed; the lint incompatible_msrv has stood in for it")));
    };
    let target = Workspace::load()?.target()?.join("msrv");
    let mut command = Command::new("rustup");
    command.args(["run", &toolchain, "cargo", "check", "-p", CRATE, "--all-features"]).env("CARGO_TARGET_DIR", target);
    // Set by the cargo that runs this program, for its own toolchain.
    for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    run(&mut command).map(|()| None)
}

/// Returns the toolchain's version in words, for the report.
pub(crate) fn compiler() -> String {
    tools::rustc_field("release").unwrap_or_else(|why| why)
}

/// `name v1.2.3 ..` as name and version.
fn package(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split_whitespace();
    Some((words.next()?, words.next()?.strip_prefix('v')?))
}

fn parse(version: &str) -> Option<Version> {
    let mut numbers = version.split('.').map(str::parse);
    let major = numbers.next()?.ok()?;
    let mut rest = numbers.map(Result::ok);
    Some((major, rest.next().unwrap_or(Some(0))?, rest.next().unwrap_or(Some(0))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers_and_may_lack_their_end() {
        assert_eq!(parse("1.88"), Some((1, 88, 0)));
        assert_eq!(parse("1.88.0"), parse("1.88"));
        assert!(parse("1.9") < parse("1.88"));
        assert_eq!(parse("1.x"), None);
    }

    #[test]
    fn a_line_of_the_tree_is_a_name_and_a_version() {
        assert_eq!(package("serde_derive v1.0.229 (proc-macro)"), Some(("serde_derive", "1.0.229")));
        assert_eq!(package(""), None);
    }
}
