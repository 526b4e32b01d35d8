//! Time that does not count, and realms that nothing acts on: a pause, sleep of heartbeatd, a stopped process.

use std::time::Duration;

use heartbeat_status::{EventKind, Exit, Outcome, Phase, RealmIx, RunFact, Signal, Status};
use heartbeat_supervisor::{Command, Effect, Found, Input};
use heartbeat_wire::Action;

use crate::drive::{A, B, C, Depends, Drive, FAIL, bare, policy, probed, secs};

fn alive(ix: RealmIx) -> Found {
    Found::Alive { pid: 100 + ix.0, launching: false }
}

fn pause(d: &mut Drive) {
    d.command(Command { reason: Some("a look at it".to_string()), ..Command::new(Action::Pause, A) });
    d.take();
}

#[test]
fn a_paused_realm_is_not_restarted_at_the_end_of_its_start_timeout() {
    let mut d = Drive::boot(vec![probed("a")]);
    d.launch_all();
    pause(&mut d);
    d.wait_answering(secs(600), |_| FAIL);
    assert_eq!((d.phase(A), d.word(A), d.signals()), (Phase::Starting, Status::Paused, vec![]));
    assert_eq!(d.status(A).restarts.total, 0);
    // Once it is resumed the time counts again.
    d.order(Action::Resume, A);
    d.wait_answering(secs(61), |_| FAIL);
    assert_eq!(d.signals()[0], (A, Signal::TERM));
}

/// What a maintenance window commands.
fn window(length: u64) -> Command {
    Command {
        reason: Some("maintenance".into()),
        duration: Some(secs(length)),
        extends_only: true,
        ..Command::new(Action::Pause, A)
    }
}

#[test]
fn a_maintenance_window_makes_no_pause_shorter() {
    let mut d = Drive::up(vec![probed("a")]);
    pause(&mut d);
    d.command(window(60));
    d.live(secs(120), |_| Outcome::Pass);
    assert_eq!((d.word(A), d.status(A).why.message.as_str()), (Status::Paused, "a look at it"));
    // One that an operator has given an end is made longer.
    d.command(Command { duration: Some(secs(30)), ..Command::new(Action::Pause, A) });
    d.command(window(60));
    d.live(secs(45), |_| Outcome::Pass);
    assert_eq!((d.word(A), d.status(A).why.message.as_str()), (Status::Paused, "maintenance"));
    d.live(secs(30), |_| Outcome::Pass);
    assert_eq!(d.word(A), Status::Up);
}

#[test]
fn a_restart_that_an_operator_asks_for_is_made_in_a_pause_and_leaves_it() {
    let mut d = Drive::up(vec![probed("a"), bare("b").needs(A)]);
    for realm in [A, B] {
        d.command(Command { reason: Some("disk repair".into()), ..Command::new(Action::Pause, realm) });
    }
    d.take();
    d.command(Command { cascade: true, ..Command::new(Action::Restart, A) });
    let resumed = |d: &Drive| d.events.iter().any(|event| matches!(event.kind, EventKind::Resumed { .. }));
    d.exit(B, Exit::signal(Signal::TERM));
    // heartbeatd is killed in between, and goes on.
    d.killed(|ix| if ix == A { alive(ix) } else { Found::Nothing });
    d.exit(A, Exit::signal(Signal::TERM));
    d.live(secs(20), |_| Outcome::Pass);
    for realm in [A, B] {
        let status = d.status(realm);
        assert_eq!((status.phase, status.process.run.0), (Phase::Running, 2), "{}", status.info.name);
        assert_eq!((status.status, status.pause.is_some()), (Status::Paused, true));
        assert_eq!(status.why.message, "disk repair");
    }
    assert!(!resumed(&d), "nothing but a resume ends a pause");
    // The order is carried out: what happens to it now is held by the pause again.
    d.take();
    d.exit(B, Exit::code(1));
    d.wait_answering(secs(30), |_| Outcome::Pass);
    assert_eq!((d.starts(), d.phase(B)), (vec![], Phase::Stopped));
    d.order(Action::Start, B);
    assert_eq!(d.starts(), [B], "a start that an operator asks for is made in a pause, too");
    d.launch_all();
    assert_eq!(d.word(B), Status::Paused);
    d.order(Action::Resume, B);
    d.wait(secs(2));
    assert_eq!(d.word(B), Status::Up);
}

#[test]
fn a_paused_realm_is_not_restarted_when_its_verification_is_overdue() {
    let mut d = Drive::up(vec![probed("a")]);
    d.order(Action::Restart, A);
    d.exit(A, Exit::signal(Signal::TERM));
    d.launch_all();
    d.wait_answering(Duration::from_millis(600), |_| Outcome::Pass);
    assert_eq!((d.phase(A), d.word(A)), (Phase::Running, Status::Restarting), "it is being verified");
    pause(&mut d);
    d.wait_answering(secs(600), |_| FAIL);
    assert_eq!((d.phase(A), d.word(A), d.signals()), (Phase::Running, Status::Paused, vec![]));
    assert_eq!(d.status(A).restarts.total, 1);
}

#[test]
fn a_stopped_process_is_continued_after_the_first_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut spec = bare("a");
        spec.stop.signal = signal;
        let mut d = Drive::up(vec![spec]);
        d.order(Action::Stop, A);
        let sent: Vec<Signal> = d
            .effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Signal { signal, .. } | Effect::SignalMain { signal, .. } => Some(*signal),
                _ => None,
            })
            .collect();
        assert_eq!(sent, [signal, Signal::CONT], "or it could not act on it before KILL");
    }
}

#[test]
fn time_asleep_does_not_count_against_the_start_timeout() {
    let mut d = Drive::boot(vec![probed("a")]);
    d.launch_all();
    d.wait_answering(secs(50), |_| FAIL);
    // The clock went on, and nothing was measured.
    d.now = d.now + secs(55);
    d.feed(Input::Suspended { asleep: secs(55) });
    d.wait_answering(secs(50), |_| FAIL);
    assert_eq!((d.phase(A), d.signals()), (Phase::Starting, vec![]), "all of it is left");
    d.wait_answering(secs(15), |_| FAIL);
    assert_eq!(d.signals(), [(A, Signal::TERM)]);
}

#[test]
fn failures_of_a_pause_do_not_count_after_it() {
    let mut d = Drive::up(vec![probed("a")]);
    pause(&mut d);
    d.wait_answering(secs(60), |_| FAIL);
    d.order(Action::Resume, A);
    d.take();
    assert_eq!((d.status(A).probes[0].fails, d.signals()), (0, vec![]), "counted afresh");
    d.wait_answering(secs(1), |_| FAIL);
    assert_eq!(d.signals(), [], "nothing is done on what was measured before");
    d.wait_answering(secs(30), |_| FAIL);
    assert_eq!(d.signals()[0], (A, Signal::TERM));
}

#[test]
fn probes_of_many_realms_do_not_share_one_moment() {
    let mut d = Drive::up((0..8).map(|at| probed(&format!("realm-{at}"))).collect());
    d.wait_answering(secs(20), |_| Outcome::Pass);
    let snapshot = d.sup.snapshot(d.now);
    let mut slots: Vec<_> = snapshot.realms.iter().map(|realm| realm.probes[0].next_at).collect();
    slots.sort_unstable();
    slots.dedup();
    assert!(slots.len() >= 6, "each has a slot of its own: {slots:?}");
    let first = slots.iter().flatten().min().expect("they are measured");
    let last = slots.iter().flatten().max().expect("they are measured");
    assert!(last.since(*first) >= secs(1), "over the whole interval: {slots:?}");
}

#[test]
fn what_has_been_stopped_or_failed_is_left_by_a_restart_alone() {
    // Of each phase that rests: what a start, a reset and the clock do about it.
    let mut failing = bare("a");
    failing.restart = policy(|settings| {
        (settings.burst, settings.when_spent) = (1, heartbeat_restart::WhenSpent::Fail);
    });
    let mut d = Drive::up(vec![failing]);
    for _ in 0..2 {
        d.exit(A, Exit::code(1));
        d.wait(secs(2));
        d.launch_all();
    }
    assert_eq!(d.phase(A), Phase::Failed);
    d.wait(secs(7_200));
    assert_eq!(d.starts(), [], "not by the clock");
    d.order(Action::Reset, A);
    assert_eq!(d.starts(), [A], "by a reset");
}

#[test]
fn a_companion_that_rests_is_not_restarted_along() {
    let mut spec = bare("a");
    spec.restart_with = vec![B, C];
    let mut d = Drive::up(vec![spec, bare("b"), bare("c")]);
    d.order(Action::Stop, B);
    d.exit(B, Exit::code(0));
    d.take();
    d.exit(A, Exit::code(1));
    assert_eq!(d.signals(), [(C, Signal::TERM)]);
    assert_eq!(d.word(B), Status::Stopped);
}

#[test]
fn a_start_in_a_pause_is_made_once_although_its_exec_is_on_no_record() {
    let mut d = Drive::up(vec![bare("a")]);
    d.order(Action::Stop, A);
    d.exit(A, Exit::signal(Signal::TERM));
    pause(&mut d);
    d.order(Action::Start, A);
    assert_eq!(d.starts(), [A]);
    // The program was exec'd and ended, and heartbeatd died before it could note either.
    d.killed(|_| Found::Ended { exit: Exit::code(1), empty: false });
    let run = d.run(A);
    d.feed(Input::Run { realm: A, run, fact: RunFact::Emptied });
    d.wait(secs(60));
    assert_eq!((d.starts(), d.phase(A), d.word(A)), (vec![], Phase::Stopped, Status::Paused));
    d.order(Action::Resume, A);
    assert_eq!(d.starts(), [A]);
}
