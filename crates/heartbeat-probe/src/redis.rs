//! Redis: PING over its own protocol.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_http::Sockets;
use heartbeat_status::{CheckResult, DegradedReason, FailReason, Instant, Outcome, ProbeKind, ProbePhase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::measure::{Frame, Progress, Seen, measure};
use crate::target::{Broken, Target, io_broken};
use crate::{ServerError, clock};

/// Port of a URL that names none.
const DEFAULT_PORT: u16 = 6379;
/// PING in the protocol's own form; servers that rename commands still know it.
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
/// Most bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 512;

/// Connects to Redis and sends PING. Passes when the server answers as one that serves: `PONG`, or that it wants a
/// password first. One that is loading its data does not serve yet.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisProbe {
    target: Target,
    slow: Option<Duration>,
}

impl RedisProbe {
    /// A probe of `redis://host:port` (port 6379 when none is named).
    ///
    /// # Errors
    /// [`ServerError`] when the URL is malformed or carries a password.
    pub fn new(url: &str) -> Result<Self, ServerError> {
        let target = ServerError::target(url, &["redis"], DEFAULT_PORT)?.target;
        Ok(Self { target, slow: None })
    }

    /// A pass that takes longer is degraded.
    #[must_use]
    pub fn with_slow(self, slow: Duration) -> Self {
        Self { slow: Some(slow), ..self }
    }

    pub(crate) const fn kind(&self) -> ProbeKind {
        ProbeKind::Redis
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

    async fn talk(&self, progress: &mut Progress) -> Seen {
        let mut stream = self.target.connect(progress).await?;
        let connected = clock::now();
        let broken = |error: std::io::Error| io_broken(&error, ProbePhase::FirstByte);
        stream.write_all(PING).await.map_err(broken)?;
        let mut answer = Vec::new();
        let mut chunk = [0; 256];
        loop {
            let read = stream.read(&mut chunk).await.map_err(broken)?;
            progress.times.first_byte.get_or_insert_with(|| clock::now().since(connected));
            answer.extend_from_slice(&chunk[..read.min(MAX_ANSWER_BYTES - answer.len())]);
            if let Some(end) = answer.windows(2).position(|pair| pair == b"\r\n") {
                return evaluate(&answer[..end]);
            }
            if read == 0 || answer.len() >= MAX_ANSWER_BYTES {
                return Err(not_redis(&answer));
            }
        }
    }
}

fn not_redis(answer: &[u8]) -> Broken {
    let seen = String::from_utf8_lossy(&answer[..answer.len().min(40)]).into_owned();
    Broken::fail(FailReason::Protocol, ProbePhase::FirstByte, format!("not an answer of Redis: {seen:?}"))
}

fn evaluate(line: &[u8]) -> Seen {
    let text = String::from_utf8_lossy(line).into_owned();
    if text == "+PONG" {
        return Ok((Outcome::Pass, "PONG".to_owned()));
    }
    let Some(error) = text.strip_prefix('-') else { return Err(not_redis(line)) };
    match error.split(' ').next().unwrap_or_default() {
        "NOAUTH" => Ok((Outcome::Pass, "answers, and wants a password".to_owned())),
        "LOADING" => Err(Broken::fail(FailReason::StartingUp, ProbePhase::FirstByte, error)),
        _ => Ok((Outcome::Degraded(DegradedReason::ReportedDegraded), error.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_verdict() {
        let outcome = |line: &str| match evaluate(line.as_bytes()) {
            Ok((outcome, _)) => outcome,
            Err(broken) => broken.outcome,
        };
        let fail = |reason| Outcome::Fail { reason, phase: Some(ProbePhase::FirstByte) };
        assert_eq!(outcome("+PONG"), Outcome::Pass);
        assert_eq!(outcome("-NOAUTH Authentication required."), Outcome::Pass);
        assert_eq!(outcome("-LOADING Redis is loading"), fail(FailReason::StartingUp));
        assert_eq!(outcome("-MASTERDOWN x"), Outcome::Degraded(DegradedReason::ReportedDegraded));
        assert_eq!(outcome("HTTP/1.1 400 Bad Request"), fail(FailReason::Protocol));
    }
}
