//! An incident as a message to a person: what, since when, why, what heartbeatd does, what to type.

use heartbeat_status::{IncidentStep, What, sanitise_line};
use heartbeat_wire::{IncidentDocument, TimelineEntry};

use crate::Template;
use crate::storm::STORM_WINDOW;

/// Last lines of output in a message.
const MAX_OUTPUT_LINES: usize = 5;
/// Incidents of a digest that are named.
const MAX_DIGEST_LINES: usize = 50;
/// Affected realms that are named.
const MAX_NAMES: usize = 10;
/// Longest title, in characters.
const MAX_TITLE_CHARS: usize = 250;
/// The end of an identifier that tells incidents apart, in characters.
const SHORT_ID_CHARS: usize = 8;
/// The root of incidents about heartbeatd itself.
const OURSELVES: &str = "heartbeatd";

/// What heartbeatd does about an outage.
const ACTIONS: [What; 9] = [
    What::RestartOpened,
    What::RestartHeld,
    What::RestartCommand,
    What::RestartFailed,
    What::RestartAbandoned,
    What::BudgetSpent,
    What::CooldownBegan,
    What::FuseTripped,
    What::Signalled,
];
/// The steps of the incident itself, which repeat its message.
const STEPS: [What; 4] =
    [What::IncidentOpened, What::IncidentUpdated, What::IncidentFailed, What::IncidentResolved];

/// Message for a person.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) title: String,
    /// A sentence per line.
    pub(crate) lines: Vec<String>,
    /// The last lines of output.
    pub(crate) output: Vec<String>,
}

impl Text {
    /// The message in the words of the template, or of heartbeatd: a template that fails costs no notification.
    pub(crate) fn of(document: &IncidentDocument, template: Option<&Template>) -> Self {
        Self::own(document, true).worded(document, template)
    }

    /// The message of a test. No command finds its incident, so no line advises one that takes it.
    pub(crate) fn test(document: &IncidentDocument, template: Option<&Template>) -> Self {
        Self::own(document, false).worded(document, template)
    }

    fn worded(self, document: &IncidentDocument, template: Option<&Template>) -> Self {
        let own = self;
        let Some(template) = template else { return own };
        match template.render(document, (&own.title, &own.plain())) {
            Ok(rendered) => {
                let mut lines = rendered.lines().map(sanitise_line).skip_while(String::is_empty);
                let title = lines.next().map_or_else(|| own.title.clone(), |title| cut(&title));
                Self { title, lines: lines.collect(), output: Vec::new() }
            }
            Err(error) => {
                let why = sanitise_line(&format!("These are the words of heartbeatd, because {error}."));
                Self { lines: [own.lines, vec![why]].concat(), ..own }
            }
        }
    }

    /// One message about the newest notification of each of these incidents.
    pub(crate) fn digest(incidents: &[&IncidentDocument], template: Option<&Template>) -> Self {
        let over = incidents.iter().filter(|document| document.event.is(IncidentStep::Resolved)).count();
        let open = incidents.len() - over;
        let counts = match (open, over) {
            (open, 0) => format!("{open} open"),
            (0, over) => format!("{over} over"),
            (open, over) => format!("{open} open, {over} over"),
        };
        let ecosystem = incidents.first().map_or_else(String::new, |first| sanitise_line(&first.ecosystem));
        let mut lines = vec![format!("These came within {} s:", STORM_WINDOW.as_secs())];
        let own = format!("[{ecosystem}] ");
        let line = |document: &&IncidentDocument| {
            let title = Self::of(document, template).title;
            format!("- {}", title.strip_prefix(&own).unwrap_or(&title))
        };
        lines.extend(incidents.iter().take(MAX_DIGEST_LINES).map(line));
        let more = incidents.len().saturating_sub(MAX_DIGEST_LINES);
        lines.extend((more > 0).then(|| format!("- and {more} more")));
        lines.push("Type: heartbeat-cli incidents --open".to_owned());
        let title = format!("[{ecosystem}] {} incidents at once: {counts}", incidents.len());
        Self { title: cut(&title), lines, output: Vec::new() }
    }

    /// `exists`: commands find the incident.
    fn own(document: &IncidentDocument, exists: bool) -> Self {
        let root = sanitise_line(&document.root);
        let message = sanitise_line(&document.message);
        let what = match document.event.known() {
            Some(IncidentStep::Resolved) => format!("{root} has recovered{}", after(document)),
            Some(IncidentStep::Failed) => format!("{root} needs a person: {message}"),
            Some(IncidentStep::Updated) => format!("{root} is still failing: {message}"),
            // It says so itself, so it lives.
            Some(IncidentStep::Opened) | None if root == OURSELVES => {
                format!("{root} has a problem: {message}")
            }
            Some(IncidentStep::Opened) | None => format!("{root} has failed: {message}"),
        };
        let title = format!("[{}] {what}", sanitise_line(&document.ecosystem));
        let is_over = document.event.is(IncidentStep::Resolved);
        let output = if is_over { &[] } else { document.log_tail.as_slice() };
        let output = &output[output.len().saturating_sub(MAX_OUTPUT_LINES)..];
        Self {
            title: cut(&title),
            lines: if is_over { ended(document) } else { failing(document, &root, exists) },
            output: output.iter().map(|line| sanitise_line(line)).collect(),
        }
    }

    /// The message without markup.
    pub(crate) fn plain(&self) -> String {
        let output = self.output.iter().map(|line| format!("| {line}"));
        self.lines.iter().cloned().chain(output).collect::<Vec<_>>().join("\n")
    }
}

fn cut(title: &str) -> String {
    title.chars().take(MAX_TITLE_CHARS).collect()
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

fn failing(document: &IncidentDocument, root: &str, exists: bool) -> Vec<String> {
    let mut lines = vec![format!("Since {}.", document.opened_at)];
    if !document.affected.is_empty() {
        let names: Vec<String> =
            document.affected.iter().take(MAX_NAMES).map(|name| sanitise_line(name)).collect();
        let more = document.affected.len() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        lines.push(format!("It blocks {}{more}.", names.join(", ")));
    }
    lines.extend(
        last(document, |what| !ACTIONS.contains(what) && !STEPS.contains(what))
            .map(|last| format!("Last: {} ({}).", sanitise_line(&last.detail), sanitise_line(&last.realm))),
    );
    lines.push(doing(document, root));
    lines.extend(document.ack.as_ref().map(|ack| format!("{} takes care of it.", sanitise_line(&ack.by))));
    lines.push(format!("Type: heartbeat-cli why {root}"));
    if exists && document.ack.is_none() {
        let from = document.id.len().saturating_sub(SHORT_ID_CHARS);
        let short = document.id.get(from..).unwrap_or(&document.id);
        lines.push(format!("To take care of it: heartbeat-cli ack {}", sanitise_line(short)));
    }
    lines
}

/// What heartbeatd does about it.
fn doing(document: &IncidentDocument, root: &str) -> String {
    let action = last(document, |what| ACTIONS.contains(what)).map(|action| sanitise_line(&action.detail));
    let needs_a_person = document.event.is(IncidentStep::Failed);
    match action {
        Some(action) => format!("heartbeatd: {action}."),
        None if needs_a_person => "heartbeatd: it can do nothing more by itself.".to_owned(),
        None if root == OURSELVES => "heartbeatd: it goes on supervising every realm.".to_owned(),
        None => format!("heartbeatd: it goes on probing {root}."),
    }
}

fn last(document: &IncidentDocument, wanted: impl Fn(&What) -> bool) -> Option<&TimelineEntry> {
    document.timeline.iter().rev().find(|entry| entry.what.known().is_some_and(|what| wanted(&what)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::sample::document;

    #[test]
    fn a_message_says_what_since_when_why_and_what_to_type() {
        let text = Text::of(&document(IncidentStep::Opened), None);
        assert_eq!(text.title, "[shop] postgres has failed: exit code 1 after 0.2 s");
        let expected = "Since 2026-11-23T22:39:58.310Z.\nIt blocks api, web.\nLast: exit code 1 (postgres).\n\
                        heartbeatd: restart, attempt 1 of 6.\nType: heartbeat-cli why postgres\n\
                        To take care of it: heartbeat-cli ack 0193-a\n| starting\n| FATAL: could not bind IPv4 address";
        assert_eq!(text.plain(), expected);
        let person = Text::of(&document(IncidentStep::Failed), None);
        assert_eq!(person.title, "[shop] postgres needs a person: exit code 1 after 0.2 s");
        let over = Text::of(&document(IncidentStep::Resolved), None);
        assert_eq!(over.title, "[shop] postgres has recovered after 42 s");
        assert_eq!(over.plain(), "It had failed at 2026-11-23T22:39:58.310Z: exit code 1 after 0.2 s.");
    }

    #[test]
    fn a_message_says_what_heartbeatd_does_also_when_that_is_nothing() {
        let mut own = document(IncidentStep::Opened);
        own.timeline.clear();
        assert!(Text::of(&own, None).lines.contains(&"heartbeatd: it goes on probing postgres.".to_owned()));
        own.root = "heartbeatd".to_owned();
        let text = Text::of(&own, None);
        assert_eq!(text.title, "[shop] heartbeatd has a problem: exit code 1 after 0.2 s");
        assert!(
            text.lines.contains(&"heartbeatd: it goes on supervising every realm.".to_owned()),
            "{text:?}"
        );
        own.event = IncidentStep::Failed.into();
        let text = Text::of(&own, None);
        assert!(text.lines.contains(&"heartbeatd: it can do nothing more by itself.".to_owned()), "{text:?}");
    }

    #[test]
    fn a_template_words_the_message_and_one_that_fails_loses_none() {
        let document = document(IncidentStep::Opened);
        let template = Template::new("\n{{ root }} down\nsee {{ links.self }}").unwrap();
        let text = Text::of(&document, Some(&template));
        assert_eq!(
            (text.title.as_str(), text.plain().as_str()),
            ("postgres down", "see /api/incidents/0193-a/")
        );
        // No step of the sample, and too many of this one.
        let many = Template::new(
            "{% for a in affected %}{% for b in affected %}{% if a == b %}{% endif %}{% endfor %}{% endfor %}",
        );
        let mut wide = document;
        wide.affected = (0..1_000).map(|number| format!("realm-{number}")).collect();
        let text = Text::of(&wide, Some(&many.unwrap()));
        assert_eq!(text.title, "[shop] postgres has failed: exit code 1 after 0.2 s");
        assert!(
            text.plain().contains("These are the words of heartbeatd, because the template takes more than"),
            "{text:?}"
        );
    }

    #[test]
    fn a_test_advises_no_command_that_needs_its_incident() {
        let test = document(IncidentStep::Opened);
        let template = Template::new("{{ title }}\n{{ text }}").unwrap();
        for template in [None, Some(&template)] {
            let (real, text) = (Text::of(&test, template).plain(), Text::test(&test, template).plain());
            assert!(real.contains("heartbeat-cli ack") && !text.contains("heartbeat-cli ack"), "{text}");
            assert!(text.contains("Type: heartbeat-cli why postgres"), "{text}");
        }
    }

    #[test]
    fn a_digest_names_each_incident_once_with_its_newest_step() {
        let mut incidents: Vec<IncidentDocument> = Vec::new();
        for no in 0..60 {
            let step = if no == 0 { IncidentStep::Resolved } else { IncidentStep::Opened };
            let root = format!("realm-{no}\n");
            incidents.push(IncidentDocument { root, ..document(step) });
        }
        let text = Text::digest(&incidents.iter().collect::<Vec<_>>(), None);
        assert_eq!(text.title, "[shop] 60 incidents at once: 59 open, 1 over");
        let expected = ["These came within 30 s:", "- realm-0 has recovered after 42 s"];
        assert_eq!(text.lines[..2], expected.map(ToOwned::to_owned));
        assert_eq!(
            text.lines[50..],
            [
                "- realm-49 has failed: exit code 1 after 0.2 s",
                "- and 10 more",
                "Type: heartbeat-cli incidents --open"
            ]
            .map(ToOwned::to_owned)
        );
        let template = Template::new("{{ root | trim }} is {{ event }}").unwrap();
        let text = Text::digest(&[&incidents[0], &incidents[1]], Some(&template));
        assert_eq!(text.lines[1..3], ["- realm-0 is resolved", "- realm-1 is opened"].map(ToOwned::to_owned));
    }

    #[test]
    fn output_of_a_realm_cannot_play_tricks() {
        let mut hostile = document(IncidentStep::Opened);
        hostile.log_tail = vec!["\u{1b}[2Jgone\r\nType: rm -rf /".to_owned()];
        hostile.message = "a\nb".to_owned();
        hostile.affected = (0..300).map(|no| format!("realm-{no}")).collect();
        let text = Text::of(&hostile, None);
        assert!(!text.title.contains('\n') && !text.plain().contains('\u{1b}'), "{text:?}");
        assert!(text.lines.iter().chain(&text.output).all(|line| !line.contains('\n')), "{text:?}");
        assert!(text.plain().contains("realm-9 and 290 more."), "{text:?}");
    }
}
