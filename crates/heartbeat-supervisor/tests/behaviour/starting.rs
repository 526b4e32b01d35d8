//! Start order, gates, `wants`, `after`, `while_down`, the upstream rule.

use std::time::Duration;

use heartbeat_restart::RestartWhen;
use heartbeat_status::{
    EdgeKind, Exit, Gate, Hook, Outcome, Phase, RestartResult, RunFact, Signal, Status, WhileDown,
};
use heartbeat_supervisor::{Effect, Input};
use heartbeat_wire::Action;

use crate::drive::{A, B, C, Depends, Drive, FAIL, bare, external, oneshot, policy, probed, secs};

#[test]
fn a_realm_starts_the_moment_its_own_gates_hold() {
    let mut d = Drive::boot(vec![probed("a"), bare("b").needs(A), bare("c")]);
    assert_eq!(d.starts(), [A, C], "what needs nothing, at once");
    assert_eq!(d.word(B), Status::Starting);
    assert_eq!(d.message(B), "waits for a, which is starting");
    d.launch_all();
    d.wait(Duration::from_millis(10));
    assert_eq!(d.starts(), []);
    d.answer(A, Outcome::Pass);
    assert_eq!(d.starts(), [B], "the first pass decides");
}

#[test]
fn every_gate_opens_on_its_own_condition() {
    let gate = |until| bare("b").edge(A, EdgeKind::Needs, until, WhileDown::Ride);
    let mut d = Drive::boot(vec![probed("a"), gate(Gate::Started)]);
    d.take();
    d.started(A);
    assert_eq!(d.starts(), [B], "started: exec is enough");

    let mut d = Drive::boot(vec![oneshot("a"), gate(Gate::Done)]);
    d.take();
    d.started(A);
    assert_eq!(d.starts(), []);
    d.exit(A, Exit::code(0));
    assert_eq!((d.word(A), d.starts()), (Status::Done, vec![B]));

    let mut d = Drive::boot(vec![oneshot("a"), gate(Gate::Done)]);
    d.take();
    d.started(A);
    d.exit(A, Exit::unknown());
    assert_eq!(d.word(B), Status::Blocked, "an unknown exit status is not success");

    let mut d = Drive::boot(vec![external("a"), gate(Gate::Up)]);
    d.wait(Duration::from_millis(10));
    assert_eq!(d.starts(), []);
    d.answer(A, Outcome::Pass);
    assert_eq!((d.word(A), d.starts()), (Status::Up, vec![B]));
}

#[test]
fn degraded_is_a_pass() {
    let mut d = Drive::boot(vec![probed("a"), bare("b").needs(A)]);
    d.launch_all();
    d.wait(Duration::from_millis(10));
    d.answer(A, Outcome::Degraded(heartbeat_status::DegradedReason::Slow));
    assert_eq!((d.word(A), d.starts()), (Status::Degraded, vec![B]));
}

#[test]
fn wants_and_after_wait_until_settled_ten_seconds_at_most() {
    for kind in [EdgeKind::Wants, EdgeKind::After] {
        let mut d = Drive::boot(vec![probed("a"), bare("b").edge(A, kind, Gate::Up, WhileDown::Ride)]);
        d.launch_all();
        d.wait(Duration::from_millis(9_990));
        assert_eq!(d.starts(), [], "{kind}");
        d.wait(Duration::from_millis(20));
        assert_eq!(d.starts(), [B], "{kind}: it starts anyway");
    }
    // What has failed has settled.
    let mut wanted = probed("a");
    wanted.restart = policy(|settings| settings.when = RestartWhen::Never);
    let mut d = Drive::boot(vec![wanted, bare("b").edge(A, EdgeKind::Wants, Gate::Up, WhileDown::Ride)]);
    d.launch_all();
    d.take();
    d.exit(A, Exit::code(1));
    assert_eq!(d.starts(), [B]);
    assert_eq!(d.phase(A), Phase::Failed);
}

#[test]
fn a_manual_realm_is_pulled_in_by_what_needs_it() {
    let mut manual = bare("a");
    manual.manual = true;
    let mut d = Drive::boot(vec![manual.clone()]);
    assert_eq!((d.starts(), d.word(A)), (vec![], Status::Stopped));
    assert_eq!(d.message(A), "started only on request (manual = true)");
    let d = Drive::boot(vec![manual.clone(), bare("b").needs(A)]);
    assert_eq!(d.starts(), [A], "at boot");
    let mut waiting = bare("b").needs(A);
    waiting.manual = true;
    let mut d = Drive::boot(vec![manual, waiting]);
    assert_eq!(d.starts(), []);
    d.order(Action::Start, B);
    assert_eq!(d.starts(), [A], "by a start, which shows it in its plan");
    assert_eq!(d.status(A).desired, heartbeat_status::Desired::Up);
}

#[test]
fn while_down_decides_what_a_running_dependent_does() {
    for while_down in [WhileDown::Ride, WhileDown::Stop, WhileDown::Restart] {
        let mut d = Drive::up(vec![bare("a"), bare("b").edge(A, EdgeKind::Needs, Gate::Up, while_down)]);
        assert_eq!(d.word(B), Status::Up, "{while_down}");
        d.exit(A, Exit::code(1));
        match while_down {
            WhileDown::Ride => {
                assert_eq!(d.word(B), Status::Up);
                assert!(d.status(B).flags.contains(&heartbeat_status::Flag::UpstreamDown));
            }
            WhileDown::Stop => {
                assert_eq!(d.signals(), [(B, Signal::TERM)]);
                d.exit(B, Exit::signal(Signal::TERM));
                assert_eq!((d.phase(B), d.word(B)), (Phase::Waiting, Status::Blocked));
            }
            WhileDown::Restart => assert_eq!(d.signals(), [], "not before the need is back"),
        }
        for _ in 0..8 {
            d.wait(secs(1));
            for realm in d.starts() {
                if d.phase(realm) == Phase::Starting {
                    d.started(realm);
                }
            }
        }
        match while_down {
            WhileDown::Ride => assert!(!d.starts().contains(&B)),
            WhileDown::Stop => assert!(d.starts().contains(&B), "started again with its need"),
            WhileDown::Restart => assert_eq!(d.signals(), [(B, Signal::TERM)]),
        }
        assert_eq!(d.status(B).restarts.used, 0, "{while_down}: somebody else's fault is no debit");
    }
}

#[test]
fn failures_while_a_need_is_broken_are_shown_and_not_counted() {
    let mut d = Drive::up(vec![probed("a"), probed("b").needs(A)]);
    d.exit(A, Exit::code(1));
    d.take();
    d.wait_answering(secs(60), |_| FAIL);
    assert_eq!(d.word(B), Status::Blocked);
    assert_eq!(d.status(B).probes[0].fails, 0, "not counted");
    assert_eq!(d.status(B).health, heartbeat_status::Health::Unhealthy, "shown");
    assert_eq!(d.signals().iter().filter(|(realm, _)| *realm == B).count(), 0, "not acted on");
}

#[test]
fn an_exit_while_a_need_is_broken_waits_without_a_debit() {
    let started = |until| bare("b").edge(A, EdgeKind::Needs, until, WhileDown::Ride);
    for until in [Gate::Up, Gate::Started] {
        let mut d = Drive::up(vec![probed("a"), started(until)]);
        d.wait_answering(secs(16), |_| FAIL);
        assert_eq!(d.phase(A), Phase::Stopping, "{until}: restarted for its health");
        d.take();
        d.exit(B, Exit::code(1));
        assert_eq!((d.phase(B), d.word(B)), (Phase::Waiting, Status::Blocked), "{until}");
        assert_eq!((d.status(B).restarts.used, d.starts()), (0, vec![]), "{until}");
    }
}

#[test]
fn only_one_still_bad_after_its_own_full_threshold_is_restarted() {
    let mut d = Drive::stable(vec![bare("a"), probed("b").needs(A)]);
    d.exit(A, Exit::code(1));
    d.wait_answering(Duration::from_millis(400), |_| FAIL);
    d.started(A);
    d.take();
    d.wait(secs(2));
    assert_eq!(d.word(A), Status::Restarting, "a restart is verified before the need counts as mended");
    d.wait_answering(secs(5), |_| FAIL);
    assert_eq!(d.word(A), Status::Up);
    let mended = d.now;
    d.wait_answering(secs(30), |_| FAIL);
    assert_eq!(d.signals()[0], (B, Signal::TERM));
    assert!(d.restart_opened(B).is_some_and(|opened| opened.since(mended) >= secs(2)));
}

#[test]
fn start_timeout_stands_still_while_a_need_is_broken() {
    let mut d = Drive::up(vec![bare("a"), probed("b").needs(A)]);
    d.order(Action::Restart, B);
    d.exit(B, Exit::code(0));
    d.started(B);
    d.exit(A, Exit::code(1));
    d.take();
    d.wait_answering(secs(300), |_| FAIL);
    assert_eq!(d.phase(B), Phase::Starting);
    assert_eq!(d.status(B).restart.as_ref().and_then(|record| record.result), None::<RestartResult>);
}

#[test]
fn a_start_that_does_not_get_ready_is_an_attempt() {
    let mut d = Drive::boot(vec![probed("a")]);
    d.launch_all();
    d.wait_answering(secs(59), |_| FAIL);
    assert_eq!(d.signals(), []);
    d.wait_answering(secs(2), |_| FAIL);
    assert_eq!(d.signals(), [(A, Signal::TERM)]);
    assert!(d.message(A).contains("not ready within 60s"), "{}", d.message(A));
}

#[test]
fn a_hook_runs_before_and_after() {
    let mut spec = bare("a");
    spec.start.before = true;
    spec.start.after = true;
    let mut d = Drive::boot(vec![spec]);
    let run = d.run(A);
    assert!(matches!(d.effects[..], [Effect::Hook { hook: Hook::Before, .. }]));
    d.feed(Input::Run { realm: A, run, fact: RunFact::HookDone { hook: Hook::Before, failure: None } });
    d.launch_all();
    d.wait(secs(2));
    assert!(matches!(d.effects[..], [Effect::Hook { hook: Hook::After, .. }]));
    d.feed(Input::Run { realm: A, run, fact: RunFact::HookDone { hook: Hook::After, failure: None } });
    assert_eq!(d.word(A), Status::Up);
}

#[test]
fn a_hook_whose_end_is_never_reported_is_given_up_whatever_becomes_of_a_need() {
    let mut spec = probed("b").needs(A);
    spec.start.after = true;
    let mut d = Drive::up(vec![external("a")]);
    d.reload(vec![external("a"), spec], &[]);
    d.launch_all();
    d.wait_answering(secs(2), |_| Outcome::Pass);
    assert!(d.effects.iter().any(|effect| matches!(effect, Effect::Hook { hook: Hook::After, .. })));
    let fails_a = |realm| if realm == A { FAIL } else { Outcome::Pass };
    d.wait_answering(secs(40), fails_a);
    assert_eq!((d.word(A), d.phase(B)), (Status::Down, Phase::Starting));
    d.wait_answering(secs(30), |_| Outcome::Pass);
    assert_eq!(d.signals(), [(B, Signal::TERM)], "{}", d.message(B));
    assert!(d.message(B).contains("start.after failed: its end was never reported"), "{}", d.message(B));
}

#[test]
fn upstream_is_asked_before_a_health_restart() {
    for to_blame in [true, false] {
        let mut d = Drive::up(vec![external("a"), probed("b").needs(A)]);
        // `a` falls silent, and `b` reaches its threshold first.
        for _ in 0..20 {
            d.wait(Duration::from_millis(990));
            d.answer(B, FAIL);
        }
        assert_eq!((d.word(A), d.word(B)), (Status::Up, Status::Down));
        assert_eq!(d.signals(), [], "nobody knows yet whose fault it is");
        d.wait_answering(secs(12), |realm| if realm == A && !to_blame { Outcome::Pass } else { FAIL });
        if to_blame {
            assert_eq!((d.word(B), d.signals()), (Status::Blocked, vec![]));
        } else {
            assert_eq!(d.signals()[0], (B, Signal::TERM));
        }
    }
}

#[test]
fn what_needs_or_wants_a_manual_realm_pulls_it_in_and_what_comes_after_it_does_not() {
    let manual = |mut spec: heartbeat_supervisor::RealmSpec| {
        spec.manual = true;
        spec
    };
    for (kind, pulled) in [(EdgeKind::Needs, true), (EdgeKind::Wants, true), (EdgeKind::After, false)] {
        let dependent = || bare("b").edge(A, kind, Gate::Up, WhileDown::Ride);
        let at_boot = Drive::boot(vec![manual(bare("a")), dependent()]);
        let through_another = Drive::boot(vec![manual(bare("a")), manual(dependent()), bare("c").needs(B)]);
        let mut by_a_start = Drive::boot(vec![manual(bare("a")), manual(dependent())]);
        assert_eq!(by_a_start.starts(), []);
        by_a_start.order(Action::Start, B);
        let mut by_a_reload = Drive::boot(vec![manual(bare("a"))]);
        assert_eq!(by_a_reload.starts(), []);
        by_a_reload.reload(vec![manual(bare("a")), dependent()], &[]);
        for (way, d) in [
            ("boot", at_boot),
            ("another one", through_another),
            ("a start", by_a_start),
            ("a reload", by_a_reload),
        ] {
            assert_eq!(d.starts().contains(&A), pulled, "{kind:?}, by {way}");
        }
    }
}
