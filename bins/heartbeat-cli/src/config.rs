//! `config`: the configuration in force as the files, the environment and the defaults make it, without heartbeatd.

use std::collections::BTreeSet;

use heartbeat_config::{EffectiveKey, Format as ReportFormat, Sources, effective};

use crate::console::Console;
use crate::exit::{Exit, Outcome};
use crate::global::Format;

/// `config [--sources] [PREFIX..]`.
pub(crate) fn run(prefixes: &[String], sources: bool, console: &mut Console) -> Outcome {
    let keys = match effective(&Sources::from_process(None)) {
        Ok(keys) => keys,
        Err(report) => {
            let text = report.render(ReportFormat::Full, console.style.color);
            console.line(text.trim_end())?;
            return Ok(Exit::Usage);
        }
    };
    let wanted = |key: &&EffectiveKey| {
        prefixes.is_empty() || prefixes.iter().any(|prefix| is_below(&key.name, prefix))
    };
    let keys: Vec<&EffectiveKey> = keys.iter().filter(wanted).collect();
    if matches!(console.form, Format::Json | Format::Ndjson) {
        let entries: Vec<serde_json::Value> = keys
            .iter()
            .map(|key| serde_json::json!({ "name": key.name, "value": key.value, "source": key.source }))
            .collect();
        console.json(&entries)?;
        return Ok(Exit::Holds);
    }
    for key in &keys {
        let style = console.style;
        let source = if sources { format!("  # {}", key.source) } else { String::new() };
        console.line(&style.text(&format!("{} = {}{source}", key.name, key.value)))?;
    }
    if keys.is_empty() && !prefixes.is_empty() {
        console.note("no key begins so; `heartbeat-cli config` lists all of them");
    }
    Ok(Exit::Holds)
}

/// Names of the receivers of the configuration that lies here.
pub(crate) fn receivers() -> Vec<String> {
    let keys = effective(&Sources::from_process(None)).unwrap_or_default();
    let name = |key: &EffectiveKey| Some(key.name.strip_prefix("notify.")?.split('.').next()?.to_owned());
    let names: BTreeSet<String> = keys.iter().filter_map(name).collect();
    names.into_iter().collect()
}

/// `realm.api` is above `realm.api.run`, and not above `realm.api-2.run`.
fn is_below(name: &str, prefix: &str) -> bool {
    name == prefix || name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_dot() {
        assert!(is_below("realm.api.run", "realm.api") && is_below("realm.api.run", "realm.api.run"));
        assert!(!is_below("realm.api-2.run", "realm.api") && !is_below("realm.api", "realm.api.run"));
    }
}
