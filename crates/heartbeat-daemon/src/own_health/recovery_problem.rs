//! Damage that heartbeatd found, for as long as it matters: until the realm concerned runs or an
//! operator has looked at it; for a file that concerns no single realm, until an operator has had time to see it.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{Event, EventKind, Instant, OwnProblemKind, RealmName, RestartResult, Status};
use heartbeat_wire::Action;

use crate::own_health::own_problems::OwnProblems;
use crate::storage::stored::StoredDamage;

/// heartbeatd reports a damaged file that concerns no single realm for this long: the file is set aside, and nothing
/// else can be done.
const TOLD_FOR: Duration = Duration::from_secs(600);

/// Most damaged files that are reported together; the oldest of those that concern no realm go first.
const MAX_DAMAGES: usize = 64;

/// The most of the messages that is shown together, in characters: a line of a document takes no more than that and the
/// number of the others.
const MAX_LISTED_CHARS: usize = 220;

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
    /// With the time at which each is over, if it ends by time alone.
    damages: Vec<(Damage, Option<Instant>)>,
    problems: Arc<OwnProblems>,
    /// They are not on disk as they are now.
    changed: bool,
}

impl RecoveryProblem {
    /// `earlier` is what an earlier heartbeatd has found and still reported; `damages` were found at this start.
    pub(crate) fn new(
        now: Instant,
        earlier: &[StoredDamage],
        damages: Vec<Damage>,
        problems: Arc<OwnProblems>,
    ) -> Self {
        let earlier = earlier.iter().map(|stored| {
            let realm = stored.realm.as_deref().and_then(|name| RealmName::new(name).ok());
            let damage = Damage { realm, message: stored.message.clone() };
            (damage, stored.over_ns.map(Instant::from_nanos))
        });
        let mut problem = Self { damages: earlier.collect(), problems, changed: false };
        for damage in damages {
            problem.take(now, damage);
        }
        problem.pass(now);
        problem.tell();
        problem
    }

    /// Whether the database has another form of it.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The form for the database.
    pub(crate) fn stored(&self) -> Vec<StoredDamage> {
        let stored = self.damages.iter().map(|(damage, over_at)| StoredDamage {
            realm: damage.realm.as_ref().map(ToString::to_string),
            message: damage.message.clone(),
            over_ns: over_at.map(Instant::as_nanos),
        });
        stored.collect()
    }

    /// Another file is damaged, or was removed.
    pub(crate) fn add(&mut self, now: Instant, damage: Damage) {
        self.take(now, damage);
        self.tell();
    }

    fn take(&mut self, now: Instant, damage: Damage) {
        tracing::error!("{}", damage.message);
        self.damages.retain(|(known, _)| *known != damage);
        if self.damages.len() >= MAX_DAMAGES
            && let Some(oldest) = self.damages.iter().position(|(_, over_at)| over_at.is_some())
        {
            self.damages.remove(oldest);
        }
        self.damages.push(ending(now, damage));
        self.changed = true;
    }

    fn tell(&self) {
        let messages: Vec<&str> = self.damages.iter().map(|(damage, _)| damage.message.as_str()).collect();
        let message = (!messages.is_empty()).then(|| listed(&messages));
        self.problems.set(OwnProblemKind::Recovery, message);
    }

    /// When some of the damage ends by time alone.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.damages.iter().filter_map(|(_, over_at)| *over_at).min()
    }

    /// Time has passed.
    pub(crate) fn pass(&mut self, now: Instant) {
        self.keep(|(_, over_at)| over_at.is_none_or(|over_at| now < over_at));
    }

    /// An event may end the damage of a realm's record.
    pub(crate) fn note(&mut self, event: &Event) {
        let Some((_, name)) = &event.realm else { return };
        if self.damages.is_empty() || !ends(&event.kind) {
            return;
        }
        self.keep(|(damage, _)| damage.realm.as_ref() != Some(name));
    }

    fn keep(&mut self, wanted: impl Fn(&(Damage, Option<Instant>)) -> bool) {
        let before = self.damages.len();
        self.damages.retain(wanted);
        if self.damages.len() != before {
            self.changed = true;
            self.tell();
        }
    }
}

/// The messages that fit a line, and the number of the others, which are in heartbeatd's own log.
fn listed(messages: &[&str]) -> String {
    let mut shown = 0;
    let mut text = String::new();
    for message in messages {
        let joined = if shown == 0 { (*message).to_owned() } else { format!("{text}; {message}") };
        if shown > 0 && joined.chars().count() > MAX_LISTED_CHARS {
            break;
        }
        (text, shown) = (joined, shown + 1);
    }
    match messages.len() - shown {
        0 => text,
        more => format!("{text}; and {more} more: heartbeatd's own log has a line for each"),
    }
}

/// With the time at which it is over: a file that concerns no realm is reported long enough to be seen.
fn ending(now: Instant, damage: Damage) -> (Damage, Option<Instant>) {
    let over_at = damage.realm.is_none().then(|| now + TOLD_FOR);
    (damage, over_at)
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
            let mut problem = RecoveryProblem::new(Instant::ZERO, &[], damages, Arc::clone(&problems));
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
        let mut problem = RecoveryProblem::new(Instant::ZERO, &[], damages, Arc::clone(&problems));
        assert_eq!(problem.deadline(), Some(Instant::ZERO + TOLD_FOR));
        let minutes = format!("{} min", TOLD_FOR.as_secs() / 60);
        assert!(OwnProblemKind::Recovery.advice().contains(&minutes), "the advice says when it ends");
        problem.pass(Instant::ZERO + TOLD_FOR / 2);
        assert_eq!(problems.list().len(), 1);
        // Another one while heartbeatd runs, and the same again.
        let later = Instant::ZERO + TOLD_FOR / 2;
        for _ in 0..2 {
            problem.add(later, damaged(None, "incidents.db was removed"));
        }
        assert_eq!(problems.list()[0].message, "intent is damaged; incidents.db was removed");
        problem.pass(Instant::ZERO + TOLD_FOR);
        assert_eq!(problems.list()[0].message, "incidents.db was removed");
        assert_eq!(problem.deadline(), Some(later + TOLD_FOR));
        problem.pass(later + TOLD_FOR);
        assert!(problems.list().is_empty() && problem.deadline().is_none());
        for no in 0..2 * MAX_DAMAGES {
            problem.add(later, damaged(None, &format!("file {no}")));
        }
        assert_eq!(problem.damages.len(), MAX_DAMAGES);
    }

    #[test]
    fn a_restart_of_heartbeatd_does_not_change_how_long_damage_is_told() {
        let problems = Arc::new(OwnProblems::new(Arc::new(Inbox::default())));
        let damages = vec![damaged(None, "intent is damaged"), damaged(Some("db"), "record of db")];
        let mut problem = RecoveryProblem::new(Instant::ZERO, &[], damages, Arc::clone(&problems));
        assert!(problem.take_changed() && !problem.take_changed());
        let text = serde_json::to_string(&problem.stored()).unwrap();
        let kept: Vec<StoredDamage> = serde_json::from_str(&text).unwrap();
        // The next one finds the same file as damaged, and another one.
        let later = Instant::ZERO + TOLD_FOR / 2;
        let found = vec![damaged(Some("db"), "record of db"), damaged(None, "history.db is gone")];
        let problems = Arc::new(OwnProblems::new(Arc::new(Inbox::default())));
        let mut problem = RecoveryProblem::new(later, &kept, found, Arc::clone(&problems));
        assert_eq!(problems.list()[0].message, "intent is damaged; record of db; history.db is gone");
        assert_eq!(problem.deadline(), Some(Instant::ZERO + TOLD_FOR));
        problem.pass(Instant::ZERO + TOLD_FOR);
        assert_eq!(problems.list()[0].message, "record of db; history.db is gone");
        assert!(problem.take_changed());
        problem.note(&event("db", status(Status::Up)));
        problem.pass(later + TOLD_FOR);
        assert!(problems.list().is_empty() && problem.stored().is_empty());
        // One that comes back later finds nothing to tell.
        let late = RecoveryProblem::new(later + TOLD_FOR, &kept[..1], Vec::new(), Arc::clone(&problems));
        assert!(problems.list().is_empty() && late.deadline().is_none());
    }

    #[test]
    fn many_damaged_files_are_listed_as_far_as_a_line_goes_and_the_others_are_counted() {
        let problems = Arc::new(OwnProblems::new(Arc::new(Inbox::default())));
        let message =
            |no: usize| format!("the record /run/heartbeat/realms/realm-{no} is damaged and set aside");
        let damages = (0..40).map(|no| damaged(None, &message(no))).collect();
        let _problem = RecoveryProblem::new(Instant::ZERO, &[], damages, Arc::clone(&problems));
        let told = problems.list()[0].message.clone();
        assert_eq!(heartbeat_status::sanitise_line(&told), told, "no reader gets it cut");
        let shown = (0..40).filter(|no| told.contains(&message(*no))).count();
        assert!(shown > 0 && told.contains(&format!("; and {} more: ", 40 - shown)), "{told}");
    }

    #[test]
    fn without_damage_there_is_no_problem() {
        let problems = Arc::new(OwnProblems::new(Arc::new(Inbox::default())));
        let problem = RecoveryProblem::new(Instant::ZERO, &[], Vec::new(), Arc::clone(&problems));
        assert!(problems.list().is_empty() && problem.deadline().is_none());
    }
}
