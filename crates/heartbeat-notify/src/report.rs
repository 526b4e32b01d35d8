//! What became of a notification.

use std::fmt;

use crate::DeliveryError;

/// One thing that happened to one notification. The caller counts, logs and records these.
#[derive(Debug)]
#[non_exhaustive]
pub enum Report {
    /// The receiver has it.
    Delivered {
        /// Name of the receiver.
        receiver: String,
        /// The incident.
        id: String,
        /// Which event of it.
        seq: u64,
        /// How many attempts it took, from 1.
        attempts: u32,
    },
    /// An attempt failed; there will be another.
    Retrying {
        /// Name of the receiver.
        receiver: String,
        /// The incident.
        id: String,
        /// Which event of it.
        seq: u64,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Why it failed.
        error: DeliveryError,
        /// The next one is made after this time, in milliseconds.
        in_ms: u64,
    },
    /// It was tried and will not be tried again: too old, or the receiver refused it with a 4xx.
    GivenUp {
        /// Name of the receiver.
        receiver: String,
        /// The incident.
        id: String,
        /// Which event of it.
        seq: u64,
        /// Why the last attempt failed.
        error: DeliveryError,
    },
    /// It leaves the queue undelivered, or never got in.
    Dropped {
        /// Name of the receiver.
        receiver: String,
        /// The incident.
        id: String,
        /// Which event of it.
        seq: u64,
        /// Why.
        why: WhyDropped,
    },
    /// The receiver answered 410 Gone: it is told nothing until its webhook changes or heartbeatd starts again.
    Disabled {
        /// Name of the receiver.
        receiver: String,
    },
}

/// Why a notification is not delivered although the receiver asked for such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhyDropped {
    /// The queue was full and others matter more.
    QueueFull,
    /// The receiver was not told that the incident opened, so it is not told how it goes on.
    NotTold,
    /// More incidents are open at once than are kept track of.
    TooManyIncidents,
    /// Its number is not above that of the last event of its incident, or the incident was over already.
    OutOfOrder,
    /// The receiver is no longer in the configuration, or its webhook changed.
    ReceiverRemoved,
    /// The receiver answered 410 Gone before.
    ReceiverDisabled,
    /// heartbeatd ended before it could be delivered.
    Closing,
    /// The document could not be written as JSON.
    NoBody,
}

impl fmt::Display for WhyDropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::QueueFull => "the queue is full",
            Self::NotTold => "the receiver was not told that the incident opened",
            Self::TooManyIncidents => "too many incidents are open at once",
            Self::OutOfOrder => "it came after a later event of its incident",
            Self::ReceiverRemoved => "the receiver was removed or its webhook changed",
            Self::ReceiverDisabled => "the receiver answered 410 Gone",
            Self::Closing => "heartbeatd ended first",
            Self::NoBody => "the document could not be written as JSON",
        })
    }
}
