//! The states of a realm: one file each, all with the same functions, and the total dispatch over them.
//!
//! | function | is called when |
//! |---|---|
//! | `enter` | the realm goes into the state |
//! | `on_result` | a probe's result was counted |
//! | `on_exit` | the process adapter reports a [`RunFact`] |
//! | `on_deadline` | a timer of the state is due |
//! | `on_command` | somebody wants something ([`Intent`]) |
//! | `on_around` | what the neighbours amount to has changed |
//! | `on_reload` | its probes, times and thresholds may be others |
//! | `resume` | heartbeatd is back after its own death |
//!
//! Every state answers every input: there is no wildcard arm in the dispatch.

pub(crate) mod backoff;
pub(crate) mod cooldown;
pub(crate) mod done;
pub(crate) mod ending;
pub(crate) mod external;
pub(crate) mod failed;
pub(crate) mod remedy;
pub(crate) mod running;
pub(crate) mod starting;
pub(crate) mod stopped;
pub(crate) mod stopping;
pub(crate) mod stuck;
pub(crate) mod unusable;
pub(crate) mod unverified;
pub(crate) mod waiting;

use alloc::string::String;

use heartbeat_status::{EventKind, Phase, RealmKind, RestartCause, RunFact};

use crate::cx::{Around, Cx};
use crate::memory::Found;
use crate::memory_limit;
use crate::realm::Realm;
use crate::said;
use crate::timers::TimerKind;

pub(crate) use backoff::Backoff;
pub(crate) use cooldown::Cooldown;
pub(crate) use failed::{Failed, Why as FailedWhy};
pub(crate) use remedy::Remedy;
pub(crate) use running::Running;
pub(crate) use starting::Starting;
pub(crate) use stopping::Stopping;
pub(crate) use unusable::FailedStart;
pub(crate) use waiting::Waiting;

/// Where a realm is in its life, with what only this place needs to know.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Waiting(Waiting),
    Starting(Starting),
    Running(Running),
    Stopping(Stopping),
    Backoff(Backoff),
    Cooldown(Cooldown),
    Stopped,
    Failed(Failed),
    Done,
    Stuck,
    /// With what was found.
    Unverified(String),
    External,
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
            Self::Stopped => Phase::Stopped,
            Self::Failed(_) => Phase::Failed,
            Self::Done => Phase::Done,
            Self::Stuck => Phase::Stuck,
            Self::Unverified(_) => Phase::Unverified,
            Self::External => Phase::External,
        }
    }
}

/// What somebody wants of the realm. `desired` has been set before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// It should run.
    Run,
    /// It should rest.
    Rest,
    /// It should end and run again.
    Again(RestartCause),
    /// It should be gone at once, order and grace given up.
    Kill,
}

pub(crate) fn on_fact(realm: &mut Realm, cx: &mut Cx<'_>, fact: RunFact) {
    // These are the same in every state.
    match fact {
        RunFact::MainChanged { pid } => return realm.main_changed(cx, pid),
        RunFact::PortHeld { holder } => {
            realm.port_held(cx, holder);
            return on_result(realm, cx);
        }
        RunFact::Said { said } => return said::hear(realm, cx, said),
        RunFact::ProgramChecked { failure } => return unusable::checked(realm, cx, failure.as_ref()),
        RunFact::Unbounded { limits } => return memory_limit::unbounded(realm, cx, limits),
        RunFact::MemoryUsed { bytes } => return memory_limit::used(realm, cx, bytes),
        RunFact::LogInMemory => {
            if realm.log_in_memory.replace(realm.run) != Some(realm.run) {
                cx.event(EventKind::LogInMemory);
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
        Phase::Waiting => waiting::on_exit(realm, cx, fact),
        Phase::Starting => starting::on_exit(realm, cx, fact),
        Phase::Running => running::on_exit(realm, cx, fact),
        Phase::Stopping => stopping::on_exit(realm, cx, fact),
        Phase::Backoff => backoff::on_exit(realm, cx, fact),
        Phase::Cooldown => cooldown::on_exit(realm, cx, fact),
        Phase::Stopped => stopped::on_exit(realm, cx, fact),
        Phase::Failed => failed::on_exit(realm, cx, fact),
        Phase::Done => done::on_exit(realm, cx, fact),
        Phase::Stuck => stuck::on_exit(realm, cx, fact),
        Phase::Unverified => unverified::on_exit(realm, cx, fact),
        Phase::External => external::on_exit(realm, cx, fact),
    }
}

pub(crate) fn on_result(realm: &mut Realm, cx: &mut Cx<'_>) {
    match realm.state.phase() {
        Phase::Starting => starting::on_result(realm, cx),
        Phase::Running => running::on_result(realm, cx),
        Phase::External => external::on_result(realm, cx),
        // Nothing is measured in these, or nothing is decided on it.
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

pub(crate) fn on_deadline(realm: &mut Realm, cx: &mut Cx<'_>, timer: TimerKind) {
    match realm.state.phase() {
        Phase::Waiting => waiting::on_deadline(realm, cx),
        Phase::Starting => starting::on_deadline(realm, cx, timer),
        Phase::Running => running::on_deadline(realm, cx, timer),
        Phase::Stopping => stopping::on_deadline(realm, cx),
        Phase::Backoff => backoff::on_deadline(realm, cx),
        Phase::Cooldown => cooldown::on_deadline(realm, cx, timer),
        Phase::External => external::on_deadline(realm, cx, timer),
        // No timer is armed in these; one that was armed before they were entered has been disarmed.
        Phase::Stopped | Phase::Failed | Phase::Done | Phase::Stuck | Phase::Unverified => {}
    }
}

pub(crate) fn on_command(realm: &mut Realm, cx: &mut Cx<'_>, intent: Intent) {
    if matches!(intent, Intent::Run | Intent::Again(RestartCause::Requested | RestartCause::Reloaded)) {
        // What went wrong before somebody asked for it does not count against this start.
        realm.faulted = false;
    }
    // A person takes over.
    realm.relapsed = false;
    match realm.state.phase() {
        Phase::Waiting => waiting::on_command(realm, cx, intent),
        Phase::Starting => starting::on_command(realm, cx, intent),
        Phase::Running => running::on_command(realm, cx, intent),
        Phase::Stopping => stopping::on_command(realm, cx, intent),
        Phase::Backoff => backoff::on_command(realm, cx, intent),
        Phase::Cooldown => cooldown::on_command(realm, cx, intent),
        Phase::Stopped => stopped::on_command(realm, cx, intent),
        Phase::Failed => failed::on_command(realm, cx, intent),
        Phase::Done => done::on_command(realm, cx, intent),
        Phase::Stuck => stuck::on_command(realm, cx, intent),
        Phase::Unverified => unverified::on_command(realm, cx, intent),
        Phase::External => external::on_command(realm, cx, intent),
    }
}

/// Another plan is in force: what it is judged by may be something else.
pub(crate) fn on_reload(realm: &mut Realm, cx: &mut Cx<'_>) {
    if realm.remedy.is_some() && !cx.spec.restart_command {
        remedy::call_off(realm, cx);
    }
    if matches!(realm.state, State::Starting(_)) {
        starting::on_reload(realm, cx);
    } else {
        // Wherever results count, they are looked at again.
        on_result(realm, cx);
    }
}

/// A pause is over: what it held goes on.
pub(crate) fn on_resumed(realm: &mut Realm, cx: &mut Cx<'_>) {
    let runs = matches!(realm.state, State::Starting(_) | State::Running(_) | State::Done);
    if core::mem::take(&mut realm.renew_owed) && runs && realm.wants_to_run() {
        on_command(realm, cx, Intent::Again(RestartCause::Reloaded));
        return;
    }
    match realm.state.phase() {
        Phase::Waiting => waiting::on_around(realm, cx),
        Phase::Running => running::on_resumed(realm, cx),
        Phase::Stopped if core::mem::take(&mut realm.start_owed) => {
            stopped::on_command(realm, cx, Intent::Run)
        }
        // They go by their own clock, or rest.
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

/// heartbeatd is back, and this is what was found of the realm's process.
pub(crate) fn resume(realm: &mut Realm, cx: &mut Cx<'_>, found: Found) {
    if let Found::Unverifiable { what } = found {
        unverified::enter(realm, cx, what);
        return;
    }
    realm.adopted = matches!(found, Found::Alive { .. });
    match (realm.state.phase(), found) {
        (Phase::Starting, found) => starting::resume(realm, cx, found),
        (Phase::Running, found) => running::resume(realm, cx, found),
        (Phase::Stopping, found) => stopping::resume(realm, cx, found),
        (Phase::Stuck, found) => stuck::resume(realm, cx, found),
        // It is proven to be the realm's, whatever is remembered: the memory was lost.
        (_, Found::Alive { pid, .. }) => starting::adopt(realm, cx, pid),
        (_, Found::Ended { exit, empty: false }) => ending::main_exited(realm, cx, exit, false),
        (Phase::Unverified, _) => stuck::freed(realm, cx),
        (Phase::Backoff, _) => backoff::resume(realm, cx),
        (Phase::Cooldown, _) => cooldown::resume(realm, cx),
        (Phase::External, _) if cx.spec.retired => {}
        (Phase::External, _) => {
            realm.resume_probing(cx);
            remedy::resume(realm, cx);
        }
        (Phase::Done, _) if cx.spec.kind != RealmKind::Oneshot => waiting::enter(realm, cx),
        (Phase::Waiting, _) => waiting::on_around(realm, cx),
        (Phase::Stopped | Phase::Failed | Phase::Done, _) => {}
    }
}

pub(crate) fn on_around(realm: &mut Realm, cx: &mut Cx<'_>, was: Around) {
    match realm.state.phase() {
        Phase::Waiting => waiting::on_around(realm, cx),
        Phase::Starting => starting::on_around(realm, cx, was),
        Phase::Running => running::on_around(realm, cx, was),
        Phase::Stopping => stopping::on_around(realm, cx),
        Phase::External => external::on_around(realm, cx, was),
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

/// A fact about a process in a state that has none: an answer to something long since given up.
pub(crate) fn no_process(cx: &mut Cx<'_>) {
    cx.ignore("there is no process in this state");
}
