//! Where a realm is in its life, as it is stored. Time that has gone by is not: what runs begins its times anew.

use alloc::string::String;

use heartbeat_status::{Exit, RestartCause};
use serde::{Deserialize, Serialize};

use super::encoding::{StoredExit, Via};

/// What a realm was given up for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// The restart budget is used up.
    BudgetSpent,
    /// The program could not be executed.
    StartFailed(String),
    /// It ended, and its policy leaves it at that.
    Exited(#[serde(with = "Via::<StoredExit>")] Exit),
    /// It was ended for this cause, and its policy leaves it at that.
    Gone(RestartCause),
}

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
    /// It has come to rest, or waits for a time: looking at its process would not tell that.
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
