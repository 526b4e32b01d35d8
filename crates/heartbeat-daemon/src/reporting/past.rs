//! The recent past of every realm, for its document: built from events, bounded, read newest first.

use std::collections::VecDeque;

use heartbeat_api::RealmCounts;
use heartbeat_status::{
    CheckResult, Event, EventKind, Outcome, RealmIx, RestartAttempt, Snapshot, WallAnchor,
};
use heartbeat_wire::TransitionEntry;

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
    counts: RealmCounts,
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
            EventKind::RestartOpened { cause, .. } => {
                *past.counts.restarts.entry(*cause).or_default() += 1;
            }
            EventKind::RestartClosed { restart, .. } => past.note_restart(restart),
            _ => {}
        }
    }

    /// Counts the result of a measurement.
    pub(crate) fn measured(&mut self, realm: RealmIx, probe: &str, result: &CheckResult) {
        let Some(past) = self.realms.get_mut(realm.index()) else { return };
        let probes = &mut past.counts.probes;
        if !probes.contains_key(probe) {
            probes.insert(probe.to_owned(), Default::default());
        }
        let Some(counts) = probes.get_mut(probe) else { return };
        *counts.outcomes.entry(result.outcome.as_str()).or_default() += 1;
        counts.certificate_until = result.certificate_until.or(counts.certificate_until);
    }

    /// Counts of a realm; `known` are the probes that it has.
    pub(crate) fn counts(&self, realm: RealmIx, known: impl Fn(&str) -> bool) -> RealmCounts {
        let Some(past) = self.realms.get(realm.index()) else { return RealmCounts::default() };
        let mut counts = past.counts.clone();
        counts.probes.retain(|probe, _| known(probe));
        counts
    }

    /// Keeps the restarts of an earlier heartbeatd: the last one of each realm that has ended in `snapshot`.
    pub(crate) fn note_restarts(&mut self, snapshot: &Snapshot) {
        for (past, realm) in self.realms.iter_mut().zip(&snapshot.realms) {
            let Some(record) = realm.restart.as_ref().filter(|record| record.result.is_some()) else {
                continue;
            };
            past.note_restart(record);
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

impl RealmPast {
    fn note_restart(&mut self, restart: &RestartAttempt) {
        if self.restarts.back().is_none_or(|last| last.id != restart.id) {
            push(&mut self.restarts, restart.clone(), MAX_RESTARTS);
        }
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
    fn results_and_restarts_are_counted_by_their_words() {
        let mut past = Past::new(1);
        let anchor = WallAnchor { instant: Instant::ZERO, wall: heartbeat_status::WallTime::from_millis(0) };
        let name = RealmName::new("db").unwrap();
        let cause = heartbeat_status::RestartCause::Unhealthy;
        let kind = EventKind::RestartOpened {
            id: heartbeat_status::RestartId(1),
            cause,
            detail: String::new(),
            attempt: None,
        };
        past.note(&Event { seq: 1, at: Instant::ZERO, realm: Some((RealmIx(0), name)), kind }, anchor);
        let until = heartbeat_status::WallTime::from_millis(86_400_000);
        let mut result = CheckResult {
            outcome: Outcome::Pass,
            detail: String::new(),
            started_at: Instant::ZERO,
            finished_at: Instant::ZERO,
            latency: None,
            phases: heartbeat_status::PhaseTimes::default(),
            unattributable: false,
            certificate_until: Some(until),
        };
        past.measured(RealmIx(0), "https", &result);
        result.certificate_until = None;
        result.outcome = Outcome::Inconclusive(heartbeat_status::InconclusiveReason::MonitorLag);
        past.measured(RealmIx(0), "https", &result);
        past.measured(RealmIx(0), "former", &result);
        let counts = past.counts(RealmIx(0), |probe| probe == "https");
        assert_eq!(counts.restarts.into_iter().collect::<Vec<_>>(), [(cause, 1)]);
        assert_eq!(
            counts.probes.keys().collect::<Vec<_>>(),
            ["https"],
            "it is no probe of this configuration"
        );
        let https = &counts.probes["https"];
        assert_eq!(
            https.outcomes.clone().into_iter().collect::<Vec<_>>(),
            [("inconclusive", 1), ("pass", 1)]
        );
        assert_eq!(
            https.certificate_until,
            Some(until),
            "a measurement without a handshake says nothing of it"
        );
        assert!(past.counts(RealmIx(7), |_| true).probes.is_empty());
    }

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
