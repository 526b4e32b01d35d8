//! The states of a realm: one file each, all with the same functions, and the total dispatch over them.
//!
//! | function | is called when |
//! |---|---|
//! | `enter` | the realm goes into the state |
//! | `on_result` | a probe's result was counted |
//! | `on_exit` | the process adapter reports a [`RunFact`] |
//! | `on_deadline` | a timer of the state is due |
//! | `on_command` | an operator or the core wants something ([`StateRequest`]) |
//! | `on_dependencies` | what the neighbours amount to has changed |
//! | `on_reload` | its probes, times and thresholds may be others |
//! | `resume` | heartbeatd is back after its own death |
//!
//! Every state answers every input: there is no wildcard arm in the dispatch.

/// The facts that mean the same in every state: [`on_fact`] has handled them, and no state does.
macro_rules! common {
    () => {
        RunFact::PortHeld { .. }
            | RunFact::Forked
            | RunFact::MainChanged { .. }
            | RunFact::Said { .. }
            | RunFact::ProgramChecked { .. }
            | RunFact::Unbounded { .. }
            | RunFact::MemoryUsed { .. }
            | RunFact::LogInMemory
    };
}

pub(crate) mod backoff;
pub(crate) mod cooldown;
pub(crate) mod done;
pub(crate) mod ending;
pub(crate) mod external;
pub(crate) mod failed;
pub(crate) mod in_place_restart;
pub(crate) mod running;
pub(crate) mod serving;
pub(crate) mod starting;
pub(crate) mod stopped;
pub(crate) mod stopping;
mod stored;
pub(crate) mod stuck;
pub(crate) mod unusable;
pub(crate) mod unverified;
pub(crate) mod waiting;

use alloc::string::String;

use heartbeat_status::{EventKind, Phase, RealmKind, RestartCause, RunFact};

use crate::ctx::{Ctx, DependencyView};
use crate::memory::Found;
use crate::realm::Realm;
use crate::timers::TimerKind;

pub(crate) use backoff::Backoff;
pub(crate) use cooldown::Cooldown;
pub(crate) use failed::{Failed, Why as FailedWhy};
pub(crate) use in_place_restart::InPlaceRestart;
pub(crate) use serving::Serving;
pub(crate) use starting::Starting;
pub(crate) use stopping::Stopping;
pub(crate) use waiting::Waiting;

/// The state of a realm, with the data that only this state needs.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Waiting(Waiting),
    Starting(Starting),
    Running(Serving),
    Stopping(Stopping),
    Backoff(Backoff),
    Cooldown(Cooldown),
    Stopped {
        /// Only a pause keeps the realm from running: it starts when it is resumed.
        start_due: bool,
    },
    Failed(Failed),
    Done,
    Stuck {
        /// Why the realm is to run again, if it was being stopped for a restart.
        cause: Option<RestartCause>,
    },
    Unverified {
        /// A description of the processes, for a person.
        what: String,
        /// As of a stuck realm.
        cause: Option<RestartCause>,
    },
    External(Serving),
}

impl State {
    pub(crate) fn waiting() -> Self {
        Self::Waiting(Waiting::default())
    }

    pub(crate) fn phase(&self) -> Phase {
        match self {
            Self::Waiting(_) => Phase::Waiting,
            Self::Starting(_) => Phase::Starting,
            Self::Running(_) => Phase::Running,
            Self::Stopping(_) => Phase::Stopping,
            Self::Backoff(_) => Phase::Backoff,
            Self::Cooldown(_) => Phase::Cooldown,
            Self::Stopped { .. } => Phase::Stopped,
            Self::Failed(_) => Phase::Failed,
            Self::Done => Phase::Done,
            Self::Stuck { .. } => Phase::Stuck,
            Self::Unverified { .. } => Phase::Unverified,
            Self::External(_) => Phase::External,
        }
    }
}

/// The request of an operator or of the core. `desired` has been set before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateRequest {
    /// It should run.
    Run,
    /// It should rest.
    Rest,
    /// It should end and run again.
    Again(RestartCause),
    /// It should end at once, without order and grace.
    Kill,
}

pub(crate) fn on_fact(realm: &mut Realm, ctx: &mut Ctx<'_>, fact: RunFact) {
    // These facts mean the same in every state.
    match fact {
        RunFact::MainChanged { pid } => return realm.main_changed(ctx, pid),
        // While heartbeatd ends the tree, it does not matter which process is the main one.
        RunFact::Forked if matches!(realm.state, State::Stopping(_)) => return,
        RunFact::Forked => return realm.program_forked(ctx),
        RunFact::PortHeld { port_owner } => {
            realm.port_held(ctx, port_owner);
            return on_result(realm, ctx);
        }
        RunFact::Said { said } => return realm.hear(ctx, said),
        RunFact::ProgramChecked { failure } => return unusable::checked(realm, ctx, failure.as_ref()),
        RunFact::Unbounded { limits } => return realm.note_unbounded(ctx, limits),
        RunFact::MemoryUsed { bytes } => return realm.memory_used(ctx, bytes),
        RunFact::LogInMemory => {
            if !core::mem::replace(&mut realm.evidence.log_in_memory, true) {
                ctx.event(EventKind::LogInMemory);
            }
            return;
        }
        RunFact::Started { .. }
        | RunFact::StartFailed { .. }
        | RunFact::Exited { .. }
        | RunFact::Emptied
        | RunFact::StoppedBySignal { .. }
        | RunFact::HookDone { .. } => {}
    }
    match realm.state.phase() {
        Phase::Waiting => waiting::on_exit(realm, ctx, fact),
        Phase::Starting => starting::on_exit(realm, ctx, fact),
        Phase::Running => running::on_exit(realm, ctx, fact),
        Phase::Stopping => stopping::on_exit(realm, ctx, fact),
        Phase::Backoff => backoff::on_exit(realm, ctx, fact),
        Phase::Cooldown => cooldown::on_exit(realm, ctx, fact),
        Phase::Stopped => stopped::on_exit(realm, ctx, fact),
        Phase::Failed => failed::on_exit(realm, ctx, fact),
        Phase::Done => done::on_exit(realm, ctx, fact),
        Phase::Stuck => stuck::on_exit(realm, ctx, fact),
        Phase::Unverified => unverified::on_exit(realm, ctx, fact),
        Phase::External => external::on_exit(realm, ctx, fact),
    }
}

pub(crate) fn on_result(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    match realm.state.phase() {
        Phase::Starting => starting::on_result(realm, ctx),
        Phase::Running | Phase::External => serving::on_result(realm, ctx),
        // In these states nothing is measured, or no decision depends on it.
        Phase::Waiting
        | Phase::Stopping
        | Phase::Backoff
        | Phase::Cooldown
        | Phase::Stopped
        | Phase::Failed
        | Phase::Done
        | Phase::Stuck
        | Phase::Unverified => {}
    }
}

pub(crate) fn on_deadline(realm: &mut Realm, ctx: &mut Ctx<'_>, timer: TimerKind) {
    match realm.state.phase() {
        Phase::Waiting => waiting::on_deadline(realm, ctx),
        Phase::Starting => starting::on_deadline(realm, ctx, timer),
        Phase::Running | Phase::External => serving::on_deadline(realm, ctx, timer),
        Phase::Stopping => stopping::on_deadline(realm, ctx),
        Phase::Backoff => backoff::on_deadline(realm, ctx),
        Phase::Cooldown => cooldown::on_deadline(realm, ctx, timer),
        // These states have no timer; entering them has disarmed the earlier ones.
        Phase::Stopped | Phase::Failed | Phase::Done | Phase::Stuck | Phase::Unverified => {}
    }
}

pub(crate) fn on_command(realm: &mut Realm, ctx: &mut Ctx<'_>, intent: StateRequest) {
    if matches!(
        intent,
        StateRequest::Run | StateRequest::Again(RestartCause::Requested | RestartCause::Reloaded)
    ) {
        // Failures before the request do not count against this start.
        realm.history.faulted = false;
    }
    if matches!(intent, StateRequest::Rest | StateRequest::Kill) {
        // Its incident ends with it. A restart proves no more than the recoveries before it did.
        realm.history.relapsed = false;
    }
    match realm.state.phase() {
        Phase::Waiting => waiting::on_command(realm, ctx, intent),
        Phase::Starting => starting::on_command(realm, ctx, intent),
        Phase::Running => running::on_command(realm, ctx, intent),
        Phase::Stopping => stopping::on_command(realm, ctx, intent),
        Phase::Backoff => backoff::on_command(realm, ctx, intent),
        Phase::Cooldown => cooldown::on_command(realm, ctx, intent),
        Phase::Stopped => stopped::on_command(realm, ctx, intent),
        Phase::Failed => failed::on_command(realm, ctx, intent),
        Phase::Done => done::on_command(realm, ctx, intent),
        Phase::Stuck => stuck::on_command(realm, ctx, intent),
        Phase::Unverified => unverified::on_command(realm, ctx, intent),
        Phase::External => external::on_command(realm, ctx, intent),
    }
}

/// Another plan is in force: the thresholds and times of the realm may have changed.
pub(crate) fn on_reload(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    if !ctx.spec.restart_command {
        in_place_restart::cancel(realm, ctx);
    }
    if matches!(realm.state, State::Starting(_)) {
        let started = realm.generation.started_at.unwrap_or(ctx.now);
        starting::expect_readiness(realm, ctx, started);
    } else {
        // In states where results count, they are looked at again.
        on_result(realm, ctx);
    }
}

/// The daemon of a realm is known.
pub(crate) fn on_daemon(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    if matches!(realm.state, State::Starting(_)) {
        starting::expect_readiness(realm, ctx, ctx.now);
    } else {
        on_result(realm, ctx);
    }
}

/// A pause is over: what it held continues.
pub(crate) fn on_resumed(realm: &mut Realm, ctx: &mut Ctx<'_>) {
    let runs = matches!(realm.state, State::Starting(_) | State::Running(_) | State::Done);
    if core::mem::take(&mut realm.generation.outdated) && runs && realm.wants_to_run() {
        on_command(realm, ctx, StateRequest::Again(RestartCause::Reloaded));
        return;
    }
    match realm.state.phase() {
        Phase::Waiting => waiting::on_dependencies(realm, ctx),
        Phase::Running => running::on_resumed(realm, ctx),
        Phase::Stopped if matches!(realm.state, State::Stopped { start_due: true }) => {
            stopped::on_command(realm, ctx, StateRequest::Run)
        }
        // They have a clock of their own, or rest.
        Phase::Stopped
        | Phase::Starting
        | Phase::Stopping
        | Phase::Backoff
        | Phase::Cooldown
        | Phase::Failed
        | Phase::Done
        | Phase::Stuck
        | Phase::Unverified
        | Phase::External => {}
    }
}

/// heartbeatd is back, and has found this of the realm's process.
pub(crate) fn resume(realm: &mut Realm, ctx: &mut Ctx<'_>, found: Found) {
    if let Found::Unverifiable { what } = found {
        unverified::enter(realm, ctx, what);
        return;
    }
    realm.evidence.adopted = matches!(found, Found::Alive { .. } | Found::Forked { .. });
    realm.generation.forked = matches!(found, Found::Forked { .. });
    let found = match found {
        Found::Forked { pid } => Found::Alive { pid, launching: false },
        found => found,
    };
    match (realm.state.phase(), found) {
        (Phase::Starting, found) => starting::resume(realm, ctx, found),
        (Phase::Running, found) => running::resume(realm, ctx, found),
        (Phase::Stopping, found) => stopping::resume(realm, ctx, found),
        (Phase::Stuck, found) => stuck::resume(realm, ctx, found),
        // The process is proven to be the realm's, whatever the record says: the record was lost.
        (_, Found::Alive { pid, .. }) => starting::adopt(realm, ctx, pid),
        (_, Found::Ended { exit, empty: false }) => ending::main_exited(realm, ctx, exit, false),
        (Phase::Unverified, _) => stuck::freed(realm, ctx),
        (Phase::Backoff, _) => backoff::resume(realm, ctx),
        (Phase::Cooldown, _) => cooldown::resume(realm, ctx),
        (Phase::External, _) if ctx.spec.retired => {}
        (Phase::External, _) => {
            realm.resume_probing(ctx);
            in_place_restart::resume(realm, ctx);
            running::resume_health(realm, ctx);
        }
        (Phase::Done, _) if ctx.spec.kind != RealmKind::Oneshot => waiting::enter(realm, ctx),
        (Phase::Waiting, _) => waiting::on_dependencies(realm, ctx),
        (Phase::Stopped | Phase::Failed | Phase::Done, _) => {}
    }
    if realm.generation.forked {
        realm.process_stopped(ctx);
    }
}

pub(crate) fn on_dependencies(realm: &mut Realm, ctx: &mut Ctx<'_>, was: DependencyView) {
    match realm.state.phase() {
        Phase::Waiting => waiting::on_dependencies(realm, ctx),
        Phase::Starting => starting::on_dependencies(realm, ctx, was),
        Phase::Running => running::on_dependencies(realm, ctx, was),
        Phase::Stopping => stopping::on_dependencies(realm, ctx),
        Phase::External => external::on_dependencies(realm, ctx, was),
        // These rest or wait for their own clock, whatever the neighbours do.
        Phase::Backoff
        | Phase::Cooldown
        | Phase::Stopped
        | Phase::Failed
        | Phase::Done
        | Phase::Stuck
        | Phase::Unverified => {}
    }
}

/// A fact about a process in a state that has none: a late answer about a process that was given up.
pub(crate) fn no_process(ctx: &mut Ctx<'_>) {
    ctx.ignore("there is no process in this state");
}
