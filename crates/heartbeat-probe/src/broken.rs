//! The verdict of a measurement that ended early, and what an error of a socket or of an exchange means.

use std::io;
use std::time::Duration;

use heartbeat_http::is_shortage;
use heartbeat_status::{FailReason, InconclusiveReason, Outcome, ProbePhase};

/// The verdict of a measurement that ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) outcome: Outcome,
    pub(crate) detail: String,
}

impl Broken {
    pub(crate) fn fail(reason: FailReason, phase: ProbePhase, detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Fail { reason, phase: Some(phase) }, detail: detail.into() }
    }

    pub(crate) fn inconclusive(reason: InconclusiveReason, detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Inconclusive(reason), detail: detail.into() }
    }
}

/// The verdict for a broken exchange.
#[cfg(any(feature = "http", feature = "grpc"))]
pub(crate) fn exchange_broken(error: &heartbeat_http::ExchangeError, phase: ProbePhase) -> Broken {
    use heartbeat_http::ExchangeError;

    let reason = match error {
        ExchangeError::Io { source } => return io_broken(source, phase),
        ExchangeError::Closed | ExchangeError::Ended { .. } | ExchangeError::Tls { .. } => FailReason::Reset,
        ExchangeError::Cut => FailReason::BodyIncomplete,
        ExchangeError::SelfConnected => {
            return Broken::fail(FailReason::SelfConnected, ProbePhase::Connect, error.to_string());
        }
        ExchangeError::HeadTooLarge => FailReason::HeadersTooLarge,
        _ => FailReason::Protocol,
    };
    Broken::fail(reason, phase, error.to_string())
}

/// The verdict for an error of a socket.
pub(crate) fn io_broken(error: &io::Error, phase: ProbePhase) -> Broken {
    if is_shortage(error) {
        return Broken::inconclusive(InconclusiveReason::MonitorResources, error.to_string());
    }
    let (reason, detail) = match error.kind() {
        io::ErrorKind::ConnectionRefused => (FailReason::Refused, "connection refused".to_owned()),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            (FailReason::Reset, "connection reset by peer".to_owned())
        }
        io::ErrorKind::TimedOut => (timeout_reason(phase), "the kernel timed the connection out".to_owned()),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
            (FailReason::Unreachable, error.to_string())
        }
        _ if phase == ProbePhase::Connect => (FailReason::Unreachable, error.to_string()),
        _ => (FailReason::Protocol, error.to_string()),
    };
    Broken::fail(reason, phase, detail)
}

/// The verdict for a deadline that passes in this phase.
pub(crate) fn timed_out(phase: ProbePhase, timeout: Duration) -> Broken {
    if phase == ProbePhase::Resolve {
        // The resolver hangs; the target was not contacted.
        let detail = format!("the resolver does not answer within {}", seconds(timeout));
        return Broken::inconclusive(InconclusiveReason::NameTemporary, detail);
    }
    let time = seconds(timeout);
    let detail = match phase {
        ProbePhase::Queue | ProbePhase::Resolve | ProbePhase::Connect => {
            format!("no connection within {time}")
        }
        ProbePhase::Tls => format!("accepted the connection, but no TLS session within {time}"),
        // A process that accepts and does not answer is alive: a restart loses the work that keeps it busy.
        ProbePhase::FirstByte => {
            format!("accepted the connection, but no answer within {time}: all workers busy?")
        }
        ProbePhase::Body => format!("began to answer, but did not finish within {time}"),
    };
    Broken::fail(timeout_reason(phase), phase, detail)
}

/// A time for people: `2 s`, `1.5 s`, `300 ms`.
pub(crate) fn seconds(time: Duration) -> String {
    if time.as_secs() == 0 {
        format!("{} ms", time.as_millis())
    } else {
        format!("{} s", (time.as_secs_f64() * 1000.0).round() / 1000.0)
    }
}

const fn timeout_reason(phase: ProbePhase) -> FailReason {
    match phase {
        ProbePhase::Queue | ProbePhase::Resolve | ProbePhase::Connect => FailReason::ConnectTimeout,
        ProbePhase::Tls => FailReason::TlsTimeout,
        ProbePhase::FirstByte => FailReason::HeadersTimeout,
        ProbePhase::Body => FailReason::BodyTimeout,
    }
}
