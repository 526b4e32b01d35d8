//! An incident as a message to a person: what, since when, why, what heartbeatd does, what to type.

use heartbeat_status::wire::IncidentDocument;
use heartbeat_status::{IncidentStep, sanitise_line};

/// Last lines of output in a message.
const MAX_OUTPUT_LINES: usize = 5;
/// Affected realms that are named.
const MAX_NAMES: usize = 10;
/// Longest title, in characters.
const MAX_TITLE_CHARS: usize = 250;

/// The message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) title: String,
    /// A sentence per line.
    pub(super) lines: Vec<String>,
    /// The last lines of output.
    pub(super) output: Vec<String>,
}

impl Text {
    pub(super) fn of(document: &IncidentDocument) -> Self {
        let root = sanitise_line(&document.root);
        let message = sanitise_line(&document.message);
        let what = match document.event.known() {
            Some(IncidentStep::Resolved) => format!("{root} has recovered{}", after(document)),
            Some(IncidentStep::Failed) => format!("{root} needs a person: {message}"),
            Some(IncidentStep::Updated) => format!("{root} is still failing: {message}"),
            Some(IncidentStep::Opened) | None => format!("{root} has failed: {message}"),
        };
        let title = format!("[{}] {what}", sanitise_line(&document.ecosystem));
        let is_over = document.event.is(IncidentStep::Resolved);
        let output = if is_over { &[] } else { document.log_tail.as_slice() };
        let output = &output[output.len().saturating_sub(MAX_OUTPUT_LINES)..];
        Self {
            title: title.chars().take(MAX_TITLE_CHARS).collect(),
            lines: if is_over { ended(document) } else { failing(document, &root) },
            output: output.iter().map(|line| sanitise_line(line)).collect(),
        }
    }

    /// The message without markup.
    pub(super) fn plain(&self) -> String {
        let output = self.output.iter().map(|line| format!("| {line}"));
        self.lines.iter().cloned().chain(output).collect::<Vec<_>>().join("\n")
    }
}

fn after(document: &IncidentDocument) -> String {
    match document.duration_s {
        Some(seconds) if seconds < 120.0 => format!(" after {seconds:.0} s"),
        Some(seconds) => format!(" after {:.0} min", seconds / 60.0),
        None => String::new(),
    }
}

fn ended(document: &IncidentDocument) -> Vec<String> {
    let why = sanitise_line(&document.message);
    let mut lines = vec![format!("It had failed at {}: {why}.", document.opened_at)];
    lines.extend(document.resolution.as_ref().map(|how| format!("It ended: {}.", sanitise_line(how))));
    lines
}

fn failing(document: &IncidentDocument, root: &str) -> Vec<String> {
    let mut lines = vec![format!("Since {}.", document.opened_at)];
    if !document.affected.is_empty() {
        let names: Vec<String> =
            document.affected.iter().take(MAX_NAMES).map(|name| sanitise_line(name)).collect();
        let more = document.affected.len() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        lines.push(format!("It blocks {}{more}.", names.join(", ")));
    }
    if let Some(last) = document.timeline.last() {
        lines.push(format!("Last: {} ({}).", sanitise_line(&last.detail), sanitise_line(&last.realm)));
    }
    lines.extend(document.ack.as_ref().map(|ack| format!("{} takes care of it.", sanitise_line(&ack.by))));
    lines.push(format!("Type: heartbeat-cli why {root}"));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::sample::document;

    #[test]
    fn a_message_says_what_since_when_why_and_what_to_type() {
        let text = Text::of(&document(IncidentStep::Opened));
        assert_eq!(text.title, "[shop] postgres has failed: exit code 1 after 0.2 s");
        let expected = "Since 2026-11-23T22:39:58.310Z.\nIt blocks api, web.\nLast: restart, attempt 1 of 6 (postgres).\n\
                        Type: heartbeat-cli why postgres\n| starting\n| FATAL: could not bind IPv4 address";
        assert_eq!(text.plain(), expected);
        let person = Text::of(&document(IncidentStep::Failed));
        assert_eq!(person.title, "[shop] postgres needs a person: exit code 1 after 0.2 s");
        let over = Text::of(&document(IncidentStep::Resolved));
        assert_eq!(over.title, "[shop] postgres has recovered after 42 s");
        assert_eq!(over.plain(), "It had failed at 2026-11-23T22:39:58.310Z: exit code 1 after 0.2 s.");
    }

    #[test]
    fn output_of_a_realm_cannot_play_tricks() {
        let mut hostile = document(IncidentStep::Opened);
        hostile.log_tail = vec!["\u{1b}[2Jgone\r\nType: rm -rf /".to_owned()];
        hostile.message = "a\nb".to_owned();
        hostile.affected = (0..300).map(|no| format!("realm-{no}")).collect();
        let text = Text::of(&hostile);
        assert!(!text.title.contains('\n') && !text.plain().contains('\u{1b}'), "{text:?}");
        assert!(text.lines.iter().chain(&text.output).all(|line| !line.contains('\n')), "{text:?}");
        assert!(text.plain().contains("realm-9 and 290 more."), "{text:?}");
    }
}
