//! Finds the Redis server that the tests run, or fetches one below the target folder.

use std::path::{Path, PathBuf};

use crate::run::{Outcome, works};
use crate::workspace::Workspace;
use crate::{debs, tools};

/// The variable through which the tests are told.
pub(crate) const VARIABLE: &str = "REDIS_SERVER";

/// Returns the server that `REDIS_SERVER` names, else the one in `PATH`, else a copy fetched earlier, else fetches one.
pub(crate) fn server() -> Outcome<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        return match tools::in_path(&named) {
            Some(path) if works(&path, "--version") => Ok(path),
            _ => Err(format!("{VARIABLE} names {}, which does not run", named.display())),
        };
    }
    if let Some(path) = tools::in_path(Path::new("redis-server")).filter(|path| works(path, "--version")) {
        return Ok(path);
    }
    let folder = Workspace::load()?.target()?.join("redis");
    let fetched = folder.join("redis-server");
    if works(&fetched, "--version") {
        return Ok(fetched);
    }
    fetch(&folder)
}

fn fetch(folder: &Path) -> Outcome<PathBuf> {
    if !debs::available() {
        let install = if cfg!(target_os = "macos") { "`brew install redis`" } else { "the redis-server package of your system" };
        return Err(format!("no redis-server: install {install}, or set {VARIABLE} to the program (7.0 or newer)"));
    }
    eprintln!("no redis-server in PATH: fetching one into {}", folder.display());
    let fetched = debs::fetch(&["redis-server", "redis-tools"], folder)
        .and_then(|()| debs::script(folder, "redis-server", "usr/bin/redis-server"));
    let help = format!("install the redis-server package, or set {VARIABLE} to the program (7.0 or newer)");
    let server = fetched.map_err(|why| format!("no redis-server could be fetched: {help}\n{why}"))?;
    if works(&server, "--version") { Ok(server) } else { Err(format!("the fetched redis-server does not run: {help}")) }
}
