//! A configuration takes the place of another: what it changes, and where its realms go.

use std::collections::BTreeMap;

use heartbeat_config::{Config, InForce, Merged, load_str, merge};
use heartbeat_status::RealmIx;

fn config(text: &str) -> Config {
    load_str("heartbeat.toml", text, &BTreeMap::new()).unwrap_or_else(|report| panic!("{report}")).config
}

fn merged(old: &Config, vacant: &[RealmIx], new: &str) -> Result<Merged, Vec<String>> {
    let in_force = InForce {
        heartbeat: &old.heartbeat,
        plan: &old.plan,
        realms: &old.realms,
        notify: &old.notify,
        maintenance: &old.maintenance,
        vacant,
    };
    merge(in_force, config(new)).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

pub(crate) fn changes(old: &str, new: &str) -> String {
    let merged = merged(&config(old), &[], new).unwrap_or_else(|problems| panic!("{problems:?}"));
    // What is restarted is what is told, and nothing else.
    let name = |ix: &RealmIx| merged.config.plan.realm(*ix).name.to_string();
    let restarted: Vec<String> = merged.restart.iter().map(name).collect();
    let told: Vec<String> = merged.changes.restarted.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(restarted, told);
    merged.changes.to_string()
}

fn names(config: &Config) -> Vec<(&str, bool)> {
    config.plan.realms().iter().map(|realm| (realm.name.as_str(), realm.retired)).collect()
}

const DB_AND_API: &str = r#"
[realm.db]
run = "postgres"
port = 5432
health = "tcp://127.0.0.1:5432"
[realm.api]
run = "api --port 8001"
port = 8001
needs = ["db"]
env = { LEVEL = "info" }
"#;

#[test]
fn the_same_configuration_changes_nothing() {
    assert_eq!(changes(DB_AND_API, DB_AND_API), "nothing changed");
    let reordered = DB_AND_API.split("[realm.api]").collect::<Vec<_>>();
    let reordered = format!("[realm.api]{}{}", reordered[1], reordered[0]);
    assert_eq!(changes(DB_AND_API, &reordered), "nothing changed");
}

#[test]
fn what_a_process_is_made_of_restarts_it_and_everything_else_changes_in_place() {
    let with = |from: &str, to: &str| changes(DB_AND_API, &DB_AND_API.replace(from, to));
    assert_eq!(with("api --port 8001", "api --port=8001"), "restarted: api (run)");
    assert_eq!(with("\"info\"", "\"debug\""), "restarted: api (env)");
    assert_eq!(with("port = 8001", "port = 8002"), "restarted: api (env, port, health)");
    assert_eq!(with("needs = [\"db\"]", "wants = [\"db\"]"), "changed in place: api (needs, wants)");
    assert_eq!(with("tcp://127.0.0.1:5432", "tcp://localhost:5432"), "changed in place: db (health)");
    let http =
        |more: &str| format!("[realm.a]\nrun = \"a\"\nhealth = {{ http = \"http://127.0.0.1:1/\"{more} }}\n");
    for more in [
        ", contains = \"ok\"",
        ", matches = \"o.\"",
        ", headers = { A = \"b\" }",
        ", status = 204",
        ", json = { \"/a\" = 1 }",
        ", interval = \"9s\"",
        ", slow = \"1s\"",
        ", fail_after = 2",
    ] {
        assert_eq!(changes(&http(""), &http(more)), "changed in place: a (health)", "{more}");
        assert_eq!(changes(&http(more), &http(more)), "nothing changed", "{more}");
    }
    let exec = |command: &str| format!("[realm.a]\nrun = \"a\"\nhealth = {{ exec = \"{command}\" }}\n");
    assert_eq!(changes(&exec("ping a"), &exec("ping b")), "changed in place: a (health)");
    assert_eq!(changes(&exec("ping a"), &exec("ping a")), "nothing changed");
    let realm = |more: &str| format!("[realm.a]\nrun = \"a\"\n{more}\n");
    for (more, told) in [
        ("title = \"A\"", "changed in place: a (title)"),
        ("labels = { team = \"core\" }", "changed in place: a (labels)"),
        ("critical = false", "changed in place: a (critical)"),
        ("manual = true", "changed in place: a (manual)"),
        ("start.before = \"x\"", "changed in place: a (start)"),
        ("start.timeout = \"3s\"", "changed in place: a (start)"),
        ("stop.timeout = \"3s\"", "changed in place: a (stop)"),
        ("stop.command = \"x\"", "changed in place: a (stop)"),
        ("restart.burst = 3", "changed in place: a (restart)"),
        ("restart.command = \"x\"", "changed in place: a (restart)"),
        ("umask = \"027\"", "restarted: a (umask)"),
        ("dir = \"/\"", "restarted: a (dir)"),
        ("limits.memory = \"64MiB\"", "restarted: a (limits.memory)"),
        ("limits = { nice = 3, tasks = 9 }", "restarted: a (limits.tasks, limits.nice)"),
        ("no_new_privileges = true", "restarted: a (no_new_privileges)"),
        ("docs = \"x\"", "changed in place: a (docs)"),
        ("owner = \"x\"", "changed in place: a (owner)"),
        ("log.to = \"none\"", "restarted: a (log)"),
        ("log.to = \"journal\"", "restarted: a (log)"),
        ("log.keep = 3", "changed in place: a (log)"),
        ("log.max_size = \"1MiB\"", "changed in place: a (log)"),
    ] {
        assert_eq!(changes(&realm(""), &realm(more)), told);
    }
}

#[test]
fn settings_and_receivers_are_told_apart() {
    let base = "[realm.a]\nrun = \"a\"\n";
    let more = "[heartbeat]\nstart_parallel = 3\nfuse = { restarts = 9 }\n[notify.ops]\nwebhook = \"http://127.0.0.1:1/\"\n[realm.a]\nrun = \"a\"\n";
    assert_eq!(changes(base, more), "settings: heartbeat.start_parallel, heartbeat.fuse, notify.ops");
    assert_eq!(changes(more, &more.replace("127.0.0.1:1/", "127.0.0.1:2/")), "settings: notify.ops");
}

#[test]
fn what_sockets_and_directories_are_made_of_is_refused_whole() {
    let text = |keys: &str| format!("[heartbeat]\n{keys}\n[realm.a]\nrun = \"a\"\n");
    let old = config(&text(""));
    for keys in [
        "socket = \"/tmp/x.sock\"",
        "state_dir = \"/tmp/x\"",
        "runtime_dir = \"/tmp/x\"",
        "listen = \"off\"",
        "name = \"other\"",
        "log = \"debug\"",
        "max_connections = 3",
        "cgroups = \"off\"",
    ] {
        let key = keys.split(' ').next().expect("a key");
        let problems = merged(&old, &[], &text(keys)).expect_err(keys);
        assert!(problems.iter().any(|problem| problem.contains(&format!("`{key}`"))), "{problems:?}");
    }
    let problems = merged(&old, &[], "[realm.a]\nrun = \"a\"\noneshot = true\n").expect_err("another kind");
    assert!(problems[0].contains("from service to oneshot"), "{problems:?}");
}

#[test]
fn every_realm_keeps_its_place_and_those_that_go_keep_it_until_they_are_gone() {
    let old = config(DB_AND_API);
    assert_eq!(names(&old), [("api", false), ("db", false)]);
    let without_db = "[realm.aaa]\nrun = \"a\"\nneeds = [\"api\"]\n[realm.api]\nrun = \"api --port 8001\"\nport = 8001\nenv = { LEVEL = \"info\" }\n";
    let first = merged(&old, &[], without_db).expect("it fits");
    assert_eq!(names(&first.config), [("api", false), ("db", true), ("aaa", false)]);
    assert_eq!(first.changes.to_string(), "added: aaa; removed: db; changed in place: api (needs)");
    let needs = |config: &Config, at: usize| {
        config.plan.realms()[at].needs.iter().map(|need| need.realm.0).collect::<Vec<_>>()
    };
    assert_eq!(needs(&first.config, 2), [0], "aaa needs api where it is now");
    // Not gone yet: another realm gets a place of its own, and nothing is said of db again.
    let with_bbb = format!("{without_db}[realm.bbb]\nrun = \"b\"\n");
    let second = merged(&first.config, &[], &with_bbb).expect("it fits");
    assert_eq!(names(&second.config), [("api", false), ("db", true), ("aaa", false), ("bbb", false)]);
    assert_eq!(second.changes.to_string(), "added: bbb");
    // Gone: its place is taken, also by a realm of another kind with its name.
    let third = merged(&first.config, &[RealmIx(1)], &with_bbb).expect("it fits");
    assert_eq!(names(&third.config), [("api", false), ("bbb", false), ("aaa", false)]);
    let back = format!("{without_db}[realm.db]\nrun = \"migrate\"\noneshot = true\n");
    let fourth = merged(&first.config, &[RealmIx(1)], &back).expect("it fits");
    assert_eq!(names(&fourth.config), [("api", false), ("db", false), ("aaa", false)]);
    assert_eq!(fourth.changes.to_string(), "added: db");
    assert!(merged(&first.config, &[], &back).is_err(), "the other one is still going");
}

#[test]
fn a_realm_on_its_way_out_does_not_depend_on_its_replacement() {
    let old =
        config("[realm.a]\nrun = \"a\"\n[realm.b]\nrun = \"b\"\nneeds = [\"a\"]\n[realm.c]\nrun = \"c\"\n");
    let first = merged(&old, &[], "[realm.c]\nrun = \"c\"\n").expect("it fits");
    assert_eq!(names(&first.config), [("a", true), ("b", true), ("c", false)]);
    // A stuck dependent outlives what it needed; a oneshot could never be `up` for it.
    let new = "[realm.c]\nrun = \"c\"\n[realm.d]\nrun = \"d\"\noneshot = true\nneeds = [\"c\"]\n";
    let second = merged(&first.config, &[RealmIx(0)], new).expect("it fits");
    assert_eq!(names(&second.config), [("d", false), ("b", true), ("c", false)]);
    assert!(second.config.plan.realms()[1].needs.is_empty());
}
