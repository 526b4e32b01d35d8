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

/// Every text file of the project that is not Rust: manifests, pages, scripts, samples.
#[must_use]
pub fn other_texts() -> Vec<File> {
    let root = workspace_root();
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() {
                let own = name != "target" && name != ".git";
                folders.extend(own.then_some(path));
            } else if path.extension().is_none_or(|kind| kind != "rs" && kind != "lock")
                && let (Ok(text), Ok(short)) = (std::fs::read_to_string(&path), path.strip_prefix(&root))
            {
                files.push(File { path: short.to_string_lossy().into_owned(), text });
            }
        }
    }
    files
}

/// The two files that read the clock.
const CLOCKS: [&str; 2] = ["crates/heartbeat-daemon/src/clock.rs", "crates/heartbeat-probe/src/clock.rs"];
/// The one file with unsafe code.
const UNSAFE: &str = "crates/heartbeat-process/src/sys.rs";
/// The laws themselves name what they forbid.
const LAWS: [&str; 4] =
    ["tests/src/source.rs", "tests/src/rooms.rs", "tests/src/meaning.rs", "tests/tests/laws.rs"];

/// Lines of the product: outside the laws, the tests, and comments.
pub(crate) fn product(files: &[File]) -> impl Iterator<Item = (&File, usize, &str)> {
    let test_files: Vec<String> = files.iter().flat_map(test_modules).collect();
    files
        .iter()
        .filter(move |file| {
            let tests = file.path.contains("/tests/")
                || file.path.contains("/benches/")
                || file.path.starts_with("tests/")
                || test_files.contains(&file.path);
            !tests && !LAWS.contains(&file.path.as_str())
        })
        .flat_map(|file| product_lines(&file.text).into_iter().map(move |(at, line)| (file, at, line)))
}

/// Numbered lines without comments and without the items under `#[cfg(test)]`. An item ends at a `;` that closes its
/// first line, or at the `}` in its own column: rustfmt sees to that.
fn product_lines(text: &str) -> Vec<(usize, &str)> {
    let mut kept = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let bare = line.trim_start();
        if bare.starts_with("#[cfg(test)]") {
            let end = format!("{}}}", &line[..line.len() - bare.len()]);
            let item = lines.find(|(_, next)| !next.trim_start().starts_with("#["));
            let closed = |line: &str| line.ends_with(';') || line.ends_with('}');
            if !item.is_some_and(|(_, first)| closed(first.trim_end())) {
                lines.find(|(_, next)| *next == end);
            }
        } else if !bare.starts_with("//") {
            kept.push((at + 1, line));
        }
    }
    kept
}

/// Where the modules can be that a file declares under `#[cfg(test)]`.
fn test_modules(file: &File) -> Vec<String> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let folder = match name {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        other => format!("{folder}/{}", other.trim_end_matches(".rs")),
    };
    let mut found = Vec::new();
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    for pair in lines.windows(2) {
        let module = pair[1].strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'));
        if let Some(module) = module.filter(|_| pair[0] == "#[cfg(test)]") {
            found.extend([format!("{folder}/{module}.rs"), format!("{folder}/{module}/mod.rs")]);
        }
    }
    found
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

/// The part of law 4 for a child that shares the launcher's memory: SIGKILL may end it anywhere, so it allocates nothing
/// and calls the C library for nothing. (A test of its crate shows that rustix does not, either.)
#[must_use]
pub fn child_violations(files: &[File]) -> Vec<String> {
    const OF_A_CHILD: &str = "crates/heartbeat-process/src/child.rs";
    let allocates =
        ["format!", "vec!", "Vec::", "String::", "Box::", ".to_owned()", ".to_string()", ".collect"];
    let calls = ["std::fs", "std::process", "libc::", "nix::unistd", "nix::sys", "nix::fcntl"];
    let found = product(files).filter(|(file, ..)| file.path == OF_A_CHILD);
    let found = found.filter(|(_, _, line)| allocates.iter().chain(&calls).any(|word| line.contains(word)));
    found.map(|(file, at, line)| format!("{}:{at}: {}", file.path, line.trim())).collect()
}

/// Law 5: only wire types, raw configuration, the durable half of a realm, stored records and the simulator's
/// recordings derive serde.
#[must_use]
pub fn serde_violations(files: &[File]) -> Vec<String> {
    let allowed = |path: &str| {
        path.starts_with("crates/heartbeat-wire/src/")
            // The result of a probe, for programs that embed the probes.
            || path == "crates/heartbeat-status/src/result.rs"
            || path == "crates/heartbeat-sim/src/recording.rs"
            // What outlives heartbeatd.
            || path == "crates/heartbeat-supervisor/src/record.rs"
            || path.starts_with("crates/heartbeat-supervisor/src/durable/")
            || path == "crates/heartbeat-daemon/src/storage/stored.rs"
    };
    let mut broken = Vec::new();
    let mut open = false;
    for (file, at, line) in product(files) {
        // rustfmt breaks a long list of derives into lines.
        open |= line.contains("derive(");
        if open && (line.contains("Serialize") || line.contains("Deserialize")) && !allowed(&file.path) {
            broken.push(format!("{}:{at}: {}", file.path, line.trim()));
        }
        open &= !line.contains(')');
    }
    broken
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

/// Law 7: a bound that is a bare number says in its name of what.
#[must_use]
pub fn unit_violations(files: &[File]) -> Vec<String> {
    product(files)
        .filter(|(_, _, line)| constant(line).is_some_and(|(name, kind)| !says_its_unit(name, kind)))
        .map(|(file, at, line)| format!("{}:{at}: no unit in the name: {}", file.path, line.trim()))
        .collect()
}

/// Name and type of a constant declared on the line.
fn constant(line: &str) -> Option<(&str, &str)> {
    let declared = line.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
    let (name, rest) = declared.strip_prefix("const ")?.split_once(':')?;
    Some((name.trim(), rest.split_once('=')?.0.trim()))
}

fn says_its_unit(name: &str, kind: &str) -> bool {
    const NUMBERS: [&str; 12] =
        ["u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "f32", "f64"];
    const OF_AMOUNT: [&str; 6] = ["MAX", "MIN", "LIMIT", "BOUND", "BACKLOG", "CAPACITY"];
    const OF_TIME: [&str; 8] =
        ["TIMEOUT", "DEADLINE", "WAIT", "GRACE", "INTERVAL", "GAP", "DELAY", "PATIENCE"];
    const UNITS_OF_TIME: [&str; 7] = ["NS", "US", "MS", "S", "MILLIS", "SECONDS", "MINUTES"];
    const OTHER_UNITS: [&str; 2] = ["COUNT", "PERCENT"];
    if !NUMBERS.contains(&kind) {
        return true;
    }
    let words: Vec<&str> = name.split('_').collect();
    let any = |list: &[&str]| words.iter().any(|word| list.contains(word));
    if any(&OF_TIME) && !any(&OF_AMOUNT) {
        return any(&UNITS_OF_TIME);
    }
    // A unit is a plural: BYTES, CHARS, RESTARTS.
    !any(&OF_AMOUNT)
        || any(&UNITS_OF_TIME)
        || any(&OTHER_UNITS)
        || words.iter().any(|word| word.len() > 2 && word.ends_with('S'))
}

/// `run-beat` runs a job in the foreground of its caller: no realm, and nothing that heartbeatd supervises.
const JOBS: &str = "bins/heartbeat-cli/src/beat.rs";

/// Law 8: what clippy bans is excused only where the law allows it.
#[must_use]
pub fn escape_violations(files: &[File]) -> Vec<String> {
    let mut broken = found(files, &["clippy::disallowed_methods", "clippy::disallowed_types"], |path| {
        [JOBS, "crates/heartbeat-process/src/spawn.rs"].contains(&path) || CLOCKS.contains(&path)
    });
    broken.extend(found(files, &["thread::sleep", "tokio::process", "HashMap", "HashSet"], |_| false));
    broken
}

/// Law 8: the one ban list is not replaced by another nearer to a crate.
#[must_use]
pub fn ban_list_violations(paths: &[&str]) -> Vec<String> {
    let replaces = |path: &&&str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        matches!(name, "clippy.toml" | ".clippy.toml") && **path != "clippy.toml"
    };
    paths.iter().filter(replaces).map(|path| format!("{path} replaces the ban list")).collect()
}

/// What is unfinished, or speaks of the machine it was written on.
#[must_use]
pub fn tidy_violations(files: &[File]) -> Vec<String> {
    let words = ["TODO", "FIXME", "XXX:", "#[ignore", "todo!(", "unimplemented!(", "/root/", "/home/"];
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
