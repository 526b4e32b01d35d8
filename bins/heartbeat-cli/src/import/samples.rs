//! Ten files of each tool, as people have them: what becomes of them is written down, it loads, and no setting of them
//! is lost in silence.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::*;

/// Files of each tool.
const FILES_PER_TOOL: usize = 10;
const TOOLS: [(&str, ImportKind); 7] = [
    ("compose", ImportKind::Compose),
    ("process-compose", ImportKind::ProcessCompose),
    ("procfile", ImportKind::Procfile),
    ("systemd", ImportKind::Systemd),
    ("supervisord", ImportKind::Supervisord),
    ("pm2", ImportKind::Pm2),
    ("monit", ImportKind::Monit),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples/import")
}

/// The files of a tool with their names.
fn files(tool: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(folder().join(format!("{tool}.txt"))).unwrap();
    let parts = text.split("==> ").skip(1);
    parts
        .map(|part| part.split_once('\n').unwrap())
        .map(|(head, text)| (head.trim_end_matches(" <==").to_owned(), text.to_owned()))
        .collect()
}

/// What the terminal shows of a file, and whether it loads.
fn shown(kind: ImportKind, name: &str, text: &str) -> String {
    let mut draft = Draft::default();
    match translate(&mut draft, kind, name, text) {
        Ok(()) => {
            draft.resolve();
            format!("{}{}\n", draft.toml(), draft.report().join("\n"))
        }
        Err(why) => format!("{name} is not read: {why}\n"),
    }
}

#[test]
fn what_becomes_of_ten_files_of_each_tool_is_written_down_and_loads() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("app.env"), "A=1\n").unwrap();
    let mut wrong = Vec::new();
    for (tool, kind) in TOOLS {
        let files = files(tool);
        assert_eq!(files.len(), FILES_PER_TOOL, "{tool}");
        let mut all = String::new();
        for (name, text) in &files {
            if guess(Path::new(name), text) != Some(kind) {
                wrong.push(format!("{name}: taken for {:?}", guess(Path::new(name), text)));
            }
            let here = text.replace("__DIR__", dir.path().to_str().unwrap());
            let mut draft = Draft::default();
            if let Err(why) = translate(&mut draft, kind, name, &here) {
                wrong.push(format!("{name}: {why}"));
            }
            draft.resolve();
            let toml = draft.toml();
            let report = load_str(name, &toml, &BTreeMap::from([("HOME".to_owned(), "/root".to_owned())]));
            if let Err(report) = report {
                wrong.push(format!("{name}: {report}\n{toml}"));
            }
            all += &format!("==> {name} <==\n{}", shown(kind, name, text));
        }
        let path = folder().join(format!("{tool}.out.txt"));
        if std::env::var_os("HEARTBEAT_BLESS").is_some() {
            std::fs::write(&path, &all).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(all == expected, "{tool}: HEARTBEAT_BLESS=1 rewrites {}", path.display());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Tables whose keys are settings, too.
const NESTED: [&str; 12] = [
    "services",
    "processes",
    "healthcheck",
    "depends_on",
    "deploy",
    "readiness_probe",
    "liveness_probe",
    "availability",
    "shutdown",
    "environment",
    "env",
    "labels",
];

/// The document without one of its settings, for each of them.
fn without_one(value: &Value, is_setting: bool) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    match value {
        Value::Object(table) => {
            for (key, inner) in table {
                let mut less = table.clone();
                less.remove(key);
                if is_setting && !key.starts_with("x-") {
                    all.push((key.clone(), Value::Object(less)));
                }
                // Variables of a program that is not started are dropped as one.
                let runs = ["command", "entrypoint", "script"].iter().any(|key| table.contains_key(*key));
                let is_nested = NESTED.contains(&key.as_str())
                    && (key != "environment" || runs)
                    && !(key == "deploy" && table.contains_key("apps"));
                let below = is_nested || !is_setting;
                if below {
                    // The names of services are no settings; what is in them is.
                    let holds_names = ["services", "processes"].contains(&key.as_str());
                    for (path, inner) in without_one(inner, !holds_names) {
                        let mut changed = table.clone();
                        changed.insert(key.clone(), inner);
                        all.push((format!("{key}.{path}"), Value::Object(changed)));
                    }
                }
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (at, item) in items.iter().enumerate() {
                for (path, inner) in without_one(item, true) {
                    let mut changed = items.clone();
                    changed[at] = inner;
                    all.push((format!("{at}.{path}"), Value::Array(changed)));
                }
            }
        }
        _ => {}
    }
    all
}

fn of_value(kind: ImportKind, value: &Value) -> String {
    let mut draft = Draft::default();
    let read = match kind {
        ImportKind::Compose => compose::compose(&mut draft, "compose.yaml", value),
        ImportKind::ProcessCompose => process_compose::translate(&mut draft, value),
        _ => pm2::translate(&mut draft, &value.to_string()),
    };
    draft.resolve();
    format!("{read:?}\n{}{}", draft.toml(), draft.report().join("\n"))
}

/// The lines of a file that are settings of a program, as their numbers.
fn setting_lines(kind: ImportKind, text: &str) -> Vec<usize> {
    let mut of_program = kind == ImportKind::Procfile || kind == ImportKind::Monit;
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let word = line.trim();
        if let Some(section) = word.strip_prefix('[') {
            of_program = kind == ImportKind::Systemd || section.starts_with("program:");
            continue;
        }
        let goes_on = at > 0 && text.lines().nth(at - 1).is_some_and(|before| before.ends_with('\\'));
        let indented = kind == ImportKind::Supervisord && line.starts_with(' ');
        // Lines within `set httpd`, which is dropped as one.
        let of_httpd = ["use", "allow"].iter().any(|first| word.starts_with(first));
        if of_program
            && !word.is_empty()
            && !word.starts_with(['#', ';'])
            && !goes_on
            && !indented
            && !of_httpd
        {
            lines.push(at);
        }
    }
    lines
}

#[test]
fn no_setting_is_lost_in_silence() {
    let (mut removed, mut silent) = (0, Vec::new());
    for (tool, kind) in TOOLS {
        for (name, text) in files(tool) {
            let value = match kind {
                ImportKind::Compose | ImportKind::ProcessCompose => Some(yaml::parse(&text).unwrap()),
                ImportKind::Pm2 => Some(serde_json::from_str(&text).unwrap()),
                _ => None,
            };
            if let Some(value) = value {
                let whole = of_value(kind, &value);
                for (path, less) in without_one(&value, true) {
                    removed += 1;
                    if of_value(kind, &less) == whole {
                        silent.push(format!("{name}: {path}"));
                    }
                }
                continue;
            }
            let whole = shown(kind, &name, &text);
            for at in setting_lines(kind, &text) {
                let kept = text.lines().enumerate().filter(|(line, _)| *line != at).map(|(_, line)| line);
                let less = kept.collect::<Vec<_>>().join("\n");
                removed += 1;
                let line = text.lines().nth(at).unwrap();
                if shown(kind, &name, &less) == whole {
                    silent.push(format!("{name}: {line}"));
                }
            }
        }
    }
    assert!(silent.is_empty(), "these change nothing: {silent:#?}");
    assert!(removed > 300, "only {removed} settings found");
}
