//! A new plan takes the place of the one in force: what is untouched does not move.

use heartbeat_status::{EventKind, Exit, Outcome, Phase, RealmIx, RestartCause, RunFact, Signal, Status};
use heartbeat_supervisor::{Found, RealmSpec};
use heartbeat_wire::Action;

use crate::drive::{A, B, C, Depends, Drive, FAIL, bare, external, oneshot, probed, secs};

fn retired(mut spec: RealmSpec) -> RealmSpec {
    spec.retired = true;
    spec
}

#[test]
fn what_is_untouched_does_not_move() {
    let realms = || vec![probed("a"), probed("b").needs(A), oneshot("c")];
    let mut d = Drive::up(realms());
    d.exit(C, Exit::code(0));
    d.until_measured(A);
    d.answer(A, FAIL);
    d.take();
    let before: Vec<_> = [A, B, C].iter().map(|ix| d.status(*ix)).collect();
    let in_flight = (d.in_flight(A), d.in_flight(B));
    let next = d.sup.poll_timeout();
    d.reload(realms(), &[]);
    assert_eq!((d.starts(), d.signals()), (vec![], vec![]));
    assert_eq!((d.in_flight(A), d.in_flight(B)), in_flight, "what is being measured goes on");
    assert_eq!(d.sup.poll_timeout(), next, "every timer keeps its time");
    for (ix, before) in [A, B, C].into_iter().zip(before) {
        let now = d.status(ix);
        assert!(now.means_the_same(&before), "{before:#?}\n{now:#?}");
        assert_eq!((now.process.run, now.process.pid), (before.process.run, before.process.pid));
        let counters = |status: &heartbeat_status::RealmStatus| -> Vec<(u32, u32)> {
            status.probes.iter().map(|probe| (probe.passes, probe.fails)).collect()
        };
        assert_eq!(counters(&now), counters(&before), "counters stay");
    }
    assert!(d.events.iter().any(|event| matches!(event.kind, EventKind::Reloaded { .. })));
}

/// A new probe has no result yet, and the process that it will measure is another one.
#[test]
fn a_realm_that_runs_anew_with_another_probe_says_that_and_nothing_before() {
    let mut d = Drive::up(vec![probed("a"), probed("b").needs(A)]);
    let mut other = probed("a");
    other.probes[0].info.target = "http://127.0.0.1:2/".to_string();
    other.probes.push(other.probes[0].clone());
    other.probes[1].info.name = "ready".to_string();
    d.reload(vec![other, probed("b").needs(A)], &[A]);
    let changes = d.events.iter().filter_map(|event| match &event.kind {
        EventKind::StatusChanged { from, to, .. } => Some((event.realm.as_ref().unwrap().0, *from, *to)),
        _ => None,
    });
    assert_eq!(changes.collect::<Vec<_>>(), [(A, Status::Up, Status::Restarting)]);
}

#[test]
fn a_new_realm_is_started_when_its_needs_hold() {
    let mut d = Drive::up(vec![probed("a")]);
    d.reload(vec![probed("a"), probed("b").needs(C), bare("c").needs(A)], &[]);
    assert_eq!(d.starts(), [C], "a is up, b waits for c");
    d.launch_all();
    d.wait(secs(2));
    assert_eq!(d.starts(), [B]);
    d.launch_all();
    d.wait_answering(secs(5), |_| Outcome::Pass);
    assert_eq!([A, B, C].map(|ix| d.word(ix)), [Status::Up; 3]);
}

#[test]
fn a_realm_that_is_gone_from_the_plan_is_stopped_dependents_first_and_its_place_is_free() {
    let realms = || vec![bare("a"), bare("b").needs(A), bare("c").needs(B)];
    let mut d = Drive::up(realms());
    let [a, b, c] = realms().try_into().expect("three");
    d.reload(vec![a.clone(), retired(b.clone()), retired(c.clone())], &[]);
    assert_eq!(d.signals(), [(C, Signal::TERM)], "the dependent first");
    assert_eq!(d.sup.vacant(), []);
    d.exit(C, Exit::signal(Signal::TERM));
    assert_eq!(d.signals(), [(C, Signal::TERM), (B, Signal::TERM)]);
    d.exit(B, Exit::signal(Signal::TERM));
    assert_eq!(d.word(A), Status::Up);
    assert_eq!(d.sup.vacant(), [B, C]);
    let shown: Vec<RealmIx> = d.sup.snapshot(d.now).start_order.to_vec();
    assert_eq!(shown, [A], "what is gone is not shown");
    // Another realm takes the place; a late answer about the one before finds no measurement.
    let before = d.run(B);
    d.take();
    d.reload(vec![a, probed("d").needs(A), retired(c)], &[]);
    assert_eq!(d.starts(), [B]);
    assert!(d.run(B) > before, "the runs of a place count on");
    assert_eq!(d.run(B).generation(), 1, "and the new realm begins with its first generation");
    let late = heartbeat_supervisor::Input::Run {
        realm: B,
        run: before,
        fact: RunFact::Exited { exit: Exit::code(1), empty: true },
    };
    d.feed(late);
    assert_eq!(d.phase(B), Phase::Starting);
}

#[test]
fn a_realm_that_comes_back_runs_again_whether_it_was_gone_already_or_not() {
    let mut d = Drive::up(vec![bare("a")]);
    d.reload(vec![retired(bare("a"))], &[]);
    assert_eq!(d.phase(A), Phase::Stopping);
    d.reload(vec![bare("a")], &[]);
    d.take();
    d.exit(A, Exit::signal(Signal::TERM));
    d.wait(secs(1));
    assert_eq!(d.starts(), [A], "wanted again before it was gone");
    d.launch_all();
    d.wait(secs(2));
    assert_eq!(d.word(A), Status::Up);
    d.reload(vec![retired(bare("a"))], &[]);
    d.exit(A, Exit::signal(Signal::TERM));
    assert_eq!(d.sup.vacant(), [A]);
    d.take();
    d.reload(vec![bare("a")], &[]);
    assert_eq!(d.starts(), [A], "wanted again after it was gone");
}

#[test]
fn a_realm_that_is_made_of_something_else_is_restarted_and_its_dependents_ride() {
    let realms = || vec![bare("a"), bare("b").needs(A), oneshot("c")];
    let mut d = Drive::up(realms());
    d.exit(C, Exit::code(0));
    assert_eq!(d.phase(C), Phase::Done);
    d.take();
    d.reload(realms(), &[A, C]);
    assert_eq!(d.signals(), [(A, Signal::TERM)]);
    assert_eq!(d.starts(), [C], "done holds until the process part changes");
    d.exit(A, Exit::signal(Signal::TERM));
    d.wait(secs(1));
    assert!(d.starts().contains(&A), "{:?}", d.effects);
    d.launch_all();
    d.wait(secs(10));
    assert_eq!((d.word(A), d.word(B)), (Status::Up, Status::Up));
    let record = d.status(A).restart.clone().expect("a restart");
    assert_eq!(record.cause, RestartCause::Reloaded);
    assert_eq!(d.status(A).restarts.used, 0, "no debit");
}

#[test]
fn what_was_given_up_is_tried_again_when_it_is_made_of_something_else() {
    let mut spec = bare("a");
    spec.restart = crate::drive::policy(|settings| settings.burst = 1);
    let mut d = Drive::stable(vec![spec.clone()]);
    for _ in 0..2 {
        d.exit(A, Exit::code(1));
        d.launch_all();
    }
    assert_eq!(d.word(A), Status::Failed);
    d.reload(vec![spec.clone()], &[]);
    assert_eq!((d.word(A), d.starts()), (Status::Failed, vec![]), "not for nothing");
    d.reload(vec![spec], &[A]);
    d.wait(secs(1));
    assert_eq!(d.starts(), [A]);
}

#[test]
fn an_operators_stop_outlives_a_reload() {
    let mut d = Drive::up(vec![bare("a"), bare("b")]);
    d.order(Action::Stop, A);
    d.exit(A, Exit::signal(Signal::TERM));
    d.take();
    d.reload(vec![bare("a"), bare("b").needs(A)], &[A]);
    d.wait(secs(10));
    assert_eq!((d.word(A), d.starts()), (Status::Stopped, vec![]));
    assert_eq!(d.word(B), Status::Up, "it runs on, with a flag");
}

#[test]
fn probes_come_and_go_without_a_restart() {
    let mut d = Drive::up(vec![bare("a"), external("b")]);
    assert_eq!(d.in_flight(A), 0);
    d.take();
    d.reload(vec![probed("a"), external("b")], &[]);
    d.until_measured(A);
    d.answer_all(Outcome::Pass);
    assert_eq!((d.starts(), d.signals(), d.word(A)), (vec![], vec![], Status::Up));
    // The realm fails, and then a reload removes its only probe.
    d.wait_answering(secs(6), |ix| if ix == A { FAIL } else { Outcome::Pass });
    d.until_measured(A);
    d.reload(vec![bare("a"), external("b")], &[]);
    d.wait_answering(secs(60), |_| Outcome::Pass);
    assert_eq!((d.in_flight(A), d.word(A)), (0, Status::Up));
    assert_eq!((d.starts(), d.signals()), (vec![], vec![]));
}

#[test]
fn an_external_realm_that_is_removed_is_not_measured_any_more() {
    let mut d = Drive::up(vec![external("a"), external("b")]);
    d.until_measured(A);
    d.reload(vec![retired(external("a")), external("b")], &[]);
    assert_eq!(d.in_flight(A), 0);
    d.wait_answering(secs(60), |ix| {
        assert_eq!(ix, B);
        Outcome::Pass
    });
    assert_eq!(d.sup.vacant(), [A]);
    d.reload(vec![external("a"), external("b")], &[]);
    d.wait_answering(secs(60), |_| Outcome::Pass);
    assert_eq!(d.word(A), Status::Up);
}

#[test]
fn an_incident_ends_with_the_realm_that_it_is_about() {
    let mut d = Drive::up(vec![bare("a"), bare("b")]);
    d.exit(A, Exit::code(1));
    assert_eq!(d.sup.snapshot(d.now).incidents.len(), 1);
    d.reload(vec![retired(bare("a")), bare("b")], &[]);
    d.wait(secs(20));
    for (ix, signal) in d.signals() {
        d.exit(ix, Exit::signal(signal));
    }
    d.launch_all();
    d.wait(secs(20));
    let ended = d.events.iter().any(
        |event| matches!(&event.kind, EventKind::Incident { note: Some(why), .. } if why.contains("removed")),
    );
    assert!(ended || d.sup.snapshot(d.now).incidents.is_empty(), "{:#?}", d.events);
    assert_eq!(d.sup.vacant(), [A]);
}

#[test]
fn a_realm_that_starts_is_ready_by_what_it_is_judged_by_now() {
    let mut d = Drive::boot(vec![probed("a")]);
    d.launch_all();
    d.answer_all(FAIL);
    assert_eq!(d.phase(A), Phase::Starting, "it waits for its probe");
    d.reload(vec![bare("a")], &[]);
    d.wait(secs(2));
    assert_eq!(d.phase(A), Phase::Running, "without one it has settled");
    let mut d = Drive::boot(vec![bare("a")]);
    d.launch_all();
    d.reload(vec![probed("a")], &[]);
    d.wait(secs(2));
    assert_eq!(d.phase(A), Phase::Starting, "now there is a probe to wait for");
    d.answer_all(Outcome::Pass);
    assert_eq!(d.phase(A), Phase::Running);
}

#[test]
fn a_command_for_what_is_going_is_refused() {
    let mut d = Drive::up(vec![bare("a")]);
    d.reload(vec![retired(bare("a"))], &[]);
    for action in [Action::Start, Action::Restart, Action::Reset, Action::Pause] {
        let plan = match d.order(action, A) {
            heartbeat_supervisor::Reply::Refused { plan } => plan,
            other => panic!("{action}: {other:?}"),
        };
        assert_eq!(plan.refusal, Some(heartbeat_supervisor::Refusal::Removed(A)), "{action}");
    }
}

#[test]
fn a_realm_that_is_not_manual_any_more_is_started_unless_an_operator_stopped_it() {
    let manual = |name: &str| {
        let mut spec = bare(name);
        spec.manual = true;
        spec
    };
    let mut d = Drive::up(vec![manual("a"), bare("b")]);
    d.order(Action::Stop, B);
    d.exit(B, Exit::signal(Signal::TERM));
    d.take();
    d.reload(vec![bare("a"), bare("b")], &[]);
    assert_eq!(d.starts(), [A]);
    d.launch_all();
    d.wait(secs(2));
    d.reload(vec![manual("a"), bare("b")], &[]);
    assert_eq!((d.word(A), d.word(B)), (Status::Up, Status::Stopped), "what runs runs on");
}

#[test]
fn nothing_new_is_taken_while_everything_is_being_stopped() {
    let mut d = Drive::up(vec![bare("a")]);
    d.feed(heartbeat_supervisor::Input::Shutdown { now: false });
    assert_eq!(d.sup.daemon_phase(), heartbeat_status::DaemonPhase::Stopping);
    d.reload(vec![bare("a"), bare("b")], &[A]);
    assert_eq!(d.sup.plan_in_force().realms().len(), 1);
    d.take();
    d.exit(A, Exit::signal(Signal::TERM));
    assert!(d.effects.contains(&heartbeat_supervisor::Effect::Halt), "{:?}", d.effects);
}

#[test]
fn an_incident_does_not_pass_to_the_realm_that_takes_a_free_place() {
    let mut d = Drive::up(vec![probed("a"), probed("b").needs(A)]);
    d.exit(A, Exit::code(1));
    d.until_measured(B);
    d.wait_answering(secs(20), |_| FAIL);
    let affected = |d: &mut Drive| d.sup.snapshot(d.now).incidents[0].affected.clone();
    assert_eq!(affected(&mut d), [B]);
    d.reload(vec![probed("a"), retired(probed("b").needs(A))], &[]);
    d.exit(B, Exit::signal(Signal::TERM));
    assert_eq!(d.sup.vacant(), [B]);
    d.reload(vec![probed("a"), bare("c")], &[]);
    assert_eq!(affected(&mut d), []);
}

#[test]
fn a_realm_that_returns_is_no_news_to_the_incident_that_affected_it() {
    let realms = || vec![probed("a"), probed("b").needs(A)];
    let mut d = Drive::up(realms());
    d.exit(A, Exit::code(1));
    d.until_measured(B);
    d.wait_answering(secs(20), |_| FAIL);
    d.reload(vec![probed("a"), retired(probed("b").needs(A))], &[]);
    d.exit(B, Exit::signal(Signal::TERM));
    assert_eq!(d.sup.vacant(), [B]);
    d.take();
    d.reload(realms(), &[]);
    assert_eq!(d.word(B), Status::Blocked);
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!((incidents.len(), &incidents[0].affected), (1, &vec![B]));
    let told = d.events.iter().filter(|event| matches!(event.kind, EventKind::Incident { .. })).count();
    assert_eq!(told, 0, "{:#?}", d.events);
}

#[test]
fn what_is_run_again_by_a_reload_says_so_and_names_the_key() {
    let mut d = Drive::boot(vec![oneshot("a"), bare("b")]);
    d.launch_all();
    d.exit(A, Exit::code(0));
    assert_eq!(d.message(A), "exit code 0 after 0.0 s");
    d.take();
    d.reload(vec![oneshot("a"), bare("b")], &[A, B]);
    for realm in [A, B] {
        assert!(d.message(realm).contains("reloaded (run)"), "{}", d.message(realm));
        let record = d.status(realm).restart.clone().expect("a restart");
        assert_eq!((record.cause, record.detail.as_str()), (RestartCause::Reloaded, "reloaded (run)"));
    }
}

#[test]
fn a_realm_that_waits_for_a_restart_and_is_removed_with_those_it_waits_for_is_not_measured_any_more() {
    let sick = ["a", "b", "c"].map(probed);
    let well = ["d", "e", "f", "g", "h", "i"].map(bare);
    let mut d = Drive::up(sick.iter().chain(&well).cloned().collect());
    d.wait_answering(secs(20), |_| FAIL);
    let held = [A, B, C].into_iter().find(|ix| d.word(*ix) == Status::Down).expect("two at a time");
    let gone = sick.into_iter().map(retired);
    d.reload(gone.chain(well).collect(), &[]);
    d.take();
    d.wait(secs(5));
    assert_eq!((d.phase(held), d.in_flight(held)), (Phase::Stopping, 0));
    assert!(!d.status(held).probes[0].current, "what was measured is history");
}

/// A realm that may restart six times.
fn restartable() -> RealmSpec {
    let mut spec = probed("old");
    spec.restart = crate::drive::policy(|settings| settings.burst = 6);
    spec
}

#[test]
fn a_new_realm_in_a_free_place_has_nothing_of_the_removed_one() {
    for remembered in [false, true] {
        let mut d = Drive::up(vec![bare("a"), restartable()]);
        for _ in 0..4 {
            d.exit(B, Exit::code(1));
            d.live(secs(40), |_| Outcome::Pass);
        }
        let old = d.status(B);
        assert_eq!((old.process.run.generation(), old.restarts.total), (5, 4), "{old:#?}");
        d.wait_answering(secs(20), |_| FAIL);
        d.order(Action::Pause, B);
        let mute = heartbeat_status::Mute {
            reason: "move".to_owned(),
            until: heartbeat_status::WallTime::from_millis(0),
            by: "uid 0".to_owned(),
        };
        d.sup.set_muted([(B, mute)].into());
        let before = d.run(B);
        d.reload(vec![bare("a"), retired(restartable())], &[]);
        d.exit(B, Exit::signal(Signal::TERM));
        d.wait(secs(30));
        assert_eq!(d.sup.vacant(), [B]);
        let mut other = restartable();
        other.name = heartbeat_status::RealmName::new("other").expect("a name");
        d.reload(vec![bare("a"), other.clone()], &[]);
        d.sup.set_muted([].into());
        // The same realm in a place that no realm had before.
        let mut fresh = Drive::up(vec![bare("a")]);
        fresh.reload(vec![bare("a"), other], &[]);
        if remembered {
            d.killed(|ix| if ix == A { Found::Alive { pid: 1, launching: false } } else { Found::Nothing });
            fresh.killed(
                |ix| if ix == A { Found::Alive { pid: 1, launching: false } } else { Found::Nothing },
            );
        }
        for drive in [&mut d, &mut fresh] {
            drive.launch_all();
            drive.wait_answering(secs(2), |_| Outcome::Pass);
        }
        let (now, expected) = (d.status(B), fresh.status(B));
        assert!(now.process.run > before, "no late answer about the old realm fits");
        assert_eq!(now.process.run.generation(), expected.process.run.generation());
        assert_eq!((now.process.run.generation(), now.restarts.total, now.restarts.used), (1, 0, 0));
        assert_eq!((&now.process.last_exit, &now.restart, &now.pause), (&None, &None, &None));
        assert_eq!((&now.flags, &now.why.message), (&expected.flags, &expected.why.message));
        let counts = |status: &heartbeat_status::RealmStatus| -> Vec<_> {
            status
                .probes
                .iter()
                .map(|probe| (probe.verdict, probe.passes, probe.fails, probe.stale))
                .collect()
        };
        assert_eq!(counts(&now), counts(&expected));
        let late = RunFact::Exited { exit: Exit::code(1), empty: true };
        d.feed(heartbeat_supervisor::Input::Run { realm: B, run: before, fact: late });
        assert_ne!(d.phase(B), Phase::Backoff);
    }
}
