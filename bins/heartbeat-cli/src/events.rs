//! `events`: recent events; `-f` follows.

use std::time::Duration;

use heartbeat_client::{Client, ClientError, Events};
use heartbeat_status::What;
use heartbeat_status::wire::EventEntry;
use tokio::time::sleep;

use crate::age::moment;
use crate::console::Console;
use crate::exit::{Exit, Outcome};
use crate::global::Format;
use crate::select::names;
use crate::style::{Hue, Style, visible_width};

/// Between two attempts to follow again.
const RETRY: Duration = Duration::from_secs(1);
/// heartbeatd that is away for longer than this many attempts is not waited for.
const MAX_RETRIES: u32 = 30;

/// What is asked for.
pub(crate) struct Asked<'a> {
    /// Only these realms; empty for all and heartbeatd itself.
    pub(crate) realms: &'a [String],
    /// How many facts of the past.
    pub(crate) past: usize,
    /// Only facts that are not older than this, as heartbeatd's clock says.
    pub(crate) since: Option<Duration>,
    /// Goes on until it is interrupted.
    pub(crate) follow: bool,
}

/// Shows facts. A broken stream is followed again where it broke, without a gap and without repetition.
pub(crate) async fn run(client: &Client, asked: &Asked<'_>, console: &mut Console) -> Outcome {
    let realms =
        if asked.realms.is_empty() { Vec::new() } else { names(client, asked.realms, false).await? };
    let summary = client.summary().await?;
    if matches!(console.form, Format::Table | Format::Wide | Format::Plain) {
        let since = moment(summary.daemon.started_at);
        console.note(&format!(
            "since heartbeatd started at {since}; older ones: heartbeat-cli incidents, heartbeat-cli history REALM"
        ));
    }
    let oldest = asked.since.map(|since| {
        let now = summary.generated_at.as_millis();
        now.saturating_sub(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    });
    let asked = &Asked { realms: &realms, ..*asked };
    let wanted = |fact: &EventEntry| {
        wanted(fact, asked.realms) && oldest.is_none_or(|oldest| fact.at.as_millis() >= oldest)
    };
    let mut last: Option<(String, u64)> = None;
    let mut events = client.events(asked.past, asked.follow, None).await?;
    let mut retries = 0;
    loop {
        match show(&mut events, &wanted, &mut last, console).await {
            Ok(()) if console.is_closed() || !asked.follow => return Ok(Exit::Holds),
            Ok(()) => console.note("heartbeatd has ended the stream; following again"),
            Err(Trouble::Stream(error)) if asked.follow => console.note(&format!("{error}; following again")),
            Err(Trouble::Stream(error)) => return Err(error.into()),
            Err(Trouble::Output(failure)) => return Err(failure),
        }
        events = loop {
            sleep(RETRY).await;
            let since = last.as_ref().map(|(id, _)| id.as_str());
            match client.events(0, true, since).await {
                Ok(events) => break events,
                Err(_) if retries < MAX_RETRIES => retries += 1,
                Err(error) => return Err(error.into()),
            }
        };
        retries = 0;
    }
}

enum Trouble {
    Stream(ClientError),
    Output(crate::exit::Failure),
}

async fn show(
    events: &mut Events,
    wanted: &dyn Fn(&EventEntry) -> bool,
    last: &mut Option<(String, u64)>,
    console: &mut Console,
) -> Result<(), Trouble> {
    while let Some(fact) = events.next().await.map_err(Trouble::Stream)? {
        let id = events.last_id().unwrap_or_default();
        if is_repeated(last.as_ref(), id, fact.seq) {
            continue;
        }
        *last = Some((id.to_owned(), fact.seq));
        if wanted(&fact) {
            print(&fact, console).map_err(Trouble::Output)?;
        }
        if console.is_closed() {
            break;
        }
    }
    Ok(())
}

/// After a break, what came before it may come again. Numbers start anew with every heartbeatd.
fn is_repeated(last: Option<&(String, u64)>, id: &str, seq: u64) -> bool {
    let instance = |id: &str| id.rsplit_once('.').map(|(instance, _)| instance.to_owned());
    last.is_some_and(|(known, known_seq)| instance(known) == instance(id) && seq <= *known_seq)
}

fn wanted(fact: &EventEntry, realms: &[String]) -> bool {
    realms.is_empty() || fact.realm.as_ref().is_some_and(|realm| realms.contains(realm))
}

fn print(fact: &EventEntry, console: &mut Console) -> Result<(), crate::exit::Failure> {
    match console.form {
        Format::Json | Format::Ndjson => console.json_line(fact),
        Format::Plain => {
            let style = console.style;
            let realm = style.text(fact.realm.as_deref().unwrap_or("heartbeatd"));
            console.line(&format!("{}\t{realm}\t{}\t{}", fact.at, fact.what, style.text(&fact.detail)))
        }
        _ => {
            let (head, detail) = line(fact, console.style);
            // The later lines stand below the detail where there is room for it.
            let column = visible_width(&head);
            let hang = if console.width() > 2 * column { column } else { 4 };
            console.prose(&format!("{head}{detail}"), hang)
        }
    }
}

/// When, whom and what; and the detail.
fn line(fact: &EventEntry, style: Style) -> (String, String) {
    let realm = style.text(fact.realm.as_deref().unwrap_or("heartbeatd"));
    let what = style.text(&fact.what.to_string());
    let what = style.paint(hue(fact.what.known()), &format!("{what:<16}"));
    (format!("{}  {realm:<14}  {what}  ", moment(fact.at)), style.text(&fact.detail))
}

fn hue(what: Option<What>) -> Hue {
    match what {
        Some(
            What::ProbeFailed
            | What::StartFailed
            | What::Exited
            | What::RestartFailed
            | What::BudgetSpent
            | What::CooldownBegan
            | What::PortTaken
            | What::FuseTripped
            | What::IncidentOpened
            | What::IncidentFailed,
        ) => Hue::Bad,
        Some(What::RestartVerified | What::ProbePassed | What::IncidentResolved | What::Booted) => Hue::Ok,
        Some(What::RestartOpened | What::FlappingStarted | What::ProbeInconclusive) => Hue::Attention,
        _ => Hue::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(realm: Option<&str>, detail: &str) -> EventEntry {
        let realm = realm.map_or("null".to_owned(), |realm| format!("\"{realm}\""));
        let text = format!(
            r#"{{ "schema": "heartbeat.event/1", "seq": 7, "at": "2026-11-23T22:39:58.310Z", "realm": {realm},
                "what": "Exited", "detail": "{detail}" }}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_fact_is_a_line_without_the_escapes_of_others() {
        let told = |realm, detail| {
            let (head, detail) = line(&fact(realm, detail), Style::default());
            head + &detail
        };
        let text = told(Some("db"), "exit \\u001b[31mcode 1");
        assert!(text.starts_with("2026-11-23 22:39:58Z  db              Exited            exit "), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(told(None, "x").contains("heartbeatd"));
    }

    #[test]
    fn what_was_shown_is_not_shown_again_unless_it_is_another_life() {
        let last = ("k3v9.4".to_owned(), 7);
        assert!(is_repeated(Some(&last), "k3v9.4", 5) && is_repeated(Some(&last), "k3v9.3", 7));
        assert!(!is_repeated(Some(&last), "k3v9.4", 8) && !is_repeated(Some(&last), "other.1", 1));
        assert!(!is_repeated(None, "k3v9.4", 1));
    }

    #[test]
    fn realms_that_are_named_are_the_only_ones() {
        let of = |names: &[&str], fact: &EventEntry| {
            wanted(fact, &names.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert!(of(&[], &fact(None, "x")) && of(&["db"], &fact(Some("db"), "x")));
        assert!(!of(&["db"], &fact(Some("api"), "x")) && !of(&["db"], &fact(None, "x")));
    }
}
