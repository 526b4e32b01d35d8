//! Events as lines for a person at a terminal. A thread of its own writes them, because a terminal that is held with
//! Ctrl-S must not hold supervision. The demo tells its story in sentences between them.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use heartbeat_status::{
    Event, EventKind, Instant, Outcome, RealmName, Reason, RestartResult, Status, printed, sanitise_line,
};

use crate::clock;
use crate::error::DaemonError;

/// Receives every event, on the driver's thread: it must not block.
pub(crate) type EventSink = Box<dyn FnMut(&Event) + Send>;

/// Events that may wait for a slow terminal; the reporter drops and counts the rest.
const MAX_LINES_QUEUED: usize = 4_096;
/// Width of the column that names the realm.
const NAME_COLUMN_CHARS: usize = 10;
/// Columns before the text of an event: time, realm and word.
const TEXT_COLUMN_CHARS: usize = 35;
/// Fewest columns for the text of an event beside its time, realm and word; on a narrower terminal later lines stand
/// further to the left.
const MIN_TEXT_CHARS: usize = 24;
/// Indentation of later lines there.
const NARROW_INDENT_CHARS: usize = 4;
/// Stopped realms that the line about the boot names; it counts the rest.
const MAX_NAMES: usize = 8;

/// How much the reporter writes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportStyle {
    /// Every step, or only changes of status and ends of restarts.
    pub every_step: bool,
    /// With ANSI colours.
    pub colour: bool,
    /// Columns of the terminal; the reporter breaks lines between words there. `None` where there is no terminal.
    pub columns: Option<usize>,
}

/// An entry for the writing thread.
#[derive(Debug)]
enum Entry {
    Event(Event),
    Sentence(String),
}

/// Writes sentences between the events.
#[derive(Clone, Debug)]
pub struct Sentences(SyncSender<Box<Entry>>);

impl Sentences {
    /// Writes a sentence on lines of its own. If the terminal is too slow, the sentence is lost.
    pub fn write(&self, text: impl Into<String>) {
        // The demo continues without a reader of its story.
        let _ = self.0.try_send(Box::new(Entry::Sentence(text.into())));
    }
}

/// The writing thread. Dropping it waits until every event so far is written.
#[derive(Debug)]
pub struct ConsoleReporter {
    /// In boxes, since the queue has a place for each entry from the beginning.
    entries: Option<SyncSender<Box<Entry>>>,
    thread: Option<JoinHandle<()>>,
}

impl ConsoleReporter {
    /// Starts writing to `out`, and returns the sink that feeds it.
    ///
    /// # Errors
    /// [`DaemonError::Runtime`] when no thread can be started.
    pub fn start(
        style: ReportStyle,
        out: impl Write + Send + 'static,
    ) -> Result<(Self, EventSink), DaemonError> {
        let (entries, queue) = sync_channel(MAX_LINES_QUEUED);
        let dropped = Arc::new(AtomicU64::new(0));
        let (lost, began) = (Arc::clone(&dropped), clock::now());
        let thread = std::thread::Builder::new()
            .name("hb-console".to_owned())
            .spawn(move || {
                heartbeat_process::work_in_background();
                write_all(&queue, out, style, began, &lost);
            })
            .map_err(|source| DaemonError::Runtime { what: "console thread", source })?;
        let feed = entries.clone();
        let sink: EventSink = Box::new(move |event: &Event| {
            if let Err(TrySendError::Full(_)) = feed.try_send(Box::new(Entry::Event(event.clone()))) {
                dropped.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok((Self { entries: Some(entries), thread: Some(thread) }, sink))
    }

    /// A writer of sentences; `None` once the reporter ends.
    #[must_use]
    pub fn sentences(&self) -> Option<Sentences> {
        self.entries.clone().map(Sentences)
    }
}

impl Drop for ConsoleReporter {
    fn drop(&mut self) {
        // The thread ends when the last sender is gone; the sink's went with the driver.
        self.entries = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

fn write_all(
    queue: &Receiver<Box<Entry>>,
    mut out: impl Write,
    style: ReportStyle,
    began: Instant,
    lost: &AtomicU64,
) {
    let mut report = Report { style, statuses: BTreeMap::new(), gap: true };
    for entry in queue {
        let dropped = lost.swap(0, Ordering::Relaxed);
        if dropped > 0 && writeln!(out, "... {dropped} lines dropped: the terminal was too slow").is_err() {
            return;
        }
        let text = match *entry {
            Entry::Sentence(text) => report.sentence(&text),
            Entry::Event(event) => match report.line(&event) {
                Some(line) => {
                    let line = printed::unquoted(&line);
                    let line = format!("{:>7.1}s  {line}", event.at.since(began).as_secs_f64());
                    broken(&line, TEXT_COLUMN_CHARS, style.columns)
                }
                None => continue,
            },
        };
        // A closed terminal ends the report and nothing else.
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// Breaks a line between words where it reaches the edge of the terminal, and indents what follows; on a narrow terminal
/// by less. Escapes of colours take no room.
fn broken(line: &str, indent: usize, columns: Option<usize>) -> String {
    let Some(columns) = columns else { return line.to_owned() };
    let indent = if columns < indent + MIN_TEXT_CHARS { NARROW_INDENT_CHARS.min(indent) } else { indent };
    folded(line, indent, columns, "")
}

/// A line in pieces, each but the last of which ends in `end`.
fn folded(line: &str, indent: usize, columns: usize, end: &str) -> String {
    let mut text = String::new();
    let (mut width, mut begun) = (0, false);
    let limit = columns.saturating_sub(end.chars().count());
    for word in line.split_inclusive(' ') {
        let chars = visible_chars(word.trim_end());
        if begun && chars > 0 && width + chars > limit {
            text.truncate(text.trim_end().len());
            text.push_str(end);
            text.push('\n');
            text.push_str(&" ".repeat(indent));
            width = indent;
        }
        // A line never begins with its own indentation alone.
        begun |= chars > 0;
        text.push_str(word);
        width += visible_chars(word);
    }
    text
}

/// Characters of a text that take room: without escapes of colours.
fn visible_chars(text: &str) -> usize {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or_default().chars().count();
    let behind = |part: &str| part.split_once('m').map_or(0, |(_, rest)| rest.chars().count());
    first + parts.map(behind).sum::<usize>()
}

impl ReportStyle {
    /// Lines for the terminal: broken between words. An indented line is a command, which stays one where a person
    /// pastes it.
    #[must_use]
    pub fn fitted(&self, text: &str) -> String {
        const COMMAND_INDENT: &str = "    ";
        const CONTINUED_INDENT_CHARS: usize = 8;
        let line = |line: &str| match self.columns {
            Some(columns) if line.starts_with(COMMAND_INDENT) => {
                folded(line, CONTINUED_INDENT_CHARS, columns, " \\")
            }
            columns => broken(line, 0, columns),
        };
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Makes lines of events.
struct Report {
    style: ReportStyle,
    /// The last status of each realm, with its reason and message.
    statuses: BTreeMap<RealmName, (Status, Reason, String)>,
    /// The last line is empty, or there is none yet.
    gap: bool,
}

impl Report {
    /// A sentence of the story, between empty lines; an indented line is one to type.
    fn sentence(&mut self, text: &str) -> String {
        let text = self.style.fitted(text);
        let text = if self.style.colour { format!("\x1b[1m{text}\x1b[0m\n") } else { text + "\n" };
        if std::mem::replace(&mut self.gap, true) { text } else { format!("\n{text}") }
    }

    /// One event as a line without its time; `None` for an event that the reporter does not show.
    fn line(&mut self, event: &Event) -> Option<String> {
        if let (Some((_, name)), EventKind::StatusChanged { to, reason, message, .. }) =
            (&event.realm, &event.kind)
        {
            self.statuses.insert(name.clone(), (*to, *reason, message.clone()));
        }
        let (word, colour, text) = match &event.kind {
            EventKind::Booted { missing, .. } => self.booted(&event.kind, missing.is_empty()),
            EventKind::ProbeChanged { .. } if !self.is_news(event) => return None,
            kind => words(kind, self.style.every_step)?,
        };
        self.gap = false;
        let name = event.realm.as_ref().map_or("heartbeatd", |(_, name)| name.as_str());
        let word = format!("{word:<11}");
        let word = if self.style.colour { format!("\x1b[{colour}m{word}\x1b[0m") } else { word };
        Some(format!("{name:<NAME_COLUMN_CHARS$}  {word}  {}", sanitise_line(&text)).trim_end().to_owned())
    }

    /// Whether a probe event is news: the realm is up. Every realm fails its probes on its way up.
    fn is_news(&self, event: &Event) -> bool {
        let failed = matches!(event.kind, EventKind::ProbeChanged { outcome: Outcome::Fail { .. }, .. });
        let known = event.realm.as_ref().and_then(|(_, name)| self.statuses.get(name));
        failed && matches!(known, Some((Status::Up | Status::Degraded, ..)))
    }

    /// The line about the end of the boot. Where everything else is up, it names the realms that operators have stopped.
    fn booted(&self, booted: &EventKind, complete: bool) -> (String, &'static str, String) {
        let word = || "running".to_owned();
        let stopped: Vec<String> = self
            .statuses
            .iter()
            .filter(|(_, (_, reason, _))| *reason == Reason::StoppedByOperator)
            .map(|(name, (.., message))| format!("{name}: {message}"))
            .collect();
        if !complete || stopped.is_empty() {
            let text = booted.fact().map_or_else(String::new, |(_, text)| text);
            return (word(), if complete { GREEN } else { YELLOW }, text);
        }
        let text = match stopped.len() {
            some if some == self.statuses.len() => format!("every realm is stopped: {}", listed(&stopped)),
            _ => format!("everything else is up; stopped: {}", listed(&stopped)),
        };
        (word(), YELLOW, text)
    }
}

/// The first entries, and how many more there are.
fn listed(entries: &[String]) -> String {
    let mut text = entries.iter().take(MAX_NAMES).cloned().collect::<Vec<_>>().join(", ");
    let more = entries.len().saturating_sub(MAX_NAMES);
    if more > 0 {
        text += &format!(", and {more} more");
    }
    text
}

const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";
const DIM: &str = "2";

fn status_colour(status: Status) -> &'static str {
    match status {
        Status::Up | Status::Done => GREEN,
        Status::Failed | Status::Down => "1;31",
        Status::Blocked | Status::Restarting | Status::Degraded => YELLOW,
        Status::Starting | Status::Stopping | Status::Stopped | Status::Paused | Status::Unknown => DIM,
    }
}

/// The word in front, its colour, and the rest; `None` for an event that the reporter does not show.
fn words(kind: &EventKind, every_step: bool) -> Option<(String, &'static str, String)> {
    let told = match kind {
        EventKind::StatusChanged { to, message, .. } => (to.to_string(), status_colour(*to), message.clone()),
        EventKind::RestartClosed { result, .. } => {
            let (word, colour) = match result {
                RestartResult::Verified => ("recovered", "1;32"),
                RestartResult::Failed => ("restart", RED),
                RestartResult::Abandoned => ("restart", DIM),
            };
            (word.to_owned(), colour, kind.fact()?.1)
        }
        EventKind::BudgetSpent { .. } => ("spent".to_owned(), "1;31", kind.fact()?.1),
        EventKind::CooldownBegan { .. } => ("cooldown".to_owned(), "1;31", kind.fact()?.1),
        EventKind::StartFailed { error, .. } => ("start".to_owned(), RED, error.clone()),
        EventKind::HookFailed { .. } | EventKind::RestartCommand { ended: true, failure: Some(_) } => {
            ("command".to_owned(), RED, kind.fact()?.1)
        }
        EventKind::Unbounded { .. } => ("limits".to_owned(), YELLOW, kind.fact()?.1),
        EventKind::Reloaded { summary } => ("reloaded".to_owned(), GREEN, summary.clone()),
        EventKind::ShutdownStarted => {
            ("stopping".to_owned(), YELLOW, "everything, dependents first".to_owned())
        }
        EventKind::ShutdownFinished { left: 0 } => {
            ("stopped".to_owned(), GREEN, "nothing is left running".to_owned())
        }
        EventKind::ShutdownFinished { left } => {
            ("stopped".to_owned(), RED, format!("{left} realms could not be ended by SIGKILL"))
        }
        _ if every_step => return steps(kind),
        _ => return None,
    };
    Some(told)
}

/// Events that appear only with `every_step`.
fn steps(kind: &EventKind) -> Option<(String, &'static str, String)> {
    let told = match kind {
        EventKind::ProbeChanged { .. } => ("probe".to_owned(), RED, kind.fact()?.1),
        EventKind::RunStarted { pid, run } => {
            ("started".to_owned(), DIM, format!("pid {pid}, generation {}", run.generation()))
        }
        EventKind::Forked { .. } => ("ended".to_owned(), DIM, kind.fact()?.1),
        EventKind::MainChanged { pid, .. } => {
            ("started".to_owned(), DIM, format!("pid {pid} is its main process now"))
        }
        EventKind::Said { .. } => ("says".to_owned(), DIM, kind.fact()?.1),
        EventKind::RunExited { exit, expected, .. } => {
            let failed = !*expected && !exit.is_zero();
            let words = if failed { format!("{exit} on its own") } else { kind.fact()?.1 };
            ("ended".to_owned(), if failed { RED } else { DIM }, words)
        }
        EventKind::Signalled { .. } => ("signal".to_owned(), DIM, kind.fact()?.1),
        EventKind::RestartCommand { .. } => ("command".to_owned(), DIM, kind.fact()?.1),
        EventKind::RestartOpened { .. } => {
            ("restart".to_owned(), YELLOW, format!("begins: {}", kind.fact()?.1))
        }
        EventKind::Commanded { action, reason } => {
            let reason = reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
            ("command".to_owned(), DIM, format!("{action}{reason}"))
        }
        _ => return None,
    };
    Some(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_status::{FailReason, Progress, RealmIx, RealmName, Signal};

    fn report(every_step: bool, colour: bool) -> Report {
        Report {
            style: ReportStyle { every_step, colour, columns: None },
            statuses: BTreeMap::new(),
            gap: true,
        }
    }

    fn event(kind: EventKind) -> Event {
        let realm = Some((RealmIx(0), RealmName::new("db").unwrap()));
        Event { seq: 1, at: Instant::ZERO, realm, kind }
    }

    #[test]
    fn a_line_names_the_realm_the_status_and_why_and_carries_no_escape_of_others() {
        let kind = EventKind::StatusChanged {
            from: Status::Up,
            to: Status::Down,
            reason: Reason::ProbeFailed,
            message: "http: \x1b[2Jgone".to_owned(),
        };
        let plain = report(false, false).line(&event(kind)).unwrap();
        assert_eq!(plain, "db          down         http: ?[2Jgone");
    }

    #[test]
    fn steps_are_shown_only_when_every_step_is() {
        let run = heartbeat_status::RunId(1);
        let kind = EventKind::Signalled { run, signal: Signal::TERM, tree: true, kill_in: None };
        assert_eq!(report(false, false).line(&event(kind.clone())), None);
        assert!(report(true, true).line(&event(kind)).unwrap().contains("SIGTERM"));
    }

    #[test]
    fn the_end_of_the_boot_names_the_realms_that_are_not_up() {
        let mut report = report(false, false);
        let booted = |adopted, missing: &[(&str, Status)]| {
            let missing = missing.iter().map(|(name, status)| (RealmName::new(name).unwrap(), *status));
            Event { realm: None, ..event(EventKind::Booted { adopted, missing: missing.collect() }) }
        };
        let blocked = [("api", Status::Blocked), ("db", Status::Restarting)];
        assert_eq!(
            report.line(&booted(0, &blocked)).unwrap(),
            "heartbeatd  running      the boot is over, but api is blocked, db is restarting"
        );
        assert_eq!(
            report.line(&booted(0, &[])).unwrap(),
            "heartbeatd  running      everything that starts by itself is up"
        );
        // No event tells of a realm that an earlier heartbeatd left as it is.
        assert_eq!(
            report.line(&booted(2, &[("db", Status::Down)])).unwrap(),
            "heartbeatd  running      2 realms went on without a break; the boot is over, but db is down"
        );
        let (from, to, reason) = (Status::Stopped, Status::Stopped, Reason::StoppedByOperator);
        let message = "stopped by root".to_owned();
        report.line(&event(EventKind::StatusChanged { from, to, reason, message }));
        assert_eq!(
            report.line(&booted(0, &[])).unwrap(),
            "heartbeatd  running      every realm is stopped: db: stopped by root"
        );
    }

    #[test]
    fn probes_are_shown_when_a_realm_that_is_up_fails_them() {
        const FAIL: Outcome = Outcome::Fail { reason: FailReason::HeadersTimeout, phase: None };
        let mut report = report(true, false);
        let mut probe = |outcome| {
            let (probe, detail) = ("http".to_owned(), "no answer within 500 ms".to_owned());
            let progress = Progress { count: 1, goal: 3 };
            let kind = EventKind::ProbeChanged { probe, outcome, detail, progress };
            report.line(&event(kind))
        };
        assert_eq!(probe(FAIL), None, "on its way up");
        let (from, to, reason, message) = (Status::Starting, Status::Up, Reason::Healthy, String::new());
        report.line(&event(EventKind::StatusChanged { from, to, reason, message }));
        let mut probe = |outcome| {
            let (probe, detail) = ("http".to_owned(), "no answer within 500 ms".to_owned());
            let progress = Progress { count: 1, goal: 3 };
            let kind = EventKind::ProbeChanged { probe, outcome, detail, progress };
            report.line(&event(kind))
        };
        assert_eq!(probe(Outcome::Pass), None);
        assert_eq!(
            probe(FAIL).unwrap(),
            "db          probe        http fails: no answer within 500 ms (1 of 3)"
        );
    }

    #[test]
    fn a_line_is_broken_between_words() {
        let line = "    0.0s  db          down         the port is open and the server does not answer";
        let first = "    0.0s  db          down         the port is open and the";
        let second = " ".repeat(TEXT_COLUMN_CHARS) + "server does not answer";
        assert_eq!(broken(line, TEXT_COLUMN_CHARS, Some(64)), format!("{first}\n{second}"));
        let narrow = broken(line, TEXT_COLUMN_CHARS, Some(40));
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
        let words = |text: &str| text.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&narrow), words(line), "no word is cut");
        let coloured = line.replacen("db", "\x1b[31mdb\x1b[0m", 1);
        let plain =
            broken(&coloured, TEXT_COLUMN_CHARS, Some(64)).replace("\x1b[31m", "").replace("\x1b[0m", "");
        assert_eq!(plain, broken(line, TEXT_COLUMN_CHARS, Some(64)), "colours take no room");
        assert_eq!(broken(line, TEXT_COLUMN_CHARS, None), line);
        let style = ReportStyle { every_step: true, colour: false, columns: Some(40) };
        let command = "    heartbeat-cli -H unix:/tmp/demo/h.sock status --watch";
        assert_eq!(
            style.fitted(command),
            "    heartbeat-cli -H \\\n        unix:/tmp/demo/h.sock status \\\n        --watch",
            "a shell reads the lines as one command"
        );
    }
}
