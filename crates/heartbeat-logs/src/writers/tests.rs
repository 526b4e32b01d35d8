//! A heartbeatd that takes over a run finds its output, wherever that has gone.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::{LogFollower, LogPlace, last_lines, previous_lines};

/// A run that writes when the test says so, and its log in a directory of its own.
struct Bench {
    dir: tempfile::TempDir,
    log: PathBuf,
    target: Target,
    output: File,
    process: Child,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log/db.log");
        let output = open(&log, None, Some(1));
        Self::with(dir, log, output)
    }

    fn with(dir: tempfile::TempDir, log: PathBuf, output: io::Result<File>) -> Self {
        let target = Target::File(log.clone());
        let output = output.unwrap_or_else(|_| crate::memory().unwrap());
        let process = sleeper(&output);
        let bench = Self { dir, log, target, output, process };
        begin(&bench.target, None, (1, bench.process.id()), &outputs_of(bench.process.id())[0]);
        bench
    }

    fn write(&mut self, text: &str) {
        self.output.write_all(text.as_bytes()).unwrap();
    }

    /// What the LogKeeper does in one look.
    fn look(&self, seen: u64) {
        let named = std::fs::symlink_metadata(&self.log).ok().filter(Metadata::is_file);
        if let Some(given) = writers().get_mut(&self.log).and_then(|writer| writer.file.as_mut()) {
            given.seen_bytes = seen;
        }
        look(&self.log, named.as_ref().map(id));
        copy(&self.log).unwrap();
    }

    /// heartbeatd is killed: it knows nothing any more.
    fn forget(&self) {
        writers().remove(&self.log);
    }

    fn take_over(&self) -> bool {
        take_over(&self.target, None, 1, self.process.id())
    }

    /// The run ends, and the next one begins. `opened` is called when the launcher has opened its log.
    fn restart(&mut self, opened: impl FnOnce()) {
        self.end();
        self.output = open(&self.log, None, Some(2)).unwrap();
        opened();
        self.process = sleeper(&self.output);
        let pid = self.process.id();
        begin(&self.target, None, (2, pid), &outputs_of(pid)[0]);
    }

    fn end(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        end(&self.target, 1);
    }

    fn follower(&self) -> LogFollower {
        LogFollower::new(self.log.clone(), "0-0-0".parse::<LogPlace>().unwrap())
    }

    fn lines(&self) -> Vec<String> {
        last_lines(&self.log, 99, true).unwrap().lines
    }

    fn move_to(&self, name: &str) {
        std::fs::rename(&self.log, self.dir.path().join(name)).unwrap();
    }

    fn move_directory(&self, name: &str) {
        std::fs::rename(self.dir.path().join("log"), self.dir.path().join(name)).unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.forget();
    }
}

#[expect(clippy::disallowed_methods, reason = "the run whose output is looked after")]
fn sleeper(output: &File) -> Child {
    let [out, errors] = [output.try_clone().unwrap(), output.try_clone().unwrap()].map(Stdio::from);
    Command::new("sleep").arg("659").stdout(out).stderr(errors).spawn().unwrap()
}

/// The losses that leave what heartbeatd has recorded beside the log.
fn file_losses() -> impl Iterator<Item = Loss> {
    LOSSES.into_iter().filter(|(loss, _)| !loss.starts_with("its directory"))
}

/// What has come since the last look; nothing of the log is missing before it.
fn news(follower: &mut LogFollower, what: &str) -> Vec<String> {
    // A link is no log.
    let Ok(batch) = follower.look() else { return Vec::new() };
    assert_eq!(batch.missed_bytes, 0, "{what}: {:?}", batch.lines);
    batch.lines
}

fn open(log: &Path, owner: Option<Owner>, run: Option<u64>) -> io::Result<File> {
    crate::open(log, owner, run)
}

/// A way in which a log can get lost, by name.
type Loss = (&'static str, fn(&Bench));

const LOSSES: [Loss; 8] = [
    ("moved in its directory", |bench| bench.move_to("log/db.log.old")),
    ("moved elsewhere", |bench| bench.move_to("elsewhere")),
    ("removed", |bench| std::fs::remove_file(&bench.log).unwrap()),
    ("its directory moved", |bench| bench.move_directory("old")),
    ("its directory removed", |bench| std::fs::remove_dir_all(bench.log.parent().unwrap()).unwrap()),
    ("moved, and a link in its place", |bench| {
        bench.move_to("elsewhere");
        std::os::unix::fs::symlink(bench.dir.path().join("elsewhere"), &bench.log).unwrap();
    }),
    ("moved, and a new file in its place", |bench| {
        bench.move_to("elsewhere");
        std::fs::write(&bench.log, "").unwrap();
    }),
    ("moved, and removed there", |bench| {
        bench.move_to("log/elsewhere");
        std::fs::remove_file(bench.dir.path().join("log/elsewhere")).unwrap();
    }),
];

#[test]
fn a_log_that_is_lost_while_no_heartbeatd_runs_goes_on_and_readers_miss_nothing() {
    for (loss, lose) in LOSSES {
        let mut bench = Bench::new();
        let mut follower = LogFollower::new(bench.log.clone(), "0-0-0".parse::<LogPlace>().unwrap());
        bench.write("one\n");
        bench.look(0);
        assert_eq!(follower.look().unwrap().lines, ["one"], "{loss}");
        bench.forget();
        lose(&bench);
        bench.write("two\n");
        // Until the run is found the reader keeps its place, or learns that a link is no log.
        assert!(follower.look().map_or(true, |batch| batch.lines.is_empty()), "{loss}");
        assert!(!bench.take_over(), "{loss}");
        bench.look(0);
        assert!(is_moved(&bench.log), "{loss}");
        bench.write("three\n");
        bench.look(0);
        assert_eq!(bench.lines(), ["one", "two", "three"], "{loss}");
        assert_eq!(follower.look().unwrap().lines, ["two", "three"], "{loss}");
        if let Ok(moved) = std::fs::read_to_string(bench.dir.path().join("elsewhere")) {
            assert!(moved.starts_with("one\ntwo\n"), "it keeps what it had: {moved:?}");
        }
    }
}

#[test]
fn what_an_earlier_heartbeatd_has_copied_is_copied_once() {
    for (loss, lose) in LOSSES {
        let mut bench = Bench::new();
        bench.write("one\n");
        bench.look(0);
        lose(&bench);
        bench.look(4);
        bench.write("two\n");
        bench.look(4);
        assert_eq!(bench.lines(), ["two"], "{loss}");
        for (line, wanted) in [("three", &["two", "three"][..]), ("four", &["two", "three", "four"])] {
            bench.forget();
            bench.write(&format!("{line}\n"));
            assert!(!bench.take_over(), "{loss}");
            bench.look(0);
            assert!(is_moved(&bench.log), "{loss}");
            assert_eq!(bench.lines(), wanted, "{loss}");
        }
    }
}

#[test]
fn a_run_that_ends_after_its_log_was_lost_is_complete_before_the_next_begins() {
    for (loss, lose) in file_losses() {
        // Whether a look comes between, and how much the look before has seen.
        for (found, seen) in [(false, 4), (true, 4), (false, 8), (true, 8)] {
            let what = format!("{loss}, found {found}, seen {seen}");
            let mut bench = Bench::new();
            let mut follower = bench.follower();
            bench.write("one\n");
            bench.look(4);
            let first = follower.look().unwrap();
            assert_eq!(first.lines, ["one"], "{what}");
            bench.write("two\n");
            saw(&bench.log, std::fs::metadata(&bench.log).ok().as_ref().map(id), seen);
            lose(&bench);
            let mut told = news(&mut follower, &what);
            bench.write("three\n");
            if found {
                bench.look(seen);
                told.extend(news(&mut follower, &what));
            }
            bench.write("four\n");
            bench.restart(|| told.extend(news(&mut follower, &what)));
            let known = if seen == 4 { &["two", "three", "four"][..] } else { &["three", "four"] };
            let previous = previous_lines(&bench.log, 9).unwrap().unwrap();
            assert_eq!((previous.lines, previous.generation), (lines_of(known), Some(1)), "{what}");
            bench.write("new\n");
            bench.look(seen);
            assert_eq!(bench.lines(), [known, &["new"]].concat(), "{what}");
            assert!(!is_moved(&bench.log), "{what}");
            told.extend(news(&mut follower, &what));
            assert_eq!(told, ["two", "three", "four", "new"], "{what}");
        }
    }
}

#[test]
fn a_run_that_ends_after_its_log_was_lost_is_complete_without_a_next_one() {
    for (loss, lose) in file_losses() {
        let mut bench = Bench::new();
        let mut follower = bench.follower();
        bench.write("one\n");
        bench.look(4);
        assert_eq!(follower.look().unwrap().lines, ["one"], "{loss}");
        lose(&bench);
        bench.write("two\n");
        bench.end();
        assert_eq!(news(&mut follower, loss), Vec::<String>::new(), "{loss}: it is not found yet");
        look_at_ended();
        let mut told = news(&mut follower, loss);
        copy(&bench.log).unwrap();
        told.extend(news(&mut follower, loss));
        assert_eq!(told, ["two"], "{loss}");
        assert_eq!(bench.lines(), ["two"], "{loss}");
        let named = std::fs::symlink_metadata(&bench.log).ok();
        assert!(look(&bench.log, named.as_ref().map(id)).1, "{loss}: nothing is lost");
        assert!(!writers().contains_key(&bench.log), "{loss}: nothing is held any more");
    }
}

#[test]
fn a_copy_that_is_moved_or_removed_loses_nothing_for_a_reader() {
    for (loss, lose) in file_losses() {
        let mut bench = Bench::new();
        let mut follower = bench.follower();
        bench.write("one\n");
        bench.look(4);
        assert_eq!(follower.look().unwrap().lines, ["one"], "{loss}");
        bench.move_to("first");
        bench.look(4);
        bench.write("two\n");
        bench.look(4);
        assert_eq!(news(&mut follower, loss), ["two"], "{loss}");
        bench.write("three\n");
        bench.look(4);
        lose(&bench);
        bench.write("four\n");
        let mut told = news(&mut follower, loss);
        bench.look(4);
        bench.write("five\n");
        told.extend(news(&mut follower, loss));
        bench.look(4);
        told.extend(news(&mut follower, loss));
        assert_eq!(told, ["three", "four", "five"], "{loss}");
        assert_eq!(bench.lines(), ["four", "five"], "{loss}");
    }
}

#[test]
fn a_line_that_a_lost_log_has_in_part_is_copied_whole() {
    let mut bench = Bench::new();
    bench.write("one\nhalf ");
    bench.look(9);
    bench.move_to("elsewhere");
    bench.write("a line\n");
    bench.look(9);
    assert_eq!(bench.lines(), ["half a line"]);
    let moved = std::fs::read_to_string(bench.dir.path().join("elsewhere")).unwrap();
    assert_eq!(moved, "one\nhalf a line\n", "it keeps what it had");
}

fn lines_of(lines: &[&str]) -> Vec<String> {
    lines.iter().map(ToString::to_string).collect()
}

#[test]
fn a_directory_of_logs_may_be_a_link() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("disk")).unwrap();
    std::os::unix::fs::symlink("disk", dir.path().join("log")).unwrap();
    let log = dir.path().join("log/db.log");
    let output = open(&log, None, Some(1));
    let mut bench = Bench::with(dir, log, output);
    bench.write("one\n");
    bench.forget();
    std::fs::remove_dir_all(bench.dir.path().join("disk")).unwrap();
    std::fs::create_dir(bench.dir.path().join("disk")).unwrap();
    assert!(!bench.take_over());
    bench.look(0);
    assert!(is_moved(&bench.log));
    assert_eq!(bench.lines(), ["one"]);
}

#[test]
fn a_heartbeatd_that_dies_while_it_copies_leaves_nothing_twice() {
    let mut bench = Bench::new();
    bench.move_to("elsewhere");
    bench.look(0);
    bench.write("one\ntwo\n");
    bench.forget();
    // It has written a part, and did not come to write the index.
    File::options().append(true).open(&bench.log).unwrap().write_all(b"one\n").unwrap();
    bench.take_over();
    bench.look(0);
    assert_eq!(bench.lines(), ["one", "two"]);
}

#[test]
fn output_in_memory_is_copied_once_over_the_death_of_heartbeatd() {
    let dir = tempfile::tempdir().unwrap();
    // A file lies where the directory should be.
    std::fs::write(dir.path().join("log"), "").unwrap();
    let log = dir.path().join("log/db.log");
    let output = open(&log, None, Some(1));
    let mut bench = Bench::with(dir, log, output);
    bench.write("one\n");
    assert!(copy(&bench.log).is_err());
    bench.forget();
    assert!(bench.take_over(), "in memory");
    std::fs::remove_file(bench.dir.path().join("log")).unwrap();
    bench.look(0);
    bench.write("two\n");
    bench.forget();
    assert!(bench.take_over(), "in memory");
    bench.look(0);
    assert_eq!(std::fs::read_to_string(&bench.log).unwrap(), "one\ntwo\n");
    assert_eq!(last_lines(&bench.log, 9, true).unwrap().lines, ["one", "two"]);
}

#[test]
fn output_that_the_program_has_sent_elsewhere_is_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log/db.log");
    drop(open(&log, None, Some(1)).unwrap());
    let own = File::options().append(true).create(true).open(dir.path().join("db.log")).unwrap();
    let mut bench = Bench::with(dir, log, Ok(own));
    bench.write("mine\n");
    bench.forget();
    assert!(!bench.take_over());
    bench.look(0);
    assert!(!is_moved(&bench.log) && bench.lines().is_empty());
}

#[test]
fn a_log_that_is_put_back_is_watched_again() {
    let mut bench = Bench::new();
    bench.move_to("elsewhere");
    bench.look(0);
    assert!(is_moved(&bench.log));
    let back = |bench: &Bench| std::fs::rename(bench.dir.path().join("elsewhere"), &bench.log).unwrap();
    back(&bench);
    bench.look(0);
    assert!(!is_moved(&bench.log));
    bench.move_to("elsewhere");
    bench.look(0);
    assert!(is_moved(&bench.log));
    bench.write("one\n");
    bench.look(0);
    assert_eq!(bench.lines(), ["one"]);
}
