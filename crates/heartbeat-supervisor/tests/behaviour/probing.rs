//! Slots, thresholds, refresh, staleness, suspend, lost measurements.

use std::time::Duration;

use heartbeat_status::{
    CheckResult, CommandId, Exit, Flag, Health, InconclusiveReason, Outcome, PhaseTimes, Reason, RunFact,
    Status, Verdict,
};
use heartbeat_supervisor::{Effect, Input, Reply};

use crate::drive::{A, B, Depends, Drive, FAIL, bare, external, probed, secs};

const OURS: Outcome = Outcome::Inconclusive(InconclusiveReason::MonitorLag);

fn refreshed(d: &Drive) -> Option<u32> {
    d.effects.iter().find_map(|effect| match effect {
        Effect::Reply { reply: Reply::Refreshed { missing }, .. } => Some(*missing),
        _ => None,
    })
}

#[test]
fn thresholds_decide_and_are_shown() {
    let mut d = Drive::up(vec![external("a")]);
    let mut seen = Vec::new();
    for _ in 0..3 {
        d.until_measured(A);
        d.answer(A, FAIL);
        seen.push((d.word(A), d.status(A).probes[0].progress.to_string()));
    }
    let expected = [(Status::Up, "1/3"), (Status::Up, "2/3"), (Status::Down, "3/3")];
    assert_eq!(seen, expected.map(|(status, progress)| (status, progress.to_string())));
    assert_eq!(d.message(A), "http: connection refused, 3 times in a row");
}

/// While a need is broken, no failure counts. The passes around one are not consecutive all the same.
#[test]
fn passes_around_a_failure_that_does_not_count_are_not_consecutive() {
    for between in [Outcome::Pass, OURS, FAIL] {
        let mut d = Drive::up(vec![bare("a"), external("b").needs(A)]);
        d.wait_answering(secs(40), |_| FAIL);
        assert_eq!(d.word(B), Status::Down);
        d.exit(A, Exit::code(1));
        let verdict = |d: &mut Drive| d.status(B).probes[0].verdict;
        for (outcome, passes) in [(Outcome::Pass, false), (between, between == Outcome::Pass)] {
            d.until_measured(B);
            d.answer(B, outcome);
            assert_eq!(verdict(&mut d) == Some(Verdict::Passing), passes, "{between:?}");
        }
        d.until_measured(B);
        d.answer(B, Outcome::Pass);
        assert_eq!(verdict(&mut d) == Some(Verdict::Passing), between != FAIL, "{between:?}");
        d.until_measured(B);
        d.answer(B, Outcome::Pass);
        assert_eq!(verdict(&mut d), Some(Verdict::Passing));
    }
}

#[test]
fn one_measurement_in_flight_and_skipped_slots_are_counted() {
    let mut d = Drive::up(vec![probed("a")]);
    d.until_measured(A);
    d.wait(secs(6));
    assert_eq!(d.in_flight(A), 1);
    assert!(d.status(A).probes[0].skipped >= 1);
}

#[test]
fn a_measurement_that_does_not_come_back_says_nothing() {
    let mut d = Drive::up(vec![probed("a")]);
    d.wait(secs(13));
    let status = d.status(A);
    assert_eq!(status.probes[0].last.as_ref().map(|last| last.outcome), Some(OURS));
    assert_eq!((status.status, status.probes[0].fails), (Status::Up, 0));
}

#[test]
fn a_refresh_counts_its_passes_and_not_its_failures() {
    let mut d = Drive::up(vec![probed("a")]);
    d.until_measured(A);
    d.answer(A, Outcome::Pass);
    d.wait(Duration::from_millis(1_500));
    assert_eq!(d.in_flight(A), 0, "the next slot is 5 s after the last");
    d.take();
    d.feed(Input::Refresh { id: CommandId(900), realm: None });
    d.feed(Input::Refresh { id: CommandId(901), realm: None });
    assert_eq!(d.in_flight(A), 1, "concurrent refreshes share one round");
    let fails = d.status(A).probes[0].fails;
    d.answer(A, FAIL);
    assert_eq!(refreshed(&d), Some(0));
    let replies = d.effects.iter().filter(|effect| matches!(effect, Effect::Reply { .. })).count();
    assert_eq!(replies, 2);
    assert_eq!(d.status(A).probes[0].fails, fails, "the slot had not come");
    assert_eq!(d.status(A).probes[0].last.as_ref().map(|last| last.outcome), Some(FAIL), "but it is shown");
}

#[test]
fn a_refresh_is_bounded() {
    let mut d = Drive::up(vec![probed("a")]);
    d.answer_all(Outcome::Pass);
    d.wait(Duration::from_millis(1_100));
    d.take();
    d.feed(Input::Refresh { id: CommandId(900), realm: Some(A) });
    // Its own measurement is given up after timeout and grace, before the bound of the round.
    d.wait(secs(11));
    assert!(refreshed(&d).is_some());
    let mut d = Drive::up(vec![bare("a")]);
    d.feed(Input::Refresh { id: CommandId(900), realm: None });
    assert_eq!(refreshed(&d), Some(0), "nothing to measure: at once");
}

#[test]
fn evidence_gets_stale_and_green_means_recent() {
    let mut d = Drive::up(vec![probed("a")]);
    d.wait_answering(secs(20), |_| OURS);
    assert_eq!(d.word(A), Status::Up);
    d.wait_answering(secs(20), |_| OURS);
    let status = d.status(A);
    assert_eq!(
        (status.status, status.health, status.why.reason),
        (Status::Unknown, Health::Unknown, Reason::Stale)
    );
    assert!(status.flags.contains(&Flag::Stale));
    d.wait_answering(secs(10), |_| Outcome::Pass);
    assert_eq!(d.word(A), Status::Up);
}

#[test]
fn an_answer_that_comes_when_its_probe_is_stale_is_as_old_as_its_question() {
    let mut d = Drive::up(vec![probed("a")]);
    let mut asked = None;
    while !d.status(A).probes[0].stale {
        d.take();
        d.wait(Duration::from_millis(10));
        for effect in &d.effects {
            if let Effect::Check { id, .. } = effect {
                asked = Some((*id, d.now));
            }
        }
    }
    let (id, began) = asked.expect("it is measured");
    assert!(began < d.now && d.in_flight(A) == 1, "its answer comes after it was found to be stale");
    let result = CheckResult {
        outcome: Outcome::Pass,
        detail: String::new(),
        started_at: began,
        finished_at: d.now,
        latency: Some(d.now.since(began)),
        phases: PhaseTimes::default(),
        unattributable: false,
        certificate_until: None,
    };
    d.feed(Input::Checked { id, result });
    assert_eq!(d.word(A), Status::Up);
    let until = began + secs(30);
    d.wait(until.since(d.now) - Duration::from_millis(1));
    assert_eq!(d.word(A), Status::Up);
    d.wait(Duration::from_millis(1));
    assert_eq!((d.word(A), d.status(A).probes[0].stale), (Status::Unknown, true), "30 s, and no longer");
}

#[test]
fn suspend_demands_a_fresh_round() {
    let mut d = Drive::up(vec![probed("a")]);
    d.until_measured(A);
    d.answer(A, FAIL);
    assert_eq!(d.status(A).probes[0].fails, 1);
    d.now = d.now + secs(3600);
    d.feed(Input::Suspended { asleep: secs(3600) });
    d.wait(Duration::from_millis(20));
    let status = d.status(A);
    assert_eq!((status.status, status.probes[0].fails, status.probes[0].stale), (Status::Up, 0, false));
    assert_eq!(d.in_flight(A), 1, "measured at once");
}

#[test]
fn intervals_adapt() {
    let mut d = Drive::up(vec![external("a")]);
    d.wait_answering(secs(30), |_| Outcome::Pass);
    assert_eq!(d.status(A).probes[0].interval, Some(secs(5)), "steady");
    d.until_measured(A);
    d.answer(A, FAIL);
    assert_eq!(d.status(A).probes[0].interval, Some(secs(1)), "a verdict is being formed");
    d.wait_answering(secs(6), |_| FAIL);
    assert_eq!(d.status(A).probes[0].interval, Some(secs(5)), "down");
    d.wait_answering(secs(300), |_| FAIL);
    assert_eq!(d.status(A).probes[0].interval, Some(secs(30)), "down for long");
}

#[test]
fn a_late_answer_of_an_old_generation_is_dropped() {
    let mut d = Drive::up(vec![probed("a")]);
    let run = d.run(A);
    d.exit(A, Exit::code(1));
    let before = d.sup.snapshot(d.now).ignored;
    d.feed(Input::Run { realm: A, run, fact: RunFact::Exited { exit: Exit::code(1), empty: true } });
    assert_eq!(d.sup.snapshot(d.now).ignored, before + 1);
    assert_eq!(d.status(A).restarts.total, 1);
}

#[test]
fn a_refresh_whose_slot_comes_while_it_measures_counts_like_any_measurement() {
    for (slot_comes, outcome, fails) in [(false, FAIL, 0), (true, FAIL, 1), (true, Outcome::Pass, 0)] {
        let mut d = Drive::up(vec![probed("a")]);
        d.until_measured(A);
        d.answer(A, Outcome::Pass);
        d.wait(Duration::from_millis(1_500));
        d.feed(Input::Refresh { id: CommandId(900), realm: None });
        assert_eq!(d.in_flight(A), 1);
        let skipped = d.status(A).probes[0].skipped;
        if slot_comes {
            d.wait(secs(4));
        }
        assert_eq!(d.in_flight(A), 1, "one at a time");
        d.answer(A, outcome);
        let probe = d.status(A).probes[0].clone();
        assert_eq!((probe.fails, probe.skipped), (fails, skipped), "slot comes: {slot_comes}, {outcome:?}");
    }
}

#[test]
fn a_probe_is_measured_at_its_own_interval_or_at_that_of_what_happens() {
    for seconds in [1, 5, 12, 30, 60, 300] {
        let own = secs(seconds);
        let mut spec = external("a");
        (spec.probes[0].info.interval, spec.probes[0].info.timeout) = (own, own.min(secs(2)));
        let mut d = Drive::up(vec![spec]);
        let shown = |d: &mut Drive| d.status(A).probes[0].interval.expect("it is measured");
        assert_eq!(shown(&mut d), own, "{seconds} s, steady");
        d.until_measured(A);
        d.answer(A, FAIL);
        assert_eq!(shown(&mut d), secs(1).max(own / 5), "{seconds} s, a verdict is being formed");
        while d.word(A) != Status::Down {
            d.wait_answering(secs(1), |_| FAIL);
        }
        let mut last = own.max(secs(5));
        assert_eq!(shown(&mut d), last, "{seconds} s, down");
        for _ in 0..40 {
            d.wait_answering(last, |_| FAIL);
            assert!(shown(&mut d) >= last, "{seconds} s: it only grows");
            last = shown(&mut d);
        }
        assert_eq!(last, own.max(secs(30)), "{seconds} s, down for long");
        while d.word(A) != Status::Up {
            d.wait_answering(secs(1), |_| Outcome::Pass);
        }
        d.wait_answering(own * 3, |_| Outcome::Pass);
        assert_eq!(shown(&mut d), own, "{seconds} s, up again");
    }
}
