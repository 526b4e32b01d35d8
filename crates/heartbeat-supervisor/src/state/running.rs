//! Running: ready once in this generation. While a restart is open, also its verification.

use alloc::format;
use alloc::string::ToString;
use core::time::Duration;

use heartbeat_status::{
    Exit, Health, Hook, Instant, RealmKind, RestartCause, RestartResult, RestartStep, RunFact,
};

use super::{Intent, State, ending, remedy, stopping};
use crate::cx::{Around, Cx};
use crate::judgement::{acquit, judge};
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

pub(crate) fn enter(realm: &mut Realm, cx: &mut Cx<'_>) {
    realm.set_state(cx, State::Running(Running { ready_at: cx.now }));
    cx.disarm(TimerKind::State);
    cx.disarm(TimerKind::Second);
    cx.disarm(TimerKind::Act);
    cx.disarm(TimerKind::Overdue);
    realm.restart_step(cx, RestartStep::Ready);
    if cx.spec.kind == RealmKind::Oneshot {
        if let Some(limit) = cx.spec.start.timeout {
            cx.arm(TimerKind::State, cx.now + limit);
        }
    } else if realm.restart_open() {
        begin_verification(realm, cx);
    }
    realm.restart_owed |= realm.around.restart_with_need;
    if realm.around.stop_with_need && realm.pause.is_none() {
        stopping::with_need(realm, cx);
    } else {
        // With an explicit `grace` failures may have been counted while it started.
        judge(realm, cx);
    }
}

/// heartbeatd is back: it goes on being measured, in the slots it had.
pub(crate) fn resume(realm: &mut Realm, cx: &mut Cx<'_>, found: Found) {
    match found {
        Found::Alive { pid, .. } => {
            realm.pid = Some(pid);
            realm.resume_probing(cx);
            if cx.spec.kind == RealmKind::Oneshot {
                if let Some(limit) = cx.spec.start.timeout {
                    let until = realm.started_at.unwrap_or(cx.now) + limit;
                    cx.arm(TimerKind::State, until.max(cx.now + VERIFY_RECHECK));
                }
            } else if realm.restart_open() {
                begin_verification(realm, cx);
            }
            if let Some(since) = realm.healthy_since {
                cx.arm(TimerKind::Stable, (since + cx.spec.restart.reset_after()).max(cx.now));
            }
        }
        Found::Ended { exit, empty } => on_exit(realm, cx, RunFact::Exited { exit, empty }),
        // Its end was not seen, and nothing of it is left: it has ended.
        Found::Nothing | Found::Unverifiable { .. } => {
            on_exit(realm, cx, RunFact::Exited { exit: Exit::unknown(), empty: true });
        }
    }
}

fn begin_verification(realm: &mut Realm, cx: &mut Cx<'_>) {
    let verify_for = cx.spec.restart.verify_for();
    cx.arm(TimerKind::Second, cx.now + verify_for);
    cx.arm(TimerKind::State, cx.now + verify_for + cx.spec.start.timeout.unwrap_or(VERIFY_TIMEOUT));
    verify(realm, cx);
}

/// heartbeatd was not running for a while: nothing was measured meanwhile, so the time to prove itself begins anew.
pub(crate) fn was_suspended(realm: &mut Realm, cx: &mut Cx<'_>) {
    let commanded = realm.remedy.is_some();
    let runs = matches!(realm.state, State::Running(_)) && cx.spec.kind != RealmKind::Oneshot;
    if runs && realm.restart_open() && !commanded {
        begin_verification(realm, cx);
    }
}

/// Its own restart command has done what it could: from now on it proves itself.
pub(crate) fn answer_anew(realm: &mut Realm, cx: &mut Cx<'_>) {
    if let State::Running(running) = &mut realm.state {
        running.ready_at = cx.now;
    }
    begin_verification(realm, cx);
}

/// Closes the open restart as verified once it has proved itself.
fn verify(realm: &mut Realm, cx: &mut Cx<'_>) {
    let State::Running(running) = &realm.state else { return };
    if !realm.restart_open() || cx.spec.kind == RealmKind::Oneshot || realm.remedy.is_some() {
        return;
    }
    let long_enough = cx.now.since(running.ready_at) >= cx.spec.restart.verify_for();
    let enough_passes = realm.live_probes_pass(cx.spec, u32::MAX).unwrap_or(true);
    if long_enough && enough_passes && realm.assess(cx.spec).is_pass() && !realm.around.needs.excuses() {
        cx.disarm(TimerKind::State);
        realm.restart_step(cx, RestartStep::Verified);
        realm.close_restart(cx, RestartResult::Verified);
    }
}

/// Keeps account of continuous health: it, not uptime, resets the restart budget.
pub(crate) fn note_health(realm: &mut Realm, cx: &mut Cx<'_>, health: Health) {
    let watched = matches!(realm.state, State::External) && cx.spec.restart_command;
    let healthy = health.is_pass() && (watched || matches!(realm.state, State::Running(_)));
    match (realm.healthy_since, healthy) {
        (None, true) => {
            realm.healthy_since = Some(cx.now);
            cx.arm(TimerKind::Stable, cx.now + cx.spec.restart.reset_after());
        }
        (Some(_), false) => {
            realm.healthy_since = None;
            cx.disarm(TimerKind::Stable);
        }
        (None, false) | (Some(_), true) => {}
    }
}

pub(crate) fn on_exit(realm: &mut Realm, cx: &mut Cx<'_>, fact: RunFact) {
    match fact {
        RunFact::Exited { exit, empty } => ending::main_exited(realm, cx, exit, empty),
        RunFact::StoppedBySignal { stopped } => {
            realm.on_stopped_by_signal(cx, stopped);
            on_result(realm, cx);
        }
        RunFact::Emptied => cx.ignore("the main process has not been reported to be gone"),
        RunFact::Started { .. } | RunFact::StartFailed { .. } => cx.ignore("it is running already"),
        RunFact::HookDone { hook: Hook::Restart, failure } => remedy::on_done(realm, cx, failure),
        RunFact::HookDone { .. } => cx.ignore("no such command is running"),
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

pub(crate) fn on_result(realm: &mut Realm, cx: &mut Cx<'_>) {
    remedy::on_result(realm, cx);
    verify(realm, cx);
    judge(realm, cx);
}

pub(crate) fn on_deadline(realm: &mut Realm, cx: &mut Cx<'_>, timer: TimerKind) {
    if remedy::on_deadline(realm, cx, timer) {
        return;
    }
    match timer {
        TimerKind::Second => verify(realm, cx),
        TimerKind::Act => judge(realm, cx),
        TimerKind::State if realm.pause.is_some() => {
            let limit = cx.spec.start.timeout.unwrap_or(VERIFY_TIMEOUT).max(VERIFY_RECHECK);
            cx.arm(TimerKind::State, cx.now + limit);
        }
        TimerKind::State if cx.spec.kind == RealmKind::Oneshot => {
            let limit = cx.spec.start.timeout.unwrap_or_default();
            stopping::restart(realm, cx, RestartCause::StartTimedOut, format!("not done within {limit:?}"));
        }
        TimerKind::State => {
            verify(realm, cx);
            // What passes again, or fails only what does not restart it, goes on being looked at.
            let excused = realm.around.needs.excuses()
                || realm.may_blame(cx.now)
                || realm.stranger.is_some()
                || realm.fault_is_ours(cx.spec)
                || !realm.a_live_probe_fails(cx.spec);
            if realm.restart_open() && !excused {
                let detail = "the restart could not be verified in time".to_string();
                stopping::restart(realm, cx, RestartCause::StartTimedOut, detail);
            } else if realm.restart_open() {
                let limit = cx.spec.start.timeout.unwrap_or(VERIFY_TIMEOUT).max(VERIFY_RECHECK);
                cx.arm(TimerKind::State, cx.now + limit);
            }
        }
        TimerKind::Stable
        | TimerKind::Pause
        | TimerKind::Overdue
        | TimerKind::Alone
        | TimerKind::Slot(_)
        | TimerKind::Lost(_)
        | TimerKind::Stale(_) => {}
    }
}

pub(crate) fn on_around(realm: &mut Realm, cx: &mut Cx<'_>, was: Around) {
    if realm.shutting_down() {
        return;
    }
    if realm.pause.is_some() {
        realm.restart_owed |= realm.around.restart_with_need;
        return;
    }
    if realm.around.stop_with_need {
        stopping::with_need(realm, cx);
        return;
    }
    if realm.around.restart_with_need {
        realm.restart_owed = true;
    }
    remedy::on_around(realm, cx);
    if realm.around.needs.excuses() {
        acquit(realm, cx);
        return;
    }
    if realm.restart_owed {
        realm.restart_owed = false;
        stopping::again(realm, cx, RestartCause::DependencyRestarted);
        return;
    }
    if was.needs.excuses() {
        realm.probe_afresh(cx);
        verify(realm, cx);
    } else if was.upstream_pass != realm.around.upstream_pass {
        judge(realm, cx);
    }
}

/// A pause is over: what the neighbours amount to now counts again.
pub(crate) fn on_resumed(realm: &mut Realm, cx: &mut Cx<'_>) {
    let was = realm.around;
    on_around(realm, cx, was);
    if matches!(realm.state, State::Running(_)) {
        verify(realm, cx);
    }
}

pub(crate) fn on_command(realm: &mut Realm, cx: &mut Cx<'_>, intent: Intent) {
    match intent {
        Intent::Run => {}
        Intent::Again(cause) => stopping::again(realm, cx, cause),
        Intent::Rest => stopping::rest(realm, cx),
        Intent::Kill => stopping::kill(realm, cx),
    }
}
