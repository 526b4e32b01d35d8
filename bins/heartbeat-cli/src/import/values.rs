//! Values of other tools as TOML of ours.

use std::time::Duration;

use serde_json::Value;

use crate::age::parse_duration;
use crate::import::ini::words;

/// A string as TOML: JSON's form of it is one.
pub(crate) fn text(value: &str) -> String {
    Value::from(value).to_string()
}

/// A text of a tool for which `${` is nothing special, as ours writes it.
pub(crate) fn literal(value: &str) -> String {
    value.replace("${", "$${")
}

/// A list of strings.
pub(crate) fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    format!("[{}]", items.into_iter().map(text).collect::<Vec<_>>().join(", "))
}

/// A name that a realm can have.
pub(crate) fn name_of_realm(written: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let name: String = written.trim().chars().map(kept).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let reserved = ["all", "heartbeatd", "ecosystem-health"].contains(&name);
    if name.is_empty() || reserved {
        format!("realm-{name}").trim_end_matches('-').to_owned()
    } else {
        name.to_owned()
    }
}

/// A name of a variable or label as a key of TOML.
pub(crate) fn bare(key: &str) -> String {
    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if is_bare { key.to_owned() } else { text(key) }
}

/// Why a realm has another name than the service that it is made from.
pub(crate) fn why_renamed(written: &str) -> &'static str {
    match written {
        "all" | "heartbeatd" | "ecosystem-health" => "that word is reserved",
        _ => "a name has lower case letters, digits, `-` and `_`, and begins with a letter",
    }
}

/// Why the interval of a probe is not the one that was written.
pub(crate) const PACED: &str = "heartbeatd runs one check at a time, and a command at most once per second";

/// The times of a probe as parts of its table, and whether the interval had to become longer for them.
pub(crate) fn paced(
    interval: Option<String>,
    timeout: Option<String>,
    is_command: bool,
) -> (Vec<String>, bool) {
    const STANDARD: Duration = Duration::from_secs(5);
    let time = |text: &str| parse_duration(text.trim_matches('"')).unwrap_or_default();
    let written = interval.as_deref().map_or(STANDARD, time);
    let least = if is_command { Duration::from_secs(1) } else { Duration::from_millis(1) };
    let shortest = timeout.as_deref().map_or(least, |timeout| time(timeout).max(least));
    let interval = if written >= shortest {
        interval
    } else if shortest == least {
        Some(text("1s"))
    } else {
        timeout.clone()
    };
    let of = |key: &str, value: Option<String>| value.map(|value| format!("{key} = {value}"));
    let timeout = timeout.filter(|timeout| !time(timeout).is_zero());
    let parts = of("interval", interval).into_iter().chain(of("timeout", timeout)).collect();
    (parts, written < shortest)
}

/// `5`, `5s`, `1min 30s`, `1m30s`: as a duration of ours.
pub(crate) fn duration(written: &str) -> Option<String> {
    let tight: String =
        written.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    if !tight.is_empty() && tight.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text(&format!("{tight}s")));
    }
    if tight.contains('.') {
        return in_milliseconds(&tight);
    }
    let mut out = String::new();
    let mut rest = tight.as_str();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let letters = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let unit = match &rest[digits..letters] {
            "ms" | "msec" => "ms",
            "s" | "sec" | "second" | "seconds" => "s",
            "m" | "min" | "minute" | "minutes" => "m",
            "h" | "hr" | "hour" | "hours" => "h",
            "d" | "day" | "days" => "d",
            "w" | "week" | "weeks" => "w",
            _ => return None,
        };
        if digits == 0 {
            return None;
        }
        out += &format!("{}{unit}", &rest[..digits]);
        rest = &rest[letters..];
    }
    (!out.is_empty()).then(|| text(&out))
}

/// `0.5`, `1.5min`: in whole milliseconds.
fn in_milliseconds(tight: &str) -> Option<String> {
    const MOST_MS: f64 = 1e12;
    let (number, unit) =
        tight.split_at(tight.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(tight.len()));
    let unit = duration(&format!("1{}", if unit.is_empty() { "s" } else { unit }))?;
    let unit = parse_duration(unit.trim_matches('"')).ok()?;
    let ms = (number.parse::<f64>().ok()? * unit.as_secs_f64() * 1e3).round();
    (1.0..MOST_MS).contains(&ms).then(|| text(&format!("{ms:.0}ms")))
}

/// `512m`, `1G`, `1048576`: as a size of ours.
pub(crate) fn size(written: &str) -> Option<String> {
    let lower = written.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let unit = match &lower[digits..] {
        "" | "b" => "B",
        "k" | "kb" | "kib" => "KiB",
        "m" | "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        _ => return None,
    };
    (digits > 0).then(|| text(&format!("{}{unit}", &lower[..digits])))
}

/// A scalar of YAML or JSON in its own words.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A list of scalars, or one.
pub(crate) fn scalars(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(scalar).collect(),
        one => Some(vec![scalar(one)?]),
    }
}

/// `NAME=value` lines, or a table of them, as pairs; a name without a value takes that of heartbeatd's own environment.
pub(crate) fn environment(value: &Value) -> Option<Vec<(String, String)>> {
    let inherited = |name: &str| (name.to_owned(), format!("${{{name}:-}}"));
    match value {
        Value::Object(table) => {
            let pair = |(name, value): (&String, &Value)| match value {
                Value::Null => Some(inherited(name)),
                value => Some((name.clone(), scalar(value)?)),
            };
            table.iter().map(pair).collect()
        }
        other => {
            let lines = scalars(other)?;
            Some(
                lines
                    .iter()
                    .map(|line| match line.split_once('=') {
                        Some((name, value)) => (name.to_owned(), value.to_owned()),
                        None => inherited(line),
                    })
                    .collect(),
            )
        }
    }
}

/// Pairs as an inline table.
pub(crate) fn table(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{} = {}", bare(name), text(value))).collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// Whether a line means what it says only to a shell.
pub(crate) fn needs_a_shell(line: &str) -> bool {
    let assigns = line.split_whitespace().next().is_some_and(|first| {
        first.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    });
    // What follows is a comment for a shell alone.
    let has_comment = line.split_whitespace().any(|word| word.starts_with('#'));
    assigns || has_comment || line.contains(['|', '&', ';', '<', '>', '*', '`', '$', '~'])
}

/// A line as `run` where no shell reads it: its words, where our own splitting would take a character for a shell's.
/// What heartbeatd fills in is none.
pub(crate) fn without_a_shell(line: &str) -> String {
    if needs_a_shell(&line.replace("${", "")) {
        let words = words(line);
        list(words.iter().map(String::as_str))
    } else {
        text(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_become_durations_and_sizes() {
        for (written, ours) in [
            ("5", Some("\"5s\"")),
            ("1min 30s", Some("\"1m30s\"")),
            ("1m30s", Some("\"1m30s\"")),
            ("500ms", Some("\"500ms\"")),
            ("infinity", None),
            ("1.5s", Some("\"1500ms\"")),
            ("0.5", Some("\"500ms\"")),
            ("0.0", None),
            ("1.5x", None),
            ("", None),
        ] {
            assert_eq!(duration(written).as_deref(), ours, "{written}");
        }
        for (written, ours) in [
            ("512m", Some("\"512MiB\"")),
            ("1G", Some("\"1GiB\"")),
            ("1024", Some("\"1024B\"")),
            ("50%", None),
        ] {
            assert_eq!(size(written).as_deref(), ours, "{written}");
        }
        assert_eq!(
            [name_of_realm("My App"), name_of_realm("all"), name_of_realm("9x")],
            ["my-app", "realm-all", "x"]
        );
        assert!(needs_a_shell("A=1 app") && needs_a_shell("app $PORT") && !needs_a_shell("app --a=1"));
        assert!(needs_a_shell("app # of the shop") && !needs_a_shell("app --color=#fff"));
    }
}
