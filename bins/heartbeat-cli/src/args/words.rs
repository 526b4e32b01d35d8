//! The words that options and arguments can be set to.

use clap::ValueEnum;

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
