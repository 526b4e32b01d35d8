//! The limits of trees: which no controller enforces, how much memory a tree uses, and kills for want of memory.

use heartbeat_status::{Exit, ExitKind, RunFact, Signal};

use super::Reaper;
use crate::limits::oom_kills;
use crate::notice::{Key, Notice};
use crate::run::{Owner, Run, Stage};
use crate::tree::ProcScan;
use crate::usage::memory_of;

impl Reaper {
    /// Reports the limits that no controller enforces, once a run has started.
    pub(super) fn tell_unbounded(&self, key: Key, run: &Run) {
        if run.request.places.limits.bound_the_tree() {
            (self.sink)(Notice::Run {
                key,
                fact: RunFact::Unbounded {
                    limits: run.request.unbounded.iter().map(|limit| (*limit).to_owned()).collect(),
                },
            });
        }
    }

    /// Reports that the output of a started run is kept in memory.
    pub(super) fn tell_log(&self, key: Key, run: &Run) {
        if run.log_in_memory {
            (self.sink)(Notice::Run { key, fact: RunFact::LogInMemory });
        }
    }

    /// Reports the memory that a tree uses whose limit no controller enforces.
    pub(super) fn sample_memory(&self) {
        let mut scan = None;
        for (id, run) in self.runs.all() {
            let (Owner::Realm(key), Some(limit)) = (run.owner, run.request.places.limits.memory_bytes) else {
                continue;
            };
            let runs = matches!(run.stage, Stage::Started | Stage::Forked(_)) && !run.main.unproven;
            if runs && run.request.unbounded.contains(&"memory") {
                let pids = self.pids_of(id, || scan.get_or_insert_with(ProcScan::take));
                (self.sink)(Notice::Run {
                    key,
                    fact: RunFact::MemoryUsed { bytes: memory_of(&pids, limit) },
                });
            }
        }
    }
}

/// Adds to an exit what the kernel counted in the tree. A control group serves one run, so every process killed in it
/// for want of memory belonged to that run. Without a controller (`counted`) the reaper guesses nothing.
pub(super) fn with_oom(run: &Run, exit: Exit, counted: bool) -> Exit {
    let killed = counted && matches!(exit.kind, ExitKind::Signal { signal: Signal::KILL, .. });
    let counted = || run.tree.cgroup.as_ref().and_then(|cgroup| oom_kills(cgroup.dir())).unwrap_or(0);
    Exit { oom: killed && counted() > 0, ..exit }
}
