//! Stopped: nothing runs, and nothing starts it by itself.

use heartbeat_status::{RestartCause, RestartResult, RunFact};

use super::{State, StateRequest, no_process, waiting};
use crate::ctx::Ctx;
use crate::realm::Realm;

pub(crate) fn enter(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    rest(realm, ctx, false);
}

/// A pause keeps the realm from running: it starts when it is resumed, and nothing counts against it.
pub(crate) fn enter_until_resumed(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    realm.close_restart(ctx, RestartResult::Abandoned);
    rest(realm, ctx, true);
}

fn rest(realm: &mut Realm, ctx: &mut Ctx<'_>, start_due: bool) {
    realm.stop_probing(ctx);
    realm.history.failed_start = None;
    realm.wish.ordered_in_pause = false;
    realm.set_state(ctx, State::Stopped { start_due });
}

pub(crate) fn on_exit(_realm: &mut Realm, ctx: &mut Ctx<'_>, _fact: RunFact) {
    no_process(ctx);
}

pub(crate) fn on_command(realm: &mut Realm, ctx: &mut Ctx<'_>, intent: StateRequest) {
    match intent {
        StateRequest::Run => {
            realm.history.not_before = realm.history.gap_until;
            waiting::enter(realm, ctx);
        }
        StateRequest::Again(cause) => begin_again(realm, ctx, cause),
        StateRequest::Rest | StateRequest::Kill => {}
    }
}

/// A restart of a realm that does not run: a start that is verified, once the dependents that are restarted with it are
/// stopped.
pub(crate) fn begin_again(realm: &mut Realm, ctx: &mut Ctx<'_>, cause: RestartCause) {
    realm.history.not_before = realm.history.gap_until;
    let words = realm.words_for(cause);
    realm.open_restart(ctx, cause, words);
    waiting::enter_behind_dependents(realm, ctx);
}
