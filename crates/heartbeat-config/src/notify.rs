//! `[notify.NAME]`: who is told of incidents.

use std::path::Path;
use std::time::Duration;

use figment::value::{Dict, Value};
use heartbeat_status::wire::TEMPLATE_NAMES;
use heartbeat_status::{IncidentStep, RealmName};
use heartbeat_template::{FILTERS, TESTS, Template, TemplateError};

use crate::code::Code;
use crate::config::{ReceiverConfig, ReceiverKind};
use crate::diagnostic::Diagnostic;
use crate::endpoint::refusal;
use crate::keys::{self, Table};
use crate::others;
use crate::reader::{Entry, Reader, Section, beside};
use crate::realm::ReadRealm;
use crate::selector;
use crate::units;

/// The steps of an incident, by the word for them.
const STEPS: [(&str, IncidentStep); 4] = [
    ("opened", IncidentStep::Opened),
    ("updated", IncidentStep::Updated),
    ("failed", IncidentStep::Failed),
    ("resolved", IncidentStep::Resolved),
];

/// All receivers.
pub(crate) fn read(
    reader: &Reader<'_>,
    dir: &Path,
    written: &Dict,
    realms: &[ReadRealm],
) -> Vec<ReceiverConfig> {
    let mut found = Vec::new();
    for (name, value) in written {
        let path = vec!["notify".to_owned(), name.clone()];
        let place = reader.key_place(&path);
        let Value::Dict(_, values) = value else {
            let message = format!("receiver `{name}` is not a table");
            let help = format!("write [notify.{name}], and its keys below");
            reader.push(Diagnostic::new(Code::WrongType, message).at(place, "here").help(help));
            continue;
        };
        if let Err(error) = RealmName::new(name) {
            let message = error.to_string().replace("realm", "receiver");
            let help = "lower-case letters, digits, `-` and `_`, for example [notify.ops]";
            reader.push(Diagnostic::new(Code::BadName, message).at(place, "this name").help(help));
        }
        reader.check_keys(Table::Notify, &path, values);
        found.extend(receiver(reader, dir, name, &Section::new(path, values), realms));
    }
    check_fallbacks(reader, written);
    found
}

/// Receivers are not reminded more often.
const MIN_REPEAT: Duration = Duration::from_secs(60);

/// The key of each kind of receiver, and what its URL is called.
const KINDS: [(&str, ReceiverKind, &str); 5] = [
    ("webhook", ReceiverKind::Webhook, "webhook"),
    ("alertmanager", ReceiverKind::Alertmanager, "Alertmanager address"),
    ("ntfy", ReceiverKind::Ntfy, "ntfy topic"),
    ("slack", ReceiverKind::Slack, "Slack webhook"),
    ("pagerduty", ReceiverKind::PagerDuty, "PagerDuty address"),
];
/// Kinds of receivers of later versions, which are refused by name.
const LATER: [&str; 2] = ["exec", "smtp"];

fn receiver(
    reader: &Reader<'_>,
    dir: &Path,
    name: &str,
    section: &Section<'_>,
    realms: &[ReadRealm],
) -> Option<ReceiverConfig> {
    let path = |key: &str| {
        section.get(key).and_then(|entry| Some(beside(reader, &entry, dir, &reader.text(&entry)?)))
    };
    let ca = path("ca");
    let target = target(reader, name, section, ca.as_deref());
    let kind = target.as_ref().map(|(kind, _)| *kind);
    let on = section.get("on").map(|entry| steps(reader, &entry));
    let realms =
        section.get("realms").map(|entry| selector::chosen(reader, &entry, realms)).unwrap_or_default();
    let unless_acknowledged =
        section.get("unless").is_some_and(|entry| reader.word(&entry, &[("ack", ())]).is_some());
    check_company(reader, name, section, kind);
    let secret_files = ["secret_file", "next_secret_file"].into_iter().filter_map(path).collect();
    let token_file = path("token_file");
    let delay = reader.duration(section, "delay").unwrap_or_default();
    let template = section.get("template").and_then(|entry| template(reader, &entry));
    let repeat = section.get("repeat").and_then(|entry| repeat(reader, &entry));
    let fallback = section.get("fallback").and_then(|entry| reader.text(&entry));
    let (kind, url) = target?;
    Some(ReceiverConfig {
        name: name.to_owned(),
        kind,
        url: url?,
        ca,
        on,
        realms,
        secret_files,
        token_file,
        template,
        delay,
        repeat,
        unless_acknowledged,
        fallback,
    })
}

/// The kind of a receiver, and its URL unless that is refused.
fn target(
    reader: &Reader<'_>,
    name: &str,
    section: &Section<'_>,
    ca: Option<&Path>,
) -> Option<(ReceiverKind, Option<String>)> {
    let mut kinds = KINDS.iter().filter_map(|(key, kind, what)| Some((section.get(key)?, kind, what)));
    let Some((entry, kind, what)) = kinds.next() else {
        // One of those has been refused by name, and a word of another tool with ours.
        let is_meant = section.keys().any(|key| others::meant(Table::Notify, key) == Some("webhook"));
        if !is_meant && !LATER.iter().any(|key| section.get(key).is_some()) {
            let message = format!("receiver `{name}` has no `webhook`, so nothing can be sent to it");
            let help = "for example webhook = \"http://127.0.0.1:3000/api/incidents/\"";
            let place = reader.key_place(section.path());
            reader.push(Diagnostic::new(Code::BadReceiver, message).at(place, "this receiver").help(help));
        }
        return None;
    };
    for (other, ..) in kinds {
        let message = format!("receiver `{name}` is of two kinds");
        let help = "write another [notify.NAME] for it";
        reader.value_problem(&other, Code::BadReceiver, message, "the second kind", help);
    }
    let url = reader.text(&entry)?;
    let refused = refusal(&url, ca, what);
    if let Some((why, help)) = &refused {
        reader.value_problem(&entry, Code::BadReceiver, why.clone(), &format!("this {what}"), help);
    }
    Some((*kind, refused.is_none().then_some(url)))
}

/// Keys that go with another key only.
fn check_company(reader: &Reader<'_>, name: &str, section: &Section<'_>, kind: Option<ReceiverKind>) {
    let alone = |key: &str, why: &str, help: &str| {
        if let Some(entry) = section.get(key) {
            reader.value_problem(&entry, Code::BadReceiver, format!("`{key}` {why}"), "here", help);
        }
    };
    if section.get("delay").is_none() {
        alone(
            "unless",
            "goes with `delay`: without it, every incident is sent at once",
            "add delay = \"10m\"",
        );
    }
    if section.get("secret_file").is_none() {
        alone("next_secret_file", "goes with `secret_file`", "rename it to `secret_file`");
    }
    let Some(kind) = kind else { return };
    if kind != ReceiverKind::Webhook {
        for key in ["secret_file", "next_secret_file"] {
            alone(key, "signs webhooks, and this receiver is none", "remove it");
        }
    }
    if matches!(kind, ReceiverKind::Webhook | ReceiverKind::Alertmanager | ReceiverKind::Slack) {
        alone("token_file", "is for `ntfy` and `pagerduty`", "remove it");
    }
    if kind == ReceiverKind::Alertmanager {
        alone("repeat", "is not for `alertmanager`, which repeats by its own `repeat_interval`", "remove it");
        alone("on", "is not for `alertmanager`, which gets the state of every open incident", "remove it");
        alone(
            "template",
            "is not for `alertmanager`, which words messages by its own templates",
            "remove it",
        );
    }
    if kind == ReceiverKind::PagerDuty && section.get("token_file").is_none() {
        let message = format!(
            "receiver `{name}` has no `token_file`, so PagerDuty does not know whose incidents these are"
        );
        let help = "write the routing key of the integration into a file: token_file = \"pagerduty.key\"";
        let place = reader.key_place(section.path());
        reader.push(Diagnostic::new(Code::BadReceiver, message).at(place, "this receiver").help(help));
    }
}

/// A fallback is another receiver.
fn check_fallbacks(reader: &Reader<'_>, written: &Dict) {
    for (name, value) in written {
        let Value::Dict(_, values) = value else { continue };
        let section = Section::new(vec!["notify".to_owned(), name.clone()], values);
        let Some(entry) = section.get("fallback") else { continue };
        // What is no text, or has a variable in it, is read elsewhere.
        let Some(fallback) = entry.value.as_str().filter(|text| !text.contains("${")) else { continue };
        if fallback != name && written.contains_key(fallback) {
            continue;
        }
        let (message, help) = if fallback == name {
            (format!("receiver `{name}` is its own fallback"), "name another receiver".to_owned())
        } else {
            let others = written.keys().map(String::as_str).filter(|other| other != name);
            let near = keys::nearest(fallback, others);
            let declare = || format!("declare it: [notify.{fallback}]");
            (
                format!("there is no receiver `{fallback}`"),
                near.map_or_else(declare, |near| format!("did you mean `{near}`?")),
            )
        };
        reader.value_problem(&entry, Code::BadReceiver, message, "here", &help);
    }
}

/// How often a receiver is reminded; `None` for never.
fn repeat(reader: &Reader<'_>, entry: &Entry<'_>) -> Option<Duration> {
    if entry.value.as_str() == Some("off") {
        return None;
    }
    let repeat = reader.parsed(entry, "4h", units::duration)?;
    if repeat < MIN_REPEAT {
        let message = "a receiver is reminded at most once per minute";
        reader.value_problem(entry, Code::BadTiming, message, "too often", "for example repeat = \"4h\"");
        return None;
    }
    Some(repeat)
}

/// A template that can be read, uses only what an incident has, and words sample incidents within its bounds.
fn template(reader: &Reader<'_>, entry: &Entry<'_>) -> Option<String> {
    let text = reader.text(entry)?;
    let Err(error) = Template::new(&text) else { return Some(text) };
    reader.value_problem(
        entry,
        Code::BadReceiver,
        error.to_string(),
        "this template",
        &template_help(&error),
    );
    None
}

fn template_help(error: &TemplateError) -> String {
    let among = |name: &str, words: &[&str]| {
        let near = keys::nearest(name, words.iter().copied());
        near.map_or_else(
            || format!("there are {}", words.join(", ")),
            |near| format!("did you mean `{near}`?"),
        )
    };
    match error {
        TemplateError::UnknownName { name } => among(name, TEMPLATE_NAMES),
        TemplateError::UnknownFilter { name, .. } => among(name, FILTERS),
        TemplateError::UnknownTest { name, .. } => among(name, TESTS),
        TemplateError::NotAllowed { .. } => {
            "a template names, compares, filters and repeats what the incident has; `~` joins texts"
                .to_owned()
        }
        TemplateError::Fails { .. } => {
            "it is tried on a sample; what may be absent stands in {% if ack %}{{ ack.by }}{% endif %}"
                .to_owned()
        }
        TemplateError::SourceTooLong { .. }
        | TemplateError::MessageTooLong { .. }
        | TemplateError::TooManySteps { .. } => "write a shorter one".to_owned(),
        _ => "for example \"{{ root }} {{ event }}: {{ message }}\"".to_owned(),
    }
}

fn steps(reader: &Reader<'_>, entry: &Entry<'_>) -> Vec<IncidentStep> {
    let items = reader.items(entry);
    let steps: Vec<IncidentStep> = items.iter().filter_map(|item| reader.word(item, &STEPS)).collect();
    if steps.len() == items.len() && steps.iter().all(|step| *step == IncidentStep::Resolved) {
        let message = "this receiver would never be told anything: `resolved` follows what was told before";
        let help = "add \"opened\", \"updated\" or \"failed\"";
        reader.value_problem(entry, Code::NeverSent, message, "never told", help);
    }
    steps
}
