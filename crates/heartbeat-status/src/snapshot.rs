//! The state of everything at one moment, shared by all readers.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{
    Desired, Exit, Flag, Health, Incident, Instant, Mute, Outcome, Pause, Phase, PhaseTimes, Progress,
    RealmInfo, RealmIx, RestartAttempt, RunId, Says, StartFailure, Status, Verdict, WallTime, Why,
};

closed_list! {
    /// What heartbeatd as a whole is doing.
    pub enum DaemonPhase ("daemon phase") {
        /// Starting what is to be started.
        Booting = "booting",
        /// Boot is settled.
        Running = "running",
        /// heartbeatd stops every realm.
        Stopping = "stopping",
    }
}

/// The last conclusive or inconclusive result of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastResult {
    /// What it said.
    pub outcome: Outcome,
    /// For a person.
    pub detail: String,
    /// When the measurement began.
    pub at: Instant,
    /// Time to the answer.
    pub latency: Option<Duration>,
    /// Time of each stage.
    pub phases: PhaseTimes,
}

impl LastResult {
    /// The result for a person: its own detail, or its reason in words.
    #[must_use]
    pub fn words(&self) -> &str {
        match self.outcome.reason() {
            _ if !self.detail.is_empty() => &self.detail,
            Some(reason) => reason.words(),
            None => "passed",
        }
    }

    /// The obstacle to a conclusive result, for a person; `None` for a conclusive one.
    #[must_use]
    pub fn prevented_by(&self) -> Option<&str> {
        let Outcome::Inconclusive(reason) = self.outcome else { return None };
        Some(if self.detail.is_empty() { reason.words() } else { self.detail.as_str() })
    }
}

/// A probe as it stands; its configuration is the entry of the same index in [`RealmInfo::probes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeStatus {
    /// Last result; `None` before the first.
    pub last: Option<LastResult>,
    /// The probe is being measured, and `last` is from that time. Otherwise `last` is history.
    pub current: bool,
    /// The last conclusive result while `last` is not conclusive.
    pub conclusive: Option<LastResult>,
    /// The verdict with hysteresis.
    pub verdict: Option<Verdict>,
    /// Passes in a row.
    pub passes: u32,
    /// Consecutive failures that counted.
    pub fails: u32,
    /// The counter that is moving.
    pub progress: Progress,
    /// Interval in force now (shorter in transitions, longer while down); `None` for passive probes.
    pub interval: Option<Duration>,
    /// When it is measured next; `None` for passive probes and while not scheduled.
    pub next_at: Option<Instant>,
    /// There is no recent conclusive evidence.
    pub stale: bool,
    /// Slots that went by because a measurement was still in flight.
    pub skipped: u64,
}

/// An edge as it stands; its configuration is the entry of the same index in [`RealmInfo::needs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeedStatus {
    /// Status of the realm depended upon.
    pub status: Status,
    /// The start gate holds.
    pub gate_holds: bool,
}

/// How the last process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastExit {
    /// How the process ended.
    pub exit: Exit,
    /// Time at which it happened.
    pub at: Instant,
    /// How long it had run, where its start is known.
    pub ran_for: Option<Duration>,
}

/// The process of a realm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessStatus {
    /// Generation, 0 before the first start.
    pub run: RunId,
    /// Pid while one exists.
    pub pid: Option<u32>,
    /// When exec succeeded, while one exists.
    pub started_at: Option<Instant>,
    /// heartbeatd has adopted it after a restart; no fresh measurement yet.
    pub adopted: bool,
    /// How the previous process (or this one) ended.
    pub last_exit: Option<LastExit>,
}

/// The restart budget as it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestartCounts {
    /// Restarts since this record began.
    pub total: u64,
    /// Debits inside the window.
    pub used: u32,
    /// Debits allowed in the window.
    pub burst: u32,
    /// Window of the restart budget.
    pub window: Duration,
}

/// One realm at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealmStatus {
    /// The constant part of the realm.
    pub info: Arc<RealmInfo>,
    /// State that is desired.
    pub desired: Desired,
    /// Phase of its process.
    pub phase: Phase,
    /// Health by its probes.
    pub health: Health,
    /// Pause that is in force.
    pub pause: Option<Pause>,
    /// Whether receivers hear nothing of it; the core decides nothing by it.
    pub mute: Option<Mute>,
    /// The one word.
    pub status: Status,
    /// Why, since when, what next.
    pub why: Why,
    /// When an operator has stopped it, where the status is that: it outlives heartbeatd and the boot.
    pub stopped_at: Option<WallTime>,
    /// Which kind of failed start it is, where the reason is [`Reason::StartFailed`](crate::Reason::StartFailed).
    pub start_failure: Option<StartFailure>,
    /// Remarks beside the status.
    pub flags: BTreeSet<Flag>,
    /// State of its process.
    pub process: ProcessStatus,
    /// The notifications of the realm, while it runs and has a `notify` probe.
    pub says: Option<Says>,
    /// The restart budget.
    pub restarts: RestartCounts,
    /// The open restart transaction, or else the last one.
    pub restart: Option<RestartAttempt>,
    /// Probes, in configuration order.
    pub probes: Vec<ProbeStatus>,
    /// Dependencies, in the order of [`RealmInfo::needs`].
    pub needs: Vec<NeedStatus>,
    /// The broken realms it needs directly.
    pub blocked_by: Vec<RealmIx>,
    /// The needs that refuse work, while this realm fails: they are probably the cause.
    pub suspects: Vec<RealmIx>,
}

impl RealmStatus {
    /// Whether `other` means the same to a reader: only numbers may differ.
    ///
    /// This is what moves [`Snapshot::revision`]: a status, a reason, a flag, a pid or a need that changed.
    #[must_use]
    pub fn means_the_same(&self, other: &Self) -> bool {
        self.status == other.status
            && self.why.reason == other.why.reason
            && self.start_failure == other.start_failure
            && self.why.since == other.why.since
            && self.why.next.action == other.why.next.action
            && self.phase == other.phase
            && self.health == other.health
            && self.desired == other.desired
            && self.pause == other.pause
            && self.mute == other.mute
            && self.flags == other.flags
            && self.process.pid == other.process.pid
            && self.process.run == other.process.run
            && self.says.as_ref().map(|says| says.state) == other.says.as_ref().map(|says| says.state)
            && self.blocked_by == other.blocked_by
            && self.suspects == other.suspects
            && self.restarts.total == other.restarts.total
            && self.probes.len() == other.probes.len()
            && self
                .probes
                .iter()
                .zip(&other.probes)
                .all(|(a, b)| a.verdict == b.verdict && a.stale == b.stale)
    }
}

/// The state of everything at one moment. Cheap to clone; only touched realms are rebuilt from one to the next.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Changes only when the meaning of something changes.
    pub revision: u64,
    /// When it was taken.
    pub at: Instant,
    /// What heartbeatd as a whole is doing.
    pub phase: DaemonPhase,
    /// Realms by [`RealmIx`].
    pub realms: Vec<Arc<RealmStatus>>,
    /// Incidents that are not resolved, the oldest first.
    pub incidents: Vec<Arc<Incident>>,
    /// The present realms as indices in start order. A realm that a new configuration no longer has stays in
    /// [`Snapshot::realms`], since indices never move, but not here.
    pub start_order: Arc<[RealmIx]>,
    /// Inputs that made no sense and late answers that the core dropped, since the start.
    pub ignored: u64,
}

impl Snapshot {
    /// A realm by index.
    #[must_use]
    pub fn realm(&self, ix: RealmIx) -> Option<&Arc<RealmStatus>> {
        self.realms.get(ix.index())
    }

    /// A realm by name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<RealmStatus>> {
        self.in_start_order().find(|realm| realm.info.name.as_str() == name)
    }

    /// The open incident that a realm is the root of.
    #[must_use]
    pub fn incident_of(&self, realm: RealmIx) -> Option<&Arc<Incident>> {
        self.incidents.iter().find(|incident| incident.root == Some(realm))
    }

    /// Realms in start order.
    pub fn in_start_order(&self) -> impl Iterator<Item = &Arc<RealmStatus>> {
        self.start_order.iter().filter_map(|ix| self.realm(*ix))
    }

    /// Whether the ecosystem is fine: every critical realm is up, degraded, done, or stopping, stopped or paused on
    /// purpose. Never true while heartbeatd stops everything.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.phase != DaemonPhase::Stopping
            && self.in_start_order().filter(|realm| realm.info.critical).all(|realm| realm.status.is_ok())
    }

    /// The worst status of the critical realms; `up` when there are none. While heartbeatd stops everything, `stopping`
    /// takes the place of `up`.
    #[must_use]
    pub fn worst(&self) -> Status {
        let fine = if self.phase == DaemonPhase::Stopping { Status::Stopping } else { Status::Up };
        let critical = self.in_start_order().filter(|realm| realm.info.critical);
        critical
            .map(|realm| realm.status)
            .filter(|status| status.severity() >= 3)
            .max_by_key(|s| s.severity())
            .unwrap_or(fine)
    }
}
