//! Takes over what an earlier heartbeatd started, and looks after adopted processes and orphans.

use heartbeat_status::RunFact;
use rustix::event::epoll::{self, EventFlags};

use super::{LOOK_AT_LAUNCHER, MAIN, MAX_LOOKS, Reaper};
use crate::cgroup::Cgroup;
use crate::notice::{Key, LaunchError, Notice, Step};
use crate::notify::NotifyListener;
use crate::run::{MainProcess, Owner, Places, ProcessTree, Request, Run, Stage};
use crate::survey::{Condition, Survivor};
use crate::timer::drain;
use crate::{LaunchSpec, reserved_fds, tree};

impl Reaper {
    /// Takes over a realm in the state in which the survey found it.
    pub(super) fn adopt(&mut self, key: Key, survivor: Survivor, spec: LaunchSpec) {
        let identity = spec.identity().digest();
        let LaunchSpec { limits, readiness, log, user, pidfile, .. } = spec;
        let Survivor { realm, condition, record, mut held, .. } = survivor;
        let process = record.as_ref().and_then(|record| record.process);
        let word = record.as_ref().and_then(|record| record.word.clone());
        let followed = record.as_ref().is_some_and(|record| record.followed);
        let unproven = matches!(condition, Condition::Unverifiable { .. });
        // The reaper signals no process that is not proven to be the realm's, and not its group either.
        let group = record.as_ref().and_then(|record| record.group.clone()).filter(|_| !unproven);
        let cgroup = group.and_then(Cgroup::at);
        if let Some(record) = record {
            self.records.carry_over(&realm, record, identity);
        }
        let (pid, start_time) = process.map_or((0, 0), |process| (process.pid, process.start_time));
        let tags = self.tags(Owner::Realm(key), Some(&realm), false, word.as_deref());
        let unbounded = limits.unbounded(cgroup.as_ref().map(Cgroup::dir));
        let places = Places { limits, ..Places::default() };
        let program = realm.to_string();
        let request =
            Request { program, places, log, user, readiness, unbounded, pidfile, ..Request::default() };
        let mut run = Run {
            stage: Stage::Exited,
            main: MainProcess {
                pid,
                start_time,
                adopted: true,
                followed,
                unproven,
                ..MainProcess::default()
            },
            tree: ProcessTree { cgroup, tags, word, since: start_time, ..ProcessTree::default() },
            ..Run::new(Owner::Realm(key), Some(realm.clone()), request)
        };
        let id = self.runs.next_id();
        match condition {
            Condition::Nothing => return,
            Condition::Alive { launching, .. } => {
                run.stage = if launching { Stage::Launching } else { Stage::Started };
                run.main.pidfd = held.pop();
                run.notify_listener =
                    NotifyListener::again(&self.places, &realm, &run.request.readiness, pid).map(Box::new);
                run.log_in_memory = self.logs.take_over(
                    &run.request.log,
                    run.request.user.as_ref(),
                    key.run.generation(),
                    run.main.pid,
                );
                if launching {
                    let what = format!("for {realm}: its heartbeatd died before it could be started");
                    run.launch.failure = Some(LaunchError::never_tried(Step::Launcher, &what));
                    run.looks = MAX_LOOKS;
                    self.deadlines.set(id, LOOK_AT_LAUNCHER);
                }
                if let Some(pidfd) = &run.main.pidfd {
                    // If the kernel cannot watch it, the regular look finds its end.
                    run.main.watched =
                        epoll::add(&self.epoll, pidfd, Self::token(id, MAIN), EventFlags::IN).is_ok();
                }
            }
            Condition::Ended { empty: true, run: generation, .. } => {
                self.records.end(&realm, generation);
                return;
            }
            Condition::Ended { .. } | Condition::Unverifiable { .. } => run.tree.leftovers = held,
            Condition::Forked { exit, .. } => {
                run.tree.leftovers = held;
                self.runs.insert(id, Box::new(run));
                return self.forked(id, exit);
            }
        }
        if run.stage == Stage::Started {
            self.tell_unbounded(key, &run);
            self.tell_log(key, &run);
        }
        let speaks = run.stage == Stage::Started;
        let leftovers =
            run.stage == Stage::Exited && (run.tree.cgroup.is_some() || !run.tree.leftovers.is_empty());
        self.runs.insert(id, Box::new(run));
        if speaks {
            self.open_notify_listener(id);
        }
        if leftovers {
            self.watch_leftovers(id);
        }
    }

    /// Checks whether an adopted launcher has become its program.
    pub(super) fn look_at_launcher(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(id) else { return };
        run.looks -= 1;
        if tree::has_become_program(run.main.pid) {
            run.looks = 0;
            run.launch.failure = None;
            self.started(id);
            return;
        }
        if run.looks == 0 {
            // The launcher's socket closed with its heartbeatd, but the launcher lives on: do not trust it.
            self.kill_launch(id);
            return;
        }
        self.deadlines.set(id, LOOK_AT_LAUNCHER);
    }

    /// Runs at every tick.
    pub(super) fn on_tick(&mut self) {
        drain(&self.tick);
        self.records.touch();
        self.sample_memory();
        self.look_after_notify_listeners();
        reserved_fds::refill();
        self.collect_orphans();
        self.remove_cgroups();
        // Only this look finds the end of a process that cannot be watched, or of a launch that has failed.
        let unseen = |run: &Run| match run.stage {
            Stage::Launching => run.launch.failure.is_some(),
            Stage::Started => !run.main.watched,
            Stage::Forked(_) | Stage::Exited => false,
        };
        let unseen: Vec<u64> = self.runs.all().filter(|(_, run)| unseen(run)).map(|(id, _)| id).collect();
        for id in unseen {
            // The reaper reads the report of a process before its end.
            let _ = self.listen(id);
            let _ = self.watch_end(id);
            self.ended(id, &mut None);
        }
        let mut told = Vec::new();
        for run in self
            .runs
            .all_mut()
            .map(|(_, run)| run)
            .filter(|run| run.main.adopted && run.stage == Stage::Started)
        {
            // The kernel reports stops only to the parent.
            let stopped_by_signal = tree::stat(run.main.pid)
                .is_some_and(|stat| stat.start_time == run.main.start_time && stat.state == 'T');
            if run.main.stopped_by_signal != Some(stopped_by_signal)
                && let Owner::Realm(key) = run.owner
            {
                run.main.stopped_by_signal = Some(stopped_by_signal);
                told.push(Notice::Run { key, fact: RunFact::StoppedBySignal { stopped: stopped_by_signal } });
            }
        }
        told.into_iter().for_each(|notice| (self.sink)(notice));
    }

    /// Removes control groups without processes: those of an earlier heartbeatd, and those that the reaper could not
    /// remove when their runs ended.
    pub(super) fn remove_cgroups(&mut self) {
        let runs = &self.runs;
        self.cgroups.remove_all(|cgroup| runs.all().any(|(_, run)| run.tree.cgroup.as_ref() == Some(cgroup)));
    }

    /// Collects every child that is no run's main process, if heartbeatd collects orphans.
    pub(super) fn collect_orphans(&mut self) {
        // A new launcher must keep its pid until the spawn thread holds it.
        if self.children.collects_orphans && !self.orders.makes_launcher() {
            let unsettled = self.is_launching();
            let runs = &self.runs;
            self.children.collect_orphans(unsettled, |pid| runs.all().any(|(_, run)| run.main.pid == pid));
        }
    }

    /// Whether a copy of the launcher may exist whose pid the reaper does not know.
    fn is_launching(&self) -> bool {
        let unmet = |run: &Run| run.stage == Stage::Launching && run.main.pid == 0;
        // A run that the reaper should expect may wait in the queue.
        self.orders.has_waiting() || self.runs.expects_any() || self.runs.all().map(|(_, run)| run).any(unmet)
    }
}
