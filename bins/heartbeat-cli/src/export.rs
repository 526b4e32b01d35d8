//! `incidents ID --export FILE`: everything that is known of an incident in one file, for a person elsewhere.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use heartbeat_client::{Client, ClientError, HistoryRange};
use heartbeat_wire::{ConfigEvidence, EventEntry, EvidenceDocument, IncidentDocument, LogsDocument};
use serde::Serialize;
use serde_json::Value;

use crate::archive::Archive;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::incidents::{self, process_line};

/// The root of an incident about heartbeatd itself.
const HEARTBEATD: &str = "heartbeatd";
/// Lines of output of each generation of a realm.
const MAX_LOG_LINES: usize = 1_000;
/// Realms that the file tells of: the root and some that it blocks.
const MAX_REALMS: usize = 20;
/// Events that are looked through.
const MAX_EVENTS: usize = 2_000;
/// Kinds of probes whose target is a command.
const COMMANDS: [&str; 2] = ["exec", "nagios"];
/// History begins so long before the incident.
const BEFORE: Duration = Duration::from_secs(3_600);
/// Steps of the history.
const MAX_STEPS: u64 = 1_000;

/// What goes into the file, and what is missing.
struct Bundle {
    archive: Archive,
    dir: String,
    at: i64,
    list: Vec<String>,
}

impl Bundle {
    fn add(&mut self, name: &str, what: &str, content: &[u8]) {
        self.archive.add(&format!("{}/{name}", self.dir), self.at, content);
        self.list.push(format!("{name}: {what}"));
    }

    fn add_json(&mut self, name: &str, what: &str, document: Result<impl Serialize, ClientError>) {
        let text = document
            .map_err(|error| error.to_string())
            .and_then(|document| shareable(&document).map_err(|error| error.to_string()));
        match text {
            Ok(text) => self.add(name, what, &text),
            Err(why) => self.missing(name, &why),
        }
    }

    fn missing(&mut self, name: &str, why: &str) {
        self.list.push(format!("{name} is missing: {why}"));
    }
}

/// Writes the file. It must not exist yet, since it may be the evidence of another incident.
pub(crate) async fn run(client: &Client, id: &str, path: &Path, console: &mut Console) -> Outcome {
    let incident = client.incident(&incidents::full(client, id).await?).await?;
    let bundle = gathered(client, &incident).await;
    let count = bundle.list.iter().filter(|line| !line.contains(" is missing: ")).count();
    let missing: Vec<String> =
        bundle.list.iter().filter(|line| line.contains(" is missing: ")).cloned().collect();
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(&bundle.archive.compressed()).and_then(|()| file.sync_all()));
    written.map_err(|error| Failure::new(Exit::No, format!("cannot write {}: {error}", path.display())))?;
    console.line(&format!(
        "{}: {count} files about incident {}; read it before you give it away, since output may hold anything",
        path.display(),
        incident.id
    ))?;
    missing.iter().for_each(|line| console.note(line));
    Ok(Exit::Holds)
}

async fn gathered(client: &Client, incident: &IncidentDocument) -> Bundle {
    let mut bundle = Bundle {
        archive: Archive::default(),
        dir: format!("incident-{}", incident.id),
        at: incident.opened_at.as_millis() / 1_000,
        list: Vec::new(),
    };
    bundle.add_json("incident.json", "the incident with its timeline and the last output", Ok(incident));
    match client.evidence(&incident.id).await {
        Ok(evidence) => add_evidence(&mut bundle, &evidence),
        Err(error) => bundle.missing("evidence.json", &error.to_string()),
    }
    let notifications = client.notifications(&incident.id).await;
    bundle.add_json("notifications.json", "who was notified when, and with what result", notifications);
    let realms: Vec<&String> =
        [&incident.root].into_iter().chain(&incident.affected).filter(is_realm).take(MAX_REALMS).collect();
    for name in &realms {
        let document = client.realm_with_transcripts(name).await;
        let what = "the realm now, with its last changes, failures, attempts and transcripts of its probes";
        bundle.add_json(&format!("realms/{name}.json"), what, document);
        for (previous, ending) in [(false, "log"), (true, "previous.log")] {
            let file = format!("logs/{name}.{ending}");
            match client.logs(name, MAX_LOG_LINES, previous).await {
                Ok(logs) => bundle.add(&file, "its output", text_of(&logs).as_bytes()),
                Err(error) => bundle.missing(&file, &error.to_string()),
            }
        }
    }
    let status = client.status(false).await;
    if let Ok(status) = &status {
        let since = (status.generated_at.as_millis() - incident.opened_at.as_millis()).max(0).unsigned_abs();
        let since = Duration::from_millis(since) + BEFORE;
        let range = HistoryRange::new(since, (since.as_secs() / MAX_STEPS).max(60));
        let history = client.history(&incident.root, range).await;
        let what = "what the root was, how fast it answered and what it used, from an hour before";
        bundle.add_json("history.json", what, history);
    }
    bundle.add_json("status.json", "every realm now", status);
    if !is_realm(&&incident.root) {
        let what = "the problems of heartbeatd itself now, with what to do about each";
        bundle.add_json("health.json", what, client.health().await);
    }
    match events(client, incident, &realms).await {
        Ok(lines) => {
            let what =
                "what happened to these realms and to heartbeatd, with every change of the configuration";
            bundle.add("events.ndjson", what, lines.as_bytes());
        }
        Err(error) => bundle.missing("events.ndjson", &error.to_string()),
    }
    let list = bundle.list.join("\n") + "\n";
    bundle.add("CONTENTS.txt", "this list", list.as_bytes());
    bundle
}

/// An incident of heartbeatd itself has a root that is no realm: it has no output, and no probes.
fn is_realm(name: &&String) -> bool {
    name.as_str() != HEARTBEATD
}

fn add_evidence(bundle: &mut Bundle, evidence: &EvidenceDocument) {
    let what =
        "the realms before and after, the processes of the root, and failed measurements with what was said";
    bundle.add_json("evidence.json", what, Ok(evidence));
    let Some(opened) = &evidence.opened else {
        return bundle.missing("processes.txt", "heartbeatd keeps no evidence of this incident");
    };
    let mut lines = format!("processes of the root at {}\n", opened.at);
    opened.processes.iter().for_each(|process| lines += &format!("{}\n", process_line(process)));
    bundle.add("processes.txt", "the processes of the root when the incident was opened", lines.as_bytes());
    for (no, failure) in (1..).zip(&opened.failures) {
        let mut lines = format!("{} at {}\n", failure.probe, failure.at);
        failure.transcript.iter().for_each(|line| lines += &format!("{}\n", without_queries(line)));
        let what = "a failed measurement before the incident, with what was said; 1 is the newest";
        bundle.add(&format!("probes/{no}.txt"), what, lines.as_bytes());
    }
    match &opened.config {
        Some(config) => add_config(bundle, config),
        None => bundle.missing("configuration.txt", "heartbeatd had not listed its configuration"),
    }
}

fn add_config(bundle: &mut Bundle, config: &ConfigEvidence) {
    let ConfigEvidence { revision, since, keys, changes, more_changes } = config;
    let head = format!("# configuration {revision}, in force since {since}\n");
    let text =
        |lines: &[String]| head.clone() + &lines.iter().flat_map(|line| [line, "\n"]).collect::<String>();
    let what =
        "what is written of the root, its needs and [heartbeat], without secrets and arguments of commands";
    bundle.add("configuration.txt", what, text(keys).as_bytes());
    let more = if *more_changes { "; there are more" } else { "" };
    let what = format!("what it changed of the configuration before{more}");
    bundle.add("configuration-changes.txt", &what, text(changes).as_bytes());
}

/// A document without arguments of commands and queries of URLs.
fn shareable(document: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut value = serde_json::to_value(document)?;
    withhold(&mut value);
    serde_json::to_vec_pretty(&value)
}

fn withhold(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let is_command = fields.get("kind").is_some_and(|kind| COMMANDS.iter().any(|word| kind == word));
            if let Some(Value::String(target)) = fields.get_mut("target").filter(|_| is_command) {
                target.truncate(target.find(char::is_whitespace).unwrap_or(target.len()));
            }
            fields.values_mut().for_each(withhold);
        }
        Value::Array(items) => items.iter_mut().for_each(withhold),
        Value::String(text) => *text = without_queries(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A line whose URLs and paths end at their query.
fn without_queries(line: &str) -> String {
    let shown = |word: &str| match word.split_once('?') {
        Some((before, _)) if before.contains('/') => format!("{before}?***"),
        _ => word.to_owned(),
    };
    line.split(' ').map(shown).collect::<Vec<_>>().join(" ")
}

fn text_of(logs: &LogsDocument) -> String {
    logs.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// Events about these realms, or about none, as lines of JSON.
async fn events(
    client: &Client,
    incident: &IncidentDocument,
    realms: &[&String],
) -> Result<String, ClientError> {
    let from = incident.opened_at.as_millis() - i64::try_from(BEFORE.as_millis()).unwrap_or(i64::MAX);
    let concerns = |event: &EventEntry| {
        event.at.as_millis() >= from && event.realm.as_ref().is_none_or(|realm| realms.contains(&realm))
    };
    let mut events = client.events(MAX_EVENTS, false, None).await?;
    let mut lines = String::new();
    while let Some(event) = events.next().await? {
        if concerns(&event)
            && let Ok(line) = serde_json::to_string(&event)
        {
            lines += &line;
            lines.push('\n');
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_for_others_has_no_argument_and_no_query() {
        let document = serde_json::json!({ "probes": [
            { "kind": "exec", "target": "check --password canary" },
            { "kind": "http", "target": "http://h/x?token=canary", "said": ["> GET /x?token=canary HTTP/1.1", "why?"] },
        ] });
        let text = String::from_utf8(shareable(&document).unwrap()).unwrap();
        assert!(!text.contains("canary"), "{text}");
        for part in ["\"check\"", "\"http://h/x?***\"", "\"> GET /x?*** HTTP/1.1\"", "\"why?\""] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
