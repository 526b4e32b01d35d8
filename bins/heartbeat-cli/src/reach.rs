//! What to type when no heartbeatd listens where it was looked for.

use std::path::Path;

use heartbeat_client::Host;
use heartbeat_config::{Sources, find_file, socket_of};

use crate::exit::{Exit, Failure};
use crate::global::Global;

/// Where heartbeatd is asked: as the command line says, or the environment, or the configuration that `heartbeatd`
/// would find if it were started here.
///
/// # Errors
/// Exit 2 where others may write that configuration: it could lead to another heartbeatd, or hide the right one.
pub(crate) fn host(global: &Global) -> Result<Host, Failure> {
    if let Some(host) = &global.host {
        return Ok(host.clone());
    }
    let mut unfit = None;
    let host = Host::from_environment_or(|| {
        socket_of(&Sources::from_process(None)).unwrap_or_else(|report| {
            unfit = Some(report);
            None
        })
    });
    match unfit {
        None => Ok(host),
        Some(report) => {
            let what = "the configuration that names the socket of heartbeatd is not read";
            let lines = report.iter().map(ToString::to_string).collect();
            let help = "or say where it listens with --host unix:PATH or $HEARTBEAT_SOCKET";
            Err(Failure { lines, ..Failure::new(Exit::Usage, what).help(help) })
        }
    }
}

/// A failure with the exact command that starts the missing heartbeatd.
pub(crate) fn explained(failure: Failure, global: &Global) -> Failure {
    if !failure.not_running {
        return failure;
    }
    match host(global) {
        Ok(host) => failure.help(how_to_start(&host, &Sources::from_process(None))),
        Err(_) => failure,
    }
}

fn how_to_start(host: &Host, sources: &Sources) -> String {
    const ELSEWHERE: &str = "say where it listens with --host unix:PATH or $HEARTBEAT_SOCKET";
    let Host::Unix(socket) = host else {
        return "heartbeatd listens there only if `listen` in its [heartbeat] says so; without --host, its Unix socket is asked"
            .to_owned();
    };
    let Ok(file) = find_file(sources) else {
        return format!(
            "there is no configuration here: `heartbeat-cli init` writes one, and `heartbeatd` starts with it; or {ELSEWHERE}"
        );
    };
    let command = format!("heartbeatd --config {}", quoted(&file));
    match socket_of(sources).ok().flatten() {
        Some(other) if other != *socket => format!(
            "start the heartbeatd whose `socket` is {}; the one that `{command}` starts has {}",
            socket.display(),
            other.display()
        ),
        _ => format!("start it with `{command}`, or {ELSEWHERE}"),
    }
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|c| c.is_alphanumeric() || "/._-+=:@".contains(c));
    if plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_the_configuration_whose_socket_was_asked() {
        let dir = tempfile::tempdir().unwrap();
        let mut sources = Sources { cwd: dir.path().join("my shop"), ..Sources::from_process(None) };
        sources.env.clear();
        std::fs::create_dir(&sources.cwd).unwrap();
        let file = sources.cwd.join("heartbeat.toml");
        sources.file = Some(file.clone());
        std::fs::write(&file, "[heartbeat]\nsocket = \"run/s\"\n").unwrap();
        let here = Host::Unix(sources.cwd.join("run/s"));
        let command = format!("`heartbeatd --config '{}'`", file.display());
        let help = how_to_start(&here, &sources);
        assert!(help.starts_with(&format!("start it with {command}")), "{help}");
        let elsewhere = how_to_start(&Host::Unix("/run/other.sock".into()), &sources);
        assert!(
            elsewhere.contains("whose `socket` is /run/other.sock") && elsewhere.contains(&command),
            "{elsewhere}"
        );
        let network = how_to_start(&"http://127.0.0.1:1".parse().unwrap(), &sources);
        assert!(network.contains("`listen`"), "{network}");
    }
}
