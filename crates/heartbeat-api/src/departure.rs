//! `POST /api/daemon/leave/` and `/api/daemon/upgrade/`: heartbeatd goes, and every realm stays.

use heartbeat_status::wire::{DEPARTURE_SCHEMA, DepartureDocument};
use http::StatusCode;
use serde_json::to_vec;

use crate::Backend;
use crate::answer::{Answer, JSON, fresh};
use crate::problem::ApiError;

/// Ends heartbeatd: 202, and nobody answers any more soon after.
pub(crate) async fn leave(ecosystem: &dyn Backend, body: &[u8]) -> Result<Answer, ApiError> {
    check_empty(body)?;
    ecosystem.leave().await;
    accepted(ecosystem, "leave")
}

/// Hands over to another heartbeatd under the same pid: 202, and soon another `instance` answers; 409 with why not.
pub(crate) async fn upgrade(ecosystem: &dyn Backend, body: &[u8]) -> Result<Answer, ApiError> {
    check_empty(body)?;
    match ecosystem.upgrade().await {
        Ok(()) => accepted(ecosystem, "upgrade"),
        Err(why) => {
            let detail = format!("nothing was changed: {why}");
            Err(ApiError::new(StatusCode::CONFLICT, "cannot-upgrade", detail))
        }
    }
}

/// Refuses a field: there is none, and what is passed over may have been meant.
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

fn accepted(ecosystem: &dyn Backend, action: &str) -> Result<Answer, ApiError> {
    let document = DepartureDocument {
        schema: DEPARTURE_SCHEMA.to_owned(),
        action: action.to_owned(),
        instance: ecosystem.about().instance,
    };
    let body = to_vec(&document).map_err(|error| ApiError::unwritable(&error))?;
    Ok(fresh(StatusCode::ACCEPTED, JSON, body))
}
