//! The ecosystem and its realms.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{RealmIx, Snapshot, sanitise_line};
use heartbeat_wire::{RealmDocument, StatusDocument};
use http::{HeaderMap, StatusCode};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::answers::answer::{Answer, JSON};
use crate::answers::bodies::{Bodies, Freshness, Slot};
use crate::answers::problem::ApiError;
use crate::backend::{Backend, Past};
use crate::connections::closing::{Closing, closes};
use crate::limits::{MAX_POLL, REFRESH_LIMIT};
use crate::requests::access::Caller;
use crate::requests::query::Query;
use crate::requests::suggestions;

/// `GET /api/status/` and `GET /api/realms/ecosystem-health/`.
pub(crate) async fn ecosystem(
    ecosystem: &dyn Backend,
    bodies: &Bodies,
    query: &Query<'_>,
    headers: &HeaderMap,
    caller: Caller,
    closing: watch::Receiver<Closing>,
) -> Result<Answer, ApiError> {
    await_news(ecosystem, query, closing).await?;
    let gate = query.switch("gate")?;
    let refresh = query.switch("refresh")?;
    let summary = match query.get("fields") {
        None => false,
        Some("summary") => true,
        Some(_) => return Err(ApiError::bad("`fields` is `summary`, or left out for all of them")),
    };
    let freshness = freshly(ecosystem, refresh, None).await?;
    let body = if summary {
        let build = |source: &crate::answers::bodies::Source<'_>| {
            serde_json::to_vec(&StatusDocument::render_summary(source.snapshot, source.about, source.now))
        };
        bodies.get(bodies.summary(caller.is_public()), ecosystem, freshness, build).await?
    } else {
        let build = |source: &crate::answers::bodies::Source<'_>| {
            serde_json::to_vec(&StatusDocument::render(source.snapshot, source.about, source.now))
        };
        bodies.get(bodies.status(caller.is_public()), ecosystem, freshness, build).await?
    };
    let status = if gate && !body.ok() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Ok(body.answer(status, JSON, headers))
}

/// Answers `GET /api/status/{realm}/`.
pub(crate) async fn realm(
    ecosystem: &dyn Backend,
    bodies: &Bodies,
    name: &str,
    query: &Query<'_>,
    headers: &HeaderMap,
    caller: Caller,
) -> Result<Answer, ApiError> {
    let (refresh, transcripts) = (query.switch("refresh")?, query.switch("transcripts")?);
    if transcripts && caller.is_public() {
        let detail =
            "transcripts are served on the Unix socket only, since answers of realms may hold secrets";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "not-on-this-door", detail));
    }
    let ix = find(&ecosystem.snapshot(), name)?;
    let freshness = freshly(ecosystem, refresh, Some(ix)).await?;
    // The output of a realm is only for callers that the server can identify.
    let public = caller.is_public();
    let slot = if transcripts { Arc::new(Slot::new(true)) } else { bodies.realm(ix, public) };
    let build = |source: &crate::answers::bodies::Source<'_>| {
        let Some(realm) = source.snapshot.realm(ix) else { return Ok(Vec::new()) };
        let Past { recent, failures, transitions, log_tail, port_owner } = ecosystem.past(ix);
        let past = (recent, failures, transitions);
        let mut document = RealmDocument::render(source.snapshot, realm, past, source.about, source.now);
        document.port_owner = port_owner;
        if !public {
            document.log_tail = log_tail;
        }
        if transcripts {
            document.probe_failures = ecosystem.probe_failures(ix);
        }
        serde_json::to_vec(&document)
    };
    let body = bodies.get(&slot, ecosystem, freshness, build).await?;
    Ok(body.answer(StatusCode::OK, JSON, headers))
}

/// The realm called `name`, or a 404 with the names near to it.
pub(crate) fn find(snapshot: &Snapshot, name: &str) -> Result<RealmIx, ApiError> {
    if let Some(realm) = snapshot.find(name) {
        return Ok(realm.info.ix);
    }
    let suggestions =
        suggestions::nearest(name, snapshot.in_start_order().map(|realm| realm.info.name.as_str()));
    let way_out = if suggestions.is_empty() {
        " /api/status/ lists all realms.".to_owned()
    } else {
        suggestions::question(&suggestions)
    };
    let detail = format!("no realm is called `{}`.{way_out}", sanitise_line(name));
    Err(ApiError::new(StatusCode::NOT_FOUND, "no-such-realm", detail).suggest(suggestions))
}

/// The long poll: holds the answer until the revision differs from the reader's, or the time is up. A revision of
/// another life of heartbeatd differs at once.
async fn await_news(
    ecosystem: &dyn Backend,
    query: &Query<'_>,
    mut closing: watch::Receiver<Closing>,
) -> Result<(), ApiError> {
    let Some(since) = query.get("since") else {
        if query.get("wait").is_some() {
            return Err(ApiError::bad(
                "`wait` goes with `since`, the content of an ETag: ?since=k3v9-41&wait=30s",
            ));
        }
        return Ok(());
    };
    let wait = match query.get("wait") {
        None => Duration::ZERO,
        Some(text) => poll_length(text)?,
    };
    let since = since.strip_prefix("W/").unwrap_or(since).trim_matches('"');
    let same = |snapshot: &Snapshot, instance: &str| {
        since.strip_prefix(instance).and_then(|rest| rest.strip_prefix('-'))
            == Some(snapshot.revision.to_string().as_str())
    };
    let instance = ecosystem.about().instance;
    let mut changes = ecosystem.changes();
    let news = async {
        loop {
            changes.borrow_and_update();
            if !same(&ecosystem.snapshot(), &instance) || changes.changed().await.is_err() {
                return;
            }
        }
    };
    // Without a change by then, the reader gets the same revision with fresh numbers.
    tokio::select! {
        () = news => {}
        () = sleep(wait) => {}
        () = closes(&mut closing) => {}
    }
    Ok(())
}

/// Seconds with or without `s`, or milliseconds with `ms`.
fn poll_length(text: &str) -> Result<Duration, ApiError> {
    let millis = match text.strip_suffix("ms") {
        Some(number) => number.parse::<u64>().ok(),
        None => text.trim_end_matches('s').parse::<u64>().ok().and_then(|seconds| seconds.checked_mul(1_000)),
    };
    millis.map(Duration::from_millis).filter(|wait| *wait <= MAX_POLL).ok_or_else(|| {
        ApiError::bad(format!("`wait` is a time up to {} s, for example 30s or 500ms", MAX_POLL.as_secs()))
    })
}

/// Measures first when the caller asks for it. If the round does not end in time, the answer has the results so far.
async fn freshly(
    ecosystem: &dyn Backend,
    refresh: bool,
    realm: Option<RealmIx>,
) -> Result<Freshness, ApiError> {
    if !refresh {
        return Ok(Freshness::Recent);
    }
    match timeout(REFRESH_LIMIT, ecosystem.refresh(realm)).await {
        Ok(None) => Err(ApiError::ending()),
        Ok(Some(_)) | Err(_) => Ok(Freshness::Newest),
    }
}
