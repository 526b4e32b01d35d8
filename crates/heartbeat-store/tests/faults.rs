//! Ends of a writer, and errors of its disk, at every point: what was confirmed is there, and the writer goes on.
//!
//! This program is the writer itself, too, so it has a `main` of its own.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program without the test harness"
)]

#[path = "store/scene.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod scene;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use heartbeat_status::{Reason, Status};
use heartbeat_store::{Class, HistoryDb, IncidentDb, Keep, Report, StatusChange};
use libtest_mimic::{Arguments, Failed, Trial};

use scene::{Reports, Scene, open_numbers, record, ticking};

/// Incidents or changes that a writer writes.
const COUNT: u64 = 12;
/// The first argument of the writer.
const WRITER: &str = "writer";
/// The first argument of the one that fills its disk.
const FILLER: &str = "filler";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == WRITER) {
        let dir = Path::new(&words[3]);
        let is_patient = words[4] == "patient";
        match Kind::ALL.into_iter().find(|kind| kind.word() == words[2]).unwrap() {
            Kind::Incidents => incident_writer(dir, is_patient),
            Kind::History => history_writer(dir, is_patient),
        }
        return ExitCode::SUCCESS;
    }
    if words.get(1).is_some_and(|word| word == FILLER) {
        filler(Path::new(&words[2]));
        return ExitCode::SUCCESS;
    }
    let trials = vec![
        Trial::test("a_writer_that_is_killed_anywhere_loses_nothing_that_was_confirmed", || {
            killed(Kind::Incidents)
        }),
        Trial::test("an_error_of_the_disk_at_any_call_loses_nothing_and_ends", || once(Kind::Incidents)),
        Trial::test("a_disk_that_fails_for_ever_holds_nobody", || for_ever(Kind::Incidents)),
        Trial::test("a_history_whose_writer_is_killed_has_everything_that_was_answered", || {
            killed(Kind::History)
        }),
        Trial::test("an_error_of_the_disk_at_any_call_loses_no_history_and_ends", || once(Kind::History)),
        Trial::test("a_disk_that_fails_for_ever_holds_no_history", || for_ever(Kind::History)),
        Trial::test("a_full_disk_is_written_when_there_is_room", full),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Which database a writer writes.
#[derive(Clone, Copy)]
enum Kind {
    Incidents,
    History,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Incidents, Self::History];

    const fn word(self) -> &'static str {
        match self {
            Self::Incidents => "incidents",
            Self::History => "history",
        }
    }

    /// The numbers of what the file has.
    fn found(self, scene: &Scene) -> Vec<u64> {
        match self {
            Self::Incidents => open_numbers(&scene.incidents()),
            Self::History => {
                let history = scene.history();
                (1..=COUNT).filter(|no| is_known(&history, *no)).collect()
            }
        }
    }
}

/// When the change of a number is, in milliseconds since 1970.
fn at_ms(no: u64) -> i64 {
    1_700_000_000_000 + 1_000 * i64::try_from(no).unwrap()
}

/// Whether what the realm was from a change on, until the next, is in the history: up behind the odd ones.
fn is_known(history: &HistoryDb, no: u64) -> bool {
    let (realms, window) = (vec!["db".to_owned()], at_ms(no)..at_ms(no + 1));
    let found = scene::answer(|give| {
        history.accounts(realms, Vec::from([window]), move |found| give.send(found).unwrap())
    });
    let class = if no % 2 == 1 { Class::Up } else { Class::Down };
    found.is_ok_and(|found| found.get("db").is_some_and(|accounts| accounts[0].ms(class) == 1_000))
}

/// Writes changes one after another and says of each whether a question finds it. A patient one ends when all are on
/// the disk.
fn history_writer(dir: &Path, patient: bool) {
    let reports = Reports::default();
    let keep = Keep { history: Duration::from_secs(86_400), max_bytes: 1 << 24 };
    let history = HistoryDb::start(dir, keep, ticking, reports.reporter()).unwrap();
    history.begin("boot".to_owned(), at_ms(1));
    let mut failed = false;
    for no in 1..=COUNT {
        let status = if no % 2 == 1 { Status::Up } else { Status::Down };
        let (realm, reason) = ("db".to_owned(), Reason::ProbeFailed);
        history.change(StatusChange { at_ms: at_ms(no), realm, status, reason });
        history.alive(at_ms(no + 1));
        let written = is_known(&history, no);
        failed |= !written;
        say(&format!("{} {no}", if written { "ok" } else { "failed" }));
    }
    if failed && patient {
        reports.wait(|report| *report == Report::Working);
        say("recovered");
    }
    say("end");
}

/// Writes incidents one after another and says of each whether it is on the disk. A patient one ends when all are.
fn incident_writer(dir: &Path, patient: bool) {
    let reports = Reports::default();
    let db = IncidentDb::start(dir, ticking, reports.reporter()).unwrap();
    let mut failed = false;
    for no in 1..=COUNT {
        let (give, take) = std::sync::mpsc::sync_channel(1);
        let confirm = Box::new(move |written: Result<(), _>| give.send(written.is_ok()).unwrap());
        db.record(record(no, true), Vec::new(), Some(confirm));
        let written = take.recv().unwrap();
        failed |= !written;
        say(&format!("{} {no}", if written { "ok" } else { "failed" }));
    }
    if failed && patient {
        reports.wait(|report| *report == Report::Working);
        say("recovered");
    }
    say("end");
}

fn say(line: &str) {
    // In one piece: the parent that reads the line may kill this process in the next moment.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[expect(clippy::disallowed_methods, reason = "the writer is a process of its own, so that it can be killed")]
fn command(program: &str) -> Command {
    Command::new(program)
}

fn own() -> String {
    std::env::current_exe().unwrap().to_string_lossy().into_owned()
}

fn numbers_of(lines: &[String], word: &str) -> Vec<u64> {
    lines.iter().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok()).collect()
}

/// Everything that was confirmed is there, and the file is whole.
fn check(kind: Kind, scene: &Scene, lines: &[String]) -> Result<Vec<u64>, Failed> {
    let found = kind.found(scene);
    let lost: Vec<u64> = numbers_of(lines, "ok").into_iter().filter(|no| !found.contains(no)).collect();
    let said = scene.reports.all();
    if !lost.is_empty() || !said.is_empty() {
        return Err(format!("lost {lost:?}, {said:?}, of {lines:?}").into());
    }
    Ok(found)
}

fn killed(kind: Kind) -> Result<(), Failed> {
    for after in 0..2 * COUNT {
        let scene = Scene::new();
        let args = [WRITER, kind.word(), &scene.dir.path().to_string_lossy(), "patient"];
        let mut child: Child = command(&own()).args(args).stdout(Stdio::piped()).spawn()?;
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut lines = Vec::new();
        // The odd ones are killed before their line is read: between, or within, a commit.
        for _ in 0..after / 2 {
            let mut line = String::new();
            out.read_line(&mut line)?;
            lines.push(line.trim().to_owned());
        }
        child.kill()?;
        lines.extend(out.lines().map_while(Result::ok));
        child.wait()?;
        check(kind, &scene, &lines)?;
    }
    Ok(())
}

/// Runs the writer with an error of the kernel at the `k`th of its calls; what it said. `None` without strace.
fn with_error(
    (kind, patience): (Kind, &str),
    scene: &Scene,
    (call, error, when): (&str, &str, &str),
) -> Result<Option<Vec<String>>, Failed> {
    let dir = scene.dir.path().to_string_lossy();
    let log = scene.path("strace.log");
    let inject = format!("inject={call}:error={error}:when={when}");
    let run = command("strace")
        .args(["-f", "-o", &log.to_string_lossy(), "-e", &format!("trace={call}"), "-e", &inject])
        .args([&own(), WRITER, kind.word(), &dir, patience])
        .output();
    let run = match run {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "strace is missing");
            eprintln!("skipped: strace is missing");
            return Ok(None);
        }
        run => run?,
    };
    let lines: Vec<String> = String::from_utf8_lossy(&run.stdout).lines().map(str::to_owned).collect();
    if !run.status.success() || lines.last().is_none_or(|line| line != "end") {
        return Err(format!(
            "{inject}: {:?}, {lines:?}, {}",
            run.status,
            String::from_utf8_lossy(&run.stderr)
        )
        .into());
    }
    Ok(Some(lines))
}

/// Calls with which SQLite changes a file, and what they can answer.
const CALLS: [(&str, &[&str]); 3] = [
    ("pwrite64", &["ENOSPC", "EIO", "EROFS"]),
    ("fdatasync", &["EIO", "ENOSPC"]),
    ("ftruncate", &["EIO", "ENOSPC"]),
];

/// Every call, and not some of them, if `HEARTBEAT_DISK_POINTS` is `all`.
fn once(kind: Kind) -> Result<(), Failed> {
    let all = std::env::var_os("HEARTBEAT_DISK_POINTS").is_some_and(|points| points == "all");
    let mut points = 0;
    for (call, errors) in CALLS {
        for (nth, error) in errors.iter().enumerate() {
            // Different places for each error: together they cover the making of the file and many commits.
            let (first, step) = if all { (1, 1) } else { (1 + nth, errors.len() * 3) };
            for k in (first..=46).step_by(step) {
                let scene = Scene::new();
                let when = k.to_string();
                let fault = (call, *error, when.as_str());
                let Some(lines) = with_error((kind, "patient"), &scene, fault)? else { return Ok(()) };
                points += 1;
                let found = check(kind, &scene, &lines)?;
                if found.len() as u64 != COUNT {
                    return Err(format!("{call} {error} {k}: only {found:?} in the end, {lines:?}").into());
                }
            }
        }
    }
    println!("errors at {points} calls, lost 0");
    Ok(())
}

fn for_ever(kind: Kind) -> Result<(), Failed> {
    for (call, errors) in CALLS {
        for (nth, error) in errors.iter().enumerate() {
            for k in [1, 7 + 5 * nth] {
                let scene = Scene::new();
                let when = format!("{k}+");
                let fault = (call, *error, when.as_str());
                let Some(lines) = with_error((kind, "hasty"), &scene, fault)? else { return Ok(()) };
                check(kind, &scene, &lines)?;
            }
        }
    }
    Ok(())
}

/// On a file system of its own.
fn full() -> Result<(), Failed> {
    let scene = Scene::new();
    let script = "mount -t tmpfs -o size=1m tmpfs \"$1\" && exec \"$0\" filler \"$1\"";
    let dir = scene.dir.path().to_string_lossy();
    let run = command("unshare").args(["-m", "sh", "-c", script, &own(), &dir]).output()?;
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    if said.contains("permitted") || said.contains("denied") {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no file system of our own: {said}");
        eprintln!("skipped: no file system of our own: {said}");
        return Ok(());
    }
    if !run.status.success() || run.stdout != b"end\n" {
        return Err(format!("{}, {said}", String::from_utf8_lossy(&run.stdout)).into());
    }
    Ok(())
}

/// Fills the disk under a store, then makes room.
fn filler(dir: &Path) {
    let reports = Reports::default();
    let db = IncidentDb::start(dir, ticking, reports.reporter()).unwrap();
    scene::write(&db, 1, true).unwrap();
    let ballast = dir.join("ballast");
    let filled = std::fs::write(&ballast, vec![1; 2 << 20]).unwrap_err();
    assert_eq!(filled.kind(), std::io::ErrorKind::StorageFull);
    // What has room in the log already may still be written.
    let mut no = 2;
    while scene::write(&db, no, true).is_ok() {
        no += 1;
    }
    assert!(reports.failing().contains("full"), "{:?}", reports.all());
    std::fs::remove_file(&ballast).unwrap();
    reports.wait(|report| *report == Report::Working);
    drop(db);
    let db = IncidentDb::start(dir, ticking, reports.reporter()).unwrap();
    assert_eq!(open_numbers(&db), (1..=no).collect::<Vec<_>>());
    say("end");
}
