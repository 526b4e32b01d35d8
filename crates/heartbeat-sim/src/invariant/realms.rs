//! The status of each realm, against its process and the wishes of operators.

use heartbeat_status::{Event, EventKind, NextAction, Phase, Status};

use super::{Verdict, View, fail, status};
use crate::world::Process;

pub(super) fn every_status_says_why(view: &View<'_>) -> Verdict {
    for realm in &view.after.realms {
        let name = &realm.info.name;
        fail(realm.why.message.trim().is_empty(), || {
            format!("{name} is {} without a message", realm.status)
        })?;
        fail(realm.why.since > view.now, || format!("{name} is {} since the future", realm.status))?;
        let next = &realm.why.next;
        fail(next.at.is_some() && next.action == NextAction::None, || {
            format!("{name}: nothing happens at a time")
        })?;
    }
    Ok(())
}

/// What was announced for a time is done then, or another announcement takes its place: it does not only move.
pub(super) fn announced_actions_are_made(view: &View<'_>) -> Verdict {
    if !view.timed {
        return Ok(());
    }
    for (before, after) in view.before.realms.iter().zip(&view.after.realms) {
        let (was, is) = (&before.why.next, &after.why.next);
        let announced = matches!(was.action, NextAction::Restart | NextAction::Start);
        // When the driver is late, what waits for it begins to wait anew.
        let due = was.at.filter(|at| announced && *at == view.now);
        let moved =
            due.is_some_and(|due| (is.action, &is.when) == (was.action, &was.when) && is.at > Some(due));
        let mine = |event: &&Event| event.realm.as_ref().is_some_and(|(ix, _)| *ix == after.info.ix);
        let acted = view.events.iter().filter(mine).any(|event| {
            let kind = &event.kind;
            matches!(kind, EventKind::RestartOpened { .. } | EventKind::PhaseChanged { .. })
                || matches!(kind, EventKind::RestartCommand { .. } | EventKind::ProbeReset { .. })
        });
        fail(moved && !acted, || {
            let (name, status) = (&after.info.name, after.status);
            format!("{name} is {status}: {was:?} has become {is:?}, and nothing was done")
        })?;
    }
    Ok(())
}

/// In a run without faults, no realm shows one.
pub(super) fn pending_is_not_broken(view: &View<'_>) -> Verdict {
    if !view.reference.faultless {
        return Ok(());
    }
    let is_unwell = |status: Status| matches!(status, Status::Blocked | Status::Down | Status::Failed);
    for realm in &view.after.realms {
        fail(is_unwell(realm.status), || {
            format!("{} is {}: {}", realm.info.name, realm.status, realm.why.message)
        })?;
        fail(!realm.blocked_by.is_empty(), || {
            format!("{} is blocked by {:?}", realm.info.name, realm.blocked_by)
        })?;
    }
    let flash = view.events.iter().find(
        |event| matches!(event.kind, EventKind::StatusChanged { from, to, .. } if is_unwell(from) || is_unwell(to)),
    );
    fail(flash.is_some(), || format!("{flash:?}"))?;
    fail(!view.after.incidents.is_empty(), || format!("{:?}", view.after.incidents))
}

pub(super) fn a_need_in_order_blocks_no_realm(view: &View<'_>) -> Verdict {
    for realm in &view.after.realms {
        for need in &realm.blocked_by {
            let sound = |status: Status| {
                matches!(status, Status::Up | Status::Degraded | Status::Done | Status::Paused)
            };
            let status = status(view.after, *need).map_or(Status::Unknown, |status| status.status);
            fail(sound(status) || status == Status::Unknown, || {
                format!("{} is blocked by {need:?}, which is {status}", realm.info.name)
            })?;
        }
    }
    Ok(())
}

pub(super) fn desired_is_what_was_wanted(view: &View<'_>) -> Verdict {
    for (realm, wanted) in view.after.realms.iter().zip(&view.reference.desired) {
        fail(realm.desired != *wanted, || {
            format!("{} is desired {}, wanted was {wanted}", realm.info.name, realm.desired)
        })?;
    }
    Ok(())
}

pub(super) fn phases_agree_with_processes(view: &View<'_>) -> Verdict {
    for (realm, process) in view.after.realms.iter().zip(&view.world.processes) {
        let name = &realm.info.name;
        fail(process.is_some() && !realm.phase.may_have_process(), || {
            format!("{name} is {} but has {process:?}", realm.phase)
        })?;
        if realm.phase == Phase::Running {
            let pid = process.as_ref().and_then(|process| process.pid);
            let shown = pid.filter(|_| !process.as_ref().is_some_and(Process::has_forked));
            fail(pid.is_none() || realm.process.pid != shown, || {
                format!("{name} runs as {:?}, in the world it is {process:?}", realm.process.pid)
            })?;
        }
    }
    Ok(())
}

/// The program of a realm has ended, and its pid file names no daemon: nothing proves that it runs.
pub(super) fn nothing_is_up_before_its_daemon_is_known(view: &View<'_>) -> Verdict {
    for (realm, process) in view.after.realms.iter().zip(&view.world.processes) {
        let unknown = process.as_ref().is_some_and(Process::has_forked);
        // What is being ended is not up in any case.
        let passes = realm.health.is_pass() && realm.phase != Phase::Stopping;
        let up = passes || matches!(realm.status, Status::Up | Status::Degraded);
        fail(unknown && up, || format!("{} is {} without a process", realm.info.name, realm.status))?;
    }
    Ok(())
}
