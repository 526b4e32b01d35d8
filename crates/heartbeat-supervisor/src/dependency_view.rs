//! The summary of a realm's neighbours, and when a gate holds.

use heartbeat_status::{EdgeKind, Gate, Instant, RealmIx, WhileDown};

use crate::ctx::DependencyView;
use crate::shown::{Facts, gate_holds, need_state};
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
        dependencies
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
