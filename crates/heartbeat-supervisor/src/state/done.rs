//! Done: a oneshot that succeeded. Valid within a boot, until an operator asks for another run.

use super::{State, StateRequest, no_process, stopped};
use crate::ctx::Ctx;
use crate::realm::Realm;
use heartbeat_status::RunFact;

pub(crate) fn enter(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    realm.history.done_once = true;
    realm.set_state(ctx, State::Done);
}

pub(crate) fn on_exit(_realm: &mut Realm, ctx: &mut Ctx<'_>, _fact: RunFact) {
    no_process(ctx);
}

pub(crate) fn on_command(realm: &mut Realm, ctx: &mut Ctx<'_>, intent: StateRequest) {
    match intent {
        // The oneshot has done its work.
        StateRequest::Run => {}
        StateRequest::Again(cause) => stopped::begin_again(realm, ctx, cause),
        StateRequest::Rest | StateRequest::Kill => stopped::enter(realm, ctx),
    }
}
