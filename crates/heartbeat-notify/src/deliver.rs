//! One delivery attempt: a fresh connection and one request, or one run of a program, with one deadline.

use std::time::Duration;

use bytes::Bytes;
use heartbeat_http::{OpenResponse, SYSTEM, Stream, connect, send};
use http::{Method, Request, StatusCode, header};
use thiserror::Error;
use tokio::time::{sleep, timeout_at};

use crate::mirror::Sent;
use crate::target::{Alert, Call, Letter, Message, Replied, Way, alerts};
use crate::{DeliveryError, Endpoint, Programs, Receiver, SlackBot, Template, mail, retry_after};

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

/// Delivers the message, at `unix_s` seconds since 1970. Returns what the receiver calls it, where later messages about
/// the incident need that.
pub(crate) async fn post(
    receiver: &Receiver,
    letter: &Letter,
    programs: &dyn Programs,
    unix_s: u64,
) -> Result<Option<String>, Failure> {
    let template = receiver.template.as_ref();
    let message = || receiver.target.message(letter, template, unix_s);
    match receiver.target.way() {
        Way::Http(endpoint) => drop(send_to(endpoint, (Method::POST, message()?), unix_s).await?),
        Way::Program(program) => {
            let ended = programs.run(program, message()?.body.to_vec()).await;
            ended.map_err(|source| DeliveryError::Program { source })?;
        }
        Way::Mail(smtp) => {
            let of_mail = |source| DeliveryError::Mail { source };
            let mail = smtp.mail(letter, template, unix_s).map_err(of_mail)?;
            mail::send(smtp, &mail, unix_s).await.map_err(of_mail)?;
        }
        Way::Slack(bot) => return say(bot, letter, template, unix_s).await,
    }
    Ok(None)
}

/// Edits the message that Slack has of an incident, answers it, or posts one. Returns what Slack calls the message.
async fn say(
    bot: &SlackBot,
    letter: &Letter,
    template: Option<&Template>,
    unix_s: u64,
) -> Result<Option<String>, Failure> {
    let text = letter.text(template);
    let known = letter.conversation.as_deref();
    for Call { endpoint, message } in bot.calls(letter, &text, known)? {
        let answer = send_to(endpoint, (Method::POST, message), unix_s).await?;
        match SlackBot::read(letter, &answer)? {
            Replied::Done(name) if known.is_none() => return Ok(name),
            Replied::Done(_) => {}
            // The channel was cleaned up: the incident begins anew there.
            Replied::Gone => {
                let message = bot.first(letter, &text)?;
                let answer = send_to(&bot.post, (Method::POST, message), unix_s).await?;
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
pub(crate) async fn post_all(receiver: &Receiver, states: &[Sent], unix_s: u64) -> Result<(), Failure> {
    let states = states.iter().map(|Sent { document, is_over }| Alert { document, is_over: *is_over });
    let message = alerts(states, unix_s)?;
    match receiver.target.way() {
        Way::Http(endpoint) => send_to(endpoint, (Method::POST, message), unix_s).await.map(drop),
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
    send_to(endpoint, (Method::GET, nothing), unix_s).await.map(drop).map_err(|failure| failure.error)
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
    let sent = send_to(endpoint, (Method::POST, message), unix_s).await;
    sent.map(drop).map_err(|Failure { error, retry_after }| PostError { error, retry_after })
}

async fn send_to(
    endpoint: &Endpoint,
    (method, message): (Method, Message),
    unix_s: u64,
) -> Result<Vec<u8>, Failure> {
    let request = request(endpoint, method, message).map_err(|source| DeliveryError::Request { source })?;
    let deadline = sleep(ATTEMPT_TIMEOUT).deadline();
    let answer = timeout_at(deadline, exchange(endpoint, request, unix_s)).await;
    let mut answer = answer.map_err(|_| DeliveryError::TimedOut { after: ATTEMPT_TIMEOUT })??;
    // Reads the body also where the verdict does not depend on it, so that the receiver gets no reset while it writes.
    let body = timeout_at(deadline, answer.body.read(MAX_ANSWER_BYTES)).await;
    verdict(answer.head.status, retry_after::asked(&answer.head.headers, unix_s))?;
    Ok(body.ok().and_then(Result::ok).map(|(body, _)| body).unwrap_or_default())
}

async fn exchange(
    endpoint: &Endpoint,
    request: Request<Bytes>,
    unix_s: u64,
) -> Result<OpenResponse, DeliveryError> {
    let stream = connect(&SYSTEM, endpoint.address()).await;
    let mut stream = Stream::Tcp(stream.map_err(|source| DeliveryError::Connect { source })?);
    if let Some(tls) = endpoint.tls() {
        let secured = tls.handshake(stream, endpoint.address().host(), Some(ALPN), unix_s).await;
        stream = secured.map_err(|source| DeliveryError::Secure { source })?.stream;
    }
    send(stream, request).await.map_err(|source| DeliveryError::Exchange { source })
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
