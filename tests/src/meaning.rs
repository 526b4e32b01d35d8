//! Rules for meaning: a type says it once, and no reader takes it from a sentence.

use crate::source::{File, product};

/// The crates that decide. They know no document of the wire.
const DECIDING: [&str; 3] =
    ["crates/heartbeat-supervisor/src/", "crates/heartbeat-restart/src/", "crates/heartbeat-graph/src/"];
/// Where code still looks into a sentence, and why; this list only shrinks.
const SENTENCES_READ: &[(&str, &str)] = &[
    ("crates/heartbeat-config/src/document.rs", "the parser of TOML gives its reason as text alone"),
    ("crates/heartbeat-sim/src/invariant/notifications.rs", "the reference knows the sentences"),
    ("crates/heartbeat-wire/src/headline.rs", "the renderer shortens its own sentence"),
    ("crates/heartbeat-wire/src/render.rs", "the renderer shortens its own sentence"),
    ("bins/heartbeat-cli/src/act.rs", "a sentence of heartbeatd is shown without its first words"),
    ("bins/heartbeat-cli/src/advice.rs", "the status of an answer has no field of its own"),
    ("bins/heartbeat-cli/src/exit.rs", "a realm that is missing has no problem of its own"),
    ("bins/heartbeat-cli/src/import/variables.rs", "the text of a variable in the file of another tool"),
    ("bins/heartbeat-cli/src/hold.rs", "a sentence of heartbeatd is shown without its first words"),
];
/// Words of the contract that this version reads and never says.
const NEVER_SAID: &[&str] = &["Suspended"];
/// Notices that say more to heartbeatd than the fact of the same name says to the state machine.
const RICHER_NOTICES: [&str; 3] = ["Started", "StartFailed", "MainChanged"];

/// The one place that knows how a duration and a size are read and written.
const QUANTITIES: &str = "crates/heartbeat-status/src/quantity.rs";
/// The one place that compares words for "did you mean".
const SUGGESTIONS: &str = "crates/heartbeat-status/src/suggestions.rs";

/// A second table of units, or a second comparison of words.
#[must_use]
pub fn repeated_places(files: &[File]) -> Vec<String> {
    const UNITS: [&str; 7] = ["\"ms\"", "\"h\"", "\"d\"", "\"days\"", "\"KiB\"", "\"MiB\"", "\"GiB\""];
    const SCALES: [&str; 8] = ["3_600", "3600", "60 * 60", "86_400", "<< 10", "<< 20", "<< 30", "1024"];
    let any = |words: &[&str], line: &str| words.iter().any(|word| line.contains(word));
    product(files)
        .filter(|(file, _, line)| match file.path.as_str() {
            QUANTITIES | SUGGESTIONS => false,
            _ => line.contains("strsim::") || any(&UNITS, line) && any(&SCALES, line),
        })
        .map(|(file, at, line)| format!("{}:{at}: {}", file.path, line.trim()))
        .collect()
}

/// The core names no type of the wire.
#[must_use]
pub fn wire_violations(files: &[File]) -> Vec<String> {
    product(files)
        .filter(|(file, _, line)| {
            DECIDING.iter().any(|folder| file.path.starts_with(folder)) && line.contains("_wire::")
        })
        .map(|(file, at, line)| format!("{}:{at}: {}", file.path, line.trim()))
        .collect()
}

/// A decision that depends on the words of a message.
#[must_use]
pub fn sentence_violations(files: &[File]) -> Vec<String> {
    const SENTENCES: [&str; 2] = ["message", "detail"];
    const LOOKS: [&str; 7] =
        ["starts_with", "ends_with", "contains", "strip_prefix", "strip_suffix", "find", "rfind"];
    let looks = |line: &str| {
        SENTENCES.iter().any(|name| {
            line.match_indices(name).any(|(at, _)| {
                let rest = line[at + name.len()..].trim_start_matches(".as_str()");
                let look = |word: &&str| {
                    let argument = rest.strip_prefix('.').and_then(|rest| rest.strip_prefix(*word));
                    argument.is_some_and(|argument| argument.starts_with("(\"") || argument.starts_with("('"))
                };
                LOOKS.iter().any(look) || rest.starts_with(" == \"")
            })
        })
    };
    let excused = |path: &str| SENTENCES_READ.iter().any(|(file, _)| path == *file);
    product(files)
        .filter(|(file, _, line)| !excused(&file.path) && looks(line))
        .map(|(file, at, line)| format!("{}:{at}: {}", file.path, line.trim()))
        .collect()
}

/// Variants of `kind`, which the file at `home` defines, that no product code outside it names: words of a feature that
/// is not built.
#[must_use]
pub fn stub_variants(files: &[File], home: &str, kind: &str) -> Vec<String> {
    let Some(defined) = files.iter().find(|file| file.path == home) else {
        return vec![format!("{home} is missing")];
    };
    let named = |variant: &str| {
        let path = format!("{kind}::{variant}");
        product(files).any(|(file, _, line)| {
            file.path != home
                && line.match_indices(variant).any(|(at, _)| {
                    let before = &line[..at];
                    let after = line[at + variant.len()..].chars().next();
                    let whole = !after.is_some_and(|c| c.is_alphanumeric() || c == '_');
                    // By its path, or as one of several that a file imports from it.
                    whole && (line.contains(&path) || before.ends_with([' ', ',', '(', '{', '|', ':']))
                })
        })
    };
    let stubs = variants(&defined.text, kind).into_iter();
    stubs
        .filter(|variant| !NEVER_SAID.contains(variant) && !named(variant))
        .map(|variant| format!("{home}: nothing makes {kind}::{variant}"))
        .collect()
}

/// Notices of the process adapter that repeat a fact of a run.
#[must_use]
pub fn repeated_facts(notices: &str, facts: &str) -> Vec<String> {
    let facts = variants(facts, "RunFact");
    let repeats = |notice: &&str| facts.contains(notice) && !RICHER_NOTICES.contains(notice);
    variants(notices, "Notice").into_iter().filter(repeats).map(ToOwned::to_owned).collect()
}

/// The variants of an enumeration: lines of its block, one level in, that begin with a capital letter.
fn variants<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let mut lines = text.lines().skip_while(|line| {
        let rest = line.trim_start().strip_prefix("pub enum ").and_then(|rest| rest.strip_prefix(name));
        !rest.is_some_and(|rest| rest.starts_with(' '))
    });
    let Some(first) = lines.next() else { return Vec::new() };
    let indent = first.len() - first.trim_start().len();
    let block = lines.take_while(|line| !(line.trim_start() == "}" && line.len() == indent + 1));
    block
        .filter(|line| line.len() - line.trim_start().len() == indent + 4)
        .map(|line| {
            let line = line.trim_start();
            &line[..line.find(|c: char| !c.is_alphanumeric()).unwrap_or(line.len())]
        })
        .filter(|word| word.starts_with(char::is_uppercase))
        .collect()
}
