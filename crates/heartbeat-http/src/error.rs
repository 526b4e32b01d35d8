//! Errors of resolving, connecting and exchanging.

use std::fmt;
use std::io;

use rustix::io::Errno;

const REACHED_ITSELF: &str = "the connection reached itself: nothing listens there";

/// Why a name has no address.
#[derive(Debug)]
#[non_exhaustive]
pub enum ResolveError {
    /// The resolver says that the name does not exist, or has no address.
    NotFound {
        /// The host name.
        host: String,
    },
    /// The resolver did not answer, or answered with a temporary failure.
    Temporary {
        /// The host name.
        host: String,
    },
    /// The resolver could not be asked.
    Io {
        /// The underlying error.
        source: io::Error,
    },
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { host } => write!(f, "no address for {host}"),
            Self::Temporary { host } => write!(f, "the resolver does not answer for {host}"),
            Self::Io { source } => write!(f, "cannot ask the resolver: {source}"),
        }
    }
}

impl std::error::Error for ResolveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source } => Some(source),
            _ => None,
        }
    }
}

/// Why there is no connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name has no address.
    Resolve(ResolveError),
    /// The kernel connected the socket to itself, which happens where the target port lies in the range of local
    /// ports: nothing listens there.
    SelfConnected,
    /// No address could be connected to; the most informative of several errors.
    Io {
        /// The underlying error.
        source: io::Error,
    },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => error.fmt(f),
            Self::SelfConnected => f.write_str(REACHED_ITSELF),
            Self::Io { source } => write!(f, "{source}"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve(error) => error.source(),
            Self::Io { source } => Some(source),
            _ => None,
        }
    }
}

impl From<ResolveError> for ConnectError {
    fn from(error: ResolveError) -> Self {
        Self::Resolve(error)
    }
}

/// Why an answer is missing or incomplete.
#[derive(Debug)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The connection broke.
    Io {
        /// The underlying error.
        source: io::Error,
    },
    /// The TLS session ended with an alert, or its records are damaged.
    Tls {
        /// The reason in plain words.
        why: String,
    },
    /// The request came back, since the kernel has connected the socket to itself: nothing listens there.
    SelfConnected,
    /// The server closed the connection before the head of an answer was complete.
    Closed,
    /// The server ended the body before its end.
    Cut,
    /// The server refused or ended the exchange in terms of HTTP/2 (RST_STREAM, GOAWAY).
    Ended {
        /// The description of its error code.
        why: String,
    },
    /// The head of the answer exceeds the limits.
    HeadTooLarge,
    /// The answer is not HTTP.
    NotHttp {
        /// The error text of the parser.
        why: String,
    },
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { source } => write!(f, "{source}"),
            Self::Tls { why } => write!(f, "the server ended the TLS session: {why}"),
            Self::SelfConnected => f.write_str(REACHED_ITSELF),
            Self::Closed => f.write_str("closed before an answer"),
            Self::Cut => f.write_str("the server cut its answer short"),
            Self::Ended { why } => write!(f, "the server ended the exchange: {why}"),
            Self::HeadTooLarge => write!(
                f,
                "more than {} KiB of headers, or more than {} of them",
                crate::MAX_HEAD_BYTES / 1024,
                crate::MAX_HEADER_COUNT
            ),
            Self::NotHttp { why } => write!(f, "not HTTP: {why}"),
        }
    }
}

impl std::error::Error for ExchangeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source } => Some(source),
            _ => None,
        }
    }
}

/// Whether this process or its host ran out of descriptors, local ports or memory. Such an error says nothing about the
/// target.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    let ours = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM, Errno::AGAIN];
    error.raw_os_error().is_some_and(|code| ours.iter().any(|errno| errno.raw_os_error() == code))
}

/// How informative the error of one address is for a target that has several; the highest weight is reported.
pub(crate) fn weight(error: &ConnectError) -> u8 {
    let ConnectError::Io { source } = error else { return 2 };
    // An address family that this host does not have. An error of another address says more; without one, the local
    // ports may be exhausted.
    if source.raw_os_error() == Some(Errno::ADDRNOTAVAIL.raw_os_error()) {
        return 0;
    }
    // The host could not even try that address, so it may well serve.
    if is_shortage(source) {
        return 3;
    }
    match source.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::TimedOut => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errors_that_are_our_own_shortage() {
        let shortage = |code| is_shortage(&io::Error::from_raw_os_error(code));
        // Linux: EAGAIN, ENOMEM, ENFILE, EMFILE, EADDRNOTAVAIL, ENOBUFS.
        for ours in [11, 12, 23, 24, 99, 105] {
            assert!(shortage(ours), "errno {ours}");
        }
        // EACCES, ENETUNREACH, ECONNRESET, ETIMEDOUT, ECONNREFUSED, EHOSTUNREACH.
        for theirs in [13, 101, 104, 110, 111, 113] {
            assert!(!shortage(theirs), "errno {theirs}");
        }
        assert!(!is_shortage(&io::Error::other("in words")));
    }
}
