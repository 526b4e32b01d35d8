//! Failed: heartbeatd has given up. A person is needed; a start or restart by an operator begins with a fresh budget.

use heartbeat_status::{RestartCause, RunFact};

use super::{State, StateRequest, no_process, stopped};
use crate::ctx::Ctx;
pub(crate) use crate::durable::Why;
use crate::realm::Realm;

#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) why: Why,
}

pub(crate) fn enter(realm: &mut Realm, ctx: &mut Ctx<'_>, why: Why) {
    realm.set_state(ctx, State::Failed(Failed { why }));
}

pub(crate) fn on_exit(_realm: &mut Realm, ctx: &mut Ctx<'_>, _fact: RunFact) {
    no_process(ctx);
}

pub(crate) fn on_command(realm: &mut Realm, ctx: &mut Ctx<'_>, intent: StateRequest) {
    match intent {
        StateRequest::Run => {
            realm.history.tracker.reset();
            stopped::begin_again(realm, ctx, RestartCause::Requested);
        }
        StateRequest::Again(cause) => {
            realm.history.tracker.reset();
            stopped::begin_again(realm, ctx, cause);
        }
        StateRequest::Rest | StateRequest::Kill => stopped::enter(realm, ctx),
    }
}
