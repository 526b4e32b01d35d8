//! The stored state of a realm. It has no elapsed times: the timers of a running realm begin anew.

use alloc::string::String;

use heartbeat_status::{Exit, RestartCause};
use serde::{Deserialize, Serialize};

use super::encoding::{StoredExit, Via};

/// Why heartbeatd has given up a realm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// The restart budget is used up.
    BudgetSpent,
    /// The program could not be executed.
    StartFailed(String),
    /// The process ended, and the policy does not restart it.
    Exited(#[serde(with = "Via::<StoredExit>")] Exit),
    /// heartbeatd ended the process for this cause, and the policy does not restart it.
    Gone(RestartCause),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoredState {
    #[default]
    Waiting,
    /// Waiting until no need is broken any more.
    Mended,
    /// The process has not been exec'd; `launching` once the realm has a launch slot.
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
        #[serde(with = "Via::<Option<StoredExit>>")]
        exit: Option<Exit>,
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
        why: Why,
    },
    Stopped,
    Failed {
        why: Why,
    },
    Done,
    Stuck,
    Unverified {
        what: String,
    },
    External,
}

impl StoredState {
    /// Whether the realm is at rest, or waits for a time: its process would not show that.
    pub(crate) fn is_settled(&self) -> bool {
        match self {
            Self::Waiting
            | Self::Mended
            | Self::Preparing { .. }
            | Self::Started
            | Self::Running { .. }
            | Self::External => false,
            Self::Stopping { .. }
            | Self::Backoff { .. }
            | Self::Cooldown { .. }
            | Self::Stopped
            | Self::Failed { .. }
            | Self::Done
            | Self::Stuck
            | Self::Unverified { .. } => true,
        }
    }
}
