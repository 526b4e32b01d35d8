//! A need that is on its way up is not broken, and a dependent is not to blame for a broken one: what dependents show
//! of either.

use std::time::Duration;

use heartbeat_status::{
    EdgeKind, EventKind, Exit, Flag, Gate, Hook, NextAction, Outcome, Phase, RealmIx, RealmKind, Reason,
    RestartResult, RestartStep, RunFact, Signal, Status, WhileDown,
};
use heartbeat_supervisor::{Command, RealmSpec, Reply};
use heartbeat_wire::Action;

use crate::drive::{A, B, C, Depends, Drive, FAIL, bare, external, oneshot, probed, secs, talking};

/// `a` needs nothing, `b` needs `a`, `c` needs `b`; each measured.
fn row() -> Vec<RealmSpec> {
    vec![probed("a"), probed("b").needs(A), probed("c").needs(B)]
}

/// The words that a realm has had since the last [`Drive::take`].
fn words(d: &Drive, realm: RealmIx) -> Vec<Status> {
    let of = |event: &heartbeat_status::Event| match event.kind {
        EventKind::StatusChanged { to, .. } => {
            event.realm.as_ref().is_some_and(|(ix, _)| *ix == realm).then_some(to)
        }
        _ => None,
    };
    d.events.iter().filter_map(of).collect()
}

/// Everything that was asked to start starts, everything measured passes, for a while.
fn run(d: &mut Drive, time: Duration, answer: impl Fn(RealmIx) -> Outcome + Copy) {
    let until = d.now + time;
    while d.now < until {
        for realm in d.starts() {
            if d.phase(realm) == Phase::Starting && d.status(realm).process.pid.is_none() {
                d.started(realm);
            }
        }
        for realm in [A, B, C].into_iter().take(d.sup.plan_in_force().realms().len()) {
            if d.phase(realm) == Phase::Stopping && d.status(realm).why.next.action == NextAction::Kill {
                d.exit(realm, Exit::signal(Signal::TERM));
            }
        }
        d.wait_answering(Duration::from_millis(100), answer);
    }
}

#[test]
fn a_boot_without_a_fault_is_starting_and_then_up() {
    let mut d = Drive::boot(row());
    assert_eq!((d.word(B), d.message(B)), (Status::Starting, "waits for a, which is starting".to_string()));
    let why = d.status(C).why.clone();
    assert_eq!(
        (why.reason, why.message.as_str()),
        (Reason::WaitingForNeed, "waits for b, which is starting")
    );
    assert_eq!((why.next.action, why.next.when.as_deref()), (NextAction::Start, Some("b is up")));
    assert_eq!(d.status(C).blocked_by, []);
    assert_eq!(d.sup.snapshot(d.now).worst(), Status::Starting);
    run(&mut d, secs(5), |_| Outcome::Pass);
    for realm in [A, B, C] {
        assert_eq!((words(&d, realm), d.word(realm)), (vec![Status::Up], Status::Up));
    }
}

#[test]
fn what_waits_for_a_need_that_has_failed_is_blocked() {
    let mut d = Drive::boot(row());
    d.take();
    d.started(A);
    d.exit(A, Exit::code(1));
    assert_eq!((d.word(A), d.word(B), d.word(C)), (Status::Restarting, Status::Blocked, Status::Blocked));
    assert_eq!(d.message(B), "needs a, which is restarting");
    assert_eq!((d.status(B).why.reason, d.status(B).blocked_by.clone()), (Reason::NeedBroken, vec![A]));
    assert_eq!(d.sup.snapshot(d.now).worst(), Status::Blocked);
    // An operator restarts it: its earlier failure does not count against this start.
    d.order(Action::Restart, A);
    assert_eq!((d.word(B), d.word(C)), (Status::Starting, Status::Starting));
}

#[test]
fn a_blocked_realm_is_broken_for_its_own_dependents_and_a_satisfied_done_passes_nothing_on() {
    let task = oneshot("b").needs(A);
    let waits = probed("c").edge(B, EdgeKind::Needs, Gate::Done, WhileDown::Ride);
    let mut d = Drive::boot(vec![probed("a"), task.clone(), waits.clone()]);
    d.take();
    d.started(A);
    d.exit(A, Exit::code(1));
    assert_eq!((d.word(B), d.word(C)), (Status::Blocked, Status::Blocked), "it is not done yet");
    assert!(!d.status(B).flags.contains(&Flag::UpstreamDown), "the flag is for what passes all the same");

    let mut d = Drive::boot(vec![probed("a"), task, waits]);
    run(&mut d, secs(2), |_| Outcome::Pass);
    d.exit(B, Exit::code(0));
    run(&mut d, secs(5), |_| Outcome::Pass);
    assert_eq!((d.word(B), d.word(C)), (Status::Done, Status::Up));
    d.exit(A, Exit::code(1));
    assert_eq!((d.word(A), d.word(B), d.word(C)), (Status::Restarting, Status::Done, Status::Up));
    assert!(d.status(C).blocked_by.is_empty() && !d.status(C).flags.contains(&Flag::UpstreamDown));
}

#[test]
fn a_requested_restart_in_which_nothing_fails_shows_no_trouble() {
    let mut d = Drive::up(row());
    d.order(Action::Restart, A);
    d.take();
    // Its dependents cannot work without it, and no realm is to blame.
    run(&mut d, secs(1), |realm| if realm == A { Outcome::Pass } else { FAIL });
    run(&mut d, secs(10), |_| Outcome::Pass);
    for realm in [A, B, C] {
        let seen = words(&d, realm);
        let trouble = seen.iter().any(|word| matches!(word, Status::Blocked | Status::Down | Status::Failed));
        assert!(!trouble, "{realm:?}: {seen:?}");
        assert_eq!(d.word(realm), Status::Up);
    }
    assert_eq!(d.sup.snapshot(d.now).incidents, []);
}

#[test]
fn a_dependent_that_fails_while_its_need_is_restarted_on_request_waits_for_it() {
    let mut d = Drive::up(vec![external("a"), probed("b").needs(A)]);
    let mut with_command = external("a");
    with_command.restart_command = true;
    d.reload(vec![with_command, probed("b").needs(A)], &[]);
    d.order(Action::Restart, A);
    assert_eq!(d.word(A), Status::Restarting);
    d.wait_answering(secs(8), |_| FAIL);
    let why = d.status(B).why.clone();
    assert_eq!((d.word(B), why.reason), (Status::Starting, Reason::WaitingForNeed));
    assert_eq!(why.message, "waits for a, which is restarting");
    assert_eq!((d.status(B).probes[0].fails, d.signals()), (0, vec![]), "not counted, not acted on");
    assert!(!d.status(B).flags.contains(&Flag::UpstreamDown));
}

#[test]
fn a_dependent_is_not_down_between_blocked_and_up() {
    let mut d = Drive::up(vec![bare("a"), probed("b").needs(A)]);
    d.exit(A, Exit::code(1));
    run(&mut d, secs(4), |_| FAIL);
    assert_eq!((d.word(A), d.word(B)), (Status::Restarting, Status::Blocked));
    d.take();
    // The need is back, and the core does not know yet what that means for its dependent.
    d.wait(secs(3));
    assert_eq!((d.word(A), d.word(B)), (Status::Up, Status::Blocked));
    assert!(d.message(B).starts_with("what it needs is back; measured afresh"), "{}", d.message(B));
    d.wait_answering(secs(10), |_| Outcome::Pass);
    assert_eq!(words(&d, B), [Status::Up]);
}

#[test]
fn a_dependent_that_still_fails_after_its_own_full_threshold_is_down() {
    let mut d = Drive::up(vec![bare("a"), probed("b").needs(A)]);
    d.exit(A, Exit::code(1));
    run(&mut d, secs(4), |_| FAIL);
    d.take();
    d.wait_answering(secs(12), |_| FAIL);
    assert_eq!(words(&d, B)[0], Status::Down, "its own fault now");
}

#[test]
fn whose_fault_it_is_is_remembered_over_a_restart_of_heartbeatd() {
    use heartbeat_supervisor::Found;
    let mut d = Drive::up(vec![bare("a"), probed("b").needs(A)]);
    d.exit(A, Exit::code(1));
    run(&mut d, secs(4), |_| FAIL);
    d.wait(secs(3));
    assert_eq!((d.word(A), d.word(B)), (Status::Up, Status::Blocked));
    d.killed(|realm| Found::Alive { pid: 100 + realm.0, launching: false });
    assert_eq!((d.word(A), d.word(B)), (Status::Up, Status::Blocked));

    // A need that was failing before heartbeatd died is no start without a fault.
    let mut d = Drive::boot(vec![probed("a"), bare("b").needs(A)]);
    d.take();
    d.started(A);
    d.exit(A, Exit::code(1));
    run(&mut d, secs(1), |_| FAIL);
    assert_eq!((d.phase(A), d.word(B)), (Phase::Starting, Status::Blocked));
    d.killed(|realm| match realm {
        A => Found::Alive { pid: 100, launching: false },
        _ => Found::Nothing,
    });
    assert_eq!(d.word(B), Status::Blocked);
}

#[test]
fn a_cascade_goes_on_as_its_realms_get_ready_and_verifies_beside_it() {
    let mut d = Drive::up(row());
    d.command(Command { cascade: true, ..Command::new(Action::Restart, A) });
    d.take();
    let began = d.now;
    let mut started = Vec::new();
    for _ in 0..200 {
        for realm in d.starts() {
            if !started.contains(&realm) {
                started.push(realm);
            }
        }
        if started.len() == 3 {
            break;
        }
        run(&mut d, Duration::from_millis(100), |_| Outcome::Pass);
    }
    assert_eq!(started, [A, B, C]);
    assert!(d.now.since(began) < secs(4), "no verification in between: {:?}", d.now.since(began));
    assert_eq!(d.word(A), Status::Restarting, "which is under way all the same");
    run(&mut d, secs(12), |_| Outcome::Pass);
    for realm in [A, B, C] {
        let record = d.status(realm).restart.clone().expect("a restart");
        assert_eq!(record.result, Some(RestartResult::Verified), "{realm:?}");
    }
}

#[test]
fn dependents_of_a_requested_restart_that_fails_are_blocked() {
    let mut d = Drive::up(row());
    d.command(Command { cascade: true, ..Command::new(Action::Restart, A) });
    run(&mut d, secs(1), |_| Outcome::Pass);
    assert_eq!(d.word(A), Status::Restarting, "not verified yet");
    d.take();
    d.exit(A, Exit::code(1));
    assert_eq!(d.word(A), Status::Restarting);
    run(&mut d, secs(2), |realm| if realm == A { Outcome::Pass } else { FAIL });
    assert!(d.status(B).blocked_by == [A], "{:?}", d.status(B).why);
}

#[test]
fn after_a_crash_dependents_wait_until_the_restart_is_verified() {
    let mut d = Drive::boot(vec![probed("a"), probed("b").needs(A)]);
    d.take();
    d.started(A);
    d.exit(A, Exit::code(1));
    run(&mut d, secs(3), |_| Outcome::Pass);
    assert_eq!((d.phase(A), d.phase(B)), (Phase::Running, Phase::Waiting), "it passes, and may crash again");
    d.wait_answering(secs(6), |_| Outcome::Pass);
    assert_eq!((d.word(A), d.phase(B)), (Status::Up, Phase::Starting));
}

#[test]
fn a_degraded_need_is_no_broken_one() {
    let degraded = Outcome::Degraded(heartbeat_status::DegradedReason::Slow);
    let mut d = Drive::up(vec![probed("a"), probed("b").needs(A)]);
    d.wait_answering(secs(12), |realm| if realm == A { degraded } else { Outcome::Pass });
    assert_eq!((d.word(A), d.word(B)), (Status::Degraded, Status::Up));
    assert!(!d.status(B).flags.contains(&Flag::UpstreamDown));
    // Its restart is verified, and the way to calm is not interrupted.
    d.order(Action::Restart, A);
    d.exit(A, Exit::signal(Signal::TERM));
    d.launch_all();
    d.wait_answering(secs(12), |realm| if realm == A { degraded } else { Outcome::Pass });
    let record = d.status(A).restart.clone().expect("a restart");
    assert_eq!(record.result, Some(RestartResult::Verified));
}

#[test]
fn a_pause_does_not_hide_a_tree_that_survives_kill() {
    let mut d = Drive::up(vec![bare("a")]);
    d.order(Action::Stop, A);
    assert_eq!(d.word(A), Status::Stopping);
    d.wait(secs(15));
    assert_eq!((d.phase(A), d.word(A)), (Phase::Stuck, Status::Failed));
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!(incidents.iter().map(|incident| incident.reason).collect::<Vec<_>>(), [Reason::Stuck]);
    d.command(Command { reason: Some("a look at it".to_string()), ..Command::new(Action::Pause, A) });
    assert_eq!((d.word(A), d.status(A).why.reason), (Status::Failed, Reason::Stuck));
    assert_eq!(d.sup.snapshot(d.now).incidents.len(), 1, "it is still there");
}

#[test]
fn a_realm_is_stopping_until_nothing_of_it_is_alive() {
    let mut d = Drive::up(vec![bare("a"), probed("b").needs(A)]);
    d.order(Action::Stop, A);
    let why = d.status(A).why.clone();
    assert_eq!(
        (d.word(A), why.reason, why.next.action),
        (Status::Stopping, Reason::Stopping, NextAction::Kill)
    );
    assert!(d.sup.snapshot(d.now).is_ok(), "that is what was asked for");
    assert!(d.status(B).flags.contains(&Flag::UpstreamDown), "a need that is being stopped is broken");
    let run = d.run(A);
    d.feed(heartbeat_supervisor::Input::Run {
        realm: A,
        run,
        fact: RunFact::Exited { exit: Exit::code(0), empty: false },
    });
    assert_eq!(d.word(A), Status::Stopping, "its children live on");
    d.feed(heartbeat_supervisor::Input::Run { realm: A, run, fact: RunFact::Emptied });
    assert_eq!(d.word(A), Status::Stopped);
    let told = words(&d, A);
    assert_eq!(told, [Status::Stopping, Status::Stopped]);
}

#[test]
fn a_realm_that_is_not_critical_does_not_count_for_the_whole() {
    let mut spec = probed("a");
    spec.critical = false;
    let mut d = Drive::up(vec![spec, probed("b")]);
    d.wait_answering(secs(20), |realm| if realm == A { FAIL } else { Outcome::Pass });
    assert_ne!(d.word(A), Status::Up);
    let snapshot = d.sup.snapshot(d.now);
    assert!(snapshot.is_ok() && snapshot.worst() == Status::Up);
    d.wait_answering(secs(20), |_| FAIL);
    assert!(!d.sup.snapshot(d.now).is_ok(), "the other one does");
}

#[test]
fn since_does_not_change_over_a_restart_of_heartbeatd() {
    use heartbeat_supervisor::Found;
    let manual = RealmSpec { manual: true, ..bare("d") };
    let mut failing = bare("e");
    failing.restart = crate::drive::policy(|settings| settings.when = heartbeat_restart::RestartWhen::Never);
    let plan = vec![
        probed("a"),
        bare("b"),
        external("c"),
        manual,
        failing,
        probed("f").needs(RealmIx(4)),
        oneshot("g"),
    ];
    let mut d = Drive::up(plan);
    d.exit(RealmIx(6), Exit::code(0));
    d.exit(RealmIx(4), Exit::code(1));
    d.order(Action::Stop, B);
    d.exit(B, Exit::code(0));
    d.wait_answering(secs(100), |realm| if [2, 5].contains(&realm.0) { FAIL } else { Outcome::Pass });
    let all = |d: &mut Drive| -> Vec<_> {
        let snapshot = d.sup.snapshot(d.now);
        snapshot.realms.iter().map(|realm| (realm.status, realm.why.since)).collect()
    };
    let before = all(&mut d);
    let words: Vec<Status> = before.iter().map(|(status, _)| *status).collect();
    use Status::{Blocked, Done, Down, Failed, Stopped, Up};
    assert_eq!(words, [Up, Stopped, Down, Stopped, Failed, Blocked, Done]);
    d.now = d.now + secs(7);
    d.killed(|realm| match realm.0 {
        0 => Found::Alive { pid: 100, launching: false },
        5 => Found::Alive { pid: 105, launching: false },
        _ => Found::Nothing,
    });
    assert_eq!(all(&mut d), before);
    d.wait_answering(secs(3), |realm| if [2, 5].contains(&realm.0) { FAIL } else { Outcome::Pass });
    assert_eq!(all(&mut d), before);
}

/// `b` passes for a while without its need `a`, and its open restart is verified on that evidence alone.
fn proves_itself_without_its_need(d: &mut Drive) {
    d.wait_answering(secs(3), |_| Outcome::Pass);
    assert_eq!(d.word(B), Status::Restarting, "healthy is not yet recovered");
    d.wait_answering(secs(5), |_| Outcome::Pass);
    let record = d.status(B).restart.clone().expect("a restart");
    assert_eq!(record.result, Some(RestartResult::Verified));
    assert!(record.steps.iter().any(|(step, _)| *step == RestartStep::Verified));
    let why = d.status(B).why.clone();
    assert_eq!((d.word(B), why.reason, why.next.action), (Status::Up, Reason::Healthy, NextAction::Probe));
    assert!(d.status(B).flags.contains(&Flag::UpstreamDown), "its need is still down");
    assert_eq!(d.sup.snapshot(d.now).incidents, [], "resolved on that evidence");
}

fn stop_its_need(d: &mut Drive) {
    d.order(Action::Stop, A);
    d.exit(A, Exit::signal(Signal::TERM));
    assert_eq!((d.word(A), d.status(B).blocked_by.clone()), (Status::Stopped, vec![A]));
}

#[test]
fn a_crash_restart_is_verified_by_passes_while_a_need_is_stopped() {
    let mut d = Drive::stable(vec![probed("a"), probed("b").needs(A)]);
    d.exit(B, Exit::signal(Signal::KILL));
    d.started(B);
    d.wait_answering(secs(1), |_| Outcome::Pass);
    assert_eq!(d.sup.snapshot(d.now).incidents.len(), 1);
    stop_its_need(&mut d);
    proves_itself_without_its_need(&mut d);
}

#[test]
fn a_restart_by_its_own_command_is_verified_by_passes_while_a_need_is_stopped() {
    let mut with_command = probed("b").needs(A);
    with_command.restart_command = true;
    let mut d = Drive::stable(vec![probed("a"), with_command]);
    d.order(Action::Restart, B);
    let run = d.run(B);
    let fact = RunFact::HookDone { hook: Hook::Restart, failure: None };
    d.feed(heartbeat_supervisor::Input::Run { realm: B, run, fact });
    stop_its_need(&mut d);
    proves_itself_without_its_need(&mut d);
}

#[test]
fn a_restart_whose_start_outlives_its_need_is_verified_by_passes() {
    let mut d = Drive::stable(vec![probed("a"), probed("b").needs(A)]);
    d.exit(B, Exit::signal(Signal::KILL));
    d.started(B);
    stop_its_need(&mut d);
    assert_eq!(d.phase(B), Phase::Starting, "it has not passed yet");
    proves_itself_without_its_need(&mut d);
}

#[test]
fn a_failure_while_a_need_is_stopped_neither_fails_nor_verifies_a_restart() {
    let mut d = Drive::stable(vec![probed("a"), probed("b").needs(A)]);
    d.exit(B, Exit::signal(Signal::KILL));
    d.started(B);
    d.wait_answering(secs(1), |_| Outcome::Pass);
    stop_its_need(&mut d);
    d.take();
    d.wait_answering(secs(200), |_| FAIL);
    let record = d.status(B).restart.clone().expect("a restart");
    assert_eq!((record.result, d.signals(), d.starts()), (None, vec![], vec![]));
    // Only passes were missing.
    d.wait_answering(secs(8), |_| Outcome::Pass);
    let record = d.status(B).restart.clone().expect("a restart");
    assert_eq!((d.word(B), record.result), (Status::Up, Some(RestartResult::Verified)));
}

/// A step in which nothing fails shows no word of trouble: in no status, no event, no narrated line, no incident.
fn shows_no_trouble(d: &mut Drive, what: &str) {
    const TROUBLE: [&str; 6] = ["down", "blocked", "fail", "unhealthy", "refused", "incident"];
    let snapshot = d.sup.snapshot(d.now);
    let mut lines: Vec<String> = Vec::new();
    for realm in &snapshot.realms {
        let bad = matches!(realm.status, Status::Down | Status::Blocked | Status::Failed | Status::Unknown);
        assert!(!bad && realm.blocked_by.is_empty(), "{what}: {} is {}", realm.info.name, realm.status);
        assert!(realm.flags.is_empty(), "{what}: {} has {:?}", realm.info.name, realm.flags);
        let restart = realm.restart.as_ref();
        assert!(restart.is_none_or(|restart| !restart.cause.is_debited()), "{what}: {restart:?}");
        lines.push(format!("{} {} {}", realm.why.reason, realm.why.message, realm.why.next.action));
        lines.extend(realm.why.next.when.clone());
    }
    assert!(snapshot.incidents.is_empty(), "{what}: {:?}", snapshot.incidents);
    lines.extend(
        d.events.iter().filter_map(|event| event.kind.fact()).map(|(what, line)| format!("{what} {line}")),
    );
    for line in lines {
        let trouble = TROUBLE.iter().find(|word| line.to_lowercase().contains(*word));
        assert!(trouble.is_none(), "{what}: {line}");
    }
}

/// A whole ecosystem, one step at a time: each launch, each measurement, each end and each moment is a step.
fn without_a_fault(d: &mut Drive, time: Duration, what: &str) {
    let until = d.now + time;
    while d.now < until {
        for realm in d.starts() {
            if d.phase(realm) == Phase::Starting && d.status(realm).process.pid.is_none() {
                d.started(realm);
                shows_no_trouble(d, what);
            }
        }
        d.take();
        for realm in d.sup.plan_in_force().infos().to_vec().iter().map(|info| info.ix) {
            let status = d.status(realm);
            if status.phase == Phase::Stopping && status.why.next.action == NextAction::Kill {
                d.exit(realm, Exit::signal(Signal::TERM));
            } else if status.info.kind == RealmKind::Oneshot && status.phase == Phase::Running {
                d.exit(realm, Exit::code(0));
            }
            shows_no_trouble(d, what);
        }
        d.answer_all(Outcome::Pass);
        shows_no_trouble(d, what);
        d.wait(Duration::from_millis(50));
        shows_no_trouble(d, what);
    }
}

/// A database, a migration, two services on it, one that waits for its order only, and one that says that it is ready.
fn ecosystem() -> Vec<RealmSpec> {
    let done = |spec: RealmSpec| spec.edge(B, EdgeKind::Needs, Gate::Done, WhileDown::Ride);
    vec![
        probed("a"),
        oneshot("b").needs(A),
        done(probed("c").needs(A)),
        done(probed("d").edge(A, EdgeKind::Needs, Gate::Up, WhileDown::Stop)),
        probed("e").edge(C, EdgeKind::Needs, Gate::Up, WhileDown::Restart),
        probed("f").edge(RealmIx(4), EdgeKind::After, Gate::Up, WhileDown::Ride),
        talking("g", Some(secs(30))).needs(C),
    ]
}

#[test]
fn a_whole_boot_and_a_whole_cascade_without_a_fault_show_no_trouble_at_any_step() {
    let mut d = Drive::boot(ecosystem());
    shows_no_trouble(&mut d, "boot");
    without_a_fault(&mut d, secs(3), "boot");
    d.say(RealmIx(6), |said| said.ready = true);
    without_a_fault(&mut d, secs(10), "boot");
    let up = |d: &mut Drive| {
        let snapshot = d.sup.snapshot(d.now);
        snapshot.realms.iter().all(|realm| matches!(realm.status, Status::Up | Status::Done))
    };
    assert!(up(&mut d));
    for round in 0..2 {
        let cascade = Command { cascade: true, ..Command::new(Action::Restart, A) };
        let reply = d.command(cascade);
        assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
        shows_no_trouble(&mut d, "cascade");
        without_a_fault(&mut d, secs(5), "cascade");
        d.say(RealmIx(6), |said| said.ready = true);
        without_a_fault(&mut d, secs(15), "cascade");
        assert!(up(&mut d), "round {round}");
        // The second round begins in the middle of a verification.
        d.order(Action::Restart, RealmIx(5));
        without_a_fault(&mut d, secs(1), "restart");
    }
}
