//! Answers with a document of the contract.

use heartbeat_status::printed;
use http::StatusCode;
use serde::Serialize;

use crate::answers::answer::{self, Answer, JSON};
use crate::answers::problem::ApiError;

/// The document as JSON for a caller with a role, with a header that forbids caches to keep it.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Result<Answer, ApiError> {
    json_for(false, status, document)
}

/// The same for any caller; `public`: the caller has no role.
pub(crate) fn json_for(
    public: bool,
    status: StatusCode,
    document: &impl Serialize,
) -> Result<Answer, ApiError> {
    let body = serde_json::to_vec(document).map_err(|error| ApiError::unwritable(&error))?;
    Ok(answer::fresh(status, JSON, printed::document(body, public)))
}
