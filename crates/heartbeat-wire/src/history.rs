//! History documents: the states of realms over time.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use heartbeat_status::{WallTime, short_seconds};
use serde::{Deserialize, Serialize};

/// `heartbeat.history/1`: one realm over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryDocument {
    /// The schema of the document: [`HISTORY_SCHEMA`](crate::HISTORY_SCHEMA).
    pub schema: String,
    /// Name of the realm.
    pub realm: String,
    /// The probe whose latencies these are; absent without a measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// Start of the window.
    pub from: WallTime,
    /// End of the window.
    pub to: WallTime,
    /// Length of a step.
    pub step_s: f64,
    /// When the realm was seen first; nothing is missing before.
    pub first_seen_at: WallTime,
    /// The whole window.
    #[serde(flatten)]
    pub times: TimesEntry,
    /// Absent when no time of the window counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<AvailabilityEntry>,
    /// Latencies of the whole window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<LatencyEntry>,
    /// Each phase of that probe on the UTC days that the window touches.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub phases_ms: BTreeMap<String, LatencyEntry>,
    /// What its processes used within the whole window.
    #[serde(flatten)]
    pub usage: UsageTimes,
    /// The window in steps, the oldest first.
    pub steps: Vec<HistoryStep>,
}

/// One step of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryStep {
    /// When it begins.
    pub at: WallTime,
    /// What the realm was.
    #[serde(flatten)]
    pub times: TimesEntry,
    /// How long the probe took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<LatencyEntry>,
    /// What its processes used.
    #[serde(flatten)]
    pub usage: UsageTimes,
}

/// What the processes of a realm used within a time; a figure is absent without a look at them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UsageTimes {
    /// Percent of one processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<LevelEntry>,
    /// Levels of resident memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<LevelEntry>,
    /// Levels of open descriptors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fds: Option<LevelEntry>,
    /// Load of the host, in the history of `heartbeatd` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LevelEntry>,
    /// Used space of the file system below `state_dir`, in the history of `heartbeatd` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_percent: Option<LevelEntry>,
}

/// A quantity over time, each figure within 2 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LevelEntry {
    /// Half of the time it was at most this.
    pub p50: f64,
    /// The largest that was seen.
    pub max: f64,
}

/// Seconds by the class of the realm's status. Time before the realm was first seen does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TimesEntry {
    /// Up or done.
    pub up_s: f64,
    /// Seconds in which it was degraded.
    pub degraded_s: f64,
    /// Down, failed, restarting or blocked, or starting again.
    pub down_s: f64,
    /// No evidence, heartbeatd did not run, or starting for the first time in this boot.
    pub unknown_s: f64,
    /// Stopped or paused on purpose: it does not count.
    pub paused_s: f64,
}

/// An availability with its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AvailabilityEntry {
    /// Of the time that is known, from 0 to 1.
    pub share: f64,
    /// If everything unknown was down.
    pub at_least: f64,
    /// If everything unknown was up.
    pub at_most: f64,
    /// How long it is unknown.
    pub unknown_s: f64,
}

impl fmt::Display for AvailabilityEntry {
    /// `99.95 % (99.90-99.97, unknown 3h)`, rounded down, so that less than everything never looks like everything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| (share * 1e4) as u64 as f64 / 1e2;
        write!(f, "{:.2} %", percent(self.share))?;
        if self.unknown_s > 0.0 {
            let (least, most) = (percent(self.at_least), percent(self.at_most));
            // Rounded up, so that bounds never stand beside a time of zero.
            let unknown = short_seconds((self.unknown_s + 0.999) as i64);
            write!(f, " ({least:.2}-{most:.2}, unknown {unknown})")?;
        }
        Ok(())
    }
}

/// How long a probe took, in milliseconds, each within 2 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyEntry {
    /// Half of the measurements took at most this.
    pub p50: f64,
    /// 95 % of the measurements took at most this.
    pub p95: f64,
    /// 99 % of the measurements took at most this.
    pub p99: f64,
    /// The longest one.
    pub max: f64,
    /// How many measurements.
    pub count: u64,
    /// Within how many seconds, where the document does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_s: Option<u64>,
}

/// `heartbeat.strips/1`: every realm on each of the last days.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StripsDocument {
    /// The schema of the document: [`STRIPS_SCHEMA`](crate::STRIPS_SCHEMA).
    pub schema: String,
    /// Start of the first bar.
    pub from: WallTime,
    /// End of the last bar.
    pub to: WallTime,
    /// Length of a bar.
    pub bar_s: u64,
    /// Realms by name.
    pub realms: Vec<StripEntry>,
}

/// One realm on each of the last days.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StripEntry {
    /// Name of the realm.
    pub name: String,
    /// The oldest first; the last one is today.
    pub bars: Vec<TimesEntry>,
}

/// What history says of a realm at a glance, for the status document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RealmFigures {
    /// The last hour of the first probe that is measured.
    pub latency_ms: Option<LatencyEntry>,
    /// The last hour of each probe that is measured, by its name.
    pub latencies: BTreeMap<String, LatencyEntry>,
    /// By window: `24h`.
    pub availability: BTreeMap<String, f64>,
}
