//! The read-only output of the core: the newest snapshot, recent events, incidents. Readers never touch the core.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heartbeat_api::{EventRecord, RealmCounts};
use heartbeat_status::{
    CheckResult, Event, Health, Incident, Instant, OwnProblem, OwnProblemKind, ProbeInfo, ProbeIx, ProbeKind,
    RealmIx, Reason, Snapshot, WallAnchor, human_seconds,
};
use heartbeat_store::{Delivery, IncidentDb, IncidentRecord};
use heartbeat_wire::{
    About, AckEntry, ConfigProblem, EVENT_SCHEMA, EventEntry, IncidentDocument, ProcessUsage, SloEntry,
};
use tokio::sync::watch;

use crate::active_config::SharedConfig;
use crate::own_health::lag;
use crate::own_health::own_problems::OwnProblems;
use crate::reporting::dated::Dated;
use crate::reporting::history_recorder::Figures;
use crate::reporting::incident_store::{IncidentStore, Kept, Step};
use crate::reporting::past::{Past, RecentPast};
use crate::storage::spare_incidents::MAX_SPARE_INCIDENTS;
use crate::storage::stored::{StoredEcosystem, StoredIncident};
use crate::{clock, random};

/// Facts kept for readers that follow events.
const MAX_FACTS: usize = 2_000;
/// When the driver's loop has not turned for longer than this, heartbeatd is not live.
const ALIVE_WITHIN: Duration = Duration::from_secs(10);

/// The newest snapshot and what goes with it.
#[derive(Debug)]
pub(crate) struct StatusStore {
    snapshot: watch::Sender<Arc<Snapshot>>,
    /// Changes of meaning outside the core, which its revisions do not count. Held while a snapshot is replaced.
    beside: Mutex<u64>,
    count: watch::Sender<u64>,
    past: Mutex<Past>,
    incidents: Mutex<IncidentStore>,
    facts: Mutex<VecDeque<EventRecord>>,
    anchor: Mutex<WallAnchor>,
    config: SharedConfig,
    figures: Figures,
    usage: Dated<BTreeMap<String, ProcessUsage>>,
    objectives: Dated<Vec<SloEntry>>,
    config_problem: Mutex<Option<(ConfigProblem, Instant)>>,
    lag_p99_nanos: AtomicU64,
    lag_max_nanos: AtomicU64,
    instance: String,
    started_at: Instant,
    /// When the driver's loop last turned.
    turned_at: AtomicU64,
    problems: Arc<OwnProblems>,
}

impl StatusStore {
    pub(crate) fn new(
        first: Snapshot,
        config: SharedConfig,
        instance: String,
        anchor: WallAnchor,
        problems: Arc<OwnProblems>,
    ) -> Self {
        let past = Past::new(first.realms.len());
        let name = config.current().heartbeat.name.clone();
        let started_at = clock::now();
        Self {
            snapshot: watch::Sender::new(Arc::new(first)),
            beside: Mutex::default(),
            count: watch::Sender::new(0),
            past: Mutex::new(past),
            incidents: Mutex::new(IncidentStore::new(name)),
            facts: Mutex::default(),
            anchor: Mutex::new(anchor),
            config,
            figures: Figures::default(),
            usage: Dated::default(),
            objectives: Dated::default(),
            config_problem: Mutex::default(),
            lag_p99_nanos: AtomicU64::new(0),
            lag_max_nanos: AtomicU64::new(0),
            instance,
            started_at,
            turned_at: AtomicU64::new(started_at.as_nanos()),
            problems,
        }
    }

    /// Name of the ecosystem.
    pub(crate) fn name(&self) -> String {
        self.config.current().heartbeat.name.clone()
    }

    /// The name of this life of heartbeatd.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// When heartbeatd was started.
    pub(crate) const fn started_at(&self) -> Instant {
        self.started_at
    }

    /// Which configuration is in force, counted from 1.
    pub(crate) fn config_revision(&self) -> u64 {
        self.config.current().revision
    }

    /// Records the result of reading the configuration on disk: why it does not take effect, or that it does. It is a
    /// change of meaning, so the revision moves and every reader sees it at once.
    pub(crate) fn set_config_problem(&self, problem: Option<ConfigProblem>) {
        let mut known = self.config_problem.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().map(|(problem, _)| problem) != problem.as_ref() {
            // The problem is the same one even if the file now has another mistake, so its start time stays.
            let since = known.take().map_or_else(clock::now, |(_, since)| since);
            *known = problem.map(|problem| (problem, since));
            drop(known);
            let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
            *beside += 1;
            self.snapshot.send_modify(|snapshot| Arc::make_mut(snapshot).revision += 1);
            drop(beside);
            self.count.send_modify(|count| *count += 1);
        }
    }

    /// Another configuration is in force; `to_others` are indices that belong to another realm now.
    pub(crate) fn hand_on(&self, to_others: &[RealmIx]) {
        let count = self.config.current().realms.len();
        self.past.lock().unwrap_or_else(PoisonError::into_inner).hand_on(count, to_others);
    }

    /// Records an event for the realm documents and the incidents. Returns the incident step that the event is, if any.
    pub(crate) fn note(&self, event: &Event) -> Option<Step> {
        let anchor = self.anchor();
        self.past.lock().unwrap_or_else(PoisonError::into_inner).note(event, anchor);
        let snapshot = self.snapshot();
        let step = self.incidents().note(event, &snapshot, anchor, random::bytes);
        let incident = step.as_ref().map(|step| step.document.id.clone());
        self.remember(event, snapshot.revision, anchor, incident);
        step
    }

    fn remember(&self, event: &Event, revision: u64, anchor: WallAnchor, incident: Option<String>) {
        let Some((what, detail)) = event.kind.fact() else { return };
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = EventEntry {
            schema: EVENT_SCHEMA.to_owned(),
            // Numbers of its own: not every fact is an event of the core.
            seq: facts.back().map_or(0, |fact| fact.entry.seq) + 1,
            at: anchor.wall(event.at),
            realm: event.realm.as_ref().map(|(_, name)| name.to_string()),
            what: what.into(),
            detail,
            incident,
        };
        if facts.len() >= MAX_FACTS {
            facts.pop_front();
        }
        facts.push_back(EventRecord { revision, entry: Arc::new(entry) });
    }

    /// Facts that are remembered after the one with the number `after`.
    pub(crate) fn facts(&self, after: u64) -> Vec<EventRecord> {
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let from = facts.partition_point(|fact| fact.entry.seq <= after);
        facts.range(from..).cloned().collect()
    }

    fn incidents(&self) -> MutexGuard<'_, IncidentStore> {
        self.incidents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The incidents in memory that `wanted` selects.
    pub(crate) fn incidents_that(
        &self,
        wanted: impl Fn(&IncidentDocument) -> bool,
    ) -> Vec<Arc<IncidentDocument>> {
        self.incidents().documents().filter(|document| wanted(document)).cloned().map(Arc::new).collect()
    }

    /// Acknowledges an incident; the document as it is then, if the incident is remembered here.
    pub(crate) fn acknowledge(&self, id: &str, ack: AckEntry) -> Option<IncidentDocument> {
        self.incidents().acknowledge(id, ack)
    }

    /// Adds the last lines of output of an incident's root.
    pub(crate) fn attach_output(&self, id: &str, output: Vec<String>) {
        self.incidents().attach(id, output);
    }

    /// Replaces the snapshot and wakes every reader that waits for a change.
    pub(crate) fn publish(&self, mut snapshot: Snapshot, lag: (Duration, Duration)) {
        self.past.lock().unwrap_or_else(PoisonError::into_inner).note_restarts(&snapshot);
        {
            let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
            *anchor = clock::still_true(*anchor);
        }
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.lag_p99_nanos.store(nanos(lag.0), Ordering::Relaxed);
        self.lag_max_nanos.store(nanos(lag.1), Ordering::Relaxed);
        let beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot.revision += *beside;
        self.snapshot.send_replace(Arc::new(snapshot));
        drop(beside);
        self.count.send_modify(|count| *count += 1);
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Changes with every published snapshot.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    pub(crate) fn past(&self, realm: RealmIx) -> RecentPast {
        self.past.lock().unwrap_or_else(PoisonError::into_inner).of(realm)
    }

    /// Counts the result of a measurement.
    pub(crate) fn measured(&self, (realm, probe): (RealmIx, ProbeIx), result: &CheckResult) {
        let snapshot = self.snapshot();
        let Some(info) = snapshot.realm(realm).and_then(|realm| realm.info.probes.get(probe.index())) else {
            return;
        };
        self.past.lock().unwrap_or_else(PoisonError::into_inner).measured(realm, &info.name, result);
    }

    /// Counts of a realm.
    pub(crate) fn counts(&self, realm: RealmIx) -> RealmCounts {
        let snapshot = self.snapshot();
        let Some(known) = snapshot.realm(realm) else { return RealmCounts::default() };
        let is_known = |name: &str| known.info.probes.iter().any(|probe| *probe.name == *name);
        self.past.lock().unwrap_or_else(PoisonError::into_inner).counts(realm, is_known)
    }

    /// The anchor that converts monotonic times to wall times.
    pub(crate) fn about_times(&self) -> WallAnchor {
        self.anchor()
    }

    fn anchor(&self) -> WallAnchor {
        *self.anchor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lag(&self) -> (Duration, Duration) {
        let read = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed));
        (read(&self.lag_p99_nanos), read(&self.lag_max_nanos))
    }

    /// The driver's loop has turned.
    pub(crate) fn note_turn(&self, now: Instant) {
        self.turned_at.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// When the driver's loop last turned.
    pub(crate) fn turned_at(&self) -> Instant {
        Instant::from_nanos(self.turned_at.load(Ordering::Relaxed))
    }

    /// The driver's loop has turned recently enough to count as alive.
    pub(crate) fn loop_turns(&self, now: Instant) -> bool {
        now.since(Instant::from_nanos(self.turned_at.load(Ordering::Relaxed))) <= ALIVE_WITHIN
    }

    /// The problem that the driver's loop has turned and stands still: whatever is shown is as it was then.
    fn standstill(&self, now: Instant) -> Option<OwnProblem> {
        let since = self.turned_at();
        let stands = since > self.started_at && !self.loop_turns(now);
        stands.then(|| OwnProblem {
            kind: OwnProblemKind::Loop,
            message: format!(
                "the loop of heartbeatd has stood still for {}: every status is as old as that",
                human_seconds(i64::try_from(now.since(since).as_secs()).unwrap_or(i64::MAX))
            ),
            since,
        })
    }

    /// Takes over the incidents of an earlier heartbeatd: see [`IncidentStore::restore`].
    pub(crate) fn restore_incidents(&self, kept: Vec<Kept>) {
        self.incidents().restore(kept);
    }

    /// Takes over an incident that ends now: give the incident writer its document.
    pub(crate) fn restore_ending(&self, kept: Kept) {
        self.incidents().restore_ending(kept);
    }

    /// Gives the database the changes of incidents.
    pub(crate) fn save_incidents(&self, boot: &str, database: &IncidentDb) {
        let snapshot = self.snapshot();
        // Under the lock, so that no older state follows a newer one.
        let mut incidents = self.incidents();
        for (incident, document) in incidents.take_changed() {
            database.record(stored(&incident, Arc::new(document), boot, &snapshot), Vec::new(), None);
        }
    }

    /// Gives the database a step of an incident with its notifications: one transaction.
    pub(crate) fn save_step(
        &self,
        (incident, document): (Option<&Incident>, &Arc<IncidentDocument>),
        deliveries: Vec<Delivery>,
        boot: &str,
        database: &IncidentDb,
    ) {
        let snapshot = self.snapshot();
        let mut incidents = self.incidents();
        let record = match incident {
            Some(incident) => stored(incident, Arc::clone(document), boot, &snapshot),
            None => IncidentRecord { document: Arc::clone(document), state: None },
        };
        database.record(record, deliveries, None);
        incidents.step_written(&document.id);
    }

    /// A reminder of an open incident takes the next number; save it as a step.
    pub(crate) fn next_number(&self, id: &str) -> Option<(Arc<Incident>, IncidentDocument)> {
        self.incidents().next_number(id)
    }

    /// Gives up a step that the incident writer did not write: the incident is saved without it.
    pub(crate) fn skip_step(&self, id: &str) {
        self.incidents().step_written(id);
    }

    /// Open incidents of which every step is written, the oldest first.
    pub(crate) fn written_open_incidents(&self) -> Vec<(Arc<IncidentDocument>, bool)> {
        self.incidents().written_open()
    }

    /// What history says of each realm; the recorder replaces it.
    pub(crate) fn figures(&self) -> Figures {
        Arc::clone(&self.figures)
    }

    /// What the processes of each realm use. New numbers wake no reader.
    pub(crate) fn set_usage(&self, usage: BTreeMap<String, ProcessUsage>) {
        self.usage.set(clock::now(), usage);
    }

    /// How the objectives stand. New numbers wake no reader.
    pub(crate) fn set_objectives(&self, entries: Vec<SloEntry>) {
        self.objectives.set(clock::now(), entries);
    }

    /// The state that belongs to no single realm and has to survive heartbeatd.
    pub(crate) fn ecosystem(&self, boot: &str, health_restarts: &[Instant]) -> StoredEcosystem {
        StoredEcosystem {
            boot: boot.to_owned(),
            incidents: Vec::new(),
            notifications: Vec::new(),
            health_restarts_ns: health_restarts.iter().map(|at| at.as_nanos()).collect(),
            anchor: Some((self.anchor().instant.as_nanos(), self.anchor().wall.as_millis())),
            damages: Vec::new(),
        }
    }

    /// What the database has not taken, for a file: see [`IncidentStore::unwritten`].
    pub(crate) fn spare(&self, boot: &str, unwritten: &BTreeSet<String>) -> StoredEcosystem {
        let snapshot = self.snapshot();
        let incidents = self.incidents();
        let kept = incidents.unwritten(unwritten).take(MAX_SPARE_INCIDENTS);
        let stored = kept.map(|Kept { incident, document }| StoredIncident {
            document: Some(document),
            ..stored_incident(&incident, boot, &snapshot)
        });
        StoredEcosystem { incidents: stored.collect(), ..self.ecosystem(boot, &[]) }
    }

    /// The problems of heartbeatd itself; empty when there are none.
    pub(crate) fn own_problems(&self) -> Vec<OwnProblem> {
        let mut problems = self.problems.list();
        let snapshot = self.snapshot();
        let stale = snapshot.incidents.iter().find(|incident| incident.reason == Reason::Stale);
        for realm in &snapshot.realms {
            // A heartbeat that does not come is the job's silence, and no measurement of heartbeatd.
            let measured = |info: &ProbeInfo| info.kind != ProbeKind::Push;
            let probes = realm.info.probes.iter().zip(&realm.probes);
            for (info, _) in probes.filter(|(info, probe)| probe.stale && measured(info)) {
                problems.push(OwnProblem {
                    kind: OwnProblemKind::Probes,
                    message: format!(
                        "no conclusive result of probe {} of {} for too long",
                        info.name, realm.info.name
                    ),
                    since: stale.map_or(snapshot.at, |incident| incident.opened_at),
                });
            }
        }
        if let Some(standstill) = self.standstill(clock::now()) {
            problems.retain(|problem| problem.kind != OwnProblemKind::Loop);
            problems.push(standstill);
        }
        // Only the core knows how long starts have failed.
        let starts = |incident: &&Arc<Incident>| incident.problem == Some(OwnProblemKind::Starts);
        problems.extend(snapshot.incidents.iter().filter(starts).map(|incident| OwnProblem {
            kind: OwnProblemKind::Starts,
            message: incident.message.clone(),
            since: incident.opened_at,
        }));
        problems
    }

    pub(crate) fn about(&self) -> About {
        let notes: Vec<String> = self.own_problems().into_iter().map(|problem| problem.message).collect();
        let now = clock::now();
        About {
            instance: self.instance.clone(),
            name: self.config.current().heartbeat.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            health: if notes.is_empty() { Health::Healthy } else { Health::Unhealthy },
            notes,
            public: false,
            lag: lag::entry(self.lag()),
            config_revision: self.config_revision(),
            config_problem: self.config_problem.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            anchor: self.anchor(),
            incident_ids: self.incidents().open_ids(),
            figures: self.figures.get(now),
            objectives: self.objectives.get(now),
            usage: self.usage.get(now),
        }
    }
}

/// An incident as the database has it.
fn stored(
    incident: &Incident,
    document: Arc<IncidentDocument>,
    boot: &str,
    snapshot: &Snapshot,
) -> IncidentRecord {
    let open = document.resolved_at.is_none();
    // Text and numbers always serialise.
    let state =
        open.then(|| serde_json::to_string(&stored_incident(incident, boot, snapshot)).unwrap_or_default());
    IncidentRecord { document, state }
}

/// An incident without its document.
fn stored_incident(incident: &Incident, boot: &str, snapshot: &Snapshot) -> StoredIncident {
    let name = |ix: &RealmIx| snapshot.realm(*ix).map(|realm| realm.info.name.to_string());
    StoredIncident {
        boot: boot.to_owned(),
        no: incident.no.0,
        root: incident.root.as_ref().and_then(name),
        problem: incident.problem,
        reason: incident.reason,
        message: incident.message.clone(),
        severity: incident.severity,
        affected: incident.affected.iter().filter_map(name).collect(),
        opened_ns: incident.opened_at.as_nanos(),
        failed: incident.failed,
        document: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, sample};
    use heartbeat_status::{EventKind, RealmName};
    use heartbeat_wire::Action;

    const REALMS: &str = "[realm.db]\nrun = \"true\"\n";

    fn event(seq: u64) -> Event {
        let realm = Some((RealmIx(0), RealmName::new("db").unwrap()));
        let kind = EventKind::Commanded { action: Action::Stop, reason: None };
        Event { seq, at: clock::now(), realm, kind }
    }

    #[test]
    fn facts_are_bounded_and_read_from_where_a_reader_stands() {
        let sample = sample(REALMS);
        let most = MAX_FACTS as u64;
        for seq in 1..=most + 10 {
            sample.statuses.note(&event(seq));
        }
        let seqs = |after| sample.statuses.facts(after).iter().map(|fact| fact.entry.seq).collect::<Vec<_>>();
        assert_eq!((seqs(0).len(), seqs(0)[0]), (MAX_FACTS, 11), "the oldest go");
        assert_eq!(seqs(most + 7), [most + 8, most + 9, most + 10]);
        assert!(seqs(most + 10).is_empty());
    }

    #[test]
    fn the_loop_lives_for_ten_seconds_after_its_last_turn() {
        let sample = sample(REALMS);
        let turned = Instant::from_millis(1_000_000);
        sample.statuses.note_turn(turned);
        assert!(sample.statuses.loop_turns(turned + Duration::from_secs(10)));
        assert!(!sample.statuses.loop_turns(turned + Duration::from_millis(10_001)));
    }

    #[test]
    fn whatever_is_shown_says_so_when_the_loop_stands_still() {
        let sample = sample(REALMS);
        let turned = sample.statuses.started_at() + Duration::from_millis(1);
        sample.statuses.note_turn(turned);
        let after = |by: Duration| sample.statuses.standstill(turned + by);
        assert_eq!(after(Duration::from_secs(10)), None);
        let problem = after(Duration::from_millis(72_001)).unwrap();
        assert_eq!((problem.kind, problem.since), (OwnProblemKind::Loop, turned));
        assert_eq!(
            problem.message,
            "the loop of heartbeatd has stood still for 1m12s: every status is as old as that"
        );
    }

    #[test]
    fn every_problem_is_a_note_and_makes_heartbeatd_unhealthy() {
        let sample = sample(REALMS);
        let about = || sample.statuses.about();
        assert_eq!((about().health, about().notes.len()), (Health::Healthy, 0));
        sample.problems.report(OwnProblemKind::Socket, "the socket is gone");
        sample.problems.report(OwnProblemKind::Intent, "cannot write intent");
        assert_eq!(about().health, Health::Unhealthy);
        assert_eq!(about().notes, ["cannot write intent", "the socket is gone"]);
        sample.problems.clear(OwnProblemKind::Socket);
        sample.problems.clear(OwnProblemKind::Intent);
        sample.problems.settle(clock::now() + Duration::from_secs(60));
        assert_eq!((about().health, about().notes.len()), (Health::Healthy, 0));
    }

    #[test]
    fn a_configuration_that_cannot_be_loaded_is_told_with_its_beginning_and_leaves_heartbeatd_healthy() {
        let sample = sample(REALMS);
        let about = || sample.statuses.about();
        let problem = |code: &str| ConfigProblem::new(format!("{code}: `secret`"), code);
        sample.statuses.set_config_problem(Some(problem("HB101")));
        let (first, since) = about().config_problem.unwrap();
        assert_eq!((first, about().health), (problem("HB101"), Health::Healthy));
        assert_eq!(about().config_problem(), Some("HB101: `secret`"));
        assert_eq!(About { public: true, ..about() }.config_problem(), Some("HB101"));
        sample.statuses.set_config_problem(Some(problem("HB102")));
        assert_eq!(about().config_problem, Some((problem("HB102"), since)), "another mistake, the same time");
        sample.statuses.set_config_problem(None);
        assert_eq!(about().config_problem, None);
    }

    #[test]
    fn a_problem_of_the_configuration_and_its_end_move_the_revision_and_later_ones_stay_above_it() {
        let mut sample = sample(REALMS);
        let statuses = Arc::clone(&sample.statuses);
        let revision = || statuses.snapshot().revision;
        let (before, changes) = (revision(), statuses.changes());
        let problem = || Some(ConfigProblem::new("HB101: `secret`", "HB101"));
        sample.statuses.set_config_problem(problem());
        assert_eq!((revision(), *changes.borrow()), (before + 1, 1));
        sample.statuses.set_config_problem(problem());
        assert_eq!((revision(), *changes.borrow()), (before + 1, 1), "the same problem");
        sample.statuses.set_config_problem(None);
        assert_eq!(revision(), before + 2);
        let same = sample.supervisor.snapshot(clock::now());
        sample.statuses.publish(same, (Duration::ZERO, Duration::ZERO));
        assert_eq!(revision(), before + 2, "the core has nothing new");
        sample.supervisor.handle(clock::now(), heartbeat_supervisor::Input::Boot);
        let next = sample.supervisor.snapshot(clock::now());
        sample.statuses.publish(next, (Duration::ZERO, Duration::ZERO));
        assert!(revision() > before + 2);
    }

    #[tokio::test]
    async fn readers_are_woken_by_what_is_published_and_find_it() {
        let mut sample = sample(REALMS);
        let mut changes = sample.statuses.changes();
        changes.borrow_and_update();
        sample.supervisor.handle(clock::now(), heartbeat_supervisor::Input::Boot);
        let snapshot = sample.supervisor.snapshot(clock::now());
        let revision = snapshot.revision;
        sample.statuses.publish(snapshot, (Duration::from_millis(3), Duration::from_millis(9)));
        changes.changed().await.unwrap();
        assert_eq!(sample.statuses.snapshot().revision, revision);
        let lag = sample.statuses.about().lag;
        assert_eq!((lag.p99, lag.max), (3.0, 9.0));
    }

    #[test]
    fn a_place_that_belongs_to_another_realm_has_no_past() {
        let sample = sample("[realm.db]\nrun = \"true\"\n[realm.web]\nrun = \"true\"\n");
        let exit = |ix, name: &str| {
            let kind = EventKind::RunExited {
                run: heartbeat_status::RunId(1),
                exit: heartbeat_status::Exit::code(1),
                expected: false,
            };
            Event { seq: 1, at: clock::now(), realm: Some((ix, RealmName::new(name).unwrap())), kind }
        };
        sample.statuses.note(&exit(RealmIx(0), "db"));
        sample.statuses.note(&exit(RealmIx(1), "web"));
        sample.statuses.hand_on(&[RealmIx(0)]);
        let failures = |ix| sample.statuses.past(ix).1.len();
        assert_eq!((failures(RealmIx(0)), failures(RealmIx(1))), (0, 1));
    }

    #[test]
    fn the_name_and_the_revision_are_those_of_the_configuration_in_force() {
        let sample = sample(REALMS);
        let mut next = sample::active(REALMS);
        (next.revision, next.heartbeat.name) = (2, "shop2".to_owned());
        sample.config.replace(next);
        let about = sample.statuses.about();
        assert_eq!((about.config_revision, about.name.as_str()), (2, "shop2"));
    }
}
