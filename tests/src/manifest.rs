//! Who may import whom.

use std::path::{Path, PathBuf};

/// What a crate depends on, development dependencies left out.
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
    ("heartbeat-graph", 1),
    ("heartbeat-restart", 1),
    ("heartbeat-probe", 1),
    ("heartbeat-process", 1),
    ("heartbeat-supervisor", 2),
    ("heartbeat-config", 3),
    ("heartbeat-api", 3),
    ("heartbeat-client", 3),
    ("heartbeat-daemon", 4),
    ("heartbeatd", 5),
    ("heartbeat-cli", 5),
    // Development only: they may see everything below.
    ("heartbeat-sim", 6),
    ("heartbeat-tests", 6),
    ("embed-probe", 6),
];

/// Who may depend on what touches the outside.
const OUTSIDE: &[(&str, &[&str])] = &[
    (
        "tokio",
        &[
            "heartbeat-probe",
            "heartbeat-api",
            "heartbeat-client",
            "heartbeat-daemon",
            "heartbeatd",
            "heartbeat-cli",
            "embed-probe",
            "heartbeat-tests",
        ],
    ),
    ("hyper", &["heartbeat-probe", "heartbeat-api", "heartbeat-client"]),
    ("nix", &["heartbeat-process", "heartbeat-api", "heartbeat-daemon", "heartbeat-tests"]),
    ("libc", &["heartbeat-process"]),
    ("figment", &["heartbeat-config"]),
    ("petgraph", &["heartbeat-graph"]),
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
        let table: toml::Table = std::fs::read_to_string(path).ok()?.parse().ok()?;
        let name = table.get("package")?.get("name")?.as_str()?.to_owned();
        let dependencies = table.get("dependencies").and_then(|table| table.as_table());
        let dependencies = dependencies.map(|table| table.keys().cloned().collect()).unwrap_or_default();
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
