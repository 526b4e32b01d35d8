//! The URL of a receiver.

use std::fmt;
use std::sync::Arc;

use heartbeat_http::{Address, Tls, TlsOptions};
use http::{Uri, uri};

use crate::NotifyError;

/// Port of `http://` when the URL names none.
const HTTP_PORT: u16 = 80;
/// Port of `https://` when the URL names none.
const HTTPS_PORT: u16 = 443;

/// A URL that notifications are posted to, checked and taken apart once.
///
/// Printed without its path and query, which often are the only secret of a webhook.
///
/// ```
/// use heartbeat_notify::{NotifyError, Endpoint};
///
/// let endpoint = Endpoint::new("http://127.0.0.1:3000/api/incidents/?key=s3cret")?;
/// assert_eq!(endpoint.to_string(), "http://127.0.0.1:3000");
/// # Ok::<(), NotifyError>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Endpoint {
    address: Address,
    /// `None` for plain HTTP.
    tls: Option<Arc<Tls>>,
    /// Path and query: the target of the request.
    target: String,
}

impl Endpoint {
    /// Takes `http[s]://NAME[:PORT][/PATH][?QUERY]`. HTTPS trusts the system's roots.
    ///
    /// # Errors
    /// [`NotifyError`] for anything else; credentials and fragments have errors of their own.
    pub fn new(url: &str) -> Result<Self, NotifyError> {
        Self::with_tls(url, &TlsOptions::default())
    }

    /// As [`new`](Self::new), with other roots or a client certificate for `https://`.
    ///
    /// # Errors
    /// As for [`new`](Self::new), and when a file cannot be used.
    pub fn with_tls(url: &str, options: &TlsOptions) -> Result<Self, NotifyError> {
        let unusable = |why| Err(NotifyError::Unusable { why });
        if url.contains('#') {
            return unusable("a fragment (`#...`) is not sent to servers");
        }
        let parts = url.parse::<Uri>().map_err(|source| NotifyError::NotAUrl { source })?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return unusable("expected `http://NAME[:PORT]/PATH`");
        };
        if authority.as_str().contains('@') {
            return Err(NotifyError::CredentialsInUrl);
        }
        let tls = match scheme.as_str() {
            "http" => None,
            "https" => Some(Arc::new(Tls::new(options).map_err(|source| NotifyError::Tls { source })?)),
            _ => return unusable("its scheme is neither `http://` nor `https://`"),
        };
        let address = Address::parse(authority.as_str(), Some(default_port(tls.is_some())));
        let address =
            address.ok_or(NotifyError::Unusable { why: "expected a host and a port from 1 to 65535" })?;
        let target = parts.path_and_query.as_ref().map_or("", uri::PathAndQuery::as_str);
        // `http://name?query` is a URL; its request still begins with a slash.
        let slash = if target.starts_with('/') { "" } else { "/" };
        let target = format!("{slash}{target}");
        Ok(Self { address, tls, target })
    }

    pub(crate) const fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    /// The value of the `Host` header; the default port is no part of it.
    pub(crate) fn host_header(&self) -> String {
        self.address.host_header(default_port(self.tls.is_some()))
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }
}

const fn default_port(is_https: bool) -> u16 {
    if is_https { HTTPS_PORT } else { HTTP_PORT }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host_header())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self}/...)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let taken = |url: &str| {
            let webhook = Endpoint::new(url).unwrap();
            (webhook.address.to_string(), webhook.host_header(), webhook.target)
        };
        let expect = |address: &str, host: &str, target: &str| {
            (address.to_owned(), host.to_owned(), target.to_owned())
        };
        assert_eq!(taken("http://example.org"), expect("example.org:80", "example.org", "/"));
        assert_eq!(taken("http://example.org:80/"), expect("example.org:80", "example.org", "/"));
        assert_eq!(
            taken("http://127.0.0.1:3000/a/?b=c"),
            expect("127.0.0.1:3000", "127.0.0.1:3000", "/a/?b=c")
        );
        assert_eq!(taken("http://[::1]:8080/x"), expect("[::1]:8080", "[::1]:8080", "/x"));
        assert_eq!(taken("HTTP://h?q"), expect("h:80", "h", "/?q"));
        let blind = TlsOptions::default().without_verification();
        let https = Endpoint::with_tls("https://h/x", &blind).unwrap();
        assert_eq!((https.address.port(), https.host_header().as_str()), (443, "h"));
        assert!(https.tls().is_some() && https.to_string() == "https://h");
    }

    #[test]
    fn what_cannot_be_posted_to_is_refused() {
        assert!(matches!(Endpoint::new("http://me:pw@example.org/"), Err(NotifyError::CredentialsInUrl)));
        assert!(matches!(Endpoint::new("https://me@example.org/"), Err(NotifyError::CredentialsInUrl)));
        for url in [
            "",
            "/path",
            "example.org",
            "ftp://example.org/",
            "http://",
            "http://h:0/",
            "http://h:70000/",
            "http://h:/",
        ] {
            assert!(Endpoint::new(url).is_err(), "{url}");
        }
        assert!(matches!(Endpoint::new("http://h/#top"), Err(NotifyError::Unusable { .. })));
    }

    #[test]
    fn the_path_is_never_printed() {
        let webhook = Endpoint::new("http://h:1/s3cret?s3cret").unwrap();
        assert!(!format!("{webhook} {webhook:?}").contains("s3cret"));
        let refused = Endpoint::new("http://u:s3cret@h/s3cret").unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("s3cret"));
    }
}
