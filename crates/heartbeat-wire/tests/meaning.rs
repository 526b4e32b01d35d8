//! What a change means to a reader: which change of a realm moves the revision, and what its document claims.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{
    DaemonPhase, Desired, FailReason, Flag, Health, Instant, LastResult, Mute, Next, NextAction, Outcome,
    Pause, Phase, PhaseTimes, ProbeInfo, ProbeKind, ProbePhase, ProbeStatus, Progress, RealmInfo, RealmIx,
    RealmKind, RealmName, RealmStatus, Reason, Role, RunId, SaidState, Says, Snapshot, StartFailure, Status,
    Thresholds, Verdict, WallAnchor, WallTime, Why,
};
use heartbeat_wire::{About, LagEntry, ProbeEntry, RealmDocument};

const AT: Instant = Instant::from_millis(5_000);

fn result(outcome: Outcome) -> LastResult {
    LastResult {
        outcome,
        detail: "what it says".to_owned(),
        at: AT,
        latency: Some(Duration::from_millis(3)),
        phases: PhaseTimes { connect: Some(Duration::from_millis(1)), ..PhaseTimes::default() },
    }
}

fn info() -> RealmInfo {
    let probe = ProbeInfo {
        name: "http".to_owned(),
        kind: ProbeKind::Http,
        role: Role::Live,
        target: "http://127.0.0.1:1/".to_owned(),
        thresholds: Thresholds::default(),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
    };
    RealmInfo {
        ix: RealmIx(0),
        name: RealmName::new("api").expect("a good name"),
        title: None,
        docs: None,
        owner: None,
        kind: RealmKind::Service,
        group: None,
        labels: BTreeMap::new(),
        critical: true,
        port: None,
        restarts: true,
        restart_command: false,
        registered: false,
        tier: 1,
        order: 0,
        needs: Vec::new(),
        needed_by: Vec::new(),
        probes: vec![probe],
    }
}

/// One realm with one probe that passes.
fn up() -> RealmStatus {
    let probe = ProbeStatus {
        last: Some(result(Outcome::Pass)),
        current: true,
        conclusive: None,
        verdict: Some(Verdict::Passing),
        passes: 2,
        fails: 1,
        progress: Progress { count: 2, goal: 2 },
        interval: Some(Duration::from_secs(5)),
        next_at: Some(AT),
        stale: false,
        skipped: 0,
    };
    let next = Next::at(NextAction::Probe, AT);
    RealmStatus {
        info: Arc::new(info()),
        desired: Desired::Up,
        phase: Phase::Running,
        health: Health::Healthy,
        pause: None,
        mute: None,
        status: Status::Up,
        why: Why { reason: Reason::Healthy, message: "healthy".to_owned(), since: AT, next },
        start_failure: None,
        flags: Default::default(),
        process: Default::default(),
        stopped_at: None,
        says: Some(Says { state: SaidState::Ready, status: None, watchdog: None }),
        restarts: Default::default(),
        restart: None,
        probes: vec![probe],
        needs: Vec::new(),
        blocked_by: Vec::new(),
        suspects: Vec::new(),
    }
}

type Change = (&'static str, fn(&mut RealmStatus));

/// Whether a realm means the same before and after a change, asked from both sides.
fn same(change: impl FnOnce(&mut RealmStatus)) -> bool {
    let mut other = up();
    change(&mut other);
    let same = up().means_the_same(&other);
    assert_eq!(same, other.means_the_same(&up()));
    assert!(other.means_the_same(&other.clone()));
    same
}

#[test]
fn every_change_of_meaning_moves_the_revision() {
    let changes: &[Change] = &[
        ("status", |realm| realm.status = Status::Degraded),
        ("reason", |realm| realm.why.reason = Reason::Slow),
        ("since", |realm| realm.why.since = Instant::from_millis(5_001)),
        ("what comes next", |realm| realm.why.next.action = NextAction::Restart),
        ("the kind of a failed start", |realm| realm.start_failure = Some(StartFailure::PortTaken)),
        ("phase", |realm| realm.phase = Phase::Stopping),
        ("health", |realm| realm.health = Health::Degraded),
        ("desired", |realm| realm.desired = Desired::Down),
        ("a pause", |realm| realm.pause = Some(Pause { reason: "a look".to_owned(), until: None })),
        ("a mute", |realm| {
            let (reason, by) = ("a move".to_owned(), "uid 0".to_owned());
            realm.mute = Some(Mute { reason, until: WallTime::from_millis(1), by });
        }),
        ("pid", |realm| realm.process.pid = Some(8)),
        ("generation", |realm| realm.process.run = RunId(8)),
        ("what it reports", |realm| {
            realm.says = Some(Says { state: SaidState::Reloading, status: None, watchdog: None });
        }),
        ("it reports nothing any more", |realm| realm.says = None),
        ("a broken need", |realm| realm.blocked_by = vec![RealmIx(1)]),
        ("a suspect", |realm| realm.suspects = vec![RealmIx(1)]),
        ("a restart", |realm| realm.restarts.total += 1),
        ("the verdict of a probe", |realm| realm.probes[0].verdict = Some(Verdict::Failing)),
        ("a stale probe", |realm| realm.probes[0].stale = true),
        ("a probe more", |realm| realm.probes.push(realm.probes[0].clone())),
        ("a probe less", |realm| realm.probes.clear()),
    ];
    for (what, change) in changes {
        assert!(!same(change), "{what}");
    }
    for flag in Flag::ALL {
        let with_flag = |realm: &mut RealmStatus| {
            realm.flags.insert(*flag);
        };
        assert!(!same(with_flag), "the flag {flag}");
    }
}

#[test]
fn new_figures_alone_move_no_revision() {
    let changes: &[Change] = &[
        ("words", |realm| realm.why.message = "healthy for 2 s".to_owned()),
        ("the time of what comes next", |realm| realm.why.next.at = None),
        ("its own words", |realm| {
            let status = Some("request 7".to_owned());
            realm.says = Some(Says { state: SaidState::Ready, status, watchdog: None });
        }),
        ("a measurement", |realm| {
            let probe = &mut realm.probes[0];
            (probe.passes, probe.fails, probe.skipped) = (9, 0, 4);
            (probe.next_at, probe.interval) = (None, Some(Duration::from_secs(1)));
            probe.last = None;
        }),
        ("the budget", |realm| realm.restarts.used += 1),
    ];
    for (what, change) in changes {
        assert!(same(change), "{what}");
    }
}

/// The probe of the realm, as a document shows it.
fn rendered(realm: RealmStatus) -> ProbeEntry {
    let realm = Arc::new(realm);
    let snapshot = Snapshot {
        revision: 1,
        at: AT,
        phase: DaemonPhase::Running,
        realms: vec![Arc::clone(&realm)],
        incidents: Vec::new(),
        start_order: [RealmIx(0)].into(),
        ignored: 0,
    };
    let about = About {
        instance: "k3v9".to_owned(),
        name: "shop".to_owned(),
        version: "0.1.0".to_owned(),
        started_at: AT,
        health: Health::Healthy,
        notes: Vec::new(),
        lag: LagEntry::default(),
        config_revision: 1,
        config_problem: None,
        anchor: WallAnchor { instant: AT, wall: WallTime::from_millis(0) },
        public: false,
        incident_ids: Vec::new(),
        figures: Arc::default(),
        objectives: Arc::default(),
        usage: Default::default(),
    };
    let past = (Vec::new(), Vec::new(), Vec::new());
    let document = RealmDocument::render(&snapshot, &realm, past, &about, AT);
    document.realm.probes.into_iter().next().expect("its one probe")
}

/// Whatever a probe has found last: it is a claim only while the probe is being measured, and history otherwise.
#[test]
fn a_probe_claims_what_it_measures_now_and_nothing_else() {
    let fail = Outcome::Fail { reason: FailReason::Refused, phase: Some(ProbePhase::Connect) };
    for outcome in [Outcome::Pass, fail] {
        for current in [true, false] {
            let mut realm = up();
            (realm.probes[0].current, realm.probes[0].last) = (current, Some(result(outcome)));
            let probe = rendered(realm);
            let failed = outcome == fail;
            let claims = [
                probe.outcome.is_some(),
                probe.at.is_some(),
                probe.latency_ms.is_some(),
                probe.phases_ms.is_some(),
                probe.detail.is_some(),
                probe.passes == 2 && probe.fails == 1 && probe.progress == "2/2",
            ];
            assert_eq!(claims, [current; 6], "{probe:?}");
            let of_failure = [probe.reason.is_some(), probe.phase.is_some()];
            assert_eq!(of_failure, [current && failed; 2], "{probe:?}");
            assert!(
                current || (probe.passes, probe.fails, probe.progress.as_str()) == (0, 0, ""),
                "{probe:?}"
            );
            let history = probe.last.as_ref().map(|last| last.outcome.as_str());
            assert_eq!(history, (!current).then_some(outcome.as_str()), "{probe:?}");
        }
    }
    let mut never = up();
    never.probes[0].last = None;
    let probe = rendered(never);
    assert!(probe.outcome.is_none() && probe.last.is_none(), "{probe:?}");
}
