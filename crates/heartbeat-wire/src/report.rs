//! A month in one document.

use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::{Reason, WallTime};
use serde::{Deserialize, Serialize};

use crate::{AvailabilityEntry, LatencyEntry, Open, TimesEntry, UsageTimes};

/// `heartbeat.report/1`: every realm and every incident of a month.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportDocument {
    /// The schema of the document: [`REPORT_SCHEMA`](crate::REPORT_SCHEMA).
    pub schema: String,
    /// Name of the ecosystem.
    pub name: String,
    /// The month in UTC, such as `2026-11`.
    pub month: String,
    /// Its first moment.
    pub from: WallTime,
    /// Its end, or the time of the report if that is earlier.
    pub to: WallTime,
    /// When it was made.
    pub generated_at: WallTime,
    /// The first moment that is on record, if it is within the month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seen_at: Option<WallTime>,
    /// Realms that are on record within the month, in start order.
    pub realms: Vec<ReportRealm>,
    /// Incidents that were opened within the month, the oldest first.
    pub incidents: Vec<ReportIncident>,
    /// More incidents were opened than the report lists.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub more_incidents: bool,
}

/// A realm in a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportRealm {
    /// Name of the realm.
    pub name: String,
    /// Title for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The whole month.
    #[serde(flatten)]
    pub times: TimesEntry,
    /// Absent when no time of the month counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<AvailabilityEntry>,
    /// The share of the time that its objective wants, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<f64>,
    /// Whether the whole month meets it; absent while too little of the month is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
    /// The probe whose latencies these are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// Latencies of the month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<LatencyEntry>,
    /// What its processes used.
    #[serde(flatten)]
    pub usage: UsageTimes,
    /// Incidents of the month with this realm at their root.
    pub incidents: u64,
    /// Each day of the month until now.
    pub days: Vec<TimesEntry>,
}

/// An incident in a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportIncident {
    /// Identifier of the incident.
    pub id: String,
    /// The realm at its root, or `heartbeatd`.
    pub root: String,
    /// Why: the code.
    pub reason: Open<Reason>,
    /// Why, for a person.
    pub message: String,
    /// Realms that it blocked.
    pub affected: Vec<String>,
    /// When it began.
    pub opened_at: WallTime,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<WallTime>,
    /// How long it lasted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
}
