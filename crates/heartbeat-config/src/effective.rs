//! The configuration in force: every key with its value, and the file, variable or default that it comes from.

use figment::value::{Dict, Tag, Value};

use crate::keys::{self, Table, Takes};
use crate::reader::{Entry, Reader, Section};
use crate::translated;

/// Shown in place of a value that may be a secret.
const REDACTED: &str = "***";
/// Keys whose values may be secrets: the names in their tables are shown, and nothing else.
const SECRET: [&str; 9] =
    ["alertmanager", "env", "headers", "ntfy", "otlp", "pagerduty", "ping", "slack", "webhook"];

/// Keys whose values are commands.
const COMMANDS: [&str; 3] = ["exec", "nagios", "command"];
/// Keys whose texts only their owner is to read.
const TEXTS: [&str; 3] = ["body", "send", "template"];

/// Who reads the listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// The owner of the configuration.
    Owner,
    /// A person elsewhere, who gets no argument of a command, no text that a probe sends and no query of a URL.
    Elsewhere,
}

/// One key of the configuration in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveKey {
    /// With all tables: `realm.api.stop.timeout`.
    pub name: String,
    /// As TOML; variables as they are written.
    pub value: String,
    /// Where it comes from: a file and line, a variable of the environment, or `default`.
    pub source: String,
}

/// Every key of a configuration that was read.
pub(crate) fn effective(reader: &Reader<'_>, audience: Audience) -> Vec<EffectiveKey> {
    let empty = Dict::new();
    let root = &reader.document.root;
    let table = |name: &str| match root.get(name) {
        Some(Value::Dict(_, table)) => table,
        _ => &empty,
    };
    let mut listing = Listing { reader, audience, keys: Vec::new() };
    let path = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    listing.table(Table::Heartbeat, "heartbeat", &Section::new(path(&["heartbeat"]), table("heartbeat")));
    let defaults = Section::new(path(&["defaults"]), table("defaults"));
    let kinds = [
        ("realm", Table::Realm, Some(&defaults)),
        ("notify", Table::Notify, None),
        ("maintenance", Table::Maintenance, None),
    ];
    for (kind, of, below) in kinds {
        for (name, value) in table(kind) {
            let Value::Dict(_, values) = value else { continue };
            let section = Section::new(path(&[kind, name]), values);
            let section = below.map_or_else(|| section.clone(), |below| section.clone().over(below));
            listing.table(of, &format!("{kind}.{name}"), &section);
        }
    }
    listing.keys
}

struct Listing<'a> {
    reader: &'a Reader<'a>,
    audience: Audience,
    keys: Vec<EffectiveKey>,
}

impl Listing<'_> {
    fn table(&mut self, table: Table, prefix: &str, section: &Section<'_>) {
        for key in keys::of(table) {
            let name = format!("{prefix}.{}", key.name);
            match (key.takes, section.get(key.name)) {
                (Takes::Table(inner), _) => self.table(inner, &name, &section.table(self.reader, key.name)),
                (Takes::Pairs, Some(_)) => {
                    for entry in section.table(self.reader, key.name).entries() {
                        let last = entry.path.last().cloned().unwrap_or_default();
                        self.push(format!("{name}.{last}"), (key.name, key.takes), &entry);
                    }
                }
                // A word of its command may be a token.
                (_, Some(entry)) if (table, key.name) == (Table::Notify, "exec") => {
                    self.push(name, (SECRET[0], key.takes), &entry);
                }
                (_, Some(entry)) => self.push(name, (key.name, key.takes), &entry),
                (_, None) if key.default_text().is_empty() => {}
                (_, None) => self.keys.push(EffectiveKey {
                    name,
                    value: key.default_text(),
                    source: "default".to_owned(),
                }),
            }
        }
    }

    fn push(&mut self, name: String, (key, takes): (&str, Takes), entry: &Entry<'_>) {
        let (place, origin) = self.reader.document.locate(&entry.path, Some(entry.value), false);
        let source = place.map_or(origin, |place| place.line());
        let value = redacted(key, entry.value);
        let value = match (self.audience, takes) {
            (Audience::Owner, _) => value,
            (Audience::Elsewhere, Takes::Command) => program(&value),
            (Audience::Elsewhere, Takes::Commands) => each(&value, program),
            (Audience::Elsewhere, _) => shared(key, &value),
        };
        let value = translated::toml(&value);
        self.keys.push(EffectiveKey { name, value, source });
    }
}

/// The value without the parts that may be secrets.
fn redacted(key: &str, value: &Value) -> Value {
    match value {
        Value::Dict(tag, table) => {
            let of = |name: &String| if SECRET.contains(&key) { key.to_owned() } else { name.clone() };
            Value::Dict(
                *tag,
                table.iter().map(|(name, value)| (name.clone(), redacted(&of(name), value))).collect(),
            )
        }
        Value::Array(tag, items) => {
            Value::Array(*tag, items.iter().map(|item| redacted(key, item)).collect())
        }
        _ if SECRET.contains(&key) => Value::String(Tag::Default, REDACTED.to_owned()),
        Value::String(tag, text) => {
            Value::String(*tag, without_password(text).unwrap_or_else(|| text.clone()))
        }
        other => other.clone(),
    }
}

/// The value without what only its owner is to read.
fn shared(key: &str, value: &Value) -> Value {
    match value {
        Value::Dict(tag, table) => {
            Value::Dict(*tag, table.iter().map(|(name, value)| (name.clone(), shared(name, value))).collect())
        }
        _ if COMMANDS.contains(&key) => program(value),
        _ if TEXTS.contains(&key) => Value::String(Tag::Default, REDACTED.to_owned()),
        Value::Array(..) => each(value, |item| shared(key, item)),
        Value::String(tag, text) => Value::String(*tag, without_query(text)),
        other => other.clone(),
    }
}

fn each(value: &Value, of: impl Fn(&Value) -> Value) -> Value {
    match value {
        Value::Array(tag, items) => Value::Array(*tag, items.iter().map(of).collect()),
        one => of(one),
    }
}

/// A command without its arguments, and without the assignments in front of it.
fn program(command: &Value) -> Value {
    let first = match command {
        Value::Array(_, words) => words.first().and_then(Value::as_str),
        other => other.as_str().and_then(|line| line.split_whitespace().next()),
    };
    let program = first.filter(|word| !word.contains('=')).unwrap_or(REDACTED);
    Value::String(Tag::Default, format!("{program} {REDACTED}"))
}

fn without_query(text: &str) -> String {
    match text.split_once('?') {
        Some((before, _)) if before.contains("://") => format!("{before}?{REDACTED}"),
        _ => text.to_owned(),
    }
}

/// A URL without its password.
fn without_password(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let (person, host) = authority.rsplit_once('@')?;
    let name = person.split_once(':')?.0;
    Some(format!("{scheme}://{name}:{REDACTED}@{host}{}", &rest[authority.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Value {
        Value::from(value)
    }

    #[test]
    fn a_password_of_a_url_is_in_no_listing_and_its_query_in_none_for_others() {
        let shown = |value: &str| redacted("http", &text(value)).into_string().unwrap();
        assert_eq!(shown("http://ada:pw@h:1/x@y"), "http://ada:***@h:1/x@y");
        assert_eq!(shown("postgres://ada:p@w@h/db?a=b"), "postgres://ada:***@h/db?a=b");
        for same in ["http://h/a:b@c", "http://ada@h/", "tcp://h:1", "ada:pw@h"] {
            assert_eq!(shown(same), same);
        }
        assert_eq!(without_query("http://h/x?token=1"), "http://h/x?***");
        assert_eq!(without_query("what?"), "what?");
    }

    #[test]
    fn others_see_the_program_of_a_command_and_nothing_behind_it() {
        let shown = |value: &Value| shared("exec", value).into_string().unwrap();
        assert_eq!(shown(&text("worker --password pw")), "worker ***");
        assert_eq!(shown(&Value::from(vec!["worker", "pw"])), "worker ***");
        assert_eq!(shown(&text("TOKEN=pw worker")), "*** ***");
        assert_eq!(shown(&text("")), "*** ***");
        assert_eq!(shared("send", &text("AUTH pw")).into_string().unwrap(), "***");
    }
}
