//! The JSON Schema of a configuration file, for editors: made from the items of the keys.

use serde_json::{Map, Value, json};

use crate::keys::{self, Table};

/// Names of realms and receivers.
const NAME: &str = "^[a-z][a-z0-9_-]{0,62}$";

/// The schema of `heartbeat.toml`. An editor finds it by a first line `#:schema heartbeat.schema.json`.
#[must_use]
pub fn schema() -> Value {
    let definitions: Map<String, Value> =
        Table::ALL.into_iter().map(|table| (definition_name(table).to_owned(), definition(table))).collect();
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "heartbeat.toml",
        "allOf": [reference(Table::Root)],
        "definitions": definitions,
    })
}

const fn definition_name(table: Table) -> &'static str {
    match table {
        Table::Root => "root",
        Table::Heartbeat => "heartbeat",
        Table::Fuse => "fuse",
        Table::Tls => "tls",
        Table::Notify => "receiver",
        Table::Maintenance => "maintenance",
        Table::Realm => "realm",
        Table::Start => "start",
        Table::Stop => "stop",
        Table::Restart => "restart",
        Table::Limits => "limits",
        Table::Log => "log",
        Table::Slo => "slo",
        Table::Health => "health",
        Table::Need => "need",
    }
}

fn reference(table: Table) -> Value {
    json!({ "$ref": format!("#/definitions/{}", definition_name(table)) })
}

fn definition(table: Table) -> Value {
    let properties: Map<String, Value> = keys::of(table)
        .map(|key| {
            let mut property = key.takes.schema(&reference);
            let default = key.default_text();
            let default = if default.is_empty() { String::new() } else { format!(" Default: {default}.") };
            let about = Value::String(format!("{}{default}", key.doc));
            // Beside a reference nothing else counts, so it goes into one of its own.
            property = if property.get("$ref").is_some() { json!({ "allOf": [property] }) } else { property };
            property["description"] = about;
            if matches!(key.takes, keys::Takes::Tables(_)) {
                property["propertyNames"] = json!({ "pattern": NAME });
            }
            (key.name.to_owned(), property)
        })
        .collect();
    let mut definition = json!({
        "type": "object",
        "properties": properties,
        "patternProperties": { "^x-": true },
        "additionalProperties": false,
    });
    if table == Table::Need {
        definition["required"] = json!(["realm"]);
    }
    definition
}
