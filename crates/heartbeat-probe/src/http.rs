//! HTTP: one request over a fresh connection, every phase timed separately.

use std::time::Duration;

use ::http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER, USER_AGENT,
};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use bytes::Bytes;
#[cfg(feature = "tls")]
use heartbeat_http::TlsOptions;
use heartbeat_http::{Brief, OpenResponse, Rendered, Reply, send, send_rendered};
use heartbeat_status::printed::quoted;
use heartbeat_status::{DegradedReason, FailReason, Outcome, ProbeKind, ProbePhase};
use serde_json::Value;

use crate::condition::Condition;
use crate::kind::talks;
use crate::measure::{Progress, Seen};
#[cfg(feature = "tls")]
use crate::secure::Secure;
use crate::snippet::{self, coding, is_json, is_json_value};
use crate::target::{Broken, Endpoint, Target, exchange_broken};
use crate::tcp::contains;
use crate::verdict::{Verdict, reported};
use crate::{AGENT, HttpError, StatusSet, clock};

/// Largest part of a body that is read, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Lines of a body that are noted in an explanation.
const MAX_NOTED_LINES: usize = 20;
/// Port of an `http://` URL that names none.
const HTTP_PORT: u16 = 80;
/// Port of an `https://` URL that names none.
const HTTPS_PORT: u16 = 443;
/// The protocol that is offered in a TLS handshake.
#[cfg(feature = "tls")]
const ALPN: &[u8] = b"http/1.1";

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// One HTTP/1.1 request, `Connection: close`, no redirects, no proxy, no cookies.
///
/// ```
/// use heartbeat_probe::{HttpProbe, Probe, StatusSet};
///
/// let http = HttpProbe::new("http://127.0.0.1:8001/api/health/").unwrap().with_status(StatusSet::only(200).unwrap());
/// assert_eq!(Probe::from(http).target(), "http://127.0.0.1:8001/api/health/");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    scheme: Scheme,
    target: Target,
    path: String,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
    /// The request as it is sent, where it is a common one.
    rendered: Option<Rendered>,
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
    /// `GET` of an `http://` or `https://` URL, passing with any 2xx. `http://unix:/run/app.sock:/api/health/` goes to
    /// a Unix socket. HTTPS trusts the system's roots unless [`with_tls`](Self::with_tls) says otherwise.
    ///
    /// # Errors
    /// [`HttpError`]: not a URL, a scheme that is not built, or no root certificates on this machine.
    pub fn new(url: &str) -> Result<Self, HttpError> {
        #[cfg_attr(not(feature = "tls"), expect(unused_mut, reason = "only TLS changes it"))]
        let (scheme, mut probe) = Self::plain(url)?;
        match scheme {
            Scheme::Http => Ok(probe),
            #[cfg(feature = "tls")]
            Scheme::Https => {
                probe.target.secure = Some(Secure::new(&TlsOptions::default(), Some(ALPN))?);
                Ok(probe)
            }
            #[cfg(not(feature = "tls"))]
            Scheme::Https => Err(HttpError::Scheme { url: url.to_owned(), scheme: "https".to_owned() }),
        }
    }

    /// As [`new`](Self::new) for an `https://` URL, with other roots, a client certificate, or another name to verify.
    ///
    /// # Errors
    /// As for [`new`](Self::new), and when a file cannot be used or the URL is not `https://`.
    #[cfg(feature = "tls")]
    pub fn with_tls(url: &str, options: &TlsOptions) -> Result<Self, HttpError> {
        let (scheme, mut probe) = Self::plain(url)?;
        if scheme == Scheme::Http {
            return Err(HttpError::NotHttps { url: url.to_owned() });
        }
        probe.target.secure = Some(Secure::new(options, Some(ALPN))?);
        Ok(probe)
    }

    fn plain(url: &str) -> Result<(Scheme, Self), HttpError> {
        let refused = || HttpError::Url { url: url.to_owned() };
        let (scheme, rest) = url.split_once("://").ok_or_else(refused)?;
        let (known, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Scheme::Http, HTTP_PORT),
            "https" => (Scheme::Https, HTTPS_PORT),
            _ => return Err(HttpError::Scheme { url: url.to_owned(), scheme: scheme.to_owned() }),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = Target::split(rest);
        let target = Target::parse(authority, Some(default_port)).ok_or_else(refused)?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        path.parse::<::http::uri::PathAndQuery>().map_err(|_| refused())?;
        let mut headers = HeaderMap::new();
        let host = target.endpoint().host_header(default_port);
        headers.insert(HOST, host.parse().map_err(|_| refused())?);
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let probe = Self {
            scheme: known,
            target,
            path,
            method: Method::GET,
            headers,
            body: Bytes::new(),
            rendered: None,
            expected: Box::default(),
        };
        Ok((known, probe.render()))
    }

    fn render(mut self) -> Self {
        self.rendered = Rendered::new(&self.method, &self.path, &self.headers, &self.body);
        self.target.is_written_once = self.rendered.as_ref().is_some_and(Rendered::fits_a_segment);
        self
    }

    /// Sends another method than GET.
    ///
    /// # Errors
    /// [`HttpError::Method`] when it is not a token.
    pub fn with_method(self, method: &str) -> Result<Self, HttpError> {
        let refused = |_| HttpError::Method { method: method.to_owned() };
        Ok(Self { method: method.parse().map_err(refused)?, ..self }.render())
    }

    /// Adds a header, or replaces one of the defaults.
    ///
    /// # Errors
    /// [`HttpError::Header`] when it cannot be sent.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self, HttpError> {
        let refused = || HttpError::Header { name: name.to_owned() };
        let header: HeaderName = name.parse().map_err(|_| refused())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| refused())?;
        // The value may be a secret, which Debug must not show.
        value.set_sensitive(true);
        self.headers.insert(header, value);
        Ok(self.render())
    }

    /// Sends this body with the request.
    #[must_use]
    pub fn with_body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }.render()
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

    fn url(&self) -> String {
        let colon = if matches!(self.target.endpoint(), Endpoint::Unix(_)) { ":" } else { "" };
        format!("{}://{}{colon}{}", self.scheme.as_str(), self.target.endpoint(), self.path)
    }

    async fn talk(&self, progress: &mut Progress<'_>) -> Seen {
        let stream = self.target.connect(progress).await?;
        progress.sent_unnoted = true;
        let began = clock::now();
        let reply = match &self.rendered {
            Some(rendered) => send_rendered(stream, rendered).await,
            None => send(stream, self.request()?).await.map(Reply::Long),
        };
        let reply = reply.map_err(|error| exchange_broken(&error, ProbePhase::FirstByte))?;
        progress.times.first_byte = Some(clock::now().since(began));
        let answer = match reply {
            Reply::Brief(brief) if !progress.notes_passes() && self.passes(&brief) => {
                progress.times.body = (!self.expected.body_unread).then_some(Duration::ZERO);
                return Ok((Outcome::Pass, brief.status().as_str().to_owned()));
            }
            reply => OpenResponse::from(reply),
        };
        progress.sent_unnoted = false;
        self.note_sent(progress);
        progress.note('<', format_args!("{:?} {}", answer.head.version, answer.head.status));
        progress.note_headers('<', &answer.head.headers);
        self.evaluate(answer, progress).await
    }

    fn note_sent(&self, progress: &Progress<'_>) {
        let (path, query) =
            self.path.split_once('?').map_or((self.path.as_str(), ""), |(path, _)| (path, "?(hidden)"));
        progress.note('>', format_args!("{} {path}{query} HTTP/1.1", self.method));
        progress.note_headers('>', &self.headers);
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

    fn request(&self) -> Result<Request<Bytes>, Broken> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        // The constructor has checked that it parses.
        *request.uri_mut() = self.path.parse().map_err(|_| {
            Broken::fail(FailReason::Protocol, ProbePhase::FirstByte, "the path cannot be sent")
        })?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }

    async fn evaluate(&self, mut answer: OpenResponse, progress: &mut Progress<'_>) -> Seen {
        let (status, headers) = (answer.head.status, &answer.head.headers);
        if !self.expected.status.contains(status.as_u16()) {
            return Err(self.refused(answer, progress).await);
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
        progress.times.body = Some(clock::now().since(began));
        if !whole && !self.expected.conditions.is_empty() {
            let detail =
                format!("longer than {} KiB, and a condition needs all of it", MAX_BODY_BYTES / 1024);
            return Err(Broken::fail(FailReason::BodyTooLarge, ProbePhase::Body, detail));
        }
        self.check(headers, &body)?;
        let verdict =
            (is_json(headers) && whole).then(|| reported(&body, self.target.is_trusted())).flatten();
        let Some((verdict, text)) = verdict else { return Ok((Outcome::Pass, passed)) };
        let detail = match text.split_once(": ") {
            Some((what, words)) => format!("{passed}: {what}: {}", quoted(words)),
            None => format!("{passed}: {text}"),
        };
        match verdict {
            // An untrusted target must not move the deadline of its own start.
            Verdict::Starting if !self.target.is_trusted() => Ok((Outcome::Pass, passed)),
            Verdict::Starting => Err(Broken::fail(FailReason::StartingUp, ProbePhase::Body, detail)),
            Verdict::Degraded(DegradedReason::ReportedDown) if self.expected.reported_down_fails => {
                Err(Broken::fail(FailReason::ReportedDown, ProbePhase::Body, detail))
            }
            Verdict::Degraded(reason) => Ok((Outcome::Degraded(reason), detail)),
        }
    }

    /// The verdict for an answer whose status does not pass, with what its body says.
    async fn refused(&self, mut answer: OpenResponse, progress: &mut Progress<'_>) -> Broken {
        let headers = &answer.head.headers;
        let mut verdict = unexpected(answer.head.status, headers);
        if !self.target.is_trusted() {
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

    /// Checks all conditions on the headers.
    fn check_headers(&self, headers: &HeaderMap) -> Result<(), Broken> {
        for (name, expected) in &self.expected.response_headers {
            let mut values = headers.get_all(name).iter().peekable();
            if values.peek().is_none() {
                let detail = format!("the answer has no header `{name}`");
                return Err(Broken::fail(FailReason::ConditionMissing, ProbePhase::FirstByte, detail));
            }
            if !values.any(|value| contains(value.as_bytes(), expected.as_bytes())) {
                let detail = format!("the header `{name}` does not contain {expected:?}");
                return Err(Broken::fail(FailReason::ConditionFailed, ProbePhase::FirstByte, detail));
            }
        }
        Ok(())
    }

    /// Checks all conditions on the body.
    fn check(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Broken> {
        let trusted = self.target.is_trusted();
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

talks!(HttpProbe, http => ProbeKind::Http, http.url(), |http, progress| http.note_sent(progress));

fn add(detail: &mut String, words: Option<String>) {
    if let Some(words) = words {
        detail.push_str(": ");
        detail.push_str(&words);
    }
}

/// A location without the parts that may hold a secret: its user, its query, its fragment.
fn shown_location(location: &str) -> String {
    let end = location.find(['?', '#']).unwrap_or(location.len());
    let (shown, hidden) = location.split_at(end);
    let ellipsis = match hidden.chars().next() {
        Some('?') => "?(hidden)",
        Some(_) => "#(hidden)",
        None => "",
    };
    let Some((scheme, rest)) = shown.split_once("//") else { return format!("{shown}{ellipsis}") };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}//{host}{path}{ellipsis}")
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
    use crate::kind::Kind as _;

    #[test]
    fn a_location_is_shown_without_its_user_query_and_fragment() {
        for (location, shown) in [
            ("http://elsewhere/", "http://elsewhere/"),
            ("/login/?next=/&token=canary", "/login/?(hidden)"),
            ("/login/#token=canary?x", "/login/#(hidden)"),
            ("https://ada:canary@elsewhere:8443/@b?token=canary", "https://elsewhere:8443/@b?(hidden)"),
            ("//ada:c@nary@elsewhere", "//elsewhere"),
            ("//elsewhere?to=http://ada:canary@b/", "//elsewhere?(hidden)"),
        ] {
            assert_eq!(shown_location(location), shown);
        }
    }

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
            let blind = TlsOptions { no_verify: true, ..TlsOptions::default() };
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
