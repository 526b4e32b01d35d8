//! What the adapter reports, and the names it reports by.

use std::ffi::CStr;
use std::path::Path;
use std::time::Duration;

use heartbeat_status::{Exit, RealmIx, RunId, Said, StartFailure};

/// One start of one realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The realm it belongs to.
    pub realm: RealmIx,
    /// The generation it is.
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
    /// Watching the process that is to become the program.
    Watch,
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
    /// It was cancelled.
    Cancelled,
    /// `execve` itself.
    Exec,
    /// The interpreter that the `#!` line of the program names.
    Interpreter,
    /// The loader that an ELF program names.
    Loader,
    /// Whether its port is free.
    Port,
    /// What it is made of: it has no program.
    Program,
    /// Its file of environment variables.
    EnvFile,
}

impl Step {
    pub(crate) const ALL: [Self; 22] = [
        Self::Spawn,
        Self::Launcher,
        Self::Watch,
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
        Self::Cancelled,
        Self::Exec,
        Self::Notify,
        Self::Interpreter,
        Self::Loader,
        Self::Port,
        Self::Program,
        Self::EnvFile,
    ];

    /// For a person: what was being done.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spawn => "start the launcher",
            Self::Launcher => "wait for the launcher",
            Self::Watch => "watch the process",
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
            Self::Cancelled => "complete the start",
            Self::Exec | Self::Interpreter | Self::Loader => "execute",
            Self::Port => "have its port",
            Self::Program => "find a program",
            Self::EnvFile => "read env_file",
        }
    }

    /// The name that the copy of the launcher takes for this step, if the step waits for a file system: one that does not answer
    /// holds the copy in the kernel, and then the name alone says what it waits for. At most 15 bytes.
    pub(crate) const fn name(self) -> Option<&'static CStr> {
        match self {
            Self::EnvFile => Some(c"hb-env-file"),
            Self::Log => Some(c"hb-log"),
            Self::Directory => Some(c"hb-dir"),
            Self::Exec => Some(c"hb-exec"),
            _ => None,
        }
    }

    /// The step during which a copy of the launcher is called so.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let is_called = |step: &Self| step.name().is_some_and(|called| called.to_bytes() == name.as_bytes());
        Self::ALL.into_iter().find(is_called)
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
    /// Why, as far as a decision depends on it.
    pub failure: StartFailure,
    /// Error number of the kernel, where there is one.
    pub errno: Option<i32>,
    /// For a person: the step, the path, the error.
    pub message: String,
}

impl LaunchError {
    pub(crate) fn new(step: Step, errno: Option<i32>, what: &str) -> Self {
        let why = errno
            .map_or_else(String::new, |errno| format!(": {}", nix::errno::Errno::from_raw(errno).desc()));
        let message = format!("cannot {} {what}{why}", step.as_str());
        Self { step, failure: failure(step, errno), errno, message }
    }

    /// The interpreter or the loader at `path`, that the program `what` names, cannot be used.
    pub(crate) fn helper(step: Step, errno: i32, what: &str, path: &Path) -> Self {
        let kind = if step == Step::Loader { "loader" } else { "interpreter" };
        let why = match nix::errno::Errno::from_raw(errno) {
            nix::errno::Errno::ENOENT => " is not there".to_owned(),
            other => format!(" cannot be used: {}", other.desc()),
        };
        let message = format!("cannot {} {what}: its {kind} {}{why}", step.as_str(), path.display());
        Self { step, failure: failure(step, Some(errno)), errno: Some(errno), message }
    }

    /// The `env_file` of the program `what` cannot be read, and why.
    pub(crate) fn env_file(what: &str, why: &str) -> Self {
        let message = format!("cannot read env_file for {what}: {why}");
        Self { step: Step::EnvFile, failure: StartFailure::ProgramUnusable, errno: None, message }
    }

    /// A step waits for a file system that does not answer, on a dead mount for example.
    pub(crate) fn unanswered(step: Step, what: &str, limit: Duration) -> Self {
        let message = format!(
            "cannot {} {what}: its file system has not answered within {} s",
            step.as_str(),
            limit.as_secs_f32()
        );
        let failure = match step {
            // heartbeatd's own place, not the realm's.
            Step::Log => StartFailure::HostExhausted,
            _ => StartFailure::ProgramUnusable,
        };
        Self { step, failure, errno: None, message }
    }

    /// Nothing of the program was tried.
    pub(crate) fn never_tried(step: Step, what: &str) -> Self {
        Self { failure: StartFailure::NeverTried, ..Self::new(step, None, what) }
    }

    /// Another process has its port, in words.
    pub(crate) fn port_taken(message: String) -> Self {
        Self { step: Step::Port, failure: StartFailure::PortTaken, errno: None, message }
    }

    /// A realm without a program cannot be started.
    #[must_use]
    pub fn without_program() -> Self {
        Self::new(Step::Program, None, "of this realm")
    }
}

/// The one place where a step and an error become what decisions are made of.
fn failure(step: Step, errno: Option<i32>) -> StartFailure {
    use nix::errno::Errno as E;
    match (step, errno.map(E::from_raw)) {
        (Step::Cancelled, _) => StartFailure::NeverTried,
        // What is heartbeatd's own has been taken away, and is made anew with the next start, or its disk is full or read-only.
        (Step::Spawn | Step::Group | Step::Watch, _)
        | (Step::Notify, Some(E::ENOENT | E::EROFS | E::ENOSPC | E::EDQUOT | E::EIO)) => {
            StartFailure::HostExhausted
        }
        (_, Some(E::ETXTBSY | E::EAGAIN | E::ENOMEM | E::EMFILE | E::ENFILE)) => StartFailure::HostExhausted,
        (Step::Exec | Step::Interpreter | Step::Loader | Step::Directory, Some(errno)) => match errno {
            E::ENOENT | E::EACCES | E::EPERM | E::ENOTDIR | E::EISDIR | E::ELOOP | E::ENAMETOOLONG => {
                StartFailure::ProgramUnusable
            }
            // Not whole yet, or of another machine.
            E::ENOEXEC | E::ELIBBAD => StartFailure::ProgramUnusable,
            // A mount that comes late, or has gone.
            E::ESTALE | E::ENOTCONN | E::EHOSTDOWN => StartFailure::ProgramUnusable,
            _ => StartFailure::Other,
        },
        (_, _) => StartFailure::Other,
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
        /// The run that is meant.
        key: Key,
        /// Its process id (pid).
        pid: u32,
        /// Its start time as the kernel counts it, in clock ticks since boot: with the pid, its identity.
        start_time: u64,
    },
    /// The program could not be exec'd; nothing of this run is left.
    StartFailed {
        /// The run that is meant.
        key: Key,
        /// The reason for it.
        error: LaunchError,
    },
    /// The main process ended.
    Exited {
        /// The run that is meant.
        key: Key,
        /// How the process ended.
        exit: Exit,
        /// Nothing of its process group is left; otherwise `Emptied` follows when that is so.
        empty: bool,
    },
    /// The last process of a run whose main process ended before is gone.
    Emptied {
        /// The run that is meant.
        key: Key,
    },
    /// Another process of the tree is the main process now: a daemon whose pid file names it, or one that was
    /// named ([`Processes::follow`](crate::Processes::follow)).
    MainChanged {
        /// The run that is meant.
        key: Key,
        /// Its process id (pid).
        pid: u32,
        /// Its start time as the kernel counts it, in clock ticks since boot.
        start_time: u64,
    },
    /// The main process was stopped by a signal, or went on.
    StoppedBySignal {
        /// The run that is meant.
        key: Key,
        /// Stopped, or running again.
        stopped: bool,
    },
    /// A realm has said something of itself: whoever said it belongs to the process tree of the run.
    Said {
        /// The run that is meant.
        key: Key,
        /// The message itself, merged.
        said: Said,
    },
    /// A run with limits of its tree has started, and these of its [`Limits`](crate::Limits) are kept by nobody: there is no
    /// control group for it, or none with that controller. Of `memory` it is then told now and then how much is used.
    Unbounded {
        /// The run that is meant.
        key: Key,
        /// `memory`, `cpu` or `tasks`; empty when all are kept.
        limits: Vec<&'static str>,
    },
    /// How much memory the tree of a run uses: every 5 s for those with a limit of memory that no kernel keeps.
    MemoryUsed {
        /// The run that is meant.
        key: Key,
        /// The amount in bytes.
        bytes: u64,
    },
    /// The log of a run could not be opened: its output is kept in memory until it can be copied there.
    LogInMemory {
        /// The run that is meant.
        key: Key,
    },
    /// Records cannot be written (and why), or can be again (`None`): told when it changes. Processes are started all
    /// the same.
    RecordsFail {
        /// For a person.
        problem: Option<String>,
    },
    /// A command ended.
    CommandDone {
        /// The command that ended.
        id: CommandRunId,
        /// How the process ended.
        result: CommandResult,
        /// What it wrote to standard output and standard error, at most [`MAX_OUTPUT_BYTES`]; empty unless its
        /// output went to [`LogTarget::Capture`](crate::LogTarget::Capture). Bytes as they were: sanitise them.
        output: Vec<u8>,
    },
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn a_step_that_waits_for_a_file_system_has_a_name_that_the_kernel_keeps_whole() {
        // TASK_COMM_LEN of <linux/sched.h>, with the NUL.
        const MAX_NAME_BYTES: usize = 16;
        let named: Vec<Step> = Step::ALL.into_iter().filter(|step| step.name().is_some()).collect();
        assert_eq!(named, [Step::Directory, Step::Log, Step::Exec, Step::EnvFile]);
        for step in named {
            let name = step.name().unwrap();
            assert!(name.to_bytes_with_nul().len() <= MAX_NAME_BYTES, "{name:?}");
            assert_eq!(Step::of_name(name.to_str().unwrap()), Some(step));
        }
        assert_eq!(Step::of_name("hb-launch"), None);
    }

    #[test]
    fn a_step_and_an_error_make_one_failure() {
        use StartFailure::{HostExhausted, NeverTried, Other, ProgramUnusable};
        for (step, errno, expected) in [
            (Step::Exec, Errno::ENOENT, ProgramUnusable),
            (Step::Exec, Errno::EACCES, ProgramUnusable),
            (Step::Exec, Errno::ENOEXEC, ProgramUnusable),
            (Step::Exec, Errno::ENOTDIR, ProgramUnusable),
            (Step::Interpreter, Errno::ENOENT, ProgramUnusable),
            (Step::Loader, Errno::EACCES, ProgramUnusable),
            (Step::Directory, Errno::ENOENT, ProgramUnusable),
            (Step::Directory, Errno::ESTALE, ProgramUnusable),
            (Step::Exec, Errno::ETXTBSY, HostExhausted),
            (Step::Exec, Errno::EAGAIN, HostExhausted),
            (Step::Exec, Errno::ENOMEM, HostExhausted),
            (Step::Log, Errno::EMFILE, HostExhausted),
            (Step::Directory, Errno::ENFILE, HostExhausted),
            (Step::Spawn, Errno::ENOENT, HostExhausted),
            (Step::Group, Errno::ENOENT, HostExhausted),
            (Step::Notify, Errno::ENOENT, HostExhausted),
            (Step::Notify, Errno::EROFS, HostExhausted),
            (Step::Notify, Errno::ENOSPC, HostExhausted),
            (Step::Watch, Errno::ENOSPC, HostExhausted),
            (Step::Watch, Errno::ENOMEM, HostExhausted),
            (Step::Exec, Errno::E2BIG, Other),
            (Step::User, Errno::EPERM, Other),
            (Step::Limits, Errno::EPERM, Other),
            (Step::Log, Errno::ENOENT, Other),
        ] {
            let error = LaunchError::new(step, Some(errno as i32), "x");
            assert_eq!(error.failure, expected, "{step:?} {errno}");
        }
        assert_eq!(LaunchError::new(Step::Cancelled, None, "x").failure, NeverTried);
        assert_eq!(LaunchError::new(Step::Timeout, None, "x").failure, Other);
    }
}
