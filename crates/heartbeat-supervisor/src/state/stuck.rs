//! Stuck: SIGKILL did not empty its process tree. No second copy until it is empty.

use heartbeat_status::{EventKind, RestartCause, RestartResult, RunFact, Signal};

use super::{State, StateRequest, starting, stopping};
use crate::ctx::Ctx;
use crate::memory::Found;
use crate::realm::Realm;

pub(crate) fn enter(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let cause = stopping::cause(realm);
    realm.close_restart(ctx, RestartResult::Failed);
    realm.set_state(ctx, State::Stuck { cause });
}

pub(crate) fn on_exit(realm: &mut Realm, ctx: &mut Ctx<'_>, fact: RunFact) {
    match fact {
        RunFact::Exited { exit, empty } => {
            stopping::note_exit(realm, ctx, exit, true);
            if empty {
                freed(realm, ctx);
            }
        }
        // While the pid is known, the adapter has not reported its end, and nothing else proves it.
        RunFact::Emptied | RunFact::StartFailed { .. } if realm.generation.pid.is_some() => {
            ctx.ignore("the main process has not been reported to be gone");
        }
        RunFact::Emptied | RunFact::StartFailed { .. } => freed(realm, ctx),
        RunFact::Started { pid } => {
            realm.generation.pid = Some(pid);
            realm.generation.started_at = Some(ctx.now);
            starting::keep_gap(realm, ctx);
            ctx.event(EventKind::RunStarted { run: realm.generation.run, pid });
            // The launch could not be cancelled in time.
            ctx.signal(realm.generation.run, Signal::KILL);
        }
        RunFact::StoppedBySignal { .. } | common!() => {}
        RunFact::HookDone { .. } => ctx.ignore("no such command is running"),
    }
}

/// heartbeatd is back, and the remaining processes may be gone.
pub(crate) fn resume(realm: &mut Realm, ctx: &mut Ctx<'_>, found: Found) {
    match found {
        Found::Nothing | Found::Ended { empty: true, .. } => freed(realm, ctx),
        Found::Ended { exit, empty: false } if realm.generation.pid.is_some() => {
            stopping::note_exit(realm, ctx, exit, true)
        }
        Found::Alive { pid, launching: false } => realm.generation.pid = Some(pid),
        Found::Ended { .. } | Found::Alive { .. } | Found::Unverifiable { .. } | Found::Forked { .. } => {}
    }
}

/// Why the realm is to run again, if it was being stopped for a restart.
pub(crate) fn cause(realm: &Realm) -> Option<RestartCause> {
    match realm.state {
        State::Stuck { cause } | State::Unverified { cause, .. } => cause,
        _ => None,
    }
}

pub(crate) fn freed(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    realm.generation.pid = None;
    realm.generation.started_at = None;
    // The stuck restart happens after all, and costs what it would have cost.
    let cause = cause(realm);
    if let Some(cause) = cause.filter(|cause| cause.is_debited() && realm.wants_to_run())
        && !realm.dependencies.needs.excuses()
    {
        let detail = realm.history.failure.clone().unwrap_or_default();
        let may_blame = realm.may_blame(ctx.now);
        realm.open_next(ctx, cause, detail, may_blame);
    }
    stopping::after_stop(realm, ctx, cause, None);
}

pub(crate) fn on_command(realm: &mut Realm, _ctx: &mut Ctx<'_>, intent: StateRequest) {
    // `desired` has been set; it counts when the tree is empty.
    match intent {
        StateRequest::Run => {}
        StateRequest::Again(cause) => realm.state = State::Stuck { cause: Some(cause) },
        StateRequest::Rest | StateRequest::Kill => realm.state = State::Stuck { cause: None },
    }
}
