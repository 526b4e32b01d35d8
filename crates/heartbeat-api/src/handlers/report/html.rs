//! A report as one page: no script, nothing loaded, readable without colours and on paper.

use std::fmt::Write;

use heartbeat_wire::{Attainment, LatencyEntry, ReportDocument, ReportRealm, TimesEntry};

use crate::handlers::report::text::{availability, beginning, budget, minute, objective, span};
use crate::page::escaped;

const STYLE: &str = include_str!("report.css");
/// Width and height of a day in the strip.
const DAY: (usize, usize) = (10, 24);

/// The report as one page.
pub(super) fn page(report: &ReportDocument) -> String {
    let (name, month) = (escaped(&report.name), escaped(&report.month));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{name}: {month}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{name}: {month}</h1>\n\
         <p>{} to {}, UTC.{} {}</p>\n",
        minute(report.from),
        minute(report.to),
        beginning(report),
        summary(report),
    );
    page += "<div class=\"wide\">\n<table>\n<thead><tr><th scope=\"col\">realm</th><th scope=\"col\">availability</th>\
             <th scope=\"col\">objective</th><th scope=\"col\">down</th><th scope=\"col\">incidents</th>\
             <th scope=\"col\">p50</th><th scope=\"col\">p95</th><th scope=\"col\">p99</th>\
             <th scope=\"col\">days</th></tr></thead>\n<tbody>\n";
    report.realms.iter().for_each(|realm| row(&mut page, report, realm));
    page += "</tbody>\n</table>\n</div>\n<p class=\"key\"><span class=\"up\"></span> up \
             <span class=\"degraded\"></span> degraded <span class=\"down\"></span> down at some time \
             <span class=\"unknown\"></span> unknown <span class=\"paused\"></span> stopped or paused</p>\n";
    incidents(&mut page, report);
    let _ = write!(
        page,
        "<p class=\"note\">Availability is computed from every change of a status, not from samples. The first figure is \
         the share of the time that is known; the bounds count all unknown time as down, and as up. Time in which a realm \
         was stopped or paused on purpose does not count. Latencies are those of the first probe, within 2 %. \
         Made by heartbeatd at {} UTC.</p>\n</body>\n</html>\n",
        minute(report.generated_at)
    );
    page
}

/// The one sentence to read.
fn summary(report: &ReportDocument) -> String {
    let missed: Vec<String> = report
        .realms
        .iter()
        .filter(|realm| budget(report, realm).is_some_and(|budget| budget.attainment() == Attainment::Missed))
        .map(|realm| escaped(&realm.name))
        .collect();
    let open = report.incidents.iter().filter(|incident| incident.resolved_at.is_none()).count();
    let incidents = match report.incidents.len() {
        0 => "No incident".to_owned(),
        1 => "1 incident".to_owned(),
        count => format!("{count} incidents"),
    };
    let open = if open > 0 { format!(", {open} of them open") } else { String::new() };
    let missed =
        if missed.is_empty() { String::new() } else { format!(" Objectives missed: {}.", missed.join(", ")) };
    format!("{incidents}{open}.{missed}")
}

fn row(page: &mut String, report: &ReportDocument, realm: &ReportRealm) {
    let title = realm
        .title
        .as_deref()
        .map_or_else(String::new, |title| format!("<br><small>{}</small>", escaped(title)));
    let ms = |of: fn(&LatencyEntry) -> f64| {
        realm.latency_ms.as_ref().map_or_else(String::new, |entry| format!("{:.1}&nbsp;ms", of(entry)))
    };
    let _ = write!(
        page,
        "<tr><th scope=\"row\">{}{title}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td>{}</td><td>",
        escaped(&realm.name),
        escaped(&availability(report, realm)),
        escaped(&objective(report, realm).unwrap_or_default()),
        span(realm.times.down_s),
        realm.incidents,
        ms(|entry| entry.p50),
        ms(|entry| entry.p95),
        ms(|entry| entry.p99),
    );
    strip(page, realm);
    page.push_str("</td></tr>\n");
}

/// A bar per day: its height is the share of the time in which the realm was up, so that it reads without colours.
fn strip(page: &mut String, realm: &ReportRealm) {
    let (width, height) = DAY;
    let (all, days) = (realm.days.len() * width, realm.days.len());
    let _ = write!(
        page,
        "<svg width=\"{all}\" height=\"{height}\" role=\"img\" aria-label=\"{} on each of {days} days\">",
        escaped(&realm.name)
    );
    for (nth, day) in realm.days.iter().enumerate() {
        let class = class(day);
        let tall = bar(day, height);
        let _ = write!(
            page,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{tall}\"><title>day {}: {class}, down {}</title></rect>",
            nth * width,
            height - tall,
            width - 2,
            nth + 1,
            span(day.down_s)
        );
    }
    page.push_str("</svg>");
}

/// The worst of a day.
fn class(day: &TimesEntry) -> &'static str {
    let times = [
        (day.down_s, "down"),
        (day.degraded_s, "degraded"),
        (day.up_s, "up"),
        (day.unknown_s, "unknown"),
        (day.paused_s, "paused"),
    ];
    times.into_iter().find(|(seconds, _)| *seconds > 0.0).map_or("none", |(_, class)| class)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of some pixels")]
fn bar(day: &TimesEntry, height: usize) -> usize {
    let good = day.up_s + day.degraded_s;
    let known = good + day.down_s;
    if known <= 0.0 {
        return height / 4;
    }
    ((good / known * height as f64) as usize).clamp(height / 4, height)
}

fn incidents(page: &mut String, report: &ReportDocument) {
    page.push_str("<h2>Incidents</h2>\n");
    if report.incidents.is_empty() {
        page.push_str("<p>None.</p>\n");
        return;
    }
    page.push_str(
        "<div class=\"wide\">\n<table>\n<thead><tr><th scope=\"col\">began</th><th scope=\"col\">realm</th><th scope=\"col\">why</th>\
         <th scope=\"col\">blocked</th><th scope=\"col\">lasted</th></tr></thead>\n<tbody>\n",
    );
    for incident in &report.incidents {
        let lasted = incident.duration_s.map_or_else(|| "open".to_owned(), span);
        let _ = writeln!(
            page,
            "<tr><td class=\"at\">{}</td><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"at\">{lasted}</td></tr>",
            minute(incident.opened_at),
            escaped(&incident.root),
            escaped(&incident.message),
            escaped(&incident.affected.join(", ")),
        );
    }
    page.push_str("</tbody>\n</table>\n</div>\n");
    if report.more_incidents {
        page.push_str("<p>More incidents were opened than this report lists.</p>\n");
    }
}
