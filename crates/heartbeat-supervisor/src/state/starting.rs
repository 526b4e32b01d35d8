//! Starting: from the decision to start until the live probes pass (or, without any, `start.settle` has gone by).

use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

use heartbeat_status::{
    EventKind, Hook, Instant, RealmKind, RestartCause, RestartResult, RestartStep, RunFact,
};

use super::{State, StateRequest, ending, running, stopped, stopping, unusable, waiting};
use crate::Effect;
use crate::ctx::{Ctx, DependencyView};
use crate::durable::StoredState;
use crate::memory::Found;
use crate::realm::Realm;
use crate::timers::TimerKind;
use crate::words;

/// How long a `start.before` command may take in a realm without `start.timeout`.
const HOOK_TIMEOUT: Duration = Duration::from_secs(60);
/// How much later than its timeout the end of a hook may be reported before the core stops waiting.
pub(crate) const HOOK_GRACE: Duration = Duration::from_secs(5);
/// The core looks again after this, or after `start.settle`, at a process that a signal has stopped when it should have
/// settled.
const STOPPED_RECHECK: Duration = Duration::from_millis(250);
/// If nothing could be measured by the end of `start.timeout`, the core extends it by the same time, or at least by
/// this.
const OURS_RECHECK: Duration = Duration::from_secs(1);
/// The adapter answers a launch within this, or the core cancels it.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The `start.before` command runs.
    Before,
    /// Waits for a launch slot.
    Queued,
    /// The launcher is at work.
    Launching,
    /// The program cannot be used: the next start waits until it can.
    Unusable,
    /// Exec succeeded; not ready yet.
    Execed,
    /// Ready; `start.after` runs.
    After,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Starting {
    stage: Stage,
    /// The rest of `start.timeout`; it stands still while a need is broken.
    left: Option<Duration>,
    /// Since when the timeout runs; `None` while it stands still.
    ticking_since: Option<Instant>,
    /// The realm has had `start.timeout_max`, and keeps reporting that it is starting up.
    overdue: bool,
}

impl Starting {
    /// The record of a realm before its exec.
    pub(crate) fn preparing(launching: bool, before: bool) -> Self {
        let stage = match (launching, before) {
            (true, _) => Stage::Launching,
            (false, true) => Stage::Before,
            (false, false) => Stage::Queued,
        };
        Self { stage, left: None, ticking_since: None, overdue: false }
    }

    /// The record of a realm after its exec.
    pub(crate) fn started() -> Self {
        Self { stage: Stage::Execed, left: None, ticking_since: None, overdue: false }
    }

    /// The stored form; it has no elapsed times.
    pub(crate) fn stored(&self) -> StoredState {
        match self.stage {
            Stage::Before => StoredState::Preparing { launching: false, before: true },
            Stage::Queued | Stage::Unusable => StoredState::Preparing { launching: false, before: false },
            Stage::Launching => StoredState::Preparing { launching: true, before: false },
            Stage::Execed | Stage::After => StoredState::Started,
        }
    }

    pub(crate) fn execed(&self) -> bool {
        matches!(self.stage, Stage::Execed | Stage::After)
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    pub(crate) fn is_overdue(&self) -> bool {
        self.overdue
    }
}

fn stage(realm: &Realm) -> Stage {
    match &realm.state {
        State::Starting(starting) => starting.stage,
        _ => Stage::Queued,
    }
}

fn set_stage(realm: &mut Realm, ctx: &mut Ctx<'_>, stage: Stage) {
    ctx.leave_stage();
    if let State::Starting(starting) = &mut realm.state {
        starting.stage = stage;
    }
}

pub(crate) fn hook_timeout(limit: Option<Duration>) -> Duration {
    limit.unwrap_or(HOOK_TIMEOUT)
}

pub(crate) fn enter(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let again = realm.generation.untried;
    realm.new_generation(ctx);
    // A generation that could not even be tried has run its preparations already.
    let stage = if ctx.spec.start.before && !again { Stage::Before } else { Stage::Queued };
    realm.set_state(
        ctx,
        State::Starting(Starting {
            stage,
            left: ctx.spec.start.timeout,
            ticking_since: None,
            overdue: false,
        }),
    );
    if stage == Stage::Before {
        let timeout = hook_timeout(ctx.spec.start.timeout);
        ctx.effect(Effect::Hook { realm: ctx.ix, run: realm.generation.run, hook: Hook::Before, timeout });
        ctx.arm(TimerKind::HookLost, ctx.now + timeout + HOOK_GRACE);
    } else {
        ctx.request_launch();
    }
}

/// A launch slot is free. False when the realm no longer needs it.
pub(crate) fn launch(realm: &mut Realm, ctx: &mut Ctx<'_>) -> bool {
    if !matches!(realm.state, State::Starting(_)) || stage(realm) != Stage::Queued {
        return false;
    }
    set_stage(realm, ctx, Stage::Launching);
    realm.history.tracker.on_start();
    realm.generation.port = ctx.spec.port;
    keep_gap(realm, ctx);
    ctx.effect(Effect::Start { realm: ctx.ix, run: realm.generation.run });
    ctx.arm(TimerKind::LaunchLost, ctx.now + LAUNCH_TIMEOUT);
    true
}

/// Keeps the next start `min_gap` away from this moment: from the order to start, and then from the exec.
pub(crate) fn keep_gap(realm: &mut Realm, ctx: &Ctx<'_>) {
    realm.history.gap_until = ctx.now + ctx.spec.restart.min_gap();
    realm.history.not_before = realm.history.gap_until;
}

/// The program cannot be used; it may be missing until `until`.
pub(crate) fn await_program(realm: &mut Realm, ctx: &mut Ctx<'_>, until: Instant) {
    set_stage(realm, ctx, Stage::Unusable);
    ctx.arm(TimerKind::StartTimeout, until);
}

/// Whether the launcher is at work: that counts against `start_parallel`.
pub(crate) fn holds_launch_slot(realm: &Realm) -> bool {
    match &realm.state {
        State::Starting(starting) => starting.stage == Stage::Launching,
        // Cancelled, but not answered yet.
        State::Stopping(stopping) => stopping.launching(),
        _ => false,
    }
}

/// Kills the realm's own command of this stage, if one runs.
pub(crate) fn cancel_hooks(realm: &Realm, ctx: &mut Ctx<'_>) {
    let State::Starting(starting) = &realm.state else { return };
    let hook = match starting.stage {
        Stage::Before => Hook::Before,
        Stage::After => Hook::After,
        Stage::Queued | Stage::Launching | Stage::Unusable | Stage::Execed => return,
    };
    ctx.effect(Effect::CancelHook { realm: ctx.ix, run: realm.generation.run, hook });
}

/// heartbeatd is back. A start in preparation begins anew, in the same generation if nothing of it was tried. A running
/// process continues, with all of `start.timeout`, since no record says how much of it has passed.
pub(crate) fn resume(realm: &mut Realm, ctx: &mut Ctx<'_>, found: Found) {
    let launching = stage(realm) == Stage::Launching;
    match found {
        Found::Alive { launching: true, .. } if launching => {
            realm.generation.pid = None;
            ctx.arm(TimerKind::LaunchLost, ctx.now + LAUNCH_TIMEOUT);
        }
        Found::Alive { pid, .. } => adopt(realm, ctx, pid),
        Found::Ended { exit, empty: false } => {
            set_stage(realm, ctx, Stage::Execed);
            on_exit(realm, ctx, RunFact::Exited { exit, empty: false });
        }
        Found::Ended { exit, empty: true } if !launching => {
            on_exit(realm, ctx, RunFact::Exited { exit, empty: true })
        }
        // Nothing proves that the program was exec'd: no debit.
        Found::Ended { .. } | Found::Nothing | Found::Unverifiable { .. } | Found::Forked { .. } => {
            realm.generation.untried = stage(realm) != Stage::Before;
            (realm.generation.pid, realm.generation.started_at) = (None, None);
            waiting::enter(realm, ctx);
        }
    }
}

/// The living process is the realm's, whatever the record says: it is measured from now on.
pub(crate) fn adopt(realm: &mut Realm, ctx: &mut Ctx<'_>, pid: u32) {
    let known = realm.generation.started_at.filter(|_| realm.generation.pid == Some(pid));
    let granted = realm.generation.spoken.extended.map(|until| until.since(ctx.now)).unwrap_or_default();
    let left = ctx.spec.start.timeout.map(|left| left.max(granted));
    realm.set_state(
        ctx,
        State::Starting(Starting { stage: Stage::Launching, left, ticking_since: None, overdue: false }),
    );
    started(realm, ctx, pid);
    realm.generation.started_at = known.or(realm.generation.started_at);
    if let (Some(known), Some(longest)) = (known, ctx.spec.start.overdue_after())
        && matches!(realm.state, State::Starting(_))
    {
        ctx.arm(TimerKind::StartOverdue, (known + longest).max(ctx.now));
    }
}

pub(crate) fn on_exit(realm: &mut Realm, ctx: &mut Ctx<'_>, fact: RunFact) {
    match (fact, stage(realm)) {
        (RunFact::Started { pid }, Stage::Launching) => started(realm, ctx, pid),
        (RunFact::StartFailed { error }, Stage::Launching | Stage::Before) => {
            ending::start_failed(realm, ctx, &error)
        }
        (RunFact::Exited { exit, empty }, Stage::Launching | Stage::Execed | Stage::After) => {
            // The start that an operator asked for was made, though its exec may be on no record.
            realm.wish.ordered_in_pause = false;
            ending::main_exited(realm, ctx, exit, empty);
        }
        (RunFact::StoppedBySignal { stopped }, Stage::Execed | Stage::After) => {
            realm.on_stopped_by_signal(ctx, stopped)
        }
        (RunFact::HookDone { hook: Hook::Before, failure }, Stage::Before) => match failure {
            // A need has gone down meanwhile.
            None if !realm.dependencies.needs_hold => waiting::enter(realm, ctx),
            None => {
                set_stage(realm, ctx, Stage::Queued);
                ctx.request_launch();
            }
            Some(failure) => hook_failed(realm, ctx, Hook::Before, &failure),
        },
        (RunFact::HookDone { hook: Hook::After, failure }, Stage::After) => match failure {
            None => running::enter(realm, ctx),
            Some(failure) => hook_failed(realm, ctx, Hook::After, &failure),
        },
        (RunFact::Emptied, _) => ctx.ignore("the main process has not been reported to be gone"),
        (RunFact::HookDone { .. }, _) => ctx.ignore("no such command is running"),
        (
            RunFact::Started { .. }
            | RunFact::StartFailed { .. }
            | RunFact::Exited { .. }
            | RunFact::StoppedBySignal { .. },
            _,
        ) => {
            ctx.ignore("not in this stage of the start");
        }
        (common!(), _) => {}
    }
}

fn started(realm: &mut Realm, ctx: &mut Ctx<'_>, pid: u32) {
    realm.generation.pid = Some(pid);
    realm.generation.started_at = Some(ctx.now);
    // A process that is adopted without a record.
    realm.generation.port = realm.generation.port.or(ctx.spec.port);
    realm.wish.ordered_in_pause = false;
    keep_gap(realm, ctx);
    (realm.generation.port_conflict, realm.history.failed_start) = (None, None);
    realm.restart_step(ctx, RestartStep::Started);
    ctx.event(EventKind::RunStarted { run: realm.generation.run, pid });
    set_stage(realm, ctx, Stage::Execed);
    realm.process_passes(ctx);
    realm.start_probing(ctx);
    if ctx.spec.kind == RealmKind::Oneshot {
        // A oneshot counts as running from here; `start.timeout`, if set, bounds its whole run.
        running::enter(realm, ctx);
        return;
    }
    tick(realm, ctx);
    if let Some(longest) = ctx.spec.start.overdue_after() {
        ctx.arm(TimerKind::StartOverdue, ctx.now + longest);
    }
    match realm.live_probes_pass(ctx.spec, 1) {
        None => ctx.arm(TimerKind::Settle, ctx.now + ctx.spec.start.settle),
        // The realm had reported it before heartbeatd died.
        Some(true) if !realm.generation.forked => ready(realm, ctx),
        Some(_) => {}
    }
}

/// The realm has asked for more time.
pub(crate) fn extend(realm: &mut Realm, ctx: &mut Ctx<'_>, until: Instant) {
    let State::Starting(starting) = &mut realm.state else { return };
    let (Stage::Execed, Some(left)) = (starting.stage, starting.left) else { return };
    match starting.ticking_since {
        Some(since) if since + left < until => {
            starting.left = Some(until.since(ctx.now));
            starting.ticking_since = Some(ctx.now);
            ctx.arm(TimerKind::StartTimeout, until);
        }
        Some(_) => {}
        None => starting.left = Some(left.max(until.since(ctx.now))),
    }
}

/// The realm has had `start.timeout_max`. heartbeatd does not end it: it reports progress, and would begin anew.
fn overdue(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let says = realm.says_it_starts(ctx.spec).is_some()
        || realm.generation.spoken.extended.is_some_and(|until| until > ctx.now);
    if realm.dependencies.needs.excuses() || realm.wish.pause.is_some() || !says {
        let limit = ctx.spec.start.timeout.unwrap_or_default().max(OURS_RECHECK);
        ctx.arm(TimerKind::StartOverdue, ctx.now + limit);
    } else if let State::Starting(starting) = &mut realm.state {
        starting.overdue = true;
    }
}

/// Lets `start.timeout` run, or stand still while a need is broken. Once the realm is ready, the timer is that of
/// `start.after`.
fn tick(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let still = realm.dependencies.needs.excuses();
    let State::Starting(starting) = &mut realm.state else { return };
    if starting.stage != Stage::Execed {
        return;
    }
    match (starting.ticking_since, still) {
        (None, false) => {
            starting.ticking_since = Some(ctx.now);
            if let Some(left) = starting.left {
                ctx.arm(TimerKind::StartTimeout, ctx.now + left);
            }
        }
        (Some(since), true) => {
            starting.ticking_since = None;
            starting.left = starting.left.map(|left| left.saturating_sub(ctx.now.since(since)));
            ctx.disarm(TimerKind::StartTimeout);
        }
        (None, true) | (Some(_), false) => {}
    }
}

/// heartbeatd did not run for a while: that time does not count.
pub(crate) fn was_suspended(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let State::Starting(starting) = &mut realm.state else { return };
    if starting.stage == Stage::Execed && starting.ticking_since.take().is_some() {
        tick(realm, ctx);
    }
}

pub(crate) fn on_result(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let known = !realm.generation.forked;
    if stage(realm) == Stage::Execed && known && realm.live_probes_pass(ctx.spec, 1) == Some(true) {
        ready(realm, ctx);
        return;
    }
    let says = realm.says_it_starts(ctx.spec).map(|(at, _)| at);
    if let (Some(at), Some(limit)) = (says, ctx.spec.start.timeout) {
        extend(realm, ctx, at + limit);
    }
    // Failures count before the first pass only with an explicit `grace` that is shorter than `start.timeout`.
    realm.evaluate(ctx);
}

/// Looks again at a realm that is not ready: a reload may have changed its probes, or its daemon is known now. Without a
/// probe it has to run for `start.settle` from `since` on.
pub(crate) fn expect_readiness(realm: &mut Realm, ctx: &mut Ctx<'_>, since: Instant) {
    if stage(realm) != Stage::Execed {
        return;
    }
    match realm.live_probes_pass(ctx.spec, 1) {
        None => ctx.arm(TimerKind::Settle, (since + ctx.spec.start.settle).max(ctx.now)),
        Some(_) => {
            ctx.disarm(TimerKind::Settle);
            on_result(realm, ctx);
        }
    }
}

fn ready(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    if ctx.spec.start.after {
        set_stage(realm, ctx, Stage::After);
        let timeout = hook_timeout(ctx.spec.start.timeout);
        ctx.effect(Effect::Hook { realm: ctx.ix, run: realm.generation.run, hook: Hook::After, timeout });
        ctx.arm(TimerKind::HookLost, ctx.now + timeout + HOOK_GRACE);
    } else {
        running::enter(realm, ctx);
    }
}

pub(crate) fn on_deadline(realm: &mut Realm, ctx: &mut Ctx<'_>, timer: TimerKind) {
    match (timer, stage(realm)) {
        (TimerKind::Settle, Stage::Execed) => {
            if !realm.evidence.stopped_by_signal && !realm.generation.forked {
                ready(realm, ctx);
            } else {
                ctx.arm(TimerKind::Settle, ctx.now + ctx.spec.start.settle.max(STOPPED_RECHECK));
            }
        }
        (TimerKind::ActOnFailure, Stage::Execed | Stage::After) => realm.evaluate(ctx),
        (TimerKind::StartOverdue, _) => overdue(realm, ctx),
        (TimerKind::HookLost, Stage::Before) => {
            hook_failed(realm, ctx, Hook::Before, "its end was never reported")
        }
        (TimerKind::HookLost, Stage::After) => {
            hook_failed(realm, ctx, Hook::After, "its end was never reported")
        }
        (TimerKind::ProgramCheck, Stage::Unusable) => unusable::check(realm, ctx),
        (TimerKind::StartTimeout, Stage::Unusable) => unusable::cool_down(realm, ctx),
        (TimerKind::LaunchLost, Stage::Launching) if realm.wish.pause.is_some() => {
            ctx.arm(TimerKind::LaunchLost, ctx.now + LAUNCH_TIMEOUT);
        }
        (TimerKind::LaunchLost, Stage::Launching) => {
            timed_out(realm, ctx, "the launcher did not answer".to_string())
        }
        (TimerKind::StartTimeout, Stage::Execed) => {
            let limit = ctx.spec.start.timeout.unwrap_or_default();
            if realm.may_blame(ctx.now) {
                realm.begin_suspicion(ctx);
            }
            if realm.is_spared(ctx.spec, ctx.now) || realm.wish.pause.is_some() {
                // Nothing speaks against the realm: a probe that could not be measured, or that a stranger answered,
                // restarts nothing.
                ctx.arm(TimerKind::StartTimeout, ctx.now + limit.max(OURS_RECHECK));
                return;
            }
            let limit = match realm.generation.spoken.extended {
                Some(_) => "the time it has asked for".to_string(),
                None => format!("{limit:?}"),
            };
            let since = realm.generation.started_at.unwrap_or(realm.shown.status_since);
            let last = words::unready_probe(ctx.spec, &realm.evidence, since)
                .map_or_else(String::new, |words| format!("; {words}"));
            timed_out(realm, ctx, format!("not ready within {limit}{last}"));
        }
        (_, _) => {}
    }
}

fn timed_out(realm: &mut Realm, ctx: &mut Ctx<'_>, detail: String) {
    stopping::restart(realm, ctx, RestartCause::StartTimedOut, detail);
}

fn hook_failed(realm: &mut Realm, ctx: &mut Ctx<'_>, hook: Hook, failure: &str) {
    let detail = format!("{} failed: {failure}", hook.as_str());
    if realm.wish.pause.is_some() && realm.generation.pid.is_some() {
        // A pause holds the next step.
        ctx.arm(TimerKind::HookLost, ctx.now + HOOK_GRACE);
        return;
    }
    ctx.event(EventKind::StartFailed { run: realm.generation.run, error: detail.clone() });
    if realm.generation.pid.is_some() {
        stopping::restart(realm, ctx, RestartCause::StartTimedOut, detail);
        return;
    }
    ctx.effect(Effect::CancelHook { realm: ctx.ix, run: realm.generation.run, hook });
    realm.wish.ordered_in_pause = false;
    realm.history.failure = Some(detail.clone());
    if realm.wish.pause.is_none() {
        if realm.restart_open() {
            // The attempt in progress has failed; what follows is the next one.
            realm.close_restart(ctx, RestartResult::Failed);
        }
        let may_blame = realm.may_blame(ctx.now);
        realm.open_next(ctx, RestartCause::StartTimedOut, detail, may_blame);
    }
    ending::decide(realm, ctx, RestartCause::StartTimedOut, None);
}

pub(crate) fn on_dependencies(realm: &mut Realm, ctx: &mut Ctx<'_>, was: DependencyView) {
    match stage(realm) {
        Stage::Queued | Stage::Unusable if !realm.dependencies.needs_hold || realm.shutting_down() => {
            waiting::enter(realm, ctx)
        }
        Stage::Before | Stage::Launching | Stage::Execed | Stage::After
            if realm.dependencies.stop_with_need && realm.wish.pause.is_none() =>
        {
            stopping::with_need(realm, ctx);
        }
        Stage::Before | Stage::Queued | Stage::Launching | Stage::Unusable => {}
        Stage::Execed | Stage::After => {
            tick(realm, ctx);
            if was.needs.excuses() && !realm.dependencies.needs.excuses() {
                realm.probe_afresh(ctx);
            }
        }
    }
}

pub(crate) fn on_command(realm: &mut Realm, ctx: &mut Ctx<'_>, intent: StateRequest) {
    match intent {
        // Tries the program now, whatever the last check has found.
        StateRequest::Run | StateRequest::Again(_) if stage(realm) == Stage::Unusable => match intent {
            StateRequest::Again(cause) => {
                realm.history.failed_start = None;
                stopped::begin_again(realm, ctx, cause);
            }
            _ => unusable::try_again(realm, ctx),
        },
        // The realm is starting already; the later request joins the earlier one.
        StateRequest::Run => {}
        // A process that was launched before a reload has the old configuration.
        StateRequest::Again(RestartCause::Reloaded)
            if matches!(stage(realm), Stage::Launching | Stage::Execed | Stage::After) =>
        {
            stopping::again(realm, ctx, RestartCause::Reloaded);
        }
        // The dependents that are restarted with it are stopped first.
        StateRequest::Again(cause)
            if realm.dependencies.dependents_stopping && stage(realm) == Stage::Launching =>
        {
            stopping::again(realm, ctx, cause);
        }
        StateRequest::Again(cause)
            if realm.dependencies.dependents_stopping
                && matches!(stage(realm), Stage::Before | Stage::Queued) =>
        {
            cancel_hooks(realm, ctx);
            stopped::begin_again(realm, ctx, cause);
        }
        // Until the program runs, this start is the requested one. What restarts for another reason joins an open
        // restart to its end; an operator's request ends a process that hangs while it starts.
        StateRequest::Again(cause)
            if !matches!(stage(realm), Stage::Execed | Stage::After)
                || (realm.restart_open() && cause != RestartCause::Requested) =>
        {
            let words = realm.words_for(cause);
            realm.open_restart(ctx, cause, words);
        }
        StateRequest::Again(cause) => stopping::again(realm, ctx, cause),
        StateRequest::Rest => stopping::rest(realm, ctx),
        StateRequest::Kill => stopping::kill(realm, ctx),
    }
}
