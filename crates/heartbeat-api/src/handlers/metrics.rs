//! `GET /metrics`: OpenMetrics text. Labels come only from the configuration and from closed lists, so the number of
//! realms and receivers bounds the number of series.

use std::fmt::{Display, Write};

use heartbeat_status::{RealmStatus, Status, Verdict};
use http::header::HeaderValue;
use http::{HeaderMap, StatusCode};

use crate::answers::answer::Answer;
use crate::answers::bodies::{Bodies, Freshness, Source};
use crate::answers::problem::ApiError;
use crate::backend::{Backend, NotificationCount};

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

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
    let build = |source: &Source<'_>| Ok(render(source, &ecosystem.notification_counts()).into_bytes());
    let body = bodies.get(&bodies.metrics, ecosystem, Freshness::Recent, build).await?;
    Ok(body.answer(StatusCode::OK, OPEN_METRICS, headers))
}

/// The text, family by family.
struct Families(String);

impl Families {
    /// Begins a family.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.0, "# TYPE {name} {kind}\n# HELP {name} {help}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, of)) in labels.iter().enumerate() {
            self.0.push_str(if at == 0 { "{" } else { "," });
            let _ = write!(self.0, "{label}=\"{}\"", escaped(of));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn render(source: &Source<'_>, notifications: &[NotificationCount]) -> String {
    let mut families = Families(String::new());
    of_heartbeatd(&mut families, source);
    of_realms(&mut families, source);
    of_details(&mut families, source);
    of_notifications(&mut families, notifications);
    families.0.push_str("# EOF\n");
    families.0
}

fn of_heartbeatd(families: &mut Families, source: &Source<'_>) {
    let (about, snapshot) = (source.about, source.snapshot);
    families.family("heartbeat_build", "info", "Version of heartbeatd.");
    families.sample("heartbeat_build_info", &[("version", &about.version)], 1);
    families.family("heartbeat_healthy", "gauge", "1 while heartbeatd itself has no problem.");
    families.sample("heartbeat_healthy", &[], u8::from(about.notes.is_empty()));
    families.family("heartbeat_start_time_seconds", "gauge", "Start of this heartbeatd.");
    families.sample("heartbeat_start_time_seconds", &[], seconds(about.anchor.wall(about.started_at)));
    families.family("heartbeat_loop_lag_seconds", "gauge", "How late the loop of heartbeatd is.");
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
    each("heartbeat_realm_restarts", "counter", "Restarts of the realm.", &|families, realm, name| {
        families.sample("heartbeat_realm_restarts_total", &[("realm", name)], realm.restarts.total);
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
    families.family(name, "gauge", "Latency of the first probe of the realm in the last hour.");
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
        let mut families = Families(String::new());
        families.sample("a_total", &[("receiver", "x\"\\\n"), ("result", "y")], 3);
        assert_eq!(families.0, "a_total{receiver=\"x\\\"\\\\\\n\",result=\"y\"} 3\n");
        families.sample("b", &[], 1);
        assert!(families.0.ends_with("\nb 1\n"));
    }
}
