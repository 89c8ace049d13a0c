//! Finds libfaketime, by which the chaos test steps the server's clock, or fetches it below the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debs;
use crate::run::{Outcome, output};
use crate::workspace::Workspace;

/// The variable through which the chaos test is told.
pub(crate) const VARIABLE: &str = "CACHETIER_FAKETIME";

/// Where Debian and Ubuntu put it, below a folder named after the processor.
const PLACE: &str = "faketime/libfaketime.so.1";

/// Returns the library that `CACHETIER_FAKETIME` names, else a copy fetched earlier, else fetches one.
pub(crate) fn library() -> Outcome<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()).map(PathBuf::from) {
        return usable(&named).map(|()| named);
    }
    if !cfg!(target_os = "linux") {
        return Err("it is put before a program on Linux alone".to_owned());
    }
    let folder = Workspace::load()?.target()?.join("faketime");
    if let Ok(fetched) = unpacked(&folder) {
        return Ok(fetched);
    }
    if !debs::available() {
        return Err(format!("install libfaketime, and set {VARIABLE} to the path of libfaketime.so.1"));
    }
    eprintln!("no libfaketime at hand: fetching it into {}", folder.display());
    debs::fetch(&["libfaketime"], &folder)?;
    unpacked(&folder)
}

fn unpacked(folder: &Path) -> Outcome<PathBuf> {
    let below = std::fs::read_dir(folder.join("root/usr/lib")).map_err(|error| format!("{}: {error}", folder.display()))?;
    let found = below.filter_map(Result::ok).map(|entry| entry.path().join(PLACE)).find(|path| path.is_file());
    let found = found.ok_or_else(|| format!("expected {PLACE} below {}, found none", folder.display()))?;
    usable(&found).map(|()| found)
}

/// Fails unless a program that is started with the library sees another year.
fn usable(library: &Path) -> Outcome {
    let mut date = Command::new("date");
    date.args(["-u", "+%Y"]).env("LD_PRELOAD", library).env("FAKETIME", "2001-02-03 04:05:06");
    let year = output(&mut date)?;
    if year.trim() == "2001" {
        return Ok(());
    }
    Err(format!("{} is not usable: it does not step the clock of `date`", library.display()))
}
