//! The kernel's tables of TCP sockets.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// State `LISTEN` in /proc/net/tcp.
const LISTEN: &str = "0A";
/// Longest table that is read, in bytes: some hundred thousand connections. Listeners stand at its beginning.
const MAX_TABLE_BYTES: u64 = 64 * 1024 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;

/// One listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Inode of the socket: what a descriptor of it links to.
    pub inode: u64,
    /// User who made the socket.
    pub uid: u32,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Listening TCP sockets of this network namespace at one moment, by port.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    sockets: Vec<Listener>,
}

impl Listeners {
    /// Reads the kernel's tables once.
    ///
    /// # Errors
    /// When the table of IPv4 cannot be read. A kernel without IPv6 has no second one.
    pub fn take() -> io::Result<Self> {
        let mut sockets = Vec::new();
        read("/proc/net/tcp", &mut sockets)?;
        match read("/proc/net/tcp6", &mut sockets) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        Ok(Self::from(sockets))
    }

    fn from(mut sockets: Vec<Listener>) -> Self {
        sockets.sort_by_key(|socket| socket.address.port());
        Self { sockets }
    }

    /// Everything that listens on `address`, the most specific first: at exactly this address, at its form mapped into
    /// IPv6, or at every address (`0.0.0.0`, `[::]`). An unspecified `address` stands for the loopback address, since a
    /// connection to it goes to this host. Whether a socket at `[::]` takes IPv4 is not in the table; it counts.
    #[must_use]
    pub fn on(&self, address: SocketAddr) -> Vec<Listener> {
        let mut ranked: Vec<_> = self.ranked(address).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, socket)| socket).collect()
    }

    /// Everything that listens on the port of `address` and that a connection to `address` does not reach.
    #[must_use]
    pub fn beside(&self, address: SocketAddr) -> Vec<Listener> {
        let wanted = reached(address.ip());
        self.of_port(address.port()).filter(|socket| rank(socket.address.ip(), wanted).is_none()).collect()
    }

    /// Everything that listens on another port than this one.
    pub(super) fn on_other_ports(&self, port: u16) -> impl Iterator<Item = &Listener> {
        self.sockets.iter().filter(move |socket| socket.address.port() != port)
    }

    /// The inodes of the sockets from which the kernel would choose for a connection to `address`.
    pub(super) fn reached_by(&self, address: SocketAddr) -> Vec<u64> {
        let best = self.ranked(address).map(|(rank, _)| rank).min();
        self.ranked(address).filter(|(rank, _)| Some(*rank) == best).map(|(_, socket)| socket.inode).collect()
    }

    fn ranked(&self, address: SocketAddr) -> impl Iterator<Item = (u8, Listener)> + '_ {
        let wanted = reached(address.ip());
        let here = self.of_port(address.port());
        here.filter_map(move |socket| Some((rank(socket.address.ip(), wanted)?, socket)))
    }

    fn of_port(&self, port: u16) -> impl Iterator<Item = Listener> + '_ {
        let from = self.sockets.partition_point(|socket| socket.address.port() < port);
        self.sockets[from..].iter().take_while(move |socket| socket.address.port() == port).copied()
    }
}

/// The address that a connection to `ip` reaches.
fn reached(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// In which order the kernel considers a socket bound to `bound` for a connection to `wanted`; `None`: not at all.
fn rank(bound: IpAddr, wanted: IpAddr) -> Option<u8> {
    if bound == wanted {
        return Some(0);
    }
    match (bound, wanted) {
        (IpAddr::V6(bound), IpAddr::V4(wanted)) if bound.to_ipv4_mapped() == Some(wanted) => Some(1),
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(_)) => Some(2),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), _) => Some(3),
        (IpAddr::V6(bound), IpAddr::V4(_)) if bound.to_ipv4_mapped() == Some(Ipv4Addr::UNSPECIFIED) => {
            Some(3)
        }
        _ => None,
    }
}

fn read(path: &str, into: &mut Vec<Listener>) -> io::Result<()> {
    parse(BufReader::with_capacity(BUFFER_BYTES, File::open(path)?.take(MAX_TABLE_BYTES)), into)
}

fn parse(mut table: impl BufRead, into: &mut Vec<Listener>) -> io::Result<()> {
    let mut line = String::new();
    while table.read_line(&mut line)? > 0 {
        into.extend(parse_line(&line));
        line.clear();
    }
    Ok(())
}

/// `None` for the header line, and for every socket that does not listen.
fn parse_line(line: &str) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = fields.next()?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    // The next fields are queues, timer, retransmits.
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let (ip, port) = local.split_once(':')?;
    let address = SocketAddr::new(parse_ip(ip)?, u16::from_str_radix(port, 16).ok()?);
    Some(Listener { inode, uid, address })
}

/// An address as /proc/net writes it: 32-bit words in the machine's own byte order.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = hex.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut octets = [0; 16];
            for (at, part) in octets.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                *part = word(at)?;
            }
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:10E7 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 4711 1 0 100 0 0 10 0
   1: 0100007F:10E7 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0
   3: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4719 1 0 100 0 0 10 0
   4: 0100007F:1F
";
    const V6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:10E7 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5001 1 0 100 0 0 10 0
   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 5002 1 0 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5003 1 0 100 0 0 10 0
";

    fn fixture() -> Listeners {
        let mut sockets = Vec::new();
        parse(V4.as_bytes(), &mut sockets).unwrap();
        parse(V6.as_bytes(), &mut sockets).unwrap();
        Listeners::from(sockets)
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn only_listeners_of_the_address_are_picked() {
        let listeners = fixture();
        let on = |address: &str| {
            let found = listeners.on(address.parse().unwrap());
            found.iter().map(|socket| socket.inode).collect::<Vec<_>>()
        };
        assert_eq!(on("127.0.0.1:4327"), [4711, 5001], "exact before every address");
        assert_eq!(on("127.0.0.2:4327"), [5001]);
        assert_eq!(on("[::1]:4327"), [5001]);
        assert_eq!(on("10.1.2.3:8080"), [4713, 4719], "two sockets of one port");
        assert!(on("[::1]:8080").is_empty());
        assert_eq!(on("[::1]:80"), [5002]);
        assert!(on("[::2]:80").is_empty() && on("127.0.0.1:80").is_empty());
        assert_eq!(on("127.0.0.1:81"), [5003], "mapped into IPv6");
        assert_eq!(on("[::ffff:127.0.0.1]:81"), [5003]);
        assert_eq!(on("0.0.0.0:81"), [5003], "unspecified is this host");
        assert_eq!(on("[::]:80"), [5002]);
        assert!(on("127.0.0.1:40000").is_empty());
        assert_eq!(listeners.reached_by("127.0.0.1:4327".parse().unwrap()), [4711]);
        assert_eq!(listeners.reached_by("10.1.2.3:8080".parse().unwrap()), [4713, 4719]);
        let exact = Listener { inode: 4711, uid: 101, address: "127.0.0.1:4327".parse().unwrap() };
        assert_eq!(listeners.on(exact.address)[0], exact);
    }

    #[test]
    fn nonsense_is_passed_over() {
        let mut sockets = Vec::new();
        parse("".as_bytes(), &mut sockets).unwrap();
        parse("a b c\n  0: zz:10 0 0A 0 0 0 0 0 1\n 1: 0100007F 0 0A 0 0 0 0 0 1\n".as_bytes(), &mut sockets)
            .unwrap();
        assert_eq!(sockets, []);
        for hex in ["", "0100007", "0100007G", "\u{e9}000007F", "00000000000000000000000000000000F"] {
            assert_eq!(parse_ip(hex), None, "{hex}");
        }
    }

    #[test]
    fn a_socket_of_ours_is_seen() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let found = Listeners::take().unwrap().on(address);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].address, address);
        drop(socket);
        assert!(Listeners::take().unwrap().on(address).is_empty());
    }
}
