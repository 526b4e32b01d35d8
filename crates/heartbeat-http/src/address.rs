//! The host and port of a server.

use std::fmt;
use std::net::IpAddr;

/// A host and a port. Printed as `host:port`, with brackets around an IPv6 address.
///
/// ```
/// use heartbeat_http::Address;
///
/// let address = Address::parse("[::1]", Some(80)).unwrap();
/// assert_eq!(address.to_string(), "[::1]:80");
/// assert_eq!(address.host_header(80), "[::1]");
/// assert_eq!(address.host_header(443), "[::1]:80");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
    ip: Option<IpAddr>,
}

impl Address {
    /// Parses `name:port`, `1.2.3.4:port` or `[v6]:port`; `default_port` where none is given. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str, default_port: Option<u16>) -> Option<Self> {
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
        let ip: Option<IpAddr> = host.parse().ok();
        let name_like = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        (!host.is_empty() && (ip.is_some() || name_like)).then(|| Self { host: host.to_owned(), port, ip })
    }

    /// The host name or IP address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port, never 0.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The IP address, if the host is one and needs no resolver.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// The value of the `Host` header. The port is left out when it is the `default` of the scheme, as browsers and
    /// curl do: some servers compare the header with their name.
    #[must_use]
    pub fn host_header(&self, default: u16) -> String {
        match (self.port == default, self.host.contains(':')) {
            (false, _) => self.to_string(),
            (true, true) => format!("[{}]", self.host),
            (true, false) => self.host.clone(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_nonsense_does_not() {
        let printed = |text: &str, port| Address::parse(text, port).map(|address| address.to_string());
        assert_eq!(printed("127.0.0.1:80", None).as_deref(), Some("127.0.0.1:80"));
        assert_eq!(printed("[::1]:80", None).as_deref(), Some("[::1]:80"));
        assert_eq!(printed("db", Some(5432)).as_deref(), Some("db:5432"));
        for bad in ["", ":80", "db:", "db:0", "db:99999", "a b:80", "[::1", "[::1]80", "db/:80"] {
            assert_eq!(printed(bad, None), None, "{bad}");
        }
    }

    #[test]
    fn the_default_port_is_no_part_of_the_host_header() {
        let header = |text: &str| Address::parse(text, Some(80)).unwrap().host_header(80);
        assert_eq!(header("app.test"), "app.test");
        assert_eq!(header("app.test:80"), "app.test");
        assert_eq!(header("app.test:8080"), "app.test:8080");
        assert_eq!(header("[::1]:80"), "[::1]");
        assert_eq!(header("[::1]:81"), "[::1]:81");
    }
}
