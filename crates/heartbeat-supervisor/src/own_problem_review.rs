//! Problems of heartbeatd itself: one that lasts opens an incident, and its end closes it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_status::{
    Incident, IncidentNo, IncidentStep, Instant, OwnProblemKind, RealmIx, Reason, StartFailure,
};

use crate::Supervisor;
use crate::outage::Outage;
use crate::own_problems::Known;

/// When the host has had nothing left for a start for this long, that is a problem of heartbeatd.
const EXHAUSTED_FOR: Duration = Duration::from_secs(30);

impl Supervisor {
    /// A part of heartbeatd has a problem (`Some`), or works (again).
    pub(crate) fn own_problem(&mut self, now: Instant, kind: OwnProblemKind, message: Option<String>) {
        match message {
            Some(message) => self.own_problems.broken(now, kind, message),
            None => self.own_problems.works(now, kind),
        }
    }

    /// Opens the incidents of the problems that have lasted long enough, and ends those of the problems that are over.
    pub(crate) fn review_own_problems(&mut self, now: Instant) {
        while let Some(kind) = self.own_problems.due(now).filter(|_| !self.finished) {
            let Some(known) = self.own_problems.known.remove(&kind) else { return };
            match (known.end(), known.incident) {
                (None, _) => self.tell_own(now, kind, known),
                (Some(how), Some(no)) => self.close_own(now, no, how),
                (Some(_), None) => {}
            }
        }
    }

    /// The problem has lasted: it opens an incident, or is another sign of the one that is open.
    fn tell_own(&mut self, now: Instant, kind: OwnProblemKind, mut known: Known) {
        let message = known.message.clone();
        let no = match self.own_problems.same_cause(kind, &known) {
            Some(no) => {
                self.update_own(now, no, None, format!("also: {message}"));
                no
            }
            None => {
                let outage = Outage { reason: Reason::OwnProblem, message, since: now };
                self.open_incident((None, Some(kind)), outage, Vec::new())
            }
        };
        known.incident = Some(no);
        self.own_problems.known.insert(kind, known);
    }

    fn update_own(
        &mut self,
        now: Instant,
        no: IncidentNo,
        problem: Option<(OwnProblemKind, String)>,
        note: String,
    ) {
        let Some(at) = self.incidents.open.iter().position(|incident| incident.no == no) else { return };
        if let Some((kind, message)) = problem {
            let incident = Arc::make_mut(&mut self.incidents.open[at]);
            (incident.problem, incident.message) = (Some(kind), message);
        }
        let incident = Arc::clone(&self.incidents.open[at]);
        self.tell_incident(now, IncidentStep::Updated, incident, Some(note));
    }

    /// A problem is over. The incident ends with the last of its problems; until then it has the words of another one.
    fn close_own(&mut self, now: Instant, no: IncidentNo, how: &str) {
        if let Some((kind, left)) = self.own_problems.left_of(no) {
            let message = left.message.clone();
            let note = format!("{how}; still: {message}");
            self.update_own(now, no, Some((kind, message)), note);
        } else if let Some(at) = self.incidents.open.iter().position(|incident| incident.no == no) {
            self.resolve(now, at, how.to_string());
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
}
