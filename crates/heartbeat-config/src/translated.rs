//! Values of other tools in our form: what a person has written is kept, so that the line of a help can be pasted.

use figment::value::{Dict, Value};

use crate::units;

/// How a value of another tool becomes one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is.
    Same,
    /// Seconds, or a duration in another spelling.
    Duration,
    /// A whole number, also in quotes.
    Number,
    /// A size in another spelling.
    Size,
    /// Processors: `1.5` is 150 %.
    Processors,
    /// A signal, with or without SIG.
    Signal,
    /// One or several exit codes.
    Codes,
    /// The last port of a mapping such as `"8000:80"`.
    Port,
}

/// A word without what differs between tools: case, `-` and `_`.
pub(crate) fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | '.')).map(|c| c.to_ascii_lowercase()).collect()
}

/// Longest value that is repeated in a help, in bytes.
const MAX_SHOWN_BYTES: usize = 120;

impl Form {
    /// The value as TOML; `None` where it cannot be translated.
    pub(crate) fn of(self, value: &Value) -> Option<String> {
        let quoted = |text: String| format!("\"{text}\"");
        let text = || value.as_str().map(str::trim);
        match self {
            Self::Same => written(value),
            Self::Number => whole(value).map(|number| number.to_string()),
            Self::Duration => {
                let meant = match whole(value) {
                    Some(seconds) => format!("{seconds}s"),
                    None => units::meant(text()?).unwrap_or_else(|| text().unwrap_or_default().to_owned()),
                };
                units::duration(&meant).is_ok().then(|| quoted(meant))
            }
            Self::Size => units::meant(text()?).filter(|meant| units::size(meant).is_ok()).map(quoted),
            Self::Processors => {
                let share = match value {
                    Value::Num(_, number) => number.to_f64()?,
                    _ => text()?.parse::<f64>().ok()?,
                };
                // What is not a sensible share is left to the example.
                (share > 0.0 && share < 10_000.0).then(|| format!("\"{:.0}%\"", share * 100.0))
            }
            Self::Signal => text().map(|text| quoted(text.strip_prefix("SIG").unwrap_or(text).to_owned())),
            Self::Codes => {
                let items = match value {
                    Value::Array(_, items) => items.iter().map(whole).collect::<Option<Vec<i128>>>()?,
                    Value::String(_, text) => {
                        let parts = text.split([',', ' ']).filter(|part| !part.is_empty());
                        parts.map(|part| part.parse().ok()).collect::<Option<Vec<i128>>>()?
                    }
                    other => vec![whole(other)?],
                };
                let items: Vec<String> = items.iter().map(ToString::to_string).collect();
                Some(format!("[{}]", items.join(", ")))
            }
            Self::Port => {
                let first = match value {
                    Value::Array(_, items) => items.first()?,
                    other => other,
                };
                if let Some(number) = whole(first) {
                    return Some(number.to_string());
                }
                let port = first.as_str()?.rsplit(':').next()?.split('/').next()?;
                port.parse::<u16>().ok().map(|port| port.to_string())
            }
        }
    }
}

fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Num(_, number) => number.to_i128(),
        Value::String(_, text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A value as TOML in one line, where it is short enough to be repeated.
pub(crate) fn written(value: &Value) -> Option<String> {
    match value {
        Value::Char(..) | Value::Empty(..) => None,
        value => Some(toml(value)).filter(|text| text.len() <= MAX_SHOWN_BYTES),
    }
}

/// A value as TOML in one line.
pub(crate) fn toml(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, c) => format!("{:?}", c.to_string()),
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, number) => number
            .to_i128()
            .map_or_else(|| number.to_f64().unwrap_or(0.0).to_string(), |number| number.to_string()),
        Value::Empty(..) => "\"\"".to_owned(),
        Value::Array(_, items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Dict(_, table) => {
            let pairs: Vec<String> =
                table.iter().map(|(key, value)| format!("{} = {}", bare(key), toml(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
    }
}

fn bare(key: &str) -> String {
    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if is_bare { key.to_owned() } else { format!("{key:?}") }
}

/// `["A=b"]` of compose as `env = { A = "b" }`.
pub(crate) fn environment(value: &Value) -> Option<String> {
    let lines: Vec<&str> = match value {
        Value::Array(_, items) => items.iter().map(Value::as_str).collect::<Option<_>>()?,
        Value::String(_, text) => vec![text.as_str()],
        _ => return None,
    };
    let pairs = lines
        .iter()
        .map(|line| line.split_once('=').map(|(name, value)| format!("{} = {value:?}", bare(name.trim()))));
    Some(format!("{{ {} }}", pairs.collect::<Option<Vec<_>>>()?.join(", ")))
}

/// A command of a health check, without the words by which compose says how it is run.
fn check_command(value: &Value) -> Option<String> {
    let Value::Array(_, items) = value else { return written(value) };
    match items.first().and_then(Value::as_str) {
        Some("CMD-SHELL") => Some(format!("[\"sh\", \"-c\", {}]", written(items.get(1)?)?)),
        Some("CMD") => written(&Value::from(items[1..].to_vec())),
        _ => written(value),
    }
}

/// A health check of another tool as our `health`.
pub(crate) fn health(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) if text.contains("://") => written(value),
        Value::String(..) | Value::Array(..) => Some(format!("{{ exec = {} }}", check_command(value)?)),
        Value::Dict(_, table) => health_table(table),
        _ => None,
    }
}

fn health_table(table: &Dict) -> Option<String> {
    let mut parts = Vec::new();
    for (key, value) in table {
        parts.push(match folded(key).as_str() {
            "test" | "command" | "cmd" | "exec" | "script" => format!("exec = {}", check_command(value)?),
            "url" | "http" | "httpget" | "endpoint" => format!("http = {}", written(value)?),
            "interval" | "period" | "periodseconds" => format!("interval = {}", Form::Duration.of(value)?),
            "timeout" | "timeoutseconds" => format!("timeout = {}", Form::Duration.of(value)?),
            "retries" | "failurethreshold" => format!("fail_after = {}", Form::Number.of(value)?),
            "startperiod" | "initialdelayseconds" => format!("grace = {}", Form::Duration.of(value)?),
            _ => return None,
        });
    }
    let is_probe = parts.iter().any(|part| part.starts_with("exec") || part.starts_with("http"));
    // The kind of the probe comes first.
    parts.sort_by_key(|part| !(part.starts_with("exec") || part.starts_with("http")));
    is_probe.then(|| format!("{{ {} }}", parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[&str]) -> Value {
        Value::from(items.iter().map(|item| Value::from(*item)).collect::<Vec<_>>())
    }

    #[test]
    fn what_was_written_is_kept() {
        for (form, value, expected) in [
            (Form::Duration, Value::from("5s"), Some("\"5s\"")),
            (Form::Duration, Value::from(5), Some("\"5s\"")),
            (Form::Duration, Value::from("10"), Some("\"10s\"")),
            (Form::Duration, Value::from("5 sec"), Some("\"5s\"")),
            (Form::Duration, Value::from("soon"), None),
            (Form::Size, Value::from("512M"), None),
            (Form::Size, Value::from("512mb"), Some("\"512MiB\"")),
            (Form::Processors, Value::from("1.5"), Some("\"150%\"")),
            (Form::Signal, Value::from("SIGINT"), Some("\"INT\"")),
            (Form::Codes, Value::from("0,2"), Some("[0, 2]")),
            (Form::Port, list(&["8000:80/tcp"]), Some("80")),
            (Form::Port, list(&["127.0.0.1:8000:8000"]), Some("8000")),
            (Form::Number, Value::from("3"), Some("3")),
        ] {
            assert_eq!(form.of(&value).as_deref(), expected, "{form:?} {value:?}");
        }
        assert_eq!(environment(&list(&["A=b", "C=d=e"])).as_deref(), Some("{ A = \"b\", C = \"d=e\" }"));
        assert_eq!(health(&Value::from("http://x/")).as_deref(), Some("\"http://x/\""));
        assert_eq!(health(&Value::from("redis-cli ping")).as_deref(), Some("{ exec = \"redis-cli ping\" }"));
        assert_eq!(health(&list(&["CMD", "curl", "x"])).as_deref(), Some("{ exec = [\"curl\", \"x\"] }"));
        assert_eq!(
            health(&list(&["CMD-SHELL", "a || b"])).as_deref(),
            Some("{ exec = [\"sh\", \"-c\", \"a || b\"] }")
        );
    }
}
