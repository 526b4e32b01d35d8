//! Unverified: something runs that may be this realm, and cannot be proven to be. It gets no signal, and no second copy
//! is started beside it. When it is gone, or a person says so (`reset`), the realm goes on as wanted.

use alloc::string::String;

use heartbeat_status::{RestartResult, RunFact};

use super::{Intent, State, stuck};
use crate::cx::Cx;
use crate::realm::Realm;
use crate::timers::TimerKind;

pub(crate) fn enter(realm: &mut Realm, cx: &mut Cx<'_>, what: String) {
    realm.close_restart(cx, RestartResult::Abandoned);
    (realm.pid, realm.started_at) = (None, None);
    realm.stop_probing(cx);
    realm.set_state(cx, State::Unverified(what));
    cx.disarm(TimerKind::State);
    cx.disarm(TimerKind::Second);
}

pub(crate) fn on_exit(realm: &mut Realm, cx: &mut Cx<'_>, fact: RunFact) {
    match fact {
        RunFact::Emptied => stuck::freed(realm, cx),
        RunFact::Started { .. }
        | RunFact::StartFailed { .. }
        | RunFact::Exited { .. }
        | RunFact::StoppedBySignal { .. }
        | RunFact::HookDone { .. } => cx.ignore("what runs there has not been proven to be this realm"),
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

pub(crate) fn on_command(_realm: &mut Realm, _cx: &mut Cx<'_>, intent: Intent) {
    match intent {
        // `desired` has been set; what is wanted is looked at when it is gone.
        Intent::Run | Intent::Rest | Intent::Again(_) | Intent::Kill => {}
    }
}

/// A person has looked and says that it is nothing of the realm, or gone.
pub(crate) fn forget(realm: &mut Realm, cx: &mut Cx<'_>) {
    if matches!(realm.state, State::Unverified(_)) {
        stuck::freed(realm, cx);
    }
}
