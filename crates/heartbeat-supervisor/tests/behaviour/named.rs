//! Every realm that fails is named by an open incident, from its first report to its end.

use std::time::Duration;

use heartbeat_status::{CommandId, Event, EventKind, Exit, Incident, IncidentStep, Outcome, Signal, Status};
use heartbeat_supervisor::{Command, Found, Input};
use heartbeat_wire::Action;

use crate::drive::{A, B, C, Depends, Drive, FAIL, bare, external, policy, probed, secs};

/// The reports of incidents: the step, the incident at that time, and what changed.
fn reports(d: &mut Drive) -> Vec<(IncidentStep, Incident, Option<String>)> {
    let told = |event: Event| match event.kind {
        EventKind::Incident { step, incident, note } => Some((step, (*incident).clone(), note)),
        _ => None,
    };
    std::mem::take(&mut d.events).into_iter().filter_map(told).collect()
}

fn steps(d: &mut Drive) -> Vec<(IncidentStep, Option<heartbeat_status::RealmIx>)> {
    reports(d).into_iter().map(|(step, incident, _)| (step, incident.root)).collect()
}

#[test]
fn a_realm_that_crashes_while_an_operator_stops_its_need_has_an_incident() {
    let mut d = Drive::stable(vec![bare("a"), bare("b").needs(A)]);
    d.order(Action::Stop, A);
    assert_eq!(d.word(A), Status::Stopping);
    d.exit(B, Exit::code(3));
    let told = reports(&mut d);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].0, told[0].1.root), (IncidentStep::Opened, Some(B)));
    assert!(told[0].1.message.starts_with("exit code 3 after"), "{}", told[0].1.message);
    assert_eq!((d.word(B), d.status(B).restarts.used), (Status::Blocked, 0), "it spends no budget");
    d.exit(A, Exit::signal(Signal::TERM));
    d.live(secs(60), |_| Outcome::Pass);
    assert_eq!(steps(&mut d), [], "blocked, and its incident is open");
    d.order(Action::Start, A);
    d.live(secs(20), |_| Outcome::Pass);
    let told = reports(&mut d);
    assert_eq!((told[0].0, told[0].2.as_deref()), (IncidentStep::Resolved, Some("healthy again")));
    assert_eq!(d.word(B), Status::Up);
}

#[test]
fn a_realm_that_crashes_while_its_need_is_restarted_on_request_has_an_incident() {
    let mut d = Drive::stable(vec![probed("a"), bare("b").needs(A)]);
    d.order(Action::Restart, A);
    d.exit(B, Exit::signal(Signal::KILL));
    assert_eq!(steps(&mut d), [(IncidentStep::Opened, Some(B))]);
    d.live(secs(30), |_| Outcome::Pass);
    assert_eq!(steps(&mut d), [(IncidentStep::Resolved, Some(B))]);
    assert_eq!((d.word(B), d.status(B).restarts.used), (Status::Up, 0));
}

#[test]
fn a_realm_that_crashes_before_its_turn_in_a_plan_has_an_incident() {
    let mut d = Drive::stable(vec![bare("a"), bare("b").needs(A)]);
    let restart = Command { cascade: true, ..Command::new(Action::Restart, A) };
    d.feed(Input::Command { id: CommandId(9), command: restart });
    assert_eq!(d.signals(), [(B, Signal::TERM)], "a waits until b has ended");
    d.exit(A, Exit::code(1));
    assert_eq!(steps(&mut d), [(IncidentStep::Opened, Some(A))], "no signal has told it to end");
    d.live(secs(30), |_| Outcome::Pass);
    assert_eq!(steps(&mut d), [(IncidentStep::Resolved, Some(A))]);
    // A realm that an operator stops may end as it likes.
    let stop = Command { cascade: true, ..Command::new(Action::Stop, A) };
    d.feed(Input::Command { id: CommandId(10), command: stop });
    d.exit(A, Exit::code(1));
    assert_eq!(steps(&mut d), []);
}

#[test]
fn a_crash_with_a_need_that_fails_is_part_of_the_incident_of_the_need() {
    let mut d = Drive::stable(vec![bare("a"), bare("b").needs(A)]);
    d.exit(A, Exit::code(1));
    d.exit(B, Exit::code(1));
    let told = reports(&mut d);
    assert!(told.iter().all(|(_, incident, _)| incident.root == Some(A)), "{told:?}");
    assert_eq!(d.sup.snapshot(d.now).incidents[0].affected, [B]);
    // An operator stops the need to repair it: the crash of the dependent is known.
    d.order(Action::Stop, A);
    assert_eq!(steps(&mut d), [(IncidentStep::Resolved, Some(A))]);
    d.live(secs(60), |_| Outcome::Pass);
    assert_eq!(steps(&mut d), []);
}

#[test]
fn the_report_of_an_outage_names_whom_it_blocks() {
    let mut d = Drive::stable(vec![probed("a"), bare("b").needs(A), bare("c").needs(B)]);
    d.exit(B, Exit::code(1));
    d.live(secs(20), |_| Outcome::Pass);
    reports(&mut d);
    // Both dependents have ended first, and turn out to be blocked in the moment of the outage.
    d.exit(C, Exit::code(1));
    d.exit(B, Exit::code(1));
    d.wait(Duration::from_millis(20));
    reports(&mut d);
    d.exit(A, Exit::signal(Signal::KILL));
    let told = reports(&mut d);
    let roots: Vec<_> = told.iter().map(|(step, incident, _)| (*step, incident.root)).collect();
    assert!(!roots.contains(&(IncidentStep::Opened, Some(C))), "{roots:?}");
    // And of a realm that waits for its own start.
    let mut d = Drive::boot(vec![bare("a"), bare("b").needs(A)]);
    d.launch_all();
    d.take();
    d.exit(A, Exit::code(1));
    let told = reports(&mut d);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].0, told[0].1.affected.as_slice()), (IncidentStep::Opened, &[B][..]));
}

/// The dependent is the first root; then its need turns out to be it, and is well again long before the dependent.
#[test]
fn an_incident_that_moved_lasts_until_its_first_root_is_well_too() {
    for mut dependent in [bare("b").needs(A), probed("b").needs(A)] {
        dependent.restart = policy(|settings| settings.verify_for = secs(20));
        let mut d = Drive::stable(vec![bare("a"), dependent]);
        d.exit(B, Exit::code(1));
        d.wait(Duration::from_millis(20));
        d.exit(A, Exit::signal(Signal::KILL));
        let mut open_until_well = false;
        for _ in 0..600 {
            d.live(Duration::from_millis(100), |_| Outcome::Pass);
            let open = d.sup.snapshot(d.now).incidents;
            let status = d.status(B);
            let fails = matches!(status.status, Status::Down | Status::Failed | Status::Restarting);
            assert!(!fails || open.iter().any(|incident| incident.concerns(B)), "{status:?}");
            open_until_well |= fails && d.word(A) == Status::Up;
        }
        assert!(open_until_well, "the dependent needs longer than its need");
        assert_eq!(d.sup.snapshot(d.now).incidents, []);
    }
}

#[test]
fn a_dependent_that_stays_down_has_an_incident_of_its_own_before_that_of_its_need_ends() {
    let mut d = Drive::stable(vec![external("a"), external("b").needs(A)]);
    d.live(secs(60), |_| FAIL);
    assert_eq!(d.sup.snapshot(d.now).incidents[0].affected, [B]);
    for _ in 0..900 {
        d.live(Duration::from_millis(100), |realm| if realm == A { Outcome::Pass } else { FAIL });
        let open = d.sup.snapshot(d.now).incidents;
        assert!(open.iter().any(|incident| incident.concerns(B)), "{:?}", d.status(B));
    }
    let roots: Vec<_> = d.sup.snapshot(d.now).incidents.iter().map(|incident| incident.root).collect();
    assert_eq!(roots, [Some(B)]);
}

/// The restart of the dependent belonged to the incident of the need; an operator ends that incident by a stop.
#[test]
fn a_restart_whose_incident_an_operator_ends_has_its_own() {
    let slow = policy(|settings| settings.backoff = secs(60));
    let mut dependent = bare("b").needs(A);
    dependent.restart = slow;
    let mut d = Drive::up(vec![bare("a"), dependent]);
    d.exit(B, Exit::code(1));
    d.wait(Duration::from_millis(20));
    d.exit(A, Exit::signal(Signal::KILL));
    reports(&mut d);
    assert_eq!(d.word(B), Status::Restarting);
    d.order(Action::Stop, A);
    assert_eq!(steps(&mut d), [(IncidentStep::Resolved, Some(A)), (IncidentStep::Opened, Some(B))]);
}

/// heartbeatd dies right after the record says that the realm passes, and the incident is still open.
#[test]
fn an_incident_ends_under_the_next_heartbeatd_only_when_that_has_measured_the_realm() {
    let mut d = Drive::stable(vec![external("a")]);
    d.live(secs(40), |_| FAIL);
    let open = d.sup.snapshot(d.now).incidents;
    assert_eq!(open.len(), 1);
    d.live(secs(60), |_| Outcome::Pass);
    reports(&mut d);
    assert_eq!(d.word(A), Status::Up);
    let open: Vec<Incident> = open.iter().map(|incident| (**incident).clone()).collect();
    d.killed_with(|memory| memory.incidents = open, |_| Found::Nothing);
    assert_eq!(steps(&mut d), [], "what an earlier heartbeatd has measured proves nothing");
    d.live(secs(40), |_| FAIL);
    assert_eq!(steps(&mut d), [], "it is still the same outage");
    d.live(secs(60), |_| Outcome::Pass);
    assert_eq!(steps(&mut d), [(IncidentStep::Resolved, Some(A))]);
}

/// After the death of heartbeatd no start is under way, which does not mean that every realm is up.
#[test]
fn the_end_of_a_boot_names_the_realms_that_are_not_up() {
    let booted = |d: &mut Drive| {
        let events = std::mem::take(&mut d.events);
        let mut booted = events.into_iter().filter_map(|event| match event.kind {
            EventKind::Booted { adopted, missing } => {
                let missing = missing.into_iter().map(|(name, status)| (name.to_string(), status));
                Some((adopted, missing.collect::<Vec<_>>()))
            }
            _ => None,
        });
        booted.next()
    };
    let mut d = Drive::boot(vec![bare("a"), probed("b").needs(A), external("c")]);
    assert_eq!(booted(&mut d), None, "the starts are under way");
    for _ in 0..20 {
        d.launch_all_keeping_events();
        d.answer_all(Outcome::Pass);
        d.wait(Duration::from_millis(500));
    }
    assert_eq!(booted(&mut d), Some((0, Vec::new())));
    d.wait_answering(secs(60), |realm| if realm == C { FAIL } else { Outcome::Pass });
    let down = vec![("c".to_string(), Status::Down)];
    let alive = |realm| match realm {
        C => Found::Nothing,
        _ => Found::Alive { pid: 100, launching: false },
    };
    d.killed(alive);
    assert_eq!(booted(&mut d), Some((2, down)));
}
