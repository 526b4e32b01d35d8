//! The inputs of the core. All are facts, except [`Command`] and [`Input::Shutdown`].

use alloc::string::String;
use core::time::Duration;

use heartbeat_status::{CheckId, CheckResult, CommandId, OwnProblemKind, RealmIx, RunFact, RunId};

use crate::Command;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// heartbeatd is ready: start what is to be started.
    Boot,
    /// A measurement asked for by [`Effect::Check`](crate::Effect::Check) came back.
    Checked {
        /// The measurement concerned.
        id: CheckId,
        /// The result of the measurement.
        result: CheckResult,
    },
    /// Something happened to a generation of a realm.
    Run {
        /// The realm concerned.
        realm: RealmIx,
        /// The generation concerned.
        run: RunId,
        /// What happened to it.
        fact: RunFact,
    },
    /// An operator's command.
    Command {
        /// Chosen by the caller; the reply carries it.
        id: CommandId,
        /// The operator's command.
        command: Command,
    },
    /// Measure everything now (or one realm), and reply when the round is done.
    Refresh {
        /// Chosen by the caller; the reply carries it.
        id: CommandId,
        /// One realm, or all.
        realm: Option<RealmIx>,
    },
    /// The driver's loop is late, or in time again. The driver reports only changes.
    Lag {
        /// Whether the loop is late.
        late: bool,
    },
    /// A part of heartbeatd itself has a problem, or works again. Adapters report only changes.
    OwnProblem {
        /// The part concerned.
        kind: OwnProblemKind,
        /// What is wrong, for a person; `None` when the part works again.
        message: Option<String>,
    },
    /// heartbeatd was not running for a while: the host slept, or heartbeatd was stopped by a signal.
    Suspended {
        /// How long heartbeatd did not run.
        asleep: Duration,
    },
    /// Stop everything in reverse order, then [`Effect::Halt`](crate::Effect::Halt).
    Shutdown {
        /// Kill at once and give up the order: the second signal.
        now: bool,
    },
}
