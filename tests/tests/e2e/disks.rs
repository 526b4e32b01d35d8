//! A disk that is full or read-only keeps no realm from running: at the first start of heartbeatd, and after a kill.

use std::net::TcpListener;

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::notifying::Killer;
use crate::program::{processes_with, run_program, told};
use crate::supervision::{Instance, pid, ports};
use crate::surviving::{gone, until};

/// What a disk does, and what makes it well again: lines of shell about the directory `$0`.
struct Fault {
    begin: &'static str,
    end: &'static str,
    /// What the kernel calls it.
    words: &'static str,
}

/// As after `errors=remount-ro` of ext4.
const READ_ONLY: Fault = Fault {
    begin: "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"",
    end: "umount -l \"$0\"",
    words: "Read-only file system",
};

/// Neither bytes nor files fit in.
const FULL: Fault = Fault {
    begin: "dd if=/dev/zero of=\"$0/fill\" bs=4k 2>/dev/null; \
            i=0; while touch \"$0/fill.$i\" 2>/dev/null; do i=$((i+1)); done; true",
    end: "rm \"$0\"/fill*",
    words: "No space left on device",
};

/// In a namespace of mounts of its own: both directories have their own small disks.
const DISKS: &str = "root=$(dirname \"$3\"); for dir in state:700 run:711; do at=\"$root/${dir%:*}\"; mkdir -p \"$at\"; \
                     mount -t tmpfs -o size=8m,nr_inodes=100,mode=${dir#*:} tmpfs \"$at\" || exit 1; done;";

/// The realms, and the one that is killed.
const REALMS: [&str; 4] = ["db", "api", "worker", "lonely"];

struct Bench {
    eco: Instance,
    fault: Fault,
    dirs: &'static [&'static str],
    /// The command of `lonely`, which no other test has.
    sleep: String,
}

impl Bench {
    /// heartbeatd starts with the fault, or without.
    fn start(fault: Fault, dirs: &'static [&'static str], number: u32, faulty: bool) -> Option<Self> {
        Self::start_with("", fault, dirs, number, faulty)
    }

    fn start_with(
        more: &str,
        fault: Fault,
        dirs: &'static [&'static str],
        number: u32,
        faulty: bool,
    ) -> Option<Self> {
        let unshared = run_program(std::path::Path::new("unshare"), &["-m", "true"]);
        if !nix::unistd::geteuid().is_root() || !unshared.status.success() {
            crate::servers::lacking("the disks of this test take the right to mount");
            return None;
        }
        let begin = dirs.iter().map(|dir| format!("sh -c '{}' \"$root/{dir}\" || exit 1;", fault.begin));
        let begin = if faulty { begin.collect() } else { String::new() };
        let script = format!("{DISKS} {begin} exec \"$@\"").replace('\'', "'\\''");
        let line = format!("exec unshare -m --propagation private sh -c '{script}' sh \"$@\"");
        let extra = format!("{more}[realm.lonely]\nrun = \"sleep {number}\"\nrestart.verify_for = \"1s\"\n");
        let eco = Instance::start_under(&line, &extra);
        Some(Self { eco, fault, dirs, sleep: format!("sleep\0{number}") })
    }

    /// Runs a line of shell where heartbeatd sees its disks.
    fn inside(&self, script: &str, argument: &str) -> std::process::Output {
        let target = processes_with(&self.sleep)[0].to_string();
        run_program(std::path::Path::new("nsenter"), &["-m", "-t", &target, "sh", "-c", script, argument])
    }

    fn has(&self, script: &str) {
        for dir in self.dirs {
            let at = self.eco.dir.path().join(dir);
            let done = self.inside(script, at.to_str().unwrap());
            assert!(done.status.success(), "{script}: {}", told(&done));
        }
    }

    fn begin(&self) {
        self.has(self.fault.begin);
    }

    fn end(&self) {
        self.has(self.fault.end);
    }

    fn kill_and_start_again(&mut self) {
        self.eco.kill_daemon();
        let target = processes_with(&self.sleep)[0];
        self.eco.start_again_under(&format!("exec nsenter -m -t {target} \"$@\""));
        until("it to answer", || std::net::TcpStream::connect(&self.eco.listen).is_ok());
    }

    fn json(&self, path: &str) -> Value {
        let body = self.eco.get(path);
        serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}"))
    }

    fn realm(&self, name: &str) -> Value {
        self.json(&format!("/api/status/{name}/"))["realm"].clone()
    }

    fn pid_of(&self, name: &str) -> i64 {
        self.realm(name)["process"]["pid"].as_i64().unwrap_or_default()
    }

    fn wait_for_all(&self) {
        for name in REALMS {
            until(name, || self.realm(name)["status"] == "up");
        }
    }

    /// A realm that is killed comes back, once.
    fn kills_lonely(&self) {
        let before = self.pid_of("lonely");
        kill(pid(before), Signal::SIGKILL).unwrap();
        until("the next one", || {
            let lonely = self.realm("lonely");
            lonely["status"] == "up" && lonely["process"]["pid"] != before
        });
        assert_eq!(processes_with(&self.sleep).len(), 1);
    }

    /// Health, the status document and an incident name the directory and the fault.
    fn is_told(&self) {
        for dir in self.dirs {
            let path = self.eco.dir.path().join(dir).display().to_string();
            until("health to name it", || {
                let health = self.eco.get("/api/health/");
                health.contains(&path) && health.contains(self.fault.words)
            });
        }
        let notes = self.json("/api/status/")["daemon"].to_string();
        assert!(notes.contains(self.fault.words), "{notes}");
        until("its incident", || self.eco.get("/api/incidents/").contains("\"root\":\"heartbeatd\""));
    }

    /// A second heartbeatd is refused, and the first is named.
    fn stays_alone(&self) {
        let config = self.eco.dir.path().join("heartbeat.toml");
        let program = crate::program::binary("heartbeatd");
        let script = format!("exec \"{}\" --config \"$0\"", program.display());
        let second = self.inside(&script, config.to_str().unwrap());
        assert_eq!(second.status.code(), Some(7), "{}", told(&second));
        assert!(told(&second).contains(&self.eco.daemon.pid().to_string()), "{}", told(&second));
    }

    /// Everything is as it should be without the fault.
    fn recovers(mut self) {
        self.end();
        until("the end of the problem", || !self.eco.get("/api/health/").contains(self.fault.words));
        let socket = format!(
            "/proc/{}/root{}/run/heartbeat.sock",
            self.eco.daemon.pid(),
            self.eco.dir.path().display()
        );
        let host = format!("unix:{socket}");
        until("its socket", || {
            crate::program::run("heartbeat-cli", &["-H", &host, "status"]).status.code() != Some(5)
        });
        self.wait_for_all();
        // What was not on disk is there now: the next heartbeatd finds everything.
        let before = REALMS.map(|name| self.pid_of(name));
        self.kill_and_start_again();
        self.wait_for_all();
        assert_eq!(REALMS.map(|name| self.pid_of(name)), before);
        self.eco.daemon.signal(Signal::SIGTERM);
        self.eco.daemon.read_until("the end", |line| line.contains("nothing is left running"));
        assert!(before.iter().all(|pid| gone(*pid)));
    }
}

fn at_the_first_start(fault: Fault, dirs: &'static [&'static str], number: u32) {
    let Some(mut bench) = Bench::start(fault, dirs, number, true) else { return };
    until("it to answer", || std::net::TcpStream::connect(&bench.eco.listen).is_ok());
    bench.wait_for_all();
    bench.is_told();
    bench.stays_alone();
    bench.kills_lonely();
    let before = REALMS.map(|name| bench.pid_of(name));
    bench.kill_and_start_again();
    // Where no record could be written nothing proves that they are its own: it starts no second copy.
    until("what is found", || {
        REALMS.iter().all(|name| {
            let status = &bench.realm(name)["status"];
            status == "up" || status == "unknown"
        })
    });
    assert!(before.iter().all(|pid| !gone(*pid)), "no realm is harmed");
    assert_eq!(processes_with(&bench.sleep).len(), 1, "no second copy");
    if dirs.contains(&"run") {
        for left in before {
            let _ = kill(pid(left), Signal::SIGKILL);
        }
        bench.eco.daemon.signal(Signal::SIGTERM);
        bench.eco.daemon.wait();
        return;
    }
    assert_eq!(REALMS.map(|name| bench.pid_of(name)), before, "the same processes");
    bench.is_told();
    bench.recovers();
}

fn after_a_kill(fault: Fault, dirs: &'static [&'static str], number: u32) {
    let Some(mut bench) = Bench::start(fault, dirs, number, false) else { return };
    until("it to answer", || std::net::TcpStream::connect(&bench.eco.listen).is_ok());
    bench.wait_for_all();
    let before = REALMS.map(|name| bench.pid_of(name));
    bench.begin();
    bench.kill_and_start_again();
    bench.wait_for_all();
    assert_eq!(REALMS.map(|name| bench.pid_of(name)), before, "the same processes");
    bench.is_told();
    bench.stays_alone();
    bench.kills_lonely();
    // The next one may know only that `lonely` runs, and not that this is its own process.
    let lonely = bench.pid_of("lonely");
    bench.kill_and_start_again();
    until("what is found", || {
        let status = &bench.realm("lonely")["status"];
        status == "up" || status == "unknown"
    });
    assert_eq!(
        processes_with(&bench.sleep),
        [i32::try_from(lonely).unwrap()],
        "the same, and no second copy"
    );
    if bench.realm("lonely")["status"] == "unknown" {
        kill(pid(lonely), Signal::SIGKILL).unwrap();
    }
    bench.wait_for_all();
    assert_eq!(["db", "api", "worker"].map(|name| bench.pid_of(name)), before[..3]);
    bench.recovers();
}

#[test]
fn a_read_only_state_directory_keeps_no_realm_from_running() {
    at_the_first_start(READ_ONLY, &["state"], 86_341);
    after_a_kill(READ_ONLY, &["state"], 86_342);
}

#[test]
fn a_full_state_directory_keeps_no_realm_from_running() {
    at_the_first_start(FULL, &["state"], 86_343);
    after_a_kill(FULL, &["state"], 86_344);
}

#[test]
fn a_read_only_runtime_directory_keeps_no_realm_from_running() {
    at_the_first_start(READ_ONLY, &["run"], 86_345);
    after_a_kill(READ_ONLY, &["run"], 86_346);
}

#[test]
fn a_full_runtime_directory_keeps_no_realm_from_running() {
    at_the_first_start(FULL, &["run"], 86_347);
    after_a_kill(FULL, &["run"], 86_348);
}

#[test]
fn an_incident_that_a_full_disk_did_not_take_ends_for_its_receiver_after_a_kill() {
    let killer = Killer::start();
    let [port] = ports();
    let more = format!(
        "[notify.ops]\nwebhook = \"{}\"\nrealms = [\"mail\"]\n[realm.mail]\nhealth = {{ tcp = \"127.0.0.1:{port}\", \
         interval = \"1s\", timeout = \"1s\", fail_after = 1, pass_after = 1, grace = \"0s\" }}\n",
        killer.url
    );
    let mail = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let Some(mut bench) = Bench::start_with(&more, FULL, &["state"], 98_706, false) else { return };
    until("it to answer", || std::net::TcpStream::connect(&bench.eco.listen).is_ok());
    bench.wait_for_all();
    until("mail", || bench.realm("mail")["status"] == "up");
    bench.begin();
    drop(mail);
    // On a busy machine an earlier outage may have come and gone.
    let of = |id: &str, step: &str| killer.heard().iter().any(|[_, of, event]| of == id && event == step);
    let open = || {
        let mut heard = killer.heard().into_iter().rev();
        heard.find_map(|[_, id, event]| (event == "opened" && !of(&id, "resolved")).then_some(id))
    };
    until("opened", || open().is_some());
    let id = open().unwrap();
    // No disk has the incident in its database: heartbeatd is killed before its end, and after it.
    bench.kill_and_start_again();
    until("mail to be down", || bench.realm("mail")["status"] == "down");
    let mail = TcpListener::bind(("127.0.0.1", port)).unwrap();
    until("resolved", || of(&id, "resolved"));
    bench.kill_and_start_again();
    bench.wait_for_all();
    until("mail", || bench.realm("mail")["status"] == "up");
    bench.recovers();
    let mut steps: Vec<[String; 3]> = Vec::new();
    for request in killer.heard().into_iter().filter(|[_, of, _]| *of == id) {
        if !steps.contains(&request) {
            steps.push(request);
        }
    }
    let events: Vec<&str> = steps.iter().map(|[.., event]| event.as_str()).collect();
    assert_eq!(
        events,
        ["opened", "resolved"],
        "a receiver that honours keys hears each step once: {steps:?}"
    );
    for (key, documents) in killer.documents() {
        assert_eq!(documents.len(), 1, "one key is one document: {key}: {documents:#?}");
    }
    drop(mail);
}

#[test]
fn without_any_disk_realms_run_and_are_not_started_twice() {
    at_the_first_start(READ_ONLY, &["state", "run"], 86_349);
    after_a_kill(FULL, &["state", "run"], 86_350);
}
