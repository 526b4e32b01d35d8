//! One attempt at one delivery: a fresh connection, one request, one deadline.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout_at};

use crate::{DeliveryError, Webhook};

/// From the connect to the head of the answer, for one attempt.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most of an answer's body that is read (and thrown away), in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What goes out.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    /// The same at every attempt, so that the receiver can tell a repetition.
    pub(crate) webhook_id: String,
    pub(crate) body: Bytes,
}

/// An attempt that did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: DeliveryError,
    /// How long the receiver asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

impl From<DeliveryError> for Failure {
    fn from(error: DeliveryError) -> Self {
        Self { error, retry_after: None }
    }
}

/// Posts the parcel, at `unix_s` seconds since 1970.
pub(crate) async fn post(webhook: &Webhook, parcel: &Parcel, unix_s: u64) -> Result<(), Failure> {
    let request = request(webhook, parcel, unix_s).map_err(|source| DeliveryError::Request { source })?;
    let deadline = sleep(ATTEMPT_TIMEOUT).deadline();
    let answer = timeout_at(deadline, exchange(webhook, request)).await;
    let answer = answer.map_err(|_| DeliveryError::TimedOut { after: ATTEMPT_TIMEOUT })??;
    // Lets the receiver finish its sentence, within the limits. How that ends changes nothing.
    let rest = Limited::new(answer.body, MAX_ANSWER_BYTES).collect();
    drop(timeout_at(deadline, rest).await);
    judge(answer.status, answer.retry_after)
}

fn request(webhook: &Webhook, parcel: &Parcel, unix_s: u64) -> Result<Request<Full<Bytes>>, http::Error> {
    Request::builder()
        .method(Method::POST)
        .uri(webhook.target())
        .header(header::HOST, webhook.authority())
        .header(header::USER_AGENT, concat!("heartbeat/", env!("CARGO_PKG_VERSION")))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .header("webhook-id", &parcel.webhook_id)
        .header("webhook-timestamp", unix_s)
        .body(Full::new(parcel.body.clone()))
}

/// Ends the connection's task with its attempt, however that ends.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: Incoming,
    _connection: Connection,
}

async fn exchange(webhook: &Webhook, request: Request<Full<Bytes>>) -> Result<Answer, DeliveryError> {
    let connect = TcpStream::connect(webhook.address());
    let stream = connect.await.map_err(|source| DeliveryError::Connect { source })?;
    let broken = |source| DeliveryError::Exchange { source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = Connection(tokio::spawn(async move {
        // What breaks here also breaks the request, which says so.
        drop(connection.await);
    }));
    let response = sender.send_request(request).await.map_err(broken)?;
    let retry_after = response.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Ok(Answer {
        status: response.status(),
        retry_after: retry_after.map(Duration::from_secs),
        body: response.into_body(),
        _connection: connection,
    })
}

fn judge(status: StatusCode, retry_after: Option<Duration>) -> Result<(), Failure> {
    let error = match status {
        _ if status.is_success() => return Ok(()),
        StatusCode::GONE => DeliveryError::Gone,
        _ if status.is_redirection() => DeliveryError::Redirected { status },
        _ => DeliveryError::Refused { status },
    };
    Err(Failure { error, retry_after })
}
