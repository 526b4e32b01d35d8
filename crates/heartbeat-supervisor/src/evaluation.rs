//! From failing probes to a fault: whose fault it is, and whether a restart is the answer.
//!
//! A probe past its threshold is shown at once. It becomes a *fault* (an incident, and perhaps a restart) only when
//! every need of the realm has passed in a measurement that began after the failure: what a health check asks for
//! usually fails together with it.

use alloc::string::String;
use core::time::Duration;

use heartbeat_restart::RestartWhen;
use heartbeat_status::{EventKind, Instant, RestartCause, Role};

use crate::RealmSpec;
use crate::ctx::Ctx;
use crate::evidence::Hold;
use crate::realm::Realm;
use crate::state::{InPlaceRestart, State, in_place_restart, stopping};
use crate::timers::TimerKind;
use crate::words;

/// A need that has not answered is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// A realm whose own evidence is too old is looked at again after this.
const MEASURE_AGAIN: Duration = Duration::from_secs(1);
/// The core asks the circuit breaker again after this about a restart that it holds.
const FUSE_RECHECK: Duration = Duration::from_secs(1);

fn wait_for(ctx: &mut Ctx<'_>, when: Option<Instant>) {
    match when {
        Some(when) => ctx.arm(TimerKind::ActOnFailure, when),
        None => ctx.disarm(TimerKind::ActOnFailure),
    }
}

impl Realm {
    /// Whether a failure for its health may restart this realm.
    fn restarts(&self, spec: &RealmSpec) -> bool {
        let acted_on = match self.state {
            State::Starting(_) | State::Running(_) => true,
            State::External(_) => {
                // An external realm that is no longer probed is left alone.
                let free = match self.in_place() {
                    None => !self.restart_open(),
                    Some(in_place) => in_place == InPlaceRestart::Trial,
                };
                spec.restart_command && self.evidence.probing && free
            }
            _ => false,
        };
        // A realm that has announced its own exit is held as well.
        let held =
            self.in_place().is_some_and(InPlaceRestart::is_under_way) || self.generation.spoken.stopping;
        acted_on && !held && spec.restart.when() != RestartWhen::Never
    }

    /// Whether the Act timer is about a restart for the realm's health.
    pub(crate) fn restart_is_due(&self, spec: &RealmSpec) -> bool {
        self.restarts(spec) && self.actionable(spec, |role| role == Role::Live).is_some()
    }

    /// Whether a restart for the realm's health happens next, unless it passes before.
    pub(crate) fn restart_is_pending(&self, spec: &RealmSpec) -> bool {
        let blamed = self.dependencies.needs.excuses() || self.is_held_by_suspicion();
        let excused = blamed || self.wish.pause.is_some() || self.generation.port_conflict.is_some();
        !excused && self.restart_is_due(spec)
    }

    /// Looks at the failing probes of a realm that is measured, and acts as far as the rules allow.
    ///
    /// The order is that of the conditions: its threshold and the time since its first failure, the circuit breaker
    /// when that has held it before, evidence that is not older than the moment the action became due, the needs, the
    /// circuit breaker.
    pub(crate) fn evaluate(&mut self, ctx: &mut Ctx<'_>) {
        if self.dependencies.needs.excuses() || self.wish.pause.is_some() {
            self.clear_cause(ctx);
            return;
        }
        let Some(first) = self.actionable(ctx.spec, |_| true) else {
            self.clear_cause(ctx);
            return;
        };
        if self.generation.port_conflict.is_some() {
            // The realm fails by its own evidence, but a restart would not free the port.
            self.evidence.unhealthy_cause = Some(self.failure_detail(ctx, first.0));
            ctx.disarm(TimerKind::ActOnFailure);
            return;
        }
        if self.is_held_by_suspicion() {
            self.evidence.unhealthy_cause = None;
            ctx.disarm(TimerKind::ActOnFailure);
            return;
        }
        let live = self.actionable(ctx.spec, |role| role == Role::Live);
        let when = live.filter(|_| self.restarts(ctx.spec)).map(|(_, when)| when);
        let due = when.filter(|when| ctx.now >= *when);
        match due {
            None if self.evidence.unhealthy_cause.is_some() || self.history.suspicion.is_some() => {
                wait_for(ctx, when);
                return;
            }
            None => {}
            Some(_) if self.evidence.held.is_some() => {
                ctx.out.health_restarts.push_back(ctx.ix);
                ctx.arm(TimerKind::ActOnFailure, ctx.now + FUSE_RECHECK);
                return;
            }
            Some(when) if !self.evidence_is_fresh(ctx, when) => {
                ctx.arm(TimerKind::ActOnFailure, ctx.now + MEASURE_AGAIN);
                return;
            }
            Some(_) => {}
        }
        // The failure that the restart acts on. A later one does not ask again, or a slow need would never answer.
        let newest = self.evidence.probes.iter().filter_map(|probe| probe.last_fail).max().unwrap_or(first.1);
        if self.dependencies.upstream_pass <= *self.evidence.asked_since.get_or_insert(newest) {
            ctx.out.asks.push_back(ctx.ix);
            ctx.arm(TimerKind::ActOnFailure, ctx.now + ASK_AGAIN);
            return;
        }
        let began = self.evidence.probes[first.0].first_fail.unwrap_or(ctx.now);
        if self.history.suspicion.is_some() || self.may_blame(began) {
            self.begin_suspicion(ctx);
        } else {
            self.evidence.unhealthy_cause = Some(self.failure_detail(ctx, first.0));
        }
        if due.is_some() {
            // The core grants it in the same step, unless the circuit breaker holds it.
            ctx.out.health_restarts.push_back(ctx.ix);
            ctx.arm(TimerKind::ActOnFailure, ctx.now + FUSE_RECHECK);
        } else {
            wait_for(ctx, when);
        }
    }

    /// Whether a failing live probe has failed in a measurement that began when the action became due, or later.
    fn evidence_is_fresh(&mut self, ctx: &mut Ctx<'_>, when: Instant) -> bool {
        if self.evidence.acts_on < when {
            self.demand_evidence(ctx, when);
        }
        self.has_failed_since(ctx.spec, self.evidence.acts_on)
    }

    /// Acts on the realm only after a live probe has failed in a measurement that began at `since` or later.
    pub(crate) fn demand_evidence(&mut self, ctx: &mut Ctx<'_>, since: Instant) {
        self.evidence.acts_on = since;
        self.evidence.asked_since = None;
        if !self.has_failed_since(ctx.spec, since) {
            self.measure_failing(ctx);
        }
    }

    /// The circuit breaker would allow the restart, but the evidence from the wait is too old to act on.
    pub(crate) fn release(&mut self, ctx: &mut Ctx<'_>) {
        self.hold(ctx, None, None);
        self.demand_evidence(ctx, ctx.now);
        self.evaluate(ctx);
    }

    /// Notes what the restart waits for, if for anything; `words` are the text for a person.
    pub(crate) fn hold(&mut self, ctx: &mut Ctx<'_>, hold: Option<Hold>, words: Option<String>) {
        let kind = |hold: Option<Hold>| hold.map(|hold| core::mem::discriminant(&hold));
        if kind(core::mem::replace(&mut self.evidence.held, hold)) != kind(hold) {
            ctx.event(EventKind::RestartHeld { why: words });
        }
    }

    /// The circuit breaker allows the restart: ends the old run because of the probe that failed.
    pub(crate) fn restart(&mut self, ctx: &mut Ctx<'_>) {
        // While a stranger holds the port, a restart would not free it.
        if self.dependencies.needs.excuses()
            || self.wish.pause.is_some()
            || self.generation.port_conflict.is_some()
        {
            return;
        }
        let Some((probe, when)) = self.actionable(ctx.spec, |role| role == Role::Live) else { return };
        if ctx.now >= when && self.restarts(ctx.spec) {
            let of_command = self.serving().and_then(|serving| serving.command_failure.clone());
            let detail = of_command.unwrap_or_else(|| self.failure_detail(ctx, probe));
            self.note_tried();
            if in_place_restart::applies(self, ctx.spec)
                && in_place_restart::restart_in_place(self, ctx, detail.clone())
            {
                return;
            }
            stopping::restart(self, ctx, RestartCause::Unhealthy, detail);
        }
    }

    /// The realm has no fault, or another realm is to blame.
    pub(crate) fn clear_cause(&mut self, ctx: &mut Ctx<'_>) {
        self.evidence.unhealthy_cause = None;
        (self.evidence.acts_on, self.evidence.asked_since) = (Instant::ZERO, None);
        self.hold(ctx, None, None);
        ctx.disarm(TimerKind::ActOnFailure);
    }

    /// `http: 503 Service Unavailable, 3 times in a row`.
    fn failure_detail(&self, ctx: &Ctx<'_>, probe: usize) -> String {
        words::failing_probe(&ctx.spec.probes[probe], &self.evidence.probes[probe])
    }
}
