//! A probe of any kind.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_http::Sockets;
use heartbeat_status::{CheckResult, Instant, ProbeKind};

use crate::{ExecProbe, HttpProbe, PostgresProbe, ProcessProbe, RedisProbe, TcpProbe};

/// A probe of any kind. Equal probes measure the same in the same way.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Probe {
    /// An HTTP request.
    Http(HttpProbe),
    /// A TCP connection.
    Tcp(TcpProbe),
    /// A process by its pid.
    Process(ProcessProbe),
    /// A PING of Redis.
    Redis(RedisProbe),
    /// The start of a PostgreSQL session.
    Postgres(PostgresProbe),
    /// A check command.
    Exec(ExecProbe),
}

impl Probe {
    /// The kind, as the wire format writes it.
    #[must_use]
    pub fn kind(&self) -> ProbeKind {
        match self {
            Self::Http(_) => ProbeKind::Http,
            Self::Tcp(_) => ProbeKind::Tcp,
            Self::Process(_) => ProbeKind::Process,
            Self::Redis(_) => ProbeKind::Redis,
            Self::Postgres(_) => ProbeKind::Postgres,
            Self::Exec(probe) if probe.is_nagios() => ProbeKind::Nagios,
            Self::Exec(_) => ProbeKind::Exec,
        }
    }

    /// The target, for people.
    #[must_use]
    pub fn target(&self) -> String {
        match self {
            Self::Http(probe) => probe.target(),
            Self::Tcp(probe) => probe.target(),
            Self::Process(probe) => probe.target(),
            Self::Redis(probe) => probe.target(),
            Self::Postgres(probe) => probe.target(),
            Self::Exec(probe) => probe.target(),
        }
    }

    /// Replaces the system's sockets and resolver. Has no effect on a probe that makes no connection.
    #[must_use]
    pub fn through(self, sockets: Arc<dyn Sockets>) -> Self {
        match self {
            Self::Http(probe) => Self::Http(probe.through(sockets)),
            Self::Tcp(probe) => Self::Tcp(probe.through(sockets)),
            Self::Redis(probe) => Self::Redis(probe.through(sockets)),
            Self::Postgres(probe) => Self::Postgres(probe.through(sockets)),
            other @ (Self::Process(_) | Self::Exec(_)) => other,
        }
    }

    /// Measures once. `timeout` bounds everything, from the resolver to the last byte of the body. Dropping the
    /// future cancels the measurement and closes its connection. Needs a tokio runtime with I/O and time.
    pub async fn measure(&self, timeout: Duration) -> CheckResult {
        self.run(None, timeout).await
    }

    /// Measures once after a wait since `queued_at`. The wait is reported separately and is part of neither the latency
    /// nor the timeout.
    pub async fn measure_queued(&self, queued_at: Instant, timeout: Duration) -> CheckResult {
        self.run(Some(queued_at), timeout).await
    }

    async fn run(&self, queued_at: Option<Instant>, timeout: Duration) -> CheckResult {
        match self {
            Self::Http(probe) => probe.measure(queued_at, timeout).await,
            Self::Tcp(probe) => probe.measure(queued_at, timeout).await,
            Self::Process(probe) => probe.measure(queued_at, timeout).await,
            Self::Redis(probe) => probe.measure(queued_at, timeout).await,
            Self::Postgres(probe) => probe.measure(queued_at, timeout).await,
            Self::Exec(probe) => probe.measure(queued_at, timeout).await,
        }
    }
}

impl From<HttpProbe> for Probe {
    fn from(probe: HttpProbe) -> Self {
        Self::Http(probe)
    }
}

impl From<TcpProbe> for Probe {
    fn from(probe: TcpProbe) -> Self {
        Self::Tcp(probe)
    }
}

impl From<RedisProbe> for Probe {
    fn from(probe: RedisProbe) -> Self {
        Self::Redis(probe)
    }
}

impl From<PostgresProbe> for Probe {
    fn from(probe: PostgresProbe) -> Self {
        Self::Postgres(probe)
    }
}

impl From<ExecProbe> for Probe {
    fn from(probe: ExecProbe) -> Self {
        Self::Exec(probe)
    }
}

impl From<ProcessProbe> for Probe {
    fn from(probe: ProcessProbe) -> Self {
        Self::Process(probe)
    }
}
