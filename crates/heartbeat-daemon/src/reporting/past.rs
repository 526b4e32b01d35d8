//! The recent past of every realm, for its document: built from events, bounded, read newest first.

use std::collections::VecDeque;

use heartbeat_status::wire::TransitionEntry;
use heartbeat_status::{Event, EventKind, Outcome, RealmIx, RestartAttempt, Snapshot, WallAnchor};

/// Restarts kept per realm.
const MAX_RESTARTS: usize = 20;
/// Failures kept per realm.
const MAX_FAILURES: usize = 50;
/// Status changes kept per realm.
const MAX_TRANSITIONS: usize = 50;

/// The past of one realm, oldest first.
#[derive(Clone, Debug, Default)]
struct RealmPast {
    restarts: VecDeque<RestartAttempt>,
    failures: VecDeque<TransitionEntry>,
    transitions: VecDeque<TransitionEntry>,
}

/// The past of all realms.
#[derive(Debug, Default)]
pub(crate) struct Past {
    realms: Vec<RealmPast>,
}

/// Recent restarts, failures and transitions of a realm, newest first.
pub(crate) type RecentPast = (Vec<RestartAttempt>, Vec<TransitionEntry>, Vec<TransitionEntry>);

impl Past {
    pub(crate) fn new(realms: usize) -> Self {
        Self { realms: vec![RealmPast::default(); realms] }
    }

    /// Makes room for `realms` realms, and forgets the past at indices that belong to another realm now.
    pub(crate) fn hand_on(&mut self, realms: usize, to_others: &[RealmIx]) {
        self.realms.resize(realms, RealmPast::default());
        for ix in to_others {
            if let Some(past) = self.realms.get_mut(ix.index()) {
                *past = RealmPast::default();
            }
        }
    }

    /// Keeps `event` if it is part of the past.
    pub(crate) fn note(&mut self, event: &Event, anchor: WallAnchor) {
        let Some(past) = event.realm.as_ref().and_then(|(ix, _)| self.realms.get_mut(ix.index())) else {
            return;
        };
        let at = anchor.wall(event.at);
        match &event.kind {
            EventKind::StatusChanged { from, to, reason, message } => {
                let entry = TransitionEntry {
                    at,
                    from: Some((*from).into()),
                    to: Some((*to).into()),
                    reason: Some((*reason).into()),
                    message: message.clone(),
                };
                push(&mut past.transitions, entry, MAX_TRANSITIONS);
            }
            EventKind::ProbeChanged { outcome: Outcome::Fail { .. }, .. } => {
                let message = event.kind.fact().map(|(_, message)| message).unwrap_or_default();
                push(&mut past.failures, plain(at, message), MAX_FAILURES);
            }
            EventKind::RunExited { exit, expected: false, .. } => {
                push(&mut past.failures, plain(at, exit.to_string()), MAX_FAILURES);
            }
            EventKind::StartFailed { error, .. } => {
                push(&mut past.failures, plain(at, format!("start failed: {error}")), MAX_FAILURES);
            }
            _ => {}
        }
    }

    /// Keeps the restarts that have ended in `snapshot`.
    pub(crate) fn note_restarts(&mut self, snapshot: &Snapshot) {
        for (past, realm) in self.realms.iter_mut().zip(&snapshot.realms) {
            let Some(record) = realm.restart.as_ref().filter(|record| record.result.is_some()) else {
                continue;
            };
            if past.restarts.back().is_none_or(|last| last.id != record.id) {
                push(&mut past.restarts, record.clone(), MAX_RESTARTS);
            }
        }
    }

    /// The past of `realm`.
    pub(crate) fn of(&self, realm: RealmIx) -> RecentPast {
        let Some(past) = self.realms.get(realm.index()) else { return RecentPast::default() };
        (
            past.restarts.iter().rev().cloned().collect(),
            past.failures.iter().rev().cloned().collect(),
            past.transitions.iter().rev().cloned().collect(),
        )
    }
}

fn plain(at: heartbeat_status::WallTime, message: String) -> TransitionEntry {
    TransitionEntry { at, from: None, to: None, reason: None, message }
}

fn push<T>(queue: &mut VecDeque<T>, entry: T, most: usize) {
    if queue.len() >= most {
        queue.pop_front();
    }
    // Most realms have one entry or two for months.
    queue.reserve_exact(1);
    queue.push_back(entry);
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_status::{Exit, Instant, RealmName, RunId};

    #[test]
    fn the_past_is_bounded_and_newest_first() {
        let mut past = Past::new(1);
        let anchor = WallAnchor { instant: Instant::ZERO, wall: heartbeat_status::WallTime::from_millis(0) };
        let name = RealmName::new("db").unwrap();
        for n in 0..60 {
            let exit = Exit::code(n);
            let kind = EventKind::RunExited { run: RunId(1), exit, expected: false };
            let at = Instant::from_millis(1_000);
            past.note(&Event { seq: 1, at, realm: Some((RealmIx(0), name.clone())), kind }, anchor);
        }
        let (_, failures, _) = past.of(RealmIx(0));
        assert_eq!(failures.len(), MAX_FAILURES);
        assert_eq!(failures[0].message, "exit code 59");
        assert!(past.of(RealmIx(7)).0.is_empty());
    }
}
