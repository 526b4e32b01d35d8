//! Objectives: what is left of their budgets.

use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::WallTime;
use serde::{Deserialize, Serialize};

use crate::{AvailabilityEntry, TimesEntry};

/// `heartbeat.slo/1`: every objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SloDocument {
    /// The schema of the document: [`SLO_SCHEMA`](crate::SLO_SCHEMA).
    pub schema: String,
    /// When it was made.
    pub generated_at: WallTime,
    /// Realms with objectives, in start order.
    pub realms: Vec<SloEntry>,
}

/// The objectives of a realm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SloEntry {
    /// Name of the realm.
    pub realm: String,
    /// The time over which they count.
    pub window_s: f64,
    /// What the realm was within that time, as far as it is on record.
    #[serde(flatten)]
    pub times: TimesEntry,
    /// The objective of availability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<AvailabilityObjective>,
    /// The objective of latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyObjective>,
}

/// An objective of availability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AvailabilityObjective {
    /// The share of the time that is wanted, from 0 to 1.
    pub objective: f64,
    /// The share that was reached; absent when no time counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<AvailabilityEntry>,
    /// Downtime that the objective allows within the window, in minutes.
    pub budget_min: f64,
    /// Downtime that is left, in minutes; below zero when more was used than is allowed.
    pub left_min: f64,
    /// Whether the objective is met; absent while too little of the window is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
    /// How fast the budget is used, by pairs of windows.
    pub burns: Vec<BurnEntry>,
}

impl AvailabilityObjective {
    /// The fastest rule that the budget is used by, if any.
    #[must_use]
    pub fn burning(&self) -> Option<&BurnEntry> {
        self.burns.iter().find(|burn| burn.burning)
    }
}

/// How fast a budget is used within a pair of windows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BurnEntry {
    /// From this many times faster than the objective allows, it burns.
    pub factor: f64,
    /// The long window.
    pub long_s: u64,
    /// The short window.
    pub short_s: u64,
    /// How many times faster within the long window.
    pub long_rate: f64,
    /// How many times faster within the short window.
    pub short_rate: f64,
    /// Both rates reach the factor.
    pub burning: bool,
}

/// An objective of latency.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyObjective {
    /// 95 % of the measurements are to take at most this.
    pub objective_ms: f64,
    /// 95 % of the measurements within the window took at most this.
    pub p95_ms: f64,
    /// Share of the measurements that took at most `objective_ms`, from 0 to 1.
    pub fast_share: f64,
    /// Measurements within the window.
    pub count: u64,
    /// Whether the objective is met; absent while too little of the window is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

/// The objectives of a realm in the status document.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SloBrief {
    /// Downtime that is left of the budget, in minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_min: Option<f64>,
    /// The budget is used faster than the objective allows.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub burning: bool,
    /// Whether the objective of latency is met; absent while too little is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_met: Option<bool>,
}

impl From<&SloEntry> for SloBrief {
    fn from(entry: &SloEntry) -> Self {
        let availability = entry.availability.as_ref();
        Self {
            left_min: availability.map(|availability| availability.left_min),
            burning: availability.is_some_and(|availability| availability.burning().is_some()),
            latency_met: entry.latency.and_then(|latency| latency.met),
        }
    }
}
