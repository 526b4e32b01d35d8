//! ecosystem.json of pm2.

use serde_json::Value;

use crate::import::draft::{Draft, ToolDefault};
use crate::import::ini::words;
use crate::import::values::{
    duration, environment, list, literal, needs_a_shell, scalar, scalars, size, text,
};
use crate::import::yaml;

const DEFAULTS: &[ToolDefault] = &[
    ToolDefault {
        key: "stop.signal",
        theirs: "SIGINT to every process of it",
        ours: "SIGTERM to the main process",
    },
    ToolDefault { key: "stop.timeout", theirs: "1.6 s", ours: "10 s" },
    ToolDefault {
        key: "restart.burst",
        theirs: "16 restarts, then none",
        ours: "6 in 10 min, then a trial per cooldown",
    },
];

pub(crate) fn translate(draft: &mut Draft, file: &str) -> Result<(), String> {
    // pm2 takes YAML, too.
    let root: Value = match file.trim_start().starts_with('{') {
        true => serde_json::from_str(file).map_err(|error| error.to_string())?,
        false => yaml::parse(file)?,
    };
    let apps = root.get("apps").and_then(Value::as_array).ok_or("it has no list `apps`")?;
    for key in root.as_object().into_iter().flat_map(serde_json::Map::keys).filter(|key| *key != "apps") {
        draft.dropped(key, "heartbeatd has nothing like it");
    }
    draft.of_tool("pm2", DEFAULTS);
    for (at, app) in apps.iter().enumerate() {
        let name = app.get("name").and_then(scalar).unwrap_or_else(|| format!("app-{}", at + 1));
        let Some(table) = app.as_object() else {
            draft.dropped(&name, "it is no table");
            continue;
        };
        let realm = draft.realm(&name);
        let run: Vec<String> = command(app).iter().map(|word| literal(word)).collect();
        let line = run.join(" ");
        if run.is_empty() {
            draft.dropped(&format!("{name}.script"), "there is none");
        } else if words(&line) == run && !needs_a_shell(&line.replace("${", "")) {
            draft.set(realm, "run", text(&line));
        } else {
            draft.set(realm, "run", list(run.iter().map(String::as_str)));
        }
        for (key, value) in table {
            let place = format!("{name}.{key}");
            if setting(draft, realm, &place, key, value).is_none() {
                draft.dropped(&place, "its value is not understood");
            }
        }
        if let Some(group) = table.get("gid") {
            let place = format!("{name}.gid");
            match scalar(group) {
                Some(group) => draft.group_of_user(realm, &place, &group),
                None => draft.dropped(&place, "its value is not understood"),
            }
        }
    }
    Ok(())
}

/// Interpreter, script and arguments; a script of JavaScript is read by node.
fn command(app: &Value) -> Vec<String> {
    // A text is split into words, and a list has them already.
    let part = |key: &str| match app.get(key) {
        Some(Value::Array(_)) => app.get(key).and_then(scalars).unwrap_or_default(),
        Some(one) => words(&scalar(one).unwrap_or_default()),
        None => Vec::new(),
    };
    let script = part("script");
    let file = script.first().cloned().unwrap_or_default();
    let interpreter = match part("interpreter").as_slice() {
        [] if [".js", ".mjs", ".cjs"].iter().any(|end| file.ends_with(end)) => vec!["node".to_owned()],
        [] if file.ends_with(".py") => vec!["python3".to_owned()],
        [none] if none == "none" => Vec::new(),
        other => other.to_vec(),
    };
    [interpreter, part("node_args"), script, part("args")].concat()
}

/// A time of pm2: a bare number is one of milliseconds, also in quotes.
fn time(value: &Value) -> Option<String> {
    let written = scalar(value)?;
    let is_bare = written.bytes().all(|byte| byte.is_ascii_digit());
    duration(&if is_bare { written + "ms" } else { written })
}

fn setting(draft: &mut Draft, realm: usize, place: &str, key: &str, value: &Value) -> Option<()> {
    let is_none = |value: &Value| scalar(value).as_deref() == Some("0");
    match key {
        // With the command.
        "name" | "script" | "args" | "interpreter" | "node_args" => {}
        "cwd" => draft.set(realm, "dir", text(&scalar(value)?)),
        "env" => {
            let pairs = environment(value)?.into_iter().map(|(name, value)| (name, literal(&value)));
            draft.set_env(realm, place, pairs.collect());
        }
        "max_memory_restart" => draft.set(realm, "limits.memory", size(&scalar(value)?)?),
        "autorestart" if value.as_bool()? => draft.understood(),
        "autorestart" => draft.set(realm, "restart.policy", "\"never\""),
        "max_restarts" if is_none(value) => {
            draft.is_said(realm, "restart.burst");
            draft.dropped(place, "a start is tried again here; restart.policy = \"never\" keeps a realm from that");
        }
        "max_restarts" => {
            let most = scalar(value)?.parse().ok()?;
            draft.budget(realm, place, most, "pm2 counts those of a program that ends before min_uptime")?;
        }
        "restart_delay" | "exp_backoff_restart_delay" if is_none(value) => draft.understood(),
        "restart_delay" | "exp_backoff_restart_delay" => draft.set(realm, "restart.backoff", time(value)?),
        "min_uptime" => draft.approximated(
            place,
            "a restart counts until the realm has been healthy for restart.reset_after (60 s unless you set it)",
        ),
        "kill_timeout" => draft.set(realm, "stop.timeout", time(value)?),
        "wait_ready" => draft.approximated(place, "heartbeatd reads no ready message of pm2: add `health`"),
        "listen_timeout" => draft.dropped(place, "pm2 kills nothing for it: a start that takes too long ends by start.timeout (60 s unless you set it)"),
        "kill_signal" => draft.set(realm, "stop.signal", text(scalar(value)?.trim_start_matches("SIG"))),
        "uid" | "user" => draft.set(realm, "user", text(&scalar(value)?)),
        // When the user is known.
        "gid" => {}
        "stop_exit_codes" => {
            let codes: Option<Vec<u8>> = scalars(value)?.iter().map(|code| code.trim().parse().ok()).collect();
            draft.set(realm, "restart.never_codes", format!("{:?}", codes?));
        }
        "namespace" => draft.set(realm, "group", text(&scalar(value)?)),
        "instances" if value.as_i64() == Some(1) => draft.understood(),
        "instances" | "exec_mode" => {
            draft.dropped(place, "declare a realm for each process, or let the program start its own workers")
        }
        "watch" if value.as_bool() == Some(false) => draft.understood(),
        "watch" | "ignore_watch" => draft.dropped(place, "heartbeatd watches no files: heartbeat-cli restart REALM does it"),
        "cron_restart" => draft.dropped(place, "heartbeatd starts nothing by the clock: let cron run heartbeat-cli restart REALM"),
        "out_file" | "error_file" | "log_file" | "merge_logs" | "log_date_format" => {
            draft.dropped(place, "output goes to state_dir/log/REALM.log")
        }
        key if key.starts_with("env_") => {
            draft.dropped(place, "a realm has one environment, that of `env`: write these into it where they are meant")
        }
        _ => draft.dropped(place, "heartbeatd has nothing like it"),
    }
    Some(())
}
