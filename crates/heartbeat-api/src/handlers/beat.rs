//! `POST /api/beat/{realm}/`: a heartbeat of a realm or of a job.

use heartbeat_status::sanitise_line;
use http::StatusCode;
use serde_json::json;

use crate::answers::answer::{Answer, JSON, fresh};
use crate::answers::problem::ApiError;
use crate::backend::{Backend, Beat, BeatError, BeatEvent};
use crate::requests::query::Query;
use crate::requests::suggestions;

/// Most bytes of a message that are kept.
const MAX_MESSAGE_BYTES: usize = 10 * 1024;
/// Longest identifier of a run, in characters.
const MAX_RUN_CHARS: usize = 64;

/// The event that the last segment of the path names: `start`, `ok`, `fail`, or an exit code.
fn event(word: Option<&str>) -> Result<BeatEvent, ApiError> {
    match word {
        None | Some("ok") => Ok(BeatEvent::Ok),
        Some("start") => Ok(BeatEvent::Start),
        Some("fail") => Ok(BeatEvent::Fail),
        Some(word) => {
            let code = word.parse().ok().filter(|code: &u8| code.to_string() == word);
            code.map(BeatEvent::Exit).ok_or_else(|| {
                let word = sanitise_line(word);
                ApiError::bad(format!(
                    "a heartbeat is start, ok, fail or an exit code from 0 to 255, not `{word}`"
                ))
            })
        }
    }
}

/// Answers 200 when heartbeatd accepts the heartbeat; the body is its message.
pub(crate) async fn take(
    ecosystem: &dyn Backend,
    realm: &str,
    word: Option<&str>,
    query: &Query<'_>,
    body: &[u8],
) -> Result<Answer, ApiError> {
    let event = event(word)?;
    let run = query.get("run").map(str::to_owned);
    if run
        .as_ref()
        .is_some_and(|run| run.chars().count() > MAX_RUN_CHARS || run.chars().any(char::is_control))
    {
        return Err(ApiError::bad(format!("`run` has at most {MAX_RUN_CHARS} printable characters")));
    }
    let message = String::from_utf8_lossy(&body[..body.len().min(MAX_MESSAGE_BYTES)]).into_owned();
    match ecosystem.beat(realm.to_owned(), Beat { event, run, message }).await {
        None => Err(ApiError::ending()),
        Some(Ok(())) => {
            let taken = json!({ "realm": realm, "event": word.unwrap_or("ok") });
            Ok(fresh(StatusCode::OK, JSON, taken.to_string().into_bytes()))
        }
        Some(Err(BeatError::NoSuchRealm)) => {
            let snapshot = ecosystem.snapshot();
            let names = snapshot.in_start_order().map(|realm| realm.info.name.as_str());
            let suggestions = suggestions::nearest(realm, names);
            let detail =
                format!("no realm `{}`.{}", sanitise_line(realm), suggestions::question(&suggestions));
            Err(ApiError::new(StatusCode::NOT_FOUND, "no-such-realm", detail).suggest(suggestions))
        }
        Some(Err(BeatError::NotExpected)) => {
            let detail = format!(
                "`{realm}` expects no heartbeats: give it health = {{ push = \"60s\" }}, or {{ push = {{ cron = \"0 2 * * *\" }} }}"
            );
            Err(ApiError::new(StatusCode::CONFLICT, "no-push", detail))
        }
    }
}
