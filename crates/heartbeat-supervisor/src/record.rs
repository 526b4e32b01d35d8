//! What is remembered of a realm over the death of heartbeatd, and what was found of it afterwards.
//!
//! A record is emitted ([`Effect::Persist`](crate::Effect::Persist)) whenever something of it changed its meaning, before
//! the effects that follow from it: a restart is debited on record before the successor is started. Its times are
//! those of the monotonic clock, so it means something within one boot only, and whoever keeps it keeps the boot beside
//! it. The stored names and shapes only grow: what is missing has its default.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_restart::{Exhausted, RestartTracker};
use heartbeat_status::{
    DegradedReason, Desired, Exit, ExitKind, FailReason, InconclusiveReason, Instant, LastExit, LastResult,
    NeedState, Outcome, Pause, PhaseTimes, ProbePhase, RealmKind, RestartAttempt, RestartCause, RestartId,
    RestartResult, RestartStep, RunId, Signal, StartFailure, Status, Tally, TallyParts, Verdict, WallTime,
};
use serde::{Deserialize, Serialize};

use crate::durable::{FailedStart, Resting, Spoken, Suspicion};
use crate::flapping::Flapping;
use crate::probing::Probing;
use crate::realm::Realm;
use crate::state::{self, Backoff, Cooldown, Failed, FailedWhy, State};
use crate::{OperatorHold, OperatorIntent, ProbeSpec, RealmSpec};

/// Everything the core has to know about a realm to go on with it. Opaque: it is made by the core and read by the core.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PersistedRealm {
    run: u64,
    kind: String,
    state: StoredState,
    desired: Option<Desired>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<(Status, u64)>,
    #[serde(skip_serializing_if = "StoredRest::is_manual")]
    resting: StoredRest,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause: Option<StoredPause>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_by: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_at: Option<WallTime>,
    #[serde(skip_serializing_if = "is_false")]
    faulted: bool,
    #[serde(skip_serializing_if = "is_ready")]
    excuse: NeedState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_exit: Option<(StoredExit, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ran_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    gap_until_ns: u64,
    not_before_ns: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    debits_ns: Vec<u64>,
    #[serde(skip_serializing_if = "is_false")]
    stable: bool,
    #[serde(skip_serializing_if = "is_zero")]
    attempts: u32,
    #[serde(skip_serializing_if = "is_zero")]
    uncounted: u32,
    #[serde(skip_serializing_if = "is_zero")]
    cooldowns: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart: Option<StoredRestart>,
    restarts_opened: u64,
    #[serde(skip_serializing_if = "is_false")]
    relapsed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stuck_for: Option<RestartCause>,
    #[serde(skip_serializing_if = "Option::is_none")]
    excused: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthy_since_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refuses_since_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspicion: Option<StoredSuspicion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cleared_ns: Option<u64>,
    #[serde(rename = "stranger", skip_serializing_if = "Option::is_none")]
    port_conflict: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_start: Option<StoredFailedStart>,
    #[serde(rename = "start_owed", skip_serializing_if = "is_false")]
    start_due: bool,
    #[serde(skip_serializing_if = "is_false")]
    ordered_in_pause: bool,
    #[serde(skip_serializing_if = "is_false")]
    keep_run: bool,
    #[serde(rename = "restart_owed", skip_serializing_if = "is_false")]
    need_restart_due: bool,
    #[serde(rename = "renew_owed", skip_serializing_if = "is_false")]
    renewal_due: bool,
    #[serde(skip_serializing_if = "is_false")]
    done_once: bool,
    #[serde(skip_serializing_if = "is_false")]
    asked_for: bool,
    #[serde(skip_serializing_if = "StoredSaid::is_nothing")]
    said: StoredSaid,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    probes: Vec<StoredProbe>,
}

impl PersistedRealm {
    /// It has come to rest, waits for a time, is down, or has said something of itself: nobody could find that out by looking
    /// at its process, and of what is down somebody may have been told.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        if !self.said.is_nothing() || self.status.is_some_and(|(status, _)| status == Status::Down) {
            return true;
        }
        match self.state {
            StoredState::Waiting
            | StoredState::Mended
            | StoredState::Preparing { .. }
            | StoredState::Started
            | StoredState::Running { .. }
            | StoredState::External => false,
            StoredState::Stopping { .. }
            | StoredState::Backoff { .. }
            | StoredState::Cooldown { .. }
            | StoredState::Stopped
            | StoredState::Failed { .. }
            | StoredState::Done
            | StoredState::Stuck
            | StoredState::Unverified { .. } => true,
        }
    }

    /// The generation it is about.
    #[must_use]
    pub fn run(&self) -> RunId {
        RunId(self.run)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_ready(needs: &NeedState) -> bool {
    *needs == NeedState::Ready
}

/// Where it is in its life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoredState {
    #[default]
    Waiting,
    /// Waiting until no need is broken any more.
    Mended,
    /// Before it was exec'd; `launching` once a launch slot was given.
    Preparing {
        launching: bool,
        before: bool,
    },
    Started,
    Running {
        ready_ns: u64,
    },
    Stopping {
        cause: Option<RestartCause>,
        exit: Option<StoredExit>,
        killing: bool,
        launching: bool,
        told: bool,
        deadline_ns: u64,
    },
    Backoff {
        until_ns: u64,
    },
    Cooldown {
        until_ns: u64,
        why: StoredWhy,
    },
    Stopped,
    Failed {
        why: StoredWhy,
    },
    Done,
    Stuck,
    Unverified {
        what: String,
    },
    External,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoredRest {
    #[default]
    Manual,
    Operator(Option<String>),
    Removed,
}

impl StoredRest {
    fn is_manual(&self) -> bool {
        *self == Self::Manual
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredPause {
    reason: String,
    until_ns: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoredWhy {
    BudgetSpent,
    StartFailed(String),
    Exited(StoredExit),
    Gone(RestartCause),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredFailedStart {
    failure: StartFailure,
    message: String,
    since_ns: u64,
    cooldowns: u32,
}

impl StoredFailedStart {
    fn of(start: &FailedStart) -> Self {
        let FailedStart { failure, message, since, cooldowns } = start.clone();
        Self { failure, message, since_ns: ns(since), cooldowns }
    }

    fn failed_start(self) -> FailedStart {
        let Self { failure, message, since_ns, cooldowns } = self;
        FailedStart { failure, message, since: Instant::from_nanos(since_ns), cooldowns }
    }
}

/// What the realm blames on a need that refuses work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct StoredSuspicion {
    tried: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    alone_since_ns: Option<u64>,
}

/// What the realm has said of itself in this generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct StoredSaid {
    #[serde(skip_serializing_if = "is_false")]
    ready: bool,
    #[serde(skip_serializing_if = "is_false")]
    reloading: bool,
    #[serde(skip_serializing_if = "is_false")]
    stopping: bool,
    #[serde(skip_serializing_if = "is_false")]
    triggered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watchdog_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extended_ns: Option<u64>,
}

impl StoredSaid {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn of(spoken: &Spoken) -> Self {
        let Spoken { ready, reloading, stopping, status, watchdog, triggered, extended, .. } = spoken;
        Self {
            ready: *ready,
            reloading: *reloading,
            stopping: *stopping,
            triggered: *triggered,
            status: status.clone(),
            watchdog_ns: watchdog.map(|watchdog| u64::try_from(watchdog.as_nanos()).unwrap_or(u64::MAX)),
            extended_ns: extended.map(ns),
        }
    }

    fn spoken(self) -> Spoken {
        Spoken {
            ready: self.ready,
            reloading: self.reloading,
            stopping: self.stopping,
            triggered: self.triggered,
            status: self.status,
            watchdog: self.watchdog_ns.map(Duration::from_nanos),
            extended: self.extended_ns.map(Instant::from_nanos),
            ..Spoken::default()
        }
    }
}

/// How a process ended: a code, a signal (`true`: core dumped), or unknown; and whether memory had run out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StoredExit {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<(i32, bool)>,
    #[serde(skip_serializing_if = "is_false")]
    oom: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredRestart {
    id: u64,
    cause: RestartCause,
    detail: String,
    attempt: u32,
    steps: Vec<(RestartStep, u64)>,
    result: Option<RestartResult>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct StoredProbe {
    name: String,
    /// What it measures: another one is another probe.
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    passing: Option<bool>,
    passes: u32,
    fails: u32,
    recent: u64,
    recent_len: u32,
    passed_once: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<StoredResult>,
    #[serde(skip_serializing_if = "is_false")]
    stale: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    conclusive_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_pass_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_fail_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_fail_ns: Option<u64>,
    /// Its last failures were not counted, since a need was to blame.
    #[serde(skip_serializing_if = "is_false")]
    blamed: bool,
    #[serde(skip_serializing_if = "is_zero")]
    flaps: u32,
    #[serde(skip_serializing_if = "is_false")]
    flapping: bool,
    skipped: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredResult {
    outcome: StoredOutcome,
    detail: String,
    at_ns: u64,
    latency_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredOutcome {
    Pass,
    Degraded(DegradedReason),
    Fail(FailReason, Option<ProbePhase>),
    Inconclusive(InconclusiveReason),
}

impl From<Exit> for StoredExit {
    fn from(exit: Exit) -> Self {
        let (code, signal) = match exit.kind {
            ExitKind::Code(code) => (Some(code), None),
            ExitKind::Signal { signal, core } => (None, Some((signal.number(), core))),
            ExitKind::Unknown => (None, None),
        };
        Self { code, signal, oom: exit.oom }
    }
}

impl StoredExit {
    pub(crate) fn exit(self) -> Exit {
        let signal = self.signal.and_then(|(number, core)| Some((Signal::new(number)?, core)));
        let kind = match (self.code, signal) {
            (Some(code), _) => ExitKind::Code(code),
            (None, Some((signal, core))) => ExitKind::Signal { signal, core },
            (None, None) => ExitKind::Unknown,
        };
        Exit { kind, oom: self.oom }
    }
}

impl From<&FailedWhy> for StoredWhy {
    fn from(why: &FailedWhy) -> Self {
        match why {
            FailedWhy::BudgetSpent => Self::BudgetSpent,
            FailedWhy::StartFailed(error) => Self::StartFailed(error.clone()),
            FailedWhy::Exited(exit) => Self::Exited((*exit).into()),
            FailedWhy::Gone(cause) => Self::Gone(*cause),
        }
    }
}

impl StoredWhy {
    fn why(self) -> FailedWhy {
        match self {
            Self::BudgetSpent => FailedWhy::BudgetSpent,
            Self::StartFailed(error) => FailedWhy::StartFailed(error),
            Self::Exited(exit) => FailedWhy::Exited(exit.exit()),
            Self::Gone(cause) => FailedWhy::Gone(cause),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn ns(at: Instant) -> u64 {
    at.as_nanos()
}

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
            at_ns: ns(last.at),
            latency_ns: last.latency.map(|latency| u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX)),
        }),
        stale: probe.stale,
        conclusive_ns: probe.last_conclusive.map(ns),
        last_pass_ns: probe.last_pass.map(ns),
        first_fail_ns: probe.first_fail.map(ns),
        last_fail_ns: probe.last_fail.map(ns),
        blamed: probe.blamed_elsewhere,
        flaps,
        flapping,
        skipped: probe.skipped,
    }
}

fn what_it_measures(spec: &ProbeSpec) -> String {
    alloc::format!("{} {}", spec.info.kind, spec.info.target)
}

/// A probe that goes on where it was. Its failures count on, but no verdict is acted on without a fresh one.
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
    probe.last_conclusive = stored.conclusive_ns.map(Instant::from_nanos);
    probe.last_pass = stored.last_pass_ns.map(Instant::from_nanos);
    probe.first_fail = stored.first_fail_ns.map(Instant::from_nanos);
    probe.last_fail = stored.last_fail_ns.map(Instant::from_nanos);
    probe.flapping = Flapping::from_parts(stored.flaps, passed, stored.flapping);
    probe
}

impl Realm {
    /// Everything that has to be remembered of it; `deadline` is that of its state.
    pub(crate) fn record(&self, spec: &RealmSpec, deadline: Option<Instant>) -> PersistedRealm {
        let Exhausted { used_at, stable, attempts, uncounted, cooldowns } = self.history.tracker.remembered();
        PersistedRealm {
            run: self.generation.run.0,
            kind: spec.kind.to_string(),
            state: self.state.stored(deadline),
            desired: Some(self.wish.desired),
            status: Some((self.shown.status, ns(self.shown.status_since))),
            resting: match &self.wish.resting {
                Resting::Manual => StoredRest::Manual,
                Resting::Operator(hold) => StoredRest::Operator(hold.reason.clone()),
                Resting::Removed => StoredRest::Removed,
            },
            held_by: self.wish.operator_hold().and_then(|hold| hold.by),
            held_at: self.wish.operator_hold().and_then(|hold| hold.at),
            faulted: self.history.faulted,
            excuse: self.shown.excuse,
            pause: self
                .wish
                .pause
                .as_ref()
                .map(|pause| StoredPause { reason: pause.reason.clone(), until_ns: pause.until.map(ns) }),
            pid: self.generation.pid,
            started_ns: self.generation.started_at.map(ns),
            last_exit: self.history.last_exit.map(|last| (last.exit.into(), ns(last.at))),
            ran_ns: self.history.last_exit.and_then(|last| Some(nanos(last.ran_for?))),
            failure: self.history.failure.clone(),
            gap_until_ns: ns(self.history.gap_until),
            not_before_ns: ns(self.history.not_before),
            debits_ns: used_at.into_iter().map(ns).collect(),
            stable,
            attempts,
            uncounted,
            cooldowns,
            restart: self.history.restart.as_ref().map(|record| StoredRestart {
                id: record.id.0,
                cause: record.cause,
                detail: record.detail.clone(),
                attempt: record.attempt,
                steps: record.steps.iter().map(|(step, at)| (*step, ns(*at))).collect(),
                result: record.result,
            }),
            restarts_opened: self.history.restarts_opened,
            relapsed: self.history.relapsed,
            stuck_for: state::stuck::cause(self),
            excused: self.history.excused.map(|restart| restart.0),
            healthy_since_ns: self.generation.healthy_since.map(ns),
            refuses_since_ns: self.shown.refuses_since.map(ns),
            suspicion: self.history.suspicion.map(|suspicion| StoredSuspicion {
                tried: suspicion.tried,
                alone_since_ns: suspicion.alone_since.map(ns),
            }),
            cleared_ns: self.history.cleared.map(ns),
            port_conflict: self.generation.port_conflict.clone(),
            failed_start: self.history.failed_start.as_ref().map(StoredFailedStart::of),
            start_due: matches!(self.state, State::Stopped { start_due: true }),
            ordered_in_pause: self.wish.ordered_in_pause,
            keep_run: self.generation.untried,
            need_restart_due: self.serving().is_some_and(|serving| serving.restart_with_need),
            renewal_due: self.generation.outdated,
            done_once: self.history.done_once,
            asked_for: self.wish.asked_for,
            said: StoredSaid::of(&self.generation.spoken),
            probes: spec
                .probes
                .iter()
                .zip(&self.evidence.probes)
                .map(|(spec, probe)| stored_probe(spec, probe))
                .collect(),
        }
    }

    /// Takes up what is remembered of it. Nothing is measured and nothing acts before it is resumed.
    pub(crate) fn take_up(&mut self, spec: &RealmSpec, record: PersistedRealm) {
        self.generation.run = RunId(record.run);
        self.history.restarts_opened = record.restarts_opened;
        if record.kind != spec.kind.as_str() {
            // What it was then is not what it is now.
            return;
        }
        self.wish.desired = record.desired.unwrap_or(self.wish.desired);
        self.wish.resting = match record.resting {
            StoredRest::Manual => Resting::Manual,
            StoredRest::Operator(reason) => {
                Resting::Operator(OperatorHold { reason, by: record.held_by, at: record.held_at })
            }
            StoredRest::Removed => Resting::Removed,
        };
        let lifted = match self.wish.resting {
            Resting::Manual => !spec.manual,
            Resting::Removed => !spec.retired,
            Resting::Operator(_) => false,
        };
        if lifted {
            self.wish.desired = Desired::Up;
        }
        self.wish.asked_for = record.asked_for;
        (self.history.faulted, self.shown.excuse) = (record.faulted, record.excuse);
        if let Some((status, since)) = record.status {
            (self.shown.status, self.shown.status_since) = (status, Instant::from_nanos(since));
        }
        self.wish.pause = record
            .pause
            .map(|pause| Pause { reason: pause.reason, until: pause.until_ns.map(Instant::from_nanos) });
        self.generation.pid = record.pid;
        self.generation.started_at = record.started_ns.map(Instant::from_nanos);
        let ran_for = record.ran_ns.map(Duration::from_nanos);
        self.history.last_exit = record.last_exit.map(|(exit, at)| LastExit {
            exit: exit.exit(),
            at: Instant::from_nanos(at),
            ran_for,
        });
        self.history.failure = record.failure;
        self.history.gap_until = Instant::from_nanos(record.gap_until_ns);
        self.history.not_before = Instant::from_nanos(record.not_before_ns);
        self.history.tracker = RestartTracker::restored(Exhausted {
            used_at: record.debits_ns.into_iter().map(Instant::from_nanos).collect(),
            stable: record.stable,
            attempts: record.attempts,
            uncounted: record.uncounted,
            cooldowns: record.cooldowns,
        });
        self.history.restart = record.restart.map(|stored| RestartAttempt {
            id: RestartId(stored.id),
            cause: stored.cause,
            detail: stored.detail,
            attempt: stored.attempt,
            steps: stored.steps.into_iter().map(|(step, at)| (step, Instant::from_nanos(at))).collect(),
            result: stored.result,
        });
        self.history.relapsed = record.relapsed;
        self.history.excused = record.excused.map(RestartId);
        self.generation.healthy_since = record.healthy_since_ns.map(Instant::from_nanos);
        self.shown.refuses_since = record.refuses_since_ns.map(Instant::from_nanos);
        self.history.suspicion = record.suspicion.map(|stored| Suspicion {
            tried: stored.tried,
            alone_since: stored.alone_since_ns.map(Instant::from_nanos),
        });
        self.history.cleared = record.cleared_ns.map(Instant::from_nanos);
        self.generation.port_conflict = record.port_conflict;
        self.history.failed_start = record.failed_start.map(StoredFailedStart::failed_start);
        self.wish.ordered_in_pause = record.ordered_in_pause;
        self.generation.untried = record.keep_run;
        self.generation.outdated = record.renewal_due;
        self.history.done_once = record.done_once && spec.kind == RealmKind::Oneshot;
        self.generation.spoken = record.said.spoken();
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
            State::Stopped { start_due } => *start_due = record.start_due,
            State::Stuck { cause } | State::Unverified { cause, .. } => *cause = record.stuck_for,
            State::Running(serving) => serving.restart_with_need = record.need_restart_due,
            _ => {}
        }
    }

    /// What an operator has last said about it outranks what is remembered.
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

    /// The last word of an operator.
    pub(crate) fn intent(&self, spec: &RealmSpec) -> OperatorIntent {
        let hold = self.wish.operator_hold();
        let desired = match self.wish.desired {
            Desired::Down => hold.map(|_| Desired::Down),
            // What starts by itself needs no word.
            Desired::Up => (spec.manual && self.wish.asked_for).then_some(Desired::Up),
        };
        OperatorIntent { desired, hold: hold.cloned().unwrap_or_default(), pause: self.wish.pause.clone() }
    }
}

impl State {
    fn stored(&self, deadline: Option<Instant>) -> StoredState {
        match self {
            Self::Waiting(waiting) if waiting.until_mended() => StoredState::Mended,
            Self::Waiting(_) => StoredState::Waiting,
            Self::Starting(starting) => starting.stored(),
            Self::Running(serving) => StoredState::Running { ready_ns: ns(serving.since) },
            Self::Stopping(stopping) => stopping.stored(deadline),
            Self::Backoff(backoff) => StoredState::Backoff { until_ns: ns(backoff.until) },
            Self::Cooldown(cooldown) => {
                StoredState::Cooldown { until_ns: ns(cooldown.until), why: (&cooldown.why).into() }
            }
            Self::Stopped { .. } => StoredState::Stopped,
            Self::Failed(failed) => StoredState::Failed { why: (&failed.why).into() },
            Self::Done => StoredState::Done,
            Self::Stuck { .. } => StoredState::Stuck,
            Self::Unverified { what, .. } => StoredState::Unverified { what: what.clone() },
            Self::External(_) => StoredState::External,
        }
    }

    fn restored(stored: StoredState) -> Self {
        use crate::state::{Serving, Starting, Stopping, Waiting};
        match stored {
            StoredState::Waiting => Self::waiting(),
            StoredState::Mended => Self::Waiting(Waiting::mended()),
            StoredState::Preparing { launching, before } => {
                Self::Starting(Starting::preparing(launching, before))
            }
            StoredState::Started => Self::Starting(Starting::started()),
            StoredState::Running { ready_ns } => Self::Running(Serving::since(Instant::from_nanos(ready_ns))),
            StoredState::Stopping { cause, exit, killing, launching, told, deadline_ns } => {
                let exit = exit.map(StoredExit::exit);
                let deadline = Instant::from_nanos(deadline_ns);
                Self::Stopping(Stopping::restored(cause, exit, (killing, launching, told), deadline))
            }
            StoredState::Backoff { until_ns } => {
                Self::Backoff(Backoff { until: Instant::from_nanos(until_ns) })
            }
            StoredState::Cooldown { until_ns, why } => {
                Self::Cooldown(Cooldown { until: Instant::from_nanos(until_ns), why: why.why() })
            }
            StoredState::Stopped => Self::Stopped { start_due: false },
            StoredState::Failed { why } => Self::Failed(Failed { why: why.why() }),
            StoredState::Done => Self::Done,
            StoredState::Stuck => Self::Stuck { cause: None },
            StoredState::Unverified { what } => Self::Unverified { what, cause: None },
            StoredState::External => Self::External(Serving::since(Instant::ZERO)),
        }
    }
}

#[cfg(test)]
mod tests;
