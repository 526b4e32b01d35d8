//! The keys of the configuration in force and of the one before, as evidence of incidents: without secrets, and without
//! arguments of commands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use heartbeat_config::{EffectiveKey, Sources, shareable};
use heartbeat_status::{Instant, WallAnchor};
use heartbeat_wire::ConfigEvidence;

/// Keys of a configuration that is listed: the rest would take too much memory.
const MAX_KEYS: usize = 20_000;
/// Keys of the evidence of an incident.
const MAX_KEYS_OF_EVIDENCE: usize = 500;
/// Changes in the evidence of an incident.
const MAX_CHANGES: usize = 200;

/// One configuration that is, or was, in force.
#[derive(Debug)]
struct Listing {
    revision: u64,
    since: Instant,
    keys: Keys,
}

/// The configuration in force, and the one before. All clones of the `Arc` around it share it.
#[derive(Debug, Default)]
pub(crate) struct ConfigListings(Mutex<Listings>);

#[derive(Debug, Default)]
struct Listings {
    current: Option<Listing>,
    before: Option<Listing>,
}

impl ConfigListings {
    fn listings(&self) -> MutexGuard<'_, Listings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists the configuration that came into force at `since`. Reads files, so it may take a while.
    pub(crate) fn list(&self, sources: &Sources, revision: u64, since: Instant) {
        // Files that changed in the meantime and have a mistake now are no configuration in force.
        let keys = shareable(sources).unwrap_or_default();
        self.take(keys, revision, since);
    }

    fn take(&self, keys: Vec<EffectiveKey>, revision: u64, since: Instant) {
        // A default is in the manual.
        let written = keys.into_iter().filter(|key| key.source != "default").take(MAX_KEYS);
        let keys = written.map(|key| (key.name, (key.value, key.source))).collect();
        let mut listings = self.listings();
        if listings.current.as_ref().is_none_or(|current| current.revision < revision) {
            listings.before = listings.current.replace(Listing { revision, since, keys });
        }
    }

    /// The keys of these tables, and what the last reload changed in all of them.
    pub(crate) fn evidence(&self, tables: &[String], anchor: WallAnchor) -> Option<ConfigEvidence> {
        let listings = self.listings();
        let current = listings.current.as_ref()?;
        let of_tables = |name: &str| {
            tables
                .iter()
                .any(|table| name.strip_prefix(table.as_str()).is_some_and(|rest| rest.starts_with('.')))
        };
        let before = listings.before.as_ref();
        let mut changes = before.map_or_else(Vec::new, |before| changes(&before.keys, &current.keys));
        let more_changes = changes.len() > MAX_CHANGES;
        changes.truncate(MAX_CHANGES);
        let shown = current.keys.iter().filter(|(name, _)| of_tables(name));
        Some(ConfigEvidence {
            revision: current.revision,
            since: anchor.wall(current.since),
            keys: shown
                .map(|(name, (value, source))| format!("{name} = {value}  # {source}"))
                .take(MAX_KEYS_OF_EVIDENCE)
                .collect(),
            changes,
            more_changes,
        })
    }
}

/// Value and source of each key, by its name.
type Keys = BTreeMap<String, (String, String)>;

/// A line for each value that is no longer there, and for each that is new.
fn changes(before: &Keys, after: &Keys) -> Vec<String> {
    let mut changes = Vec::new();
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let value = |keys: &Keys| keys.get(name).map(|(value, _)| value.clone());
        let (old, new) = (value(before), value(after));
        if old != new {
            changes.extend(old.map(|value| format!("- {name} = {value}")));
            changes.extend(new.map(|value| format!("+ {name} = {value}")));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_status::WallTime;

    fn key(name: &str, value: &str) -> EffectiveKey {
        let source = if value == "9" { "default" } else { "a.toml:1" };
        EffectiveKey { name: name.to_owned(), value: value.to_owned(), source: source.to_owned() }
    }

    #[test]
    fn evidence_has_the_keys_of_its_tables_and_what_the_reload_changed_anywhere() {
        let listings = ConfigListings::default();
        let anchor = WallAnchor { instant: Instant::ZERO, wall: WallTime::from_millis(0) };
        assert_eq!(listings.evidence(&[], anchor), None);
        let first = [key("realm.api.port", "1"), key("realm.api.user", "\"a\""), key("realm.api.umask", "9")];
        listings.take(first.to_vec(), 1, Instant::ZERO);
        let tables = ["realm.api".to_owned()];
        let evidence = listings.evidence(&tables, anchor).unwrap();
        assert_eq!(evidence.keys, ["realm.api.port = 1  # a.toml:1", "realm.api.user = \"a\"  # a.toml:1"]);
        assert!(evidence.changes.is_empty(), "{evidence:?}");
        let second =
            [key("realm.api.port", "2"), key("realm.api.umask", "9"), key("realm.apis.user", "\"b\"")];
        listings.take(second.to_vec(), 2, Instant::from_millis(5_000));
        // An older one that was read late replaces nothing.
        listings.take(first.to_vec(), 1, Instant::ZERO);
        let evidence = listings.evidence(&tables, anchor).unwrap();
        assert_eq!((evidence.revision, evidence.since), (2, WallTime::from_millis(5_000)));
        let expected = [
            "- realm.api.port = 1",
            "+ realm.api.port = 2",
            "- realm.api.user = \"a\"",
            "+ realm.apis.user = \"b\"",
        ];
        assert_eq!(evidence.changes, expected);
    }
}
