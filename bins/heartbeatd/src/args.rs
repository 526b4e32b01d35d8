//! The command line of heartbeatd.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use heartbeat_daemon::demo::{DEFAULT_VICTIM, Fault};

/// Health monitor and supervisor: the first service to start and the last to stop
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 success, 1 failure, 2 usage or configuration, 7 another heartbeatd uses the state directory."
)]
pub(crate) struct Args {
    /// Configuration file [default: the first of ./heartbeat.toml, $XDG_CONFIG_HOME/heartbeat/heartbeat.toml, /etc/heartbeat/heartbeat.toml]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Supervise the configured realms (the default command)
    Run,
    /// Check the configuration and exit
    Check,
    /// Check, read-only, whether this version can read the existing state
    CheckState,
    /// Run six small realms from this program, break one, and show what happens
    Demo(DemoArgs),
    /// One realm of the demo
    #[command(hide = true)]
    DemoRealm(RealmArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Realm to break: store, cache, auth, shop or web
    #[arg(long = "break", value_name = "REALM", default_value = DEFAULT_VICTIM)]
    pub(crate) victim: String,
    /// How to break it: crash, hang or 500
    #[arg(long, value_name = "FAULT", default_value = "hang")]
    pub(crate) fault: Fault,
    /// Break nothing
    #[arg(long, conflicts_with_all = ["victim", "fault"])]
    pub(crate) calm: bool,
    /// State directory [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RealmArgs {
    /// Address to serve
    #[arg(long, required_unless_present = "once")]
    pub(crate) listen: Option<SocketAddr>,
    /// Realms that its health check asks
    #[arg(long)]
    pub(crate) asks: Vec<SocketAddr>,
    /// Do the work and exit
    #[arg(long, conflicts_with = "listen")]
    pub(crate) once: bool,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;
    use clap_mangen::Man;
    use clap_mangen::roff::{Roff, bold, roman};

    use super::Args;

    /// What each signal asks of it.
    const SIGNALS: &[(&str, &str)] = &[
        (
            "SIGTERM, SIGINT",
            "Stop every realm, each before what it needs, then exit. A second one kills what is still there.",
        ),
        (
            "SIGHUP",
            "Read the configuration again, as `heartbeat-cli reload` does: what has changed is restarted, and with a mistake in it nothing changes; the log says which. Without a configuration file, as in the demo, it means that the terminal is gone, and is like SIGTERM.",
        ),
        ("SIGQUIT", "Exit and leave every realm running; the next heartbeatd adopts them."),
        (
            "SIGUSR2",
            "Replace itself with the program at its path, under the same pid; every realm keeps running.",
        ),
        ("SIGPWR, SIGRTMIN+3", "Like SIGTERM: what a container manager sends to shut down."),
    ];

    #[test]
    fn the_manual_page_in_the_repository_is_this_command_line() {
        let mut page = Vec::new();
        let man = Man::new(Args::command().name("heartbeatd")).section("8").manual("heart-beat");
        man.render_title(&mut page).unwrap();
        man.render_name_section(&mut page).unwrap();
        man.render_synopsis_section(&mut page).unwrap();
        man.render_description_section(&mut page).unwrap();
        man.render_options_section(&mut page).unwrap();
        let mut see = Roff::new();
        see.control("SH", ["COMMANDS"]);
        // There are no pages of single commands.
        for command in Args::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            see.control("TP", [] as [&str; 0]);
            see.text([bold(command.get_name())]);
            see.text([roman(command.get_about().map(ToString::to_string).unwrap_or_default())]);
        }
        see.control("SH", ["EXIT STATUS"]);
        let exits = Args::command().get_after_help().map(ToString::to_string).unwrap_or_default();
        see.text([roman(exits)]);
        see.control("SH", ["SIGNALS"]);
        for (signal, what) in SIGNALS {
            see.control("TP", [] as [&str; 0]);
            see.text([bold(*signal)]);
            see.text([roman(*what)]);
        }
        see.control("SH", ["FILES"]);
        see.text([roman("The configuration is heartbeat.toml(5). State is kept in `state_dir`, and the socket is `socket`.")]);
        see.control("SH", ["SEE ALSO"]);
        see.text([roman("heartbeat-cli(1), heartbeat.toml(5)")]);
        // Each section brings the preamble of a whole page.
        let page = String::from_utf8(page).unwrap().replace("[\\fIsubcommands\\fR]", "[\\fICOMMAND\\fR]");
        let is_preamble = |line: &&str| line.starts_with(".ie \\n(.g") || line.starts_with(".el .ds Aq");
        let (first, rest): (Vec<&str>, Vec<&str>) = page.lines().partition(is_preamble);
        let page: String = first.into_iter().take(2).chain(rest).flat_map(|line| [line, "\n"]).collect();
        let text = page + &see.to_roff();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/man/heartbeatd.8");
        if std::env::var_os("HEARTBEAT_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "HEARTBEAT_BLESS=1 renders {}", path.display());
    }
}
