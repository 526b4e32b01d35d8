//! An entry of `health`.

use heartbeat_status::Thresholds;

use super::Table::Health;
use super::{Key, Takes};
use crate::bounds;
use crate::defaults::{self, duration, quoted};

/// What the failure of a probe may cause.
pub(crate) const ROLES: &[&str] = &["live", "ready", "info"];

/// What a body that reports DOWN is.
pub(crate) const REPORTED_DOWN: &[&str] = &["degraded", "fail"];

/// Types of DNS records.
pub(crate) const RECORDS: &[&str] = &["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"];

pub(super) const KEYS: &[Key] = &[
    Key::new(
        Health,
        "http",
        Takes::Text("http:// or https:// URL"),
        "An HTTP or HTTPS request; `http://unix:/run/app.sock:/path` goes to a Unix socket.",
        "\"http://127.0.0.1:8001/api/health/\"",
    )
    .also(&["url", "httpget", "endpoint"])
    .registrable(),
    Key::new(Health, "tcp", Takes::Text("host:port"), "A TCP connection.", "\"127.0.0.1:5432\"")
        .registrable(),
    Key::new(Health, "unix", Takes::Text("path"), "A connection to a Unix socket.", "\"/run/app.sock\"")
        .also(&["socket"]),
    Key::new(
        Health,
        "tls",
        Takes::Text("host:port"),
        "A TLS handshake, and the names and the age of the certificate.",
        "\"shop.example.org:443\"",
    )
    .also(&["ssl", "certificate"]),
    Key::new(
        Health,
        "redis",
        Takes::Text("redis:// URL"),
        "A PING to a Redis server.",
        "\"redis://127.0.0.1:6379\"",
    ),
    Key::new(
        Health,
        "postgres",
        Takes::Text("postgres:// URL"),
        "The beginning of a session with a PostgreSQL server, as pg_isready does it.",
        "\"postgres://127.0.0.1:5432\"",
    ),
    Key::new(
        Health,
        "grpc",
        Takes::Text("grpc:// or grpcs:// URL"),
        "The health service of a gRPC server (grpc.health.v1), for the whole server or, with a path, for one service.",
        "\"grpc://127.0.0.1:50051/shop.Orders\"",
    ),
    Key::new(
        Health,
        "dns",
        Takes::Text("name or dns:// URL"),
        "A query to a DNS server: that of the URL, or those of this host.",
        "\"dns://192.0.2.53/shop.example.org\"",
    ),
    Key::new(
        Health,
        "record",
        Takes::Word(RECORDS),
        "With `dns`: the type of the records that are asked for.",
        "\"MX\"",
    )
    .default(|| quoted(RECORDS[0]))
    .also(&["querytype", "dnsresolvetype"]),
    Key::new(
        Health,
        "exec",
        Takes::Command,
        "A command: exit code 0 passes, everything else fails. At most one run per second.",
        "\"worker ping\"",
    )
    .also(&["test", "cmd", "script", "run"]),
    Key::new(
        Health,
        "nagios",
        Takes::Command,
        "A Nagios plugin: exit code 0 passes, 1 is degraded, 2 fails, 3 is inconclusive. At most one run per second.",
        "\"check_disk -w 10%\"",
    ),
    Key::new(Health, "process", Takes::True, "The process itself, with settings of its own.", "true"),
    Key::new(
        Health,
        "notify",
        Takes::True,
        "What a service reports over sd_notify(3): ready at READY=1.",
        "true",
    ),
    Key::new(
        Health,
        "push",
        Takes::Push,
        "Heartbeats that the realm or the job sends: at least one in this time, or one at the times of a cron pattern, `grace` (10 min by default) after the beginning at the latest.",
        "\"60s\"",
    )
    .also(&["heartbeat", "ttl", "deadmanssnitch"])
    .registrable(),
    Key::new(
        Health,
        "file",
        Takes::Text("path"),
        "A file or directory that must be there, young with `max_age`, and containing a text with `contains`.",
        "\"/var/backups/shop.sql\"",
    ),
    Key::new(
        Health,
        "max_age",
        Takes::Duration,
        "With `file`: it fails when its last change is longer ago.",
        "\"26h\"",
    ),
    Key::new(
        Health,
        "resource",
        Takes::True,
        "What the processes of the realm use, and the host: it fails above `max_cpu`, `max_memory`, `max_fds` or `max_load`, and below `min_memory_free` or `min_disk_free`.",
        "true",
    ),
    Key::new(
        Health,
        "max_cpu",
        Takes::Percentage,
        "With `resource`: processor time of the process tree between two measurements; 100% is one processor.",
        "\"150%\"",
    ),
    Key::new(Health, "max_memory", Takes::Size, "With `resource`: memory of the process tree.", "\"512MiB\""),
    Key::new(
        Health,
        "max_fds",
        Takes::Number(1, bounds::TREE_DESCRIPTORS.1),
        "With `resource`: open descriptors of the process tree.",
        "900",
    ),
    Key::new(
        Health,
        "max_load",
        Takes::Number(1, u32::MAX as i64),
        "With `resource`: load average of the host over the last minute.",
        "8",
    ),
    Key::new(
        Health,
        "min_memory_free",
        Takes::SizeOrPercentage,
        "With `resource`: memory of the host that programs can still get.",
        "\"5%\"",
    ),
    Key::new(
        Health,
        "min_disk_free",
        Takes::SizeOrPercentage,
        "With `resource`: free space of the file system at `path`, for those who are not root.",
        "\"10%\"",
    ),
    Key::new(Health, "path", Takes::Text("path"), "A place on the file system that `min_disk_free` is about.", "\"/var\"")
        .default(|| quoted("/")),
    Key::new(
        Health,
        "watchdog",
        Takes::Duration,
        "With `notify`: it fails when no WATCHDOG=1 came for this long; the program is given it as WATCHDOG_USEC.",
        "\"30s\"",
    ),
    Key::new(
        Health,
        "name",
        Takes::Text("string"),
        "Name of the probe, unique within its realm.",
        "\"front\"",
    )
    .default(|| "its kind".to_owned())
    .registrable(),
    Key::new(
        Health,
        "interval",
        Takes::Duration,
        "Time from the start of one measurement to the start of the next.",
        "\"5s\"",
    )
    .default(|| duration(defaults::INTERVAL))
    .also(&["period", "periodseconds", "every", "frequency"])
    .registrable(),
    Key::new(Health, "timeout", Takes::Duration, "Deadline of one whole measurement.", "\"2s\"")
        .default(|| format!("{}, or `interval` where that is shorter", duration(defaults::TIMEOUT)))
        .also(&["timeoutseconds"])
        .registrable(),
    Key::new(Health, "slow", Takes::Duration, "A pass that takes longer is degraded.", "\"800ms\"")
        .registrable(),
    Key::new(Health, "fail_after", Takes::Number(bounds::RESULTS.0, bounds::RESULTS.1), "Consecutive failures that decide.", "3")
        .default(|| Thresholds::default().fail_after().to_string())
        .also(&["retries", "failurethreshold", "threshold", "failures"])
        .registrable(),
    Key::new(Health, "pass_after", Takes::Number(bounds::RESULTS.0, bounds::RESULTS.1), "Consecutive passes that decide.", "2")
        .default(|| Thresholds::default().pass_after().to_string())
        .also(&["successthreshold", "successes"])
        .registrable(),
    Key::new(
        Health,
        "fail_if",
        Takes::Window,
        "So many failures of the last measurements decide as well.",
        "\"3 of 5\"",
    )
    .registrable(),
    Key::new(
        Health,
        "grace",
        Takes::Duration,
        "Time after a start in which failures do not count.",
        "\"30s\"",
    )
    .default(|| "until the first pass".to_owned())
    .also(&["startperiod", "initialdelayseconds", "initialdelay", "delay"])
    .registrable(),
    Key::new(
        Health,
        "role",
        Takes::Word(ROLES),
        "What its failure causes: `live` a restart, `ready` the status down, `info` nothing.",
        "\"ready\"",
    )
    .default(|| quoted(ROLES[0]))
    .registrable(),
    Key::new(Health, "method", Takes::Text("string"), "HTTP method of the request.", "\"HEAD\"")
        .default(|| quoted("GET"))
        .registrable(),
    Key::new(
        Health,
        "headers",
        Takes::Headers,
        "HTTP headers of the request.",
        "{ Accept = \"application/json\" }",
    )
    .registrable(),
    Key::new(Health, "body", Takes::Text("string"), "HTTP request body.", "\"ping\""),
    Key::new(Health, "status", Takes::Statuses, "HTTP statuses that pass.", "[200, 204]")
        .default(|| quoted("2xx"))
        .also(&["expectedstatus", "statuscode", "code", "codes"])
        .registrable(),
    Key::new(Health, "contains", Takes::Text("string"), "Text that the HTTP body or the file contains.", "\"ok\"")
        .also(&["keyword", "text"])
        .registrable(),
    Key::new(
        Health,
        "matches",
        Takes::Text("regular expression"),
        "Pattern that the HTTP body matches.",
        "'ready: \\d+'",
    )
    .also(&["regex", "pattern"])
    .registrable(),
    Key::new(
        Health,
        "json",
        Takes::Pointers,
        "JSON pointers into the HTTP body, and the values there.",
        "{ \"/status\" = \"ok\" }",
    )
    .registrable(),
    Key::new(Health, "send", Takes::Text("string"), "Text sent over the TCP connection.", "\"PING\\r\\n\""),
    Key::new(
        Health,
        "expect",
        Takes::Text("string"),
        "Text that the answer contains; of Redis and PostgreSQL also a comparison such as `\"< 100\"`, and of DNS one of the records.",
        "\"PONG\"",
    )
    .registrable(),
    Key::new(Health, "verify", Takes::Boolean, "Verify the server's certificate.", "false")
        .default(|| "true".to_owned())
        .also(&["tlsverify", "sslverify"]),
    Key::new(
        Health,
        "ca",
        Takes::Text("path"),
        "PEM file of the only certificates to trust.",
        "\"/etc/ssl/internal-ca.pem\"",
    )
    .default(|| "the system's roots".to_owned())
    .also(&["cacert", "cafile"]),
    Key::new(
        Health,
        "cert",
        Takes::Text("path"),
        "PEM file of the client certificate, with its chain.",
        "\"/etc/ssl/monitor.pem\"",
    )
    .also(&["certfile", "clientcert"]),
    Key::new(
        Health,
        "key",
        Takes::Text("path"),
        "PEM file of the private key of `cert`.",
        "\"/etc/ssl/private/monitor.key\"",
    )
    .also(&["keyfile", "clientkey"]),
    Key::new(
        Health,
        "server_name",
        Takes::Text("host name"),
        "Name that the server's certificate must be for, also sent as SNI.",
        "\"shop.example.org\"",
    )
    .default(|| "the host".to_owned())
    .also(&["sni", "hostname"]),
    Key::new(
        Health,
        "expires",
        Takes::Duration,
        "A certificate that expires within this time is degraded.",
        "\"30d\"",
    )
    .default(|| "\"14d\", or a third of its life".to_owned())
    .also(&["certificateexpiration"]),
    Key::new(
        Health,
        "response_headers",
        Takes::Pairs,
        "Headers that the answer must have, and a text that the value of each contains.",
        "{ Content-Type = \"json\" }",
    ),
    Key::new(Health, "max_latency", Takes::Duration, "An answer that takes longer fails.", "\"2s\"")
        .also(&["responsetime", "maxresponsetime"]),
    Key::new(
        Health,
        "read_body",
        Takes::Boolean,
        "Read the body of an accepted answer to its end, and the verdict that a JSON body reports.",
        "false",
    )
    .default(|| "true".to_owned()),
    Key::new(
        Health,
        "redirects",
        Takes::Number(bounds::REDIRECTS.0, bounds::REDIRECTS.1),
        "HTTP redirects that are followed at most. Headers and a body stay with their host.",
        "2",
    )
    .default(|| "0".to_owned())
    .also(&["followredirects", "maxredirects", "followlocation"]),
    Key::new(
        Health,
        "reported_down",
        Takes::Word(REPORTED_DOWN),
        "What a body that reports `DOWN` with an accepted status is.",
        "\"fail\"",
    )
    .default(|| "degraded".to_owned()),
    Key::new(
        Health,
        "password_file",
        Takes::Text("path"),
        "File with the password of Redis or PostgreSQL.",
        "\"/etc/shop/redis-password\"",
    )
    .also(&["password", "passwd", "requirepass"]),
    Key::new(
        Health,
        "command",
        Takes::Command,
        "Redis command whose reply must be what `expect` says.",
        "\"LLEN celery\"",
    ),
    Key::new(
        Health,
        "query",
        Takes::Text("SQL"),
        "SQL query whose first value must be what `expect` says.",
        "\"select count(*) from jobs where failed\"",
    )
    .also(&["sql", "statement"]),
];
