//! The configuration in force: every key with its value, and the file, variable or default that it comes from.

use figment::value::{Dict, Tag, Value};

use crate::keys::{self, Table, Takes};
use crate::reader::{Entry, Reader, Section};
use crate::translated;

/// Shown in place of a value that may be a secret.
const REDACTED: &str = "***";
/// Keys whose values may be secrets: the names in their tables are shown, and nothing else.
const SECRET: [&str; 8] = ["alertmanager", "env", "headers", "ntfy", "pagerduty", "ping", "slack", "webhook"];

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
pub(crate) fn effective(reader: &Reader<'_>) -> Vec<EffectiveKey> {
    let empty = Dict::new();
    let root = &reader.document.root;
    let table = |name: &str| match root.get(name) {
        Some(Value::Dict(_, table)) => table,
        _ => &empty,
    };
    let mut listing = Listing { reader, keys: Vec::new() };
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
                        self.push(format!("{name}.{last}"), key.name, &entry);
                    }
                }
                // A word of its command may be a token.
                (_, Some(entry)) if (table, key.name) == (Table::Notify, "exec") => {
                    self.push(name, SECRET[0], &entry);
                }
                (_, Some(entry)) => self.push(name, key.name, &entry),
                (_, None) if key.default_text().is_empty() => {}
                (_, None) => self.keys.push(EffectiveKey {
                    name,
                    value: key.default_text(),
                    source: "default".to_owned(),
                }),
            }
        }
    }

    fn push(&mut self, name: String, key: &str, entry: &Entry<'_>) {
        let (place, origin) = self.reader.document.locate(&entry.path, Some(entry.value), false);
        let source = place.map_or(origin, |place| place.line());
        let value = translated::toml(&redacted(key, entry.value));
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
        other => other.clone(),
    }
}
