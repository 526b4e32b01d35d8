//! Stuck: SIGKILL did not empty its process tree. No second copy until it is empty.

use heartbeat_status::{EventKind, RestartResult, RunFact, Signal};

use super::{Intent, State, starting, stopping};
use crate::cx::Cx;
use crate::memory::Found;
use crate::realm::Realm;
use crate::timers::TimerKind;

pub(crate) fn enter(realm: &mut Realm, cx: &mut Cx<'_>) {
    realm.stuck_for = stopping::cause(realm);
    realm.close_restart(cx, RestartResult::Failed);
    realm.set_state(cx, State::Stuck);
    cx.disarm(TimerKind::State);
    cx.disarm(TimerKind::Second);
}

pub(crate) fn on_exit(realm: &mut Realm, cx: &mut Cx<'_>, fact: RunFact) {
    match fact {
        RunFact::Exited { exit, empty } => {
            stopping::note_exit(realm, cx, exit, true);
            if empty {
                freed(realm, cx);
            }
        }
        // With a pid known its end has not been reported yet, and nothing else proves it.
        RunFact::Emptied | RunFact::StartFailed { .. } if realm.pid.is_some() => {
            cx.ignore("the main process has not been reported to be gone");
        }
        RunFact::Emptied | RunFact::StartFailed { .. } => freed(realm, cx),
        RunFact::Started { pid } => {
            realm.pid = Some(pid);
            realm.started_at = Some(cx.now);
            starting::keep_gap(realm, cx);
            cx.event(EventKind::RunStarted { run: realm.run, pid });
            // The launch had been called off in vain.
            cx.signal(realm.run, Signal::KILL);
        }
        RunFact::StoppedBySignal { .. }
        | RunFact::PortHeld { .. }
        | RunFact::MainChanged { .. }
        | RunFact::Said { .. }
        | RunFact::ProgramChecked { .. }
        | RunFact::Unbounded { .. }
        | RunFact::MemoryUsed { .. }
        | RunFact::LogInMemory => {}
        RunFact::HookDone { .. } => cx.ignore("no such command is running"),
    }
}

/// heartbeatd is back, and what was left may be gone.
pub(crate) fn resume(realm: &mut Realm, cx: &mut Cx<'_>, found: Found) {
    match found {
        Found::Nothing | Found::Ended { empty: true, .. } => freed(realm, cx),
        Found::Ended { exit, empty: false } if realm.pid.is_some() => {
            stopping::note_exit(realm, cx, exit, true)
        }
        Found::Alive { pid, launching: false } => realm.pid = Some(pid),
        Found::Ended { .. } | Found::Alive { .. } | Found::Unverifiable { .. } => {}
    }
}

pub(crate) fn freed(realm: &mut Realm, cx: &mut Cx<'_>) {
    realm.pid = None;
    realm.started_at = None;
    // The restart that got stuck is made after all, and costs what it would have cost.
    let cause = realm.stuck_for.take();
    if let Some(cause) = cause.filter(|cause| cause.is_debited() && realm.wants_to_run())
        && !realm.around.needs.excuses()
    {
        let detail = realm.failure.clone().unwrap_or_default();
        if realm.may_blame(cx.now) {
            realm.open_uncounted(cx, cause, detail);
        } else if realm.tracker.may_restart(&cx.spec.restart, cx.now) {
            realm.open_restart(cx, cause, detail);
        }
    }
    stopping::after_stop(realm, cx, cause, None);
}

pub(crate) fn on_command(realm: &mut Realm, _cx: &mut Cx<'_>, intent: Intent) {
    // `desired` has been set; what is wanted is looked at when the tree is empty.
    match intent {
        Intent::Run => {}
        Intent::Again(cause) => realm.stuck_for = Some(cause),
        Intent::Rest | Intent::Kill => realm.stuck_for = None,
    }
}
