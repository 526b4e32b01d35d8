//! Answers with a document of the contract.

use http::StatusCode;
use serde::Serialize;

use crate::answers::answer::{self, Answer, JSON};
use crate::answers::problem::ApiError;

/// The document as JSON, with a header that forbids caches to keep it.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Result<Answer, ApiError> {
    let body = serde_json::to_vec(document).map_err(|error| ApiError::unwritable(&error))?;
    Ok(answer::fresh(status, JSON, body))
}
