//! Running: ready once in this generation. While a restart is open, also its verification.

use alloc::format;

use heartbeat_status::{Exit, Health, Hook, RealmKind, RestartCause, RestartStep, RunFact};

use super::serving::{self, Serving, VERIFY_RECHECK};
use super::{State, StateRequest, ending, in_place_restart, stopping};
use crate::ctx::{Ctx, DependencyView};
use crate::memory::Found;
use crate::realm::Realm;
use crate::timers::TimerKind;

pub(crate) fn enter(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    realm.set_state(ctx, State::Running(Serving::since(ctx.now)));
    realm.restart_step(ctx, RestartStep::Ready);
    if ctx.spec.kind == RealmKind::Oneshot {
        if let Some(limit) = ctx.spec.start.timeout {
            ctx.arm(TimerKind::StartTimeout, ctx.now + limit);
        }
    } else if realm.restart_open() {
        serving::begin_verification(realm, ctx);
    }
    note_need(realm);
    if realm.dependencies.stop_with_need && realm.wish.pause.is_none() {
        stopping::with_need(realm, ctx);
    } else {
        // With an explicit `grace`, failures may have counted during the start.
        realm.evaluate(ctx);
    }
}

/// heartbeatd is back: the realm continues to be measured, in its old slots.
pub(crate) fn resume(realm: &mut Realm, ctx: &mut Ctx<'_>, found: Found) {
    match found {
        Found::Alive { pid, .. } => {
            realm.generation.pid = Some(pid);
            realm.resume_probing(ctx);
            if ctx.spec.kind == RealmKind::Oneshot {
                if let Some(limit) = ctx.spec.start.timeout {
                    let until = realm.generation.started_at.unwrap_or(ctx.now) + limit;
                    ctx.arm(TimerKind::StartTimeout, until.max(ctx.now + VERIFY_RECHECK));
                }
            } else if realm.restart_open() {
                serving::resume_verification(realm, ctx);
            }
            resume_health(realm, ctx);
        }
        Found::Ended { exit, empty } => on_exit(realm, ctx, RunFact::Exited { exit, empty }),
        // heartbeatd did not see it end, but no process is left, so it has ended.
        Found::Nothing | Found::Unverifiable { .. } | Found::Forked { .. } => {
            on_exit(realm, ctx, RunFact::Exited { exit: Exit::unknown(), empty: true });
        }
    }
}

/// heartbeatd is back: continuous health goes on from where it began.
pub(crate) fn resume_health(realm: &Realm, ctx: &mut Ctx<'_>) {
    if let Some(since) = realm.generation.healthy_since {
        ctx.arm(TimerKind::Stable, (since + ctx.spec.restart.reset_after()).max(ctx.now));
    }
}

/// A need with `while_down = "restart"` may be broken.
fn note_need(realm: &mut Realm) {
    let broken = realm.dependencies.restart_with_need;
    if let State::Running(serving) = &mut realm.state {
        serving.restart_with_need |= broken;
    }
}

/// Keeps account of continuous health: it, not uptime, resets the restart budget.
pub(crate) fn note_health(realm: &mut Realm, ctx: &mut Ctx<'_>, health: Health) {
    let watched = matches!(realm.state, State::External(_)) && ctx.spec.restart_command;
    let healthy = health.is_pass() && (watched || matches!(realm.state, State::Running(_)));
    match (realm.generation.healthy_since, healthy) {
        (None, true) => {
            realm.generation.healthy_since = Some(ctx.now);
            ctx.arm(TimerKind::Stable, ctx.now + ctx.spec.restart.reset_after());
        }
        (Some(_), false) => {
            realm.generation.healthy_since = None;
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
            serving::on_result(realm, ctx);
        }
        RunFact::Emptied => ctx.ignore("the main process has not been reported to be gone"),
        RunFact::Started { .. } | RunFact::StartFailed { .. } => ctx.ignore("it is running already"),
        RunFact::HookDone { hook: Hook::Restart, failure } => in_place_restart::on_done(realm, ctx, failure),
        RunFact::HookDone { .. } => ctx.ignore("no such command is running"),
        common!() => {}
    }
}

/// `start.timeout` bounds the whole run of a oneshot.
pub(crate) fn run_too_long(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let limit = ctx.spec.start.timeout.unwrap_or_default();
    if realm.wish.pause.is_some() {
        ctx.arm(TimerKind::StartTimeout, ctx.now + limit.max(VERIFY_RECHECK));
    } else {
        stopping::restart(realm, ctx, RestartCause::StartTimedOut, format!("not done within {limit:?}"));
    }
}

pub(crate) fn on_dependencies(realm: &mut Realm, ctx: &mut Ctx<'_>, was: DependencyView) {
    if realm.shutting_down() {
        return;
    }
    if realm.wish.pause.is_some() {
        note_need(realm);
        return;
    }
    if realm.dependencies.stop_with_need {
        stopping::with_need(realm, ctx);
        return;
    }
    note_need(realm);
    in_place_restart::on_dependencies(realm, ctx);
    if realm.dependencies.needs.excuses() {
        realm.clear_cause(ctx);
        return;
    }
    if realm.serving().is_some_and(|serving| serving.restart_with_need) {
        stopping::again(realm, ctx, RestartCause::DependencyRestarted);
        return;
    }
    if was.needs.excuses() {
        realm.probe_afresh(ctx);
    } else if was.upstream_pass != realm.dependencies.upstream_pass {
        realm.evaluate(ctx);
    }
}

/// A pause is over: the state of the neighbours counts again.
pub(crate) fn on_resumed(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let was = realm.dependencies;
    on_dependencies(realm, ctx, was);
    if matches!(realm.state, State::Running(_)) {
        serving::verify(realm, ctx);
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
