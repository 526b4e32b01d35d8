//! A need that refuses work is the suspect: it is named, and its dependents spend nothing on it.

use std::time::Duration;

use heartbeat_status::{
    DegradedReason, Exit, Flag, IncidentStep, NextAction, Outcome, Phase, Reason, Status,
};
use heartbeat_supervisor::{Command, Found, RealmSpec};
use heartbeat_wire::Action;

use crate::drive::{A, B, C, Depends, Drive, FAIL, bare, policy, probed, secs};

const REFUSES: Outcome = Outcome::Degraded(DegradedReason::ReportedDegraded);
const SLOW: Outcome = Outcome::Degraded(DegradedReason::Slow);

/// `a` is needed by `b`; the rest keeps the circuit breaker closed.
fn shop() -> Vec<RealmSpec> {
    let mut realms = vec![probed("a"), probed("b").needs(A)];
    realms.extend(["c", "d", "e", "f"].map(bare));
    realms
}

fn refused(realm: heartbeat_status::RealmIx) -> Outcome {
    if realm == A { REFUSES } else { FAIL }
}

/// `a` refuses work, and `b` fails for that.
fn refusing() -> Drive {
    let mut d = Drive::stable(shop());
    d.detail = "sorry, too many clients already".into();
    d.wait_answering(secs(20), refused);
    d
}

#[test]
fn the_suspect_is_named_and_has_the_incident() {
    let mut d = refusing();
    d.exit(B, Exit::code(0));
    d.launch_all();
    d.wait_answering(secs(10), refused);
    let (need, dependent) = (d.status(A), d.status(B));
    assert_eq!(need.status, Status::Degraded);
    assert!(need.flags.contains(&Flag::Suspect) && !dependent.flags.contains(&Flag::Suspect));
    assert_eq!((dependent.why.reason, dependent.suspects.clone()), (Reason::SuspectNeed, vec![A]));
    let message = &dependent.why.message;
    assert!(
        message.starts_with("probably because a is degraded: sorry, too many clients already; "),
        "{message}"
    );
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!(incidents.len(), 1);
    assert_eq!((incidents[0].root, incidents[0].affected.clone()), (Some(A), vec![B]));
    assert_eq!(incidents[0].reason, Reason::SuspectNeed);
    assert!(incidents[0].message.contains("sorry, too many clients already"), "{}", incidents[0].message);
}

/// The one restart has been made, and its realm does not become ready either.
#[test]
fn no_restart_is_announced_that_is_not_made() {
    let mut d = refusing();
    d.exit(B, Exit::code(0));
    d.launch_all();
    for _ in 0..200 {
        d.wait_answering(secs(1), refused);
        let next = d.status(B).why.next.clone();
        assert!(next.action != NextAction::Restart, "{next:?}");
    }
    assert_eq!(d.phase(B), Phase::Starting);
}

/// A restart that waits for answers says so, and names no time that only moves.
#[test]
fn a_restart_that_waits_for_its_need_names_no_time() {
    let mut d = Drive::stable(vec![probed("a"), probed("b").needs(A)]);
    let mut waited = 0;
    for _ in 0..80 {
        d.wait(Duration::from_millis(500));
        // The need does not answer.
        d.answer(B, FAIL);
        let next = d.status(B).why.next.clone();
        assert!(next.action != NextAction::Restart || next.at.is_none_or(|at| at > d.now), "{next:?}");
        waited += usize::from(next.when.as_deref() == Some("what it needs passes"));
    }
    assert!(waited > 10, "{:?}", d.status(B).why);
}

#[test]
fn one_restart_is_tried_without_budget_and_no_second_one() {
    let mut d = refusing();
    assert_eq!(d.signals().iter().map(|(realm, _)| *realm).collect::<Vec<_>>(), [B]);
    d.exit(B, Exit::code(0));
    d.launch_all();
    d.wait_answering(secs(600), refused);
    let status = d.status(B);
    assert_eq!(
        (status.restarts.used, status.restarts.total, d.signals().len()),
        (0, 1, 0),
        "{}",
        status.why.message
    );
    assert_eq!(status.why.reason, Reason::SuspectNeed);
    // The suspect passes: what it refused is measured at once, and counted afresh.
    d.detail.clear();
    d.wait_answering(secs(40), |_| Outcome::Pass);
    assert_eq!((d.word(A), d.word(B)), (Status::Up, Status::Up));
    assert!(d.sup.snapshot(d.now).incidents.is_empty());
    let opened = d.events.iter().filter(|event| {
        matches!(event.kind, heartbeat_status::EventKind::Incident { step: IncidentStep::Opened, .. })
    });
    assert_eq!(opened.count(), 0, "no incident but the one of the suspect");
    d.wait_answering(secs(20), |realm| if realm == B { FAIL } else { Outcome::Pass });
    d.exit(B, Exit::code(0));
    assert_eq!(d.status(B).restarts.used, 1, "its own fault is restarted like any other");
}

#[test]
fn an_answer_that_names_the_need_is_not_worth_a_restart() {
    for (detail, signals) in [
        ("503: could not connect to A: sorry", 0),
        ("503: {\"error\":\"http refused\"}", 0),
        ("503: database says no", 1),
    ] {
        let mut d = Drive::stable(shop());
        d.detail = detail.into();
        d.wait_answering(secs(40), refused);
        assert_eq!(d.signals().iter().filter(|(realm, _)| *realm == B).count().min(1), signals, "{detail}");
        assert_eq!(d.status(B).suspects, [A]);
    }
}

#[test]
fn a_dependent_that_exits_waits_and_starts_at_most_once_per_backoff_max() {
    let mut worker = bare("b").needs(A);
    worker.restart = policy(|settings| settings.backoff_max = secs(60));
    let mut d = Drive::stable(vec![probed("a"), worker]);
    d.detail = "MISCONF".into();
    d.wait_answering(secs(6), |_| REFUSES);
    let (begun, mut starts) = (d.now, 0);
    d.exit(B, Exit::code(1));
    while d.now.since(begun) < secs(600) {
        d.wait_answering(secs(1), |_| REFUSES);
        if d.starts().contains(&B) {
            starts += 1;
            d.launch_all();
            d.exit(B, Exit::code(1));
        }
    }
    assert!((9..=11).contains(&starts), "{starts} starts in ten minutes");
    let status = d.status(B);
    assert_eq!(
        (status.phase, status.restarts.used, status.why.reason),
        (Phase::Waiting, 0, Reason::SuspectNeed)
    );
    assert!(
        status.why.message.starts_with("probably because a is degraded: MISCONF; exit code 1"),
        "{}",
        status.why.message
    );
    assert_eq!(d.sup.snapshot(d.now).incidents[0].affected, [B]);
    d.take();
    d.wait_answering(secs(7), |_| Outcome::Pass);
    assert_eq!(d.starts(), [B], "it starts as soon as its need passes");
}

#[test]
fn an_exit_shortly_before_the_need_was_measured_is_not_debited() {
    let mut d = Drive::stable(vec![probed("a"), bare("b").needs(A)]);
    d.detail = "MISCONF".into();
    d.exit(B, Exit::code(1));
    assert_eq!(d.status(B).restarts.used, 1, "nothing is known of its need yet");
    d.launch_all();
    d.wait_answering(secs(6), |_| REFUSES);
    d.exit(B, Exit::code(1));
    assert_eq!((d.status(B).restarts.used, d.phase(B)), (0, Phase::Waiting));
}

#[test]
fn a_need_that_is_merely_slow_is_no_suspect() {
    let mut d = Drive::stable(shop());
    d.wait_answering(secs(20), |realm| if realm == A { SLOW } else { FAIL });
    assert_eq!(d.status(B).suspects, []);
    assert_eq!(d.status(B).restarts.total, 1);
    d.exit(B, Exit::code(0));
    assert_eq!(d.status(B).restarts.used, 1, "its own fault");
}

#[test]
fn a_dependent_that_passes_stays_up() {
    let mut d = Drive::stable(shop());
    d.wait_answering(secs(120), |realm| if realm == A { REFUSES } else { Outcome::Pass });
    assert_eq!(
        (d.word(A), d.word(B), d.sup.snapshot(d.now).incidents.len()),
        (Status::Degraded, Status::Up, 0)
    );
}

#[test]
fn a_fault_that_is_older_than_the_suspicion_is_its_own() {
    let mut spec = probed("b").needs(A);
    spec.restart = policy(|settings| settings.when = heartbeat_restart::RestartWhen::Never);
    let mut d = Drive::stable(vec![probed("a"), spec]);
    d.wait_answering(secs(60), |realm| if realm == A { Outcome::Pass } else { FAIL });
    d.wait_answering(secs(60), refused);
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!((d.status(B).suspects.len(), incidents.len(), incidents[0].root), (0, 1, Some(B)));
}

#[test]
fn an_incident_opened_on_the_dependent_moves_to_the_suspect() {
    let mut d = Drive::stable(shop());
    d.wait_answering(secs(12), |realm| if realm == A { Outcome::Pass } else { FAIL });
    let number = d.sup.snapshot(d.now).incidents[0].no;
    d.wait_answering(secs(8), refused);
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!(
        (incidents.len(), incidents[0].no, incidents[0].root),
        (1, number, Some(A)),
        "{}",
        d.message(B)
    );
}

#[test]
fn a_dependent_that_fails_alone_is_not_excused_for_ever() {
    let mut realms = vec![probed("a"), probed("b").needs(A), probed("c").needs(A)];
    realms.extend(["d", "e", "f"].map(bare));
    let mut d = Drive::stable(realms);
    let answer = |realm| match realm {
        A => REFUSES,
        C => Outcome::Pass,
        _ => FAIL,
    };
    d.wait_answering(secs(20), answer);
    d.exit(B, Exit::code(0));
    d.launch_all();
    d.wait_answering(secs(30), answer);
    assert_eq!((d.status(B).why.reason, d.signals().len()), (Reason::SuspectNeed, 0));
    // After its `start.timeout` alone it is its own fault.
    d.wait_answering(secs(100), answer);
    assert!(d.signals().iter().any(|(realm, _)| *realm == B), "{}", d.message(B));
    assert_ne!(d.status(B).why.reason, Reason::SuspectNeed);
    assert_eq!(d.word(A), Status::Degraded);
}

#[test]
fn what_is_blocked_by_such_a_dependent_folds_under_the_suspect() {
    let mut realms = shop();
    realms[2] = probed("c").needs(B);
    let mut d = Drive::stable(realms);
    d.detail = "no".into();
    d.wait_answering(secs(40), refused);
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!((incidents.len(), incidents[0].root), (1, Some(A)));
    assert!(incidents[0].affected.contains(&B) && incidents[0].affected.contains(&C), "{incidents:?}");
}

#[test]
fn a_suspicion_survives_heartbeatd() {
    let alive = |ix: heartbeat_status::RealmIx| Found::Alive { pid: 100 + ix.0, launching: false };
    let mut d = refusing();
    d.exit(B, Exit::code(0));
    d.launch_all();
    d.wait_answering(secs(20), refused);
    let before = d.sup.snapshot(d.now).incidents;
    assert_eq!(d.status(B).suspects, [A]);
    d.killed(alive);
    assert_eq!((d.status(B).suspects.clone(), d.status(B).why.reason), (vec![A], Reason::SuspectNeed));
    d.detail = "sorry, too many clients already".into();
    d.wait_answering(secs(300), refused);
    let after = d.sup.snapshot(d.now).incidents;
    assert_eq!(
        (after.len(), after[0].no, after[0].root, d.signals().len(), d.status(B).restarts.used),
        (1, before[0].no, Some(A), 0, 0),
        "the restart that a suspicion allows has been made: {}",
        d.message(B)
    );
}

#[test]
fn a_dependent_that_fails_alone_is_not_blamed_on_its_need_for_longer_because_heartbeatd_was_killed() {
    let alive = |ix: heartbeat_status::RealmIx| Found::Alive { pid: 100 + ix.0, launching: false };
    let mut realms = vec![probed("a"), probed("b").needs(A), probed("c").needs(A)];
    realms.extend(["d", "e", "f"].map(bare));
    let alone = |realm| match realm {
        A => REFUSES,
        B => FAIL,
        _ => Outcome::Pass,
    };
    let mut d = Drive::stable(realms);
    d.detail = "sorry".into();
    d.live(secs(40), alone);
    assert_eq!(d.status(B).suspects, [A]);
    let no = d.sup.snapshot(d.now).incidents[0].no;
    for _ in 0..8 {
        d.killed(alive);
        d.detail = "sorry".into();
        d.live(secs(10), alone);
    }
    assert!(d.status(B).suspects.is_empty(), "{}", d.message(B));
    d.live(secs(90), alone);
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!(
        (incidents.len(), incidents[0].no, incidents[0].root),
        (1, no, Some(B)),
        "it was the wrong root"
    );
}

#[test]
fn the_incident_of_a_suspect_stays_open_while_it_refuses_and_what_needs_it_is_not_well() {
    let mut realms = shop();
    realms[2] = probed("c").needs(A);
    let mut d = Drive::stable(realms);
    d.detail = "sorry".into();
    let refuses = |realm| if realm == C || realm == B { FAIL } else { REFUSES };
    d.live(secs(60), refuses);
    let no = d.sup.snapshot(d.now).incidents[0].no;
    let open = |d: &mut Drive| d.sup.snapshot(d.now).incidents.iter().map(|open| open.no).collect::<Vec<_>>();
    // Its dependents are looked at by a person, end, and are started again: nothing proves that it is over.
    for realm in [B, C] {
        d.command(Command { reason: Some("a look".into()), ..Command::new(Action::Pause, realm) });
    }
    d.live(secs(10), refuses);
    assert_eq!(open(&mut d), [no]);
    d.order(Action::Resume, B);
    d.order(Action::Resume, C);
    d.live(secs(30), refuses);
    assert_eq!((open(&mut d), d.status(B).suspects.clone()), (vec![no], vec![A]));
    // They pass although it refuses work.
    d.live(secs(60), |realm| if realm == A { REFUSES } else { Outcome::Pass });
    assert_eq!((open(&mut d), d.word(A)), (vec![], Status::Degraded));
}

#[test]
fn a_suspect_that_is_paused_has_no_incident_and_its_dependent_has_its_own() {
    let mut realms = shop();
    realms[2] = bare("c").needs(B);
    let mut d = Drive::stable(realms);
    d.detail = "sorry".into();
    d.command(Command { reason: Some("repair".into()), ..Command::new(Action::Pause, A) });
    d.live(secs(60), refused);
    assert_eq!((d.word(A), d.status(B).suspects.clone()), (Status::Paused, vec![A]));
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!((incidents.len(), incidents[0].root), (1, Some(B)), "{incidents:?}");
    // What needs it is part of that, also when it crashes.
    d.exit(C, Exit::code(1));
    d.live(secs(10), refused);
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!(
        (d.word(C), incidents.len(), incidents[0].root),
        (Status::Blocked, 1, Some(B)),
        "{incidents:?}"
    );
    assert_eq!(incidents[0].affected, [C]);
    // Once it is resumed, its incident is the one.
    d.order(Action::Resume, A);
    d.live(secs(20), refused);
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!((incidents.len(), incidents[0].root), (1, Some(A)), "{incidents:?}");
}
