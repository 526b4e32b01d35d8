//! A client of one heartbeatd: how it asks. The questions are in the modules by what they are about.

mod commands;
mod incidents;
mod past;
mod status;

use std::time::Duration;

use heartbeat_http::OpenResponse;
use heartbeat_wire::Problem;
use http::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::commands::BeatEvent;
pub use self::past::HistoryRange;
pub use self::status::GraphFormat;
use crate::transport::{Fetched, Peer, Question, ask, open, protocol, whole};
use crate::{ClientError, Host, Token};

/// Default deadline of a question that only reads what heartbeatd already knows.
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// What a refresh may take on top: heartbeatd bounds a round of fresh probes by 10 s.
const REFRESH_ALLOWANCE: Duration = Duration::from_secs(10);
/// The code of a heartbeatd that takes no more requests.
const SHUTTING_DOWN: &str = "heartbeat:shutting-down";

const JSON: &str = "application/json, application/problem+json";

/// Asks one heartbeatd. Cheap to clone; holds no connection.
#[derive(Clone, Debug)]
pub struct Client {
    host: Host,
    token: Option<Token>,
    deadline: Duration,
}

impl Client {
    /// A client of the heartbeatd at `host`, with a deadline of 5 s a question.
    #[must_use]
    pub const fn new(host: Host) -> Self {
        Self { host, token: None, deadline: READ_DEADLINE }
    }

    /// The same with another deadline for questions that only read; a refresh may take 10 s more, and an action
    /// as long as its request says.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same with the token of heartbeatd's `token_file`. It is sent over TLS and to loopback addresses; a question to
    /// another host over plain HTTP fails instead. The Unix socket needs none.
    #[must_use]
    pub fn with_token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    fn peer(&self) -> Peer<'_> {
        Peer { host: &self.host, token: self.token.as_ref() }
    }

    /// Where it asks.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Asks; a second time where heartbeatd is about to be replaced and has not taken the question.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        deadline: Duration,
    ) -> Result<Fetched, ClientError> {
        self.ask(Question { method, path, accept: JSON, last_event_id: None, body, deadline }).await
    }

    async fn ask(&self, question: Question<'_>) -> Result<Fetched, ClientError> {
        let again = question.clone();
        let answer = ask(self.peer(), question).await?;
        let refused = problem_of(&answer)
            .is_some_and(|problem| problem.kind == SHUTTING_DOWN && problem.applied != Some(true));
        if !refused {
            return Ok(answer);
        }
        // The next heartbeatd answers on the same socket. Where there is none, the first answer says why.
        Ok(ask(self.peer(), again).await.unwrap_or(answer))
    }

    async fn read<T: DeserializeOwned>(&self, path: &str, deadline: Duration) -> Result<T, ClientError> {
        self.parse(self.send(Method::GET, path, None, deadline).await?)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
        deadline: Duration,
    ) -> Result<T, ClientError> {
        let body = self.json(request)?;
        self.parse(self.send(Method::POST, path, Some(body), deadline).await?)
    }

    fn json(&self, request: &impl Serialize) -> Result<Vec<u8>, ClientError> {
        serde_json::to_vec(request).map_err(|error| protocol(&self.host, error.to_string()))
    }

    /// Reads what is no JSON.
    async fn read_text(&self, path: &str, deadline: Duration) -> Result<String, ClientError> {
        let question =
            Question { method: Method::GET, path, accept: "*/*", last_event_id: None, body: None, deadline };
        let answer = self.ask(question).await?;
        if !answer.status.is_success() {
            return Err(self.failure(&answer));
        }
        String::from_utf8(answer.body.to_vec())
            .map_err(|_| protocol(&self.host, "the answer is not UTF-8".to_owned()))
    }

    /// Opens a stream of events.
    async fn stream(&self, path: &str, since: Option<&str>) -> Result<OpenResponse, ClientError> {
        let question = Question {
            method: Method::GET,
            path,
            accept: "text/event-stream, application/problem+json",
            last_event_id: since,
            body: None,
            deadline: self.deadline,
        };
        let opened = open(self.peer(), question).await?;
        if opened.head.status.is_success() {
            return Ok(opened);
        }
        Err(self.failure(&whole(&self.host, opened).await?))
    }

    fn read_deadline(&self, refresh: bool) -> Duration {
        if refresh { self.deadline + REFRESH_ALLOWANCE } else { self.deadline }
    }

    fn parse<T: DeserializeOwned>(&self, answer: Fetched) -> Result<T, ClientError> {
        if !answer.status.is_success() {
            return Err(self.failure(&answer));
        }
        serde_json::from_slice(&answer.body).map_err(|error| protocol(&self.host, error.to_string()))
    }

    /// A refusal in the words of [`ClientError`].
    fn failure(&self, answer: &Fetched) -> ClientError {
        let Some(problem) = problem_of(answer) else {
            return protocol(&self.host, format!("status {} without a problem document", answer.status));
        };
        let Problem { detail, suggestions, plan, problems, applied, .. } = problem;
        let plan = plan.map(Box::new);
        // The realm exists; a part of it is missing.
        let of_realm = matches!(problem.kind.as_str(), "heartbeat:no-log" | "heartbeat:no-previous");
        match answer.status {
            StatusCode::NOT_FOUND if !of_realm => ClientError::NotFound { detail, suggestions },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ClientError::Forbidden { detail },
            StatusCode::CONFLICT => ClientError::Refused { detail, plan },
            StatusCode::INSUFFICIENT_STORAGE if applied == Some(true) => {
                ClientError::NotRemembered { detail, plan }
            }
            StatusCode::GATEWAY_TIMEOUT => ClientError::Deadline { detail, plan },
            _ => ClientError::Problem(Box::new(Problem {
                problems,
                detail,
                suggestions,
                plan: plan.map(|plan| *plan),
                applied,
                kind: problem.kind,
                title: problem.title,
                status: problem.status,
            })),
        }
    }
}

fn problem_of(answer: &Fetched) -> Option<Problem> {
    if answer.problem { serde_json::from_slice(&answer.body).ok() } else { None }
}

/// What stands for itself in a segment of a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// A path segment: everything that is not plainly a name is percent-encoded.
fn segment(name: &str) -> PercentEncode<'_> {
    utf8_percent_encode(name, PLAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_segment() {
        assert_eq!(segment("auth-api_2").to_string(), "auth-api_2");
        assert_eq!(segment("../x?y").to_string(), "%2E%2E%2Fx%3Fy");
        assert_eq!(segment("é").to_string(), "%C3%A9");
    }
}
