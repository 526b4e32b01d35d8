//! What follows the end of a run: the one place where restarts are decided.

use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

use heartbeat_restart::{Decision, RestartWhen};
use heartbeat_status::{
    EventKind, Exit, RealmKind, RestartCause, RestartResult, RestartStep, StartError, StartFailure,
};

use super::{State, backoff, cooldown, done, failed, remedy, starting, stopped, stopping, unusable, waiting};
use crate::cx::Cx;
use crate::memory_limit::size;
use crate::realm::Realm;
use crate::suspicion;

/// A port that a stranger holds is looked at again after this.
const PORT_RECHECK: Duration = Duration::from_secs(1);

/// A program that makes a daemon of itself has ended within this.
const FORKS_WITHIN: Duration = Duration::from_secs(10);
const FORKED_AWAY: &str = "; it left processes behind, which heartbeatd ends: the program makes a daemon of itself. \
                           Start it with its foreground option, or name its pid file with `pidfile`";

const MEANT_TO_END: &str = "; if it is meant to end, set `oneshot = true`";

/// The main process ended by itself, while starting or running.
pub(crate) fn main_exited(realm: &mut Realm, cx: &mut Cx<'_>, exit: Exit, empty: bool) {
    starting::cancel_hooks(realm, cx);
    remedy::drop(realm, cx);
    stopping::note_exit(realm, cx, exit, false);
    let ran_for = realm.last_exit.and_then(|last| last.ran_for);
    if will_restart(cx, &exit) && !realm.around.needs.excuses() && realm.pause.is_none() {
        if realm.restart_open() {
            // The attempt that was under way has failed; what follows is the next one.
            realm.close_restart(cx, RestartResult::Failed);
        }
        let how = match cx.spec.memory_limit.filter(|_| exit.oom) {
            Some(limit) => format!("killed for want of memory (limit {})", size(limit)),
            None => exit.to_string(),
        };
        let mut detail = match ran_for {
            Some(ran_for) => format!("{how} after {}", span(ran_for)),
            None => how,
        };
        let never_ready = matches!(realm.state, State::Starting(_)) && cx.spec.kind == RealmKind::Service;
        if empty && exit.is_zero() && never_ready {
            detail.push_str(MEANT_TO_END);
        }
        if !empty && exit.is_zero() && ran_for.is_some_and(|ran_for| ran_for < FORKS_WITHIN) {
            detail.push_str(FORKED_AWAY);
        }
        realm.failure = Some(detail.clone());
        let cause = if exit.oom { RestartCause::OutOfMemory } else { RestartCause::Exited };
        if !exit.oom && realm.may_blame(cx.now) {
            realm.open_uncounted(cx, cause, detail);
        } else if realm.tracker.may_restart(&cx.spec.restart, cx.now) {
            realm.open_restart(cx, cause, detail);
        }
        // Without budget no attempt follows, so none is opened.
    }
    if empty {
        realm.stop_probing(cx);
        realm.started_at = None;
        realm.restart_step(cx, RestartStep::Stopped);
        decide(realm, cx, RestartCause::Exited, Some(exit));
    } else {
        stopping::sweep(realm, cx, RestartCause::Exited, exit);
    }
}

/// A length of time for a person: `0.2 s`, `95 s`, `12 min`, `3 h`.
pub(crate) fn span(time: Duration) -> String {
    const MINUTES_FROM: Duration = Duration::from_secs(120);
    const HOURS_FROM: Duration = Duration::from_secs(7_200);
    if time < Duration::from_secs(10) {
        format!("{}.{} s", time.as_secs(), time.subsec_millis() / 100)
    } else if time < MINUTES_FROM {
        format!("{} s", time.as_secs())
    } else if time < HOURS_FROM {
        format!("{} min", time.as_secs() / 60)
    } else {
        format!("{} h", time.as_secs() / 3_600)
    }
}

fn will_restart(cx: &Cx<'_>, exit: &Exit) -> bool {
    match cx.spec.restart.when() {
        RestartWhen::Always => true,
        RestartWhen::OnFailure => !cx.spec.restart.is_success(exit),
        RestartWhen::Never => false,
    }
}

/// A stranger holds its port, so it was not even tried: no debit, no new generation, and again in a second.
fn port_taken(realm: &mut Realm, cx: &mut Cx<'_>, error: &StartError) {
    if realm.stranger.as_ref() != Some(&error.message) {
        cx.event(EventKind::StartFailed { run: realm.run, error: error.message.clone() });
    }
    realm.stop_probing(cx);
    realm.ordered_in_pause = false;
    realm.stranger = Some(error.message.clone());
    realm.keep_run = true;
    realm.open_uncounted(cx, RestartCause::Exited, error.message.clone());
    if realm.wants_to_run() {
        realm.not_before = cx.now + PORT_RECHECK;
        let until = realm.not_before;
        backoff::enter(realm, cx, until);
    } else {
        decide(realm, cx, RestartCause::Requested, None);
    }
}

/// Its launcher ended with the heartbeatd that had made it: no fault of anybody, no debit, the same generation.
fn never_tried(realm: &mut Realm, cx: &mut Cx<'_>) {
    realm.stop_probing(cx);
    realm.keep_run = true;
    if realm.wants_to_run() {
        waiting::enter(realm, cx);
    } else {
        decide(realm, cx, RestartCause::Requested, None);
    }
}

/// The program could not be exec'd.
pub(crate) fn start_failed(realm: &mut Realm, cx: &mut Cx<'_>, error: &StartError) {
    match error.failure {
        StartFailure::PortTaken => return port_taken(realm, cx, error),
        StartFailure::NeverTried => return never_tried(realm, cx),
        StartFailure::ProgramUnusable | StartFailure::HostExhausted | StartFailure::Other => {}
    }
    realm.ordered_in_pause = false;
    realm.note_failed_start(cx.now, error);
    realm.failure = Some(error.message.clone());
    cx.event(EventKind::StartFailed { run: realm.run, error: error.message.clone() });
    realm.stop_probing(cx);
    if realm.held_by_pause() && error.failure != StartFailure::ProgramUnusable {
        // Nothing is held against a paused realm: it starts when it is resumed.
        realm.close_restart(cx, RestartResult::Abandoned);
        realm.start_owed = true;
        stopped::enter(realm, cx);
        return;
    }
    let dice = cx.dice();
    let decision = match error.failure {
        StartFailure::ProgramUnusable => return unusable::enter(realm, cx),
        StartFailure::HostExhausted => realm.tracker.decide_free(&cx.spec.restart, cx.now, dice),
        _ => {
            if realm.restart_open() {
                realm.close_restart(cx, RestartResult::Failed);
            }
            let decision = realm.tracker.decide(&cx.spec.restart, cx.now, RestartCause::Exited, None, dice);
            // A start that failed is no restart; the attempt that follows is one.
            if let Decision::StartAt { attempt, .. } = decision {
                realm.open_attempt(cx, RestartCause::Exited, error.message.clone(), attempt);
            }
            decision
        }
    };
    apply(realm, cx, decision, failed::Why::StartFailed(error.message.clone()));
}

/// The tree is empty: what now?
pub(crate) fn decide(realm: &mut Realm, cx: &mut Cx<'_>, cause: RestartCause, exit: Option<Exit>) {
    let paused = realm.held_by_pause();
    if !realm.wants_to_run() && !paused {
        realm.close_restart(cx, RestartResult::Abandoned);
        stopped::enter(realm, cx);
        return;
    }
    if cx.spec.kind == RealmKind::Oneshot
        && cause == RestartCause::Exited
        && exit.is_some_and(|exit| cx.spec.restart.is_success(&exit))
    {
        realm.restart_step(cx, RestartStep::Verified);
        realm.close_restart(cx, RestartResult::Verified);
        done::enter(realm, cx);
        return;
    }
    if paused {
        // Nothing acts on a paused realm, and nothing is held against it: it starts when it is resumed.
        realm.close_restart(cx, RestartResult::Abandoned);
        realm.start_owed = true;
        stopped::enter(realm, cx);
        return;
    }
    if cause.is_debited() && realm.around.needs.excuses() {
        // Another realm's fault: no debit; it starts when the need is back, and later each time this happens again.
        realm.faulted = true;
        realm.close_restart(cx, RestartResult::Abandoned);
        let dice = cx.dice();
        if let Decision::StartAt { at, .. } = realm.tracker.decide_uncounted(&cx.spec.restart, cx.now, dice) {
            realm.not_before = realm.not_before.max(at);
        }
        waiting::enter_until_mended(realm, cx);
        return;
    }
    let own = exit.is_some_and(|exit| exit.oom) || exit.is_some_and(|exit| !will_restart(cx, &exit));
    if cause.is_debited() && !own && realm.may_blame(cx.now) {
        suspicion::begin(realm, cx);
        if let Some(record) = realm.restart.as_mut().filter(|record| record.result.is_none()) {
            record.attempt = cx.spec.restart.burst().saturating_add(1);
        }
        // What was ended to be tried once more starts at once.
        if cause == RestartCause::Exited || cause == RestartCause::OutOfMemory {
            realm.not_before = realm.not_before.max(suspicion::next_start(realm, cx));
        }
        waiting::enter(realm, cx);
        return;
    }
    let dice = cx.dice();
    let exit_for_policy = exit.filter(|_| cause == RestartCause::Exited);
    let decision = realm.tracker.decide(&cx.spec.restart, cx.now, cause, exit_for_policy.as_ref(), dice);
    let why = match (cause, exit) {
        (RestartCause::Exited, Some(exit)) => failed::Why::Exited(exit),
        (_, _) => failed::Why::Gone(cause),
    };
    apply(realm, cx, decision, why);
}

fn apply(realm: &mut Realm, cx: &mut Cx<'_>, decision: Decision, why: failed::Why) {
    match decision {
        Decision::StartAt { at, attempt } => {
            if let Some(record) = realm.restart.as_mut().filter(|record| record.result.is_none()) {
                record.attempt = attempt.max(1);
            }
            realm.not_before = realm.not_before.max(at);
            if realm.not_before > cx.now {
                let until = realm.not_before;
                backoff::enter(realm, cx, until);
            } else {
                waiting::enter(realm, cx);
            }
        }
        Decision::LeaveStopped { success: true } => {
            realm.close_restart(cx, RestartResult::Abandoned);
            stopped::enter(realm, cx);
        }
        Decision::LeaveStopped { success: false } => {
            realm.close_restart(cx, RestartResult::Abandoned);
            failed::enter(realm, cx, why);
        }
        Decision::Cooldown { until, .. } => {
            never_attempted(realm, cx);
            realm.close_restart(cx, RestartResult::Failed);
            realm.tell_given_up(cx, Some(until));
            cooldown::enter(realm, cx, until, why);
        }
        Decision::GiveUp => {
            never_attempted(realm, cx);
            realm.close_restart(cx, RestartResult::Failed);
            realm.tell_given_up(cx, None);
            let start_failed = matches!(why, failed::Why::StartFailed(_));
            failed::enter(realm, cx, if start_failed { why } else { failed::Why::BudgetSpent });
        }
    }
}

/// The budget refused the restart that was just opened: it counts as the last attempt that was made, not as one more.
fn never_attempted(realm: &mut Realm, cx: &Cx<'_>) {
    if let Some(record) = realm.restart.as_mut().filter(|record| record.result.is_none()) {
        record.attempt = record.attempt.min(cx.spec.restart.burst());
    }
}
