//! What an operator can ask for, the plan of a command, and the reply.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_status::{Action, RealmIx, RestartId, Signal, WallTime};

/// A signal that an operator sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signalling {
    /// Which one it is.
    pub signal: Signal,
    /// To every process of the realm, and not to its main process alone.
    pub tree: bool,
}

/// An operator's stop: only a start of the realm itself, or a command that lifts holds, ends it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorHold {
    /// Why, if the operator gave a reason.
    pub reason: Option<String>,
    /// The user who asked for it, by number; `None` where that is not known.
    pub by: Option<u32>,
    /// The time of the command; `None` where it is not known.
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
    /// The action that the operator asks for.
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
    /// The time of the command, where it is known.
    pub at: Option<WallTime>,
    /// The operator's reason, for the record.
    pub reason: Option<String>,
    /// For how long; only a pause has an end of its own.
    pub duration: Option<Duration>,
    /// A pause that ends later, or only when an operator ends it, stays as it is.
    pub extends_only: bool,
    /// The signal to send; only of [`Action::Signal`].
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
            extends_only: false,
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
    /// The realm of this step.
    pub realm: RealmIx,
    /// The action of this step.
    pub action: StepAction,
    /// Longest it may take, where there is a bound.
    pub limit: Option<Duration>,
}

/// Why the core refuses a command. It has changed nothing then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Dependents would break, and neither `cascade` nor `force` was given.
    WouldBreak,
    /// The command would have to start a realm that an operator has stopped: [`ActionPlan::holds`].
    Held,
    /// The realm is external: watched, never started.
    External(RealmIx),
    /// SIGKILL has not ended the last run: no second copy.
    Stuck(RealmIx),
    /// Processes run that may belong to the realm and cannot be proven to: no second copy.
    Unverified(RealmIx),
    /// The configuration in force no longer has the realm: it is being stopped.
    Removed(RealmIx),
    /// The realm has no process that could get a signal.
    NotRunning(RealmIx),
    /// heartbeatd is stopping everything.
    ShuttingDown,
}

/// What a command does: the dry run. Handling the command carries out these same steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionPlan {
    /// The action of the command.
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
    /// Why the core would refuse the command.
    pub refusal: Option<Refusal>,
}

/// The answer to a command or a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The core carries out the command.
    Accepted {
        /// The steps that the core carries out.
        plan: ActionPlan,
        /// The restart transactions it opened.
        restarts: Vec<(RealmIx, RestartId)>,
    },
    /// The core did nothing.
    Refused {
        /// The plan that was refused, with the refusal.
        plan: ActionPlan,
    },
    /// The refresh round is complete, or its bound has passed.
    Refreshed {
        /// Measurements that did not come back in time.
        missing: u32,
    },
}
