//! How a realm is started and stopped, through the real binaries: who is signalled, what it is made of, and its
//! environment.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};

use crate::program::{Running, processes_with, told, wait_until};
use crate::servers::lacking;
use crate::supervision::{Instance, pid as pid_of};

impl Instance {
    fn log(&self, realm: &str) -> String {
        std::fs::read_to_string(self.path(&format!("state/log/{realm}.log"))).unwrap_or_default()
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn ok(&self, args: &[&str]) {
        let output = self.cli(args);
        assert_eq!(output.status.code(), Some(0), "{args:?} {}", told(&output));
    }
}

/// A script that finishes its work after TERM: its worker has no trap of its own.
#[test]
fn a_warm_shutdown_keeps_its_workers_unless_the_whole_tree_is_to_be_signalled() {
    let script = "trap 'echo asked; stop=1' TERM; (until [ -e GO ]; do sleep 0.05; done; echo finished) & \
                  echo begun; while [ -z \\\"$stop\\\" ]; do wait $!; rc=$?; done; wait $!; echo rc=$?; echo bye";
    let realms = |dir: &str| {
        let script = script.replace("GO", &format!("{dir}/go"));
        format!(
            "[realm.warm]\nrun = \"{script}\"\nshell = true\nstop.timeout = \"60s\"\n\
             [realm.whole]\nrun = \"{script}\"\nshell = true\nstop = {{ timeout = \"60s\", signal_to = \"tree\" }}\n"
        )
    };
    let go = tempfile::tempdir().unwrap();
    let mut eco = Instance::start(&realms(go.path().to_str().unwrap()));
    eco.wait_for_boot();
    wait_until("both work", || ["warm", "whole"].iter().all(|realm| eco.log(realm).contains("begun")));
    eco.ok(&["stop", "warm", "whole", "--no-wait"]);
    wait_until("both are asked", || ["warm", "whole"].iter().all(|realm| eco.log(realm).contains("asked")));
    wait_until("the worker of the whole tree is gone", || eco.log("whole").contains("bye"));
    assert!(!eco.log("warm").contains("bye"), "{}", eco.log("warm"));
    std::fs::write(go.path().join("go"), "").unwrap();
    eco.ok(&["wait", "warm", "whole", "--for", "stopped", "--timeout", "60s"]);
    assert_eq!(eco.log("warm"), "begun\nasked\nfinished\nrc=0\nbye\n");
    assert!(
        eco.log("whole").contains("rc=143") && !eco.log("whole").contains("finished"),
        "{}",
        eco.log("whole")
    );
}

/// A deployment that is not atomic: the program and the directory are gone while their realms go down.
#[test]
fn a_program_that_is_missing_for_a_while_costs_no_budget_and_starts_by_itself() {
    let place = tempfile::tempdir().unwrap();
    let (bin, current) = (place.path().join("bin"), place.path().join("current"));
    std::fs::create_dir(&bin).unwrap();
    std::fs::create_dir(place.path().join("release")).unwrap();
    std::fs::write(bin.join("api.old"), "#!/bin/sh\nexec sleep 86371\n").unwrap();
    std::fs::set_permissions(bin.join("api.old"), PermissionsExt::from_mode(0o755)).unwrap();
    let there = || {
        std::fs::rename(bin.join("api.old"), bin.join("api")).unwrap();
        symlink("release", &current).unwrap();
    };
    let gone = || {
        std::fs::rename(bin.join("api"), bin.join("api.old")).unwrap();
        std::fs::remove_file(&current).unwrap();
    };
    there();
    let root = place.path().display();
    let realms = format!(
        "[realm.api2]\nrun = \"./bin/api\"\ndir = \"{root}\"\n\
         [realm.site]\nrun = \"sleep 86370\"\ndir = \"{root}/current\"\nstart = {{ timeout = \"2s\", settle = \"100ms\" }}\n\
         [realm.broken]\nrun = \"./broken\"\ndir = \"{root}\"\nmanual = true\n"
    );
    std::fs::write(place.path().join("broken"), "#!./no-such-venv/bin/python3\n").unwrap();
    std::fs::set_permissions(place.path().join("broken"), PermissionsExt::from_mode(0o755)).unwrap();
    let eco = Instance::start(&realms);
    eco.ok(&["wait", "api2", "site", "worker", "--for", "up", "--timeout", "60s"]);
    let before = ["api2", "site"].map(|realm| eco.pid_of(realm));
    gone();
    for pid in before {
        kill(pid_of(pid), Signal::SIGKILL).unwrap();
    }
    let is = |realm: &str, status: &str| {
        let entry = eco.realm(realm);
        entry["status"] == status && entry["start_failure"] == "program_unusable"
    };
    wait_until("api2 restarts", || is("api2", "restarting"));
    wait_until("site has failed: its time is over", || is("site", "failed"));
    let api = eco.realm("api2");
    assert_eq!((&api["reason"], &api["restarts"]["used"]), (&"StartFailed".into(), &1.into()), "{api}");
    assert!(api["message"].as_str().unwrap().contains("cannot execute ./bin/api"), "{api}");
    let site = eco.realm("site");
    assert!(site["message"].as_str().unwrap().contains(&format!("{root}/current")), "{site}");
    there();
    wait_until("both are up", || ["api2", "site"].iter().all(|realm| eco.status_of(realm) == "up"));
    for (realm, pid) in ["api2", "site"].into_iter().zip(before) {
        let entry = eco.realm(realm);
        assert_eq!(entry["restarts"]["used"], 1, "only its crash: {entry}");
        assert!(entry.get("start_failure").is_none() && eco.pid_of(realm) != pid, "{entry}");
    }
    // Who is at fault is named.
    eco.ok(&["start", "broken", "--no-wait"]);
    wait_until("it has been tried", || eco.realm("broken")["reason"] == "StartFailed");
    let message = eco.realm("broken")["message"].to_string();
    let expected = "cannot execute ./broken: its interpreter ./no-such-venv/bin/python3 is not there";
    assert!(message.contains(expected), "{message}");
    eco.daemon.signal(Signal::SIGTERM);
    assert_eq!(eco.daemon.end().0, Some(0));
}

fn rewrite(eco: &Instance, change: impl FnOnce(String) -> String) {
    let file = eco.path("heartbeat.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, change(text)).unwrap();
}

/// Revoked groups, another pid file, another mask: by a reload, and while heartbeatd is dead. The same answer each
/// time, and the same file restarts nothing.
#[test]
fn what_a_process_is_made_of_has_one_answer_for_a_reload_and_after_kill_9() {
    let is_root = nix::unistd::geteuid().is_root();
    let grouped = if is_root { "user = \"nobody\"\ngroups = [\"adm\"]\n" } else { "" };
    let extra = format!(
        "[realm.grouped]\nrun = \"sleep 86369\"\n{grouped}[realm.masked]\nrun = \"sleep 86368\"\numask = \"022\"\n\
         [realm.forking]\nrun = \"sh -c 'sleep 86367 & echo $! > PID; echo $! > PID2; sleep 0.2'\"\nshell = false\npidfile = \"PID\"\n"
    );
    let place = tempfile::tempdir().unwrap();
    let pid_file = place.path().join("a.pid").display().to_string();
    let extra = extra.replace("PID2", &format!("{pid_file}2")).replace("PID", &pid_file);
    let mut eco = Instance::start(&extra);
    eco.wait_for_boot();
    let all = ["db", "api", "worker", "grouped", "masked", "forking"];
    let pids = |eco: &Instance| all.map(|realm| eco.pid_of(realm));
    let first = pids(&eco);
    eco.kill_daemon();
    eco.start_again();
    eco.wait_for_boot();
    assert_eq!(pids(&eco), first, "the same file restarts nothing");
    rewrite(&eco, |text| {
        text.replace(&format!("pidfile = \"{pid_file}\""), &format!("pidfile = \"{pid_file}2\""))
    });
    let reload = eco.cli(&["reload"]);
    assert!(told(&reload).contains("forking (pidfile)"), "{}", told(&reload));
    wait_until("it runs again", || {
        ![0, first[5]].contains(&eco.pid_of("forking")) && eco.status_of("forking") == "up"
    });
    let second = pids(&eco);
    assert_eq!(second[..5], first[..5]);
    rewrite(&eco, |text| text.replace("\"adm\"", "\"daemon\"").replace("umask = \"022\"", "umask = \"027\""));
    let plan = told(&eco.cli(&["plan", "reload"]));
    assert!(plan.contains("masked (umask)"), "{plan}");
    assert_eq!(plan.contains("grouped (groups)"), is_root, "{plan}");
    eco.kill_daemon();
    eco.start_again();
    eco.wait_for_boot();
    wait_until("they are restarted", || {
        let now = pids(&eco);
        now[4] != second[4] && now[4] != 0 && (!is_root || (now[3] != second[3] && now[3] != 0))
    });
    let third = pids(&eco);
    assert_eq!((&third[..3], third[5]), (&second[..3], second[5]));
    eco.daemon.signal(Signal::SIGTERM);
    assert_eq!(eco.daemon.end().0, Some(0));
}

/// A secret that was rotated needs a restart and no reload; a file that is gone is an error of the start, and mends by
/// itself.
#[test]
fn the_environment_of_a_realm_is_its_own_and_its_file_is_read_at_each_start() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().display();
    let file = place.path().join("api.env");
    std::fs::write(&file, "TOKEN=\"old # 1\" # rotated\n").unwrap();
    let extra = format!(
        "[realm.tokens]\nrun = \"echo token $TOKEN in $PWD, port $PORT, unit $STATE_DIRECTORY, $LISTEN_ADDR; exec sleep 86366\"\n\
         shell = true\ndir = \"{root}\"\nenv_file = \"{root}/api.env\"\n"
    );
    let line = "export STATE_DIRECTORY=/var/lib/heartbeat LISTEN_ADDR=0.0.0.0:80 PORT=5999; exec \"$@\"";
    let mut eco = Instance::start_under(line, &extra);
    eco.wait_for_boot();
    wait_until("its first line", || eco.log("tokens").contains("port"));
    let expected = format!("token old # 1 in {root}, port 5999, unit , 0.0.0.0:80\n");
    assert_eq!(eco.log("tokens"), expected);
    std::fs::write(&file, "TOKEN=new\n").unwrap();
    eco.ok(&["restart", "tokens"]);
    assert!(eco.log("tokens").contains("token new"), "{}", eco.log("tokens"));
    std::fs::remove_file(&file).unwrap();
    eco.ok(&["restart", "tokens", "--no-wait"]);
    wait_until("the start has failed", || eco.realm("tokens")["reason"] == "StartFailed");
    let entry = eco.realm("tokens");
    let message = entry["message"].as_str().unwrap();
    assert!(message.contains("cannot read env_file") && message.contains("api.env"), "{entry}");
    std::fs::write(&file, "TOKEN=third\n").unwrap();
    wait_until("it runs again", || eco.log("tokens").contains("token third"));
    assert_eq!(eco.realm("tokens")["restarts"]["used"], 0);
}

/// Most system calls of a child before it is its program, for a service with a log file.
const MAX_CALLS_OF_A_CHILD: usize = 12;
/// Most system calls of the launcher itself per child: it opens the log, and keeps its index.
const MAX_CALLS_OF_THE_LAUNCHER: usize = 26;

/// Counted by strace: a count does not depend on the machine, and each call is on the way of every restart.
#[test]
fn a_start_takes_few_system_calls_between_heartbeatd_and_the_program() {
    let strace = Path::new("/usr/bin/strace");
    if !strace.exists() {
        return lacking("strace is not installed");
    }
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let launcher = launcher_of(eco.daemon.pid());
    let trace = eco.path("trace");
    let args = ["-f", "-qq", "-o", trace.to_str().unwrap(), "-p", &launcher.to_string()];
    let mut tracer = Running::start_program(strace, &args, &[]);
    let is_traced = || {
        std::fs::read_to_string(format!("/proc/{launcher}/status"))
            .is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
    };
    let may_trace = || {
        std::fs::read_to_string(format!("/proc/{}/stat", tracer.pid()))
            .is_ok_and(|stat| !stat.contains(") Z "))
    };
    wait_until("strace is attached, or may not", || is_traced() || !may_trace());
    if !is_traced() {
        return eprintln!("skipped: strace may not trace here");
    }
    eco.ok(&["restart", "worker"]);
    eco.ok(&["wait", "worker", "--for", "up", "--timeout", "60s"]);
    let lines = || std::fs::read_to_string(&trace).unwrap_or_default();
    wait_until("the program is traced", || lines().contains("execve(") && lines().contains("86399"));
    tracer.signal(Signal::SIGTERM);
    tracer.wait();
    let text = lines();
    // A call that was interrupted by another has two lines; debug builds ask about each descriptor that they close.
    let of = |pid: u32| {
        let of_pid = move |line: &&str| line.split_whitespace().next() == Some(pid.to_string().as_str());
        let is_call = |line: &&str| ![" resumed>", "F_GETFD", "---"].iter().any(|other| line.contains(other));
        text.lines().filter(of_pid).filter(is_call)
    };
    let exec = text.lines().find(|line| line.contains("execve(") && line.contains("86399")).unwrap();
    let child: u32 = exec.split_whitespace().next().unwrap().parse().unwrap();
    let calls: Vec<&str> = of(child).take_while(|line| !line.contains("execve(")).collect();
    assert!(calls.len() <= MAX_CALLS_OF_A_CHILD, "{} calls:\n{}", calls.len(), calls.join("\n"));
    let own: Vec<&str> = of(launcher).collect();
    // Another realm may have been started meanwhile.
    let children = own.iter().filter(|line| line.contains("CLONE_VM")).count();
    assert!(
        own.len() <= MAX_CALLS_OF_THE_LAUNCHER * children,
        "{children} children that share its memory, {} calls:\n{}",
        own.len(),
        own.join("\n")
    );
}

/// The launcher that waits below a heartbeatd.
fn launcher_of(daemon: nix::unistd::Pid) -> u32 {
    let is_below = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line == format!("PPid:\t{daemon}"))
    };
    let mut found = None;
    wait_until("a launcher waits", || {
        found = processes_with("hb-launch").into_iter().find(is_below);
        found.is_some()
    });
    found.unwrap().unsigned_abs()
}

/// Threads of heartbeatd that write down what has happened, or show it.
const IN_THE_BACKGROUND: [&str; 4] = ["hb-incidents", "hb-incidents-db", "hb-history-db", "hb-console"];
/// `SCHED_BATCH` of the kernel.
const BATCH: &str = "3";

/// A crash wakes the reaper and no other thread, and what is written down about it comes after the start.
#[test]
fn a_start_competes_with_no_other_work_of_heartbeatd() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let tasks = format!("/proc/{}/task", eco.daemon.pid());
    let threads = || -> Vec<(String, bool, String)> {
        let tasks = std::fs::read_dir(&tasks).unwrap().flatten();
        let thread = |task: std::fs::DirEntry| {
            let read = |file: &str| std::fs::read_to_string(task.path().join(file)).ok();
            let status = read("status")?;
            let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t"))?;
            let blocks = u64::from_str_radix(blocked, 16).unwrap() & (1 << (Signal::SIGCHLD as u32 - 1)) != 0;
            // Field 41 of proc(5) is the policy; behind the name comes field 3.
            let stat = read("stat")?;
            let policy = stat.rsplit_once(") ")?.1.split(' ').nth(38)?.to_owned();
            Some((read("comm")?.trim().to_owned(), blocks, policy))
        };
        tasks.filter_map(thread).collect()
    };
    wait_until("every thread has the place that it keeps", || {
        let threads = threads();
        let hears = threads.iter().filter(|(_, blocks, _)| !blocks).map(|(name, ..)| name.as_str());
        let last = threads.iter().filter(|(.., policy)| policy == BATCH).map(|(name, ..)| name.as_str());
        let mut last: Vec<&str> = last.collect();
        last.sort_unstable();
        let mut expected = IN_THE_BACKGROUND.to_vec();
        expected.sort_unstable();
        hears.collect::<Vec<_>>() == ["hb-reaper"] && last == expected
    });
}

/// Counted by strace, for the first thread alone: a synced write takes milliseconds on an ordinary disk.
#[test]
fn the_first_start_of_heartbeatd_answers_before_anything_is_synced() {
    let strace = Path::new("/usr/bin/strace");
    if !strace.exists() {
        return lacking("strace is not installed");
    }
    let place = tempfile::tempdir().unwrap();
    let trace = place.path().join("trace");
    let calls = "trace=fsync,fdatasync,sync_file_range,listen";
    // As a grandchild (-D), so that heartbeatd keeps its pid. Without -f it traces the first thread alone.
    let mut eco =
        Instance::start_under(&format!("exec strace -D -qq -e {calls} -o {} \"$@\"", trace.display()), "");
    eco.wait_for_boot();
    let text = std::fs::read_to_string(&trace).unwrap_or_default();
    if text.is_empty() {
        return eprintln!("skipped: strace may not trace here");
    }
    let before: Vec<&str> = text.lines().take_while(|line| !line.starts_with("listen(")).collect();
    assert!(before.is_empty() && text.contains("listen("), "{text}");
}
