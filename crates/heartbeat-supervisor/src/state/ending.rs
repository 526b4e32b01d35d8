//! The end of a run: the one place that decides about restarts.

use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

use heartbeat_restart::{Decision, RestartWhen};
use heartbeat_status::{
    Desired, EventKind, Exit, RealmKind, Reason, RestartCause, RestartResult, RestartStep, StartError,
    StartFailure, size_words, span_words,
};

use super::{
    State, backoff, cooldown, done, failed, in_place_restart, starting, stopped, stopping, unusable, waiting,
};
use crate::ctx::Ctx;
use crate::realm::Realm;
use crate::shown::Crash;

/// The core looks again after this at a port that a stranger holds.
const PORT_RECHECK: Duration = Duration::from_secs(1);

/// A program that forks a daemon has exited within this.
const FORKS_WITHIN: Duration = Duration::from_secs(10);
const FORKED_AWAY: &str = "; it left processes behind, which heartbeatd ends: the program makes a daemon of itself. \
                           Start it with its foreground option, or name its pid file with `pidfile`";

const MEANT_TO_END: &str = "; if it is meant to end, set `oneshot = true`";

/// The main process ended by itself, while starting or running.
pub(crate) fn main_exited(realm: &mut Realm, ctx: &mut Ctx<'_>, exit: Exit, empty: bool) {
    starting::cancel_hooks(realm, ctx);
    in_place_restart::drop(realm, ctx);
    stopping::note_exit(realm, ctx, exit, false);
    let ran_for = realm.history.last_exit.and_then(|last| last.ran_for);
    let mut detail = how_it_ended(realm, ctx, &exit);
    if will_restart(ctx, &exit) && !realm.dependencies.needs.excuses() && realm.wish.pause.is_none() {
        if realm.restart_open() {
            // The attempt in progress has failed; what follows is the next one.
            realm.close_restart(ctx, RestartResult::Failed);
        }
        let never_ready = matches!(realm.state, State::Starting(_)) && ctx.spec.kind == RealmKind::Service;
        if empty && exit.is_zero() && never_ready {
            detail.push_str(MEANT_TO_END);
        }
        if !empty && exit.is_zero() && ran_for.is_some_and(|ran_for| ran_for < FORKS_WITHIN) {
            detail.push_str(FORKED_AWAY);
        }
        realm.history.failure = Some(detail.clone());
        let cause = if exit.oom { RestartCause::OutOfMemory } else { RestartCause::Exited };
        let may_blame = !exit.oom && realm.may_blame(ctx.now);
        realm.open_next(ctx, cause, detail.clone(), may_blame);
    }
    note_crash(realm, ctx, &exit, detail);
    if empty {
        realm.stop_probing(ctx);
        realm.generation.started_at = None;
        realm.restart_step(ctx, RestartStep::Stopped);
        decide(realm, ctx, RestartCause::Exited, Some(exit));
    } else {
        stopping::end_leftovers(realm, ctx, RestartCause::Exited, exit);
    }
}

/// `exit code 1 after 12 min`.
pub(crate) fn how_it_ended(realm: &Realm, ctx: &Ctx<'_>, exit: &Exit) -> String {
    let how = match ctx.spec.memory_limit.filter(|_| exit.oom) {
        Some(limit) => format!("killed for want of memory (limit {})", size_words(limit)),
        None => exit.to_string(),
    };
    match realm.history.last_exit.and_then(|last| last.ran_for) {
        Some(ran_for) => format!("{how} after {}", span_words(ran_for)),
        None => how,
    }
}

/// The realm has ended by itself: an incident has to name it, whatever becomes of the restart that follows.
pub(crate) fn note_crash(realm: &mut Realm, ctx: &Ctx<'_>, exit: &Exit, message: String) {
    let succeeded = ctx.spec.kind == RealmKind::Oneshot && ctx.spec.restart.is_success(exit);
    let failed = will_restart(ctx, exit) || !ctx.spec.restart.is_success(exit);
    if failed && !succeeded && realm.wish.desired == Desired::Up && realm.wish.pause.is_none() {
        let reason = if exit.oom { Reason::OutOfMemory } else { Reason::Exited };
        realm.shown.crash = Some(Crash { reason, message, at: ctx.now });
    }
}

fn will_restart(ctx: &Ctx<'_>, exit: &Exit) -> bool {
    match ctx.spec.restart.when() {
        RestartWhen::Always => true,
        RestartWhen::OnFailure => !ctx.spec.restart.is_success(exit),
        RestartWhen::Never => false,
    }
}

/// A stranger holds the port, so the start was not even tried: no debit, no new generation, and another try in a
/// second.
fn port_taken(realm: &mut Realm, ctx: &mut Ctx<'_>, error: &StartError) {
    if realm.generation.port_conflict.as_ref() != Some(&error.message) {
        ctx.event(EventKind::StartFailed { run: realm.generation.run, error: error.message.clone() });
    }
    realm.stop_probing(ctx);
    realm.wish.ordered_in_pause = false;
    realm.generation.port_conflict = Some(error.message.clone());
    realm.generation.untried = true;
    realm.open_uncounted(ctx, RestartCause::Exited, error.message.clone());
    realm.history.outlive();
    if realm.wants_to_run() {
        realm.history.not_before = ctx.now + PORT_RECHECK;
        let until = realm.history.not_before;
        backoff::enter(realm, ctx, until);
    } else {
        decide(realm, ctx, RestartCause::Requested, None);
    }
}

/// The launcher died with the heartbeatd that had forked it: no fault of the realm, no debit, the same generation.
fn never_tried(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    realm.stop_probing(ctx);
    realm.generation.untried = true;
    if realm.wants_to_run() {
        waiting::enter(realm, ctx);
    } else {
        decide(realm, ctx, RestartCause::Requested, None);
    }
}

/// The program could not be exec'd.
pub(crate) fn start_failed(realm: &mut Realm, ctx: &mut Ctx<'_>, error: &StartError) {
    match error.failure {
        StartFailure::PortTaken => return port_taken(realm, ctx, error),
        StartFailure::NeverTried => return never_tried(realm, ctx),
        StartFailure::ProgramUnusable | StartFailure::HostExhausted | StartFailure::Other => {}
    }
    realm.wish.ordered_in_pause = false;
    realm.history.note_failed_start(ctx.now, error);
    realm.history.failure = Some(error.message.clone());
    ctx.event(EventKind::StartFailed { run: realm.generation.run, error: error.message.clone() });
    realm.stop_probing(ctx);
    if realm.held_by_pause() && error.failure != StartFailure::ProgramUnusable {
        stopped::enter_until_resumed(realm, ctx);
        return;
    }
    let dice = ctx.dice();
    let decision = match error.failure {
        StartFailure::ProgramUnusable => return unusable::enter(realm, ctx),
        StartFailure::HostExhausted => realm.history.tracker.decide_free(&ctx.spec.restart, ctx.now, dice),
        _ => {
            if realm.restart_open() {
                realm.close_restart(ctx, RestartResult::Failed);
            }
            let decision =
                realm.history.tracker.decide(&ctx.spec.restart, ctx.now, RestartCause::Exited, None, dice);
            // A failed start is no restart; the attempt that follows is one.
            if let Decision::StartAt { attempt, .. } = decision {
                realm.open_attempt(ctx, RestartCause::Exited, error.message.clone(), Some(attempt));
            }
            decision
        }
    };
    apply(realm, ctx, decision, failed::Why::StartFailed(error.message.clone()));
}

/// The tree is empty: decides what comes next.
pub(crate) fn decide(realm: &mut Realm, ctx: &mut Ctx<'_>, cause: RestartCause, exit: Option<Exit>) {
    let paused = realm.held_by_pause();
    if !realm.wants_to_run() && !paused {
        realm.close_restart(ctx, RestartResult::Abandoned);
        stopped::enter(realm, ctx);
        return;
    }
    if ctx.spec.kind == RealmKind::Oneshot
        && cause == RestartCause::Exited
        && exit.is_some_and(|exit| ctx.spec.restart.is_success(&exit))
    {
        realm.restart_step(ctx, RestartStep::Verified);
        realm.close_restart(ctx, RestartResult::Verified);
        done::enter(realm, ctx);
        return;
    }
    if paused {
        stopped::enter_until_resumed(realm, ctx);
        return;
    }
    if cause.is_debited() && realm.dependencies.needs.excuses() {
        // Another realm is at fault: no debit. The realm starts when the need is back, each time a little later.
        realm.history.faulted = true;
        realm.close_restart(ctx, RestartResult::Abandoned);
        let dice = ctx.dice();
        if let Decision::StartAt { at, .. } =
            realm.history.tracker.decide_uncounted(&ctx.spec.restart, ctx.now, dice)
        {
            realm.history.not_before = realm.history.not_before.max(at);
        }
        waiting::enter_until_mended(realm, ctx);
        return;
    }
    let own = exit.is_some_and(|exit| exit.oom) || exit.is_some_and(|exit| !will_restart(ctx, &exit));
    if cause.is_debited() && !own && realm.may_blame(ctx.now) {
        realm.begin_suspicion(ctx);
        if let Some(record) = realm.history.open_mut() {
            record.attempt = None;
        }
        // A realm that was ended for another try starts at once.
        if cause == RestartCause::Exited || cause == RestartCause::OutOfMemory {
            realm.history.not_before = realm.history.not_before.max(realm.next_start(ctx));
        }
        waiting::enter(realm, ctx);
        return;
    }
    let dice = ctx.dice();
    let exit_for_policy = exit.filter(|_| cause == RestartCause::Exited);
    let decision =
        realm.history.tracker.decide(&ctx.spec.restart, ctx.now, cause, exit_for_policy.as_ref(), dice);
    let why = match (cause, exit) {
        (RestartCause::Exited, Some(exit)) => failed::Why::Exited(exit),
        (_, _) => failed::Why::Gone(cause),
    };
    apply(realm, ctx, decision, why);
}

fn apply(realm: &mut Realm, ctx: &mut Ctx<'_>, decision: Decision, why: failed::Why) {
    match decision {
        Decision::StartAt { at, attempt } => {
            if let Some(record) = realm.history.open_mut() {
                record.attempt = Some(attempt.max(1));
            }
            realm.history.not_before = realm.history.not_before.max(at);
            if realm.history.not_before > ctx.now {
                let until = realm.history.not_before;
                backoff::enter(realm, ctx, until);
            } else {
                waiting::enter(realm, ctx);
            }
        }
        Decision::LeaveStopped { success: true } => {
            realm.close_restart(ctx, RestartResult::Abandoned);
            stopped::enter(realm, ctx);
        }
        Decision::LeaveStopped { success: false } => {
            realm.close_restart(ctx, RestartResult::Abandoned);
            failed::enter(realm, ctx, why);
        }
        Decision::Cooldown { until, .. } => {
            never_attempted(realm, ctx);
            realm.close_restart(ctx, RestartResult::Failed);
            realm.tell_given_up(ctx, Some(until));
            cooldown::enter(realm, ctx, until, why);
        }
        Decision::Fail => {
            never_attempted(realm, ctx);
            realm.close_restart(ctx, RestartResult::Failed);
            realm.tell_given_up(ctx, None);
            let start_failed = matches!(why, failed::Why::StartFailed(_));
            failed::enter(realm, ctx, if start_failed { why } else { failed::Why::BudgetSpent });
        }
    }
}

/// The budget refused the restart that was just opened: its number is that of the last attempt made, not one more.
fn never_attempted(realm: &mut Realm, ctx: &Ctx<'_>) {
    if let Some(record) = realm.history.open_mut() {
        record.attempt = record.attempt.map(|attempt| attempt.min(ctx.spec.restart.burst()));
    }
}
