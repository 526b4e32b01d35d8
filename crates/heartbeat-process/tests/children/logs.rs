//! What real programs write: bounded, told by generation, owned by their user, sent to a journald.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use super::*;
use heartbeat_process::{KeptLog, LogKeeper, LogNotice, User, last_lines, previous_lines};

const PIECE: u64 = 64 * 1024;

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
        rustix_yield();
    }
    panic!("waited for {what}");
}

pub(super) fn a_program_that_writes_at_full_speed_is_bounded_and_loses_nothing() {
    const LINES: usize = 3_000_000;
    let bench = Bench::new();
    let root = nix::unistd::geteuid().is_root();
    let user = if root { User::find("nobody").ok() } else { None };
    std::fs::set_permissions(bench.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let kept = KeptLog { path: bench.log(), max_bytes: PIECE, keep: 100_000 };
    let log = LogTarget::File { path: bench.log(), max_bytes: PIECE, keep: 100_000 };
    let (_keeper, notices) = keeper(kept);
    let script = format!("exec seq -f %09.0f 0 {}", LINES - 1);
    bench.launch(1, &LaunchSpec { log, user: user.clone(), ..bench.shell(&script) });
    bench.started();
    exit_of(&bench.next());
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
        let owner = user.as_ref().map_or(nix::unistd::geteuid().as_raw(), |user| user.uid);
        assert_eq!((meta.uid(), meta.mode() & 0o777), (owner, 0o600), "{}", path.display());
    }
}

pub(super) fn what_the_generation_before_has_said_is_known() {
    let bench = Bench::new();
    let (_keeper, _notices) = keeper(KeptLog { path: bench.log(), max_bytes: PIECE, keep: 50 });
    let log = LogTarget::File { path: bench.log(), max_bytes: PIECE, keep: 50 };
    let scripts = ["echo first", "seq 1 20000; echo 'second, the end'", "echo third; echo more"];
    for (run, script) in (1..).zip(scripts) {
        // What a command says belongs to the generation that is there.
        let command = LaunchSpec { log: log.clone(), ..bench.shell("echo a command") };
        bench.processes.run_command(CommandRunId(run), &command, PATIENCE);
        assert!(matches!(bench.next(), Notice::CommandDone { .. }));
        bench.launch(run, &LaunchSpec { log: log.clone(), ..bench.shell(script) });
        bench.started();
        exit_of(&bench.next());
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

pub(super) fn a_full_disk_stops_neither_the_program_nor_the_bound() {
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
        let log = LogTarget::File { path: path.clone(), max_bytes: PIECE, keep: 9 };
        // It goes on when it cannot write, and says so where there is room.
        let alive = bench.dir.path().join("alive");
        let script = format!(
            "n=0; while :; do n=$((n+1)); echo \"line $n\" 2>/dev/null || :; [ $((n % 10000)) = 0 ] && echo $n >{}; done",
            alive.display()
        );
        let key = bench.launch(1, &LaunchSpec { log, ..bench.shell(&script) });
        bench.started();
        wait_until("something that was dropped", || {
            notices.try_iter().any(
                |notice| matches!(notice, LogNotice::Lost { lost, why, .. } if lost.dropped_bytes > 0 && why.is_some()),
            )
        });
        let now = std::fs::read_to_string(&alive).unwrap_or_default();
        wait_until("the program to go on", || std::fs::read_to_string(&alive).unwrap_or_default() != now);
        assert!(last_lines(&path, 1, true).unwrap().lost.dropped_bytes > 0);
        bench.processes.signal(key, Signal::KILL);
        exit_of(&bench.next());
        wait_until("the bound", || size(&path) <= PIECE);
        drop(keeper);
        umount2(disk.path(), MntFlags::MNT_DETACH).unwrap();
    });
    tested.join().unwrap();
}

pub(super) fn a_journald_is_given_a_stream() {
    let bench = Bench::new();
    let socket = bench.dir.path().join("stdout");
    let log = LogTarget::Journal { socket: socket.clone(), identifier: "db".into() };
    let spec = LaunchSpec { log, ..bench.shell("echo out; echo '<3>err' >&2; sleep 600") };
    bench.launch(1, &spec);
    match bench.next() {
        Notice::StartFailed { error, .. } => {
            assert_eq!((error.step, error.errno), (Step::Log, Some(nix::errno::Errno::ENOENT as i32)));
            let said = &error.message;
            assert!(said.contains(socket.to_str().unwrap()) && said.contains("journald"), "{said}");
        }
        other => panic!("{other:?}"),
    }
    let listener = UnixListener::bind(&socket).unwrap();
    let key = bench.launch(2, &spec);
    bench.started();
    let (stream, _) = listener.accept().unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let said: Vec<String> = lines.by_ref().take(9).collect();
    // Identifier, unit, priority, prefixes, three that are off; then what is written.
    assert_eq!(said, ["db", "", "6", "1", "0", "0", "0", "out", "<3>err"]);
    bench.processes.signal(key, Signal::KILL);
    exit_of(&bench.next());
    assert_eq!(lines.next(), None, "nothing of ours holds it");
}
