//! From a snapshot to a document. Pure: the same snapshot, anchor and moment give the same bytes.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use heartbeat_status::{
    ExitKind, Health, IncidentNo, Instant, LastExit, LastResult, Mute, Outcome, ProbeInfo, ProbePhase,
    ProbeStatus, RealmIx, RealmKind, RealmStatus, RestartAttempt, Snapshot, Status, WallAnchor, millis,
};

use crate::{
    DELTA_SCHEMA, DaemonEntry, DeltaDocument, ExitEntry, LagEntry, LastEntry, MuteEntry, NeedEntry,
    NextEntry, Open, PauseEntry, PhasesEntry, ProbeEntry, ProcessEntry, ProcessUsage, REALM_SCHEMA,
    RealmDocument, RealmEntry, RealmFigures, RestartEntry, RestartStepEntry, RestartsEntry, RootEntry,
    STATUS_SCHEMA, SaysEntry, SloEntry, StatusDocument, Summary, TransitionEntry, seconds, whole_millis,
};

/// Why the configuration on disk does not take effect, in two forms. The whole text quotes files, in which secrets may
/// stand; the public one names only places and codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    whole: String,
    public: String,
}

impl ConfigProblem {
    /// With a text for callers that the server can identify, and one for any reader.
    pub fn new(whole: impl Into<String>, public: impl Into<String>) -> Self {
        Self { whole: whole.into(), public: public.into() }
    }

    /// The text for a reader; `public`: the reader has no role.
    #[must_use]
    pub fn text(&self, public: bool) -> &str {
        if public { &self.public } else { &self.whole }
    }
}

/// What a document says about heartbeatd itself, beside the snapshot.
#[derive(Clone, Debug)]
pub struct About {
    /// This life of heartbeatd.
    pub instance: String,
    /// The ecosystem's name.
    pub name: String,
    /// Version of the software.
    pub version: String,
    /// Start of this life.
    pub started_at: Instant,
    /// Whether heartbeatd itself is fine.
    pub health: Health,
    /// What is wrong with heartbeatd, for a person.
    pub notes: Vec<String>,
    /// How late its loop is.
    pub lag: LagEntry,
    /// Counts up with every configuration that took effect.
    pub config_revision: u64,
    /// Why the configuration on disk does not take effect, and since when.
    pub config_problem: Option<(ConfigProblem, Instant)>,
    /// Turns monotonic times into wall times.
    pub anchor: WallAnchor,
    /// Any client that can connect may read this: it has no arguments of commands, no queries of URLs, and no text of
    /// the configuration files.
    pub public: bool,
    /// The public identifiers of open incidents.
    pub incident_ids: Vec<(IncidentNo, String)>,
    /// Figures of each realm from history.
    pub figures: Arc<BTreeMap<String, RealmFigures>>,
    /// The objectives of realms that have some.
    pub objectives: Arc<Vec<SloEntry>>,
    /// What the processes of each realm use.
    pub usage: Arc<BTreeMap<String, ProcessUsage>>,
}

impl About {
    /// Why the configuration on disk does not take effect, as far as the reader may know it.
    #[must_use]
    pub fn config_problem(&self) -> Option<&str> {
        self.config_problem.as_ref().map(|(problem, _)| problem.text(self.public))
    }

    /// The public identifier of an open incident.
    fn incident_id(&self, no: IncidentNo) -> Option<&str> {
        self.incident_ids.iter().find(|(known, _)| *known == no).map(|(_, id)| id.as_str())
    }

    /// The identifier of the open incident that `realm` is the root of.
    fn incident_of(&self, snapshot: &Snapshot, realm: RealmIx) -> Option<String> {
        snapshot.incident_of(realm).and_then(|incident| self.incident_id(incident.no)).map(ToOwned::to_owned)
    }
}

impl StatusDocument {
    /// The whole ecosystem as `snapshot` has it, in a body made at `now`.
    #[must_use]
    pub fn render(snapshot: &Snapshot, about: &About, now: Instant) -> Self {
        Self {
            realms: snapshot.in_start_order().map(|realm| realm_entry(snapshot, realm, about, now)).collect(),
            ..Self::render_summary(snapshot, about, now)
        }
    }

    /// The same without the realms (`?fields=summary`).
    #[must_use]
    pub fn render_summary(snapshot: &Snapshot, about: &About, now: Instant) -> Self {
        Self {
            schema: STATUS_SCHEMA.to_owned(),
            instance: about.instance.clone(),
            revision: snapshot.revision,
            generated_at: about.anchor.wall(now),
            name: about.name.clone(),
            ok: snapshot.is_ok(),
            status: snapshot.worst().into(),
            summary: summary(snapshot),
            daemon: DaemonEntry {
                version: about.version.clone(),
                started_at: about.anchor.wall(about.started_at),
                uptime_s: seconds(now.since(about.started_at)),
                phase: snapshot.phase.into(),
                health: about.health.into(),
                notes: about.notes.clone(),
                lag_ms: about.lag,
                config_revision: about.config_revision,
                config_problem: about.config_problem().map(ToOwned::to_owned),
                config_problem_since: about
                    .config_problem
                    .as_ref()
                    .map(|(_, since)| about.anchor.wall(*since)),
            },
            roots: roots(snapshot, about),
            realms: Vec::new(),
        }
    }
}

impl DeltaDocument {
    /// The realms for which `changed` holds, whole, and what the ecosystem amounts to.
    #[must_use]
    pub fn render(
        snapshot: &Snapshot,
        about: &About,
        now: Instant,
        changed: impl Fn(&RealmStatus) -> bool,
    ) -> Self {
        let realms = snapshot.in_start_order().filter(|realm| changed(realm));
        Self {
            schema: DELTA_SCHEMA.to_owned(),
            revision: snapshot.revision,
            generated_at: about.anchor.wall(now),
            ok: snapshot.is_ok(),
            status: snapshot.worst().into(),
            summary: summary(snapshot),
            roots: roots(snapshot, about),
            realms: realms.map(|realm| realm_entry(snapshot, realm, about, now)).collect(),
        }
    }
}

impl RealmDocument {
    /// One realm as `snapshot` has it, with its recent past as the caller kept it (newest first).
    #[must_use]
    pub fn render(
        snapshot: &Snapshot,
        realm: &RealmStatus,
        past: (Vec<RestartAttempt>, Vec<TransitionEntry>, Vec<TransitionEntry>),
        about: &About,
        now: Instant,
    ) -> Self {
        let (restarts, failures, transitions) = past;
        Self {
            schema: REALM_SCHEMA.to_owned(),
            instance: about.instance.clone(),
            revision: snapshot.revision,
            generated_at: about.anchor.wall(now),
            realm: realm_entry(snapshot, realm, about, now),
            recent: restarts.iter().map(|record| restart_entry(record, about)).collect(),
            failures,
            transitions,
            log_tail: Vec::new(),
            probe_failures: Vec::new(),
            port_owner: None,
        }
    }
}

fn summary(snapshot: &Snapshot) -> Summary {
    let open_incidents = u32::try_from(snapshot.incidents.len()).unwrap_or(u32::MAX);
    let mut summary = Summary { open_incidents, ..Summary::default() };
    for realm in snapshot.in_start_order() {
        summary.total += 1;
        let slot = match realm.status {
            Status::Up => &mut summary.up,
            Status::Degraded => &mut summary.degraded,
            Status::Down => &mut summary.down,
            Status::Blocked => &mut summary.blocked,
            Status::Failed => &mut summary.failed,
            Status::Starting => &mut summary.starting,
            Status::Restarting => &mut summary.restarting,
            Status::Stopping => &mut summary.stopping,
            Status::Stopped => &mut summary.stopped,
            Status::Paused => &mut summary.paused,
            Status::Done => &mut summary.done,
            Status::Unknown => &mut summary.unknown,
        };
        *slot += 1;
    }
    summary
}

/// Realms in trouble by their own fault, each with every realm that it blocks, directly or through others.
fn roots(snapshot: &Snapshot, about: &About) -> Vec<RootEntry> {
    let mut blocks: BTreeMap<RealmIx, Vec<String>> = BTreeMap::new();
    for realm in snapshot.in_start_order() {
        for suspect in &realm.suspects {
            blocks.entry(*suspect).or_default().push(realm.info.name.to_string());
        }
        // A requested restart is no trouble, until it fails: then an incident is open.
        let counted = realm.restart.as_ref().is_none_or(|record| record.cause.is_debited());
        let own_fault = match realm.status {
            Status::Down | Status::Failed => true,
            Status::Restarting if counted => true,
            Status::Restarting | Status::Starting | Status::Unknown => {
                snapshot.incident_of(realm.info.ix).is_some()
            }
            _ => false,
        };
        if own_fault && realm.suspects.is_empty() {
            blocks.entry(realm.info.ix).or_default();
        }
        if realm.status != Status::Blocked {
            continue;
        }
        for root in roots_of(snapshot, realm) {
            blocks.entry(root).or_default().push(realm.info.name.to_string());
        }
    }
    let in_order = snapshot.in_start_order().filter_map(|realm| {
        let blocks = blocks.remove(&realm.info.ix)?;
        let incident = about.incident_of(snapshot, realm.info.ix);
        Some(RootEntry { realm: realm.info.name.to_string(), incident, blocks })
    });
    in_order.collect()
}

/// Follows `blocked_by` down to the realms that are not blocked themselves.
fn roots_of(snapshot: &Snapshot, realm: &RealmStatus) -> Vec<RealmIx> {
    let mut seen = alloc::vec![false; snapshot.realms.len()];
    let mut queue: Vec<RealmIx> = realm.blocked_by.clone();
    let mut found = Vec::new();
    while let Some(ix) = queue.pop() {
        let Some(upstream) = snapshot.realm(ix) else { continue };
        if core::mem::replace(&mut seen[ix.index()], true) {
            continue;
        }
        if upstream.status == Status::Blocked && !upstream.blocked_by.is_empty() {
            queue.extend_from_slice(&upstream.blocked_by);
        } else if !upstream.suspects.is_empty() {
            found.extend_from_slice(&upstream.suspects);
        } else {
            found.push(ix);
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The message, with the figures that only the moment knows.
fn message(realm: &RealmStatus, now: Instant) -> String {
    let message = &realm.why.message;
    let runs = realm.info.kind == RealmKind::Oneshot && realm.phase == heartbeat_status::Phase::Running;
    match realm.process.started_at.filter(|_| runs && message.ends_with("runs")) {
        Some(since) => alloc::format!("{message} since {}s", now.since(since).as_secs()),
        None => message.clone(),
    }
}

fn realm_entry(snapshot: &Snapshot, realm: &RealmStatus, about: &About, now: Instant) -> RealmEntry {
    let name_of = |ix: &RealmIx| snapshot.realm(*ix).map(|realm| realm.info.name.to_string());
    let info = &*realm.info;
    let figures = about.figures.get(info.name.as_str());
    RealmEntry {
        name: info.name.to_string(),
        title: info.title.clone(),
        docs: info.docs.clone(),
        owner: info.owner.clone(),
        kind: info.kind.into(),
        registered: info.registered,
        tier: info.tier,
        order: info.order,
        group: info.group.clone(),
        labels: info.labels.clone(),
        critical: info.critical,
        status: realm.status.into(),
        health: realm.health.into(),
        phase: realm.phase.into(),
        desired: realm.desired.into(),
        pause: realm.pause.as_ref().map(|pause| PauseEntry {
            reason: pause.reason.clone(),
            until: pause.until.map(|until| about.anchor.wall(until)),
        }),
        mute: realm.mute.as_ref().map(|Mute { reason, until, by }| MuteEntry {
            reason: reason.clone(),
            until: *until,
            by: by.clone(),
        }),
        flags: realm.flags.iter().map(|flag| (*flag).into()).collect(),
        since: realm.stopped_at.unwrap_or_else(|| about.anchor.wall(realm.why.since)),
        reason: realm.why.reason.into(),
        start_failure: realm.start_failure.map(Into::into),
        message: message(realm, now),
        next: NextEntry {
            action: realm.why.next.action.into(),
            at: realm.why.next.at.map(|at| about.anchor.wall(at)),
            when: realm.why.next.when.clone(),
        },
        restarts: RestartsEntry {
            total: realm.restarts.total,
            used: realm.restarts.used,
            burst: realm.restarts.burst,
            window_s: seconds(realm.restarts.window),
        },
        restart: realm.restart.as_ref().map(|record| restart_entry(record, about)),
        port: info.port,
        process: (info.kind != RealmKind::External).then(|| process_entry(realm, about, now)),
        says: realm.says.as_ref().map(|says| SaysEntry {
            state: says.state.into(),
            status: says.status.clone(),
            watchdog_ms: says.watchdog.map(whole_millis),
        }),
        probes: info
            .probes
            .iter()
            .zip(&realm.probes)
            .map(|(info, probe)| probe_entry(info, probe, realm.process.pid, about))
            .collect(),
        needs: info
            .needs
            .iter()
            .zip(&realm.needs)
            .map(|(info, need)| NeedEntry {
                realm: info.name.to_string(),
                kind: info.kind.into(),
                until: info.until.into(),
                status: need.status.into(),
            })
            .collect(),
        needed_by: info.needed_by.iter().filter_map(name_of).collect(),
        blocked_by: realm.blocked_by.iter().filter_map(name_of).collect(),
        suspects: realm.suspects.iter().filter_map(name_of).collect(),
        incident: about.incident_of(snapshot, info.ix),
        latency_ms: figures.and_then(|figures| figures.latency_ms),
        availability: figures.map(|figures| figures.availability.clone()).unwrap_or_default(),
        slo: about.objectives.iter().find(|entry| entry.realm == info.name.as_str()).map(Into::into),
    }
}

fn process_entry(realm: &RealmStatus, about: &About, now: Instant) -> ProcessEntry {
    let process = &realm.process;
    // Figures of an earlier process say nothing about this one.
    let usage = about.usage.get(realm.info.name.as_str()).filter(|usage| process.pid == Some(usage.pid));
    ProcessEntry {
        pid: process.pid,
        generation: process.run.generation(),
        started_at: process.started_at.map(|at| about.anchor.wall(at)),
        uptime_s: process.started_at.map(|at| seconds(now.since(at))),
        adopted: process.adopted,
        last_exit: process.last_exit.map(|last| exit_entry(&last, about)),
        cpu_percent: usage.and_then(|usage| usage.cpu_percent),
        rss_bytes: usage.map(|usage| usage.rss_bytes),
        fds: usage.and_then(|usage| usage.fds),
    }
}

fn exit_entry(last: &LastExit, about: &About) -> ExitEntry {
    let (code, signal, core) = match last.exit.kind {
        ExitKind::Code(code) => (Some(code), None, false),
        ExitKind::Signal { signal, core } => (None, Some(signal.to_string()), core),
        ExitKind::Unknown => (None, None, false),
    };
    ExitEntry { code, signal, core, oom: last.exit.oom, at: about.anchor.wall(last.at) }
}

fn restart_entry(record: &RestartAttempt, about: &About) -> RestartEntry {
    let step = |(step, at): &(heartbeat_status::RestartStep, Instant)| RestartStepEntry {
        step: (*step).into(),
        at: about.anchor.wall(*at),
    };
    RestartEntry {
        id: record.id.0,
        cause: record.cause.into(),
        detail: record.detail.clone(),
        attempt: record.attempt,
        steps: record.steps.iter().map(step).collect(),
        result: record.result.map(Into::into),
    }
}

fn probe_entry(info: &ProbeInfo, probe: &ProbeStatus, pid: Option<u32>, about: &About) -> ProbeEntry {
    let last = probe.last.as_ref().filter(|_| probe.current);
    let history = if probe.current { &probe.conclusive } else { &probe.last };
    ProbeEntry {
        name: info.name.clone(),
        kind: info.kind.into(),
        role: info.role.into(),
        // Which process that is, only the moment knows.
        target: match pid.filter(|_| info.kind == heartbeat_status::ProbeKind::Process) {
            Some(pid) => alloc::format!("pid {pid}"),
            None if about.public => info.public_target().to_owned(),
            None => info.target.clone(),
        },
        outcome: last.map(|last| last.outcome.as_str().to_owned()),
        reason: last.and_then(reason_of),
        phase: last.and_then(phase_of),
        detail: last.and_then(detail_of),
        at: last.map(|last| about.anchor.wall(last.at)),
        latency_ms: last.and_then(|last| last.latency).map(millis),
        phases_ms: last.and_then(|last| PhasesEntry::of(&last.phases)),
        last: history.as_ref().map(|last| LastEntry {
            outcome: last.outcome.as_str().to_owned(),
            reason: reason_of(last),
            phase: phase_of(last),
            detail: detail_of(last),
            at: about.anchor.wall(last.at),
            latency_ms: last.latency.map(millis),
        }),
        passes: if probe.current { probe.passes } else { 0 },
        fails: if probe.current { probe.fails } else { 0 },
        progress: if probe.current { probe.progress.to_string() } else { String::new() },
        interval_ms: probe.interval.map(whole_millis),
        next_at: probe.next_at.map(|at| about.anchor.wall(at)),
        stale: probe.stale,
        skipped: probe.skipped,
    }
}

fn reason_of(last: &LastResult) -> Option<String> {
    last.outcome.reason().map(|reason| reason.as_str().to_owned())
}

fn phase_of(last: &LastResult) -> Option<Open<ProbePhase>> {
    match last.outcome {
        Outcome::Fail { phase, .. } => phase.map(Into::into),
        Outcome::Pass | Outcome::Degraded(_) | Outcome::Inconclusive(_) => None,
    }
}

fn detail_of(last: &LastResult) -> Option<String> {
    Some(last.detail.clone()).filter(|detail| !detail.is_empty())
}
