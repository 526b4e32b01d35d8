//! Cases that other supervisors test and that no test here told apart yet; `docs/scenarios.md` has the whole list.

use heartbeat_restart::RestartWhen;
use heartbeat_status::{Exit, Outcome, Phase, ProbeIx, Signal, Status};
use heartbeat_supervisor::{ProbeSource, ProbeSpec};
use heartbeat_wire::Action;

use crate::drive::{A, B, Depends, Drive, FAIL, bare, oneshot, policy, probed, secs};

#[test]
fn on_failure_restarts_failures_and_leaves_success_alone() {
    let mut spec = bare("a");
    spec.restart = policy(|settings| settings.when = RestartWhen::OnFailure);
    let mut d = Drive::stable(vec![spec]);
    d.exit(A, Exit::code(1));
    assert_eq!(d.starts(), [A]);
    d.launch_all();
    d.exit(A, Exit::code(0));
    d.wait(secs(600));
    assert_eq!((d.starts(), d.phase(A)), (vec![], Phase::Stopped));
}

#[test]
fn an_end_by_any_signal_is_restarted_and_told_apart() {
    let deadly = (1..=31).filter(|number| ![17, 18, 19, 20, 21, 22, 23, 28].contains(number));
    for signal in deadly.filter_map(Signal::new) {
        let mut d = Drive::stable(vec![bare("a")]);
        d.exit(A, Exit::signal(signal));
        assert_eq!(d.starts(), [A], "{signal}");
        let told = d.status(A).process.last_exit.expect("it has ended").exit;
        assert_eq!(told, Exit::signal(signal));
        assert!(d.message(A).contains(&format!("SIG{signal}")), "{signal}: {}", d.message(A));
    }
}

#[test]
fn exactly_the_configured_signal_is_sent_first() {
    for signal in (1..=31).filter_map(Signal::new).filter(|signal| *signal != Signal::KILL) {
        let mut spec = bare("a");
        spec.stop.signal = signal;
        let mut d = Drive::up(vec![spec]);
        d.order(Action::Stop, A);
        // CONT follows every one of them, and is left out here.
        let expected = if signal == Signal::CONT { vec![] } else { vec![(A, signal)] };
        assert_eq!(d.signals(), expected);
    }
}

#[test]
fn several_failing_probes_are_one_restart() {
    let mut spec = probed("a");
    let mut second = spec.probes[0].clone();
    second.info.name = "second".to_string();
    spec.probes.push(ProbeSpec { source: ProbeSource::Measured, ..second });
    let mut d = Drive::up(vec![spec]);
    d.wait_answering(secs(30), |_| FAIL);
    assert_eq!(d.signals().iter().filter(|(_, signal)| *signal == Signal::TERM).count(), 1);
    assert_eq!(d.status(A).restarts.total, 1);
    assert_eq!(d.status(A).probes.len(), ProbeIx(2).index());
}

#[test]
fn a_pass_before_the_restart_is_due_cancels_it() {
    // Three failures in as many seconds are seen, and acted on two intervals after the first of them.
    let mut d = Drive::up(vec![probed("a")]);
    for _ in 0..3 {
        d.until_measured(A);
        d.answer(A, FAIL);
    }
    assert_eq!(d.word(A), Status::Down);
    d.until_measured(A);
    d.answer(A, Outcome::Pass);
    d.wait_answering(secs(60), |_| Outcome::Pass);
    assert_eq!((d.word(A), d.signals(), d.status(A).restarts.total), (Status::Up, vec![], 0));
}

#[test]
fn a_need_that_fails_before_a_realm_waits_for_it_blocks_with_its_name() {
    let mut task = oneshot("a");
    task.restart = policy(|settings| settings.when = RestartWhen::Never);
    let mut waiting = bare("b");
    waiting.manual = true;
    let mut d = Drive::boot(vec![
        task,
        waiting.edge(
            A,
            heartbeat_status::EdgeKind::Needs,
            heartbeat_status::Gate::Done,
            heartbeat_status::WhileDown::Ride,
        ),
    ]);
    d.launch_all();
    d.exit(A, Exit::code(3));
    assert_eq!(d.word(A), Status::Failed);
    d.take();
    // A start tries what it needs once more.
    d.order(Action::Start, B);
    d.wait(secs(1));
    assert_eq!(d.starts(), [A]);
    d.started(A);
    d.exit(A, Exit::code(3));
    assert!(!d.starts().contains(&B));
    assert_eq!(d.word(B), Status::Blocked);
    assert!(d.message(B).contains("a, which is failed"), "{}", d.message(B));
}

#[test]
fn a_crash_loop_after_days_of_calm_is_limited_like_any_other() {
    let mut spec = bare("a");
    spec.restart = policy(|settings| settings.burst = 3);
    let mut d = Drive::up(vec![spec]);
    d.wait(secs(3 * 24 * 3_600));
    for _ in 0..3 {
        d.exit(A, Exit::code(1));
        d.wait(secs(5));
        d.launch_all();
    }
    d.exit(A, Exit::code(1));
    assert_eq!(d.phase(A), Phase::Cooldown);
}

#[test]
fn calm_brings_the_first_delay_back() {
    let mut d = Drive::up(vec![bare("a")]);
    for _ in 0..3 {
        d.exit(A, Exit::code(1));
        d.wait(secs(5));
        d.launch_all();
    }
    d.wait(secs(120));
    d.take();
    d.exit(A, Exit::code(1));
    assert_eq!(d.starts(), [A], "at once, as the first time");
}

#[test]
fn only_critical_realms_count_for_the_ecosystem() {
    let mut extra = bare("a");
    extra.critical = false;
    let mut d = Drive::up(vec![extra, bare("b")]);
    d.exit(A, Exit::code(1));
    let seen = d.sup.snapshot(d.now);
    assert_eq!(d.word(A), Status::Restarting);
    assert!(seen.is_ok() && seen.worst() == Status::Up, "nobody depends on it for everything to be well");
    d.exit(B, Exit::code(1));
    let seen = d.sup.snapshot(d.now);
    assert!(!seen.is_ok() && seen.worst() == Status::Restarting);
}
