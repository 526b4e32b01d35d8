//! History: the states of a realm over time, and the strips of all realms.

use std::time::Duration;

use heartbeat_status::{WallTime, parse_duration, sanitise_line};
use heartbeat_wire::{SLO_SCHEMA, SloDocument};
use http::StatusCode;

use crate::answers::answer::Answer;
use crate::answers::document::{json, json_for};
use crate::answers::problem::ApiError;
use crate::backend::{Backend, HistoryError, HistoryQuestion};
use crate::requests::query::Query;

/// Most steps of an answer.
const MAX_STEPS: i64 = 2_000;
/// Steps of an answer, unless the caller says otherwise.
const DEFAULT_STEPS: i64 = 60;
/// The window, unless the caller says otherwise, in milliseconds.
const DEFAULT_WINDOW_MS: i64 = 24 * 3_600_000;
/// Shortest step in milliseconds: latencies are kept by the minute.
const MIN_STEP_MS: i64 = 60_000;
/// Most days of strips: as far as history reaches.
const MAX_DAYS: u64 = 731;
/// Days of strips, unless the caller says otherwise.
const DEFAULT_DAYS: u64 = 90;

/// Answers `GET /api/history/{realm}/`.
pub(crate) async fn realm(
    ecosystem: &dyn Backend,
    name: &str,
    query: &Query<'_>,
) -> Result<Answer, ApiError> {
    let now = ecosystem.about().anchor.wall(ecosystem.now());
    let to = moment(query, "to")?.unwrap_or(now).as_millis();
    let from = moment(query, "from")?.map_or(to.saturating_sub(DEFAULT_WINDOW_MS), WallTime::as_millis);
    if from >= to {
        return Err(ApiError::bad("`from` lies before `to`"));
    }
    let step = match query.get("step") {
        Some(text) => i64::try_from(duration("step", text)?.as_millis()).unwrap_or(i64::MAX),
        None => ((to - from) / DEFAULT_STEPS).max(MIN_STEP_MS),
    };
    if step < MIN_STEP_MS || (to - from).div_euclid(step) >= MAX_STEPS {
        return Err(ApiError::bad(format!(
            "`step` is at least 1m, and a window has at most {MAX_STEPS} of them"
        )));
    }
    let question = HistoryQuestion {
        realm: name.to_owned(),
        probe: query.get("probe").map(ToOwned::to_owned),
        window_ms: from..to,
        step_ms: step.unsigned_abs(),
    };
    let found = ecosystem.history(question).await.map_err(unreadable)?;
    let document = found.ok_or_else(|| {
        let detail = format!(
            "nothing is on record of a realm `{}`; /api/status/ lists the realms",
            sanitise_line(name)
        );
        ApiError::new(StatusCode::NOT_FOUND, "no-history", detail)
    })?;
    json_for(true, StatusCode::OK, &document)
}

/// Answers `GET /api/history/`.
pub(crate) async fn strips(ecosystem: &dyn Backend, query: &Query<'_>) -> Result<Answer, ApiError> {
    let window = query.get("window").map(|text| duration("window", text)).transpose()?;
    let days = window.map_or(DEFAULT_DAYS, |window| window.as_secs() / 86_400);
    let bars = query.get("bars").map_or(Some(days), |text| text.parse().ok());
    if !(1..=MAX_DAYS).contains(&days) || bars != Some(days) {
        let detail = format!(
            "`window` is a number of days up to {MAX_DAYS}d, and `bars` is that number: a bar is a UTC day"
        );
        return Err(ApiError::bad(detail));
    }
    let document = ecosystem.strips(u32::try_from(days).unwrap_or(1)).await.map_err(unreadable)?;
    json_for(true, StatusCode::OK, &document)
}

/// Answers `GET /api/slo/`.
pub(crate) async fn objectives(ecosystem: &dyn Backend) -> Result<Answer, ApiError> {
    let realms = ecosystem.objectives().await.map_err(unreadable)?;
    let generated_at = ecosystem.about().anchor.wall(ecosystem.now());
    let document = SloDocument { schema: SLO_SCHEMA.to_owned(), generated_at, realms };
    json(StatusCode::OK, &document)
}

pub(crate) fn unreadable(error: HistoryError) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no-history-now", error.to_string())
}

fn moment(query: &Query<'_>, name: &str) -> Result<Option<WallTime>, ApiError> {
    let parsed = query.get(name).map(str::parse).transpose();
    parsed.map_err(|_| ApiError::bad(format!("`{name}` is a time like 2026-11-23T22:40:00Z")))
}

fn duration(name: &str, text: &str) -> Result<Duration, ApiError> {
    parse_duration(text).map_err(|_| ApiError::bad(format!("`{name}` is a duration like 10m or 90d")))
}
