//! One question, one connection, one answer: bounded in time and size.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use heartbeat_http::{
    Address, Brief, ConnectError, ExchangeError, OpenResponse, Rendered, SYSTEM, Stream, Tls, TlsOptions,
    send,
};
use http::{HeaderValue, Method, Request, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::{ClientError, DEFAULT_PORT, Host, Token};

/// Longest answer accepted, in bytes: a status document of about 30,000 realms.
pub const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// The protocol that is offered in a TLS handshake.
const ALPN: &[u8] = b"http/1.1";

/// What is asked.
#[derive(Clone)]
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) accept: &'static str,
    /// From which event on, of a stream.
    pub(crate) last_event_id: Option<&'a str>,
    /// A JSON body.
    pub(crate) body: Option<Vec<u8>>,
    /// From connect to the last byte.
    pub(crate) deadline: Duration,
}

/// What came back.
pub(crate) struct Fetched {
    pub(crate) status: StatusCode,
    pub(crate) problem: bool,
    pub(crate) body: Bytes,
}

/// Who is asked, and with which token.
#[derive(Clone, Copy)]
pub(crate) struct Peer<'a> {
    pub(crate) host: &'a Host,
    pub(crate) token: Option<&'a Token>,
}

/// Asks, within the question's deadline.
pub(crate) async fn ask(peer: Peer<'_>, question: Question<'_>) -> Result<Fetched, ClientError> {
    let (after, connected) = (question.deadline, AtomicBool::new(false));
    let asking = async { whole(peer.host, connect(peer, question, &connected).await?).await };
    timeout(after, asking).await.unwrap_or_else(|_| Err(timed_out(peer.host, after, &connected)))
}

/// Asks for what heartbeatd knows, without a runtime: the body of a whole answer of the Unix socket. `None` where
/// [`ask`] has more to say.
pub(crate) fn ask_at_once(host: &Host, question: &Question<'_>) -> Option<Brief> {
    let Host::Unix(path) = host else { return None };
    let (head, body) = request(Peer { host, token: None }, question).ok()?.into_parts();
    let request = Rendered::new(&head.method, question.path, &head.headers, &body)?;
    heartbeat_http::ask_at_once(path, &request, question.deadline)
        .filter(|answer| answer.status() == StatusCode::OK)
}

fn timed_out(host: &Host, after: Duration, connected: &AtomicBool) -> ClientError {
    ClientError::TimedOut { host: host.clone(), after, connected: connected.load(Ordering::Relaxed) }
}

/// The head of an answer, within the question's deadline; its body comes as it comes.
pub(crate) async fn open(peer: Peer<'_>, question: Question<'_>) -> Result<OpenResponse, ClientError> {
    let (after, connected) = (question.deadline, AtomicBool::new(false));
    let opening = connect(peer, question, &connected);
    timeout(after, opening).await.unwrap_or_else(|_| Err(timed_out(peer.host, after, &connected)))
}

async fn connect(
    peer: Peer<'_>,
    question: Question<'_>,
    connected: &AtomicBool,
) -> Result<OpenResponse, ClientError> {
    let host = peer.host;
    if peer.token.is_some() && !host.is_private() {
        let detail =
            format!("the token would cross the network in plain text: use https:// instead of {host}");
        return Err(ClientError::Forbidden { detail });
    }
    match host {
        Host::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(|error| cannot_connect(host, error))?;
            connected.store(true, Ordering::Relaxed);
            exchange(Peer { token: None, ..peer }, stream, question).await
        }
        Host::Tcp { .. } => {
            let stream = over_tcp(host).await?;
            connected.store(true, Ordering::Relaxed);
            exchange(peer, stream, question).await
        }
        Host::Tls { name, .. } => {
            // The files of the system are read once per process.
            let tls = Tls::new(&TlsOptions::default())
                .map_err(|error| unreachable(host, format!("no secure connection: {error}"), error))?;
            let stream = over_tcp(host).await?;
            connected.store(true, Ordering::Relaxed);
            let secured = tls.handshake_now(Stream::Tcp(stream), name, Some(ALPN)).await;
            let secured = secured
                .map_err(|error| unreachable(host, format!("no secure connection: {error}"), error))?;
            exchange(peer, secured.stream, question).await
        }
    }
}

async fn over_tcp(host: &Host) -> Result<TcpStream, ClientError> {
    let address = Address::parse(&host.authority(), None);
    let address = address.ok_or_else(|| protocol(host, "this is not an address".to_owned()))?;
    heartbeat_http::connect(&SYSTEM, &address).await.map_err(|error| match error {
        ConnectError::Io { source } => cannot_connect(host, source),
        other => unreachable(host, other.to_string(), other),
    })
}

fn cannot_connect(host: &Host, error: io::Error) -> ClientError {
    let unix = matches!(host, Host::Unix(_));
    let why = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let detail = format!(
                "you have no permission on the socket {host}; use sudo, set `socket_mode` or `socket_group`, or read over TCP with --host http://127.0.0.1:{DEFAULT_PORT}"
            );
            return ClientError::Forbidden { detail };
        }
        io::ErrorKind::NotFound if unix => {
            "there is no socket; heartbeatd is not running, or it listens elsewhere".into()
        }
        io::ErrorKind::ConnectionRefused if unix => {
            "no process listens on the socket; heartbeatd ended without removing it".into()
        }
        io::ErrorKind::ConnectionRefused => "no process listens there".into(),
        _ => error.to_string(),
    };
    unreachable(host, why, error)
}

pub(crate) fn unreachable(
    host: &Host,
    why: String,
    source: impl std::error::Error + Send + Sync + 'static,
) -> ClientError {
    ClientError::Unreachable { host: host.clone(), why, source: Box::new(source) }
}

async fn exchange<S>(peer: Peer<'_>, stream: S, question: Question<'_>) -> Result<OpenResponse, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (host, request) = (peer.host, request(peer, &question));
    let request = request.map_err(|error| protocol(host, format!("the request cannot be made: {error}")))?;
    send(stream, request).await.map_err(|error| broken(host, "the connection broke", error))
}

pub(crate) fn broken(host: &Host, what: &str, error: ExchangeError) -> ClientError {
    match error {
        ExchangeError::NotHttp { .. } | ExchangeError::HeadTooLarge => protocol(host, error.to_string()),
        error => unreachable(host, format!("{what}: {error}"), error),
    }
}

/// Reads an answer to its end.
pub(crate) async fn whole(host: &Host, mut opened: OpenResponse) -> Result<Fetched, ClientError> {
    let status = opened.head.status;
    let kind = opened.head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let problem = kind.is_some_and(|kind| kind.starts_with("application/problem+json"));
    let too_long = || protocol(host, format!("an answer of more than {MAX_BODY_BYTES} bytes"));
    if opened.body.announced_bytes() > MAX_BODY_BYTES as u64 {
        return Err(too_long());
    }
    let read = opened.body.read(MAX_BODY_BYTES).await;
    match read.map_err(|error| broken(host, "the answer broke off", error))? {
        (body, true) => Ok(Fetched { status, problem, body: body.into() }),
        (_, false) => Err(too_long()),
    }
}

pub(crate) fn protocol(host: &Host, why: String) -> ClientError {
    ClientError::Protocol { host: host.clone(), why }
}

fn request(peer: Peer<'_>, question: &Question<'_>) -> Result<Request<Bytes>, http::Error> {
    let mut request = Request::builder()
        .method(question.method.clone())
        .uri(question.path)
        .header(header::HOST, peer.host.authority())
        .header(header::USER_AGENT, concat!("heartbeat-client/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, question.accept)
        .header(header::CONNECTION, "close");
    if question.body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    if let Some(token) = peer.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    if let Some(id) = question.last_event_id {
        request = request.header("last-event-id", id);
    }
    request.body(Bytes::from(question.body.clone().unwrap_or_default()))
}
