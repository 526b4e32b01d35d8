//! Events as lines for a person at a terminal. Written by a thread of its own: a terminal that is held with
//! Ctrl-S must not hold supervision.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use heartbeat_status::{Event, EventKind, Instant, RestartResult, Status, sanitise_line};

use crate::driver::Tap;
use crate::{DaemonError, clock};

/// Lines that may wait for a slow terminal; what comes on top is dropped and counted.
const MAX_LINES_QUEUED: usize = 4_096;
/// Width of the column that names the realm.
const NAME_COLUMN_CHARS: usize = 10;

/// What is told, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Narration {
    /// Every step, or only changes of status and ends of restarts.
    pub every_step: bool,
    /// With ANSI colours.
    pub colour: bool,
}

/// The writing thread. Dropping it waits until everything told so far is written.
#[derive(Debug)]
pub struct Narrator {
    lines: Option<SyncSender<Event>>,
    thread: Option<JoinHandle<()>>,
}

impl Narrator {
    /// Starts writing to `out`, and returns the tap that feeds it.
    ///
    /// # Errors
    /// [`DaemonError::Runtime`] when no thread can be started.
    pub fn start(narration: Narration, out: impl Write + Send + 'static) -> Result<(Self, Tap), DaemonError> {
        let (lines, queue) = sync_channel(MAX_LINES_QUEUED);
        let dropped = Arc::new(AtomicU64::new(0));
        let (lost, began) = (Arc::clone(&dropped), clock::now());
        let thread = std::thread::Builder::new()
            .name("hb-narrator".to_owned())
            .spawn(move || write_all(&queue, out, narration, began, &lost))
            .map_err(|source| DaemonError::Runtime { what: "narrator thread", source })?;
        let feed = lines.clone();
        let tap: Tap = Box::new(move |event: &Event| {
            if let Err(TrySendError::Full(_)) = feed.try_send(event.clone()) {
                dropped.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok((Self { lines: Some(lines), thread: Some(thread) }, tap))
    }
}

impl Drop for Narrator {
    fn drop(&mut self) {
        // The thread ends when the last sender is gone; the tap's went with the driver.
        self.lines = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

fn write_all(queue: &Receiver<Event>, mut out: impl Write, how: Narration, began: Instant, lost: &AtomicU64) {
    for event in queue {
        let dropped = lost.swap(0, Ordering::Relaxed);
        if dropped > 0 && writeln!(out, "... {dropped} lines dropped: the terminal was too slow").is_err() {
            return;
        }
        let Some(line) = line(&event, how) else { continue };
        let seconds = event.at.since(began).as_secs_f64();
        // A closed terminal ends the telling, nothing else.
        if writeln!(out, "{seconds:>7.1}s  {line}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// One event as a line without its time; `None` for what is not told.
fn line(event: &Event, how: Narration) -> Option<String> {
    let (word, colour, text) = words(&event.kind, how.every_step)?;
    let name = event.realm.as_ref().map_or("heartbeatd", |(_, name)| name.as_str());
    let word = format!("{word:<11}");
    let word = if how.colour { format!("\x1b[{colour}m{word}\x1b[0m") } else { word };
    Some(format!("{name:<NAME_COLUMN_CHARS$}  {word}  {}", sanitise_line(&text)).trim_end().to_owned())
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

/// The word in front, its colour, and the rest; `None` for what is not told.
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
        EventKind::Booted => {
            ("running".to_owned(), GREEN, "everything that starts by itself has been started".to_owned())
        }
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

/// What is told only step by step.
fn steps(kind: &EventKind) -> Option<(String, &'static str, String)> {
    let told = match kind {
        EventKind::ProbeChanged { outcome, .. } => {
            ("probe".to_owned(), if *outcome == "pass" { DIM } else { RED }, kind.fact()?.1)
        }
        EventKind::RunStarted { pid, run } => {
            ("started".to_owned(), DIM, format!("pid {pid}, generation {run}"))
        }
        EventKind::MainChanged { pid, .. } => {
            ("started".to_owned(), DIM, format!("pid {pid} is its main process now"))
        }
        EventKind::Said { .. } => ("says".to_owned(), DIM, kind.fact()?.1),
        EventKind::RunExited { exit, expected, .. } => {
            let words = if *expected { kind.fact()?.1 } else { format!("{exit} on its own") };
            ("ended".to_owned(), if *expected { DIM } else { RED }, words)
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
    use heartbeat_status::{RealmIx, RealmName, Reason, Signal};

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
        let plain = line(&event(kind), Narration { every_step: false, colour: false }).unwrap();
        assert_eq!(plain, "db          down         http: ?[2Jgone");
    }

    #[test]
    fn steps_are_told_only_when_asked_for() {
        let kind = EventKind::Signalled {
            run: heartbeat_status::RunId(1),
            signal: Signal::TERM,
            tree: true,
            kill_in: None,
        };
        assert_eq!(line(&event(kind.clone()), Narration { every_step: false, colour: false }), None);
        assert!(
            line(&event(kind), Narration { every_step: true, colour: true }).unwrap().contains("SIGTERM")
        );
    }
}
