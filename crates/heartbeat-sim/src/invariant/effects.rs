//! What must hold of a single effect, before it is carried out.

use heartbeat_status::{
    Desired, EdgeKind, Event, EventKind, Gate, Hook, Phase, RealmIx, RealmKind, Snapshot, Status,
};
use heartbeat_supervisor::Effect;

use super::{Verdict, View, fail, status};
use crate::world::Stage;

fn came_up(event: &Event, realm: RealmIx) -> bool {
    let concerns = event.realm.as_ref().is_some_and(|(ix, _)| *ix == realm);
    // A pause covers the status, not the phase.
    let up = matches!(event.kind, EventKind::StatusChanged { to: Status::Up | Status::Degraded, .. });
    concerns && (up || matches!(event.kind, EventKind::PhaseChanged { to: Phase::Running, .. }))
}

fn gate_holds(view: &View<'_>, realm: RealmIx, gate: Gate) -> bool {
    let passes = |snapshot: &Snapshot| {
        status(snapshot, realm).is_some_and(|status| {
            matches!(status.phase, Phase::Running | Phase::External) && status.health.is_pass()
        })
    };
    match gate {
        // Up for a moment within the step is up, too.
        Gate::Up => {
            passes(view.before) || passes(view.after) || view.events.iter().any(|event| came_up(event, realm))
        }
        Gate::Started => {
            let live = view.world.process(realm).is_some_and(|process| process.stage == Stage::Live);
            live || view.reference.done[realm.index()]
        }
        Gate::Done => view.reference.done[realm.index()],
    }
}

pub(super) fn no_start_before_gates_hold(view: &View<'_>, effect: &Effect) -> Verdict {
    let Effect::Start { realm, .. } = effect else { return Ok(()) };
    for need in view.plan.realm(*realm).needs.iter().filter(|need| need.kind == EdgeKind::Needs) {
        fail(!gate_holds(view, need.realm, need.until), || {
            format!("{realm:?} is started although {:?} is not {}", need.realm, need.until)
        })?;
    }
    Ok(())
}

pub(super) fn no_second_copy(view: &View<'_>, effect: &Effect) -> Verdict {
    let Effect::Start { realm, run } = effect else { return Ok(()) };
    let process = view.world.process(*realm);
    fail(process.is_some(), || format!("{realm:?} run {run} is started beside {process:?}"))
}

/// A realm that is being ended still has the port that it was given.
pub(super) fn no_start_on_a_port_that_is_being_left(view: &View<'_>, effect: &Effect) -> Verdict {
    let Effect::Start { realm, .. } = effect else { return Ok(()) };
    let port = view.plan.realm(*realm).port;
    for (info, process) in view.plan.infos().iter().zip(&view.world.processes) {
        let Some(process) = process.as_ref().filter(|_| info.ix != *realm) else { continue };
        let ends = status(view.after, info.ix)
            .is_some_and(|other| matches!(other.phase, Phase::Stopping | Phase::Stuck));
        fail(ends && port.is_some() && process.port == port, || {
            format!("{realm:?} is started, and {:?} still has its port: {process:?}", info.ix)
        })?;
    }
    Ok(())
}

pub(super) fn min_gap_between_starts(view: &View<'_>, effect: &Effect) -> Verdict {
    let Effect::Start { realm, .. } = effect else { return Ok(()) };
    let gap = view.plan.realm(*realm).restart.min_gap();
    let last = view.reference.last_start[realm.index()];
    fail(last.is_some_and(|last| view.now.since(last) < gap), || {
        format!("{realm:?} is started within min_gap {gap:?} of {last:?}")
    })
}

pub(super) fn a_later_stop_wins(view: &View<'_>, effect: &Effect) -> Verdict {
    let Effect::Start { realm, .. } = effect else { return Ok(()) };
    fail(view.reference.desired[realm.index()] == Desired::Down, || {
        format!("{realm:?} is started, wanted down")
    })?;
    fail(view.reference.shutdown.is_some(), || format!("{realm:?} is started during shutdown"))?;
    fail(!view.reference.booted, || format!("{realm:?} is started before boot"))
}

pub(super) fn no_signal_to_a_run_that_is_not_there(view: &View<'_>, effect: &Effect) -> Verdict {
    let (Effect::Signal { realm, run, signal } | Effect::SignalMain { realm, run, signal }) = effect else {
        return Ok(());
    };
    let there = view.world.process(*realm).is_some_and(|process| process.run == *run);
    fail(!there, || format!("{signal} to run {run} of {realm:?}, which is gone"))?;
    let unproven = view.world.process(*realm).is_some_and(|process| process.stage == Stage::Unproven);
    fail(unproven, || format!("{signal} to {realm:?}, which has not been proven to be it"))
}

pub(super) fn start_parallel_is_a_bound(view: &View<'_>, effect: &Effect) -> Verdict {
    let Effect::Start { .. } = effect else { return Ok(()) };
    let stuck =
        |realm: &RealmIx| status(view.after, *realm).is_some_and(|status| status.phase == Phase::Stuck);
    let launching = view.world.launching().filter(|realm| !stuck(realm)).count();
    let bound = view.plan.settings().start_parallel.max(1) as usize;
    fail(launching >= bound, || format!("{launching} launches are under way, {bound} allowed"))
}

pub(super) fn stop_order_at_shutdown(view: &View<'_>, effect: &Effect) -> Verdict {
    let (Effect::Signal { realm, signal, .. } | Effect::SignalMain { realm, signal, .. }) = effect else {
        return Ok(());
    };
    let Some(process) = view.world.process(*realm) else { return Ok(()) };
    let ending = view.reference.ending.get(realm.index()).is_some_and(|ending| *ending);
    let ordered = view.reference.shutdown.is_some() && !view.reference.killing && !ending;
    if !ordered || process.signalled || process.stage == Stage::Leftovers {
        return Ok(());
    }
    for edge in view.plan.graph().dependents(*realm) {
        let stuck = |snapshot| {
            status(snapshot, edge.from)
                .is_some_and(|status| matches!(status.phase, Phase::Stuck | Phase::Unverified))
        };
        let left = view.world.process(edge.from).is_some() && !stuck(view.after) && !stuck(view.before);
        fail(left, || format!("{signal} to {realm:?} while its dependent {:?} is not gone", edge.from))?;
    }
    Ok(())
}

pub(super) fn one_measurement_in_flight(view: &View<'_>, effect: &Effect) -> Verdict {
    let Effect::Check { realm, probe, .. } = effect else { return Ok(()) };
    fail(view.world.measuring(*realm, *probe), || format!("{realm:?} {probe:?} is being measured already"))
}

pub(super) fn commands_belong_to_a_current_run(view: &View<'_>, effect: &Effect) -> Verdict {
    match effect {
        Effect::Hook { realm, run, hook, .. } => {
            let current = status(view.after, *realm).map(|status| status.process.run);
            fail(current != Some(*run), || {
                format!("{hook:?} for run {run} of {realm:?}, current is {current:?}")
            })
        }
        _ => Ok(()),
    }
}

/// The restart command runs only for a realm that has one, lives and is wanted, while a restart is open, and never
/// twice at a time.
pub(super) fn a_restart_command_is_the_only_one(view: &View<'_>, effect: &Effect) -> Verdict {
    let Effect::Hook { realm, run, hook: Hook::Restart, .. } = effect else { return Ok(()) };
    let spec = view.plan.realm(*realm);
    fail(!spec.restart_command, || format!("{realm:?} has no restart command"))?;
    fail(view.world.has_command(*realm, *run, Hook::Restart), || {
        format!("{realm:?} runs its command already")
    })?;
    fail(view.reference.shutdown.is_some(), || format!("{realm:?} is restarted during shutdown"))?;
    let open = |snapshot| {
        let restart = status(snapshot, *realm).and_then(|status| status.restart.as_ref());
        restart.is_some_and(|record| record.result.is_none())
    };
    // The restart may have been opened and cancelled within the step.
    let opened = view.events.iter().any(|event| {
        let whose = event.realm.as_ref().is_some_and(|(ix, _)| ix == realm);
        whose && matches!(event.kind, EventKind::RestartOpened { .. })
    });
    fail(!open(view.before) && !open(view.after) && !opened, || format!("{realm:?}: no restart is open"))?;
    if spec.kind == RealmKind::External {
        return Ok(());
    }
    let lives = view.world.process(*realm).is_some_and(|process| process.stage == Stage::Live);
    fail(!lives, || format!("{realm:?} does not run, and its restart command is run"))?;
    fail(view.reference.desired[realm.index()] == Desired::Down, || format!("{realm:?} is to be stopped"))
}

pub(super) fn halt_only_when_nothing_runs(view: &View<'_>, effect: &Effect) -> Verdict {
    let Effect::Halt = effect else { return Ok(()) };
    for (at, process) in view.world.processes.iter().enumerate() {
        let stuck = matches!(view.after.realms[at].phase, Phase::Stuck | Phase::Unverified);
        fail(process.is_some() && !stuck, || format!("halted while realm {at} runs: {process:?}"))?;
    }
    Ok(())
}
