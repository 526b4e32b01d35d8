//! Problems of heartbeatd itself: one that lasts opens an incident, and its end closes it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_status::{Incident, IncidentNo, Instant, OwnProblemKind, RealmIx, Reason, StartFailure};

use crate::Supervisor;
use crate::outage::Outage;
use crate::own_problems::Known;

/// A problem that lasts this long opens an incident, which ends once the problem has been over for as long: one write
/// that succeeds on a full disk proves little.
const CONFIRM_AFTER: Duration = Duration::from_secs(5);
/// When the host has had nothing left for a start for this long, that is a problem of heartbeatd.
const EXHAUSTED_FOR: Duration = Duration::from_secs(30);

impl Supervisor {
    /// A part of heartbeatd has a problem (`Some`), or works (again).
    pub(crate) fn own_problem(&mut self, now: Instant, kind: OwnProblemKind, message: Option<String>) {
        let confirmed = now + CONFIRM_AFTER;
        match message {
            Some(message) => {
                let problem = self.own_problems.known.entry(kind).or_insert_with(|| Known {
                    message: String::new(),
                    incident: None,
                    deadline: Some(confirmed).filter(|_| !kind.is_told_otherwise()),
                    inherited: false,
                });
                if problem.incident.is_some() {
                    (problem.deadline, problem.inherited) = (None, false);
                }
                problem.message = message;
            }
            None => match self.own_problems.known.get_mut(&kind).filter(|known| known.incident.is_some()) {
                Some(known) => (known.deadline, known.inherited) = (Some(confirmed), false),
                None => drop(self.own_problems.known.remove(&kind)),
            },
        }
    }

    /// Opens the incidents of the problems that have lasted long enough, and ends those of the problems that are over.
    pub(crate) fn review_own_problems(&mut self, now: Instant) {
        while let Some(kind) = self.own_problems.due(now).filter(|_| !self.finished) {
            let Some(known) = self.own_problems.known.remove(&kind) else { return };
            match known.incident {
                Some(no) if known.inherited => {
                    self.close_own(now, no, "not seen again since heartbeatd was started anew")
                }
                Some(no) => self.close_own(now, no, "the problem of heartbeatd is over"),
                None => {
                    let (reason, message) = (Reason::OwnProblem, known.message.clone());
                    let outage = Outage { reason, message, since: now };
                    let no = self.open_incident((None, Some(kind)), outage, Vec::new());
                    let known = Known { incident: Some(no), deadline: None, ..known };
                    self.own_problems.known.insert(kind, known);
                }
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
                let outage = Outage { reason: Reason::OwnProblem, message, since: now };
                self.open_incident((None, Some(OwnProblemKind::Starts)), outage, Vec::new());
            }
            (Some(at), None) => self.resolve(now, at, "realms can be started again".to_string()),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    fn close_own(&mut self, now: Instant, no: IncidentNo, how: &str) {
        if let Some(at) = self.incidents.open.iter().position(|incident| incident.no == no) {
            self.resolve(now, at, how.to_string());
        }
    }
}
