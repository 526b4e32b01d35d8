//! PostgreSQL: the start of a session, evaluated as `pg_isready` does.

mod scram;

use std::fmt;

use heartbeat_http::Stream;
use heartbeat_status::printed::quoted;
use heartbeat_status::{DegradedReason, FailReason, InconclusiveReason, Outcome, ProbeKind, ProbePhase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::broken::{Broken, io_broken};
use crate::clock;
use crate::expectation::{Expectation, ExpectationError};
use crate::kind::talks;
use crate::measure::Seen;
use crate::progress::Progress;
use crate::server::{Parts, Secret, ServerError};
use crate::target::Target;
use scram::{MECHANISM, Scram, ScramError};

/// Port of a URL that names none.
const DEFAULT_PORT: u16 = 5432;
/// User of a URL that names none.
const DEFAULT_USER: &str = "postgres";
/// Version 3.0 of the protocol.
const PROTOCOL_VERSION: u32 = 196_608;
/// Longest message that is read.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// Most messages of one query, which should yield one row.
const MAX_QUERY_MESSAGES: usize = 256;
/// Longest part of a value that is shown, in characters.
const MAX_SHOWN_CHARS: usize = 80;
/// Asks for TLS before the session begins.
#[cfg(feature = "tls")]
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// Messages of the password exchange.
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;
/// Most messages before the server is ready: one per parameter, and a few.
const MAX_MESSAGES: usize = 64;

/// Begins a session with PostgreSQL and ends it politely. Passes when the server accepts connections: it is ready, or
/// asks for a password, or refuses this user or database; as `pg_isready` does. A server that is starting up,
/// shutting down or recovering says so and fails.
#[derive(Clone, PartialEq)]
pub struct PostgresProbe {
    target: Target,
    user: String,
    database: String,
    password: Option<Secret>,
    query: Option<(String, Expectation)>,
}

impl fmt::Debug for PostgresProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresProbe").field("target", &self.target).finish_non_exhaustive()
    }
}

impl PostgresProbe {
    /// A probe of `postgres://[user@]host[:port][/database]`: port 5432, user `postgres`, the database of that name.
    /// `?sslmode=require` asks the server for TLS and trusts the system's roots; `?sslmode=disable` is the default.
    ///
    /// # Errors
    /// [`ServerError`] when the URL is malformed or carries a password.
    pub fn new(url: &str) -> Result<Self, ServerError> {
        let (probe, parts) = Self::made(url)?;
        match parts.query.as_deref() {
            None | Some("sslmode=disable") => Ok(probe),
            #[cfg(feature = "tls")]
            Some("sslmode=require" | "sslmode=verify-ca" | "sslmode=verify-full") => {
                Self::with_tls(url, &crate::TlsOptions::default())
            }
            #[cfg(not(feature = "tls"))]
            Some("sslmode=require" | "sslmode=verify-ca" | "sslmode=verify-full") => Err(ServerError::NoTls),
            Some(_) => Err(ServerError::Url { scheme: "postgres", port: DEFAULT_PORT }),
        }
    }

    /// As [`new`](Self::new) by TLS, with other roots, a client certificate, or another name to verify.
    ///
    /// # Errors
    /// As for [`new`](Self::new), and when a file cannot be used.
    #[cfg(feature = "tls")]
    pub fn with_tls(url: &str, options: &crate::TlsOptions) -> Result<Self, ServerError> {
        let (mut probe, _) = Self::made(url)?;
        probe.target.secure = Some(crate::secure::Secure::new(options, None)?);
        Ok(probe)
    }

    fn made(url: &str) -> Result<(Self, Parts), ServerError> {
        let parts = ServerError::parts(url, &["postgres", "postgresql"], DEFAULT_PORT)?;
        let user = parts.user.clone().unwrap_or_else(|| DEFAULT_USER.to_owned());
        let database = parts.path.clone().unwrap_or_else(|| user.clone());
        let target = parts.target.clone();
        Ok((Self { target, user, database, password: None, query: None }, parts))
    }

    /// Authenticates with this password: by SCRAM-SHA-256, or in plain text where the session has TLS.
    #[must_use]
    pub fn with_password(self, password: impl Into<String>) -> Self {
        Self { password: Some(Secret::new(password.into())), ..self }
    }

    /// Sends `query` once the session is ready. Passes when the first column of the first row contains `expect`, or
    /// satisfies a comparison such as `"< 100"`.
    ///
    /// # Errors
    /// [`ExpectationError`] for a comparison with something that is not a number.
    pub fn with_query(self, query: impl Into<String>, expect: &str) -> Result<Self, ExpectationError> {
        Ok(Self { query: Some((query.into(), Expectation::parse(expect)?)), ..self })
    }

    /// The first message of a session.
    fn startup(&self) -> Vec<u8> {
        let mut body = PROTOCOL_VERSION.to_be_bytes().to_vec();
        let pairs =
            [("user", self.user.as_str()), ("database", &self.database), ("application_name", "heartbeat")];
        for (name, value) in pairs {
            body.extend_from_slice(name.as_bytes());
            body.push(0);
            body.extend_from_slice(value.as_bytes());
            body.push(0);
        }
        body.push(0);
        let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
        [length.to_be_bytes().as_slice(), &body].concat()
    }

    async fn talk(&self, progress: &mut Progress<'_>) -> Seen {
        let mut stream = self.open(progress).await?;
        let connected = clock::now();
        progress.note('>', format_args!("session of {} in {}", self.user, self.database));
        stream.write_all(&self.startup()).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        for _ in 0..MAX_MESSAGES {
            let (kind, body) = message(&mut stream).await?;
            progress.times.first_byte.get_or_insert_with(|| clock::now().since(connected));
            match kind {
                b'R' => match (authentication(&body), &self.password) {
                    (Authentication::Accepted, _) => {}
                    (_, None) => {
                        return self.without_query(Ok((Outcome::Pass, "accepts connections".to_owned())));
                    }
                    (asked, Some(password)) => {
                        if let Some(seen) = log_in(&mut stream, &asked, password).await? {
                            return self.without_query(seen);
                        }
                    }
                },
                b'Z' => {
                    progress.note('<', format_args!("ready"));
                    if let Some((query, _)) = &self.query {
                        progress.note('>', format_args!("{query}"));
                    }
                    return self.ready(&mut stream).await;
                }
                b'E' => return self.without_query(refused(&body, self.password.is_some())),
                // Parameters, the key for cancelling, notices.
                b'S' | b'K' | b'N' | b'v' => {}
                other => return Err(not_postgres(&[other])),
            }
        }
        Err(not_postgres(b"messages without end"))
    }

    /// A server that serves, and has not been asked what the probe is to ask, is no pass.
    fn without_query(&self, seen: Seen) -> Seen {
        match (seen, &self.query) {
            (Ok((Outcome::Pass, detail)), Some(_)) => Err(Broken::fail(
                FailReason::ConditionMissing,
                ProbePhase::FirstByte,
                format!("{detail}, but the query did not run"),
            )),
            (seen, _) => seen,
        }
    }

    /// Connects, and asks for TLS where the probe wants it.
    async fn open(&self, progress: &mut Progress<'_>) -> Result<Stream, Broken> {
        #[cfg(feature = "tls")]
        if self.target.secure.is_some() {
            let mut stream = self.target.open(progress).await?;
            progress.phase = ProbePhase::Tls;
            let broken = |error: std::io::Error| io_broken(&error, ProbePhase::Tls);
            stream.write_all(&SSL_REQUEST).await.map_err(broken)?;
            // One byte, so that nothing that follows it in plain text is taken for a part of the session.
            return match stream.read_u8().await.map_err(broken)? {
                b'S' => self.target.secure(stream, progress).await,
                b'N' => {
                    let detail = "the server does not offer TLS";
                    Err(Broken::fail(FailReason::Protocol, ProbePhase::Tls, detail))
                }
                other => Err(not_postgres(&[other])),
            };
        }
        self.target.connect(progress).await
    }

    /// Runs the query, if there is one, and ends the session.
    async fn ready(&self, stream: &mut Stream) -> Seen {
        let seen = match &self.query {
            None => Ok((Outcome::Pass, "ready".to_owned())),
            Some((query, expected)) => {
                send(stream, b'Q', &[query.as_bytes(), &[0]].concat()).await?;
                met(&first_value(stream).await?, expected)
            }
        };
        // Terminate keeps the server's log quiet; the connection is closed either way.
        let _ = stream.write_all(b"X\0\0\0\x04").await;
        let _ = stream.flush().await;
        seen
    }
}

talks!(PostgresProbe, postgres => ProbeKind::Postgres, postgres.target.endpoint());

/// What the server asks for before it lets a session in.
#[derive(Debug, PartialEq, Eq)]
enum Authentication {
    Accepted,
    PlainText,
    Md5,
    Scram,
    /// A kind that this probe does not know, or a message in the wrong place.
    Other,
}

fn authentication(body: &[u8]) -> Authentication {
    let Some((code, rest)) = body.split_first_chunk::<4>() else { return Authentication::Other };
    match u32::from_be_bytes(*code) {
        0 => Authentication::Accepted,
        3 => Authentication::PlainText,
        5 => Authentication::Md5,
        10 if rest.split(|byte| *byte == 0).any(|name| name == MECHANISM.as_bytes()) => Authentication::Scram,
        _ => Authentication::Other,
    }
}

/// Answers the server's question for credentials. `Some` ends the measurement.
async fn log_in(
    stream: &mut Stream,
    asked: &Authentication,
    password: &Secret,
) -> Result<Option<Seen>, Broken> {
    let how = match asked {
        Authentication::Scram => return scram(stream, password).await,
        Authentication::PlainText if stream.is_tls() => {
            send(stream, b'p', &[password.reveal().as_bytes(), &[0]].concat()).await?;
            return Ok(None);
        }
        Authentication::PlainText => "asks for the password in plain text, which is sent by TLS only",
        Authentication::Md5 => "asks for an MD5 password, which is not supported: use scram-sha-256",
        _ => "asks for credentials of a kind that is not supported",
    };
    let detail = format!("accepts connections, but {how}");
    Ok(Some(Ok((Outcome::Degraded(DegradedReason::BadCredentials), detail))))
}

/// Proves that both sides know the password. `Some` ends the measurement.
async fn scram(stream: &mut Stream, password: &Secret) -> Result<Option<Seen>, Broken> {
    let failed = |error: ScramError| match error {
        ScramError::NoRandom => Broken::inconclusive(InconclusiveReason::MonitorResources, error.to_string()),
        _ => Broken::fail(FailReason::Protocol, ProbePhase::FirstByte, error.to_string()),
    };
    let scram = Scram::new(password.reveal()).map_err(failed)?;
    let first = scram.first();
    let length = u32::try_from(first.len()).unwrap_or(u32::MAX).to_be_bytes();
    send(stream, b'p', &[MECHANISM.as_bytes(), &[0], &length, first.as_bytes()].concat()).await?;
    let server_first = match sasl(stream, SASL_CONTINUE).await? {
        Ok(text) => text,
        Err(seen) => return Ok(Some(seen)),
    };
    let proof = scram.answer(&server_first).map_err(failed)?;
    send(stream, b'p', proof.message.as_bytes()).await?;
    match sasl(stream, SASL_FINAL).await? {
        Ok(text) => proof.verify(&text).map(|()| None).map_err(failed),
        Err(seen) => Ok(Some(seen)),
    }
}

/// The text of the next message of the exchange, or the verdict where the server refuses it.
async fn sasl(stream: &mut Stream, code: u32) -> Result<Result<String, Seen>, Broken> {
    let (kind, body) = message(stream).await?;
    match (kind, body.split_first_chunk::<4>()) {
        (b'E', _) => Ok(Err(refused(&body, true))),
        (b'R', Some((found, text))) if u32::from_be_bytes(*found) == code => {
            Ok(Ok(String::from_utf8_lossy(text).into_owned()))
        }
        _ => Err(not_postgres(&[kind])),
    }
}

/// What a query yields.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Yield {
    NoRow,
    /// The first column of the first row; `None` for NULL.
    Value(Option<String>),
    /// The words of the server.
    Error(String),
}

async fn first_value(stream: &mut Stream) -> Result<Yield, Broken> {
    let mut value = Yield::NoRow;
    for _ in 0..MAX_QUERY_MESSAGES {
        let (kind, body) = message(stream).await?;
        match kind {
            b'Z' => return Ok(value),
            b'E' => value = Yield::Error(field(&body, b'M').unwrap_or_default()),
            b'D' if value == Yield::NoRow => value = Yield::Value(column(&body)),
            // Descriptions, further rows, completions, notices.
            b'T' | b'D' | b'C' | b'I' | b'N' | b'S' => {}
            other => return Err(not_postgres(&[other])),
        }
    }
    let detail = format!("the query yields more than {MAX_QUERY_MESSAGES} rows: add LIMIT 1");
    Err(Broken::fail(FailReason::BodyTooLarge, ProbePhase::FirstByte, detail))
}

/// The first column of a row; `None` for NULL, and for a row without columns.
fn column(row: &[u8]) -> Option<String> {
    let (_count, rest) = row.split_first_chunk::<2>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    Some(String::from_utf8_lossy(rest.get(..length)?).into_owned())
}

/// Whether the value of the query is the expected one.
fn met(value: &Yield, expected: &Expectation) -> Seen {
    let failed = |reason, detail: String| Err(Broken::fail(reason, ProbePhase::FirstByte, detail));
    match value {
        Yield::Error(error) => {
            failed(FailReason::ConditionFailed, format!("the query failed: {}", quoted(error)))
        }
        Yield::NoRow => failed(FailReason::ConditionMissing, "the query yields no row".to_owned()),
        Yield::Value(None) => failed(FailReason::ConditionMissing, "the query yields NULL".to_owned()),
        Yield::Value(Some(text)) => {
            let shown = quoted(&text.chars().take(MAX_SHOWN_CHARS).collect::<String>());
            match expected.check(text) {
                Ok(()) => Ok((Outcome::Pass, format!("the query yields {shown}"))),
                Err(why) => {
                    failed(FailReason::ConditionFailed, format!("the query yields {shown}, which {why}"))
                }
            }
        }
    }
}

fn broken(error: std::io::Error) -> Broken {
    io_broken(&error, ProbePhase::FirstByte)
}

/// Writes one message.
async fn send(stream: &mut Stream, kind: u8, body: &[u8]) -> Result<(), Broken> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    let message = [&[kind], length.to_be_bytes().as_slice(), body].concat();
    stream.write_all(&message).await.map_err(broken)?;
    stream.flush().await.map_err(broken)
}

fn not_postgres(seen: &[u8]) -> Broken {
    let seen = String::from_utf8_lossy(&seen[..seen.len().min(40)]).into_owned();
    Broken::fail(
        FailReason::Protocol,
        ProbePhase::FirstByte,
        format!("not an answer of PostgreSQL: {}", quoted(&format!("{seen:?}"))),
    )
}

/// One message: its kind and its content.
async fn message(stream: &mut Stream) -> Result<(u8, Vec<u8>), Broken> {
    let broken = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => not_postgres(b"the end of the connection"),
        _ => io_broken(&error, ProbePhase::FirstByte),
    };
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.map_err(broken)?;
    let [kind, length @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let known = b"RSKNZEvTDCI".contains(&kind) && (4..=MAX_MESSAGE_BYTES).contains(&length);
    if !known {
        return Err(not_postgres(&head));
    }
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await.map_err(broken)?;
    Ok((kind, body))
}

/// A field of an ErrorResponse.
fn field(body: &[u8], wanted: u8) -> Option<String> {
    let mut fields = body.split(|byte| *byte == 0);
    let found = fields.find(|field| field.first() == Some(&wanted))?;
    Some(String::from_utf8_lossy(&found[1..]).into_owned())
}

/// Evaluates an ErrorResponse: either the server does not serve at all, or it refuses only this session.
fn refused(body: &[u8], has_password: bool) -> Seen {
    let said = field(body, b'M');
    let is_ending = said.as_ref().is_some_and(|said| said.contains("shutting down"));
    let text = said.map_or_else(|| "an error without a message".to_owned(), |said| quoted(&said));
    match field(body, b'C').as_deref() {
        // cannot_connect_now: starting up, in recovery, or shutting down.
        Some("57P03") if is_ending => {
            Err(Broken::fail(FailReason::ReportedDown, ProbePhase::FirstByte, text))
        }
        Some("57P03") => Err(Broken::fail(FailReason::StartingUp, ProbePhase::FirstByte, text)),
        // too_many_connections: it serves, but accepts no new session.
        Some("53300") => Ok((Outcome::Degraded(DegradedReason::ReportedDegraded), text)),
        // The server serves, and a restart would not change its password.
        Some(code) if has_password && code.starts_with("28") => {
            let detail = format!("accepts connections, but refuses the login: {text}");
            Ok((Outcome::Degraded(DegradedReason::BadCredentials), detail))
        }
        _ => Ok((Outcome::Pass, format!("accepts connections ({text})"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind as _;

    #[test]
    fn refusals_are_evaluated_as_by_pg_isready() {
        let outcome = |code: &str, words: &str| match refused(
            format!("SFATAL\0C{code}\0M{words}\0\0").as_bytes(),
            true,
        ) {
            Ok((outcome, _)) => outcome,
            Err(broken) => broken.outcome,
        };
        let fail = |reason| Outcome::Fail { reason, phase: Some(ProbePhase::FirstByte) };
        for words in ["the database system is starting up", "the database system is in recovery mode"] {
            assert_eq!(outcome("57P03", words), fail(FailReason::StartingUp));
        }
        assert_eq!(outcome("57P03", "the database system is shutting down"), fail(FailReason::ReportedDown));
        assert_eq!(outcome("53300", "too many"), Outcome::Degraded(DegradedReason::ReportedDegraded));
        assert_eq!(outcome("3D000", "no such database"), Outcome::Pass);
        assert_eq!(outcome("28P01", "no"), Outcome::Degraded(DegradedReason::BadCredentials));
    }

    #[test]
    fn urls_name_user_and_database() {
        let probe = PostgresProbe::new("postgres://shop@127.0.0.1/orders").unwrap();
        assert_eq!((probe.user.as_str(), probe.database.as_str()), ("shop", "orders"));
        assert_eq!(probe.target(), "127.0.0.1:5432");
        let probe = PostgresProbe::new("postgresql://db:6000").unwrap();
        assert_eq!((probe.user.as_str(), probe.database.as_str()), ("postgres", "postgres"));
        let error = PostgresProbe::new("postgres://shop:hunter2@db").unwrap_err().to_string();
        assert!(error.contains("password") && !error.contains("hunter2"), "{error}");
        for bad in ["mysql://db", "postgres://", "postgres://db?sslmode=prefer", "postgres://db/a/b"] {
            assert!(PostgresProbe::new(bad).is_err(), "{bad}");
        }
        let socket = PostgresProbe::new("postgres://shop@unix:/run/.s.PGSQL.5432:/orders").unwrap();
        assert_eq!(
            (socket.target().as_str(), socket.database.as_str()),
            ("unix:/run/.s.PGSQL.5432", "orders")
        );
        let secret = PostgresProbe::new("postgres://db").unwrap().with_password("hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
