//! heartbeatd with a configuration: it restarts what fails, refuses a second copy of itself, and stops in order.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::program::{Running, binary, processes_with, run, told};

/// A heartbeatd with three realms: `db`, `api` that needs it, `worker` without a port that needs both.
pub(crate) struct Instance {
    pub(crate) daemon: Running,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) listen: String,
}

impl Instance {
    pub(crate) fn start(extra: &str) -> Self {
        Self::start_under("exec \"$@\"", extra)
    }

    /// Started by a line of shell, whose arguments are the command.
    pub(crate) fn start_under(line: &str, extra: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [tcp, db, api] = ports();
        let listen = format!("127.0.0.1:{tcp}");
        let program = binary("heartbeatd");
        let program = program.to_str().unwrap();
        let root = dir.path().to_str().unwrap();
        let text = format!(
            r#"
[heartbeat]
name = "shop"
listen = "{listen}"
socket = "{root}/run/heartbeat.sock"
state_dir = "{root}/state"
runtime_dir = "{root}/run"

[realm.db]
run = ["{program}", "demo-realm", "--listen=127.0.0.1:{db}"]
port = {db}
restart.verify_for = "1s"

[realm.api]
run = ["{program}", "demo-realm", "--listen=127.0.0.1:{api}", "--asks=127.0.0.1:{db}"]
port = {api}
needs = ["db"]
restart.verify_for = "1s"

[realm.worker]
run = "sleep 86399"
needs = ["api"]
restart.verify_for = "1s"
{extra}
"#
        );
        let file = dir.path().join("heartbeat.toml");
        std::fs::write(&file, text).unwrap();
        let words = ["-c", line, "sh", program, "--config", file.to_str().unwrap()];
        let daemon = Running::start_program(std::path::Path::new("/bin/sh"), &words, &[]);
        Self { daemon, dir, listen }
    }

    /// Another heartbeatd for the same ecosystem, once the one before has ended.
    pub(crate) fn start_again(&mut self) {
        let file = self.dir.path().join("heartbeat.toml");
        self.daemon = Running::start("heartbeatd", &["--config", file.to_str().unwrap()]);
    }

    /// The same, from a program that lies somewhere else.
    pub(crate) fn start_again_from(&mut self, program: &std::path::Path) {
        let file = self.dir.path().join("heartbeat.toml");
        self.daemon = Running::start_program(program, &["--config", file.to_str().unwrap()], &[]);
    }

    /// The same, by a line of shell, whose arguments are the command.
    pub(crate) fn start_again_under(&mut self, line: &str) {
        let (program, file) = (binary("heartbeatd"), self.dir.path().join("heartbeat.toml"));
        let words = ["-c", line, "sh", program.to_str().unwrap(), "--config", file.to_str().unwrap()];
        self.daemon = Running::start_program(std::path::Path::new("/bin/sh"), &words, &[]);
    }

    /// Kills heartbeatd, and waits until it is gone.
    pub(crate) fn kill_daemon(&mut self) {
        self.daemon.signal(Signal::SIGKILL);
        self.daemon.wait();
    }

    pub(crate) fn wait_for_boot(&mut self) {
        let up = self.cli(&["status", "--wait=60s"]);
        assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    }

    pub(crate) fn cli(&self, args: &[&str]) -> Output {
        let host = format!("unix:{}/run/heartbeat.sock", self.dir.path().display());
        let mut all = vec!["-H", &host];
        all.extend_from_slice(args);
        run("heartbeat-cli", &all)
    }

    pub(crate) fn realm(&self, name: &str) -> Value {
        let output = self.cli(&["status", "--json"]);
        let document: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
        document["realms"].as_array().unwrap().iter().find(|realm| realm["name"] == name).unwrap().clone()
    }

    /// The body of a GET at the read-only address.
    pub(crate) fn get(&self, path: &str) -> String {
        body_of(&self.listen, path)
    }

    pub(crate) fn status_of(&self, name: &str) -> String {
        self.realm(name)["status"].as_str().unwrap().to_owned()
    }

    pub(crate) fn pid_of(&self, name: &str) -> i64 {
        self.realm(name)["process"]["pid"].as_i64().unwrap_or_default()
    }
}

/// The body of an answer of the API at `listen`.
pub(crate) fn body_of(listen: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(listen).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {listen}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())
}

/// Ports that no other ecosystem of this run is given, below those of outgoing connections.
pub(crate) fn ports<const COUNT: usize>() -> [u16; COUNT] {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 700).unwrap() * 10;
    let mut free = std::iter::repeat_with(|| 12_000 + (own + GIVEN.fetch_add(1, Ordering::Relaxed)) % 7_000)
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    std::array::from_fn(|_| free.next().unwrap())
}

pub(crate) fn pid(number: i64) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap())
}

#[test]
fn a_killed_realm_is_restarted_and_its_dependents_are_left_alone() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let (db, api, worker) = (eco.pid_of("db"), eco.pid_of("api"), eco.pid_of("worker"));
    kill(pid(db), Signal::SIGKILL).unwrap();
    eco.daemon.read_until("the recovery of db", |line| line.contains("db") && line.contains("recovered"));
    let up = eco.cli(&["wait", "db", "api", "worker", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    assert_ne!(eco.pid_of("db"), db);
    assert_eq!((eco.pid_of("api"), eco.pid_of("worker")), (api, worker), "dependents run on");
    let realm = eco.realm("db");
    assert_eq!(realm["restarts"]["used"], 1, "{realm:#}");
    assert_eq!(realm["restart"]["cause"], "exited", "{realm:#}");
    assert_eq!(realm["restart"]["result"], "verified", "{realm:#}");
    assert_eq!(realm["process"]["last_exit"]["signal"], "KILL", "{realm:#}");
}

#[test]
fn the_second_heartbeatd_is_refused_and_the_first_is_named() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let config = eco.dir.path().join("heartbeat.toml");
    let second = run("heartbeatd", &["--config", config.to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(7), "{}", told(&second));
    assert!(told(&second).contains(&eco.daemon.pid().to_string()), "{}", told(&second));
    assert_eq!(eco.status_of("db"), "up");
}

#[test]
fn sigterm_stops_everything_in_reverse_order_and_leaves_nothing() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let pids = [eco.pid_of("db"), eco.pid_of("api"), eco.pid_of("worker")];
    eco.daemon.signal(Signal::SIGTERM);
    eco.daemon.read_until("the end", |line| line.contains("nothing is left running"));
    let Instance { daemon, dir, .. } = eco;
    let (code, errors) = daemon.end();
    assert_eq!(code, Some(0), "{errors}");
    for gone in pids {
        assert!(kill(pid(gone), None).is_err(), "{gone} still runs");
    }
    assert_eq!(processes_with(dir.path().to_str().unwrap()), Vec::<i32>::new());
    let names = std::fs::read_dir(dir.path().join("run/realms")).unwrap().flatten();
    let records: Vec<_> = names
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !name.contains('.'))
        .collect();
    assert!(records.is_empty(), "adoption records are left: {records:?}");
}

#[test]
fn loopback_is_read_only() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let host = format!("http://{}", eco.listen);
    let status = run("heartbeat-cli", &["-H", &host, "status"]);
    assert_eq!(status.status.code(), Some(0), "{}", told(&status));
    let stop = run("heartbeat-cli", &["-H", &host, "restart", "worker", "--yes"]);
    assert_eq!(stop.status.code(), Some(6), "{}", told(&stop));
    assert_eq!(eco.status_of("worker"), "up");
}

#[test]
fn a_program_that_does_not_exist_is_failed_with_its_name() {
    let eco = Instance::start("[realm.ghost]\nrun = \"/nonexistent/ghost --now\"\nstart.timeout = \"1s\"\n");
    let wait = eco.cli(&["status", "--wait=60s"]);
    assert_eq!(wait.status.code(), Some(3), "{}", told(&wait));
    let ghost = eco.realm("ghost");
    assert_eq!(ghost["status"], "failed", "{ghost:#}");
    assert!(ghost["message"].as_str().unwrap().contains("/nonexistent/ghost"), "{ghost:#}");
    eco.daemon.signal(Signal::SIGTERM);
}

#[test]
fn hooks_run_around_the_life_of_a_realm() {
    let extra = r#"
[realm.careful]
run = "sleep 86398"
start.before = ["sh -c 'echo before >> $OUT'", "sh -c 'echo again >> $OUT'"]
start.after = "sh -c 'echo after >> $OUT'"
stop.command = "sh -c 'echo stop >> $OUT'"
start.settle = "100ms"
env = { OUT = "${HOOKS_OUT}" }

[realm.broken]
run = "sleep 86397"
start.before = "sh -c 'exit 3'"
restart = { burst = 1, when_spent = "fail" }
"#;
    let out = tempfile::NamedTempFile::new().unwrap();
    let eco = Instance::start(&extra.replace("${HOOKS_OUT}", out.path().to_str().unwrap()));
    let up = eco.cli(&["wait", "careful", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    let stopped = eco.cli(&["stop", "careful"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", told(&stopped));
    assert_eq!(std::fs::read_to_string(out.path()).unwrap(), "before\nagain\nafter\nstop\n");
    let broken = eco.cli(&["status", "broken", "--wait=60s"]);
    assert_eq!(broken.status.code(), Some(3), "{}", told(&broken));
    let message = eco.realm("broken")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("start.before") && message.contains("exit code 3"), "{message}");
    eco.daemon.signal(Signal::SIGTERM);
}

#[test]
fn a_realm_that_is_stopped_by_a_signal_is_seen_and_restarted() {
    let mut eco = Instance::start(
        "[realm.sleepy]\nrun = \"sleep 86394\"\n[realm.sleepy.health]\nprocess = true\ninterval = \"1s\"\ntimeout = \"1s\"\n",
    );
    eco.wait_for_boot();
    let before = eco.pid_of("sleepy");
    kill(pid(before), Signal::SIGSTOP).unwrap();
    eco.daemon
        .read_until("its detection", |line| line.contains("sleepy") && line.contains("stopped by a signal"));
    eco.daemon.read_until("its recovery", |line| line.contains("sleepy") && line.contains("recovered"));
    assert_ne!(eco.pid_of("sleepy"), before);
    assert!(kill(pid(before), None).is_err(), "the stopped process is gone");
}

#[test]
fn a_killed_realm_is_one_incident_with_its_story() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    kill(pid(eco.pid_of("db")), Signal::SIGKILL).unwrap();
    eco.daemon.read_until("the recovery of db", |line| line.contains("db") && line.contains("recovered"));
    let incidents = loop {
        let body = eco.get("/api/incidents/");
        let list: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        let incidents = list["incidents"].as_array().unwrap().clone();
        if incidents.iter().all(|incident| incident["event"] == "resolved") {
            break incidents;
        }
    };
    assert_eq!(incidents.len(), 1, "dependents fold under the root: {incidents:#?}");
    let incident = &incidents[0];
    assert_eq!((&incident["root"], &incident["reason"]), (&"db".into(), &"Exited".into()));
    let story: Vec<&str> =
        incident["timeline"].as_array().unwrap().iter().map(|line| line["what"].as_str().unwrap()).collect();
    let place = |what: &str| {
        story.iter().rposition(|told| *told == what).unwrap_or_else(|| panic!("no {what} in {story:?}"))
    };
    assert!(place("Exited") < place("Started"), "{story:?}");
    assert!(place("Started") < place("RestartVerified"), "{story:?}");
    assert!(place("RestartVerified") < place("IncidentResolved"), "{story:?}");
    let one = eco.get(&format!("/api/incidents/{}/", incident["id"].as_str().unwrap()));
    assert!(one.contains("\"heartbeat.incident/1\""), "{one}");
}

#[test]
fn another_process_on_its_port_is_named_and_the_realm_starts_when_it_is_gone() {
    let [port] = ports();
    let other = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let program = binary("heartbeatd");
    let program = program.to_str().unwrap();
    let extra = format!(
        "[realm.late]\nrun = [\"{program}\", \"demo-realm\", \"--listen=127.0.0.1:{port}\"]\nport = {port}\n"
    );
    let mut eco = Instance::start(&extra);
    let own = format!("pid {}", std::process::id());
    eco.daemon.read_until("the other to be named", |line| line.contains("late") && line.contains(&own));
    let realm = eco.realm("late");
    assert_eq!((&realm["reason"], &realm["restarts"]["used"]), (&"WrongProcess".into(), &0.into()));
    let why = eco.cli(&["why", "late"]);
    assert!(String::from_utf8_lossy(&why.stdout).contains(&own), "{}", told(&why));
    drop(other);
    let up = eco.cli(&["wait", "late", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
}
