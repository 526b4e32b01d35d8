//! Conditions on the body of an answer, parsed by the constructor. A missing value fails.

use heartbeat_status::{DegradedReason, FailReason, Outcome, ProbePhase};
use serde_json::Value;

use crate::HttpError;
use crate::target::Broken;
use crate::tcp::contains;

/// Most characters of a found value that are shown.
const MAX_SHOWN_CHARS: usize = 80;

/// A condition on the body.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    Contains(String),
    Matches(regex::bytes::Regex),
    Json { pointer: String, expected: Value },
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Contains(text), Self::Contains(other)) => text == other,
            (Self::Matches(pattern), Self::Matches(other)) => pattern.as_str() == other.as_str(),
            (
                Self::Json { pointer, expected },
                Self::Json { pointer: other_pointer, expected: other_expected },
            ) => pointer == other_pointer && expected == other_expected,
            (Self::Contains(_) | Self::Matches(_) | Self::Json { .. }, _) => false,
        }
    }
}

impl Condition {
    pub(crate) fn matches(pattern: &str) -> Result<Self, HttpError> {
        let refused =
            |error: regex::Error| HttpError::Pattern { pattern: pattern.to_owned(), why: error.to_string() };
        regex::bytes::Regex::new(pattern).map(Self::Matches).map_err(refused)
    }

    pub(crate) fn json(pointer: &str, expected: Value) -> Result<Self, HttpError> {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(HttpError::Pointer { pointer: pointer.to_owned() });
        }
        Ok(Self::Json { pointer: pointer.to_owned(), expected })
    }

    /// Checks `body`. `shows` says whether the error may repeat the value that it found.
    pub(crate) fn check(&self, body: &[u8], shows: bool) -> Result<(), Broken> {
        let failed =
            |detail: String| Err(Broken::fail(FailReason::ConditionFailed, ProbePhase::Body, detail));
        match self {
            Self::Contains(text) if contains(body, text.as_bytes()) => Ok(()),
            Self::Contains(text) => failed(format!("the body does not contain {text:?}")),
            Self::Matches(pattern) if pattern.is_match(body) => Ok(()),
            Self::Matches(pattern) => failed(format!("the body does not match /{}/", pattern.as_str())),
            Self::Json { pointer, expected } => {
                let missing = |what: &str| {
                    let detail = format!("{what}; expected {expected} at {pointer:?}");
                    Broken::fail(FailReason::ConditionMissing, ProbePhase::Body, detail)
                };
                let json: Value =
                    serde_json::from_slice(body).map_err(|_| missing("the body is not JSON"))?;
                match json.pointer(pointer) {
                    Some(found) if found == expected => Ok(()),
                    Some(_) if !shows => failed(format!("{pointer} is not {expected}")),
                    Some(found) => {
                        let mut shown = found.to_string();
                        if let Some((end, _)) = shown.char_indices().nth(MAX_SHOWN_CHARS) {
                            shown.truncate(end);
                            shown.push('…');
                        }
                        failed(format!("{pointer} is {shown}, not {expected}"))
                    }
                    None => Err(missing("nothing there")),
                }
            }
        }
    }
}

/// The verdict of a body shaped like health+json or Spring's: `pass`/`ok`/`up`, `warn`, `fail`/`error`/`down`.
pub(crate) fn reported(body: &[u8], shows: bool) -> Option<(Outcome, String)> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let word = json.get("status")?.as_str()?;
    let reason = match word.to_ascii_lowercase().as_str() {
        "warn" | "warning" | "degraded" => DegradedReason::ReportedDegraded,
        "fail" | "error" | "down" | "out_of_service" | "unhealthy" => DegradedReason::ReportedDown,
        _ => return None,
    };
    let output = json.get("output").and_then(Value::as_str).filter(|_| shows);
    let output = output.map_or_else(String::new, |text| format!(": {text}"));
    Some((Outcome::Degraded(reason), format!("reports {word}{output}")))
}

/// Whether a body shaped like health+json or Spring's reports that its service is starting.
pub(crate) fn reports_starting(body: &[u8]) -> bool {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let word = json.as_ref().and_then(|json| json.get("status")?.as_str());
    word.is_some_and(|word| word.eq_ignore_ascii_case("starting"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(condition: &Condition, body: &str) -> Option<FailReason> {
        match condition.check(body.as_bytes(), true) {
            Ok(()) => None,
            Err(Broken { outcome: Outcome::Fail { reason, .. }, .. }) => Some(reason),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_missing_value_fails_and_is_never_zero() {
        let zero = Condition::json("/queue", 0.into()).unwrap();
        assert_eq!(reason(&zero, r#"{"queue":0}"#), None);
        assert_eq!(reason(&zero, r#"{"queue":7}"#), Some(FailReason::ConditionFailed));
        assert_eq!(reason(&zero, "{}"), Some(FailReason::ConditionMissing));
        assert_eq!(reason(&zero, "queue 0"), Some(FailReason::ConditionMissing));
        assert_eq!(reason(&Condition::Contains("ok".into()), "not o k"), Some(FailReason::ConditionFailed));
        assert_eq!(reason(&Condition::matches("^v[0-9]+$").unwrap(), "v12"), None);
        let whole = Condition::json("", 1.into()).unwrap();
        let Err(Broken { detail, .. }) = whole.check(format!("[\"{}\"]", "é".repeat(900)).as_bytes(), true)
        else {
            panic!("it is something else");
        };
        assert!(detail.contains('…') && detail.chars().count() < 120, "a piece of it is enough: {detail}");
        assert!(Condition::matches("(").is_err() && Condition::json("queue", 0.into()).is_err());
    }

    #[test]
    fn the_status_in_a_body_is_a_verdict() {
        let verdict = |body: &str| reported(body.as_bytes(), true).map(|(outcome, _)| outcome);
        assert_eq!(verdict(r#"{"status":"UP"}"#), None);
        assert_eq!(verdict(r#"{"status":"DOWN"}"#), Some(Outcome::Degraded(DegradedReason::ReportedDown)));
        assert_eq!(
            verdict(r#"{"status":"warn"}"#),
            Some(Outcome::Degraded(DegradedReason::ReportedDegraded))
        );
        assert_eq!(verdict(r#"{"status":3}"#), None);
        assert_eq!(verdict("<html>"), None);
        assert!(reports_starting(br#"{"status":"STARTING"}"#));
        assert!(!reports_starting(br#"{"status":"started"}"#) && !reports_starting(b"starting"));
    }
}
