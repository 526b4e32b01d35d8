//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as _, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use clap_complete::engine::ArgValueCompleter;
use heartbeat_client::BeatEvent;
use heartbeat_status::{RealmName, Signal};

use crate::age::parse_duration;
use crate::complete;
use crate::global::Global;
use crate::select::{is_name, selector};

/// The last signal that has a name of its own.
const LAST_SIGNAL: u8 = 31;

const EXIT_CODES: &str = "\
Exit codes, the same for every command and format:
  0    success
  1    no (`is`), or failed
  2    usage or configuration
  3    realms not in desired state
  4    unknown realm
  5    heartbeatd cannot be reached
  6    not permitted
  7    refused: the message says why
  124  timed out
  130  interrupted

A realm that is stopped or paused on purpose, or a oneshot that is done, is in its desired state.";

/// Inspect and control heartbeatd
#[derive(Debug, Parser)]
#[command(name = "heartbeat-cli", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The commands. The arguments of each are built only when it is the one that is typed.
#[derive(Debug, Subcommand)]
// A doc comment on the arguments would take the place of what the command is said to do.
#[command(defer = true)]
pub(crate) enum Command {
    /// Show the state of every realm: why, since when, and what happens next
    Status(StatusArgs),
    /// Explain the state of a realm: root cause, evidence, what happens next, what to type
    Why {
        /// Realms to explain; `heartbeatd` for heartbeatd itself
        #[arg(required = true, value_name = "REALM", value_parser = selector_or_heartbeatd, add = ArgValueCompleter::new(complete::realms))]
        realms: Vec<String>,
        /// Probe again first
        #[arg(long)]
        refresh: bool,
    },
    /// Show every detail of realms: dependencies, probes, restarts, changes
    Show {
        /// Realms to show
        #[arg(required = true, value_name = "REALM", value_parser = selector, add = ArgValueCompleter::new(complete::realms))]
        realms: Vec<String>,
    },
    /// Start realms and the realms they need
    Start(StartArgs),
    /// Stop realms; they stay stopped until you start them
    Stop(StopArgs),
    /// Stop realms and start them again
    Restart(ActArgs),
    /// Wait until realms are up, stopped, done or settled
    Wait {
        /// Realms to wait for; they may be registered later
        #[arg(required = true, value_name = "REALM", value_parser = selector, add = ArgValueCompleter::new(complete::realms))]
        realms: Vec<String>,
        /// State to wait for
        #[arg(long = "for", value_enum, default_value_t = Goal::Up, value_name = "STATE")]
        goal: Goal,
    },
    /// Test whether realms have a status: exit 0 if all do, otherwise 1
    Is {
        /// up (includes degraded), degraded, down, blocked, failed, starting, restarting, stopping, stopped, paused, done or unknown
        status: String,
        /// Realms to test
        #[arg(required = true, value_name = "REALM", value_parser = selector, add = ArgValueCompleter::new(complete::realms))]
        realms: Vec<String>,
    },
    /// Suspend supervision: realms keep running, without restarts and alerts
    Pause {
        /// Realms to pause
        #[arg(required = true, value_name = "REALM", value_parser = selector, add = ArgValueCompleter::new(complete::realms))]
        realms: Vec<String>,
        /// Why, for the next person who looks
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Resume by itself after this time [default: never]
        #[arg(long = "for", value_name = "DUR", value_parser = parse_duration)]
        duration: Option<Duration>,
    },
    /// End a pause: supervise realms again
    Resume {
        /// Realms to resume
        #[arg(required = true, value_name = "REALM", value_parser = selector, add = ArgValueCompleter::new(complete::realms))]
        realms: Vec<String>,
    },
    /// Send no notifications about realms for a while; what is still open at the end is sent then
    Mute {
        /// Realms to mute
        #[arg(required = true, value_name = "REALM", value_parser = selector, add = ArgValueCompleter::new(complete::realms))]
        realms: Vec<String>,
        /// For how long, e.g. 1h
        #[arg(long = "for", value_name = "DUR", value_parser = parse_duration)]
        duration: Duration,
        /// Why, for the next person who looks
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// End a mute: send notifications about realms again
    Unmute {
        /// Realms to unmute
        #[arg(required = true, value_name = "REALM", value_parser = selector, add = ArgValueCompleter::new(complete::realms))]
        realms: Vec<String>,
    },
    /// Clear failed attempts, backoff and cooldown, and start realms that should run
    Reset {
        /// Realms to reset
        #[arg(required = true, value_name = "REALM", value_parser = selector, add = ArgValueCompleter::new(complete::realms))]
        realms: Vec<String>,
        /// Also start needed realms that an operator has stopped
        #[arg(long)]
        lift_holds: bool,
    },
    /// Send a signal to the main process of realms
    Signal {
        /// The signal, e.g. HUP or USR1
        #[arg(value_parser = signal_name)]
        signal: String,
        /// Realms to signal
        #[arg(required = true, value_name = "REALM", value_parser = selector, add = ArgValueCompleter::new(complete::realms))]
        realms: Vec<String>,
        /// Signal every process of the realm, not only the main one
        #[arg(long)]
        tree: bool,
    },
    /// Show what an action or a failure would do, in order, without doing it
    Plan {
        /// Action or failure to simulate
        #[arg(value_enum)]
        what: PlanTarget,
        /// Realms it concerns (omit for `reload`)
        #[arg(value_name = "REALM", value_parser = selector, add = ArgValueCompleter::new(complete::realms), required_if_eq_any([("what", "start"), ("what", "stop"), ("what", "restart"), ("what", "fail")]))]
        realms: Vec<String>,
        /// Also stop or restart running realms that need these
        #[arg(long)]
        cascade: bool,
    },
    /// Reload the configuration; on any error, nothing changes
    Reload {
        /// Show what would change, without changing it
        #[arg(long)]
        dry_run: bool,
    },
    /// Watch a service that is in no configuration file
    Register(RegisterArgs),
    /// Stop watching a registered realm
    Unregister {
        /// Realm to remove
        #[arg(value_parser = realm_name)]
        realm: String,
        /// Show what would be done, without doing it
        #[arg(long)]
        dry_run: bool,
    },
    /// Exit or upgrade heartbeatd without stopping any realm
    Daemon {
        /// What heartbeatd does
        what: Departing,
    },
    /// List incidents, newest first, or show one in full
    #[command(alias = "incident")]
    Incidents {
        /// Identifier of one incident, or the end of it
        id: Option<String>,
        /// Only unresolved incidents
        #[arg(long)]
        open: bool,
        /// Number of incidents
        #[arg(short = 'n', long, default_value_t = 20, value_name = "COUNT", value_parser = count)]
        limit: usize,
        /// Write all that is known of the incident to this new .tar.gz file
        #[arg(long, value_name = "FILE", requires = "id")]
        export: Option<PathBuf>,
    },
    /// Acknowledge an incident
    Ack {
        /// Identifier of the incident, or the end of it
        #[arg(value_name = "INCIDENT")]
        id: String,
        /// What is known about it, or being done
        #[arg(short, long, value_name = "TEXT")]
        note: Option<String>,
        /// Who takes care of it
        #[arg(long, value_name = "NAME", env = "USER", hide_env = true)]
        by: Option<String>,
    },
    /// Send a heartbeat for a realm with a `push` probe
    Beat {
        /// Realm or job that sends it
        #[arg(value_parser = realm_name)]
        realm: String,
        /// What it reports: ok, start, fail, or an exit code from 0 to 255
        #[arg(default_value = "ok", value_name = "EVENT", value_parser = beat_event)]
        event: BeatEvent,
        /// Identifier of the run, if several can overlap
        #[arg(long, value_name = "ID")]
        run: Option<String>,
        /// Text to show with it
        #[arg(short, long, default_value = "", value_name = "TEXT", hide_default_value = true)]
        message: String,
    },
    /// Run a command, report its start and its result, and exit with its code
    RunBeat {
        /// Realm or job that it belongs to
        #[arg(value_parser = realm_name)]
        realm: String,
        /// The command and its arguments, after --
        #[arg(required = true, last = true, value_name = "CMD")]
        command: Vec<String>,
    },
    /// Test a receiver of notifications, or show what was sent about an incident
    Notify {
        /// What to do
        #[command(subcommand)]
        what: Notify,
    },
    /// Show the availability and latency of a realm over time
    History {
        /// Realm to show
        #[arg(value_name = "REALM")]
        realm: String,
        /// How far back
        #[arg(long, default_value = "24h", value_name = "TIME", value_parser = parse_duration)]
        since: Duration,
        /// Probe whose latency to show
        #[arg(long, value_name = "PROBE")]
        probe: Option<String>,
    },
    /// Show objectives: what is left of their budgets, and how fast they are used
    Slo {
        /// Realms whose objectives to show [default: every realm that has one]
        #[arg(value_name = "REALM", value_parser = selector, add = ArgValueCompleter::new(complete::realms))]
        realms: Vec<String>,
    },
    /// Print a month: availability, latency and incidents of every realm; -o html, md, csv or json
    Report {
        /// Month in UTC, such as 2026-11 [default: the present one]
        #[arg(long, value_name = "MONTH", value_parser = month)]
        month: Option<String>,
    },
    /// Show recent events; -f follows new ones
    Events {
        /// Only events of these realms; `heartbeatd` for those of heartbeatd itself
        #[arg(value_name = "REALM", value_parser = selector_or_heartbeatd, add = ArgValueCompleter::new(complete::realms))]
        realms: Vec<String>,
        /// Follow until Ctrl-C
        #[arg(short, long)]
        follow: bool,
        /// Only events of the last DUR, e.g. 15m
        #[arg(long, value_name = "DUR", value_parser = parse_duration)]
        since: Option<Duration>,
        /// Number of past events
        #[arg(short = 'n', long, default_value_t = 50, value_name = "COUNT", value_parser = |text: &str| at_most(text, 2_000))]
        lines: u16,
    },
    /// Show the output of realms; -f follows it
    Logs {
        /// Realms whose output to show; heartbeatd adds no timestamps [default: every realm it runs]
        #[arg(value_name = "REALM", value_parser = selector, add = ArgValueCompleter::new(complete::realms))]
        realms: Vec<String>,
        /// Follow until Ctrl-C
        #[arg(short, long)]
        follow: bool,
        /// Number of past lines
        #[arg(short = 'n', long, default_value_t = 100, value_name = "COUNT", value_parser = |text: &str| at_most(text, 10_000))]
        lines: u16,
        /// Show the output of the previous run
        #[arg(long, conflicts_with = "follow")]
        previous: bool,
    },
    /// Show where the time of the last boot went; exit 3 if a critical realm is not up
    Boot {
        /// List realms by the time each took (the default)
        #[arg(long, conflicts_with = "chain")]
        blame: bool,
        /// Show the chain of needs that the last realm waited for
        #[arg(long)]
        chain: bool,
    },
    /// Show which realm needs which
    Graph {
        /// Format of the graph
        #[arg(short, long, value_enum, default_value_t = GraphForm::Tree)]
        format: GraphForm,
    },
    /// Check configuration files; needs no running heartbeatd
    Check {
        /// Files to check [default: the one heartbeatd would load]
        files: Vec<PathBuf>,
        /// Format of the findings
        #[arg(short, long, value_enum, default_value_t = CheckForm::Full)]
        format: CheckForm,
    },
    /// Write a first heartbeat.toml from what is in this directory
    Init {
        /// Print the file instead of writing it
        #[arg(long)]
        dry_run: bool,
    },
    /// Translate the files of another tool into a heartbeat.toml
    Import {
        /// compose.yaml, process-compose.yaml, Procfile, systemd units, supervisord.conf, pm2 ecosystem.json, or monitrc
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Kind of the files [default: recognized by name and content]
        #[arg(long, value_enum, value_name = "KIND")]
        from: Option<ImportKind>,
    },
    /// Show every key with its value; needs no running heartbeatd
    Config {
        /// Only keys under these, such as `realm.api` or `heartbeat`
        #[arg(value_name = "KEY")]
        prefixes: Vec<String>,
        /// Show where each value comes from: file and line, environment, or default
        #[arg(long)]
        sources: bool,
        /// Show every effective value (the default)
        #[arg(long, conflicts_with = "sources")]
        effective: bool,
    },
    /// Check whether this machine has what heartbeatd needs
    Doctor,
    /// Answer as a Nagios plugin: one line with performance data; exit 0, 1, 2 or 3
    Nagios {
        /// Realms to check [default: all critical ones]
        #[arg(value_name = "REALM", value_parser = selector, add = ArgValueCompleter::new(complete::realms))]
        realms: Vec<String>,
    },
    /// Probe a URL or a realm once, without heartbeatd; exit 0 if it passes, 1 if not
    Probe(ProbeArgs),
    /// Explain a key, code, status, reason or flag; without one, list them all
    Explain {
        /// Words to explain, such as `backoff`, `restart.backoff`, `HB101`, `blocked` or `BudgetSpent`
        #[arg(add = ArgValueCompleter::new(complete::words))]
        words: Vec<String>,
    },
    /// Print the JSON Schema of heartbeat.toml, for editors
    Schema,
    /// Print a completion script for a shell
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print a manual page
    Man {
        /// The page
        #[arg(value_enum, default_value_t = ManualPage::HeartbeatCli)]
        page: ManualPage,
    },
    /// Print the versions of this program and of the running heartbeatd
    Version,
}

impl Command {
    /// It changes nothing, and says what it, or another command, would change.
    pub(crate) const fn only_asks_what_would_be(&self) -> bool {
        match self {
            Self::Plan { .. } => true,
            Self::Reload { dry_run } | Self::Unregister { dry_run, .. } => *dry_run,
            Self::Register(args) => args.dry_run,
            Self::Start(StartArgs(args)) | Self::Stop(StopArgs(args)) | Self::Restart(args) => args.dry_run,
            _ => false,
        }
    }
}

/// Order of the rows of `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// Worst first
    #[default]
    Severity,
    /// By name
    Name,
    /// In start order
    Start,
}

// Arguments of `status`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct StatusArgs {
    /// Realms to show: names, `all`, patterns (`web*`), `@group`, `label=value`, `status:down`, `+api`, `api+`
    #[arg(value_name = "REALM", value_parser = selector, add = ArgValueCompleter::new(complete::realms))]
    pub(crate) realms: Vec<String>,
    /// Probe again first
    #[arg(long)]
    pub(crate) refresh: bool,
    /// Keep the table up to date until `q` or Ctrl-C
    #[arg(short, long, conflicts_with = "wait")]
    pub(crate) watch: bool,
    /// Wait until every realm is in its desired state [default: 60s]; exit 3 when one fails, 124 on timeout
    #[arg(long, value_name = "DUR", num_args = 0..=1, require_equals = true, value_parser = parse_duration)]
    pub(crate) wait: Option<Option<Duration>>,
    /// Only realms that are not in their desired state
    #[arg(long)]
    pub(crate) failed: bool,
    /// Order of the rows
    #[arg(long, value_enum, default_value_t, value_name = "ORDER")]
    pub(crate) sort: Sort,
}

// Arguments of `start`, `stop` and `restart`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ActArgs {
    /// Realms: names, `all`, patterns (`web*`), `@group`, `label=value`, `status:down`, `+api`, `api+`
    #[arg(required = true, value_name = "REALM", value_parser = selector, add = ArgValueCompleter::new(complete::realms))]
    pub(crate) realms: Vec<String>,
    /// Also stop or restart running realms that need these
    #[arg(long)]
    pub(crate) cascade: bool,
    /// Leave running realms that need these alone, although they would break
    #[arg(long, conflicts_with = "cascade")]
    pub(crate) leave_dependents: bool,
    /// Also start needed realms that an operator has stopped
    #[arg(long)]
    pub(crate) lift_holds: bool,
    /// Show what would be done, without doing it
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Return at once instead of waiting for the result
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Why; shown in the status and the events
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

/// Arguments of a command that takes those of `restart`, and shows only those that mean something to it.
macro_rules! act_args {
    ($(#[$doc:meta])* $name:ident, hides $($hidden:literal),+) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name(pub(crate) ActArgs);

        impl clap::FromArgMatches for $name {
            fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
                ActArgs::from_arg_matches(matches).map(Self)
            }

            fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
                self.0.update_from_arg_matches(matches)
            }
        }

        impl clap::Args for $name {
            fn augment_args(command: clap::Command) -> clap::Command {
                ActArgs::augment_args(command)$(.mut_arg($hidden, |arg| arg.hide(true)))+
            }

            fn augment_args_for_update(command: clap::Command) -> clap::Command {
                Self::augment_args(command)
            }
        }
    };
}

act_args! {
    /// Arguments of `start`, which takes no realm down.
    StartArgs, hides "cascade", "leave_dependents"
}
act_args! {
    /// Arguments of `stop`, which starts no realm.
    StopArgs, hides "lift_holds"
}

// Arguments of `register`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(group = clap::ArgGroup::new("probe").required(true).multiple(true).args(["http", "tcp", "from"]))]
pub(crate) struct RegisterArgs {
    /// Name of the realm
    #[arg(value_parser = realm_name)]
    pub(crate) realm: String,
    /// Probe this http:// URL
    #[arg(long, value_name = "URL")]
    pub(crate) http: Vec<String>,
    /// Probe this address by connecting to it
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) tcp: Vec<String>,
    /// Time between probes [default: 5s]
    #[arg(long, value_name = "DUR", conflicts_with = "from")]
    pub(crate) interval: Option<String>,
    /// Realms that it needs
    #[arg(long, value_name = "REALM", num_args = 1.., conflicts_with = "from")]
    pub(crate) need: Vec<String>,
    /// Title shown in status
    #[arg(long, value_name = "TEXT", conflicts_with = "from")]
    pub(crate) title: Option<String>,
    /// Group, for the selector `@group`
    #[arg(long, value_name = "NAME", conflicts_with = "from")]
    pub(crate) group: Option<String>,
    /// Do not count it toward the health of the ecosystem
    #[arg(long, conflicts_with = "from")]
    pub(crate) not_critical: bool,
    /// Read the keys of its [realm.NAME] table as JSON from a file; `-` for stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["http", "tcp"])]
    pub(crate) from: Option<PathBuf>,
    /// Show what would be done, without doing it
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// States that `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Goal {
    /// Up or degraded; for a oneshot, done
    Up,
    /// Stopped, with no process left
    Stopped,
    /// A oneshot that succeeded
    Done,
    /// Up, done, stopped, paused or failed: nothing is in progress
    Settled,
}

/// What `plan` simulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanTarget {
    /// Starting realms
    Start,
    /// Stopping realms
    Stop,
    /// Restarting realms
    Restart,
    /// A failure of realms: what would happen to the others?
    Fail,
    /// Reloading the configuration
    Reload,
}

/// Formats of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphForm {
    /// Each realm above what it needs
    Tree,
    /// Graphviz
    Dot,
    /// Mermaid flowchart
    Mermaid,
    /// JSON, as heartbeatd answers it
    Json,
}

/// Formats of diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckForm {
    /// With the source line and a caret
    Full,
    /// One line each
    Short,
    /// JSON
    Json,
    /// GitHub Actions annotations
    Github,
}

/// Files that `import` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportKind {
    /// Docker or Podman compose.yaml
    Compose,
    /// process-compose.yaml
    ProcessCompose,
    /// foreman, honcho or Heroku Procfile
    Procfile,
    /// systemd service units
    Systemd,
    /// supervisord.conf
    Supervisord,
    /// pm2 ecosystem.json
    Pm2,
    /// monitrc
    Monit,
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
    let suggestion =
        |among: Vec<&str>| heartbeat_status::nearest(word, among.into_iter()).map(ToOwned::to_owned);
    suggestion(looking).or_else(|| suggestion(changing))
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

/// Reads the command line.
pub(crate) fn parse(args: &[OsString]) -> Result<Cli, clap::Error> {
    of_one_command(args).map_or_else(|| Cli::try_parse_from(args), Ok)
}

/// The same with the typed command alone: clap copies the global options into every command that it knows, which takes
/// longer than to ask heartbeatd. Whatever is not understood is read again with all commands, which word the message.
fn of_one_command(args: &[OsString]) -> Option<Cli> {
    let all = Cli::command();
    let typed = args.iter().skip(1).find_map(|word| all.find_subcommand(word))?;
    let root = Global::augment_args(clap::Command::new("heartbeat-cli")).subcommand(typed.clone());
    Cli::from_arg_matches(&root.try_get_matches_from(args).ok()?).ok()
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

fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "it is not a whole number".to_owned())
}

fn at_most(text: &str, most: u16) -> Result<u16, String> {
    let number: u16 = text.parse().map_err(|_| format!("it is not a whole number from 0 to {most}"))?;
    if number > most { Err(format!("at most {most} are kept")) } else { Ok(number) }
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
    Err(match heartbeat_status::nearest(bare, names) {
        Some(suggestion) => format!("unknown signal `{text}`; did you mean {suggestion}?"),
        None => format!("unknown signal `{text}`; for example HUP, USR1 or TERM"),
    })
}

fn beat_event(text: &str) -> Result<BeatEvent, String> {
    match text {
        "ok" => Ok(BeatEvent::Ok),
        "start" => Ok(BeatEvent::Start),
        "fail" => Ok(BeatEvent::Fail),
        code => code
            .parse()
            .map(BeatEvent::Exit)
            .map_err(|_| "a heartbeat is ok, start, fail or an exit code from 0 to 255".to_owned()),
    }
}

// What `probe` measures.
#[derive(clap::Args, Debug)]
pub(crate) struct ProbeArgs {
    /// URL such as http://127.0.0.1:8001/api/health/, tcp://db:5432, unix:///run/app.sock, tls://host, redis://host,
    /// grpc://host, dns://server/name; or a realm of the configuration
    #[arg(value_name = "URL|REALM", add = ArgValueCompleter::new(complete::realms))]
    pub(crate) target: String,
    /// Show what is sent and received, and how long each phase takes
    #[arg(long)]
    pub(crate) explain: bool,
    /// Show the last failures that heartbeatd has recorded for a realm, with what was sent and received
    #[arg(long, conflicts_with = "explain")]
    pub(crate) failures: bool,
}

// What there is to do with notifications.
#[derive(Debug, Subcommand)]
pub(crate) enum Notify {
    /// Send a test to a receiver: an outage that did not happen, opened and resolved
    Test {
        /// Name of the receiver, as in [notify.NAME]; without it, the names are listed
        #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::receivers))]
        receiver: Option<String>,
        /// Show what would be sent, and send nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Show the notifications of an incident: to whom, how often, with what result
    Log {
        /// Identifier of the incident, or the end of it
        #[arg(value_name = "INCIDENT")]
        id: String,
    },
}

/// `2026-11`.
fn month(text: &str) -> Result<String, String> {
    let digits = |part: &str, count: usize| {
        (part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| part.parse::<u16>().ok())?
    };
    let read = text.split_once('-').and_then(|(year, month)| Some((digits(year, 4)?, digits(month, 2)?)));
    match read {
        Some((1970.., 1..=12)) => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not a month; write the year and the month, such as 2026-11")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_has_a_year_and_a_number_from_1_to_12() {
        assert_eq!(month("2026-11"), Ok("2026-11".to_owned()));
        for wrong in ["2026-13", "2026-00", "2026-1", "11-2026", "2026", "november", "2026-11-01", "+026-11"]
        {
            assert!(month(wrong).is_err(), "{wrong}");
            let refused = Cli::try_parse_from(["heartbeat-cli", "report", "--month", wrong]);
            assert_eq!(refused.unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_says_the_same_of_itself_before_and_after_its_arguments_are_built() {
        let (mut built, listed) = (Cli::command(), Cli::command());
        built.build();
        for command in listed.get_subcommands() {
            let same = built.find_subcommand(command.get_name()).unwrap();
            let about = |command: &clap::Command| command.get_about().map(ToString::to_string);
            assert!(about(command).is_some_and(|about| !about.is_empty()), "{}", command.get_name());
            assert_eq!(about(command), about(same));
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
            "mute 5s --for 1h --reason x",
            "mute api --reason x",
            "mute api --for 1h",
            "unmute 5s",
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
    fn a_command_that_only_asks_is_told_from_one_that_acts() {
        for (line, asks) in [
            ("plan stop web", true),
            ("start web --dry-run", true),
            ("stop web --dry-run", true),
            ("reload --dry-run", true),
            ("unregister x --dry-run", true),
            ("register x --tcp a:1 --dry-run", true),
            ("restart web", false),
            ("reload", false),
            ("status", false),
        ] {
            let words = std::iter::once("heartbeat-cli").chain(line.split(' '));
            let command = Cli::try_parse_from(words).unwrap().command.unwrap();
            assert_eq!(command.only_asks_what_would_be(), asks, "{line}");
        }
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

/// A manual page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ManualPage {
    /// This program, heartbeat-cli(1)
    #[value(name = "heartbeat-cli")]
    HeartbeatCli,
    /// The program heartbeatd(8)
    Heartbeatd,
    /// The file heartbeat.toml(5)
    #[value(name = "heartbeat.toml")]
    HeartbeatToml,
}

/// How heartbeatd leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Departing {
    /// Exit; the next heartbeatd adopts every realm
    Leave,
    /// Replace itself with the program at its path, under the same pid
    Upgrade,
}
