//! The help of the whole program: its commands in groups, in the order in which a person needs them.

use std::io::Write as _;

use clap::CommandFactory;

use crate::args::Cli;
use crate::style::fold;

/// Columns of the help on a wide terminal, as for the help of a command.
const MAX_COLUMNS: usize = 100;
/// Width of the column of names.
const NAME_COLUMNS: usize = 14;

const GROUPS: &[(&str, &[&str])] = &[
    (
        "Look",
        &[
            "status",
            "why",
            "show",
            "graph",
            "logs",
            "events",
            "incidents",
            "history",
            "slo",
            "report",
            "boot",
        ],
    ),
    (
        "Act",
        &["start", "stop", "restart", "plan", "pause", "resume", "mute", "unmute", "reset", "signal", "ack"],
    ),
    ("For scripts", &["is", "wait", "nagios", "probe", "beat", "run-beat"]),
    (
        "Configure",
        &["init", "import", "check", "config", "reload", "register", "unregister", "explain", "schema"],
    ),
    ("heartbeatd itself", &["doctor", "daemon", "notify", "version", "man", "completion", "help"]),
];

/// The commands that no group names: a command that is new, until it has its place.
const OTHER: &str = "Other";

/// Prints the help of the whole program; `false` where `help` is that of a single command.
pub(crate) fn print_grouped(help: &clap::builder::StyledStr) -> bool {
    let colour = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
    let text = if colour { help.ansi().to_string() } else { help.to_string() };
    let columns = crossterm::terminal::size().map_or(MAX_COLUMNS, |(width, _)| usize::from(width));
    let Some(text) = grouped(&text, columns.min(MAX_COLUMNS)) else { return false };
    // A terminal that is gone cannot be told anything.
    let _ = anstream::stdout().write_all(text.as_bytes());
    true
}

/// The help with its commands in groups; `None` where it is that of a single command.
pub(crate) fn grouped(help: &str, columns: usize) -> Option<String> {
    if !help.contains("heartbeat-cli") || !help.contains("[COMMAND]") {
        return None;
    }
    let lines: Vec<&str> = help.split('\n').collect();
    let begin = lines.iter().position(|line| line.contains("Commands:"))?;
    let end = begin + lines[begin..].iter().position(|line| line.contains("Options:"))?;
    let mut text = lines[..begin].join("\n") + "\n";
    for (heading, names) in groups() {
        text += &lines[begin].replace("Commands", heading);
        text.push('\n');
        for (name, about) in names {
            let line = format!("  {name:<NAME_COLUMNS$}{about}");
            for line in fold(&line, columns, NAME_COLUMNS) {
                text += &line;
                text.push('\n');
            }
        }
        text.push('\n');
    }
    Some(text + &lines[end..].join("\n"))
}

/// Each group with its commands and what they do.
fn groups() -> Vec<(&'static str, Vec<(String, String)>)> {
    let mut command = Cli::command();
    command.build();
    let about = |name: &str| {
        let command = command.find_subcommand(name)?;
        Some((name.to_owned(), command.get_about().map(ToString::to_string).unwrap_or_default()))
    };
    let mut groups: Vec<(&str, Vec<(String, String)>)> = GROUPS
        .iter()
        .map(|(heading, names)| (*heading, names.iter().filter_map(|name| about(name)).collect()))
        .collect();
    let is_grouped = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let rest =
        command.get_subcommands().filter(|command| !command.is_hide_set() && !is_grouped(command.get_name()));
    let rest: Vec<_> = rest.filter_map(|command| about(command.get_name())).collect();
    if !rest.is_empty() {
        groups.push((OTHER, rest));
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::style::width;

    #[test]
    fn every_command_is_in_one_group_and_fits_the_screen() {
        let help = Cli::command().render_help().to_string();
        for columns in [40, 80, 100] {
            let text = grouped(&help, columns).unwrap();
            let commands = text.split("\nOptions:").next().unwrap();
            assert!(commands.lines().all(|line| width(line) <= columns), "{columns}:\n{text}");
            for name in Cli::command().get_subcommands() {
                let begins = format!("  {} ", name.get_name());
                let count = commands.lines().filter(|line| line.starts_with(&begins)).count();
                assert_eq!(count, 1, "{} at {columns}:\n{text}", name.get_name());
            }
            assert!(!text.contains("Commands:") && text.contains("Exit codes"), "{text}");
        }
        let status = Cli::command().find_subcommand_mut("status").unwrap().render_help().to_string();
        assert_eq!(grouped(&status, 80), None);
    }
}
