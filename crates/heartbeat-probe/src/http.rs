//! HTTP: one request over a fresh connection, every stage timed apart.

use std::sync::Arc;
use std::time::Duration;

use ::http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use ::hyper::body::Incoming;
use bytes::Bytes;
use heartbeat_status::{CheckResult, DegradedReason, FailReason, Instant, Outcome, ProbePhase};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::clock;
use crate::condition::{Condition, reported};
use crate::measure::{Progress, Seen, measure};
use crate::target::{Broken, Target, io_broken};
use crate::{Denied, HttpError, Networks, StatusSet};

/// Largest response head in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Largest part of a body that is read, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Most headers of a response.
const MAX_HEADER_COUNT: usize = 256;

const AGENT: &str = concat!("heartbeat-probe/", env!("CARGO_PKG_VERSION"));

/// One HTTP/1.1 request, `Connection: close`, no redirects, no proxy, no cookies.
///
/// ```
/// use heartbeat_probe::{HttpProbe, StatusSet};
///
/// let probe = HttpProbe::new("http://127.0.0.1:8001/api/health/").unwrap().with_status(StatusSet::only(200).unwrap());
/// assert_eq!(probe.target(), "http://127.0.0.1:8001/api/health/");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    target: Target,
    path: String,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
    status: StatusSet,
    conditions: Vec<Condition>,
    reported_down_fails: bool,
    slow: Option<Duration>,
}

impl HttpProbe {
    /// `GET` of an `http://` URL, passing with any 2xx.
    ///
    /// # Errors
    /// [`HttpError`]: not a URL, or a scheme that is not built.
    pub fn new(url: &str) -> Result<Self, HttpError> {
        let refused = || HttpError::Url { url: url.to_owned() };
        let (scheme, rest) = url.split_once("://").ok_or_else(refused)?;
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(HttpError::Scheme { url: url.to_owned(), scheme: scheme.to_owned() });
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let target = Target::parse(authority, Some(80)).ok_or_else(refused)?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        path.parse::<::http::uri::PathAndQuery>().map_err(|_| refused())?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, target.authority().parse().map_err(|_| refused())?);
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        Ok(Self {
            target,
            path,
            method: Method::GET,
            headers,
            body: Bytes::new(),
            status: StatusSet::default(),
            conditions: Vec::new(),
            reported_down_fails: false,
            slow: None,
        })
    }

    /// Another method.
    ///
    /// # Errors
    /// [`HttpError::Method`] when it is none.
    pub fn with_method(self, method: &str) -> Result<Self, HttpError> {
        let refused = |_| HttpError::Method { method: method.to_owned() };
        Ok(Self { method: method.parse().map_err(refused)?, ..self })
    }

    /// One more header, or another value for one of ours.
    ///
    /// # Errors
    /// [`HttpError::Header`] when it cannot be sent.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self, HttpError> {
        let refused = || HttpError::Header { name: name.to_owned() };
        let header: HeaderName = name.parse().map_err(|_| refused())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| refused())?;
        // It may be a secret: Debug does not show it.
        value.set_sensitive(true);
        self.headers.insert(header, value);
        Ok(self)
    }

    /// A body to send.
    #[must_use]
    pub fn with_body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// Which statuses pass.
    #[must_use]
    pub fn with_status(self, status: StatusSet) -> Self {
        Self { status, ..self }
    }

    /// Passes only when the body contains `text`.
    #[must_use]
    pub fn with_contains(mut self, text: &str) -> Self {
        self.conditions.push(Condition::Contains(text.to_owned()));
        self
    }

    /// Passes only when the body matches a regular expression.
    ///
    /// # Errors
    /// [`HttpError::Pattern`] when it does not compile.
    pub fn with_matches(mut self, pattern: &str) -> Result<Self, HttpError> {
        self.conditions.push(Condition::matches(pattern)?);
        Ok(self)
    }

    /// Passes only when the body is JSON with `expected` at `pointer` (RFC 6901).
    ///
    /// # Errors
    /// [`HttpError::Pointer`] when it is no pointer.
    pub fn with_json(mut self, pointer: &str, expected: Value) -> Result<Self, HttpError> {
        self.conditions.push(Condition::json(pointer, expected)?);
        Ok(self)
    }

    /// An accepted status with a body that says `DOWN` (health+json, Spring) fails instead of being degraded.
    #[must_use]
    pub fn with_reported_down_failing(self) -> Self {
        Self { reported_down_fails: true, ..self }
    }

    /// A pass that takes longer is degraded.
    #[must_use]
    pub fn with_slow(self, slow: Duration) -> Self {
        Self { slow: Some(slow), ..self }
    }

    /// Connects within `networks` only. A name is resolved, and its addresses are checked, at every measurement.
    ///
    /// # Errors
    /// [`Denied`] when it can be said already: for an address, and for `localhost`.
    pub fn within(self, networks: Arc<Networks>) -> Result<Self, Denied> {
        Ok(Self { target: self.target.within(networks)?, ..self })
    }

    /// What it looks at.
    #[must_use]
    pub fn target(&self) -> String {
        format!("http://{}{}", self.target.authority(), self.path)
    }

    pub(crate) async fn measure(&self, queued_at: Option<Instant>, timeout: Duration) -> CheckResult {
        measure(queued_at, timeout, self.slow, async |progress| self.exchange(progress).await).await
    }

    async fn exchange(&self, progress: &mut Progress) -> Seen {
        let stream = self.target.connect(&mut progress.phase, &mut progress.times).await?;
        progress.phase = ProbePhase::FirstByte;
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_buf_size(MAX_HEAD_BYTES).max_headers(MAX_HEADER_COUNT);
        let hands = builder.handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = hands.map_err(|error| broken(&error, ProbePhase::FirstByte))?;
        let request = self.request()?;
        let answer = async {
            let began = clock::now();
            let response =
                sender.send_request(request).await.map_err(|error| broken(&error, ProbePhase::FirstByte))?;
            progress.times.first_byte = Some(clock::now().since(began));
            progress.phase = ProbePhase::Body;
            let began = clock::now();
            let seen = self.judge(response).await;
            progress.times.body = Some(clock::now().since(began));
            seen
        };
        // The connection is driven here and ends with us: no task of its own is left behind.
        tokio::pin!(answer, connection);
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                seen = &mut answer => return seen,
                // Its errors reach the answer, too.
                _ = &mut connection, if open => open = false,
            }
        }
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, Broken> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        // Parsed once when the probe was made.
        *request.uri_mut() = self.path.parse().map_err(|_| {
            Broken::fail(FailReason::Protocol, ProbePhase::FirstByte, "the path cannot be sent")
        })?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }

    async fn judge(&self, response: Response<Incoming>) -> Seen {
        let status = response.status();
        if !self.status.contains(status.as_u16()) {
            return Err(unexpected(status, response.headers()));
        }
        let json = is_json(response.headers());
        let (body, whole) = read_body(response.into_body()).await?;
        if !whole && !self.conditions.is_empty() {
            let detail =
                format!("longer than {} KiB, and a condition needs all of it", MAX_BODY_BYTES / 1024);
            return Err(Broken::fail(FailReason::BodyTooLarge, ProbePhase::Body, detail));
        }
        for condition in &self.conditions {
            condition.check(&body)?;
        }
        let reported = if json && whole { reported(&body) } else { None };
        match reported {
            Some((Outcome::Degraded(DegradedReason::ReportedDown), detail)) if self.reported_down_fails => {
                Err(Broken::fail(FailReason::ReportedDown, ProbePhase::Body, detail))
            }
            Some(seen) => Ok(seen),
            None => Ok((Outcome::Pass, status.as_u16().to_string())),
        }
    }
}

fn unexpected(status: StatusCode, headers: &HeaderMap) -> Broken {
    if status.is_redirection()
        && let Some(location) = headers.get(LOCATION)
    {
        let to = String::from_utf8_lossy(location.as_bytes()).into_owned();
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
    Broken::fail(FailReason::UnexpectedStatus, ProbePhase::FirstByte, detail)
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json")
}

/// Reads to the end, or as far as we read at all; whether it was all.
async fn read_body(mut body: Incoming) -> Result<(Vec<u8>, bool), Broken> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error, ProbePhase::Body))?;
        let Ok(data) = frame.into_data() else { continue };
        let room = MAX_BODY_BYTES - read.len();
        read.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((read, false));
        }
    }
    Ok((read, true))
}

/// What an error of the exchange says about the target.
fn broken(error: &hyper::Error, phase: ProbePhase) -> Broken {
    let source = std::error::Error::source(error);
    if let Some(io) = source.and_then(|source| source.downcast_ref::<std::io::Error>())
        && io.kind() != std::io::ErrorKind::UnexpectedEof
    {
        return io_broken(io, phase);
    }
    if phase == ProbePhase::Body {
        return Broken::fail(FailReason::BodyIncomplete, phase, "the server cut its answer short");
    }
    // hyper keeps the kind of a parse error to itself.
    if error.is_parse() && error.to_string().contains("too large") {
        let detail = format!("more than {} KiB of headers", MAX_HEAD_BYTES / 1024);
        return Broken::fail(FailReason::HeadersTooLarge, phase, detail);
    }
    if error.is_incomplete_message() {
        return Broken::fail(FailReason::Reset, phase, "closed before an answer");
    }
    Broken::fail(FailReason::Protocol, phase, format!("not HTTP: {error}"))
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
        assert!(matches!(target("https://db/"), Err(HttpError::Scheme { .. })));
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
