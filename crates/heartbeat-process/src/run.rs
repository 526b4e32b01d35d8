//! One process that was started: from its launcher to the last of its group.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use heartbeat_status::{Exit, ExitKind, RealmName, Signal};
use nix::errno::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};

use crate::notice::{CommandRunId, Key, LaunchError};
use crate::{sys, tree};

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
    /// The main process has been reaped; others of its group are left.
    Exited,
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) owner: Owner,
    pub(crate) realm: Option<RealmName>,
    /// Program, for messages.
    pub(crate) program: String,
    pub(crate) stage: Stage,
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) start_time: u64,
    pub(crate) socket: Option<OwnedFd>,
    pub(crate) said_exec: bool,
    pub(crate) failure: Option<LaunchError>,
    pub(crate) timer: Option<OwnedFd>,
    /// How long a command may run.
    pub(crate) limit: Option<Duration>,
    pub(crate) timed_out: bool,
    /// Nobody wants to know how it ends.
    pub(crate) silent: bool,
    /// Living processes of an exited run, each watched by its own pidfd.
    pub(crate) leftovers: Vec<(u32, OwnedFd)>,
}

impl Run {
    /// Signals the whole tree, as far as it can be found: the group through the leader's pidfd, and with KILL also
    /// whoever of its session has made a group of his own.
    pub(crate) fn signal(&self, signal: Signal) {
        match sys::signal_group(self.pidfd.as_fd(), Some(signal)) {
            // Older than Linux 6.9: everybody by his own pidfd.
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
                // Reaped already: then only the others are left.
                let _ = sys::signal_process(self.pidfd.as_fd(), signal);
                self.signal_members(signal);
            }
            // ESRCH: nobody is left, which the exit or the leftovers tell.
            Ok(()) | Err(_) => {
                if signal == Signal::KILL {
                    self.signal_members(signal);
                }
            }
        }
    }

    fn signal_members(&self, signal: Signal) {
        for (_, member) in open_members(self.pid) {
            // Gone between the look and the signal: that is what was wanted.
            let _ = sys::signal_process(member.as_fd(), signal);
        }
    }

    /// Reaps the main process; `None` while it lives.
    pub(crate) fn reap(&self) -> Option<Exit> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
            Ok(Some(status)) => {
                let kind = if let Some(code) = status.exit_status() {
                    ExitKind::Code(code)
                } else if let Some(signal) = status.terminating_signal().and_then(Signal::new) {
                    ExitKind::Signal { signal, core: status.dumped() }
                } else {
                    ExitKind::Unknown
                };
                Some(Exit { kind, oom: false })
            }
            Ok(None) => None,
            // Somebody else reaped it: the honest answer is that we do not know.
            Err(_) => Some(Exit::unknown()),
        }
    }

    /// Looks for processes that the reaped main process left behind, and watches them. True when there are none.
    pub(crate) fn find_leftovers(&mut self) -> bool {
        self.leftovers.clear();
        if let Err(error) = sys::signal_group(self.pidfd.as_fd(), None)
            && error.raw_os_error() == Some(Errno::ESRCH as i32)
        {
            return true;
        }
        self.leftovers = open_members(self.pid);
        self.leftovers.is_empty()
    }
}

/// The members of a session or group, each held by a pidfd and looked at again, so that no stranger who got a
/// reused number is among them.
fn open_members(leader: u32) -> Vec<(u32, OwnedFd)> {
    let opened = tree::members(leader).into_iter().filter_map(|pid| {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty()).ok()?;
        let still = tree::stat(pid).is_some_and(|stat| stat.group == leader || stat.session == leader);
        still.then_some((pid, pidfd))
    });
    opened.collect()
}
