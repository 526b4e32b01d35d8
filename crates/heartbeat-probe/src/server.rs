//! URLs of servers that are asked in their own protocol: `scheme://[user@]host[:port][/path]`.

use crate::target::Target;

/// A probe of a server that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Not such a URL. What was given is not repeated: it may hold a password.
    #[error("this is not a URL like {scheme}://127.0.0.1:{port}")]
    Url {
        /// The scheme that was expected.
        scheme: &'static str,
        /// Its usual port.
        port: u16,
    },
    /// A password, which nothing is done with.
    #[error("no password is needed to see whether the server serves: leave it out of the URL")]
    Password,
}

/// What a URL says.
pub(crate) struct Parts {
    pub(crate) target: Target,
    pub(crate) user: Option<String>,
    pub(crate) path: Option<String>,
}

impl ServerError {
    /// Takes a URL apart.
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
