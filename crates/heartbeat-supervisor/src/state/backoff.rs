//! Backoff: the process has ended, and the next attempt has a time.

use heartbeat_status::{Instant, RestartResult, RunFact};

use super::{State, StateRequest, no_process, stopped, waiting};
use crate::ctx::Ctx;
use crate::realm::Realm;
use crate::timers::TimerKind;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) until: Instant,
}

pub(crate) fn enter(realm: &mut Realm, ctx: &mut Ctx<'_>, until: Instant) {
    realm.set_state(ctx, State::Backoff(Backoff { until }));
    ctx.arm(TimerKind::Retry, until);
}

/// heartbeatd is back: the realm waits until the time on record.
pub(crate) fn resume(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    if let State::Backoff(backoff) = &realm.state {
        ctx.arm(TimerKind::Retry, backoff.until.max(ctx.now));
    }
}

pub(crate) fn on_exit(_realm: &mut Realm, ctx: &mut Ctx<'_>, _fact: RunFact) {
    no_process(ctx);
}

pub(crate) fn on_deadline(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    waiting::enter(realm, ctx);
}

pub(crate) fn on_command(realm: &mut Realm, ctx: &mut Ctx<'_>, intent: StateRequest) {
    match intent {
        StateRequest::Rest | StateRequest::Kill => {
            realm.close_restart(ctx, RestartResult::Abandoned);
            stopped::enter(realm, ctx);
        }
        // A person does not wait for the backoff, but `min_gap` still holds.
        StateRequest::Run => {
            realm.history.not_before = realm.history.gap_until;
            waiting::enter(realm, ctx);
        }
        StateRequest::Again(cause) => stopped::begin_again(realm, ctx, cause),
    }
}
