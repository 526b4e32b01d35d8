//! A month in one document: as JSON, as a table for programs, as text, and as a page that prints well.

mod html;
mod text;

use std::ops::Range;

use heartbeat_status::printed;
use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::answers::answer::{self, Answer, TEXT};
use crate::answers::document::json;
use crate::answers::problem::ApiError;
use crate::backend::{Backend, ReportQuestion};
use crate::handlers::history::unreadable;
use crate::requests::query::Query;

const DAY_MS: i64 = 86_400_000;
const CSV: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// The page has a style of its own, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Answers `GET /api/report/`.
pub(crate) async fn report(
    ecosystem: &dyn Backend,
    query: &Query<'_>,
    headers: &HeaderMap,
) -> Result<Answer, ApiError> {
    let now_ms = ecosystem.about().anchor.wall(ecosystem.now()).as_millis();
    let month = query.get("month").map_or_else(|| month_of(now_ms), ToOwned::to_owned);
    let window_ms = window(&month).ok_or_else(|| ApiError::bad("`month` is a month like 2026-11"))?;
    let wants_html = answer::values(headers, ACCEPT).any(|accept| accept.contains("text/html"));
    let format = query.get("format").unwrap_or(if wants_html { "html" } else { "json" });
    if !["json", "csv", "md", "html"].contains(&format) {
        return Err(ApiError::bad("`format` is json, csv, md or html"));
    }
    let mut report = ecosystem.report(ReportQuestion { month, window_ms }).await.map_err(unreadable)?;
    // Callers have a role, and see what commands have printed.
    for incident in &mut report.incidents {
        incident.message = printed::unquoted(&incident.message).into_owned();
    }
    match format {
        "csv" => Ok(answer::fresh(StatusCode::OK, CSV, text::csv(&report))),
        "md" => Ok(answer::fresh(StatusCode::OK, TEXT, text::markdown(&report))),
        "html" => {
            let mut page = answer::fresh(StatusCode::OK, HTML, html::page(&report));
            page.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
            Ok(page)
        }
        _ => json(StatusCode::OK, &report),
    }
}

/// The month that a moment lies in.
fn month_of(at_ms: i64) -> String {
    let (year, month) = civil(at_ms.div_euclid(DAY_MS));
    format!("{year:04}-{month:02}")
}

/// From the first moment of a month to that of the next.
fn window(month: &str) -> Option<Range<i64>> {
    let (year, number) =
        month.split_once('-').filter(|(year, number)| (year.len(), number.len()) == (4, 2))?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(year) || !digits(number) {
        return None;
    }
    let (year, number): (i64, i64) = (year.parse().ok()?, number.parse().ok()?);
    let next = if number == 12 { (year + 1, 1) } else { (year, number + 1) };
    let first = |(year, number)| days_before(year, number) * DAY_MS;
    (1..=12).contains(&number).then(|| first((year, number))..first(next))
}

/// Days from 1970-01-01 to the first of a month, in the Gregorian calendar.
fn days_before(year: i64, month: i64) -> i64 {
    // A year begins in March here, so that the leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let days = (153 * month + 2) / 5 + of_era * 365 + of_era / 4 - of_era / 100;
    era * 146_097 + days - 719_468
}

/// Year and month of a day that is counted from 1970-01-01.
fn civil(day: i64) -> (i64, i64) {
    let mut year = 1970 + day.div_euclid(366);
    while days_before(year + 1, 1) <= day {
        year += 1;
    }
    let month = (2..=12).take_while(|month| days_before(year, *month) <= day).count();
    (year, 1 + i64::try_from(month).unwrap_or(0))
}

#[cfg(test)]
mod tests;
