//! One realm as all readers see it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

use heartbeat_status::Instant;
use heartbeat_status::{
    Desired, EdgeKind, Flag, Mute, NeedState, NeedStatus, ProbeStatus, ProcessStatus, RealmIx, RealmStatus,
    Reason, RestartCounts, Snapshot, Status,
};

use crate::evidence::Hold;
use crate::shown::{gate_holds, need_state};
use crate::timers::TimerKind;
use crate::{Plan, Supervisor, outage, why};

impl Supervisor {
    /// The realms of which receivers of notifications hear nothing now. The core shows it, and does nothing else with it.
    pub fn set_muted(&mut self, mut muted: BTreeMap<RealmIx, Mute>) {
        for (realm, info) in self.realms.iter_mut().zip(self.plan.infos()) {
            let mute = muted.remove(&info.ix);
            realm.shown.dirty |= realm.shown.mute != mute;
            realm.shown.mute = mute;
        }
    }

    /// The state of everything now. Only realms touched since the last snapshot are rebuilt; the revision moves only
    /// when the meaning of one of them changes. Every change of meaning also emits an event, so a driver may publish at
    /// once when there were events, and otherwise as rarely as it likes.
    pub fn snapshot(&mut self, now: Instant) -> Snapshot {
        let first = self.published.is_empty();
        let mut changed = first;
        for at in 0..self.realms.len() {
            if !first && !self.realms[at].shown.dirty {
                continue;
            }
            self.realms[at].shown.seen_first(now);
            let ix = self.plan.infos()[at].ix;
            let built = Arc::new(realm_status(&self.plan, self, ix, now));
            self.realms[at].shown.dirty = false;
            if first {
                self.published.push(built);
                continue;
            }
            changed |= !built.means_the_same(&self.published[at]);
            self.published[at] = built;
        }
        changed |= core::mem::replace(&mut self.incidents_published, self.incidents.changes)
            != self.incidents.changes;
        self.revision += u64::from(changed);
        Snapshot {
            revision: self.revision,
            at: now,
            phase: self.daemon_phase(),
            realms: self.published.clone(),
            incidents: self.incidents.open.clone(),
            start_order: self.visible_order(),
            ignored: self.out.ignored,
        }
    }

    /// The start order without realms that are retired and gone.
    fn visible_order(&self) -> Arc<[RealmIx]> {
        let gone = |ix: &RealmIx| self.plan.realm(*ix).retired && self.realms[ix.index()].at_rest();
        if self.start_order.iter().any(gone) {
            self.start_order.iter().copied().filter(|ix| !gone(ix)).collect()
        } else {
            Arc::clone(&self.start_order)
        }
    }
}

fn realm_status(plan: &Arc<Plan>, supervisor: &Supervisor, ix: RealmIx, now: Instant) -> RealmStatus {
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
    let left_by = realm.dependencies.port_left_by.filter(|_| realm.wish.desired == Desired::Up);
    let port_kept_by =
        left_by.filter(|port_owner| outage::is_port_kept(&supervisor.realms[port_owner.index()]));
    let mut flags = BTreeSet::new();
    let broken_need = realm.dependencies.needs == NeedState::Broken;
    if broken_need && matches!(realm.shown.status, Status::Up | Status::Degraded) {
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
    if realm.shown.mute.is_some() {
        flags.insert(Flag::Muted);
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
    let why = match outage::stays_open(supervisor, ix) {
        Some((reason, until)) => why::with_open_incident(why, &reason, until),
        None => why,
    };
    let start_failure = realm.history.failed_start.as_ref().filter(|_| why.reason == Reason::StartFailed);
    let stop = realm.wish.operator_hold().filter(|_| realm.shown.status == Status::Stopped);
    RealmStatus {
        info: Arc::clone(&plan.infos()[ix.index()]),
        desired: realm.wish.desired,
        phase: realm.state.phase(),
        health: realm.shown.health,
        pause: realm.wish.pause.clone(),
        mute: realm.shown.mute.clone(),
        status: realm.shown.status,
        why,
        stopped_at: stop.and_then(|hold| hold.at),
        start_failure: start_failure.map(|start| start.failure),
        flags,
        process: ProcessStatus {
            run: realm.generation.run,
            pid: realm.generation.pid.filter(|_| !realm.generation.forked),
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
        blocked_by: broken.map(|need| need.realm).chain(port_kept_by).collect(),
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
        next_at: supervisor.out.timers.deadline(ix, TimerKind::Slot(crate::timers::probe_ix(at))),
        stale: probe.stale,
        skipped: probe.skipped,
    }
}
