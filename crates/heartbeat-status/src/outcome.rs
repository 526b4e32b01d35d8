//! The result of a probe. It has four values: inconclusive means that heartbeatd is at fault, and moves nothing.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use crate::{Instant, WallTime};

closed_list! {
    /// The stage of a measurement in which it ended.
    pub enum ProbePhase ("probe phase") {
        /// Waiting for its turn; never part of the latency.
        Queue = "queue",
        /// Name to address.
        Resolve = "resolve",
        /// TCP or Unix connect.
        Connect = "connect",
        /// The TLS handshake.
        Tls = "tls",
        /// Request sent, first byte of the answer awaited.
        FirstByte = "first_byte",
        /// Reading the rest.
        Body = "body",
    }
}

closed_list! {
    /// Why a probe failed: the target's fault.
    pub enum FailReason ("failure reason") {
        /// Connection refused: nothing listens there.
        Refused = "Refused",
        /// Connection reset by the peer.
        Reset = "Reset",
        /// No connection within the deadline.
        ConnectTimeout = "ConnectTimeout",
        /// No TLS session within the deadline.
        TlsTimeout = "TlsTimeout",
        /// No complete response head within the deadline.
        HeadersTimeout = "HeadersTimeout",
        /// The body did not end within the deadline.
        BodyTimeout = "BodyTimeout",
        /// The answer is not the protocol.
        Protocol = "Protocol",
        /// The response head exceeds the limit.
        HeadersTooLarge = "HeadersTooLarge",
        /// A status code that is not accepted.
        UnexpectedStatus = "UnexpectedStatus",
        /// A redirect that is not followed; the detail says where it leads.
        Redirected = "Redirected",
        /// The server cut the body short.
        BodyIncomplete = "BodyIncomplete",
        /// The body exceeds the limit and a condition needs it.
        BodyTooLarge = "BodyTooLarge",
        /// A condition on the answer does not hold.
        ConditionFailed = "ConditionFailed",
        /// The value that a condition compares is missing.
        ConditionMissing = "ConditionMissing",
        /// The target reports that it is degraded, and that is configured to fail.
        ReportedDegraded = "ReportedDegraded",
        /// The target reports that it is down.
        ReportedDown = "ReportedDown",
        /// The certificate has expired.
        CertExpired = "CertExpired",
        /// The certificate expires within the configured margin, and that is configured to fail.
        CertExpiring = "CertExpiring",
        /// The certificate is for another host.
        CertHost = "CertHost",
        /// The certificate chain leads to no trusted root.
        CertUntrusted = "CertUntrusted",
        /// The kernel connected the socket to itself: nothing listens there.
        SelfConnected = "SelfConnected",
        /// The name does not exist.
        NameNotFound = "NameNotFound",
        /// No route to the target.
        Unreachable = "Unreachable",
        /// A check command failed.
        ExecFailed = "ExecFailed",
        /// A check command did not end within the deadline.
        ExecTimeout = "ExecTimeout",
        /// The process has exited.
        ProcessExited = "ProcessExited",
        /// The process is stopped (SIGSTOP, debugger) or a zombie.
        ProcessStopped = "ProcessStopped",
        /// Nothing listens on the port.
        NotListening = "NotListening",
        /// The port is held by a process that is not the realm's.
        WrongProcess = "WrongProcess",
        /// No heartbeat within the agreed time.
        MissedBeat = "MissedBeat",
        /// Older than allowed.
        TooOld = "TooOld",
        /// Above a configured limit.
        OverLimit = "OverLimit",
        /// The target answers that it is still starting up.
        StartingUp = "StartingUp",
    }
}

impl FailReason {
    /// The same for a person, where the measurement itself does not say it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::Reset => "connection reset",
            Self::ConnectTimeout => "no connection in time",
            Self::TlsTimeout => "no TLS session in time",
            Self::HeadersTimeout => "no answer in time",
            Self::BodyTimeout => "the answer did not end in time",
            Self::Protocol => "the answer is not the protocol",
            Self::HeadersTooLarge => "the header of the answer is too large",
            Self::UnexpectedStatus => "unexpected status code",
            Self::Redirected => "redirected",
            Self::BodyIncomplete => "the answer was cut short",
            Self::BodyTooLarge => "the answer is too large",
            Self::ConditionFailed => "a condition does not hold",
            Self::ConditionMissing => "a value that a condition needs is missing",
            Self::ReportedDegraded => "reports that it is degraded",
            Self::ReportedDown => "reports that it is down",
            Self::CertExpired => "the certificate has expired",
            Self::CertExpiring => "the certificate expires soon",
            Self::CertHost => "the certificate is for another host",
            Self::CertUntrusted => "the certificate is not trusted",
            Self::SelfConnected => "nothing listens there",
            Self::NameNotFound => "the name does not exist",
            Self::Unreachable => "no route to it",
            Self::ExecFailed => "the command failed",
            Self::ExecTimeout => "the command did not end in time",
            Self::ProcessExited => "the process has ended",
            Self::ProcessStopped => "the process is stopped by a signal",
            Self::NotListening => "nothing listens on the port",
            Self::WrongProcess => "another process holds the port",
            Self::MissedBeat => "no sign of life in time",
            Self::TooOld => "older than allowed",
            Self::OverLimit => "above its limit",
            Self::StartingUp => "reports that it is starting up",
        }
    }
}

closed_list! {
    /// Why a pass carries a remark. Degraded is a pass everywhere but in colour, counts and `nagios`.
    pub enum DegradedReason ("degraded reason") {
        /// Slower than `slow`.
        Slow = "Slow",
        /// The target reports that it is degraded.
        ReportedDegraded = "ReportedDegraded",
        /// The target answers 200 but reports that it is down.
        ReportedDown = "ReportedDown",
        /// The certificate expires soon.
        CertExpiring = "CertExpiring",
        /// The server serves, but refuses the probe's login.
        BadCredentials = "BadCredentials",
    }
}

closed_list! {
    /// Why a measurement says nothing about the target: mostly the fault is ours.
    pub enum InconclusiveReason ("inconclusive reason") {
        /// heartbeatd itself was too late: its own lag used up the timeout.
        MonitorLag = "MonitorLag",
        /// heartbeatd has no descriptors, ports, memory or processes left.
        MonitorResources = "MonitorResources",
        /// The local network is gone.
        LocalNetwork = "LocalNetwork",
        /// The resolver failed temporarily.
        NameTemporary = "NameTemporary",
        /// The host or heartbeatd was suspended during the measurement.
        Suspended = "Suspended",
        /// The measurement was cancelled.
        Cancelled = "Cancelled",
        /// A check command exited 3 (unknown) or could not run.
        PluginUnknown = "PluginUnknown",
        /// The listening socket cannot be attributed to a process.
        Unattributable = "Unattributable",
        /// No heartbeat has come yet, and none is overdue.
        NoBeatYet = "NoBeatYet",
    }
}

impl DegradedReason {
    /// The same for a person, where the measurement itself does not say it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::ReportedDegraded => "reports that it is degraded",
            Self::ReportedDown => "reports that it is down",
            Self::CertExpiring => "the certificate expires soon",
            Self::BadCredentials => "serves, but refuses the login of the probe",
        }
    }
}

impl InconclusiveReason {
    /// Whether heartbeatd or this host is at fault, and not the check itself.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        !matches!(self, Self::PluginUnknown | Self::NoBeatYet)
    }

    /// The obstacle to a conclusive result, for a person, where the measurement itself does not name it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::MonitorLag => "heartbeatd was too late",
            Self::MonitorResources => "heartbeatd ran out of descriptors, ports, memory or processes",
            Self::LocalNetwork => "the local network does not answer",
            Self::NameTemporary => "the resolver does not answer",
            Self::Suspended => "heartbeatd or the host was suspended",
            Self::Cancelled => "the measurement was called off",
            Self::PluginUnknown => "the check could not tell",
            Self::Unattributable => "the listening socket cannot be attributed to a process",
            Self::NoBeatYet => "no heartbeat has come yet",
        }
    }
}

/// Any reason an outcome can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutcomeReason {
    /// Of a failure.
    Fail(FailReason),
    /// Of a degraded pass.
    Degraded(DegradedReason),
    /// Of a measurement that says nothing.
    Inconclusive(InconclusiveReason),
}

impl OutcomeReason {
    /// The same for a person.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Fail(reason) => reason.words(),
            Self::Degraded(reason) => reason.words(),
            Self::Inconclusive(reason) => reason.words(),
        }
    }

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fail(reason) => reason.as_str(),
            Self::Degraded(reason) => reason.as_str(),
            Self::Inconclusive(reason) => reason.as_str(),
        }
    }
}

/// What one measurement says about its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// A pass with a remark.
    Degraded(DegradedReason),
    /// Not as it should be.
    Fail {
        /// What was wrong.
        reason: FailReason,
        /// In which stage; absent for probes without stages.
        phase: Option<ProbePhase>,
    },
    /// Says nothing: never moves a counter, never restarts anything.
    Inconclusive(InconclusiveReason),
}

impl Outcome {
    /// Every word of [`Outcome::as_str`].
    pub const WORDS: [&'static str; 4] = ["pass", "degraded", "fail", "inconclusive"];

    /// `Some(true)` for a pass (degraded included), `Some(false)` for a failure, `None` when inconclusive.
    #[must_use]
    pub const fn passed(&self) -> Option<bool> {
        match self {
            Self::Pass | Self::Degraded(_) => Some(true),
            Self::Fail { .. } => Some(false),
            Self::Inconclusive(_) => None,
        }
    }

    /// The word on the wire: `pass`, `degraded`, `fail` or `inconclusive`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Degraded(_) => "degraded",
            Self::Fail { .. } => "fail",
            Self::Inconclusive(_) => "inconclusive",
        }
    }

    /// The reason, where there is one.
    #[must_use]
    pub const fn reason(&self) -> Option<OutcomeReason> {
        match self {
            Self::Pass => None,
            Self::Degraded(reason) => Some(OutcomeReason::Degraded(*reason)),
            Self::Fail { reason, .. } => Some(OutcomeReason::Fail(*reason)),
            Self::Inconclusive(reason) => Some(OutcomeReason::Inconclusive(*reason)),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        if let Some(reason) = self.reason() {
            write!(f, " ({})", reason.as_str())?;
        }
        Ok(())
    }
}

/// Time spent in each stage; `None` for a stage that was not entered or not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseTimes {
    /// Waiting for a free slot of heartbeatd; never part of the latency.
    pub queue: Option<Duration>,
    /// Time of the name resolution.
    pub resolve: Option<Duration>,
    /// Time of the connect.
    pub connect: Option<Duration>,
    /// Time of the TLS handshake.
    pub tls: Option<Duration>,
    /// Request to first byte.
    pub first_byte: Option<Duration>,
    /// First byte to end of body.
    pub body: Option<Duration>,
}

impl PhaseTimes {
    /// Each stage with its time.
    #[must_use]
    pub const fn each(&self) -> [(ProbePhase, Option<Duration>); 6] {
        let Self { queue, resolve, connect, tls, first_byte, body } = *self;
        [
            (ProbePhase::Queue, queue),
            (ProbePhase::Resolve, resolve),
            (ProbePhase::Connect, connect),
            (ProbePhase::Tls, tls),
            (ProbePhase::FirstByte, first_byte),
            (ProbePhase::Body, body),
        ]
    }
}

/// The full result of one measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// The verdict of this one measurement.
    pub outcome: Outcome,
    /// One sanitised line for a person: the status code, the error, what a condition found. May be empty.
    pub detail: String,
    /// When the measurement began (after the queue).
    pub started_at: Instant,
    /// When it ended.
    pub finished_at: Instant,
    /// Time to the answer, without the queue; `None` when no answer came.
    pub latency: Option<Duration>,
    /// The stages apart.
    pub phases: PhaseTimes,
    /// The owner of the listening socket cannot be found out, so the answer says nothing about the port fact.
    pub unattributable: bool,
    /// When the certificate of the target expires, where the measurement has verified one.
    pub certificate_until: Option<WallTime>,
}

impl CheckResult {
    /// Whether the target's port accepted a connection, as far as this measurement can tell.
    ///
    /// This is the port fact of a realm with `port = N`: taken from the HTTP probe's connect stage, without a
    /// second connection.
    #[must_use]
    pub fn port_fact(&self) -> Outcome {
        let answered = self.phases.connect.is_some() || self.outcome.passed() == Some(true);
        if answered && self.unattributable {
            return Outcome::Inconclusive(InconclusiveReason::Unattributable);
        }
        if answered {
            return Outcome::Pass;
        }
        match self.outcome {
            Outcome::Fail { reason: FailReason::Refused, .. } => {
                Outcome::Fail { reason: FailReason::NotListening, phase: Some(ProbePhase::Connect) }
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(outcome: Outcome, connected: bool) -> CheckResult {
        let phases =
            PhaseTimes { connect: connected.then_some(Duration::from_micros(90)), ..PhaseTimes::default() };
        CheckResult {
            outcome,
            detail: String::new(),
            started_at: Instant::ZERO,
            finished_at: Instant::ZERO,
            latency: None,
            phases,
            unattributable: false,
            certificate_until: None,
        }
    }

    #[test]
    fn the_port_fact_is_the_connect_stage() {
        let hang = Outcome::Fail { reason: FailReason::HeadersTimeout, phase: Some(ProbePhase::FirstByte) };
        assert_eq!(result(hang, true).port_fact(), Outcome::Pass, "a hung server still listens");
        let refused = Outcome::Fail { reason: FailReason::Refused, phase: Some(ProbePhase::Connect) };
        assert!(matches!(
            result(refused, false).port_fact(),
            Outcome::Fail { reason: FailReason::NotListening, .. }
        ));
        let lag = Outcome::Inconclusive(InconclusiveReason::MonitorLag);
        assert_eq!(result(lag, false).port_fact(), lag);
        let foreign = |outcome, connected| {
            CheckResult { unattributable: true, ..result(outcome, connected) }.port_fact()
        };
        let unknown = Outcome::Inconclusive(InconclusiveReason::Unattributable);
        assert_eq!((foreign(Outcome::Pass, false), foreign(hang, true)), (unknown, unknown));
        assert_eq!(foreign(refused, false), result(refused, false).port_fact(), "nothing listens there");
    }
}
