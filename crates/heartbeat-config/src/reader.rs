//! Reads typed values out of the layered tree, and collects what is wrong with them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use figment::value::{Dict, Num, Value};
use heartbeat_status::{RealmName, nearest, parse_duration};

use crate::advice::{self, Context};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, Place};
use crate::document::{Document, Path};
use crate::files::Files;
use crate::interpolate::{Variables, interpolate};
use crate::keys::{self, Table, reserved};
use crate::others;
use crate::translated::MAX_SHOWN_BYTES;
use crate::units::{self, Refusal};
use crate::words;

/// What every part of the configuration is read with.
pub(crate) struct Reader<'a> {
    pub(crate) document: &'a Document<'a>,
    pub(crate) variables: Variables<'a>,
    pub(crate) problems: &'a RefCell<Vec<Diagnostic>>,
    pub(crate) files: &'a Files<'a>,
    /// Names that were compared so far.
    compared: Cell<usize>,
    /// A file could not be read whole, so what it declares is not known.
    pub(crate) is_in_part: bool,
    /// Variables of the `env` of the realm that is being read: its program is given them, and no string is filled in
    /// with them.
    own_env: Vec<String>,
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

    /// The keys of its own.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.layers[0].1.keys().map(String::as_str)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.layers[0].0
    }

    /// Everything in it, each key from the layer that says it first.
    pub(crate) fn entries(&self) -> Vec<Entry<'a>> {
        let mut found: BTreeMap<&str, Entry<'a>> = BTreeMap::new();
        for (path, values) in &self.layers {
            for (name, value) in *values {
                let path = path.iter().cloned().chain([name.clone()]).collect();
                found.entry(name).or_insert(Entry { path, value });
            }
        }
        found.into_values().collect()
    }

    /// The names in a table within, of all layers.
    pub(crate) fn names_in(&self, key: &str) -> Vec<String> {
        let tables = self.layers.iter().filter_map(|(_, values)| match values.get(key) {
            Some(Value::Dict(_, table)) => Some(table),
            _ => None,
        });
        tables.flat_map(|table| table.keys().cloned()).collect()
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

/// A bare number from here on may be one of milliseconds.
const MANY_SECONDS: u64 = 1_000;

/// Most names that are compared for "did you mean" in one run: a comparison a realm is enough where thousands are
/// wrong.
const MAX_COMPARED_NAMES: usize = 200_000;

impl<'a> Reader<'a> {
    pub(crate) fn new(
        document: &'a Document<'a>,
        variables: Variables<'a>,
        problems: &'a RefCell<Vec<Diagnostic>>,
        files: &'a Files<'a>,
        registered: &'a [String],
    ) -> Self {
        let of_a_file =
            |problem: &Diagnostic| [Code::Syntax, Code::UnreadableFile, Code::Unfit].contains(&problem.code);
        let is_in_part = problems.borrow().iter().any(of_a_file);
        let (own_env, compared) = (Vec::new(), Cell::default());
        Self { document, variables, problems, files, registered, own_env, compared, is_in_part }
    }

    /// The same for one realm: with its port as a variable, and the names of the variables that its own `env` sets.
    pub(crate) fn of_realm<'b>(&'b self, port: Option<&'b str>, own_env: Vec<String>) -> Reader<'b> {
        Reader {
            document: self.document,
            variables: port.map_or(self.variables, |port| self.variables.with_port(port)),
            own_env,
            problems: self.problems,
            files: self.files,
            registered: self.registered,
            compared: Cell::new(self.compared.get()),
            is_in_part: self.is_in_part,
        }
    }
}

impl Reader<'_> {
    /// The nearest of the realms, while the run has not compared too many.
    pub(crate) fn nearest<'n>(&self, name: &str, names: &'n [RealmName]) -> Option<&'n str> {
        let compared = self.compared.get();
        if compared + names.len() > MAX_COMPARED_NAMES {
            return None;
        }
        self.compared.set(compared + names.len());
        nearest(name, names.iter().map(RealmName::as_str))
    }

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
        code: Code,
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
        let advised = || {
            let (table, path) = Table::of(&entry.path)?;
            // What a person names stands in a table of names, such as `env`.
            if entry.path.get(path.len()) != Some(&name) {
                return None;
            }
            let realm = self.context(table, path, &Dict::new()).realm().map(|(_, realm)| realm.clone());
            let advised = advice::of_another_type(table, &name, entry.value, &realm.unwrap_or_default());
            advised.or_else(|| {
                let takes = keys::find(table, &name)?.takes;
                (wanted == "a string").then(|| format!("what it takes is a {}", takes.words()))
            })
        };
        let help = if in_a_list { None } else { advised() };
        let help = help.unwrap_or_else(|| {
            rewritten(&if in_a_list { String::new() } else { format!("{name} = ") }, entry.value, wanted)
        });
        let of = if in_a_list { "each item of " } else { "" };
        let message = format!("{of}`{name}` takes {wanted}, not {found}");
        self.value_problem(entry, Code::WrongType, message, &format!("expected {wanted}"), &help);
    }

    fn context<'b>(&'b self, table: Table, path: &'b [String], values: &'b Dict) -> Context<'b> {
        Context { table, path, values, root: &self.document.root }
    }

    /// What to write for a `health` that is no probe.
    pub(crate) fn advised_health(&self, entry: &Entry<'_>) -> String {
        let nothing = Dict::new();
        let realm =
            self.context(Table::Realm, &entry.path, &nothing).realm().map_or(&nothing, |(_, realm)| realm);
        let advised = advice::of_another_type(Table::Realm, "health", entry.value, realm);
        let advised = advised.unwrap_or_else(|| advice::example(realm));
        let is_item = entry.path.last().is_some_and(|last| last != "health");
        if is_item { advised.replace("health = ", "") } else { advised }
    }

    /// The URL that a `path` without a kind means, where the realm has a port.
    pub(crate) fn advised_path(&self, entry: &Entry<'_>, table: &Dict) -> Option<String> {
        let path = table.get("path").and_then(Value::as_str).filter(|path| path.starts_with('/'))?;
        let nothing = Dict::new();
        let realm =
            self.context(Table::Realm, &entry.path, &nothing).realm().map_or(&nothing, |(_, realm)| realm);
        Some(match advice::get(table, realm) {
            Some(url) => format!("write http = {url:?} in place of `path`"),
            None => format!("write http = \"http://127.0.0.1:PORT{path}\" in place of `path`"),
        })
    }

    /// Refuses every key that is not in the table of keys, and every one that is not built.
    pub(crate) fn check_keys(&self, table: Table, path: &Path, values: &Dict) {
        for (name, value) in values {
            let at = || -> Path { path.iter().cloned().chain([name.clone()]).collect() };
            let here =
                |diagnostic: Diagnostic, label: &str| match self.document.locate(&at(), Some(value), true) {
                    (Some(place), _) => diagnostic.at(Some(place), label),
                    (None, origin) => diagnostic.said_by(&origin),
                };
            if let Some(own) = name.strip_prefix("x-") {
                if let Some(ours) = others::meant(table, own) {
                    let message = format!("`{name}` is ignored, as every key that begins with `x-`");
                    let help = format!("did you mean `{ours}`?");
                    self.push(here(Diagnostic::new(Code::Ignored, message), "ignored").help(help));
                }
                continue;
            }
            match keys::find(table, name) {
                Some(_) => {}
                None if reserved::is_reserved(table, name) => {
                    let message = format!("`{name}` is not supported by this version of heartbeat");
                    let help = "remove it; it is refused rather than ignored";
                    self.push(here(Diagnostic::new(Code::NotBuilt, message), "not built yet").help(help));
                }
                None if table == Table::Root && self.refuse_realms_elsewhere(name, value) => {}
                None => {
                    let message = format!("unknown key `{name}` in {}", table.as_str());
                    let suggestion = || {
                        keys::suggestion(table, name)
                            .map(|suggestion| format!("did you mean `{suggestion}`?"))
                    };
                    let context = self.context(table, path, values);
                    let elsewhere = || context.elsewhere(name, value);
                    let help = others::instead(&context, name, value).or_else(elsewhere).or_else(suggestion);
                    let help = help.unwrap_or_else(|| {
                        let there = keys::names(table).collect::<Vec<_>>().join(", ");
                        format!("there are {there}; a key of your own begins with `x-`")
                    });
                    self.push(here(Diagnostic::new(Code::UnknownKey, message), "unknown key").help(help));
                    // What else is wrong with a health check under another name is said in the same run.
                    if let (Table::Realm, Value::Dict(_, inner), true) = (
                        table,
                        value,
                        words::means_health(name) && !context.health(value).starts_with("write"),
                    ) {
                        self.check_keys(Table::Health, &at(), inner);
                    }
                }
            }
        }
    }

    /// Refuses realms below a heading of another tool, each where it stands, and looks at what is in them.
    fn refuse_realms_elsewhere(&self, name: &str, value: &Value) -> bool {
        let below = others::realms_below(name, value);
        for (realm, keys) in &below {
            let path: Path = vec![name.to_owned(), (*realm).clone()];
            let message = format!("unknown key `{name}` in the file");
            let own = others::possible(realm).unwrap_or_else(|| (*realm).clone());
            let is_there = self.context(Table::Root, &[], keys).has(&["realm", &own]);
            let help = match is_there {
                true => format!("write its keys into [realm.{own}], which is there already"),
                false => format!("write [realm.{own}]"),
            };
            let diagnostic = Diagnostic::new(Code::UnknownKey, message).help(help);
            self.push(diagnostic.at(self.key_place(&path), "unknown key"));
            self.check_keys(Table::Realm, &path, keys);
        }
        !below.is_empty() || self.refuse_a_list(name, value)
    }

    /// Refuses a list of tables such as `[[realm]]`, each where it stands.
    pub(crate) fn refuse_a_list(&self, name: &str, value: &Value) -> bool {
        let Value::Array(_, items) = value else { return false };
        let mut is_refused = false;
        for (at, item) in items.iter().enumerate() {
            let Value::Dict(_, table) = item else { continue };
            let Some(help) = others::of_a_list(name, table) else { continue };
            let entry = Entry { path: vec![name.to_owned(), at.to_string()], value: item };
            let message = format!("[[{name}]] is a list, and here each has a heading with its name");
            self.value_problem(&entry, Code::WrongType, message, "a list", &help);
            is_refused = true;
        }
        is_refused
    }

    pub(crate) fn text(&self, entry: &Entry<'_>) -> Option<String> {
        let Value::String(_, text) = entry.value else {
            self.wrong(entry, "a string");
            return None;
        };
        match interpolate(text, self.variables) {
            Ok(text) => Some(text),
            Err(refusal) => {
                // A variable of `env` may well take its value from one of the same name.
                let of_itself = |name: &String| entry.path.last() == Some(name);
                let own =
                    refusal.unset.as_ref().filter(|name| self.own_env.contains(name) && !of_itself(name));
                let help = own.map_or(refusal.help.clone(), |name| {
                    format!(
                        "`env` is for the program and fills in no string of this file: write the value itself, or, in `run`, \
                         shell = true and ${name} without braces"
                    )
                });
                self.value_problem(entry, Code::Variable, refusal.why, "in this string", &help);
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

    /// A number within its bounds; one outside is reported.
    pub(crate) fn ranged<T: TryFrom<i128>>(
        &self,
        entry: &Entry<'_>,
        wanted: &str,
        bounds: (i64, i64),
    ) -> Option<T> {
        self.within(entry, wanted, bounds, Code::OutOfRange)
    }

    /// The same, with the code for one outside.
    pub(crate) fn within<T: TryFrom<i128>>(
        &self,
        entry: &Entry<'_>,
        wanted: &str,
        (least, most): (i64, i64),
        code: Code,
    ) -> Option<T> {
        let number = self.number::<i128>(entry, wanted)?;
        if (i128::from(least)..=i128::from(most)).contains(&number) {
            return T::try_from(number).ok();
        }
        let key = entry.path.last().map_or("it", String::as_str);
        let message = format!("`{key}` is a number from {least} to {most}, not {number}");
        self.value_problem(
            entry,
            code,
            message,
            "here",
            "leave it out for its default, or stay within these bounds",
        );
        None
    }

    /// A line of the table is no TOML: what it would have said is missing for that.
    pub(crate) fn has_syntax_error_in(&self, path: &[String]) -> bool {
        let Some(heading) = self.key_place(path) else { return false };
        self.problems.borrow().iter().any(|problem| {
            problem.code == Code::Syntax
                && problem.place.as_ref().is_some_and(|place| {
                    let between = heading.source.text.get(heading.span.end..place.span.start);
                    Arc::ptr_eq(&place.source, &heading.source)
                        && between.is_some_and(|between| !between.contains("\n["))
                })
        })
    }

    /// A string that `parse` understands.
    pub(crate) fn parsed<T, E: fmt::Display>(
        &self,
        entry: &Entry<'_>,
        example: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        if let Value::Num(_, number) = entry.value {
            let key = entry.path.last().map_or("", String::as_str);
            let shown = match (number.to_i128(), number.to_f64()) {
                // A share of one, as a percentage.
                // What is a percentage as it stands: `99.9`.
                (None, Some(share)) if share > 1.0 && parse(&format!("{share}%")).is_ok() => {
                    share.to_string()
                }
                (None, Some(share)) if example.ends_with('%') => percent(share),
                (Some(number), _) => number.to_string(),
                (None, other) => other.map_or_else(String::new, |number| format!("{number:.0}")),
            };
            let instead = |how: &str, text: String| match parse(&text) {
                Ok(_) => format!("{how}: {key} = \"{text}\""),
                Err(_) => format!("for example {key} = \"{example}\""),
            };
            let (message, help) = if example.starts_with(|c: char| c.is_ascii_digit()) {
                let help = instead("write a string with a unit", with_number(example, &shown));
                // A thousand and more is often meant as milliseconds.
                let in_ms = shown.parse::<u64>().is_ok_and(|number| number >= MANY_SECONDS);
                let in_ms = Some(format!("{shown}ms"))
                    .filter(|text| in_ms && example.ends_with('s') && parse(text).is_ok());
                let help = in_ms.map_or(help.clone(), |text| {
                    help.replacen(&format!("{key} = "), &format!("{key} = \"{text}\" or "), 1)
                });
                (format!("`{key}` has no unit"), help)
            } else {
                (format!("`{key}` takes a string, not {shown}"), instead("write it in quotes", shown))
            };
            self.value_problem(entry, Code::BadUnit, message, "a bare number", &help);
            return None;
        }
        let text = self.text(entry)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(why) => {
                let fits = |meant: &String| parse(meant).is_ok();
                let quoted = |text: String| format!("\"{text}\"");
                let help = match units::meant(&text)
                    .filter(fits)
                    .or_else(|| units::meant_size(&text).filter(fits))
                {
                    Some(meant) => format!("write {}", quoted(meant)),
                    // A number alone: each unit that it may have.
                    None => {
                        let number = text.trim();
                        let units = ["ms", "s", "MiB"].map(|unit| format!("{number}{unit}"));
                        let share = number.parse::<f64>().ok();
                        // `0.999` is a share; `2` may be 2 % or twice the whole.
                        let whole = share.filter(|share| *share > 1.0).map(|_| format!("{number}%"));
                        let part =
                            share.filter(|share| *share > 0.0).map(|share| format!("{}%", percent(share)));
                        let all = units.into_iter().chain(whole).chain(part);
                        let units: Vec<String> = all.filter(fits).map(quoted).collect();
                        match units.is_empty() {
                            true => format!("for example {}", quoted(example.to_owned())),
                            false => format!("write {}", units.join(" or ")),
                        }
                    }
                };
                self.value_problem(entry, Code::BadUnit, why.to_string(), "not understood", &help);
                None
            }
        }
    }

    /// Says that a path, or what is handed to a program, has what only a shell replaces.
    pub(crate) fn only_in_a_shell(&self, entry: &Entry<'_>, text: &str) {
        if let Some(variable) = variable_of_a_shell(text) {
            let message = format!("`{variable}` is not expanded: it stays as it is written");
            let help = format!("write ${{{}}} to have the variable of heartbeatd filled in", &variable[1..]);
            self.value_problem(entry, Code::Tilde, message, "no shell reads this", &help);
        }
        if is_tilde(text) {
            let message = "`~` is not expanded: this is a directory of that name";
            let help = match self.variables.get("HOME").map(|home| home.trim_end_matches('/')) {
                Some(home) => format!("write {:?} where your home is meant", text.replacen('~', home, 1)),
                None => "write the directory itself, for example \"/srv/app\"".to_owned(),
            };
            self.value_problem(entry, Code::Tilde, message, "no shell reads this", &help);
        }
    }

    /// A mode, as chmod(1) takes it: `"022"`, or TOML's own `0o022`. A plain `22` could be either.
    pub(crate) fn mode(&self, entry: &Entry<'_>, example: &str) -> Option<u32> {
        const MODES: std::ops::RangeInclusive<u32> = 0..=0o777;
        let key = name_of(&entry.path);
        let help = |digits: &str| format!("write {key} = \"{digits}\"");
        let an_example = || format!("for example {key} = \"{example}\"");
        let refuse = |what: &str, help: String| {
            self.value_problem(
                entry,
                Code::BadUnit,
                format!("{what} is not an octal mode"),
                "not a mode",
                &help,
            );
        };
        if let Value::Num(_, number) = entry.value {
            let place = self.place(&entry.path);
            let written = place.as_ref().and_then(|place| place.source.text.get(place.span.clone()));
            let written = written.unwrap_or_default();
            let mode = number.to_i128().and_then(|number| u32::try_from(number).ok());
            let mode = mode.filter(|mode| written.starts_with("0o") && MODES.contains(mode));
            if mode.is_none() {
                let digits = written.trim_start_matches('0');
                let fits = !digits.is_empty()
                    && digits.len() <= 3
                    && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
                let shown = if written.is_empty() { "this number" } else { written };
                refuse(
                    shown,
                    if fits {
                        help(&format!("{digits:0>width$}", width = example.len()))
                    } else {
                        an_example()
                    },
                );
            }
            return mode;
        }
        let text = self.text(entry)?;
        let digits = text.strip_prefix("0o").unwrap_or(&text);
        let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| MODES.contains(mode));
        if mode.is_none() {
            refuse(&format!("`{text}`"), an_example());
        }
        mode
    }

    pub(crate) fn duration(&self, section: &Section<'_>, key: &str) -> Option<Duration> {
        section.get(key).and_then(|entry| self.parsed(&entry, "30s", parse_duration))
    }

    /// One word of a closed list.
    pub(crate) fn word<T: Copy>(&self, entry: &Entry<'_>, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(entry)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let list = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let meant = words::policy(&text).filter(|meant| words.iter().any(|(word, _)| word == meant));
        let meant = meant.or_else(|| nearest(&text, words.iter().map(|(word, _)| *word)));
        let help = meant.map_or_else(
            || format!("one of {list}"),
            |suggestion| format!("did you mean \"{suggestion}\"? There are {list}"),
        );
        self.value_problem(
            entry,
            Code::UnknownWord,
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

    /// The items of a list that says nothing without one: an empty one is a mistake, and `item` is what it takes.
    pub(crate) fn filled<'v>(&self, entry: &Entry<'v>, item: &str) -> Vec<Entry<'v>> {
        let items = self.items(entry);
        if items.is_empty() {
            let message = format!("`{}` is an empty list", name_of(&entry.path));
            let help = format!("write {item} into it, or remove the line");
            self.value_problem(entry, Code::WrongType, message, "nothing in it", &help);
        }
        items
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

    /// The words of a command; a message never shows what a variable was replaced by, which may be a secret.
    fn split(&self, entry: &Entry<'_>) -> Option<Result<Vec<String>, Vec<Refusal>>> {
        let text = self.text(entry)?;
        let words = units::words(&text, &only_in_a_shell(entry, &text)).map_err(|refusals| {
            let of_run = Some(&text).filter(|_| name_of(&entry.path) == "run");
            let Some((dir, command)) = of_run.and_then(|text| units::behind_cd(text)) else {
                return refusals;
            };
            vec![Refusal::new(
                "`cd` needs a shell, and a command here has none",
                format!("write dir = {dir:?}, and run = {command:?}"),
            )]
        });
        Some(if entry.value.as_str() == Some(&text) {
            words
        } else {
            words.map_err(|_| {
                vec![Refusal::new(
                    "with its variables filled in, the command has a quote that is never closed, or needs a shell",
                    "quote the variable, or write the command as a list: [\"program\", \"${NAME}\"]",
                )]
            })
        })
    }

    /// A command: a string that is split, or a list that is taken as it is.
    pub(crate) fn command(&self, entry: &Entry<'_>) -> Option<Vec<String>> {
        let words = match entry.value {
            Value::Array(..) => {
                let words = self.texts(entry);
                if words.is_empty() && matches!(entry.value, Value::Array(_, items) if items.is_empty()) {
                    let help = "name a program: [\"program\", \"argument\"]";
                    self.value_problem(entry, Code::BadCommand, "the command is empty", "no program", help);
                }
                if words.first().is_some_and(|program| !is_a_shell(program)) {
                    words.iter().for_each(|word| self.only_in_a_shell(entry, word));
                }
                words
            }
            _ => match self.split(entry)? {
                Ok(words) => words,
                Err(refusals) => {
                    for Refusal { why, help, .. } in refusals {
                        let help = of_the_realm(entry, help);
                        self.value_problem(entry, Code::BadCommand, why, "in this command", &help);
                    }
                    return None;
                }
            },
        };
        if words.first().is_some_and(|program| program.trim().is_empty()) {
            let help = "name a program first: [\"program\", \"argument\"]";
            self.value_problem(
                entry,
                Code::BadCommand,
                "the program of the command is empty",
                "no program",
                help,
            );
            return None;
        }
        if words.iter().any(|word| word.contains('\0')) {
            let why = "the command has a NUL byte, which no program can be given";
            self.value_problem(entry, Code::BadCommand, why, "in this command", "remove it");
        }
        Some(words).filter(|words| !words.is_empty())
    }
}

/// `$NAME` at the beginning of a text or behind a `/`: what is meant to be a variable.
fn variable_of_a_shell(text: &str) -> Option<&str> {
    let start = text
        .match_indices('$')
        .map(|(at, _)| at)
        .find(|at| *at == 0 || text[..*at].ends_with(['/', ':', '@', '=', ',']))?;
    let name = &text[start + 1..];
    let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(name.len());
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    is_name.then(|| &text[start..start + 1 + end])
}

/// Programs that expand for themselves what stands in their arguments.
fn is_a_shell(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    ["sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "busybox", "env", "ssh"].contains(&name)
}

/// How a command reaches a shell, by where it stands: as a line that can be pasted, where it is short enough.
fn only_in_a_shell(entry: &Entry<'_>, text: &str) -> String {
    let line = if text.len() <= MAX_SHOWN_BYTES { text } else { "..." };
    let key = name_of(&entry.path);
    let written = match key.as_str() {
        "run" => return "write shell = true beside it to have a shell read the line".to_owned(),
        // A list is several commands there.
        "before" | "after" => format!("{:?}", units::through_sh(line)),
        _ => format!("{:?}", ["sh", "-c", line]),
    };
    format!("write it as {written} to have a shell read the line")
}

/// The realm is where the variables of all of its commands stand.
fn of_the_realm(entry: &Entry<'_>, help: String) -> String {
    match entry.path.as_slice() {
        [first, name, inner, ..] if first == "realm" && inner != "run" => {
            help.replacen(", and the program alone", &format!(" in [realm.{name}], and the program alone"), 1)
        }
        _ => help,
    }
}

/// A share as a percentage, with as many digits as it has, and four behind the point at most.
fn percent(share: f64) -> String {
    ((share * 1e6).round() / 1e4).to_string()
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
            "a string" => "write one text in quotes".to_owned(),
            "true or false" => "write true or false, without quotes".to_owned(),
            "a table" => "a table has keys: { key = \"text\" }, or a heading of its own".to_owned(),
            _ => format!("it takes {wanted}, without quotes and without a fraction"),
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

/// A relative path starts at the file that says it.
pub(crate) fn beside(reader: &Reader<'_>, entry: &Entry<'_>, dir: &FsPath, path: &str) -> PathBuf {
    reader.only_in_a_shell(entry, path);
    let said_in = reader.document.file_of(&entry.path).map(FsPath::new).and_then(FsPath::parent);
    said_in.map_or_else(|| dir.join(path), |parent| dir.join(parent).join(path))
}

/// A leading `~` is the name of a directory; only a shell means the home by it.
pub(crate) fn is_tilde(path: &str) -> bool {
    path == "~" || FsPath::new(path).starts_with("~")
}
