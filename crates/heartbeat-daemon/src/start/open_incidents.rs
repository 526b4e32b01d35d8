//! The incidents that were open when an earlier heartbeatd died, and the anchor of its wall times: from the database,
//! and from the file of what the database did not take, which also has incidents that are over, and notifications.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heartbeat_process::boot_id;
use heartbeat_status::{DeliveryState, Incident, IncidentNo, IncidentStep, Instant, WallAnchor, WallTime};
use heartbeat_store::{
    Attempt, AttemptOutcome, Delivery, IncidentDb, IncidentRecord, OutboxEntry, Remembered,
};
use heartbeat_supervisor::Plan;
use heartbeat_wire::IncidentDocument;

use crate::clock;
use crate::reporting::incident_store::{Kept, lasted};
use crate::storage::files;
use crate::storage::spare_incidents::Unwritten;
use crate::storage::stored::{
    ECOSYSTEM_MAGIC, ECOSYSTEM_NOTE, StoredDamage, StoredEcosystem, StoredIncident, StoredNotification,
};

/// Why a notification did not arrive that an earlier heartbeatd gave up.
const BEFORE_RESTART: &str = "before heartbeatd was started anew";

/// The state from the database, or from the file.
pub(crate) struct OpenIncidents {
    ecosystem: StoredEcosystem,
    incidents: Vec<(StoredIncident, Arc<IncidentDocument>)>,
    /// Incidents whose end only the file has.
    over: Vec<(StoredIncident, Arc<IncidentDocument>)>,
    /// Incidents that are open in the database.
    in_database: BTreeSet<String>,
    /// Incidents of the file.
    in_file: BTreeSet<String>,
    /// Notifications of the file.
    notifications: Vec<StoredNotification>,
}

/// The file of open incidents that the database did not take, and of versions without a database: beside the adoption
/// records, under a name that no realm has.
pub(crate) fn ecosystem_path(records: &Path) -> PathBuf {
    records.join("ecosystem.now")
}

impl OpenIncidents {
    /// `damaged` gets a message for each thing that cannot be read.
    pub(crate) fn read(records: &Path, remembered: &Remembered, damaged: &mut impl FnMut(String)) -> Self {
        let note = remembered.notes.iter().find(|(name, _)| name == ECOSYSTEM_NOTE);
        let ecosystem = note.and_then(|(_, body)| serde_json::from_str(body).ok());
        let mut incidents: Vec<(StoredIncident, Arc<IncidentDocument>)> =
            remembered.open.iter().filter_map(|record| stored_incident(record, damaged)).collect();
        let mut file = of_file(records, damaged);
        let in_database: BTreeSet<String> =
            incidents.iter().map(|(_, document)| document.id.clone()).collect();
        let in_file = join(&mut incidents, &file.boot, std::mem::take(&mut file.incidents));
        let notifications = std::mem::take(&mut file.notifications);
        let ecosystem = ecosystem.unwrap_or(file);
        let ecosystem = if ecosystem.boot == boot_id() { ecosystem } else { StoredEcosystem::default() };
        let over = incidents.extract_if(.., |(_, document)| document.resolved_at.is_some()).collect();
        Self { ecosystem, incidents, over, in_database, in_file, notifications }
    }

    /// Leaves out what the database knows the end of: the file is older.
    pub(crate) fn leave_out(&mut self, is_recorded: impl Fn(&str) -> bool) {
        let only_in_file = self.in_file.difference(&self.in_database);
        let older: BTreeSet<String> = only_in_file.filter(|id| is_recorded(id)).cloned().collect();
        self.incidents.retain(|(_, document)| !older.contains(&document.id));
        self.over.retain(|(_, document)| !older.contains(&document.id));
        self.notifications.retain(|of| !older.contains(&of.document.id));
    }

    /// The notifications of the database, and behind them those that it did not take. What became of one is in the file
    /// if the database did not take that either.
    pub(crate) fn outbox(&self, mut outbox: Vec<OutboxEntry>) -> Vec<OutboxEntry> {
        let is_over = |id: &str| self.over.iter().any(|(_, document)| document.id == id);
        for StoredNotification { receiver, document, queued_at, message, state } in &self.notifications {
            let of_receiver = |entry: &&mut OutboxEntry| {
                entry.seq == document.seq && entry.incident == document.id && entry.receiver == *receiver
            };
            if let Some(known) = outbox.iter_mut().find(of_receiver) {
                if known.state == DeliveryState::Due {
                    known.state = *state;
                }
                continue;
            }
            outbox.push(OutboxEntry {
                receiver: receiver.clone(),
                incident: document.id.clone(),
                seq: document.seq,
                event: document.event.to_string(),
                open: true,
                state: *state,
                queued_at: *queued_at,
                attempts: 0,
                attempted_at: None,
                next_at: None,
                why: None,
                document: Some(Arc::clone(document)),
                message: message.clone(),
            });
        }
        for entry in &mut outbox {
            entry.open &= !is_over(&entry.incident);
        }
        outbox
    }

    /// Gives the database the notifications of the file, and what became of them. What it has already stays.
    pub(crate) fn give(&self, database: &IncidentDb) {
        let deliveries = self.notifications.iter().map(|of| Delivery {
            receiver: of.receiver.clone(),
            document: Arc::clone(&of.document),
            queued_at: of.queued_at,
            message: of.message.clone(),
        });
        database.deliver(deliveries.collect());
        for of in &self.notifications {
            let outcome = match of.state {
                DeliveryState::Due => continue,
                DeliveryState::Delivered => AttemptOutcome::Delivered { message: of.message.clone() },
                DeliveryState::GivenUp => AttemptOutcome::GivenUp(BEFORE_RESTART.to_owned()),
                DeliveryState::Dropped => AttemptOutcome::Dropped(BEFORE_RESTART.to_owned()),
            };
            let (receiver, incident, seq) = (of.receiver.clone(), of.document.id.clone(), of.document.seq);
            database.attempted(Attempt { receiver, incident, seq, at: of.queued_at, outcome });
        }
    }

    /// What the file has, until the database on disk has it.
    pub(crate) fn unwritten(&self) -> Unwritten {
        Unwritten::left(self.in_file.iter().cloned(), self.notifications.iter().cloned())
    }

    /// The incidents whose end the database did not take.
    pub(crate) fn over(&self) -> Vec<Kept> {
        self.over.iter().map(|(stored, document)| ended(stored, IncidentDocument::clone(document))).collect()
    }

    /// Restarts for health of all realms together in this boot.
    pub(crate) fn health_restarts(&self) -> Vec<Instant> {
        self.ecosystem.health_restarts_ns.iter().copied().map(Instant::from_nanos).collect()
    }

    /// Damage that an earlier heartbeatd of this boot has reported last.
    pub(crate) fn damages(&self) -> &[StoredDamage] {
        &self.ecosystem.damages
    }

    /// The anchor of an earlier heartbeatd of this boot, unless the wall clock was stepped since.
    pub(crate) fn anchor(&self) -> WallAnchor {
        let earlier = self.ecosystem.anchor.map(|(instant, wall)| WallAnchor {
            instant: Instant::from_nanos(instant),
            wall: WallTime::from_millis(wall),
        });
        earlier.map_or_else(clock::anchor, clock::still_true)
    }

    /// The incidents that were open, with the events that receivers got. It leaves out those whose root is gone.
    pub(crate) fn of(&self, plan: &Plan) -> Vec<Kept> {
        let (boot, anchor) = (boot_id(), self.anchor());
        let kept = self.incidents.iter().filter_map(|(stored, document)| {
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
                opened_at: if stored.boot == boot {
                    Instant::from_nanos(stored.opened_ns)
                } else {
                    clock::instant_of(document.opened_at, anchor)
                },
                failed: stored.failed,
            };
            Some(Kept { incident, document: IncidentDocument::clone(document) })
        });
        kept.collect()
    }

    /// The incidents whose root is no longer in the configuration, closed with that as their resolution.
    pub(crate) fn orphaned(&self, plan: &Plan, anchor: WallAnchor) -> Vec<Kept> {
        let gone = |root: &String| plan.find(root).is_none();
        let orphans = self.incidents.iter().filter(|(stored, _)| stored.root.as_ref().is_some_and(gone));
        let boot = boot_id();
        let orphaned = orphans.map(|(stored, document)| {
            let mut document = IncidentDocument::clone(document);
            let opened =
                if stored.boot == boot { Instant::from_nanos(stored.opened_ns) } else { Instant::ZERO };
            document.duration_s = Some(lasted(opened, document.opened_at, anchor.instant, anchor));
            (document.event, document.seq) = (IncidentStep::Resolved.into(), document.seq + 1);
            document.resolved_at = Some(anchor.wall);
            document.resolution = Some("removed from the configuration, or disabled in it".to_owned());
            ended(stored, document)
        });
        orphaned.collect()
    }
}

/// An incident that is over: the core does not get it.
fn ended(stored: &StoredIncident, document: IncidentDocument) -> Kept {
    let incident = Incident {
        no: IncidentNo(stored.no),
        root: None,
        problem: stored.problem,
        reason: stored.reason,
        message: stored.message.clone(),
        severity: stored.severity,
        affected: Vec::new(),
        opened_at: Instant::from_nanos(stored.opened_ns),
        failed: stored.failed,
    };
    Kept { incident, document }
}

/// The content of a file of open incidents; a file that is whole and makes no sense is set aside.
fn parsed(path: &Path, body: Option<&str>) -> Result<StoredEcosystem, files::FileError> {
    let Some(body) = body else { return Ok(StoredEcosystem::default()) };
    serde_json::from_str(body).map_err(|error| files::damaged(path, error.to_string()))
}

/// What the database has of an open incident.
fn stored_incident(
    record: &IncidentRecord,
    damaged: &mut impl FnMut(String),
) -> Option<(StoredIncident, Arc<IncidentDocument>)> {
    let stored = record.state.as_deref().and_then(|state| serde_json::from_str(state).ok());
    if stored.is_none() {
        damaged(format!("the incident {} cannot be read; it is opened anew", record.document.id));
    }
    Some((stored?, Arc::clone(&record.document)))
}

/// The content of the file, if it is of this boot.
fn of_file(records: &Path, damaged: &mut impl FnMut(String)) -> StoredEcosystem {
    let path = ecosystem_path(records);
    let ecosystem = match files::read(&path, ECOSYSTEM_MAGIC) {
        Ok(body) => parsed(&path, body.as_deref()).unwrap_or_else(|error| {
            damaged(format!("{error}; incidents that were open are opened anew"));
            StoredEcosystem::default()
        }),
        Err(error) => {
            damaged(error.to_string());
            StoredEcosystem::default()
        }
    };
    if ecosystem.boot == boot_id() { ecosystem } else { StoredEcosystem::default() }
}

/// Adds the incidents of the file to those of the database: of an incident that both have, what has come further. Returns
/// the identifiers of those of the file.
fn join(
    incidents: &mut Vec<(StoredIncident, Arc<IncidentDocument>)>,
    boot: &str,
    file: Vec<StoredIncident>,
) -> BTreeSet<String> {
    let mut in_file = BTreeSet::new();
    for mut stored in file {
        boot.clone_into(&mut stored.boot);
        let Some(document) = stored.document.take().map(Arc::new) else { continue };
        in_file.insert(document.id.clone());
        match incidents.iter_mut().find(|(_, known)| known.id == document.id) {
            Some(known) if known.1.seq < document.seq => *known = (stored, document),
            Some(_) => {}
            None => incidents.push((stored, document)),
        }
    }
    in_file
}
