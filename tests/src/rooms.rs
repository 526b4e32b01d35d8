//! Rules for the inside of the crates: one word for one thing, typed errors, comments that say something.

use std::collections::BTreeMap;

use crate::source::{File, product};

/// Names that the code had before: a word, or words in a row, in the parts of an identifier (`in_storm` and `StormFuse`
/// contain `storm`). A capital letter at the front means types alone, since the word is an ordinary one elsewhere.
const FORMER_NAMES: &[&str] = &[
    "tap",
    "narrator",
    "narration",
    "desk",
    "teller",
    "herald",
    "Published",
    "Surface",
    "Ecosystem",
    "Book",
    "Books",
    "Pages",
    "ledger",
    "ledgers",
    "Recorded",
    "realm_record",
    "restart_record",
    "remedy",
    "heal",
    "unmended",
    "acquit",
    "judge",
    "judgement",
    "fault",
    "around",
    "hopeful",
    "stranger",
    "strangers",
    "halted",
    "made_of",
    "mark",
    "leaf",
    "ear",
    "ears",
    "spares",
    "sweep",
    "swept",
    "meet",
    "go",
    "give_up",
    "gives_up",
    "call_off",
    "called_off",
    "door",
    "doors",
    "near",
    "bounded",
    "holder",
    "holders",
    "trouble",
    "troubles",
    "storm",
    "debit",
    "debits",
    "spent",
    "owed",
    "foresee",
    "foreseen",
    "lasts",
    "cx",
    "take_back",
    "goes_home",
    "whoever",
    "nobody",
    "somebody",
];
/// Where a former name is an ordinary word, or a name on the wire or on disk: path or identifier, names, reason.
const ORDINARY: &[(&str, &[&str], &str)] = &[
    ("crates/heartbeat-sim/src/", &["Recorded"], "what a recording holds"),
    ("crates/heartbeat-daemon/src/realms/flight_recorder.rs", &["Recorded"], "what a recording holds"),
    ("crates/heartbeat-daemon/src/demo/story.rs", &["around"], "a sentence for a person"),
    ("crates/heartbeat-logs/src/bound/tests.rs", &["go"], "a sentence"),
    ("StoredEcosystem", &["Ecosystem"], "the file is called `ecosystem`"),
    ("BudgetSpent", &["spent"], "an event and a reason on the wire"),
    ("WhenSpent", &["spent"], "the key `when_spent`"),
    ("when_spent", &["spent"], "the key `when_spent`"),
    ("WHEN_SPENT", &["spent"], "the key `when_spent`"),
    ("StormFuse", &["storm"], "a reason on the wire"),
    ("crates/heartbeat-notify/src/", &["storm"], "many incidents within a short time"),
    ("debits_ns", &["debits"], "a field on disk"),
    ("start_owed", &["owed"], "a field of the old record"),
    ("restart_owed", &["owed"], "a field of the old record"),
    ("crates/heartbeat-supervisor/src/durable/", &["fault"], "a field on disk"),
    ("crates/heartbeat-daemon/src/demo/", &["fault"], "what `heartbeatd demo` breaks, as its flag says"),
    ("bins/heartbeatd/src/", &["fault"], "the flag of `heartbeatd demo`"),
    ("at_fault", &["fault"], "whose fault a failure is"),
    ("is_at_fault", &["fault"], "whose fault a failure is"),
    ("helper_at_fault", &["fault"], "whose fault a failure is"),
    ("own_fault", &["fault"], "whose fault a failure is"),
    ("fails_by_own_fault", &["fault"], "whose fault a failure is"),
    ("fault_is_ours", &["fault"], "whose fault a failure is"),
    ("is_fault", &["fault"], "whose fault a failure is"),
    ("crates/heartbeat-sim/src/", &["fault"], "what a scenario breaks"),
    ("crates/heartbeat-http/src/tls/", &["leaf"], "the certificate of a server itself, as TLS says"),
    ("crates/heartbeat-status/src/status.rs", &["mark"], "the sign before a status"),
    ("crates/heartbeat-api/src/page", &["mark"], "the sign before a status"),
    ("mark_unchanged", &["mark"], "a call of tokio"),
    ("bins/heartbeat-cli/src/", &["mark"], "the sign before a status"),
    ("TokenHolder", &["holder"], "a client with a token"),
    ("MAX_HOLDER_BYTES", &["holder"], "the process that has a lock"),
    ("holder_words", &["holder"], "the process that has a lock"),
    ("crates/heartbeat-daemon/src/storage/", &["holder"], "the process that has a lock"),
    ("crates/heartbeat-daemon/src/error.rs", &["holder"], "the process that has a lock"),
    ("health_restarts_are_bounded", &["bounded"], "an invariant in words"),
    ("shutdown_is_bounded", &["bounded"], "an invariant in words"),
    ("nothing_runs_once_halted", &["halted"], "an invariant in words"),
];
/// Types of which there were several under one name: the one that is left, by its file.
const ONE_MEANING: &[(&str, Option<&str>)] = &[
    ("Answer", Some("crates/heartbeat-api/src/answers/answer.rs")),
    ("Fact", None),
    ("Intent", None),
    ("Memory", None),
    ("Order", None),
    ("Record", None),
    ("Said", Some("crates/heartbeat-status/src/said.rs")),
];
/// A doc comment has at least so many words.
const MIN_DOC_WORDS: usize = 3;

/// Files of a library.
fn is_judged(path: &str) -> bool {
    path.starts_with("crates/")
}

/// Code without its text: what stands in quotes is no name.
fn without_text(line: &str) -> String {
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// Identifiers that have another name now.
#[must_use]
pub fn former_name_violations(files: &[File]) -> Vec<String> {
    let mut broken = Vec::new();
    let names: Vec<(&str, Vec<String>)> = FORMER_NAMES.iter().map(|name| (*name, words(name))).collect();
    let mut known: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (file, at, line) in product(files) {
        let code = without_text(line.split("//").next().unwrap_or_default());
        for identifier in code.split(|c: char| !c.is_alphanumeric() && c != '_') {
            let ordinary = |name: &str| {
                let of = |(place, names, _): &(&str, &[&str], &str)| {
                    names.contains(&name) && (*place == identifier || file.path.starts_with(place))
                };
                ORDINARY.iter().any(of)
            };
            if !known.contains_key(identifier) {
                known.insert(identifier.to_owned(), former_names(identifier, &names));
            }
            if let Some(name) = known[identifier].iter().find(|name| !ordinary(name)) {
                broken.push(format!("{}:{at}: `{name}` in {identifier}", file.path));
            }
        }
        let defines = ["struct ", "enum ", "trait ", "type "].into_iter().find(|kind| code.contains(kind));
        let defined =
            defines.and_then(|kind| code.split(kind).nth(1)?.split(|c: char| !c.is_alphanumeric()).next());
        if let Some((name, _)) = defined.and_then(|defined| {
            ONE_MEANING.iter().find(|(name, place)| *name == defined && *place != Some(&file.path))
        }) {
            broken.push(format!("{}:{at}: another type with the name {name}", file.path));
        }
    }
    broken
}

/// The former names whose words stand in an identifier, in a row.
fn former_names<'a>(identifier: &str, names: &[(&'a str, Vec<String>)]) -> Vec<&'a str> {
    let is_type = identifier.starts_with(char::is_uppercase) && identifier.contains(char::is_lowercase);
    let words = words(identifier);
    let fits = |(name, wanted): &&(&str, Vec<String>)| {
        (is_type || !name.starts_with(char::is_uppercase))
            && words.windows(wanted.len()).any(|part| part == wanted.as_slice())
    };
    names.iter().filter(fits).map(|(name, _)| *name).collect()
}

/// The words of an identifier in small letters: `HTTPServer`, `in_storm` and `MAX_BYTES` have two each.
fn words(identifier: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in identifier.split('_') {
        let chars: Vec<char> = part.chars().collect();
        let mut word = String::new();
        for (at, c) in chars.iter().enumerate() {
            let before = at > 0 && !chars[at - 1].is_uppercase();
            let ends = at > 0 && chars.get(at + 1).is_some_and(|next| next.is_lowercase());
            if c.is_uppercase() && (before || ends) && !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            word.extend(c.to_lowercase());
        }
        words.extend((!word.is_empty()).then_some(word));
    }
    words
}

/// Errors of libraries are types: a text cannot be told from another.
#[must_use]
pub fn text_error_violations(files: &[File]) -> Vec<String> {
    let is_text = |line: &str| {
        let made = line.split_once("Result<").map_or("", |(_, made)| made);
        [", String>", ", Vec<String>>"].iter().any(|text| made.contains(text))
    };
    product(files)
        .filter(|(file, _, line)| is_judged(&file.path) && is_text(line))
        .map(|(file, at, line)| format!("{}:{at}: {}", file.path, line.trim()))
        .collect()
}

/// A doc comment of one or two words repeats the name below it.
#[must_use]
pub fn short_comment_violations(files: &[File]) -> Vec<String> {
    let mut broken = Vec::new();
    let judged = |file: &&File| file.path.contains("/src/") && is_judged(&file.path);
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
