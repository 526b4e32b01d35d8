//! A random plan: 3 to 12 realms, acyclic edges, probes and policies of every kind.

use std::time::Duration;

use heartbeat_restart::{PolicySettings, RestartPolicy, RestartWhen, WhenSpent};
use heartbeat_status::{
    EdgeKind, Gate, NameError, ProbeInfo, ProbeIx, ProbeKind, RealmIx, RealmKind, RealmName, Role, Signal,
    ThresholdError, Thresholds, WhileDown,
};
use heartbeat_supervisor::{NeedSpec, Plan, PlanSettings, ProbeSource, ProbeSpec, RealmSpec, SignalTo};

use crate::ScenarioError;

/// The port of the first realm; each has one of its own.
const FIRST_PORT: u16 = 8_000;
/// Smallest and largest number of realms.
const REALMS: std::ops::RangeInclusive<usize> = 3..=12;

fn millis(rng: &mut fastrand::Rng, range: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

fn one_in(rng: &mut fastrand::Rng, n: u32) -> bool {
    rng.u32(0..n) == 0
}

/// The plan of a seed.
///
/// # Errors
/// [`ScenarioError`]: the generator made something the core refuses, which is a fault of the generator.
pub(crate) fn plan(rng: &mut fastrand::Rng) -> Result<Plan, ScenarioError> {
    let count = rng.usize(REALMS);
    // A realm's place in the dependency order is independent of its index.
    let mut order: Vec<usize> = (0..count).collect();
    rng.shuffle(&mut order);
    let kinds: Vec<RealmKind> = (0..count)
        .map(|_| match rng.u32(0..10) {
            0 => RealmKind::External,
            1 | 2 => RealmKind::Oneshot,
            _ => RealmKind::Service,
        })
        .collect();
    let mut realms = Vec::new();
    for (at, kind) in kinds.iter().enumerate() {
        realms.push(realm(rng, at, *kind)?);
        realms[at].port = u16::try_from(at).ok().map(|at| FIRST_PORT + at);
    }
    let density = rng.u32(2..6);
    for place in 1..count {
        for earlier in 0..place {
            let (from, to) = (order[place], order[earlier]);
            if kinds[from] == RealmKind::External || !one_in(rng, density) {
                continue;
            }
            realms[from].needs.push(need(rng, to, kinds[to]));
        }
    }
    // Now and then a realm takes a companion along when it is restarted.
    for (at, realm) in realms.iter_mut().enumerate() {
        if one_in(rng, 8) {
            let other = rng.usize(0..count);
            if other != at && kinds[other] == RealmKind::Service {
                realm.restart_with.push(index(other));
            }
        }
    }
    let settings = PlanSettings {
        start_parallel: rng.u32(1..5),
        shutdown_timeout: millis(rng, 5_000..=60_000),
        ..PlanSettings::default()
    };
    Ok(Plan::new(settings, realms)?)
}

/// A plan that takes the place of another one.
pub(crate) struct Varied {
    pub(crate) plan: Plan,
    /// Realms whose process is made of something else.
    pub(crate) restart: Vec<RealmIx>,
}

/// What an operator has written while `plan` was in force: probes that come, go and change, realms that go and come
/// back.
///
/// # Errors
/// As [`plan`].
pub(crate) fn vary(seed: u64, plan: &Plan) -> Result<Varied, ScenarioError> {
    let rng = &mut fastrand::Rng::with_seed(seed);
    let mut realms = plan.realms().to_vec();
    let before: Vec<bool> = realms.iter().map(|realm| realm.retired).collect();
    let mut restart = Vec::new();
    for at in 0..realms.len() {
        let kind = realms[at].kind;
        if one_in(rng, 4) {
            realms[at].probes = probes(rng, kind)?;
        }
        if one_in(rng, 6) {
            turn(&mut realms, at);
        }
        if kind == RealmKind::External {
            continue;
        }
        if one_in(rng, 6) {
            realms[at].stop.timeout = millis(rng, 500..=10_000);
            realms[at].start.settle = millis(rng, 0..=2_000);
        }
        if one_in(rng, 6) {
            realms[at].manual = !realms[at].manual;
        }
        if one_in(rng, 5) && !realms[at].retired {
            restart.push(index(at));
        }
    }
    hand_ports_on(&mut realms, &before, &restart);
    Ok(Varied { plan: Plan::new(*plan.settings(), realms)?, restart })
}

/// Realms that run anew exchange their ports, as do one that goes and one that comes.
fn hand_ports_on(realms: &mut [RealmSpec], were_retired: &[bool], restart: &[RealmIx]) {
    let turned = |to: bool| {
        let mut turned = realms.iter().zip(were_retired).enumerate();
        turned.find(|(_, (realm, was))| realm.retired == to && **was != to).map(|(at, _)| at)
    };
    let moved = turned(true).zip(turned(false));
    let anew = restart.windows(2).map(|pair| (pair[0].index(), pair[1].index()));
    for (one, other) in anew.chain(moved) {
        (realms[one].port, realms[other].port) = (realms[other].port, realms[one].port);
    }
}

/// What has been written while heartbeatd was away: some probes measure something else.
///
/// # Errors
/// As [`plan`].
pub(crate) fn retarget(rng: &mut fastrand::Rng, plan: &Plan) -> Result<Plan, ScenarioError> {
    let mut realms = plan.realms().to_vec();
    for realm in &mut realms {
        for probe in realm.probes.iter_mut().filter(|probe| probe.source == ProbeSource::Measured) {
            if one_in(rng, 3) {
                probe.info.target = format!("http://127.0.0.1:{}/", rng.u16(2..));
            }
        }
    }
    Ok(Plan::new(*plan.settings(), realms)?)
}

/// Removes a realm without dependents, or brings it back if everything that it depends on is there.
fn turn(realms: &mut [RealmSpec], at: usize) {
    let ix = index(at);
    let depends = |spec: &RealmSpec| {
        spec.needs.iter().map(|need| need.realm).chain(spec.restart_with.iter().copied()).collect::<Vec<_>>()
    };
    let possible = if realms[at].retired {
        depends(&realms[at]).iter().all(|ix| !realms[ix.index()].retired)
    } else {
        realms.iter().all(|other| other.retired || !depends(other).contains(&ix))
    };
    if possible {
        realms[at].retired = !realms[at].retired;
    }
}

fn index(at: usize) -> RealmIx {
    RealmIx(u32::try_from(at).unwrap_or(u32::MAX))
}

fn need(rng: &mut fastrand::Rng, to: usize, kind: RealmKind) -> NeedSpec {
    let edge = match rng.u32(0..10) {
        0 => EdgeKind::After,
        1 | 2 => EdgeKind::Wants,
        _ => EdgeKind::Needs,
    };
    let until = match kind {
        RealmKind::Oneshot if one_in(rng, 5) => Gate::Started,
        RealmKind::Oneshot => Gate::Done,
        RealmKind::Service if one_in(rng, 5) => Gate::Started,
        RealmKind::Service | RealmKind::External => Gate::Up,
    };
    let while_down = match rng.u32(0..5) {
        0 => WhileDown::Stop,
        1 => WhileDown::Restart,
        _ => WhileDown::Ride,
    };
    NeedSpec { realm: index(to), kind: edge, until, while_down }
}

fn realm(rng: &mut fastrand::Rng, at: usize, kind: RealmKind) -> Result<RealmSpec, ScenarioError> {
    // Names do not sort as the indices do.
    let letter = char::from(b'a' + u8::try_from((at * 7) % 26).unwrap_or(0));
    let mut spec = RealmSpec::service(name(&format!("{letter}-{at}"))?);
    spec.kind = kind;
    spec.critical = rng.bool();
    spec.manual = kind != RealmKind::External && one_in(rng, 8);
    spec.probes = probes(rng, kind)?;
    if kind == RealmKind::External {
        if one_in(rng, 2) {
            spec.restart_command = true;
            spec.start.timeout = Some(millis(rng, 3_000..=60_000));
            spec.restart = policy(rng, kind)?;
        }
        return Ok(spec);
    }
    spec.restart_command = kind == RealmKind::Service && one_in(rng, 4);
    spec.memory_limit = one_in(rng, 3).then_some(MEMORY_LIMIT_BYTES);
    spec.start.timeout = match kind {
        RealmKind::Oneshot if rng.bool() => None,
        _ => Some(millis(rng, 3_000..=60_000)),
    };
    spec.start.settle = millis(rng, 0..=2_000);
    spec.start.before = one_in(rng, 5);
    spec.start.after = one_in(rng, 5);
    spec.stop.timeout = millis(rng, 500..=10_000);
    spec.stop.command = one_in(rng, 5);
    spec.stop.signal_to = [SignalTo::Main, SignalTo::Tree][rng.usize(0..2)];
    spec.stop.signal = [Signal::TERM, Signal::INT, Signal::KILL][rng.usize(0..3)];
    spec.restart = policy(rng, kind)?;
    Ok(spec)
}

/// What realms with a limit of memory may have, in bytes.
pub(crate) const MEMORY_LIMIT_BYTES: u64 = 1 << 20;

fn name(text: &str) -> Result<RealmName, NameError> {
    RealmName::new(text)
}

fn policy(rng: &mut fastrand::Rng, kind: RealmKind) -> Result<RestartPolicy, ScenarioError> {
    let base = if kind == RealmKind::Oneshot { PolicySettings::oneshot() } else { PolicySettings::service() };
    let when = match rng.u32(0..10) {
        0 => RestartWhen::Never,
        1 => RestartWhen::OnFailure,
        _ => base.when,
    };
    let cooldown = millis(rng, 5_000..=30_000);
    let settings = PolicySettings {
        when,
        never_codes: if one_in(rng, 6) { vec![7] } else { Vec::new() },
        success_codes: if one_in(rng, 6) { vec![3] } else { Vec::new() },
        backoff: millis(rng, 100..=1_000),
        backoff_max: millis(rng, 1_000..=10_000),
        jitter_percent: rng.u8(0..=50),
        min_gap: millis(rng, 0..=500),
        reset_after: millis(rng, 5_000..=60_000),
        burst: rng.u32(1..7),
        window: millis(rng, 20_000..=600_000),
        when_spent: if one_in(rng, 4) { WhenSpent::Fail } else { WhenSpent::Cooldown },
        cooldown,
        cooldown_max: cooldown * rng.u32(1..3),
        verify_for: millis(rng, 0..=5_000),
    };
    Ok(RestartPolicy::new(settings)?)
}

fn thresholds(rng: &mut fastrand::Rng) -> Result<Thresholds, ThresholdError> {
    Thresholds::new(rng.u32(1..4), rng.u32(1..4), None)
}

fn probes(rng: &mut fastrand::Rng, kind: RealmKind) -> Result<Vec<ProbeSpec>, ScenarioError> {
    let mut probes = Vec::new();
    if kind == RealmKind::Oneshot && rng.bool() {
        return Ok(probes);
    }
    let measured = if kind == RealmKind::Oneshot { rng.usize(0..2) } else { rng.usize(0..3) };
    for at in 0..measured {
        let interval = millis(rng, 1_000..=10_000);
        let timeout = millis(rng, 100..=1_000);
        let role = match rng.u32(0..6) {
            0 => Role::Ready,
            1 => Role::Info,
            _ => Role::Live,
        };
        let kind = if one_in(rng, 6) { ProbeKind::Exec } else { ProbeKind::Http };
        let grace = if one_in(rng, 4) { Some(millis(rng, 0..=5_000)) } else { None };
        let info = ProbeInfo {
            name: format!("probe{at}"),
            kind,
            role,
            target: "http://127.0.0.1:1/".to_string(),
            thresholds: thresholds(rng)?,
            interval,
            timeout,
        };
        probes.push(ProbeSpec { info, source: ProbeSource::Measured, grace });
    }
    if measured > 0 && one_in(rng, 3) {
        let info = ProbeInfo { name: "port".to_string(), kind: ProbeKind::Port, ..probes[0].info.clone() };
        probes.push(ProbeSpec { info, source: ProbeSource::PortOf(ProbeIx(0)), grace: None });
    }
    if kind == RealmKind::Service && one_in(rng, 3) {
        let watchdog = if one_in(rng, 3) { None } else { Some(millis(rng, 500..=20_000)) };
        let info = ProbeInfo {
            name: "notify".to_string(),
            kind: ProbeKind::Notify,
            role: match rng.u32(0..6) {
                0 => Role::Ready,
                1 => Role::Info,
                _ => Role::Live,
            },
            target: "sd_notify".to_string(),
            thresholds: Thresholds::new(1, 1, None)?,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
        };
        probes.push(ProbeSpec { info, source: ProbeSource::Notify { watchdog }, grace: None });
    }
    if kind != RealmKind::External && !one_in(rng, 4) {
        let info = ProbeInfo {
            name: "process".to_string(),
            kind: ProbeKind::Process,
            role: Role::Live,
            target: "pid".to_string(),
            thresholds: thresholds(rng)?,
            interval: millis(rng, 500..=5_000),
            timeout: Duration::from_millis(500),
        };
        probes.push(ProbeSpec { info, source: ProbeSource::Process, grace: None });
    }
    Ok(probes)
}
