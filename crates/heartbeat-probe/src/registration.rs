//! A service that registers itself with the heartbeatd of its host and sends it heartbeats.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use heartbeat_http::{ExchangeError, daemon_socket, send};
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::{AGENT, Checks, Verdict};

/// Time between two heartbeats by default.
const INTERVAL: Duration = Duration::from_secs(20);
/// heartbeatd expects one within this many intervals: two may be lost.
const EXPECTED_INTERVALS: u32 = 3;
/// Shortest time between two heartbeats, also of a service whose verdict changes all the time.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// Pause before the next attempt while heartbeatd does not answer.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Longest exchange with heartbeatd.
const DEADLINE: Duration = Duration::from_secs(5);
/// Longest message of a heartbeat that heartbeatd keeps.
const MAX_MESSAGE_BYTES: usize = 10 * 1024;
/// Longest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What a service tells the heartbeatd of its host about itself: its name, where its health is served, how often it
/// sends a heartbeat, and what it needs.
///
/// ```
/// use heartbeat_probe::{Checks, Registration};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let socket = "/nonexistent/heartbeat.sock";
/// let checks = Checks::start([]);
/// let registration = Registration::new("shop", "http://127.0.0.1:8001/api/health/").needs(["postgres"]);
/// # let registration = registration.at(socket);
/// let registered = registration.start(checks);
/// # drop(registered);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Registration {
    name: String,
    health: String,
    needs: Vec<String>,
    interval: Duration,
    socket: Option<PathBuf>,
}

impl Registration {
    /// A realm of this name whose health is served at the URL `health`. It sends a heartbeat every 20 s; heartbeatd
    /// misses it after a minute without one.
    pub fn new(name: impl Into<String>, health: impl Into<String>) -> Self {
        Self { name: name.into(), health: health.into(), needs: Vec::new(), interval: INTERVAL, socket: None }
    }

    /// Other realms that it cannot work without.
    #[must_use]
    pub fn needs(self, realms: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { needs: realms.into_iter().map(Into::into).collect(), ..self }
    }

    /// Sends a heartbeat this often; heartbeatd misses it after three intervals without one. At least a second.
    #[must_use]
    pub fn every(self, interval: Duration) -> Self {
        Self { interval: interval.max(Duration::from_secs(1)), ..self }
    }

    /// The socket of heartbeatd. By default `$HEARTBEAT_SOCKET`, or where the heartbeatd of this user listens, or that
    /// of the system.
    #[must_use]
    pub fn at(self, socket: impl Into<PathBuf>) -> Self {
        Self { socket: Some(socket.into()), ..self }
    }

    /// Registers and sends heartbeats in a task of the current tokio runtime, until the result is dropped. A heartbeat
    /// has the verdict of `checks`, and one follows at once when that changes. While heartbeatd does not answer, or does not accept, the task tries again every
    /// 5 s, so the service does not depend on heartbeatd.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self, checks: Checks) -> Registered {
        let last_error = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&last_error);
        let task = tokio::spawn(async move {
            let socket = self.socket.clone().unwrap_or_else(|| daemon_socket(|| None));
            let mut is_known = false;
            loop {
                let verdict = checks.verdict();
                let told = self.tell(&socket, &verdict, &mut is_known).await;
                let is_told = told.is_ok();
                *noted.lock().unwrap_or_else(PoisonError::into_inner) = told.err().map(Arc::new);
                if is_told {
                    sleep(SHORTEST_INTERVAL.min(self.interval)).await;
                    let left = self.interval.saturating_sub(SHORTEST_INTERVAL);
                    // Either is a reason for the next one.
                    let _ = timeout(left, checks.changed_from(&verdict)).await;
                } else {
                    sleep(RETRY_PAUSE.min(self.interval)).await;
                }
            }
        });
        Registered { task: task.abort_handle(), last_error }
    }

    /// Registers where heartbeatd does not know this service, and sends a heartbeat.
    async fn tell(
        &self,
        socket: &PathBuf,
        verdict: &Verdict,
        is_known: &mut bool,
    ) -> Result<(), RegistrationError> {
        let name = &self.name;
        if !*is_known {
            let push = format!("{}ms", (self.interval * EXPECTED_INTERVALS).as_millis());
            let realm = json!({ "health": [self.health, { "push": push }], "needs": self.needs });
            ask(socket, Method::PUT, &format!("/api/realms/{name}/"), realm.to_string()).await?;
            *is_known = true;
        }
        let (event, mut message) = match verdict {
            Verdict::Fail(why) => ("fail", why.clone()),
            Verdict::Warn(why) => ("ok", why.clone()),
            Verdict::Pass => ("ok", String::new()),
        };
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        let sent = ask(socket, Method::POST, &format!("/api/beat/{name}/{event}/"), message).await;
        *is_known = !matches!(sent, Err(RegistrationError::Refused { .. }));
        sent
    }
}

/// A service that sends heartbeats. Dropping it ends them, so that heartbeatd misses them; the realm stays registered.
#[derive(Debug)]
#[must_use = "dropping it ends the heartbeats"]
pub struct Registered {
    task: AbortHandle,
    last_error: Arc<Mutex<Option<Arc<RegistrationError>>>>,
}

impl Registered {
    /// Why the last attempt did not succeed; `None` if it did, or if there was none yet.
    #[must_use]
    pub fn last_error(&self) -> Option<Arc<RegistrationError>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a service could not register, or why its heartbeat did not arrive.
#[derive(Debug)]
#[non_exhaustive]
pub enum RegistrationError {
    /// No process takes requests at the socket.
    Unreachable {
        /// The socket of heartbeatd.
        socket: PathBuf,
        /// Why it cannot be connected to.
        source: io::Error,
    },
    /// heartbeatd did not answer in time.
    TimedOut,
    /// The connection broke, or the answer is not HTTP.
    Exchange(ExchangeError),
    /// The name of the service cannot be part of a path.
    Name(http::Error),
    /// heartbeatd did not accept it.
    Refused {
        /// HTTP status of the answer.
        status: StatusCode,
        /// Its reason, for people.
        detail: String,
    },
}

impl fmt::Display for RegistrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { socket, .. } => {
                write!(f, "no heartbeatd answers at {}", socket.display())
            }
            Self::TimedOut => write!(f, "heartbeatd did not answer within {DEADLINE:?}"),
            Self::Exchange(_) => f.write_str("the exchange with heartbeatd broke off"),
            Self::Name(_) => f.write_str("this is not the name of a realm"),
            Self::Refused { status, detail } if detail.is_empty() => {
                write!(f, "heartbeatd refused with status {status}")
            }
            Self::Refused { detail, .. } => write!(f, "heartbeatd refused: {detail}"),
        }
    }
}

impl Error for RegistrationError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreachable { source, .. } => Some(source),
            Self::Exchange(source) => Some(source),
            Self::Name(source) => Some(source),
            Self::TimedOut | Self::Refused { .. } => None,
        }
    }
}

async fn ask(socket: &PathBuf, method: Method, path: &str, body: String) -> Result<(), RegistrationError> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::USER_AGENT, AGENT)
        .header(header::CONNECTION, "close")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(body))
        .map_err(RegistrationError::Name)?;
    let asked = async {
        let stream = UnixStream::connect(socket).await;
        let stream =
            stream.map_err(|source| RegistrationError::Unreachable { socket: socket.clone(), source })?;
        let mut answer = send(stream, request).await.map_err(RegistrationError::Exchange)?;
        let status = answer.head.status;
        if status.is_success() {
            return Ok(());
        }
        let (body, _) = answer.body.read(MAX_ANSWER_BYTES).await.map_err(RegistrationError::Exchange)?;
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or_default().to_owned();
        Err(RegistrationError::Refused { status, detail })
    };
    timeout(DEADLINE, asked).await.unwrap_or(Err(RegistrationError::TimedOut))
}

#[cfg(test)]
mod tests;
