//! What one realm becomes: probes, dependencies, commands, environment.

use std::time::Duration;

use heartbeat_process::LogTarget;
use heartbeat_restart::RestartWhen;
use heartbeat_status::{EdgeKind, Gate, ProbeIx, ProbeKind, RealmKind, Role};
use heartbeat_supervisor::{ProbeSource, SignalTo};

use crate::reading::{facts, realm, refused, text};

fn codes(text: &str) -> Vec<&'static str> {
    refused(text).iter().map(|diagnostic| diagnostic.code.as_str()).collect()
}

#[test]
fn a_port_gives_the_four_facts() {
    let config = text("[realm.api]\nrun = \"x\"\nport = 8001\n");
    let (spec, adapters) = realm(&config, "api");
    assert_eq!(
        facts(spec),
        [
            (ProbeKind::Http, "http", "http://127.0.0.1:8001/api/health/", ProbeSource::Measured),
            (ProbeKind::Port, "port", "127.0.0.1:8001", ProbeSource::PortOf(ProbeIx(0))),
            (ProbeKind::Process, "process", "pid", ProbeSource::Process),
        ]
    );
    assert_eq!(adapters.probes.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false]);
    let config = text("[realm.api]\nport = 8001\nhost = \"::1\"\n");
    let (spec, _) = realm(&config, "api");
    assert_eq!(spec.kind, RealmKind::External);
    assert_eq!(
        facts(spec),
        [
            (ProbeKind::Http, "http", "http://[::1]:8001/api/health/", ProbeSource::Measured),
            (ProbeKind::Port, "port", "[::1]:8001", ProbeSource::PortOf(ProbeIx(0))),
        ]
    );
}

#[test]
fn an_explicit_health_replaces_the_implied_request_and_keeps_the_port() {
    let config = text("[realm.api]\nrun = \"x\"\nport = 8001\nhealth = \"http://127.0.0.1:8001/up\"\n");
    let (spec, _) = realm(&config, "api");
    assert_eq!(
        facts(spec)[..2],
        [
            (ProbeKind::Http, "http", "http://127.0.0.1:8001/up", ProbeSource::Measured),
            (ProbeKind::Port, "port", "127.0.0.1:8001", ProbeSource::PortOf(ProbeIx(0))),
        ]
    );
    let config = text("[realm.api]\nrun = \"x\"\nport = 8001\nhealth = \"http://127.0.0.1:9001/up\"\n");
    let (spec, adapters) = realm(&config, "api");
    assert_eq!(facts(spec)[1], (ProbeKind::Port, "port", "127.0.0.1:8001", ProbeSource::Measured));
    assert!(adapters.probes[1].is_some(), "nothing else connects there, so it is measured");
    assert_eq!(
        codes("[realm.api]\nport = 8001\nhost = \"a b\"\nhealth = \"tcp://127.0.0.1:1\"\n"),
        ["HB111"]
    );
    assert_eq!(codes("[realm.api]\nport = 8001\nhost = \"a b\"\n"), ["HB111"]);
}

#[test]
fn health_takes_several_tables() {
    let config = text(
        r#"
[realm.api]
run = "x"
[[realm.api.health]]
http = "http://127.0.0.1:8001/live"
name = "live"
interval = "1s"
fail_after = 5
fail_if = "3 of 6"
[[realm.api.health]]
http = "http://127.0.0.1:8001/ready"
name = "ready"
role = "ready"
status = [200, "204"]
slow = "300ms"
grace = "10s"
[[realm.api.health]]
tcp = "127.0.0.1:8001"
role = "info"
"#,
    );
    let (spec, adapters) = realm(&config, "api");
    let names: Vec<_> = spec.probes.iter().map(|probe| (probe.info.name.as_str(), probe.info.role)).collect();
    assert_eq!(
        names,
        [("live", Role::Live), ("ready", Role::Ready), ("tcp", Role::Info), ("process", Role::Live)]
    );
    let live = &spec.probes[0].info;
    assert_eq!(
        (live.interval, live.timeout),
        (Duration::from_secs(1), Duration::from_secs(1)),
        "the timeout fits"
    );
    assert_eq!(live.thresholds.fail_after(), 5);
    assert_eq!(spec.probes[1].grace, Some(Duration::from_secs(10)));
    assert!(adapters.probes[..3].iter().all(Option::is_some));
    let twice = "[realm.a]\nhealth = [\"http://127.0.0.1:1/\", \"http://127.0.0.1:2/\"]\n";
    assert_eq!(codes(twice), ["HB112"], "each has a name of its own");
}

#[test]
fn the_process_probe_can_be_written_out() {
    let config =
        text("[realm.a]\nrun = \"x\"\nhealth = { process = true, name = \"main\", role = \"info\" }\n");
    let (spec, _) = realm(&config, "a");
    assert_eq!(facts(spec), [(ProbeKind::Process, "main", "pid", ProbeSource::Process)]);
    assert_eq!(spec.probes[0].info.role, Role::Info);
    for (text, code) in [
        ("[realm.a]\nhealth = { process = true }\n", "HB110"),
        ("[realm.a]\nrun = \"x\"\nhealth = { process = false }\n", "HB110"),
        ("[realm.a]\nrun = \"x\"\noneshot = true\nhealth = { process = true }\n", "HB110"),
        ("[realm.a]\nrun = \"x\"\nhealth = { process = true, slow = \"1s\" }\n", "HB113"),
        ("[realm.a]\nrun = \"x\"\nhealth = { process = true, status = 200 }\n", "HB113"),
        (
            "[realm.a]\nrun = \"x\"\nhealth = [{ process = true }, { process = true, name = \"b\" }]\n",
            "HB112",
        ),
        ("[realm.a]\nrun = \"x\"\nhealth = { tcp = \"127.0.0.1:1\", name = \"process\" }\n", "HB112"),
    ] {
        assert_eq!(codes(text), [code], "{text}");
    }
}

#[test]
fn a_oneshot_has_defaults_of_its_own() {
    let config =
        text("[realm.job]\nrun = \"x\"\noneshot = true\n[realm.api]\nrun = \"y\"\nneeds = [\"job\"]\n");
    let (job, _) = realm(&config, "job");
    assert_eq!(job.kind, RealmKind::Oneshot);
    assert_eq!(job.start.timeout, None);
    assert_eq!(job.restart.settings().when, RestartWhen::OnFailure);
    assert!(job.probes.is_empty());
    let (api, _) = realm(&config, "api");
    assert_eq!(api.needs[0].until, Gate::Done);
    assert_eq!(api.start.timeout, Some(Duration::from_secs(60)));
    assert_eq!(api.restart.settings().when, RestartWhen::Always);
}

#[test]
fn wants_and_after_are_edges_without_conditions() {
    let config = text(
        "[realm.a]\nrun = \"x\"\n[realm.b]\nrun = \"x\"\n[realm.c]\nrun = \"x\"\nwants = \"a\"\nafter = [{ realm = \"b\" }]\n",
    );
    let (c, _) = realm(&config, "c");
    let mut kinds: Vec<_> =
        c.needs.iter().map(|need| (config.plan.realm(need.realm).name.as_str(), need.kind)).collect();
    kinds.sort_by_key(|kind| kind.0);
    assert_eq!(kinds, [("a", EdgeKind::Wants), ("b", EdgeKind::After)]);
    let realms = "[realm.a]\nrun = \"x\"\n[realm.b]\nrun = \"x\"\n";
    assert_eq!(codes(&format!("{realms}wants = [{{ realm = \"a\", until = \"started\" }}]\n")), ["HB123"]);
    assert_eq!(codes(&format!("{realms}after = [{{ realm = \"a\", while_down = \"stop\" }}]\n")), ["HB123"]);
    assert_eq!(codes(&format!("{realms}needs = [{{ until = \"up\" }}]\n")), ["HB122"]);
}

#[test]
fn impossible_gates_are_refused_for_every_kind() {
    for (to, until) in [
        ("run = \"x\"", "done"),
        ("run = \"x\"\noneshot = true", "up"),
        ("port = 1", "started"),
        ("port = 1", "done"),
    ] {
        let text = format!(
            "[realm.a]\n{to}\n[realm.b]\nrun = \"x\"\nneeds = [{{ realm = \"a\", until = \"{until}\" }}]\n"
        );
        assert_eq!(codes(&text), ["HB204"], "{text}");
    }
}

#[test]
fn what_means_nothing_for_a_realm_without_a_program_is_refused() {
    for key in
        ["oneshot = true", "manual = true", "dir = \"x\"", "start = {}", "stop = {}", "log = {}", "env = {}"]
    {
        assert_eq!(codes(&format!("[realm.a]\nport = 8001\n{key}\n")), ["HB121"], "{key}");
    }
}

#[test]
fn the_log_lies_below_the_state_directory() {
    let config = text(
        "[heartbeat]\nstate_dir = \"/var/lib/hb\"\n[realm.api]\nrun = \"x\"\nlog = { max_size = \"1MiB\", keep = 2 }\n\
         [realm.quiet]\nrun = \"x\"\nlog = { to = \"none\" }\n\
         [realm.told]\nrun = \"x\"\nlog = { to = \"journal\" }\n",
    );
    let log = |name: &str| realm(&config, name).1.launch.as_ref().unwrap().log.clone();
    let expected = LogTarget::File { path: "/var/lib/hb/log/api.log".into(), max_bytes: 1 << 20, keep: 2 };
    assert_eq!(log("api"), expected);
    assert_eq!(log("quiet"), LogTarget::Null);
    let journal =
        LogTarget::Journal { socket: "/run/systemd/journal/stdout".into(), identifier: "told".into() };
    assert_eq!(log("told"), journal);
    let of = |name: &str| realm(&config, name).1.launch.as_ref().unwrap().identity();
    assert_eq!(of("told").difference(&of("quiet")), ["log"], "another target is another process");
    assert!(of("told") != of("api"));
}

#[test]
fn commands_around_a_start_and_a_stop_are_read_like_run() {
    let config = text(
        "[realm.api]\nrun = \"x\"\ndir = \"/srv\"\nstart = { before = [\"a 1\", \"b '2 3'\"], after = \"c\" }\nstop = { command = [\"d\", \"4 5\"], signal = \"INT\" }\n",
    );
    let (spec, adapters) = realm(&config, "api");
    assert!(spec.start.before && spec.start.after && spec.stop.command);
    assert_eq!(spec.stop.signal_to, SignalTo::Main);
    let tree = text("[realm.api]\nrun = \"x\"\nstop.signal_to = \"tree\"\n");
    assert_eq!(realm(&tree, "api").0.stop.signal_to, SignalTo::Tree);
    assert_eq!(codes("[realm.api]\nrun = \"x\"\nstop.signal_to = \"group\"\n"), ["HB106"]);
    let argv: Vec<_> = adapters.start_before.iter().map(|launch| launch.argv.clone()).collect();
    assert_eq!(argv, [["a", "1"], ["b", "2 3"]]);
    assert_eq!(adapters.stop_command.as_ref().unwrap().argv, ["d", "4 5"]);
    assert_eq!(adapters.launch.as_ref().unwrap().dir, std::path::Path::new("/srv"));
}

#[test]
fn a_restart_command_is_of_services_and_of_external_realms() {
    let config = text(
        "[realm.web]\nrun = \"nginx\"\nrestart.command = \"nginx -s reload\"\n\
         [realm.far]\nhealth = \"tcp://127.0.0.1:1\"\nenv = { A = \"1\" }\nlog.to = \"none\"\nstart.timeout = \"9s\"\n\
         restart = { command = [\"ssh\", \"far\", \"restart\"], burst = 2, when_spent = \"fail\" }\n",
    );
    let (web, adapters) = realm(&config, "web");
    assert!(web.restart_command);
    assert_eq!(adapters.restart_command.as_ref().unwrap().argv, ["nginx", "-s", "reload"]);
    let (far, adapters) = realm(&config, "far");
    assert_eq!((far.kind, far.restart_command, far.restart.burst()), (RealmKind::External, true, 2));
    let command = adapters.restart_command.as_ref().unwrap();
    assert_eq!(command.argv, ["ssh", "far", "restart"]);
    assert!(command.env.iter().any(|(name, value)| name == "A" && value == "1"));
    assert_eq!(far.start.timeout, Some(Duration::from_secs(9)));
    let external = "[realm.a]\nport = 8001\nrestart.command = \"x\"\n";
    for key in
        ["start.settle = \"1s\"", "start.before = \"x\"", "stop.timeout = \"1s\"", "restart.min_gap = \"1s\""]
    {
        assert_eq!(codes(&format!("{external}{key}\n")), ["HB121"], "{key}");
    }
    assert_eq!(
        codes("[realm.a]\nport = 8001\nrestart.burst = 3\n"),
        ["HB121"],
        "without a command nothing acts"
    );
    assert_eq!(codes("[realm.a]\nrun = \"x\"\noneshot = true\nrestart.command = \"x\"\n"), ["HB121"]);
}

#[test]
fn what_means_nothing_for_a_oneshot_is_refused_and_the_help_says_what_to_type() {
    let oneshot = "[realm.a]\nrun = \"x\"\noneshot = true\n";
    for (key, message) in [
        ("port = 8001", "`port` means nothing for a oneshot"),
        ("health = \"http://127.0.0.1:8001/\"", "`health` means nothing for a oneshot"),
        ("health = { exec = \"y\" }", "`health` means nothing for a oneshot"),
        ("restart.policy = \"always\"", "`policy = \"always\"` means nothing for a oneshot"),
        ("restart.command = \"y\"", "`command` means nothing for a oneshot"),
        ("start.ready_fd = 3", "`ready_fd` means nothing for a oneshot"),
    ] {
        let report: Vec<_> = refused(&format!("{oneshot}{key}\n")).iter().cloned().collect();
        let [mistake] = report.as_slice() else { panic!("{key}: {report:?}") };
        assert_eq!((mistake.code.as_str(), mistake.message.as_str()), ("HB121", message));
        assert!(mistake.help.as_deref().is_some_and(|help| help.starts_with("remove it")), "{mistake:?}");
    }
    for key in ["restart.policy = \"never\"", "restart.policy = \"on-failure\"", "start.timeout = \"9s\""] {
        text(&format!("{oneshot}{key}\n"));
    }
    // What all realms share is no mistake of a oneshot.
    let defaults = "[defaults]\nrestart.policy = \"always\"\n";
    text(&format!("{defaults}{oneshot}"));
}

#[test]
fn a_realm_that_is_not_enabled_is_as_if_it_were_not_written() {
    let config =
        text("[realm.a]\nrun = \"x\"\nport = 8001\n[realm.b]\nrun = \"x\"\nport = 8001\nenabled = false\n");
    assert_eq!(config.plan.realms().len(), 1);
    assert_eq!(config.realms.len(), 1);
}
