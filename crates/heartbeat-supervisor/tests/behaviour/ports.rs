//! A realm that gets the port of one that is being ended waits for that, as for a need.

use heartbeat_status::{Exit, Phase, RealmIx, Reason, RunFact, Signal, Status};
use heartbeat_supervisor::{Effect, Found, Input, RealmSpec};

use crate::drive::{A, B, C, Depends, Drive, bare, secs};

fn at_port(mut spec: RealmSpec, port: u16) -> RealmSpec {
    spec.port = Some(port);
    spec
}

fn retired(mut spec: RealmSpec) -> RealmSpec {
    spec.retired = true;
    spec
}

/// `old` has another name now, and keeps its port.
fn renamed() -> Drive {
    let mut d = Drive::up(vec![at_port(bare("old"), 8001)]);
    let mut new = at_port(bare("new"), 8001);
    new.start.before = true;
    d.reload(vec![retired(at_port(bare("old"), 8001)), new, at_port(bare("other"), 8002)], &[]);
    d
}

fn hooks(d: &Drive) -> usize {
    d.effects.iter().filter(|effect| matches!(effect, Effect::Hook { .. })).count()
}

#[test]
fn a_renamed_realm_starts_once_the_one_with_the_old_name_is_gone() {
    let mut d = renamed();
    assert_eq!((d.signals(), d.starts(), hooks(&d)), (vec![(A, Signal::TERM)], vec![C], 0));
    let status = d.status(B);
    assert_eq!(
        (status.phase, status.status, status.why.reason),
        (Phase::Waiting, Status::Starting, Reason::WaitingForNeed)
    );
    assert_eq!(status.why.message, "waits for port 8001, which old still has");
    assert_eq!(status.why.next.when.as_deref(), Some("old has ended"));
    // It takes its time.
    d.wait(secs(9));
    assert_eq!((d.phase(B), hooks(&d)), (Phase::Waiting, 0));
    d.exit(A, Exit::signal(Signal::TERM));
    assert_eq!((d.phase(B), hooks(&d)), (Phase::Starting, 1));
    assert_eq!(d.sup.snapshot(d.now).incidents.len(), 0);
}

#[test]
fn a_realm_that_no_signal_ends_blocks_the_one_that_gets_its_port_in_one_incident() {
    let mut d = renamed();
    d.launch_all();
    d.wait(secs(20));
    let (old, new) = (d.status(A), d.status(B));
    assert_eq!((old.phase, new.status, &new.blocked_by), (Phase::Stuck, Status::Blocked, &vec![A]));
    assert_eq!(new.why.message, "needs port 8001, which old still has");
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    assert_eq!((incidents[0].root, &incidents[0].affected), (Some(A), &vec![B]));
    d.exit(A, Exit::signal(Signal::KILL));
    assert_eq!(d.phase(B), Phase::Starting);
    assert_eq!(d.sup.snapshot(d.now).incidents.len(), 0);
}

#[test]
fn two_realms_that_swap_their_ports_start_when_both_have_left_them() {
    let realms = |a, b| vec![at_port(bare("a"), a), at_port(bare("b"), b)];
    let mut d = Drive::up(realms(8001, 8002));
    d.reload(realms(8002, 8001), &[A, B]);
    d.take();
    d.exit(A, Exit::signal(Signal::TERM));
    d.wait(secs(5));
    assert_eq!((d.phase(A), d.starts()), (Phase::Waiting, vec![]), "b still has its port");
    assert!(d.message(A).contains("waits for port 8002, which b still has"), "{}", d.message(A));
    d.exit(B, Exit::signal(Signal::TERM));
    d.wait(secs(1));
    let mut starts = d.starts();
    starts.sort_unstable();
    assert_eq!(starts, [A, B]);
    d.launch_all();
    d.wait(secs(10));
    assert_eq!([A, B].map(|ix| d.word(ix)), [Status::Up; 2]);
    assert_eq!(d.sup.snapshot(d.now).incidents.len(), 0);
}

#[test]
fn a_new_realm_waits_for_one_that_gets_another_port() {
    let mut d = Drive::up(vec![at_port(bare("a"), 8001)]);
    d.reload(vec![at_port(bare("a"), 8002), at_port(bare("b"), 8001)], &[A]);
    assert_eq!((d.signals(), d.starts()), (vec![(A, Signal::TERM)], vec![]));
    d.exit(A, Exit::signal(Signal::TERM));
    d.wait(secs(1));
    assert_eq!(d.starts().len(), 2);
}

#[test]
fn a_dependent_is_ended_before_the_port_is_free_and_what_is_configured_to_share_a_port_waits_for_nothing() {
    let old = || at_port(bare("a"), 8001);
    let mut d = Drive::up(vec![old(), bare("b").needs(A)]);
    d.reload(vec![retired(old()), retired(bare("b").needs(A)), at_port(bare("c"), 8001)], &[]);
    assert_eq!((d.signals(), d.starts()), (vec![(B, Signal::TERM)], vec![]));
    d.exit(B, Exit::signal(Signal::TERM));
    assert_eq!(d.starts(), []);
    d.exit(A, Exit::signal(Signal::TERM));
    assert_eq!(d.starts(), [C]);
    // `restart` of a realm that keeps its port is its own matter.
    let mut d = Drive::up(vec![old(), at_port(bare("b"), 8001)]);
    d.reload(vec![old(), at_port(bare("b"), 8001)], &[A, B]);
    d.take();
    d.exit(B, Exit::signal(Signal::TERM));
    d.wait(secs(1));
    assert_eq!(d.starts(), [B]);
}

#[test]
fn the_wait_outlives_heartbeatd() {
    let mut d = renamed();
    d.launch_all();
    d.wait(secs(2));
    d.killed(|ix: RealmIx| match ix {
        B => Found::Nothing,
        _ => Found::Alive { pid: 100 + ix.0, launching: false },
    });
    assert_eq!((d.phase(A), d.phase(B), hooks(&d)), (Phase::Stopping, Phase::Waiting, 0));
    let run = d.run(A);
    let ended = RunFact::Exited { exit: Exit::signal(Signal::TERM), empty: false };
    d.feed(Input::Run { realm: A, run, fact: ended });
    assert_eq!(d.phase(B), Phase::Waiting, "processes of it are left");
    d.feed(Input::Run { realm: A, run, fact: RunFact::Emptied });
    assert_eq!((d.phase(B), hooks(&d)), (Phase::Starting, 1));
}
