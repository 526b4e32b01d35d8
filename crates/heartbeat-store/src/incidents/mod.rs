//! `incidents.db`: every incident with its story, what is still to be delivered, and who has changed what.

mod batch;
mod evidence;
mod outbox;
mod rows;
mod table;

use std::path::Path;
use std::sync::Arc;

use heartbeat_status::{DeliveryState, Instant, WallTime};
use heartbeat_wire::IncidentDocument;

use crate::StoreError;
use crate::file::Schema;
use crate::worker::{Confirm, Reporter, Worker};

use batch::Batch;
use rows::Incidents;

/// Largest size of the file, in bytes: some 20,000 incidents. The oldest resolved ones go first.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

const SCHEMA: Schema = Schema {
    migrations: &[
        include_str!("v1.sql"),
        include_str!("v2.sql"),
        include_str!("v3.sql"),
        include_str!("v4.sql"),
    ],
    durable: true,
    max_bytes: MAX_FILE_BYTES,
};

/// An incident as it stands.
#[derive(Clone, Debug)]
pub struct IncidentRecord {
    /// As readers and receivers get it.
    pub document: Arc<IncidentDocument>,
    /// What its owner needs to go on with it after a restart; `None` once it is resolved.
    pub state: Option<String>,
}

/// A notification that one receiver is to get.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The receiver's name.
    pub receiver: String,
    /// What it gets.
    pub document: Arc<IncidentDocument>,
    /// The time at which it becomes due.
    pub queued_at: WallTime,
    /// The key of the digest that it is part of.
    pub message: Option<String>,
}

/// What became of a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The receiver's name.
    pub receiver: String,
    /// The incident's identifier.
    pub incident: String,
    /// The number of the incident's event.
    pub seq: u64,
    /// The time of the attempt.
    pub at: WallTime,
    /// What follows from it.
    pub outcome: AttemptOutcome,
}

/// What follows from an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The notification arrived.
    Delivered {
        /// What the receiver calls the message.
        message: Option<String>,
    },
    /// It failed, for this reason, and another attempt follows.
    Retried {
        /// Why it failed.
        why: String,
        /// The time of the next attempt.
        next_at: WallTime,
    },
    /// It failed for this reason, and no other attempt follows.
    GivenUp(String),
    /// No attempt was made and none follows, for this reason.
    Dropped(String),
}

/// A notification in the outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxEntry {
    /// The receiver's name.
    pub receiver: String,
    /// The incident's identifier.
    pub incident: String,
    /// The number of the incident's event.
    pub seq: u64,
    /// The event, e.g. `opened`.
    pub event: String,
    /// Whether the incident is open.
    pub open: bool,
    /// How far it has come.
    pub state: DeliveryState,
    /// The time at which it became due.
    pub queued_at: WallTime,
    /// Attempts that were made.
    pub attempts: u32,
    /// The time of the last attempt.
    pub attempted_at: Option<WallTime>,
    /// The time of the next attempt.
    pub next_at: Option<WallTime>,
    /// Why the last attempt failed, or why it was dropped.
    pub why: Option<String>,
    /// What the receiver gets, while it is due.
    pub document: Option<Arc<IncidentDocument>>,
    /// The key of the digest that it is part of; once it is delivered, what the receiver calls the message.
    pub message: Option<String>,
}

/// A change, and who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Time at which it happened.
    pub at: WallTime,
    /// Who, as far as it is known: `uid 1000`.
    pub by: String,
    /// What, e.g. `stop`.
    pub action: String,
    /// Of which realm or incident; empty for everything.
    pub target: String,
    /// The reason that was given, and the outcome.
    pub detail: String,
}

/// What an earlier heartbeatd has left.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    /// Incidents that are open, the oldest first.
    pub open: Vec<IncidentRecord>,
    /// The newest incidents that are resolved, the newest first.
    pub resolved: Vec<Arc<IncidentDocument>>,
    /// Notifications of incidents that are open, and of those with one that is due, in the order in which they were
    /// written.
    pub outbox: Vec<OutboxEntry>,
    /// What was remembered by name.
    pub notes: Vec<(String, String)>,
}

/// Which incidents are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Only those that are open.
    pub open: bool,
    /// Only those that are older than the one of this identifier.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// Incidents on disk. Nothing here waits for the disk.
pub struct IncidentDb {
    worker: Worker<Incidents>,
}

impl std::fmt::Debug for IncidentDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IncidentDb").finish_non_exhaustive()
    }
}

impl IncidentDb {
    /// Starts the thread that opens `incidents.db` in `dir`.
    ///
    /// # Errors
    /// [`StoreError::File`] when there is no thread. A file that cannot be opened is reported, and tried again.
    pub fn start(dir: &Path, now: fn() -> Instant, report: Reporter) -> Result<Self, StoreError> {
        let path = dir.join("incidents.db");
        let duty = Incidents::new(path.clone());
        Ok(Self { worker: Worker::start(("hb-incidents-db", path), SCHEMA, duty, now, report)? })
    }

    /// Writes an incident in place of what was written of it before, with the notifications that follow from it, in one
    /// transaction.
    pub fn record(&self, record: IncidentRecord, deliveries: Vec<Delivery>, confirm: Option<Confirm>) {
        self.worker.push(|batch| batch.record(record, deliveries, confirm));
    }

    /// Writes notifications of incidents that are written already.
    pub fn deliver(&self, deliveries: Vec<Delivery>) {
        self.worker.push(|batch| batch.deliver(deliveries));
    }

    /// Writes what became of a notification.
    pub fn attempted(&self, attempt: Attempt) {
        self.worker.push(|batch| batch.attempted(attempt));
    }

    /// Writes who has changed what.
    pub fn audit(&self, entry: AuditEntry) {
        self.worker.push(|batch| batch.audit(entry));
    }

    /// Remembers `body` under `name`, in place of what was remembered under it.
    pub fn note(&self, name: &str, body: String) {
        self.worker.push(|batch| batch.note(name, body));
    }

    /// Keeps a part of the evidence of an incident, in place of what it kept of it before.
    pub fn keep_evidence(&self, incident: &str, part: &'static str, body: &str) {
        let body = evidence::deflated(body);
        self.worker.push(|batch| batch.keep_evidence(incident, part, body));
    }

    /// The evidence of an incident: each part with its body.
    pub fn evidence(
        &self,
        incident: String,
        answer: impl FnOnce(Result<Vec<(String, String)>, StoreError>) + Send + 'static,
    ) {
        self.worker.ask(move |connection| evidence::of_incident(connection, &incident), answer);
    }

    /// Has it confirmed that everything before is on disk.
    pub fn flush(&self, confirm: Confirm) {
        self.worker.push(|batch| batch.confirms.push(confirm));
    }

    /// What an earlier heartbeatd has left, with at most `resolved` incidents that are over.
    pub fn remembered(
        &self,
        resolved: usize,
        answer: impl FnOnce(Result<Remembered, StoreError>) + Send + 'static,
    ) {
        self.worker.ask(move |connection| rows::remembered(connection, resolved), answer);
    }

    /// Incidents, the newest first.
    pub fn page(
        &self,
        page: Page,
        answer: impl FnOnce(Result<Vec<Arc<IncidentDocument>>, StoreError>) + Send + 'static,
    ) {
        self.worker.ask(move |connection| rows::page(connection, &page), answer);
    }

    /// Reads one incident.
    pub fn one(
        &self,
        id: String,
        answer: impl FnOnce(Result<Option<Arc<IncidentDocument>>, StoreError>) + Send + 'static,
    ) {
        self.worker.ask(move |connection| rows::one(connection, &id), answer);
    }

    /// The notifications of an incident, in the order in which they were written.
    pub fn outbox_of(
        &self,
        incident: String,
        answer: impl FnOnce(Result<Vec<OutboxEntry>, StoreError>) + Send + 'static,
    ) {
        self.worker.ask(move |connection| outbox::of_incident(connection, &incident), answer);
    }

    /// The newest entries of the audit, the newest first.
    pub fn audited(
        &self,
        limit: usize,
        answer: impl FnOnce(Result<Vec<AuditEntry>, StoreError>) + Send + 'static,
    ) {
        self.worker.ask(move |connection| rows::audited(connection, limit), answer);
    }

    /// Reports a disk that does not answer, and makes the file again when another process has removed or replaced it. To
    /// be called now and then, by a thread that may wait for a slow disk.
    pub fn look_after(&self) {
        self.worker.look_after();
    }
}
