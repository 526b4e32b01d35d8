//! Receivers of notifications, and mutes.

use std::time::Duration;

use heartbeat_status::{WallTime, sanitise_line};
use heartbeat_wire::{MUTE_SCHEMA, MuteDocument, MuteRequest, NotifyTestRequest};
use http::StatusCode;

use crate::answers::answer::Answer;
use crate::answers::document::json;
use crate::answers::problem::ApiError;
use crate::backend::{Backend, Mute};
use crate::handlers::status::find;
use crate::requests::suggestions;

/// Longest mute: a year.
const MAX_MUTE: Duration = Duration::from_secs(365 * 24 * 3_600);
/// Longest reason of a mute, in bytes.
const MAX_REASON_BYTES: usize = 1_000;

/// `POST /api/notify/{receiver}/test/`: sends a test, or shows it.
pub(crate) async fn test(ecosystem: &dyn Backend, name: &str, body: &[u8]) -> Result<Answer, ApiError> {
    let body = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    let request: NotifyTestRequest = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad(format!("{error}; the body is like {{ \"dry_run\": true }}")))?;
    let tested = ecosystem.test_receiver(name.to_owned(), request.dry_run).await;
    let document = tested.map_err(|error| unknown(name, &error.receivers))?;
    json(StatusCode::OK, &document)
}

/// `POST /api/realms/{realm}/mute/`: receivers hear nothing of the realm for a while.
pub(crate) async fn mute(
    ecosystem: &dyn Backend,
    name: &str,
    body: &[u8],
    uid: Option<u32>,
) -> Result<Answer, ApiError> {
    const EXAMPLE: &str = "the body is like { \"reason\": \"backup\", \"for_s\": 3600 }";
    let request: MuteRequest =
        serde_json::from_slice(body).map_err(|error| ApiError::bad(format!("{error}; {EXAMPLE}")))?;
    let reason = sanitise_line(&request.reason);
    if reason.is_empty() || reason.len() > MAX_REASON_BYTES {
        return Err(ApiError::bad(format!("`reason` has 1 to {MAX_REASON_BYTES} bytes; {EXAMPLE}")));
    }
    let length = Duration::try_from_secs_f64(request.for_s).ok();
    let length = length.filter(|length| !length.is_zero() && *length <= MAX_MUTE).ok_or_else(|| {
        ApiError::bad(format!("`for_s` is above 0 and at most {}; {EXAMPLE}", MAX_MUTE.as_secs()))
    })?;
    find(&ecosystem.snapshot(), name)?;
    let at = ecosystem.about().anchor.wall(ecosystem.now());
    let ms = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    let until = WallTime::from_millis(at.as_millis().saturating_add(ms));
    let mute = Mute { reason: reason.clone(), until, by: uid, at };
    remembered(ecosystem.mute(name.to_owned(), Some(mute)).await)?;
    answer(name, Some((reason, until)))
}

/// `POST /api/realms/{realm}/unmute/`: receivers hear of the realm again.
pub(crate) async fn unmute(ecosystem: &dyn Backend, name: &str, body: &[u8]) -> Result<Answer, ApiError> {
    if !body.iter().all(u8::is_ascii_whitespace) && body != b"{}" {
        return Err(ApiError::bad("the body is empty or {}"));
    }
    find(&ecosystem.snapshot(), name)?;
    remembered(ecosystem.mute(name.to_owned(), None).await)?;
    answer(name, None)
}

fn answer(realm: &str, mute: Option<(String, WallTime)>) -> Result<Answer, ApiError> {
    let (reason, until) = mute.unzip();
    let (schema, realm) = (MUTE_SCHEMA.to_owned(), realm.to_owned());
    json(StatusCode::OK, &MuteDocument { schema, realm, muted: until.is_some(), reason, until })
}

fn remembered(unwritten: Option<Option<String>>) -> Result<(), ApiError> {
    let Some(why) = unwritten.ok_or_else(ApiError::ending)? else { return Ok(()) };
    let detail = format!(
        "it is done, but that is not on disk and a restart of heartbeatd would forget it: {why}. heartbeatd writes it as \
         soon as that is possible"
    );
    Err(ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "not-remembered", detail).applied())
}

fn unknown(name: &str, receivers: &[String]) -> ApiError {
    let suggestions = suggestions::nearest(name, receivers.iter().map(String::as_str));
    let way_out = match (suggestions.is_empty(), receivers) {
        (false, _) => suggestions::question(&suggestions),
        (true, []) => {
            " The configuration in force has no [notify.NAME]; `heartbeat-cli reload` brings in a new one."
                .to_owned()
        }
        (true, receivers) => {
            format!(" There are: {}; `heartbeat-cli reload` brings in a new one.", receivers.join(", "))
        }
    };
    let detail = format!("no receiver is called `{}`.{way_out}", sanitise_line(name));
    ApiError::new(StatusCode::NOT_FOUND, "no-such-receiver", detail).suggest(suggestions)
}
