//! Answers and their headers.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{Either, Full};
use serde_json::to_vec;

use heartbeat_status::wire::ActionDocument;

use crate::bodies::Body;
use crate::events::Pieces;
use crate::problem::ApiError;

/// An answer: whole, with a body that is shared and never copied, or a stream.
pub(crate) type Answer = Response<Either<Full<Bytes>, Pieces>>;

/// A whole answer.
pub(crate) fn whole(body: impl Into<Bytes>) -> Answer {
    Response::new(Either::Left(Full::new(body.into())))
}

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

pub(crate) fn set_type(answer: &mut Answer, media_type: HeaderValue) {
    answer.headers_mut().insert(CONTENT_TYPE, media_type);
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// An answer nobody may keep.
pub(crate) fn fresh(status: StatusCode, media_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = whole(body);
    *answer.status_mut() = status;
    set_type(&mut answer, media_type);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The plan or the outcome of a command.
pub(crate) fn action(status: StatusCode, document: &ActionDocument) -> Result<Answer, ApiError> {
    let body = to_vec(document).map_err(|error| ApiError::unwritable(&error))?;
    Ok(fresh(status, JSON, body))
}

/// A shared body: 304 when `headers` say the reader has this meaning already, unless `status` is not 200.
pub(crate) fn shared(
    status: StatusCode,
    media_type: HeaderValue,
    body: &Body,
    headers: &HeaderMap,
) -> Answer {
    let known = status == StatusCode::OK && has_tag(headers, body.tag());
    let mut answer = if known {
        let mut answer = whole(Bytes::new());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer
    } else {
        let mut answer = whole(body.bytes());
        *answer.status_mut() = status;
        set_type(&mut answer, media_type);
        answer
    };
    // A reader may keep it, but asks each time: numbers move without the tag.
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer.headers_mut().insert(ETAG, body.tag().clone());
    answer
}

/// Whether `If-None-Match` names `tag` (weak comparison) or any tag at all.
fn has_tag(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let Ok(tag) = tag.to_str() else { return false };
    values(headers, http::header::IF_NONE_MATCH)
        .flat_map(|value| value.split(','))
        .map(|known| known.trim())
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// The values of a header that are text.
pub(crate) fn values(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}
