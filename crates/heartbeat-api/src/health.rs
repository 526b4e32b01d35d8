//! heartbeatd's own health.

use heartbeat_status::sanitise_line;
use heartbeat_status::wire::HealthDocument;
use http::header::{ACCEPT, HeaderValue, VARY};
use http::{HeaderMap, StatusCode};

use crate::answer::{self, Answer, JSON, TEXT};
use crate::problem::Trouble;
use crate::{Ecosystem, OwnHealth};

const HEALTH_JSON: &str = "application/health+json";

/// `GET /api/health/`.
pub(crate) fn document(ecosystem: &dyn Ecosystem, headers: &HeaderMap) -> Result<Answer, Trouble> {
    let health = ecosystem.own_health();
    let about = ecosystem.about();
    let document = HealthDocument {
        status: if health.ok { "pass" } else { "fail" }.to_owned(),
        version: about.version,
        instance: about.instance,
        notes: health.notes.iter().map(|note| sanitise_line(note)).collect(),
    };
    let body = serde_json::to_vec(&document).map_err(|error| Trouble::unwritable(&error))?;
    let media_type = if wants_health_json(headers) { HeaderValue::from_static(HEALTH_JSON) } else { JSON };
    let mut answer = answer::fresh(code(health.ok), media_type, body);
    answer.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(answer)
}

/// `GET /livez`: its loop turns.
pub(crate) fn live(ecosystem: &dyn Ecosystem) -> Answer {
    let health = ecosystem.own_health();
    line(health.ok, &health)
}

/// `GET /readyz`: it takes commands.
pub(crate) fn ready(ecosystem: &dyn Ecosystem) -> Answer {
    let health = ecosystem.own_health();
    line(health.ready, &health)
}

fn line(good: bool, health: &OwnHealth) -> Answer {
    let mut text = String::from(if good { "ok\n" } else { "not ok\n" });
    if !good {
        for note in &health.notes {
            text.push_str(&sanitise_line(note));
            text.push('\n');
        }
    }
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
