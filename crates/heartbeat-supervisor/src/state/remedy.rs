//! A restart by the realm's own command (`restart.command`) instead of a stop and a start: of a running service, and of
//! an external realm, which nobody here can stop or start.
//!
//! It is a restart like any other: opened, debited, held by the restart circuit breaker, verified. A service is left running and
//! keeps its generation; what the command cannot mend is mended by the next attempt, which is a real stop and start, and
//! is judged like the first: by whose fault, and as far as the fuse lets it. An external realm has nothing but its
//! command: attempt follows attempt, with the delays of its policy.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use heartbeat_restart::Decision;
use heartbeat_status::{
    Desired, EventKind, Hook, Instant, RealmKind, RestartCause, RestartResult, RestartStep,
};

use super::starting::{HOOK_GRACE, hook_timeout};
use super::{Intent, State, running, stopping};
use crate::cx::Cx;
use crate::judgement::{demand_evidence, judge};
use crate::realm::Realm;
use crate::timers::TimerKind;
use crate::{Effect, RealmSpec};

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The command is run then, or once its dependents are stopped.
    Due(Instant),
    /// The command runs.
    Commanded,
    /// Of an external realm: the command succeeded then, and has to show it.
    Verifying(Instant),
    /// The budget is spent; one trial is made then, if it is still needed.
    Cooldown(Instant),
    /// The cooldown is over.
    Trial,
    /// The budget is spent for good.
    Spent,
}

impl Remedy {
    /// The command runs or is about to: nothing else is done to the realm meanwhile.
    pub(crate) fn is_under_way(self) -> bool {
        matches!(self, Self::Due(_) | Self::Commanded)
    }
}

/// A restart of the realm as it is now would be one by its command.
pub(crate) fn applies(realm: &Realm, spec: &RealmSpec) -> bool {
    let running = matches!(realm.state, State::Running(_)) && spec.kind == RealmKind::Service;
    // What a command has not mended (or another restart is about to) is not tried by a command once more.
    let fresh = !realm.restart_open() || realm.remedy.is_some_and(Remedy::is_under_way);
    spec.restart_command && (matches!(realm.state, State::External) || (running && fresh))
}

/// Somebody asked for it. What is in no state for that any more is restarted like any other.
pub(crate) fn requested(realm: &mut Realm, cx: &mut Cx<'_>) {
    if !applies(realm, cx.spec) {
        super::on_command(realm, cx, Intent::Again(RestartCause::Requested));
        return;
    }
    (realm.faulted, realm.relapsed) = (false, false);
    if realm.remedy.is_some_and(Remedy::is_under_way) {
        // The later request joins the earlier one.
        return;
    }
    if matches!(realm.state, State::External) {
        // A person takes over, with a fresh budget.
        realm.tracker.reset();
        realm.close_restart(cx, RestartResult::Abandoned);
    }
    realm.open_restart(cx, RestartCause::Requested, "requested".into());
    due(realm, cx, cx.now);
}

/// It was decided on evidence, and the fuse lets it through. False when the budget of a service is spent: then it is
/// ended like any other.
pub(crate) fn heal(realm: &mut Realm, cx: &mut Cx<'_>, detail: String) -> bool {
    let service = !matches!(realm.state, State::External);
    if service && realm.suspicion.is_none() && !realm.tracker.may_restart(&cx.spec.restart, cx.now) {
        return false;
    }
    realm.close_restart(cx, RestartResult::Failed);
    if realm.remedy == Some(Remedy::Trial) || realm.suspicion.is_some() {
        realm.open_restart(cx, RestartCause::Unhealthy, detail);
        due(realm, cx, cx.now);
        return true;
    }
    let dice = cx.dice();
    match realm.tracker.decide(&cx.spec.restart, cx.now, RestartCause::Unhealthy, None, dice) {
        Decision::StartAt { at, attempt } => {
            realm.open_attempt(cx, RestartCause::Unhealthy, detail, attempt.max(1));
            due(realm, cx, at);
        }
        Decision::Cooldown { until, .. } => spent(realm, cx, Some(until)),
        Decision::GiveUp => spent(realm, cx, None),
        // Its policy leaves it at that.
        Decision::LeaveStopped { .. } => {}
    }
    true
}

fn spent(realm: &mut Realm, cx: &mut Cx<'_>, retry_at: Option<Instant>) {
    realm.tell_given_up(cx, retry_at);
    cx.disarm(TimerKind::Act);
    cx.disarm(TimerKind::Second);
    match retry_at {
        Some(until) => {
            realm.remedy = Some(Remedy::Cooldown(until));
            cx.arm(TimerKind::State, until);
        }
        None => {
            realm.remedy = Some(Remedy::Spent);
            cx.disarm(TimerKind::State);
        }
    }
}

fn due(realm: &mut Realm, cx: &mut Cx<'_>, at: Instant) {
    realm.remedy = Some(Remedy::Due(at));
    cx.disarm(TimerKind::Act);
    cx.disarm(TimerKind::Second);
    if at > cx.now {
        cx.arm(TimerKind::State, at);
    } else {
        begin(realm, cx);
    }
}

/// Its time has come, later than it was decided. What was decided on evidence needs a failure that began since then.
fn come_due(realm: &mut Realm, cx: &mut Cx<'_>, at: Instant) {
    if realm.is_healing() && realm.acts_on < at {
        demand_evidence(realm, cx, at);
    }
    if realm.is_healing() && !realm.has_failed_since(cx.spec, at) {
        cx.arm(TimerKind::State, cx.now + RECHECK);
    } else {
        begin(realm, cx);
    }
}

/// Its time has come: the command runs, unless somebody else is to blame meanwhile.
fn begin(realm: &mut Realm, cx: &mut Cx<'_>) {
    cx.disarm(TimerKind::State);
    let evidence = realm.is_healing();
    if evidence && (realm.around.needs.excuses() || realm.pause.is_some()) {
        call_off(realm, cx);
        return;
    }
    // A stop that follows in the same breath has ended the pause that held it.
    let leaving = !matches!(realm.state, State::External) && realm.desired == Desired::Down;
    if realm.around.dependents_stopping || leaving {
        return;
    }
    realm.remedy = Some(Remedy::Commanded);
    realm.restart_step(cx, RestartStep::Started);
    let timeout = hook_timeout(cx.spec.start.timeout);
    cx.effect(Effect::Hook { realm: cx.ix, run: realm.run, hook: Hook::Restart, timeout });
    cx.event(EventKind::RestartCommand { failure: None, ended: false });
    cx.arm(TimerKind::State, cx.now + timeout + HOOK_GRACE);
}

/// The command has ended.
pub(crate) fn on_done(realm: &mut Realm, cx: &mut Cx<'_>, failure: Option<String>) {
    if realm.remedy != Some(Remedy::Commanded) {
        cx.ignore("no such command is running");
        return;
    }
    cx.disarm(TimerKind::State);
    cx.event(EventKind::RestartCommand { failure: failure.clone(), ended: true });
    match failure {
        None => succeeded(realm, cx),
        Some(failure) => failed(realm, cx, &format!("{} failed: {failure}", Hook::Restart.as_str())),
    }
}

/// What was measured before it says nothing any more, and it has as long as after a start to pass for the first time.
fn succeeded(realm: &mut Realm, cx: &mut Cx<'_>) {
    realm.remedy = None;
    realm.fault = None;
    realm.judged_from = Some(cx.now + hook_timeout(cx.spec.start.timeout));
    realm.measure_anew(cx);
    realm.restart_step(cx, RestartStep::Ready);
    if matches!(realm.state, State::External) {
        realm.started_at = Some(cx.now);
        begin_verification(realm, cx);
    } else {
        running::answer_anew(realm, cx);
    }
}

/// The attempt has failed. What somebody has asked for is a stop and a start now; what was decided on evidence is judged
/// again, since a need may have gone down meanwhile, or it may have come back by itself. Paused and external realms are
/// left to what is measured.
fn failed(realm: &mut Realm, cx: &mut Cx<'_>, detail: &str) {
    realm.remedy = None;
    cx.disarm(TimerKind::Second);
    cx.disarm(TimerKind::State);
    if matches!(realm.state, State::External) || realm.pause.is_some() {
        realm.close_restart(cx, RestartResult::Failed);
        judge(realm, cx);
    } else if realm.is_healing() {
        if let Some(record) = realm.restart.as_mut() {
            record.detail = format!("{}; {detail}", record.detail);
        }
        realm.unmended = Some(detail.into());
        running::answer_anew(realm, cx);
        judge(realm, cx);
    } else {
        let cause = realm.restart.as_ref().map_or(RestartCause::Requested, |record| record.cause);
        stopping::restart(realm, cx, cause, detail.into());
    }
}

fn begin_verification(realm: &mut Realm, cx: &mut Cx<'_>) {
    let verify_for = cx.spec.restart.verify_for();
    realm.remedy = Some(Remedy::Verifying(cx.now));
    cx.arm(TimerKind::Second, cx.now + verify_for);
    cx.arm(TimerKind::State, cx.now + verify_for + hook_timeout(cx.spec.start.timeout));
}

/// What was measured may have verified an external realm, or shown of any that nothing has to be done.
pub(crate) fn on_result(realm: &mut Realm, cx: &mut Cx<'_>) {
    match realm.remedy {
        Some(Remedy::Verifying(since)) => {
            let long_enough = cx.now.since(since) >= cx.spec.restart.verify_for();
            let enough_passes = realm.live_probes_pass(cx.spec, u32::MAX).unwrap_or(true);
            if long_enough
                && enough_passes
                && realm.assess(cx.spec).is_pass()
                && !realm.around.needs.excuses()
            {
                realm.remedy = None;
                cx.disarm(TimerKind::State);
                realm.restart_step(cx, RestartStep::Verified);
                realm.close_restart(cx, RestartResult::Verified);
            }
        }
        // It has mended itself before anything was done.
        Some(Remedy::Due(_)) if realm.is_healing() && realm.assess(cx.spec).is_pass() => call_off(realm, cx),
        Some(Remedy::Due(at)) if realm.is_healing() && realm.acts_on == at && cx.now > at => {
            come_due(realm, cx, at);
        }
        Some(Remedy::Cooldown(_) | Remedy::Trial) if realm.assess(cx.spec).is_pass() => {
            realm.remedy = None;
            cx.disarm(TimerKind::State);
        }
        Some(Remedy::Due(_) | Remedy::Commanded | Remedy::Cooldown(_) | Remedy::Trial | Remedy::Spent)
        | None => {}
    }
}

/// The deadline of how far it is. False when there is no such thing.
pub(crate) fn on_deadline(realm: &mut Realm, cx: &mut Cx<'_>, timer: TimerKind) -> bool {
    match (realm.remedy, timer) {
        (Some(Remedy::Due(at)), TimerKind::State) => come_due(realm, cx, at),
        (Some(Remedy::Commanded), TimerKind::State) => {
            cx.effect(Effect::CancelHook { realm: cx.ix, run: realm.run, hook: Hook::Restart });
            on_done(realm, cx, Some("its end was never reported".into()));
        }
        (Some(Remedy::Verifying(_)), TimerKind::Second) => on_result(realm, cx),
        (Some(Remedy::Verifying(_)), TimerKind::State) => {
            on_result(realm, cx);
            let blamed = realm.around.needs.excuses() || realm.may_blame(cx.now);
            let excused = blamed || realm.pause.is_some() || realm.fault_is_ours(cx.spec);
            match realm.remedy {
                Some(Remedy::Verifying(_)) if excused => {
                    cx.arm(TimerKind::State, cx.now + hook_timeout(cx.spec.start.timeout).max(RECHECK));
                }
                Some(Remedy::Verifying(_)) => failed(realm, cx, "the restart could not be verified in time"),
                _ => {}
            }
        }
        (Some(Remedy::Cooldown(_)), TimerKind::State) => {
            realm.remedy = Some(Remedy::Trial);
            cx.event(EventKind::CooldownOver);
            demand_evidence(realm, cx, cx.now);
            judge(realm, cx);
        }
        _ => return false,
    }
    true
}

/// A verification that could not be decided is looked at again after this at the earliest.
const RECHECK: Duration = Duration::from_secs(1);

/// Dependents may be stopped by now.
pub(crate) fn on_around(realm: &mut Realm, cx: &mut Cx<'_>) {
    if let Some(Remedy::Due(at)) = realm.remedy
        && cx.now >= at
    {
        come_due(realm, cx, at);
    }
}

/// heartbeatd is back, and an external realm was being restarted: whatever has become of its command, it has to show it.
pub(crate) fn resume(realm: &mut Realm, cx: &mut Cx<'_>) {
    if realm.restart_open() {
        begin_verification(realm, cx);
    }
}

/// Nothing was measured for a while: the time to prove itself begins anew.
pub(crate) fn was_suspended(realm: &mut Realm, cx: &mut Cx<'_>) {
    if matches!(realm.remedy, Some(Remedy::Verifying(_))) {
        begin_verification(realm, cx);
    }
}

/// A person says that it counts anew: what was given up is tried again if it is still needed.
pub(crate) fn forget_spent(realm: &mut Realm, cx: &mut Cx<'_>) {
    if matches!(realm.remedy, Some(Remedy::Cooldown(_) | Remedy::Trial | Remedy::Spent)) {
        realm.remedy = None;
        cx.disarm(TimerKind::State);
        judge(realm, cx);
    }
}

/// Nothing has to be done any more.
pub(crate) fn call_off(realm: &mut Realm, cx: &mut Cx<'_>) {
    if realm.remedy.is_some() {
        drop(realm, cx);
        cx.disarm(TimerKind::State);
        cx.disarm(TimerKind::Second);
        realm.close_restart(cx, RestartResult::Abandoned);
    }
}

/// Something else is done to the realm; its restart goes on with that.
pub(crate) fn drop(realm: &mut Realm, cx: &mut Cx<'_>) {
    realm.judged_from = None;
    if realm.remedy.take() == Some(Remedy::Commanded) {
        cx.effect(Effect::CancelHook { realm: cx.ix, run: realm.run, hook: Hook::Restart });
    }
}
