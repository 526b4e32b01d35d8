//! What an earlier heartbeatd has left: read, and put into the core's words.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use heartbeat_config::{Config, RealmConfig, with_retired};
use heartbeat_process::{
    Condition, Key, LaunchSpec, Processes, Record, RecordError, Search, Survey, Survivor, boot_id, survey,
};
use heartbeat_status::wire::IncidentDocument;
use heartbeat_status::{Incident, IncidentNo, IncidentStep, Instant, RealmIx, RealmName, RunId, WallAnchor};
use heartbeat_supervisor::{Found, Memory, Plan, RealmRecord, Restored};

use crate::incidents::Kept;
use crate::recovery_problem::Damage;
use crate::stored::{ECOSYSTEM_MAGIC, INTENT_MAGIC, StoredEcosystem, StoredIntent};
use crate::{DaemonError, files, intent};

/// Everything that was found, before anything acts on it.
pub(crate) struct Recovery {
    survey: Survey,
    intent: StoredIntent,
    ecosystem: StoredEcosystem,
    /// What is damaged or cannot be read.
    pub(crate) damages: Vec<Damage>,
}

/// Where open incidents are kept: beside the adoption records, under a name that no realm has.
pub(crate) fn ecosystem_path(records: &Path) -> PathBuf {
    records.join("ecosystem.now")
}

/// Whether this program can read what is on record: for an upgrade, before anything is handed over. Changes nothing.
///
/// # Errors
/// What it cannot read.
pub fn check_state(config: &Config) -> Result<usize, DaemonError> {
    let records = crate::daemon::records_dir(&config.heartbeat);
    let unreadable = |path: &Path, why: String| DaemonError::State { path: path.to_owned(), why };
    let mut count = 0;
    let all = match Record::all(&records) {
        Ok(all) => all,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(unreadable(&records, error.to_string())),
    };
    for (path, record) in all {
        let record = record.map_err(|error| unreadable(&path, error.to_string()))?;
        if let Some(memory) = &record.memory {
            serde_json::from_str::<RealmRecord>(memory)
                .map_err(|error| unreadable(&path, error.to_string()))?;
        }
        count += 1;
    }
    let intent = intent::path(&config.heartbeat.state_dir);
    for (path, magic, parses) in [
        (intent, INTENT_MAGIC, parses::<StoredIntent> as fn(&str) -> Result<(), serde_json::Error>),
        (ecosystem_path(&records), ECOSYSTEM_MAGIC, parses::<StoredEcosystem>),
    ] {
        if let Some(body) = files::look(&path, magic).map_err(|why| unreadable(&path, why))? {
            parses(&body).map_err(|error| unreadable(&path, error.to_string()))?;
        }
    }
    Ok(count)
}

/// The realms that have a program, and the user that each runs as.
fn users(config: &Config) -> BTreeMap<RealmName, Option<u32>> {
    let realms = config.plan.realms().iter().zip(&config.realms);
    let launched = realms.filter_map(|(realm, config)| {
        let launch = config.launch.as_ref()?;
        Some((realm.name.clone(), launch.user.as_ref().map(|user| user.uid)))
    });
    launched.collect()
}

fn parses<T: serde::de::DeserializeOwned>(body: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<T>(body).map(|_| ())
}

impl Recovery {
    /// Looks at the records, the intent, and once at /proc. `kept` are pidfds that somebody has kept meanwhile.
    pub(crate) fn look(
        records: &Path,
        config: &Config,
        mark: &str,
        groups: Option<&Path>,
        kept: &BTreeMap<RealmName, OwnedFd>,
    ) -> Result<Self, DaemonError> {
        let state_dir = &config.heartbeat.state_dir;
        let realms = users(config);
        let socket = Some(config.heartbeat.socket.as_path());
        let search = Search { records, mark, groups, kept, realms: &realms, socket };
        let prepare =
            |source| DaemonError::Prepare { what: "adoption records", path: records.to_owned(), source };
        let survey = survey(&search).map_err(prepare)?;
        let mut damages: Vec<Damage> = survey.damaged.iter().map(damage).collect();
        let mut of_ecosystem = |message: String| damages.push(Damage { realm: None, message });
        let intent = intent::load(state_dir).unwrap_or_else(|error| {
            of_ecosystem(format!("{error}; what operators had stopped or paused, and what was registered, is not known any more"));
            StoredIntent::default()
        });
        let ecosystem = match files::read(&ecosystem_path(records), ECOSYSTEM_MAGIC) {
            Ok(body) => {
                body.and_then(|body| serde_json::from_str::<StoredEcosystem>(&body).ok()).unwrap_or_default()
            }
            Err(error) => {
                of_ecosystem(error.to_string());
                StoredEcosystem::default()
            }
        };
        let ecosystem = if ecosystem.boot == boot_id() { ecosystem } else { StoredEcosystem::default() };
        Ok(Self { survey, intent, ecosystem, damages })
    }

    /// Realms that run and that the configuration does not have any more are in it as retired ones: they are ended.
    pub(crate) fn retire(&self, config: Config) -> Config {
        let unknown = self.survey.realms.iter().filter(|survivor| {
            survivor.condition != Condition::Nothing && config.plan.find(survivor.realm.as_str()).is_none()
        });
        let names: Vec<RealmName> = unknown.map(|survivor| survivor.realm.clone()).collect();
        for name in &names {
            tracing::warn!(realm = %name, "runs and is not in the configuration any more: it is ended");
        }
        with_retired(config, names).unwrap_or_else(|config| *config)
    }

    /// How many processes come back.
    pub(crate) fn alive(&self) -> usize {
        let alive = |survivor: &&Survivor| matches!(survivor.condition, Condition::Alive { .. });
        self.survey.realms.iter().filter(alive).count()
    }

    /// Whether anything of a realm is left that has to be ended or taken over.
    pub(crate) fn is_there(&self, realm: &str) -> bool {
        let of = self.survey.realms.iter().find(|survivor| survivor.realm.as_str() == realm);
        of.is_some_and(|survivor| survivor.condition != Condition::Nothing)
    }

    /// Whether the main process of a realm lives.
    pub(crate) fn is_alive(&self, realm: &RealmName) -> bool {
        let of = self.survey.realms.iter().find(|survivor| survivor.realm == *realm);
        of.is_some_and(|survivor| matches!(survivor.condition, Condition::Alive { .. }))
    }

    /// The intent as it is on disk.
    pub(crate) fn intent(&self) -> StoredIntent {
        self.intent.clone()
    }

    /// What the core has to know. `made_of` is what each realm's process would be made of now.
    pub(crate) fn memory(&self, plan: &Plan, made_of: impl Fn(RealmIx) -> u64, anchor: WallAnchor) -> Memory {
        let mut realms: BTreeMap<&str, Restored> = BTreeMap::new();
        for survivor in &self.survey.realms {
            let Some(ix) = plan.find(survivor.realm.as_str()) else { continue };
            let known = survivor.made_of.filter(|_| !plan.realm(ix).retired);
            let record = remembered(survivor);
            let restored = Restored {
                realm: survivor.realm.clone(),
                run: run_on_record(&survivor.condition),
                found: found(survivor, record.as_ref()),
                record,
                intent: None,
                changed: known.is_some_and(|known| known != made_of(ix)),
            };
            realms.insert(survivor.realm.as_str(), restored);
        }
        for (name, wish) in &self.intent.realms {
            let Some(ix) = plan.find(name) else { continue };
            let restored = realms.entry(name).or_insert_with(|| Restored {
                realm: plan.realm(ix).name.clone(),
                record: None,
                run: None,
                found: Found::Nothing,
                intent: None,
                changed: false,
            });
            restored.intent = Some(intent::intent(wish, anchor));
        }
        let restarts = self.ecosystem.health_restarts_ns.iter().copied();
        Memory {
            realms: realms.into_values().collect(),
            incidents: self.incidents(plan).into_iter().map(|kept| kept.incident).collect(),
            health_restarts: restarts.map(Instant::from_nanos).collect(),
        }
    }

    /// Incidents that were open, with what was told of them. One whose root is not there any more is none.
    pub(crate) fn incidents(&self, plan: &Plan) -> Vec<Kept> {
        let kept = self.ecosystem.incidents.iter().filter_map(|stored| {
            let root = match &stored.root {
                Some(name) => Some(plan.find(name)?),
                None => None,
            };
            let incident = Incident {
                no: IncidentNo(stored.no),
                root,
                problem: stored.problem,
                reason: stored.reason,
                message: stored.message.clone(),
                severity: stored.severity,
                affected: stored.affected.iter().filter_map(|name| plan.find(name)).collect(),
                opened_at: Instant::from_nanos(stored.opened_ns),
                failed: stored.failed,
            };
            Some(Kept { incident, document: stored.document.clone() })
        });
        kept.collect()
    }

    /// Incidents that were open, of realms that are gone from the configuration: closed with that as their message.
    pub(crate) fn orphaned_incidents(&self, plan: &Plan, anchor: WallAnchor) -> Vec<IncidentDocument> {
        let orphans = self
            .ecosystem
            .incidents
            .iter()
            .filter(|stored| stored.root.as_ref().is_some_and(|root| plan.find(root).is_none()));
        let ended = orphans.map(|stored| {
            let mut document = stored.document.clone();
            let lasted = anchor.instant.since(Instant::from_nanos(stored.opened_ns));
            (document.event, document.seq) = (IncidentStep::Resolved.into(), document.seq + 1);
            document.resolved_at = Some(anchor.wall);
            document.duration_s = Some(lasted.as_secs_f64());
            document.resolution = Some("removed from the configuration, or disabled in it".to_owned());
            document
        });
        ended.collect()
    }

    /// Hands what lives, and what is left of what has ended, to the process adapter.
    pub(crate) fn adopt(self, plan: &Plan, realms: &[RealmConfig], processes: &Processes) {
        for survivor in self.survey.realms {
            let Some(realm) = plan.find(survivor.realm.as_str()) else { continue };
            // Without one on record the core goes on in the generation it remembers.
            let run = run_on_record(&survivor.condition)
                .or_else(|| remembered(&survivor).map(|record| record.run()))
                .unwrap_or_default();
            let launch = realms.get(realm.index()).and_then(|config| config.launch.as_ref());
            processes.adopt(Key { realm, run }, survivor, launch.map(|launch| LaunchSpec::clone(launch)));
        }
    }
}

/// The damage of a record. Its file is named after its realm.
fn damage(error: &RecordError) -> Damage {
    let (RecordError::Read { path, .. } | RecordError::Damaged { path, .. }) = error else {
        return Damage { realm: None, message: error.to_string() };
    };
    let stem = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next());
    let realm = stem.filter(|_| !path.ends_with("alive.now")).and_then(|stem| RealmName::new(stem).ok());
    let message = match &realm {
        Some(_) => {
            format!("{error}; its process is looked for by its mark, and nothing is started beside it")
        }
        None => error.to_string(),
    };
    Damage { realm, message }
}

fn remembered(survivor: &Survivor) -> Option<RealmRecord> {
    match serde_json::from_str(survivor.memory.as_ref()?) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::warn!(realm = %survivor.realm, %error, "what was remembered of it cannot be read");
            None
        }
    }
}

fn run_on_record(condition: &Condition) -> Option<RunId> {
    match condition {
        Condition::Alive { run, .. } | Condition::Ended { run, .. } => Some(*run),
        Condition::Nothing | Condition::Unverifiable { .. } => None,
    }
}

fn found(survivor: &Survivor, record: Option<&RealmRecord>) -> Found {
    match &survivor.condition {
        // It had ended, and heartbeatd died before it could remember that.
        Condition::Nothing => match (survivor.last_exit, record) {
            (Some((run, exit)), Some(record)) if record.run() == run => Found::Ended { exit, empty: true },
            _ => Found::Nothing,
        },
        Condition::Alive { pid, launching, .. } => Found::Alive { pid: *pid, launching: *launching },
        Condition::Ended { exit, empty, .. } => Found::Ended { exit: *exit, empty: *empty },
        Condition::Unverifiable { what } => Found::Unverifiable { what: what.clone() },
    }
}
