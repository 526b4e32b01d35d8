//! `start`, `stop` and `restart`: the plan first, who suffers before anything is done, then a line a step.

use std::pin::pin;
use std::time::Duration;

use heartbeat_client::{Client, ClientError};
use heartbeat_status::wire::{Action, ActionDocument, ActionRequest, Wait};
use tokio::time::interval;

use crate::args::{ActArgs, Format};
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::steps::{Tracker, plan_limit_s, plan_lines};

/// How often progress is looked at.
const POLL_MS: u64 = 250;
/// Allowed on top of a plan's own limits, in seconds: for verification and for heartbeatd's own work.
const SLACK_S: f64 = 30.0;
/// Waited for when a step of the plan has no limit (a oneshot), in seconds.
const OPEN_PLAN_S: f64 = 300.0;

/// How a command may act without asking again.
pub(crate) struct Leave {
    /// `--yes`.
    pub(crate) yes: bool,
    /// `--timeout`.
    pub(crate) limit: Option<Duration>,
}

/// Acts on every realm in turn; the first that does not come out right ends it.
pub(crate) async fn run(
    client: &Client,
    action: Action,
    args: &ActArgs,
    leave: &Leave,
    console: &mut Console,
) -> Outcome {
    for realm in &args.realms {
        let exit = one(client, action, realm, args, leave, console).await?;
        if exit != Exit::Holds {
            return Ok(exit);
        }
    }
    Ok(Exit::Holds)
}

async fn one(
    client: &Client,
    action: Action,
    realm: &str,
    args: &ActArgs,
    leave: &Leave,
    console: &mut Console,
) -> Outcome {
    let mut request =
        ActionRequest { cascade: args.cascade, reason: args.reason.clone(), ..ActionRequest::default() };
    let plan = plan(client, realm, action, &request).await?;
    if args.dry_run {
        show_plan(&plan, console)?;
        return Ok(Exit::Holds);
    }
    if !plan.breaks.is_empty() && !args.cascade {
        if !leave.yes && !ask(action, realm, &plan, console).await? {
            return Ok(Exit::Refused);
        }
        request.force = true;
    } else if plan.steps.iter().any(|step| step.realm != realm) {
        // Others are part of it: shown before anything is done.
        console.note(&format!("{action} {}, in this order:", console.style.text(realm)));
        for line in plan_lines(&plan, console.style) {
            console.note(&line);
        }
    }
    if args.no_wait {
        let done = client.action(realm, action, &request).await?;
        return finish(&done, action, realm, console);
    }
    request.wait = if action == Action::Restart { Wait::Verified } else { Wait::Up };
    let own = plan_limit_s(&plan).map_or(OPEN_PLAN_S, |seconds| seconds + SLACK_S);
    request.timeout_s = Some(leave.limit.map_or(own, |limit| limit.as_secs_f64()));
    carry_out(client, action, realm, &request, &plan, console).await
}

/// What would be done; nothing is changed. A plan inside a refusal is a plan, too.
async fn plan(
    client: &Client,
    realm: &str,
    action: Action,
    request: &ActionRequest,
) -> Result<ActionDocument, Failure> {
    let dry = ActionRequest { dry_run: true, ..request.clone() };
    match client.action(realm, action, &dry).await {
        Ok(plan) => Ok(plan),
        Err(ClientError::Refused { plan: Some(plan), .. }) => Ok(*plan),
        Err(error) => Err(error.into()),
    }
}

fn show_plan(plan: &ActionDocument, console: &mut Console) -> Result<(), Failure> {
    if matches!(console.form, Format::Json | Format::Ndjson) {
        return console.json(plan);
    }
    console.line("plan, nothing changed:")?;
    plan_lines(plan, console.style).iter().try_for_each(|line| console.line(line))
}

/// Shows who would suffer and asks, where there is somebody to ask. A no changes nothing.
async fn ask(
    action: Action,
    realm: &str,
    plan: &ActionDocument,
    console: &mut Console,
) -> Result<bool, Failure> {
    let style = console.style;
    let (count, noun) = match plan.breaks.len() {
        1 => (1, "a running realm that needs"),
        count => (count, "running realms that need"),
    };
    let number = if count == 1 { String::new() } else { format!("{count} ") };
    let names: Vec<String> = plan.breaks.iter().map(|name| style.text(name)).collect();
    let what = format!("{action} {} breaks {number}{noun} it: {}", style.text(realm), names.join(", "));
    let ways = format!(
        "`heartbeat-cli {action} {name} --cascade` takes them along, `--yes` leaves them as they are",
        name = style.text(realm)
    );
    if !console.interactive {
        return Err(Failure::new(Exit::Refused, what).help(ways));
    }
    console.note(&what);
    for line in plan_lines(plan, style) {
        console.note(&line);
    }
    console.passing_note("go on and leave them as they are? [y/N] ");
    // Reading may block for as long as a person thinks; Ctrl-C is heard meanwhile.
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = match answer.await {
        Ok(line) => line?,
        Err(_) => String::new(),
    };
    let yes = matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    if !yes {
        console.note(&format!("nothing was changed; {ways}"));
    }
    Ok(yes)
}

async fn carry_out(
    client: &Client,
    action: Action,
    realm: &str,
    request: &ActionRequest,
    plan: &ActionDocument,
    console: &mut Console,
) -> Outcome {
    let style = console.style;
    let table = !matches!(console.form, Format::Json | Format::Ndjson);
    let before = client.status(false).await?;
    let mut tracker = Tracker::new(plan, &before);
    let mut last = before;
    let mut call = pin!(client.action(realm, action, request));
    let mut tick = interval(Duration::from_millis(POLL_MS));
    let answer = loop {
        tokio::select! {
            answer = &mut call => break answer,
            _ = tick.tick() => {}
        }
        // Progress is a courtesy: when it cannot be had, the answer still comes.
        if let Ok(document) = client.status(false).await {
            progress(&mut tracker, &document, table, console)?;
            let note = tracker.pending(&document, style).unwrap_or_default();
            console.passing_note(&note);
            last = document;
        }
    };
    console.passing_note("");
    if answer.is_ok()
        && let Ok(document) = client.status(false).await
    {
        progress(&mut tracker, &document, table, console)?;
        last = document;
    }
    match answer {
        Ok(done) => finish(&done, action, realm, console),
        Err(ClientError::Deadline { detail, .. }) => {
            let pending = tracker.pending(&last, style).unwrap_or_default();
            Err(Failure::new(
                Exit::Deadline,
                format!("{} {pending}", detail.trim_end()).trim_end().to_owned(),
            ))
        }
        Err(error) => Err(error.into()),
    }
}

fn progress(
    tracker: &mut Tracker,
    document: &heartbeat_status::wire::StatusDocument,
    table: bool,
    console: &mut Console,
) -> Result<(), Failure> {
    let lines = tracker.observe(document, console.style);
    if !table || lines.is_empty() {
        return Ok(());
    }
    console.passing_note("");
    lines.iter().try_for_each(|line| console.line(line))
}

/// The result in a line, and the exit code it means.
fn finish(done: &ActionDocument, action: Action, realm: &str, console: &mut Console) -> Outcome {
    let result = done.result.as_deref().unwrap_or("accepted");
    let good = matches!(result, "accepted" | "up" | "stopped" | "verified");
    if matches!(console.form, Format::Json | Format::Ndjson) {
        console.json(done)?;
    } else {
        let style = console.style;
        let mut line = format!("{action} {}: {}", style.text(realm), style.text(result));
        if let Some(message) = done.message.as_deref().filter(|message| !message.is_empty()) {
            line += &format!(" ({})", style.text(message));
        }
        console.line(&line)?;
    }
    Ok(if good { Exit::Holds } else { Exit::No })
}
