//! Problems of heartbeatd itself: every adapter reports them here, readers see them at once, and the core opens and
//! closes their incidents.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heartbeat_status::{Instant, OwnProblem, OwnProblemKind};

use crate::clock;
use crate::inbox::{Inbox, Request};

/// A disk that has refused a write is believed again once no write has failed for this long: on a full disk some writes
/// fit in, and readers would see the problem come and go. So it is with the last descriptors. The core has a time of its
/// own for incidents, so it hears of each change at once.
const STEADY_FOR: Duration = Duration::from_secs(5);

/// A problem, and since when the part works again.
#[derive(Debug)]
struct Known {
    problem: OwnProblem,
    works_since: Option<Instant>,
}

/// The present problems. Every part that may find a problem shares this; a report never waits.
#[derive(Debug)]
pub(crate) struct OwnProblems {
    known: Mutex<BTreeMap<OwnProblemKind, Known>>,
    inbox: Arc<Inbox>,
}

impl OwnProblems {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Self {
        Self { known: Mutex::default(), inbox }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<OwnProblemKind, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part of heartbeatd has a problem. A second report of the same kind replaces the words and nothing else.
    pub(crate) fn report(&self, kind: OwnProblemKind, message: impl Into<String>) {
        let message = without_numbers(&message.into());
        let mut known = self.known();
        let since = match known.get_mut(&kind) {
            Some(before) => {
                let worked = before.works_since.take().is_some();
                if before.problem.message == message && !worked {
                    return;
                }
                before.problem.since
            }
            None => {
                tracing::error!(problem = %kind, "{message}");
                clock::now()
            }
        };
        let problem = OwnProblem { kind, message: message.clone(), since };
        known.insert(kind, Known { problem, works_since: None });
        self.tell(kind, Some(message));
    }

    /// That part of heartbeatd works, or works again; for some parts that has to last for a while.
    pub(crate) fn clear(&self, kind: OwnProblemKind) {
        let mut known = self.known();
        let Some(problem) = known.get_mut(&kind) else { return };
        if problem.works_since.is_none() {
            problem.works_since = Some(clock::now());
            self.tell(kind, None);
        }
        if !has_to_last(kind) {
            end(&mut known, kind);
        }
    }

    /// Ends the problems of parts that have worked long enough. To be called every few seconds.
    pub(crate) fn settle(&self, now: Instant) {
        let mut known = self.known();
        let steady = |known: &Known| known.works_since.is_some_and(|since| now.since(since) >= STEADY_FOR);
        let over: Vec<OwnProblemKind> =
            known.iter().filter(|(_, known)| steady(known)).map(|(kind, _)| *kind).collect();
        for kind in over {
            end(&mut known, kind);
        }
    }

    /// A file was damaged or removed, and there is another one in its place.
    pub(crate) fn note_damage(&self, message: String) {
        self.inbox.request(Request::Damage { message });
    }

    /// Records the outcome of the part's last attempt.
    pub(crate) fn set(&self, kind: OwnProblemKind, problem: Option<String>) {
        match problem {
            Some(message) => self.report(kind, message),
            None => self.clear(kind),
        }
    }

    /// All problems, ordered by kind.
    pub(crate) fn list(&self) -> Vec<OwnProblem> {
        self.known().values().map(|known| known.problem.clone()).collect()
    }

    /// Sends the reports in their order: the caller holds the lock.
    fn tell(&self, kind: OwnProblemKind, message: Option<String>) {
        self.inbox.request(Request::OwnProblem { kind, message });
    }
}

fn end(known: &mut BTreeMap<OwnProblemKind, Known>, kind: OwnProblemKind) {
    known.remove(&kind);
    tracing::info!(problem = %kind, "is over");
}

/// The part works again when that has lasted: it writes to a disk, or shares a limit with clients that come and go.
const fn has_to_last(kind: OwnProblemKind) -> bool {
    match kind {
        OwnProblemKind::Records
        | OwnProblemKind::Intent
        | OwnProblemKind::OpenIncidents
        | OwnProblemKind::History
        | OwnProblemKind::Logs
        | OwnProblemKind::Directories
        | OwnProblemKind::Descriptors => true,
        OwnProblemKind::Recovery
        | OwnProblemKind::Socket
        | OwnProblemKind::Starts
        | OwnProblemKind::Loop
        | OwnProblemKind::Probes
        | OwnProblemKind::Notifications => false,
    }
}

/// Removes the error number that the standard library adds, since it says nothing to a person.
fn without_numbers(message: &str) -> String {
    let mut parts = message.split(" (os error ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::Batch;

    fn told(inbox: &Inbox) -> Vec<(OwnProblemKind, Option<String>)> {
        let mut batch = Batch::default();
        inbox.take(&mut batch, Duration::ZERO);
        let requests = batch.requests.into_iter().map(|request| match request {
            Request::OwnProblem { kind, message } => (kind, message),
            other => panic!("{other:?}"),
        });
        requests.collect()
    }

    #[test]
    fn the_core_hears_of_changes_and_readers_see_them_with_their_age() {
        let inbox = Arc::new(Inbox::default());
        let problems = OwnProblems::new(Arc::clone(&inbox));
        problems.clear(OwnProblemKind::Socket);
        problems.report(OwnProblemKind::Intent, "full");
        problems.report(OwnProblemKind::Intent, "full");
        let since = problems.list()[0].since;
        problems.report(OwnProblemKind::Intent, "read-only (os error 30)");
        let full = (OwnProblemKind::Intent, Some("full".to_owned()));
        let read_only = (OwnProblemKind::Intent, Some("read-only".to_owned()));
        assert_eq!(told(&inbox), [full, read_only]);
        let known = problems.list();
        assert_eq!((known.len(), known[0].message.as_str(), known[0].since), (1, "read-only", since));
        problems.report(OwnProblemKind::Socket, "gone");
        problems.clear(OwnProblemKind::Socket);
        let gone = (OwnProblemKind::Socket, Some("gone".to_owned()));
        assert_eq!(told(&inbox), [gone, (OwnProblemKind::Socket, None)]);
    }

    #[test]
    fn a_disk_that_takes_one_write_of_many_is_one_problem_until_it_takes_all() {
        let inbox = Arc::new(Inbox::default());
        let problems = OwnProblems::new(Arc::clone(&inbox));
        problems.report(OwnProblemKind::OpenIncidents, "full");
        let since = problems.list()[0].since;
        let full = (OwnProblemKind::OpenIncidents, Some("full".to_owned()));
        let works = (OwnProblemKind::OpenIncidents, None);
        assert_eq!(told(&inbox), std::slice::from_ref(&full));
        for _ in 0..3 {
            for _ in 0..2 {
                problems.clear(OwnProblemKind::OpenIncidents);
            }
            problems.settle(clock::now());
            problems.report(OwnProblemKind::OpenIncidents, "full");
            assert_eq!(told(&inbox), [works.clone(), full.clone()], "the core hears of it at once");
        }
        problems.settle(clock::now() + 2 * STEADY_FOR);
        assert_eq!(problems.list().iter().map(|known| known.since).collect::<Vec<_>>(), [since]);
        problems.clear(OwnProblemKind::OpenIncidents);
        problems.settle(clock::now() + 2 * STEADY_FOR);
        assert_eq!(told(&inbox), [works]);
        assert!(problems.list().is_empty());
    }
}
