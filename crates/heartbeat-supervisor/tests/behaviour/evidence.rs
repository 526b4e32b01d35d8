//! heartbeatd acts on fresh evidence only: when a restart for health may begin, the realm is measured once more.

use std::time::Duration;

use heartbeat_status::{
    FailWindow, InconclusiveReason, Outcome, ProbeKind, Reason, Role, Status, Thresholds,
};
use heartbeat_supervisor::{Command, Input, RealmSpec};
use heartbeat_wire::Action;

use crate::drive::{A, B, C, Depends, Drive, FAIL, bare, external, policy, probed, secs};

const OURS: Outcome = Outcome::Inconclusive(InconclusiveReason::MonitorLag);

fn with_thresholds(name: &str, fail_after: u32, fail_if: Option<FailWindow>) -> RealmSpec {
    let mut spec = probed(name);
    spec.probes[0].info.interval = secs(10);
    spec.probes[0].info.thresholds = Thresholds::new(fail_after, 2, fail_if).expect("good thresholds");
    spec
}

/// How long after its first failure a realm that fails for good is ended, in seconds.
fn ended_after(spec: RealmSpec) -> f64 {
    let mut d = Drive::up(vec![spec, bare("b"), bare("c")]);
    d.until_measured(A);
    let first = d.now;
    while d.signals().is_empty() {
        d.wait_answering(Duration::from_millis(10), |_| FAIL);
        assert!(d.now.since(first) < secs(600), "it is never restarted: {}", d.message(A));
    }
    d.now.since(first).as_secs_f64()
}

#[test]
fn a_restart_waits_for_one_interval_per_failure_after_the_first() {
    // (fail_after - 1) x interval, and the answer of one more measurement.
    for (fail_after, seconds) in [(1, 0.0), (2, 10.0), (3, 20.0), (5, 40.0)] {
        let after = ended_after(with_thresholds("a", fail_after, None));
        assert!((seconds..seconds + 0.1).contains(&after), "fail_after {fail_after}: {after} s");
    }
    // `fail_if = "2 of 4"` counts as 2.
    let window = FailWindow::new(2, 4).expect("a good window");
    let after = ended_after(with_thresholds("a", 9, Some(window)));
    assert!((10.0..10.1).contains(&after), "2 of 4: {after} s");
}

#[test]
fn the_time_of_a_window_begins_with_the_first_failure_inside_it() {
    let window = FailWindow::new(3, 6).expect("a good window");
    let mut d = Drive::up(vec![with_thresholds("a", 9, Some(window)), bare("b"), bare("c")]);
    let mut first = None;
    for outcome in [FAIL, FAIL, Outcome::Pass, FAIL] {
        d.until_measured(A);
        first.get_or_insert(d.now);
        d.answer(A, outcome);
    }
    assert_eq!(d.word(A), Status::Down);
    let first = first.expect("a failure");
    d.wait_answering((first + secs(20)).since(d.now) - Duration::from_millis(1), |_| FAIL);
    assert_eq!((d.word(A), d.signals().len()), (Status::Down, 0));
    d.wait_answering(Duration::from_millis(50), |_| FAIL);
    assert_eq!((d.word(A), d.signals().len()), (Status::Restarting, 1), "{}", d.message(A));
}

#[test]
fn a_realm_that_passes_again_before_its_restart_is_due_is_not_restarted() {
    let mut d = Drive::up(vec![with_thresholds("a", 3, None), bare("b"), bare("c")]);
    d.until_measured(A);
    let first = d.now;
    // It heals right after the last measurement before the restart may begin.
    d.wait_answering((first + secs(20)).since(d.now) - Duration::from_millis(1), |_| FAIL);
    assert_eq!(d.word(A), Status::Down);
    d.wait_answering(secs(60), |_| Outcome::Pass);
    assert_eq!((d.signals(), d.word(A), d.status(A).restarts.total), (vec![], Status::Up, 0));
}

#[test]
fn an_inconclusive_measurement_neither_restarts_nor_clears() {
    let mut d = Drive::up(vec![with_thresholds("a", 3, None), bare("b"), bare("c")]);
    d.until_measured(A);
    d.wait_answering(secs(19), |_| FAIL);
    d.wait_answering(secs(8), |_| OURS);
    assert_eq!((d.signals(), d.word(A)), (vec![], Status::Down));
    d.wait_answering(secs(3), |_| FAIL);
    assert_eq!(d.signals().len(), 1, "the next failure is enough");
}

#[test]
fn a_realm_that_waits_for_others_to_be_restarted_is_measured_once_more() {
    let realms = || (["a", "b", "c"].map(probed).into_iter()).chain(["d", "e", "f", "g", "h", "i"].map(bare));
    let mut d = Drive::up(realms().collect());
    d.wait_answering(secs(14), |_| FAIL);
    let held = [A, B, C].into_iter().find(|realm| d.word(*realm) == Status::Down).expect("one is held");
    assert_eq!(d.status(held).probes[0].interval, Some(secs(1)), "it does not slow down while it waits");
    // It passes from now on; a place is free once one of the two others has been restarted.
    for realm in [A, B, C].into_iter().filter(|realm| *realm != held) {
        d.exit(realm, heartbeat_status::Exit::code(0));
    }
    for _ in 0..40 {
        d.launch_all();
        d.wait_answering(secs(1), |_| Outcome::Pass);
    }
    assert_eq!((d.word(held), d.status(held).restarts.total), (Status::Up, 0));
}

#[test]
fn a_pause_that_ends_asks_for_evidence_of_its_own() {
    let mut d = Drive::up(vec![with_thresholds("a", 1, None), bare("b"), bare("c")]);
    d.command(Command { reason: Some("a look".into()), ..Command::new(Action::Pause, A) });
    d.wait_answering(secs(40), |_| FAIL);
    d.take();
    d.command(Command::new(Action::Resume, A));
    assert_eq!(d.signals(), vec![]);
    d.wait_answering(Duration::from_millis(20), |_| FAIL);
    assert_eq!(d.signals().len(), 1, "measured at once, and one failure is enough here");
}

#[test]
fn a_command_that_waits_for_its_backoff_is_not_run_for_a_realm_that_passes_again() {
    let mut spec = probed("a");
    spec.restart_command = true;
    spec.restart = policy(|settings| settings.backoff = secs(30));
    let mut d = Drive::stable(vec![spec, bare("b"), bare("c")]);
    d.exit(A, heartbeat_status::Exit::code(1));
    d.launch_all();
    d.wait_answering(secs(10), |_| Outcome::Pass);
    assert_eq!(d.word(A), Status::Up);
    d.wait_answering(secs(20), |_| FAIL);
    assert_eq!(
        (d.word(A), d.status(A).restarts.used),
        (Status::Restarting, 2),
        "the second attempt has a time"
    );
    d.take();
    d.wait_answering(secs(60), |_| Outcome::Pass);
    let ran = d.effects.iter().any(|effect| matches!(effect, heartbeat_supervisor::Effect::Hook { .. }));
    assert!(!ran && d.word(A) == Status::Up, "{}", d.message(A));
}

#[test]
fn a_need_that_answers_slower_than_its_dependent_is_measured_does_not_hold_the_restart_for_ever() {
    let mut need = probed("a");
    need.probes[0].info.timeout = secs(3);
    let mut d = Drive::up(vec![need, with_thresholds("b", 1, None).needs(A), bare("c")]);
    for _ in 0..40 {
        d.wait(Duration::from_millis(1_500));
        d.answer(B, FAIL);
        d.answer(A, Outcome::Pass);
    }
    assert!(d.signals().iter().any(|(realm, _)| *realm == B), "{}", d.message(B));
}

#[test]
fn a_failing_ready_probe_does_not_end_a_restart_that_is_being_verified() {
    let mut spec = probed("a");
    let mut ready = spec.probes[0].clone();
    (ready.info.name, ready.info.role) = ("ready".into(), Role::Ready);
    spec.probes.push(ready);
    let mut d = Drive::stable(vec![spec]);
    d.exit(A, heartbeat_status::Exit::code(1));
    d.launch_all();
    for _ in 0..200 {
        d.wait(secs(1));
        d.answer_probes(A, [Outcome::Pass, FAIL]);
    }
    assert_eq!(d.signals(), vec![], "{}", d.message(A));
}

#[test]
fn the_grace_of_an_external_realm_holds_until_its_first_pass() {
    let graced = || {
        let mut spec = external("a");
        spec.probes[0].grace = Some(secs(30));
        spec
    };
    let mut d = Drive::boot(vec![graced()]);
    d.wait_answering(secs(29), |_| FAIL);
    assert_eq!((d.word(A), d.status(A).probes[0].fails), (Status::Starting, 0));
    d.wait_answering(secs(10), |_| FAIL);
    assert_eq!(d.word(A), Status::Down);
    let mut d = Drive::boot(vec![graced()]);
    d.wait_answering(secs(3), |_| Outcome::Pass);
    d.wait_answering(secs(10), |_| FAIL);
    assert_eq!(d.word(A), Status::Down, "it ends with the first pass");
}

#[test]
fn an_external_realm_of_which_no_probe_decides_is_never_up() {
    for outcome in [Outcome::Pass, FAIL] {
        let mut spec = external("a");
        spec.probes[0].info.role = Role::Info;
        let mut d = Drive::boot(vec![spec]);
        d.wait_answering(secs(60), |_| outcome);
        assert_eq!((d.word(A), d.status(A).why.reason), (Status::Unknown, Reason::NoEvidence));
        let message = d.message(A);
        assert!(message.starts_with("its probes only inform"), "{message}");
        assert_eq!(message.contains("times in a row"), outcome == FAIL, "{message}");
    }
}

/// Least time between two measurements of `A` while everything asks for them at once.
fn least_gap(spec: RealmSpec, late: bool) -> Duration {
    let interval = spec.probes[0].info.interval;
    let mut d = Drive::up(vec![spec, with_thresholds("b", 1, None).needs(A)]);
    if late {
        d.feed(Input::Lag { late: true });
        d.wait_answering(interval, |_| Outcome::Pass);
    }
    let (mut last, mut least) = (None, Duration::MAX);
    for tenth in 0..600 {
        if tenth % 5 == 0 {
            d.feed(Input::Refresh { id: heartbeat_status::CommandId(1_000 + tenth), realm: None });
        }
        if d.in_flight(A) > 0 {
            least = least.min(last.map_or(Duration::MAX, |last| d.now.since(last)));
            last = Some(d.now);
            d.answer(A, if tenth % 7 == 0 { FAIL } else { Outcome::Pass });
        }
        d.answer(B, FAIL);
        d.wait(Duration::from_millis(100));
    }
    least
}

#[test]
fn nothing_measures_more_often_than_it_may() {
    let mut command = probed("a");
    command.probes[0].info.kind = ProbeKind::Exec;
    (command.probes[0].info.interval, command.probes[0].info.timeout) = (secs(1), secs(1));
    assert!(least_gap(command, false) >= secs(1), "a check command runs at most once a second");
    let mut spec = external("a");
    spec.probes[0].info.interval = secs(20);
    assert!(least_gap(spec, false) >= secs(4), "an external realm: a fifth of its interval");
}

#[test]
fn no_interval_shrinks_while_heartbeatd_lags() {
    let mut d = Drive::up(vec![external("a")]);
    d.feed(Input::Lag { late: true });
    d.until_measured(A);
    d.answer(A, FAIL);
    assert_eq!(d.status(A).probes[0].interval, Some(secs(5)));
    d.feed(Input::Lag { late: false });
    d.until_measured(A);
    d.answer(A, FAIL);
    assert_eq!(d.status(A).probes[0].interval, Some(secs(1)));
}

#[test]
fn a_need_for_which_a_realm_waits_is_measured_every_second() {
    let mut d = Drive::up(vec![external("a"), bare("b").needs(A)]);
    d.wait_answering(secs(60), |_| FAIL);
    assert_eq!(d.word(A), Status::Down);
    assert_eq!(d.status(A).probes[0].interval, Some(secs(20)), "no gate waits: it slows down");
    d.exit(B, heartbeat_status::Exit::code(1));
    assert_eq!(d.status(A).probes[0].interval, Some(secs(1)));
}

/// A need that is back, a pause that ends, and time asleep take back what was counted, also from a probe that had its
/// threshold.
#[test]
fn failures_that_are_forgiven_count_for_nothing() {
    type Forgive = fn(&mut Drive);
    let ways: [(&str, Forgive); 3] = [
        ("a need is broken, and back", |d| {
            d.exit(B, heartbeat_status::Exit::code(1));
            for _ in 0..200 {
                d.wait_answering(Duration::from_millis(100), |_| OURS);
                d.launch_all();
                if d.word(B) == Status::Up {
                    return;
                }
            }
            panic!("{}", d.message(B));
        }),
        ("a pause ends", |d| {
            d.command(Command { reason: Some("a look".into()), ..Command::new(Action::Pause, A) });
            d.command(Command::new(Action::Resume, A));
        }),
        ("heartbeatd slept", |d| d.feed(Input::Suspended { asleep: secs(3_600) })),
    ];
    for (way, forgive) in ways {
        for before in 1..=4 {
            let realms = [probed("a").needs(B), bare("b"), bare("c"), bare("d")];
            let mut d = Drive::stable(realms.to_vec());
            for _ in 0..before {
                d.until_measured(A);
                d.answer(A, FAIL);
            }
            forgive(&mut d);
            d.take();
            // Two failures, far enough apart for a restart.
            for _ in 0..2 {
                d.until_measured(A);
                d.answer(A, FAIL);
                d.wait_answering(secs(12), |_| OURS);
            }
            assert_eq!(d.signals(), [], "{way}, after {before}: two of three");
            d.until_measured(A);
            d.wait_answering(secs(3), |_| FAIL);
            assert!(!d.signals().is_empty(), "{way}, after {before}: {}", d.message(A));
        }
    }
}
