//! Other tools' words: what to write here for what compose, systemd, supervisord, Kubernetes and pm2 say.

use figment::value::Value;

use crate::keys::{self, Table};

use Table::{Fuse, Health, Heartbeat, Limits, Log, Need, Realm, Restart, Root, Start, Stop};

/// What a person who knows another tool should write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    /// This line: the value has another form here.
    Line(&'static str),
    /// There is no such thing, and this is what to do.
    Nothing(&'static str),
}

use Ours::{Line, Nothing};

/// Words as [`folded`] that no key of ours takes the place of alone; those for which one does stand with the key.
const WORDS: &[(Table, &[&str], Ours)] = &[
    (Realm, &["before"], Line("after = [\"THIS_REALM\"] in the realm that comes later")),
    (
        Realm,
        &["healthcheck", "healthchecks", "healthurl", "url", "http", "check", "checks", "probe", "probes"],
        Line("health = \"http://127.0.0.1:8001/api/health/\""),
    ),
    (
        Realm,
        &["livenessprobe", "readinessprobe", "startupprobe"],
        Line("health = { http = \"http://127.0.0.1:8001/api/health/\", role = \"live\" }"),
    ),
    (Realm, &["test"], Line("health = { exec = \"...\" }")),
    (
        Realm,
        &["type"],
        Line(
            "oneshot = true for a command that ends, health = { notify = true } for sd_notify, or nothing for a service",
        ),
    ),
    (Realm, &["autostart"], Line("manual = true for a realm that is started on request only")),
    (Realm, &["disabled"], Line("enabled = false")),
    (Realm, &["ports", "listen", "expose"], Line("port = 8001")),
    (
        Realm,
        &["autorestart", "restartpolicy"],
        Line("restart = { policy = \"always\" }, or \"on-failure\", or \"never\""),
    ),
    (
        Realm,
        &["maxrestarts", "startretries", "restartlimit", "startlimitburst", "retries"],
        Line("restart = { burst = 6 }"),
    ),
    (Realm, &["startlimitintervalsec", "startlimitinterval"], Line("restart = { window = \"10m\" }")),
    (
        Realm,
        &["restartsec", "restartdelay", "backoff", "minuptime"],
        Line("restart = { backoff = \"500ms\" }"),
    ),
    (Realm, &["exitcodes", "successexitstatus"], Line("restart = { success_codes = [0] }")),
    (Realm, &["restartpreventexitstatus", "stopexitcodes"], Line("restart = { never_codes = [1] }")),
    (Realm, &["startsecs"], Line("start = { settle = \"1s\" }")),
    (Realm, &["timeoutstartsec", "starttimeout", "timeoutsec"], Line("start = { timeout = \"60s\" }")),
    (
        Realm,
        &["startperiod", "initialdelayseconds"],
        Line("health = { http = \"http://127.0.0.1:8001/api/health/\", grace = \"30s\" }"),
    ),
    (Realm, &["execstartpre", "prestart"], Line("start = { before = \"...\" }")),
    (Realm, &["execstartpost", "poststart"], Line("start = { after = \"...\" }")),
    (Realm, &["stopsignal", "killsignal"], Line("stop = { signal = \"TERM\" }")),
    (
        Realm,
        &["stopasgroup", "killasgroup", "killmode"],
        Line("stop = { signal_to = \"tree\" } to signal all processes at once"),
    ),
    (
        Realm,
        &["stopwaitsecs", "timeoutstopsec", "stopgraceperiod", "killtimeout"],
        Line("stop = { timeout = \"10s\" }"),
    ),
    (Realm, &["execstop", "stopcommand"], Line("stop = { command = \"...\" }")),
    (
        Realm,
        &[
            "stdoutlogfile",
            "stderrlogfile",
            "standardoutput",
            "standarderror",
            "logfile",
            "logging",
            "stdout",
            "stderr",
            "outfile",
            "errorfile",
        ],
        Line("log = { to = \"file\" }; its place is state_dir/log"),
    ),
    (
        Realm,
        &["memorymax", "memorylimit", "memlimit", "maxmemoryrestart"],
        Line("limits = { memory = \"512MiB\" }"),
    ),
    (Realm, &["cpus", "cpuquota"], Line("limits = { cpu = \"150%\" }")),
    (Realm, &["limitnofile", "ulimits", "minfds"], Line("limits = { nofile = 65536 }")),
    (Realm, &["tasksmax", "pidslimit"], Line("limits = { tasks = 512 }")),
    (
        Realm,
        &["priority"],
        Nothing(
            "the order follows from `needs` and `after`; a process's own priority is limits = { nice = 10 }",
        ),
    ),
    (
        Realm,
        &["numprocs", "replicas", "instances", "scale", "processes", "deploy", "execmode"],
        Nothing("declare a realm for each process, or let the program start its own workers"),
    ),
    (
        Realm,
        &["cron", "schedule", "oncalendar", "cronrestart"],
        Nothing("it starts nothing by the clock: let cron or a systemd timer do that"),
    ),
    (
        Realm,
        &["watch", "ignorewatch"],
        Nothing("it watches no files: restart the realm with `heartbeat-cli restart`"),
    ),
    (
        Realm,
        &["image", "build", "container", "containername", "volumes", "networks"],
        Nothing("it runs programs, not containers; run = \"docker run ...\" is a program"),
    ),
    (Stop, &["killmode"], Line("signal_to = \"tree\" to signal all processes at once")),
    (
        Log,
        &["path", "file", "target", "driver", "stdout", "stderr"],
        Line("to = \"file\"; its place is state_dir/log"),
    ),
    (Health, &["tcpsocket", "port", "address"], Line("tcp = \"127.0.0.1:5432\"")),
    (Health, &["path"], Line("http = \"http://127.0.0.1:8001/api/health/\"")),
    (Need, &["condition"], Line("until = \"up\", \"started\" or \"done\"")),
    (Heartbeat, &["bind", "address", "port", "host", "listenaddress"], Line("listen = \"127.0.0.1:4327\"")),
    (Root, &["settings", "daemon", "global", "supervisord", "server", "manager"], Line("[heartbeat]")),
    (Root, &["default", "common", "base"], Line("[defaults]")),
    (
        Root,
        &["alert", "alerts", "notification", "notifications", "receivers", "webhook", "webhooks"],
        Line("[notify.NAME]"),
    ),
    (Root, &["unit", "install"], Line("[realm.NAME], with what the unit said as keys of the realm")),
    (
        Root,
        &["networks", "volumes", "version", "secrets", "configs"],
        Nothing("it runs programs, not containers: remove it"),
    ),
];

/// Tables that hold what we call realms, by name.
const TABLES_OF_REALMS: &[&str] = &[
    "service",
    "services",
    "program",
    "programs",
    "app",
    "apps",
    "application",
    "process",
    "processes",
    "realms",
    "daemons",
    "job",
    "jobs",
    "task",
    "tasks",
    "watcher",
    "worker",
    "workers",
];

/// A word without what differs between tools: case, `-` and `_`.
pub(crate) fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | '.')).map(|c| c.to_ascii_lowercase()).collect()
}

/// The way out for a key that is none of ours.
pub(crate) fn instead(table: Table, name: &str, value: &Value) -> Option<String> {
    let word = folded(name);
    if table == Root
        && let Some(help) = as_realms(name, &word, value)
    {
        return Some(help);
    }
    // Our own key in another spelling.
    if let Some(key) = keys::names(table).find(|key| folded(key) == word) {
        return Some(in_our_form(key, value).unwrap_or_else(|| format!("write {}", line(key, value))));
    }
    if let Some(key) = called(table, &word) {
        return Some(format!("write {}", line(key, value)));
    }
    let (_, _, ours) = WORDS.iter().find(|(of, words, _)| *of == table && words.contains(&word.as_str()))?;
    Some(match ours {
        Line(line) => format!("write {line}"),
        Nothing(instead) => format!("heartbeatd does not have that: {instead}"),
    })
}

/// The key of ours that other tools call so.
fn called(table: Table, word: &str) -> Option<&'static str> {
    keys::of(table).find(|key| key.also.contains(&word)).map(|key| key.name)
}

/// A key of ours that belongs into another table: where to write it.
pub(crate) fn elsewhere(table: Table, name: &str, value: &Value, path: &[String]) -> Option<String> {
    let realm = match path {
        [first, name, ..] if first == "realm" => format!("[realm.{name}]"),
        _ => "[defaults]".to_owned(),
    };
    let written = line(name, value);
    let has = |table: Table| keys::find(table, name).is_some();
    const WITHIN_A_REALM: [Table; 6] = [Start, Stop, Restart, Limits, Log, Health];
    match table {
        Realm => {
            let tables: Vec<&str> =
                WITHIN_A_REALM.into_iter().filter(|table| has(*table)).map(Table::as_str).collect();
            let first = tables.first()?;
            Some(if tables.len() == 1 {
                format!("write {first} = {{ {written} }}")
            } else {
                format!("write it in {}, for example {first} = {{ {written} }}", tables.join(" or "))
            })
        }
        _ if WITHIN_A_REALM.contains(&table) && has(Realm) => {
            Some(format!("write {written} in {realm}, not in {}", table.as_str()))
        }
        _ if WITHIN_A_REALM.contains(&table) => {
            let other = WITHIN_A_REALM.into_iter().find(|other| has(*other))?;
            Some(format!("write {} = {{ {written} }} in {realm}", other.as_str()))
        }
        Heartbeat if has(Fuse) => Some(format!("write fuse = {{ {written} }}")),
        Fuse if has(Heartbeat) => Some(format!("write {written} in [heartbeat]")),
        _ => None,
    }
}

/// The key of ours that a word stands for, for what is ignored because it begins with `x-`.
pub(crate) fn meant(table: Table, name: &str) -> Option<&'static str> {
    let word = folded(name);
    if table == Root && (TABLES_OF_REALMS.contains(&word.as_str()) || word == "realm") {
        return Some("[realm.NAME]");
    }
    if let Some(key) = keys::names(table).find(|key| folded(key) == word).or_else(|| called(table, &word)) {
        return Some(key);
    }
    WORDS.iter().find(|(of, words, _)| *of == table && words.contains(&word.as_str())).and_then(
        |(_, _, ours)| match ours {
            Line(line) => Some(*line),
            Nothing(_) => None,
        },
    )
}

/// A word that means `run` in another tool: the realm has a program, under a wrong name.
pub(crate) fn means_run(name: &str) -> bool {
    let word = folded(name.strip_prefix("x-").unwrap_or(name));
    word == "run" || called(Realm, &word) == Some("run")
}

/// `[services.web]`, `[program.api]`, `[api]`: a realm under another heading.
fn as_realms(name: &str, word: &str, value: &Value) -> Option<String> {
    let Value::Dict(_, table) = value else { return None };
    if TABLES_OF_REALMS.contains(&word) {
        let inner = table.iter().find(|(_, value)| matches!(value, Value::Dict(..)));
        let name = inner.map_or("NAME", |(name, _)| name.as_str());
        return Some(format!("write [realm.{name}]"));
    }
    let is_realm =
        |key: &String| ["run", "health", "needs", "port"].contains(&key.as_str()) || means_run(key);
    table.keys().any(is_realm).then(|| format!("write [realm.{name}]"))
}

/// What to type where another tool takes another form: the next attempt must not fail.
pub(crate) fn in_our_form(key: &str, value: &Value) -> Option<String> {
    if matches!(value, Value::Dict(..)) {
        return None;
    }
    let text = value.as_str();
    Some(match (key, value) {
        ("listen", Value::Num(_, port)) => format!("write listen = \"127.0.0.1:{}\"", port.to_i128()?),
        ("restart", Value::String(_, word)) => {
            let policy = match word.as_str() {
                "never" | "no" | "off" => "never",
                "on-failure" => "on-failure",
                _ => "always",
            };
            format!("write restart = {{ policy = \"{policy}\" }}")
        }
        ("restart", Value::Bool(_, on)) => {
            format!("write restart = {{ policy = \"{}\" }}", if *on { "always" } else { "never" })
        }
        ("log", _) if text.is_some_and(|text| ["none", "journal", "file"].contains(&text)) => {
            format!("write log = {{ to = \"{}\" }}", text.unwrap_or_default())
        }
        ("log", _) => "write log = { to = \"file\" }; its place is state_dir/log".to_owned(),
        ("start", _) => "write start = { timeout = \"60s\" }".to_owned(),
        ("stop", _) => "write stop = { timeout = \"10s\" }".to_owned(),
        ("limits", _) => "write limits = { memory = \"512MiB\" }".to_owned(),
        ("env", _) => "write env = { NAME = \"value\" }".to_owned(),
        ("labels", _) => "write labels = { team = \"core\" }".to_owned(),
        ("fuse", _) => "write fuse = { parallel = 2 }".to_owned(),
        _ => return None,
    })
}

/// `key = value` as it should stand, as far as the value can be written in a line.
fn line(key: &str, value: &Value) -> String {
    match scalar(value) {
        Some(text) => format!("{key} = {text}"),
        None => match value {
            Value::Dict(..) => format!("{key} = {{ ... }}"),
            _ => format!("{key} = ..."),
        },
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(format!("{text:?}")),
        Value::Bool(_, value) => Some(value.to_string()),
        Value::Num(_, number) => number.to_i128().map(|number| number.to_string()),
        Value::Array(_, items) => {
            let items: Option<Vec<String>> = items.iter().map(scalar).collect();
            items.map(|items| format!("[{}]", items.join(", ")))
        }
        Value::Char(..) | Value::Empty(..) | Value::Dict(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_the_wrong_table_is_sent_to_its_own() {
        let path = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let in_realm = path(&["realm", "api", "start"]);
        let of = |table, name: &str, value: Value| elsewhere(table, name, &value, &in_realm);
        assert_eq!(
            of(Start, "manual", true.into()).as_deref(),
            Some("write manual = true in [realm.api], not in start")
        );
        assert_eq!(
            elsewhere(Start, "manual", &true.into(), &path(&["defaults", "start"])).as_deref(),
            Some("write manual = true in [defaults], not in start")
        );
        assert_eq!(of(Realm, "burst", 3.into()).as_deref(), Some("write restart = { burst = 3 }"));
        assert_eq!(
            of(Realm, "timeout", "5s".into()).as_deref(),
            Some("write it in start or stop or health, for example start = { timeout = \"5s\" }")
        );
        assert_eq!(
            of(Restart, "signal", "INT".into()).as_deref(),
            Some("write stop = { signal = \"INT\" } in [realm.api]")
        );
        assert_eq!(of(Heartbeat, "parallel", 2.into()).as_deref(), Some("write fuse = { parallel = 2 }"));
        assert_eq!(of(Need, "zzz", 2.into()), None);
    }

    #[test]
    fn every_word_has_one_way_out_and_none_is_a_key_itself() {
        let mut all: Vec<(Table, &str)> =
            keys::keys().flat_map(|key| key.also.iter().map(|word| (key.table, *word))).collect();
        all.extend(WORDS.iter().flat_map(|(table, words, _)| words.iter().map(|word| (*table, *word))));
        for (at, (table, word)) in all.iter().enumerate() {
            assert_eq!(*word, folded(word), "{word} is not as words are compared");
            assert!(!keys::names(*table).any(|key| folded(key) == *word), "{table:?}: `{word}` is a key");
            assert!(!all[at + 1..].contains(&(*table, *word)), "{table:?}: `{word}` stands twice");
        }
    }
}
