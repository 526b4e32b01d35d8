//! A probe from one URL, as a configuration or a command line writes it.

use std::fmt;
use std::str::FromStr;

use crate::{Probe, TcpError, TcpProbe};

/// The schemes that are built.
const SCHEMES: &[&str] = &[
    #[cfg(feature = "http")]
    "http://",
    #[cfg(all(feature = "http", feature = "tls"))]
    "https://",
    "tcp://",
    "unix://",
    #[cfg(feature = "tls")]
    "tls://",
    #[cfg(feature = "redis")]
    "redis://",
    #[cfg(feature = "postgres")]
    "postgres://",
    #[cfg(feature = "grpc")]
    "grpc://",
    #[cfg(feature = "dns")]
    "dns://",
];

/// Why a text is no probe.
#[derive(Debug)]
#[non_exhaustive]
pub enum UrlError {
    /// There is no scheme.
    NotAUrl {
        /// The text as given.
        text: String,
    },
    /// No kind of probe has this scheme.
    Scheme {
        /// The scheme of the URL.
        scheme: String,
    },
    /// Not the address of a TCP server or a Unix socket.
    Tcp(TcpError),
    /// Not an HTTP URL.
    #[cfg(feature = "http")]
    Http(crate::HttpError),
    /// Not the address of a TLS server.
    #[cfg(feature = "tls")]
    Tls(crate::TlsProbeError),
    /// Not a name to ask a DNS server for.
    #[cfg(feature = "dns")]
    Dns(crate::DnsError),
    /// Not the URL of a Redis, PostgreSQL or gRPC server.
    #[cfg(any(feature = "grpc", feature = "redis", feature = "postgres"))]
    Server(crate::ServerError),
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAUrl { text } => write!(f, "`{text}` is not a URL"),
            Self::Scheme { scheme } => write!(f, "`{scheme}://` is not built; there are {}", listed()),
            Self::Tcp(error) => error.fmt(f),
            #[cfg(feature = "http")]
            Self::Http(error) => error.fmt(f),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.fmt(f),
            #[cfg(feature = "dns")]
            Self::Dns(error) => error.fmt(f),
            #[cfg(any(feature = "grpc", feature = "redis", feature = "postgres"))]
            Self::Server(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for UrlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Tcp(error) => error.source(),
            #[cfg(feature = "http")]
            Self::Http(error) => error.source(),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.source(),
            #[cfg(feature = "dns")]
            Self::Dns(error) => error.source(),
            #[cfg(any(feature = "grpc", feature = "redis", feature = "postgres"))]
            Self::Server(error) => error.source(),
            _ => None,
        }
    }
}

impl From<TcpError> for UrlError {
    fn from(error: TcpError) -> Self {
        Self::Tcp(error)
    }
}

#[cfg(feature = "http")]
impl From<crate::HttpError> for UrlError {
    fn from(error: crate::HttpError) -> Self {
        Self::Http(error)
    }
}

#[cfg(feature = "tls")]
impl From<crate::TlsProbeError> for UrlError {
    fn from(error: crate::TlsProbeError) -> Self {
        Self::Tls(error)
    }
}

#[cfg(feature = "dns")]
impl From<crate::DnsError> for UrlError {
    fn from(error: crate::DnsError) -> Self {
        Self::Dns(error)
    }
}

#[cfg(any(feature = "grpc", feature = "redis", feature = "postgres"))]
impl From<crate::ServerError> for UrlError {
    fn from(error: crate::ServerError) -> Self {
        Self::Server(error)
    }
}

fn listed() -> String {
    match SCHEMES {
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
        [] => String::new(),
    }
}

impl FromStr for Probe {
    type Err = UrlError;

    /// Reads `http://`, `https://`, `tcp://host:port`, `unix:///path`, `tls://host[:port]`, `redis[s]://`,
    /// `postgres[ql]://`, `grpc[s]://` and `dns://`, as far as their features are enabled.
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let not_a_url = || UrlError::NotAUrl { text: text.to_owned() };
        let (scheme, rest) = text.split_once("://").ok_or_else(not_a_url)?;
        Ok(match scheme {
            #[cfg(feature = "http")]
            "http" | "https" => crate::HttpProbe::new(text)?.into(),
            "tcp" => TcpProbe::new(rest)?.into(),
            "unix" => TcpProbe::new(&format!("unix:{rest}"))?.into(),
            #[cfg(feature = "tls")]
            "tls" => crate::TlsProbe::new(rest)?.into(),
            #[cfg(feature = "redis")]
            "redis" | "rediss" => crate::RedisProbe::new(text)?.into(),
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => crate::PostgresProbe::new(text)?.into(),
            #[cfg(feature = "grpc")]
            "grpc" | "grpcs" => crate::GrpcProbe::new(text)?.into(),
            #[cfg(feature = "dns")]
            "dns" => crate::DnsProbe::new(text)?.into(),
            other => return Err(UrlError::Scheme { scheme: other.to_owned() }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_is_a_kind_and_others_are_named() {
        let kind = |text: &str| text.parse::<Probe>().map(|probe| (probe.kind().to_string(), probe.target()));
        assert_eq!(kind("tcp://db:1").unwrap(), ("tcp".into(), "db:1".into()));
        assert_eq!(kind("unix:///run/a").unwrap(), ("unix".into(), "unix:/run/a".into()));
        #[cfg(feature = "http")]
        assert_eq!(kind("http://db/x").unwrap(), ("http".into(), "http://db:80/x".into()));
        #[cfg(feature = "redis")]
        assert_eq!(kind("redis://db").unwrap(), ("redis".into(), "db:6379".into()));
        #[cfg(feature = "postgres")]
        assert_eq!(kind("postgres://db").unwrap(), ("postgres".into(), "db:5432".into()));
        let error = kind("gopher://db").unwrap_err().to_string();
        assert!(error.contains("`gopher://` is not built") && error.contains("tcp://"), "{error}");
        assert!(matches!(kind("db"), Err(UrlError::NotAUrl { .. })));
        assert!(matches!(kind("tcp://db"), Err(UrlError::Tcp(_))));
    }
}
