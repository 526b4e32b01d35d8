//! Incidents that the database did not take, in a file beside the adoption records: those are on another disk where the
//! runtime directory is a tmpfs, as it is by default. The next heartbeatd of this boot reads the file, so that receivers
//! hear of the end of what they were told.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use crate::storage::files;
use crate::storage::stored::{ECOSYSTEM_MAGIC, StoredEcosystem};

/// Most incidents in the file, the oldest first.
pub(crate) const MAX_SPARE_INCIDENTS: usize = 64;
/// Most incidents that are remembered as unwritten.
const MAX_UNWRITTEN_INCIDENTS: usize = 1_024;

/// The file and what it is for.
#[derive(Debug)]
pub(crate) struct SpareIncidents {
    path: PathBuf,
    /// Identifiers of incidents with a step that the database did not take.
    unwritten: BTreeSet<String>,
}

impl SpareIncidents {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, unwritten: BTreeSet::new() }
    }

    /// The database did not take these incidents. `ecosystem` gives all that are open, and those of the unwritten ones that
    /// are over.
    pub(crate) fn keep(
        &mut self,
        incidents: impl IntoIterator<Item = String>,
        ecosystem: impl FnOnce(&BTreeSet<String>) -> StoredEcosystem,
    ) {
        self.unwritten.extend(incidents);
        while self.unwritten.len() > MAX_UNWRITTEN_INCIDENTS {
            // Identifiers begin with their time.
            self.unwritten.pop_first();
        }
        let body = serde_json::to_string(&ecosystem(&self.unwritten)).map_err(io::Error::other);
        if let Err(error) = body.and_then(|body| files::write(&self.path, ECOSYSTEM_MAGIC, &body, false)) {
            let path = self.path.display();
            tracing::warn!(%error, "incidents that the database did not take are not in {path} either");
        }
    }

    /// The database has everything.
    pub(crate) fn retire(&mut self) {
        if !std::mem::take(&mut self.unwritten).is_empty() {
            // A file that stays says nothing that the database does not have.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
