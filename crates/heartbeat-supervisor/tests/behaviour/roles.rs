//! What a probe's failure may cause depends on its role; how much evidence a verdict needs, on its thresholds and
//! times.

use std::time::Duration;

use heartbeat_status::{
    CommandId, Exit, Health, InconclusiveReason, Outcome, ProbeKind, Role, Status, Thresholds,
};
use heartbeat_supervisor::{Found, Input, RealmSpec, RestoredState};

use crate::drive::{A, B, Depends, Drive, FAIL, bare, external, policy, probed, secs};

const OURS: Outcome = Outcome::Inconclusive(InconclusiveReason::MonitorLag);

/// A live probe and one of another role.
fn two(role: Role) -> RealmSpec {
    let mut spec = probed("a");
    let mut second = spec.probes[0].clone();
    (second.info.name, second.info.role) = ("second".into(), role);
    spec.probes.push(second);
    spec
}

/// The live probe passes, and the second one answers `outcome`, for so long.
fn second_answers(d: &mut Drive, time: Duration, outcome: Outcome) {
    let until = d.now + time;
    while d.now < until {
        d.answer_probes(A, [Outcome::Pass, outcome]);
        d.wait(Duration::from_millis(100));
    }
}

#[test]
fn a_failing_ready_probe_makes_it_unhealthy_and_restarts_nothing() {
    let mut d = Drive::stable(vec![two(Role::Ready), bare("b").needs(A)]);
    second_answers(&mut d, secs(120), FAIL);
    let status = d.status(A);
    assert_eq!((status.status, status.health, status.restarts.total), (Status::Down, Health::Unhealthy, 0));
    assert!(status.probes[1].interval >= Some(secs(5)), "no measurement hurries for a restart: {status:?}");
    assert_eq!((d.signals(), d.word(B)), (vec![], Status::Up));
    d.exit(B, Exit::code(1));
    assert_eq!((d.word(B), d.starts()), (Status::Blocked, vec![]), "it holds what needs it");
    second_answers(&mut d, secs(20), Outcome::Pass);
    assert_eq!((d.word(A), d.starts()), (Status::Up, vec![B]));
}

#[test]
fn a_failing_info_probe_is_shown_and_nothing_else() {
    let mut d = Drive::stable(vec![two(Role::Info), bare("b").needs(A)]);
    second_answers(&mut d, secs(120), FAIL);
    let status = d.status(A);
    assert_eq!((status.status, status.health, status.restarts.total), (Status::Up, Health::Healthy, 0));
    assert_eq!((status.probes[1].fails > 2, d.word(B), d.signals()), (true, Status::Up, vec![]));
    assert!(d.sup.snapshot(d.now).incidents.is_empty());
}

#[test]
fn a_failing_live_probe_restarts() {
    let mut d = Drive::stable(vec![two(Role::Live)]);
    second_answers(&mut d, secs(20), FAIL);
    assert_eq!(d.signals().len(), 1);
}

#[test]
fn the_probe_that_has_decided_is_named_first() {
    let mut spec = two(Role::Ready);
    spec.probes[1].info.thresholds = Thresholds::new(1, 1, None).expect("good thresholds");
    let mut d = Drive::stable(vec![spec]);
    while d.word(A) == Status::Up {
        d.answer_probes(A, [FAIL, FAIL]);
        d.wait(Duration::from_millis(100));
    }
    let message = d.message(A);
    assert!(message.starts_with("second: ") && message.contains("; http: "), "{message}");
}

#[test]
fn health_that_was_interrupted_does_not_reset_the_delay() {
    let grown = || {
        let mut spec = two(Role::Ready);
        spec.restart = policy(|settings| {
            (settings.backoff, settings.reset_after) = (secs(8), secs(60));
        });
        let mut d = Drive::stable(vec![spec]);
        for _ in 0..2 {
            d.exit(A, Exit::code(1));
            for _ in 0..20 {
                d.launch_all();
                second_answers(&mut d, secs(1), Outcome::Pass);
            }
        }
        d
    };
    // Fifty seconds of health, a short failure of a probe that restarts nothing, fifty seconds of health.
    let mut d = grown();
    second_answers(&mut d, secs(30), Outcome::Pass);
    second_answers(&mut d, secs(10), FAIL);
    assert_eq!(d.word(A), Status::Down);
    second_answers(&mut d, secs(50), Outcome::Pass);
    d.take();
    d.exit(A, Exit::code(1));
    d.wait(secs(7));
    assert_eq!(d.starts(), [], "the delay has not been reset");
    // The same time without a break.
    let mut d = grown();
    second_answers(&mut d, secs(98), Outcome::Pass);
    d.take();
    d.exit(A, Exit::code(1));
    assert_eq!(d.starts(), [A], "at once, as the first time");
}

#[test]
fn a_restart_is_verified_after_as_many_passes_as_it_takes() {
    let mut spec = probed("a");
    spec.probes[0].info.thresholds = Thresholds::new(3, 4, None).expect("good thresholds");
    spec.restart = policy(|settings| settings.verify_for = Duration::ZERO);
    let mut d = Drive::stable(vec![spec]);
    d.exit(A, Exit::code(1));
    d.launch_all();
    for pass in 1..=4 {
        assert_eq!(d.word(A), Status::Restarting, "before pass {pass}");
        d.until_measured(A);
        d.answer(A, Outcome::Pass);
    }
    assert_eq!(d.word(A), Status::Up);
}

#[test]
fn a_refresh_measures_an_external_realm_once_per_interval() {
    let mut spec = external("a");
    spec.probes[0].info.interval = secs(20);
    let mut d = Drive::up(vec![spec]);
    d.until_measured(A);
    d.answer(A, Outcome::Pass);
    let measured = d.now;
    for second in 1..20 {
        d.wait((measured + secs(second)).since(d.now));
        d.feed(Input::Refresh { id: CommandId(1_000 + second), realm: None });
        assert_eq!(d.in_flight(A), 0, "{second} s after the last measurement");
    }
}

#[test]
fn a_probe_is_stale_after_three_of_its_intervals() {
    let mut spec = probed("a");
    spec.probes[0].info.interval = secs(60);
    let mut d = Drive::stable(vec![spec]);
    d.until_measured(A);
    d.answer(A, Outcome::Pass);
    let last = d.now;
    d.wait_answering((last + secs(181)).since(d.now), |_| OURS);
    assert_eq!((d.word(A), d.status(A).probes[0].stale), (Status::Up, false), "max(30 s, 3 x 60 s + 2 s)");
    d.wait_answering(secs(2), |_| OURS);
    assert_eq!((d.word(A), d.status(A).probes[0].stale), (Status::Unknown, true));
}

#[test]
fn a_probe_that_passes_again_is_stale_by_the_interval_that_it_has_then() {
    for down in [600, 620, 640, 660, 680] {
        let mut d = Drive::stable(vec![two(Role::Ready)]);
        second_answers(&mut d, secs(down), FAIL);
        assert_eq!(d.status(A).probes[1].interval, Some(secs(30)), "measured less often while it is down");
        second_answers(&mut d, secs(40), Outcome::Pass);
        second_answers(&mut d, secs(36), OURS);
        assert!(d.status(A).probes[1].stale, "after {down} s: max(30 s, 3 x 5 s + 2 s)");
    }
}

#[test]
fn time_asleep_makes_nothing_stale() {
    let mut d = Drive::stable(vec![probed("a")]);
    d.now = d.now + secs(3_600);
    d.feed(Input::Suspended { asleep: secs(3_600) });
    // The first measurements after waking say nothing.
    d.wait_answering(secs(28), |_| OURS);
    assert_eq!((d.word(A), d.status(A).probes[0].stale), (Status::Up, false));
    d.wait_answering(secs(5), |_| OURS);
    assert_eq!(d.word(A), Status::Unknown);
}

#[test]
fn a_verdict_about_another_target_is_not_taken_over() {
    let mut d = Drive::stable(vec![probed("a")]);
    let mut kept = None;
    d.killed_with(
        |memory: &mut RestoredState| kept = Some(memory.clone()),
        |_| Found::Alive { pid: 100, launching: false },
    );
    for (change, verdict) in [(false, true), (true, false)] {
        let mut spec = probed("a");
        if change {
            spec.probes[0].info.target = "http://127.0.0.1:2/".to_string();
        }
        let mut next = Drive::cold(vec![spec]);
        next.now = d.now;
        next.sup.restore(next.now, kept.clone().expect("what is remembered"));
        next.feed(Input::Boot);
        assert_eq!(next.status(A).probes[0].verdict.is_some(), verdict, "another target: {change}");
    }
    // The same target asked in another way is another probe, too.
    let mut spec = probed("a");
    spec.probes[0].info.kind = ProbeKind::Tcp;
    let mut next = Drive::cold(vec![spec]);
    next.now = d.now;
    next.sup.restore(next.now, kept.expect("what is remembered"));
    next.feed(Input::Boot);
    assert_eq!(next.status(A).probes[0].verdict, None);
}
