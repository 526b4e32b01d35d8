//! An operator's stop is a hold: only a start of the realm itself, or a command that says so, lifts it.

use heartbeat_status::{Desired, EventKind, Exit, Outcome, Phase, RealmIx, Status, WallTime};
use heartbeat_supervisor::{ActionPlan, Command, Found, OperatorHold, RealmSpec, Refusal, Reply, StepAction};
use heartbeat_wire::Action;

use crate::drive::{A, B, C, Depends, Drive, FAIL, bare, probed, secs};

const WHY: &str = "disk repair until 17:00";

/// `c` needs `b`, `b` needs `a`; `b` and `c` run, and an operator has stopped `a`.
fn held() -> Drive {
    let mut d = Drive::up(vec![bare("a"), bare("b").needs(A), bare("c").needs(B)]);
    let stop = Command {
        force: true,
        reason: Some(WHY.to_string()),
        by: Some(0),
        at: Some(WallTime::from_millis(5)),
        ..Command::new(Action::Stop, A)
    };
    assert!(matches!(d.command(stop), Reply::Accepted { .. }));
    d.exit(A, Exit::code(0));
    assert_eq!(d.word(A), Status::Stopped);
    d.take();
    d
}

fn plan(reply: Reply) -> ActionPlan {
    match reply {
        Reply::Accepted { plan, .. } | Reply::Refused { plan } => plan,
        Reply::Refreshed { .. } => panic!("that was no refresh"),
    }
}

fn steps(plan: &ActionPlan) -> Vec<(RealmIx, StepAction)> {
    plan.steps.iter().map(|step| (step.realm, step.action)).collect()
}

#[test]
fn a_start_that_needs_a_held_realm_is_refused_with_who_when_and_why() {
    let mut d = held();
    for (cascade, force) in [(false, false), (true, false), (false, true)] {
        for realm in [B, C] {
            let command = Command { cascade, force, ..Command::new(Action::Start, realm) };
            let refused = plan(d.command(command));
            assert_eq!(refused.refusal, Some(Refusal::Held));
            let hold = OperatorHold {
                reason: Some(WHY.to_string()),
                by: Some(0),
                at: Some(WallTime::from_millis(5)),
            };
            assert_eq!(
                refused.holds.iter().map(|held| (held.realm, &held.hold)).collect::<Vec<_>>(),
                [(A, &hold)]
            );
        }
    }
    assert_eq!((d.starts(), d.status(A).desired), (vec![], Desired::Down), "nothing has changed");
    assert_eq!(d.message(A), format!("stopped by root: {WHY}"), "who stopped it and why is in its status");
}

#[test]
fn a_restart_beside_a_held_need_is_allowed_and_does_not_start_it() {
    let mut d = held();
    let done = plan(d.order(Action::Restart, C));
    assert_eq!(
        (done.refusal.clone(), steps(&done)),
        (None, vec![(C, StepAction::Stop), (C, StepAction::Start)])
    );
    assert_eq!(done.holds, [], "what it waits for is up");
    d.exit(C, Exit::code(0));
    assert_eq!(d.starts(), [C]);
    d.launch_all();

    // One that waits for it itself would not come back: it keeps running.
    let done = plan(d.order(Action::Restart, B));
    assert_eq!((done.refusal, done.holds[0].realm), (Some(Refusal::Held), A));
    assert_eq!((d.word(B), d.status(A).desired), (Status::Up, Desired::Down));
    // With the others taken along, too.
    let done = plan(d.command(Command { cascade: true, ..Command::new(Action::Restart, B) }));
    assert_eq!((done.refusal, d.word(B)), (Some(Refusal::Held), Status::Up));
    d.exit(B, Exit::code(0));
    // It does not run any more: to restart it is to start it.
    assert_eq!(plan(d.order(Action::Restart, B)).refusal, Some(Refusal::Held));
}

#[test]
fn a_restart_is_refused_for_a_held_need_anywhere_in_its_chain_of_needs() {
    let chain = || vec![bare("a"), probed("b").needs(A), probed("c").needs(B), bare("d").needs(C)];
    let (c, last) = (C, RealmIx(3));
    let stop = Command { force: true, reason: Some(WHY.to_string()), ..Command::new(Action::Stop, A) };
    let fails = |realm| if realm == B { FAIL } else { Outcome::Pass };
    // The need of its need does not run any more, or runs and fails: either waits for what is held.
    for exits in [true, false] {
        let mut d = Drive::up(chain());
        d.command(stop.clone());
        d.exit(A, Exit::code(0));
        if exits {
            d.exit(B, Exit::code(1));
        }
        d.live(secs(30), fails);
        assert_eq!((d.word(B), d.word(c), d.word(last)), (Status::Blocked, Status::Up, Status::Up));
        d.take();
        let refused = plan(d.order(Action::Restart, c));
        assert_eq!(refused.refusal, Some(Refusal::Held), "exits: {exits}");
        let held: Vec<_> =
            refused.holds.iter().map(|held| (held.realm, held.hold.reason.as_deref())).collect();
        assert_eq!(held, [(A, Some(WHY))], "exits: {exits}");
        assert_eq!((d.signals(), d.word(c)), (vec![], Status::Up), "it keeps running");
        // What it needs is up: nothing of the plan waits for the held realm.
        let done = plan(d.order(Action::Restart, last));
        assert_eq!((done.refusal, done.holds), (None, vec![]), "exits: {exits}");
        // A restart that lifts holds starts the chain.
        let lifted = Command { force: true, lift_holds: true, ..Command::new(Action::Restart, c) };
        assert_eq!(plan(d.command(lifted)).refusal, None);
        assert_eq!(d.status(A).desired, Desired::Up);
    }
}

#[test]
fn what_is_held_itself_is_started_and_not_restarted() {
    let mut d = held();
    assert_eq!(plan(d.order(Action::Restart, A)).refusal, Some(Refusal::Held));
    let done = plan(d.command(Command::new(Action::Start, A)));
    assert_eq!((done.refusal.clone(), steps(&done)), (None, vec![(A, StepAction::Start)]));
    d.launch_all();
    assert_eq!(plan(d.command(Command::new(Action::Start, C))).refusal, None, "it holds no longer");
}

#[test]
fn lifting_a_hold_starts_it_and_its_events_name_the_command() {
    let mut d = held();
    let command = Command { lift_holds: true, ..Command::new(Action::Start, C) };
    let done = plan(d.command(command));
    assert_eq!((done.refusal.clone(), steps(&done)), (None, vec![(A, StepAction::Start)]));
    assert_eq!((d.starts(), d.status(A).desired), (vec![A], Desired::Up));
    let told = d.events.iter().find_map(|event| match &event.kind {
        EventKind::Commanded { action, reason } if event.realm.as_ref().is_some_and(|(ix, _)| *ix == A) => {
            Some((*action, reason.clone()))
        }
        _ => None,
    });
    assert_eq!(told, Some((Action::Start, Some("`start c`".to_string()))));
    for action in [Action::Restart, Action::Reset] {
        let mut d = held();
        let command = Command { force: true, lift_holds: true, ..Command::new(action, A) };
        if action == Action::Restart {
            assert_eq!(plan(d.command(command)).refusal, None);
            assert_eq!(d.starts(), [A]);
        }
    }
}

#[test]
fn a_reset_starts_no_other_realm_that_is_held() {
    let mut failing = bare("b").needs(A);
    failing.restart = crate::drive::policy(|settings| {
        (settings.burst, settings.when_spent) = (1, heartbeat_restart::WhenSpent::Fail);
    });
    let mut d = Drive::up(vec![bare("a"), failing]);
    for _ in 0..2 {
        d.exit(B, Exit::code(1));
        d.wait(secs(2));
        d.launch_all();
    }
    assert_eq!(d.phase(B), Phase::Failed);
    d.order(Action::Stop, A);
    d.exit(A, Exit::code(0));
    d.take();
    let refused = plan(d.command(Command::new(Action::Reset, B)));
    assert_eq!(
        (refused.refusal, refused.holds[0].realm, d.phase(B)),
        (Some(Refusal::Held), A, Phase::Failed)
    );
    let lifted = plan(d.command(Command { lift_holds: true, ..Command::new(Action::Reset, B) }));
    assert_eq!(lifted.refusal, None);
    assert_eq!((d.starts(), d.phase(B)), (vec![A], Phase::Waiting));
}

#[test]
fn a_need_that_merely_does_not_run_is_started_along() {
    let manual = RealmSpec { manual: true, ..bare("a") };
    let mut d = Drive::up(vec![manual, RealmSpec { manual: true, ..bare("b").needs(A) }]);
    let done = plan(d.command(Command::new(Action::Start, B)));
    assert_eq!((done.refusal, d.starts()), (None, vec![A]));
}

#[test]
fn neither_boot_nor_a_reload_nor_a_restart_of_heartbeatd_lifts_a_hold() {
    let mut d = held();
    let same = d.sup.plan_in_force().realms().to_vec();
    d.reload(same, &[A, B]);
    d.wait(secs(60));
    assert!(!d.starts().contains(&A));
    d.killed(|realm| match realm {
        A => Found::Nothing,
        realm => Found::Alive { pid: 100 + realm.0, launching: false },
    });
    d.wait(secs(60));
    assert!(!d.starts().contains(&A));
    let refused = plan(d.command(Command::new(Action::Start, C)));
    assert_eq!(refused.holds[0].hold.reason.as_deref(), Some(WHY), "who, when and why are remembered");
    assert_eq!(
        (refused.holds[0].hold.by, refused.holds[0].hold.at),
        (Some(0), Some(WallTime::from_millis(5)))
    );
    assert_eq!(d.status(A).stopped_at, Some(WallTime::from_millis(5)));
    d.rebooted();
    assert_eq!(
        d.status(A).stopped_at,
        Some(WallTime::from_millis(5)),
        "not since heartbeatd has been started"
    );
    d.order(Action::Start, A);
    assert_eq!(d.status(A).stopped_at, None);
}

/// A oneshot that is done, or is not, and that an operator has stopped; what needs it by each gate is started.
#[test]
fn a_start_is_refused_for_a_held_need_only_where_its_gate_is_shut() {
    use heartbeat_status::{EdgeKind, Gate, WhileDown};
    let kinds = [EdgeKind::Needs, EdgeKind::Wants, EdgeKind::After];
    let gates = kinds.into_iter().flat_map(|kind| [Gate::Started, Gate::Done].map(|gate| (kind, gate)));
    for (kind, until) in gates {
        for done in [false, true] {
            let mut dependent = bare("b").edge(A, kind, until, WhileDown::Ride);
            dependent.manual = true;
            let mut d = Drive::boot(vec![crate::drive::oneshot("a"), dependent]);
            d.started(A);
            if done {
                d.exit(A, Exit::code(0));
            }
            d.order(Action::Stop, A);
            if !done {
                d.exit(A, Exit::signal(heartbeat_status::Signal::TERM));
            }
            assert_eq!(d.word(A), Status::Stopped);
            d.take();
            let planned = plan(d.order(Action::Start, B));
            let shut = kind == EdgeKind::Needs && !(done && until == Gate::Done);
            let words = format!("{kind:?} until {until:?}, done: {done}");
            assert_eq!(planned.refusal, shut.then_some(Refusal::Held), "{words}");
            assert_eq!(planned.holds.len(), usize::from(shut), "{words}");
            assert_eq!(d.starts(), if shut { vec![] } else { vec![B] }, "{words}: a stays stopped");
        }
    }
}
