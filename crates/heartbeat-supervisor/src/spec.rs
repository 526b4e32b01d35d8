//! A realm as the core sees it: validated, immutable, without a URL or an argv in it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_restart::RestartPolicy;
use heartbeat_status::{
    EdgeKind, Gate, ProbeInfo, ProbeIx, RealmIx, RealmKind, RealmName, Role, Signal, WhileDown,
};

/// Where the results of a probe come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeSource {
    /// Measured on a schedule: the core emits [`Effect::Check`](crate::Effect::Check).
    Measured,
    /// The port fact inside the results of another probe of the same realm.
    PortOf(ProbeIx),
    /// The reports of the process adapter: started, stopped by a signal, ended.
    Process,
    /// The notifications of the realm ([`RunFact::Said`](heartbeat_status::RunFact::Said)): passes once the realm has
    /// reported that it is ready.
    Notify {
        /// The probe fails when the realm has sent no keep-alive for this long.
        watchdog: Option<Duration>,
    },
}

/// A probe of a realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSpec {
    /// Name, kind, role, target, thresholds, interval, timeout.
    pub info: ProbeInfo,
    /// Where its results come from.
    pub source: ProbeSource,
    /// How long failures of a new generation do not count; it also ends with the first pass.
    /// `None`: `start.timeout`.
    pub grace: Option<Duration>,
}

impl ProbeSpec {
    /// Whether the probe is measured, and more than information.
    pub(crate) fn decides(&self) -> bool {
        self.source == ProbeSource::Measured && self.info.role != Role::Info
    }

    /// Whether the realm itself reports the result.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self.source, ProbeSource::Notify { .. })
    }

    /// Whether the realm is ready when the probe passes.
    pub(crate) fn tells_readiness(&self) -> bool {
        (self.source == ProbeSource::Measured || self.is_told()) && self.info.role == Role::Live
    }
}

/// One dependency of a realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeedSpec {
    /// The realm depended upon.
    pub realm: RealmIx,
    /// How it binds.
    pub kind: EdgeKind,
    /// The condition that the start waits for.
    pub until: Gate,
    /// What a running dependent does while the need is down.
    pub while_down: WhileDown,
}

/// How a realm starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartSpec {
    /// From spawn until the live probes pass; `None` for no limit (the default of oneshots).
    pub timeout: Option<Duration>,
    /// From spawn until an incident opens about a realm that keeps reporting that it is starting up; `None` for ten
    /// times the timeout.
    pub timeout_max: Option<Duration>,
    /// How long a realm without measured live probes must run to count as ready.
    pub settle: Duration,
    /// A command runs before the spawn.
    pub before: bool,
    /// A command runs once it is ready.
    pub after: bool,
}

/// `start.timeout_max` is so many times `start.timeout` where it is not configured.
const TIMEOUT_MAX_MULTIPLES: u32 = 10;

impl StartSpec {
    /// When a start that keeps asking for time is an incident.
    pub(crate) fn overdue_after(&self) -> Option<Duration> {
        self.timeout_max.or(self.timeout.map(|timeout| timeout.saturating_mul(TIMEOUT_MAX_MULTIPLES)))
    }
}

impl Default for StartSpec {
    fn default() -> Self {
        Self {
            timeout: Some(Duration::from_secs(60)),
            timeout_max: None,
            settle: Duration::from_secs(1),
            before: false,
            after: false,
        }
    }
}

/// The processes of a realm that get its stop signal first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignalTo {
    /// The main process; when it has ended, what is left of its tree.
    #[default]
    Main,
    /// The whole tree at once.
    Tree,
}

/// How a realm is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSpec {
    /// First signal, followed by CONT.
    pub signal: Signal,
    /// Which processes get it.
    pub signal_to: SignalTo,
    /// From the first signal to KILL.
    pub timeout: Duration,
    /// A command runs before the first signal, bounded by `timeout`.
    pub command: bool,
}

impl Default for StopSpec {
    fn default() -> Self {
        Self {
            signal: Signal::TERM,
            signal_to: SignalTo::default(),
            timeout: Duration::from_secs(10),
            command: false,
        }
    }
}

/// A realm as the core sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RealmSpec {
    /// The unique name.
    pub name: RealmName,
    /// Title for people.
    pub title: Option<String>,
    /// Where to read about it.
    pub docs: Option<String>,
    /// Who is responsible for it.
    pub owner: Option<String>,
    /// Label for selectors.
    pub group: Option<String>,
    /// Labels for selectors.
    pub labels: BTreeMap<String, String>,
    /// The realm counts for `ok`.
    pub critical: bool,
    /// Assigned port, for display.
    pub port: Option<u16>,
    /// Service, oneshot or external.
    pub kind: RealmKind,
    /// heartbeatd does not start it at boot unless a realm that it starts needs it.
    pub manual: bool,
    /// What is measured.
    pub probes: Vec<ProbeSpec>,
    /// What it depends on.
    pub needs: Vec<NeedSpec>,
    /// How it starts.
    pub start: StartSpec,
    /// How it is stopped.
    pub stop: StopSpec,
    /// When it is restarted, after how long, how often.
    pub restart: RestartPolicy,
    /// The realm has a restart command of its own, used instead of a stop and a start; the only way to act on an
    /// external realm.
    pub restart_command: bool,
    /// Most memory of its tree in bytes.
    pub memory_limit: Option<u64>,
    /// Realms restarted in the same transaction, without a debit of their own.
    pub restart_with: Vec<RealmIx>,
    /// The configuration no longer has the realm: it is being stopped, and keeps its index until then.
    pub retired: bool,
    /// The realm was registered at run time, and is in no file.
    pub registered: bool,
}

impl RealmSpec {
    /// A critical service with one `process` probe and every default; the caller sets other fields.
    #[must_use]
    pub fn service(name: RealmName) -> Self {
        Self {
            name,
            title: None,
            docs: None,
            owner: None,
            group: None,
            labels: BTreeMap::new(),
            critical: true,
            port: None,
            kind: RealmKind::Service,
            manual: false,
            probes: Vec::new(),
            needs: Vec::new(),
            start: StartSpec::default(),
            stop: StopSpec::default(),
            restart: RestartPolicy::service_default(),
            restart_command: false,
            memory_limit: None,
            restart_with: Vec::new(),
            retired: false,
            registered: false,
        }
    }
}

impl RealmSpec {
    /// Whether a probe says whether the realm is up, and does more than inform.
    pub(crate) fn is_judged(&self) -> bool {
        self.probes.iter().any(|probe| probe.info.role != Role::Info)
    }

    /// The probe for the realm's notifications, and its configured watchdog.
    pub(crate) fn notify_probe(&self) -> Option<(usize, Option<Duration>)> {
        self.probes.iter().enumerate().find_map(|(at, probe)| match probe.source {
            ProbeSource::Notify { watchdog } => Some((at, watchdog)),
            ProbeSource::Measured | ProbeSource::Process | ProbeSource::PortOf(_) => None,
        })
    }
}
