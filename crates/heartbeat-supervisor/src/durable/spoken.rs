//! What the process of a realm has said of itself in this generation.

use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

use heartbeat_status::{Instant, SaidState};
use serde::{Deserialize, Serialize};

use super::encoding::{Via, is_false};

/// What it has said in this generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Spoken {
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) ready: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) reloading: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) stopping: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<String>,
    /// The watchdog it has chosen itself; zero for none.
    #[serde(rename = "watchdog_ns", with = "Via::<Option<u64>>", skip_serializing_if = "Option::is_none")]
    pub(crate) watchdog: Option<Duration>,
    /// It has asked to be treated as if it had been silent for too long.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) triggered: bool,
    /// Whatever waits for it waits until then at least.
    #[serde(rename = "extended_ns", with = "Via::<Option<u64>>", skip_serializing_if = "Option::is_none")]
    pub(crate) extended: Option<Instant>,
}

impl Spoken {
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn state(&self) -> SaidState {
        match (self.stopping, self.reloading, self.ready) {
            (true, ..) => SaidState::Stopping,
            (false, true, _) => SaidState::Reloading,
            (false, false, true) => SaidState::Ready,
            (false, false, false) => SaidState::Starting,
        }
    }

    /// For the detail of its probe.
    pub(crate) fn words(&self) -> String {
        match &self.status {
            Some(status) => format!("{}: {status}", self.state()),
            None => self.state().to_string(),
        }
    }
}
