//! Plans: what is shown is what is done, and what would break is refused.

use heartbeat_status::{EdgeKind, Exit, Gate, RealmIx, Signal, WhileDown};
use heartbeat_supervisor::{Command, Plan, PlanError, PlanSettings, RealmSpec, Refusal, Reply, StepAction};
use heartbeat_wire::Action;

use crate::drive::{A, B, C, Depends, Drive, bare, external, oneshot};

fn steps(reply: &Reply) -> Vec<(u32, u32, StepAction)> {
    match reply {
        Reply::Accepted { plan, .. } | Reply::Refused { plan } => {
            plan.steps.iter().map(|step| (step.wave, step.realm.0, step.action)).collect()
        }
        Reply::Refreshed { .. } => Vec::new(),
    }
}

#[test]
fn a_stop_that_would_break_dependents_is_refused_with_the_plan() {
    let mut d = Drive::up(vec![bare("a"), bare("b").needs(A), bare("c").needs(B)]);
    let reply = d.command(Command::new(Action::Stop, A));
    let Reply::Refused { plan } = reply else { panic!("{reply:?}") };
    assert_eq!((plan.refusal, plan.breaks), (Some(Refusal::WouldBreak), vec![B, C]));
    assert_eq!(d.signals(), [], "nothing changed");
    let reply = d.command(Command { cascade: true, ..Command::new(Action::Stop, A) });
    assert_eq!(steps(&reply), [(1, 2, StepAction::Stop), (2, 1, StepAction::Stop), (3, 0, StepAction::Stop)]);
}

#[test]
fn force_leaves_dependents_alone() {
    let mut d = Drive::up(vec![bare("a"), bare("b").needs(A)]);
    let reply = d.command(Command { force: true, ..Command::new(Action::Stop, A) });
    assert_eq!(steps(&reply), [(1, 0, StepAction::Stop)]);
    d.exit(A, Exit::code(0));
    assert_eq!(d.phase(B), heartbeat_status::Phase::Running);
}

#[test]
fn what_only_had_to_be_done_does_not_break() {
    let mut d =
        Drive::up(vec![oneshot("a"), bare("b").edge(A, EdgeKind::Needs, Gate::Done, WhileDown::Stop)]);
    d.exit(A, Exit::code(0));
    for _ in 0..4 {
        d.wait(std::time::Duration::from_secs(1));
        d.launch_all();
    }
    assert_eq!(d.word(B), heartbeat_status::Status::Up);
    let reply = d.command(Command::new(Action::Restart, A));
    assert_eq!(steps(&reply), [(1, 0, StepAction::Start)]);
    assert_eq!((d.word(B), d.signals()), (heartbeat_status::Status::Up, vec![]), "done once is done");
}

#[test]
fn a_start_shows_what_it_pulls_in() {
    let waiting = |name| RealmSpec { manual: true, ..bare(name) };
    let mut d = Drive::up(vec![waiting("a"), waiting("b").needs(A), external("c")]);
    let reply = d.command(Command::new(Action::Start, B));
    assert_eq!(steps(&reply), [(1, 0, StepAction::Start), (2, 1, StepAction::Start)]);
    let reply = d.command(Command::new(Action::Start, C));
    assert!(
        matches!(reply, Reply::Refused { plan } if plan.refusal == Some(Refusal::External(C)) && plan.steps.is_empty())
    );
}

#[test]
fn a_plan_that_cannot_be_carried_out_is_refused() {
    let build = |realms| Plan::new(PlanSettings::default(), realms).err();
    let cycle = build(vec![bare("a").needs(B), bare("b").needs(A)]);
    assert!(matches!(cycle, Some(PlanError::Graph(_))));
    let done = bare("b").edge(A, EdgeKind::Needs, Gate::Done, WhileDown::Ride);
    assert!(matches!(build(vec![bare("a"), done]), Some(PlanError::ImpossibleGate { .. })));
    assert!(matches!(build(vec![bare("a"), bare("a")]), Some(PlanError::DuplicateName(_))));
    let mut spec = bare("a");
    spec.restart_with = vec![A];
    assert!(matches!(build(vec![spec]), Some(PlanError::BadCompanion { .. })));
    let mut spec = crate::drive::probed("a");
    spec.probes[0].info.timeout = std::time::Duration::from_secs(6);
    assert!(matches!(build(vec![spec]), Some(PlanError::BadTiming { .. })));
}

#[test]
fn a_command_about_several_realms_is_one_plan_in_the_order_of_the_graph() {
    let chain = || vec![bare("a"), bare("b").needs(A), bare("c").needs(B), bare("d").needs(C)];
    for realms in [vec![A, B, C], vec![C, A, B], vec![B, C, A, A]] {
        let mut d = Drive::up(chain());
        let command =
            |cascade| Command { realms: realms.clone(), cascade, ..Command::new(Action::Restart, A) };
        let refused = d.command(command(false));
        assert!(matches!(&refused, Reply::Refused { plan } if plan.breaks == [RealmIx(3)]), "{refused:?}");
        let stop = [(1, 3), (2, 2), (3, 1), (4, 0)].map(|(wave, realm)| (wave, realm, StepAction::Stop));
        let start = [(5, 0), (6, 1), (7, 2), (8, 3)].map(|(wave, realm)| (wave, realm, StepAction::Start));
        let done = d.command(command(true));
        assert_eq!(steps(&done), [stop, start].concat());
        let Reply::Accepted { restarts, .. } = done else { panic!("{done:?}") };
        assert_eq!(restarts.len(), 4, "each restart once");
        // Each is ended once, and none before what needs it is gone.
        for realm in [RealmIx(3), C, B, A] {
            assert_eq!(d.signals(), [(realm, Signal::TERM)]);
            d.take();
            d.exit(realm, Exit::code(0));
        }
        for realm in [A, B, C, RealmIx(3)] {
            assert_eq!(d.starts(), [realm]);
            d.launch_all();
            d.wait(std::time::Duration::from_secs(1));
        }
    }
}

#[test]
fn several_realms_are_one_command_with_one_plan() {
    let realms = || vec![bare("a"), bare("b").needs(A), bare("c").needs(B)];
    // Whatever the order in which they are named.
    for named in [vec![A, B, C], vec![C, A, B], vec![B, B, C, A]] {
        let mut d = Drive::up(realms());
        let reply = d.command(Command { realms: named, ..Command::new(Action::Restart, A) });
        let Reply::Accepted { plan, .. } = &reply else { panic!("{reply:?}") };
        assert_eq!((&*plan.realms, &*plan.breaks), (&[A, B, C][..], &[][..]), "no dependent is left outside");
        let stops = [(1, 2, StepAction::Stop), (2, 1, StepAction::Stop), (3, 0, StepAction::Stop)];
        let starts = [(4, 0, StepAction::Start), (5, 1, StepAction::Start), (6, 2, StepAction::Start)];
        assert_eq!(steps(&reply), [stops, starts].concat());
        for realm in [C, B, A] {
            assert_eq!(d.signals(), [(realm, Signal::TERM)], "each is gone before what it needs is stopped");
            d.take();
            d.exit(realm, Exit::signal(Signal::TERM));
        }
        assert_eq!(d.starts(), [A]);
    }
    // One that is left outside would break: then nothing is done to any of them.
    let mut d = Drive::up(realms());
    let reply = d.command(Command { realms: vec![A, B], ..Command::new(Action::Restart, A) });
    let Reply::Refused { plan } = reply else { panic!("{reply:?}") };
    assert_eq!((plan.refusal, plan.breaks, d.signals()), (Some(Refusal::WouldBreak), vec![C], vec![]));
}
