//! A configuration that is to take the place of the one in force: what it changes, and how it fits in.

use std::fmt;

use heartbeat_status::{EdgeKind, RealmIx, RealmKind, RealmName};
use heartbeat_supervisor::{NeedSpec, Plan, PlanError, ProbeSource, ProbeSpec, RealmSpec};

use crate::config::{Config, Heartbeat, Measure, RealmConfig, ReceiverConfig};
use crate::window::MaintenanceConfig;

/// What is in force.
#[derive(Clone, Copy, Debug)]
pub struct InForce<'a> {
    /// Table `[heartbeat]` in force.
    pub heartbeat: &'a Heartbeat,
    /// What is supervised.
    pub plan: &'a Plan,
    /// What the adapters have of each realm.
    pub realms: &'a [RealmConfig],
    /// Who is told.
    pub notify: &'a [ReceiverConfig],
    /// The maintenance windows.
    pub maintenance: &'a [MaintenanceConfig],
    /// Indices that belonged to realms that are gone: new ones may have them.
    pub vacant: &'a [RealmIx],
}

/// A realm and the keys of it that changed.
pub type Changed = (RealmName, Vec<&'static str>);

/// What a configuration changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Realms that are new.
    pub added: Vec<RealmName>,
    /// Realms that are stopped and forgotten.
    pub removed: Vec<RealmName>,
    /// Realms whose process is made of something else.
    pub restarted: Vec<Changed>,
    /// Realms that change in place.
    pub changed: Vec<Changed>,
    /// Keys of `[heartbeat]`, receivers and maintenance windows.
    pub settings: Vec<String>,
}

impl Changes {
    /// It is the same configuration.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[RealmName]| names.iter().map(RealmName::as_str).collect::<Vec<_>>().join(", ");
        let because = |realms: &[Changed]| {
            let told = realms.iter().map(|(name, keys)| format!("{name} ({})", keys.join(", ")));
            told.collect::<Vec<_>>().join(", ")
        };
        let parts = [
            ("added", list(&self.added)),
            ("removed", list(&self.removed)),
            ("restarted", because(&self.restarted)),
            ("changed in place", because(&self.changed)),
            ("settings", self.settings.join(", ")),
        ];
        let told: Vec<String> = parts
            .into_iter()
            .filter(|(_, told)| !told.is_empty())
            .map(|(what, told)| format!("{what}: {told}"))
            .collect();
        f.write_str(if told.is_empty() { "nothing changed" } else { "" })?;
        f.write_str(&told.join("; "))
    }
}

/// A configuration that fits in.
#[derive(Debug)]
pub struct Merged {
    /// Its plan has every realm in force at the index it has, and retired those that are to go.
    pub config: Config,
    /// Realms whose process is made of something else.
    pub restart: Vec<RealmIx>,
    /// What it changes.
    pub changes: Changes,
}

/// What keeps a configuration from taking effect while heartbeatd runs.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// Sockets, directories or threads were made of this key.
    #[error(
        "`{key}` of [heartbeat] cannot change while heartbeatd runs: restart it, or put the old value back"
    )]
    Fixed {
        /// Name of the key.
        key: &'static str,
    },
    /// A realm is of another kind now.
    #[error(
        "{realm} cannot change from {from} to {to} while heartbeatd runs: {}",
        way_out(realm, *.registered)
    )]
    Kind {
        /// Name of the realm.
        realm: RealmName,
        /// The kind in force.
        from: RealmKind,
        /// The kind in the files.
        to: RealmKind,
        /// The realm in force was registered at run time.
        registered: bool,
    },
    /// The realms in force that are yet to be stopped and the new ones make no plan together.
    #[error("this configuration does not fit the one in force: {source}")]
    Plan {
        /// The rule that is broken.
        source: PlanError,
    },
}

fn way_out(realm: &RealmName, registered: bool) -> String {
    if registered {
        format!("`heartbeat-cli unregister {realm}` first")
    } else {
        "give it another name, or remove it, reload, and add it again".to_owned()
    }
}

/// Fits `new` into what is in force.
///
/// # Errors
/// Everything that cannot be changed while heartbeatd runs: then nothing is changed.
pub fn merge(in_force: InForce<'_>, new: Config) -> Result<Merged, Vec<MergeError>> {
    let mut refusals = fixed(in_force.heartbeat, &new.heartbeat);
    let old = in_force.plan;
    for spec in new.plan.realms() {
        let before = old.find(spec.name.as_str()).filter(|ix| !in_force.vacant.contains(ix));
        if let Some(before) = before.map(|ix| old.realm(ix))
            && before.kind != spec.kind
        {
            refusals.push(MergeError::Kind {
                realm: spec.name.clone(),
                from: before.kind,
                to: spec.kind,
                registered: before.registered,
            });
        }
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let places = places(&in_force, &new.plan);
    let mut changes = Changes { settings: settings(&in_force, &new), ..Changes::default() };
    let mut restart = Vec::new();
    let (mut specs, mut realms) = retired(&in_force, &places);
    for ((spec, config), place) in new.plan.realms().iter().zip(&new.realms).zip(&places) {
        let spec = moved(spec, &places);
        let at = place.index();
        match in_force.plan.realms().get(at).filter(|old| old.name == spec.name && !old.retired) {
            Some(before) => {
                let (restarts, keys) = differences((before, &in_force.realms[at]), (&spec, config));
                if restarts {
                    restart.push(*place);
                    changes.restarted.push((spec.name.clone(), keys));
                } else if !keys.is_empty() {
                    changes.changed.push((spec.name.clone(), keys));
                }
            }
            None => changes.added.push(spec.name.clone()),
        }
        specs[at] = Some(spec);
        realms[at] = config.clone();
    }
    for (before, after) in in_force.plan.realms().iter().zip(&specs) {
        let goes = after.as_ref().is_some_and(|after| after.retired) && !before.retired;
        changes.removed.extend(goes.then(|| before.name.clone()));
    }
    let specs: Vec<RealmSpec> = specs.into_iter().flatten().collect();
    let plan = Plan::new(*new.plan.settings(), specs).map_err(|source| vec![MergeError::Plan { source }])?;
    let config = Config { plan, realms, ..new };
    Ok(Merged { config, restart, changes })
}

/// Adds realms that the configuration does not have any more and that may still run: retired, so that they are ended.
///
/// # Errors
/// The configuration as it was, when they do not fit in, which is a defect.
pub fn with_retired(config: Config, names: Vec<RealmName>) -> Result<Config, Box<Config>> {
    if names.is_empty() {
        return Ok(config);
    }
    let mut specs = config.plan.realms().to_vec();
    let mut realms = config.realms.clone();
    for name in names {
        specs.push(RealmSpec { retired: true, ..RealmSpec::service(name) });
        realms.push(RealmConfig::default());
    }
    match Plan::new(*config.plan.settings(), specs) {
        Ok(plan) => Ok(Config { plan, realms, ..config }),
        Err(_) => Err(Box::new(config)),
    }
}

/// What sockets, directories and threads were made of once.
fn fixed(old: &Heartbeat, new: &Heartbeat) -> Vec<MergeError> {
    let same = [
        ("name", old.name == new.name),
        ("listen", old.listen == new.listen),
        ("socket", old.socket == new.socket),
        ("socket_mode", old.socket_mode == new.socket_mode),
        ("socket_group", old.socket_group == new.socket_group),
        ("hosts", old.hosts == new.hosts),
        ("tls", old.tls == new.tls),
        ("token_file", old.token_file == new.token_file),
        ("state_dir", old.state_dir == new.state_dir),
        ("runtime_dir", old.runtime_dir == new.runtime_dir),
        ("log", old.log == new.log),
        ("log_format", old.log_format == new.log_format),
        ("max_probes_in_flight", old.max_probes_in_flight == new.max_probes_in_flight),
        ("cgroups", old.cgroups == new.cgroups),
        ("history", old.history == new.history),
        ("history_max", old.history_max_bytes == new.history_max_bytes),
        ("max_connections", old.max_connections == new.max_connections),
    ];
    let changed = same.into_iter().filter(|(_, same)| !same);
    changed.map(|(key, _)| MergeError::Fixed { key }).collect()
}

fn settings(in_force: &InForce<'_>, new: &Config) -> Vec<String> {
    let (old, heartbeat) = (in_force.heartbeat, &new.heartbeat);
    let same = [
        ("heartbeat.boot_deadline", old.boot_deadline == heartbeat.boot_deadline),
        ("heartbeat.shutdown_timeout", old.shutdown_timeout == heartbeat.shutdown_timeout),
        ("heartbeat.start_parallel", old.start_parallel == heartbeat.start_parallel),
        ("heartbeat.fuse", old.fuse == heartbeat.fuse),
        ("heartbeat.reference", old.reference == heartbeat.reference),
        ("heartbeat.ping", old.ping == heartbeat.ping),
        ("heartbeat.otlp", old.otlp == heartbeat.otlp),
        ("heartbeat.register_networks", old.register_networks == heartbeat.register_networks),
    ];
    let mut changed: Vec<String> =
        same.into_iter().filter(|(_, same)| !same).map(|(key, _)| key.to_owned()).collect();
    let mut receivers: Vec<&ReceiverConfig> = in_force.notify.iter().chain(&new.notify).collect();
    receivers.sort_by(|a, b| a.name.cmp(&b.name));
    receivers.dedup_by(|a, b| a.name == b.name);
    for ReceiverConfig { name, .. } in receivers {
        if called(in_force.notify, name) != called(&new.notify, name) {
            changed.push(format!("notify.{name}"));
        }
    }
    let (before, after) = (in_force.maintenance, &new.maintenance);
    let mut windows: Vec<&MaintenanceConfig> = before.iter().chain(after).collect();
    windows.sort_by(|a, b| a.name.cmp(&b.name));
    windows.dedup_by(|a, b| a.name == b.name);
    let called = |windows: &[MaintenanceConfig], name: &str| {
        windows.iter().find(|window| window.name == name).cloned()
    };
    for MaintenanceConfig { name, .. } in windows {
        if called(before, name) != called(after, name) {
            changed.push(format!("maintenance.{name}"));
        }
    }
    changed
}

fn called<'a>(receivers: &'a [ReceiverConfig], name: &str) -> Option<&'a ReceiverConfig> {
    receivers.iter().find(|receiver| receiver.name == name)
}

/// The index of each realm of the new plan: its own if it is in force, else a vacant one, else a new one.
fn places(in_force: &InForce<'_>, new: &Plan) -> Vec<RealmIx> {
    let old = in_force.plan;
    let index = |at: usize| RealmIx(u32::try_from(at).unwrap_or(u32::MAX));
    let kept: Vec<Option<RealmIx>> = new.realms().iter().map(|spec| old.find(spec.name.as_str())).collect();
    let mut free: Vec<RealmIx> =
        in_force.vacant.iter().filter(|ix| !kept.contains(&Some(**ix))).rev().copied().collect();
    let mut next = old.realms().len();
    let place = |kept: Option<RealmIx>| {
        kept.or_else(|| free.pop()).unwrap_or_else(|| {
            next += 1;
            index(next - 1)
        })
    };
    kept.into_iter().map(place).collect()
}

/// Everything that is in force, retired, with room for what is new. No retired realm depends on a place that goes
/// to another one.
fn retired(in_force: &InForce<'_>, places: &[RealmIx]) -> (Vec<Option<RealmSpec>>, Vec<RealmConfig>) {
    let old = in_force.plan.realms();
    let len = places.iter().map(|place| place.index() + 1).max().unwrap_or(0).max(old.len());
    let handed_on = |ix: &RealmIx| in_force.vacant.contains(ix) && places.contains(ix);
    let mut specs: Vec<Option<RealmSpec>> = old
        .iter()
        .map(|spec| {
            let mut spec = RealmSpec { retired: true, ..spec.clone() };
            spec.needs.retain(|need| !handed_on(&need.realm));
            spec.restart_with.retain(|ix| !handed_on(ix));
            Some(spec)
        })
        .collect();
    specs.resize(len, None);
    let mut realms = in_force.realms.to_vec();
    realms.resize(len, RealmConfig::default());
    (specs, realms)
}

/// The realm with the indices it has in force.
fn moved(spec: &RealmSpec, places: &[RealmIx]) -> RealmSpec {
    let place = |ix: RealmIx| places.get(ix.index()).copied().unwrap_or(ix);
    let mut spec = spec.clone();
    for need in &mut spec.needs {
        need.realm = place(need.realm);
    }
    for ix in &mut spec.restart_with {
        *ix = place(*ix);
    }
    spec
}

/// Whether its process is made of something else, and the keys that changed.
fn differences(
    (old, before): (&RealmSpec, &RealmConfig),
    (new, after): (&RealmSpec, &RealmConfig),
) -> (bool, Vec<&'static str>) {
    let mut keys = Vec::new();
    let mut differ = |key: &'static str, differs: bool| {
        if differs && !keys.contains(&key) {
            keys.push(key);
        }
        differs
    };
    let mut restarts = false;
    if let (Some(old), Some(new)) = (&before.launch, &after.launch) {
        for key in old.identity().difference(&new.identity()) {
            restarts |= differ(key, true);
        }
        // How far a log grows, and how many are kept, takes effect on the one that is written to.
        differ("log", old.log != new.log);
    }
    let edges = |spec: &RealmSpec, kind: EdgeKind| -> Vec<NeedSpec> {
        let mut edges: Vec<NeedSpec> = spec.needs.iter().filter(|need| need.kind == kind).copied().collect();
        edges.sort_by_key(|need| need.realm);
        edges
    };
    for (key, kind) in [("needs", EdgeKind::Needs), ("wants", EdgeKind::Wants), ("after", EdgeKind::After)] {
        differ(key, edges(old, kind) != edges(new, kind));
    }
    differ("port", old.port != new.port);
    differ("title", old.title != new.title);
    differ("docs", old.docs != new.docs);
    differ("owner", old.owner != new.owner);
    differ("group", old.group != new.group);
    differ("labels", old.labels != new.labels);
    differ("critical", old.critical != new.critical);
    differ("registered", old.registered != new.registered);
    differ("manual", old.manual != new.manual);
    // What it is asked to say has been named already.
    let asked = |config: &RealmConfig| config.launch.as_ref().map(|launch| launch.readiness.clone());
    let same_asked = asked(before) == asked(after);
    let probes = |spec: &RealmSpec| -> Vec<ProbeSpec> {
        let told = |probe: &&ProbeSpec| matches!(probe.source, ProbeSource::Notify { .. });
        spec.probes.iter().filter(|probe| same_asked || !told(probe)).cloned().collect()
    };
    let measures = |config: &RealmConfig| -> Vec<Option<Measure>> {
        config.probes.iter().filter(|measure| same_asked || measure.is_some()).cloned().collect()
    };
    differ("health", probes(old) != probes(new) || !same_measures(&measures(before), &measures(after)));
    differ("verify_owner", before.listens.is_some() != after.listens.is_some());
    differ("host", before.listens.map(|at| at.ip()) != after.listens.map(|at| at.ip()));
    differ("start", old.start != new.start || before.start_before != after.start_before);
    differ("start", before.start_after != after.start_after);
    differ("stop", old.stop != new.stop || before.stop_command != after.stop_command);
    differ("restart", old.restart != new.restart || old.restart_with != new.restart_with);
    differ("restart", before.restart_command != after.restart_command);
    differ("slo", before.slo != after.slo);
    (restarts, keys)
}

fn same_measures(old: &[Option<Measure>], new: &[Option<Measure>]) -> bool {
    let same = |pair: (&Option<Measure>, &Option<Measure>)| match pair {
        (Some(Measure::Probe(old)), Some(Measure::Probe(new))) => old == new,
        (Some(Measure::Push(old)), Some(Measure::Push(new))) => old == new,
        (Some(Measure::Resource(old)), Some(Measure::Resource(new))) => old == new,
        (
            Some(Measure::Command { spec: old, nagios: was, slow: before }),
            Some(Measure::Command { spec: new, nagios: is, slow: after }),
        ) => old == new && was == is && before == after,
        (None, None) => true,
        _ => false,
    };
    old.len() == new.len() && old.iter().zip(new).all(same)
}
