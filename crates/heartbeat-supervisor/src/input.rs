//! What the world tells the core. Facts, never wishes, but for [`Command`] and [`Input::Shutdown`].

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_status::{
    CheckId, CheckResult, CommandId, Exit, OwnProblemKind, RealmIx, RunId, Said, StartFailure,
};

use crate::Command;

/// A command a realm has around its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// `start.before`.
    Before,
    /// `start.after`.
    After,
    /// `stop.command`.
    Stop,
    /// `restart.command`.
    Restart,
}

impl Hook {
    /// The configuration key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Before => "start.before",
            Self::After => "start.after",
            Self::Stop => "stop.command",
            Self::Restart => "restart.command",
        }
    }
}

/// A process that could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// Why, as far as a decision depends on it.
    pub failure: StartFailure,
    /// For a person: the step, the path, the user, the error.
    pub message: String,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// heartbeatd is ready: start what is to be started.
    Boot,
    /// A measurement asked for by [`Effect::Check`](crate::Effect::Check) came back.
    Checked {
        /// Which one.
        id: CheckId,
        /// What it saw.
        result: CheckResult,
    },
    /// The realm's program was exec'd.
    Started {
        /// The realm.
        realm: RealmIx,
        /// The generation that was asked for.
        run: RunId,
        /// Its pid.
        pid: u32,
    },
    /// The realm's program could not be exec'd; nothing of this generation runs.
    StartFailed {
        /// The realm.
        realm: RealmIx,
        /// The generation that was asked for.
        run: RunId,
        /// Why.
        error: StartError,
    },
    /// What [`Effect::CheckProgram`](crate::Effect::CheckProgram) has found.
    ProgramChecked {
        /// The realm.
        realm: RealmIx,
        /// The generation that could not be started.
        run: RunId,
        /// Why a start would fail; `None`: its program can be used.
        failure: Option<StartError>,
    },
    /// The main process ended.
    Exited {
        /// The realm.
        realm: RealmIx,
        /// Its generation.
        run: RunId,
        /// How.
        exit: Exit,
        /// Nothing of its process tree is left; otherwise [`Input::Emptied`] follows when that is so.
        empty: bool,
    },
    /// Nothing of a generation's process tree is left any more. Only after [`Input::Exited`] with `empty: false`.
    Emptied {
        /// The realm.
        realm: RealmIx,
        /// The generation.
        run: RunId,
    },
    /// Another process of its tree is the main process now: a daemon that the program has left behind.
    MainChanged {
        /// The realm.
        realm: RealmIx,
        /// The generation.
        run: RunId,
        /// Its pid.
        pid: u32,
    },
    /// The realm has said something of itself, and it is proven that it was somebody of its process tree.
    Notify {
        /// The realm.
        realm: RealmIx,
        /// The generation that said it.
        run: RunId,
        /// What.
        said: Said,
    },
    /// The main process was stopped by a signal or a debugger (`halted`), or went on.
    Halted {
        /// The realm.
        realm: RealmIx,
        /// The generation.
        run: RunId,
        /// Stopped, or running again.
        halted: bool,
    },
    /// The generation has started, and these limits of it are kept by nobody: the host has no controller for them.
    Unbounded {
        /// The realm.
        realm: RealmIx,
        /// The generation.
        run: RunId,
        /// By their keys: `memory`, `cpu`, `tasks`; empty when all are kept.
        limits: Vec<String>,
    },
    /// The log of the generation cannot be written, and its output is kept in memory.
    LogInMemory {
        /// The realm.
        realm: RealmIx,
        /// The generation.
        run: RunId,
    },
    /// How much memory the tree of a generation uses, where no kernel bounds it: now and then.
    MemoryUsed {
        /// The realm.
        realm: RealmIx,
        /// The generation.
        run: RunId,
        /// In bytes.
        bytes: u64,
    },
    /// Somebody else listens on the realm's port (or nobody else any more): told when it changes.
    PortHeld {
        /// The realm.
        realm: RealmIx,
        /// The generation that should hold it.
        run: RunId,
        /// Who holds it, for a person; `None` when it is the realm itself, or nobody.
        holder: Option<String>,
    },
    /// A command asked for by [`Effect::Hook`](crate::Effect::Hook) ended.
    HookDone {
        /// The realm.
        realm: RealmIx,
        /// The generation it belongs to.
        run: RunId,
        /// Which command.
        hook: Hook,
        /// `None` when it succeeded, otherwise what went wrong, for a person.
        failure: Option<String>,
    },
    /// An operator's command.
    Command {
        /// Chosen by the caller; the reply carries it.
        id: CommandId,
        /// What is asked.
        command: Command,
    },
    /// Measure everything now (or one realm), and reply when the round is done.
    Refresh {
        /// Chosen by the caller; the reply carries it.
        id: CommandId,
        /// One realm, or all.
        realm: Option<RealmIx>,
    },
    /// Our own loop is late, or in time again: told when it changes.
    Lag {
        /// It is late.
        late: bool,
    },
    /// A part of heartbeatd itself has a problem, or works again: told when it changes.
    OwnProblem {
        /// Which part.
        kind: OwnProblemKind,
        /// What is wrong, for a person; `None` when nothing is any more.
        message: Option<String>,
    },
    /// heartbeatd was not running for a while: the host slept, or heartbeatd was stopped by a signal.
    Suspended {
        /// For how long.
        asleep: Duration,
    },
    /// Stop everything in reverse order, then [`Effect::Halt`](crate::Effect::Halt).
    Shutdown {
        /// Kill at once and give up the order: the second signal.
        now: bool,
    },
}
