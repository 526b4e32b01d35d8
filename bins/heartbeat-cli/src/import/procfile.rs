//! Procfile: a name and a line for a shell, and the `.env` beside it.

use std::path::Path;

use heartbeat_config::parse_env_file;

use crate::import::draft::{Draft, ToolDefault};
use crate::import::values::{needs_a_shell, table, text};

/// What foreman and Heroku give to the first process, and to each that follows.
const FIRST_PORT: u16 = 5_000;
const PORTS_APART: u16 = 100;

const DEFAULTS: &[ToolDefault] = &[
    ToolDefault {
        key: "restart.policy",
        theirs: "no restart: one that ends is the end of all",
        ours: "\"always\"",
    },
    ToolDefault { key: "stop.timeout", theirs: "5 s", ours: "10 s" },
];

/// The Procfile `name`.
pub(crate) fn translate(draft: &mut Draft, name: &str, file: &str) -> Result<(), String> {
    draft.of_tool("foreman", DEFAULTS);
    let variables = variables_beside(draft, name);
    let base = variables.iter().flatten().find(|(name, _)| name == "PORT");
    let base = base.and_then(|(_, port)| port.parse().ok()).filter(|port| *port > 0);
    let mut port = Some(base.unwrap_or(FIRST_PORT));
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
        let command = in_the_foreground(draft, name, command);
        let names_it = ["$PORT", "${PORT}", "${PORT:-"].iter().any(|word| command.contains(word));
        let listens = names_it || (name == "web" && !may_name_a_port(command));
        draft.set(realm, "run", text(&command.replace("${", "$${")));
        if needs_a_shell(command) {
            draft.add(realm, "shell", "true");
        }
        let own_port = port.filter(|_| name != "release");
        if let Some(port) = own_port {
            of_its_own(draft, realm, name, port, listens);
        }
        if let Some(variables) = &variables {
            environment(draft, realm, variables, own_port.is_some() && listens);
        }
        if name == "release" {
            draft.add(realm, "oneshot", "true");
            draft.approximated(name, "it runs once at the start; let others need it with { realm = \"release\", until = \"done\" }");
        }
        port = port.and_then(|port| port.checked_add(PORTS_APART));
    }
    Ok(())
}

/// The port that foreman gives to a process. `web` listens there, and a process that names it; another one has the
/// variable all the same, and a `port` of its realm would have it restarted for what it never does.
fn of_its_own(draft: &mut Draft, realm: usize, name: &str, port: u16, listens: bool) {
    let what = if listens {
        draft.add(realm, "port", port.to_string());
        draft.add(realm, "health", text(&format!("tcp://127.0.0.1:{port}")));
        format!(
            "PORT is {port}, as foreman would give it; it is watched by connecting to it: correct `port` and `health` if it listens elsewhere"
        )
    } else {
        draft.add(realm, "health", "{ process = true }");
        draft.add(realm, "env", table(&[("PORT".to_owned(), port.to_string())]));
        format!(
            "PORT is {port}, as foreman would give it; its process alone is watched: write port = {port} in place of `env` and `health` if it listens there"
        )
    };
    draft.approximated(name, &what);
}

/// Whether a command has a number that can be the port on which it listens in place of PORT: `-p 3000`.
fn may_name_a_port(command: &str) -> bool {
    const DIGITS: std::ops::RangeInclusive<usize> = 4..=5;
    command.split(|c: char| !c.is_ascii_digit()).any(|number| DIGITS.contains(&number.len()))
}

/// A command without the `&` at its end: what runs in the background is lost to its supervisor.
pub(super) fn in_the_foreground<'c>(draft: &mut Draft, name: &str, command: &'c str) -> &'c str {
    match command.strip_suffix('&').filter(|before| !before.ends_with('&')) {
        Some(before) => {
            draft.approximated(name, "the `&` at its end is left out: heartbeatd watches the program itself");
            before.trim_end()
        }
        None => command,
    }
}

/// The variables of the `.env` beside the Procfile, which foreman gives to every process.
fn variables_beside(draft: &mut Draft, name: &str) -> Option<Vec<(String, String)>> {
    let file = Path::new(name).parent().filter(|dir| dir.is_absolute())?.join(".env");
    let text = std::fs::read_to_string(file).ok()?;
    let variables = parse_env_file(&text);
    if variables.is_err() {
        draft.dropped(
            ".env",
            "it has a line that is not NAME=value: correct it, then add env_file = \".env\" to each realm",
        );
    }
    let variables = variables.ok().filter(|variables| !variables.is_empty())?;
    draft.approximated(
        ".env",
        "each realm reads it at its start, as with foreman: keep it beside heartbeat.toml",
    );
    Some(variables)
}

/// The file of variables for a realm. heartbeatd sets PORT itself where the realm has one, so there the others are named.
fn environment(draft: &mut Draft, realm: usize, variables: &[(String, String)], has_port: bool) {
    let of_port = |(name, _): &&(String, String)| name == "PORT";
    if !has_port || !variables.iter().any(|pair| of_port(&pair)) {
        return draft.add(realm, "env_file", text(".env"));
    }
    let others = variables.iter().filter(|pair| !of_port(pair));
    let others: Vec<(String, String)> =
        others.map(|(name, _)| (name.clone(), format!("${{{name}}}"))).collect();
    if !others.is_empty() {
        draft.add(realm, "env", table(&others));
    }
}
