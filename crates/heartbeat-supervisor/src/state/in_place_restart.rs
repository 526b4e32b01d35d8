//! A restart by the realm's own command (`restart.command`) instead of a stop and a start: of a running service, and of
//! an external realm, which heartbeatd cannot stop or start.
//!
//! It is a restart like any other: opened, debited, held by the restart circuit breaker, verified. A service keeps
//! running and keeps its generation. If the command does not help, the next attempt is a real stop and start, and the
//! core judges that like the first attempt: whose fault it is, and whether the circuit breaker allows it. An external
//! realm has only its command: its attempts follow one another with the delays of its policy.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use heartbeat_restart::Decision;
use heartbeat_status::{
    Desired, EventKind, Hook, Instant, RealmKind, RestartCause, RestartResult, RestartStep,
};

use super::starting::{HOOK_GRACE, hook_timeout};
use super::{State, StateRequest, serving, stopping};
use crate::ctx::Ctx;
use crate::realm::Realm;
use crate::timers::TimerKind;
use crate::{Effect, RealmSpec};

/// The core looks again after this at a restart that waits for a recent enough failure.
const RECHECK: Duration = Duration::from_secs(1);

/// The stage of the restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InPlaceRestart {
    /// The command runs at this time, or once the dependents are stopped.
    Due(Instant),
    /// The command runs.
    Commanded,
    /// The budget is used up; at this time there is one trial, if it is still needed.
    Cooldown(Instant),
    /// The cooldown is over.
    Trial,
    /// The budget is used up for good.
    Exhausted,
}

impl InPlaceRestart {
    /// Whether the command runs or is about to: nothing else happens to the realm meanwhile.
    pub(crate) fn is_under_way(self) -> bool {
        matches!(self, Self::Due(_) | Self::Commanded)
    }
}

/// Whether a restart of the realm in its present state would use its command.
pub(crate) fn applies(realm: &Realm, spec: &RealmSpec) -> bool {
    let running = matches!(realm.state, State::Running(_)) && spec.kind == RealmKind::Service;
    // After a command that did not help, or beside another restart, the command is not tried again.
    let fresh = !realm.restart_open() || realm.in_place().is_some_and(InPlaceRestart::is_under_way);
    spec.restart_command && (matches!(realm.state, State::External(_)) || (running && fresh))
}

/// An operator has requested the restart. A realm that has left the states for it is restarted like any other.
pub(crate) fn requested(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    if !applies(realm, ctx.spec) {
        super::on_command(realm, ctx, StateRequest::Again(RestartCause::Requested));
        return;
    }
    (realm.history.faulted, realm.history.relapsed) = (false, false);
    if realm.in_place().is_some_and(InPlaceRestart::is_under_way) {
        // The later request joins the earlier one.
        return;
    }
    if matches!(realm.state, State::External(_)) {
        // A person takes over, with a fresh budget.
        realm.history.tracker.reset();
        realm.close_restart(ctx, RestartResult::Abandoned);
    }
    realm.open_restart(ctx, RestartCause::Requested, "requested".into());
    due(realm, ctx, ctx.now);
}

/// The core decided on the restart by evidence, and the circuit breaker allows it. False when the budget of a service
/// is used up: then it is ended like any other.
pub(crate) fn restart_in_place(realm: &mut Realm, ctx: &mut Ctx<'_>, detail: String) -> bool {
    let service = !matches!(realm.state, State::External(_));
    if service
        && realm.history.suspicion.is_none()
        && !realm.history.tracker.may_restart(&ctx.spec.restart, ctx.now)
    {
        return false;
    }
    realm.close_restart(ctx, RestartResult::Failed);
    if realm.in_place() == Some(InPlaceRestart::Trial) || realm.history.suspicion.is_some() {
        realm.open_restart(ctx, RestartCause::Unhealthy, detail);
        due(realm, ctx, ctx.now);
        return true;
    }
    let dice = ctx.dice();
    match realm.history.tracker.decide(&ctx.spec.restart, ctx.now, RestartCause::Unhealthy, None, dice) {
        Decision::StartAt { at, attempt } => {
            realm.open_attempt(ctx, RestartCause::Unhealthy, detail, Some(attempt.max(1)));
            due(realm, ctx, at);
        }
        Decision::Cooldown { until, .. } => exhausted(realm, ctx, Some(until)),
        Decision::Fail => exhausted(realm, ctx, None),
        // The policy does not restart the realm.
        Decision::LeaveStopped { .. } => {}
    }
    true
}

fn exhausted(realm: &mut Realm, ctx: &mut Ctx<'_>, retry_at: Option<Instant>) {
    realm.tell_given_up(ctx, retry_at);
    ctx.disarm(TimerKind::ActOnFailure);
    let given_up = retry_at.map_or(InPlaceRestart::Exhausted, InPlaceRestart::Cooldown);
    set(realm, ctx, Some(given_up));
    if let Some(until) = retry_at {
        ctx.arm(TimerKind::Retry, until);
    }
}

/// Sets the next stage, and disarms the timers of the old one.
fn set(realm: &mut Realm, ctx: &mut Ctx<'_>, stage: Option<InPlaceRestart>) {
    ctx.leave_stage();
    if let Some(serving) = realm.serving_mut() {
        serving.in_place = stage;
    }
}

fn due(realm: &mut Realm, ctx: &mut Ctx<'_>, at: Instant) {
    set(realm, ctx, Some(InPlaceRestart::Due(at)));
    ctx.disarm(TimerKind::ActOnFailure);
    if at > ctx.now {
        ctx.arm(TimerKind::Retry, at);
    } else {
        begin(realm, ctx);
    }
}

/// The restart is due, later than it was decided. One that was decided by evidence needs a failure that began since
/// then.
fn come_due(realm: &mut Realm, ctx: &mut Ctx<'_>, at: Instant) {
    if realm.is_healing() && realm.evidence.acts_on < at {
        realm.demand_evidence(ctx, at);
    }
    if realm.is_healing() && !realm.has_failed_since(ctx.spec, at) {
        ctx.arm(TimerKind::Retry, ctx.now + RECHECK);
    } else {
        begin(realm, ctx);
    }
}

/// The restart is due: the command runs, unless another realm is to blame by now.
fn begin(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    ctx.leave_stage();
    let evidence = realm.is_healing();
    if evidence && (realm.dependencies.needs.excuses() || realm.wish.pause.is_some()) {
        cancel(realm, ctx);
        return;
    }
    // A stop in the same step has ended the pause that held the realm.
    let leaving = !matches!(realm.state, State::External(_)) && realm.wish.desired == Desired::Down;
    if realm.dependencies.dependents_stopping || leaving {
        return;
    }
    set(realm, ctx, Some(InPlaceRestart::Commanded));
    realm.restart_step(ctx, RestartStep::Started);
    let timeout = hook_timeout(ctx.spec.start.timeout);
    ctx.effect(Effect::Hook { realm: ctx.ix, run: realm.generation.run, hook: Hook::Restart, timeout });
    ctx.event(EventKind::RestartCommand { failure: None, ended: false });
    ctx.arm(TimerKind::HookLost, ctx.now + timeout + HOOK_GRACE);
}

/// The command has ended.
pub(crate) fn on_done(realm: &mut Realm, ctx: &mut Ctx<'_>, failure: Option<String>) {
    if realm.in_place() != Some(InPlaceRestart::Commanded) {
        ctx.ignore("no such command is running");
        return;
    }
    ctx.leave_stage();
    ctx.event(EventKind::RestartCommand { failure: failure.clone(), ended: true });
    match failure {
        None => succeeded(realm, ctx),
        Some(failure) => failed(realm, ctx, &format!("{} failed: {failure}", Hook::Restart.as_str())),
    }
}

/// Earlier measurements say nothing any more, and the realm has as much time as after a start until its first pass.
fn succeeded(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    set(realm, ctx, None);
    realm.evidence.unhealthy_cause = None;
    if let Some(serving) = realm.serving_mut() {
        serving.evaluated_from = Some(ctx.now + hook_timeout(ctx.spec.start.timeout));
    }
    realm.measure_anew(ctx);
    realm.restart_step(ctx, RestartStep::Ready);
    if matches!(realm.state, State::External(_)) {
        realm.generation.started_at = Some(ctx.now);
    }
    serving::begin_verification(realm, ctx);
}

/// The attempt has failed. A restart that an operator has requested becomes a stop and a start. The core judges again
/// one that it decided by evidence, since a need may have gone down meanwhile, or the realm may have recovered. Paused
/// and external realms are left to their measurements.
pub(crate) fn failed(realm: &mut Realm, ctx: &mut Ctx<'_>, detail: &str) {
    set(realm, ctx, None);
    if matches!(realm.state, State::External(_)) || realm.wish.pause.is_some() {
        realm.close_restart(ctx, RestartResult::Failed);
        realm.evaluate(ctx);
    } else if realm.is_healing() {
        if let Some(record) = realm.history.restart.as_mut() {
            record.detail = format!("{}; {detail}", record.detail);
        }
        if let Some(serving) = realm.serving_mut() {
            serving.command_failure = Some(detail.into());
        }
        serving::begin_verification(realm, ctx);
        realm.evaluate(ctx);
    } else {
        let cause = realm.history.restart.as_ref().map_or(RestartCause::Requested, |record| record.cause);
        stopping::restart(realm, ctx, cause, detail.into());
    }
}

/// The measurements may have shown that no restart is needed.
pub(crate) fn on_result(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    match realm.in_place() {
        // The realm has recovered before the command ran.
        Some(InPlaceRestart::Due(_)) if realm.is_healing() && realm.assess(ctx.spec).is_pass() => {
            cancel(realm, ctx)
        }
        Some(InPlaceRestart::Due(at))
            if realm.is_healing() && realm.evidence.acts_on == at && ctx.now > at =>
        {
            come_due(realm, ctx, at);
        }
        Some(InPlaceRestart::Cooldown(_) | InPlaceRestart::Trial) if realm.assess(ctx.spec).is_pass() => {
            set(realm, ctx, None);
        }
        Some(
            InPlaceRestart::Due(_)
            | InPlaceRestart::Commanded
            | InPlaceRestart::Cooldown(_)
            | InPlaceRestart::Trial
            | InPlaceRestart::Exhausted,
        )
        | None => {}
    }
}

/// The deadline of the stage.
pub(crate) fn on_deadline(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    match realm.in_place() {
        Some(InPlaceRestart::Due(at)) => come_due(realm, ctx, at),
        Some(InPlaceRestart::Commanded) => {
            ctx.effect(Effect::CancelHook { realm: ctx.ix, run: realm.generation.run, hook: Hook::Restart });
            on_done(realm, ctx, Some("its end was never reported".into()));
        }
        Some(InPlaceRestart::Cooldown(_)) => {
            set(realm, ctx, Some(InPlaceRestart::Trial));
            ctx.event(EventKind::CooldownOver);
            realm.demand_evidence(ctx, ctx.now);
            realm.evaluate(ctx);
        }
        Some(InPlaceRestart::Trial | InPlaceRestart::Exhausted) | None => {}
    }
}

/// Dependents may be stopped by now.
pub(crate) fn on_dependencies(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    if let Some(InPlaceRestart::Due(at)) = realm.in_place()
        && ctx.now >= at
    {
        come_due(realm, ctx, at);
    }
}

/// heartbeatd is back, and an external realm was being restarted: the measurements have to show the result of its
/// command.
pub(crate) fn resume(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    if realm.restart_open() {
        serving::begin_verification(realm, ctx);
    }
}

/// An operator resets the budget: a restart that was given up is tried again if it is still needed.
pub(crate) fn forget_exhausted(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    if matches!(
        realm.in_place(),
        Some(InPlaceRestart::Cooldown(_) | InPlaceRestart::Trial | InPlaceRestart::Exhausted)
    ) {
        set(realm, ctx, None);
        realm.evaluate(ctx);
    }
}

/// No restart is needed any more.
pub(crate) fn cancel(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    // For an external realm, a restart that is being verified is one by its command, too.
    let verified = matches!(realm.state, State::External(_)) && realm.restart_open();
    if realm.in_place().is_some() || verified {
        drop(realm, ctx);
        ctx.leave_stage();
        realm.close_restart(ctx, RestartResult::Abandoned);
    }
}

/// Another stop or start replaces the command; the open restart continues with that.
pub(crate) fn drop(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let Some(serving) = realm.serving_mut() else { return };
    serving.evaluated_from = None;
    if serving.in_place.take() == Some(InPlaceRestart::Commanded) {
        ctx.effect(Effect::CancelHook { realm: ctx.ix, run: realm.generation.run, hook: Hook::Restart });
    }
}
