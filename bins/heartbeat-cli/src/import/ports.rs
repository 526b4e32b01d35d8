//! Ports of compose files.

use serde_json::Value;

use crate::import::values::scalar;
use crate::import::yaml::Table;

/// A port of a container, and the one of this machine that leads to it.
#[derive(Clone, Copy)]
pub(super) struct Mapping {
    pub(super) outside: Option<u16>,
    pub(super) inside: u16,
}

/// `HOST:CONTAINER`, `ADDRESS:HOST:CONTAINER`, `CONTAINER`, or a table; of a range the first.
pub(super) fn mapping(item: &Value) -> Option<Mapping> {
    let first = |range: &str| range.split('-').next()?.parse::<u16>().ok();
    if let Value::Object(table) = item {
        let port = |key: &str| first(&scalar(table.get(key)?)?);
        return Some(Mapping { outside: port("published"), inside: port("target")? });
    }
    let item = scalar(item)?;
    let parts: Vec<&str> = item.split('/').next()?.split(':').collect();
    let outside = match parts.len() {
        1 => None,
        count => Some(first(parts[count - 2])?),
    };
    Some(Mapping { outside, inside: first(parts.last()?)? })
}

/// A port of UDP, on which nothing answers a connection.
pub(super) fn is_udp(item: &Value) -> bool {
    let of_table = item.get("protocol").and_then(scalar);
    of_table.or_else(|| scalar(item)).is_some_and(|text| text.to_ascii_lowercase().ends_with("udp"))
}

/// Several ports in one item.
pub(super) fn is_range(item: &Value) -> bool {
    let of_table = item.get("published").and_then(scalar);
    of_table.or_else(|| scalar(item)).is_some_and(|text| text.contains('-'))
}

/// The ports of a service that this machine can reach, or that its program listens on here.
pub(super) fn mappings(service: &Table) -> Vec<Mapping> {
    let of = |key: &str| service.get(key).and_then(Value::as_array).into_iter().flatten();
    of("ports").chain(of("expose")).filter(|item| !is_udp(item)).filter_map(mapping).collect()
}
