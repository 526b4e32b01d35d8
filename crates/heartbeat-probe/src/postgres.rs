//! PostgreSQL: the start of a session, evaluated as `pg_isready` does.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_http::{Sockets, Stream};
use heartbeat_status::{CheckResult, DegradedReason, FailReason, Instant, Outcome, ProbeKind, ProbePhase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::measure::{Frame, Progress, Seen, measure};
use crate::target::{Broken, Target, io_broken};
use crate::{ServerError, clock};

/// Port of a URL that names none.
const DEFAULT_PORT: u16 = 5432;
/// User of a URL that names none.
const DEFAULT_USER: &str = "postgres";
/// Version 3.0 of the protocol.
const PROTOCOL_VERSION: u32 = 196_608;
/// Longest message that is read.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// Most messages before the server is ready: one per parameter, and a few.
const MAX_MESSAGES: usize = 64;

/// Begins a session with PostgreSQL and ends it politely. Passes when the server accepts connections: it is ready, or
/// asks for a password, or refuses this user or database; as `pg_isready` does. A server that is starting up,
/// shutting down or recovering says so and fails.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgresProbe {
    target: Target,
    user: String,
    database: String,
    slow: Option<Duration>,
}

impl PostgresProbe {
    /// A probe of `postgres://[user@]host[:port][/database]`: port 5432, user `postgres`, its database.
    ///
    /// # Errors
    /// [`ServerError`] when the URL is malformed or carries a password.
    pub fn new(url: &str) -> Result<Self, ServerError> {
        let parts = ServerError::target(url, &["postgres", "postgresql"], DEFAULT_PORT)?;
        let user = parts.user.unwrap_or_else(|| DEFAULT_USER.to_owned());
        let database = parts.path.unwrap_or_else(|| user.clone());
        Ok(Self { target: parts.target, user, database, slow: None })
    }

    /// A pass that takes longer is degraded.
    #[must_use]
    pub fn with_slow(self, slow: Duration) -> Self {
        Self { slow: Some(slow), ..self }
    }

    pub(crate) const fn kind(&self) -> ProbeKind {
        ProbeKind::Postgres
    }

    pub(crate) fn through(self, sockets: Arc<dyn Sockets>) -> Self {
        Self { target: self.target.through(sockets), ..self }
    }

    /// The address as `host:port`.
    #[must_use]
    pub fn target(&self) -> String {
        self.target.endpoint().to_string()
    }

    pub(crate) async fn measure(&self, queued_at: Option<Instant>, timeout: Duration) -> CheckResult {
        let frame = Frame::new(queued_at, timeout, self.slow);
        measure(frame, async |progress| self.talk(progress).await).await
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

    async fn talk(&self, progress: &mut Progress) -> Seen {
        let mut stream = self.target.connect(progress).await?;
        let connected = clock::now();
        let broken = |error: std::io::Error| io_broken(&error, ProbePhase::FirstByte);
        stream.write_all(&self.startup()).await.map_err(broken)?;
        for _ in 0..MAX_MESSAGES {
            let (kind, body) = message(&mut stream).await?;
            progress.times.first_byte.get_or_insert_with(|| clock::now().since(connected));
            match kind {
                // Authentication: 0 accepts the session; anything else asks for credentials.
                b'R' if body.get(..4) != Some(&[0; 4][..]) => {
                    return Ok((Outcome::Pass, "accepts connections".to_owned()));
                }
                b'Z' => {
                    // Terminate keeps the server's log quiet; the connection is closed either way.
                    let _ = stream.write_all(b"X\0\0\0\x04").await;
                    return Ok((Outcome::Pass, "ready".to_owned()));
                }
                b'E' => return refused(&body),
                // Parameters, the key for cancelling, notices.
                b'R' | b'S' | b'K' | b'N' | b'v' => {}
                other => return Err(not_postgres(&[other])),
            }
        }
        Err(not_postgres(b"messages without end"))
    }
}

fn not_postgres(seen: &[u8]) -> Broken {
    let seen = String::from_utf8_lossy(&seen[..seen.len().min(40)]).into_owned();
    Broken::fail(
        FailReason::Protocol,
        ProbePhase::FirstByte,
        format!("not an answer of PostgreSQL: {seen:?}"),
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
    let known = b"RSKNZEv".contains(&kind) && (4..=MAX_MESSAGE_BYTES).contains(&length);
    if !known {
        return Err(not_postgres(&head));
    }
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await.map_err(broken)?;
    Ok((kind, body))
}

/// Evaluates an ErrorResponse: either the server does not serve at all, or it refuses only this session.
fn refused(body: &[u8]) -> Seen {
    let field = |wanted: u8| {
        let mut fields = body.split(|byte| *byte == 0);
        let found = fields.find(|field| field.first() == Some(&wanted))?;
        Some(String::from_utf8_lossy(&found[1..]).into_owned())
    };
    let text = field(b'M').unwrap_or_else(|| "an error without a message".to_owned());
    match field(b'C').as_deref() {
        // cannot_connect_now: starting up, in recovery, or shutting down.
        Some("57P03") if text.contains("shutting down") => {
            Err(Broken::fail(FailReason::ReportedDown, ProbePhase::FirstByte, text))
        }
        Some("57P03") => Err(Broken::fail(FailReason::StartingUp, ProbePhase::FirstByte, text)),
        // too_many_connections: it serves, but accepts no new session.
        Some("53300") => Ok((Outcome::Degraded(DegradedReason::ReportedDegraded), text)),
        _ => Ok((Outcome::Pass, format!("accepts connections ({text})"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_evaluated_as_by_pg_isready() {
        let outcome =
            |code: &str, words: &str| match refused(format!("SFATAL\0C{code}\0M{words}\0\0").as_bytes()) {
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
        assert!(PostgresProbe::new("mysql://db").is_err() && PostgresProbe::new("postgres://").is_err());
    }
}
