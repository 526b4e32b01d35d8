//! `pause`, `resume`, `reset` and `signal`.

use std::time::Duration;

use heartbeat_client::Client;
use heartbeat_status::wire::{Action, ActionRequest};

use crate::console::Console;
use crate::exit::{Exit, Outcome};
use crate::global::Format;
use crate::select::names;

/// What a pause asks for.
pub(crate) fn pause(reason: &str, duration: Option<Duration>) -> ActionRequest {
    let for_s = duration.map(|duration| duration.as_secs_f64());
    ActionRequest { reason: Some(reason.to_owned()), for_s, ..ActionRequest::default() }
}

/// Does it to every realm in turn.
pub(crate) async fn run(
    client: &Client,
    action: Action,
    realms: &[String],
    request: &ActionRequest,
    console: &mut Console,
) -> Outcome {
    let realms = names(client, realms).await?;
    for realm in &realms {
        let done = client.action(realm, action, request).await?;
        if matches!(console.form, Format::Json | Format::Ndjson) {
            console.json(&done)?;
            continue;
        }
        let name = console.style.text(realm);
        let what = match (action, done.steps.is_empty()) {
            (Action::Resume, true) => format!("{name} was not paused"),
            (Action::Pause, _) => format!("{name} is paused: `heartbeat-cli resume {name}` ends it"),
            (Action::Resume, false) => format!("{name} is resumed, and measured afresh"),
            (Action::Signal, _) => {
                let whom = if request.tree { "every process of " } else { "" };
                format!("sent {} to {whom}{name}", request.signal.as_deref().unwrap_or_default())
            }
            (_, _) => format!("{action} {name}: accepted"),
        };
        console.prose(&what, 2)?;
    }
    Ok(Exit::Holds)
}
