//! What heartbeatd writes for itself, over reboots: operators' intent, and the state of open incidents.

use std::collections::BTreeMap;
use std::sync::Arc;

use heartbeat_status::{DeliveryState, Desired, OwnProblemKind, Reason, Severity, WallTime};
use heartbeat_wire::IncidentDocument;
use serde::{Deserialize, Serialize};

/// First words of the intent file.
pub(crate) const INTENT_MAGIC: &str = "heartbeat-intent/1";
/// First words of the file of heartbeats.
pub(crate) const BEATS_MAGIC: &str = "heartbeat-beats/1";
/// First words of the file of open incidents, which versions without a database have written as well.
pub(crate) const ECOSYSTEM_MAGIC: &str = "heartbeat-ecosystem/1";

/// The last requests of operators, by realm, and their registrations. Realms that are not in the configuration are
/// kept: they may come back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredIntent {
    #[serde(default)]
    pub(crate) realms: BTreeMap<String, StoredWish>,
    /// Mutes of notifications, by realm.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) mutes: BTreeMap<String, StoredMute>,
    /// Registrations, as the client sent them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) registered: BTreeMap<String, serde_json::Value>,
}

/// The last request about one realm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredWish {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) desired: Option<Desired>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The user who stopped it, by number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<u32>,
    /// When it was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<WallTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pause: Option<StoredPause>,
}

/// A pause that lasts, by the wall clock: the monotonic one does not survive a reboot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredPause {
    pub(crate) reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<WallTime>,
}

/// A mute that an operator asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredMute {
    pub(crate) reason: String,
    pub(crate) until: WallTime,
    /// The user, by number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<u32>,
    pub(crate) at: WallTime,
}

/// The last heartbeat of each realm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredBeats {
    pub(crate) realms: BTreeMap<String, StoredBeat>,
    /// When the runs in progress of each realm began, by their ids.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) runs: BTreeMap<String, BTreeMap<String, WallTime>>,
}

/// One heartbeat, or the end of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredBeat {
    pub(crate) at: WallTime,
    /// Absent for a failure without an exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exit: Option<u8>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
}

/// The name of this entry in the database.
pub(crate) const ECOSYSTEM_NOTE: &str = "ecosystem";

/// What belongs to no single realm.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct StoredEcosystem {
    /// The times are valid within this boot only.
    pub(crate) boot: String,
    /// Only in the file: the database has a row for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) incidents: Vec<StoredIncident>,
    /// Only in the file: notifications of these incidents, in the order in which they were queued.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notifications: Vec<StoredNotification>,
    #[serde(default)]
    pub(crate) health_restarts_ns: Vec<u64>,
    /// Where the monotonic clock, in nanoseconds, and the wall clock, in milliseconds, met: after a restart heartbeatd
    /// shows times of this boot by the same anchor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) anchor: Option<(u64, i64)>,
    /// Damage that is still reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) damages: Vec<StoredDamage>,
}

/// A file that was damaged or is lost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredDamage {
    /// The realm it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) realm: Option<String>,
    pub(crate) message: String,
    /// When it is over by time alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) over_ns: Option<u64>,
}

/// A notification that the database did not take.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredNotification {
    pub(crate) receiver: String,
    /// What the receiver gets, or has got.
    pub(crate) document: Arc<IncidentDocument>,
    pub(crate) queued_at: WallTime,
    /// The key of the digest that it is part of; once it is delivered, what the receiver calls the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    pub(crate) state: DeliveryState,
}

/// An incident that was open, or whose end the database did not take.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredIncident {
    /// `opened_ns` is valid within this boot only.
    #[serde(default)]
    pub(crate) boot: String,
    pub(crate) no: u64,
    /// `None`: heartbeatd itself, or everything.
    pub(crate) root: Option<String>,
    /// The part of heartbeatd that has the problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<OwnProblemKind>,
    pub(crate) reason: Reason,
    pub(crate) message: String,
    pub(crate) severity: Severity,
    pub(crate) affected: Vec<String>,
    pub(crate) opened_ns: u64,
    pub(crate) failed: bool,
    /// The last document; only in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) document: Option<IncidentDocument>,
}
