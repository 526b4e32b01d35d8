//! From texts to one layered tree: figment merges and remembers the source of each value, an index remembers its place.

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

/// Where a key and its value stand.
#[derive(Clone, Debug)]
pub(crate) struct Spans {
    pub(crate) key: Place,
    pub(crate) value: Place,
}

/// Everything that was read, layered.
#[derive(Debug)]
pub(crate) struct Document {
    figment: Figment,
    pub(crate) root: Dict,
    places: BTreeMap<Path, Spans>,
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

/// A file that has been parsed.
pub(crate) struct Parsed {
    values: Dict,
    places: BTreeMap<Path, Spans>,
    name: String,
}

impl Parsed {
    /// Parses TOML and collects every syntax error.
    pub(crate) fn parse(source: &Arc<Source>, problems: &mut Vec<Diagnostic>) -> Self {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        let mut places = BTreeMap::new();
        let mut values = dict(source, table.get_ref(), &mut Path::new(), &mut places);
        let (mut second_table, mut is_yaml) = (0..0, false);
        for error in errors {
            let message = error.message();
            if let Some(span) = error.span().filter(|_| message.contains("duplicate")) {
                // A mistake in a table that itself stands twice is part of the same mistake.
                if !second_table.contains(&span.start) {
                    problems.push(twice(source, &span, &places));
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
                    places
                        .get(std::slice::from_ref(key))
                        .is_none_or(|it: &Spans| !table.contains(&it.key.span.start))
                });
            }
            let (message, help) = translated(message, line);
            problems.push(
                Diagnostic::new(Code::Syntax, format!("not TOML: {message}")).at(place, "here").help(help),
            );
        }
        Self { values, places, name: source.name.clone() }
    }

    /// A configuration that a program made: its values have no place in a file.
    pub(crate) fn made(name: String, values: Dict) -> Self {
        Self { values, places: BTreeMap::new(), name }
    }

    /// The value of a top-level table's key that has to be known before everything is layered.
    pub(crate) fn peek(&self, table: &str, key: &str) -> Option<&Value> {
        match self.values.get(table)? {
            Value::Dict(_, table) => table.get(key),
            _ => None,
        }
    }

    pub(crate) fn place(&self, path: &[&str]) -> Option<Place> {
        let path: Path = path.iter().map(|word| (*word).to_owned()).collect();
        self.places.get(&path).map(|spans| spans.key.clone())
    }

    /// Names of the realms it declares.
    pub(crate) fn realms(&self) -> Vec<String> {
        match self.values.get("realm") {
            Some(Value::Dict(_, realms)) => realms.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }
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

/// A syntax error in words that a person can act on.
fn translated(message: &str, line: &str) -> (String, String) {
    if message.contains("unclosed table") {
        let name = line.trim().trim_matches(['[', ']']).split_whitespace().collect::<Vec<_>>().join("-");
        return ("a heading is one word in brackets".to_owned(), format!("write [{name}]"));
    }
    if message.contains("must be quoted")
        && let Some((key, value)) = line.split_once('=')
    {
        let (key, value) = (key.trim(), value.trim().trim_matches(['"', '\'']));
        return ("a text stands in quotes".to_owned(), format!("write {key} = \"{value}\""));
    }
    let help = if message.contains("string") {
        "a string begins and ends with a quote on the same line: key = \"text\""
    } else {
        "a line is [table], or key = value with \"text\", 5, true, [\"list\"] or { key = \"table\" }"
    };
    (message.to_owned(), help.to_owned())
}

/// A key or a table that stands twice, with both places.
fn twice(source: &Arc<Source>, span: &Range<usize>, places: &BTreeMap<Path, Spans>) -> Diagnostic {
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
            let first = places.get(&path).map(|spans| spans.key.clone());
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

fn dict(
    source: &Arc<Source>,
    table: &DeTable<'_>,
    path: &mut Path,
    places: &mut BTreeMap<Path, Spans>,
) -> Dict {
    let mut out = Dict::new();
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        let spans = Spans { key: place(source, key.span()), value: place(source, value.span()) };
        places.insert(path.clone(), spans);
        out.insert(key.get_ref().to_string(), convert(source, value, path, places));
        path.pop();
    }
    out
}

fn convert(
    source: &Arc<Source>,
    value: &Spanned<DeValue<'_>>,
    path: &mut Path,
    places: &mut BTreeMap<Path, Spans>,
) -> Value {
    match value.get_ref() {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| number.as_str().to_owned().into(), Into::into),
        DeValue::Float(number) => {
            number.as_str().parse::<f64>().map_or_else(|_| number.as_str().to_owned().into(), Into::into)
        }
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(items) => {
            let mut out: Vec<Value> = Vec::new();
            for (at, item) in items.iter().enumerate() {
                path.push(at.to_string());
                let here = place(source, item.span());
                places.insert(path.clone(), Spans { key: here.clone(), value: here });
                out.push(convert(source, item, path, places));
                path.pop();
            }
            Value::Array(Tag::Default, out)
        }
        DeValue::Table(table) => Value::Dict(Tag::Default, dict(source, table, path, places)),
    }
}

impl Document {
    /// Layers files (the first says most), then the environment, then flags.
    pub(crate) fn layer(
        files: Vec<Parsed>,
        env: Vec<(Path, String, Value)>,
        flags: Vec<(Path, String, Value)>,
        problems: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut figment = Figment::new();
        let mut places = BTreeMap::new();
        for file in files.into_iter().rev() {
            figment = figment.merge(Layer { name: file.name, values: file.values });
            places.extend(file.places);
        }
        for (path, name, value) in env.into_iter().chain(flags) {
            figment = figment.merge(Layer { name, values: nested(&path, value) });
        }
        // Found rather than extracted: extraction would forget the source.
        let root = match figment.find_value("") {
            Ok(Value::Dict(_, root)) => root,
            Ok(_) => Dict::new(),
            Err(error) => {
                problems
                    .push(Diagnostic::new(Code::Layers, format!("the layers do not fit together: {error}")));
                Dict::new()
            }
        };
        Self { figment, root, places }
    }

    /// The place of the value at `path`, or its other source.
    pub(crate) fn locate(
        &self,
        path: &[String],
        value: Option<&Value>,
        on_key: bool,
    ) -> (Option<Place>, String) {
        let origin = value
            .and_then(|value| self.figment.get_metadata(value.tag()))
            .map_or_else(String::new, |metadata| metadata.name.to_string());
        let spans = self.places.get(path);
        let from_elsewhere =
            spans.is_some_and(|spans| !origin.is_empty() && spans.value.source.name != origin);
        if from_elsewhere {
            return (None, origin);
        }
        (spans.map(|spans| if on_key { spans.key.clone() } else { spans.value.clone() }), origin)
    }

    /// The file that declares what stands at `path`.
    pub(crate) fn file_of(&self, path: &[String]) -> Option<&str> {
        self.places.get(path).map(|spans| spans.key.source.name.as_str())
    }
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
