//! `GET /metrics`: OpenMetrics text. Labels come only from the configuration and from closed lists, so the number of
//! realms and receivers bounds the number of series.

use std::time::Duration;

use heartbeat_status::{Outcome, RealmStatus, RestartCause, Status, Verdict, WallTime};
use heartbeat_wire::RealmFigures;
use http::header::{ACCEPT, HeaderValue, VARY};
use http::{HeaderMap, StatusCode};

use crate::answers::answer::{self, Answer};
use crate::answers::bodies::{Bodies, Freshness, Source};
use crate::answers::openmetrics::{Families, Form, Labels, Value};
use crate::answers::problem::ApiError;
use crate::backend::{Backend, NotificationCount, RealmCounts};

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Classes of the twelve statuses, with one series each.
const CLASSES: [&str; 6] = ["up", "degraded", "down", "blocked", "stopped", "unknown"];

const fn class(status: Status) -> &'static str {
    match status {
        Status::Up | Status::Done => "up",
        Status::Degraded => "degraded",
        Status::Down | Status::Failed | Status::Restarting => "down",
        Status::Blocked => "blocked",
        Status::Stopping | Status::Stopped | Status::Paused => "stopped",
        Status::Starting | Status::Unknown => "unknown",
    }
}

/// Answers `GET /metrics`.
pub(crate) async fn metrics(
    ecosystem: &dyn Backend,
    bodies: &Bodies,
    headers: &HeaderMap,
) -> Result<Answer, ApiError> {
    let (form, slot, media_type) = if wants_text(headers) {
        (Form::Text, &bodies.metrics_text, TEXT)
    } else {
        (Form::OpenMetrics, &bodies.metrics, OPEN_METRICS)
    };
    let build = |source: &Source<'_>| Ok(render(form, source, ecosystem).into_bytes());
    let body = bodies.get(slot, ecosystem, Freshness::Recent, build).await?;
    let mut answer = body.answer(StatusCode::OK, media_type, headers);
    answer.headers_mut().append(VARY, HeaderValue::from_static("accept"));
    Ok(answer)
}

/// Whether a reader knows nothing but the text format of Prometheus.
fn wants_text(headers: &HeaderMap) -> bool {
    let accepts = |kind: &str| answer::values(headers, ACCEPT).any(|accept| accept.contains(kind));
    accepts("text/plain") && !accepts("openmetrics")
}

/// About so many bytes of text are of one realm: with that much room the text seldom has to move.
const BYTES_PER_REALM: usize = 2_300;

/// A realm with what several families say of it.
struct Row<'a> {
    realm: &'a RealmStatus,
    labels: Labels,
    /// By the probes of the realm, in their order.
    probes: Vec<Labels>,
    counts: RealmCounts,
    figures: Option<&'a RealmFigures>,
}

impl Row<'_> {
    fn named_probes(&self) -> impl Iterator<Item = (&str, &Labels)> {
        self.realm.info.probes.iter().map(|probe| &*probe.name).zip(&self.probes)
    }
}

fn render<'a>(form: Form, source: &'a Source<'_>, ecosystem: &dyn Backend) -> String {
    let row = |realm: &'a RealmStatus| {
        let name = realm.info.name.as_str();
        let of_probe = |probe: &str| Labels::of(&[("realm", name), ("probe", probe)]);
        Row {
            realm,
            labels: Labels::of(&[("realm", name)]),
            probes: realm.info.probes.iter().map(|probe| of_probe(&probe.name)).collect(),
            counts: ecosystem.realm_counts(realm.info.ix),
            figures: source.about.figures.get(name),
        }
    };
    let rows: Vec<Row<'_>> = source.snapshot.in_start_order().map(|realm| row(realm)).collect();
    let mut families = Families::new(form, 4_096 + BYTES_PER_REALM * rows.len());
    of_heartbeatd(&mut families, source);
    of_statuses(&mut families, &rows);
    of_processes(&mut families, source, &rows);
    of_restarts(&mut families, &rows);
    of_probes(&mut families, &rows);
    of_objectives(&mut families, source);
    of_notifications(&mut families, &ecosystem.notification_counts());
    of_waiting(&mut families, &ecosystem.oldest_notifications());
    families.finish()
}

fn moment(at: WallTime) -> Value {
    Value::Millionths(at.as_millis().saturating_mul(1_000))
}

fn of_heartbeatd(families: &mut Families, source: &Source<'_>) {
    let (about, snapshot) = (source.about, source.snapshot);
    families.family("heartbeat_build", "info", "Version of heartbeatd.");
    families.sample(&Labels::of(&[("version", &about.version)]), Value::Whole(1));
    families.family("heartbeat_healthy", "gauge", "1 while heartbeatd itself has no problem.");
    families.sample(&Labels::default(), Value::flag(about.notes.is_empty()));
    families.family("heartbeat_start_time_seconds", "gauge", "Start of this heartbeatd.");
    families.sample(&Labels::default(), moment(about.anchor.wall(about.started_at)));
    families.family("heartbeat_loop_lag_seconds", "summary", "How late the loop of heartbeatd is.");
    families.sample_of(&Labels::default(), "quantile", "0.99", Value::seconds(about.lag.p99));
    families.sample_of(&Labels::default(), "quantile", "1", Value::seconds(about.lag.max));
    families.family("heartbeat_incidents_open", "gauge", "Open incidents.");
    families.sample(&Labels::default(), Value::Whole(snapshot.incidents.len() as u64));
}

fn of_statuses(families: &mut Families, rows: &[Row<'_>]) {
    families.family("heartbeat_realm_up", "gauge", "1 while the realm is up, degraded or done.");
    for row in rows {
        let is_up = matches!(class(row.realm.status), "up" | "degraded");
        families.sample(&row.labels, Value::flag(is_up));
    }
    let help = "1 for the class of the realm's status, 0 for the others.";
    families.family("heartbeat_realm_status", "gauge", help);
    for row in rows {
        let is = class(row.realm.status);
        for of in CLASSES {
            families.sample_of(&row.labels, "class", of, Value::flag(of == is));
        }
    }
    let help = "1 for each remark beside the status of the realm.";
    families.family("heartbeat_realm_flag", "gauge", help);
    for row in rows {
        for flag in &row.realm.flags {
            families.sample_of(&row.labels, "flag", flag.as_str(), Value::Whole(1));
        }
    }
    let help = "Share of the window in which the realm was up.";
    families.family("heartbeat_realm_availability_ratio", "gauge", help);
    for row in rows {
        for (window, share) in row.figures.into_iter().flat_map(|figures| &figures.availability) {
            families.sample_of(&row.labels, "window", window, Value::real(*share));
        }
    }
}

/// Since when the processes of realms run, and what they use, as far as heartbeatd has looked.
fn of_processes(families: &mut Families, source: &Source<'_>, rows: &[Row<'_>]) {
    let help = "Start of the realm's process.";
    families.family("heartbeat_realm_process_start_time_seconds", "gauge", help);
    for row in rows {
        if let Some(at) = row.realm.process.started_at {
            families.sample(&row.labels, moment(source.about.anchor.wall(at)));
        }
    }
    let used: Vec<_> = rows
        .iter()
        .filter_map(|row| {
            let usage = source.about.usage.get(row.realm.info.name.as_str())?;
            (Some(usage.pid) == row.realm.process.pid).then_some((&row.labels, usage))
        })
        .collect();
    let help = "Processor time of the realm's processes.";
    families.family("heartbeat_realm_process_cpu_seconds", "counter", help);
    for (labels, usage) in &used {
        families.sample(labels, Value::real(usage.cpu_s));
    }
    let help = "Memory that the realm's processes have resident.";
    families.family("heartbeat_realm_process_resident_memory_bytes", "gauge", help);
    for (labels, usage) in &used {
        families.sample(labels, Value::Whole(usage.rss_bytes));
    }
    let help = "Open descriptors of the realm's processes.";
    families.family("heartbeat_realm_process_open_fds", "gauge", help);
    for (labels, usage) in &used {
        if let Some(fds) = usage.fds {
            families.sample(labels, Value::Whole(fds));
        }
    }
}

fn of_restarts(families: &mut Families, rows: &[Row<'_>]) {
    let help = "Restarts of the realm in this life of heartbeatd, by cause.";
    families.family("heartbeat_realm_restarts", "counter", help);
    for row in rows {
        for cause in RestartCause::ALL {
            let count = row.counts.restarts.get(cause).copied();
            // A cause that is a fault counts from zero, so that its first restart is an increase.
            let Some(count) = count.or_else(|| cause.is_debited().then_some(0)) else { continue };
            families.sample_of(&row.labels, "cause", cause.as_str(), Value::Whole(count));
        }
    }
}

/// Verdicts, latencies, results and certificates.
fn of_probes(families: &mut Families, rows: &[Row<'_>]) {
    let help = "1 while the probe passes, 0 while it is past its threshold.";
    families.family("heartbeat_probe_passing", "gauge", help);
    for row in rows {
        for (labels, probe) in row.probes.iter().zip(&row.realm.probes) {
            let Some(verdict) = probe.verdict else { continue };
            families.sample(labels, Value::flag(verdict == Verdict::Passing));
        }
    }
    let help = "Latency of the measurements that passed in the last hour.";
    families.family("heartbeat_probe_seconds", "summary", help);
    for row in rows {
        let Some(figures) = row.figures else { continue };
        for (probe, labels) in row.named_probes() {
            let Some(latency) = figures.latencies.get(probe) else { continue };
            for (quantile, ms) in
                [("0.5", latency.p50), ("0.95", latency.p95), ("0.99", latency.p99), ("1", latency.max)]
            {
                families.sample_of(labels, "quantile", quantile, Value::seconds(ms));
            }
        }
    }
    let help = "Results of the probes that heartbeatd measures, by outcome.";
    families.family("heartbeat_probe_results", "counter", help);
    for row in rows {
        for (probe, labels) in row.named_probes() {
            let Some(counts) = row.counts.probes.get(probe) else { continue };
            for outcome in Outcome::WORDS {
                let count = counts.outcomes.get(outcome).copied();
                // As above: what matters counts from zero, and the rest once it has occurred.
                let from_zero = matches!(outcome, "pass" | "fail");
                let Some(count) = count.or_else(|| from_zero.then_some(0)) else { continue };
                families.sample_of(labels, "outcome", outcome, Value::Whole(count));
            }
        }
    }
    let help = "When the certificate of the probe's target expires.";
    families.family("heartbeat_certificate_expiry_timestamp_seconds", "gauge", help);
    for row in rows {
        for (probe, labels) in row.named_probes() {
            let until = row.counts.probes.get(probe).and_then(|counts| counts.certificate_until);
            if let Some(until) = until {
                families.sample(labels, Value::Whole(until.as_millis().max(0).unsigned_abs() / 1_000));
            }
        }
    }
}

fn of_objectives(families: &mut Families, source: &Source<'_>) {
    let help = "Share of the realm's budget that is left; below 0 when it is overdrawn.";
    families.family("heartbeat_slo_budget_remaining_ratio", "gauge", help);
    for realm in source.about.objectives.iter() {
        let Some(objective) = &realm.availability else { continue };
        if objective.budget_min > 0.0 {
            let left = objective.left_min / objective.budget_min;
            families.sample(&Labels::of(&[("realm", &realm.realm)]), Value::real((left * 1e4).floor() / 1e4));
        }
    }
}

fn of_notifications(families: &mut Families, notifications: &[NotificationCount]) {
    let help = "Attempts to notify a receiver, by what became of them.";
    families.family("heartbeat_notifications", "counter", help);
    for NotificationCount { receiver, result, count } in notifications {
        families.sample_of(&Labels::of(&[("receiver", receiver)]), "result", result, Value::Whole(*count));
    }
}

fn of_waiting(families: &mut Families, oldest: &[(String, Duration)]) {
    let help = "Age of the oldest notification that the receiver has not got, or 0.";
    families.family("heartbeat_notification_oldest_seconds", "gauge", help);
    for (receiver, age) in oldest {
        families.sample(&Labels::of(&[("receiver", receiver)]), Value::Whole(age.as_secs()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_of_the_classes() {
        for status in Status::ALL {
            assert!(CLASSES.contains(&class(*status)), "{status}");
        }
    }
}
