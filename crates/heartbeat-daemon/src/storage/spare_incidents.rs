//! Incidents and notifications that the database did not take, in a file beside the adoption records: those are on another
//! disk where the runtime directory is a tmpfs, as it is by default. The next heartbeatd of this boot reads the file: what
//! is over stays over, and receivers get nothing that they have already.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use heartbeat_status::DeliveryState;
use heartbeat_store::{Attempt, AttemptOutcome, Delivery};

use crate::storage::files;
use crate::storage::stored::{ECOSYSTEM_MAGIC, StoredEcosystem, StoredNotification};

/// Most incidents in the file, the oldest first.
pub(crate) const MAX_SPARE_INCIDENTS: usize = 64;
/// Most incidents that are remembered as unwritten.
const MAX_UNWRITTEN_INCIDENTS: usize = 1_024;
/// Most notifications that are remembered as unwritten; the oldest go first.
const MAX_UNWRITTEN_NOTIFICATIONS: usize = 4_096;

/// The file and what it is for.
#[derive(Debug)]
pub(crate) struct SpareIncidents {
    path: PathBuf,
    unwritten: Mutex<Unwritten>,
}

/// What the database did not take.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    /// Identifiers of incidents with a step that it did not take.
    incidents: BTreeSet<String>,
    notifications: VecDeque<StoredNotification>,
    /// The file does not have all of it.
    changed: bool,
}

impl Unwritten {
    /// What the file has of an earlier heartbeatd.
    pub(crate) fn left(
        incidents: impl Iterator<Item = String>,
        notifications: impl Iterator<Item = StoredNotification>,
    ) -> Self {
        Self { incidents: incidents.collect(), notifications: notifications.collect(), changed: false }
    }

    fn is_empty(&self) -> bool {
        self.incidents.is_empty() && self.notifications.is_empty()
    }
}

impl SpareIncidents {
    /// `left` is what the file has: the database has not taken it yet.
    pub(crate) fn new(path: PathBuf, left: Unwritten) -> Self {
        Self { path, unwritten: Mutex::new(left) }
    }

    fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the database has not taken everything.
    pub(crate) fn is_held(&self) -> bool {
        !self.unwritten().is_empty()
    }

    /// The database did not take these incidents and notifications.
    pub(crate) fn note(&self, incidents: Vec<String>, deliveries: Vec<Delivery>) {
        let mut unwritten = self.unwritten();
        unwritten.changed |= !incidents.is_empty() || !deliveries.is_empty();
        unwritten.incidents.extend(incidents);
        for Delivery { receiver, document, queued_at, message } in deliveries {
            unwritten.incidents.insert(document.id.clone());
            let state = DeliveryState::Due;
            unwritten.notifications.push_back(StoredNotification {
                receiver,
                document,
                queued_at,
                message,
                state,
            });
        }
        while unwritten.incidents.len() > MAX_UNWRITTEN_INCIDENTS {
            // Identifiers begin with their time.
            unwritten.incidents.pop_first();
        }
        let beyond = unwritten.notifications.len().saturating_sub(MAX_UNWRITTEN_NOTIFICATIONS);
        unwritten.notifications.drain(..beyond);
    }

    /// What became of a notification, which may be one of these.
    pub(crate) fn attempted(&self, attempt: &Attempt) {
        let state = match attempt.outcome {
            AttemptOutcome::Delivered { .. } => DeliveryState::Delivered,
            AttemptOutcome::GivenUp(_) => DeliveryState::GivenUp,
            AttemptOutcome::Dropped(_) => DeliveryState::Dropped,
            AttemptOutcome::Retried { .. } => return,
        };
        let mut unwritten = self.unwritten();
        let of_attempt = |known: &&mut StoredNotification| {
            known.document.seq == attempt.seq
                && known.document.id == attempt.incident
                && known.receiver == attempt.receiver
        };
        let Some(known) = unwritten.notifications.iter_mut().rev().find(of_attempt) else { return };
        known.state = state;
        if let AttemptOutcome::Delivered { message: Some(message) } = &attempt.outcome {
            known.message = Some(message.clone());
        }
        unwritten.changed = true;
    }

    /// Writes the file if it lacks something. `ecosystem` gives the incidents: the unwritten ones, and others that are
    /// open.
    pub(crate) fn save(&self, ecosystem: impl FnOnce(&BTreeSet<String>) -> StoredEcosystem) {
        let mut unwritten = self.unwritten();
        if !std::mem::take(&mut unwritten.changed) {
            return;
        }
        let mut ecosystem = ecosystem(&unwritten.incidents);
        let has = |id: &str| {
            let mut documents = ecosystem.incidents.iter().filter_map(|stored| stored.document.as_ref());
            documents.any(|document| document.id == id)
        };
        let notifications = unwritten.notifications.iter().filter(|of| has(&of.document.id));
        ecosystem.notifications = notifications.cloned().collect();
        drop(unwritten);
        let body = serde_json::to_string(&ecosystem).map_err(io::Error::other);
        if let Err(error) = body.and_then(|body| files::write(&self.path, ECOSYSTEM_MAGIC, &body, false)) {
            let path = self.path.display();
            tracing::warn!(%error, "incidents that the database did not take are not in {path} either");
        }
    }

    /// The database has everything.
    pub(crate) fn retire(&self) {
        let held = std::mem::take(&mut *self.unwritten());
        if !held.is_empty() {
            // A file that stays says nothing that the database does not have.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
