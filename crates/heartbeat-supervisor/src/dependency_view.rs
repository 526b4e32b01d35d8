//! The summary of a realm's neighbours, and when a gate holds.

use heartbeat_status::{EdgeKind, Gate, Instant, RealmIx, RealmKind, WhileDown};

use crate::ctx::DependencyView;
use crate::shown::{Facts, gate_holds, need_state, port_state};
use crate::supervisor::enqueue;
use crate::{NeedSpec, Supervisor};

impl Supervisor {
    /// Summarises the neighbours of a realm from their facts.
    pub(crate) fn dependency_view(&self, ix: RealmIx) -> DependencyView {
        let mut dependencies = DependencyView::alone(self.mode);
        for need in &self.plan.realm(ix).needs {
            add_need(&mut dependencies, need, &self.realms[need.realm.index()].shown.facts);
        }
        dependencies.dependents_stopping = self
            .plan
            .graph()
            .dependents(ix)
            .iter()
            .any(|edge| self.realms[edge.from.index()].shown.facts.stopping);
        dependencies.dependents_waiting = self
            .plan
            .graph()
            .dependents(ix)
            .iter()
            .any(|edge| self.realms[edge.from.index()].shown.facts.waits);
        if let Some(port_owner) = self.port_left_by(ix) {
            let state = port_state(&self.realms[port_owner.index()].shown.facts);
            dependencies.needs_hold = false;
            dependencies.needs = dependencies.needs.max(state);
            dependencies.port_left_by = Some(port_owner);
        }
        dependencies
    }

    /// A realm that is being ended and still has the port that the plan in force gives to `ix`.
    fn port_left_by(&self, ix: RealmIx) -> Option<RealmIx> {
        let spec = self.plan.realm(ix);
        let port = spec.port.filter(|_| !spec.retired && spec.kind != RealmKind::External)?;
        let of_port = self.ports_left.range((port, RealmIx(0))..=(port, RealmIx(u32::MAX)));
        of_port.map(|(_, port_owner)| *port_owner).find(|port_owner| *port_owner != ix)
    }

    /// The port that `ix` leaves is another one now, or another thing is known of the realm: those that get the port
    /// look again.
    pub(crate) fn note_left_port(&mut self, ix: RealmIx, before: Option<u16>, now: Option<u16>) {
        if before != now {
            before.map(|port| self.ports_left.remove(&(port, ix)));
            self.ports_left.extend(now.map(|port| (port, ix)));
        }
        for port in [before, now].into_iter().flatten() {
            for (info, spec) in self.plan.infos().iter().zip(self.plan.realms()) {
                if spec.port == Some(port) && info.ix != ix {
                    enqueue(&mut self.queue, &mut self.queued, info.ix);
                }
            }
        }
    }
}

fn add_need(dependencies: &mut DependencyView, need: &NeedSpec, facts: &Facts) {
    match need.kind {
        EdgeKind::Needs => {
            let holds = gate_holds(need.until, facts);
            let state = need_state(need.until, facts);
            if facts.measured {
                dependencies.upstream_pass =
                    dependencies.upstream_pass.min(facts.evidence.unwrap_or(Instant::ZERO));
            }
            dependencies.needs_hold &= holds;
            dependencies.needs = dependencies.needs.max(state);
            let refuses = facts.refuses_since.filter(|_| need.until != Gate::Done);
            dependencies.refused_since = dependencies.refused_since.into_iter().chain(refuses).min();
            let lost = state.excuses() && !holds;
            dependencies.stop_with_need |= lost && need.while_down == WhileDown::Stop;
            dependencies.restart_with_need |= lost && need.while_down == WhileDown::Restart;
        }
        EdgeKind::Wants | EdgeKind::After => dependencies.order_holds &= !facts.pending,
    }
}
