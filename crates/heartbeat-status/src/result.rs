//! The JSON of one measurement: in the documents, and in programs that embed the probes.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::{CheckResult, Open, Outcome, PhaseTimes, ProbePhase};

/// The result of one measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultEntry {
    /// `pass`, `degraded`, `fail` or `inconclusive`.
    pub outcome: String,
    /// Reason of the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// In which stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Open<ProbePhase>>,
    /// For a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Time to the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Time of each stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phases_ms: Option<PhasesEntry>,
}

impl From<&CheckResult> for ResultEntry {
    fn from(result: &CheckResult) -> Self {
        Self {
            outcome: result.outcome.as_str().to_owned(),
            reason: result.outcome.reason().map(|reason| reason.as_str().to_owned()),
            phase: match result.outcome {
                Outcome::Fail { phase, .. } => phase.map(Into::into),
                Outcome::Pass | Outcome::Degraded(_) | Outcome::Inconclusive(_) => None,
            },
            detail: Some(result.detail.clone()).filter(|detail| !detail.is_empty()),
            latency_ms: result.latency.map(millis),
            phases_ms: PhasesEntry::of(&result.phases),
        }
    }
}

impl Serialize for CheckResult {
    /// As the documents of heartbeatd write it: a [`ResultEntry`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ResultEntry::from(self).serialize(serializer)
    }
}

/// Stages of a measurement in milliseconds; a stage that was not entered is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each field is the stage of its name")]
pub struct PhasesEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolve: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<f64>,
}

impl PhasesEntry {
    /// `None` where no stage was entered.
    #[must_use]
    pub fn of(phases: &PhaseTimes) -> Option<Self> {
        (*phases != PhaseTimes::default()).then(|| Self {
            queue: phases.queue.map(millis),
            resolve: phases.resolve.map(millis),
            connect: phases.connect.map(millis),
            tls: phases.tls.map(millis),
            first_byte: phases.first_byte.map(millis),
            body: phases.body.map(millis),
        })
    }
}

/// A duration in milliseconds with microsecond resolution, as the documents have it: `12.203`.
#[must_use]
pub fn millis(duration: Duration) -> f64 {
    // Below 2^53 µs (285 years) the conversion is exact.
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    micros as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FailReason, Instant};

    fn failed() -> CheckResult {
        CheckResult {
            outcome: Outcome::Fail { reason: FailReason::HeadersTimeout, phase: Some(ProbePhase::FirstByte) },
            detail: "no answer".to_owned(),
            started_at: Instant::from_millis(1_000),
            finished_at: Instant::from_millis(3_000),
            latency: None,
            phases: PhaseTimes { connect: Some(Duration::from_micros(200)), ..PhaseTimes::default() },
            unattributable: false,
            certificate_until: None,
        }
    }

    #[test]
    fn a_result_is_written_as_in_the_documents() {
        let json = serde_json::to_value(failed()).unwrap();
        let expected = serde_json::json!({ "outcome": "fail", "reason": "HeadersTimeout", "phase": "first_byte",
            "detail": "no answer", "phases_ms": { "connect": 0.2 } });
        assert_eq!(json, expected);
        let read: ResultEntry = serde_json::from_value(expected).unwrap();
        assert_eq!(read, ResultEntry::from(&failed()));
    }
}
