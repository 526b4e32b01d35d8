//! Unverified: something runs that may be this realm, and cannot be proven to be. It gets no signal, and no second copy
//! is started beside it. When it is gone, or a person says so (`reset`), the realm goes on as wanted.

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
        // The same in every state: answered before.
        RunFact::PortHeld { .. }
        | RunFact::MainChanged { .. }
        | RunFact::Said { .. }
        | RunFact::ProgramChecked { .. }
        | RunFact::Unbounded { .. }
        | RunFact::MemoryUsed { .. }
        | RunFact::LogInMemory => {}
    }
}

pub(crate) fn on_command(_realm: &mut Realm, _cx: &mut Ctx<'_>, intent: StateRequest) {
    match intent {
        // `desired` has been set; what is wanted is looked at when it is gone.
        StateRequest::Run | StateRequest::Rest | StateRequest::Again(_) | StateRequest::Kill => {}
    }
}

/// A person has looked and says that it is nothing of the realm, or gone.
pub(crate) fn forget(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    if matches!(realm.state, State::Unverified { .. }) {
        stuck::freed(realm, ctx);
    }
}
