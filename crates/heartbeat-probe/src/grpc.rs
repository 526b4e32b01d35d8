//! gRPC: `Check` of the health service `grpc.health.v1.Health`, over HTTP/2.

use ::http::header::{CONTENT_TYPE, TE, USER_AGENT};
use ::http::{HeaderMap, Method, Request, Uri};
use bytes::{BufMut, Bytes, BytesMut};
use heartbeat_http::{Http2Answer, Stream, send_http2};
use heartbeat_status::printed::quoted;
use heartbeat_status::{FailReason, Outcome, ProbeKind, ProbePhase, sanitise_line};
use percent_encoding::percent_decode;

use crate::broken::{Broken, exchange_broken};
use crate::kind::talks;
use crate::measure::Seen;
use crate::progress::Progress;
use crate::server::{Parts, ServerError};
use crate::target::{Endpoint, Target};
use crate::{AGENT, clock};

/// Port of a URL that names none: the one of gRPC's own examples.
const DEFAULT_PORT: u16 = 50_051;
/// The only method that is called.
const METHOD: &str = "/grpc.health.v1.Health/Check";
/// The protocol that is offered in a TLS handshake.
const ALPN: &[u8] = b"h2";
/// Longest answer that is read, in bytes: a message of a few bytes.
const MAX_ANSWER_BYTES: usize = 4 * 1024;
/// In front of each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// Longest part of a server's own words that is shown, in characters.
const MAX_SHOWN_CHARS: usize = 80;

/// Codes of `grpc-status` (the list is closed).
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Asks the health service of a gRPC server. Passes when it answers `SERVING`.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcProbe {
    target: Target,
    /// The service in question; empty for the server as a whole.
    service: String,
}

impl GrpcProbe {
    /// A probe of `grpc://host[:port][/service]` (port 50051 by default); without a service, of the server as a whole.
    /// `grpc://unix:/run/app.sock:/service` goes to a Unix socket. With the feature `tls`, `grpcs://` connects by TLS
    /// and trusts the system's roots.
    ///
    /// # Errors
    /// [`ServerError`] when the URL is malformed.
    pub fn new(url: &str) -> Result<Self, ServerError> {
        let parts = ServerError::parts(url, &["grpc", "grpcs"], DEFAULT_PORT)?;
        Self::made(parts.with_default_tls("grpcs", Some(ALPN))?)
    }

    /// As [`new`](Self::new) by TLS, with other roots, a client certificate, or another name to verify.
    ///
    /// # Errors
    /// As for [`new`](Self::new), and when a file cannot be used.
    #[cfg(feature = "tls")]
    pub fn with_tls(url: &str, options: &crate::TlsOptions) -> Result<Self, ServerError> {
        let parts = ServerError::parts(url, &["grpc", "grpcs"], DEFAULT_PORT)?;
        Self::made(parts.with_tls(options, Some(ALPN))?)
    }

    fn made(parts: Parts) -> Result<Self, ServerError> {
        match parts {
            Parts { user: None, query: None, target, path, .. } => {
                Ok(Self { target, service: path.unwrap_or_default() })
            }
            _ => Err(ServerError::Url { scheme: "grpc", port: DEFAULT_PORT }),
        }
    }

    fn shown(&self) -> String {
        let endpoint = self.target.endpoint();
        match (endpoint, self.service.as_str()) {
            (_, "") => endpoint.to_string(),
            (Endpoint::Network(_), service) => format!("{endpoint}/{service}"),
            (Endpoint::Unix(_), service) => format!("{endpoint}:/{service}"),
        }
    }

    async fn talk(&self, progress: &mut Progress<'_>) -> Seen {
        let stream = self.target.connect(progress).await?;
        let request = self.request(&stream, progress)?;
        progress.note('>', format_args!("POST {METHOD}, service {:?}", self.service));
        let began = clock::now();
        let broken = |phase| move |error| exchange_broken(&error, phase);
        let answer = send_http2(stream, request).await.map_err(broken(ProbePhase::FirstByte))?;
        progress.took(ProbePhase::FirstByte, began);
        let Http2Answer { head, mut body, .. } = answer;
        progress.note('<', format_args!("HTTP/2 {}", head.status));
        progress.note_headers('<', &head.headers);
        if !head.status.is_success() {
            let detail = format!("answered {}: not a gRPC server, or a proxy before it", head.status);
            return Err(Broken::fail(FailReason::UnexpectedStatus, ProbePhase::FirstByte, detail));
        }
        progress.phase = ProbePhase::Body;
        let began = clock::now();
        let (message, trailers) = body.read(MAX_ANSWER_BYTES).await.map_err(broken(ProbePhase::Body))?;
        progress.took(ProbePhase::Body, began);
        progress.note_headers('<', &trailers);
        // An answer without a message has everything in its head.
        let status = [&trailers, &head.headers].into_iter().find_map(Status::read);
        self.verdict(status, message.as_deref())
    }

    fn request(&self, stream: &Stream, progress: &Progress<'_>) -> Result<Request<Bytes>, Broken> {
        let unsendable = |_: ::http::Error| {
            Broken::fail(FailReason::Protocol, ProbePhase::FirstByte, "the request cannot be sent")
        };
        let scheme = if stream.is_tls() { "https" } else { "http" };
        let authority = match self.target.endpoint() {
            Endpoint::Network(address) => address.to_string(),
            Endpoint::Unix(_) => "localhost".to_owned(),
        };
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(METHOD);
        Request::builder()
            .method(Method::POST)
            .uri(uri.build().map_err(unsendable)?)
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header(USER_AGENT, AGENT)
            .header("grpc-timeout", format!("{}m", progress.timeout.as_millis().min(99_999_999)))
            .body(question(&self.service))
            .map_err(unsendable)
    }

    /// The verdict for the status of the call and its message; `None` where it is missing, or too long.
    fn verdict(&self, status: Option<Status>, message: Option<&[u8]>) -> Seen {
        let of =
            if self.service.is_empty() { "the server".to_owned() } else { format!("`{}`", self.service) };
        let failed = |reason, detail: String| Err(Broken::fail(reason, ProbePhase::Body, detail));
        let not_grpc = |why: &str| failed(FailReason::Protocol, format!("not a gRPC answer: {why}"));
        match status {
            None => return not_grpc("it ends without a grpc-status"),
            Some(Status { code: 0, .. }) => {}
            Some(Status { code: 5, .. }) => {
                return failed(FailReason::UnexpectedStatus, format!("does not know {of}: NOT_FOUND"));
            }
            Some(Status { code: 12, .. }) => {
                let detail = "has no health service grpc.health.v1: UNIMPLEMENTED";
                return failed(FailReason::UnexpectedStatus, detail.to_owned());
            }
            Some(status) => return failed(FailReason::UnexpectedStatus, format!("answered {status}")),
        }
        match message.map(serving) {
            None => not_grpc("it is too long"),
            Some(Err(why)) => not_grpc(why),
            Some(Ok(1)) => Ok((Outcome::Pass, "SERVING".to_owned())),
            Some(Ok(2)) => failed(FailReason::ReportedDown, format!("reports {of} as NOT_SERVING")),
            Some(Ok(3)) => failed(FailReason::ReportedDown, format!("does not know {of}: SERVICE_UNKNOWN")),
            Some(Ok(_)) => failed(FailReason::ReportedDown, format!("reports {of} as UNKNOWN")),
        }
    }
}

talks!(GrpcProbe, grpc => ProbeKind::Grpc, grpc.shown());

/// The status with which a call ended.
struct Status {
    code: u16,
    words: String,
}

impl Status {
    fn read(headers: &HeaderMap) -> Option<Self> {
        let code = headers.get("grpc-status")?.to_str().ok()?.trim().parse().ok()?;
        let words =
            headers.get("grpc-message").map(|words| percent_decode(words.as_bytes()).decode_utf8_lossy());
        let words = sanitise_line(&words.unwrap_or_default()).chars().take(MAX_SHOWN_CHARS).collect();
        Some(Self { code, words })
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match CODES.get(usize::from(self.code)) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "the grpc-status {}", self.code)?,
        }
        if self.words.is_empty() { Ok(()) } else { write!(f, ": {}", quoted(&self.words)) }
    }
}

/// `HealthCheckRequest { service }` as a message of gRPC.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        // Field 1, a text.
        message.put_u8(0x0a);
        varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(&message);
    framed.freeze()
}

fn varint(into: &mut BytesMut, mut number: usize) {
    while number >= 0x80 {
        into.put_u8(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    into.put_u8(u8::try_from(number).unwrap_or_default());
}

/// The field `status` of a `HealthCheckResponse`; the error says what is wrong with the message.
fn serving(framed: &[u8]) -> Result<u64, &'static str> {
    let Some((prefix, rest)) = framed.split_first_chunk::<PREFIX_BYTES>() else {
        return Err("it has no message");
    };
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err("its message is compressed, though the request asked for none");
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let mut left = rest.get(..length).ok_or("its message is cut short")?;
    let mut status = 0;
    while !left.is_empty() {
        let tag = read_varint(&mut left)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = read_varint(&mut left)?,
            (_, 0) => drop(read_varint(&mut left)?),
            (_, kind) => {
                let length = match kind {
                    1 => 8,
                    2 => usize::try_from(read_varint(&mut left)?).unwrap_or(usize::MAX),
                    5 => 4,
                    _ => return Err("its message is damaged"),
                };
                left = left.get(length..).ok_or("its message is damaged")?;
            }
        }
    }
    Ok(status)
}

fn read_varint(left: &mut &[u8]) -> Result<u64, &'static str> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = left.split_first().ok_or("its message is damaged")?;
        *left = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("its message is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap();
        [&[0], length.to_be_bytes().as_slice(), message].concat()
    }

    #[test]
    fn a_question_names_its_service() {
        assert_eq!(question("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(question("shop").as_ref(), b"\0\0\0\0\x06\x0a\x04shop");
        let long = question(&"x".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
    }

    #[test]
    fn an_answer_is_read_with_fields_that_are_not_known_and_refused_when_it_is_damaged() {
        for (message, status) in [
            (&b""[..], 0),
            (b"\x08\x01", 1),
            (b"\x08\x02", 2),
            (b"\x12\x03abc\x08\x01", 1),
            (b"\x18\xff\xff\x03\x08\x03", 3),
            (b"\x11........\x1d....\x08\x01", 1),
        ] {
            assert_eq!(serving(&framed(message)), Ok(status), "{message:?}");
        }
        for damaged in [
            &b"\x08"[..],
            b"\x08\xff",
            b"\x12\x05abc",
            b"\x0b",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(serving(&framed(damaged)), Err("its message is damaged"), "{damaged:?}");
        }
        assert_eq!(serving(b"\0\0\0\0"), Err("it has no message"));
        assert_eq!(serving(b"\0\xff\xff\xff\xff\x08\x01"), Err("its message is cut short"));
        assert!(serving(b"\x01\0\0\0\x02\x08\x01").unwrap_err().contains("compressed"));
    }

    #[test]
    fn a_status_shows_the_words_of_the_server() {
        let headers = |code: &'static str, words: &'static str| {
            let pairs = [("grpc-status", code), ("grpc-message", words)];
            pairs.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).into_iter().collect()
        };
        let shown = |code, words| {
            let status = Status::read(&headers(code, words))?.to_string();
            Some(heartbeat_status::printed::unquoted(&status).into_owned())
        };
        assert_eq!(shown("14", "no%20database%").as_deref(), Some("UNAVAILABLE: no database%"));
        assert_eq!(shown("14", "%1b[2J%0ax").as_deref(), Some("UNAVAILABLE: ?[2J x"));
        assert_eq!(shown("99", "").as_deref(), Some("the grpc-status 99"));
        assert_eq!(shown("many", ""), None);
    }

    #[test]
    fn a_url_names_a_server_and_a_service() {
        let shown = |url: &str| GrpcProbe::new(url).map(|probe| probe.shown());
        assert_eq!(shown("grpc://db").unwrap(), "db:50051");
        assert_eq!(shown("grpc://[::1]:1/shop.Orders").unwrap(), "[::1]:1/shop.Orders");
        assert_eq!(shown("grpc://unix:/run/a.sock:/shop").unwrap(), "unix:/run/a.sock:/shop");
        for bad in ["db", "grpc://", "grpc://me@db", "grpc://db/a/b", "grpc://db?x", "http://db"] {
            assert!(shown(bad).is_err(), "{bad}");
        }
    }
}
