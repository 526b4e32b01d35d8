//! Whether a heartbeatd can continue with the state on disk.

use std::path::Path;

use heartbeat_config::Config;
use heartbeat_process::ProcessRecord;
use heartbeat_supervisor::PersistedRealm;

use crate::error::DaemonError;
use crate::start::open_incidents::ecosystem_path;
use crate::storage::directories::records_dir;
use crate::storage::stored::{ECOSYSTEM_MAGIC, INTENT_MAGIC, StoredEcosystem, StoredIntent};
use crate::storage::{files, intent};

/// Checks whether this program can read the state: for an upgrade, before anything is handed over. Changes nothing.
///
/// # Errors
/// The part that it cannot read.
pub fn check_state(config: &Config) -> Result<usize, DaemonError> {
    let records = records_dir(&config.heartbeat);
    let unreadable = |path: &Path, why: String| DaemonError::State { path: path.to_owned(), why };
    let mut count = 0;
    let all = ProcessRecord::all(&records).map_err(|error| unreadable(&records, error.to_string()))?;
    for (path, record) in all {
        let record = record.map_err(|error| unreadable(&path, error.to_string()))?;
        if let Some(memory) = &record.memory {
            serde_json::from_str::<PersistedRealm>(memory)
                .map_err(|error| unreadable(&path, error.to_string()))?;
        }
        count += 1;
    }
    let intent = intent::path(&config.heartbeat.state_dir);
    for (path, magic, parses) in [
        (intent, INTENT_MAGIC, parses::<StoredIntent> as fn(&str) -> Result<(), serde_json::Error>),
        (ecosystem_path(&records), ECOSYSTEM_MAGIC, parses::<StoredEcosystem>),
    ] {
        if let Some(body) = files::look(&path, magic).map_err(|error| unreadable(&path, error.to_string()))? {
            parses(&body).map_err(|error| unreadable(&path, error.to_string()))?;
        }
    }
    Ok(count)
}

fn parses<T: serde::de::DeserializeOwned>(body: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<T>(body).map(|_| ())
}
