//! Problems of heartbeatd itself: every adapter reports them here, readers see them at once, and the core opens and
//! closes their incidents.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heartbeat_status::{OwnProblem, OwnProblemKind};

use crate::clock;
use crate::inbox::{Inbox, Request};

/// The present problems. Every part that may find a problem shares this; a report never waits.
#[derive(Debug)]
pub(crate) struct OwnProblems {
    known: Mutex<BTreeMap<OwnProblemKind, OwnProblem>>,
    inbox: Arc<Inbox>,
}

impl OwnProblems {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Self {
        Self { known: Mutex::default(), inbox }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<OwnProblemKind, OwnProblem>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part of heartbeatd has a problem. A second report of the same kind replaces the words and nothing else.
    pub(crate) fn report(&self, kind: OwnProblemKind, message: impl Into<String>) {
        let message = without_numbers(&message.into());
        let mut known = self.known();
        let since = known.get(&kind).map(|problem| (problem.since, problem.message == message));
        if since.is_some_and(|(_, same)| same) {
            return;
        }
        if since.is_none() {
            tracing::error!(problem = %kind, "{message}");
        }
        let since = since.map_or_else(clock::now, |(since, _)| since);
        known.insert(kind, OwnProblem { kind, message: message.clone(), since });
        self.tell(kind, Some(message));
    }

    /// That part of heartbeatd works, or works again.
    pub(crate) fn clear(&self, kind: OwnProblemKind) {
        let mut known = self.known();
        if known.remove(&kind).is_some() {
            tracing::info!(problem = %kind, "is over");
            self.tell(kind, None);
        }
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
        self.known().values().cloned().collect()
    }

    /// Sends the reports in their order: the caller holds the lock.
    fn tell(&self, kind: OwnProblemKind, message: Option<String>) {
        self.inbox.request(Request::OwnProblem { kind, message });
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
    use std::time::Duration;

    fn told(inbox: &Inbox) -> Vec<(OwnProblemKind, Option<String>)> {
        let mut batch = Batch::default();
        inbox.take(&mut batch, Some(Duration::ZERO));
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
        problems.set(OwnProblemKind::Intent, None);
        assert_eq!(told(&inbox), [(OwnProblemKind::Intent, None)]);
        assert!(problems.list().is_empty());
    }
}
