//! The ecosystem and its realms.

use heartbeat_status::wire::{RealmDocument, StatusDocument};
use heartbeat_status::{RealmIx, Snapshot, sanitise_line};
use http::{HeaderMap, StatusCode};
use tokio::time::timeout;

use crate::Ecosystem;
use crate::answer::{self, Answer, JSON};
use crate::bodies::{Bodies, Freshness};
use crate::limits::REFRESH_LIMIT;
use crate::near;
use crate::problem::Trouble;
use crate::query::Query;

/// `GET /api/status/` and `GET /api/realms/ecosystem-health/`.
pub(crate) async fn ecosystem(
    ecosystem: &dyn Ecosystem,
    bodies: &Bodies,
    query: &Query<'_>,
    headers: &HeaderMap,
) -> Result<Answer, Trouble> {
    if let Some(name) = ["since", "wait"].into_iter().find(|name| query.get(name).is_some()) {
        let detail =
            format!("the long poll (`{name}` of /api/status/) is not built; poll with If-None-Match instead");
        return Err(Trouble::new(StatusCode::NOT_IMPLEMENTED, "not-built", detail));
    }
    let gate = query.switch("gate")?;
    let refresh = query.switch("refresh")?;
    let summary = match query.get("fields") {
        None => false,
        Some("summary") => true,
        Some(_) => return Err(Trouble::bad("`fields` is `summary`, or left out for all of them")),
    };
    let freshness = freshly(ecosystem, refresh, None).await?;
    let body = if summary {
        let build = |source: &crate::bodies::Source<'_>| {
            serde_json::to_vec(&StatusDocument::render_summary(source.snapshot, source.about, source.now))
        };
        bodies.get(&bodies.summary, ecosystem, freshness, build).await?
    } else {
        let build = |source: &crate::bodies::Source<'_>| {
            serde_json::to_vec(&StatusDocument::render(source.snapshot, source.about, source.now))
        };
        bodies.get(&bodies.status, ecosystem, freshness, build).await?
    };
    let status = if gate && !body.ok() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Ok(answer::shared(status, JSON, &body, headers))
}

/// `GET /api/status/{realm}/`.
pub(crate) async fn realm(
    ecosystem: &dyn Ecosystem,
    bodies: &Bodies,
    name: &str,
    query: &Query<'_>,
    headers: &HeaderMap,
) -> Result<Answer, Trouble> {
    let refresh = query.switch("refresh")?;
    let ix = find(&ecosystem.snapshot(), name)?;
    let freshness = freshly(ecosystem, refresh, Some(ix)).await?;
    let slot = bodies.realm(ix);
    let build = |source: &crate::bodies::Source<'_>| {
        let Some(realm) = source.snapshot.realm(ix) else { return Ok(Vec::new()) };
        let past = ecosystem.past(ix);
        let past = (past.recent, past.failures, past.transitions);
        serde_json::to_vec(&RealmDocument::render(source.snapshot, realm, past, source.about, source.now))
    };
    let body = bodies.get(&slot, ecosystem, freshness, build).await?;
    Ok(answer::shared(StatusCode::OK, JSON, &body, headers))
}

/// The realm called `name`, or a 404 with the names near to it.
pub(crate) fn find(snapshot: &Snapshot, name: &str) -> Result<RealmIx, Trouble> {
    if let Some(realm) = snapshot.find(name) {
        return Ok(realm.info.ix);
    }
    let near = near::near(name, snapshot.in_start_order().map(|realm| realm.info.name.as_str()));
    let way_out =
        if near.is_empty() { " /api/status/ lists all realms.".to_owned() } else { near::question(&near) };
    let detail = format!("no realm is called `{}`.{way_out}", sanitise_line(name));
    Err(Trouble::new(StatusCode::NOT_FOUND, "no-such-realm", detail).near(near))
}

/// Measures first when asked to. A round that does not end in time is answered with what is known.
async fn freshly(
    ecosystem: &dyn Ecosystem,
    refresh: bool,
    realm: Option<RealmIx>,
) -> Result<Freshness, Trouble> {
    if !refresh {
        return Ok(Freshness::Recent);
    }
    match timeout(REFRESH_LIMIT, ecosystem.refresh(realm)).await {
        Ok(None) => Err(Trouble::ending()),
        Ok(Some(_)) | Err(_) => Ok(Freshness::Newest),
    }
}
