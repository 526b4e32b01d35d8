//! The recorded form of inputs: what happened when, apart from the types of the core, so that a recording made
//! yesterday still reads when those have moved.

use std::time::Duration;

use heartbeat_status::{
    Beat, CheckId, CheckResult, CommandId, DegradedReason, Exit, ExitKind, FailReason, Hook,
    InconclusiveReason, Instant, Outcome, OwnProblemKind, PhaseTimes, ProbePhase, RealmIx, RunFact, RunId,
    Said, Signal, StartError, StartFailure,
};
use heartbeat_supervisor::{Command, Input, Signalling};
use heartbeat_wire::Action;
use serde::{Deserialize, Serialize};

/// A whole run: the seed of its plan, and its inputs in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// Decides the plan and the core's jitter.
    pub seed: u64,
    /// What was fed, in order.
    pub steps: Vec<Step>,
}

/// One recorded step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Nanoseconds on the monotonic clock.
    pub at_ns: u64,
    /// What happened; absent when time passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Recorded>,
}

/// A recorded exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedExit {
    /// With a code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// It is not known.
    Unknown,
}

/// A recorded outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedOutcome {
    /// The probe passed.
    Pass,
    /// A pass with a remark.
    Degraded(DegradedReason),
    /// A failure and its stage.
    Fail(FailReason, Option<ProbePhase>),
    /// It says nothing.
    Inconclusive(InconclusiveReason),
}

/// A command of the realm's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedHook {
    /// The `start.before` command.
    Before,
    /// The `start.after` command.
    After,
    /// The `stop.command` command.
    Stop,
    /// The `restart.command` command.
    Restart,
}

/// What a realm said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "field for field what heartbeat_status::Said documents")]
pub struct RecordedSaid {
    pub ready: bool,
    pub reloading: bool,
    pub stopping: bool,
    pub status: Option<String>,
    /// `true`: it is well; `false`: it wants to be treated as if it hung.
    pub alive: Option<bool>,
    pub watchdog_ns: Option<u64>,
    pub extend_ns: Option<u64>,
}

impl RecordedSaid {
    fn of(said: &Said) -> Self {
        Self {
            ready: said.ready,
            reloading: said.reloading,
            stopping: said.stopping,
            status: said.status.clone(),
            alive: said.beat.map(|beat| beat == Beat::Alive),
            watchdog_ns: said.watchdog.map(nanos),
            extend_ns: said.extend.map(nanos),
        }
    }

    fn said(self) -> Said {
        Said {
            ready: self.ready,
            reloading: self.reloading,
            stopping: self.stopping,
            status: self.status,
            beat: self.alive.map(|alive| if alive { Beat::Alive } else { Beat::Trigger }),
            watchdog: self.watchdog_ns.map(Duration::from_nanos),
            extend: self.extend_ns.map(Duration::from_nanos),
        }
    }
}

/// An input as it is written down. Realms and generations by number; names are the plan's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "snake_case")]
#[expect(missing_docs, reason = "field for field what heartbeat_supervisor::Input documents")]
pub enum Recorded {
    Boot,
    /// A plan takes the place of the one in force: what it is, its seed decides.
    Reload {
        seed: u64,
    },
    Checked {
        id: u64,
        outcome: RecordedOutcome,
        detail: String,
        started_ns: u64,
        latency_ns: Option<u64>,
    },
    Started {
        realm: u32,
        run: u64,
        pid: u32,
    },
    StartFailed {
        realm: u32,
        run: u64,
        failure: StartFailure,
        message: String,
    },
    ProgramChecked {
        realm: u32,
        run: u64,
        failure: Option<(StartFailure, String)>,
    },
    Exited {
        realm: u32,
        run: u64,
        exit: RecordedExit,
        empty: bool,
    },
    Emptied {
        realm: u32,
        run: u64,
    },
    #[serde(rename = "Halted")]
    StoppedBySignal {
        realm: u32,
        run: u64,
        #[serde(rename = "halted")]
        stopped: bool,
    },
    HookDone {
        realm: u32,
        run: u64,
        hook: RecordedHook,
        failure: Option<String>,
    },
    LogInMemory {
        realm: u32,
        run: u64,
    },
    Forked {
        realm: u32,
        run: u64,
    },
    Unbounded {
        realm: u32,
        run: u64,
        limits: Vec<String>,
    },
    MemoryUsed {
        realm: u32,
        run: u64,
        bytes: u64,
    },
    MainChanged {
        realm: u32,
        run: u64,
        pid: u32,
    },
    PortHeld {
        realm: u32,
        run: u64,
        #[serde(rename = "holder")]
        port_owner: Option<String>,
    },
    Notify {
        realm: u32,
        run: u64,
        said: RecordedSaid,
    },
    Lag {
        late: bool,
    },
    OwnProblem {
        kind: OwnProblemKind,
        message: Option<String>,
    },
    Command {
        id: u64,
        action: Action,
        realms: Vec<u32>,
        cascade: bool,
        force: bool,
        #[serde(default)]
        lift_holds: bool,
        reason: Option<String>,
        #[serde(default)]
        #[serde(rename = "lasts_ms")]
        duration_ms: Option<u64>,
        #[serde(default)]
        extends_only: bool,
        /// Its number, and whether the whole tree is sent it.
        #[serde(default)]
        signal: Option<(i32, bool)>,
    },
    Refresh {
        id: u64,
        realm: Option<u32>,
    },
    Suspended {
        asleep_ms: u64,
    },
    Shutdown {
        now: bool,
    },
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn hook(hook: Hook) -> RecordedHook {
    match hook {
        Hook::Before => RecordedHook::Before,
        Hook::After => RecordedHook::After,
        Hook::Stop => RecordedHook::Stop,
        Hook::Restart => RecordedHook::Restart,
    }
}

impl Recorded {
    /// Writes an input down. What the core does not decide on (phase times, a core dump) is left out.
    #[must_use]
    pub fn of(input: &Input) -> Self {
        match input {
            Input::Boot => Self::Boot,
            Input::Checked { id, result } => Self::Checked {
                id: id.0,
                outcome: match result.outcome {
                    Outcome::Pass => RecordedOutcome::Pass,
                    Outcome::Degraded(reason) => RecordedOutcome::Degraded(reason),
                    Outcome::Fail { reason, phase } => RecordedOutcome::Fail(reason, phase),
                    Outcome::Inconclusive(reason) => RecordedOutcome::Inconclusive(reason),
                },
                detail: result.detail.clone(),
                started_ns: result.started_at.as_nanos(),
                latency_ns: result.latency.map(nanos),
            },
            Input::Run { realm, run, fact: RunFact::Started { pid } } => {
                Self::Started { realm: realm.0, run: run.0, pid: *pid }
            }
            Input::Run { realm, run, fact: RunFact::StartFailed { error } } => Self::StartFailed {
                realm: realm.0,
                run: run.0,
                failure: error.failure,
                message: error.message.clone(),
            },
            Input::Run { realm, run, fact: RunFact::ProgramChecked { failure } } => Self::ProgramChecked {
                realm: realm.0,
                run: run.0,
                failure: failure.as_ref().map(|error| (error.failure, error.message.clone())),
            },
            Input::Run { realm, run, fact: RunFact::Exited { exit, empty } } => Self::Exited {
                realm: realm.0,
                run: run.0,
                exit: match exit.kind {
                    ExitKind::Code(code) => RecordedExit::Code(code),
                    ExitKind::Signal { signal, .. } => RecordedExit::Signal(signal.number()),
                    ExitKind::Unknown => RecordedExit::Unknown,
                },
                empty: *empty,
            },
            Input::Run { realm, run, fact: RunFact::Emptied } => Self::Emptied { realm: realm.0, run: run.0 },
            Input::Run { realm, run, fact: RunFact::StoppedBySignal { stopped } } => {
                Self::StoppedBySignal { realm: realm.0, run: run.0, stopped: *stopped }
            }
            Input::Run { realm, run, fact: RunFact::HookDone { hook: which, failure } } => {
                Self::HookDone { realm: realm.0, run: run.0, hook: hook(*which), failure: failure.clone() }
            }
            Input::Command { id, command } => Self::Command {
                id: id.0,
                action: command.action,
                realms: command.realms.iter().map(|ix| ix.0).collect(),
                cascade: command.cascade,
                force: command.force,
                lift_holds: command.lift_holds,
                reason: command.reason.clone(),
                duration_ms: command
                    .duration
                    .map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
                extends_only: command.extends_only,
                signal: command.signal.map(|wanted| (wanted.signal.number(), wanted.tree)),
            },
            Input::Run { realm, run, fact: RunFact::Forked } => Self::Forked { realm: realm.0, run: run.0 },
            Input::Run { realm, run, fact: RunFact::LogInMemory } => {
                Self::LogInMemory { realm: realm.0, run: run.0 }
            }
            Input::Run { realm, run, fact: RunFact::Unbounded { limits } } => {
                Self::Unbounded { realm: realm.0, run: run.0, limits: limits.clone() }
            }
            Input::Run { realm, run, fact: RunFact::MemoryUsed { bytes } } => {
                Self::MemoryUsed { realm: realm.0, run: run.0, bytes: *bytes }
            }
            Input::Run { realm, run, fact: RunFact::MainChanged { pid } } => {
                Self::MainChanged { realm: realm.0, run: run.0, pid: *pid }
            }
            Input::Run { realm, run, fact: RunFact::PortHeld { port_owner } } => {
                Self::PortHeld { realm: realm.0, run: run.0, port_owner: port_owner.clone() }
            }
            Input::Run { realm, run, fact: RunFact::Said { said } } => {
                Self::Notify { realm: realm.0, run: run.0, said: RecordedSaid::of(said) }
            }
            Input::Lag { late } => Self::Lag { late: *late },
            Input::OwnProblem { kind, message } => Self::OwnProblem { kind: *kind, message: message.clone() },
            Input::Refresh { id, realm } => Self::Refresh { id: id.0, realm: realm.map(|ix| ix.0) },
            Input::Suspended { asleep } => {
                Self::Suspended { asleep_ms: u64::try_from(asleep.as_millis()).unwrap_or(u64::MAX) }
            }
            Input::Shutdown { now } => Self::Shutdown { now: *now },
        }
    }

    /// The input again, as it was at `now`; `None` for a reload, which is a call of its own.
    #[must_use]
    pub fn input(&self, now: Instant) -> Option<Input> {
        Some(match self.clone() {
            Self::Reload { .. } => return None,
            Self::Boot => Input::Boot,
            Self::Checked { id, outcome, detail, started_ns, latency_ns } => {
                let outcome = match outcome {
                    RecordedOutcome::Pass => Outcome::Pass,
                    RecordedOutcome::Degraded(reason) => Outcome::Degraded(reason),
                    RecordedOutcome::Fail(reason, phase) => Outcome::Fail { reason, phase },
                    RecordedOutcome::Inconclusive(reason) => Outcome::Inconclusive(reason),
                };
                let result = CheckResult {
                    outcome,
                    detail,
                    started_at: Instant::from_nanos(started_ns),
                    finished_at: now,
                    latency: latency_ns.map(Duration::from_nanos),
                    phases: PhaseTimes::default(),
                    unattributable: false,
                    certificate_until: None,
                };
                Input::Checked { id: CheckId(id), result }
            }
            Self::Started { realm, run, pid } => {
                Input::Run { realm: RealmIx(realm), run: RunId(run), fact: RunFact::Started { pid } }
            }
            Self::StartFailed { realm, run, failure, message } => Input::Run {
                realm: RealmIx(realm),
                run: RunId(run),
                fact: RunFact::StartFailed { error: StartError { failure, message } },
            },
            Self::ProgramChecked { realm, run, failure } => Input::Run {
                realm: RealmIx(realm),
                run: RunId(run),
                fact: RunFact::ProgramChecked {
                    failure: failure.map(|(failure, message)| StartError { failure, message }),
                },
            },
            Self::Exited { realm, run, exit, empty } => {
                let exit = match exit {
                    RecordedExit::Code(code) => Exit::code(code),
                    RecordedExit::Signal(number) => Signal::new(number).map_or(Exit::unknown(), Exit::signal),
                    RecordedExit::Unknown => Exit::unknown(),
                };
                Input::Run { realm: RealmIx(realm), run: RunId(run), fact: RunFact::Exited { exit, empty } }
            }
            Self::Emptied { realm, run } => {
                Input::Run { realm: RealmIx(realm), run: RunId(run), fact: RunFact::Emptied }
            }
            Self::StoppedBySignal { realm, run, stopped } => Input::Run {
                realm: RealmIx(realm),
                run: RunId(run),
                fact: RunFact::StoppedBySignal { stopped },
            },
            Self::HookDone { realm, run, hook, failure } => {
                let hook = match hook {
                    RecordedHook::Before => Hook::Before,
                    RecordedHook::After => Hook::After,
                    RecordedHook::Stop => Hook::Stop,
                    RecordedHook::Restart => Hook::Restart,
                };
                Input::Run {
                    realm: RealmIx(realm),
                    run: RunId(run),
                    fact: RunFact::HookDone { hook, failure },
                }
            }
            Self::Command {
                id,
                action,
                realms,
                cascade,
                force,
                lift_holds,
                reason,
                duration_ms,
                extends_only,
                signal,
            } => {
                let realms = realms.into_iter().map(RealmIx).collect();
                Input::Command {
                    id: CommandId(id),
                    command: Command {
                        action,
                        realms,
                        cascade,
                        force,
                        lift_holds,
                        by: None,
                        at: None,
                        reason,
                        duration: duration_ms.map(Duration::from_millis),
                        extends_only,
                        signal: signal.and_then(|(number, tree)| {
                            Some(Signalling { signal: Signal::new(number)?, tree })
                        }),
                    },
                }
            }
            Self::Forked { realm, run } => {
                Input::Run { realm: RealmIx(realm), run: RunId(run), fact: RunFact::Forked }
            }
            Self::LogInMemory { realm, run } => {
                Input::Run { realm: RealmIx(realm), run: RunId(run), fact: RunFact::LogInMemory }
            }
            Self::Unbounded { realm, run, limits } => {
                Input::Run { realm: RealmIx(realm), run: RunId(run), fact: RunFact::Unbounded { limits } }
            }
            Self::MemoryUsed { realm, run, bytes } => {
                Input::Run { realm: RealmIx(realm), run: RunId(run), fact: RunFact::MemoryUsed { bytes } }
            }
            Self::MainChanged { realm, run, pid } => {
                Input::Run { realm: RealmIx(realm), run: RunId(run), fact: RunFact::MainChanged { pid } }
            }
            Self::PortHeld { realm, run, port_owner } => {
                Input::Run { realm: RealmIx(realm), run: RunId(run), fact: RunFact::PortHeld { port_owner } }
            }
            Self::Notify { realm, run, said } => Input::Run {
                realm: RealmIx(realm),
                run: RunId(run),
                fact: RunFact::Said { said: said.said() },
            },
            Self::Lag { late } => Input::Lag { late },
            Self::OwnProblem { kind, message } => Input::OwnProblem { kind, message },
            Self::Refresh { id, realm } => Input::Refresh { id: CommandId(id), realm: realm.map(RealmIx) },
            Self::Suspended { asleep_ms } => Input::Suspended { asleep: Duration::from_millis(asleep_ms) },
            Self::Shutdown { now } => Input::Shutdown { now },
        })
    }
}
