//! One question, one connection, one answer: bounded in time and size.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{ClientError, Host};

/// Longest answer accepted, in bytes: a status document of about 30,000 realms.
pub const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// What is asked.
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
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) problem: bool,
    pub(crate) body: Bytes,
}

/// Asks, within the question's deadline.
pub(crate) async fn ask(host: &Host, question: Question<'_>) -> Result<Answer, ClientError> {
    let after = question.deadline;
    match timeout(after, connect_and_exchange(host, question)).await {
        Ok(answer) => answer,
        Err(_) => Err(ClientError::TimedOut { host: host.clone(), after }),
    }
}

async fn connect_and_exchange(host: &Host, question: Question<'_>) -> Result<Answer, ClientError> {
    whole(host, connect(host, question).await?).await
}

/// The head of an answer, within the question's deadline; its body comes as it comes.
pub(crate) async fn open(host: &Host, question: Question<'_>) -> Result<Opened, ClientError> {
    let after = question.deadline;
    match timeout(after, connect(host, question)).await {
        Ok(opened) => opened,
        Err(_) => Err(ClientError::TimedOut { host: host.clone(), after }),
    }
}

async fn connect(host: &Host, question: Question<'_>) -> Result<Opened, ClientError> {
    match host {
        Host::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(|error| cannot_connect(host, error))?;
            exchange(host, stream, question).await
        }
        Host::Tcp { name, port } => {
            let connect = TcpStream::connect((name.as_str(), *port));
            let stream = connect.await.map_err(|error| cannot_connect(host, error))?;
            exchange(host, stream, question).await
        }
    }
}

fn cannot_connect(host: &Host, error: io::Error) -> ClientError {
    let unix = matches!(host, Host::Unix(_));
    let why = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let detail = format!("the mode of {host} does not let you in");
            return ClientError::Forbidden { detail };
        }
        io::ErrorKind::NotFound if unix => {
            "there is no socket; heartbeatd is not running, or it listens elsewhere".into()
        }
        io::ErrorKind::ConnectionRefused if unix => {
            "nobody listens on the socket; heartbeatd ended without removing it".into()
        }
        io::ErrorKind::ConnectionRefused => "nobody listens there".into(),
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

/// An answer whose head is there.
pub(crate) struct Opened {
    pub(crate) response: Response<Incoming>,
    pub(crate) connection: Connection,
}

/// Ends the connection's task with its question, however that ends.
pub(crate) struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn exchange<S>(
    host: &Host,
    stream: S,
    question: Question<'_>,
) -> impl Future<Output = Result<Opened, ClientError>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = request(host, &question);
    async move {
        let request =
            request.map_err(|error| protocol(host, format!("the request cannot be made: {error}")))?;
        let broken = |error: hyper::Error| unreachable(host, format!("the connection broke: {error}"), error);
        let (mut sender, driving) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let connection = Connection(tokio::spawn(async move {
            // What breaks here also breaks the request, which says so.
            drop(driving.await);
        }));
        let response = match sender.send_request(request).await {
            Ok(response) => response,
            Err(error) if error.is_parse() => return Err(protocol(host, format!("no HTTP: {error}"))),
            Err(error) => return Err(broken(error)),
        };
        Ok(Opened { response, connection })
    }
}

/// Reads an answer to its end.
pub(crate) async fn whole(host: &Host, opened: Opened) -> Result<Answer, ClientError> {
    let Opened { response, connection: _connection } = opened;
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let problem = kind.is_some_and(|kind| kind.starts_with("application/problem+json"));
    let too_long = || protocol(host, format!("an answer of more than {MAX_BODY_BYTES} bytes"));
    if response.body().size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(too_long());
    }
    let body = match Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(too_long()),
        Err(error) => {
            let why = format!("the answer broke off: {error}");
            return Err(ClientError::Unreachable { host: host.clone(), why, source: error });
        }
    };
    Ok(Answer { status, problem, body })
}

pub(crate) fn protocol(host: &Host, why: String) -> ClientError {
    ClientError::Protocol { host: host.clone(), why }
}

fn request(host: &Host, question: &Question<'_>) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut request = Request::builder()
        .method(question.method.clone())
        .uri(question.path)
        .header(header::HOST, host.authority())
        .header(header::USER_AGENT, concat!("heartbeat-client/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, question.accept)
        .header(header::CONNECTION, "close");
    if question.body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    if let Some(id) = question.last_event_id {
        request = request.header("last-event-id", id);
    }
    request.body(Full::new(Bytes::from(question.body.clone().unwrap_or_default())))
}
