//! compose.yaml and process-compose.yaml.

use serde_json::{Map, Value};

use crate::import::draft::Draft;
use crate::import::values::{
    PACED, duration, environment, list, needs_a_shell, paced, scalar, scalars, size, table, text,
};

type Table = Map<String, Value>;

fn tables<'a>(root: &'a Value, key: &str) -> Result<&'a Table, String> {
    root.get(key).and_then(Value::as_object).ok_or_else(|| format!("it has no table `{key}`"))
}

/// What stands beside the services is named, too.
fn others(draft: &mut Draft, root: &Value, known: &str, why: &str) {
    for key in
        root.as_object().into_iter().flat_map(Map::keys).filter(|key| *key != known && !key.starts_with("x-"))
    {
        if ["version", "name"].contains(&key.as_str()) {
            draft.dropped(key, "heartbeatd needs none");
        } else {
            draft.dropped(key, why);
        }
    }
}

/// `compose.yaml`: a service with a command becomes a realm that runs it on this machine; one with an image alone is
/// watched.
pub(crate) fn compose(draft: &mut Draft, root: &Value) -> Result<(), String> {
    others(draft, root, "services", "heartbeatd runs programs, not containers");
    for (name, service) in tables(root, "services")? {
        let Some(service) = service.as_object() else {
            draft.dropped(name, "it is no table");
            continue;
        };
        let realm = draft.realm(name);
        command(draft, realm, name, service);
        let runs = draft.has(realm, "run");
        for (key, value) in service {
            let place = format!("{name}.{key}");
            if setting(draft, realm, &place, key, value, runs).is_none() {
                draft.dropped(&place, "its value is not understood");
            }
        }
        if !runs && !draft.has(realm, "port") && !draft.has(realm, "health") {
            draft.approximated(name, "nothing says how to watch it: write health = \"tcp://HOST:PORT\"");
            draft.add(realm, "enabled", "false");
            draft.add(realm, "health", "\"tcp://127.0.0.1:1\"");
        }
    }
    Ok(())
}

/// `entrypoint` and `command` together; without them the program is in the image.
fn command(draft: &mut Draft, realm: usize, name: &str, service: &Table) {
    let part = |key: &str| service.get(key).filter(|value| !value.is_null());
    let image = part("image").and_then(scalar);
    // Arguments alone are for the program of the image.
    let is_flags = part("command")
        .and_then(scalars)
        .is_some_and(|words| words.first().is_some_and(|word| word.starts_with('-')));
    if part("entrypoint").is_none() && (part("command").is_none() || is_flags) {
        if is_flags {
            draft.dropped(&format!("{name}.command"), "these are arguments for the program of the image");
        }
        let what = image.map_or_else(
            || "its program is built into an image".to_owned(),
            |image| format!("its program is in the image {image}"),
        );
        draft.approximated(
            name,
            &format!("{what}: it is watched and not started; add `run` to have it started here"),
        );
        return;
    }
    if image.is_some() || part("build").is_some() {
        draft.approximated(
            name,
            "its command runs on this machine and not in a container: install what it needs",
        );
    }
    let mut words = Vec::new();
    for value in [part("entrypoint"), part("command")].into_iter().flatten() {
        match value {
            Value::Array(_) => {
                words.extend(scalars(value).unwrap_or_default().iter().map(|word| text(&unescaped(word))))
            }
            one if words.is_empty() => {
                // The only string: it is split as ours is.
                draft.set(realm, "run", text(&unescaped(&scalar(one).unwrap_or_default())));
                if part("entrypoint").is_some() && part("command").is_some() {
                    draft.approximated(
                        name,
                        "`entrypoint` and `command` are both strings: put them together in `run`",
                    );
                }
                return;
            }
            one => words.extend(scalar(one).unwrap_or_default().split_whitespace().map(text)),
        }
    }
    draft.set(realm, "run", format!("[{}]", words.join(", ")));
}

/// `$$` is compose's `$`, and ours before a brace.
fn unescaped(text: &str) -> String {
    let mut parts = text.split("$$");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out += if part.starts_with('{') { "$$" } else { "$" };
        out += part;
    }
    out
}

/// Labels, of which one without a value is empty.
fn labels(value: &Value) -> Option<String> {
    let pairs = environment(value)?.into_iter().map(|(name, value)| {
        let is_inherited = value == format!("${{{name}:-}}");
        (name, if is_inherited { String::new() } else { unescaped(&value) })
    });
    Some(table(&pairs.collect::<Vec<_>>()))
}

/// One setting of a service; `None` where its value is not understood.
fn setting(draft: &mut Draft, realm: usize, place: &str, key: &str, value: &Value, runs: bool) -> Option<()> {
    const CONTAINER: [&str; 24] = [
        "volumes",
        "networks",
        "network_mode",
        "build",
        "privileged",
        "cap_add",
        "cap_drop",
        "security_opt",
        "tmpfs",
        "secrets",
        "configs",
        "extra_hosts",
        "dns",
        "ipc",
        "pid",
        "devices",
        "platform",
        "tty",
        "stdin_open",
        "init",
        "read_only",
        "shm_size",
        "sysctls",
        "pull_policy",
    ];
    const OF_PROGRAMS: [&str; 10] = [
        "environment",
        "env_file",
        "working_dir",
        "user",
        "restart",
        "stop_signal",
        "stop_grace_period",
        "mem_limit",
        "cpus",
        "pids_limit",
    ];
    if !runs && OF_PROGRAMS.contains(&key) {
        draft.dropped(place, "it is about the program, which heartbeatd does not start");
        return Some(());
    }
    match key {
        // With the command.
        "image" | "command" | "entrypoint" => {}
        "environment" => {
            let pairs = environment(value)?.into_iter().map(|(name, value)| (name, unescaped(&value)));
            draft.set_env(realm, place, pairs.collect());
        }
        "env_file" => {
            let files = scalars(value)?;
            draft.set(realm, "env_file", text(files.first()?));
            if files.len() > 1 {
                draft.approximated(place, "only the first file is taken: put them together");
            }
        }
        "working_dir" => draft.set(realm, "dir", text(&scalar(value)?)),
        "user" => draft.set(realm, "user", text(scalar(value)?.split(':').next()?)),
        "ports" | "expose" => ports(draft, realm, place, value)?,
        "depends_on" => depends(draft, realm, place, value)?,
        "healthcheck" => healthcheck(draft, realm, place, value)?,
        "restart" => restart(draft, realm, place, &scalar(value)?)?,
        "stop_signal" => draft.set(realm, "stop.signal", text(scalar(value)?.trim_start_matches("SIG"))),
        "stop_grace_period" => draft.set(realm, "stop.timeout", duration(&scalar(value)?)?),
        "mem_limit" => draft.set(realm, "limits.memory", size(&scalar(value)?)?),
        "cpus" => draft.set(realm, "limits.cpu", percent(value)?),
        "pids_limit" => draft.set(realm, "limits.tasks", value.as_i64()?.to_string()),
        "labels" => draft.set(realm, "labels", labels(value)?),
        "deploy" => deploy(draft, realm, place, value.as_object()?),
        "container_name" | "hostname" => draft.dropped(place, "a realm has its own name"),
        "logging" => draft.dropped(place, "output goes to state_dir/log; see `log`"),
        "profiles" => draft.dropped(place, "write manual = true for what is started on request only"),
        key if key.starts_with("x-") => draft.dropped(place, "a key of one's own"),
        key if CONTAINER.contains(&key) => draft.dropped(place, "it is about the container"),
        _ => draft.dropped(place, "heartbeatd has nothing like it"),
    }
    Some(())
}

/// `1.5` processors as a share.
fn percent(value: &Value) -> Option<String> {
    let share = value
        .as_f64()
        .or_else(|| value.as_str()?.parse().ok())
        .filter(|share| *share > 0.0 && *share < 10_000.0)?;
    Some(text(&format!("{:.0}%", share * 100.0)))
}

/// The first port of this machine is the realm's.
fn ports(draft: &mut Draft, realm: usize, place: &str, value: &Value) -> Option<()> {
    let Value::Array(items) = value else { return None };
    let of = |item: &Value| match item {
        Value::Object(table) => {
            let port = table.get("published").or_else(|| table.get("target"))?;
            scalar(port)?.parse::<u16>().ok()
        }
        item => {
            // HOST:CONTAINER, ADDRESS:HOST:CONTAINER, CONTAINER.
            let item = scalar(item)?;
            let parts: Vec<&str> = item.split('/').next()?.split(':').collect();
            let port = if parts.len() > 1 { parts[parts.len() - 2] } else { parts[0] };
            port.parse::<u16>().ok()
        }
    };
    let port = of(items.first()?)?;
    if !draft.has(realm, "port") {
        draft.set(realm, "port", port.to_string());
        if !draft.has(realm, "health") {
            draft.add(realm, "health", text(&format!("tcp://127.0.0.1:{port}")));
        }
    }
    let mapped = items.first().and_then(scalar).is_some_and(|item| item.contains(':'));
    if mapped && draft.has(realm, "run") {
        draft.approximated(
            place,
            &format!(
                "port {port} is the one outside of the container: the program itself has to listen there"
            ),
        );
    }
    if items.len() > 1 {
        draft.approximated(place, "a realm has one port: watch the others with entries of `health`");
    }
    Some(())
}

fn depends(draft: &mut Draft, realm: usize, place: &str, value: &Value) -> Option<()> {
    match value {
        Value::Object(table) => {
            for (on, how) in table {
                let condition = how.get("condition").and_then(Value::as_str).unwrap_or("service_started");
                let until = match condition {
                    "service_started" | "process_started" => Some("started"),
                    "service_completed_successfully"
                    | "process_completed_successfully"
                    | "process_completed" => Some("done"),
                    // Ours waits for that unless told otherwise.
                    _ => None,
                };
                let optional = how.get("required").and_then(Value::as_bool) == Some(false);
                draft.need(
                    realm,
                    if optional { "wants" } else { "needs" },
                    on,
                    until.filter(|_| !optional),
                    place,
                );
                for key in how.as_object().into_iter().flat_map(Map::keys) {
                    match key.as_str() {
                        "condition" | "required" => {}
                        "restart" => draft.approximated(
                            place,
                            "write { realm = \"...\", while_down = \"restart\" } where a restart of the need is to restart it",
                        ),
                        _ => draft.dropped(&format!("{place}.{on}.{key}"), "heartbeatd has nothing like it"),
                    }
                }
            }
        }
        other => scalars(other)?.iter().for_each(|on| draft.need(realm, "needs", on, None, place)),
    }
    Some(())
}

fn healthcheck(draft: &mut Draft, realm: usize, place: &str, value: &Value) -> Option<()> {
    let check = value.as_object()?;
    if check.get("disable").and_then(Value::as_bool) == Some(true) {
        draft.understood();
        return Some(());
    }
    let test = check.get("test")?;
    let exec = match test {
        Value::Array(_) => {
            let words = scalars(test)?;
            match words.first()?.as_str() {
                "NONE" => {
                    draft.understood();
                    return Some(());
                }
                "CMD-SHELL" => list(["sh", "-c", words.get(1)?.as_str()]),
                "CMD" => list(words[1..].iter().map(String::as_str)),
                _ => list(words.iter().map(String::as_str)),
            }
        }
        line => list(["sh", "-c", scalar(line)?.as_str()]),
    };
    let mut parts = vec![format!("exec = {}", unescaped(&exec))];
    let interval = check
        .get("interval")
        .and_then(scalar)
        .and_then(|text| duration(&text))
        .unwrap_or_else(|| "\"30s\"".to_owned());
    let timeout = match check.get("timeout") {
        Some(timeout) => duration(&scalar(timeout)?)?,
        None => interval.clone(),
    };
    let (times, is_longer) = paced(Some(interval), Some(timeout), true);
    parts.extend(times);
    if is_longer {
        draft.approximated(&format!("{place}.interval"), PACED);
    }
    for (key, value) in check {
        let place = format!("{place}.{key}");
        draft.understood();
        match key.as_str() {
            "test" | "interval" | "timeout" | "disable" => {}
            "retries" => parts.push(format!("fail_after = {}", value.as_i64()?.max(1))),
            "start_period" => parts.push(format!("grace = {}", duration(&scalar(value)?)?)),
            _ => draft.dropped(&place, "heartbeatd has nothing like it"),
        }
    }
    draft.set(realm, "health", format!("{{ {} }}", parts.join(", ")));
    draft.approximated(place, "the check runs on this machine, where its programs and addresses may differ");
    Some(())
}

fn restart(draft: &mut Draft, realm: usize, place: &str, policy: &str) -> Option<()> {
    match policy.split(':').next()? {
        "no" | "false" => draft.set(realm, "restart.policy", "\"never\""),
        "always" => draft.set(realm, "restart.policy", "\"always\""),
        "on-failure" => draft.set(realm, "restart.policy", "\"on-failure\""),
        "unless-stopped" => {
            draft.set(realm, "restart.policy", "\"always\"");
            draft.approximated(place, "what an operator stops stays stopped in any case");
        }
        _ => return None,
    }
    if let Some((_, most)) = policy.split_once(':') {
        draft.set(realm, "restart.burst", most.parse::<u32>().ok()?.to_string());
    }
    Some(())
}

fn deploy(draft: &mut Draft, realm: usize, place: &str, deploy: &Table) {
    for (key, value) in deploy {
        let place = format!("{place}.{key}");
        match key.as_str() {
            "resources" if !draft.has(realm, "run") => {
                draft.dropped(&place, "it is about the program, which heartbeatd does not start");
            }
            "resources" => {
                let limits = value.get("limits").and_then(Value::as_object);
                for (name, value) in limits.into_iter().flatten() {
                    let place = format!("{place}.limits.{name}");
                    let limit = match name.as_str() {
                        "memory" => {
                            scalar(value).and_then(|text| size(&text)).map(|size| ("limits.memory", size))
                        }
                        "cpus" => percent(value).map(|share| ("limits.cpu", share)),
                        "pids" => value.as_i64().map(|count| ("limits.tasks", count.to_string())),
                        _ => None,
                    };
                    match limit {
                        Some((key, value)) => draft.set(realm, key, value),
                        None => draft.dropped(&place, "heartbeatd has nothing like it"),
                    }
                }
                if value.get("reservations").is_some() {
                    draft.dropped(&format!("{place}.reservations"), "nothing is reserved");
                }
            }
            "replicas" if value.as_i64() == Some(1) => draft.understood(),
            "replicas" => draft.dropped(
                &place,
                "declare a realm for each process, or let the program start its own workers",
            ),
            _ => draft.dropped(&place, "it is about a cluster"),
        }
    }
}

/// `process-compose.yaml`.
pub(crate) fn process_compose(draft: &mut Draft, root: &Value) -> Result<(), String> {
    others(draft, root, "processes", "heartbeatd has nothing like it for all realms; see [defaults]");
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
            draft.set(realm, "run", text(&line));
            if needs_a_shell(&line) {
                draft.add(realm, "shell", "true");
            }
        }
        "working_dir" => draft.set(realm, "dir", text(&scalar(value)?)),
        "environment" => draft.set_env(realm, place, environment(value)?),
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
                    "command" => {
                        draft.set(realm, "stop.command", list(["sh", "-c", scalar(value)?.as_str()]))
                    }
                    _ => draft.dropped(&format!("{place}.{key}"), "heartbeatd has nothing like it"),
                }
            }
        }
        "log_location" => draft.dropped(place, "output goes to state_dir/log"),
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
            "exec" => format!("exec = {}", list(["sh", "-c", scalar(value.get("command")?)?.as_str()])),
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
                draft.set(realm, "restart.burst", most)
            }
            _ => draft.dropped(&place, "heartbeatd has nothing like it"),
        }
    }
}
