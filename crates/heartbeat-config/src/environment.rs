//! Keys from the environment: `HEARTBEAT__SECTION__KEY`.

use std::collections::BTreeMap;

use figment::value::Value;
use thiserror::Error;

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::document::scalar;
use crate::keys::{self, Table};
use crate::sources::EARLY_KEYS;

/// Prefix of environment variables that set keys.
const ENV_PREFIX: &str = "HEARTBEAT__";

/// The key, its variable, and its value.
pub(crate) type EnvOverride = (Vec<String>, String, Value);

/// `HEARTBEAT__SECTION__KEY`: `_` stands for `-` or `_`, matched against what exists.
pub(crate) fn from_environment(
    env: &BTreeMap<String, String>,
    realms: &BTreeMap<String, usize>,
    problems: &mut Vec<Diagnostic>,
) -> Vec<EnvOverride> {
    let mut said = Vec::new();
    for (name, value) in env {
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else { continue };
        let words: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        match env_path(&words, realms) {
            Ok(path) => said.push((path, format!("the environment variable {name}"), scalar(value))),
            Err(why) => problems.push(
                Diagnostic::new(Code::BadOverride, format!("{name}: {why}"))
                    .said_by(&format!("the environment variable {name}"))
                    .help("unset it, or write HEARTBEAT__SECTION__KEY, e.g. HEARTBEAT__HEARTBEAT__LISTEN or HEARTBEAT__REALM__API__PORT"),
            ),
        }
    }
    said
}

/// The reason why a variable names no key.
#[derive(Debug, Error)]
enum PathError {
    #[error("there is no realm `{0}`")]
    NoRealm(String),
    #[error("there is no section `{0}`")]
    NoSection(String),
    #[error("names no key")]
    Empty,
    #[error("does not name a key")]
    NotAKey,
    #[error("there is no key `{0}` in {1}")]
    NoKey(String, &'static str),
    #[error("`{0}` is read from the file only")]
    FileOnly(String),
}

fn env_path(words: &[String], realms: &BTreeMap<String, usize>) -> Result<Vec<String>, PathError> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (mut path, table, rest) = match words.as_slice() {
        ["heartbeat", rest @ ..] => (vec!["heartbeat".to_owned()], Table::Heartbeat, rest),
        ["defaults", rest @ ..] => (vec!["defaults".to_owned()], Table::Realm, rest),
        ["realm", name, rest @ ..] => {
            let same = |known: &&String| known.replace('-', "_") == *name;
            let realm = realms.keys().find(same).ok_or_else(|| PathError::NoRealm((*name).to_owned()))?;
            (vec!["realm".to_owned(), realm.clone()], Table::Realm, rest)
        }
        [other, ..] => return Err(PathError::NoSection((*other).to_owned())),
        [] => return Err(PathError::Empty),
    };
    let (table, key) = match rest {
        [key] => (table, *key),
        ["fuse", key] if table == Table::Heartbeat => (Table::Fuse, *key),
        ["tls", key] if table == Table::Heartbeat => (Table::Tls, *key),
        ["start", key] => (Table::Start, *key),
        ["stop", key] => (Table::Stop, *key),
        ["restart", key] => (Table::Restart, *key),
        ["limits", key] => (Table::Limits, *key),
        ["log", key] => (Table::Log, *key),
        ["slo", key] => (Table::Slo, *key),
        _ => return Err(PathError::NotAKey),
    };
    if keys::find(table, key).is_none() && !keys::reserved::is_reserved(table, key) {
        return Err(PathError::NoKey(key.to_owned(), table.as_str()));
    }
    if table == Table::Heartbeat && EARLY_KEYS.contains(&key) {
        return Err(PathError::FileOnly(key.to_owned()));
    }
    path.extend(rest.iter().map(|word| (*word).to_owned()));
    Ok(path)
}
