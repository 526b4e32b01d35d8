//! Incidents: which are opened, on which root, and on which evidence they end.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{
    DegradedReason, Desired, EventKind, Health, Incident, IncidentStep, Outcome, OwnProblemKind, Phase,
    RealmIx, RealmStatus, Reason, RestartResult, Role, Severity, Status,
};
use heartbeat_supervisor::ProbeSource;

use super::{Verdict, View, fail, status};

pub(super) fn incidents_open_once_and_end_once(view: &View<'_>) -> Verdict {
    let mut open: Vec<_> = view.before.incidents.iter().map(|incident| incident.no).collect();
    for event in view.events {
        let EventKind::Incident { step, incident, note } = &event.kind else { continue };
        let known = open.contains(&incident.no);
        let opens = *step == IncidentStep::Opened;
        fail(known == opens, || format!("incident {} is {step}, known before: {known}", incident.no))?;
        fail(note.is_none() && *step == IncidentStep::Resolved, || {
            format!("incident {} is {step}, and nothing says how", incident.no)
        })?;
        if opens {
            open.push(incident.no);
        } else if *step == IncidentStep::Resolved {
            open.retain(|no| *no != incident.no);
        }
    }
    let shown: Vec<_> = view.after.incidents.iter().map(|incident| incident.no).collect();
    fail(open != shown, || format!("told of {open:?}, shown are {shown:?}"))?;
    let roots: Vec<_> = view.after.incidents.iter().filter_map(|incident| incident.root).collect();
    let twice = roots.iter().find(|root| roots.iter().filter(|other| other == root).count() > 1);
    fail(twice.is_some(), || format!("two incidents are rooted in {twice:?}"))
}

/// No realm is blamed for what another one does: a new incident never has a blocked root, and a blocked realm keeps an
/// incident of its own only when what blocks it was well after that had been opened.
pub(super) fn no_incident_is_rooted_in_a_blocked_realm(view: &View<'_>) -> Verdict {
    for incident in &view.after.incidents {
        let Some(root) = incident.root.and_then(|ix| status(view.after, ix)) else { continue };
        let blamed = root.status == Status::Blocked
            && root.blocked_by.iter().any(|ix| {
                let own_fault = status(view.after, *ix).is_some_and(|need| need.status != Status::Blocked);
                let probes = view.plan.realm(*ix).probes.iter().zip(&view.reference.passes[ix.index()]);
                let mut measured = probes
                    .filter(|(spec, _)| spec.source == ProbeSource::Measured && spec.info.role != Role::Info);
                let older = measured.any(|(_, pass)| pass.is_none_or(|pass| pass <= incident.opened_at));
                own_fault && older && view.after.incident_of(*ix).is_some()
            });
        fail(blamed, || format!("{} is blocked and still has an incident of its own", root.info.name))?;
    }
    for (at, event) in view.events.iter().enumerate() {
        let EventKind::Incident { step: IncidentStep::Opened, incident, .. } = &event.kind else { continue };
        // Two timers are due at once: it was the realm's own fault, and the next start waits for a need; or its need
        // turns out to be the root in the same moment.
        let Some(open) = view.after.incidents.iter().find(|open| open.no == incident.no) else { continue };
        let root = open.root.and_then(|ix| status(view.after, ix));
        // Where only operators stop what it needs, its own crash is all that there is. Several timers may be due at once,
        // and one of them blocks it after the incident was opened.
        let blocked = root
            .filter(|root| root.status == Status::Blocked)
            .filter(|root| status_at(view, at, root.info.ix) == Some(Status::Blocked));
        fail(blocked.is_some_and(|root| suffers_from_a_fault(view, root)), || {
            format!("an incident is opened on {:?}, which is blocked", incident.root)
        })?;
    }
    Ok(())
}

/// The severity is that of its most critical realm, and it began when the outage was detected.
pub(super) fn incidents_have_the_right_severity_and_time(view: &View<'_>) -> Verdict {
    for (at, event) in view.events.iter().enumerate() {
        let EventKind::Incident { step, incident, .. } = &event.kind else { continue };
        let critical = |ix: &RealmIx| view.plan.realm(*ix).critical;
        let matters = incident.root.as_ref().is_none_or(critical) || incident.affected.iter().any(critical);
        // One that concerned a critical realm which a reload has removed stays critical.
        let critical = incident.severity == Severity::Critical;
        fail(if *step == IncidentStep::Opened { matters != critical } else { matters && !critical }, || {
            format!("incident {} is {}, critical is {matters}", incident.no, incident.severity)
        })?;
        fail(incident.opened_at > view.now, || format!("incident {} is of the future", incident.no))?;
        if *step != IncidentStep::Opened {
            continue;
        }
        // The restart that was open when the incident was opened: within the step another one may have followed it.
        let followed = view.events[at..].iter().any(|later| {
            matches!(later.kind, EventKind::RestartOpened { .. })
                && later.realm.as_ref().map(|(ix, _)| *ix) == incident.root
        });
        let then = if followed { view.before } else { view.after };
        let restart = incident.root.and_then(|ix| status(then, ix)?.restart.as_ref());
        let open = restart.filter(|record| record.result.is_none());
        // It may have been closed within the step.
        let detected = restart.and_then(|record| record.steps.first()).map_or(view.now, |(_, at)| *at);
        let ended =
            incident.root.and_then(|ix| status(view.after, ix)?.process.last_exit).map(|last| last.at);
        let known = [Some(detected), Some(view.now), ended].contains(&Some(incident.opened_at));
        fail(!known, || {
            format!("incident {} began at {:?}, detected at {detected:?}", incident.no, incident.opened_at)
        })?;
        let unplanned = restart.is_some_and(|record| record.cause.is_debited());
        let failed = incident.root.and_then(|ix| status(view.after, ix)).map(|root| root.status);
        let restarting = failed == Some(Status::Restarting) && unplanned && open.is_some();
        // What a suspect does to its dependents is another matter than its own restart.
        let suspected = incident.reason == Reason::SuspectNeed;
        // The restart that is open may belong to the incident of a need, and then the realm ends by itself.
        let crashed = view.events[..at].iter().any(|event| {
            event.realm.as_ref().map(|(ix, _)| *ix) == incident.root
                && matches!(event.kind, EventKind::RunExited { expected: false, .. })
        });
        fail(restarting && !suspected && !crashed && incident.opened_at != detected, || {
            format!("incident {} began at {:?}, detected at {detected:?}", incident.no, incident.opened_at)
        })?;
    }
    Ok(())
}

/// An incident ends when its root is fine again, rests, or turned out to suffer from another one; never because
/// heartbeatd stops. And it does end then.
pub(super) fn incidents_end_on_evidence(view: &View<'_>) -> Verdict {
    let fine = |realm: &RealmStatus| {
        let open = realm.restart.as_ref().is_some_and(|record| record.result.is_none());
        !open && matches!(realm.status, Status::Up | Status::Degraded | Status::Done)
    };
    let passes = |realm: &RealmStatus| realm.status == Status::Paused && realm.health.is_pass();
    for (at, event) in view.events.iter().enumerate() {
        let EventKind::Incident { step: IncidentStep::Resolved, incident, note } = &event.kind else {
            continue;
        };
        let begins = view.events.iter().position(|event| event.kind == EventKind::ShutdownStarted);
        let ours = incident.problem.is_some();
        let stops = !ours && view.reference.shutdown.is_some() && begins.is_none_or(|begins| begins < at);
        fail(stops, || format!("incident {} ends with heartbeatd", incident.no))?;
        let Some(root) = incident.root.and_then(|ix| status(view.after, ix)) else { continue };
        // The root may have been fine for a moment within the step.
        let was_fine = view.events[..at].iter().any(|event| {
            event.realm.as_ref().is_some_and(|(ix, _)| *ix == root.info.ix)
                && matches!(
                    event.kind,
                    EventKind::StatusChanged { to: Status::Up | Status::Degraded | Status::Done, .. }
                        | EventKind::HealthChanged { to: Health::Healthy | Health::Degraded, .. }
                        | EventKind::RestartClosed { result: RestartResult::Verified, .. }
                )
        });
        let was_fine = was_fine || status(view.before, root.info.ix).is_some_and(fine);
        // A pause covers its status: it passed, too, until its health was said to be worse.
        let worse = view.events[..at].iter().any(|event| {
            event.realm.as_ref().is_some_and(|(ix, _)| *ix == root.info.ix)
                && matches!(event.kind, EventKind::HealthChanged { to, .. } if !to.is_pass())
        });
        let passed = !worse && status(view.before, root.info.ix).is_some_and(passes);
        let folded = note.as_ref().is_some_and(|note| note.starts_with("part of the incident of"));
        let rests = root.desired == Desired::Down || root.status == Status::Stopped;
        let stuck = matches!(root.phase, Phase::Stuck | Phase::Unverified);
        fail(!folded && (stuck || !(fine(root) || was_fine || rests || passes(root) || passed)), || {
            format!("the incident of {} ends while it is {}: {note:?}", root.info.name, root.status)
        })?;
    }
    if view.reference.shutdown.is_some() {
        return Ok(());
    }
    for incident in &view.after.incidents {
        let Some(root) = incident.root.and_then(|ix| status(view.after, ix)) else { continue };
        // A need that refuses work is up, and has the incident of its dependents until they are well again.
        let suspected = view.after.realms.iter().any(|realm| realm.suspects.contains(&root.info.ix));
        let refuses = root.probes.iter().any(|probe| {
            let last = probe.last.as_ref().map(|last| last.outcome);
            matches!(
                last,
                Some(Outcome::Degraded(DegradedReason::ReportedDegraded | DegradedReason::ReportedDown))
            )
        });
        let hurt = incident
            .affected
            .iter()
            .any(|ix| status(view.after, *ix).is_some_and(|realm| !fine(realm)) || old_evidence(view, *ix));
        let relapsed = view.reference.relapsed[root.info.ix.index()];
        let duration = suspected || relapsed || (refuses && hurt);
        // It also lasts as long as a realm that it has taken along, and until this heartbeatd has measured its root.
        let suffers = incident.affected.iter().any(|ix| {
            let waits = |realm: &RealmStatus| {
                matches!(realm.status, Status::Blocked | Status::Down | Status::Restarting | Status::Starting)
            };
            status(view.after, *ix).is_some_and(waits) && view.after.incident_of(*ix).is_none()
        });
        let duration = duration || suffers || old_evidence(view, root.info.ix);
        fail(fine(root) && !duration, || {
            format!("{} is {}, and its incident is open", root.info.name, root.status)
        })?;
    }
    Ok(())
}

/// The files of the state directory lie on one disk.
pub(super) fn one_disk_is_one_incident(view: &View<'_>) -> Verdict {
    let of_disk = |incident: &&Arc<Incident>| {
        use OwnProblemKind::{History, Intent, OpenIncidents};
        matches!(incident.problem, Some(Intent | OpenIncidents | History))
    };
    let open = view.after.incidents.iter().filter(of_disk).count();
    fail(open > 1, || format!("{open} incidents about the files of one directory"))
}

/// Whether a realm needs one that fails, directly or through others, and not only what operators stop or
/// restart.
fn suffers_from_a_fault(view: &View<'_>, realm: &RealmStatus) -> bool {
    let mut needs = realm.blocked_by.iter().filter_map(|need| status(view.after, *need));
    needs.any(|need| match need.status {
        Status::Blocked => suffers_from_a_fault(view, need),
        Status::Down => true,
        _ => view.after.incident_of(need.info.ix).is_some(),
    })
}

/// A realm that ends by itself is in an incident: at once when no need is to blame, or an operator has stopped the need;
/// otherwise in that of its need, at the latest when the need is well again. Until its processes are gone it is not
/// shown as blocked, and its need is to blame all the same.
pub(super) fn a_crash_is_in_an_incident(view: &View<'_>) -> Verdict {
    for realm in view.after.realms.iter().filter(|realm| view.reference.faults.crashed[realm.info.ix.index()])
    {
        fail(!suffers_from_a_fault(view, realm) && view.reference.shutdown.is_none(), || {
            format!("{} has crashed, is {}, and no incident names it", realm.info.name, realm.status)
        })?;
    }
    Ok(())
}

/// A realm that fails is the root of an open incident, or affected by one. It takes a while to find out whose fault a
/// failing probe is.
pub(super) fn every_realm_that_fails_is_in_an_incident(view: &View<'_>) -> Verdict {
    const CONFIRMED_WITHIN: Duration = Duration::from_secs(300);
    if view.reference.shutdown.is_some() {
        return Ok(());
    }
    for realm in &view.after.realms {
        let Some(since) = view.reference.faults.unnamed_since[realm.info.ix.index()] else { continue };
        let bound = if realm.status == Status::Down { CONFIRMED_WITHIN } else { Duration::ZERO };
        fail(view.now.since(since) >= bound, || {
            let (name, status, why) = (&realm.info.name, realm.status, &realm.why.message);
            format!("{name} is {status} ({why}) since {since:?}, and no incident names it")
        })?;
    }
    Ok(())
}

/// The status of a realm when the event at this place was emitted.
fn status_at(view: &View<'_>, at: usize, ix: RealmIx) -> Option<Status> {
    let told = view.events[..at].iter().rev().find_map(|event| match event.kind {
        EventKind::StatusChanged { to, .. } if event.realm.as_ref().is_some_and(|(of, _)| *of == ix) => {
            Some(to)
        }
        _ => None,
    });
    told.or_else(|| status(view.before, ix).map(|realm| realm.status))
}

/// Whether a probe that decides has not passed since heartbeatd was started.
fn old_evidence(view: &View<'_>, ix: RealmIx) -> bool {
    let life = view.reference.faults.life_since;
    let probes = view.plan.realm(ix).probes.iter().zip(&view.reference.passes[ix.index()]);
    probes
        .filter(|(spec, _)| spec.source == ProbeSource::Measured && spec.info.role != Role::Info)
        .any(|(_, pass)| pass.is_none_or(|pass| pass < life))
}

/// "healthy again" is said of a realm that is up, and under another heartbeatd only after it has measured the realm.
pub(super) fn an_incident_ends_as_its_words_say(view: &View<'_>) -> Verdict {
    for (at, event) in view.events.iter().enumerate() {
        let EventKind::Incident { step: IncidentStep::Resolved, incident, note: Some(note) } = &event.kind
        else {
            continue;
        };
        let Some(root) = incident.root.filter(|_| note == "healthy again") else { continue };
        let name = &view.plan.realm(root).name;
        let then = status_at(view, at, root);
        let well = matches!(then, Some(Status::Up | Status::Degraded | Status::Paused));
        fail(!well, || format!("the incident of {name} ends as {note}, and it is {then:?}"))?;
        fail(old_evidence(view, root), || format!("the incident of {name} ends on old evidence"))?;
    }
    Ok(())
}

/// What an incident affects when it is opened is in its first message.
pub(super) fn opened_names_who_is_affected(view: &View<'_>) -> Verdict {
    // Several timers may be due at once, and each of them has its own consequences.
    if view.timed {
        return Ok(());
    }
    let told = |wanted: IncidentStep| {
        view.events.iter().filter_map(move |event| match &event.kind {
            EventKind::Incident { step, incident, note } if *step == wanted => Some((incident.no, note)),
            _ => None,
        })
    };
    for (no, _) in told(IncidentStep::Opened) {
        let later = told(IncidentStep::Updated).find(|(of, _)| *of == no);
        fail(later.is_some(), || format!("incident {no} is opened, and at once updated: {later:?}"))?;
    }
    Ok(())
}

/// An update of an incident is another root, cause, severity, or circle of affected realms than receivers know.
pub(super) fn an_update_has_news(view: &View<'_>) -> Verdict {
    let mut known: Vec<&Arc<Incident>> = view.before.incidents.iter().collect();
    for event in view.events {
        let EventKind::Incident { step, incident, .. } = &event.kind else { continue };
        if let Some(at) = known.iter().position(|before| before.no == incident.no) {
            let before = known.swap_remove(at);
            fail(*step == IncidentStep::Updated && before == incident, || {
                format!("incident {} is updated, and nothing of it has changed", incident.no)
            })?;
        }
        known.push(incident);
    }
    Ok(())
}
