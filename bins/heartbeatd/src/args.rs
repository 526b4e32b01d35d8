//! The command line of heartbeatd.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use heartbeat_daemon::demo::{DEFAULT_VICTIM, Fault};

/// Tier 0 health monitor and supervisor: the first service that starts and the last that stops.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Exit codes: 0 clean, 1 failure, 2 configuration, 7 another heartbeatd holds the state."
)]
pub(crate) struct Args {
    /// Configuration file; otherwise ./heartbeat.toml, the XDG configuration directory, /etc/heartbeat
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Supervise what the configuration names (the default)
    Run,
    /// Check the configuration and exit
    Check,
    /// Say whether this program can go on with what an earlier one has written, and change nothing
    CheckState,
    /// Run a small ecosystem from this binary, break one realm, and show what happens
    Demo(DemoArgs),
    /// One realm of the demo
    #[command(hide = true)]
    DemoRealm(RealmArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// The realm to break: store, cache, auth, shop or web
    #[arg(long = "break", value_name = "REALM", default_value = DEFAULT_VICTIM)]
    pub(crate) victim: String,
    /// How: crash, hang or 500
    #[arg(long, value_name = "FAULT", default_value = "hang")]
    pub(crate) fault: Fault,
    /// Break nothing
    #[arg(long, conflicts_with_all = ["victim", "fault"])]
    pub(crate) calm: bool,
    /// Directory for its state; otherwise one of its own, removed at the end
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RealmArgs {
    /// Address to serve
    #[arg(long, required_unless_present = "once")]
    pub(crate) listen: Option<SocketAddr>,
    /// Realms asked by the health check
    #[arg(long)]
    pub(crate) asks: Vec<SocketAddr>,
    /// Do the work and end
    #[arg(long, conflicts_with = "listen")]
    pub(crate) once: bool,
}
