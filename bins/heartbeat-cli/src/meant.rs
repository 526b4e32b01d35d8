//! What was meant by a command line that is not understood.

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::args::Cli;
use crate::exit::Exit;
use crate::help;

/// Commands of other tools, and the one of ours that does the same.
const OTHERS: &[(&str, &str)] = &[
    ("ps", "status"),
    ("top", "status"),
    ("list", "status"),
    ("ls", "status"),
    ("health", "status"),
    ("info", "why"),
    ("describe", "why"),
    ("log", "logs"),
    ("tail", "logs"),
    ("journal", "logs"),
    ("validate", "check"),
    ("lint", "check"),
    ("kill", "signal"),
    ("up", "start"),
    ("down", "stop"),
];

/// Commands that change something: never a suggestion for a word that looks.
const CHANGING: &[&str] = &[
    "start",
    "stop",
    "restart",
    "reset",
    "signal",
    "pause",
    "resume",
    "register",
    "unregister",
    "reload",
    "daemon",
];

/// The command that was probably meant; one that looks comes before one that changes something.
fn meant(word: &str) -> Option<String> {
    if let Some((_, ours)) = OTHERS.iter().find(|(other, _)| *other == word) {
        return Some((*ours).to_owned());
    }
    let names: Vec<String> =
        Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let (changing, looking): (Vec<&str>, Vec<&str>) =
        names.iter().map(String::as_str).partition(|name| CHANGING.contains(name));
    let suggestion =
        |among: Vec<&str>| heartbeat_status::nearest(word, among.into_iter()).map(ToOwned::to_owned);
    suggestion(looking).or_else(|| suggestion(changing))
}

/// Says what is wrong with the command line (or what was asked of it: help).
pub(crate) fn usage(error: &clap::Error) -> u8 {
    let own = unknown_command(error).map(|text| Cli::command().error(ErrorKind::InvalidSubcommand, text));
    if error.kind() == ErrorKind::DisplayHelp && help::print_grouped(&error.render()) {
        return Exit::Holds.code();
    }
    let error = own.as_ref().unwrap_or(error);
    // A terminal that is gone cannot be told anything.
    let _ = error.print();
    u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code())
}

/// Own words for a command that is none, such as one of another tool.
fn unknown_command(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let suggestion =
        meant(name).map_or_else(String::new, |suggestion| format!("; did you mean `{suggestion}`?"));
    Some(format!("unknown command `{name}`{suggestion}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn a_word_that_looks_is_never_led_to_a_command_that_changes_something() {
        for (other, ours) in OTHERS {
            assert!(Cli::command().get_subcommands().any(|command| command.get_name() == *ours), "{other}");
        }
        for word in ["ps", "top", "list", "ls", "stats", "statu", "state"] {
            assert_eq!(meant(word).as_deref(), Some("status"), "{word}");
        }
        assert_eq!(meant("restat").as_deref(), Some("restart"));
        assert_eq!(meant("zzzzzzzzz"), None);
    }

    #[test]
    fn an_unknown_command_is_a_usage_error() {
        for (word, said) in [
            ("statsu", "unknown command `statsu`; did you mean `status`?"),
            ("top", "unknown command `top`; did you mean `status`?"),
            ("frobnicate", "unknown command `frobnicate`"),
        ] {
            let error = Cli::try_parse_from(["heartbeat-cli", word]).unwrap_err();
            assert_eq!(unknown_command(&error).as_deref(), Some(said));
        }
        let usage = Cli::try_parse_from(["heartbeat-cli", "status", "--frob"]).unwrap_err();
        assert_eq!(unknown_command(&usage), None);
    }
}
