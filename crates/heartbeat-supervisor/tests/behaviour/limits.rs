//! Limits of memory, and signals that an operator sends.

use heartbeat_status::{
    EventKind, Exit, ExitKind, Flag, Hook, Phase, Reason, RestartCause, RestartResult, RunFact, Signal,
    Status,
};
use heartbeat_supervisor::{Command, Effect, Input, RealmSpec, Refusal, Reply, Signalling};
use heartbeat_wire::Action;

use crate::drive::*;

const LIMIT: u64 = 64 << 20;

fn limited() -> RealmSpec {
    RealmSpec { memory_limit: Some(LIMIT), restart: policy(|_| {}), ..bare("a") }
}

impl Drive {
    fn uses(&mut self, bytes: u64) {
        let run = self.run(A);
        self.feed(Input::Run { realm: A, run, fact: RunFact::MemoryUsed { bytes } });
    }

    fn signal(&mut self, signal: Signal, tree: bool) -> Reply {
        self.command(Command { signal: Some(Signalling { signal, tree }), ..Command::new(Action::Signal, A) })
    }
}

#[test]
fn three_samples_over_the_limit_are_a_restart_with_a_cause_of_its_own() {
    let mut d = Drive::up(vec![limited()]);
    for bytes in [LIMIT + 1, LIMIT + 1, LIMIT, LIMIT + 1, LIMIT + 1] {
        d.uses(bytes);
        assert!(d.signals().is_empty(), "a peak is none");
    }
    d.uses(LIMIT + (LIMIT >> 2));
    assert_eq!(d.signals(), [(A, Signal::TERM)]);
    let record = d.status(A).restart.clone().unwrap();
    assert_eq!(record.cause, RestartCause::OutOfMemory);
    assert_eq!(record.detail, "out of memory: its processes use 80 MiB, limit 64 MiB");
    d.exit(A, Exit::signal(Signal::TERM));
    d.wait(secs(1));
    assert_eq!((d.starts(), d.status(A).restarts.used), (vec![A], 1));
}

#[test]
fn a_realm_that_is_never_restarted_is_ended_and_stays_down() {
    let never = policy(|settings| settings.when = heartbeat_restart::RestartWhen::Never);
    let mut d = Drive::up(vec![RealmSpec { restart: never, ..limited() }]);
    (0..3).for_each(|_| d.uses(LIMIT + 1));
    d.exit(A, Exit::signal(Signal::TERM));
    d.wait(secs(60));
    assert_eq!((d.phase(A), d.starts().len()), (Phase::Failed, 0));
    assert_eq!(d.status(A).why.reason, Reason::OutOfMemory);
}

#[test]
fn memory_is_no_reason_to_act_on_what_is_paused_stopped_or_unlimited() {
    let mut d = Drive::up(vec![limited()]);
    d.order(Action::Pause, A);
    (0..9).for_each(|_| d.uses(u64::MAX));
    assert!(d.signals().is_empty());
    d.order(Action::Stop, A);
    d.take();
    (0..9).for_each(|_| d.uses(u64::MAX));
    assert!(d.signals().is_empty(), "it is being stopped already");
    let mut d = Drive::up(vec![bare("a")]);
    (0..9).for_each(|_| d.uses(u64::MAX));
    assert!(d.signals().is_empty());
}

#[test]
fn what_the_kernel_has_killed_for_want_of_memory_is_told_apart() {
    let kind = ExitKind::Signal { signal: Signal::KILL, core: false };
    for (spec, words) in [
        (limited(), "killed for want of memory (limit 64 MiB)"),
        (RealmSpec { memory_limit: None, ..limited() }, "killed by SIGKILL, out of memory"),
    ] {
        let mut d = Drive::stable(vec![spec]);
        d.exit(A, Exit { kind, oom: true });
        let record = d.status(A).restart.clone().unwrap();
        assert_eq!(record.cause, RestartCause::OutOfMemory);
        assert!(record.detail.starts_with(words), "{}", record.detail);
        assert_eq!(d.status(A).restarts.used, 1, "debited as any exit");
        d.launch_all();
        assert_eq!((d.word(A), d.status(A).why.reason), (Status::Restarting, Reason::OutOfMemory));
        d.wait(secs(60));
        assert_eq!(d.status(A).restart.as_ref().unwrap().result, Some(RestartResult::Verified));
    }
}

#[test]
fn limits_that_are_not_enforced_are_flagged_and_reported_once() {
    let mut d = Drive::up(vec![limited()]);
    for _ in 0..2 {
        let run = d.run(A);
        d.feed(Input::Run {
            realm: A,
            run,
            fact: RunFact::Unbounded { limits: vec!["memory".to_string(), "cpu".to_string()] },
        });
        assert!(d.status(A).flags.contains(&Flag::Unbounded));
    }
    let told = d.events.iter().filter(|event| matches!(event.kind, EventKind::Unbounded { .. })).count();
    assert_eq!(told, 1);
    d.exit(A, Exit::code(1));
    assert!(!d.status(A).flags.contains(&Flag::Unbounded), "nothing runs");
}

#[test]
fn a_signal_goes_to_the_main_process_or_to_all() {
    let mut d = Drive::up(vec![bare("a")]);
    let run = d.run(A);
    for (tree, expected) in [
        (false, Effect::SignalMain { realm: A, run, signal: Signal::HUP }),
        (true, Effect::Signal { realm: A, run, signal: Signal::HUP }),
    ] {
        d.take();
        assert!(matches!(d.signal(Signal::HUP, tree), Reply::Accepted { .. }));
        assert!(d.effects.contains(&expected), "{:?}", d.effects);
    }
    assert_eq!((d.phase(A), d.word(A)), (Phase::Running, Status::Up), "nothing else happens");
    // What it leads to is the realm's own doing.
    d.signal(Signal::KILL, false);
    d.exit(A, Exit::signal(Signal::KILL));
    assert_eq!(d.status(A).restart.as_ref().unwrap().cause, RestartCause::Exited);
}

#[test]
fn a_signal_to_a_realm_that_does_not_run_is_refused() {
    let mut d = Drive::boot(vec![external("a")]);
    for _ in 0..2 {
        match d.signal(Signal::HUP, false) {
            Reply::Refused { plan } => assert_eq!(plan.refusal, Some(Refusal::NotRunning(A))),
            other => panic!("{other:?}"),
        }
        d = Drive::boot(vec![bare("a")]);
    }
    let mut d = Drive::up(vec![bare("a")]);
    d.feed(Input::Shutdown { now: false });
    match d.signal(Signal::HUP, false) {
        Reply::Refused { plan } => assert_eq!(plan.refusal, Some(Refusal::ShuttingDown)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stop_command_that_fails_is_named_and_holds_nothing_up() {
    let mut spec = bare("a");
    spec.stop.command = true;
    let mut d = Drive::up(vec![spec]);
    d.order(Action::Stop, A);
    assert!(d.signals().is_empty());
    let run = d.run(A);
    let failure = Some("`flush`: exit code 3".to_string());
    d.feed(Input::Run { realm: A, run, fact: RunFact::HookDone { hook: Hook::Stop, failure } });
    assert_eq!(d.signals(), [(A, Signal::TERM)]);
    let named = d.events.iter().any(|event| {
        let fact = event.kind.fact().map(|(_, words)| words);
        fact.as_deref() == Some("stop.command failed: `flush`: exit code 3")
    });
    assert!(named, "{:?}", d.events);
}
