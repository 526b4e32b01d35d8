//! heartbeatd's own health.

use heartbeat_status::{OwnProblem, printed, sanitise_line};
use heartbeat_wire::{About, HealthDocument, OwnProblemEntry};
use http::header::{ACCEPT, HeaderValue, VARY};
use http::{HeaderMap, StatusCode};

use crate::answers::answer::{self, Answer, JSON, TEXT};
use crate::answers::problem::ApiError;
use crate::backend::{Backend, OwnHealth};
use crate::requests::access::Caller;

const HEALTH_JSON: &str = "application/health+json";

/// The answer of `/livez` when the loop does not turn.
const LOOP_STANDS: &str = "the loop of heartbeatd has not turned for 10 s";
/// The answer of `/readyz` when heartbeatd takes no commands.
const NOT_READY: &str = "heartbeatd is stopping everything and takes no commands";

/// Answers `GET /api/health/`.
pub(crate) fn document(
    ecosystem: &dyn Backend,
    headers: &HeaderMap,
    caller: Caller,
) -> Result<Answer, ApiError> {
    let OwnHealth { live, ready: _, problems } = ecosystem.own_health();
    let about = About { public: caller.is_public(), ..ecosystem.about() };
    let good = live && problems.is_empty();
    let stands = (!live).then(|| LOOP_STANDS.to_owned());
    // A configuration that cannot be loaded is no fault of heartbeatd: it supervises the one in force.
    let config = about.config_problem().map(|problem| {
        format!("the configuration on disk cannot be loaded, so the one before stays in force: {problem}")
    });
    let entry = |problem: &OwnProblem| OwnProblemEntry {
        kind: problem.kind.into(),
        since: about.anchor.wall(problem.since),
        message: sanitise_line(&problem.message),
        advice: problem.kind.advice().to_owned(),
    };
    let entries: Vec<OwnProblemEntry> = problems.iter().map(entry).collect();
    let document = HealthDocument {
        status: if good { "pass" } else { "fail" }.to_owned(),
        notes: stands
            .into_iter()
            .chain(entries.iter().map(|entry| entry.message.clone()))
            .chain(config)
            .collect(),
        problems: entries,
        version: about.version,
        instance: about.instance,
        lag_ms: about.lag,
    };
    let body = serde_json::to_vec(&document).map_err(|error| ApiError::unwritable(&error))?;
    let body = printed::document(body, caller.is_public());
    let media_type = if wants_health_json(headers) { HeaderValue::from_static(HEALTH_JSON) } else { JSON };
    let mut answer = answer::fresh(code(good), media_type, body);
    answer.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(answer)
}

/// `GET /livez` checks only that the loop turns. A supervisor restarts heartbeatd for a 503 here, and must not for a
/// full disk.
pub(crate) fn live(ecosystem: &dyn Backend) -> Answer {
    line(ecosystem.own_health().live, LOOP_STANDS)
}

/// `GET /readyz`: recovery is complete, and heartbeatd takes commands.
pub(crate) fn ready(ecosystem: &dyn Backend) -> Answer {
    line(ecosystem.own_health().ready, NOT_READY)
}

fn line(good: bool, why_not: &str) -> Answer {
    let text = if good { "ok\n".to_owned() } else { format!("not ok\n{why_not}\n") };
    answer::fresh(code(good), TEXT, text)
}

fn code(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn wants_health_json(headers: &HeaderMap) -> bool {
    let named = answer::values(headers, ACCEPT).flat_map(|value| value.split(','));
    named
        .filter_map(|range| range.split(';').next())
        .any(|range| range.trim().eq_ignore_ascii_case(HEALTH_JSON))
}
