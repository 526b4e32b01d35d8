//! The control groups of runs that have ended, until the kernel lets the reaper remove them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heartbeat_status::{RealmName, RunId};
use rustix::time::Timespec;

use crate::cgroup::{self, Cgroup, NextCgroups};

/// At its end the reaper tries again to remove empty control groups after this, and this many times: 1 s.
const LOOK_AT_END: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
const MAX_LOOKS_AT_END: u32 = 50;

#[derive(Debug)]
pub(super) struct Cgroups {
    base: Option<PathBuf>,
    /// The kernel has, or can be asked for, a controller of memory for these groups.
    counts_kills: bool,
    /// Tells other heartbeatds that the directory of groups is in use.
    _claim: Option<File>,
    /// Groups of ended runs. The reaper removes them a moment later: the kernel makes and removes groups one at a time.
    vacated: Vec<Cgroup>,
    /// Groups that the reaper could not remove yet.
    lingering: Vec<Cgroup>,
    /// Groups for the next runs; the spawn thread takes them.
    next: Arc<NextCgroups>,
}

impl Cgroups {
    /// Manages the groups below `base`, also those of an earlier heartbeatd.
    pub(super) fn new(base: Option<PathBuf>, next: Arc<NextCgroups>) -> Self {
        let earlier = base.as_deref().map(Cgroup::all).unwrap_or_default();
        Self {
            _claim: base.as_deref().and_then(cgroup::claim),
            counts_kills: base
                .as_deref()
                .and_then(Path::parent)
                .is_some_and(|above| cgroup::has_controller(above, "memory")),
            base,
            vacated: Vec::new(),
            next,
            lingering: earlier.into_iter().map(|(_, cgroup)| cgroup).collect(),
        }
    }

    /// The kernel may count in these groups what it kills for want of memory. Asking for a file that is not there takes
    /// longer than reading one that is.
    pub(super) fn counts_kills(&self) -> bool {
        self.counts_kills
    }

    /// Calls `tell`, which reports the end of `run` of a realm, and makes the group for the next run, which may begin at
    /// once.
    pub(super) fn make_next_after(&self, tell: impl FnOnce(), realm: &RealmName, run: RunId) {
        match &self.base {
            Some(base) => self.next.make_after(tell, base, realm, RunId(run.0 + 1)),
            None => tell(),
        }
    }

    /// Takes the group of a run that has ended.
    pub(super) fn vacate(&mut self, cgroup: Cgroup) {
        self.vacated.push(cgroup);
    }

    /// A group of an ended run is there.
    pub(super) fn has_vacated(&self) -> bool {
        !self.vacated.is_empty()
    }

    /// Removes the groups of runs that have ended, and those that were made for a next run that has not begun.
    pub(super) fn remove_vacated(&mut self) {
        self.next.remove_all();
        let vacated = std::mem::take(&mut self.vacated);
        self.lingering.extend(vacated.into_iter().filter(|cgroup| cgroup.remove().is_err()));
    }

    /// Also tries the lingering groups again. A used group goes when its run has ended; an empty one may be about to be
    /// used by a launch.
    pub(super) fn remove_all(&mut self, is_used: impl Fn(&Cgroup) -> bool) {
        self.remove_vacated();
        self.lingering.retain(|cgroup| !is_used(cgroup) && cgroup.remove().is_err());
    }

    /// Removes every group that no run uses.
    pub(super) fn close(&mut self, is_used: impl Fn(&Cgroup) -> bool) {
        self.remove_all(&is_used);
        for _ in 0..MAX_LOOKS_AT_END {
            if !self.lingering.iter().any(|cgroup| cgroup.is_empty().unwrap_or(false)) {
                break;
            }
            // The kernel may still be busy with processes that have just ended.
            let _ = rustix::event::poll(&mut [], Some(&LOOK_AT_END));
            self.remove_all(&is_used);
        }
        if let Some(base) = &self.base {
            // This fails while a realm lives: the directory holds its group.
            let _ = std::fs::remove_dir(base);
        }
    }
}
