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
            Some(message) => {
                self.own_problems.broken(now, kind, message);
                self.rename_own(now, kind);
            }
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

    /// The problem has lasted: it opens an incident, or is another sign of the one that is open, which is no news.
    fn tell_own(&mut self, now: Instant, kind: OwnProblemKind, mut known: Known) {
        let message = known.message.clone();
        let no = match self.own_problems.same_cause(kind, &known) {
            Some(no) => no,
            None => {
                let outage = Outage { reason: Reason::OwnProblem, message, since: now, outlived: false };
                self.open_incident((None, Some(kind)), outage, Vec::new())
            }
        };
        known.incident = Some(no);
        self.own_problems.known.insert(kind, known);
    }

    /// The incident has the words of a problem that lasts. Receivers hear of it if the words are others.
    fn update_own(
        &mut self,
        now: Instant,
        no: IncidentNo,
        (kind, message): (OwnProblemKind, String),
        note: String,
    ) {
        let Some(at) = self.incidents.open.iter().position(|incident| incident.no == no) else { return };
        let incident = Arc::make_mut(&mut self.incidents.open[at]);
        incident.problem = Some(kind);
        if incident.message != message {
            incident.message = message;
            let incident = Arc::clone(&self.incidents.open[at]);
            self.tell_incident(now, IncidentStep::Updated, incident, Some(note));
        }
    }

    /// A problem is over. The incident ends with the last of its problems; until then it has the words of one that
    /// lasts.
    fn close_own(&mut self, now: Instant, no: IncidentNo, how: &str) {
        let Some(at) = self.incidents.open.iter().position(|incident| incident.no == no) else { return };
        if self.own_problems.of(no).next().is_none() {
            self.resolve(now, at, how.to_string());
            return;
        }
        let left = self.own_problems.of(no).find(|(_, known)| known.end().is_none());
        if let Some((kind, message)) = left.map(|(kind, known)| (kind, known.message.clone())) {
            let note = format!("{how}; still: {message}");
            self.update_own(now, no, (kind, message), note);
        }
    }

    /// A problem is back while the words of its incident are those of one that is over.
    fn rename_own(&mut self, now: Instant, kind: OwnProblemKind) {
        let Some(known) = self.own_problems.known.get(&kind) else { return };
        let Some(no) = known.incident else { return };
        let shown = self.incidents.open.iter().find(|incident| incident.no == no);
        let shown = shown.and_then(|incident| incident.problem);
        if !self.own_problems.of(no).any(|(of, _)| Some(of) == shown) {
            let message = known.message.clone();
            let note = format!("still: {message}");
            self.update_own(now, no, (kind, message), note);
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
                let outage = Outage { reason: Reason::OwnProblem, message, since: now, outlived: false };
                self.open_incident((None, Some(OwnProblemKind::Starts)), outage, Vec::new());
            }
            (Some(at), None) => self.resolve(now, at, "realms can be started again".to_string()),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}
