//! Verified restarts, budget, backoff, cooldown, companions.

use std::time::Duration;

use heartbeat_restart::{RestartWhen, WhenSpent};
use heartbeat_status::{
    EdgeKind, EventKind, Exit, Gate, Hook, NextAction, Outcome, Phase, RealmIx, Reason, RestartCause,
    RestartResult, RestartStep, RunFact, Signal, StartError, StartFailure, Status, What, WhileDown,
};
use heartbeat_supervisor::{Effect, Input, Reply};
use heartbeat_wire::Action;

use crate::drive::{A, B, Depends, Drive, FAIL, bare, external, policy, probed, secs};

/// Each delay in milliseconds is the wanted one, 20 % more or less, and is seen `step` late at most.
fn jittered(delays: &[u128], wanted: &[u128], step: u128) {
    let near = |(delay, wanted): (&u128, &u128)| (wanted * 4 / 5..=wanted * 6 / 5 + step).contains(delay);
    assert_eq!(delays.len(), wanted.len());
    assert!(delays.iter().zip(wanted).all(near), "{delays:?}, wanted {wanted:?}");
    let exact = delays.iter().zip(wanted).skip(1).all(|(delay, wanted)| delay == wanted);
    assert!(!exact, "nothing is jittered: {delays:?}");
}

fn crash(d: &mut Drive) {
    d.take();
    d.exit(A, Exit::code(1));
}

#[test]
fn the_first_crash_restarts_at_once_and_is_verified() {
    let mut d = Drive::stable(vec![probed("a")]);
    crash(&mut d);
    assert_eq!(d.starts(), [A]);
    assert_eq!(
        (d.word(A), d.message(A)),
        (Status::Restarting, "exit code 1 after 80 s, attempt 1 of 6".to_string())
    );
    d.started(A);
    d.wait_answering(secs(4), |_| Outcome::Pass);
    assert_eq!(d.word(A), Status::Restarting, "healthy is not yet recovered");
    let why = d.status(A).why.clone();
    assert_eq!(why.next.action, NextAction::Verify);
    assert!(why.message.ends_with("; its incident stays open until it has been healthy for 5s"), "{why:?}");
    d.wait_answering(secs(4), |_| Outcome::Pass);
    assert_eq!(d.word(A), Status::Up);
    let record = d.status(A).restart.clone().expect("a restart");
    let steps: Vec<RestartStep> = record.steps.iter().map(|(step, _)| *step).collect();
    let verified = RestartStep::ALL.iter().copied().filter(|step| *step != RestartStep::Ended);
    assert_eq!(steps, verified.collect::<Vec<_>>());
    assert_eq!((record.cause, record.result), (RestartCause::Exited, Some(RestartResult::Verified)));
}

#[test]
fn backoff_doubles_until_the_budget_is_spent_then_one_trial_each_cooldown() {
    let mut spec = bare("a");
    spec.restart = policy(|settings| settings.burst = 4);
    let mut d = Drive::stable(vec![spec]);
    let mut delays = Vec::new();
    loop {
        crash(&mut d);
        let at = d.now;
        if d.phase(A) == Phase::Cooldown {
            break;
        }
        while d.starts().is_empty() {
            d.wait(Duration::from_millis(10));
        }
        delays.push(d.now.since(at).as_millis());
        d.started(A);
    }
    jittered(&delays, &[0, 500, 1_000, 2_000], 10);
    assert_eq!((d.word(A), d.status(A).why.next.action), (Status::Failed, NextAction::Start));
    assert!(d.message(A).contains("exit code 1"), "{}", d.message(A));
    for minutes in [5, 10, 20] {
        d.wait(secs(minutes * 60) - Duration::from_millis(10));
        assert_eq!(d.starts(), []);
        d.wait(Duration::from_millis(20));
        assert_eq!(d.starts(), [A], "one trial");
        d.started(A);
        crash(&mut d);
        assert_eq!(d.phase(A), Phase::Cooldown);
    }
}

#[test]
fn when_spent_is_fail_a_person_is_needed() {
    let mut spec = bare("a");
    spec.restart = policy(|settings| (settings.burst, settings.when_spent) = (1, WhenSpent::Fail));
    let mut d = Drive::stable(vec![spec]);
    crash(&mut d);
    d.started(A);
    crash(&mut d);
    assert_eq!((d.phase(A), d.status(A).why.next.action), (Phase::Failed, NextAction::None));
    assert_eq!(d.message(A), "restart budget spent; last: exit code 1 after 0.0 s");
    d.order(Action::Start, A);
    d.wait(secs(1));
    assert_eq!(d.starts(), [A], "a person begins anew");
    assert_eq!(d.status(A).restarts.used, 0);
}

#[test]
fn a_health_restart_needs_threshold_and_two_intervals() {
    let mut d = Drive::up(vec![probed("a")]);
    let since = d.now;
    d.wait_answering(secs(30), |_| FAIL);
    assert_eq!(d.signals()[0], (A, Signal::TERM));
    let record = d.status(A).restart.clone().expect("a restart");
    assert_eq!(record.cause, RestartCause::Unhealthy);
    let decided = d.restart_opened(A).expect("it was told").since(since);
    assert!(decided >= secs(10), "not before two intervals: {decided:?}");
    assert_eq!(d.in_flight(A), 0, "results are on hold until the new generation exists");
}

#[test]
fn an_operators_restart_ends_a_process_that_hangs_while_heartbeatd_restarts_it() {
    let mut d = Drive::up(vec![probed("a")]);
    d.wait_answering(secs(30), |_| FAIL);
    d.take();
    d.exit(A, Exit::signal(Signal::TERM));
    while d.starts().is_empty() {
        d.wait(secs(1));
    }
    d.launch_all();
    d.take();
    d.wait_answering(secs(5), |_| FAIL);
    assert_eq!((d.phase(A), d.signals()), (Phase::Starting, vec![]));
    assert!(matches!(d.order(Action::Restart, A), Reply::Accepted { .. }));
    assert_eq!((d.phase(A), d.signals()), (Phase::Stopping, vec![(A, Signal::TERM)]));
    d.exit(A, Exit::signal(Signal::TERM));
    d.live(secs(15), |_| Outcome::Pass);
    assert_eq!(d.word(A), Status::Up);
}

#[test]
fn a_recovery_counts_from_the_moment_in_which_the_failure_was_detected() {
    let mut d = Drive::stable(vec![probed("a")]);
    while d.word(A) != Status::Down {
        d.wait_answering(Duration::from_millis(50), |_| FAIL);
    }
    let down = d.status(A).why.since;
    d.wait_answering(secs(30), |_| FAIL);
    let decided = d.restart_opened(A).expect("a restart");
    assert!(decided > down, "the restart waits for two intervals, the verdict does not");
    assert_eq!(d.status(A).restart.as_ref().expect("a restart").steps[0].1, down);
    d.exit(A, Exit::signal(Signal::TERM));
    d.live(secs(15), |_| Outcome::Pass);
    let took = d.events.iter().find_map(|event| match event.kind {
        EventKind::RestartClosed { took_ms, .. } => Some((event.at, took_ms)),
        _ => None,
    });
    let (closed, took_ms) = took.expect("verified");
    assert_eq!(u128::from(took_ms), closed.since(down).as_millis());
}

#[test]
fn the_attempt_that_is_told_is_the_budget_that_is_used() {
    let mut spec = probed("a");
    spec.stop.timeout = secs(10);
    let mut d = Drive::stable(vec![spec]);
    d.exit(A, Exit::code(1));
    assert_eq!((d.message(A).ends_with("attempt 1 of 6"), d.status(A).restarts.used), (true, 1));
    d.launch_all();
    d.wait_answering(secs(40), |realm| if realm == A { Outcome::Pass } else { FAIL });
    d.wait_answering(secs(20), |_| FAIL);
    // It is being stopped for its second restart: told as used, though the budget is taken when it has ended.
    assert_eq!(d.phase(A), Phase::Stopping);
    assert!(d.message(A).ends_with("attempt 2 of 6"), "{}", d.message(A));
    assert_eq!(d.status(A).restarts.used, 2);
    d.exit(A, Exit::signal(Signal::TERM));
    assert_eq!(d.status(A).restarts.used, 2);
    d.order(Action::Reset, A);
    assert_eq!(d.status(A).restarts.used, 0);
}

#[test]
fn policy_never_restarts_nothing() {
    let mut spec = probed("a");
    spec.restart = policy(|settings| settings.when = RestartWhen::Never);
    let mut d = Drive::up(vec![spec]);
    d.wait_answering(secs(60), |_| FAIL);
    assert_eq!((d.word(A), d.signals()), (Status::Down, vec![]));
    crash(&mut d);
    assert_eq!(
        (d.phase(A), d.message(A)),
        (Phase::Failed, "exit code 1; its policy leaves it at that".to_string())
    );
}

#[test]
fn what_cannot_be_measured_restarts_nothing() {
    let mut d = Drive::boot(vec![probed("a")]);
    d.launch_all();
    let ours = Outcome::Inconclusive(heartbeat_status::InconclusiveReason::MonitorLag);
    d.wait_answering(secs(600), |_| ours);
    assert_eq!((d.phase(A), d.signals()), (Phase::Starting, vec![]));
}

#[test]
fn a_shortage_of_ours_backs_off_without_a_debit() {
    let mut spec = bare("a");
    spec.restart = policy(|_| {});
    let mut d = Drive::boot(vec![spec]);
    let error = || StartError { failure: StartFailure::HostExhausted, message: "no process is left".into() };
    let (mut gaps, mut last) = (Vec::new(), d.now);
    for _ in 0..10 {
        let run = d.run(A);
        d.take();
        d.feed(Input::Run { realm: A, run, fact: RunFact::StartFailed { error: error() } });
        let status = d.status(A);
        assert_eq!((d.phase(A), status.restarts.used), (Phase::Backoff, 0));
        assert_eq!(
            (status.why.reason, status.start_failure),
            (Reason::StartFailed, Some(StartFailure::HostExhausted))
        );
        assert_eq!(d.message(A), "no process is left");
        while d.starts().is_empty() {
            d.wait(Duration::from_millis(50));
        }
        gaps.push(d.now.since(last).as_secs());
        last = d.now;
    }
    let most = |gap: &u64| (48..=73).contains(gap);
    assert!(gaps[..8].is_sorted() && gaps[7..].iter().all(most), "up to backoff_max: {gaps:?}");
    // Nothing is said of it once it runs.
    d.started(A);
    assert_eq!((d.status(A).start_failure, d.status(A).restarts.used), (None, 0));
}

#[test]
fn requests_coalesce_into_one_restart_without_a_debit() {
    let mut d = Drive::up(vec![bare("a")]);
    let Reply::Accepted { restarts: first, .. } = d.order(Action::Restart, A) else { panic!() };
    let Reply::Accepted { restarts: second, .. } = d.order(Action::Restart, A) else { panic!() };
    assert_eq!(first, second);
    d.take();
    d.exit(A, Exit::signal(Signal::TERM));
    assert_eq!(d.starts(), [A]);
    assert_eq!((d.status(A).restarts.used, d.status(A).restarts.total), (0, 1));
}

#[test]
fn companions_restart_in_the_same_transaction_with_one_debit() {
    let mut spec = bare("a");
    spec.restart_with = vec![B];
    let mut d = Drive::stable(vec![spec, bare("b")]);
    crash(&mut d);
    assert_eq!((d.starts(), d.signals()), (vec![A], vec![(B, Signal::TERM)]));
    d.exit(B, Exit::signal(Signal::TERM));
    assert_eq!(d.starts(), [A, B]);
    assert_eq!((d.status(A).restarts.used, d.status(B).restarts.used), (1, 0));
    let record = d.status(B).restart.clone().expect("a restart");
    assert_eq!(record.cause, RestartCause::DependencyRestarted);
    assert_eq!(record.detail, "restarted together with a", "it does not need that realm");
}

#[test]
fn a_restart_with_cascade_stops_and_starts_in_order() {
    let mut d = Drive::up(vec![bare("a"), bare("b").needs(A)]);
    cascade(&mut d);
    assert_eq!(d.signals(), [(B, Signal::TERM)]);
    d.take();
    d.exit(B, Exit::code(0));
    assert_eq!((d.signals(), d.starts()), (vec![(A, Signal::TERM)], vec![]));
    d.exit(A, Exit::code(0));
    assert_eq!(d.starts(), [A]);
    d.started(A);
    d.wait(secs(10));
    assert_eq!(d.starts(), [A, B]);
}

fn cascade(d: &mut Drive) {
    let command = heartbeat_supervisor::Command {
        cascade: true,
        ..heartbeat_supervisor::Command::new(Action::Restart, A)
    };
    d.command(command);
}

/// A realm that does not run when it is restarted, and a dependent that does.
fn without_a_process(phase: Phase) -> Drive {
    let mut spec = probed("a");
    spec.start.before = phase == Phase::Starting;
    let when_spent = if phase == Phase::Failed { WhenSpent::Fail } else { WhenSpent::Cooldown };
    spec.restart = policy(|settings| (settings.burst, settings.when_spent) = (2, when_spent));
    let hook = |d: &mut Drive| {
        let (run, fact) = (d.run(A), RunFact::HookDone { hook: Hook::Before, failure: None });
        d.feed(Input::Run { realm: A, run, fact });
    };
    let mut d = Drive::boot(vec![spec, probed("b").needs(A)]);
    for _ in 0..200 {
        if d.phase(A) == Phase::Starting && d.starts().is_empty() {
            hook(&mut d);
        }
        d.launch_all();
        d.answer_all(Outcome::Pass);
        d.wait(Duration::from_millis(500));
    }
    for crashes in 1.. {
        assert!(crashes < 9, "it never is {phase}");
        d.exit(A, Exit::code(1));
        let until = d.now + secs(20);
        while d.phase(A) != phase && d.phase(A) != Phase::Running && d.now < until {
            if d.phase(A) == Phase::Starting {
                hook(&mut d);
            }
            d.launch_all();
            d.wait_answering(Duration::from_millis(100), |_| Outcome::Pass);
        }
        if d.phase(A) == phase {
            break;
        }
    }
    assert_eq!((d.phase(A), d.phase(B)), (phase, Phase::Running));
    d.take();
    d
}

#[test]
fn a_restart_with_cascade_stops_dependents_first_also_where_the_realm_does_not_run() {
    for phase in [Phase::Backoff, Phase::Cooldown, Phase::Failed, Phase::Starting] {
        let mut d = without_a_process(phase);
        cascade(&mut d);
        assert_eq!((d.signals(), d.starts()), (vec![(B, Signal::TERM)], vec![]), "{phase}");
        let hooks = |d: &Drive| d.effects.iter().any(|effect| matches!(effect, Effect::Hook { .. }));
        assert!(!hooks(&d), "{phase}: its preparations wait, too");
        let why = d.status(A).why.clone();
        assert_eq!(why.next.when.as_deref(), Some("its dependents are stopped"), "{phase}: {why:?}");
        d.take();
        d.wait(secs(9));
        assert_eq!(d.starts(), [], "{phase}");
        d.exit(B, Exit::code(0));
        d.wait(Duration::from_millis(300));
        assert!(d.starts() == [A] || (phase == Phase::Starting && hooks(&d)), "{phase}: {:?}", d.effects);
    }
}

/// An attempt that a command takes over has lasted until then, and each attempt is on the list.
#[test]
fn an_attempt_has_its_end_and_none_is_missing() {
    let mut spec = bare("a");
    spec.restart = policy(|settings| settings.jitter_percent = 0);
    let mut d = Drive::up(vec![spec]);
    let closed = |d: &mut Drive| {
        let events = std::mem::take(&mut d.events);
        let restarts = events.into_iter().filter_map(|event| match event.kind {
            EventKind::RestartClosed { restart, .. } => Some(*restart),
            _ => None,
        });
        restarts.collect::<Vec<_>>()
    };
    d.exit(A, Exit::code(1));
    d.wait(secs(1));
    d.launch_all();
    d.exit(A, Exit::code(1));
    let failed = closed(&mut d);
    assert_eq!((failed.len(), failed[0].attempt), (1, Some(1)), "{failed:?}");
    assert_eq!(failed[0].steps.last(), Some(&(RestartStep::Ended, d.now)));
    assert_eq!((d.phase(A), d.status(A).restart.as_ref().unwrap().attempt), (Phase::Backoff, Some(2)));
    d.wait(Duration::from_millis(700));
    d.order(Action::Stop, A);
    let cancelled = closed(&mut d);
    assert_eq!(cancelled.len(), 1, "{cancelled:?}");
    let (first, last) = (cancelled[0].steps[0], *cancelled[0].steps.last().unwrap());
    assert_eq!((cancelled[0].result, last.0), (Some(RestartResult::Abandoned), RestartStep::Ended));
    assert_eq!(last.1.since(first.1), Duration::from_millis(700));
}

#[test]
fn an_attempt_that_the_budget_or_the_policy_does_not_allow_is_not_made_up() {
    let mut spec = probed("a");
    spec.restart = policy(|settings| settings.burst = 1);
    let mut d = Drive::stable(vec![spec.clone()]);
    d.exit(A, Exit::code(1));
    d.launch_all_keeping_events();
    d.wait_answering(secs(61), |_| FAIL);
    assert_eq!(d.phase(A), Phase::Stopping);
    assert!(d.message(A).starts_with("being stopped: not ready within 60s"), "{}", d.message(A));
    d.exit(A, Exit::signal(Signal::KILL));
    assert_eq!(d.phase(A), Phase::Cooldown);
    let steps = told(&mut d);
    let words: Vec<(What, &str)> = steps.iter().map(|(what, words)| (*what, words.as_str())).collect();
    assert_eq!(
        words,
        [
            (What::RestartOpened, "exit code 1 after 80 s, attempt 1 of 1"),
            (What::RestartFailed, "attempt 1 of 1 failed after 60.0 s"),
            (What::BudgetSpent, "1 restarts in 10m00s did not help; one trial in 5m00s"),
        ]
    );
    spec.restart = policy(|settings| settings.when = RestartWhen::Never);
    let mut d = Drive::boot(vec![spec]);
    d.launch_all_keeping_events();
    d.wait_answering(secs(61), |_| FAIL);
    assert_eq!((d.phase(A), d.word(A)), (Phase::Stopping, Status::Restarting));
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!(incidents.iter().map(|incident| incident.reason).collect::<Vec<_>>(), [Reason::StartTimedOut]);
    d.exit(A, Exit::signal(Signal::KILL));
    assert_eq!((d.phase(A), told(&mut d)), (Phase::Failed, vec![]));
    assert_eq!(d.sup.snapshot(d.now).incidents.len(), 1);
}

#[test]
fn without_a_stable_run_the_first_crash_waits_for_its_backoff() {
    let mut spec = bare("a");
    spec.restart = policy(|settings| (settings.backoff, settings.backoff_max) = (secs(60), secs(60)));
    let mut d = Drive::boot(vec![spec]);
    d.launch_all();
    d.wait(Duration::from_millis(400));
    crash(&mut d);
    assert_eq!((d.phase(A), d.starts()), (Phase::Backoff, vec![]), "killed 0.4 s after its start");
    d.wait(Duration::from_millis(47_999));
    assert_eq!(d.starts(), []);
    d.wait(secs(25));
    assert_eq!(d.starts(), [A]);
}

#[test]
fn one_stable_run_is_worth_one_crash_at_once() {
    let mut spec = bare("a");
    spec.restart = policy(|_| {});
    let mut d = Drive::stable(vec![spec]);
    crash(&mut d);
    assert_eq!(d.starts(), [A]);
    d.started(A);
    d.wait(secs(30));
    crash(&mut d);
    assert_eq!(d.starts(), [], "that run was not stable");
    d.wait(Duration::from_millis(600));
    assert_eq!(d.starts(), [A]);
}

#[test]
fn interrupted_health_is_no_stable_run() {
    let mut d = Drive::up(vec![probed("a")]);
    for _ in 0..10 {
        d.wait_answering(secs(20), |_| Outcome::Pass);
        d.wait_answering(secs(12), |_| FAIL);
        d.take();
        if d.phase(A) != Phase::Running {
            break;
        }
    }
    // It was healthy for 40 s at a time at most, and never for the 60 s of `reset_after`.
    d.exit(A, Exit::code(1));
    assert_eq!((d.phase(A), d.starts()), (Phase::Backoff, vec![]));
}

#[test]
fn min_gap_counts_from_exec() {
    let mut spec = bare("a");
    spec.restart = policy(|settings| settings.backoff = Duration::from_millis(10));
    let mut d = Drive::boot(vec![spec]);
    d.wait(secs(2));
    d.take();
    d.started(A);
    d.wait(Duration::from_millis(100));
    crash(&mut d);
    d.wait(Duration::from_millis(149));
    assert_eq!(d.starts(), [], "not within 250 ms of the exec, however long ago the start was ordered");
    d.wait(Duration::from_millis(1));
    assert_eq!(d.starts(), [A]);
}

#[test]
fn restarts_for_a_need_that_comes_and_goes_have_a_delay_for_their_bound() {
    let mut spec = bare("b");
    spec.restart = policy(|_| {});
    let spec = spec.edge(A, EdgeKind::Needs, Gate::Up, WhileDown::Restart);
    let mut d = Drive::boot(vec![external("a"), spec]);
    d.wait_answering(secs(10), |_| Outcome::Pass);
    d.launch_all();
    let mut delays = Vec::new();
    for _ in 0..6 {
        d.wait_answering(secs(2), |_| Outcome::Pass);
        while d.word(A) != Status::Down {
            d.wait_answering(secs(1), |_| FAIL);
        }
        d.take();
        while d.signals().is_empty() {
            d.wait_answering(Duration::from_millis(100), |_| Outcome::Pass);
        }
        d.take();
        d.exit(B, Exit::signal(Signal::TERM));
        let at = d.now;
        while d.starts().is_empty() {
            d.wait_answering(Duration::from_millis(100), |_| Outcome::Pass);
        }
        delays.push(d.now.since(at).as_millis());
        d.launch_all();
    }
    jittered(&delays, &[0, 500, 1_000, 2_000, 4_000, 8_000], 100);
    assert_eq!(d.status(B).restarts.used, 0);
}

/// What was told of one realm's restarts.
fn told(d: &mut Drive) -> Vec<(What, String)> {
    let events = std::mem::take(&mut d.events);
    let wanted = |what: &What| {
        matches!(
            what,
            What::RestartOpened
                | What::RestartFailed
                | What::RestartVerified
                | What::BudgetSpent
                | What::CooldownBegan
                | What::StartFailed
        )
    };
    events.iter().filter_map(|event| event.kind.fact()).filter(|(what, _)| wanted(what)).collect()
}

#[test]
fn no_attempt_is_reported_that_is_not_made() {
    let mut spec = bare("a");
    spec.restart = policy(|settings| settings.burst = 2);
    let mut d = Drive::stable(vec![spec]);
    for _ in 0..3 {
        d.exit(A, Exit::code(1));
        d.wait(secs(1));
        d.launch_all_keeping_events();
        d.wait(Duration::from_millis(200));
    }
    let steps = told(&mut d);
    let words: Vec<(What, &str)> = steps.iter().map(|(what, words)| (*what, words.as_str())).collect();
    assert_eq!(
        words,
        [
            (What::RestartOpened, "exit code 1 after 80 s, attempt 1 of 2"),
            (What::RestartFailed, "attempt 1 of 2 failed after 1.2 s"),
            (What::RestartOpened, "exit code 1 after 0.2 s, attempt 2 of 2"),
            (What::RestartFailed, "attempt 2 of 2 failed after 1.2 s"),
            (What::BudgetSpent, "2 restarts in 10m00s did not help; one trial in 5m00s"),
        ]
    );
    assert_eq!(d.message(A), "exit code 1 after 0.2 s; one trial after the cooldown");
}

#[test]
fn a_trial_that_fails_when_the_budget_is_free_again_is_told_as_what_it_is() {
    let mut spec = bare("a");
    spec.restart = policy(|settings| (settings.burst, settings.window) = (1, secs(60)));
    let mut d = Drive::stable(vec![spec]);
    for _ in 0..2 {
        d.exit(A, Exit::code(1));
        d.launch_all_keeping_events();
    }
    told(&mut d);
    d.wait(secs(300));
    d.launch_all_keeping_events();
    d.exit(A, Exit::code(1));
    let steps = told(&mut d);
    let words: Vec<(What, &str)> = steps.iter().map(|(what, words)| (*what, words.as_str())).collect();
    assert_eq!(
        words,
        [
            (What::RestartOpened, "one trial after the cooldown"),
            (What::RestartFailed, "it failed after 0.0 s"),
            (What::CooldownBegan, "exit code 1 after 0.0 s; next trial in 10m00s"),
        ]
    );
}

#[test]
fn a_person_who_starts_it_out_of_its_cooldown_begins_with_a_fresh_budget() {
    for action in [Action::Start, Action::Restart] {
        let mut spec = bare("a");
        spec.restart = policy(|settings| settings.burst = 2);
        let mut d = Drive::boot(vec![spec]);
        d.launch_all();
        for _ in 0..3 {
            d.exit(A, Exit::code(1));
            d.wait(secs(2));
            d.launch_all();
        }
        assert_eq!((d.phase(A), d.status(A).restarts.used), (Phase::Cooldown, 2));
        d.order(action, A);
        assert_eq!((d.status(A).restarts.used, d.starts()), (0, vec![A]), "{action}");
        d.started(A);
        d.exit(A, Exit::code(1));
        assert_eq!(d.phase(A), Phase::Backoff, "{action}: it has its two restarts again");
    }
}

#[test]
fn a_restart_that_gets_stuck_costs_what_it_would_have_cost() {
    let mut d = Drive::up(vec![probed("a")]);
    d.wait_answering(secs(40), |_| FAIL);
    assert_eq!(d.phase(A), Phase::Stuck);
    d.take();
    d.exit(A, Exit::signal(Signal::KILL));
    assert_eq!((d.phase(A), d.starts(), d.status(A).restarts.used), (Phase::Backoff, vec![], 1));
}

#[test]
fn jitter_moves_delays_of_realms_apart() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut d = Drive::boot(names.into_iter().map(bare).collect());
    d.launch_all();
    for realm in 0..8 {
        d.exit(RealmIx(realm), Exit::code(1));
    }
    let due: std::collections::BTreeSet<_> =
        (0..8).map(|realm| d.status(RealmIx(realm)).why.next.at.expect("a time").since(d.now)).collect();
    assert!(due.len() >= 7, "{due:?}");
    let (least, most) = (Duration::from_millis(400), Duration::from_millis(600));
    assert!(due.iter().all(|delay| (least..=most).contains(delay)), "{due:?}");
}
