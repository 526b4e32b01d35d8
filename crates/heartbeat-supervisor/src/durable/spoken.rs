//! What the process of a realm has said of itself in this generation.

use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

use heartbeat_status::{Instant, SaidState};

/// What it has said in this generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spoken {
    pub(crate) ready: bool,
    pub(crate) reloading: bool,
    pub(crate) stopping: bool,
    pub(crate) status: Option<String>,
    /// The watchdog it has chosen itself; zero for none.
    pub(crate) watchdog: Option<Duration>,
    /// It has asked to be treated as if it had been silent for too long.
    pub(crate) triggered: bool,
    /// Whatever waits for it waits until then at least.
    pub(crate) extended: Option<Instant>,
    /// When its silence, or its end that does not come, is judged. Not remembered.
    pub(crate) due: Option<Instant>,
}

impl Spoken {
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
