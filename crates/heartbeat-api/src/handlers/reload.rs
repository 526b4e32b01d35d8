//! `POST /api/reload/`.

use heartbeat_wire::ReloadRequest;
use http::StatusCode;
use tokio::time::timeout;

use crate::answers::answer::Answer;
use crate::answers::document::json;
use crate::answers::problem::ApiError;
use crate::backend::{Backend, ReloadRefusal};
use crate::limits::RELOAD_LIMIT;

/// Reads the configuration again: 200 with its changes, 422 with every mistake in it.
pub(crate) async fn reload(ecosystem: &dyn Backend, body: &[u8]) -> Result<Answer, ApiError> {
    let request: ReloadRequest = if body.iter().all(u8::is_ascii_whitespace) {
        ReloadRequest::default()
    } else {
        let example = "{} or { \"dry_run\": true }";
        serde_json::from_slice(body).map_err(|error| {
            ApiError::bad(format!("the body is not a reload request: {error}; write {example}"))
        })?
    };
    let reloaded = timeout(RELOAD_LIMIT, ecosystem.reload(request.dry_run)).await;
    let reloaded = reloaded.map_err(|_| {
        let detail = format!("the configuration was not read within {} s; it may still take effect, /api/status/ has its config_revision", RELOAD_LIMIT.as_secs());
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "not-in-time", detail)
    })?;
    match reloaded.ok_or_else(ApiError::ending)? {
        Ok(document) => json(StatusCode::OK, &document),
        Err(ReloadRefusal { mistakes }) => {
            let detail = match mistakes.as_slice() {
                [one] => format!("nothing was changed: {one}"),
                several => format!("nothing was changed: {} things are wrong", several.len()),
            };
            Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "configuration", detail).problems(mistakes))
        }
    }
}
