//! Incidents.

use std::sync::Arc;

use heartbeat_status::sanitise_line;
use heartbeat_wire::{
    AckEntry, AckRequest, INCIDENTS_SCHEMA, IncidentDocument, IncidentsDocument, NOTIFICATIONS_SCHEMA,
    NotificationsDocument,
};
use http::StatusCode;

use crate::answers::answer::Answer;
use crate::answers::document::{json, json_for};
use crate::answers::problem::ApiError;
use crate::backend::{Acknowledged, Backend, IncidentPage};
use crate::requests::access::Caller;
use crate::requests::query::Query;

/// Incidents per page, unless the caller says otherwise.
const DEFAULT_INCIDENTS: usize = 50;
/// Most incidents per page.
const MAX_INCIDENTS: usize = 200;

/// Longest name and note of an acknowledgement, in bytes.
const MAX_ACK_BYTES: usize = 1_000;

/// Answers `GET /api/incidents/`.
pub(crate) async fn list(
    ecosystem: &dyn Backend,
    query: &Query<'_>,
    caller: Caller,
) -> Result<Answer, ApiError> {
    let open = query.switch("open")?;
    let limit = match query.get("limit") {
        None => DEFAULT_INCIDENTS,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=MAX_INCIDENTS).contains(limit))
            .ok_or_else(|| ApiError::bad(format!("`limit` is a number from 1 to {MAX_INCIDENTS}")))?,
    };
    let after = query.get("after").map(ToOwned::to_owned);
    if let Some(after) = &after {
        ecosystem.incident(after.clone()).await.ok_or_else(|| unknown(after))?;
    }
    // One more than wanted, to see whether there are older ones.
    let page = IncidentPage { open, after, limit: limit + 1 };
    let mut incidents = ecosystem.incidents(page).await;
    let next = (incidents.len() > limit).then(|| incidents[limit - 1].id.clone());
    incidents.truncate(limit);
    let document = IncidentsDocument {
        schema: INCIDENTS_SCHEMA.to_owned(),
        incidents: incidents.iter().map(|incident| shown(incident, caller)).collect(),
        next,
    };
    json_for(caller.is_public(), StatusCode::OK, &document)
}

/// Answers `GET /api/incidents/{id}/`.
pub(crate) async fn one(ecosystem: &dyn Backend, id: &str, caller: Caller) -> Result<Answer, ApiError> {
    let incident = ecosystem.incident(id.to_owned()).await.ok_or_else(|| unknown(id))?;
    json_for(caller.is_public(), StatusCode::OK, &shown(&incident, caller))
}

/// Answers `GET /api/incidents/{id}/evidence/`.
pub(crate) async fn evidence(ecosystem: &dyn Backend, id: &str) -> Result<Answer, ApiError> {
    let incident = ecosystem.incident(id.to_owned()).await.ok_or_else(|| unknown(id))?;
    let evidence = ecosystem.evidence(incident.id.clone()).await.map_err(|error| {
        let detail = format!("the evidence of this incident cannot be read now: {}", error.source);
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no-evidence-now", detail)
    })?;
    json(StatusCode::OK, &evidence)
}

/// Answers `GET /api/incidents/{id}/notifications/`.
pub(crate) async fn notifications(ecosystem: &dyn Backend, id: &str) -> Result<Answer, ApiError> {
    let incident = ecosystem.incident(id.to_owned()).await.ok_or_else(|| unknown(id))?;
    let notifications = ecosystem.notifications(incident.id.clone()).await.map_err(|error| {
        let detail = format!(
            "the notifications of this incident cannot be read now: {}; heartbeatd delivers them all the same, and \
             `heartbeat-cli why heartbeatd` says what to do about it",
            error.source
        );
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no-notifications-now", detail)
    })?;
    let document = NotificationsDocument {
        schema: NOTIFICATIONS_SCHEMA.to_owned(),
        incident: incident.id.clone(),
        notifications,
    };
    json(StatusCode::OK, &document)
}

/// `POST /api/incidents/{id}/ack/`: answers with the acknowledged incident.
pub(crate) async fn acknowledge(
    ecosystem: &dyn Backend,
    id: &str,
    body: &[u8],
    uid: Option<u32>,
) -> Result<Answer, ApiError> {
    let body = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    let request: AckRequest = serde_json::from_slice(body).map_err(|error| {
        ApiError::bad(format!("{error}; the body is like {{ \"by\": \"Ada\", \"note\": \"looking at it\" }}"))
    })?;
    let text = |text: Option<String>| text.map(|text| sanitise_line(&text)).filter(|text| !text.is_empty());
    let (by, note) = (text(request.by), text(request.note));
    if [&by, &note].into_iter().flatten().any(|text| text.len() > MAX_ACK_BYTES) {
        return Err(ApiError::bad(format!("`by` and `note` have at most {MAX_ACK_BYTES} bytes each")));
    }
    let by = by.unwrap_or_else(|| uid.map_or_else(|| "unknown".to_owned(), |uid| format!("uid {uid}")));
    let at = ecosystem.about().anchor.wall(ecosystem.now());
    let done = ecosystem.acknowledge(id.to_owned(), AckEntry { at, by, note }).await;
    let Acknowledged { incident, unwritten } = done.ok_or_else(|| unknown(id))?;
    if let Some(why) = unwritten {
        let detail = format!(
            "the incident is acknowledged, but that is not on disk and a restart of heartbeatd would forget it: {why}. \
             heartbeatd writes it as soon as that is possible"
        );
        return Err(ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "not-remembered", detail).applied());
    }
    json(StatusCode::OK, &*incident)
}

/// Removes the output of the realm for callers without a role, since it may hold secrets.
fn shown(incident: &Arc<IncidentDocument>, caller: Caller) -> IncidentDocument {
    let mut incident = IncidentDocument::clone(incident);
    if caller.is_public() {
        incident.log_tail.clear();
    }
    incident
}

fn unknown(id: &str) -> ApiError {
    let detail = format!(
        "no incident is called `{}`; /api/incidents/ lists those that are remembered",
        sanitise_line(id)
    );
    ApiError::new(StatusCode::NOT_FOUND, "no-such-incident", detail)
}
