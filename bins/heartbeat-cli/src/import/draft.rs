//! A configuration in the making, and what became of every setting of the file that it is made from.

use std::collections::BTreeSet;

use crate::import::values::{name_of_realm, text};

/// What became of a setting that is not simply a key of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is there in another form, or not quite.
    Approximated,
    /// It is not there.
    Dropped,
}

impl Fate {
    /// The word of the report.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Approximated => "approximated",
            Self::Dropped => "dropped",
        }
    }
}

/// A remark about one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) fate: Fate,
    /// Where it stands: `web.ports`.
    pub(crate) place: String,
    /// Why, and what to do.
    pub(crate) text: String,
}

/// A dependency, resolved once all realms are known.
struct Need {
    realm: usize,
    kind: &'static str,
    on: String,
    until: Option<&'static str>,
    place: String,
}

/// One realm: its lines in the order in which they are written.
struct Realm {
    name: String,
    lines: Vec<(String, String)>,
}

/// The configuration that is being made.
#[derive(Default)]
pub(crate) struct Draft {
    realms: Vec<Realm>,
    needs: Vec<Need>,
    notes: Vec<Note>,
    mapped: usize,
}

impl Draft {
    /// A realm under a name that ours can have.
    pub(crate) fn realm(&mut self, written: &str) -> usize {
        let name = name_of_realm(written);
        if name != written {
            self.approximated(written, &format!("the realm is called {name}: names are lower case"));
        }
        self.realms.push(Realm { name, lines: Vec::new() });
        self.realms.len() - 1
    }

    /// A key with its value as TOML.
    pub(crate) fn set(&mut self, realm: usize, key: &str, value: impl Into<String>) {
        self.mapped += 1;
        self.add(realm, key, value);
    }

    /// A key that follows from another one, which counts.
    pub(crate) fn add(&mut self, realm: usize, key: &str, value: impl Into<String>) {
        let lines = &mut self.realms[realm].lines;
        let value = value.into();
        match lines.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => lines.push((key.to_owned(), value)),
        }
    }

    /// Whether a key has been set.
    pub(crate) fn has(&self, realm: usize, key: &str) -> bool {
        self.realms[realm]
            .lines
            .iter()
            .any(|(known, _)| known == key || known.starts_with(&format!("{key}.")))
    }

    /// It needs nothing of ours: what it says is so anyway.
    pub(crate) fn understood(&mut self) {
        self.mapped += 1;
    }

    pub(crate) fn need(
        &mut self,
        realm: usize,
        kind: &'static str,
        on: &str,
        until: Option<&'static str>,
        place: &str,
    ) {
        let on = name_of_realm(on);
        self.needs.push(Need { realm, kind, on, until, place: place.to_owned() });
    }

    pub(crate) fn approximated(&mut self, place: &str, text: &str) {
        self.notes.push(Note { fate: Fate::Approximated, place: place.to_owned(), text: text.to_owned() });
    }

    pub(crate) fn dropped(&mut self, place: &str, text: &str) {
        self.notes.push(Note { fate: Fate::Dropped, place: place.to_owned(), text: text.to_owned() });
    }

    /// Writes the dependencies on realms that are there, and names those that are not.
    pub(crate) fn resolve(&mut self) {
        let done: BTreeSet<String> =
            self.needs.iter().filter(|need| need.until == Some("done")).map(|need| need.on.clone()).collect();
        for at in 0..self.realms.len() {
            let name = self.realms[at].name.clone();
            if done.contains(&name) && !self.has(at, "oneshot") {
                self.add(at, "oneshot", "true");
                self.approximated(&name, "others wait until it is done, so it is a oneshot");
            }
        }
        let names: BTreeSet<String> = self.realms.iter().map(|realm| realm.name.clone()).collect();
        for kind in ["needs", "wants", "after"] {
            for realm in 0..self.realms.len() {
                let mut items = Vec::new();
                let mut seen = BTreeSet::new();
                let of_it: Vec<usize> = (0..self.needs.len())
                    .filter(|at| self.needs[*at].realm == realm && self.needs[*at].kind == kind)
                    .collect();
                for at in of_it {
                    let Need { on, until, place, .. } = &self.needs[at];
                    if !names.contains(on) {
                        let (place, what) = (place.clone(), format!("{on} is in none of these files"));
                        self.dropped(&place, &what);
                        continue;
                    }
                    // What is needed is ordered, too: one edge is enough.
                    let stronger = |other: &Need| {
                        other.realm == realm && other.on == *on && rank(other.kind) < rank(kind)
                    };
                    self.mapped += 1;
                    if self.needs.iter().any(stronger) || !seen.insert(self.needs[at].on.clone()) {
                        continue;
                    }
                    let Need { on, until: gate, .. } = &self.needs[at];
                    let _ = until;
                    items.push(match gate {
                        Some(until) => format!("{{ realm = {}, until = {} }}", text(on), text(until)),
                        None => text(on),
                    });
                }
                if !items.is_empty() {
                    self.add(realm, kind, format!("[{}]", items.join(", ")));
                }
            }
        }
    }

    /// The file.
    pub(crate) fn toml(&self) -> String {
        let mut out = String::new();
        for realm in &self.realms {
            if !out.is_empty() {
                out.push('\n');
            }
            out += &format!("[realm.{}]\n", realm.name);
            for (key, value) in &realm.lines {
                out += &format!("{key} = {value}\n");
            }
        }
        out
    }

    pub(crate) fn mapped(&self) -> usize {
        self.mapped
    }

    pub(crate) fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// What became of the settings: the sum first.
    pub(crate) fn report(&self) -> Vec<String> {
        let count = |fate| self.notes.iter().filter(|note| note.fate == fate).count();
        let (approximated, dropped) = (count(Fate::Approximated), count(Fate::Dropped));
        let mut lines = vec![format!(
            "{} realms: {} settings mapped, {approximated} approximated, {dropped} dropped",
            self.realms.len(),
            self.mapped
        )];
        for fate in [Fate::Approximated, Fate::Dropped] {
            let word = fate.word();
            let of_it = self.notes.iter().filter(|note| note.fate == fate);
            lines.extend(of_it.map(|note| format!("  {word:<12} {}: {}", note.place, note.text)));
        }
        lines
    }
}

fn rank(kind: &str) -> usize {
    ["needs", "wants", "after"].iter().position(|known| *known == kind).unwrap_or(usize::MAX)
}
