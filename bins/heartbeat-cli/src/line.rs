//! How a command line is read.

use std::ffi::OsString;

use clap::{Args as _, CommandFactory, FromArgMatches, Parser};

use crate::age::parse_duration;
use crate::args::{Cli, Command, StatusArgs};
use crate::global::Global;

/// `status --wait 5s` is `status --wait=5s`: no realm is called like a time, so there is nothing to mistake it for.
pub(crate) fn with_joined_wait(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    for arg in args {
        let is_time = arg.to_str().is_some_and(|text| parse_duration(text).is_ok());
        match joined.last_mut() {
            Some(last) if is_time && last == "--wait" => {
                last.push("=");
                last.push(&arg);
            }
            _ => joined.push(arg),
        }
    }
    joined
}

/// Reads the command line.
pub(crate) fn parse(args: &[OsString]) -> Result<Cli, clap::Error> {
    bare_status(args).or_else(|| of_one_command(args)).map_or_else(|| Cli::try_parse_from(args), Ok)
}

/// `status` as it is typed and scripted most often. To build and search the commands takes longer than all the rest of
/// it, so it is read without them; whatever else the line has is left to those.
fn bare_status(args: &[OsString]) -> Option<Cli> {
    let (mut global, mut command) = (Global::default(), None);
    let mut words = args.iter().skip(1).map(|word| word.to_str());
    while let Some(word) = words.next() {
        match word? {
            "status" if command.is_none() => command = Some(Command::Status(StatusArgs::default())),
            "-H" | "--host" if global.host.is_none() => global.host = Some(words.next()??.parse().ok()?),
            "--json" if !global.json => global.json = true,
            _ => return None,
        }
    }
    command.is_some().then_some(Cli { global, command })
}

/// The same with the typed command alone: clap copies the global options into every command that it knows, which takes
/// longer than to ask heartbeatd. Whatever is not understood is read again with all commands, which word the message.
fn of_one_command(args: &[OsString]) -> Option<Cli> {
    let all = Cli::command();
    let typed = args.iter().skip(1).find_map(|word| all.find_subcommand(word))?;
    let root = Global::augment_args(clap::Command::new("heartbeat-cli")).subcommand(typed.clone());
    Cli::from_arg_matches(&root.try_get_matches_from(args).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_means_the_same_with_its_command_alone_and_with_all_of_them() {
        let words = |line: &str| -> Vec<OsString> {
            std::iter::once("heartbeat-cli").chain(line.split(' ')).map(OsString::from).collect()
        };
        for line in [
            "status",
            "status --wait=5s -o json api",
            "-H unix:/x status --json -q",
            "--color never why web --ascii",
            "why heartbeatd",
            "start web --lift-holds",
            "stop --cascade web",
            "incident 0193 --export f.tar.gz",
            "notify test ops --dry-run",
            "run-beat job -- status why",
            "ack 0193 --note why",
            "is up web",
            "import status --from compose",
            "--timeout 5s wait web --for done",
            "probe tcp://127.0.0.1:1 --explain",
        ] {
            let (one, all) = (of_one_command(&words(line)), Cli::try_parse_from(words(line)));
            assert_eq!(format!("{:?}", one.unwrap()), format!("{:?}", all.unwrap()), "{line}");
        }
        for (line, is_bare) in [
            ("status", true),
            ("--json status -H unix:/x", true),
            ("status --host http://[::1]:7", true),
            ("status --json", true),
            ("status api", false),
            ("status --refresh", false),
            ("status --json --json", false),
            ("-H ftp://x status", false),
            ("-H -x status", false),
            ("status -H", false),
            ("-H unix:/x -H unix:/y status", false),
            ("status status", false),
            ("--json", false),
        ] {
            let (bare, all) = (bare_status(&words(line)), Cli::try_parse_from(words(line)));
            assert_eq!(bare.is_some(), is_bare, "{line}");
            if let Some(bare) = bare {
                assert_eq!(format!("{bare:?}"), format!("{:?}", all.unwrap()), "{line}");
            }
        }
        for line in
            ["", "stauts", "status --no-such", "--help", "status --help", "help status", "--version", "why"]
        {
            assert!(of_one_command(&words(line)).is_none(), "{line}");
        }
        // The word is the value of an option, and the command another one.
        let graph = of_one_command(&words("--token-file status graph"));
        assert!(graph.is_none());
    }

    #[test]
    fn wait_takes_its_time_with_an_equals_sign_or_behind_a_blank() {
        let parse = |args: &[&str]| {
            let args = [&["heartbeat-cli", "status"], args].concat();
            Cli::try_parse_from(with_joined_wait(args.into_iter().map(OsString::from)))
        };
        let status = |args: &[&str]| match parse(args).unwrap().command {
            Some(Command::Status(status)) => status,
            other => panic!("{other:?}"),
        };
        assert_eq!(status(&["--wait=90s", "api"]).wait, Some(Some(Duration::from_secs(90))));
        let bare = status(&["--wait", "api"]);
        assert_eq!((bare.wait, bare.realms.as_slice()), (Some(None), &["api".to_owned()][..]));
        let behind = status(&["--wait", "5s", "api"]);
        assert_eq!(
            (behind.wait, behind.realms.as_slice()),
            (Some(Some(Duration::from_secs(5))), &["api".to_owned()][..])
        );
        assert_eq!(parse(&["--wait=90"]).unwrap_err().exit_code(), 2);
        let refused = parse(&["api", "5s"]).unwrap_err();
        assert!(refused.exit_code() == 2 && refused.to_string().contains("--wait=5s"), "{refused}");
        assert_eq!(parse(&["--json", "-o", "table"]).unwrap_err().exit_code(), 2);
        assert!(parse(&["-H", "ftp://x"]).unwrap_err().to_string().contains("https://NAME"));
    }
}
