//! `[notify.NAME]`: who is told of incidents.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::iter::successors;
use std::path::Path;
use std::time::Duration;

use figment::value::{Dict, Value};
use heartbeat_process::{LaunchSpec, LogTarget};
use heartbeat_status::{IncidentStep, RealmName, nearest, parse_duration};
use heartbeat_template::{FILTERS, TESTS, Template, TemplateError};
use heartbeat_wire::TEMPLATE_NAMES;

use crate::code::Code;
use crate::config::{ReceiverConfig, ReceiverTarget};
use crate::diagnostic::Diagnostic;
use crate::endpoint::refusal;
use crate::inherited::Inherited;
use crate::keys::{self, RECEIVERS, Table};
use crate::others;
use crate::reader::{Entry, Reader, Section, beside};
use crate::realm::ReadRealm;
use crate::selector;
use crate::words;

/// The steps of an incident, by the word for them.
const STEPS: [(&str, IncidentStep); 4] = [
    ("opened", IncidentStep::Opened),
    ("updated", IncidentStep::Updated),
    ("failed", IncidentStep::Failed),
    ("resolved", IncidentStep::Resolved),
];

/// Reads every receiver.
pub(crate) fn read(
    reader: &Reader<'_>,
    of_programs: (&Path, &Inherited),
    written: &Dict,
    realms: &[ReadRealm],
) -> Vec<ReceiverConfig> {
    let mut found = Vec::new();
    let is_table = |value: &Value| matches!(value, Value::Dict(..));
    let stray = written.iter().find(|(name, value)| RECEIVERS.contains(&name.as_str()) && !is_table(value));
    if let Some((kind, _)) = stray {
        let message = format!("`{kind}` stands in [notify] itself, and each receiver is a table of its own");
        let place = reader.key_place(&["notify".to_owned(), kind.clone()]);
        let help = "write [notify.ops] in place of [notify]";
        reader.push(Diagnostic::new(Code::WrongType, message).at(place, "here").help(help));
    }
    for (name, value) in written.iter().filter(|(_, value)| stray.is_none() || is_table(value)) {
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
        found.extend(receiver(reader, of_programs, name, &Section::new(path, values), realms));
    }
    check_fallbacks(reader, written);
    found
}

/// Receivers are not reminded more often.
const MIN_REPEAT: Duration = Duration::from_secs(60);

/// A kind of receiver.
struct Kind {
    key: &'static str,
    how: How,
}

/// What the value of a kind's key is.
enum How {
    /// A URL: what makes a target of it, and what it is called.
    Url(fn(String) -> ReceiverTarget, &'static str),
    Program,
    MailServer,
}

const KINDS: [Kind; 7] = [
    Kind { key: "webhook", how: How::Url(ReceiverTarget::Webhook, "webhook") },
    Kind { key: "alertmanager", how: How::Url(ReceiverTarget::Alertmanager, "Alertmanager address") },
    Kind { key: "ntfy", how: How::Url(ReceiverTarget::Ntfy, "ntfy topic") },
    Kind { key: "slack", how: How::Url(ReceiverTarget::Slack, "Slack webhook") },
    Kind { key: "pagerduty", how: How::Url(ReceiverTarget::PagerDuty, "PagerDuty address") },
    Kind { key: "exec", how: How::Program },
    Kind { key: "smtp", how: How::MailServer },
];

fn receiver(
    reader: &Reader<'_>,
    (dir, inherited): (&Path, &Inherited),
    name: &str,
    section: &Section<'_>,
    realms: &[ReadRealm],
) -> Option<ReceiverConfig> {
    let path = |key: &str| {
        section.get(key).and_then(|entry| Some(beside(reader, &entry, dir, &reader.text(&entry)?)))
    };
    let ca = path("ca");
    let kind = kind(reader, name, section);
    if let Some((_, Kind { key, .. })) = &kind {
        check_company(reader, name, section, key);
    }
    let target = kind.and_then(|(entry, kind)| match kind.how {
        How::Url(make, what) => {
            let url = url(reader, &entry, what, ca.as_deref())?;
            let channel = section.get("channel").and_then(|entry| reader.text(&entry));
            Some(match channel {
                Some(channel) => ReceiverTarget::SlackBot { url, channel },
                None => make(url),
            })
        }
        How::Program => program(reader, &entry, (dir, inherited)),
        How::MailServer => mail(reader, &entry, section, ca.as_deref()),
    });
    let on = section.get("on").map(|entry| steps(reader, &entry));
    let realms =
        section.get("realms").map(|entry| selector::chosen(reader, &entry, realms)).unwrap_or_default();
    let unless_acknowledged =
        section.get("unless").is_some_and(|entry| reader.word(&entry, &[("ack", ())]).is_some());
    let secret_files = ["secret_file", "next_secret_file"].into_iter().filter_map(path).collect();
    let token_file = path("token_file");
    let delay = reader.duration(section, "delay").unwrap_or_default();
    let template = section.get("template").and_then(|entry| template(reader, &entry));
    let repeat = section.get("repeat").and_then(|entry| repeat(reader, &entry));
    let fallback = section.get("fallback").and_then(|entry| reader.text(&entry));
    Some(ReceiverConfig {
        name: name.to_owned(),
        target: target?,
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

/// The kind of a receiver, and the key that says so.
fn kind<'s>(reader: &Reader<'_>, name: &str, section: &'s Section<'_>) -> Option<(Entry<'s>, &'static Kind)> {
    let mut kinds = KINDS.iter().filter_map(|kind| Some((section.get(kind.key)?, kind)));
    let Some(found) = kinds.next() else {
        // A word of another tool has been refused with ours.
        let is_known = |key: &str| keys::find(Table::Notify, key).is_some();
        if !section.keys().any(|key| !is_known(key) && words::means_receiver(key)) {
            let message = format!("receiver `{name}` has no kind, so nothing can be sent to it");
            let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.key).collect();
            let help = format!(
                "it has one of {}; for example webhook = \"http://127.0.0.1:3000/api/incidents/\"",
                kinds.join(", ")
            );
            let place = reader.key_place(section.path());
            reader.push(Diagnostic::new(Code::BadReceiver, message).at(place, "this receiver").help(help));
        }
        return None;
    };
    for (other, _) in kinds {
        let message = format!("receiver `{name}` is of two kinds");
        let help = "write another [notify.NAME] for it";
        reader.value_problem(&other, Code::BadReceiver, message, "the second kind", help);
    }
    Some(found)
}

/// Why a service that has a kind of its own does not take what a webhook sends.
fn of_a_service(key: &str, url: &str) -> Option<(String, String)> {
    let (service, kind, _) = others::service_of(url).filter(|_| key == "webhook")?;
    let why = format!("{service} does not understand the document that a webhook sends");
    let help = match service {
        "Discord" => "write `slack` in place of `webhook`, and add /slack to the end of the URL".to_owned(),
        _ => format!("write `{kind}` in place of `webhook`"),
    };
    Some((why, help))
}

/// A URL that can be posted to.
fn url(reader: &Reader<'_>, entry: &Entry<'_>, what: &str, ca: Option<&Path>) -> Option<String> {
    let url = reader.text(entry)?;
    let key = entry.path.last().map_or("", String::as_str);
    let example = keys::find(Table::Notify, key).map_or("", |key| key.example);
    let refused = refusal(&url, ca, what, example).or_else(|| of_a_service(key, &url));
    let Some((why, help)) = refused else { return Some(url) };
    reader.value_problem(entry, Code::BadReceiver, why, &format!("this {what}"), &help);
    None
}

/// A mail server, and addresses.
fn mail(
    reader: &Reader<'_>,
    entry: &Entry<'_>,
    section: &Section<'_>,
    ca: Option<&Path>,
) -> Option<ReceiverTarget> {
    let url = reader.text(entry)?;
    let authority = url.strip_prefix("smtp://").or_else(|| url.strip_prefix("smtps://"));
    let authority = authority.map(|authority| authority.strip_suffix('/').unwrap_or(authority));
    let refused = match authority.filter(|authority| !authority.contains(['/', '?', '#', '@'])) {
        None => Some("the mail server is not an smtp:// or smtps:// URL".to_owned()),
        // Its name and its certificates are those of any server.
        Some(authority) => {
            refusal(&format!("https://{authority}/"), ca, "mail server", "").map(|(why, _)| why)
        }
    };
    let has_neither = section.get("from").is_none() && section.get("to").is_none();
    if let Some(why) = &refused {
        let help = match url.split_once('@').filter(|_| has_neither && !url.contains('/')) {
            // The address of the reader, in the place of the server's.
            Some((_, host)) => {
                let of_keys = "a mail has three keys: smtp = \"smtp://127.0.0.1:25\" (the server)";
                let help = format!("{of_keys}, from = \"heartbeat@{host}\", to = [{url:?}]");
                let why = format!("`{url}` is a mail address, and `smtp` is the server that sends");
                reader.value_problem(entry, Code::BadReceiver, why, "this mail server", &help);
                return None;
            }
            None => "for example smtp = \"smtp://mail.example.org:587\"; the login is in `token_file`",
        };
        reader.value_problem(entry, Code::BadReceiver, why.clone(), "this mail server", help);
    }
    let from = section
        .get("from")
        .and_then(|entry| reader.text(&entry).filter(|from| address(reader, &entry, from)));
    let items = section.get("to").map(|entry| reader.filled(&entry, "an address")).unwrap_or_default();
    let given = items.len();
    let to: Vec<String> =
        items.iter().filter_map(|entry| reader.text(entry).filter(|to| address(reader, entry, to))).collect();
    if has_neither {
        let message = "a mail needs `from` and `to`, and this receiver has neither";
        let help = "add from = \"heartbeat@example.org\" and to = [\"ops@example.org\"]";
        reader.value_problem(entry, Code::BadReceiver, message, "this mail server", help);
        return None;
    }
    for (key, is_missing) in [("from", section.get("from").is_none()), ("to", section.get("to").is_none())] {
        if is_missing {
            let message = format!("a mail needs `{key}`, and this receiver has none");
            let help = format!("for example {key} = \"ops@example.org\"");
            reader.value_problem(entry, Code::BadReceiver, message, "this mail server", &help);
        }
    }
    let is_complete = refused.is_none() && !to.is_empty() && to.len() == given;
    from.filter(|_| is_complete).map(|from| ReceiverTarget::Smtp { url, from, to })
}

/// Whether a text is an address, as far as one can see: `NAME@HOST`, or with a name before it in `<>`.
fn address(reader: &Reader<'_>, entry: &Entry<'_>, text: &str) -> bool {
    let bare = text.rsplit_once('<').map_or(text, |(_, rest)| rest.strip_suffix('>').unwrap_or(""));
    let is_address = bare.split_once('@').is_some_and(|(name, host)| {
        let fits =
            |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control());
        fits(name) && fits(host) && !host.contains('@')
    });
    // A line end would be one in the conversation with the mail server.
    let is_address =
        is_address && text.matches(['<', '>']).count() <= 2 && !text.contains(|c: char| c.is_control());
    if !is_address {
        let message = format!("`{text}` is not a mail address");
        let help = "for example \"ops@example.org\", or \"Shop <ops@example.org>\"";
        reader.value_problem(entry, Code::BadReceiver, message, "this address", help);
    }
    is_address
}

/// A program of a receiver. It runs as heartbeatd, with the environment that a realm inherits.
fn program(
    reader: &Reader<'_>,
    entry: &Entry<'_>,
    (dir, inherited): (&Path, &Inherited),
) -> Option<ReceiverTarget> {
    let spec = LaunchSpec {
        argv: reader.command(entry)?.into_iter().map(OsString::from).collect(),
        inherited: inherited.in_place(None, dir),
        dir: dir.to_owned(),
        log: LogTarget::Capture,
        ..LaunchSpec::default()
    };
    Some(ReceiverTarget::Exec(Box::new(spec)))
}

/// Keys that go with another key only.
fn check_company(reader: &Reader<'_>, name: &str, section: &Section<'_>, kind: &str) {
    let alone = |key: &str, why: &str, help: &str| {
        if let Some(entry) = section.get(key) {
            reader.value_problem(&entry, Code::BadReceiver, format!("`{key}` {why}"), "here", help);
        }
    };
    if section.get("delay").is_none() {
        alone(
            "unless",
            "goes with `delay`: without it, every incident is sent at once",
            "for example delay = \"10m\"",
        );
    }
    if section.get("secret_file").is_none() {
        alone("next_secret_file", "goes with `secret_file`", "rename it to `secret_file`");
    }
    if kind != "webhook" {
        for key in ["secret_file", "next_secret_file"] {
            alone(key, "signs webhooks, and this receiver is none", "remove it");
        }
    }
    if !["ntfy", "pagerduty", "slack", "smtp"].contains(&kind) {
        alone("token_file", "is for `ntfy`, `pagerduty`, `smtp` and a bot of `slack`", "remove it");
    }
    if kind != "slack" {
        alone("channel", "is for a bot of `slack`", "remove it");
    } else if section.get("channel").is_none() {
        let is_api = |entry: &Entry<'_>| {
            entry.value.as_str().is_some_and(|url| url.trim_end_matches('/').ends_with("slack.com/api"))
        };
        if let Some(entry) = section.get("slack").filter(is_api) {
            let message = "https://slack.com/api is for a bot, which writes to a `channel`";
            let help = "add channel = \"#ops\" and token_file = \"slack.token\"; or write the URL of an incoming webhook, \
                        slack = \"https://hooks.slack.com/services/T/B/X\"";
            reader.value_problem(&entry, Code::BadReceiver, message, "this address", help);
        }
        alone(
            "token_file",
            "is the token of a bot, which writes to a `channel`; an incoming webhook needs none",
            "add channel = \"#ops\" and slack = \"https://slack.com/api\", or remove it",
        );
    } else if section.get("token_file").is_none() {
        alone(
            "channel",
            "goes with `token_file`: an incoming webhook writes to the channel of its URL",
            "write the token of the bot into a file: token_file = \"slack.token\"",
        );
    }
    if kind != "smtp" {
        for key in ["from", "to"] {
            alone(key, "is for mail, and this receiver is none", "remove it");
        }
    }
    if kind == "exec" {
        alone("ca", "is for receivers with an https:// URL, and this one is a program", "remove it");
    }
    if kind == "alertmanager" {
        alone("repeat", "is not for `alertmanager`, which repeats by its own `repeat_interval`", "remove it");
        alone("on", "is not for `alertmanager`, which gets the state of every open incident", "remove it");
        alone(
            "template",
            "is not for `alertmanager`, which words messages by its own templates",
            "remove it",
        );
    }
    if kind == "pagerduty" && section.get("token_file").is_none() {
        let message = format!(
            "receiver `{name}` has no `token_file`, so PagerDuty does not know whose incidents these are"
        );
        let help = "write the routing key of the integration into a file: token_file = \"pagerduty.key\"";
        let place = reader.key_place(section.path());
        reader.push(Diagnostic::new(Code::BadReceiver, message).at(place, "this receiver").help(help));
    }
}

/// The fallbacks that are texts and name another receiver, by receiver.
fn fallbacks(written: &Dict) -> BTreeMap<&str, &str> {
    let named = |(name, value): (&'_ String, &'_ Value)| match value {
        Value::Dict(_, values) => {
            let fallback = values.get("fallback")?.as_str().filter(|other| *other != name)?;
            let (name, _) = written.get_key_value(name)?;
            let (fallback, _) = written.get_key_value(fallback)?;
            Some((name.as_str(), fallback.as_str()))
        }
        _ => None,
    };
    written.iter().filter_map(named).collect()
}

/// Refuses receivers that stand in for each other in a ring: when all of them fail, none is left to notify.
fn check_rings(reader: &Reader<'_>, written: &Dict) {
    let fallbacks = fallbacks(written);
    for first in fallbacks.keys() {
        let next = |name: &&str| fallbacks.get(name).copied();
        // More steps than receivers come back to one of them.
        let way: Vec<&str> = successors(next(first), next).take(fallbacks.len()).collect();
        let Some(end) = way.iter().position(|name| name == first) else { continue };
        let ring = &way[..=end];
        // Each ring is told once, by the first of its names.
        if ring.iter().any(|name| name < first) {
            continue;
        }
        let message =
            format!("receivers are each other's fallback in a ring: {first} -> {}", ring.join(" -> "));
        let path = ["notify", first, "fallback"].map(ToOwned::to_owned);
        let help = "remove one `fallback` of the ring, or name a receiver outside of it";
        let diagnostic =
            Diagnostic::new(Code::BadReceiver, message).at(reader.place(&path), "in a ring").help(help);
        let others = ring.iter().filter(|name| *name != first);
        reader.push(others.fold(diagnostic, |diagnostic, name| {
            let path = ["notify", name, "fallback"].map(ToOwned::to_owned);
            diagnostic.related(reader.place(&path), "and here")
        }));
    }
}

/// A fallback is another receiver.
fn check_fallbacks(reader: &Reader<'_>, written: &Dict) {
    check_rings(reader, written);
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
            let suggestion = nearest(fallback, others);
            let declare = || format!("declare it: [notify.{fallback}]");
            (
                format!("there is no receiver `{fallback}`"),
                suggestion.map_or_else(declare, |suggestion| format!("did you mean `{suggestion}`?")),
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
    let repeat = reader.parsed(entry, "4h", parse_duration)?;
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
        let suggestion = nearest(name, words.iter().copied());
        suggestion.map_or_else(
            || format!("there are {}", words.join(", ")),
            |suggestion| format!("did you mean `{suggestion}`?"),
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
