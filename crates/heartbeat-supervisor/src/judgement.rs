//! From failing probes to a fault that is acted on: by whose fault, and is a restart the answer?
//!
//! A probe past its threshold is shown at once. It becomes a *fault* (an incident, and perhaps a restart) only when
//! every need of the realm has passed in a measurement that began after the failure: what a health check asks for
//! usually fails together with it.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use heartbeat_restart::RestartWhen;
use heartbeat_status::{EventKind, RestartCause, Role};

use crate::RealmSpec;
use crate::cx::Cx;
use crate::realm::{Hold, Realm};
use crate::state::{Remedy, State, remedy, stopping};
use crate::timers::TimerKind;

/// While a need owes an answer it is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);
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

/// Looks at the failing probes of a realm that is measured, and acts as far as it may.
pub(crate) fn judge(realm: &mut Realm, cx: &mut Cx<'_>) {
    if realm.around.need_broken || realm.pause.is_some() {
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
    let restarts = restarts(realm, cx.spec);
    let live = realm.actionable(cx.spec, |role| role == Role::Live).filter(|_| restarts);
    if realm.fault.is_some() && live.is_none_or(|(_, when)| cx.now < when) {
        wait_for(cx, live.map(|(_, when)| when));
        return;
    }
    let failed_at = realm.probes.iter().filter_map(|probe| probe.last_fail).max().unwrap_or(first.1);
    if realm.around.upstream_pass <= failed_at {
        cx.out.asks.push_back(cx.ix);
        cx.arm(TimerKind::Act, cx.now + ASK_AGAIN);
        return;
    }
    realm.fault = Some(failure_detail(realm, cx, first.0));
    match live {
        Some((_, when)) if cx.now >= when => {
            // Granted in the same breath, unless the circuit breaker holds it.
            cx.out.health_restarts.push_back(cx.ix);
            cx.arm(TimerKind::Act, cx.now + FUSE_RECHECK);
        }
        live => wait_for(cx, live.map(|(_, when)| when)),
    }
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
    hold(realm, cx, None, None);
    if realm.around.need_broken || realm.pause.is_some() {
        return;
    }
    let Some((probe, when)) = realm.actionable(cx.spec, |role| role == Role::Live) else { return };
    if cx.now >= when && restarts(realm, cx.spec) {
        let detail = realm.unmended.clone().unwrap_or_else(|| failure_detail(realm, cx, probe));
        if remedy::applies(realm, cx.spec) && remedy::heal(realm, cx, detail.clone()) {
            return;
        }
        stopping::restart(realm, cx, RestartCause::Unhealthy, detail);
    }
}

fn wait_for(cx: &mut Cx<'_>, when: Option<heartbeat_status::Instant>) {
    match when {
        Some(when) => cx.arm(TimerKind::Act, when),
        None => cx.disarm(TimerKind::Act),
    }
}

/// Nothing speaks against it, or somebody else is to blame.
pub(crate) fn acquit(realm: &mut Realm, cx: &mut Cx<'_>) {
    realm.fault = None;
    hold(realm, cx, None, None);
    cx.disarm(TimerKind::Act);
}

fn failure_detail(realm: &Realm, cx: &Cx<'_>, probe: usize) -> String {
    let spec = &cx.spec.probes[probe].info;
    let last = realm.probes[probe].last.as_ref();
    let reason = last.and_then(|last| last.outcome.reason()).map_or("failed", |reason| reason.as_str());
    match last.map(|last| last.detail.as_str()).filter(|detail| !detail.is_empty()) {
        Some(detail) => format!("probe {} failed: {reason}: {detail}", spec.name),
        None => format!("probe {} failed: {reason}", spec.name),
    }
}
