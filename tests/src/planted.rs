//! Planted bugs: how strong the tests are, as a figure.
//!
//! `tests/planted/AREA.toml` lists realistic bugs. Each replaces one passage of a source file, and names the rule that
//! it breaks. `cargo run -p heartbeat-tests --bin planted-bugs` plants them one at a time in a copy of the tree, runs
//! the tests of the area, and prints how many were caught. A law checks that every passage still occurs exactly once.

use std::path::Path;

/// The bugs of one part of the code, and the tests that have to catch them.
#[derive(Clone, Debug)]
pub struct Area {
    /// Name of the file in `tests/planted`, without `.toml`.
    pub name: String,
    /// Arguments of `cargo test`, one list per run; later runs happen only when the earlier ones pass.
    pub tests: Vec<Vec<String>>,
    /// The bugs, in the order of the file.
    pub bugs: Vec<Bug>,
}

/// One bug that can be planted.
#[derive(Clone, Debug)]
pub struct Bug {
    /// The rule that it breaks, in words.
    pub rule: String,
    /// Source file, relative to the root of the workspace.
    pub file: String,
    /// The passage that is replaced. It occurs once in the file.
    pub find: String,
    /// What stands in its place.
    pub put: String,
}

/// Reads every list in `tests/planted`, in the order of their names.
///
/// # Panics
/// When a list cannot be read or lacks a part: the test suite is broken then.
#[must_use]
pub fn areas(root: &Path) -> Vec<Area> {
    let folder = root.join("tests/planted");
    let mut paths: Vec<_> =
        std::fs::read_dir(&folder).expect("tests/planted").flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .map(|path| area(path))
        .collect()
}

fn area(path: &Path) -> Area {
    let shown = path.display();
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{shown}: {error}"));
    let list = |value: &toml::Value| -> Vec<toml::Value> {
        value.as_array().unwrap_or_else(|| panic!("{shown}: a list is expected")).clone()
    };
    let words = |value: &toml::Value| list(value).iter().map(|word| string(word, path)).collect();
    let member = |bug: &toml::Value, name: &str| {
        string(bug.get(name).unwrap_or_else(|| panic!("{shown}: a bug without `{name}`")), path)
    };
    Area {
        name: path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        tests: list(table.get("tests").unwrap_or_else(|| panic!("{shown}: no `tests`")))
            .iter()
            .map(words)
            .collect(),
        bugs: list(table.get("bug").unwrap_or_else(|| panic!("{shown}: no [[bug]]")))
            .iter()
            .map(|bug| Bug {
                rule: member(bug, "rule"),
                file: member(bug, "file"),
                find: member(bug, "find"),
                put: member(bug, "put"),
            })
            .collect(),
    }
}

fn string(value: &toml::Value, path: &Path) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{}: a string is expected, not {value}", path.display()))
        .to_owned()
}

/// Why a bug cannot be planted in this text of its file: `None` when it can.
#[must_use]
pub fn misplaced(bug: &Bug, text: &str) -> Option<String> {
    match (text.matches(bug.find.as_str()).count(), bug.find == bug.put) {
        (_, true) => Some(format!("{}: {:?} changes nothing", bug.file, bug.rule)),
        (1, _) => None,
        (times, _) => Some(format!("{}: the passage of {:?} occurs {times} times", bug.file, bug.rule)),
    }
}
