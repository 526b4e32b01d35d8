//! `beat` and `run-beat`: the heartbeats of a job.

use std::process::ExitStatus;

use heartbeat_client::{BeatEvent, Client};

use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};

/// What a shell exits with where a signal has ended its command, less the signal.
const SIGNAL_BASE: i32 = 128;
/// What a shell exits with where there is no such command.
const NOT_FOUND: u8 = 127;
/// The last exit code that the system has.
const LAST_CODE: i32 = 255;

/// Sends one heartbeat.
pub(crate) async fn run(
    client: &Client,
    realm: &str,
    event: BeatEvent,
    run: Option<&str>,
    message: &str,
    console: &mut Console,
) -> Outcome {
    client.beat(realm, event, run, message).await?;
    console.prose(&format!("heartbeat of {} taken", console.style.text(realm)), 2)?;
    Ok(Exit::Holds)
}

/// Runs a command, reports its beginning and its end, and exits as it does. A heartbeatd that does not answer never
/// keeps the command from running.
pub(crate) async fn wrap(client: &Client, realm: &str, command: &[String], console: &mut Console) -> Outcome {
    let id = std::process::id().to_string();
    let mut noted = None;
    let mut report = async |event, message: &str| {
        let Err(error) = client.beat(realm, event, Some(&id), message).await else { return };
        let remark = format!("heartbeatd does not know of this run: {error}");
        // The end of it fails as its beginning did.
        if noted.as_ref() != Some(&remark) {
            console.note(&remark);
        }
        noted = Some(remark);
    };
    report(BeatEvent::Start, "").await;
    let argv = command.to_vec();
    let ended = tokio::task::spawn_blocking(move || status(&argv)).await;
    let code = match ended {
        Ok(Ok(status)) => code_of(status),
        Ok(Err(error)) => {
            let message = format!("cannot run {}: {error}", command.first().map_or("", String::as_str));
            report(BeatEvent::Exit(NOT_FOUND), &message).await;
            return Err(Failure::new(Exit::Child(NOT_FOUND), message));
        }
        Err(_) => return Err(Failure::new(Exit::No, "the command was lost")),
    };
    report(BeatEvent::Exit(code), "").await;
    Ok(Exit::Child(code))
}

/// Runs the command to its end, on this terminal.
#[expect(clippy::disallowed_methods, reason = "a job in the foreground of its own caller, and no realm")]
fn status(argv: &[String]) -> std::io::Result<ExitStatus> {
    let (program, arguments) = argv.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    std::process::Command::new(program).args(arguments).status()
}

fn code_of(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;

    let code = status.code().or_else(|| Some(SIGNAL_BASE + status.signal()?)).unwrap_or(LAST_CODE);
    u8::try_from(code).unwrap_or(u8::MAX)
}
