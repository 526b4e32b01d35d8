//! Which crate may import which.

use std::path::{Path, PathBuf};

use crate::source::File;

/// What a crate depends on, in every kind of dependency and for every target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Package name.
    pub name: String,
    /// Names of its dependencies.
    pub dependencies: Vec<String>,
}

/// Layers of the architecture. Imports go strictly down.
const LAYERS: &[(&str, u8)] = &[
    ("heartbeat-status", 0),
    ("heartbeat-http", 0),
    ("heartbeat-wire", 1),
    ("heartbeat-graph", 2),
    ("heartbeat-restart", 2),
    ("heartbeat-probe", 2),
    ("heartbeat-process", 2),
    ("heartbeat-logs", 2),
    ("heartbeat-template", 2),
    ("heartbeat-supervisor", 3),
    ("heartbeat-config", 4),
    ("heartbeat-api", 4),
    ("heartbeat-client", 4),
    ("heartbeat-notify", 3),
    ("heartbeat-store", 4),
    ("heartbeat-daemon", 5),
    ("heartbeatd", 6),
    ("heartbeat-cli", 6),
    // Development only: they may see everything below.
    ("heartbeat-sim", 7),
    ("heartbeat-tests", 7),
    ("embed-probe", 7),
];

/// The crates that may depend on libraries with side effects.
const OUTSIDE: &[(&str, &[&str])] = &[
    (
        "tokio",
        &[
            "heartbeat-http",
            "heartbeat-probe",
            "heartbeat-api",
            "heartbeat-client",
            "heartbeat-notify",
            "heartbeat-daemon",
            "heartbeatd",
            "heartbeat-cli",
            "embed-probe",
            "heartbeat-tests",
        ],
    ),
    ("axum", &["embed-probe", "heartbeat-probe"]),
    ("hyper", &["heartbeat-http", "heartbeat-probe", "heartbeat-api", "embed-probe"]),
    ("h2", &["heartbeat-http"]),
    ("simple-dns", &["heartbeat-probe"]),
    ("hyper-util", &["heartbeat-http", "heartbeat-api", "embed-probe"]),
    ("anyhow", &["heartbeatd", "heartbeat-cli"]),
    ("nix", &["heartbeat-process", "heartbeat-logs", "heartbeat-api", "heartbeat-daemon", "heartbeat-tests"]),
    ("libc", &["heartbeat-process", "heartbeat-logs"]),
    ("figment", &["heartbeat-config"]),
    ("petgraph", &["heartbeat-graph"]),
    ("minijinja", &["heartbeat-template"]),
    ("rusqlite", &["heartbeat-store"]),
];

fn layer(name: &str) -> Option<u8> {
    LAYERS.iter().find(|(known, _)| *known == name).map(|(_, layer)| *layer)
}

/// The root of the workspace.
#[must_use]
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_owned)
}

impl Manifest {
    /// Reads every package of the workspace.
    ///
    /// # Panics
    /// When a manifest cannot be read: the workspace is broken then.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let root = workspace_root();
        let mut found = Vec::new();
        for group in ["crates", "bins", "examples"] {
            for entry in std::fs::read_dir(root.join(group)).expect("the workspace's folders").flatten() {
                found.extend(Self::read(&entry.path().join("Cargo.toml")));
            }
        }
        found.extend(Self::read(&root.join("tests").join("Cargo.toml")));
        found
    }

    fn read(path: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(path).ok()?)
    }

    /// From the text of a `Cargo.toml`; `None` when it describes no package.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let table: toml::Table = text.parse().ok()?;
        let name = table.get("package")?.get("name")?.as_str()?.to_owned();
        // A test of a product crate may look down as well, but neither up nor sideways.
        let mut dependencies = Vec::new();
        let targets = table.get("target").and_then(toml::Value::as_table);
        for holder in std::iter::once(&table)
            .chain(targets.into_iter().flat_map(toml::Table::values).filter_map(toml::Value::as_table))
        {
            for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
                let listed = holder.get(kind).and_then(toml::Value::as_table).into_iter().flatten();
                dependencies.extend(listed.map(|(key, value)| {
                    let renamed = value.get("package").and_then(toml::Value::as_str);
                    renamed.unwrap_or(key).to_owned()
                }));
            }
        }
        Some(Self { name, dependencies })
    }
}

/// Law 1: import arrows only go down; siblings never import each other.
#[must_use]
pub fn import_violations(manifests: &[Manifest]) -> Vec<String> {
    let mut broken = Vec::new();
    for manifest in manifests {
        let Some(own) = layer(&manifest.name) else {
            broken.push(format!("{} has no layer: give it one in tests/src/manifest.rs", manifest.name));
            continue;
        };
        for dependency in &manifest.dependencies {
            if let Some(other) = layer(dependency).filter(|other| *other >= own) {
                broken.push(format!("{} (layer {own}) imports {dependency} (layer {other})", manifest.name));
            }
        }
    }
    broken
}

/// Law 2: tokio, hyper, nix and the like appear only in the crates that need them.
#[must_use]
pub fn external_violations(manifests: &[Manifest]) -> Vec<String> {
    let mut broken = Vec::new();
    for manifest in manifests {
        for (external, allowed) in OUTSIDE {
            let has = manifest.dependencies.iter().any(|dependency| dependency == external);
            if has && !allowed.contains(&manifest.name.as_str()) {
                broken.push(format!("{} depends on {external}", manifest.name));
            }
        }
    }
    broken
}

/// A dependency that no source file of its package names. A package stands in a folder of its name, the tests in `tests`.
#[must_use]
pub fn unused_dependencies(manifests: &[Manifest], files: &[File]) -> Vec<String> {
    let mut broken = Vec::new();
    for manifest in manifests {
        let folders = ["crates", "bins", "examples"].map(|folder| format!("{folder}/{}/", manifest.name));
        let own = |file: &&File| match manifest.name.as_str() {
            "heartbeat-tests" => file.path.starts_with("tests/"),
            _ => folders.iter().any(|folder| file.path.starts_with(folder)),
        };
        for dependency in &manifest.dependencies {
            let name = dependency.replace('-', "_");
            if !files.iter().filter(own).any(|file| file.text.contains(&name)) {
                broken.push(format!("{} does not use {dependency}", manifest.name));
            }
        }
    }
    broken
}
