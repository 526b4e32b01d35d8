//! The history of a realm over all of its generations: exits, restarts, and the realm that its failures are blamed on.

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
    /// Why its last run, or its last start, failed, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    /// The realm has failed, and since then it has neither been up nor has an operator asked for it.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) faulted: bool,
    /// Its last start has failed, and it has not been started since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed_start: Option<FailedStart>,
    /// The oneshot succeeded once; valid within one boot.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) done_once: bool,
    /// Never two starts within `min_gap`, whatever the cause.
    #[serde(rename = "gap_until_ns", with = "Via::<u64>")]
    pub(crate) gap_until: Instant,
    /// The next start is not before this: the end of the gap, or of a backoff.
    #[serde(rename = "not_before_ns", with = "Via::<u64>")]
    pub(crate) not_before: Instant,
    #[serde(flatten, with = "Via::<StoredTracker>")]
    pub(crate) tracker: RestartTracker,
    /// Its last restart, which may be open.
    #[serde(with = "Via::<Option<StoredRestart>>", skip_serializing_if = "Option::is_none")]
    pub(crate) restart: Option<RestartAttempt>,
    pub(crate) restarts_opened: u64,
    /// The realm has failed again shortly after its restart was verified: its incident ends once it has been healthy
    /// for `reset_after`.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) relapsed: bool,
    /// A restart of the realm that belongs to the incident of a need.
    #[serde(with = "Via::<Option<u64>>", skip_serializing_if = "Option::is_none")]
    pub(crate) excused: Option<RestartId>,
    /// A restart of the realm that says nothing new: its start was held up by something newer than its own cause, or it
    /// is the trial after a cooldown.
    #[serde(with = "Via::<Option<u64>>", skip_serializing_if = "Option::is_none")]
    pub(crate) outlived: Option<RestartId>,
    /// The realm fails, and a need that refuses work is the suspect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) suspicion: Option<Suspicion>,
    /// The time since when needs refuse work that this realm no longer blames for its failures.
    #[serde(rename = "cleared_ns", with = "Via::<Option<u64>>", skip_serializing_if = "Option::is_none")]
    pub(crate) cleared: Option<Instant>,
}

/// Why a realm cannot be started, since the first start in a row that failed this way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailedStart {
    pub(crate) failure: StartFailure,
    /// The newest error, for a person.
    pub(crate) message: String,
    #[serde(rename = "since_ns", with = "Via::<u64>")]
    pub(crate) since: Instant,
    /// Cooldowns in a row for this reason.
    pub(crate) cooldowns: u32,
}

/// The suspicion of a failing realm against a need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Suspicion {
    /// The realm has had its one restart, or gets none.
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
        self.outlive();
    }

    /// The cause of the open restart is not the newest one.
    pub(crate) fn outlive(&mut self) {
        self.outlived = self.open().map(|restart| restart.id);
    }
}
