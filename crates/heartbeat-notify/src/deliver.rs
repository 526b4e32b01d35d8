//! One delivery attempt: a fresh connection and one request, or one run of a program, with one deadline.

use std::time::Duration;

use bytes::Bytes;
use heartbeat_http::{OpenResponse, SYSTEM, Sockets, Stream, connect, send};
use http::{Method, Request, StatusCode, header};
use thiserror::Error;
use tokio::time::{sleep, timeout_at};

use crate::mirror::Sent;
use crate::target::{Alert, Call, Letter, Message, Replied, Way, alerts};
use crate::{DeliveryError, Endpoint, Outside, Receiver, SlackBot, Template, mail, retry_after};

/// Longest delivery attempt, from the connect to the head of the answer.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest part of an answer's body that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What stands in the place of a secret.
const HIDDEN: &str = "(hidden)";

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

/// Delivers the message. Returns what the receiver calls it, where later messages about the incident need that.
pub(crate) async fn post(
    receiver: &Receiver,
    letter: &Letter,
    outside: &Outside,
) -> Result<Option<String>, Failure> {
    let (template, unix_s) = (receiver.template.as_ref(), outside.clock.unix_s());
    let message = || receiver.target.message(letter, template, unix_s);
    match receiver.target.way() {
        Way::Http(endpoint) => drop(Server::new(endpoint, outside).send(Method::POST, message()?).await?),
        Way::Program(program) => {
            let ended = outside.programs.run(program, message()?.body.to_vec()).await;
            ended.map_err(|source| DeliveryError::Program { source })?;
        }
        Way::Mail(smtp) => {
            let of_mail = |source| DeliveryError::Mail { source };
            let mail = smtp.mail(letter, template, unix_s).map_err(of_mail)?;
            mail::send(smtp, &mail, (&*outside.sockets, unix_s)).await.map_err(of_mail)?;
        }
        Way::Slack(bot) => return say(bot, letter, template, outside).await,
    }
    Ok(None)
}

/// Edits the message that Slack has of an incident, answers it, or posts one. Returns what Slack calls the message.
async fn say(
    bot: &SlackBot,
    letter: &Letter,
    template: Option<&Template>,
    outside: &Outside,
) -> Result<Option<String>, Failure> {
    let text = letter.text(template);
    let known = letter.conversation.as_deref();
    for Call { endpoint, message } in bot.calls(letter, &text, known)? {
        let answer = Server::new(endpoint, outside).send(Method::POST, message).await?;
        match SlackBot::read(letter, &answer)? {
            Replied::Done(name) if known.is_none() => return Ok(name),
            Replied::Done(_) => {}
            // The channel was cleaned up: the incident begins anew there.
            Replied::Gone => {
                let message = bot.first(letter, &text)?;
                let answer = Server::new(&bot.post, outside).send(Method::POST, message).await?;
                return match SlackBot::read(letter, &answer)? {
                    Replied::Done(name) => Ok(name),
                    Replied::Gone => Ok(None),
                };
            }
        }
    }
    Ok(known.map(ToOwned::to_owned))
}

/// Posts the newest state of incidents, all in one request.
pub(crate) async fn post_all(receiver: &Receiver, states: &[Sent], outside: &Outside) -> Result<(), Failure> {
    let states =
        states.iter().map(|Sent { document, is_over }| Alert { document, is_over: *is_over, is_test: false });
    let message = alerts(states, outside.clock.unix_s())?;
    match receiver.target.way() {
        Way::Http(endpoint) => Server::new(endpoint, outside).send(Method::POST, message).await.map(drop),
        // Only an Alertmanager gets states.
        Way::Program(_) | Way::Slack(_) | Way::Mail(_) => Ok(()),
    }
}

/// What a receiver is sent, as text: without the token, and without the path of the URL, which often
/// is the only secret of a webhook.
pub(crate) fn shown(receiver: &Receiver, letter: &Letter, unix_s: u64) -> String {
    let target = &receiver.target;
    let message = match target.message(letter, receiver.template.as_ref(), unix_s) {
        Ok(message) => message,
        Err(error) => return error.to_string(),
    };
    let mut text = match target.way() {
        Way::Http(endpoint) => format!("POST {endpoint} (path hidden)\n"),
        Way::Program(program) => format!("the standard input of {program}\n"),
        Way::Slack(bot) => format!("POST {} (path hidden)\n", bot.post),
        Way::Mail(smtp) => format!("a mail by {smtp}\n"),
    };
    for (name, value) in &message.headers {
        text.push_str(&format!("{name}: {value}\n"));
    }
    text.push('\n');
    text.push_str(&String::from_utf8_lossy(&message.body));
    match target.token() {
        Some(token) => text.replace(token, HIDDEN),
        None => text,
    }
}

/// Requests the URL once, as a sign of life. 2xx is success.
///
/// # Errors
/// [`DeliveryError`] when no such answer comes in time.
pub async fn ping(endpoint: &Endpoint, unix_s: u64) -> Result<(), DeliveryError> {
    let nothing = Message { headers: Vec::new(), body: Bytes::new() };
    let server = Server { endpoint, sockets: &SYSTEM, unix_s };
    server.send(Method::GET, nothing).await.map(drop).map_err(|failure| failure.error)
}

/// A body that was not taken.
#[derive(Debug, Error)]
#[error("{error}")]
pub struct PostError {
    error: DeliveryError,
    /// The wait that the server asks for with `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl PostError {
    /// The status of the answer; `None` when there was none.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.error {
            DeliveryError::Refused { status } | DeliveryError::Redirected { status } => Some(status.as_u16()),
            DeliveryError::Gone => Some(StatusCode::GONE.as_u16()),
            _ => None,
        }
    }
}

/// Posts JSON once, outside every queue. 2xx is success.
///
/// # Errors
/// [`PostError`] when no such answer comes in time.
pub async fn post_json(endpoint: &Endpoint, body: &[u8], unix_s: u64) -> Result<(), PostError> {
    let headers = vec![("content-type", "application/json".to_owned())];
    let message = Message { headers, body: Bytes::copy_from_slice(body) };
    let sent = Server { endpoint, sockets: &SYSTEM, unix_s }.send(Method::POST, message).await;
    sent.map(drop).map_err(|Failure { error, retry_after }| PostError { error, retry_after })
}

/// A server that is sent one request, and the way to it.
struct Server<'a> {
    endpoint: &'a Endpoint,
    sockets: &'a dyn Sockets,
    /// The time of the attempt, in seconds since 1970.
    unix_s: u64,
}

impl<'a> Server<'a> {
    fn new(endpoint: &'a Endpoint, outside: &'a Outside) -> Self {
        Self { endpoint, sockets: &*outside.sockets, unix_s: outside.clock.unix_s() }
    }

    async fn send(&self, method: Method, message: Message) -> Result<Vec<u8>, Failure> {
        let request = request(self.endpoint, method, message);
        let request = request.map_err(|source| DeliveryError::Request { source })?;
        let deadline = sleep(ATTEMPT_TIMEOUT).deadline();
        let answer = timeout_at(deadline, self.exchange(request)).await;
        let mut answer = answer.map_err(|_| DeliveryError::TimedOut { after: ATTEMPT_TIMEOUT })??;
        // Reads the body also where the verdict does not depend on it, so that the receiver gets no reset while it
        // writes.
        let body = timeout_at(deadline, answer.body.read(MAX_ANSWER_BYTES)).await;
        verdict(answer.head.status, retry_after::asked(&answer.head.headers, self.unix_s))?;
        Ok(body.ok().and_then(Result::ok).map(|(body, _)| body).unwrap_or_default())
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<OpenResponse, DeliveryError> {
        let address = self.endpoint.address();
        let stream = connect(self.sockets, address).await;
        let mut stream = Stream::Tcp(stream.map_err(|source| DeliveryError::Connect { source })?);
        if let Some(tls) = self.endpoint.tls() {
            let secured = tls.handshake(stream, address.host(), Some(ALPN), self.unix_s).await;
            stream = secured.map_err(|source| DeliveryError::Secure { source })?.stream;
        }
        send(stream, request).await.map_err(|source| DeliveryError::Exchange { source })
    }
}

fn request(endpoint: &Endpoint, method: Method, message: Message) -> Result<Request<Bytes>, http::Error> {
    let mut request = Request::builder()
        .method(method)
        .uri(endpoint.target())
        .header(header::HOST, endpoint.host_header())
        .header(header::USER_AGENT, concat!("heartbeat/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close");
    for (name, value) in message.headers {
        request = request.header(name, value);
    }
    request.body(message.body)
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
