//! The top level of the file, `[heartbeat]` and `[heartbeat.fuse]`.

use heartbeat_supervisor::{FuseSettings, PlanSettings};

use super::Table::{Fuse, Heartbeat, Root, Tls};
use super::{Key, Table, Takes};
use crate::bounds;
use crate::defaults::{self, duration, quoted, size};

/// Formats of heartbeatd's own log.
pub(crate) const LOG_FORMATS: &[&str] = &["auto", "pretty", "json"];
/// Whether realms get control groups.
pub(crate) const CGROUPS: &[&str] = &["auto", "off"];

pub(super) const KEYS: &[Key] = &[
    Key::new(Root, "heartbeat", Takes::Table(Heartbeat), "Settings of heartbeatd itself.", "{ name = \"shop\" }"),
    Key::new(
        Root,
        "defaults",
        Takes::Table(Table::Realm),
        "Any key of a realm, for all realms; what a realm says itself wins.",
        "{ stop = { timeout = \"20s\" } }",
    ),
    Key::new(
        Root,
        "realm",
        Takes::Tables(Table::Realm),
        "The realms: each is a service, a oneshot, or, without `run`, something that is only watched.",
        "{ db = { run = \"postgres -D data\" } }",
    ),
    Key::new(
        Root,
        "notify",
        Takes::Tables(Table::Notify),
        "Receivers of incidents, by a name of your choice.",
        "{ ops = { webhook = \"http://127.0.0.1:3000/incidents/\" } }",
    ),
    Key::new(
        Root,
        "maintenance",
        Takes::Tables(Table::Maintenance),
        "Maintenance windows, by a name of your choice.",
        "{ backup = { realms = [\"a\"], start = \"0 2 * * *\", for = \"30m\", reason = \"backup\" } }",
    ),
    Key::new(
        Heartbeat,
        "name",
        Takes::Text("string"),
        "Name of the ecosystem: the first word of `status`, and in every incident.",
        "\"shop\"",
    )
    .default(|| "the host name".to_owned()),
    Key::new(
        Heartbeat,
        "listen",
        Takes::Text("address or \"off\""),
        "Address of the HTTP API over TCP, which is read-only without `token_file`. Another one than loopback needs `tls` and `token_file`. If the port is in use, heartbeatd names the process that holds it and exits.",
        "\"127.0.0.1:4327\"",
    )
    .default(|| quoted(&defaults::LISTEN.to_string())),
    Key::new(
        Heartbeat,
        "socket",
        Takes::Text("path"),
        "Unix socket of the whole API. heartbeat-cli finds it in the same file.",
        "\"run/heartbeat.sock\"",
    )
    .default(|| format!("heartbeat.sock in `runtime_dir`; without that, {}, or below $XDG_RUNTIME_DIR for another user than root", quoted(defaults::SOCKET)))
    .also(&["sock", "socketpath", "unixsocket"]),
    Key::new(
        Heartbeat,
        "socket_mode",
        Takes::Mode,
        "Mode of the socket: who may connect at all.",
        "\"0660\"",
    )
    .default(|| format!("\"{:04o}\"", defaults::SOCKET_MODE)),
    Key::new(
        Heartbeat,
        "socket_group",
        Takes::Text("name of a group"),
        "Group of the socket. Its members may start, stop and reload over the socket.",
        "\"adm\"",
    ),
    Key::new(
        Heartbeat,
        "hosts",
        Takes::Texts("names of hosts"),
        "Names in the `Host` header that mean this heartbeatd, besides its address: those of a proxy in front of it.",
        "[\"monitor.example.org\"]",
    ),
    Key::new(
        Heartbeat,
        "token_file",
        Takes::Text("path"),
        "File with a token of at least 32 bytes that only root or heartbeatd's own user can read. Every request over TCP then needs `Authorization: Bearer TOKEN`.",
        "\"/etc/heartbeat/token\"",
    ),
    Key::new(
        Heartbeat,
        "tls",
        Takes::Table(Tls),
        "Certificate of the TCP listener, which then speaks HTTPS alone. A reload reads both files again.",
        "{ cert = \"/etc/heartbeat/cert.pem\", key = \"/etc/heartbeat/key.pem\" }",
    ),
    Key::new(Tls, "cert", Takes::Text("path"), "PEM file of the certificate and its chain.", "\"/etc/heartbeat/cert.pem\""),
    Key::new(Tls, "key", Takes::Text("path"), "PEM file of the private key.", "\"/etc/heartbeat/key.pem\""),
    Key::new(
        Tls,
        "client_ca",
        Takes::Text("path"),
        "PEM file of authorities. A client with a certificate of one of them may do what the token permits; without `token_file`, no other client may connect.",
        "\"/etc/heartbeat/clients.pem\"",
    ),
    Key::new(
        Heartbeat,
        "state_dir",
        Takes::Text("path"),
        "Directory of what survives a reboot: logs, what operators have asked for, registered realms.",
        "\"/var/lib/heartbeat\"",
    )
    .default(|| format!("{}, or $XDG_STATE_HOME/heartbeat for another user than root", quoted(defaults::STATE_DIR)))
    .also(&["datadir", "state", "statedirectory", "dir"]),
    Key::new(
        Heartbeat,
        "runtime_dir",
        Takes::Text("path"),
        "Directory of what does not survive a reboot: adoption records and notify sockets.",
        "\"/run/heartbeat\"",
    )
    .default(|| "the directory of the socket".to_owned())
    .also(&["rundir", "runtime", "runtimedirectory"]),
    Key::new(
        Heartbeat,
        "include",
        Takes::Texts("globs"),
        "More files, relative to this one. Only the first file may have this key.",
        "[\"conf.d/*.toml\"]",
    )
    .default(|| quoted(defaults::INCLUDE))
    .also(&["includes", "includedir", "imports", "files"]),
    Key::new(
        Heartbeat,
        "env_file",
        Takes::Text("path"),
        "File of variables for `${}` in this configuration; no realm is given them.",
        "\".env\"",
    )
    .default(|| format!("{} if it is there", quoted(defaults::ENV_FILE)))
    .also(&["envfiles", "dotenv"]),
    Key::new(
        Heartbeat,
        "log",
        Takes::Text("filter"),
        "Filter of heartbeatd's own log: off, error, warn, info, debug or trace, or levels by module behind commas.",
        "\"info,heartbeat_probe=debug\"",
    )
    .default(|| quoted(defaults::LOG))
    .also(&["loglevel", "level", "verbosity"]),
    Key::new(
        Heartbeat,
        "log_format",
        Takes::Word(LOG_FORMATS),
        "Format of heartbeatd's own log. `auto` is `pretty` on a terminal and plain lines elsewhere.",
        "\"json\"",
    )
    .default(|| quoted(LOG_FORMATS[0])),
    Key::new(
        Heartbeat,
        "cgroups",
        Takes::Word(CGROUPS),
        "A control group for every realm where heartbeatd may make some; `off` finds process trees by other means.",
        "\"auto\"",
    )
    .default(|| quoted(CGROUPS[0])),
    Key::new(
        Heartbeat,
        "boot_deadline",
        Takes::Duration,
        "heartbeatd warns of realms that are not up this long after its start.",
        "\"5m\"",
    )
    .default(|| duration(defaults::BOOT_DEADLINE)),
    Key::new(
        Heartbeat,
        "shutdown_timeout",
        Takes::Duration,
        "Longest an ordered stop of everything may take; then heartbeatd kills what is left.",
        "\"60s\"",
    )
    .default(|| duration(PlanSettings::default().shutdown_timeout)),
    Key::new(
        Heartbeat,
        "ping",
        Takes::Text("http:// or https:// URL"),
        "URL that heartbeatd requests every 60 s while it works: a service elsewhere raises the alarm when that stops.",
        "\"http://hc.example.org/ping/shop\"",
    )
    .default(|| "none".to_owned())
    .also(&["deadman", "healthchecks"]),
    Key::new(
        Heartbeat,
        "otlp",
        Takes::Text("http:// or https:// URL"),
        "Base URL of an OpenTelemetry collector that takes OTLP over HTTP as JSON: it gets a trace of each restart and of the boot, at `/v1/traces`.",
        "\"http://127.0.0.1:4318\"",
    )
    .default(|| "none".to_owned())
    .also(&["opentelemetry", "tracing"]),
    Key::new(
        Heartbeat,
        "start_parallel",
        Takes::Number(bounds::STARTS.0, bounds::STARTS.1),
        "Realms between spawn and exec at a time.",
        "8",
    )
    .default(|| format!("cores x {}", defaults::START_PARALLEL_PER_CORE))
    .also(&["workers", "parallelism"]),
    Key::new(
        Heartbeat,
        "max_probes_in_flight",
        Takes::Number(bounds::DESCRIPTORS.0, bounds::DESCRIPTORS.1),
        "Measurements at a time; more wait, and the wait is not part of their latency.",
        "1024",
    )
    .default(|| defaults::MAX_PROBES_IN_FLIGHT.to_string()),
    Key::new(
        Heartbeat,
        "max_connections",
        Takes::Number(bounds::DESCRIPTORS.0, bounds::DESCRIPTORS.1),
        "Connections of the TCP listener at a time; more are closed and counted.",
        "256",
    )
    .default(|| defaults::MAX_CONNECTIONS.to_string()),
    Key::new(
        Heartbeat,
        "history",
        Takes::LongDuration,
        "How far the history of statuses and measurements reaches back.",
        "\"2y\"",
    )
    .default(|| "\"2y\"".to_owned())
    .also(&["retention", "keephistory", "historydays"]),
    Key::new(
        Heartbeat,
        "history_max",
        Takes::Size,
        "Largest size of `history.db`. When it is nearly full, the finest measurements of the oldest time go first, changes of statuses last.",
        "\"256MiB\"",
    )
    .default(|| size(defaults::HISTORY_MAX_BYTES))
    .also(&["historysize", "maxhistory"]),
    Key::new(
        Heartbeat,
        "reference",
        Takes::Texts("URLs of probes"),
        "Targets of the local network: while none of them answers, an external realm that is not reached is unknown, not down.",
        "[\"tcp://127.0.0.1:53\"]",
    ),
    Key::new(
        Heartbeat,
        "register_networks",
        Takes::Texts("networks"),
        "Networks, beside loopback, in which realms that are registered at run time may be probed.",
        "[\"10.0.0.0/8\"]",
    ),
    Key::new(
        Heartbeat,
        "fuse",
        Takes::Table(Fuse),
        "The restart circuit breaker: bounds on health restarts over all realms.",
        "{ parallel = 2 }",
    ),
    Key::new(
        Fuse,
        "unhealthy_percent",
        Takes::Number(bounds::PERCENT.0, bounds::PERCENT.1),
        "The breaker trips when more than this share of the supervised realms turn unhealthy within `window`.",
        "40",
    )
    .default(|| FuseSettings::default().unhealthy_percent.to_string())
    .also(&["percent", "threshold"]),
    Key::new(
        Fuse,
        "min_realms",
        Takes::Number(bounds::REALMS.0, bounds::REALMS.1),
        "The breaker trips for at least this many realms that turn unhealthy within `window`.",
        "3",
    )
    .default(|| FuseSettings::default().min_realms.to_string()),
    Key::new(Fuse, "window", Takes::Duration, "Time within which realms that turn unhealthy count together.", "\"15s\"")
        .default(|| duration(FuseSettings::default().window)),
    Key::new(Fuse, "hold", Takes::Duration, "Longest the tripped breaker holds health restarts.", "\"60s\"")
        .default(|| duration(FuseSettings::default().hold)),
    Key::new(Fuse, "restarts", Takes::Number(bounds::RESTARTS.0, bounds::RESTARTS.1), "Health restarts of all realms within `per`.", "12")
        .default(|| FuseSettings::default().restarts.to_string()),
    Key::new(Fuse, "per", Takes::Duration, "Time in which `restarts` are counted.", "\"5m\"")
        .default(|| duration(FuseSettings::default().per)),
    Key::new(Fuse, "parallel", Takes::Number(bounds::REALMS.0, bounds::REALMS.1), "Health restarts at a time.", "2")
        .default(|| FuseSettings::default().parallel.to_string()),
];
