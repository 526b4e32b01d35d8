//! What the neighbours of a realm amount to, and when a gate holds.

use heartbeat_status::{EdgeKind, Gate, Instant, NeedState, RealmIx, Status, WhileDown};

use crate::cx::Around;
use crate::realm::Facts;
use crate::{NeedSpec, Supervisor};

impl Supervisor {
    /// What the neighbours of a realm amount to, from their facts.
    pub(crate) fn around(&self, ix: RealmIx) -> Around {
        let mut around = Around {
            mode: self.mode,
            needs_hold: true,
            order_holds: true,
            needs: NeedState::Ready,
            stop_with_need: false,
            restart_with_need: false,
            upstream_pass: Instant::from_nanos(u64::MAX),
            refused_since: None,
            dependents_stopping: false,
            dependents_waiting: false,
        };
        for need in &self.plan.realm(ix).needs {
            add_need(&mut around, need, &self.realms[need.realm.index()].facts);
        }
        around.dependents_stopping =
            self.plan.graph().dependents(ix).iter().any(|edge| self.realms[edge.from.index()].facts.stopping);
        around.dependents_waiting =
            self.plan.graph().dependents(ix).iter().any(|edge| self.realms[edge.from.index()].facts.waits);
        around
    }
}

fn add_need(around: &mut Around, need: &NeedSpec, facts: &Facts) {
    match need.kind {
        EdgeKind::Needs => {
            let holds = gate_holds(need.until, facts);
            let state = need_state(need.until, facts);
            if facts.measured {
                around.upstream_pass = around.upstream_pass.min(facts.evidence.unwrap_or(Instant::ZERO));
            }
            around.needs_hold &= holds;
            around.needs = around.needs.max(state);
            let refuses = facts.refuses_since.filter(|_| need.until != Gate::Done);
            around.refused_since = around.refused_since.into_iter().chain(refuses).min();
            let lost = state.excuses() && !holds;
            around.stop_with_need |= lost && need.while_down == WhileDown::Stop;
            around.restart_with_need |= lost && need.while_down == WhileDown::Restart;
        }
        EdgeKind::Wants | EdgeKind::After => around.order_holds &= !facts.pending,
    }
}

pub(crate) fn gate_holds(until: Gate, facts: &Facts) -> bool {
    match until {
        Gate::Up => facts.up,
        Gate::Started => facts.started,
        Gate::Done => facts.done,
    }
}

/// What one need is to a realm that waits for `until`. What only had to be done, and is done, cannot break any more.
pub(crate) fn need_state(until: Gate, facts: &Facts) -> NeedState {
    let satisfied = until == Gate::Done && facts.done_once && facts.status != Status::Failed;
    if satisfied { NeedState::Ready } else { facts.as_need }
}
