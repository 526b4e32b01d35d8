//! What is remembered comes back, field by field: a record is taken up by a new realm, which remembers the same.

use alloc::string::ToString;
use alloc::vec;
use core::time::Duration;

use heartbeat_status::{ProbeInfo, ProbeKind, RealmName, Role, Thresholds};

use super::*;
use crate::ProbeSource;

const TARGET: &str = "http://127.0.0.1:1/";

fn spec(kind: RealmKind) -> RealmSpec {
    let mut spec = RealmSpec::service(RealmName::new("a").unwrap());
    spec.kind = kind;
    let info = ProbeInfo {
        name: "http".to_string(),
        kind: ProbeKind::Http,
        role: Role::Live,
        target: TARGET.to_string(),
        thresholds: Thresholds::default(),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
    };
    spec.probes.push(ProbeSpec { info, source: ProbeSource::Measured, grace: None });
    spec
}

fn exit() -> StoredExit {
    StoredExit { code: None, signal: Some((6, true)), oom: true }
}

/// Nothing in it is as it is in a new realm. A new field does not compile until it has its value here.
fn full(kind: RealmKind, state: StoredState) -> PersistedRealm {
    let (start_due, running) = (state == StoredState::Stopped, matches!(state, StoredState::Running { .. }));
    let stuck = matches!(state, StoredState::Stuck | StoredState::Unverified { .. });
    PersistedRealm {
        // Three that belong to a state.
        start_due,
        need_restart_due: running,
        stuck_for: stuck.then_some(RestartCause::Exited),
        run: 7,
        kind: kind.to_string(),
        state,
        desired: Some(Desired::Down),
        status: Some((Status::Down, 11)),
        resting: StoredRest::Operator(Some("deploy".to_string())),
        pause: Some(StoredPause { reason: "night".to_string(), until_ns: Some(12) }),
        held_by: Some(1_000),
        held_at: Some(WallTime::from_millis(13)),
        faulted: true,
        excuse: NeedState::Broken,
        pid: Some(14),
        started_ns: Some(15),
        last_exit: Some((exit(), 16)),
        ran_ns: Some(17),
        failure: Some("exit code 1 after 0.2 s".to_string()),
        gap_until_ns: 18,
        not_before_ns: 19,
        debits_ns: vec![20, 21],
        stable: true,
        attempts: 2,
        uncounted: 3,
        cooldowns: 4,
        restart: Some(StoredRestart {
            id: 22,
            cause: RestartCause::Unhealthy,
            detail: "http: Refused".to_string(),
            attempt: 5,
            steps: vec![(RestartStep::Detected, 23), (RestartStep::Stopped, 24)],
            result: Some(RestartResult::Failed),
        }),
        restarts_opened: 25,
        relapsed: true,
        excused: Some(26),
        healthy_since_ns: Some(27),
        refuses_since_ns: Some(38),
        suspicion: Some(StoredSuspicion { tried: true, alone_since_ns: Some(39) }),
        cleared_ns: Some(40),
        port_conflict: Some("pid 99 holds its port".to_string()),
        failed_start: Some(StoredFailedStart {
            failure: StartFailure::HostExhausted,
            message: "no process".to_string(),
            since_ns: 28,
            cooldowns: 6,
        }),
        ordered_in_pause: true,
        keep_run: true,
        renewal_due: true,
        done_once: true,
        asked_for: true,
        said: StoredSaid {
            ready: true,
            reloading: true,
            stopping: true,
            triggered: true,
            status: Some("loading".to_string()),
            watchdog_ns: Some(29),
            extended_ns: Some(30),
        },
        probes: vec![StoredProbe {
            name: "http".to_string(),
            target: alloc::format!("http {TARGET}"),
            passing: Some(false),
            passes: 0,
            fails: 3,
            recent: 0b111,
            recent_len: 3,
            passed_once: true,
            last: Some(StoredResult {
                outcome: StoredOutcome::Fail(FailReason::Refused, Some(ProbePhase::Connect)),
                detail: "connection refused".to_string(),
                at_ns: 31,
                latency_ns: Some(32),
            }),
            stale: true,
            conclusive_ns: Some(33),
            last_pass_ns: Some(34),
            first_fail_ns: Some(35),
            last_fail_ns: Some(36),
            blamed: true,
            flaps: 0b101,
            flapping: true,
            skipped: 37,
        }],
    }
}

fn states() -> Vec<StoredState> {
    vec![
        StoredState::Waiting,
        StoredState::Mended,
        StoredState::Preparing { launching: true, before: false },
        StoredState::Preparing { launching: false, before: true },
        StoredState::Started,
        StoredState::Running { ready_ns: 40 },
        StoredState::Stopping {
            cause: Some(RestartCause::Reloaded),
            exit: Some(exit()),
            killing: true,
            launching: false,
            told: false,
            deadline_ns: 41,
        },
        StoredState::Stopping {
            cause: None,
            exit: None,
            killing: false,
            launching: false,
            told: true,
            deadline_ns: 44,
        },
        StoredState::Backoff { until_ns: 42 },
        StoredState::Cooldown { until_ns: 43, why: StoredWhy::Gone(RestartCause::Unhealthy) },
        StoredState::Stopped,
        StoredState::Failed { why: StoredWhy::Exited(exit()) },
        StoredState::Done,
        StoredState::Stuck,
        StoredState::Unverified { what: "pid 7".to_string() },
        StoredState::External,
    ]
}

#[test]
fn what_is_remembered_is_taken_up_field_by_field() {
    for state in states() {
        let spec = spec(RealmKind::Oneshot);
        let record = full(RealmKind::Oneshot, state);
        let mut realm = Realm::new(&spec);
        realm.take_up(&spec, record.clone());
        assert_eq!(realm.record(&spec, Some(Instant::from_nanos(41))), record);
    }
}

#[test]
fn a_record_survives_being_written_and_read() {
    for state in states() {
        let record = full(RealmKind::Oneshot, state);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<PersistedRealm>(&text).unwrap(), record, "{text}");
    }
}

#[test]
fn a_probe_that_measures_something_else_begins_anew() {
    let mut spec = spec(RealmKind::Service);
    spec.probes[0].info.target = "http://127.0.0.1:2/".to_string();
    let mut realm = Realm::new(&spec);
    realm.take_up(&spec, full(RealmKind::Service, StoredState::Running { ready_ns: 40 }));
    let probe = &realm.evidence.probes[0];
    assert_eq!((probe.tally.verdict(), probe.last.is_none(), probe.stale), (None, true, false));
}

#[test]
fn a_realm_of_another_kind_begins_anew_with_its_numbers() {
    let spec = spec(RealmKind::Service);
    let mut realm = Realm::new(&spec);
    realm.take_up(&spec, full(RealmKind::Oneshot, StoredState::Done));
    assert_eq!(
        (realm.generation.run, realm.history.restarts_opened),
        (RunId(7), 25),
        "late answers find nobody"
    );
    assert!(matches!(realm.state, State::Waiting(_)) && realm.generation.pid.is_none());
}
