//! Running: ready once in this generation. While a restart is open, also its verification.

use alloc::format;
use alloc::string::ToString;
use core::time::Duration;

use heartbeat_status::{
    Exit, Health, Hook, Instant, RealmKind, RestartCause, RestartResult, RestartStep, RunFact,
};

use super::{State, StateRequest, ending, in_place_restart, stopping};
use crate::ctx::{Ctx, DependencyView};
use crate::judgement::{clear_cause, evaluate};
use crate::memory::Found;
use crate::realm::Realm;
use crate::timers::TimerKind;

/// How long a restart may take to be verified in a realm without `start.timeout`, beyond `verify_for`.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(60);

/// A verification that could not be decided is looked at again after `start.timeout`, or at least this.
const VERIFY_RECHECK: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) ready_at: Instant,
}

pub(crate) fn enter(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    realm.set_state(ctx, State::Running(Running { ready_at: ctx.now }));
    realm.restart_step(ctx, RestartStep::Ready);
    if ctx.spec.kind == RealmKind::Oneshot {
        if let Some(limit) = ctx.spec.start.timeout {
            ctx.arm(TimerKind::StartTimeout, ctx.now + limit);
        }
    } else if realm.restart_open() {
        begin_verification(realm, ctx);
    }
    realm.need_restart_due |= realm.dependencies.restart_with_need;
    if realm.dependencies.stop_with_need && realm.pause.is_none() {
        stopping::with_need(realm, ctx);
    } else {
        // With an explicit `grace` failures may have been counted while it started.
        evaluate(realm, ctx);
    }
}

/// heartbeatd is back: it goes on being measured, in the slots it had.
pub(crate) fn resume(realm: &mut Realm, ctx: &mut Ctx<'_>, found: Found) {
    match found {
        Found::Alive { pid, .. } => {
            realm.pid = Some(pid);
            realm.resume_probing(ctx);
            if ctx.spec.kind == RealmKind::Oneshot {
                if let Some(limit) = ctx.spec.start.timeout {
                    let until = realm.started_at.unwrap_or(ctx.now) + limit;
                    ctx.arm(TimerKind::StartTimeout, until.max(ctx.now + VERIFY_RECHECK));
                }
            } else if realm.restart_open() {
                begin_verification(realm, ctx);
            }
            if let Some(since) = realm.healthy_since {
                ctx.arm(TimerKind::Stable, (since + ctx.spec.restart.reset_after()).max(ctx.now));
            }
        }
        Found::Ended { exit, empty } => on_exit(realm, ctx, RunFact::Exited { exit, empty }),
        // Its end was not seen, and nothing of it is left: it has ended.
        Found::Nothing | Found::Unverifiable { .. } => {
            on_exit(realm, ctx, RunFact::Exited { exit: Exit::unknown(), empty: true });
        }
    }
}

fn begin_verification(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let verify_for = ctx.spec.restart.verify_for();
    ctx.arm(TimerKind::Verify, ctx.now + verify_for);
    ctx.arm(
        TimerKind::VerifyTimeout,
        ctx.now + verify_for + ctx.spec.start.timeout.unwrap_or(VERIFY_TIMEOUT),
    );
    verify(realm, ctx);
}

/// heartbeatd was not running for a while: nothing was measured meanwhile, so the time to prove itself begins anew.
pub(crate) fn was_suspended(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let commanded = realm.in_place.is_some();
    let runs = matches!(realm.state, State::Running(_)) && ctx.spec.kind != RealmKind::Oneshot;
    if runs && realm.restart_open() && !commanded {
        begin_verification(realm, ctx);
    }
}

/// Its own restart command has done what it could: from now on it proves itself.
pub(crate) fn answer_anew(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    if let State::Running(running) = &mut realm.state {
        running.ready_at = ctx.now;
    }
    begin_verification(realm, ctx);
}

/// Closes the open restart as verified once it has proved itself.
fn verify(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let State::Running(running) = &realm.state else { return };
    if !realm.restart_open() || ctx.spec.kind == RealmKind::Oneshot || realm.in_place.is_some() {
        return;
    }
    let long_enough = ctx.now.since(running.ready_at) >= ctx.spec.restart.verify_for();
    let enough_passes = realm.live_probes_pass(ctx.spec, u32::MAX).unwrap_or(true);
    if long_enough && enough_passes && realm.assess(ctx.spec).is_pass() && !realm.dependencies.needs.excuses()
    {
        ctx.leave_stage();
        realm.restart_step(ctx, RestartStep::Verified);
        realm.close_restart(ctx, RestartResult::Verified);
    }
}

/// Keeps account of continuous health: it, not uptime, resets the restart budget.
pub(crate) fn note_health(realm: &mut Realm, ctx: &mut Ctx<'_>, health: Health) {
    let watched = matches!(realm.state, State::External) && ctx.spec.restart_command;
    let healthy = health.is_pass() && (watched || matches!(realm.state, State::Running(_)));
    match (realm.healthy_since, healthy) {
        (None, true) => {
            realm.healthy_since = Some(ctx.now);
            ctx.arm(TimerKind::Stable, ctx.now + ctx.spec.restart.reset_after());
        }
        (Some(_), false) => {
            realm.healthy_since = None;
            ctx.disarm(TimerKind::Stable);
        }
        (None, false) | (Some(_), true) => {}
    }
}

pub(crate) fn on_exit(realm: &mut Realm, ctx: &mut Ctx<'_>, fact: RunFact) {
    match fact {
        RunFact::Exited { exit, empty } => ending::main_exited(realm, ctx, exit, empty),
        RunFact::StoppedBySignal { stopped } => {
            realm.on_stopped_by_signal(ctx, stopped);
            on_result(realm, ctx);
        }
        RunFact::Emptied => ctx.ignore("the main process has not been reported to be gone"),
        RunFact::Started { .. } | RunFact::StartFailed { .. } => ctx.ignore("it is running already"),
        RunFact::HookDone { hook: Hook::Restart, failure } => in_place_restart::on_done(realm, ctx, failure),
        RunFact::HookDone { .. } => ctx.ignore("no such command is running"),
        // The same in every state: answered before.
        RunFact::PortHeld { .. }
        | RunFact::MainChanged { .. }
        | RunFact::Said { .. }
        | RunFact::ProgramChecked { .. }
        | RunFact::Unbounded { .. }
        | RunFact::MemoryUsed { .. }
        | RunFact::LogInMemory => {}
    }
}

pub(crate) fn on_result(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    in_place_restart::on_result(realm, ctx);
    verify(realm, ctx);
    evaluate(realm, ctx);
}

pub(crate) fn on_deadline(realm: &mut Realm, ctx: &mut Ctx<'_>, timer: TimerKind) {
    if in_place_restart::on_deadline(realm, ctx, timer) {
        return;
    }
    match timer {
        TimerKind::Verify => verify(realm, ctx),
        TimerKind::ActOnFailure => evaluate(realm, ctx),
        TimerKind::StartTimeout | TimerKind::VerifyTimeout if realm.pause.is_some() => {
            let limit = ctx.spec.start.timeout.unwrap_or(VERIFY_TIMEOUT).max(VERIFY_RECHECK);
            ctx.arm(timer, ctx.now + limit);
        }
        TimerKind::StartTimeout => {
            let limit = ctx.spec.start.timeout.unwrap_or_default();
            stopping::restart(realm, ctx, RestartCause::StartTimedOut, format!("not done within {limit:?}"));
        }
        TimerKind::VerifyTimeout => {
            verify(realm, ctx);
            // What passes again, or fails only what does not restart it, goes on being looked at.
            let excused = realm.dependencies.needs.excuses()
                || realm.may_blame(ctx.now)
                || realm.port_conflict.is_some()
                || realm.fault_is_ours(ctx.spec)
                || !realm.a_live_probe_fails(ctx.spec);
            if realm.restart_open() && !excused {
                let detail = "the restart could not be verified in time".to_string();
                stopping::restart(realm, ctx, RestartCause::StartTimedOut, detail);
            } else if realm.restart_open() {
                let limit = ctx.spec.start.timeout.unwrap_or(VERIFY_TIMEOUT).max(VERIFY_RECHECK);
                ctx.arm(TimerKind::VerifyTimeout, ctx.now + limit);
            }
        }
        _ => {}
    }
}

pub(crate) fn on_dependencies(realm: &mut Realm, ctx: &mut Ctx<'_>, was: DependencyView) {
    if realm.shutting_down() {
        return;
    }
    if realm.pause.is_some() {
        realm.need_restart_due |= realm.dependencies.restart_with_need;
        return;
    }
    if realm.dependencies.stop_with_need {
        stopping::with_need(realm, ctx);
        return;
    }
    if realm.dependencies.restart_with_need {
        realm.need_restart_due = true;
    }
    in_place_restart::on_dependencies(realm, ctx);
    if realm.dependencies.needs.excuses() {
        clear_cause(realm, ctx);
        return;
    }
    if realm.need_restart_due {
        realm.need_restart_due = false;
        stopping::again(realm, ctx, RestartCause::DependencyRestarted);
        return;
    }
    if was.needs.excuses() {
        realm.probe_afresh(ctx);
        verify(realm, ctx);
    } else if was.upstream_pass != realm.dependencies.upstream_pass {
        evaluate(realm, ctx);
    }
}

/// A pause is over: what the neighbours amount to now counts again.
pub(crate) fn on_resumed(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let was = realm.dependencies;
    on_dependencies(realm, ctx, was);
    if matches!(realm.state, State::Running(_)) {
        verify(realm, ctx);
    }
}

pub(crate) fn on_command(realm: &mut Realm, ctx: &mut Ctx<'_>, intent: StateRequest) {
    match intent {
        StateRequest::Run => {}
        StateRequest::Again(cause) => stopping::again(realm, ctx, cause),
        StateRequest::Rest => stopping::rest(realm, ctx),
        StateRequest::Kill => stopping::kill(realm, ctx),
    }
}
