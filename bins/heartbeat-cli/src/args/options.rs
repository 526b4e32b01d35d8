//! The options of the commands that have many.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use clap_complete::engine::ArgValueCompleter;

use crate::age::parse_duration;
use crate::args::values::realm_name;
use crate::args::words::Sort;
use crate::complete;
use crate::select::selector;

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
