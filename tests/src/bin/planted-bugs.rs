//! Plants the bugs of `tests/planted` one at a time, and prints how many the tests catch.
//!
//! `cargo run -p heartbeat-tests --bin planted-bugs [--list] [--resume] [AREA[:N[-M]]..]`. The bugs are planted in a
//! copy below `target/planted`; the working tree is not touched. `AREA:3-7` plants five bugs of an area, and `--resume`
//! leaves out what the tests have caught before. Each verdict is kept as it falls, so Ctrl-C loses no more than one
//! bug. Exit code 0 when every bug was caught, else 1.
#![expect(clippy::print_stdout, reason = "a command that a developer runs")]
#![expect(
    clippy::disallowed_methods,
    reason = "it runs cargo and git, and measures them, as a developer would"
)]

use std::collections::BTreeMap;
use std::fs::{File, read_to_string};
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use heartbeat_tests::{Area, Bug, areas, misplaced, workspace_root};

/// The longest build on a busy machine.
const BUILD_LIMIT_S: u64 = 1_800;
/// Of the 10,000 seeds of the simulator, which is not optimised here.
const SEEDS: &str = "1000";
/// Tests that take this much longer than without a bug hang, and so have caught it.
const SLACK_FACTOR: u32 = 5;
/// Besides: tests of milliseconds wait for a processor, too.
const SLACK_S: u64 = 60;
/// Tests catch most bugs in a moment, and building takes the time: nothing is optimised, other than in the workspace,
/// and what is built for each bug is built without lines for a debugger.
const BUILD_PROFILE: &str = r#"
[profile.dev.package]
heartbeat-api = { debug = false }
heartbeat-cli = { debug = false }
heartbeat-client = { debug = false }
heartbeat-config = { debug = false }
heartbeat-daemon = { debug = false }
heartbeat-graph = { debug = false, opt-level = 0 }
heartbeat-http = { debug = false }
heartbeat-logs = { debug = false }
heartbeat-notify = { debug = false, opt-level = 0 }
heartbeat-probe = { debug = false }
heartbeat-process = { debug = false }
heartbeat-restart = { debug = false, opt-level = 0 }
heartbeat-sim = { debug = false, opt-level = 0 }
heartbeat-status = { debug = false, opt-level = 0 }
heartbeat-store = { debug = false }
heartbeat-supervisor = { debug = false, opt-level = 0 }
"#;
/// How `timeout` says that the time was up.
const TIMED_OUT: i32 = 124;

fn main() -> ExitCode {
    let (options, wanted): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|word| word.starts_with("--"));
    let has = |name: &str| options.iter().any(|option| option == name);
    if let Some(strange) = options.iter().find(|option| !["--list", "--resume"].contains(&option.as_str())) {
        println!("unknown option {strange}; there are --list and --resume");
        return ExitCode::FAILURE;
    }
    let root = workspace_root();
    let (areas, wanted): (_, Vec<Wanted>) =
        (areas(&root), wanted.iter().map(|word| Wanted::parse(word)).collect());
    if let Some(lost) = wanted.iter().find(|wanted| !areas.iter().any(|area| area.name == wanted.area)) {
        println!("there is no tests/planted/{}.toml", lost.area);
        return ExitCode::FAILURE;
    }
    let mut bench = Bench::new(&root);
    if !has("--list") {
        bench.copy();
    }
    let mut sound = true;
    for area in &areas {
        let asked = |number| wanted.is_empty() || wanted.iter().any(|it| it.asks_for(area, number));
        let numbered = area.bugs.iter().enumerate().map(|(at, bug)| (at + 1, bug));
        let mut bugs: Vec<(usize, &Bug)> = numbered.filter(|(number, _)| asked(*number)).collect();
        if has("--list") {
            bugs.iter()
                .for_each(|(number, bug)| println!("{}:{number} {} ({})", area.name, bug.rule, bug.file));
            continue;
        }
        if has("--resume") {
            bugs.retain(|(_, bug)| !matches!(bench.verdicts.get(&key(area, bug)), Some(Verdict::Caught(_))));
        }
        sound &= bugs.is_empty() || bench.measure(area, &bugs);
    }
    if !has("--list") {
        bench.print_table(&areas);
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Bugs that the command line asks for.
struct Wanted {
    area: String,
    numbers: RangeInclusive<usize>,
}

impl Wanted {
    fn parse(word: &str) -> Self {
        let (area, numbers) = word.split_once(':').unwrap_or((word, ""));
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let numbers = first.parse().unwrap_or(1)..=last.parse().unwrap_or(usize::MAX);
        Self { area: area.to_owned(), numbers }
    }

    fn asks_for(&self, area: &Area, number: usize) -> bool {
        self.area == area.name && self.numbers.contains(&number)
    }
}

/// The result of one planted bug.
#[derive(Clone, Debug)]
enum Verdict {
    /// The test that has caught it.
    Caught(String),
    /// The tests do not catch it.
    Survived,
    /// An error of the list: it does not compile, or the tests cannot be run.
    Broken(String),
}

impl Verdict {
    fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Caught(by) => ("caught", by),
            Self::Survived => ("survived", ""),
            Self::Broken(why) => ("broken", why),
        }
    }

    fn parse(word: &str, detail: &str) -> Self {
        match word {
            "caught" => Self::Caught(detail.to_owned()),
            "survived" => Self::Survived,
            _ => Self::Broken(detail.to_owned()),
        }
    }
}

/// A bug is the same while it is planted the same way.
fn key(area: &Area, bug: &Bug) -> String {
    let planted = format!("{}\n{}\n{}", bug.file, bug.find, bug.put);
    let sum = planted
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{}\t{sum:016x}", area.name)
}

/// Whether a word of a `cargo test` is the name of the crate that a file belongs to.
fn is_crate_of(word: &str, file: &str) -> bool {
    file.split('/').nth(1) == Some(word)
}

/// The copy of the tree in which bugs are planted, and the verdicts so far.
struct Bench {
    root: PathBuf,
    home: PathBuf,
    tree: PathBuf,
    verdicts: BTreeMap<String, Verdict>,
}

impl Bench {
    fn new(root: &Path) -> Self {
        let home = root.join("target/planted");
        let kept = read_to_string(home.join("verdicts")).unwrap_or_default();
        let verdicts = kept.lines().filter_map(|line| {
            let (key, rest) = line.rsplit_once("\t|\t")?;
            let (word, detail) = rest.split_once('\t')?;
            Some((key.to_owned(), Verdict::parse(word, detail)))
        });
        Self { root: root.to_owned(), tree: home.join("tree"), verdicts: verdicts.collect(), home }
    }

    /// Copies every file that git tracks, or would, into the tree, and so removes a bug that was left there. Files with
    /// the same content keep their time, so that cargo builds no more than it must.
    fn copy(&self) {
        // Cargo reads this for whatever lies below it.
        let profile = self.home.join(".cargo/config.toml");
        if read_to_string(&profile).ok().as_deref() != Some(BUILD_PROFILE) {
            std::fs::create_dir_all(self.home.join(".cargo")).expect("the copy can be written");
            std::fs::write(profile, BUILD_PROFILE).expect("the copy can be written");
        }
        let listed = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(&self.root)
            .output()
            .expect("git is there");
        for name in String::from_utf8_lossy(&listed.stdout).lines() {
            let (from, to) = (self.root.join(name), self.tree.join(name));
            let Ok(bytes) = std::fs::read(&from) else {
                // Deleted, and not yet committed.
                let _ = std::fs::remove_file(&to);
                continue;
            };
            if std::fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            std::fs::create_dir_all(to.parent().expect("a file is in a folder"))
                .expect("the copy can be written");
            std::fs::copy(&from, &to).expect("the copy can be written");
        }
    }

    /// Plants the bugs of an area; whether all were caught.
    fn measure(&mut self, area: &Area, bugs: &[(usize, &Bug)]) -> bool {
        let mut limits = Vec::new();
        for run in &area.tests {
            let began = Instant::now();
            match self.test(run, Duration::from_secs(BUILD_LIMIT_S)) {
                Verdict::Survived => {
                    limits.push(began.elapsed() * SLACK_FACTOR + Duration::from_secs(SLACK_S))
                }
                other => {
                    println!("{}: not measured: without a bug its tests are {:?}", area.name, other.words());
                    println!("    cargo test {}; its output is in target/planted/output", run.join(" "));
                    return false;
                }
            }
        }
        let mut sound = true;
        for (number, bug) in bugs {
            let began = Instant::now();
            let verdict = self.plant(area, bug, &limits);
            let (word, detail) = verdict.words();
            let (name, rule, took) = (&area.name, &bug.rule, began.elapsed().as_secs());
            println!("{name}:{number} of {} {word} in {took} s: {rule}: {detail}", area.bugs.len());
            sound &= matches!(verdict, Verdict::Caught(_));
            self.keep(area, bug, verdict);
        }
        sound
    }

    fn plant(&self, area: &Area, bug: &Bug, limits: &[Duration]) -> Verdict {
        let path = self.tree.join(&bug.file);
        let text = read_to_string(&path).expect("a law checks that the file is there");
        if let Some(why) = misplaced(bug, &text) {
            return Verdict::Broken(why);
        }
        std::fs::write(&path, text.replacen(&bug.find, &bug.put, 1)).expect("the copy can be written");
        let mut tests: Vec<(&Vec<String>, &Duration)> = area.tests.iter().zip(limits).collect();
        // The tests of the crate itself catch most of its bugs, and need the least building.
        tests.sort_by_key(|(run, _)| !run.iter().any(|word| is_crate_of(word, &bug.file)));
        let mut runs = tests.into_iter().map(|(run, limit)| self.test(run, *limit));
        let verdict = runs.find(|verdict| !matches!(verdict, Verdict::Survived)).unwrap_or(Verdict::Survived);
        std::fs::write(&path, text).expect("the copy can be written");
        verdict
    }

    /// Builds and runs tests.
    fn test(&self, arguments: &[String], limit: Duration) -> Verdict {
        let build = self.cargo(arguments, &["--no-run"], Duration::from_secs(BUILD_LIMIT_S));
        if build != Some(0) {
            let output = read_to_string(self.home.join("output")).unwrap_or_default();
            let error = output.lines().find(|line| line.starts_with("error"));
            return Verdict::Broken(error.unwrap_or("it does not build").to_owned());
        }
        match self.cargo(arguments, &[], limit) {
            Some(0) => Verdict::Survived,
            Some(TIMED_OUT) => Verdict::Caught("the tests do not end".to_owned()),
            _ => self.failure(),
        }
    }

    /// The first test that has failed, by the output of the last run.
    fn failure(&self) -> Verdict {
        let output = String::from_utf8_lossy(&std::fs::read(self.home.join("output")).unwrap_or_default())
            .into_owned();
        let failed = |line: &str| {
            Some(line.strip_prefix("test ")?.strip_suffix("FAILED")?.trim_end_matches([' ', '.']).to_owned())
        };
        match (output.lines().find_map(failed), output.contains("process didn't exit successfully")) {
            (Some(test), _) => Verdict::Caught(test),
            (None, true) => Verdict::Caught("the tests are aborted".to_owned()),
            (None, false) => Verdict::Broken("cargo test cannot be run".to_owned()),
        }
    }

    /// The exit code of `cargo test`, with everything it has started ended at the deadline, or when this program ends.
    fn cargo(&self, arguments: &[String], more: &[&str], limit: Duration) -> Option<i32> {
        let output = File::create(self.home.join("output")).expect("the output can be kept");
        Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "timeout", "--kill-after", "10", &limit.as_secs().to_string()])
            .args(["cargo", "test"])
            .args(more)
            .args(arguments)
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", self.home.join("target"))
            // A planted bug must not be excused by a server that is missing, nor bless a sample.
            .env("CI", "true")
            .env_remove("HEARTBEAT_BLESS")
            .env("HEARTBEAT_SEEDS", SEEDS)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("the output can be kept"))
            .stderr(output)
            .status()
            .expect("setpriv and timeout are there")
            .code()
    }

    fn keep(&mut self, area: &Area, bug: &Bug, verdict: Verdict) {
        self.verdicts.insert(key(area, bug), verdict);
        let line = |(key, verdict): (&String, &Verdict)| {
            let (word, detail) = verdict.words();
            format!("{key}\t|\t{word}\t{detail}\n")
        };
        let text: String = self.verdicts.iter().map(line).collect();
        // Whole or not at all, also when this program is ended now.
        let next = self.home.join("verdicts.next");
        let written = File::create(&next).and_then(|mut file| file.write_all(text.as_bytes()));
        written
            .and_then(|()| std::fs::rename(&next, self.home.join("verdicts")))
            .expect("verdicts can be kept");
    }

    /// All verdicts, also from earlier runs.
    fn print_table(&self, areas: &[Area]) {
        println!("\n| area | planted | caught |\n|---|---|---|");
        let (mut planted, mut caught) = (0, 0);
        for area in areas {
            let known: Vec<&Verdict> =
                area.bugs.iter().filter_map(|bug| self.verdicts.get(&key(area, bug))).collect();
            let well = known.iter().filter(|verdict| matches!(verdict, Verdict::Caught(_))).count();
            let missing = area.bugs.len() - known.len();
            let note = if missing == 0 { String::new() } else { format!(" ({missing} not measured)") };
            println!("| {} | {} | {well}{note} |", area.name, area.bugs.len());
            (planted, caught) = (planted + area.bugs.len(), caught + well);
        }
        println!("| **all** | {planted} | {caught} |");
    }
}
