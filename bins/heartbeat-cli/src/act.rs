//! `start`, `stop` and `restart`: first the plan with the realms that suffer, then one line per step.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use heartbeat_client::{Client, ClientError};
use heartbeat_status::{Desired, RealmKind, Status};
use heartbeat_wire::{Action, ActionDocument, ActionRequest, StatusDocument, Wait};
use tokio::time::interval;

use crate::age;
use crate::args::ActArgs;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome, plain_words};
use crate::global::Format;
use crate::headline::status_of;
use crate::select::{is_name, names};
use crate::steps::{Blocked, Tracker, is_refused, plan_limit_s, plan_lines, refused_lines};
use crate::style::Style;

/// How often progress is looked at.
const POLL_MS: u64 = 250;
/// Steps are shown from this look on, or with the answer: a command that is refused has its answer before.
const LOOKS_BEFORE_STEPS: u32 = 3;
/// Last lines of output shown of a realm that failed.
const MAX_OUTPUT_LINES: usize = 5;
/// The names of a command go into one request up to this length; beyond, the CLI acts on one realm at a time.
const MAX_NAMES_BYTES: usize = 12 * 1024;
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

/// The realms of one request: heartbeatd plans them together, whatever order they are named in.
struct Together<'a>(&'a [String]);

impl Together<'_> {
    /// As the path of the API has them.
    fn path(&self) -> String {
        self.0.join(",")
    }

    /// As a person types them.
    fn words(&self, style: Style) -> String {
        style.text(&self.0.join(" "))
    }

    fn has(&self, realm: &str) -> bool {
        self.0.iter().any(|name| name == realm)
    }

    /// The one realm, if it is one.
    fn single(&self) -> Option<&str> {
        let [realm] = self.0 else { return None };
        Some(realm)
    }
}

/// Acts on the realms together: heartbeatd makes one plan for them, and refuses it as a whole.
pub(crate) async fn run(
    client: &Client,
    action: Action,
    args: &ActArgs,
    leave: &Leave,
    console: &mut Console,
) -> Outcome {
    let realms = targets(client, action, args, console).await?;
    let bytes: usize = realms.iter().map(|realm| realm.len() + 1).sum();
    let size = if bytes <= MAX_NAMES_BYTES { realms.len().max(1) } else { 1 };
    for together in realms.chunks(size) {
        let exit = act(client, action, &Together(together), args, leave, console).await?;
        if exit != Exit::Holds {
            return Ok(exit);
        }
    }
    Ok(Exit::Holds)
}

/// The realms that are meant, in the order in which they are acted on: the start order, for a stop its reverse. What a
/// pattern brings in and heartbeatd neither starts nor stops is left out, and named.
async fn targets(
    client: &Client,
    action: Action,
    args: &ActArgs,
    console: &mut Console,
) -> Result<Vec<String>, Failure> {
    let mut realms = names(client, &args.realms).await?;
    if action == Action::Stop {
        // Dependents go before their needs.
        realms.reverse();
    }
    if args.realms.iter().all(|selector| is_name(selector)) {
        return Ok(realms);
    }
    let watched = watched(&client.status(false).await?);
    let mut left_out = Vec::new();
    for realm in watched.iter().filter(|realm| !args.realms.contains(realm)) {
        if realms.contains(realm) && is_watched_only(client, action, realm).await? {
            left_out.push(console.style.text(realm));
            realms.retain(|name| name != realm);
        }
    }
    if !left_out.is_empty() {
        let them = if left_out.len() == 1 { "it" } else { "them" };
        let names = left_out.join(", ");
        console.note(&format!(
            "left out: {names} (no `run`: heartbeatd watches {them} and does not {action} {them})"
        ));
    }
    if realms.len() > 1 {
        let shown: Vec<String> = realms.iter().map(|realm| console.style.text(realm)).collect();
        console.note(&format!("{action} {}", shown.join(", ")));
    }
    Ok(realms)
}

/// The realms without `run`.
fn watched(document: &StatusDocument) -> Vec<String> {
    let external = document.realms.iter().filter(|realm| realm.kind.is(RealmKind::External));
    external.map(|realm| realm.name.clone()).collect()
}

/// heartbeatd decides whether a realm with a restart command of its own can be restarted.
async fn is_watched_only(client: &Client, action: Action, realm: &str) -> Result<bool, Failure> {
    let plan = planned(client, realm, action, &ActionRequest::default()).await?;
    Ok(plan.refusal.as_deref() == Some("external"))
}

async fn act(
    client: &Client,
    action: Action,
    realms: &Together<'_>,
    args: &ActArgs,
    leave: &Leave,
    console: &mut Console,
) -> Outcome {
    let mut request = ActionRequest {
        cascade: args.cascade,
        force: args.leave_dependents,
        lift_holds: args.lift_holds,
        reason: args.reason.clone(),
        ..ActionRequest::default()
    };
    let path = realms.path();
    let mut plan = planned(client, &path, action, &request).await?;
    if args.dry_run {
        return show_plan(&plan, console);
    }
    if let Some(refused) = impossible(&plan) {
        return Err(refused);
    }
    if plan.refusal.as_deref() == Some("held") {
        // A `--yes` that was given before the question does not name the realms whose stop it lifts.
        if leave.yes || !ask_to_lift(action, realms, &plan, console).await? {
            return Err(held(&plan, console.style));
        }
        request.lift_holds = true;
        plan = planned(client, &path, action, &request).await?;
    }
    if !plan.breaks.is_empty() && !args.cascade {
        if !args.leave_dependents && !leave.yes && !ask(action, realms, &plan, console).await? {
            return Ok(Exit::Refused);
        }
        request.force = true;
    } else if !plan.holds.is_empty()
        || plan.steps.iter().any(|step| !realms.has(&step.realm))
        || (realms.single().is_none() && !plan.steps.is_empty())
    {
        // Others are part of it, or it has an order: shown before anything is done.
        console.note(&format!("{action} {}, in this order:", realms.words(console.style)));
        for line in plan_lines(&plan, console.style) {
            console.note(&line);
        }
    }
    if args.no_wait {
        let done = client.action(&path, action, &request).await?;
        return finish(client, &done, action, realms, console).await;
    }
    request.wait = if action == Action::Restart { Wait::Verified } else { Wait::Up };
    let own = plan_limit_s(&plan).map_or(OPEN_PLAN_S, |seconds| seconds + SLACK_S);
    request.timeout_s = Some(leave.limit.map_or(own, |limit| limit.as_secs_f64()));
    carry_out(client, action, realms, &request, &plan, console).await
}

/// Refusals that no confirmation changes: a realm that heartbeatd does not start, a stuck one, ...
pub(crate) fn impossible(plan: &ActionDocument) -> Option<Failure> {
    match plan.refusal.as_deref() {
        None | Some("held" | "would-break") => None,
        Some(_) => {
            let why = plan.message.as_deref().unwrap_or("heartbeatd refuses it");
            let why = why.strip_prefix("would be refused: ").unwrap_or(why);
            Some(Failure::new(Exit::Refused, format!("refused: {}", plain_words(why))))
        }
    }
}

/// What would be done; nothing is changed. A plan inside a refusal is a plan, too.
pub(crate) async fn planned(
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

/// What the command would do, and the exit code that it would have.
fn show_plan(plan: &ActionDocument, console: &mut Console) -> Outcome {
    let exit = if is_refused(plan) { Exit::Refused } else { Exit::Holds };
    match console.form {
        Format::Json => return console.json(plan).map(|()| exit),
        Format::Ndjson => return console.json_line(plan).map(|()| exit),
        _ => {}
    }
    let lines = if exit == Exit::Refused {
        refused_lines(plan, console.style)
    } else {
        console.line("plan, nothing changed:")?;
        plan_lines(plan, console.style)
    };
    lines.iter().try_for_each(|line| console.prose(line, 2))?;
    Ok(exit)
}

/// Whether the command would have to start realms that an operator has stopped.
fn held(plan: &ActionDocument, style: Style) -> Failure {
    let holds: Vec<String> = plan.holds.iter().map(|hold| style.text(&hold.sentence())).collect();
    let them = if holds.len() == 1 { "it" } else { "them" };
    let what = format!("refused: {}; --lift-holds starts {them} as well", holds.join("; "));
    Failure::new(Exit::Refused, what)
}

/// Names what an operator has stopped and, on a terminal, asks.
async fn ask_to_lift(
    action: Action,
    realms: &Together<'_>,
    plan: &ActionDocument,
    console: &mut Console,
) -> Result<bool, Failure> {
    let style = console.style;
    if !console.interactive {
        return Ok(false);
    }
    let needs = if realms.single().is_some() { "needs" } else { "need" };
    console.note(&format!("{action} {} {needs} what an operator has stopped:", realms.words(style)));
    for hold in &plan.holds {
        console.note(&format!("    {}", style.text(&hold.sentence())));
    }
    let names: Vec<String> = plan.holds.iter().map(|hold| style.text(&hold.realm)).collect();
    console.passing_note(&format!("start {} as well? [y/N] ", names.join(", ")));
    confirmed().await
}

/// Shows the dependents that would break and, on a terminal, asks. A no changes nothing.
async fn ask(
    action: Action,
    realms: &Together<'_>,
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
    let it = if realms.single().is_some() { "it" } else { "one of them" };
    let what = format!("{action} {} breaks {number}{noun} {it}: {}", realms.words(style), names.join(", "));
    let ways = format!(
        "`heartbeat-cli {action} {name} --cascade` takes them along, `--leave-dependents` leaves them as they are",
        name = realms.words(style)
    );
    if !console.interactive {
        return Err(Failure::new(Exit::Refused, what).help(ways));
    }
    console.note(&what);
    for line in plan_lines(plan, style) {
        console.note(&line);
    }
    console.passing_note("go on and leave them as they are? [y/N] ");
    let yes = confirmed().await?;
    if !yes {
        console.note(&format!("nothing was changed; {ways}"));
    }
    Ok(yes)
}

/// What a person answers.
async fn confirmed() -> Result<bool, Failure> {
    // Reading may block for as long as a person thinks; Ctrl-C is heard meanwhile.
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = match answer.await {
        Ok(line) => line?,
        Err(_) => String::new(),
    };
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

async fn carry_out(
    client: &Client,
    action: Action,
    realms: &Together<'_>,
    request: &ActionRequest,
    plan: &ActionDocument,
    console: &mut Console,
) -> Outcome {
    let style = console.style;
    let table = !matches!(console.form, Format::Json | Format::Ndjson);
    let before = client.status(false).await?;
    let mut tracker = Tracker::new(plan, &before);
    let mut last = before;
    let path = realms.path();
    let mut call = pin!(client.action(&path, action, request));
    let mut tick = interval(Duration::from_millis(POLL_MS));
    let mut looks = 0;
    let mut held_back = Vec::new();
    let asked = if action == Action::Stop { &[][..] } else { realms.0 };
    let limit = age::human_seconds_f64(request.timeout_s.unwrap_or(OPEN_PLAN_S));
    // Its status changes with each attempt; that it is waited for is said once.
    let mut told: BTreeSet<String> = BTreeSet::new();
    let answer = loop {
        tokio::select! {
            answer = &mut call => break answer,
            _ = tick.tick() => {}
        }
        // Progress is a courtesy: if it cannot be read, the answer still comes.
        if let Ok(document) = client.status(false).await {
            held_back.extend(tracker.observe(&document, style));
            looks += 1;
            if looks > LOOKS_BEFORE_STEPS {
                progress(&mut held_back, table, console)?;
            }
            if let Some(Blocked { line, by }) = tracker.blocked(&document, asked, style)
                && told.insert(by)
            {
                console.passing_note("");
                console.note(&format!("blocked: {line}; waiting for up to {limit}"));
            }
            let note = tracker.pending(&document, style).unwrap_or_default();
            console.passing_note(&note);
            last = document;
        }
    };
    console.passing_note("");
    if let Ok(document) = client.status(false).await {
        if answer.is_ok() {
            held_back.extend(tracker.observe(&document, style));
            progress(&mut held_back, table, console)?;
        }
        last = document;
    }
    match answer {
        Ok(done) => finish(client, &done, action, realms, console).await,
        Err(ClientError::Deadline { .. })
            if let Some(Blocked { line, by }) = tracker.blocked(&last, asked, style) =>
        {
            let what = format!("{action} {}: still blocked after {limit}: {line}", realms.words(style));
            let help = format!("`heartbeat-cli why {by}` says more; heartbeatd starts it once {by} is up");
            Err(Failure::new(Exit::NotDesired, what).help(help))
        }
        Err(ClientError::Deadline { detail, .. }) => {
            let pending = tracker.pending(&last, style);
            let pending = pending.map(|line| line.trim_start_matches(['…', '.', ' ']).to_owned());
            let help = match realms.single() {
                Some(realm) => format!("`heartbeat-cli why {}` says more", style.text(realm)),
                None => format!("`heartbeat-cli status {}` says more", realms.words(style)),
            };
            let failure = Failure::new(Exit::Deadline, plain_words(detail.trim_end())).help(help);
            Err(Failure { lines: pending.into_iter().collect(), ..failure })
        }
        Err(error @ (ClientError::Unreachable { .. } | ClientError::TimedOut { .. })) => {
            let named = realms.words(style);
            let lines = vec![
                format!(
                    "heartbeatd had begun to {action} {named}: some steps may be done, and the others are not under way now"
                ),
                format!(
                    "the next heartbeatd keeps what runs and finishes a restart that had begun; then `heartbeat-cli status {named}` shows how far it is, and the same command does the rest"
                ),
            ];
            Err(Failure { lines, ..error.into() })
        }
        Err(error) => Err(error.into()),
    }
}

fn progress(lines: &mut Vec<String>, table: bool, console: &mut Console) -> Result<(), Failure> {
    if !table || lines.is_empty() || console.quiet {
        lines.clear();
        return Ok(());
    }
    console.passing_note("");
    lines.drain(..).try_for_each(|line| console.prose(&line, 2))
}

/// The result in a line, and the exit code it means; of a failure what the realm said last, and where there is more.
async fn finish(
    client: &Client,
    done: &ActionDocument,
    action: Action,
    realms: &Together<'_>,
    console: &mut Console,
) -> Outcome {
    let mut result = done.result.as_deref().unwrap_or("accepted");
    let good = matches!(result, "accepted" | "up" | "stopped" | "verified");
    let exit = if good { Exit::Holds } else { Exit::No };
    if matches!(console.form, Format::Json | Format::Ndjson) {
        console.json(done)?;
        return Ok(exit);
    }
    let style = console.style;
    if result == "up"
        && let Ok(document) = client.status(false).await
        && document
            .realms
            .iter()
            .filter(|entry| realms.has(&entry.name))
            .all(|entry| status_of(entry) == Status::Done)
    {
        // It was waited for until it was as it should be: a oneshot is done then.
        result = "done";
    }
    let mut line = format!("{action} {}: {}", realms.words(style), style.text(result));
    if let Some(message) = done.message.as_deref().filter(|message| !message.is_empty()) {
        line += &format!(" ({})", style.text(message));
    }
    if good && console.quiet {
        return Ok(exit);
    }
    console.prose(&line, 2)?;
    if !good {
        let failed = match client.status(false).await {
            Ok(document) => failed(&document, done, realms),
            Err(_) => realms.0.first().cloned().unwrap_or_default(),
        };
        let output = client.realm(&failed, false).await.map(|document| document.log_tail).unwrap_or_default();
        let skipped = output.len().saturating_sub(MAX_OUTPUT_LINES);
        for line in output.iter().skip(skipped) {
            console.line(&format!("  {} | {}", style.text(&failed), style.text(line)))?;
        }
        console.prose(&more(&failed, style), 2)?;
    } else if done.message.is_some()
        && let Ok(document) = client.status(false).await
    {
        for realm in taken_out(&document, done, action) {
            console.prose(&more(realm, style), 2)?;
        }
    }
    Ok(exit)
}

/// The realms of the plan of which a later command wants something else.
fn taken_out<'a>(document: &StatusDocument, done: &'a ActionDocument, action: Action) -> BTreeSet<&'a str> {
    let other = if action == Action::Stop { Desired::Up } else { Desired::Down };
    let is_taken_out =
        |name: &&str| document.realms.iter().any(|realm| realm.name == *name && realm.desired.is(other));
    done.steps.iter().map(|step| step.realm.as_str()).filter(is_taken_out).collect()
}

/// The realm that prevents success: a requested one, or one that was started for it.
fn failed(document: &StatusDocument, done: &ActionDocument, realms: &Together<'_>) -> String {
    let is_unwell = |name: &str| {
        let entry = document.realms.iter().find(|realm| realm.name == name);
        entry
            .map(status_of)
            .is_some_and(|status| matches!(status, Status::Failed | Status::Down | Status::Restarting))
    };
    let steps = done.steps.iter().map(|step| step.realm.as_str());
    let own = realms.0.iter().map(String::as_str);
    let mut names = own.clone().chain(steps);
    names.find(|name| is_unwell(name)).or(own.clone().next()).unwrap_or_default().to_owned()
}

fn more(realm: &str, style: Style) -> String {
    format!("more: heartbeat-cli why {}", style.text(realm))
}
