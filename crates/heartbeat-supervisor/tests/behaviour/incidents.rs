//! One root cause, one incident; pauses, strangers, the restart circuit breaker, and flapping.

use std::time::Duration;

use heartbeat_restart::{RestartWhen, WhenSpent};
use heartbeat_status::{
    CommandId, EdgeKind, EventKind, Exit, Flag, Gate, IncidentStep, Mute, Outcome, Phase, ProbeInfo, ProbeIx,
    ProbeKind, Reason, Role, RunFact, Severity, Signal, StartError, StartFailure, Status, Thresholds,
    WallTime, WhileDown,
};
use heartbeat_supervisor::{Command, Effect, Found, Input, ProbeSource, ProbeSpec, RealmSpec, StepAction};
use heartbeat_wire::Action;

use crate::drive::{A, B, C, Depends, Drive, FAIL, bare, external, oneshot, policy, probed, secs};

/// What was told of incidents, as `opened a`.
fn told(d: &mut Drive) -> Vec<String> {
    let names = ["a", "b", "c", "d", "e"];
    let events = std::mem::take(&mut d.events);
    let steps = events.into_iter().filter_map(|event| match event.kind {
        EventKind::Incident { step, incident, .. } => {
            let root = incident.root.map_or("heartbeatd", |ix| names[ix.index()]);
            Some(format!("{step} {root}"))
        }
        _ => None,
    });
    steps.collect()
}

/// `opened` and `resolved` alone: what receivers are told by default, but for the call for a person.
fn notices(d: &mut Drive) -> Vec<String> {
    told(d).into_iter().filter(|step| !step.starts_with("updated")).collect()
}

fn order(d: &mut Drive, action: Action, duration: Option<Duration>) {
    let command = Command { reason: Some("test".to_string()), duration, ..Command::new(action, A) };
    d.feed(Input::Command { id: CommandId(7), command });
}

/// With a port of its own: the fact comes along with the first probe.
fn with_port(name: &str) -> RealmSpec {
    let mut spec = probed(name);
    let info = ProbeInfo {
        name: "port".to_string(),
        kind: ProbeKind::Port,
        role: Role::Live,
        target: "127.0.0.1:1".to_string(),
        thresholds: Thresholds::default(),
        interval: secs(5),
        timeout: secs(2),
    };
    spec.port = Some(8001);
    spec.probes.push(ProbeSpec { info, source: ProbeSource::PortOf(ProbeIx(0)), grace: None });
    spec
}

#[test]
fn a_mute_is_shown_and_changes_nothing_else() {
    let mut d = Drive::up(vec![bare("a")]);
    let before = d.sup.snapshot(d.now);
    let mute = |until: i64| Mute {
        reason: "move".to_owned(),
        until: WallTime::from_millis(until),
        by: "uid 1000".to_owned(),
    };
    d.sup.set_muted([(A, mute(5_000))].into());
    let muted = d.sup.snapshot(d.now);
    assert_eq!(d.status(A).mute, Some(mute(5_000)));
    assert!(d.status(A).flags.contains(&Flag::Muted));
    assert_eq!((muted.revision, d.status(A).status), (before.revision + 1, before.realms[A.index()].status));
    d.sup.set_muted([(A, mute(5_000))].into());
    assert_eq!(d.sup.snapshot(d.now).revision, muted.revision, "the same mute");
    d.sup.set_muted([(A, mute(6_000))].into());
    assert_eq!(d.sup.snapshot(d.now).revision, muted.revision + 1, "a longer one");
    d.sup.set_muted([].into());
    assert_eq!(d.status(A).mute, None);
    assert!(!d.status(A).flags.contains(&Flag::Muted));
}

#[test]
fn a_crash_is_an_incident_even_when_the_restart_succeeds_at_once() {
    let mut d = Drive::up(vec![probed("a")]);
    d.exit(A, Exit::code(1));
    assert_eq!(told(&mut d), ["opened a"]);
    let snapshot = d.sup.snapshot(d.now);
    let incident = &snapshot.incidents[0];
    assert_eq!((incident.reason, incident.root), (Reason::Exited, Some(A)));
    assert!(incident.message.starts_with("exit code 1 after"), "{}", incident.message);
    d.wait(secs(1));
    d.launch_all();
    d.wait_answering(secs(10), |_| Outcome::Pass);
    assert_eq!(told(&mut d), ["resolved a"], "verified, and only then");
    assert!(d.sup.snapshot(d.now).incidents.is_empty());
}

#[test]
fn dependents_fold_under_the_root() {
    let mut d = Drive::up(vec![probed("a"), probed("b").needs(A), probed("c").needs(B)]);
    d.exit(A, Exit::code(1));
    d.wait_answering(secs(40), |realm| if realm == A { Outcome::Pass } else { FAIL });
    let opened: Vec<String> = told(&mut d).into_iter().filter(|step| step.starts_with("opened")).collect();
    assert_eq!(opened, ["opened a"], "b and c fail because of a, and that is one incident");
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!(incidents[0].affected, [B, C]);
}

#[test]
fn an_incident_on_the_wrong_root_is_handed_down_and_keeps_its_number() {
    let mut d = Drive::up(vec![bare("a"), bare("b").needs(A)]);
    // The kernel closes the connections of a killed process before its end is reported: the dependent ends first.
    d.exit(B, Exit::code(1));
    assert_eq!(told(&mut d), ["opened b"]);
    let no = d.sup.snapshot(d.now).incidents[0].no;
    d.wait(Duration::from_millis(20));
    d.exit(A, Exit::signal(Signal::KILL));
    assert_eq!(told(&mut d), ["updated a"]);
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!((incidents.len(), incidents[0].no, incidents[0].affected.as_slice()), (1, no, &[B][..]));
    d.live(secs(60), |_| Outcome::Pass);
    assert_eq!(notices(&mut d), ["resolved a"], "the restart of b was a part of it");
}

#[test]
fn every_incident_on_a_wrong_root_folds_under_the_right_one() {
    let mut d = Drive::up(vec![probed("a"), bare("b").needs(A), bare("c").needs(A)]);
    d.exit(B, Exit::code(1));
    d.exit(C, Exit::code(1));
    assert_eq!(told(&mut d), ["opened b", "opened c"]);
    d.exit(A, Exit::code(1));
    assert_eq!(told(&mut d), ["updated a"]);
    d.live(secs(60), |_| Outcome::Pass);
    let steps = notices(&mut d);
    assert_eq!(steps, ["resolved c", "resolved a"], "neither is opened again");
}

#[test]
fn a_need_that_fails_after_its_dependent_has_an_incident_of_its_own() {
    for need in [probed("a"), bare("a")] {
        let mut d = Drive::up(vec![need, probed("b").needs(A)]);
        // The need passes whenever it is asked: the dependent has a fault of its own.
        d.wait_answering(secs(9), |realm| if realm == A { Outcome::Pass } else { FAIL });
        assert_eq!(told(&mut d), ["opened b"]);
        d.wait_answering(secs(6), |realm| if realm == A { Outcome::Pass } else { FAIL });
        assert_eq!(told(&mut d), [""; 0]);
        d.exit(A, Exit::code(1));
        assert_eq!(told(&mut d), ["opened a"]);
        let roots: Vec<_> = d.sup.snapshot(d.now).incidents.iter().map(|incident| incident.root).collect();
        assert_eq!(roots, [Some(B), Some(A)]);
        d.live(secs(20), |realm| if realm == A { Outcome::Pass } else { FAIL });
        assert_eq!(notices(&mut d), ["resolved a"], "and that of b is open");
        d.live(secs(60), |_| Outcome::Pass);
        assert_eq!(notices(&mut d), ["resolved b"]);
    }
}

#[test]
fn a_hung_need_is_the_root_whichever_probe_was_first() {
    for lag in 0..8 {
        let mut d = Drive::up(vec![probed("a"), probed("b").needs(A)]);
        let from = d.now + Duration::from_millis(700 * lag);
        let restarts = |d: &mut Drive| d.sup.snapshot(d.now).realms[B.index()].restarts.total;
        let before = restarts(&mut d);
        for _ in 0..60 {
            let now = d.now;
            d.wait_answering(Duration::from_millis(500), |realm| {
                if realm == B || now >= from { FAIL } else { Outcome::Pass }
            });
        }
        let steps = told(&mut d);
        assert!(steps.iter().any(|step| step.ends_with(" a")), "{lag}: {steps:?}");
        let incidents = d.sup.snapshot(d.now).incidents;
        assert_eq!(incidents.iter().filter_map(|i| i.root).collect::<Vec<_>>(), [A], "{lag}: {steps:?}");
        assert_eq!(restarts(&mut d), before, "{lag}: never restarted for somebody else's fault");
    }
}

#[test]
fn an_external_realm_that_fails_is_an_incident_and_never_restarted() {
    let mut d = Drive::boot(vec![external("a")]);
    d.wait_answering(secs(20), |_| Outcome::Pass);
    d.take();
    d.wait_answering(secs(60), |_| FAIL);
    assert_eq!(told(&mut d), ["opened a"]);
    d.wait_answering(secs(90), |_| Outcome::Pass);
    assert_eq!(told(&mut d), ["resolved a"]);
}

#[test]
fn nothing_acts_on_a_paused_realm_and_it_starts_when_it_is_resumed() {
    let mut d = Drive::up(vec![probed("a")]);
    order(&mut d, Action::Pause, Some(secs(60)));
    assert_eq!((d.status(A).status, d.status(A).why.reason), (Status::Paused, Reason::Paused));
    d.wait_answering(secs(30), |_| FAIL);
    assert!(told(&mut d).is_empty() && d.phase(A) == Phase::Running, "it fails, and nothing happens");
    d.exit(A, Exit::code(1));
    d.wait(secs(5));
    assert_eq!((d.phase(A), told(&mut d).len()), (Phase::Stopped, 0));
    assert_eq!(d.status(A).status, Status::Paused);
    d.wait(secs(30));
    assert_eq!(d.phase(A), Phase::Starting, "the pause has ended by itself");
    assert_eq!(d.status(A).restarts.used, 0, "and nothing is held against it");
}

#[test]
fn a_stop_ends_a_pause_and_wins() {
    let mut d = Drive::up(vec![probed("a")]);
    order(&mut d, Action::Pause, None);
    let plan = d.sup.plan(d.now, &Command::new(Action::Stop, A));
    let steps: Vec<StepAction> = plan.steps.iter().map(|step| step.action).collect();
    assert_eq!(steps, [StepAction::Resume, StepAction::Stop], "the plan names the end of the pause");
    order(&mut d, Action::Stop, None);
    d.exit(A, Exit::code(0));
    d.wait(secs(90));
    assert_eq!((d.phase(A), d.status(A).status), (Phase::Stopped, Status::Stopped));
    assert!(d.status(A).pause.is_none());
}

#[test]
fn a_reset_ends_backoff_and_forgets_attempts() {
    let mut d = Drive::up(vec![probed("a")]);
    for _ in 0..3 {
        d.exit(A, Exit::code(1));
        d.wait(secs(5));
        d.launch_all();
    }
    d.exit(A, Exit::code(1));
    assert_eq!(d.phase(A), Phase::Backoff);
    order(&mut d, Action::Reset, None);
    d.wait(Duration::from_millis(300));
    assert_eq!((d.phase(A), d.status(A).restarts.used), (Phase::Starting, 0));
}

#[test]
fn another_process_on_the_port_is_named_and_causes_no_restart() {
    let mut d = Drive::up(vec![with_port("a")]);
    let run = d.run(A);
    let port_owner = "port 8001 is held by pid 99 (nc, user bob)".to_string();
    d.feed(Input::Run { realm: A, run, fact: RunFact::PortHeld { port_owner: Some(port_owner.clone()) } });
    let status = d.status(A);
    assert_eq!((status.status, status.why.reason), (Status::Down, Reason::WrongProcess));
    assert_eq!(status.why.message, port_owner);
    assert_eq!(told(&mut d), ["opened a"]);
    // The stranger even answers as the realm should.
    d.wait_answering(secs(120), |_| Outcome::Pass);
    assert_eq!((d.status(A).status, d.status(A).restarts.total), (Status::Down, 0));
    d.feed(Input::Run { realm: A, run, fact: RunFact::PortHeld { port_owner: None } });
    d.wait_answering(secs(20), |_| Outcome::Pass);
    assert_eq!(d.status(A).status, Status::Up);
    assert_eq!(told(&mut d), ["resolved a"]);
}

#[test]
fn another_process_on_the_port_prevents_every_health_restart() {
    let port_owner = || Some("port 8001 is held by pid 99 (nc, user bob)".to_string());
    let mut d = Drive::up(vec![with_port("a")]);
    let run = d.run(A);
    d.feed(Input::Run { realm: A, run, fact: RunFact::PortHeld { port_owner: port_owner() } });
    d.wait_answering(secs(300), |_| FAIL);
    assert_eq!((d.status(A).status, d.status(A).restarts.total, d.signals()), (Status::Down, 0, vec![]));
    // Its restart was due, and waited for the circuit breaker, when the stranger was found.
    let mut d = Drive::up(vec![with_port("a")]);
    let run = d.run(A);
    d.feed(Input::Lag { late: true });
    d.wait_answering(secs(30), |_| FAIL);
    assert_eq!(d.signals(), [], "held");
    d.feed(Input::Run { realm: A, run, fact: RunFact::PortHeld { port_owner: port_owner() } });
    d.feed(Input::Lag { late: false });
    d.wait_answering(secs(300), |_| FAIL);
    assert_eq!(d.signals(), []);
}

#[test]
fn a_long_detail_is_cut_in_messages_and_whole_beside_its_probe() {
    let mut d = Drive::up(vec![with_port("a")]);
    let words = "503 Service Unavailable: ".to_string() + &"x".repeat(200);
    for _ in 0..3 {
        d.until_measured(A);
        d.answer_saying(A, FAIL, &words);
    }
    let status = d.status(A);
    assert_eq!(status.probes[0].last.as_ref().map(|last| last.detail.as_str()), Some(words.as_str()));
    let shown = format!("{}…", &words[..100]);
    assert!(status.why.message.contains(&shown), "{}", status.why.message);
    assert!(status.why.message.chars().count() < 200, "{}", status.why.message);
}

#[test]
fn a_start_on_a_taken_port_is_retried_without_debit_as_the_same_generation() {
    let mut d = Drive::boot(vec![with_port("a")]);
    let run = d.run(A);
    for _ in 0..50 {
        let error = StartError { failure: StartFailure::PortTaken, message: "held by pid 99".to_string() };
        let run = d.run(A);
        d.feed(Input::Run { realm: A, run, fact: RunFact::StartFailed { error } });
        assert_eq!((d.phase(A), d.status(A).why.reason), (Phase::Backoff, Reason::WrongProcess));
        d.wait(secs(1));
        assert_eq!(d.phase(A), Phase::Starting, "looked at again every second");
    }
    assert_eq!((d.run(A), d.status(A).restarts.used), (run, 0));
    assert_eq!(told(&mut d), ["opened a"]);
    d.started(A);
    d.wait_answering(secs(20), |_| Outcome::Pass);
    assert_eq!(told(&mut d), ["resolved a"]);
}

#[test]
fn the_breaker_holds_health_restarts_and_is_one_incident_of_heartbeatd() {
    let names = ["a", "b", "c", "d", "e"];
    let mut d = Drive::up(names.into_iter().map(probed).collect());
    d.wait_answering(secs(8), |_| FAIL);
    let steps = told(&mut d);
    assert!(steps.contains(&"opened heartbeatd".to_string()), "{steps:?}");
    let restarted = |d: &mut Drive| -> u64 {
        d.sup.snapshot(d.now).realms.iter().map(|realm| realm.restarts.total).sum()
    };
    d.wait_answering(secs(3), |_| FAIL);
    assert!(restarted(&mut d) <= 1, "one trial at most");
    d.wait_answering(secs(60), |_| Outcome::Pass);
    let steps = told(&mut d);
    assert!(steps.contains(&"resolved heartbeatd".to_string()), "{steps:?}");
    assert!(d.sup.snapshot(d.now).realms.iter().all(|realm| !realm.flags.contains(&Flag::Fuse)));
}

#[test]
fn incidents_that_opened_before_the_breaker_tripped_fold_under_it() {
    let names = ["a", "b", "c", "d", "e"];
    let mut d = Drive::up(names.into_iter().map(probed).collect());
    let mut steps = Vec::new();
    // One after the other.
    for sick in 1..=5 {
        d.wait_answering(secs(4), |realm| if realm.0 < sick { FAIL } else { Outcome::Pass });
        steps.extend(notices(&mut d));
    }
    d.wait_answering(secs(4), |_| FAIL);
    steps.extend(notices(&mut d));
    let storm = steps.iter().position(|step| step == "opened heartbeatd").expect("a storm");
    assert!(steps[..storm].iter().all(|step| step.starts_with("opened ")), "{steps:?}");
    let before = &steps[..storm];
    for step in before {
        let end = step.replace("opened", "resolved");
        assert!(steps[storm..].contains(&end), "{end} is missing: {steps:?}");
    }
    assert!(!before.is_empty() && before.len() <= 2, "{steps:?}");
    assert_eq!(steps[storm + 1..].iter().filter(|step| step.starts_with("opened")).count(), 0, "{steps:?}");
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!(incidents.len(), 1);
    assert_eq!(incidents[0].affected.len(), 5);
    d.live(secs(60), |_| Outcome::Pass);
    assert_eq!(notices(&mut d), ["resolved heartbeatd"]);
}

#[test]
fn the_incident_of_the_breaker_lasts_until_the_last_realm_is_healthy() {
    let names = ["a", "b", "c", "d", "e"];
    let mut d = Drive::up(names.into_iter().map(probed).collect());
    d.wait_answering(secs(8), |_| FAIL);
    notices(&mut d);
    // All but one come back by themselves. The breaker closes as soon as its trial is verified, or all are well.
    d.live(secs(30), |realm| if realm == A { FAIL } else { Outcome::Pass });
    assert_eq!(notices(&mut d), [""; 0], "a is still a part of the storm");
    d.wait_answering(secs(60), |_| Outcome::Pass);
    assert_eq!(notices(&mut d), ["resolved heartbeatd"]);
}

#[test]
fn an_exit_while_the_breaker_is_tripped_is_an_incident_of_its_own() {
    let names = ["a", "b", "c", "d", "e"];
    let mut d = Drive::up(names.into_iter().map(probed).collect());
    d.wait_answering(secs(8), |_| FAIL);
    notices(&mut d);
    d.exit(A, Exit::code(1));
    assert_eq!(notices(&mut d), ["opened a"]);
}

#[test]
fn nothing_is_resolved_because_heartbeatd_stops() {
    let mut d = Drive::up(vec![probed("a"), probed("b")]);
    d.wait_answering(secs(9), |realm| if realm == A { FAIL } else { Outcome::Pass });
    assert_eq!(told(&mut d), ["opened a"]);
    d.feed(Input::Shutdown { now: false });
    d.exit(A, Exit::code(0));
    d.exit(B, Exit::code(0));
    assert!(d.effects.contains(&Effect::Halt));
    assert_eq!(told(&mut d), [""; 0]);
    assert_eq!(d.sup.snapshot(d.now).incidents.len(), 1, "it is open for the next heartbeatd");
}

#[test]
fn a_failed_notice_has_the_newest_cause() {
    let mut d = Drive::stable(vec![bare("a")]);
    d.exit(A, Exit::signal(Signal::KILL));
    d.wait(secs(1));
    d.take_effects();
    let run = d.run(A);
    let message = "cannot execute ./report: no such file".to_string();
    let error = StartError { failure: StartFailure::ProgramUnusable, message: message.clone() };
    d.feed(Input::Run { realm: A, run, fact: RunFact::StartFailed { error } });
    d.wait(secs(600));
    let incidents = d.events.iter().filter_map(|event| match &event.kind {
        EventKind::Incident { step, incident, .. } => {
            Some((*step, incident.reason, incident.message.clone()))
        }
        _ => None,
    });
    let incidents: Vec<_> = incidents.collect();
    assert_eq!((incidents[0].0, incidents[0].1), (IncidentStep::Opened, Reason::Exited));
    assert!(incidents[0].2.starts_with("killed by SIGKILL"), "{incidents:?}");
    let failed =
        incidents.iter().find(|(step, ..)| *step == IncidentStep::Failed).expect("a call for a person");
    assert_eq!(failed.1, Reason::StartFailed);
    assert!(failed.2.starts_with(&message), "{failed:?}");
}

#[test]
fn a_failed_oneshot_opens_an_incident() {
    for policy in [None, Some(RestartWhen::Never)] {
        let mut spec = oneshot("a");
        if let Some(when) = policy {
            spec.restart = crate::drive::policy(|settings| settings.when = when);
        }
        let mut d = Drive::boot(vec![spec]);
        d.launch_all();
        d.exit(A, Exit::code(1));
        let opened = ["opened a", "failed a"];
        assert_eq!(told(&mut d), opened[..if policy.is_some() { 2 } else { 1 }]);
        assert_eq!(d.sup.snapshot(d.now).incidents[0].reason, Reason::Exited);
        if policy.is_none() {
            d.wait(secs(2));
            d.launch_all();
            d.exit(A, Exit::code(0));
            assert_eq!(told(&mut d), ["resolved a"]);
        }
    }
}

#[test]
fn a_realm_that_is_stuck_is_an_incident_although_an_operator_has_stopped_it() {
    let mut d = Drive::up(vec![bare("a")]);
    order(&mut d, Action::Stop, None);
    d.wait(secs(15));
    assert_eq!(d.phase(A), Phase::Stuck);
    assert_eq!(told(&mut d), ["opened a", "failed a"]);
    d.exit(A, Exit::signal(Signal::KILL));
    assert_eq!((d.phase(A), told(&mut d)), (Phase::Stopped, vec!["resolved a".to_string()]));
}

#[test]
fn a_pause_resolves_nothing_without_evidence() {
    let mut d = Drive::up(vec![probed("a")]);
    d.wait_answering(secs(9), |_| FAIL);
    assert_eq!(told(&mut d), ["opened a"]);
    order(&mut d, Action::Pause, None);
    d.wait_answering(secs(30), |_| FAIL);
    assert_eq!(told(&mut d), [""; 0]);
    d.wait_answering(secs(60), |_| Outcome::Pass);
    assert_eq!(told(&mut d), ["resolved a"], "it passes again");
}

#[test]
fn a_critical_dependent_makes_an_incident_critical() {
    let mut need = bare("a");
    need.critical = false;
    let mut d = Drive::stable(vec![need, probed("b").needs(A)]);
    let mut lone = bare("a");
    lone.critical = false;
    let mut alone = Drive::up(vec![lone]);
    alone.exit(A, Exit::code(1));
    assert_eq!(alone.sup.snapshot(alone.now).incidents[0].severity, Severity::Warning);
    d.exit(A, Exit::code(1));
    d.wait_answering(secs(20), |_| FAIL);
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!((incidents[0].affected.as_slice(), incidents[0].severity), (&[B][..], Severity::Critical));
}

#[test]
fn an_incident_began_when_its_outage_was_detected_and_not_when_it_is_told() {
    let mut d = Drive::up(vec![probed("a")]);
    d.exit(A, Exit::code(1));
    let detected = d.now;
    d.wait(secs(3));
    // The open restart is on record, and the incident is not: heartbeatd was killed between the two.
    d.killed_with(|memory| memory.incidents.clear(), |_| Found::Nothing);
    assert_eq!(told(&mut d), ["opened a"]);
    assert_eq!(d.sup.snapshot(d.now).incidents[0].opened_at, detected);
}

#[test]
fn our_own_lag_restarts_no_realm() {
    let mut d = Drive::up(vec![probed("a")]);
    d.feed(Input::Lag { late: true });
    d.wait_answering(secs(120), |_| FAIL);
    assert_eq!(d.status(A).restarts.total, 0);
    assert!(d.status(A).flags.contains(&Flag::Fuse));
    d.feed(Input::Lag { late: false });
    d.wait_answering(secs(120), |_| FAIL);
    assert!(d.effects.iter().any(|effect| matches!(effect, Effect::Signal { .. })));
}

#[test]
fn a_realm_that_changes_too_often_is_flagged_with_one_notice_at_each_end() {
    let mut d = Drive::up(vec![probed("a")]);
    d.take();
    let mut pass = false;
    for _ in 0..30 {
        pass = !pass;
        d.until_measured(A);
        d.answer(A, if pass { Outcome::Pass } else { FAIL });
    }
    assert!(d.status(A).flags.contains(&Flag::Flapping));
    d.wait_answering(secs(200), |_| Outcome::Pass);
    assert!(!d.status(A).flags.contains(&Flag::Flapping));
    let events = std::mem::take(&mut d.events);
    let notices = events.iter().filter(|event| matches!(event.kind, EventKind::FlappingChanged { .. }));
    assert_eq!(notices.count(), 2);
}

#[test]
fn what_was_opened_is_resolved_when_an_operator_stops_it() {
    let mut d = Drive::up(vec![probed("a")]);
    d.exit(A, Exit::code(1));
    order(&mut d, Action::Stop, None);
    let events = std::mem::take(&mut d.events);
    let last = events.iter().rev().find_map(|event| match &event.kind {
        EventKind::Incident { step, note, .. } => Some((*step, note.clone())),
        _ => None,
    });
    assert_eq!(last, Some((IncidentStep::Resolved, Some("stopped by an operator".to_string()))));
}

#[test]
fn a_dependent_that_is_killed_during_a_verification_keeps_no_incident_open() {
    for (first, second) in [(A, B), (B, A)] {
        for ms in [0, 300, 3_400, 4_900, 5_200, 9_000] {
            let mut d = Drive::stable(vec![probed("a"), probed("b").needs(A)]);
            for round in 0..4 {
                d.exit(first, Exit::signal(Signal::KILL));
                d.live(Duration::from_millis(ms), |_| Outcome::Pass);
                d.exit(second, Exit::signal(Signal::KILL));
                d.live(secs(20), |_| Outcome::Pass);
                assert_eq!((d.word(A), d.word(B)), (Status::Up, Status::Up), "{first:?} {ms} {round}");
                let open = d.sup.snapshot(d.now).incidents;
                for root in open.iter().filter_map(|incident| incident.root) {
                    assert!(round > 0 && d.message(root).contains("its incident stays open"), "{open:?}");
                }
            }
            d.live(secs(60), |_| Outcome::Pass);
            assert_eq!(d.sup.snapshot(d.now).incidents, [], "{first:?} {ms}");
        }
    }
}

#[test]
fn the_incident_of_an_external_realm_ends_under_the_next_heartbeatd() {
    let mut spec = external("a");
    spec.restart_command = true;
    let mut d = Drive::up(vec![spec]);
    let restart = |d: &mut Drive| {
        while d.phase(A) == Phase::External && !d.effects.iter().any(|e| matches!(e, Effect::Hook { .. })) {
            d.wait_answering(secs(1), |_| FAIL);
        }
        d.take_effects();
        let run = d.run(A);
        let fact = RunFact::HookDone { hook: heartbeat_status::Hook::Restart, failure: None };
        d.feed(Input::Run { realm: A, run, fact });
        d.wait_answering(secs(20), |_| Outcome::Pass);
    };
    restart(&mut d);
    restart(&mut d);
    assert_eq!((d.word(A), d.sup.snapshot(d.now).incidents.len()), (Status::Up, 1), "it failed again");
    d.killed(|_| Found::Nothing);
    d.wait_answering(secs(60), |_| Outcome::Pass);
    assert_eq!(d.sup.snapshot(d.now).incidents, []);
}

#[test]
fn a_realm_that_fails_again_shortly_after_each_recovery_has_one_open_incident() {
    let mut d = Drive::stable(vec![probed("a")]);
    let mut opened = 0;
    for round in 0..5 {
        d.exit(A, Exit::code(1));
        d.live(secs(20), |_| Outcome::Pass);
        assert_eq!(d.word(A), Status::Up, "round {round}");
        let steps = told(&mut d);
        opened += steps.iter().filter(|step| step.starts_with("opened")).count();
        let open = d.sup.snapshot(d.now).incidents.len();
        assert_eq!((opened.min(2), open), (round.min(1) + 1, usize::from(round > 0)), "{steps:?}");
        if round == 2 {
            d.killed(|_| Found::Alive { pid: 100, launching: false });
        }
    }
    assert_eq!(opened, 2, "the first was over when it failed again");
    let why = d.status(A).why.clone();
    let kept =
        "it failed again soon after a recovery, so its incident stays open until it has been healthy for 60s";
    assert!(why.message.ends_with(kept), "{}", why.message);
    // A restart that an operator asks for proves no more than the recoveries before it did.
    d.order(Action::Restart, A);
    d.live(secs(20), |_| Outcome::Pass);
    let why = d.status(A).why.clone();
    assert!(d.word(A) == Status::Up && why.message.ends_with(kept), "{}", why.message);
    d.live(why.next.at.expect("the end of its incident").since(d.now) - secs(1), |_| Outcome::Pass);
    assert_eq!(told(&mut d), [""; 0]);
    d.live(secs(1), |_| Outcome::Pass);
    assert_eq!(told(&mut d), ["resolved a"], "healthy for reset_after");
    assert!(!d.message(A).contains("incident"));
    d.live(secs(10), |_| Outcome::Pass);
    d.exit(A, Exit::code(1));
    d.live(secs(20), |_| Outcome::Pass);
    assert_eq!(told(&mut d), ["opened a", "resolved a"], "a new failure, and not the loop of before");
}

/// The dependent ends first and needs a person; then its need turns out to be the root, and needs one as well.
#[test]
fn a_person_is_called_for_each_root_of_an_incident() {
    for (dependent_fails, need_fails) in [(true, true), (true, false), (false, true), (false, false)] {
        let gives_up = |name: &str, fails: bool| {
            let mut spec = bare(name);
            if fails {
                spec.restart = policy(|settings| {
                    (settings.when, settings.when_spent) = (RestartWhen::Never, WhenSpent::Fail);
                });
            }
            spec
        };
        let mut d = Drive::up(vec![gives_up("a", need_fails), gives_up("b", dependent_fails).needs(A)]);
        d.exit(B, Exit::code(1));
        let no = d.sup.snapshot(d.now).incidents[0].no;
        d.wait(Duration::from_millis(20));
        d.exit(A, Exit::signal(Signal::KILL));
        let told = told(&mut d);
        let calls = |root: &str| told.iter().filter(|step| **step == format!("failed {root}")).count();
        assert_eq!(calls("a"), usize::from(need_fails), "{told:?}");
        assert_eq!(calls("b"), usize::from(dependent_fails), "{told:?}");
        let open = d.sup.snapshot(d.now).incidents;
        let of_need = open.iter().find(|incident| incident.root == Some(A)).expect("that of the need");
        // A dependent that needs a person keeps its own.
        assert_eq!((of_need.no == no, of_need.failed), (!dependent_fails, need_fails), "{told:?}");
    }
}

#[test]
fn a_crash_is_an_incident_although_its_restart_is_abandoned_at_once() {
    // The need is restarted together with it, and it is stopped while the need is not up.
    let mut spec = bare("a").edge(B, EdgeKind::Needs, Gate::Up, WhileDown::Stop);
    spec.restart_with = vec![B];
    let mut d = Drive::stable(vec![spec, bare("b")]);
    d.exit(A, Exit::code(1));
    assert_eq!((d.word(A), told(&mut d)), (Status::Starting, vec!["opened a".to_owned()]));
    d.live(secs(20), |_| Outcome::Pass);
    assert_eq!((d.word(A), told(&mut d)), (Status::Up, vec!["resolved a".to_owned()]));
}

#[test]
fn a_realm_that_has_been_given_up_keeps_its_incident() {
    let mut failing = bare("b").needs(A);
    failing.restart = policy(|settings| (settings.burst, settings.when_spent) = (1, WhenSpent::Fail));
    let mut d = Drive::stable(vec![probed("a"), failing]);
    for _ in 0..2 {
        d.exit(B, Exit::code(1));
        d.launch_all_keeping_events();
    }
    assert_eq!(
        (d.word(B), told(&mut d)),
        (Status::Failed, vec!["opened b".to_owned(), "failed b".to_owned()])
    );
    // Nothing proves that its need was still well then, and yet it needs a person.
    d.wait_answering(secs(20), |_| FAIL);
    assert_eq!((d.word(A), told(&mut d)), (Status::Restarting, vec!["opened a".to_owned()]));
    d.order(Action::Stop, A);
    assert_eq!((d.word(B), told(&mut d)), (Status::Failed, vec!["resolved a".to_owned()]));
}
