//! `events`: recent events; `-f` follows.

use std::time::Duration;

use heartbeat_client::{Client, ClientError, Events};
use heartbeat_status::{WallTime, What};
use heartbeat_wire::EventEntry;
use tokio::time::sleep;

use crate::age::moment;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;
use crate::select::names;
use crate::style::{Hue, Style, visible_width};
use crate::why_heartbeatd;

/// Facts that heartbeatd keeps.
pub(crate) const MAX_EVENTS: usize = 2_000;
/// Between two attempts to follow again.
const RETRY: Duration = Duration::from_secs(1);
/// heartbeatd that is away for longer than this many attempts is not waited for.
const MAX_RETRIES: u32 = 30;

/// What is asked for.
pub(crate) struct Asked<'a> {
    /// Only these realms, or `heartbeatd` itself; empty for all of them.
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
    if console.form == Format::Name {
        return Err(Failure::new(Exit::Usage, "events have no names").help("-o plain has a line for each"));
    }
    let (own, selectors): (Vec<String>, Vec<String>) =
        asked.realms.iter().cloned().partition(|selector| selector == why_heartbeatd::NAME);
    let mut realms = if selectors.is_empty() { Vec::new() } else { names(client, &selectors).await? };
    realms.extend(own);
    let summary = client.summary().await?;
    let oldest = asked.since.map(|since| {
        let now = summary.generated_at.as_millis();
        now.saturating_sub(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    });
    let asked = &Asked { realms: &realms, ..*asked };
    let wanted = |fact: &EventEntry| {
        wanted(fact, asked.realms) && oldest.is_none_or(|oldest| fact.at.as_millis() >= oldest)
    };
    let (facts, mut last) = past(client).await?;
    let is_complete = facts.len() < MAX_EVENTS;
    let facts: Vec<&EventEntry> = facts.iter().filter(|fact| wanted(fact)).collect();
    let newest = &facts[facts.len().saturating_sub(asked.past)..];
    if matches!(console.form, Format::Table | Format::Wide | Format::Plain) {
        let began = is_complete.then_some(summary.daemon.started_at);
        console.note(&extent(newest.len(), facts.len(), began));
    }
    newest.iter().try_for_each(|fact| print(fact, console))?;
    if !asked.follow || console.is_closed() {
        return Ok(Exit::Holds);
    }
    let since = last.as_ref().map(|(id, _)| id.clone());
    let mut events = client.events(0, true, since.as_deref()).await?;
    let mut retries = 0;
    loop {
        match show(&mut events, &wanted, &mut last, console).await {
            Ok(()) if console.is_closed() => return Ok(Exit::Holds),
            Ok(()) => console.note("heartbeatd has ended the stream; following again"),
            Err(FollowError::Stream(error)) => console.note(&format!("{error}; following again")),
            Err(FollowError::Output(failure)) => return Err(failure),
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

/// Every fact that heartbeatd keeps, and where to go on after them.
async fn past(client: &Client) -> Result<(Vec<EventEntry>, Option<(String, u64)>), ClientError> {
    let mut events = client.events(MAX_EVENTS, false, None).await?;
    let (mut facts, mut last) = (Vec::new(), None);
    while let Some(fact) = events.next().await? {
        last = Some((events.last_id().unwrap_or_default().to_owned(), fact.seq));
        facts.push(fact);
    }
    Ok((facts, last))
}

/// Which facts are shown: `shown` of those that are `wanted`, since heartbeatd `began` if none of them is gone.
fn extent(shown: usize, wanted: usize, began: Option<WallTime>) -> String {
    let which =
        if shown < wanted { format!("the newest {shown} of {wanted} events ") } else { String::new() };
    let from = match began {
        Some(began) => format!("since heartbeatd started at {}", moment(began)),
        None => format!("among the newest {MAX_EVENTS} of heartbeatd, which keeps no more"),
    };
    format!("{which}{from}; older ones: heartbeat-cli incidents, heartbeat-cli history REALM")
}

enum FollowError {
    Stream(ClientError),
    Output(Failure),
}

async fn show(
    events: &mut Events,
    wanted: &dyn Fn(&EventEntry) -> bool,
    last: &mut Option<(String, u64)>,
    console: &mut Console,
) -> Result<(), FollowError> {
    while let Some(fact) = events.next().await.map_err(FollowError::Stream)? {
        let id = events.last_id().unwrap_or_default();
        if is_repeated(last.as_ref(), id, fact.seq) {
            continue;
        }
        *last = Some((id.to_owned(), fact.seq));
        if wanted(&fact) {
            print(&fact, console).map_err(FollowError::Output)?;
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
    let of = fact.realm.as_deref().unwrap_or(why_heartbeatd::NAME);
    realms.is_empty() || realms.iter().any(|realm| realm == of)
}

fn print(fact: &EventEntry, console: &mut Console) -> Result<(), Failure> {
    match console.form {
        Format::Json | Format::Ndjson => console.json_line(fact),
        Format::Plain => {
            let style = console.style;
            let realm = style.text(fact.realm.as_deref().unwrap_or(why_heartbeatd::NAME));
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
    let realm = style.text(fact.realm.as_deref().unwrap_or(why_heartbeatd::NAME));
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
    fn the_remark_claims_no_more_than_is_shown() {
        let began = Some(WallTime::from_millis(1_795_473_598_310));
        assert!(extent(3, 3, began).starts_with("since heartbeatd started at 2026-11-23 22:39:58"));
        assert!(extent(3, 9, began).starts_with("the newest 3 of 9 events since heartbeatd started at "));
        assert!(
            extent(3, 3, None).starts_with("among the newest 2000 of heartbeatd, which keeps no more; older")
        );
    }

    #[test]
    fn realms_that_are_named_are_the_only_ones() {
        let of = |names: &[&str], fact: &EventEntry| {
            wanted(fact, &names.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert!(of(&[], &fact(None, "x")) && of(&["db"], &fact(Some("db"), "x")));
        assert!(!of(&["db"], &fact(Some("api"), "x")) && !of(&["db"], &fact(None, "x")));
        assert!(of(&["heartbeatd"], &fact(None, "x")) && !of(&["heartbeatd"], &fact(Some("db"), "x")));
    }
}
