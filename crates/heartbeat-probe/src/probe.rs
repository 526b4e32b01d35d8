//! A probe of any kind, and the driver of its measurements.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_http::Sockets;
use heartbeat_status::{CheckResult, Instant, Outcome, ProbeKind};

use crate::conversation::{Conversation, Explanation};
use crate::kind::Kind;
use crate::measure::{Frame, Turn, measure};
use crate::progress::Progress;
use crate::target::Target;
use crate::{Denied, ExecProbe, FileProbe, Networks, Observe, ObserverProbe, ProcessProbe, TcpProbe};

/// A probe of any kind. Equal probes measure the same in the same way.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    kind: AnyKind,
    /// A pass that takes longer is degraded.
    slow: Option<Duration>,
    /// A pass that takes longer fails.
    max_latency: Option<Duration>,
}

/// Declares [`AnyKind`] from the kinds.
macro_rules! kinds {
    ($($variant:ident($probe:path) $(if $feature:literal)?;)+) => {
        #[derive(Clone, Debug, PartialEq)]
        enum AnyKind { $($(#[cfg(feature = $feature)])? $variant($probe)),+ }

        impl AnyKind {
            fn kind(&self) -> ProbeKind {
                match self { $($(#[cfg(feature = $feature)])? Self::$variant(probe) => probe.kind()),+ }
            }

            fn target(&self) -> String {
                match self { $($(#[cfg(feature = $feature)])? Self::$variant(probe) => probe.target()),+ }
            }

            fn connection(&self) -> Option<&Target> {
                match self { $($(#[cfg(feature = $feature)])? Self::$variant(probe) => probe.connection()),+ }
            }

            fn connection_mut(&mut self) -> Option<&mut Target> {
                match self { $($(#[cfg(feature = $feature)])? Self::$variant(probe) => probe.connection_mut()),+ }
            }

            async fn measure(&self, frame: Frame<'_>) -> CheckResult {
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$variant(probe) => {
                        let frame = Frame { grace: probe.grace(), ..frame };
                        let observe = async |progress: &mut Progress<'_>| probe.observe(progress).await;
                        measure(frame, observe, |progress| probe.note_sent(progress)).await
                    }),+
                }
            }
        }

        $($(#[cfg(feature = $feature)])? impl From<$probe> for Probe {
            fn from(probe: $probe) -> Self {
                Self { kind: AnyKind::$variant(probe), slow: None, max_latency: None }
            }
        })+
    };
}

kinds! {
    Http(crate::HttpProbe) if "http";
    Tcp(TcpProbe);
    Tls(crate::TlsProbe) if "tls";
    Process(ProcessProbe);
    File(FileProbe);
    Redis(crate::RedisProbe) if "redis";
    Postgres(crate::PostgresProbe) if "postgres";
    Grpc(crate::GrpcProbe) if "grpc";
    Dns(crate::DnsProbe) if "dns";
    Exec(ExecProbe);
    Observer(ObserverProbe);
}

impl From<Arc<dyn Observe>> for Probe {
    fn from(observer: Arc<dyn Observe>) -> Self {
        ObserverProbe::from(observer).into()
    }
}

impl Probe {
    /// The kind, as the wire format writes it.
    #[must_use]
    pub fn kind(&self) -> ProbeKind {
        self.kind.kind()
    }

    /// The target, for people.
    #[must_use]
    pub fn target(&self) -> String {
        self.kind.target()
    }

    /// Its target is on this host, so no network lies between.
    #[must_use]
    pub fn is_on_this_host(&self) -> bool {
        self.kind.connection().is_none_or(Target::is_on_this_host)
    }

    /// A pass that takes longer is degraded.
    #[must_use]
    pub fn with_slow(self, slow: Duration) -> Self {
        Self { slow: Some(slow), ..self }
    }

    /// A pass that takes longer fails.
    #[must_use]
    pub fn with_max_latency(self, max_latency: Duration) -> Self {
        Self { max_latency: Some(max_latency), ..self }
    }

    /// Degrades when the certificate expires within this time; 14 days, or a third of its life, by default. Has no
    /// effect without TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_expires(mut self, expires: Duration) -> Self {
        if let Some(target) = self.kind.connection_mut() {
            target.secure = target.secure.take().map(|secure| secure.with_expires(expires));
        }
        self
    }

    /// Replaces the system's sockets and resolver. Has no effect on a probe that makes no connection.
    #[must_use]
    pub fn through(mut self, sockets: Arc<dyn Sockets>) -> Self {
        if let Some(target) = self.kind.connection_mut() {
            target.through(sockets);
        }
        self
    }

    /// Connects to addresses in `networks` only, checked after each resolution. The target is then untrusted: its
    /// answer is evaluated, but no part of it is shown. Has no effect on a probe that makes no connection.
    ///
    /// # Errors
    /// [`Denied`] for an address or `localhost` that is known to be outside.
    pub fn within(mut self, networks: Arc<Networks>) -> Result<Self, Denied> {
        self.kind.connection_mut().map_or(Ok(()), |target| target.restrict(networks))?;
        Ok(self)
    }

    /// Measures once. `timeout` bounds everything, from the resolver to the last byte of the body. Dropping the
    /// future cancels the measurement and closes its connection. Needs a tokio runtime with I/O and time.
    pub async fn measure(&self, timeout: Duration) -> CheckResult {
        self.run(Turn::now(timeout)).await
    }

    /// Measures once after a wait since `queued_at`. The wait is reported separately and is part of neither the latency
    /// nor the timeout.
    pub async fn measure_queued(&self, queued_at: Instant, timeout: Duration) -> CheckResult {
        self.run(Turn { queued_at: Some(queued_at), ..Turn::now(timeout) }).await
    }

    /// Measures once and notes what is said: addresses, certificates, what is sent and received. Nothing is noted of a
    /// target that is restricted to [`Networks`].
    pub async fn explain(&self, timeout: Duration) -> Explanation {
        self.explained(Turn { notes_passes: true, ..Turn::now(timeout) }).await
    }

    /// The same after a wait since `queued_at`, as [`measure_queued`](Self::measure_queued) counts it. What a target says
    /// that simply passes is not noted. In the detail, the words of the target stand in the quotes of
    /// [`printed`](heartbeat_status::printed), so that a reader may be shown the detail without them.
    pub async fn explain_queued(&self, queued_at: Instant, timeout: Duration) -> Explanation {
        let turn = Turn { queued_at: Some(queued_at), quotes_target: true, ..Turn::now(timeout) };
        self.explained(turn).await
    }

    async fn explained(&self, turn: Turn<'_>) -> Explanation {
        let conversation = Conversation::default();
        let shows = self.kind.connection().is_none_or(Target::is_trusted);
        let result = self.run(Turn { conversation: shows.then_some(&conversation), ..turn }).await;
        let is_read = turn.notes_passes || result.outcome != Outcome::Pass;
        Explanation { result, conversation: if is_read { conversation.into_lines() } else { Vec::new() } }
    }

    async fn run(&self, turn: Turn<'_>) -> CheckResult {
        let (slow, max_latency) = (self.slow, self.max_latency);
        self.kind.measure(Frame { slow, max_latency, ..Frame::new(turn) }).await
    }
}
