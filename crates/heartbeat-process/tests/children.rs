//! Real children of the real adapter. This program is its own launcher, so it has a `main` of its own.
//!
//! Every test runs in a process of its own below a guard, which is to its orphans what process 1 is elsewhere, and
//! which ends whatever the test has left behind, also when it fails: no test sees the processes of another one. Most of
//! them wait most of the time, so more of them run at a time than there are processors.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test program without the test harness")]

#[path = "children/adopting.rs"]
mod adopting;
#[path = "children/commands.rs"]
mod commands;
#[path = "children/environment.rs"]
mod environment;
#[path = "children/limits.rs"]
mod limits;
#[path = "children/notify.rs"]
mod notify;
#[path = "children/ports.rs"]
mod ports;
#[path = "children/trees.rs"]
mod trees;
#[path = "children/users.rs"]
mod users;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heartbeat_process::{
    CommandResult, CommandRunId, Key, LaunchSpec, LogFiles, LogTarget, Notice, PlainLogs, ProcessRecord,
    Processes, Settings, Step, User,
};
use heartbeat_status::{Exit, ExitKind, RealmIx, RealmName, RunId, Signal, StartFailure};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Bounds a hang; nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(60);
const MAX_NOTICES: usize = 10_000;
/// Tests that run at the same time.
const TESTS_AT_A_TIME: usize = 8;

struct Bench {
    processes: Processes,
    notices: Receiver<Notice>,
    /// While a test holds the lock, the reaper does not continue after a notice.
    gate: Arc<Mutex<()>>,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::within(Duration::from_secs(5))
    }

    /// With another bound for launches.
    fn within(launch_timeout: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (sender, notices) = sync_channel(MAX_NOTICES);
        let settings = Settings {
            groups: groups(),
            records: dir.path().into(),
            runtime: dir.path().join("run"),
            instance_tag: instance_tag(),
            soft_descriptors: Some(777),
            launch_timeout,
            ..Settings::default()
        };
        let gate = Arc::new(Mutex::new(()));
        let of_reaper = Arc::clone(&gate);
        let sink = move |notice| {
            // No test listens any more when it has failed.
            let _ = sender.send(notice);
            drop(of_reaper.lock());
        };
        let processes = Processes::open(settings, Arc::new(TestLogs), sink).unwrap();
        Self { processes, notices, gate, dir }
    }

    fn shell(&self, script: &str) -> LaunchSpec {
        shell(self.dir.path(), script)
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("out.log")
    }

    fn launch(&self, run: u64, spec: &LaunchSpec) -> Key {
        let key = key(run);
        self.processes.launch(key, &name(), spec);
        key
    }

    fn next(&self) -> Notice {
        self.notices.recv_timeout(PATIENCE).expect("a notice")
    }

    fn started(&self) -> u32 {
        match self.next() {
            Notice::Started { pid, .. } => pid,
            other => panic!("{other:?}"),
        }
    }

    /// Reads the log until `wanted` stands in it: the child has come so far.
    fn wait_for_output(&self, wanted: &str) -> String {
        let mut tries = 0u32;
        loop {
            let text = std::fs::read_to_string(self.log()).unwrap_or_default();
            if text.contains(wanted) {
                return text;
            }
            tries += 1;
            assert!(tries < 60_000, "waited for {wanted:?}, have {text:?}");
            rustix_yield();
        }
    }
}

fn shell(dir: &Path, script: &str) -> LaunchSpec {
    LaunchSpec {
        argv: ["sh", "-c", script].map(OsString::from).to_vec(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        dir: "/".into(),
        log: LogTarget::File { path: dir.join("out.log"), max_bytes: 1 << 20, keep: 2 },
        ..LaunchSpec::default()
    }
}

/// The name of a log whose file system never answers.
const HANGING_LOG: &str = "hanging.log";

/// Plain files; what they say of memory is true.
#[derive(Debug)]
struct TestLogs;

impl LogFiles for TestLogs {
    fn open(&self, log: &LogTarget, user: Option<&User>, run: Option<u64>) -> std::io::Result<OwnedFd> {
        if matches!(log, LogTarget::File { path, .. } if path.ends_with(HANGING_LOG)) {
            loop {
                nix::unistd::pause();
            }
        }
        PlainLogs.open(log, user, run)
    }

    fn memory(&self) -> std::io::Result<OwnedFd> {
        PlainLogs.memory()
    }

    fn begin(&self, _: &LogTarget, _: Option<&User>, _: u64, pid: u32) -> bool {
        std::fs::read_link(format!("/proc/{pid}/fd/1"))
            .is_ok_and(|output| output.to_string_lossy().starts_with("/memfd:hb-log"))
    }

    fn take_over(&self, log: &LogTarget, user: Option<&User>, run: u64, pid: u32) -> bool {
        self.begin(log, user, run, pid)
    }

    fn end(&self, _: &LogTarget, _: u64) {}
}

fn a_log_that_cannot_be_opened_is_kept_in_memory_and_told() {
    let bench = Bench::new();
    let in_the_way = bench.dir.path().join("file");
    std::fs::write(&in_the_way, "").unwrap();
    let log = LogTarget::File { path: in_the_way.join("out.log"), max_bytes: 1 << 20, keep: 2 };
    let key = bench.launch(1, &LaunchSpec { log, ..bench.shell("echo said; exec sleep 656") });
    let pid = bench.started();
    assert_eq!(bench.next(), Notice::LogInMemory { key });
    adopting::until(|| std::fs::read(format!("/proc/{pid}/fd/1")).unwrap() == b"said\n");
}

/// Every test runs twice: without control groups, and with, where this machine lets us have some.
static GROUPS: Mutex<Option<PathBuf>> = Mutex::new(None);

fn groups() -> Option<PathBuf> {
    GROUPS.lock().unwrap().clone()
}

/// Tells one that is to be killed whose it is.
const MARK: &str = "HB_TEST_MARK";

/// Of this run of the tests alone: others may run beside it, and their processes are none of ours.
fn instance_tag() -> String {
    std::env::var(MARK).unwrap_or_else(|_| format!("test-{}", std::process::id()))
}

/// Gives the processor away for a moment: a poll of a condition, not a wait for a time.
fn rustix_yield() {
    let mut fds: [nix::poll::PollFd<'_>; 0] = [];
    let _ = nix::poll::poll(&mut fds, 1u16);
}

fn key(run: u64) -> Key {
    Key { realm: RealmIx(0), run: RunId(run) }
}

fn name() -> RealmName {
    RealmName::new("db").unwrap()
}

fn exit_of(notice: &Notice) -> (Exit, bool) {
    match notice {
        Notice::Exited { exit, empty, .. } => (*exit, *empty),
        other => panic!("{other:?}"),
    }
}

fn exits_are_reported_as_they_were() {
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

fn a_program_that_cannot_be_executed_is_told_with_its_path() {
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
fn what_a_child_reports_counts_more_than_that_it_is_gone() {
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
fn a_child_that_is_gone_before_it_is_held_was_never_tried() {
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
fn a_launch_is_not_too_late_when_the_reaper_is() {
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
    assert_eq!(bench.next(), Notice::StoppedBySignal { key, stopped: true });
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

fn libc_errno(name: &str) -> i32 {
    match name {
        "ENOENT" => nix::errno::Errno::ENOENT as i32,
        "EAGAIN" => nix::errno::Errno::EAGAIN as i32,
        _ => nix::errno::Errno::EACCES as i32,
    }
}

fn the_realm_gets_a_clean_world() {
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

fn the_record_is_there_before_the_program_is() {
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

fn a_signal_reaches_the_whole_group() {
    let bench = Bench::new();
    let key = bench.launch(1, &bench.shell("sleep 601 & sleep 602 & echo up; wait"));
    bench.started();
    bench.wait_for_output("up");
    bench.processes.signal(key, Signal::TERM);
    let (exit, empty) = exit_of(&bench.next());
    assert_eq!(exit, Exit::signal(Signal::TERM));
    if !empty {
        assert_eq!(bench.next(), Notice::Emptied { key });
    }
    assert!(processes_called(&["sleep", "601"]).is_empty() && processes_called(&["sleep", "602"]).is_empty());
}

fn what_a_main_process_leaves_behind_is_told_and_can_be_killed() {
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
    assert_eq!(bench.next(), Notice::Emptied { key });
    assert!(processes_called(&["sleep", "603"]).is_empty());
}

fn a_group_of_its_own_does_not_hide_a_leftover() {
    let bench = Bench::new();
    let script = "set -m; sleep 610 & echo up; exec sleep 611";
    let spec = LaunchSpec { argv: ["bash", "-c", script].map(OsString::from).to_vec(), ..bench.shell("") };
    let key = bench.launch(1, &spec);
    let pid = bench.started();
    bench.wait_for_output("up");
    kill_main(pid);
    assert_eq!(exit_of(&bench.next()), (Exit::signal(Signal::KILL), false));
    bench.processes.signal(key, Signal::KILL);
    assert_eq!(bench.next(), Notice::Emptied { key });
    assert!(processes_called(&["sleep", "610"]).is_empty());
}

fn kill_main(pid: u32) {
    nix::sys::signal::kill(Pid::from_raw(i32::try_from(pid).unwrap()), nix::sys::signal::SIGKILL).unwrap();
}

fn a_stopped_process_is_told_and_so_is_its_continuation() {
    let bench = Bench::new();
    let key = bench.launch(1, &bench.shell("exec sleep 605"));
    bench.started();
    bench.processes.signal(key, Signal::STOP);
    assert_eq!(bench.next(), Notice::StoppedBySignal { key, stopped: true });
    bench.processes.signal(key, Signal::CONT);
    assert_eq!(bench.next(), Notice::StoppedBySignal { key, stopped: false });
    bench.processes.signal(key, Signal::KILL);
    assert_eq!(exit_of(&bench.next()).0, Exit::signal(Signal::KILL));
}

fn a_launch_can_be_cancelled() {
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

fn commands_are_bounded_and_die_with_their_group() {
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

fn every_exit_code_is_told_exactly() {
    let bench = Bench::new();
    for code in 0..=255 {
        bench.launch(code, &bench.shell(&format!("exit {code}")));
        bench.started();
        assert_eq!(exit_of(&bench.next()).0, Exit::code(i32::try_from(code).unwrap()));
    }
}

fn a_thousand_short_children_leave_nothing_behind() {
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
            Notice::Exited { exit, empty, .. } => {
                assert_eq!((exit, empty), (Exit::code(7), true));
                ended += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    bench.launch(1, &spec);
    bench.started();
    exit_of(&bench.next());
    assert_eq!(descriptors(), before, "descriptors");
    assert_eq!(zombies(), Vec::<u32>::new(), "zombies");
    let left = || {
        let records = std::fs::read_dir(bench.dir.path()).unwrap().flatten();
        records.filter(|file| file.file_name().to_string_lossy().starts_with('r')).count()
    };
    while left() > 0 {
        rustix_yield();
    }
}

fn a_launcher_that_waits_starts_the_same_and_exits_at_the_end() {
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

fn a_launcher_that_does_nothing_is_replaced() {
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

/// The launcher that waits, once no copy of it is left.
fn the_launcher() -> u32 {
    let mut tries = 0u32;
    loop {
        if let [launcher] = launchers()[..] {
            return launcher;
        }
        tries += 1;
        assert!(tries < 10_000, "no launcher waits");
        rustix_yield();
    }
}

/// Descriptors of which this process waits for events.
fn watched() -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let texts = descriptors.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    texts.map(|text| text.lines().filter(|line| line.starts_with("tfd:")).count()).sum()
}

/// The launchers of this very process: others may run beside it.
fn launchers() -> Vec<u32> {
    let ours = format!(" {} ", std::process::id());
    let of_ours = |path: &PathBuf| {
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| rest.get(2..).is_some_and(|rest| rest.starts_with(&ours)))
    };
    let pid = |path: PathBuf| path.file_name()?.to_str()?.parse().ok();
    processes_called(&["hb-launch"]).into_iter().filter(of_ours).filter_map(pid).collect()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Orphans of an earlier test come to this program, and its `Processes` may have gone before they ended.
fn collect_zombies() {
    for zombie in zombies() {
        let pid = Pid::from_raw(i32::try_from(zombie).unwrap());
        // It has ended, so nothing is waited for.
        let _ = waitpid(pid, None);
    }
}

fn zombies() -> Vec<u32> {
    let ours = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((head, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        if fields[0] == "Z" && fields[1] == ours {
            found.push(head.split(' ').next().unwrap().parse().unwrap());
        }
    }
    found
}

/// Living processes of this test that were called so.
fn processes_called(argv: &[&str]) -> Vec<PathBuf> {
    let wanted: Vec<u8> = argv.iter().flat_map(|word| word.bytes().chain([0])).collect();
    let is_called = |pid: &u32| {
        let path = PathBuf::from(format!("/proc/{pid}"));
        std::fs::read(path.join("cmdline")).is_ok_and(|line| line == wanted) && !is_zombie(&path)
    };
    let guard = nix::unistd::getppid().as_raw().unsigned_abs();
    let called: Vec<u32> = descendants(guard).into_iter().filter(is_called).collect();
    called.into_iter().map(|pid| PathBuf::from(format!("/proc/{pid}"))).collect()
}

/// Everything below a process, zombies too.
fn descendants(of: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let (mut found, mut at) = (children.remove(&of).unwrap_or_default(), 0);
    while let Some(pid) = found.get(at) {
        found.extend(children.remove(pid).unwrap_or_default());
        at += 1;
    }
    found
}

fn is_zombie(process: &Path) -> bool {
    std::fs::read_to_string(process.join("stat")).map_or(true, |stat| stat.contains(") Z "))
}

const TESTS: &[(&str, fn())] = &[
    ("exits_are_reported_as_they_were", exits_are_reported_as_they_were),
    (
        "what_a_child_reports_counts_more_than_that_it_is_gone",
        what_a_child_reports_counts_more_than_that_it_is_gone,
    ),
    (
        "a_child_that_is_gone_before_it_is_held_was_never_tried",
        a_child_that_is_gone_before_it_is_held_was_never_tried,
    ),
    ("a_launch_is_not_too_late_when_the_reaper_is", a_launch_is_not_too_late_when_the_reaper_is),
    (
        "a_program_that_cannot_be_executed_is_told_with_its_path",
        a_program_that_cannot_be_executed_is_told_with_its_path,
    ),
    ("the_realm_gets_a_clean_world", the_realm_gets_a_clean_world),
    ("the_record_is_there_before_the_program_is", the_record_is_there_before_the_program_is),
    ("a_signal_reaches_the_whole_group", a_signal_reaches_the_whole_group),
    (
        "what_a_main_process_leaves_behind_is_told_and_can_be_killed",
        what_a_main_process_leaves_behind_is_told_and_can_be_killed,
    ),
    ("a_group_of_its_own_does_not_hide_a_leftover", a_group_of_its_own_does_not_hide_a_leftover),
    (
        "a_stopped_process_is_told_and_so_is_its_continuation",
        a_stopped_process_is_told_and_so_is_its_continuation,
    ),
    ("a_launch_can_be_cancelled", a_launch_can_be_cancelled),
    ("commands_are_bounded_and_die_with_their_group", commands_are_bounded_and_die_with_their_group),
    ("every_exit_code_is_told_exactly", every_exit_code_is_told_exactly),
    ("a_realm_says_how_it_is_and_is_told_where", notify::a_realm_says_how_it_is_and_is_told_where),
    (
        "the_first_word_is_not_lost_and_the_last_comes_before_the_end",
        notify::the_first_word_is_not_lost_and_the_last_comes_before_the_end,
    ),
    ("messages_are_believed_from_the_tree_alone", notify::messages_are_believed_from_the_tree_alone),
    (
        "a_sender_that_only_knows_the_mark_is_not_believed",
        notify::a_sender_that_only_knows_the_mark_is_not_believed,
    ),
    (
        "without_a_directory_realms_start_and_are_heard",
        notify::without_a_directory_realms_start_and_are_heard,
    ),
    (
        "a_realm_without_a_path_is_heard_by_the_next_one",
        notify::a_realm_without_a_path_is_heard_by_the_next_one,
    ),
    ("what_is_no_message_does_no_harm", notify::what_is_no_message_does_no_harm),
    (
        "a_flood_is_bounded_and_what_matters_comes_through",
        notify::a_flood_is_bounded_and_what_matters_comes_through,
    ),
    (
        "a_realm_names_its_main_process_and_no_process_of_another",
        notify::a_realm_names_its_main_process_and_no_process_of_another,
    ),
    ("a_socket_that_was_taken_away_is_put_back", notify::a_socket_that_was_taken_away_is_put_back),
    ("a_line_on_its_descriptor_is_readiness", notify::a_line_on_its_descriptor_is_readiness),
    (
        "ready_fd_works_whatever_descriptors_heartbeatd_inherited",
        notify::ready_fd_works_whatever_descriptors_heartbeatd_inherited,
    ),
    (
        "a_listener_that_is_bound_again_receives_messages",
        notify::a_listener_that_is_bound_again_receives_messages,
    ),
    ("a_record_of_another_boot_means_nothing", adopting::a_record_of_another_boot_means_nothing),
    (
        "a_launcher_that_waits_starts_the_same_and_exits_at_the_end",
        a_launcher_that_waits_starts_the_same_and_exits_at_the_end,
    ),
    ("a_launcher_that_does_nothing_is_replaced", a_launcher_that_does_nothing_is_replaced),
    (
        "a_log_that_cannot_be_opened_is_kept_in_memory_and_told",
        a_log_that_cannot_be_opened_is_kept_in_memory_and_told,
    ),
    ("output_of_commands_is_captured", commands::output_of_commands_is_captured),
    (
        "a_command_that_writes_too_much_neither_blocks_nor_grows",
        commands::a_command_that_writes_too_much_neither_blocks_nor_grows,
    ),
    ("a_captured_command_leaves_nothing_behind", commands::a_captured_command_leaves_nothing_behind),
    ("captures_leave_no_descriptors", commands::captures_leave_no_descriptors),
    ("a_command_reads_its_input_to_the_end", commands::a_command_reads_its_input_to_the_end),
    ("a_realm_runs_as_its_user", users::a_realm_runs_as_its_user),
    (
        "the_directory_and_the_program_are_reached_with_the_rights_of_the_user",
        users::the_directory_and_the_program_are_reached_with_the_rights_of_the_user,
    ),
    (
        "a_command_runs_as_its_user_and_oneself_needs_no_right",
        users::a_command_runs_as_its_user_and_oneself_needs_no_right,
    ),
    (
        "a_program_is_found_by_the_path_of_its_own_environment",
        environment::a_program_is_found_by_the_path_of_its_own_environment,
    ),
    (
        "a_missing_interpreter_is_named_with_the_user",
        environment::a_missing_interpreter_is_named_with_the_user,
    ),
    (
        "a_file_system_that_does_not_answer_fails_the_start_and_is_named",
        environment::a_file_system_that_does_not_answer_fails_the_start_and_is_named,
    ),
    (
        "a_log_that_does_not_answer_is_kept_in_memory",
        environment::a_log_that_does_not_answer_is_kept_in_memory,
    ),
    ("a_program_is_checked_and_not_started", environment::a_program_is_checked_and_not_started),
    ("limits_are_those_of_the_specification", limits::limits_are_those_of_the_specification),
    (
        "without_limits_a_program_has_the_same_however_we_were_started",
        limits::without_limits_a_program_has_the_same_however_we_were_started,
    ),
    ("a_limit_beyond_ours_fails_the_start", limits::a_limit_beyond_ours_fails_the_start),
    ("limits_of_the_tree_are_kept_or_told", limits::limits_of_the_tree_are_kept_or_told),
    (
        "a_signal_to_the_main_process_reaches_no_other_process",
        limits::a_signal_to_the_main_process_reaches_no_other_process,
    ),
    (
        "a_signal_to_the_main_process_of_a_daemon_that_has_no_pid_file_yet_reaches_its_tree",
        limits::a_signal_to_the_main_process_of_a_daemon_that_has_no_pid_file_yet_reaches_its_tree,
    ),
    ("a_hook_is_ended_whole_at_its_deadline", limits::a_hook_is_ended_whole_at_its_deadline),
    (
        "without_new_privileges_set_user_id_means_nothing",
        limits::without_new_privileges_set_user_id_means_nothing,
    ),
    ("a_port_of_the_tree_is_ours", ports::a_port_of_the_tree_is_ours),
    ("a_daemon_is_known_by_its_mark", ports::a_daemon_is_known_by_its_mark),
    ("another_process_is_named", ports::another_process_is_named),
    ("a_caller_without_permission_gets_no_guess", ports::a_caller_without_permission_gets_no_guess),
    ("one_socket_of_several_is_enough", ports::one_socket_of_several_is_enough),
    ("wildcards_and_ipv6_are_understood", ports::wildcards_and_ipv6_are_understood),
    (
        "a_realm_outlives_its_heartbeatd_and_is_taken_over",
        adopting::a_realm_outlives_its_heartbeatd_and_is_taken_over,
    ),
    (
        "the_exit_code_of_another_process_child_is_reported",
        adopting::the_exit_code_of_another_process_child_is_reported,
    ),
    ("what_ended_meanwhile_is_known_to_have_ended", adopting::what_ended_meanwhile_is_known_to_have_ended),
    (
        "leftovers_of_a_main_process_that_died_meanwhile_are_held_and_killed",
        adopting::leftovers_of_a_main_process_that_died_meanwhile_are_held_and_killed,
    ),
    (
        "a_daemon_that_was_not_followed_yet_is_found_by_its_pid_file",
        adopting::a_daemon_that_was_not_followed_yet_is_found_by_its_pid_file,
    ),
    (
        "the_pid_file_of_a_daemon_that_has_ended_is_not_waited_for",
        adopting::the_pid_file_of_a_daemon_that_has_ended_is_not_waited_for,
    ),
    (
        "a_damaged_record_is_set_aside_and_its_process_is_found_by_its_mark",
        adopting::a_damaged_record_is_set_aside_and_its_process_is_found_by_its_mark,
    ),
    (
        "what_another_heartbeatd_started_gets_no_signal_and_its_end_is_noticed",
        adopting::what_another_heartbeatd_started_gets_no_signal_and_its_end_is_noticed,
    ),
    (
        "what_another_heartbeatd_started_and_has_ended_is_as_any_end",
        adopting::what_another_heartbeatd_started_and_has_ended_is_as_any_end,
    ),
    ("a_reused_pid_is_not_the_realm", adopting::a_reused_pid_is_not_the_realm),
    (
        "a_launcher_without_its_heartbeatd_exits_and_that_is_no_crash",
        adopting::a_launcher_without_its_heartbeatd_exits_and_that_is_no_crash,
    ),
    ("what_stops_is_told_of_adopted_processes_too", adopting::what_stops_is_told_of_adopted_processes_too),
    ("records_that_cannot_be_written_stop_nothing", adopting::records_that_cannot_be_written_stop_nothing),
    ("a_thousand_short_children_leave_nothing_behind", a_thousand_short_children_leave_nothing_behind),
    ("a_process_in_its_own_session_is_signalled_too", trees::a_process_in_its_own_session_is_signalled_too),
    (
        "a_daemon_that_is_not_our_child_is_reported_and_can_be_killed",
        trees::a_daemon_that_is_not_our_child_is_reported_and_can_be_killed,
    ),
    (
        "a_process_without_its_mark_is_found_by_descent_or_group",
        trees::a_process_without_its_mark_is_found_by_descent_or_group,
    ),
    ("a_fork_bomb_is_ended", trees::a_fork_bomb_is_ended),
    ("a_daemon_is_followed_by_its_pid_file", trees::a_daemon_is_followed_by_its_pid_file),
    ("a_pid_file_is_believed_within_the_tree_alone", trees::a_pid_file_is_believed_within_the_tree_alone),
    ("another_main_process_can_be_named", trees::another_main_process_can_be_named),
    ("five_hundred_killed_at_once_lose_no_cause", trees::five_hundred_killed_at_once_lose_no_cause),
    ("a_daemon_that_was_followed_is_taken_over", trees::a_daemon_that_was_followed_is_taken_over),
    ("groups_are_removed_when_they_are_empty", trees::groups_are_removed_when_they_are_empty),
    ("abandoned_groups_are_removed_and_no_others", trees::abandoned_groups_are_removed_and_no_others),
    (
        "a_process_that_only_knows_the_mark_is_neither_member_nor_stray",
        trees::a_process_that_only_knows_the_mark_is_neither_member_nor_stray,
    ),
    ("without_descriptors_an_end_is_only_late", trees::without_descriptors_an_end_is_only_late),
    (
        "leftovers_that_could_not_be_watched_are_looked_at_again",
        trees::leftovers_that_could_not_be_watched_are_looked_at_again,
    ),
    (
        "a_full_disk_below_the_records_misses_no_restart",
        adopting::a_full_disk_below_the_records_misses_no_restart,
    ),
    (
        "a_run_that_is_not_on_record_is_not_started_again",
        adopting::a_run_that_is_not_on_record_is_not_started_again,
    ),
    (
        "an_exit_is_on_record_before_the_process_is_collected",
        adopting::an_exit_is_on_record_before_the_process_is_collected,
    ),
    ("an_exit_is_on_record_until_the_next_start", adopting::an_exit_is_on_record_until_the_next_start),
    ("a_realm_may_be_called_like_the_launcher", adopting::a_realm_may_be_called_like_the_launcher),
];

/// The first argument of this program when it looks after a test, and when it is one.
const GUARD: &str = "--guard";
const TEST: &str = "--one-test";
/// How the second round of a test is called, and the word for it.
const IN_A_GROUP: &str = "in_a_control_group";

fn main() -> ExitCode {
    if std::env::args_os().next().is_some_and(|name| heartbeat_process::is_launcher(&name)) {
        return heartbeat_process::launcher_main(&TestLogs);
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let group = |words: &[&str]| *GROUPS.lock().unwrap() = words.first().map(PathBuf::from);
    match words[..] {
        [adopting::VICTIM, dir, script, ref groups @ ..] => {
            group(groups);
            adopting::victim(Path::new(dir), script)
        }
        ["say", ..] => notify::say(words[1..].iter().map(|word| (*word).to_owned())),
        ["listen", address] => ports::listen_for_ever(address),
        ["judge", address, main] => ports::judge(address, main),
        [GUARD, name, ref round @ ..] => guard(name, !round.is_empty()),
        [TEST, name, ref groups @ ..] => {
            group(groups);
            let (_, test) = TESTS.iter().find(|(known, _)| *known == name).expect("a test");
            test();
            ExitCode::SUCCESS
        }
        _ => run_all(),
    }
}

fn run_all() -> ExitCode {
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads.get_or_insert(TESTS_AT_A_TIME);
    let groups = heartbeat_process::own_groups(&format!("test-{}", std::process::id()));
    match &groups {
        Err(why) if !arguments.list => println!("skipped: every test in a control group: {why}"),
        Ok(groups) => std::fs::remove_dir(groups).unwrap(),
        Err(_) => {}
    }
    let mut trials = Vec::new();
    for round in [None].into_iter().chain(groups.is_ok().then_some(Some(IN_A_GROUP))) {
        let how = round.map_or_else(String::new, |round| format!("::{round}"));
        trials.extend(TESTS.iter().map(|(name, _)| {
            libtest_mimic::Trial::test(format!("{name}{how}"), move || guarded(name, round))
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn guarded(name: &str, round: Option<&str>) -> Result<(), libtest_mimic::Failed> {
    let output = this_program().arg(GUARD).arg(name).args(round).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        print!("{}", text(&output.stdout));
        return Ok(());
    }
    Err(format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr)).into())
}

#[expect(clippy::disallowed_methods, reason = "every test is a process of its own")]
fn this_program() -> Command {
    Command::new("/proc/self/exe")
}

/// Runs a test and ends whatever it leaves behind.
fn guard(name: &str, in_a_group: bool) -> ExitCode {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let own = std::process::id();
    let groups = in_a_group.then(|| heartbeat_process::own_groups(&format!("test-{own}")).unwrap());
    let test = this_program().arg(TEST).arg(name).args(&groups).spawn().unwrap().id();
    let test = Pid::from_raw(i32::try_from(test).unwrap());
    let code = loop {
        // Its orphans come here, and are collected as they are elsewhere.
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == test => break u8::try_from(code).unwrap_or(u8::MAX),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == test => {
                println!("the test was ended by {signal}");
                break u8::MAX;
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => panic!("{errno}"),
        }
    };
    loop {
        let left = descendants(own);
        for pid in &left {
            // Gone meanwhile: that is what was wanted.
            let _ = nix::sys::signal::kill(
                Pid::from_raw(i32::try_from(*pid).unwrap()),
                nix::sys::signal::SIGKILL,
            );
        }
        if left.is_empty() {
            break;
        }
        while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status != WaitStatus::StillAlive) {
        }
        rustix_yield();
    }
    if let Some(groups) = groups {
        remove_groups(&groups);
    }
    ExitCode::from(code)
}

/// Removes a control group and its children. No process is left in them.
fn remove_groups(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_groups(&entry.path());
        }
    }
    // The test has removed it, or the kernel is still busy with it.
    let _ = std::fs::remove_dir(dir);
}
