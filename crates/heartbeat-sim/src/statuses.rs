//! What every realm was and when, told twice: as the events tell it, and as the simulator itself has seen it.

use std::collections::{BTreeMap, BTreeSet};

use heartbeat_status::{Event, EventKind, Instant, RealmName, Snapshot, Status};

/// A change of a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The life of heartbeatd that has seen it, counted from 0.
    pub life: usize,
    /// The moment it took effect.
    pub at: Instant,
    /// The realm whose status changed.
    pub realm: RealmName,
    /// The status from then on.
    pub status: Status,
}

/// The statuses of a run.
#[derive(Clone, Debug, Default)]
pub struct StatusLog {
    /// From when to when each heartbeatd ran.
    pub lives: Vec<(Instant, Instant)>,
    /// What each life began with, and what its events told.
    pub changes: Vec<Change>,
    /// The simulator's own account in milliseconds: by realm, status, and whether the realm was up at some time before.
    pub durations: BTreeMap<(RealmName, Status, bool), u64>,
    known: BTreeMap<RealmName, Status>,
    was_up: BTreeSet<RealmName>,
}

impl StatusLog {
    /// A heartbeatd begins to look.
    pub(crate) fn begin(&mut self, now: Instant, snapshot: &Snapshot) {
        self.lives.push((now, now));
        self.known.clear();
        self.register(now, snapshot);
    }

    /// What no event has told: realms that are new, or that a reload has replaced.
    fn register(&mut self, now: Instant, snapshot: &Snapshot) {
        for realm in &snapshot.realms {
            if self.known.get(&realm.info.name) != Some(&realm.status) {
                self.change(now, &realm.info.name, realm.status);
            }
        }
    }

    /// Time has passed: every realm was what it is in `before`, and the events say what it is from now on, also in
    /// `after`. After a reload, history compares every realm.
    pub(crate) fn pass(
        &mut self,
        now: Instant,
        before: &Snapshot,
        events: &[Event],
        (after, reloaded): (&Snapshot, bool),
    ) {
        self.end(now, before);
        for event in events {
            if let (Some((_, name)), EventKind::StatusChanged { to, .. }) = (&event.realm, &event.kind) {
                self.change(now, name, *to);
            }
        }
        if reloaded {
            self.register(now, after);
        }
        let there = |name: &RealmName| after.realms.iter().any(|realm| realm.info.name == *name);
        let gone: Vec<RealmName> = self.known.keys().filter(|name| !there(name)).cloned().collect();
        for name in gone {
            self.change(now, &name, Status::Stopped);
            self.known.remove(&name);
        }
    }

    /// Time has passed, and what heartbeatd found out in this moment dies with it.
    pub(crate) fn end(&mut self, now: Instant, before: &Snapshot) {
        let Some((_, seen)) = self.lives.last_mut() else { return };
        let durations = millis(now) - millis(std::mem::replace(seen, now));
        for realm in &before.realms {
            let name = realm.info.name.clone();
            let was_up = self.was_up.contains(&name);
            *self.durations.entry((name, realm.status, was_up)).or_default() += durations;
        }
    }

    fn change(&mut self, at: Instant, realm: &RealmName, status: Status) {
        if matches!(status, Status::Up | Status::Done | Status::Degraded) {
            self.was_up.insert(realm.clone());
        }
        self.known.insert(realm.clone(), status);
        let life = self.lives.len().saturating_sub(1);
        self.changes.push(Change { life, at, realm: realm.clone(), status });
    }
}

fn millis(at: Instant) -> u64 {
    at.as_nanos() / 1_000_000
}
