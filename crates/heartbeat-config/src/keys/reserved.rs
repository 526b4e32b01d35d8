//! Names of what this version does not have: refused by name, so that nothing is accepted and ignored.

use super::Table;

const RESERVED: &[(Table, &[&str])] = &[(Table::Limits, &["memory_action"])];

/// Whether a later version has a key of this name.
pub(crate) fn is_reserved(table: Table, name: &str) -> bool {
    names(table).any(|known| known == name)
}

/// The reserved names of a table.
pub(crate) fn names(table: Table) -> impl Iterator<Item = &'static str> {
    RESERVED.iter().filter(move |(of, _)| *of == table).flat_map(|(_, names)| names.iter().copied())
}
