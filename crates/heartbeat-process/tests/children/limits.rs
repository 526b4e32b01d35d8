//! What a program may have.

use std::path::PathBuf;
use std::time::Duration;

use heartbeat_process::{CommandResult, CommandRunId, LaunchSpec, LogTarget, Notice, Step};
use heartbeat_process::{Limits, User};
use heartbeat_status::{Exit, RunFact, Signal, StartFailure};

use super::*;

fn said(bench: &Bench, spec: &LaunchSpec) -> String {
    let spec = LaunchSpec { log: LogTarget::Capture, ..spec.clone() };
    bench.processes.run_command(CommandRunId(1), &spec, PATIENCE);
    match bench.next() {
        Notice::CommandDone { result: CommandResult::Exited(exit), output, .. } => {
            let text = String::from_utf8(output).unwrap();
            assert_eq!(exit, Exit::code(0), "{text}");
            text
        }
        other => panic!("{other:?}"),
    }
}

const SHOW: &str = "cat /proc/self/limits /proc/self/oom_score_adj; echo nice $(nice); grep NoNewPrivs /proc/self/status; \
                    echo the-end";

/// The soft and the hard limit that `/proc/self/limits` shows.
fn shown(text: &str, name: &str) -> (String, String) {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    let mut words = line[name.len()..].split_whitespace().map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

pub(super) fn limits_are_those_of_the_specification() {
    let bench = Bench::new();
    let limits = Limits {
        nofile: Some(321),
        nproc: Some(4_321),
        core_bytes: Some(0),
        memlock_bytes: Some(4_096),
        fsize_bytes: Some(1 << 30),
        nice: 7,
        oom_score: 333,
        ..Limits::default()
    };
    let spec = LaunchSpec { limits, no_new_privileges: true, ..bench.shell(SHOW) };
    bench.launch(1, &spec);
    bench.started();
    exit_of(&bench.next());
    // A hook or a check has the same.
    for text in [bench.wait_for_output("the-end"), said(&bench, &spec)] {
        let both = |number: &str| (number.to_owned(), number.to_owned());
        assert_eq!(shown(&text, "Max open files"), both("321"));
        assert_eq!(shown(&text, "Max processes"), both("4321"));
        assert_eq!(shown(&text, "Max core file size"), both("0"));
        assert_eq!(shown(&text, "Max locked memory"), both("4096"));
        assert_eq!(shown(&text, "Max file size"), both("1073741824"));
        assert!(text.lines().any(|line| line == "333") && text.contains("nice 7\n"), "{text}");
        assert!(text.contains("NoNewPrivs:\t1"), "{text}");
    }
}

pub(super) fn without_limits_a_program_has_the_same_however_we_were_started() {
    let bench = Bench::new();
    let text = said(&bench, &bench.shell(SHOW));
    assert_eq!(shown(&text, "Max open files").0, "777", "the soft limit of the settings");
    assert!(text.lines().any(|line| line == "0") && text.contains("nice 0\n"), "{text}");
    assert!(text.contains("NoNewPrivs:\t0"), "{text}");
}

/// An adapter that cannot give the requested limit names both numbers and starts nothing.
pub(super) fn a_limit_beyond_ours_fails_the_start() {
    let bench = Bench::new();
    // No privilege is above the limit of the kernel itself.
    let most: u64 = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap().trim().parse().unwrap();
    let limits = Limits { nofile: Some(most + 1), ..Limits::default() };
    bench.launch(1, &LaunchSpec { limits, ..bench.shell("exit 0") });
    match bench.next() {
        Notice::StartFailed { error, .. } => {
            assert_eq!((error.step, error.failure), (Step::Limits, StartFailure::Other), "{error:?}");
            let told = format!("nofile {} where heartbeatd itself may have ", most + 1);
            assert!(error.message.contains(&told), "{}", error.message);
        }
        other => panic!("{other:?}"),
    }
}

/// `su` and its like gain nothing: the set-user-id bit means nothing any more.
pub(super) fn without_new_privileges_set_user_id_means_nothing() {
    if !nix::unistd::geteuid().is_root() {
        println!("  skipped: only root can make such a program");
        return;
    }
    let bench = Bench::new();
    let user = User::find("nobody").unwrap();
    std::fs::set_permissions(bench.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = bench.dir.path().join("id");
    std::fs::copy("/usr/bin/id", &program).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
    let script = format!("{} -u", program.display());
    for no_new_privileges in [true, false] {
        let spec = LaunchSpec { user: Some(user.clone()), no_new_privileges, ..bench.shell(&script) };
        // A file system may be mounted without such programs: then both say the same.
        let uid: u32 = said(&bench, &spec).trim().parse().unwrap();
        assert!(uid == user.uid || (!no_new_privileges && uid == 0), "{no_new_privileges}: {uid}");
    }
}

/// Whether the kernel keeps a limit depends on the host: the adapter reports at the start what no controller keeps, and
/// samples memory.
pub(super) fn limits_of_the_tree_are_kept_or_told() {
    let bench = Bench::new();
    let wanted = Limits {
        memory_bytes: Some(512 << 20),
        cpu_percent: Some(300),
        tasks: Some(900),
        ..Limits::default()
    };
    let script =
        "exec python3 -c 'import signal; x = b\"y\" * 40000000; print(\"full\", flush=True); signal.pause()'";
    let key = bench.launch(1, &LaunchSpec { limits: wanted, ..bench.shell(script) });
    let pid = bench.started();
    let told = match bench.next() {
        Notice::Run { key: whose, fact: RunFact::Unbounded { limits } } if whose == key => limits,
        other => panic!("{other:?}"),
    };
    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    for (limit, file, value) in [
        ("memory", "memory.max", "536870912"),
        ("cpu", "cpu.max", "300000 100000"),
        ("tasks", "pids.max", "900"),
    ] {
        let path = groups().map(|base| base.join(format!("{}.{}", name(), key.run)).join(file));
        let kept = path.and_then(|path| std::fs::read_to_string(path).ok());
        assert_eq!(kept.is_none(), told.iter().any(|told| told == limit), "{limit}: {told:?}, {cgroup}");
        assert!(kept.is_none_or(|kept| kept.trim() == value), "{limit}");
    }
    if told.iter().any(|told| told == "memory") {
        bench.wait_for_output("full");
        let used = loop {
            match bench.next() {
                Notice::Run { key: whose, fact: RunFact::MemoryUsed { bytes } }
                    if whose == key && bytes > 40_000_000 =>
                {
                    break bytes;
                }
                // It may have been looked at before it was full.
                Notice::Run { fact: RunFact::MemoryUsed { .. }, .. } => {}
                other => panic!("{other:?}"),
            }
        };
        assert!(used < 200_000_000, "{used}");
    }
    bench.processes.signal(key, Signal::KILL);
    loop {
        if let Notice::Run { fact: RunFact::Exited { exit, .. }, .. } = bench.next() {
            assert!(!exit.oom, "we have killed it");
            return;
        }
    }
}

pub(super) fn a_signal_to_the_main_process_reaches_no_other_process() {
    let bench = Bench::new();
    let child = "trap 'echo the child was told' USR1; echo child; while :; do sleep 0.05; done";
    let script = format!(
        "(trap '' USR1; exec sh -c \"{child}\") & trap 'echo main was told' USR1; echo main; while :; do sleep 0.05; done"
    );
    let key = bench.launch(1, &bench.shell(&script));
    bench.started();
    bench.wait_for_output("main");
    bench.wait_for_output("child");
    bench.processes.signal_main(key, Signal::USR1);
    bench.wait_for_output("main was told");
    bench.processes.signal(key, Signal::KILL);
    let (exit, _) = exit_of(&bench.next());
    assert_eq!(exit, Exit::signal(Signal::KILL));
    let text = bench.wait_for_output("main was told");
    assert!(!text.contains("the child was told"), "{text}");
    // The test is over, so the process gets no notice.
    bench.processes.signal_main(key, Signal::KILL);
}

/// Its pid file has not named the daemon yet: the stop signal must not be lost.
pub(super) fn a_signal_to_the_main_process_of_a_daemon_that_has_no_pid_file_yet_reaches_its_tree() {
    let bench = Bench::new();
    let script = "sh -c 'echo daemon; exec sleep 664' & sleep 0.1";
    let spec = LaunchSpec { pidfile: Some(bench.dir.path().join("none.pid")), ..bench.shell(script) };
    let key = bench.launch(1, &spec);
    let pid = bench.started();
    bench.wait_for_output("daemon");
    while PathBuf::from(format!("/proc/{pid}")).exists() {
        rustix_yield();
    }
    bench.processes.signal_main(key, Signal::TERM);
    assert_eq!(bench.next(), Notice::Run { key, fact: RunFact::Forked });
    let (exit, empty) = exit_of(&bench.next());
    assert_eq!((exit, empty), (Exit::code(0), true), "the tree is empty when the search ends");
}

/// With those that it has started, in its group, in groups of their own, and in sessions of their own.
pub(super) fn a_hook_is_ended_whole_at_its_deadline() {
    let bench = Bench::new();
    let script = "sleep 661 & setsid sleep 662 & set -m; sleep 663 & echo up; wait";
    bench.processes.run_command(CommandRunId(1), &bench.shell(script), Duration::from_secs(2));
    bench.wait_for_output("up");
    match bench.next() {
        Notice::CommandDone { result, .. } => assert_eq!(result, CommandResult::TimedOut),
        other => panic!("{other:?}"),
    }
    let mut tries = 0u32;
    while ["661", "662", "663"].iter().any(|word| !processes_called(&["sleep", word]).is_empty()) {
        tries += 1;
        assert!(tries < 10_000, "a hook left processes behind");
        rustix_yield();
    }
}

/// The kernel keeps the score with the memory, which children share with the launcher until exec.
pub(crate) fn the_score_of_one_realm_is_that_of_no_other() {
    let bench = Bench::new();
    let score = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        text.trim().parse::<i16>().unwrap()
    };
    bench.launch(99, &LaunchSpec { log: LogTarget::Null, ..bench.shell("exec sleep 661") });
    bench.started();
    let usual = score(the_launcher());
    let with = |oom_score| {
        let limits = Limits { oom_score, ..Limits::default() };
        LaunchSpec { limits, log: LogTarget::Null, ..bench.shell("exec sleep 661") }
    };
    let (high, low) = (usual + 100, usual);
    // One after the other, and then at the same time.
    for at_once in [false, true] {
        let mut wanted = std::collections::BTreeMap::new();
        let mut found = std::collections::BTreeMap::new();
        let mut hear = |bench: &Bench| match bench.next() {
            Notice::Started { key, pid, .. } => drop(found.insert(key, score(pid))),
            other => panic!("{other:?}"),
        };
        for (run, oom_score) in [high, low, high, low].into_iter().enumerate() {
            let run = run as u64 + if at_once { 10 } else { 0 };
            wanted.insert(bench.launch(run, &with(oom_score)), oom_score);
            if !at_once {
                hear(&bench);
            }
        }
        (0..if at_once { wanted.len() } else { 0 }).for_each(|_| hear(&bench));
        assert_eq!(found, wanted);
        assert_eq!(score(the_launcher()), low);
    }
}
