//! A restart of a realm: one object with its cause, the time of each step, and its result.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::{Instant, RestartId};

closed_list! {
    /// Why a realm was restarted. Only the first four count against the restart budget.
    pub enum RestartCause ("restart cause") {
        /// The process ended by itself.
        Exited = "exited",
        /// A live probe is past its threshold.
        Unhealthy = "unhealthy",
        /// It used more memory than it may, or was killed for want of memory.
        OutOfMemory = "out_of_memory",
        /// Not ready within `start.timeout`.
        StartTimedOut = "start_timed_out",
        /// A need was restarted and `while_down = "restart"`.
        DependencyRestarted = "dependency_restarted",
        /// An operator asked.
        Requested = "requested",
        /// The configuration of its process changed.
        Reloaded = "reloaded",
    }
}

impl RestartCause {
    /// Counts against the budget.
    #[must_use]
    pub const fn is_debited(self) -> bool {
        matches!(self, Self::Exited | Self::Unhealthy | Self::OutOfMemory | Self::StartTimedOut)
    }
}

closed_list! {
    /// How a restart transaction ended.
    pub enum RestartResult ("restart result") {
        /// Healthy again, and healthy for `verify_for`.
        Verified = "verified",
        /// This attempt failed; another follows.
        Failed = "failed",
        /// A newer command replaced it.
        Abandoned = "abandoned",
    }
}

/// The number of a restart within the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Number of the attempt, from 1.
    pub number: u32,
    /// How many the budget allows.
    pub of: u32,
}

impl Attempt {
    /// `None` for a restart that the budget does not count, such as the trial after a cooldown.
    #[must_use]
    pub fn counted(cause: RestartCause, number: Option<u32>, of: u32) -> Option<Self> {
        // An older heartbeatd has recorded a number beyond the budget for a restart that is not counted.
        let number = number.filter(|number| cause.is_debited() && *number <= of)?;
        Some(Self { number, of })
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {} of {}", self.number, self.of)
    }
}

closed_list! {
    /// A step of a restart transaction.
    pub enum RestartStep ("restart step") {
        /// The fault was detected, or the request arrived.
        Detected = "detected",
        /// The old tree is gone.
        Stopped = "stopped",
        /// The new process was exec'd.
        Started = "started",
        /// It became ready.
        Ready = "ready",
        /// It stayed healthy for `verify_for`.
        Verified = "verified",
        /// It failed, or was cancelled.
        Ended = "ended",
    }
}

/// One restart transaction: an object with a cause, steps with times, and a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartAttempt {
    /// Identifier of the restart.
    pub id: RestartId,
    /// Cause of the restart.
    pub cause: RestartCause,
    /// The evidence, for a person.
    pub detail: String,
    /// Attempt number within the budget window, from 1; `None` where the budget does not count the restart.
    pub attempt: Option<u32>,
    /// Time of every step reached, in order.
    pub steps: Vec<(RestartStep, Instant)>,
    /// How it ended; `None` while it is open.
    pub result: Option<RestartResult>,
}
