//! The desired state of a realm: by the configuration, by its dependents, and by an operator.

use alloc::string::String;

use heartbeat_status::{Desired, Pause, WallTime};
use serde::{Deserialize, Serialize};

use super::encoding::{Stored, StoredPause, Via, is_false};
use crate::OperatorHold;

/// Why a realm is desired down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Resting {
    /// `manual = true`, and no start has been requested yet.
    #[default]
    Manual,
    /// An operator has stopped it.
    Operator(OperatorHold),
    /// The configuration in force no longer has the realm.
    Removed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Wish {
    pub(crate) desired: Desired,
    #[serde(flatten, with = "Via::<StoredRest>")]
    pub(crate) resting: Resting,
    /// An operator's pause: heartbeatd neither acts nor alerts.
    #[serde(with = "Via::<Option<StoredPause>>", skip_serializing_if = "Option::is_none")]
    pub(crate) pause: Option<Pause>,
    /// An operator has started it, and has not stopped it since.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) asked_for: bool,
    /// An operator has started this paused realm, and the process has not started yet: the pause does not hold it.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) ordered_in_pause: bool,
}

impl Default for Wish {
    fn default() -> Self {
        Self::new(Desired::Up)
    }
}

impl Wish {
    pub(crate) fn new(desired: Desired) -> Self {
        let resting = Resting::default();
        Self { desired, resting, pause: None, asked_for: false, ordered_in_pause: false }
    }

    /// An operator's stop holds it.
    pub(crate) fn operator_hold(&self) -> Option<&OperatorHold> {
        match &self.resting {
            Resting::Operator(hold) if self.desired == Desired::Down => Some(hold),
            Resting::Operator(_) | Resting::Manual | Resting::Removed => None,
        }
    }

    /// Whether a pause keeps heartbeatd from starting the realm. It does not hold a start that an operator requests.
    pub(crate) fn is_held_by_pause(&self) -> bool {
        self.pause.is_some() && !self.ordered_in_pause
    }
}

/// Why a realm is desired down, as three keys.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredRest {
    #[serde(skip_serializing_if = "Rest::is_manual")]
    resting: Rest,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_by: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_at: Option<WallTime>,
}

#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Rest {
    #[default]
    Manual,
    Operator(Option<String>),
    Removed,
}

impl Rest {
    fn is_manual(&self) -> bool {
        *self == Self::Manual
    }
}

impl Stored<Resting> for StoredRest {
    fn of(resting: &Resting) -> Self {
        match resting.clone() {
            Resting::Manual => Self::default(),
            Resting::Removed => Self { resting: Rest::Removed, ..Self::default() },
            Resting::Operator(OperatorHold { reason, by, at }) => {
                Self { resting: Rest::Operator(reason), held_by: by, held_at: at }
            }
        }
    }

    fn value(self) -> Resting {
        match self.resting {
            Rest::Manual => Resting::Manual,
            Rest::Removed => Resting::Removed,
            Rest::Operator(reason) => {
                Resting::Operator(OperatorHold { reason, by: self.held_by, at: self.held_at })
            }
        }
    }
}
