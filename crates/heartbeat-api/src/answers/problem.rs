//! Errors as `application/problem+json`. Every detail says what the client can do.

use heartbeat_status::printed;
use heartbeat_wire::{ActionDocument, Problem};
use http::StatusCode;
use http::header::{ALLOW, CACHE_CONTROL, HeaderValue, WWW_AUTHENTICATE};

use crate::answers::answer::{self, Answer};

/// Media type of RFC 9457.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Why the server does not answer a request with what its sender asked for.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    problem: Box<Problem>,
    allow: Option<&'static str>,
    challenge: bool,
}

impl ApiError {
    /// `code` is the word behind `heartbeat:`; `detail` says what happened and what to do.
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let problem = Problem {
            kind: format!("heartbeat:{code}"),
            title: status.canonical_reason().unwrap_or("Unknown").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            suggestions: Vec::new(),
            plan: None,
            applied: None,
            problems: Vec::new(),
        };
        Self { status, problem: Box::new(problem), allow: None, challenge: false }
    }

    /// heartbeatd is ending and does not answer any more.
    pub(crate) fn ending() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "shutting-down",
            "heartbeatd is ending and takes no requests any more; ask again once it is back",
        )
    }

    /// A request that cannot be understood.
    pub(crate) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// The server could not serialise a document: a defect of heartbeatd.
    pub(crate) fn unwritable(error: &serde_json::Error) -> Self {
        let detail = format!("the document could not be written: {error}; this is a fault of heartbeatd");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    pub(crate) fn suggest(mut self, suggestions: Vec<String>) -> Self {
        self.problem.suggestions = suggestions;
        self
    }

    pub(crate) fn plan(mut self, plan: ActionDocument) -> Self {
        self.problem.plan = Some(plan);
        self
    }

    /// heartbeatd carried out the command all the same.
    pub(crate) fn applied(mut self) -> Self {
        self.problem.applied = Some(true);
        self
    }

    pub(crate) fn problems(mut self, problems: Vec<String>) -> Self {
        self.problem.problems = problems;
        self
    }

    pub(crate) fn allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// The answer asks for a token (RFC 6750).
    pub(crate) fn challenge(mut self) -> Self {
        self.challenge = true;
        self
    }

    fn body(&self, public: bool) -> Vec<u8> {
        // A problem has no map and no number that is not finite, so it can always be written.
        printed::document(serde_json::to_vec(&*self.problem).unwrap_or_default(), public)
    }

    /// The whole answer as bytes, for a client whose request could not be read: the connection ends with it.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let (body, Problem { status, title, .. }) = (self.body(true), &*self.problem);
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {length}\r\n\
             cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
        );
        [head.into_bytes(), body].concat()
    }

    /// `public`: the caller has no role.
    pub(crate) fn into_answer(self, public: bool) -> Answer {
        let mut answer = answer::whole(self.body(public));
        *answer.status_mut() = self.status;
        answer::set_type(&mut answer, PROBLEM_JSON);
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(methods) = self.allow {
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
        }
        if self.challenge {
            answer
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"heartbeatd\""));
        }
        answer
    }
}
