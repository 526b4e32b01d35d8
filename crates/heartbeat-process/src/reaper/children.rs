//! Children of heartbeatd that are the main process of no run: orphans that came to it, killed launchers, and former
//! main processes.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus};
use rustix::process::{WaitId, WaitIdOptions};

use crate::tree;

#[derive(Debug)]
pub(super) struct Children {
    pub(super) collects_orphans: bool,
    /// Zombies at the last look that may have been copies of the launcher without a report.
    suspects: BTreeSet<u32>,
    /// Killed copies of the launcher without a report: they end at once, and the reaper collects them.
    parting: Vec<OwnedFd>,
    /// Former main processes of runs.
    former: Vec<OwnedFd>,
}

impl Children {
    pub(super) fn new(collects_orphans: bool) -> Self {
        Self { collects_orphans, suspects: BTreeSet::new(), parting: Vec::new(), former: Vec::new() }
    }

    /// Takes copies of the launcher that the reaper has killed.
    pub(super) fn part_with(&mut self, copies: Option<OwnedFd>) {
        self.parting.extend(copies);
    }

    /// Keeps a former main process, which runs on, or ends like any process of its tree.
    pub(super) fn keep_former(&mut self, main: OwnedFd) {
        self.former.push(main);
    }

    /// Collects the held children that have ended.
    pub(super) fn collect_ended(&mut self) {
        self.parting.retain(|child| !collect(child));
        self.former.retain(|child| !collect(child));
    }

    /// Waits for copies of the launcher, which have nothing left to do but to end.
    pub(super) fn wait_for_parting(&mut self) {
        for copy in self.parting.drain(..) {
            let _ = rustix::process::waitid(WaitId::PidFd(copy.as_fd()), WaitIdOptions::EXITED);
        }
    }

    /// Takes the exit status of every child that is no run's main process; those have their own pidfds.
    ///
    /// While a launch is under way (`unsettled`), a zombie may be a copy of the launcher without a report. Such a
    /// zombie is an orphan if it is still there at the next look.
    pub(super) fn collect_orphans(&mut self, unsettled: bool, is_main: impl Fn(u32) -> bool) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let before = std::mem::take(&mut self.suspects);
        loop {
            let pid = match nix::sys::wait::waitid(Id::All, flags) {
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => pid.as_raw().unsigned_abs(),
                _ => return,
            };
            if is_main(pid) || (unsettled && !before.contains(&pid)) {
                break;
            }
            collect_child(pid);
        }
        // The kernel keeps naming that child, so the reaper looks for the others.
        for pid in tree::zombies_of(std::process::id()) {
            if is_main(pid) {
                continue;
            }
            if unsettled && !before.contains(&pid) {
                self.suspects.insert(pid);
            } else {
                collect_child(pid);
            }
        }
    }
}

/// Collects a child if it has ended.
fn collect(child: &OwnedFd) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    !matches!(rustix::process::waitid(WaitId::PidFd(child.as_fd()), options), Ok(None))
}

fn collect_child(pid: u32) {
    // It is the same child: a zombie stays until it is collected, and only this thread collects.
    if let Ok(raw) = i32::try_from(pid) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        let _ = nix::sys::wait::waitid(Id::Pid(nix::unistd::Pid::from_raw(raw)), flags);
    }
}
