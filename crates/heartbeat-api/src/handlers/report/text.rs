//! A report as a table for programs, and as text.

use std::fmt::Write;

use heartbeat_status::{WallTime, sanitise_line, short_seconds};
use heartbeat_wire::{Budget, Known, ReportDocument, ReportRealm};

/// One line per realm; times are seconds, shares are from 0 to 1, an empty field is unknown. Where too little of the time
/// is on record to judge a realm, its shares are unknown, too.
pub(super) fn csv(report: &ReportDocument) -> String {
    let mut out = String::from(
        "realm,availability,at_least,at_most,objective,up_s,degraded_s,down_s,unknown_s,paused_s,incidents,\
         p50_ms,p95_ms,p99_ms,max_ms,measurements,unrecorded_s\r\n",
    );
    for realm in &report.realms {
        let (times, window_s) = (&realm.times, window_s(report));
        let is_known = Known::of(times, window_s).is_enough();
        let availability = realm.availability.as_ref().filter(|_| is_known);
        let recorded_s = times.up_s + times.degraded_s + times.down_s + times.unknown_s + times.paused_s;
        let latency = realm.latency_ms.as_ref();
        let number = |number: Option<f64>| number.map_or_else(String::new, |number| number.to_string());
        let fields = [
            quoted(&realm.name),
            number(availability.map(|entry| entry.share)),
            number(availability.map(|entry| entry.at_least)),
            number(availability.map(|entry| entry.at_most)),
            number(realm.objective),
            times.up_s.to_string(),
            times.degraded_s.to_string(),
            times.down_s.to_string(),
            times.unknown_s.to_string(),
            times.paused_s.to_string(),
            realm.incidents.to_string(),
            number(latency.map(|entry| entry.p50)),
            number(latency.map(|entry| entry.p95)),
            number(latency.map(|entry| entry.p99)),
            number(latency.map(|entry| entry.max)),
            latency.map_or_else(String::new, |entry| entry.count.to_string()),
            // To the millisecond, as the others: their sum is not quite.
            (((window_s - recorded_s) * 1e3).round().max(0.0) / 1e3).to_string(),
        ];
        out += &fields.join(",");
        out += "\r\n";
    }
    out
}

/// The time that a report is about, until now.
fn window_s(report: &ReportDocument) -> f64 {
    (report.to.as_millis() - report.from.as_millis()) as f64 / 1_000.0
}

/// A name of a realm has no comma and no quote, and a program that opens the file as a sheet runs nothing.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Tables for a page of text.
pub(super) fn markdown(report: &ReportDocument) -> String {
    let mut out = format!("# {}: {}\n\n", cell(&report.name), report.month);
    let (from, to) = (minute(report.from), minute(report.to));
    let _ = writeln!(out, "{from} to {to}, UTC.{}\n", beginning(report));
    out += "| realm | availability | objective | down | incidents | p50 | p95 | p99 |\n|---|---|---|---|---|---|---|---|\n";
    for realm in &report.realms {
        let ms = |of: fn(&heartbeat_wire::LatencyEntry) -> f64| {
            realm.latency_ms.as_ref().map_or_else(String::new, |entry| format!("{:.1} ms", of(entry)))
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(&realm.name),
            availability(report, realm),
            objective(report, realm).unwrap_or_default(),
            span(realm.times.down_s),
            realm.incidents,
            ms(|entry| entry.p50),
            ms(|entry| entry.p95),
            ms(|entry| entry.p99),
        );
    }
    out += "\n## Incidents\n\n";
    if report.incidents.is_empty() {
        out += "None.\n";
        return out;
    }
    out += "| began | realm | why | lasted | id |\n|---|---|---|---|---|\n";
    for incident in &report.incidents {
        let lasted = incident.duration_s.map_or_else(|| "open".to_owned(), span);
        let (root, message) = (cell(&incident.root), cell(&incident.message));
        let _ = writeln!(
            out,
            "| {} | {root} | {message} | {lasted} | {} |",
            minute(incident.opened_at),
            cell(&incident.id)
        );
    }
    if report.more_incidents {
        out += "\nMore incidents were opened than this report lists.\n";
    }
    out
}

/// Text that stays within its cell.
fn cell(text: &str) -> String {
    sanitise_line(text).replace('|', "\\|")
}

/// The availability with its bounds, in words.
pub(super) fn availability(report: &ReportDocument, realm: &ReportRealm) -> String {
    Known::of(&realm.times, window_s(report)).share(realm.availability.as_ref())
}

/// The budget of a realm's objective in the whole month, until its end.
pub(super) fn budget(report: &ReportDocument, realm: &ReportRealm) -> Option<Budget> {
    let month_ms = super::window(&report.month).map_or(0, |month| month.end - month.start);
    Some(Budget::of(&realm.times, realm.objective?, month_ms as f64 / 1_000.0))
}

/// `99.9 %, met`
pub(super) fn objective(report: &ReportDocument, realm: &ReportRealm) -> Option<String> {
    let verdict = budget(report, realm)?.verdict();
    // 99.9, and not 99.90000000000001.
    let percent = (realm.objective? * 1e6).round() / 1e4;
    Some(format!("{percent} %, {verdict}"))
}

/// Where history begins within the month, in a sentence with a space before it.
pub(super) fn beginning(report: &ReportDocument) -> String {
    let sentence = |at| format!(" Nothing is on record before {}.", minute(at));
    report.first_seen_at.map_or_else(String::new, sentence)
}

/// The minute in UTC: `2026-11-23 22:39`.
pub(super) fn minute(at: WallTime) -> String {
    at.to_string().replace('T', " ").chars().take("2026-11-23 22:39".len()).collect()
}

/// Seconds in words.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast from f64 saturates, and a month is far from i64::MAX"
)]
pub(super) fn span(seconds: f64) -> String {
    if seconds <= 0.0 { "0s".to_owned() } else { short_seconds(seconds.ceil() as i64) }
}
