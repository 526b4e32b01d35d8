//! Host and port, and the way to a connection: resolve, connect, each timed, all within one deadline.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use heartbeat_status::{FailReason, InconclusiveReason, Outcome, PhaseTimes, ProbePhase};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::clock;
use crate::network::{self, Denied, Networks};

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;
/// Addresses of one name that are looked at.
const MAX_ADDRESSES_RESOLVED: usize = 64;
/// What `localhost` is, without asking anybody.
const LOCALHOST: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// Names that are being resolved at a time, in the whole process. getaddrinfo blocks a thread and cannot be called
/// off: a resolver that hangs holds this many threads and no more.
const MAX_LOOKUPS: usize = 8;
static LOOKUPS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Set where the host is an address: nothing has to be resolved.
    address: Option<IpAddr>,
    /// Where it may be; `None` for anywhere.
    within: Option<Arc<Networks>>,
}

impl Target {
    /// Parses `host:port`, `1.2.3.4:port`, `[v6]:port`; `default_port` where none is given.
    pub(crate) fn parse(text: &str, default_port: Option<u16>) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']')?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
            }
            None => match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0)?,
            None => default_port?,
        };
        let address: Option<IpAddr> = host.parse().ok();
        let name_like = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        (!host.is_empty() && (address.is_some() || name_like)).then(|| Self {
            host: host.to_owned(),
            port,
            address,
            within: None,
        })
    }

    /// The same, connected to within `networks` only. What can be said without resolving a name is said now.
    pub(crate) fn within(self, networks: Arc<Networks>) -> Result<Self, Denied> {
        if let Some(address) = self.address.or_else(|| network::odd_spelling(&self.host).map(IpAddr::V4)) {
            networks.check(address)?;
        } else if self.host.eq_ignore_ascii_case("localhost") {
            LOCALHOST.iter().map(|address| networks.check(*address)).reduce(Result::or).unwrap_or(Ok(()))?;
        }
        Ok(Self { within: Some(networks), ..self })
    }

    /// `host:port` as a person and a `Host` header write it.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Resolves and connects. `phase` always says what is being done, for whoever gives up waiting.
    pub(crate) async fn connect(
        &self,
        phase: &mut ProbePhase,
        times: &mut PhaseTimes,
    ) -> Result<TcpStream, Broken> {
        *phase = ProbePhase::Resolve;
        let addresses = self.permitted(self.addresses(times).await?)?;
        *phase = ProbePhase::Connect;
        let began = clock::now();
        let mut last = None;
        for address in addresses.iter().take(MAX_ADDRESSES) {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    times.connect = Some(clock::now().since(began));
                    // One write a request, and no wait for more to come.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or_else(|| name_not_found(&self.host), |error| io_broken(&error, ProbePhase::Connect)))
    }

    /// Those of `found` that may be connected to; nothing else is from here on.
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
                let detail = format!("{}: {why}", self.host);
                Err(Broken::fail(FailReason::Unreachable, ProbePhase::Resolve, detail))
            }
            None => Ok(permitted),
        }
    }

    async fn addresses(&self, times: &mut PhaseTimes) -> Result<Vec<SocketAddr>, Broken> {
        if let Some(address) = self.address {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        if self.host == "localhost" {
            return Ok(LOCALHOST.map(|address| SocketAddr::new(address, self.port)).to_vec());
        }
        let began = clock::now();
        let found = lookup(self.host.clone(), self.port).await;
        times.resolve = Some(clock::now().since(began));
        match found {
            Ok(addresses) => Ok(addresses),
            // The standard library keeps only the text of getaddrinfo's error.
            Err(error) if error.to_string().contains("Temporary failure") => {
                let outcome = Outcome::Inconclusive(InconclusiveReason::NameTemporary);
                Err(Broken { outcome, detail: format!("the resolver does not answer for {}", self.host) })
            }
            Err(error) if is_our_shortage(&error) => Err(io_broken(&error, ProbePhase::Resolve)),
            Err(_) => Err(name_not_found(&self.host)),
        }
    }
}

/// Asks the system's resolver, on a thread that keeps its slot until the resolver lets it go.
async fn lookup(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let slot = LOOKUPS.acquire().await.map_err(io::Error::other)?;
    let ask = move || {
        let found =
            (host.as_str(), port).to_socket_addrs().map(|found| found.take(MAX_ADDRESSES_RESOLVED).collect());
        drop(slot);
        found
    };
    tokio::task::spawn_blocking(ask).await.map_err(io::Error::other)?
}

/// How a measurement ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) outcome: Outcome,
    pub(crate) detail: String,
}

impl Broken {
    pub(crate) fn fail(reason: FailReason, phase: ProbePhase, detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Fail { reason, phase: Some(phase) }, detail: detail.into() }
    }
}

fn name_not_found(host: &str) -> Broken {
    Broken::fail(FailReason::NameNotFound, ProbePhase::Resolve, format!("no address for {host}"))
}

/// Something of ours has run out: that says nothing about the target.
fn is_our_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let ours = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM, Errno::AGAIN];
    error.raw_os_error().is_some_and(|code| ours.iter().any(|errno| errno.raw_os_error() == code))
}

/// What an error of a socket says about the target.
pub(crate) fn io_broken(error: &io::Error, phase: ProbePhase) -> Broken {
    if is_our_shortage(error) {
        let outcome = Outcome::Inconclusive(InconclusiveReason::MonitorResources);
        return Broken { outcome, detail: error.to_string() };
    }
    let (reason, detail) = match error.kind() {
        io::ErrorKind::ConnectionRefused => (FailReason::Refused, "connection refused".to_owned()),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            (FailReason::Reset, "connection reset by peer".to_owned())
        }
        io::ErrorKind::TimedOut => (timeout_reason(phase), "the kernel gave up".to_owned()),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
            (FailReason::Unreachable, error.to_string())
        }
        _ if phase == ProbePhase::Connect => (FailReason::Unreachable, error.to_string()),
        _ => (FailReason::Protocol, error.to_string()),
    };
    Broken::fail(reason, phase, detail)
}

/// What a deadline that passes in this stage says about the target.
pub(crate) const fn timed_out(phase: ProbePhase) -> Outcome {
    let reason = match phase {
        // The target has not even been asked: its resolver is what hangs.
        ProbePhase::Resolve => return Outcome::Inconclusive(InconclusiveReason::NameTemporary),
        phase => timeout_reason(phase),
    };
    Outcome::Fail { reason, phase: Some(phase) }
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
    fn what_can_be_said_without_a_resolver_is_said_at_once() {
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
        let (mut phase, mut times) = (ProbePhase::Queue, PhaseTimes::default());
        // Nobody listens at ::1: without the check the listener at 127.0.0.1 would have been connected to.
        assert!(target.connect(&mut phase, &mut times).await.is_err());
        let target = within(&format!("localhost:{port}"), &["127.0.0.1"]).unwrap();
        let stream = target.connect(&mut phase, &mut times).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    }

    #[tokio::test]
    async fn a_name_that_turns_out_to_be_elsewhere_is_not_connected_to() {
        // What the resolver takes for an address, told as the name it was before it was asked.
        let networks = Arc::new(Networks::default().with("10.0.0.0/8".parse().unwrap()));
        let target = Target { within: Some(networks), ..Target::parse("2130706433:80", None).unwrap() };
        let (mut phase, mut times) = (ProbePhase::Queue, PhaseTimes::default());
        let broken = target.connect(&mut phase, &mut times).await.unwrap_err();
        assert!(broken.detail.contains("127.0.0.1 is in none of the networks"), "{}", broken.detail);
        assert_eq!(phase, ProbePhase::Resolve);
    }

    #[test]
    fn addresses_are_told_apart_from_nonsense() {
        let authority = |text: &str, port| Target::parse(text, port).map(|target| target.authority());
        assert_eq!(authority("127.0.0.1:80", None).as_deref(), Some("127.0.0.1:80"));
        assert_eq!(authority("[::1]:80", None).as_deref(), Some("[::1]:80"));
        assert_eq!(authority("db", Some(5432)).as_deref(), Some("db:5432"));
        for bad in ["", ":80", "db:", "db:0", "db:99999", "a b:80", "[::1", "[::1]80", "db/:80"] {
            assert_eq!(authority(bad, None), None, "{bad}");
        }
    }
}
