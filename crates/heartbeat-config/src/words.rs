//! The words of other tools for what we call otherwise, and for what there is not: compose, systemd, supervisord,
//! Kubernetes and pm2.

use crate::keys::{self, RECEIVERS, Table};
use crate::translated::folded;

use Ours::{Check, Key, Nothing, Say};
use Table::{Health, Heartbeat, Limits, Log, Need, Notify, Realm, Restart, Root, Start, Stop};

/// What a person who knows another tool should write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ours {
    /// A key of ours, with the value of the other tool.
    Key(Table, &'static str),
    /// A health check, made of the value.
    Check,
    /// A sentence that says what to write.
    Say(&'static str),
    /// There is no such thing, and this is what to do.
    Nothing(&'static str),
}

/// Words as [`folded`] that no key of ours takes the place of alone; those for which one does stand with the key.
pub(crate) const WORDS: &[(Table, &[&str], Ours)] = &[
    (Realm, &["before"], Say("name this realm in `after` of the one that comes later")),
    (
        Realm,
        &["execreload", "reload"],
        Nothing("a program reloads by a signal: heartbeat-cli signal HUP REALM"),
    ),
    (Realm, &["redirectstderr"], Say("remove it: both outputs of a realm go to one file")),
    (Realm, &["processname"], Say("remove it: a realm is called as its heading says")),
    (
        Realm,
        &["wantedby", "requiredby", "alias"],
        Say("remove it: heartbeatd starts every realm that is `enabled` and not `manual`"),
    ),
    (
        Realm,
        &["profiles", "profile"],
        Say("a realm that is `manual` is started on request only; `group` names several at once"),
    ),
    (Realm, &["stdoutlogfilemaxbytes", "stderrlogfilemaxbytes", "maxsize"], Key(Log, "max_size")),
    (Realm, &["stdoutlogfilebackups", "stderrlogfilebackups"], Key(Log, "keep")),
    (
        Realm,
        &[
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
            "livenessprobe",
            "readinessprobe",
            "startupprobe",
            "liveness",
            "readiness",
        ],
        Check,
    ),
    (
        Realm,
        &["type"],
        Say(
            "a command that ends is a `oneshot`, sd_notify is a `notify` probe of `health`, and a service needs neither",
        ),
    ),
    (Realm, &["autostart"], Say("a realm is started with heartbeatd unless it is `manual`")),
    (Realm, &["disabled"], Say("a realm is there unless `enabled` is false")),
    (Realm, &["ports", "listen", "expose"], Key(Realm, "port")),
    (Realm, &["autorestart", "restartpolicy"], Key(Restart, "policy")),
    (
        Realm,
        &["maxrestarts", "startretries", "restartlimit", "startlimitburst", "retries"],
        Key(Restart, "burst"),
    ),
    (Realm, &["startlimitintervalsec", "startlimitinterval"], Key(Restart, "window")),
    (Realm, &["restartsec", "restartdelay", "backoff"], Key(Restart, "backoff")),
    (Realm, &["minuptime"], Key(Restart, "reset_after")),
    (Realm, &["exitcodes", "successexitstatus"], Key(Restart, "success_codes")),
    (Realm, &["restartpreventexitstatus", "stopexitcodes"], Key(Restart, "never_codes")),
    (Realm, &["startsecs"], Key(Start, "settle")),
    (Realm, &["timeoutstartsec", "starttimeout", "timeoutsec"], Key(Start, "timeout")),
    (Realm, &["startperiod", "initialdelayseconds"], Key(Health, "grace")),
    (Realm, &["execstartpre", "prestart"], Key(Start, "before")),
    (Realm, &["execstartpost", "poststart"], Key(Start, "after")),
    (Realm, &["stopsignal", "killsignal"], Key(Stop, "signal")),
    (Realm, &["stopasgroup", "killasgroup", "killmode"], Key(Stop, "signal_to")),
    (Realm, &["stopwaitsecs", "timeoutstopsec", "stopgraceperiod", "killtimeout"], Key(Stop, "timeout")),
    (Realm, &["execstop", "stopcommand"], Key(Stop, "command")),
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
        Say(OWN_LOG),
    ),
    (
        Realm,
        &["memorymax", "memorylimit", "memlimit", "maxmemory", "maxmemoryrestart"],
        Key(Limits, "memory"),
    ),
    (Realm, &["cpus", "cpuquota", "maxcpu"], Key(Limits, "cpu")),
    (Realm, &["limitnofile", "ulimits", "minfds", "maxfds"], Key(Limits, "nofile")),
    (Realm, &["tasksmax", "pidslimit"], Key(Limits, "tasks")),
    (
        Realm,
        &["priority"],
        Nothing("the order follows from `needs` and `after`; a process's own priority is `nice` of `limits`"),
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
        &[
            "image",
            "build",
            "container",
            "containername",
            "volumes",
            "networks",
            "networkmode",
            "privileged",
            "capadd",
            "capdrop",
            "secrets",
            "configs",
            "tmpfs",
        ],
        Nothing("it runs programs, not containers; `docker run` is a program"),
    ),
    (
        Notify,
        &[
            "discord",
            "telegram",
            "teams",
            "msteams",
            "gotify",
            "matrix",
            "pushover",
            "opsgenie",
            "googlechat",
            "sms",
        ],
        Nothing(
            "`exec` runs a program for each step, `webhook` posts the incident, and `alertmanager` reaches many others",
        ),
    ),
    (
        Notify,
        &["email", "mail", "mailto", "emails"],
        Say("a mail has three keys: `smtp` (smtp://HOST:PORT of the server), `from` and `to`"),
    ),
    (Stop, &["killmode"], Key(Stop, "signal_to")),
    (Log, &["path", "file", "target", "driver", "stdout", "stderr"], Say(OWN_LOG)),
    (Health, &["tcpsocket", "port", "address"], Key(Health, "tcp")),
    (Need, &["condition"], Key(Need, "until")),
    (Heartbeat, &["bind", "address", "port", "host", "listenaddress"], Key(Heartbeat, "listen")),
    (
        Root,
        &["settings", "daemon", "global", "supervisord", "server", "manager"],
        Say("settings of heartbeatd itself are keys of [heartbeat]"),
    ),
    (Root, &["default", "common", "base"], Say("what all realms share are keys of [defaults]")),
    (
        Root,
        &["alert", "alerts", "notification", "notifications", "receivers", "webhook", "webhooks"],
        Say("each receiver is a table of its own below `notify`, for example [notify.ops]"),
    ),
    (
        Root,
        &["unit", "install"],
        Say("a unit is a realm here: `heartbeat-cli import UNIT.service` translates it"),
    ),
    (
        Root,
        &["networks", "volumes", "version", "secrets", "configs"],
        Nothing("it runs programs, not containers: remove it"),
    ),
];

/// Where output goes when no key says it.
pub(crate) const OWN_LOG: &str = "remove it: its output goes to a file, and its place is state_dir/log";

/// A word that means a kind of receiver, in another tool or here: the mistake is the word.
pub(crate) fn means_receiver(name: &str) -> bool {
    let word = folded(name);
    let of_words =
        |(table, words, _): &(Table, &[&str], Ours)| *table == Notify && words.contains(&word.as_str());
    called(Notify, &word).is_some_and(|ours| RECEIVERS.contains(&ours)) || WORDS.iter().any(of_words)
}

/// A word that means a kind of probe, in another tool: the mistake is the word.
pub(crate) fn means_kind(name: &str) -> bool {
    let word = folded(name);
    let is_kind = |ours: &str| keys::KINDS.contains(&ours);
    let of_words = |(table, words, ours): &(Table, &[&str], Ours)| {
        *table == Health
            && words.contains(&word.as_str())
            && matches!(ours, Key(Health, kind) if is_kind(kind))
    };
    called(Health, &word).is_some_and(is_kind) || WORDS.iter().any(of_words)
}

/// The key of a table within a realm that a word of another tool stands for, where it stands in the realm itself.
pub(crate) fn of_another_table(name: &str) -> Option<&'static keys::Key> {
    let word = folded(name);
    let (.., ours) = WORDS.iter().find(|(of, words, _)| *of == Realm && words.contains(&word.as_str()))?;
    match ours {
        Key(table, name) if *table != Realm => keys::find(*table, name),
        _ => None,
    }
}

/// A word of another tool for something of a realm.
pub(crate) fn is_known(name: &str) -> bool {
    let word = folded(name);
    called(Realm, &word).is_some()
        || WORDS.iter().any(|(of, words, _)| *of == Realm && words.contains(&word.as_str()))
}

/// The key of ours that other tools call so.
pub(crate) fn called(table: Table, word: &str) -> Option<&'static str> {
    keys::of(table).find(|key| key.also.contains(&word)).map(|key| key.name)
}

/// Every word of other tools for a table that no key of ours takes the place of alone.
#[cfg(test)]
pub(crate) fn words(table: Table) -> impl Iterator<Item = &'static str> {
    WORDS.iter().filter(move |(of, ..)| *of == table).flat_map(|(_, words, _)| words.iter().copied())
}

/// A word that means `health` in another tool.
pub(crate) fn means_health(name: &str) -> bool {
    let word = folded(name);
    WORDS.iter().any(|(of, words, ours)| *of == Realm && *ours == Check && words.contains(&word.as_str()))
}

/// What a word of another tool is here.
#[derive(Clone, Copy, Debug)]
pub enum Meaning {
    /// A key of ours.
    Key(&'static keys::Key),
    /// What to do, where no key takes its place alone.
    Advice(&'static str),
}

/// Everything that a word of another tool means, such as `depends_on`, `ExecStart=` or `unless-stopped`.
#[must_use]
pub fn meanings(word: &str) -> Vec<Meaning> {
    let folded = folded(word.trim_end_matches('='));
    let mut found: Vec<Meaning> =
        keys::keys().filter(|key| key.also.contains(&folded.as_str())).map(Meaning::Key).collect();
    for (_, _, ours) in WORDS.iter().filter(|(_, words, _)| words.contains(&folded.as_str())) {
        found.extend(match ours {
            Key(table, name) => keys::find(*table, name).map(Meaning::Key),
            Check => keys::find(Realm, "health").map(Meaning::Key),
            Say(sentence) | Nothing(sentence) => Some(Meaning::Advice(sentence)),
        });
    }
    if found.is_empty() && (folded == "restart" || policy(word).is_some()) {
        found.extend(keys::find(Restart, "policy").map(Meaning::Key));
    }
    found
}

/// The restart policy that a word of another tool stands for.
pub(crate) fn policy(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "unless-stopped" | "yes" | "true" | "any" => "always",
        "no" | "none" | "false" | "off" => "never",
        "unexpected" | "on_failure" | "onfailure" | "failure" | "on-abnormal" => "on-failure",
        _ => return None,
    })
}
