//! What has happened to a realm, over all of its generations: its ends, its restarts, and whom its failures are blamed on.

use alloc::string::String;

use heartbeat_restart::RestartTracker;
use heartbeat_status::{Instant, LastExit, RestartAttempt, RestartId, StartError, StartFailure};

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct History {
    pub(crate) last_exit: Option<LastExit>,
    /// What its last run, or its last start, failed with, for a person.
    pub(crate) failure: Option<String>,
    /// It has failed, and has neither been up nor been asked for since.
    pub(crate) faulted: bool,
    /// Its last start has failed, and it has not been started since.
    pub(crate) failed_start: Option<FailedStart>,
    /// A oneshot that succeeded once; holds within a boot.
    pub(crate) done_once: bool,
    /// Never two starts within `min_gap`, whatever the cause.
    pub(crate) gap_until: Instant,
    /// The next start is not before this: the gap, or a backoff.
    pub(crate) not_before: Instant,
    pub(crate) tracker: RestartTracker,
    /// Its last restart, which may be open.
    pub(crate) restart: Option<RestartAttempt>,
    pub(crate) restarts_opened: u64,
    /// It has failed again shortly after a restart of it was verified: its incident ends when it has been healthy for
    /// `reset_after`.
    pub(crate) relapsed: bool,
    /// A restart of it that belongs to the incident of what it needs.
    pub(crate) excused: Option<RestartId>,
    /// It fails, and a need that refuses work is the suspect.
    pub(crate) suspicion: Option<Suspicion>,
    /// Needs have refused work since then, and what fails here is not blamed on that any more.
    pub(crate) cleared: Option<Instant>,
    /// An incident of a dependent was opened then: a proof that this realm was well afterwards is remembered.
    pub(crate) vouch_after: Option<Instant>,
    /// The keys by which the last reload has changed what it is made of.
    pub(crate) renewed: Option<String>,
}

/// Why a realm has not been started, since the first start in a row that failed so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailedStart {
    pub(crate) failure: StartFailure,
    /// The newest error, for a person.
    pub(crate) message: String,
    pub(crate) since: Instant,
    /// Cooldowns in a row because of it.
    pub(crate) cooldowns: u32,
}

/// What a realm that fails blames on a need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Suspicion {
    /// Its one restart has been made, or there is none.
    pub(crate) tried: bool,
    /// Since when all other dependents of its suspects pass.
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
