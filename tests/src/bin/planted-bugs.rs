//! Plants the bugs of `tests/planted` one at a time, and prints how many the tests catch.
//!
//! `cargo run -p heartbeat-tests --bin planted-bugs [AREA..]`. The bugs are planted in a copy below
//! `target/planted`; the working tree is not touched. Exit code 0 when every bug was caught, else 1.
#![expect(clippy::print_stdout, reason = "a command that a developer runs")]
#![expect(clippy::disallowed_methods, reason = "it runs cargo and git, as a developer would")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use heartbeat_tests::{Area, Bug, areas, misplaced, workspace_root};

/// A test run that takes longer hangs, and has noticed the bug.
const RUN_LIMIT_S: &str = "900";

/// What became of one planted bug.
enum Verdict {
    Caught,
    Survived,
    DoesNotBuild,
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let root = workspace_root();
    let bench = Bench::new(&root);
    let mut missed = 0;
    println!("{:<12} {:>7} {:>7}", "area", "planted", "caught");
    for area in areas(&root).iter().filter(|area| wanted.is_empty() || wanted.contains(&area.name)) {
        bench.copy();
        assert!(bench.passes(area), "the tests of {} fail without a bug", area.name);
        let mut notes = Vec::new();
        for bug in &area.bugs {
            match bench.plant(area, bug) {
                Verdict::Caught => {}
                Verdict::Survived => notes.push(format!("  survived: {} ({})", bug.rule, bug.file)),
                Verdict::DoesNotBuild => notes.push(format!("  does not build: {} ({})", bug.rule, bug.file)),
            }
        }
        println!("{:<12} {:>7} {:>7}", area.name, area.bugs.len(), area.bugs.len() - notes.len());
        notes.iter().for_each(|note| println!("{note}"));
        missed += notes.len();
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The copy of the tree in which bugs are planted.
struct Bench {
    root: PathBuf,
    tree: PathBuf,
    target: PathBuf,
}

impl Bench {
    fn new(root: &Path) -> Self {
        let home = root.join("target/planted");
        Self { root: root.to_owned(), tree: home.join("tree"), target: home.join("target") }
    }

    /// Copies every file that git tracks, or would, into the tree; files with the same content keep their time, so
    /// that cargo builds no more than it must.
    fn copy(&self) {
        let listed = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(&self.root)
            .output()
            .expect("git is there");
        for name in String::from_utf8_lossy(&listed.stdout).lines() {
            let (from, to) = (self.root.join(name), self.tree.join(name));
            let Ok(bytes) = std::fs::read(&from) else { continue };
            if std::fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            std::fs::create_dir_all(to.parent().expect("a file is in a folder"))
                .expect("the copy can be written");
            std::fs::copy(&from, &to).expect("the copy can be written");
        }
    }

    fn plant(&self, area: &Area, bug: &Bug) -> Verdict {
        let path = self.tree.join(&bug.file);
        let text = std::fs::read_to_string(&path).expect("a law checks that the file is there");
        assert_eq!(misplaced(bug, &text), None);
        std::fs::write(&path, text.replacen(&bug.find, &bug.put, 1)).expect("the copy can be written");
        let verdict = if !area.tests.iter().all(|run| self.cargo(run, &["--no-run"])) {
            Verdict::DoesNotBuild
        } else if self.passes(area) {
            Verdict::Survived
        } else {
            Verdict::Caught
        };
        std::fs::write(&path, text).expect("the copy can be written");
        verdict
    }

    fn passes(&self, area: &Area) -> bool {
        area.tests.iter().all(|run| self.cargo(run, &[]))
    }

    fn cargo(&self, arguments: &[String], more: &[&str]) -> bool {
        Command::new("timeout")
            .args([RUN_LIMIT_S, "cargo", "test", "--quiet"])
            .args(more)
            .args(arguments)
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            // A planted bug must not be excused by a server that is missing, nor bless a sample.
            .env("CI", "true")
            .env_remove("HEARTBEAT_BLESS")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}
