//! `health.notify`, `health.watchdog` and `start.ready_fd`.

use std::time::Duration;

use heartbeat_process::Readiness;
use heartbeat_status::{ProbeKind, Role};
use heartbeat_supervisor::{ProbeSource, ProbeSpec};

use crate::merging::changes;
use crate::reading::{realm, refused, text};

fn of(keys: &str) -> (Readiness, Vec<ProbeSpec>) {
    let config = text(&format!("[realm.a]\nrun = \"x\"\n{keys}\n"));
    let (spec, config) = realm(&config, "a");
    (config.launch.as_ref().expect("a program").readiness.clone(), spec.probes.clone())
}

fn codes(text: &str) -> Vec<&'static str> {
    refused(text).iter().map(|found| found.code.as_str()).collect()
}

fn probes(probes: &[ProbeSpec]) -> Vec<(&str, &str, ProbeSource)> {
    probes.iter().map(|probe| (&*probe.info.name, &*probe.info.target, probe.source)).collect()
}

const PROCESS: (&str, &str, ProbeSource) = ("process", "pid", ProbeSource::Process);

#[test]
fn a_realm_is_asked_to_say_how_it_is_in_the_ways_that_are_written() {
    let (asked, found) = of("health = { notify = true, watchdog = \"30s\" }");
    let watchdog = Some(Duration::from_secs(30));
    assert_eq!(asked, Readiness { notify: true, watchdog, ready_fd: None });
    assert_eq!(probes(&found), [("notify", "sd_notify", ProbeSource::Notify { watchdog }), PROCESS]);
    assert_eq!((found[0].info.kind, found[0].info.role), (ProbeKind::Notify, Role::Live));
    assert_eq!((found[0].info.thresholds.fail_after(), found[0].info.thresholds.pass_after()), (1, 1));

    let source = ProbeSource::Notify { watchdog: None };
    let (asked, found) = of("start.ready_fd = 3");
    assert_eq!(asked, Readiness { ready_fd: Some(3), ..Readiness::default() });
    assert_eq!(probes(&found), [("notify", "descriptor 3", source), PROCESS]);

    let (asked, found) =
        of("start.ready_fd = 5\nhealth = { notify = true, name = \"self\", role = \"ready\" }");
    assert_eq!(asked, Readiness { notify: true, watchdog: None, ready_fd: Some(5) });
    assert_eq!(probes(&found), [("self", "sd_notify, descriptor 5", source), PROCESS]);
    assert_eq!(found[0].info.role, Role::Ready);

    let (asked, found) = of("port = 8001\nstart.ready_fd = 3");
    assert_eq!(asked.ready_fd, Some(3));
    assert_eq!(
        found.iter().map(|probe| &*probe.info.name).collect::<Vec<_>>(),
        ["http", "port", "notify", "process"]
    );
    assert_eq!(of("").0, Readiness::default());
}

#[test]
fn no_other_server_is_asked() {
    let config = text(
        "[realm.a]\nrun = \"x\"\nhealth = [{ notify = true }, { exec = \"check\" }]\nstart = { before = \"y\", ready_fd = 3 }\n\
         [realm.b]\nrun = \"x\"\noneshot = true\n[defaults.start]\nready_fd = 4\n",
    );
    let (_, a) = realm(&config, "a");
    assert!(a.start_before.iter().all(|hook| !hook.readiness.is_asked()), "a hook has no realm to speak for");
    let (spec, b) = realm(&config, "b");
    assert!(spec.probes.is_empty() && !b.launch.as_ref().unwrap().readiness.is_asked());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let with = |keys: &str| codes(&format!("[realm.a]\nrun = \"x\"\n{keys}\n"));
    for (keys, code) in [
        ("health = { notify = false }", "HB110"),
        ("health = { notify = \"yes\" }", "HB102"),
        ("health = { notify = true, watchdog = \"0s\" }", "HB114"),
        ("health = { notify = true, watchdog = 30 }", "HB105"),
        ("health = { notify = true, interval = \"1s\" }", "HB113"),
        ("health = { notify = true, timeout = \"1s\" }", "HB113"),
        ("health = { notify = true, fail_after = 5 }", "HB113"),
        ("health = { notify = true, grace = \"5s\" }", "HB113"),
        ("health = { exec = \"x\", watchdog = \"5s\" }", "HB113"),
        ("health = [{ notify = true }, { notify = true, name = \"b\" }]", "HB112"),
        ("health = { notify = true, tcp = \"127.0.0.1:1\" }", "HB110"),
        ("oneshot = true\nhealth = { notify = true }", "HB110"),
        ("oneshot = true\nstart.ready_fd = 3", "HB121"),
        ("start.ready_fd = 0", "HB102"),
        ("start.ready_fd = 2", "HB102"),
        ("start.ready_fd = 1024", "HB102"),
        ("start.ready_fd = -1", "HB102"),
        ("start.ready_fd = \"3\"", "HB102"),
        ("health = { notify = true }\nenv = { NOTIFY_SOCKET = \"/x\" }", "HB124"),
        ("health = { notify = true }\nenv = { WATCHDOG_PID = \"1\" }", "HB124"),
    ] {
        assert_eq!(with(keys), [code], "{keys}");
    }
    assert_eq!(codes("[realm.a]\nhealth = { notify = true }\n"), ["HB110"]);
    let external = "[realm.a]\nhealth = \"tcp://127.0.0.1:1\"\nrestart.command = \"x\"\nstart.ready_fd = 3\n";
    assert_eq!(codes(external), ["HB121"]);
    // Without the probe that variable is the realm's own.
    assert!(!of("env = { NOTIFY_SOCKET = \"/run/other\" }").0.is_asked());
    let long = format!(
        "[heartbeat]\nsocket = \"/run/s\"\nruntime_dir = \"/{}\"\n[realm.a]\nrun = \"x\"\n",
        "x".repeat(100)
    );
    let report = refused(&format!("{long}health = {{ notify = true }}\n"));
    assert_eq!(report.iter().map(|found| found.code.as_str()).collect::<Vec<_>>(), ["HB128"], "{report}");
    text(&long);
}

#[test]
fn what_was_told_to_a_process_restarts_it_when_it_changes_and_nothing_else_does() {
    let file = |keys: &str| format!("[realm.a]\nrun = \"x\"\n{keys}\n");
    let changed = |old: &str, new: &str| changes(&file(old), &file(new));
    let asked = "health = { notify = true, watchdog = \"30s\" }";
    assert_eq!(changed(asked, asked), "nothing changed");
    assert_eq!(changed("", asked), "restarted: a (health.notify, health.watchdog)");
    assert_eq!(changed(asked, "health = { notify = true }"), "restarted: a (health.watchdog)");
    assert_eq!(changed(asked, ""), "restarted: a (health.notify, health.watchdog)");
    assert_eq!(changed("", "start.ready_fd = 3"), "restarted: a (start.ready_fd)");
    let info = "health = { notify = true, watchdog = \"30s\", role = \"info\" }";
    assert_eq!(changed(asked, info), "changed in place: a (health)");
    let beside = "health = [{ notify = true, watchdog = \"30s\" }, { tcp = \"127.0.0.1:1\" }]";
    assert_eq!(changed(asked, beside), "changed in place: a (health)");
    let both = "health = [{ notify = true }, { tcp = \"127.0.0.1:1\" }]";
    assert_eq!(changed(asked, both), "restarted: a (health.watchdog, health)");
}
