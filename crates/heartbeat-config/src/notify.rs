//! `[notify.NAME]`: who is told of incidents.

use std::path::Path;

use figment::value::{Dict, Value};
use heartbeat_probe::{HttpError, HttpProbe, TlsOptions};
use heartbeat_status::{IncidentStep, RealmName};

use crate::code::Code;
use crate::config::WebhookConfig;
use crate::diagnostic::Diagnostic;
use crate::keys::{self, Table};
use crate::others;
use crate::reader::{Entry, Reader, Section};
use crate::realm::beside;

/// The steps of an incident, by the word for them.
const STEPS: [(&str, IncidentStep); 4] = [
    ("opened", IncidentStep::Opened),
    ("updated", IncidentStep::Updated),
    ("failed", IncidentStep::Failed),
    ("resolved", IncidentStep::Resolved),
];

/// All receivers. `realms` are the names there are.
pub(crate) fn read(
    reader: &Reader<'_>,
    dir: &Path,
    written: &Dict,
    realms: &[&RealmName],
) -> Vec<WebhookConfig> {
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
    found
}

fn receiver(
    reader: &Reader<'_>,
    dir: &Path,
    name: &str,
    section: &Section<'_>,
    realms: &[&RealmName],
) -> Option<WebhookConfig> {
    let webhook = section.get("webhook");
    let ca = section.get("ca").and_then(|entry| Some(beside(reader, &entry, dir, &reader.text(&entry)?)));
    let url = webhook.as_ref().and_then(|entry| {
        let url = reader.text(entry)?;
        let refused = refusal(&url, ca.as_deref());
        if let Some((why, help)) = &refused {
            reader.value_problem(entry, Code::BadReceiver, why.clone(), "this webhook", help);
        }
        refused.is_none().then_some(url)
    });
    let later = ["alertmanager", "slack", "ntfy", "exec", "smtp"];
    // One of those has been refused by name.
    let is_meant = section.keys().any(|key| others::meant(Table::Notify, key) == Some("webhook"));
    if webhook.is_none() && !is_meant && !later.iter().any(|key| section.get(key).is_some()) {
        let message = format!("receiver `{name}` has no `webhook`, so nothing can be sent to it");
        let help = "for example webhook = \"http://127.0.0.1:3000/api/incidents/\"";
        let place = reader.key_place(section.path());
        reader.push(Diagnostic::new(Code::BadReceiver, message).at(place, "this receiver").help(help));
    }
    let on = section.get("on").map(|entry| steps(reader, &entry));
    let realms = section.get("realms").map(|entry| concerned(reader, &entry, realms)).unwrap_or_default();
    Some(WebhookConfig { name: name.to_owned(), url: url?, ca, on, realms })
}

/// Why incidents cannot be posted there, and what to write instead.
fn refusal(url: &str, ca: Option<&Path>) -> Option<(String, String)> {
    let example = || "for example \"http://127.0.0.1:3000/api/incidents/\"".to_owned();
    let is_https = url.starts_with("https://");
    if !url.starts_with("http://") && !is_https {
        // It may be a secret: it is not repeated.
        return Some(("the webhook is not an http:// or https:// URL".to_owned(), example()));
    }
    if ca.is_some() && !is_https {
        let why = "`ca` is for https:// webhooks, and this one is http://";
        return Some((why.to_owned(), "write https://, or remove `ca`".to_owned()));
    }
    if url.contains('#') {
        return Some(("a fragment (`#...`) is not sent to servers".to_owned(), "remove it".to_owned()));
    }
    if url.split('/').nth(2).is_some_and(|authority| authority.contains('@')) {
        let why = "the webhook has credentials in its URL, where logs and process lists would show them";
        return Some((why.to_owned(), "remove them".to_owned()));
    }
    let made = if is_https {
        let options = TlsOptions { ca: ca.map(Path::to_owned), ..TlsOptions::default() };
        HttpProbe::with_tls(url, &options)
    } else {
        HttpProbe::new(url)
    };
    match made.err()? {
        HttpError::Tls(error) => Some((error.to_string(), "name a PEM file that can be read".to_owned())),
        _ => Some(("the webhook is not an http:// or https:// URL".to_owned(), example())),
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

fn concerned(reader: &Reader<'_>, entry: &Entry<'_>, realms: &[&RealmName]) -> Vec<RealmName> {
    let mut found = Vec::new();
    for item in reader.items(entry) {
        let Some(text) = reader.text(&item) else { continue };
        if let Some(known) = realms.iter().find(|known| known.as_str() == text) {
            found.push((*known).clone());
            continue;
        }
        let near = keys::nearest(&text, realms.iter().map(|name| name.as_str()));
        let help = near
            .map_or_else(|| format!("declare it: [realm.{text}]"), |near| format!("did you mean `{near}`?"));
        reader.value_problem(
            &item,
            Code::UnknownRealm,
            format!("there is no realm `{text}`"),
            "unknown realm",
            &help,
        );
    }
    found
}
