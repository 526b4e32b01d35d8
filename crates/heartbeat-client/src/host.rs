//! Where heartbeatd listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use heartbeat_http::daemon_socket;
use thiserror::Error;

/// Port of heartbeatd's TCP listener when none is given.
pub const DEFAULT_PORT: u16 = 4327;

/// A text that is neither `unix:PATH` nor `http://ADDRESS[:PORT]` nor `https://NAME[:PORT]`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{text}` is not a host: {why}")]
pub struct HostError {
    text: String,
    why: &'static str,
}

/// A listener of heartbeatd.
///
/// ```
/// use heartbeat_client::Host;
///
/// assert_eq!("unix:/tmp/h.sock".parse::<Host>().unwrap(), Host::Unix("/tmp/h.sock".into()));
/// assert_eq!("http://[::1]".parse::<Host>().unwrap().to_string(), "http://[::1]:4327");
/// assert_eq!("https://box.lan:443".parse::<Host>().unwrap().to_string(), "https://box.lan:443");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A Unix socket: the listener for everything, by default.
    Unix(PathBuf),
    /// Plain HTTP over TCP: read-only without a token.
    Tcp {
        /// Name or address, without brackets.
        name: String,
        /// Port of the listener.
        port: u16,
    },
    /// HTTP over TLS. The certificate has to be for the name, and issued by one of the system's roots.
    Tls {
        /// Name or address, without brackets.
        name: String,
        /// Port of the listener.
        port: u16,
    },
}

impl Host {
    /// The socket of this user's heartbeatd: `$HEARTBEAT_SOCKET`; for root the system's; for any other user the one
    /// under `$XDG_RUNTIME_DIR`, or the system's when the user has none.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::from_environment_or(|| None)
    }

    /// The same, with what a configuration says where the environment names no socket.
    pub fn from_environment_or(configured: impl FnOnce() -> Option<PathBuf>) -> Self {
        Self::Unix(daemon_socket(configured))
    }

    /// What goes into the `Host` header.
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".to_owned(),
            Self::Tcp { name, port } | Self::Tls { name, port } if name.contains(':') => {
                format!("[{name}]:{port}")
            }
            Self::Tcp { name, port } | Self::Tls { name, port } => format!("{name}:{port}"),
        }
    }

    /// No network between this process and heartbeatd sees what is sent in plain text.
    pub(crate) fn is_private(&self) -> bool {
        match self {
            Self::Unix(_) | Self::Tls { .. } => true,
            Self::Tcp { name, .. } => {
                name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { .. } => write!(f, "http://{}", self.authority()),
            Self::Tls { .. } => write!(f, "https://{}", self.authority()),
        }
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let bad = |why| HostError { text: text.to_owned(), why };
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:///run/x` is how URLs would spell it; both mean the same path.
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err(bad("a path follows `unix:`"))
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let (secure, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => {
                return Err(bad("expected `unix:PATH`, `http://ADDRESS[:PORT]` or `https://NAME[:PORT]`"));
            }
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(bad("only an address and a port, without a path or a user"));
        }
        let (name, port) = split_port(rest).ok_or_else(|| bad("an IPv6 address goes in brackets"))?;
        let port = match port {
            Some(port) => {
                port.parse().ok().filter(|port| *port > 0).ok_or_else(|| bad("a port is 1 to 65535"))?
            }
            None => DEFAULT_PORT,
        };
        let plain =
            name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%'));
        if name.is_empty() || !plain {
            return Err(bad("expected an address or a name after `http://` or `https://`"));
        }
        let name = name.to_owned();
        Ok(if secure { Self::Tls { name, port } } else { Self::Tcp { name, port } })
    }
}

/// `name`, `name:port`, `[v6]`, `[v6]:port`.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (name, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((name, Some(port))),
            None => after.is_empty().then_some((name, None)),
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => None,
        Some((name, port)) => Some((name, Some(port))),
        None => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_read_back_as_they_print() {
        for text in [
            "unix:/run/a.sock",
            "http://127.0.0.1:4327",
            "http://[::1]:80",
            "http://box.lan:1",
            "https://box.lan:443",
            "https://[::1]:1",
        ] {
            assert_eq!(text.parse::<Host>().unwrap().to_string(), text);
        }
        assert_eq!("unix:///run/a.sock".parse::<Host>().unwrap().to_string(), "unix:/run/a.sock");
        assert_eq!("http://box/".parse::<Host>().unwrap().to_string(), "http://box:4327");
    }

    #[test]
    fn what_is_no_host_is_said_to_be_none() {
        for text in [
            "",
            "unix:",
            "/run/a.sock",
            "ftp://x",
            "https://",
            "http://",
            "http://::1",
            "http://x:0",
            "http://x:70000",
            "http://x/api",
            "http://u@x",
            "http://[::1",
            "http://[::1]x",
            "http://a b",
        ] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_crosses_no_network_in_plain_text() {
        for private in
            ["unix:/run/a.sock", "http://localhost", "http://127.0.0.9", "http://[::1]", "https://box.lan"]
        {
            assert!(private.parse::<Host>().unwrap().is_private(), "{private}");
        }
        for public in ["http://box.lan", "http://10.0.0.1", "http://localhost.evil.example"] {
            assert!(!public.parse::<Host>().unwrap().is_private(), "{public}");
        }
    }
}
