//! Procfile: a name and a line for a shell.

use crate::import::draft::Draft;
use crate::import::values::{needs_a_shell, text};

/// What foreman and Heroku give to the first process, and to each that follows.
const FIRST_PORT: u16 = 5_000;
const PORTS_APART: u16 = 100;

pub(crate) fn translate(draft: &mut Draft, file: &str) -> Result<(), String> {
    let mut port = FIRST_PORT;
    for (at, line) in file.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, command)) = line.split_once(':').map(|(name, command)| (name.trim(), command.trim()))
        else {
            draft.dropped(&format!("line {}", at + 1), "it is no `name: command`");
            continue;
        };
        if name.is_empty() || command.is_empty() {
            draft.dropped(&format!("line {}", at + 1), "it is no `name: command`");
            continue;
        }
        let realm = draft.realm(name);
        let of_port = ["$PORT", "${PORT}", "${PORT:-"].iter().any(|word| command.contains(word));
        draft.set(realm, "run", text(&command.replace("${", "$${")));
        if needs_a_shell(command) {
            draft.add(realm, "shell", "true");
        }
        if of_port {
            draft.add(realm, "port", port.to_string());
            draft.add(realm, "health", text(&format!("tcp://127.0.0.1:{port}")));
            draft.approximated(
                name,
                &format!("PORT is {port}, as foreman would give it; it is watched by connecting to it"),
            );
        }
        if name == "release" {
            draft.add(realm, "oneshot", "true");
            draft.approximated(name, "it runs once at the start; let others need it with { realm = \"release\", until = \"done\" }");
        }
        port += PORTS_APART;
    }
    Ok(())
}
