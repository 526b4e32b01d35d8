//! compose.yaml.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::age::parse_duration;
use crate::import::checks;
use crate::import::draft::{Draft, ToolDefault};
use crate::import::hosts;
use crate::import::ini::words;
use crate::import::ports::{Mapping, is_range, is_udp, mapping, mappings};
use crate::import::rules::NOT_STARTED;
use crate::import::values::{
    PACED, duration, environment, list, needs_a_shell, paced, scalar, scalars, size, table, text,
};
use crate::import::variables::Variables;
use crate::import::yaml::Table;

/// What compose and process-compose have by themselves.
pub(super) const DEFAULTS: &[ToolDefault] =
    &[ToolDefault { key: "restart.policy", theirs: "no restart", ours: "\"always\"" }];

pub(super) fn tables<'a>(root: &'a Value, key: &str) -> Result<&'a Table, String> {
    root.get(key).and_then(Value::as_object).ok_or_else(|| format!("it has no table `{key}`"))
}

/// What stands beside the services is named, too.
pub(super) fn others(draft: &mut Draft, root: &Value, known: &str, why: &str) {
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
pub(crate) fn compose(draft: &mut Draft, name: &str, root: &Value) -> Result<(), String> {
    others(draft, root, "services", "heartbeatd runs programs, not containers");
    draft.of_tool("compose", DEFAULTS);
    let mut variables = Variables::beside(Path::new(name));
    let services = tables(root, "services")?;
    let dir = Path::new(name).parent().unwrap_or(Path::new(""));
    for (name, service) in services {
        let Some(service) = service.as_object().map(|service| filled_in(&mut variables, service)) else {
            draft.dropped(name, "it is no table");
            continue;
        };
        let realm = draft.realm(name);
        command(draft, realm, name, &service);
        let runs = draft.has(realm, "run");
        if runs {
            hosts::named(draft, name, &service, services);
        }
        for (key, value) in &service {
            let place = format!("{name}.{key}");
            if setting(draft, realm, &place, key, value, &service, dir).is_none() {
                draft.dropped(&place, "its value is not understood");
            }
        }
        if !runs && !draft.has(realm, "port") && !draft.has(realm, "health") {
            draft.approximated(
                name,
                "it has no port on this machine, so it is off (enabled = false): write health = \"tcp://HOST:PORT\"",
            );
            draft.add(realm, "enabled", "false");
            draft.add(realm, "health", "\"tcp://127.0.0.1:1\"");
        }
    }
    if !variables.names.is_empty() {
        let names: Vec<&str> = variables.names.iter().map(String::as_str).collect();
        let what = "heartbeatd fills them in from its environment and from `.env` beside heartbeat.toml; one that is not set is empty";
        draft.approximated(&format!("variables {}", names.join(", ")), what);
    }
    if !variables.fixed.is_empty() {
        let names: Vec<&str> = variables.fixed.iter().map(String::as_str).collect();
        let what = "their values of now (`.env`, or the default) are written where heartbeatd takes no variable, such as in `port`";
        draft.approximated(&format!("variables {}", names.join(", ")), what);
    }
    for form in &variables.unknown {
        draft.dropped(form, "heartbeatd has ${NAME}, ${NAME:-default} and ${NAME:?message} alone");
    }
    Ok(())
}

/// A service with its variables as heartbeatd fills them in; where ours takes a number, with their defaults.
fn filled_in(variables: &mut Variables, service: &Table) -> Table {
    const TEXTS: [&str; 10] = [
        "command",
        "entrypoint",
        "environment",
        "env_file",
        "working_dir",
        "user",
        "labels",
        "image",
        "healthcheck",
        "container_name",
    ];
    let of = |(key, value): (&String, &Value)| {
        let how = if TEXTS.contains(&key.as_str()) { Variables::ours } else { Variables::by_default };
        (key.clone(), variables.each(value, how))
    };
    service.iter().map(of).collect()
}

/// Words of a command of compose, which no shell reads.
fn command_words(value: &Value) -> Vec<String> {
    match value {
        Value::Array(_) => scalars(value).unwrap_or_default(),
        one => words(&scalar(one).unwrap_or_default()),
    }
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
    let parts: Vec<&Value> = [part("entrypoint"), part("command")].into_iter().flatten().collect();
    if let [one] = parts.as_slice()
        && let Some(line) = scalar(one)
        && !needs_a_shell(&without_variables(&line))
    {
        draft.set(realm, "run", text(&line));
        return;
    }
    let words: Vec<String> = parts.into_iter().flat_map(command_words).collect();
    draft.set(realm, "run", list(words.iter().map(String::as_str)));
}

/// A text without what heartbeatd fills in.
fn without_variables(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        out += &rest[..at];
        rest = rest[at..].split_once('}').map_or("", |(_, rest)| rest);
    }
    out + rest
}

/// Labels, of which one without a value is empty.
fn labels(value: &Value) -> Option<String> {
    let pairs = environment(value)?.into_iter().map(|(name, value)| {
        let is_inherited = value == format!("${{{name}:-}}");
        (name, if is_inherited { String::new() } else { value })
    });
    Some(table(&pairs.collect::<Vec<_>>()))
}

/// One setting of a service; `None` where its value is not understood.
fn setting(
    draft: &mut Draft,
    realm: usize,
    place: &str,
    key: &str,
    value: &Value,
    service: &Table,
    dir: &Path,
) -> Option<()> {
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
    const OF_PROGRAMS: [&str; 12] = [
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
        "ulimits",
        "oom_score_adj",
    ];
    let runs = draft.has(realm, "run");
    if !runs && OF_PROGRAMS.contains(&key) {
        draft.dropped(place, NOT_STARTED);
        return Some(());
    }
    match key {
        // With the command.
        "image" | "command" | "entrypoint" => {}
        "environment" => {
            draft.set_env(realm, place, environment(value)?);
        }
        "env_file" => env_files(draft, realm, place, value, dir)?,
        "working_dir" => draft.set(realm, "dir", text(&scalar(value)?)),
        "user" => {
            let written = scalar(value)?;
            let (user, group) = written.split_once(':').unwrap_or((&written, ""));
            draft.set(realm, "user", text(user));
            if !group.is_empty() {
                draft.group_of_user(realm, place, group);
            }
        }
        "ulimits" => ulimits(draft, realm, place, value.as_object()?),
        "oom_score_adj" => draft.oom_score(realm, &scalar(value)?)?,
        "ports" | "expose" => ports(draft, realm, place, value)?,
        "depends_on" => depends(draft, realm, place, value)?,
        "healthcheck" => healthcheck(draft, realm, place, value, service)?,
        "restart" if service.get("deploy").is_some_and(|deploy| deploy.get("restart_policy").is_some()) => {
            draft.dropped(place, "deploy.restart_policy says it, and wins in compose, too");
        }
        "restart" => restart(draft, realm, place, &scalar(value)?)?,
        "stop_signal" => draft.set(realm, "stop.signal", text(scalar(value)?.trim_start_matches("SIG"))),
        "stop_grace_period" => draft.set(realm, "stop.timeout", duration(&scalar(value)?)?),
        "mem_limit" => draft.set(realm, "limits.memory", size(&scalar(value)?)?),
        "cpus" => draft.set(realm, "limits.cpu", percent(value)?),
        "pids_limit" => draft.set(realm, "limits.tasks", scalar(value)?.parse::<u32>().ok()?.to_string()),
        "labels" => draft.set(realm, "labels", labels(value)?),
        "deploy" => deploy(draft, realm, place, value.as_object()?),
        "container_name" | "hostname" => draft.dropped(place, "a realm has its own name"),
        "logging" => draft.dropped(place, "output goes to state_dir/log/REALM.log; see `log`"),
        "profiles" if scalars(value)?.is_empty() => draft.understood(),
        "profiles" if runs => {
            draft.set(realm, "manual", "true");
            draft.approximated(
                place,
                "without its profile it is not started: heartbeat-cli start REALM starts it",
            );
        }
        "profiles" => {
            draft.add(realm, "enabled", "false");
            draft.approximated(place, "without its profile it does not run, so it is not watched: remove enabled = false where it does");
        }
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

/// The first file; the others are named. One that may be missing, and is, is left out.
fn env_files(draft: &mut Draft, realm: usize, place: &str, value: &Value, dir: &Path) -> Option<()> {
    let items: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    };
    let mut files = Vec::new();
    for item in items {
        let file = item.get("path").and_then(scalar).or_else(|| scalar(item))?;
        let is_optional = item.get("required").and_then(Value::as_bool) == Some(false);
        if !is_optional || draft.has_optional_file(place, &file, dir) {
            files.push(file);
        }
    }
    let Some(first) = files.first() else {
        draft.understood();
        return Some(());
    };
    draft.set(realm, "env_file", text(first));
    if files.len() > 1 {
        let others = files[1..].join(", ");
        draft.approximated(place, &format!("a realm has one file: put {others} into {first}"));
    }
    Some(())
}

/// The first port is the realm's: the one inside of the container for a program that runs here, else the one outside.
fn ports(draft: &mut Draft, realm: usize, place: &str, value: &Value) -> Option<()> {
    let Value::Array(items) = value else { return None };
    let (udp, items): (Vec<&Value>, Vec<&Value>) = items.iter().partition(|item| is_udp(item));
    if !udp.is_empty() {
        draft.dropped(
            place,
            "a port of UDP takes no connection: write `health` if the service can be asked by another way",
        );
    }
    if items.is_empty() {
        draft.understood();
        return Some(());
    }
    let runs = draft.has(realm, "run");
    let Mapping { outside, inside } = items.iter().find_map(|item| mapping(item))?;
    let port = if runs { inside } else { outside.unwrap_or(inside) };
    if draft.has(realm, "port") {
        draft.understood();
    } else {
        draft.set(realm, "port", port.to_string());
        if !draft.has(realm, "health") {
            draft.add(realm, "health", text(&format!("tcp://127.0.0.1:{port}")));
        }
        let what = match outside {
            Some(outside) if runs && outside != inside => Some(format!(
                "the program listens on {inside} here: what asked for {outside} has to ask for {inside}"
            )),
            None if !runs => {
                Some(format!("port {port} is one of the container: publish it, or nothing is there"))
            }
            _ => None,
        };
        if let Some(what) = what {
            draft.approximated(place, &what);
        }
    }
    if items.iter().any(|item| is_range(item)) {
        draft.approximated(place, "of a range the first port is the realm's");
    }
    if items.len() > 1 {
        draft.approximated(place, "a realm has one port: watch the others with entries of `health`");
    }
    Some(())
}

pub(super) fn depends(draft: &mut Draft, realm: usize, place: &str, value: &Value) -> Option<()> {
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
                            &format!("add while_down = \"restart\" to its need of {on} where an outage of that is to restart it"),
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

/// A health check that is switched off: the process is watched alone, where there is one.
fn unchecked(draft: &mut Draft, realm: usize, place: &str) {
    if draft.has(realm, "run") {
        draft.set(realm, "health", "{ process = true }");
    } else {
        draft.approximated(
            place,
            "without a check and without a process of its own, only its port can be watched",
        );
    }
}

fn healthcheck(draft: &mut Draft, realm: usize, place: &str, value: &Value, service: &Table) -> Option<()> {
    let check = value.as_object()?;
    if check.get("disable").is_some_and(|off| scalar(off).as_deref() == Some("true")) {
        unchecked(draft, realm, place);
        return Some(());
    }
    let Some(test) = check.get("test") else {
        draft.dropped(place, "its command is in the image: write what to ask into `health`");
        return Some(());
    };
    let (shell, words) = match test {
        Value::Array(_) => {
            let words = scalars(test)?;
            match words.first()?.as_str() {
                "NONE" => {
                    unchecked(draft, realm, place);
                    return Some(());
                }
                "CMD-SHELL" => (words.get(1).cloned(), Vec::new()),
                "CMD" => (None, words[1..].to_vec()),
                _ => (None, words),
            }
        }
        line => (scalar(line), Vec::new()),
    };
    let runs = draft.has(realm, "run");
    let there = mappings(service);
    let outside = |port: u16| {
        let found = there.iter().find(|mapping| mapping.inside == port && !runs);
        found.and_then(|mapping| mapping.outside).unwrap_or(port)
    };
    let asked = match &shell {
        Some(line) => checks::line(line).and_then(|words| checks::probe(&words, outside)),
        None => checks::probe(&words, outside),
    };
    let is_command = asked.is_none();
    let kind = asked.unwrap_or_else(|| match &shell {
        Some(line) => format!("exec = {}", list(["sh", "-c", line.as_str()])),
        None => format!("exec = {}", list(words.iter().map(String::as_str))),
    });
    let mut parts = vec![kind];
    let time = |key: &str| check.get(key).and_then(scalar).and_then(|text| duration(&text));
    let interval = time("interval").unwrap_or_else(|| "\"30s\"".to_owned());
    let timeout = match check.get("timeout") {
        Some(timeout) => duration(&scalar(timeout)?)?,
        None => shorter(&interval),
    };
    let (times, is_longer) = paced(Some(interval), Some(timeout), is_command);
    parts.extend(times);
    if is_longer {
        draft.approximated(&format!("{place}.interval"), PACED);
    }
    for (key, value) in check {
        let place = format!("{place}.{key}");
        draft.understood();
        match key.as_str() {
            "test" | "interval" | "timeout" | "disable" => {}
            "retries" => parts.push(format!("fail_after = {}", scalar(value)?.parse::<u32>().ok()?.max(1))),
            "start_period" => parts.push(format!("grace = {}", duration(&scalar(value)?)?)),
            _ => draft.dropped(&place, "heartbeatd has nothing like it"),
        }
    }
    draft.set(realm, "health", format!("{{ {} }}", parts.join(", ")));
    let what = if is_command {
        "the command runs on this machine: its program has to be installed here, and its addresses have to be those of this machine"
    } else {
        "heartbeatd asks by itself, without that program"
    };
    draft.approximated(place, what);
    Some(())
}

/// The time that Docker gives a check by itself, or its interval where that is shorter: heartbeatd runs one at a time.
fn shorter(interval: &str) -> String {
    const STANDARD: Duration = Duration::from_secs(30);
    match parse_duration(interval.trim_matches('"')) {
        Ok(interval) if interval > STANDARD => "\"30s\"".to_owned(),
        _ => interval.to_owned(),
    }
}

/// The limits of the system, each with its hard value.
fn ulimits(draft: &mut Draft, realm: usize, place: &str, limits: &Table) {
    for (name, value) in limits {
        let most = value.get("hard").or_else(|| value.get("soft")).unwrap_or(value);
        if scalar(most).and_then(|most| draft.limit(realm, name, &most)).is_none() {
            let what = "heartbeatd has limits.nofile, nproc, core, memlock and fsize alone";
            draft.dropped(&format!("{place}.{name}"), what);
        }
    }
}

fn restart(draft: &mut Draft, realm: usize, place: &str, policy: &str) -> Option<()> {
    match policy.split(':').next()? {
        "no" | "false" => draft.set(realm, "restart.policy", "\"never\""),
        "always" => draft.set(realm, "restart.policy", "\"always\""),
        "on-failure" => draft.set(realm, "restart.policy", "\"on-failure\""),
        // What an operator stops stays stopped here in any case.
        "unless-stopped" => draft.set(realm, "restart.policy", "\"always\""),
        _ => return None,
    }
    if let Some((_, most)) = policy.split_once(':') {
        draft.budget(realm, place, most.parse().ok()?, "compose counts over its whole life")?;
    }
    Some(())
}

/// `deploy.restart_policy`, which is `any` where it does not say its condition.
fn restart_policy(draft: &mut Draft, realm: usize, place: &str, policy: &Value) {
    let Some(policy) = policy.as_object() else { return draft.dropped(place, "it is no table") };
    if !policy.contains_key("condition") {
        draft.add(realm, "restart.policy", text("always"));
    }
    for (key, value) in policy {
        let place = format!("{place}.{key}");
        let written = scalar(value).unwrap_or_default();
        let done = match key.as_str() {
            "condition" => match written.as_str() {
                "none" => Some("never"),
                "on-failure" => Some("on-failure"),
                "any" => Some("always"),
                _ => None,
            }
            .map(|word| draft.set(realm, "restart.policy", text(word))),
            "delay" => duration(&written).map(|delay| draft.set(realm, "restart.backoff", delay)),
            "max_attempts" => written
                .parse()
                .ok()
                .and_then(|most| draft.budget(realm, &place, most, "compose counts within its `window`")),
            "window" => duration(&written).map(|window| draft.set(realm, "restart.verify_for", window)),
            _ => None,
        };
        if done.is_none() {
            draft.dropped(&place, "its value is not understood");
        }
    }
}

fn deploy(draft: &mut Draft, realm: usize, place: &str, deploy: &Table) {
    for (key, value) in deploy {
        let place = format!("{place}.{key}");
        match key.as_str() {
            "resources" if !draft.has(realm, "run") => {
                draft.dropped(&place, NOT_STARTED);
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
                    draft.dropped(&format!("{place}.reservations"), "heartbeatd reserves nothing");
                }
            }
            "restart_policy" if !draft.has(realm, "run") => draft.dropped(&place, NOT_STARTED),
            "restart_policy" => restart_policy(draft, realm, &place, value),
            "replicas" if value.as_i64() == Some(1) => draft.understood(),
            "replicas" => draft.dropped(
                &place,
                "declare a realm for each process, or let the program start its own workers",
            ),
            _ => draft.dropped(&place, "it is about a cluster"),
        }
    }
}
