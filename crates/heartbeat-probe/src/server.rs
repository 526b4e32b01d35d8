//! URLs and passwords of servers that are probed in their own protocol: `scheme://[user@]host[:port][/path]`.

use std::fmt;

use crate::target::Target;

/// Why a probe of a server is refused.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerError {
    /// The URL is malformed. It is not repeated, because it may contain a password.
    Url {
        /// The expected scheme.
        scheme: &'static str,
        /// The default port.
        port: u16,
    },
    /// The URL contains a password.
    Password,
    /// The URL asks for TLS, which is not built.
    NoTls,
    /// The files or the system's roots cannot be used.
    #[cfg(feature = "tls")]
    Tls(heartbeat_http::TlsOptionsError),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { scheme, port } => write!(f, "this is not a URL like {scheme}://127.0.0.1:{port}"),
            Self::Password => f.write_str(
                "a URL is shown to people: put the password into a file and name that with `password_file`",
            ),
            Self::NoTls => f.write_str("TLS is not built: enable the feature `tls`"),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.source(),
            _ => None,
        }
    }
}

#[cfg(feature = "tls")]
impl From<heartbeat_http::TlsOptionsError> for ServerError {
    fn from(error: heartbeat_http::TlsOptionsError) -> Self {
        Self::Tls(error)
    }
}

/// A password. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
#[cfg(any(feature = "redis", feature = "postgres"))]
pub(crate) struct Secret(String);

#[cfg(any(feature = "redis", feature = "postgres"))]
impl Secret {
    pub(crate) const fn new(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

#[cfg(any(feature = "redis", feature = "postgres"))]
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The parts of a URL.
pub(crate) struct Parts {
    #[cfg(any(feature = "redis", feature = "grpc"))]
    scheme: String,
    pub(crate) target: Target,
    pub(crate) user: Option<String>,
    pub(crate) path: Option<String>,
    /// The part behind `?`.
    pub(crate) query: Option<String>,
}

#[cfg(any(feature = "redis", feature = "grpc"))]
impl Parts {
    /// Connects by TLS with the system's roots where the URL has this scheme, offering the protocol `alpn`.
    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "only TLS offers a protocol"))]
    pub(crate) fn with_default_tls(
        self,
        scheme: &str,
        alpn: Option<&'static [u8]>,
    ) -> Result<Self, ServerError> {
        if self.scheme != scheme {
            return Ok(self);
        }
        #[cfg(feature = "tls")]
        return self.with_tls(&crate::TlsOptions::default(), alpn);
        #[cfg(not(feature = "tls"))]
        Err(ServerError::NoTls)
    }

    #[cfg(feature = "tls")]
    pub(crate) fn with_tls(
        mut self,
        options: &crate::TlsOptions,
        alpn: Option<&'static [u8]>,
    ) -> Result<Self, ServerError> {
        self.target.secure = Some(crate::secure::Secure::new(options, alpn)?);
        Ok(self)
    }
}

impl ServerError {
    /// Parses a URL.
    pub(crate) fn parts(url: &str, schemes: &[&'static str], port: u16) -> Result<Parts, Self> {
        let bad = || Self::Url { scheme: schemes.first().copied().unwrap_or_default(), port };
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        if !schemes.contains(&scheme) {
            return Err(bad());
        }
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (user, rest) = match rest.split_once('@') {
            Some((user, _)) if user.contains(':') => return Err(Self::Password),
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        let (host, path) = Target::split(rest);
        let path = path.strip_prefix('/').unwrap_or(path);
        let word = |text: &str| !text.is_empty() && !text.contains(['/', '?', '#', '\0', '%', '@']);
        if user.is_some_and(|user| !word(user)) || !(path.is_empty() || word(path)) {
            return Err(bad());
        }
        let target = Target::parse(host, Some(port)).ok_or_else(bad)?;
        let owned = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Ok(Parts {
            #[cfg(any(feature = "redis", feature = "grpc"))]
            scheme: scheme.to_owned(),
            target,
            user: user.and_then(owned),
            path: owned(path),
            query: query.and_then(owned),
        })
    }
}
