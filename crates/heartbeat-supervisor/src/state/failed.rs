//! Failed: given up. A person is needed, and a person's start or restart begins with a fresh budget.

use alloc::string::String;

use heartbeat_status::{Exit, RestartCause, RunFact};

use super::{State, StateRequest, no_process, stopped};
use crate::ctx::Ctx;
use crate::realm::Realm;

/// What it was given up for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The restart budget is spent.
    BudgetSpent,
    /// The program could not be exec'd.
    StartFailed(String),
    /// It ended, and its policy leaves it at that.
    Exited(Exit),
    /// It was ended for this cause, and its policy leaves it at that.
    Gone(RestartCause),
}

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
