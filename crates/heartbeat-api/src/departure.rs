//! `POST /api/daemon/leave/` and `/api/daemon/upgrade/`: heartbeatd goes, and every realm stays.

use heartbeat_status::wire::{DEPARTURE_SCHEMA, DepartureDocument};
use http::StatusCode;
use serde_json::to_vec;

use crate::Ecosystem;
use crate::answer::{Answer, JSON, fresh};
use crate::problem::Trouble;

/// Ends heartbeatd: 202, and nobody answers any more soon after.
pub(crate) async fn leave(ecosystem: &dyn Ecosystem) -> Result<Answer, Trouble> {
    ecosystem.leave().await;
    accepted(ecosystem, "leave")
}

/// Hands over to another heartbeatd under the same pid: 202, and soon another `instance` answers; 409 with why not.
pub(crate) async fn upgrade(ecosystem: &dyn Ecosystem) -> Result<Answer, Trouble> {
    match ecosystem.upgrade().await {
        Ok(()) => accepted(ecosystem, "upgrade"),
        Err(why) => {
            let detail = format!("nothing was changed: {why}");
            Err(Trouble::new(StatusCode::CONFLICT, "cannot-upgrade", detail))
        }
    }
}

fn accepted(ecosystem: &dyn Ecosystem, action: &str) -> Result<Answer, Trouble> {
    let document = DepartureDocument {
        schema: DEPARTURE_SCHEMA.to_owned(),
        action: action.to_owned(),
        instance: ecosystem.about().instance,
    };
    let body = to_vec(&document).map_err(|error| Trouble::unwritable(&error))?;
    Ok(fresh(StatusCode::ACCEPTED, JSON, body))
}
