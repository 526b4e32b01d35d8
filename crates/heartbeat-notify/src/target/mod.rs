//! Kinds of receivers: a file per kind, which makes the request for an incident document.

mod alertmanager;
mod letter;
mod ntfy;
mod pagerduty;
mod slack;
mod slack_bot;
mod smtp;
mod text;
mod webhook;

use bytes::Bytes;
use heartbeat_status::IncidentStep;

pub(crate) use alertmanager::ALERT_REFRESH;
pub use alertmanager::Alertmanager;
pub(crate) use alertmanager::{Alert, message as alerts};
pub use ntfy::Ntfy;
pub use pagerduty::PagerDuty;
pub use slack::Slack;
pub use slack_bot::SlackBot;
pub(crate) use slack_bot::{Call, Replied};
pub(crate) use smtp::Security;
pub use smtp::{Login, Smtp};
pub use webhook::Webhook;

pub(crate) use letter::{Letter, Weight};
pub(crate) use text::Text;

use crate::{DeliveryError, Endpoint, Exec, Template, Token};

/// Where notifications go, and in which form.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The incident document, following Standard Webhooks.
    Webhook(Webhook),
    /// Alerts of an Alertmanager, refreshed while an incident is open.
    Alertmanager(Alertmanager),
    /// A message on a topic of an ntfy server.
    Ntfy(Ntfy),
    /// A message by an incoming webhook of Slack.
    Slack(Slack),
    /// An alert of PagerDuty (Events API v2).
    PagerDuty(PagerDuty),
    /// The incident document on the standard input of a program.
    Exec(Exec),
    /// A message of a bot of Slack, which is edited and answered.
    SlackBot(SlackBot),
    /// A mail by SMTP.
    Smtp(Smtp),
}

/// How a message reaches a target.
pub(crate) enum Way<'t> {
    Http(&'t Endpoint),
    Program(&'t Exec),
    Slack(&'t SlackBot),
    Mail(&'t Smtp),
}

/// What a request has beside what every request has.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
}

impl Target {
    pub(crate) const fn way(&self) -> Way<'_> {
        match self {
            Self::Webhook(webhook) => Way::Http(&webhook.endpoint),
            Self::Alertmanager(alertmanager) => Way::Http(&alertmanager.endpoint),
            Self::Ntfy(ntfy) => Way::Http(&ntfy.endpoint),
            Self::Slack(slack) => Way::Http(&slack.endpoint),
            Self::PagerDuty(pagerduty) => Way::Http(&pagerduty.endpoint),
            Self::Exec(exec) => Way::Program(exec),
            Self::SlackBot(bot) => Way::Slack(bot),
            Self::Smtp(smtp) => Way::Mail(smtp),
        }
    }

    /// It is told the newest state of every open incident, again and again.
    pub(crate) const fn is_mirror(&self) -> bool {
        matches!(self, Self::Alertmanager(_))
    }

    /// Of a storm it gets a digest: its messages are for people. A program gets each incident by itself.
    pub(crate) fn folds(&self, template: Option<&Template>) -> bool {
        match self {
            Self::Ntfy(_) | Self::Slack(_) | Self::SlackBot(_) | Self::Smtp(_) => true,
            // The body is the message of the template, which has a place for the words of a digest, or has none.
            Self::Webhook(_) | Self::Exec(_) => template.is_some_and(Template::has_words),
            // One alert per incident, which ends by its own key. Both group by themselves.
            Self::Alertmanager(_) | Self::PagerDuty(_) => false,
        }
    }

    /// The first request for a message, at `unix_s` seconds since 1970; what a program reads, or a server is sent, is the
    /// body.
    pub(crate) fn message(
        &self,
        letter: &Letter,
        template: Option<&Template>,
        unix_s: u64,
    ) -> Result<Message, DeliveryError> {
        match self {
            Self::Webhook(webhook) => webhook.message(letter, template, unix_s),
            Self::Alertmanager(_) => {
                let document = &letter.newest;
                let is_over = document.event.is(IncidentStep::Resolved);
                alerts([Alert { document, is_over, is_test: letter.is_test() }], unix_s)
            }
            Self::Ntfy(ntfy) => Ok(ntfy.message(letter, &letter.text(template))),
            Self::Slack(_) => slack::message(letter, &letter.text(template)),
            Self::PagerDuty(pagerduty) => pagerduty.message(letter, &letter.text(template)),
            Self::SlackBot(bot) => bot.first(letter, &letter.text(template)),
            Self::Smtp(smtp) => {
                let mail =
                    smtp.mail(letter, template, unix_s).map_err(|source| DeliveryError::Mail { source })?;
                Ok(Message { headers: Vec::new(), body: mail.formatted().into() })
            }
            Self::Exec(_) => Ok(Message { headers: Vec::new(), body: letter.body(template)? }),
        }
    }

    /// The token that is part of a request, which only the receiver may see.
    pub(crate) fn token(&self) -> Option<&str> {
        match self {
            Self::Ntfy(ntfy) => ntfy.token.as_ref().map(Token::reveal),
            Self::PagerDuty(pagerduty) => Some(pagerduty.routing_key.reveal()),
            Self::SlackBot(bot) => Some(bot.token.reveal()),
            Self::Webhook(_) | Self::Alertmanager(_) | Self::Slack(_) | Self::Exec(_) | Self::Smtp(_) => None,
        }
    }
}

fn json(value: &impl serde::Serialize) -> Result<Bytes, DeliveryError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|source| DeliveryError::Document { source })
}

/// An incident for the tests of the kinds.
#[cfg(test)]
pub(crate) mod sample {
    use heartbeat_status::{IncidentStep, Reason, Severity, WallTime, What};
    use heartbeat_wire::{INCIDENT_SCHEMA, IncidentDocument, IncidentLinks, TimelineEntry};

    pub(crate) fn letter(document: IncidentDocument) -> super::Letter {
        super::Letter::one(std::sync::Arc::new(document))
    }

    pub(crate) fn document(step: IncidentStep) -> IncidentDocument {
        let at = |ms: i64| WallTime::from_millis(1_795_473_598_310 + ms);
        let line = |ms: i64, what: What, detail: &str| TimelineEntry {
            at: at(ms),
            realm: "postgres".to_owned(),
            what: what.into(),
            detail: detail.to_owned(),
        };
        let over = step == IncidentStep::Resolved;
        IncidentDocument {
            schema: INCIDENT_SCHEMA.to_owned(),
            event: step.into(),
            id: "0193-a".to_owned(),
            seq: 2,
            ecosystem: "shop".to_owned(),
            root: "postgres".to_owned(),
            reason: Reason::Exited.into(),
            message: "exit code 1 after 0.2 s".to_owned(),
            severity: Severity::Critical.into(),
            affected: vec!["api".to_owned(), "web".to_owned()],
            opened_at: at(0),
            resolved_at: over.then(|| at(41_700)),
            duration_s: over.then_some(41.7),
            resolution: None,
            ack: None,
            timeline: vec![
                line(0, What::Exited, "exit code 1"),
                line(20, What::RestartOpened, "restart, attempt 1 of 6"),
            ],
            log_tail: vec!["starting".to_owned(), "FATAL: could not bind IPv4 address".to_owned()],
            links: IncidentLinks { this: "/api/incidents/0193-a/".to_owned() },
        }
    }
}
