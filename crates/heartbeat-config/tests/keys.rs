//! The table of keys and the reading of them agree: nothing is accepted and ignored.

use std::collections::BTreeMap;

use std::collections::BTreeSet;

use heartbeat_config::{Report, Table, Takes, keys, load_str};

/// A value that no key takes.
const WRONG: &str = "[[1.5]]";

fn refused(text: &str) -> Report {
    load_str("heartbeat.toml", text, &BTreeMap::new()).expect_err(text)
}

/// A file that says `key = value` where the key belongs, and is right otherwise.
fn file(table: Table, name: &str, value: &str) -> String {
    let probe = match name {
        "http" | "tcp" | "unix" | "tls" | "redis" | "postgres" | "grpc" | "dns" | "exec" | "nagios"
        | "file" | "push" | "process" | "notify" => String::new(),
        "command" => "redis = \"redis://127.0.0.1:1\", expect = \"x\", ".to_owned(),
        "query" => "postgres = \"postgres://127.0.0.1:1\", expect = \"x\", ".to_owned(),
        "password_file" => "redis = \"redis://127.0.0.1:1\", ".to_owned(),
        "verify" => "tls = \"127.0.0.1:1\", ".to_owned(),
        "ca" | "cert" | "key" | "server_name" | "expires" => {
            "tls = \"127.0.0.1:1\", verify = false, ".to_owned()
        }
        // A bound is what it needs.
        "resource" => "max_fds = 9, ".to_owned(),
        "max_cpu" | "max_memory" | "max_fds" | "max_load" | "min_memory_free" | "min_disk_free" => {
            "resource = true, ".to_owned()
        }
        "path" => "resource = true, min_disk_free = \"1%\", ".to_owned(),
        "record" => "dns = \"shop.test\", ".to_owned(),
        "max_age" => "file = \"/x\", ".to_owned(),
        "watchdog" => "notify = true, ".to_owned(),
        "name" => "tcp = \"127.0.0.1:1\", ".to_owned(),
        "send" | "expect" => "tcp = \"127.0.0.1:1\", ".to_owned(),
        _ => "http = \"http://127.0.0.1:1/\", ".to_owned(),
    };
    let run = if name == "run" { "" } else { "run = \"x\"\n" };
    match table {
        Table::Root => format!("{name} = {value}\n"),
        Table::Heartbeat => format!("[heartbeat]\n{name} = {value}\n"),
        Table::Fuse => format!("[heartbeat.fuse]\n{name} = {value}\n"),
        Table::Tls => {
            let others = ["cert", "key"].into_iter().filter(|other| *other != name);
            let others = others.map(|other| format!("{other} = \"x\"\n")).collect::<String>();
            format!("[heartbeat.tls]\n{others}{name} = {value}\n")
        }
        Table::Notify => {
            let url = match name {
                "webhook" | "alertmanager" | "ntfy" | "slack" | "exec" => "",
                "pagerduty" => "token_file = \"key\"\n",
                "smtp" => "from = \"a@b\"\nto = \"c@d\"\n",
                "from" => "smtp = \"smtp://h\"\nto = \"c@d\"\n",
                "to" => "smtp = \"smtp://h\"\nfrom = \"a@b\"\n",
                "channel" => "slack = \"http://127.0.0.1:1/\"\ntoken_file = \"x\"\n",
                "token_file" => "ntfy = \"http://127.0.0.1:1/x\"\n",
                "next_secret_file" => "webhook = \"http://127.0.0.1:1/\"\nsecret_file = \"x\"\n",
                "unless" => "webhook = \"http://127.0.0.1:1/\"\ndelay = \"1m\"\n",
                _ => "webhook = \"http://127.0.0.1:1/\"\n",
            };
            let other = "[notify.chat]\nwebhook = \"http://127.0.0.1:1/\"\n";
            format!("[realm.a]\nrun = \"x\"\n{other}[notify.a]\n{url}{name} = {value}\n")
        }
        Table::Maintenance => {
            let others = ["realms = [\"a\"]", "start = \"@daily\"", "for = \"1h\"", "reason = \"x\""];
            let others = others.iter().filter(|other| !other.starts_with(&format!("{name} ")));
            let others = others.map(|other| format!("{other}\n")).collect::<String>();
            format!("[realm.a]\nrun = \"x\"\n[maintenance.a]\n{others}{name} = {value}\n")
        }
        Table::Realm => format!("[realm.a]\n{run}{name} = {value}\n"),
        Table::Start | Table::Stop | Table::Restart | Table::Limits | Table::Log | Table::Slo => {
            format!("[realm.a]\nrun = \"x\"\n[realm.a.{}]\n{name} = {value}\n", table.as_str())
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
fn every_key_is_read() {
    for key in keys() {
        let report = refused(&file(key.table, key.name, WRONG));
        assert!(report.iter().any(|diagnostic| diagnostic.line > 0), "{key:?}: {report}");
        assert!(
            report.iter().all(|diagnostic| !["HB101", "HB103"].contains(&diagnostic.code.as_str())),
            "{key:?} is in the table and not in its place: {report}"
        );
    }
}

#[test]
fn every_example_loads() {
    for key in keys() {
        let text = match (key.table, key.name) {
            (Table::Root, "realm") => key.usage(),
            (Table::Root, _) => format!("{}\n[realm.a]\nrun = \"x\"\n", key.usage()),
            (Table::Realm, "groups") => format!("[realm.a]\nrun = \"x\"\nuser = \"root\"\n{}\n", key.usage()),
            // The file would have to be there.
            (Table::Realm | Table::Heartbeat, "env_file") => continue,
            (Table::Health | Table::Notify, "ca" | "cert" | "key" | "password_file") => continue,
            (Table::Realm, "needs" | "wants" | "after") => {
                let name = if key.example.contains("mail") { "mail" } else { "db" };
                format!("[realm.{name}]\nrun = \"x\"\n[realm.a]\nrun = \"x\"\n{}\n", key.usage())
            }
            (Table::Need, "realm") => {
                "[realm.db]\nrun = \"x\"\n[realm.a]\nrun = \"x\"\nneeds = [{ realm = \"db\" }]\n".to_owned()
            }
            (Table::Restart, "with") => {
                format!("[realm.b]\nrun = \"x\"\n{}", file(key.table, key.name, key.example))
            }
            (Table::Heartbeat, _) => {
                format!("{}[realm.a]\nrun = \"x\"\n", file(key.table, key.name, key.example))
            }
            _ => file(key.table, key.name, key.example),
        };
        let loaded = load_str("heartbeat.toml", &text, &BTreeMap::new());
        assert!(loaded.is_ok(), "{}: {}\n{text}", key.full_name(), loaded.unwrap_err());
    }
}

/// The words that an item lists are exactly those that its reader takes.
#[test]
fn the_words_of_a_key_are_those_that_are_read() {
    let mut looked_at = 0;
    for key in keys() {
        let (Takes::Word(words) | Takes::Words(words)) = key.takes else { continue };
        looked_at += 1;
        let report = refused(&file(key.table, key.name, "\"zzzzzzzz\""));
        let told = report
            .iter()
            .find(|problem| problem.code.as_str() == "HB106")
            .unwrap_or_else(|| panic!("{key:?}: {report}"));
        let there: BTreeSet<&str> = told.message.split('"').skip(1).step_by(2).collect();
        assert_eq!(there, words.iter().copied().collect(), "{}: {}", key.full_name(), told.message);
    }
    assert!(looked_at >= 10, "{looked_at}");
}

#[test]
fn every_key_of_a_later_version_is_refused_by_name() {
    for (table, names) in [(Table::Limits, &["memory_action"][..])] {
        for name in names {
            let report = refused(&file(table, name, "\"x\""));
            let named = |message: &str| message.contains(&format!("`{name}`"));
            assert!(
                report
                    .iter()
                    .any(|diagnostic| diagnostic.code.as_str() == "HB103" && named(&diagnostic.message)),
                "{table:?} {name}: {report}"
            );
        }
    }
}

#[test]
fn no_key_is_taken_that_is_not_in_the_table() {
    for table in Table::ALL {
        let report = refused(&file(table, "zzzzzzzz", "1"));
        assert!(report.iter().any(|diagnostic| diagnostic.code.as_str() == "HB101"), "{table:?}: {report}");
        let own = load_str("heartbeat.toml", &file(table, "x-own", "1"), &BTreeMap::new());
        assert!(own.is_ok(), "{table:?}: {}", own.unwrap_err());
    }
}

#[test]
fn a_wrong_default_is_refused_even_where_no_realm_uses_it() {
    let report =
        refused("[defaults.stop]\ntimeout = \"soon\"\n[realm.a]\nrun = \"x\"\nstop = { timeout = \"1s\" }\n");
    assert_eq!(
        report.iter().map(|diagnostic| (diagnostic.code.as_str(), diagnostic.line)).collect::<Vec<_>>(),
        [("HB105", 2)]
    );
    let report = refused("[defaults]\ncritical = \"no\"\n");
    assert_eq!(
        report.iter().map(|diagnostic| (diagnostic.code.as_str(), diagnostic.line)).collect::<Vec<_>>(),
        [("HB102", 2)]
    );
}

/// A table with the keys in lines of their own, and the number of the line before the first of them.
fn section(table: Table, kind: &str) -> String {
    match table {
        Table::Root => String::new(),
        Table::Heartbeat => "[heartbeat]\n".to_owned(),
        Table::Fuse => "[heartbeat.fuse]\n".to_owned(),
        Table::Realm => format!("[realm.a]\n{kind}\n"),
        Table::Health => format!("[realm.a]\nrun = \"x\"\n[realm.a.health]\n{kind}\n"),
        Table::Notify => format!("[realm.a]\nrun = \"x\"\n[notify.a]\n{kind}\n"),
        Table::Maintenance => "[realm.a]\nrun = \"x\"\n[maintenance.a]\n".to_owned(),
        within => format!("[realm.a]\nrun = \"x\"\n[realm.a.{}]\n", within.as_str()),
    }
}

/// The lines of a text, from 1, on which a value is wrong by itself: another key may be what it lacks, or its bound.
fn wrong_lines(text: &str) -> BTreeSet<usize> {
    let report = load_str("heartbeat.toml", text, &BTreeMap::new()).err();
    let of_two = ["` goes with `", "must not be shorter than"];
    let is_of_two = |message: &str| of_two.iter().any(|words| message.contains(words));
    let of_values = report.iter().flatten().filter(|problem| !is_of_two(&problem.message));
    of_values.map(|problem| problem.line).collect()
}

/// What is wrong with one value hides nothing that is wrong with another one of the same table.
#[test]
fn one_run_names_every_wrong_value_of_a_table() {
    const VALUES: [&str; 6] = [WRONG, "\"\"", "0", "-1", "\"0s\"", "\"zzzz\""];
    const PROBES: [&str; 15] = [
        "http", "tcp", "unix", "tls", "redis", "postgres", "grpc", "dns", "file", "resource", "exec",
        "nagios", "push", "process", "notify",
    ];
    const KINDS: [&str; 8] = [
        "run = \"x\"",
        "http = \"http://127.0.0.1:1/\"",
        "tcp = \"127.0.0.1:1\"",
        "redis = \"redis://127.0.0.1:1\"",
        "resource = true",
        "dns = \"shop.test\"",
        "exec = \"true\"",
        "webhook = \"http://127.0.0.1:1/\"",
    ];
    let mut tried = 0;
    let sections = Table::ALL.into_iter().filter(|table| ![Table::Root, Table::Need].contains(table));
    let of_kinds = |table| match table {
        Table::Realm => &KINDS[..1],
        Table::Health => &KINDS[1..7],
        Table::Notify => &KINDS[7..],
        _ => &[""],
    };
    for (table, kind) in sections.flat_map(|table| of_kinds(table).iter().map(move |kind| (table, kind))) {
        let head = section(table, kind);
        for value in VALUES {
            let is_kind = |name: &str| match table {
                Table::Realm => name == "run",
                Table::Health => PROBES.contains(&name),
                Table::Notify => {
                    ["webhook", "alertmanager", "ntfy", "slack", "pagerduty", "exec"].contains(&name)
                }
                _ => false,
            };
            let names: Vec<&str> = keys()
                .filter(|key| key.table == table && !is_kind(key.name))
                .map(|key| key.name)
                .filter(|name| {
                    let line = head.lines().count() + 1;
                    wrong_lines(&format!("{head}{name} = {value}\n")).contains(&line)
                })
                .collect();
            let body: String = names.iter().map(|name| format!("{name} = {value}\n")).collect();
            let found = wrong_lines(&format!("{head}{body}"));
            let first = head.lines().count() + 1;
            let hidden: Vec<&&str> = names
                .iter()
                .enumerate()
                .filter(|(at, _)| !found.contains(&(first + at)))
                .map(|(_, name)| name)
                .collect();
            assert!(hidden.is_empty(), "{table:?} ({kind}), value {value}: {hidden:?} of {names:?}");
            tried += names.len();
        }
    }
    assert!(tried > 300, "{tried}");
}
