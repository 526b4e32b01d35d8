//! Rules for the inside of the crates: one word for one thing, typed errors, comments that say something.

use crate::source::{File, product};

/// Names that the code had before. Each is the word of an older draft for a thing that has another name now.
const FORMER_NAMES: &[&str] = &[
    "Tap",
    "Narrator",
    "Narration",
    "Desk",
    "Teller",
    "Herald",
    "Published",
    "Surface",
    "Book",
    "Books",
    "Pages",
    "Ledger",
    "Ear",
    "Leaf",
    "Door",
    "desk",
    "teller",
    "narrator",
    "herald",
    "ledger",
    "hopeful",
    "foreseen",
    "whoever",
];
/// Crates whose functions still return text as an error; this list only shrinks.
const TEXT_ERRORS: &[&str] = &[
    "heartbeat-probe",
    "heartbeat-config",
    "heartbeat-process",
    "heartbeat-sim",
    "heartbeat-status",
    "heartbeat-tests",
];
/// Crates that still have comments of one or two words; this list only shrinks.
const SHORT_COMMENTS: &[&str] = &[
    "heartbeat-process",
    "heartbeat-probe",
    "heartbeat-config",
    "heartbeat-http",
    "heartbeat-status",
    "heartbeat-notify",
    "heartbeat-store",
    "heartbeat-logs",
];
/// A doc comment has at least so many words.
const MIN_DOC_WORDS: usize = 3;

/// Files of a library whose crate is not `excused`.
fn is_judged(path: &str, excused: &[&str]) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("crates") && parts.next().is_some_and(|name| !excused.contains(&name))
}

/// Code without its text: what stands in quotes is no name.
fn without_text(line: &str) -> String {
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// Identifiers that have another name now.
#[must_use]
pub fn former_name_violations(files: &[File]) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let named = |line: &str| {
        let code = without_text(line.split("//").next().unwrap_or_default());
        code.split(|c| !is_part(c)).any(|word| FORMER_NAMES.contains(&word))
    };
    product(files)
        .filter(|(_, _, line)| named(line))
        .map(|(file, at, line)| format!("{}:{at}: {}", file.path, line.trim()))
        .collect()
}

/// Errors of libraries are types: a text cannot be told from another.
#[must_use]
pub fn text_error_violations(files: &[File]) -> Vec<String> {
    let is_text = |line: &str| {
        line.contains("Result<") && [", String>", ", Vec<String>>"].iter().any(|text| line.contains(text))
    };
    product(files)
        .filter(|(file, _, line)| is_judged(&file.path, TEXT_ERRORS) && is_text(line))
        .map(|(file, at, line)| format!("{}:{at}: {}", file.path, line.trim()))
        .collect()
}

/// A doc comment of one or two words repeats the name below it.
#[must_use]
pub fn short_comment_violations(files: &[File]) -> Vec<String> {
    let mut broken = Vec::new();
    let judged = |file: &&File| file.path.contains("/src/") && is_judged(&file.path, SHORT_COMMENTS);
    for file in files.iter().filter(judged) {
        let mut words = 0;
        let mut first = None;
        for (at, line) in file.text.lines().enumerate() {
            if let Some(doc) = line.trim_start().strip_prefix("///") {
                words += doc.split_whitespace().count();
                first.get_or_insert((at, line));
            } else if let Some((at, line)) = first.take() {
                if words < MIN_DOC_WORDS {
                    broken.push(format!("{}:{}: {}", file.path, at + 1, line.trim()));
                }
                words = 0;
            }
        }
    }
    broken
}
