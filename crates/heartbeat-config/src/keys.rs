//! The one table of keys: what exists, what it means, what it defaults to, and what is not built yet.

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// The top level of the file.
    Root,
    /// `[heartbeat]`
    Heartbeat,
    /// `[heartbeat.fuse]`
    Fuse,
    /// `[notify.NAME]`
    Notify,
    /// `[realm.NAME]` and `[defaults]`
    Realm,
    /// `[realm.NAME.start]`
    Start,
    /// `[realm.NAME.stop]`
    Stop,
    /// `[realm.NAME.restart]`
    Restart,
    /// `[realm.NAME.limits]`
    Limits,
    /// `[realm.NAME.log]`
    Log,
    /// An entry of `health`
    Health,
    /// An entry of `needs`, `wants` or `after` written as a table
    Need,
}

impl Table {
    /// For messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "the file",
            Self::Heartbeat => "[heartbeat]",
            Self::Fuse => "fuse",
            Self::Notify => "a receiver",
            Self::Realm => "a realm",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Limits => "limits",
            Self::Log => "log",
            Self::Health => "health",
            Self::Need => "a dependency",
        }
    }
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where it stands.
    pub table: Table,
    /// Its name.
    pub name: &'static str,
    /// What it takes, for people.
    pub takes: &'static str,
    /// Its default as one would write it; empty for none.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// This version carries it out. Otherwise it is refused by name.
    pub built: bool,
}

const fn key(
    table: Table,
    name: &'static str,
    takes: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Key {
    Key { table, name, takes, default, doc, built: true }
}

const fn later(table: Table, name: &'static str) -> Key {
    Key { table, name, takes: "", default: "", doc: "not supported by this version", built: false }
}

use Table::{Fuse, Health, Heartbeat, Limits, Log, Need, Notify, Realm, Restart, Root, Start, Stop};

/// Every key of the contract.
pub(crate) const KEYS: &[Key] = &[
    key(Root, "heartbeat", "table", "", "heartbeatd itself"),
    key(Root, "defaults", "table", "", "any key of a realm, for all realms"),
    key(Root, "realm", "tables by name", "", "the realms"),
    key(Root, "notify", "tables by name", "", "who is told of incidents"),
    later(Root, "maintenance"),
    key(Heartbeat, "name", "string", "the host name", "name of the ecosystem"),
    key(Heartbeat, "listen", "address or \"off\"", "127.0.0.1:4327", "loopback address of the read-only API"),
    key(Heartbeat, "socket", "path", "/run/heartbeat/heartbeat.sock", "Unix socket of the API"),
    key(Heartbeat, "socket_mode", "octal string", "0660", "mode of the socket"),
    key(Heartbeat, "state_dir", "path", "/var/lib/heartbeat", "what survives a reboot"),
    key(Heartbeat, "runtime_dir", "path", "the directory of the socket", "what does not"),
    key(Heartbeat, "include", "list of globs", "conf.d/*.toml", "more files, relative to this one"),
    key(Heartbeat, "env_file", "path", ".env", "variables for ${} only"),
    key(Heartbeat, "log", "string", "info", "filter of heartbeatd's own log"),
    key(Heartbeat, "log_format", "auto, pretty or json", "auto", "format of heartbeatd's own log"),
    key(
        Heartbeat,
        "cgroups",
        "auto or off",
        "auto",
        "a control group for every realm where heartbeatd may make some; off: trees are found by other means",
    ),
    key(Heartbeat, "boot_deadline", "duration", "5m", "what is not up by then is warned of"),
    key(
        Heartbeat,
        "shutdown_timeout",
        "duration",
        "60s",
        "an ordered stop takes at most this, then all is killed",
    ),
    key(Heartbeat, "start_parallel", "number", "cores x 4", "realms between spawn and exec at a time"),
    key(Heartbeat, "max_probes_in_flight", "number", "1024", "measurements at a time"),
    key(Heartbeat, "max_connections", "number", "256", "connections of the TCP door"),
    key(
        Heartbeat,
        "register_networks",
        "list of networks",
        "",
        "where realms that are registered at run time may be probed, beside loopback",
    ),
    later(Heartbeat, "socket_group"),
    later(Heartbeat, "token_file"),
    later(Heartbeat, "hosts"),
    later(Heartbeat, "tls"),
    later(Heartbeat, "history"),
    later(Heartbeat, "history_max"),
    later(Heartbeat, "ping"),
    key(Heartbeat, "fuse", "table", "", "the storm fuse: bounds of health restarts over all realms"),
    key(
        Fuse,
        "unhealthy_percent",
        "number",
        "40",
        "more than this share of the running realms, in percent, ...",
    ),
    key(Fuse, "min_realms", "number", "3", "... and at least this many ..."),
    key(Fuse, "window", "duration", "15s", "... turn unhealthy within this time: then it trips"),
    key(Fuse, "hold", "duration", "60s", "how long health restarts are held then, at most"),
    key(Fuse, "restarts", "number", "12", "health restarts of all realms ..."),
    key(Fuse, "per", "duration", "5m", "... within this time"),
    key(Fuse, "parallel", "number", "2", "health restarts at a time"),
    key(Notify, "webhook", "http:// URL", "", "where heartbeat.incident/1 documents are posted"),
    key(
        Notify,
        "on",
        "list of opened, updated, failed, resolved",
        "opened, failed, resolved",
        "what it is told of",
    ),
    key(Notify, "realms", "list of names", "", "only incidents of these realms"),
    later(Notify, "alertmanager"),
    later(Notify, "slack"),
    later(Notify, "ntfy"),
    later(Notify, "exec"),
    later(Notify, "smtp"),
    later(Notify, "delay"),
    later(Notify, "repeat"),
    later(Notify, "secret_file"),
    later(Notify, "token_file"),
    later(Notify, "template"),
    key(
        Realm,
        "run",
        "string or list",
        "",
        "program and arguments; a string is split as a shell would, without a shell",
    ),
    key(
        Realm,
        "port",
        "number",
        "",
        "its port: GET /api/health/, port, response time and process are watched",
    ),
    key(Realm, "host", "string", "127.0.0.1", "host of `port`"),
    key(Realm, "health", "URL, table or list of tables", "", "its probes"),
    key(Realm, "needs", "list", "", "pulled in, waited for, and blamed"),
    key(Realm, "wants", "list", "", "pulled in; waited for 10 s at most"),
    key(Realm, "after", "list", "", "order only"),
    key(Realm, "while_down", "ride, stop or restart", "ride", "what it does while a need is down"),
    key(Realm, "oneshot", "boolean", "false", "runs once and is done"),
    key(Realm, "dir", "path", "the file's directory", "working directory"),
    key(Realm, "env", "table of strings", "", "its environment"),
    key(Realm, "env_file", "path", "", "more environment, NAME=value a line"),
    key(
        Realm,
        "pidfile",
        "path",
        "",
        "its program makes a daemon of itself and writes its number there; believed only within its own tree",
    ),
    key(Realm, "umask", "octal string", "", "file mode creation mask"),
    key(Realm, "user", "user name", "heartbeatd's own", "whom its program, hooks and check commands run as"),
    key(Realm, "groups", "list of group names", "those of `user`", "supplementary groups"),
    key(Realm, "verify_owner", "boolean", "true", "its port must be held by its own processes"),
    key(Realm, "title", "string", "", "title for people"),
    key(Realm, "group", "string", "", "label for selectors"),
    key(Realm, "labels", "table of strings", "", "free labels"),
    key(Realm, "critical", "boolean", "true", "counts for `ok`"),
    key(Realm, "enabled", "boolean", "true", "false: as if it were not written"),
    key(Realm, "manual", "boolean", "false", "started only on request or when needed"),
    key(Realm, "start", "table", "", "how it starts"),
    key(Realm, "stop", "table", "", "how it is stopped"),
    key(Realm, "restart", "table", "", "when it is restarted"),
    key(Realm, "log", "table", "", "where its output goes"),
    key(Realm, "limits", "table", "", "what it may have"),
    key(
        Realm,
        "no_new_privileges",
        "boolean",
        "true with `user`, otherwise false",
        "it gains no right by set-user-id programs or file capabilities",
    ),
    key(Realm, "shell", "boolean", "false", "`run` is a line for /bin/sh"),
    key(Realm, "docs", "string", "", "where to read about it, for people"),
    key(Realm, "owner", "string", "", "who is responsible for it, for people"),
    later(Realm, "slo"),
    key(Start, "timeout", "duration", "60s; none for oneshots", "until its live probes pass"),
    key(
        Start,
        "timeout_max",
        "duration",
        "10 x timeout",
        "an incident opens when a server has said that it is starting up for so long; it is not restarted",
    ),
    key(Start, "settle", "duration", "1s", "without live probes, ready after this"),
    key(
        Start,
        "ready_fd",
        "number from 3 to 1023",
        "",
        "descriptor on which it writes a line when it is ready, as s6's notification-fd",
    ),
    key(Start, "before", "string or list of strings", "", "commands before the start, one after the other"),
    key(Start, "after", "string or list of strings", "", "commands once it is ready, one after the other"),
    key(Stop, "signal", "signal name", "TERM", "first signal, followed by CONT"),
    key(
        Stop,
        "signal_to",
        "main or tree",
        "main",
        "which processes get it: the main process, and when that has ended what is left of its tree; or all at once",
    ),
    key(Stop, "timeout", "duration", "10s", "from the first signal to KILL"),
    key(Stop, "command", "string or list", "", "a command before the first signal"),
    key(
        Restart,
        "policy",
        "always, on-failure or never",
        "always; on-failure for oneshots",
        "when it is restarted",
    ),
    key(Restart, "backoff", "duration", "500ms", "first delay, doubled with every attempt"),
    key(Restart, "backoff_max", "duration", "60s", "longest delay"),
    key(Restart, "jitter", "percentage", "20%", "random share of the delay"),
    key(Restart, "min_gap", "duration", "250ms", "never two starts within this"),
    key(Restart, "burst", "number", "6", "restarts within `window`"),
    key(Restart, "window", "duration", "10m", "the window of `burst`"),
    key(Restart, "when_spent", "cooldown or fail", "cooldown", "what happens when they are spent"),
    key(Restart, "cooldown", "duration", "5m", "first cooldown, doubled with every trial"),
    key(Restart, "cooldown_max", "duration", "1h", "longest cooldown"),
    key(Restart, "reset_after", "duration", "60s", "continuous health that resets attempts and delay"),
    key(Restart, "verify_for", "duration", "5s", "health that verifies a restart"),
    key(Restart, "success_codes", "list of numbers", "", "exit codes besides 0 that count as success"),
    key(Restart, "never_codes", "list of numbers", "", "exit codes after which it is never restarted"),
    key(
        Restart,
        "command",
        "string or list",
        "",
        "restarts it in place, instead of a stop and a start; the only way to restart an external realm",
    ),
    key(Restart, "with", "list of names", "", "realms restarted in the same transaction, with one debit"),
    key(Limits, "memory", "size", "", "memory of its tree; beyond it, it is killed and restarted"),
    key(Limits, "cpu", "percentage", "", "processor time of its tree, 100% for one processor"),
    key(Limits, "tasks", "number", "", "processes and threads of its tree"),
    key(Limits, "nofile", "number", "heartbeatd's own", "open descriptors of each process"),
    key(Limits, "nproc", "number", "heartbeatd's own", "processes and threads of its user"),
    key(Limits, "core", "size", "heartbeatd's own", "core files, 0B for none"),
    key(Limits, "memlock", "size", "heartbeatd's own", "locked memory of each process"),
    key(Limits, "fsize", "size", "heartbeatd's own", "files that it writes"),
    key(Limits, "nice", "number from -20 to 19", "0", "priority: -20 is first, 19 last"),
    key(
        Limits,
        "oom_score",
        "number from -1000 to 1000",
        "0",
        "for want of memory: -1000 is never killed, 1000 first",
    ),
    later(Limits, "memory_action"),
    key(Log, "to", "file, journal or none", "file", "where its output goes"),
    key(Log, "max_size", "size", "10MiB", "size of its file; what is older is set aside"),
    key(Log, "keep", "number", "5", "files of that size that are set aside"),
    key(Health, "http", "URL", "", "an HTTP request"),
    key(Health, "tcp", "host:port", "", "a TCP connection"),
    key(Health, "redis", "redis:// URL", "", "PING of a Redis server"),
    key(
        Health,
        "postgres",
        "postgres:// URL",
        "",
        "a session with a PostgreSQL server, as pg_isready begins it",
    ),
    key(
        Health,
        "exec",
        "string or list",
        "",
        "a command: exit code 0 passes, everything else fails; at most one per second",
    ),
    key(
        Health,
        "nagios",
        "string or list",
        "",
        "a Nagios plugin: exit code 0 passes, 1 is degraded, 2 is down, 3 says nothing; at most one per second",
    ),
    key(Health, "process", "true", "", "the process itself, with settings of its own"),
    key(
        Health,
        "notify",
        "true",
        "",
        "what it says of itself over sd_notify(3): ready at READY=1; of services with `run`",
    ),
    key(
        Health,
        "watchdog",
        "duration",
        "",
        "with `notify`: it fails when no WATCHDOG=1 came for so long; told to it as WATCHDOG_USEC",
    ),
    key(Health, "name", "string", "its kind", "unique within the realm"),
    key(Health, "interval", "duration", "5s", "from start to start"),
    key(Health, "timeout", "duration", "2s", "of one whole measurement"),
    key(Health, "slow", "duration", "", "a pass that takes longer is degraded"),
    key(Health, "fail_after", "number", "3", "consecutive failures that decide"),
    key(Health, "pass_after", "number", "2", "consecutive passes that decide"),
    key(Health, "fail_if", "\"K of N\"", "", "K failures of the last N decide, too"),
    key(Health, "grace", "duration", "until the first pass", "failures of a new start do not count"),
    key(Health, "role", "live, ready or info", "live", "what its failure may cause"),
    key(Health, "method", "string", "GET", "HTTP method"),
    key(Health, "headers", "table of strings", "", "HTTP headers"),
    key(Health, "body", "string", "", "HTTP request body"),
    key(Health, "status", "number or string", "2xx", "HTTP statuses that pass"),
    key(Health, "contains", "string", "", "text the HTTP body contains"),
    key(Health, "matches", "regular expression", "", "what the HTTP body matches"),
    key(Health, "json", "table", "", "JSON pointers and their values"),
    key(Health, "send", "string", "", "sent over the TCP connection"),
    key(Health, "expect", "string", "", "what the TCP answer contains"),
    later(Health, "unix"),
    later(Health, "grpc"),
    later(Health, "tls"),
    later(Health, "dns"),
    later(Health, "file"),
    later(Health, "push"),
    later(Health, "resource"),
    later(Health, "redirects"),
    later(Health, "verify"),
    later(Health, "ca"),
    later(Health, "expires"),
    later(Health, "max_age"),
    key(Need, "realm", "name", "", "the realm depended upon"),
    key(Need, "until", "up, started or done", "up; done for oneshots", "what the start waits for"),
    key(
        Need,
        "while_down",
        "ride, stop or restart",
        "that of the realm",
        "what it does while this one is down",
    ),
];

/// What can be said of a realm that is registered at run time: how it is watched, by whom it is needed, what people call it.
/// Nothing here names a command, a file, a user or a descriptor of this machine, and nothing acts on the realm.
const REGISTRABLE: &[(Table, &[&str])] = &[
    (
        Realm,
        &[
            "port", "host", "health", "needs", "wants", "after", "title", "docs", "owner", "group", "labels",
            "critical",
        ],
    ),
    (
        Health,
        &[
            "http",
            "tcp",
            "name",
            "interval",
            "timeout",
            "slow",
            "fail_after",
            "pass_after",
            "fail_if",
            "grace",
            "role",
            "method",
            "headers",
            "status",
            "contains",
            "matches",
            "json",
            "expect",
        ],
    ),
    (Need, &["realm", "until"]),
];

/// Keys that can be said of a realm that is registered.
pub(crate) fn all_registrable(table: Table) -> impl Iterator<Item = &'static str> {
    REGISTRABLE.iter().filter(move |(of, _)| *of == table).flat_map(|(_, names)| names.iter().copied())
}

/// Whether a key can be said of a realm that is registered.
pub(crate) fn registrable(table: Table, name: &str) -> bool {
    all_registrable(table).any(|known| known == name)
}

/// The table of keys.
#[must_use]
pub fn key_table() -> &'static [Key] {
    KEYS
}

/// A key of a table.
pub(crate) fn find(table: Table, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.table == table && key.name == name)
}

/// The keys of a table that this version carries out.
pub(crate) fn built(table: Table) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter(move |key| key.table == table && key.built).map(|key| key.name)
}

/// A built key that looks like `name`: within distance 2, or a third of the word.
pub(crate) fn near(table: Table, name: &str) -> Option<&'static str> {
    nearest(name, built(table))
}

/// The nearest of `words`, if it is near at all: within distance 2, or a third of the word.
#[must_use]
pub fn nearest<'a>(name: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = 2.max(name.chars().count() / 3);
    words
        .map(|word| (strsim::damerau_levenshtein(name, word), word))
        .filter(|(distance, word)| *distance <= limit && *distance < word.len())
        .min()
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_stands_twice_and_every_built_key_is_explained() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(
                !KEYS[at + 1..].iter().any(|other| (other.table, other.name) == (key.table, key.name)),
                "{key:?}"
            );
            assert!(!key.built || (!key.doc.is_empty() && !key.takes.is_empty()), "{key:?}");
        }
    }

    #[test]
    fn what_can_be_registered_is_built() {
        for (table, names) in REGISTRABLE {
            for name in *names {
                assert!(find(*table, name).is_some_and(|key| key.built), "{name}");
            }
        }
    }

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        assert_eq!(near(Realm, "prot"), Some("port"));
        assert_eq!(near(Restart, "backof_max"), Some("backoff_max"));
        assert_eq!(near(Realm, "zzzzzz"), None);
        assert_eq!(near(Notify, "alertmanager"), None, "what is not built is not suggested");
    }
}
