//! Backoff: ended; the next attempt has a time.

use heartbeat_status::{Instant, RestartResult, RunFact};

use super::{Intent, State, no_process, stopped, waiting};
use crate::cx::Cx;
use crate::realm::Realm;
use crate::timers::TimerKind;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) until: Instant,
}

pub(crate) fn enter(realm: &mut Realm, cx: &mut Cx<'_>, until: Instant) {
    realm.set_state(cx, State::Backoff(Backoff { until }));
    cx.disarm(TimerKind::Second);
    cx.arm(TimerKind::State, until);
}

/// heartbeatd is back: it waits for the time it had.
pub(crate) fn resume(realm: &mut Realm, cx: &mut Cx<'_>) {
    if let State::Backoff(backoff) = &realm.state {
        cx.arm(TimerKind::State, backoff.until.max(cx.now));
    }
}

pub(crate) fn on_exit(_realm: &mut Realm, cx: &mut Cx<'_>, _fact: RunFact) {
    no_process(cx);
}

pub(crate) fn on_deadline(realm: &mut Realm, cx: &mut Cx<'_>) {
    waiting::enter(realm, cx);
}

pub(crate) fn on_command(realm: &mut Realm, cx: &mut Cx<'_>, intent: Intent) {
    match intent {
        Intent::Rest | Intent::Kill => {
            realm.close_restart(cx, RestartResult::Abandoned);
            stopped::enter(realm, cx);
        }
        // A person does not wait for the backoff; `min_gap` holds all the same.
        Intent::Run | Intent::Again(_) => {
            realm.not_before = realm.gap_until;
            waiting::enter(realm, cx);
        }
    }
}
