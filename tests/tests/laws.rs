//! The laws of the architecture, applied to the workspace, and each to a violation that was planted.

use heartbeat_tests::{
    File, Manifest, clock_violations, escape_violations, external_violations, import_violations,
    name_violations, serde_violations, sources, tidy_violations, unbounded_violations, unsafe_violations,
    workspace_root,
};

fn planted(path: &str, text: &str) -> [File; 1] {
    [File { path: path.to_owned(), text: text.to_owned() }]
}

fn manifest(name: &str, dependency: &str) -> [Manifest; 1] {
    [Manifest { name: name.to_owned(), dependencies: vec![dependency.to_owned()] }]
}

fn kept(violations: &[String]) {
    assert!(violations.is_empty(), "broken:\n{}", violations.join("\n"));
}

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace_root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn law_1_imports_go_down() {
    let all = Manifest::all();
    assert!(all.len() >= 15, "the whole workspace is read: {}", all.len());
    kept(&import_violations(&all));
    assert_eq!(import_violations(&manifest("heartbeat-probe", "heartbeat-process")).len(), 1, "siblings");
    assert_eq!(import_violations(&manifest("heartbeat-status", "heartbeat-graph")).len(), 1, "upwards");
    assert_eq!(
        import_violations(&manifest("heartbeat-stranger", "serde")).len(),
        1,
        "a crate without a layer"
    );
    assert_eq!(import_violations(&manifest("heartbeat-daemon", "heartbeat-api")).len(), 0);
}

#[test]
fn law_2_the_outside_appears_where_it_is_needed() {
    kept(&external_violations(&Manifest::all()));
    assert_eq!(external_violations(&manifest("heartbeat-supervisor", "tokio")).len(), 1);
    assert_eq!(external_violations(&manifest("heartbeat-config", "nix")).len(), 1);
}

#[test]
fn the_core_is_pure_by_construction() {
    for pure in ["status", "graph", "restart", "supervisor"] {
        let text = read(&format!("crates/heartbeat-{pure}/src/lib.rs"));
        assert!(text.contains("\n#![no_std]\n"), "heartbeat-{pure} is not no_std");
        assert!(!text.contains("extern crate std"), "heartbeat-{pure} takes std back");
    }
}

#[test]
fn law_3_two_files_read_the_clock() {
    kept(&clock_violations(&sources()));
    let text = "let now = std::time::Instant::now();";
    assert_eq!(clock_violations(&planted("crates/heartbeat-api/src/door.rs", text)).len(), 1);
    assert_eq!(clock_violations(&planted("crates/heartbeat-probe/src/clock.rs", text)).len(), 0);
}

#[test]
fn law_4_unsafe_code_stands_in_one_file() {
    kept(&unsafe_violations(&sources()));
    assert_eq!(unsafe_violations(&planted("crates/heartbeat-api/src/door.rs", "unsafe { x() }")).len(), 1);
    let unexplained = planted("crates/heartbeat-process/src/sys.rs", "unsafe { x() }");
    assert_eq!(unsafe_violations(&unexplained).len(), 2, "no reason, and no word on safety");
    assert!(read("Cargo.toml").contains("unsafe_code = \"deny\""));
}

#[test]
fn law_5_serde_is_for_what_leaves_the_process() {
    kept(&serde_violations(&sources()));
    let text = "#[derive(Debug, Serialize)]";
    assert_eq!(serde_violations(&planted("crates/heartbeat-supervisor/src/plan.rs", text)).len(), 1);
}

#[test]
fn law_6_every_room_has_a_name() {
    kept(&name_violations(&sources()));
    for path in [
        "crates/heartbeat-api/src/utils.rs",
        "crates/heartbeat-core/src/lib.rs",
        "crates/x/src/helpers/mod.rs",
    ] {
        assert_eq!(name_violations(&planted(path, "")).len(), 1, "{path}");
    }
}

#[test]
fn law_7_every_queue_has_a_bound() {
    kept(&unbounded_violations(&sources()));
    let text = "let (a, b) = tokio::sync::mpsc::unbounded_channel();";
    assert_eq!(unbounded_violations(&planted("crates/heartbeat-api/src/door.rs", text)).len(), 1);
}

#[test]
fn law_8_the_bans_hold() {
    kept(&escape_violations(&sources()));
    for text in
        ["#[expect(clippy::disallowed_methods)]", "std::thread::sleep(x)", "use std::collections::HashMap;"]
    {
        assert_eq!(escape_violations(&planted("crates/heartbeat-api/src/door.rs", text)).len(), 1, "{text}");
    }
    let bans = read("clippy.toml");
    for banned in [
        "Instant::now",
        "SystemTime::now",
        "thread::sleep",
        "process::Command",
        "unbounded_channel",
        "HashMap",
    ] {
        assert!(bans.contains(banned), "clippy.toml does not ban {banned}");
    }
    for manifest in Manifest::all() {
        for folder in ["crates", "bins", "examples"] {
            let local = workspace_root().join(folder).join(&manifest.name).join("clippy.toml");
            assert!(!local.exists(), "{} replaces the ban list", local.display());
        }
    }
}

#[test]
fn nothing_is_left_lying_about() {
    kept(&tidy_violations(&sources()));
    assert_eq!(tidy_violations(&planted("crates/x/src/a.rs", "// TODO later")).len(), 1);
    assert_eq!(tidy_violations(&planted("crates/x/src/lib.rs", "mod a;")).len(), 1);
    for package in Manifest::all() {
        let folders =
            ["crates", "bins", "examples"].map(|folder| format!("{folder}/{}/Cargo.toml", package.name));
        let path = folders.into_iter().find(|path| workspace_root().join(path).exists());
        let text = read(&path.unwrap_or_else(|| "tests/Cargo.toml".to_owned()));
        assert!(text.contains("[lints]\nworkspace = true"), "{} does not take the lint table", package.name);
    }
    for file in
        ["LICENSE-MIT", "LICENSE-APACHE", "CHANGELOG.md", "deny.toml", "docs/ARCHITECTURE.md", ".ci/run"]
    {
        assert!(workspace_root().join(file).exists(), "{file} is missing");
    }
}

#[test]
fn the_readme_gives_the_two_commands() {
    let readme = read("README.md");
    assert!(readme.contains("cargo run --release --bin heartbeatd -- demo"));
    assert!(readme.contains("cargo test --workspace"));
    assert!(read(".ci/run").contains("cargo test --workspace"));
}
