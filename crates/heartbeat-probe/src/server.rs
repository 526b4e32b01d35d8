//! URLs of servers that are probed in their own protocol: `scheme://[user@]host[:port][/path]`.

use crate::target::Target;

/// Why a probe of a server is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The URL is malformed. It is not repeated, because it may contain a password.
    #[error("this is not a URL like {scheme}://127.0.0.1:{port}")]
    Url {
        /// The expected scheme.
        scheme: &'static str,
        /// The default port.
        port: u16,
    },
    /// The URL contains a password.
    #[error("no password is needed to see whether the server serves: leave it out of the URL")]
    Password,
}

/// The parts of a URL.
pub(crate) struct Parts {
    pub(crate) target: Target,
    pub(crate) user: Option<String>,
    pub(crate) path: Option<String>,
}

impl ServerError {
    /// Parses a URL.
    pub(crate) fn target(url: &str, schemes: &[&'static str], port: u16) -> Result<Parts, Self> {
        let bad = || Self::Url { scheme: schemes.first().copied().unwrap_or_default(), port };
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        if !schemes.contains(&scheme) {
            return Err(bad());
        }
        let (authority, path) =
            rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(Self::Password),
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let word = |text: &str| !text.is_empty() && !text.contains(['/', '?', '#', '\0', '%']);
        if user.is_some_and(|user| !word(user)) || !(path.is_empty() || word(path)) {
            return Err(bad());
        }
        let target = Target::parse(host, Some(port)).ok_or_else(bad)?;
        let owned = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Ok(Parts { target, user: user.and_then(owned), path: owned(path) })
    }
}
