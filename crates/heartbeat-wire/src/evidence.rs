//! Evidence of an incident: the state of its realms and processes when it was opened.

use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::WallTime;
use serde::{Deserialize, Serialize};

use crate::{ProbeFailureEntry, RealmEntry};

/// `heartbeat.evidence/1`: what heartbeatd saw when it opened an incident, and when it resolved it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvidenceDocument {
    /// The schema of the document: [`EVIDENCE_SCHEMA`](crate::EVIDENCE_SCHEMA).
    pub schema: String,
    /// Identifier of the incident.
    pub incident: String,
    /// When it was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<OpeningEvidence>,
    /// When it was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<ResolvingEvidence>,
}

/// What heartbeatd saw when it opened an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpeningEvidence {
    /// When heartbeatd looked.
    pub at: WallTime,
    /// The root, its needs and its dependents, as they were just before.
    pub before: Vec<RealmEntry>,
    /// The processes of the root; empty if it had none.
    pub processes: Vec<ProcessStateEntry>,
    /// The newest failures of the probes of the root, newest first.
    pub failures: Vec<ProbeFailureEntry>,
    /// The configuration in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigEvidence>,
}

/// What heartbeatd saw when it resolved an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResolvingEvidence {
    /// When heartbeatd looked.
    pub at: WallTime,
    /// The root, its needs and its dependents, as they were then.
    pub after: Vec<RealmEntry>,
}

/// The configuration in force, without secrets and without arguments of commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigEvidence {
    /// Counts the configurations of this life of heartbeatd, from 1.
    pub revision: u64,
    /// Since when it is in force.
    pub since: WallTime,
    /// The keys of `[heartbeat]`, of the root and of its needs: `realm.api.port = 8001  # heartbeat.toml:12`.
    pub keys: Vec<String>,
    /// What it changed of the configuration before, in all tables: `- realm.api.port = 8001`, `+ realm.api.port = 8002`.
    pub changes: Vec<String>,
    /// More keys changed than `changes` has.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub more_changes: bool,
}

/// State of one process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessStateEntry {
    /// Pid of the process.
    pub pid: u32,
    /// The number of its parent.
    pub parent: u32,
    /// The name of its program, as the kernel has it.
    pub name: String,
    /// What it does: `R` runs, `S` sleeps, `D` waits for a disk, `T` is stopped, `Z` has ended.
    pub state: String,
    /// The function of the kernel that it waits in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_in: Option<String>,
    /// Number of its threads.
    pub threads: u32,
    /// Processor time in seconds.
    pub cpu_s: f64,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// Number of open descriptors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fds: Option<u64>,
}
