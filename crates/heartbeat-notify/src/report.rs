//! Reports of what happened to a notification.

use std::fmt;
use std::sync::Arc;

use crate::DeliveryError;

/// One thing that happened to one notification. The caller counts, logs and records these.
#[derive(Debug)]
#[non_exhaustive]
pub enum Report {
    /// The receiver accepted it.
    Delivered {
        /// Name of the receiver.
        receiver: String,
        /// Id of the incident.
        id: String,
        /// Number of the event within the incident.
        seq: u64,
        /// Number of attempts, from 1.
        attempts: u32,
        /// What the receiver calls the message; the outbox remembers it for the next one of the incident.
        message: Option<String>,
    },
    /// An attempt failed; another follows.
    Retrying {
        /// Name of the receiver.
        receiver: String,
        /// Id of the incident.
        id: String,
        /// Number of the event within the incident.
        seq: u64,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Why it failed.
        error: Arc<DeliveryError>,
        /// Milliseconds until the next attempt.
        in_ms: u64,
    },
    /// No further attempt follows: it is too old, or the receiver refused it with a 4xx.
    GivenUp {
        /// Name of the receiver.
        receiver: String,
        /// Id of the incident.
        id: String,
        /// Number of the event within the incident.
        seq: u64,
        /// Why the last attempt failed.
        error: Arc<DeliveryError>,
    },
    /// It leaves the queue undelivered, or was not admitted.
    Dropped {
        /// Name of the receiver.
        receiver: String,
        /// Id of the incident.
        id: String,
        /// Number of the event within the incident.
        seq: u64,
        /// The reason for dropping it.
        why: WhyDropped,
    },
    /// The receiver answered 410 Gone: it gets nothing until its webhook changes or heartbeatd starts again.
    Disabled {
        /// Name of the receiver.
        receiver: String,
    },
    /// Every attempt at the receiver has failed for [`FAILING_AFTER`](crate::FAILING_AFTER).
    Failing {
        /// Name of the receiver.
        receiver: String,
        /// Why the last attempt failed.
        why: String,
    },
    /// A receiver that was reported as failing accepts notifications again, or is removed.
    Works {
        /// Name of the receiver.
        receiver: String,
    },
}

/// Why a notification that the receiver asked for is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhyDropped {
    /// The queue was full of more important notifications.
    QueueFull,
    /// The receiver does not know that the incident opened, so it gets none of its later steps.
    NotOpened,
    /// More incidents are open at once than the queue tracks.
    TooManyIncidents,
    /// Its number is not above that of the incident's last event, or the incident is resolved.
    OutOfOrder,
    /// The receiver is no longer in the configuration.
    ReceiverRemoved,
    /// The receiver answered 410 Gone before.
    ReceiverDisabled,
    /// heartbeatd ended before it could be delivered. An outbox still has it.
    Closing,
}

impl fmt::Display for WhyDropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::QueueFull => "the queue is full",
            Self::NotOpened => "the receiver does not know that the incident opened",
            Self::TooManyIncidents => "too many incidents are open at once",
            Self::OutOfOrder => "it came after a later event of its incident",
            Self::ReceiverRemoved => "the receiver was removed from the configuration",
            Self::ReceiverDisabled => "the receiver answered 410 Gone",
            Self::Closing => "heartbeatd ended before it was delivered",
        })
    }
}
