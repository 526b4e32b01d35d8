//! Problems of heartbeatd itself, as the adapters report them: one that lasts opens an incident, and its end closes it.
//! What one disk causes is one incident.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::time::Duration;

use heartbeat_status::{Incident, IncidentNo, Instant, OwnProblemKind};

/// A problem that lasts this long opens an incident. It is over once the part has worked for as long: one write that
/// succeeds on a full disk proves little.
const CONFIRM_AFTER: Duration = Duration::from_secs(5);
/// A problem of an earlier heartbeatd is over if no adapter reports it within this time after the start.
const SEEN_AGAIN_WITHIN: Duration = Duration::from_secs(30);
/// Signs of a disk that fails come within this of each other.
const SAME_CAUSE_WITHIN: Duration = Duration::from_secs(60);

/// A file in the state directory cannot be written.
fn is_of_state_directory(kind: OwnProblemKind) -> bool {
    matches!(kind, OwnProblemKind::Intent | OwnProblemKind::OpenIncidents | OwnProblemKind::History)
}

/// Something cannot be written: one disk that is full or read-only shows in several parts of heartbeatd.
fn is_of_disk(kind: OwnProblemKind) -> bool {
    is_of_state_directory(kind)
        || matches!(kind, OwnProblemKind::Records | OwnProblemKind::Logs | OwnProblemKind::Directories)
}

/// What the adapters have reported last.
#[derive(Clone, Copy, Debug)]
enum Course {
    /// Nothing since this heartbeatd was started; the problem is over at this time.
    Inherited { over: Instant },
    /// The part does not work; an incident opens at this time if none is open.
    Broken { confirmed: Instant },
    /// The part works again; the problem is over at this time.
    Works { over: Instant },
}

#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) message: String,
    pub(crate) incident: Option<IncidentNo>,
    /// This heartbeatd knows it since then.
    since: Instant,
    course: Course,
}

impl Known {
    /// When the incident opens, or the problem is over.
    fn deadline(&self, kind: OwnProblemKind) -> Option<Instant> {
        match self.course {
            Course::Inherited { over } | Course::Works { over } => Some(over),
            Course::Broken { confirmed } => {
                Some(confirmed).filter(|_| self.incident.is_none() && !kind.is_told_otherwise())
            }
        }
    }

    /// How the problem ended; `None` while the part does not work.
    pub(crate) fn end(&self) -> Option<&'static str> {
        match self.course {
            Course::Inherited { .. } => Some("not seen again since heartbeatd was started anew"),
            Course::Works { .. } => Some("the problem of heartbeatd is over"),
            Course::Broken { .. } => None,
        }
    }
}

/// What is wrong with heartbeatd now: at most one problem of each kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnProblems {
    pub(crate) known: BTreeMap<OwnProblemKind, Known>,
}

impl OwnProblems {
    /// Incidents of an earlier heartbeatd stay open until the problem ends, or until no adapter has reported it in
    /// time. The core itself finds out whether the host has enough left for starts.
    pub(crate) fn restore(&mut self, now: Instant, open: &[Incident]) {
        for incident in open {
            let Some(kind) = incident.problem.filter(|kind| *kind != OwnProblemKind::Starts) else {
                continue;
            };
            let (message, incident) = (incident.message.clone(), Some(incident.no));
            let course = Course::Inherited { over: now + SEEN_AGAIN_WITHIN };
            self.known.insert(kind, Known { message, incident, since: now, course });
        }
    }

    /// A part of heartbeatd does not work. A problem that comes back before it is over is the same one.
    pub(crate) fn broken(&mut self, now: Instant, kind: OwnProblemKind, message: String) {
        let since = self.known.get(&kind).map_or(now, |known| known.since);
        let incident = self.known.get(&kind).and_then(|known| known.incident);
        let course = Course::Broken { confirmed: since + CONFIRM_AFTER };
        self.known.insert(kind, Known { message, incident, since, course });
    }

    /// A part of heartbeatd works, or works again.
    pub(crate) fn works(&mut self, now: Instant, kind: OwnProblemKind) {
        let known = self.known.get_mut(&kind);
        if let Some(known) = known.filter(|known| !matches!(known.course, Course::Works { .. })) {
            known.course = Course::Works { over: now + CONFIRM_AFTER };
        }
    }

    /// The incident of which this problem is another sign: a file of the state directory cannot be written either, or
    /// the other sign of a disk came shortly before.
    pub(crate) fn same_cause(&self, kind: OwnProblemKind, problem: &Known) -> Option<IncidentNo> {
        let is_sign = |(other, known): &(&OwnProblemKind, &Known)| {
            let together = problem.since.since(known.since) <= SAME_CAUSE_WITHIN;
            is_of_disk(kind) && is_of_disk(**other) && (is_of_state_directory(**other) || together)
        };
        self.known.iter().filter(is_sign).find_map(|(_, known)| known.incident)
    }

    /// The problems of an incident.
    pub(crate) fn of(&self, no: IncidentNo) -> impl Iterator<Item = (OwnProblemKind, &Known)> {
        let of = self.known.iter().filter(move |(_, known)| known.incident == Some(no));
        of.map(|(kind, known)| (*kind, known))
    }

    /// A problem whose incident opens, or that is over.
    pub(crate) fn due(&self, now: Instant) -> Option<OwnProblemKind> {
        let is_due = |kind: OwnProblemKind, known: &Known| {
            known.deadline(kind).is_some_and(|deadline| deadline <= now)
        };
        self.known.iter().find(|(kind, known)| is_due(**kind, known)).map(|(kind, _)| *kind)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.known.iter().filter_map(|(kind, known)| known.deadline(*kind)).min()
    }
}
