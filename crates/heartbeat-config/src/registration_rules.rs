//! What a configuration says about realms that are registered beside its own.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};

use crate::interpolate::{Variables, interpolate};
use crate::reader::Reader;

/// What [defaults] say for a realm that is registered, too: nothing of how it is probed.
const FROM_DEFAULTS: [&str; 5] = ["docs", "owner", "group", "labels", "critical"];

/// What the files say about realms that are registered beside theirs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegistrationRules {
    /// Of `[defaults]`, with every variable filled in.
    pub(crate) defaults: Dict,
    /// Names that the files have, and where.
    declared: BTreeMap<String, String>,
}

impl RegistrationRules {
    pub(crate) fn of(reader: &Reader<'_>) -> Self {
        let table = |name: &str| match reader.document.root.get(name) {
            Some(Value::Dict(_, table)) => Some(table),
            _ => None,
        };
        let mut defaults = Dict::new();
        for key in FROM_DEFAULTS {
            if let Some(value) = table("defaults").and_then(|defaults| defaults.get(key)) {
                defaults.insert(key.to_owned(), filled_in(value, reader.variables));
            }
        }
        let declared = table("realm").into_iter().flat_map(Dict::keys).map(|name| {
            let path = ["realm".to_owned(), name.clone()];
            let place = reader.key_place(&path).map(|place| place.line());
            (name.clone(), place.unwrap_or_else(|| "the environment".to_owned()))
        });
        Self { declared: declared.collect(), defaults }
    }

    /// The file and the line that declare a realm, whether it is enabled or not.
    #[must_use]
    pub fn declared(&self, name: &str) -> Option<&str> {
        self.declared.get(name).map(String::as_str)
    }
}

/// Strings with their variables, in the form in which no variable is left.
fn filled_in(value: &Value, variables: Variables<'_>) -> Value {
    match value {
        Value::String(tag, text) => {
            // What cannot be filled in has been reported where it stands.
            let text = interpolate(text, variables).unwrap_or_default();
            Value::String(*tag, text.replace("${", "$${"))
        }
        Value::Dict(tag, table) => {
            let filled = table.iter().map(|(name, value)| (name.clone(), filled_in(value, variables)));
            Value::Dict(*tag, filled.collect())
        }
        other => other.clone(),
    }
}
