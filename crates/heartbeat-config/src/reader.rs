//! Reads typed values out of the layered tree, and collects what is wrong with them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use figment::value::{Dict, Num, Value};

use crate::diagnostic::{Diagnostic, Place};
use crate::document::{Document, Path};
use crate::files::Files;
use crate::interpolate::interpolate;
use crate::keys::{self, Table};
use crate::units;

/// What every part of the configuration is read with.
pub(crate) struct Reader<'a> {
    pub(crate) document: &'a Document,
    pub(crate) variables: &'a BTreeMap<String, String>,
    pub(crate) problems: &'a RefCell<Vec<Diagnostic>>,
    pub(crate) files: &'a Files<'a>,
    /// Names that are registered at run time, which the files cannot need: they have to load without.
    pub(crate) registered: &'a [String],
}

/// A value and the way to it.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) path: Path,
    pub(crate) value: &'a Value,
}

/// A table being read: its own values, and below them those of `[defaults]`.
#[derive(Clone, Debug)]
pub(crate) struct Section<'a> {
    layers: Vec<(Path, &'a Dict)>,
}

impl<'a> Section<'a> {
    pub(crate) fn new(path: Path, values: &'a Dict) -> Self {
        Self { layers: vec![(path, values)] }
    }

    pub(crate) fn over(mut self, below: &Section<'a>) -> Self {
        self.layers.extend(below.layers.iter().cloned());
        self
    }

    pub(crate) fn get(&self, key: &str) -> Option<Entry<'a>> {
        self.layers.iter().find_map(|(path, values)| {
            let value = values.get(key)?;
            Some(Entry { path: path.iter().cloned().chain([key.to_owned()]).collect(), value })
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.layers[0].0
    }

    /// A table within, with the same layers.
    pub(crate) fn table(&self, reader: &Reader<'_>, key: &str) -> Self {
        let mut layers = Vec::new();
        for (path, values) in &self.layers {
            let Some(value) = values.get(key) else { continue };
            let path: Path = path.iter().cloned().chain([key.to_owned()]).collect();
            match value {
                Value::Dict(_, values) => layers.push((path, values)),
                other => reader.wrong(&Entry { path, value: other }, "a table"),
            }
        }
        if layers.is_empty() {
            static NOTHING: Dict = Dict::new();
            let path = self.path().iter().cloned().chain([key.to_owned()]).collect();
            layers.push((path, &NOTHING));
        }
        Self { layers }
    }
}

impl Reader<'_> {
    pub(crate) fn push(&self, diagnostic: Diagnostic) {
        self.problems.borrow_mut().push(diagnostic);
    }

    pub(crate) fn place(&self, path: &[String]) -> Option<Place> {
        self.document.locate(path, None, false).0
    }

    pub(crate) fn key_place(&self, path: &[String]) -> Option<Place> {
        self.document.locate(path, None, true).0
    }

    /// A problem with a value.
    pub(crate) fn value_problem(
        &self,
        entry: &Entry<'_>,
        code: &'static str,
        message: impl Into<String>,
        label: &str,
        help: &str,
    ) {
        let (place, origin) = self.document.locate(&entry.path, Some(entry.value), false);
        let mut diagnostic = Diagnostic::new(code, message);
        diagnostic = if place.is_some() { diagnostic.at(place, label) } else { diagnostic.said_by(&origin) };
        self.push(if help.is_empty() { diagnostic } else { diagnostic.help(help) });
    }

    fn wrong(&self, entry: &Entry<'_>, wanted: &str) {
        let name = name_of(&entry.path);
        let found = describe(entry.value);
        // What stands in a list is written without the key.
        let in_a_list = entry.path.last().is_some_and(|last| *last != name);
        let help =
            rewritten(&if in_a_list { String::new() } else { format!("{name} = ") }, entry.value, wanted);
        let of = if in_a_list { "each item of " } else { "" };
        let message = format!("{of}`{name}` takes {wanted}, not {found}");
        self.value_problem(entry, "HB102", message, &format!("expected {wanted}"), &help);
    }

    /// Refuses every key that is not in the table of keys, and every one that is not built.
    pub(crate) fn check_keys(&self, table: Table, path: &Path, values: &Dict) {
        for (name, value) in values {
            if name.starts_with("x-") {
                continue;
            }
            let mut at = path.clone();
            at.push(name.clone());
            let (place, origin) = self.document.locate(&at, Some(value), true);
            let here = |diagnostic: Diagnostic, label: &str| match &place {
                Some(place) => diagnostic.at(Some(place.clone()), label),
                None => diagnostic.said_by(&origin),
            };
            match keys::find(table, name) {
                Some(key) if key.built => {}
                Some(_) => {
                    let message = format!("`{name}` is not supported by this version of heartbeat");
                    let setting =
                        ["redirects", "verify", "ca", "expires", "max_age"].contains(&name.as_str());
                    let help = if table == Table::Health && !setting {
                        "remove it; there are http, tcp, redis, postgres, exec and process"
                    } else {
                        "remove it; it is refused rather than ignored"
                    };
                    self.push(here(Diagnostic::new("HB103", message), "not built yet").help(help));
                }
                None => {
                    let message = format!("unknown key `{name}` in {}", table.as_str());
                    let help = match keys::near(table, name) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("a key of your own begins with `x-`: x-{name}"),
                    };
                    self.push(here(Diagnostic::new("HB101", message), "unknown key").help(help));
                }
            }
        }
    }

    pub(crate) fn text(&self, entry: &Entry<'_>) -> Option<String> {
        let Value::String(_, text) = entry.value else {
            self.wrong(entry, "a string");
            return None;
        };
        match interpolate(text, self.variables) {
            Ok(text) => Some(text),
            Err(refusal) => {
                self.value_problem(entry, "HB104", refusal.why, "in this string", &refusal.help);
                None
            }
        }
    }

    pub(crate) fn boolean(&self, entry: &Entry<'_>) -> Option<bool> {
        match entry.value {
            Value::Bool(_, value) => Some(*value),
            _ => {
                self.wrong(entry, "true or false");
                None
            }
        }
    }

    pub(crate) fn number<T: TryFrom<i128>>(&self, entry: &Entry<'_>, wanted: &str) -> Option<T> {
        let number = match entry.value {
            Value::Num(_, number) if !matches!(number, Num::F32(_) | Num::F64(_)) => {
                number.to_i128().or_else(|| number.to_u128().and_then(|number| i128::try_from(number).ok()))
            }
            _ => None,
        };
        let fits = number.and_then(|number| T::try_from(number).ok());
        if fits.is_none() {
            self.wrong(entry, wanted);
        }
        fits
    }

    /// A string that `parse` understands.
    pub(crate) fn parsed<T>(
        &self,
        entry: &Entry<'_>,
        example: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if let Value::Num(_, number) = entry.value {
            let key = entry.path.last().map_or("", String::as_str);
            let shown = number.to_i128().map_or_else(|| "a number".to_owned(), |number| number.to_string());
            let help = format!("write a string with a unit: {key} = \"{}\"", with_number(example, &shown));
            self.value_problem(entry, "HB105", format!("`{key}` has no unit"), "a bare number", &help);
            return None;
        }
        let text = self.text(entry)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(why) => {
                let help = units::meant(&text).filter(|meant| parse(meant).is_ok()).map_or_else(
                    || format!("for example \"{example}\""),
                    |meant| format!("write \"{meant}\""),
                );
                self.value_problem(entry, "HB105", why, "not understood", &help);
                None
            }
        }
    }

    pub(crate) fn duration(&self, section: &Section<'_>, key: &str) -> Option<Duration> {
        section.get(key).and_then(|entry| self.parsed(&entry, "30s", units::duration))
    }

    /// One word of a closed list.
    pub(crate) fn word<T: Copy>(&self, entry: &Entry<'_>, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(entry)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let list = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let help = keys::nearest(&text, words.iter().map(|(word, _)| *word)).map_or_else(
            || format!("one of {list}"),
            |near| format!("did you mean \"{near}\"? There are {list}"),
        );
        self.value_problem(
            entry,
            "HB106",
            format!("`{text}` is not one of {list}"),
            "not one of them",
            &help,
        );
        None
    }

    /// The elements of a list, or the one value that stands for a list of one.
    pub(crate) fn items<'v>(&self, entry: &Entry<'v>) -> Vec<Entry<'v>> {
        match entry.value {
            Value::Array(_, items) => items
                .iter()
                .enumerate()
                .map(|(at, value)| {
                    let path = entry.path.iter().cloned().chain([at.to_string()]).collect();
                    Entry { path, value }
                })
                .collect(),
            _ => vec![entry.clone()],
        }
    }

    pub(crate) fn texts(&self, entry: &Entry<'_>) -> Vec<String> {
        self.items(entry).iter().filter_map(|item| self.text(item)).collect()
    }

    /// A table of strings.
    pub(crate) fn pairs(&self, section: &Section<'_>, key: &str) -> BTreeMap<String, String> {
        let table = section.table(self, key);
        let mut pairs = BTreeMap::new();
        for (path, values) in table.layers.iter().rev() {
            for (name, value) in *values {
                let path = path.iter().cloned().chain([name.clone()]).collect();
                if let Some(text) = self.text(&Entry { path, value }) {
                    pairs.insert(name.clone(), text);
                }
            }
        }
        pairs
    }

    /// A command: a string that is split, or a list that is taken as it is.
    pub(crate) fn command(&self, entry: &Entry<'_>) -> Option<Vec<String>> {
        let words = match entry.value {
            Value::Array(..) => {
                let words = self.texts(entry);
                if words.is_empty() && matches!(entry.value, Value::Array(_, items) if items.is_empty()) {
                    let help = "name a program: [\"program\", \"argument\"]";
                    self.value_problem(entry, "HB107", "the command is empty", "no program", help);
                }
                words
            }
            _ => match units::words(&self.text(entry)?) {
                Ok(words) => words,
                Err(refusal) => {
                    self.value_problem(entry, "HB107", refusal.why, "in this command", &refusal.help);
                    return None;
                }
            },
        };
        if words.iter().any(|word| word.contains('\0')) {
            let why = "the command has a NUL byte, which no program can be given";
            self.value_problem(entry, "HB107", why, "in this command", "remove it");
        }
        Some(words).filter(|words| !words.is_empty())
    }
}

fn with_number(example: &str, number: &str) -> String {
    let unit = example.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{number}{unit}")
}

/// The key at the end of a path: what stands in a list is named after the list.
fn name_of(path: &[String]) -> String {
    let named = |word: &&String| word.parse::<usize>().is_err();
    path.iter().rev().find(named).cloned().unwrap_or_default()
}

/// What to type instead, as far as it can be guessed from what was written.
fn rewritten(key: &str, value: &Value, wanted: &str) -> String {
    match value {
        Value::String(_, text) if wanted == "a string" => format!("write {key}\"{text}\""),
        Value::String(_, text) if text.parse::<i64>().is_ok() || text == "true" || text == "false" => {
            format!("write it without quotes: {key}{text}")
        }
        Value::Bool(_, value) if wanted == "a string" => format!("write it in quotes: {key}\"{value}\""),
        Value::Num(_, number) if wanted == "a string" => {
            let shown = number
                .to_i128()
                .map_or_else(|| number.to_f64().unwrap_or(0.0).to_string(), |n| n.to_string());
            format!("write it in quotes: {key}\"{shown}\"")
        }
        _ => match wanted {
            "a string" => format!("write {key}\"...\""),
            "true or false" => format!("write {key}true or {key}false"),
            "a table" => format!("write {key}{{ ... }}"),
            _ => format!("write {wanted}, without quotes and without a fraction"),
        },
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("the string \"{text}\""),
        Value::Char(..) => "a string".to_owned(),
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, number) => match (number.to_i128(), number.to_f64()) {
            (Some(number), _) => number.to_string(),
            (None, Some(number)) => format!("{number:?}"),
            (None, None) => "this number".to_owned(),
        },
        Value::Empty(..) => "nothing".to_owned(),
        Value::Dict(..) => "a table".to_owned(),
        Value::Array(..) => "a list".to_owned(),
    }
}
