//! A oneshot is on its way until it is done or has failed; it is never up.

use heartbeat_status::{EdgeKind, Exit, Gate, NextAction, Phase, Reason, Status, WhileDown};
use heartbeat_wire::Action;

use crate::drive::{A, B, Depends, Drive, bare, oneshot, secs};

#[test]
fn a_oneshot_is_starting_until_it_is_done() {
    let mut d = Drive::boot(vec![oneshot("a")]);
    d.take();
    d.started(A);
    d.wait(secs(30));
    let why = d.status(A).why.clone();
    assert_eq!((d.phase(A), d.word(A), why.reason), (Phase::Running, Status::Starting, Reason::Starting));
    assert_eq!((why.next.action, why.next.when.as_deref()), (NextAction::Done, Some("its process ends")));
    assert!(!d.sup.snapshot(d.now).is_ok(), "it is not as it should be before it is done");
    d.exit(A, Exit::code(0));
    assert_eq!(d.word(A), Status::Done);
    assert!(d.sup.snapshot(d.now).is_ok());
}

#[test]
fn a_oneshot_that_is_done_and_asked_to_run_again_is_not_up_meanwhile() {
    let mut d = Drive::boot(vec![oneshot("a")]);
    d.take();
    d.started(A);
    d.exit(A, Exit::code(0));
    d.take();
    d.order(Action::Restart, A);
    d.wait(secs(1));
    d.launch_all();
    assert_eq!((d.phase(A), d.word(A)), (Phase::Running, Status::Restarting));
    let why = d.status(A).why.clone();
    assert_eq!((why.next.action, why.next.when.as_deref()), (NextAction::Done, Some("its process ends")));
    assert_eq!(why.message, "requested; runs");
    d.exit(A, Exit::code(0));
    assert_eq!(d.word(A), Status::Done);
}

#[test]
fn a_oneshot_that_runs_opens_the_gate_started_and_no_other() {
    let waits = |until| bare("b").edge(A, EdgeKind::Needs, until, WhileDown::Ride);
    for (until, starts) in [(Gate::Started, vec![B]), (Gate::Done, vec![])] {
        let mut d = Drive::boot(vec![oneshot("a"), waits(until)]);
        d.take();
        d.started(A);
        d.wait(secs(30));
        assert_eq!(d.starts(), starts, "{until}");
    }
    let mut d = Drive::boot(vec![oneshot("a"), waits(Gate::Done)]);
    d.take();
    d.started(A);
    let why = d.status(B).why.clone();
    assert_eq!(
        (why.message.as_str(), why.next.when.as_deref()),
        ("waits for a, which is starting", Some("a is done"))
    );
}
