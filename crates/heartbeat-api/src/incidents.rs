//! Incidents.

use std::sync::Arc;

use heartbeat_status::sanitise_line;
use heartbeat_status::wire::{INCIDENTS_SCHEMA, IncidentDocument, IncidentsDocument};
use http::StatusCode;

use crate::Ecosystem;
use crate::access::Caller;
use crate::answer::{self, Answer, JSON};
use crate::problem::Trouble;
use crate::query::Query;

/// Incidents a page, unless the caller says otherwise.
const DEFAULT_INCIDENTS: usize = 50;
/// Most incidents a page.
const MAX_INCIDENTS: usize = 200;

/// `GET /api/incidents/`.
pub(crate) fn list(ecosystem: &dyn Ecosystem, query: &Query<'_>, caller: Caller) -> Result<Answer, Trouble> {
    let open = query.switch("open")?;
    let limit = match query.get("limit") {
        None => DEFAULT_INCIDENTS,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=MAX_INCIDENTS).contains(limit))
            .ok_or_else(|| Trouble::bad(format!("`limit` is a number from 1 to {MAX_INCIDENTS}")))?,
    };
    let mut incidents = ecosystem.incidents();
    if open {
        incidents.retain(|incident| incident.resolved_at.is_none());
    }
    if let Some(after) = query.get("after") {
        let Some(at) = incidents.iter().position(|incident| incident.id == after) else {
            return Err(unknown(after));
        };
        incidents.drain(..=at);
    }
    let next = (incidents.len() > limit).then(|| incidents[limit - 1].id.clone());
    incidents.truncate(limit);
    let document = IncidentsDocument {
        schema: INCIDENTS_SCHEMA.to_owned(),
        incidents: incidents.iter().map(|incident| shown(incident, caller)).collect(),
        next,
    };
    let body = serde_json::to_vec(&document).map_err(|error| Trouble::unwritable(&error))?;
    Ok(answer::fresh(StatusCode::OK, JSON, body))
}

/// `GET /api/incidents/{id}/`.
pub(crate) fn one(ecosystem: &dyn Ecosystem, id: &str, caller: Caller) -> Result<Answer, Trouble> {
    let found = ecosystem.incidents().into_iter().find(|incident| incident.id == id);
    let incident = found.ok_or_else(|| unknown(id))?;
    let body = serde_json::to_vec(&shown(&incident, caller)).map_err(|error| Trouble::unwritable(&error))?;
    Ok(answer::fresh(StatusCode::OK, JSON, body))
}

/// The output of a realm may hold secrets, so callers without a role do not see it.
fn shown(incident: &Arc<IncidentDocument>, caller: Caller) -> IncidentDocument {
    let mut incident = IncidentDocument::clone(incident);
    if caller.is_public() {
        incident.log_tail.clear();
    }
    incident
}

fn unknown(id: &str) -> Trouble {
    let detail = format!(
        "no incident is called `{}`; /api/incidents/ lists those that are remembered",
        sanitise_line(id)
    );
    Trouble::new(StatusCode::NOT_FOUND, "no-such-incident", detail)
}
