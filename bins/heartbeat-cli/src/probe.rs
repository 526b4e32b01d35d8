//! `probe`: one measurement from this process, without heartbeatd. As the HEALTHCHECK of a container, or to see why a
//! probe fails.

use std::time::Duration;

use heartbeat_probe::{Probe, UrlError};
use heartbeat_status::{CheckResult, PhaseTimes};

use crate::args::ProbeArgs;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};

/// What a target has by default, as in a configuration.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Measures the URL once and prints the result; with `--explain`, also what was said and how long each phase took.
pub(crate) async fn run(args: &ProbeArgs, timeout: Option<Duration>, console: &mut Console) -> Outcome {
    let probe: Probe = args.url.parse().map_err(|error: UrlError| {
        Failure::new(Exit::Usage, error.to_string()).help("for example http://127.0.0.1:8001/api/health/")
    })?;
    let explanation = probe.explain(timeout.unwrap_or(TIMEOUT)).await;
    let mut text = String::new();
    if args.explain {
        for line in explanation.conversation.iter().chain([&phases(&explanation.result.phases)]) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str(&sentence(&explanation.result));
    text.push('\n');
    console.print(&text)?;
    Ok(if explanation.result.outcome.passed() == Some(true) { Exit::Holds } else { Exit::No })
}

/// `passes in 12.3 ms: 200`
fn sentence(result: &CheckResult) -> String {
    let verdict = match result.outcome {
        heartbeat_status::Outcome::Pass => "passes",
        heartbeat_status::Outcome::Degraded(_) => "passes, degraded,",
        heartbeat_status::Outcome::Fail { .. } => "fails",
        heartbeat_status::Outcome::Inconclusive(_) => "is not known, since the fault is on this side,",
    };
    let took = result.finished_at.since(result.started_at);
    let took = ms(result.latency.unwrap_or(took));
    if result.detail.is_empty() {
        format!("{verdict} in {took}")
    } else {
        format!("{verdict} in {took}: {}", result.detail)
    }
}

/// `resolve 0.4 ms, connect 0.2 ms, first byte 11.1 ms, body 0.8 ms`
fn phases(times: &PhaseTimes) -> String {
    let named = [
        ("resolve", times.resolve),
        ("connect", times.connect),
        ("TLS", times.tls),
        ("first byte", times.first_byte),
        ("body", times.body),
    ];
    let shown: Vec<String> =
        named.into_iter().filter_map(|(name, time)| Some(format!("{name} {}", ms(time?)))).collect();
    if shown.is_empty() { "* no phase was completed".to_owned() } else { format!("* {}", shown.join(", ")) }
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_status::{FailReason, Instant, ProbePhase};

    #[test]
    fn a_result_is_one_sentence_and_its_phases_are_one_line() {
        let result = CheckResult {
            outcome: heartbeat_status::Outcome::Fail {
                reason: FailReason::Refused,
                phase: Some(ProbePhase::Connect),
            },
            detail: "connection refused".to_owned(),
            started_at: Instant::from_nanos(0),
            finished_at: Instant::from_nanos(1_500_000),
            latency: None,
            phases: PhaseTimes { resolve: Some(Duration::from_micros(400)), ..PhaseTimes::default() },
            unattributable: false,
        };
        assert_eq!(sentence(&result), "fails in 1.5 ms: connection refused");
        assert_eq!(phases(&result.phases), "* resolve 0.4 ms");
        assert_eq!(phases(&PhaseTimes::default()), "* no phase was completed");
    }
}
