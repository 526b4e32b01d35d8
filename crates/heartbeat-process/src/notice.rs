//! What the adapter reports, and the names it reports by.

use heartbeat_status::{Exit, RealmIx, RunId, Said};

/// One start of one realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The realm.
    pub realm: RealmIx,
    /// Its generation.
    pub run: RunId,
}

/// One run of a command (a hook or an exec probe); chosen by the caller, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandRunId(pub u64);

/// Most of the output of a command that is handed on, in bytes: its beginning.
pub const MAX_OUTPUT_BYTES: usize = 4_096;

/// The step of a launch that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Making the launcher itself: socket, memory file, spawn.
    Spawn,
    /// The launcher ended or was killed before it could say why.
    Launcher,
    /// Writing the adoption record.
    Record,
    /// The launcher could not read its specification.
    Spec,
    /// The socket or the FIFO through which it says how it is.
    Notify,
    /// The control group of its own.
    Group,
    /// A session of its own.
    Session,
    /// Signal mask and dispositions.
    Signals,
    /// The working directory.
    Directory,
    /// The log: its file, or the stream to journald.
    Log,
    /// The user and its groups.
    User,
    /// Standard input, output and error.
    Descriptors,
    /// What it may have: descriptors, processes, priority.
    Limits,
    /// No new privileges.
    Privileges,
    /// The launch took longer than its bound.
    Timeout,
    /// It was called off.
    CalledOff,
    /// `execve` itself.
    Exec,
}

impl Step {
    pub(crate) const ALL: [Self; 17] = [
        Self::Spawn,
        Self::Launcher,
        Self::Record,
        Self::Spec,
        Self::Group,
        Self::Session,
        Self::Signals,
        Self::Directory,
        Self::Log,
        Self::User,
        Self::Descriptors,
        Self::Limits,
        Self::Privileges,
        Self::Timeout,
        Self::CalledOff,
        Self::Exec,
        Self::Notify,
    ];

    /// For a person: what was being done.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spawn => "start the launcher",
            Self::Launcher => "wait for the launcher",
            Self::Record => "write the adoption record",
            Self::Spec => "read the specification",
            Self::Notify => "open what it is heard by",
            Self::Group => "enter the control group",
            Self::Session => "make a session of its own",
            Self::Signals => "reset signals",
            Self::Directory => "change to the working directory",
            Self::Log => "open the log",
            Self::User => "become user",
            Self::Descriptors => "set up standard input and output",
            Self::Limits => "set the limits",
            Self::Privileges => "give up new privileges",
            Self::Timeout => "finish in time",
            Self::CalledOff => "go on: it was called off",
            Self::Exec => "execute",
        }
    }

    pub(crate) fn code(self) -> u8 {
        Self::ALL
            .iter()
            .position(|step| *step == self)
            .and_then(|at| u8::try_from(at).ok())
            .unwrap_or(u8::MAX)
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// A program that could not be started. Nothing of it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchError {
    /// Which step failed.
    pub step: Step,
    /// Error number of the kernel, where there is one.
    pub errno: Option<i32>,
    /// The last step, `execve`, failed; not the set-up before it.
    pub at_exec: bool,
    /// For a person: the step, the path, the error.
    pub message: String,
}

impl LaunchError {
    pub(crate) fn new(step: Step, errno: Option<i32>, what: &str) -> Self {
        let why = errno
            .map_or_else(String::new, |errno| format!(": {}", nix::errno::Errno::from_raw(errno).desc()));
        let message = format!("cannot {} {what}{why}", step.as_str());
        Self { step, errno, at_exec: step == Step::Exec, message }
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandResult {
    /// By itself or by a signal of somebody else.
    Exited(Exit),
    /// It was killed at its deadline, with its whole process group.
    TimedOut,
    /// It could not be started.
    StartFailed(LaunchError),
}

/// One thing the adapter noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The program was exec'd.
    Started {
        /// Which run.
        key: Key,
        /// Its pid.
        pid: u32,
        /// Its start time as the kernel counts it, in clock ticks since boot: with the pid, its identity.
        start_time: u64,
    },
    /// The program could not be exec'd; nothing of this run is left.
    StartFailed {
        /// Which run.
        key: Key,
        /// Why.
        error: LaunchError,
    },
    /// The main process ended.
    Exited {
        /// Which run.
        key: Key,
        /// How.
        exit: Exit,
        /// Nothing of its process group is left; otherwise `Emptied` follows when that is so.
        empty: bool,
    },
    /// The last process of a run whose main process ended before is gone.
    Emptied {
        /// Which run.
        key: Key,
    },
    /// Another process of the tree is the main process now: a daemon whose pid file names it, or one that was
    /// named ([`Processes::follow`](crate::Processes::follow)).
    MainChanged {
        /// Which run.
        key: Key,
        /// Its pid.
        pid: u32,
        /// Its start time as the kernel counts it, in clock ticks since boot.
        start_time: u64,
    },
    /// The main process was stopped by a signal, or went on.
    Halted {
        /// Which run.
        key: Key,
        /// Stopped, or running again.
        halted: bool,
    },
    /// A realm has said something of itself: whoever said it belongs to the process tree of the run.
    Said {
        /// Which run.
        key: Key,
        /// What.
        said: Said,
    },
    /// A run with limits of its tree has started, and these of its [`Limits`](crate::Limits) are kept by nobody: there is no
    /// control group for it, or none with that controller. Of `memory` it is then told now and then how much is used.
    Unbounded {
        /// Which run.
        key: Key,
        /// `memory`, `cpu` or `tasks`; empty when all are kept.
        limits: Vec<&'static str>,
    },
    /// How much memory the tree of a run uses: every 5 s for those with a limit of memory that no kernel keeps.
    MemoryUsed {
        /// Which run.
        key: Key,
        /// In bytes.
        bytes: u64,
    },
    /// Records cannot be written (and why), or can be again (`None`): told when it changes. Processes are started all
    /// the same.
    RecordsFail {
        /// For a person.
        trouble: Option<String>,
    },
    /// A command ended.
    CommandDone {
        /// Which.
        id: CommandRunId,
        /// How.
        result: CommandResult,
        /// What it wrote to standard output and standard error, at most [`MAX_OUTPUT_BYTES`]; empty unless its
        /// output went to [`LogTarget::Capture`](crate::LogTarget::Capture). Bytes as they were: sanitise them.
        output: Vec<u8>,
    },
}
