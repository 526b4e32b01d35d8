//! One run: from its launcher to the last process of its tree.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use heartbeat_status::{Exit, RealmName, Signal};
use nix::errno::Errno;
use rustix::process::{WaitId, WaitIdOptions};

use crate::cgroup::Cgroup;
use crate::members::Users;
use crate::notice::{CommandRunId, Key, LaunchError};
use crate::notify::{NotifyListener, Readiness};
use crate::{IdentityDigest, LaunchSpec, Limits, LogTarget, User, exit, sys};

/// The realm or command that a run belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Realm(Key),
    Command(CommandRunId),
}

/// What a launch leaves out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Only {
    /// Only check whether its program can be used.
    pub(crate) check: bool,
    /// Its log has not answered: its output goes to memory.
    pub(crate) log_in_memory: bool,
    /// The child does not share the launcher's memory, and so can say more about what fails.
    pub(crate) apart: bool,
}

/// One start, as the spawn thread is asked for it.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) owner: Owner,
    pub(crate) realm: Option<RealmName>,
    pub(crate) spec: LaunchSpec,
    pub(crate) limit: Option<Duration>,
    pub(crate) identity: IdentityDigest,
    /// The word that tells its processes from those of every other run.
    pub(crate) word: Option<String>,
    pub(crate) only: Only,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The launcher is at work.
    Launching,
    /// The exec of the program succeeded.
    Started,
    /// The program ended well and left a daemon behind, for whose pid file the reaper waits.
    Forked(Exit),
    /// The main process is reaped; other processes of its tree are left.
    Exited,
}

/// Where a program runs and writes, and as which user, for messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub(crate) dir: String,
    pub(crate) env_file: String,
    pub(crate) log: String,
    /// The user it runs as, when not heartbeatd's own.
    pub(crate) user: Option<String>,
    pub(crate) limits: Limits,
}

/// What heartbeatd asked for, from the start of the run to its end.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// Program, for messages.
    pub(crate) program: String,
    /// Working directory, log file and user, for messages.
    pub(crate) places: Places,
    /// What the process is made of.
    pub(crate) identity: IdentityDigest,
    /// Where the output of a realm goes, and the user that owns it.
    pub(crate) log: LogTarget,
    pub(crate) user: Option<User>,
    /// Where a program that makes a daemon of itself writes the pid of the daemon.
    pub(crate) pidfile: Option<PathBuf>,
    /// What the realm is asked to report of itself.
    pub(crate) readiness: Readiness,
    /// Limits of its tree that no controller enforces, by their keys.
    pub(crate) unbounded: Vec<&'static str>,
    /// How long a command may run.
    pub(crate) time_limit: Option<Duration>,
}

/// One of the launchers of this heartbeatd.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LauncherId {
    /// How many launchers were made up to this one.
    pub(crate) number: u64,
    pub(crate) pid: u32,
}

/// How far the launch has come, until the program is exec'd.
#[derive(Debug, Default)]
pub(crate) struct Launching {
    /// The socket on which the launcher and its copy report.
    pub(crate) socket: Option<OwnedFd>,
    /// The launcher that has the order.
    pub(crate) launcher: LauncherId,
    /// The child has done all but exec, or need not wait for heartbeatd any more.
    pub(crate) is_set_up: bool,
    pub(crate) said_exec: bool,
    pub(crate) failure: Option<LaunchError>,
    /// The order for the launch, to give it once more.
    pub(crate) again: Option<Box<Wanted>>,
    /// The launch has failed, and is made again in this way.
    pub(crate) retry: Option<Only>,
    /// The child shares the launcher's memory.
    pub(crate) shares: bool,
}

/// The main process: first the copy of the launcher, then the program, and perhaps another one of its tree later.
#[derive(Debug, Default)]
pub(crate) struct MainProcess {
    /// 0: not known yet.
    pub(crate) pid: u32,
    pub(crate) start_time: u64,
    /// `None`: it had ended before the reaper could hold it.
    pub(crate) pidfd: Option<OwnedFd>,
    /// Its end wakes the reaper.
    pub(crate) watched: bool,
    /// It is not a child of heartbeatd, or a heartbeatd that goes on under the same pid took it over.
    pub(crate) adopted: bool,
    /// It replaced the process that was started: the pid file of a daemon or the realm named it.
    pub(crate) followed: bool,
    /// The state at the last check, for an adopted process: the kernel reports stops only of children.
    pub(crate) stopped_by_signal: Option<bool>,
    /// Nothing proves that it is the realm's: the reaper watches it and never signals it.
    pub(crate) unproven: bool,
}

/// Everything that belongs to the run, until nothing of it is left.
#[derive(Debug, Default)]
pub(crate) struct ProcessTree {
    /// The control group of the run.
    pub(crate) cgroup: Option<Cgroup>,
    /// Becomes readable when a process has left the control group, while the reaper waits for that.
    pub(crate) cgroup_events: Option<OwnedFd>,
    /// Entries in the environment of its processes.
    pub(crate) tags: Vec<String>,
    /// The part of the tags that no other realm knows.
    pub(crate) word: Option<String>,
    /// No process of the run is older, in clock ticks since boot.
    pub(crate) since: u64,
    /// Living processes of an exited run without a control group, each watched by its own pidfd.
    pub(crate) leftovers: Vec<OwnedFd>,
    /// heartbeatd killed the run: the reaper also kills processes of it that appear later.
    pub(crate) condemned: bool,
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) owner: Owner,
    pub(crate) realm: Option<RealmName>,
    pub(crate) stage: Stage,
    pub(crate) request: Request,
    pub(crate) launch: Launching,
    pub(crate) main: MainProcess,
    pub(crate) tree: ProcessTree,
    /// Checks that are left: for an adopted launcher to become its program, or for a daemon to write its pid file.
    pub(crate) looks: u32,
    /// Where the output of a command is captured.
    pub(crate) capture: Option<OwnedFd>,
    /// The output of a realm is in memory, since its log could not be opened.
    pub(crate) log_in_memory: bool,
    /// Receives the messages of a realm that is asked for some.
    pub(crate) notify_listener: Option<Box<NotifyListener>>,
    /// The reaper killed a command at its deadline.
    pub(crate) timed_out: bool,
    /// The reaper does not report its end.
    pub(crate) silent: bool,
}

impl Run {
    /// A run with nothing but its request.
    pub(crate) fn new(owner: Owner, realm: Option<RealmName>, request: Request) -> Self {
        Self {
            owner,
            realm,
            stage: Stage::Launching,
            request,
            launch: Launching::default(),
            main: MainProcess::default(),
            tree: ProcessTree::default(),
            looks: 0,
            capture: None,
            log_in_memory: false,
            notify_listener: None,
            timed_out: false,
            silent: false,
        }
    }

    /// Users whose processes count as the run's when only the tag says so, and that may speak for it.
    pub(crate) fn users(&self) -> Users {
        Users::with(self.request.user.as_ref().map(|user| user.uid))
    }

    /// A main process with this exit may have left a daemon behind. Older kernels do not report the exit of a child of
    /// an earlier heartbeatd, so an unknown one counts, too.
    pub(crate) fn may_have_forked(&self, exit: Exit) -> bool {
        exit.is_zero() || (exit == Exit::unknown() && !self.main.followed)
    }

    /// Signals the group that the main process leads, or the main process alone if it leads none. False when the kernel
    /// cannot signal a group by a pidfd (before 6.9): then the caller has to find the others.
    pub(crate) fn signal_group(&self, signal: Signal) -> bool {
        let Some(pidfd) = &self.main.pidfd else { return true };
        let signalled = sys::signal_group(pidfd.as_fd(), Some(signal));
        if signalled.is_err() {
            // An error means that it has ended, and its pidfd reports that.
            let _ = sys::signal_process(pidfd.as_fd(), signal);
        }
        signalled.map_or_else(|error| error.raw_os_error() != Some(Errno::EINVAL as i32), |()| true)
    }

    /// How the main process has ended; `None` while it lives. It stays a zombie until [`Run::reap`].
    pub(crate) fn look_at_end(&self) -> Option<Exit> {
        let pidfd = self.main.pidfd.as_ref()?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options) {
            Ok(Some(status)) => Some(exit::exit_of_status(&status)),
            Ok(None) => None,
            // A child of another process: the kernel may still know how it ended.
            Err(_) if exit::has_ended(pidfd) => {
                Some(exit::exit_of(pidfd, self.main.pid, self.main.start_time))
            }
            Err(_) => None,
        }
    }

    /// Reaps a main process that has ended.
    pub(crate) fn reap(&self) {
        if let Some(pidfd) = &self.main.pidfd {
            // Fails for a child of another process, which reaps it itself.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options);
        }
    }

    /// No process is left in the group, as far as the kernel can say at once. Unreaped zombies count as processes.
    pub(crate) fn group_is_empty(&self) -> bool {
        let esrch = Some(Errno::ESRCH as i32);
        let Some(pidfd) = &self.main.pidfd else { return true };
        match sys::signal_group(pidfd.as_fd(), None) {
            Ok(()) => false,
            // Linux before 6.9 says EINVAL: the scan has to do.
            Err(error) => error.raw_os_error() == esrch || error.raw_os_error() == Some(Errno::EINVAL as i32),
        }
    }
}
