//! The core behind the fake: driven in virtual time, with a script that answers its effects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use heartbeat_api::EventRecord;
use heartbeat_status::{
    CheckResult, CommandId, Exit, FailReason, Instant, Outcome, PhaseTimes, ProbePhase, RealmIx, RunFact,
    RunId, Snapshot, WallTime,
};
use heartbeat_supervisor::{Effect, Input, Reply, Supervisor};
use heartbeat_wire::{EVENT_SCHEMA, EventEntry};

/// Virtual time begins here.
pub(super) const START: Instant = Instant::from_millis(100_000);

pub(super) struct Core {
    pub(super) supervisor: Supervisor,
    pub(super) now: Instant,
    pub(super) next_id: u64,
    pub(super) replies: BTreeMap<CommandId, Reply>,
    /// Realms whose probes fail.
    pub(super) broken: BTreeSet<RealmIx>,
    /// The detail of their results.
    pub(super) says: String,
    /// Realms whose program does not get to run.
    pub(super) held: BTreeSet<RealmIx>,
    /// Realms that do not end when told to.
    pub(super) deaf: BTreeSet<RealmIx>,
    pub(super) runs: BTreeMap<RealmIx, RunId>,
    pub(super) facts: Vec<EventRecord>,
    pub(super) snapshot: Arc<Snapshot>,
}

impl Core {
    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        self.pump();
        while let Some(at) = self.supervisor.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.supervisor.handle_timeout(self.now);
            self.pump();
        }
        self.now = end;
    }

    pub(super) fn remember(&mut self, event: &heartbeat_status::Event) {
        let Some((what, detail)) = event.kind.fact() else { return };
        let entry = EventEntry {
            schema: EVENT_SCHEMA.to_owned(),
            seq: event.seq,
            at: WallTime::from_millis(0),
            realm: event.realm.as_ref().map(|(_, name)| name.to_string()),
            what: what.into(),
            detail,
            incident: None,
        };
        self.facts.push(EventRecord { revision: self.snapshot.revision, entry: Arc::new(entry) });
    }

    /// Answers every effect at once, as the script says.
    pub(super) fn pump(&mut self) {
        loop {
            while let Some(event) = self.supervisor.poll_event() {
                self.remember(&event);
            }
            let Some(effect) = self.supervisor.poll_effect() else { return };
            match effect {
                Effect::Start { realm, run } => {
                    self.runs.insert(realm, run);
                    if !self.held.contains(&realm) {
                        self.supervisor.handle(
                            self.now,
                            Input::Run { realm, run, fact: RunFact::Started { pid: pid(realm, run) } },
                        );
                    }
                }
                Effect::Check { id, realm, .. } => {
                    let result = self.measured(realm);
                    self.supervisor.handle(self.now, Input::Checked { id, result });
                }
                Effect::Signal { realm, run, signal } | Effect::SignalMain { realm, run, signal }
                    if !self.deaf.contains(&realm) =>
                {
                    let exit = Exit::signal(signal);
                    self.supervisor.handle(
                        self.now,
                        Input::Run { realm, run, fact: RunFact::Exited { exit, empty: true } },
                    );
                }
                Effect::Reply { id, reply } => {
                    self.replies.insert(id, reply);
                }
                _ => {}
            }
        }
    }

    pub(super) fn measured(&self, realm: RealmIx) -> CheckResult {
        let broken = self.broken.contains(&realm);
        let latency = Duration::from_micros(2_300);
        let outcome = if broken {
            Outcome::Fail { reason: FailReason::Refused, phase: Some(ProbePhase::Connect) }
        } else {
            Outcome::Pass
        };
        let phases = if broken {
            PhaseTimes::default()
        } else {
            PhaseTimes {
                connect: Some(Duration::from_micros(200)),
                first_byte: Some(Duration::from_micros(2_000)),
                body: Some(Duration::from_micros(100)),
                ..PhaseTimes::default()
            }
        };
        CheckResult {
            outcome,
            detail: if broken { self.says.clone() } else { "200".to_owned() },
            started_at: self.now,
            finished_at: self.now,
            latency: (!broken).then_some(latency),
            phases,
            unattributable: false,
            certificate_until: None,
        }
    }
}

pub(super) fn pid(realm: RealmIx, run: RunId) -> u32 {
    4_000 + realm.0 * 100 + u32::try_from(run.0).unwrap()
}
