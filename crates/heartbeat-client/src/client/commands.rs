//! What heartbeatd is asked to do.

use std::fmt;
use std::time::Duration;

use heartbeat_wire::{
    Action, ActionDocument, ActionRequest, DepartureDocument, MuteDocument, MuteRequest, PlanRequest,
    RegistrationDocument, ReloadDocument, ReloadRequest, StatusDocument, Wait,
};
use http::Method;
use tokio::time::{sleep, timeout};

use super::{Client, SHUTTING_DOWN, problem_of, segment};
use crate::ClientError;
use crate::resume::{Progress, progress};
use crate::transport::Fetched;

/// What reading a configuration may take on top.
const RELOAD_ALLOWANCE: Duration = Duration::from_secs(30);
/// How long heartbeatd waits for the end of an action when the request does not say.
const ACTION_WAIT: Duration = Duration::from_secs(60);
/// Longest wait that is passed on, so that the arithmetic of deadlines stays exact.
const MAX_ACTION_WAIT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Longest wait for the next heartbeatd to answer after an upgrade.
const RETURN_LIMIT: Duration = Duration::from_secs(10);
/// Pause before heartbeatd is asked again while it does not answer.
const RETURN_PAUSE: Duration = Duration::from_millis(100);

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

impl Client {
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
        let (body, limit) = (self.json(request)?, self.action_deadline(request));
        let acting = async {
            let answer = self.send(Method::POST, &path, Some(body), limit).await?;
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

    fn action_deadline(&self, request: &ActionRequest) -> Duration {
        if request.dry_run || request.wait == Wait::Accepted {
            return self.deadline;
        }
        let wait = request.timeout_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        wait.unwrap_or(ACTION_WAIT).min(MAX_ACTION_WAIT) + self.deadline
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

    /// What a command would do, or what the failure of a realm (`fail`) would mean. Nothing is changed.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] with near names when there is no such realm.
    pub async fn plan(&self, request: &PlanRequest) -> Result<ActionDocument, ClientError> {
        self.post("/api/plan/", request, self.deadline).await
    }

    /// Has heartbeatd read its configuration again; with `dry_run` it only says what would change.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with status 422 and everything that is wrong with the configuration; then nothing
    /// was changed.
    pub async fn reload(&self, dry_run: bool) -> Result<ReloadDocument, ClientError> {
        self.post("/api/reload/", &ReloadRequest { dry_run }, self.deadline + RELOAD_ALLOWANCE).await
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
        let path = format!("/api/realms/{}/{query}", segment(name));
        self.parse(self.send(method, &path, body, self.deadline + RELOAD_ALLOWANCE).await?)
    }

    /// Has heartbeatd end, or hand over to another one under the same pid; every realm runs on. The answer comes first.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with status 409 when the other one cannot go on; then nothing was changed.
    pub async fn depart(&self, upgrade: bool) -> Result<DepartureDocument, ClientError> {
        let path = if upgrade { "/api/daemon/upgrade/" } else { "/api/daemon/leave/" };
        let answer = self.send(Method::POST, path, Some(b"{}".to_vec()), self.deadline + RELOAD_ALLOWANCE);
        self.parse(answer.await?)
    }

    /// Mutes a realm: receivers of notifications hear nothing of it for a while.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn mute(&self, realm: &str, request: &MuteRequest) -> Result<MuteDocument, ClientError> {
        self.post(&format!("/api/realms/{}/mute/", segment(realm)), request, self.deadline).await
    }

    /// Ends the mute of a realm.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn unmute(&self, realm: &str) -> Result<MuteDocument, ClientError> {
        let path = format!("/api/realms/{}/unmute/", segment(realm));
        self.parse(self.send(Method::POST, &path, Some(b"{}".to_vec()), self.deadline).await?)
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
        let path = format!("/api/beat/{}/{event}/{run}", segment(realm));
        let answer = self.send(Method::POST, &path, Some(message.as_bytes().to_vec()), self.deadline).await?;
        self.parse::<serde_json::Value>(answer).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Host;
    use crate::client::READ_DEADLINE;

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
