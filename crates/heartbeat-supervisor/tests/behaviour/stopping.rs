//! TERM, KILL, stuck; order; a later stop wins in every phase; shutdown.

use std::time::Duration;

use heartbeat_status::{
    EdgeKind, EventKind, Exit, Gate, NextAction, Outcome, Phase, RealmIx, RunFact, Signal, StartError,
    StartFailure, Status, WhileDown,
};
use heartbeat_supervisor::{Command, Effect, Input, RealmSpec, SignalTo};
use heartbeat_wire::Action;

use crate::drive::{A, B, C, Depends, Drive, FAIL, bare, external, oneshot, probed, secs, talking};

#[test]
fn term_then_kill_then_stuck_and_no_second_copy() {
    let mut d = Drive::up(vec![bare("a")]);
    d.order(Action::Restart, A);
    assert_eq!(d.signals(), [(A, Signal::TERM)]);
    d.take();
    d.wait(secs(10));
    assert_eq!(d.signals(), [(A, Signal::KILL)]);
    d.wait(secs(5));
    assert_eq!((d.phase(A), d.word(A)), (Phase::Stuck, Status::Failed));
    d.wait(secs(3600));
    assert_eq!(d.starts(), [], "no second copy");
    d.exit(A, Exit::signal(Signal::KILL));
    assert_eq!(d.starts(), [A], "once its tree is empty");
}

/// The signals in order, with whether they go to the whole tree.
fn told(d: &Drive) -> Vec<(Signal, bool)> {
    let signals = d.effects.iter().filter_map(|effect| match effect {
        Effect::Signal { signal, .. } => Some((*signal, true)),
        Effect::SignalMain { signal, .. } => Some((*signal, false)),
        _ => None,
    });
    signals.collect()
}

fn stopped_with(signal_to: SignalTo) -> Drive {
    let mut spec = bare("a");
    spec.stop.signal_to = signal_to;
    let mut d = Drive::up(vec![spec]);
    d.take();
    d.order(Action::Stop, A);
    d
}

#[test]
fn the_main_process_is_signalled_first_and_then_what_it_leaves() {
    let mut d = stopped_with(SignalTo::Main);
    assert_eq!(told(&d), [(Signal::TERM, false), (Signal::CONT, false)]);
    d.take();
    d.wait(secs(4));
    assert_eq!(told(&d), [], "its workers may finish");
    let run = d.run(A);
    d.feed(Input::Run { realm: A, run, fact: RunFact::Exited { exit: Exit::code(0), empty: false } });
    assert_eq!(told(&d), [(Signal::TERM, true), (Signal::CONT, true)]);
    d.take();
    d.wait(Duration::from_millis(5_990));
    assert_eq!(told(&d), []);
    d.wait(Duration::from_millis(10));
    assert_eq!(told(&d), [(Signal::KILL, true)], "10 s after the first signal");
    d.feed(Input::Run { realm: A, run, fact: RunFact::Emptied });
    assert_eq!(d.phase(A), Phase::Stopped);
}

#[test]
fn what_a_main_process_leaves_behind_when_it_ends_by_itself_gets_the_stop_signal() {
    let mut d = Drive::up(vec![bare("a")]);
    d.take();
    let run = d.run(A);
    d.feed(Input::Run { realm: A, run, fact: RunFact::Exited { exit: Exit::code(1), empty: false } });
    assert_eq!(told(&d), [(Signal::TERM, true), (Signal::CONT, true)], "there is no main process any more");
}

#[test]
fn kill_is_for_the_whole_tree_of_a_main_process_that_ignores_its_stop_signal() {
    let mut d = stopped_with(SignalTo::Main);
    d.take();
    d.wait(secs(10));
    assert_eq!(told(&d), [(Signal::KILL, true)]);
}

#[test]
fn signal_to_tree_signals_all_at_once_and_once() {
    let mut d = stopped_with(SignalTo::Tree);
    assert_eq!(told(&d), [(Signal::TERM, true), (Signal::CONT, true)]);
    d.take();
    let run = d.run(A);
    d.feed(Input::Run { realm: A, run, fact: RunFact::Exited { exit: Exit::code(0), empty: false } });
    assert_eq!(told(&d), []);
}

/// A stop, a restart, a health restart, the stop with a need, and the end of everything.
#[test]
fn every_path_that_stops_a_realm_signals_its_main_process_first() {
    type Script = fn() -> Drive;
    let scripts: [(&str, Script); 5] = [
        ("stop", || stopped_with(SignalTo::Main)),
        ("restart", || {
            let mut d = Drive::up(vec![bare("a")]);
            d.take();
            d.order(Action::Restart, A);
            d
        }),
        ("unhealthy", || {
            let mut d = Drive::up(vec![probed("a")]);
            d.take();
            d.wait_answering(secs(60), |_| FAIL);
            d
        }),
        ("while_down", || {
            let a = bare("a").edge(B, EdgeKind::Needs, Gate::Up, WhileDown::Stop);
            let mut d = Drive::up(vec![a, bare("b")]);
            d.take();
            d.exit(B, Exit::code(1));
            d
        }),
        ("shutdown", || {
            let mut d = Drive::up(vec![bare("a")]);
            d.take();
            d.feed(Input::Shutdown { now: false });
            d
        }),
    ];
    for (path, script) in scripts {
        let d = script();
        assert_eq!(told(&d).first(), Some(&(Signal::TERM, false)), "{path}");
    }
}

/// The most asked question of every supervisor.
#[test]
fn a_program_that_makes_a_daemon_of_itself_is_told_so() {
    let mut d = Drive::boot(vec![bare("a")]);
    d.started(A);
    let run = d.run(A);
    d.feed(Input::Run { realm: A, run, fact: RunFact::Exited { exit: Exit::code(0), empty: false } });
    d.feed(Input::Run { realm: A, run, fact: RunFact::Emptied });
    let message = d.message(A);
    let expected = "exit code 0 after 0.0 s; it left processes behind, which heartbeatd ends: the program makes a \
                    daemon of itself. Start it with its foreground option, or name its pid file with `pidfile`";
    assert!(message.starts_with(expected), "{message}");
    // What has worked for long, fails, or leaves nothing behind does not.
    for (ran, code, empty) in [(60, 0, false), (0, 1, false), (0, 0, true)] {
        let mut d = Drive::boot(vec![bare("a")]);
        d.started(A);
        d.wait(secs(ran));
        let run = d.run(A);
        d.feed(Input::Run { realm: A, run, fact: RunFact::Exited { exit: Exit::code(code), empty } });
        assert!(!d.message(A).contains("daemon of itself"), "{}", d.message(A));
    }
}

#[test]
fn leftovers_are_swept_before_the_next_start() {
    let mut d = Drive::stable(vec![bare("a")]);
    let run = d.run(A);
    d.feed(Input::Run { realm: A, run, fact: RunFact::Exited { exit: Exit::code(1), empty: false } });
    assert_eq!((d.phase(A), d.signals(), d.starts()), (Phase::Stopping, vec![(A, Signal::TERM)], vec![]));
    d.feed(Input::Run { realm: A, run, fact: RunFact::Emptied });
    assert_eq!(d.starts(), [A]);
    assert_eq!(d.status(A).restarts.used, 1);
}

/// Each script brings the realm into a phase; then it is stopped, and nothing may start it any more.
#[test]
fn a_later_stop_wins_in_every_phase() {
    type Script = fn() -> Drive;
    let scripts: [(Phase, Script); 7] = [
        (Phase::Waiting, || Drive::boot(vec![bare("a").needs(B), external("b")])),
        (Phase::Starting, || Drive::boot(vec![bare("a")])),
        (Phase::Running, || Drive::stable(vec![bare("a")])),
        (Phase::Stopping, || {
            let mut d = Drive::stable(vec![bare("a")]);
            d.order(Action::Restart, A);
            d
        }),
        (Phase::Backoff, || {
            let mut d = Drive::stable(vec![bare("a")]);
            for _ in 0..2 {
                d.exit(A, Exit::code(1));
                d.wait(Duration::from_millis(300));
                if d.phase(A) == Phase::Starting {
                    d.started(A);
                }
            }
            d
        }),
        (Phase::Starting, || {
            let mut d = Drive::boot(vec![bare("a")]);
            let run = d.run(A);
            let error = StartError { failure: StartFailure::ProgramUnusable, message: "denied".into() };
            d.feed(Input::Run { realm: A, run, fact: RunFact::StartFailed { error } });
            d
        }),
        (Phase::Cooldown, || {
            let mut d = Drive::boot(vec![bare("a")]);
            let run = d.run(A);
            let error = StartError { failure: StartFailure::ProgramUnusable, message: "denied".into() };
            d.feed(Input::Run { realm: A, run, fact: RunFact::StartFailed { error } });
            d.wait(secs(61));
            d
        }),
    ];
    for (phase, script) in scripts {
        let mut d = script();
        assert_eq!(d.phase(A), phase);
        let had_process = d.phase(A).may_have_process();
        d.order(Action::Stop, A);
        d.take();
        if had_process {
            d.exit(A, Exit::signal(Signal::TERM));
        }
        assert_eq!((d.phase(A), d.word(A)), (Phase::Stopped, Status::Stopped), "{phase}");
        d.wait_answering(secs(7200), |_| Outcome::Pass);
        assert_eq!(d.starts(), [], "{phase}");
        assert_eq!(d.message(A), "stopped by an operator", "{phase}");
    }
}

#[test]
fn done_and_stopped_is_stopped() {
    let mut d = Drive::boot(vec![oneshot("a")]);
    d.take();
    d.started(A);
    d.exit(A, Exit::code(0));
    assert_eq!((d.word(A), d.message(A)), (Status::Done, "exit code 0 after 0.0 s".to_string()));
    d.order(Action::Start, A);
    assert_eq!(d.starts(), [], "it has done what it is for");
    d.order(Action::Restart, A);
    d.wait(secs(1));
    assert_eq!(d.starts(), [A], "but it can be asked to do it again");
    d.started(A);
    d.exit(A, Exit::code(0));
    d.order(Action::Stop, A);
    assert_eq!(d.word(A), Status::Stopped);
}

#[test]
fn a_start_during_a_stop_wins_over_the_stop() {
    let mut d = Drive::up(vec![bare("a")]);
    d.order(Action::Stop, A);
    d.order(Action::Start, A);
    d.take();
    d.exit(A, Exit::signal(Signal::TERM));
    assert_eq!(d.starts(), [A]);
}

#[test]
fn shutdown_stops_dependents_first_each_fully_gone() {
    let mut d = Drive::up(vec![bare("a"), bare("b").needs(A), bare("c").needs(B), external("d")]);
    d.feed(Input::Shutdown { now: false });
    assert_eq!(d.signals(), [(C, Signal::TERM)]);
    d.take();
    d.exit(C, Exit::code(0));
    assert_eq!(d.signals(), [(B, Signal::TERM)]);
    d.take();
    d.exit(B, Exit::code(0));
    assert_eq!(d.signals(), [(A, Signal::TERM)]);
    assert!(!d.effects.contains(&Effect::Halt));
    d.exit(A, Exit::code(0));
    assert_eq!(d.effects.last(), Some(&Effect::Halt));
    assert!(d.events.iter().any(|event| event.kind == EventKind::ShutdownFinished { left: 0 }));
    assert_eq!(d.message(A), "stopped: heartbeatd is stopping everything");
}

#[test]
fn shutdown_is_bounded_and_a_second_one_kills_at_once() {
    for at_once in [false, true] {
        let mut slow = bare("b").needs(A);
        slow.stop.timeout = secs(300);
        let mut d = Drive::up(vec![bare("a"), slow]);
        d.feed(Input::Shutdown { now: false });
        d.take();
        if at_once {
            d.feed(Input::Shutdown { now: true });
        } else {
            d.wait(secs(60));
        }
        let kills: Vec<_> = d.signals().into_iter().filter(|(_, signal)| *signal == Signal::KILL).collect();
        assert_eq!(kills, [(B, Signal::KILL), (A, Signal::KILL)], "order given up");
        d.wait(secs(6));
        assert!(d.effects.contains(&Effect::Halt), "what cannot be killed does not hold us");
        assert!(d.events.iter().any(|event| event.kind == EventKind::ShutdownFinished { left: 2 }));
    }
}

#[test]
fn shutdown_reaches_realms_that_only_wait() {
    let mut failing = bare("a");
    failing.restart = crate::drive::policy(|settings| settings.burst = 1);
    let mut d = Drive::boot(vec![failing, bare("b").needs(A), probed("c").needs(B)]);
    let run = d.run(A);
    let error = StartError { failure: StartFailure::ProgramUnusable, message: "no such file".into() };
    d.feed(Input::Run { realm: A, run, fact: RunFact::StartFailed { error } });
    assert_eq!((d.phase(A), d.phase(B)), (Phase::Starting, Phase::Waiting));
    d.feed(Input::Shutdown { now: false });
    assert_eq!(d.effects.last(), Some(&Effect::Halt));
}

#[test]
fn a_launch_is_cancelled() {
    let mut d = Drive::boot(vec![bare("a")]);
    d.order(Action::Stop, A);
    assert_eq!(d.signals(), [(A, Signal::KILL)], "there is nothing yet that could end gracefully");
    let run = d.run(A);
    let error = StartError { failure: StartFailure::NeverTried, message: "called off".into() };
    d.feed(Input::Run { realm: A, run, fact: RunFact::StartFailed { error } });
    assert_eq!(d.phase(A), Phase::Stopped);
}

#[test]
fn while_everything_is_stopped_nothing_is_fine_and_each_realm_says_why_and_what_comes_next() {
    let mut d = Drive::up(vec![bare("a"), bare("b").needs(A), bare("c"), external("d")]);
    let why = Some("disk repair".to_string());
    d.command(Command { reason: why, by: Some(0), ..Command::new(Action::Stop, C) });
    d.exit(C, Exit::code(0));
    assert!(d.sup.snapshot(d.now).is_ok());
    d.feed(Input::Shutdown { now: false });
    let snapshot = d.sup.snapshot(d.now);
    assert_eq!((snapshot.is_ok(), snapshot.worst()), (false, Status::Stopping));
    let next = |d: &mut Drive, ix| d.status(ix).why.next.clone();
    assert_eq!(d.message(B), "being stopped: heartbeatd is stopping everything");
    assert_eq!((next(&mut d, B).action, next(&mut d, B).at), (NextAction::Kill, Some(d.now + secs(10))));
    assert_eq!(next(&mut d, A).action, NextAction::Kill);
    let after = "its dependents are stopped and it has not ended 10s later";
    assert_eq!(next(&mut d, A).when.as_deref(), Some(after));
    assert_eq!(d.message(C), "stopped by root: disk repair", "the operator's own reason stays");
    assert_eq!(next(&mut d, C).action, NextAction::None, "the next heartbeatd leaves it stopped, too");
    let again = Some("heartbeatd is started again");
    assert_eq!(
        (next(&mut d, RealmIx(3)).action, next(&mut d, RealmIx(3)).when.as_deref()),
        (NextAction::Probe, again)
    );
    d.exit(B, Exit::code(0));
    assert_eq!((next(&mut d, B).action, next(&mut d, B).when.as_deref()), (NextAction::Start, again));
}

#[test]
fn the_stop_signal_says_when_kill_follows() {
    let mut d = Drive::up(vec![bare("a")]);
    d.order(Action::Stop, A);
    let told: Vec<String> = d.events.iter().filter_map(|event| Some(event.kind.fact()?.1)).collect();
    let words = "SIGTERM to its main process; SIGKILL follows in 10s if it has not ended";
    assert!(told.iter().any(|line| line == words), "{told:?}");
    assert_eq!(d.message(A), "being stopped by an operator");
}

/// Every way to end a realm sends the first stop signal where `signal_to` says.
#[test]
fn signal_to_holds_for_every_way_to_end_a_realm() {
    fn spec(signal_to: SignalTo) -> RealmSpec {
        let mut spec = talking("a", Some(secs(5)));
        spec.stop.signal_to = signal_to;
        spec.memory_limit = Some(1 << 20);
        spec
    }
    fn reloaded(d: &mut Drive, signal_to: SignalTo) {
        d.reload(vec![spec(signal_to), bare("b")], &[A]);
    }
    fn removed(d: &mut Drive, signal_to: SignalTo) {
        d.reload(vec![RealmSpec { retired: true, ..spec(signal_to) }, bare("b")], &[]);
    }
    fn with_another(d: &mut Drive, _: SignalTo) {
        d.exit(B, Exit::code(1));
    }
    fn over_its_limit(d: &mut Drive, _: SignalTo) {
        let run = d.run(A);
        (0..3)
            .for_each(|_| d.feed(Input::Run { realm: A, run, fact: RunFact::MemoryUsed { bytes: 2 << 20 } }));
    }
    fn silent(d: &mut Drive, _: SignalTo) {
        d.wait_answering(secs(6), |_| Outcome::Pass);
    }
    type Way = fn(&mut Drive, SignalTo);
    let ways: [(&str, Way); 5] = [
        ("reload", reloaded),
        ("removal", removed),
        ("restart.with", with_another),
        ("memory limit", over_its_limit),
        ("missed beat", silent),
    ];
    for (what, end) in ways {
        for (signal_to, tree) in [(SignalTo::Main, false), (SignalTo::Tree, true)] {
            let mut other = bare("b");
            other.restart_with = vec![A];
            let mut d = Drive::boot(vec![spec(signal_to), other]);
            d.launch_all();
            d.say(A, |said| said.ready = true);
            d.wait_answering(secs(3), |_| Outcome::Pass);
            assert_eq!((d.word(A), d.word(B)), (Status::Up, Status::Up), "{what}");
            d.take();
            end(&mut d, signal_to);
            let of_realm: Vec<(Signal, bool)> = told(&d);
            assert_eq!(of_realm, [(Signal::TERM, tree), (Signal::CONT, tree)], "{what} to {signal_to:?}");
        }
    }
}
