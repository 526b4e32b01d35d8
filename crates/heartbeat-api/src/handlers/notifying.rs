//! Receivers of notifications.

use heartbeat_status::sanitise_line;
use heartbeat_status::wire::NotifyTestRequest;
use http::StatusCode;

use crate::answers::answer::Answer;
use crate::answers::document::json;
use crate::answers::problem::ApiError;
use crate::backend::Backend;
use crate::requests::suggestions;

/// `POST /api/notify/{receiver}/test/`: sends a test, or shows it.
pub(crate) async fn test(ecosystem: &dyn Backend, name: &str, body: &[u8]) -> Result<Answer, ApiError> {
    let body = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    let request: NotifyTestRequest = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad(format!("{error}; the body is like {{ \"dry_run\": true }}")))?;
    let tested = ecosystem.test_receiver(name.to_owned(), request.dry_run).await;
    let document = tested.map_err(|receivers| unknown(name, &receivers))?;
    json(StatusCode::OK, &document)
}

fn unknown(name: &str, receivers: &[String]) -> ApiError {
    let near = suggestions::nearest(name, receivers.iter().map(String::as_str));
    let way_out = match (near.is_empty(), receivers) {
        (false, _) => suggestions::question(&near),
        (true, []) => " The configuration has no [notify.NAME].".to_owned(),
        (true, receivers) => format!(" There are: {}.", receivers.join(", ")),
    };
    let detail = format!("no receiver is called `{}`.{way_out}", sanitise_line(name));
    ApiError::new(StatusCode::NOT_FOUND, "no-such-receiver", detail).suggest(near)
}
