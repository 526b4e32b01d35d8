//! Problems of heartbeatd itself: one incident for each that lasts, closed when its cause ends.

use heartbeat_status::{EventKind, IncidentStep, OwnProblemKind, Reason};
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
        d.wait_answering(secs(4), |_| heartbeat_status::Outcome::Pass);
    }
    assert_eq!(told(&mut d), []);
}

#[test]
fn each_part_has_an_incident_of_its_own() {
    let mut d = Drive::up(vec![probed("a")]);
    report(&mut d, OwnProblemKind::Intent, Some(FULL));
    report(&mut d, OwnProblemKind::Records, Some("cannot write the record of a"));
    d.wait_answering(secs(6), |_| heartbeat_status::Outcome::Pass);
    assert_eq!(told(&mut d).len(), 2);
    report(&mut d, OwnProblemKind::Records, None);
    d.wait_answering(secs(5), |_| heartbeat_status::Outcome::Pass);
    let closed = told(&mut d);
    assert_eq!(closed.iter().map(|(_, kind, _)| *kind).collect::<Vec<_>>(), [Some(OwnProblemKind::Records)]);
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
