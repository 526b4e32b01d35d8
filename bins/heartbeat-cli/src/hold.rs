//! `pause`, `resume`, `reset` and `signal`.

use std::time::Duration;

use heartbeat_client::Client;
use heartbeat_wire::{Action, ActionRequest};

use crate::act::{impossible, planned};
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;
use crate::select::names;

/// What a pause asks for.
pub(crate) fn pause(reason: &str, duration: Option<Duration>) -> ActionRequest {
    let for_s = duration.map(|duration| duration.as_secs_f64());
    ActionRequest { reason: Some(reason.to_owned()), for_s, ..ActionRequest::default() }
}

/// The realms that heartbeatd would do it to. One that it refuses is left out and named where a pattern brought it in;
/// a refused realm that was asked for by its name refuses the whole, before anything is done.
async fn targets(
    client: &Client,
    action: Action,
    selectors: &[String],
    request: &ActionRequest,
    console: &mut Console,
) -> Result<Vec<String>, Failure> {
    let realms = names(client, selectors).await?;
    if realms.len() < 2 {
        return Ok(realms);
    }
    let (mut taken, mut first) = (Vec::new(), None);
    for realm in realms {
        let Some(refused) = impossible(&planned(client, &realm, action, request).await?) else {
            taken.push(realm);
            continue;
        };
        if selectors.contains(&realm) {
            return Err(refused.help("nothing was done to the other realms either"));
        }
        let why = refused.message.strip_prefix("refused: ").unwrap_or(&refused.message);
        console.note(&format!("left out: {} ({})", console.style.text(&realm), console.style.text(why)));
        first.get_or_insert(refused);
    }
    match first.filter(|_| taken.is_empty()) {
        Some(refused) => Err(refused),
        None => Ok(taken),
    }
}

/// Does it to every realm in turn.
pub(crate) async fn run(
    client: &Client,
    action: Action,
    realms: &[String],
    request: &ActionRequest,
    console: &mut Console,
) -> Outcome {
    let realms = targets(client, action, realms, request, console).await?;
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
