//! What is wanted of a realm: by the configuration, by what needs it, and by an operator.

use heartbeat_status::{Desired, Pause};

use crate::OperatorHold;

/// Why a realm is desired down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Resting {
    /// `manual = true`, and no start has been requested yet.
    #[default]
    Manual,
    /// An operator has stopped it.
    Operator(OperatorHold),
    /// The configuration in force does not have it any more.
    Removed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) desired: Desired,
    pub(crate) resting: Resting,
    /// An operator's pause: nothing acts, nothing alerts.
    pub(crate) pause: Option<Pause>,
    /// An operator has started it, and has not stopped it since.
    pub(crate) asked_for: bool,
    /// An operator has started this paused realm, and the start has not been made yet: the pause does not hold it.
    pub(crate) ordered_in_pause: bool,
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

    /// A pause keeps heartbeatd from starting it. A start that an operator requests is made in a pause, too.
    pub(crate) fn is_held_by_pause(&self) -> bool {
        self.pause.is_some() && !self.ordered_in_pause
    }
}
