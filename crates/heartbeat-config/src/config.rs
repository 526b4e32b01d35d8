//! The result of loading: a validated and complete configuration.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_probe::{Network, Probe};
use heartbeat_process::LaunchSpec;
use heartbeat_status::{IncidentStep, RealmName};
use heartbeat_supervisor::{FuseSettings, Plan};

use crate::diagnostic::Report;
use crate::effective::EffectiveKey;
use crate::push::PushSchedule;
use crate::registration_rules::RegistrationRules;
use crate::resource::ResourceBounds;
use crate::window::MaintenanceConfig;

/// A configuration that was loaded.
#[derive(Debug)]
pub struct Loaded {
    /// Configuration that was loaded.
    pub config: Config,
    /// Warnings with codes from `HB300` on.
    pub warnings: Report,
    pub(crate) effective: Vec<EffectiveKey>,
}

/// Everything heartbeatd needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Table `[heartbeat]` of the file.
    pub heartbeat: Heartbeat,
    /// What the core supervises.
    pub plan: Plan,
    /// What the adapters need of each realm, by `RealmIx`.
    pub realms: Vec<RealmConfig>,
    /// `[notify.NAME]`: the receivers of incidents, by name.
    pub notify: Vec<ReceiverConfig>,
    /// `[maintenance.NAME]`, by name.
    pub maintenance: Vec<MaintenanceConfig>,
    /// The files it was read from, the first first.
    pub files: Vec<PathBuf>,
    /// The part that concerns realms that are registered beside its own.
    pub registering: Arc<RegistrationRules>,
}

/// PEM files of the TCP listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// The certificate and its chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// PEM file of the authorities whose certificates prove a client, if one may prove itself so.
    pub client_ca: Option<PathBuf>,
}

/// `[heartbeat]`; the meaning and the defaults stand in the table of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Name of the ecosystem.
    pub name: String,
    /// Address of the read-only API; `None` for `"off"`.
    pub listen: Option<SocketAddr>,
    /// Unix socket of the API.
    pub socket: PathBuf,
    /// Mode of the socket.
    pub socket_mode: u32,
    /// The group of the socket, whose members may operate realms.
    pub socket_group: Option<u32>,
    /// Names in the `Host` header that mean this heartbeatd, besides its own address.
    pub hosts: Vec<String>,
    /// The certificate of the TCP listener, if it speaks TLS.
    pub tls: Option<ListenerTls>,
    /// The file with the token that requests over TCP carry.
    pub token_file: Option<PathBuf>,
    /// The directory of state that survives a reboot.
    pub state_dir: PathBuf,
    /// The directory of state that does not survive a reboot.
    pub runtime_dir: PathBuf,
    /// Filter of heartbeatd's own log.
    pub log: String,
    /// Format of heartbeatd's own log: `auto`, `pretty` or `json`.
    pub log_format: String,
    /// heartbeatd warns of every realm that is not up by then.
    pub boot_deadline: Duration,
    /// An ordered stop takes at most this.
    pub shutdown_timeout: Duration,
    /// Realms between spawn and exec at a time.
    pub start_parallel: u32,
    /// Measurements at a time.
    pub max_probes_in_flight: usize,
    /// Connections of the TCP door.
    pub max_connections: usize,
    /// Realms get control groups of their own, where heartbeatd may make some.
    pub cgroups: bool,
    /// URLs of targets of the local network.
    pub reference: Vec<String>,
    /// The URL that heartbeatd requests as long as it works.
    pub ping: Option<String>,
    /// The base URL of the collector that gets traces of restarts and of the boot.
    pub otlp: Option<String>,
    /// Networks, beside loopback, in which registered realms may be probed.
    pub register_networks: Vec<Network>,
    /// Bounds of health restarts over all realms.
    pub fuse: FuseSettings,
    /// How far history reaches back.
    pub history: Duration,
    /// Largest size of history, in bytes.
    pub history_max_bytes: u64,
}

/// One table `[notify.NAME]`.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceiverConfig {
    /// Name from the configuration.
    pub name: String,
    /// Where it takes notifications, and in which form. It may be a secret, so it is not in the `Debug` form.
    pub target: ReceiverTarget,
    /// A PEM file of the only certificates to trust, instead of the system's roots.
    pub ca: Option<PathBuf>,
    /// The steps of incidents that it gets; `None` for the usual ones.
    pub on: Option<Vec<IncidentStep>>,
    /// The realms whose incidents it gets; empty for all.
    pub realms: Vec<RealmName>,
    /// Files of the secrets that sign webhooks; two during a rotation.
    pub secret_files: Vec<PathBuf>,
    /// The file of the token that identifies heartbeatd to the receiver.
    pub token_file: Option<PathBuf>,
    /// The minijinja template of its messages.
    pub template: Option<String>,
    /// It hears only of incidents that have been open for this long.
    pub delay: Duration,
    /// It is reminded of an open incident this often.
    pub repeat: Option<Duration>,
    /// It does not hear of incidents that a person has acknowledged.
    pub unless_acknowledged: bool,
    /// The receiver that gets its notifications when this one fails.
    pub fallback: Option<String>,
}

/// Kinds of receivers, each with its `http://` or `https://` URL or its program.
#[derive(Clone, PartialEq, Eq)]
pub enum ReceiverTarget {
    /// A URL that takes incident documents.
    Webhook(String),
    /// Alerts that are refreshed.
    Alertmanager(String),
    /// A topic of an ntfy server.
    Ntfy(String),
    /// An incoming webhook of Slack.
    Slack(String),
    /// An integration of PagerDuty.
    PagerDuty(String),
    /// A program that reads incident documents.
    Exec(Box<LaunchSpec>),
    /// A bot of Slack.
    SlackBot {
        /// Base of Slack's Web API.
        url: String,
        /// Where it writes.
        channel: String,
    },
    /// Mail, through an SMTP server.
    Smtp {
        /// `smtp://` or `smtps://`.
        url: String,
        /// Address of the sender.
        from: String,
        /// Addresses of those who get it.
        to: Vec<String>,
    },
}

impl fmt::Debug for ReceiverConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverConfig")
            .field("name", &self.name)
            .field("on", &self.on)
            .field("realms", &self.realms)
            .finish_non_exhaustive()
    }
}

/// What measures a probe.
#[derive(Clone, Debug)]
pub enum Measure {
    /// The probe itself.
    Probe(Arc<Probe>),
    /// A command that heartbeatd runs.
    Command {
        /// Program, arguments, environment, directory, user; its output is captured.
        spec: Arc<LaunchSpec>,
        /// Its exit codes are those of a Nagios plugin.
        nagios: bool,
        /// A pass that takes longer is degraded.
        slow: Option<Duration>,
    },
    /// Heartbeats that the realm sends.
    Push(PushSchedule),
    /// The resource usage of its processes, and the disk.
    Resource(ResourceBounds),
}

/// What the adapters need of one realm.
#[derive(Clone, Debug, Default)]
pub struct RealmConfig {
    /// Its program; `None` for an external realm.
    pub launch: Option<Arc<LaunchSpec>>,
    /// The address on which its own processes have to listen, if heartbeatd checks that.
    pub listens: Option<SocketAddr>,
    /// Its probes, parallel to those of the plan; `None` for those that are not measured.
    pub probes: Vec<Option<Measure>>,
    /// `start.before`, one after the other.
    pub start_before: Vec<Arc<LaunchSpec>>,
    /// `start.after`, one after the other.
    pub start_after: Vec<Arc<LaunchSpec>>,
    /// Command of `stop.command`.
    pub stop_command: Option<Arc<LaunchSpec>>,
    /// Command of `restart.command`.
    pub restart_command: Option<Arc<LaunchSpec>>,
    /// The objectives of the realm, from `slo`.
    pub slo: Option<Objective>,
}

/// `slo` of a realm: at least one of the two objectives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objective {
    /// Share of the time in which the realm is up, in millionths: from 1 to 999,999.
    pub availability_millionths: Option<u32>,
    /// At least 95 % of the measurements of its first probe take at most this.
    pub latency: Option<Duration>,
    /// The time over which both count.
    pub window: Duration,
}
