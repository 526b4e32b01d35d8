//! Alerts of an Alertmanager, by its API v2. It forgets an alert that is not posted again, and keeps none over its own
//! restart, so an open incident is posted again and again, with an end that is a few refreshes ahead.

use std::time::Duration;

use heartbeat_status::{Severity, WallTime};
use heartbeat_wire::IncidentDocument;
use serde_json::{Value, json};

use super::{Message, Text, json as body};
use crate::{DeliveryError, Endpoint};

/// An open incident is posted again this often.
pub(crate) const ALERT_REFRESH: Duration = Duration::from_secs(60);
/// The end of an alert is this many refreshes ahead.
const REFRESHES_AHEAD: u64 = 3;

/// Target of alerts: an Alertmanager.
#[derive(Clone, Debug, PartialEq)]
pub struct Alertmanager {
    /// Where alerts are posted to: its base URL, and `/api/v2/alerts`.
    pub endpoint: Endpoint,
}

/// One alert: an incident with its state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alert<'d> {
    pub(crate) document: &'d IncidentDocument,
    /// It ends now; otherwise it goes on.
    pub(crate) is_over: bool,
    /// It is about no incident.
    pub(crate) is_test: bool,
}

/// The request that sets all of these alerts, at `unix_s` seconds since 1970.
pub(crate) fn message<'d>(
    alerts: impl IntoIterator<Item = Alert<'d>>,
    unix_s: u64,
) -> Result<Message, DeliveryError> {
    let alerts: Vec<Value> = alerts.into_iter().map(|alert| value(alert, unix_s)).collect();
    let headers = vec![("content-type", "application/json".to_owned())];
    Ok(Message { headers, body: body(&alerts)? })
}

fn value(Alert { document, is_over, is_test }: Alert<'_>, unix_s: u64) -> Value {
    let text = if is_test { Text::test(document, None) } else { Text::of(document, None) };
    let ahead_s = if is_over { 0 } else { REFRESHES_AHEAD * ALERT_REFRESH.as_secs() };
    let ends_ms = i64::try_from(unix_s.saturating_add(ahead_s).saturating_mul(1_000)).unwrap_or(i64::MAX);
    // Alertmanager refuses an alert that ends before it starts.
    let ends_at = WallTime::from_millis(ends_ms).max(document.opened_at);
    let severity = if document.severity.is(Severity::Warning) { "warning" } else { "critical" };
    json!({
        "labels": {
            "alertname": "HeartbeatIncident",
            "realm": document.root,
            "severity": severity,
            "ecosystem": document.ecosystem,
        },
        "annotations": {
            "summary": text.title,
            "description": text.plain(),
            "incident": document.id,
            "affected": document.affected.join(", "),
        },
        "startsAt": document.opened_at,
        "endsAt": ends_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::sample::document;
    use heartbeat_status::IncidentStep;

    #[test]
    fn an_open_incident_ends_three_refreshes_ahead_and_one_that_is_over_now() {
        let (opened, resolved) = (document(IncidentStep::Opened), document(IncidentStep::Resolved));
        let unix_s = 1_795_473_700;
        let alert = |document, is_over| Alert { document, is_over, is_test: false };
        let alerts = [alert(&opened, false), alert(&resolved, true)];
        let sent: Value = serde_json::from_slice(&message(alerts, unix_s).unwrap().body).unwrap();
        assert_eq!(sent[0]["labels"]["alertname"], "HeartbeatIncident");
        assert_eq!(
            (&sent[0]["labels"]["realm"], &sent[0]["labels"]["severity"]),
            (&"postgres".into(), &"critical".into())
        );
        let seconds =
            |value: &Value| value.as_str().unwrap().parse::<WallTime>().unwrap().as_millis() / 1_000;
        assert_eq!(seconds(&sent[0]["endsAt"]), 1_795_473_700 + 180);
        assert_eq!(seconds(&sent[1]["endsAt"]), 1_795_473_700);
        assert_eq!(sent[0]["startsAt"], "2026-11-23T22:39:58.310Z");
        assert_eq!(sent[0]["labels"], sent[1]["labels"], "the end is that of the same alert");
        // A clock that was stepped back.
        let sent: Value = serde_json::from_slice(&message([alert(&opened, true)], 0).unwrap().body).unwrap();
        assert_eq!(sent[0]["endsAt"], sent[0]["startsAt"]);
    }
}
