//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ColorChoice, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use heartbeat_client::Host;
use heartbeat_status::{RealmName, Signal};

use crate::age::parse_duration;
use crate::select::{is_name, selector};

/// Commands of the contract that this version does not have yet.
pub(crate) const NOT_BUILT: &[&str] =
    &["ack", "boot", "config", "doctor", "history", "import", "init", "nagios", "notify", "probe", "show"];

/// The last signal that has a name of its own.
const LAST_SIGNAL: u8 = 31;

const EXIT_CODES: &str = "\
Exit codes, the same for every command and format:
  0    holds                          5    heartbeatd cannot be reached
  1    no (`is`), or failed           6    not permitted
  2    usage or configuration         7    refused: the answer says what it needs
  3    realms not in desired state    124  deadline passed
  4    no such realm                  130  interrupted

A realm that is stopped or paused on purpose, or a oneshot that is done, counts as 0.";

/// Asks heartbeatd, and tells it what to do.
#[derive(Debug, Parser)]
#[command(name = "heartbeat-cli", version, about, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What every command takes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Where heartbeatd listens: unix:PATH, or http://ADDRESS:PORT for reading [default: its socket]
    #[arg(short = 'H', long, global = true, value_name = "HOST", value_parser = parse_host)]
    pub(crate) host: Option<Host>,
    /// Form of the output [default: table on a terminal, plain elsewhere]
    #[arg(short, long, global = true, value_enum, value_name = "FORM", conflicts_with = "json")]
    pub(crate) output: Option<Format>,
    /// The same as -o json
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Colours
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    pub(crate) color: ColorChoice,
    /// Nothing but ASCII
    #[arg(long, global = true)]
    pub(crate) ascii: bool,
    /// No remarks, only the exit code and what was asked for
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Say what is asked of whom
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Do not ask: dependents that break are left alone
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// Longest time the whole command may wait, e.g. 90s
    #[arg(long, global = true, value_name = "DUR", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

/// Forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns by the width of the terminal
    Table,
    /// Every column, nothing cut
    Wide,
    /// Tab-separated
    Plain,
    /// The document as heartbeatd gives it
    Json,
    /// A line of JSON a realm
    Ndjson,
    /// Names
    Name,
}

/// What is asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The health table: what is how, why, since when, and what happens next
    Status(StatusArgs),
    /// Why a realm is as it is: root cause, evidence, what happens next, what to type
    Why {
        /// Which realms; `heartbeatd` for heartbeatd itself
        #[arg(required = true, value_name = "REALM", value_parser = selector_or_heartbeatd)]
        realms: Vec<String>,
        /// Ask for fresh probes first
        #[arg(long)]
        refresh: bool,
    },
    /// Start realms, and what they need
    Start(ActArgs),
    /// Stop realms, and keep them stopped
    Stop(ActArgs),
    /// Stop realms and start them again
    Restart(ActArgs),
    /// Wait until realms are up, stopped, done or settled
    Wait {
        /// Which; they need not be known yet
        #[arg(required = true, value_name = "REALM", value_parser = selector)]
        realms: Vec<String>,
        /// For what
        #[arg(long = "for", value_enum, default_value_t = Goal::Up, value_name = "GOAL")]
        goal: Goal,
    },
    /// Ask whether realms have a status: exit 0 or 1
    Is {
        /// Which status; degraded counts as up
        status: String,
        /// Which realms
        #[arg(required = true, value_name = "REALM", value_parser = selector)]
        realms: Vec<String>,
    },
    /// Leave a realm alone: it runs on and is measured, nothing acts and nothing alerts
    Pause {
        /// Which realms
        #[arg(required = true, value_name = "REALM", value_parser = selector)]
        realms: Vec<String>,
        /// Why: whoever finds it paused has to know
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// For how long [default: until resumed]
        #[arg(long = "for", value_name = "DUR", value_parser = parse_duration)]
        duration: Option<Duration>,
    },
    /// End a pause
    Resume {
        /// Which realms
        #[arg(required = true, value_name = "REALM", value_parser = selector)]
        realms: Vec<String>,
    },
    /// Forget attempts, backoff and cooldown, and start what should run
    Reset {
        /// Which realms
        #[arg(required = true, value_name = "REALM", value_parser = selector)]
        realms: Vec<String>,
        /// Also start realms that an operator has stopped, where these need them
        #[arg(long)]
        lift_holds: bool,
    },
    /// Send a signal to the main process of realms
    Signal {
        /// The signal, e.g. HUP or USR1
        #[arg(value_parser = signal_name)]
        signal: String,
        /// To which realms
        #[arg(required = true, value_name = "REALM", value_parser = selector)]
        realms: Vec<String>,
        /// To every process of them
        #[arg(long)]
        tree: bool,
    },
    /// What would happen, in which order, and who would notice; nothing is changed
    Plan {
        /// The command, or the failure, to look ahead to
        #[arg(value_enum)]
        what: PlanTarget,
        /// Of which realms; none for `reload`
        #[arg(value_name = "REALM", value_parser = selector, required_if_eq_any([("what", "start"), ("what", "stop"), ("what", "restart"), ("what", "fail")]))]
        realms: Vec<String>,
        /// Also act on running dependents that would break
        #[arg(long)]
        cascade: bool,
    },
    /// Have heartbeatd read its configuration again: all of it takes effect, or nothing
    Reload {
        /// Only say what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Have a realm watched that runs somewhere else, and that no configuration file has
    Register(RegisterArgs),
    /// Do not watch a realm any more that was registered
    Unregister {
        /// The realm
        #[arg(value_parser = realm_name)]
        realm: String,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Have heartbeatd itself go, and every realm stay
    Daemon {
        /// `leave`: it ends; `upgrade`: the program at its path takes its place under the same pid
        what: Departing,
    },
    /// Incidents, the newest first; or the story of one
    Incidents {
        /// Which one, by its identifier or the end of it
        id: Option<String>,
        /// Only those that are not resolved
        #[arg(long)]
        open: bool,
        /// How many
        #[arg(short = 'n', long, default_value_t = 20, value_name = "COUNT")]
        limit: usize,
    },
    /// What has happened; with -f, what happens
    Events {
        /// Only of these realms
        #[arg(value_name = "REALM", value_parser = selector)]
        realms: Vec<String>,
        /// Go on until Ctrl-C
        #[arg(short, long)]
        follow: bool,
        /// How many of the past
        #[arg(short = 'n', long, default_value_t = 50, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(0..=2000))]
        lines: u16,
    },
    /// What realms have written; with -f, what they write
    Logs {
        /// Which realms
        #[arg(required = true, value_name = "REALM", value_parser = selector)]
        realms: Vec<String>,
        /// Go on until Ctrl-C
        #[arg(short, long)]
        follow: bool,
        /// How many lines of the past
        #[arg(short = 'n', long, default_value_t = 100, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(0..=10_000))]
        lines: u16,
        /// Of the generation before the newest one: what it said before it was started again
        #[arg(long, conflicts_with = "follow")]
        previous: bool,
    },
    /// Who needs whom
    Graph {
        /// Form of the graph
        #[arg(short, long, value_enum, default_value_t = GraphForm::Tree)]
        format: GraphForm,
    },
    /// Check configuration files without heartbeatd
    Check {
        /// Files [default: the one heartbeatd would find]
        files: Vec<PathBuf>,
        /// Form of what is found
        #[arg(short, long, value_enum, default_value_t = CheckForm::Full)]
        format: CheckForm,
    },
    /// Explain a key, a code, a status, a reason or any other word; without one, list them
    Explain {
        /// For example `backoff`, `restart.backoff`, `HB101`, `blocked` or `BudgetSpent`
        words: Vec<String>,
    },
    /// Print a JSON Schema of heartbeat.toml for editors
    Schema,
    /// Completions for a shell, on stdout
    Completion {
        /// Which shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// The manual page, on stdout
    Man,
    /// The version of this program, and of the heartbeatd it reaches
    Version,
}

/// Arguments of `status`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct StatusArgs {
    /// Only these realms: names, `all`, patterns (`web*`), `@group`, `label=value`, `status:down`, `+api`, `api+`
    #[arg(value_name = "REALM", value_parser = selector)]
    pub(crate) realms: Vec<String>,
    /// Ask for fresh probes first
    #[arg(long)]
    pub(crate) refresh: bool,
    /// Keep showing it, until Ctrl-C
    #[arg(short, long, conflicts_with = "wait")]
    pub(crate) watch: bool,
    /// Wait until everything desired holds [default time: 60s]; exit 3 at the first realm that failed, 124 at the deadline
    #[arg(long, value_name = "DUR", num_args = 0..=1, require_equals = true, value_parser = parse_duration)]
    pub(crate) wait: Option<Option<Duration>>,
    /// Only what is not in its desired state
    #[arg(long)]
    pub(crate) failed: bool,
}

/// Arguments of `start`, `stop` and `restart`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ActArgs {
    /// Which realms
    #[arg(required = true, value_name = "REALM", value_parser = selector)]
    pub(crate) realms: Vec<String>,
    /// Also act on running dependents that would break
    #[arg(long)]
    pub(crate) cascade: bool,
    /// Leave the running dependents as they are, although they would break
    #[arg(long, conflicts_with = "cascade")]
    pub(crate) leave_dependents: bool,
    /// Also start realms that an operator has stopped, where these need them
    #[arg(long)]
    pub(crate) lift_holds: bool,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not wait for the end
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

/// Arguments of `register`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(group = clap::ArgGroup::new("probe").required(true).multiple(true).args(["http", "tcp", "from"]))]
pub(crate) struct RegisterArgs {
    /// Its name
    #[arg(value_parser = realm_name)]
    pub(crate) realm: String,
    /// Ask this URL
    #[arg(long, value_name = "URL")]
    pub(crate) http: Vec<String>,
    /// Connect to this address
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) tcp: Vec<String>,
    /// How often [default: 5s]
    #[arg(long, value_name = "DUR", conflicts_with = "from")]
    pub(crate) interval: Option<String>,
    /// What it needs
    #[arg(long, value_name = "REALM", num_args = 1.., conflicts_with = "from")]
    pub(crate) need: Vec<String>,
    /// Its title for people
    #[arg(long, value_name = "TEXT", conflicts_with = "from")]
    pub(crate) title: Option<String>,
    /// Its label for selectors
    #[arg(long, value_name = "NAME", conflicts_with = "from")]
    pub(crate) group: Option<String>,
    /// Its failure is no failure of the ecosystem
    #[arg(long, conflicts_with = "from")]
    pub(crate) not_critical: bool,
    /// Everything about it, as [realm.NAME] would say it, in JSON; `-` for stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["http", "tcp"])]
    pub(crate) from: Option<PathBuf>,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Goal {
    /// Up or degraded, or a oneshot that is done
    Up,
    /// Stopped, with no process left
    Stopped,
    /// A oneshot that succeeded
    Done,
    /// Up, done, stopped, paused or failed: nothing is under way
    Settled,
}

/// What `plan` looks ahead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanTarget {
    /// It is started
    Start,
    /// It is stopped
    Stop,
    /// It is restarted
    Restart,
    /// It fails: whom does that block?
    Fail,
    /// The configuration is read again
    Reload,
}

impl PlanTarget {
    /// The word of the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Fail => "fail",
            Self::Reload => "reload",
        }
    }
}

/// Forms of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphForm {
    /// Dependents above what they need
    Tree,
    /// Graphviz
    Dot,
    /// Mermaid flowchart
    Mermaid,
    /// The document as heartbeatd gives it
    Json,
}

/// Forms of diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckForm {
    /// With the source and a caret
    Full,
    /// A line each
    Short,
    /// A JSON document
    Json,
    /// Annotations of GitHub Actions
    Github,
}

impl Global {
    /// The form of output, given whether stdout is a terminal.
    pub(crate) fn form(&self, terminal: bool) -> Format {
        match self.output {
            _ if self.json => Format::Json,
            Some(form) => form,
            None if terminal => Format::Table,
            None => Format::Plain,
        }
    }
}

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
pub(crate) fn meant(word: &str) -> Option<String> {
    if let Some((_, ours)) = OTHERS.iter().find(|(other, _)| *other == word) {
        return Some((*ours).to_owned());
    }
    let names: Vec<String> =
        Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let (changing, looking): (Vec<&str>, Vec<&str>) =
        names.iter().map(String::as_str).partition(|name| CHANGING.contains(name));
    let near = |among: Vec<&str>| heartbeat_config::nearest(word, among.into_iter()).map(ToOwned::to_owned);
    near(looking).or_else(|| near(changing))
}

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

fn selector_or_heartbeatd(text: &str) -> Result<String, String> {
    if text == crate::why_heartbeatd::NAME { Ok(text.to_owned()) } else { selector(text) }
}

fn realm_name(text: &str) -> Result<String, String> {
    match selector(text)? {
        name if is_name(&name) => Ok(name),
        // A reserved word says that it is one.
        _ => match RealmName::new(text) {
            Err(error) if text == "all" => Err(error.to_string()),
            _ => Err(format!("`{text}` can mean several realms; name one")),
        },
    }
}

fn signal_name(text: &str) -> Result<String, String> {
    if text.parse::<Signal>().is_ok() {
        return Ok(text.to_owned());
    }
    let names: Vec<String> =
        (1..=i32::from(LAST_SIGNAL)).filter_map(Signal::new).map(|signal| signal.to_string()).collect();
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let names = names.iter().map(|name| name.strip_prefix("SIG").unwrap_or(name));
    Err(match heartbeat_config::nearest(bare, names) {
        Some(near) => format!("unknown signal `{text}`; did you mean {near}?"),
        None => format!("unknown signal `{text}`; for example HUP, USR1 or TERM"),
    })
}

fn parse_host(text: &str) -> Result<Host, String> {
    text.parse().map_err(|error: heartbeat_client::ClientError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_built_is_not_listed_as_missing() {
        for command in Cli::command().get_subcommands() {
            assert!(!NOT_BUILT.contains(&command.get_name()), "{}", command.get_name());
        }
    }

    #[test]
    fn a_realm_that_cannot_be_one_is_refused_before_anything_is_asked() {
        for args in [
            "status 5s",
            "why 5s",
            "register all --tcp x:1",
            "start 5s",
            "wait 5s",
            "is up 5s",
            "pause 5s --reason x",
            "resume 5s",
            "reset Api",
            "signal HUP 5s",
            "plan stop 5s",
            "events 5s",
            "logs 5s",
            "register 5s --tcp x:1",
            "unregister 5s",
            "signal HPU api",
        ] {
            let words = std::iter::once("heartbeat-cli").chain(args.split(' '));
            assert_eq!(Cli::try_parse_from(words).unwrap_err().exit_code(), 2, "{args}");
        }
        assert_eq!(signal_name("HPU").unwrap_err(), "unknown signal `HPU`; did you mean HUP?");
        assert!(signal_name("hup").is_ok() && signal_name("SIGUSR1").is_ok() && signal_name("10").is_ok());
    }

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
        assert!(parse(&["-H", "https://x"]).unwrap_err().to_string().contains("TLS"));
    }
}

/// How heartbeatd goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Departing {
    /// It ends; whoever starts it again takes every realm back.
    Leave,
    /// The program at its path takes its place.
    Upgrade,
}
