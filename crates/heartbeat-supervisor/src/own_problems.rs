//! Problems of heartbeatd itself, as the adapters report them: one that lasts opens an incident, and its end closes it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::time::Duration;

use heartbeat_status::{Incident, IncidentNo, Instant, OwnProblemKind};

/// A problem of an earlier heartbeatd is over if no adapter reports it within this time after the start.
const SEEN_AGAIN_WITHIN: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) message: String,
    pub(crate) incident: Option<IncidentNo>,
    /// When the incident opens, or ends.
    pub(crate) deadline: Option<Instant>,
    /// No adapter has reported it since this heartbeatd was started.
    pub(crate) inherited: bool,
}

/// What is wrong with heartbeatd now: at most one problem of each kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnProblems {
    pub(crate) known: BTreeMap<OwnProblemKind, Known>,
}

impl OwnProblems {
    /// Incidents of an earlier heartbeatd stay open until the problem ends, or until no adapter has reported it in
    /// time.
    pub(crate) fn restore(&mut self, now: Instant, open: &[Incident]) {
        for incident in open {
            let Some(kind) = incident.problem else { continue };
            let known = Known {
                message: incident.message.clone(),
                incident: Some(incident.no),
                deadline: Some(now + SEEN_AGAIN_WITHIN),
                inherited: true,
            };
            self.known.insert(kind, known);
        }
    }

    /// A problem whose incident opens or ends now.
    pub(crate) fn due(&self, now: Instant) -> Option<OwnProblemKind> {
        let due = |known: &Known| known.deadline.is_some_and(|deadline| deadline <= now);
        self.known.iter().find(|(_, known)| due(known)).map(|(kind, _)| *kind)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.known.values().filter_map(|known| known.deadline).min()
    }
}
