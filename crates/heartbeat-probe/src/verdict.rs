//! The verdict that a JSON body reports about its own service: health+json, Spring, MicroProfile, ASP.NET.

use heartbeat_status::DegradedReason;
use serde_json::Value;

/// Most dependencies that are named.
const MAX_DEPENDENCIES: usize = 5;
/// Most characters of a dependency's own words.
const MAX_WORDS_CHARS: usize = 80;
/// Where bodies list what their service depends on.
const LISTS: [&str; 6] = ["checks", "components", "details", "entries", "results", "dependencies"];
/// Where bodies list only what fails, each with its own words.
const FAILING: [&str; 4] = ["failing", "failed", "failures", "errors"];
/// What a dependency says about its failure.
const WORDS: [&str; 5] = ["output", "error", "description", "message", "exception"];

/// What a body reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Starting,
    Degraded(DegradedReason),
}

/// The state that a word of one of these formats means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Good,
    Starting,
    Warning,
    Bad,
}

fn state(value: &Value) -> Option<State> {
    match value.as_str()?.to_ascii_lowercase().as_str() {
        "pass" | "ok" | "up" | "healthy" => Some(State::Good),
        "starting" => Some(State::Starting),
        "warn" | "warning" | "degraded" => Some(State::Warning),
        "fail" | "error" | "down" | "out_of_service" | "unhealthy" | "critical" => Some(State::Bad),
        _ => None,
    }
}

/// What `body` reports, with the dependencies that it names; `None` for a body that reports nothing bad or is of
/// another shape. `shows` says whether the text may repeat parts of the body.
pub(crate) fn reported(body: &[u8], shows: bool) -> Option<(Verdict, String)> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let word = json.get("status")?;
    let overall = state(word)?;
    let verdict = match overall {
        State::Good => return None,
        State::Starting => Verdict::Starting,
        State::Warning => Verdict::Degraded(DegradedReason::ReportedDegraded),
        State::Bad => Verdict::Degraded(DegradedReason::ReportedDown),
    };
    let mut text = format!("reports {}", word.as_str().unwrap_or_default());
    if shows {
        let named = dependencies(&json, overall);
        // Some services say again in one text what they say of each dependency.
        let repeats = |own: &str| {
            named.iter().any(|dependency| own.contains(dependency.split(" (").next().unwrap_or_default()))
        };
        let own = json.get("output").and_then(Value::as_str).filter(|own| !repeats(own)).map(shortened);
        let words: Vec<String> = named.iter().cloned().chain(own).collect();
        if !words.is_empty() {
            text = format!("{text}: {}", words.join(", "));
        }
    }
    Some((verdict, text))
}

/// The dependencies that are not good, each with its own words: `db (connection refused)`. One that only warns says so
/// where the service as a whole does not.
fn dependencies(json: &Value, overall: State) -> Vec<String> {
    let mut named = Vec::new();
    for list in LISTS.iter().filter_map(|name| json.get(*name)) {
        match list {
            // health+json has a list for each name.
            Value::Object(entries) => {
                for (name, entry) in entries {
                    let entries = entry.as_array().map_or(std::slice::from_ref(entry), Vec::as_slice);
                    named.extend(entries.iter().filter_map(|entry| bad(name, entry, overall)));
                }
            }
            Value::Array(entries) => named.extend(entries.iter().filter_map(|entry| {
                let name = entry.get("name").or_else(|| entry.get("key"))?.as_str()?;
                bad(name, entry, overall)
            })),
            _ => {}
        }
    }
    for entries in FAILING.iter().filter_map(|name| json.get(*name)?.as_object()) {
        named.extend(entries.iter().map(|(name, words)| with_words(name, words.as_str())));
    }
    let more = named.len().saturating_sub(MAX_DEPENDENCIES);
    named.truncate(MAX_DEPENDENCIES);
    named.extend((more > 0).then(|| format!("{more} more")));
    named
}

/// The words for a dependency, unless its state is good or unknown.
fn bad(name: &str, entry: &Value, overall: State) -> Option<String> {
    let name = match (state(entry.get("status").unwrap_or(entry))?, overall) {
        (State::Good | State::Starting, _) => return None,
        (State::Warning, State::Bad) => &format!("{name} warns"),
        (State::Warning | State::Bad, _) => name,
    };
    let places = [Some(entry), entry.get("details"), entry.get("data")];
    let words = places.into_iter().flatten().find_map(|place| {
        WORDS.iter().find_map(|word| place.get(*word)?.as_str()).filter(|words| !words.is_empty())
    });
    Some(with_words(name, words))
}

fn with_words(name: &str, words: Option<&str>) -> String {
    words.map_or_else(|| name.to_owned(), |words| format!("{name} ({})", shortened(words)))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_WORDS_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEGRADED: Verdict = Verdict::Degraded(DegradedReason::ReportedDegraded);
    const DOWN: Verdict = Verdict::Degraded(DegradedReason::ReportedDown);

    #[test]
    fn each_format_names_its_dependencies() {
        for (body, verdict, text) in [
            (r#"{"status":"DOWN"}"#, DOWN, "reports DOWN"),
            (
                r#"{"status":"warn","output":"disk 91%","checks":{"redis:connections":[{"status":"pass"},{"status":"fail","output":"refused"}]}}"#,
                DEGRADED,
                "reports warn: redis:connections (refused), disk 91%",
            ),
            (
                r#"{"status":"DOWN","components":{"db":{"status":"DOWN","details":{"error":"no connection"}},"disk":{"status":"UP"}}}"#,
                DOWN,
                "reports DOWN: db (no connection)",
            ),
            (
                r#"{"status":"DOWN","checks":[{"name":"kafka","status":"DOWN","data":{}},{"name":"db","status":"UP"}]}"#,
                DOWN,
                "reports DOWN: kafka",
            ),
            (
                r#"{"status":"Unhealthy","entries":{"sql":{"status":"Unhealthy","description":"timeout"}}}"#,
                DOWN,
                "reports Unhealthy: sql (timeout)",
            ),
            (
                r#"{"status":"fail","failing":{"postgres":"connection refused"}}"#,
                DOWN,
                "reports fail: postgres (connection refused)",
            ),
            (
                r#"{"status":"fail","output":"db: refused","checks":{"db":[{"status":"fail","output":"refused"}],"disk":[{"status":"warn","output":"91 % full"}]}}"#,
                DOWN,
                "reports fail: db (refused), disk warns (91 % full)",
            ),
            (r#"{"status":"STARTING"}"#, Verdict::Starting, "reports STARTING"),
        ] {
            assert_eq!(reported(body.as_bytes(), true), Some((verdict.clone(), text.to_owned())));
            let hidden = reported(body.as_bytes(), false).unwrap();
            assert!(hidden.0 == verdict && !hidden.1.contains(':'), "{hidden:?}");
        }
    }

    #[test]
    fn a_good_or_a_foreign_body_reports_nothing() {
        for body in [
            r#"{"status":"UP","components":{"x":{"status":"DOWN"}}}"#,
            r#"{"status":"pass"}"#,
            r#"{"status":3}"#,
            r#"{"status":"started"}"#,
            "starting",
            "<html>",
            "[]",
        ] {
            assert_eq!(reported(body.as_bytes(), true), None, "{body}");
        }
    }

    #[test]
    fn what_is_named_is_bounded() {
        let checks: Vec<String> = (0..40)
            .map(|at| {
                format!(r#"{{"name":"d{at}","status":"DOWN","data":{{"error":"{}"}}}}"#, "é".repeat(500))
            })
            .collect();
        let body = format!(r#"{{"status":"DOWN","checks":[{}]}}"#, checks.join(","));
        let (_, text) = reported(body.as_bytes(), true).unwrap();
        assert!(text.ends_with("35 more") && text.chars().count() < 600, "{text}");
    }
}
