//! A measurement that failed, with what was said in it.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::{CheckResult, ResultEntry, WallAnchor, WallTime};
use serde::{Deserialize, Serialize};

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
    use heartbeat_status::{FailReason, Instant, Outcome, PhaseTimes, ProbePhase};

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
