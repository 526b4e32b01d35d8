//! Taking over what an earlier heartbeatd had started, and looking after what is nobody's child here.

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus};
use rustix::event::epoll::{self, EventFlags};

use super::{LOOK_AT_LAUNCHER, MAIN, MAX_LOOKS, Reaper, drain};
use crate::cgroup::Cgroup;
use crate::notice::{Key, LaunchError, Notice, Step};
use crate::notify::NotifyListener;
use crate::run::{Owner, Places, Run, Stage};
use crate::survey::{Condition, Survivor};
use crate::{LaunchSpec, reserved_fds, tree};

impl Reaper {
    /// Takes over a realm as it was found.
    pub(super) fn adopt(&mut self, key: Key, survivor: Survivor, spec: LaunchSpec) {
        let identity = spec.identity().digest();
        let LaunchSpec { limits, readiness: asked, log, user, .. } = spec;
        let Survivor { realm, condition, record, mut held, .. } = survivor;
        let process = record.as_ref().and_then(|record| record.process);
        let word = record.as_ref().and_then(|record| record.word.clone());
        let unproven = matches!(condition, Condition::Unverifiable { .. });
        // What cannot be proven to be the realm's is not signalled, and its group neither.
        let group = record.as_ref().and_then(|record| record.group.clone()).filter(|_| !unproven);
        let cgroup = group.and_then(Cgroup::at);
        if let Some(record) = record {
            self.records.carry_over(&realm, record, identity);
        }
        let (pid, start_time) = process.map_or((0, 0), |process| (process.pid, process.start_time));
        let mut run = Run {
            stage: Stage::Exited,
            pid,
            adopted: true,
            unproven,
            start_time,
            since: start_time,
            unbounded: limits.unbounded(cgroup.as_ref().map(Cgroup::dir)),
            places: Places { limits, ..Places::default() },
            cgroup,
            tags: self.tags(Owner::Realm(key), Some(&realm), false, word.as_deref()),
            word,
            asked,
            log,
            user,
            ..Run::new(Owner::Realm(key), Some(realm.clone()), realm.to_string())
        };
        self.next_run += 1;
        let id = self.next_run;
        match condition {
            Condition::Nothing => return,
            Condition::Alive { launching, .. } => {
                run.stage = if launching { Stage::Launching } else { Stage::Started };
                run.pidfd = held.pop();
                run.notify_listener = NotifyListener::again(&self.places, &realm, &run.asked).map(Box::new);
                run.log_in_memory = self.logs.take_over(&run.log, run.user.as_ref(), key.run.0, run.pid);
                if launching {
                    let what = format!("for {realm}: its heartbeatd died before it could be started");
                    run.failure = Some(LaunchError::never_tried(Step::Launcher, &what));
                    run.looks = MAX_LOOKS;
                    self.deadlines.set(id, LOOK_AT_LAUNCHER);
                }
                if let Some(pidfd) = &run.pidfd {
                    // Without a descriptor for it, the regular look finds its end.
                    run.watched =
                        epoll::add(&self.epoll, pidfd, Self::token(id, MAIN), EventFlags::IN).is_ok();
                }
            }
            Condition::Ended { empty: true, run: generation, .. } => {
                self.records.end(&realm, generation);
                return;
            }
            Condition::Ended { .. } | Condition::Unverifiable { .. } => run.leftovers = held,
        }
        if run.stage == Stage::Started {
            self.tell_unbounded(key, &run);
            self.tell_log(key, &run);
        }
        let speaks = run.stage == Stage::Started;
        let leftovers = run.stage == Stage::Exited && (run.cgroup.is_some() || !run.leftovers.is_empty());
        self.by_owner.insert(run.owner, id);
        self.runs.insert(id, run);
        if speaks {
            self.open_notify_listener(id);
        }
        if leftovers {
            self.watch_leftovers(id);
        }
    }

    /// An adopted launcher: has it become its program?
    pub(super) fn look_at_launcher(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.looks -= 1;
        if tree::has_become_program(run.pid) {
            run.looks = 0;
            run.failure = None;
            self.started(id);
            return;
        }
        if run.looks == 0 {
            // Its socket has ended with its heartbeatd, and it has not: nothing that can still be trusted.
            self.kill_launch(id);
            return;
        }
        self.deadlines.set(id, LOOK_AT_LAUNCHER);
    }

    /// Now and then.
    pub(super) fn look_around(&mut self) {
        if let Some(tick) = &self.tick {
            drain(tick);
        }
        self.records.touch();
        self.sample_memory();
        self.look_after_notify_listeners();
        reserved_fds::refill();
        self.collect_orphans();
        self.remove_cgroups(true);
        // Nothing else tells the end of a process that could not be watched, or of a launch that has failed.
        let unseen = |run: &Run| match run.stage {
            Stage::Launching => run.failure.is_some(),
            Stage::Started => !run.watched,
            Stage::Forked(_) | Stage::Exited => false,
        };
        let unseen: Vec<u64> = self.runs.iter().filter(|(_, run)| unseen(run)).map(|(id, _)| *id).collect();
        for id in unseen {
            // Its own report comes before its end.
            let _ = self.listen(id);
            let _ = self.watch_end(id);
            self.ended(id, &mut None);
        }
        let mut told = Vec::new();
        for run in self.runs.values_mut().filter(|run| run.adopted && run.stage == Stage::Started) {
            // The kernel tells of stops only to parents.
            let stopped_by_signal = tree::stat(run.pid)
                .is_some_and(|stat| stat.start_time == run.start_time && stat.state == 'T');
            if stopped_by_signal != run.stopped_by_signal
                && let Owner::Realm(key) = run.owner
            {
                run.stopped_by_signal = stopped_by_signal;
                told.push(Notice::StoppedBySignal { key, stopped: stopped_by_signal });
            }
        }
        told.into_iter().for_each(|notice| (self.sink)(notice));
    }

    /// Control groups that nobody lives in any more: of earlier lives, and those that could not be removed when their runs
    /// ended.
    pub(super) fn remove_cgroups(&mut self, lingering_too: bool) {
        let vacated = std::mem::take(&mut self.vacated);
        self.lingering.extend(vacated.into_iter().filter(|cgroup| cgroup.remove().is_err()));
        if !lingering_too || self.lingering.is_empty() {
            return;
        }
        let used = |cgroup: &Cgroup| self.runs.values().any(|run| run.cgroup.as_ref() == Some(cgroup));
        let mut lingering = std::mem::take(&mut self.lingering);
        // What is used is removed when its run has ended; an empty one may be about to be used by a launch.
        lingering.retain(|cgroup| !used(cgroup) && cgroup.remove().is_err());
        self.lingering = lingering;
    }

    /// Takes the exit status of every child that is no run: orphans that came to us, and launchers that were killed. The
    /// others are taken through their own pidfds.
    pub(super) fn collect_orphans(&mut self) {
        // A launcher that has just been made must keep its number until it is held.
        if !self.collects_orphans || self.orders.makes_launcher() {
            return;
        }
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        // While a launch is under way, a zombie may be a copy of the launcher of which nobody has told us yet. Such a
        // zombie is an orphan if it is still there at the next look.
        let unsettled = self.is_launching();
        let before = std::mem::take(&mut self.suspects);
        loop {
            let pid = match nix::sys::wait::waitid(Id::All, flags) {
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => pid.as_raw().unsigned_abs(),
                _ => return,
            };
            if self.is_ours(pid) || (unsettled && !before.contains(&pid)) {
                break;
            }
            collect_child(pid);
        }
        // The kernel keeps naming that one, so the others have to be looked for.
        for pid in tree::zombies_of(std::process::id()) {
            if self.is_ours(pid) {
                continue;
            }
            if unsettled && !before.contains(&pid) {
                self.suspects.insert(pid);
            } else {
                collect_child(pid);
            }
        }
    }

    /// A copy of the launcher may exist whose number is not known here.
    fn is_launching(&self) -> bool {
        let unmet = |run: &Run| run.stage == Stage::Launching && run.pid == 0;
        !self.expected.is_empty() || self.runs.values().any(unmet)
    }

    fn is_ours(&self, pid: u32) -> bool {
        self.runs.values().any(|run| run.pid == pid)
    }
}

fn collect_child(pid: u32) {
    // The very one that was seen: it stays a zombie until it is taken, and only this thread takes it.
    if let Ok(raw) = i32::try_from(pid) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        let _ = nix::sys::wait::waitid(Id::Pid(nix::unistd::Pid::from_raw(raw)), flags);
    }
}
