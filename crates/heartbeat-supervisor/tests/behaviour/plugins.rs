//! Probes that run a command.

use std::time::Duration;

use heartbeat_status::{
    FailReason, InconclusiveReason, Outcome, ProbeKind, RestartCause, Role, Signal, Status,
};
use heartbeat_supervisor::RealmSpec;

use crate::drive::{A, Drive, probed, secs};

/// The plugin exits 3, or cannot run.
const UNKNOWN: Outcome = Outcome::Inconclusive(InconclusiveReason::PluginUnknown);
/// heartbeatd could not start it.
const OURS: Outcome = Outcome::Inconclusive(InconclusiveReason::MonitorResources);

fn checked(name: &str, kind: ProbeKind) -> RealmSpec {
    let mut spec = probed(name);
    spec.probes[0].info.kind = kind;
    spec
}

#[test]
fn a_plugin_that_cannot_tell_does_not_start_for_ever() {
    let mut d = Drive::boot(vec![checked("a", ProbeKind::Nagios)]);
    d.launch_all();
    d.wait_answering(secs(59), |_| UNKNOWN);
    assert_eq!(d.signals(), []);
    d.wait_answering(secs(2), |_| UNKNOWN);
    assert_eq!(d.signals(), [(A, Signal::TERM)], "`start.timeout` ends its start");
    let cause = d.status(A).restart.as_ref().map(|record| record.cause);
    assert_eq!(cause, Some(RestartCause::StartTimedOut));
}

#[test]
fn a_heartbeat_that_has_not_come_is_no_problem_of_heartbeatd() {
    const NOTHING_YET: Outcome = Outcome::Inconclusive(InconclusiveReason::NoBeatYet);
    let mut d = Drive::boot(vec![checked("a", ProbeKind::Push)]);
    d.launch_all();
    d.wait_answering(secs(59), |_| NOTHING_YET);
    assert_eq!(d.signals(), []);
    d.wait_answering(secs(2), |_| NOTHING_YET);
    assert_eq!(d.signals(), [(A, Signal::TERM)], "`start.timeout` ends its start");
    let mut d = Drive::up(vec![checked("a", ProbeKind::Push)]);
    d.wait_answering(secs(60), |_| NOTHING_YET);
    assert_eq!((d.word(A), d.sup.snapshot(d.now).incidents.len()), (Status::Unknown, 0));
}

#[test]
fn what_a_realm_has_sent_is_looked_at_as_often_while_it_is_down() {
    let mut spec = checked("a", ProbeKind::Push);
    spec.probes[0].info.role = Role::Ready;
    let mut d = Drive::up(vec![spec]);
    let failed = Outcome::Fail { reason: FailReason::MissedBeat, phase: None };
    let interval = |d: &mut Drive| d.status(A).probes[0].interval;
    let before = interval(&mut d);
    d.wait_answering(secs(300), |_| failed);
    assert_eq!(interval(&mut d), before, "it does not grow");
}

#[test]
fn a_plugin_that_we_could_not_start_ends_no_start() {
    let mut d = Drive::boot(vec![checked("a", ProbeKind::Nagios)]);
    d.launch_all();
    d.wait_answering(secs(300), |_| OURS);
    assert_eq!(d.signals(), []);
}

#[test]
fn a_plugin_that_cannot_tell_any_more_is_its_own_problem() {
    let mut d = Drive::up(vec![checked("a", ProbeKind::Nagios)]);
    d.wait_answering(secs(60), |_| UNKNOWN);
    assert_eq!(d.word(A), Status::Unknown);
    assert_eq!(d.signals(), [], "no evidence, no action");
    let opened = |d: &mut Drive| d.sup.snapshot(d.now).incidents.len();
    assert_eq!(opened(&mut d), 0, "heartbeatd has no problem of its own");
    let mut d = Drive::up(vec![checked("a", ProbeKind::Nagios)]);
    d.wait_answering(secs(60), |_| OURS);
    assert_eq!((d.word(A), opened(&mut d)), (Status::Unknown, 1));
}

#[test]
fn a_socket_that_cannot_be_attributed_makes_that_fact_alone_inconclusive() {
    const UNKNOWN_OWNER: Outcome = Outcome::Inconclusive(InconclusiveReason::Unattributable);
    let mut spec = probed("a");
    let mut port = spec.probes[0].clone();
    (port.info.name, port.info.kind) = ("port".to_string(), ProbeKind::Port);
    spec.probes.push(port);
    let mut d = Drive::boot(vec![spec]);
    d.launch_all();
    for _ in 0..40 {
        d.until_measured(A);
        d.answer_probes(A, [Outcome::Pass, UNKNOWN_OWNER]);
    }
    let status = d.status(A);
    assert_eq!(status.status, Status::Up, "{}", status.why.message);
    assert_eq!(status.probes[1].last.as_ref().map(|last| last.outcome), Some(UNKNOWN_OWNER));
    assert_eq!(d.sup.snapshot(d.now).incidents.len(), 0, "heartbeatd has no problem of its own");
}

#[test]
fn commands_run_at_most_once_per_second() {
    for kind in [ProbeKind::Exec, ProbeKind::Nagios] {
        let mut d = Drive::boot(vec![checked("a", kind)]);
        d.launch_all();
        assert_eq!(d.status(A).probes[0].interval, Some(secs(1)), "{kind}: while it starts");
    }
    let mut d = Drive::boot(vec![checked("a", ProbeKind::Http)]);
    d.launch_all();
    assert_eq!(d.status(A).probes[0].interval, Some(Duration::from_millis(250)));
}
