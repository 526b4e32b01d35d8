//! Receivers of notifications: from the configuration to the notifier, and from its reports to the outbox.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_config::WebhookConfig;
use heartbeat_notify::{
    Clock, Notifier, NotifyError, Receiver, Report, Restored, RestoredState, TlsOptions, Webhook, WhyDropped,
};
use heartbeat_status::{RealmName, WallTime};
use heartbeat_store::{Attempt, AttemptOutcome, IncidentDb, OutboxEntry, OutboxState};
use tokio::runtime::Handle;

use crate::clock;

/// What is still to be told at the end may take this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Receivers of a configuration.
///
/// # Errors
/// The name of the first that cannot be one, and why: the configuration lets none of these through.
pub(crate) fn receivers(webhooks: &[WebhookConfig]) -> Result<Vec<Receiver>, (String, NotifyError)> {
    let receiver = |webhook: &WebhookConfig| {
        let options = TlsOptions { ca: webhook.ca.clone(), ..TlsOptions::default() };
        let mut receiver = Receiver::new(webhook.name.clone(), Webhook::with_tls(&webhook.url, &options)?);
        if let Some(on) = &webhook.on {
            receiver.on = on.iter().copied().collect();
        }
        receiver.realms = webhook.realms.iter().map(RealmName::to_string).collect();
        receiver.check()?;
        Ok(receiver)
    };
    let named = |webhook: &WebhookConfig| receiver(webhook).map_err(|error| (webhook.name.clone(), error));
    webhooks.iter().map(named).collect()
}

/// Starts to deliver: first what an earlier heartbeatd left in the outbox.
pub(crate) fn start(
    receivers: Vec<Receiver>,
    outbox: Vec<OutboxEntry>,
    runtime: Handle,
    database: Arc<IncidentDb>,
) -> Notifier {
    let clock = Clock { now: Box::new(clock::now), wall: Box::new(clock::wall) };
    let restored = outbox.into_iter().filter_map(restored).collect();
    Notifier::start(receivers, restored, runtime, clock, move |report| {
        if let Some(attempt) = attempt(&report) {
            database.attempted(attempt);
        }
        log(report);
    })
}

fn restored(entry: OutboxEntry) -> Option<Restored> {
    let OutboxEntry { receiver, incident, seq, open, queued_at, attempts, next_at, document, .. } = entry;
    let state = match (entry.state, document) {
        (OutboxState::Due, Some(document)) => RestoredState::Due { document, queued_at, attempts, next_at },
        (OutboxState::Delivered, _) => RestoredState::Delivered,
        (OutboxState::Due | OutboxState::GivenUp | OutboxState::Dropped, _) => RestoredState::Lost,
    };
    // An event of a later version was written by none of ours.
    let step = entry.event.parse().ok()?;
    Some(Restored { receiver, id: incident, seq, step, open, state })
}

/// What the outbox remembers of a report.
fn attempt(report: &Report) -> Option<Attempt> {
    let at = clock::wall();
    let (receiver, id, seq, outcome) = match report {
        Report::Delivered { receiver, id, seq, .. } => (receiver, id, *seq, AttemptOutcome::Delivered),
        Report::Retrying { receiver, id, seq, error, in_ms, .. } => {
            let wait_ms = i64::try_from(*in_ms).unwrap_or(i64::MAX);
            let next_at = WallTime::from_millis(at.as_millis().saturating_add(wait_ms));
            (receiver, id, *seq, AttemptOutcome::Retried { why: error.to_string(), next_at })
        }
        Report::GivenUp { receiver, id, seq, error } => {
            (receiver, id, *seq, AttemptOutcome::GivenUp(error.to_string()))
        }
        // The next heartbeatd delivers it.
        Report::Dropped { why: WhyDropped::Closing, .. } => return None,
        Report::Dropped { receiver, id, seq, why } => {
            (receiver, id, *seq, AttemptOutcome::Dropped(why.to_string()))
        }
        _ => return None,
    };
    Some(Attempt { receiver: receiver.clone(), incident: id.clone(), seq, at, outcome })
}

fn log(report: Report) {
    match report {
        Report::Delivered { receiver, id, seq, attempts } => {
            tracing::debug!(receiver, incident = id, seq, attempts, "delivered");
        }
        Report::Retrying { receiver, id, seq, attempt, error, in_ms } => {
            tracing::warn!(receiver, incident = id, seq, attempt, %error, in_ms, "not delivered, another attempt follows");
        }
        Report::GivenUp { receiver, id, seq, error } => {
            tracing::error!(receiver, incident = id, seq, %error, "not delivered, given up");
        }
        Report::Dropped { receiver, id, seq, why: WhyDropped::Closing } => {
            tracing::info!(receiver, incident = id, seq, "not delivered yet, the next heartbeatd goes on");
        }
        Report::Dropped { receiver, id, seq, why } => {
            tracing::warn!(receiver, incident = id, seq, %why, "not sent");
        }
        Report::Disabled { receiver } => {
            tracing::error!(receiver, "answered 410 Gone: it gets nothing until its webhook changes");
        }
        other => tracing::warn!(report = ?other, "a notification"),
    }
}
