//! `heartbeat-cli` against a running heartbeatd: what it prints and how it ends.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::program::{run, told};
use crate::supervision::{Instance, ports};

#[test]
fn every_answer_has_its_exit_code() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let cases: &[(&[&str], i32)] = &[
        (&["status"], 0),
        (&["status", "--refresh"], 0),
        (&["status", "--wait=30s"], 0),
        (&["is", "up", "db"], 0),
        (&["is", "down", "db"], 1),
        (&["why", "api"], 0),
        (&["graph"], 0),
        (&["wait", "api", "--for", "up", "--timeout", "30s"], 0),
        (&["wait", "api", "--for", "stopped", "--timeout", "300ms"], 124),
        (&["status", "no-such-realm"], 4),
        (&["why", "dbb"], 4),
        (&["stop", "db"], 7),
        (&["restart", "db", "--dry-run"], 7),
        (&["restart", "db", "--dry-run", "--cascade"], 0),
        (&["restart", "db", "--dry-run", "--leave-dependents"], 0),
        (&["plan", "restart", "worker"], 0),
        (&["events", "dbb"], 4),
        (&["stop", "@nobody"], 4),
        (&["is", "up", "all"], 0),
        (&["status", "w*", "+api"], 0),
        (&["status", "5s"], 2),
        (&["signal", "HPU", "db"], 2),
        (&["status", "--wait", "30s"], 0),
        (&["frobnicate"], 2),
    ];
    for (args, code) in cases {
        let output = eco.cli(args);
        assert_eq!(output.status.code(), Some(*code), "{args:?} {}", told(&output));
    }
    let gone = run("heartbeat-cli", &["-H", "unix:/nonexistent/heartbeat.sock", "status"]);
    assert_eq!(gone.status.code(), Some(5), "{}", told(&gone));
}

#[test]
fn a_start_behind_a_need_that_is_down_says_so_at_once_and_ends_with_3() {
    let [gone] = ports();
    let extra = format!(
        "[realm.gone]\nhealth = {{ tcp = \"127.0.0.1:{gone}\", interval = \"1s\" }}\n\
         [realm.late]\nrun = \"sleep 86398\"\nneeds = [\"gone\"]\nmanual = true\n"
    );
    let eco = Instance::start(&extra);
    let up = eco.cli(&["status", "db", "--wait=60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    let down = eco.cli(&["wait", "gone", "--for", "up", "--timeout", "6s"]);
    assert_eq!(down.status.code(), Some(124), "{}", told(&down));
    // What is asked for a second time has no step any more, and waits for the same.
    for _ in 0..2 {
        let start = eco.cli(&["start", "late", "--timeout", "6s"]);
        let said = String::from_utf8_lossy(&start.stderr).into_owned();
        assert_eq!(start.status.code(), Some(3), "{}", told(&start));
        let at_once = said.find("blocked: late waits for gone, which is down").expect(&said);
        let still = said.find("start late: still blocked after 6s: late waits for gone").expect(&said);
        assert!(at_once < still && said.contains("heartbeat-cli why gone"), "{said}");
    }
}

#[test]
fn the_events_of_heartbeatd_itself_can_be_asked_for() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let own = eco.cli(&["events", "heartbeatd", "-o", "plain"]);
    assert_eq!(own.status.code(), Some(0), "{}", told(&own));
    let text = String::from_utf8_lossy(&own.stdout).into_owned();
    let realms: Vec<&str> = text.lines().filter_map(|line| line.split('\t').nth(1)).collect();
    assert!(realms.contains(&"heartbeatd") && realms.iter().all(|realm| *realm == "heartbeatd"), "{text}");
    let both = eco.cli(&["events", "heartbeatd", "db", "-o", "plain"]);
    assert!(String::from_utf8_lossy(&both.stdout).contains("\tdb\t"), "{}", told(&both));
}

#[test]
fn off_a_terminal_the_table_is_plain_and_names_why() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let table = eco.cli(&["status", "--refresh"]);
    let text = String::from_utf8(table.stdout.clone()).unwrap();
    assert!(!text.contains('\x1b'), "{}", told(&table));
    for realm in ["db", "api", "worker"] {
        assert!(
            text.lines().any(|line| line.contains(realm) && line.contains("up")),
            "{realm}: {}",
            told(&table)
        );
    }
    let json: Value = serde_json::from_slice(&eco.cli(&["status", "--json"]).stdout).unwrap();
    assert_eq!(json["schema"], "heartbeat.status/1");
    assert_eq!(json["ok"], true);
    let api = json["realms"].as_array().unwrap().iter().find(|realm| realm["name"] == "api").unwrap();
    let facts: Vec<&str> =
        api["probes"].as_array().unwrap().iter().map(|probe| probe["name"].as_str().unwrap()).collect();
    assert_eq!(facts, ["http", "port", "process"], "{api:#}");
    assert!(api["probes"][0]["latency_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn stop_start_and_restart_do_what_they_say() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let refused = eco.cli(&["stop", "db"]);
    assert_eq!(refused.status.code(), Some(7));
    let said = told(&refused);
    assert!(said.contains("api") && said.contains("--cascade"), "{said}");
    assert_eq!(eco.status_of("db"), "up", "refused means that nothing changed");

    let stopped = eco.cli(&["stop", "db", "--cascade", "--yes"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", told(&stopped));
    assert_eq!((eco.status_of("db"), eco.status_of("api")), ("stopped".to_owned(), "stopped".to_owned()));

    let refused = eco.cli(&["start", "api", "--yes"]);
    assert_eq!(refused.status.code(), Some(7), "an operator's stop is a hold");
    assert!(told(&refused).contains("db was stopped by an operator"), "{}", told(&refused));
    assert_eq!(eco.status_of("db"), "stopped");
    let started = eco.cli(&["start", "api", "--lift-holds"]);
    assert_eq!(started.status.code(), Some(0), "{}", told(&started));
    assert_eq!(
        (eco.status_of("db"), eco.status_of("api")),
        ("up".to_owned(), "up".to_owned()),
        "what it needs, too"
    );

    let before = eco.pid_of("api");
    let restarted = eco.cli(&["restart", "api"]);
    assert_eq!(restarted.status.code(), Some(0), "{}", told(&restarted));
    assert_ne!(eco.pid_of("api"), before);
    eco.daemon.signal(Signal::SIGTERM);
}

#[test]
fn a_wrong_configuration_is_told_in_full() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("heartbeat.toml");
    std::fs::write(&file, "[realm.a]\nrun = \"sleep 9\"\nneeds = [\"b\"]\nprot = 80\n[realm.b]\nrun = \"sleep 9\"\nneeds = [\"a\"]\n").unwrap();
    let path = file.to_str().unwrap();
    for (name, args) in [
        ("heartbeat-cli", vec!["check", path]),
        ("heartbeatd", vec!["check", "--config", path]),
        ("heartbeatd", vec!["--config", path]),
    ] {
        let output = run(name, &args);
        let said = told(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("prot") && said.contains("port"), "did you mean: {said}");
        assert!(said.contains("heartbeat.toml"), "{said}");
    }
}
