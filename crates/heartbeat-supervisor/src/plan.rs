//! What the core supervises: realms, their order, and bounds over all of them; validated and immutable.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_graph::{DependencyGraph, Edge, GraphErrors};
use heartbeat_restart::RestartWhen;
use heartbeat_status::{EdgeKind, Gate, NeedInfo, ProbeKind, RealmInfo, RealmIx, RealmKind, RealmName};

use crate::FuseSettings;
use crate::spec::{ProbeSource, ProbeSpec, RealmSpec};

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
