//! Records of a realm that survive the death of heartbeatd, and reading them again.
//!
//! The core emits a record ([`Effect::Persist`](crate::Effect::Persist)) whenever the durable half of a realm has
//! changed, before the effects that follow from it: the record has the debit of a restart before the successor starts.

use alloc::string::{String, ToString};
use core::time::Duration;

use heartbeat_status::{
    Desired, Instant, LastResult, Outcome, PhaseTimes, RealmKind, Tally, TallyParts, Verdict,
};

use crate::durable::{PersistedRealm, Place, Resting, Stored, StoredOutcome, StoredProbe, StoredResult};
use crate::evidence::Probing;
use crate::flapping::Flapping;
use crate::realm::Realm;
use crate::state::{self, State};
use crate::{OperatorIntent, ProbeSpec, RealmSpec};

fn stored_outcome(outcome: Outcome) -> StoredOutcome {
    match outcome {
        Outcome::Pass => StoredOutcome::Pass,
        Outcome::Degraded(reason) => StoredOutcome::Degraded(reason),
        Outcome::Fail { reason, phase } => StoredOutcome::Fail(reason, phase),
        Outcome::Inconclusive(reason) => StoredOutcome::Inconclusive(reason),
    }
}

fn outcome(stored: StoredOutcome) -> Outcome {
    match stored {
        StoredOutcome::Pass => Outcome::Pass,
        StoredOutcome::Degraded(reason) => Outcome::Degraded(reason),
        StoredOutcome::Fail(reason, phase) => Outcome::Fail { reason, phase },
        StoredOutcome::Inconclusive(reason) => Outcome::Inconclusive(reason),
    }
}

fn stored_probe(spec: &ProbeSpec, probe: &Probing) -> StoredProbe {
    let parts = probe.tally.parts();
    let (flaps, flapping) = probe.flapping.parts();
    StoredProbe {
        name: spec.info.name.clone(),
        target: what_it_measures(spec),
        passing: parts.verdict.map(|verdict| verdict == Verdict::Passing),
        passes: parts.passes,
        fails: parts.fails,
        recent: parts.recent,
        recent_len: parts.recent_len,
        passed_once: parts.passed_once,
        last: probe.last.as_ref().map(|last| StoredResult {
            outcome: stored_outcome(last.outcome),
            detail: last.detail.clone(),
            at_ns: last.at.as_nanos(),
            latency_ns: last.latency.map(|latency| u64::of(&latency)),
        }),
        stale: probe.stale,
        conclusive_ns: Stored::of(&probe.last_conclusive),
        last_pass_ns: Stored::of(&probe.last_pass),
        first_fail_ns: Stored::of(&probe.first_fail),
        last_fail_ns: Stored::of(&probe.last_fail),
        blamed: probe.blamed_elsewhere,
        flaps,
        flapping,
        skipped: probe.skipped,
    }
}

fn what_it_measures(spec: &ProbeSpec) -> String {
    alloc::format!("{} {}", spec.info.kind, spec.info.target)
}

/// A probe that continues from a record. Its failures count on, but the core acts on no verdict without a fresh one.
fn probe(stored: StoredProbe) -> Probing {
    let verdict = stored.passing.map(|passing| if passing { Verdict::Passing } else { Verdict::Failing });
    let tally = Tally::from_parts(TallyParts {
        passes: stored.passes,
        fails: stored.fails,
        recent: stored.recent,
        recent_len: stored.recent_len,
        passed_once: stored.passed_once,
        verdict,
    });
    let last = stored.last.map(|last| LastResult {
        outcome: outcome(last.outcome),
        detail: last.detail,
        at: Instant::from_nanos(last.at_ns),
        latency: last.latency_ns.map(Duration::from_nanos),
        phases: PhaseTimes::default(),
    });
    let passed = last.as_ref().and_then(|last| last.outcome.passed());
    let mut probe = Probing::new();
    probe.tally = tally;
    probe.last = last;
    probe.skipped = stored.skipped;
    probe.stale = stored.stale;
    probe.blamed_elsewhere = stored.blamed;
    probe.last_conclusive = stored.conclusive_ns.value();
    probe.last_pass = stored.last_pass_ns.value();
    probe.first_fail = stored.first_fail_ns.value();
    probe.last_fail = stored.last_fail_ns.value();
    probe.flapping = Flapping::from_parts(stored.flaps, passed, stored.flapping);
    probe
}

impl Realm {
    /// Whether the durable half has changed since the last call, so that it has to be written.
    pub(crate) fn take_change(&mut self) -> bool {
        let place = Place {
            state: self.state.stored(None),
            status: (self.shown.status, self.shown.status_since),
            excuse: self.shown.excuse,
            refuses_since: self.shown.refuses_since,
            stuck_for: state::stuck::cause(self),
            start_due: matches!(self.state, State::Stopped { start_due: true }),
            restart_with_need: self.serving().is_some_and(|serving| serving.restart_with_need),
        };
        self.written.take(&self.wish, &self.history, &self.generation, place)
    }

    /// The record of the realm; `deadline` is that of its stage.
    pub(crate) fn record(&self, spec: &RealmSpec, deadline: Option<Instant>) -> PersistedRealm {
        let probes = spec.probes.iter().zip(&self.evidence.probes);
        PersistedRealm {
            kind: spec.kind.to_string(),
            state: self.state.stored(deadline),
            wish: self.wish.clone(),
            history: self.history.clone(),
            generation: self.generation.clone(),
            status: Some((self.shown.status, self.shown.status_since.as_nanos())),
            excuse: self.shown.excuse,
            refuses_since_ns: Stored::of(&self.shown.refuses_since),
            stuck_for: state::stuck::cause(self),
            start_owed: matches!(self.state, State::Stopped { start_due: true }),
            restart_owed: self.serving().is_some_and(|serving| serving.restart_with_need),
            probes: probes.map(|(spec, probe)| stored_probe(spec, probe)).collect(),
        }
    }

    /// Restores a record. The core measures nothing and does nothing with the realm before it is resumed.
    pub(crate) fn take_up(&mut self, spec: &RealmSpec, record: PersistedRealm) {
        if record.kind != spec.kind.as_str() {
            // The realm is of another kind now, so only its numbers count on.
            self.generation.run = record.generation.run;
            self.history.restarts_opened = record.history.restarts_opened;
            return;
        }
        (self.wish, self.history, self.generation) = (record.wish, record.history, record.generation);
        let lifted = match self.wish.resting {
            Resting::Manual => !spec.manual,
            Resting::Removed => !spec.retired,
            Resting::Operator(_) => false,
        };
        if lifted {
            self.wish.desired = Desired::Up;
        }
        self.history.done_once &= spec.kind == RealmKind::Oneshot;
        (self.shown.excuse, self.shown.refuses_since) = (record.excuse, record.refuses_since_ns.value());
        if let Some((status, since)) = record.status {
            (self.shown.status, self.shown.status_since) = (status, since.value());
        }
        let mut stored = record.probes;
        for (place, spec) in self.evidence.probes.iter_mut().zip(&spec.probes) {
            let target = what_it_measures(spec);
            let same = |stored: &StoredProbe| stored.name == spec.info.name && stored.target == target;
            if let Some(at) = stored.iter().position(same) {
                *place = probe(stored.swap_remove(at));
            }
        }
        self.state = State::restored(record.state);
        match &mut self.state {
            State::Stopped { start_due } => *start_due = record.start_owed,
            State::Stuck { cause } | State::Unverified { cause, .. } => *cause = record.stuck_for,
            State::Running(serving) => serving.restart_with_need = record.restart_owed,
            _ => {}
        }
    }

    /// The operator's last request outranks the record.
    pub(crate) fn take_intent(&mut self, intent: OperatorIntent) {
        match intent.desired {
            Some(Desired::Down) => {
                self.wish.desired = Desired::Down;
                self.wish.resting = Resting::Operator(intent.hold);
            }
            Some(Desired::Up) => (self.wish.desired, self.wish.asked_for) = (Desired::Up, true),
            None => {}
        }
        self.wish.pause = intent.pause;
    }

    /// The operator's last request.
    pub(crate) fn intent(&self, spec: &RealmSpec) -> OperatorIntent {
        let hold = self.wish.operator_hold();
        let desired = match self.wish.desired {
            Desired::Down => hold.map(|_| Desired::Down),
            // A realm that starts by itself needs no request.
            Desired::Up => (spec.manual && self.wish.asked_for).then_some(Desired::Up),
        };
        OperatorIntent { desired, hold: hold.cloned().unwrap_or_default(), pause: self.wish.pause.clone() }
    }
}

#[cfg(test)]
mod tests;
