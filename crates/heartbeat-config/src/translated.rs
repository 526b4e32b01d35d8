//! Values of other tools in our form: what a person has written is kept, so that the line of a help can be pasted.

use std::net::SocketAddr;

use figment::value::{Dict, Value};
use heartbeat_probe::Probe;
use heartbeat_status::{parse_duration, parse_size};

use crate::cron::Cron;
use crate::defaults;
use crate::endpoint;
use crate::keys::{Key, Table, Takes};
use crate::units;

/// How a value of another tool becomes one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
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
pub(crate) const MAX_SHOWN_BYTES: usize = 120;

impl Form {
    /// The value as TOML; `None` where it cannot be translated.
    pub(crate) fn of(self, value: &Value) -> Option<String> {
        let quoted = |text: String| format!("\"{text}\"");
        let text = || value.as_str().map(str::trim);
        match self {
            Self::Number => whole(value).map(|number| number.to_string()),
            Self::Duration => {
                let meant = match whole(value) {
                    Some(seconds) => format!("{seconds}s"),
                    None => units::meant(text()?).unwrap_or_else(|| text().unwrap_or_default().to_owned()),
                };
                parse_duration(&meant).is_ok().then(|| quoted(meant))
            }
            Self::Size => {
                let sized = |meant: &String| parse_size(meant).is_ok();
                units::meant(text()?)
                    .filter(sized)
                    .or_else(|| units::meant_size(text()?).filter(sized))
                    .map(quoted)
            }
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

pub(crate) fn whole(value: &Value) -> Option<i128> {
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

/// A command, without the words by which compose says how it is run.
pub(crate) fn command(value: &Value) -> Option<String> {
    let Value::Array(_, items) = value else {
        let text = value.as_str().filter(|text| !text.trim().is_empty())?;
        return match units::words(text, "") {
            Ok(_) => written(value),
            Err(_) => Some(format!("[\"sh\", \"-c\", {}]", written(value)?)),
        };
    };
    let words: Vec<&str> = items.iter().map(Value::as_str).collect::<Option<_>>()?;
    match words.as_slice() {
        ["CMD-SHELL", line] => Some(format!("[\"sh\", \"-c\", {line:?}]")),
        ["CMD", words @ ..] | words if !words.is_empty() => Some(format!("{words:?}")),
        _ => None,
    }
}

/// A command where each is one string.
fn one_string(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| !text.trim().is_empty())?;
    match units::words(text, "") {
        Ok(_) => written(value),
        Err(_) => Some(format!("{:?}", units::through_sh(text))),
    }
}

/// What a person means by yes or no.
pub(crate) fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(_, on) => Some(*on),
        Value::Num(..) => whole(value).filter(|number| (0..=1).contains(number)).map(|number| number == 1),
        Value::String(_, text) => match text.as_str() {
            "true" | "yes" | "on" | "always" => Some(true),
            "false" | "no" | "off" | "never" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// `"a, b"`, or compose's table of conditions, as a list of names.
fn names(value: &Value) -> Option<String> {
    let names: Vec<&str> = match value {
        Value::String(_, text) => text.split([',', ' ']).filter(|name| !name.is_empty()).collect(),
        Value::Dict(_, table) if let Some(items) = conditions(table) => return Some(items),
        Value::Dict(_, table) => table.keys().map(String::as_str).collect(),
        Value::Array(_, items) => items.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    Some(format!("{names:?}"))
}

/// compose's table of conditions as a list of ours.
pub(crate) fn conditions(table: &Dict) -> Option<String> {
    let item = |(name, how): (&String, &Value)| {
        let condition = match how {
            Value::Dict(_, how) => how.get("condition").and_then(Value::as_str).unwrap_or("service_started"),
            _ => return None,
        };
        Some(match condition {
            "service_started" | "process_started" => format!("{{ realm = {name:?}, until = \"started\" }}"),
            "service_completed_successfully" | "process_completed_successfully" | "process_completed" => {
                format!("{{ realm = {name:?}, until = \"done\" }}")
            }
            _ => format!("{name:?}"),
        })
    };
    Some(format!("[{}]", table.iter().map(item).collect::<Option<Vec<_>>>()?.join(", ")))
}

/// One value as the string of a program's variable.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Bool(..) | Value::Num(..) => written(value),
        _ => None,
    }
}

fn pairs(value: &Value) -> Option<String> {
    let Value::Dict(_, table) = value else { return environment(value) };
    let pairs = table.iter().map(|(name, value)| Some(format!("{} = {:?}", bare(name), as_text(value)?)));
    Some(format!("{{ {} }}", pairs.collect::<Option<Vec<_>>>()?.join(", ")))
}

/// The value as TOML in the form that the key takes; `None` where it cannot be translated.
pub(crate) fn fitted(key: &Key, value: &Value) -> Option<String> {
    let text = || value.as_str().map(str::trim).filter(|text| !text.is_empty());
    let quoted = |text: &str| format!("{text:?}");
    let within = |least: i64, most: i64| {
        whole(value).filter(|number| (i128::from(least)..=i128::from(most)).contains(number))
    };
    let is_unlimited = || text().is_some_and(|text| ["unlimited", "infinity", "-1"].contains(&text));
    let fitting = match (key.table, key.name) {
        (Table::Realm, "port") => {
            Form::Port.of(value).filter(|port| port.parse().is_ok_and(|port: u16| port > 0))
        }
        (Table::Stop, "signal") => Form::Signal
            .of(value)
            .filter(|text| text.trim_matches('"').parse::<heartbeat_status::Signal>().is_ok()),
        _ => match key.takes {
            Takes::Boolean => truth(value).map(|on| on.to_string()),
            Takes::True => truth(value).filter(|on| *on).map(|on| on.to_string()),
            Takes::Number(least, most) => within(least, most).map(|number| number.to_string()),
            Takes::Numbers(least, most) => Form::Codes.of(value).filter(|codes| {
                let mut codes = codes.trim_matches(['[', ']']).split(", ");
                codes.all(|code| code.parse().is_ok_and(|code: i64| (least..=most).contains(&code)))
            }),
            Takes::NumberOrUnlimited(_) if is_unlimited() => Some(quoted("unlimited")),
            Takes::NumberOrUnlimited(least) => within(least, i64::MAX).map(|number| number.to_string()),
            Takes::Duration | Takes::Push => Form::Duration.of(value),
            Takes::LongDuration if text().is_some_and(|text| units::long_duration(text).is_ok()) => {
                written(value)
            }
            Takes::LongDuration => match whole(value) {
                Some(days) => Some(format!("{days}d"))
                    .filter(|time| units::long_duration(time).is_ok())
                    .map(|time| quoted(&time)),
                None => Form::Duration.of(value),
            },
            Takes::Share => {
                let number = match value {
                    Value::Num(_, number) => number.to_f64().map(|number| format!("{number}%")),
                    _ => text().map(|text| format!("{}%", text.trim_end_matches('%'))),
                };
                number.filter(|text| units::millionths(text).is_ok()).map(|text| quoted(&text))
            }
            Takes::SizeOrUnlimited if is_unlimited() => Some(quoted("unlimited")),
            Takes::SizeOrPercentage if text().is_some_and(|text| units::percentage(text).is_ok()) => {
                written(value)
            }
            Takes::Size | Takes::SizeOrUnlimited | Takes::SizeOrPercentage => Form::Size.of(value),
            Takes::Percentage if text().is_some_and(|text| units::processors(text).is_ok()) => written(value),
            Takes::Percentage => Form::Processors.of(value),
            Takes::Word(words) => words.iter().find(|word| text() == Some(**word)).map(|word| quoted(word)),
            Takes::Words(words) => match value {
                Value::Array(_, items) => {
                    let known = |item: &Value| item.as_str().is_some_and(|item| words.contains(&item));
                    items.iter().all(known).then(|| written(value))?
                }
                _ => text().filter(|text| words.contains(text)).map(|text| format!("[{text:?}]")),
            },
            // No shell reads it, so `~` would be the name of a directory.
            Takes::Text("path") if text().is_some_and(|text| text.starts_with("~/")) => {
                text().map(|text| quoted(&text.replacen('~', "/HOME", 1)))
            }
            Takes::Text(_) => as_text(value).map(|text| quoted(&text)),
            Takes::Texts(_) => match value {
                Value::Array(_, items) => {
                    let items: Vec<String> = items.iter().map(as_text).collect::<Option<_>>()?;
                    Some(format!("{items:?}"))
                }
                _ => as_text(value).map(|text| format!("[{text:?}]")),
            },
            Takes::Command => command(value),
            Takes::Commands => match value {
                Value::Array(_, items) => {
                    let commands: Vec<String> = items.iter().map(one_string).collect::<Option<_>>()?;
                    Some(format!("[{}]", commands.join(", ")))
                }
                _ => one_string(value),
            },
            Takes::Pairs | Takes::Headers => pairs(value),
            Takes::Needs => names(value),
            Takes::Statuses => within(100, 599).map(|number| number.to_string()),
            Takes::Mode | Takes::Window => value.as_str().and_then(|_| written(value)),
            Takes::Pointers | Takes::Probes | Takes::Table(_) | Takes::Tables(_) => None,
        },
    };
    fitting.filter(|text| text.len() <= MAX_SHOWN_BYTES && is_possible(key, text))
}

/// A URL that a probe can be made of.
pub(crate) fn is_probe(url: &str) -> bool {
    url.parse::<Probe>().is_ok()
}

/// Whether the reader of a key that takes a text understands this one, which is written as TOML.
fn is_possible(key: &Key, toml: &str) -> bool {
    let Some(text) = toml.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        // Of a list, each item.
        let items = toml.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or_default();
        return !matches!(key.takes, Takes::Texts(_)) || items.split(", ").all(|item| is_possible(key, item));
    };
    match (key.table, key.name) {
        (Table::Heartbeat, "listen") => {
            text == "off" || text.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
        }
        (Table::Heartbeat, "ping" | "otlp")
        | (Table::Notify, "webhook" | "alertmanager" | "ntfy" | "slack" | "pagerduty") => {
            endpoint::refusal(text, None, "", "").is_none()
        }
        (Table::Heartbeat, "reference") => is_probe(text),
        (Table::Heartbeat, "log") => units::log_filter(text).is_ok(),
        (Table::Heartbeat, "register_networks") => text.parse::<heartbeat_probe::Network>().is_ok(),
        (Table::Heartbeat, "hosts") => !text.contains(['/', ':', '=']),
        (Table::Realm, "host") => is_probe(&format!("http://{text}:1/")),
        (Table::Health, "http" | "redis" | "postgres" | "dns") => is_probe(text),
        (Table::Health, kind @ ("tcp" | "unix" | "tls" | "grpc")) => {
            is_probe(text) && kind == "grpc" || is_probe(&format!("{kind}://{text}"))
        }
        (Table::Health, "method") => text.bytes().all(|byte| byte.is_ascii_uppercase()),
        (Table::Health, "status") => text.parse::<heartbeat_probe::StatusSet>().is_ok(),
        (Table::Slo, "window") => units::long_duration(text)
            .is_ok_and(|window| (defaults::MIN_SLO_WINDOW..=defaults::MAX_SLO_WINDOW).contains(&window)),
        (Table::Maintenance, "start") => {
            text.parse::<heartbeat_status::WallTime>().is_ok() || Cron::parse(text).is_ok()
        }
        (Table::Notify, "repeat") => {
            text == "off" || parse_duration(text).is_ok_and(|time| time.as_secs() >= 60)
        }
        // What another tool has in the file is a secret here, which belongs in a file of its own.
        (_, "password_file" | "secret_file" | "token_file") => text.contains('/'),
        _ => match key.takes {
            Takes::Mode => u32::from_str_radix(text, 8).is_ok_and(|mode| mode <= 0o777),
            Takes::Window => text.split_once(" of ").is_some(),
            _ => true,
        },
    }
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
            (Form::Size, Value::from("512M"), Some("\"512MiB\"")),
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
        assert_eq!(command(&Value::from("redis-cli ping")).as_deref(), Some("\"redis-cli ping\""));
        assert_eq!(command(&list(&["CMD", "curl", "x"])).as_deref(), Some("[\"curl\", \"x\"]"));
        assert_eq!(command(&list(&["CMD-SHELL", "a || b"])).as_deref(), Some("[\"sh\", \"-c\", \"a || b\"]"));
        assert_eq!(command(&Value::from("a || b")).as_deref(), Some("[\"sh\", \"-c\", \"a || b\"]"));
    }
}
