//! `status`: the table, in every form; once, until it changes, or until everything holds.

use std::time::Duration;

use heartbeat_client::{Client, ClientError};
use heartbeat_wire::{RealmEntry, StatusDocument};
use tokio::time::interval;

use crate::age::clock;
use crate::args::{Sort, StatusArgs};
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;
use crate::headline::{FirstLine, status_of};
use crate::screen::{Drawn, Left, Screen, left};
use crate::select::{chosen, no_such};
use crate::style::{Hue, Style, wrap};
use crate::table::{WIDE, by_severity, headline_room, plain, render};
use crate::verify::{Wanted, beside_the_table, counted, unknown};
use crate::wait::{DEFAULT_WAIT, report, wait_until};

/// How often `--watch` asks.
const WATCH_MS: u64 = 1_000;

/// `status`.
pub(crate) async fn run(
    client: &Client,
    args: &StatusArgs,
    limit: Option<Duration>,
    console: &mut Console,
) -> Outcome {
    if let Some(wait) = args.wait {
        let limit = wait.or(limit).unwrap_or(DEFAULT_WAIT);
        let waited = wait_until(client, &args.realms, Wanted::Desired, limit, console).await?;
        let mut lines = waited.lines;
        if let Some(document) = &waited.document {
            print(document, args, console)?;
            // On the same screen, nothing is said twice.
            if console.terminal && console.err_terminal && console.form == Format::Table {
                lines = beside_the_table(document, &args.realms, console.style);
            }
        }
        report(waited.exit, &lines, limit, console);
        return Ok(waited.exit);
    }
    if args.watch {
        return watch(client, args, console).await;
    }
    if args.refresh {
        console.passing_note("asking for fresh probes ...");
    }
    let answer = client.status(args.refresh).await;
    console.passing_note("");
    show(&answer?, args, console)
}

/// Whether one question answers it, and heartbeatd knows the answer already.
pub(crate) const fn is_one_question(args: &StatusArgs) -> bool {
    args.wait.is_none() && !args.watch && !args.refresh
}

/// The answer, and what it means for a script.
pub(crate) fn show(document: &StatusDocument, args: &StatusArgs, console: &mut Console) -> Outcome {
    check_names(document, &args.realms)?;
    print(document, args, console)?;
    tell_config_problem(document, console);
    Ok(exit_of(document, &args.realms))
}

/// A configuration that cannot be loaded does no harm before the next start of heartbeatd.
fn tell_config_problem(document: &StatusDocument, console: &mut Console) {
    if let Some(problem) = &document.daemon.config_problem {
        let problem = console.style.text(problem);
        console.note(&format!(
            "the configuration on disk cannot be loaded, so the one before stays in force: {problem}"
        ));
    }
}

/// 0 when every realm that counts is as desired, else 3.
pub(crate) fn exit_of(document: &StatusDocument, names: &[String]) -> Exit {
    let fine = counted(document, names).into_iter().all(|realm| status_of(realm).is_ok());
    if fine { Exit::Holds } else { Exit::NotDesired }
}

/// A selector that means no realm is exit 4, with names that are near.
pub(crate) fn check_names(document: &StatusDocument, selectors: &[String]) -> Result<(), Failure> {
    match unknown(document, selectors).first() {
        Some(missing) => Err(no_such(document, missing)),
        None => Ok(()),
    }
}

/// The realms that were named, if any were.
fn named<'a>(document: &'a StatusDocument, args: &StatusArgs) -> Option<Vec<&'a RealmEntry>> {
    (!args.realms.is_empty()).then(|| chosen(document, &args.realms).0)
}

/// What of the document is shown, in the order it is shown.
fn selected<'a>(document: &'a StatusDocument, args: &StatusArgs) -> Vec<&'a RealmEntry> {
    let named = named(document, args).unwrap_or_else(|| document.realms.iter().collect());
    let mut rows = by_severity(named.into_iter().filter(|realm| !args.failed || !status_of(realm).is_ok()));
    match args.sort {
        Sort::Severity => {}
        Sort::Name => rows.sort_by(|one, other| one.name.cmp(&other.name)),
        Sort::Start => rows.sort_by_key(|realm| realm.order),
    }
    rows
}

/// The screen for a terminal.
fn screen(document: &StatusDocument, args: &StatusArgs, columns: usize, style: Style) -> String {
    let first = FirstLine::of(document, named(document, args).as_deref(), headline_room(columns), style);
    render(document, &first, &selected(document, args), columns, style)
}

fn print(document: &StatusDocument, args: &StatusArgs, console: &mut Console) -> Result<(), Failure> {
    let realms = selected(document, args);
    let style = console.style;
    match console.form {
        Format::Table | Format::Html | Format::Md | Format::Csv => {
            console.print(&screen(document, args, console.width(), style))
        }
        Format::Wide => console.print(&screen(document, args, WIDE, style)),
        Format::Plain => {
            let first = FirstLine::of(document, named(document, args).as_deref(), usize::MAX, style);
            console.print(&plain(document, &first, &realms, style))
        }
        Format::Name => realms.iter().try_for_each(|realm| console.line(&style.text(&realm.name))),
        Format::Ndjson => realms.iter().try_for_each(|realm| {
            let line = serde_json::to_string(realm)?;
            console.line(&line)
        }),
        Format::Json => {
            let mut shown = document.clone();
            // In the document's own order, which is start order.
            shown.realms.retain(|realm| realms.iter().any(|kept| kept.name == realm.name));
            console.json(&shown)
        }
    }
}

/// Redraws on change, each second at most; ends with `q`, with Ctrl-C (130), or when stdout is closed.
async fn watch(client: &Client, args: &StatusArgs, console: &mut Console) -> Outcome {
    let screen =
        if console.terminal && console.form == Format::Table { Some(Screen::enter()?) } else { None };
    let mut last: Option<StatusDocument> = None;
    tokio::select! {
        outcome = redraw(client, args, screen.is_some(), &mut last, console) => return outcome,
        left = left(screen.as_ref()) => {
            if left == Left::Interrupted {
                return Ok(Exit::Interrupted);
            }
        }
    }
    Ok(last.as_ref().map_or(Exit::Unreachable, |document| exit_of(document, &args.realms)))
}

async fn redraw(
    client: &Client,
    args: &StatusArgs,
    screen: bool,
    last: &mut Option<StatusDocument>,
    console: &mut Console,
) -> Outcome {
    let mut tick = interval(Duration::from_millis(WATCH_MS));
    let mut drawn = Drawn::default();
    let mut refresh = args.refresh;
    loop {
        tick.tick().await;
        let answer = client.status(refresh).await;
        refresh = false;
        if screen {
            let frame = frame(&answer, last.as_ref(), args, console);
            drawn.draw(&frame)?;
        }
        match answer {
            Ok(document) => {
                let same = |last: &StatusDocument| {
                    (&last.instance, last.revision) == (&document.instance, document.revision)
                };
                if !screen && !last.as_ref().is_some_and(same) {
                    print(&document, args, console)?;
                }
                *last = Some(document);
            }
            Err(error @ (ClientError::Unreachable { .. } | ClientError::TimedOut { .. })) if !screen => {
                return Err(error.into());
            }
            Err(ClientError::Unreachable { .. } | ClientError::TimedOut { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if console.is_closed() {
            return Ok(last.as_ref().map_or(Exit::Unreachable, |document| exit_of(document, &args.realms)));
        }
    }
}

/// What the screen shows. An answer that did not come is said first, and what is old loses its colours: green
/// always means recent evidence.
fn frame(
    answer: &Result<StatusDocument, ClientError>,
    last: Option<&StatusDocument>,
    args: &StatusArgs,
    console: &Console,
) -> String {
    let (width, style) = (console.width(), console.style);
    let error = match answer {
        Ok(document) => return screen(document, args, width, style),
        Err(error) => style.text(&error.to_string()),
    };
    let mut text = String::new();
    for line in wrap(&format!("NO ANSWER - {error}"), width) {
        text += &format!("{}\n", style.paint(Hue::Bad, &line));
    }
    if let Some(document) = last {
        text += &format!("what follows is from {}:\n", clock(document.generated_at));
        let grey = Style { color: false, ..style };
        for line in screen(document, args, width, grey).lines() {
            text += &format!("{}\n", style.paint(Hue::Neutral, line));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_exit_code_counts_critical_realms_and_named_ones() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(exit_of(&sample::calm(), &[]), Exit::Holds);
        assert_eq!(exit_of(&sample::outage(), &[]), Exit::NotDesired);
        assert_eq!(exit_of(&sample::outage(), &names(&["dashboard", "migrate"])), Exit::Holds);
        let mut calm = sample::calm();
        calm.realms[1].status = heartbeat_status::Status::Down.into();
        assert_eq!(exit_of(&calm, &[]), Exit::Holds, "mail is not critical");
        assert_eq!(exit_of(&calm, &names(&["mail"])), Exit::NotDesired);
    }

    #[test]
    fn the_exit_code_does_not_depend_on_the_form_and_json_is_one_document() {
        for form in [Format::Table, Format::Wide, Format::Plain, Format::Json, Format::Ndjson, Format::Name] {
            let (mut console, out, _) = Console::captured(form);
            let args = StatusArgs { failed: true, ..StatusArgs::default() };
            print(&sample::outage(), &args, &mut console).unwrap();
            let text = out.text();
            assert!(
                text.contains("postgres") && !text.contains("dashboard") && !text.contains('\x1b'),
                "{text}"
            );
            if form == Format::Json {
                let back: StatusDocument = serde_json::from_str(&text).unwrap();
                assert_eq!(
                    back.realms.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
                    ["postgres", "api", "worker"]
                );
            }
        }
    }

    #[test]
    fn rows_are_sorted_as_was_asked_for() {
        let names = |sort| {
            let (mut console, out, _) = Console::captured(Format::Name);
            print(&sample::outage(), &StatusArgs { sort, ..StatusArgs::default() }, &mut console).unwrap();
            out.text().lines().map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        let sorted = names(Sort::Name);
        assert!(sorted.is_sorted() && sorted.len() == 6, "{sorted:?}");
        let start = names(Sort::Start);
        assert_eq!(start.iter().position(|name| name == "postgres"), Some(0), "{start:?}");
        assert_ne!(names(Sort::Severity), start);
    }

    #[test]
    fn an_old_table_is_never_green() {
        let (mut console, _, _) = Console::captured(Format::Table);
        console.style.color = true;
        let silent = || {
            Err(ClientError::TimedOut {
                host: "unix:/x".parse().unwrap(),
                after: Duration::from_secs(5),
                connected: true,
            })
        };
        let text = frame(&silent(), Some(&sample::calm()), &StatusArgs::default(), &console);
        assert!(text.contains("NO ANSWER") && text.contains("from 22:40:01Z"), "{text}");
        assert!(!text.contains("\x1b[32m") && !text.contains("38;5;2m"), "{text}");
        let fresh = frame(&Ok(sample::calm()), None, &StatusArgs::default(), &console);
        assert!(fresh.contains("\x1b[32m") || fresh.contains("38;5;2m"), "{fresh:?}");
    }
}
