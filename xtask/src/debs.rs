//! Fetches programs from a Debian or Ubuntu archive without root: downloads packages, unpacks them below the target folder,
//! and writes a script beside them for each program. Which packages and programs, and whether they work, is the caller's.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Outcome, output, run};

/// Whether this system has the tools for it.
pub(crate) fn available() -> bool {
    cfg!(target_os = "linux") && crate::run::works("apt-get", "--version") && crate::run::works("dpkg-deb", "--version")
}

/// Downloads `packages` and the libraries they need that are not installed, and unpacks them into `folder`/root.
pub(crate) fn fetch(packages: &[&str], folder: &Path) -> Outcome {
    let downloads = folder.join("debs");
    let root = folder.join("root");
    for folder in [&downloads, &root] {
        std::fs::create_dir_all(folder).map_err(|error| format!("no folder {}: {error}", folder.display()))?;
    }
    let mut apt = Apt::system();
    if apt.download(packages, &downloads).is_err() {
        // An image often comes without the archive's lists; ours need no root.
        apt = Apt::own(folder)?;
        apt.update()?;
        apt.download(packages, &downloads)?;
    }
    let needed = apt.libraries(packages)?;
    if !needed.is_empty() {
        apt.download(&needed.iter().map(String::as_str).collect::<Vec<_>>(), &downloads)?;
    }
    let entries = std::fs::read_dir(&downloads).map_err(|error| format!("{}: {error}", downloads.display()))?;
    for deb in entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "deb"))
    {
        output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&root))?;
    }
    Ok(())
}

/// Writes `folder`/`name`, a script that runs `folder`/root/`program` with the libraries unpacked there. It finds them from its
/// own place, and becomes the program: the process id is the program's.
pub(crate) fn script(folder: &Path, name: &str, program: &str) -> Outcome<PathBuf> {
    let mut libraries = BTreeSet::new();
    let root = folder.join("root");
    for place in ["usr/lib", "lib"] {
        library_folders(&root.join(place), &mut libraries);
    }
    let mut path = String::new();
    for library in &libraries {
        if let Ok(library) = library.strip_prefix(folder) {
            let _ = write!(path, "$here/{}:", library.display());
        }
    }
    let text = format!(
        "#!/bin/sh\nhere=$(dirname \"$(readlink -f \"$0\")\")\n\
         LD_LIBRARY_PATH=\"{path}${{LD_LIBRARY_PATH:-}}\"\nexport LD_LIBRARY_PATH\nexec \"$here/root/{program}\" \"$@\"\n"
    );
    let script = folder.join(name);
    std::fs::write(&script, text).map_err(|error| format!("{}: {error}", script.display()))?;
    output(Command::new("chmod").arg("755").arg(&script))?;
    Ok(script)
}

/// The folders below `folder` that hold shared libraries.
fn library_folders(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            library_folders(&path, found);
        } else if entry.file_name().to_string_lossy().contains(".so") {
            found.insert(folder.to_owned());
        }
    }
}

/// The archive's tools, with the system's lists of packages or our own.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn system() -> Self {
        Self { options: Vec::new() }
    }

    fn own(folder: &Path) -> Outcome<Self> {
        let (lists, cache) = (folder.join("apt/lists"), folder.join("apt/cache"));
        for folder in [lists.join("partial"), cache.join("archives/partial")] {
            std::fs::create_dir_all(&folder).map_err(|error| format!("no folder {}: {error}", folder.display()))?;
        }
        let option = |name: &str, path: &Path| format!("{name}={}", path.display());
        let options = [
            option("Dir::State::lists", &lists),
            option("Dir::Cache", &cache),
            // The lock is that of the system's own lists.
            "Debug::NoLocking=1".to_owned(),
            "APT::Sandbox::User=".to_owned(),
        ];
        Ok(Self { options: options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect() })
    }

    fn update(&self) -> Outcome {
        run(Command::new("apt-get").args(&self.options).args(["--quiet", "update"]))
    }

    fn download(&self, packages: &[&str], into: &Path) -> Outcome {
        let mut command = Command::new("apt-get");
        command.args(&self.options).args(["-o", "APT::Sandbox::User=", "--quiet", "download"]);
        output(command.args(packages).current_dir(into)).map(drop)
    }

    /// The libraries that `packages` need, directly or not, and the system lacks.
    fn libraries(&self, packages: &[&str]) -> Outcome<BTreeSet<String>> {
        let installed = output(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status} ${Package}\n"]))?;
        let installed: BTreeSet<&str> = installed.lines().filter_map(|line| line.strip_prefix("installed ")).collect();
        let mut found = BTreeSet::new();
        let mut asked: Vec<String> = packages.iter().map(|package| (*package).to_owned()).collect();
        while !asked.is_empty() {
            let mut command = Command::new("apt-cache");
            command.args(&self.options).args(["depends", "--important"]).args(&asked);
            let needed = output(&mut command)?;
            let missing = |name: &&str| !installed.contains(name) && !packages.contains(name);
            asked = depends(&needed).filter(missing).map(str::to_owned).filter(|name| found.insert(name.clone())).collect();
        }
        Ok(found)
    }
}

/// The libraries among what `apt-cache depends` names; of alternatives the first.
fn depends(text: &str) -> impl Iterator<Item = &str> {
    let mut another = false;
    text.lines().filter_map(move |line| {
        let (kind, name) = line.trim().split_once(": ")?;
        let first = !std::mem::replace(&mut another, kind.starts_with('|'));
        (first && kind.ends_with("Depends") && (name.starts_with("lib") || name.starts_with("lua"))).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_taken_from_what_a_package_depends_on() {
        let text = "redis-tools\n  PreDepends: libpre\n  Depends: adduser\n |Depends: liba\n |Depends: libb\n  Depends: libc\n  \
                    Depends: libd\n    libd-provider\n  Breaks: libe\n";
        assert_eq!(depends(text).collect::<Vec<_>>(), ["libpre", "liba", "libd"]);
    }
}
