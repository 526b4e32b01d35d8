//! `PUT` and `DELETE /api/realms/{realm}/`: registering realms at run time.

use heartbeat_status::sanitise_line;
use heartbeat_wire::RegistrationDocument;
use http::StatusCode;
use tokio::time::timeout;

use crate::answers::answer::Answer;
use crate::answers::document::json;
use crate::answers::problem::ApiError;
use crate::backend::{Backend, BoxFuture, Rejection, RejectionKind};
use crate::limits::REGISTRATION_LIMIT;
use crate::requests::body::check_empty;
use crate::requests::query::Query;
use crate::requests::suggestions;

/// Answers 201 when the realm is new, 200 when it was registered before.
pub(crate) async fn register(
    ecosystem: &dyn Backend,
    name: &str,
    body: Vec<u8>,
    query: &Query<'_>,
    uid: Option<u32>,
) -> Result<Answer, ApiError> {
    let dry_run = query.switch("dry_run")?;
    if !dry_run {
        tracing::info!(realm = sanitise_line(name), uid, "registration");
    }
    let document = answered(ecosystem, name, ecosystem.register(name.to_owned(), body, dry_run)).await?;
    let created = document.result == "registered" && !dry_run;
    written(if created { StatusCode::CREATED } else { StatusCode::OK }, &document)
}

/// Answers 200 with the removed registration.
pub(crate) async fn unregister(
    ecosystem: &dyn Backend,
    name: &str,
    body: &[u8],
    query: &Query<'_>,
    uid: Option<u32>,
) -> Result<Answer, ApiError> {
    check_empty(body)?;
    let dry_run = query.switch("dry_run")?;
    if !dry_run {
        tracing::info!(realm = sanitise_line(name), uid, "registration to be removed");
    }
    let document = answered(ecosystem, name, ecosystem.unregister(name.to_owned(), dry_run)).await?;
    written(StatusCode::OK, &document)
}

async fn answered(
    ecosystem: &dyn Backend,
    name: &str,
    asked: BoxFuture<Option<Result<RegistrationDocument, Rejection>>>,
) -> Result<RegistrationDocument, ApiError> {
    let answer = timeout(REGISTRATION_LIMIT, asked).await.map_err(|_| {
        let detail = format!(
            "not remembered within {} s; it may still take effect, /api/status/ shows whether it has",
            REGISTRATION_LIMIT.as_secs()
        );
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "not-in-time", detail)
    })?;
    answer.ok_or_else(ApiError::ending)?.map_err(|rejection| refused(ecosystem, name, rejection))
}

fn refused(ecosystem: &dyn Backend, name: &str, Rejection { kind, problems }: Rejection) -> ApiError {
    let (status, code) = match kind {
        RejectionKind::Invalid => (StatusCode::BAD_REQUEST, "registration"),
        RejectionKind::Denied => (StatusCode::FORBIDDEN, "address-denied"),
        RejectionKind::Configured => (StatusCode::CONFLICT, "configured"),
        RejectionKind::Needed => (StatusCode::CONFLICT, "needed"),
        RejectionKind::Conflict => (StatusCode::CONFLICT, "conflict"),
        RejectionKind::Full => (StatusCode::CONFLICT, "too-many"),
        RejectionKind::Unknown => (StatusCode::NOT_FOUND, "no-such-realm"),
        RejectionKind::NotRemembered => (StatusCode::INSUFFICIENT_STORAGE, "not-remembered"),
    };
    let detail = match problems.as_slice() {
        [one] => one.clone(),
        several => format!("nothing was changed: {} things are wrong", several.len()),
    };
    if kind != RejectionKind::Unknown {
        return ApiError::new(status, code, detail).problems(problems);
    }
    let snapshot = ecosystem.snapshot();
    let registered = snapshot.in_start_order().filter(|realm| realm.info.registered);
    let suggestions = suggestions::nearest(name, registered.map(|realm| realm.info.name.as_str()));
    ApiError::new(status, code, format!("{detail}.{}", suggestions::question(&suggestions)))
        .suggest(suggestions)
}

fn written(status: StatusCode, document: &RegistrationDocument) -> Result<Answer, ApiError> {
    json(status, document)
}
