//! A test of a receiver: an outage that did not happen, opened and resolved, on the way of every notification.

use std::sync::Arc;

use heartbeat_status::{IncidentStep, Reason, Severity, WallTime, What};
use heartbeat_wire::{INCIDENT_SCHEMA, IncidentDocument, IncidentLinks, TimelineEntry};

use crate::target::Letter;
use crate::{DeliveryError, Outside, Receiver, deliver};

/// The message of a test, and what became of it.
#[derive(Debug)]
pub struct Tested {
    /// The step of the incident.
    pub step: IncidentStep,
    /// What is sent, as text. Secrets and the path of the URL are hidden.
    pub sent: String,
    /// Whether it arrived; `None` when it was only shown.
    pub result: Option<Result<(), DeliveryError>>,
}

/// What a test needs beside the receiver.
#[derive(Clone, Debug)]
pub struct TestMessage {
    /// Name of the ecosystem.
    pub ecosystem: String,
    /// An identifier that no incident has.
    pub id: String,
    /// Shows what would be sent, and sends nothing.
    pub dry_run: bool,
}

impl TestMessage {
    /// Sends both messages, and ends at the first that does not arrive.
    pub(crate) async fn send(&self, receiver: &Receiver, outside: &Outside) -> Vec<Tested> {
        let now = (outside.clock.wall)();
        let (mut tested, mut conversation) = (Vec::new(), None);
        for step in [IncidentStep::Opened, IncidentStep::Resolved] {
            let mut letter = Letter::test(Arc::new(self.document(&receiver.name, step, now)));
            letter.conversation = conversation.take();
            let sent = deliver::shown(receiver, &letter, outside.clock.unix_s());
            let result = match self.dry_run {
                true => None,
                false => {
                    let sent = deliver::post(receiver, &letter, outside).await;
                    Some(sent.map(|message| conversation = message).map_err(|failure| failure.error))
                }
            };
            let goes_on = !matches!(result, Some(Err(_)));
            tested.push(Tested { step, sent, result });
            if !goes_on {
                break;
            }
        }
        tested
    }

    fn document(&self, receiver: &str, step: IncidentStep, now: WallTime) -> IncidentDocument {
        let is_over = step == IncidentStep::Resolved;
        let message = format!("this is a test of the receiver {receiver}, nothing has failed");
        let detail = message.clone();
        let line = TimelineEntry {
            at: now,
            realm: "heartbeatd".to_owned(),
            what: What::IncidentOpened.into(),
            detail,
        };
        IncidentDocument {
            schema: INCIDENT_SCHEMA.to_owned(),
            event: step.into(),
            id: self.id.clone(),
            seq: if is_over { 2 } else { 1 },
            ecosystem: self.ecosystem.clone(),
            root: "heartbeatd".to_owned(),
            reason: Reason::OwnProblem.into(),
            message,
            severity: Severity::Warning.into(),
            affected: Vec::new(),
            opened_at: now,
            resolved_at: is_over.then_some(now),
            duration_s: is_over.then_some(0.0),
            resolution: is_over.then(|| "the test is over".to_owned()),
            ack: None,
            timeline: vec![line],
            log_tail: Vec::new(),
            links: IncidentLinks { this: format!("/api/incidents/{}/", self.id) },
        }
    }
}
