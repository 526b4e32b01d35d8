//! What realms write, through the real binaries: read, followed over everything, and bounded.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::program::{Running, told, wait_until};
use crate::supervision::Instance;

/// Bytes in a directory.
fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
}

fn lines(eco: &Instance, args: &[&str]) -> Vec<String> {
    let output = eco.cli(args);
    assert_eq!(output.status.code(), Some(0), "{args:?} {}", told(&output));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn what_a_realm_has_written_is_shown_by_generation() {
    let eco = Instance::start(
        "[realm.talker]\nrun = [\"sh\", \"-c\", \"echo run $$; printf '  two\\\\tspaces\\\\033[31m\\\\n'; exec sleep 86398\"]\n\
         [realm.quiet]\nrun = \"sleep 86397\"\nlog.to = \"none\"\n\
         [realm.lost]\nrun = \"sleep 86396\"\nlog.to = \"journal\"\nmanual = true\n\
         [realm.outside]\nport = 1\n",
    );
    let up = eco.cli(&["wait", "talker", "worker", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    let first = eco.pid_of("talker");
    let said = |pid: i64| vec![format!("run {pid}"), "  two\tspaces?[31m".to_owned()];
    wait_until("both lines", || lines(&eco, &["logs", "talker"]).len() == 2);
    assert_eq!(lines(&eco, &["logs", "talker"]), said(first));
    let none = eco.cli(&["logs", "talker", "--previous"]);
    assert_eq!(none.status.code(), Some(1), "{}", told(&none));
    assert!(told(&none).contains("no generation of talker"), "{}", told(&none));
    let restarted = eco.cli(&["restart", "talker", "--no-wait"]);
    assert_eq!(restarted.status.code(), Some(0), "{}", told(&restarted));
    wait_until("the lines of the second", || lines(&eco, &["logs", "talker"]).len() == 4);
    let second = eco.pid_of("talker");
    assert_eq!(lines(&eco, &["logs", "talker", "--previous"]), said(first));
    assert_eq!(lines(&eco, &["logs", "talker", "-n", "2"]), said(second));
    let document: Value =
        serde_json::from_slice(&eco.cli(&["logs", "talker", "-n1", "--json"]).stdout).unwrap();
    assert_eq!((&document["schema"], &document["cut"]), (&"heartbeat.logs/1".into(), &true.into()));
    let both = lines(&eco, &["logs", "talker", "worker"]);
    assert!(both.len() == 4 && both[0] == format!("talker | run {first}"), "{both:?}");
    for (realm, code, word) in [
        ("quiet", 1, "log.to"),
        ("lost", 1, "journalctl -t lost"),
        ("outside", 1, "does not start outside"),
        ("talkre", 4, "talker"),
    ] {
        let output = eco.cli(&["logs", realm]);
        assert_eq!(output.status.code(), Some(code), "{realm} {}", told(&output));
        assert!(told(&output).contains(word), "{realm} {}", told(&output));
        let output = eco.cli(&["logs", "-f", realm]);
        assert_eq!(output.status.code(), Some(code), "-f {realm} {}", told(&output));
    }
    // With or without journald it runs; without, heartbeatd says which socket is missing.
    let started = eco.cli(&["start", "lost"]);
    assert_eq!(started.status.code(), Some(0), "{}", told(&started));
    if !Path::new("/run/systemd/journal/stdout").exists() {
        wait_until("the problem", || eco.get("/api/health/").contains("/run/systemd/journal/stdout"));
        assert!(eco.realm("lost")["flags"].to_string().contains("log_in_memory"), "{:#}", eco.realm("lost"));
    }
    let host = format!("http://{}", eco.listen);
    let refused = crate::program::run("heartbeat-cli", &["-H", &host, "logs", "talker"]);
    assert_eq!(refused.status.code(), Some(6), "{}", told(&refused));
    eco.daemon.signal(Signal::SIGTERM);
}

#[test]
fn a_follower_misses_nothing_over_rotations_and_the_death_of_heartbeatd() {
    let mut eco = Instance::start(
        "[realm.counter]\nlog = { max_size = \"8KiB\", keep = 50 }\n\
         run = [\"sh\", \"-c\", \"n=0; while :; do n=$((n+1)); echo line $n; [ $((n % 20)) -ne 0 ] || sleep 0.02; done\"]\n",
    );
    eco.wait_for_boot();
    let host = format!("unix:{}/run/heartbeat.sock", eco.dir.path().display());
    let mut follower = Running::start("heartbeat-cli", &["-H", &host, "logs", "-f", "-n", "1", "counter"]);
    let number =
        |line: &str| line.strip_prefix("line ").unwrap_or_else(|| panic!("{line:?}")).parse::<u64>().unwrap();
    let first = number(&follower.read_until("a line", |_| true));
    let aside = eco.dir.path().join("state/log/counter.log.3");
    wait_until("rotations", || aside.exists());
    eco.kill_daemon();
    eco.start_again();
    eco.wait_for_boot();
    let again = eco.cli(&["logs", "counter", "-n", "1"]);
    let reached = number(String::from_utf8(again.stdout).unwrap().trim_end());
    follower.read_until("what was written after that", |line| number(line) > reached + 2_000);
    let seen: Vec<u64> = follower.seen.iter().map(|line| number(line)).collect();
    let gaps: Vec<_> = seen.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
    assert!(gaps.is_empty(), "from {first}: {gaps:?}");
    follower.signal(Signal::SIGINT);
    assert_eq!(follower.end().0, Some(130));
    eco.daemon.signal(Signal::SIGTERM);
}

/// A realm of that name which counts for as long as it runs.
fn counter(name: &str) -> String {
    let script = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.02; done";
    format!("[realm.{name}]\nrun = [\"sh\", \"-c\", \"{script}\"]\n")
}

/// Follows the output of a counter, from a line that it has written already.
fn follow(eco: &Instance, name: &str) -> Running {
    let host = format!("unix:{}/run/heartbeat.sock", eco.dir.path().display());
    let mut follower = Running::start("heartbeat-cli", &["-H", &host, "logs", "-f", "-n", "1", name]);
    follower.read_until("a line", |_| true);
    follower
}

/// Reads a good deal more, and checks that every line came once.
fn check_lines(follower: &mut Running, what: &str) {
    let number = |line: &str| line.strip_prefix("line ").and_then(|number| number.parse::<u64>().ok());
    let reached = follower.seen.iter().rev().find_map(|line| number(line)).unwrap();
    follower.read_until("more lines", |line| number(line).is_some_and(|at| at > reached + 100));
    let seen: Vec<u64> = follower.seen.iter().filter_map(|line| number(line)).collect();
    let gaps: Vec<_> = seen.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
    assert!(gaps.is_empty(), "{what}: {gaps:?}");
}

fn is_a_problem(eco: &Instance, name: &str) -> bool {
    let health = eco.get("/api/health/");
    health.contains("was moved or removed") && health.contains(name)
}

/// The incident of a log that was moved, if it is open.
fn incident_of_logs(eco: &Instance) -> Option<String> {
    let list: Value = serde_json::from_str(&eco.get("/api/incidents/")).unwrap_or_default();
    let incidents = list["incidents"].as_array().cloned().unwrap_or_default();
    let open = incidents.iter().find(|incident| {
        incident["event"] != "resolved" && incident["message"].to_string().contains("was moved or removed")
    });
    open.map(|incident| incident["id"].to_string())
}

#[test]
fn a_log_that_was_moved_stays_a_problem_over_every_next_heartbeatd_until_its_realm_restarts() {
    let mut eco = Instance::start(&counter("counter"));
    eco.wait_for_boot();
    let state = eco.dir.path().join("state");
    wait_until("lines", || !lines(&eco, &["logs", "counter", "-n", "1"]).is_empty());
    std::fs::rename(state.join("log"), state.join("log.old")).unwrap();
    wait_until("the problem", || is_a_problem(&eco, "counter"));
    wait_until("its incident", || incident_of_logs(&eco).is_some());
    let incident = incident_of_logs(&eco);
    wait_until("lines in its place", || state.join("log/counter.log").exists());
    let mut follower = follow(&eco, "counter");
    for how in ["upgrade", "kill", "kill"] {
        if how == "upgrade" {
            let upgraded = eco.cli(&["daemon", "upgrade"]);
            assert_eq!(upgraded.status.code(), Some(0), "{}", told(&upgraded));
        } else {
            eco.kill_daemon();
            eco.start_again();
        }
        eco.wait_for_boot();
        wait_until("the problem", || is_a_problem(&eco, "counter"));
        check_lines(&mut follower, how);
        assert_eq!(incident_of_logs(&eco), incident, "after {how}");
    }
    let restart = eco.cli(&["restart", "counter", "db", "api", "worker", "--cascade"]);
    assert_eq!(restart.status.code(), Some(0), "{}", told(&restart));
    wait_until("the end of the problem", || !is_a_problem(&eco, "counter"));
    wait_until("the end of its incident", || incident_of_logs(&eco).is_none());
    follower.signal(Signal::SIGINT);
    eco.daemon.signal(Signal::SIGTERM);
}

#[test]
fn a_log_that_is_moved_or_removed_while_no_heartbeatd_runs_goes_on_under_its_name() {
    let mut eco = Instance::start(&["moved", "removed", "there"].map(counter).concat());
    eco.wait_for_boot();
    let logs = eco.dir.path().join("state/log");
    let mut followers = ["moved", "removed", "there"].map(|name| follow(&eco, name));
    eco.kill_daemon();
    let away = eco.dir.path().join("away");
    std::fs::rename(logs.join("moved.log"), &away).unwrap();
    std::fs::remove_file(logs.join("removed.log")).unwrap();
    eco.start_again();
    eco.wait_for_boot();
    wait_until("the problem", || is_a_problem(&eco, "moved") && is_a_problem(&eco, "removed"));
    for (follower, what) in followers.iter_mut().zip(["a file moved", "a file removed", "nothing"]) {
        check_lines(follower, what);
    }
    assert!(std::fs::read_to_string(&away).unwrap().starts_with("line 1\n"), "it keeps what it had");
    eco.kill_daemon();
    std::fs::rename(&logs, eco.dir.path().join("log.old")).unwrap();
    eco.start_again();
    eco.wait_for_boot();
    wait_until("the problem", || is_a_problem(&eco, "there"));
    check_lines(&mut followers[2], "a directory moved");
    followers.iter().for_each(|follower| follower.signal(Signal::SIGINT));
    eco.daemon.signal(Signal::SIGTERM);
}

#[test]
fn a_realm_that_writes_at_full_speed_costs_only_itself() {
    let mut eco = Instance::start(
        "[realm.noisy]\nrun = \"yes\"\nlog = { max_size = \"1MiB\", keep = 2 }\nhealth = { process = true, interval = \"1s\" }\n",
    );
    eco.wait_for_boot();
    let logs = eco.dir.path().join("state/log");
    // It has written a multiple of what it may keep.
    wait_until("rotations", || logs.join("noisy.log.2").exists());
    let before = eco.pid_of("noisy");
    for _ in 0..20 {
        let status = eco.cli(&["status", "--json", "--timeout", "5s"]);
        assert_eq!(status.status.code(), Some(0), "{}", told(&status));
        let document: Value = serde_json::from_slice(&status.stdout).unwrap();
        assert_eq!(document["daemon"]["health"], "healthy", "{:#}", document["daemon"]);
        assert!(document["daemon"]["lag_ms"]["p99"].as_f64().unwrap() < 250.0, "{:#}", document["daemon"]);
        assert_eq!(lines(&eco, &["logs", "noisy", "-n", "3"]), ["y", "y", "y"]);
    }
    assert_eq!(eco.pid_of("noisy"), before, "it runs on");
    let stopped = eco.cli(&["stop", "noisy"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", told(&stopped));
    wait_until("the bound", || bytes_in(&logs) <= (3 << 20) + 100_000);
    eco.daemon.signal(Signal::SIGTERM);
}

#[test]
fn a_full_disk_below_the_logs_stops_no_realm() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    // The logs have a file system of their own, of 1 MiB, which no other process sees.
    let line = "logs=\"$(dirname \"$3\")/state/log\"; mkdir -p \"$logs\"; \
                exec unshare -m sh -c 'mount -t tmpfs -o size=1m tmpfs \"$0\" && exec \"$@\"' \"$logs\" \"$@\"";
    // It ends as soon as it cannot write.
    let extra = "[realm.noisy]\nrun = \"yes\"\nlog = { max_size = \"400KiB\", keep = 5 }\n\
                 restart = { backoff = \"50ms\", min_gap = \"50ms\", burst = 1000 }\n";
    let mut eco = Instance::start_under(line, extra);
    let worker = eco.cli(&["wait", "worker", "--for", "up", "--timeout", "60s"]);
    assert_eq!(worker.status.code(), Some(0), "{}", told(&worker));
    wait_until("a few restarts", || {
        let realm = eco.realm("noisy");
        realm["restarts"]["total"].as_u64().unwrap_or_default() >= 3
    });
    let realm = eco.realm("noisy");
    assert_eq!(realm["process"]["last_exit"]["code"], 1, "it could not write: {realm:#}");
    let health = eco.get("/api/health/");
    assert!(health.contains("\"pass\""), "{health}");
    wait_until("what is lost to be told", || {
        let output = eco.cli(&["logs", "noisy", "-n", "1", "--json"]);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let lost = &document["lost"];
        lost["truncations"].as_u64().unwrap_or_default() > 0
            || lost["dropped_bytes"].as_u64().unwrap_or_default() > 0
    });
    eco.daemon.signal(Signal::SIGTERM);
    eco.daemon.read_until("the end", |line| line.contains("nothing is left running"));
}

#[test]
fn a_log_directory_that_is_gone_or_read_only_keeps_no_realm_from_running() {
    let mut eco = if nix::unistd::geteuid().is_root() {
        // What is read-only is so for this heartbeatd alone.
        let line = "exec unshare -m --propagation private \"$@\"";
        Instance::start_under(line, TALKER)
    } else {
        Instance::start(TALKER)
    };
    eco.wait_for_boot();
    let dir = eco.dir.path().join("state/log");
    let again = |eco: &Instance, name: &str| {
        let before = eco.pid_of(name);
        let killed = eco.cli(&["signal", "KILL", name]);
        assert_eq!(killed.status.code(), Some(0), "{}", told(&killed));
        wait_until("the next process", || eco.pid_of(name) != before && eco.status_of(name) == "up");
        assert_eq!(eco.realm(name)["reason"], "Healthy");
    };
    let inside = |eco: &Instance, script: &str| {
        let target = eco.daemon.pid().to_string();
        let dir = eco.dir.path().join("state");
        let words = ["nsenter", "-m", "-t", &target, "sh", "-c", script, dir.to_str().unwrap()];
        #[expect(clippy::disallowed_methods, reason = "the test plays a disk that fails")]
        let done = std::process::Command::new(words[0]).args(&words[1..]).status().unwrap();
        assert!(done.success(), "{script}");
    };
    // An operator has removed the directory of logs.
    std::fs::remove_dir_all(&dir).unwrap();
    again(&eco, "talker");
    wait_until("its log", || dir.join("talker.log").exists());
    assert_eq!(eco.realm("talker")["restarts"]["used"], 1, "one crash, and nothing else");
    if !nix::unistd::geteuid().is_root() {
        eco.daemon.signal(Signal::SIGTERM);
        return;
    }
    // As ext4 does after an error.
    inside(&eco, "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"");
    again(&eco, "talker");
    wait_until("the flag", || eco.realm("talker")["flags"].to_string().contains("log_in_memory"));
    let problem = |eco: &Instance| {
        let health = eco.get("/api/health/");
        health.contains("cannot be written") && health.contains("talker")
    };
    wait_until("the problem", || problem(&eco));
    let said = |eco: &Instance| lines(eco, &["logs", "talker", "-n", "1"]);
    let pid = eco.pid_of("talker");
    wait_until("its line", || said(&eco) == [format!("run {pid}")]);
    assert_eq!(eco.realm("talker")["restarts"]["used"], 2, "{:#}", eco.realm("talker"));
    // Writable again, without a restart of the realm.
    inside(&eco, "umount -l \"$0\"");
    wait_until("the end of the problem", || !problem(&eco));
    let log = dir.join("talker.log");
    wait_until("the line on disk", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.ends_with(&format!("run {pid}\n")))
    });
    eco.daemon.signal(Signal::SIGTERM);
    eco.daemon.read_until("the end", |line| line.contains("nothing is left running"));
}

const TALKER: &str = "[realm.talker]\nrun = [\"sh\", \"-c\", \"echo run $$; exec sleep 86395\"]\n\
                      restart = { backoff = \"50ms\", min_gap = \"50ms\", burst = 4 }\n";
