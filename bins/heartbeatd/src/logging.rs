//! heartbeatd's own log, on standard error.

use std::borrow::Cow;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging: `filter` as `[heartbeat] log` has it, `format` one of `auto`, `pretty`, `json`.
pub(crate) fn init(filter: &str, format: &str) {
    let is_seen = std::io::stdout().is_terminal() && std::io::stderr().is_terminal() && format != "json";
    // The configuration was validated; a filter that does not parse all the same falls back to the default.
    let filter = EnvFilter::try_new(told_once(filter, is_seen)).unwrap_or_else(|_| EnvFilter::new("info"));
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

/// The filter where a person sees the log beside the report: what the report tells is not logged as well, unless the
/// filter asks for more than the default.
fn told_once(filter: &str, is_seen: bool) -> Cow<'_, str> {
    if is_seen && filter.eq_ignore_ascii_case("info") {
        format!("{filter},heartbeat_daemon::reporting=warn").into()
    } else {
        filter.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_terminal_an_incident_is_told_by_the_report_alone() {
        let quiet = told_once("info", true);
        assert_eq!(quiet, "info,heartbeat_daemon::reporting=warn");
        assert!(EnvFilter::try_new(&quiet).is_ok());
        assert_eq!([told_once("info", false), told_once("debug", true)], ["info", "debug"]);
    }
}
