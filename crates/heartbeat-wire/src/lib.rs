//! The documents of the API of heart-beat.
//!
//! # What it is
//! The form in which a heartbeatd tells of its realms: `heartbeat.status/1` ([`StatusDocument`]), `heartbeat.realm/1`
//! ([`RealmDocument`]), incidents, history, objectives, plans and problems, and how the first two are made from a
//! [`Snapshot`](heartbeat_status::Snapshot). Rules of the contract: JSON in UTF-8, times RFC 3339 UTC with milliseconds, durations as
//! numbers with the unit in the name, realms as an array in start order, absent means not applicable and is never null,
//! fields are only added within a major version, and a reader treats a word it does not know as unknown ([`Open`]).
//!
//! # What it is not
//! It has no connection (`heartbeat-client` has) and decides nothing. The words in the documents are those of
//! `heartbeat-status`.
//!
//! # How to use it
//! ```
//! use heartbeat_wire::HealthDocument;
//!
//! let answer = r#"{ "status": "fail", "version": "0.1.0", "instance": "a1", "notes": ["the disk is full"] }"#;
//! let document: HealthDocument = serde_json::from_str(answer).unwrap();
//! assert_eq!(document.notes, ["the disk is full"]);
//! ```
#![no_std]

extern crate alloc;

mod action;
mod budget;
mod document;
mod evidence;
mod failure;
mod headline;
mod history;
mod incident;
mod logs;
mod notification;
mod realm;
mod render;
mod report;
mod slo;

pub use action::{
    ActionDocument, ActionRequest, ActionStep, DepartureDocument, EffectEntry, GraphDocument, GraphEdge,
    GraphNode, HealthDocument, HoldEntry, OwnProblemEntry, PlanRequest, Problem, RegistrationDocument,
    ReloadDocument, ReloadRequest, ReloadedRealm,
};
pub use budget::{Attainment, Budget, Known};
pub use document::{
    DaemonEntry, LagEntry, PortOwnerEntry, RealmDocument, RootEntry, StatusDocument, Summary, TransitionEntry,
};
pub use evidence::{ConfigEvidence, EvidenceDocument, OpeningEvidence, ProcessStateEntry, ResolvingEvidence};
pub use failure::ProbeFailureEntry;
pub use heartbeat_status::{Action, Open, PhasesEntry, ResultEntry, Wait};
pub use history::{
    AvailabilityEntry, HistoryDocument, HistoryStep, LatencyEntry, LevelEntry, RealmFigures, StripEntry,
    StripsDocument, TimesEntry, UsageTimes,
};
pub use incident::{
    AckEntry, AckRequest, DeltaDocument, EventEntry, IncidentDocument, IncidentLinks, IncidentsDocument,
    TEMPLATE_NAMES, TimelineEntry,
};
pub use logs::{LogsDocument, LostEntry};
pub use notification::{
    MuteDocument, MuteRequest, NotificationEntry, NotificationsDocument, NotifyTestDocument, NotifyTestEntry,
    NotifyTestRequest,
};
pub use realm::{
    ExitEntry, LastEntry, MuteEntry, NeedEntry, NextEntry, PauseEntry, ProbeEntry, ProcessEntry,
    ProcessUsage, RealmEntry, RestartEntry, RestartStepEntry, RestartsEntry, SaysEntry,
};
pub use render::{About, ConfigProblem};
pub use report::{ReportDocument, ReportIncident, ReportRealm};
pub use slo::{AvailabilityObjective, BurnEntry, LatencyObjective, SloBrief, SloDocument, SloEntry};

/// Schema name of the ecosystem document.
pub const STATUS_SCHEMA: &str = "heartbeat.status/1";
/// Schema name of the realm document.
pub const REALM_SCHEMA: &str = "heartbeat.realm/1";

/// Schema name of a command's plan and result.
pub const ACTION_SCHEMA: &str = "heartbeat.action/1";
/// Schema name of the history of a realm.
pub const HISTORY_SCHEMA: &str = "heartbeat.history/1";
/// Schema name of the report of a month.
pub const REPORT_SCHEMA: &str = "heartbeat.report/1";
/// Schema name of the objectives.
pub const SLO_SCHEMA: &str = "heartbeat.slo/1";
/// Schema name of the evidence of an incident.
pub const EVIDENCE_SCHEMA: &str = "heartbeat.evidence/1";
/// Schema name of the strips of all realms.
pub const STRIPS_SCHEMA: &str = "heartbeat.strips/1";
/// Schema name of one incident.
pub const INCIDENT_SCHEMA: &str = "heartbeat.incident/1";
/// Schema name of a list of incidents.
pub const INCIDENTS_SCHEMA: &str = "heartbeat.incidents/1";
/// Schema of [`MuteDocument`].
pub const MUTE_SCHEMA: &str = "heartbeat.mute/1";
/// Schema of [`NotifyTestDocument`].
pub const NOTIFY_TEST_SCHEMA: &str = "heartbeat.notify-test/1";
/// Schema of [`NotificationsDocument`].
pub const NOTIFICATIONS_SCHEMA: &str = "heartbeat.notifications/1";
/// Schema name of one fact of the event stream.
pub const EVENT_SCHEMA: &str = "heartbeat.event/1";
/// Schema name of a change of the event stream.
pub const DELTA_SCHEMA: &str = "heartbeat.delta/1";
/// Schema name of what a reload changes.
pub const RELOAD_SCHEMA: &str = "heartbeat.reload/1";
/// Schema of [`RegistrationDocument`].
pub const REGISTRATION_SCHEMA: &str = "heartbeat.registration/1";
/// Schema name of heartbeatd going while its realms stay.
pub const DEPARTURE_SCHEMA: &str = "heartbeat.departure/1";
/// Schema name of a realm's output.
pub const LOGS_SCHEMA: &str = "heartbeat.logs/1";
/// Schema name of the dependency graph.
pub const GRAPH_SCHEMA: &str = "heartbeat.graph/1";

/// Seconds with millisecond resolution.
pub(crate) fn seconds(duration: core::time::Duration) -> f64 {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    millis as f64 / 1_000.0
}

/// A duration in whole milliseconds.
pub(crate) fn whole_millis(duration: core::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
