//! The answers to what is no request that the server can read. hyper refuses a head by itself with an empty body; a
//! problem takes its place, so that every error of the API says what to do.

use http::StatusCode;

use crate::answers::problem::ApiError;
use crate::limits::{MAX_HEAD_BYTES, MAX_HEADER_COUNT};

/// How a client begins that speaks HTTP/2 without asking (RFC 9113, 3.4).
const HTTP_2: &[u8] = b"PRI * HTTP/2";

/// The problem for what hyper is about to write, if that is its own refusal of a head: no other error has an empty body.
pub(crate) fn refused_by_hyper(written: &[u8]) -> Option<ApiError> {
    let head = written.strip_suffix(b"\r\n\r\n")?;
    let status = StatusCode::from_bytes(head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?).ok()?;
    let mut lines = head.split(|byte| *byte == b'\n');
    let is_own = status.is_client_error() && lines.any(|line| line.trim_ascii() == b"content-length: 0");
    is_own.then(|| refusal(status))
}

fn refusal(status: StatusCode) -> ApiError {
    let is_large = [StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, StatusCode::URI_TOO_LONG].contains(&status);
    if is_large {
        let detail = format!(
            "the path, the query and the headers of a request have at most {MAX_HEAD_BYTES} bytes, and at most \
             {MAX_HEADER_COUNT} headers; ask with fewer, and send what is long in the body"
        );
        return ApiError::new(status, "head-too-large", detail);
    }
    let detail = "the head of the request is not HTTP/1.1; it needs a request line such as `GET /api/status/ HTTP/1.1`, \
                  lines of the form `Name: value`, and at most one Content-Length, which is a number; on an address \
                  without TLS use http:// instead of https://";
    ApiError::new(status, "bad-request", detail)
}

/// The problem for what a client has sent first, if that is HTTP/2.
pub(crate) fn begins_http_2(first: &[u8]) -> Option<ApiError> {
    let detail = "heartbeatd speaks HTTP/1.1 and not HTTP/2; ask without prior knowledge (curl: `--http1.1`)";
    first
        .starts_with(HTTP_2)
        .then(|| ApiError::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "http-version", detail))
}

/// The problem of a client that speaks plain HTTP to a listener with TLS.
pub(crate) fn plain_on_tls() -> ApiError {
    let detail = "heartbeatd speaks TLS on this port: use https:// instead of http://";
    ApiError::new(StatusCode::BAD_REQUEST, "speak-tls", detail)
}
