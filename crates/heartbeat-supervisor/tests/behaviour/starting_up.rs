//! A server that answers that it is starting up gets time, and is quoted.

use heartbeat_status::{Exit, FailReason, Health, IncidentStep, Outcome, Phase, Reason, Status};
use heartbeat_supervisor::RealmSpec;

use crate::drive::{A, B, Depends, Drive, FAIL, bare, probed, secs};

const STARTING: Outcome = Outcome::Fail { reason: FailReason::StartingUp, phase: None };

fn slow() -> RealmSpec {
    let mut spec = probed("a");
    spec.start.timeout = Some(secs(6));
    spec
}

#[test]
fn each_answer_that_says_so_extends_the_start() {
    let mut d = Drive::boot(vec![slow(), bare("b").needs(A)]);
    d.launch_all();
    d.detail = "the database system is starting up".into();
    d.wait_answering(secs(59), |_| STARTING);
    let status = d.status(A);
    assert_eq!(
        (status.phase, status.status, status.why.reason),
        (Phase::Starting, Status::Starting, Reason::StartingUp)
    );
    assert!(
        status.why.message.starts_with("starting: the database system is starting up (for 5"),
        "{}",
        status.why.message
    );
    assert_eq!((d.signals(), d.sup.snapshot(d.now).incidents.len()), (vec![], 0));
    assert_eq!(d.phase(B), Phase::Waiting, "its gate stays closed");
    // After `start.timeout_max` a person is told, and the server goes on.
    d.wait_answering(secs(30), |_| STARTING);
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!((d.signals(), incidents.len(), incidents[0].reason), (vec![], 1, Reason::StartTimedOut));
    assert!(incidents[0].message.contains("the database system is starting up"), "{}", incidents[0].message);
    d.take();
    d.wait_answering(secs(2), |_| Outcome::Pass);
    d.launch_all();
    d.wait_answering(secs(20), |_| Outcome::Pass);
    assert_eq!(
        (d.word(A), d.status(A).restarts.total, d.sup.snapshot(d.now).incidents.len()),
        (Status::Up, 0, 0)
    );
}

#[test]
fn one_that_says_no_more_is_ended_after_the_timeout() {
    let mut d = Drive::boot(vec![slow()]);
    d.launch_all();
    d.wait_answering(secs(20), |_| STARTING);
    d.wait_answering(secs(7), |_| FAIL);
    assert_eq!(d.signals().len(), 1, "{}", d.message(A));
    let mut d = Drive::boot(vec![slow()]);
    d.launch_all();
    d.wait_answering(secs(7), |_| FAIL);
    assert_eq!(d.signals().len(), 1, "it has never said so");
}

#[test]
fn timeout_max_is_as_configured() {
    let mut spec = slow();
    spec.start.timeout_max = Some(secs(10));
    let mut d = Drive::boot(vec![spec]);
    d.launch_all();
    d.wait_answering(secs(9), |_| STARTING);
    assert!(d.sup.snapshot(d.now).incidents.is_empty());
    d.wait_answering(secs(2), |_| STARTING);
    let told = d.events.iter().filter(|event| {
        matches!(event.kind, heartbeat_status::EventKind::Incident { step: IncidentStep::Opened, .. })
    });
    assert_eq!(told.count(), 1);
}

#[test]
fn after_its_first_pass_it_is_a_failure_like_any_other() {
    let mut d = Drive::up(vec![slow()]);
    d.wait_answering(secs(4), |_| STARTING);
    d.until_measured(A);
    d.answer(A, STARTING);
    let outcome = d.status(A).probes[0].last.as_ref().expect("a result").outcome;
    assert_eq!(outcome.reason().map(|reason| reason.as_str()), Some("UnexpectedStatus"));
    d.wait_answering(secs(20), |_| STARTING);
    assert_eq!(d.status(A).restarts.total, 1, "it is restarted for its health");
}

#[test]
fn a_restart_that_is_starting_up_says_so_too() {
    let mut d = Drive::stable(vec![slow()]);
    d.exit(A, Exit::code(1));
    d.launch_all();
    d.detail = "LOADING Redis is loading the dataset in memory".into();
    d.wait_answering(secs(30), |_| STARTING);
    let status = d.status(A);
    assert_eq!(
        (status.status, status.why.reason, status.health),
        (Status::Restarting, Reason::StartingUp, Health::Unknown)
    );
    assert!(status.why.message.contains("LOADING Redis is loading"), "{}", status.why.message);
}
