//! From texts to one layered tree. The parsed files stay at hand, so that a place is looked up only when it is shown;
//! figment layers what overrides the files and remembers the source of each value.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use figment::value::{Dict, Map, Tag, Value};
use figment::{Error, Figment, Metadata, Profile, Provider};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::code::Code;
use crate::diagnostic::{Diagnostic, Place, Source};

/// The way to a value: names of tables, and positions in lists as numbers.
pub(crate) type Path = Vec<String>;

/// Where a key and its value stand in a file.
struct Spans {
    key: Range<usize>,
    value: Range<usize>,
}

/// Everything that was read, layered.
pub(crate) struct Document<'s> {
    /// Values of the environment and of flags.
    overrides: Figment,
    pub(crate) root: Dict,
    /// The files, the first first.
    files: Vec<Written<'s>>,
    /// The file that declares each realm.
    declared: BTreeMap<String, usize>,
}

/// One layer: values and their source.
struct Layer {
    name: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// A file as it is written.
struct Written<'s> {
    source: &'s Arc<Source>,
    table: DeTable<'s>,
}

impl Written<'_> {
    fn place(&self, path: &[impl AsRef<str>], on_key: bool) -> Option<Place> {
        let spans = spans_in(&self.table, path)?;
        Some(place(self.source, if on_key { spans.key } else { spans.value }))
    }
}

fn spans_in(table: &DeTable<'_>, path: &[impl AsRef<str>]) -> Option<Spans> {
    let (first, rest) = path.split_first()?;
    let (key, value) = table.get_key_value(first.as_ref())?;
    if rest.is_empty() {
        Some(Spans { key: key.span(), value: value.span() })
    } else {
        spans_below(value, rest)
    }
}

fn spans_below(value: &Spanned<DeValue<'_>>, path: &[impl AsRef<str>]) -> Option<Spans> {
    match value.get_ref() {
        DeValue::Table(table) => spans_in(table, path),
        DeValue::Array(items) => {
            let (first, rest) = path.split_first()?;
            let item = items.get(first.as_ref().parse::<usize>().ok()?)?;
            if rest.is_empty() {
                Some(Spans { key: item.span(), value: item.span() })
            } else {
                spans_below(item, rest)
            }
        }
        _ => None,
    }
}

/// A file that has been parsed.
pub(crate) struct Parsed<'s> {
    values: Dict,
    written: Written<'s>,
}

impl<'s> Parsed<'s> {
    /// Parses TOML and collects every syntax error.
    pub(crate) fn parse(source: &'s Arc<Source>, problems: &mut Vec<Diagnostic>) -> Self {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        let written = Written { source, table: table.into_inner() };
        let mut values = dict(&written.table);
        let (mut second_table, mut is_yaml) = (0..0, false);
        for error in errors {
            let message = error.message();
            if let Some(span) = error.span().filter(|_| message.contains("duplicate")) {
                // A mistake in a table that itself stands twice is part of the same mistake.
                if !second_table.contains(&span.start) {
                    problems.push(twice(&written, &span));
                    second_table = table_of(&source.text, span.start);
                }
                continue;
            }
            let place = error.span().map(|span| Place { source: Arc::clone(source), span });
            let line = error.span().map_or("", |span| line_of(&source.text, span.start));
            if yaml(line).is_some() {
                // One sentence is enough for a whole file of the other language.
                if !std::mem::replace(&mut is_yaml, true) {
                    problems.push(of_yaml(line).at(place, "`:` in the place of `=`"));
                }
                continue;
            }
            if message.contains("unclosed table")
                && let Some(span) = error.span()
            {
                // The keys of the second table belong to no other table.
                let table = rest_of_table(&source.text, span.start);
                values.retain(|key, _| {
                    let place = written.place(&[key], true);
                    place.is_none_or(|place| !table.contains(&place.span.start))
                });
            }
            let (message, help) = translated(message, line);
            problems.push(
                Diagnostic::new(Code::Syntax, format!("not TOML: {message}")).at(place, "here").help(help),
            );
        }
        Self { values, written }
    }

    /// The value of a top-level table's key that has to be known before everything is layered.
    pub(crate) fn peek(&self, table: &str, key: &str) -> Option<&Value> {
        match self.values.get(table)? {
            Value::Dict(_, table) => table.get(key),
            _ => None,
        }
    }

    pub(crate) fn place(&self, path: &[&str]) -> Option<Place> {
        self.written.place(path, true)
    }

    /// Names of the realms it declares.
    pub(crate) fn realms(&self) -> impl Iterator<Item = &String> {
        let realms = match self.values.get("realm") {
            Some(Value::Dict(_, realms)) => Some(realms),
            _ => None,
        };
        realms.into_iter().flat_map(Dict::keys)
    }
}

/// A file without its realms, for those who ask only what heartbeatd itself is: a file of thousands is read at once. A
/// text over several lines may hold what looks like a heading, so a file with one stays whole.
pub(crate) fn without_realms(text: &str) -> Cow<'_, str> {
    if ["\"\"\"", "'''"].iter().any(|quotes| text.contains(quotes)) {
        return text.into();
    }
    let mut is_kept = true;
    let kept = text.split_inclusive('\n').filter(|line| {
        if let Some(heading) = line.trim_start().strip_prefix('[') {
            is_kept = !heading.trim_start_matches('[').trim_start().starts_with("realm");
        }
        is_kept
    });
    kept.collect::<String>().into()
}

/// The line around a place.
fn line_of(text: &str, at: usize) -> &str {
    let begin = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
    text.get(begin..).and_then(|rest| rest.lines().next()).unwrap_or_default()
}

/// From a place to the next heading.
fn rest_of_table(text: &str, at: usize) -> Range<usize> {
    at..text.get(at..).and_then(|rest| rest.find("\n[")).map_or(text.len(), |end| at + end)
}

/// Key and value of a line of YAML.
fn yaml(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.trim_start_matches([' ', '-']).split_once(':')?;
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    (is_key && (value.is_empty() || value.starts_with(' '))).then_some((key, value.trim()))
}

fn of_yaml(line: &str) -> Diagnostic {
    let (key, value) = yaml(line).unwrap_or_default();
    let value = value.trim_matches(['"', '\'']);
    let help = if value.is_empty() {
        "a table begins with [realm.NAME], and a line in it is key = \"text\"; `heartbeat-cli import` translates a compose file"
            .to_owned()
    } else {
        format!("write {key} = \"{value}\"")
    };
    Diagnostic::new(Code::Syntax, "not TOML: this line is YAML").help(help)
}

/// Quotes of texts for people, which TOML does not have.
const TYPOGRAPHIC: [char; 8] =
    ['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{201a}', '\u{ab}', '\u{bb}'];

/// A syntax error in words that a person can act on.
fn translated(message: &str, line: &str) -> (String, String) {
    if message.contains("unclosed table") {
        let name = line.trim().trim_matches(['[', ']']).split_whitespace().collect::<Vec<_>>().join("-");
        return ("a heading is one word in brackets".to_owned(), format!("write [{name}]"));
    }
    if let Some((key, value)) = line.split_once('=').filter(|_| line.contains(TYPOGRAPHIC)) {
        let straight = value.trim().replace(TYPOGRAPHIC, "\"");
        return (
            "typographic quotes are letters here, as an editor or a web page makes them".to_owned(),
            format!("write {} = {straight}", key.trim()),
        );
    }
    if message.contains("must be quoted")
        && let Some((key, value)) = line.split_once('=')
    {
        let (key, value) = (key.trim(), value.trim().trim_matches(['"', '\'']));
        return ("a text stands in quotes".to_owned(), format!("write {key} = \"{value}\""));
    }
    if let Some(help) = quotes_within(line) {
        return ("the text ends at the second of its quotes".to_owned(), help);
    }
    let help = if message.contains("string") {
        "a string begins and ends with a quote on the same line: key = \"text\""
    } else {
        "a line is [table], or key = value with \"text\", 5, true, [\"list\"] or { key = \"table\" }"
    };
    (message.to_owned(), help.to_owned())
}

/// `key = "a "b" c"`: a text in single quotes may have the others within.
fn quotes_within(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let value = value.trim();
    let text = value.strip_prefix('"')?.strip_suffix('"')?;
    let is_it = text.contains('"') && !text.contains(['\'', '\\', '#']);
    is_it.then(|| format!("quotes within a text: write {} = '{text}'", key.trim()))
}

/// A key or a table that stands twice, with both places.
fn twice(written: &Written<'_>, span: &Range<usize>) -> Diagnostic {
    let source = written.source;
    let name = source.text.get(span.clone()).unwrap_or_default().trim_matches(['"', '\'']);
    let heading = headings(&source.text).take_while(|heading| heading.line.start <= span.start).last();
    let (what, first, help) = match heading {
        Some(heading) if heading.line.contains(&span.start) => {
            // Of `[realm.api.start]` perhaps only `realm.api` is there twice.
            let upto =
                heading.words.iter().position(|word| word == name).map_or(heading.words.len(), |at| at + 1);
            let path = &heading.words[..upto];
            let same =
                |other: &Heading| other.words.starts_with(path) && other.line.start < heading.line.start;
            let first = headings(&source.text).find(same).map(|first| place(source, first.name));
            let what = format!("[{}] stands twice", path.join("."));
            (what, first, "write all of its keys under one heading")
        }
        other => {
            let table = other.map(|heading| heading.words).unwrap_or_default();
            let path: Path = table.into_iter().chain([name.to_owned()]).collect();
            let first = written.place(&path, true);
            (format!("`{name}` stands twice in its table"), first, "keep one of them")
        }
    };
    Diagnostic::new(Code::Syntax, format!("not TOML: {what}"))
        .at(Some(place(source, span.clone())), "again here")
        .related(first.filter(|first| first.span != *span), "first here")
        .help(help)
}

/// A line that begins a table.
struct Heading {
    line: Range<usize>,
    /// What stands between the brackets.
    name: Range<usize>,
    words: Path,
}

fn headings(text: &str) -> impl Iterator<Item = Heading> {
    let mut next = 0;
    text.split_inclusive('\n').filter_map(move |line| {
        let start = next;
        next += line.len();
        let inner = line.trim_start().strip_prefix('[')?.split(']').next()?.trim_start_matches('[');
        let begin = start + line.find(inner)?;
        let words = inner.split('.').map(|word| word.trim().trim_matches(['"', '\'']).to_owned()).collect();
        Some(Heading { line: start..next, name: begin..begin + inner.len(), words })
    })
}

/// From a heading at `offset` to the next one; nothing where there is no heading.
fn table_of(text: &str, offset: usize) -> Range<usize> {
    let mut following = headings(text).skip_while(|heading| !heading.line.contains(&offset));
    match following.next() {
        Some(heading) => heading.line.start..following.next().map_or(text.len(), |next| next.line.start),
        None => 0..0,
    }
}

fn place(source: &Arc<Source>, span: Range<usize>) -> Place {
    Place { source: Arc::clone(source), span }
}

fn dict(table: &DeTable<'_>) -> Dict {
    table.iter().map(|(key, value)| (key.get_ref().to_string(), convert(value))).collect()
}

fn convert(value: &Spanned<DeValue<'_>>) -> Value {
    match value.get_ref() {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| number.as_str().to_owned().into(), Into::into),
        DeValue::Float(number) => {
            number.as_str().parse::<f64>().map_or_else(|_| number.as_str().to_owned().into(), Into::into)
        }
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(items) => Value::Array(Tag::Default, items.iter().map(convert).collect()),
        DeValue::Table(table) => Value::Dict(Tag::Default, dict(table)),
    }
}

impl<'s> Document<'s> {
    /// Layers files (the first says most), then the environment, then flags.
    pub(crate) fn layer(
        files: Vec<Parsed<'s>>,
        declared: BTreeMap<String, usize>,
        overrides: impl Iterator<Item = (Path, String, Value)>,
        problems: &mut Vec<Diagnostic>,
    ) -> Self {
        let (values, files): (Vec<Dict>, Vec<_>) =
            files.into_iter().map(|file| (file.values, file.written)).unzip();
        let root = values.into_iter().rev().fold(Dict::new(), |below, file| over(file, below));
        let layers = overrides.map(|(path, name, value)| Layer { name, values: nested(&path, value) });
        let overrides = layers.fold(Figment::new(), Figment::merge);
        // Found rather than extracted: extraction would forget the source.
        let root = match overrides.find_value("") {
            Ok(Value::Dict(_, overrides)) => over(overrides, root),
            Ok(_) => root,
            Err(error) => {
                problems
                    .push(Diagnostic::new(Code::Layers, format!("the layers do not fit together: {error}")));
                Dict::new()
            }
        };
        Self { overrides, root, files, declared }
    }

    /// Values that a program made: they have no place in a file.
    pub(crate) fn made(root: Dict) -> Self {
        Self { overrides: Figment::new(), root, files: Vec::new(), declared: BTreeMap::new() }
    }

    /// The place of the value at `path`, or its other source.
    pub(crate) fn locate(
        &self,
        path: &[String],
        value: Option<&Value>,
        on_key: bool,
    ) -> (Option<Place>, String) {
        match value.and_then(|value| self.overrides.get_metadata(value.tag())) {
            Some(metadata) => (None, metadata.name.to_string()),
            None => {
                let place = self.files_of(path).find_map(|file| file.place(path, on_key));
                let enclosing = || (1..path.len()).rev().find_map(|upto| self.file_of(&path[..upto]));
                let origin = place.as_ref().map(|place| place.source.name.as_str()).or_else(enclosing);
                let origin = origin.unwrap_or_default().to_owned();
                (place, origin)
            }
        }
    }

    /// The file that declares what stands at `path`.
    pub(crate) fn file_of(&self, path: &[String]) -> Option<&str> {
        let file = self.files_of(path).find(|file| spans_in(&file.table, path).is_some())?;
        Some(file.source.name.as_str())
    }

    /// The files that may have `path`: a realm is looked for from the one that declares it.
    fn files_of(&self, path: &[String]) -> impl Iterator<Item = &Written<'s>> {
        let declared = match path {
            [first, name, ..] if first == "realm" => self.declared.get(name),
            _ => None,
        };
        self.files[declared.copied().unwrap_or(0)..].iter()
    }
}

/// The values of two layers: those of the upper one, and below them those of the lower one.
fn over(upper: Dict, mut lower: Dict) -> Dict {
    if lower.is_empty() {
        return upper;
    }
    for (key, value) in upper {
        let value = match (value, lower.remove(&key)) {
            (Value::Dict(tag, upper), Some(Value::Dict(_, lower))) => Value::Dict(tag, over(upper, lower)),
            (value, _) => value,
        };
        lower.insert(key, value);
    }
    lower
}

fn nested(path: &[String], value: Value) -> Dict {
    match path {
        [] => Dict::new(),
        [last] => Dict::from([(last.clone(), value)]),
        [first, rest @ ..] => Dict::from([(first.clone(), Value::Dict(Tag::Default, nested(rest, value)))]),
    }
}

/// A value as an environment variable or a flag writes it: TOML where it is TOML, else a string.
pub(crate) fn scalar(text: &str) -> Value {
    match DeValue::parse(text).map(Spanned::into_inner) {
        Ok(DeValue::Boolean(value)) => value.into(),
        Ok(DeValue::Integer(number)) => {
            number.as_str().parse::<i64>().map_or_else(|_| text.to_owned().into(), Into::into)
        }
        Ok(DeValue::String(text)) => text.to_string().into(),
        Ok(DeValue::Array(items)) => {
            let words = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => text.to_string().into(),
                DeValue::Integer(number) => number
                    .as_str()
                    .parse::<i64>()
                    .map_or_else(|_| Value::from(number.as_str().to_owned()), Into::into),
                other => Value::from(other.type_str().to_owned()),
            });
            Value::Array(Tag::Default, words.collect())
        }
        Ok(_) | Err(_) => text.to_owned().into(),
    }
}
