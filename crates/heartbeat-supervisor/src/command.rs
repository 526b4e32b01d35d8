//! What an operator can ask, the plan it amounts to, and the answer.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_status::{RealmIx, RestartId, Signal, WallTime, wire::Action};

/// A signal that an operator sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signalling {
    /// Which one it is.
    pub signal: Signal,
    /// To every process of the realm, and not to its main process alone.
    pub tree: bool,
}

/// An operator's stop: nothing but a start of the realm itself, or a command that lifts holds, ends it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorHold {
    /// Why, if the operator has said so.
    pub reason: Option<String>,
    /// The user who asked for it, by number; `None` where that is not known.
    pub by: Option<u32>,
    /// When it was asked for; `None` where that is not known.
    pub at: Option<WallTime>,
}

/// A realm that an operator has stopped, and that a plan needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which one it is.
    pub realm: RealmIx,
    /// Who stopped it, when and why.
    pub hold: OperatorHold,
}

/// A command about one or more realms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What is asked.
    pub action: Action,
    /// The realms concerned.
    pub realms: Vec<RealmIx>,
    /// Stop (or restart) dependents that would break, too.
    pub cascade: bool,
    /// Leave dependents that would break alone.
    pub force: bool,
    /// Also start realms that an operator has stopped, where the command needs them.
    pub lift_holds: bool,
    /// The user who asks, by number, where that is known.
    pub by: Option<u32>,
    /// When it was asked for, where that is known.
    pub at: Option<WallTime>,
    /// Why, for the record.
    pub reason: Option<String>,
    /// For how long; only a pause has an end of its own.
    pub duration: Option<Duration>,
    /// What is sent; only of [`Action::Signal`].
    pub signal: Option<Signalling>,
}

impl Command {
    /// `action` on one realm, without cascade or force; no hold is lifted.
    #[must_use]
    pub fn new(action: Action, realm: RealmIx) -> Self {
        Self {
            action,
            realms: alloc::vec![realm],
            cascade: false,
            force: false,
            lift_holds: false,
            by: None,
            at: None,
            reason: None,
            duration: None,
            signal: None,
        }
    }
}

/// What one step of a plan does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepAction {
    /// Stop the realm.
    Stop,
    /// Start it (for a restart: after its stop).
    Start,
    /// Restart it by its own command.
    Restart,
    /// Pause the realm.
    Pause,
    /// End its pause.
    Resume,
    /// Forget its attempts, backoff and cooldown.
    Reset,
    /// Send it a signal.
    Signal,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanStep {
    /// Position, from 1; equal numbers run side by side.
    pub wave: u32,
    /// Whom it concerns.
    pub realm: RealmIx,
    /// What happens to it.
    pub action: StepAction,
    /// Longest it may take, where there is a bound.
    pub limit: Option<Duration>,
}

/// Why a command is refused. Nothing is changed then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Dependents would break, and neither `cascade` nor `force` was given.
    WouldBreak,
    /// It would have to start a realm that an operator has stopped: [`ActionPlan::holds`].
    Held,
    /// The realm is external: watched, never started.
    External(RealmIx),
    /// What is left of its last run could not be killed: no second copy.
    Stuck(RealmIx),
    /// Something runs that may be it and cannot be proven to be: no second copy.
    Unverified(RealmIx),
    /// The configuration in force does not have it any more: it is being stopped.
    Removed(RealmIx),
    /// It has no process that could be sent a signal.
    NotRunning(RealmIx),
    /// heartbeatd is stopping everything.
    ShuttingDown,
}

/// What a command does: the dry run. Handling the command carries out these same steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionPlan {
    /// What was asked.
    pub action: Action,
    /// The realms concerned.
    pub realms: Vec<RealmIx>,
    /// The steps, by wave and start order.
    pub steps: Vec<PlanStep>,
    /// Running dependents that would break and are not part of the plan, in start order.
    pub breaks: Vec<RealmIx>,
    /// Realms that an operator has stopped: with [`Refusal::Held`] those that would have to be started, otherwise those
    /// that a realm of the plan waits for once it has been stopped.
    pub holds: Vec<Held>,
    /// Why it would be refused.
    pub refusal: Option<Refusal>,
}

/// The answer to a command or a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is under way.
    Accepted {
        /// What is being done.
        plan: ActionPlan,
        /// The restart transactions it opened.
        restarts: Vec<(RealmIx, RestartId)>,
    },
    /// Not done; nothing changed.
    Refused {
        /// What would have been done, with the refusal.
        plan: ActionPlan,
    },
    /// The refresh round is complete, or its bound has passed.
    Refreshed {
        /// Measurements that did not come back in time.
        missing: u32,
    },
}
