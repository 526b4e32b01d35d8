//! heartbeatd's own log, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging: `filter` as `[heartbeat] log` has it, `format` one of `auto`, `pretty`, `json`.
pub(crate) fn init(filter: &str, format: &str) {
    // The configuration was validated; a filter that does not parse all the same falls back to the default.
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // A line that cannot be written (a full disk, a pipe without a reader) is lost. Reported with `eprintln!`, as
    // tracing-subscriber does by itself, it would panic in the thread that logs.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    if format == "json" {
        builder.json().init();
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
