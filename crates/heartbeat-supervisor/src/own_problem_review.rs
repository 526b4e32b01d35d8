//! Problems of heartbeatd itself: one that lasts opens an incident, and its end closes it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::time::Duration;

use heartbeat_status::{Incident, IncidentNo, Instant, OwnProblemKind, RealmIx, Reason, StartFailure};

use crate::Supervisor;
use crate::own_problems::Known;

/// A problem that lasts this long opens an incident.
const CONFIRM_AFTER: Duration = Duration::from_secs(5);
/// When the host has had nothing left for a start for this long, that is a problem of heartbeatd.
const EXHAUSTED_FOR: Duration = Duration::from_secs(30);

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

    /// Reviews the problems that have lasted long enough, and those of an earlier heartbeatd that no adapter has
    /// reported again.
    pub(crate) fn review_own_problems(&mut self, now: Instant) {
        if self.finished {
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

    /// Whether the host has had nothing left for a start of the realm for too long.
    pub(crate) fn review_exhausted(&mut self, now: Instant, ix: RealmIx) {
        let start = self.realms[ix.index()].history.failed_start.as_ref();
        let exhausted = start.is_some_and(|start| {
            start.failure == StartFailure::HostExhausted && now.since(start.since) >= EXHAUSTED_FOR
        });
        if exhausted {
            self.incidents.exhausted.insert(ix);
        } else {
            self.incidents.exhausted.remove(&ix);
        }
    }

    pub(crate) fn tell_exhausted(&mut self, now: Instant) {
        let starts = |incident: &Arc<Incident>| incident.problem == Some(OwnProblemKind::Starts);
        let open = self.incidents.open.iter().position(starts);
        match (open, self.incidents.exhausted.first()) {
            (None, Some(first)) => {
                let more = self.incidents.exhausted.len() - 1;
                let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
                let start = self.realms[first.index()].history.failed_start.as_ref();
                let error = start.map(|start| start.message.as_str()).unwrap_or_default();
                let name = &self.plan.realm(*first).name;
                let message = format!("heartbeatd cannot start {name}{more}: {error}");
                self.open_own_incident(now, OwnProblemKind::Starts, Reason::OwnProblem, message);
            }
            (Some(at), None) => self.resolve(now, at, "realms can be started again".to_string()),
            (None, None) | (Some(_), Some(_)) => {}
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
