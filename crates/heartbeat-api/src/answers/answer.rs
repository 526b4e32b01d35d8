//! Answers and their headers.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{Either, Full};
use tokio::sync::mpsc;

use crate::answers::pieces::Pieces;

/// An answer: whole, with a body that is shared and never copied, or a stream.
pub(crate) type Answer = Response<Either<Full<Bytes>, Pieces>>;

/// A whole answer.
pub(crate) fn whole(body: impl Into<Bytes>) -> Answer {
    Response::new(Either::Left(Full::new(body.into())))
}

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
/// Names the event after which a reader whose stream broke resumes.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Sent on a stream that was quiet for a while, so that proxies and readers see that it is alive.
pub(crate) const ALIVE: Bytes = Bytes::from_static(b": alive\n\n");

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

pub(crate) fn set_type(answer: &mut Answer, media_type: HeaderValue) {
    answer.headers_mut().insert(CONTENT_TYPE, media_type);
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// An answer that no cache may keep.
pub(crate) fn fresh(status: StatusCode, media_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = whole(body);
    *answer.status_mut() = status;
    set_type(&mut answer, media_type);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The values of a header that are text.
pub(crate) fn values(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

/// An answer that goes on as long as the client keeps its end open.
pub(crate) fn stream() -> (mpsc::Sender<Bytes>, Answer) {
    let (out, pieces) = Pieces::channel();
    let mut answer = Answer::new(Either::Right(pieces));
    set_type(&mut answer, EVENT_STREAM);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Without this header a proxy such as nginx holds back events that the reader should see now.
    answer.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    (out, answer)
}
