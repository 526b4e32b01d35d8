//! External: watched, never started, never signalled; only its own command restarts it.

use super::{StateRequest, in_place_restart, no_process};
use crate::ctx::{Ctx, DependencyView, Mode};
use crate::realm::Realm;
use heartbeat_status::{Hook, RunFact};

pub(crate) fn on_exit(realm: &mut Realm, ctx: &mut Ctx<'_>, fact: RunFact) {
    match fact {
        RunFact::HookDone { hook: Hook::Restart, failure } => in_place_restart::on_done(realm, ctx, failure),
        _ => no_process(ctx),
    }
}

pub(crate) fn on_dependencies(realm: &mut Realm, ctx: &mut Ctx<'_>, was: DependencyView) {
    match (was.mode, realm.dependencies.mode) {
        // A realm that is no longer in the configuration is not watched.
        (Mode::Cold, Mode::Booted) if ctx.spec.retired => {}
        (Mode::Cold, Mode::Booted) => realm.start_probing(ctx),
        (Mode::Booted, Mode::ShuttingDown | Mode::Killing) => release(realm, ctx),
        (_, _) => {
            if was.needs.excuses() && !realm.dependencies.needs.excuses() {
                realm.probe_afresh(ctx);
            }
            in_place_restart::on_dependencies(realm, ctx);
            realm.evaluate(ctx);
        }
    }
}

pub(crate) fn on_command(realm: &mut Realm, ctx: &mut Ctx<'_>, intent: StateRequest) {
    match intent {
        StateRequest::Rest | StateRequest::Kill if realm.shutting_down() => release(realm, ctx),
        StateRequest::Run | StateRequest::Rest | StateRequest::Again(_) | StateRequest::Kill => {
            ctx.ignore("an external realm is watched, never started or stopped");
        }
    }
}

/// The realm is no longer watched.
pub(crate) fn release(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    in_place_restart::cancel(realm, ctx);
    realm.stop_probing(ctx);
}
