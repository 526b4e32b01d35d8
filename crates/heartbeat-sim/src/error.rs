//! Errors of this crate: a scenario that could not be built, a recording that could not be read.

use heartbeat_restart::PolicyError;
use heartbeat_status::{NameError, ThresholdError};
use heartbeat_supervisor::PlanError;

/// The generator made something the core refuses: a fault of the generator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// A name is invalid.
    #[error("naming a realm of the scenario: {0}")]
    Name(#[from] NameError),
    /// Thresholds are invalid.
    #[error("making the thresholds of the scenario: {0}")]
    Thresholds(#[from] ThresholdError),
    /// A restart policy.
    #[error("making the restart policy of the scenario: {0}")]
    Policy(#[from] PolicyError),
    /// The plan is invalid.
    #[error("making the plan of the scenario: {0}")]
    Plan(#[from] PlanError),
    /// A recording that is not one of ours.
    #[error("reading a recording: {0}")]
    Recording(#[from] serde_json::Error),
}
