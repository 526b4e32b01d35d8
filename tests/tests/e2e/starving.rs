//! heartbeatd is stopped, starved of descriptors, or alone in a container: no realm pays for that.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::program::{Running, run_program, told};
use crate::servers::lacking;
use crate::supervision::{Instance, pid, ports};
use crate::surviving::{gone, until};

fn transitions_to_down(eco: &Instance) -> Vec<Value> {
    let list: Value = serde_json::from_str(&eco.get("/api/incidents/")).unwrap();
    list["incidents"].as_array().unwrap().clone()
}

/// Stops of 0.1 to 6 seconds, or up to `HEARTBEAT_PAUSE_S` seconds.
#[test]
fn a_stop_of_heartbeatd_itself_is_no_outage_of_a_realm() {
    let longest: u64 =
        std::env::var("HEARTBEAT_PAUSE_S").ok().map_or(6, |text| text.parse().expect("seconds"));
    let [port] = ports();
    let program = crate::program::binary("heartbeatd");
    // The strictest there is: one failure is enough.
    let extra = format!(
        "[realm.strict]\nrun = [{program:?}, \"demo-realm\", \"--listen=127.0.0.1:{port}\"]\nhealth = {{ http = \"http://127.0.0.1:{port}/api/health/\", interval = \"1s\", timeout = \"300ms\", fail_after = 1 }}\n"
    );
    let mut eco = Instance::start(&extra);
    eco.wait_for_boot();
    let before: Vec<i64> = ["strict", "db", "api", "worker"].iter().map(|name| eco.pid_of(name)).collect();
    for millis in [100, 700, 1_500, 3_000, longest * 1_000] {
        eco.daemon.signal(Signal::SIGSTOP);
        let _ = nix::poll::poll(
            &mut [],
            nix::poll::PollTimeout::try_from(i32::try_from(millis).unwrap()).unwrap(),
        );
        eco.daemon.signal(Signal::SIGCONT);
        // A full round of everything, and one more.
        let measured = eco.realm("strict")["probes"][0]["at"].clone();
        until("fresh evidence", || eco.realm("strict")["probes"][0]["at"] != measured);
        let measured = eco.realm("strict")["probes"][0]["at"].clone();
        until("more of it", || eco.realm("strict")["probes"][0]["at"] != measured);
        assert_eq!(eco.status_of("strict"), "up", "after {millis} ms");
    }
    let after: Vec<i64> = ["strict", "db", "api", "worker"].iter().map(|name| eco.pid_of(name)).collect();
    assert_eq!(before, after);
    assert!(transitions_to_down(&eco).is_empty(), "{:#?}", transitions_to_down(&eco));
    let down = eco.daemon.seen.iter().find(|line| line.contains(" down"));
    assert_eq!(down, None);
}

#[test]
fn idle_clients_cannot_take_what_a_restart_needs() {
    // As many as it takes to be up, and few more.
    let mut eco = Instance::start_under("ulimit -n 160; exec \"$@\"", "");
    eco.wait_for_boot();
    let worker = eco.pid_of("worker");
    let mut idle: Vec<TcpStream> = Vec::new();
    let own = eco.daemon.pid();
    let open = || std::fs::read_dir(format!("/proc/{own}/fd")).unwrap().count();
    for _ in 0..300 {
        let Ok(mut stream) = TcpStream::connect(&eco.listen) else { break };
        let _ = stream.write_all(b"GET /api/status/ HTTP/1.1\r\n");
        idle.push(stream);
    }
    until("that clients have taken what they may", || open() >= 70);
    assert!(open() <= 160 - 24, "{}", open());
    kill(pid(worker), Signal::SIGKILL).unwrap();
    eco.daemon.read_until("its recovery", |line| line.contains("worker") && line.contains("recovered"));
    drop(idle);
    until("it to answer again", || eco.cli(&["status", "worker"]).status.code() == Some(0));
    assert_ne!(eco.pid_of("worker"), worker);
}

/// The limit of a running heartbeatd is lowered to little more than it has open, as another process with the right can.
#[test]
fn few_free_descriptors_are_told_and_their_end_is() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let own = eco.daemon.pid().to_string();
    let limit = |soft: usize| {
        let most = format!("--nofile={soft}:");
        let set = run_program(Path::new("prlimit"), &["--pid", &own, &most]);
        assert!(set.status.success(), "{}", told(&set));
    };
    let open = || std::fs::read_dir(format!("/proc/{own}/fd")).unwrap().count();
    limit(open() + 4);
    let is_told = || eco.get("/api/health/").contains("\"descriptors\"");
    until("health to name them", is_told);
    until("why to explain it", || told(&eco.cli(&["why", "heartbeatd"])).contains("LimitNOFILE"));
    let worker = eco.pid_of("worker");
    kill(pid(worker), Signal::SIGKILL).unwrap();
    until("it to be restarted", || eco.pid_of("worker") != worker && eco.status_of("worker") == "up");
    limit(1_024);
    until("the end of it", || !is_told());
}

#[test]
fn realms_that_a_reload_adds_take_their_descriptors_from_connections() {
    let mut eco = Instance::start_under("ulimit -n 160; exec \"$@\"", "");
    eco.wait_for_boot();
    // Streams last as long as their readers want, and these want for ever.
    let mut streams: Vec<TcpStream> = Vec::new();
    for _ in 0..60 {
        let Ok(mut stream) = TcpStream::connect(&eco.listen) else { break };
        let request = format!("GET /api/events/ HTTP/1.1\r\nHost: {}\r\n\r\n", eco.listen);
        let _ = stream.write_all(request.as_bytes());
        stream.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        streams.push(stream);
    }
    let has_answer = |stream: &&mut TcpStream| stream.peek(&mut [0; 12]).is_ok_and(|read| read > 0);
    let mut followed: Vec<&mut TcpStream> = streams.iter_mut().filter(has_answer).collect();
    let before = followed.len();
    assert!(before > 10, "{before} readers follow");
    eco.rewrite(|text| {
        let more = (0..24).map(|at| format!("[realm.more{at}]\nrun = \"sleep 8630{at}\"\n"));
        text + &more.collect::<String>()
    });
    let done = eco.cli(&["reload"]);
    assert_eq!(done.status.code(), Some(0), "{}", told(&done));
    let up = eco.cli(&["status", "--wait=60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    // The oldest streams were closed, and nothing was short of anything meanwhile.
    let is_open = |stream: &mut &mut TcpStream| {
        let mut buffer = [0; 4_096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
    };
    let left = followed.iter_mut().filter_map(|stream| is_open(stream).then_some(())).count();
    assert!(left < before, "{left} of {before} readers are left");
    let worker = eco.pid_of("worker");
    kill(pid(worker), Signal::SIGKILL).unwrap();
    eco.daemon.read_until("its recovery", |line| line.contains("worker") && line.contains("recovered"));
    // What does not fit at all is refused as a whole.
    eco.rewrite(|text| {
        let more = (24..80).map(|at| format!("[realm.more{at}]\nrun = \"sleep 8630{at}\"\n"));
        text + &more.collect::<String>()
    });
    let refused = eco.cli(&["reload"]);
    assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
    assert!(told(&refused).contains("LimitNOFILE="), "{}", told(&refused));
}

#[test]
fn realms_are_given_the_limit_of_descriptors_that_heartbeatd_was_given() {
    let mut eco = Instance::start_under("ulimit -Sn 300; exec \"$@\"", "");
    eco.wait_for_boot();
    let soft = |pid: i64| {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned();
        line.split_whitespace().nth(3).unwrap().to_owned()
    };
    assert_eq!(soft(eco.pid_of("db")), "300");
    assert_ne!(soft(i64::from(eco.daemon.pid().as_raw())), "300", "its own is raised");
    let upgraded = eco.cli(&["daemon", "upgrade"]);
    assert_eq!(upgraded.status.code(), Some(0), "{}", told(&upgraded));
    let restarted = eco.cli(&["restart", "worker"]);
    assert_eq!(restarted.status.code(), Some(0), "{}", told(&restarted));
    assert_eq!(soft(eco.pid_of("worker")), "300", "after an upgrade, too");
}

/// As process 1 of a pid namespace of its own.
#[test]
fn as_process_1_orphans_are_collected_and_the_next_container_begins_anew() {
    if !nix::unistd::geteuid().is_root() {
        return lacking("a pid namespace of its own takes root");
    }
    let container = "exec unshare --pid --mount-proc --fork --kill-child \"$@\"";
    // A program that leaves orphans behind, one after the other.
    let extra = "[realm.forker]\nrun = [\"sh\", \"-c\", \"while :; do (sh -c 'sleep 0.01 & exit 0' &); sleep 0.05; done\"]\n";
    let mut eco = Instance::start_under(container, extra);
    eco.wait_for_boot();
    let init = |eco: &Instance| {
        let own = eco.daemon.pid();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
        children.split_whitespace().next().unwrap().parse::<i64>().unwrap()
    };
    let zombies = |init: i64| {
        let children =
            std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap_or_default();
        children.split_whitespace().filter(|child| gone(child.parse().unwrap())).count()
    };
    let first = init(&eco);
    // As long as it takes for dozens of orphans to end: uncollected, they would stay.
    let _ = nix::poll::poll(&mut [], 2_000u16);
    until("none to be left", || zombies(first) <= 1);
    assert_eq!(
        eco.realm("db")["process"]["pid"].as_i64().map(|pid| pid < 1_000),
        Some(true),
        "numbers of its own"
    );
    // The container is killed: the kernel ends everything in it, and what is on record means nothing any more.
    kill(pid(first), Signal::SIGKILL).unwrap();
    let code = eco.daemon.wait();
    assert_ne!(code, Some(0));
    let file = eco.dir.path().join("heartbeat.toml");
    eco.daemon = Running::start_program(
        Path::new("/bin/sh"),
        &[
            "-c",
            container,
            "sh",
            crate::program::binary("heartbeatd").to_str().unwrap(),
            "--config",
            file.to_str().unwrap(),
        ],
        &[],
    );
    eco.wait_for_boot();
    assert_eq!(eco.realm("db")["process"]["adopted"], false);
    // Told to end as containers are.
    let second = init(&eco);
    kill(pid(second), Signal::SIGTERM).unwrap();
    eco.daemon.read_until("the end", |line| line.contains("nothing is left running"));
}

/// A control group with a limit of processes, where this machine lets us have one.
struct Crowded(std::path::PathBuf);

impl Crowded {
    fn make() -> Option<Self> {
        let parent = Path::new("/sys/fs/cgroup/pids");
        let dir = parent.join(format!("heartbeat-test-{}", std::process::id()));
        (parent.join("cgroup.procs").exists() && std::fs::create_dir(&dir).is_ok()).then_some(Self(dir))
    }

    fn limit(&self, most: &str) {
        std::fs::write(self.0.join("pids.max"), most).unwrap();
    }
}

impl Drop for Crowded {
    fn drop(&mut self) {
        let gone = || std::fs::remove_dir(&self.0).is_ok();
        (0..1_000).any(|_| gone() || nix::poll::poll(&mut [], 2u16).is_err());
    }
}

#[test]
fn without_processes_starts_wait_without_a_debit() {
    let Some(crowded) = Crowded::make() else {
        eprintln!("skipped: there is no control group of its own with a limit of processes here");
        return;
    };
    let line = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", crowded.0.display());
    let mut eco = Instance::start_under(&line, "");
    eco.wait_for_boot();
    let worker = eco.pid_of("worker");
    crowded.limit("1");
    // Launchers that wait would take its place without a fork.
    for member in std::fs::read_to_string(crowded.0.join("cgroup.procs")).unwrap().lines() {
        let name = std::fs::read_to_string(format!("/proc/{member}/comm")).unwrap_or_default();
        if name.trim() == "hb-launch" {
            let _ = kill(pid(member.parse().unwrap()), Signal::SIGKILL);
        }
    }
    kill(pid(worker), Signal::SIGKILL).unwrap();
    eco.daemon.read_until("the shortage", |line| line.contains("worker") && line.contains("Try again"));
    assert_eq!(eco.status_of("db"), "up", "everybody else is watched on");
    crowded.limit("max");
    let up = eco.cli(&["wait", "worker", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    let restarts = eco.realm("worker")["restarts"].clone();
    assert_eq!(restarts["used"], 1, "the crash, and no start that could not be made: {restarts:#}");
    eco.daemon.signal(Signal::SIGTERM);
    eco.daemon.read_until("the end", |line| line.contains("nothing is left running"));
    eco.daemon.wait();
}

#[test]
fn too_few_descriptors_for_the_realms_are_refused_with_both_numbers() {
    let eco = Instance::start_under("ulimit -n 60; exec \"$@\"", "");
    let (code, said) = eco.daemon.end();
    assert!(said.contains("limit of open files is 60") && said.contains("LimitNOFILE="), "{said}");
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
}

#[test]
fn orphans_are_collected_whatever_they_are_called() {
    const ORPHANS: usize = 100;
    let mut eco = Instance::start(&format!(
        "[realm.parent]\nrun = [\"sh\", \"-c\", \"ln -sf $(command -v sleep) hb-launch; for i in $(seq {ORPHANS}); do (./hb-launch 0.3 &); done; exec sleep 86394\"]\n"
    ));
    eco.wait_for_boot();
    let parent = eco.daemon.pid().to_string();
    let children = |wanted: &str| {
        let of_ours = |path: std::path::PathBuf| {
            let stat = std::fs::read_to_string(path.join("stat")).ok()?;
            let (name, rest) = stat.rsplit_once(") ")?;
            let fields: Vec<&str> = rest.split(' ').take(2).collect();
            (fields[1] == parent && name.ends_with("(hb-launch")).then(|| fields[0].to_owned())
        };
        let entries = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        entries.filter_map(of_ours).filter(|state| wanted.contains(state.as_str())).count()
    };
    // The launcher itself is a child of that name, too, and lives.
    until("the ends of all orphans", || children("SRDI") <= 1);
    until("that all of them are collected", || children("Z") == 0);
    eco.daemon.signal(Signal::SIGTERM);
}
