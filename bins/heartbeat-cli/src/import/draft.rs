//! A configuration in the making, and what became of every setting of the file that it is made from.

use std::collections::BTreeSet;
use std::path::Path;

use crate::import::values::{name_of_realm, table, text, why_renamed};

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
    while_down: Option<&'static str>,
    place: String,
}

/// A setting that a tool has by itself, and what heartbeatd has in its place.
pub(crate) struct ToolDefault {
    pub(crate) key: &'static str,
    pub(crate) theirs: &'static str,
    pub(crate) ours: &'static str,
}

/// Realms that a remark names; it counts the rest.
const MAX_NAMED_REALMS: usize = 4;

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
    /// Keys of which a file says something that is not written.
    said: BTreeSet<(usize, &'static str)>,
    /// What each tool has by itself, from the first of its realms on.
    defaults: Vec<(usize, &'static str, &'static [ToolDefault])>,
}

impl Draft {
    /// A realm under a name that ours can have.
    pub(crate) fn realm(&mut self, written: &str) -> usize {
        let name = name_of_realm(written);
        if name != written {
            self.approximated(written, &format!("the realm is called {name}: {}", why_renamed(written)));
        }
        self.realms.push(Realm { name, lines: Vec::new() });
        self.realms.len() - 1
    }

    /// A key with its value as TOML.
    pub(crate) fn set(&mut self, realm: usize, key: &str, value: impl Into<String>) {
        self.mapped += 1;
        self.add(realm, key, value);
    }

    /// Variables, without those that heartbeatd sets itself: PORT is the realm's port.
    pub(crate) fn set_env(&mut self, realm: usize, place: &str, variables: Vec<(String, String)>) {
        self.mapped += 1;
        let is_ours = |name: &str| {
            name.starts_with("HEARTBEAT_")
                || ["PORT", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"].contains(&name)
        };
        let (ours, others): (Vec<_>, Vec<_>) = variables.into_iter().partition(|(name, _)| is_ours(name));
        for (name, value) in ours {
            let port = ("port".to_owned(), value.clone());
            let owner = self.realms.iter().find(|other| name == "PORT" && other.lines.contains(&port));
            if let Some(owner) = owner.filter(|owner| owner.name != self.realms[realm].name) {
                let what = format!(
                    "heartbeatd sets PORT to the `port` of a realm, and {value} is that of {}",
                    owner.name
                );
                self.dropped(place, &what);
                continue;
            }
            match value.parse::<u16>() {
                Ok(port) if name == "PORT" && port > 0 && !self.has(realm, "port") => {
                    self.add(realm, "port", port.to_string());
                    if !self.has(realm, "health") {
                        self.add(realm, "health", text(&format!("tcp://127.0.0.1:{port}")));
                    }
                    self.approximated(
                        place,
                        "PORT is the `port` of the realm, which is watched by connecting to it",
                    );
                }
                _ => self.dropped(place, &format!("heartbeatd sets {name} itself")),
            }
        }
        if !others.is_empty() {
            self.add(realm, "env", table(&others));
        }
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

    /// Takes a key out that another one replaces.
    pub(crate) fn remove(&mut self, realm: usize, key: &str) {
        self.realms[realm].lines.retain(|(known, _)| known != key);
    }

    /// The value of a key as TOML.
    pub(crate) fn value(&self, realm: usize, key: &str) -> Option<&str> {
        self.realms[realm].lines.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Whether a key has been set.
    pub(crate) fn has(&self, realm: usize, key: &str) -> bool {
        self.realms[realm]
            .lines
            .iter()
            .any(|(known, _)| known == key || known.starts_with(&format!("{key}.")))
    }

    /// Does what makes one more of what there is already, which has been reported; what only this one loses is, too.
    pub(crate) fn once_more(&mut self, make: impl FnOnce(&mut Self)) {
        let (notes, mapped) = (self.notes.len(), self.mapped);
        make(self);
        for note in self.notes.split_off(notes) {
            if note.fate == Fate::Dropped && !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        self.mapped = mapped;
    }

    /// It needs nothing of ours: what it says is so anyway.
    pub(crate) fn understood(&mut self) {
        self.mapped += 1;
    }

    /// The file says of this key what heartbeatd has by itself, or cannot have.
    pub(crate) fn is_said(&mut self, realm: usize, key: &'static str) {
        self.said.insert((realm, key));
    }

    pub(crate) fn says(&self, realm: usize, key: &'static str) -> bool {
        self.said.contains(&(realm, key))
    }

    /// How many realms there are.
    pub(crate) fn realms(&self) -> usize {
        self.realms.len()
    }

    /// Takes a key with those below it out, and says why.
    pub(crate) fn leave_out(&mut self, realm: usize, key: &str, why: &str) {
        if self.has(realm, key) {
            let of_key = |known: &str| known == key || known.starts_with(&format!("{key}."));
            let Realm { name, lines } = &mut self.realms[realm];
            lines.retain(|(known, _)| !of_key(known));
            let place = format!("{name}: {key}");
            self.dropped(&place, why);
        }
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
        self.needs.push(Need { realm, kind, on, until, while_down: None, place: place.to_owned() });
    }

    /// Whether a file of variables is there that its tool does without; either way its fate is reported.
    pub(crate) fn has_optional_file(&mut self, place: &str, file: &str, dir: &Path) -> bool {
        let is_there = dir.join(file).is_file();
        if is_there {
            self.approximated(
                place,
                &format!("without {file} it does not start: keep it, or remove env_file"),
            );
        } else {
            let what = format!(
                "{file} may be missing there, and is: write env_file = {} once you have it",
                text(file)
            );
            self.dropped(place, &what);
        }
        is_there
    }

    /// A need whose outage is more than a reason to wait.
    pub(crate) fn tied(&mut self, realm: usize, on: &str, while_down: &'static str, place: &str) {
        self.need(realm, "needs", on, None, place);
        if let Some(need) = self.needs.last_mut() {
            need.while_down = Some(while_down);
        }
    }

    /// The realms that follow come from a tool that has these settings by itself.
    pub(crate) fn of_tool(&mut self, tool: &'static str, defaults: &'static [ToolDefault]) {
        self.defaults.push((self.realms.len(), tool, defaults));
    }

    /// Names the settings that a file leaves to its tool, and that are otherwise here.
    fn name_defaults(&mut self) {
        let of_files = std::mem::take(&mut self.defaults);
        for (nth, (_, tool, defaults)) in of_files.iter().enumerate() {
            if of_files[..nth].iter().any(|(_, before, _)| before == tool) {
                continue;
            }
            // The realms of each file of that tool.
            let realms = |at: &usize| {
                let of_file = of_files.iter().rev().find(|(first, ..)| first <= at);
                of_file.is_some_and(|(_, of_it, _)| of_it == tool)
            };
            for ToolDefault { key, theirs, ours } in *defaults {
                let left = |at: &usize| {
                    let is_said = self.has(*at, key) || self.said.contains(&(*at, *key));
                    self.has(*at, "run") && !self.has(*at, "oneshot") && !is_said
                };
                let of_tool = (0..self.realms.len()).filter(realms).filter(left);
                let mut names: Vec<&str> = of_tool.map(|at| self.realms[at].name.as_str()).collect();
                let more = names.len().saturating_sub(MAX_NAMED_REALMS);
                names.truncate(MAX_NAMED_REALMS);
                if !names.is_empty() {
                    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                    let place = names.join(", ") + &more;
                    self.approximated(
                        &place,
                        &format!("{key} is {ours}, since the file does not say it ({tool}: {theirs})"),
                    );
                }
            }
        }
    }

    pub(crate) fn approximated(&mut self, place: &str, text: &str) {
        self.notes.push(Note { fate: Fate::Approximated, place: place.to_owned(), text: text.to_owned() });
    }

    pub(crate) fn dropped(&mut self, place: &str, text: &str) {
        self.notes.push(Note { fate: Fate::Dropped, place: place.to_owned(), text: text.to_owned() });
    }

    /// Writes the dependencies on realms that are there, and names those that are not.
    pub(crate) fn resolve(&mut self) {
        self.without_program();
        self.wait_for_watched_until_up();
        let done: BTreeSet<String> =
            self.needs.iter().filter(|need| need.until == Some("done")).map(|need| need.on.clone()).collect();
        for at in 0..self.realms.len() {
            let name = self.realms[at].name.clone();
            if done.contains(&name) && !self.has(at, "oneshot") {
                self.add(at, "oneshot", "true");
                self.approximated(
                    &name,
                    "others wait until it is done, so it is a oneshot: it runs once per boot",
                );
            }
            if self.has(at, "oneshot") {
                self.without_probes(at, &name);
            }
        }
        self.name_unwatched();
        self.name_defaults();
        let names: BTreeSet<String> = self.realms.iter().map(|realm| realm.name.clone()).collect();
        for kind in ["needs", "wants", "after"] {
            for realm in 0..self.realms.len() {
                let mut items = Vec::new();
                let mut seen = BTreeSet::new();
                let of_it: Vec<usize> = (0..self.needs.len())
                    .filter(|at| self.needs[*at].realm == realm && self.needs[*at].kind == kind)
                    .collect();
                for at in of_it {
                    let Need { on, place, .. } = &self.needs[at];
                    let is_off = |target: &Realm| {
                        target.name == *on
                            && target.lines.contains(&("enabled".to_owned(), "false".to_owned()))
                    };
                    let why = if !names.contains(on) {
                        Some("is in none of these files")
                    } else if self.realms.iter().any(is_off) {
                        Some("is off here (enabled = false)")
                    } else {
                        None
                    };
                    if let Some(why) = why {
                        let (place, what) = (place.clone(), format!("{on} {why}"));
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
                    let Need { on, until, while_down, .. } = &self.needs[at];
                    let keys = [("until", until), ("while_down", while_down)];
                    let keys: Vec<String> = keys
                        .into_iter()
                        .filter_map(|(key, word)| Some(format!("{key} = {}", text((*word)?))))
                        .collect();
                    items.push(match keys.is_empty() {
                        true => text(on),
                        false => format!("{{ realm = {}, {} }}", text(on), keys.join(", ")),
                    });
                }
                if !items.is_empty() {
                    self.add(realm, kind, format!("[{}]", items.join(", ")));
                }
            }
        }
    }

    /// What is only watched is neither started nor done here: it is up, or not.
    fn wait_for_watched_until_up(&mut self) {
        for at in 0..self.needs.len() {
            let Need { on, until: Some(until), place, .. } = &self.needs[at] else { continue };
            let is_on = |realm: &Realm| realm.name == *on;
            if self.realms.iter().position(is_on).is_some_and(|target| !self.has(target, "run")) {
                let (place, what) = (
                    place.clone(),
                    format!("{on} is only watched: the gate is that it is up, instead of {until}"),
                );
                self.approximated(&place, &what);
                self.needs[at].until = None;
            }
        }
    }

    /// A oneshot is not probed, and is not started again once it is done.
    fn without_probes(&mut self, at: usize, name: &str) {
        for key in ["port", "health"] {
            if self.has(at, key) {
                let of_key = |known: &str| known == key || known.starts_with(&format!("{key}."));
                self.realms[at].lines.retain(|(known, _)| !of_key(known));
                let what = format!("`{key}` is left out: the exit code of a oneshot is its verdict");
                self.approximated(name, &what);
            }
        }
        let always = |(key, value): &(String, String)| key == "restart.policy" && *value == text("always");
        self.realms[at].lines.retain(|line| !always(line));
    }

    /// Names the realms that are watched by their process alone.
    fn name_unwatched(&mut self) {
        for at in 0..self.realms.len() {
            let is_watched = ["health", "port", "oneshot"].iter().any(|key| self.has(at, key));
            if self.has(at, "run") && !is_watched {
                let name = self.realms[at].name.clone();
                self.approximated(
                    &name,
                    "no health check: heartbeatd watches its process alone; add `port` or `health`",
                );
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
        let plural = |count| if count == 1 { "" } else { "s" };
        let mut lines = vec![format!(
            "{} realm{}: {} setting{} mapped, {approximated} approximated, {dropped} dropped",
            self.realms.len(),
            plural(self.realms.len()),
            self.mapped,
            plural(self.mapped)
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
