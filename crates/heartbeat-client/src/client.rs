//! The questions.

use std::fmt;
use std::time::Duration;

use heartbeat_http::OpenResponse;
use heartbeat_status::WallTime;
use heartbeat_wire::{
    AckRequest, Action, ActionDocument, ActionRequest, DepartureDocument, EvidenceDocument, GraphDocument,
    HealthDocument, HistoryDocument, IncidentDocument, IncidentsDocument, LogsDocument, MuteDocument,
    MuteRequest, NotificationsDocument, NotifyTestDocument, NotifyTestRequest, PlanRequest, Problem,
    RealmDocument, RegistrationDocument, ReloadDocument, ReloadRequest, SloDocument, StatusDocument, Wait,
};
use http::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use crate::events::{Events, LogLines};
use crate::resume::{Progress, progress};
use crate::transport::{Fetched, Peer, Question, ask, open, protocol, whole};
use crate::{ClientError, Host, Token};

/// Default deadline of a question that only reads what heartbeatd already knows.
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// What a refresh may take on top: heartbeatd bounds a round of fresh probes by 10 s.
const REFRESH_ALLOWANCE: Duration = Duration::from_secs(10);
/// What reading a configuration may take on top.
const RELOAD_ALLOWANCE: Duration = Duration::from_secs(30);
/// How long heartbeatd waits for the end of an action when the request does not say.
const ACTION_WAIT: Duration = Duration::from_secs(60);
/// Longest wait that is passed on, so that the arithmetic of deadlines stays exact.
const MAX_ACTION_WAIT: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Longest wait for the next heartbeatd to answer after an upgrade.
const RETURN_LIMIT: Duration = Duration::from_secs(10);
/// Longest test of a receiver: two attempts of 10 s each, and a margin.
const NOTIFY_TEST_LIMIT: Duration = Duration::from_secs(25);
/// Pause before heartbeatd is asked again while it does not answer.
const RETURN_PAUSE: Duration = Duration::from_millis(100);
/// The code of a heartbeatd that takes no more requests.
const SHUTTING_DOWN: &str = "heartbeat:shutting-down";

const JSON: &str = "application/json, application/problem+json";

/// Text forms of the graph that heartbeatd renders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GraphFormat {
    /// The dot format of Graphviz.
    Dot,
    /// A flowchart of Mermaid.
    Mermaid,
}

impl GraphFormat {
    /// The word in `?format=`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dot => "dot",
            Self::Mermaid => "mermaid",
        }
    }
}

/// What a heartbeat reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BeatEvent {
    /// A run has begun.
    Start,
    /// Everything is well, or a run has ended well.
    Ok,
    /// A run has failed.
    Fail,
    /// A run has ended with this exit code.
    Exit(u8),
}

impl fmt::Display for BeatEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::Ok => f.write_str("ok"),
            Self::Fail => f.write_str("fail"),
            Self::Exit(code) => write!(f, "{code}"),
        }
    }
}

/// Asks one heartbeatd. Cheap to clone; holds no connection.
#[derive(Clone, Debug)]
pub struct Client {
    host: Host,
    token: Option<Token>,
    deadline: Duration,
}

/// Which part of a history is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryRange<'a> {
    /// How far back.
    pub since: Duration,
    /// Length of a step in seconds.
    pub step_s: u64,
    /// Latencies of this probe; `None`: of the first that was measured.
    pub probe: Option<&'a str>,
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

    /// The whole ecosystem; with `refresh` after a round of fresh probes.
    ///
    /// # Errors
    /// [`ClientError`], as for every question.
    pub async fn status(&self, refresh: bool) -> Result<StatusDocument, ClientError> {
        let path = if refresh { "/api/status/?refresh=1" } else { "/api/status/" };
        self.read(path, self.read_deadline(refresh)).await
    }

    /// The ecosystem without its realms.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn summary(&self) -> Result<StatusDocument, ClientError> {
        self.read("/api/status/?fields=summary", self.deadline).await
    }

    /// One realm and its recent past; with `refresh` after fresh probes.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] with near names when there is no such realm.
    pub async fn realm(&self, name: &str, refresh: bool) -> Result<RealmDocument, ClientError> {
        let query = if refresh { "?refresh=1" } else { "" };
        self.read(&format!("/api/status/{}/{query}", segment(name)), self.read_deadline(refresh)).await
    }

    /// One realm with the last failures of its probes and what was said in each. On the Unix socket, or with a token.
    ///
    /// # Errors
    /// As for [`realm`](Self::realm), and [`ClientError`] on the read-only listener.
    pub async fn realm_with_transcripts(&self, name: &str) -> Result<RealmDocument, ClientError> {
        self.read(&format!("/api/status/{}/?transcripts=1", segment(name)), self.deadline).await
    }

    /// Starts, stops or restarts a realm, or says what that would do (`dry_run`). Several names, separated by commas, are
    /// one command with one plan.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the plan when dependents would break and the request allows neither;
    /// [`ClientError::Deadline`] when what was waited for did not come in time.
    pub async fn action(
        &self,
        name: &str,
        action: Action,
        request: &ActionRequest,
    ) -> Result<ActionDocument, ClientError> {
        let names: Vec<String> = name.split(',').map(|name| segment(name).to_string()).collect();
        let path = format!("/api/realms/{}/{action}/", names.join(","));
        let body = serde_json::to_vec(request).map_err(|error| protocol(&self.host, error.to_string()))?;
        let question = Question {
            method: Method::POST,
            path: &path,
            accept: JSON,
            last_event_id: None,
            body: Some(body),
            deadline: self.action_deadline(request),
        };
        let limit = question.deadline;
        let acting = async {
            let answer = self.ask(question).await?;
            match self.handed_over(&answer) {
                Some(plan) => self.resume(plan, request.wait).await,
                None => self.parse(answer),
            }
        };
        // Every question has its own deadline; together they take no longer than the one that was asked first.
        timeout(limit, acting).await.unwrap_or_else(|_| {
            Err(ClientError::TimedOut { host: self.host.clone(), after: limit, connected: true })
        })
    }

    /// The plan of a command that was accepted by a heartbeatd which another one has replaced since.
    fn handed_over(&self, answer: &Fetched) -> Option<ActionDocument> {
        let problem = problem_of(answer)?;
        let accepted = problem.kind == SHUTTING_DOWN && problem.applied == Some(true);
        problem.plan.filter(|_| accepted)
    }

    /// Waits for the result of `plan` with the heartbeatd that has followed.
    async fn resume(&self, mut plan: ActionDocument, wait: Wait) -> Result<ActionDocument, ClientError> {
        let mut known = String::new();
        loop {
            let status: StatusDocument = self.await_return(&known).await?;
            match progress(&plan, wait, &status) {
                Progress::Reached(result, taken_out) => {
                    plan.result = Some(result.to_owned());
                    plan.message = (!taken_out.is_empty()).then(|| taken_out.join("; "));
                }
                Progress::Failed(why) => {
                    plan.result = Some("failed".to_owned());
                    plan.message = Some(why);
                }
                Progress::OnTheWay(_) => {
                    known = format!("?since={}-{}&wait=2s", status.instance, status.revision);
                    continue;
                }
            }
            return Ok(plan);
        }
    }

    /// The status, from the heartbeatd that is about to answer at this place.
    async fn await_return(&self, query: &str) -> Result<StatusDocument, ClientError> {
        let path = format!("/api/status/{query}");
        let returned = async {
            loop {
                match self.read(&path, self.deadline).await {
                    Err(ClientError::Unreachable { .. }) => sleep(RETURN_PAUSE).await,
                    answered => return answered,
                }
            }
        };
        match timeout(RETURN_LIMIT, returned).await {
            Ok(answered) => answered,
            // It says itself why it cannot be reached.
            Err(_) => self.read(&path, self.deadline).await,
        }
    }

    /// Asks; a second time where heartbeatd is about to be replaced and has not taken the question.
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

    /// Incidents, the newest first: at most `limit`, only unresolved ones with `open`, and with `after` only those that
    /// are older than the one of this identifier ([`IncidentsDocument::next`]).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn incidents(
        &self,
        open: bool,
        limit: usize,
        after: Option<&str>,
    ) -> Result<IncidentsDocument, ClientError> {
        let open = if open { "&open=1" } else { "" };
        let after = after.map_or_else(String::new, |after| format!("&after={}", segment(after)));
        self.read(&format!("/api/incidents/?limit={limit}{open}{after}"), self.deadline).await
    }

    /// What a realm was over time, until now.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when nothing is on record of it.
    pub async fn history(
        &self,
        realm: &str,
        range: HistoryRange<'_>,
    ) -> Result<HistoryDocument, ClientError> {
        let now = self.summary().await?.generated_at;
        let back = i64::try_from(range.since.as_millis()).unwrap_or(i64::MAX);
        let from = WallTime::from_millis(now.as_millis().saturating_sub(back));
        let probe = range.probe.map_or_else(String::new, |probe| format!("&probe={}", segment(probe)));
        let path =
            format!("/api/history/{}/?from={from}&to={now}&step={}s{probe}", segment(realm), range.step_s);
        self.read(&path, self.deadline).await
    }

    /// How the objectives of all realms stand.
    ///
    /// # Errors
    /// As of every question: heartbeatd is not reached, or does not answer.
    pub async fn objectives(&self) -> Result<SloDocument, ClientError> {
        self.read("/api/slo/", self.deadline).await
    }

    /// The report of a month such as `2026-11`, the present one by default: `json`, `csv`, `md` or `html`, as
    /// heartbeatd writes it.
    ///
    /// # Errors
    /// As of every question, and when it is no month.
    pub async fn report(&self, month: Option<&str>, format: &str) -> Result<String, ClientError> {
        let month = month.map_or_else(String::new, |month| format!("&month={}", segment(month)));
        self.read_text(&format!("/api/report/?format={format}{month}"), self.deadline).await
    }

    /// Acknowledges an incident; the incident as it is then.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when it is not on record.
    pub async fn acknowledge(&self, id: &str, request: &AckRequest) -> Result<IncidentDocument, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| protocol(&self.host, error.to_string()))?;
        let question = Question {
            method: Method::POST,
            path: &format!("/api/incidents/{}/ack/", segment(id)),
            accept: JSON,
            last_event_id: None,
            body: Some(body),
            deadline: self.deadline,
        };
        self.parse(ask(self.peer(), question).await?)
    }

    /// Sends a heartbeat for the `push` probe of a realm; `run` tells runs apart that are under way at a time.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] with near names when there is no such realm, [`ClientError::Refused`] when it expects
    /// none.
    pub async fn beat(
        &self,
        realm: &str,
        event: BeatEvent,
        run: Option<&str>,
        message: &str,
    ) -> Result<(), ClientError> {
        let run = run.map(|run| format!("?run={}", segment(run))).unwrap_or_default();
        let question = Question {
            method: Method::POST,
            path: &format!("/api/beat/{}/{event}/{run}", segment(realm)),
            accept: JSON,
            last_event_id: None,
            body: Some(message.as_bytes().to_vec()),
            deadline: self.deadline,
        };
        self.parse::<serde_json::Value>(ask(self.peer(), question).await?).map(|_| ())
    }

    /// What was sent about an incident.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when the incident is not remembered.
    pub async fn notifications(&self, id: &str) -> Result<NotificationsDocument, ClientError> {
        self.read(&format!("/api/incidents/{}/notifications/", segment(id)), self.deadline).await
    }

    /// What heartbeatd saw when it opened an incident, and when it resolved it.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when the incident is not remembered.
    pub async fn evidence(&self, id: &str) -> Result<EvidenceDocument, ClientError> {
        self.read(&format!("/api/incidents/{}/evidence/", segment(id)), self.deadline).await
    }

    /// Mutes a realm: receivers of notifications hear nothing of it for a while.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn mute(&self, realm: &str, request: &MuteRequest) -> Result<MuteDocument, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| protocol(&self.host, error.to_string()))?;
        self.mute_or_not(realm, "mute", body).await
    }

    /// Ends the mute of a realm.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn unmute(&self, realm: &str) -> Result<MuteDocument, ClientError> {
        self.mute_or_not(realm, "unmute", b"{}".to_vec()).await
    }

    async fn mute_or_not(&self, realm: &str, verb: &str, body: Vec<u8>) -> Result<MuteDocument, ClientError> {
        let question = Question {
            method: Method::POST,
            path: &format!("/api/realms/{}/{verb}/", segment(realm)),
            accept: JSON,
            last_event_id: None,
            body: Some(body),
            deadline: self.deadline,
        };
        self.parse(ask(self.peer(), question).await?)
    }

    /// Sends a test to a receiver, or shows what it would be sent.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] with near names when there is no such receiver.
    pub async fn test_receiver(
        &self,
        receiver: &str,
        dry_run: bool,
    ) -> Result<NotifyTestDocument, ClientError> {
        let body = serde_json::to_vec(&NotifyTestRequest { dry_run })
            .map_err(|error| protocol(&self.host, error.to_string()))?;
        let question = Question {
            method: Method::POST,
            path: &format!("/api/notify/{}/test/", segment(receiver)),
            accept: JSON,
            last_event_id: None,
            body: Some(body),
            deadline: self.deadline.max(NOTIFY_TEST_LIMIT),
        };
        self.parse(ask(self.peer(), question).await?)
    }

    /// One incident.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when it is not remembered.
    pub async fn incident(&self, id: &str) -> Result<IncidentDocument, ClientError> {
        self.read(&format!("/api/incidents/{}/", segment(id)), self.deadline).await
    }

    /// What a command would do, or what the failure of a realm (`fail`) would mean. Nothing is changed.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] with near names when there is no such realm.
    pub async fn plan(&self, request: &PlanRequest) -> Result<ActionDocument, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| protocol(&self.host, error.to_string()))?;
        let question = Question {
            method: Method::POST,
            path: "/api/plan/",
            accept: JSON,
            last_event_id: None,
            body: Some(body),
            deadline: self.deadline,
        };
        self.parse(self.ask(question).await?)
    }

    /// Has heartbeatd read its configuration again; with `dry_run` it only says what would change.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with status 422 and everything that is wrong with the configuration; then nothing
    /// was changed.
    pub async fn reload(&self, dry_run: bool) -> Result<ReloadDocument, ClientError> {
        let request = ReloadRequest { dry_run };
        let body = serde_json::to_vec(&request).map_err(|error| protocol(&self.host, error.to_string()))?;
        let question = Question {
            method: Method::POST,
            path: "/api/reload/",
            accept: JSON,
            last_event_id: None,
            body: Some(body),
            deadline: self.deadline + RELOAD_ALLOWANCE,
        };
        self.parse(self.ask(question).await?)
    }

    /// Has heartbeatd watch a realm that runs somewhere else, or replaces what was registered under that name. `json`
    /// says of it what `[realm.NAME]` would say. Answered once that is in force and remembered over restarts.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with status 400 and everything that is wrong with it, [`ClientError::Forbidden`] for an
    /// address that may not be probed, [`ClientError::Refused`] when the name belongs to the configuration; then
    /// nothing was changed.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), heartbeat_client::ClientError> {
    /// use heartbeat_client::{Client, Host};
    ///
    /// let heartbeat = Client::new(Host::from_environment());
    /// let health = br#"{ "health": "http://127.0.0.1:8001/api/health/", "needs": ["postgres"] }"#;
    /// heartbeat.register("shop", health.to_vec(), false).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn register(
        &self,
        name: &str,
        json: Vec<u8>,
        dry_run: bool,
    ) -> Result<RegistrationDocument, ClientError> {
        self.registration(Method::PUT, name, Some(json), dry_run).await
    }

    /// Has heartbeatd not watch a realm any more that was registered.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] with near names when no such realm is registered; [`ClientError::Refused`] when others
    /// need it, or when it belongs to the configuration.
    pub async fn unregister(&self, name: &str, dry_run: bool) -> Result<RegistrationDocument, ClientError> {
        self.registration(Method::DELETE, name, None, dry_run).await
    }

    async fn registration(
        &self,
        method: Method,
        name: &str,
        body: Option<Vec<u8>>,
        dry_run: bool,
    ) -> Result<RegistrationDocument, ClientError> {
        let query = if dry_run { "?dry_run=1" } else { "" };
        let question = Question {
            method,
            path: &format!("/api/realms/{}/{query}", segment(name)),
            accept: JSON,
            last_event_id: None,
            body,
            deadline: self.deadline + RELOAD_ALLOWANCE,
        };
        self.parse(self.ask(question).await?)
    }

    /// Has heartbeatd end, or hand over to another one under the same pid; every realm runs on. The answer comes first.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with status 409 when the other one cannot go on; then nothing was changed.
    pub async fn depart(&self, upgrade: bool) -> Result<DepartureDocument, ClientError> {
        let question = Question {
            method: Method::POST,
            path: if upgrade { "/api/daemon/upgrade/" } else { "/api/daemon/leave/" },
            accept: JSON,
            last_event_id: None,
            body: Some(b"{}".to_vec()),
            deadline: self.deadline + RELOAD_ALLOWANCE,
        };
        self.parse(self.ask(question).await?)
    }

    /// What has happened, the last `past` facts first; with `follow` it goes on as it happens. With `since`, the
    /// identifier of the last event that was read ([`Events::last_id`]), it goes on after that instead.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn events(
        &self,
        past: usize,
        follow: bool,
        since: Option<&str>,
    ) -> Result<Events, ClientError> {
        let path = match since {
            Some(_) => format!("/api/events/?facts=only&follow={}", u8::from(follow)),
            None => format!("/api/events/?facts=only&past={past}&follow={}", u8::from(follow)),
        };
        Ok(Events::new(self.host.clone(), self.stream(&path, since).await?))
    }

    /// The last lines of a realm's output; with `previous` those of the generation before the newest one.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when there is no such realm, and [`ClientError::Problem`] with status 404 when it has
    /// no log or no such generation, with what to do instead.
    pub async fn logs(&self, name: &str, lines: usize, previous: bool) -> Result<LogsDocument, ClientError> {
        let previous = if previous { "&previous=1" } else { "" };
        self.read(&format!("/api/logs/{}/?lines={lines}{previous}", segment(name)), self.deadline).await
    }

    /// The last lines of a realm's output, and then what it writes. With `since`, the identifier of the last event that
    /// was read ([`LogLines::last_id`]), it goes on after that instead.
    ///
    /// # Errors
    /// As for [`Client::logs`].
    pub async fn follow_logs(
        &self,
        name: &str,
        lines: usize,
        since: Option<&str>,
    ) -> Result<LogLines, ClientError> {
        let path = format!("/api/logs/{}/?follow=1&lines={lines}", segment(name));
        Ok(LogLines::new(self.host.clone(), self.stream(&path, since).await?))
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

    /// The dependencies of all realms.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn graph(&self) -> Result<GraphDocument, ClientError> {
        self.read("/api/graph/", self.deadline).await
    }

    /// The graph in a text form.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn graph_text(&self, format: GraphFormat) -> Result<String, ClientError> {
        self.read_text(&format!("/api/graph/?format={}", format.as_str()), self.deadline).await
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

    /// heartbeatd's own health; an answer of 503 is a document that says `fail`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn health(&self) -> Result<HealthDocument, ClientError> {
        let question = Question {
            method: Method::GET,
            path: "/api/health/",
            accept: JSON,
            last_event_id: None,
            body: None,
            deadline: self.deadline,
        };
        let answer = self.ask(question).await?;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE
            && let Ok(document) = serde_json::from_slice(&answer.body)
        {
            return Ok(document);
        }
        self.parse(answer)
    }

    fn read_deadline(&self, refresh: bool) -> Duration {
        if refresh { self.deadline + REFRESH_ALLOWANCE } else { self.deadline }
    }

    fn action_deadline(&self, request: &ActionRequest) -> Duration {
        if request.dry_run || request.wait == Wait::Accepted {
            return self.deadline;
        }
        let wait = request.timeout_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        wait.unwrap_or(ACTION_WAIT).min(MAX_ACTION_WAIT) + self.deadline
    }

    async fn read<T: DeserializeOwned>(&self, path: &str, deadline: Duration) -> Result<T, ClientError> {
        let question =
            Question { method: Method::GET, path, accept: JSON, last_event_id: None, body: None, deadline };
        self.parse(self.ask(question).await?)
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

    #[test]
    fn a_waiting_action_is_given_its_time() {
        let client = Client::new(Host::Unix("/x".into()));
        let mut request = ActionRequest { timeout_s: Some(90.0), ..ActionRequest::default() };
        assert_eq!(client.action_deadline(&request), READ_DEADLINE, "not waited for");
        request.wait = Wait::Verified;
        assert_eq!(client.action_deadline(&request), Duration::from_secs(95));
        request.timeout_s = Some(f64::INFINITY);
        assert_eq!(client.action_deadline(&request), Duration::from_secs(65));
        request.timeout_s = Some(1e12);
        assert_eq!(client.action_deadline(&request), MAX_ACTION_WAIT + READ_DEADLINE);
    }
}
