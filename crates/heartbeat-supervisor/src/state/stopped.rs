//! Stopped: nothing runs, and nothing starts it by itself.

use heartbeat_status::{RestartCause, RunFact};

use super::{Intent, State, no_process, waiting};
use crate::cx::Cx;
use crate::realm::Realm;
use crate::timers::TimerKind;

pub(crate) fn enter(realm: &mut Realm, cx: &mut Cx<'_>) {
    realm.stop_probing(cx);
    realm.failed_start = None;
    realm.ordered_in_pause = false;
    realm.set_state(cx, State::Stopped);
    cx.disarm(TimerKind::State);
    cx.disarm(TimerKind::Second);
}

pub(crate) fn on_exit(_realm: &mut Realm, cx: &mut Cx<'_>, _fact: RunFact) {
    no_process(cx);
}

pub(crate) fn on_command(realm: &mut Realm, cx: &mut Cx<'_>, intent: Intent) {
    match intent {
        Intent::Run => {
            realm.not_before = realm.gap_until;
            waiting::enter(realm, cx);
        }
        Intent::Again(cause) => begin_again(realm, cx, cause),
        Intent::Rest | Intent::Kill => {}
    }
}

/// A restart of something that does not run: a start that is verified.
pub(crate) fn begin_again(realm: &mut Realm, cx: &mut Cx<'_>, cause: RestartCause) {
    realm.not_before = realm.gap_until;
    let words = realm.words_for(cause);
    realm.open_restart(cx, cause, words);
    waiting::enter(realm, cx);
}
