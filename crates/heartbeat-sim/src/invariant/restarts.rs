//! Restarts: on which evidence they begin and are verified, and what holds them.

use heartbeat_status::{
    Desired, EdgeKind, EventKind, Hook, Instant, Phase, RealmIx, RealmKind, RestartCause, RestartResult,
    Role, Status,
};
use heartbeat_supervisor::{Effect, ProbeSource};
use heartbeat_wire::Action;

use super::{Verdict, View, fail, status};

pub(super) fn a_restart_is_verified_after_verify_for(view: &View<'_>) -> Verdict {
    for event in view.events {
        let EventKind::RestartClosed { result: RestartResult::Verified, .. } = event.kind else { continue };
        let Some((realm, name)) = &event.realm else { continue };
        let spec = view.plan.realm(*realm);
        // A oneshot has done what it was for.
        let since = view.reference.ready_since[realm.index()].filter(|_| spec.kind != RealmKind::Oneshot);
        let proven = since.map(|since| view.now.since(since));
        fail(proven.is_some_and(|proven| proven < spec.restart.verify_for()), || {
            format!("{name} is verified after {proven:?}, {:?} wanted", spec.restart.verify_for())
        })?;
    }
    Ok(())
}

pub(super) fn no_health_restart_while_a_need_is_broken(view: &View<'_>) -> Verdict {
    for (at, event) in view.events.iter().enumerate() {
        let EventKind::RestartOpened { cause: RestartCause::Unhealthy, .. } = event.kind else { continue };
        let Some((realm, name)) = &event.realm else { continue };
        let broken = |snapshot| status(snapshot, *realm).is_some_and(|status| !status.blocked_by.is_empty());
        // It may have become well before that within the step, and be restarted with this one after.
        let well = |need: RealmIx| {
            let told = view.events[..at].iter().rev().find_map(|event| match event.kind {
                EventKind::StatusChanged { to, .. } => {
                    event.realm.as_ref().is_some_and(|(ix, _)| *ix == need).then_some(to)
                }
                _ => None,
            });
            told.is_some_and(|status| matches!(status, Status::Up | Status::Degraded | Status::Done))
        };
        let before = status(view.before, *realm).map_or(&[][..], |status| &status.blocked_by);
        let mended = before.iter().all(|need| well(*need));
        fail(broken(view.before) && broken(view.after) && !mended, || {
            format!("{name} is restarted for its health while a need is broken")
        })?;
    }
    Ok(())
}

/// A restart for health follows a failure that began after the action became due, and a pass of everything the realm
/// needs that began after that failure.
pub(super) fn a_health_restart_has_fresh_evidence(view: &View<'_>) -> Verdict {
    for event in view.events {
        let EventKind::RestartOpened { cause: RestartCause::Unhealthy, .. } = event.kind else { continue };
        let Some((realm, name)) = &event.realm else { continue };
        if view.before.realms[realm.index()].phase == Phase::Stuck {
            // It was decided before it got stuck.
            continue;
        }
        let spec = view.plan.realm(*realm);
        let held = view.reference.held_until[realm.index()];
        let failures = &view.reference.failures[realm.index()];
        let live = || spec.probes.iter().zip(failures).filter(|(probe, _)| probe.info.role == Role::Live);
        // Silence is told and not measured.
        if live().any(|(probe, failures)| {
            matches!(probe.source, ProbeSource::Notify { .. }) && !failures.is_empty()
        }) {
            continue;
        }
        let asked = |failed: Instant| {
            let needs = spec.needs.iter().filter(|need| need.kind == EdgeKind::Needs);
            needs.into_iter().all(|need| {
                let passes = &view.reference.passes[need.realm.index()];
                let deciding = view.plan.realm(need.realm).probes.iter().zip(passes).filter(|(probe, _)| {
                    probe.source == ProbeSource::Measured && probe.info.role != Role::Info
                });
                deciding.into_iter().all(|(_, pass)| pass.is_some_and(|pass| pass > failed))
            })
        };
        // The first failures may not have counted: the time begins with the first that did, at the earliest here.
        let due = live().filter_map(|(probe, failures)| {
            let wait = probe.info.interval * (probe.info.thresholds.fail_after() - 1);
            failures.first().map(|first| *first + wait)
        });
        let due = due.min().unwrap_or(view.now).max(held);
        let proven = live().flat_map(|(_, failures)| failures).any(|at| *at >= due && asked(*at));
        fail(!proven, || {
            format!("{name} is restarted for its health, due at {due:?}, on failures at {failures:?}")
        })?;
    }
    Ok(())
}

/// A pause holds every restart for a fault, every signal and every command, whatever the cause. A start that was under
/// way goes on, and so does the end of what had been told to end before, or has ended by itself. What an operator asks
/// for is done, and leaves the pause as it is.
pub(super) fn nothing_acts_on_a_paused_realm(view: &View<'_>) -> Verdict {
    for (before, after) in view.before.realms.iter().zip(&view.after.realms) {
        let paused = before.status == Status::Paused && after.status == Status::Paused;
        let ix = after.info.ix;
        let mine =
            || view.events.iter().filter(|event| event.realm.as_ref().is_some_and(|(at, _)| *at == ix));
        if !paused || mine().any(|event| matches!(event.kind, EventKind::Resumed { .. })) {
            continue;
        }
        let name = &after.info.name;
        let restarted = mine()
            .find(|event| matches!(event.kind, EventKind::RestartOpened { cause, .. } if cause.is_debited()));
        fail(restarted.is_some(), || format!("{name} is paused and restarted: {restarted:?}"))?;
        let (starting, runs) = (before.phase == Phase::Starting, before.phase == Phase::Running);
        // A person has signalled it, or stops or restarts it together with others.
        let by_hand = after.desired == Desired::Down
            || view.reference.ordered[ix.index()]
            || mine().any(|event| {
                matches!(
                    event.kind,
                    EventKind::Commanded { action: Action::Signal, .. }
                        | EventKind::RestartOpened { cause: RestartCause::Requested, .. }
                )
            });
        let ended = mine().any(|event| matches!(event.kind, EventKind::RunExited { .. }));
        for effect in view.effects {
            let acts = match effect {
                Effect::Start { realm, .. } => {
                    *realm == ix && !starting && !view.reference.ordered[ix.index()]
                }
                Effect::Signal { realm, .. } | Effect::SignalMain { realm, .. } => {
                    *realm == ix && (starting || runs) && !by_hand && !ended
                }
                Effect::Hook { realm, hook, .. } => *realm == ix && runs && !by_hand && *hook != Hook::After,
                _ => false,
            };
            fail(acts, || format!("{name} is paused and acted on: {effect:?}"))?;
        }
    }
    Ok(())
}

pub(super) fn health_restarts_are_bounded(view: &View<'_>) -> Verdict {
    let open = view.after.realms.iter().filter(|realm| {
        realm
            .restart
            .as_ref()
            .is_some_and(|record| record.result.is_none() && record.cause == RestartCause::Unhealthy)
    });
    let (open, most) = (open.count(), view.plan.settings().fuse.parallel as usize);
    // A stuck realm has no process left: it starts, and nothing is ended for it.
    let begins = view.events.iter().any(|event| {
        let was_stuck =
            |ix: RealmIx| status(view.before, ix).is_some_and(|realm| realm.phase == Phase::Stuck);
        matches!(event.kind, EventKind::RestartOpened { cause: RestartCause::Unhealthy, .. })
            && event.realm.as_ref().is_some_and(|(ix, _)| !was_stuck(*ix))
    });
    fail(begins && open > most, || format!("{open} restarts for health are open, {most} allowed"))
}
