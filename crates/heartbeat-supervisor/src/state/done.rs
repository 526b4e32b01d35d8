//! Done: a oneshot that succeeded. Holds within a boot, until it is asked to run again.

use super::{Intent, State, no_process, stopped};
use crate::cx::Cx;
use crate::realm::Realm;
use crate::timers::TimerKind;
use heartbeat_status::RunFact;

pub(crate) fn enter(realm: &mut Realm, cx: &mut Cx<'_>) {
    realm.done_once = true;
    realm.set_state(cx, State::Done);
    cx.disarm(TimerKind::State);
    cx.disarm(TimerKind::Second);
}

pub(crate) fn on_exit(_realm: &mut Realm, cx: &mut Cx<'_>, _fact: RunFact) {
    no_process(cx);
}

pub(crate) fn on_command(realm: &mut Realm, cx: &mut Cx<'_>, intent: Intent) {
    match intent {
        // It has done what it is for.
        Intent::Run => {}
        Intent::Again(cause) => stopped::begin_again(realm, cx, cause),
        Intent::Rest | Intent::Kill => stopped::enter(realm, cx),
    }
}
