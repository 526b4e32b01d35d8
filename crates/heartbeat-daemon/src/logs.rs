//! What is told of the logs of realms, beside what stands in them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use heartbeat_process::{LogKeeper, LogNotice};
use heartbeat_status::OwnProblemKind;

use crate::DaemonError;
use crate::own_problems::OwnProblems;

/// Looks after the size of logs, and tells in heartbeatd's own log of what is lost, for each of them the first time and ever
/// more rarely then: the API has the counts.
pub(crate) fn keeper(problems: &Arc<OwnProblems>) -> Result<LogKeeper, DaemonError> {
    let problems = Arc::clone(problems);
    let mut told: BTreeMap<PathBuf, u64> = BTreeMap::new();
    let sink = move |notice| match notice {
        LogNotice::Trouble(trouble) => problems.set(OwnProblemKind::Logs, trouble),
        LogNotice::Lost { path, lost, why } => {
            let log = path.display().to_string();
            let count = told.entry(path).or_default();
            *count += 1;
            if !count.is_power_of_two() {
                return;
            }
            if lost.dropped_bytes > 0 {
                let why = why.unwrap_or_default();
                tracing::error!(
                    log,
                    bytes = lost.dropped_bytes,
                    "could not be set aside, and is dropped: {why}"
                );
            } else if let Some(why) = why {
                tracing::warn!(log, bytes = lost.cut_bytes, "{why}");
            } else {
                tracing::warn!(
                    log,
                    bytes = lost.cut_bytes,
                    "may have lost output: its file system cannot take out a part of a file, so it was copied and truncated"
                );
            }
        }
    };
    LogKeeper::open(sink).map_err(|source| DaemonError::Processes { source })
}
