//! Realms that say of themselves how they are: real programs, the real heartbeatd.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;

use crate::program::{run, told};
use crate::servers::lacking;
use crate::supervision::Instance;
use crate::surviving::{gone, until};

/// Says what it reads from a FIFO, a line a message; `beat` says that it is well until `hang`.
const PARROT: &str = r#"
import os, socket, sys, threading, time
to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
beating = threading.Event()
def say(text):
    try:
        to.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
    except OSError:
        pass
def beat():
    while beating.wait():
        say("WATCHDOG=1")
        time.sleep(0.05)
threading.Thread(target=beat, daemon=True).start()
for line in os.fdopen(os.open(sys.argv[1], os.O_RDWR)):
    word = line.strip()
    if word == "beat":
        beating.set()
    elif word == "hang":
        beating.clear()
    else:
        say(word.replace("\\n", "\n"))
"#;

/// Until heartbeatd answers, and its first realm is up.
fn wait_for_db(eco: &Instance) {
    let up = eco.cli(&["wait", "db", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
}

/// Realms that say what they are told to.
struct Parrots {
    eco: Instance,
    _dir: tempfile::TempDir,
    /// What is written stays there until the realm reads it.
    fifos: std::collections::BTreeMap<String, std::fs::File>,
}

impl Parrots {
    /// One for each name, with these keys; and whatever else there is.
    fn start(realms: &[(&str, &str)], extra: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A realm may run as another user.
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).unwrap();
        let program = dir.path().join("parrot.py");
        std::fs::write(&program, PARROT).unwrap();
        std::fs::set_permissions(&program, Permissions::from_mode(0o644)).unwrap();
        let (mut text, mut fifos) = (String::new(), std::collections::BTreeMap::new());
        for (name, keys) in realms {
            let fifo = dir.path().join(name);
            nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
            std::fs::set_permissions(&fifo, Permissions::from_mode(0o666)).unwrap();
            let held = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
            fifos.insert((*name).to_owned(), held);
            text += &format!(
                "[realm.{name}]\nrun = [\"/usr/bin/python3\", \"{}\", \"{}\"]\n{keys}\n",
                program.display(),
                fifo.display()
            );
        }
        let eco = Instance::start(&format!("{text}{extra}"));
        std::fs::set_permissions(eco.dir.path(), Permissions::from_mode(0o711)).unwrap();
        wait_for_db(&eco);
        Self { eco, _dir: dir, fifos }
    }

    fn tell(&self, name: &str, line: &str) {
        writeln!(&self.fifos[name], "{line}").unwrap();
    }

    fn says(&self, name: &str) -> String {
        self.eco.realm(name)["says"]["state"].as_str().unwrap_or_default().to_owned()
    }

    fn until_it_says(&self, name: &str, state: &str) {
        until(&format!("{name} to say {state}"), || self.says(name) == state);
    }

    fn until_up(&self, name: &str) {
        let up = self.eco.cli(&["wait", name, "--for", "up", "--timeout", "60s"]);
        assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    }

    fn why(&self, name: &str) -> String {
        told(&self.eco.cli(&["why", name]))
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.eco.dir.path().join("run/notify").join(name)
    }
}

#[test]
fn the_gate_opens_when_a_realm_says_that_it_is_ready_and_not_before() {
    let user = if nix::unistd::geteuid().is_root() { "user = \"nobody\"\ndir = \"/\"\n" } else { "" };
    let index = format!("health = {{ notify = true }}\n{user}");
    let mut parrots =
        Parrots::start(&[("index", &index)], "[realm.front]\nrun = \"sleep 86370\"\nneeds = [\"index\"]\n");
    parrots.tell("index", "STATUS=loading 40 %");
    until("its status", || parrots.why("index").contains("loading 40 %"));
    assert_eq!((parrots.eco.status_of("index"), parrots.eco.pid_of("front")), ("starting".into(), 0));
    // The right words at the right place, from a process that is not the realm's.
    let other = UnixDatagram::unbound().unwrap();
    other.send_to(b"READY=1\nSTATUS=lies", parrots.socket("index")).unwrap();
    parrots.tell("index", "STATUS=loading 80 %");
    until("its next status", || parrots.why("index").contains("loading 80 %"));
    assert_eq!((parrots.eco.status_of("index"), parrots.eco.pid_of("front")), ("starting".into(), 0));
    parrots.tell("index", "READY=1\\nSTATUS=serving 3 shards");
    parrots.until_up("front");
    parrots.eco.wait_for_boot();
    let index = parrots.eco.realm("index");
    assert_eq!(index["says"]["state"], "ready", "{index:#}");
    assert_eq!(index["says"]["status"], "serving 3 shards", "{index:#}");
    assert_eq!(index["probes"][0]["kind"], "notify", "{index:#}");
    assert_eq!(index["probes"][0]["detail"], "ready: serving 3 shards", "{index:#}");
    let why = parrots.why("index");
    assert!(why.contains("says       ready: serving 3 shards"), "{why}");
    let pid = parrots.eco.pid_of("index");
    parrots.tell("index", "RELOADING=1\\nMONOTONIC_USEC=1");
    parrots.until_it_says("index", "reloading");
    assert_eq!(parrots.eco.status_of("index"), "up");
    parrots.tell("index", "READY=1");
    parrots.until_it_says("index", "ready");
    assert_eq!(parrots.eco.pid_of("index"), pid);
    let events = told(&parrots.eco.cli(&["events", "index"]));
    assert!(events.contains("says that it is reloading"), "{events}");
}

#[test]
fn a_realm_that_never_reports_ready_is_restarted_and_one_that_asks_for_time_gets_it() {
    let short = "health = { notify = true }\nstart.timeout = \"5s\"\nrestart.backoff = \"100ms\"";
    let parrots = Parrots::start(&[("patient", short), ("silent", short)], "");
    parrots.tell("patient", "EXTEND_TIMEOUT_USEC=80000000");
    // Started by now, and with it begins the time of the other one.
    parrots.tell("silent", "STATUS=thinking");
    let patient = parrots.eco.pid_of("patient");
    until("a restart", || parrots.eco.realm("silent")["restarts"]["total"].as_u64().unwrap() >= 2);
    let silent = parrots.eco.realm("silent");
    assert_eq!(silent["restart"]["cause"], "start_timed_out", "{silent:#}");
    assert_eq!(
        (parrots.eco.status_of("patient"), parrots.eco.pid_of("patient")),
        ("starting".into(), patient)
    );
    parrots.tell("patient", "READY=1");
    parrots.until_up("patient");
    assert_eq!(parrots.eco.pid_of("patient"), patient);
    assert_eq!(parrots.eco.realm("patient")["restarts"]["total"], 0);
}

#[test]
fn a_watchdog_that_is_not_fed_restarts_the_realm_and_says_why() {
    let fed = "health = { notify = true, watchdog = \"3s\" }\nrestart = { verify_for = \"100ms\", backoff = \"100ms\" }";
    let mut parrots = Parrots::start(&[("worker2", fed)], "");
    parrots.tell("worker2", "READY=1");
    parrots.tell("worker2", "beat");
    parrots.until_up("worker2");
    let first = parrots.eco.pid_of("worker2");
    let text = std::fs::read(format!("/proc/{first}/environ")).unwrap();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("WATCHDOG_USEC=3000000\0"), "{text}");
    assert!(text.contains(&format!("WATCHDOG_PID={first}\0")), "{text}");
    parrots.tell("worker2", "STATUS=request 7");
    parrots.tell("worker2", "hang");
    until("the next one", || ![0, first].contains(&parrots.eco.pid_of("worker2")));
    let realm = parrots.eco.realm("worker2");
    assert_eq!(realm["restart"]["cause"], "unhealthy", "{realm:#}");
    let detail = realm["restart"]["detail"].as_str().unwrap();
    assert!(detail.contains("no WATCHDOG=1 for 3s; its last status: request 7"), "{detail}");
    parrots.tell("worker2", "READY=1");
    parrots.tell("worker2", "beat");
    parrots
        .eco
        .daemon
        .read_until("its recovery", |line| line.contains("worker2") && line.contains("recovered"));
    let second = parrots.eco.pid_of("worker2");
    // It need not wait for that.
    parrots.tell("worker2", "WATCHDOG=trigger");
    until("the third one", || ![0, first, second].contains(&parrots.eco.pid_of("worker2")));
    let detail = parrots.eco.realm("worker2")["restart"]["detail"].to_string();
    assert!(detail.contains("WATCHDOG=trigger"), "{detail}");
}

#[test]
fn what_a_realm_reported_stands_after_a_kill_and_it_can_report_again() {
    let fed = "health = { notify = true, watchdog = \"4s\" }\nrestart.verify_for = \"100ms\"";
    let mut parrots = Parrots::start(&[("left", fed), ("late", "health = { notify = true }")], "");
    parrots.tell("left", "READY=1\\nSTATUS=serving");
    parrots.tell("left", "beat");
    parrots.until_up("left");
    parrots.tell("late", "STATUS=loading");
    until("its status", || parrots.eco.realm("late")["says"]["status"] == "loading");
    let (left, late) = (parrots.eco.pid_of("left"), parrots.eco.pid_of("late"));
    for _ in 0..3 {
        parrots.eco.kill_daemon();
        parrots.eco.start_again();
        parrots.until_up("left");
        let realm = parrots.eco.realm("left");
        assert_eq!(
            (realm["says"]["state"].as_str(), realm["says"]["status"].as_str()),
            (Some("ready"), Some("serving"))
        );
        assert_eq!(parrots.eco.realm("late")["says"]["status"], "loading", "also of one that starts");
    }
    assert_eq!((parrots.eco.pid_of("left"), parrots.eco.pid_of("late")), (left, late));
    assert_eq!(parrots.eco.realm("left")["restarts"]["total"], 0);
    // The same socket, the same process, another heartbeatd.
    parrots.tell("late", "READY=1");
    parrots.until_up("late");
    assert_eq!(parrots.eco.pid_of("late"), late);
    // Upgraded in place: nothing is forgotten there either.
    parrots.eco.daemon.signal(nix::sys::signal::Signal::SIGUSR2);
    until("the next one", || parrots.eco.realm("left")["flags"].to_string().contains("adopted"));
    parrots.until_up("left");
    // And the watchdog is still on.
    parrots.tell("left", "hang");
    until("a restart of left", || ![0, left].contains(&parrots.eco.pid_of("left")));
    let realm = parrots.eco.realm("left");
    assert!(realm["restart"]["detail"].to_string().contains("no WATCHDOG=1 for 4s"), "{realm:#}");
    assert!(!gone(late));
}

#[test]
fn a_realm_that_stops_by_itself_is_restarted_when_it_has_ended_and_ended_when_it_does_not() {
    let keys = "health = { notify = true }\nstop.timeout = \"3s\"\nrestart.backoff = \"100ms\"";
    let parrots = Parrots::start(&[("fickle", keys)], "");
    parrots.tell("fickle", "READY=1");
    parrots.until_up("fickle");
    let first = parrots.eco.pid_of("fickle");
    parrots.tell("fickle", "STOPPING=1\\nSTATUS=draining");
    parrots.until_it_says("fickle", "stopping");
    let realm = parrots.eco.realm("fickle");
    assert_eq!((&realm["status"], &realm["reason"]), (&"down".into(), &"Stopping".into()), "{realm:#}");
    until("its end", || ![0, first].contains(&parrots.eco.pid_of("fickle")));
    let realm = parrots.eco.realm("fickle");
    assert_eq!(realm["restart"]["cause"], "exited", "{realm:#}");
    assert!(
        realm["restart"]["detail"].to_string().contains("said STOPPING=1 and did not end within 3s"),
        "{realm:#}"
    );
}

#[test]
fn a_line_on_a_descriptor_is_readiness_as_s6_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    nix::unistd::mkfifo(&go, Mode::S_IRWXU).unwrap();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).unwrap();
    std::fs::set_permissions(&go, Permissions::from_mode(0o666)).unwrap();
    let user = if nix::unistd::geteuid().is_root() { "user = \"nobody\"\ndir = \"/\"\n" } else { "" };
    let extra = format!(
        "[realm.six]\nshell = true\nrun = \"read line < {go}; echo >&3; exec 3>&-; exec sleep 86371\"\nstart.ready_fd = 3\n{user}\
         [realm.seven]\nrun = \"sleep 86372\"\nneeds = [\"six\"]\n",
        go = go.display()
    );
    let mut eco = Instance::start(&extra);
    wait_for_db(&eco);
    until("six to run", || eco.pid_of("six") != 0);
    let pid = eco.pid_of("six");
    eco.kill_daemon();
    eco.start_again();
    wait_for_db(&eco);
    until("six to be known", || eco.pid_of("six") == pid);
    assert_eq!((eco.status_of("six"), eco.pid_of("seven")), ("starting".into(), 0));
    std::fs::write(&go, "go\n").unwrap();
    eco.wait_for_boot();
    assert_eq!(eco.pid_of("six"), pid);
    let six = eco.realm("six");
    assert_eq!(
        (&six["probes"][0]["target"], &six["says"]["state"]),
        (&"descriptor 3".into(), &"ready".into()),
        "{six:#}"
    );
}

#[test]
fn a_line_that_is_written_while_no_heartbeatd_runs_is_read_later() {
    let dir = tempfile::tempdir().unwrap();
    let (go, done) = (dir.path().join("go"), dir.path().join("done"));
    nix::unistd::mkfifo(&go, Mode::S_IRWXU).unwrap();
    let extra = format!(
        "[realm.six]\nshell = true\nrun = \"read line < {}; echo >&9; touch {}; exec sleep 86373\"\nstart.ready_fd = 9\n",
        go.display(),
        done.display()
    );
    let mut eco = Instance::start(&extra);
    wait_for_db(&eco);
    until("six to run", || eco.pid_of("six") != 0);
    let pid = eco.pid_of("six");
    eco.kill_daemon();
    std::fs::write(&go, "go\n").unwrap();
    until("the line", || done.exists());
    eco.start_again();
    eco.wait_for_boot();
    assert_eq!(eco.pid_of("six"), pid);
}

#[test]
fn systemd_notify_is_understood() {
    if !Path::new("/usr/bin/systemd-notify").exists() {
        return lacking("systemd-notify is not installed");
    }
    let user = if nix::unistd::geteuid().is_root() { "user = \"nobody\"\ndir = \"/\"\n" } else { "" };
    let run = "systemd-notify --ready --status='up and running'; exec sleep 86374";
    let extra = format!(
        "[realm.own]\nshell = true\nrun = \"{run}\"\nhealth = {{ notify = true }}\n[realm.other]\nshell = true\nrun = \"{run}\"\nhealth = {{ notify = true }}\n{user}"
    );
    let mut eco = Instance::start(&extra);
    std::fs::set_permissions(eco.dir.path(), Permissions::from_mode(0o711)).unwrap();
    eco.wait_for_boot();
    for name in ["own", "other"] {
        let realm = eco.realm(name);
        assert_eq!(realm["says"]["status"], "up and running", "{realm:#}");
    }
}

#[test]
fn a_change_of_what_is_asked_restarts_the_realm_and_says_so() {
    let mut parrots = Parrots::start(&[("talker", "health = { notify = true }")], "");
    parrots.tell("talker", "READY=1");
    parrots.until_up("talker");
    parrots.eco.wait_for_boot();
    let first = parrots.eco.pid_of("talker");
    let file = parrots.eco.dir.path().join("heartbeat.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("notify = true", "notify = true, watchdog = \"1h\"")).unwrap();
    let reload = parrots.eco.cli(&["reload"]);
    assert!(told(&reload).contains("talker (health.watchdog)"), "{}", told(&reload));
    until("the next one", || ![0, first].contains(&parrots.eco.pid_of("talker")));
    parrots.tell("talker", "READY=1");
    parrots.until_up("talker");
    assert_eq!(parrots.eco.realm("talker")["says"]["watchdog_ms"], 3_600_000);
    let check = run("heartbeatd", &["check", "--config", file.to_str().unwrap()]);
    assert_eq!(check.status.code(), Some(0), "{}", told(&check));
}
