//! The crate as it would be published, and under each of its features: whether it builds.

use std::process::Command;

use crate::run::{Outcome, cargo, output, run};
use crate::workspace::Workspace;

const CRATE: &str = "cachetier";

const MACROS: &str = "cachetier-macros";

/// What is published: the crate, and the macros that it exports.
const PUBLISHED: [&str; 2] = [MACROS, CRATE];

/// What the package must hold beside the code.
const HELD: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// Features that are checked together where others are checked alone: neither knows of the other, so a check of both finds what two
/// would.
const TOGETHER: [[&str; 2]; 2] = [["json", "zstd"], ["messagepack", "lz4"]];

/// Packs the crates, builds them from their packages, and looks for what these must hold.
pub(crate) fn package() -> Outcome {
    let workspace = Workspace::load()?;
    pinned(workspace)?;
    let readme = workspace.root()?.join("README.md");
    let readme = std::fs::read_to_string(&readme).map_err(|error| format!("{} cannot be read: {error}", readme.display()))?;
    absolute(&readme)?;
    let mut command = cargo();
    // Together, since one needs the other; built where everything is built, so that their dependencies are there already.
    command.arg("package").args(PUBLISHED.map(|name| format!("-p={name}"))).env("CARGO_TARGET_DIR", workspace.target()?);
    let changed = output(Command::new("git").args(["status", "--porcelain"]).current_dir(workspace.root()?))?;
    if !changed.is_empty() {
        eprintln!("the work tree has changes: packing them as they are (--allow-dirty)");
        command.arg("--allow-dirty");
    }
    run(&mut command)?;
    PUBLISHED.iter().try_for_each(|name| {
        let listed = output(cargo().args(["package", "-p", name, "--list", "--allow-dirty"]))?;
        match HELD.iter().find(|held| listed.lines().all(|file| file != **held)) {
            Some(missing) => Err(format!("expected `{missing}` in the package of `{name}`, found none")),
            None => Ok(()),
        }
    })
}

/// Checks that the crate takes no macros but those of its own version: their expansions name what is no public item.
fn pinned(workspace: &Workspace) -> Outcome {
    let expected = format!("={}", workspace.member(MACROS)?.version());
    let found = workspace.member(CRATE)?.requires(MACROS).unwrap_or("none");
    if found == expected { Ok(()) } else { Err(format!("`{CRATE}` requires `{MACROS}` {found}, expected {expected}")) }
}

/// Checks that what the README links to is found from wherever it is shown: a registry shows it beside nothing else.
fn absolute(readme: &str) -> Outcome {
    let targets = readme.match_indices("](").filter_map(|(at, found)| readme.get(at + found.len()..));
    match targets
        .filter_map(|rest| rest.split(')').next())
        .find(|target| !target.starts_with("https://") && !target.starts_with('#'))
    {
        Some(relative) => Err(format!("README.md links to `{relative}`, expected https://..")),
        None => Ok(()),
    }
}

/// Checks the crate with no feature, all, the default ones, and each alone or beside one other; a warning is an error, as dead code shows only here.
pub(crate) fn features() -> Outcome {
    let workspace = Workspace::load()?;
    let together = TOGETHER.map(|pair| pair.join(","));
    let alone = workspace.member(CRATE)?.features().filter(|name| *name != "default" && !TOGETHER.as_flattened().contains(name));
    let mut choices = vec![vec!["--no-default-features"], vec!["--all-features"], vec![]];
    let named = alone.chain(together.iter().map(String::as_str));
    choices.extend(named.map(|features| vec!["--no-default-features", "--features", features]));
    let mut failed = Vec::new();
    for choice in choices {
        if let Err(why) = run(cargo().args(["clippy", "--quiet", "-p", CRATE]).args(choice).args(["--", "-D", "warnings"])) {
            failed.push(why);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_a_file_beside_it_is_refused() {
        assert_eq!(absolute("[a](https://example.org/a) [b](#b)"), Ok(()));
        let why = absolute("[a](https://example.org/a) [b](docs/b.md)").unwrap_err();
        assert_eq!(why, "README.md links to `docs/b.md`, expected https://..");
    }
}
