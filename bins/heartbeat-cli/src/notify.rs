//! `notify`: a test of a receiver, and the notifications of an incident.

use heartbeat_client::Client;
use heartbeat_status::WallTime;
use heartbeat_wire::{NotificationEntry, NotificationsDocument, NotifyTestDocument, NotifyTestEntry};

use crate::config;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;
use crate::incidents::full;
use crate::notification::line;
use crate::style::Style;

/// The notifications of an incident.
pub(crate) async fn log(client: &Client, id: &str, console: &mut Console) -> Outcome {
    let document = client.notifications(&full(client, id).await?).await?;
    match console.form {
        Format::Json => console.json(&document)?,
        Format::Ndjson => document.notifications.iter().try_for_each(|entry| console.json_line(entry))?,
        Format::Plain => document.notifications.iter().try_for_each(|entry| {
            let why = console.style.text(entry.why.as_deref().unwrap_or_default());
            let receiver = console.style.text(&entry.receiver);
            let NotificationEntry { event, state, queued_at, attempts, .. } = entry;
            let time = |at: Option<WallTime>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
            let (attempted_at, next_at) = (time(entry.attempted_at), time(entry.next_at));
            console.line(&format!(
                "{receiver}\t{event}\t{state}\t{queued_at}\t{attempts}\t{why}\t{attempted_at}\t{next_at}"
            ))
        })?,
        _ => lines(&document, console.style).iter().try_for_each(|line| console.prose(line, 4))?,
    }
    Ok(Exit::Holds)
}

/// Sends a test to a receiver, or shows it.
pub(crate) async fn test(
    client: &Client,
    receiver: Option<&str>,
    dry_run: bool,
    console: &mut Console,
) -> Outcome {
    let Some(receiver) = receiver else { return Err(unnamed(&config::receivers())) };
    let document = client.test_receiver(receiver, dry_run).await?;
    match console.form {
        Format::Json => console.json(&document)?,
        Format::Ndjson => document.messages.iter().try_for_each(|message| console.json_line(message))?,
        _ => test_lines(&document, console.style).iter().try_for_each(|line| console.prose(line, 4))?,
    }
    let failed = document.messages.iter().any(|message| message.delivered == Some(false));
    Ok(if failed { Exit::No } else { Exit::Holds })
}

/// What a test without a name answers.
fn unnamed(receivers: &[String]) -> Failure {
    let failure = Failure::new(Exit::Usage, "`notify test` takes the name of a receiver");
    match receivers {
        [] => failure
            .help("the configuration here has none: `heartbeat-cli explain webhook` shows how to write one"),
        names => failure.help(format!("there are: {}", names.join(", "))),
    }
}

/// A document of JSON over several lines, which a person can read; any other line as it is.
fn legible(line: &str) -> Vec<String> {
    let document = serde_json::from_str::<serde_json::Value>(line).ok().filter(serde_json::Value::is_object);
    match document.and_then(|document| serde_json::to_string_pretty(&document).ok()) {
        Some(pretty) => pretty.lines().map(ToOwned::to_owned).collect(),
        None => vec![line.to_owned()],
    }
}

fn test_lines(document: &NotifyTestDocument, style: Style) -> Vec<String> {
    let receiver = style.text(&document.receiver);
    let mut lines = Vec::new();
    for NotifyTestEntry { event, sent, delivered, why } in &document.messages {
        let why = style.text(why.as_deref().unwrap_or("for an unknown reason"));
        match delivered {
            Some(true) => lines.push(format!("{receiver} accepted the test `{event}`")),
            Some(false) => lines.push(format!("{receiver} did not accept the test `{event}`: {why}")),
            None => {
                lines.push(format!("{receiver} would be sent, as `{event}`:"));
                lines.extend(sent.lines().flat_map(legible).map(|line| format!("  {}", style.output(&line))));
                lines.push(String::new());
            }
        }
    }
    lines
}

fn lines(document: &NotificationsDocument, style: Style) -> Vec<String> {
    if document.notifications.is_empty() {
        return vec!["no receiver was to hear of this incident".to_owned()];
    }
    let mut lines = vec![format!("{:<12}  {:<9}  {:<23}  RESULT", "RECEIVER", "EVENT", "SINCE")];
    lines.extend(document.notifications.iter().map(|entry| line(entry, style)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_status::{DeliveryState, IncidentStep};
    use heartbeat_wire::NOTIFICATIONS_SCHEMA;

    #[test]
    fn a_test_says_whether_it_arrived_and_a_dry_run_what_would_be_sent() {
        let message = |delivered: Option<bool>, why: Option<&str>| NotifyTestEntry {
            event: IncidentStep::Opened.into(),
            sent: "POST http://h (path hidden)\n\n{}".to_owned(),
            delivered,
            why: why.map(str::to_owned),
        };
        let document = |messages: Vec<NotifyTestEntry>| NotifyTestDocument {
            schema: heartbeat_wire::NOTIFY_TEST_SCHEMA.to_owned(),
            receiver: "ops".to_owned(),
            messages,
        };
        let sent =
            document(vec![message(Some(true), None), message(Some(false), Some("answered 404 Not Found"))]);
        let expected = [
            "ops accepted the test `opened`",
            "ops did not accept the test `opened`: answered 404 Not Found",
        ];
        assert_eq!(test_lines(&sent, Style::default()), expected);
        let long = NotifyTestEntry {
            sent: format!("{{\"title\":\"{}\",\"z\":1}}", "x".repeat(2_000)),
            ..message(None, None)
        };
        let shown = test_lines(&document(vec![long]), Style::default());
        assert_eq!(shown.len(), 6, "{shown:?}");
        assert!(
            shown[2].contains(&"x".repeat(2_000)) && shown[3] == "    \"z\": 1",
            "nothing is cut: {shown:?}"
        );
        let shown = test_lines(&document(vec![message(None, None)]), Style::default());
        assert_eq!(
            shown,
            ["ops would be sent, as `opened`:", "  POST http://h (path hidden)", "  ", "  {}", ""]
        );
    }

    #[test]
    fn a_test_without_a_name_lists_the_names() {
        let failure = unnamed(&["mail".to_owned(), "ops".to_owned()]);
        assert_eq!((failure.exit, failure.help.as_deref()), (Exit::Usage, Some("there are: mail, ops")));
        assert!(unnamed(&[]).help.is_some_and(|help| help.contains("explain webhook")));
    }

    #[test]
    fn every_notification_says_what_became_of_it() {
        let at = WallTime::from_millis(1_795_473_598_310);
        let entry = |state: DeliveryState, attempts: u32, why: Option<&str>| NotificationEntry {
            receiver: "ops".to_owned(),
            seq: 1,
            event: IncidentStep::Opened.into(),
            state: state.into(),
            queued_at: at,
            attempts,
            attempted_at: (attempts > 0).then_some(at),
            next_at: (state == DeliveryState::Due && attempts > 0).then_some(at),
            why: why.map(str::to_owned),
        };
        let mut document = NotificationsDocument {
            schema: NOTIFICATIONS_SCHEMA.to_owned(),
            incident: "0193-a".to_owned(),
            notifications: vec![
                entry(DeliveryState::Delivered, 2, None),
                entry(DeliveryState::Due, 3, Some("answered 503 Service Unavailable")),
                entry(DeliveryState::Due, 0, None),
                entry(DeliveryState::GivenUp, 1, Some("answered 404 Not Found")),
                entry(DeliveryState::Dropped, 0, Some("the receiver was removed from the configuration")),
            ],
        };
        let text = lines(&document, Style::default()).join("\n");
        for part in [
            "ops           opened     ",
            "delivered after 2 attempts at ",
            "not delivered yet after 3 attempts: answered 503 Service Unavailable; the next at ",
            "to be sent in its turn",
            "given up after 1 attempt at ",
            ": answered 404 Not Found",
            "not sent: the receiver was removed from the configuration",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        document.notifications.clear();
        assert_eq!(lines(&document, Style::default()), ["no receiver was to hear of this incident"]);
    }
}
