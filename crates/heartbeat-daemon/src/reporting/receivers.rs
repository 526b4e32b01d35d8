//! Who is told of incidents: from the configuration to receivers, and what becomes of notifications.

use std::time::Duration;

use heartbeat_config::WebhookConfig;
use heartbeat_notify::{Notifier, NotifyError, Receiver, Report, TlsOptions, Webhook};
use heartbeat_status::RealmName;
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

/// Begins to tell.
pub(crate) fn start(receivers: Vec<Receiver>, runtime: Handle) -> Notifier {
    Notifier::start(receivers, runtime, clock::unix_s, log)
}

fn log(report: Report) {
    match report {
        Report::Delivered { receiver, id, seq, attempts } => {
            tracing::debug!(receiver, incident = id, seq, attempts, "told");
        }
        Report::Retrying { receiver, id, seq, attempt, error, in_ms } => {
            tracing::warn!(receiver, incident = id, seq, attempt, %error, in_ms, "could not be told, tried again");
        }
        Report::GivenUp { receiver, id, seq, error } => {
            tracing::error!(receiver, incident = id, seq, %error, "could not be told, given up");
        }
        Report::Dropped { receiver, id, seq, why } => {
            tracing::warn!(receiver, incident = id, seq, %why, "not told");
        }
        Report::Disabled { receiver } => {
            tracing::error!(receiver, "answered 410 Gone: it is told nothing until its webhook changes");
        }
        other => tracing::warn!(report = ?other, "a notification"),
    }
}
