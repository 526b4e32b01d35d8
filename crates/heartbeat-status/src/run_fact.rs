//! Events of a run, from the process adapter to the state machine: a fact keeps its name all the way.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{Exit, Said, StartFailure};

/// A command of a realm around its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// The command of `start.before`.
    Before,
    /// The command of `start.after`.
    After,
    /// The command of `stop.command`.
    Stop,
    /// The command of `restart.command`.
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

/// What happened to one generation of a realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunFact {
    /// The realm's program was exec'd.
    Started {
        /// The pid of its main process.
        pid: u32,
    },
    /// The realm's program could not be exec'd; nothing of this generation runs.
    StartFailed {
        /// The step that failed, and the error.
        error: StartError,
    },
    /// The adapter has checked again the program of a generation that could not be started.
    ProgramChecked {
        /// Why a start would fail; `None`: its program can be used.
        failure: Option<StartError>,
    },
    /// The main process ended.
    Exited {
        /// Its code or signal.
        exit: Exit,
        /// No process of its tree is left; otherwise [`RunFact::Emptied`] follows.
        empty: bool,
    },
    /// No process of its tree is left any more. Only after [`RunFact::Exited`] with `empty: false`.
    Emptied,
    /// The started program has ended, and may have left a daemon behind that its pid file will name:
    /// [`RunFact::MainChanged`] or [`RunFact::Exited`] follows.
    Forked,
    /// Another process of its tree is the main process now: a daemon that the program has left behind.
    MainChanged {
        /// The pid of the daemon.
        pid: u32,
    },
    /// A signal or a debugger stopped the main process, or it continued.
    StoppedBySignal {
        /// Stopped, or running again.
        stopped: bool,
    },
    /// A process of its tree has sent a notification for the realm.
    Said {
        /// What the realm reports.
        said: Said,
    },
    /// Another process listens on the realm's port, or none any more: reported when it changes.
    PortHeld {
        /// The holder, for a person; `None` when it is the realm itself, or when no process holds it.
        port_owner: Option<String>,
    },
    /// A command around its life ended.
    HookDone {
        /// Hook whose command ended.
        hook: Hook,
        /// `None` when it succeeded, otherwise what went wrong, for a person.
        failure: Option<String>,
    },
    /// The generation has started, and the host does not enforce these limits: it has no controller for them.
    Unbounded {
        /// The limits by their keys: `memory`, `cpu`, `tasks`; empty when all are enforced.
        limits: Vec<String>,
    },
    /// Its log cannot be written, and its output is kept in memory.
    LogInMemory,
    /// The memory usage of its tree, where the kernel does not bound it: reported now and then.
    MemoryUsed {
        /// Memory of the tree in bytes.
        bytes: u64,
    },
}
