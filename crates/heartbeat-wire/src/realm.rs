//! One realm in a document.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::{
    Desired, EdgeKind, Flag, Gate, Health, NextAction, Phase, ProbeKind, ProbePhase, RealmKind, Reason,
    RestartCause, RestartResult, RestartStep, Role, SaidState, StartFailure, Status, WallTime,
};
use serde::{Deserialize, Serialize};

use crate::{LatencyEntry, Open, PhasesEntry, SloBrief};

/// One realm of a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RealmEntry {
    /// Name of the realm.
    pub name: String,
    /// Title for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where to read about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
    /// Who is responsible for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Service, oneshot or external.
    pub kind: Open<RealmKind>,
    /// It was registered at run time, and is in no file.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub registered: bool,
    /// Longest dependency path below it, from 1.
    pub tier: u32,
    /// Position in the start order, from 0.
    pub order: u32,
    /// Label for selectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Labels from the configuration.
    pub labels: BTreeMap<String, String>,
    /// Counts for `ok`.
    pub critical: bool,
    /// The one word.
    pub status: Open<Status>,
    /// Health by its probes.
    pub health: Open<Health>,
    /// Phase of its process.
    pub phase: Open<Phase>,
    /// State that is desired.
    pub desired: Open<Desired>,
    /// Pause that is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseEntry>,
    /// The mute that ends last, while receivers hear nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mute: Option<MuteEntry>,
    /// Remarks beside the status.
    pub flags: Vec<Open<Flag>>,
    /// Since when the status holds.
    pub since: WallTime,
    /// Why: the code.
    pub reason: Open<Reason>,
    /// Which kind of failed start, where the reason is `StartFailed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_failure: Option<Open<StartFailure>>,
    /// Why, for a person.
    pub message: String,
    /// What happens next by itself.
    pub next: NextEntry,
    /// The restart budget.
    pub restarts: RestartsEntry,
    /// The open restart, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartEntry>,
    /// Port that heartbeatd assigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The process; absent for external realms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessEntry>,
    /// The notifications of the realm, while it runs and has a `notify` probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<SaysEntry>,
    /// Probes of the realm.
    pub probes: Vec<ProbeEntry>,
    /// Dependencies of the realm.
    pub needs: Vec<NeedEntry>,
    /// Names of its direct dependents.
    pub needed_by: Vec<String>,
    /// Broken realms it needs directly.
    pub blocked_by: Vec<String>,
    /// The needs that refuse work, while this realm fails: they are probably the cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspects: Vec<String>,
    /// Identifier of its open incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// Latencies of its first probe within the last hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<LatencyEntry>,
    /// Share of the time that it was up, of the time that is known, by window: `24h`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub availability: BTreeMap<String, f64>,
    /// State of its objectives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<SloBrief>,
}

/// A pause of supervision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseEntry {
    /// Reason that was given.
    pub reason: String,
    /// Until when; absent until resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<WallTime>,
}

/// A mute of notifications.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MuteEntry {
    /// Reason that was given.
    pub reason: String,
    /// Time at which it ends.
    pub until: WallTime,
    /// Who: `uid 1000`, or `maintenance night` for a window of the configuration.
    pub by: String,
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextEntry {
    /// What heartbeatd does next.
    pub action: Open<NextAction>,
    /// Time at which heartbeatd does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<WallTime>,
    /// On which condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// The restart budget.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestartsEntry {
    /// Restarts in all.
    pub total: u64,
    /// Debits inside the window.
    pub used: u32,
    /// Restarts that the budget allows.
    pub burst: u32,
    /// The window in seconds.
    pub window_s: f64,
}

/// One restart transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartEntry {
    /// Identifier of the restart.
    pub id: u64,
    /// Cause of the restart.
    pub cause: Open<RestartCause>,
    /// For a person.
    pub detail: String,
    /// Attempt number within the window, from 1; absent where the budget does not count the restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Steps reached, in order.
    pub steps: Vec<RestartStepEntry>,
    /// How it ended; absent while open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Open<RestartResult>>,
}

/// A step of a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartStepEntry {
    /// Step of the restart.
    pub step: Open<RestartStep>,
    /// Time at which it happened.
    pub at: WallTime,
}

/// The process of a realm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessEntry {
    /// Pid while one exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Number of the generation.
    pub generation: u64,
    /// When exec succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<WallTime>,
    /// Seconds since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_s: Option<f64>,
    /// Adopted after a restart of heartbeatd; no fresh measurement yet.
    #[serde(default)]
    pub adopted: bool,
    /// How the last one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<ExitEntry>,
    /// Processor time of the realm's processes between the last two looks at them, in percent of one processor; absent
    /// until the second look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// Memory that the realm's processes have resident; shared memory counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
    /// Open descriptors of the realm's processes; absent when heartbeatd may not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fds: Option<u64>,
}

/// What the processes of a realm used at the last look at them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessUsage {
    /// The main process at that time.
    pub pid: u32,
    /// Percent of one processor since the look before; `None` at the first look.
    pub cpu_percent: Option<f64>,
    /// Processor time that was seen since the main process began, in seconds. It never decreases.
    pub cpu_s: f64,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// Open descriptors; `None` when heartbeatd may not count them.
    pub fds: Option<u64>,
}

/// The notifications of a realm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaysEntry {
    /// The state that the realm reports.
    pub state: Open<SaidState>,
    /// Its last `STATUS=`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The realm sends a keep-alive at least this often, or counts as hanging.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog_ms: Option<u64>,
}

/// How a process ended. Exactly one of `code` and `signal`, or neither when it is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitEntry {
    /// Exit code of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// Signal name without `SIG`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Whether the process dumped core.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub core: bool,
    /// Killed by the kernel for memory.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub oom: bool,
    /// Time at which it happened.
    pub at: WallTime,
}

/// State of a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeEntry {
    /// Name of the probe.
    pub name: String,
    /// Kind of the probe.
    pub kind: Open<ProbeKind>,
    /// What its failure may cause.
    pub role: Open<Role>,
    /// The target of the probe.
    pub target: String,
    /// `pass`, `degraded`, `fail` or `inconclusive`; absent while it is not being measured, and before the first
    /// result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Reason of the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// In which stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Open<ProbePhase>>,
    /// For a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<WallTime>,
    /// Time to the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Time of each stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phases_ms: Option<PhasesEntry>,
    /// Its last conclusive result, where that is history: it is not being measured, or later results say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastEntry>,
    /// Passes in a row.
    #[serde(default)]
    pub passes: u32,
    /// Consecutive failures that counted.
    #[serde(default)]
    pub fails: u32,
    /// The counter that is moving; absent while it is not being measured.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub progress: String,
    /// Interval in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    /// When it is measured next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<WallTime>,
    /// No conclusive evidence for too long.
    pub stale: bool,
    /// Slots that went by because a measurement was still in flight.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
}

/// A result of a probe that is history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastEntry {
    /// `pass`, `degraded`, `fail` or `inconclusive`.
    pub outcome: String,
    /// Reason of the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// In which stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Open<ProbePhase>>,
    /// For a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When it was measured.
    pub at: WallTime,
    /// Time to the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A dependency of the realm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedEntry {
    /// The realm depended upon.
    pub realm: String,
    /// How it binds.
    pub kind: Open<EdgeKind>,
    /// What the start waits for.
    pub until: Open<Gate>,
    /// Status of the dependency.
    pub status: Open<Status>,
}
