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

use heartbeat_store::{IncidentDb, Report};
use libtest_mimic::{Arguments, Failed, Trial};

use scene::{Reports, Scene, open_numbers, record, ticking};

/// Incidents that a writer writes.
const INCIDENTS: u64 = 12;
/// The first argument of the writer.
const WRITER: &str = "writer";
/// The first argument of the one that fills its disk.
const FILLER: &str = "filler";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == WRITER) {
        writer(Path::new(&words[2]), words[3].parse().unwrap(), words[4] == "patient");
        return ExitCode::SUCCESS;
    }
    if words.get(1).is_some_and(|word| word == FILLER) {
        filler(Path::new(&words[2]));
        return ExitCode::SUCCESS;
    }
    let trials = vec![
        Trial::test("a_writer_that_is_killed_anywhere_loses_nothing_that_was_confirmed", killed),
        Trial::test("an_error_of_the_disk_at_any_call_loses_nothing_and_ends", once),
        Trial::test("a_disk_that_fails_for_ever_holds_nobody", for_ever),
        Trial::test("a_full_disk_is_written_when_there_is_room", full),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Writes incidents one after another and says of each whether it is on the disk. A patient one ends when all are.
fn writer(dir: &Path, count: u64, patient: bool) {
    let reports = Reports::default();
    let db = IncidentDb::start(dir, ticking, reports.reporter()).unwrap();
    let mut failed = false;
    for no in 1..=count {
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
fn check(scene: &Scene, lines: &[String]) -> Result<Vec<u64>, Failed> {
    let db = scene.incidents();
    let found = open_numbers(&db);
    let lost: Vec<u64> = numbers_of(lines, "ok").into_iter().filter(|no| !found.contains(no)).collect();
    let said = scene.reports.all();
    if !lost.is_empty() || !said.is_empty() {
        return Err(format!("lost {lost:?}, {said:?}, of {lines:?}").into());
    }
    Ok(found)
}

fn killed() -> Result<(), Failed> {
    for after in 0..2 * INCIDENTS {
        let scene = Scene::new();
        let count = INCIDENTS.to_string();
        let args = [WRITER, &scene.dir.path().to_string_lossy(), &count, "patient"];
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
        check(&scene, &lines)?;
    }
    Ok(())
}

/// Runs the writer with an error of the kernel at the `k`th of its calls; what it said. `None` without strace.
fn with_error(
    scene: &Scene,
    call: &str,
    error: &str,
    when: &str,
    patient: &str,
) -> Result<Option<Vec<String>>, Failed> {
    let dir = scene.dir.path().to_string_lossy();
    let log = scene.path("strace.log");
    let inject = format!("inject={call}:error={error}:when={when}");
    let run = command("strace")
        .args(["-f", "-o", &log.to_string_lossy(), "-e", &format!("trace={call}"), "-e", &inject])
        .args([&own(), WRITER, &dir, &INCIDENTS.to_string(), patient])
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
fn once() -> Result<(), Failed> {
    let all = std::env::var_os("HEARTBEAT_DISK_POINTS").is_some_and(|points| points == "all");
    let mut points = 0;
    for (call, errors) in CALLS {
        for (nth, error) in errors.iter().enumerate() {
            // Different places for each error: together they cover the making of the file and many commits.
            let (first, step) = if all { (1, 1) } else { (1 + nth, errors.len() * 3) };
            for k in (first..=46).step_by(step) {
                let scene = Scene::new();
                let Some(lines) = with_error(&scene, call, error, &k.to_string(), "patient")? else {
                    return Ok(());
                };
                points += 1;
                let found = check(&scene, &lines)?;
                if found.len() as u64 != INCIDENTS {
                    return Err(format!("{call} {error} {k}: only {found:?} in the end, {lines:?}").into());
                }
            }
        }
    }
    println!("errors at {points} calls, lost 0");
    Ok(())
}

fn for_ever() -> Result<(), Failed> {
    for (call, errors) in CALLS {
        for (nth, error) in errors.iter().enumerate() {
            for k in [1, 7 + 5 * nth] {
                let scene = Scene::new();
                let Some(lines) = with_error(&scene, call, error, &format!("{k}+"), "hasty")? else {
                    return Ok(());
                };
                check(&scene, &lines)?;
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
