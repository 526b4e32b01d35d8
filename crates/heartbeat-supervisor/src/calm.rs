//! A result that confirms what is known changes nothing but numbers. Nearly all results of a calm realm are of that kind,
//! so the core takes them, and the slots of its probes, without looking at anything else.

use heartbeat_status::{
    CheckId, CheckResult, Health, Instant, NeedState, Outcome, ProbeIx, RealmIx, RealmKind, Status, Verdict,
};

use crate::ctx::Ctx;
use crate::evidence::Probing;
use crate::realm::Realm;
use crate::timers::probe_ix;
use crate::{ProbeSource, RealmSpec, Supervisor, outage, state};

impl Probing {
    /// Whether another pass changes nothing but numbers.
    fn is_calm(&self) -> bool {
        self.tally.verdict() == Some(Verdict::Passing)
            && self.tally.fails() == 0
            && self.current
            && !self.stale
            && !self.blamed_elsewhere
            && self.last_fail.is_none()
            && self.last.as_ref().is_some_and(|last| last.outcome == Outcome::Pass)
    }
}

impl Realm {
    /// Whether the realm is up, all of its probes pass, and nothing is under way that another pass could decide.
    pub(crate) fn is_calm(&self, spec: &RealmSpec) -> bool {
        let (evidence, history, generation) = (&self.evidence, &self.history, &self.generation);
        self.serving().is_some_and(|serving| serving.in_place.is_none())
            && spec.kind != RealmKind::Oneshot
            && (self.shown.status, self.shown.health) == (Status::Up, Health::Healthy)
            && !self.shown.flapping
            && self.shown.crash.is_none()
            && self.dependencies.needs == NeedState::Ready
            && !self.dependencies.dependents_waiting
            && self.wish.pause.is_none()
            && !self.restart_open()
            && !history.faulted
            && history.failed_start.is_none()
            && history.suspicion.is_none()
            && generation.port_conflict.is_none()
            && !generation.spoken.stopping
            && evidence.probing
            && !evidence.asked
            && evidence.unhealthy_cause.is_none()
            && evidence.held.is_none()
            && (evidence.acts_on, evidence.asked_since) == (Instant::ZERO, None)
            && evidence.probes.iter().all(Probing::is_calm)
    }
}

impl Supervisor {
    /// Whether a result of a calm realm says only what its probe has said before.
    pub(crate) fn confirms(&self, ix: RealmIx, id: CheckId, result: &CheckResult) -> bool {
        let realm = &self.realms[ix.index()];
        if !realm.shown.calm || result.outcome != Outcome::Pass || self.is_in_an_incident(ix) {
            return false;
        }
        let Some(at) = realm.awaits(id) else { return false };
        let mut ports = self.plan.realm(ix).probes.iter().map(|spec| spec.source);
        !ports.any(|source| source == ProbeSource::PortOf(probe_ix(at)))
            || result.port_fact() == Outcome::Pass
    }

    /// Whether the slot of a probe of a calm realm only begins a measurement.
    pub(crate) fn only_measures(&self, ix: RealmIx, probe: ProbeIx) -> bool {
        let measured = || self.plan.realm(ix).probes[probe.index()].source == ProbeSource::Measured;
        self.realms[ix.index()].shown.calm && measured() && !self.is_in_an_incident(ix)
    }

    fn is_in_an_incident(&self, ix: RealmIx) -> bool {
        self.incidents.open.iter().any(|incident| incident.concerns(ix))
    }

    /// Runs code of a calm realm that changes nothing but numbers.
    pub(crate) fn quietly(&mut self, now: Instant, ix: RealmIx, code: impl FnOnce(&mut Realm, &mut Ctx<'_>)) {
        let realm = &mut self.realms[ix.index()];
        let (order, spec) = (self.plan.graph().order(ix), self.plan.realm(ix));
        code(realm, &mut Ctx { now, ix, order, spec, out: &mut self.out });
        realm.shown.dirty = true;
        if cfg!(debug_assertions) {
            self.prove_quiet(now, ix);
        }
    }

    /// Looks at everything else, as after every other input: there is to be nothing. The simulator runs this.
    fn prove_quiet(&mut self, now: Instant, ix: RealmIx) {
        let emitted = |all: &Self| {
            let out = &all.out;
            let waiting =
                (out.asks.len(), out.health_restarts.len(), out.launches.len(), all.companions.len());
            (out.effects.len(), out.events.len(), out.remember.len(), all.queue.len(), waiting, all.healing)
        };
        let (before, armed) = (emitted(self), self.out.timers.armed(ix));
        self.step(now, ix, state::on_result);
        assert_eq!(before, emitted(self), "a calm realm does something");
        assert_eq!(armed, self.out.timers.armed(ix), "a calm realm arms a timer");
        assert!(self.realms[ix.index()].shown.calm, "a pass disturbs a calm realm");
        assert!(outage::outage(self, ix, now).is_none(), "a calm realm has an outage");
    }
}
