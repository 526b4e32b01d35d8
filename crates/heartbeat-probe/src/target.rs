//! The target of a probe: an address or a Unix socket, the networks it may be in, the sockets that reach it, and TLS.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heartbeat_http::{Address, ConnectError, ResolveError, SYSTEM, Sockets, Stream, connect_first};
#[cfg(feature = "http")]
use heartbeat_http::{Asked, Rendered, ask};
use heartbeat_status::{FailReason, InconclusiveReason, ProbePhase};
use tokio::net::UnixStream;

use crate::broken::{Broken, io_broken};
use crate::clock;
use crate::network::{self, Denied, Networks};
use crate::progress::Progress;
#[cfg(feature = "tls")]
use crate::secure::Secure;

/// What a Unix socket begins with in place of a host.
const UNIX: &str = "unix:";
/// The host of a Unix socket, which has none, as curl names it.
#[cfg(any(feature = "http", feature = "tls"))]
const UNIX_HOST: &str = "localhost";

/// Where a probe connects to, and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    endpoint: Endpoint,
    /// The networks it may be in; `None` for all.
    within: Option<Arc<Networks>>,
    through: Through,
    #[cfg(feature = "tls")]
    pub(crate) secure: Option<Secure>,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Endpoint {
    Network(Address),
    Unix(PathBuf),
}

#[cfg(feature = "http")]
impl Endpoint {
    /// The value of the `Host` header. A Unix socket has no host, and curl sends this one.
    pub(crate) fn host_header(&self, default_port: u16) -> String {
        match self {
            Self::Network(address) => address.host_header(default_port),
            Self::Unix(_) => UNIX_HOST.to_owned(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
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
    /// Parses `host:port`, `1.2.3.4:port`, `[v6]:port` or `unix:/path`; `default_port` where none is given.
    pub(crate) fn parse(text: &str, default_port: Option<u16>) -> Option<Self> {
        let endpoint = match text.strip_prefix(UNIX) {
            Some(path) if Path::new(path).is_absolute() => Endpoint::Unix(path.into()),
            Some(_) => return None,
            None => Endpoint::Network(Address::parse(text, default_port)?),
        };
        Some(Self {
            endpoint,
            within: None,
            through: Through::default(),
            #[cfg(feature = "tls")]
            secure: None,
        })
    }

    #[cfg(any(feature = "http", feature = "redis", feature = "postgres", feature = "grpc"))]
    /// Splits what follows the scheme of a URL into the target and the rest: at the first `/` or `?`, or behind the
    /// colon after the path of a Unix socket.
    pub(crate) fn split(rest: &str) -> (&str, &str) {
        let end = match rest.strip_prefix(UNIX) {
            Some(path) => {
                return match path.split_once(':') {
                    Some((path, after)) => (&rest[..UNIX.len() + path.len()], after),
                    None => (rest, ""),
                };
            }
            None => rest.find(['/', '?']).unwrap_or(rest.len()),
        };
        rest.split_at(end)
    }

    /// Restricts the target to `networks`. What is known without resolving a name is checked now.
    pub(crate) fn restrict(&mut self, networks: Arc<Networks>) -> Result<(), Denied> {
        let Endpoint::Network(address) = &self.endpoint else { return Err(Denied::unix_socket()) };
        let host = address.host();
        if let Some(ip) = address.ip().or_else(|| network::odd_spelling(host).map(IpAddr::V4)) {
            networks.check(ip)?;
        } else if host.eq_ignore_ascii_case("localhost") {
            let own = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
            own.iter().map(|ip| networks.check(*ip)).reduce(Result::or).unwrap_or(Ok(()))?;
        }
        self.within = Some(networks);
        Ok(())
    }

    /// It is no Unix socket.
    #[cfg(feature = "http")]
    pub(crate) const fn is_in_a_network(&self) -> bool {
        matches!(self.endpoint, Endpoint::Network(_))
    }

    /// Makes `other` a target to which a server at this one may lead: with the same sockets, and within the same networks.
    /// Where this one has none, another host must not be this host, unless this one is, and is not trusted.
    #[cfg(feature = "http")]
    pub(crate) fn lead_to(&self, other: &mut Self) -> Result<(), Denied> {
        other.through = self.through.clone();
        let host = |target: &Self| match &target.endpoint {
            Endpoint::Network(address) => Some(address.host().to_ascii_lowercase()),
            Endpoint::Unix(_) => None,
        };
        match &self.within {
            Some(networks) => other.restrict(Arc::clone(networks)),
            None if host(self) == host(other) => Ok(()),
            None => other.restrict(Arc::new(Networks::anywhere(self.is_on_this_host()))),
        }
    }

    /// Replaces the system's sockets.
    pub(crate) fn through(&mut self, sockets: Arc<dyn Sockets>) {
        self.through = Through(Some(sockets));
    }

    /// The configuration names the target, so the detail may show what the target answers.
    pub(crate) const fn is_trusted(&self) -> bool {
        self.within.is_none()
    }

    /// A Unix socket, a loopback address or `localhost`.
    pub(crate) fn is_on_this_host(&self) -> bool {
        match &self.endpoint {
            Endpoint::Unix(_) => true,
            Endpoint::Network(address) => match address.ip() {
                Some(ip) => ip.to_canonical().is_loopback(),
                None => address.host().eq_ignore_ascii_case("localhost"),
            },
        }
    }

    pub(crate) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Resolves, connects, and shakes hands where the target speaks TLS from the first byte. `progress` names the
    /// current phase, to which a missed deadline is attributed.
    pub(crate) async fn connect(&self, progress: &mut Progress<'_>) -> Result<Stream, Broken> {
        let addresses = self.addresses(progress).await?;
        self.connect_to(&addresses, progress).await
    }

    async fn connect_to(
        &self,
        addresses: &[SocketAddr],
        progress: &mut Progress<'_>,
    ) -> Result<Stream, Broken> {
        let stream = self.open_to(addresses, progress).await?;
        #[cfg(feature = "tls")]
        let stream = self.secure(stream, progress).await?;
        progress.phase = ProbePhase::FirstByte;
        Ok(stream)
    }

    /// Shakes hands, where the target has TLS.
    #[cfg(feature = "tls")]
    pub(crate) async fn secure(&self, stream: Stream, progress: &mut Progress<'_>) -> Result<Stream, Broken> {
        match &self.secure {
            Some(secure) => {
                let host = match &self.endpoint {
                    Endpoint::Network(address) => address.host(),
                    Endpoint::Unix(_) => UNIX_HOST,
                };
                secure.handshake(stream, host, self.is_trusted(), progress).await
            }
            None => Ok(stream),
        }
    }

    /// Resolves and connects, without TLS.
    #[cfg(all(feature = "postgres", feature = "tls"))]
    pub(crate) async fn open(&self, progress: &mut Progress<'_>) -> Result<Stream, Broken> {
        let addresses = self.addresses(progress).await?;
        self.open_to(&addresses, progress).await
    }

    async fn open_to(&self, addresses: &[SocketAddr], progress: &mut Progress<'_>) -> Result<Stream, Broken> {
        progress.phase = ProbePhase::Connect;
        let began = clock::now();
        let stream = match &self.endpoint {
            Endpoint::Unix(path) => {
                Stream::Unix(UnixStream::connect(path).await.map_err(|error| unix_broken(&error))?)
            }
            Endpoint::Network(_) => {
                let connected = connect_first(self.sockets(), addresses).await;
                let stream = connected.map_err(|error| no_connection(error, addresses, progress))?;
                let peer = if let [only] = *addresses { Some(only) } else { stream.peer_addr().ok() };
                if let Some(peer) = peer {
                    progress.note_peer(peer);
                }
                Stream::Tcp(stream)
            }
        };
        progress.took(ProbePhase::Connect, began);
        progress.phase = ProbePhase::FirstByte;
        Ok(stream)
    }

    /// Connects as [`connect`](Self::connect) does, and sends `request` with the connection where one socket of the system
    /// does both.
    #[cfg(feature = "http")]
    pub(crate) async fn line<'r>(
        &self,
        request: Option<&'r Rendered>,
        progress: &mut Progress<'_>,
    ) -> Result<Line<'r>, Broken> {
        let addresses = self.addresses(progress).await?;
        let at_once = |request: &&Rendered| request.fits_a_segment() && self.is_plain();
        let (Some(request), [only]) = (request.filter(at_once), &*addresses) else {
            return Box::pin(self.connect_to(&addresses, progress)).await.map(Line::Open);
        };
        progress.phase = ProbePhase::Connect;
        let began = clock::now();
        let asked = ask(*only, request).await.map_err(|error| no_connection(error, &addresses, progress))?;
        progress.took(ProbePhase::Connect, began);
        progress.note_peer(*only);
        progress.phase = ProbePhase::FirstByte;
        Ok(Line::Asked(asked))
    }

    fn sockets(&self) -> &dyn Sockets {
        self.through.0.as_deref().unwrap_or(&SYSTEM)
    }

    /// A socket of the system, without TLS.
    #[cfg(feature = "http")]
    fn is_plain(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.secure.is_some() {
            return false;
        }
        self.through.0.is_none()
    }

    /// Resolves the target to the addresses that may be connected to: at least one, but none for a Unix socket.
    async fn addresses(&self, progress: &mut Progress<'_>) -> Result<Addresses, Broken> {
        let Endpoint::Network(address) = &self.endpoint else { return Ok(Addresses::Many(Vec::new())) };
        progress.phase = ProbePhase::Resolve;
        let found = match address.ip() {
            Some(ip) => Addresses::One([SocketAddr::new(ip, address.port())]),
            None => {
                let began = clock::now();
                let found = self.sockets().resolve(address.host(), address.port()).await;
                progress.took(ProbePhase::Resolve, began);
                let found = found.map_err(unresolved)?;
                let addresses: Vec<_> = found.iter().map(SocketAddr::ip).collect();
                progress.note('*', format_args!("{} is {addresses:?}", address.host()));
                Addresses::Many(found)
            }
        };
        if found.is_empty() {
            return Err(unresolved(ResolveError::NotFound { host: address.host().to_owned() }));
        }
        self.permitted(address, found)
    }

    /// The addresses in `found` that may be connected to.
    fn permitted(&self, address: &Address, found: Addresses) -> Result<Addresses, Broken> {
        let Some(networks) = &self.within else { return Ok(found) };
        let mut denied = None;
        let mut permitted = Vec::new();
        for address in &*found {
            match networks.check(address.ip()) {
                Ok(()) => permitted.push(*address),
                Err(why) => denied = Some(why),
            }
        }
        match denied.filter(|_| permitted.is_empty()) {
            Some(why) => {
                let detail = format!("{}: {why}", address.host());
                Err(Broken::fail(FailReason::Unreachable, ProbePhase::Resolve, detail))
            }
            None => Ok(Addresses::Many(permitted)),
        }
    }
}

/// A connection for a request.
#[cfg(feature = "http")]
#[derive(Debug)]
pub(crate) enum Line<'r> {
    /// The request is out.
    Asked(Asked<'r>),
    Open(Stream),
}

/// The addresses of a target. Most targets are written as one, for which nothing is allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Addresses {
    One([SocketAddr; 1]),
    Many(Vec<SocketAddr>),
}

impl Deref for Addresses {
    type Target = [SocketAddr];

    fn deref(&self) -> &[SocketAddr] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
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

fn no_connection(error: ConnectError, addresses: &[SocketAddr], progress: &Progress<'_>) -> Broken {
    progress.note('*', format_args!("no connection to {addresses:?}"));
    unconnected(error)
}

pub(crate) fn unconnected(error: ConnectError) -> Broken {
    match error {
        ConnectError::Resolve(error) => unresolved(error),
        ConnectError::Io { source } => io_broken(&source, ProbePhase::Connect),
        other => Broken::fail(FailReason::SelfConnected, ProbePhase::Connect, other.to_string()),
    }
}

/// The verdict for a Unix socket that cannot be connected to.
fn unix_broken(error: &io::Error) -> Broken {
    match error.kind() {
        // EAGAIN of a Unix socket is a full backlog: the service does not accept, and this host lacks nothing.
        io::ErrorKind::WouldBlock => {
            let detail = "the service does not accept connections fast enough";
            Broken::fail(FailReason::ConnectTimeout, ProbePhase::Connect, detail)
        }
        io::ErrorKind::NotFound => {
            Broken::fail(FailReason::Refused, ProbePhase::Connect, "there is no such socket")
        }
        io::ErrorKind::PermissionDenied => {
            let detail = "no permission to connect to the socket";
            Broken::fail(FailReason::Unreachable, ProbePhase::Connect, detail)
        }
        _ => io_broken(error, ProbePhase::Connect),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use heartbeat_status::Outcome;

    use super::*;

    fn within(text: &str, networks: &[&str]) -> Result<Target, Denied> {
        let all = networks.iter().fold(Networks::default(), |all, one| all.with(one.parse().unwrap()));
        let mut target = Target::parse(text, None).unwrap();
        target.restrict(Arc::new(all)).map(|()| target)
    }

    fn permitted(target: &Target, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Broken> {
        let Endpoint::Network(address) = target.endpoint() else { panic!("{target:?}") };
        target.permitted(address, Addresses::Many(found)).map(|permitted| permitted.to_vec())
    }

    #[test]
    fn a_unix_socket_is_told_from_the_path_behind_it() {
        for (rest, parts) in [
            ("db:80/x?y", ("db:80", "/x?y")),
            ("db?y", ("db", "?y")),
            ("unix:/run/app.sock", ("unix:/run/app.sock", "")),
            ("unix:/run/app.sock:/api/health/", ("unix:/run/app.sock", "/api/health/")),
        ] {
            assert_eq!(Target::split(rest), parts, "{rest}");
        }
        let printed = |text: &str| Target::parse(text, Some(80)).map(|target| target.endpoint().to_string());
        assert_eq!(printed("unix:/run/app.sock").as_deref(), Some("unix:/run/app.sock"));
        assert_eq!((printed("unix:app.sock"), printed("unix:")), (None, None));
        assert!(within("unix:/run/app.sock", &["127.0.0.0/8"]).is_err());
    }

    #[test]
    fn of_the_addresses_of_a_name_only_those_that_are_permitted_are_left() {
        let db = within("db:80", &["127.0.0.0/8", "10.0.0.0/8"]).unwrap();
        let found = |texts: &[&str]| {
            texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 80)).collect::<Vec<_>>()
        };
        let mixed = found(&["169.254.169.254", "10.0.0.1", "192.168.1.1", "::ffff:127.0.0.1"]);
        assert_eq!(permitted(&db, mixed).unwrap(), found(&["10.0.0.1", "::ffff:127.0.0.1"]));
        let broken = permitted(&db, found(&["192.168.1.1", "fe80::1"])).unwrap_err();
        assert!(
            matches!(broken.outcome, Outcome::Fail { reason: FailReason::Unreachable, .. }),
            "{broken:?}"
        );
        assert!(broken.detail.starts_with("db: fe80::1 is link-local"), "{}", broken.detail);
        let anywhere = Target::parse("db:80", None).unwrap();
        assert_eq!(permitted(&anywhere, found(&["192.168.1.1"])).unwrap().len(), 1);
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
        let Stream::Tcp(stream) = target.connect(&mut progress).await.unwrap() else { panic!("not TCP") };
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
