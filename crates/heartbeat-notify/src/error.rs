//! Errors of a receiver's set-up and of one delivery attempt.

use std::time::Duration;

use heartbeat_http::{ConnectError, ExchangeError, TlsError, TlsOptionsError};
use http::StatusCode;
use thiserror::Error;

use crate::{MailError, ProgramError};

/// Why a receiver cannot be set up.
///
/// The URL is in none of the texts: its path may be a secret. The caller knows which line of the configuration the
/// error concerns.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// The text is not a URL.
    #[error("the webhook is not a URL")]
    NotAUrl {
        /// The error of the parser.
        #[source]
        source: http::uri::InvalidUri,
    },
    /// The certificates for `https://` cannot be used.
    #[error(transparent)]
    Tls {
        /// The underlying error.
        source: TlsOptionsError,
    },
    /// A user or a password in the URL.
    #[error("the webhook has credentials in its URL, where logs and process lists would show them")]
    CredentialsInUrl,
    /// The address of a mail server is none.
    #[error("the mail server is not an smtp:// or smtps:// URL of a name and a port")]
    MailServer,
    /// An address of a mail is none.
    #[error("`{text}` is not a mail address")]
    MailAddress {
        /// What stands in its place.
        text: String,
    },
    /// A URL, but not one that can be posted to.
    #[error("the webhook cannot be used: {why}")]
    Unusable {
        /// The rule that was broken.
        why: &'static str,
    },
    /// The receiver's `on` contains no step that can come first.
    #[error(
        "the receiver would get no notification: `resolved` only follows an earlier one, \
         so `on` needs `opened`, `updated` or `failed`"
    )]
    NoFirstStep,
}

/// 4xx answers that ask for another attempt later.
const TRANSIENT: [StatusCode; 3] =
    [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];

/// Why a delivery attempt failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The connection could not be made.
    #[error("cannot connect: {source}")]
    Connect {
        /// The error below.
        #[source]
        source: ConnectError,
    },
    /// The TLS handshake failed, or the certificate must not be trusted. Nothing was sent.
    #[error("no secure connection: {source}")]
    Secure {
        /// The underlying error.
        #[source]
        source: TlsError,
    },
    /// The connection broke, or what came was not HTTP.
    #[error("the exchange broke off: {source}")]
    Exchange {
        /// The error below.
        #[source]
        source: ExchangeError,
    },
    /// The head of the response did not arrive in time, counted from the connect.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// Time limit: [`ATTEMPT_TIMEOUT`](crate::ATTEMPT_TIMEOUT).
        after: Duration,
    },
    /// A redirect: not followed, since a notification goes where the configuration says and nowhere else.
    #[error("answered {status}: redirects are not followed, put the final URL into the configuration")]
    Redirected {
        /// A 3xx status.
        status: StatusCode,
    },
    /// 410: the receiver refuses notifications for good.
    #[error("answered 410 Gone: it wants no more notifications")]
    Gone,
    /// Any other answer that is not 2xx.
    #[error("answered {status}")]
    Refused {
        /// A status other than 2xx.
        status: StatusCode,
    },
    /// The mail did not arrive.
    #[error(transparent)]
    Mail {
        /// The underlying error.
        source: MailError,
    },
    /// Slack answered that it does not take it.
    #[error("Slack says {why}")]
    Declined {
        /// The word of Slack for it.
        why: String,
        /// The same again would be declined again.
        is_final: bool,
    },
    /// The program did not take it.
    #[error(transparent)]
    Program {
        /// How it ended.
        source: ProgramError,
    },
    /// The document cannot be written as JSON; trying again would not help.
    #[error("the incident cannot be written as JSON: {source}")]
    Document {
        /// The error below.
        #[source]
        source: serde_json::Error,
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
    /// Whether another attempt can succeed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Mail { source } => source.is_transient(),
            Self::Declined { is_final, .. } => !*is_final,
            Self::Gone | Self::Document { .. } | Self::Request { .. } => false,
            // The receiver understands the request and refuses it: the same again would be refused again.
            Self::Refused { status } => !status.is_client_error() || TRANSIENT.contains(status),
            _ => true,
        }
    }
}
