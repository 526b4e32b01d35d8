//! One measurement, with what was said in it.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize, Serializer};

use super::render::phases_entry;
use super::{Open, PhasesEntry, millis};
use crate::{CheckResult, Outcome, ProbePhase, WallAnchor, WallTime};

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
            phases_ms: phases_entry(&result.phases),
        }
    }
}

impl Serialize for CheckResult {
    /// As the documents of heartbeatd write it: a [`ResultEntry`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ResultEntry::from(self).serialize(serializer)
    }
}

/// A measurement that failed, and what was said in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeFailureEntry {
    /// When it ended.
    pub at: WallTime,
    /// Name of the probe.
    pub probe: String,
    /// Result of the measurement.
    #[serde(flatten)]
    pub result: ResultEntry,
    /// One line each: `*` for a remark, `>` for what was sent, `<` for what was received. Secrets are hidden.
    #[serde(default)]
    pub transcript: Vec<String>,
}

impl ProbeFailureEntry {
    /// A result of the probe called `probe`.
    #[must_use]
    pub fn render(probe: &str, result: &CheckResult, transcript: Vec<String>, anchor: WallAnchor) -> Self {
        let at = anchor.wall(result.finished_at);
        Self { at, probe: probe.to_owned(), result: result.into(), transcript }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use alloc::vec;

    use super::*;
    use crate::{FailReason, Instant, PhaseTimes};

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

    #[test]
    fn a_recorded_failure_says_when_and_of_which_probe() {
        let anchor =
            WallAnchor { instant: Instant::from_millis(0), wall: WallTime::from_millis(1_795_473_598_123) };
        let entry = ProbeFailureEntry::render("http", &failed(), vec!["> GET / HTTP/1.1".to_owned()], anchor);
        let json = serde_json::to_value(&entry).unwrap();
        assert_eq!((&json["at"], &json["probe"]), (&"2026-11-23T22:40:01.123Z".into(), &"http".into()));
        assert_eq!((&json["outcome"], &json["transcript"][0]), (&"fail".into(), &"> GET / HTTP/1.1".into()));
        assert_eq!(serde_json::from_value::<ProbeFailureEntry>(json).unwrap(), entry);
    }
}
