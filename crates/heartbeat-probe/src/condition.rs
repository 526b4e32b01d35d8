//! Conditions on the body of an answer, parsed by the constructor. A missing value fails.

use heartbeat_status::printed::quoted;
use heartbeat_status::{FailReason, ProbePhase};
use serde_json::Value;

use crate::HttpError;
use crate::broken::Broken;
use crate::expectation::Expectation;
use crate::tcp::contains;

/// Most characters of a found value that are shown.
const MAX_SHOWN_CHARS: usize = 80;

/// A condition on the body.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    Contains(String),
    #[cfg(feature = "regex")]
    Matches(regex::bytes::Regex),
    Json {
        pointer: String,
        expected: Value,
        compared: Expectation,
    },
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Contains(text), Self::Contains(other)) => text == other,
            #[cfg(feature = "regex")]
            (Self::Matches(pattern), Self::Matches(other)) => pattern.as_str() == other.as_str(),
            (
                Self::Json { pointer, expected, .. },
                Self::Json { pointer: other_pointer, expected: other_expected, .. },
            ) => pointer == other_pointer && expected == other_expected,
            _ => false,
        }
    }
}

impl Condition {
    #[cfg(feature = "regex")]
    pub(crate) fn matches(pattern: &str) -> Result<Self, HttpError> {
        let refused =
            |error: regex::Error| HttpError::Pattern { pattern: pattern.to_owned(), why: error.to_string() };
        regex::bytes::Regex::new(pattern).map(Self::Matches).map_err(refused)
    }

    pub(crate) fn json(pointer: &str, expected: Value) -> Result<Self, HttpError> {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(HttpError::Pointer { pointer: pointer.to_owned() });
        }
        let compared =
            Expectation::parse(expected.as_str().unwrap_or_default()).map_err(HttpError::Expectation)?;
        Ok(Self::Json { pointer: pointer.to_owned(), expected, compared })
    }

    /// Checks `body`. `shows` says whether the error may repeat the value that it found.
    pub(crate) fn check(&self, body: &[u8], shows: bool) -> Result<(), Broken> {
        let failed =
            |detail: String| Err(Broken::fail(FailReason::ConditionFailed, ProbePhase::Body, detail));
        match self {
            Self::Contains(text) if contains(body, text.as_bytes()) => Ok(()),
            Self::Contains(text) => failed(format!("the body does not contain {}", crate::expected(text))),
            #[cfg(feature = "regex")]
            Self::Matches(pattern) if pattern.is_match(body) => Ok(()),
            #[cfg(feature = "regex")]
            Self::Matches(pattern) => {
                failed(format!("the body does not match {}", quoted(&format!("/{pattern}/"))))
            }
            Self::Json { pointer, expected, compared } => {
                let wanted = match compared {
                    Expectation::Text(_) if expected.is_string() => quoted(&expected.to_string()),
                    _ => expected.to_string(),
                };
                let missing = |what: &str| {
                    let detail = format!("{what}; expected {wanted} at {pointer:?}");
                    Broken::fail(FailReason::ConditionMissing, ProbePhase::Body, detail)
                };
                let json: Value =
                    serde_json::from_slice(body).map_err(|_| missing("the body is not JSON"))?;
                match json.pointer(pointer) {
                    Some(found) if holds(found, expected, compared) => Ok(()),
                    Some(_) if !shows => failed(format!("{pointer} is not {wanted}")),
                    Some(found) => {
                        let mut shown = found.to_string();
                        if let Some((end, _)) = shown.char_indices().nth(MAX_SHOWN_CHARS) {
                            shown.truncate(end);
                            shown.push('…');
                        }
                        failed(format!("{pointer} is {}, not {wanted}", quoted(&shown)))
                    }
                    None => Err(missing("nothing there")),
                }
            }
        }
    }
}

/// Whether a value is the expected one, or satisfies the comparison that a text such as `"< 100"` stands for.
fn holds(found: &Value, expected: &Value, compared: &Expectation) -> bool {
    match (compared, found.as_f64(), expected.as_f64()) {
        (Expectation::Number(comparison), number, _) => number.is_some_and(|number| comparison.holds(number)),
        // 1 and 1.0 are one number.
        (Expectation::Text(_), Some(found), Some(expected)) => found.total_cmp(&expected).is_eq(),
        _ => found == expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(condition: &Condition, body: &str) -> Option<FailReason> {
        match condition.check(body.as_bytes(), true) {
            Ok(()) => None,
            Err(Broken { outcome: heartbeat_status::Outcome::Fail { reason, .. }, .. }) => Some(reason),
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
        assert_eq!(reason(&zero, r#"{"queue":0.0}"#), None);
        let short = Condition::json("/queue/depth", "< 100".into()).unwrap();
        assert_eq!(reason(&short, r#"{"queue":{"depth":99}}"#), None);
        for (body, expected) in [
            (r#"{"queue":{"depth":100}}"#, FailReason::ConditionFailed),
            (r#"{"queue":{"depth":"99"}}"#, FailReason::ConditionFailed),
            (r#"{"queue":{"depth":null}}"#, FailReason::ConditionFailed),
            (r#"{"queue":{}}"#, FailReason::ConditionMissing),
        ] {
            assert_eq!(reason(&short, body), Some(expected), "{body}");
        }
        assert_eq!(reason(&Condition::Contains("ok".into()), "not o k"), Some(FailReason::ConditionFailed));
        #[cfg(feature = "regex")]
        {
            assert_eq!(reason(&Condition::matches("^v[0-9]+$").unwrap(), "v12"), None);
            assert!(Condition::matches("(").is_err());
        }
        let whole = Condition::json("", 1.into()).unwrap();
        let Err(Broken { detail, .. }) = whole.check(format!("[\"{}\"]", "é".repeat(900)).as_bytes(), true)
        else {
            panic!("it is something else");
        };
        assert!(detail.contains('…') && detail.chars().count() < 120, "a piece of it is enough: {detail}");
        assert!(Condition::json("queue", 0.into()).is_err());
        let compared = Condition::json("/queue", "< abc".into()).unwrap_err();
        assert!(matches!(compared, HttpError::Expectation(_)), "{compared}");
    }
}
