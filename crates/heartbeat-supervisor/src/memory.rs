//! What comes back after the death of heartbeatd: what was remembered, and what was found.

use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::{Desired, Exit, Incident, Instant, Pause, RealmName, RunId};

use crate::OperatorHold;
use crate::durable::PersistedRealm;

/// What became of a realm's process while heartbeatd was not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Found {
    /// Nothing of it is there.
    #[default]
    Nothing,
    /// Its main process lives.
    Alive {
        /// Its process number.
        pid: u32,
        /// It is still the launcher: `Started` or `StartFailed` follows.
        launching: bool,
    },
    /// Its main process has ended.
    Ended {
        /// How, as far as that could be found out.
        exit: Exit,
        /// Nothing of its process tree is left; otherwise `Emptied` follows.
        empty: bool,
    },
    /// Something runs that may be it and cannot be proven to be. `Emptied` follows when it is gone.
    Unverifiable {
        /// What was found, for a person.
        what: String,
    },
}

/// What an operator has last said about a realm: remembered over restarts and reboots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorIntent {
    /// Start or stop, where he has said either.
    pub desired: Option<Desired>,
    /// Who has stopped it, when and why.
    pub hold: OperatorHold,
    /// The pause that lasts.
    pub pause: Option<Pause>,
}

/// A realm that comes back.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Which one it is.
    pub realm: RealmName,
    /// What is remembered of it; `None` when only its process is known, or only what an operator said.
    pub record: Option<PersistedRealm>,
    /// The generation of its process, as it is on record.
    pub run: Option<RunId>,
    /// What was found of its process.
    pub found: Found,
    /// The last word of an operator. It outranks the record, which may be older.
    pub intent: Option<OperatorIntent>,
    /// Its process is made of something else now than when it was started.
    pub changed: bool,
}

/// Everything that comes back.
#[derive(Clone, Debug, Default)]
pub struct RestoredState {
    /// The realms remembered.
    pub realms: Vec<Restored>,
    /// Incidents that were open.
    pub incidents: Vec<Incident>,
    /// When health restarts were let through, oldest first: the budget of the host.
    pub health_restarts: Vec<Instant>,
}
