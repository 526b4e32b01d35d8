//! `restart.command`: a restart in place of a stop and a start, and the only one of an external realm.

use std::time::Duration;

use heartbeat_restart::WhenSpent;
use heartbeat_status::{
    EventKind, Exit, Hook, Instant, NextAction, Outcome, Phase, RealmIx, Reason, RestartCause, RestartResult,
    RunFact, Status,
};
use heartbeat_supervisor::{Command, Effect, Found, Input, RealmSpec, Refusal, Reply, StepAction};
use heartbeat_wire::Action;

use crate::drive::*;

fn service() -> RealmSpec {
    RealmSpec { restart_command: true, restart: policy(|_| {}), ..probed("a") }
}

fn watched() -> RealmSpec {
    RealmSpec { restart_command: true, restart: policy(|_| {}), ..external("a") }
}

impl Drive {
    fn commands(&self, realm: RealmIx) -> usize {
        let run = |effect: &&Effect| matches!(effect, Effect::Hook { realm: whose, hook: Hook::Restart, .. } if *whose == realm);
        self.effects.iter().filter(run).count()
    }

    fn done(&mut self, realm: RealmIx, failure: Option<&str>) {
        let run = self.run(realm);
        let failure = failure.map(ToOwned::to_owned);
        self.feed(Input::Run { realm, run, fact: RunFact::HookDone { hook: Hook::Restart, failure } });
    }

    /// Fails its probes until its command runs.
    fn until_commanded(&mut self, realm: RealmIx) {
        for _ in 0..10_000 {
            if self.commands(realm) > 0 {
                return;
            }
            self.wait_answering(Duration::from_millis(100), |_| FAIL);
        }
        panic!("its command is never run: {}", self.message(realm));
    }

    fn closed(&self) -> Vec<RestartResult> {
        let closed = self.events.iter().filter_map(|event| match &event.kind {
            EventKind::RestartClosed { result, .. } => Some(*result),
            _ => None,
        });
        closed.collect()
    }
}

#[test]
fn an_unhealthy_service_is_restarted_by_its_command_and_verified() {
    let mut d = Drive::up(vec![service()]);
    d.until_commanded(A);
    assert!(d.signals().is_empty() && d.starts().is_empty(), "it is left running");
    assert_eq!((d.phase(A), d.word(A)), (Phase::Running, Status::Restarting));
    assert!(d.message(A).contains("restart.command runs"), "{}", d.message(A));
    let status = d.status(A);
    assert_eq!(status.restarts.used, 1, "one debit");
    let opened = |event: &heartbeat_status::Event| match event.kind {
        EventKind::RestartOpened { attempt, .. } => attempt.map(|attempt| attempt.number),
        _ => None,
    };
    assert_eq!(d.events.iter().find_map(opened), Some(1), "told as what it is");
    assert_eq!(status.restart.as_ref().map(|record| record.cause), Some(RestartCause::Unhealthy));
    d.take();
    d.done(A, None);
    // What was measured before says nothing any more.
    d.wait_answering(secs(30), |_| Outcome::Pass);
    assert_eq!((d.word(A), d.run(A).0), (Status::Up, 1), "the same generation");
    assert_eq!(d.closed(), [RestartResult::Verified]);
    assert!(d.signals().is_empty() && d.starts().is_empty() && d.commands(A) == 0);
}

#[test]
fn what_the_command_does_not_repair_is_stopped_and_started() {
    // Its command fails, or is never reported to end, or ends and changes nothing.
    for (told, result) in [(true, Some("exit code 3")), (false, None), (true, None)] {
        let mut d = Drive::up(vec![service()]);
        d.until_commanded(A);
        d.take();
        if told {
            d.done(A, result);
        }
        for _ in 0..2_000 {
            if d.signals().is_empty() {
                d.wait_answering(Duration::from_millis(100), |_| FAIL);
            }
        }
        let first = d.signals().first().map(|(realm, _)| *realm);
        assert_eq!(first, Some(A), "{result:?}: a real stop follows");
        assert_eq!(d.commands(A), 0, "{result:?}: and no second command");
        assert_eq!(d.closed()[0], RestartResult::Failed);
        if let Some(result) = result {
            let words = format!("restart.command failed: {result}");
            assert_eq!(d.status(A).restart.as_ref().unwrap().detail, words);
        }
        d.exit(A, Exit::code(0));
        d.wait(Duration::from_millis(1_200));
        assert_eq!(d.starts(), [A]);
        assert_eq!(d.status(A).restarts.used, 2, "each attempt is debited once");
    }
}

#[test]
fn what_the_command_has_not_repaired_is_evaluated_again() {
    // A need has gone down meanwhile: heartbeatd restarts no realm for the fault of another.
    let mut d = Drive::up(vec![service().needs(B), external("b")]);
    for _ in 0..10_000 {
        if d.commands(A) == 0 {
            let fails_a = |realm| if realm == A { FAIL } else { Outcome::Pass };
            d.wait_answering(Duration::from_millis(100), fails_a);
        }
    }
    d.wait_answering(secs(60), |_| FAIL);
    assert_eq!(d.word(B), Status::Down);
    d.take();
    d.done(A, Some("exit code 3"));
    d.wait_answering(secs(300), |_| FAIL);
    assert!(d.signals().is_empty(), "{}", d.message(A));
    // It comes back by itself: that is a restart verified, and not a reason for another one.
    d.wait_answering(secs(90), |_| Outcome::Pass);
    assert_eq!((d.word(A), d.closed()), (Status::Up, vec![RestartResult::Verified]));
    assert!(d.signals().is_empty() && d.starts().is_empty() && d.commands(A) == 0);
}

#[test]
fn the_fuse_lets_the_next_attempt_of_an_open_restart_through() {
    // Both places are taken, by the very realms whose commands have failed.
    let realms = ["a", "b"].map(|name| RealmSpec { restart_command: true, ..probed(name) });
    let mut d = Drive::up(realms.to_vec());
    d.until_commanded(A);
    d.until_commanded(B);
    d.take();
    d.done(A, Some("exit code 3"));
    d.done(B, Some("exit code 3"));
    d.wait_answering(secs(30), |_| FAIL);
    let mut ended: Vec<_> = d.signals().into_iter().map(|(realm, _)| realm).collect();
    ended.sort_unstable();
    ended.dedup();
    assert_eq!(ended, [A, B]);
}

#[test]
fn a_stop_of_a_paused_realm_runs_no_command_on_its_way() {
    let mut d = Drive::up(vec![service(), bare("b").needs(A)]);
    d.command(Command { cascade: true, ..Command::new(Action::Restart, A) });
    d.order(Action::Pause, A);
    d.exit(B, Exit::code(0));
    d.take();
    d.order(Action::Stop, A);
    assert_eq!((d.commands(A), d.phase(A)), (0, Phase::Stopping));
}

#[test]
fn a_service_that_has_just_been_restarted_by_command_has_time_to_come_up() {
    let mut d = Drive::up(vec![service()]);
    d.until_commanded(A);
    d.done(A, None);
    d.take();
    d.wait_answering(secs(50), |_| FAIL);
    assert!(d.signals().is_empty(), "start.timeout is 60 s");
    d.wait_answering(secs(30), |_| Outcome::Pass);
    assert_eq!(d.word(A), Status::Up);
}

#[test]
fn a_request_runs_the_command_and_costs_nothing() {
    let mut d = Drive::up(vec![service()]);
    match d.order(Action::Restart, A) {
        Reply::Accepted { plan, restarts } => {
            let steps: Vec<_> = plan.steps.iter().map(|step| (step.wave, step.action)).collect();
            assert_eq!(steps, [(1, StepAction::Restart)]);
            assert_eq!(restarts.len(), 1);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(d.commands(A), 1);
    assert_eq!(d.order(Action::Restart, A), d.order(Action::Restart, A), "a later request joins");
    assert_eq!(d.commands(A), 1);
    d.done(A, None);
    d.wait_answering(secs(30), |_| Outcome::Pass);
    assert_eq!(
        (d.word(A), d.status(A).restarts.used, d.closed().as_slice()),
        (Status::Up, 0, &[RestartResult::Verified][..])
    );
}

#[test]
fn a_later_stop_wins_and_the_command_is_killed() {
    for realm in [service(), RealmSpec { stop: Default::default(), ..service() }] {
        let mut d = Drive::up(vec![realm]);
        d.order(Action::Restart, A);
        d.take();
        d.order(Action::Stop, A);
        assert!(
            d.effects.iter().any(|effect| matches!(effect, Effect::CancelHook { hook: Hook::Restart, .. }))
        );
        assert!(!d.signals().is_empty());
        d.done(A, None);
        d.exit(A, Exit::code(0));
        d.wait(secs(60));
        assert_eq!((d.phase(A), d.starts().len()), (Phase::Stopped, 0));
    }
}

#[test]
fn an_exit_is_always_a_real_start() {
    let mut d = Drive::up(vec![service()]);
    d.order(Action::Restart, A);
    d.take();
    d.exit(A, Exit::code(1));
    assert!(d.effects.iter().any(|effect| matches!(effect, Effect::CancelHook { hook: Hook::Restart, .. })));
    d.wait(secs(2));
    assert_eq!((d.starts(), d.commands(A)), (vec![A], 0));
    let mut d = Drive::up(vec![service()]);
    d.exit(A, Exit::code(1));
    d.wait(secs(2));
    assert_eq!((d.starts(), d.commands(A)), (vec![A], 0));
}

#[test]
fn other_causes_restart_the_process() {
    let mut d = Drive::up(vec![service()]);
    let same = d.sup.plan_in_force().realms().to_vec();
    d.reload(same, &[A]);
    assert_eq!((d.commands(A), d.signals().len()), (0, 1), "its process is made of something else");
}

#[test]
fn a_spent_budget_ends_in_a_cooldown_as_ever() {
    let exhausted = RealmSpec { restart: policy(|settings| settings.burst = 1), ..service() };
    let mut d = Drive::up(vec![exhausted]);
    d.until_commanded(A);
    d.take();
    d.done(A, Some("exit code 1"));
    d.exit(A, Exit::code(0));
    assert_eq!((d.phase(A), d.commands(A)), (Phase::Cooldown, 0));
}

#[test]
fn an_external_realm_is_restarted_by_its_command_with_backoff_and_budget() {
    let spec = RealmSpec { restart: policy(|settings| settings.burst = 3), ..watched() };
    let mut d = Drive::up(vec![spec]);
    for attempt in 1..=3 {
        d.until_commanded(A);
        assert_eq!(d.status(A).restart.as_ref().unwrap().attempt, Some(attempt));
        d.take();
        d.done(A, Some("exit code 1"));
    }
    // The budget is spent: nothing more, until the cooldown is over.
    d.wait_answering(secs(290), |_| FAIL);
    assert_eq!(d.commands(A), 0);
    let why = d.status(A).why.clone();
    assert_eq!((why.reason, why.next.action), (Reason::Cooldown, NextAction::Restart), "{}", why.message);
    d.wait_answering(secs(20), |_| FAIL);
    assert_eq!(d.commands(A), 1, "one trial");
    d.take();
    d.done(A, None);
    d.wait_answering(secs(60), |_| Outcome::Pass);
    assert_eq!((d.word(A), d.closed().last()), (Status::Up, Some(&RestartResult::Verified)));
    d.wait_answering(secs(120), |_| Outcome::Pass);
    d.take();
    // Continuous health has reset it: the next one is no trial.
    d.wait_answering(secs(600), |_| Outcome::Pass);
    d.until_commanded(A);
    assert_eq!(d.status(A).restart.as_ref().unwrap().attempt, Some(1));
}

#[test]
fn attempts_for_an_external_realm_are_delayed_like_any_other() {
    let mut d = Drive::up(vec![watched()]);
    d.until_commanded(A);
    d.take();
    d.done(A, Some("exit code 1"));
    assert_eq!(d.commands(A), 0, "the second attempt is not at once");
    let status = d.status(A);
    assert_eq!((status.status, status.why.reason), (Status::Restarting, Reason::Backoff));
    // Its delay is over, and it has failed once more since then.
    d.wait_answering(secs(2), |_| FAIL);
    assert_eq!(d.commands(A), 1);
}

#[test]
fn a_realm_that_recovers_before_the_attempt_is_left_alone() {
    let slow = policy(|settings| {
        (settings.backoff, settings.backoff_max) = (secs(30), secs(60));
    });
    let mut d = Drive::up(vec![RealmSpec { restart: slow, ..watched() }]);
    d.until_commanded(A);
    d.take();
    d.done(A, Some("exit code 1"));
    d.wait_answering(secs(120), |_| Outcome::Pass);
    assert_eq!((d.commands(A), d.word(A)), (0, Status::Up));
}

#[test]
fn an_external_realm_is_never_started_or_stopped() {
    let mut d = Drive::up(vec![watched(), external("b")]);
    for (action, realm, refused) in [
        (Action::Start, A, true),
        (Action::Stop, A, true),
        (Action::Restart, A, false),
        (Action::Reset, A, false),
        (Action::Restart, B, true),
        (Action::Reset, B, true),
    ] {
        let reply = d.order(action, realm);
        match reply {
            Reply::Refused { plan } => {
                assert_eq!((refused, plan.refusal), (true, Some(Refusal::External(realm))))
            }
            Reply::Accepted { .. } => assert!(!refused, "{action} {realm:?}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(d.signals().is_empty() && d.starts().is_empty() && d.commands(A) == 1);
}

#[test]
fn reset_tries_an_external_realm_again() {
    let spec = RealmSpec {
        restart: policy(|settings| (settings.burst, settings.when_spent) = (1, WhenSpent::Fail)),
        ..watched()
    };
    let mut d = Drive::up(vec![spec]);
    d.until_commanded(A);
    d.done(A, Some("exit code 1"));
    d.take();
    d.wait_answering(secs(3_600), |_| FAIL);
    assert_eq!((d.commands(A), d.status(A).why.reason), (0, Reason::BudgetSpent));
    d.order(Action::Reset, A);
    d.wait_answering(secs(10), |_| FAIL);
    assert_eq!(d.commands(A), 1);
}

#[test]
fn no_realm_is_restarted_for_the_fault_of_a_need() {
    for spec in [service(), watched()] {
        let dependent = RealmSpec { needs: Vec::new(), ..spec }.needs(B);
        let mut d = Drive::up(vec![dependent, external("b")]);
        d.wait_answering(secs(120), |_| FAIL);
        assert_eq!((d.commands(A), d.word(A)), (0, Status::Blocked));
    }
}

#[test]
fn a_paused_realm_is_left_alone() {
    for spec in [service(), watched()] {
        let mut d = Drive::up(vec![spec]);
        d.order(Action::Pause, A);
        d.wait_answering(secs(120), |_| FAIL);
        assert_eq!(d.commands(A), 0);
        d.order(Action::Resume, A);
        d.until_commanded(A);
    }
}

#[test]
fn the_fuse_holds_commands_as_well() {
    let realms = ["a", "b", "c", "d"].map(|name| RealmSpec { restart_command: true, ..probed(name) });
    let mut d = Drive::up(realms.to_vec());
    d.wait_answering(secs(25), |_| FAIL);
    let all: usize = (0..4).map(|at| d.commands(RealmIx(at))).sum();
    assert!(all <= 2, "{all}");
    assert!(d.events.iter().any(|event| matches!(event.kind, EventKind::FuseTripped { .. })));
}

#[test]
fn a_cascade_stops_dependents_before_the_command_runs() {
    let mut d = Drive::up(vec![service(), bare("b").needs(A)]);
    assert!(matches!(d.command(Command::new(Action::Restart, A)), Reply::Refused { .. }));
    d.take();
    match d.command(Command { cascade: true, ..Command::new(Action::Restart, A) }) {
        Reply::Accepted { plan, .. } => {
            let steps: Vec<_> = plan.steps.iter().map(|step| (step.wave, step.realm, step.action)).collect();
            let expected = [(1, B, StepAction::Stop), (2, A, StepAction::Restart), (3, B, StepAction::Start)];
            assert_eq!(steps, expected);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((d.commands(A), d.signals().len()), (0, 1), "b first");
    d.exit(B, Exit::code(0));
    assert_eq!((d.commands(A), d.starts().len()), (1, 0));
    d.done(A, None);
    d.wait_answering(secs(30), |_| Outcome::Pass);
    assert_eq!(d.starts(), [B]);
}

#[test]
fn what_a_plan_stops_is_stopped_whatever_command_it_has() {
    let dependent = RealmSpec { restart_command: true, ..bare("b") }.needs(A);
    let mut d = Drive::up(vec![probed("a"), dependent]);
    d.command(Command { cascade: true, ..Command::new(Action::Restart, A) });
    assert_eq!((d.commands(B), d.signals().len()), (0, 1), "it is stopped before what it needs");
}

#[test]
fn a_command_that_fails_under_a_pause_leads_to_nothing() {
    let mut d = Drive::up(vec![service()]);
    d.until_commanded(A);
    d.order(Action::Pause, A);
    d.take();
    d.done(A, Some("exit code 1"));
    d.wait_answering(secs(300), |_| FAIL);
    assert!(d.signals().is_empty() && d.commands(A) == 0);
}

#[test]
fn a_killed_heartbeatd_verifies_what_it_was_at() {
    for (spec, found) in
        [(service(), Found::Alive { pid: 100, launching: false }), (watched(), Found::Nothing)]
    {
        let mut d = Drive::up(vec![spec]);
        d.until_commanded(A);
        d.killed(|_| found.clone());
        assert_eq!(d.word(A), Status::Restarting);
        d.wait_answering(secs(60), |_| Outcome::Pass);
        assert_eq!((d.word(A), d.commands(A)), (Status::Up, 0));
        assert_eq!(d.closed(), [RestartResult::Verified]);
    }
}

#[test]
fn a_shutdown_waits_for_no_command() {
    for spec in [service(), watched()] {
        let external = spec.kind == heartbeat_status::RealmKind::External;
        let mut d = Drive::up(vec![spec]);
        d.order(Action::Restart, A);
        d.take();
        d.feed(Input::Shutdown { now: false });
        assert!(
            d.effects.iter().any(|effect| matches!(effect, Effect::CancelHook { hook: Hook::Restart, .. }))
        );
        if !external {
            d.exit(A, Exit::code(0));
        }
        assert!(d.effects.contains(&Effect::Halt));
    }
}

/// It passes in the midst of its cooldown, or only when its one trial is due.
#[test]
fn an_external_realm_that_passes_has_left_its_cooldown_whenever_that_is() {
    for at_its_trial in [false, true] {
        let spec = RealmSpec { restart: policy(|settings| settings.burst = 3), ..watched() };
        let mut d = Drive::up(vec![spec]);
        for _ in 0..3 {
            d.until_commanded(A);
            d.take();
            d.done(A, Some("exit code 1"));
        }
        while d.status(A).why.reason != Reason::Cooldown {
            d.wait_answering(Duration::from_millis(100), |_| FAIL);
        }
        let trial = d.status(A).why.next.at.expect("the time of its trial");
        let fails = if at_its_trial { trial.since(d.now) - Duration::from_millis(1) } else { secs(60) };
        d.wait_answering(fails, |_| FAIL);
        d.wait_answering(secs(20), |_| Outcome::Pass);
        assert_eq!((d.word(A), d.commands(A)), (Status::Up, 0), "{}", d.message(A));
        // The budget is still spent, so the next failure leads to a cooldown and to no command.
        d.wait_answering(secs(60), |_| FAIL);
        assert_eq!((d.commands(A), d.status(A).why.reason), (0, Reason::Cooldown), "{}", d.message(A));
    }
}

#[test]
fn a_trial_after_a_cooldown_is_announced_for_the_time_at_which_it_can_be_made() {
    let restart = policy(|settings| (settings.burst, settings.cooldown) = (1, secs(60)));
    let mut d = Drive::up(vec![RealmSpec { restart, ..watched() }]);
    d.until_commanded(A);
    d.done(A, Some("exit code 1"));
    d.take();
    while d.status(A).why.reason != Reason::Cooldown {
        d.wait_answering(secs(1), |_| FAIL);
    }
    let over = d.status(A).why.next.at.expect("the end of the cooldown");
    d.wait_answering(over.since(d.now) - secs(3), |_| FAIL);
    // heartbeatd was asleep: its failures count afresh, and those of the last seconds are acted on later.
    d.feed(Input::Suspended { asleep: secs(1) });
    while d.commands(A) == 0 {
        let why = d.status(A).why.clone();
        d.wait_answering(Duration::from_millis(100), |_| FAIL);
        let after = d.status(A).why.clone();
        let passed = |at: Instant| at <= d.now && d.commands(A) == 0;
        let announced = why.next.at.filter(|at| why.next.action == NextAction::Restart && passed(*at));
        let put_off = after.next.at.filter(|_| after.next.action == NextAction::Restart);
        assert!(announced.is_none() || put_off.is_none(), "{why:?}\n{after:?}");
        assert!(d.now.since(over) < secs(60), "{after:?}");
    }
}
