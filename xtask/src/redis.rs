//! Finds the Redis server that the tests run, or fetches one below the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Outcome, output};
use crate::workspace::Workspace;
use crate::{debs, tools};

/// The variable through which the tests are told.
pub(crate) const VARIABLE: &str = "REDIS_SERVER";

/// A version's first two numbers.
type Version = (u32, u32);

/// The oldest that the tests run with: older ones are asked otherwise than most of them expect.
const OLDEST: Version = (7, 0);

/// The oldest that the crate works with.
const OLDEST_OF_ALL: Version = (6, 2);

/// Returns the server that `REDIS_SERVER` names, else the one in `PATH`, else a copy fetched earlier, else fetches one.
pub(crate) fn server() -> Outcome<PathBuf> {
    if let Some(path) = named()? {
        return usable(&path, OLDEST).map(|()| path);
    }
    if let Some(path) = tools::in_path(Path::new("redis-server")) {
        match usable(&path, OLDEST) {
            Ok(()) => return Ok(path),
            Err(why) => eprintln!("{why}"),
        }
    }
    let folder = Workspace::load()?.target()?.join("redis");
    let fetched = folder.join("redis-server");
    if usable(&fetched, OLDEST).is_ok() {
        return Ok(fetched);
    }
    fetch(&folder)
}

/// Returns the server that `REDIS_SERVER` names, where it may be as old as the crate works with; else what [`server`] does.
pub(crate) fn older_server() -> Outcome<PathBuf> {
    match named()? {
        Some(path) => usable(&path, OLDEST_OF_ALL).map(|()| path),
        None => server(),
    }
}

fn named() -> Outcome<Option<PathBuf>> {
    let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()).map(PathBuf::from) else { return Ok(None) };
    tools::in_path(&named).map(Some).ok_or_else(|| format!("{VARIABLE} names {}: no such program", named.display()))
}

fn fetch(folder: &Path) -> Outcome<PathBuf> {
    if !debs::available() {
        let install = if cfg!(target_os = "macos") { "`brew install redis`" } else { "the redis-server package of your system" };
        return Err(format!("no redis-server: install {install}, or set {VARIABLE} to the program (7.0 or newer)"));
    }
    eprintln!("no redis-server at hand: fetching one into {}", folder.display());
    let fetched = debs::fetch(&["redis-server", "redis-tools"], folder)
        .and_then(|()| debs::script(folder, "redis-server", "usr/bin/redis-server"))
        .and_then(|server| usable(&server, OLDEST).map(|()| server));
    fetched.map_err(|why| format!("no redis-server: install one, or set {VARIABLE} to the program (7.0 or newer)\n{why}"))
}

/// Fails unless the program runs and is new enough.
fn usable(server: &Path, oldest: Version) -> Outcome {
    let said = output(Command::new(server).arg("--version"))?;
    enough(&said, oldest).map_err(|why| format!("{} is not usable: {why}", server.display()))
}

fn enough(said: &str, oldest: Version) -> Outcome {
    match version(said) {
        Some(version) if version >= oldest => Ok(()),
        _ => Err(format!("expected version {}.{} or newer, found `{}`", oldest.0, oldest.1, said.trim())),
    }
}

/// The first two numbers behind `v=`.
fn version(said: &str) -> Option<Version> {
    let mut numbers = said.split_whitespace().find_map(|word| word.strip_prefix("v="))?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_the_server_says() {
        assert_eq!(version("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=0"), Some((7, 0)));
        assert_eq!(version("Redis server v=10.0.1"), Some((10, 0)));
        assert_eq!(version("something else"), None);
    }

    #[test]
    fn a_server_before_7_will_do_for_the_tests_of_how_it_is_asked_alone() {
        let old = "Redis server v=6.2.7 sha=00000000:0";
        assert_eq!(enough(old, OLDEST_OF_ALL), Ok(()));
        assert_eq!(enough(old, OLDEST), Err(format!("expected version 7.0 or newer, found `{old}`")));
        assert!(enough("Redis server v=6.0.20", OLDEST_OF_ALL).is_err());
    }
}
