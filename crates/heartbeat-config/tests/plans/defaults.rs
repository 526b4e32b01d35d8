//! Every default of the contract, written down here once more: a default that changes in the code is found, and one
//! that is added does not compile until it stands here.

use std::collections::BTreeMap;
use std::time::Duration;

use heartbeat_config::{Config, Heartbeat, Loaded, Measure, load_str};
use heartbeat_process::{LaunchSpec, Limits, LogTarget, Readiness};
use heartbeat_restart::{PolicySettings, RestartPolicy, RestartWhen, WhenSpent};
use heartbeat_status::{EdgeKind, Gate, ProbeKind, RealmKind, Role, WhileDown};
use heartbeat_supervisor::{FuseSettings, ProbeSource, RealmSpec, SignalTo, StartSpec, StopSpec};

use crate::reading::{realm, text};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn load(text: &str, env: &[(&str, &str)]) -> Config {
    let env: BTreeMap<String, String> =
        env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let Loaded { config, .. } =
        load_str("heartbeat.toml", text, &env).unwrap_or_else(|report| panic!("{report}"));
    config
}

#[test]
fn an_empty_file_has_the_defaults_of_the_contract() {
    let Config { heartbeat, plan, realms, notify, maintenance, files, registering: _ } = load("", &[]);
    assert!(maintenance.is_empty());
    assert!(plan.realms().is_empty() && realms.is_empty() && notify.is_empty() && files.is_empty());
    let Heartbeat {
        name,
        listen,
        socket,
        socket_mode,
        socket_group,
        hosts,
        tls,
        token_file,
        state_dir,
        runtime_dir,
        log,
        log_format,
        boot_deadline,
        shutdown_timeout,
        start_parallel,
        max_probes_in_flight,
        max_connections,
        cgroups,
        reference,
        ping,
        otlp,
        register_networks,
        fuse,
        history,
        history_max_bytes,
    } = heartbeat;
    assert_eq!((history, history_max_bytes), (s(730 * 86_400), 256 << 20));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(name, host.trim());
    assert_eq!(listen, Some("127.0.0.1:4327".parse().unwrap()));
    assert_eq!(socket.to_str(), Some("/run/heartbeat/heartbeat.sock"));
    assert_eq!(socket_mode, 0o660);
    assert!(ping.is_none() && otlp.is_none());
    assert!(socket_group.is_none() && hosts.is_empty() && tls.is_none() && token_file.is_none());
    assert_eq!(state_dir.to_str(), Some("/var/lib/heartbeat"));
    assert_eq!(runtime_dir.to_str(), Some("/run/heartbeat"));
    assert_eq!((log.as_str(), log_format.as_str()), ("info", "auto"));
    assert_eq!((boot_deadline, shutdown_timeout), (s(300), s(60)));
    let cores = u32::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    assert_eq!(start_parallel, cores * 4);
    assert_eq!((max_probes_in_flight, max_connections), (1_024, 256));
    assert!(cgroups && register_networks.is_empty() && reference.is_empty());
    let expected = FuseSettings {
        unhealthy_percent: 40,
        min_realms: 3,
        window: s(15),
        hold: s(60),
        restarts: 12,
        per: s(300),
        parallel: 2,
    };
    assert_eq!(fuse, expected);
    // What the core is given is what was read.
    let settings = plan.settings();
    assert_eq!(
        (settings.start_parallel, settings.shutdown_timeout, settings.fuse),
        (cores * 4, s(60), expected)
    );
}

fn service_policy() -> PolicySettings {
    PolicySettings {
        when: RestartWhen::Always,
        success_codes: vec![],
        never_codes: vec![],
        backoff: ms(500),
        backoff_max: s(60),
        jitter_percent: 20,
        min_gap: ms(250),
        reset_after: s(60),
        burst: 6,
        window: s(600),
        when_spent: WhenSpent::Cooldown,
        cooldown: s(300),
        cooldown_max: s(3_600),
        verify_for: s(5),
    }
}

#[test]
fn a_service_with_a_port_has_the_defaults_of_the_contract() {
    let config = load("[realm.a]\nrun = \"x y\"\nport = 8001\n", &[("HOME", "/h"), ("LANG", "C")]);
    let (spec, realm) = realm(&config, "a");
    let expected = RealmSpec {
        name: heartbeat_status::RealmName::new("a").unwrap(),
        title: None,
        docs: None,
        owner: None,
        group: None,
        labels: BTreeMap::new(),
        critical: true,
        port: Some(8001),
        kind: RealmKind::Service,
        manual: false,
        probes: spec.probes.clone(),
        needs: vec![],
        start: StartSpec { timeout: Some(s(60)), settle: s(1), ..spec.start },
        stop: StopSpec {
            signal: "TERM".parse().unwrap(),
            signal_to: SignalTo::Main,
            timeout: s(10),
            command: false,
        },
        restart: RestartPolicy::new(service_policy()).unwrap(),
        restart_command: false,
        memory_limit: None,
        restart_with: vec![],
        retired: false,
        registered: false,
    };
    assert_eq!(*spec, expected);
    assert!(!spec.start.before && !spec.start.after);
    for probe in &spec.probes {
        let info = &probe.info;
        assert_eq!((info.interval, info.timeout, info.role), (s(5), s(2), Role::Live), "{}", info.name);
        let thresholds = &info.thresholds;
        assert_eq!((thresholds.fail_after(), thresholds.pass_after()), (3, 2), "{}", info.name);
        assert_eq!(probe.grace, None);
    }
    let kinds: Vec<_> =
        spec.probes.iter().map(|probe| (probe.info.kind, probe.info.target.as_str())).collect();
    assert_eq!(
        kinds,
        [
            (ProbeKind::Http, "http://127.0.0.1:8001/api/health/"),
            (ProbeKind::Port, "127.0.0.1:8001"),
            (ProbeKind::Process, "pid"),
        ]
    );
    assert!(matches!(spec.probes[1].source, ProbeSource::PortOf(_)), "without a connection of its own");
    assert_eq!(realm.listens, Some("127.0.0.1:8001".parse().unwrap()));
    assert!(realm.start_before.is_empty() && realm.start_after.is_empty());
    assert!(realm.stop_command.is_none() && realm.restart_command.is_none());
    let launch: &LaunchSpec = realm.launch.as_ref().unwrap();
    assert_eq!(launch.argv, ["x", "y"]);
    assert_eq!(launch.dir, std::env::current_dir().unwrap(), "of the file");
    assert_eq!((launch.umask, &launch.user, &launch.pidfile), (None, &None, &None));
    assert_eq!((&launch.limits, &launch.readiness), (&Limits::default(), &Readiness::default()));
    assert!(!launch.no_new_privileges, "only with `user`");
    let LogTarget::File { path, max_bytes, keep } = &launch.log else { panic!("{:?}", launch.log) };
    assert_eq!((path.to_str(), *max_bytes, *keep), (Some("/var/lib/heartbeat/log/a.log"), 10 << 20, 5));
}

/// Which statuses a probe passes with.
fn statuses(config: &Config, name: &str) -> String {
    let (_, realm) = realm(config, name);
    let Some(Measure::Probe(probe)) = &realm.probes[0] else { panic!("it is measured") };
    let shown = format!("{probe:?}");
    let at = shown.find("ranges: ").expect("the Debug form of a set of statuses");
    shown[at..].split(']').next().unwrap_or_default().to_owned()
}

#[test]
fn the_implied_probe_expects_200_and_a_written_one_any_2xx() {
    let config = text(
        "[realm.implied]\nport = 8001\n[realm.url]\nhealth = \"http://127.0.0.1:1/\"\n[realm.table]\nhealth = { http = \"http://127.0.0.1:1/\" }\n[realm.only]\nhealth = { http = \"http://127.0.0.1:1/\", status = 200 }\n",
    );
    assert_eq!(statuses(&config, "implied"), statuses(&config, "only"));
    assert_eq!(statuses(&config, "implied"), "ranges: [(200, 200)");
    assert_eq!(statuses(&config, "url"), "ranges: [(200, 299)");
    assert_eq!(statuses(&config, "table"), "ranges: [(200, 299)");
}

#[test]
fn oneshots_and_external_realms_have_their_own_defaults() {
    let config = text(
        "[realm.o]\nrun = \"x\"\noneshot = true\n[realm.e]\nport = 1\nhost = \"::1\"\n[realm.n]\nrun = \"x\"\nneeds = [\"o\", \"e\"]\nwants = [\"m\"]\n[realm.m]\nrun = \"x\"\nuser = \"nobody\"\n",
    );
    let (oneshot, _) = realm(&config, "o");
    let tried_again = PolicySettings { when: RestartWhen::OnFailure, ..service_policy() };
    assert_eq!(
        (oneshot.kind, &oneshot.restart),
        (RealmKind::Oneshot, &RestartPolicy::new(tried_again).unwrap())
    );
    assert_eq!((oneshot.start.timeout, oneshot.probes.len()), (None, 0));
    let (external, adapters) = realm(&config, "e");
    assert_eq!((external.kind, external.probes.len(), adapters.listens), (RealmKind::External, 2, None));
    assert_eq!(external.probes[0].info.target, "http://[::1]:1/api/health/");
    let (needing, _) = realm(&config, "n");
    let edges: Vec<_> = needing.needs.iter().map(|need| (need.kind, need.until, need.while_down)).collect();
    assert_eq!(
        edges,
        [
            (EdgeKind::Needs, Gate::Up, WhileDown::Ride),
            (EdgeKind::Wants, Gate::Up, WhileDown::Ride),
            (EdgeKind::Needs, Gate::Done, WhileDown::Ride),
        ]
    );
    assert!(realm(&config, "m").1.launch.as_ref().unwrap().no_new_privileges, "with `user`");
}

#[test]
fn an_upper_bound_that_is_left_out_follows_what_it_bounds() {
    let of = |written: &str| {
        let config = text(&format!("[realm.a]\nrun = \"x\"\nrestart = {{ {written} }}\n"));
        realm(&config, "a").0.restart.clone()
    };
    let with = |change: &dyn Fn(&mut PolicySettings)| {
        let mut settings = service_policy();
        change(&mut settings);
        RestartPolicy::new(settings).unwrap()
    };
    assert_eq!(of("backoff = \"2m\""), with(&|p| (p.backoff, p.backoff_max) = (s(120), s(120))));
    assert_eq!(of("cooldown = \"2h\""), with(&|p| (p.cooldown, p.cooldown_max) = (s(7_200), s(7_200))));
    assert_eq!(of("backoff = \"2s\""), with(&|p| p.backoff = s(2)));
    assert_eq!(of("backoff_max = \"2s\""), with(&|p| p.backoff_max = s(2)));
}

#[test]
fn two_realms_that_run_here_cannot_have_one_port() {
    let clash = |a: &str, b: &str| {
        let file = format!("[realm.a]\nport = 8001\n{a}\n[realm.b]\nport = 8001\n{b}\n");
        match load_str("heartbeat.toml", &file, &BTreeMap::new()) {
            Ok(_) => false,
            Err(report) => {
                assert!(report.iter().all(|problem| problem.code.as_str() == "HB207"), "{report}");
                true
            }
        }
    };
    let run = "run = \"x\"";
    let at = |host: &str| format!("{run}\nhost = \"{host}\"");
    assert!(clash(run, run));
    assert!(clash(run, &at("localhost")) && clash(&at("localhost"), &at("127.0.0.1")));
    assert!(!clash(run, &at("127.0.0.2")) && !clash(run, &at("::1")));
    assert!(
        !clash(run, "") && !clash("", ""),
        "what is only watched listens elsewhere, or is the same thing"
    );
    assert!(!clash(run, &format!("{run}\nenabled = false")));
}

#[test]
fn a_user_who_is_not_root_has_the_directories_of_xdg() {
    if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0 {
        // Root has the system's, whatever the environment says.
        let root = load("", &[("XDG_RUNTIME_DIR", "/run/user/7"), ("XDG_STATE_HOME", "/s"), ("HOME", "/h")]);
        assert_eq!(root.heartbeat.socket.to_str(), Some("/run/heartbeat/heartbeat.sock"));
        assert_eq!(root.heartbeat.state_dir.to_str(), Some("/var/lib/heartbeat"));
        return;
    }
    let user = load("", &[("XDG_RUNTIME_DIR", "/run/user/7"), ("HOME", "/h")]);
    assert_eq!(user.heartbeat.socket.to_str(), Some("/run/user/7/heartbeat/heartbeat.sock"));
    assert_eq!(user.heartbeat.state_dir.to_str(), Some("/h/.local/state/heartbeat"));
}
