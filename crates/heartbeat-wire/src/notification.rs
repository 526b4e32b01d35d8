//! The notifications of an incident.

use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::{DeliveryState, IncidentStep, WallTime};
use serde::{Deserialize, Serialize};

use crate::Open;

/// `heartbeat.notifications/1`: the notifications of one incident, in the order in which they became due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationsDocument {
    /// The schema of the document: [`NOTIFICATIONS_SCHEMA`](crate::NOTIFICATIONS_SCHEMA).
    pub schema: String,
    /// Id of the incident.
    pub incident: String,
    /// The oldest first.
    pub notifications: Vec<NotificationEntry>,
}

/// One notification to one receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationEntry {
    /// Name of the receiver.
    pub receiver: String,
    /// Number of the event within the incident. `ID.SEQ` is the key that the receiver gets.
    pub seq: u64,
    /// Step of the incident.
    pub event: Open<IncidentStep>,
    /// How far it has come.
    pub state: Open<DeliveryState>,
    /// The time at which it became due.
    pub queued_at: WallTime,
    /// Number of attempts.
    pub attempts: u32,
    /// The time of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempted_at: Option<WallTime>,
    /// The time of the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<WallTime>,
    /// Why the last attempt failed, or why it was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Body of `POST /api/notify/{receiver}/test/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotifyTestRequest {
    /// Shows what would be sent, and sends nothing.
    pub dry_run: bool,
}

/// `heartbeat.notify-test/1`: the messages of a test, an outage that did not happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyTestDocument {
    /// The schema of the document: [`NOTIFY_TEST_SCHEMA`](crate::NOTIFY_TEST_SCHEMA).
    pub schema: String,
    /// Name of the receiver.
    pub receiver: String,
    /// The messages, in order; none follows one that did not arrive.
    pub messages: Vec<NotifyTestEntry>,
}

/// One message of a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyTestEntry {
    /// Step of the incident.
    pub event: Open<IncidentStep>,
    /// The message as text, without secrets.
    pub sent: String,
    /// Whether the receiver accepted it; absent for a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<bool>,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Body of `POST /api/realms/{realm}/mute/`: a mute always has an end and a reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MuteRequest {
    /// Why, for the people who look.
    pub reason: String,
    /// For how long, in seconds.
    pub for_s: f64,
}

/// `heartbeat.mute/1`: whether receivers hear of a realm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MuteDocument {
    /// The schema of the document: [`MUTE_SCHEMA`](crate::MUTE_SCHEMA).
    pub schema: String,
    /// Name of the realm.
    pub realm: String,
    /// An operator has muted it. A maintenance window may mute it, too.
    pub muted: bool,
    /// Reason that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Time at which it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<WallTime>,
}
