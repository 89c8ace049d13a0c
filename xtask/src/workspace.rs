//! What cargo knows of the workspace, read once from `cargo metadata`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

use crate::run::{Outcome, cargo, output};

/// The workspace: its packages, and where things are.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    metadata: Value,
}

impl Workspace {
    /// Returns the workspace this program belongs to.
    pub(crate) fn load() -> Outcome<&'static Self> {
        static LOADED: OnceLock<Outcome<Workspace>> = OnceLock::new();
        let load = || Self::read(&[]);
        LOADED.get_or_init(load).as_ref().map_err(Clone::clone)
    }

    /// Returns the workspace that `cargo metadata` describes with these arguments.
    pub(crate) fn read(arguments: &[&str]) -> Outcome<Self> {
        let text = output(cargo().args(["metadata", "--format-version", "1", "--quiet"]).args(arguments))?;
        let metadata = serde_json::from_str(&text).map_err(|error| format!("`cargo metadata` is not understood: {error}"))?;
        Ok(Self { metadata })
    }

    /// Returns the folder of the root manifest.
    pub(crate) fn root(&self) -> Outcome<&Path> {
        text(&self.metadata, "workspace_root").map(Path::new)
    }

    /// Returns the folder that cargo builds into.
    pub(crate) fn target(&self) -> Outcome<&Path> {
        text(&self.metadata, "target_directory").map(Path::new)
    }

    /// Returns every package, dependencies included.
    pub(crate) fn packages(&self) -> impl Iterator<Item = Package<'_>> {
        list(&self.metadata, "packages").map(Package)
    }

    /// Returns the workspace's own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = Package<'_>> {
        let members: BTreeSet<&str> = list(&self.metadata, "workspace_members").filter_map(Value::as_str).collect();
        self.packages().filter(move |package| text(package.0, "id").is_ok_and(|id| members.contains(id)))
    }

    /// Returns the member of this name.
    pub(crate) fn member(&self, name: &str) -> Outcome<Package<'_>> {
        let found = self.members().find(|package| package.name() == name);
        found.ok_or_else(|| format!("expected a package `{name}` in the workspace, found none"))
    }
}

/// One package.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package<'a>(&'a Value);

impl<'a> Package<'a> {
    pub(crate) fn name(self) -> &'a str {
        text(self.0, "name").unwrap_or_default()
    }

    pub(crate) fn version(self) -> &'a str {
        text(self.0, "version").unwrap_or_default()
    }

    /// The oldest compiler that the package says it builds with.
    pub(crate) fn rust_version(self) -> Option<&'a str> {
        self.0.get("rust_version").and_then(Value::as_str)
    }

    pub(crate) fn features(self) -> impl Iterator<Item = &'a str> {
        self.0.get("features").and_then(Value::as_object).into_iter().flat_map(|features| features.keys().map(String::as_str))
    }

    /// The versions of another package that this one may be built with.
    pub(crate) fn requires(self, name: &str) -> Option<&'a str> {
        let dependency =
            list(self.0, "dependencies").find(|dependency| text(dependency, "name").is_ok_and(|found| found == name))?;
        text(dependency, "req").ok()
    }

    pub(crate) fn folder(self) -> Outcome<PathBuf> {
        let manifest = Path::new(text(self.0, "manifest_path")?);
        manifest.parent().map(Path::to_owned).ok_or_else(|| format!("expected a folder above {}", manifest.display()))
    }

    /// The names of the package's targets of this kind: `bin`, `example`, `bench`.
    pub(crate) fn targets(self, kind: &str) -> impl Iterator<Item = &'a str> {
        list(self.0, "targets")
            .filter(move |target| list(target, "kind").any(|found| found.as_str() == Some(kind)))
            .filter_map(|target| text(target, "name").ok())
    }
}

fn text<'a>(value: &'a Value, field: &str) -> Outcome<&'a str> {
    value.get(field).and_then(Value::as_str).ok_or_else(|| format!("expected a text `{field}` in cargo's metadata, found none"))
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}
