//! The keys of a configuration: one item per key, from which messages, the reference, the JSON Schema, `explain` and
//! completions are made.
//!
//! An item has the name, the type, the default as the code that uses it has it, what it means, an example that is tested, the
//! words of other tools for it, and whether a registration may set it. A key that this version does not have is only a
//! reserved word ([`reserved`]).

mod heartbeat;
mod kinds;
mod lifecycle;
mod maintenance;
mod probes;
mod realm;
mod receivers;
pub(crate) mod reserved;
mod table;
mod takes;

use heartbeat_status::nearest;
pub(crate) use kinds::{KINDS, OF_TLS, RECEIVERS, means_something};
pub(crate) use probes::RECORDS;
pub use table::Table;
pub use takes::Takes;

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Where it stands.
    pub table: Table,
    /// Name of the key.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What it means, in sentences.
    pub doc: &'static str,
    /// A value as TOML; a test loads it.
    pub example: &'static str,
    /// What other tools call it: lower case, without `-` and `_`.
    pub also: &'static [&'static str],
    /// A realm that is registered at run time may have it.
    pub registrable: bool,
    default: Option<fn() -> String>,
}

impl Key {
    pub(crate) const fn new(
        table: Table,
        name: &'static str,
        takes: Takes,
        doc: &'static str,
        example: &'static str,
    ) -> Self {
        Self { table, name, takes, doc, example, also: &[], registrable: false, default: None }
    }

    pub(crate) const fn default(mut self, default: fn() -> String) -> Self {
        self.default = Some(default);
        self
    }

    pub(crate) const fn also(mut self, words: &'static [&'static str]) -> Self {
        self.also = words;
        self
    }

    pub(crate) const fn registrable(mut self) -> Self {
        self.registrable = true;
        self
    }

    /// Its default as a person would write it; empty where it has none.
    #[must_use]
    pub fn default_text(&self) -> String {
        self.default.map_or_else(String::new, |default| default())
    }

    /// `[realm.NAME] restart.backoff`: how a person names it.
    #[must_use]
    pub fn full_name(&self) -> String {
        self.table.name_of(self.name)
    }
}

/// Every key that this version has.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    [heartbeat::KEYS, realm::KEYS, lifecycle::KEYS, probes::KEYS, receivers::KEYS, maintenance::KEYS]
        .into_iter()
        .flatten()
}

/// The key of a table.
pub(crate) fn find(table: Table, name: &str) -> Option<&'static Key> {
    of(table).find(|key| key.name == name)
}

/// The keys of a table.
pub(crate) fn of(table: Table) -> impl Iterator<Item = &'static Key> {
    keys().filter(move |key| key.table == table)
}

/// The names of the keys of a table.
pub(crate) fn names(table: Table) -> impl Iterator<Item = &'static str> {
    of(table).map(|key| key.name)
}

/// The names of the keys that a registration may set.
pub(crate) fn registrable(table: Table) -> impl Iterator<Item = &'static str> {
    of(table).filter(|key| key.registrable).map(|key| key.name)
}

/// The key whose name resembles `name`.
pub(crate) fn suggestion(table: Table, name: &str) -> Option<&'static str> {
    nearest(name, names(table))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translated::folded;

    #[test]
    fn no_key_stands_twice_and_every_key_is_explained() {
        let all: Vec<&Key> = keys().collect();
        for (at, key) in all.iter().enumerate() {
            let name = key.full_name();
            assert!(!all[at + 1..].iter().any(|other| other.full_name() == name), "{name} stands twice");
            assert!(key.doc.ends_with('.') && key.doc.split_whitespace().count() > 2, "{name}: {}", key.doc);
            assert!(!reserved::is_reserved(key.table, key.name), "{name} is not reserved");
            for word in key.also {
                assert_eq!(*word, folded(word), "{name}: `{word}` is not as words are compared");
            }
        }
    }

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        assert_eq!(suggestion(Table::Realm, "prot"), Some("port"));
        assert_eq!(suggestion(Table::Restart, "backof_max"), Some("backoff_max"));
        assert_eq!(suggestion(Table::Realm, "zzzzzz"), None);
        assert_eq!(suggestion(Table::Limits, "memory_action"), None, "what is not built is not suggested");
    }
}
