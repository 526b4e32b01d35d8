//! What a process is made of: a reload and a heartbeatd that comes back after kill -9 give the same answer for every
//! key.

use std::collections::BTreeSet;

use heartbeat_config::{InForce, Table, keys, merge};

use crate::reading::{realm, text};

/// Of every key of a realm's tables: what changes it, and whether the process is made of something else then.
const CHANGES: &[(&str, &str, &[&str])] = &[
    ("run", "run = \"other\"", &["run"]),
    ("shell", "shell = true", &["run"]),
    ("port", "port = 8002", &["env"]),
    ("host", "host = \"127.0.0.2\"", &[]),
    ("dir", "dir = \"/tmp\"", &["dir"]),
    ("env", "env = { A = \"2\" }", &["env"]),
    ("user", "user = \"daemon\"", &["user", "groups"]),
    ("groups", "groups = [\"daemon\"]", &["groups"]),
    ("umask", "umask = \"027\"", &["umask"]),
    ("pidfile", "pidfile = \"/run/b.pid\"", &["pidfile"]),
    ("no_new_privileges", "no_new_privileges = false", &["no_new_privileges"]),
    ("verify_owner", "verify_owner = false", &[]),
    ("title", "title = \"B\"", &[]),
    ("docs", "docs = \"https://b\"", &[]),
    ("owner", "owner = \"b\"", &[]),
    ("group", "group = \"b\"", &[]),
    ("labels", "labels = { a = \"2\" }", &[]),
    ("critical", "critical = false", &[]),
    ("manual", "manual = true", &[]),
    ("health", "health = { tcp = \"127.0.0.1:2\" }", &[]),
    ("needs", "needs = [\"db\"]", &[]),
    ("wants", "wants = [\"db\"]", &[]),
    ("after", "after = [\"db\"]", &[]),
    ("while_down", "while_down = \"stop\"", &[]),
    ("start.ready_fd", "start.ready_fd = 4", &["start.ready_fd"]),
    ("start.timeout", "start.timeout = \"9s\"", &[]),
    ("start.timeout_max", "start.timeout_max = \"20m\"", &[]),
    ("start.settle", "start.settle = \"9s\"", &[]),
    ("start.before", "start.before = \"b\"", &[]),
    ("start.after", "start.after = \"b\"", &[]),
    ("stop.signal", "stop.signal = \"INT\"", &[]),
    ("stop.signal_to", "stop.signal_to = \"tree\"", &[]),
    ("stop.timeout", "stop.timeout = \"9s\"", &[]),
    ("stop.command", "stop.command = \"b\"", &[]),
    ("restart.policy", "restart.policy = \"never\"", &[]),
    ("restart.backoff", "restart.backoff = \"9s\"", &[]),
    ("restart.backoff_max", "restart.backoff_max = \"90s\"", &[]),
    ("restart.jitter", "restart.jitter = \"9%\"", &[]),
    ("restart.min_gap", "restart.min_gap = \"9s\"", &[]),
    ("restart.burst", "restart.burst = 9", &[]),
    ("restart.window", "restart.window = \"9m\"", &[]),
    ("restart.when_spent", "restart.when_spent = \"fail\"", &[]),
    ("restart.cooldown", "restart.cooldown = \"9m\"", &[]),
    ("restart.cooldown_max", "restart.cooldown_max = \"9h\"", &[]),
    ("restart.reset_after", "restart.reset_after = \"9s\"", &[]),
    ("restart.verify_for", "restart.verify_for = \"9s\"", &[]),
    ("restart.success_codes", "restart.success_codes = [9]", &[]),
    ("restart.never_codes", "restart.never_codes = [9]", &[]),
    ("restart.command", "restart.command = \"b\"", &[]),
    ("restart.with", "restart.with = [\"db\"]", &[]),
    ("limits.memory", "limits.memory = \"64MiB\"", &["limits.memory"]),
    ("limits.cpu", "limits.cpu = \"50%\"", &["limits.cpu"]),
    ("limits.tasks", "limits.tasks = 9", &["limits.tasks"]),
    ("limits.nofile", "limits.nofile = 99", &["limits.nofile"]),
    ("limits.nproc", "limits.nproc = 99", &["limits.nproc"]),
    ("limits.core", "limits.core = \"1MiB\"", &["limits.core"]),
    ("limits.memlock", "limits.memlock = \"1MiB\"", &["limits.memlock"]),
    ("limits.fsize", "limits.fsize = \"1GiB\"", &["limits.fsize"]),
    ("limits.nice", "limits.nice = 9", &["limits.nice"]),
    ("limits.oom_score", "limits.oom_score = 9", &["limits.oom_score"]),
    ("log.to", "log.to = \"none\"", &["log"]),
    ("log.max_size", "log.max_size = \"1MiB\"", &[]),
    ("log.keep", "log.keep = 9", &[]),
    ("slo.availability", "slo.availability = \"99%\"", &[]),
    ("slo.latency", "slo.latency = \"9ms\"", &[]),
    ("slo.window", "slo = { latency = \"9ms\", window = \"9d\" }", &[]),
];

/// The keys of `a` before a change.
const BASE: &[(&str, &str)] = &[
    ("run", "run = \"a\""),
    ("port", "port = 8001"),
    ("dir", "dir = \"/\""),
    ("env", "env = { A = \"1\" }"),
    ("user", "user = \"nobody\""),
    ("pidfile", "pidfile = \"/run/a.pid\""),
];

fn with(key: &str, change: &str) -> String {
    let base = BASE.iter().filter(|(known, _)| *known != key).map(|(_, line)| *line);
    let lines: Vec<&str> = base.chain([change]).collect();
    format!("[realm.a]\n{}\n[realm.db]\nrun = \"db\"\n", lines.join("\n"))
}

/// What each way of finding out answers: whether it is restarted, and the keys.
fn answers(before: &str, after: &str) -> ((bool, BTreeSet<String>), (bool, BTreeSet<String>)) {
    let (old, new) = (text(before), text(after));
    let identity = |config| {
        let (_, adapters) = realm(config, "a");
        adapters.launch.as_ref().expect("it has a program").identity()
    };
    // As it comes back from the record.
    let on_record = identity(&old)
        .digest()
        .to_string()
        .parse::<heartbeat_process::IdentityDigest>()
        .expect("its own text");
    let found: BTreeSet<String> = on_record.difference(&identity(&new).digest()).into_iter().collect();
    let in_force = InForce {
        heartbeat: &old.heartbeat,
        plan: &old.plan,
        realms: &old.realms,
        notify: &old.notify,
        maintenance: &old.maintenance,
        vacant: &[],
    };
    let keys: BTreeSet<String> =
        identity(&old).difference(&identity(&new)).into_iter().map(str::to_owned).collect();
    let merged = merge(in_force, new.clone()).expect("it fits in");
    let restarted = !merged.restart.is_empty();
    let told: BTreeSet<String> =
        merged.changes.restarted.iter().flat_map(|(_, keys)| keys).map(|key| (*key).to_owned()).collect();
    assert!(keys.is_subset(&told), "{keys:?} are told: {told:?}");
    ((restarted, keys), (!found.is_empty(), found))
}

#[test]
fn a_reload_and_the_next_heartbeatd_give_the_same_answer_for_every_key() {
    for (key, change, expected) in CHANGES {
        let expected: BTreeSet<String> = expected.iter().map(|key| (*key).to_owned()).collect();
        let (by_reload, over_kill) = answers(&with("", ""), &with(key, change));
        assert_eq!(by_reload, over_kill, "{key}");
        assert_eq!(by_reload, (!expected.is_empty(), expected), "{key}");
    }
}

#[test]
fn a_reload_tells_of_every_key_that_has_changed() {
    for (key, change, _) in CHANGES {
        let (old, new) = (text(&with("", "")), text(&with(key, change)));
        let in_force = InForce {
            heartbeat: &old.heartbeat,
            plan: &old.plan,
            realms: &old.realms,
            notify: &old.notify,
            maintenance: &old.maintenance,
            vacant: &[],
        };
        let changes = merge(in_force, new).expect("it fits in").changes;
        let told: Vec<&str> =
            changes.restarted.iter().chain(&changes.changed).flat_map(|(_, keys)| keys).copied().collect();
        let table = key.split_once('.').map_or(*key, |(table, _)| table);
        match *key {
            // The base has no need that it could be about.
            "while_down" => assert!(changes.is_empty(), "{changes}"),
            "shell" => assert_eq!(told, ["run"]),
            _ => assert!(told.contains(key) || told.contains(&table), "{key}: {changes}"),
        }
    }
    let (old, same) = (text(&with("", "")), text(&with("", "")));
    let in_force = InForce {
        heartbeat: &old.heartbeat,
        plan: &old.plan,
        realms: &old.realms,
        notify: &old.notify,
        maintenance: &old.maintenance,
        vacant: &[],
    };
    assert!(merge(in_force, same).expect("it fits in").changes.is_empty(), "nothing has changed");
}

#[test]
fn every_key_of_a_realm_has_its_change() {
    let tables = [
        (Table::Realm, ""),
        (Table::Start, "start."),
        (Table::Stop, "stop."),
        (Table::Restart, "restart."),
        (Table::Limits, "limits."),
        (Table::Log, "log."),
        (Table::Slo, "slo."),
    ];
    // Another kind of realm cannot be reloaded, and a realm that is not enabled is removed.
    // `env_file` has a test of its own.
    let others = ["env_file", "oneshot", "enabled", "start", "stop", "restart", "limits", "log", "slo"];
    let known: BTreeSet<&str> = CHANGES.iter().map(|(key, ..)| *key).collect();
    for (table, prefix) in tables {
        for key in keys().filter(|key| key.table == table) {
            let name = format!("{prefix}{}", key.name);
            assert!(known.contains(name.as_str()) || others.contains(&name.as_str()), "{name} has no change");
        }
    }
}

#[test]
fn another_env_file_is_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let line = |name: &str| {
        std::fs::write(dir.path().join(name), "B=1\n").unwrap();
        format!("env_file = \"{}\"", dir.path().join(name).display())
    };
    let (by_reload, over_kill) = answers(&with("", &line("a.env")), &with("", &line("b.env")));
    assert_eq!(by_reload, over_kill);
    assert_eq!(by_reload, (true, BTreeSet::from(["env_file".to_owned()])));
}
