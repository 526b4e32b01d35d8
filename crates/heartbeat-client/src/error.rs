//! What can go wrong between a caller and heartbeatd, by what the caller can do about it.

use std::error::Error;
use std::time::Duration;

use heartbeat_wire::{ActionDocument, Problem};
use thiserror::Error as ThisError;

use crate::host::{Host, HostError};

/// Why a question to heartbeatd has no answer.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum ClientError {
    /// A text that is not a host.
    #[error(transparent)]
    BadHost(#[from] HostError),
    /// No process listens there, or the connection broke before an answer.
    #[error("heartbeatd does not answer at {host}: {why}")]
    Unreachable {
        /// Where it was asked.
        host: Host,
        /// What happened, and what that usually means.
        why: String,
        /// The error below.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// No complete answer in time.
    #[error("{}", timed_out(host, *after, *connected))]
    TimedOut {
        /// Where it was asked.
        host: Host,
        /// The deadline that passed.
        after: Duration,
        /// The connection was accepted; only the answer did not come.
        connected: bool,
    },
    /// No such realm (404).
    #[error("{detail}")]
    NotFound {
        /// What heartbeatd says.
        detail: String,
        /// Names that are near.
        suggestions: Vec<String>,
    },
    /// Not permitted here (401, 403, or the socket's mode).
    #[error("not permitted: {detail}")]
    Forbidden {
        /// Why, and where it would be permitted.
        detail: String,
    },
    /// Refused since others would suffer (409).
    #[error("refused: {detail}")]
    Refused {
        /// What heartbeatd says.
        detail: String,
        /// What would have been done.
        plan: Option<Box<ActionDocument>>,
    },
    /// Accepted, and not reached in the time that was given (504).
    #[error("{detail}")]
    Deadline {
        /// What is missing.
        detail: String,
        /// What is being done.
        plan: Option<Box<ActionDocument>>,
    },
    /// Carried out, but not on disk (507).
    #[error("{detail}")]
    NotRemembered {
        /// What heartbeatd says.
        detail: String,
        /// What was done.
        plan: Option<Box<ActionDocument>>,
    },
    /// Any other answer heartbeatd gives as a problem (RFC 9457), e.g. 501 for what is not built yet.
    #[error("{} ({}): {}", .0.title, .0.status, .0.detail)]
    Problem(Box<Problem>),
    /// An answer that is not heartbeatd's language: something else listens there, or the versions are far apart.
    #[error("{host} answers, but not as heartbeatd does: {why}")]
    Protocol {
        /// Where it was asked.
        host: Host,
        /// What is wrong with the answer.
        why: String,
    },
}

/// The kernel accepts connections for a process that is stopped or hangs.
fn timed_out(host: &Host, after: Duration, connected: bool) -> String {
    let seconds = after.as_secs_f64();
    if connected {
        format!(
            "heartbeatd at {host} accepted the connection but did not answer within {seconds} s; is it stopped (SIGSTOP) or does it hang?"
        )
    } else {
        format!("heartbeatd at {host} did not accept the connection within {seconds} s")
    }
}
