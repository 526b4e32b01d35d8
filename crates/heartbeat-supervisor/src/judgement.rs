//! From failing probes to a fault that is acted on: by whose fault, and is a restart the answer?
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
use crate::suspicion;
use crate::timers::TimerKind;
use crate::why;

/// While a need owes an answer it is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// While its own evidence is too old it is looked at again after this.
const MEASURE_AGAIN: Duration = Duration::from_secs(1);
/// A restart that waits for the circuit breaker is asked for again after this.
const FUSE_RECHECK: Duration = Duration::from_secs(1);

/// Failing for its health may end in a restart of this realm.
fn restarts(realm: &Realm, spec: &RealmSpec) -> bool {
    let acted_on = match realm.state {
        State::Starting(_) | State::Running(_) => true,
        State::External(_) => {
            // Once it is not watched any more, nothing is done to it.
            let free = match realm.in_place() {
                None => !realm.restart_open(),
                Some(in_place) => in_place == InPlaceRestart::Trial,
            };
            spec.restart_command && realm.evidence.probing && free
        }
        _ => false,
    };
    // Also one that is about to end by itself.
    let held = realm.in_place().is_some_and(InPlaceRestart::is_under_way) || realm.generation.spoken.stopping;
    acted_on && !held && spec.restart.when() != RestartWhen::Never
}

/// A restart for its health is what the Act timer is about.
pub(crate) fn restart_is_due(realm: &Realm, spec: &RealmSpec) -> bool {
    restarts(realm, spec) && realm.actionable(spec, |role| role == Role::Live).is_some()
}

/// A restart for its health is what happens next, unless the realm passes before.
pub(crate) fn restart_is_pending(realm: &Realm, spec: &RealmSpec) -> bool {
    let blamed = realm.dependencies.needs.excuses() || realm.is_held_by_suspicion();
    let excused = blamed || realm.wish.pause.is_some() || realm.generation.port_conflict.is_some();
    !excused && restart_is_due(realm, spec)
}

/// Looks at the failing probes of a realm that is measured, and acts as far as it may.
///
/// The order is that of the conditions: its threshold and the time since its first failure, the circuit breaker when that
/// has held it before, evidence that is not older than the moment the action became due, the needs, the circuit breaker.
pub(crate) fn evaluate(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    if realm.dependencies.needs.excuses() || realm.wish.pause.is_some() {
        clear_cause(realm, ctx);
        return;
    }
    let Some(first) = realm.actionable(ctx.spec, |_| true) else {
        clear_cause(realm, ctx);
        return;
    };
    if realm.generation.port_conflict.is_some() {
        // Evidence of its own, and nothing a restart would change: the port would still not be free.
        realm.evidence.unhealthy_cause = Some(failure_detail(realm, ctx, first.0));
        ctx.disarm(TimerKind::ActOnFailure);
        return;
    }
    if realm.is_held_by_suspicion() {
        realm.evidence.unhealthy_cause = None;
        ctx.disarm(TimerKind::ActOnFailure);
        return;
    }
    let live = realm.actionable(ctx.spec, |role| role == Role::Live);
    let when = live.filter(|_| restarts(realm, ctx.spec)).map(|(_, when)| when);
    let due = when.filter(|when| ctx.now >= *when);
    match due {
        None if realm.evidence.unhealthy_cause.is_some() || realm.history.suspicion.is_some() => {
            wait_for(ctx, when);
            return;
        }
        None => {}
        Some(_) if realm.evidence.held.is_some() => {
            ctx.out.health_restarts.push_back(ctx.ix);
            ctx.arm(TimerKind::ActOnFailure, ctx.now + FUSE_RECHECK);
            return;
        }
        Some(when) if !evidence_is_fresh(realm, ctx, when) => {
            ctx.arm(TimerKind::ActOnFailure, ctx.now + MEASURE_AGAIN);
            return;
        }
        Some(_) => {}
    }
    // The failure that is acted on; a later one does not begin the question anew, or a slow need would never answer.
    let newest = realm.evidence.probes.iter().filter_map(|probe| probe.last_fail).max().unwrap_or(first.1);
    if realm.dependencies.upstream_pass <= *realm.evidence.asked_since.get_or_insert(newest) {
        ctx.out.asks.push_back(ctx.ix);
        ctx.arm(TimerKind::ActOnFailure, ctx.now + ASK_AGAIN);
        return;
    }
    let began = realm.evidence.probes[first.0].first_fail.unwrap_or(ctx.now);
    if realm.history.suspicion.is_some() || realm.may_blame(began) {
        suspicion::begin(realm, ctx);
    } else {
        realm.evidence.unhealthy_cause = Some(failure_detail(realm, ctx, first.0));
    }
    if due.is_some() {
        // Granted in the same breath, unless the circuit breaker holds it.
        ctx.out.health_restarts.push_back(ctx.ix);
        ctx.arm(TimerKind::ActOnFailure, ctx.now + FUSE_RECHECK);
    } else {
        wait_for(ctx, when);
    }
}

/// One of its failing live probes has failed in a measurement that began when the action became due, or later.
fn evidence_is_fresh(realm: &mut Realm, ctx: &mut Ctx<'_>, when: Instant) -> bool {
    if realm.evidence.acts_on < when {
        demand_evidence(realm, ctx, when);
    }
    realm.has_failed_since(ctx.spec, realm.evidence.acts_on)
}

/// Nothing is done to the realm before one of its live probes has failed in a measurement that began at `since` or later.
pub(crate) fn demand_evidence(realm: &mut Realm, ctx: &mut Ctx<'_>, since: Instant) {
    realm.evidence.acts_on = since;
    realm.evidence.asked_since = None;
    if !realm.has_failed_since(ctx.spec, since) {
        realm.measure_failing(ctx);
    }
}

/// The circuit breaker would let it through: what was seen while it was held is too old to act on.
pub(crate) fn release(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    hold(realm, ctx, None, None);
    demand_evidence(realm, ctx, ctx.now);
    evaluate(realm, ctx);
}

/// Notes what the restart waits for, if for anything. `words` say it to a person.
pub(crate) fn hold(realm: &mut Realm, ctx: &mut Ctx<'_>, hold: Option<Hold>, words: Option<String>) {
    let kind = |hold: Option<Hold>| hold.map(|hold| core::mem::discriminant(&hold));
    if kind(core::mem::replace(&mut realm.evidence.held, hold)) != kind(hold) {
        ctx.event(EventKind::RestartHeld { why: words });
    }
}

/// The circuit breaker lets it through: end the old run because of the probe that failed.
pub(crate) fn restart(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    // With a stranger on its port, the port would still not be free.
    if realm.dependencies.needs.excuses()
        || realm.wish.pause.is_some()
        || realm.generation.port_conflict.is_some()
    {
        return;
    }
    let Some((probe, when)) = realm.actionable(ctx.spec, |role| role == Role::Live) else { return };
    if ctx.now >= when && restarts(realm, ctx.spec) {
        let of_command = realm.serving().and_then(|serving| serving.command_failure.clone());
        let detail = of_command.unwrap_or_else(|| failure_detail(realm, ctx, probe));
        suspicion::tried(realm);
        if in_place_restart::applies(realm, ctx.spec)
            && in_place_restart::restart_in_place(realm, ctx, detail.clone())
        {
            return;
        }
        stopping::restart(realm, ctx, RestartCause::Unhealthy, detail);
    }
}

fn wait_for(ctx: &mut Ctx<'_>, when: Option<Instant>) {
    match when {
        Some(when) => ctx.arm(TimerKind::ActOnFailure, when),
        None => ctx.disarm(TimerKind::ActOnFailure),
    }
}

/// Nothing speaks against it, or another realm is to blame.
pub(crate) fn clear_cause(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    realm.evidence.unhealthy_cause = None;
    (realm.evidence.acts_on, realm.evidence.asked_since) = (Instant::ZERO, None);
    hold(realm, ctx, None, None);
    ctx.disarm(TimerKind::ActOnFailure);
}

/// `http: 503 Service Unavailable, 3 times in a row`.
fn failure_detail(realm: &Realm, ctx: &Ctx<'_>, probe: usize) -> String {
    why::failing_probe(&ctx.spec.probes[probe], &realm.evidence.probes[probe])
}
