//! Redis: AUTH, PING, and one more command with a condition on its reply.

use std::fmt;

use heartbeat_http::Stream;
use heartbeat_status::printed::quoted;
use heartbeat_status::{DegradedReason, FailReason, Outcome, ProbeKind, ProbePhase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::broken::{Broken, io_broken};
use crate::clock;
use crate::expectation::{Expectation, ExpectationError};
use crate::kind::talks;
use crate::measure::Seen;
use crate::progress::Progress;
use crate::server::{Parts, Secret, ServerError};
use crate::target::Target;

/// Port of a URL that names none.
const DEFAULT_PORT: u16 = 6379;
/// Longest line of a reply, and longest part of a bulk reply that is kept, in bytes.
const MAX_REPLY_BYTES: usize = 16 * 1024;
/// Longest bulk reply that is read to its end, in bytes.
const MAX_BULK_BYTES: usize = 1024 * 1024;
/// Longest part of a reply that is shown, in characters.
const MAX_SHOWN_CHARS: usize = 80;

/// Connects to Redis, authenticates where a password is set, and sends PING. Passes when the server answers `PONG`, or
/// asks for a password that the probe does not have. A server that loads its data does not serve yet.
#[derive(Clone, PartialEq)]
pub struct RedisProbe {
    target: Target,
    user: Option<String>,
    password: Option<Secret>,
    command: Option<(Vec<String>, Expectation)>,
}

impl fmt::Debug for RedisProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisProbe").field("target", &self.target).finish_non_exhaustive()
    }
}

/// A reply in the protocol's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reply {
    /// A status, a number or a bulk text.
    Text(String),
    /// An error: its code and its text.
    Error(String),
    /// A key without a value.
    Nothing,
    /// A list, of which only the length is read.
    List(String),
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::List(text) => f.write_str(text),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Nothing => f.write_str("no value"),
        }
    }
}

impl RedisProbe {
    /// A probe of `redis://[user@]host[:port]` (port 6379 by default), or of `redis://unix:/run/redis.sock`. With the
    /// feature `tls`, `rediss://` connects by TLS and trusts the system's roots.
    ///
    /// # Errors
    /// [`ServerError`] when the URL is malformed or carries a password.
    pub fn new(url: &str) -> Result<Self, ServerError> {
        Self::made(
            ServerError::parts(url, &["redis", "rediss"], DEFAULT_PORT)?.with_default_tls("rediss", None)?,
        )
    }

    /// As [`new`](Self::new) by TLS, with other roots, a client certificate, or another name to verify.
    ///
    /// # Errors
    /// As for [`new`](Self::new), and when a file cannot be used.
    #[cfg(feature = "tls")]
    pub fn with_tls(url: &str, options: &crate::TlsOptions) -> Result<Self, ServerError> {
        Self::made(ServerError::parts(url, &["redis", "rediss"], DEFAULT_PORT)?.with_tls(options, None)?)
    }

    fn made(parts: Parts) -> Result<Self, ServerError> {
        if parts.path.is_some() || parts.query.is_some() {
            return Err(ServerError::Url { scheme: "redis", port: DEFAULT_PORT });
        }
        Ok(Self { target: parts.target, user: parts.user, password: None, command: None })
    }

    /// Authenticates with this password, as the user of the URL or the default user.
    #[must_use]
    pub fn with_password(self, password: impl Into<String>) -> Self {
        Self { password: Some(Secret::new(password.into())), ..self }
    }

    /// Sends `command` after PING. Passes when its reply contains `expect`, or satisfies a comparison such as
    /// `"< 100"`.
    ///
    /// # Errors
    /// [`ExpectationError`] for a comparison with something that is not a number.
    pub fn with_command(self, command: Vec<String>, expect: &str) -> Result<Self, ExpectationError> {
        Ok(Self { command: Some((command, Expectation::parse(expect)?)), ..self })
    }

    async fn talk(&self, progress: &mut Progress<'_>) -> Seen {
        let mut stream = self.target.connect(progress).await?;
        let connected = clock::now();
        if let Some(password) = &self.password {
            let words: Vec<&str> =
                ["AUTH"].into_iter().chain(self.user.as_deref()).chain([password.reveal()]).collect();
            progress.note('>', format_args!("AUTH (hidden)"));
            let reply = asked(&mut stream, &words).await?;
            progress.note('<', format_args!("{reply}"));
            progress.times.first_byte.get_or_insert_with(|| clock::now().since(connected));
            if let Some(seen) = refused_login(&reply) {
                return seen;
            }
        }
        progress.note('>', format_args!("PING"));
        let reply = asked(&mut stream, &["PING"]).await?;
        progress.note('<', format_args!("{reply}"));
        progress.times.first_byte.get_or_insert_with(|| clock::now().since(connected));
        let pong = match reply {
            Reply::Text(text) if text == "PONG" => (Outcome::Pass, text),
            Reply::Error(error) => {
                return match (evaluate(&error), &self.command) {
                    (Ok((Outcome::Pass, detail)), Some((command, _))) => Err(Broken::fail(
                        FailReason::ConditionMissing,
                        ProbePhase::FirstByte,
                        format!("{detail}: {} did not run", command.join(" ")),
                    )),
                    (seen, _) => seen,
                };
            }
            Reply::Text(other) | Reply::List(other) => return Err(not_redis(other.as_bytes())),
            Reply::Nothing => return Err(not_redis(b"no value")),
        };
        match &self.command {
            None => Ok(pong),
            Some((command, expected)) => {
                let words: Vec<&str> = command.iter().map(String::as_str).collect();
                progress.note('>', format_args!("{}", words.join(" ")));
                let reply = asked(&mut stream, &words).await?;
                progress.note('<', format_args!("{reply}"));
                met(&words, expected, reply)
            }
        }
    }
}

talks!(RedisProbe, redis => ProbeKind::Redis, redis.target.endpoint());

/// Whether the reply to the configured command is the expected one.
fn met(words: &[&str], expected: &Expectation, reply: Reply) -> Seen {
    let command = words.join(" ");
    let failed = |reason, detail| Err(Broken::fail(reason, ProbePhase::FirstByte, detail));
    match reply {
        Reply::Error(error) => {
            failed(FailReason::ConditionFailed, format!("{command}: {}", shortened(&error)))
        }
        Reply::Nothing => failed(FailReason::ConditionMissing, format!("{command}: no value")),
        Reply::Text(text) | Reply::List(text) => match expected.check(&text) {
            Ok(()) => Ok((Outcome::Pass, format!("{command}: {}", shortened(&text)))),
            Err(why) => failed(FailReason::ConditionFailed, format!("{command}: {} {why}", shortened(&text))),
        },
    }
}

/// The verdict for a reply to AUTH that is not `OK`; `None` for one that is, and for a server that needs no password.
fn refused_login(reply: &Reply) -> Option<Seen> {
    match reply {
        Reply::Text(text) if text == "OK" => None,
        // An old server says "no password is set", a new one "without any password configured".
        Reply::Error(error)
            if error.contains("no password is set") || error.contains("without any password") =>
        {
            None
        }
        Reply::Error(error) if error.starts_with("LOADING") => Some(evaluate(error)),
        // The server serves, and a restart would not change its password.
        Reply::Error(error) => {
            let detail = format!("answers, but refuses the login: {}", shortened(error));
            Some(Ok((Outcome::Degraded(DegradedReason::BadCredentials), detail)))
        }
        other => Some(Err(not_redis(format!("{other:?}").as_bytes()))),
    }
}

/// The verdict for an error reply to PING.
fn evaluate(error: &str) -> Seen {
    match error.split(' ').next().unwrap_or_default() {
        "NOAUTH" => Ok((Outcome::Pass, "answers, and wants a password".to_owned())),
        "LOADING" => Err(Broken::fail(FailReason::StartingUp, ProbePhase::FirstByte, quoted(error))),
        _ => Ok((Outcome::Degraded(DegradedReason::ReportedDegraded), shortened(error))),
    }
}

fn not_redis(answer: &[u8]) -> Broken {
    let seen = String::from_utf8_lossy(&answer[..answer.len().min(40)]).into_owned();
    Broken::fail(
        FailReason::Protocol,
        ProbePhase::FirstByte,
        format!("not an answer of Redis: {}", quoted(&format!("{seen:?}"))),
    )
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => quoted(&format!("{}…", &text[..end])),
        None => quoted(text),
    }
}

/// Sends one command in the protocol's own form, which servers that rename commands still know, and reads its reply.
async fn asked(stream: &mut Stream, words: &[&str]) -> Result<Reply, Broken> {
    let broken = |error: std::io::Error| io_broken(&error, ProbePhase::FirstByte);
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        request.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    stream.write_all(&request).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let line = line(stream).await?;
    let text = String::from_utf8_lossy(&line);
    let Some((kind, rest)) = text.split_at_checked(1) else { return Err(not_redis(&line)) };
    match (kind, rest.parse::<i64>()) {
        ("+", _) => Ok(Reply::Text(rest.to_owned())),
        ("-", _) => Ok(Reply::Error(rest.to_owned())),
        (":", Ok(number)) => Ok(Reply::Text(number.to_string())),
        ("_", _) | ("$" | "*", Ok(-1)) => Ok(Reply::Nothing),
        ("*", Ok(length)) => Ok(Reply::List(format!("a list of {length}"))),
        ("$", Ok(length)) => bulk(stream, usize::try_from(length).unwrap_or(usize::MAX)).await,
        _ => Err(not_redis(&line)),
    }
}

/// One line without its end.
async fn line(stream: &mut Stream) -> Result<Vec<u8>, Broken> {
    let mut line = Vec::new();
    // Byte by byte, so that nothing of what follows is read; the socket's buffer has it already.
    while line.len() < MAX_REPLY_BYTES {
        let byte = stream.read_u8().await.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => not_redis(&line),
            _ => io_broken(&error, ProbePhase::FirstByte),
        })?;
        match (byte, line.last()) {
            (b'\n', Some(b'\r')) => {
                line.pop();
                return Ok(line);
            }
            _ => line.push(byte),
        }
    }
    Err(not_redis(&line))
}

/// The text of a bulk reply, of which the beginning is kept.
async fn bulk(stream: &mut Stream, length: usize) -> Result<Reply, Broken> {
    if length > MAX_BULK_BYTES {
        let detail = format!("a reply of {length} bytes, more than {} KiB", MAX_BULK_BYTES / 1024);
        return Err(Broken::fail(FailReason::BodyTooLarge, ProbePhase::FirstByte, detail));
    }
    let (mut kept, mut left) = (Vec::new(), length + 2);
    let mut chunk = [0; 1024];
    while left > 0 {
        let most = left.min(chunk.len());
        let read = stream.read(&mut chunk[..most]).await;
        let read = read.map_err(|error| io_broken(&error, ProbePhase::FirstByte))?;
        if read == 0 {
            return Err(not_redis(b"the end of the connection within a reply"));
        }
        left -= read;
        let room = MAX_REPLY_BYTES.min(length) - kept.len();
        kept.extend_from_slice(&chunk[..read.min(room)]);
    }
    Ok(Reply::Text(String::from_utf8_lossy(&kept).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(seen: Seen) -> Outcome {
        match seen {
            Ok((outcome, _)) => outcome,
            Err(broken) => broken.outcome,
        }
    }

    #[test]
    fn each_error_has_its_verdict() {
        let fail = |reason| Outcome::Fail { reason, phase: Some(ProbePhase::FirstByte) };
        assert_eq!(outcome(evaluate("NOAUTH Authentication required.")), Outcome::Pass);
        assert_eq!(outcome(evaluate("LOADING Redis is loading")), fail(FailReason::StartingUp));
        assert_eq!(
            outcome(evaluate("MISCONF Redis is configured")),
            Outcome::Degraded(DegradedReason::ReportedDegraded)
        );
        let login = |error: &str| refused_login(&Reply::Error(error.to_owned())).map(outcome);
        let refused = Some(Outcome::Degraded(DegradedReason::BadCredentials));
        assert_eq!(login("WRONGPASS invalid username-password pair or user is disabled."), refused);
        assert_eq!(login("ERR invalid password"), refused);
        assert_eq!(login("ERR Client sent AUTH, but no password is set"), None);
        assert_eq!(login("LOADING Redis is loading"), Some(fail(FailReason::StartingUp)));
        assert_eq!(refused_login(&Reply::Text("OK".into())), None);
    }

    #[test]
    fn a_reply_meets_its_expectation_or_not() {
        let met = |expect: &str, reply: Reply| {
            outcome(met(&["LLEN", "celery"], &Expectation::parse(expect).unwrap(), reply))
        };
        let text = |text: &str| Reply::Text(text.to_owned());
        let fail = |reason| Outcome::Fail { reason, phase: Some(ProbePhase::FirstByte) };
        assert_eq!(met("< 100", text("99")), Outcome::Pass);
        assert_eq!(met("role:master", text("# Replication\nrole:master\n")), Outcome::Pass);
        assert_eq!(met("< 100", text("100")), fail(FailReason::ConditionFailed));
        assert_eq!(met("< 100", text("many")), fail(FailReason::ConditionFailed));
        assert_eq!(met("< 100", Reply::Nothing), fail(FailReason::ConditionMissing));
        assert_eq!(met("< 100", Reply::Error("WRONGTYPE".into())), fail(FailReason::ConditionFailed));
    }

    #[test]
    fn secrets_do_not_show() {
        let probe = RedisProbe::new("redis://shop@db").unwrap().with_password("hunter2");
        assert!(!format!("{probe:?}").contains("hunter2"));
        assert!(
            RedisProbe::new("redis://shop:hunter2@db").is_err() && RedisProbe::new("redis://db/1").is_err()
        );
    }
}
