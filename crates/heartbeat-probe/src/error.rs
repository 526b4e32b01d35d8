//! Errors of the constructors: a probe that cannot measure anything is refused.

use std::fmt;

/// Why an HTTP probe is refused.
#[cfg(feature = "http")]
#[derive(Debug)]
#[non_exhaustive]
pub enum HttpError {
    /// Not a URL, or one without a host.
    Url {
        /// The text as given.
        url: String,
    },
    /// A scheme that is not built.
    Scheme {
        /// The text as given.
        url: String,
        /// The scheme of the URL.
        scheme: String,
    },
    /// TLS options for a URL without TLS.
    #[cfg(feature = "tls")]
    NotHttps {
        /// The text as given.
        url: String,
    },
    /// The files or the system's roots cannot be used.
    #[cfg(feature = "tls")]
    Tls(heartbeat_http::TlsOptionsError),
    /// A method that is not a token.
    Method {
        /// The text as given.
        method: String,
    },
    /// A header name or value with characters that cannot be sent.
    Header {
        /// The name of the header.
        name: String,
    },
    /// A regular expression that does not compile.
    #[cfg(feature = "regex")]
    Pattern {
        /// The text as given.
        pattern: String,
        /// The error of the parser.
        why: String,
    },
    /// A JSON pointer that does not begin with `/`.
    Pointer {
        /// The text as given.
        pointer: String,
    },
    /// A comparison with something that is not a number.
    Expectation(crate::ExpectationError),
    /// Not a set of statuses.
    Status {
        /// The text as given.
        text: String,
    },
}

#[cfg(feature = "http")]
impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { url } => write!(f, "`{url}` is not a URL like http://127.0.0.1:8001/api/health/"),
            Self::Scheme { url, scheme } => write!(
                f,
                "`{url}`: {scheme}:// is not built; there are http:// and, with the feature `tls`, https://"
            ),
            #[cfg(feature = "tls")]
            Self::NotHttps { url } => write!(f, "`{url}` has no TLS: options for TLS need an https:// URL"),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.fmt(f),
            Self::Method { method } => write!(f, "`{method}` is not an HTTP method"),
            Self::Header { name } => {
                write!(f, "the header `{name}` cannot be sent: not a valid name or value")
            }
            #[cfg(feature = "regex")]
            Self::Pattern { pattern, why } => write!(f, "`{pattern}` is not a regular expression: {why}"),
            Self::Expectation(error) => error.fmt(f),
            Self::Pointer { pointer } => {
                write!(f, "`{pointer}` is not a JSON pointer (RFC 6901): it begins with `/`")
            }
            Self::Status { text } => write!(
                f,
                "`{text}` is not a set of statuses: write 200, \"2xx\" or \"200-299\", separated by commas"
            ),
        }
    }
}

#[cfg(feature = "http")]
impl std::error::Error for HttpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.source(),
            _ => None,
        }
    }
}

#[cfg(feature = "http")]
#[cfg(feature = "tls")]
impl From<heartbeat_http::TlsOptionsError> for HttpError {
    fn from(error: heartbeat_http::TlsOptionsError) -> Self {
        Self::Tls(error)
    }
}

/// Why a TLS probe is refused.
#[cfg(feature = "tls")]
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsProbeError {
    /// The address is not `host[:port]`.
    Address {
        /// The text as given.
        address: String,
    },
    /// The files or the system's roots cannot be used.
    Options(heartbeat_http::TlsOptionsError),
}

#[cfg(feature = "tls")]
impl fmt::Display for TlsProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address } => write!(f, "`{address}` is not an address like example.org:443"),
            Self::Options(error) => error.fmt(f),
        }
    }
}

#[cfg(feature = "tls")]
impl std::error::Error for TlsProbeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Options(error) => error.source(),
            _ => None,
        }
    }
}

#[cfg(feature = "tls")]
impl From<heartbeat_http::TlsOptionsError> for TlsProbeError {
    fn from(error: heartbeat_http::TlsOptionsError) -> Self {
        Self::Options(error)
    }
}

/// Why a TCP probe is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TcpError {
    /// The address is not `host:port`.
    Address {
        /// The text as given.
        address: String,
    },
}

impl fmt::Display for TcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address } => write!(f, "`{address}` is not an address like 127.0.0.1:5432"),
        }
    }
}

impl std::error::Error for TcpError {}
