//! `POST /api/daemon/leave/` and `/api/daemon/upgrade/`: heartbeatd ends, and every realm keeps running.

use heartbeat_wire::{DEPARTURE_SCHEMA, DepartureDocument};
use http::StatusCode;

use crate::answers::answer::Answer;
use crate::answers::document::json;
use crate::answers::problem::ApiError;
use crate::backend::Backend;
use crate::requests::body::check_empty;

/// Ends heartbeatd: answers 202, and soon no process listens any more.
pub(crate) async fn leave(ecosystem: &dyn Backend, body: &[u8]) -> Result<Answer, ApiError> {
    check_empty(body)?;
    ecosystem.leave().await;
    accepted(ecosystem, "leave")
}

/// Hands over to another heartbeatd under the same pid: 202, and soon another `instance` answers; otherwise 409 with
/// the reason.
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

fn accepted(ecosystem: &dyn Backend, action: &str) -> Result<Answer, ApiError> {
    let document = DepartureDocument {
        schema: DEPARTURE_SCHEMA.to_owned(),
        action: action.to_owned(),
        instance: ecosystem.about().instance,
    };
    json(StatusCode::ACCEPTED, &document)
}
