//! What incidents have to name: crashes, and realms that fail.

use std::time::Duration;

use heartbeat_restart::RestartWhen;
use heartbeat_status::{
    Desired, Event, EventKind, Exit, Incident, Instant, Phase, RealmIx, RealmKind, RealmStatus, Snapshot,
    Status,
};
use heartbeat_supervisor::Plan;

#[derive(Clone, Debug)]
pub(crate) struct Faults {
    /// The realm has ended by itself, and no incident has named it since.
    pub(crate) crashed: Vec<bool>,
    /// Since when the realm fails while no open incident names it.
    pub(crate) unnamed_since: Vec<Option<Instant>>,
    /// When the heartbeatd that runs now was started.
    pub(crate) life_since: Instant,
}

/// Whether the realm fails, by its own evidence or that of heartbeatd, and heartbeatd supervises it.
pub(crate) fn fails(realm: &RealmStatus) -> bool {
    let open = realm.restart.as_ref().filter(|restart| restart.result.is_none());
    match realm.status {
        Status::Down | Status::Failed => true,
        Status::Restarting => open.is_some_and(|restart| restart.cause.is_debited()),
        _ => false,
    }
}

/// Whether this end is one that the realm should not have come to.
fn is_crash(plan: &Plan, ix: RealmIx, exit: &Exit) -> bool {
    let spec = plan.realm(ix);
    let success = spec.restart.is_success(exit);
    !(success && (spec.kind == RealmKind::Oneshot || spec.restart.when() != RestartWhen::Always))
}

impl Faults {
    pub(crate) fn new(realms: usize) -> Self {
        Self { crashed: vec![false; realms], unnamed_since: vec![None; realms], life_since: Instant::ZERO }
    }

    /// Another heartbeatd begins. What the earlier one found out in its last moment may not be on record.
    pub(crate) fn begin_anew(&mut self, now: Instant) {
        *self = Self { life_since: now, ..Self::new(self.crashed.len()) };
    }

    /// heartbeatd was asleep: in this time it could not find out whose fault a failure is.
    pub(crate) fn slept(&mut self, asleep: Duration) {
        for since in self.unnamed_since.iter_mut().flatten() {
            *since = *since + asleep;
        }
    }

    /// Takes the events of a step and the state after it.
    pub(crate) fn see(&mut self, plan: &Plan, now: Instant, after: &Snapshot, events: &[Event]) {
        for event in events {
            match (&event.kind, &event.realm) {
                (EventKind::RunExited { exit, expected: false, .. }, Some((ix, _))) => {
                    self.crashed[ix.index()] = is_crash(plan, *ix, exit);
                }
                (EventKind::Incident { incident, .. }, _) => self.name(incident),
                // What its failures say is counted from here.
                (EventKind::ProbeReset { .. }, Some((ix, _))) => self.unnamed_since[ix.index()] = None,
                _ => {}
            }
        }
        after.incidents.iter().for_each(|incident| self.name(incident));
        for realm in &after.realms {
            let at = realm.info.ix.index();
            let excused = realm.status == Status::Paused
                || (realm.desired == Desired::Down && realm.phase != Phase::Stuck)
                || plan.realm(realm.info.ix).retired;
            self.crashed[at] &= !excused;
            let named = after.incidents.iter().any(|incident| incident.concerns(realm.info.ix));
            self.unnamed_since[at] = match fails(realm) && !excused && !named {
                true => self.unnamed_since[at].or(Some(now)),
                false => None,
            };
        }
    }

    fn name(&mut self, incident: &Incident) {
        for ix in incident.root.iter().chain(&incident.affected) {
            self.crashed[ix.index()] = false;
        }
    }
}
