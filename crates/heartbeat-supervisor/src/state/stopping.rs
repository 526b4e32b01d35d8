//! Stopping: from the order to end until no process of the tree is left. What comes next depends on the desired state
//! at *that* moment: so a later stop wins over an earlier restart, and a later start over a stop.

use alloc::string::{String, ToString};
use core::time::Duration;

use heartbeat_status::{
    EventKind, Exit, Hook, Instant, LastExit, RestartCause, RestartResult, RestartStep, RunFact, Signal,
};

use super::starting::{HOOK_GRACE, Stage as StartStage};
use super::{State, StateRequest, ending, in_place_restart, starting, stopped, stuck, waiting};
use crate::ctx::{Ctx, Mode};
use crate::durable::StoredState;
use crate::memory::Found;
use crate::realm::Realm;
use crate::timers::TimerKind;
use crate::{Effect, SignalTo};

/// After KILL the tree has this long to be empty; then the realm is stuck.
const KILL_WAIT: Duration = Duration::from_secs(5);
/// The core sends the stop signal again this long before KILL if an earlier heartbeatd may have sent it.
const TOLD_AGAIN_BEFORE: Duration = Duration::from_secs(2);
/// The adapter answers a cancelled launch within this, or the realm is stuck.
const ABORT_WAIT: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Dependents are still being stopped.
    AwaitDependents,
    /// The launcher was ordered to give up.
    Abort,
    /// The `stop.command` runs.
    Command,
    /// `stop.signal` was sent.
    Term,
    /// An earlier heartbeatd sent `stop.signal`, or was about to: it is sent again shortly before KILL.
    Told,
    /// KILL was sent.
    Kill,
}

#[derive(Clone, Debug)]
pub(crate) struct Stopping {
    stage: Stage,
    /// Why the realm is to run again, if it is being stopped for a restart.
    cause: Option<RestartCause>,
    /// How the main process ended, once it has.
    exit: Option<Exit>,
    /// The launcher has not answered yet: there may be no process at all.
    launching: bool,
    /// When KILL follows the first `stop.signal`; the death of heartbeatd does not move it.
    kill_at: Option<Instant>,
}

impl Stopping {
    pub(crate) fn restored(
        cause: Option<RestartCause>,
        exit: Option<Exit>,
        (killing, launching, told): (bool, bool, bool),
        deadline: Instant,
    ) -> Self {
        let stage = match (launching, killing, told) {
            (true, ..) => Stage::Abort,
            (false, true, _) => Stage::Kill,
            (false, false, true) => Stage::Told,
            (false, false, false) => Stage::AwaitDependents,
        };
        Self { stage, cause, exit, launching, kill_at: told.then_some(deadline) }
    }

    /// The stored form; `deadline` is that of its stage.
    pub(crate) fn stored(&self, deadline: Option<Instant>) -> StoredState {
        let deadline = self.kill_at.or(deadline).unwrap_or(Instant::ZERO);
        StoredState::Stopping {
            cause: self.cause,
            exit: self.exit,
            killing: self.stage == Stage::Kill,
            launching: self.launching,
            told: matches!(self.stage, Stage::Term | Stage::Told),
            deadline_ns: deadline.as_nanos(),
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// When KILL follows the first `stop.signal`.
    pub(crate) fn kill_at(&self) -> Option<Instant> {
        self.kill_at.filter(|_| matches!(self.stage, Stage::Term | Stage::Told))
    }

    /// The launcher has not answered yet.
    pub(crate) fn launching(&self) -> bool {
        self.launching
    }
}

/// Ends the realm for a restart that was decided by evidence.
pub(crate) fn restart(realm: &mut Realm, ctx: &mut Ctx<'_>, cause: RestartCause, detail: String) {
    if realm.restart_open() && cause.is_debited() {
        // The attempt in progress has failed; what follows is the next one.
        realm.close_restart(ctx, RestartResult::Failed);
    }
    realm.history.failure = Some(detail.clone());
    if cause.is_debited() {
        let may_blame = realm.may_blame(ctx.now);
        realm.open_next(ctx, cause, detail, may_blame);
    } else {
        realm.open_restart(ctx, cause, detail);
    }
    enter(realm, ctx, Some(cause), None, false);
}

/// Ends it because an operator or a reload wants it to run anew.
pub(crate) fn again(realm: &mut Realm, ctx: &mut Ctx<'_>, cause: RestartCause) {
    let words = realm.words_for(cause);
    realm.open_restart(ctx, cause, words);
    enter(realm, ctx, Some(cause), None, true);
}

/// Ends it because it should rest.
pub(crate) fn rest(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    enter(realm, ctx, None, None, true);
}

/// Ends it at once.
pub(crate) fn kill(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    enter(realm, ctx, None, None, false);
    send_kill(realm, ctx);
}

/// Ends the realm because a need is down (`while_down = "stop"`); it starts again when the need is back.
pub(crate) fn with_need(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    realm.close_restart(ctx, RestartResult::Abandoned);
    enter(realm, ctx, None, None, true);
}

/// Ends the processes that the main process left behind.
pub(crate) fn end_leftovers(realm: &mut Realm, ctx: &mut Ctx<'_>, cause: RestartCause, exit: Exit) {
    enter(realm, ctx, Some(cause), Some(exit), false);
}

fn enter(
    realm: &mut Realm,
    ctx: &mut Ctx<'_>,
    cause: Option<RestartCause>,
    exit: Option<Exit>,
    ordered: bool,
) {
    let start_stage = match &realm.state {
        State::Starting(starting) => Some(starting.stage()),
        _ => None,
    };
    realm.stop_probing(ctx);
    starting::cancel_hooks(realm, ctx);
    in_place_restart::drop(realm, ctx);
    let launching = start_stage == Some(StartStage::Launching);
    // With a known exit, only leftovers are there; the adapter reports when they are gone.
    let process = launching || realm.generation.pid.is_some() || exit.is_some();
    let stage = Stage::AwaitDependents;
    realm.set_state(ctx, State::Stopping(Stopping { stage, cause, exit, launching, kill_at: None }));
    if !process {
        gone(realm, ctx);
    } else if !(ordered && realm.dependencies.dependents_stopping && realm.dependencies.mode != Mode::Killing)
    {
        begin(realm, ctx);
    }
}

/// heartbeatd is back: it continues to end the realm.
pub(crate) fn resume(realm: &mut Realm, ctx: &mut Ctx<'_>, found: Found) {
    let Some(now) = stopping(realm).cloned() else { return };
    match found {
        Found::Nothing | Found::Unverifiable { .. } | Found::Forked { .. } => {
            if now.exit.is_none() && !now.launching {
                note_exit(realm, ctx, Exit::unknown(), true);
            }
            gone(realm, ctx);
            return;
        }
        Found::Ended { empty: true, .. } if now.exit.is_some() || now.launching => {
            gone(realm, ctx);
            return;
        }
        Found::Ended { exit, empty } => {
            if now.exit.is_none() {
                note_exit(realm, ctx, exit, true);
            }
            if let State::Stopping(stopping) = &mut realm.state {
                (stopping.exit, stopping.launching) = (stopping.exit.or(Some(exit)), false);
                if stopping.stage == Stage::Abort {
                    stopping.stage = Stage::Kill;
                }
            }
            if empty {
                gone(realm, ctx);
                return;
            }
            if now.exit.is_none() && matches!(now.stage, Stage::Term | Stage::Told) {
                signal_leftovers(realm, ctx);
            }
        }
        Found::Alive { pid, launching } => {
            realm.generation.pid = Some(pid).filter(|_| !(launching && now.launching));
            if let State::Stopping(stopping) = &mut realm.state {
                stopping.launching &= launching;
                if now.stage == Stage::Abort && !launching {
                    // The program was exec'd after all.
                    stopping.stage = Stage::Kill;
                }
            }
        }
    }
    match stopping(realm).map(Stopping::stage) {
        Some(Stage::AwaitDependents) if !realm.dependencies.dependents_stopping => begin(realm, ctx),
        Some(Stage::Abort) => {
            ctx.signal(realm.generation.run, Signal::KILL);
            ctx.arm(TimerKind::LaunchLost, ctx.now + ABORT_WAIT);
        }
        Some(Stage::Kill) => {
            ctx.signal(realm.generation.run, Signal::KILL);
            ctx.arm(TimerKind::Stuck, ctx.now + KILL_WAIT);
        }
        // The realm may have the signal already, and a second one means something else to some programs: it first gets
        // the rest of its time.
        Some(Stage::Told | Stage::Term | Stage::Command) => {
            set_stage(realm, ctx, Stage::Told);
            let kill_at = now.kill_at.unwrap_or(ctx.now);
            ctx.arm(TimerKind::StopSignal, (kill_at - told_again_before(ctx)).max(ctx.now));
        }
        Some(Stage::AwaitDependents) | None => {}
    }
}

fn set_stage(realm: &mut Realm, ctx: &mut Ctx<'_>, stage: Stage) {
    ctx.leave_stage();
    if let State::Stopping(stopping) = &mut realm.state {
        stopping.stage = stage;
    }
}

/// Why the realm is to run again, if it is being stopped for a restart.
pub(crate) fn cause(realm: &Realm) -> Option<RestartCause> {
    stopping(realm)?.cause
}

fn stopping(realm: &Realm) -> Option<&Stopping> {
    match &realm.state {
        State::Stopping(stopping) => Some(stopping),
        _ => None,
    }
}

/// No dependent runs any more: ends the realm.
fn begin(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let Some((launching, exited)) = stopping(realm).map(|s| (s.launching, s.exit.is_some())) else { return };
    if launching {
        // The program has not been exec'd: there is nothing that could end gracefully.
        set_stage(realm, ctx, Stage::Abort);
        ctx.signal(realm.generation.run, Signal::KILL);
        ctx.arm(TimerKind::LaunchLost, ctx.now + ABORT_WAIT);
    } else if ctx.spec.stop.command && !exited {
        set_stage(realm, ctx, Stage::Command);
        let timeout = ctx.spec.stop.timeout;
        ctx.effect(Effect::Hook { realm: ctx.ix, run: realm.generation.run, hook: Hook::Stop, timeout });
        ctx.arm(TimerKind::HookLost, ctx.now + timeout + HOOK_GRACE);
    } else {
        send_term(realm, ctx);
    }
}

fn send_term(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let main_has_ended = stopping(realm).is_some_and(|stopping| stopping.exit.is_some());
    set_stage(realm, ctx, Stage::Term);
    let kill_at = match stopping(realm).and_then(|stopping| stopping.kill_at) {
        // The signal is sent again, but the first deadline stands.
        Some(first) => first.max(ctx.now + told_again_before(ctx)),
        None => ctx.now + ctx.spec.stop.timeout,
    };
    set_kill_at(realm, kill_at);
    let tree = main_has_ended || ctx.spec.stop.signal_to == SignalTo::Tree;
    ctx.stop_signal(realm.generation.run, tree, kill_at);
    ctx.arm(TimerKind::Kill, kill_at);
}

/// How long before KILL the core repeats a stop signal that an earlier heartbeatd may not have sent.
fn told_again_before(ctx: &Ctx<'_>) -> Duration {
    TOLD_AGAIN_BEFORE.min(ctx.spec.stop.timeout / 2)
}

fn set_kill_at(realm: &mut Realm, at: Instant) {
    if let State::Stopping(stopping) = &mut realm.state {
        stopping.kill_at = Some(at);
    }
}

/// The main process has ended after the stop signal: the rest of its tree gets the signal now. The time until KILL runs
/// on.
fn signal_leftovers(realm: &Realm, ctx: &mut Ctx<'_>) {
    if ctx.spec.stop.signal_to == SignalTo::Main {
        let kill_at = stopping(realm).and_then(|stopping| stopping.kill_at);
        ctx.stop_signal(realm.generation.run, true, kill_at.unwrap_or(ctx.now + ctx.spec.stop.timeout));
    }
}

fn send_kill(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let Some(stage) = stopping(realm).map(Stopping::stage) else { return };
    if stage == Stage::Kill {
        return;
    }
    if stage == Stage::Command {
        ctx.effect(Effect::CancelHook { realm: ctx.ix, run: realm.generation.run, hook: Hook::Stop });
    }
    set_stage(realm, ctx, Stage::Kill);
    ctx.signal(realm.generation.run, Signal::KILL);
    ctx.arm(TimerKind::Stuck, ctx.now + KILL_WAIT);
}

pub(crate) fn on_exit(realm: &mut Realm, ctx: &mut Ctx<'_>, fact: RunFact) {
    let Some(now) = stopping(realm).cloned() else { return };
    match fact {
        RunFact::Exited { exit, empty } if now.exit.is_none() => {
            // While it waits for its dependents, it has not been told to end.
            let by_itself = now.stage == Stage::AwaitDependents;
            note_exit(realm, ctx, exit, !by_itself);
            if by_itself {
                let message = ending::how_it_ended(realm, ctx, &exit);
                ending::note_crash(realm, ctx, &exit, message);
            }
            if let State::Stopping(stopping) = &mut realm.state {
                stopping.exit = Some(exit);
                stopping.launching = false;
            }
            if empty {
                gone(realm, ctx);
            } else {
                match now.stage {
                    // The realm ended by itself while it waited for its dependents: only leftovers have to end now.
                    Stage::AwaitDependents => begin(realm, ctx),
                    Stage::Term | Stage::Told => signal_leftovers(realm, ctx),
                    Stage::Abort | Stage::Command | Stage::Kill => {}
                }
            }
        }
        RunFact::Exited { .. } => ctx.ignore("its end has been reported already"),
        RunFact::Emptied if now.exit.is_some() => gone(realm, ctx),
        RunFact::Emptied => ctx.ignore("the main process has not been reported to be gone"),
        RunFact::StartFailed { error } if now.launching => {
            ctx.event(EventKind::StartFailed { run: realm.generation.run, error: error.message });
            gone(realm, ctx);
        }
        // The exec was faster than the order to give up.
        RunFact::Started { pid } if now.launching => {
            realm.generation.pid = Some(pid);
            realm.generation.started_at = Some(ctx.now);
            starting::keep_gap(realm, ctx);
            ctx.event(EventKind::RunStarted { run: realm.generation.run, pid });
            if let State::Stopping(stopping) = &mut realm.state {
                stopping.launching = false;
            }
            if matches!(now.stage, Stage::Abort | Stage::Kill) {
                set_stage(realm, ctx, Stage::Kill);
                ctx.signal(realm.generation.run, Signal::KILL);
                ctx.arm(TimerKind::Stuck, ctx.now + KILL_WAIT);
            }
        }
        RunFact::Started { .. } | RunFact::StartFailed { .. } => ctx.ignore("it is being stopped"),
        RunFact::HookDone { hook: Hook::Stop, failure } if now.stage == Stage::Command => {
            if let Some(failure) = failure {
                ctx.event(EventKind::HookFailed { hook: Hook::Stop.as_str(), failure });
            }
            send_term(realm, ctx);
        }
        RunFact::HookDone { .. } => ctx.ignore("no such command is running"),
        RunFact::StoppedBySignal { .. } | common!() => {}
    }
}

/// The realm has asked for more time to end. A KILL that was sent stands.
pub(crate) fn extend(realm: &mut Realm, ctx: &mut Ctx<'_>, until: Instant) {
    let waits = matches!(stopping(realm).map(Stopping::stage), Some(Stage::Term | Stage::Told));
    if waits && stopping(realm).and_then(|stopping| stopping.kill_at).is_some_and(|at| at < until) {
        set_kill_at(realm, until);
        if stopping(realm).map(Stopping::stage) == Some(Stage::Told) {
            ctx.arm(TimerKind::StopSignal, until - told_again_before(ctx));
        } else {
            ctx.arm(TimerKind::Kill, until);
        }
    }
}

/// Records how the main process ended.
pub(crate) fn note_exit(realm: &mut Realm, ctx: &mut Ctx<'_>, exit: Exit, expected: bool) {
    let ran_for = realm.generation.started_at.map(|started| ctx.now.since(started));
    realm.history.last_exit = Some(LastExit { exit, at: ctx.now, ran_for });
    realm.generation.pid = None;
    if expected {
        realm.process_stopped(ctx);
    } else {
        realm.process_ended(ctx, exit.to_string());
    }
    ctx.event(EventKind::RunExited { run: realm.generation.run, exit, expected });
}

/// No process is left: the desired state decides what comes next.
fn gone(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let Some(Stopping { cause, exit, stage, .. }) = stopping(realm).cloned() else { return };
    if stage == Stage::Command {
        ctx.effect(Effect::CancelHook { realm: ctx.ix, run: realm.generation.run, hook: Hook::Stop });
    }
    realm.generation.pid = None;
    realm.generation.started_at = None;
    realm.restart_step(ctx, RestartStep::Stopped);
    after_stop(realm, ctx, cause, exit);
}

/// From a stop (or from being stuck) to the desired state.
pub(crate) fn after_stop(
    realm: &mut Realm,
    ctx: &mut Ctx<'_>,
    cause: Option<RestartCause>,
    exit: Option<Exit>,
) {
    if !realm.wants_to_run() && !realm.held_by_pause() {
        realm.close_restart(ctx, RestartResult::Abandoned);
        stopped::enter(realm, ctx);
        return;
    }
    match cause {
        Some(cause) => ending::decide(realm, ctx, cause, exit),
        None => waiting::enter(realm, ctx),
    }
}

pub(crate) fn on_deadline(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    match stopping(realm).map(Stopping::stage) {
        Some(Stage::Command) => {
            ctx.effect(Effect::CancelHook { realm: ctx.ix, run: realm.generation.run, hook: Hook::Stop });
            let failure = "its end was never reported".to_string();
            ctx.event(EventKind::HookFailed { hook: Hook::Stop.as_str(), failure });
            send_term(realm, ctx);
        }
        Some(Stage::Told) => send_term(realm, ctx),
        Some(Stage::Term) => send_kill(realm, ctx),
        Some(Stage::Kill | Stage::Abort) => stuck::enter(realm, ctx),
        Some(Stage::AwaitDependents) | None => {}
    }
}

pub(crate) fn on_dependencies(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let waits = stopping(realm).map(Stopping::stage) == Some(Stage::AwaitDependents);
    if waits && (!realm.dependencies.dependents_stopping || realm.dependencies.mode == Mode::Killing) {
        begin(realm, ctx);
    }
}

pub(crate) fn on_command(realm: &mut Realm, ctx: &mut Ctx<'_>, intent: StateRequest) {
    match intent {
        StateRequest::Kill => {
            cancel_restart(realm);
            send_kill(realm, ctx);
        }
        StateRequest::Rest => {
            cancel_restart(realm);
            realm.close_restart(ctx, RestartResult::Abandoned);
        }
        StateRequest::Run => {}
        StateRequest::Again(wanted) => {
            let words = realm.words_for(wanted);
            realm.open_restart(ctx, wanted, words);
            if let State::Stopping(stopping) = &mut realm.state {
                // An operator's restart is no debit, even if it joins another one.
                stopping.cause = Some(wanted);
            }
        }
    }
}

fn cancel_restart(realm: &mut Realm) {
    if let State::Stopping(stopping) = &mut realm.state {
        stopping.cause = None;
    }
}
