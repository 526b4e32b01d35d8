//! `start`, `stop`, `restart`, `limits` and `log` of a realm.

use heartbeat_restart::PolicySettings;
use heartbeat_supervisor::{StartSpec, StopSpec};

use super::Table::{Limits, Log, Restart, Slo, Start, Stop};
use super::{Key, Takes};
use crate::bounds;
use crate::defaults::{self, duration, quoted, size};

/// Processes that get the first signal of a stop.
pub(crate) const SIGNAL_TO: &[&str] = &["main", "tree"];
/// When a realm is restarted.
pub(crate) const POLICIES: &[&str] = &["always", "on-failure", "never"];
/// What happens when the restart budget is used up.
pub(crate) const WHEN_SPENT: &[&str] = &["cooldown", "fail"];
/// Where output goes.
pub(crate) const LOG_TO: &[&str] = &["file", "journal", "none"];

const OWN: fn() -> String = || "that of heartbeatd".to_owned();

fn policy() -> PolicySettings {
    PolicySettings::service()
}

pub(super) const KEYS: &[Key] = &[
    Key::new(
        Start,
        "timeout",
        Takes::Duration,
        "Time until its live probes have to pass; a start that takes longer has failed.",
        "\"60s\"",
    )
    .default(|| {
        let timeout = StartSpec::default().timeout.map_or_else(|| "none".to_owned(), duration);
        format!("{timeout}; none for oneshots")
    })
    .also(&["timeoutsec", "timeoutstartsec", "startperiod", "deadline", "wait"]),
    Key::new(
        Start,
        "timeout_max",
        Takes::Duration,
        "An incident opens when a server has reported for this long that it is still starting up. It is not restarted for that.",
        "\"10m\"",
    )
    .default(|| "10 x timeout".to_owned()),
    Key::new(Start, "settle", Takes::Duration, "Without live probes it counts as ready after this time.", "\"1s\"")
        .default(|| duration(StartSpec::default().settle))
        .also(&["startsecs", "delay"]),
    Key::new(
        Start,
        "ready_fd",
        Takes::Number(3, 1_023),
        "Descriptor on which it writes a line when it is ready, like the notification-fd of s6.",
        "3",
    ),
    Key::new(Start, "before", Takes::Commands, "Commands before the start, one after the other.", "\"prepare --all\"")
        .also(&["pre", "execstartpre", "prestart"]),
    Key::new(Start, "after", Takes::Commands, "Commands once it is ready, one after the other.", "\"announce up\"")
        .also(&["post", "execstartpost", "poststart"]),
    Key::new(Stop, "signal", Takes::Text("signal name"), "First signal of a stop, followed by CONT.", "\"INT\"")
        .default(|| quoted(StopSpec::default().signal.to_string().trim_start_matches("SIG")))
        .also(&["sig", "killsignal", "stopsignal"]),
    Key::new(
        Stop,
        "signal_to",
        Takes::Word(SIGNAL_TO),
        "Who gets the first signal: the main process (and, when it has ended, what is left of its tree), or the whole tree at once.",
        "\"tree\"",
    )
    .default(|| quoted(SIGNAL_TO[0])),
    Key::new(Stop, "timeout", Takes::Duration, "Time from the first signal to KILL.", "\"30s\"")
        .default(|| duration(StopSpec::default().timeout))
        .also(&["graceperiod", "grace", "stopwaitsecs", "timeoutstopsec", "killtimeout"]),
    Key::new(Stop, "command", Takes::Command, "A command before the first signal.", "\"app drain\"")
        .also(&["exec", "run", "cmd", "execstop"]),
    Key::new(
        Restart,
        "policy",
        Takes::Word(POLICIES),
        "When it is restarted: always, only after a failure, or never.",
        "\"on-failure\"",
    )
    .default(|| format!("{}; {} for oneshots", quoted(POLICIES[0]), quoted(POLICIES[1])))
    .also(&["when", "on", "condition", "mode"]),
    Key::new(
        Restart,
        "backoff",
        Takes::Duration,
        "Delay before the second attempt; it doubles with every further one.",
        "\"1s\"",
    )
    .default(|| duration(policy().backoff))
    .also(&["delay", "sec", "restartsec", "wait"]),
    Key::new(Restart, "backoff_max", Takes::Duration, "Longest delay between two attempts.", "\"2m\"")
        .default(|| duration(policy().backoff_max))
        .also(&["maxdelay", "maxbackoff"]),
    Key::new(Restart, "jitter", Takes::Percentage, "Random share of a delay, so that realms do not start in step.", "\"20%\"")
        .default(|| format!("\"{}%\"", policy().jitter_percent)),
    Key::new(Restart, "min_gap", Takes::Duration, "Shortest time between two starts.", "\"250ms\"")
        .default(|| duration(policy().min_gap)),
    Key::new(Restart, "burst", Takes::Number(1, 1_000), "The restart budget: restarts within `window`.", "6")
        .default(|| policy().burst.to_string())
        .also(&["max", "retries", "attempts", "maxretries", "maxattempts", "maxrestarts", "limit"]),
    Key::new(Restart, "window", Takes::Duration, "Time in which restarts count against `burst`.", "\"10m\"")
        .default(|| duration(policy().window))
        .also(&["interval", "within", "period"]),
    Key::new(
        Restart,
        "when_spent",
        Takes::Word(WHEN_SPENT),
        "What happens when the budget is used up: one trial per cooldown, or nothing until a person acts.",
        "\"fail\"",
    )
    .default(|| quoted(WHEN_SPENT[0])),
    Key::new(Restart, "cooldown", Takes::Duration, "Time before the first trial; it doubles with every further one.", "\"5m\"")
        .default(|| duration(policy().cooldown)),
    Key::new(Restart, "cooldown_max", Takes::Duration, "Longest time between two trials.", "\"1h\"")
        .default(|| duration(policy().cooldown_max)),
    Key::new(
        Restart,
        "reset_after",
        Takes::Duration,
        "Continuous health after which attempts and delays count from the beginning.",
        "\"60s\"",
    )
    .default(|| duration(policy().reset_after)),
    Key::new(Restart, "verify_for", Takes::Duration, "Time that a restarted realm has to stay healthy to count as recovered.", "\"5s\"")
        .default(|| duration(policy().verify_for)),
    Key::new(Restart, "success_codes", Takes::Numbers(0, 255), "Exit codes besides 0 that count as success.", "[130]"),
    Key::new(Restart, "never_codes", Takes::Numbers(0, 255), "Exit codes after which it is never restarted.", "[78]"),
    Key::new(
        Restart,
        "command",
        Takes::Command,
        "Command that restarts it in place, instead of a stop and a start. The only way to restart a realm without `run`.",
        "\"nginx -s reload\"",
    )
    .also(&["exec", "run", "cmd"]),
    Key::new(
        Restart,
        "with",
        Takes::Texts("names"),
        "Services that are restarted in the same transaction; it counts once against the budget.",
        "[\"b\"]",
    ),
    Key::new(
        Limits,
        "memory",
        Takes::SizeOrUnlimited,
        "Memory of its process tree; beyond it heartbeatd restarts the realm.",
        "\"512MiB\"",
    )
    .also(&["mem", "memorymax", "memorylimit"]),
    Key::new(Limits, "cpu", Takes::Percentage, "Processor time of its process tree; 100% is one processor.", "\"150%\"")
        .also(&["cpus", "cpuquota"]),
    Key::new(Limits, "tasks", Takes::NumberOrUnlimited(1), "Processes and threads of its process tree.", "512")
        .also(&["pids", "processes", "tasksmax"]),
    Key::new(Limits, "nofile", Takes::NumberOrUnlimited(16), "Open descriptors of each process.", "4096")
        .default(OWN)
        .also(&["openfiles", "files", "fds", "limitnofile"]),
    Key::new(Limits, "nproc", Takes::NumberOrUnlimited(1), "Processes and threads of its user.", "4096").default(OWN),
    Key::new(Limits, "core", Takes::SizeOrUnlimited, "Size of core files; 0B for none.", "\"0B\"").default(OWN),
    Key::new(Limits, "memlock", Takes::SizeOrUnlimited, "Locked memory of each process.", "\"64MiB\"").default(OWN),
    Key::new(Limits, "fsize", Takes::SizeOrUnlimited, "Size of files that it writes.", "\"1GiB\"").default(OWN),
    Key::new(Limits, "nice", Takes::Number(-20, 19), "Priority: -20 comes first, 19 last.", "10").default(|| "0".to_owned()),
    Key::new(
        Limits,
        "oom_score",
        Takes::Number(-1_000, 1_000),
        "Who is killed when the machine runs out of memory: -1000 never, 1000 first.",
        "500",
    )
    .default(|| "0".to_owned())
    .also(&["oomscoreadjust", "oomscoreadj"]),
    Key::new(
        Slo,
        "availability",
        Takes::Share,
        "Share of the time in which it is up, of the time that counts.",
        "\"99.9%\"",
    )
    .also(&["uptime", "target"]),
    Key::new(
        Slo,
        "latency",
        Takes::Duration,
        "At least 95 % of the measurements of its first probe take at most this.",
        "\"300ms\"",
    )
    .also(&["p95", "latencyp95", "responsetime"]),
    Key::new(Slo, "window", Takes::LongDuration, "The time over which the objectives count: from 1d to 365d.", "\"30d\"")
        .default(|| duration(defaults::SLO_WINDOW))
        .also(&["period", "timewindow"]),
    Key::new(Log, "to", Takes::Word(LOG_TO), "Where its output goes: a file below state_dir/log, the journal, or nowhere.", "\"journal\"")
        .default(|| quoted(LOG_TO[0])),
    Key::new(Log, "max_size", Takes::Size, "Size of its log file; heartbeatd sets older output aside.", "\"10MiB\"")
        .default(|| size(defaults::LOG_MAX_BYTES))
        .also(&["size", "maxbytes", "logfilemaxbytes", "rotatesize"]),
    Key::new(Log, "keep", Takes::Number(bounds::LOG_FILES.0, bounds::LOG_FILES.1), "Files of that size that are kept aside.", "5")
        .default(|| defaults::LOG_KEEP.to_string())
        .also(&["backups", "maxfiles", "maxfile", "rotate", "count"]),
];
