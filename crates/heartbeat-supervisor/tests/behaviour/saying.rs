//! What a realm says of itself, and what becomes of it.

use std::time::Duration;

use heartbeat_status::{
    Beat, EventKind, Exit, FailReason, Flag, Health, Instant, NextAction, Outcome, Phase, Reason,
    RestartCause, RestartResult, RunFact, RunId, Said, SaidState, Signal, Status,
};
use heartbeat_supervisor::{Found, Input};
use heartbeat_wire::Action;

use crate::drive::{A, B, Depends, Drive, FAIL, bare, external, policy, probed, secs, talking, told};

const WATCHDOG: Duration = Duration::from_secs(10);

/// Booted, started, and ready.
fn up(watchdog: Option<Duration>) -> Drive {
    let mut d = Drive::boot(vec![talking("a", watchdog)]);
    d.launch_all();
    ready(&mut d);
    assert_eq!(d.word(A), Status::Up);
    d.take();
    d
}

fn ready(d: &mut Drive) {
    d.say(A, |said| said.ready = true);
}

fn beat(d: &mut Drive) {
    d.say(A, |said| said.beat = Some(Beat::Alive));
}

fn opened(d: &Drive) -> Vec<RestartCause> {
    let causes = d.events.iter().filter_map(|event| match event.kind {
        EventKind::RestartOpened { cause, .. } => Some(cause),
        _ => None,
    });
    causes.collect()
}

#[test]
fn what_is_waited_for_is_told_and_since_when() {
    let mut d = Drive::boot(vec![talking("a", None)]);
    d.launch_all();
    let why = d.status(A).why.clone();
    assert_eq!(why.next.action, NextAction::Restart, "{}", why.message);
    assert_eq!(
        (why.next.at, why.next.when.as_deref()),
        (Some(d.now + secs(60)), Some("it is not ready by then"))
    );
    assert!(why.since > Instant::ZERO, "not since the boot of the host");
}

#[test]
fn no_realm_is_up_before_it_reports_ready_and_then_its_gate_opens() {
    let mut d = Drive::boot(vec![talking("a", None), bare("b").needs(A)]);
    d.launch_all();
    d.wait(secs(30));
    assert_eq!((d.word(A), d.phase(B)), (Status::Starting, Phase::Waiting));
    d.say(A, |said| said.status = Some("loading 40 %".into()));
    assert_eq!(d.message(A), "started, not ready yet; says: loading 40 %");
    let says = d.status(A).says.clone().unwrap();
    assert_eq!((says.state, says.status.as_deref()), (SaidState::Starting, Some("loading 40 %")));
    d.take();
    ready(&mut d);
    assert_eq!((d.word(A), d.starts()), (Status::Up, vec![B]));
    assert_eq!(d.message(A), "it says that it is ready; says: loading 40 %");
    assert_eq!(d.status(A).probes[0].last.as_ref().unwrap().detail, "ready: loading 40 %");
    d.say(A, |said| said.status = Some(String::new()));
    assert_eq!(d.message(A), "it says that it is ready");
}

#[test]
fn a_realm_that_never_reports_ready_is_restarted_and_can_ask_for_more_time() {
    let mut d = Drive::boot(vec![talking("a", None)]);
    d.launch_all();
    d.wait(secs(59));
    d.say(A, |said| said.extend = Some(secs(100)));
    // Never shortened.
    d.say(A, |said| said.extend = Some(secs(1)));
    d.wait(secs(99));
    assert_eq!((d.phase(A), opened(&d)), (Phase::Starting, vec![]));
    d.wait(secs(2));
    assert_eq!((d.phase(A), opened(&d)), (Phase::Stopping, vec![RestartCause::StartTimedOut]));
    assert_eq!(d.status(A).restart.as_ref().unwrap().detail, "not ready within the time it has asked for");
    // What the last one said means nothing for the next one.
    d.exit(A, Exit::signal(Signal::TERM));
    d.wait(secs(1));
    d.launch_all();
    assert_eq!(d.status(A).says.as_ref().unwrap().state, SaidState::Starting);
    d.wait(secs(61));
    assert_eq!(d.phase(A), Phase::Stopping);
}

#[test]
fn start_timeout_stands_still_with_its_extension_while_a_need_is_broken() {
    let mut d = Drive::boot(vec![external("b"), talking("a", None).needs(A)]);
    let (need, realm) = (A, B);
    d.answer(need, Outcome::Pass);
    d.wait_answering(secs(3), |_| Outcome::Pass);
    d.launch_all();
    d.wait_answering(secs(20), |_| FAIL);
    d.say(realm, |said| said.extend = Some(secs(200)));
    d.wait_answering(secs(500), |_| FAIL);
    assert_eq!(d.phase(realm), Phase::Starting);
    d.wait_answering(secs(190), |_| Outcome::Pass);
    assert_eq!(d.phase(realm), Phase::Starting);
    // The need was seen to be back within 30 s.
    for _ in 0..40 {
        if d.phase(realm) == Phase::Starting {
            d.wait_answering(secs(1), |_| Outcome::Pass);
        }
    }
    assert_eq!(d.phase(realm), Phase::Stopping);
}

#[test]
fn a_missed_beat_is_a_restart_that_is_verified_and_beats_prevent_it() {
    let mut d = up(Some(WATCHDOG));
    for _ in 0..20 {
        d.wait(secs(9));
        beat(&mut d);
    }
    assert_eq!((d.word(A), opened(&d)), (Status::Up, vec![]));
    d.say(A, |said| said.status = Some("request 7".into()));
    d.wait(secs(9));
    assert_eq!(d.word(A), Status::Up, "a status is no sign of life");
    d.wait(secs(1));
    assert_eq!(opened(&d), [RestartCause::Unhealthy]);
    let restart = d.status(A).restart.clone().unwrap();
    assert_eq!(restart.detail, "notify: no WATCHDOG=1 for 10s; its last status: request 7");
    assert_eq!(d.signals(), [(A, Signal::TERM)]);
    d.exit(A, Exit::signal(Signal::TERM));
    d.wait(secs(1));
    d.launch_all();
    d.wait(secs(20));
    assert_eq!(d.word(A), Status::Restarting, "it has not said that it is ready");
    ready(&mut d);
    d.wait(secs(4));
    assert_eq!(d.word(A), Status::Restarting);
    d.wait(secs(2));
    assert_eq!(d.word(A), Status::Up);
    assert_eq!(d.status(A).restart.as_ref().unwrap().result, Some(RestartResult::Verified));
}

#[test]
fn our_own_lateness_and_absence_are_no_missed_beat() {
    let mut d = up(Some(WATCHDOG));
    // The loop was late, and the beat is in the inbox behind the timer.
    d.now = d.now + secs(14);
    d.sup.handle_timeout(d.now);
    beat(&mut d);
    assert_eq!((d.word(A), opened(&d)), (Status::Up, vec![]));
    // It was stopped.
    d.now = d.now + secs(60);
    d.feed(Input::Suspended { asleep: secs(60) });
    d.wait(secs(9));
    assert_eq!(d.word(A), Status::Up);
    beat(&mut d);
    // Late once more, and this time there is none.
    d.now = d.now + secs(14);
    d.sup.handle_timeout(d.now);
    assert_eq!(d.word(A), Status::Up);
    d.wait(secs(2));
    assert_eq!(d.status(A).restart.as_ref().unwrap().cause, RestartCause::Unhealthy);
}

#[test]
fn a_reported_failure_counts_at_once_and_can_be_withdrawn() {
    let mut d = up(None);
    let mut spec = talking("a", None);
    spec.restart = policy(|settings| settings.when = heartbeat_restart::RestartWhen::Never);
    d.reload(vec![spec], &[]);
    d.say(A, |said| said.beat = Some(Beat::Trigger));
    assert_eq!((d.word(A), opened(&d)), (Status::Down, vec![]));
    let last = d.status(A).probes[0].last.clone().unwrap();
    assert_eq!(last.outcome, Outcome::Fail { reason: FailReason::MissedBeat, phase: None });
    assert_eq!(last.detail, "WATCHDOG=trigger");
    beat(&mut d);
    assert_eq!(d.word(A), Status::Up);
    let mut d = up(None);
    d.say(A, |said| said.beat = Some(Beat::Trigger));
    assert_eq!(opened(&d), [RestartCause::Unhealthy]);
    // While it starts, too.
    let mut d = Drive::boot(vec![talking("a", None)]);
    d.launch_all();
    d.say(A, |said| said.beat = Some(Beat::Trigger));
    assert_eq!(opened(&d), [RestartCause::Unhealthy]);
}

#[test]
fn it_chooses_its_watchdog_itself() {
    let mut d = up(None);
    d.wait(secs(600));
    d.say(A, |said| said.watchdog = Some(secs(2)));
    assert_eq!(d.status(A).says.as_ref().unwrap().watchdog, Some(secs(2)));
    d.wait(secs(1));
    d.say(A, |said| said.extend = Some(secs(30)));
    d.wait(secs(29));
    assert_eq!(d.word(A), Status::Up);
    beat(&mut d);
    d.wait(secs(1));
    d.say(A, |said| said.watchdog = Some(Duration::ZERO));
    d.wait(secs(600));
    assert_eq!((d.word(A), opened(&d)), (Status::Up, vec![]));
}

#[test]
fn a_reload_is_told_and_it_stays_up() {
    let mut d = up(Some(WATCHDOG));
    d.say(A, |said| said.reloading = true);
    assert_eq!((d.word(A), d.status(A).says.as_ref().unwrap().state), (Status::Up, SaidState::Reloading));
    assert!(
        d.events
            .iter()
            .any(|event| matches!(event.kind, EventKind::Said { state: SaidState::Reloading, .. }))
    );
    d.wait(secs(5));
    ready(&mut d);
    assert_eq!(d.status(A).says.as_ref().unwrap().state, SaidState::Ready);
    d.wait(secs(9));
    assert_eq!(d.word(A), Status::Up, "that was a sign of life");
}

#[test]
fn a_realm_that_reports_stopping_is_not_up_and_its_end_is_an_exit() {
    let mut spec = talking("a", Some(WATCHDOG));
    spec.probes.insert(0, probed("x").probes.remove(0));
    let mut d = Drive::up(vec![spec]);
    ready(&mut d);
    d.wait_answering(secs(5), |_| Outcome::Pass);
    d.take();
    beat(&mut d);
    d.say(A, |said| said.stopping = true);
    let status = d.status(A);
    assert_eq!((status.status, status.why.reason), (Status::Down, Reason::Stopping));
    assert_eq!((status.why.next.action, status.health), (NextAction::Restart, Health::Unhealthy));
    // Whatever fails meanwhile.
    d.wait_answering(secs(9), |_| FAIL);
    beat(&mut d);
    assert_eq!((d.word(A), opened(&d), d.signals()), (Status::Down, vec![], vec![]));
    assert!(d.sup.snapshot(d.now).incidents.is_empty());
    d.exit(A, Exit::code(0));
    assert_eq!(opened(&d), [RestartCause::Exited]);
    assert_eq!(d.status(A).restarts.used, 1, "it ended by itself, whatever it has said");
}

#[test]
fn a_realm_that_reports_stopping_and_does_not_end_is_killed() {
    let mut d = up(None);
    d.say(A, |said| (said.stopping, said.extend) = (true, Some(secs(25))));
    d.wait(secs(24));
    assert_eq!(d.signals(), []);
    d.wait(secs(1));
    assert_eq!((opened(&d), d.signals()), (vec![RestartCause::Exited], vec![(A, Signal::TERM)]));
    // One that thinks better of it.
    let mut d = up(None);
    d.say(A, |said| said.stopping = true);
    ready(&mut d);
    d.wait(secs(60));
    assert_eq!((d.word(A), opened(&d)), (Status::Up, vec![]));
}

#[test]
fn more_time_to_stop_can_be_asked_for() {
    let mut d = up(None);
    d.order(Action::Stop, A);
    assert_eq!(d.signals(), [(A, Signal::TERM)]);
    d.wait(secs(9));
    d.say(A, |said| (said.stopping, said.extend) = (true, Some(secs(60))));
    d.wait(secs(59));
    assert_eq!(d.signals(), [(A, Signal::TERM)]);
    // heartbeatd is killed meanwhile, and the time it had stands.
    d.say(A, |said| said.extend = Some(secs(50)));
    d.killed(|_| Found::Alive { pid: 100, launching: false });
    d.wait(secs(47));
    assert_eq!(d.signals(), []);
    d.wait(secs(1));
    assert_eq!(d.signals(), [(A, Signal::TERM)]);
    d.wait(secs(2));
    assert_eq!(d.signals(), [(A, Signal::TERM), (A, Signal::KILL)]);
}

#[test]
fn what_a_realm_reported_stands_when_heartbeatd_is_killed() {
    let alive = |_| Found::Alive { pid: 100, launching: false };
    let mut d = up(Some(WATCHDOG));
    d.say(A, |said| said.status = Some("serving".into()));
    assert!(d.records[&A].0.is_settled(), "it is written at once");
    d.wait(secs(9));
    d.killed(alive);
    assert_eq!(d.word(A), Status::Up);
    assert!(d.status(A).flags.contains(&Flag::Adopted));
    let says = d.status(A).says.clone().unwrap();
    assert_eq!((says.state, says.status.as_deref()), (SaidState::Ready, Some("serving")));
    d.wait(secs(9));
    assert_eq!(d.word(A), Status::Up, "its deadline begins anew");
    beat(&mut d);
    d.wait(secs(10));
    assert_eq!(d.status(A).restart.as_ref().unwrap().cause, RestartCause::Unhealthy);
    // One that has said so before its other probe passes: ready as soon as that passes.
    let mut spec = probed("a");
    spec.probes.push(told(None, heartbeat_status::Role::Live));
    let mut d = Drive::boot(vec![spec]);
    d.launch_all();
    ready(&mut d);
    d.say(A, |said| said.extend = Some(secs(300)));
    d.killed(alive);
    assert_eq!(d.phase(A), Phase::Starting);
    d.wait_answering(secs(200), |_| FAIL);
    assert_eq!(d.phase(A), Phase::Starting, "the time it has asked for stands");
    d.wait_answering(secs(2), |_| Outcome::Pass);
    assert_eq!(d.word(A), Status::Up);
}

#[test]
fn no_other_process_can_report_for_a_realm() {
    let mut d = up(Some(WATCHDOG));
    let ignored = d.sup.snapshot(d.now).ignored;
    let said = Said { stopping: true, ..Said::default() };
    d.feed(Input::Run { realm: A, run: RunId(0), fact: RunFact::Said { said: said.clone() } });
    assert_eq!((d.word(A), d.sup.snapshot(d.now).ignored), (Status::Up, ignored + 1));
    // A realm that is not asked.
    let mut d = Drive::up(vec![bare("a")]);
    d.say(A, |word| *word = said.clone());
    assert_eq!((d.word(A), d.status(A).says.clone()), (Status::Up, None));
    // One that does not run.
    let mut d = up(None);
    d.exit(A, Exit::code(1));
    d.say(A, |word| *word = said);
    assert_eq!(d.status(A).says, None);
}

#[test]
fn a_missed_beat_beside_a_broken_need_does_not_count_and_is_waited_for_anew() {
    let mut d = Drive::boot(vec![external("b"), talking("a", Some(WATCHDOG)).needs(A)]);
    let realm = B;
    d.wait_answering(secs(3), |_| Outcome::Pass);
    d.launch_all();
    d.say(realm, |said| said.ready = true);
    d.take();
    d.wait_answering(secs(40), |_| FAIL);
    assert_eq!((d.word(realm), opened(&d)), (Status::Blocked, vec![]));
    d.wait_answering(secs(9), |_| Outcome::Pass);
    assert_eq!(opened(&d), []);
    d.wait_answering(secs(30), |_| Outcome::Pass);
    assert_eq!(opened(&d), [RestartCause::Unhealthy]);
}

#[test]
fn a_time_beyond_all_clocks_is_a_time() {
    let mut d = Drive::boot(vec![talking("a", None)]);
    d.launch_all();
    d.say(A, |said| (said.extend, said.watchdog) = (Some(Duration::MAX), Some(Duration::MAX)));
    ready(&mut d);
    d.wait(secs(600));
    assert_eq!(d.word(A), Status::Up);
    assert!(d.sup.poll_timeout().is_none_or(|at| at > Instant::from_millis(2_000_000)));
}

#[test]
fn what_it_says_of_its_watchdog_replaces_what_is_configured() {
    let second = |seconds| Some(secs(seconds));
    for (configured, says, in_force) in [
        (None, None, None),
        (second(10), None, second(10)),
        (None, second(2), second(2)),
        (second(10), second(2), second(2)),
        (second(10), second(30), second(30)),
        (second(10), second(0), None),
        (None, second(0), None),
    ] {
        let mut d = up(configured);
        if let Some(says) = says {
            d.say(A, |said| said.watchdog = Some(says));
        }
        let words = format!("configured {configured:?}, says {says:?}");
        assert_eq!(d.status(A).says.as_ref().unwrap().watchdog, in_force, "{words}");
        d.wait(in_force.unwrap_or(secs(600)) - Duration::from_millis(1));
        assert_eq!(opened(&d), [], "{words}");
        d.wait(Duration::from_millis(1));
        assert_eq!(opened(&d).len(), usize::from(in_force.is_some()), "{words}");
    }
}

/// Time is granted, a need breaks a while later, and comes back.
#[test]
fn time_that_was_granted_anew_is_charged_from_its_grant_on_when_a_need_breaks() {
    const STARTING: Outcome = Outcome::Fail { reason: FailReason::StartingUp, phase: None };
    const STEP: Duration = Duration::from_millis(100);
    let (need, realm) = (A, B);
    for says_so_itself in [true, false] {
        let spec = if says_so_itself { talking("a", None) } else { probed("a") };
        let mut d = Drive::boot(vec![external("b"), spec.needs(need)]);
        d.answer(need, Outcome::Pass);
        d.wait_answering(secs(3), |_| Outcome::Pass);
        d.launch_all();
        d.wait_answering(secs(30), |ix| if ix == need { Outcome::Pass } else { STARTING });
        if says_so_itself {
            d.say(realm, |said| said.extend = Some(secs(60)));
        }
        let until = d.now + secs(60);
        let goes_on = |d: &mut Drive, outcome: Outcome, goal: &dyn Fn(&mut Drive) -> bool| {
            let bound = d.now + secs(600);
            while !goal(d) {
                assert!(d.now < bound, "{}", d.message(realm));
                d.wait_answering(STEP, |ix| if ix == need { outcome } else { FAIL });
            }
            d.now
        };
        let broke = goes_on(&mut d, FAIL, &|d| d.word(need) == Status::Down);
        assert!(broke < until);
        d.wait_answering(secs(300), |_| FAIL);
        let mended = goes_on(&mut d, Outcome::Pass, &|d| d.word(need) == Status::Up);
        let ended = goes_on(&mut d, Outcome::Pass, &|d| d.phase(realm) == Phase::Stopping);
        // What the realm had left when the need broke, within the steps of this test and of a starting probe.
        let (left, had) = (until.since(broke), ended.since(mended));
        assert!(had.abs_diff(left) <= Duration::from_millis(600), "{left:?} were left, it had {had:?}");
    }
}
