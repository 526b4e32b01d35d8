//! Networks that a probe may connect to, for targets that come from outside the configuration.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Addresses, beside link-local ones, at which clouds serve a machine's credentials to every local process.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// The addresses by which this host reaches itself.
const LOOPBACK: [Network; 2] = [
    Network { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), prefix: 8 },
    Network { address: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 },
];

/// A network as `10.0.0.0/8`, `fd00::/8`, or one address.
///
/// ```
/// use heartbeat_probe::Network;
///
/// let network: Network = "10.0.0.0/8".parse().unwrap();
/// assert!(network.contains("10.1.2.3".parse().unwrap()));
/// assert!("10.0.0.1/8".parse::<Network>().unwrap_err().to_string().contains("10.0.0.0/8"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The text is not a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkError {
    text: String,
    why: String,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, why } = self;
        write!(f, "`{text}` is not a network: {why}")
    }
}

impl std::error::Error for NetworkError {}

impl Network {
    /// Whether `address` is in this network; an IPv4-mapped IPv6 address counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }

    /// Its first address, as it is written.
    fn first(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(own) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                Ipv4Addr::from_bits(own.to_bits() & mask).into()
            }
            IpAddr::V6(own) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                Ipv6Addr::from_bits(own.to_bits() & mask).into()
            }
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let refused = |why: String| NetworkError { text: text.to_owned(), why };
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(first, rest)| (first, Some(rest)));
        let example = "write it like 10.0.0.0/8, fd00::/8 or 192.168.1.5";
        let address: IpAddr = address.parse().map_err(|_| refused(example.to_owned()))?;
        if address != address.to_canonical() {
            return Err(refused(format!("write the IPv4 network itself, {}", address.to_canonical())));
        }
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(prefix) => {
                prefix.parse::<u8>().ok().filter(|prefix| *prefix <= most).ok_or_else(|| {
                    refused(format!("what stands behind the slash is a number up to {most}"))
                })?
            }
        };
        let network = Self { address, prefix };
        if network.first() != address {
            return Err(refused(format!(
                "it begins before that address; write {}/{prefix}",
                network.first()
            )));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The networks that a probe may connect to. A probe that has them ([`Probe::within`](crate::Probe::within)) resolves its
/// name at every measurement, checks the addresses, and connects to one that it has checked.
///
/// No list permits link-local addresses and the others at which clouds serve credentials, multicast, broadcast, and
/// `0.0.0.0`, which reaches the machine itself. An IPv4 address inside an IPv6 address is checked as IPv4.
///
/// ```
/// use heartbeat_probe::Networks;
///
/// let networks = Networks::loopback().with("10.0.0.0/8".parse().unwrap());
/// assert!(networks.check("::ffff:127.0.0.1".parse().unwrap()).is_ok());
/// assert!(networks.check("192.168.1.5".parse().unwrap()).is_err());
/// assert!(networks.with("0.0.0.0/0".parse().unwrap()).check("169.254.169.254".parse().unwrap()).is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    listed: Vec<Network>,
    /// Permitted in no case, though listed.
    except: Vec<Network>,
}

/// The address may not be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denied {
    /// The refused address; `None` for a Unix socket.
    pub address: Option<IpAddr>,
    why: &'static str,
    /// No list of networks permits this address.
    pub permanent: bool,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, why, .. } = self;
        write!(
            f,
            "{} {why}",
            address.map_or_else(|| "a Unix socket".to_owned(), |address| address.to_string())
        )
    }
}

impl std::error::Error for Denied {}

impl Denied {
    /// A Unix socket is in no network.
    pub(crate) fn unix_socket() -> Self {
        Self { address: None, why: "is in no network", permanent: true }
    }
}

impl Networks {
    /// `127.0.0.0/8` and `::1`.
    #[must_use]
    pub fn loopback() -> Self {
        Self { listed: LOOPBACK.to_vec(), except: Vec::new() }
    }

    /// All that a list can permit, with this host or without it.
    #[cfg(feature = "http")]
    pub(crate) fn anywhere(with_this_host: bool) -> Self {
        let (v4, v6) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let listed = [v4, v6].map(|address| Network { address, prefix: 0 }).to_vec();
        Self { listed, except: if with_this_host { Vec::new() } else { LOOPBACK.to_vec() } }
    }

    /// Adds a network to the list.
    #[must_use]
    pub fn with(mut self, network: Network) -> Self {
        self.listed.push(network);
        self
    }

    /// Whether `address` may be connected to.
    ///
    /// # Errors
    /// [`Denied`] names the reason.
    pub fn check(&self, address: IpAddr) -> Result<(), Denied> {
        let address = address.to_canonical();
        if let Some(why) = never_permitted(address) {
            return Err(Denied { address: Some(address), why, permanent: true });
        }
        let is_in = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        let why = match (is_in(&self.listed), is_in(&self.except)) {
            (true, false) => return Ok(()),
            (true, true) => "is this host, and the redirect comes from elsewhere",
            (false, _) => "is in none of the networks that it may connect to",
        };
        Err(Denied { address: Some(address), why, permanent: false })
    }
}

/// Why no list permits this address; `None` if one may.
fn never_permitted(address: IpAddr) -> Option<&'static str> {
    if METADATA.contains(&address) {
        return Some("is where a cloud serves credentials");
    }
    match address {
        IpAddr::V4(v4) => {
            if v4.is_link_local() {
                Some("is link-local, where clouds serve credentials")
            } else if v4.is_multicast() || v4.is_broadcast() {
                Some("is a multicast or broadcast address")
            } else if v4.octets()[0] == 0 {
                Some("is not the address of a host")
            } else {
                None
            }
        }
        IpAddr::V6(v6) => {
            if v6.is_unicast_link_local() {
                Some("is link-local, where clouds serve credentials")
            } else if v6.is_multicast() {
                Some("is a multicast or broadcast address")
            } else if v6.is_unspecified() {
                Some("is not the address of a host")
            } else {
                inside(v6).and_then(|v4| never_permitted(v4.into()))
            }
        }
    }
}

/// The IPv4 address that an IPv6 address reaches: IPv4-compatible, NAT64, 6to4.
fn inside(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let parts = address.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match parts {
        [0, 0, 0, 0, 0, 0, high, low] if address != Ipv6Addr::LOCALHOST => Some(of(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

/// An IPv4 address in a spelling that only the system's resolver accepts: `127.1`, `0x7f.0.0.1`, `017700000001`,
/// `2130706433`.
pub(crate) fn odd_spelling(host: &str) -> Option<Ipv4Addr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let parts: Vec<u64> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, before) = parts.split_last()?;
    if before.len() > 3 || before.iter().any(|part| *part > 0xff) {
        return None;
    }
    let left = 8 * (4 - before.len());
    if *last >= 1_u64 << left {
        return None;
    }
    let high = before.iter().fold(0_u64, |high, part| high << 8 | part);
    u32::try_from(high << left | last).ok().map(Ipv4Addr::from_bits)
}

fn number(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match lower.strip_prefix("0x") {
        Some("") => ("0", 16),
        Some(digits) => (digits, 16),
        None if lower.len() > 1 && lower.starts_with('0') => (&lower[1..], 8),
        None => (lower.as_str(), 10),
    };
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, radix).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_parses_or_is_refused() {
        let inside = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(inside("10.0.0.0/8", "10.255.0.1") && !inside("10.0.0.0/8", "11.0.0.1"));
        assert!(inside("10.0.0.0/8", "::ffff:10.0.0.1"), "mapped");
        assert!(inside("0.0.0.0/0", "8.8.8.8") && !inside("0.0.0.0/0", "::1"));
        assert!(inside("fd00::/8", "fdff::1") && !inside("fd00::/8", "fe00::1"));
        assert!(inside("192.168.1.5", "192.168.1.5") && !inside("192.168.1.5", "192.168.1.6"));
        assert!(inside("::/0", "2001:db8::1"));
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.1/8",
            "10/8",
            "fd00::/129",
            "db",
            "::ffff:10.0.0.0/104",
            "10.0.0.0/-1",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        assert_eq!("10.0.0.0/8".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
    }

    #[test]
    fn some_addresses_are_never_permitted_however_they_are_written() {
        let everything = Networks::default().with("0.0.0.0/0".parse().unwrap()).with("::/0".parse().unwrap());
        for never in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "::",
        ] {
            let denied = everything.check(never.parse().unwrap()).unwrap_err();
            assert!(denied.permanent, "{never}: {denied}");
        }
        for fine in ["127.0.0.1", "10.0.0.1", "::1", "2001:db8::1", "64:ff9b::10.0.0.1"] {
            assert_eq!(everything.check(fine.parse().unwrap()), Ok(()), "{fine}");
        }
        let loopback = Networks::loopback();
        for fine in ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(loopback.check(fine.parse().unwrap()), Ok(()), "{fine}");
        }
        for other in ["10.0.0.1", "128.0.0.1", "::2", "::127.0.0.1", "::ffff:10.0.0.1"] {
            assert!(loopback.check(other.parse().unwrap()).is_err(), "{other}");
        }
    }

    #[test]
    fn odd_spellings_of_addresses_are_addresses() {
        for (spelling, address) in [
            ("127.1", "127.0.0.1"),
            ("127.0.1", "127.0.0.1"),
            ("0x7f.0.0.1", "127.0.0.1"),
            ("0X7F000001", "127.0.0.1"),
            ("0177.0.0.01", "127.0.0.1"),
            ("017700000001", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("2852039166", "169.254.169.254"),
            ("0xa9.0376.43518", "169.254.169.254"),
            ("0", "0.0.0.0"),
            ("169.254.169.254.", "169.254.169.254"),
        ] {
            assert_eq!(odd_spelling(spelling), Some(address.parse().unwrap()), "{spelling}");
        }
        for name in [
            "db",
            "db.1x",
            "256.1.1.1.1",
            "1.2.3.4.5",
            "4294967296",
            "1.256.1",
            "",
            ".",
            "127..1",
            "09",
            "a.b",
        ] {
            assert_eq!(odd_spelling(name), None, "{name}");
        }
    }
}
