//! The logs of realms: the launcher opens them, the reaper notes them, and a thread bounds their size and reports
//! losses.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heartbeat_config::RealmConfig;
use heartbeat_logs::{KeptLog, LogKeeper, LogNotice, Owner, Target};
use heartbeat_process::{LogFiles, LogTarget, User};
use heartbeat_status::OwnProblemKind;

use crate::error::DaemonError;
use crate::own_health::own_problems::OwnProblems;

/// The knowledge of the launcher and the reaper about logs.
#[derive(Clone, Copy, Debug)]
pub struct RealmLogs;

impl LogFiles for RealmLogs {
    fn open(&self, log: &LogTarget, user: Option<&User>, run: Option<u64>) -> io::Result<OwnedFd> {
        match target(log).ok_or(io::ErrorKind::Unsupported)? {
            Target::File(path) => Ok(heartbeat_logs::open(&path, owner(user), run)?.into()),
            Target::Journal { socket, identifier } => heartbeat_logs::connect(&socket, &identifier),
        }
    }

    fn memory(&self) -> io::Result<OwnedFd> {
        Ok(heartbeat_logs::memory()?.into())
    }

    fn begin(&self, log: &LogTarget, user: Option<&User>, run: (u64, u32), output: &Path) -> bool {
        target(log).is_some_and(|target| heartbeat_logs::begin(&target, owner(user), run, output))
    }

    fn take_over(&self, log: &LogTarget, user: Option<&User>, run: u64, pid: u32) -> bool {
        target(log).is_some_and(|target| heartbeat_logs::take_over(&target, owner(user), run, pid))
    }

    fn end(&self, log: &LogTarget, run: u64) {
        if let Some(target) = target(log) {
            heartbeat_logs::end(&target, run);
        }
    }
}

fn target(log: &LogTarget) -> Option<Target> {
    match log {
        LogTarget::File { path, .. } => Some(Target::File(path.clone())),
        LogTarget::Journal { socket, identifier } => {
            Some(Target::Journal { socket: socket.clone(), identifier: identifier.clone() })
        }
        LogTarget::Null | LogTarget::Capture => None,
    }
}

fn owner(user: Option<&User>) -> Option<Owner> {
    user.map(|user| Owner { uid: user.uid, gid: user.gid })
}

/// The file that has the output of a realm, if there is one.
pub(crate) fn file_of(realm: &RealmConfig) -> Option<PathBuf> {
    match &realm.launch.as_ref()?.log {
        LogTarget::File { path, .. } => Some(path.clone()),
        // The output that the journal has not taken yet.
        log @ LogTarget::Journal { .. } => place_beside(log),
        LogTarget::Null | LogTarget::Capture => None,
    }
}

/// The log whose size heartbeatd bounds, if there is one.
pub(crate) fn kept(log: &LogTarget) -> Option<KeptLog> {
    match log {
        LogTarget::File { path, max_bytes, keep } => {
            Some(KeptLog { path: path.clone(), max_bytes: *max_bytes, keep: *keep })
        }
        LogTarget::Null | LogTarget::Capture | LogTarget::Journal { .. } => None,
    }
}

/// The place from which the log is read while its output is not in its own files, or not yet in the journal.
pub(crate) fn place_beside(log: &LogTarget) -> Option<PathBuf> {
    heartbeat_logs::is_stray(&target(log)?)
}

/// Bounds the size of logs, and reports losses in heartbeatd's own log: for each log the first time, and then ever more
/// rarely, since the API has the counts.
pub(crate) fn keeper(problems: &Arc<OwnProblems>) -> Result<LogKeeper, DaemonError> {
    let problems = Arc::clone(problems);
    let mut told: BTreeMap<PathBuf, u64> = BTreeMap::new();
    let sink = move |notice| match notice {
        LogNotice::Problem(problem) => problems.set(OwnProblemKind::Logs, problem),
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
    LogKeeper::open(sink).map_err(|source| DaemonError::Logs { source })
}
