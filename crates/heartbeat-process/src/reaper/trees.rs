//! All processes of a run: how the reaper signals them, and how it knows that none is left.
//!
//! In a control group of its own the kernel knows them; otherwise [`crate::members`] finds them.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use heartbeat_status::{RealmName, RunFact, Signal};
use rustix::event::epoll::{self, EventFlags};

use super::{GROUP, LEFTOVER, LOOK_AGAIN, Reaper};
use crate::cgroup::Cgroup;
use crate::exit::has_ended;
use crate::members::{Members, Traits, Users, hold};
use crate::notice::{CommandRunId, Notice};
use crate::run::{Owner, Run, Stage};
use crate::sys;
use crate::tags::{COMMAND_TAG, hook_of};
use crate::tree::{self, ProcScan, Stat};

/// Most looks for what hooks have left behind: what is found is killed, so a look finds only what was forked meanwhile.
const MAX_HOOK_LOOKS: u32 = 8;

impl Reaper {
    /// The main processes of all other runs.
    pub(super) fn other_mains(&self, id: u64) -> BTreeSet<u32> {
        self.runs
            .all()
            .filter(|(other, run)| *other != id && run.main.pid != 0)
            .map(|(_, run)| run.main.pid)
            .collect()
    }

    /// Signals every process of a run.
    pub(super) fn signal_tree(&mut self, id: u64, signal: Signal) {
        let Some(run) = self.runs.get_mut(id).filter(|run| !run.main.unproven) else { return };
        run.tree.condemned |= signal == Signal::KILL;
        let Some(run) = self.runs.get(id) else { return };
        match &run.tree.cgroup {
            Some(cgroup) if signal == Signal::KILL => {
                if cgroup.kill().is_err() {
                    signal_cgroup(run, cgroup, Signal::STOP, true);
                    signal_cgroup(run, cgroup, signal, true);
                }
                // Reaches processes that have left the control group and stayed in the process group.
                run.signal_group(signal);
            }
            Some(cgroup) => {
                let all = !run.signal_group(signal) || run.main.pidfd.is_none();
                signal_cgroup(run, cgroup, signal, all);
            }
            None => self.signal_found(id, run, signal),
        }
        for leftover in &run.tree.leftovers {
            // An error means that the process has ended meanwhile, as it should.
            let _ = sys::signal_process(std::os::fd::AsFd::as_fd(leftover), signal);
        }
    }

    fn signal_found(&self, id: u64, run: &Run, signal: Signal) {
        let mains = self.other_mains(id);
        if signal == Signal::KILL {
            traits(run, None).kill(&mains, || {
                run.signal_group(signal);
            });
            return;
        }
        let grouped = run.signal_group(signal);
        let found = traits(run, None).find(&ProcScan::take(), &mains);
        for member in found.held {
            let told = grouped && tree::stat(member.pid).is_some_and(|stat| stat.group == run.main.pid);
            if !told {
                member.signal(signal);
            }
        }
    }

    /// The pids of a run. Without a control group the reaper finds them in `scan`.
    pub(super) fn pids_of<'a>(&self, id: u64, scan: impl FnOnce() -> &'a mut ProcScan) -> Vec<u32> {
        let Some(run) = self.runs.get(id) else { return Vec::new() };
        match &run.tree.cgroup {
            Some(cgroup) => cgroup.members().unwrap_or_default(),
            None => {
                let found = traits(run, None).find(scan(), &self.other_mains(id));
                found.held.iter().map(|member| member.pid).chain([run.main.pid]).collect()
            }
        }
    }

    /// Kills all processes that a command has left behind.
    pub(super) fn kill_command(&self, id: u64) {
        let Some(run) = self.runs.get(id) else { return };
        self.signal_found(id, run, Signal::KILL);
    }

    /// Kills what the hooks of these realms up to `last` have left behind, wherever it is; not those that still run.
    pub(super) fn end_hooks(
        &self,
        realms: &[(RealmName, Option<u32>)],
        last: CommandRunId,
        running: &[CommandRunId],
    ) {
        let (command, realm) = (format!("{COMMAND_TAG}="), "HEARTBEAT_REALM=");
        let is_left = |pid: u32| {
            let entries = tree::environment_entries(pid, &[&command, realm]);
            let value = |beginning: &str| entries.iter().find_map(|entry| entry.strip_prefix(beginning));
            let hook = value(&command).and_then(|tag| hook_of(tag, &self.records.origin.instance_tag));
            // A hook of the next run may be at work, and one that stops this run.
            let has_ended = |id| id <= last.0 && !running.contains(&CommandRunId(id));
            let is_over = hook.is_some_and(|(by, id)| by != std::process::id() || has_ended(id));
            let of = realms.iter().find(|(name, _)| is_over && value(realm) == Some(name.as_str()));
            of.is_some_and(|(_, user)| Users::with(*user).have(pid))
        };
        // One that forks meanwhile is found by the next look.
        for _ in 0..MAX_HOOK_LOOKS {
            let left: Vec<(u32, Stat)> = ProcScan::take()
                .all()
                .filter(|(pid, stat)| *pid != std::process::id() && !stat.is_ending && is_left(*pid))
                .collect();
            if left.is_empty() {
                return;
            }
            for held in left.iter().filter_map(|(pid, stat)| hold(*pid, stat).ok().flatten()) {
                // An error means that the process has ended, as it should.
                let _ = sys::signal_process(std::os::fd::AsFd::as_fd(&held), Signal::KILL);
            }
        }
    }

    /// Whether `pid` is a process of the run, besides its main process.
    pub(super) fn belongs(&self, id: u64, pid: u32) -> bool {
        let Some(run) = self.runs.get(id).filter(|run| !run.main.unproven) else { return false };
        let Some(stat) = tree::stat(pid).filter(|stat| !matches!(stat.state, 'Z' | 'X')) else {
            return false;
        };
        match &run.tree.cgroup {
            Some(cgroup) => cgroup.has(pid),
            None => {
                let (scan, mains) = (ProcScan::take(), self.other_mains(id));
                traits(run, Some(&scan)).find(&scan, &mains).has(pid, &stat)
                    || self.is_orphan_of_no_other(run, (pid, &stat), &mains)
            }
        }
    }

    /// Whether a descendant of heartbeatd may be an orphan of the run: it has lost its parents, came to heartbeatd, and
    /// has nothing of another realm. nginx, as a daemon, leaves its session and overwrites its environment. The reaper
    /// checks this only for a process that is named as the main one.
    pub(super) fn is_orphan_of_no_other(
        &self,
        run: &Run,
        (pid, stat): (u32, &Stat),
        mains: &BTreeSet<u32>,
    ) -> bool {
        self.children.collects_orphans
            && stat.parent == std::process::id()
            && stat.start_time >= run.tree.since
            && ![pid, stat.session, stat.group].iter().any(|number| mains.contains(number))
            && tree::environment_entries(pid, &["HEARTBEAT_REALM="])
                .first()
                .is_none_or(|entry| run.tree.tags.contains(entry))
    }

    /// Whether an ended run has no process left. The reaper holds those that are left.
    pub(super) fn is_tree_empty(&mut self, id: u64, scan: &mut Option<ProcScan>) -> bool {
        let Some(run) = self.runs.get_mut(id) else { return true };
        if run.main.unproven || run.tree.cgroup.is_some() {
            run.tree.leftovers.retain(|left| !has_ended(left));
            // If the reaper cannot look into the group, it looks again later.
            let empty = run.tree.cgroup.as_ref().is_none_or(|cgroup| cgroup.is_empty().unwrap_or(false));
            return empty && run.tree.leftovers.is_empty();
        }
        let mains = self.other_mains(id);
        let Some(run) = self.runs.get_mut(id) else { return true };
        let look = |run: &mut Run, scan: &ProcScan| {
            let Members { held, complete } = traits(run, Some(scan)).find(scan, &mains);
            // An earlier look may have found processes that this one cannot find.
            run.tree.leftovers.retain(|left| run.main.pidfd.is_none() && !has_ended(left));
            run.tree.leftovers.extend(held.into_iter().map(|member| member.pidfd));
            complete && run.tree.leftovers.is_empty()
        };
        if !look(run, scan.get_or_insert_with(ProcScan::take)) {
            return false;
        }
        // A process may have forked during the look. Or only zombies are left that their new parent has not collected:
        // those are dead, and a parent that never collects must not hold up the next start.
        run.group_is_empty() || look(run, &ProcScan::take())
    }

    pub(super) fn watch_leftovers(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(id) else { return };
        for leftover in &run.tree.leftovers {
            // The next look finds the end of a process that cannot be watched.
            let _ = epoll::add(&self.epoll, leftover, Self::token(id, LEFTOVER), EventFlags::IN);
        }
        if run.tree.cgroup_events.is_none()
            && let Some(events) = run.tree.cgroup.as_ref().and_then(|cgroup| cgroup.events().ok())
            && epoll::add(&self.epoll, &events, Self::token(id, GROUP), EventFlags::PRI).is_ok()
        {
            run.tree.cgroup_events = Some(events);
            // The group may have become empty before the reaper watched it.
            self.cgroup_changed(id);
            if self.runs.get(id).is_none() {
                return;
            }
        }
        self.deadlines.set(id, LOOK_AGAIN);
    }

    /// A process has left or entered the control group of an ended run.
    pub(super) fn cgroup_changed(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(id) else { return };
        if let Some(events) = &run.tree.cgroup_events {
            // The kernel reports the same change again until the reaper has read it.
            let _ = rustix::io::pread(events, &mut [0; 256], 0);
        }
        if run.stage == Stage::Exited && self.is_tree_empty(id, &mut None) {
            self.emptied(id);
        }
    }

    pub(super) fn leftover_ended(&mut self, id: u64) {
        if self.is_tree_empty(id, &mut None) {
            self.emptied(id);
        } else {
            self.watch_leftovers(id);
        }
    }

    /// Looks again at a run whose main process has ended.
    pub(super) fn look_again(&mut self, id: u64) {
        self.leftover_ended(id);
        if self.runs.get(id).is_some_and(|run| run.tree.condemned) {
            // Reaches processes that the reaper missed for want of descriptors, or that were forked since.
            self.signal_tree(id, Signal::KILL);
        }
    }

    fn emptied(&mut self, id: u64) {
        let Some(run) = self.runs.get(id) else { return };
        let owner = run.owner;
        self.forget(id);
        if let Owner::Realm(key) = owner {
            (self.sink)(Notice::Run { key, fact: RunFact::Emptied });
        }
    }
}

/// How the reaper knows the processes of a run. The pid of a collected main process may be another process today.
pub(super) fn traits<'a>(run: &'a Run, scan: Option<&ProcScan>) -> Traits<'a> {
    let collected = run.stage == Stage::Exited || run.main.pidfd.is_none();
    let reused = || match scan {
        Some(scan) => scan.all().any(|(pid, _)| pid == run.main.pid),
        None => tree::stat(run.main.pid).is_some(),
    };
    let leader =
        (run.main.pid != 0 && run.main.pidfd.is_some() && !(collected && reused())).then_some(run.main.pid);
    Traits { leader, since: run.tree.since, tags: &run.tree.tags, users: run.users() }
}

/// Signals the processes of a control group one by one: all, or only those outside the group of the main process.
fn signal_cgroup(run: &Run, cgroup: &Cgroup, signal: Signal, all: bool) {
    for pid in cgroup.members().unwrap_or_default() {
        let Some(stat) = tree::stat(pid) else { continue };
        if !all && (stat.group == run.main.pid || pid == run.main.pid) {
            continue;
        }
        let held: Option<OwnedFd> = hold(pid, &stat).ok().flatten();
        if let Some(pidfd) = held.filter(|_| cgroup.has(pid)) {
            let _ = sys::signal_process(std::os::fd::AsFd::as_fd(&pidfd), signal);
        }
    }
}
