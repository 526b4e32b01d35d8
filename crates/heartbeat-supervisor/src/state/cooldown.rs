//! Cooldown: the restart budget is spent, or the program cannot be used for too long; one trial after a long wait.

use alloc::string::String;
use core::time::Duration;

use heartbeat_status::{Instant, RestartCause, RestartResult, RunFact};

use super::failed::Why;
use super::{Intent, State, no_process, stopped, unusable, waiting};
use crate::cx::Cx;
use crate::realm::Realm;
use crate::timers::TimerKind;

/// A trial that a pause holds is looked at again after this.
const PAUSED_RECHECK: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(crate) struct Cooldown {
    pub(crate) until: Instant,
    pub(crate) why: Why,
}

pub(crate) fn enter(realm: &mut Realm, cx: &mut Cx<'_>, until: Instant, why: Why) {
    realm.set_state(cx, State::Cooldown(Cooldown { until, why }));
    cx.disarm(TimerKind::Second);
    cx.arm(TimerKind::State, until);
}

/// heartbeatd is back: it waits for the time it had.
pub(crate) fn resume(realm: &mut Realm, cx: &mut Cx<'_>) {
    if let State::Cooldown(cooldown) = &realm.state {
        cx.arm(TimerKind::State, cooldown.until.max(cx.now));
    }
    unusable::resume(realm, cx);
}

pub(crate) fn on_exit(_realm: &mut Realm, cx: &mut Cx<'_>, _fact: RunFact) {
    no_process(cx);
}

pub(crate) fn on_deadline(realm: &mut Realm, cx: &mut Cx<'_>, timer: TimerKind) {
    match timer {
        TimerKind::Second => unusable::check(realm, cx),
        // A pause holds the trial.
        _ if realm.pause.is_some() => cx.arm(TimerKind::State, cx.now + PAUSED_RECHECK),
        _ => trial(realm, cx, RestartCause::Exited, "one trial after the cooldown".into()),
    }
}

fn trial(realm: &mut Realm, cx: &mut Cx<'_>, cause: RestartCause, detail: String) {
    realm.not_before = realm.gap_until;
    realm.open_uncounted(cx, cause, detail);
    waiting::enter(realm, cx);
}

pub(crate) fn on_command(realm: &mut Realm, cx: &mut Cx<'_>, intent: Intent) {
    match intent {
        Intent::Rest | Intent::Kill => {
            realm.close_restart(cx, RestartResult::Abandoned);
            stopped::enter(realm, cx);
        }
        // A person takes over, with a fresh budget.
        Intent::Run => {
            realm.tracker.reset();
            realm.failed_start = None;
            trial(realm, cx, RestartCause::Requested, realm.words_for(RestartCause::Requested));
        }
        Intent::Again(cause) => {
            realm.tracker.reset();
            realm.failed_start = None;
            trial(realm, cx, cause, realm.words_for(cause));
        }
    }
}
