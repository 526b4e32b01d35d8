//! An alert of PagerDuty, by its Events API v2: one alert per incident, which it opens and resolves by a constant key.

use heartbeat_status::{IncidentStep, Severity};
use serde_json::json;

use super::{Letter, Message, Text, json as body};
use crate::{DeliveryError, Endpoint, Token};

/// An integration of PagerDuty.
#[derive(Clone, Debug, PartialEq)]
pub struct PagerDuty {
    /// Where events are posted to.
    pub endpoint: Endpoint,
    /// The integration's key.
    pub routing_key: Token,
}

impl PagerDuty {
    pub(super) fn message(&self, letter: &Letter, text: &Text) -> Result<Message, DeliveryError> {
        let document = &letter.newest;
        let is_over = document.event.is(IncidentStep::Resolved);
        let severity = if document.severity.is(Severity::Warning) { "warning" } else { "critical" };
        let event = json!({
            "routing_key": self.routing_key.reveal(),
            "event_action": if is_over { "resolve" } else { "trigger" },
            "dedup_key": document.id,
            "payload": {
                "summary": text.title,
                "source": document.ecosystem,
                "severity": severity,
                "timestamp": document.resolved_at.unwrap_or(document.opened_at),
                "component": document.root,
                "class": document.reason,
                "custom_details": { "text": text.plain(), "affected": document.affected },
            },
        });
        let headers =
            vec![("content-type", "application/json".to_owned()), ("webhook-id", letter.key.clone())];
        Ok(Message { headers, body: body(&event)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::sample::{document, letter};

    #[test]
    fn one_alert_per_incident() {
        let pagerduty = PagerDuty {
            endpoint: Endpoint::new("http://h/v2/enqueue").unwrap(),
            routing_key: Token::new("R1").unwrap(),
        };
        let event = |step| -> serde_json::Value {
            let document = document(step);
            let message = pagerduty.message(&letter(document.clone()), &Text::of(&document, None)).unwrap();
            serde_json::from_slice(&message.body).unwrap()
        };
        let (opened, resolved) = (event(IncidentStep::Opened), event(IncidentStep::Resolved));
        assert_eq!(opened["event_action"], "trigger");
        assert_eq!(resolved["event_action"], "resolve");
        assert_eq!((&opened["dedup_key"], &resolved["dedup_key"]), (&"0193-a".into(), &"0193-a".into()));
        assert_eq!(opened["payload"]["severity"], "critical");
        assert_eq!(opened["payload"]["timestamp"], "2026-11-23T22:39:58.310Z");
        assert_eq!(opened["routing_key"], "R1");
    }
}
