//! Kinds of probes, and the keys that each of them reads.

/// What a probe may be.
pub(crate) const KINDS: [&str; 15] = [
    "http", "tcp", "unix", "tls", "redis", "postgres", "grpc", "dns", "file", "resource", "exec", "nagios",
    "push", "process", "notify",
];

/// What a receiver of notifications may be.
pub(crate) const RECEIVERS: [&str; 7] =
    ["webhook", "alertmanager", "ntfy", "slack", "pagerduty", "exec", "smtp"];

/// The keys that say how to connect by TLS.
pub(crate) const OF_TLS: [&str; 6] = ["verify", "ca", "cert", "key", "server_name", "expires"];

/// Whether a probe of the kind reads the key.
pub(crate) fn means_something(kind: &str, key: &str) -> bool {
    let is_server = kind == "redis" || kind == "postgres";
    match key {
        "method" | "headers" | "body" | "status" | "matches" | "json" | "response_headers"
        | "max_latency" | "read_body" | "redirects" | "reported_down" => kind == "http",
        "contains" => ["http", "file"].contains(&kind),
        "max_age" => kind == "file",
        "max_cpu" | "max_memory" | "max_fds" | "max_load" | "min_memory_free" | "min_disk_free" | "path" => {
            kind == "resource"
        }
        "send" => ["tcp", "unix"].contains(&kind),
        "expect" => ["tcp", "unix", "dns"].contains(&kind) || is_server,
        "record" => kind == "dns",
        "password_file" => is_server,
        "command" => kind == "redis",
        "query" => kind == "postgres",
        "watchdog" => kind == "notify",
        // These measure nothing, and the watchdog is the only time of a notification.
        "slow" => !["process", "resource", "notify", "push"].contains(&kind),
        "grace" => !["process", "notify", "push"].contains(&kind),
        "interval" | "timeout" | "fail_after" | "pass_after" | "fail_if" => {
            !["notify", "push"].contains(&kind)
        }
        _ => !OF_TLS.contains(&key) || is_server || ["http", "tcp", "tls", "grpc"].contains(&kind),
    }
}
