//! The notifications of realms: readiness, keep-alives, and requests for more time.

use std::time::Duration;

use heartbeat_status::{EventKind, FailReason, Outcome, Phase, RealmIx, RestartCause, Role, Status};
use heartbeat_supervisor::{ProbeSource, ProbeSpec};

use super::{Breach, Verdict, View, fail};
use crate::reference::Heard;

/// The probe by which a realm says that it is ready, and its watchdog.
fn told<'a>(view: &'a View<'_>, realm: RealmIx) -> Option<(&'a ProbeSpec, Option<Duration>)> {
    view.plan.realm(realm).probes.iter().find_map(|probe| match probe.source {
        ProbeSource::Notify { watchdog } => Some((probe, watchdog)),
        ProbeSource::Measured | ProbeSource::Process | ProbeSource::PortOf(_) => None,
    })
}

pub(super) fn no_realm_is_up_before_it_reports_ready(view: &View<'_>) -> Verdict {
    for realm in &view.after.realms {
        let Some((probe, _)) = told(view, realm.info.ix) else { continue };
        let name = &realm.info.name;
        let Heard { ready, excused, .. } = view.reference.voices[realm.info.ix.index()];
        let up = matches!(realm.status, Status::Up | Status::Degraded) && probe.info.role != Role::Info;
        fail(up && !ready, || format!("{name} is {} and has not said that it is ready", realm.status))?;
        let runs = view.events.iter().any(|event| {
            event.realm.as_ref().is_some_and(|(ix, _)| *ix == realm.info.ix)
                && matches!(event.kind, EventKind::PhaseChanged { to: Phase::Running, .. })
        });
        let gates = probe.info.role == Role::Live && !excused;
        fail(runs && gates && !ready, || format!("{name} runs and has not said that it is ready"))?;
    }
    Ok(())
}

pub(super) fn no_beat_is_missed_that_was_heard_in_time(view: &View<'_>) -> Verdict {
    for event in view.events {
        let EventKind::ProbeChanged { outcome, detail, .. } = &event.kind else { continue };
        let Some((realm, name)) = &event.realm else { continue };
        let Some((_, watchdog)) = told(view, *realm) else { continue };
        let heard = &view.reference.voices[realm.index()];
        let missed = matches!(outcome, Outcome::Fail { reason: FailReason::MissedBeat, .. });
        if !missed || heard.forgotten {
            continue;
        }
        if heard.triggered && detail.starts_with("WATCHDOG=trigger") {
            continue;
        }
        let Some(watchdog) = heard.watchdog.or(watchdog).filter(|watchdog| !watchdog.is_zero()) else {
            return Err(Breach(format!("{name} has no watchdog, and has missed a beat")));
        };
        let silent = heard.last_beat.map(|last| view.now.since(last));
        fail(silent.is_none_or(|silent| silent < watchdog), || {
            format!("{name} was silent for {silent:?}, and may be for {watchdog:?}")
        })?;
    }
    Ok(())
}

pub(super) fn no_start_is_given_up_before_the_time_it_asked_for(view: &View<'_>) -> Verdict {
    for event in view.events {
        let EventKind::RestartOpened { cause: RestartCause::StartTimedOut, .. } = event.kind else {
            continue;
        };
        let Some((realm, name)) = &event.realm else { continue };
        if view.before.realms[realm.index()].phase == Phase::Stuck {
            // It was given up before it got stuck.
            continue;
        }
        let restart = view.after.realms[realm.index()].restart.as_ref();
        let unready = restart.is_some_and(|record| record.detail.starts_with("not ready within"));
        let extended = view.reference.voices[realm.index()].extended;
        let asked = told(view, *realm).and(extended).filter(|_| unready);
        fail(asked.is_some_and(|until| view.now < until), || {
            format!("{name} has asked for time until {asked:?}, and is given up")
        })?;
    }
    Ok(())
}
