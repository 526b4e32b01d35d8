//! Names of other services in the settings of one: inside of compose they are hosts, and on this machine they are not.

use crate::import::draft::Draft;
use crate::import::ports::{Mapping, mappings};
use crate::import::values::{environment, scalars};
use crate::import::yaml::Table;

/// Names the variables and words of a service that runs here which name the host of another service.
pub(crate) fn named(draft: &mut Draft, name: &str, service: &Table, services: &Table) {
    let variables = service.get("environment").and_then(environment).unwrap_or_default();
    let words = service.get("command").and_then(scalars).unwrap_or_default();
    let words = words.iter().flat_map(|text| text.split_whitespace()).map(|word| ("command", word));
    let variables: Vec<(String, &str)> = variables
        .iter()
        .map(|(variable, value)| (format!("environment.{variable}"), value.as_str()))
        .chain(words.map(|(place, word)| (place.to_owned(), word)))
        .collect();
    for (place, value) in variables {
        for (other, of_other) in services.iter().filter(|(other, _)| *other != name) {
            let Some(port) = port_of(value, other, &place) else { continue };
            let here = of_other.as_object().map(|of_other| outside(of_other, port)).unwrap_or_default();
            let what =
                format!("the host {other} is a name inside of compose: write 127.0.0.1 in its place{here}");
            draft.approximated(&format!("{name}.{place}"), &what);
        }
    }
}

/// The port that a text has behind the name of a service, as far as the text names that host at all.
fn port_of(text: &str, host: &str, place: &str) -> Option<Option<u16>> {
    let is_of_host = ["HOST", "ADDR", "SERVER"].iter().any(|word| place.to_ascii_uppercase().contains(word));
    let begins = text.match_indices(host).filter(|(at, _)| {
        let before = &text[..*at];
        // A host stands behind `//` or `@`, or it is all that stands there.
        before.ends_with("//") || before.ends_with('@') || before.ends_with(',') || before.is_empty()
    });
    for (at, _) in begins {
        let rest = &text[at + host.len()..];
        let is_alone = at == 0 && rest.is_empty() && is_of_host;
        match rest.strip_prefix(':').map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()) {
            Some(Some(port)) if !port.is_empty() => return Some(port.parse().ok()),
            _ if is_alone || (at > 0 && (rest.is_empty() || rest.starts_with(['/', '?', ',', ':']))) => {
                return Some(None);
            }
            _ => {}
        }
    }
    None
}

/// Where the port of another service is on this machine, if it is another one.
fn outside(service: &Table, port: Option<u16>) -> String {
    let is_run =
        ["command", "entrypoint"].iter().any(|key| service.get(*key).is_some_and(|value| !value.is_null()));
    let there = mappings(service);
    let of_port = |mapping: &&Mapping| port.is_none_or(|port| mapping.inside == port);
    match there.iter().find(of_port) {
        _ if is_run => String::new(),
        Some(Mapping { outside: Some(outside), inside }) if outside != inside => {
            format!(", with port {outside}")
        }
        Some(Mapping { outside: Some(_), .. }) => String::new(),
        _ => ", and publish its port".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_host_is_told_from_a_word() {
        for (text, place, expected) in [
            ("postgres://app:x@db:5432/shop", "environment.URL", Some(Some(5_432))),
            ("redis://db/0", "environment.URL", Some(None)),
            ("http://db", "environment.URL", Some(None)),
            ("db:5432", "environment.ADDRESS", Some(Some(5_432))),
            ("db", "environment.DB_HOST", Some(None)),
            ("a:1,db:2", "environment.BROKERS", Some(Some(2))),
            ("db", "environment.POSTGRES_DB", None),
            ("dbase", "environment.DB_HOST", None),
            ("postgres://app@dbs/shop", "environment.URL", None),
            ("http://example.org/db", "environment.URL", None),
            ("mydb:5432", "environment.URL", None),
        ] {
            assert_eq!(port_of(text, "db", place), expected, "{text}");
        }
        let value: Value = serde_json::from_str("{ \"ports\": [\"5433:5432\"] }").unwrap();
        assert_eq!(outside(value.as_object().unwrap(), Some(5_432)), ", with port 5433");
    }
}
