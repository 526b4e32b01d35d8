//! What a key takes: in words for messages and the reference, and as JSON Schema for editors.

use serde_json::{Value, json};

use super::Table;

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Any string; the word says what it means.
    Text(&'static str),
    /// One or several strings.
    Texts(&'static str),
    /// True or false.
    Boolean,
    /// Only true: the key is the statement.
    True,
    /// A whole number between two bounds.
    Number(i64, i64),
    /// One or several whole numbers between two bounds.
    Numbers(i64, i64),
    /// A number with a unit of time.
    Duration,
    /// A duration that may be years.
    LongDuration,
    /// A number with a unit of size.
    Size,
    /// A size, or `"unlimited"`.
    SizeOrUnlimited,
    /// A size, or a percentage.
    SizeOrPercentage,
    /// A whole number from a least one, or `"unlimited"`.
    NumberOrUnlimited(i64),
    /// A percentage like `"20%"`.
    Percentage,
    /// A share like `"99.9%"`.
    Share,
    /// An octal mode.
    Mode,
    /// A word of a closed list.
    Word(&'static [&'static str]),
    /// One or several words of a closed list.
    Words(&'static [&'static str]),
    /// A program and its arguments: a string that is split, or a list.
    Command,
    /// One or several commands, each a string.
    Commands,
    /// A table of strings.
    Pairs,
    /// A table of strings, or of files that hold them.
    Headers,
    /// A table of JSON pointers and the values expected there.
    Pointers,
    /// HTTP statuses: a number, a string, or a list of both.
    Statuses,
    /// A duration, or a table with a cron pattern.
    Push,
    /// `"3 of 5"`.
    Window,
    /// A URL, a table, or a list of both.
    Probes,
    /// One or several names of realms, or tables.
    Needs,
    /// A table of keys.
    Table(Table),
    /// Tables by a name that a person chooses.
    Tables(Table),
}

/// Strings may hold variables.
const VARIABLE: &str = "\\$\\{";
/// Numbers with units of time.
const DURATION: &str = " *([0-9]+(ms|s|m|h|d|w))+ *";

impl Takes {
    /// In words, for people.
    #[must_use]
    pub fn words(self) -> String {
        let list = |words: &[&str]| match words {
            [first, second] => format!("{first} or {second}"),
            [.., last] => format!("{} or {last}", words[..words.len() - 1].join(", ")),
            [] => String::new(),
        };
        match self {
            Self::Text(what) => what.to_owned(),
            Self::Texts(what) => format!("list of {what}"),
            Self::Boolean => "boolean".to_owned(),
            Self::True => "true".to_owned(),
            Self::Number(least, i64::MAX) => format!("number, at least {least}"),
            Self::Number(least, most) => format!("number from {least} to {most}"),
            Self::Numbers(least, most) => format!("list of numbers from {least} to {most}"),
            Self::Duration => "duration, such as \"30s\"".to_owned(),
            Self::LongDuration => "duration, such as \"30d\" or \"2y\"".to_owned(),
            Self::Size => "size, such as \"64MiB\"".to_owned(),
            Self::SizeOrPercentage => "size or percentage, such as \"2GiB\" or \"10%\"".to_owned(),
            Self::SizeOrUnlimited => "size, such as \"64MiB\", or \"unlimited\"".to_owned(),
            Self::NumberOrUnlimited(least) => format!("number, at least {least}, or \"unlimited\""),
            Self::Percentage => "percentage, such as \"20%\"".to_owned(),
            Self::Share => "percentage, such as \"99.9%\"".to_owned(),
            Self::Mode => "octal mode, such as \"022\"".to_owned(),
            Self::Word(words) => list(words),
            Self::Words(words) => format!("list of {}", list(words)),
            Self::Command => "command: a string or a list".to_owned(),
            Self::Commands => "command or list of commands, each a string".to_owned(),
            Self::Pairs => "table of strings".to_owned(),
            Self::Headers => "table of strings, or of { file = \"...\" }".to_owned(),
            Self::Pointers => "table of JSON pointers and values".to_owned(),
            Self::Statuses => "number, string or list, such as 200, \"2xx\" or \"200-299\"".to_owned(),
            Self::Push => "duration, or table { cron = \"0 2 * * *\", grace = \"10m\" }".to_owned(),
            Self::Window => "string such as \"3 of 5\"".to_owned(),
            Self::Probes => "URL, table, or list of both".to_owned(),
            Self::Needs => "list of names or tables".to_owned(),
            Self::Table(_) => "table".to_owned(),
            Self::Tables(_) => "tables by name".to_owned(),
        }
    }

    /// As JSON Schema; `reference` makes the reference to the definition of a table.
    pub(crate) fn schema(self, reference: &dyn Fn(Table) -> Value) -> Value {
        let pattern =
            |pattern: &str| json!({ "type": "string", "pattern": format!("^({pattern})$|{VARIABLE}") });
        let one_or_many = |one: Value| json!({ "anyOf": [one, { "type": "array", "items": one }] });
        let word = |words: &[&str]| json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": VARIABLE }] });
        let number = |least: i64, most: i64| {
            let mut number = json!({ "type": "integer", "minimum": least });
            if most != i64::MAX {
                number["maximum"] = json!(most);
            }
            number
        };
        let size = "[0-9]+ *(B|KiB|MiB|GiB)";
        let text = || json!({ "type": "string" });
        match self {
            Self::Text(_) => text(),
            Self::Texts(_) | Self::Commands => one_or_many(text()),
            Self::Boolean => json!({ "type": "boolean" }),
            Self::True => json!({ "const": true }),
            Self::Number(least, most) => number(least, most),
            Self::Numbers(least, most) => one_or_many(number(least, most)),
            Self::Duration => pattern(DURATION),
            Self::LongDuration => pattern(&format!("{DURATION}| *[0-9]+y *")),
            Self::Push => json!({ "anyOf": [pattern(DURATION), {
                "type": "object",
                "properties": { "cron": text(), "grace": pattern(DURATION) },
                "required": ["cron"],
                "additionalProperties": false,
            }] }),
            Self::Size => pattern(size),
            Self::SizeOrPercentage => pattern(&format!("{size}|[0-9]+%")),
            Self::SizeOrUnlimited => pattern(&format!("{size}|unlimited|infinity")),
            Self::NumberOrUnlimited(least) => {
                json!({ "anyOf": [number(least, i64::MAX), { "enum": ["unlimited", "infinity"] }] })
            }
            Self::Percentage => pattern("[0-9]+%"),
            Self::Share => pattern("[0-9]+([.][0-9]{1,4})?%"),
            Self::Mode => json!({ "anyOf": [pattern("(0o)?[0-7]{1,4}"), number(0, 0o777)] }),
            Self::Word(words) => word(words),
            Self::Words(words) => one_or_many(word(words)),
            Self::Command => json!({ "anyOf": [
                { "type": "string", "minLength": 1 },
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            ] }),
            Self::Pairs => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
            Self::Headers => {
                let file =
                    json!({ "type": "object", "properties": { "file": text() }, "required": ["file"] });
                json!({ "type": "object", "additionalProperties": { "anyOf": [text(), file] } })
            }
            Self::Pointers => json!({ "type": "object" }),
            Self::Statuses => one_or_many(json!({ "type": ["integer", "string"] })),
            Self::Window => pattern("[0-9]+ of [0-9]+"),
            Self::Probes => one_or_many(json!({ "anyOf": [text(), reference(Table::Health)] })),
            Self::Needs => one_or_many(json!({ "anyOf": [text(), reference(Table::Need)] })),
            Self::Table(table) => reference(table),
            Self::Tables(table) => json!({ "type": "object", "additionalProperties": reference(table) }),
        }
    }
}
