//! What can be wrong with a webhook, and with one attempt to reach it.

use std::time::Duration;

use heartbeat_http::{ConnectError, ExchangeError};
use http::StatusCode;
use thiserror::Error;

/// Why a receiver cannot be set up.
///
/// The URL is in none of the texts: its path may be a secret. Whoever shows the error knows which line it is about.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// Not a URL at all.
    #[error("the webhook is not a URL")]
    NotAUrl {
        /// What the parser says.
        #[source]
        source: http::uri::InvalidUri,
    },
    /// `https://`.
    #[error("the webhook asks for TLS, which is not built into this version: use an http:// URL")]
    TlsNotBuilt,
    /// A user or a password in the URL.
    #[error("the webhook has credentials in its URL, where logs and process lists would show them")]
    CredentialsInUrl,
    /// A URL, but not one that can be posted to.
    #[error("the webhook cannot be used: {why}")]
    Unusable {
        /// The rule that was broken.
        why: &'static str,
    },
    /// A receiver whose `on` could never let anything through.
    #[error(
        "the receiver would never be told anything: `resolved` follows what was told before, \
         so `on` needs `opened`, `updated` or `failed`"
    )]
    NeverTold,
}

/// Refusals of a client that say "later".
const PASSING: [StatusCode; 3] =
    [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];

/// Why one attempt at a delivery did not succeed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// No connection.
    #[error("cannot connect: {source}")]
    Connect {
        /// The error below.
        #[source]
        source: ConnectError,
    },
    /// The connection broke, or what came was not HTTP.
    #[error("the exchange broke off: {source}")]
    Exchange {
        /// The error below.
        #[source]
        source: ExchangeError,
    },
    /// No complete head of a response in time, counted from the connect.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// [`ATTEMPT_TIMEOUT`](crate::ATTEMPT_TIMEOUT).
        after: Duration,
    },
    /// A redirect: not followed, since a notification goes where the configuration says and nowhere else.
    #[error("answered {status}: redirects are not followed, put the final URL into the configuration")]
    Redirected {
        /// 3xx.
        status: StatusCode,
    },
    /// 410: the receiver says for good that it does not want to be told.
    #[error("answered 410 Gone: it does not want to be told any more")]
    Gone,
    /// Any other answer that is not 2xx.
    #[error("answered {status}")]
    Refused {
        /// Not 2xx.
        status: StatusCode,
    },
    /// The request cannot be made from this document; trying again would not help.
    #[error("the request cannot be made: {source}")]
    Request {
        /// The error below.
        #[source]
        source: http::Error,
    },
}

impl DeliveryError {
    /// Trying again could help.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Gone | Self::Request { .. } => false,
            // The receiver understands the request and refuses it: the same again would be refused again.
            Self::Refused { status } => !status.is_client_error() || PASSING.contains(status),
            _ => true,
        }
    }
}
