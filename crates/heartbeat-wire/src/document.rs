//! The two documents.

use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::{DaemonPhase, Health, Reason, Status, WallTime};
use serde::{Deserialize, Serialize};

use crate::{Open, ProbeFailureEntry, RealmEntry, RestartEntry};

/// `heartbeat.status/1`: the whole ecosystem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusDocument {
    /// The schema of the document: [`STATUS_SCHEMA`](crate::STATUS_SCHEMA).
    pub schema: String,
    /// This life of heartbeatd; a revision means something only together with it.
    pub instance: String,
    /// Changes only when the meaning of something changes.
    pub revision: u64,
    /// When this body was made.
    pub generated_at: WallTime,
    /// The ecosystem's name.
    pub name: String,
    /// Every critical realm is up, degraded, done, or stopping, stopped or paused on purpose.
    pub ok: bool,
    /// The worst status of the critical realms.
    pub status: Open<Status>,
    /// Realms by status.
    pub summary: Summary,
    /// State of heartbeatd itself.
    pub daemon: DaemonEntry,
    /// The roots of trouble.
    #[serde(default)]
    pub roots: Vec<RootEntry>,
    /// Every realm, in start order; absent in `?fields=summary`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub realms: Vec<RealmEntry>,
}

/// How many realms have which status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each field counts the status of its name")]
pub struct Summary {
    /// All of them.
    pub total: u32,
    pub up: u32,
    pub degraded: u32,
    pub down: u32,
    pub blocked: u32,
    pub failed: u32,
    pub starting: u32,
    pub restarting: u32,
    pub stopping: u32,
    pub stopped: u32,
    pub paused: u32,
    pub done: u32,
    pub unknown: u32,
    /// Incidents that are not resolved.
    pub open_incidents: u32,
}

/// State of heartbeatd itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaemonEntry {
    /// Version of the software.
    pub version: String,
    /// Start of this life.
    pub started_at: WallTime,
    /// Since then, in seconds.
    pub uptime_s: f64,
    /// Booting, running or stopping.
    pub phase: Open<DaemonPhase>,
    /// Whether heartbeatd itself is fine.
    pub health: Open<Health>,
    /// What is wrong with it, for a person; empty when nothing is.
    #[serde(default)]
    pub notes: Vec<String>,
    /// How late its loop is.
    pub lag_ms: LagEntry,
    /// Counts up with every configuration that took effect.
    pub config_revision: u64,
    /// Why the configuration on disk cannot be loaded; absent while it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_problem: Option<String>,
    /// Since when it cannot; absent while it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_problem_since: Option<WallTime>,
}

/// Lag of heartbeatd's loop in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LagEntry {
    /// 99th percentile in milliseconds.
    pub p99: f64,
    /// Largest value in milliseconds.
    pub max: f64,
}

/// A realm at the root of trouble, and the realms that it blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RootEntry {
    /// Name of the root realm.
    pub realm: String,
    /// Identifier of its incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// Every realm blocked because of it, directly or through others, in start order.
    pub blocks: Vec<String>,
}

/// `heartbeat.realm/1`: one realm and its recent past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RealmDocument {
    /// The schema of the document: [`REALM_SCHEMA`](crate::REALM_SCHEMA).
    pub schema: String,
    /// This life of heartbeatd.
    pub instance: String,
    /// As in the status document.
    pub revision: u64,
    /// When this body was made.
    pub generated_at: WallTime,
    /// Entry of the realm.
    pub realm: RealmEntry,
    /// Restart transactions, newest first.
    #[serde(default)]
    pub recent: Vec<RestartEntry>,
    /// Failed measurements and exits, newest first.
    #[serde(default)]
    pub failures: Vec<TransitionEntry>,
    /// Status changes, newest first.
    #[serde(default)]
    pub transitions: Vec<TransitionEntry>,
    /// Last lines of its output. Not on the read-only listener.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// The last failures of each probe, newest first, with what was said in each; with `?transcripts=1`, and not on the
    /// read-only listener.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probe_failures: Vec<ProbeFailureEntry>,
    /// Who holds its port, when that is not the realm itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "holder")]
    pub port_owner: Option<PortOwnerEntry>,
}

/// A process that holds a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortOwnerEntry {
    /// Pid of the process.
    pub pid: u32,
    /// Command line of the process.
    pub command: String,
    /// The user that it runs as.
    pub user: String,
}

/// One event of a realm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransitionEntry {
    /// Time at which it happened.
    pub at: WallTime,
    /// Status before, for a status change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Open<Status>>,
    /// Status after, for a status change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Open<Status>>,
    /// Why, for a status change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Open<Reason>>,
    /// What, for a person.
    pub message: String,
}
