//! `incidents`: the list, and the story of one.

use heartbeat_client::{Client, ClientError};
use heartbeat_status::What;
use heartbeat_wire::{AckRequest, IncidentDocument, IncidentsDocument, OpeningEvidence, ProcessStateEntry};

use crate::age::{moment, size};
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::global::Format;
use crate::style::{Style, width};
use crate::{notification, probe};

/// Characters of an identifier that tell incidents apart for a person: its random end.
const SHORT_ID_CHARS: usize = 8;
/// Changes of the configuration in the story of an incident.
const MAX_CHANGES_SHOWN: usize = 10;
/// Incidents looked through for the end of an identifier.
const MAX_SEARCHED_INCIDENTS: usize = 2_000;
/// Incidents that heartbeatd gives at a time.
const MAX_PAGE_INCIDENTS: usize = 200;

/// The list.
pub(crate) async fn list(client: &Client, open: bool, limit: usize, console: &mut Console) -> Outcome {
    let document = newest(client, open, limit).await?;
    match console.form {
        Format::Json => console.json(&document)?,
        Format::Ndjson => document.incidents.iter().try_for_each(|incident| console.json_line(incident))?,
        Format::Name => document.incidents.iter().try_for_each(|incident| console.line(&incident.id))?,
        Format::Plain => {
            document.incidents.iter().try_for_each(|incident| {
                let (root, message) =
                    (console.style.text(&incident.root), console.style.text(&incident.message));
                console.line(&format!(
                    "{}\t{}\t{}\t{root}\t{message}",
                    incident.id,
                    incident.opened_at,
                    state(incident)
                ))
            })?;
        }
        form => {
            let columns =
                if form == Format::Wide || !console.terminal { usize::MAX } else { console.width() };
            let shown = lines(&document, open, columns, console.style);
            // What has happened is indented already where it has a line of its own.
            let hang = if columns < MIN_COLUMNS_OF_ONE_LINE { 0 } else { 4 };
            shown.iter().try_for_each(|line| console.prose(line, hang))?;
        }
    }
    Ok(Exit::Holds)
}

/// Columns before what has happened where it stands below the rest of its line.
const HANG_COLUMNS: usize = 10;
/// Columns of the name of a root; a longer one moves what stands behind it.
const MIN_ROOT_COLUMNS: usize = 12;
const MAX_ROOT_COLUMNS: usize = 32;
/// Columns from which on it stands behind the rest of its line.
const MIN_COLUMNS_OF_ONE_LINE: usize = 110;
/// Columns from which on the state and the root stand behind the time.
const MIN_COLUMNS_OF_TWO_LINES: usize = 70;

fn lines(document: &IncidentsDocument, open: bool, columns: usize, style: Style) -> Vec<String> {
    if document.incidents.is_empty() {
        let what = if open { "no open incident" } else { "no incident on record" };
        return vec![what.to_owned()];
    }
    let is_one_line = columns >= MIN_COLUMNS_OF_ONE_LINE;
    let roots = document.incidents.iter().map(|incident| width(&style.text(&incident.root)));
    let root_columns = roots.max().unwrap_or_default().clamp(MIN_ROOT_COLUMNS, MAX_ROOT_COLUMNS);
    let head = |id: &str, opened: &str, state: &str, root: &str, what: &str| {
        if is_one_line {
            vec![format!("{id:<8}  {opened:<23}  {state:<19}  {root:<root_columns$}  {what}")]
        } else if columns >= MIN_COLUMNS_OF_TWO_LINES {
            let head = format!("{id:<8}  {opened:<23}  {state:<19}  {root}");
            vec![head.trim_end().to_owned(), format!("{:HANG_COLUMNS$}{what}", "")]
        } else {
            let below = [format!("{root}  {state}"), what.to_owned()];
            let below = below.map(|text| format!("{:HANG_COLUMNS$}{text}", ""));
            [format!("{id:<8}  {opened}")].into_iter().chain(below).collect()
        }
    };
    let mut lines = head("ID", "OPENED", "STATE", "ROOT", "WHAT");
    for incident in &document.incidents {
        let what = format!("{}{}", style.text(&incident.message), affected(incident, style));
        let (opened, root) = (moment(incident.opened_at), style.text(&incident.root));
        lines.extend(head(&short(&incident.id), &opened, &state(incident), &root, &what));
    }
    if document.next.is_some() {
        lines.push("there are older ones: -n shows more".to_owned());
    }
    lines
}

fn affected(incident: &IncidentDocument, style: Style) -> String {
    if incident.affected.is_empty() {
        return String::new();
    }
    let names: Vec<String> = incident.affected.iter().map(|name| style.text(name)).collect();
    format!("; blocks {}", names.join(", "))
}

/// `open`, or how long it took.
fn state(incident: &IncidentDocument) -> String {
    match incident.duration_s {
        Some(seconds) if seconds < 120.0 => format!("over after {seconds:.1} s"),
        Some(seconds) => format!("over after {:.0} min", seconds / 60.0),
        None => "open".to_owned(),
    }
}

fn short(id: &str) -> String {
    let mut end: Vec<char> = id.chars().rev().take(SHORT_ID_CHARS).collect();
    end.reverse();
    end.into_iter().collect()
}

/// The newest, page by page.
async fn newest(client: &Client, open: bool, limit: usize) -> Result<IncidentsDocument, ClientError> {
    let mut all = client.incidents(open, limit.min(MAX_PAGE_INCIDENTS), None).await?;
    while let Some(after) = all.next.clone().filter(|_| all.incidents.len() < limit) {
        let left = (limit - all.incidents.len()).min(MAX_PAGE_INCIDENTS);
        let page = client.incidents(open, left, Some(&after)).await?;
        all.incidents.extend(page.incidents);
        all.next = page.next;
    }
    Ok(all)
}

/// What the list shows is the end of an identifier: the whole of it.
pub(crate) async fn full(client: &Client, id: &str) -> Result<String, ClientError> {
    let listed = newest(client, false, MAX_SEARCHED_INCIDENTS).await?;
    let found = listed.incidents.into_iter().find(|incident| incident.id.ends_with(id));
    Ok(found.map_or_else(|| id.to_owned(), |incident| incident.id))
}

/// Acknowledges one.
pub(crate) async fn acknowledge(
    client: &Client,
    id: &str,
    request: &AckRequest,
    console: &mut Console,
) -> Outcome {
    let incident = client.acknowledge(&full(client, id).await?, request).await?;
    if matches!(console.form, Format::Json | Format::Ndjson) {
        console.json(&incident)?;
    } else {
        let said = acknowledged(&incident, console.style).unwrap_or_default();
        console.line(&format!("{} {}: {said}", short(&incident.id), console.style.text(&incident.root)))?;
    }
    Ok(Exit::Holds)
}

fn acknowledged(incident: &IncidentDocument, style: Style) -> Option<String> {
    let ack = incident.ack.as_ref()?;
    let note = ack.note.as_ref().map_or_else(String::new, |note| format!(": {}", style.text(note)));
    Some(format!("acknowledged by {} at {}{note}", style.text(&ack.by), ack.at))
}

/// The story of one.
pub(crate) async fn one(client: &Client, id: &str, console: &mut Console) -> Outcome {
    let incident = client.incident(&full(client, id).await?).await?;
    if matches!(console.form, Format::Json | Format::Ndjson) {
        console.json(&incident)?;
    } else {
        story(&incident, console.style).iter().try_for_each(|line| console.prose(line, 4))?;
        more(client, &incident, console).await?;
    }
    Ok(Exit::Holds)
}

/// What else heartbeatd knows. A heartbeatd that does not know it has told the story all the same.
async fn more(client: &Client, incident: &IncidentDocument, console: &mut Console) -> Result<(), Failure> {
    let style = console.style;
    let opened = client.evidence(&incident.id).await.ok().and_then(|evidence| evidence.opened);
    for line in opened.iter().flat_map(|opened| evidence(opened, &incident.root, style)) {
        console.prose(&line, 4)?;
    }
    let notifications = client.notifications(&incident.id).await.map(|document| document.notifications);
    let notifications = notifications.unwrap_or_default();
    if !notifications.is_empty() {
        console.line("notifications:")?;
    }
    notifications
        .iter()
        .try_for_each(|entry| console.prose(&format!("  {}", notification::line(entry, style)), 4))
}

/// What heartbeatd saw when it opened the incident.
fn evidence(opened: &OpeningEvidence, root: &str, style: Style) -> Vec<String> {
    let root = style.text(root);
    let mut lines = Vec::new();
    let conversation = probe::before(&opened.failures, opened.at, style);
    if !conversation.is_empty() {
        lines.push(format!("last failed measurement of {root} before it was opened:"));
        lines.extend(conversation.iter().map(|line| format!("  {line}")));
    }
    if !opened.processes.is_empty() {
        lines.push(format!("processes of {root} when it was opened:"));
        lines.extend(
            opened.processes.iter().map(|process| format!("  {}", style.text(&process_line(process)))),
        );
    }
    if let Some(config) = opened.config.as_ref().filter(|config| !config.changes.is_empty()) {
        lines.push(format!(
            "configuration {}, in force since {}, changed:",
            config.revision,
            moment(config.since)
        ));
        let shown = config.changes.iter().take(MAX_CHANGES_SHOWN);
        lines.extend(shown.map(|change| format!("  {}", style.text(change))));
        if config.changes.len() > MAX_CHANGES_SHOWN || config.more_changes {
            lines.push("  and more: --export has them".to_owned());
        }
    }
    lines
}

/// A process in one line.
pub(crate) fn process_line(process: &ProcessStateEntry) -> String {
    let waits = process.waits_in.as_deref().map_or_else(String::new, |function| format!(" in {function}"));
    let fds = process.fds.map_or_else(String::new, |count| format!(", {count} descriptors"));
    format!(
        "{} {} (child of {}): {}{waits}, threads {}, {:.2} s of processor time, {}{fds}",
        process.pid,
        process.name,
        process.parent,
        process.state,
        process.threads,
        process.cpu_s,
        size(process.rss_bytes)
    )
}

fn story(incident: &IncidentDocument, style: Style) -> Vec<String> {
    let mut lines = vec![
        format!("incident {}  {}", incident.id, state(incident)),
        format!(
            "{}: {} ({}){}",
            style.text(&incident.root),
            style.text(&incident.message),
            incident.reason,
            affected(incident, style)
        ),
    ];
    lines.extend(acknowledged(incident, style));
    for entry in &incident.timeline {
        let what = entry.what.to_string();
        lines.push(format!(
            "  {}  {:<12}  {what:<16}  {}",
            moment(entry.at),
            style.text(&entry.realm),
            style.text(&entry.detail)
        ));
    }
    if let Some(resolution) = &incident.resolution {
        lines.push(format!("resolved: {}{}", style.text(resolution), after_verification(incident)));
    }
    if !incident.log_tail.is_empty() {
        lines.push(format!("last output of {} when it was opened:", style.text(&incident.root)));
        lines.extend(incident.log_tail.iter().map(|line| format!("  | {}", style.text(line))));
    }
    lines
}

/// Why an incident lasts longer than its outage: a restart counts only once it has been verified.
fn after_verification(incident: &IncidentDocument) -> String {
    let of_root = |what: What| {
        let mut timeline = incident.timeline.iter();
        let last = timeline.rfind(|entry| entry.realm == incident.root && entry.what.is(what));
        last.map(|entry| entry.at)
    };
    let passed = of_root(What::ProbePassed).filter(|passed| *passed > incident.opened_at);
    let (Some(passed), Some(verified)) = (passed, of_root(What::RestartVerified)) else {
        return String::new();
    };
    let outage_s = (passed.as_millis() - incident.opened_at.as_millis()) as f64 / 1e3;
    let held_s = (verified.as_millis() - passed.as_millis()) as f64 / 1e3;
    if held_s < 1.0 {
        return String::new();
    }
    format!(
        "; it passed again after {outage_s:.1} s, and that has held for {held_s:.1} s (restart.verify_for)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::incident as sample;

    #[test]
    fn the_list_has_room_for_long_names_and_the_story_tells_the_outage_from_its_verification() {
        let mut long = sample();
        long.root = "payments-gateway-eu".to_owned();
        let document =
            IncidentsDocument { schema: String::new(), incidents: vec![long, sample()], next: None };
        let shown = lines(&document, false, 200, Style::default());
        let columns: Vec<Option<usize>> =
            shown.iter().map(|line| line.find("WHAT").or(line.find("exit code"))).collect();
        assert!(columns[0].is_some() && columns.iter().all(|column| *column == columns[0]), "{shown:?}");
        let mut incident = sample();
        let at = |ms: i64| heartbeat_status::WallTime::from_millis(incident.opened_at.as_millis() + ms);
        let (passed, verified) = (at(1_500), at(6_600));
        let mut entry = incident.timeline[0].clone();
        (entry.realm, entry.at, entry.what) = (incident.root.clone(), passed, What::ProbePassed.into());
        incident.timeline.push(entry.clone());
        (entry.at, entry.what) = (verified, What::RestartVerified.into());
        incident.timeline.push(entry);
        let text = story(&incident, Style::default()).join("\n");
        assert!(text.contains("it passed again after 1.5 s, and that has held for 5.1 s"), "{text}");
    }

    #[test]
    fn the_evidence_has_what_was_said_the_processes_and_the_change_of_the_configuration() {
        let text = r#"{ "at": "2026-11-23T22:39:58.400Z", "before": [],
            "processes": [ { "pid": 7, "parent": 1, "name": "postgres", "state": "D", "waits_in": "io_schedule",
                "threads": 2, "cpu_s": 1.25, "rss_bytes": 2097152, "fds": 9 } ],
            "failures": [ { "at": "2026-11-23T22:39:58.000Z", "probe": "tcp", "outcome": "fail",
                "transcript": ["> ping", "< no"] } ],
            "config": { "revision": 2, "since": "2026-11-23T22:39:00.000Z", "keys": [],
                "changes": ["- realm.db.port = 1", "+ realm.db.port = 2"] } }"#;
        let shown = evidence(&serde_json::from_str(text).unwrap(), "db", Style::default()).join("\n");
        for part in [
            "> ping\n",
            "7 postgres (child of 1): D in io_schedule, threads 2, 1.25 s of processor time, 2.0MiB, 9 descriptors",
            "+ realm.db.port = 2",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }

    #[test]
    fn a_line_an_incident_and_none_says_so() {
        let mut document = IncidentsDocument { schema: String::new(), incidents: vec![sample()], next: None };
        assert_eq!(
            lines(&document, false, 80, Style::default())[2..],
            [
                "ffee1234  2026-11-23 22:39:58Z     over after 10.0 s    db",
                "          exit code 1 after 0.2 s; blocks api"
            ]
        );
        let shown = lines(&document, false, 200, Style::default());
        assert_eq!(
            shown[1],
            "ffee1234  2026-11-23 22:39:58Z     over after 10.0 s    db            exit code 1 after 0.2 s; blocks api"
        );
        let narrow = lines(&document, false, 40, Style::default());
        assert_eq!(
            narrow[3..],
            [
                "ffee1234  2026-11-23 22:39:58Z",
                "          db  over after 10.0 s",
                "          exit code 1 after 0.2 s; blocks api"
            ]
        );
        assert!(narrow[..5].iter().all(|line| width(line) <= 40), "{narrow:?}");
        document.incidents.clear();
        assert_eq!(lines(&document, true, 80, Style::default()), ["no open incident"]);
    }

    #[test]
    fn the_story_has_its_steps_and_no_escape_of_others() {
        let text = story(&sample(), Style::default()).join("\n");
        assert!(
            text.contains("Exited            exit code 1") && text.contains("resolved: healthy again"),
            "{text}"
        );
        assert!(text.contains("acknowledged by Ada at 2026-11-23T22:40:00.000Z: looking"), "{text}");
        assert!(text.contains("port in use") && !text.contains('\u{1b}'), "{text}");
    }
}
