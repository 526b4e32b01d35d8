//! Errors of the constructors: a probe that cannot measure anything is refused.

/// Why an HTTP probe is refused.
#[cfg(feature = "http")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Not a URL, or one without a host.
    #[error("`{url}` is not a URL like http://127.0.0.1:8001/api/health/")]
    Url {
        /// The text as given.
        url: String,
    },
    /// A scheme that is not built.
    #[error("`{url}`: {scheme}:// is not built; there are http:// and, with the feature `tls`, https://")]
    Scheme {
        /// The text as given.
        url: String,
        /// The scheme of the URL.
        scheme: String,
    },
    /// TLS options for a URL without TLS.
    #[cfg(feature = "tls")]
    #[error("`{url}` has no TLS: options for TLS need an https:// URL")]
    NotHttps {
        /// The text as given.
        url: String,
    },
    /// The files or the system's roots cannot be used.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] heartbeat_http::TlsOptionsError),
    /// A method that is not a token.
    #[error("`{method}` is not an HTTP method")]
    Method {
        /// The text as given.
        method: String,
    },
    /// A header name or value with characters that cannot be sent.
    #[error("the header `{name}` cannot be sent: not a valid name or value")]
    Header {
        /// The name of the header.
        name: String,
    },
    /// A regular expression that does not compile.
    #[cfg(feature = "regex")]
    #[error("`{pattern}` is not a regular expression: {why}")]
    Pattern {
        /// The text as given.
        pattern: String,
        /// The error of the parser.
        why: String,
    },
    /// A JSON pointer that does not begin with `/`.
    #[error("`{pointer}` is not a JSON pointer (RFC 6901): it begins with `/`")]
    Pointer {
        /// The text as given.
        pointer: String,
    },
    /// Not a set of statuses.
    #[error("`{text}` is not a set of statuses: write 200, \"2xx\" or \"200-299\", separated by commas")]
    Status {
        /// The text as given.
        text: String,
    },
}

/// Why a TLS probe is refused.
#[cfg(feature = "tls")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsProbeError {
    /// Not `host[:port]`.
    #[error("`{address}` is not an address like example.org:443")]
    Address {
        /// The text as given.
        address: String,
    },
    /// The files or the system's roots cannot be used.
    #[error(transparent)]
    Options(#[from] heartbeat_http::TlsOptionsError),
}

/// Why a TCP probe is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TcpError {
    /// Not `host:port`.
    #[error("`{address}` is not an address like 127.0.0.1:5432")]
    Address {
        /// The text as given.
        address: String,
    },
}
