//! What source files may say.

use std::path::Path;

use crate::workspace_root;

/// A source file, by its path from the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Path from the root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Every Rust file of the workspace that is the project's own.
#[must_use]
pub fn sources() -> Vec<File> {
    let root = workspace_root();
    let mut files = Vec::new();
    for folder in ["crates", "bins", "examples", "tests"] {
        collect(&root, &root.join(folder), &mut files);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<File>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(root, &path, files);
            }
        } else if path.extension().is_some_and(|kind| kind == "rs")
            && let (Ok(text), Ok(short)) = (std::fs::read_to_string(&path), path.strip_prefix(root))
        {
            files.push(File { path: short.to_string_lossy().replace('\\', "/"), text });
        }
    }
}

/// The two files that read the clock.
const CLOCKS: [&str; 2] = ["crates/heartbeat-daemon/src/clock.rs", "crates/heartbeat-probe/src/clock.rs"];
/// The one file with unsafe code.
const UNSAFE: &str = "crates/heartbeat-process/src/sys.rs";
/// The laws themselves name what they forbid.
const LAWS: [&str; 2] = ["tests/src/source.rs", "tests/tests/laws.rs"];

/// Lines of the product: outside the laws, the tests, and comments; cut at the unit tests of a file.
fn product(files: &[File]) -> impl Iterator<Item = (&File, usize, &str)> {
    let product = files.iter().filter(|file| {
        let tests = file.path.contains("/tests/")
            || file.path.contains("/benches/")
            || file.path.starts_with("tests/");
        !tests && !LAWS.contains(&file.path.as_str())
    });
    product.flat_map(|file| {
        let end = file.text.find("#[cfg(test)]").unwrap_or(file.text.len());
        let lines = file.text[..end].lines().enumerate();
        lines
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(move |(at, line)| (file, at + 1, line))
    })
}

fn found(files: &[File], words: &[&str], allowed: impl Fn(&str) -> bool) -> Vec<String> {
    product(files)
        .filter(|(file, _, line)| !allowed(&file.path) && words.iter().any(|word| line.contains(word)))
        .map(|(file, at, line)| format!("{}:{at}: {}", file.path, line.trim()))
        .collect()
}

/// Law 3: two files read the operating system's clock.
#[must_use]
pub fn clock_violations(files: &[File]) -> Vec<String> {
    let words = [
        "clock_gettime",
        "Instant::now",
        "SystemTime::now",
        " ClockId::",
        "(ClockId::",
        "Timestamp::now",
        "Zoned::now",
    ];
    found(files, &words, |path| CLOCKS.contains(&path))
}

/// Law 4: unsafe code stands in one file, and each piece of it says why and why it is safe.
#[must_use]
pub fn unsafe_violations(files: &[File]) -> Vec<String> {
    let mut broken =
        found(files, &["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe_code"], |path| {
            path == UNSAFE
        });
    for file in files.iter().filter(|file| file.path == UNSAFE) {
        let blocks = file.text.matches("unsafe {").count();
        for needed in ["unsafe_code, reason", "// SAFETY:"] {
            if file.text.matches(needed).count() < blocks {
                broken.push(format!("{}: {blocks} unsafe blocks, fewer `{needed}`", file.path));
            }
        }
    }
    broken
}

/// Law 5: only wire types, raw configuration, stored records and the simulator's recordings derive serde.
#[must_use]
pub fn serde_violations(files: &[File]) -> Vec<String> {
    let allowed = |path: &str| {
        path.starts_with("crates/heartbeat-status/src/wire/")
            || path.starts_with("crates/heartbeat-sim/src/")
            || path.starts_with("bins/heartbeat-cli/src/")
    };
    product(files)
        .filter(|(file, _, line)| {
            let derives =
                line.contains("derive(") && (line.contains("Serialize") || line.contains("Deserialize"));
            derives && !allowed(&file.path)
        })
        .map(|(file, at, line)| format!("{}:{at}: {}", file.path, line.trim()))
        .collect()
}

/// Law 6: no room without a name of its own.
#[must_use]
pub fn name_violations(files: &[File]) -> Vec<String> {
    let rooms = ["common", "core", "utils", "util", "helpers", "helper", "types", "manager", "misc"];
    let parts =
        |path: &str| path.trim_end_matches(".rs").split('/').map(ToOwned::to_owned).collect::<Vec<_>>();
    let nameless = |file: &&File| {
        parts(&file.path).iter().any(|part| {
            rooms.contains(&part.as_str()) || rooms.iter().any(|room| *part == format!("heartbeat-{room}"))
        })
    };
    files.iter().filter(nameless).map(|file| file.path.clone()).collect()
}

/// Law 7: every queue has a bound.
#[must_use]
pub fn unbounded_violations(files: &[File]) -> Vec<String> {
    let words = ["unbounded_channel", "mpsc::unbounded", "mpsc::channel()", "UnboundedSender"];
    found(files, &words, |_| false)
}

/// Law 8: what clippy bans is excused only where the law allows it.
#[must_use]
pub fn escape_violations(files: &[File]) -> Vec<String> {
    let mut broken = found(files, &["clippy::disallowed_methods", "clippy::disallowed_types"], |path| {
        path == "crates/heartbeat-process/src/spawn.rs" || CLOCKS.contains(&path)
    });
    broken.extend(found(files, &["thread::sleep", "tokio::process", "HashMap", "HashSet"], |_| false));
    broken
}

/// What is unfinished, or speaks of the machine it was written on.
#[must_use]
pub fn tidy_violations(files: &[File]) -> Vec<String> {
    let words = ["TODO", "FIXME", "XXX:", "#[ignore", "todo!(", "unimplemented!(", "/root/", "/work/"];
    let mut broken = Vec::new();
    for file in files.iter().filter(|file| !LAWS.contains(&file.path.as_str())) {
        for (at, line) in file.text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(*word)) {
                broken.push(format!("{}:{}: {word}", file.path, at + 1));
            }
        }
        if file.path.ends_with("src/lib.rs") && !file.text.starts_with("//!") {
            broken.push(format!("{} does not open with what it is", file.path));
        }
    }
    broken
}
