//! One realm as everybody sees it.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;

use heartbeat_status::Instant;
use heartbeat_status::{
    Desired, EdgeKind, Flag, NeedState, NeedStatus, ProbeStatus, ProcessStatus, RealmIx, RealmStatus, Reason,
    RestartCounts, Status,
};

use crate::dependency_view::{gate_holds, need_state};
use crate::evidence::Hold;
use crate::timers::TimerKind;
use crate::{Plan, Supervisor, why};

pub(crate) fn realm_status(
    plan: &Arc<Plan>,
    supervisor: &Supervisor,
    ix: RealmIx,
    now: Instant,
) -> RealmStatus {
    let spec = plan.realm(ix);
    let probes = (0..spec.probes.len()).map(|at| probe_status(plan, supervisor, ix, at)).collect();
    let realm = &supervisor.realms[ix.index()];
    let needs = spec.needs.iter().map(|need| {
        let facts = &supervisor.realms[need.realm.index()].shown.facts;
        let holds = match need.kind {
            EdgeKind::Needs => gate_holds(need.until, facts),
            EdgeKind::Wants | EdgeKind::After => !facts.pending,
        };
        NeedStatus { status: facts.status, gate_holds: holds }
    });
    let broken = spec.needs.iter().filter(|need| {
        let facts = &supervisor.realms[need.realm.index()].shown.facts;
        let wanted = realm.wish.desired == Desired::Up;
        wanted && need.kind == EdgeKind::Needs && need_state(need.until, facts) == NeedState::Broken
    });
    let mut flags = BTreeSet::new();
    let broken_need = realm.dependencies.needs == NeedState::Broken;
    if broken_need && matches!(realm.shown.status, Status::Up | Status::Degraded | Status::Blocked) {
        flags.insert(Flag::UpstreamDown);
    }
    if realm.evidence.probes.iter().any(|probe| probe.stale) {
        flags.insert(Flag::Stale);
    }
    if realm.evidence.adopted && realm.generation.pid.is_some() {
        flags.insert(Flag::Adopted);
    }
    if realm.shown.flapping {
        flags.insert(Flag::Flapping);
    }
    if supervisor.suspected_by(ix).next().is_some() {
        flags.insert(Flag::Suspect);
    }
    if !realm.shown.unbounded.is_empty() && realm.generation.pid.is_some() {
        flags.insert(Flag::Unbounded);
    }
    if realm.evidence.log_in_memory && realm.generation.pid.is_some() {
        flags.insert(Flag::LogInMemory);
    }
    if realm.evidence.held == Some(Hold::Tripped) {
        flags.insert(Flag::Fuse);
    }
    let why = why::why(plan, &supervisor.realms, ix, &supervisor.out, now);
    let start_failure = realm.history.failed_start.as_ref().filter(|_| why.reason == Reason::StartFailed);
    RealmStatus {
        info: Arc::clone(&plan.infos()[ix.index()]),
        desired: realm.wish.desired,
        phase: realm.state.phase(),
        health: realm.shown.health,
        pause: realm.wish.pause.clone(),
        status: realm.shown.status,
        why,
        start_failure: start_failure.map(|start| start.failure),
        flags,
        process: ProcessStatus {
            run: realm.generation.run,
            pid: realm.generation.pid,
            started_at: realm.generation.started_at,
            adopted: realm.evidence.adopted && realm.generation.pid.is_some(),
            last_exit: realm.history.last_exit,
        },
        says: realm.says(spec),
        restarts: RestartCounts {
            total: realm.history.restarts_opened,
            used: realm.budget_used(spec, now),
            burst: spec.restart.burst(),
            window: spec.restart.window(),
        },
        restart: realm.history.restart.clone(),
        needs: needs.collect(),
        suspects: supervisor.suspects_of(ix),
        blocked_by: broken.map(|need| need.realm).collect(),
        probes,
    }
}

fn probe_status(plan: &Plan, supervisor: &Supervisor, ix: RealmIx, at: usize) -> ProbeStatus {
    let spec = plan.realm(ix);
    let realm = &supervisor.realms[ix.index()];
    let probe = &realm.evidence.probes[at];
    let thresholds = &spec.probes[at].info.thresholds;
    ProbeStatus {
        last: probe.last.clone(),
        current: probe.current,
        conclusive: probe.conclusive.clone(),
        verdict: probe.tally.verdict(),
        passes: probe.tally.passes(),
        fails: probe.tally.fails(),
        progress: probe.tally.progress(thresholds),
        interval: realm.shown_interval(spec, at, supervisor.out.lagging),
        next_at: supervisor.out.timers.deadline(ix, TimerKind::Slot(crate::probing::probe_ix(at))),
        stale: probe.stale,
        skipped: probe.skipped,
    }
}
