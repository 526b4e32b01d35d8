//! Waiting, with a deadline on everything: heartbeatd itself is waited for, too.

use std::collections::BTreeSet;
use std::time::Duration;

use heartbeat_client::{Client, ClientError};
use heartbeat_wire::StatusDocument;
use tokio::time::{interval, timeout};

use crate::args::Goal;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;
use crate::verify::{Evaluation, Wanted, counted, evaluate, unknown, unstartable};

/// How long `wait` and `status --wait` wait without a time of their own.
pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(60);
/// How often heartbeatd is asked; it makes a new body at most as often.
const POLL_MS: u64 = 250;

/// How the waiting ended, and the last document seen.
pub(crate) struct Waited {
    pub(crate) exit: Exit,
    /// What is wrong or missing, for people.
    pub(crate) lines: Vec<String>,
    pub(crate) document: Option<StatusDocument>,
}

/// Waits until `wanted` holds of `names` (all critical realms when empty), a realm failed, or time is up.
pub(crate) async fn wait_until(
    client: &Client,
    names: &[String],
    wanted: Wanted,
    limit: Duration,
    console: &mut Console,
) -> Result<Waited, Failure> {
    if !console.err_terminal
        && let Ok(document) = client.status(false).await
    {
        // On a terminal the line that is waited in says so.
        for name in unknown(&document, names) {
            console.note(&format!(
                "waiting for {}, which heartbeatd does not know yet",
                console.style.text(name)
            ));
        }
    }
    let mut last: Option<(StatusDocument, Evaluation)> = None;
    let mut silence: Option<ClientError> = None;
    let ended = timeout(limit, poll(client, names, wanted, console, &mut last, &mut silence)).await;
    console.passing_note("");
    if let Ok(Err(failure)) = ended {
        return Err(failure);
    }
    let (document, evaluation) = match (last, silence) {
        (Some((document, evaluation)), _) => (document, evaluation),
        (None, Some(error)) => return Err(error.into()),
        (None, None) => {
            return Err(Failure::new(
                Exit::Unreachable,
                format!("heartbeatd gave no answer within {limit:?}"),
            ));
        }
    };
    let (exit, lines) = match evaluation {
        Evaluation::Holds => (Exit::Holds, Vec::new()),
        Evaluation::Failed(lines) => (Exit::NotDesired, lines),
        Evaluation::Missing(lines) => (Exit::Deadline, lines),
    };
    Ok(Waited { exit, lines, document: Some(document) })
}

async fn poll(
    client: &Client,
    names: &[String],
    wanted: Wanted,
    console: &mut Console,
    last: &mut Option<(StatusDocument, Evaluation)>,
    silence: &mut Option<ClientError>,
) -> Result<(), Failure> {
    let style = console.style;
    let mut told: BTreeSet<String> = BTreeSet::new();
    let mut tick = interval(Duration::from_millis(POLL_MS));
    loop {
        tick.tick().await;
        match client.status(false).await {
            Ok(document) => {
                let evaluation = evaluate(&document, names, wanted, style);
                for line in unstartable(&document, names, style) {
                    if told.insert(line.clone()) {
                        console.passing_note("");
                        console.note(&line);
                    }
                }
                let over = !matches!(evaluation, Evaluation::Missing(_));
                if let Evaluation::Missing(missing) = &evaluation {
                    let first = missing.first().map_or("", String::as_str);
                    let note = format!("waiting for {}: {first}", missing.len());
                    console.passing_note(&note);
                }
                *last = Some((document, evaluation));
                if over {
                    return Ok(());
                }
            }
            Err(error @ (ClientError::Unreachable { .. } | ClientError::TimedOut { .. })) => {
                console.passing_note("waiting for heartbeatd");
                *silence = Some(error);
            }
            // Starting up, heartbeatd may say 503; anything else will not get better by waiting.
            Err(ClientError::Problem(problem)) if problem.status == 503 => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// `wait REALM.. --for GOAL`.
pub(crate) async fn run(
    client: &Client,
    realms: &[String],
    goal: Goal,
    limit: Option<Duration>,
    console: &mut Console,
) -> Outcome {
    let limit = limit.unwrap_or(DEFAULT_WAIT);
    let waited = wait_until(client, realms, Wanted::Goal(goal), limit, console).await?;
    if matches!(console.form, Format::Json | Format::Ndjson)
        && let Some(document) = &waited.document
    {
        let named: Vec<_> = counted(document, realms).into_iter().cloned().collect();
        console.json(&StatusDocument { realms: named, ..document.clone() })?;
    }
    report(waited.exit, &waited.lines, limit, console);
    Ok(waited.exit)
}

/// Says on stderr what is missing.
pub(crate) fn report(exit: Exit, lines: &[String], limit: Duration, console: &mut Console) {
    let what = match exit {
        Exit::Deadline => format!("not reached within {limit:?}"),
        Exit::NotDesired => "failed, a person has to act".to_owned(),
        _ => return,
    };
    console.note(&format!("{what}{}", if lines.is_empty() { "" } else { ":" }));
    for line in lines {
        console.note(&format!("  {line}"));
    }
}
