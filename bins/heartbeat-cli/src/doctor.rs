//! `doctor`: what heartbeatd needs of this machine, one line each, with what to do where something is missing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use heartbeat_client::Client;
use heartbeat_config::{Sources, check, find_file};
use heartbeat_status::Status;

use crate::console::Console;
use crate::exit::{Exit, Outcome};
use crate::global::Format;
use crate::style::hue;

/// The kernel from which on heartbeatd can signal a group of processes without a number that may belong to another by
/// then.
const KERNEL_OF_GROUP_SIGNALS: (u32, u32) = (6, 9);
/// Oldest kernel with everything that supervision needs (pidfd, clone3, close_range).
const KERNEL_LEAST: (u32, u32) = (5, 10);
/// Descriptors that heartbeatd itself needs.
const DESCRIPTORS_BASE: u64 = 128;
/// Descriptors per realm.
const DESCRIPTORS_PER_REALM: u64 = 6;

/// How it is about one prerequisite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fine,
    Remark,
    Missing,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Remark => "remark",
            Self::Missing => "missing",
        }
    }
}

/// One prerequisite.
#[derive(Debug)]
struct Finding {
    state: State,
    what: String,
    fix: Option<String>,
}

impl Finding {
    fn fine(what: impl Into<String>) -> Self {
        Self { state: State::Fine, what: what.into(), fix: None }
    }

    fn remark(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { state: State::Remark, what: what.into(), fix: Some(fix.into()) }
    }

    fn missing(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { state: State::Missing, what: what.into(), fix: Some(fix.into()) }
    }
}

/// Looks at everything; exit 1 when something is missing without which heartbeatd does not run.
pub(crate) async fn run(client: &Client, console: &mut Console) -> Outcome {
    let sources = Sources::from_process(None);
    let mut findings = of_configuration(&sources);
    findings.push(of_daemon(client).await);
    findings.push(of_kernel(&read("/proc/sys/kernel/osrelease")));
    findings.push(of_control_groups());
    findings.push(of_journal());
    let exit =
        if findings.iter().any(|finding| finding.state == State::Missing) { Exit::No } else { Exit::Holds };
    if matches!(console.form, Format::Json | Format::Ndjson) {
        let entries: Vec<serde_json::Value> = findings
            .iter()
            .map(|finding| serde_json::json!({ "state": finding.state.word(), "what": finding.what, "fix": finding.fix }))
            .collect();
        console.json(&entries)?;
        return Ok(exit);
    }
    let style = console.style;
    for finding in &findings {
        let status = match finding.state {
            State::Fine => Status::Up,
            State::Remark => Status::Degraded,
            State::Missing => Status::Down,
        };
        let mark = style.paint(hue(status), style.mark(status));
        let fix = finding.fix.as_ref().map_or_else(String::new, |fix| format!(": {fix}"));
        console.prose(&format!("{mark} {}{}", style.text(&finding.what), style.text(&fix)), 2)?;
    }
    Ok(exit)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The configuration, and what it asks of this machine.
fn of_configuration(sources: &Sources) -> Vec<Finding> {
    let file = match find_file(sources) {
        Ok(file) => file,
        Err(places) => {
            let looked =
                places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ");
            let what = format!("no configuration; looked at {looked}");
            return vec![Finding::remark(
                what,
                "`heartbeatd demo` needs none; write heartbeat.toml for your own",
            )];
        }
    };
    let shown = file.display();
    let loaded = match check(sources) {
        Ok(loaded) => loaded,
        Err(report) => {
            let what = format!("{shown} has {}", mistakes(report.errors().count(), report.iter().count()));
            return vec![Finding::missing(what, format!("`heartbeat-cli check {shown}` shows them"))];
        }
    };
    let realms = loaded.config.plan.realms().len();
    let mut findings = vec![match loaded.warnings.iter().count() {
        0 => Finding::fine(format!("{shown}: {}", counted(realms, "realm"))),
        count => Finding::remark(
            format!("{shown}: {}, {}", counted(realms, "realm"), counted(count, "warning")),
            format!("`heartbeat-cli check {shown}` shows them"),
        ),
    }];
    let heartbeat = &loaded.config.heartbeat;
    findings.push(of_directory("state_dir", &heartbeat.state_dir));
    findings.push(of_directory("runtime_dir", &heartbeat.runtime_dir));
    findings.push(of_descriptors(&read("/proc/self/limits"), u64::try_from(realms).unwrap_or(u64::MAX)));
    findings
}

/// A directory that can be written to, or can be made.
fn of_directory(key: &str, dir: &Path) -> Finding {
    let own = fs::metadata("/proc/self").map_or(0, |meta| meta.uid());
    let there: PathBuf = dir.ancestors().find(|place| place.exists()).unwrap_or(Path::new("/")).to_owned();
    let shown = dir.display();
    let Ok(meta) = fs::metadata(&there) else {
        return Finding::missing(
            format!("{key} {shown} cannot be looked at"),
            format!("choose another `{key}`"),
        );
    };
    let writable = own == 0 || (meta.uid() == own && meta.mode() & 0o200 != 0) || meta.mode() & 0o002 != 0;
    if writable && meta.is_dir() {
        let state = if there == dir { "is there" } else { "can be made" };
        return Finding::fine(format!("{key} {shown} {state}"));
    }
    let fix = format!("give user {own} that directory, or write another `{key}` into [heartbeat]");
    Finding::missing(format!("{key} {shown} cannot be written by user {own}"), fix)
}

fn of_descriptors(limits: &str, realms: u64) -> Finding {
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    let hard = line.split_whitespace().nth(4).and_then(|word| word.parse::<u64>().ok());
    let needed = DESCRIPTORS_BASE + realms * DESCRIPTORS_PER_REALM;
    match hard {
        Some(hard) if hard < needed => Finding::missing(
            format!("{hard} descriptors at most, about {needed} are needed for {realms} realms"),
            "raise the hard limit: LimitNOFILE= in the unit, or `ulimit -Hn`",
        ),
        Some(hard) => Finding::fine(format!("{hard} descriptors at most, about {needed} are needed")),
        None => Finding::fine("no bound on descriptors"),
    }
}

async fn of_daemon(client: &Client) -> Finding {
    match client.health().await {
        Ok(health) if health.version != env!("CARGO_PKG_VERSION") => Finding::remark(
            format!(
                "heartbeatd {} answers, and this is heartbeat-cli {}",
                health.version,
                env!("CARGO_PKG_VERSION")
            ),
            "install both from one version; `heartbeat-cli daemon upgrade` replaces a running heartbeatd",
        ),
        Ok(health) if health.status != "pass" => Finding::remark(
            "heartbeatd answers, and has a problem of its own",
            "`heartbeat-cli why heartbeatd` explains it",
        ),
        Ok(health) => Finding::fine(format!("heartbeatd {} answers", health.version)),
        Err(error) => Finding::remark(
            error.to_string(),
            "start it with `heartbeatd`, or say where it listens with --host or $HEARTBEAT_SOCKET",
        ),
    }
}

fn of_kernel(release: &str) -> Finding {
    let mut numbers = release.split(['.', '-']).map_while(|word| word.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < KERNEL_LEAST {
        let (major, minor) = KERNEL_LEAST;
        return Finding::missing(
            format!("Linux {release}"),
            format!("heartbeatd needs {major}.{minor} or later"),
        );
    }
    if version < KERNEL_OF_GROUP_SIGNALS {
        let what = format!("Linux {release}: process groups cannot be signalled as such (6.9 and later can)");
        return Finding::remark(what, "nothing to do: heartbeatd finds and signals each process of a realm");
    }
    Finding::fine(format!("Linux {release}"))
}

fn of_control_groups() -> Finding {
    let own = read("/proc/self/cgroup");
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Finding::remark(
            "no control groups of version 2: limits of process trees are not kept",
            "boot with systemd.unified_cgroup_hierarchy=1, or do without `limits`",
        );
    };
    let mounted = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .find(|dir| Path::new(dir).join("cgroup.procs").exists());
    match mounted {
        Some(dir) => Finding::fine(format!("control groups at {dir}{}", path.trim_end_matches('/'))),
        None => Finding::remark(
            "control groups of version 2 are not mounted: limits of process trees are not kept",
            "mount cgroup2 at /sys/fs/cgroup, or do without `limits`",
        ),
    }
}

fn of_journal() -> Finding {
    if Path::new("/run/systemd/journal/stdout").exists() {
        Finding::fine("systemd-journald listens: log = { to = \"journal\" } works")
    } else {
        Finding::fine("no systemd-journald: logs go to files")
    }
}

/// `1 mistake and 2 warnings`: the errors, and the others of `all` that were found.
fn mistakes(errors: usize, all: usize) -> String {
    match all - errors {
        0 => counted(errors, "mistake"),
        warnings => format!("{} and {}", counted(errors, "mistake"), counted(warnings, "warning")),
    }
}

/// `1 mistake`, `2 mistakes`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_no_mistake() {
        assert_eq!(mistakes(1, 2), "1 mistake and 1 warning");
        assert_eq!(mistakes(2, 2), "2 mistakes");
    }

    #[test]
    fn what_is_missing_comes_with_what_to_do() {
        assert_eq!(of_kernel("6.18.1-arch").state, State::Fine);
        assert_eq!(of_kernel("6.1.0-13-amd64").state, State::Remark);
        let old = of_kernel("4.19.0");
        assert_eq!((old.state, old.fix.is_some()), (State::Missing, true));
        let limits = "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 256                  files\n";
        let few = of_descriptors(limits, 40);
        assert_eq!((few.state, few.what.contains("368")), (State::Missing, true), "{few:?}");
        assert_eq!(of_descriptors(limits, 2).state, State::Fine);
        assert_eq!(of_descriptors("", 2).state, State::Fine);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of_directory("state_dir", &dir.path().join("a/b")).state, State::Fine);
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(
            of_directory("state_dir", &file.join("x")).state,
            State::Missing,
            "below a file is no directory"
        );
    }
}
