//! Green means recent: what is not being measured has no outcome, and its last result is history.

use heartbeat_status::{
    Exit, InconclusiveReason, Outcome, Phase, ProbeIx, ProbeKind, ProbeStatus, Reason, Status,
};
use heartbeat_supervisor::{Command, ProbeSource, ProbeSpec, RealmSpec};
use heartbeat_wire::Action;

use crate::drive::{A, Drive, FAIL, policy, probed, secs};

/// An HTTP probe, its port, and its process.
fn whole() -> RealmSpec {
    let mut spec = probed("a");
    let of = |name: &str, kind, source| {
        let info =
            heartbeat_status::ProbeInfo { name: name.into(), kind, ..probed("a").probes[0].info.clone() };
        ProbeSpec { info, source, grace: None }
    };
    spec.probes.push(of("port", ProbeKind::Port, ProbeSource::PortOf(ProbeIx(0))));
    spec.probes.push(of("process", ProbeKind::Process, ProbeSource::Process));
    spec
}

fn claims(probe: &ProbeStatus) -> Option<&'static str> {
    probe.last.as_ref().filter(|_| probe.current).map(|last| last.outcome.as_str())
}

/// The two measured probes are history, and the process tells its end, unless heartbeatd has ended it.
fn is_history(d: &mut Drive, process: Option<&str>) {
    let status = d.status(A);
    assert_eq!(
        status.probes.iter().map(claims).collect::<Vec<_>>(),
        [None, None, process],
        "{}",
        status.phase
    );
    let last = status.probes[0].last.as_ref().expect("the last result is kept");
    assert_eq!(last.outcome, Outcome::Pass);
    assert!(status.probes.iter().all(|probe| !probe.stale));
}

#[test]
fn nothing_is_claimed_of_a_realm_without_a_process() {
    let mut d = Drive::stable(vec![whole()]);
    d.order(Action::Stop, A);
    d.exit(A, Exit::code(0));
    assert_eq!(d.phase(A), Phase::Stopped);
    is_history(&mut d, None);

    let mut failed = whole();
    failed.restart = policy(|settings| settings.when = heartbeat_restart::RestartWhen::Never);
    let mut d = Drive::stable(vec![failed]);
    d.exit(A, Exit::code(1));
    assert_eq!(d.phase(A), Phase::Failed);
    is_history(&mut d, Some("fail"));

    let mut d = Drive::up(vec![whole()]);
    d.exit(A, Exit::code(1));
    assert_eq!(d.phase(A), Phase::Backoff);
    is_history(&mut d, Some("fail"));

    let mut exhausted = whole();
    exhausted.restart = policy(|settings| settings.burst = 1);
    let mut d = Drive::stable(vec![exhausted]);
    d.exit(A, Exit::code(1));
    d.launch_all();
    d.exit(A, Exit::code(1));
    assert_eq!(d.phase(A), Phase::Cooldown);
    is_history(&mut d, Some("fail"));

    let mut d = Drive::stable(vec![whole()]);
    d.command(Command { reason: Some("a look".into()), ..Command::new(Action::Pause, A) });
    d.exit(A, Exit::code(1));
    assert_eq!(d.word(A), Status::Paused);
    is_history(&mut d, Some("fail"));
}

#[test]
fn a_new_generation_claims_nothing_before_its_first_result() {
    let mut d = Drive::stable(vec![whole()]);
    d.exit(A, Exit::code(1));
    d.launch_all();
    assert_eq!(d.phase(A), Phase::Starting);
    assert_eq!(d.status(A).probes.iter().map(claims).collect::<Vec<_>>(), [None, None, Some("pass")]);
    d.until_measured(A);
    d.answer(A, FAIL);
    assert_eq!(claims(&d.status(A).probes[0]), Some("fail"));
}

#[test]
fn what_is_stopped_gets_no_incident_about_old_evidence() {
    let mut d = Drive::stable(vec![whole()]);
    d.order(Action::Stop, A);
    d.exit(A, Exit::code(0));
    d.wait(secs(600));
    let status = d.status(A);
    assert_eq!((status.status, d.sup.snapshot(d.now).incidents.len()), (Status::Stopped, 0));
    assert!(status.flags.is_empty(), "{:?}", status.flags);
}

#[test]
fn a_verdict_outlives_heartbeatd_with_its_old_time() {
    let mut d = Drive::stable(vec![whole()]);
    let before = d.now;
    d.wait(secs(2));
    d.killed(|_| heartbeat_supervisor::Found::Alive { pid: 100, launching: false });
    let probe = &d.status(A).probes[0];
    assert_eq!(claims(probe), Some("pass"));
    assert!(probe.last.as_ref().is_some_and(|last| last.at <= before), "no new evidence");
}

#[test]
fn a_stale_probe_says_what_prevents_a_conclusive_result() {
    let ours = Outcome::Inconclusive(InconclusiveReason::NameTemporary);
    let mut d = Drive::stable(vec![probed("a")]);
    d.detail = "200".into();
    d.wait_answering(secs(6), |_| Outcome::Pass);
    d.detail = "the resolver does not answer for shop.test".into();
    d.wait_answering(secs(6), |_| ours);
    assert_eq!(
        d.message(A),
        "http: 200; since then inconclusive: the resolver does not answer for shop.test"
    );
    let seen = d.status(A).probes[0].conclusive.clone().expect("the last conclusive result");
    assert_eq!((seen.outcome, seen.detail.as_str()), (Outcome::Pass, "200"));
    d.wait_answering(secs(40), |_| ours);
    let status = d.status(A);
    assert_eq!((status.status, status.why.reason), (Status::Unknown, Reason::Stale));
    let words = "http: the resolver does not answer for shop.test";
    assert_eq!(status.why.message, format!("no conclusive measurement for too long; {words}"));
    let incidents = d.sup.snapshot(d.now).incidents;
    assert_eq!(incidents[0].message, format!("no conclusive measurement of a for too long: {words}"));
    // Without words of its own the reason is said in words.
    d.detail.clear();
    d.wait_answering(secs(6), |_| ours);
    assert!(d.message(A).ends_with("http: the resolver does not answer"), "{}", d.message(A));
}

#[test]
fn a_process_that_was_ended_on_request_ran_until_then() {
    let mut d = Drive::stable(vec![whole()]);
    d.wait_answering(secs(600), |_| Outcome::Pass);
    d.order(Action::Stop, A);
    d.exit(A, Exit::code(0));
    let ended = d.now;
    d.wait(secs(60));
    let process = &d.status(A).probes[2];
    assert_eq!((claims(process), process.last.as_ref().map(|last| last.at)), (None, Some(ended)));
}
