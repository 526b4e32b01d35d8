//! What real programs write: bounded, known by generation, owned by their user, sent to a journald.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heartbeat_logs::{
    KeptLog, LogKeeper, LogNotice, Owner, Target, begin, connect, end, is_stray, last_lines, memory, open,
    previous_lines,
};

/// Bounds a hang; nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(60);
const MAX_NOTICES: usize = 10_000;
const PIECE: u64 = 64 * 1024;

/// Which program writes where is known to the whole process, and each keeper reports all of it: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

struct Bench {
    dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Self { dir: tempfile::tempdir().unwrap(), _turn: turn }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("out.log")
    }

    fn fifo(&self) -> PathBuf {
        let fifo = self.dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        fifo
    }
}

/// A program that writes to a log, until it is ended or this is dropped.
struct Program {
    child: Child,
    target: Target,
    run: u64,
    in_memory: bool,
}

impl Program {
    fn start(target: Target, run: u64, script: &str) -> Self {
        Self::start_as(target, None, run, script)
    }

    /// As heartbeatd starts it: opened before, and to memory where that fails.
    fn start_as(target: Target, owner: Option<Owner>, run: u64, script: &str) -> Self {
        let opened = match &target {
            Target::File(path) => open(path, owner, Some(run)).map(OwnedFd::from),
            Target::Journal { socket, identifier } => connect(socket, identifier),
        };
        let output = opened.or_else(|_| memory().map(OwnedFd::from)).unwrap();
        // It waits until it is known, as a child of heartbeatd does.
        let mut child = shell("read -r _; exec sh -c \"$0\" </dev/null", script, output);
        let output = PathBuf::from(format!("/proc/{}/fd/1", child.id()));
        let in_memory = begin(&target, owner, (run, child.id()), &output);
        drop(child.stdin.take());
        Self { child, target, run, in_memory }
    }

    /// Waits until it ends by itself.
    fn wait(mut self) {
        self.child.wait().unwrap();
    }

    fn kill(self) {
        drop(self);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended by itself, perhaps.
        let _ = self.child.kill();
        let _ = self.child.wait();
        end(&self.target, self.run);
    }
}

#[expect(clippy::disallowed_methods, reason = "the programs whose output is looked after")]
fn shell(script: &str, argument: &str, output: OwnedFd) -> Child {
    let errors = output.try_clone().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", script, argument]).stdin(Stdio::piped()).stdout(output).stderr(errors);
    command.spawn().unwrap()
}

/// Looks after the log of a bench, and remembers what is told of it.
fn keeper(log: KeptLog) -> (LogKeeper, Receiver<LogNotice>) {
    let (sender, notices) = sync_channel(MAX_NOTICES);
    let keeper = LogKeeper::open(move |notice| sender.send(notice).unwrap()).unwrap();
    keeper.keep(vec![log]);
    (keeper, notices)
}

fn numbered(log: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", log.display()))
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Everything of a log, the oldest first.
fn all(log: &Path) -> String {
    let mut parts = vec![std::fs::read_to_string(log).unwrap()];
    parts.extend((1..).map_while(|number| std::fs::read_to_string(numbered(log, number)).ok()));
    parts.reverse();
    parts.concat()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if holds() {
            return;
        }
        // Gives the processor away: a poll of a condition, not a wait for a time.
        let _ = nix::poll::poll(&mut [], 1u16);
    }
    panic!("waited for {what}");
}

#[test]
fn a_program_that_writes_at_full_speed_is_bounded_and_loses_nothing() {
    const LINES: usize = 3_000_000;
    let bench = Bench::new();
    let root = nix::unistd::geteuid().is_root();
    let owner = root.then_some(Owner { uid: 65_534, gid: 65_534 });
    std::fs::set_permissions(bench.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let kept = KeptLog { path: bench.log(), max_bytes: PIECE, keep: 100_000 };
    let log = Target::File(bench.log());
    let (_keeper, notices) = keeper(kept);
    let script = format!("exec seq -f %09.0f 0 {}", LINES - 1);
    Program::start_as(log, owner, 1, &script).wait();
    wait_until("the bound", || size(&bench.log()) <= PIECE);
    let text = all(&bench.log());
    let wrong = text.lines().enumerate().find(|(at, line)| *line != format!("{at:09}"));
    let lost: Vec<_> = notices.try_iter().collect();
    if lost.is_empty() {
        assert_eq!((wrong, text.lines().count()), (None, LINES));
    } else {
        println!("  this file system cannot collapse: {lost:?}");
    }
    assert!(size(&numbered(&bench.log(), 1)) >= PIECE);
    for path in [bench.log(), numbered(&bench.log(), 1), numbered(&bench.log(), 2)] {
        let meta = std::fs::metadata(&path).unwrap();
        let uid = owner.map_or(nix::unistd::geteuid().as_raw(), |owner| owner.uid);
        assert_eq!((meta.uid(), meta.mode() & 0o777), (uid, 0o600), "{}", path.display());
    }
}

#[test]
fn what_the_generation_before_reported_is_known() {
    let bench = Bench::new();
    let (_keeper, _notices) = keeper(KeptLog { path: bench.log(), max_bytes: PIECE, keep: 50 });
    let log = Target::File(bench.log());
    let scripts = ["echo first", "seq 1 20000; echo 'second, the end'", "echo third; echo more"];
    for (run, script) in (1..).zip(scripts) {
        // What a command says belongs to the generation that is there.
        let output: File = open(&bench.log(), None, None).unwrap();
        shell("echo a command", "", output.into()).wait().unwrap();
        Program::start(log.clone(), run, script).wait();
    }
    wait_until("the bound", || size(&bench.log()) <= PIECE);
    assert!(numbered(&bench.log(), 1).exists());
    let page = previous_lines(&bench.log(), 100_000).unwrap().unwrap();
    assert_eq!((page.generation, page.lines.len(), page.cut), (Some(2), 20_002, false));
    assert_eq!((page.lines[0].as_str(), page.lines[20_001].as_str()), ("1", "a command"));
    let page = last_lines(&bench.log(), 100_000, true).unwrap();
    assert_eq!(
        (page.lines.len(), page.lines[1].as_str(), page.lines[20_006].as_str()),
        (20_007, "first", "more")
    );
}

#[test]
fn a_full_disk_stops_neither_the_program_nor_the_bound() {
    // In a namespace of its own, which everything that is started from this thread is born into.
    let tested = std::thread::spawn(|| {
        use nix::mount::{MntFlags, MsFlags, mount, umount2};
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_err()
            || mount(None::<&str>, "/", None::<&str>, private, None::<&str>).is_err()
        {
            println!("  skipped: not permitted to mount");
            return;
        }
        let bench = Bench::new();
        let disk = tempfile::tempdir().unwrap();
        mount(Some("tmpfs"), disk.path(), Some("tmpfs"), MsFlags::empty(), Some("size=256k")).unwrap();
        let path = disk.path().join("out.log");
        let (keeper, notices) = keeper(KeptLog { path: path.clone(), max_bytes: PIECE, keep: 9 });
        let log = Target::File(path.clone());
        // It goes on when it cannot write, and says so where there is room.
        let alive = bench.dir.path().join("alive");
        let script = format!(
            "n=0; while :; do n=$((n+1)); echo \"line $n\" 2>/dev/null || :; [ $((n % 10000)) = 0 ] && echo $n >{}; done",
            alive.display()
        );
        let program = Program::start(log, 1, &script);
        wait_until("something that was dropped", || {
            notices.try_iter().any(
                |notice| matches!(notice, LogNotice::Lost { lost, why, .. } if lost.dropped_bytes > 0 && why.is_some()),
            )
        });
        let now = std::fs::read_to_string(&alive).unwrap_or_default();
        wait_until("the program to go on", || std::fs::read_to_string(&alive).unwrap_or_default() != now);
        assert!(last_lines(&path, 1, true).unwrap().lost.dropped_bytes > 0);
        program.kill();
        wait_until("the bound", || size(&path) <= PIECE);
        drop(keeper);
        umount2(disk.path(), MntFlags::MNT_DETACH).unwrap();
    });
    tested.join().unwrap();
}

#[test]
fn a_journald_is_given_a_stream() {
    let bench = Bench::new();
    let socket = bench.dir.path().join("stdout");
    let log = Target::Journal { socket: socket.clone(), identifier: "db".into() };
    let place = socket.join("db");
    let (_keeper, notices) = keeper(KeptLog { path: bench.log(), max_bytes: PIECE, keep: 2 });
    let script = "echo out; echo '<3>err' >&2; exec sleep 600";
    let said_by = |listener: &UnixListener| {
        let (stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        let said: Vec<String> = lines.by_ref().take(9).collect();
        (said, lines)
    };
    // While there is no journald its output waits in memory.
    let program = Program::start(log.clone(), 1, script);
    assert!(program.in_memory);
    let told = problem(&notices).unwrap();
    assert!(told.contains("the log of db") && told.contains(socket.to_str().unwrap()), "{told}");
    assert_eq!(is_stray(&log), Some(place.clone()));
    wait_for_line(&place, "<3>err");
    let listener = UnixListener::bind(&socket).unwrap();
    let wanted = ["db", "", "6", "1", "0", "0", "0", "out", "<3>err"];
    assert_eq!(said_by(&listener).0, wanted);
    assert_eq!(problem(&notices), None);
    program.kill();
    wait_until("nothing to wait for", || is_stray(&log).is_none());
    let program = Program::start(log, 2, script);
    let (said, mut lines) = said_by(&listener);
    // Identifier, unit, priority, prefixes, three that are off; then what is written.
    assert_eq!(said, wanted);
    program.kill();
    assert_eq!(lines.next(), None, "nothing of ours holds it");
}

/// Waits until the last line of a log is that one.
fn wait_for_line(log: &Path, line: &str) {
    wait_until(line, || {
        last_lines(log, 1, true).is_ok_and(|page| page.lines.last().is_some_and(|last| last == line))
    });
}

/// What the keeper says last of problems.
fn problem(notices: &Receiver<LogNotice>) -> Option<String> {
    loop {
        if let LogNotice::Problem(problem) = notices.recv_timeout(PATIENCE).unwrap() {
            return problem;
        }
    }
}

#[test]
fn a_log_that_cannot_be_opened_is_kept_in_memory_and_written_later() {
    let bench = Bench::new();
    let dir = bench.dir.path().join("log");
    let path = dir.join("db.log");
    let kept = KeptLog { path: path.clone(), max_bytes: PIECE, keep: 2 };
    let log = Target::File(path.clone());
    let (_keeper, notices) = keeper(kept);
    // A file is where the directory should be: for root, too, nothing can be made in it.
    std::fs::write(&dir, "").unwrap();
    let fifo = bench.fifo();
    let script =
        format!("exec 3<> {}; echo first; while read -r line <&3; do echo $line; done", fifo.display());
    let program = Program::start(log.clone(), 1, &script);
    assert!(program.in_memory);
    let told = problem(&notices).unwrap();
    assert!(told.contains("the log of db") && told.contains("cannot be written"), "{told}");
    wait_until("the line where it is", || last_lines(&path, 9, true).unwrap().lines == ["first"]);
    // The fault is over: what it says from now on, and what it has said, is on disk.
    std::fs::remove_file(&dir).unwrap();
    assert_eq!(problem(&notices), None);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "first\n");
    std::fs::write(&fifo, "second\n").unwrap();
    wait_until("the second line", || all(&path) == "first\nsecond\n");
    program.kill();
    // The next start writes to the file itself; a directory that is gone is made again.
    std::fs::remove_dir_all(&dir).unwrap();
    Program::start(log, 2, "echo third").wait();
    assert_eq!(all(&path), "third\n");
}

#[test]
fn output_without_a_file_is_bounded() {
    let bench = Bench::new();
    let dir = bench.dir.path().join("log");
    let path = dir.join("db.log");
    let (_keeper, notices) = keeper(KeptLog { path: path.clone(), max_bytes: PIECE, keep: 2 });
    std::fs::write(&dir, "").unwrap();
    let log = Target::File(path.clone());
    // 8 MiB, of which 1 MiB is kept.
    let program = Program::start(log, 1, "seq -f %07.0f 0 1048575; exec sleep 644");
    assert!(program.in_memory);
    assert!(problem(&notices).is_some());
    let kib = |pid: u32| {
        let blocks = std::fs::metadata(format!("/proc/{pid}/fd/1")).unwrap().blocks();
        blocks / 2
    };
    wait_for_line(&path, "1048575");
    let pid = program.child.id();
    wait_until("the bound", || kib(pid) <= 1_024 + 64);
    let dropped = || last_lines(&path, 1, true).unwrap().lost.dropped_bytes;
    // The last look may have found a part of what the program has written.
    wait_until("the count", || dropped() >= 7 * 1024 * 1024);
    let dropped_bytes = dropped();
    std::fs::remove_file(&dir).unwrap();
    assert_eq!(problem(&notices), None);
    assert_eq!(dropped(), dropped_bytes, "counted once");
    program.kill();
}

#[test]
fn a_log_that_is_moved_or_removed_goes_on_under_its_name() {
    for moved in [false, true] {
        let bench = Bench::new();
        let (_keeper, notices) = keeper(KeptLog { path: bench.log(), max_bytes: PIECE, keep: 2 });
        let fifo = bench.fifo();
        let script = format!(
            "exec 3<> {fifo}; echo before; read -r line <&3; echo $line; read -r line <&3; yes | head -c 300000; exec sleep 645",
            fifo = fifo.display()
        );
        let log = Target::File(bench.log());
        let program = Program::start(log, 1, &script);
        wait_for_line(&bench.log(), "before");
        // The keeper has seen it, and so knows what is new.
        let looked = bench.dir.path().join("out.log.ledger");
        assert!(looked.exists());
        let away = bench.dir.path().join("rotated");
        if moved {
            std::fs::rename(bench.log(), &away).unwrap();
        } else {
            std::fs::remove_file(bench.log()).unwrap();
        }
        let told = problem(&notices).unwrap();
        assert!(told.contains("moved or removed") && told.contains("heartbeat-cli restart out"), "{told}");
        std::fs::write(&fifo, "after\n").unwrap();
        wait_for_line(&bench.log(), "after");
        if moved {
            assert!(
                std::fs::read_to_string(&away).unwrap().starts_with("before\n"),
                "that is somebody else's now"
            );
        }
        std::fs::write(&fifo, "more\n").unwrap();
        // All files together hold what the bound allows, and the file without a name holds nothing.
        let pid = program.child.id();
        let kib = || std::fs::metadata(format!("/proc/{pid}/fd/1")).map_or(0, |meta| meta.blocks() / 2);
        wait_until("the bound", || size(&numbered(&bench.log(), 1)) >= PIECE && kib() <= 64);
        program.kill();
        assert_eq!(problem(&notices), None, "the next start writes to the file itself");
    }
}

/// Waits until the keeper watches a directory: from then on it knows who closes a log.
fn wait_for_watch() {
    wait_until("the watch", || {
        let descriptors = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
        let texts = descriptors.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
        texts.filter(|text| text.contains("inotify wd:")).count() > 0
    });
}

#[test]
fn a_directory_of_logs_that_is_removed_empties_nothing() {
    let bench = Bench::new();
    let dir = bench.dir.path().join("log");
    let path = dir.join("db.log");
    std::fs::create_dir(&dir).unwrap();
    let (_keeper, notices) = keeper(KeptLog { path: path.clone(), max_bytes: PIECE, keep: 2 });
    wait_for_watch();
    let fifo = bench.fifo();
    let script =
        format!("exec 3<> {}; echo before; while read -r line <&3; do echo $line; done", fifo.display());
    let log = Target::File(path.clone());
    let program = Program::start(log, 1, &script);
    wait_for_line(&path, "before");
    std::fs::remove_dir_all(&dir).unwrap();
    let told = problem(&notices).unwrap();
    assert!(told.contains("moved or removed"), "{told}");
    // The program has written nothing since. What heartbeatd had seen in the file is counted, and the rest is copied.
    let page = last_lines(&path, 9, true).unwrap();
    let removed_bytes = page.lost.removed_bytes;
    match page.lines.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => assert_eq!(removed_bytes, "before\n".len() as u64),
        ["before"] => assert_eq!(removed_bytes, 0),
        _ => panic!("{:?}", page.lines),
    }
    for line in ["one", "two", "three"] {
        // Each of these is copied, and so closed by heartbeatd itself, in another look.
        std::fs::write(&fifo, format!("{line}\n")).unwrap();
        wait_until(line, || all(&path).ends_with(&format!("{line}\n")));
    }
    assert_eq!(last_lines(&path, 9, true).unwrap().lost.removed_bytes, removed_bytes, "counted once");
    program.kill();
    let mut rest = Vec::new();
    while rest.last() != Some(&LogNotice::Problem(None)) {
        rest.push(notices.recv_timeout(PATIENCE).unwrap());
    }
    assert_eq!(rest, [LogNotice::Problem(None)], "nobody has emptied anything");
    // Without a living writer nothing is copied, and what is gone is gone.
    std::fs::remove_dir_all(&dir).unwrap();
    match notices.recv_timeout(PATIENCE).unwrap() {
        LogNotice::Lost { lost, why, .. } => {
            assert_eq!((lost.emptied, lost.cut_bytes > 0), (0, true));
            assert!(why.unwrap().contains("removed"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn output_of_the_run_before_is_copied_and_empties_nothing() {
    let bench = Bench::new();
    let dir = bench.dir.path().join("log");
    let path = dir.join("db.log");
    std::fs::write(&dir, "").unwrap();
    let log = Target::File(path.clone());
    let first = Program::start(log.clone(), 1, "echo first; exec sleep 657");
    assert!(first.in_memory);
    wait_for_line(&path, "first");
    first.kill();
    std::fs::remove_file(&dir).unwrap();
    let fifo = bench.fifo();
    let script = format!("read -r line < {}; yes | head -c 100000; exec sleep 658", fifo.display());
    let second = Program::start(log, 2, &script);
    assert!(!second.in_memory);
    // The keeper copies, and so closes a file that the second run has begun empty.
    let (_keeper, notices) = keeper(KeptLog { path: path.clone(), max_bytes: PIECE, keep: 2 });
    wait_until("the copy", || std::fs::read_to_string(&path).is_ok_and(|text| text == "first\n"));
    // A later look has cut the log, so that of the copy is over.
    std::fs::write(&fifo, "more\n").unwrap();
    wait_until("the bound", || numbered(&path, 1).exists());
    second.kill();
    let emptied = |notice: &LogNotice| matches!(notice, LogNotice::Lost { lost, .. } if lost.emptied > 0);
    assert!(!notices.try_iter().any(|notice| emptied(&notice)));
}

#[test]
fn a_link_at_the_place_of_a_log_is_set_aside() {
    let bench = Bench::new();
    let (_keeper, notices) = keeper(KeptLog { path: bench.log(), max_bytes: PIECE, keep: 2 });
    let other = bench.dir.path().join("theirs");
    std::fs::write(&other, "theirs\n").unwrap();
    let link = || std::os::unix::fs::symlink(&other, bench.log()).unwrap();
    let log = Target::File(bench.log());
    // Before the start, and while it runs.
    link();
    let fifo = bench.fifo();
    let script = format!("echo one; read -r line < {}; echo $line; exec sleep 655", fifo.display());
    let program = Program::start(log, 1, &script);
    wait_for_line(&bench.log(), "one");
    std::fs::remove_file(bench.log()).unwrap();
    link();
    assert!(problem(&notices).unwrap().contains("moved or removed"));
    std::fs::write(&fifo, "two\n").unwrap();
    wait_until("a file in its place", || {
        std::fs::symlink_metadata(bench.log()).is_ok_and(|meta| meta.is_file())
    });
    wait_for_line(&bench.log(), "two");
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "theirs\n");
    assert!(bench.dir.path().join("out.log.replaced").is_symlink());
    program.kill();
}

#[test]
fn a_log_that_its_own_program_empties_is_counted() {
    let bench = Bench::new();
    let (_keeper, notices) = keeper(KeptLog { path: bench.log(), max_bytes: PIECE, keep: 2 });
    // The keeper watches from its first look on.
    wait_for_watch();
    let script = "echo one; echo two > /dev/stderr; echo three; exec sleep 646";
    let log = Target::File(bench.log());
    let program = Program::start(log.clone(), 1, script);
    match notices.recv_timeout(PATIENCE).unwrap() {
        LogNotice::Lost { lost, why, .. } => {
            assert_eq!(lost.emptied, 1);
            assert!(why.unwrap().contains(">&2"));
        }
        other => panic!("{other:?}"),
    }
    let page = last_lines(&bench.log(), 9, true).unwrap();
    assert_eq!((page.lines, page.lost.emptied), (vec!["two".to_owned(), "three".to_owned()], 1));
    program.kill();
    // A run that only ends, and one that appends to what it opens anew, empties nothing.
    let script = "echo four; echo five >> /dev/stderr; echo six >&2";
    Program::start(log.clone(), 2, script).wait();
    wait_for_line(&bench.log(), "six");
    let emptied = last_lines(&bench.log(), 9, true).unwrap();
    assert_eq!((emptied.lines.len(), emptied.lost.emptied), (5, 1));
    // The next that is told is the next that empties it.
    let program = Program::start(log, 3, "echo 7 > /dev/stdout; exec sleep 647");
    assert!(matches!(notices.recv_timeout(PATIENCE), Ok(LogNotice::Lost { lost, .. }) if lost.emptied == 1));
    assert_eq!(last_lines(&bench.log(), 9, true).unwrap().lost.emptied, 2);
    program.kill();
}
