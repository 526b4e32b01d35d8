//! HTTP: one request over a fresh connection, every phase timed separately.

use std::time::Duration;

use ::http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use bytes::Bytes;
#[cfg(feature = "tls")]
use heartbeat_http::TlsOptions;
use heartbeat_http::{Brief, OpenResponse, Reply};
use heartbeat_status::printed::quoted;
use heartbeat_status::{DegradedReason, FailReason, Outcome, ProbeKind, ProbePhase};
use serde_json::Value;

use crate::broken::{Broken, exchange_broken};
use crate::condition::Condition;
use crate::kind::Kind;
use crate::measure::Seen;
use crate::progress::Progress;
use crate::redirect::{Hop, Redirects, is_followed, shown_location};
#[cfg(feature = "tls")]
use crate::request::ALPN;
use crate::request::{HttpRequest, Scheme};
#[cfg(feature = "tls")]
use crate::secure::Secure;
use crate::snippet::{self, coding, is_json, is_json_value};
use crate::target::Target;
use crate::tcp::contains;
use crate::verdict::{Verdict, reported};
use crate::{HttpError, StatusSet, clock};

/// Largest part of a body that is read, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Lines of a body that are noted in an explanation.
const MAX_NOTED_LINES: usize = 20;
/// One HTTP/1.1 request, `Connection: close`, no proxy, no cookies, and no redirects unless
/// [`with_redirects`](Self::with_redirects) permits some.
///
/// ```
/// use heartbeat_probe::{HttpProbe, Probe, StatusSet};
///
/// let http = HttpProbe::new("http://127.0.0.1:8001/api/health/").unwrap().with_status(StatusSet::only(200).unwrap());
/// assert_eq!(Probe::from(http).target(), "http://127.0.0.1:8001/api/health/");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    target: Target,
    request: HttpRequest,
    /// Whether it follows redirects, and how.
    redirects: Option<Box<Redirects>>,
    expected: Box<Expected>,
}

/// What an answer must be.
#[derive(Clone, Debug, Default, PartialEq)]
struct Expected {
    status: StatusSet,
    conditions: Vec<Condition>,
    response_headers: Vec<(HeaderName, String)>,
    /// The status and the headers decide alone.
    body_unread: bool,
    reported_down_fails: bool,
}

impl HttpProbe {
    /// Most redirects that a measurement follows.
    pub const MAX_REDIRECTS: u8 = 10;

    /// `GET` of an `http://` or `https://` URL, passing with any 2xx. `http://unix:/run/app.sock:/api/health/` goes to
    /// a Unix socket. HTTPS trusts the system's roots unless [`with_tls`](Self::with_tls) says otherwise.
    ///
    /// # Errors
    /// [`HttpError`]: not a URL, a scheme that is not built, or no root certificates on this machine.
    pub fn new(url: &str) -> Result<Self, HttpError> {
        #[cfg_attr(not(feature = "tls"), expect(unused_mut, reason = "only TLS changes it"))]
        let (mut target, request) = HttpRequest::get(url)?;
        if request.scheme == Scheme::Https {
            #[cfg(feature = "tls")]
            {
                target.secure = Some(Secure::new(&TlsOptions::default(), Some(ALPN))?);
            }
            #[cfg(not(feature = "tls"))]
            return Err(HttpError::Scheme { url: url.to_owned(), scheme: "https".to_owned() });
        }
        Ok(Self::of(target, request))
    }

    /// As [`new`](Self::new) for an `https://` URL, with other roots, a client certificate, or another name to verify.
    ///
    /// # Errors
    /// As for [`new`](Self::new), and when a file cannot be used or the URL is not `https://`.
    #[cfg(feature = "tls")]
    pub fn with_tls(url: &str, options: &TlsOptions) -> Result<Self, HttpError> {
        let (mut target, request) = HttpRequest::get(url)?;
        if request.scheme == Scheme::Http {
            return Err(HttpError::NotHttps { url: url.to_owned() });
        }
        target.secure = Some(Secure::new(options, Some(ALPN))?);
        Ok(Self::of(target, request))
    }

    fn of(target: Target, request: HttpRequest) -> Self {
        Self { target, request, redirects: None, expected: Box::default() }
    }

    fn with_request(self, change: impl FnOnce(&mut HttpRequest)) -> Self {
        let Self { mut request, .. } = self;
        change(&mut request);
        Self { request: request.render(), ..self }
    }

    /// Sends another method than GET.
    ///
    /// # Errors
    /// [`HttpError::Method`] when it is not a token.
    pub fn with_method(self, method: &str) -> Result<Self, HttpError> {
        let refused = |_| HttpError::Method { method: method.to_owned() };
        let method = method.parse().map_err(refused)?;
        Ok(self.with_request(|request| request.method = method))
    }

    /// Adds a header, or replaces one of the defaults.
    ///
    /// # Errors
    /// [`HttpError::Header`] when it cannot be sent.
    pub fn with_header(self, name: &str, value: &str) -> Result<Self, HttpError> {
        let refused = || HttpError::Header { name: name.to_owned() };
        let header: HeaderName = name.parse().map_err(|_| refused())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| refused())?;
        // The value may be a secret, which Debug must not show.
        value.set_sensitive(true);
        Ok(self.with_request(|request| drop(request.headers.insert(header, value))))
    }

    /// Sends this body with the request.
    #[must_use]
    pub fn with_body(self, body: impl Into<Bytes>) -> Self {
        self.with_request(|request| request.body = body.into())
    }

    /// Sets the statuses that pass.
    #[must_use]
    pub fn with_status(mut self, status: StatusSet) -> Self {
        self.expected.status = status;
        self
    }

    /// Passes only when the body contains `text`.
    #[must_use]
    pub fn with_contains(mut self, text: &str) -> Self {
        self.expected.conditions.push(Condition::Contains(text.to_owned()));
        self
    }

    /// Passes only when the answer has this header and its value contains `text`.
    ///
    /// # Errors
    /// [`HttpError::Header`] when it is not a name.
    pub fn with_response_header(mut self, name: &str, text: &str) -> Result<Self, HttpError> {
        let refused = |_| HttpError::Header { name: name.to_owned() };
        self.expected.response_headers.push((name.parse().map_err(refused)?, text.to_owned()));
        Ok(self)
    }

    /// Does not read the body of an accepted answer: its status decides, and no verdict in the body counts.
    #[must_use]
    pub fn without_body(mut self) -> Self {
        self.expected.body_unread = true;
        self
    }

    /// Passes only when the body matches a regular expression.
    ///
    /// # Errors
    /// [`HttpError::Pattern`] when it does not compile.
    #[cfg(feature = "regex")]
    pub fn with_matches(mut self, pattern: &str) -> Result<Self, HttpError> {
        self.expected.conditions.push(Condition::matches(pattern)?);
        Ok(self)
    }

    /// Passes only when the body is JSON with `expected` at `pointer` (RFC 6901). A text such as `"< 100"` or `">= 1"`
    /// compares numbers.
    ///
    /// # Errors
    /// [`HttpError::Pointer`] when it is no pointer.
    pub fn with_json(mut self, pointer: &str, expected: Value) -> Result<Self, HttpError> {
        self.expected.conditions.push(Condition::json(pointer, expected)?);
        Ok(self)
    }

    /// An accepted status with a body that says `DOWN` (health+json, Spring) fails instead of being degraded.
    #[must_use]
    pub fn with_reported_down_failing(mut self) -> Self {
        self.expected.reported_down_fails = true;
        self
    }

    /// Follows so many redirects at most, within the same deadline. [`MAX_REDIRECTS`](Self::MAX_REDIRECTS) are followed
    /// where this says more. Never followed: a redirect from HTTPS to HTTP, to a URL that was asked before, to a Unix
    /// socket, to a link-local address, and one from elsewhere to this host. Headers that were
    /// [added](Self::with_header), a body and a client certificate stay with their host.
    #[must_use]
    pub fn with_redirects(self, most: u8) -> Self {
        let most = most.min(Self::MAX_REDIRECTS);
        Self { redirects: (most > 0).then(|| Box::new(Redirects::new(most))), ..self }
    }

    async fn talk(&self, progress: &mut Progress<'_>) -> Seen {
        let answer = match self.request.exchange(&self.target, progress).await? {
            Reply::Brief(brief) if !progress.notes_passes() && self.passes(&brief) => {
                progress.times.body = (!self.expected.body_unread).then_some(Duration::ZERO);
                return Ok((Outcome::Pass, brief.status().as_str().to_owned()));
            }
            reply => OpenResponse::from(reply),
        };
        self.request.note_answer(&answer, progress);
        if let Some(redirects) = &self.redirects {
            return Box::pin(self.follow(redirects, answer, progress)).await;
        }
        self.evaluate(answer, self.target.is_trusted(), progress).await
    }

    /// The answer is a redirect that would not pass.
    fn leads_on(&self, answer: &OpenResponse) -> bool {
        let status = answer.head.status;
        !self.expected.status.contains(status.as_u16())
            && is_followed(status)
            && answer.head.headers.contains_key(LOCATION)
    }

    /// Goes where `answer` leads, and evaluates what is there.
    async fn follow(
        &self,
        redirects: &Redirects,
        mut answer: OpenResponse,
        progress: &mut Progress<'_>,
    ) -> Seen {
        let mut hop = Hop::first(&self.target, &self.request);
        while self.leads_on(&answer) {
            let refused = unexpected(answer.head.status, &answer.head.headers);
            let next = match hop.next(&answer.head, redirects) {
                Ok(next) => next,
                Err(why) => {
                    return Err(Broken {
                        detail: format!("{}, not followed: {why}", refused.detail),
                        ..refused
                    });
                }
            };
            drop(answer);
            let reply = next.request.exchange(&next.target, progress).await;
            answer = reply.map_err(|broken| next.blamed(broken))?.into();
            next.request.note_answer(&answer, progress);
            hop = next;
        }
        let seen = self.evaluate(answer, hop.target.is_trusted(), progress).await;
        seen.map_err(|broken| hop.blamed(broken))
    }

    /// Whether an answer is all that is expected, and there is nothing to say about it.
    fn passes(&self, answer: &Brief) -> bool {
        let Expected { status, conditions, response_headers, body_unread, .. } = &*self.expected;
        if !status.contains(answer.status().as_u16()) || !response_headers.is_empty() {
            return false;
        }
        let (body, trusted) = (answer.body(), self.target.is_trusted());
        let is_silent = || {
            let json = answer.header(&CONTENT_TYPE).is_some_and(is_json_value);
            !json || reported(body, trusted).is_none()
        };
        *body_unread
            || (conditions.iter().all(|condition| condition.check(body, trusted).is_ok()) && is_silent())
    }

    /// The verdict for an answer, of a target that the configuration names or not.
    async fn evaluate(&self, mut answer: OpenResponse, trusted: bool, progress: &mut Progress<'_>) -> Seen {
        let (status, headers) = (answer.head.status, &answer.head.headers);
        if !self.expected.status.contains(status.as_u16()) {
            return Err(refused(answer, trusted, progress).await);
        }
        self.check_headers(headers)?;
        let passed = status.as_u16().to_string();
        if self.expected.body_unread {
            return Ok((Outcome::Pass, passed));
        }
        progress.phase = ProbePhase::Body;
        let began = clock::now();
        let read = answer.body.read(MAX_BODY_BYTES).await;
        let (body, whole) = read.map_err(|error| exchange_broken(&error, ProbePhase::Body))?;
        for line in String::from_utf8_lossy(&body).lines().take(MAX_NOTED_LINES) {
            progress.note('<', format_args!("{line}"));
        }
        progress.took(ProbePhase::Body, began);
        if !whole && !self.expected.conditions.is_empty() {
            let detail =
                format!("longer than {} KiB, and a condition needs all of it", MAX_BODY_BYTES / 1024);
            return Err(Broken::fail(FailReason::BodyTooLarge, ProbePhase::Body, detail));
        }
        self.check(headers, &body, trusted)?;
        let verdict = (is_json(headers) && whole).then(|| reported(&body, trusted)).flatten();
        let Some((verdict, text)) = verdict else { return Ok((Outcome::Pass, passed)) };
        let detail = match text.split_once(": ") {
            Some((what, words)) => format!("{passed}: {what}: {}", quoted(words)),
            None => format!("{passed}: {text}"),
        };
        match verdict {
            // An untrusted target must not move the deadline of its own start.
            Verdict::Starting if !trusted => Ok((Outcome::Pass, passed)),
            Verdict::Starting => Err(Broken::fail(FailReason::StartingUp, ProbePhase::Body, detail)),
            Verdict::Degraded(DegradedReason::ReportedDown) if self.expected.reported_down_fails => {
                Err(Broken::fail(FailReason::ReportedDown, ProbePhase::Body, detail))
            }
            Verdict::Degraded(reason) => Ok((Outcome::Degraded(reason), detail)),
        }
    }

    /// Checks all conditions on the headers.
    fn check_headers(&self, headers: &HeaderMap) -> Result<(), Broken> {
        for (name, expected) in &self.expected.response_headers {
            let mut values = headers.get_all(name).iter().peekable();
            if values.peek().is_none() {
                let detail = format!("the answer has no header `{name}`");
                return Err(Broken::fail(FailReason::ConditionMissing, ProbePhase::FirstByte, detail));
            }
            if !values.any(|value| contains(value.as_bytes(), expected.as_bytes())) {
                let detail = format!("the header `{name}` does not contain {}", crate::expected(expected));
                return Err(Broken::fail(FailReason::ConditionFailed, ProbePhase::FirstByte, detail));
            }
        }
        Ok(())
    }

    /// Checks all conditions on the body.
    fn check(&self, headers: &HeaderMap, body: &[u8], trusted: bool) -> Result<(), Broken> {
        let failed =
            self.expected.conditions.iter().find_map(|condition| condition.check(body, trusted).err());
        let Some(mut broken) = failed else { return Ok(()) };
        if let Some(coding) = coding(headers) {
            let coding = format!(
                "the body is compressed (Content-Encoding: {coding}), though the request accepts only `identity`"
            );
            add(&mut broken.detail, Some(coding));
        } else if trusted {
            add(&mut broken.detail, snippet::of(headers, body, true).map(|words| quoted(&words)));
        }
        Err(broken)
    }
}

impl Kind for HttpProbe {
    fn kind(&self) -> ProbeKind {
        ProbeKind::Http
    }

    fn target(&self) -> String {
        self.request.url(&self.target)
    }

    fn connection(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn connection_mut(&mut self) -> Option<&mut Target> {
        Some(&mut self.target)
    }

    fn note_sent(&self, progress: &Progress<'_>) {
        self.request.note(progress);
    }

    async fn observe(&self, progress: &mut Progress<'_>) -> Seen {
        self.talk(progress).await
    }
}

/// The verdict for an answer whose status does not pass, with what its body says.
async fn refused(mut answer: OpenResponse, trusted: bool, progress: &mut Progress<'_>) -> Broken {
    let headers = &answer.head.headers;
    let mut verdict = unexpected(answer.head.status, headers);
    if !trusted {
        return verdict;
    }
    progress.settle(verdict.clone());
    let Some((body, whole)) = snippet::read(headers, &mut answer.body).await else { return verdict };
    for line in String::from_utf8_lossy(&body).lines().take(MAX_NOTED_LINES) {
        progress.note('<', format_args!("{line}"));
    }
    let json = is_json(headers) && whole;
    let said = json.then(|| reported(&body, true)).flatten();
    if matches!(said, Some((Verdict::Starting, _))) {
        let phase = Some(ProbePhase::FirstByte);
        verdict.outcome = Outcome::Fail { reason: FailReason::StartingUp, phase };
    }
    // A summary only where the body names what is wrong; otherwise its own words say more.
    let named = said.map(|(_, text)| text).filter(|text| text.contains(": "));
    let words = named.or_else(|| snippet::of(headers, &body, whole));
    add(&mut verdict.detail, words.map(|words| quoted(&words)));
    verdict
}

fn add(detail: &mut String, words: Option<String>) {
    if let Some(words) = words {
        detail.push_str(": ");
        detail.push_str(&words);
    }
}

fn unexpected(status: StatusCode, headers: &HeaderMap) -> Broken {
    if status.is_redirection()
        && let Some(location) = headers.get(LOCATION)
    {
        let to = shown_location(&String::from_utf8_lossy(location.as_bytes()));
        return Broken::fail(
            FailReason::Redirected,
            ProbePhase::FirstByte,
            format!("{} to {to}", status.as_u16()),
        );
    }
    let detail = match status.canonical_reason() {
        Some(words) => format!("{} {words}", status.as_u16()),
        None => status.as_u16().to_string(),
    };
    // Retry-After with a 503 means that the service is starting; the core knows whether it has been up before.
    let starts = status == StatusCode::SERVICE_UNAVAILABLE && headers.contains_key(RETRY_AFTER);
    let reason = if starts { FailReason::StartingUp } else { FailReason::UnexpectedStatus };
    Broken::fail(reason, ProbePhase::FirstByte, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_or_refused() {
        let target = |url: &str| HttpProbe::new(url).map(|probe| probe.target());
        assert_eq!(target("http://db:8001").unwrap(), "http://db:8001/");
        assert_eq!(target("http://[::1]/x?y=1#z").unwrap(), "http://[::1]:80/x?y=1");
        assert_eq!(target("HTTP://localhost?full").unwrap(), "http://localhost:80/?full");
        #[cfg(not(feature = "tls"))]
        assert!(matches!(target("https://db/"), Err(HttpError::Scheme { .. })));
        #[cfg(feature = "tls")]
        {
            let blind = TlsOptions::default().without_verification();
            let target = |url: &str| HttpProbe::with_tls(url, &blind).map(|probe| probe.target());
            assert_eq!(target("https://db/x").unwrap(), "https://db:443/x");
            assert!(matches!(target("http://db/x"), Err(HttpError::NotHttps { .. })));
        }
        assert_eq!(target("http://unix:/run/a.sock:/x").unwrap(), "http://unix:/run/a.sock:/x");
        assert_eq!(target("http://unix:/run/a.sock").unwrap(), "http://unix:/run/a.sock:/");
        assert!(matches!(target("ftp://db/"), Err(HttpError::Scheme { .. })));
        for bad in ["db", "http://", "http:///x", "http://user@host/", "http://a b/", "http://db:99999/"] {
            assert!(matches!(target(bad), Err(HttpError::Url { .. })), "{bad}");
        }
    }

    #[test]
    fn secrets_in_headers_do_not_show() {
        let probe =
            HttpProbe::new("http://db/").unwrap().with_header("authorization", "Bearer hunter2").unwrap();
        assert!(!format!("{probe:?}").contains("hunter2"));
    }
}
