//! YAML as JSON values: what compose files use of it.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// A table of a document.
pub(crate) type Table = Map<String, Value>;

/// Levels that are followed into a document.
const MAX_NESTED_LEVELS: usize = 64;
/// Values that a document may have, aliases counted as often as they stand.
const MAX_VALUES: usize = 200_000;

/// The first document of a text.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { events: Vec::new(), at: 0, anchors: BTreeMap::new(), values: 0 };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error.to_string())?;
        reader.events.push((event, span.start.line()));
    }
    reader.document()
}

struct Reader<'a> {
    events: Vec<(Event<'a>, usize)>,
    at: usize,
    anchors: BTreeMap<usize, Value>,
    values: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(Event<'a>, usize)> {
        let event = self.events.get(self.at).cloned();
        self.at += 1;
        event
    }

    fn document(&mut self) -> Result<Value, String> {
        while let Some((event, _)) = self.next() {
            if let Event::DocumentStart(_) = event {
                return self.value(0);
            }
        }
        Err("it is empty".to_owned())
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        match self.next() {
            Some((event, line)) => self.of(event, line, depth),
            None => Err("it ends too early".to_owned()),
        }
    }

    fn of(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Value, String> {
        self.values += 1;
        if depth > MAX_NESTED_LEVELS || self.values > MAX_VALUES {
            return Err(format!("line {line}: more than is read"));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => (scalar(&text, style), anchor),
            Event::Alias(anchor) => {
                let value = self
                    .anchors
                    .get(&anchor)
                    .cloned()
                    .ok_or_else(|| format!("line {line}: an alias without an anchor"))?;
                self.values += size(&value);
                return Ok(value);
            }
            Event::SequenceStart(anchor, ..) => {
                let mut items = Vec::new();
                loop {
                    match self.next() {
                        Some((Event::SequenceEnd, _)) => break,
                        Some((event, line)) => items.push(self.of(event, line, depth + 1)?),
                        None => return Err("it ends within a list".to_owned()),
                    }
                }
                (Value::Array(items), anchor)
            }
            Event::MappingStart(anchor, ..) => (Value::Object(self.table(depth)?), anchor),
            _ => return Err(format!("line {line}: not understood")),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn table(&mut self, depth: usize) -> Result<Map<String, Value>, String> {
        let mut table = Map::new();
        let mut merged = Vec::new();
        loop {
            let (key, line) = match self.next() {
                Some((Event::MappingEnd, _)) => break,
                Some((event, line)) => (self.of(event, line, depth + 1)?, line),
                None => return Err("it ends within a table".to_owned()),
            };
            let key = crate::import::values::scalar(&key)
                .ok_or_else(|| format!("line {line}: a key is no word"))?;
            let value = self.value(depth + 1)?;
            if key == "<<" {
                merged.push(value);
            } else {
                table.insert(key, value);
            }
        }
        // What is merged in counts where nothing else is said.
        for value in merged {
            let tables = match value {
                Value::Array(items) => items,
                one => vec![one],
            };
            for (key, value) in tables
                .into_iter()
                .filter_map(|table| match table {
                    Value::Object(table) => Some(table),
                    _ => None,
                })
                .flatten()
            {
                table.entry(key).or_insert(value);
            }
        }
        Ok(table)
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(table) => 1 + table.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// A plain scalar is a number, a truth or nothing where it looks like it; a quoted one is a string.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::from(text);
    }
    match text {
        "" | "~" | "null" => Value::Null,
        "true" | "True" => true.into(),
        "false" | "False" => false.into(),
        _ => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(number), _) if number.to_string() == text => number.into(),
            (_, Ok(number)) if text.starts_with(|c: char| c.is_ascii_digit()) && text.contains('.') => {
                number.into()
            }
            _ => Value::from(text),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_yaml_of_compose_files_is_read() {
        let text = "x-base: &base\n  restart: always\n  tags: [a, 'b']\nservices:\n  web:\n    <<: *base\n    ports:\n      - \"8000:80\"\n    restart: \"no\"\n    cpus: 1.5\n    n: 5\n    on: true\n    empty:\n";
        let value = parse(text).unwrap();
        let web = &value["services"]["web"];
        assert_eq!(
            (&web["restart"], &web["tags"][1], &web["ports"][0]),
            (&"no".into(), &"b".into(), &"8000:80".into())
        );
        assert_eq!(
            (web["cpus"].as_f64(), web["n"].as_i64(), web["on"].as_bool()),
            (Some(1.5), Some(5), Some(true))
        );
        assert!(web["empty"].is_null());
        assert!(parse("a: [1").is_err() && parse("").is_err());
        let bomb = format!(
            "a: &a [1,1,1,1,1,1,1,1,1,1]\n{}",
            (b'b'..=b'j')
                .map(|c| {
                    let (c, p) = (c as char, (c - 1) as char);
                    format!("{c}: &{c} [*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p}]\n")
                })
                .collect::<String>()
        );
        assert!(parse(&bomb).is_err(), "aliases do not multiply without end");
    }
}
