//! The notifications of a realm's process in this generation.

use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

use heartbeat_status::{Instant, SaidState};
use serde::{Deserialize, Serialize};

use super::encoding::{Via, is_false};

/// The notifications of this generation.
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
    /// The watchdog that the process has chosen itself; zero for none.
    #[serde(rename = "watchdog_ns", with = "Via::<Option<u64>>", skip_serializing_if = "Option::is_none")]
    pub(crate) watchdog: Option<Duration>,
    /// The process has asked heartbeatd to treat it as silent for too long.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) triggered: bool,
    /// Every timeout of the realm ends at this time at the earliest.
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

    /// The text for the detail of the probe.
    pub(crate) fn words(&self) -> String {
        match &self.status {
            Some(status) => format!("{}: {status}", self.state()),
            None => self.state().to_string(),
        }
    }
}
