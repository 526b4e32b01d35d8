//! What is made from the items of keys and codes: the pages of the reference, and a schema that a real validator takes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::Path;

use heartbeat_config::{Code, codes_page, keys_called, keys_page, schema};
use serde_json::json;

/// Compares a committed file with what the code says; HEARTBEAT_BLESS=1 writes it.
fn committed(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    if std::env::var_os("HEARTBEAT_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == text,
        "docs/reference/{name} is out of date: HEARTBEAT_BLESS=1 cargo test -p heartbeat-config --test reference"
    );
}

#[test]
fn the_pages_of_the_reference_are_up_to_date() {
    committed("keys.md", &keys_page());
    committed("codes.md", &codes_page());
    committed("heartbeat.schema.json", &format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap()));
}

#[test]
fn the_schema_says_what_a_key_means() {
    let schema = schema();
    let about =
        |table: &str, key: &str| schema["definitions"][table]["properties"][key]["description"].clone();
    assert_eq!(about("restart", "burst"), json!("The restart budget: restarts within `window`. Default: 6."));
    assert_eq!(about("realm", "restart"), json!("When, after how long and how often it is restarted."));
}

#[test]
fn a_key_is_explained_by_its_name_with_or_without_its_table() {
    let names = |name: &str| keys_called(name).map(|key| key.full_name()).collect::<Vec<_>>();
    assert_eq!(names("restart.backoff"), ["restart.backoff"]);
    assert_eq!(names("backoff"), ["restart.backoff"]);
    assert_eq!(names("timeout"), ["start.timeout", "stop.timeout", "health.timeout"]);
    let text = keys_called("backoff").next().unwrap().explanation();
    assert!(text.contains("default    \"500ms\"") && text.contains("example    backoff = \"1s\""), "{text}");
    assert!(text.contains("elsewhere  delay, sec, restartsec, wait"), "{text}");
    assert!(Code::UnknownKey.explanation().starts_with("There is no such key in this table."));
}
