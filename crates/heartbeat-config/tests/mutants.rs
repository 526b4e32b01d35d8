//! Files that are nearly right: whatever is dropped, doubled or swapped, there is a configuration or a report.

use std::collections::BTreeMap;

use heartbeat_config::{Format, load_str};
use proptest::prelude::*;

/// A file with every table and most keys in it.
const VALID: &str = r#"[heartbeat]
name = "shop"
listen = "127.0.0.1:4327"
socket = "/run/hb/s.sock"
socket_mode = "0660"
include = ["conf.d/*.toml"]
boot_deadline = "5m"
start_parallel = 8
[defaults]
critical = false
[defaults.stop]
timeout = "5s"
[realm.db]
run = "postgres -D 'data dir'"
health = "tcp://127.0.0.1:5432"
[realm.migrate]
run = ["python", "manage.py", "migrate"]
oneshot = true
needs = ["db"]
[realm.api]
run = "gunicorn shop.wsgi"
port = 8001
needs = [{ realm = "migrate", until = "done" }, "db"]
wants = ["mail"]
while_down = "stop"
env = { A = "${HOME:-/root}", B = "$${x}" }
labels = { team = "shop" }
umask = "027"
[[realm.api.health]]
http = "http://127.0.0.1:8001/api/health/"
interval = "5s"
timeout = "2s"
fail_if = "3 of 5"
status = [200, "2xx"]
json = { "/status" = "ok", "/n" = 1.5 }
[[realm.api.health]]
process = true
role = "info"
[realm.api.start]
timeout = "1m30s"
before = ["mkdir -p data"]
[realm.api.stop]
signal = "INT"
[realm.api.restart]
policy = "on-failure"
jitter = "20%"
success_codes = [0, 3]
[realm.api.log]
max_size = "1MiB"
[realm.mail]
health = { tcp = "127.0.0.1:25", send = "", expect = "220" }
after = ["db"]
"#;

/// What may stand where something else stood.
const TOKENS: &[&str] = &[
    "\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "\n",
    "#",
    "0",
    "-1",
    "99999999999999999999",
    "1e400",
    "nan",
    "true",
    "\"\"",
    "\"5\"",
    "\"${\"",
    "\"${A!}\"",
    "\"\u{1F493}\"",
    "[]",
    "{}",
    "1979-05-27",
    "realm",
    "api",
    "heartbeat",
    "health",
    "x-own",
    "[realm.api]",
    "[[realm]]",
    "[realm]\napi = 1",
    "\"\\u0000\"",
    "\u{0}",
    "\u{FEFF}",
    "\r",
];

#[derive(Clone, Debug)]
enum Change {
    DropLine(usize),
    DoubleLine(usize),
    SwapLines(usize, usize),
    DropToken(usize),
    DoubleToken(usize),
    ReplaceToken(usize, usize),
    CopyToken(usize, usize),
    Cut(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<usize>;
    prop_oneof![
        at().prop_map(Change::DropLine),
        at().prop_map(Change::DoubleLine),
        (at(), at()).prop_map(|(a, b)| Change::SwapLines(a, b)),
        at().prop_map(Change::DropToken),
        at().prop_map(Change::DoubleToken),
        (at(), at()).prop_map(|(a, b)| Change::ReplaceToken(a, b)),
        (at(), at()).prop_map(|(a, b)| Change::CopyToken(a, b)),
        at().prop_map(Change::Cut),
    ]
}

/// Words, strings' contents, blanks and signs; together they are the text.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut in_word = false;
    for c in text.chars() {
        let word = c.is_alphanumeric() || c == '_' || c == '-';
        match tokens.last_mut() {
            Some(last) if word && in_word => last.push(c),
            _ => tokens.push(c.to_string()),
        }
        in_word = word;
    }
    tokens
}

fn apply(text: &str, change: &Change) -> String {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(ToOwned::to_owned).collect();
    let mut tokens = tokens(text);
    if tokens.is_empty() {
        return String::new();
    }
    let (line_count, token_count) = (lines.len(), tokens.len());
    match *change {
        Change::DropLine(at) => drop(lines.remove(at % line_count)),
        Change::DoubleLine(at) => lines.insert(at % line_count, lines[at % line_count].clone()),
        Change::SwapLines(a, b) => lines.swap(a % line_count, b % line_count),
        Change::DropToken(at) => drop(tokens.remove(at % token_count)),
        Change::DoubleToken(at) => tokens.insert(at % token_count, tokens[at % token_count].clone()),
        Change::ReplaceToken(at, by) => tokens[at % token_count] = TOKENS[by % TOKENS.len()].to_owned(),
        Change::CopyToken(at, of) => tokens[at % token_count] = tokens[of % token_count].clone(),
        Change::Cut(at) => tokens.truncate(at % token_count),
    }
    match change {
        Change::DropLine(_) | Change::DoubleLine(_) | Change::SwapLines(..) => lines.concat(),
        _ => tokens.concat(),
    }
}

/// Loads it, and prints what is said in every way; `true` when there is a configuration.
fn survives(text: &str) -> Result<bool, TestCaseError> {
    match load_str("heartbeat.toml", text, &BTreeMap::new()) {
        Ok(loaded) => {
            prop_assert_eq!(loaded.config.plan.realms().len(), loaded.config.realms.len());
            for (spec, adapters) in loaded.config.plan.realms().iter().zip(&loaded.config.realms) {
                prop_assert_eq!(spec.probes.len(), adapters.probes.len());
                for (probe, measured) in spec.probes.iter().zip(&adapters.probes) {
                    let is_measured = probe.source == heartbeat_supervisor::ProbeSource::Measured;
                    prop_assert_eq!(is_measured, measured.is_some(), "{}: {}", spec.name, probe.info.name);
                }
            }
            Ok(true)
        }
        Err(report) => {
            prop_assert!(!report.is_empty());
            for format in [Format::Full, Format::Short, Format::Json, Format::Github] {
                prop_assert!(!report.render(format, false).is_empty());
            }
            for diagnostic in &report {
                prop_assert!(diagnostic.code.as_str() != "HB200", "found by the plan alone: {}", diagnostic);
                prop_assert!(!diagnostic.message.is_empty());
            }
            Ok(false)
        }
    }
}

#[test]
fn the_file_itself_is_valid() {
    assert!(matches!(survives(VALID), Ok(true)));
}

#[test]
fn every_line_can_be_dropped_or_doubled_and_every_token_dropped() {
    let (mut fine, mut refused) = (0, 0);
    let lines = VALID.lines().count();
    let singles = (0..lines).flat_map(|at| [Change::DropLine(at), Change::DoubleLine(at)]);
    for change in singles.chain((0..tokens(VALID).len()).map(Change::DropToken)) {
        match survives(&apply(VALID, &change)) {
            Ok(true) => fine += 1,
            Ok(false) => refused += 1,
            Err(error) => panic!("{change:?}: {error}"),
        }
    }
    assert!(fine > 20 && refused > 100, "the changes are neither harmless nor hopeless: {fine}, {refused}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutant_is_a_configuration_or_a_report(changes in prop::collection::vec(change(), 1..6)) {
        let mutant = changes.iter().fold(VALID.to_owned(), |text, change| apply(&text, change));
        survives(&mutant)?;
    }

    #[test]
    fn anything_at_all_is_a_configuration_or_a_report(text in "\\PC{0,200}") {
        survives(&text)?;
        survives(&format!("[realm.api]\nrun = {text}\n"))?;
        survives(&format!("[realm.api]\nrun = \"{text}\"\nhealth = \"{text}\"\n"))?;
    }
}
