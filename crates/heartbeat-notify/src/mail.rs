//! One delivery of a mail: a fresh connection, a handshake, one message.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use heartbeat_http::{ConnectError, Sockets, Stream, Tls, TlsError, connect};
use heartbeat_status::sanitise_line;
use lettre::Message;
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::extension::ClientId;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{sleep, timeout_at};

use crate::target::{Security, Smtp};

/// Longest delivery of a mail, from the connect to the answer to its last line.
const MAIL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer of a server before the handshake, in bytes.
const MAX_REPLY_BYTES: usize = 8 * 1_024;
/// Longest part of an answer of a server in an error, in characters.
const MAX_SAID_CHARS: usize = 200;

/// What lettre says when a connection ends within an answer.
const CUT_SHORT: &str = "incomplete response";

/// Why a mail was not delivered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MailError {
    /// The connection could not be made.
    #[error("cannot connect to the mail server: {source}")]
    Connect {
        /// The error below.
        #[source]
        source: ConnectError,
    },
    /// The TLS handshake failed, or the certificate must not be trusted. Nothing was sent.
    #[error("no secure connection to the mail server: {source}")]
    Secure {
        /// The underlying error.
        #[source]
        source: TlsError,
    },
    /// The server offers no STARTTLS. Nothing was sent.
    #[error(
        "the mail server does not offer STARTTLS, so heartbeatd sent nothing: write `smtps://` if its port begins with TLS"
    )]
    NoTls,
    /// The connection broke.
    #[error("the connection to the mail server broke: {source}")]
    Broken {
        /// The error below.
        #[source]
        source: io::Error,
    },
    /// The server refuses the mail.
    #[error("the mail server refuses it: {said}")]
    Refused {
        /// What it said, with its code.
        said: String,
        /// The same again would be refused again (5xx).
        is_final: bool,
    },
    /// What came is not SMTP.
    #[error("the mail server does not speak SMTP: {said}")]
    NotSmtp {
        /// What came, or what is wrong with it.
        said: String,
    },
    /// The server took too long.
    #[error("the mail server took longer than {after:?}")]
    TimedOut {
        /// Time limit: `MAIL_TIMEOUT`.
        after: Duration,
    },
    /// The mail cannot be made from this document; trying again would not help.
    #[error("the mail cannot be made: {why}")]
    Message {
        /// What is wrong.
        why: String,
    },
}

impl MailError {
    /// Whether another attempt can succeed.
    pub(crate) const fn is_transient(&self) -> bool {
        match self {
            Self::Message { .. } => false,
            Self::Refused { is_final, .. } => !*is_final,
            _ => true,
        }
    }
}

impl From<smtp::Error> for MailError {
    fn from(error: smtp::Error) -> Self {
        let said = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        // What the parser says before it names its place is not for people.
        let said = said.split_once(" at: ").map_or(said.as_str(), |(_, rest)| rest);
        let said = sanitise_line(said).chars().take(MAX_SAID_CHARS).collect::<String>();
        match error.status() {
            Some(code) => Self::Refused { said: format!("{code} {said}"), is_final: error.is_permanent() },
            None if said == CUT_SHORT => Self::Broken { source: io::ErrorKind::UnexpectedEof.into() },
            None if error.is_response() => Self::NotSmtp { said },
            None => Self::Broken { source: io::Error::other(said) },
        }
    }
}

/// Delivers a mail, at `unix_s` seconds since 1970.
pub(crate) async fn send(
    to: &Smtp,
    mail: &Message,
    (sockets, unix_s): (&dyn Sockets, u64),
) -> Result<(), MailError> {
    let deadline = sleep(MAIL_TIMEOUT).deadline();
    let sent = timeout_at(deadline, async {
        let mut connection = open(to, sockets, unix_s).await?;
        if let Some(login) = &to.login {
            let credentials = Credentials::new(login.user.clone(), login.password.clone());
            connection.auth(DEFAULT_MECHANISMS, &credentials).await?;
        }
        connection.send(mail.envelope(), &mail.formatted()).await?;
        Ok::<_, MailError>(connection)
    });
    let mut connection = sent.await.map_err(|_| MailError::TimedOut { after: MAIL_TIMEOUT })??;
    // The server has the mail: how the conversation ends changes nothing.
    drop(timeout_at(deadline, connection.quit()).await);
    Ok(())
}

async fn open(to: &Smtp, sockets: &dyn Sockets, unix_s: u64) -> Result<AsyncSmtpConnection, MailError> {
    let connected = connect(sockets, &to.server).await;
    let mut stream = Stream::Tcp(connected.map_err(|source| MailError::Connect { source })?);
    let secured = async |tls: &Tls, stream: Stream| {
        let secured = tls.handshake(stream, to.server.host(), None, unix_s).await;
        secured.map(|secured| secured.stream).map_err(|source| MailError::Secure { source })
    };
    let mut greeting = Vec::new();
    match &to.security {
        Security::Tls(tls) => stream = secured(tls, stream).await?,
        Security::StartTls(tls) => {
            greeting = start_tls(&mut stream).await?;
            stream = secured(tls, stream).await?;
        }
        Security::Plain => {}
    }
    let stream = Box::new(MailStream { greeting, stream });
    Ok(AsyncSmtpConnection::connect_with_transport(stream, &ClientId::default()).await?)
}

/// Asks the server for TLS. Returns its greeting: a client expects one, and behind the handshake no other follows.
async fn start_tls(stream: &mut Stream) -> Result<Vec<u8>, MailError> {
    let greeting = reply(stream).await?;
    let hello = format!("EHLO {}\r\n", ClientId::default());
    let offers = ask(stream, hello.as_bytes()).await?;
    let is_offered =
        |line: &str| line.get(4..).is_some_and(|word| word.trim().eq_ignore_ascii_case("STARTTLS"));
    if !String::from_utf8_lossy(&offers).lines().any(is_offered) {
        return Err(MailError::NoTls);
    }
    ask(stream, b"STARTTLS\r\n").await?;
    Ok(greeting)
}

async fn ask(stream: &mut Stream, command: &[u8]) -> Result<Vec<u8>, MailError> {
    stream.write_all(command).await.map_err(|source| MailError::Broken { source })?;
    reply(stream).await
}

/// One answer, which accepts. Nothing may follow it: what comes before the handshake must not count behind it.
async fn reply(stream: &mut Stream) -> Result<Vec<u8>, MailError> {
    let mut reply = Vec::new();
    let mut chunk = [0; 1_024];
    let said = |reply: &[u8]| {
        let text = String::from_utf8_lossy(reply);
        sanitise_line(text.trim()).chars().take(MAX_SAID_CHARS).collect::<String>()
    };
    let end = loop {
        let read = stream.read(&mut chunk).await.map_err(|source| MailError::Broken { source })?;
        if read == 0 {
            return Err(MailError::Broken { source: io::ErrorKind::UnexpectedEof.into() });
        }
        reply.extend_from_slice(&chunk[..read]);
        if let Some(end) = end_of_reply(&reply) {
            break end;
        }
        if reply.len() > MAX_REPLY_BYTES {
            return Err(MailError::NotSmtp { said: said(&reply) });
        }
    };
    match reply.first() {
        Some(b'2') if end == reply.len() => Ok(reply),
        Some(digit @ (b'4' | b'5')) => {
            Err(MailError::Refused { said: said(&reply[..end]), is_final: *digit == b'5' })
        }
        _ => Err(MailError::NotSmtp { said: said(&reply) }),
    }
}

/// Where the last line of an answer ends: its code has no `-` behind it.
fn end_of_reply(reply: &[u8]) -> Option<usize> {
    let mut end = 0;
    for line in reply.split_inclusive(|byte| *byte == b'\n') {
        end += line.len();
        if line.ends_with(b"\n") && line.get(3) != Some(&b'-') {
            return Some(end);
        }
    }
    None
}

/// A connection that has greeted already.
struct MailStream {
    /// What is read first.
    greeting: Vec<u8>,
    stream: Stream,
}

impl fmt::Debug for MailStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MailStream")
    }
}

impl AsyncRead for MailStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.stream).poll_read(ctx, buf);
        }
        let count = buf.remaining().min(self.greeting.len());
        buf.put_slice(&self.greeting[..count]);
        self.greeting.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MailStream {
    fn poll_write(mut self: Pin<&mut Self>, ctx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(ctx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(ctx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(ctx)
    }
}

impl AsyncTokioStream for MailStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_the_line_that_has_no_dash() {
        assert_eq!(end_of_reply(b"220 mail\r\n"), Some(10));
        assert_eq!(end_of_reply(b"250-mail\r\n250 STARTTLS\r\nmore"), Some(24));
        assert_eq!((end_of_reply(b"250-mail\r\n"), end_of_reply(b"250 ma")), (None, None));
    }
}
