//! The notifications of an incident.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Open;
use crate::{DeliveryState, IncidentStep, WallTime};

/// `heartbeat.notifications/1`: the notifications of one incident, in the order in which they became due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationsDocument {
    /// [`NOTIFICATIONS_SCHEMA`](super::NOTIFICATIONS_SCHEMA).
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
    /// The event.
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
