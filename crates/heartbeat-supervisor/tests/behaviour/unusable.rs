//! A program that is missing for a while: no budget, a check every second, and a start as soon as it can succeed.

use std::time::Duration;

use heartbeat_status::{
    EventKind, Exit, IncidentStep, Phase, Reason, RunFact, StartError, StartFailure, Status,
};
use heartbeat_supervisor::{Effect, Found, Input, RealmSpec};
use heartbeat_wire::Action;

use crate::drive::{A, B, Depends, Drive, bare, oneshot, policy, secs};

const MISSING: &str = "cannot execute ./api: No such file or directory";

fn missing() -> StartError {
    StartError { failure: StartFailure::ProgramUnusable, message: MISSING.to_string() }
}

fn fail(d: &mut Drive) {
    let run = d.run(A);
    d.feed(Input::Run { realm: A, run, fact: RunFact::StartFailed { error: missing() } });
}

fn answer(d: &mut Drive, failure: Option<StartError>) {
    let run = d.run(A);
    d.feed(Input::Run { realm: A, run, fact: RunFact::ProgramChecked { failure } });
}

fn checks(d: &Drive) -> usize {
    d.effects.iter().filter(|effect| matches!(effect, Effect::CheckProgram { realm: A, .. })).count()
}

/// Lets time pass; every check finds that it is missing still.
fn wait_without_it(d: &mut Drive, time: Duration) -> usize {
    let until = d.now + time;
    let mut made = 0;
    while d.now < until {
        d.take_effects();
        d.wait(Duration::from_millis(100));
        for _ in 0..checks(d) {
            made += 1;
            answer(d, Some(missing()));
        }
        if !d.starts().is_empty() {
            fail(d);
        }
    }
    made
}

/// Booted, and its first start has failed.
fn at_boot(spec: RealmSpec) -> Drive {
    let mut d = Drive::boot(vec![spec]);
    fail(&mut d);
    d
}

/// It ran, has crashed, and its program is gone.
fn after_a_crash() -> Drive {
    let mut d = Drive::up(vec![bare("a")]);
    d.exit(A, Exit::code(1));
    fail(&mut d);
    d
}

#[test]
fn it_is_checked_every_second_and_started_as_soon_as_it_is_there() {
    for (mut d, status, used) in
        [(at_boot(bare("a")), Status::Starting, 0), (after_a_crash(), Status::Restarting, 1)]
    {
        let made = wait_without_it(&mut d, secs(30));
        assert!((28..=31).contains(&made), "{made} checks");
        let why = d.status(A).why.clone();
        assert_eq!((d.word(A), why.reason, d.status(A).restarts.used), (status, Reason::StartFailed, used));
        assert_eq!(d.status(A).start_failure, Some(StartFailure::ProgramUnusable));
        assert!(why.message.starts_with(MISSING), "{}", why.message);
        d.take();
        d.wait(secs(1));
        assert_eq!(checks(&d), 1);
        answer(&mut d, None);
        assert_eq!(d.starts(), [A]);
        d.started(A);
        d.wait(secs(2));
        assert_eq!((d.phase(A), d.status(A).restarts.used), (Phase::Running, used));
        assert_eq!(d.status(A).start_failure, None);
    }
}

#[test]
fn after_start_timeout_it_is_failed_and_the_checks_go_on() {
    for mut d in [at_boot(bare("a")), after_a_crash(), at_boot(oneshot("a"))] {
        wait_without_it(&mut d, secs(59));
        assert_ne!(d.word(A), Status::Failed);
        wait_without_it(&mut d, secs(2));
        assert_eq!((d.word(A), d.status(A).why.reason), (Status::Failed, Reason::StartFailed));
        // The event and the status say the same.
        let began = d.events.iter().find_map(|event| match &event.kind {
            EventKind::CooldownBegan { why, retry_in: Some(_) } => Some(why.clone()),
            _ => None,
        });
        let both = format!("{MISSING}; heartbeatd checks every second whether it can be started");
        assert_eq!(began.as_ref(), Some(&both));
        assert_eq!(d.message(A), format!("{both}, and makes one trial after the cooldown in any case"));
        let next = d.status(A).why.next.clone();
        assert_eq!((next.at, next.when.as_deref()), (None, Some("its program can be used")));
        let made = wait_without_it(&mut d, secs(60));
        assert!((57..=61).contains(&made), "{made} checks");
        d.take();
        d.wait(secs(1));
        answer(&mut d, None);
        assert_eq!(d.starts(), [A]);
        let attempt = d.status(A).restart.as_ref().and_then(|restart| restart.attempt);
        assert_eq!(attempt, None, "it is no attempt of the budget");
        d.started(A);
        assert_ne!(d.word(A), Status::Failed);
    }
}

#[test]
fn one_trial_is_made_each_cooldown_and_the_cooldown_doubles() {
    let mut d = at_boot(bare("a"));
    let mut trials = Vec::new();
    let begun = d.now;
    while trials.len() < 4 {
        d.take();
        d.wait(Duration::from_millis(500));
        for _ in 0..checks(&d) {
            answer(&mut d, Some(missing()));
        }
        if !d.starts().is_empty() {
            trials.push(d.now.since(begun).as_secs());
            fail(&mut d);
        }
    }
    assert_eq!(trials, [360, 960, 2_160, 4_560], "60 s, and then 5, 10, 20 and 40 min");
    assert_eq!(d.status(A).restarts.used, 0);
}

#[test]
fn a_policy_that_gives_up_is_about_crashes_and_not_about_a_missing_program() {
    let mut spec = bare("a");
    spec.restart = policy(|settings| settings.when_spent = heartbeat_restart::WhenSpent::Fail);
    let mut d = at_boot(spec);
    wait_without_it(&mut d, secs(600));
    assert_eq!(d.word(A), Status::Failed);
    d.take();
    d.wait(secs(1));
    answer(&mut d, None);
    assert_eq!(d.starts(), [A]);
}

#[test]
fn a_check_that_is_not_answered_is_made_again_and_others_wait_for_nothing() {
    let mut d = at_boot(bare("a"));
    d.take();
    d.wait(secs(20));
    assert_eq!(checks(&d), 1, "one at a time");
    d.wait(secs(2));
    assert_eq!(checks(&d), 2);
    // An error that says nothing of the program is no reason to start it.
    let exhausted = StartError { failure: StartFailure::HostExhausted, message: "no process".to_string() };
    answer(&mut d, Some(exhausted));
    assert_eq!(d.starts(), []);
    assert!(d.message(A).starts_with(MISSING));
    // A late answer to a check changes nothing.
    d.order(Action::Stop, A);
    answer(&mut d, None);
    assert_eq!((d.word(A), d.starts()), (Status::Stopped, vec![]));
}

#[test]
fn a_person_tries_it_at_once_and_a_pause_holds_it() {
    let mut d = at_boot(bare("a"));
    wait_without_it(&mut d, secs(5));
    d.take();
    d.order(Action::Restart, A);
    d.wait(Duration::from_millis(250));
    assert_eq!(d.starts(), [A]);
    fail(&mut d);
    d.order(Action::Pause, A);
    d.take();
    d.wait(secs(1));
    answer(&mut d, None);
    d.wait(secs(5));
    assert_eq!(d.starts(), [], "nothing acts on a paused realm");
    d.order(Action::Resume, A);
    assert_eq!(d.starts(), [A]);
}

#[test]
fn its_incident_opens_at_once_and_fails_when_a_person_is_needed() {
    let mut d = at_boot(bare("a"));
    let steps = |d: &Drive| {
        let steps = d.events.iter().filter_map(|event| match &event.kind {
            EventKind::Incident { step, .. } => Some(*step),
            _ => None,
        });
        steps.collect::<Vec<_>>()
    };
    assert_eq!(steps(&d), [IncidentStep::Opened]);
    let told = d.events.iter().filter(|event| matches!(event.kind, EventKind::StartFailed { .. })).count();
    assert_eq!(told, 1);
    wait_without_it(&mut d, secs(60));
    d.take();
    let run = d.run(A);
    d.feed(Input::Run { realm: A, run, fact: RunFact::ProgramChecked { failure: None } });
    d.started(A);
    d.wait(secs(10));
    assert_eq!(steps(&d).last(), Some(&IncidentStep::Resolved));
}

#[test]
fn a_dependent_waits_and_starts_with_it() {
    let mut d = Drive::boot(vec![bare("a"), bare("b").needs(A)]);
    fail(&mut d);
    wait_without_it(&mut d, secs(90));
    assert_eq!((d.phase(B), d.status(B).restarts.used), (Phase::Waiting, 0));
    d.take();
    d.wait(secs(1));
    answer(&mut d, None);
    d.started(A);
    d.wait(secs(10));
    assert_eq!(d.starts(), [A, B]);
}

#[test]
fn the_time_it_has_is_remembered_over_the_death_of_heartbeatd() {
    let mut d = at_boot(bare("a"));
    wait_without_it(&mut d, secs(50));
    d.killed(|_| Found::Nothing);
    d.wait(secs(1));
    fail(&mut d);
    assert_eq!(d.word(A), Status::Starting);
    wait_without_it(&mut d, secs(10));
    assert_eq!(d.word(A), Status::Failed);
    d.killed(|_| Found::Nothing);
    assert_eq!((d.word(A), checks(&d)), (Status::Failed, 1), "it is looked for at once");
    answer(&mut d, None);
    assert_eq!(d.starts(), [A]);
}

#[test]
fn a_command_before_the_start_that_is_missing_is_the_same() {
    let mut spec = bare("a");
    spec.start.before = true;
    let mut d = Drive::boot(vec![spec]);
    fail(&mut d);
    assert_eq!((d.word(A), d.status(A).restarts.used), (Status::Starting, 0));
    d.take();
    d.wait(secs(1));
    answer(&mut d, None);
    assert!(d.effects.iter().any(|effect| matches!(effect, Effect::Hook { .. })), "it runs before the start");
}

#[test]
fn a_host_that_has_nothing_left_for_a_start_is_a_problem_of_heartbeatd_after_30_s() {
    let mut d = Drive::boot(vec![bare("a")]);
    let begun = d.now;
    let open = |d: &mut Drive| {
        let incidents = d.sup.snapshot(d.now).incidents;
        incidents
            .iter()
            .filter(|incident| incident.root.is_none())
            .map(|incident| incident.message.clone())
            .collect::<Vec<_>>()
    };
    loop {
        let run = d.run(A);
        let error = StartError { failure: StartFailure::HostExhausted, message: "no process".to_string() };
        d.feed(Input::Run { realm: A, run, fact: RunFact::StartFailed { error } });
        if d.now.since(begun) >= secs(30) {
            break;
        }
        assert_eq!(open(&mut d), Vec::<String>::new());
        d.take();
        while d.starts().is_empty() {
            d.wait(Duration::from_millis(50));
        }
    }
    assert_eq!(open(&mut d), ["heartbeatd cannot start a: no process"]);
    d.take();
    while d.starts().is_empty() {
        d.wait(Duration::from_millis(50));
    }
    d.started(A);
    assert_eq!(open(&mut d), Vec::<String>::new());
}

#[test]
fn an_incident_keeps_the_missing_program_as_its_cause_while_the_realm_recovers() {
    for given_up in [false, true] {
        let mut d = after_a_crash();
        wait_without_it(&mut d, secs(if given_up { 70 } else { 3 }));
        assert_eq!(d.word(A) == Status::Failed, given_up);
        let incident = d.sup.snapshot(d.now).incidents[0].clone();
        assert_eq!(incident.reason, Reason::StartFailed);
        d.take();
        wait_for_check(&mut d);
        answer(&mut d, None);
        d.started(A);
        let before = d.sup.snapshot(d.now).incidents[0].clone();
        assert_eq!((before.reason, before.message.clone()), (incident.reason, incident.message.clone()));
        // The next heartbeatd knows it, too.
        d.killed(|_| Found::Alive { pid: 100, launching: false });
        d.live(secs(120), |_| heartbeat_status::Outcome::Pass);
        let steps: Vec<(IncidentStep, Reason)> = d
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Incident { step, incident, .. } => Some((*step, incident.reason)),
                _ => None,
            })
            .collect();
        assert_eq!(steps, [(IncidentStep::Resolved, Reason::StartFailed)], "given up: {given_up}");
    }
}

fn wait_for_check(d: &mut Drive) {
    while checks(d) == 0 {
        d.wait(Duration::from_millis(100));
    }
}

#[test]
fn a_new_fault_after_the_program_is_back_is_an_update() {
    let mut d = after_a_crash();
    wait_without_it(&mut d, secs(3));
    wait_for_check(&mut d);
    answer(&mut d, None);
    d.started(A);
    d.take();
    d.exit(A, Exit::code(7));
    let incident = d.sup.snapshot(d.now).incidents[0].clone();
    assert_eq!(incident.reason, Reason::Exited);
    assert!(incident.message.contains("exit code 7"), "{}", incident.message);
}

#[test]
fn a_requested_restart_whose_start_fails_is_a_root_of_trouble() {
    let mut d = Drive::stable(vec![bare("a"), bare("b")]);
    d.order(Action::Restart, A);
    let run = d.run(A);
    d.exit(A, Exit::signal(heartbeat_status::Signal::TERM));
    assert_eq!(roots(&mut d), Vec::<String>::new(), "a requested restart is no trouble");
    assert!(d.run(A) > run || !d.starts().is_empty());
    fail(&mut d);
    assert_eq!(d.sup.snapshot(d.now).incidents.len(), 1);
    assert_eq!(roots(&mut d), ["a"]);
}

/// What readers get as the roots of trouble.
fn roots(d: &mut Drive) -> Vec<String> {
    let about = heartbeat_wire::About {
        instance: "k3v9".to_string(),
        name: "shop".to_string(),
        version: "0.1.0".to_string(),
        started_at: heartbeat_status::Instant::ZERO,
        health: heartbeat_status::Health::Healthy,
        notes: Vec::new(),
        lag: heartbeat_wire::LagEntry::default(),
        config_revision: 1,
        config_problem: None,
        anchor: heartbeat_status::WallAnchor {
            instant: d.now,
            wall: heartbeat_status::WallTime::from_millis(0),
        },
        public: false,
        incident_ids: Vec::new(),
        figures: Default::default(),
        objectives: Default::default(),
        usage: Default::default(),
    };
    let snapshot = d.sup.snapshot(d.now);
    let document = heartbeat_wire::StatusDocument::render(&snapshot, &about, d.now);
    document.roots.into_iter().map(|root| root.realm).collect()
}
