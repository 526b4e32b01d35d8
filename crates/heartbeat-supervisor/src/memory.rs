//! What a new heartbeatd restores: what the records say, and what it found.

use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::{Desired, Exit, Incident, Instant, Pause, RealmName, RunId};

use crate::OperatorHold;
use crate::durable::PersistedRealm;

/// What happened to a realm's process while no heartbeatd ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Found {
    /// No process of the realm is there.
    #[default]
    Nothing,
    /// The main process lives.
    Alive {
        /// Its process number.
        pid: u32,
        /// The process is still the launcher: `Started` or `StartFailed` follows.
        launching: bool,
    },
    /// The started program has ended, and may have left a daemon behind: `MainChanged` or `Exited` follows.
    Forked {
        /// The pid that the program had.
        pid: u32,
    },
    /// The main process has ended.
    Ended {
        /// How the process ended, as far as heartbeatd could find out.
        exit: Exit,
        /// No process of the tree is left; otherwise `Emptied` follows.
        empty: bool,
    },
    /// Processes run that may belong to the realm and cannot be proven to. `Emptied` follows when they are gone.
    Unverifiable {
        /// A description of the processes, for a person.
        what: String,
    },
}

/// What was found of a realm on record, until the boot.
#[derive(Debug)]
pub(crate) struct Survivor {
    pub(crate) found: Found,
    /// The configuration of its process has changed since the process was started.
    pub(crate) changed: bool,
}

/// The operator's last request about a realm: it survives restarts and reboots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorIntent {
    /// Start or stop, where the operator has asked for either.
    pub desired: Option<Desired>,
    /// Who has stopped it, when and why.
    pub hold: OperatorHold,
    /// The pause in force.
    pub pause: Option<Pause>,
}

/// A realm to restore.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Which one it is.
    pub realm: RealmName,
    /// The record of the realm; `None` when only its process is known, or only the operator's request.
    pub record: Option<PersistedRealm>,
    /// The generation of its process, by the adoption record.
    pub run: Option<RunId>,
    /// What heartbeatd found of its process.
    pub found: Found,
    /// The operator's last request. It outranks the record, which may be older.
    pub intent: Option<OperatorIntent>,
    /// The configuration of its process has changed since the process was started.
    pub changed: bool,
}

/// Everything to restore.
#[derive(Clone, Debug, Default)]
pub struct RestoredState {
    /// The realms on record.
    pub realms: Vec<Restored>,
    /// Incidents that were open.
    pub incidents: Vec<Incident>,
    /// When health restarts were allowed, oldest first: the budget of the host.
    pub health_restarts: Vec<Instant>,
}
