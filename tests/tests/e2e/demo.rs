//! `heartbeatd demo`: each realm broken in each way, found, restarted, verified; and nothing left behind.

use nix::sys::signal::Signal;

use crate::program::{Running, processes_with, run, told};

/// The demo promises to be through within this, from its start; fivefold slack for a busy machine.
const PROMISE_S: f64 = 30.0 * 5.0;

fn seconds(line: &str) -> f64 {
    line.trim_start().split('s').next().and_then(|text| text.parse().ok()).unwrap_or(f64::MAX)
}

fn says(line: &str, realm: &str, word: &str) -> bool {
    let mut words = line.split_whitespace().skip(1);
    words.next() == Some(realm) && words.next() == Some(word)
}

fn broken_and_recovered(realm: &'static str, fault: &'static str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut demo = Running::start("heartbeatd", &["demo", "--dir", path, "--break", realm, "--fault", fault]);
    let recovered = demo.read_until("its recovery", |line| says(line, realm, "recovered"));
    assert!(seconds(&recovered) < PROMISE_S, "{recovered}");
    demo.read_until("the last realm to be up again", |line| says(line, realm, "up"));
    let socket = format!("unix:{path}/run/heartbeat.sock");
    let up = run(
        "heartbeat-cli",
        &["-H", &socket, "wait", "store", "cache", "auth", "shop", "web", "--for", "up"],
    );
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    let seen = demo.seen.join("\n");
    for line in demo.seen.iter().filter(|line| line.contains("restart") && line.contains("begins")) {
        assert!(says(line, realm, "restart"), "{realm} {fault}: somebody else was restarted for it:\n{seen}");
    }
    let detected = match fault {
        "crash" => "ended",
        _ => "probe",
    };
    assert!(demo.seen.iter().any(|line| says(line, realm, detected)), "{realm} {fault}:\n{seen}");
    demo.signal(Signal::SIGINT);
    let stopped = demo.read_until("the stop", |line| says(line, "heartbeatd", "stopped"));
    assert!(stopped.contains("nothing is left running"), "{stopped}");
    assert_stop_order(&demo.seen);
    let (code, errors) = demo.end();
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(processes_with(path), Vec::<i32>::new(), "processes of the demo are left");
}

/// Dependents are gone before heartbeatd stops what they need.
fn assert_stop_order(seen: &[String]) {
    let from = seen.iter().position(|line| says(line, "heartbeatd", "stopping")).unwrap();
    let at = |realm: &str, word: &str| {
        seen[from..]
            .iter()
            .position(|line| says(line, realm, word))
            .unwrap_or_else(|| panic!("{realm} {word}: {seen:#?}"))
    };
    for (dependent, need) in [("web", "shop"), ("shop", "auth"), ("shop", "cache"), ("auth", "store")] {
        assert!(at(dependent, "ended") < at(need, "signal"), "{dependent} before {need}: {seen:#?}");
    }
}

#[test]
fn every_realm_survives_every_fault() {
    let cases = ["store", "cache", "auth", "shop", "web"]
        .into_iter()
        .flat_map(|realm| ["crash", "hang", "500"].map(|fault| (realm, fault)));
    let running: Vec<_> = cases
        .map(|(realm, fault)| {
            let run = std::thread::spawn(move || broken_and_recovered(realm, fault));
            (realm, fault, run)
        })
        .collect();
    let failed: Vec<String> = running
        .into_iter()
        .filter_map(|(realm, fault, run)| run.join().is_err().then(|| format!("{realm} {fault}")))
        .collect();
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}

#[test]
fn a_hang_shows_detection_blocked_dependents_verification_and_recovery() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut demo = Running::start("heartbeatd", &["demo", "--dir", path]);
    demo.read_until("everything up", |line| says(line, "heartbeatd", "running"));
    demo.read_until("detection", |line| says(line, "auth", "down"));
    demo.read_until("the restart", |line| says(line, "auth", "restart") && line.contains("http: "));
    demo.read_until("verification", |line| says(line, "auth", "recovered"));
    let seen = |what: &dyn Fn(&str) -> bool| demo.seen.iter().any(|line| what(line));
    assert!(seen(&|line| says(line, "shop", "blocked") && line.contains("auth")), "{:#?}", demo.seen);
    assert!(seen(&|line| says(line, "auth", "started") && line.contains("generation 2")), "{:#?}", demo.seen);
    demo.signal(Signal::SIGINT);
    let (code, errors) = demo.end();
    assert_eq!(code, Some(0), "{errors}");
}

#[test]
fn a_demo_ends_with_the_terminal_it_was_started_from() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut demo = Running::start("heartbeatd", &["demo", "--dir", path, "--calm"]);
    demo.read_until("the last realm to be up", |line| says(line, "web", "up"));
    demo.signal(Signal::SIGHUP);
    let (code, errors) = demo.end();
    assert_eq!(code, Some(0), "{errors}");
    assert!(processes_with(path).is_empty(), "nothing is left running");
}
