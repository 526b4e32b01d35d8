//! Other tools' words: what to write here for what compose, systemd, supervisord, Kubernetes and pm2 say.

use std::net::SocketAddr;

use figment::value::{Dict, Value};
use heartbeat_status::RealmName;

use crate::advice::Context;
use crate::keys::{self, RECEIVERS, Table};
use crate::translated::{folded, truth, whole};
use crate::words::{Ours, WORDS, called};

use Ours::{Check, Key, Nothing, Say};

use Table::{Health, Heartbeat, Log, Need, Notify, Realm, Restart, Root, Stop};

/// Tables that hold what we call realms, by name.
const TABLES_OF_REALMS: &[&str] = &[
    "service",
    "services",
    "program",
    "programs",
    "app",
    "apps",
    "application",
    "process",
    "processes",
    "realms",
    "daemons",
    "job",
    "jobs",
    "task",
    "tasks",
    "watcher",
    "worker",
    "workers",
];

/// Words of pm2 for times, where a bare number is one of milliseconds.
const IN_MILLISECONDS: &[&str] =
    &["restartdelay", "expbackoffrestartdelay", "minuptime", "killtimeout", "listentimeout"];

/// Services that are known by the host of their URL: what they are called, and the kind of receiver that they take.
const SERVICES: &[(&str, &str, &str)] = &[
    ("hooks.slack.com", "Slack", "slack"),
    ("discord.com", "Discord", "slack"),
    ("discordapp.com", "Discord", "slack"),
    ("events.pagerduty.com", "PagerDuty", "pagerduty"),
    ("ntfy.sh", "ntfy", "ntfy"),
];

/// The service of a URL, the kind of receiver that it takes, and the URL for that kind.
pub(crate) fn service_of(url: &str) -> Option<(&'static str, &'static str, String)> {
    let host = url.strip_prefix("https://")?.split(['/', ':']).next()?;
    let (_, service, kind) = SERVICES.iter().find(|(known, ..)| *known == host)?;
    let is_discord = *service == "Discord" && !url.trim_end_matches('/').ends_with("/slack");
    let url = if is_discord { format!("{}/slack", url.trim_end_matches('/')) } else { url.to_owned() };
    Some((service, kind, url))
}

/// The way out for a key that is none of ours.
pub(crate) fn instead(context: &Context<'_>, name: &str, value: &Value) -> Option<String> {
    let (table, word) = (context.table, folded(name));
    let in_ms = whole(value).filter(|_| IN_MILLISECONDS.contains(&word.as_str()));
    let in_ms = in_ms.map(|number| Value::from(format!("{number}ms")));
    let value = in_ms.as_ref().unwrap_or(value);
    if table == Root
        && let Some(help) = as_heading(context, name, &word, value)
    {
        return Some(help);
    }
    if let Some(help) = receivers_of(context, &word, value) {
        return Some(help);
    }
    // Our own key in another spelling, or under the name that another tool has for it.
    let own = keys::of(table).find(|key| folded(key.name) == word);
    if let Some(key) = own.or_else(|| keys::of(table).find(|key| key.also.contains(&word.as_str()))) {
        return Some(context.line(key, value));
    }
    if let Some(help) = by_value(context, &word, value) {
        return Some(help);
    }
    let (_, _, ours) = WORDS.iter().find(|(of, words, _)| *of == table && words.contains(&word.as_str()))?;
    Some(match ours {
        Key(table, name) => context.line(keys::find(*table, name)?, value),
        Check => context.health(value),
        Say(sentence) => (*sentence).to_owned(),
        Nothing(instead) => format!("heartbeatd does not have that: {instead}"),
    })
}

/// The way out for a receiver under the key of another one, and for receivers that a realm names.
fn receivers_of(context: &Context<'_>, word: &str, value: &Value) -> Option<String> {
    match context.table {
        Notify if !has_receiver(context) && called(Notify, word) == Some("webhook") => {
            let (_, kind, url) = service_of(value.as_str()?)?;
            Some(context.line(keys::find(Notify, kind)?, &url.into()))
        }
        Realm if ["notify", "notifications", "receiver", "receivers", "alert", "alerts"].contains(&word) => {
            let named = match value {
                Value::Array(_, items) => items.first().and_then(Value::as_str),
                other => other.as_str(),
            };
            let receiver = possible(named?)?;
            let choice = "whose `realms` choose; without that key it hears of every one";
            Some(match context.has(&["notify", &receiver]) {
                true => format!("remove it: there is [notify.{receiver}], {choice}"),
                false => format!("remove it, and declare the receiver: [notify.{receiver}], {choice}"),
            })
        }
        _ => None,
    }
}

/// The way out where it depends on what was written.
fn by_value(context: &Context<'_>, word: &str, value: &Value) -> Option<String> {
    let line = |table: Table, name: &str, value: Value| Some(context.line(keys::find(table, name)?, &value));
    let text = value.as_str().map(str::to_ascii_lowercase);
    let text = text.as_deref();
    match (context.table, word) {
        (Realm, "autostart") => match truth(value)? {
            true => Some("remove it: heartbeatd starts every realm by itself".to_owned()),
            false => line(Realm, "manual", true.into()),
        },
        (Realm, "disabled") => match truth(value)? {
            true => line(Realm, "enabled", false.into()),
            false => Some("remove it: a realm is enabled unless `enabled` is false".to_owned()),
        },
        (Realm, "autorestart" | "restartpolicy") => match (truth(value), text) {
            (Some(true), _) => {
                Some("remove it: a service is always restarted unless it says otherwise".to_owned())
            }
            (Some(false), _) => line(Restart, "policy", "never".into()),
            (None, Some("unexpected" | "onfailure")) => line(Restart, "policy", "on-failure".into()),
            (None, _) => None,
        },
        (Realm, "type") => match text? {
            "oneshot" => line(Realm, "oneshot", true.into()),
            "notify" | "notify-reload" => line(Health, "notify", true.into()),
            "simple" | "exec" | "idle" => Some("remove it: that is what a service is".to_owned()),
            _ => None,
        },
        (Realm | Stop, "stopasgroup" | "killasgroup" | "killmode") => match (truth(value), text) {
            (Some(true), _) | (_, Some("control-group" | "mixed" | "tree")) => {
                line(Stop, "signal_to", "tree".into())
            }
            _ => Some("remove it: the first signal goes to the main process alone".to_owned()),
        },
        (Realm, "standardoutput" | "standarderror" | "logging" | "stdout" | "stderr")
        | (Log, "target" | "driver" | "stdout" | "stderr") => match text? {
            "journal" | "journald" | "syslog" => line(Log, "to", "journal".into()),
            "none" | "null" | "/dev/null" => line(Log, "to", "none".into()),
            _ => None,
        },
        (Health, "port" | "tcpsocket" | "address") => {
            if keys::KINDS.iter().any(|kind| context.values.contains_key(*kind)) {
                return Some("write the port into the target of the probe".to_owned());
            }
            let (_, realm) = context.realm()?;
            let address = match value {
                Value::Dict(_, inner) => whole(inner.get("port")?)?.to_string(),
                _ => {
                    whole(value).map_or_else(|| value.as_str().map(str::to_owned), |n| Some(n.to_string()))?
                }
            };
            let url = crate::advice::url(&address, realm)?;
            Some(format!("write tcp = {:?}", url.strip_prefix("tcp://")?))
        }
        (Need, "condition") => {
            let until = match text? {
                "service_healthy" | "process_healthy" | "healthy" => "up",
                "service_started" | "process_started" => "started",
                "service_completed_successfully" | "process_completed_successfully" | "completed" => "done",
                _ => return None,
            };
            line(Need, "until", until.into())
        }
        // Discord takes what Slack takes, at another path.
        (Notify, "discord") if !has_receiver(context) => {
            let url = value.as_str()?.trim_end_matches('/');
            line(Notify, "slack", format!("{url}/slack").into()).filter(|_| url.starts_with("https://"))
        }
        (Notify, "email" | "mail" | "mailto" | "emails") if !has_receiver(context) => {
            let to = value.as_str().filter(|to| to.contains('@'))?;
            let host = to.split_once('@').map_or("example.org", |(_, host)| host);
            Some(format!(
                "a mail has three keys: smtp = \"smtp://127.0.0.1:25\" (the server), from = \"heartbeat@{host}\", to = [{to:?}]"
            ))
        }
        (Heartbeat, "bind" | "address" | "port" | "host" | "listenaddress") => {
            let address = match whole(value) {
                Some(port) => format!("127.0.0.1:{port}"),
                None => value.as_str()?.replace("localhost", "127.0.0.1"),
            };
            let address = if address.contains(':') { address } else { format!("{address}:4327") };
            if address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback()) {
                return line(Heartbeat, "listen", address.into());
            }
            Some(
                "write it as `listen`; another address than loopback needs `tls` and `token_file` as well"
                    .to_owned(),
            )
        }
        _ => None,
    }
}

/// The key of ours that a word stands for, for what is ignored because it begins with `x-`.
pub(crate) fn meant(table: Table, name: &str) -> Option<&'static str> {
    let word = folded(name);
    if table == Root && (TABLES_OF_REALMS.contains(&word.as_str()) || word == "realm") {
        return Some("[realm.NAME]");
    }
    if let Some(key) = keys::names(table).find(|key| folded(key) == word).or_else(|| called(table, &word)) {
        return Some(key);
    }
    WORDS.iter().find(|(of, words, _)| *of == table && words.contains(&word.as_str())).and_then(
        |(_, _, ours)| match ours {
            Key(of, name) => Some(if *of == table { name } else { of.as_str() }),
            Check => Some("health"),
            Say(_) | Nothing(_) => None,
        },
    )
}

/// Whether the receiver has a kind already.
fn has_receiver(context: &Context<'_>) -> bool {
    RECEIVERS.iter().any(|kind| context.values.contains_key(*kind))
}

/// A word that means `run` in another tool: the realm has a program, under a wrong name.
pub(crate) fn means_run(name: &str) -> bool {
    let word = folded(name.strip_prefix("x-").unwrap_or(name));
    word == "run" || called(Realm, &word) == Some("run")
}

/// The tables of realms below a heading that is none of ours, each by its name: `[services.web]`, `[services.db]`.
pub(crate) fn realms_below<'v>(name: &str, value: &'v Value) -> Vec<(&'v String, &'v Dict)> {
    let Value::Dict(_, table) = value else { return Vec::new() };
    let inner = table.iter().filter_map(|(name, value)| match value {
        Value::Dict(_, inner) if possible(name).is_some() => Some((name, inner)),
        _ => None,
    });
    if TABLES_OF_REALMS.contains(&folded(name).as_str()) { inner.collect() } else { Vec::new() }
}

/// The way out for one table of a list: `[[realm]]` with a `name` in it.
pub(crate) fn of_a_list(list: &str, item: &Dict) -> Option<String> {
    let word = folded(list);
    let ours = match word.as_str() {
        "realm" => "realm",
        "notify" | "receivers" | "receiver" => "notify",
        "maintenance" => "maintenance",
        other if TABLES_OF_REALMS.contains(&other) => "realm",
        _ => return None,
    };
    let name = ["name", "id"].iter().find_map(|key| item.get(*key)?.as_str().and_then(possible));
    Some(match name {
        Some(name) => format!("write [{ours}.{name}] in place of [[{list}]], and remove its name below"),
        None => format!("write [{ours}.NAME] in place of [[{list}]], for example [{ours}.api]"),
    })
}

/// A table with another heading: `[services.web]`, `[program:api]` and `[api]` are realms, `[daemon]` is `[heartbeat]`.
fn as_heading(context: &Context<'_>, name: &str, word: &str, value: &Value) -> Option<String> {
    let Value::Dict(_, table) = value else { return None };
    let ours = |path: &[&str]| {
        let mut found = Some(context.root);
        for name in path {
            found = match found.and_then(|table| table.get(*name)) {
                Some(Value::Dict(_, inner)) => Some(inner),
                _ => None,
            };
        }
        let heading = path.join(".");
        match found {
            Some(_) => format!("write its keys into [{heading}], which is there already"),
            None => format!("write [{heading}]"),
        }
    };
    let inner = || table.iter().find(|(_, value)| matches!(value, Value::Dict(..))).map(|(name, _)| name);
    if TABLES_OF_REALMS.contains(&word) {
        return Some(match inner().and_then(|name| possible(name)) {
            Some(name) => ours(&["realm", &name]),
            None => "each of them is a table of its own below `realm`, for example [realm.api]".to_owned(),
        });
    }
    match WORDS.iter().find(|(of, words, _)| *of == Root && words.contains(&word)) {
        Some((_, words, Say(_))) if words.contains(&"daemon") => return Some(ours(&["heartbeat"])),
        Some((_, words, Say(_))) if words.contains(&"common") => return Some(ours(&["defaults"])),
        Some((_, words, Say(_))) if words.contains(&"alerts") => {
            return inner().and_then(|name| possible(name)).map(|name| ours(&["notify", &name]));
        }
        _ => {}
    }
    let is_realm =
        |key: &String| ["run", "health", "needs", "port"].contains(&key.as_str()) || means_run(key);
    // `[program:web]` of supervisord, `[Service]` of a unit, `[web]`.
    let own = possible(name.rsplit(':').next().unwrap_or(name))?;
    table.keys().any(is_realm).then(|| ours(&["realm", &own]))
}

/// A name like the one that was written, but possible.
pub(crate) fn possible(name: &str) -> Option<String> {
    let kept = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let like: String = name.trim().chars().map(kept).collect();
    let like = like.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    RealmName::new(like).is_ok().then(|| like.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_one_way_out_and_none_is_a_key_itself() {
        let mut all: Vec<(Table, &str)> =
            keys::keys().flat_map(|key| key.also.iter().map(|word| (key.table, *word))).collect();
        all.extend(WORDS.iter().flat_map(|(table, words, _)| words.iter().map(|word| (*table, *word))));
        for (at, (table, word)) in all.iter().enumerate() {
            assert_eq!(*word, folded(word), "{word} is not as words are compared");
            assert!(!keys::names(*table).any(|key| folded(key) == *word), "{table:?}: `{word}` is a key");
            assert!(!all[at + 1..].contains(&(*table, *word)), "{table:?}: `{word}` stands twice");
        }
    }
}
