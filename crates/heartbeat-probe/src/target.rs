//! The target of a probe: an address, the networks it may be in, and the sockets that reach it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use heartbeat_http::{
    Address, ConnectError, ExchangeError, ResolveError, SYSTEM, Sockets, connect_first, is_shortage,
};
use heartbeat_status::{FailReason, InconclusiveReason, Outcome, ProbePhase};
use tokio::net::TcpStream;

use crate::clock;
use crate::measure::Progress;
use crate::network::{self, Denied, Networks};

/// A host, a port, and how to connect to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    address: Address,
    /// The networks it may be in; `None` for all.
    within: Option<Arc<Networks>>,
    through: Through,
}

/// The sockets that a probe uses; `None` for those of the system.
#[derive(Clone, Debug, Default)]
struct Through(Option<Arc<dyn Sockets>>);

impl PartialEq for Through {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (own, other) => own.is_none() && other.is_none(),
        }
    }
}

impl Target {
    /// Parses `host:port`, `1.2.3.4:port`, `[v6]:port`; `default_port` where none is given.
    pub(crate) fn parse(text: &str, default_port: Option<u16>) -> Option<Self> {
        let address = Address::parse(text, default_port)?;
        Some(Self { address, within: None, through: Through::default() })
    }

    /// Restricts the target to `networks`. What is known without resolving a name is checked now.
    pub(crate) fn within(self, networks: Arc<Networks>) -> Result<Self, Denied> {
        let host = self.address.host();
        if let Some(ip) = self.address.ip().or_else(|| network::odd_spelling(host).map(IpAddr::V4)) {
            networks.check(ip)?;
        } else if host.eq_ignore_ascii_case("localhost") {
            let own = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
            own.iter().map(|ip| networks.check(*ip)).reduce(Result::or).unwrap_or(Ok(()))?;
        }
        Ok(Self { within: Some(networks), ..self })
    }

    /// Replaces the system's sockets.
    pub(crate) fn through(self, sockets: Arc<dyn Sockets>) -> Self {
        Self { through: Through(Some(sockets)), ..self }
    }

    /// The configuration names the target, so the detail may show what the target answers.
    pub(crate) const fn is_trusted(&self) -> bool {
        self.within.is_none()
    }

    pub(crate) const fn address(&self) -> &Address {
        &self.address
    }

    /// Resolves and connects. `progress` names the current phase, to which a missed deadline is attributed.
    pub(crate) async fn connect(&self, progress: &mut Progress) -> Result<TcpStream, Broken> {
        let sockets: &dyn Sockets = self.through.0.as_deref().unwrap_or(&SYSTEM);
        progress.phase = ProbePhase::Resolve;
        let found = match self.address.ip() {
            Some(ip) => vec![SocketAddr::new(ip, self.address.port())],
            None => {
                let began = clock::now();
                let found = sockets.resolve(self.address.host(), self.address.port()).await;
                progress.times.resolve = Some(clock::now().since(began));
                found.map_err(unresolved)?
            }
        };
        if found.is_empty() {
            return Err(unresolved(ResolveError::NotFound { host: self.address.host().to_owned() }));
        }
        let permitted = self.permitted(found)?;
        progress.phase = ProbePhase::Connect;
        let began = clock::now();
        let stream = connect_first(sockets, &permitted).await.map_err(unconnected)?;
        progress.times.connect = Some(clock::now().since(began));
        progress.phase = ProbePhase::FirstByte;
        Ok(stream)
    }

    /// The addresses in `found` that may be connected to.
    fn permitted(&self, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Broken> {
        let Some(networks) = &self.within else { return Ok(found) };
        let mut denied = None;
        let mut permitted = Vec::new();
        for address in found {
            match networks.check(address.ip()) {
                Ok(()) => permitted.push(address),
                Err(why) => denied = Some(why),
            }
        }
        match denied.filter(|_| permitted.is_empty()) {
            Some(why) => {
                let detail = format!("{}: {why}", self.address.host());
                Err(Broken::fail(FailReason::Unreachable, ProbePhase::Resolve, detail))
            }
            None => Ok(permitted),
        }
    }
}

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

fn unresolved(error: ResolveError) -> Broken {
    match error {
        ResolveError::Temporary { .. } => {
            Broken::inconclusive(InconclusiveReason::NameTemporary, error.to_string())
        }
        ResolveError::Io { source } => io_broken(&source, ProbePhase::Resolve),
        other => Broken::fail(FailReason::NameNotFound, ProbePhase::Resolve, other.to_string()),
    }
}

fn unconnected(error: ConnectError) -> Broken {
    match error {
        ConnectError::Resolve(error) => unresolved(error),
        ConnectError::Io { source } => io_broken(&source, ProbePhase::Connect),
        other => Broken::fail(FailReason::SelfConnected, ProbePhase::Connect, other.to_string()),
    }
}

/// The verdict for a broken exchange.
pub(crate) fn exchange_broken(error: &ExchangeError, phase: ProbePhase) -> Broken {
    let reason = match error {
        ExchangeError::Io { source } => return io_broken(source, phase),
        ExchangeError::Closed => FailReason::Reset,
        ExchangeError::Cut => FailReason::BodyIncomplete,
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
pub(crate) fn timed_out(phase: ProbePhase, timeout: std::time::Duration) -> Broken {
    if phase == ProbePhase::Resolve {
        // The resolver hangs; the target was not contacted.
        let detail = format!("the resolver does not answer within {} ms", timeout.as_millis());
        return Broken::inconclusive(InconclusiveReason::NameTemporary, detail);
    }
    Broken::fail(timeout_reason(phase), phase, format!("not done within {} ms", timeout.as_millis()))
}

const fn timeout_reason(phase: ProbePhase) -> FailReason {
    match phase {
        ProbePhase::Queue | ProbePhase::Resolve | ProbePhase::Connect => FailReason::ConnectTimeout,
        ProbePhase::Tls => FailReason::TlsTimeout,
        ProbePhase::FirstByte => FailReason::HeadersTimeout,
        ProbePhase::Body => FailReason::BodyTimeout,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn within(text: &str, networks: &[&str]) -> Result<Target, Denied> {
        let all = networks.iter().fold(Networks::default(), |all, one| all.with(one.parse().unwrap()));
        Target::parse(text, None).unwrap().within(Arc::new(all))
    }

    #[test]
    fn of_the_addresses_of_a_name_only_those_that_are_permitted_are_left() {
        let db = within("db:80", &["127.0.0.0/8", "10.0.0.0/8"]).unwrap();
        let found = |texts: &[&str]| {
            texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 80)).collect::<Vec<_>>()
        };
        let mixed = found(&["169.254.169.254", "10.0.0.1", "192.168.1.1", "::ffff:127.0.0.1"]);
        assert_eq!(db.permitted(mixed).unwrap(), found(&["10.0.0.1", "::ffff:127.0.0.1"]));
        let broken = db.permitted(found(&["192.168.1.1", "fe80::1"])).unwrap_err();
        assert!(
            matches!(broken.outcome, Outcome::Fail { reason: FailReason::Unreachable, .. }),
            "{broken:?}"
        );
        assert!(broken.detail.starts_with("db: fe80::1 is link-local"), "{}", broken.detail);
        let anywhere = Target::parse("db:80", None).unwrap();
        assert_eq!(anywhere.permitted(found(&["192.168.1.1"])).unwrap().len(), 1);
    }

    #[test]
    fn what_is_known_without_a_resolver_is_checked_at_once() {
        let loopback = ["127.0.0.0/8", "::1"];
        for fine in [
            "127.0.0.1:80",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "localhost:80",
            "127.1:80",
            "0x7f000001:80",
            "db:80",
        ] {
            assert!(within(fine, &loopback).is_ok(), "{fine}");
        }
        for denied in [
            "10.0.0.1:80",
            "[::ffff:10.0.0.1]:80",
            "167772161:80",
            "012.1:80",
            "0:80",
            "2852039166:80",
            "[fe80::1]:80",
        ] {
            assert!(within(denied, &loopback).is_err(), "{denied}");
        }
        assert!(within("localhost:80", &["::1"]).is_ok(), "one of its addresses is enough");
        assert!(within("LocalHost:80", &["10.0.0.0/8"]).is_err());
    }

    #[tokio::test]
    async fn a_name_with_a_denied_and_a_permitted_address_is_connected_to_at_the_permitted_one() {
        let denied = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = denied.local_addr().unwrap().port();
        let target = within(&format!("localhost:{port}"), &["::1"]).unwrap();
        let mut progress = Progress::default();
        // Nothing listens at ::1: without the check the probe would connect to the listener at 127.0.0.1.
        assert!(target.connect(&mut progress).await.is_err());
        let target = within(&format!("localhost:{port}"), &["127.0.0.1"]).unwrap();
        let stream = target.connect(&mut progress).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    }

    #[tokio::test]
    async fn a_name_that_turns_out_to_be_elsewhere_is_not_connected_to() {
        // The resolver reads this name as an address.
        let networks = Arc::new(Networks::default().with("10.0.0.0/8".parse().unwrap()));
        let target = Target { within: Some(networks), ..Target::parse("2130706433:80", None).unwrap() };
        let mut progress = Progress::default();
        let broken = target.connect(&mut progress).await.unwrap_err();
        assert!(broken.detail.contains("127.0.0.1 is in none of the networks"), "{}", broken.detail);
        assert_eq!(progress.phase, ProbePhase::Resolve);
    }

    #[test]
    fn every_error_of_a_socket_names_who_is_at_fault() {
        let outcome = |code: i32, phase| io_broken(&io::Error::from_raw_os_error(code), phase).outcome;
        for phase in [ProbePhase::Resolve, ProbePhase::Connect, ProbePhase::FirstByte, ProbePhase::Body] {
            // EAGAIN, ENOMEM, ENFILE, EMFILE, EADDRNOTAVAIL, ENOBUFS.
            for ours in [11, 12, 23, 24, 99, 105] {
                let expected = Outcome::Inconclusive(InconclusiveReason::MonitorResources);
                assert_eq!(outcome(ours, phase), expected, "errno {ours} in {phase:?}");
            }
            // ECONNRESET, EPIPE, ECONNREFUSED, ENETUNREACH, EHOSTUNREACH.
            for (code, reason) in [
                (104, FailReason::Reset),
                (32, FailReason::Reset),
                (111, FailReason::Refused),
                (101, FailReason::Unreachable),
                (113, FailReason::Unreachable),
            ] {
                let expected = Outcome::Fail { reason, phase: Some(phase) };
                assert_eq!(outcome(code, phase), expected, "errno {code} in {phase:?}");
            }
        }
    }
}
