//! The whole record of a realm.

use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::{
    DegradedReason, FailReason, InconclusiveReason, NeedState, ProbePhase, RestartCause, RunId, Status,
};
use serde::{Deserialize, Serialize};

use super::encoding::{is_false, is_zero};
use super::{Generation, History, StoredState, Wish};

/// What the core has to know about a realm to continue with it. Opaque: only the core makes and reads it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PersistedRealm {
    pub(crate) kind: String,
    pub(crate) state: StoredState,
    #[serde(flatten)]
    pub(crate) wish: Wish,
    #[serde(flatten)]
    pub(crate) history: History,
    #[serde(flatten)]
    pub(crate) generation: Generation,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<(Status, u64)>,
    #[serde(skip_serializing_if = "is_ready")]
    pub(crate) excuse: NeedState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refuses_since_ns: Option<u64>,
    /// Only of a stuck realm: why it is to run again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stuck_for: Option<RestartCause>,
    /// Only of a stopped realm: it starts when an operator resumes it.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) start_owed: bool,
    /// Only of a running realm: a need has broken since it started.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) restart_owed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) probes: Vec<StoredProbe>,
}

impl PersistedRealm {
    /// Whether the realm is at rest, waits for a time, is down, or has reported something. Its process would not show
    /// that, and a receiver may have been notified that it is down.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let down = self.status.is_some_and(|(status, _)| status == Status::Down);
        down || !self.generation.spoken.is_nothing() || self.state.is_settled()
    }

    /// The generation of the record.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.generation.run
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_ready(needs: &NeedState) -> bool {
    *needs == NeedState::Ready
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StoredProbe {
    pub(crate) name: String,
    /// The target of the measurement: a probe with another target is another probe.
    pub(crate) target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) passing: Option<bool>,
    pub(crate) passes: u32,
    pub(crate) fails: u32,
    pub(crate) recent: u64,
    pub(crate) recent_len: u32,
    pub(crate) passed_once: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<StoredResult>,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) stale: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) conclusive_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_pass_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_fail_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_fail_ns: Option<u64>,
    /// The last failures did not count, since a need was to blame.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) blamed: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) flaps: u32,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) flapping: bool,
    pub(crate) skipped: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredResult {
    pub(crate) outcome: StoredOutcome,
    pub(crate) detail: String,
    pub(crate) at_ns: u64,
    pub(crate) latency_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoredOutcome {
    Pass,
    Degraded(DegradedReason),
    Fail(FailReason, Option<ProbePhase>),
    Inconclusive(InconclusiveReason),
}
