//! Finds the Redis server that the tests run, or fetches one below the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Outcome, output};
use crate::workspace::Workspace;
use crate::{debs, tools};

/// The variable through which the tests are told.
pub(crate) const VARIABLE: &str = "REDIS_SERVER";

/// The oldest that the crate works with: older ones refuse `SET .. NX GET`.
const OLDEST: u32 = 7;

/// Returns the server that `REDIS_SERVER` names, else the one in `PATH`, else a copy fetched earlier, else fetches one.
pub(crate) fn server() -> Outcome<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        let path = tools::in_path(&named).ok_or_else(|| format!("{VARIABLE} names {}: no such program", named.display()))?;
        return usable(&path).map(|()| path);
    }
    if let Some(path) = tools::in_path(Path::new("redis-server")) {
        match usable(&path) {
            Ok(()) => return Ok(path),
            Err(why) => eprintln!("{why}"),
        }
    }
    let folder = Workspace::load()?.target()?.join("redis");
    let fetched = folder.join("redis-server");
    if usable(&fetched).is_ok() {
        return Ok(fetched);
    }
    fetch(&folder)
}

fn fetch(folder: &Path) -> Outcome<PathBuf> {
    if !debs::available() {
        let install = if cfg!(target_os = "macos") { "`brew install redis`" } else { "the redis-server package of your system" };
        return Err(format!("no redis-server: install {install}, or set {VARIABLE} to the program ({OLDEST}.0 or newer)"));
    }
    eprintln!("no redis-server at hand: fetching one into {}", folder.display());
    let fetched = debs::fetch(&["redis-server", "redis-tools"], folder)
        .and_then(|()| debs::script(folder, "redis-server", "usr/bin/redis-server"))
        .and_then(|server| usable(&server).map(|()| server));
    fetched.map_err(|why| format!("no redis-server: install one, or set {VARIABLE} to the program ({OLDEST}.0 or newer)\n{why}"))
}

/// Fails unless the program runs and is new enough.
fn usable(server: &Path) -> Outcome {
    let said = output(Command::new(server).arg("--version"))?;
    match major(&said) {
        Some(major) if major >= OLDEST => Ok(()),
        _ => Err(format!("{} is not usable: expected version {OLDEST}.0 or newer, found `{}`", server.display(), said.trim())),
    }
}

/// The first number behind `v=`.
fn major(said: &str) -> Option<u32> {
    said.split_whitespace().find_map(|word| word.strip_prefix("v="))?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_the_server_says() {
        assert_eq!(major("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=0"), Some(7));
        assert_eq!(major("Redis server v=10.0.1"), Some(10));
        assert_eq!(major("something else"), None);
    }
}
