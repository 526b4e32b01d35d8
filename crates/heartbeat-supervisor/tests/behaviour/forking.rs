//! A program that makes a daemon of itself: until its pid file names the daemon, nothing proves that the realm runs.

use heartbeat_status::{
    Exit, Outcome, Phase, ProbeInfo, ProbeKind, Reason, Role, RunFact, Status, Thresholds,
};
use heartbeat_supervisor::{Found, Input, ProbeSource, ProbeSpec, RealmSpec};

use crate::drive::{A, B, Depends, Drive, bare, probed, secs};

/// With the probe of its process, as every realm with `run` has it.
fn watched(name: &str) -> RealmSpec {
    let mut spec = bare(name);
    let info = ProbeInfo {
        name: "process".to_string(),
        kind: ProbeKind::Process,
        role: Role::Live,
        target: "its process".to_string(),
        thresholds: Thresholds::new(1, 1, None).expect("good thresholds"),
        interval: secs(5),
        timeout: secs(2),
    };
    spec.probes.push(ProbeSpec { info, source: ProbeSource::Process, grace: None });
    spec
}

impl Drive {
    fn tell(&mut self, fact: RunFact) {
        let run = self.run(A);
        self.feed(Input::Run { realm: A, run, fact });
    }
}

fn is_not_up(d: &mut Drive) {
    assert_eq!(d.word(A), Status::Starting);
    let status = d.status(A);
    assert_eq!((status.why.reason, status.process.pid), (Reason::Starting, None));
    assert!(status.why.message.starts_with("its program has ended"), "{}", status.why.message);
    let process = status.info.probes.iter().position(|probe| probe.kind == ProbeKind::Process);
    assert!(process.is_none_or(|at| !status.probes[at].current), "there is no process to report on");
}

#[test]
fn a_dependent_waits_until_the_daemon_is_known() {
    for spec in [bare("a"), watched("a")] {
        let mut d = Drive::boot(vec![spec, bare("b").needs(A)]);
        d.take();
        d.started(A);
        d.tell(RunFact::Forked);
        d.wait(secs(4));
        is_not_up(&mut d);
        assert_eq!((d.word(B), d.starts()), (Status::Starting, vec![]));
        d.tell(RunFact::MainChanged { pid: 4_711 });
        d.wait(secs(2));
        assert_eq!((d.word(A), d.status(A).process.pid, d.starts()), (Status::Up, Some(4_711), vec![B]));
    }
}

#[test]
fn probes_that_pass_prove_nothing_about_a_daemon_that_is_not_known() {
    let mut d = Drive::boot(vec![probed("a")]);
    d.take();
    d.started(A);
    d.tell(RunFact::Forked);
    d.wait_answering(secs(4), |_| Outcome::Pass);
    is_not_up(&mut d);
    d.tell(RunFact::MainChanged { pid: 4_711 });
    assert_eq!(d.word(A), Status::Up);
}

#[test]
fn a_running_realm_whose_main_process_may_have_forked_is_not_up() {
    for spec in [bare("a"), watched("a"), probed("a")] {
        let mut d = Drive::stable(vec![spec, bare("b").needs(A)]);
        d.tell(RunFact::Forked);
        is_not_up(&mut d);
        assert_eq!(d.word(B), Status::Up, "nothing has failed");
        d.wait_answering(secs(4), |_| Outcome::Pass);
        is_not_up(&mut d);
        d.exit(A, Exit::code(0));
        assert_eq!((d.word(A), d.phase(A)), (Status::Restarting, Phase::Starting));
        let mut d = Drive::stable(vec![probed("a")]);
        d.tell(RunFact::Forked);
        d.tell(RunFact::MainChanged { pid: 4_711 });
        assert_eq!(d.word(A), Status::Up);
    }
}

#[test]
fn the_next_heartbeatd_knows_no_daemon_either() {
    for spec in [bare("a"), watched("a"), probed("a")] {
        let mut d = Drive::stable(vec![spec]);
        d.killed(|_| Found::Forked { pid: 100 });
        is_not_up(&mut d);
        d.wait_answering(secs(4), |_| Outcome::Pass);
        is_not_up(&mut d);
        d.tell(RunFact::MainChanged { pid: 4_711 });
        assert_eq!(d.word(A), Status::Up);
        d.tell(RunFact::Forked);
        d.killed(|_| Found::Alive { pid: 4_712, launching: false });
        assert_eq!((d.word(A), d.status(A).process.pid), (Status::Up, Some(4_712)), "it was found meanwhile");
    }
}
