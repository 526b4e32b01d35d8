//! `GET /metrics`: OpenMetrics text. Labels come only from the configuration and from closed lists, so the number of
//! realms and receivers bounds the number of series.

use std::fmt::{Display, Write};
use std::time::Duration;

use heartbeat_status::{Outcome, RealmStatus, RestartCause, Status, Verdict};
use http::header::{ACCEPT, HeaderValue, VARY};
use http::{HeaderMap, StatusCode};

use crate::answers::answer::{self, Answer};
use crate::answers::bodies::{Bodies, Freshness, Source};
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
    let (form, slot) = match Form::wanted(headers) {
        Form::OpenMetrics => (Form::OpenMetrics, &bodies.metrics),
        Form::Text => (Form::Text, &bodies.metrics_text),
    };
    let build = |source: &Source<'_>| Ok(render(form, source, ecosystem).into_bytes());
    let body = bodies.get(slot, ecosystem, Freshness::Recent, build).await?;
    let mut answer = body.answer(StatusCode::OK, form.media_type(), headers);
    answer.headers_mut().append(VARY, HeaderValue::from_static("accept"));
    Ok(answer)
}

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    OpenMetrics,
    /// The text format of Prometheus, for readers that ask for it and know nothing else.
    Text,
}

impl Form {
    fn wanted(headers: &HeaderMap) -> Self {
        let accepts = |kind: &str| answer::values(headers, ACCEPT).any(|accept| accept.contains(kind));
        let is_text = accepts("text/plain") && !accepts("openmetrics");
        if is_text { Self::Text } else { Self::OpenMetrics }
    }

    const fn media_type(self) -> HeaderValue {
        match self {
            Self::OpenMetrics => OPEN_METRICS,
            Self::Text => TEXT,
        }
    }
}

/// The text, family by family.
struct Families {
    form: Form,
    text: String,
}

impl Families {
    /// Begins a family.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // In OpenMetrics a family has no suffix; in the text format it is called as its samples are.
        let (suffix, kind) = match (self.form, kind) {
            (Form::Text, "counter") => ("_total", "counter"),
            (Form::Text, "info") => ("_info", "gauge"),
            _ => ("", kind),
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.text, "# TYPE {name}{suffix} {kind}\n# HELP {name}{suffix} {help}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (at, (label, of)) in labels.iter().enumerate() {
            self.text.push_str(if at == 0 { "{" } else { "," });
            self.text.push_str(label);
            self.text.push_str("=\"");
            escaped(&mut self.text, of);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

/// Appends the text of a label. Names of realms and words of closed lists have nothing to escape.
fn escaped(out: &mut String, text: &str) {
    if !text.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        return out.push_str(text);
    }
    for part in text.split_inclusive(['\\', '"', '\n']) {
        match part.strip_suffix(['\\', '"', '\n']) {
            None => out.push_str(part),
            Some(plain) => {
                out.push_str(plain);
                out.push_str(match part.as_bytes().last() {
                    Some(b'\n') => "\\n",
                    Some(b'"') => "\\\"",
                    _ => "\\\\",
                });
            }
        }
    }
}

fn render(form: Form, source: &Source<'_>, ecosystem: &dyn Backend) -> String {
    let mut families = Families { form, text: String::new() };
    of_heartbeatd(&mut families, source);
    of_realms(&mut families, source);
    of_processes(&mut families, source);
    of_details(&mut families, source);
    let counts: Vec<(&RealmStatus, RealmCounts)> = source
        .snapshot
        .in_start_order()
        .map(|realm| (&**realm, ecosystem.realm_counts(realm.info.ix)))
        .collect();
    of_counts(&mut families, &counts);
    of_objectives(&mut families, source);
    of_notifications(&mut families, &ecosystem.notification_counts());
    of_waiting(&mut families, &ecosystem.oldest_notifications());
    if form == Form::OpenMetrics {
        families.text.push_str("# EOF\n");
    }
    families.text
}

fn of_heartbeatd(families: &mut Families, source: &Source<'_>) {
    let (about, snapshot) = (source.about, source.snapshot);
    families.family("heartbeat_build", "info", "Version of heartbeatd.");
    families.sample("heartbeat_build_info", &[("version", &about.version)], 1);
    families.family("heartbeat_healthy", "gauge", "1 while heartbeatd itself has no problem.");
    families.sample("heartbeat_healthy", &[], u8::from(about.notes.is_empty()));
    families.family("heartbeat_start_time_seconds", "gauge", "Start of this heartbeatd.");
    families.sample("heartbeat_start_time_seconds", &[], seconds(about.anchor.wall(about.started_at)));
    families.family("heartbeat_loop_lag_seconds", "summary", "How late the loop of heartbeatd is.");
    families.sample("heartbeat_loop_lag_seconds", &[("quantile", "0.99")], about.lag.p99 / 1_000.0);
    families.sample("heartbeat_loop_lag_seconds", &[("quantile", "1")], about.lag.max / 1_000.0);
    families.family("heartbeat_incidents_open", "gauge", "Open incidents.");
    families.sample("heartbeat_incidents_open", &[], snapshot.incidents.len());
}

fn of_realms(families: &mut Families, source: &Source<'_>) {
    let snapshot = source.snapshot;
    let mut each =
        |name: &str, kind: &str, help: &str, sample: &dyn Fn(&mut Families, &RealmStatus, &str)| {
            families.family(name, kind, help);
            for realm in snapshot.in_start_order() {
                sample(families, realm, realm.info.name.as_ref());
            }
        };
    let help = "1 while the realm is up, degraded or done.";
    each("heartbeat_realm_up", "gauge", help, &|families, realm, name| {
        let is_up = matches!(class(realm.status), "up" | "degraded");
        families.sample("heartbeat_realm_up", &[("realm", name)], u8::from(is_up));
    });
    let help = "1 for the class of the realm's status, 0 for the others.";
    each("heartbeat_realm_status", "gauge", help, &|families, realm, name| {
        for of in CLASSES {
            let labels = [("realm", name), ("class", of)];
            families.sample("heartbeat_realm_status", &labels, u8::from(of == class(realm.status)));
        }
    });
    let name = "heartbeat_realm_process_start_time_seconds";
    each(name, "gauge", "Start of the realm's process.", &|families, realm, of| {
        if let Some(at) = realm.process.started_at {
            families.sample(name, &[("realm", of)], seconds(source.about.anchor.wall(at)));
        }
    });
    let name = "heartbeat_realm_availability_ratio";
    each(name, "gauge", "Share of the window in which the realm was up.", &|families, _, of| {
        let figures = source.about.figures.get(of);
        for (window, share) in figures.into_iter().flat_map(|figures| &figures.availability) {
            families.sample(name, &[("realm", of), ("window", window)], share);
        }
    });
}

/// What the processes of realms use, as far as heartbeatd has looked.
fn of_processes(families: &mut Families, source: &Source<'_>) {
    let realms: Vec<_> = source
        .snapshot
        .in_start_order()
        .filter(|realm| realm.process.pid.is_some())
        .filter_map(|realm| {
            let name = realm.info.name.as_str();
            let usage = source.about.usage.get(name)?;
            (Some(usage.pid) == realm.process.pid).then_some((name, usage))
        })
        .collect();
    let name = "heartbeat_realm_process_cpu_seconds";
    families.family(name, "counter", "Processor time of the realm's processes.");
    for (realm, usage) in &realms {
        families.sample("heartbeat_realm_process_cpu_seconds_total", &[("realm", realm)], usage.cpu_s);
    }
    let name = "heartbeat_realm_process_resident_memory_bytes";
    families.family(name, "gauge", "Memory that the realm's processes have resident.");
    for (realm, usage) in &realms {
        families.sample(name, &[("realm", realm)], usage.rss_bytes);
    }
    let name = "heartbeat_realm_process_open_fds";
    families.family(name, "gauge", "Open descriptors of the realm's processes.");
    for (realm, usage) in &realms {
        if let Some(fds) = usage.fds {
            families.sample(name, &[("realm", realm)], fds);
        }
    }
}

/// Restarts, results and certificates.
fn of_counts(families: &mut Families, counts: &[(&RealmStatus, RealmCounts)]) {
    let help = "Restarts of the realm in this life of heartbeatd, by cause.";
    families.family("heartbeat_realm_restarts", "counter", help);
    for (realm, counts) in counts {
        for cause in RestartCause::ALL {
            let count = counts.restarts.get(cause).copied();
            // A cause that is a fault counts from zero, so that its first restart is an increase.
            let Some(count) = count.or_else(|| cause.is_debited().then_some(0)) else { continue };
            let labels = [("realm", realm.info.name.as_ref()), ("cause", cause.as_str())];
            families.sample("heartbeat_realm_restarts_total", &labels, count);
        }
    }
    let help = "Results of the probes that heartbeatd measures, by outcome.";
    families.family("heartbeat_probe_results", "counter", help);
    for (realm, counts) in counts {
        for (probe, counts) in &counts.probes {
            for outcome in Outcome::WORDS {
                let count = counts.outcomes.get(outcome).copied();
                // As above: what matters counts from zero, and the rest once it has occurred.
                let from_zero = matches!(outcome, "pass" | "fail");
                let Some(count) = count.or_else(|| from_zero.then_some(0)) else { continue };
                let labels =
                    [("realm", realm.info.name.as_ref()), ("probe", probe.as_str()), ("outcome", outcome)];
                families.sample("heartbeat_probe_results_total", &labels, count);
            }
        }
    }
    let name = "heartbeat_certificate_expiry_timestamp_seconds";
    families.family(name, "gauge", "When the certificate of the probe's target expires.");
    for (realm, counts) in counts {
        for (probe, counts) in &counts.probes {
            let Some(until) = counts.certificate_until else { continue };
            let labels = [("realm", realm.info.name.as_ref()), ("probe", probe.as_str())];
            families.sample(name, &labels, until.as_millis().div_euclid(1_000));
        }
    }
}

fn of_objectives(families: &mut Families, source: &Source<'_>) {
    let name = "heartbeat_slo_budget_remaining_ratio";
    families.family(name, "gauge", "Share of the realm's budget that is left; below 0 when it is overdrawn.");
    for realm in source.about.objectives.iter() {
        let Some(objective) = &realm.availability else { continue };
        if objective.budget_min > 0.0 {
            let left = objective.left_min / objective.budget_min;
            families.sample(name, &[("realm", &realm.realm)], (left * 1e4).floor() / 1e4);
        }
    }
}

/// Flags, probes and latencies.
fn of_details(families: &mut Families, source: &Source<'_>) {
    let snapshot = source.snapshot;
    let name = "heartbeat_realm_flag";
    families.family(name, "gauge", "1 for each remark beside the status of the realm.");
    for realm in snapshot.in_start_order() {
        for flag in &realm.flags {
            families.sample(name, &[("realm", realm.info.name.as_ref()), ("flag", flag.as_str())], 1);
        }
    }
    let name = "heartbeat_probe_passing";
    families.family(name, "gauge", "1 while the probe passes, 0 while it is past its threshold.");
    for realm in snapshot.in_start_order() {
        for (info, probe) in realm.info.probes.iter().zip(&realm.probes) {
            let Some(verdict) = probe.verdict else { continue };
            let labels = [("realm", realm.info.name.as_ref()), ("probe", &*info.name)];
            families.sample(name, &labels, u8::from(verdict == Verdict::Passing));
        }
    }
    let name = "heartbeat_realm_latency_seconds";
    families.family(name, "summary", "Latency of the first probe of the realm in the last hour.");
    for realm in snapshot.in_start_order() {
        let figures = source.about.figures.get(realm.info.name.as_str());
        let Some(latency) = figures.and_then(|figures| figures.latency_ms.as_ref()) else { continue };
        for (quantile, ms) in
            [("0.5", latency.p50), ("0.95", latency.p95), ("0.99", latency.p99), ("1", latency.max)]
        {
            let labels = [("realm", realm.info.name.as_ref()), ("quantile", quantile)];
            families.sample(name, &labels, ms / 1_000.0);
        }
    }
}

fn of_notifications(families: &mut Families, notifications: &[NotificationCount]) {
    let help = "Attempts to notify a receiver, by what became of them.";
    families.family("heartbeat_notifications", "counter", help);
    for NotificationCount { receiver, result, count } in notifications {
        let labels = [("receiver", receiver.as_str()), ("result", result)];
        families.sample("heartbeat_notifications_total", &labels, count);
    }
}

fn of_waiting(families: &mut Families, oldest: &[(String, Duration)]) {
    let name = "heartbeat_notification_oldest_seconds";
    families.family(name, "gauge", "Age of the oldest notification that the receiver has not got, or 0.");
    for (receiver, age) in oldest {
        families.sample(name, &[("receiver", receiver)], age.as_secs());
    }
}

fn seconds(at: heartbeat_status::WallTime) -> String {
    let millis = at.as_millis();
    format!("{}.{:03}", millis.div_euclid(1_000), millis.rem_euclid(1_000))
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

    #[test]
    fn labels_are_escaped() {
        let mut families = Families { form: Form::OpenMetrics, text: String::new() };
        families.sample("a_total", &[("receiver", "x\"\\\n"), ("result", "y")], 3);
        assert_eq!(families.text, "a_total{receiver=\"x\\\"\\\\\\n\",result=\"y\"} 3\n");
        families.sample("b", &[], 1);
        assert!(families.text.ends_with("\nb 1\n"));
    }
}
