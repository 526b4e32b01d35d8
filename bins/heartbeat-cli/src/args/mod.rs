//! The command line.
//!
//! [`options`] has the options of the commands that have many, [`words`] what they can be set to, [`values`] how a word of
//! the line becomes a value.

mod options;
mod values;
mod words;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use clap_complete::engine::ArgValueCompleter;
use heartbeat_client::BeatEvent;

use crate::age::parse_duration;
pub(crate) use crate::args::options::{
    ActArgs, Notify, ProbeArgs, RegisterArgs, StartArgs, StatusArgs, StopArgs,
};
use crate::args::values::{
    at_most, beat_event, count, month, realm_name, selector_or_heartbeatd, signal_name,
};
pub(crate) use crate::args::words::{
    CheckForm, Departing, Goal, GraphForm, ImportKind, ManualPage, PlanTarget, Sort,
};
use crate::complete;
use crate::global::Global;
use crate::select::selector;

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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

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
}
