//! Completions: the script of a shell asks this program, so realms are those of the heartbeatd that runs now.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::engine::CompletionCandidate;
use clap_complete::env::Shells;
use heartbeat_client::{Client, Host};
use heartbeat_config::{Sources, socket_of};

use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};

/// Variable in which the script of a shell asks.
pub(crate) const VARIABLE: &str = "COMPLETE";
/// A shell that waits longer for names has none.
const PATIENCE: Duration = Duration::from_millis(500);

/// The script for a shell.
pub(crate) fn script(shell: &str, console: &mut Console) -> Outcome {
    const NAME: &str = "heartbeat-cli";
    let shells = Shells::builtins();
    let Some(completer) = shells.completer(shell) else {
        return Err(Failure::new(Exit::Usage, format!("there are no completions for `{shell}`")));
    };
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, NAME, NAME, NAME, &mut script)?;
    console.print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Holds)
}

/// Names of realms, and the groups and words that select several.
pub(crate) fn realms(current: &OsStr) -> Vec<CompletionCandidate> {
    let begun = current.to_string_lossy();
    let document =
        tokio::runtime::Builder::new_current_thread().enable_all().build().ok().and_then(|runtime| {
            let configured = || socket_of(&Sources::from_process(None)).ok().flatten();
            let client = Client::new(Host::from_environment_or(configured)).with_deadline(PATIENCE);
            runtime.block_on(client.status(false)).ok()
        });
    let Some(document) = document else { return Vec::new() };
    let mut candidates: Vec<CompletionCandidate> = document
        .realms
        .iter()
        .map(|realm| {
            let about = format!("{}: {}", realm.status, heartbeat_status::sanitise_line(&realm.message));
            CompletionCandidate::new(&realm.name).help(Some(about.into()))
        })
        .collect();
    let mut groups: Vec<String> = document.realms.iter().filter_map(|realm| realm.group.clone()).collect();
    groups.sort_unstable();
    groups.dedup();
    candidates.extend(groups.iter().map(|group| CompletionCandidate::new(format!("@{group}"))));
    candidates.push(CompletionCandidate::new("all"));
    candidates.retain(|candidate| candidate.get_value().to_string_lossy().starts_with(begun.as_ref()));
    candidates
}

/// Names of receivers.
pub(crate) fn receivers(current: &OsStr) -> Vec<CompletionCandidate> {
    let begun = current.to_string_lossy();
    let names = crate::config::receivers().into_iter().filter(|name| name.starts_with(begun.as_ref()));
    names.map(CompletionCandidate::new).collect()
}

/// Words that `explain` explains.
pub(crate) fn words(current: &OsStr) -> Vec<CompletionCandidate> {
    let begun = current.to_string_lossy();
    let words = crate::explain::words().into_iter().filter(|word| word.starts_with(begun.as_ref()));
    words.map(CompletionCandidate::new).collect()
}
