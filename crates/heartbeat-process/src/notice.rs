//! What the adapter reports, and the keys in its reports.

use std::ffi::CStr;
use std::path::Path;
use std::time::Duration;

use heartbeat_status::{Exit, RealmIx, RunFact, RunId, StartFailure};

/// One start of one realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The realm it belongs to.
    pub realm: RealmIx,
    /// The generation of the realm.
    pub run: RunId,
}

/// One run of a command (a hook or an exec probe); chosen by the caller, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandRunId(pub u64);

/// Most bytes of the output of a command that its report contains: its beginning.
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
    /// The socket or the FIFO through which the program reports its state.
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
    /// The limits: descriptors, processes, priority.
    Limits,
    /// No new privileges.
    Privileges,
    /// The launch took longer than its bound.
    Timeout,
    /// The launch was cancelled.
    Cancelled,
    /// The `execve` itself.
    Exec,
    /// The interpreter that the `#!` line of the program names.
    Interpreter,
    /// The loader that an ELF program names.
    Loader,
    /// Whether the realm's port is free.
    Port,
    /// The realm has no program.
    Program,
    /// The realm's file of environment variables.
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

    /// For an operator: what the step does.
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

    /// The name that the copy of the launcher takes for this step, if the step waits for a file system. A file system
    /// that does not answer holds the copy in the kernel, and then only the name says what the copy waits for. At most
    /// 15 bytes.
    pub(crate) const fn name(self) -> Option<&'static CStr> {
        match self {
            Self::EnvFile => Some(c"hb-env-file"),
            Self::Log => Some(c"hb-log"),
            Self::Directory => Some(c"hb-dir"),
            Self::Exec => Some(c"hb-exec"),
            _ => None,
        }
    }

    /// The step during which a copy of the launcher has this name.
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

/// A program that could not be started. No process of it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchError {
    /// The step that failed.
    pub step: Step,
    /// The kind of failure, as far as a decision depends on it.
    pub failure: StartFailure,
    /// Error number of the kernel, where there is one.
    pub errno: Option<i32>,
    /// For an operator: the step, the path, the error.
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
        Self { step, failure: StartFailure::ProgramUnusable, errno: None, message }
    }

    /// The launch did not get as far as the program.
    pub(crate) fn never_tried(step: Step, what: &str) -> Self {
        Self { failure: StartFailure::NeverTried, ..Self::new(step, None, what) }
    }

    /// Another process has the realm's port; `message` says which.
    pub(crate) fn port_taken(message: String) -> Self {
        Self { step: Step::Port, failure: StartFailure::PortTaken, errno: None, message }
    }

    /// A realm without a program cannot be started.
    #[must_use]
    pub fn without_program() -> Self {
        Self::new(Step::Program, None, "of this realm")
    }
}

/// The one place that classifies a step and an error for decisions.
fn failure(step: Step, errno: Option<i32>) -> StartFailure {
    use nix::errno::Errno as E;
    match (step, errno.map(E::from_raw)) {
        (Step::Cancelled, _) => StartFailure::NeverTried,
        // An object of heartbeatd's own is missing, and the next start makes it anew; or its disk is full or read-only.
        (Step::Spawn | Step::Group | Step::Watch, _)
        | (Step::Notify, Some(E::ENOENT | E::EROFS | E::ENOSPC | E::EDQUOT | E::EIO)) => {
            StartFailure::HostExhausted
        }
        (_, Some(E::ETXTBSY | E::EAGAIN | E::ENOMEM | E::EMFILE | E::ENFILE)) => StartFailure::HostExhausted,
        (Step::Exec | Step::Interpreter | Step::Loader | Step::Directory, Some(errno)) => match errno {
            E::ENOENT | E::EACCES | E::EPERM | E::ENOTDIR | E::EISDIR | E::ELOOP | E::ENAMETOOLONG => {
                StartFailure::ProgramUnusable
            }
            // The file is incomplete, or for another architecture.
            E::ENOEXEC | E::ELIBBAD => StartFailure::ProgramUnusable,
            // A mount is late, or has gone.
            E::ESTALE | E::ENOTCONN | E::EHOSTDOWN => StartFailure::ProgramUnusable,
            _ => StartFailure::Other,
        },
        (_, _) => StartFailure::Other,
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandResult {
    /// It ended by itself or by a signal of another process.
    Exited(Exit),
    /// The reaper killed it at its deadline, with its whole process group.
    TimedOut,
    /// The command could not be started.
    StartFailed(LaunchError),
}

/// One thing the adapter noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The program was exec'd.
    Started {
        /// The run that the notice is about.
        key: Key,
        /// Its process id (pid).
        pid: u32,
        /// Its start time as the kernel counts it, in clock ticks since boot: with the pid, its identity.
        start_time: u64,
    },
    /// The program could not be exec'd; nothing of this run is left.
    StartFailed {
        /// The run that the notice is about.
        key: Key,
        /// Why it failed.
        error: LaunchError,
    },
    /// Another process of the tree is the main process now: a daemon that its pid file names, or a process that
    /// [`Processes::follow`](crate::Processes::follow) names.
    MainChanged {
        /// The run that the notice is about.
        key: Key,
        /// Its process id (pid).
        pid: u32,
        /// Its start time as the kernel counts it, in clock ticks since boot.
        start_time: u64,
    },
    /// Everything else that happened to a run, in the words of the state machine. [`RunFact::Started`],
    /// [`RunFact::StartFailed`] and [`RunFact::MainChanged`] come as notices of their own, since these know more.
    Run {
        /// The run that the notice is about.
        key: Key,
        /// What happened to it.
        fact: RunFact,
    },
    /// The reaper cannot write records (and why), or can again (`None`); sent when that changes. It starts processes
    /// all the same.
    RecordsFail {
        /// The problem, for an operator.
        problem: Option<String>,
    },
    /// A command ended.
    CommandDone {
        /// The command that ended.
        id: CommandRunId,
        /// How the process ended.
        result: CommandResult,
        /// What it wrote to standard output and standard error, at most [`MAX_OUTPUT_BYTES`]; empty unless its output
        /// went to [`LogTarget::Capture`](crate::LogTarget::Capture). Raw bytes: sanitise them.
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
