//! A program is launched, ends, and its end is reported.

use std::ffi::OsString;
use std::time::Duration;

use heartbeat_process::{
    CommandResult, CommandRunId, Key, LaunchSpec, LogTarget, Notice, ProcessRecord, Step,
};
use heartbeat_status::{Exit, ExitKind, RealmIx, RealmName, RunFact, RunId, Signal, StartFailure};
use nix::unistd::Pid;

use super::*;

pub(crate) fn a_log_that_cannot_be_opened_is_kept_in_memory_and_told() {
    let bench = Bench::new();
    let in_the_way = bench.dir.path().join("file");
    std::fs::write(&in_the_way, "").unwrap();
    let log = LogTarget::File { path: in_the_way.join("out.log"), max_bytes: 1 << 20, keep: 2 };
    let key = bench.launch(1, &LaunchSpec { log, ..bench.shell("echo said; exec sleep 656") });
    let pid = bench.started();
    assert_eq!(bench.next(), Notice::Run { key, fact: RunFact::LogInMemory });
    adopting::until(|| std::fs::read(format!("/proc/{pid}/fd/1")).unwrap() == b"said\n");
}

pub(crate) fn exits_are_reported_as_they_were() {
    let bench = Bench::new();
    for (run, (script, kind)) in [
        ("exit 0", ExitKind::Code(0)),
        ("exit 42", ExitKind::Code(42)),
        ("kill -TERM $$", ExitKind::Signal { signal: Signal::TERM, core: false }),
        ("kill -KILL $$", ExitKind::Signal { signal: Signal::KILL, core: false }),
        ("kill -34 $$", ExitKind::Signal { signal: Signal::new(34).unwrap(), core: false }),
    ]
    .into_iter()
    .enumerate()
    {
        bench.launch(run as u64, &bench.shell(script));
        bench.started();
        let (exit, empty) = exit_of(&bench.next());
        assert_eq!((exit.kind, empty), (kind, true), "{script}");
    }
}

pub(crate) fn a_program_that_cannot_be_executed_is_told_with_its_path() {
    let bench = Bench::new();
    let script = bench.dir.path().join("not-executable");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    let cases = [
        ("/nonexistent/program", libc_errno("ENOENT")),
        ("no-such-program-anywhere", libc_errno("ENOENT")),
        (script.to_str().unwrap(), libc_errno("EACCES")),
    ];
    for (run, (program, errno)) in cases.into_iter().enumerate() {
        let spec = LaunchSpec { argv: vec![program.into()], ..bench.shell("") };
        bench.launch(run as u64, &spec);
        match bench.next() {
            Notice::StartFailed { error, .. } => {
                assert_eq!(
                    (error.step, error.failure, error.errno),
                    (Step::Exec, StartFailure::ProgramUnusable, Some(errno)),
                    "{error:?}"
                );
                assert!(error.message.contains(program), "{}", error.message);
            }
            other => panic!("{program}: {other:?}"),
        }
    }
    let spec = LaunchSpec { dir: "/nonexistent".into(), ..bench.shell("exit 0") };
    bench.launch(9, &spec);
    match bench.next() {
        Notice::StartFailed { error, .. } => {
            assert_eq!(
                (error.step, error.failure),
                (Step::Directory, StartFailure::ProgramUnusable),
                "{error:?}"
            );
            assert!(error.message.contains("/nonexistent"), "{}", error.message);
        }
        other => panic!("{other:?}"),
    }
    while ProcessRecord::path(bench.dir.path(), &name()).exists() {
        rustix_yield();
    }
}

/// A child that has ended is known by what it has reported, even if nothing else is left of it.
pub(crate) fn what_a_child_reports_counts_more_than_that_it_is_gone() {
    for is_collected in [false, true] {
        let bench = Bench::new();
        let missing = LaunchSpec { dir: "/nonexistent".into(), ..bench.shell("exit 0") };
        let gate = bench.gate.lock().unwrap();
        bench.launch(1, &bench.shell("exec sleep 650"));
        // From now on the reaper waits for the gate.
        bench.started();
        bench.launch(2, &missing);
        adopting::until(|| zombies().len() == 1);
        if is_collected {
            collect_zombies();
        }
        drop(gate);
        match bench.next() {
            Notice::StartFailed { error, .. } => {
                assert_eq!(
                    (error.step, error.failure),
                    (Step::Directory, StartFailure::ProgramUnusable),
                    "{error:?}"
                );
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(zombies(), Vec::<u32>::new());
    }
}

/// A launcher that is killed before the adapter could look at it was never tried.
pub(crate) fn a_child_that_is_gone_before_it_is_held_was_never_tried() {
    let bench = Bench::new();
    let launcher = the_launcher();
    let gate = bench.gate.lock().unwrap();
    bench.launch(2, &bench.shell("exec sleep 651"));
    bench.started();
    bench.launch(3, &bench.shell("exec sleep 652"));
    let copy = || launchers().into_iter().find(|pid| *pid != launcher);
    adopting::until(|| copy().is_some());
    kill_main(copy().unwrap());
    adopting::until(|| zombies().len() == 1);
    collect_zombies();
    drop(gate);
    match bench.next() {
        Notice::StartFailed { error, .. } => {
            assert_eq!((error.step, error.failure), (Step::Launcher, StartFailure::NeverTried), "{error:?}");
        }
        other => panic!("{other:?}"),
    }
}

/// A reaper that was late does not hold its own delay against a launch.
pub(crate) fn a_launch_is_not_too_late_when_the_reaper_is() {
    let bench = Bench::within(Duration::from_millis(300));
    let key = bench.launch(1, &bench.shell("exec sleep 653"));
    bench.started();
    // The launch is known, and goes no further while its launcher is stopped by a signal.
    let launcher = the_launcher();
    let signal = |signal| {
        nix::sys::signal::kill(Pid::from_raw(i32::try_from(launcher).unwrap()), signal).unwrap();
    };
    signal(nix::sys::signal::Signal::SIGSTOP);
    let before = watched();
    bench.launch(2, &bench.shell("exec sleep 654"));
    while watched() == before {
        rustix_yield();
    }
    let gate = bench.gate.lock().unwrap();
    bench.processes.signal(key, Signal::STOP);
    assert_eq!(bench.next(), Notice::Run { key, fact: RunFact::StoppedBySignal { stopped: true } });
    // The reaper waits for the gate, and meanwhile the launch becomes ready and its time runs out.
    signal(nix::sys::signal::Signal::SIGCONT);
    adopting::until(|| launchers().len() == 2);
    adopting::until(a_timer_has_expired);
    drop(gate);
    bench.started();
}

/// Whether a one-shot timer of this process has expired and no thread has read it yet.
fn a_timer_has_expired() -> bool {
    let descriptors = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let texts = descriptors.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    texts.into_iter().any(|text| {
        text.contains("it_interval: (0, 0)") && text.contains("ticks: ") && !text.contains("ticks: 0")
    })
}

pub(crate) fn the_realm_gets_a_clean_world() {
    let bench = Bench::new();
    let script = "ls -l /proc/self/fd; grep -E 'Sig(Blk|Ign)|^Sid' /proc/self/status; env; pwd; umask; ulimit -Sn; \
                  cat /proc/self/oom_score_adj; ps -o sid= -p $$ 2>/dev/null; echo the-end";
    let spec = LaunchSpec {
        env: vec![("PATH".into(), "/usr/bin:/bin".into()), ("GREETING".into(), "hello".into())],
        umask: Some(0o027),
        ..bench.shell(script)
    };
    bench.launch(1, &spec);
    bench.started();
    exit_of(&bench.next());
    let text = bench.wait_for_output("the-end");
    assert!(text.contains("SigBlk:\t0000000000000000"), "{text}");
    assert!(text.contains("SigIgn:\t0000000000000000"), "{text}");
    assert!(text.contains("GREETING=hello") && text.contains("HEARTBEAT_REALM=db"), "{text}");
    assert!(text.contains(&format!("HEARTBEAT_STATE={}", instance_tag())), "{text}");
    let variables = text.lines().filter(|line| line.contains('=') && !line.contains("->")).count();
    assert!(variables <= 7, "nothing of ours is inherited (sh adds PWD, OLDPWD, _): {text}");
    assert!(text.contains("0027") && text.lines().any(|line| line == "777"), "{text}");
    // 0, 1, 2, and the directory that ls itself reads.
    assert_eq!(text.lines().filter(|line| line.contains(" -> ")).count(), 4, "{text}");
    assert!(text.contains("0 -> /dev/null"), "{text}");
}

pub(crate) fn the_record_is_there_before_the_program_is() {
    let bench = Bench::new();
    let path = ProcessRecord::path(bench.dir.path(), &name());
    let spec = bench.shell(&format!("cat {}; echo the-end; exec sleep 600", path.display()));
    let key = bench.launch(3, &spec);
    let pid = bench.started();
    let text = bench.wait_for_output("the-end");
    assert!(text.contains(&format!("pid={pid}")) && text.contains("run=3"), "{text}");
    let record = ProcessRecord::read(&path).unwrap();
    let process = record.process.unwrap();
    assert_eq!((process.pid, process.run, record.realm), (pid, RunId(3), name()));
    bench.processes.signal(key, Signal::TERM);
    exit_of(&bench.next());
    bench.launch(4, &bench.shell("exit 0"));
    bench.started();
    exit_of(&bench.next());
    bench.launch(5, &bench.shell("exit 0"));
    bench.started();
    exit_of(&bench.next());
    // The reaper removes it after it has reported the end.
    while path.exists() {
        rustix_yield();
    }
}

pub(crate) fn a_signal_reaches_the_whole_group() {
    let bench = Bench::new();
    let key = bench.launch(1, &bench.shell("sleep 601 & sleep 602 & echo up; wait"));
    bench.started();
    bench.wait_for_output("up");
    bench.processes.signal(key, Signal::TERM);
    let (exit, empty) = exit_of(&bench.next());
    assert_eq!(exit, Exit::signal(Signal::TERM));
    if !empty {
        assert_eq!(bench.next(), Notice::Run { key, fact: RunFact::Emptied });
    }
    assert!(processes_called(&["sleep", "601"]).is_empty() && processes_called(&["sleep", "602"]).is_empty());
}

pub(crate) fn what_a_main_process_leaves_behind_is_told_and_can_be_killed() {
    let bench = Bench::new();
    let key = bench
        .launch(1, &bench.shell("(trap '' TERM; echo up; while :; do sleep 603; done) & exec sleep 604"));
    let pid = bench.started();
    bench.wait_for_output("up");
    kill_main(pid);
    let (exit, empty) = exit_of(&bench.next());
    assert_eq!((exit, empty), (Exit::signal(Signal::KILL), false));
    assert!(
        ProcessRecord::path(bench.dir.path(), &name()).exists(),
        "as long as something is left it is on record"
    );
    bench.processes.signal(key, Signal::KILL);
    assert_eq!(bench.next(), Notice::Run { key, fact: RunFact::Emptied });
    assert!(processes_called(&["sleep", "603"]).is_empty());
}

pub(crate) fn a_group_of_its_own_does_not_hide_a_leftover() {
    let bench = Bench::new();
    let script = "set -m; sleep 610 & echo up; exec sleep 611";
    let spec = LaunchSpec { argv: ["bash", "-c", script].map(OsString::from).to_vec(), ..bench.shell("") };
    let key = bench.launch(1, &spec);
    let pid = bench.started();
    bench.wait_for_output("up");
    kill_main(pid);
    assert_eq!(exit_of(&bench.next()), (Exit::signal(Signal::KILL), false));
    bench.processes.signal(key, Signal::KILL);
    assert_eq!(bench.next(), Notice::Run { key, fact: RunFact::Emptied });
    assert!(processes_called(&["sleep", "610"]).is_empty());
}

pub(crate) fn a_stopped_process_is_told_and_so_is_its_continuation() {
    let bench = Bench::new();
    let key = bench.launch(1, &bench.shell("exec sleep 605"));
    bench.started();
    bench.processes.signal(key, Signal::STOP);
    assert_eq!(bench.next(), Notice::Run { key, fact: RunFact::StoppedBySignal { stopped: true } });
    bench.processes.signal(key, Signal::CONT);
    assert_eq!(bench.next(), Notice::Run { key, fact: RunFact::StoppedBySignal { stopped: false } });
    bench.processes.signal(key, Signal::KILL);
    assert_eq!(exit_of(&bench.next()).0, Exit::signal(Signal::KILL));
}

pub(crate) fn a_launch_can_be_cancelled() {
    let bench = Bench::new();
    for run in 0..50 {
        let key = bench.launch(run, &bench.shell("exec sleep 606"));
        bench.processes.signal(key, Signal::KILL);
        match bench.next() {
            Notice::StartFailed { error, .. } => assert_eq!(error.step, Step::Cancelled, "{error:?}"),
            // Exec was faster; then the signal ended it.
            Notice::Started { .. } => assert_eq!(exit_of(&bench.next()).0, Exit::signal(Signal::KILL)),
            other => panic!("{other:?}"),
        }
    }
    assert!(processes_called(&["sleep", "606"]).is_empty());
}

pub(crate) fn commands_are_bounded_and_die_with_their_group() {
    let bench = Bench::new();
    let run = |id, script: &str, millis| {
        bench.processes.run_command(CommandRunId(id), &bench.shell(script), Duration::from_millis(millis));
        bench.next()
    };
    let done = |id, result| Notice::CommandDone { id: CommandRunId(id), result, output: Vec::new() };
    assert_eq!(run(1, "exit 0", 60_000), done(1, CommandResult::Exited(Exit::code(0))));
    assert_eq!(run(2, "exit 9", 60_000), done(2, CommandResult::Exited(Exit::code(9))));
    assert_eq!(run(3, "sleep 607 & sleep 608", 200), done(3, CommandResult::TimedOut));
    bench.processes.run_command(CommandRunId(4), &bench.shell("exec sleep 609"), PATIENCE);
    bench.processes.cancel_command(CommandRunId(4));
    assert_eq!(
        run(5, "exit 0", 60_000),
        done(5, CommandResult::Exited(Exit::code(0))),
        "nothing is told of the fourth"
    );
    let mut tries = 0u32;
    while ["607", "608", "609"].iter().any(|word| !processes_called(&["sleep", word]).is_empty()) {
        tries += 1;
        assert!(tries < 10_000, "a command left processes behind");
        rustix_yield();
    }
}

pub(crate) fn every_exit_code_is_told_exactly() {
    let bench = Bench::new();
    for code in 0..=255 {
        bench.launch(code, &bench.shell(&format!("exit {code}")));
        bench.started();
        assert_eq!(exit_of(&bench.next()).0, Exit::code(i32::try_from(code).unwrap()));
    }
}

pub(crate) fn a_thousand_short_children_leave_nothing_behind() {
    const CHILDREN: u64 = 1_000;
    const AT_A_TIME: u64 = 20;
    let bench = Bench::new();
    let spec = LaunchSpec { log: LogTarget::Null, ..bench.shell("exit 7") };
    bench.launch(0, &spec);
    bench.started();
    exit_of(&bench.next());
    let before = descriptors();
    let (mut asked, mut ended) = (0, 0);
    while ended < CHILDREN {
        while asked < CHILDREN && asked < ended + AT_A_TIME {
            asked += 1;
            let key = Key { realm: RealmIx(u32::try_from(asked).unwrap()), run: RunId(1) };
            let realm = RealmName::new(&format!("r{asked}")).unwrap();
            bench.processes.launch(key, &realm, &spec);
        }
        match bench.next() {
            Notice::Started { .. } => {}
            Notice::Run { fact: RunFact::Exited { exit, empty }, .. } => {
                assert_eq!((exit, empty), (Exit::code(7), true));
                ended += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    bench.launch(1, &spec);
    bench.started();
    exit_of(&bench.next());
    wait_for_at_most(before);
    assert_eq!(zombies(), Vec::<u32>::new(), "zombies");
    let left = || {
        let records = std::fs::read_dir(bench.dir.path()).unwrap().flatten();
        records.filter(|file| file.file_name().to_string_lossy().starts_with('r')).count()
    };
    while left() > 0 {
        rustix_yield();
    }
}

pub(crate) fn a_launcher_that_waits_starts_the_same_and_exits_at_the_end() {
    let bench = Bench::new();
    for run in 0..10 {
        bench.launch(run, &bench.shell("exit 5"));
        let pid = bench.started();
        assert_eq!(exit_of(&bench.next()), (Exit::code(5), true), "{pid}");
    }
    // The next start does not depend on a launcher that was killed.
    kill_main(the_launcher());
    while !launchers().is_empty() {
        rustix_yield();
    }
    bench.launch(11, &bench.shell("exit 6"));
    bench.started();
    assert_eq!(exit_of(&bench.next()), (Exit::code(6), true));
    // One that is killed with a specification in its hands has failed for nothing that the program is: try again.
    let launcher = the_launcher();
    let pid = Pid::from_raw(i32::try_from(launcher).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let before = watched();
    bench.launch(12, &bench.shell("exit 7"));
    while watched() == before {
        // Once it has been handed over the reaper listens to it.
        rustix_yield();
    }
    kill_main(launcher);
    match bench.next() {
        Notice::StartFailed { error, .. } => {
            assert_eq!((error.step, error.failure), (Step::Launcher, StartFailure::NeverTried), "{error:?}");
        }
        other => panic!("{other:?}"),
    }
    // Until the reaper has collected it, it could take the next start as well, which would fail for the same reason.
    while launchers().contains(&launcher) {
        rustix_yield();
    }
    bench.launch(13, &bench.shell("exit 8"));
    bench.started();
    assert_eq!(exit_of(&bench.next()), (Exit::code(8), true));
    bench.processes.close();
    assert_eq!(launchers(), Vec::<u32>::new());
    assert_eq!(zombies(), Vec::<u32>::new());
}

pub(crate) fn a_launcher_that_does_nothing_is_replaced() {
    let bench = Bench::within(Duration::from_millis(300));
    bench.launch(1, &bench.shell("exit 5"));
    bench.started();
    exit_of(&bench.next());
    let launcher = the_launcher();
    let pid = Pid::from_raw(i32::try_from(launcher).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    bench.launch(2, &bench.shell("exit 6"));
    match bench.next() {
        Notice::StartFailed { error, .. } => {
            assert_eq!((error.step, error.failure), (Step::Timeout, StartFailure::NeverTried), "{error:?}");
        }
        other => panic!("{other:?}"),
    }
    bench.launch(3, &bench.shell("exit 7"));
    bench.started();
    assert_eq!(exit_of(&bench.next()), (Exit::code(7), true), "by another one");
    assert_ne!(the_launcher(), launcher);
    bench.processes.close();
    assert_eq!((launchers(), zombies()), (Vec::new(), Vec::new()));
}
