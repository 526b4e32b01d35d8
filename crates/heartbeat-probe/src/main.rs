//! `heartbeat-probe URL`: one measurement from a program that needs no file, no library and no heartbeatd. It does what
//! `heartbeat-cli probe URL` does.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program: what it prints is what it is for")]

use std::process::ExitCode;
use std::time::Duration;

use heartbeat_probe::Probe;

/// What a target has by default, as in a configuration.
const TIMEOUT: Duration = Duration::from_secs(2);
const USAGE: &str = "usage: heartbeat-probe [--explain] [--timeout SECONDS] URL\n\
exit code 0 if it passes, 1 if not, 2 for a mistake in the arguments";

fn main() -> ExitCode {
    if std::env::args().skip(1).any(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let (probe, timeout, explain) = match arguments() {
        Ok(arguments) => arguments,
        Err(Mistake(why)) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no measurement: {error}");
            return ExitCode::FAILURE;
        }
    };
    let explanation = runtime.block_on(probe.explain(timeout));
    if explain {
        print!("{explanation}");
    } else {
        println!("{}", explanation.summary());
    }
    // A resolver that hangs keeps a thread, which nothing here waits for.
    runtime.shutdown_background();
    if explanation.result.outcome.passed() == Some(true) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A mistake in the arguments, for a person.
struct Mistake(String);

fn arguments() -> Result<(Probe, Duration, bool), Mistake> {
    let mistake = |why: String| Mistake(why);
    let (mut url, mut timeout, mut explain) = (None, TIMEOUT, false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--explain" => explain = true,
            "--timeout" => {
                let text = words.next().unwrap_or_default();
                let seconds = text.strip_suffix('s').unwrap_or(&text).parse().ok();
                let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                timeout = time.ok_or_else(|| mistake(format!("`{text}` is not a number of seconds")))?;
            }
            option if option.starts_with('-') => return Err(mistake(format!("unknown option `{option}`"))),
            _ if url.is_none() => url = Some(word),
            more => return Err(mistake(format!("one URL at a time: `{more}`"))),
        }
    }
    let url = url.ok_or_else(|| mistake("no URL".to_owned()))?;
    let probe = url.parse().map_err(|error: heartbeat_probe::UrlError| mistake(error.to_string()))?;
    Ok((probe, timeout, explain))
}
