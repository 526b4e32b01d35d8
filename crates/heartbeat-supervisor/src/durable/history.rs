//! What has happened to a realm, over all of its generations: its ends, its restarts, and whom its failures are blamed on.

use alloc::string::String;

use heartbeat_restart::RestartTracker;
use heartbeat_status::{Instant, LastExit, RestartAttempt, RestartId, StartError, StartFailure};
use serde::{Deserialize, Serialize};

use super::encoding::{StoredLastExit, StoredRestart, StoredTracker, Via, is_false};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct History {
    #[serde(flatten, with = "Via::<StoredLastExit>")]
    pub(crate) last_exit: Option<LastExit>,
    /// What its last run, or its last start, failed with, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    /// It has failed, and has neither been up nor been asked for since.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) faulted: bool,
    /// Its last start has failed, and it has not been started since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed_start: Option<FailedStart>,
    /// A oneshot that succeeded once; holds within a boot.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) done_once: bool,
    /// Never two starts within `min_gap`, whatever the cause.
    #[serde(rename = "gap_until_ns", with = "Via::<u64>")]
    pub(crate) gap_until: Instant,
    /// The next start is not before this: the gap, or a backoff.
    #[serde(rename = "not_before_ns", with = "Via::<u64>")]
    pub(crate) not_before: Instant,
    #[serde(flatten, with = "Via::<StoredTracker>")]
    pub(crate) tracker: RestartTracker,
    /// Its last restart, which may be open.
    #[serde(with = "Via::<Option<StoredRestart>>", skip_serializing_if = "Option::is_none")]
    pub(crate) restart: Option<RestartAttempt>,
    pub(crate) restarts_opened: u64,
    /// It has failed again shortly after a restart of it was verified: its incident ends when it has been healthy for
    /// `reset_after`.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) relapsed: bool,
    /// A restart of it that belongs to the incident of what it needs.
    #[serde(with = "Via::<Option<u64>>", skip_serializing_if = "Option::is_none")]
    pub(crate) excused: Option<RestartId>,
    /// It fails, and a need that refuses work is the suspect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) suspicion: Option<Suspicion>,
    /// Needs have refused work since then, and what fails here is not blamed on that any more.
    #[serde(rename = "cleared_ns", with = "Via::<Option<u64>>", skip_serializing_if = "Option::is_none")]
    pub(crate) cleared: Option<Instant>,
}

/// Why a realm has not been started, since the first start in a row that failed so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailedStart {
    pub(crate) failure: StartFailure,
    /// The newest error, for a person.
    pub(crate) message: String,
    #[serde(rename = "since_ns", with = "Via::<u64>")]
    pub(crate) since: Instant,
    /// Cooldowns in a row because of it.
    pub(crate) cooldowns: u32,
}

/// What a realm that fails blames on a need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Suspicion {
    /// Its one restart has been made, or there is none.
    pub(crate) tried: bool,
    /// Since when all other dependents of its suspects pass.
    #[serde(rename = "alone_since_ns", with = "Via::<Option<u64>>", skip_serializing_if = "Option::is_none")]
    pub(crate) alone_since: Option<Instant>,
}

impl History {
    /// The restart that is open.
    pub(crate) fn open(&self) -> Option<&RestartAttempt> {
        self.restart.as_ref().filter(|restart| restart.result.is_none())
    }

    pub(crate) fn open_mut(&mut self) -> Option<&mut RestartAttempt> {
        self.restart.as_mut().filter(|restart| restart.result.is_none())
    }

    pub(crate) fn note_failed_start(&mut self, now: Instant, error: &StartError) {
        let before = self.failed_start.as_ref().filter(|before| before.failure == error.failure);
        let (since, cooldowns) = before.map_or((now, 0), |before| (before.since, before.cooldowns));
        let (failure, message) = (error.failure, error.message.clone());
        self.failed_start = Some(FailedStart { failure, message, since, cooldowns });
        self.faulted = true;
    }
}
