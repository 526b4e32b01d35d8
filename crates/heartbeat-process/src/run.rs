//! One process that was started: from its launcher to the last of its group.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use heartbeat_status::{Exit, ExitKind, RealmName, Signal};
use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus};
use rustix::time::Timespec;

use crate::notice::{CommandRunId, Key, LaunchError};
use crate::spawn::{COMMAND_MARK, command_mark};
use crate::tree::Sweep;
use crate::{survey, sys, tree};

/// Looks for what a command has left behind, at most; somebody who forks faster than this is left to the host.
const MAX_LOOKS: u32 = 8;

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

/// Where a program was to run and to write, and as whom, for messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub(crate) dir: String,
    pub(crate) log: String,
    /// Whom it was to run as, when not as ourselves.
    pub(crate) user: Option<String>,
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
    /// It is nobody's child here, or was taken over by a heartbeatd that goes on under the same pid.
    pub(crate) adopted: bool,
    /// It was last seen stopped by a signal; only of adopted ones, since the kernel tells of children.
    pub(crate) halted: bool,
    /// Nothing proves whose it is: it is watched, and never signalled.
    pub(crate) unproven: bool,
    /// Looks that are left until an adopted launcher has to have become its program.
    pub(crate) looks: u32,
    /// What it is made of.
    pub(crate) made_of: u64,
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
    pub(crate) leftovers: Vec<OwnedFd>,
    /// Where the output of a command is captured.
    pub(crate) capture: Option<OwnedFd>,
    /// Working directory and log file, for messages.
    pub(crate) places: Places,
}

impl Run {
    /// Signals the whole tree, as far as it can be found: the group through the leader's pidfd, and with KILL also
    /// whoever of its session has made a group of his own.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.unproven {
            return;
        }
        let Some(pidfd) = &self.pidfd else {
            for leftover in &self.leftovers {
                // Gone meanwhile: that is what was wanted.
                let _ = sys::signal_process(leftover.as_fd(), signal);
            }
            return;
        };
        match sys::signal_group(pidfd.as_fd(), Some(signal)) {
            // Older than Linux 6.9: everybody by his own pidfd.
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
                // Reaped already: then only the others are left.
                let _ = sys::signal_process(pidfd.as_fd(), signal);
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
        let (members, _) = open_members(&Sweep::take(), self.pid);
        for member in members {
            // Gone between the look and the signal: that is what was wanted.
            let _ = sys::signal_process(member.as_fd(), signal);
        }
    }

    /// Kills what a captured command has left anywhere, also in sessions of their own, by the mark in its
    /// environment. Whoever is forked meanwhile is found by the next look.
    pub(crate) fn kill_marked(&self, mark: &str) {
        let (Owner::Command(id), true) = (self.owner, self.capture.is_some()) else { return };
        let wanted = format!("{COMMAND_MARK}={}", command_mark(id, mark));
        let mut killed = Vec::new();
        for _ in 0..MAX_LOOKS {
            let before = killed.len();
            for (pid, stat) in Sweep::take().since(self.start_time) {
                let known = killed.contains(&(pid, stat.start_time));
                if known || !tree::environment_has(pid, &[wanted.as_bytes()]) {
                    continue;
                }
                let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
                let held = raw.and_then(|raw| rustix::process::pidfd_open(raw, PidfdFlags::empty()).ok());
                // Held, it must still be the one that was looked at.
                let same = tree::stat(pid).is_some_and(|now| now.start_time == stat.start_time);
                if let (Some(pidfd), true) = (held, same) {
                    let _ = sys::signal_process(pidfd.as_fd(), Signal::KILL);
                    killed.push((pid, stat.start_time));
                }
            }
            if killed.len() == before {
                return;
            }
        }
    }

    /// Ends a launch, whatever has become of it: the launcher before it leads a group, and whoever it has become.
    pub(crate) fn kill_launch(&self) {
        let Some(pidfd) = &self.pidfd else { return };
        // Gone already: then its end says so.
        let _ = sys::signal_process(pidfd.as_fd(), Signal::KILL);
        let _ = sys::signal_group(pidfd.as_fd(), Some(Signal::KILL));
    }

    /// Reaps the main process; `None` while it lives.
    pub(crate) fn reap(&self) -> Option<Exit> {
        let pidfd = self.pidfd.as_ref()?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options) {
            Ok(Some(status)) => Some(exit_of_status(&status)),
            Ok(None) => None,
            // Somebody else's child: the kernel may still know how it ended.
            Err(_) => Some(survey::exit_of(pidfd, self.pid, self.start_time)),
        }
    }

    /// Looks for processes that the reaped main process left behind, and holds them by their pidfds. True when
    /// there are none: nobody in its group as the kernel sees it, and nobody in its session.
    pub(crate) fn find_leftovers(&mut self, sweep: &Sweep) -> bool {
        if self.pidfd.is_none() {
            // Found by an earlier look that knew more than session and group: only they can be left.
            self.leftovers.retain(|left| !has_ended(left));
            return self.leftovers.is_empty();
        }
        let (leftovers, missed) = open_members(sweep, self.pid);
        self.leftovers = leftovers;
        if missed || !sweep.is_complete() || !self.leftovers.is_empty() {
            return false;
        }
        if self.group_is_empty() {
            return true;
        }
        // Somebody forked while we looked, or only zombies are left that their new parent has not collected: those
        // are dead, and a parent that never collects must not hold up the next start.
        let sweep = Sweep::take();
        let (leftovers, missed) = open_members(&sweep, self.pid);
        self.leftovers = leftovers;
        !missed && sweep.is_complete() && self.leftovers.is_empty()
    }

    /// Of a realm whose main process ended while nobody looked: whoever carries its mark and was forked meanwhile. True
    /// when there is somebody.
    pub(crate) fn find_marked(&mut self, sweep: &Sweep, mark: &str) -> bool {
        let (None, false, Some(realm)) = (&self.pidfd, self.unproven, &self.realm) else { return false };
        let wanted = [format!("HEARTBEAT_STATE={mark}"), format!("HEARTBEAT_REALM={realm}")];
        let wanted = [wanted[0].as_bytes(), wanted[1].as_bytes()];
        for (pid, stat) in
            sweep.since(self.start_time).filter(|(pid, _)| tree::environment_has(*pid, &wanted))
        {
            self.leftovers.extend(survey::hold(pid, &stat));
        }
        !self.leftovers.is_empty()
    }

    /// As far as the kernel can say it at once; zombies that nobody has collected count as somebody.
    fn group_is_empty(&self) -> bool {
        let esrch = Some(Errno::ESRCH as i32);
        let Some(pidfd) = &self.pidfd else { return true };
        match sys::signal_group(pidfd.as_fd(), None) {
            Ok(()) => false,
            // Older than Linux 6.9 (EINVAL): the sweep has to do.
            Err(error) => error.raw_os_error() == esrch || error.raw_os_error() == Some(Errno::EINVAL as i32),
        }
    }
}

/// The members of a session or group, each held by a pidfd and looked at again, so that no stranger who got a
/// reused number is among them; and whether somebody could not be held for want of descriptors.
fn open_members(sweep: &Sweep, leader: u32) -> (Vec<OwnedFd>, bool) {
    let mut held = Vec::new();
    let mut missed = false;
    for pid in sweep.members(leader) {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
        match rustix::process::pidfd_open(raw, PidfdFlags::empty()) {
            Ok(pidfd) => {
                let still =
                    tree::stat(pid).is_some_and(|stat| stat.group == leader || stat.session == leader);
                if still {
                    held.push(pidfd);
                }
            }
            Err(rustix::io::Errno::SRCH) => {}
            Err(_) => missed = true,
        }
    }
    (held, missed)
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
fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut wanted = [PollFd::new(pidfd, PollFlags::IN)];
    rustix::event::poll(&mut wanted, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}
