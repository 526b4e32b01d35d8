//! Probes that could never measure anything, refused when they are made.

/// An HTTP probe that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Not a URL, or one without a host.
    #[error("`{url}` is not a URL like http://127.0.0.1:8001/api/health/")]
    Url {
        /// What was given.
        url: String,
    },
    /// A scheme other than `http`.
    #[error("`{url}`: this version probes http:// only; {scheme}:// is not built")]
    Scheme {
        /// What was given.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// A method that is not a token.
    #[error("`{method}` is not an HTTP method")]
    Method {
        /// What was given.
        method: String,
    },
    /// A header name or value with characters that cannot be sent.
    #[error("the header `{name}` cannot be sent: not a valid name or value")]
    Header {
        /// Its name.
        name: String,
    },
    /// A regular expression that does not compile.
    #[error("`{pattern}` is not a regular expression: {why}")]
    Pattern {
        /// What was given.
        pattern: String,
        /// Why not.
        why: String,
    },
    /// A JSON pointer that does not begin with `/`.
    #[error("`{pointer}` is not a JSON pointer (RFC 6901): it begins with `/`")]
    Pointer {
        /// What was given.
        pointer: String,
    },
    /// Statuses that are none.
    #[error("`{text}` is not a set of statuses: write 200, \"2xx\" or \"200-299\", separated by commas")]
    Status {
        /// What was given.
        text: String,
    },
}

/// A TCP probe that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TcpError {
    /// Not `host:port`.
    #[error("`{address}` is not an address like 127.0.0.1:5432")]
    Address {
        /// What was given.
        address: String,
    },
}
