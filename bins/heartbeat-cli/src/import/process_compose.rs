//! process-compose.yaml.

use serde_json::Value;

use crate::import::compose::{DEFAULTS, depends, others, tables};
use crate::import::draft::Draft;
use crate::import::procfile::in_the_foreground;
use crate::import::values::{
    PACED, duration, environment, list, literal, needs_a_shell, paced, scalar, text,
};
use crate::import::variables::Variables;
use crate::import::yaml::Table;

/// `process-compose.yaml`.
pub(crate) fn translate(draft: &mut Draft, root: &Value) -> Result<(), String> {
    others(draft, root, "processes", "heartbeatd has nothing like it for all realms; see [defaults]");
    draft.of_tool("process-compose", DEFAULTS);
    for (name, process) in tables(root, "processes")? {
        let Some(process) = process.as_object() else {
            draft.dropped(name, "it is no table");
            continue;
        };
        let realm = draft.realm(name);
        // The liveness probe first, so that the other one is beside it.
        let mut settings: Vec<(&String, &Value)> = process.iter().collect();
        settings.sort_by_key(|(key, _)| *key == "readiness_probe");
        for (key, value) in settings {
            let place = format!("{name}.{key}");
            if process_setting(draft, realm, &place, key, value).is_none() {
                draft.dropped(&place, "its value is not understood");
            }
        }
    }
    Ok(())
}

fn process_setting(draft: &mut Draft, realm: usize, place: &str, key: &str, value: &Value) -> Option<()> {
    match key {
        "command" => {
            let line = scalar(value)?;
            let line = in_the_foreground(draft, place, line.trim()).to_owned();
            draft.set(realm, "run", text(&literal(&line)));
            if needs_a_shell(&line) {
                draft.add(realm, "shell", "true");
            }
        }
        "working_dir" => draft.set(realm, "dir", text(&scalar(value)?)),
        "environment" => {
            let pairs = environment(&Variables::default().each(value, Variables::ours))?;
            draft.set_env(realm, place, pairs);
        }
        "depends_on" => depends(draft, realm, place, value)?,
        "description" => draft.set(realm, "title", text(&scalar(value)?)),
        "namespace" => draft.set(realm, "group", text(&scalar(value)?)),
        "disabled" => draft.set(realm, "manual", value.as_bool()?.to_string()),
        "readiness_probe" | "liveness_probe" => probe(draft, realm, place, value.as_object()?)?,
        "availability" => availability(draft, realm, place, value.as_object()?),
        "shutdown" => {
            for (key, value) in value.as_object()? {
                match key.as_str() {
                    "signal" => draft.set(realm, "stop.signal", text(&scalar(value)?)),
                    "timeout_seconds" => draft.set(realm, "stop.timeout", duration(&scalar(value)?)?),
                    "command" => draft.set(
                        realm,
                        "stop.command",
                        list(["sh", "-c", literal(&scalar(value)?).as_str()]),
                    ),
                    _ => draft.dropped(&format!("{place}.{key}"), "heartbeatd has nothing like it"),
                }
            }
        }
        "log_location" => draft.dropped(place, "output goes to state_dir/log/REALM.log"),
        _ => draft.dropped(place, "heartbeatd has nothing like it"),
    }
    Some(())
}

fn probe(draft: &mut Draft, realm: usize, place: &str, probe: &Table) -> Option<()> {
    let mut parts = Vec::new();
    for (key, value) in probe {
        parts.push(match key.as_str() {
            "http_get" => {
                let part = |key: &str, default: &str| {
                    value.get(key).and_then(scalar).unwrap_or_else(|| default.to_owned())
                };
                let url = format!(
                    "{}://{}:{}{}",
                    part("scheme", "http"),
                    part("host", "127.0.0.1"),
                    part("port", "80"),
                    part("path", "/")
                );
                format!("http = {}", text(&url))
            }
            "exec" => {
                let line = literal(&scalar(value.get("command")?)?);
                format!("exec = {}", list(["sh", "-c", line.as_str()]))
            }
            "period_seconds" | "timeout_seconds" => continue,
            "initial_delay_seconds" => format!("grace = {}", duration(&scalar(value)?)?),
            "failure_threshold" => format!("fail_after = {}", value.as_i64()?.max(1)),
            "success_threshold" => format!("pass_after = {}", value.as_i64()?.max(1)),
            _ => {
                draft.dropped(&format!("{place}.{key}"), "heartbeatd has nothing like it");
                continue;
            }
        });
    }
    let time = |key: &str| probe.get(key).and_then(scalar).and_then(|text| duration(&text));
    let (times, is_longer) =
        paced(time("period_seconds"), time("timeout_seconds"), probe.contains_key("exec"));
    parts.extend(times);
    if is_longer {
        draft.approximated(&format!("{place}.period_seconds"), PACED);
    }
    let both = match draft.value(realm, "health") {
        // Only what is not alive is restarted; what is not ready is down.
        Some(live) => format!("[{live}, {{ {}, name = \"ready\", role = \"ready\" }}]", parts.join(", ")),
        None => format!("{{ {} }}", parts.join(", ")),
    };
    draft.set(realm, "health", both);
    Some(())
}

fn availability(draft: &mut Draft, realm: usize, place: &str, availability: &Table) {
    for (key, value) in availability {
        let place = format!("{place}.{key}");
        let word = scalar(value).unwrap_or_default();
        match (key.as_str(), word.as_str()) {
            ("restart", "always") => draft.set(realm, "restart.policy", "\"always\""),
            ("restart", "on_failure") => draft.set(realm, "restart.policy", "\"on-failure\""),
            ("restart", "no" | "false") => {
                draft.set(realm, "restart.policy", "\"never\"");
            }
            ("backoff_seconds", seconds) if duration(seconds).is_some() => {
                draft.set(realm, "restart.backoff", duration(seconds).unwrap_or_default());
            }
            ("max_restarts", most) if most.parse::<u32>().is_ok_and(|most| most > 0) => {
                let counts = "process-compose counts over its whole life";
                _ = draft.budget(realm, &place, most.parse().unwrap_or_default(), counts);
            }
            _ => draft.dropped(&place, "heartbeatd has nothing like it"),
        }
    }
}
