//! Problems of heartbeatd itself: one incident for each that lasts, closed when its cause ends.

use heartbeat_status::{EventKind, IncidentStep, OwnProblemKind, Reason, RunFact, StartError, StartFailure};
use heartbeat_supervisor::{Found, Input};

use crate::drive::{A, Drive, probed, secs};

const FULL: &str = "cannot write intent: No space left on device";

fn report(d: &mut Drive, kind: OwnProblemKind, message: Option<&str>) {
    d.feed(Input::OwnProblem { kind, message: message.map(str::to_string) });
}

/// What was told of incidents about heartbeatd: the step, the part, and how it ended.
fn told(d: &mut Drive) -> Vec<(IncidentStep, Option<OwnProblemKind>, Option<String>)> {
    let events = std::mem::take(&mut d.events);
    let steps = events.into_iter().filter_map(|event| match event.kind {
        EventKind::Incident { step, incident, note: resolution } => {
            assert_eq!(incident.root, None);
            Some((step, incident.problem, resolution))
        }
        _ => None,
    });
    steps.collect()
}

#[test]
fn a_problem_that_lasts_five_seconds_is_an_incident_until_it_ends() {
    let mut d = Drive::up(vec![probed("a")]);
    report(&mut d, OwnProblemKind::Intent, Some(FULL));
    d.wait_answering(secs(4), |_| heartbeat_status::Outcome::Pass);
    assert_eq!(told(&mut d), []);
    d.wait_answering(secs(1), |_| heartbeat_status::Outcome::Pass);
    assert_eq!(told(&mut d), [(IncidentStep::Opened, Some(OwnProblemKind::Intent), None)]);
    let snapshot = d.sup.snapshot(d.now);
    let incident = &snapshot.incidents[0];
    assert_eq!((incident.reason, incident.message.as_str()), (Reason::OwnProblem, FULL));
    report(&mut d, OwnProblemKind::Intent, Some("cannot write intent: Read-only file system"));
    d.wait_answering(secs(60), |_| heartbeat_status::Outcome::Pass);
    assert_eq!(told(&mut d), [], "the same problem with other words is the same incident");
    for _ in 0..3 {
        // Now and then a small write succeeds on a full disk.
        report(&mut d, OwnProblemKind::Intent, None);
        d.wait_answering(secs(4), |_| heartbeat_status::Outcome::Pass);
        report(&mut d, OwnProblemKind::Intent, Some(FULL));
        d.wait_answering(secs(60), |_| heartbeat_status::Outcome::Pass);
        assert_eq!(told(&mut d), [], "one problem is one incident");
    }
    report(&mut d, OwnProblemKind::Intent, None);
    d.wait_answering(secs(5), |_| heartbeat_status::Outcome::Pass);
    let over = "the problem of heartbeatd is over".to_string();
    assert_eq!(told(&mut d), [(IncidentStep::Resolved, Some(OwnProblemKind::Intent), Some(over))]);
    assert!(d.sup.snapshot(d.now).is_ok(), "the realms are as they were");
}

#[test]
fn a_problem_that_ends_within_five_seconds_is_no_incident() {
    let mut d = Drive::up(vec![probed("a")]);
    for _ in 0..5 {
        report(&mut d, OwnProblemKind::Socket, Some("the socket is gone"));
        d.wait_answering(secs(4), |_| heartbeat_status::Outcome::Pass);
        report(&mut d, OwnProblemKind::Socket, None);
        d.wait_answering(secs(5), |_| heartbeat_status::Outcome::Pass);
    }
    assert_eq!(told(&mut d), []);
}

/// Some small writes fit on a full disk, and each would end the problem.
#[test]
fn a_problem_that_comes_back_before_it_is_over_is_one_problem() {
    let mut d = Drive::up(vec![probed("a")]);
    for opened in [0, 1] {
        report(&mut d, OwnProblemKind::History, Some(FULL));
        d.wait_answering(secs(1), |_| heartbeat_status::Outcome::Pass);
        report(&mut d, OwnProblemKind::History, None);
        d.wait_answering(secs(4), |_| heartbeat_status::Outcome::Pass);
        assert_eq!(told(&mut d).len(), 0, "it may be over; opened: {opened}");
        report(&mut d, OwnProblemKind::History, Some(FULL));
        d.wait_answering(secs(1), |_| heartbeat_status::Outcome::Pass);
        assert_eq!(told(&mut d).len(), 1 - opened);
    }
    // It is back in order before it has lasted: nothing is left to tell.
    report(&mut d, OwnProblemKind::Directories, Some("the state directory is gone"));
    d.wait_answering(secs(2), |_| heartbeat_status::Outcome::Pass);
    report(&mut d, OwnProblemKind::Directories, None);
    d.wait_answering(secs(60), |_| heartbeat_status::Outcome::Pass);
    assert_eq!(told(&mut d).len(), 0);
}

#[test]
fn a_want_of_starts_is_the_same_incident_after_a_restart_of_heartbeatd() {
    let mut d = Drive::boot(vec![probed("a")]);
    let failed = |d: &mut Drive| {
        let run = d.run(A);
        let error = StartError { failure: StartFailure::HostExhausted, message: "no memory".to_string() };
        d.take_effects();
        d.feed(Input::Run { realm: A, run, fact: RunFact::StartFailed { error } });
    };
    let want = |d: &mut Drive| {
        let until = d.now + secs(120);
        while d.now < until {
            if !d.starts().is_empty() {
                failed(d);
            }
            d.wait(secs(1));
        }
    };
    want(&mut d);
    let no = d.sup.snapshot(d.now).incidents.iter().map(|incident| incident.no).collect::<Vec<_>>();
    assert_eq!(no.len(), 1);
    d.killed(|_| Found::Nothing);
    want(&mut d);
    assert_eq!(d.sup.snapshot(d.now).incidents.iter().map(|incident| incident.no).collect::<Vec<_>>(), no);
}

#[test]
fn each_part_has_an_incident_of_its_own() {
    let mut d = Drive::up(vec![probed("a")]);
    report(&mut d, OwnProblemKind::Intent, Some(FULL));
    report(&mut d, OwnProblemKind::Socket, Some("the socket is gone"));
    d.wait_answering(secs(6), |_| heartbeat_status::Outcome::Pass);
    assert_eq!(told(&mut d).len(), 2);
    report(&mut d, OwnProblemKind::Socket, None);
    d.wait_answering(secs(5), |_| heartbeat_status::Outcome::Pass);
    let closed = told(&mut d);
    assert_eq!(closed.iter().map(|(_, kind, _)| *kind).collect::<Vec<_>>(), [Some(OwnProblemKind::Socket)]);
}

#[test]
fn a_late_loop_is_told_by_the_circuit_breaker_and_not_twice() {
    let mut d = Drive::up(vec![probed("a")]);
    report(&mut d, OwnProblemKind::Loop, Some("the loop of heartbeatd is late"));
    d.feed(Input::Lag { late: true });
    d.wait_answering(secs(20), |_| heartbeat_status::Outcome::Pass);
    assert_eq!(told(&mut d), [(IncidentStep::Opened, None, None)]);
}

#[test]
fn the_next_heartbeatd_goes_on_with_the_incident_and_closes_it_when_the_problem_is_not_seen_again() {
    let alive = |_| Found::Alive { pid: 1, launching: false };
    let mut d = Drive::up(vec![probed("a")]);
    report(&mut d, OwnProblemKind::Intent, Some(FULL));
    d.wait_answering(secs(6), |_| heartbeat_status::Outcome::Pass);
    let no = d.sup.snapshot(d.now).incidents[0].no;
    d.killed(alive);
    report(&mut d, OwnProblemKind::Intent, Some(FULL));
    d.wait_answering(secs(60), |_| heartbeat_status::Outcome::Pass);
    assert_eq!(told(&mut d), [], "it is the incident that it was");
    assert_eq!(d.sup.snapshot(d.now).incidents[0].no, no);
    d.killed(alive);
    d.wait_answering(secs(29), |_| heartbeat_status::Outcome::Pass);
    assert_eq!(told(&mut d), []);
    d.wait_answering(secs(1), |_| heartbeat_status::Outcome::Pass);
    let closed = told(&mut d);
    assert_eq!(closed.len(), 1, "{closed:?}");
    assert_eq!(closed[0].0, IncidentStep::Resolved);
    assert!(d.status(A).status.is_ok());
}

/// The logs of realms lie on it as well: their files are the first that cannot be written, and each other file follows
/// when it is to be written.
#[test]
fn one_full_disk_is_one_incident_until_everything_can_be_written_again() {
    let pass = |_| heartbeat_status::Outcome::Pass;
    let mut d = Drive::up(vec![probed("a")]);
    let signs = [
        (OwnProblemKind::Logs, 8),
        (OwnProblemKind::OpenIncidents, 50),
        (OwnProblemKind::Records, 600),
        (OwnProblemKind::Intent, 3_600),
    ];
    let mut steps = Vec::new();
    for (kind, seconds) in signs {
        report(&mut d, kind, Some(FULL));
        d.wait_answering(secs(seconds), pass);
        steps.extend(told(&mut d).into_iter().map(|(step, ..)| step));
    }
    let first = vec![IncidentStep::Opened];
    assert_eq!(
        (steps, d.sup.snapshot(d.now).incidents.len()),
        (first, 1),
        "each sign says the same of the disk"
    );
    // A heartbeatd that is killed in between finds the disk as full.
    d.killed(|_| Found::Alive { pid: 100, launching: false });
    for (kind, _) in signs {
        report(&mut d, kind, Some(FULL));
    }
    d.wait_answering(secs(60), pass);
    assert_eq!(d.sup.snapshot(d.now).incidents.len(), 1);
    d.take();
    for (kind, _) in signs {
        assert!(!told(&mut d).iter().any(|(step, ..)| *step == IncidentStep::Resolved), "before {kind}");
        report(&mut d, kind, None);
        d.wait_answering(secs(6), pass);
    }
    let last: Vec<IncidentStep> = told(&mut d).into_iter().map(|(step, ..)| step).collect();
    assert_eq!((last, d.sup.snapshot(d.now).incidents.len()), (vec![IncidentStep::Resolved], 0));
}

#[test]
fn an_older_problem_with_a_log_does_not_hide_that_the_state_cannot_be_written() {
    let pass = |_| heartbeat_status::Outcome::Pass;
    let mut d = Drive::up(vec![probed("a")]);
    report(&mut d, OwnProblemKind::Logs, Some("the log of a was moved"));
    d.wait_answering(secs(600), pass);
    report(&mut d, OwnProblemKind::Intent, Some(FULL));
    d.wait_answering(secs(6), pass);
    let opened = told(&mut d).into_iter().filter(|(step, ..)| *step == IncidentStep::Opened).count();
    assert_eq!((opened, d.sup.snapshot(d.now).incidents.len()), (2, 2));
}

#[test]
fn receivers_hear_of_another_problem_of_one_disk_only_when_the_words_are_others() {
    let pass = |_| heartbeat_status::Outcome::Pass;
    let mut d = Drive::up(vec![probed("a")]);
    let parts = [
        (OwnProblemKind::Intent, "cannot write intent: No space left on device"),
        (OwnProblemKind::OpenIncidents, "cannot write incidents.db: disk is full"),
        (OwnProblemKind::History, "cannot write history.db: disk is full"),
    ];
    for (kind, words) in parts {
        report(&mut d, kind, Some(words));
        d.wait_answering(secs(1), pass);
    }
    d.wait_answering(secs(30), pass);
    assert_eq!(told(&mut d).len(), 1);
    let shown = |d: &mut Drive| d.sup.snapshot(d.now).incidents[0].message.clone();
    let first = parts.iter().position(|(_, words)| *words == shown(&mut d)).unwrap();
    // The part that it speaks of works again, and the others do not.
    report(&mut d, parts[first].0, None);
    d.wait_answering(secs(6), pass);
    let steps: Vec<IncidentStep> = told(&mut d).into_iter().map(|(step, ..)| step).collect();
    assert_eq!(steps, [IncidentStep::Updated]);
    assert!(parts.iter().enumerate().any(|(at, (_, words))| at != first && *words == shown(&mut d)));
    // The rest works again almost at once: nothing but the end is news.
    for (kind, _) in parts {
        report(&mut d, kind, None);
        d.wait_answering(secs(1), pass);
    }
    d.wait_answering(secs(10), pass);
    let steps: Vec<IncidentStep> = told(&mut d).into_iter().map(|(step, ..)| step).collect();
    assert_eq!(steps, [IncidentStep::Resolved]);
}

#[test]
fn an_incident_speaks_of_a_problem_that_is_back_and_not_of_one_that_is_over() {
    let pass = |_| heartbeat_status::Outcome::Pass;
    let mut d = Drive::up(vec![probed("a")]);
    report(&mut d, OwnProblemKind::Intent, Some(FULL));
    d.wait_answering(secs(6), pass);
    report(&mut d, OwnProblemKind::History, Some("cannot write history.db: disk is full"));
    d.wait_answering(secs(6), pass);
    report(&mut d, OwnProblemKind::Intent, None);
    d.wait_answering(secs(3), pass);
    report(&mut d, OwnProblemKind::History, None);
    // The first is over now, and the second may be.
    d.wait_answering(secs(3), pass);
    assert_eq!(told(&mut d).len(), 1);
    report(&mut d, OwnProblemKind::History, Some("cannot write history.db: disk is full"));
    d.wait_answering(secs(1), pass);
    let steps: Vec<_> = told(&mut d).into_iter().map(|(step, kind, _)| (step, kind)).collect();
    assert_eq!(steps, [(IncidentStep::Updated, Some(OwnProblemKind::History))]);
    assert_eq!(d.sup.snapshot(d.now).incidents[0].message, "cannot write history.db: disk is full");
}
