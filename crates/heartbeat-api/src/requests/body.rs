//! The body of a request, in bounded size and time: JSON, or the message of a heartbeat.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use crate::answers::answer::values;
use crate::answers::problem::ApiError;
use crate::connections::places::Activity;
use crate::limits::MAX_BODY_BYTES;

/// The body of a request, which may be left unread.
pub(crate) struct RequestBody<'a> {
    pub(crate) body: Incoming,
    pub(crate) unread: &'a AtomicBool,
    pub(crate) activity: &'a Activity,
    pub(crate) limit: Duration,
}

impl RequestBody<'_> {
    /// Marks the request as read to its end, so that the connection does not have to linger.
    pub(crate) fn note_empty(&self) {
        if self.body.is_end_stream() {
            self.unread.store(false, Ordering::Relaxed);
        }
    }

    /// Reads the whole body: a JSON object, or nothing.
    pub(crate) async fn read(self) -> Result<Vec<u8>, ApiError> {
        let body = self.read_any().await?;
        check_object(&body)?;
        Ok(body)
    }

    /// Reads the whole body, of any format, in bounded size and time.
    pub(crate) async fn read_any(self) -> Result<Vec<u8>, ApiError> {
        let _awaits = self.activity.await_body();
        match timeout(self.limit, Limited::new(self.body, MAX_BODY_BYTES).collect()).await {
            Ok(Ok(body)) => {
                self.unread.store(false, Ordering::Relaxed);
                Ok(body.to_bytes().into())
            }
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let detail = format!("a body has at most {MAX_BODY_BYTES} bytes");
                Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail))
            }
            Ok(Err(error)) => Err(ApiError::bad(format!("the body could not be read: {error}"))),
            Err(_) => {
                let detail = format!("the body did not come within {} s", self.limit.as_secs_f64());
                Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", detail))
            }
        }
    }
}

/// Refuses a body that is not a JSON object; an empty body counts as an empty object.
fn check_object(body: &[u8]) -> Result<(), ApiError> {
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None | Some(b'{') => Ok(()),
        Some(_) => Err(ApiError::bad("the body is a JSON object; `{}` will do")),
    }
}

/// Refuses a body that is compressed, or without a JSON content type: a form that a browser sends by itself never has one.
pub(crate) fn check_json(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(CONTENT_ENCODING) {
        let detail = "send the body as it is, without `Content-Encoding`; it has little to compress";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", detail));
    }
    let mut types = values(headers, CONTENT_TYPE);
    let essence = types.next().and_then(|value| value.split(';').next()).map(str::trim);
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
        && types.next().is_none()
    {
        return Ok(());
    }
    let detail = "send the body with `Content-Type: application/json`; `{}` will do";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", detail))
}

/// Refuses any field: this route has none, and the client may have meant something by it.
pub(crate) fn check_empty(body: &[u8]) -> Result<(), ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body) {
        Ok(fields) if fields.is_empty() => Ok(()),
        Ok(_) => Err(ApiError::bad("the body of this request has no fields; `{}` will do")),
        Err(error) => Err(ApiError::bad(format!("the body is not JSON: {error}; `{{}}` will do"))),
    }
}
