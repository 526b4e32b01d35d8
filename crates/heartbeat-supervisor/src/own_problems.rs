//! Problems of heartbeatd itself, as the adapters report them: one that lasts opens an incident, and its end closes it.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use core::time::Duration;

use heartbeat_status::{Incident, IncidentNo, Instant, OwnProblemKind, Reason};

use crate::Supervisor;

/// A problem that lasts this long opens an incident.
const CONFIRM_AFTER: Duration = Duration::from_secs(5);
/// A problem of an earlier heartbeatd that nobody reports within this time after the start is over.
const SEEN_AGAIN_WITHIN: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
struct Known {
    message: String,
    incident: Option<IncidentNo>,
    /// When the incident opens, or when one of an earlier heartbeatd is over.
    deadline: Option<Instant>,
}

/// What is wrong with heartbeatd now: at most one problem of each kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnProblems {
    known: BTreeMap<OwnProblemKind, Known>,
}

impl OwnProblems {
    /// Incidents of an earlier heartbeatd stay open until the problem ends, or is not seen again.
    pub(crate) fn restore(&mut self, now: Instant, open: &[Incident]) {
        for incident in open {
            let Some(kind) = incident.problem else { continue };
            let known = Known {
                message: incident.message.clone(),
                incident: Some(incident.no),
                deadline: Some(now + SEEN_AGAIN_WITHIN),
            };
            self.known.insert(kind, known);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.known.values().filter_map(|known| known.deadline).min()
    }
}

impl Supervisor {
    /// A part of heartbeatd has a problem (`Some`), or works (again).
    pub(crate) fn own_problem(&mut self, now: Instant, kind: OwnProblemKind, message: Option<String>) {
        match message {
            Some(message) => {
                let problem = self.own_problems.known.entry(kind).or_insert_with(|| Known {
                    message: String::new(),
                    incident: None,
                    deadline: Some(now + CONFIRM_AFTER).filter(|_| !kind.is_told_otherwise()),
                });
                if problem.incident.is_some() {
                    problem.deadline = None;
                }
                problem.message = message;
            }
            None => {
                let over = self.own_problems.known.remove(&kind).and_then(|known| known.incident);
                self.close_own(now, over, "the problem of heartbeatd is over");
            }
        }
    }

    /// Problems that have lasted long enough, and those of an earlier heartbeatd that nobody has seen again.
    pub(crate) fn review_own_problems(&mut self, now: Instant) {
        if self.halted {
            return;
        }
        let due = |known: &Known| known.deadline.is_some_and(|deadline| deadline <= now);
        while let Some((kind, known)) = self
            .own_problems
            .known
            .iter()
            .find(|(_, known)| due(known))
            .map(|(kind, known)| (*kind, known.clone()))
        {
            if known.incident.is_some() {
                self.own_problems.known.remove(&kind);
                self.close_own(now, known.incident, "not seen again since heartbeatd was started anew");
                continue;
            }
            let no = self.open_own_incident(now, kind, Reason::OwnProblem, known.message);
            if let Some(known) = self.own_problems.known.get_mut(&kind) {
                (known.incident, known.deadline) = (Some(no), None);
            }
        }
    }

    fn close_own(&mut self, now: Instant, incident: Option<IncidentNo>, how: &str) {
        let open = &self.incidents.open;
        let Some(at) = incident.and_then(|no| open.iter().position(|incident| incident.no == no)) else {
            return;
        };
        self.resolve(now, at, how.to_string());
    }
}
