//! Failed: given up. A person is needed, and a person's start or restart begins with a fresh budget.

use alloc::string::String;

use heartbeat_status::{Exit, RestartCause, RunFact};

use super::{Intent, State, no_process, stopped};
use crate::cx::Cx;
use crate::realm::Realm;
use crate::timers::TimerKind;

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

pub(crate) fn enter(realm: &mut Realm, cx: &mut Cx<'_>, why: Why) {
    realm.set_state(cx, State::Failed(Failed { why }));
    cx.disarm(TimerKind::State);
    cx.disarm(TimerKind::Second);
}

pub(crate) fn on_exit(_realm: &mut Realm, cx: &mut Cx<'_>, _fact: RunFact) {
    no_process(cx);
}

pub(crate) fn on_command(realm: &mut Realm, cx: &mut Cx<'_>, intent: Intent) {
    match intent {
        Intent::Run => {
            realm.tracker.reset();
            stopped::begin_again(realm, cx, RestartCause::Requested);
        }
        Intent::Again(cause) => {
            realm.tracker.reset();
            stopped::begin_again(realm, cx, cause);
        }
        Intent::Rest | Intent::Kill => stopped::enter(realm, cx),
    }
}
