//! A checker of its own: measures every URL every five seconds, and prints what has changed.
//!
//! ```text
//! cargo run -p embed-probe --bin checker -- http://127.0.0.1:8001/api/health/ tcp://127.0.0.1:5432
//! ```
#![expect(clippy::print_stdout, reason = "an example: what it prints is what it is for")]

use std::process::ExitCode;
use std::time::Duration;

use heartbeat_probe::{CheckResult, Probe, Tally, Thresholds};

const EVERY: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let probes: Result<Vec<Probe>, _> = std::env::args().skip(1).map(|url| url.parse()).collect();
    let probes = match probes {
        Ok(probes) if !probes.is_empty() => probes,
        Ok(_) => {
            println!("usage: checker URL..");
            return ExitCode::from(2);
        }
        Err(error) => {
            println!("{error}");
            return ExitCode::from(2);
        }
    };
    // Each in a task of its own: one that hangs delays no other.
    let tasks: Vec<_> = probes.into_iter().map(|probe| tokio::spawn(watch(probe))).collect();
    for task in tasks {
        let _ = task.await;
    }
    ExitCode::SUCCESS
}

/// Measures from start to start; three failures in a row decide, and so do two passes.
async fn watch(probe: Probe) {
    let (thresholds, mut tally) = (Thresholds::default(), Tally::new());
    let mut slots = tokio::time::interval(EVERY);
    loop {
        slots.tick().await;
        let result = probe.measure(TIMEOUT).await;
        // An inconclusive measurement says nothing about the target: it counts neither way.
        let Some(passed) = result.outcome.passed() else { continue };
        if let Some(verdict) = tally.observe(passed, &thresholds) {
            println!("{} is {verdict:?}: {}", probe.target(), described(&result));
        }
    }
}

fn described(result: &CheckResult) -> String {
    let took = result.finished_at.since(result.started_at).as_secs_f64() * 1000.0;
    format!("{} {} ({took:.1} ms)", result.outcome, result.detail)
}
