//! Receivers of notifications: from the configuration to the notifier, and from its reports to the outbox.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heartbeat_api::NotificationCount;
use heartbeat_config::{ReceiverConfig, ReceiverTarget, own_files};
use heartbeat_notify::{
    Alertmanager, Clock, Endpoint, Exec, FAILING_AFTER, Notifier, NotifyError, Ntfy, Outside, PagerDuty,
    Programs, Receiver, Report, Restored, RestoredState, Slack, SlackBot, Smtp, Target, Template, TlsOptions,
    Webhook, WhyDropped,
};
use heartbeat_status::{DeliveryState, OwnProblemKind, RealmName, WallTime, printed};
use heartbeat_store::{Attempt, AttemptOutcome, IncidentDb, OutboxEntry};
use heartbeat_wire::{NotificationEntry, Open};
use tokio::runtime::Handle;

use crate::clock;
use crate::error::ReceiverError;
use crate::own_health::own_problems::OwnProblems;
use crate::storage::spare_incidents::SpareIncidents;

/// Time for the remaining notifications at the end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Results of an attempt, in the order of the counts.
const RESULTS: [&str; 4] = ["delivered", "retried", "given-up", "dropped"];

/// The count of each result, by receiver.
#[derive(Debug, Default)]
pub(crate) struct NotificationCounts(Mutex<BTreeMap<String, [u64; RESULTS.len()]>>);

impl NotificationCounts {
    fn note(&self, report: &Report) {
        let (receiver, result) = match report {
            Report::Delivered { receiver, .. } => (receiver, 0),
            Report::Retrying { receiver, .. } => (receiver, 1),
            Report::GivenUp { receiver, .. } => (receiver, 2),
            Report::Dropped { receiver, .. } => (receiver, 3),
            _ => return,
        };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.entry(receiver.clone()).or_default()[result] += 1;
    }

    pub(crate) fn list(&self) -> Vec<NotificationCount> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(receiver, counts): (&String, &[u64; RESULTS.len()])| {
            let receiver = receiver.clone();
            let count = move |(result, count): (&'static str, u64)| NotificationCount {
                receiver: receiver.clone(),
                result,
                count,
            };
            RESULTS.into_iter().zip(*counts).map(count).collect::<Vec<_>>()
        };
        counts.iter().flat_map(of).collect()
    }
}

/// Receivers of a configuration.
///
/// # Errors
/// The name of the first invalid receiver, and the reason.
pub(crate) fn receivers(notify: &[ReceiverConfig]) -> Result<Vec<Receiver>, (String, ReceiverError)> {
    let named = |config: &ReceiverConfig| receiver(config).map_err(|error| (config.name.clone(), error));
    notify.iter().map(named).collect()
}

/// The address of the dead man's signal.
///
/// # Errors
/// [`NotifyError`] when it cannot be requested, such as without the system's certificates.
pub(crate) fn ping(url: Option<&str>) -> Result<Option<Endpoint>, NotifyError> {
    url.map(Endpoint::new).transpose()
}

/// Where traces are posted to.
///
/// # Errors
/// As for [`ping`].
pub(crate) fn otlp(url: Option<&str>) -> Result<Option<Endpoint>, NotifyError> {
    url.map(|url| Endpoint::new(&format!("{}/v1/traces", url.trim_end_matches('/')))).transpose()
}

fn receiver(config: &ReceiverConfig) -> Result<Receiver, ReceiverError> {
    let mut receiver = Receiver::new(config.name.clone(), target(config)?);
    if let Some(on) = &config.on {
        receiver.on = on.iter().copied().collect();
    }
    receiver.realms = config.realms.iter().map(RealmName::to_string).collect();
    receiver.delay = config.delay;
    receiver.template = config.template.as_deref().map(Template::new).transpose()?;
    receiver.repeat = config.repeat;
    receiver.unless_acknowledged = config.unless_acknowledged;
    receiver.fallback.clone_from(&config.fallback);
    receiver.check()?;
    Ok(receiver)
}

fn target(config: &ReceiverConfig) -> Result<Target, ReceiverError> {
    let options = config.ca.iter().fold(TlsOptions::default(), TlsOptions::with_ca);
    let at = |url: &str| Endpoint::with_tls(url, &options);
    if let ReceiverTarget::Smtp { url, from, to } = &config.target {
        let login = config.token_file.as_deref().map(own_files::login).transpose()?;
        return Ok(Target::Smtp(Smtp::new(url, &options, login, (from, to))?));
    }
    let token = config.token_file.as_deref().map(own_files::receiver_token).transpose()?;
    Ok(match (&config.target, token) {
        (ReceiverTarget::Webhook(url), _) => {
            let secrets = config
                .secret_files
                .iter()
                .map(|path| own_files::webhook_secret(path))
                .collect::<Result<_, _>>()?;
            Target::Webhook(Webhook { endpoint: at(url)?, secrets })
        }
        (ReceiverTarget::Alertmanager(url), _) => {
            let url = format!("{}/api/v2/alerts", url.trim_end_matches('/'));
            Target::Alertmanager(Alertmanager { endpoint: at(&url)? })
        }
        (ReceiverTarget::Ntfy(url), token) => Target::Ntfy(Ntfy { endpoint: at(url)?, token }),
        (ReceiverTarget::PagerDuty(url), Some(routing_key)) => {
            Target::PagerDuty(PagerDuty { endpoint: at(url)?, routing_key })
        }
        (ReceiverTarget::SlackBot { url, channel }, Some(token)) => {
            let url = url.trim_end_matches('/');
            Target::SlackBot(SlackBot {
                post: at(&format!("{url}/chat.postMessage"))?,
                update: at(&format!("{url}/chat.update"))?,
                token,
                channel: channel.clone(),
            })
        }
        // The configuration accepts no bot and no integration without a key, and mail is made above.
        (ReceiverTarget::SlackBot { url, .. } | ReceiverTarget::Smtp { url, .. }, _)
        | (ReceiverTarget::Slack(url) | ReceiverTarget::PagerDuty(url), _) => {
            Target::Slack(Slack { endpoint: at(url)? })
        }
        (ReceiverTarget::Exec(spec), _) => Target::Exec(Exec {
            argv: spec.argv.clone(),
            env: Arc::clone(&spec.inherited),
            dir: spec.dir.clone(),
        }),
    })
}

/// Starts to deliver, beginning with the outbox of an earlier heartbeatd.
pub(crate) fn start(
    receivers: Vec<Receiver>,
    outbox: Vec<OutboxEntry>,
    runtime: Handle,
    database: Arc<IncidentDb>,
    spare: Arc<SpareIncidents>,
    programs: impl Programs + 'static,
    (problems, counts): (Arc<OwnProblems>, Arc<NotificationCounts>),
) -> Notifier {
    let clock = Clock { now: Box::new(clock::now), wall: Box::new(clock::wall) };
    let restored = outbox.into_iter().filter_map(restored).collect();
    let failing = Mutex::<BTreeMap<String, String>>::default();
    let outside = Outside::new(clock, programs);
    Notifier::start(receivers, restored, runtime, outside, move |report| {
        if let Some(attempt) = attempt(&report) {
            spare.attempted(&attempt);
            database.attempted(attempt);
        }
        counts.note(&report);
        note_failing(&report, &mut failing.lock().unwrap_or_else(PoisonError::into_inner), &problems);
        log(report);
    })
}

/// A receiver that has failed for minutes is a problem of heartbeatd.
fn note_failing(report: &Report, failing: &mut BTreeMap<String, String>, problems: &OwnProblems) {
    match report {
        Report::Failing { receiver, why } => {
            failing.insert(receiver.clone(), why.clone());
        }
        Report::Works { receiver } => {
            failing.remove(receiver);
        }
        _ => return,
    }
    let minutes = FAILING_AFTER.as_secs() / 60;
    let words: Vec<String> = failing
        .iter()
        .map(|(receiver, why)| format!("the receiver {receiver} has failed for {minutes} min: {why}"))
        .collect();
    problems.set(OwnProblemKind::Notifications, (!words.is_empty()).then(|| words.join("; ")));
}

/// A notification, for readers.
pub(crate) fn shown(entry: OutboxEntry) -> NotificationEntry {
    NotificationEntry {
        receiver: entry.receiver,
        seq: entry.seq,
        event: entry.event.parse().map_or(Open::Unknown(entry.event), Open::Known),
        state: entry.state.into(),
        queued_at: entry.queued_at,
        attempts: entry.attempts,
        attempted_at: entry.attempted_at,
        next_at: entry.next_at,
        why: entry.why,
    }
}

fn restored(entry: OutboxEntry) -> Option<Restored> {
    let OutboxEntry {
        receiver, incident, seq, open, queued_at, attempts, next_at, document, message, ..
    } = entry;
    let state = match (entry.state, document) {
        (DeliveryState::Due, Some(document)) => {
            RestoredState::Due { document, queued_at, attempts, next_at, digest: message }
        }
        (DeliveryState::Delivered, _) => RestoredState::Delivered { message },
        (DeliveryState::Due | DeliveryState::GivenUp | DeliveryState::Dropped, _) => RestoredState::Lost,
    };
    // The event is one of a later version.
    let step = entry.event.parse().ok()?;
    Some(Restored { receiver, id: incident, seq, step, open, state })
}

/// The outbox row for a report.
fn attempt(report: &Report) -> Option<Attempt> {
    let at = clock::wall();
    let (receiver, id, seq, outcome) = match report {
        Report::Delivered { receiver, id, seq, message, .. } => {
            (receiver, id, *seq, AttemptOutcome::Delivered { message: message.clone() })
        }
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
        Report::Delivered { receiver, id, seq, attempts, .. } => {
            tracing::debug!(receiver, incident = id, seq, attempts, "delivered");
        }
        Report::Retrying { receiver, id, seq, attempt, error, in_ms } => {
            let error = error.to_string();
            let error = printed::unquoted(&error);
            tracing::warn!(receiver, incident = id, seq, attempt, %error, in_ms, "not delivered, another attempt follows");
        }
        Report::GivenUp { receiver, id, seq, error } => {
            let error = error.to_string();
            let error = printed::unquoted(&error);
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
        Report::Failing { receiver, why } => tracing::error!(receiver, why, "fails"),
        Report::Works { receiver } => tracing::info!(receiver, "works again"),
        other => tracing::warn!(report = ?other, "a notification"),
    }
}
