//! A probe of any kind.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_http::Sockets;
use heartbeat_status::{CheckResult, Instant, ProbeKind};

use crate::conversation::{Conversation, Explanation};
use crate::measure::Turn;
use crate::{ExecProbe, ProcessProbe, TcpProbe};

/// Declares [`Probe`] from its kinds, all of which have the same methods.
macro_rules! kinds {
    ($($doc:literal $variant:ident($probe:path) $(if $feature:literal)?;)+) => {
        /// A probe of any kind. Equal probes measure the same in the same way.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Probe { $(#[doc = $doc] $(#[cfg(feature = $feature)])? $variant($probe)),+ }

        impl Probe {
            /// The kind, as the wire format writes it.
            #[must_use]
            pub fn kind(&self) -> ProbeKind {
                match self { $($(#[cfg(feature = $feature)])? Self::$variant(probe) => probe.kind()),+ }
            }

            /// The target, for people.
            #[must_use]
            pub fn target(&self) -> String {
                match self { $($(#[cfg(feature = $feature)])? Self::$variant(probe) => probe.target()),+ }
            }

            /// Replaces the system's sockets and resolver. Has no effect on a probe that makes no connection.
            #[must_use]
            pub fn through(self, sockets: Arc<dyn Sockets>) -> Self {
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$variant(probe) => probe.through(sockets).into()),+
                }
            }

            async fn run(&self, turn: Turn<'_>) -> CheckResult {
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$variant(probe) => {
                        probe.measure(turn).await
                    }),+
                }
            }
        }

        $($(#[cfg(feature = $feature)])? impl From<$probe> for Probe {
            fn from(probe: $probe) -> Self {
                Self::$variant(probe)
            }
        })+
    };
}

kinds! {
    "An HTTP request." Http(crate::HttpProbe) if "http";
    "A connection over TCP or to a Unix socket." Tcp(TcpProbe);
    "A TLS handshake." Tls(crate::TlsProbe) if "tls";
    "A process by its pid." Process(ProcessProbe);
    "A PING of Redis." Redis(crate::RedisProbe) if "redis";
    "The start of a PostgreSQL session." Postgres(crate::PostgresProbe) if "postgres";
    "A check command." Exec(ExecProbe);
}

impl Probe {
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

    /// Measures once and notes what is said: addresses, certificates, and the request and the answer of HTTP.
    pub async fn explain(&self, timeout: Duration) -> Explanation {
        let conversation = Conversation::default();
        let turn = Turn { conversation: Some(&conversation), ..Turn::now(timeout) };
        let result = self.run(turn).await;
        Explanation { result, conversation: conversation.into_lines() }
    }
}
