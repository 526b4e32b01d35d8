//! Unverified: processes run that may belong to this realm, and cannot be proven to. They get no signal, and no second
//! copy starts beside them. When they are gone, or an operator says so (`reset`), the realm continues as wanted.

use alloc::string::String;

use heartbeat_status::{RestartResult, RunFact};

use super::{State, StateRequest, stuck};
use crate::ctx::Ctx;
use crate::realm::Realm;

pub(crate) fn enter(realm: &mut Realm, ctx: &mut Ctx<'_>, what: String) {
    realm.close_restart(ctx, RestartResult::Abandoned);
    (realm.generation.pid, realm.generation.started_at) = (None, None);
    realm.stop_probing(ctx);
    let cause = stuck::cause(realm);
    realm.set_state(ctx, State::Unverified { what, cause });
}

pub(crate) fn on_exit(realm: &mut Realm, ctx: &mut Ctx<'_>, fact: RunFact) {
    match fact {
        RunFact::Emptied => stuck::freed(realm, ctx),
        RunFact::Started { .. }
        | RunFact::StartFailed { .. }
        | RunFact::Exited { .. }
        | RunFact::StoppedBySignal { .. }
        | RunFact::HookDone { .. } => ctx.ignore("what runs there has not been proven to be this realm"),
        common!() => {}
    }
}

pub(crate) fn on_command(_realm: &mut Realm, _ctx: &mut Ctx<'_>, intent: StateRequest) {
    match intent {
        // `desired` has been set; it counts when the processes are gone.
        StateRequest::Run | StateRequest::Rest | StateRequest::Again(_) | StateRequest::Kill => {}
    }
}

/// An operator says that the processes do not belong to the realm, or are gone.
pub(crate) fn forget(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    if matches!(realm.state, State::Unverified { .. }) {
        stuck::freed(realm, ctx);
    }
}
