//! heartbeatd is killed, and another one goes on with what is on record and what it finds.

use std::time::Duration;

use heartbeat_status::{
    Desired, EventKind, Exit, ExitKind, Flag, IncidentStep, Outcome, Phase, RealmIx, Reason, RestartCause,
    RunFact, RunId, Signal, StartFailure, Status,
};
use heartbeat_supervisor::{Command, Effect, Found, Input, Reply};
use heartbeat_wire::Action;

use crate::drive::{A, B, C, Depends, Drive, FAIL, bare, oneshot, policy, probed, secs};

fn alive(realm: RealmIx) -> Found {
    Found::Alive { pid: 100 + realm.0, launching: false }
}

fn ended(_: RealmIx) -> Found {
    Found::Ended { exit: Exit::code(1), empty: true }
}

#[test]
fn what_lives_goes_on_with_its_pid_uptime_and_verdict() {
    let mut d = Drive::up(vec![probed("a"), bare("b")]);
    let before = [d.status(A), d.status(B)];
    d.now = d.now + secs(2);
    d.killed(alive);
    assert_eq!(d.starts(), [], "nothing is started beside it");
    for (ix, before) in [(A, &before[0]), (B, &before[1])] {
        let after = d.status(ix);
        assert_eq!((after.status, after.phase, after.health), (before.status, before.phase, before.health));
        assert_eq!(after.why.since, before.why.since, "since when is not since when heartbeatd is back");
        assert_eq!(after.process.pid, before.process.pid);
        assert_eq!(after.process.run, before.process.run);
        assert_eq!(after.process.started_at, before.process.started_at);
        assert!(after.process.adopted && after.flags.contains(&Flag::Adopted));
    }
    assert_eq!(d.status(A).probes[0].verdict, before[0].probes[0].verdict);
    assert!(d.events.iter().any(|event| matches!(event.kind, EventKind::Adopted { pid: 100, .. })));
}

#[test]
fn what_died_meanwhile_is_noticed_at_once_and_restarted_once() {
    let mut d = Drive::up(vec![probed("a")]);
    d.wait_answering(secs(120), |_| Outcome::Pass);
    d.killed(ended);
    assert_eq!(d.starts(), [A]);
    assert_eq!(d.status(A).restarts.used, 1);
    assert_eq!(d.status(A).process.run, RunId(2));
    assert_eq!(d.status(A).restart.as_ref().map(|restart| restart.cause), Some(RestartCause::Exited));
    d.launch_all();
    d.wait_answering(secs(20), |_| Outcome::Pass);
    assert_eq!(d.word(A), Status::Up);
    assert_eq!(d.starts(), []);
}

#[test]
fn leftovers_are_swept_before_the_successor_is_started() {
    let mut d = Drive::stable(vec![bare("a")]);
    d.killed(|_| Found::Ended { exit: Exit::unknown(), empty: false });
    assert_eq!(d.starts(), []);
    assert_eq!(d.signals(), [(A, Signal::TERM)]);
    let run = d.run(A);
    d.feed(Input::Run { realm: A, run, fact: RunFact::Emptied });
    assert_eq!(d.starts(), [A]);
    assert!(matches!(d.status(A).process.last_exit.map(|last| last.exit.kind), Some(ExitKind::Unknown)));
}

#[test]
fn the_budget_survives_every_death() {
    let mut spec = bare("a");
    spec.restart = policy(|settings| settings.burst = 3);
    let mut d = Drive::up(vec![spec]);
    for debit in 1..=3 {
        d.killed(ended);
        assert_eq!(d.status(A).restarts.used, debit);
        d.wait(secs(3));
        d.started(A);
        d.take();
    }
    d.killed(ended);
    assert_eq!(d.phase(A), Phase::Cooldown);
    let until = d.status(A).why.next.at;
    d.wait(secs(60));
    d.killed(|_| Found::Nothing);
    assert_eq!(
        (d.phase(A), d.status(A).why.next.at),
        (Phase::Cooldown, until),
        "it waits for the time it had"
    );
}

#[test]
fn failures_count_on_and_nothing_is_acted_on_without_a_fresh_one() {
    let mut d = Drive::up(vec![probed("a")]);
    for _ in 0..2 {
        d.until_measured(A);
        d.answer(A, FAIL);
    }
    assert_eq!(d.status(A).probes[0].fails, 2);
    d.killed(alive);
    assert_eq!((d.word(A), d.status(A).probes[0].fails), (Status::Up, 2));
    d.until_measured(A);
    d.answer(A, FAIL);
    assert_eq!(d.word(A), Status::Down);
    d.killed(alive);
    assert_eq!(d.word(A), Status::Down, "the verdict stands");
    d.wait(Duration::from_millis(100));
    assert_eq!(d.signals(), [], "but nothing is ended on old evidence");
    d.wait_answering(secs(20), |_| FAIL);
    assert_eq!(d.signals().first(), Some(&(A, Signal::TERM)));
}

#[test]
fn a_restored_verdict_becomes_stale_when_nothing_confirms_it() {
    let mut d = Drive::up(vec![probed("a")]);
    d.now = d.now + secs(600);
    d.killed(alive);
    assert_eq!(d.word(A), Status::Up, "however long nobody looked");
    d.wait(secs(60));
    assert_eq!(d.word(A), Status::Unknown);
}

#[test]
fn a_launch_that_was_cut_short_is_the_same_generation_and_no_debit() {
    let mut d = Drive::boot(vec![bare("a")]);
    assert_eq!(d.starts(), [A]);
    d.killed(|_| Found::Nothing);
    d.wait(secs(1));
    assert_eq!(d.starts(), [A]);
    assert_eq!((d.run(A), d.status(A).restarts.used), (RunId(1), 0));
}

#[test]
fn a_launcher_that_is_met_is_waited_for() {
    let mut d = Drive::boot(vec![bare("a")]);
    d.killed(|_| Found::Alive { pid: 7, launching: true });
    assert_eq!((d.starts(), d.phase(A)), (vec![], Phase::Starting));
    let run = d.run(A);
    let error = heartbeat_status::StartError {
        failure: StartFailure::NeverTried,
        message: "its heartbeatd died before it could be started".to_string(),
    };
    d.feed(Input::Run { realm: A, run, fact: RunFact::StartFailed { error } });
    d.wait(secs(1));
    assert_eq!(d.starts(), [A]);
    assert_eq!((d.run(A), d.status(A).restarts.used), (RunId(1), 0), "no crash, no debit");
}

#[test]
fn a_stop_goes_on_and_is_not_said_twice_before_its_time() {
    let mut d = Drive::up(vec![bare("a")]);
    d.order(Action::Stop, A);
    assert_eq!(d.signals(), [(A, Signal::TERM)]);
    d.wait(secs(4));
    d.killed(alive);
    assert_eq!((d.phase(A), d.signals()), (Phase::Stopping, vec![]));
    d.wait(Duration::from_millis(3_999));
    assert_eq!(d.signals(), []);
    d.wait(Duration::from_millis(1));
    assert_eq!(d.signals(), [(A, Signal::TERM)], "perhaps it never heard of it");
    d.wait(Duration::from_millis(1_999));
    assert_eq!(d.signals(), [(A, Signal::TERM)]);
    d.wait(Duration::from_millis(1));
    assert_eq!(d.signals(), [(A, Signal::TERM), (A, Signal::KILL)], "at its first deadline");
    d.exit(A, Exit::signal(Signal::KILL));
    assert_eq!(d.word(A), Status::Stopped);
}

#[test]
fn a_stop_whose_deadline_has_passed_meanwhile_is_told_once_more_before_kill() {
    for (timeout, grace) in [(secs(10), secs(2)), (secs(1), Duration::from_millis(500))] {
        let mut spec = bare("a");
        spec.stop.timeout = timeout;
        let mut d = Drive::up(vec![spec]);
        d.order(Action::Stop, A);
        d.now = d.now + secs(100);
        d.killed(alive);
        d.wait(Duration::ZERO);
        assert_eq!(d.signals(), [(A, Signal::TERM)]);
        d.wait(grace - Duration::from_millis(1));
        assert_eq!(d.signals().len(), 1);
        // Killed once more: the deadline of the first stop, and no new one.
        d.killed(alive);
        d.wait(grace + Duration::from_millis(1));
        assert_eq!(d.signals().last(), Some(&(A, Signal::KILL)), "{:?}", d.signals());
    }
}

#[test]
fn a_need_that_fails_later_does_not_take_over_an_incident_because_heartbeatd_was_killed() {
    let mut d = Drive::stable(vec![probed("a"), probed("b").needs(A)]);
    d.exit(B, Exit::code(1));
    d.launch_all();
    let opened = d.sup.snapshot(d.now).incidents;
    assert_eq!((opened.len(), opened[0].root), (1, Some(B)));
    // Its need is seen to be well after that, and heartbeatd is killed.
    d.wait_answering(secs(12), |ix| if ix == A { Outcome::Pass } else { FAIL });
    d.killed(alive);
    d.exit(A, Exit::code(1));
    let incidents = d.sup.snapshot(d.now).incidents;
    let roots: Vec<_> = incidents.iter().map(|incident| (incident.no, incident.root)).collect();
    assert_eq!(roots, [(opened[0].no, Some(B)), (heartbeat_status::IncidentNo(opened[0].no.0 + 1), Some(A))]);
}

#[test]
fn an_operators_word_outranks_an_older_record() {
    let mut d = Drive::up(vec![bare("a"), bare("b")]);
    d.order(Action::Stop, A);
    d.exit(A, Exit::code(0));
    d.killed(|ix| if ix == A { Found::Nothing } else { alive(ix) });
    d.wait(secs(5));
    assert_eq!((d.word(A), d.starts()), (Status::Stopped, vec![]), "stopped, and stays so");
    // The record says it was stopped; the last word is that it is to run.
    d.records.get_mut(&A).expect("on record").1.desired = Some(Desired::Up);
    d.killed(|ix| if ix == A { Found::Nothing } else { alive(ix) });
    assert_eq!(d.starts(), [A]);
    d.launch_all();
    d.records.get_mut(&B).expect("on record").1.desired = Some(Desired::Down);
    d.killed(alive);
    assert_eq!(d.signals(), [(B, Signal::TERM)]);
}

#[test]
fn a_pause_and_its_end_survive() {
    let mut d = Drive::up(vec![bare("a")]);
    let mut pause = Command::new(Action::Pause, A);
    pause.duration = Some(secs(30));
    d.command(pause);
    d.killed(ended);
    assert_eq!((d.word(A), d.starts()), (Status::Paused, vec![]), "nothing acts on it");
    d.wait(secs(31));
    assert_eq!(d.starts(), [A], "and when its time is over it is started");
}

#[test]
fn a_pause_and_its_end_survive_a_reboot_of_the_host() {
    let mut d = Drive::up(vec![bare("a")]);
    let mut pause = Command::new(Action::Pause, A);
    pause.duration = Some(secs(30));
    d.command(pause);
    d.rebooted();
    assert_eq!((d.word(A), d.starts()), (Status::Paused, vec![]), "nothing starts it");
    d.wait(secs(31));
    assert_eq!(d.starts(), [A], "and when its time is over it is started");
}

#[test]
fn a_oneshot_that_is_done_stays_done() {
    let mut d = Drive::boot(vec![oneshot("a"), bare("b")]);
    d.launch_all();
    d.exit(A, Exit::code(0));
    d.killed(|ix| if ix == A { Found::Nothing } else { alive(ix) });
    d.wait(secs(5));
    assert_eq!((d.word(A), d.starts()), (Status::Done, vec![]));
    let mut d = Drive::boot(vec![oneshot("a")]);
    d.launch_all();
    d.killed(|_| Found::Ended { exit: Exit::unknown(), empty: true });
    assert_ne!(d.word(A), Status::Done, "an unknown exit status is not success");
}

#[test]
fn what_cannot_be_proven_gets_no_signal_and_no_second_copy() {
    let mut d = Drive::up(vec![probed("a"), probed("b").needs(A)]);
    let what = "pid 77 has its mark and is not on record".to_string();
    d.killed(|ix| if ix == A { Found::Unverifiable { what: what.clone() } } else { alive(ix) });
    assert_eq!(
        (d.word(A), d.phase(A), d.status(A).why.reason),
        (Status::Unknown, Phase::Unverified, Reason::Unverifiable)
    );
    assert!(d.events.iter().any(|event| matches!(&event.kind,
        EventKind::Incident { step: IncidentStep::Opened, incident, .. } if incident.root == Some(A))));
    let refused = d.order(Action::Restart, A);
    assert!(matches!(refused, Reply::Refused { .. }), "{refused:?}");
    d.order(Action::Stop, A);
    d.wait_answering(secs(60), |_| Outcome::Pass);
    assert_eq!((d.starts(), d.signals()), (vec![], vec![]));
    let reset = d.order(Action::Reset, A);
    assert!(matches!(reset, Reply::Accepted { .. }), "{reset:?}");
    assert_eq!(d.phase(A), Phase::Stopped, "a person has looked");
}

#[test]
fn what_was_not_proven_is_started_once_it_is_gone() {
    let mut d = Drive::up(vec![bare("a")]);
    d.killed(|_| Found::Unverifiable { what: "pid 77".to_string() });
    d.wait(secs(60));
    assert_eq!(d.starts(), []);
    let run = d.run(A);
    d.feed(Input::Run { realm: A, run, fact: RunFact::Emptied });
    assert_eq!(d.starts(), [A]);
}

#[test]
fn an_open_incident_keeps_its_number_and_is_resolved_once() {
    let mut d = Drive::up(vec![bare("a")]);
    d.exit(A, Exit::code(1));
    let no = d.sup.snapshot(d.now).incidents[0].no;
    d.started(A);
    d.take();
    d.killed(alive);
    assert_eq!(d.sup.snapshot(d.now).incidents[0].no, no);
    d.wait(secs(120));
    assert_eq!(d.word(A), Status::Up);
    let steps: Vec<IncidentStep> = d
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Incident { step, .. } => Some(*step),
            _ => None,
        })
        .collect();
    assert_eq!(steps, [IncidentStep::Resolved]);
}

#[test]
fn a_restart_is_debited_on_record_before_its_successor_is_started() {
    let mut d = Drive::stable(vec![bare("a")]);
    d.take();
    let run = d.run(A);
    d.sup.handle(
        d.now,
        Input::Run { realm: A, run, fact: RunFact::Exited { exit: Exit::code(1), empty: true } },
    );
    let effects: Vec<Effect> = std::iter::from_fn(|| d.sup.poll_effect()).collect();
    let [Effect::Persist { record: Some(record), .. }, Effect::Start { .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    let stored = serde_json::to_value(record).expect("plain data");
    assert_eq!(stored["debits_ns"].as_array().map(Vec::len), Some(1), "{stored}");
}

#[test]
fn a_realm_that_flaps_flaps_on() {
    let mut d = Drive::up(vec![probed("a")]);
    for at in 0..16 {
        d.until_measured(A);
        d.answer(A, if at % 2 == 0 { FAIL } else { Outcome::Pass });
    }
    assert!(d.status(A).flags.contains(&Flag::Flapping));
    d.killed(alive);
    assert!(
        !d.events.iter().any(|event| matches!(event.kind, EventKind::FlappingChanged { .. })),
        "no second notice"
    );
    assert!(d.status(A).flags.contains(&Flag::Flapping));
    d.wait_answering(secs(300), |_| Outcome::Pass);
    assert!(!d.status(A).flags.contains(&Flag::Flapping));
}

#[test]
fn an_operators_stop_outlives_a_reboot_of_the_host() {
    let mut d = Drive::up(vec![bare("a"), bare("b")]);
    d.order(Action::Stop, A);
    d.exit(A, Exit::signal(Signal::TERM));
    d.rebooted();
    d.wait(secs(5));
    assert_eq!((d.word(A), d.starts()), (Status::Stopped, vec![B]));
}

#[test]
fn what_is_made_of_something_else_by_now_is_restarted_and_what_is_not_is_left_alone() {
    let mut d = Drive::up(vec![bare("a"), bare("b")]);
    d.killed_with(|memory| memory.realms[A.index()].changed = true, alive);
    assert_eq!(d.signals(), [(A, Signal::TERM)]);
    let record = d.status(A).restart.clone().expect("a restart");
    assert_eq!((record.cause, record.detail.as_str()), (RestartCause::Reloaded, "reloaded"));
    assert_eq!((d.status(A).restarts.used, d.phase(B)), (0, Phase::Running));
}

#[test]
fn a_restart_that_is_open_does_not_keep_what_is_made_of_something_else() {
    let mut d = Drive::stable(vec![probed("a")]);
    d.exit(A, Exit::code(1));
    d.started(A);
    d.killed_with(|memory| memory.realms[A.index()].changed = true, alive);
    assert_eq!(d.signals(), [(A, Signal::TERM)], "it was started before the change");
}

#[test]
fn what_was_changed_while_it_was_paused_is_restarted_when_it_is_resumed() {
    let mut d = Drive::up(vec![bare("a")]);
    d.order(Action::Pause, A);
    d.take();
    d.reload(vec![bare("a")], &[A]);
    d.killed(alive);
    d.wait(secs(30));
    assert_eq!((d.word(A), d.signals()), (Status::Paused, vec![]));
    d.order(Action::Resume, A);
    assert_eq!(d.signals(), [(A, Signal::TERM)]);
}

#[test]
fn the_generation_on_record_outranks_what_is_remembered() {
    let mut d = Drive::up(vec![bare("a")]);
    let run = d.run(A).next();
    d.killed_with(|memory| memory.realms[A.index()].run = Some(run), alive);
    assert_eq!((d.run(A), d.phase(A)), (run, Phase::Running));
    d.exit(A, Exit::code(1));
    assert_ne!(d.phase(A), Phase::Running, "its end is heard under that generation");
}

#[test]
fn the_budget_of_the_host_is_remembered() {
    let mut d = Drive::up(vec![probed("a"), bare("b"), bare("c")]);
    let now = d.now;
    d.killed_with(|memory| memory.health_restarts = vec![now; 12], alive);
    d.wait_answering(secs(20), |_| FAIL);
    assert!(d.message(A).ends_with("12 restarts for health in 5m"), "{}", d.message(A));
    assert_eq!(d.sup.health_restarts().len(), 12);
    d.wait_answering(secs(320), |_| FAIL);
    assert!(d.signals().contains(&(A, Signal::TERM)), "the budget is free again");
}

#[test]
fn delays_and_cooldowns_grow_on_over_a_death() {
    let mut spec = bare("a");
    spec.restart = policy(|settings| (settings.burst, settings.jitter_percent) = (3, 0));
    let mut d = Drive::boot(vec![spec]);
    d.launch_all();
    let mut waits = Vec::new();
    for _ in 0..5 {
        d.wait(secs(1));
        d.exit(A, Exit::code(1));
        let from = d.now;
        d.killed(|_| Found::Nothing);
        while d.starts().is_empty() {
            d.wait(Duration::from_millis(100));
        }
        waits.push(d.now.since(from).as_millis());
        d.launch_all();
    }
    assert_eq!(waits, [500, 1_000, 2_000, 300_000, 600_000]);
}

#[test]
fn a_realm_is_written_when_its_durable_half_changes_and_for_no_event() {
    let mut d = Drive::stable(vec![probed("a")]);
    d.wait_answering(secs(120), |_| Outcome::Pass);
    let writes = d.writes;
    d.wait_answering(secs(600), |_| Outcome::Pass);
    assert_eq!(d.writes, writes, "it passes, and nothing changes");
    d.events.clear();
    let run = d.run(A);
    d.feed(Input::Run { realm: A, run, fact: RunFact::LogInMemory });
    assert!(!d.events.is_empty(), "that is an event");
    assert_eq!(d.writes, writes, "and nothing to remember");
    d.feed(Input::Run { realm: A, run, fact: RunFact::MainChanged { pid: 4_711 } });
    assert_eq!(d.writes, writes + 1);
    d.wait_answering(secs(30), |_| FAIL);
    assert!(d.writes > writes + 1, "each failure counts toward a restart");
}

/// heartbeatd dies at these seconds of a stop, whose KILL follows after 10 s. A death in the last two seconds makes the
/// next heartbeatd repeat the signal, and give the realm two seconds for it.
#[test]
fn however_often_heartbeatd_dies_during_a_stop_its_first_deadline_stands() {
    for deaths in [&[1][..], &[1, 2], &[1, 2, 3], &[4, 7], &[2, 9], &[9, 10], &[1, 2, 3, 4, 5, 6, 7, 8, 9]] {
        let mut d = Drive::up(vec![bare("a")]);
        d.order(Action::Stop, A);
        let first = d.now;
        for second in deaths {
            d.wait((first + secs(*second)).since(d.now));
            assert!(!d.signals().contains(&(A, Signal::KILL)), "{deaths:?}: killed too early");
            d.killed(alive);
        }
        while !d.signals().contains(&(A, Signal::KILL)) {
            d.wait(Duration::from_millis(10));
            assert!(d.now.since(first) < secs(60), "{deaths:?}: never killed");
        }
        let last = *deaths.last().expect("a death");
        assert_eq!(d.now.since(first), secs(10.max(last + 2)), "{deaths:?}");
    }
}

/// Two realms are being restarted, heartbeatd is killed, and a third one fails its probes.
#[test]
fn only_open_restarts_for_health_count_toward_the_two_at_a_time_after_a_death() {
    let ours = Outcome::Inconclusive(heartbeat_status::InconclusiveReason::MonitorLag);
    for for_health in [false, true] {
        let realms = ["a", "b", "c"].map(probed).into_iter();
        let mut d = Drive::stable(realms.chain(["d", "e", "f", "g", "h", "i"].map(bare)).collect());
        if for_health {
            d.wait_answering(secs(14), |realm| if realm == C { Outcome::Pass } else { FAIL });
        }
        for realm in [A, B] {
            d.exit(realm, if for_health { Exit::signal(Signal::TERM) } else { Exit::code(1) });
        }
        d.wait(secs(1));
        d.launch_all();
        let cause = if for_health { RestartCause::Unhealthy } else { RestartCause::Exited };
        for realm in [A, B] {
            let open = d.status(realm).restart.clone().expect("a restart");
            assert_eq!((open.cause, open.result), (cause, None));
        }
        d.killed(alive);
        d.wait_answering(secs(25), |realm| if realm == C { FAIL } else { ours });
        let restarted = d.signals().contains(&(C, Signal::TERM));
        assert_eq!(restarted, !for_health, "{}", d.message(C));
    }
}
