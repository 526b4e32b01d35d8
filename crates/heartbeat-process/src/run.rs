//! One process that was started: from its launcher to the last of its tree.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use heartbeat_status::{Exit, ExitKind, RealmName, Signal};
use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus};
use rustix::time::Timespec;

use crate::cgroup::Cgroup;
use crate::members::Users;
use crate::notice::{CommandRunId, Key, LaunchError};
use crate::notify::{NotifyListener, Readiness};
use crate::{IdentityDigest, Limits, LogTarget, User, survey, sys};

/// Whose process it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Realm(Key),
    Command(CommandRunId),
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The launcher is at work.
    Launching,
    /// Exec succeeded.
    Started,
    /// The program has ended well and left a daemon behind, whose pid file is looked for.
    Forked(Exit),
    /// The main process has been reaped; others of its tree are left.
    Exited,
}

/// Where a program was to run and to write, and as whom, for messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub(crate) dir: String,
    pub(crate) log: String,
    /// Whom it was to run as, when not as ourselves.
    pub(crate) user: Option<String>,
    /// What it was to be given.
    pub(crate) limits: Limits,
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) owner: Owner,
    pub(crate) realm: Option<RealmName>,
    /// Program, for messages.
    pub(crate) program: String,
    pub(crate) stage: Stage,
    pub(crate) pid: u32,
    /// `None`: it had ended before anybody could hold it.
    pub(crate) pidfd: Option<OwnedFd>,
    /// Its end is watched.
    pub(crate) watched: bool,
    /// The control group of its own that it lives in.
    pub(crate) cgroup: Option<Cgroup>,
    /// Tells that somebody has left it, while that is waited for.
    pub(crate) events: Option<OwnedFd>,
    /// What stands in the environment of its processes.
    pub(crate) tags: Vec<String>,
    /// The part of that which no other realm knows.
    pub(crate) word: Option<String>,
    /// Its program makes a daemon of itself, and writes its number there.
    pub(crate) pidfile: Option<PathBuf>,
    /// It is nobody's child here, or was taken over by a heartbeatd that goes on under the same pid.
    pub(crate) adopted: bool,
    /// It was last seen stopped by a signal; only of adopted ones, since the kernel tells of children.
    pub(crate) stopped_by_signal: bool,
    /// It was killed: whoever of it turns up later is killed, too.
    pub(crate) condemned: bool,
    /// Nothing proves whose it is: it is watched, and never signalled.
    pub(crate) unproven: bool,
    /// Looks that are left: until an adopted launcher has to have become its program, or a daemon its pid file.
    pub(crate) looks: u32,
    /// What it is made of.
    pub(crate) identity: IdentityDigest,
    pub(crate) start_time: u64,
    /// Nobody of it is older, in clock ticks since boot.
    pub(crate) since: u64,
    pub(crate) socket: Option<OwnedFd>,
    /// Which launcher was given it.
    pub(crate) launcher: u64,
    /// The copy of the launcher has done all but exec.
    pub(crate) is_set_up: bool,
    pub(crate) said_exec: bool,
    pub(crate) failure: Option<LaunchError>,
    /// How long a command may run.
    pub(crate) limit: Option<Duration>,
    pub(crate) timed_out: bool,
    /// Nobody wants to know how it ends.
    pub(crate) silent: bool,
    /// Living processes of an exited run without a control group, each watched by its own pidfd.
    pub(crate) leftovers: Vec<OwnedFd>,
    /// Where the output of a command is captured.
    pub(crate) capture: Option<OwnedFd>,
    /// Where its output goes, and whose that is.
    pub(crate) log: LogTarget,
    pub(crate) user: Option<User>,
    /// Its output is in memory, since its log could not be opened.
    pub(crate) log_in_memory: bool,
    /// Working directory and log file, for messages.
    pub(crate) places: Places,
    /// Bounds of its tree that nobody keeps, by their keys.
    pub(crate) unbounded: Vec<&'static str>,
    /// What hears it, if it is asked to say something.
    pub(crate) notify_listener: Option<Box<NotifyListener>>,
    /// What it was asked to say.
    pub(crate) asked: Readiness,
}

impl Run {
    /// Nothing of it yet but its name.
    pub(crate) fn new(owner: Owner, realm: Option<RealmName>, program: String) -> Self {
        Self {
            owner,
            realm,
            program,
            stage: Stage::Launching,
            pid: 0,
            pidfd: None,
            watched: false,
            cgroup: None,
            events: None,
            tags: Vec::new(),
            word: None,
            pidfile: None,
            adopted: false,
            stopped_by_signal: false,
            condemned: false,
            unproven: false,
            looks: 0,
            identity: IdentityDigest::default(),
            start_time: 0,
            since: 0,
            socket: None,
            launcher: 0,
            is_set_up: false,
            said_exec: false,
            failure: None,
            limit: None,
            timed_out: false,
            silent: false,
            leftovers: Vec::new(),
            capture: None,
            log: LogTarget::Null,
            user: None,
            log_in_memory: false,
            places: Places::default(),
            unbounded: Vec::new(),
            notify_listener: None,
            asked: Readiness::default(),
        }
    }

    /// Whose processes are believed to be of the run when only the tag says so, or speak for it.
    pub(crate) fn users(&self) -> Users {
        Users::with(self.user.as_ref().map(|user| user.uid))
    }

    /// Signals the group that the main process leads, and the main process if it leads none. False when the kernel cannot
    /// signal a group by a pidfd (before 6.9): then the others have to be found.
    pub(crate) fn signal_group(&self, signal: Signal) -> bool {
        let Some(pidfd) = &self.pidfd else { return true };
        let signalled = sys::signal_group(pidfd.as_fd(), Some(signal));
        if signalled.is_err() {
            // Gone already: then its end says so.
            let _ = sys::signal_process(pidfd.as_fd(), signal);
        }
        signalled.map_or_else(|error| error.raw_os_error() != Some(Errno::EINVAL as i32), |()| true)
    }

    /// How the main process has ended; `None` while it lives. It stays a zombie until [`Run::reap`].
    pub(crate) fn look_at_end(&self) -> Option<Exit> {
        let pidfd = self.pidfd.as_ref()?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options) {
            Ok(Some(status)) => Some(exit_of_status(&status)),
            Ok(None) => None,
            // Somebody else's child: the kernel may still know how it ended.
            Err(_) if has_ended(pidfd) => Some(survey::exit_of(pidfd, self.pid, self.start_time)),
            Err(_) => None,
        }
    }

    /// Takes a main process that has ended from the kernel.
    pub(crate) fn reap(&self) {
        if let Some(pidfd) = &self.pidfd {
            // Somebody else's child: its own parent does.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options);
        }
    }

    /// As far as the kernel can say it at once; zombies that nobody has collected count as somebody.
    pub(crate) fn group_is_empty(&self) -> bool {
        let esrch = Some(Errno::ESRCH as i32);
        let Some(pidfd) = &self.pidfd else { return true };
        match sys::signal_group(pidfd.as_fd(), None) {
            Ok(()) => false,
            // Older than Linux 6.9 (EINVAL): the scan has to do.
            Err(error) => error.raw_os_error() == esrch || error.raw_os_error() == Some(Errno::EINVAL as i32),
        }
    }
}

/// How a process ended, in our words.
pub(crate) fn exit_of_status(status: &WaitIdStatus) -> Exit {
    let kind = if let Some(code) = status.exit_status() {
        ExitKind::Code(code)
    } else if let Some(signal) = status.terminating_signal().and_then(Signal::new) {
        ExitKind::Signal { signal, core: status.dumped() }
    } else {
        ExitKind::Unknown
    };
    Exit { kind, oom: false }
}

/// The process behind `pidfd` is gone, or a zombie.
pub(crate) fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut wanted = [PollFd::new(pidfd, PollFlags::IN)];
    rustix::event::poll(&mut wanted, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}
