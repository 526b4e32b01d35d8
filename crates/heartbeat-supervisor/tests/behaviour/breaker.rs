//! The restart circuit breaker: at most so many restarts for health, none while heartbeatd suspects itself, and words
//! for what each of them waits for.

use std::time::Duration;

use heartbeat_status::{
    EventKind, Exit, Flag, InconclusiveReason, Instant, NextAction, Outcome, RealmIx, Reason, RestartCause,
    RestartResult, Signal, Status, What,
};
use heartbeat_supervisor::{Effect, Input, RealmSpec};

use crate::drive::{A, B, C, Drive, FAIL, bare, probed, secs};

/// Three with probes, and as many without.
fn among(bystanders: usize) -> Vec<RealmSpec> {
    let names = ["d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o"];
    let probed = ["a", "b", "c"].into_iter().map(probed);
    probed.chain(names.into_iter().take(bystanders).map(bare)).collect()
}

fn tripped(d: &Drive) -> bool {
    d.events.iter().any(|event| matches!(event.kind, EventKind::FuseTripped { .. }))
}

fn restarting(d: &mut Drive) -> Vec<RealmIx> {
    [A, B, C].into_iter().filter(|realm| d.word(*realm) == Status::Restarting).collect()
}

#[test]
fn three_failing_realms_of_nine_do_not_trip_it_while_two_are_being_restarted() {
    let mut d = Drive::up(among(6));
    d.wait_answering(secs(20), |_| FAIL);
    assert!(!tripped(&d));
    assert_eq!(restarting(&mut d).len(), 2, "two at a time");
}

#[test]
fn what_a_restart_for_health_waits_for_is_said_in_words() {
    let mut d = Drive::up(among(6));
    d.events.clear();
    d.wait_answering(secs(20), |_| FAIL);
    let under_way = restarting(&mut d);
    let held = [A, B, C].into_iter().find(|realm| !under_way.contains(realm)).expect("one waits");
    let names: Vec<&str> = under_way.iter().map(|realm| ["a", "b", "c"][realm.index()]).collect();
    let status = d.status(held);
    assert_eq!((status.status, status.why.reason), (Status::Down, Reason::ProbeFailed));
    let words = format!("2 other restarts for health are under way ({})", names.join(", "));
    assert!(status.why.message.ends_with(&words), "{}", status.why.message);
    let when = format!("{} is verified", names.join(" or "));
    assert_eq!(
        (status.why.next.action, status.why.next.when.as_deref()),
        (NextAction::Restart, Some(&*when))
    );
    assert!(!status.flags.contains(&Flag::Fuse), "the breaker is closed");
    let told: Vec<String> = d
        .events
        .iter()
        .filter(|event| event.realm.as_ref().is_some_and(|(ix, _)| *ix == held))
        .filter_map(|event| event.kind.fact())
        .filter_map(|(what, detail)| (what == What::RestartHeld).then_some(detail))
        .collect();
    assert_eq!(told, [words], "an event says it, once");
}

#[test]
fn a_spent_budget_of_the_host_is_said_in_words_and_has_a_time() {
    let mut d = Drive::up(among(12));
    let first = d.now;
    for _ in 0..600 {
        d.take();
        // The realm comes back well, and fails again: restart after restart is verified.
        let sick = d.now.since(first).as_secs() % 24 < 16;
        d.wait_answering(secs(1), |realm| if realm == A && sick { FAIL } else { Outcome::Pass });
        if d.signals().iter().any(|(_, signal)| *signal == Signal::TERM) {
            d.exit(A, Exit::signal(Signal::TERM));
            d.order(heartbeat_wire::Action::Reset, A);
        }
        d.launch_all();
        if d.message(A).ends_with("12 restarts for health in 5m") {
            break;
        }
    }
    let status = d.status(A);
    assert!(status.why.message.ends_with("12 restarts for health in 5m"), "{}", status.why.message);
    assert_eq!((status.why.reason, status.why.next.action), (Reason::ProbeFailed, NextAction::Restart));
    assert!(status.why.next.at.is_some_and(|at| at > d.now && at.since(first) <= secs(420)));
}

#[test]
fn a_tripped_breaker_says_so() {
    let mut d = Drive::up(vec![probed("a")]);
    d.feed(Input::Lag { late: true });
    d.wait_answering(secs(30), |_| FAIL);
    let status = d.status(A);
    assert_eq!(status.why.reason, Reason::StormFuse);
    assert!(status.flags.contains(&Flag::Fuse));
    assert_eq!(status.why.next.when.as_deref(), Some("the restart circuit breaker is closed"));
}

#[test]
fn while_it_is_tripped_crashes_are_started_ten_a_second() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut d = Drive::stable(names.into_iter().map(bare).collect());
    d.feed(Input::Lag { late: true });
    d.take();
    for realm in 0..6 {
        d.exit(RealmIx(realm), Exit::code(1));
    }
    let from = d.now;
    let mut starts = Vec::new();
    while starts.len() < 6 {
        for effect in std::mem::take(&mut d.effects) {
            if let Effect::Start { realm, .. } = effect {
                starts.push(d.now.since(from).as_millis());
                d.started(realm);
            }
        }
        d.wait(Duration::from_millis(1));
    }
    let gaps: Vec<u128> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap >= 100), "{starts:?}");
    assert!(starts[5] <= 600, "{starts:?}");
}

/// Whatever has held a restart: once it may begin, the realm is measured once more, and the answer decides.
#[test]
fn a_restart_that_was_held_is_made_on_a_failure_from_after_its_wait() {
    type Script = fn() -> Drive;
    let holds: [(&str, Script); 3] = [
        ("others are being restarted", || {
            let mut d = Drive::stable(among(6));
            d.wait_answering(secs(14), |_| FAIL);
            for realm in [A, B, C] {
                if d.word(realm) == Status::Restarting {
                    d.exit(realm, Exit::signal(Signal::TERM));
                }
            }
            d
        }),
        ("heartbeatd is late", || {
            let mut d = Drive::stable(among(6));
            d.feed(Input::Lag { late: true });
            d.wait_answering(secs(30), |realm| if realm == A { FAIL } else { Outcome::Pass });
            d.feed(Input::Lag { late: false });
            d
        }),
        ("the budget of the host is spent", || {
            let mut d = Drive::stable(among(6));
            let now = d.now;
            let alive =
                |ix: RealmIx| heartbeat_supervisor::Found::Alive { pid: 100 + ix.0, launching: false };
            d.killed_with(|memory| memory.health_restarts = vec![now; 12], alive);
            d.wait_answering(secs(20), |realm| if realm == A { FAIL } else { Outcome::Pass });
            d
        }),
    ];
    for (why, script) in holds {
        for still_fails in [false, true] {
            let mut d = script();
            let mut held = [A, B, C].into_iter();
            let held = held.find(|realm| d.word(*realm) == Status::Down).expect("one is held");
            d.take();
            let released = |d: &Drive| {
                let of = |whose: &RealmIx| *whose == held;
                d.events.iter().any(|event| {
                    event.realm.as_ref().is_some_and(|(ix, _)| of(ix))
                        && matches!(event.kind, EventKind::RestartHeld { why: None })
                })
            };
            let from = d.now;
            loop {
                d.wait(Duration::from_millis(10));
                if released(&d) {
                    break;
                }
                d.answer(held, FAIL);
                if released(&d) {
                    break;
                }
                d.answer_all(Outcome::Pass);
                d.launch_all_keeping_events();
                assert!(d.now.since(from) < secs(400), "{why}: {}", d.message(held));
            }
            assert_eq!(d.restart_opened(held), None, "{why}: not by the old answer");
            d.wait_answering(
                secs(2),
                |realm| if realm == held && still_fails { FAIL } else { Outcome::Pass },
            );
            assert_eq!(d.restart_opened(held).is_some(), still_fails, "{why}: {}", d.message(held));
        }
    }
}

/// The restarts for health that were opened, and when each ended in a failure.
fn for_health(d: &Drive) -> (Vec<Instant>, Vec<Instant>) {
    let (mut opened, mut failed, mut open) = (Vec::new(), Vec::new(), Vec::new());
    for event in &d.events {
        let Some((realm, _)) = &event.realm else { continue };
        match event.kind {
            EventKind::RestartOpened { id, cause: RestartCause::Unhealthy, .. } => {
                open.push((*realm, id));
                opened.push(event.at);
            }
            EventKind::RestartClosed { id, result: RestartResult::Failed, .. }
                if open.contains(&(*realm, id)) =>
            {
                failed.push(event.at);
            }
            _ => {}
        }
    }
    (opened, failed)
}

#[test]
fn after_a_trial_that_failed_the_next_waits_for_a_fresh_round() {
    let mut d = Drive::stable(among(0));
    d.events.clear();
    d.live(secs(20), |_| FAIL);
    assert!(tripped(&d));
    let begun = d.now;
    while for_health(&d).1.is_empty() {
        d.live(Duration::from_millis(100), |_| FAIL);
        assert!(d.now.since(begun) < secs(600), "no trial has failed");
    }
    let (opened, failed) = for_health(&d);
    // From now on one realm cannot be measured, so there is no round.
    let blind = Outcome::Inconclusive(InconclusiveReason::MonitorLag);
    let other = [A, B, C].into_iter().rfind(|realm| d.word(*realm) == Status::Down).expect("one waits");
    d.live(secs(55), |realm| if realm == other { blind } else { FAIL });
    assert_eq!(for_health(&d).0, opened, "failed at {failed:?}");
    d.live(secs(15), |realm| if realm == other { blind } else { FAIL });
    assert!(for_health(&d).0.len() > opened.len(), "60 s later at the latest");
}
