//! What users of the crate can name: printed, compared with the list that the repository holds, and looked through for examples. How the
//! sources are read is `api/`'s.
//!
//! The sources are read as text, not as the compiler knows them: its own list of items needs a nightly toolchain, and would change with it.
//! What follows from types alone is not seen here; `tests/it/api.rs` has the compiler say what can be sent, shared and cloned.

mod examples;
mod expand;
mod krate;
mod resolve;
mod show;
mod surface;

use std::collections::BTreeSet;
use std::path::PathBuf;

use self::krate::Crate;
use self::surface::Surface;
use crate::run::Outcome;
use crate::workspace::Workspace;

const CRATE: &str = "cachetier";

/// Where the list stands, from the workspace's root.
const LIST: &str = "docs/api.txt";

/// Prints every public item, a line each.
pub(crate) fn print() -> Outcome {
    let surface = read()?;
    surface.lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// Writes the list anew.
pub(crate) fn write() -> Outcome {
    let (surface, list) = (read()?, list()?);
    let text: String = surface.lines.iter().flat_map(|line| [line, "\n"]).collect();
    std::fs::write(&list, text).map_err(|error| format!("{}: {error}", list.display()))?;
    eprintln!("{LIST}: {} lines", surface.lines.len());
    Ok(())
}

/// Compares the items with the list, and looks for examples and promises that are missing.
pub(crate) fn check() -> Outcome {
    let (surface, list) = (read()?, list()?);
    let held = std::fs::read_to_string(&list).map_err(|error| format!("{}: {error}", list.display()))?;
    let mut faults = Vec::new();
    if let Some(difference) = difference(&held, &surface.lines) {
        faults.push(format!("the public items differ from {LIST}; if they are meant to: `cargo xtask api --write`\n{difference}"));
    }
    let missing = examples::missing(&surface.documented);
    if !missing.is_empty() {
        faults.push(format!("{} of the public items lack something:\n{}", missing.len(), missing.join("\n")));
    }
    let fixed = fixed(&surface.lines);
    if !fixed.is_empty() {
        faults
            .push(format!("these cannot grow without breaking their users; make them `#[non_exhaustive]`:\n{}", fixed.join("\n")));
    }
    let features: Vec<&str> = Workspace::load()?.member(CRATE)?.features().collect();
    let untold = examples::untold_features(&surface.front_page, &features);
    if !untold.is_empty() {
        faults.push(format!("the front page has no row for the features {}", untold.join(", ")));
    }
    if faults.is_empty() {
        eprintln!(
            "{} public items, as listed; {} of them looked through for examples",
            surface.lines.len(),
            surface.documented.len()
        );
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

fn read() -> Outcome<Surface> {
    let folder = Workspace::load()?.member(CRATE)?.folder()?;
    Surface::of(&Crate::load(&folder.join("src"))?)
}

fn list() -> Outcome<PathBuf> {
    Ok(Workspace::load()?.root()?.join(LIST))
}

/// What the list lacks, and what it has too much; none if it is the same, line by line.
fn difference(held: &str, lines: &BTreeSet<String>) -> Option<String> {
    let expected: Vec<&str> = lines.iter().map(String::as_str).collect();
    let held: Vec<&str> = held.lines().collect();
    if held == expected {
        return None;
    }
    let gone = held.iter().filter(|line| !expected.contains(line)).map(|line| format!("- {line}"));
    let new = expected.iter().filter(|line| !held.contains(line)).map(|line| format!("+ {line}"));
    let difference: Vec<String> = gone.chain(new).collect();
    Some(if difference.is_empty() {
        "its lines are not sorted, or some stand there twice".to_owned()
    } else {
        difference.join("\n")
    })
}

/// Enums that could have no more variants, and structs that could have no more fields, without breaking who matches or makes them.
fn fixed(lines: &BTreeSet<String>) -> Vec<&str> {
    let is_fixed = |line: &&str| {
        // All its fields are public, or there are none: others may make it.
        let is_whole = [" {}", "()", ";"].iter().any(|end| line.ends_with(end));
        // The attributes stand between the colon and the item.
        let is = |what: &str| [": ", "] "].iter().any(|before| line.contains(&format!("{before}pub {what} ")));
        !line.contains("#[non_exhaustive]") && (is("enum") || (is("struct") && is_whole))
    };
    lines.iter().map(String::as_str).filter(is_fixed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_could_match_or_make_whole_must_say_that_it_may_grow() {
        let lines = [
            "A: #[non_exhaustive] pub enum A",
            "B: #[must_use] pub enum B",
            "C: pub enum C",
            "D: pub struct D {}",
            "I: #[must_use] pub struct I {}",
            "J: #[cfg(feature = \"j\")] #[non_exhaustive] pub struct J {}",
            "E: pub struct E { .. }",
            "F: pub struct F;",
            "G: #[non_exhaustive] pub struct G {}",
            "H: pub struct H(..)",
        ];
        assert_eq!(
            fixed(&lines.map(str::to_owned).into()),
            [
                "B: #[must_use] pub enum B",
                "C: pub enum C",
                "D: pub struct D {}",
                "F: pub struct F;",
                "I: #[must_use] pub struct I {}"
            ]
        );
    }

    #[test]
    fn a_line_that_is_new_or_gone_is_a_difference_and_so_is_disorder() {
        let lines: BTreeSet<String> = ["a", "b"].map(str::to_owned).into();
        assert_eq!(difference("a\nb\n", &lines), None);
        assert_eq!(difference("a\nc\n", &lines).as_deref(), Some("- c\n+ b"));
        assert_eq!(difference("b\na\n", &lines).as_deref(), Some("its lines are not sorted, or some stand there twice"));
        assert_eq!(difference("a\na\nb\n", &lines).as_deref(), Some("its lines are not sorted, or some stand there twice"));
    }
}
