//! The table of keys and the reading of them agree: nothing is accepted and ignored.

use std::collections::BTreeMap;

use heartbeat_config::{Key, Report, Table, key_table, load_str};

/// A value that no key takes.
const WRONG: &str = "[[1.5]]";

fn refused(text: &str) -> Report {
    load_str("heartbeat.toml", text, &BTreeMap::new()).expect_err(text)
}

/// A file that says `key = value` where the key belongs, and is right otherwise.
fn file(key: &Key, value: &str) -> String {
    let name = key.name;
    let probe = match name {
        "http" | "tcp" | "redis" | "postgres" | "exec" | "process" => String::new(),
        "send" | "expect" => "tcp = \"127.0.0.1:1\", ".to_owned(),
        _ => "http = \"http://127.0.0.1:1/\", ".to_owned(),
    };
    let run = if name == "run" { "" } else { "run = \"x\"\n" };
    match key.table {
        Table::Root => format!("{name} = {value}\n"),
        Table::Heartbeat => format!("[heartbeat]\n{name} = {value}\n"),
        Table::Fuse => format!("[heartbeat.fuse]\n{name} = {value}\n"),
        Table::Notify => {
            let url = if name == "webhook" { "" } else { "webhook = \"http://127.0.0.1:1/\"\n" };
            format!("[realm.a]\nrun = \"x\"\n[notify.a]\n{url}{name} = {value}\n")
        }
        Table::Realm => format!("[realm.a]\n{run}{name} = {value}\n"),
        Table::Start | Table::Stop | Table::Restart | Table::Limits | Table::Log => {
            format!("[realm.a]\nrun = \"x\"\n[realm.a.{}]\n{name} = {value}\n", key.table.as_str())
        }
        Table::Health => format!("[realm.a]\nrun = \"x\"\nhealth = {{ {probe}{name} = {value} }}\n"),
        Table::Need => {
            let realm = if name == "realm" { "" } else { "realm = \"b\", " };
            format!(
                "[realm.b]\nrun = \"x\"\n[realm.a]\nrun = \"x\"\nneeds = [{{ {realm}{name} = {value} }}]\n"
            )
        }
    }
}

#[test]
fn every_built_key_is_read() {
    for key in key_table().iter().filter(|key| key.built) {
        let report = refused(&file(key, WRONG));
        assert!(report.iter().any(|diagnostic| diagnostic.line > 0), "{key:?}: {report}");
        assert!(
            report.iter().all(|diagnostic| !["HB101", "HB103"].contains(&diagnostic.code)),
            "{key:?} is in the table and not in its place: {report}"
        );
    }
}

#[test]
fn every_key_that_is_not_built_is_refused_by_name() {
    for key in key_table().iter().filter(|key| !key.built) {
        let report = refused(&file(key, "\"x\""));
        let named = |message: &str| message.contains(&format!("`{}`", key.name));
        assert!(
            report.iter().any(|diagnostic| diagnostic.code == "HB103" && named(&diagnostic.message)),
            "{key:?}: {report}"
        );
    }
}

#[test]
fn no_key_is_taken_that_is_not_in_the_table() {
    for table in [
        Table::Root,
        Table::Heartbeat,
        Table::Fuse,
        Table::Notify,
        Table::Realm,
        Table::Start,
        Table::Stop,
        Table::Restart,
        Table::Limits,
        Table::Log,
        Table::Health,
        Table::Need,
    ] {
        let key = |name| Key { table, name, takes: "", default: "", doc: "", built: true };
        let report = refused(&file(&key("zzzzzzzz"), "1"));
        assert!(report.iter().any(|diagnostic| diagnostic.code == "HB101"), "{table:?}: {report}");
        let own = load_str("heartbeat.toml", &file(&key("x-own"), "1"), &BTreeMap::new());
        assert!(own.is_ok(), "{table:?}: {}", own.unwrap_err());
    }
}

#[test]
fn a_wrong_default_is_refused_even_where_nobody_has_it() {
    let report =
        refused("[defaults.stop]\ntimeout = \"soon\"\n[realm.a]\nrun = \"x\"\nstop = { timeout = \"1s\" }\n");
    assert_eq!(
        report.iter().map(|diagnostic| (diagnostic.code, diagnostic.line)).collect::<Vec<_>>(),
        [("HB105", 2)]
    );
    let report = refused("[defaults]\ncritical = \"no\"\n");
    assert_eq!(
        report.iter().map(|diagnostic| (diagnostic.code, diagnostic.line)).collect::<Vec<_>>(),
        [("HB102", 2)]
    );
}
