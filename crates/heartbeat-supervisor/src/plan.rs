//! What the core supervises: validated, immutable, without a URL or an argv in it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::FuseSettings;
use heartbeat_graph::{DependencyGraph, Edge, GraphErrors};
use heartbeat_restart::{RestartPolicy, RestartWhen};
use heartbeat_status::{
    EdgeKind, Gate, NeedInfo, ProbeInfo, ProbeIx, ProbeKind, RealmInfo, RealmIx, RealmKind, RealmName, Role,
    Signal, WhileDown,
};

/// Where the results of a probe come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeSource {
    /// Measured on a schedule: the core emits [`Effect::Check`](crate::Effect::Check).
    Measured,
    /// The port fact inside the results of another probe of the same realm.
    PortOf(ProbeIx),
    /// The reports of the process adapter: started, stopped by a signal, ended.
    Process,
    /// The notifications of the realm ([`RunFact::Said`](heartbeat_status::RunFact::Said)): passes once the realm has
    /// reported that it is ready.
    Notify {
        /// The probe fails when the realm has sent no keep-alive for this long.
        watchdog: Option<Duration>,
    },
}

/// A probe of a realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSpec {
    /// Name, kind, role, target, thresholds, interval, timeout.
    pub info: ProbeInfo,
    /// Where its results come from.
    pub source: ProbeSource,
    /// How long failures of a new generation do not count; it also ends with the first pass.
    /// `None`: `start.timeout`.
    pub grace: Option<Duration>,
}

impl ProbeSpec {
    /// Whether the probe is measured, and more than information.
    pub(crate) fn decides(&self) -> bool {
        self.source == ProbeSource::Measured && self.info.role != Role::Info
    }

    /// Whether the realm itself reports the result.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self.source, ProbeSource::Notify { .. })
    }

    /// Whether the realm is ready when the probe passes.
    pub(crate) fn tells_readiness(&self) -> bool {
        (self.source == ProbeSource::Measured || self.is_told()) && self.info.role == Role::Live
    }
}

/// One dependency of a realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeedSpec {
    /// The realm depended upon.
    pub realm: RealmIx,
    /// How it binds.
    pub kind: EdgeKind,
    /// The condition that the start waits for.
    pub until: Gate,
    /// What a running dependent does while the need is down.
    pub while_down: WhileDown,
}

/// How a realm starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartSpec {
    /// From spawn until the live probes pass; `None` for no limit (the default of oneshots).
    pub timeout: Option<Duration>,
    /// From spawn until an incident opens about a realm that keeps reporting that it is starting up; `None` for ten
    /// times the timeout.
    pub timeout_max: Option<Duration>,
    /// How long a realm without measured live probes must run to count as ready.
    pub settle: Duration,
    /// A command runs before the spawn.
    pub before: bool,
    /// A command runs once it is ready.
    pub after: bool,
}

/// `start.timeout_max` is so many times `start.timeout` where it is not configured.
const TIMEOUT_MAX_MULTIPLES: u32 = 10;

impl StartSpec {
    /// When a start that keeps asking for time is an incident.
    pub(crate) fn overdue_after(&self) -> Option<Duration> {
        self.timeout_max.or(self.timeout.map(|timeout| timeout.saturating_mul(TIMEOUT_MAX_MULTIPLES)))
    }
}

impl Default for StartSpec {
    fn default() -> Self {
        Self {
            timeout: Some(Duration::from_secs(60)),
            timeout_max: None,
            settle: Duration::from_secs(1),
            before: false,
            after: false,
        }
    }
}

/// The processes of a realm that get its stop signal first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignalTo {
    /// The main process; when it has ended, what is left of its tree.
    #[default]
    Main,
    /// The whole tree at once.
    Tree,
}

/// How a realm is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSpec {
    /// First signal, followed by CONT.
    pub signal: Signal,
    /// Which processes get it.
    pub signal_to: SignalTo,
    /// From the first signal to KILL.
    pub timeout: Duration,
    /// A command runs before the first signal, bounded by `timeout`.
    pub command: bool,
}

impl Default for StopSpec {
    fn default() -> Self {
        Self {
            signal: Signal::TERM,
            signal_to: SignalTo::default(),
            timeout: Duration::from_secs(10),
            command: false,
        }
    }
}

/// A realm as the core sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RealmSpec {
    /// The unique name.
    pub name: RealmName,
    /// Title for people.
    pub title: Option<String>,
    /// Where to read about it.
    pub docs: Option<String>,
    /// Who is responsible for it.
    pub owner: Option<String>,
    /// Label for selectors.
    pub group: Option<String>,
    /// Labels for selectors.
    pub labels: BTreeMap<String, String>,
    /// The realm counts for `ok`.
    pub critical: bool,
    /// Assigned port, for display.
    pub port: Option<u16>,
    /// Service, oneshot or external.
    pub kind: RealmKind,
    /// heartbeatd does not start it at boot unless a realm that it starts needs it.
    pub manual: bool,
    /// What is measured.
    pub probes: Vec<ProbeSpec>,
    /// What it depends on.
    pub needs: Vec<NeedSpec>,
    /// How it starts.
    pub start: StartSpec,
    /// How it is stopped.
    pub stop: StopSpec,
    /// When it is restarted, after how long, how often.
    pub restart: RestartPolicy,
    /// The realm has a restart command of its own, used instead of a stop and a start; the only way to act on an
    /// external realm.
    pub restart_command: bool,
    /// Most memory of its tree in bytes.
    pub memory_limit: Option<u64>,
    /// Realms restarted in the same transaction, without a debit of their own.
    pub restart_with: Vec<RealmIx>,
    /// The configuration no longer has the realm: it is being stopped, and keeps its index until then.
    pub retired: bool,
    /// The realm was registered at run time, and is in no file.
    pub registered: bool,
}

impl RealmSpec {
    /// A critical service with one `process` probe and every default; the caller sets other fields.
    #[must_use]
    pub fn service(name: RealmName) -> Self {
        Self {
            name,
            title: None,
            docs: None,
            owner: None,
            group: None,
            labels: BTreeMap::new(),
            critical: true,
            port: None,
            kind: RealmKind::Service,
            manual: false,
            probes: Vec::new(),
            needs: Vec::new(),
            start: StartSpec::default(),
            stop: StopSpec::default(),
            restart: RestartPolicy::service_default(),
            restart_command: false,
            memory_limit: None,
            restart_with: Vec::new(),
            retired: false,
            registered: false,
        }
    }
}

impl RealmSpec {
    /// The probe for the realm's notifications, and its configured watchdog.
    pub(crate) fn notify_probe(&self) -> Option<(usize, Option<Duration>)> {
        self.probes.iter().enumerate().find_map(|(at, probe)| match probe.source {
            ProbeSource::Notify { watchdog } => Some((at, watchdog)),
            ProbeSource::Measured | ProbeSource::Process | ProbeSource::PortOf(_) => None,
        })
    }
}

/// Bounds over all realms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanSettings {
    /// Most realms between spawn and exec at a time.
    pub start_parallel: u32,
    /// From the order to stop everything until everything left is killed.
    pub shutdown_timeout: Duration,
    /// Bounds of restarts for health over all realms.
    pub fuse: FuseSettings,
}

impl Default for PlanSettings {
    fn default() -> Self {
        Self { start_parallel: 8, shutdown_timeout: Duration::from_secs(60), fuse: FuseSettings::default() }
    }
}

/// A plan that cannot be carried out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Cycles, edges to oneself, duplicate edges.
    #[error("the dependencies cannot be ordered: {0}")]
    Graph(GraphErrors),
    /// A gate that can never hold.
    #[error("{from} waits for {to} to be `{until}`, which a {kind} never is")]
    ImpossibleGate {
        /// The dependent realm.
        from: RealmName,
        /// The realm needed.
        to: RealmName,
        /// The gate waited for.
        until: Gate,
        /// What the dependency is.
        kind: RealmKind,
    },
    /// Two realms of one name.
    #[error("two realms are called {0}")]
    DuplicateName(RealmName),
    /// A probe whose results come from a probe that does not measure, or from a realm that is not asked to say
    /// anything.
    #[error("probe {probe} of {realm} takes its results from something that does not give any")]
    BadSource {
        /// The realm concerned.
        realm: RealmName,
        /// The probe concerned.
        probe: String,
    },
    /// A companion that cannot be restarted.
    #[error("{realm} is restarted together with something that is not another realm with a process")]
    BadCompanion {
        /// The realm concerned.
        realm: RealmName,
    },
    /// A timeout above its interval, or an interval of zero.
    #[error("probe {probe} of {realm} needs 0 < timeout <= interval")]
    BadTiming {
        /// The realm concerned.
        realm: RealmName,
        /// The probe concerned.
        probe: String,
    },
}

/// What the core supervises.
#[derive(Clone, Debug)]
pub struct Plan {
    settings: PlanSettings,
    realms: Vec<RealmSpec>,
    graph: DependencyGraph,
    infos: Vec<Arc<RealmInfo>>,
}

impl Plan {
    /// Validates realms and orders them. The dependencies of each realm are put in start order.
    ///
    /// # Errors
    /// [`PlanError`]: the first rule that is broken. `heartbeat-config` finds all of them, with their places in
    /// the file, before it comes to this.
    pub fn new(settings: PlanSettings, mut realms: Vec<RealmSpec>) -> Result<Self, PlanError> {
        let names: Vec<RealmName> = realms.iter().map(|realm| realm.name.clone()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(PlanError::DuplicateName(pair[0].clone()));
        }
        let edges: Vec<Edge> = realms
            .iter()
            .enumerate()
            .flat_map(|(at, realm)| {
                let from = RealmIx(u32::try_from(at).unwrap_or(u32::MAX));
                realm.needs.iter().map(move |need| Edge { from, to: need.realm, kind: need.kind })
            })
            .collect();
        let graph = DependencyGraph::build(&names, &edges).map_err(PlanError::Graph)?;
        for realm in &realms {
            check_gates(&realms, realm)?;
            check_probes(realm)?;
            check_companions(&realms, realm)?;
        }
        for realm in &mut realms {
            realm.needs.sort_by_key(|need| graph.order(need.realm));
        }
        let infos = (0..realms.len()).map(|at| Arc::new(info(&realms, &graph, at))).collect();
        Ok(Self { settings, realms, graph, infos })
    }

    /// Bounds over all realms.
    #[must_use]
    pub fn settings(&self) -> &PlanSettings {
        &self.settings
    }

    /// Realms by [`RealmIx`].
    #[must_use]
    pub fn realms(&self) -> &[RealmSpec] {
        &self.realms
    }

    /// A realm.
    ///
    /// # Panics
    /// When `ix` is not of this plan.
    #[must_use]
    pub fn realm(&self, ix: RealmIx) -> &RealmSpec {
        &self.realms[ix.index()]
    }

    /// The dependency graph.
    #[must_use]
    pub fn graph(&self) -> &DependencyGraph {
        &self.graph
    }

    /// The part of documents about each realm that does not change, by [`RealmIx`].
    #[must_use]
    pub fn infos(&self) -> &[Arc<RealmInfo>] {
        &self.infos
    }

    /// The realm called `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<RealmIx> {
        let at = self.realms.iter().position(|realm| realm.name.as_str() == name)?;
        u32::try_from(at).ok().map(RealmIx)
    }
}

fn check_gates(realms: &[RealmSpec], realm: &RealmSpec) -> Result<(), PlanError> {
    for need in realm.needs.iter().filter(|need| need.kind == EdgeKind::Needs) {
        let to = &realms[need.realm.index()];
        let possible = match (need.until, to.kind) {
            (Gate::Up, RealmKind::Service | RealmKind::External)
            | (Gate::Started, RealmKind::Service | RealmKind::Oneshot)
            | (Gate::Done, RealmKind::Oneshot) => true,
            (Gate::Up, RealmKind::Oneshot)
            | (Gate::Started, RealmKind::External)
            | (Gate::Done, RealmKind::Service | RealmKind::External) => false,
        };
        if !possible {
            return Err(PlanError::ImpossibleGate {
                from: realm.name.clone(),
                to: to.name.clone(),
                until: need.until,
                kind: to.kind,
            });
        }
    }
    Ok(())
}

fn check_companions(realms: &[RealmSpec], realm: &RealmSpec) -> Result<(), PlanError> {
    let fits = |ix: &RealmIx| {
        let companion = realms.get(ix.index());
        companion.is_some_and(|other| other.kind == RealmKind::Service && other.name != realm.name)
    };
    if realm.restart_with.iter().all(fits) {
        return Ok(());
    }
    Err(PlanError::BadCompanion { realm: realm.name.clone() })
}

fn check_probes(realm: &RealmSpec) -> Result<(), PlanError> {
    for (at, probe) in realm.probes.iter().enumerate() {
        let name = || (realm.name.clone(), probe.info.name.clone());
        match probe.source {
            ProbeSource::PortOf(ix) => {
                let source = realm.probes.get(ix.index()).map(|probe| probe.source);
                if source != Some(ProbeSource::Measured) {
                    let (realm, probe) = name();
                    return Err(PlanError::BadSource { realm, probe });
                }
            }
            ProbeSource::Measured => {
                if probe.info.timeout.is_zero() || probe.info.timeout > probe.info.interval {
                    let (realm, probe) = name();
                    return Err(PlanError::BadTiming { realm, probe });
                }
            }
            ProbeSource::Process => {
                if probe.info.interval.is_zero() {
                    let (realm, probe) = name();
                    return Err(PlanError::BadTiming { realm, probe });
                }
                if realm.kind == RealmKind::External || probe.info.kind != ProbeKind::Process {
                    let (realm, probe) = name();
                    return Err(PlanError::BadSource { realm, probe });
                }
            }
            ProbeSource::Notify { watchdog } => {
                if watchdog.is_some_and(|watchdog| watchdog.is_zero()) {
                    let (realm, probe) = name();
                    return Err(PlanError::BadTiming { realm, probe });
                }
                let service = realm.kind == RealmKind::Service && probe.info.kind == ProbeKind::Notify;
                if !service || realm.probes[..at].iter().any(ProbeSpec::is_told) {
                    let (realm, probe) = name();
                    return Err(PlanError::BadSource { realm, probe });
                }
            }
        }
    }
    Ok(())
}

fn info(realms: &[RealmSpec], graph: &DependencyGraph, at: usize) -> RealmInfo {
    let ix = RealmIx(u32::try_from(at).unwrap_or(u32::MAX));
    let realm = &realms[at];
    RealmInfo {
        ix,
        name: realm.name.clone(),
        title: realm.title.clone(),
        docs: realm.docs.clone(),
        owner: realm.owner.clone(),
        kind: realm.kind,
        group: realm.group.clone(),
        labels: realm.labels.clone(),
        critical: realm.critical,
        port: realm.port,
        restarts: realm.restart.when() != RestartWhen::Never,
        restart_command: realm.restart_command,
        registered: realm.registered,
        tier: graph.tier(ix),
        order: graph.order(ix),
        needs: realm
            .needs
            .iter()
            .map(|need| NeedInfo {
                realm: need.realm,
                name: realms[need.realm.index()].name.clone(),
                kind: need.kind,
                until: need.until,
                while_down: need.while_down,
            })
            .collect(),
        needed_by: graph
            .dependents(ix)
            .iter()
            .filter(|edge| edge.kind == EdgeKind::Needs && !realms[edge.from.index()].retired)
            .map(|edge| edge.from)
            .collect(),
        probes: realm.probes.iter().map(|probe| probe.info.clone()).collect(),
    }
}
