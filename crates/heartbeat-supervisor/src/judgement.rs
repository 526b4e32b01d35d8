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
use crate::cx::Cx;
use crate::realm::{Hold, Realm};
use crate::state::{Remedy, State, remedy, stopping};
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
        State::External => {
            // Once it is not watched any more, nothing is done to it.
            let free = realm.remedy.is_none_or(|remedy| remedy == Remedy::Trial);
            spec.restart_command && realm.probing && free
        }
        _ => false,
    };
    // Also one that is about to end by itself.
    let held = realm.remedy.is_some_and(Remedy::is_under_way) || realm.spoken.stopping;
    acted_on && !held && spec.restart.when() != RestartWhen::Never
}

/// A restart for its health is what the Act timer is about.
pub(crate) fn restart_is_due(realm: &Realm, spec: &RealmSpec) -> bool {
    restarts(realm, spec) && realm.actionable(spec, |role| role == Role::Live).is_some()
}

/// A restart for its health is what happens next, unless the realm passes before.
pub(crate) fn restart_is_pending(realm: &Realm, spec: &RealmSpec) -> bool {
    let blamed = realm.around.needs.excuses() || realm.is_held_by_suspicion();
    let excused = blamed || realm.pause.is_some() || realm.stranger.is_some();
    !excused && restart_is_due(realm, spec)
}

/// Looks at the failing probes of a realm that is measured, and acts as far as it may.
///
/// The order is that of the conditions: its threshold and the time since its first failure, the circuit breaker when that
/// has held it before, evidence that is not older than the moment the action became due, the needs, the circuit breaker.
pub(crate) fn judge(realm: &mut Realm, cx: &mut Cx<'_>) {
    if realm.around.needs.excuses() || realm.pause.is_some() {
        acquit(realm, cx);
        return;
    }
    let Some(first) = realm.actionable(cx.spec, |_| true) else {
        acquit(realm, cx);
        return;
    };
    if realm.stranger.is_some() {
        // Evidence of its own, and nothing a restart would change: the port would still not be free.
        realm.fault = Some(failure_detail(realm, cx, first.0));
        cx.disarm(TimerKind::Act);
        return;
    }
    if realm.is_held_by_suspicion() {
        realm.fault = None;
        cx.disarm(TimerKind::Act);
        return;
    }
    let live = realm.actionable(cx.spec, |role| role == Role::Live);
    let when = live.filter(|_| restarts(realm, cx.spec)).map(|(_, when)| when);
    let due = when.filter(|when| cx.now >= *when);
    match due {
        None if realm.fault.is_some() || realm.suspicion.is_some() => {
            wait_for(cx, when);
            return;
        }
        None => {}
        Some(_) if realm.held.is_some() => {
            cx.out.health_restarts.push_back(cx.ix);
            cx.arm(TimerKind::Act, cx.now + FUSE_RECHECK);
            return;
        }
        Some(when) if !evidence_is_fresh(realm, cx, when) => {
            cx.arm(TimerKind::Act, cx.now + MEASURE_AGAIN);
            return;
        }
        Some(_) => {}
    }
    // The failure that is acted on; a later one does not begin the question anew, or a slow need would never answer.
    let newest = realm.probes.iter().filter_map(|probe| probe.last_fail).max().unwrap_or(first.1);
    if realm.around.upstream_pass <= *realm.asked_since.get_or_insert(newest) {
        cx.out.asks.push_back(cx.ix);
        cx.arm(TimerKind::Act, cx.now + ASK_AGAIN);
        return;
    }
    let began = realm.probes[first.0].first_fail.unwrap_or(cx.now);
    if realm.suspicion.is_some() || realm.may_blame(began) {
        suspicion::begin(realm, cx);
    } else {
        realm.fault = Some(failure_detail(realm, cx, first.0));
    }
    if due.is_some() {
        // Granted in the same breath, unless the circuit breaker holds it.
        cx.out.health_restarts.push_back(cx.ix);
        cx.arm(TimerKind::Act, cx.now + FUSE_RECHECK);
    } else {
        wait_for(cx, when);
    }
}

/// One of its failing live probes has failed in a measurement that began when the action became due, or later.
fn evidence_is_fresh(realm: &mut Realm, cx: &mut Cx<'_>, when: Instant) -> bool {
    if realm.acts_on < when {
        demand_evidence(realm, cx, when);
    }
    realm.has_failed_since(cx.spec, realm.acts_on)
}

/// Nothing is done to the realm before one of its live probes has failed in a measurement that began at `since` or later.
pub(crate) fn demand_evidence(realm: &mut Realm, cx: &mut Cx<'_>, since: Instant) {
    realm.acts_on = since;
    realm.asked_since = None;
    if !realm.has_failed_since(cx.spec, since) {
        realm.measure_failing(cx);
    }
}

/// The circuit breaker would let it through: what was seen while it was held is too old to act on.
pub(crate) fn release(realm: &mut Realm, cx: &mut Cx<'_>) {
    hold(realm, cx, None, None);
    demand_evidence(realm, cx, cx.now);
    judge(realm, cx);
}

/// Notes what the restart waits for, if for anything. `words` say it to a person.
pub(crate) fn hold(realm: &mut Realm, cx: &mut Cx<'_>, hold: Option<Hold>, words: Option<String>) {
    let kind = |hold: Option<Hold>| hold.map(|hold| core::mem::discriminant(&hold));
    if kind(core::mem::replace(&mut realm.held, hold)) != kind(hold) {
        cx.event(EventKind::RestartHeld { why: words });
    }
}

/// The circuit breaker lets it through: end the old run because of the probe that failed.
pub(crate) fn restart(realm: &mut Realm, cx: &mut Cx<'_>) {
    // With a stranger on its port, the port would still not be free.
    if realm.around.needs.excuses() || realm.pause.is_some() || realm.stranger.is_some() {
        return;
    }
    let Some((probe, when)) = realm.actionable(cx.spec, |role| role == Role::Live) else { return };
    if cx.now >= when && restarts(realm, cx.spec) {
        let detail = realm.unmended.clone().unwrap_or_else(|| failure_detail(realm, cx, probe));
        suspicion::tried(realm, cx);
        if remedy::applies(realm, cx.spec) && remedy::heal(realm, cx, detail.clone()) {
            return;
        }
        stopping::restart(realm, cx, RestartCause::Unhealthy, detail);
    }
}

fn wait_for(cx: &mut Cx<'_>, when: Option<Instant>) {
    match when {
        Some(when) => cx.arm(TimerKind::Act, when),
        None => cx.disarm(TimerKind::Act),
    }
}

/// Nothing speaks against it, or another realm is to blame.
pub(crate) fn acquit(realm: &mut Realm, cx: &mut Cx<'_>) {
    realm.fault = None;
    (realm.acts_on, realm.asked_since) = (Instant::ZERO, None);
    hold(realm, cx, None, None);
    cx.disarm(TimerKind::Act);
}

/// `http: 503 Service Unavailable, 3 times in a row`.
fn failure_detail(realm: &Realm, cx: &Cx<'_>, probe: usize) -> String {
    why::failing_probe(&cx.spec.probes[probe], &realm.probes[probe])
}
