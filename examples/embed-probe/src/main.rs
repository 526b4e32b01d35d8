//! A small service that watches its own upstream with `heartbeat-probe`.
//!
//! ```text
//! cargo run -p embed-probe -- http://127.0.0.1:8001/api/health/ [LISTEN]
//! ```
//!
//! Every five seconds it measures the upstream and prints the result. On `LISTEN` (default `127.0.0.1:8002`) it
//! answers `GET /api/health/` itself: `pass`, or `warn` while the upstream fails. This service is alive
//! although its upstream is not, so its own supervisor has no reason to restart it.
#![expect(clippy::print_stdout, reason = "an example: what it prints is what it is for")]

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heartbeat_probe::{HttpProbe, Probe};
use heartbeat_status::CheckResult;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const EVERY: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);
const SLOW: Duration = Duration::from_millis(500);
/// Longest a caller may take to ask and to take its answer.
const CALLER_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest request head that is read, in bytes.
const MAX_REQUEST_BYTES: usize = 4 * 1024;

/// The last measurement; `None` before the first.
type Last = Arc<Mutex<Option<CheckResult>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(upstream) = arguments.next() else {
        println!("usage: embed-probe http://HOST:PORT/PATH [LISTEN]");
        return ExitCode::from(2);
    };
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:8002".to_owned());
    let probe: Probe = match HttpProbe::new(&upstream) {
        Ok(probe) => Probe::from(probe).with_slow(SLOW),
        Err(error) => {
            println!("{error}");
            return ExitCode::from(2);
        }
    };
    let listener = match TcpListener::bind(&listen).await {
        Ok(listener) => listener,
        Err(error) => {
            println!("cannot listen on {listen}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("watching {}, answering on http://{listen}/api/health/", probe.target());
    let last = Last::default();
    // Both run in this task: the probe starts none of its own, and neither do we.
    tokio::join!(watch(&probe, &last), serve(&listener, &last));
    ExitCode::SUCCESS
}

/// Measures again and again; the interval runs from start to start.
async fn watch(probe: &Probe, last: &Last) {
    let mut slots = tokio::time::interval(EVERY);
    slots.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        slots.tick().await;
        let result = probe.measure(TIMEOUT).await;
        println!("{}", line(&result));
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }
}

fn line(result: &CheckResult) -> String {
    let ms = |time: Option<Duration>| match time {
        Some(time) => format!("{:.1} ms", time.as_secs_f64() * 1000.0),
        None => "-".to_owned(),
    };
    let phases = &result.phases;
    format!(
        "{}: {} [total {}, connect {}, first byte {}, body {}]",
        result.outcome,
        result.detail,
        ms(result.latency),
        ms(phases.connect),
        ms(phases.first_byte),
        ms(phases.body),
    )
}

/// Answers one caller after the other, each within its timeout.
async fn serve(listener: &TcpListener, last: &Last) {
    loop {
        match listener.accept().await {
            Ok((caller, _)) => {
                // A caller that does not ask or does not read in time gets no answer.
                let _ = tokio::time::timeout(CALLER_TIMEOUT, answer(caller, last)).await;
            }
            Err(error) => {
                println!("accept: {error}");
                // Most likely no descriptors are left: trying again at once would only burn a core.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(mut caller: TcpStream, last: &Last) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut chunk = [0; 512];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < MAX_REQUEST_BYTES {
        match caller.read(&mut chunk).await? {
            0 => return Ok(()),
            read => head.extend_from_slice(&chunk[..read]),
        }
    }
    let (status, body) = if head.starts_with(b"GET /api/health/ ") {
        let passed =
            last.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|it| it.outcome.passed());
        ("200 OK", health(passed))
    } else {
        ("404 Not Found", r#"{"error":"ask for /api/health/"}"#.to_owned())
    };
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/health+json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    caller.write_all(text.as_bytes()).await?;
    caller.shutdown().await
}

/// `passed` is `None` before the first measurement; an inconclusive measurement is `Some(None)`.
fn health(passed: Option<Option<bool>>) -> String {
    let (status, output) = match passed {
        None => ("pass", "the upstream has not been measured yet"),
        Some(Some(true)) => ("pass", "the upstream answers"),
        Some(Some(false)) => ("warn", "the upstream fails"),
        Some(None) => ("pass", "the last measurement of the upstream was inconclusive"),
    };
    format!(r#"{{"status":"{status}","output":"{output}"}}"#)
}
