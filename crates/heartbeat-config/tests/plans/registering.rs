//! Realms that are registered at run time: what can be said of them, and what cannot.

use std::collections::BTreeMap;

use heartbeat_config::{
    Config, InForce, Measure, Misfit, Registration, Sources, configured, load_beside, load_str, merge,
    with_registered, with_what_fits,
};
use heartbeat_status::{EdgeKind, Gate, RealmKind};
use serde_json::{Value, json};

const FILE: &str = r#"
[defaults]
owner = "team ${TEAM}"
labels = { tier = "one" }
host = "10.0.0.1"
health = { exec = "rm -rf /" }
env = { A = "1" }
user = "root"
start = { timeout = "5s" }
[realm.db]
run = "db"
port = 5432
health = "tcp://127.0.0.1:5432"
[realm.migrate]
run = "migrate"
oneshot = true
[realm.off]
run = "x"
enabled = false
"#;

fn load(text: &str) -> Config {
    let env = BTreeMap::from([("TEAM".to_owned(), "$${core}".to_owned())]);
    load_str("heartbeat.toml", text, &env).unwrap_or_else(|report| panic!("{report}")).config
}

fn registration(name: &str, value: &Value) -> Registration {
    Registration::parse(name, value.to_string().as_bytes()).unwrap_or_else(|report| panic!("{report}"))
}

fn put(name: &str, value: &Value) -> Result<Config, Vec<Misfit>> {
    with_registered(&load(FILE), &[registration(name, value)])
}

/// Everything that is wrong with the only one that does not fit in.
fn refused(name: &str, value: &Value) -> String {
    let misfits = put(name, value).map(|_| ()).expect_err(&value.to_string());
    let [misfit] = misfits.as_slice() else { panic!("{misfits:?}") };
    assert_eq!(misfit.name.as_str(), name);
    let text = misfit.report.to_string();
    for line in text.lines() {
        assert!(line.starts_with(&format!("the registration of {name}: HB")), "{line}");
    }
    text
}

#[test]
fn a_registration_is_an_external_realm_of_the_same_grammar() {
    let config = put(
        "shop",
        &json!({
            "title": "Shop", "docs": "https://wiki/shop", "group": "web", "labels": { "team": "core" },
            "critical": false, "port": 8001, "x-note": { "any": "${thing}" },
            "health": [
                { "http": "http://127.0.0.1:8001/healthz", "interval": "1s", "slow": "300ms", "fail_after": 2,
                  "status": [200, "204"], "json": { "/status": "ok" }, "headers": { "Host": "shop.example", "X-Forwarded-Proto": "https" },
                  "method": "GET", "contains": "ok", "matches": "o.", "role": "ready", "grace": "3s", "name": "web" },
                { "tcp": "localhost:8002", "expect": "220\r\n" }
            ],
            "needs": ["db", { "realm": "migrate", "until": "done" }], "after": "db",
        }),
    );
    // `needs` and `after` of one realm is once too often, in these words.
    let twice = config.unwrap_err();
    assert!(twice[0].report.to_string().contains("shop depends on db twice"), "{}", twice[0].report);
    let config = put(
        "shop",
        &json!({
            "title": "Shop", "docs": "https://wiki/shop", "group": "web", "labels": { "team": "core" }, "port": 8001,
            "health": ["http://127.0.0.1:8001/healthz", { "tcp": "localhost:8002", "expect": "220\r\n" }],
            "needs": ["db", { "realm": "migrate", "until": "done" }],
        }),
    )
    .unwrap();
    let at = config.plan.find("shop").unwrap();
    let (spec, realm) = (config.plan.realm(at), &config.realms[at.index()]);
    assert!(spec.registered && spec.kind == RealmKind::External && realm.launch.is_none());
    assert_eq!((spec.title.as_deref(), spec.port, spec.critical), (Some("Shop"), Some(8001), true));
    assert_eq!(spec.probes.len(), 3, "two, and the port");
    let needs: Vec<_> = spec.needs.iter().map(|need| (need.kind, need.until)).collect();
    assert_eq!(needs, [(EdgeKind::Needs, Gate::Up), (EdgeKind::Needs, Gate::Done)]);
    assert!(!config.plan.realm(config.plan.find("db").unwrap()).registered);
    assert!(config.plan.infos().iter().any(|info| info.registered));
}

#[test]
fn of_the_defaults_only_what_people_read_is_taken() {
    let config = put("shop", &json!({ "port": 8001 })).unwrap();
    let at = config.plan.find("shop").unwrap();
    let (spec, realm) = (config.plan.realm(at), &config.realms[at.index()]);
    assert_eq!(spec.owner.as_deref(), Some("team $${core}"), "filled in once");
    assert_eq!(spec.labels["tier"], "one");
    let kinds: Vec<_> = spec.probes.iter().map(|probe| probe.info.target.as_str()).collect();
    assert_eq!(
        kinds,
        ["http://127.0.0.1:8001/api/health/", "127.0.0.1:8001"],
        "neither their host nor their health"
    );
    assert!(realm.probes.iter().flatten().all(|measure| matches!(measure, Measure::Probe(_))));
    assert_eq!(refused("bare", &json!({})).lines().count(), 1, "nothing to watch");
    assert!(refused("bare", &json!({ "health": [] })).contains("`health` has no probe"));
}

#[test]
fn whatever_runs_reads_or_acts_is_refused_by_its_name() {
    for (key, value) in [
        ("run", json!("rm -rf /")),
        ("run", json!(["rm"])),
        ("shell", json!(true)),
        ("oneshot", json!(true)),
        ("dir", json!("/")),
        ("env", json!({ "A": "1" })),
        ("env_file", json!("/etc/shadow")),
        ("user", json!("root")),
        ("groups", json!(["adm"])),
        ("umask", json!("000")),
        ("pidfile", json!("/run/x.pid")),
        ("verify_owner", json!(false)),
        ("enabled", json!(false)),
        ("manual", json!(true)),
        ("while_down", json!("stop")),
        ("start", json!({ "before": "x" })),
        ("stop", json!({ "command": "x" })),
        ("restart", json!({ "command": "x" })),
        ("restart", json!({ "with": ["db"] })),
        ("limits", json!({ "nofile": 1 })),
        ("log", json!({ "to": "none" })),
        ("no_new_privileges", json!(false)),
    ] {
        let text = refused("shop", &json!({ "port": 8001, key: value }));
        assert!(text.contains(&format!("HB130: `{key}` is not for a realm that is registered")), "{text}");
        assert!(text.contains("belongs in the configuration"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    let http = "http://127.0.0.1:8001/";
    for (key, value) in [
        ("exec", json!({ "exec": "rm -rf /" })),
        ("exec", json!({ "http": http, "exec": ["x"] })),
        ("process", json!({ "process": true })),
        ("redis", json!({ "redis": "redis://127.0.0.1" })),
        ("postgres", json!({ "postgres": "postgres://127.0.0.1" })),
        ("body", json!({ "http": http, "body": "x" })),
        ("send", json!({ "tcp": "127.0.0.1:6379", "send": "FLUSHALL\r\n" })),
        ("method", json!({ "http": http, "method": "POST" })),
        (
            "X-HTTP-Method-Override",
            json!({ "http": http, "headers": { "X-HTTP-Method-Override": "DELETE" } }),
        ),
        ("Authorization", json!({ "http": http, "headers": { "Authorization": { "file": "/etc/shadow" } } })),
    ] {
        for health in [value.clone(), json!([value])] {
            let text = refused("shop", &json!({ "health": health }));
            assert!(text.contains("HB130") && text.contains(key), "{text}");
        }
    }
    for key in [
        "push",
        "unix",
        "grpc",
        "tls",
        "dns",
        "file",
        "notify",
        "resource",
        "redirects",
        "verify",
        "ca",
        "expires",
    ] {
        if heartbeat_config::keys().any(|known| known.name == key) {
            continue;
        }
        let text = refused("shop", &json!({ "health": { key: "x" } }));
        assert!(text.contains(&format!("`{key}` is not built yet")), "{text}");
    }
    for url in ["redis://127.0.0.1:6379", "postgres://127.0.0.1:5432", "tls://127.0.0.1"] {
        assert!(refused("shop", &json!({ "health": url })).contains("HB130"), "{url}");
    }
    for url in ["unix:///run/x", "http://unix:/run/x:/"] {
        assert!(refused("shop", &json!({ "health": url })).contains("HB131"), "{url}");
    }
    for url in ["push://x", "exec://x"] {
        assert!(refused("shop", &json!({ "health": url })).contains("HB111"), "{url}");
    }
    let text =
        refused("shop", &json!({ "health": http, "needs": [{ "realm": "db", "while_down": "stop" }] }));
    assert!(text.contains("`while_down`"), "{text}");
    // Everything that there is and that is not on the list above is refused, whatever comes to the table of keys.
    let allowed = [
        "port", "host", "health", "needs", "wants", "after", "title", "docs", "owner", "group", "labels",
        "critical",
    ];
    for key in heartbeat_config::keys().filter(|key| key.table == heartbeat_config::Table::Realm) {
        let text = put("shop", &json!({ "port": 8001, key.name: [[1.5]] })).map(|_| ()).expect_err(key.name);
        let known =
            text[0].report.iter().any(|one| one.code.as_str() == "HB102" || one.code.as_str() == "HB110");
        assert_eq!(known, allowed.contains(&key.name), "{}: {}", key.name, text[0].report);
    }
}

#[test]
fn nothing_is_filled_in_and_nothing_guessed() {
    for value in [
        json!({ "health": "http://127.0.0.1:1/${HOME}" }),
        json!({ "health": { "http": "http://127.0.0.1:1/", "contains": "$${HOME}" } }),
        json!({ "port": 1, "labels": { "a": "${HOME}" } }),
        json!({ "port": 1, "title": "${HOME:-x}" }),
    ] {
        assert!(refused("shop", &value).contains("HB104"), "{value}");
    }
    assert!(refused("shop", &json!({ "prot": 8001 })).contains("did you mean `port`?"));
    assert!(refused("shop", &json!({ "port": 1, "runn": "x" })).contains("there are port, host"));
    let text = refused("shop", &json!({ "health": { "http": "http://127.0.0.1:1/", "intervall": "1s" } }));
    assert!(text.contains("did you mean `interval`?"), "{text}");
    for (value, code) in [
        (json!({ "port": "8001" }), "HB102"),
        (json!({ "port": 0 }), "HB102"),
        (json!({ "port": null }), "HB102"),
        (json!({ "port": 8001, "title": 3 }), "HB102"),
        (json!({ "health": { "tcp": "127.0.0.1:1", "interval": 5 } }), "HB105"),
        (json!({ "health": { "tcp": "127.0.0.1:1", "interval": "10ms" } }), "HB133"),
        (json!({ "health": { "tcp": "127.0.0.1:1", "timeout": "9s" } }), "HB114"),
        (json!({ "health": vec!["tcp://127.0.0.1:1"; 17] }), "HB133"),
        (json!({ "port": 1, "title": "a\u{1b}[31mb" }), "HB133"),
        (json!({ "port": 1, "labels": { "a": "x\ny" } }), "HB133"),
        (json!({ "port": 1, "x-note": "a\u{1b}[31mb" }), "HB133"),
        (json!({ "port": 1, "x-note": { "deep": ["a", { "b": "\u{202e}c" }] } }), "HB133"),
        (json!({ "port": 1, "x-\u{1b}[2J": 1 }), "HB133"),
        (json!({ "port": 1, "x-note": { "\u{200b}": 1 } }), "HB133"),
        (json!({ "port": 1, "needs": ["dbb"] }), "HB202"),
        (json!({ "port": 1, "needs": ["shop"] }), "HB205"),
        (json!({ "port": 1, "needs": ["off"] }), "HB202"),
        (json!({ "port": 1, "needs": [{ "realm": "db", "until": "done" }] }), "HB204"),
    ] {
        let text = refused("shop", &value);
        assert!(text.contains(code), "{value}: {text}");
    }
    assert!(refused("shop", &json!({ "port": 1, "needs": ["dbb"] })).contains("did you mean `db`?"));
    for (name, text) in [
        ("shop", "{"),
        ("shop", "[]"),
        ("shop", "null"),
        ("shop", r#"{"port":1,"port":2}"#),
        ("shop", r#"{"health":{"tcp":"127.0.0.1:1","tcp":"10.0.0.1:1"}}"#),
        ("Shop", r#"{"port":1}"#),
        ("all", r#"{"port":1}"#),
        ("heartbeatd", r#"{"port":1}"#),
        ("ecosystem-health", r#"{"port":1}"#),
        ("../x", r#"{"port":1}"#),
    ] {
        let report = Registration::parse(name, text.as_bytes()).expect_err(text).to_string();
        assert!(report.starts_with("the registration of "), "{report}");
    }
    let long = format!(r#"{{"port":1,"title":"{}"}}"#, "x".repeat(17_000));
    assert!(Registration::parse("shop", long.as_bytes()).unwrap_err().to_string().contains("16384"));
}

#[test]
fn an_address_is_loopback_or_listed_and_some_are_never() {
    let health = |target: &str| json!({ "health": format!("tcp://{target}") });
    for fine in [
        "127.0.0.1:80",
        "127.9.9.9:80",
        "[::1]:80",
        "[::ffff:127.0.0.1]:80",
        "localhost:80",
        "0x7f.1:80",
        "db.internal:80",
    ] {
        put("shop", &health(fine)).unwrap_or_else(|misfits| panic!("{fine}: {}", misfits[0].report));
    }
    for denied in [
        "10.0.0.1:80",
        "012.0.0.1:80",
        "167772161:80",
        "0xa.1:80",
        "[::ffff:10.0.0.1]:80",
        "[fd00::1]:80",
        "[2001:db8::1]:80",
    ] {
        let text = refused("shop", &health(denied));
        assert!(text.contains("HB131") && text.contains("`register_networks` of [heartbeat]"), "{text}");
    }
    for never in [
        "169.254.169.254:80",
        "2852039166:80",
        "[::ffff:169.254.169.254]:80",
        "[fe80::1]:80",
        "0.0.0.0:80",
        "0:80",
        "[::]:80",
        "224.0.0.1:80",
        "255.255.255.255:80",
    ] {
        let text = refused("shop", &health(never));
        assert!(text.contains("HB131") && text.contains("no key permits that"), "{text}");
        let everywhere = load("[heartbeat]\nregister_networks = [\"0.0.0.0/0\", \"::/0\"]\n");
        let misfits = with_registered(&everywhere, &[registration("shop", &health(never))]).unwrap_err();
        assert!(misfits[0].denied, "{never}");
    }
    // Every way to name a host.
    for value in [
        json!({ "port": 80, "host": "10.0.0.1" }),
        json!({ "health": "http://10.0.0.1/" }),
        json!({ "health": { "http": "http://10.0.0.1/" } }),
        json!({ "health": [{ "tcp": "127.0.0.1:1" }, { "tcp": "10.0.0.1:1", "name": "other" }] }),
        json!({ "health": "tcp://127.0.0.1:1", "port": 80, "host": "10.0.0.1" }),
    ] {
        assert!(refused("shop", &value).contains("HB131"), "{value}");
    }
    let listed = load("[heartbeat]\nregister_networks = [\"10.0.0.0/8\"]\n");
    assert!(with_registered(&listed, &[registration("shop", &health("10.0.0.1:80"))]).is_ok());
    let both = with_registered(
        &listed,
        &[registration("shop", &json!({ "health": "tcp://11.0.0.1:1", "run": "x" }))],
    );
    assert!(!both.unwrap_err()[0].denied, "it is not only the address");
    let wrong =
        load_str("heartbeat.toml", "[heartbeat]\nregister_networks = [\"10.0.0.1/8\"]\n", &BTreeMap::new());
    assert!(wrong.unwrap_err().to_string().contains("10.0.0.0/8"));
}

#[test]
fn what_the_files_have_is_theirs() {
    for (name, place) in [("db", "heartbeat.toml:10"), ("off", "heartbeat.toml:17")] {
        let text = refused(name, &json!({ "port": 1 }));
        assert!(text.contains(&format!("HB132: realm `{name}` is declared in {place}")), "{text}");
    }
}

#[test]
fn what_does_not_fit_is_set_aside_and_so_is_who_needs_it() {
    let all = [
        registration("a", &json!({ "port": 1 })),
        registration("b", &json!({ "port": 2, "needs": ["a"] })),
        registration("c", &json!({ "port": 3, "needs": ["b", "db"] })),
        registration("d", &json!({ "port": 4 })),
    ];
    let (config, aside) = with_what_fits(load(FILE), all.to_vec());
    assert_eq!((config.plan.realms().len(), aside.len()), (6, 0));
    let (config, aside) = with_what_fits(load(&format!("{FILE}[realm.a]\nrun = \"a\"\n")), all.to_vec());
    let names: Vec<&str> = aside.iter().map(|misfit| misfit.name.as_str()).collect();
    assert_eq!(names, ["a"], "what needed it needs the one of the file now");
    assert_eq!(config.plan.realms().len(), 6);
    let (config, aside) = with_what_fits(load("[heartbeat]\n"), all.to_vec());
    let names: Vec<&str> = aside.iter().map(|misfit| misfit.name.as_str()).collect();
    assert_eq!((names, config.plan.realms().len()), (vec!["c"], 3), "there is no db any more");
    let circle = [
        registration("a", &json!({ "port": 1, "needs": ["b"] })),
        registration("b", &json!({ "port": 2, "needs": ["a"] })),
        registration("c", &json!({ "port": 3, "needs": ["b"] })),
        registration("d", &json!({ "port": 4 })),
    ];
    let (config, aside) = with_what_fits(load(FILE), circle.to_vec());
    let names: Vec<&str> = aside.iter().map(|misfit| misfit.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(
        aside[0].report.to_string().contains("realms wait for each other: a -> b -> a"),
        "{}",
        aside[0].report
    );
    assert!(config.plan.find("d").is_some());
}

#[test]
fn what_is_in_force_of_the_files_is_what_they_said() {
    let file = load(FILE);
    let all = [
        registration("a", &json!({ "port": 1 })),
        registration("z", &json!({ "port": 2, "needs": ["a", "db"] })),
    ];
    let config = with_registered(&file, &all).unwrap();
    let in_force = InForce {
        heartbeat: &config.heartbeat,
        plan: &config.plan,
        realms: &config.realms,
        notify: &config.notify,
        maintenance: &config.maintenance,
        vacant: &[],
    };
    let base = configured(in_force, &config.registering);
    assert_eq!(base.plan.realms(), file.plan.realms());
    // One realm goes, and every other realm keeps its index.
    let fewer = with_registered(&base, &all[..1]).unwrap();
    let merged = merge(in_force, fewer).unwrap();
    assert_eq!(merged.changes.to_string(), "removed: z");
    assert_eq!(merged.config.plan.find("a"), config.plan.find("a"));
    let same = merge(in_force, with_registered(&base, &all).unwrap()).unwrap();
    assert!(same.changes.is_empty(), "{}", same.changes);
    // A file takes one over: the same realm, and not a registered one any more.
    let taken = load(&format!("{FILE}[realm.a]\nport = 1\nhealth = \"http://127.0.0.1:1/api/health/\"\n"));
    let merged = merge(in_force, with_what_fits(taken, all.to_vec()).0).unwrap();
    assert!(merged.changes.to_string().contains("a ("), "{}", merged.changes);
    assert!(merged.changes.to_string().contains("registered"), "{}", merged.changes);
}

#[test]
fn the_files_load_without_what_is_registered() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("heartbeat.toml"), "[realm.api]\nrun = \"api\"\nneeds = [\"shop\"]\n")
        .unwrap();
    let cwd = dir.path().to_owned();
    let sources = Sources { file: None, env: BTreeMap::new(), bytes: Vec::new(), overrides: Vec::new(), cwd };
    let report = load_beside(&sources, &["shop".to_owned()]).unwrap_err().to_string();
    assert!(report.contains("HB202: realm `shop` is registered at run time"), "{report}");
    assert!(report.contains("declare it: [realm.shop]"), "{report}");
}
