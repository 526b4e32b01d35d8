//! Cooldown: the restart budget is used up, or the program has been unusable for too long; one trial after a long wait.

use core::time::Duration;

use heartbeat_status::{Instant, RestartCause, RestartResult, RunFact};

use super::failed::Why;
use super::{State, StateRequest, no_process, stopped, unusable, waiting};
use crate::ctx::Ctx;
use crate::realm::Realm;
use crate::timers::TimerKind;

/// The core looks again after this at a trial that a pause holds.
const PAUSED_RECHECK: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(crate) struct Cooldown {
    pub(crate) until: Instant,
    pub(crate) why: Why,
}

pub(crate) fn enter(realm: &mut Realm, ctx: &mut Ctx<'_>, until: Instant, why: Why) {
    realm.set_state(ctx, State::Cooldown(Cooldown { until, why }));
    ctx.arm(TimerKind::Retry, until);
}

/// heartbeatd is back: the realm waits until the time on record.
pub(crate) fn resume(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    if let State::Cooldown(cooldown) = &realm.state {
        ctx.arm(TimerKind::Retry, cooldown.until.max(ctx.now));
    }
    unusable::resume(realm, ctx);
}

pub(crate) fn on_exit(_realm: &mut Realm, ctx: &mut Ctx<'_>, _fact: RunFact) {
    no_process(ctx);
}

pub(crate) fn on_deadline(realm: &mut Realm, ctx: &mut Ctx<'_>, timer: TimerKind) {
    match timer {
        TimerKind::ProgramCheck => unusable::check(realm, ctx),
        // A pause holds the trial.
        _ if realm.wish.pause.is_some() => ctx.arm(TimerKind::Retry, ctx.now + PAUSED_RECHECK),
        _ => {
            realm.history.not_before = realm.history.gap_until;
            realm.open_uncounted(ctx, RestartCause::Exited, "one trial after the cooldown".into());
            realm.history.outlive();
            waiting::enter(realm, ctx);
        }
    }
}

fn take_over(realm: &mut Realm, ctx: &mut Ctx<'_>, cause: RestartCause) {
    realm.history.tracker.reset();
    realm.history.failed_start = None;
    stopped::begin_again(realm, ctx, cause);
}

pub(crate) fn on_command(realm: &mut Realm, ctx: &mut Ctx<'_>, intent: StateRequest) {
    match intent {
        StateRequest::Rest | StateRequest::Kill => {
            realm.close_restart(ctx, RestartResult::Abandoned);
            stopped::enter(realm, ctx);
        }
        // A person takes over, with a fresh budget.
        StateRequest::Run => take_over(realm, ctx, RestartCause::Requested),
        StateRequest::Again(cause) => take_over(realm, ctx, cause),
    }
}
