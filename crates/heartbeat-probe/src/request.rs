//! One HTTP request: what is sent, and how, over a connection of its own.

use ::http::header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, HOST, USER_AGENT};
use ::http::{HeaderMap, HeaderValue, Method, Request};
use bytes::Bytes;
use heartbeat_http::{OpenResponse, Rendered, Reply, send, send_rendered};
use heartbeat_status::{FailReason, ProbePhase};

use crate::broken::{Broken, exchange_broken};
use crate::progress::Progress;
use crate::target::{Endpoint, Line, Target};
use crate::{AGENT, HttpError, clock};

/// Port of an `http://` URL that names none.
const HTTP_PORT: u16 = 80;
/// Port of an `https://` URL that names none.
const HTTPS_PORT: u16 = 443;

/// The protocol that is offered in a TLS handshake.
#[cfg(feature = "tls")]
pub(crate) const ALPN: &[u8] = b"http/1.1";

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Http => HTTP_PORT,
            Self::Https => HTTPS_PORT,
        }
    }
}

/// A request, without the target to which it goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HttpRequest {
    pub(crate) scheme: Scheme,
    pub(crate) path: String,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The request as it is sent, where it is a common one.
    rendered: Option<Rendered>,
}

impl HttpRequest {
    /// `GET` of a URL that begins with `http://` or `https://`, and its target, which has no TLS yet.
    pub(crate) fn get(url: &str) -> Result<(Target, Self), HttpError> {
        let refused = || HttpError::Url { url: url.to_owned() };
        let (written, rest) = url.split_once("://").ok_or_else(refused)?;
        let scheme = Scheme::parse(written)
            .ok_or_else(|| HttpError::Scheme { url: url.to_owned(), scheme: written.to_owned() })?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = Target::split(rest);
        let target = Target::parse(authority, Some(scheme.port())).ok_or_else(refused)?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        path.parse::<::http::uri::PathAndQuery>().map_err(|_| refused())?;
        let mut headers = HeaderMap::new();
        let host = target.endpoint().host_header(scheme.port());
        headers.insert(HOST, host.parse().map_err(|_| refused())?);
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let request = Self { scheme, path, method: Method::GET, headers, body: Bytes::new(), rendered: None };
        Ok((target, request.render()))
    }

    /// The same request to another path of its server.
    pub(crate) fn to(&self, path: String) -> Self {
        Self { path, ..self.clone() }.render()
    }

    /// Renders the request anew, after a change.
    pub(crate) fn render(mut self) -> Self {
        self.rendered = Rendered::new(&self.method, &self.path, &self.headers, &self.body);
        self
    }

    /// The URL at `target`.
    pub(crate) fn url(&self, target: &Target) -> String {
        let colon = if matches!(target.endpoint(), Endpoint::Unix(_)) { ":" } else { "" };
        format!("{}://{}{colon}{}", self.scheme.as_str(), target.endpoint(), self.path)
    }

    /// Connects to `target`, sends the request, and waits for the head of the answer.
    pub(crate) async fn exchange(
        &self,
        target: &Target,
        progress: &mut Progress<'_>,
    ) -> Result<Reply, Broken> {
        let line = target.line(self.rendered.as_ref(), progress).await?;
        progress.sent_unnoted = true;
        let began = clock::now();
        let reply = match (line, &self.rendered) {
            (Line::Asked(asked), _) => asked.reply().await,
            // Apart, so that what is pending for the common request stays small.
            (Line::Open(stream), Some(rendered)) => Box::pin(send_rendered(stream, rendered)).await,
            (Line::Open(stream), None) => Box::pin(send(stream, self.long()?)).await.map(Reply::Long),
        };
        let reply = reply.map_err(|error| exchange_broken(&error, ProbePhase::FirstByte))?;
        progress.took(ProbePhase::FirstByte, began);
        Ok(reply)
    }

    fn long(&self) -> Result<Request<Bytes>, Broken> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        // The constructor has checked that it parses.
        *request.uri_mut() = self.path.parse().map_err(|_| {
            Broken::fail(FailReason::Protocol, ProbePhase::FirstByte, "the path cannot be sent")
        })?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }

    /// Notes what was sent.
    pub(crate) fn note(&self, progress: &Progress<'_>) {
        let (path, query) =
            self.path.split_once('?').map_or((self.path.as_str(), ""), |(path, _)| (path, "?(hidden)"));
        progress.note('>', format_args!("{} {path}{query} HTTP/1.1", self.method));
        progress.note_headers('>', &self.headers);
    }

    /// Notes what was sent, and the head of its answer.
    pub(crate) fn note_answer(&self, answer: &OpenResponse, progress: &mut Progress<'_>) {
        progress.sent_unnoted = false;
        self.note(progress);
        progress.note('<', format_args!("{:?} {}", answer.head.version, answer.head.status));
        progress.note_headers('<', &answer.head.headers);
    }
}
