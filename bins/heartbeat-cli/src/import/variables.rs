//! Variables of compose files as heartbeatd fills them in: both read their environment and `.env` beside the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use heartbeat_config::parse_env_file;

use serde_json::Value;

/// What was found in the texts of a file.
#[derive(Default)]
pub(crate) struct Variables {
    /// Names that heartbeatd fills in.
    pub(crate) names: BTreeSet<String>,
    /// Names whose values are written, where ours takes no variable.
    pub(crate) fixed: BTreeSet<String>,
    /// The `.env` beside the file.
    beside: BTreeMap<String, String>,
    /// Forms that heartbeatd does not have.
    pub(crate) unknown: Vec<String>,
}

/// A part of a text.
enum Part<'t> {
    Text(&'t str),
    /// `$$`.
    Dollar,
    /// A name, and what follows it in the braces.
    Variable(&'t str, &'t str),
}

/// The parts of a text of compose.
fn parts(text: &str) -> Vec<Part<'_>> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name_of = |text: &str| text.find(|c| !is_name(c)).unwrap_or(text.len());
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        parts.push(Part::Text(&rest[..at]));
        let after = &rest[at + 1..];
        let length = name_of(after);
        rest = if let Some(behind) = after.strip_prefix('$') {
            parts.push(Part::Dollar);
            behind
        } else if let Some(inside) = after.strip_prefix('{').and_then(|after| Some(&after[..end(after)?])) {
            let (name, how) = inside.split_at(name_of(inside));
            parts.push(Part::Variable(name, how));
            &after[inside.len() + 2..]
        } else if length > 0 && !after.starts_with(|c: char| c.is_ascii_digit()) {
            parts.push(Part::Variable(&after[..length], ""));
            &after[length..]
        } else {
            parts.push(Part::Text("$"));
            after
        };
    }
    parts.push(Part::Text(rest));
    parts
}

/// Where the brace closes that has been opened before `text`.
fn end(text: &str) -> Option<usize> {
    let mut open = 1;
    text.bytes().position(|byte| {
        open += i32::from(byte == b'{') - i32::from(byte == b'}');
        open == 0
    })
}

/// Its default: `:-x` and `-x`.
fn default(how: &str) -> Option<&str> {
    how.strip_prefix(":-").or_else(|| how.strip_prefix('-'))
}

impl Variables {
    /// With those of the `.env` beside a file.
    pub(crate) fn beside(file: &Path) -> Self {
        let env = file.parent().filter(|dir| dir.is_absolute()).map(|dir| dir.join(".env"));
        let text = env.and_then(|env| std::fs::read_to_string(env).ok()).unwrap_or_default();
        let beside = parse_env_file(&text).unwrap_or_default().into_iter().collect();
        Self { beside, ..Self::default() }
    }

    /// A text with the variables that heartbeatd fills in.
    pub(crate) fn ours(&mut self, text: &str) -> String {
        let parts = parts(text);
        let mut out = String::new();
        for (at, part) in parts.iter().enumerate() {
            match part {
                Part::Text(text) => out += text,
                // Before a brace, ours needs both.
                Part::Dollar => {
                    let in_front =
                        matches!(parts.get(at + 1), Some(Part::Text(next)) if next.starts_with('{'));
                    out += if in_front { "$$" } else { "$" };
                }
                Part::Variable(name, how) => {
                    self.names.insert((*name).to_owned());
                    let why = how.strip_prefix(":?").or_else(|| how.strip_prefix('?'));
                    out += &match (default(how), why) {
                        (Some(default), _) if !default.contains('$') => format!("${{{name}:-{default}}}"),
                        (_, Some(why)) if !why.contains('$') => format!("${{{name}:?{why}}}"),
                        // One that is not set is empty.
                        _ if how.is_empty() => format!("${{{name}:-}}"),
                        _ => {
                            self.unknown.push(format!("${{{name}{how}}}"));
                            format!("${{{name}:-}}")
                        }
                    };
                }
            }
        }
        out
    }

    /// A text with the values or the defaults of its variables, for a value that is a number here.
    pub(crate) fn by_default(&mut self, text: &str) -> String {
        let of = |part: Part<'_>| match part {
            Part::Text(text) => text.to_owned(),
            Part::Dollar => "$".to_owned(),
            Part::Variable(name, how) => {
                self.fixed.insert(name.to_owned());
                let value = self.beside.get(name).map(String::as_str).filter(|value| !value.is_empty());
                value.or_else(|| default(how)).unwrap_or_default().to_owned()
            }
        };
        parts(text).into_iter().map(of).collect()
    }

    /// A value with each of its texts as `how` makes it.
    pub(crate) fn each(&mut self, value: &Value, how: fn(&mut Self, &str) -> String) -> Value {
        match value {
            Value::String(text) => how(self, text).into(),
            Value::Array(items) => items.iter().map(|item| self.each(item, how)).collect(),
            Value::Object(table) => {
                table.iter().map(|(key, value)| (key.clone(), self.each(value, how))).collect()
            }
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_compose_has_one_of_ours() {
        for (theirs, ours, by_default) in [
            ("plain", "plain", "plain"),
            ("a $NAME b", "a ${NAME:-} b", "a  b"),
            ("${NAME}/x", "${NAME:-}/x", "/x"),
            ("${NAME:-8000}:80", "${NAME:-8000}:80", "8000:80"),
            ("${NAME-8000}", "${NAME:-8000}", "8000"),
            ("${NAME:?set it}", "${NAME:?set it}", ""),
            ("$$NAME $${NAME} $5 $", "$NAME $${NAME} $5 $", "$NAME ${NAME} $5 $"),
            ("postgres://app:$PW@db/app", "postgres://app:${PW:-}@db/app", "postgres://app:@db/app"),
        ] {
            let mut found = Variables::default();
            assert_eq!(found.ours(theirs), ours, "{theirs}");
            assert_eq!(Variables::default().by_default(theirs), by_default, "{theirs}");
            assert!(found.unknown.is_empty(), "{theirs}");
        }
        for theirs in ["${NAME:+yes}", "${NAME:-${OTHER}}", "${NAME:-a${B:-c}d}"] {
            let mut found = Variables::default();
            assert_eq!(
                (found.ours(theirs), found.unknown),
                ("${NAME:-}".to_owned(), vec![theirs.to_owned()])
            );
        }
    }
}
