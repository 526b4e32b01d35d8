//! Other tools' words: what to write here for what compose, systemd, supervisord, Kubernetes and pm2 say.

use figment::value::Value;

use crate::keys::{self, Table};
use crate::translated::{Form, environment, folded, health, written};

use Table::{Fuse, Health, Heartbeat, Limits, Log, Need, Realm, Restart, Root, Start, Stop};

/// What a person who knows another tool should write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    /// This line: the value has another form here.
    Line(&'static str),
    /// This line with the value of the other tool in place of the dots, or with this one where it cannot be translated.
    As(&'static str, Form, &'static str),
    /// There is no such thing, and this is what to do.
    Nothing(&'static str),
}

use Ours::{As, Line, Nothing};

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
    (Realm, &["ports", "listen", "expose"], As("port = ...", Form::Port, "8001")),
    (
        Realm,
        &["autorestart", "restartpolicy"],
        Line("restart = { policy = \"always\" }, or \"on-failure\", or \"never\""),
    ),
    (
        Realm,
        &["maxrestarts", "startretries", "restartlimit", "startlimitburst", "retries"],
        As("restart = { burst = ... }", Form::Number, "6"),
    ),
    (
        Realm,
        &["startlimitintervalsec", "startlimitinterval"],
        As("restart = { window = ... }", Form::Duration, "\"10m\""),
    ),
    (
        Realm,
        &["restartsec", "restartdelay", "backoff", "minuptime"],
        As("restart = { backoff = ... }", Form::Duration, "\"500ms\""),
    ),
    (Realm, &["exitcodes", "successexitstatus"], As("restart = { success_codes = ... }", Form::Codes, "[0]")),
    (
        Realm,
        &["restartpreventexitstatus", "stopexitcodes"],
        As("restart = { never_codes = ... }", Form::Codes, "[1]"),
    ),
    (Realm, &["startsecs"], As("start = { settle = ... }", Form::Duration, "\"1s\"")),
    (
        Realm,
        &["timeoutstartsec", "starttimeout", "timeoutsec"],
        As("start = { timeout = ... }", Form::Duration, "\"60s\""),
    ),
    (
        Realm,
        &["startperiod", "initialdelayseconds"],
        Line("health = { http = \"http://127.0.0.1:8001/api/health/\", grace = \"30s\" }"),
    ),
    (Realm, &["execstartpre", "prestart"], As("start = { before = ... }", Form::Same, "\"COMMAND\"")),
    (Realm, &["execstartpost", "poststart"], As("start = { after = ... }", Form::Same, "\"COMMAND\"")),
    (Realm, &["stopsignal", "killsignal"], As("stop = { signal = ... }", Form::Signal, "\"TERM\"")),
    (
        Realm,
        &["stopasgroup", "killasgroup", "killmode"],
        Line("stop = { signal_to = \"tree\" } to signal all processes at once"),
    ),
    (
        Realm,
        &["stopwaitsecs", "timeoutstopsec", "stopgraceperiod", "killtimeout"],
        As("stop = { timeout = ... }", Form::Duration, "\"10s\""),
    ),
    (Realm, &["execstop", "stopcommand"], As("stop = { command = ... }", Form::Same, "\"COMMAND\"")),
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
        As("limits = { memory = ... }", Form::Size, "\"512MiB\""),
    ),
    (Realm, &["cpus", "cpuquota"], As("limits = { cpu = ... }", Form::Processors, "\"150%\"")),
    (Realm, &["limitnofile", "ulimits", "minfds"], As("limits = { nofile = ... }", Form::Number, "65536")),
    (Realm, &["tasksmax", "pidslimit"], As("limits = { tasks = ... }", Form::Number, "512")),
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
    if let Some(help) = by_value(table, &word, value) {
        return Some(help);
    }
    let (_, _, ours) = WORDS.iter().find(|(of, words, _)| *of == table && words.contains(&word.as_str()))?;
    Some(match ours {
        Line(line) => format!("write {line}"),
        As(line, form, example) => {
            let value = form.of(value);
            format!("write {}", line.replace("...", value.as_deref().unwrap_or(example)))
        }
        Nothing(instead) => format!("heartbeatd does not have that: {instead}"),
    })
}

/// The way out where it depends on what was written.
fn by_value(table: Table, word: &str, value: &Value) -> Option<String> {
    let on = || match value {
        Value::Bool(_, on) => Some(*on),
        Value::String(_, text) => match text.as_str() {
            "true" | "yes" | "on" | "always" => Some(true),
            "false" | "no" | "off" | "never" => Some(false),
            _ => None,
        },
        _ => None,
    };
    Some(match (table, word) {
        (Realm, "autostart") => match on()? {
            true => "remove it: heartbeatd starts every realm by itself".to_owned(),
            false => "write manual = true".to_owned(),
        },
        (Realm, "disabled") => match on()? {
            true => "write enabled = false".to_owned(),
            false => "remove it: a realm is enabled unless it says enabled = false".to_owned(),
        },
        (Realm, "autorestart" | "restartpolicy") => match (on(), value.as_str()) {
            (Some(true), _) => "remove it: a service is always restarted unless it says otherwise".to_owned(),
            (Some(false), _) => "write restart = { policy = \"never\" }".to_owned(),
            (None, Some("unexpected" | "on-failure" | "onfailure")) => {
                "write restart = { policy = \"on-failure\" }".to_owned()
            }
            (None, _) => return None,
        },
        (Realm, word) if MEANS_HEALTH.contains(&word) => format!("write health = {}", health(value)?),
        (Health, "port") => {
            let Value::Num(_, port) = value else { return None };
            format!("write tcp = \"127.0.0.1:{}\"", port.to_i128()?)
        }
        (Health, "tcpsocket" | "address") => format!("write tcp = {}", written(value)?),
        (Heartbeat, "port") => format!("write listen = \"127.0.0.1:{}\"", Form::Number.of(value)?),
        (Heartbeat, "bind" | "address" | "listenaddress") => format!("write listen = {}", written(value)?),
        _ => return None,
    })
}

/// What other tools call the probes of a realm.
const MEANS_HEALTH: &[&str] = &[
    "healthcheck",
    "healthchecks",
    "healthurl",
    "url",
    "http",
    "check",
    "checks",
    "probe",
    "probes",
    "test",
];

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
            Line(line) | As(line, ..) => Some(*line),
            Nothing(_) => None,
        },
    )
}

/// A word that means `health` in another tool.
pub(crate) fn means_health(name: &str) -> bool {
    MEANS_HEALTH.contains(&folded(name).as_str())
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
    // `[program:web]` of supervisord, `[Service]` of a unit, `[web]`.
    let own = name.rsplit(':').next().unwrap_or(name).to_ascii_lowercase();
    table.keys().any(is_realm).then(|| format!("write [realm.{own}]"))
}

/// What to type where another tool takes another form: the next attempt must not fail.
pub(crate) fn in_our_form(key: &str, value: &Value) -> Option<String> {
    if matches!(value, Value::Dict(..)) {
        return None;
    }
    if key == "env"
        && let Some(pairs) = environment(value)
    {
        return Some(format!("write env = {pairs}"));
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
    let value = match key {
        "env" => environment(value).or_else(|| written(value)),
        "needs" | "wants" | "after" => names(value).or_else(|| written(value)),
        _ => written(value),
    };
    format!("{key} = {}", value.as_deref().unwrap_or("..."))
}

/// `"a, b"`, or compose's table of conditions, as a list of names.
fn names(value: &Value) -> Option<String> {
    let names: Vec<&str> = match value {
        Value::String(_, text) => text.split([',', ' ']).filter(|name| !name.is_empty()).collect(),
        Value::Dict(_, table) => table.keys().map(String::as_str).collect(),
        _ => return None,
    };
    Some(format!("{names:?}"))
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
