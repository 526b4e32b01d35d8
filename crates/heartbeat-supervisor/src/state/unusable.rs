//! A program that cannot be used: it, its interpreter or its directory is missing. This uses no restart of the budget.
//! The adapter checks the path every second, and the realm starts as soon as that can succeed: a deployment takes
//! seconds. Within `start.timeout` this is a stage of [`super::starting`], afterwards a [`super::cooldown`] with one
//! trial each.

use core::time::Duration;

use heartbeat_status::{EventKind, RestartCause, StartError, StartFailure};

use super::{State, cooldown, failed, starting, waiting};
use crate::Effect;
use crate::ctx::Ctx;
use crate::realm::Realm;
use crate::timers::TimerKind;
use crate::words;

/// From one check to the next.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The core repeats a check that is not answered within this.
const CHECK_LOST: Duration = Duration::from_secs(20);
/// How long a program may be missing where `start.timeout` is not set.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(60);

impl Realm {
    /// Whether the program cannot be used, and its path is checked.
    pub(crate) fn program_is_unusable(&self) -> bool {
        let waits = match &self.state {
            State::Starting(starting) => starting.stage() == starting::Stage::Unusable,
            State::Cooldown(_) => true,
            _ => false,
        };
        waits
            && self
                .history
                .failed_start
                .as_ref()
                .is_some_and(|start| start.failure == StartFailure::ProgramUnusable)
    }
}

/// A start has failed because of the program.
pub(crate) fn enter(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let Some(start) = realm.history.failed_start.as_ref() else { return };
    let until = start.since + ctx.spec.start.timeout.unwrap_or(DEFAULT_PATIENCE);
    if ctx.now < until {
        starting::await_program(realm, ctx, until);
        ctx.arm(TimerKind::ProgramCheck, ctx.now + CHECK_INTERVAL);
    } else {
        cool_down(realm, ctx);
    }
}

/// The program has been missing for longer than a start may take: a person is needed. The checks continue.
pub(crate) fn cool_down(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let Some(start) = realm.history.failed_start.as_mut() else { return };
    let until = ctx.now + ctx.spec.restart.cooldown(start.cooldowns);
    start.cooldowns = start.cooldowns.saturating_add(1);
    let message = start.message.clone();
    realm.close_restart(ctx, heartbeat_status::RestartResult::Failed);
    let retry_in = Some(until.since(ctx.now));
    ctx.event(EventKind::CooldownBegan { why: words::unusable(&message), retry_in });
    cooldown::enter(realm, ctx, until, failed::Why::StartFailed(message));
    ctx.arm(TimerKind::ProgramCheck, ctx.now + CHECK_INTERVAL);
}

/// heartbeatd is back.
pub(crate) fn resume(realm: &Realm, ctx: &mut Ctx<'_>) {
    if realm.program_is_unusable() {
        check(realm, ctx);
    }
}

/// Asks for a check.
pub(crate) fn check(realm: &Realm, ctx: &mut Ctx<'_>) {
    ctx.effect(Effect::CheckProgram { realm: ctx.ix, run: realm.generation.run });
    ctx.arm(TimerKind::ProgramCheck, ctx.now + CHECK_LOST);
}

/// The adapter has answered a check; `None`: a start can succeed.
pub(crate) fn checked(realm: &mut Realm, ctx: &mut Ctx<'_>, failure: Option<&StartError>) {
    if !realm.program_is_unusable() {
        ctx.ignore("its program is not being checked");
        return;
    }
    match failure {
        // A pause holds the restart.
        None if realm.wish.pause.is_some() && matches!(realm.state, State::Cooldown(_)) => {
            ctx.arm(TimerKind::ProgramCheck, ctx.now + CHECK_INTERVAL)
        }
        None => try_again(realm, ctx),
        Some(error) => {
            if error.failure == StartFailure::ProgramUnusable {
                realm.history.note_failed_start(ctx.now, error);
            }
            ctx.arm(TimerKind::ProgramCheck, ctx.now + CHECK_INTERVAL);
        }
    }
}

/// Starts the realm now. This counts nothing against the budget.
pub(crate) fn try_again(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    realm.history.not_before = realm.history.gap_until;
    if matches!(realm.state, State::Cooldown(_)) {
        let detail =
            realm.history.failed_start.as_ref().map(|start| start.message.clone()).unwrap_or_default();
        realm.open_uncounted(ctx, RestartCause::Exited, detail);
        realm.history.outlive();
    }
    waiting::enter(realm, ctx);
}
