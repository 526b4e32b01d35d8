//! Incidents and events in documents and notifications.

use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::{IncidentStep, Reason, Severity, Status, WallTime, What, printed};
use serde::{Deserialize, Serialize};

use crate::{Open, RealmEntry, RootEntry, Summary};

/// `heartbeat.incident/1`: one incident, as the API lists it and as receivers get it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentDocument {
    /// The schema of the document: [`INCIDENT_SCHEMA`](crate::INCIDENT_SCHEMA).
    pub schema: String,
    /// What happened to it last.
    pub event: Open<IncidentStep>,
    /// Unique for good (UUIDv7).
    pub id: String,
    /// Counts the events of this incident, from 1.
    pub seq: u64,
    /// Name of the ecosystem.
    pub ecosystem: String,
    /// The realm at its root, or `heartbeatd`.
    pub root: String,
    /// Why it was opened: the code.
    pub reason: Open<Reason>,
    /// Why, for a person.
    pub message: String,
    /// How much it matters.
    pub severity: Open<Severity>,
    /// Realms blocked by its root at any time since it opened.
    pub affected: Vec<String>,
    /// When the outage was seen.
    pub opened_at: WallTime,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<WallTime>,
    /// From opened to resolved, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// How it ended, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<String>,
    /// Who takes care of the incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<AckEntry>,
    /// What happened since, oldest first.
    pub timeline: Vec<TimelineEntry>,
    /// Last lines of the root's output when it was opened. Not on the read-only listener.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// Where to look.
    pub links: IncidentLinks,
}

/// Names that the template of a receiver may use: the fields of [`IncidentDocument`], and `title` and `text`, the message
/// as heartbeatd writes it.
pub const TEMPLATE_NAMES: &[&str] = &[
    "schema",
    "event",
    "id",
    "seq",
    "ecosystem",
    "root",
    "reason",
    "message",
    "severity",
    "affected",
    "opened_at",
    "resolved_at",
    "duration_s",
    "resolution",
    "ack",
    "timeline",
    "log_tail",
    "links",
    "title",
    "text",
];

impl IncidentDocument {
    /// The same without the quotes around what commands have printed ([`printed`]).
    #[must_use]
    pub fn unquoted(&self) -> Self {
        let mut document = self.clone();
        let texts = document.timeline.iter_mut().map(|entry| &mut entry.detail);
        for text in texts.chain([&mut document.message]).chain(&mut document.resolution) {
            *text = printed::unquoted(text).into_owned();
        }
        document
    }
}

/// An acknowledgement: who takes care of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckEntry {
    /// Time since when it applies.
    pub at: WallTime,
    /// Who, as they gave their name, or `uid 1000`.
    pub by: String,
    /// What they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Body of `POST /api/incidents/{id}/ack/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AckRequest {
    /// Name of the person; absent: the user of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What is known, or done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentLinks {
    /// This incident in the API.
    #[serde(rename = "self")]
    pub this: String,
}

/// One thing that happened in an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// Time at which it happened.
    pub at: WallTime,
    /// To whom, or `heartbeatd`.
    pub realm: String,
    /// What, in one word.
    pub what: Open<What>,
    /// What, for a person.
    pub detail: String,
}

/// `heartbeat.incidents/1`: incidents, the newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentsDocument {
    /// The schema of the document: [`INCIDENTS_SCHEMA`](crate::INCIDENTS_SCHEMA).
    pub schema: String,
    /// The newest first.
    pub incidents: Vec<IncidentDocument>,
    /// What to pass as `?after=` for the older ones; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `heartbeat.event/1`: one fact of the event stream (its `event: fact`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventEntry {
    /// The schema of the document: [`EVENT_SCHEMA`](crate::EVENT_SCHEMA).
    pub schema: String,
    /// Counts the facts of this life of heartbeatd, from 1.
    pub seq: u64,
    /// Time at which it happened.
    pub at: WallTime,
    /// To whom; absent for the ecosystem and heartbeatd itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    /// What, in one word.
    pub what: Open<What>,
    /// What, for a person.
    pub detail: String,
    /// The incident it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
}

/// `heartbeat.delta/1`: the changes of meaning since the last one (`event: delta` of the stream).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeltaDocument {
    /// The schema of the document: [`DELTA_SCHEMA`](crate::DELTA_SCHEMA).
    pub schema: String,
    /// The revision reached with it.
    pub revision: u64,
    /// When this body was made.
    pub generated_at: WallTime,
    /// As in the status document.
    pub ok: bool,
    /// As in the status document.
    pub status: Open<Status>,
    /// As in the status document.
    pub summary: Summary,
    /// As in the status document.
    #[serde(default)]
    pub roots: Vec<RootEntry>,
    /// The realms that changed, whole, in start order.
    pub realms: Vec<RealmEntry>,
}
