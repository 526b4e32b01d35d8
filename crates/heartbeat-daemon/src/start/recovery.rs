//! The state of an earlier heartbeatd: read, and translated for the core.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use heartbeat_config::{Config, RealmConfig, with_retired};
use heartbeat_process::{
    Condition, Key, LaunchSpec, Processes, RecordError, Search, Survey, Survivor, survey,
};
use heartbeat_status::{RealmName, RunId, WallAnchor};
use heartbeat_store::Remembered;
use heartbeat_supervisor::{Found, PersistedRealm, Plan, Restored, RestoredState};

use crate::error::DaemonError;
use crate::own_health::recovery_problem::Damage;
use crate::start::open_incidents::OpenIncidents;
use crate::storage::intent;
use crate::storage::stored::StoredIntent;

/// Everything that heartbeatd has found, before anything acts on it.
pub(crate) struct Recovery {
    survey: Survey,
    intent: StoredIntent,
    pub(crate) open: OpenIncidents,
    /// What is damaged or cannot be read.
    pub(crate) damages: Vec<Damage>,
}

/// The realms with a program, and their launch specifications.
fn launched(config: &Config) -> BTreeMap<RealmName, &LaunchSpec> {
    let realms = config.plan.realms().iter().zip(&config.realms);
    realms.filter_map(|(realm, config)| Some((realm.name.clone(), config.launch.as_deref()?))).collect()
}

impl Recovery {
    /// Reads the records and the intent, and scans /proc once. `kept` are pidfds that a service manager has kept
    /// meanwhile.
    pub(crate) fn look(
        records: &Path,
        config: &Config,
        (instance_tag, groups): (&str, Option<&Path>),
        kept: &BTreeMap<RealmName, OwnedFd>,
        remembered: &Remembered,
    ) -> Result<Self, DaemonError> {
        let state_dir = &config.heartbeat.state_dir;
        let realms = launched(config);
        let socket = Some(config.heartbeat.socket.as_path());
        let search = Search { records, instance_tag, groups, kept, realms: &realms, socket };
        let prepare =
            |source| DaemonError::Prepare { what: "adoption records", path: records.to_owned(), source };
        let survey = survey(&search).map_err(prepare)?;
        let mut damages: Vec<Damage> = survey.damaged.iter().map(damage).collect();
        let mut of_ecosystem = |message: String| damages.push(Damage { realm: None, message });
        let intent = intent::load(state_dir).unwrap_or_else(|error| {
            of_ecosystem(format!("{error}; what operators had stopped or paused, and what was registered, is not known any more"));
            StoredIntent::default()
        });
        let open = OpenIncidents::read(records, remembered, &mut of_ecosystem);
        Ok(Self { survey, intent, open, damages })
    }

    /// Adds running realms that the configuration no longer has as retired ones, so that they are stopped.
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
        self.survey.realms.iter().filter(|survivor| survivor.is_alive()).count()
    }

    /// Whether a process of a realm is left to end or to adopt.
    pub(crate) fn is_there(&self, realm: &str) -> bool {
        let of = self.survey.realms.iter().find(|survivor| survivor.realm.as_str() == realm);
        of.is_some_and(|survivor| survivor.condition != Condition::Nothing)
    }

    /// Whether the main process of a realm lives.
    pub(crate) fn is_alive(&self, realm: &RealmName) -> bool {
        let of = self.survey.realms.iter().find(|survivor| survivor.realm == *realm);
        of.is_some_and(Survivor::is_alive)
    }

    /// The intent as it is on disk.
    pub(crate) fn intent(&self) -> StoredIntent {
        self.intent.clone()
    }

    /// The state for the core. `configs` are those of the plan, to see whether a process has another configuration now.
    pub(crate) fn memory(&self, plan: &Plan, configs: &[RealmConfig], anchor: WallAnchor) -> RestoredState {
        let mut realms: BTreeMap<&str, Restored> = BTreeMap::new();
        for survivor in &self.survey.realms {
            let Some(ix) = plan.find(survivor.realm.as_str()) else { continue };
            let launch = configs.get(ix.index()).and_then(|config| config.launch.as_ref());
            let now = launch.filter(|_| !plan.realm(ix).retired).map(|launch| launch.identity().digest());
            let known = survivor.identity.as_ref();
            let changed =
                known.zip(now.as_ref()).map(|(known, now)| known.difference(now)).unwrap_or_default();
            if !changed.is_empty() {
                let keys = changed.join(", ");
                tracing::info!(realm = %survivor.realm, %keys, "its process is made of something else now");
            }
            let record = remembered(survivor);
            let restored = Restored {
                realm: survivor.realm.clone(),
                run: run_on_record(&survivor.condition),
                found: found(survivor, record.as_ref()),
                record,
                intent: None,
                changed: !changed.is_empty(),
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
        RestoredState {
            realms: realms.into_values().collect(),
            incidents: self.open.of(plan).into_iter().map(|kept| kept.incident).collect(),
            health_restarts: self.open.health_restarts(),
        }
    }

    /// Gives living processes, and leftovers of ended ones, to the process adapter.
    pub(crate) fn adopt(self, plan: &Plan, realms: &[RealmConfig], processes: &Processes) {
        for survivor in self.survey.realms {
            let Some(realm) = plan.find(survivor.realm.as_str()) else { continue };
            // Without one on record the core continues in the generation of its own record.
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
            format!(
                "{error}; its process is looked for by its instance tag, and nothing is started beside it"
            )
        }
        None => error.to_string(),
    };
    Damage { realm, message }
}

fn remembered(survivor: &Survivor) -> Option<PersistedRealm> {
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
        Condition::Alive { run, .. } | Condition::Forked { run, .. } | Condition::Ended { run, .. } => {
            Some(*run)
        }
        Condition::Nothing | Condition::Unverifiable { .. } => None,
    }
}

fn found(survivor: &Survivor, record: Option<&PersistedRealm>) -> Found {
    match &survivor.condition {
        // The process had ended, and heartbeatd died before it could write that.
        Condition::Nothing => match (survivor.last_exit, record) {
            (Some((run, exit)), Some(record)) if record.run() == run => Found::Ended { exit, empty: true },
            _ => Found::Nothing,
        },
        Condition::Alive { pid, launching, .. } => Found::Alive { pid: *pid, launching: *launching },
        Condition::Forked { pid, .. } => Found::Forked { pid: *pid },
        Condition::Ended { exit, empty, .. } => Found::Ended { exit: *exit, empty: *empty },
        Condition::Unverifiable { what } => Found::Unverifiable { what: what.clone() },
    }
}

#[cfg(test)]
mod tests {
    use heartbeat_status::RealmIx;

    use super::*;
    use crate::clock;
    use crate::reporting::incident_store::Kept;
    use crate::sample::{Sample, config, sample};
    use crate::start::open_incidents::ecosystem_path;
    use crate::start::state_check::check_state;
    use crate::storage::databases::Databases;
    use crate::storage::files;
    use crate::storage::spare_incidents::{SpareIncidents, Unwritten};
    use crate::storage::stored::{ECOSYSTEM_MAGIC, ECOSYSTEM_NOTE, INTENT_MAGIC};
    use heartbeat_process::boot_id;
    use heartbeat_status::{
        Desired, Exit, Incident, IncidentNo, IncidentStep, Instant, OwnProblemKind, Reason, Severity,
        WallTime,
    };
    use heartbeat_store::{Attempt, AttemptOutcome, Delivery};
    use heartbeat_wire::{INCIDENT_SCHEMA, IncidentDocument, IncidentLinks};
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    /// No other heartbeatd on this host has realms of these names.
    const REALMS: &str =
        "[realm.zq-db]\nrun = \"true\"\n[realm.zq-web]\nrun = \"true\"\nneeds = [\"zq-db\"]\n";

    const KEEP: heartbeat_store::Keep =
        heartbeat_store::Keep { history: Duration::from_secs(86_400), max_bytes: 1 << 20 };

    /// Bounds a hang: the end of a database waits no longer than its own bound, whatever is on disk by then.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Waits until the database has written all that it was given, and done what was to follow.
    fn on_disk(databases: &Databases) {
        let (give, take) = std::sync::mpsc::sync_channel(1);
        databases.incidents.flush(Box::new(move |written| drop(give.send(written))));
        take.recv_timeout(PATIENCE).unwrap().unwrap();
    }

    struct Disk {
        dir: tempfile::TempDir,
        remembered: Remembered,
    }

    impl Disk {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("realms")).unwrap();
            Self { dir, remembered: Remembered::default() }
        }

        /// Checks that the stored incidents are read back.
        fn saves(&mut self, sample: &Sample, boot: &str, restarts: &[Instant]) {
            let open = || Databases::open(self.dir.path(), KEEP, &sample.problems).unwrap();
            let databases = open();
            sample.statuses.save_incidents(boot, &databases.incidents);
            let ecosystem = sample.statuses.ecosystem(boot, restarts);
            databases.incidents.note(ECOSYSTEM_NOTE, serde_json::to_string(&ecosystem).unwrap());
            on_disk(&databases);
            drop(databases);
            let databases = open();
            on_disk(&databases);
            self.remembered = databases.remembered();
        }

        fn records(&self) -> PathBuf {
            self.dir.path().join("realms")
        }

        fn look(&self) -> Recovery {
            self.look_with(&self.remembered)
        }

        fn look_with(&self, remembered: &Remembered) -> Recovery {
            // No living process carries this mark.
            let instance_tag = format!("no-such-tag-{}", std::process::id());
            let mut config = config(REALMS);
            config.heartbeat.state_dir = self.dir.path().to_owned();
            Recovery::look(&self.records(), &config, (&instance_tag, None), &BTreeMap::new(), remembered)
                .unwrap()
        }

        fn writes(&self, path: &Path, magic: &str, body: &impl serde::Serialize) {
            files::write(path, magic, &serde_json::to_string(body).unwrap(), true).unwrap();
        }
    }

    fn document(id: &str) -> IncidentDocument {
        IncidentDocument {
            schema: INCIDENT_SCHEMA.to_owned(),
            event: IncidentStep::Updated.into(),
            id: id.to_owned(),
            seq: 3,
            ecosystem: "shop".to_owned(),
            root: "db".to_owned(),
            reason: Reason::Exited.into(),
            message: "exit code 1".to_owned(),
            severity: Severity::Warning.into(),
            affected: vec!["web".to_owned()],
            opened_at: WallTime::from_millis(1_795_473_601_123),
            resolved_at: None,
            duration_s: None,
            resolution: None,
            ack: None,
            timeline: Vec::new(),
            log_tail: vec!["bye".to_owned()],
            links: IncidentLinks { this: format!("/api/incidents/{id}/") },
        }
    }

    fn kept(no: u64, root: Option<u32>, problem: Option<OwnProblemKind>) -> Kept {
        let incident = Incident {
            no: IncidentNo(no),
            root: root.map(RealmIx),
            problem,
            reason: Reason::Exited,
            message: format!("message {no}"),
            severity: Severity::Warning,
            affected: vec![RealmIx(1)],
            opened_at: Instant::from_millis(77),
            failed: no == 1,
        };
        Kept { incident, document: document(&format!("01-{no}")) }
    }

    #[test]
    fn open_incidents_come_back_field_by_field() {
        let (mut disk, sample) = (Disk::new(), sample(REALMS));
        let open = [kept(1, Some(0), None), kept(2, None, Some(OwnProblemKind::Intent)), kept(5, None, None)];
        sample.statuses.restore_incidents(open.to_vec());
        let restarts = [Instant::from_millis(5), Instant::from_millis(9)];
        disk.saves(&sample, &boot_id(), &restarts);
        let recovery = disk.look();
        assert_eq!(recovery.damages, []);
        let back = recovery.open.of(&sample.plan);
        for (before, after) in open.iter().zip(&back) {
            assert_eq!(before.incident, after.incident);
            assert_eq!(before.document, after.document);
        }
        assert_eq!(back.len(), open.len());
        let memory = recovery.memory(&sample.plan, &[], clock::anchor());
        assert_eq!(memory.health_restarts, restarts);
        assert_eq!(memory.incidents.len(), open.len());
    }

    #[test]
    fn incidents_of_another_boot_go_on_with_the_time_of_the_wall() {
        let (mut disk, sample) = (Disk::new(), sample(REALMS));
        sample.statuses.restore_incidents(vec![kept(1, Some(0), None)]);
        disk.saves(&sample, "another boot", &[Instant::from_millis(5)]);
        let recovery = disk.look();
        let back = recovery.open.of(&sample.plan);
        let opened_at = clock::instant_of(back[0].document.opened_at, recovery.open.anchor());
        assert_eq!((back.len(), back[0].incident.opened_at), (1, opened_at));
        assert_eq!(back[0].document, document("01-1"));
        let memory = recovery.memory(&sample.plan, &[], clock::anchor());
        assert_eq!(memory.health_restarts, [], "they count within their boot");
    }

    #[test]
    fn incidents_of_realms_that_are_gone_are_over() {
        let (mut disk, sample) = (Disk::new(), sample("[realm.gone]\nrun = \"true\"\n"));
        sample.statuses.restore_incidents(vec![kept(1, Some(0), None)]);
        disk.saves(&sample, &boot_id(), &[]);
        let plan = crate::sample::sample(REALMS).plan;
        let recovery = disk.look();
        assert!(recovery.open.of(&plan).is_empty());
        let over = recovery.open.orphaned(&plan, clock::anchor()).remove(0).document;
        assert!(over.resolved_at.is_some() && over.duration_s.unwrap() > 0.0, "{over:?}");
    }

    #[test]
    fn the_file_of_a_version_without_a_database_is_read_once() {
        let (disk, sample) = (Disk::new(), sample(REALMS));
        let mut incident = serde_json::json!({
            "no": 1, "root": "zq-db", "reason": "Exited", "message": "message 1", "severity": "warning",
            "affected": [], "opened_ns": 77_000_000, "failed": false,
        });
        incident["document"] = serde_json::to_value(document("01-1")).unwrap();
        let old =
            serde_json::json!({ "boot": boot_id(), "incidents": [incident], "health_restarts_ns": [5] });
        disk.writes(&ecosystem_path(&disk.records()), ECOSYSTEM_MAGIC, &old);
        let back = disk.look().open.of(&sample.plan);
        assert_eq!((back.len(), back[0].incident.opened_at), (1, Instant::from_millis(77)));
        assert_eq!(back[0].document, document("01-1"));
        let spare = SpareIncidents::new(ecosystem_path(&disk.records()), disk.look().open.unwritten());
        assert!(spare.is_held(), "until the database has it");
        spare.retire();
        assert!(!ecosystem_path(&disk.records()).exists());
    }

    /// A notification of a document for the receiver `ops`, as the writer gives it to the database.
    fn delivery(document: &IncidentDocument) -> Delivery {
        Delivery {
            receiver: "ops".to_owned(),
            document: Arc::new(document.clone()),
            queued_at: WallTime::from_millis(1_795_473_602_000),
            message: None,
        }
    }

    fn delivered(document: &IncidentDocument) -> Attempt {
        Attempt {
            receiver: "ops".to_owned(),
            incident: document.id.clone(),
            seq: document.seq,
            at: WallTime::from_millis(1_795_473_603_000),
            outcome: AttemptOutcome::Delivered { message: None },
        }
    }

    fn over(mut kept: Kept) -> Kept {
        let document = &mut kept.document;
        (document.event, document.seq) = (IncidentStep::Resolved.into(), document.seq + 1);
        (document.resolved_at, document.duration_s) = (Some(WallTime::from_millis(1)), Some(5.0));
        kept
    }

    #[test]
    fn what_the_database_did_not_take_comes_back_from_the_file() {
        let (mut disk, sample) = (Disk::new(), sample(REALMS));
        sample.statuses.restore_incidents(vec![kept(1, Some(0), None), kept(2, Some(1), None)]);
        disk.saves(&sample, &boot_id(), &[]);
        // The first has come further since then, the second has not, and the database has never heard of the third.
        let (mut further, new) = (kept(1, Some(0), None), kept(3, None, Some(OwnProblemKind::Intent)));
        further.document.seq = 7;
        let later = crate::sample::sample(REALMS);
        later.statuses.restore_incidents(vec![further.clone(), kept(2, Some(1), None), new.clone()]);
        let spare = SpareIncidents::new(ecosystem_path(&disk.records()), Unwritten::default());
        spare.note(vec!["01-3".to_owned()], Vec::new());
        spare.save(|unwritten| later.statuses.spare(&boot_id(), unwritten));
        let mut recovery = disk.look();
        assert_eq!(recovery.damages, []);
        let back = recovery.open.of(&sample.plan);
        let seqs: Vec<_> = back.iter().map(|kept| (kept.document.id.as_str(), kept.document.seq)).collect();
        assert_eq!(seqs, [("01-1", 7), ("01-2", 3), ("01-3", 3)]);
        assert_eq!((&back[0].incident, &back[2].incident), (&further.incident, &new.incident));
        // A file that was left behind: the third has ended meanwhile.
        recovery.open.leave_out(|id| id == "01-3");
        assert_eq!(recovery.open.of(&sample.plan).len(), 2);
        spare.retire();
        assert!(!ecosystem_path(&disk.records()).exists());
        assert_eq!(disk.look().open.of(&sample.plan)[0].document.seq, 3);
    }

    /// The database knows that the first is open, and nothing of the second. Both have ended on the full disk.
    #[test]
    fn the_end_of_an_incident_and_what_receivers_got_outlive_a_disk_that_takes_neither() {
        let (mut disk, sample) = (Disk::new(), sample(REALMS));
        let (first, second) = (kept(1, Some(0), None), kept(2, Some(1), None));
        sample.statuses.restore_incidents(vec![first.clone()]);
        disk.saves(&sample, &boot_id(), &[]);
        let [first_over, second_over] = [first.clone(), second.clone()].map(over);
        let later = crate::sample::sample(REALMS);
        later.statuses.restore_incidents(vec![first_over.clone(), second_over.clone()]);
        let spare = SpareIncidents::new(ecosystem_path(&disk.records()), Unwritten::default());
        let told = [&first_over.document, &second.document, &second_over.document];
        spare.note(Vec::new(), told.map(delivery).to_vec());
        spare.attempted(&delivered(&first_over.document));
        spare.attempted(&delivered(&second.document));
        spare.save(|unwritten| later.statuses.spare(&boot_id(), unwritten));
        let recovery = disk.look();
        assert_eq!(recovery.open.of(&sample.plan).len(), 0, "nothing is open again");
        assert_eq!(recovery.memory(&sample.plan, &[], clock::anchor()).incidents, []);
        let documents: Vec<_> = recovery.open.over().into_iter().map(|kept| kept.document).collect();
        assert_eq!(documents, [first_over.document.clone(), second_over.document.clone()]);
        // One key, one document: what is due is the same document, and what was delivered is known to be.
        let outbox = recovery.open.outbox(Vec::new());
        let rows: Vec<_> =
            outbox.iter().map(|row| (row.incident.as_str(), row.seq, row.open, row.state)).collect();
        use heartbeat_status::DeliveryState::{Delivered, Due};
        let expected =
            [("01-1", 4, false, Delivered), ("01-2", 3, false, Delivered), ("01-2", 4, false, Due)];
        assert_eq!(rows, expected);
        assert_eq!(outbox[2].document.as_deref(), Some(&second_over.document));
        // The disk takes it again, and has the same from then on.
        let databases = Databases::open(disk.dir.path(), KEEP, &sample.problems).unwrap();
        let next = crate::sample::sample(REALMS);
        next.statuses.restore_incidents(recovery.open.over());
        recovery.open.give(&databases.incidents);
        next.statuses.save_incidents(&boot_id(), &databases.incidents);
        on_disk(&databases);
        let remembered = databases.remembered();
        assert_eq!(remembered.open.len(), 0);
        let due = remembered.outbox.iter().filter(|row| row.state == Due).map(|row| row.seq);
        assert_eq!(due.collect::<Vec<_>>(), [4]);
        assert!(databases.has_incident("01-1") && databases.has_incident("01-2"));
        // The file has nothing new then, wherever it comes from.
        let mut recovery = disk.look_with(&remembered);
        recovery.open.leave_out(|id| databases.has_incident(id));
        assert_eq!(recovery.open.outbox(remembered.outbox.clone()), remembered.outbox);
        assert!(recovery.open.over().is_empty() && recovery.open.of(&sample.plan).is_empty());
    }

    #[test]
    fn what_an_earlier_heartbeatd_left_in_the_file_stays_there_until_the_disk_takes_it() {
        let (disk, sample) = (Disk::new(), sample(REALMS));
        let ended = over(kept(1, Some(0), None));
        sample.statuses.restore_incidents(vec![ended.clone()]);
        let spare = SpareIncidents::new(ecosystem_path(&disk.records()), Unwritten::default());
        spare.note(Vec::new(), vec![delivery(&ended.document)]);
        spare.save(|unwritten| sample.statuses.spare(&boot_id(), unwritten));
        // The next heartbeatd has an incident of its own.
        let left = disk.look().open;
        let next = crate::sample::sample(REALMS);
        next.statuses.restore_incidents(left.over());
        next.statuses.restore_incidents(vec![kept(5, Some(1), None)]);
        let spare = SpareIncidents::new(ecosystem_path(&disk.records()), left.unwritten());
        spare.note(vec!["01-5".to_owned()], Vec::new());
        spare.save(|unwritten| next.statuses.spare(&boot_id(), unwritten));
        let last = disk.look().open;
        assert_eq!(last.over().into_iter().map(|kept| kept.document).collect::<Vec<_>>(), [ended.document]);
        assert_eq!((last.of(&sample.plan).len(), last.outbox(Vec::new()).len()), (1, 1));
    }

    #[test]
    fn what_operators_asked_for_comes_back_without_any_process() {
        let (disk, sample) = (Disk::new(), sample(REALMS));
        let wish = crate::storage::stored::StoredWish { desired: Some(Desired::Down), ..Default::default() };
        let realms = BTreeMap::from([("zq-db".to_owned(), wish.clone()), ("gone".to_owned(), wish)]);
        let stored = StoredIntent { realms, ..StoredIntent::default() };
        disk.writes(&intent::path(disk.dir.path()), INTENT_MAGIC, &stored);
        let memory = disk.look().memory(&sample.plan, &[], clock::anchor());
        assert_eq!(memory.realms.len(), 1, "of realms that the plan has");
        let db = &memory.realms[0];
        assert_eq!(
            (db.realm.as_str(), &db.found, db.run, db.changed),
            ("zq-db", &Found::Nothing, None, false)
        );
        assert_eq!(db.intent.as_ref().and_then(|intent| intent.desired), Some(Desired::Down));
        assert!(db.record.is_none());
    }

    #[test]
    fn damage_is_told_with_the_realm_it_concerns_and_set_aside() {
        let disk = Disk::new();
        std::fs::write(disk.records().join("zq-db"), "not a record").unwrap();
        std::fs::write(disk.records().join("alive.now"), "not a time").unwrap();
        std::fs::write(ecosystem_path(&disk.records()), "no incidents").unwrap();
        std::fs::write(intent::path(disk.dir.path()), "no intent").unwrap();
        let damages = disk.look().damages;
        let of: Vec<Option<&str>> =
            damages.iter().map(|damage| damage.realm.as_ref().map(RealmName::as_str)).collect();
        assert_eq!(of, [Some("zq-db"), None, None, None], "{damages:#?}");
        for name in ["realms/zq-db", "realms/alive.now", "realms/ecosystem.now", "intent"] {
            assert!(disk.dir.path().join(format!("{name}.damaged")).exists(), "{name}");
        }
        assert_eq!(disk.look().damages, [], "told once");
    }

    #[test]
    fn a_file_that_is_whole_and_makes_no_sense_is_damage_too() {
        let disk = Disk::new();
        files::write(&ecosystem_path(&disk.records()), ECOSYSTEM_MAGIC, "[1, 2]", true).unwrap();
        let damages = disk.look().damages;
        assert_eq!(damages.len(), 1, "{damages:#?}");
        assert!(damages[0].message.contains("ecosystem.now"), "{damages:#?}");
    }

    #[test]
    fn a_generation_is_on_record_for_what_runs_and_for_what_has_ended() {
        let alive = Condition::Alive { run: RunId(4), pid: 7, launching: true };
        let ended = Condition::Ended { run: RunId(5), exit: Exit::code(1), empty: false };
        let unverifiable = Condition::Unverifiable { what: "pid 9".to_owned() };
        assert_eq!((run_on_record(&alive), run_on_record(&ended)), (Some(RunId(4)), Some(RunId(5))));
        assert_eq!((run_on_record(&unverifiable), run_on_record(&Condition::Nothing)), (None, None));
    }

    #[test]
    fn checking_the_state_changes_nothing_and_names_what_cannot_be_read() {
        let disk = Disk::new();
        let mut config = config(REALMS);
        (config.heartbeat.state_dir, config.heartbeat.runtime_dir) =
            (disk.dir.path().into(), disk.dir.path().into());
        assert_eq!(check_state(&config).unwrap(), 0);
        let path = intent::path(disk.dir.path());
        std::fs::write(&path, "no intent").unwrap();
        let refused = check_state(&config).unwrap_err().to_string();
        assert!(refused.contains("intent"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "no intent", "not set aside by a look");
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_dir(disk.records()).unwrap();
        assert_eq!(check_state(&config).unwrap(), 0, "a first start");
    }
}
