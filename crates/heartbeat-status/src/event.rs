//! Facts in the past tense, for readers that only want to look.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{
    Action, Attempt, Exit, Health, Incident, IncidentStep, Instant, Outcome, Phase, Progress, RealmIx,
    RealmName, Reason, RestartAttempt, RestartCause, RestartId, RestartResult, RunId, SaidState, Signal,
    Status,
};

/// One event of a realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Counts up by one with every event of this supervisor.
    pub seq: u64,
    /// Time at which it happened.
    pub at: Instant,
    /// The realm concerned; `None` for the ecosystem or heartbeatd itself.
    pub realm: Option<(RealmIx, RealmName)>,
    /// What has happened in it.
    pub kind: EventKind,
}

/// What can happen to a realm.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The status word changed.
    StatusChanged {
        /// Status before the change.
        from: Status,
        /// Status after the change.
        to: Status,
        /// Reason of the new status.
        reason: Reason,
        /// Why, for a person.
        message: String,
    },
    /// The phase changed.
    PhaseChanged {
        /// Phase before the change.
        from: Phase,
        /// Phase after the change.
        to: Phase,
    },
    /// The health changed.
    HealthChanged {
        /// Health before the change.
        from: Health,
        /// Health after the change.
        to: Health,
    },
    /// A probe's outcome differs from its last one.
    ProbeChanged {
        /// Name of the probe.
        probe: String,
        /// What it said.
        outcome: Outcome,
        /// For a person; may be empty.
        detail: String,
        /// Where its counter stands.
        progress: Progress,
    },
    /// The failures of a probe count from the beginning again.
    ProbeReset {
        /// Name of the probe.
        probe: String,
    },
    /// A probe has had no conclusive measurement for too long, or has one again.
    ProbeStale {
        /// Name of the probe.
        probe: String,
        /// It is stale now.
        stale: bool,
    },
    /// A process was started.
    RunStarted {
        /// Generation that it belongs to.
        run: RunId,
        /// Pid of the process.
        pid: u32,
    },
    /// The started program has ended, and may have left a daemon behind.
    Forked {
        /// Generation that it belongs to.
        run: RunId,
    },
    /// Another process of the tree is now the main process of a generation: a daemon that its program has left behind.
    MainChanged {
        /// Generation that it belongs to.
        run: RunId,
        /// Pid of the process.
        pid: u32,
    },
    /// A realm reported a new state.
    Said {
        /// The state that the realm reports.
        state: SaidState,
        /// Its last `STATUS=`; empty for none.
        status: String,
    },
    /// heartbeatd adopted a process of an earlier heartbeatd: the same pid, the same generation.
    Adopted {
        /// Generation that it belongs to.
        run: RunId,
        /// Pid of the process.
        pid: u32,
    },
    /// A process could not be started.
    StartFailed {
        /// The generation that never came to be.
        run: RunId,
        /// Launcher step and error, for a person.
        error: String,
    },
    /// A process ended.
    RunExited {
        /// Generation that it belongs to.
        run: RunId,
        /// How the process ended.
        exit: Exit,
        /// heartbeatd asked for it.
        expected: bool,
    },
    /// A signal was sent to a realm.
    Signalled {
        /// To which generation.
        run: RunId,
        /// The signal that stopped it.
        signal: Signal,
        /// To its whole process tree, and not to its main process alone.
        tree: bool,
        /// KILL follows after this, unless no process is left by then.
        kill_in: Option<Duration>,
    },
    /// A restart transaction opened.
    RestartOpened {
        /// Identifier of the restart.
        id: RestartId,
        /// Cause of the restart.
        cause: RestartCause,
        /// Why, for a person.
        detail: String,
        /// Its number within the budget.
        attempt: Option<Attempt>,
    },
    /// A restart transaction ended.
    RestartClosed {
        /// Identifier of the restart.
        id: RestartId,
        /// Its number within the budget.
        attempt: Option<Attempt>,
        /// Result of the restart.
        result: RestartResult,
        /// From detection to the end, in milliseconds.
        took_ms: u64,
        /// The whole restart.
        restart: Box<RestartAttempt>,
    },
    /// The restart budget is used up: a person is needed.
    BudgetSpent {
        /// So many ...
        burst: u32,
        /// ... within this time.
        window: Duration,
        /// One more trial follows after this; `None` when there will be none.
        retry_in: Option<Duration>,
    },
    /// The budget of an objective begins to be used faster than the objective allows, or does so no longer. heartbeatd
    /// tells it from history; the core knows nothing of objectives.
    ObjectiveChanged {
        /// The budget is used too fast now.
        burning: bool,
        /// How fast, and what is left, for a person.
        message: String,
    },
    /// A long wait begins although the budget is not used up: a trial failed, or a start cannot succeed.
    CooldownBegan {
        /// What failed, for a person.
        why: String,
        /// The next trial follows after this; `None` when there will be none.
        retry_in: Option<Duration>,
    },
    /// The cooldown after that is over: one trial follows if it is still needed. Only of an external realm, whose phase
    /// does not show it.
    CooldownOver,
    /// The log of a realm cannot be opened, and its output goes to memory until its next start.
    LogInMemory,
    /// The host does not enforce these limits of a realm: it has no controller for them.
    Unbounded {
        /// The limits by their keys; empty when all are enforced again.
        limits: String,
    },
    /// A command around the life of a realm failed, and the realm continues without it.
    HookFailed {
        /// Its configuration key.
        hook: &'static str,
        /// Which command, and how, for a person.
        failure: String,
    },
    /// A realm's own restart command has begun, or has ended.
    RestartCommand {
        /// It has ended.
        ended: bool,
        /// What went wrong, for a person.
        failure: Option<String>,
    },
    /// An operator's command took effect.
    Commanded {
        /// The action of the command.
        action: Action,
        /// The reason given.
        reason: Option<String>,
    },
    /// An operator paused a realm: its process runs on and is measured, nothing acts and nothing alerts.
    Paused {
        /// Why, as the operator said.
        reason: String,
        /// Until when; `None` until an operator resumes the realm.
        until: Option<Instant>,
    },
    /// A pause ended.
    Resumed {
        /// By itself, at its time; otherwise an operator ended it.
        expired: bool,
    },
    /// A realm began to flap, or has settled.
    FlappingChanged {
        /// It flaps now.
        flapping: bool,
        /// Weighted share of its last results that were changes, in percent.
        percent: u32,
    },
    /// Too many realms turned unhealthy at once, or the driver's loop is late: restarts for health are held.
    FuseTripped {
        /// The evidence, for a person.
        message: String,
    },
    /// Restarts for health are allowed again.
    FuseReleased,
    /// Another process listens on a realm's port, or has left it.
    PortHeld {
        /// The process, for a person.
        port_owner: Option<String>,
    },
    /// A realm fails, and a need that refuses work is the suspect; or that is over.
    NeedSuspected {
        /// Whether a need is the suspect now.
        suspected: bool,
    },
    /// A realm that is down will be restarted for its health, or will not any more, while its status stays the same.
    HealthRestartDue {
        /// Whether the restart follows, unless the realm passes before.
        due: bool,
    },
    /// A restart for its health could begin and waits for others, or waits no longer.
    RestartHeld {
        /// What it waits for, for a person; `None` when it waits no longer.
        why: Option<String>,
    },
    /// Something happened to an incident.
    Incident {
        /// Step that the incident took.
        step: IncidentStep,
        /// The incident as it stands now.
        incident: Arc<Incident>,
        /// How it ended when it is resolved, or what has changed, for a person.
        note: Option<String>,
    },
    /// A configuration took effect.
    Reloaded {
        /// What changed, for a person.
        summary: String,
    },
    /// An input made no sense in this state; nothing changed.
    Ignored {
        /// Why the input was ignored.
        why: &'static str,
    },
    /// Everything that is to start by itself has been told to.
    Booted {
        /// Realms whose processes an earlier heartbeatd has started.
        adopted: u32,
        /// Realms that should be up and are not, with their statuses, in start order.
        missing: Vec<(RealmName, Status)>,
    },
    /// The stop of everything began.
    ShutdownStarted,
    /// Nothing is left running.
    ShutdownFinished {
        /// Realms that had to be abandoned by the deadline.
        left: u32,
    },
}
