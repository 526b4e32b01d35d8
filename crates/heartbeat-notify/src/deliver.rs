//! One delivery attempt: a fresh connection, one request, one deadline.

use std::time::Duration;

use bytes::Bytes;
use heartbeat_http::{Answer, SYSTEM, Stream, connect, send};
use heartbeat_status::wire::IncidentDocument;
use http::{Method, Request, StatusCode, header};
use tokio::time::{sleep, timeout_at};

use crate::{DeliveryError, Webhook, retry_after};

/// Longest delivery attempt, from the connect to the head of the answer.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest part of an answer's body that is read and discarded, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The protocol that is offered in a TLS handshake.
const ALPN: &[u8] = b"http/1.1";

/// A failed delivery attempt.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: DeliveryError,
    /// The wait that the receiver asks for with `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
}

impl From<DeliveryError> for Failure {
    fn from(error: DeliveryError) -> Self {
        Self { error, retry_after: None }
    }
}

/// Posts the document, at `unix_s` seconds since 1970.
pub(crate) async fn post(webhook: &Webhook, document: &IncidentDocument, unix_s: u64) -> Result<(), Failure> {
    let body = serde_json::to_vec(document).map_err(|source| DeliveryError::Document { source })?;
    // The same at every attempt, so that the receiver recognises a repetition.
    let key = format!("{}.{}", document.id, document.seq);
    let request = request(webhook, &key, body.into(), unix_s);
    let request = request.map_err(|source| DeliveryError::Request { source })?;
    let deadline = sleep(ATTEMPT_TIMEOUT).deadline();
    let answer = timeout_at(deadline, exchange(webhook, request, unix_s)).await;
    let mut answer = answer.map_err(|_| DeliveryError::TimedOut { after: ATTEMPT_TIMEOUT })??;
    // Reads the body so that the receiver gets no reset while it writes. The verdict does not depend on it.
    drop(timeout_at(deadline, answer.body.read(MAX_ANSWER_BYTES)).await);
    verdict(answer.head.status, retry_after::asked(&answer.head.headers, unix_s))
}

async fn exchange(webhook: &Webhook, request: Request<Bytes>, unix_s: u64) -> Result<Answer, DeliveryError> {
    let stream = connect(&SYSTEM, webhook.address()).await;
    let mut stream = Stream::Tcp(stream.map_err(|source| DeliveryError::Connect { source })?);
    if let Some(tls) = webhook.tls() {
        let secured = tls.handshake(stream, webhook.address().host(), Some(ALPN), unix_s).await;
        stream = secured.map_err(|source| DeliveryError::Secure { source })?.stream;
    }
    send(stream, request).await.map_err(|source| DeliveryError::Exchange { source })
}

fn request(webhook: &Webhook, key: &str, body: Bytes, unix_s: u64) -> Result<Request<Bytes>, http::Error> {
    Request::builder()
        .method(Method::POST)
        .uri(webhook.target())
        .header(header::HOST, webhook.host_header())
        .header(header::USER_AGENT, concat!("heartbeat/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .header("webhook-id", key)
        .header("webhook-timestamp", unix_s)
        .body(body)
}

fn verdict(status: StatusCode, retry_after: Option<Duration>) -> Result<(), Failure> {
    let error = match status {
        _ if status.is_success() => return Ok(()),
        StatusCode::GONE => DeliveryError::Gone,
        _ if status.is_redirection() => DeliveryError::Redirected { status },
        _ => DeliveryError::Refused { status },
    };
    Err(Failure { error, retry_after })
}
