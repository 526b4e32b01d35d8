//! `pause`, `resume`, `reset`, `signal`, and `plan`.

use std::time::Duration;

use heartbeat_client::Client;
use heartbeat_status::wire::{Action, ActionRequest, PlanRequest};

use crate::args::{Foreseen, Format};
use crate::console::Console;
use crate::exit::{Exit, Outcome};
use crate::select::names;
use crate::steps::{is_refused, plan_lines, refused_lines};

/// What a pause asks for.
pub(crate) fn pause(reason: &str, lasts: Option<Duration>) -> ActionRequest {
    let for_s = lasts.map(|lasts| lasts.as_secs_f64());
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
    let realms = names(client, realms, true).await?;
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
        console.line(&what)?;
    }
    Ok(Exit::Holds)
}

/// What would happen. Nothing is changed.
pub(crate) async fn foresee(
    client: &Client,
    what: Foreseen,
    realm: &str,
    cascade: bool,
    console: &mut Console,
) -> Outcome {
    let request = PlanRequest { action: what.as_str().to_owned(), realm: realm.to_owned(), cascade };
    let plan = client.foresee(&request).await?;
    let exit = if is_refused(&plan) { Exit::Refused } else { Exit::Holds };
    if matches!(console.form, Format::Json | Format::Ndjson) {
        console.json(&plan)?;
        return Ok(exit);
    }
    let style = console.style;
    if exit == Exit::Refused {
        for line in refused_lines(&plan, style) {
            console.line(&line)?;
        }
        return Ok(exit);
    }
    if what == Foreseen::Fail {
        console.line(&format!("if {} fails:", style.text(realm)))?;
    } else {
        console.line("plan, nothing changed:")?;
    }
    for line in plan_lines(&plan, style) {
        console.line(&line)?;
    }
    if let Some(message) = &plan.message {
        console.line(&style.text(message))?;
    }
    Ok(Exit::Holds)
}
