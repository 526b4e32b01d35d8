//! Damage that heartbeatd found when it started, for as long as it matters: until the realm concerned runs or an
//! operator has looked at it; for a file that concerns no single realm, until an operator has had time to see it.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::wire::Action;
use heartbeat_status::{Event, EventKind, Instant, OwnProblemKind, RealmName, RestartResult, Status};

use crate::own_health::own_problems::OwnProblems;

/// heartbeatd reports a damaged file that concerns no single realm for this long: the file is set aside, and nothing
/// else can be done.
const TOLD_FOR: Duration = Duration::from_secs(600);

/// One damaged file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The realm it concerns; `None` for a file of the whole ecosystem, or when the name cannot be read any more.
    pub(crate) realm: Option<RealmName>,
    /// What is damaged, for a person.
    pub(crate) message: String,
}

/// Everything that was damaged and still matters.
#[derive(Debug)]
pub(crate) struct RecoveryProblem {
    damages: Vec<Damage>,
    over_at: Instant,
    problems: Arc<OwnProblems>,
}

impl RecoveryProblem {
    pub(crate) fn new(now: Instant, damages: Vec<Damage>, problems: Arc<OwnProblems>) -> Self {
        let problem = Self { damages, over_at: now + TOLD_FOR, problems };
        problem.tell();
        problem
    }

    fn tell(&self) {
        let messages: Vec<&str> = self.damages.iter().map(|damage| damage.message.as_str()).collect();
        let message = messages.join("; ");
        self.problems.set(OwnProblemKind::Recovery, (!message.is_empty()).then_some(message));
    }

    /// When some of the damage ends by time alone.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.damages.iter().any(|damage| damage.realm.is_none()).then_some(self.over_at)
    }

    /// Time has passed.
    pub(crate) fn pass(&mut self, now: Instant) {
        if now >= self.over_at {
            self.keep(|damage| damage.realm.is_some());
        }
    }

    /// An event may end the damage of a realm's record.
    pub(crate) fn note(&mut self, event: &Event) {
        let Some((_, name)) = &event.realm else { return };
        if self.damages.is_empty() || !ends(&event.kind) {
            return;
        }
        self.keep(|damage| damage.realm.as_ref() != Some(name));
    }

    fn keep(&mut self, wanted: impl Fn(&Damage) -> bool) {
        let before = self.damages.len();
        self.damages.retain(wanted);
        if self.damages.len() != before {
            self.tell();
        }
    }
}

/// The realm is verified, reset, or at rest: its old record no longer matters.
fn ends(kind: &EventKind) -> bool {
    match kind {
        EventKind::StatusChanged { to, .. } => {
            matches!(to, Status::Up | Status::Degraded | Status::Done | Status::Stopped)
        }
        EventKind::RestartClosed { result, .. } => *result == RestartResult::Verified,
        EventKind::Commanded { action, .. } => *action == Action::Reset,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::Inbox;
    use heartbeat_status::{RealmIx, Reason};

    fn event(realm: &str, kind: EventKind) -> Event {
        let realm = Some((RealmIx(0), RealmName::new(realm).unwrap()));
        Event { seq: 1, at: Instant::ZERO, realm, kind }
    }

    fn status(to: Status) -> EventKind {
        EventKind::StatusChanged {
            from: Status::Unknown,
            to,
            reason: Reason::Healthy,
            message: String::new(),
        }
    }

    fn damaged(realm: Option<&str>, message: &str) -> Damage {
        Damage { realm: realm.map(|name| RealmName::new(name).unwrap()), message: message.to_owned() }
    }

    #[test]
    fn a_damaged_record_matters_until_its_realm_is_verified_or_reset() {
        let reset = EventKind::Commanded { action: Action::Reset, reason: None };
        for end in [status(Status::Up), reset] {
            let problems = Arc::new(OwnProblems::new(Arc::new(Inbox::default())));
            let damages = vec![damaged(Some("db"), "record of db"), damaged(Some("web"), "record of web")];
            let mut problem = RecoveryProblem::new(Instant::ZERO, damages, Arc::clone(&problems));
            problem.note(&event("db", status(Status::Unknown)));
            problem.note(&event("mail", end.clone()));
            assert_eq!(problems.list()[0].message, "record of db; record of web");
            problem.note(&event("db", end.clone()));
            assert_eq!(problems.list()[0].message, "record of web");
            problem.pass(Instant::ZERO + 2 * TOLD_FOR);
            assert_eq!(problems.list().len(), 1, "time alone verifies nothing");
            problem.note(&event("web", end));
            assert!(problems.list().is_empty());
        }
    }

    #[test]
    fn damage_that_concerns_no_realm_is_told_long_enough_to_be_seen() {
        let problems = Arc::new(OwnProblems::new(Arc::new(Inbox::default())));
        let damages = vec![damaged(None, "intent is damaged")];
        let mut problem = RecoveryProblem::new(Instant::ZERO, damages, Arc::clone(&problems));
        assert_eq!(problem.deadline(), Some(Instant::ZERO + TOLD_FOR));
        problem.pass(Instant::ZERO + TOLD_FOR / 2);
        assert_eq!(problems.list().len(), 1);
        problem.pass(Instant::ZERO + TOLD_FOR);
        assert!(problems.list().is_empty() && problem.deadline().is_none());
    }

    #[test]
    fn without_damage_there_is_no_problem() {
        let problems = Arc::new(OwnProblems::new(Arc::new(Inbox::default())));
        let problem = RecoveryProblem::new(Instant::ZERO, Vec::new(), Arc::clone(&problems));
        assert!(problems.list().is_empty() && problem.deadline().is_none());
    }
}
